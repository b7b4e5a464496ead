# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pixels a line is made of, as spice-common's lines.c has it, which is the X server's.

A line of no width from one point to another is Bresenham's, without its last pixel. Where two pixels are as
near to it, the directions upwards and to the left take the one that X takes. Clipping changes no pixel.
A Bezier curve is halved until it is nearly straight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dissect.spice.pixels.images import PIXELS_LIMIT, NotDrawn

BEGIN, END, CLOSE, BEZIER = 1, 2, 8, 16
LONGEST = 1 << 15
"""Pixels of a line at most: beyond it spice-common's own numbers run over."""

DEEPEST = 12
"""How often a curve is halved at most."""

Point = tuple[int, int]
"""x, y."""
Places = npt.NDArray[np.int64]


def polylines(segments: Sequence[Mapping[str, Any]]) -> Iterator[list[Point]]:
    """The lines of a path, each as its points in whole pixels. Raises `NotDrawn` where they are too long."""
    points: list[Point] = []
    total = 0
    for segment in segments:
        flags = segment["flags"]
        given: list[Point] = [(point["x"], point["y"]) for point in segment["points"]]
        if flags & BEGIN:
            yield points
            points, given = [_whole(point) for point in given[:1]], given[1:]
        begin = max(0, len(points) - 1)
        if flags & BEZIER:
            points += _curves(points, given)
        else:
            points += [_whole(point) for point in given]
        if flags & END and flags & CLOSE and points:
            points.append(points[0])
        for start, end in pairwise(points[begin:]):
            longer = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
            total += longer
            if longer > LONGEST or total > PIXELS_LIMIT:
                raise NotDrawn(f"its lines are longer than {LONGEST} pixels each or {PIXELS_LIMIT} together")
        if flags & END:
            yield points
            points = []
    yield points


def _whole(point: Point) -> Point:
    """A place in sixteenths as one in whole pixels; a half is rounded down."""
    x, y = point
    return (x >> 4) + (x & 15 > 8), (y >> 4) + (y & 15 > 8)


def _curves(before: Sequence[Point], given: Sequence[Point]) -> list[Point]:
    """The points of curves, of which each has three and begins where the last one ended."""
    if given and (len(given) % 3 or not before):
        raise NotDrawn("its curves are not whole")
    found: list[Point] = []
    for at in range(0, len(given), 3):
        x, y = (found or before)[-1]
        found += _curve(((x << 4, y << 4), *given[at : at + 3]), 0)
    return found


def _curve(curve: Sequence[Point], depth: int) -> list[Point]:
    """The points of one curve after its first: where it begins, two that draw it near, where it ends."""
    start, one, other, end = curve
    whole, first, second = _way(start, end), _way(start, one), _way(end, other)
    size = _dot(whole, whole)
    # How far its middle points are from the straight line, squared.
    aside = _dot(first, first) * size - _dot(first, whole) ** 2 >> 3
    beside = _dot(second, second) * size - _dot(second, _way(end, start)) ** 2 >> 3
    if aside < size and beside < size:
        return [_whole(end)]
    if depth == DEEPEST:
        raise NotDrawn("its curves are too long")
    near, middle, far = _middle(start, one), _middle(one, other), _middle(other, end)
    left, right = _middle(near, middle), _middle(middle, far)
    half = _middle(left, right)
    return _curve((start, near, left, half), depth + 1) + _curve((half, right, far, end), depth + 1)


def _way(start: Point, end: Point) -> Point:
    return end[0] - start[0], end[1] - start[1]


def _dot(one: Point, other: Point) -> int:
    return one[0] * other[0] + one[1] * other[1] >> 4


def _middle(one: Point, other: Point) -> Point:
    x, y = one[0] + other[0], one[1] + other[1]
    return (x + (x < 0)) >> 1, (y + (y < 0)) >> 1  # rounded towards 0


def pixels(start: Point, end: Point, spot: tuple[int, int, int, int]) -> tuple[Places, Places]:
    """Columns and rows of a line's pixels inside a spot (left, top, width, height), counted from there."""
    left, top, width, height = spot
    over, down = end[0] - start[0], end[1] - start[1]
    at = start[0] - left, start[1] - top
    flat = abs(over) > abs(down)
    # Along the longer way it goes pixel by pixel; of these, those inside.
    along, aside, first, side, size = (over, down, *at, width) if flat else (down, over, at[1], at[0], height)
    if along >= 0:
        steps = np.arange(max(0, -first), min(along, size - first), dtype=np.int64)
    else:
        steps = np.arange(max(0, first - size + 1), min(-along, first + 1), dtype=np.int64)
    # In these directions an exact half waits.
    waits = over < 0 if flat else down < 0
    longer = max(1, abs(along))
    moved = (2 * abs(aside) * steps + longer - waits) // (2 * longer)
    ahead = first + (steps if along >= 0 else -steps)
    beside = side + (moved if aside >= 0 else -moved)
    columns, rows = (ahead, beside) if flat else (beside, ahead)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return columns[inside], rows[inside]
