# SPDX-License-Identifier: GPL-2.0-or-later
"""Shapes say what the layouts say: same records, same fields, same JSON; and what differs is left to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.spice import shapes
from dissect.spice.channels import base
from dissect.spice.session import NEVER_QUICK, SpiceSession
from dissect.stream.batch import Around, Batch
from dissect.stream.records import KnownParts, Message, Record
from dissect.stream.side import Side
from tests.spice.examples import bitmap, data, descriptor, draw_copy, example_of, linked, u8, words
from tests.spice.test_properties import any_packet
from tests.stream.properties import mutated, recut
from tests.stream.talk import SERVER, Event, account, play


class Slow(SpiceSession):
    """A session that asks the layouts every time."""

    def _quick(self, flow: Any, out: list[Record]) -> bool:
        return False


def known(records: list[Record]) -> list[Message]:
    return [one for one in records if isinstance(one, Message) and isinstance(one.parts, KnownParts)]


def hold(events: list[Event]) -> list[Message]:
    """Both ways give the same records with the same texts; returns those that had a shape."""
    quick, slow = play(SpiceSession(), events), play(Slow(), events)
    account(quick, events)
    assert quick == slow
    for one in quick:
        assert json.loads(one.text()) == json.loads(json.dumps(one.fields()))
        assert list(json.loads(one.text())) == list(one.fields())
    for one, other in zip(quick, slow, strict=True):
        assert one.text() == other.text()
    together(events, quick)
    return known(quick)


AROUND = Around('{"100 %": ', " %d ", " %% ", " %s ", "}%")


def together(events: list[Event], quick: list[Record]) -> list[Batch]:
    """The same in batches; returns them."""
    session = SpiceSession()
    batches: list[Batch] = []
    session.batches = batches
    records = play(session, events)
    records += [one for batch in batches for one in batch]
    assert sorted(records, key=_place) == sorted(quick, key=_place)
    for batch in batches:
        lines = [AROUND.line(one.time_ns, one.offset, one.size, one.text()) + "\n" for one in batch]
        assert batch.text(lambda name: AROUND) == "".join(lines).encode()
    return batches


def _place(record: Record) -> tuple[Side, int]:
    return record.side, record.offset


KINDS = [(channel, side, number) for channel, side, number in base.BODIES if channel]


def repeated(
    key: tuple[int, Side, int], *, times: int = shapes.SEEN_BEFORE + 5, mini: bool = True
) -> list[Event]:
    """A link, then one example many times."""
    channel, side, number = key
    body = example_of(channel, side, number)
    assert body is not None
    return [*linked(channel, mini=mini), *[(side, data(number, body, mini=mini))] * times]


@pytest.mark.parametrize("mini", [True, False])
def test_every_example_many_times(mini: bool) -> None:
    shaped = {one.name for key in KINDS for one in hold(repeated(key, mini=mini))}
    assert len(shaped) > 90
    assert {
        "SPICE_MSG_DISPLAY_DRAW_FILL",
        "SPICE_MSG_DISPLAY_DRAW_BLEND",
        "SPICE_MSGC_INPUTS_KEY_DOWN",
    } <= shaped
    assert not shaped & {cls.title() for cls in NEVER_QUICK}


@settings(max_examples=150)
@given(st.data())
def test_damage_is_seen_as_the_layouts_see_it(drawn: st.DataObject) -> None:
    events = repeated(drawn.draw(st.sampled_from(KINDS)))
    damaged = drawn.draw(mutated(events[-3:], gaps=drawn.draw(st.booleans())))
    hold([*events, *drawn.draw(recut(damaged)), *events[-2:]])


@settings(max_examples=60)
@given(st.data())
def test_any_values_of_a_kind(drawn: st.DataObject) -> None:
    channel, side, number = key = drawn.draw(st.sampled_from(KINDS))
    cls = base.BODIES[key]
    bodies = drawn.draw(st.lists(any_packet(cls), min_size=1, max_size=3))
    events: list[Event] = list(linked(channel))
    events += [(side, data(number, bytes(bodies[turn % len(bodies)]))) for turn in range(9)]
    hold(events)


@settings(max_examples=25)
@given(st.data())
def test_messages_in_a_row_differ_as_they_like(drawn: st.DataObject) -> None:
    """Some of many equal messages have other numbers, and some of these make another shape of them."""
    channel, side, number = key = drawn.draw(st.sampled_from(KINDS))
    mini = drawn.draw(st.booleans())
    body = example_of(*key)
    assert body is not None
    many = [bytearray(data(number, body, mini=mini)) for _ in range(drawn.draw(st.integers(5, 90)))]
    free = len(many[0]) - len(body)
    places = st.tuples(
        st.integers(0, len(many) - 1), st.integers(free, free + len(body) - 1), st.integers(0, 255)
    )
    for one, at, value in drawn.draw(st.lists(places, max_size=40)) if body else ():
        many[one][at] = value
    hold([*linked(channel, mini=mini), (side, b"".join(many))])


@pytest.mark.parametrize("mini", [True, False])
def test_a_row_ends_before_the_message_that_differs(mini: bool) -> None:
    volume = data(105, u8(2) + bytes(4), mini=mini)
    hold([*linked(5, mini=mini), (SERVER, volume * 6 + data(105, bytes(5), mini=mini))])


def test_equal_messages_are_one_run() -> None:
    fill = data(302, words(0, 1, 2, 3, 4) + u8(0) + u8(1) + words(7) + u8(8) + u8(0) + bytes(13))
    events: list[Event] = [*linked(2), (SERVER, fill * 1000)]
    batches = together(events, play(Slow(), events))
    assert [run.many for run in batches[-1].series.runs][-1] > 990
    # One pattern is for so many; the rest is another run.
    events = [*linked(2), (SERVER, fill * 10), (SERVER, data(108, b"") * 2 * shapes.ROW)]
    together(events, play(SpiceSession(), events))


def picture(width: int, height: int, size: int) -> bytes:
    """A DRAW_COPY of a bitmap of 32 bits a pixel, with so many bytes."""
    head = (
        words(0, 0)
        + u8(0)
        + u8(0)
        + words(width, height)
        + u8(8)
        + u8(4)
        + words(width, height, 4 * width, 0)
    )
    return data(304, draw_copy(head + bytes(size)))


def test_pictures_of_any_size_have_one_shape() -> None:
    events: list[Event] = list(linked(2))
    events += [(SERVER, picture(side, side, 4 * side * side)) for side in range(1, 40)]
    found = hold(events)
    assert len(found) > 30
    assert len({id(getattr(one.parts, "shape", one.parts)) for one in found}) == 1
    # A length that contradicts the size is not taken for the shape.
    wrong = [*events, (SERVER, picture(10, 11, 400))]
    assert play(SpiceSession(), wrong)[-1].kind == "violation"
    hold(wrong)


def test_what_messages_leave_behind_is_kept() -> None:
    events: list[Event] = list(linked(2))
    for number in range(20):
        kept = descriptor(0, 1, number) + bitmap()
        events += [(SERVER, data(304, draw_copy(kept)))]
        events += [(SERVER, data(304, draw_copy(descriptor(103, 0, number))))]
    found = [one for one in hold(events) if one.extra]
    assert len(found) > 10
    assert all(one.extra["from_cache"][0]["sent_at"] is not None for one in found)


def test_time_and_memory_are_bounded_where_nothing_repeats() -> None:
    session = SpiceSession()
    events: list[Event] = list(linked(2))
    events += [
        (SERVER, picture(1, size, 4 * size) if size % 2 else data(4, bytes(size % 97 + 12)))
        for size in range(2000)
    ]
    play(session, events)
    assert session.shapes._tries <= shapes.FREE + 2000 // shapes.EVERY + 1
    assert sum(map(len, session.shapes._found.values())) <= session.shapes._tries
