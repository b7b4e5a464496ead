# SPDX-License-Identifier: GPL-2.0-or-later
"""When bytes came: what lists and their search say is what one time for each byte says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dissect.stream.arrivals import KEPT, Arrivals, Pieces

PIECES = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=8)


def pieces_of(sized: list[tuple[int, int]]) -> Pieces:
    ends = [sum(size for size, _ in sized[: index + 1]) for index in range(len(sized))]
    return Pieces(ends, [now for _, now in sized])


@given(st.lists(st.tuples(PIECES, st.booleans(), st.integers(0, 30)), max_size=8))
def test_times_are_those_of_each_byte(steps: list[tuple[list[tuple[int, int]], bool, int]]) -> None:
    arrivals, each, done = Arrivals(), list[int](), 0
    for sized, together, used in steps:
        if together:
            arrivals.add_many(len(each), pieces_of(sized))
            each += [now for size, now in sized for _ in range(size)]
        else:
            for size, now in sized:
                each += [now] * size
                arrivals.add(len(each), now)
        done = min(done + used, len(each))
        arrivals.done(done)
        assert bool(arrivals) == (done < len(each))
        if done == len(each):
            continue
        assert arrivals.first_ns == each[done]
        for end in range(done + 1, len(each) + 1):
            # Of the piece that the last byte came in, all were there at its time.
            assert arrivals.span(end) == (each[done], max(each[done:end]))
        changes = [at for at in range(done + 1, len(each)) if each[at] != each[at - 1]]
        assert list(arrivals.bounds()) == [*changes, len(each)]
        for width in (1, 3):
            ends = range(done + width, len(each) + 1, width)
            starts = [end - width for end in ends]
            kept = arrivals.until(ends[-1]) if ends else arrivals
            for base, times in ((0, arrivals), (done // 2, kept)):
                low, high = [start - base for start in starts], [end - base for end in ends]
                assert times.firsts(base, low) == [each[start] for start in starts]
                assert times.lasts(base, high) == [max(each[end - width : end]) for end in ends]
        assert not arrivals.rising or each[done:] == sorted(each[done:])


def test_what_is_done_with_is_forgotten() -> None:
    arrivals = Arrivals()
    for at in range(20 * KEPT):
        arrivals.add(at + 2, at)
        arrivals.done(at + 1)
    assert len(arrivals._ends) < 3 * KEPT
    assert arrivals.span(20 * KEPT + 1) == (20 * KEPT - 1, 20 * KEPT - 1)


def test_pieces_say_where_each_begins() -> None:
    assert list(Pieces([2, 5], [7, 8])) == [(0, 2, 7), (2, 5, 8)]
    assert len(Pieces([2, 5], [7, 8])) == 2
