# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever waits and reads many messages at a time hears the same, in the same order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.capture import Conversation, Conversations, Event, open_capture
from dissect.capture.plain import Plain
from dissect.dissection import patient
from dissect.dissection.order import Order
from dissect.dissection.patient import Patient
from dissect.dissection.reading import dissect
from dissect.dissection.spice_links import SpiceLink
from dissect.spice.meaning import ONE_SIDED
from dissect.spice.session import SpiceSession
from dissect.stream.batch import Around, Batch
from dissect.stream.records import Record
from dissect.stream.side import Side
from tests.spice.examples import data, example_of, linked
from tests.spice.test_shapes import KINDS
from tests.stream import talk
from tests.stream.properties import mutated, recut

RECORDINGS = sorted(Path("pcaps").glob("*spic*.pcapng"))


def events_of(path: Path) -> list[Event]:
    with open_capture(path) as capture:
        reader = Plain(Conversations())
        return [*reader.read(capture), *reader.finish(capture)]


def lines_of(events: list[Event], *, together: bool) -> list[bytes]:
    """All that is told, as lines."""
    found: list[bytes] = []

    def around(record: Record | Batch, number: int, link: SpiceLink | None, name: str) -> Around:
        channel = None if link is None else link.channel
        return Around(f"{number} {channel} {record.side} {name} ", " ", " ", " ", "")

    def one(conversation: Conversation, link: SpiceLink | None, record: Record) -> None:
        mine = around(record, conversation.index, link, record.name)
        found.append(mine.line(record.time_ns, record.offset, record.size, record.text()).encode())

    def many(conversation: Conversation, link: SpiceLink | None, batch: Batch) -> None:
        text = batch.text(lambda name: around(batch, conversation.index, link, name))
        found.extend(text.splitlines())

    for _ in dissect(events, watch=one, together=many if together else None):
        pass
    return found


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_every_recording_is_told_as_ever(path: Path) -> None:
    events = events_of(path)
    assert lines_of(events, together=True) == lines_of(events, together=False)


def told(stream: SpiceSession | Patient, events: list[talk.Event], batches: list[Batch]) -> list[Record]:
    """What is told of a conversation in which each event is a little later than the one before."""
    order, out = Order(), list[Record]()
    for now, (side, what) in enumerate(events):
        assert isinstance(what, bytes)
        order.add(stream.feed(side, what, now))
        order.add(batches)
        batches.clear()
        pending = {}
        for one in Side:
            offset, since_ns = stream.pending(one)
            pending[one] = offset, now if since_ns is None else since_ns
        for record in order.ready(pending):
            out += record if isinstance(record, Batch) else [record]
    for side in Side:
        order.add(stream.end(side, len(events)))
    order.add(batches)
    for record in order.rest():
        out += record if isinstance(record, Batch) else [record]
    return out


@settings(max_examples=60)
@given(st.data())
def test_the_order_is_the_same(drawn: st.DataObject) -> None:
    channel = drawn.draw(st.sampled_from(sorted({channel for channel, _, _ in KINDS})))
    events: list[talk.Event] = []
    keys = st.lists(st.sampled_from([key for key in KINDS if key[0] == channel]), min_size=1, max_size=6)
    for key in drawn.draw(keys):
        body = example_of(*key)
        assert body is not None
        events += [(key[1], data(key[2], body))] * drawn.draw(st.integers(1, 12))
    events = drawn.draw(st.permutations(events))
    if drawn.draw(st.booleans()):
        events = drawn.draw(mutated(events, gaps=False))
    events = [*linked(channel), *drawn.draw(recut(events))]
    batches: list[Batch] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patient, "ENOUGH", drawn.draw(st.sampled_from([1, 100, 1 << 16])))
        found = told(Patient(SpiceSession(), batches), events, batches)
    assert found == told(SpiceSession(), events, [])


@settings(max_examples=60)
@given(st.data())
def test_of_one_sided_channels_each_side_can_be_read_by_itself(drawn: st.DataObject) -> None:
    channel = drawn.draw(st.sampled_from(sorted(ONE_SIDED)))
    keys = drawn.draw(st.lists(st.sampled_from([key for key in KINDS if key[0] == channel]), min_size=2))
    events: list[talk.Event] = [
        (side, data(number, example_of(channel, side, number) or b"")) for _, side, number in keys
    ]
    apart = sorted(events, key=lambda event: event[0])
    ways = [talk.play(SpiceSession(), [*linked(channel), *way]) for way in (events, apart)]
    one, other = ([[record for record in way if record.side is side] for side in Side] for way in ways)
    assert one == other
