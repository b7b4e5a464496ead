# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a rectangle is: one framer an encoding.

A FramebufferUpdate has no length; the end of each rectangle is found by walking its encoding. A framer walks
and keeps nothing: no pixel is decoded here. Layouts: rfbproto.rst, the section of the encoding's name.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from dissect.rfb import constants
from dissect.stream.session import Flow, NotRead, Want, Wrong

Walking = Generator[Want, None, int]
"""Yields what it wants, returns a number."""


class Format:
    """What framing needs of a PIXEL_FORMAT: the sizes in bytes of PIXEL and TPIXEL.

    `why_unknown`: the format is not known, and asking for a size raises `NotRead` with that reason. Encodings
    that do not depend on it can be read all the same.
    """

    def __init__(self, pixel: int = 4, tpixel: int = 4, *, why_unknown: str | None = None) -> None:
        self._pixel = pixel
        self._tpixel = tpixel
        self._why_unknown = why_unknown

    @property
    def pixel(self) -> int:
        """Bytes of a PIXEL."""
        if self._why_unknown is not None:
            raise NotRead(self._why_unknown)
        return self._pixel

    @property
    def tpixel(self) -> int:
        """Bytes of a TPIXEL."""
        if self._why_unknown is not None:
            raise NotRead(self._why_unknown)
        return self._tpixel

    @classmethod
    def of(cls, values: Mapping[str, int]) -> Format:
        """From the fields of a PIXEL_FORMAT. TPIXEL: rfbproto.rst "Tight Encoding"."""
        pixel = values["bits_per_pixel"] // 8
        small = (
            bool(values["true_colour_flag"])
            and values["bits_per_pixel"] == 32
            and values["depth"] == 24
            and values["red_max"] == values["green_max"] == values["blue_max"] == 255
        )
        return cls(pixel, 3 if small else pixel)


@dataclass(slots=True)
class Rectangle:
    """Where a rectangle stands on the screen, and what it is made of."""

    x: int
    y: int
    width: int
    height: int
    encoding: int


NAME = "FramebufferUpdate"


class Walk:
    """A place in a message that is still arriving."""

    def __init__(self, flow: Flow, at: int) -> None:
        self.flow = flow
        self.at = at

    def take(self, size: int) -> Walking:
        """Step over `size` bytes once they are there; returns where they begin."""
        start = self.at
        self.at += size
        yield from self.flow.need(self.at, NAME)
        return start

    def number(self, size: int) -> Walking:
        """An unsigned big-endian number of `size` bytes."""
        start = yield from self.take(size)
        return int.from_bytes(self.flow.buffer[start : start + size], "big")

    def compact(self) -> Walking:
        """A Tight length: one to three bytes, seven bits each, lowest first; eight in the third."""
        low = yield from self.number(1)
        if low < 0x80:
            return low
        middle = yield from self.number(1)
        if middle < 0x80:
            return (low & 0x7F) | middle << 7
        high = yield from self.number(1)
        return (low & 0x7F) | (middle & 0x7F) << 7 | high << 14


Step = Generator[Want, None, None]
Framer = Callable[[Walk, Rectangle, Format], Step]


def _nothing(walk: Walk, rect: Rectangle, form: Format) -> Step:
    yield from walk.take(0)


def _raw(walk: Walk, rect: Rectangle, form: Format) -> Step:
    yield from walk.take(rect.width * rect.height * form.pixel)


def _copy_rect(walk: Walk, rect: Rectangle, form: Format) -> Step:
    yield from walk.take(4)


def _rre(walk: Walk, rect: Rectangle, form: Format) -> Step:
    count = yield from walk.number(4)
    yield from walk.take(form.pixel + count * (form.pixel + 8))


def _corre(walk: Walk, rect: Rectangle, form: Format) -> Step:
    count = yield from walk.number(4)
    yield from walk.take(form.pixel + count * (form.pixel + 4))


def _tiles(rect: Rectangle, size: int) -> Generator[tuple[int, int], None, None]:
    """Width and height of each tile, left to right, top to bottom."""
    for y in range(0, rect.height, size):
        for x in range(0, rect.width, size):
            yield min(size, rect.width - x), min(size, rect.height - y)


