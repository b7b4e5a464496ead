# SPDX-License-Identifier: GPL-2.0-or-later
"""The way back into a side's stream after bytes that were lost, or could not be read.

RFB has no marks and few lengths, so a message is believed only on evidence from both directions:

- Server: a FramebufferUpdate of at least one rectangle, each in an encoding that the client has asked for (or
  Raw), each within the screen, walked to its end; then the data end there or a message begins that exists.
  The end of zlib data (00 00 ff ff) looks like an update that ends at a LastRect: such a one is believed only
  where bytes began to arrive together.
- Client: a chain of messages whose every field is in its range (positions within the screen, flags 0 or 1,
  padding 0, encodings that are registered), worth at least `EVIDENCE` bits, that ends where the data end or
  has `CHAIN` messages; and no other chain that could begin inside its first message.

What lies before is reported as not decoded. Where nothing is believed, nothing is read: none is made up.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Set
from typing import Any

from dissect.rfb import constants, encodings, messages
from dissect.rfb.encodings import Format, Rectangle, Walk
from dissect.stream.layout import Malformed, Short
from dissect.stream.session import NotRead, Want, Wrong
from dissect.stream.side import Side

EVIDENCE = 48
"""Bits of a client's stream that must be as they should."""
CHAIN = 4
"""Client messages in a row that are believed though more data follow."""
KEEP = 1 << 20
"""Bytes that are searched at a time; what is older is given up."""

Screen = tuple[int, int]

KNOWN: Set[type[messages.RfbPacket]] = {
    messages.SetPixelFormat,
    messages.SetEncodings,
    messages.FramebufferUpdateRequest,
    messages.KeyEvent,
    messages.PointerEvent,
    messages.QemuExtendedKeyEvent,
    messages.ClientCutText,
    messages.ClientFence,
    messages.EnableContinuousUpdates,
}
"""The client's messages that say enough of themselves to be believed."""


class _More(Exception):
    """A candidate goes on beyond the data that are there."""


class _Partial:
    """What is there of a stream; more is `_More`, not wrong."""

    def __init__(self, buffer: bytes) -> None:
        self.buffer = buffer

    def need(
        self, size: int, name: str | None = None, total: int | None = None
    ) -> Generator[Want, None, Any]:
        if len(self.buffer) < size:
            raise _More
        yield from ()
        return self.buffer


def server(
    data: bytes, begin: int, wanted: Set[int], screen: Screen, form: Format, arrivals: Set[int]
) -> tuple[int, bool]:
    """Where in `data`, from `begin` on, a server's message is believed to begin, and whether one is.

    `arrivals`: the offsets at which bytes began to arrive together.
    Where none is believed: the offset up to which nothing can begin any more; what follows needs more data.
    """
    allowed = {0, *wanted}
    head = b"|".join(re.escape(number.to_bytes(4, "big", signed=True)) for number in allowed)
    # Type, padding, a count that is not 0, the first rectangle's place, its encoding; overlapping matches.
    anchor = re.compile(rb"(?=\x00\x00(?!\x00\x00)[\s\S]{10}(?:" + head + rb"))")
    for match in anchor.finditer(data, begin):
        if data[match.start() + 2 : match.start() + 4] == b"\xff\xff" and match.start() not in arrivals:
            continue
        try:
            end = _update(data, match.start(), allowed, screen, form)
        except _More:
            return match.start(), False
        except (Wrong, NotRead):
            continue
        if end == len(data) or _server_begins(data, end):
            return match.start(), True
    return max(begin, len(data) - 15), False


def _update(data: bytes, at: int, allowed: Set[int], screen: Screen, form: Format) -> int:
    """The end of the update that begins at `at`; `Wrong` where it is none, `_More` where it goes on."""

    def before(rect: Rectangle, form: Format) -> None:
        if rect.encoding not in allowed:
            raise Wrong("an encoding that nobody asked for")
        if rect.encoding >= 0 or rect.encoding == encodings.TIGHT_PNG:
            inside = rect.x + rect.width <= screen[0] and rect.y + rect.height <= screen[1]
            if not inside or not rect.width * rect.height:
                raise Wrong("not on the screen")

    rest = data[at:]
    count = int.from_bytes(rest[2:4], "big")
    walk = Walk(_Partial(rest), 4)
    for _ in encodings.update(walk, count, form, before, lambda rect, start, end: None):
        pass
    return at + walk.at


def _server_begins(data: bytes, at: int) -> bool:
    kind = data[at]
    if kind == 0:
        return data[at + 1 : at + 2] in (b"", b"\0")
    return kind in messages.MESSAGES[Side.SERVER]


