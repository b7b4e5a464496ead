# SPDX-License-Identifier: GPL-2.0-or-later
"""The layout of every rectangle, described once: one walker an encoding.

A FramebufferUpdate has no length; the end of each rectangle is found by walking its encoding. The session
walks and keeps nothing. Whoever wants the pixels (`dissect.rfb.pixels`) walks the same bytes with the same
walkers and has what they step over told to it (`Walk.see`), so framing and decoding cannot drift apart.
Layouts: rfbproto.rst, the section of the encoding's name; where it is silent, a comment names the program.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from dissect.rfb import constants, messages
from dissect.stream.session import NotRead, Want, Wrong

Walking = Generator[Want, None, int]
"""Yields what it wants, returns a number."""

See = Callable[..., None]
"""Is told the name of each piece that is stepped over, then numbers that say what and where it is."""


@dataclass(frozen=True, slots=True)
class Format:
    """A PIXEL_FORMAT, and the sizes in bytes that follow from it. `maxima`, `shifts`: red, green, blue.

    `why_unknown`: the format is not known, and asking for a size raises `NotRead` with that reason. Encodings
    that do not depend on it can be read all the same.
    """

    bits: int = 32
    depth: int = 24
    big_endian: bool = False
    true_colour: bool = True
    maxima: tuple[int, int, int] = (255, 255, 255)
    shifts: tuple[int, int, int] = (16, 8, 0)
    why_unknown: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, int]) -> Format:
        """From the fields of a PIXEL_FORMAT."""
        return cls(
            values["bits_per_pixel"],
            values["depth"],
            bool(values["big_endian_flag"]),
            bool(values["true_colour_flag"]),
            (values["red_max"], values["green_max"], values["blue_max"]),
            (values["red_shift"], values["green_shift"], values["blue_shift"]),
        )

    @property
    def pixel(self) -> int:
        """Bytes of a PIXEL."""
        if self.why_unknown is not None:
            raise NotRead(self.why_unknown)
        if self.bits not in (8, 16, 24, 32):  # 24 is not in the document, and in libvncserver
            raise NotRead(f"the pixel format has {self.bits} bits a pixel: there are 8, 16 and 32")
        return self.bits // 8

    @property
    def tpixel(self) -> int:
        """Bytes of a TPIXEL: rfbproto.rst "Tight Encoding"; three are red, green, blue."""
        size = self.pixel
        whole = self.true_colour and size == 4 and self.depth == 24 and self.maxima == (255, 255, 255)
        return 3 if whole else size

    @property
    def cpixel(self) -> int:
        """Bytes of a CPIXEL: rfbproto.rst "ZRLE Encoding"; three are those that carry the colours."""
        size = self.pixel
        return 3 if size == 4 and self.true_colour and self.depth <= 24 and self.spare is not None else size

    @property
    def spare(self) -> int | None:
        """Which byte of the four a CPIXEL leaves out, by significance: 3 the highest, 0 the lowest."""
        used = 0
        for maximum, shift in zip(self.maxima, self.shifts, strict=True):
            used |= maximum << shift
        high, low = used < 1 << 24, not used & 0xFF
        if high and low:  # TigerVNC then sends the three that come first on the wire
            return 0 if self.big_endian else 3
        return 3 if high else 0 if low else None


RGBA = Format(depth=32, big_endian=True, shifts=(24, 16, 8))
"""The pixels of Cursor With Alpha, whatever the format of the session: four bytes, the last one alpha."""


@dataclass(slots=True)
class Rectangle:
    """Where a rectangle stands on the screen, and what it is made of."""

    x: int
    y: int
    width: int
    height: int
    encoding: int


NAME = "FramebufferUpdate"


class Source(Protocol):
    """Where a walk finds its bytes: a `Flow`, or bytes that are all there."""

    buffer: Any

    def need(
        self, size: int, name: str | None = None, total: int | None = None
    ) -> Generator[Want, None, Any]: ...


class Whole:
    """Bytes that are all there. What they lack is `Wrong`, at the byte after the last."""

    def __init__(self, buffer: bytes, what: str) -> None:
        self.buffer = buffer
        self.what = what

    def need(
        self, size: int, name: str | None = None, total: int | None = None
    ) -> Generator[Want, None, Any]:
        if len(self.buffer) < size:
            have = len(self.buffer)
            raise Wrong(f"{self.what} ends after {have} bytes, at least {size} are wanted", have, NAME)
        yield from ()
        return self.buffer


class Walk:
    """A place in a message that is still arriving. `see`: who is told of each piece, if anybody."""

    def __init__(self, flow: Source, at: int, see: See | None = None) -> None:
        self.flow = flow
        self.at = at
        self.see = see

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

    def wrong(self, why: str, back: int = 1) -> NoReturn:
        """Raise `Wrong`, `back` bytes before this place."""
        raise Wrong(why, self.at - back, NAME)


Step = Generator[Want, None, None]
Walker = Callable[[Walk, Rectangle, Format], Step]


def _nothing(walk: Walk, rect: Rectangle, form: Format) -> Step:
    yield from walk.take(0)


# --- Pixels as they are ----------------------------------------------------------------------------------


def _raw(walk: Walk, rect: Rectangle, form: Format) -> Step:
    start = yield from walk.take(rect.width * rect.height * form.pixel)
    if walk.see:
        walk.see("pixels", start)


def _copy_rect(walk: Walk, rect: Rectangle, form: Format) -> Step:
    start = yield from walk.take(4)
    if walk.see:
        x, y = struct.unpack_from(">HH", walk.flow.buffer, start)
        walk.see("copy", x, y)


SUBRECTANGLES = {2: struct.Struct(">4H"), 4: struct.Struct(">4B")}
"""What follows the PIXEL of each subrectangle of RRE and CoRRE: x, y, width, height."""


def _rre(walk: Walk, rect: Rectangle, form: Format) -> Step:
    count = yield from walk.number(4)
    place = SUBRECTANGLES[rect.encoding].size
    start = yield from walk.take(form.pixel + count * (form.pixel + place))
    if walk.see:
        walk.see("subrectangles", start, count, place // 4)


def _tiles(rect: Rectangle, size: int) -> Generator[tuple[int, int, int, int], None, None]:
    """x, y, width and height of each tile within the rectangle, left to right, top to bottom."""
    for y in range(0, rect.height, size):
        for x in range(0, rect.width, size):
            yield x, y, min(size, rect.width - x), min(size, rect.height - y)


def _hextile(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """Hextile and zlibhex, whose tiles may be zlib data with a U16 length (bits 32 and 64)."""
    # A screen has thousands of tiles, each of a few bytes: no generator or call for each of them.
    flow, see, at, pixel = walk.flow, walk.see, walk.at, form.pixel
    buffer = flow.buffer
    have = len(buffer)
    zlib = 32 | 64 if rect.encoding in (ZLIBHEX, ZSTDHEX) else 0
    # What follows the mask byte, in bytes, besides the subrectangles of bit 8.
    fixed = [pixel * ((mask >> 1 & 1) + (mask >> 2 & 1)) for mask in range(256)]
    rect_width, rect_height = rect.width, rect.height
    for y in range(0, rect_height, 16):
        height = min(16, rect_height - y)
        for x in range(0, rect_width, 16):
            if have <= at:
                yield from flow.need(at + 1, NAME)
                have = len(buffer)
            mask = buffer[at]
            at += 1
            start = at
            count = size = 0
            if mask & zlib:
                yield from flow.need(at + 2, NAME)
                size = int.from_bytes(buffer[at : at + 2], "big")
                at += 2 + size
            elif mask & 1:
                at += (16 if rect_width - x > 16 else rect_width - x) * height * pixel
            else:
                at += fixed[mask]
                if mask & 8:
                    if have <= at:
                        yield from flow.need(at + 1, NAME)
                        have = len(buffer)
                    count = buffer[at]
                    at += 1 + count * (2 + pixel if mask & 16 else 2)
            if see:
                yield from flow.need(at, NAME)
                width = min(16, rect_width - x)
                if mask & zlib:
                    see("zlib tile", x, y, width, height, mask, start + 2, size)
                else:
                    see("tile", x, y, width, height, mask, start, count)
    yield from walk.take(at - walk.at)


# --- Tiles of palettes and runs: TRLE, and ZRLE once it is inflated -----------------------------------------


def _trle(walk: Walk, rect: Rectangle, form: Format) -> Step:
    yield from _runs(walk, rect, form, 16)


def zrle_tiles(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """The tiles of ZRLE, as they are after inflating."""
    yield from _runs(walk, rect, form, 64)


def zywrle_tiles(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """The tiles of ZYWRLE, as they are after inflating. libvncserver's zrleencodetemplate.c.

    What would be a raw tile is one of wavelets: after the 0 another tile follows, of coefficients. There are
    none of 8 bits a pixel.
    """
    yield from _runs(walk, rect, form, 64, wavelets=form.pixel > 1)


def _runs(walk: Walk, rect: Rectangle, form: Format, size: int, *, wavelets: bool = False) -> Step:
    """rfbproto.rst "TRLE" and "ZRLE Encoding"; only TRLE's tiles may use the palette of the one before."""
    flow, see, at, cpixel = walk.flow, walk.see, walk.at, form.cpixel
    buffer = flow.buffer
    palette, colours = 0, 0
    for x, y, width, height in _tiles(rect, size):
        if len(buffer) <= at:
            yield from flow.need(at + 1, NAME)
        kind = buffer[at]
        at += 1
        wave = wavelets and kind == 0
        if wave:
            if len(buffer) <= at:
                yield from flow.need(at + 1, NAME)
            kind = buffer[at]
            at += 1
        start = at
        again = kind in (127, 129)
        if again and (size == 64 or not colours):
            raise Wrong(f"tile type {kind} uses a palette that is not there", at - 1, NAME)
        if kind == 0:
            at += width * height * cpixel
        elif kind == 1:
            palette, colours = at, 1
            at += cpixel
        elif kind <= 16 or kind == 127:
            if not again:
                palette, colours = at, kind
                at += kind * cpixel
            if colours > 16:
                raise Wrong(f"a packed tile cannot use a palette of {colours} colours", start - 1, NAME)
            start = at
            at += (width * packed_bits(colours) + 7) // 8 * height
        elif kind < 128:
            raise Wrong(f"tile type {kind} does not exist", at - 1, NAME)
        else:
            if kind > 129:
                palette, colours = at, kind - 128
                at += colours * cpixel
            lengths: list[int] = []
            places: list[int] = []
            left = width * height
            while left > 0:
                place = at
                if kind == 128:
                    at += cpixel
                    more = True
                else:
                    if len(buffer) <= at:
                        yield from flow.need(at + 1, NAME)
                    index = buffer[at]
                    at += 1
                    more = index > 127
                    place = index & 127
                    if place >= colours:
                        raise Wrong(f"palette index {place} of {colours} colours", at - 1, NAME)
                run = 1
                while more:
                    if len(buffer) <= at:
                        yield from flow.need(at + 1, NAME)
                    run += buffer[at]
                    more = buffer[at] == 255
                    at += 1
                left -= run
                if left < 0:
                    raise Wrong(f"a run reaches {-left} pixels beyond its tile", at - 1, NAME)
                if see:
                    lengths.append(run)
                    places.append(place)
            if see:
                yield from flow.need(at, NAME)
                if kind == 128:
                    see("runs", x, y, width, height, lengths, places)
                else:
                    see("palette runs", x, y, width, height, lengths, places, palette, colours)
                if wave:
                    see("wavelets", x, y, width, height)
            continue
        if see:
            yield from flow.need(at, NAME)
            if kind == 0:
                see("cpixels", x, y, width, height, start)
            else:
                see("packed", x, y, width, height, start, palette, colours)
            if wave:
                see("wavelets", x, y, width, height)
    yield from walk.take(at - walk.at)


