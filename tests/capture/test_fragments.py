# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragments back to packets: any cuts in any order, policies for overlap and loss, bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dissect.capture import Frame, fragments
from dissect.capture.fragments import Fragments, Whole

SECOND = 1_000_000_000


def at(time_ns: int) -> Frame:
    return Frame(1, 0, time_ns, 101, b"", 0, 0)


@given(st.binary(min_size=1, max_size=400), st.lists(st.integers(1, 49)), st.randoms(use_true_random=False))
def test_any_cuts_in_any_order(data: bytes, cuts: list[int], dice: object) -> None:
    places = sorted({0, *(8 * cut for cut in cuts if 8 * cut < len(data))})
    parts = [(start, end) for start, end in zip(places, [*places[1:], len(data)], strict=True)]
    dice.shuffle(parts)  # type: ignore[attr-defined]
    taken = Fragments()
    answers = [
        taken.take("k", start, end < len(data), data[start:end], end - start, at(0)) for start, end in parts
    ]
    assert answers == [None] * (len(parts) - 1) + [Whole(data, len(data), len(parts))]
    assert taken.finish() == 0


def test_the_first_copy_wins() -> None:
    taken = Fragments()
    assert taken.take("k", 0, True, b"a" * 16, 16, at(0)) is None
    assert taken.take("k", 8, True, b"b" * 16, 16, at(0)) is None
    whole = taken.take("k", 24, False, b"c", 1, at(0))
    assert whole == Whole(b"a" * 16 + b"b" * 8 + b"c", 25, 3)


def test_what_no_packet_can_be_made_of_is_dropped() -> None:
    taken = Fragments()
    assert taken.take("k", 65528, False, b"x" * 8, 8, at(0)) is None  # longer than IP allows
    assert taken.take("k", 0, True, b"x" * 7, 7, at(0)) is None  # not a multiple of 8 in the middle
    assert taken.finish() == 2


def test_the_oldest_go_first() -> None:
    taken = Fragments()
    for number in range(fragments.PACKETS + 10):
        taken.take(number, 0, True, b"x" * 8, 8, at(0))
    assert taken.given_up == 10
    assert taken.take(11, 8, False, b"y", 1, at(0)) == Whole(b"x" * 8 + b"y", 9, 2)
    assert taken.take(3, 8, False, b"y", 1, at(0)) is None


def test_nothing_waits_for_ever() -> None:
    taken = Fragments()
    taken.take("old", 0, True, b"x" * 8, 8, at(0))
    taken.take("new", 0, True, b"x" * 8, 8, at(29 * SECOND))
    assert taken.take("old", 8, False, b"y", 1, at(31 * SECOND)) is None
    assert taken.take("new", 8, False, b"y", 1, at(31 * SECOND)) == Whole(b"x" * 8 + b"y", 9, 2)
    assert taken.finish() == 2
