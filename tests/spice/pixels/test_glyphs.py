# SPDX-License-Identifier: GPL-2.0-or-later
"""Glyphs put together. That spice-gtk puts them together so is in test_canvas."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.spice.pixels import glyphs
from dissect.spice.pixels.images import NotDrawn


def glyph(x: int, y: int, width: int, height: int, raster: bytes) -> dict[str, Any]:
    place = {"render_pos": {"x": x - 1, "y": y}, "glyph_origin": {"x": 1, "y": 0}}
    return {**place, "width": width, "height": height, "raster": raster}


def test_lines_of_a_glyph_go_up() -> None:
    text = {"flags": glyphs.A1, "glyphs_a1": [glyph(5, 7, 3, 2, b"\xa0\x40"), glyph(7, 6, 1, 1, b"\x80")]}
    mask, top, left = glyphs.mask(text)
    assert (top, left) == (6, 5)
    assert mask.tolist() == [[0, 0, 255], [0, 255, 0], [255, 0, 255]]


def test_of_two_that_overlap_the_greater_counts() -> None:
    both = [glyph(0, 0, 3, 1, b"\x3a\x50"), glyph(1, 0, 2, 1, b"\x0f")]
    mask, _, _ = glyphs.mask({"flags": glyphs.A4, "glyphs_a4": both})
    assert mask.tolist() == [[0x30, 0xA0, 0xF0]]
    # But where the first of a pair is not nothing, its second wins, as in spice-common.
    both = [glyph(0, 0, 2, 1, b"\x3a"), glyph(0, 0, 2, 1, b"\x12")]
    mask, _, _ = glyphs.mask({"flags": glyphs.A4, "glyphs_a4": both})
    assert mask.tolist() == [[0x30, 0x20]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ({"flags": glyphs.A8, "glyphs_a8": []}, "8 bits a pixel"),
        ({"flags": 0}, "8 bits a pixel"),
        ({"flags": glyphs.A1 | glyphs.TOP_DOWN}, "go down"),
        ({"flags": glyphs.A1, "glyphs_a1": []}, "no glyphs"),
        ({"flags": glyphs.A1, "glyphs_a1": [glyph(0, 0, 0, 1, b"")]}, "outside the limit"),
        (
            {"flags": 1, "glyphs_a1": [glyph(0, 0, 1, 1, b"1"), glyph(1 << 30, 1 << 30, 1, 1, b"1")]},
            "outside the limit",
        ),
    ],
)
def test_what_nobody_draws_is_not_drawn(text: dict[str, Any], why: str) -> None:
    with pytest.raises(NotDrawn, match=why):
        glyphs.mask(text)