def _hextile(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """Hextile and zlibhex, whose tiles may be zlib data with a U16 length (bits 32 and 64)."""
    # A screen has thousands of tiles, each of a few bytes: no generator for each of them.
    flow, at, pixel = walk.flow, walk.at, form.pixel
    buffer = flow.buffer
    zlib = 32 | 64 if rect.encoding == ZLIBHEX else 0
    for width, height in _tiles(rect, 16):
        if len(buffer) <= at:
            yield from flow.need(at + 1, NAME)
        mask = buffer[at]
        at += 1
        if mask & zlib:
            yield from flow.need(at + 2, NAME)
            at += 2 + int.from_bytes(buffer[at : at + 2], "big")
        elif mask & 1:
            at += width * height * pixel
        else:
            at += pixel * ((mask >> 1 & 1) + (mask >> 2 & 1))
            if mask & 8:
                if len(buffer) <= at:
                    yield from flow.need(at + 1, NAME)
                at += 1 + buffer[at] * (2 + (pixel if mask & 16 else 0))
    yield from walk.take(at - walk.at)


def _sized(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """A U32 length and so many bytes: zlib, ZRLE and their kin, DesktopName."""
    length = yield from walk.number(4)
    yield from walk.take(length)


def _tight(walk: Walk, rect: Rectangle, form: Format) -> Step:
    control = yield from walk.number(1)
    method = control >> 4
    if method == 0x8:
        yield from walk.take(form.tpixel)
    elif method == 0x9 or (method == 0xA and rect.encoding == -260):
        length = yield from walk.compact()
        yield from walk.take(length)
    elif method < 0x8 or method in (0xA, 0xE):
        filter_id = (yield from walk.number(1)) if method & 0x4 else 0
        if filter_id == 1:
            colours = (yield from walk.number(1)) + 1
            if colours == 1:
                raise Wrong("a Tight palette has 2 to 256 colours, not 1", walk.at - 1, NAME)
            yield from walk.take(colours * form.tpixel)
            row = (rect.width + 7) // 8 if colours == 2 else rect.width
        elif filter_id in (0, 2):
            row = rect.width * form.tpixel
        else:
            raise Wrong(f"Tight filter {filter_id} does not exist", walk.at - 1, NAME)
        size = row * rect.height
        # What is shorter than 12 bytes is not compressed and has no length. The rest has one, also without
        # zlib: the document does not say so, the programs do (libvncclient and libvncserver, tight.c).
        if size >= 12:
            size = yield from walk.compact()
        yield from walk.take(size)
    else:
        raise Wrong(f"Tight compression-control {control:#04x} is invalid", walk.at - 1, NAME)


def _cursor(walk: Walk, rect: Rectangle, form: Format) -> Step:
    mask = (rect.width + 7) // 8 * rect.height
    yield from walk.take(rect.width * rect.height * form.pixel + mask)


def _x_cursor(walk: Walk, rect: Rectangle, form: Format) -> Step:
    if rect.width * rect.height:
        yield from walk.take(6 + 2 * ((rect.width + 7) // 8) * rect.height)


def _cursor_with_alpha(walk: Walk, rect: Rectangle, form: Format) -> Step:
    encoding = yield from walk.number(4)
    encoding -= (encoding & 0x80000000) << 1
    inner = Rectangle(rect.x, rect.y, rect.width, rect.height, encoding)
    # Its pixels are 32-bit RGBA whatever the format of the session.
    yield from framer(encoding)(walk, inner, Format(4, 4))


def _vmware_cursor(walk: Walk, rect: Rectangle, form: Format) -> Step:
    kind = yield from walk.number(1)
    yield from walk.take(1)
    pixels = rect.width * rect.height
    if kind == 0:
        yield from walk.take(2 * pixels * form.pixel)
    elif kind == 1:
        yield from walk.take(4 * pixels)
    else:
        raise Wrong(f"VMware cursor type {kind} does not exist", walk.at - 2, NAME)


def _h264(walk: Walk, rect: Rectangle, form: Format) -> Step:
    length = yield from walk.number(4)
    yield from walk.take(4 + length)


def _bytes(size: int) -> Framer:
    def walk_over(walk: Walk, rect: Rectangle, form: Format) -> Step:
        yield from walk.take(size)

    return walk_over


def _extended_desktop_size(walk: Walk, rect: Rectangle, form: Format) -> Step:
    screens = yield from walk.number(1)
    yield from walk.take(3 + 16 * screens)


LAST_RECT = -224
ZLIBHEX = 8
POINTER_POS = -232
"""Where TightVNC and libvncserver have PointerPos; the registry has it at -225. x, y are the position."""
DISPLAY_MODE_CHANGE = 0x574D5669
EXTENDED_MOUSE_BUTTONS = -316

FRAMERS: Mapping[int, Framer] = {
    0: _raw,
    1: _copy_rect,
    2: _rre,
    4: _corre,
    5: _hextile,
    6: _sized,
    7: _tight,
    ZLIBHEX: _hextile,
    16: _sized,
    17: _sized,
    50: _h264,
    -223: _nothing,
    LAST_RECT: _nothing,
    -225: _nothing,
    POINTER_POS: _nothing,
    -239: _cursor,
    -240: _x_cursor,
    -257: _nothing,
    -258: _nothing,
    -259: _nothing,
    -260: _tight,
    -261: _bytes(1),
    -307: _sized,
    -308: _extended_desktop_size,
    -314: _cursor_with_alpha,
    EXTENDED_MOUSE_BUTTONS: _nothing,
    0x574D5664: _vmware_cursor,
    0x574D5665: _bytes(2),
    0x574D5666: _nothing,
    0x574D5667: _bytes(10),
    0x574D5668: _bytes(4),
    DISPLAY_MODE_CHANGE: _bytes(16),
    0x574D566A: _bytes(2),
}


def framer(encoding: int) -> Framer:
    """The framer of an encoding; raises `NotRead` in words where there is none."""
    found = FRAMERS.get(encoding)
    if found is None:
        name = constants.ENCODINGS.get(encoding, "unregistered")
        raise NotRead(f"encoding {encoding} ({name}) is not framed yet, and a rectangle of it has no length")
    return found
