# SPDX-License-Identifier: GPL-2.0-or-later
"""Optional messages of the normal phase: UltraVNC's, PalmVNC's, gii, MirrorLink. Registered when imported.

Layouts: rfbproto.rst where a section is named, else the rfbproto.h of UltraVNC and libvncserver. `UNREAD`
says of the registered messages without a class what they are and why they cannot be framed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissect.rfb.messages import Colour, RfbPacket, message
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    IntEnumField,
    IntField,
    PacketListField,
    ShortField,
    StrLenField,
    XByteField,
)
from dissect.stream.layout import Padding, TextField
from dissect.stream.side import Side

FILE_TRANSFER_LIMIT = 1 << 24
"""Bytes of one FileTransfer message; programs send 8 KiB at a time."""


@message(Side.CLIENT, 1)
class FixColourMapEntries(RfbPacket):
    """Never implemented; as SetColourMapEntries. UltraVNC rfbproto.h."""

    name = "FixColourMapEntries"
    fields_desc = [
        ByteField("message_type", 1),
        Padding("padding", 1),
        ShortField("first_colour", 0),
        FieldLenField("number_of_colours", None, count_of="colours", fmt="H"),
        PacketListField("colours", [], Colour, count_from=lambda p: p.number_of_colours, max_count=65535),
    ]


# --- UltraVNC: file transfer ----------------------------------------------------------------------------

FILE_CONTENTS = {
    1: "DirContentRequest",
    2: "DirPacket",
    3: "FileTransferRequest",
    4: "FileHeader",
    5: "FilePacket",
    6: "EndOfFile",
    7: "AbortFileTransfer",
    8: "FileTransferOffer",
    9: "FileAcceptHeader",
    10: "Command",
    11: "CommandReturn",
    12: "FileChecksums",
    14: "FileTransferAccess",
    15: "FileTransferSessionStart",
    16: "FileTransferSessionEnd",
    17: "FileTransferProtocolVersion",
}


def _file_transfer(with_high: int) -> list[Any]:
    """`with_high`: the content after which the upper half of a file's size follows."""
    return [
        ByteField("message_type", 7),
        ByteEnumField("content_type", 0, FILE_CONTENTS),
        ShortField("content_param", 0),
        IntField("size", 0),
        FieldLenField("length", None, length_of="payload_data", fmt="I"),
        TextField("payload_data", b"", length_from=lambda p: p.length, encoding="latin-1"),
        ConditionalField(IntField("size_high", 0), lambda p: p.content_type == with_high),
    ]


@message(Side.CLIENT, 7)
class ClientFileTransfer(RfbPacket):
    """UltraVNC rfbproto.h rfbFileTransferMsg; `size` is a size, an index or an error by content."""

    name = "FileTransfer"
    limit = FILE_TRANSFER_LIMIT
    fields_desc = _file_transfer(8)


@message(Side.SERVER, 7)
class ServerFileTransfer(RfbPacket):
    """The same from the server. UltraVNC rfbproto.h rfbFileTransferMsg."""

    name = "FileTransfer"
    limit = FILE_TRANSFER_LIMIT
    fields_desc = _file_transfer(4)


# --- UltraVNC: chat and the rest ------------------------------------------------------------------------

CHAT = {0xFFFFFFFF: "open", 0xFFFFFFFE: "close", 0xFFFFFFFD: "finished"}


def _text_chat() -> list[Any]:
    return [
        ByteField("message_type", 11),
        Padding("padding", 3),
        IntEnumField("length", 0, CHAT, counts=True),
        # The viewer that was seen to chat sends UTF-8; older ones what their code page is.
        TextField(
            "text",
            b"",
            length_from=lambda p: 0 if p.length in CHAT else p.length,
            encoding="utf-8",
            otherwise="latin-1",
        ),
    ]


@message(Side.CLIENT, 11)
class ClientTextChat(RfbPacket):
    """UltraVNC rfbproto.h rfbTextChatMsg; three lengths are commands without text."""

    name = "TextChat"
    limit = 1 << 16
    fields_desc = _text_chat()


@message(Side.SERVER, 11)
class ServerTextChat(RfbPacket):
    """The same from the server. UltraVNC rfbproto.h rfbTextChatMsg."""

    name = "TextChat"
    limit = 1 << 16
    fields_desc = _text_chat()


@message(Side.CLIENT, 8)
class SetScale(RfbPacket):
    """UltraVNC rfbproto.h rfbSetScaleMsg: the screen is to be 1 / `scale` of its size."""

    name = "SetScale"
    fields_desc = [ByteField("message_type", 8), ByteField("scale", 1), Padding("padding", 2)]


