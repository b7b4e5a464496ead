# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings with numbers, bytes and pieces of them changed: read and drawn without an exception."""

from __future__ import annotations

import random

import pytest

from dissect.spice.pixels.screen import Renderer
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from dissect.stream.records import Message, Record
from tests.benchmarks.damage import PCAPS, Segment, conversations
from tests.stream.talk import account

ODD = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1]
"""Numbers that are the first or the last of something."""
MUTATIONS = 4
"""Of each recording."""
LINK = 6
"""Segments that are left as they are: nothing is read of a link that is wrong."""


def mutated(said: list[Segment], at_random: random.Random) -> list[Segment]:
    changed = [(side, bytearray(data)) for side, data in said]
    for _ in range(at_random.choice([1, 2, 4, 20])):
        _, data = changed[at_random.randrange(min(LINK, len(said) - 1), len(said))]
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


@pytest.mark.parametrize(
    "name",
    [
        "spicy--qemu-spice-devices.pcapng",
        "spicy--xspice-auto_glz.pcapng.xz",
        "spicy--xspice-quic.pcapng.xz",
        "spicy--xspice-video.pcapng.xz",
        "spicy--xspice-wan.pcapng.xz",
        "spicy--xspice-x11perf.pcapng.xz",
    ],
)
def test_nothing_that_is_changed_does_harm(name: str) -> None:
    at_random = random.Random(name)
    pool = conversations(PCAPS / name)
    read = 0
    for _ in range(MUTATIONS):
        conversation = at_random.choice(pool)
        said = mutated(conversation[:70], at_random)
        session, renderer, records = SpiceSession(), Renderer(), list[Record]()
        for now, (side, data) in enumerate(said):
            records += session.feed(side, data, now)
        for side in Side:
            records += session.end(side, len(said))
        account(records, list(said))
        for record in records:
            if isinstance(record, Message):
                record.fields()
            renderer.take(record)
        read += len(records)
    assert read > 20
