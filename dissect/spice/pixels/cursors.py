# SPDX-License-Identifier: GPL-2.0-or-later
"""The cursor of a cursor channel, as SPICE's own client shows it (spice-gtk, channel-cursor.c).

An X client cannot invert what is below a cursor. So pixels that are to be inverted are white in one of two
colours, with a black edge where all others let through, and shaded in one of more colours. In spice-gtk, and
here, bits of a mask and pixels of 16 colours follow one another without a gap at the end of a row. Cursors of
256 colours and of 24 bits a pixel it does not know, and no server at hand sends them: they are named.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dissect.spice import constants
from dissect.spice.channels import base, cursor
from dissect.spice.pixels.images import NotDrawn, Plane, checked
from dissect.stream.pictures import png
from dissect.stream.records import Gap, Message, Record, Violation
from dissect.stream.side import Side

CACHE_LIMIT = 1 << 26
"""Bytes of cursors that are kept for FROM_CACHE at most; the oldest is forgotten first."""
CHANNEL = 4
NONE, CACHE_ME, FROM_CACHE = 1, 2, 4
WHITE = 0xFFFFFF
SHADES = 0x30505050, 0xC0303030
"""What stands for pixels to be inverted, in turns."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A cursor: height x width x 4 (red, green, blue, alpha), and the pixel that points."""

    image: Plane
    hot_x: int
    hot_y: int


class Renderer:
    """Takes the records of one cursor channel; keeps the cursor as it is after each."""

    def __init__(self) -> None:
        self.cursor: Shape | None = None
        """The last that was set, though it may be hidden by now."""
        self.updates = 0
        """Cursors that were set."""
        self.whole = True
        """Whether all of them were drawn."""
        self._cache: OrderedDict[int, Shape] = OrderedDict()

    @property
    def screen(self) -> Plane | None:
        """The cursor's pixels; None while there is none."""
        return None if self.cursor is None else self.cursor.image

    def png(self) -> bytes:
        """The cursor as a PNG file with transparency. ValueError where there is none."""
        if self.cursor is None:
            raise ValueError("there is no cursor")
        return png(self.cursor.image)

    def take(self, record: Record) -> list[Violation]:
        """Draw what `record` says; returns why something could not be drawn, with its offset."""
        if record.side is not Side.SERVER:
            return []
        if isinstance(record, Gap) or (isinstance(record, Message) and record.note is not None):
            if self.updates:
                self.whole = False
                return [Violation.about(record, "messages", f"{record.size} bytes may have held a cursor")]
            return []
        if not isinstance(record, Message) or not record.parts:
            return []
        try:
            self._message(record)
        except NotDrawn as why:
            self.cursor, self.whole = None, False
            return [Violation.about(record, "messages", f"{record.name} is not drawn: {why}")]
        return []

    def _message(self, message: Message) -> None:
        cls = message.parts[-1].cls
        if cls in _FORGET_ALL:
            self._cache.clear()
        elif cls is cursor.SpiceMsgCursorInvalOne:
            self._cache.pop(message["id"], None)
        elif cls in (cursor.SpiceMsgCursorInit, cursor.SpiceMsgCursorSet):
            if cls is cursor.SpiceMsgCursorInit:
                self._cache.clear()
            self._set(message.values["cursor"])

    def _set(self, values: Mapping[str, Any]) -> None:
        flags = values["flags"]
        if flags & NONE:
            return
        self.updates += 1
        header = values["header"]
        number = header["unique"]
        if flags & FROM_CACHE:
            if number not in self._cache:
                raise NotDrawn(f"cursor {number:#x} is not in the cache")
            self.cursor = self._cache[number]
            return
        width, height = checked(header["width"], header["height"])
        image = pixels(header["type"], width, height, values["image"])
        self.cursor = Shape(image, min(header["hot_spot_x"], width), min(header["hot_spot_y"], height))
        if flags & CACHE_ME:
            self._cache.pop(number, None)
            self._cache[number] = self.cursor
            while len(self._cache) > 1 and sum(one.image.size for one in self._cache.values()) > CACHE_LIMIT:
                self._cache.popitem(last=False)