@message(Side.CLIENT, 15)
class SetScaleFactor(RfbPacket):
    """PalmVNC's SetScale. UltraVNC rfbproto.h rfbPalmVNCSetScaleFactorMsg."""

    name = "SetScaleFactor"
    fields_desc = [ByteField("message_type", 15), ByteField("scale", 1), Padding("padding", 2)]


@message(Side.CLIENT, 9)
class SetServerInput(RfbPacket):
    """UltraVNC rfbproto.h rfbSetServerInputMsg: keyboard and mouse of the server itself."""

    name = "SetServerInput"
    fields_desc = [ByteField("message_type", 9), ByteField("status", 0), Padding("padding", 2)]


@message(Side.CLIENT, 10)
class SetSingleWindow(RfbPacket):
    """UltraVNC rfbproto.h rfbSetSWMsg: show only the window at this place."""

    name = "SetSW"
    fields_desc = [
        ByteField("message_type", 10),
        ByteField("status", 0),
        ShortField("x_position", 0),
        ShortField("y_position", 0),
    ]


@message(Side.CLIENT, 12)
class KeyFrameRequest(RfbPacket):
    """UltraVNC rfbproto.h, builds with video: the next update shall be a key frame."""

    name = "KeyFrameRequest"
    fields_desc = [ByteField("message_type", 12)]


@message(Side.SERVER, 5)
class KeyFrameUpdate(RfbPacket):
    """UltraVNC rfbproto.h rfbKeyFrameUpdateMsg: the next update is a key frame."""

    name = "KeyFrameUpdate"
    fields_desc = [ByteField("message_type", 5)]


@message(Side.CLIENT, 13)
class ClientKeepAlive(RfbPacket):
    """UltraVNC rfbproto.h rfbKeepAliveMsg."""

    name = "KeepAlive"
    fields_desc = [ByteField("message_type", 13)]


@message(Side.SERVER, 13)
class ServerKeepAlive(RfbPacket):
    """UltraVNC rfbproto.h rfbKeepAliveMsg."""

    name = "KeepAlive"
    fields_desc = [ByteField("message_type", 13)]


@message(Side.CLIENT, 20)
class RequestSession(RfbPacket):
    """UltraVNC rfbproto.h rfbRequestSessionMsg."""

    name = "RequestSession"
    fields_desc = [ByteField("message_type", 20)]


@message(Side.CLIENT, 21)
class SetSession(RfbPacket):
    """UltraVNC rfbproto.h rfbSetSessionMsg."""

    name = "SetSession"
    fields_desc = [ByteField("message_type", 21), ByteField("number", 0)]


@message(Side.CLIENT, 80)
class NotifyPluginStreaming(RfbPacket):
    """UltraVNC rfbproto.h rfbNotifyPluginStreamingMsg: from here on its plugin may encrypt."""

    name = "NotifyPluginStreaming"
    fields_desc = [ByteField("message_type", 80), Padding("padding", 1), ShortField("flags", 0)]


@message(Side.SERVER, 4)
class ResizeFrameBuffer(RfbPacket):
    """UltraVNC rfbproto.h rfbResizeFrameBufferMsg."""

    name = "ResizeFrameBuffer"
    fields_desc = [
        ByteField("message_type", 4),
        Padding("padding", 1),
        ShortField("framebuffer_width", 0),
        ShortField("framebuffer_height", 0),
    ]


@message(Side.SERVER, 15)
class PalmResizeFrameBuffer(RfbPacket):
    """PalmVNC's. UltraVNC rfbproto.h rfbPalmVNCReSizeFrameBufferMsg."""

    name = "PalmVNCReSizeFrameBuffer"
    fields_desc = [
        ByteField("message_type", 15),
        Padding("padding1", 1),
        ShortField("desktop_width", 0),
        ShortField("desktop_height", 0),
        ShortField("framebuffer_width", 0),
        ShortField("framebuffer_height", 0),
        Padding("padding2", 2),
    ]


SERVER_STATES = {1: "RemoteInputsState", 2: "KeepAliveInterval", 3: "IdleInputTimeout"}


@message(Side.SERVER, 173)
class ServerState(RfbPacket):
    """UltraVNC rfbproto.h rfbServerStateMsg."""

    name = "ServerState"
    fields_desc = [
        ByteField("message_type", 173),
        Padding("padding", 3),
        IntEnumField("state", 1, SERVER_STATES),
        IntField("value", 0),
    ]


