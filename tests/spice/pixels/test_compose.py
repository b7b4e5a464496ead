# SPDX-License-Identifier: GPL-2.0-or-later
"""Images composed. That pixman makes the same of them is in test_canvas."""

from __future__ import annotations

import numpy as np
import pytest

from dissect.spice.pixels import compose
from dissect.spice.pixels.images import NotDrawn, Picture

SOURCE = np.array([[[60, 0, 30, 128]]], np.uint8)
BEHIND = np.array([[[0, 200, 100, 255]]], np.uint8)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (0, [0, 0, 0, 0]),
        (1, [60, 0, 30, 128]),
        (2, [0, 200, 100, 255]),
        (3, [60, 100, 80, 255]),
        (4, [0, 200, 100, 255]),
        (5, [60, 0, 30, 128]),
        (6, [0, 100, 50, 128]),
        (7, [0, 0, 0, 0]),
        (8, [0, 100, 50, 127]),
        (9, [60, 100, 80, 255]),
        (10, [0, 100, 50, 128]),
        (11, [0, 100, 50, 127]),
        (12, [60, 200, 130, 255]),
    ],
)
def test_every_rule(rule: int, wanted: list[int]) -> None:
    assert compose.composed(rule, SOURCE, None, BEHIND)[0, 0].tolist() == wanted


def test_half_of_the_source() -> None:
    half = np.array([[128]], np.uint8)
    assert compose.composed(1, SOURCE, half, BEHIND)[0, 0].tolist() == [30, 0, 15, 64]
    with pytest.raises(NotDrawn, match="rule 13"):
        compose.composed(13, SOURCE, None, BEHIND)


@pytest.mark.parametrize(
    ("repeat", "wanted"),
    [
        (compose.NONE, [0, 0, 1, 2, 3, 0, 0, 0]),
        (compose.NORMAL, [2, 3, 1, 2, 3, 1, 2, 3]),
        (compose.PAD, [1, 1, 1, 2, 3, 3, 3, 3]),
        (compose.REFLECT, [2, 1, 1, 2, 3, 3, 2, 1]),
    ],
)
def test_beyond_the_edges(repeat: int, wanted: list[int]) -> None:
    row = np.array([[[1, 9, 9], [2, 9, 9], [3, 9, 9]]], np.uint8)
    found = compose.around(compose.four(Picture(row)), 0, -2, (1, 8), repeat)
    assert found[0, :, 0].tolist() == wanted
    assert found[0, :, 3].tolist() == [255 if one else 0 for one in wanted]