_FORGET_ALL = {base.BODIES[CHANNEL, Side.SERVER, number] for number in (102, 108)}
"""RESET and INVAL_ALL."""


def pixels(kind: int, width: int, height: int, data: bytes) -> Plane:
    """A cursor's pixels: height x width x 4, red, green, blue, alpha. `NotDrawn` where they are not there."""
    size_and_reader = _KINDS.get(kind)
    if size_and_reader is None:
        raise NotDrawn(f"cursors of the type {constants.CURSOR_TYPES.get(kind, kind)} are not drawn")
    size, reader = size_and_reader
    needed = size(width, height)
    if len(data) < needed:
        raise NotDrawn(f"it has {len(data)} bytes where {needed} are needed")
    return reader(width, height, np.frombuffer(data, np.uint8))


def _bits(count: int) -> int:
    return (count + 7) // 8


def _alpha(width: int, height: int, data: Plane) -> Plane:
    return _as_rgba(data[: 4 * width * height].view("<u4"), width, height)


def _mono(width: int, height: int, data: Plane) -> Plane:
    row = _bits(width)
    planes = data[: 2 * row * height].reshape(2, height, row)
    through, inverted = np.unpackbits(planes, axis=2)[:, :, :width].astype(np.bool_)
    colours = np.where(inverted, 0xFF000000 | WHITE, np.where(through, 0, 0xFF000000)).astype("<u4")
    if (planes[0] == 255).all():
        padded = np.pad(inverted, 1)
        near = np.zeros_like(inverted)
        for down in range(3):
            for right in range(3):
                near |= padded[down : down + height, right : right + width]
        edge = near & ~inverted
        edge[[0, -1], :] = edge[:, [0, -1]] = False
        colours[edge] = 0xFF000000
    return _as_rgba(colours.ravel(), width, height)


def _color4(width: int, height: int, data: Plane) -> Plane:
    count, size = width * height, (width + 1) // 2 * height
    nibbles = np.stack([data[:size] >> 4, data[:size] & 15], axis=1).ravel()[:count]
    palette = data[size : size + 64].view("<u4")
    colours = palette[nibbles]
    return _masked(colours, colours == WHITE, data[size + 64 :], width, height)


def _color16(width: int, height: int, data: Plane) -> Plane:
    five = data[: 2 * width * height].view("<u2").astype("<u4")
    eight = (five & 31) << 3 | (five & 0x3E0) << 6 | (five & 0x7C00) << 9
    return _masked(eight, five == 0x7FFF, data[2 * width * height :], width, height)


def _color32(width: int, height: int, data: Plane) -> Plane:
    count = width * height
    colours = data[: 4 * count].view("<u4")
    return _masked(colours, colours == WHITE, data[4 * count :], width, height)


def _masked(colours: Any, white: Any, mask: Plane, width: int, height: int) -> Plane:
    """Where the mask is 0 a colour is opaque; where it is 1 white inverts, and others keep their alpha."""
    count = width * height
    through = np.unpackbits(mask[: _bits(count)])[:count].astype(np.bool_)
    place = np.arange(count, dtype=np.uint32)
    shades = np.array(SHADES, "<u4")[(place % width ^ place // width) & 1]
    shown = np.where(through, np.where(white, shades, colours), colours | np.uint32(0xFF000000))
    return _as_rgba(shown.astype("<u4"), width, height)


def _as_rgba(numbers: Any, width: int, height: int) -> Plane:
    bytes_: Plane = np.ascontiguousarray(numbers).view(np.uint8).reshape(height, width, 4)
    return bytes_[..., [2, 1, 0, 3]]


Size = Callable[[int, int], int]
Read = Callable[[int, int, Plane], Plane]
_KINDS: Mapping[int, tuple[Size, Read]] = {
    0: (lambda width, height: 4 * width * height, _alpha),
    1: (lambda width, height: 2 * _bits(width) * height, _mono),
    2: (lambda width, height: (width + 1) // 2 * height + 64 + _bits(width * height), _color4),
    4: (lambda width, height: 2 * width * height + _bits(width * height), _color16),
    6: (lambda width, height: 4 * width * height + _bits(width * height), _color32),
}
"""Kind (SPICE_CURSOR_TYPE_*) -> the bytes that it needs, and what reads it."""