# --- gii ------------------------------------------------------------------------------------------------


def _gii(little: bool) -> list[Any]:
    """A gii message: its length, and all that follows, are of the byte order that its second byte gives."""
    length = FieldLenField("length", None, length_of="payload_data", fmt="<H" if little else "H")
    return [
        ByteField("message_type", 253),
        XByteField("endian_and_sub_type", 1 if little else 129),
        length,
        StrLenField("payload_data", b"", length_from=lambda p: p.length),
    ]


class GiiBigEndian(RfbPacket):
    """Both sides. rfbproto.rst "gii Client Message" and "gii Server Message"."""

    name = "giiMessage"
    fields_desc = _gii(little=False)


class GiiLittleEndian(RfbPacket):
    """The same with the lowest byte first. rfbproto.rst "gii Client Message" and "gii Server Message"."""

    name = "giiMessage"
    fields_desc = _gii(little=True)


# --- MirrorLink -----------------------------------------------------------------------------------------

MIRRORLINK = {
    0: "ByeBye",
    1: "Server Display Configuration",
    2: "Client Display Configuration",
    3: "Server Event Configuration",
    4: "Client Event Configuration",
    5: "Event Mapping",
    6: "Event Mapping Request",
    7: "Key Event Listing",
    8: "Key Event Listing Request",
    9: "Virtual Keyboard Trigger",
    10: "Virtual Keyboard Trigger Request",
    11: "Device Status",
    12: "Device Status Request",
    13: "Content Attestation Response",
    14: "Content Attestation Request",
    16: "Framebuffer Blocking Notification",
    18: "Audio Blocking Notification",
    20: "Touch Event",
    21: "Framebuffer Alternative Text",
    22: "Framebuffer Alternative Text Request",
}


def _mirrorlink() -> list[Any]:
    return [
        ByteField("message_type", 128),
        ByteEnumField("extension_type", 0, MIRRORLINK),
        FieldLenField("length", None, length_of="payload_data", fmt="H"),
        StrLenField("payload_data", b"", length_from=lambda p: p.length),
    ]


@message(Side.CLIENT, 128)
class ClientMirrorLink(RfbPacket):
    """Car Connectivity: an extension type and a length. As Wireshark reads it."""

    name = "MirrorLink"
    fields_desc = _mirrorlink()


@message(Side.SERVER, 128)
class ServerMirrorLink(RfbPacket):
    """The same from the server. As Wireshark reads it."""

    name = "MirrorLink"
    fields_desc = _mirrorlink()


# --- What has no class ----------------------------------------------------------------------------------

_ULTRA = "possibly used in UltraVNC; nothing of it is published, not even its length"
_VMWARE = "VMware has not published it, and its length is not known"
_OLIVE = "OLIVE Call Control is not published, and its length is not known"

UNREAD: Mapping[Side, Mapping[int, str]] = {
    Side.CLIENT: {
        14: _ULTRA,
        **dict.fromkeys(range(16, 20), _ULTRA),
        127: _VMWARE,
        249: _OLIVE,
    },
    Side.SERVER: {
        6: _ULTRA,
        **dict.fromkeys(range(8, 11), _ULTRA),
        12: _ULTRA,
        14: _ULTRA,
        127: _VMWARE,
        249: _OLIVE,
    },
}
"""Registered messages that are not read, and why; 252 and 254 have more than one meaning: `clash`."""


def clash(side: Side, number: int, *, announced: set[int], encodings: set[int]) -> str:
    """Which of its meanings message 252 or 254 has here, and why it is not read.

    `announced`: the codes of the capabilities of a Tight ServerInit; `encodings`: those of SetEncodings.
    """
    vmware = any(0x574D5600 <= one <= 0x574D56FF for one in encodings)
    ultra = 0xFFFF8005 - (1 << 32) in encodings or 0xFFFF8000 - (1 << 32) in encodings
    if number == 252:
        if number in announced:
            return "TightVNC's, as the server's capabilities say, but not of its file transfer"
        if ultra:
            return "UltraVNC's MonitorInfo, as the client's encodings say; its length is not certain"
        return "TightVNC's file transfer or UltraVNC's MonitorInfo; neither was announced"
    if vmware and not ultra:
        return f"VMware's, as the client's encodings say: {_VMWARE}"
    if ultra and not vmware:
        return "UltraVNC's SetMonitor, as the client's encodings say; its length is not certain"
    return "VMware's or UltraVNC's SetMonitor; nothing says which"
