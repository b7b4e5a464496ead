# SPDX-License-Identifier: GPL-2.0-or-later
"""Rectangles by hand: each form of each encoding in each format, and what their senders must not do."""

from __future__ import annotations

import io
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissect.rfb import encodings
from dissect.rfb.encodings import Format
from dissect.rfb.pixels import lzo
from dissect.rfb.pixels.colours import rgb
from dissect.rfb.pixels.rectangles import PIXELS_LIMIT, UNDRAWN
from dissect.rfb.pixels.screen import Renderer
from dissect.rfb.session import RfbSession
from dissect.stream.records import Message
from dissect.stream.side import Side
from tests.rfb.examples import FORMAT_32, rect, rectangles, u16, u32, update
from tests.stream.bombs import bomb
from tests.stream.talk import Talk

A, B, C, D = 0x102030, 0xFFEEDD, 0x0000FF, 0x7F3F1F

FORMATS = {
    "32 bits": FORMAT_32,
    "32 bits, big-endian": bytes([32, 24, 1, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]),
    "32 bits, high": bytes([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 24, 16, 8, 0, 0, 0]),
    "32 bits, high, big-endian": bytes([32, 24, 1, 1, 0, 255, 0, 255, 0, 255, 24, 16, 8, 0, 0, 0]),
    "32 bits, blue first": bytes([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0]),
    "32 bits of which 30": bytes([32, 30, 0, 1, 3, 255, 3, 255, 3, 255, 20, 10, 0, 0, 0, 0]),
    "16 bits": bytes([16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0]),
    "16 bits, big-endian": bytes([16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0]),
    "8 bits": bytes([8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0]),
}


