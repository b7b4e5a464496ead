# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests as conversations: who says what, and which records come of it; and the account that every test of
a whole stream must pass: each byte reported once, in order, and as it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from scapy.packet import Packet

from dissect.stream import Side
from dissect.stream.records import HEAD_BYTES, Gap, Message, Record, Violation
from dissect.stream.session import Session

CLIENT, SERVER = Side.CLIENT, Side.SERVER

Event = tuple[Side, bytes | int]
"""What one side did: sent bytes, or lost so many."""


def words(record: Record) -> str:
    """A record in one line: `server ServerInit`, `client gap 4`, `client Bell wrong at 3: why`."""
    match record:
        case Gap():
            return f"{record.side} gap {record.size}"
        case Violation():
            return f"{record.side} {record.name} wrong at {record.offset}: {record.why}"
        case Message(note=None):
            return f"{record.side} {record.name}"
        case Message():
            return f"{record.side} {record.name} ({record.note})"


class Talk:
    """A session and everything it was told; each `client`, `server`, ... returns the new records in words."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.records: list[Record] = []
        self.events: list[Event] = []
        self.now = 0

    def client(self, *said: bytes | Packet) -> list[str]:
        return self.say(CLIENT, *said)

    def server(self, *said: bytes | Packet) -> list[str]:
        return self.say(SERVER, *said)

    def say(self, side: Side, *said: bytes | Packet) -> list[str]:
        """`side` sends all of this in one segment, 1 µs after the last."""
        data = b"".join(map(bytes, said))
        self.events.append((side, data))
        self.now += 1000
        return self._keep(self.session.feed(side, data, self.now))

    def lose(self, side: Side, size: int) -> list[str]:
        self.events.append((side, size))
        self.now += 1000
        return self._keep(self.session.gap(side, size, self.now))

    def over(self) -> list[str]:
        """Both sides end; then every byte must be accounted for."""
        self.now += 1000
        told = self._keep([r for side in Side for r in self.session.end(side, self.now)])
        account(self.records, self.events)
        return told

    def last(self, name: str) -> Message:
        """The latest message `name`."""
        found = [r for r in self.records if isinstance(r, Message) and r.name == name]
        assert found, f"no {name} among {[r.name for r in self.records]}"
        return found[-1]

    def _keep(self, records: Sequence[Record]) -> list[str]:
        self.records += records
        return [words(record) for record in records]


def play(session: Session, events: Iterable[Event], *, end: bool = True) -> list[Record]:
    """Everything a session says of `events`, all at time 0."""
    records: list[Record] = []
    for side, what in events:
        records += session.gap(side, what, 0) if isinstance(what, int) else session.feed(side, what, 0)
    if end:
        for side in Side:
            records += session.end(side, 0)
    return records


def account(records: Sequence[Record], events: Iterable[Event]) -> None:
    """Hold the records of a whole conversation to what was sent: each byte once, in order, unchanged."""
    events = list(events)
    for side in Side:
        stream, there = bytearray(), bytearray()
        for who, what in events:
            if who is side:
                stream += bytes(what)
                there += bytes(what) if isinstance(what, int) else b"\1" * len(what)
        _account_side([r for r in records if r.side is side], bytes(stream), bytes(there))


def _account_side(records: list[Record], stream: bytes, there: bytes) -> None:
    messages = [r for r in records if isinstance(r, Message)]
    gaps = [r for r in records if isinstance(r, Gap)]

    def bridged(gap: Gap) -> bool:
        return any(m.offset <= gap.offset and gap.offset + gap.size <= m.offset + m.size for m in messages)

    at = 0
    for record in records:
        if isinstance(record, Violation):
            assert 0 <= record.offset <= len(stream)
            assert record.why
            assert record.state
        elif isinstance(record, Message) or not bridged(record):
            assert record.offset == at, f"{words(record)} begins at {record.offset}, not at {at}"
            assert record.size > 0
            at += record.size
        json.dumps(record.fields())
        json.dumps(record.fields(secrets=True))
    assert at == len(stream), f"{len(stream) - at} bytes are in no record"
    assert [o for g in gaps for o in range(g.offset, g.offset + g.size)] == [
        o for o, seen in enumerate(there) if not seen
    ]
    for message in messages:
        span = slice(message.offset, message.offset + message.size)
        assert message.first_ns <= message.last_ns
        if message.parts:
            assert message.raw == stream[span]
            assert bytes(message.packet or b"") == message.raw
        elif message.raw != stream[span]:
            assert message.note is not None
            seen = bytes(b for b, is_there in zip(stream[span], there[span], strict=True) if is_there)
            assert message.raw == seen[:HEAD_BYTES]
            assert message.packet is None


def cut(data: bytes, *sizes: int) -> list[bytes]:
    """`data` in pieces of these sizes, the last taking the rest."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]
