# SPDX-License-Identifier: GPL-2.0-or-later
"""What a rectangle says besides where it is: the fixed fields with which the data of an encoding begin.

The end of a rectangle is found by its walker (`dissect.rfb.encodings`), its pixels are the matter of
`dissect.rfb.pixels`; these classes describe the rest. Layouts: rfbproto.rst, the section of the encoding's
name; where it is silent, the docstring names the program. Big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

from dissect.rfb.encodings import (
    DESKTOP_NAME,
    EXTENDED_DESKTOP_SIZE,
    SERVER_IDENTITY,
    SUPPORTED_ENCODINGS,
    X_CURSOR,
    Rectangle,
)
from dissect.rfb.messages import ENCODING_NAMES, TEXT_LIMIT, PixelFormat, RfbPacket, Screen
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    FieldLenField,
    IntField,
    PacketField,
    PacketListField,
    ShortField,
    SignedIntEnumField,
    StrFixedLenField,
    XByteField,
    XIntField,
    XShortField,
)
from dissect.stream.layout import Padding, TextField

CONTENTS: dict[int, type[RfbPacket]] = {}
"""Encoding -> the class of the fields with which its data begin."""

P = TypeVar("P", bound=type[RfbPacket])


def _of(*numbers: int) -> Callable[[P], P]:
    def register(cls: P) -> P:
        for number in numbers:
            CONTENTS[number - (1 << 32) if number > 0x7FFFFFFF else number] = cls
        return cls

    return register


@_of(1)
class CopyRectSource(RfbPacket):
    """rfbproto.rst "CopyRect Encoding"."""

    name = "CopyRectSource"
    fields_desc = [ShortField("src_x_position", 0), ShortField("src_y_position", 0)]


@_of(2, 4)
class SubrectanglesHeader(RfbPacket):
    """rfbproto.rst "RRE Encoding" and "CoRRE Encoding"; a background pixel and the subrectangles follow."""

    name = "SubrectanglesHeader"
    fields_desc = [IntField("number_of_subrectangles", 0)]


@_of(6, 9, 10, 16, 17, 18, 19, 25, 28, 29, 0xFFFF0002, 0xFFFF0003, 0xFFFF0004, 0xFFFF0007, 0xFFFF0008)
@_of(0xFFFF0009)
class CompressedHeader(RfbPacket):
    """rfbproto.rst "zlib Encoding" and "ZRLE Encoding"; UltraVNC and libvncclient have the others so too."""

    name = "CompressedHeader"
    fields_desc = [IntField("length", 0)]


@_of(7, 26, -260)
class TightHeader(RfbPacket):
    """rfbproto.rst "Tight Encoding"; what follows depends on it."""

    name = "TightHeader"
    fields_desc = [XByteField("compression_control", 0)]


@_of(50)
class OpenH264Header(RfbPacket):
    """rfbproto.rst "Open H.264 Encoding"; flag 1 resets this context, 2 all of them."""

    name = "OpenH264Header"
    fields_desc = [IntField("length", 0), XIntField("flags", 0)]


@_of(-240)
class XCursorColours(RfbPacket):
    """rfbproto.rst "X Cursor Pseudo-encoding"; nothing of it is there where the cursor has no size."""

    name = "XCursorColours"
    fields_desc = [
        ByteField("primary_r", 0),
        ByteField("primary_g", 0),
        ByteField("primary_b", 0),
        ByteField("secondary_r", 0),
        ByteField("secondary_g", 0),
        ByteField("secondary_b", 0),
    ]


@_of(-314)
class CursorWithAlphaHeader(RfbPacket):
    """rfbproto.rst "Cursor With Alpha Pseudo-encoding"."""

    name = "CursorWithAlphaHeader"
    fields_desc = [SignedIntEnumField("encoding", 0, ENCODING_NAMES)]


@_of(-261)
class QemuLedState(RfbPacket):
    """rfbproto.rst "QEMU LED State Pseudo-encoding"; 1 scroll lock, 2 num lock, 4 caps lock."""

    name = "QEMULEDState"
    fields_desc = [XByteField("state", 0)]


@_of(-307)
class DesktopName(RfbPacket):
    """rfbproto.rst "DesktopName Pseudo-encoding"."""

    name = "DesktopName"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("name_length", None, length_of="name_string", fmt="I"),
        TextField("name_string", b"", length_from=lambda p: p.name_length),
    ]


RESIZE_REASONS = {0: "server", 1: "this client", 2: "another client"}
RESIZE_STATUS = {
    0: "no error",
    1: "resize is administratively prohibited",
    2: "out of resources",
    3: "invalid screen layout",
    4: "request forwarded",
}
"""What x and y of an ExtendedDesktopSize mean. rfbproto.rst "ExtendedDesktopSize Pseudo-encoding"."""


@_of(-308)
class ExtendedDesktopSize(RfbPacket):
    """rfbproto.rst "ExtendedDesktopSize Pseudo-encoding"."""

    name = "ExtendedDesktopSize"
    fields_desc = [
        FieldLenField("number_of_screens", None, count_of="screens", fmt="B"),
        Padding("padding", 3),
        PacketListField("screens", [], Screen, count_from=lambda p: p.number_of_screens, max_count=255),
    ]


@_of(-311)
class ClientRedirect(RfbPacket):
    """Where the client shall connect to instead. CMsgReader of TigerVNC's Java viewer, and of TurboVNC's."""

    name = "ClientRedirect"
    limit = TEXT_LIMIT
    fields_desc = [
        ShortField("port", 0),
        FieldLenField("host_length", None, length_of="host", fmt="I"),
        TextField("host", b"", length_from=lambda p: p.host_length),
        FieldLenField("x509_subject_length", None, length_of="x509_subject", fmt="I"),
        TextField("x509_subject", b"", length_from=lambda p: p.x509_subject_length),
    ]


@_of(0x574D5664)
class VmwareCursorHeader(RfbPacket):
    """rfbproto.rst "VMware Cursor Pseudo-encoding"."""

    name = "VMwareCursorHeader"
    fields_desc = [ByteEnumField("cursor_type", 0, {0: "classic", 1: "alpha"}), Padding("padding", 1)]


@_of(0x574D5665)
class VmwareCursorState(RfbPacket):
    """rfbproto.rst "VMware Cursor State Pseudo-encoding"; 1 visible, 2 absolute, 4 warped."""

    name = "VMwareCursorState"
    fields_desc = [XShortField("cursor_state", 0)]


@_of(0x574D5667)
class VmwareKeyRepeat(RfbPacket):
    """rfbproto.rst "VMware Key Repeat Pseudo-encoding"."""

    name = "VMwareKeyRepeat"
    fields_desc = [ShortField("key_repeat_enabled", 0), IntField("period", 0), IntField("delay", 0)]


@_of(0x574D5668)
class VmwareLedState(RfbPacket):
    """rfbproto.rst "VMware LED State Pseudo-encoding"; 1 scroll lock, 2 num lock, 4 caps lock."""

    name = "VMwareLEDState"
    fields_desc = [XIntField("led_flags", 0)]


@_of(0x574D5669)
class VmwareDisplayModeChange(RfbPacket):
    """rfbproto.rst "VMware Display Mode Change Pseudo-encoding"."""

    name = "VMwareDisplayModeChange"
    fields_desc = [PacketField("pixel_format", None, PixelFormat)]


@_of(0x574D566A)
class VmwareVirtualMachineState(RfbPacket):
    """rfbproto.rst "VMware Virtual Machine State Pseudo-encoding"; 1 full screen, 2 updates are disabled."""

    name = "VMwareVirtualMachineState"
    fields_desc = [XShortField("vm_state_flags", 0)]


@_of(0xFFFE0001)
class SupportedMessages(RfbPacket):
    """libvncserver rfbproto.h rfbSupportedMessages: a bit for each message type."""

    name = "SupportedMessages"
    fields_desc = [
        StrFixedLenField("client_to_server", b"\0" * 32, length=32),
        StrFixedLenField("server_to_client", b"\0" * 32, length=32),
    ]


@_of(0xFFFF0000)
class CacheRect(RfbPacket):
    """UltraVNC rfbproto.h rfbCacheRect."""

    name = "CacheRect"
    fields_desc = [ShortField("special", 0)]


PACKED = {SubrectanglesHeader, CompressedHeader, TightHeader}
"""Classes that say how pixels are packed and nothing of what they are: not among the fields of an update."""

TELLING = {number for number, cls in CONTENTS.items() if cls not in PACKED} | {
    SUPPORTED_ENCODINGS,
    SERVER_IDENTITY,
}
"""Encodings for which `shown` has something to say."""

SHOWN = 1024
"""Bytes of a list or a text of a length of its own that are shown."""


def shown(rect: Rectangle, data: Any, start: int, end: int) -> dict[str, Any]:
    """The fields of the rectangle whose data are `data[start:end]`, as JSON values; {} where it has none."""
    cls = CONTENTS.get(rect.encoding)
    if rect.encoding == SUPPORTED_ENCODINGS:
        whole = bytes(data[start : min(end, start + SHOWN)])
        numbers = [number for (number,) in struct.iter_unpack(">i", whole[: len(whole) // 4 * 4])]
        names = [ENCODING_NAMES.get(number, f"unknown {number}") for number in numbers]
        return {"encodings": numbers, "encodings_names": names}
    if rect.encoding == SERVER_IDENTITY:
        text = bytes(data[start : min(end, start + SHOWN)]).rstrip(b"\0")
        return {"identity": text.decode("utf-8", "backslashreplace")}
    if cls is None or (rect.encoding == X_CURSOR and start == end):
        return {}
    if rect.encoding == DESKTOP_NAME and start == end:
        return {"meaning": "ExtViewSize of UltraVNC, which has the number of DesktopName"}
    layout = cls.layout()
    fields = layout.describe(layout.decode(data, start, end)[0])
    if rect.encoding == EXTENDED_DESKTOP_SIZE:
        fields["reason"] = RESIZE_REASONS.get(rect.x, f"unknown {rect.x}")
        fields["status"] = RESIZE_STATUS.get(rect.y, f"unknown {rect.y}")
    return fields
