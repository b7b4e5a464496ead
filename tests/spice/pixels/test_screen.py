# SPDX-License-Identifier: GPL-2.0-or-later
"""Drawing messages on small surfaces: rules, clips, masks, caches, surfaces; what is not drawn is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dissect.spice import constants
from dissect.spice.pixels import screen
from dissect.spice.pixels.lz import KEEPING
from dissect.spice.pixels.screen import Renderer
from dissect.spice.session import SpiceSession
from dissect.stream.records import Record
from tests.spice.examples import (
    clip,
    data,
    descriptor,
    example_of,
    linked,
    mask,
    pointing,
    rect,
    solid,
    u8,
    u16,
    u32,
    u64,
    words,
)
from tests.stream.talk import SERVER

PUT, OR, AND, XOR, BLACK, WHITE, INVERS, INVERS_RES = 8, 16, 32, 64, 128, 256, 512, 1024
FILL, OPAQUE, COPY, BLEND, BLACKNESS, WHITENESS, INVERSION, ROP3 = 302, 303, 304, 305, 306, 307, 308, 309
STROKE, TEXT, TRANSPARENT, ALPHA_BLEND, CREATE, DESTROY = 310, 311, 312, 313, 314, 315
COPY_BITS, INVAL_LIST = 104, 105
A, B = 0x0F0055, 0x33CC01
COLOUR_A, COLOUR_B = [0x0F, 0x00, 0x55], [0x33, 0xCC, 0x01]


class Canvas:
    """A display channel with a primary surface of 4 x 3 pixels, all of one colour."""

    def __init__(self, colour: int = A, form: int = 32) -> None:
        self.session, self.renderer = SpiceSession(), Renderer()
        self.problems: list[str] = []
        for side, raw in linked(2):
            assert isinstance(raw, bytes)
            self.session.feed(side, raw, 0)
        self.say(CREATE, words(0, 4, 3, form, 1))
        if colour:
            self.say(FILL, base(0, 0, 3, 4) + solid(colour) + u16(PUT) + mask())

    def say(self, number: int, body: bytes) -> list[str]:
        records: list[Record] = self.session.feed(SERVER, data(number, body), 0)
        assert [record.kind for record in records] == ["message"], records
        told = [problem.why for record in records for problem in self.renderer.take(record)]
        self.problems += told
        return told

    def at(self, y: int, x: int) -> list[int]:
        assert self.renderer.screen is not None
        return [int(value) for value in self.renderer.screen[y, x]]

    def painted(self, colour: list[int]) -> list[tuple[int, int]]:
        assert self.renderer.screen is not None
        return [(int(y), int(x)) for y, x in np.argwhere((self.renderer.screen == colour).all(axis=2))]


def base(top: int, left: int, bottom: int, right: int, *rects: bytes, surface: int = 0) -> bytes:
    return u32(surface) + rect(top, left, bottom, right) + clip(*rects)


def image(rows: list[list[int]], *, number: int = 9, flags: int = 0) -> bytes:
    """A bitmap of 32 bits a pixel."""
    height, width = len(rows), len(rows[0])
    pixels = b"".join(u32(value) for row in rows for value in row)
    head = u64(number) + u8(0) + u8(flags) + words(width, height)
    return head + u8(8) + u8(4) + words(width, height, 4 * width, 0) + pixels


KEPT = image([[B]], flags=1)
"""An image that is to be kept for later."""
TILED = words(0, 0) + u16(PUT) + mask()


def bits(width: int, height: int, packed: bytes) -> bytes:
    """A bitmap of one bit a pixel."""
    stride = len(packed) // height
    return (
        descriptor(0)[:-8] + words(width, height) + u8(2) + u8(4) + words(width, height, stride, 0) + packed
    )


def drawn(
    where: bytes, area: bytes, source: bytes, *, rop: int = PUT, brush: bytes = b"", **masked: bytes
) -> bytes:
    parts = [where, None, area, *([brush] if brush else []), u16(rop) + u8(0), mask()]
    targets = [source]
    if "mask" in masked:
        parts[-1:] = [u8(0) + words(0, 0), None]
        targets.append(masked["mask"])
    return pointing(*parts, to=targets)


@pytest.mark.parametrize(
    ("rop", "wanted"),
    [
        (PUT, COLOUR_B),
        (PUT | 2, [0xCC, 0x33, 0xFE]),
        (OR, [0x3F, 0xCC, 0x55]),
        (AND, [0x03, 0x00, 0x01]),
        (XOR, [0x3C, 0xCC, 0x54]),
        (XOR | INVERS_RES, [0xC3, 0x33, 0xAB]),
        (AND | 4, [0x30, 0xCC, 0x00]),
        (BLACK, [0, 0, 0]),
        (WHITE, [255, 255, 255]),
        (INVERS, [0xF0, 0xFF, 0xAA]),
    ],
)
def test_the_rules_of_a_fill(rop: int, wanted: list[int]) -> None:
    canvas = Canvas()
    assert canvas.say(FILL, base(1, 1, 3, 3) + solid(B) + u16(rop) + mask()) == []
    assert canvas.painted(wanted) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert canvas.at(0, 0) == COLOUR_A


def test_clips_masks_and_edges() -> None:
    canvas = Canvas()
    canvas.say(FILL, base(-5, -5, 9, 9, rect(0, 0, 1, 2), rect(2, 3, 3, 9)) + solid(B) + u16(PUT) + mask())
    assert canvas.painted(COLOUR_B) == [(0, 0), (0, 1), (2, 3)]
    canvas = Canvas()
    stencil = bits(4, 3, b"\x80\x40\x10")
    body = pointing(base(0, 0, 3, 4) + solid(B) + u16(PUT) + u8(0) + words(0, 0), None, to=[stencil])
    canvas.say(FILL, body)
    assert canvas.painted(COLOUR_B) == [(0, 0), (1, 1), (2, 3)]
    body = pointing(base(0, 0, 3, 4) + solid(0) + u16(PUT) + u8(1) + words(0, 0), None, to=[stencil])
    canvas.say(FILL, body)
    assert canvas.painted(COLOUR_B) == [(0, 0), (1, 1), (2, 3)]
    assert canvas.at(0, 1) == [0, 0, 0]
    assert canvas.renderer.whole


def test_a_pattern_repeats_from_its_place() -> None:
    canvas = Canvas()
    brush = u8(2)
    body = pointing(base(0, 0, 3, 4) + brush, None, words(1, 0) + u16(PUT) + mask(), to=[image([[A, B, 1]])])
    assert canvas.say(FILL, body) == []
    assert canvas.painted(COLOUR_B) == [(0, 2), (1, 2), (2, 2)]


def test_images_are_copied_cached_and_forgotten() -> None:
    canvas = Canvas()
    kept = image([[B, 1, 2], [3, B, 4]], number=5, flags=1)
    assert canvas.say(COPY, drawn(base(0, 0, 1, 2), rect(1, 1, 2, 3), kept)) == []
    assert canvas.painted(COLOUR_B) == [(0, 0)]
    again = u64(5) + u8(103) + u8(0) + words(3, 2)
    assert canvas.say(COPY, drawn(base(1, 0, 3, 3), rect(0, 0, 2, 3), again)) == []
    assert canvas.painted(COLOUR_B) == [(0, 0), (1, 0), (2, 1)]
    canvas.say(INVAL_LIST, u16(1) + u8(1) + u64(5))
    assert canvas.say(COPY, drawn(base(1, 0, 3, 3), rect(0, 0, 2, 3), again)) == [
        "SPICE_MSG_DISPLAY_DRAW_COPY is not drawn: image 0x5 is not in the cache"
    ]
    assert not canvas.renderer.whole


def test_surfaces_are_drawn_on_and_from() -> None:
    canvas = Canvas()
    canvas.say(CREATE, words(3, 2, 2, 32, 0))
    canvas.say(FILL, base(0, 0, 1, 1, surface=3) + solid(B) + u16(PUT) + mask())
    assert canvas.painted(COLOUR_B) == []
    source = descriptor(104)[:-8] + words(2, 2) + u32(3)
    assert canvas.say(COPY, drawn(base(1, 2, 3, 4), rect(0, 0, 2, 2), source)) == []
    assert canvas.painted(COLOUR_B) == [(1, 2)]
    canvas.say(DESTROY, u32(3))
    assert "there is no surface 3" in canvas.say(COPY, drawn(base(1, 2, 3, 4), rect(0, 0, 2, 2), source))[0]


def test_copy_bits_may_overlap() -> None:
    canvas = Canvas()
    canvas.say(FILL, base(0, 0, 1, 1) + solid(B) + u16(PUT) + mask())
    canvas.say(COPY_BITS, base(1, 1, 3, 4) + words(0, 0))
    canvas.say(COPY_BITS, base(0, 1, 3, 4) + words(0, 0))
    assert canvas.painted(COLOUR_B) == [(0, 0), (0, 1), (1, 2)]


def test_the_other_drawings() -> None:
    canvas = Canvas()
    two = image([[B, A]])
    canvas.say(BLACKNESS, base(0, 0, 1, 1) + mask())
    canvas.say(WHITENESS, base(0, 1, 1, 2) + mask())
    canvas.say(INVERSION, base(0, 2, 1, 3) + mask())
    assert [canvas.at(0, x) for x in range(3)] == [[0, 0, 0], [255, 255, 255], [0xF0, 0xFF, 0xAA]]
    canvas.say(BLEND, drawn(base(1, 0, 2, 2), rect(0, 0, 1, 2), two, rop=XOR))
    assert canvas.at(1, 0) == [0x3C, 0xCC, 0x54]
    canvas.say(OPAQUE, drawn(base(1, 0, 2, 2), rect(0, 0, 1, 2), two, rop=AND, brush=solid(0xFF0000)))
    assert canvas.at(1, 0) == [0x33, 0, 0]
    body = pointing(base(2, 0, 3, 2), None, rect(0, 0, 1, 2) + words(0, A), to=[image([[B, A]])])
    canvas.say(FILL, base(2, 0, 3, 4) + solid(7) + u16(PUT) + mask())
    canvas.say(TRANSPARENT, body)
    assert [canvas.at(2, 0), canvas.at(2, 1)] == [COLOUR_B, [0, 0, 7]]
    body = pointing(base(2, 2, 3, 3) + u8(0) + u8(128), None, rect(0, 0, 1, 1), to=[image([[0xFFFFFF]])])
    canvas.say(ALPHA_BLEND, body)
    assert canvas.at(2, 2) == [128, 128, 131]
    parts = [base(1, 2, 2, 3), None, rect(0, 0, 1, 1) + solid(0xF0) + u8(0x66) + u8(0) + mask()]
    canvas.say(ROP3, pointing(*parts, to=[image([[0x0F]])]))  # 0x66: source XOR destination
    assert canvas.at(1, 2) == [0x0F, 0, 0x55 ^ 0x0F]
    assert canvas.problems == []


def test_surfaces_of_sixteen_bits_have_fewer_levels() -> None:
    canvas = Canvas(colour=0, form=16)
    canvas.say(FILL, base(0, 0, 1, 1) + solid(31 << 10 | 1) + u16(PUT) + mask())
    canvas.say(COPY, drawn(base(0, 1, 1, 2), rect(0, 0, 1, 1), image([[0x0F0987]])))
    assert [canvas.at(0, 0), canvas.at(0, 1)] == [[255, 0, 8], [8, 8, 132]]


@pytest.mark.parametrize(
    ("number", "body", "why"),
    [
        (
            TRANSPARENT,
            pointing(base(0, 0, 2, 2), None, rect(0, 0, 1, 1) + words(0, 0), to=[image([[1]])]),
            "it scales its image",
        ),
        (COPY, drawn(base(0, 0, 2, 2), rect(0, 1, 1, 1), image([[1]])), "it scales its image"),
        (
            ALPHA_BLEND,
            pointing(
                base(0, 0, 1, 1) + u8(2) + u8(255),
                None,
                rect(0, 0, 1, 1),
                to=[u64(1) + u8(104) + u8(0) + words(4, 3, 0)],
            ),
            "unused byte of a surface",
        ),
        (COPY, drawn(base(0, 0, 1, 2), rect(0, 0, 1, 2), image([[1]])), "outside its image"),
        (COPY, drawn(base(0, 0, 1, 1, surface=8), rect(0, 0, 1, 1), image([[1]])), "no surface 8"),
        (FILL, base(0, 0, 1, 1) + solid(B) + u16(0) + mask(), "its rule 0x0 is not defined"),
        (CREATE, words(9, 1 << 31, 1 << 31, 32, 0), "outside the limit"),
        (CREATE, words(9, 1, 1, 77, 0), "surface format 77 is not drawn on"),
    ],
)
def test_what_is_not_drawn_is_told(number: int, body: bytes, why: str) -> None:
    canvas = Canvas()
    assert why in canvas.say(number, body)[0]
    assert not canvas.renderer.whole
    assert sum(canvas.renderer.undrawn.values()) == 1


@pytest.mark.parametrize(
    ("number", "why"),
    [(318, "it turns or scales its images"), (STROKE, "its line is dashed"), (321, "it is not drawn here")],
)
def test_what_is_not_drawn_of_these_is_named(number: int, why: str) -> None:
    canvas = Canvas()
    body = example_of(2, SERVER, number)
    assert body is not None
    name = constants.message_name(2, SERVER, number)
    assert canvas.say(number, body) == [f"{name} is not drawn: {why}"]


def test_what_could_not_be_read_is_not_drawn() -> None:
    canvas = Canvas()
    message, wrong, _ = canvas.session.feed(SERVER, data(FILL, base(0, 0, 1, 1)) + data(102, b""), 0)
    assert wrong.kind == "violation"
    (problem,) = canvas.renderer.take(message)
    assert problem.why == "SPICE_MSG_DISPLAY_DRAW_FILL is not drawn: it could not be read"
    assert not canvas.renderer.whole


@pytest.mark.parametrize(
    "said",
    [
        (FILL, pointing(base(9, 9, 10, 10) + u8(2), None, words(0, 0) + u16(PUT) + mask(), to=[KEPT])),
        (
            FILL,
            pointing(base(0, 0, 1, 1, surface=7) + u8(2), None, words(0, 0) + u16(PUT) + mask(), to=[KEPT]),
        ),
        (COPY, drawn(base(9, 9, 10, 10), rect(0, 0, 1, 1), KEPT)),
        (TRANSPARENT, pointing(base(0, 0, 2, 2), None, rect(0, 0, 1, 1) + words(0, 0), to=[KEPT])),
    ],
)
def test_an_image_is_kept_whether_or_not_it_is_seen(said: tuple[int, bytes]) -> None:
    canvas = Canvas()
    canvas.say(*said)
    again = KEPT[:8] + u8(103) + KEPT[9:18]
    assert canvas.say(COPY, drawn(base(0, 0, 1, 1), rect(0, 0, 1, 1), again)) == []
    assert canvas.at(0, 0) == COLOUR_B


def test_any_number_of_clips_costs_each_pixel_once() -> None:
    it = Canvas()
    whole = [rect(0, 0, 3, 4)] * 5000
    some = [rect(0, 0, 2, 1), rect(1, 0, 3, 2), rect(-5, 3, 1, 9), rect(2, 2, 2, 9)] * 2
    it.say(FILL, base(0, 0, 3, 4, *some) + solid(B) + u16(PUT) + mask())
    assert it.painted(COLOUR_B) == [(0, 0), (0, 3), (1, 0), (1, 1), (2, 0), (2, 1)]
    it.say(FILL, base(0, 0, 3, 4, *whole) + solid(B) + u16(PUT) + mask())
    assert len(it.painted(COLOUR_B)) == 12


def test_what_is_kept_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces, images and videos, however small each of them is."""
    monkeypatch.setattr(screen, "SURFACES_LIMIT", 50 * KEEPING)
    monkeypatch.setattr(screen, "CACHE_LIMIT", 20 * KEEPING)
    monkeypatch.setattr(screen, "STREAMS_LIMIT", 10)
    it = Canvas()
    told = [why for number in range(1, 100) for why in it.say(CREATE, words(number, 1, 1, 32, 0))]
    assert all(f"all surfaces together are over the limit of {50 << 10} bytes" in why for why in told)
    assert 40 < len(it.renderer.surfaces) < 50
    for number in range(1, 100):
        it.say(DESTROY, u32(number))
    assert len(it.renderer.surfaces) == 1
    assert it.say(CREATE, words(1, 1, 1, 32, 0)) == []
    for number in range(100):
        one = image([[A]], number=number, flags=1)
        assert it.say(COPY, drawn(base(0, 0, 1, 1), rect(0, 0, 1, 1), one)) == []
    assert len(it.renderer._cache) < 20
    video = u8(1) + u8(1) + u64(0) + words(4, 3, 4, 3) + rect(0, 0, 3, 4) + clip()
    for number in range(100):
        it.say(122, words(0, number) + video)
    assert list(it.renderer._streams) == list(range(90, 100))


def test_lost_bytes_are_told() -> None:
    canvas = Canvas()
    records: list[Any] = canvas.session.gap(SERVER, 100, 0)
    told = [problem.why for record in records for problem in canvas.renderer.take(record)]
    assert told == ["100 bytes were lost: what they drew is missing"]
    assert not canvas.renderer.whole
