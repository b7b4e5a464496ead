# SPDX-License-Identifier: GPL-2.0-or-later
"""One example a message, written by hand from protocol.h and spice.proto; and the links that lead to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dissect.spice import agent, carried, images, link, smartcard
from dissect.spice.channels import audio, base, cursor, devices, display, inputs, main
from dissect.stream import Side
from dissect.stream.layout import ProtocolPacket
from tests.stream.talk import CLIENT, SERVER, Event


def u8(number: int) -> bytes:
    return bytes([number])


def u16(number: int) -> bytes:
    return number.to_bytes(2, "little")


def u32(number: int) -> bytes:
    return (number % (1 << 32)).to_bytes(4, "little")


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


AUTH_SELECTION, AUTH_SPICE, AUTH_SASL, MINI_HEADER = range(4)
USUAL = (AUTH_SELECTION, AUTH_SPICE, MINI_HEADER)


def bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)


def header(size: int, *, major: int = 2, minor: int = 2, magic: bytes = b"REDQ") -> bytes:
    return magic + u32(major) + u32(minor) + u32(size)


def mess(common: Iterable[int] = USUAL, *, channel: int = 1, connection: int = 0, own: int = 0) -> bytes:
    """The client's link message with one word of each kind of capability."""
    body = u32(connection) + u8(channel) + u8(0) + u32(1) + u32(1) + u32(18) + u32(bits(common)) + u32(own)
    return header(len(body)) + body


ALL = 0xFFFFFFFF
"""Every channel capability."""
KEY = bytes(range(162))


def reply(common: Iterable[int] = USUAL, *, error: int = 0, own: int = 0) -> bytes:
    """The server's link reply with one word of each kind of capability."""
    body = u32(error) + KEY + u32(1) + u32(1) + u32(178) + u32(bits(common)) + u32(own)
    return header(len(body)) + body


def error_reply(error: int) -> bytes:
    """What spice-server sends when it refuses: 194 bytes, mostly zeros."""
    return header(178) + u32(error) + bytes(174)


TICKET = b"\x5a" * 128


def linked(
    channel: int = 1, *, mini: bool = True, select: bool = True, client: int = ALL, server: int = ALL
) -> list[Event]:
    """A link up to its result; `client` and `server` are the words of their channel capabilities."""
    common = [AUTH_SPICE, *([MINI_HEADER] if mini else []), *([AUTH_SELECTION] if select else [])]
    return [
        (CLIENT, mess(common, channel=channel, connection=0 if channel == 1 else 4711, own=client)),
        (SERVER, reply(common, own=server)),
        (CLIENT, (u32(1) if select else b"") + TICKET),
        (SERVER, u32(0)),
    ]


def data(number: int, body: bytes, *, mini: bool = True, serial: int = 1, sub_list: int = 0) -> bytes:
    """A data message."""
    head = u16(number) + u32(len(body))
    return (head if mini else u64(serial) + head + u32(sub_list)) + body


def words(*numbers: int) -> bytes:
    """32-bit numbers."""
    return b"".join(map(u32, numbers))


def rect(top: int, left: int, bottom: int, right: int) -> bytes:
    return words(top, left, bottom, right)


def clip(*rects: bytes) -> bytes:
    return u8(1) + u32(len(rects)) + b"".join(rects) if rects else u8(0)


def where(*rects: bytes) -> bytes:
    """What a drawing message begins with: surface 0, a box of 8 by 4 pixels, clipped to `rects`."""
    return u32(0) + rect(1, 2, 5, 10) + clip(*rects)


def solid(color: int = 0xFF00) -> bytes:
    return u8(1) + u32(color)


def mask(bitmap: int = 0) -> bytes:
    return u8(0) + words(3, 4) + u32(bitmap)


def descriptor(type_: int, flags: int = 0, number: int = 0xABCD) -> bytes:
    return u64(number) + u8(type_) + u8(flags) + words(8, 4)


def bitmap(palette: bytes = u32(0), *, flags: int = 4, format_: int = 8, stride: int = 32) -> bytes:
    return u8(format_) + u8(flags) + words(8, 4, stride) + palette + bytes(range(4 * stride))