def client(data: bytes, begin: int, screen: Screen) -> tuple[int, bool]:
    """The same for a client's messages."""
    for at in range(begin, len(data)):
        try:
            starts = _chain(data, at, screen)
        except _More:
            return at, False
        if starts is None:
            continue
        # Inside the first message another chain may begin, and the two could both be true.
        second = starts[1]
        try:
            rivals = [_chain(data, other, screen) for other in range(at + 1, min(second, len(data)))]
        except _More:
            return at, False
        if not any(rival is not None and not set(rival) & set(starts) for rival in rivals):
            return at, True
    return len(data), False


def _chain(data: bytes, at: int, screen: Screen) -> list[int] | None:
    """The offsets at which the messages of a believable chain from `at` begin, and its end; None: no chain.

    Raises `_More` where the data end within it.
    """
    starts, bits = [at], 0
    while at < len(data) and (len(starts) <= CHAIN or bits < EVIDENCE):
        size, worth = _client_message(data, at, screen)
        if not size:
            return None
        at += size
        bits += worth
        if at > len(data):
            raise _More
        starts.append(at)
    return starts if bits >= EVIDENCE else None


def _sound(head: bytes) -> bool:
    """Whether the first bytes of a client's message, as far as they are there, are as they should be."""
    kind, rest = head[0], head[1:]
    if kind in (0, 6, 248):  # three bytes of padding, and then what is small
        sizes = {0: (8, 16, 32), 6: (0,), 248: (0, 0x80)}[kind]
        return not any(rest[:3]) and (len(rest) < 4 or rest[3] in sizes)
    if kind == 2:
        return not any(rest[:1])
    if kind == 4:
        return rest[:1] <= b"\1" and not any(rest[1:3])
    return kind == 5 or rest[:1] <= b"\1"  # flags, and QEMU's submessages


def _client_message(data: bytes, at: int, screen: Screen) -> tuple[int, int]:
    """Size and worth in bits of the message at `at`; (0, 0) where it is none. Raises `_More`."""
    width, height = screen
    cls = messages.MESSAGES[Side.CLIENT].get(data[at])
    if data[at] == 255 and at + 1 < len(data):
        cls = messages.QEMU_CLIENT_MESSAGES.get(data[at + 1])
    if cls is None or cls not in KNOWN:
        return 0, 0
    try:
        values, end = cls.layout().decode(data, at)
    except Short as short:
        if short.needed - at > KEEP:
            return 0, 0
        # Only a message whose beginning is sound is waited for.
        if not _sound(data[at : at + 8]):
            return 0, 0
        raise _More from None
    except Malformed:
        return 0, 0
    spare = 32 - (width - 1).bit_length() - (height - 1).bit_length()
    match cls:
        case messages.SetPixelFormat:
            form = values["pixel_format"]
            good = (
                not any(values["padding"])
                and form["bits_per_pixel"] in (8, 16, 32)
                and form["depth"] <= form["bits_per_pixel"]
                and form["true_colour_flag"] <= 1
            )
            worth = 50
        case messages.SetEncodings:
            known = [number in constants.ENCODINGS for number in values["encoding_types"]]
            good = all(known) and bool(known) and not any(values["padding"])
            worth = 16 + 16 * len(known)
        case messages.FramebufferUpdateRequest:
            good = (
                values["incremental"] <= 1
                and values["x_position"] + values["width"] <= width
                and values["y_position"] + values["height"] <= height
                and bool(values["width"] and values["height"])
            )
            worth = 15 + 2 * spare
        case messages.KeyEvent:
            good = values["down_flag"] <= 1 and not any(values["padding"]) and 0 < values["key"] < 0x0111_0000
            worth = 40
        case messages.PointerEvent:
            good = values["x_position"] < width and values["y_position"] < height
            worth = 8 + spare
        case messages.QemuExtendedKeyEvent:
            good = values["down_flag"] <= 1 and values["keysym"] < 0x0111_0000 and values["keycode"] < 256
            worth = 60
        case messages.ClientCutText:
            good = not any(values["padding"]) and 0 <= values["length"] < KEEP
            worth = 36
        case messages.ClientFence:
            good = not any(values["padding"]) and not values["flags"] & 0x7FFFFFF8 and values["length"] <= 64
            worth = 60
        case messages.EnableContinuousUpdates:
            good = values["enable_flag"] <= 1
            worth = 15
        case _:
            return 0, 0
    return (end - at, worth) if good else (0, 0)
