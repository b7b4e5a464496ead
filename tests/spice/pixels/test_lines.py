# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines pixel by pixel. That they are those of spice-gtk is in test_canvas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.spice.pixels.images import NotDrawn
from dissect.spice.pixels.lines import BEGIN, BEZIER, CLOSE, END, LONGEST, Point, pixels, polylines

WHOLE = (-100, -100, 200, 200)


def drawn(start: Point, end: Point, spot: tuple[int, int, int, int] = WHOLE) -> list[Point]:
    columns, rows = pixels(start, end, spot)
    left, top, _, _ = spot
    return [(int(x) + left, int(y) + top) for x, y in zip(columns, rows, strict=True)]


def path(flags: int, *points: Point) -> list[dict[str, Any]]:
    return [{"flags": flags, "points": [{"x": x, "y": y} for x, y in points]}]


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        ((0, 0), []),
        ((3, 0), [(0, 0), (1, 0), (2, 0)]),
        ((0, -2), [(0, 0), (0, -1)]),
        ((3, 3), [(0, 0), (1, 1), (2, 2)]),
        # Two pixels are as near: it depends on the direction which is taken.
        ((4, 2), [(0, 0), (1, 1), (2, 1), (3, 2)]),
        ((-4, 2), [(0, 0), (-1, 0), (-2, 1), (-3, 1)]),
        ((2, 4), [(0, 0), (1, 1), (1, 2), (2, 3)]),
        ((2, -4), [(0, 0), (0, -1), (1, -2), (1, -3)]),
    ],
)
def test_a_line_without_its_last_pixel(end: Point, wanted: list[Point]) -> None:
    assert drawn((0, 0), end) == wanted


PLACES = st.tuples(st.integers(-90, 90), st.integers(-90, 90))


@given(PLACES, PLACES, st.tuples(*[st.integers(-60, 60)] * 2, *[st.integers(1, 50)] * 2))
def test_clipping_changes_no_pixel(start: Point, end: Point, spot: tuple[int, int, int, int]) -> None:
    left, top, width, height = spot
    whole = drawn(start, end)
    assert len(whole) == max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    inside = [(x, y) for x, y in whole if left <= x < left + width and top <= y < top + height]
    assert drawn(start, end, spot) == inside


def test_a_path_becomes_lines_of_whole_pixels() -> None:
    found = list(
        polylines([*path(BEGIN | END, (0, 8), (25, -24)), *path(BEGIN | END | CLOSE, (16, 0), (0, 16))])
    )
    assert [one for one in found if one] == [[(0, 0), (2, -2)], [(1, 0), (0, 1), (1, 0)]]
    open_ended = [*path(BEGIN, (0, 0), (16, 0)), *path(0, (32, 0))]
    assert [one for one in polylines(open_ended) if one] == [[(0, 0), (1, 0), (2, 0)]]


def test_a_curve_becomes_lines() -> None:
    (found,) = (
        one for one in polylines(path(BEGIN | END | BEZIER, (0, 0), (0, 160), (160, 160), (160, 0))) if one
    )
    assert found[0] == (0, 0)
    assert found[-1] == (10, 0)
    assert max(y for _, y in found) == 7


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (path(BEGIN, (0, 0), (16 * LONGEST + 16, 0)), "longer than"),
        (path(BEGIN, *[(0, 0), (16 * LONGEST, 0)] * 1100), "longer than"),
        (path(BEGIN | BEZIER, (0, 0), (1, 1)), "curves are not whole"),
        (path(BEZIER, (0, 0), (1, 1), (2, 2)), "curves are not whole"),
        (path(BEGIN | BEZIER, (0, 0), (1 << 30, 1 << 30), (-(1 << 30), 0), (16, 0)), "too long|longer than"),
    ],
)
def test_what_is_too_long_is_refused(said: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(NotDrawn, match=why):
        list(polylines(said))
