# SPDX-License-Identifier: GPL-2.0-or-later
"""The glyphs of a text as one mask, as spice-common's canvas_base.c puts them together.

A glyph's lines go up. One of 1 bit a pixel is there or is not; of one of 4 bits a pixel is covered as far as
its bits say, in 16 steps up to 240 of 255.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dissect.spice.pixels.images import NotDrawn, Plane, checked

A1, A4, A8, TOP_DOWN = 1, 2, 4, 8


def mask(text: Mapping[str, Any]) -> tuple[Plane, int, int]:
    """How far each pixel of a text is covered, 0 to 255, and the row and column of the first of them.

    Raises `NotDrawn` where it is not known what spice-common would make of it.
    """
    flags = text["flags"]
    bits = {A1: 1, A4: 4}.get(flags & -flags & (A1 | A4 | A8))
    if bits is None:
        raise NotDrawn("its glyphs have 8 bits a pixel, which no client is known to draw")
    if flags & TOP_DOWN:
        raise NotDrawn("its glyphs go down, which no client is known to draw")
    glyphs: Sequence[Mapping[str, Any]] = text["glyphs_a1" if bits == 1 else "glyphs_a4"]
    if not glyphs:
        raise NotDrawn("it has no glyphs")
    boxes = [_box(glyph) for glyph in glyphs]
    top, left = min(box[0] for box in boxes), min(box[1] for box in boxes)
    height, width = checked(max(box[2] for box in boxes) - top, max(box[3] for box in boxes) - left)
    whole = np.zeros((height, width), np.uint8)
    for glyph, (first, begin, last, end) in zip(glyphs, boxes, strict=True):
        if first == last or begin == end:
            continue
        lines = np.frombuffer(glyph["raster"], np.uint8).reshape(last - first, -1)[::-1]
        place = whole[first - top : last - top, begin - left : end - left]
        if bits == 1:
            np.maximum(place, np.unpackbits(lines, axis=1)[:, : end - begin] * np.uint8(255), out=place)
        else:
            _overlay(place, lines)
    return whole, top, left


def _box(glyph: Mapping[str, Any]) -> tuple[int, int, int, int]:
    top = glyph["render_pos"]["y"] + glyph["glyph_origin"]["y"]
    left = glyph["render_pos"]["x"] + glyph["glyph_origin"]["x"]
    return top, left, top + glyph["height"], left + glyph["width"]


def _overlay(place: Plane, lines: Plane) -> None:
    """Put a glyph of 4 bits over those before it: the greater counts."""
    high, low = lines & 0xF0, lines << 4
    width = place.shape[1]
    np.maximum(place[:, 0::2], high[:, : (width + 1) // 2], out=place[:, 0::2])
    # Of a pair spice-common compares the second with both at once: where there is a first, the second wins.
    second, high, low = place[:, 1::2], high[:, : width // 2], low[:, : width // 2]
    second[...] = np.where(high > 0, low, np.maximum(second, low))
