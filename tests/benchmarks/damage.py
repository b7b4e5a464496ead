# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of a session of which one segment is lost: each segment in turn, of every recording.

Of a SPICE session that is each of its connections by itself. Printed for each recording: how many segments
there are, which share of the messages that the lost segment did not touch is read as in the undamaged
session, and how many were read that are not in it ("invented").

With --start the capture begins at each segment of the normal phase in turn instead: how many of those
sessions are recognised as RFB, and the same shares.

    python -m tests.benchmarks.damage [--protocol spice] [--step N] [--start] [RECORDING...]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from dissect.capture import Bytes, Conversation, Ended, Opened, open_capture, read
from dissect.dissection.dissector import Dissector
from dissect.rfb.session import RfbSession
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from dissect.stream.records import Message, Record, Violation
from dissect.stream.session import Session

PCAPS = Path(__file__).resolve().parent.parent.parent / "pcaps"

Segment = tuple[Side, bytes]
SESSIONS: dict[str, type[Session]] = {"rfb": RfbSession, "spice": SpiceSession}


def conversations(path: Path) -> list[list[Segment]]:
    """The segments of each conversation of a recording, as they came."""
    found: dict[int, list[Segment]] = {}
    with open_capture(path) as capture:
        for event in read(capture):
            if isinstance(event, Bytes):
                found.setdefault(event.conversation.index, []).append((event.side, event.data))
    return list(found.values())


def cut(whole: list[Segment], size: int = 1460) -> list[Segment]:
    """The same bytes in segments of a common size: those of loopback hold whole updates."""
    return [(side, data[at : at + size]) for side, data in whole for at in range(0, len(data), size)]


Key = tuple[Side, int, int, str]


@dataclass
class Damage:
    """One lost segment: messages that it did not touch, those of them that were read, and others."""

    remaining: int
    recovered: int
    invented: int
    violations: int


def messages(records: list[Record]) -> dict[Key, bytes]:
    return {
        (one.side, one.offset, one.size, one.name): one.raw
        for one in records
        if isinstance(one, Message) and one.parts
    }


def play(made: type[Session], said: list[Segment], lost: int | None = None) -> list[Record]:
    session = made()
    records: list[Record] = []
    for index, (side, data) in enumerate(said):
        if index == lost:
            records += session.gap(side, len(data), index)
        else:
            records += session.feed(side, data, index)
    for side in Side:
        records += session.end(side, len(said))
    return records


def damage(made: type[Session], said: list[Segment], lost: int, whole: dict[Key, bytes]) -> Damage:
    side, data = said[lost]
    begin = sum(len(other) for other_side, other in said[:lost] if other_side is side)
    end = begin + len(data)
    remaining = {
        key: raw
        for key, raw in whole.items()
        if key[0] is not side or key[1] + key[2] <= begin or key[1] >= end
    }
    records = play(made, said, lost)
    found = messages(records)
    recovered = sum(found.get(key) == raw for key, raw in remaining.items())
    invented = sum(whole.get(key) != raw for key, raw in found.items())
    violations = sum(isinstance(one, Violation) for one in records)
    return Damage(len(remaining), recovered, invented, violations)


def start(said: list[Segment], first: int, whole: dict[Key, bytes]) -> tuple[bool, Damage]:
    """What is read where the capture begins with segment `first`, and whether it is known to be RFB."""
    missed = {side: sum(len(data) for other, data in said[:first] if other is side) for side in Side}
    conversation = Conversation(0, "[::1]:40000", "[::1]:5900", "port", "", True, 1, 0, 0)
    dissector = Dissector(conversation)
    records = dissector.push(Opened(conversation, 0))
    for index, (side, data) in enumerate(said[first:]):
        records += dissector.push(Bytes(conversation, side, data, index))
    records += dissector.push(Ended(conversation, len(said), True))
    remaining = {key: raw for key, raw in whole.items() if key[1] >= missed[key[0]]}
    found: dict[Key, bytes] = {}
    for (told, offset, size, name), raw in messages(records).items():
        side = told.other if dissector.turned else told
        found[side, offset + missed[side], size, name] = raw
    recovered = sum(found.get(key) == raw for key, raw in remaining.items())
    invented = sum(whole.get(key) != raw for key, raw in found.items())
    violations = sum(isinstance(one, Violation) for one in records)
    return dissector.rfb is not None, Damage(len(remaining), recovered, invented, violations)


def normal_phase(made: type[Session], said: list[Segment]) -> int:
    """The number of the first segment after the handshake, which cannot be done without."""
    session = made()
    for index, (side, data) in enumerate(said):
        if session.state == "messages":
            return index
        session.feed(side, data, index)
    return len(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("recordings", nargs="*", type=Path, default=sorted(PCAPS.glob("*.pcapng*")))
    parser.add_argument("--protocol", choices=SESSIONS, default="rfb", help="default: %(default)s")
    parser.add_argument("--step", type=int, default=1, help="lose only every so manieth segment")
    parser.add_argument(
        "--start", action="store_true", help="begin at every segment instead of losing it (RFB)"
    )
    options = parser.parse_args()
    made = SESSIONS[options.protocol]
    total = Damage(0, 0, 0, 0)
    known = count = 0
    print(f"{'recording':45} {'segments':>8} {'recovered':>10} {'invented':>9} {'violations':>10}")
    for path in options.recordings:
        found: list[Damage] = []
        for conversation in conversations(path):
            said = cut(conversation)
            records = play(made, said)
            begin = normal_phase(made, said)
            if begin >= len(said) or any(isinstance(one, Violation) for one in records):
                continue
            places = range(begin, len(said), options.step)
            if options.start:
                started = [start(said, first, messages(records)) for first in places]
                known, found = known + sum(one for one, _ in started), [*found, *(one for _, one in started)]
                count += len(started)
            else:
                found += [damage(made, said, lost, messages(records)) for lost in places]
        if not found:
            continue
        parts = [sum(values) for values in zip(*(vars(one).values() for one in found), strict=True)]
        print(f"{path.name:45} {len(found):8} {parts[1] / max(1, parts[0]):10.1%} {parts[2]:9} {parts[3]:10}")
        for name, value in zip(vars(total), parts, strict=True):
            setattr(total, name, getattr(total, name) + value)
    share = total.recovered / max(1, total.remaining)
    print(f"{'all':45} {'':8} {share:10.1%} {total.invented:9} {total.violations:10}")
    if options.start:
        print(f"recognised as RFB: {known} of {count} starts in mid-session")


if __name__ == "__main__":
    main()
