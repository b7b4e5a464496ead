# SPDX-License-Identifier: GPL-2.0-or-later
"""Records that are told while they are read come in the order in which they are sorted at the end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dissect.capture import Conversation, Event, open_capture, read
from dissect.dissection.order import HELD_BYTES, Order, chronological
from dissect.dissection.reading import Dissected, dissect, each
from dissect.dissection.spice_links import SpiceLink
from dissect.stream import Side
from dissect.stream.batch import Batch
from dissect.stream.records import Gap, Message, Record, Violation
from tests.dissection.conversations import GREETING, MS, Step, events
from tests.rfb.examples import SERVER_INIT

C, S = Side.CLIENT, Side.SERVER
PCAPS = sorted(Path(__file__).parents[2].glob("pcaps/*.pcapng"))

Told = dict[int, list[tuple[SpiceLink | None, Record]]]


def told_of(path: Path) -> Told:
    told: Told = {}

    def tell(conversation: Conversation, link: SpiceLink | None, record: Record) -> None:
        told.setdefault(conversation.index, []).append((link, record))

    with open_capture(path) as capture:
        assert not any(found.records for found in dissect(read(capture), watch=tell))
    return told


def named(link: SpiceLink | None) -> tuple[int | None, str] | None:
    return None if link is None else (link.session_id, link.channel)


@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.stem)
def test_as_at_the_end_of_every_recording(path: Path) -> None:
    told = told_of(path)
    with open_capture(path) as capture:
        for found in dissect(read(capture)):
            mine = told.pop(found.conversation.index, [])
            assert [record for _, record in mine] == found.records
            assert {named(link) for link, _ in mine} <= {named(found.verdict.spice)}
    assert not told


def message(side: Side, offset: int, time: int, size: int = 10) -> Message:
    return Message(side, "rfb", "Bell", offset, size, bytes(size), time, time)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_becoming_known(seed: int) -> None:
    """Each side's records become known with a delay of their own; what is told is never put right later."""
    chance = random.Random(seed)
    streams: dict[Side, list[Record]] = {}
    for side in Side:
        offset = time = 0
        streams[side] = []
        for _ in range(50):
            time += chance.choice((0, 0, 1, 5))
            kind = chance.random()
            if kind < 0.1:
                streams[side].append(Gap(side, "rfb", offset, 10, time))
            else:
                streams[side].append(message(side, offset, time))
            if kind > 0.8:
                streams[side].append(Violation(side, "rfb", "Bell", offset + 5, 0, time, "messages", "odd"))
            offset += 10
    everything = [record for side in Side for record in streams[side]]
    order = Order()
    told: list[Record | Batch] = []
    left = {side: list(reversed(streams[side])) for side in Side}
    while any(left.values()):
        side = chance.choice([side for side in Side if left[side]])
        order.add([left[side].pop() for _ in range(min(len(left[side]), chance.randint(1, 3)))])
        pending = {
            other: (left[other][-1].offset, left[other][-1].time_ns) if left[other] else (1 << 60, 1 << 60)
            for other in Side
        }
        told += order.ready(pending)
    told += order.rest()
    assert told == chronological(everything)
    assert not order


def test_a_violation_waits_for_the_run_in_which_it_lies() -> None:
    order = Order()
    wrong = Violation(S, "rfb", "Bell", 12, 0, 5, "messages", "odd")
    run = message(S, 10, 9, 40)
    order.add([wrong])
    assert not list(order.ready({C: (0, 20), S: (10, 9)}))
    order.add([run])
    assert list(order.ready({C: (0, 20), S: (50, 20)})) == [run, wrong]


def test_what_is_held_back_has_a_limit() -> None:
    """A run of the client that stays open for ever does not keep all that the server says in memory."""
    order, told = Order(), 0
    size = 1 << 16
    for number in range(4 * HELD_BYTES // size):
        order.add([message(S, number * size, number + 10, size)])
        told += len(list(order.ready({C: (0, 5), S: ((number + 1) * size, number + 11)})))
    assert told * size > 2 * HELD_BYTES


def test_records_come_before_the_end() -> None:
    """What can be told is told with the next event, not when the conversation ends."""
    talk = [
        (S, GREETING),
        (C, GREETING),
        (S, b"\1\1"),
        (C, b"\1"),
        (S, bytes(4)),
        (C, b"\1"),
        (S, SERVER_INIT),
    ]
    talk += [(C, b"\4\1\0\0\0\0\0a"), (S, b"\2")] * 100
    steps: list[Step] = [(side, data, number * MS) for number, (side, data) in enumerate(talk)]
    told: list[Record] = []
    behind = []

    def tell(_conversation: Conversation, _link: SpiceLink | None, record: Record) -> None:
        told.append(record)

    def counted() -> Iterator[Event]:
        for number, event in enumerate(events(steps, 1000 * MS)):
            behind.append(number - len(told))
            yield event

    (found,) = dissect(counted(), watch=tell)
    assert len(told) == len(talk)
    assert not found.records
    assert max(behind) < 5  # of some 200

    *pulled, last = each(events(steps, 1000 * MS))  # the same for who iterates
    assert isinstance(last, Dissected)
    assert last.verdict == found.verdict
    assert [one.record for one in pulled if not isinstance(one, Dissected)] == told
