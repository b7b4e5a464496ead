# SPDX-License-Identifier: GPL-2.0-or-later
"""The way back into a side's stream after bytes that were lost, or could not be read.

RFB has no marks and few lengths, so a message is believed only on evidence from both directions:

- Server: a FramebufferUpdate of at least one rectangle, each in an encoding that the client has asked for (or
  Raw; where its SetEncodings may be lost, one that is common), each within the screen, walked to its end;
  then the data end there or a message begins that exists. The end of zlib data (00 00 ff ff) looks like an
  update that ends at a LastRect: such a one is believed only where bytes began to arrive together. There a
  fence, or a cut text of characters, is believed as well.
- Client: a chain of messages whose every field is in its range (positions within the screen, flags 0 or 1,
  padding 0, encodings that are registered), worth at least `EVIDENCE` bits, that ends where the data end or
  has `CHAIN` messages; and no other chain that could begin inside its first message. One that is good so far
  is kept until there are more data.

What lies before is reported as not decoded. Where nothing is believed, nothing is read: none is made up.

A capture that begins in mid-session is RFB (`join`) where both directions say so. The client's captured
bytes are its messages from the first one to the last, worth `EVIDENCE` bits, and name a part of the screen;
or such a chain as above is found in them. In what the server says there is an update, whole, of rectangles
within that screen, in encodings that the client has named or else that are common, and from its end on
there are messages up to where bytes stopped arriving. The pixel format is not known then: the one with
which the update can be walked to its end is assumed, where only one can be and no other needs more bytes;
else none is. Where the server is silent to the end, the client's messages alone must be worth `ALONE` bits.
A client that names no part of the screen may answer a fence instead: the server's, with the same payload,
was there as well.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator, Set
from dataclasses import dataclass, field
from typing import Any

from dissect.rfb import constants, encodings, messages
from dissect.rfb.encodings import Format, Rectangle, Walk
from dissect.stream.layout import Malformed, Short
from dissect.stream.session import NotRead, Want, Wrong
from dissect.stream.side import Side

EVIDENCE = 48
"""Bits of a client's stream that must be as they should."""
CHAIN = 4
"""Client messages in a row that are believed though more data follow."""
KEEP = 1 << 20
"""Bytes that are searched at a time; what is older is given up."""
LONGEST = 1 << 25
"""Bytes of the longest update that is waited for: a screen of 3840 x 2160 in 32 bits is shorter."""
PATIENT = 1 << 16
"""From so many bytes on that wait for more, an eighth as many must come before they are looked at again."""

Screen = tuple[int, int]

KNOWN: Set[type[messages.RfbPacket]] = {
    messages.SetPixelFormat,
    messages.SetEncodings,
    messages.FramebufferUpdateRequest,
    messages.KeyEvent,
    messages.PointerEvent,
    messages.QemuExtendedKeyEvent,
    messages.ClientCutText,
    messages.ClientFence,
    messages.EnableContinuousUpdates,
    messages.QemuAudioClientMessage,
    messages.SetDesktopSize,
}
"""The client's messages that say enough of themselves to be believed."""


class _More(Exception):
    """A candidate goes on beyond the data that are there."""


class _Partial:
    """What is there of a stream from `at` on; more is `_More`, and more than `LONGEST` is wrong."""

    def __init__(self, buffer: bytes, at: int) -> None:
        self.buffer = buffer
        self.most = at + LONGEST

    def need(
        self, size: int, name: str | None = None, total: int | None = None
    ) -> Generator[Want, None, Any]:
        if size > self.most:
            raise Wrong("longer than an update that can be believed")
        if len(self.buffer) < size:
            raise _More
        yield from ()
        return self.buffer


