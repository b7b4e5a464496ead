# SPDX-License-Identifier: GPL-2.0-or-later
"""One rectangle decoded: `Painting` hears from its walker what lies where, and makes pixels of it.

What the sender must not do is `Wrong`: a zlib stream that gives more or less than its rectangle, an index
outside its palette, a subrectangle outside its tile. Nothing is inflated beyond what the rectangle can hold.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dissect.rfb import encodings
from dissect.rfb.encodings import RGBA, Format, Rectangle, Walk, Whole, packed_bits
from dissect.rfb.pixels import colours, lzo, wavelets
from dissect.rfb.pixels.colours import Rgb, Values
from dissect.stream.session import NotRead, Wrong

PIXELS_LIMIT = 1 << 26
"""Pixels of the largest rectangle and the largest screen that are drawn: 8192 x 8192."""

OVERDRAW = 64
"""How many times its own area the subrectangles of one RRE rectangle may cover."""

QUANTIZATION, HUFFMAN, START_OF_SCAN, END_OF_IMAGE = 0xDB, 0xC4, 0xDA, 0xD9
"""Markers of a JPEG image."""

UNDRAWN = {
    10: "its compression (Ultra2) is not undone",
    18: "its compression (XZ) is not undone",
    19: "its compression (XZ) is not undone",
    50: "H.264 is not decoded (but handed on: `Renderer.video`)",
    **dict.fromkeys(range(25, 30), "its compression (Zstandard) is not undone"),
    **dict.fromkeys(
        (encodings.CACHE + number for number in (0, 2, 3, 4, 7, 8, 9)),
        "it relies on what UltraVNC's viewer keeps of the screen",
    ),
}
"""Encodings that are framed and not drawn, and why."""


_STREAMS: Mapping[int, str] = {encodings.ZLIB: "zlib", encodings.ZRLE: "ZRLE", encodings.ZYWRLE: "ZRLE"}
"""Encoding -> the name of its zlib stream, where it has one for the whole connection."""


class Streams:
    """What lives as long as a connection does: its zlib streams, and the tables of its JPEG images."""

    def __init__(self) -> None:
        self._tables: dict[int, bytes] = {}
        self._streams: dict[Hashable, Any] = {}
        self._lost: dict[Hashable, str] = {}
        self._all_lost: str | None = None

    def lose(self, why: str) -> None:
        """Bytes were lost that any stream may have needed: none can be read before it is reset."""
        self._all_lost = why
        self._tables.clear()
        self._streams.clear()
        self._lost.clear()

    def reset(self, key: Hashable) -> None:
        """The stream begins anew."""
        self._lost.pop(key, None)
        self._streams[key] = zlib.decompressobj()

    def inflate(self, key: Hashable, data: bytes, most: int, at: int) -> bytes:
        """What `data` adds to stream `key`, at most `most` bytes. `at`: where it stands, for `Wrong`."""
        if key in self._lost:
            raise NotRead(self._lost[key])
        if key not in self._streams:
            if self._all_lost is not None:
                raise NotRead(self._all_lost)
            self._streams[key] = zlib.decompressobj()
        try:
            out: bytes = self._streams[key].decompress(data, most + 1)
        except zlib.error as error:
            self._give_up(key, at)
            raise Wrong(f"zlib stream {_named(key)}: {error}", at) from None
        if len(out) > most:
            self._give_up(key, at)
            raise Wrong(
                f"zlib stream {_named(key)} inflates to more than the {most} bytes there is room for", at
            )
        return out

    def with_tables(self, image: bytes) -> bytes:
        """A JPEG image with its tables: those it has not are those of the image before.

        rfbproto.rst "JPEG Encoding"; the segments are those of ISO/IEC 10918-1, Annex B.
        """
        own = {QUANTIZATION: b"", HUFFMAN: b""}
        at = 2
        while at + 4 <= len(image) and image[at + 1] not in (START_OF_SCAN, END_OF_IMAGE):
            marker = image[at + 1]
            if marker == 0xFF or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9:
                at += 1 if marker == 0xFF else 2
                continue
            end = at + 2 + int.from_bytes(image[at + 2 : at + 4], "big")
            if marker in own:
                own[marker] += image[at:end]
            at = end
        before = b"".join(self._tables.get(marker, b"") for marker, tables in own.items() if not tables)
        if not before and not all(own.values()) and self._all_lost is not None:
            raise NotRead("it uses the tables of an image before, which were lost")
        self._tables.update({marker: tables for marker, tables in own.items() if tables})
        return image[:2] + before + image[2:]

    def abandon(self, key: Hashable, at: int) -> None:
        """`data` at `at` is not inflated, so what follows it in the stream cannot be."""
        self._give_up(key, at)

    def _give_up(self, key: Hashable, at: int) -> None:
        self._streams.pop(key, None)
        self._lost[key] = f"zlib stream {_named(key)} is of no use since byte {at} of an update before"


def _named(key: Hashable) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


@dataclass(slots=True)
class Cursor:
    """A cursor's image (red, green, blue, alpha) and its hot spot."""

    image: npt.NDArray[np.uint8]
    x: int
    y: int