def packed_bits(colours: int) -> int:
    """Bits of an index into a packed palette of so many colours."""
    return 0 if colours == 1 else 1 if colours == 2 else 2 if colours <= 4 else 4


# --- Compressed -------------------------------------------------------------------------------------------


def _sized(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """A U32 length and so many bytes: zlib, ZRLE and their kin."""
    length = yield from walk.number(4)
    start = yield from walk.take(length)
    if walk.see:
        walk.see("compressed", start, length)


def _tight(walk: Walk, rect: Rectangle, form: Format) -> Step:
    control = yield from walk.number(1)
    see = walk.see
    if see:
        see("reset", control & 15)
    method = control >> 4
    if method == 0x8:
        start = yield from walk.take(form.tpixel)
        if see:
            see("fill", start)
    elif method == 0x9 or (method == 0xA and rect.encoding == TIGHT_PNG):
        length = yield from walk.compact()
        start = yield from walk.take(length)
        if see:
            see("jpeg" if method == 0x9 else "png", start, length)
    elif method < 0x8 or method in (0xA, 0xE):
        filter_id = (yield from walk.number(1)) if method & 0x4 else 0
        colours = palette = 0
        if filter_id == 1:
            colours = (yield from walk.number(1)) + 1
            if colours == 1:
                walk.wrong("a Tight palette has 2 to 256 colours, not 1")
            palette = yield from walk.take(colours * form.tpixel)
            row = (rect.width + 7) // 8 if colours == 2 else rect.width
        elif filter_id in (0, 2):
            row = rect.width * form.tpixel
        else:
            walk.wrong(f"Tight filter {filter_id} does not exist")
        size = length = row * rect.height
        # What is shorter than 12 bytes is not compressed and has no length. The rest has one, also without
        # zlib: the document does not say so, the programs do (libvncclient and libvncserver, tight.c).
        if size >= 12:
            length = yield from walk.compact()
        start = yield from walk.take(length)
        if see:
            stream = -1 if size < 12 or method >= 0x8 else method & 3
            see("filtered", stream, start, length, size, filter_id, palette, colours)
    else:
        walk.wrong(f"Tight compression-control {control:#04x} is invalid")


def _jpeg(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """JPEG Encoding: an image without a length, so its markers are walked. ISO/IEC 10918-1, Annex B."""
    begin = walk.at
    if (yield from walk.number(2)) != 0xFFD8:
        walk.wrong("a JPEG image begins with ff d8", 2)
    while True:
        marker = yield from walk.number(2)
        code = marker & 0xFF
        if marker >> 8 != 0xFF:
            walk.wrong(f"{marker:#06x} is no JPEG marker", 2)
        if code == 0xFF:  # a fill byte before the marker
            walk.at -= 1
            continue
        if code == 0xD9:
            break
        if code == 0x01 or 0xD0 <= code <= 0xD7:
            continue
        length = yield from walk.number(2)
        if length < 2:
            walk.wrong(f"a JPEG segment of {length} bytes", 2)
        yield from walk.take(length - 2)
        if code == 0xDA:
            yield from _entropy(walk)
    if walk.see:
        walk.see("jpeg", begin, walk.at - begin)


def _entropy(walk: Walk) -> Step:
    """Step over the coded data of a scan: up to a marker that is neither stuffing nor a restart."""
    buffer = walk.flow.buffer
    while True:
        yield from walk.flow.need(walk.at + 2, NAME)
        found = buffer.find(b"\xff", walk.at)
        if found < 0:
            walk.at = len(buffer)
            continue
        walk.at = found
        yield from walk.flow.need(found + 2, NAME)
        follows = buffer[found + 1]
        if follows == 0 or 0xD0 <= follows <= 0xD7:
            walk.at += 2
        else:
            return


def _h264(walk: Walk, rect: Rectangle, form: Format) -> Step:
    length = yield from walk.number(4)
    flags = yield from walk.number(4)
    start = yield from walk.take(length)
    if walk.see:
        walk.see("h264", start, length, flags)


# --- Cursors ---------------------------------------------------------------------------------------------


def _mask_size(rect: Rectangle) -> int:
    """Bytes of a bit mask of the rectangle; each row is padded to whole bytes."""
    return (rect.width + 7) // 8 * rect.height


def _cursor(walk: Walk, rect: Rectangle, form: Format) -> Step:
    pixels = yield from walk.take(rect.width * rect.height * form.pixel)
    mask = yield from walk.take(_mask_size(rect))
    if walk.see:
        walk.see("cursor", pixels, mask)


def _x_cursor(walk: Walk, rect: Rectangle, form: Format) -> Step:
    colours = bits = mask = -1
    if rect.width * rect.height:
        colours = yield from walk.take(6)
        bits = yield from walk.take(_mask_size(rect))
        mask = yield from walk.take(_mask_size(rect))
    if walk.see:
        walk.see("x cursor", colours, bits, mask)


def _cursor_with_alpha(walk: Walk, rect: Rectangle, form: Format) -> Step:
    encoding = yield from walk.number(4)
    encoding -= (encoding & 0x80000000) << 1
    inner = Rectangle(rect.x, rect.y, rect.width, rect.height, encoding)
    if walk.see:
        walk.see("alpha cursor", encoding)
    yield from walker(inner)(walk, inner, RGBA)


def _vmware_cursor(walk: Walk, rect: Rectangle, form: Format) -> Step:
    kind = yield from walk.number(1)
    yield from walk.take(1)
    pixels = rect.width * rect.height
    if kind == 0:
        start = yield from walk.take(2 * pixels * form.pixel)
    elif kind == 1:
        start = yield from walk.take(4 * pixels)
    else:
        walk.wrong(f"VMware cursor type {kind} does not exist", 2)
    if walk.see:
        walk.see("vmware cursor", kind, start)


# --- What is no picture ------------------------------------------------------------------------------------


def _bytes(size: int) -> Walker:
    def walk_over(walk: Walk, rect: Rectangle, form: Format) -> Step:
        start = yield from walk.take(size)
        if walk.see:
            walk.see("bytes", start, size)

    return walk_over


def _extended_desktop_size(walk: Walk, rect: Rectangle, form: Format) -> Step:
    screens = yield from walk.number(1)
    start = yield from walk.take(3 + 16 * screens)
    if walk.see:
        walk.see("screens", start + 3, screens)


def _width_bytes(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """SupportedEncodings and ServerIdentity of libvncserver: the width is the number of bytes."""
    yield from walk.take(rect.width)


def _text(walk: Walk) -> Generator[Want, None, tuple[int, int]]:
    """A U32 length and text: where it begins, and its length."""
    length = yield from walk.number(4)
    if length > messages.TEXT_LIMIT:
        walk.wrong(f"a text of {length} bytes is over the limit of {messages.TEXT_LIMIT}", 4)
    start = yield from walk.take(length)
    return start, length


def _desktop_name(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """DesktopName, or UltraVNC's ExtViewSize, which has the same number and no data.

    A DesktopName has no size (rfbproto.rst: all four numbers are zero), an ExtViewSize has nothing else.
    """
    if rect.width and rect.height:
        yield from walk.take(0)
        return
    start, length = yield from _text(walk)
    if walk.see:
        walk.see("name", start, length)


def _client_redirect(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """A port, a host and the subject of its certificate: `contents.ClientRedirect`."""
    yield from walk.take(2)
    yield from _text(walk)
    yield from _text(walk)


def _solid(walk: Walk, rect: Rectangle, form: Format) -> Step:
    """UltraVNC's SolidColor: one PIXEL."""
    start = yield from walk.take(form.pixel)
    if walk.see:
        walk.see("solid", start)


RAW, COPY_RECT, ZLIB, TIGHT, ZRLE, ULTRA, TRLE, ZYWRLE = 0, 1, 6, 7, 16, 9, 15, 17
ZLIBHEX = 8
ZSTDHEX = 27
JPEG = 21
TIGHT_PNG = -260
DESKTOP_SIZE = -223
LAST_RECT = -224
EXTENDED_DESKTOP_SIZE = -308
DESKTOP_NAME = -307
X_CURSOR = -240
SUPPORTED_ENCODINGS = 0xFFFE0002 - (1 << 32)
SERVER_IDENTITY = 0xFFFE0003 - (1 << 32)
CACHE = 0xFFFF0000 - (1 << 32)
"""The first of UltraVNC's older encodings, which rely on what the viewer keeps: Cache, CacheEnable, XOR zlib,
XORMonoRect zlib, XORMultiColor zlib, SolidColor, XOREnable, CacheZip, SolMonoZip, UltraZip."""
SOLID_COLOR = CACHE + 5
POINTER_POS = -232
"""Where TightVNC and libvncserver have PointerPos; the registry has it at -225. x, y are the position."""
DISPLAY_MODE_CHANGE = 0x574D5669
EXTENDED_MOUSE_BUTTONS = -316

WALKERS: Mapping[int, Walker] = {
    RAW: _raw,
    COPY_RECT: _copy_rect,
    2: _rre,
    4: _rre,
    5: _hextile,
    ZLIB: _sized,
    TIGHT: _tight,
    ZLIBHEX: _hextile,
    ULTRA: _sized,
    10: _sized,
    TRLE: _trle,
    ZRLE: _sized,
    ZYWRLE: _sized,
    18: _sized,
    19: _sized,
    JPEG: _jpeg,
    25: _sized,
    26: _tight,
    ZSTDHEX: _hextile,
    28: _sized,
    29: _sized,
    50: _h264,
    DESKTOP_SIZE: _nothing,
    LAST_RECT: _nothing,
    -225: _nothing,
    POINTER_POS: _nothing,
    -239: _cursor,
    X_CURSOR: _x_cursor,
    -257: _nothing,
    -258: _nothing,
    -259: _nothing,
    TIGHT_PNG: _tight,
    -261: _bytes(1),
    DESKTOP_NAME: _desktop_name,
    EXTENDED_DESKTOP_SIZE: _extended_desktop_size,
    -311: _client_redirect,
    -314: _cursor_with_alpha,
    EXTENDED_MOUSE_BUTTONS: _nothing,
    0x574D5664: _vmware_cursor,
    0x574D5665: _bytes(2),
    0x574D5666: _nothing,
    0x574D5667: _bytes(10),
    0x574D5668: _bytes(4),
    DISPLAY_MODE_CHANGE: _bytes(16),
    0x574D566A: _bytes(2),
    0xFFFE0000 - (1 << 32): _nothing,
    0xFFFE0001 - (1 << 32): _bytes(64),
    SUPPORTED_ENCODINGS: _width_bytes,
    SERVER_IDENTITY: _width_bytes,
    CACHE: _bytes(2),
    SOLID_COLOR: _solid,
    **dict.fromkeys((CACHE + number for number in (2, 3, 4, 7, 8, 9)), _sized),
}
"""18, 19 and 25 to 29: UltraVNC, sent like zlib, ZRLE, Tight and zlibhex; 0xffff....: UltraVNC's viewer;
0xfffe....: libvncserver.

0xfffe0000 has the LEDs in its x, 0xfffe0001 two bit sets of 32 bytes of message types.
"""


def walker(rect: Rectangle) -> Walker:
    """The walker of a rectangle; raises `NotRead` in words where there is none."""
    found = WALKERS.get(rect.encoding)
    if found is None:
        name = constants.ENCODINGS.get(rect.encoding, "unregistered")
        why = UNFRAMED.get(rect.encoding, "is not framed, and a rectangle of it has no length that is known")
        raise NotRead(f"encoding {rect.encoding} ({name}) {why}")
    return found


def _unframed() -> dict[int, str]:
    """For registered numbers without a walker: why not. A request, an announcement, or nothing published."""
    says = "is something a client asks for with SetEncodings; no rectangle of it exists"
    request = [*range(-32, 0), *range(-256, -246), *range(-512, -411), *range(-768, -762), -305, -309]
    request += [-312, -313, -317, 0xC0A1E5CE - (1 << 32)]
    request += [0xFFFF8000 + n - (1 << 32) for n in range(8)]
    request += [CACHE + 1, CACHE + 6]
    return dict.fromkeys(request, says)


UNFRAMED: Mapping[int, str] = _unframed()

Each = Callable[[Rectangle, int, int], None]
"""Is called after each rectangle: the rectangle, the offsets of its first byte and of the byte after it."""

_HEADER: Any = messages.RectangleHeader.layout().steps[0]
HEADER: struct.Struct = _HEADER.struct
"""`RectangleHeader`, all of whose fields are of fixed size, without a dictionary for each."""


def update(
    walk: Walk, count: int, form: Format, before: Callable[[Rectangle, Format], None] | None, after: Each
) -> Generator[Want, None, Format]:
    """Walk `count` rectangles of an update, or fewer where a LastRect ends them.

    `before` is called when a rectangle's header is read, with the format that it is in; returns the format in
    which the next update is, which a Display Mode Change alters.
    """
    flow = walk.flow
    for _ in range(count):
        start = yield from walk.take(HEADER.size)
        rect = Rectangle(*HEADER.unpack_from(flow.buffer, start))
        walk_over = walker(rect)
        if before is not None:
            before(rect, form)
        yield from walk_over(walk, rect, form)
        if rect.encoding == DISPLAY_MODE_CHANGE:
            form = Format.of(messages.PixelFormat.layout().decode(flow.buffer, start + HEADER.size)[0])
        after(rect, start, walk.at)
        if rect.encoding == LAST_RECT:
            break
    return form