def server(
    data: bytes,
    begin: int,
    wanted: Set[int],
    screen: Screen,
    form: Format,
    arrivals: Set[int],
    *,
    updates_only: bool = False,
) -> tuple[int, bool]:
    """Where in `data`, from `begin` on, a server's message is believed to begin, and whether one is.

    `arrivals`: the offsets at which bytes began to arrive together.
    Where none is believed: the offset up to which nothing can begin any more; what follows needs more data.
    """
    allowed = {0, *wanted}
    head = b"|".join(re.escape(number.to_bytes(4, "big", signed=True)) for number in allowed)
    # Type, padding, a count that is not 0, the first rectangle's place, its encoding; overlapping matches.
    update = rb"\x00\x00(?!\x00\x00)[\s\S]{10}(?:" + head + rb")"
    anchor = re.compile(rb"(?=" + update + (rb")" if updates_only else rb"|" + _OTHERS + rb")"))
    for match in anchor.finditer(data, begin):
        at = match.start()
        other = data[at] != 0
        if (other or data[at + 2 : at + 4] == b"\xff\xff") and at not in arrivals:
            continue
        try:
            end = _other_end(data, at) if other else _update(data, at, allowed, screen, form)
        except _More:
            return at, False
        except (Wrong, NotRead):
            continue
        if end == len(data) or _server_begins(data, end):
            return at, True
    return max(begin, len(data) - 15), False


_FENCE = rb"\xf8\x00\x00\x00(?:\x80\x00\x00[\x00-\x07]|\x00\x00\x00[\x01-\x07])[\x00-\x40]"
_CUT_TEXT = rb"\x03\x00\x00\x00\x00\x00[\s\S]{2}[\t\n\r -~\xa0-\xff]"
_CLIPBOARD = rb"\x03\x00\x00\x00\xff[\s\S]{3}[\x01\x02\x04\x08\x10\x1f]\x00\x00[\x00-\x1f]"
_OTHERS = rb"|".join((_FENCE, _CUT_TEXT, _CLIPBOARD))
"""A ServerFence with flags that exist, a ServerCutText of up to 64 KiB, an extended one of one action."""

_CHARACTERS = re.compile(rb"[\t\n\r -~\xa0-\xff]*")


def _other_end(data: bytes, at: int) -> int:
    """The end of the fence or cut text that begins at `at`; `Wrong` where a text is none."""
    if data[at] == 0xF8:
        end = at + 9 + data[at + 8]
    else:
        length = int.from_bytes(data[at + 4 : at + 8], "big", signed=True)
        end = at + 8 + abs(length)
        text = data[at + 8 : end]
        if length >= 0 and not _CHARACTERS.fullmatch(text):
            raise Wrong("not a text")
        if length < 0 and end - at > KEEP:
            raise Wrong("more than anybody copies")
    if end > len(data):
        raise _More
    return end


def _update(data: bytes, at: int, allowed: Set[int], screen: Screen, form: Format) -> int:
    """The end of the update that begins at `at`; `Wrong` where it is none, `_More` where it goes on."""

    def before(rect: Rectangle, form: Format) -> None:
        if rect.encoding not in allowed:
            raise Wrong("an encoding that nobody asked for")
        if rect.encoding >= 0 or rect.encoding == encodings.TIGHT_PNG:
            inside = rect.x + rect.width <= screen[0] and rect.y + rect.height <= screen[1]
            if not inside or not rect.width * rect.height:
                raise Wrong("not on the screen")

    if len(data) < at + 4:
        raise _More
    count = int.from_bytes(data[at + 2 : at + 4], "big")
    walk = Walk(_Partial(data, at), at + 4)
    for _ in encodings.update(walk, count, form, before, lambda rect, start, end: None):
        pass
    return walk.at


def _server_begins(data: bytes, at: int) -> bool:
    kind = data[at]
    if kind == 0:
        return data[at + 1 : at + 2] in (b"", b"\0")
    return kind in messages.MESSAGES[Side.SERVER]


def client(data: bytes, begin: int, screen: Screen) -> tuple[int, bool]:
    """The same for a client's messages."""
    for at in range(begin, len(data)):
        try:
            starts, bits = _chain(data, at, screen)
            if not starts:
                continue
            if bits < EVIDENCE:
                return at, False
            # Inside the first message another chain may begin, and the two could both be true.
            rivals = [_chain(data, other, screen) for other in range(at + 1, min(starts[1], len(data)))]
        except _More:
            return at, False
        if not any(worth >= EVIDENCE and not set(rival) & set(starts) for rival, worth in rivals):
            return at, True
    return len(data), False


def _chain(data: bytes, at: int, screen: Screen) -> tuple[list[int], int]:
    """The offsets at which the messages of a chain from `at` begin, and its end; none where there is none.

    And the bits that it is worth: fewer than `EVIDENCE` where the data end too early to say. Raises `_More`
    where they end within a message.
    """
    starts, bits = [at], 0
    while at < len(data) and (len(starts) <= CHAIN or bits < EVIDENCE):
        size, worth = _client_message(data, at, screen)
        if not size:
            return [], 0
        at += size
        bits += worth
        if at > len(data):
            raise _More
        starts.append(at)
    return starts, bits