class Painting:
    """One rectangle while it is walked. Its `see` goes to the walker; the outcome is in one attribute.

    `values` (pixel values), `image` (colours: JPEG, PNG), `source` (CopyRect), `cursor`, `name`, `video`
    (flags and data of Open H.264); `failed`: why nothing is drawn, `Wrong` where that is the sender's fault.
    """

    def __init__(
        self,
        rect: Rectangle,
        form: Format,
        buffer: bytes,
        streams: Streams,
        colour_map: Rgb,
        wavelet_level: int | None = None,
    ) -> None:
        self.rect = rect
        self.form = form
        self.buffer = buffer
        self.streams = streams
        self.colour_map = colour_map
        self.wavelet_level = wavelet_level
        self.values: Values | None = None
        self.image: Rgb | None = None
        self.source: tuple[int, int] | None = None
        self.cursor: Cursor | None = None
        self.name: bytes | None = None
        self.video: tuple[int, bytes] | None = None
        self.failed: NotRead | Wrong | None = None
        self._alpha = False
        self._background: int | None = None
        self._foreground: int | None = None
        self._origin = 0, 0
        if rect.encoding in UNDRAWN:
            self.failed = NotRead(UNDRAWN[rect.encoding])
        elif form.why_unknown is None and form.bits == 24 and rect.encoding not in _NO_PIXELS:
            self.failed = NotRead("pixels of 24 bits are not drawn")
        elif rect.width * rect.height > PIXELS_LIMIT and rect.encoding not in _NO_PIXELS:
            size = f"{rect.width} × {rect.height}"
            self.failed = Wrong(f"a rectangle of {size} is over the limit of {PIXELS_LIMIT} pixels")

    def see(self, what: str, *numbers: Any) -> None:
        """What the walker tells."""
        if self.failed is not None:
            if what == "compressed":
                self.streams.abandon(self._key(), numbers[0])
            elif what == "filtered" and numbers[0] >= 0:
                self.streams.abandon(("Tight", numbers[0]), numbers[1])
            elif what == "reset":
                self._reset(*numbers)
            elif what == "h264":
                start, length, flags = numbers
                self.video = flags, self.buffer[start : start + length]
            return
        try:
            _SEEN[what](self, *numbers)
        except (Wrong, NotRead) as failed:
            self.failed = failed

    # --- where pixels go

    def _canvas(self) -> Values:
        if self.values is None:
            self.values = np.zeros((self.rect.height, self.rect.width), np.uint32)
        return self.values

    def _tile(self, x: int, y: int, width: int, height: int) -> Values:
        x, y = x + self._origin[0], y + self._origin[1]
        return self._canvas()[y : y + height, x : x + width]

    def _shaped(self, values: Values) -> Values:
        return values.reshape(self.rect.height, self.rect.width)

    @property
    def _area(self) -> int:
        return self.rect.width * self.rect.height

    # --- pixels as they are

    def _pixels(self, start: int) -> None:
        self.values = self._shaped(colours.pixels(self.buffer, start, self._area, self.form))

    def _copy(self, x: int, y: int) -> None:
        self.source = x, y

    def _subrectangles(self, start: int, count: int, width: int) -> None:
        form, size = self.form, self.form.pixel
        canvas = self._canvas()
        if canvas.size:
            canvas[:] = colours.pixel(self.buffer, start, form)
        order = ">" if form.big_endian else "<"
        layout = np.dtype([("pixel", f"{order}u{size}"), ("place", f">u{width}", 4)])
        rows = np.frombuffer(self.buffer, layout, count, start + size)
        places = rows["place"].astype(np.int64)
        right, bottom = places[:, 0] + places[:, 2], places[:, 1] + places[:, 3]
        outside = np.flatnonzero((right > self.rect.width) | (bottom > self.rect.height))
        if outside.size:
            at = start + size + int(outside[0]) * layout.itemsize
            raise Wrong(f"subrectangle {outside[0]} lies outside its rectangle", at)
        if int((places[:, 2] * places[:, 3]).sum()) > OVERDRAW * max(1, self._area):
            raise Wrong(f"subrectangles cover more than {OVERDRAW} times their rectangle", start)
        for value, (x, y, w, h) in zip(rows["pixel"].tolist(), places.tolist(), strict=True):
            canvas[y : y + h, x : x + w] = value

    # --- Hextile

    def _hextile(self, x: int, y: int, width: int, height: int, mask: int, start: int, count: int) -> None:
        buffer, form, size = self.buffer, self.form, self.form.pixel
        tile = self._tile(x, y, width, height)
        if mask & 1:
            tile[:] = colours.pixels(buffer, start, width * height, form).reshape(height, width)
            return
        at = start
        if mask & 2:
            self._background = colours.pixel(buffer, at, form)
            at += size
        if mask & 4:
            self._foreground = colours.pixel(buffer, at, form)
            at += size
        if self._background is None:
            raise Wrong("the first tile has no background", start - 1)
        tile[:] = self._background
        if not mask & 8:
            return
        at += 1
        colour = self._foreground
        for _ in range(count):
            if mask & 16:
                colour = colours.pixel(buffer, at, form)
                at += size
            if colour is None:
                raise Wrong("a tile without a foreground has subrectangles of it", start - 1)
            place, extent = buffer[at], buffer[at + 1]
            left, top, right, bottom = place >> 4, place & 15, extent >> 4, extent & 15
            if left + right >= width or top + bottom >= height:
                raise Wrong("a subrectangle lies outside its tile", at)
            tile[top : top + bottom + 1, left : left + right + 1] = colour
            at += 2

    def _zlib_tile(self, x: int, y: int, width: int, height: int, mask: int, start: int, size: int) -> None:
        data = self.buffer[start : start + size]
        if mask & 32:
            most = width * height * self.form.pixel
            data = self._exactly(("zlibhex", "raw"), data, most, start)
            tile = colours.pixels(data, 0, width * height, self.form).reshape(height, width)
            self._tile(x, y, width, height)[:] = tile
            return
        most = 2 * self.form.pixel + 1 + 255 * (2 + self.form.pixel)
        inner = bytes([mask & 31]) + self.streams.inflate(("zlibhex", "hextile"), data, most, start)
        self._inside(inner, start, encodings.WALKERS[5], Rectangle(0, 0, width, height, 5), (x, y))

    # --- TRLE and ZRLE

    def _cpixels(self, x: int, y: int, width: int, height: int, start: int) -> None:
        values = colours.cpixels(self.buffer, start, width * height, self.form)
        self._tile(x, y, width, height)[:] = values.reshape(height, width)

    def _packed(self, x: int, y: int, width: int, height: int, start: int, palette: int, size: int) -> None:
        table = colours.cpixels(self.buffer, palette, size, self.form)
        indices = _unpacked(self.buffer, start, width, height, packed_bits(size))
        _within(indices, size, start)
        self._tile(x, y, width, height)[:] = table[indices]

    def _runs(self, x: int, y: int, width: int, height: int, lengths: list[int], places: list[int]) -> None:
        values = np.repeat(colours.scattered_cpixels(self.buffer, places, self.form), lengths)
        self._tile(x, y, width, height)[:] = values.reshape(height, width)

    def _palette_runs(
        self,
        x: int,
        y: int,
        width: int,
        height: int,
        lengths: list[int],
        indices: list[int],
        palette: int,
        size: int,
    ) -> None:
        table = colours.cpixels(self.buffer, palette, size, self.form)
        self._tile(x, y, width, height)[:] = np.repeat(table[indices], lengths).reshape(height, width)

    def _wavelets(self, x: int, y: int, width: int, height: int) -> None:
        if self.wavelet_level is None:
            raise NotRead("how often its wavelets are nested is not known without the client's SetEncodings")
        tile = self._tile(x, y, width, height)
        tile[:] = wavelets.undo(tile.copy(), self.form, self.wavelet_level)

    # --- compressed

    def _key(self) -> Hashable:
        return _STREAMS.get(self.rect.encoding, self.rect.encoding)

    def _exactly(self, key: Hashable, data: bytes, size: int, at: int) -> bytes:
        out = self.streams.inflate(key, data, size, at)
        if len(out) < size:
            raise Wrong(f"zlib stream {_named(key)} gives {len(out)} bytes where {size} are wanted", at)
        return out

    def _compressed(self, start: int, length: int) -> None:
        data = self.buffer[start : start + length]
        match self.rect.encoding:
            case encodings.ZLIB:
                data = self._exactly(self._key(), data, self._area * self.form.pixel, start)
            case encodings.ULTRA:
                try:
                    data = lzo.decompress(data, self._area * self.form.pixel)
                except lzo.Corrupt as bad:
                    raise Wrong(f"LZO data {bad}", start) from None
            case encodings.ZRLE | encodings.ZYWRLE:
                # A pixel costs at most itself and a byte for its run, a tile its types and a palette.
                tiles = -(-self.rect.width // 64) * -(-self.rect.height // 64)
                most = self._area * (self.form.cpixel + 2) + tiles * (2 + 127 * self.form.cpixel)
                inner = self.streams.inflate(self._key(), data, most, start)
                rect = self.rect
                walker = encodings.zrle_tiles if rect.encoding == encodings.ZRLE else encodings.zywrle_tiles
                self._inside(inner, start, walker, rect, (0, 0))
                self._canvas()
                return
            case _:
                raise NotRead(f"encoding {self.rect.encoding} is not drawn")
        self.values = self._shaped(colours.pixels(data, 0, self._area, self.form))

    def _inside(
        self, inner: bytes, at: int, walker: encodings.Walker, rect: Rectangle, origin: tuple[int, int]
    ) -> None:
        """Walk inflated data; what is wrong in it is wrong at `at`, where it stands compressed."""
        outer, self.buffer, self._origin = self.buffer, inner, origin
        walk = Walk(Whole(inner, "the inflated data"), 0, self._see_inside)
        try:
            for _ in walker(walk, rect, self.form):
                pass
            if walk.at < len(inner):
                raise Wrong(f"{len(inner) - walk.at} inflated bytes follow the last tile", walk.at)
        except Wrong as wrong:
            raise Wrong(f"{wrong.why} (byte {wrong.at} of the inflated data)", at) from None
        finally:
            self.buffer, self._origin = outer, (0, 0)

    def _see_inside(self, what: str, *numbers: Any) -> None:
        _SEEN[what](self, *numbers)

    # --- Tight

    def _reset(self, streams: int) -> None:
        for number in range(4):
            if streams >> number & 1:
                self.streams.reset(("Tight", number))

    def _solid(self, start: int) -> None:
        self._canvas()[:] = colours.pixel(self.buffer, start, self.form)

    def _fill(self, start: int) -> None:
        self._canvas()[:] = colours.tpixels(self.buffer, start, 1, self.form)[0]

    def _filtered(
        self, stream: int, start: int, length: int, size: int, filter_id: int, palette: int, colours_: int
    ) -> None:
        data = self.buffer[start : start + length]
        if stream >= 0:
            data = self._exactly(("Tight", stream), data, size, start)
        elif length != size:
            raise Wrong(f"{length} bytes of pixels where {size} are wanted", start)
        width, height = self.rect.width, self.rect.height
        if filter_id == 1:
            table = colours.tpixels(self.buffer, palette, colours_, self.form)
            indices = _unpacked(data, 0, width, height, 1 if colours_ == 2 else 8)
            _within(indices, colours_, start)
            self.values = table[indices]
            return
        values = self._shaped(colours.tpixels(data, 0, self._area, self.form))
        self.values = _gradient(values, self.form) if filter_id == 2 else values

    def _picture(self, start: int, length: int) -> None:
        from PIL import Image

        data = self.buffer[start : start + length]
        if self.rect.encoding == encodings.JPEG:
            data = self.streams.with_tables(data)
        wanted = self.rect.width, self.rect.height
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                if image.size != wanted:
                    size = f"{image.size[0]} × {image.size[1]}"
                    raise Wrong(
                        f"the picture has {size} pixels, its rectangle {wanted[0]} × {wanted[1]}", start
                    )
                self.image = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise Wrong(f"the picture cannot be decoded: {error}", start) from None

    # --- cursors and names

    def _cursor(self, start: int, mask: int) -> None:
        width, height = self.rect.width, self.rect.height
        values = self._shaped(colours.pixels(self.buffer, start, self._area, self.form))
        image = np.empty((height, width, 4), np.uint8)
        image[..., :3] = colours.rgb(values, self.form, self.colour_map)
        image[..., 3] = _unpacked(self.buffer, mask, width, height, 1) * 255
        self.cursor = Cursor(image, self.rect.x, self.rect.y)

    def _x_cursor(self, two: int, bits: int, mask: int) -> None:
        width, height = self.rect.width, self.rect.height
        image = np.zeros((height, width, 4), np.uint8)
        if self._area:
            table = np.frombuffer(self.buffer, np.uint8, 6, two).reshape(2, 3)
            # The first colour is the foreground, whose bits are set.
            image[..., :3] = table[1 - _unpacked(self.buffer, bits, width, height, 1)]
            image[..., 3] = _unpacked(self.buffer, mask, width, height, 1) * 255
        self.cursor = Cursor(image, self.rect.x, self.rect.y)

    def _alpha_cursor(self, encoding: int) -> None:
        """What follows are pixels in another encoding, with the streams that it has elsewhere too."""
        rect = self.rect
        self.rect = Rectangle(rect.x, rect.y, rect.width, rect.height, encoding)
        self._alpha, self.form = True, RGBA
        if encoding in UNDRAWN:
            raise NotRead(UNDRAWN[encoding])

    def finish(self) -> None:
        """The rectangle is walked to its end."""
        if not self._alpha or self.failed is not None:
            return
        if self.values is None:
            self.failed = NotRead(f"a cursor in encoding {self.rect.encoding} has no transparency")
        else:
            self.cursor = Cursor(_rgba(self.values), self.rect.x, self.rect.y)

    def _vmware_cursor(self, kind: int, start: int) -> None:
        if kind == 1:
            values = self._shaped(colours.pixels(self.buffer, start, self._area, RGBA))
            self.cursor = Cursor(_rgba(values), self.rect.x, self.rect.y)
            return
        both = colours.pixels(self.buffer, start, 2 * self._area, self.form)
        below, above = self._shaped(both[: self._area]), self._shaped(both[self._area :])
        used = np.uint32(_used(self.form))
        clear, covers = (below & used == used) & (above & used == 0), below & used == 0
        if not (clear | covers).all():
            raise NotRead("a VMware cursor that inverts what is below it cannot be shown by itself")
        image = np.empty((*below.shape, 4), np.uint8)
        image[..., :3] = colours.rgb(above, self.form, self.colour_map)
        image[..., 3] = covers * 255
        self.cursor = Cursor(image, self.rect.x, self.rect.y)

    def _name(self, start: int, length: int) -> None:
        self.name = self.buffer[start : start + length]

    def _other(self, *numbers: int) -> None:
        return


_NO_PIXELS = (
    {
        number
        for number in encodings.WALKERS
        if number < 0 and number not in (encodings.TIGHT_PNG, encodings.SOLID_COLOR, -239, -240, -314)
    }
    | {encodings.COPY_RECT}
    | {number for number in encodings.WALKERS if number > 0x10000}
)

_SEEN: dict[str, Callable[..., None]] = {
    "pixels": Painting._pixels,
    "copy": Painting._copy,
    "subrectangles": Painting._subrectangles,
    "tile": Painting._hextile,
    "zlib tile": Painting._zlib_tile,
    "cpixels": Painting._cpixels,
    "packed": Painting._packed,
    "runs": Painting._runs,
    "palette runs": Painting._palette_runs,
    "compressed": Painting._compressed,
    "reset": Painting._reset,
    "wavelets": Painting._wavelets,
    "solid": Painting._solid,
    "fill": Painting._fill,
    "filtered": Painting._filtered,
    "jpeg": Painting._picture,
    "png": Painting._picture,
    "h264": Painting._other,
    "cursor": Painting._cursor,
    "x cursor": Painting._x_cursor,
    "alpha cursor": Painting._alpha_cursor,
    "vmware cursor": Painting._vmware_cursor,
    "bytes": Painting._other,
    "screens": Painting._other,
    "name": Painting._name,
}
"""What to do with each piece that a walker tells of."""


def _used(form: Format) -> int:
    """The bits of a pixel that say anything."""
    if not form.true_colour:
        return (1 << form.bits) - 1
    used = 0
    for maximum, shift in zip(form.maxima, form.shifts, strict=True):
        used |= maximum << shift
    return used & (1 << form.bits) - 1


def _rgba(values: Values) -> npt.NDArray[np.uint8]:
    """The pixels of Cursor With Alpha as red, green, blue (not multiplied by alpha any more) and alpha."""
    parts = np.stack([values >> np.uint32(shift) & np.uint32(255) for shift in (24, 16, 8, 0)], axis=-1)
    alpha = np.maximum(parts[..., 3:], 1)
    parts[..., :3] = np.minimum(255, (parts[..., :3] * 255 + alpha // 2) // alpha)
    return parts.astype(np.uint8)


def _unpacked(buffer: bytes, at: int, width: int, height: int, bits: int) -> npt.NDArray[np.uint8]:
    """Indices of `bits` bits (0, 1, 2, 4 or 8), highest first; each row begins in a new byte."""
    if bits == 0:
        return np.zeros((height, width), np.uint8)
    row = (width * bits + 7) // 8
    data = np.frombuffer(buffer, np.uint8, row * height, at).reshape(height, row)
    if bits == 1:
        return np.unpackbits(data, axis=1)[:, :width]
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    split: npt.NDArray[np.uint8] = (data[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return split.reshape(height, -1)[:, :width]


def _within(indices: npt.NDArray[np.uint8], size: int, at: int) -> None:
    if indices.size and (most := int(indices.max())) >= size:
        raise Wrong(f"palette index {most} of {size} colours", at)


def _gradient(differences: Values, form: Format) -> Values:
    """Undo Tight's gradient filter: each channel was predicted from left, above, and left above."""
    height, width = differences.shape
    out = np.zeros_like(differences)
    for channel, maximum, shift in zip(
        colours.channels(differences, form), form.maxima, form.shifts, strict=True
    ):
        above = [0] * (width + 1)
        rows: list[list[int]] = []
        for row in channel.tolist():
            left = 0
            now = [0]
            for column, difference in enumerate(row):
                guess = left + above[column + 1] - above[column]
                guess = 0 if guess < 0 else maximum if guess > maximum else guess
                left = (guess + difference) & maximum
                now.append(left)
            above = now
            rows.append(now[1:])
        if rows:
            out |= np.asarray(rows, np.uint32).reshape(height, width) << np.uint32(shift)
    return out
