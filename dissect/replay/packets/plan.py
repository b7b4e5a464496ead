# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be on the wire: a plan of segments, and how it is written down in TOML.

A plan says how the bytes of the player's stream are cut and sent, not which bytes. Offsets count from the
first byte of the stream. Bytes that no segment names go out in the order of the stream. Example::

    mss = 1460            # the largest segment that we announce to take
    cut = 1460            # the most that an unplanned segment of ours holds; without it, mss
    window = 65535        # receive window that we announce
    handshake = "ack"     # our answer to SYN-ACK: "ack", "rst", "fin" (ACK and FIN) or "silence"
    patience_ms = 200     # how long a segment is waited for whose bytes the player has not given

    [[segment]]           # in the order of the file, unless `order` says otherwise
    offset = 0
    size = 4

    [[segment]]
    offset = 8
    size = 4
    order = 1             # segments are sent by rising `order`; without it, by place in the file from 0
    duplicate = 1         # so many copies more
    drop = 1              # the first so many transmissions are kept back; true: all
    overlap = 2           # begins so many bytes earlier, with bytes that another segment brings too
    fill = 0              # what those bytes are; without it the right ones
    window = 8            # receive window announced from this segment on
    delay_ms = 50         # pause before it
    fin = true            # FIN with its last byte: nothing of the stream follows
    rst = true            # RST right after it

A window much smaller than one announced before slows a peer down to its persist timer, some 200 ms a segment:
RFC 9293, 3.8.6.2.1, has it wait for half of the largest window that it has seen.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

ALWAYS: Final = -1
"""As `Piece.drop`: no transmission gets through."""
MSS: Final = 1460
"""What a host on Ethernet announces."""
LARGEST: Final = 65_495
"""Most bytes that one IPv4 packet can carry behind headers of 20 bytes each (RFC 791, RFC 9293)."""
WINDOW: Final = 65_535
"""Largest receive window without window scaling (RFC 9293, 3.1)."""
RTO_NS: Final = 200_000_000
PATIENCE_NS: Final = 200_000_000
PIECES_LIMIT: Final = 100_000
OFFSET_LIMIT: Final = 1 << 30
"""Offsets stay in half of the sequence space, so that `seq` alone tells before from after."""
COPIES_LIMIT: Final = 1000
DELAY_LIMIT_MS: Final = 600_000


class PlanError(Exception):
    """A plan that cannot be used; the text names the place and the reason."""