def _sound(head: bytes) -> bool:
    """Whether the first bytes of a client's message, as far as they are there, are as they should be."""
    kind, rest = head[0], head[1:]
    if kind in (0, 6, 248):  # three bytes of padding, and then what is small
        sizes = {0: (8, 16, 32), 6: (0, 0xFF), 248: (0, 0x80)}[kind]
        return not any(rest[:3]) and (len(rest) < 4 or rest[3] in sizes)
    if kind == 2:
        return not any(rest[:1])
    if kind == 4:
        return rest[:1] <= b"\1" and not any(rest[1:3])
    return kind == 5 or rest[:1] <= b"\1"  # flags, and QEMU's submessages


def _client_message(data: bytes, at: int, screen: Screen) -> tuple[int, int]:
    """Size and worth in bits of the message at `at`; (0, 0) where it is none. Raises `_More`."""
    width, height = screen
    cls = messages.MESSAGES[Side.CLIENT].get(data[at])
    if data[at] == 255 and at + 1 < len(data):
        cls = messages.QEMU_CLIENT_MESSAGES.get(data[at + 1])
    if cls is None or cls not in KNOWN or not _sound(data[at : at + 8]):
        return 0, 0
    try:
        values, end = cls.layout().decode(data, at)
    except Short as short:
        if short.needed - at > KEEP or (cls is messages.SetEncodings and not _registered(data[at + 4 :])):
            return 0, 0
        raise _More from None
    except Malformed:
        return 0, 0
    spare = 32 - (width - 1).bit_length() - (height - 1).bit_length()
    match cls:
        case messages.SetPixelFormat:
            form = values["pixel_format"]
            good = (
                not any(values["padding"])
                and form["bits_per_pixel"] in (8, 16, 32)
                and form["depth"] <= form["bits_per_pixel"]
                and form["true_colour_flag"] <= 1
            )
            worth = 50
        case messages.SetEncodings:
            encodings_ = values["encoding_types"]
            good = all(number in constants.ENCODINGS for number in encodings_) and bool(encodings_)
            worth = 16 + 16 * len(encodings_)
        case messages.FramebufferUpdateRequest:
            good = (
                values["incremental"] <= 1
                and values["x_position"] + values["width"] <= width
                and values["y_position"] + values["height"] <= height
                and bool(values["width"] and values["height"])
            )
            worth = 15 + 2 * spare
        case messages.KeyEvent:
            good = values["down_flag"] <= 1 and not any(values["padding"]) and 0 < values["key"] < 0x0111_0000
            worth = 40
        case messages.PointerEvent:
            good = values["x_position"] < width and values["y_position"] < height
            worth = 8 + spare
        case messages.QemuExtendedKeyEvent:
            good = values["down_flag"] <= 1 and values["keysym"] < 0x0111_0000 and values["keycode"] < 256
            worth = 60
        case messages.ClientCutText:
            length = values["length"]
            good = not any(values["padding"]) and (
                0 <= length < KEEP or (-KEEP < length <= -4 and _one_action(values["text"][:4]))
            )
            worth = 36
        case messages.ClientFence:
            good = not any(values["padding"]) and not values["flags"] & 0x7FFFFFF8 and values["length"] <= 64
            worth = 60
        case messages.EnableContinuousUpdates:
            good = values["enable_flag"] <= 1
            worth = 15
        case messages.QemuAudioClientMessage:
            sets = values["operation"] == 2
            good = values["operation"] <= 2 and (
                not sets or (values["sample_format"] <= 5 and values["nchannels"] in (1, 2))
            )
            worth = 42 if sets else 30
        case messages.SetDesktopSize:
            inside = [
                one["x_position"] + one["width"] <= values["width"]
                and one["y_position"] + one["height"] <= values["height"]
                for one in values["screens"]
            ]
            good = all(inside) and bool(inside) and not any(values["padding1"] + values["padding2"])
            worth = 24 + 16 * len(inside)
        case _:
            return 0, 0
    return (end - at, worth) if good else (0, 0)


