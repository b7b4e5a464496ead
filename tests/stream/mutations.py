# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded bytes with numbers, bits and pieces of them changed, as a seed says; and all that reads them."""

from __future__ import annotations

import random
from typing import Protocol

from dissect.stream import Side
from dissect.stream.records import Message, Record
from dissect.stream.session import Session
from tests.stream.talk import account

Segment = tuple[Side, bytes]

ODD = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1]
"""Numbers that are the first or the last of something."""


def mutated(said: list[Segment], at_random: random.Random, *, spared: int) -> list[Segment]:
    """`said` with up to 20 changes; the first `spared` segments are left as they are."""
    changed = [(side, bytearray(data)) for side, data in said]
    for _ in range(at_random.choice([1, 2, 4, 20])):
        _, data = changed[at_random.randrange(min(spared, len(said) - 1), len(said))]
        at = at_random.randrange(len(data))
        match at_random.randrange(5):
            case 0:
                data[at] ^= 1 << at_random.randrange(8)
            case 1:
                order = at_random.choice(["little", "big"])
                data[at : at + 4] = at_random.choice(ODD).to_bytes(4, order)  # type: ignore[arg-type]
            case 2:
                del data[at : at + at_random.choice([1, 4, 100])]
                data += b"?" * (not data)
            case 3:
                data[at:at] = data[max(0, at - at_random.randrange(1, 200)) : at]
            case _:
                data[at : at + at_random.randrange(64)] = at_random.randbytes(at_random.randrange(64)) or b"?"
    return [(side, bytes(data)) for side, data in changed]


class Draws(Protocol):
    """What makes a picture of records."""

    def take(self, record: Record, /) -> object: ...


def read_and_draw(session: Session, renderer: Draws, said: list[Segment]) -> list[Record]:
    """All records of what was said; every byte is accounted for, and all that can be looked at is."""
    records: list[Record] = []
    for now, (side, data) in enumerate(said):
        records += session.feed(side, data, now)
    for side in Side:
        records += session.end(side, len(said))
    account(records, list(said))
    for record in records:
        if isinstance(record, Message):
            record.fields()
        renderer.take(record)
    return records
