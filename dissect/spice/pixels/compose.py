# SPDX-License-Identifier: GPL-2.0-or-later
"""Images composed as the X Render extension does it, with the rounding of pixman.

Pixels have four channels, the last alpha, by which the others are multiplied already. Of source and
destination each rule takes a share, which depends on the alpha of the other (T. Porter and T. Duff, 1984).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from dissect.spice.pixels.images import NotDrawn, Picture, Plane

NONE, NORMAL, PAD, REFLECT = range(4)
"""What is beyond the edges of an image: nothing, itself again, its last pixels, itself turned round."""

OVER = 3
"""The rule by which one lies over the other."""

Share = Callable[[Plane, Plane], Plane]
"""Of one's own alpha and the other's: the share that is taken."""


def _all(own: Plane, other: Plane) -> Plane:
    return np.full_like(own, 255)


def _none(own: Plane, other: Plane) -> Plane:
    return np.zeros_like(own)


def _inside(own: Plane, other: Plane) -> Plane:
    return other


def _outside(own: Plane, other: Plane) -> Plane:
    return 255 - other


RULES: Mapping[int, tuple[Share, Share]] = dict(
    enumerate(
        [
            (_none, _none),
            (_all, _none),
            (_none, _all),
            (_all, _outside),
            (_outside, _all),
            (_inside, _none),
            (_none, _inside),
            (_outside, _none),
            (_none, _outside),
            (_inside, _outside),
            (_outside, _inside),
            (_outside, _outside),
            (_all, _all),
        ]
    )
)
"""Clear, Src, Dst, Over, OverReverse, In, InReverse, Out, OutReverse, Atop, AtopReverse, Xor, Add: what is
taken of the source and of the destination."""


def product(values: Plane, factor: Plane) -> Plane:
    """Values * factor / 255, rounded."""
    found = values.astype(np.uint32) * factor + 128
    return (found + (found >> 8) >> 8).astype(np.uint8)


def four(picture: Picture) -> Plane:
    """The pixels of a picture with their alpha; without one it covers all that is behind it."""
    alpha = picture.alpha
    if alpha is None:
        alpha = np.full(picture.rgb.shape[:2], 255, np.uint8)
    return np.concatenate([picture.rgb, alpha[..., None]], axis=2)


def around(pixels: Plane, top: int, left: int, shape: tuple[int, int], repeat: int) -> Plane:
    """`shape` pixels from row `top` and column `left` of an image, which may be outside it."""
    places: list[npt.NDArray[np.int64]] = []
    beyond = []
    for first, count, size in zip((top, left), shape, pixels.shape[:2], strict=True):
        at = np.arange(first, first + count, dtype=np.int64)
        beyond.append((at < 0) | (at >= size))
        if repeat == NORMAL:
            at %= size
        elif repeat == REFLECT:
            at %= 2 * size
            at = np.minimum(at, 2 * size - 1 - at)
        places.append(at.clip(0, size - 1))
    found: Plane = pixels[places[0][:, None], places[1][None, :]]
    if repeat == NONE:
        found[beyond[0]] = 0
        found[:, beyond[1]] = 0
    return found


def composed(rule: int, source: Plane, covered: Plane | None, behind: Plane) -> Plane:
    """Source and what is behind it as one; `covered`: how much of the source is there. Raises `NotDrawn`."""
    shares = RULES.get(rule)
    if shares is None:
        raise NotDrawn(f"its rule {rule} is not one of Porter and Duff")
    if covered is not None:
        source = product(source, covered[..., None])
    mine, other = source[..., 3], behind[..., 3]
    one = product(source, shares[0](mine, other)[..., None]).astype(np.uint16)
    one += product(behind, shares[1](other, mine)[..., None])
    return np.minimum(one, 255).astype(np.uint8)
