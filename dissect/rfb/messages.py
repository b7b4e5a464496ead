# SPDX-License-Identifier: GPL-2.0-or-later
"""The messages of RFB, each described once, by its `fields_desc`. Big-endian.

Layouts: rfbproto.rst, section named in each docstring. Framing, decoding, JSON fields and the Scapy packet
all follow from these classes. To add a message to the normal phase, write its class with
`@message(Side..., number)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dissect.rfb import constants
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    FieldListField,
    IntEnumField,
    IntField,
    PacketField,
    PacketListField,
    ShortEnumField,
    ShortField,
    SignedIntEnumField,
    SignedIntField,
    StrFixedLenField,
    StrLenField,
    XByteField,
    XIntField,
)
from dissect.stream.layout import (
    FixedTextField,
    LiteralField,
    Padding,
    ProtocolPacket,
    SecretField,
    TextField,
)
from dissect.stream.side import Side

TEXT_LIMIT = 1 << 20
"""Bytes: names and reasons. Real ones have less than a hundred; what is longer is not text."""

SECURITY_TYPE_NAMES = dict(constants.SECURITY_TYPES)
ENCODING_NAMES = dict(constants.ENCODINGS)

MESSAGES: dict[Side, dict[int, type[RfbPacket]]] = {Side.CLIENT: {}, Side.SERVER: {}}
"""Message-type byte -> class, for each side of the normal phase (sides of RFB, not of TCP)."""


class RfbPacket(ProtocolPacket):
    """Base of the RFB messages."""


P = TypeVar("P", bound=type[RfbPacket])


def message(side: Side, number: int) -> Callable[[P], P]:
    """Register a class as message `number` of the normal phase, sent by `side`."""

    def register(cls: P) -> P:
        if number in MESSAGES[side]:
            raise ValueError(f"{side} message {number} is {MESSAGES[side][number].title()} already")
        MESSAGES[side][number] = cls
        return cls

    return register


def type_field(names: Mapping[int, str], number: int) -> ByteField:
    """The message-type byte: a number only, because the message is named by it."""
    assert number in names
    return ByteField("message_type", number)


# --- Handshake -----------------------------------------------------------------------------------------


class ProtocolVersion(RfbPacket):
    r"""Both sides: `RFB xxx.yyy\n`, 12 bytes. rfbproto.rst "ProtocolVersion"."""

    name = "ProtocolVersion"
    fields_desc = [
        LiteralField("magic", b"RFB "),
        FixedTextField("major", b"003", 3),
        LiteralField("dot", b"."),
        FixedTextField("minor", b"008", 3),
        LiteralField("newline", b"\n"),
    ]

    @classmethod
    def of(cls, major: int, minor: int) -> ProtocolVersion:
        return cls(major=b"%03d" % major, minor=b"%03d" % minor)


class RepeaterId(RfbPacket):
    """Client to an UltraVNC repeater (greeting 000.000): `host:port` or `ID:number`, NULs up to 250 bytes."""

    name = "RepeaterId"
    fields_desc = [FixedTextField("identity", b"", 250)]


class SecurityTypes(RfbPacket):
    """Server, 3.7 and later: what it offers; after an empty list comes `FailureReason`.

    rfbproto.rst "Security".
    """

    name = "SecurityTypes"
    fields_desc = [
        FieldLenField("number_of_security_types", None, count_of="security_types", fmt="B"),
        FieldListField(
            "security_types",
            [],
            ByteEnumField("", 0, SECURITY_TYPE_NAMES),
            count_from=lambda p: p.number_of_security_types,
            max_count=255,
        ),
    ]


class SecurityType(RfbPacket):
    """Client, 3.7 and later: its choice. rfbproto.rst "Security"."""

    name = "SecurityType"
    fields_desc = [ByteEnumField("security_type", 1, SECURITY_TYPE_NAMES)]


class SecurityType33(RfbPacket):
    """Server, 3.3: its decision, a U32; 0 is followed by `FailureReason`. rfbproto.rst "Security"."""

    name = "SecurityType"
    fields_desc = [
        IntEnumField("security_type", 1, {**SECURITY_TYPE_NAMES, constants.LEGACY_MS_LOGON: "MS-Logon"})
    ]


class FailureReason(RfbPacket):
    """Server: why it refuses. rfbproto.rst "Security" and "SecurityResult"."""

    name = "FailureReason"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("reason_length", None, length_of="reason", fmt="I"),
        TextField("reason", b"", length_from=lambda p: p.reason_length),
    ]


class VncAuthenticationChallenge(RfbPacket):
    """Server: 16 random bytes. rfbproto.rst "VNC Authentication"."""

    name = "VncAuthenticationChallenge"
    fields_desc = [StrFixedLenField("challenge", b"\0" * 16, length=16)]


class VncAuthenticationResponse(RfbPacket):
    """Client: the challenge, DES-encrypted with the password. rfbproto.rst "VNC Authentication"."""

    name = "VncAuthenticationResponse"
    fields_desc = [SecretField("response", b"\0" * 16, length=16)]


class Capability(RfbPacket):
    """CAPABILITY, 16 bytes. rfbproto.rst "Tight Security Type"."""

    name = "CAPABILITY"
    fields_desc = [
        SignedIntField("code", 0),
        FixedTextField("vendor", b"STDV", 4),
        FixedTextField("signature", b"", 8),
    ]


class TightTunnels(RfbPacket):
    """Server: the tunnels it supports. rfbproto.rst "Tight Security Type"."""

    name = "TightTunnels"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("number_of_tunnels", None, count_of="tunnels", fmt="I"),
        PacketListField("tunnels", [], Capability, count_from=lambda p: p.number_of_tunnels, max_count=65536),
    ]


class TightTunnel(RfbPacket):
    """Client: the tunnel it chose. rfbproto.rst "Tight Security Type"."""

    name = "TightTunnel"
    fields_desc = [SignedIntEnumField("code", 0, {0: "NOTUNNEL"})]


TIGHT_AUTH_TYPES = {
    1: "None",
    2: "VNC Authentication",
    19: "VeNCrypt",
    20: "SASL",
    129: "Tight Unix Login Authentication",
    130: "External Authentication",
}
"""Codes of their own, not security types. rfbproto.rst "Tight Security Type"."""


class TightAuthTypes(RfbPacket):
    """Server: ways to authenticate; none where none is needed. rfbproto.rst "Tight Security Type"."""

    name = "TightAuthTypes"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("number_of_auth_types", None, count_of="auth_types", fmt="I"),
        PacketListField(
            "auth_types", [], Capability, count_from=lambda p: p.number_of_auth_types, max_count=65536
        ),
    ]


class TightAuthType(RfbPacket):
    """Client: the way it chose. rfbproto.rst "Tight Security Type"."""

    name = "TightAuthType"
    fields_desc = [SignedIntEnumField("code", 1, TIGHT_AUTH_TYPES)]


class SecurityResult(RfbPacket):
    """Server: 0 OK, else failed; from 3.8 on a `FailureReason` follows. rfbproto.rst "SecurityResult"."""

    name = "SecurityResult"
    fields_desc = [IntEnumField("status", 0, dict(constants.SECURITY_RESULTS))]


class ClientInit(RfbPacket):
    """rfbproto.rst "ClientInit"."""

    name = "ClientInit"
    fields_desc = [ByteField("shared_flag", 1)]


class PixelFormat(RfbPacket):
    """16 bytes. rfbproto.rst "ServerInit"."""

    name = "PIXEL_FORMAT"
    fields_desc = [
        ByteField("bits_per_pixel", 32),
        ByteField("depth", 24),
        ByteField("big_endian_flag", 0),
        ByteField("true_colour_flag", 1),
        ShortField("red_max", 255),
        ShortField("green_max", 255),
        ShortField("blue_max", 255),
        ByteField("red_shift", 16),
        ByteField("green_shift", 8),
        ByteField("blue_shift", 0),
        Padding("padding", 3),
    ]


class ServerInit(RfbPacket):
    """rfbproto.rst "ServerInit"."""

    name = "ServerInit"
    limit = TEXT_LIMIT
    fields_desc = [
        ShortField("framebuffer_width", 0),
        ShortField("framebuffer_height", 0),
        PacketField("server_pixel_format", None, PixelFormat),
        FieldLenField("name_length", None, length_of="name_string", fmt="I"),
        TextField("name_string", b"", length_from=lambda p: p.name_length),
    ]


def _capabilities(name: str) -> PacketListField:
    return PacketListField(
        name, [], Capability, count_from=lambda p: getattr(p, f"number_of_{name}"), max_count=65535
    )


class TightServerInit(RfbPacket):
    """ServerInit after the Tight security type. rfbproto.rst "ServerInit"."""

    name = "ServerInit"
    limit = TEXT_LIMIT
    fields_desc = [
        *ServerInit.fields_desc,
        FieldLenField("number_of_server_messages", None, count_of="server_messages", fmt="H"),
        FieldLenField("number_of_client_messages", None, count_of="client_messages", fmt="H"),
        FieldLenField("number_of_encodings", None, count_of="encodings", fmt="H"),
        Padding("padding", 2),
        _capabilities("server_messages"),
        _capabilities("client_messages"),
        _capabilities("encodings"),
    ]


# --- Client to server ----------------------------------------------------------------------------------


@message(Side.CLIENT, 0)
class SetPixelFormat(RfbPacket):
    """rfbproto.rst "SetPixelFormat"."""

    name = "SetPixelFormat"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 0),
        Padding("padding", 3),
        PacketField("pixel_format", None, PixelFormat),
    ]


@message(Side.CLIENT, 2)
class SetEncodings(RfbPacket):
    """rfbproto.rst "SetEncodings"."""

    name = "SetEncodings"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 2),
        Padding("padding", 1),
        FieldLenField("number_of_encodings", None, count_of="encoding_types", fmt="H"),
        FieldListField(
            "encoding_types",
            [],
            SignedIntEnumField("", 0, ENCODING_NAMES),
            count_from=lambda p: p.number_of_encodings,
            max_count=65535,
        ),
    ]


@message(Side.CLIENT, 3)
class FramebufferUpdateRequest(RfbPacket):
    """rfbproto.rst "FramebufferUpdateRequest"."""

    name = "FramebufferUpdateRequest"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 3),
        ByteField("incremental", 0),
        ShortField("x_position", 0),
        ShortField("y_position", 0),
        ShortField("width", 0),
        ShortField("height", 0),
    ]


@message(Side.CLIENT, 4)
class KeyEvent(RfbPacket):
    """rfbproto.rst "KeyEvent"; `key` is an X keysym."""

    name = "KeyEvent"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 4),
        ByteField("down_flag", 0),
        Padding("padding", 2),
        XIntField("key", 0),
    ]


@message(Side.CLIENT, 5)
class PointerEvent(RfbPacket):
    """rfbproto.rst "PointerEvent"."""

    name = "PointerEvent"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 5),
        XByteField("button_mask", 0),
        ShortField("x_position", 0),
        ShortField("y_position", 0),
    ]


def _cut_text() -> list[Any]:
    return [
        SignedIntField("length", 0),
        TextField("text", b"", length_from=lambda p: abs(p.length), encoding="latin-1"),
    ]


def _extended_cut_text() -> list[Any]:
    return [
        SignedIntField("length", -4),
        XIntField("flags", 0),
        StrLenField("clipboard_data", b"", length_from=lambda p: -p.length - 4),
    ]


@message(Side.CLIENT, 6)
class ClientCutText(RfbPacket):
    """rfbproto.rst "ClientCutText"; with a length of -4 and less it is `ExtendedClientCutText`."""

    name = "ClientCutText"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 6),
        Padding("padding", 3),
        *_cut_text(),
    ]


class ExtendedClientCutText(RfbPacket):
    """What a negative length announces. rfbproto.rst "Extended Clipboard Pseudo-encoding"."""

    name = "ClientCutText"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 6),
        Padding("padding", 3),
        *_extended_cut_text(),
    ]


@message(Side.CLIENT, 150)
class EnableContinuousUpdates(RfbPacket):
    """rfbproto.rst "EnableContinuousUpdates"."""

    name = "EnableContinuousUpdates"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 150),
        ByteField("enable_flag", 0),
        ShortField("x_position", 0),
        ShortField("y_position", 0),
        ShortField("width", 0),
        ShortField("height", 0),
    ]


def _fence(number: int) -> list[Any]:
    return [
        ByteField("message_type", number),
        Padding("padding", 3),
        XIntField("flags", 0),
        FieldLenField("length", None, length_of="payload_data", fmt="B"),
        TextField("payload_data", b"", length_from=lambda p: p.length, encoding="latin-1"),
    ]


@message(Side.CLIENT, 248)
class ClientFence(RfbPacket):
    """rfbproto.rst "ClientFence"."""

    name = "ClientFence"
    fields_desc = _fence(248)


class Screen(RfbPacket):
    """One screen, 16 bytes. rfbproto.rst "SetDesktopSize"."""

    name = "SCREEN"
    fields_desc = [
        XIntField("id", 0),
        ShortField("x_position", 0),
        ShortField("y_position", 0),
        ShortField("width", 0),
        ShortField("height", 0),
        XIntField("flags", 0),
    ]


XVP_CODES = {0: "XVP_FAIL", 1: "XVP_INIT", 2: "XVP_SHUTDOWN", 3: "XVP_REBOOT", 4: "XVP_RESET"}


def _xvp() -> list[Any]:
    return [
        ByteField("message_type", 250),
        Padding("padding", 1),
        ByteField("xvp_extension_version", 1),
        ByteEnumField("xvp_message_code", 1, XVP_CODES),
    ]


@message(Side.CLIENT, 250)
class XvpClientMessage(RfbPacket):
    """rfbproto.rst "xvp Client Message"."""

    name = "xvpClientMessage"
    fields_desc = _xvp()


@message(Side.CLIENT, 251)
class SetDesktopSize(RfbPacket):
    """rfbproto.rst "SetDesktopSize"."""

    name = "SetDesktopSize"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 251),
        Padding("padding1", 1),
        ShortField("width", 0),
        ShortField("height", 0),
        FieldLenField("number_of_screens", None, count_of="screens", fmt="B"),
        Padding("padding2", 1),
        PacketListField("screens", [], Screen, count_from=lambda p: p.number_of_screens, max_count=255),
    ]


class ExtendedPointerEvent(RfbPacket):
    """PointerEvent with its marker bit set. rfbproto.rst "PointerEvent" and "ExtendedMouseButtons"."""

    name = "PointerEvent"
    fields_desc = [*PointerEvent.fields_desc, XByteField("extended_button_mask", 0)]


QEMU_AUDIO = 1
QEMU_CLIENT_SUBTYPES = {0: "Extended Key Event", QEMU_AUDIO: "Audio"}


class QemuExtendedKeyEvent(RfbPacket):
    """rfbproto.rst "QEMU Extended Key Event Message"."""

    name = "QEMUExtendedKeyEvent"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 255),
        ByteEnumField("submessage_type", 0, QEMU_CLIENT_SUBTYPES),
        ShortField("down_flag", 0),
        XIntField("keysym", 0),
        XIntField("keycode", 0),
    ]


QEMU_AUDIO_CLIENT_OPERATIONS = {0: "enable", 1: "disable", 2: "set format"}
QEMU_SAMPLE_FORMATS = {0: "U8", 1: "S8", 2: "U16", 3: "S16", 4: "U32", 5: "S32"}


def _sets_format(packet: Any) -> bool:
    return bool(packet.operation == 2)


class QemuAudioClientMessage(RfbPacket):
    """rfbproto.rst "QEMU Audio Client Message"."""

    name = "QEMUAudioClientMessage"
    fields_desc = [
        type_field(constants.CLIENT_MESSAGES, 255),
        ByteEnumField("submessage_type", 1, QEMU_CLIENT_SUBTYPES),
        ShortEnumField("operation", 0, QEMU_AUDIO_CLIENT_OPERATIONS),
        ConditionalField(ByteEnumField("sample_format", 0, QEMU_SAMPLE_FORMATS), _sets_format),
        ConditionalField(ByteField("nchannels", 2), _sets_format),
        ConditionalField(IntField("frequency", 44100), _sets_format),
    ]


QEMU_CLIENT_MESSAGES: Mapping[int, type[RfbPacket]] = {0: QemuExtendedKeyEvent, 1: QemuAudioClientMessage}
"""Submessage type -> class of client message 255."""


# --- Server to client ----------------------------------------------------------------------------------


class FramebufferUpdateHeader(RfbPacket):
    """The first four bytes of FramebufferUpdate. rfbproto.rst "FramebufferUpdate"."""

    name = "FramebufferUpdate"
    fields_desc = [
        type_field(constants.SERVER_MESSAGES, 0),
        Padding("padding", 1),
        ShortField("number_of_rectangles", 0),
    ]


class RectangleHeader(RfbPacket):
    """The first twelve bytes of each rectangle. rfbproto.rst "FramebufferUpdate"."""

    name = "Rectangle"
    fields_desc = [
        ShortField("x_position", 0),
        ShortField("y_position", 0),
        ShortField("width", 0),
        ShortField("height", 0),
        SignedIntEnumField("encoding_type", 0, ENCODING_NAMES),
    ]


class Colour(RfbPacket):
    """6 bytes. rfbproto.rst "SetColourMapEntries"."""

    name = "Colour"
    fields_desc = [ShortField("red", 0), ShortField("green", 0), ShortField("blue", 0)]


@message(Side.SERVER, 1)
class SetColourMapEntries(RfbPacket):
    """rfbproto.rst "SetColourMapEntries"."""

    name = "SetColourMapEntries"
    fields_desc = [
        type_field(constants.SERVER_MESSAGES, 1),
        Padding("padding", 1),
        ShortField("first_colour", 0),
        FieldLenField("number_of_colours", None, count_of="colours", fmt="H"),
        PacketListField("colours", [], Colour, count_from=lambda p: p.number_of_colours, max_count=65535),
    ]


@message(Side.SERVER, 2)
class Bell(RfbPacket):
    """rfbproto.rst "Bell"."""

    name = "Bell"
    fields_desc = [type_field(constants.SERVER_MESSAGES, 2)]


@message(Side.SERVER, 3)
class ServerCutText(RfbPacket):
    """rfbproto.rst "ServerCutText"; with a length of -4 and less it is `ExtendedServerCutText`."""

    name = "ServerCutText"
    fields_desc = [
        type_field(constants.SERVER_MESSAGES, 3),
        Padding("padding", 3),
        *_cut_text(),
    ]


class ExtendedServerCutText(RfbPacket):
    """What a negative length announces. rfbproto.rst "Extended Clipboard Pseudo-encoding"."""

    name = "ServerCutText"
    fields_desc = [
        type_field(constants.SERVER_MESSAGES, 3),
        Padding("padding", 3),
        *_extended_cut_text(),
    ]


@message(Side.SERVER, 150)
class EndOfContinuousUpdates(RfbPacket):
    """rfbproto.rst "EndOfContinuousUpdates"."""

    name = "EndOfContinuousUpdates"
    fields_desc = [type_field(constants.SERVER_MESSAGES, 150)]


@message(Side.SERVER, 248)
class ServerFence(RfbPacket):
    """rfbproto.rst "ServerFence"."""

    name = "ServerFence"
    fields_desc = _fence(248)


@message(Side.SERVER, 250)
class XvpServerMessage(RfbPacket):
    """rfbproto.rst "xvp Server Message"."""

    name = "xvpServerMessage"
    fields_desc = _xvp()


QEMU_AUDIO_SERVER_OPERATIONS = {0: "end", 1: "begin", 2: "data"}


def _carries_data(packet: Any) -> bool:
    return bool(packet.operation == 2)


@message(Side.SERVER, 255)
class QemuAudioServerMessage(RfbPacket):
    """rfbproto.rst "QEMU Audio Server Message", the only QEMU server message there is."""

    name = "QEMUAudioServerMessage"
    fields_desc = [
        type_field(constants.SERVER_MESSAGES, 255),
        ByteEnumField("submessage_type", QEMU_AUDIO, {QEMU_AUDIO: "Audio"}),
        ShortEnumField("operation", 0, QEMU_AUDIO_SERVER_OPERATIONS),
        ConditionalField(FieldLenField("data_length", None, length_of="audio", fmt="I"), _carries_data),
        ConditionalField(StrLenField("audio", b"", length_from=lambda p: p.data_length), _carries_data),
    ]
