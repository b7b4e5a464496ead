# SPDX-License-Identifier: GPL-2.0-or-later
"""One image of a message to red, green, blue and, where it has them, alpha values.

Layouts: `dissect.spice.images`. Pixels of 32 bits are blue, green, red, and alpha or nothing; of 16 bits 5
bits each, red highest; a palette's colours have red in bits 16 to 23. Lines go down or, without TOP_DOWN, up.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dissect.spice import lz4
from dissect.spice.images import GLZ_HEADER, LZ_TYPES, PAL_FROM_CACHE, SpiceGlzRgbData
from dissect.spice.pixels import lz
from dissect.spice.pixels.quic import decode as quic_decode
from dissect.stream.layout import Malformed, Short

PIXELS_LIMIT = 1 << 26
"""Pixels of the largest image and the largest surface that are drawn: 8192 x 8192."""
SIDE_LIMIT = 1 << 15
"""Pixels of the longest line and the most lines; X and QXL count them with 16 bits and a sign."""

Plane = npt.NDArray[np.uint8]
TOP_DOWN = 1 << 2
GLZ_TOP_DOWN, GLZ_TYPE = 1 << 4, 15


class NotDrawn(Exception):
    """Why an image or a message is not drawn; nobody need have done anything wrong."""


@dataclass(slots=True)
class Picture:
    """An image: height x width x 3, and height x width where it has an alpha channel.

    `bits` is the single bits of an image of one bit a pixel, which masks are made of.
    """

    rgb: Plane
    alpha: Plane | None = None
    bits: npt.NDArray[np.bool_] | None = None
    lossy: bool = False


def checked(width: int, height: int) -> tuple[int, int]:
    """The size, if it is not 0 and within the limit; else `NotDrawn`."""
    if not 0 < width * height <= PIXELS_LIMIT:
        raise NotDrawn(f"its {width} × {height} pixels are outside the limit of {PIXELS_LIMIT}")
    if max(width, height) > SIDE_LIMIT:
        raise NotDrawn(f"its {width} × {height} pixels are outside the limit of {SIDE_LIMIT} a side")
    return width, height


class Decoder:
    """Decodes the images of one display channel, in order: GLZ images copy from those before."""

    def __init__(self) -> None:
        self.window = lz.Window()
        self.palettes: dict[int, list[int]] = {}
        """Those that the client was told to keep, by their numbers."""

    def picture(self, image: Mapping[str, Any]) -> Picture:
        """The pixels of an image as its message holds it. Raises `NotDrawn`."""
        try:
            for name, reader in _READERS.items():
                if name in image:
                    return reader(self, image[name], image["descriptor"])
        except (lz.Damaged, lz4.Damaged) as bad:
            raise NotDrawn(f"its data is damaged: {bad}") from None
        except lz.Missing as bad:
            raise NotDrawn(str(bad)) from None
        raise NotDrawn(f"its type {image['descriptor']['type']} has no pixels of its own")

    # --- types

    def _bitmap(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        width, height = checked(found["x"], found["y"])
        stride = found["stride"]
        needed = (width * BITS.get(found["format"], 0) + 7) // 8
        if not needed:
            raise NotDrawn(f"bitmap format {found['format']} is not defined")
        if stride < needed:
            raise NotDrawn(f"its lines of {stride} bytes cannot hold {width} pixels")
        lines = np.frombuffer(found["pixels"], np.uint8).reshape(height, stride)[:, :needed]
        palette = self._palette(found)
        return _upright(unpacked(lines, width, found["format"], palette), bool(found["flags"] & TOP_DOWN))

    def _lz_rgb(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        return _upright(_lz_pixels(found, found["lz_data"], None), bool(found["top_down"]))

    def _lz_plt(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        palette = self._palette(found)
        return _upright(_lz_pixels(found, found["lz_data"], palette), bool(found["top_down"]))

    def _glz(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        width, height = checked(found["width"], found["height"])
        kind = found["glz_type"] & GLZ_TYPE
        if kind not in RGB_UNITS:
            raise NotDrawn(f"GLZ of type {LZ_TYPES.get(kind, kind)} is not made by any server")
        data, number = found["glz_data"], found["glz_id"]
        unit = RGB_UNITS[kind]
        pixels, alpha = self.window.decode(data, number, width * height, unit, alpha=kind == RGBA)
        self.window.release(number, found["win_head_dist"])
        picture = Picture(_colours(pixels, width, height, unit), _plane(alpha, width, height))
        return _upright(picture, bool(found["glz_type"] & GLZ_TOP_DOWN))

    def _zlib_glz(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        size = found["glz_data_size"]
        if size > 5 * PIXELS_LIMIT:
            raise NotDrawn(f"its {size} bytes of GLZ are over the limit")
        try:
            data = zlib.decompressobj().decompress(found["zlib_data"], size)
        except zlib.error as bad:
            raise NotDrawn(f"its zlib data is damaged: {bad}") from None
        if len(data) < GLZ_HEADER:
            raise NotDrawn(f"its zlib data has {len(data)} of {size} bytes")
        layout = SpiceGlzRgbData.layout()
        try:
            inner, _ = layout.decode(len(data).to_bytes(4, "little") + data)
        except (Short, Malformed) as bad:
            raise NotDrawn(f"its GLZ header is damaged: {bad}") from None
        return self._glz(inner, descriptor)

    def _jpeg(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        return Picture(_jpeg(found["jpeg_data"], descriptor), lossy=True)

    def _jpeg_alpha(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        rgb = _jpeg(found["jpeg_data"], descriptor)
        alpha = _lz_pixels(found, found["alpha_data"], None)
        if alpha.alpha is None or alpha.alpha.shape != rgb.shape[:2]:
            raise NotDrawn("its alpha channel has another size")
        upright = _upright(alpha, bool(found["flags"] & 1))
        return Picture(rgb, upright.alpha, lossy=True)

    def _lz4(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        width, height = checked(descriptor["width"], descriptor["height"])
        bits = BITS.get(found["format"], 0)
        if bits < 16:
            raise NotDrawn(f"LZ4 of bitmap format {found['format']} is not made by any server")
        wanted = width * height * (bits // 8)
        data, out, at = found["lz4_blocks"], bytearray(), 0
        while at + 4 <= len(data) and len(out) < wanted:
            size = int.from_bytes(data[at : at + 4], "big")
            block = data[at + 4 : at + 4 + size]
            if len(block) < size:
                raise lz4.Damaged("a block is cut off")
            out += lz4.expand(block, wanted - len(out), out[-65536:])
            at += 4 + size
        if len(out) != wanted:
            raise lz4.Damaged(f"it has {len(out)} bytes, not {wanted}")
        lines = np.frombuffer(bytes(out), np.uint8).reshape(height, -1)
        return _upright(unpacked(lines, width, found["format"], []), bool(found["top_down"]))

    def _quic(self, found: Mapping[str, Any], descriptor: Mapping[str, Any]) -> Picture:
        width, height = checked(found["width"], found["height"])
        rgb, alpha = quic_decode(found["quic_data"], found["quic_type"], width, height)
        return Picture(rgb, alpha)

    def _palette(self, found: Mapping[str, Any]) -> list[int]:
        if found["flags"] & PAL_FROM_CACHE:
            number = found["palette_id"]
            if number not in self.palettes:
                raise NotDrawn(f"its palette {number:#x} is not in the cache")
            return self.palettes[number]
        pointer = found.get("palette")
        to = getattr(pointer, "to", None)
        return [] if to is None else list(to["ents"])


_READERS: dict[str, Callable[[Decoder, Mapping[str, Any], Mapping[str, Any]], Picture]] = {
    "bitmap": Decoder._bitmap,
    "quic": Decoder._quic,
    "lz_plt": Decoder._lz_plt,
    "lz_rgb": Decoder._lz_rgb,
    "glz_rgb": Decoder._glz,
    "zlib_glz": Decoder._zlib_glz,
    "jpeg": Decoder._jpeg,
    "jpeg_alpha": Decoder._jpeg_alpha,
    "lz4": Decoder._lz4,
}

# --- pixels

BITS: Mapping[int, int] = {1: 1, 2: 1, 3: 4, 4: 4, 5: 8, 6: 16, 7: 24, 8: 32, 9: 32, 10: 8}
"""Bitmap format -> bits a pixel."""
ONE_LE, ONE_BE, FOUR_LE, FOUR_BE, EIGHT, SIXTEEN, RGBA_FORMAT, EIGHT_A = 1, 2, 3, 4, 5, 6, 9, 10
RGB_UNITS: Mapping[int, int] = {6: 2, 7: 3, 8: 3, 9: 3}
"""LZ type -> bytes of a pixel."""
PALETTED: Mapping[int, int] = {1: ONE_LE, 2: ONE_BE, 3: FOUR_LE, 4: FOUR_BE, 5: EIGHT}
"""LZ type -> bitmap format of the lines inside."""
RGBA, XXXA, A8 = 9, 10, 11


def unpacked(lines: Plane, width: int, form: int, palette: list[int]) -> Picture:
    """Lines of bytes in a bitmap format as a picture. Raises `NotDrawn` where a palette is wanting."""
    height = len(lines)
    if form == EIGHT_A:
        return Picture(np.zeros((height, width, 3), np.uint8), lines[:, :width].copy())
    if form in (ONE_LE, ONE_BE):
        packed = np.ascontiguousarray(lines)
        little = form == ONE_LE
        bits = np.unpackbits(packed, axis=1, bitorder="little" if little else "big")[:, :width]
        rgb = _looked_up(bits, palette or [0, 0xFFFFFF])
        return Picture(rgb, bits=bits.astype(np.bool_))
    if form in (FOUR_LE, FOUR_BE):
        halves = [lines & 15, lines >> 4]
        if form == FOUR_BE:
            halves.reverse()
        indices = np.stack(halves, axis=2).reshape(height, -1)[:, :width]
        return Picture(_looked_up(indices, palette))
    if form == EIGHT:
        return Picture(_looked_up(lines[:, :width], palette))
    if form == SIXTEEN:
        return Picture(_555(np.ascontiguousarray(lines).view("<u2")[:, :width]))
    unit = BITS[form] // 8
    pixels = lines.reshape(height, width, unit)
    return Picture(pixels[:, :, 2::-1].copy(), pixels[:, :, 3].copy() if form == RGBA_FORMAT else None)


def _looked_up(indices: Plane, palette: list[int]) -> Plane:
    if not palette:
        raise NotDrawn("it has no palette")
    # As spice-gtk does: an index beyond the palette begins again at its first colour.
    table = np.array([palette[index % len(palette)] for index in range(256)], np.uint32)
    return _from_number(table)[indices]


def _from_number(colours: npt.NDArray[np.uint32]) -> Plane:
    parts = [(colours >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
    return np.stack(parts, axis=-1)


def _555(values: npt.NDArray[Any]) -> Plane:
    """5 bits each of red, green and blue, spread over 8."""
    five = np.stack([values >> shift & 31 for shift in (10, 5, 0)], axis=-1)
    return (five << 3 | five >> 2).astype(np.uint8)


def _colours(pixels: bytes, width: int, height: int, unit: int) -> Plane:
    """The pixels of LZ: blue, green, red, or 16 bits, high byte first."""
    if unit == 2:
        return _555(np.frombuffer(pixels, ">u2").reshape(height, width))
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)[:, :, ::-1]


def _plane(alpha: bytes | None, width: int, height: int) -> Plane | None:
    return None if alpha is None else np.frombuffer(alpha, np.uint8).reshape(height, width)


def _lz_pixels(header: Mapping[str, Any], data: bytes, palette: list[int] | None) -> Picture:
    """An image of LZ, its lines in the order in which they are."""
    kind = header["lz_type"]
    width, height = checked(header["width"], header["height"])
    if kind in RGB_UNITS:
        unit = RGB_UNITS[kind]
        pixels, at = lz.lz(data, 0, width * height, unit, 2 if unit == 2 else 1)
        alpha = lz.lz(data, at, width * height, 1, 3)[0] if kind == RGBA else None
        return Picture(_colours(pixels, width, height, unit), _plane(alpha, width, height))
    if kind in (XXXA, A8):
        plane = _plane(lz.lz(data, 0, width * height, 1, 3)[0], width, height)
        return Picture(np.zeros((height, width, 3), np.uint8), plane)
    if kind not in PALETTED or palette is None:
        raise NotDrawn(f"LZ type {LZ_TYPES.get(kind, kind)} is not allowed here")
    form = PALETTED[kind]
    stride = (width * BITS[form] + 7) // 8
    lines = np.frombuffer(lz.lz(data, 0, stride * height, 1, 3)[0], np.uint8).reshape(height, stride)
    return unpacked(lines, width, form, palette)


def _jpeg(data: bytes, descriptor: Mapping[str, Any]) -> Plane:
    from PIL import Image

    checked(descriptor["width"], descriptor["height"])
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.size != (descriptor["width"], descriptor["height"]):
                raise NotDrawn(f"its JPEG has {image.size[0]} × {image.size[1]} pixels")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as bad:
        raise NotDrawn(f"its JPEG is damaged: {bad}") from None


def _upright(picture: Picture, top_down: bool) -> Picture:
    if top_down:
        return picture
    flipped = [None if one is None else one[::-1] for one in (picture.rgb, picture.alpha, picture.bits)]
    rgb, alpha, bits = flipped
    assert rgb is not None
    return Picture(rgb, alpha, bits, picture.lossy)  # type: ignore[arg-type]
