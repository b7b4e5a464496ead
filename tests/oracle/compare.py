# SPDX-License-Identifier: GPL-2.0-or-later
"""What firstbyte reads of a capture against what tshark reads of it, field by field.

A table (`tests/oracle/rfb.py` is one) says which of our fields is which of tshark's, and why tshark is wrong
where it is known to be. Compared is, for every frame in which a message of ours ends, each field that those
messages have with all that tshark shows of it in that frame; and for every other frame, that tshark shows
nothing. What differs and has no known reason is printed with its frame, and the exit code is 1.

    python -m tests.oracle.compare [--protocol rfb] [--all] [CAPTURE...]

Without a capture all that are bundled are compared. Captures are pcapng files, which may be compressed (xz).
"""

from __future__ import annotations

import argparse
import importlib
import lzma
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dissect.capture import open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.stream import Side
from dissect.stream.records import Message

PCAPS = Path(__file__).parents[2] / "pcaps"

PROTOCOLS = ("rfb", "spice")
"""Each is a module of this folder with a `TABLE`."""

Values = list[str]


@dataclass
class Case:
    """One field of one frame, where the two differ.

    messages: ours that end in the frame; before: those of the same side that ended before; after: the next of
    that side, where there is one. ours, theirs: the values, as text; following: those of `after`.
    """

    capture: str
    dissected: Dissected
    side: Side
    frame: int
    field: str
    messages: Sequence[Message]
    before: Sequence[Message]
    after: Sequence[Message]
    ours: Values
    theirs: Values
    following: Values

    @property
    def names(self) -> list[str]:
        return [message.name for message in self.messages]


@dataclass(frozen=True)
class Reason:
    """Why tshark differs: what it does, and which differences are of that kind.

    stays: having differed once for this reason, it has lost its place on that side and finds it no more, so
    that all that follows there is explained too.
    """

    what: str
    holds: Callable[[Case], bool]
    stays: bool = False


@dataclass(frozen=True)
class Table:
    """One protocol. spoken: its name in a verdict. decode_as: tshark's name for it.

    fields: for each message by its name, tshark's field -> ours: a path such as `pixel_format.depth` or
    `rectangles[].encoding`, or a function of the message that returns the values.
    """

    spoken: str
    decode_as: str
    fields: Mapping[str, Mapping[str, str | Callable[[Message], Sequence[Any]]]]
    reasons: Sequence[Reason]

    @property
    def theirs(self) -> list[str]:
        """All of tshark's fields that are asked for."""
        return sorted({name for pairs in self.fields.values() for name in pairs})


@dataclass
class Outcome:
    """agreed: how many values are the same, by field. known: differences by reason. unknown: the rest."""

    agreed: Counter[str] = field(default_factory=Counter)
    known: dict[str, list[Case]] = field(default_factory=dict)
    unknown: list[Case] = field(default_factory=list)


Row = dict[str, Values]


Ends = tuple[str, str]
"""Sender and receiver of a frame."""
Frames = dict[tuple[Ends, int], tuple[int, Row]]


def unpacked(capture: Path) -> bytes:
    """A capture as tshark reads it."""
    data = capture.read_bytes()
    return lzma.decompress(data) if capture.suffix == ".xz" else data


def tshark(captures: Sequence[Path], table: Table, ports: set[int]) -> dict[Ends, Frames]:
    """What tshark shows of each frame of all captures: (ends, time in ns) -> its number, the fields' values.

    One run, since most of what it costs is its start: pcapng files in a row are one pcapng file. The number
    is that of the frame in the row.
    """
    head = ["frame.number", "frame.time_epoch"]
    head += [f"{of}.{end}" for end in ("src", "dst") for of in ("ip", "ipv6")]
    head += ["tcp.srcport", "tcp.dstport"]
    command = ["tshark", "-n", "-r", "-", "-T", "fields", "-E"]
    command += ["separator=\x1d", "-E"]
    command += ["aggregator=\x1e", "-Y", "tcp"]
    for number in sorted(ports):
        command += ["-d", f"tcp.port=={number},{table.decode_as}"]
    for name in (*head, *table.theirs):
        command += ["-e", name]
    data = b"".join(map(unpacked, captures))
    done = subprocess.run(command, capture_output=True, check=True, input=data)
    text = done.stdout.decode("utf-8", "backslashreplace")
    found: dict[Ends, Frames] = {}
    # Text may hold line feeds: a line is whole when it has all its columns.
    pending = ""
    for line in text.split("\n"):
        pending += line
        cells = pending.split("\x1d")
        if len(cells) < len(head) + len(table.theirs):
            pending += "\n" if line or pending else ""
            continue
        pending = ""
        frame, time, from_four, from_six, to_four, to_six, from_port, to_port = cells[: len(head)]
        seconds, _, fraction = time.partition(".")
        sender = f"{from_four}:{from_port}" if from_four else f"[{from_six}]:{from_port}"
        receiver = f"{to_four}:{to_port}" if to_four else f"[{to_six}]:{to_port}"
        values = {
            name: [plain(value) for value in cell.split("\x1e")] if cell else []
            for name, cell in zip(table.theirs, cells[len(head) :], strict=True)
        }
        ends, time_ns = (sender, receiver), int(seconds + fraction.ljust(9, "0"))
        found.setdefault(ends, {})[ends, time_ns] = int(frame), values
    return found


