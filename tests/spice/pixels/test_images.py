# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of every type: bitmaps of every format by hand, the others as servers make them (test_truth)."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissect.spice.fields import Pointer
from dissect.spice.images import SpiceImage
from dissect.spice.pixels.images import Decoder, NotDrawn
from dissect.stream.layout import Values
from tests.spice.examples import be32, u8, u32, words

PALETTE = Pointer(1, Values(unique=7, ents=[0x000000, 0xFF8001, 0x00FF00, 0x0000FF]))
RED, GREEN, BLUE = [255, 128, 1], [0, 255, 0], [0, 0, 255]


def bitmap(
    form: int, width: int, height: int, pixels: bytes, *, flags: int = 4, stride: int | None = None
) -> Any:
    found = {"format": form, "flags": flags, "x": width, "y": height, "palette": PALETTE, "pixels": pixels}
    descriptor = {"type": 0, "flags": 0, "id": 1, "width": width, "height": height}
    return {"descriptor": descriptor, "bitmap": {**found, "stride": stride or len(pixels) // height}}


@pytest.mark.parametrize(
    ("form", "pixels", "wanted"),
    [
        (1, b"\x05", [RED, [0, 0, 0], RED]),  # the lowest bit first
        (2, b"\xa0", [RED, [0, 0, 0], RED]),
        (3, b"\x21\x03", [RED, GREEN, BLUE]),  # the lower half first
        (4, b"\x12\x30", [RED, GREEN, BLUE]),
        (5, b"\x01\x02\x07", [RED, GREEN, BLUE]),  # beyond the palette: from its beginning again
        (6, struct.pack("<3H", 31 << 10, 1 << 5, 16), [[255, 0, 0], [0, 8, 0], [0, 0, 132]]),
        (7, bytes([1, 128, 255, 0, 255, 0, 255, 0, 0]), [RED, GREEN, BLUE]),
        (8, bytes([1, 128, 255, 9, 0, 255, 0, 9, 255, 0, 0, 9]), [RED, GREEN, BLUE]),
        (9, bytes([1, 128, 255, 9, 0, 255, 0, 8, 255, 0, 0, 7]), [RED, GREEN, BLUE]),
    ],
)
def test_bitmaps_of_every_format(form: int, pixels: bytes, wanted: list[list[int]]) -> None:
    picture = Decoder().picture(bitmap(form, 3, 1, pixels))
    assert picture.rgb.tolist() == [wanted]
    assert (picture.alpha is not None) == (form == 9)
    if form == 9:
        assert picture.alpha is not None
        assert picture.alpha.tolist() == [[9, 8, 7]]
    if form in (1, 2):
        assert picture.bits is not None
        assert picture.bits.tolist() == [[True, False, True]]


def test_an_alpha_bitmap_has_no_colours() -> None:
    picture = Decoder().picture(bitmap(10, 2, 1, b"\x05\x06"))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[5, 6]]
    assert not picture.rgb.any()


def test_lines_may_be_longer_and_go_up() -> None:
    pixels = bytes([1, 2, 99, 2, 3, 99])
    assert Decoder().picture(bitmap(5, 2, 2, pixels)).rgb.tolist() == [[RED, GREEN], [GREEN, BLUE]]
    assert Decoder().picture(bitmap(5, 2, 2, pixels, flags=0)).rgb.tolist() == [[GREEN, BLUE], [RED, GREEN]]


def decoded(raw: bytes) -> Any:
    return SpiceImage.layout().decode(raw)[0]


def descriptor(kind: int, width: int, height: int) -> bytes:
    return bytes(8) + u8(kind) + u8(0) + words(width, height)


def lz_head(kind: int, width: int, height: int, top_down: int = 1) -> bytes:
    return b"  ZL" + be32(0x10001, kind, width, height, width, top_down)


@pytest.mark.parametrize(
    ("kind", "data"), [(1, b"\x00\x05"), (2, b"\x00\xa0"), (3, b"\x01\x21\x03"), (5, b"\x02\x01\x02\x03")]
)
def test_lz_of_a_palette(kind: int, data: bytes) -> None:
    image = {
        "descriptor": {"type": 100, "width": 3, "height": 1},
        "lz_plt": {
            "flags": 0,
            "palette": PALETTE,
            "lz_type": kind,
            "width": 3,
            "height": 1,
            "top_down": 1,
            "lz_data": data,
        },
    }
    rgb = Decoder().picture(image).rgb.tolist()
    assert rgb == [[RED, [0, 0, 0], RED] if kind < 3 else [RED, GREEN, BLUE]]


def test_lz_with_alpha_and_of_sixteen_bits() -> None:
    data = b"\x01" + bytes([1, 128, 255, 0, 255, 0]) + b"\x01\x09\x08"
    raw = descriptor(101, 2, 1) + u32(28 + len(data)) + lz_head(9, 2, 1) + data
    picture = Decoder().picture(decoded(raw))
    assert picture.rgb.tolist() == [[RED, GREEN]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[9, 8]]
    data = b"\x01" + struct.pack(">2H", 31 << 10, 31)
    raw = descriptor(101, 1, 2) + u32(28 + len(data)) + lz_head(6, 1, 2, 0) + data
    assert Decoder().picture(decoded(raw)).rgb.tolist() == [[BLUE], [[255, 0, 0]]]


def jpeg(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "JPEG", quality=100)
    return out.getvalue()


def test_jpeg_with_and_without_alpha() -> None:
    data = jpeg((200, 100, 50))
    picture = Decoder().picture(decoded(descriptor(105, 8, 8) + u32(len(data)) + data))
    assert picture.lossy
    assert np.abs(picture.rgb.astype(int) - (200, 100, 50)).max() < 4
    alpha = lz_head(10, 8, 8) + b"\x00\x07" + bytes([7 << 5, 63 - 9, 0])
    raw = descriptor(108, 8, 8) + u8(1) + words(len(data), len(data) + len(alpha)) + data + alpha
    picture = Decoder().picture(decoded(raw))
    assert picture.alpha is not None
    assert (picture.alpha == 7).all()


def test_deflated_glz() -> None:
    glz = (
        b"  ZL"
        + be32(0x10001)
        + u8(0x18)
        + be32(2, 1, 8)
        + bytes(8)
        + be32(0)
        + b"\x01"
        + bytes([1, 128, 255, 0, 255, 0])
    )
    packed = zlib.compress(glz)
    raw = descriptor(107, 2, 1) + u32(len(glz)) + u32(len(packed)) + packed
    assert Decoder().picture(decoded(raw)).rgb.tolist() == [[RED, GREEN]]
    with pytest.raises(NotDrawn, match="zlib data"):
        Decoder().picture(decoded(raw[:-9] + bytes(9)))


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (bitmap(8, 1 << 31, 1 << 31, b"", stride=4), "outside the limit"),
        (
            decoded(
                descriptor(1, 1 << 26, 1)
                + u32(84)
                + b"QUIC"
                + u32(0)
                + u32(4)
                + words(1 << 26, 1)
                + bytes(64)
            ),
            "outside the limit of 32768 a side",
        ),
        (bitmap(8, 4, 1, bytes(8)), "cannot hold 4 pixels"),
        (bitmap(11, 4, 1, bytes(8)), "format 11 is not defined"),
        (decoded(descriptor(105, 8, 8) + u32(4) + b"abcd"), "JPEG is damaged"),
        (
            decoded(descriptor(101, 1 << 15, 1 << 15) + u32(28) + lz_head(8, 1 << 15, 1 << 15)),
            "outside the limit",
        ),
        (decoded(descriptor(101, 4, 4) + u32(28) + lz_head(8, 4, 4)), "cut off"),
        (decoded(descriptor(101, 4, 4) + u32(30) + lz_head(3, 4, 4) + b"ab"), "not allowed here"),
        (decoded(descriptor(109, 4, 4) + u32(9) + u8(1) + u8(8) + be32(3) + b"abc"), "damaged"),
        ({"descriptor": {"type": 2}}, "no pixels of its own"),
    ],
)
def test_what_cannot_be_drawn_says_why(image: Any, why: str) -> None:
    with pytest.raises(NotDrawn, match=why):
        Decoder().picture(image)


def test_a_palette_comes_from_the_cache() -> None:
    decoder = Decoder()
    image = bitmap(5, 1, 1, b"\x01", flags=6)
    image["bitmap"] = {key: value for key, value in image["bitmap"].items() if key != "palette"}
    image["bitmap"]["palette_id"] = 7
    with pytest.raises(NotDrawn, match="palette 0x7 is not in the cache"):
        decoder.picture(image)
    decoder.palettes[7] = PALETTE.to["ents"]
    assert decoder.picture(image).rgb.tolist() == [[RED]]