class Show:
    """A session of 24 x 20 pixels that is drawn, and the bytes of its pixels."""

    def __init__(self, wire: bytes = FORMAT_32, size: tuple[int, int] = (24, 20)) -> None:
        session = RfbSession()
        self.it = Talk(session)
        self.it.server(b"RFB 003.003\n")
        self.it.client(b"RFB 003.003\n")
        self.it.server(u32(1))
        self.it.client(b"\1")
        self.it.server(u16(size[0]) + u16(size[1]) + wire + u32(0))
        self.renderer = Renderer()
        self.form = session.pixel_format
        self.seen = 0
        self._draw()

    def update(self, *rects: bytes, count: int | None = None) -> list[str]:
        self.it.server(update(*rects, count=count))
        return self._draw()

    def _draw(self) -> list[str]:
        records = self.it.records[self.seen :]
        self.seen = len(self.it.records)
        return [f"{one.offset}: {one.why}" for record in records for one in self.renderer.take(record)]

    def value(self, colour: int) -> int:
        """The pixel value for 0xRRGGBB."""
        value = 0
        for shift, maximum, place in zip(self.form.shifts, self.form.maxima, (16, 8, 0), strict=True):
            value |= ((colour >> place & 255) * maximum // 255) << shift
        return value

    def pixel(self, *values: int) -> bytes:
        order = "big" if self.form.big_endian else "little"
        return b"".join(self.value(one).to_bytes(self.form.pixel, order) for one in values)  # type: ignore[arg-type]

    def cpixel(self, *values: int) -> bytes:
        whole = [self.pixel(one) for one in values]
        if self.form.cpixel == self.form.pixel:
            return b"".join(whole)
        first = self.form.spare == (3 if self.form.big_endian else 0)
        return b"".join(one[1:] if first else one[:3] for one in whole)

    def tpixel(self, *values: int) -> bytes:
        if self.form.tpixel == self.form.pixel:
            return self.pixel(*values)
        return b"".join(one.to_bytes(3, "big") for one in values)

    def picture(self, rows: list[list[int]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """What these colours look like in this format."""
        values = np.array([[self.value(one) for one in row] for row in rows], np.uint32)
        return rgb(values, self.form, np.zeros((1 << 16, 3), np.uint8))

    def shows(self, rows: list[list[int]], x: int = 0, y: int = 0) -> None:
        assert self.renderer.screen is not None
        found = self.renderer.screen[y : y + len(rows), x : x + len(rows[0])]
        assert found.tolist() == self.picture(rows).tolist()


@pytest.fixture(params=list(FORMATS.values()), ids=list(FORMATS))
def show(request: pytest.FixtureRequest) -> Show:
    return Show(request.param)


def test_raw_and_copies(show: Show) -> None:
    assert not show.update(rect(2, 2, 0, show.pixel(A, B, C, D), x=3, y=4))
    show.shows([[A, B], [C, D]], 3, 4)
    assert not show.update(rect(2, 2, 1, u16(3) + u16(4), x=4, y=4))
    show.shows([[A, A, B], [C, C, D]], 3, 4)


def test_rre_and_corre(show: Show) -> None:
    places = [(1, 0, 2, 1), (0, 1, 1, 1)]
    for encoding, size in ((2, 2), (4, 1)):
        body = u32(2) + show.pixel(A)
        for colour, place in zip((B, C), places, strict=True):
            body += show.pixel(colour) + b"".join(one.to_bytes(size, "big") for one in place)
        assert not show.update(rect(3, 2, encoding, body))
        show.shows([[A, B, B], [C, A, A]])


def test_hextile(show: Show) -> None:
    first = b"\x0e" + show.pixel(A, B) + b"\2" + bytes([0x10, 0x00, 0x02, 0x11])
    second = b"\x18" + b"\1" + show.pixel(C) + bytes([0x00, 0x10])  # the background of the tile before
    third = b"\1" + show.pixel(*[D] * 48)
    fourth = b"\x0c" + show.pixel(D) + b"\1" + bytes([0x11, 0x00])
    assert not show.update(rect(18, 19, 5, first + second + third + fourth))
    show.shows([[A, B, A], [A, A, A], [B, B, A], [B, B, A]])
    show.shows([[C, C], [A, A]], 16, 0)
    show.shows([[D, D], [D, D]], 0, 16)
    show.shows([[A, A], [A, D]], 16, 16)


def test_zlibhex_is_hextile(show: Show) -> None:
    """Of a model peer: no server and no viewer that can be installed here knows it."""
    raw, hextile = zlib.compressobj(), zlib.compressobj()

    def packed(stream: Any, data: bytes) -> bytes:
        out: bytes = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        return u16(len(out)) + out

    for colour in (B, C):  # the streams go on
        first = b"\x4e" + packed(hextile, show.pixel(A, colour) + b"\1" + bytes([0x10, 0x00]))
        second = b"\x20" + packed(raw, show.pixel(*[colour] * 8))
        assert not show.update(rect(20, 2, 8, first + second))
        show.shows([[A, colour, A], [A, A, A]])
        show.shows([[colour] * 4] * 2, 16, 0)


def test_zlib(show: Show) -> None:
    stream = zlib.compressobj()
    for colours in ([A, B], [C, D]):
        data = stream.compress(show.pixel(*colours)) + stream.flush(zlib.Z_SYNC_FLUSH)
        assert not show.update(rect(2, 1, 6, u32(len(data)) + data))
        show.shows([colours])


TILES = ["raw", "solid", "1 bit", "2 bits", "4 bits", "runs", "palette runs"]


def tile(show: Show, kind: str) -> tuple[bytes, list[list[int]]]:
    """A tile of 3 x 2 pixels as TRLE and ZRLE have it, and what it shows."""
    match kind:
        case "raw":
            return b"\0" + show.cpixel(A, B, C, D, A, B), [[A, B, C], [D, A, B]]
        case "solid":
            return b"\1" + show.cpixel(D), [[D] * 3] * 2
        case "1 bit":
            return b"\2" + show.cpixel(A, B) + b"\x40\xa0", [[A, B, A], [B, A, B]]
        case "2 bits":
            return b"\3" + show.cpixel(A, B, C) + b"\x18\x84", [[A, B, C], [C, A, B]]
        case "4 bits":
            return b"\5" + show.cpixel(A, B, C, D, A) + b"\x01\x20\x32\x40", [[A, B, C], [D, C, A]]
        case "runs":
            return b"\x80" + show.cpixel(A) + b"\3" + show.cpixel(B) + b"\1", [[A] * 3, [A, B, B]]
        case _:
            return b"\x82" + show.cpixel(A, B) + b"\x81\2\0\x80\1", [[B] * 3, [A] * 3]


@pytest.mark.parametrize("kind", TILES)
def test_trle_and_zrle(show: Show, kind: str) -> None:
    data, rows = tile(show, kind)
    assert not show.update(rect(3, 2, 15, data))
    show.shows(rows)
    packed = zlib.compress(data)
    again = Show(show.it.last("ServerInit").raw[4:20])
    assert not again.update(rect(3, 2, 16, u32(len(packed)) + packed))
    again.shows(rows)


def test_trle_uses_the_palette_before(show: Show) -> None:
    body = b"\2" + show.cpixel(A, B) + bytes(32) + b"\x7f" + b"\x40\x80" + bytes(14)
    assert not show.update(rect(18, 16, 15, body))
    show.shows([[A, B], [B, A]], 16, 0)
    body = b"\1" + show.cpixel(C) + b"\x7f"
    assert not show.update(rect(18, 2, 15, body))
    show.shows([[C] * 18] * 2)
    body = b"\x82" + show.cpixel(A, B) + b"\x80\x1f" + b"\x81\x81\3"
    assert not show.update(rect(18, 2, 15, body))
    show.shows([[A] * 16 + [B] * 2] * 2)


def test_tight(show: Show) -> None:
    def basic(data: bytes, control: int, head: bytes) -> bytes:
        if len(data) >= 12:
            data = zlib.compress(data)
            data = bytes([len(data)]) + data
        return bytes([control]) + head + data

    cases = [
        (2, 1, b"\x80" + show.tpixel(A), [[A, A]]),
        (1, 2, basic(show.tpixel(A, B), 0, b""), [[A], [B]]),
        (4, 4, basic(show.tpixel(*[A, B, C, D] * 4), 0x10, b""), [[A, B, C, D]] * 4),
        (3, 2, basic(b"\x40\xa0", 0x40, b"\1\1" + show.tpixel(A, B)), [[A, B, A], [B, A, B]]),
        (4, 4, basic(b"\0\1\2\3" * 4, 0x63, b"\1\3" + show.tpixel(A, B, C, D)), [[A, B, C, D]] * 4),
        (1, 2, b"\xa0" + show.tpixel(C, D), [[C], [D]]),
        (4, 4, b"\xa0" + bytes([16 * show.form.tpixel]) + show.tpixel(*[D] * 16), [[D] * 4] * 4),
    ]
    for width, height, body, rows in cases:
        assert not show.update(rect(width, height, 7, body))
        show.shows(rows)


def test_the_gradient_filter(show: Show) -> None:
    """Against the definition: each channel is predicted by left + above - left above, held in its range."""
    random = np.random.default_rng(1)
    rows = random.integers(0, 1 << 24, (5, 6)).tolist()
    levels = [[[show.value(one) >> s & m for one in row] for row in rows] for s, m in zip(
        show.form.shifts, show.form.maxima, strict=True)]  # fmt: skip
    wire = np.zeros((5, 6), np.uint32)
    for level, shift, most in zip(levels, show.form.shifts, show.form.maxima, strict=True):
        for y in range(5):
            for x in range(6):
                left = level[y][x - 1] if x else 0
                above = level[y - 1][x] if y else 0
                corner = level[y - 1][x - 1] if x and y else 0
                guess = min(max(left + above - corner, 0), most)
                wire[y, x] |= (level[y][x] - guess & most) << shift
    order = "big" if show.form.big_endian else "little"
    data = b"".join(
        bytes(int(one) >> shift & 255 for shift in show.form.shifts)
        if show.form.tpixel == 3 and show.form.pixel == 4
        else int(one).to_bytes(show.form.pixel, order)  # type: ignore[arg-type]
        for one in wire.ravel()
    )
    packed = zlib.compress(data)
    size = bytes([len(packed) & 127 | 128, len(packed) >> 7]) if len(packed) > 127 else bytes([len(packed)])
    assert not show.update(rect(6, 5, 7, b"\x40\2" + size + packed))
    show.shows(rows)


def test_a_tight_stream_goes_on_until_it_is_reset() -> None:
    show = Show()
    stream = zlib.compressobj()
    for control in (0, 0, 1):
        if control:
            stream = zlib.compressobj()
        data = stream.compress(show.tpixel(A, B, C, D)) + stream.flush(zlib.Z_SYNC_FLUSH)
        assert not show.update(rect(4, 1, 7, bytes([control, len(data)]) + data))
        show.shows([[A, B, C, D]])


@pytest.mark.parametrize(
    ("kind", "encoding", "control"), [("JPEG", 7, 0x90), ("PNG", -260, 0xA0), ("JPEG", 21, 0)]
)
def test_pictures_within_rectangles(kind: str, encoding: int, control: int) -> None:
    out = io.BytesIO()
    Image.new("RGB", (16, 8), (10, 200, 30)).save(out, kind)
    data = out.getvalue()
    show = Show()
    head = bytes([control, len(data) & 127 | 128, len(data) >> 7]) if control else b""
    assert not show.update(rect(16, 8, encoding, head + data))
    assert show.renderer.screen is not None
    assert np.abs(show.renderer.screen[:8, :16].astype(int) - [10, 200, 30]).max() <= 2


def test_a_jpeg_without_tables_uses_those_before() -> None:
    """The JPEG encoding, of a model peer: none of the servers here sends it."""

    def image(colour: tuple[int, int, int]) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (16, 16), colour).save(out, "JPEG")
        return out.getvalue()

    def without(data: bytes, *markers: int) -> bytes:
        kept, at = data[:2], 2
        while data[at + 1] != 0xDA:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            kept += b"" if data[at + 1] in markers else data[at:end]
            at = end
        return kept + data[at:]

    colours = (200, 30, 40), (20, 130, 240), (90, 90, 10)
    first, second, third = map(image, colours)
    show = Show()
    show.it.client(b"\2\0" + u16(1) + u32(21))
    (told,) = show.update(rect(16, 16, 21, without(first, 0xDB, 0xC4)))
    assert "the picture cannot be decoded" in told
    for data, colour in ((first, 0), (without(second, 0xDB, 0xC4), 1), (without(third, 0xC4), 2)):
        assert show.update(rect(16, 16, 21, data)) == []
        assert show.renderer.screen is not None
        assert np.abs(show.renderer.screen[3, 3].astype(int) - colours[colour]).max() <= 2
    show.it.lose(Side.SERVER, 30)
    show._draw()
    (told, *_) = show.update(rect(16, 16, 21, without(second, 0xDB, 0xC4)), rect(1, 1, 0, bytes(4)))
    assert "tables of an image before, which were lost" in told


def test_a_colour_map_that_changes() -> None:
    show = Show(bytes([8, 8, 0, 0]) + bytes(12))
    show.it.server(b"\1\0" + u16(2) + u16(2) + bytes([1, 0, 2, 0, 3, 0]) + bytes([9, 9, 9, 9, 9, 9]))
    assert not show.update(rect(2, 1, 0, b"\2\3"), rect(1, 1, 1, u16(0) + u16(0), x=5, y=0))
    assert show.renderer.screen is not None
    assert show.renderer.screen[0, [0, 1, 5]].tolist() == [[1, 2, 3], [9, 9, 9], [1, 2, 3]]
    show.it.server(b"\1\0" + u16(2) + u16(1) + b"\x77\0" * 3)
    show._draw()
    assert show.renderer.screen[0, [0, 1, 5]].tolist() == [[0x77] * 3, [9, 9, 9], [0x77] * 3]


def test_a_colour_map_of_no_colours() -> None:
    show = Show(bytes([8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
    show.it.server(b"\1\0" + u16(7) + u16(0), b"\1\0" + u16(0xFFFF) + u16(2) + bytes(12))
    assert show._draw() == []


def test_cursors() -> None:
    show = Show()
    assert not show.update(rect(2, 1, -239, show.pixel(A, B) + b"\x40", x=1))
    assert show.renderer.cursor is not None
    assert (show.renderer.cursor.x, show.renderer.cursor.y) == (1, 0)
    assert show.renderer.cursor.image.tolist() == [[[0x10, 0x20, 0x30, 0], [0xFF, 0xEE, 0xDD, 255]]]
    assert not show.update(rect(2, 1, -240, bytes([1, 2, 3, 4, 5, 6]) + b"\x80" + b"\xc0"))
    assert show.renderer.cursor.image.tolist() == [[[1, 2, 3, 255], [4, 5, 6, 255]]]
    assert not show.update(rect(1, 1, -314, u32(0) + bytes([64, 32, 0, 128])))
    assert show.renderer.cursor.image.tolist() == [[[128, 64, 0, 128]]]
    assert not show.update(rect(1, 1, 0x574D5664, b"\1\0" + bytes([9, 9, 9, 255])))
    assert show.renderer.cursor.image.tolist() == [[[9, 9, 9, 255]]]
    assert Image.open(io.BytesIO(show.renderer.cursor_png())).size == (1, 1)
    masks = show.pixel(0xFFFFFF, 0) + show.pixel(0, A)
    assert not show.update(rect(2, 1, 0x574D5664, b"\0\0" + masks))
    assert show.renderer.cursor.image.tolist() == [[[0, 0, 0, 0], [0x10, 0x20, 0x30, 255]]]
    assert not show.update(rect(0, 0, -239))
    assert show.renderer.whole
    with pytest.raises(ValueError, match="no cursor"):
        show.renderer.cursor_png()


def test_a_cursor_shares_the_stream_of_its_encoding() -> None:
    show, stream = Show(), zlib.compressobj()

    def tile(data: bytes) -> bytes:
        packed = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        return u32(len(packed)) + packed

    first = rect(2, 1, 16, tile(b"\1" + show.cpixel(A)))
    cursor = rect(1, 1, -314, u32(16) + tile(b"\1" + bytes([64, 32, 0, 128])))
    last = rect(2, 1, 16, tile(b"\1" + show.cpixel(B)), x=2)
    assert show.update(first, cursor, last) == []
    assert show.renderer.cursor is not None
    assert show.renderer.cursor.image.tolist() == [[[128, 64, 0, 128]]]
    assert show.renderer.screen is not None
    assert show.renderer.screen[0, [0, 3]].tolist() == [[0x10, 0x20, 0x30], [0xFF, 0xEE, 0xDD]]


def test_sizes_of_the_screen() -> None:
    show = Show()
    show.update(rect(1, 1, 0, show.pixel(A)))
    for change in (
        rect(30, 10, -223),
        rect(12, 13, -308, b"\0\0\0\0"),
        rect(50, 50, -308, b"\0\0\0\0", x=1, y=2),  # refused: no change
        rect(9, 8, -307),
    ):
        assert not show.update(change)
        show.shows([[A]])
        assert show.renderer.screen is not None
        wanted = (
            (13, 12) if change[4:8] == u16(50) + u16(50) else tuple(np.frombuffer(change, ">u2", 2, 4)[::-1])
        )
        assert show.renderer.screen.shape[:2] == wanted
    assert Image.open(io.BytesIO(show.renderer.png())).size == (9, 8)


# --- what must not be


def z(data: bytes) -> bytes:
    packed = zlib.compress(data)
    return u32(len(packed)) + packed


BOMB = bomb(256)

WRONG = [
    ("a zlib bomb", rect(4, 4, 6, u32(len(BOMB)) + BOMB), "inflates to more than the 64 bytes"),
    ("a bomb in ZRLE", rect(4, 4, 16, u32(len(BOMB)) + BOMB), "inflates to more than"),
    ("too little", rect(4, 4, 6, z(bytes(60))), "gives 60 bytes where 64 are wanted"),
    ("no zlib", rect(4, 4, 6, u32(4) + b"abcd"), "incorrect header check"),
    ("ZRLE, too little", rect(4, 4, 16, z(b"\2abcdef")), "ends after 7 bytes"),
    ("ZRLE, too much", rect(4, 4, 16, z(b"\1abcd")), "1 inflated bytes follow the last tile"),
    ("ZRLE, an index", rect(2, 1, 16, z(b"\3abcdefghi\xc0")), "palette index 3 of 3 colours"),
    ("ZRLE, a run's index", rect(2, 1, 16, z(b"\x82abcdef\2\2")), "palette index 2 of 2 colours"),
    ("ZRLE, a long run", rect(2, 1, 16, z(b"\x80abc\5")), "reaches 4 pixels beyond its tile"),
    ("ZRLE, type 17", rect(2, 1, 16, z(b"\x11")), "tile type 17 does not exist"),
    ("ZRLE, type 127", rect(2, 1, 16, z(b"\x7f")), "uses a palette that is not there"),
    ("TRLE, an index", rect(2, 1, 15, b"\3abcdefghi\xc0"), "palette index 3 of 3 colours"),
    ("Tight, an index", rect(2, 1, 7, b"\x40\1\2abcdefghi\0\3"), "palette index 3 of 3 colours"),
    ("Tight, no zlib, size", rect(4, 1, 7, b"\xa0\5abcde"), "5 bytes of pixels where 12 are wanted"),
    ("Hextile, outside", rect(4, 4, 5, b"\x0e" + bytes(8) + b"\1\x30\x10"), "lies outside its tile"),
    ("Hextile, no background", rect(4, 4, 5, b"\0"), "has no background"),
    ("Hextile, no foreground", rect(4, 4, 5, b"\x0a" + bytes(4) + b"\1\0\0"), "without a foreground"),
    ("RRE, outside", rect(4, 4, 2, u32(1) + bytes(8) + u16(3) + u16(0) + u16(2) + u16(1)), "lies outside"),
    (
        "RRE, over and over",
        rect(4, 4, 2, u32(100) + bytes(4) + (bytes(4) + u16(0) * 2 + u16(4) * 2) * 100),
        "cover more than 64 times",
    ),
    ("outside the screen", rect(4, 4, 0, bytes(64), x=21), "reaches outside the screen (24 × 20)"),
    ("a copy from outside", rect(4, 4, 1, u16(21) + u16(0)), "comes from outside the screen"),
    ("no JPEG", rect(4, 4, 7, b"\x90\4abcd"), "cannot be decoded"),
    ("LZO", rect(4, 4, 9, u32(3) + b"\x11\0\0"), "LZO data gives 0 bytes instead of 64"),
    ("65535 x 65535", rect(65535, 65535, 2, u32(0) + bytes(4)), f"over the limit of {PIXELS_LIMIT} pixels"),
    ("a cursor encoding", rect(1, 1, -314, u32(16) + z(b"\1abc")), "at least 5 are wanted"),
    ("a cursor without alpha", rect(1, 1, -314, u32(1) + bytes(4)), "encoding 1 has no transparency"),
    ("a cursor that is not undone", rect(1, 1, -314, u32(18) + u32(1) + b"x"), "its compression (XZ)"),
    (
        "a cursor that inverts",
        rect(1, 1, 0x574D5664, b"\0\0" + b"\xff\xff\xff\0" * 2),
        "inverts what is below it",
    ),
]


@pytest.mark.parametrize(("body", "why"), [pytest.param(body, why, id=name) for name, body, why in WRONG])
def test_a_wrong_rectangle_is_told_and_the_rest_is_drawn(body: bytes, why: str) -> None:
    show = Show()
    good = rect(1, 1, 0, show.pixel(B), x=5, y=5)
    begin = show.it.session._flows[Side.SERVER].offset
    tracemalloc.start()
    try:
        problems = show.update(body, good)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(problems) == 1
    offset, _, said = problems[0].partition(": ")
    assert why in said
    assert begin + 4 <= int(offset) < begin + 4 + len(body)
    show.shows([[B]], 5, 5)
    assert not show.renderer.whole
    assert peak < 4 << 20


def test_a_wrong_picture_size() -> None:
    out = io.BytesIO()
    Image.new("RGB", (5, 5)).save(out, "PNG")
    data = out.getvalue()
    show = Show()
    (problem,) = show.update(rect(4, 4, -260, bytes([0xA0, len(data)]) + data))
    assert "5 × 5 pixels, its rectangle 4 × 4" in problem


def test_a_screen_of_65535_x_65535_is_not_drawn() -> None:
    show = Show()
    tracemalloc.start()
    try:
        (problem,) = show.update(rect(65535, 65535, -223))
        assert "a screen of 65535 × 65535 is over the limit" in problem
        assert "there is no screen" in show.update(rect(1, 1, 0, bytes(4)))[0]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert show.update(rect(9, 9, -223), rect(1, 1, 0, show.pixel(A))) == []
    show.shows([[A]])


def test_what_follows_a_broken_stream_is_not_invented() -> None:
    show = Show()
    show.update(rect(4, 4, 6, u32(4) + b"abcd"))
    (problem,) = show.update(rect(4, 4, 6, z(bytes(64))))
    assert "is of no use since byte" in problem
    show = Show()
    show.it.lose(Side.SERVER, 100)
    show._draw()
    assert not show.renderer.whole


@pytest.mark.parametrize("encoding", sorted(UNDRAWN))
def test_what_is_framed_and_not_drawn_says_why(encoding: int) -> None:
    show = Show()
    body = next(data for _, data in rectangles(show.form) if data[8:12] == u32(encoding))
    assert UNDRAWN[encoding] in show.update(body)[0]


def test_every_walker_s_pieces_are_known() -> None:
    """Each framed encoding's example is walked with somebody looking: nothing is unknown to the painter."""
    for form in FORMATS.values():
        for _, data in rectangles(Show(form).form):
            Show(form, (700, 500)).update(data)


def test_the_walkers_see_what_the_session_frames() -> None:
    """The same bytes end at the same place, whoever looks."""
    for _, data in rectangles(Format()):
        show = Show()
        show.update(data)
        message = show.it.last("FramebufferUpdate")
        assert isinstance(message, Message)
        walk = encodings.Walk(encodings.Whole(message.raw, "it"), 4, lambda *_: None)
        for _ in encodings.update(walk, 1, message.basis, None, lambda rect, start, end: None):
            pass
        assert walk.at == len(message.raw)


@pytest.mark.parametrize(
    ("data", "out"),
    [
        (b"\x15abcd\x11\0\0", b"abcd"),
        (b"\x15abcd\x2d\x0c\0\x11\0\0", b"abcd" + b"abcdabcdabcdabc"),  # 32 + 13: 15 bytes from 4 back
        (b"\x15abcd\x48\1\x11\0\0", None),  # further back than there is anything
        (b"\2abcde\x11\0\0", b"abcde"),  # a run of 2 + 3
        (b"\x15abcd", None),
        (b"", None),
    ],
)
def test_lzo(data: bytes, out: bytes | None) -> None:
    if out is None:
        with pytest.raises(lzo.Corrupt):
            lzo.decompress(data, 19)
    else:
        assert lzo.decompress(data, len(out)) == out
        with pytest.raises(lzo.Corrupt):
            lzo.decompress(data, len(out) - 1)
        with pytest.raises(lzo.Corrupt):
            lzo.decompress(data, len(out) + 1)
