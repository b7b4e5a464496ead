# SPDX-License-Identifier: GPL-2.0-or-later
"""The wavelets of ZYWRLE, undone: libvncserver's zywrletemplate.c says how they are made.

A tile's colours become luminance and two differences, transformed by a piecewise linear Haar wavelet in one
to three levels; small coefficients are dropped, the others sent as if they were pixels: one level's three
kinds of differences one after another, then the next level's, at last what is left of the picture. What is
too narrow or too low for the transformation follows as it is. How many levels there are the stream does not
say: it follows from the JPEG quality that the client has asked for (`level_of`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from dissect.rfb.encodings import Format
from dissect.rfb.pixels.colours import Values
from dissect.stream.session import NotRead

Coefficients = npt.NDArray[np.int32]
"""Height x width x 3, each -128 to 127: two differences with the luminance between them."""

LOWEST_QUALITY = -32
"""JPEG quality 0 as an encoding number; 9 is nine above it."""


def level_of(encodings: Iterable[int]) -> int:
    """The levels that a server uses for a client that has sent these in SetEncodings."""
    quality = -1
    for encoding in encodings:
        if 0 <= encoding - LOWEST_QUALITY <= 9:
            quality = encoding - LOWEST_QUALITY
    return 1 if quality < 0 or quality >= 6 else 2 if quality >= 3 else 3


def undo(values: Values, form: Format, level: int) -> Values:
    """The pixels of a tile that was sent as wavelets."""
    height, width = values.shape
    step = 1 << level
    inner_width, inner_height = width // step * step, height // step * step
    if not inner_width or not inner_height:
        return values
    widths = _widths(form)
    sent = values.reshape(-1)
    out = np.empty_like(values)
    tree = np.empty((inner_height, inner_width, 3), np.int32)
    at = 0
    for depth in range(level):
        stride, half = 2 << depth, 1 << depth
        for kind in (3, 2, 1, 0) if depth == level - 1 else (3, 2, 1):
            part = tree[(kind >> 1) * half :: stride, (kind & 1) * half :: stride]
            count = part.shape[0] * part.shape[1]
            part[:] = _coefficients(sent[at : at + count], widths).reshape(part.shape)
            at += count
    _inverse(tree, level)
    out[:inner_height, :inner_width] = _pixels(tree, widths)
    for part_of in (
        (slice(0, inner_height), slice(inner_width, width)),
        (slice(inner_height, height), slice(0, inner_width)),
        (slice(inner_height, height), slice(inner_width, width)),
    ):
        edge = out[part_of]
        edge[:] = sent[at : at + edge.size].reshape(edge.shape)
        at += edge.size
    return out


def _widths(form: Format) -> tuple[int, int, int]:
    """Bits of the three channels, highest first. ZYWRLE does not ask which of them is which colour."""
    low_three = all(
        maximum << shift < 1 << 24 for maximum, shift in zip(form.maxima, form.shifts, strict=True)
    )
    if form.bits == 32 and low_three:
        return 8, 8, 8
    if form.bits == 16:
        return (5, 6, 5) if form.maxima[1] > 31 else (5, 5, 5)
    raise NotRead("the wavelets of ZYWRLE are not known for this pixel format")


def _coefficients(pixels: Values, widths: tuple[int, int, int]) -> Coefficients:
    """Pixels read as three signed numbers of eight bits, of which the highest are there."""
    shift = sum(widths)
    channels = []
    for width in widths:
        shift -= width
        byte = ((pixels >> np.uint32(shift)) & np.uint32((1 << width) - 1)) << np.uint32(8 - width)
        channels.append(byte.astype(np.uint8).view(np.int8))
    return np.stack(channels, axis=-1).astype(np.int32)


def _inverse(tree: Coefficients, level: int) -> None:
    for depth in reversed(range(level)):
        stride, half = 2 << depth, 1 << depth
        columns = tree[:, ::half]
        columns[::stride], columns[half::stride] = _haar(columns[::stride], columns[half::stride])
        rows = tree[::half]
        rows[:, ::stride], rows[:, half::stride] = _haar(rows[:, ::stride], rows[:, half::stride])


def _haar(first: Coefficients, second: Coefficients) -> tuple[Coefficients, Coefficients]:
    """The piecewise linear transformation, which is its own inverse. Signs are those of eight bits."""
    apart = (first ^ second) & 0x80 != 0
    total, difference = second + first, first - second
    smaller = (total ^ second) & 0x80 == 0  # of opposite signs, the second has the larger amount
    larger = (difference ^ first) & 0x80 == 0
    low = np.where(apart, total, np.where(larger, second + difference, second))
    high = np.where(apart, np.where(smaller, first - total, first), difference)
    return low.astype(np.int8).astype(np.int32), high.astype(np.int8).astype(np.int32)


def _pixels(tree: Coefficients, widths: tuple[int, int, int]) -> Values:
    """Luminance and differences as pixels again."""
    third, luminance, first = 2 * tree[..., 0], tree[..., 1] + 128, 2 * tree[..., 2]
    middle = luminance - ((first + third) >> 2)
    value = np.zeros(middle.shape, np.uint32)
    for channel, width in zip((third + middle, middle, first + middle), widths, strict=True):
        level = np.clip(channel, 0, 255).astype(np.uint32) >> np.uint32(8 - width)
        value = value << np.uint32(width) | level
    return value