class Handshake(StrEnum):
    """What our end answers SYN-ACK with."""

    ACK = "ack"
    RST = "rst"
    FIN = "fin"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Piece:
    """One planned segment: bytes `offset` to `offset + size` of the stream, in one packet.

    duplicate: copies more. drop: transmissions kept back, or `ALWAYS`. overlap: bytes before `offset` that
    it brings once more, each `fill` where that is not None. window: announced from here on. delay_ns: pause
    before it. fin: FIN with its last byte. rst: RST after it.
    """

    offset: int
    size: int
    duplicate: int = 0
    drop: int = 0
    overlap: int = 0
    fill: int | None = None
    window: int | None = None
    delay_ns: int = 0
    fin: bool = False
    rst: bool = False

    @property
    def end(self) -> int:
        """Offset of the first byte after it."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class PacketPlan:
    """Segments in the order in which they go on the wire, and what holds for all of them."""

    pieces: tuple[Piece, ...] = ()
    mss: int = MSS
    cut: int | None = None
    window: int = WINDOW
    handshake: Handshake = Handshake.ACK
    rto_ns: int = RTO_NS
    patience_ns: int = PATIENCE_NS


class Recorded(Protocol):
    """A stretch of a stream as one captured segment brought it: `replay.plan.Segment`."""

    @property
    def offset(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def time_ns(self) -> int: ...


def as_recorded(segments: Iterable[Recorded]) -> PacketPlan:
    """The plan that a recording makes: its segments' boundaries, in the order in which they were captured.

    Bytes captured more than once are sent once, and windows, FIN and RST are not repeated from the recording:
    the player decides when to end.
    """
    ordered = sorted(segments, key=lambda segment: segment.time_ns)  # stable: equal times keep their place
    pieces = [
        Piece(segment.offset + at, min(LARGEST, segment.size - at))
        for segment in ordered
        for at in range(0, segment.size, LARGEST)  # captured before a network card cut it
    ]
    largest = max((piece.size for piece in pieces), default=0)
    return PacketPlan(tuple(pieces), mss=MSS if largest <= MSS else LARGEST)


def read_plan(path: str | Path) -> PacketPlan:
    """The plan in a TOML file. Raises PlanError, whose text does not name the file; OSError."""
    data = Path(path).read_bytes()
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise PlanError(f"byte {error.start} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"not TOML: {error}") from None
    return plan_from(table)


def plan_from(table: Mapping[str, Any]) -> PacketPlan:
    """The plan that a TOML table says. Raises PlanError."""
    _known(table, {*_GENERAL, "segment"}, "")
    general = {name: check(table[name], name) for name, check in _GENERAL.items() if name in table}
    segments = table.get("segment", [])
    if not isinstance(segments, list) or not all(isinstance(one, dict) for one in segments):
        raise PlanError('"segment" is not a list of tables: write [[segment]]')
    if len(segments) > PIECES_LIMIT:
        raise PlanError(f"{len(segments):,} segments; {PIECES_LIMIT:,} are the most")
    placed = [
        (_integer(0, OFFSET_LIMIT)(one["order"], f"segment {number}: order") if "order" in one else number,
         number, _piece(one, f"segment {number}"))
        for number, one in enumerate(segments)
    ]  # fmt: skip
    pieces = tuple(piece for _, _, piece in sorted(placed, key=lambda item: item[:2]))
    _check_ends(pieces)
    return PacketPlan(
        pieces,
        mss=general.get("mss", MSS),
        cut=general.get("cut"),
        window=general.get("window", WINDOW),
        handshake=general.get("handshake", Handshake.ACK),
        rto_ns=general.get("rto_ms", RTO_NS // 1_000_000) * 1_000_000,
        patience_ns=general.get("patience_ms", PATIENCE_NS // 1_000_000) * 1_000_000,
    )


def _piece(table: Mapping[str, Any], where: str) -> Piece:
    _known(table, {*_SEGMENT, "order"}, f"{where}: ")
    values = {
        name: check(table[name], f"{where}: {name}") for name, check in _SEGMENT.items() if name in table
    }
    if "offset" not in values:
        raise PlanError(f"{where}: has no offset")
    values.setdefault("size", 0)
    values["delay_ns"] = values.pop("delay_ms", 0) * 1_000_000
    piece = Piece(**values)
    if not piece.size and not (piece.fin or piece.rst or piece.window is not None):
        raise PlanError(f"{where}: has no size, no window, no fin and no rst, so nothing to send")
    if not piece.size and piece.overlap:
        raise PlanError(f"{where}: overlaps with bytes of its own, and has none (size)")
    if piece.overlap > piece.offset:
        raise PlanError(
            f"{where}: an overlap of {piece.overlap} begins before the stream (offset {piece.offset})"
        )
    if piece.fill is not None and not piece.overlap:
        raise PlanError(f"{where}: fill says what overlapping bytes are, and there is no overlap")
    if piece.size + piece.overlap > LARGEST:
        raise PlanError(f"{where}: {piece.size + piece.overlap:,} bytes; one packet carries {LARGEST:,}")
    if piece.fin and piece.rst:
        raise PlanError(f"{where}: fin and rst: a reset connection has no end to announce")
    return piece


def _check_ends(pieces: tuple[Piece, ...]) -> None:
    """A plan whose later segments could never be sent is a mistake of its writer."""
    for number, piece in enumerate(pieces):
        if piece.rst and number + 1 < len(pieces):
            raise PlanError(f"{len(pieces) - number - 1} segments are sent after a rst")
        if piece.fin and any(other.end > piece.end or other.fin for other in pieces if other is not piece):
            raise PlanError(
                f"the stream ends at {piece.end} (fin), and another segment goes on or ends it too"
            )


def _known(table: Mapping[str, Any], names: set[str], where: str) -> None:
    unknown = [name for name in table if name not in names]
    if unknown:
        raise PlanError(f'{where}unknown "{unknown[0]}"; known are {", ".join(sorted(names))}')


Check = Callable[[Any, str], Any]


def _integer(low: int, high: int) -> Check:
    def check(value: Any, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise PlanError(f"{where} is not a whole number")
        if not low <= value <= high:
            raise PlanError(f"{where} is {value}; allowed are {low} to {high}")
        return value

    return check


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise PlanError(f"{where} is not true or false")
    return value


def _drop(value: Any, where: str) -> int:
    if isinstance(value, bool):
        return ALWAYS if value else 0
    return int(_integer(0, COPIES_LIMIT)(value, where))


def _handshake(value: Any, where: str) -> Handshake:
    try:
        return Handshake(value)
    except ValueError:
        raise PlanError(f"{where} is none of {', '.join(Handshake)}") from None


_GENERAL: Final[dict[str, Check]] = {
    "mss": _integer(1, LARGEST),
    "cut": _integer(1, LARGEST),
    "window": _integer(0, WINDOW),
    "handshake": _handshake,
    "rto_ms": _integer(1, DELAY_LIMIT_MS),
    "patience_ms": _integer(0, DELAY_LIMIT_MS),
}

_SEGMENT: Final[dict[str, Check]] = {
    "offset": _integer(0, OFFSET_LIMIT),
    "size": _integer(0, LARGEST),
    "duplicate": _integer(0, COPIES_LIMIT),
    "drop": _drop,
    "overlap": _integer(0, LARGEST),
    "fill": _integer(0, 255),
    "window": _integer(0, WINDOW),
    "delay_ms": _integer(0, DELAY_LIMIT_MS),
    "fin": _flag,
    "rst": _flag,
}
