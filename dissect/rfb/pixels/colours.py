# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixels as numbers, and numbers as colours. rfbproto.rst "ServerInit", PIXEL_FORMAT."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dissect.rfb.encodings import Format

Values = npt.NDArray[np.uint32]
"""Pixel values, as the format in use has them."""
Rgb = npt.NDArray[np.uint8]
"""Red, green and blue, 0 to 255, in the last axis."""


def pixels(buffer: bytes, at: int, count: int, form: Format) -> Values:
    """`count` PIXELs."""
    kind = f"{'>' if form.big_endian else '<'}u{form.pixel}"
    return np.frombuffer(buffer, kind, count, at).astype(np.uint32)


def pixel(buffer: bytes, at: int, form: Format) -> int:
    """One PIXEL."""
    return int.from_bytes(buffer[at : at + form.pixel], "big" if form.big_endian else "little")


def tpixels(buffer: bytes, at: int, count: int, form: Format) -> Values:
    """`count` TPIXELs."""
    if form.tpixel != 3:
        return pixels(buffer, at, count, form)
    bytes_ = np.frombuffer(buffer, np.uint8, 3 * count, at).reshape(count, 3).astype(np.uint32)
    return _joined(bytes_, form.shifts)


def cpixels(buffer: bytes, at: int, count: int, form: Format) -> Values:
    """`count` CPIXELs."""
    if form.cpixel != 3:
        return pixels(buffer, at, count, form)
    bytes_ = np.frombuffer(buffer, np.uint8, 3 * count, at).reshape(count, 3).astype(np.uint32)
    return _joined(bytes_, _places(form))


def scattered_cpixels(buffer: bytes, places: list[int], form: Format) -> Values:
    """One CPIXEL at each of these places."""
    size = form.cpixel
    at = np.asarray(places, np.int64)[:, None] + np.arange(size)
    return cpixels(np.frombuffer(buffer, np.uint8)[at].tobytes(), 0, len(places), form)


def _places(form: Format) -> tuple[int, int, int]:
    """By how many bits each of the three bytes of a CPIXEL is shifted, in their order on the wire."""
    shifts = (0, 8, 16) if form.spare == 3 else (8, 16, 24)
    return shifts[::-1] if form.big_endian else shifts


def _joined(bytes_: Values, shifts: tuple[int, int, int]) -> Values:
    first, second, third = (np.uint32(shift) for shift in shifts)
    joined: Values = bytes_[:, 0] << first | bytes_[:, 1] << second | bytes_[:, 2] << third
    return joined


def channels(values: Values, form: Format) -> list[Values]:
    """Red, green and blue, each from 0 to its maximum."""
    return [
        (values >> np.uint32(shift)) & np.uint32(maximum)
        for maximum, shift in zip(form.maxima, form.shifts, strict=True)
    ]


@lru_cache(maxsize=64)
def _levels(maximum: int) -> npt.NDArray[np.uint8]:
    """0 to `maximum` as 0 to 255, rounded to the nearest."""
    steps = np.arange(maximum + 1, dtype=np.uint64)
    return ((steps * 255 + maximum // 2) // max(1, maximum)).astype(np.uint8)


def rgb(values: Values, form: Format, colour_map: Rgb) -> Rgb:
    """The colours of pixel values; `colour_map` is used where the format has no true colour."""
    if not form.true_colour:
        mapped: Rgb = colour_map[values & np.uint32(0xFFFF)]
        return mapped
    out = np.empty((*values.shape, 3), np.uint8)
    for number, (channel, maximum) in enumerate(zip(channels(values, form), form.maxima, strict=True)):
        # A maximum that is not 2^n - 1 leaves values above it possible.
        out[..., number] = _levels(maximum)[np.minimum(channel, maximum)]
    return out
