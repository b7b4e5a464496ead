# SPDX-License-Identifier: GPL-2.0-or-later
"""One example a message, written by hand from protocol.h and spice.proto; and the links that lead to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dissect.spice import link
from dissect.spice.channels import base, inputs, main
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


KEY = bytes(range(162))


def reply(common: Iterable[int] = USUAL, *, error: int = 0, own: int = 0) -> bytes:
    """The server's link reply with one word of each kind of capability."""
    body = u32(error) + KEY + u32(1) + u32(1) + u32(178) + u32(bits(common)) + u32(own)
    return header(len(body)) + body


def error_reply(error: int) -> bytes:
    """What spice-server sends when it refuses: 194 bytes, mostly zeros."""
    return header(178) + u32(error) + bytes(174)


TICKET = b"\x5a" * 128


def linked(channel: int = 1, *, mini: bool = True, select: bool = True) -> list[Event]:
    """A link up to its result."""
    common = [AUTH_SPICE, *([MINI_HEADER] if mini else []), *([AUTH_SELECTION] if select else [])]
    return [
        (CLIENT, mess(common, channel=channel, connection=0 if channel == 1 else 4711)),
        (SERVER, reply(common)),
        (CLIENT, (u32(1) if select else b"") + TICKET),
        (SERVER, u32(0)),
    ]


def data(number: int, body: bytes, *, mini: bool = True, serial: int = 1, sub_list: int = 0) -> bytes:
    """A data message."""
    head = u16(number) + u32(len(body))
    return (head if mini else u64(serial) + head + u32(sub_list)) + body


INIT = b"".join(map(u32, (4711, 1, 3, 2, 0, 10, 123456, 7)))

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
    (main.SpiceMsgMainAgentData, b"agent", {"agent_data": b"agent"}),
    (main.SpiceMsgcMainClientInfo, u64(1 << 40), {"cache_size": 1 << 40}),
    (main.SpiceMsgcMainMouseModeRequest, u16(2), {"mode": 2}),
    (main.SpiceMsgcMainAgentStart, u32(10), {"num_tokens": 10}),
    (main.SpiceMsgcMainAgentToken, u32(10), {"num_tokens": 10}),
    (main.SpiceMsgcMainMigrateDstDoSeamless, u32(1), {"src_version": 1}),
    (main.SpiceMsgcMainAgentData, b"agent", {"agent_data": b"agent"}),
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
]


def example_of(channel: int, side: Side, number: int) -> bytes | None:
    """The body of the example of a message; None where its class is not described."""
    cls = base.body(channel, side, number)
    if cls is None:
        return None
    return next((body for row, body, _ in ROWS if row is cls), b"")