def _registered(numbers: bytes) -> bool:
    """Whether these, as far as they are there, are encodings that are registered."""
    whole = numbers[: len(numbers) // 4 * 4]
    return all(number in constants.ENCODINGS for (number,) in struct.iter_unpack(">i", whole))


def _one_action(flags: bytes) -> bool:
    """Whether these are flags of an extended clipboard: one action or all of them, and formats that exist."""
    return flags[0] in (1, 2, 4, 8, 16, 31) and not any(flags[1:3]) and flags[3] < 32


# --- A start in mid-session ----------------------------------------------------------------------------

COMMON = frozenset(
    (0, 1, 2, 4, 5, 6, 7, 8, 15, 16, -223, -224, -232, -239, -240, -258, -260, -261, -307, -308, -314)
)
"""Encodings that are taken to be wanted where SetEncodings is not in the capture."""

FORMATS = (
    Format(),
    Format(bits=16, depth=16, maxima=(31, 63, 31), shifts=(11, 5, 0)),
    Format(bits=8, depth=8, maxima=(7, 7, 3), shifts=(0, 3, 6)),
)
"""What sizes of pixels are tried where SetPixelFormat is not in the capture."""

CANDIDATES = 256
"""How many places are looked at, at most, where an update might begin."""

JOIN_CLIENT = 4096
"""Bytes of a client within which its messages must be found."""

ALONE = 256
"""Bits that the messages of a client must be worth where the server says nothing at all."""

ANY_SCREEN = (1 << 16, 1 << 16)

REQUEST = 1 << 31
"""The flag of a fence that wants an answer. rfbproto.rst "ClientFence"."""


_PADDED: Set[type[messages.RfbPacket]] = {messages.ServerCutText, messages.ServerFence}
"""The server's messages with three bytes of padding after their type."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What is known of a session that was joined: see `join`. `assumed`: what is not certain, in words."""

    screen: Screen
    form: Format
    encodings: frozenset[int]
    assumed: str


@dataclass(slots=True)
class _Heard:
    """What the messages of a client say of its session. `whole`: they reach to the end of its bytes."""

    width: int = 0
    height: int = 0
    encodings: set[int] = field(default_factory=set)
    form: Format | None = None
    offsets: list[int] = field(default_factory=list)
    whole: bool = True


def hopeful(data: bytes) -> bool:
    """Whether these may be the first captured bytes of a client in mid-session."""
    data = data[:JOIN_CLIENT]
    return bool(data) and (_listen(data, 0).whole or client(data, 0, ANY_SCREEN)[1])


def _listen(data: bytes, at: int) -> _Heard:
    """Read the client's messages from `at` on, as far as they can be."""
    heard = _Heard()
    while at < len(data):
        try:
            size, _ = _client_message(data, at, ANY_SCREEN)
        except _More:
            break
        heard.whole = bool(size) and at + size <= len(data)
        if not heard.whole:
            break
        heard.offsets.append(at)
        cls = messages.MESSAGES[Side.CLIENT].get(data[at])
        values = cls.layout().decode(data, at)[0] if cls is not None else {}
        if cls in (messages.FramebufferUpdateRequest, messages.EnableContinuousUpdates):
            heard.width = max(heard.width, values["x_position"] + values["width"])
            heard.height = max(heard.height, values["y_position"] + values["height"])
        elif cls is messages.SetEncodings:
            heard.encodings.update(values["encoding_types"])
        elif cls is messages.SetPixelFormat:
            heard.form = Format.of(values["pixel_format"])
        at += size
    return heard


def join(client_data: bytes, server_data: bytes, arrivals: Set[int], *, ended: bool = False) -> Joined | None:
    """What a session is that begins with these bytes of its sides; None where they say too little (yet).

    `arrivals`: the offsets at which bytes of the server began to arrive together. `ended`: no more come.
    """
    heard = _listen(client_data, 0)
    if not heard.whole:
        start, found = client(client_data[:JOIN_CLIENT], 0, ANY_SCREEN)
        if not found:
            return None
        heard = _listen(client_data, start)
    screen = heard.width, heard.height
    if not all(screen):
        screen = ANY_SCREEN
    bits = sum(_client_message(client_data, at, screen)[1] for at in heard.offsets)
    wanted = frozenset(heard.encodings or COMMON)
    if not server_data and ended and bits >= ALONE:
        return Joined(screen, _unknown_format(), wanted, "the capture begins in mid-session")
    if bits < EVIDENCE:
        return None
    if screen == ANY_SCREEN:
        if not _answered(client_data, heard.offsets, server_data, arrivals):
            return None
        return Joined(screen, _unknown_format(), wanted, "the capture begins in mid-session")
    formats = FORMATS if heard.form is None else (*FORMATS, heard.form)
    places = [_whole_update(server_data, wanted, screen, form, arrivals) for form in formats]
    found_in = {place for place in places if place is not None}
    if len(found_in) != 1:
        return None  # none yet, or it could be read in more than one way
    (place,) = found_in
    fitting = [form for form, other in zip(formats, places, strict=True) if other == place]
    if any(_goes_on(server_data, place[0], wanted, screen, form) for form in formats):
        return None
    if len(fitting) > 1:
        return Joined(screen, _unknown_format(), wanted, "the capture begins in mid-session")
    why = f"the capture begins in mid-session; {fitting[0].bits} bits a pixel are assumed, which fit"
    return Joined(screen, fitting[0], wanted, why)


def _answered(client_data: bytes, offsets: list[int], server_data: bytes, arrivals: Set[int]) -> bool:
    """Whether a fence of one side answers one of the other: the same flags and payload, but for `REQUEST`.

    And whether the client says something else too: fences alone could be of either side.
    """
    if all(client_data[at] == 0xF8 for at in offsets):
        return False
    asked = {
        _fence(server_data, at) for at in arrivals if re.compile(_FENCE).match(server_data, at) is not None
    }
    return not asked.isdisjoint(_fence(client_data, at) for at in offsets if client_data[at] == 0xF8)


def _fence(data: bytes, at: int) -> tuple[int, bytes]:
    flags = int.from_bytes(data[at + 4 : at + 8], "big") & ~REQUEST
    return flags, data[at + 9 : at + 9 + data[at + 8]]


def _unknown_format() -> Format:
    return Format(why_unknown="the capture begins after the pixel format was agreed on")


def _whole_update(
    data: bytes, wanted: Set[int], screen: Screen, form: Format, arrivals: Set[int]
) -> tuple[int, int] | None:
    """Where an update that can be believed begins and ends; first where bytes began to arrive."""
    allowed = {0, *wanted}

    def whole(at: int) -> tuple[int, int] | None:
        try:
            end = _update(data, at, allowed, screen, form)
        except (_More, Wrong, NotRead):
            return None
        return (at, end) if _reaches(data, end, allowed, screen, form, arrivals) else None

    for at in sorted(arrivals)[:CANDIDATES]:
        # Type, padding, and the number of rectangles, which is not 0.
        if data[at : at + 2] == b"\0\0" and any(data[at + 2 : at + 4]):
            found = whole(at)
            if found is not None:
                return found
    at = tried = 0
    while at < len(data) - 15 and tried < CANDIDATES:
        tried += 1
        at, believed = server(data, at, wanted, screen, form, arrivals, updates_only=True)
        if believed:
            found = whole(at)
            if found is not None:
                return found
        elif at >= len(data) - 15:
            break
        at += 1  # that one goes on beyond the data, or ends nowhere; another may begin within it
    return None


def _reaches(
    data: bytes, at: int, allowed: Set[int], screen: Screen, form: Format, arrivals: Set[int]
) -> bool:
    """Whether from `at` on there are messages of the server up to where bytes stopped arriving."""
    for _ in range(CHAIN):
        if at in arrivals or at == len(data):
            return True
        cls = messages.MESSAGES[Side.SERVER].get(data[at])
        try:
            if data[at] == 0:
                at = _update(data, at, allowed, screen, form)
            elif cls is None or (cls in _PADDED and any(data[at + 1 : at + 4])):
                return False
            else:
                at = cls.layout().measure(data, at)
        except (_More, Wrong, NotRead, Short, Malformed):
            return False
    return False


def _goes_on(data: bytes, at: int, wanted: Set[int], screen: Screen, form: Format) -> bool:
    """Whether the update that begins at `at` could be longer than what is there, in this format."""
    try:
        _update(data, at, {0, *wanted}, screen, form)
    except _More:
        return True
    except (Wrong, NotRead):
        pass
    return False
