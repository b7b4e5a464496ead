# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that are drawn in another size, as pixman scales them for spice-common.

Places are fixed-point numbers with 16 bits after the point. NEAREST takes the pixel in which a place lies;
INTERPOLATE mixes the four around it, each by its nearness in 128ths. Outside its edges an image is black.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dissect.spice.pixels.images import NotDrawn, Plane

INTERPOLATE, NEAREST = 0, 1
ONE = 1 << 16
ROWS = 64
"""Lines that are mixed at once."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Axis:
    """A direction: `size` pixels of the image from `start` become `wanted`; of these `count` from `first`."""

    start: int
    size: int
    wanted: int
    first: int
    count: int

    def places(self) -> Numbers:
        """Where in the image the middle of each pixel is."""
        step = self.size * ONE // self.wanted
        steps: Numbers = np.arange(self.first, self.first + self.count, dtype=np.int64) * step
        return steps + (step + 1 >> 1) + self.start * ONE


def scaled(rgb: Plane, rows: Axis, columns: Axis, mode: int) -> Plane:
    """The pixels of an image in another size. Raises `NotDrawn` for a mode that is not defined."""
    if mode not in (INTERPOLATE, NEAREST):
        raise NotDrawn(f"it scales its image by a mode {mode} that is not defined")
    down, over = rows.places(), columns.places()
    if mode == NEAREST:
        return _at(rgb, down - 1 >> 16, over - 1 >> 16)
    out = np.empty((rows.count, columns.count, 3), np.uint8)
    over -= ONE // 2
    right = (over >> 9 & 127).astype(np.uint32)[None, :, None]
    for at in range(0, rows.count, ROWS):
        part = down[at : at + ROWS] - ONE // 2
        below = (part >> 9 & 127).astype(np.uint32)[:, None, None]
        mixed = np.zeros((len(part), columns.count, 3), np.uint32)
        for row, share in ((0, 128 - below), (1, below)):
            line = _at(rgb, (part >> 16) + row, over >> 16) * (128 - right)
            line += _at(rgb, (part >> 16) + row, (over >> 16) + 1) * right
            mixed += line * share
        out[at : at + ROWS] = mixed >> 14
    return out


def _at(rgb: Plane, rows: Numbers, columns: Numbers) -> Plane:
    """The pixels at these rows and columns; black where there are none."""
    height, width = rgb.shape[:2]
    found: Plane = rgb[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None, :]]
    found[(rows < 0) | (rows >= height)] = 0
    found[:, (columns < 0) | (columns >= width)] = 0
    return found