def be32(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


LZ = b"  ZL" + be32(0x10001, 8, 8, 4, 32, 1)
GLZ = b"  ZL" + be32(0x10001) + u8(0x18) + be32(8, 4, 32) + bytes(7) + u8(9) + be32(2)
QUIC = b"QUIC" + words(0, 4, 8, 4)
BITMAP_IMAGE = descriptor(0) + bitmap()
CACHED_IMAGE = descriptor(103)
PALETTE = u64(77) + u16(2) + words(0, 0xFFFFFF)
PAYLOADS = {
    "bitmap": BITMAP_IMAGE,
    "quic": descriptor(1) + u32(23) + QUIC + b"abc",
    "lz_rgb": descriptor(101) + u32(31) + LZ + b"abc",
    "glz_rgb": descriptor(102) + u32(36) + GLZ + b"abc",
    "surface": descriptor(104) + u32(3),
    "jpeg": descriptor(105) + u32(4) + b"\xff\xd8\xff\xd9",
    "zlib_glz": descriptor(107) + u32(40) + u32(3) + b"abc",
    "jpeg_alpha": descriptor(108) + u8(1) + words(4, 35) + b"\xff\xd8\xff\xd9" + LZ + b"abc",
    "lz4": descriptor(109) + u32(9) + u8(1) + u8(8) + be32(3) + b"abc",
}
"""An image of each type that has more than a descriptor and needs no palette, by its field."""


def pointing(*parts: bytes | None, to: Iterable[bytes] = ()) -> bytes:
    """A body whose parts that are None are pointers to `to`, in order, which follow the parts."""
    targets = list(to)
    at = sum(4 if part is None else len(part) for part in parts)
    left, out = iter(targets), b""
    for part in parts:
        if part is None:
            out += u32(at)
            at += len(next(left))
        else:
            out += part
    return out + b"".join(targets)


def draw_copy(*images: bytes) -> bytes:
    """A drawing of this image, with a mask where there is a second."""
    parts = [where(), None, rect(0, 0, 4, 8), u16(8) + u8(0), mask()]
    if len(images) > 1:
        parts[-1:] = [mask()[:-4], None]
    return pointing(*parts, to=images)


def draw_paletted(kind: str = "bitmap") -> bytes:
    """A drawing of an image whose palette is behind it."""
    if kind == "bitmap":
        start, end = descriptor(0) + u8(5) + u8(1) + words(8, 4, 8), bytes(32)
    else:
        start, end = descriptor(100) + u8(1) + u32(31), LZ + b"abc"
    fixed = len(draw_copy(b""))
    palette = u32(fixed + len(start) + 4 + len(end))
    return draw_copy(start + palette + end) + PALETTE


GLYPH = words(1, 2, 3, 4) + u16(9) + u16(2)
AGENT_GONE = words(1, 13) + u64(0) + u32(0)
"""A whole message of the agent's without a body."""
DESTINATION = u16(5900) + u16(5901) + u32(3)
HEAD = words(0, 0, 640, 480, 0, 0, 0)
CURSOR_HEADER = u64(5) + u8(0) + u16(2) + u16(1) + u16(0) + u16(0)

INIT = b"".join(map(u32, (4711, 1, 3, 2, 0, 10, 123456, 7)))


def vd(type_: int, body: bytes = b"") -> bytes:
    """A message of the agent's."""
    return words(1, type_) + u64(0) + u32(len(body)) + body


SELECTION = u8(1) + bytes(3)
MONITOR = words(480, 640, 32, 0, 0)
AGENT_ROWS: list[tuple[type[ProtocolPacket], bytes, dict[str, Any]]] = [
    (agent.VDAgentMessage, words(1, 4) + u64(0) + u32(3), {"type": 4, "size": 3}),
    (agent.VDAgentMouseState, vd(1, words(1, 2, 2) + u8(0)), {"x": 1, "buttons": 2}),
    (agent.VDAgentMonConfig, MONITOR, {"height": 480, "width": 640}),
    (agent.VDAgentMonitorMM, u16(200) + u16(300), {"height": 200, "width": 300}),
    (agent.VDAgentMonitorsConfig, vd(2, words(1, 1) + MONITOR), {"num_of_monitors": 1, "flags": 1}),
    (agent.VDAgentMonitorsConfig, vd(2, words(1, 2) + MONITOR + u16(200) + u16(300)), {"flags": 2}),
    (agent.VDAgentReply, vd(3, words(2, 1)), {"reply_type": 2, "error": 1}),
    (agent.VDAgentClipboard, vd(4, u32(1) + b"text"), {"clipboard_type": 1, "text": b"text"}),
    (agent.VDAgentClipboard, vd(4, u32(2) + b"\x89PNG"), {"clipboard_data": b"\x89PNG"}),
    (agent.VDAgentClipboardOfSelection, vd(4, SELECTION + u32(1) + b"text"), {"selection": 1}),
    (agent.VDAgentDisplayConfig, vd(5, words(3, 16)), {"flags": 3, "depth": 16}),
    (agent.VDAgentAnnounceCapabilities, vd(6, words(1, 1 << 6)), {"request": 1, "caps": [64]}),
    (agent.VDAgentClipboardGrab, vd(7, words(1, 2)), {"types": [1, 2]}),
    (agent.VDAgentClipboardGrabOfSelection, vd(7, SELECTION + words(1)), {"selection": 1, "types": [1]}),
    (agent.VDAgentClipboardGrabSerial, vd(7, words(9, 1)), {"serial": 9, "types": [1]}),
    (
        agent.VDAgentClipboardGrabSerialOfSelection,
        vd(7, SELECTION + words(9, 1)),
        {"selection": 1, "serial": 9, "types": [1]},
    ),
    (agent.VDAgentClipboardRequest, vd(8, words(1)), {"clipboard_type": 1}),
    (agent.VDAgentClipboardRequestOfSelection, vd(8, SELECTION + words(1)), {"selection": 1}),
    (agent.VDAgentClipboardRelease, vd(9), {"size": 0}),
    (agent.VDAgentClipboardReleaseOfSelection, vd(9, SELECTION), {"selection": 1}),
    (agent.VDAgentFileXferStart, vd(10, u32(5) + b"[x]\nname=a\n"), {"id": 5}),
    (agent.VDAgentFileXferStatus, vd(11, words(5, 3)), {"id": 5, "result": 3, "detail": b""}),
    (agent.VDAgentFileXferStatusDetailed, vd(11, words(5, 4) + u64(99)), {"disk_free_space": 99}),
    (agent.VDAgentFileXferStatusDetailed, vd(11, words(5, 2) + u8(0) + u32(7)), {"error_code": 7}),
    (agent.VDAgentFileXferStatusDetailed, vd(11, words(5, 2)), {"result": 2}),
    (agent.VDAgentFileXferData, vd(12, u32(5) + u64(3) + b"abc"), {"data_size": 3, "file_data": b"abc"}),
    (agent.VDAgentClientDisconnected, vd(13), {"type": 13}),
    (agent.VDAgentMaxClipboard, vd(14, u32(-1)), {"max": -1}),
    (agent.VDAgentAudioVolumeSync, vd(15, u8(1) + u8(0) + u8(2) + u16(1) + u16(2)), {"volume": [1, 2]}),
    (
        agent.VDAgentDeviceDisplayInfo,
        words(0, 0, 0, 4) + b"pci\0",
        {"device_address_len": 4, "device_address": b"pci\0"},
    ),
    (agent.VDAgentGraphicsDeviceInfo, vd(16, words(1, 0, 0, 0, 4) + b"pci\0"), {"count": 1}),
]

# The class, its bytes, and what the fields hold (those that are not named are not looked at).
ROWS: list[tuple[type[ProtocolPacket], bytes, dict[str, Any]]] = [
    (link.SpiceLinkHeader, header(18), {"magic": b"REDQ", "major_version": 2, "size": 18}),
    (
        link.SpiceLinkMess,
        mess(channel=2, connection=7, own=5)[16:],
        {"connection_id": 7, "channel_type": 2, "common_caps": [0b1011], "channel_caps": [5]},
    ),
    (link.SpiceLinkReply, reply(error=0)[16:], {"error": 0, "pub_key": KEY, "common_caps": [0b1011]}),
    (link.SpiceLinkReply, error_reply(2)[16:], {"error": 2, "common_caps": [], "caps_offset": 0}),
    (link.SpiceLinkAuthMechanism, u32(1), {"auth_mechanism": 1}),
    (link.SpiceLinkEncryptedTicket, TICKET, {"encrypted_data": TICKET}),
    (link.SpiceLinkResult, u32(7), {"result": 7}),
    (link.SpiceSaslMechanisms, u32(5) + b"PLAIN", {"mechanisms": b"PLAIN"}),
    (link.SpiceSaslStart, u32(5) + b"PLAIN" + u32(3) + b"abc", {"mechanism": b"PLAIN", "sasl_data": b"abc"}),
    (link.SpiceSaslStep, u32(3) + b"abc", {"sasl_data": b"abc"}),
    (link.SpiceSaslReply, u32(3) + b"abc" + u8(1), {"sasl_data": b"abc", "complete": 1}),
    (link.SpiceSaslResult, u32(1), {"sasl_result": 1}),
    (link.SpiceSaslReason, u32(6) + b"failed", {"reason": b"failed"}),
    (base.SpiceMiniDataHeader, u16(103) + u32(32), {"message_type": 103, "message_size": 32}),
    (
        base.SpiceDataHeader,
        u64(9) + u16(103) + u32(32) + u32(0),
        {"message_serial": 9, "message_type": 103, "sub_list": 0},
    ),
    (base.ChannelWait, b"\2\0" + u64(5), {"channel_type": 2, "message_serial": 5}),
    (base.SpiceMsgSetAck, u32(1) + u32(20), {"generation": 1, "window": 20}),
    (base.SpiceMsgPing, u32(3) + u64(99) + b"data", {"id": 3, "timestamp": 99, "ping_data": b"data"}),
    (base.SpiceMsgMigrate, u32(3), {"flags": 3}),
    (base.SpiceMsgMigrateData, b"opaque", {"migrate_data": b"opaque"}),
    (base.SpiceMsgWaitForChannels, b"\1" + b"\2\0" + u64(5), {"wait_count": 1}),
    (base.SpiceMsgDisconnecting, u64(8) + u32(0), {"time_stamp": 8, "reason": 0}),
    (
        base.SpiceMsgNotify,
        u64(8) + u32(1) + u32(2) + u32(0) + u32(5) + b"hello" + b"\0",
        {"severity": 1, "message": b"hello", "after_message": b"\0"},
    ),
    (base.SpiceMsgcAckSync, u32(1), {"generation": 1}),
    (base.SpiceMsgcPong, u32(3) + u64(99), {"id": 3, "timestamp": 99}),
    (base.SpiceMsgcMigrateData, b"opaque", {"migrate_data": b"opaque"}),
    (base.SpiceMsgcDisconnecting, u64(8) + u32(0), {"time_stamp": 8}),
    (
        base.SpiceMsgList,
        u16(1) + u32(6) + u16(3) + u32(8) + words(1, 20),
        {"sub_messages": [6], "listed": u16(3) + u32(8) + words(1, 20)},
    ),
    (base.SpiceSubMessage, u16(3) + u32(8), {"type": 3, "size": 8}),
    (base.SpiceSubMessageList, u16(2) + words(10, 24), {"sub_messages": [10, 24]}),
    (main.SpiceMsgMainInit, INIT, {"session_id": 4711, "current_mouse_mode": 2, "ram_hint": 7}),
    (main.ChannelId, b"\2\0", {"type": 2, "id": 0}),
    (main.SpiceMsgMainChannelsList, u32(2) + b"\2\0\3\0", {"num_of_channels": 2}),
    (main.SpiceMsgMainMouseMode, u16(3) + u16(2), {"supported_modes": 3, "current_mode": 2}),
    (main.SpiceMsgMainMultiMediaTime, u32(5), {"multi_media_time": 5}),
    (main.SpiceMsgMainAgentDisconnected, u32(1), {"error_code": 1}),
    (main.SpiceMsgMainAgentToken, u32(10), {"num_tokens": 10}),
    (main.SpiceMsgMainAgentConnectedTokens, u32(10), {"num_tokens": 10}),
    (main.SpiceMsgMainName, u32(3) + b"vm\0", {"guest_name": b"vm\0"}),
    (main.SpiceMsgMainUuid, bytes(range(16)), {"uuid": bytes(range(16))}),
    (main.SpiceMsgMainAgentData, AGENT_GONE, {"agent_data": AGENT_GONE}),
    (main.SpiceMsgcMainClientInfo, u64(1 << 40), {"cache_size": 1 << 40}),
    (main.SpiceMsgcMainMouseModeRequest, u16(2), {"mode": 2}),
    (main.SpiceMsgcMainAgentStart, u32(10), {"num_tokens": 10}),
    (main.SpiceMsgcMainAgentToken, u32(10), {"num_tokens": 10}),
    (main.SpiceMsgcMainMigrateDstDoSeamless, u32(1), {"src_version": 1}),
    (main.SpiceMsgcMainAgentData, AGENT_GONE, {"agent_data": AGENT_GONE}),
    (
        main.SpiceMsgMainMigrateBegin,
        pointing(DESTINATION, None, u32(3), None, to=[b"h1\0", b"CN\0"]),
        {"port": 5900, "sport": 5901, "host_data": 20, "cert_subject_data": 23},
    ),
    (
        main.SpiceMsgMainMigrateSwitchHost,
        pointing(DESTINATION, None, u32(0), u32(0), to=[b"h1\0"]),
        {"host_size": 3, "host_data": 20, "cert_subject_data": 0},
    ),
    (
        main.SpiceMsgMainMigrateBeginSeamless,
        pointing(DESTINATION, None, u32(0), u32(0), u32(2), to=[b"h1\0"]),
        {"src_mig_version": 2, "host_data": 24},
    ),
    (main.SpiceMsgcMainQualityIndicator, b"good", {"indicator": b"good"}),
    (inputs.SpiceMsgInputsInit, u16(2), {"keyboard_modifiers": 2}),
    (inputs.SpiceMsgInputsKeyModifiers, u16(4), {"modifiers": 4}),
    (inputs.SpiceMsgcInputsKeyDown, u32(0x1E), {"code": 0x1E}),
    (inputs.SpiceMsgcInputsKeyUp, u32(0x9E), {"code": 0x9E}),
    (inputs.SpiceMsgcInputsKeyModifiers, u16(1), {"modifiers": 1}),
    (inputs.SpiceMsgcInputsKeyScancode, b"\x1e\x9e", {"scancodes": b"\x1e\x9e"}),
    (inputs.SpiceMsgcInputsMouseMotion, u32(-1) + u32(5) + u16(0), {"dx": -1, "dy": 5}),
    (inputs.SpiceMsgcInputsMousePosition, u32(3) + u32(4) + u16(1) + b"\0", {"x": 3, "display_id": 0}),
    (inputs.SpiceMsgcInputsMousePress, b"\1" + u16(1), {"button": 1, "buttons_state": 1}),
    (inputs.SpiceMsgcInputsMouseRelease, b"\1" + u16(0), {"button": 1, "buttons_state": 0}),
    *[(cls, raw, expected) for cls, raw, expected in AGENT_ROWS],
    (carried.UsbredirPacket, words(1, 3, 7) + b"abc", {"type": 1, "id": 7, "packet_data": b"abc"}),
    (carried.UsbredirPacket64, words(100, 3) + u64(7) + b"abc", {"type": 100, "id": 7}),
    (carried.UsbredirHello, b"program 1.0".ljust(64, b"\0") + u32(32), {"capabilities": 32}),
    (carried.WebdavFrame, u64(5) + u16(3) + b"GET", {"client_id": 5, "frame_data": b"GET"}),
    (images.Palette, PALETTE, {"unique": 77, "ents": [0, 0xFFFFFF]}),
    (images.SpiceBitmap, bitmap(), {"y": 4, "stride": 32, "palette": 0, "pixels": bytes(range(128))}),
    (images.SpiceBitmap, bitmap(u64(77), flags=2), {"palette_id": 77}),
    (images.SpiceQuicData, u32(23) + QUIC + b"abc", {"quic_type": 4, "width": 8, "quic_data": b"abc"}),
    (images.SpiceLzRgbData, u32(31) + LZ + b"abc", {"lz_type": 8, "height": 4, "lz_data": b"abc"}),
    (images.SpiceLzPltData, u8(2) + u32(31) + u64(77) + LZ + b"abc", {"palette_id": 77, "stride": 32}),
    (images.SpiceLzPltData, u8(0) + u32(28) + u32(99) + LZ, {"palette": 99, "lz_data": b""}),
    (images.SpiceGlzRgbData, u32(36) + GLZ + b"abc", {"glz_id": 9, "win_head_dist": 2, "glz_type": 0x18}),
    (images.SpiceZlibGlzRgbData, u32(40) + u32(3) + b"abc", {"glz_data_size": 40, "zlib_data": b"abc"}),
    (images.SpiceJpegData, u32(3) + b"abc", {"jpeg_data": b"abc"}),
    (
        images.SpiceJpegAlphaData,
        u8(1) + words(4, 35) + b"jpeg" + LZ + b"abc",
        {"jpeg_data": b"jpeg", "lz_type": 8, "alpha_data": b"abc"},
    ),
    (images.SpiceLz4Data, u32(9) + u8(1) + u8(8) + be32(3) + b"abc", {"format": 8, "top_down": 1}),
    (images.SpiceSurfaceReference, u32(3), {"surface_id": 3}),
    (images.SpiceImageDescriptor, descriptor(105, 1), {"type": 105, "id": 0xABCD, "flags": 1, "height": 4}),
    *[(images.SpiceImage, raw, {}) for raw in PAYLOADS.values()],
    (images.SpiceImage, CACHED_IMAGE, {}),
    (display.Point, words(-1, 2), {"x": -1, "y": 2}),
    (display.Point16, u16(0xFFFF) + u16(2), {"x": -1, "y": 2}),
    (display.PointFix, words(-16, 32), {"x": -16, "y": 32}),
    (display.Rect, rect(1, 2, -3, 4), {"top": 1, "left": 2, "bottom": -3, "right": 4}),
    (display.Transform, words(1, 2, 3, 4, 5, 6), {"t00": 1, "t12": 6}),
    (display.Clip, clip(), {"type": 0}),
    (display.Clip, clip(rect(0, 0, 1, 1), rect(2, 2, 3, 3)), {"type": 1, "num_rects": 2}),
    (display.DisplayBase, where(rect(0, 0, 1, 1)), {"surface_id": 0}),
    (display.Brush, u8(0), {"type": 0}),
    (display.Brush, solid(), {"type": 1, "color": 0xFF00}),
    (display.Brush, u8(2) + words(99, 1, 2), {"type": 2, "pat": 99}),
    (display.QMask, mask(99), {"flags": 0, "bitmap": 99}),
    (display.LineAttr, u8(0), {"flags": 0}),
    (display.LineAttr, u8(8) + u8(2) + u32(99), {"flags": 8, "style_nseg": 2, "style": 99}),
    (display.PathSegment, u8(3) + u32(1) + words(16, 32), {"flags": 3, "count": 1}),
    (display.Path, u32(1) + u8(3) + u32(1) + words(16, 32), {"num_segments": 1}),
    (display.RasterGlyphA1, GLYPH + b"abcd", {"width": 9, "height": 2, "raster": b"abcd"}),
    (display.RasterGlyphA4, GLYPH + bytes(10), {"raster": bytes(10)}),
    (display.RasterGlyphA8, GLYPH + bytes(18), {"raster": bytes(18)}),
    (display.String, u16(1) + u8(1) + GLYPH + b"abcd", {"length": 1, "flags": 1}),
    (display.String, u16(1) + u8(2) + GLYPH + bytes(10), {"flags": 2}),
    (display.String, u16(2) + u8(4) + (GLYPH + bytes(18)) * 2, {"length": 2}),
    (display.String, u16(3) + u8(0), {"length": 3}),
    (display.StreamDataHeader, words(1, 2), {"id": 1, "multi_media_time": 2}),
    (display.ResourceID, u8(1) + u64(5), {"type": 1, "id": 5}),
    (display.Head, HEAD, {"width": 640, "height": 480}),
    (display.SpiceMsgDisplayMode, words(640, 480, 32), {"x_res": 640, "y_res": 480, "bits": 32}),
    (display.SpiceMsgDisplayCopyBits, where() + words(7, 8), {}),
    (display.SpiceMsgDisplayInvalList, u16(2) + (u8(1) + u64(5)) * 2, {"count": 2}),
    (display.SpiceMsgDisplayInvalAllPixmaps, u8(1) + b"\2\0" + u64(5), {"wait_count": 1}),
    (display.SpiceMsgDisplayInvalPalette, u64(5), {"id": 5}),
    (
        display.SpiceMsgDisplayStreamCreate,
        words(0, 7) + u8(1) + u8(3) + u64(1) + words(64, 48, 64, 48) + rect(0, 0, 48, 64) + clip(),
        {"id": 7, "codec_type": 3, "stream_width": 64},
    ),
    (display.SpiceMsgDisplayStreamData, words(7, 99, 5) + b"frame", {"frame": b"frame"}),
    (
        display.SpiceMsgDisplayStreamDataSized,
        words(7, 99, 64, 48) + rect(0, 0, 48, 64) + u32(5) + b"frame",
        {"width": 64, "frame": b"frame"},
    ),
    (display.SpiceMsgDisplayStreamClip, u32(7) + clip(rect(0, 0, 1, 1)), {"id": 7}),
    (display.SpiceMsgDisplayStreamDestroy, u32(7), {"id": 7}),
    (display.SpiceMsgDisplayDrawFill, where() + solid() + u16(8) + mask(), {"rop_descriptor": 8}),
    (
        display.SpiceMsgDisplayDrawOpaque,
        pointing(
            where(),
            None,
            rect(0, 0, 4, 8),
            u8(2),
            None,
            words(0, 0),
            u16(8),
            u8(1),
            mask(),
            to=[BITMAP_IMAGE, CACHED_IMAGE],
        ),
        {"scale_mode": 1},
    ),
    (display.SpiceMsgDisplayDrawCopy, draw_copy(BITMAP_IMAGE, CACHED_IMAGE), {"rop_descriptor": 8}),
    (display.SpiceMsgDisplayDrawBlend, draw_copy(BITMAP_IMAGE), {"rop_descriptor": 8}),
    (display.SpiceMsgDisplayDrawBlackness, where() + mask(), {}),
    (display.SpiceMsgDisplayDrawWhiteness, where(rect(0, 0, 1, 1)) + mask(), {}),
    (display.SpiceMsgDisplayDrawInvers, pointing(where(), mask()[:-4], None, to=[CACHED_IMAGE]), {}),
    (
        display.SpiceMsgDisplayDrawRop3,
        pointing(where(), None, rect(0, 0, 4, 8), solid(), u8(0xB8), u8(0), mask(), to=[BITMAP_IMAGE]),
        {"rop3": 0xB8},
    ),
    (
        display.SpiceMsgDisplayDrawStroke,
        pointing(
            where(),
            None,
            u8(8) + u8(2),
            None,
            solid(),
            u16(8) + u16(8),
            to=[u32(1) + u8(3) + u32(1) + words(16, 32), words(16, 16)],
        ),
        {"fore_mode": 8},
    ),
    (
        display.SpiceMsgDisplayDrawText,
        pointing(
            where(),
            None,
            rect(0, 0, 4, 8),
            solid(),
            u8(0),
            u16(8) + u16(8),
            to=[u16(1) + u8(1) + GLYPH + b"abcd"],
        ),
        {"back_mode": 8},
    ),
    (
        display.SpiceMsgDisplayDrawTransparent,
        pointing(where(), None, rect(0, 0, 4, 8), words(1, 2), to=[BITMAP_IMAGE]),
        {"src_color": 1, "true_color": 2},
    ),
    (
        display.SpiceMsgDisplayDrawAlphaBlend,
        pointing(where(), u8(1) + u8(128), None, rect(0, 0, 4, 8), to=[BITMAP_IMAGE]),
        {"alpha_flags": 1, "alpha": 128},
    ),
    (
        display.SpiceMsgDisplaySurfaceCreate,
        words(0, 640, 480, 32, 1),
        {"width": 640, "format": 32, "flags": 1},
    ),
    (display.SpiceMsgDisplaySurfaceDestroy, u32(1), {"surface_id": 1}),
    (display.SpiceMsgDisplayMonitorsConfig, u16(1) + u16(4) + HEAD, {"count": 1, "max_allowed": 4}),
    (
        display.SpiceMsgDisplayDrawComposite,
        pointing(
            where(),
            u32(7 << 19),
            None,
            None,
            words(1, 2, 3, 4, 5, 6),
            words(1, 2, 3, 4, 5, 6),
            words(0, 0),
            to=[BITMAP_IMAGE, CACHED_IMAGE],
        ),
        {"flags": 7 << 19},
    ),
    (
        display.SpiceMsgDisplayDrawComposite,
        pointing(where(), u32(3), None, words(0, 0), to=[BITMAP_IMAGE]),
        {"flags": 3},
    ),
    (display.SpiceMsgDisplayStreamActivateReport, words(7, 1, 5, 1000), {"unique_id": 1}),
    (display.SpiceMsgDisplayGlScanoutUnix, words(64, 48, 256, 0x34325258, 1), {"stride": 256}),
    (display.SpiceMsgDisplayGlDraw, words(1, 2, 3, 4), {"x": 1, "h": 4}),
    (display.SpiceMsgDisplayQualityIndicator, b"good", {"indicator": b"good"}),
    (
        display.SpiceMsgcDisplayInit,
        u8(1) + u64(1 << 20) + u8(1) + u32(1 << 16),
        {"pixmap_cache_size": 1 << 20, "glz_dictionary_window_size": 1 << 16},
    ),
    (
        display.SpiceMsgcDisplayStreamReport,
        words(7, 1, 100, 200, 5, 0, -3, 0xFFFFFFFF),
        {"num_frames": 5, "last_frame_delay": -3},
    ),
    (display.SpiceMsgcDisplayPreferredCompression, u8(7), {"image_compression": 7}),
    (display.SpiceMsgcDisplayPreferredVideoCodecType, u8(2) + u8(3) + u8(1), {"codecs": [3, 1]}),
    (cursor.CursorHeader, CURSOR_HEADER, {"unique": 5, "width": 2}),
    (cursor.Cursor, u16(1), {"flags": 1, "image": b""}),
    (cursor.Cursor, u16(2) + CURSOR_HEADER + bytes(8), {"image": bytes(8)}),
    (
        cursor.SpiceMsgCursorInit,
        u16(1) + u16(2) + u16(0) + u16(0) + u8(1) + u16(1),
        {"visible": 1},
    ),
    (cursor.SpiceMsgCursorSet, u16(1) + u16(2) + u8(1) + u16(2) + CURSOR_HEADER + bytes(8), {"visible": 1}),
    (cursor.SpiceMsgCursorMove, u16(1) + u16(2), {}),
    (cursor.SpiceMsgCursorTrail, u16(1) + u16(2), {"length": 1, "frequency": 2}),
    (cursor.SpiceMsgCursorInvalOne, u64(5), {"id": 5}),
    (audio.SpiceMsgPlaybackData, u32(9) + b"pcm", {"multi_media_time": 9, "samples": b"pcm"}),
    (audio.SpiceMsgPlaybackMode, u32(9) + u16(3), {"mode": 3, "mode_data": b""}),
    (audio.SpiceMsgPlaybackStart, u32(2) + u16(1) + words(48000, 9), {"frequency": 48000}),
    (audio.SpiceMsgPlaybackVolume, u8(2) + u16(100) + u16(200), {"volume": [100, 200]}),
    (audio.SpiceMsgPlaybackMute, u8(1), {"mute": 1}),
    (audio.SpiceMsgPlaybackLatency, u32(200), {"latency_ms": 200}),
    (audio.SpiceMsgRecordStart, u32(2) + u16(1) + u32(48000), {"channels": 2}),
    (audio.SpiceMsgRecordVolume, u8(1) + u16(100), {"volume": [100]}),
    (audio.SpiceMsgRecordMute, u8(0), {"mute": 0}),
    (audio.SpiceMsgcRecordData, u32(9) + b"pcm", {"samples": b"pcm"}),
    (audio.SpiceMsgcRecordMode, u32(9) + u16(1) + b"x", {"mode": 1, "mode_data": b"x"}),
    (audio.SpiceMsgcRecordStartMark, u32(9), {"multi_media_time": 9}),
    (devices.SpiceMsgSmartcardData, words(7, 0, 4) + b"apdu", {"type": 7, "card_data": b"apdu"}),
    (devices.SpiceMsgcSmartcardData, words(5, 0, 3) + b"atr", {"type": 5, "card_data": b"atr"}),
    (
        smartcard.VSCMsgInit,
        words(1, 0, 12) + b"VSCD\0\0\0\2\0\0\0\1",
        {"magic": b"VSCD", "version": 2, "capabilities": [1]},
    ),
    (
        smartcard.VSCMsgInitLittle,
        words(1, 0, 16) + b"VSCD" + words(2, 1, 3),
        {"magic": b"VSCD", "version": 2, "capabilities": [1, 3]},
    ),
    (smartcard.VSCMsgError, words(2, 0, 4) + b"\0\0\0\2", {"code": 2}),
    (smartcard.VSCMsgErrorLittle, words(2, 0, 4, 3), {"code": 3}),
    (smartcard.VSCMsgReaderAdd, words(3, 0xFFFFFFFF, 4) + b"card", {"reader_name": b"card"}),
    (smartcard.VSCMsgReaderRemove, words(4, 1, 0), {"reader_id": 1}),
    (smartcard.VSCMsgATR, words(5, 0, 2) + b"\x3b\0", {"atr": b"\x3b\0"}),
    (smartcard.VSCMsgCardRemove, words(6, 0, 0), {"type": 6}),
    (
        smartcard.VSCMsgAPDU,
        words(7, 0, 14) + b"\0\x20\0\1\x08123456\xff\xff\0",
        {"ins": 0x20, "p2": 1, "lc": 8, "command_data": b"123456\xff\xff", "le": b"\0"},
    ),
    (
        smartcard.VSCMsgAPDUAnswer,
        words(7, 0, 5) + b"abc\x90\0",
        {"answer_data": b"abc", "sw1": 0x90, "sw2": 0},
    ),
    (smartcard.VSCMsgFlush, words(8, 0, 0), {"type": 8}),
    (smartcard.VSCMsgFlushComplete, words(9, 0, 0), {"type": 9}),
    (devices.SpiceMsgSpicevmcData, b"piece", {"carried": b"piece"}),
    (devices.SpiceMsgcSpicevmcData, b"piece", {"carried": b"piece"}),
    (
        devices.SpiceMsgSpicevmcCompressedData,
        u8(1) + u32(5) + b"\x50piece",
        {"type": 1, "uncompressed_size": 5, "compressed": b"\x50piece"},
    ),
    (devices.SpiceMsgcSpicevmcCompressedData, u8(0) + b"piece", {"type": 0, "compressed": b"piece"}),
    (
        devices.SpiceMsgPortInit,
        pointing(u32(3), None, u8(1), to=[b"p0\0"]),
        {"name_size": 3, "port_name": 9, "opened": 1},
    ),
    (devices.SpiceMsgPortEvent, u8(0), {"event": 0}),
    (devices.SpiceMsgcPortEvent, u8(2), {"event": 2}),
]


def example_of(channel: int, side: Side, number: int) -> bytes | None:
    """The body of the example of a message; None where its class is not described."""
    cls = base.body(channel, side, number)
    if cls is None:
        return None
    return next((body for row, body, _ in ROWS if row is cls), b"")
