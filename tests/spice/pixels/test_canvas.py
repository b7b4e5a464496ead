# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel truth: what the renderer makes of drawing messages is what SPICE's own canvas makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from dissect.spice.pixels.screen import ARGB, XRGB
from tests.spice.examples import mask, pointing, rect, solid, u8, u16, u32, u64, words
from tests.spice.pixels import test_screen as say
from tests.spice.pixels.easel import CANVAS, HEIGHT, WIDTH, Say, ours, theirs
from tests.spice.pixels.test_screen import AND, BLACK, INVERS, INVERS_RES, OR, PUT, WHITE, XOR

RULES = [PUT, PUT | 1, OR, AND, XOR, XOR | INVERS_RES, AND | 4, BLACK, WHITE, INVERS, OR | 1, XOR | 1]
ROP3_RULES = [0x02, 0x1B, 0x69, 0x6A, 0x96, 0xB8, 0xCA, 0xE2]
"""Some that spice-common has; it does not have all 256."""


class Painter:
    """Makes drawing messages at random, each partly outside the canvas, clipped or not."""

    def __init__(self, seed: str) -> None:
        self.random = Random(seed)

    def between(self, least: int, most: int) -> int:
        return self.random.randint(least, most)

    def colour(self) -> int:
        return self.random.getrandbits(24)

    def where(self, height: int = 0, width: int = 0) -> bytes:
        top, left = self.between(-10, 50), self.between(-10, 70)
        height, width = height or self.between(30, 90), width or self.between(30, 130)
        clips, at = [], 0
        for _ in range(self.random.choice([0, 3])):
            begin = at + self.between(3, 20)
            at = begin + self.between(5, 25)
            begin_x = self.between(0, 80)
            clips.append(rect(begin, begin_x, at, begin_x + self.between(20, 80)))
        return say.base(top, left, top + height, left + width, *clips, surface=CANVAS)

    def image(self, height: int, width: int) -> bytes:
        return say.image([[self.colour() for _ in range(width)] for _ in range(height)])

    def size(self) -> tuple[int, int]:
        return self.between(10, 60), self.between(10, 60)

    def bits(self, height: int, width: int) -> tuple[bytes, bytes]:
        """A mask, as it is in a message and what it points to."""
        packed = self.random.randbytes((width + 7) // 8 * height)
        return u8(self.between(0, 1)) + words(0, 0), say.bits(width, height, packed)

    # --- messages

    def line(self, rule: int = PUT, points: int = 7) -> Say:
        flags = self.random.choice([3, 3 | 8])
        path = u32(1) + u8(flags) + u32(points)
        path += words(*(self.between(-640, 3200) for _ in range(2 * points)))
        brush = u8(0) + solid(self.colour())
        return say.STROKE, pointing(self.where(), None, brush + u16(rule) + u16(PUT), to=[path])

    def curve(self, curves: int = 2) -> Say:
        flags = self.random.choice([1 | 2 | 16, 1 | 2 | 8 | 16])
        path = u32(2) + u8(1) + u32(2) + words(*(self.between(0, 1600) for _ in range(4)))
        path += u8(flags & ~1) + u32(3 * curves)
        path += words(*(self.between(-640, 3200) for _ in range(6 * curves)))
        brush = u8(0) + solid(self.colour())
        return say.STROKE, pointing(self.where(), None, brush + u16(PUT) + u16(PUT), to=[path])

    def tiled_line(self) -> Say:
        path = u32(1) + u8(3) + u32(5) + words(*(self.between(-640, 3200) for _ in range(10)))
        brush = [u8(0) + u8(2), None, words(self.between(-9, 9), self.between(-9, 9)) + u16(PUT) + u16(PUT)]
        return say.STROKE, pointing(self.where(), None, *brush, to=[path, self.image(5, 7)])

    def text(self, bits: int, *, background: bool) -> Say:
        glyphs = b""
        for _ in range(12):
            width, height = self.between(1, 14), self.between(1, 16)
            glyphs += words(
                self.between(-5, 150), self.between(0, 110), self.between(-3, 3), self.between(-3, 3)
            )
            glyphs += u16(width) + u16(height) + self.random.randbytes((width * bits + 7) // 8 * height)
        area = rect(20, 10, 70, 90) if background else rect(0, 0, 0, 0)
        rest = area + solid(self.colour()) + solid(self.colour()) + u16(PUT) + u16(PUT)
        text = u16(12) + u8({1: 1, 4: 2}[bits]) + glyphs
        return say.TEXT, pointing(self.where(), None, rest, to=[text])

    def scaled(self, mode: int, rule: int = PUT) -> Say:
        height, width = self.between(2, 60), self.between(2, 60)
        top, left = self.between(0, height - 1), self.between(0, width - 1)
        area = rect(top, left, self.between(top + 1, height), self.between(left + 1, width))
        rest = area + u16(rule) + u8(mode) + mask()
        return say.COPY, pointing(self.where(), None, rest, to=[self.image(height, width)])

    def copied(self, number: int, rule: int) -> Say:
        height, width = self.size()
        rest = rect(0, 0, height, width) + u16(rule) + u8(0) + mask()
        return number, pointing(self.where(height, width), None, rest, to=[self.image(height, width)])

    def opaque(self, rule: int) -> Say:
        height, width = self.size()
        rest = rect(0, 0, height, width) + solid(self.colour()) + u16(rule) + u8(0) + mask()
        return say.OPAQUE, pointing(self.where(height, width), None, rest, to=[self.image(height, width)])

    def rop3(self, rule: int) -> Say:
        height, width = self.size()
        rest = rect(0, 0, height, width) + solid(self.colour()) + u8(rule) + u8(0) + mask()
        return say.ROP3, pointing(self.where(height, width), None, rest, to=[self.image(height, width)])

    def transparent(self) -> Say:
        height, width = self.size()
        rows = [[self.random.choice([0x112233, 0xFF0000]) for _ in range(width)] for _ in range(height)]
        rest = rect(0, 0, height, width) + u32(0xFF0000) + u32(0xFF0000)
        return say.TRANSPARENT, pointing(self.where(height, width), None, rest, to=[say.image(rows)])

    def blended(self, alpha: int) -> Say:
        height, width = self.size()
        where = self.where(height, width) + u8(self.between(0, 3)) + u8(alpha)
        area = rect(0, 0, height, width)
        return say.ALPHA_BLEND, pointing(where, None, area, to=[self.shining(height, width)])

    def shining(self, height: int, width: int) -> bytes:
        """An image with an alpha channel."""
        pixels = b""
        for _ in range(height * width):
            most = self.random.choice([0, 255, self.between(0, 255)])
            pixels += bytes([*(self.between(0, most) for _ in range(3)), most])
        head = u64(9) + u8(0) + u8(0) + words(width, height)
        return head + u8(9) + u8(4) + words(width, height, 4 * width, 0) + pixels

    def composed(self, rule: int, *, alpha: bool, masked: bool, beyond: int) -> Say:
        sizes = [(self.between(20, 50), self.between(20, 50)) for _ in range(2)]
        flags = rule | beyond << 14 | beyond << 16 | masked << 19
        origins = b"".join(u16(self.between(-9, 9) & 0xFFFF) for _ in range(4))
        images = [(self.shining if alpha else self.image)(*sizes[0])]
        parts: list[bytes | None] = [self.where(*self.size()) + u32(flags), None]
        if masked:
            images.append(self.shining(*sizes[1]))
            parts.append(None)
        return 318, pointing(*parts, origins, to=images)

    def tiled(self, rule: int) -> Say:
        place = words(self.between(-9, 30), self.between(-9, 30))
        tile = self.image(self.between(1, 20), self.between(1, 20))
        return say.FILL, pointing(self.where() + u8(2), None, place + u16(rule) + mask(), to=[tile])

    def masked(self, number: int) -> Say:
        height, width = self.size()
        head, bits = self.bits(height, width)
        brush = solid(self.colour()) + u16(PUT) if number == say.FILL else b""
        return number, pointing(self.where(height, width) + brush + head, None, to=[bits])

    def moved(self) -> Say:
        height, width = self.size()
        return say.COPY_BITS, self.where(height, width) + words(
            self.between(0, WIDTH - width), self.between(0, HEIGHT - height)
        )


SCENES: dict[str, Callable[[Painter], list[Say]]] = {
    "lines": lambda it: [it.line() for _ in range(4)] + [it.line(rule) for rule in RULES],
    "curves": lambda it: [it.curve() for _ in range(12)],
    "tiled lines": lambda it: [it.tiled_line() for _ in range(6)],
    "text": lambda it: [it.text(bits, background=back) for bits in (1, 4) for back in (True, False)] * 2,
    "scaled": lambda it: [it.scaled(mode, rule) for rule in (PUT, XOR, OR) for mode in (0, 1, 0)],
    "rules": lambda it: [it.copied(number, rule) for rule in RULES for number in (say.COPY, say.BLEND)],
    "brushes": lambda it: [it.opaque(rule) for rule in RULES] + [it.rop3(rule) for rule in ROP3_RULES],
    "blends": lambda it: [it.transparent(), *(it.blended(alpha) for alpha in (255, 128, 1, 254))],
    "composed": lambda it: [
        it.composed(rule, alpha=alpha, masked=masked, beyond=it.between(0, 3))
        for rule in (0, 2, 3, 6, 8, 9, 12)
        for alpha, masked in ((True, False), (True, True), (False, True), (False, False))
    ],
    "composed by other rules": lambda it: [
        it.composed(rule, alpha=True, masked=it.between(0, 1) == 1, beyond=it.between(0, 3))
        for rule in (1, 4, 5, 7, 10, 11, 3)
    ],
    "tiles": lambda it: [it.tiled(rule) for rule in (PUT, OR, AND, XOR)],
    "masks": lambda it: [
        it.masked(number) for number in (say.FILL, say.INVERSION, say.BLACKNESS, say.FILL, say.WHITENESS)
    ],
    "moves": lambda it: [it.moved() for _ in range(4)],
}


NOT_DRAWN = {("scaled", ARGB)}


@pytest.mark.peer("spicy-screenshot")
@pytest.mark.parametrize(
    ("name", "form"),
    [(name, form) for name in SCENES for form in (XRGB, ARGB) if (name, form) not in NOT_DRAWN],
)
def test_it_is_what_the_canvas_of_spice_shows(name: str, form: int, tmp_path: Path) -> None:
    painter = Painter(name)
    whole = say.base(0, 0, HEIGHT, WIDTH, surface=CANVAS)
    said: list[Say] = [(say.FILL, whole + solid(0x336699) + u16(PUT) + mask())]
    said += [painter.copied(say.COPY, PUT) for _ in range(3)]
    said += [painter.composed(1, alpha=True, masked=False, beyond=1) for _ in range(3)]
    said += SCENES[name](painter)
    screen, why = ours(said, form)
    assert why == []
    np.testing.assert_array_equal(screen, theirs(said, tmp_path, form))
