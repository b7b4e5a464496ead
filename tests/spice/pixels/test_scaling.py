# SPDX-License-Identifier: GPL-2.0-or-later
"""Images in another size. That pixman makes the same of them is in test_canvas."""

from __future__ import annotations

import numpy as np
import pytest

from dissect.spice.pixels.images import NotDrawn
from dissect.spice.pixels.scaling import INTERPOLATE, NEAREST, ROWS, Axis, scaled

ROW = np.array([[[10, 0, 1], [20, 0, 2], [30, 0, 3], [40, 0, 4]]], np.uint8)
ONE = Axis(0, 1, 1, 0, 1)


def across(axis: Axis, mode: int) -> list[int]:
    return [int(value) for value in scaled(ROW, ONE, axis, mode)[0, :, 0]]


def test_the_nearest() -> None:
    assert across(Axis(0, 4, 8, 0, 8), NEAREST) == [10, 10, 20, 20, 30, 30, 40, 40]
    assert across(Axis(0, 4, 2, 0, 2), NEAREST) == [10, 30]
    assert across(Axis(1, 2, 4, 1, 2), NEAREST) == [20, 30]
    assert across(Axis(2, 4, 4, 0, 4), NEAREST) == [30, 40, 0, 0]


def test_mixed() -> None:
    assert across(Axis(0, 4, 8, 0, 8), INTERPOLATE) == [7, 12, 17, 22, 27, 32, 37, 30]
    assert across(Axis(0, 4, 2, 0, 2), INTERPOLATE) == [15, 35]
    assert across(Axis(0, 4, 8, 2, 3), INTERPOLATE) == [17, 22, 27]


def test_any_number_of_lines() -> None:
    tall = np.repeat(ROW, 3, axis=0)
    rows = Axis(0, 3, 3 * ROWS, 0, 3 * ROWS)
    found = scaled(tall, rows, Axis(0, 4, 4, 0, 4), INTERPOLATE)
    assert found.shape == (3 * ROWS, 4, 3)
    assert (found[ROWS : 2 * ROWS] == ROW).all()


def test_another_mode() -> None:
    with pytest.raises(NotDrawn, match="mode 2"):
        across(Axis(0, 4, 8, 0, 8), 2)
