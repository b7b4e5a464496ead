# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read of a session of which one segment is lost: each segment in turn, of every recording.

Of a SPICE session that is each of its connections by itself. Printed for each recording: how many segments
there are, which share of the messages that the lost segment did not touch is read as in the undamaged
session, and how many were read that are not in it ("invented").

With --overwrite N no segment is lost, but N bytes somewhere in it are others; with --sizes the size in the
header of each message in turn is another number below 128 MiB (SPICE). A message at the place of one that was
said counts as invented only if that one was not touched.

With --start the capture begins at each segment of the normal phase in turn instead: how many of those
sessions are recognised as RFB, and the same shares.

With --seek N the CPU seconds (user and system) are measured that are needed to look through N bytes in which
no message begins, after a gap: the insides of a recording's drawing messages.

    python -m tests.benchmarks.damage [--protocol spice] [--step N] [--start] [RECORDING...]
    python -m tests.benchmarks.damage --protocol spice [--step N] (--overwrite N | --sizes) [RECORDING...]
    python -m tests.benchmarks.damage --protocol spice --seek N
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
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


def before(said: list[Segment], index: int) -> int:
    """The place of segment `index` in its side's stream."""
    return sum(len(data) for side, data in said[:index] if side is said[index][0])


def damage(made: type[Session], said: list[Segment], lost: int, whole: dict[Key, bytes]) -> Damage:
    """What is read where segment `lost` is lost."""
    side, data = said[lost]
    begin = before(said, lost)
    return compared(play(made, said, lost), whole, side, begin, begin + len(data), held=False)


def compared(
    records: list[Record], whole: dict[Key, bytes], side: Side, begin: int, end: int, *, held: bool
) -> Damage:
    """What was read where bytes `begin` to `end` of a side were lost or (`held`) overwritten."""
    touched = {key for key in whole if key[0] is side and key[1] < end and key[1] + key[2] > begin}
    places = {key[:3] for key in touched} if held else set()
    remaining = {key: raw for key, raw in whole.items() if key not in touched}
    found = messages(records)
    recovered = sum(found.get(key) == raw for key, raw in remaining.items())
    invented = sum(whole.get(key) != raw and key[:3] not in places for key, raw in found.items())
    violations = sum(isinstance(one, Violation) for one in records)
    return Damage(len(remaining), recovered, invented, violations)


def overwritten(said: list[Segment], side: Side, begin: int, new: bytes) -> list[Segment]:
    """The same segments, with other bytes from `begin` on in what `side` said."""
    out: list[Segment] = []
    at, end = 0, begin + len(new)
    for other, data in said:
        if other is side:
            first, last = max(begin, at), min(end, at + len(data))
            if first < last:
                data = data[: first - at] + new[first - begin : last - begin] + data[last - at :]
            at += len(data)
        out.append((other, data))
    return out


def changes(
    made: type[Session], said: list[Segment], count: int | None, step: int
) -> Iterator[tuple[Side, int, bytes]]:
    """What to overwrite in turn: `count` bytes in each segment (None: the size of each message)."""
    chance = random.Random(1)
    if count is not None:
        for index in range(normal_phase(made, said), len(said), step):
            side, data = said[index]
            place = chance.randrange(max(1, len(data) - count + 1))
            yield side, before(said, index) + place, chance.randbytes(min(count, len(data)))
        return
    headers = [
        (one.side, one.offset, next(iter(part.end for part in one.parts)))
        for one in play(made, said)
        if isinstance(one, Message) and one.parts and one.parts[0].cls.title() in HEADERS
    ]
    for side, offset, size in headers[::step]:
        yield side, offset + size - (4 if size == MINI else 8), _another(chance).to_bytes(4, "little")


HEADERS, MINI = ("SpiceMiniDataHeader", "SpiceDataHeader"), 6


def _another(chance: random.Random) -> int:
    """A number below 128 MiB: small ones are as likely as large ones."""
    return int(chance.getrandbits(chance.randrange(1, 28)))


def overwrite(
    made: type[Session], said: list[Segment], change: tuple[Side, int, bytes], whole: dict[Key, bytes]
) -> Damage:
    """What is read where some bytes are others."""
    side, begin, new = change
    records = play(made, overwritten(said, side, begin, new))
    return compared(records, whole, side, begin, begin + len(new), held=True)


DRAWN = "spicegtk--qemu-spice-drawing-off.pcapng.xz"


def seek(size: int) -> None:
    """Print what it costs to look through `size` bytes after a gap, in which no message begins."""
    for said in conversations(PCAPS / DRAWN):
        bodies = b"".join(
            one.raw[one.parts[0].end :]
            for one in play(SpiceSession, said)
            if isinstance(one, Message) and "DISPLAY_DRAW" in one.name and one.parts
        )
        if not bodies:
            continue
        session = SpiceSession()
        for index, (side, data) in enumerate(said[: normal_phase(SpiceSession, said)]):
            session.feed(side, data, index)
        after = (bodies * (size // len(bodies) + 1))[:size]
        begin = time.process_time()
        records = session.gap(Side.SERVER, 10, 0)
        for at in range(0, size, 1460):
            records += session.feed(Side.SERVER, after[at : at + 1460], at)
        records += session.end(Side.SERVER, size)
        spent = time.process_time() - begin
        read = sum(isinstance(one, Message) and bool(one.parts) for one in records)
        print(f"{size} bytes looked through in {spent:.2f} s of CPU, {read} messages read in them")
        return


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
    parser.add_argument("--overwrite", type=int, metavar="N", help="overwrite so many bytes of it instead")
    parser.add_argument("--sizes", action="store_true", help="overwrite the size of each message (SPICE)")
    parser.add_argument("--seek", type=int, metavar="N", help="CPU to look through so many bytes (SPICE)")
    parser.add_argument(
        "--start", action="store_true", help="begin at every segment instead of losing it (RFB)"
    )
    options = parser.parse_args()
    if options.seek:
        seek(options.seek)
        return
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
            elif options.overwrite or options.sizes:
                whole, how_many = messages(records), None if options.sizes else options.overwrite
                for change in changes(made, said, how_many, options.step):
                    found.append(overwrite(made, said, change, whole))
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