def plain(value: Any) -> str:
    """A value of either side as text that can be compared."""
    match value:
        case bool():
            return str(int(value))
        case int():
            return str(value)
        case bytes():
            return value.rstrip(b"\0").decode("latin-1")
    text = str(value)
    if text in ("True", "False"):
        return str(int(text == "True"))
    try:
        return str(int(text, 0))
    except ValueError:
        return text


def at(values: Any, path: str) -> list[Any]:
    """What a path leads to in a message's values; nothing where it leads nowhere."""
    found = [values]
    for step in path.split("."):
        name, many = (step[:-2], True) if step.endswith("[]") else (step, False)
        found = [one[name] for one in found if name in one]
        if many:
            found = [item for one in found for item in one]
    return [item for one in found for item in (one if isinstance(one, list) else [one])]


def of_message(message: Message, table: Table) -> Iterator[tuple[str, Values]]:
    """tshark's name and our values of each field of a message that the table has."""
    for name, path in table.fields.get(message.name, {}).items():
        values = path(message) if callable(path) else at(message.values, path)
        yield name, [plain(value) for value in values]


def compare(captures: Sequence[Path], table: Table, outcome: Outcome) -> None:
    """Compare all conversations of the captures in which both sides spoke the table's protocol."""
    found: list[tuple[Path, Dissected]] = []
    for capture in captures:
        with open_capture(capture) as opened:
            found += [
                (capture, one)
                for one in dissect(read(opened))
                if one.verdict.client_spoke == one.verdict.server_spoke == table.spoken
            ]
    ports: set[int] = set()
    for _, one in found:
        end = one.verdict.client if one.verdict.reversed else one.verdict.server
        ports.add(int(end.rpartition(":")[2]))
    frames = tshark(list(dict.fromkeys(capture for capture, _ in found)), table, ports) if found else {}
    for capture, one in found:
        _compare(capture, one, table, frames, outcome)


def _compare(
    capture: Path,
    dissected: Dissected,
    table: Table,
    frames: Mapping[Ends, Frames],
    outcome: Outcome,
) -> None:
    client, server = dissected.verdict.client, dissected.verdict.server
    ends = {Side.CLIENT: (client, server), Side.SERVER: (server, client)}
    ending: dict[tuple[Ends, int], list[Message]] = {}
    for record in dissected.records:
        if isinstance(record, Message) and record.parts:
            ending.setdefault((ends[record.side], record.last_ns), []).append(record)
    lost: dict[Side, Reason] = {}
    for side, end in ends.items():
        before: list[Message] = []
        mine = [record for (sender, _), found in ending.items() if sender == end for record in found]
        for key, (number, row) in frames.get(end, {}).items():
            messages = ending.pop(key, [])
            ours = _values(messages, table)
            # In the order in which they end, which is that of the stream.
            after = mine[len(before) + len(messages) :][:1]
            following = _values(after, table)
            for name in table.theirs:
                case = Case(
                    capture.name,
                    dissected,
                    side,
                    number,
                    name,
                    messages,
                    before,
                    after,
                    ours.get(name, []),
                    row[name],
                    following.get(name, []),
                )
                if case.ours == case.theirs:
                    outcome.agreed[name] += len(case.ours)
                    continue
                reason = next((one for one in table.reasons if one.holds(case)), lost.get(side))
                if reason is None:
                    outcome.unknown.append(case)
                    continue
                if reason.stays:
                    lost.setdefault(side, reason)
                outcome.known.setdefault(reason.what, []).append(case)
            before += messages
    assert not ending, f"{capture}: no frame of tshark for {ending}"


def _values(messages: Sequence[Message], table: Table) -> dict[str, Values]:
    found: dict[str, Values] = {}
    for message in messages:
        for name, values in of_message(message, table):
            found.setdefault(name, []).extend(values)
    return found


def table_of(protocol: str) -> Table:
    """The table of a protocol."""
    table: Table = importlib.import_module(f"tests.oracle.{protocol}").TABLE
    return table


def show(case: Case) -> str:
    """A difference on one line."""
    names = ", ".join(case.names) or "no message ends here"
    ours, theirs = (
        ", ".join(values[:6]) + (f", … {len(values)}" if len(values) > 6 else "") or "-"
        for values in (case.ours, case.theirs)
    )
    where = f"{case.capture} frame {case.frame} {case.side} ({names}) {case.field}"
    return f"{where}: ours {ours}; tshark {theirs}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("captures", nargs="*", type=Path, default=sorted(PCAPS.glob("*.pcapng*")))
    parser.add_argument("--protocol", choices=PROTOCOLS, help="by default all")
    parser.add_argument(
        "--all", action="store_true", help="print every difference, not the first of a reason"
    )
    options = parser.parse_args()
    failed = False
    for protocol in [options.protocol] if options.protocol else PROTOCOLS:
        table, outcome = table_of(protocol), Outcome()
        compare(options.captures, table, outcome)
        print(f"{protocol}: {outcome.agreed.total():,} values of {len(outcome.agreed)} fields are the same")
        for what, cases in sorted(outcome.known.items(), key=lambda item: -len(item[1])):
            print(f"  {len(cases):6,} times tshark {what}")
            for case in cases if options.all else cases[:1]:
                print(f"           {show(case)}")
        print(f"  {len(outcome.unknown):6,} differences without a known reason")
        for case in outcome.unknown:
            print(f"           {show(case)}")
        failed = failed or bool(outcome.unknown)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
