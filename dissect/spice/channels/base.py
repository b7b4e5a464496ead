# SPDX-License-Identifier: GPL-2.0-or-later
"""Data headers, the registry of message bodies, and the messages that every channel has.

To add a message, write its body's class with the standard name in `name`: that name says which channel, side
and number it is (`constants.MESSAGES`), and everything else follows. Layouts: `spice.proto`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from dissect.spice import constants
from dissect.spice.fields import BodyLayout, LEIntFlagsField, SpicePacket
from dissect.stream.fields import (
    ByteField,
    FieldLenField,
    FieldListField,
    LEIntEnumField,
    LEIntField,
    LELongField,
    LEShortField,
    PacketListField,
)
from dissect.stream.layout import ProtocolPacket, RestField, TextField
from dissect.stream.side import Side

Key = tuple[int, Side, int]
"""Channel type (`constants.COMMON` for every channel), side, message type."""


class SpiceMiniDataHeader(ProtocolPacket):
    """6 bytes before each body where both sides announced MINI_HEADER. protocol.h."""

    name = "SpiceMiniDataHeader"
    fields_desc = [LEShortField("message_type", 0), LEIntField("message_size", 0)]


class SpiceDataHeader(ProtocolPacket):
    """18 bytes before each body otherwise. protocol.h."""

    name = "SpiceDataHeader"
    fields_desc = [
        LELongField("message_serial", 1),
        LEShortField("message_type", 0),
        LEIntField("message_size", 0),
        LEIntField("sub_list", 0),
    ]


BODIES: dict[Key, type[SpiceMessage]] = {}
"""Where each body's class is found."""

_KEYS: dict[str, list[Key]] = {}
for _channel, _sides in constants.MESSAGES.items():
    for _side, _numbers in _sides.items():
        for _number, _name in _numbers.items():
            _KEYS.setdefault(_name, []).append((_channel, _side, _number))


class SpiceMessage(SpicePacket):
    """Base of every message body. A subclass with a standard `name` is registered by it."""

    _maker = BodyLayout
    keys: ClassVar[tuple[Key, ...]] = ()
    most: ClassVar[int] = 1 << 27
    """Bytes of a body that is taken apart; a longer one is named and passed over by its size."""
    usual: ClassVar[int] = 1 << 27
    """Bytes of a body at most, of all that programs send; a longer one's size is doubted."""

    @classmethod
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.keys = tuple(_KEYS.get(cls.title(), ()))
        for key in cls.keys:
            if key in BODIES:
                raise ValueError(f"{cls.title()} is described twice")
            BODIES[key] = cls


def body(channel: int, side: Side, number: int) -> type[SpiceMessage] | None:
    """The class of a message body, or None where it is not described yet."""
    return BODIES.get((channel, side, number)) or BODIES.get((constants.COMMON, side, number))


def empty(*names: str) -> None:
    """Describe messages that have no body."""
    for name in names:
        words = name.removeprefix("SPICE_").title().replace("_", "")
        type(f"Spice{words}", (SpiceMessage,), {"name": name, "fields_desc": [], "__module__": __name__})


class SpiceMsgSetAck(SpiceMessage):
    """Server: acknowledge every `window` messages from now on."""

    name = "SPICE_MSG_SET_ACK"
    fields_desc = [LEIntField("generation", 1), LEIntField("window", 0)]


class SpiceMsgPing(SpiceMessage):
    """Server: answer with PONG. The data, up to 250 KiB, only measures the line."""

    name = "SPICE_MSG_PING"
    usual = 12 + 250 * 1024
    fields_desc = [LEIntField("id", 0), LELongField("timestamp", 0), RestField("ping_data", b"")]


class SpiceMsgMigrate(SpiceMessage):
    """Server: the channel moves to another host."""

    name = "SPICE_MSG_MIGRATE"
    fields_desc = [LEIntFlagsField("flags", 0, constants.MIGRATE_FLAGS)]


class SpiceMsgMigrateData(SpiceMessage):
    """Server: state for the other host, opaque to the client."""

    name = "SPICE_MSG_MIGRATE_DATA"
    fields_desc = [RestField("migrate_data", b"")]


class ChannelWait(ProtocolPacket):
    """Which message of which channel to wait for."""

    name = "ChannelWait"
    fields_desc = [ByteField("channel_type", 0), ByteField("channel_id", 0), LELongField("message_serial", 0)]


class SpiceMsgWaitForChannels(SpiceMessage):
    """Server: go on only when these messages of other channels are done."""

    name = "SPICE_MSG_WAIT_FOR_CHANNELS"
    fields_desc = [
        FieldLenField("wait_count", None, count_of="wait_list", fmt="B"),
        PacketListField("wait_list", [], ChannelWait, count_from=lambda p: p.wait_count, max_count=255),
    ]


def _disconnecting() -> list[Any]:
    return [LELongField("time_stamp", 0), LEIntEnumField("reason", 0, dict(constants.LINK_ERRORS))]


class SpiceMsgDisconnecting(SpiceMessage):
    """Server: it will close, and why."""

    name = "SPICE_MSG_DISCONNECTING"
    fields_desc = _disconnecting()


class SpiceMsgNotify(SpiceMessage):
    """Server: a message for the user."""

    name = "SPICE_MSG_NOTIFY"
    fields_desc = [
        LELongField("time_stamp", 0),
        LEIntEnumField("severity", 0, dict(constants.NOTIFY_SEVERITIES)),
        LEIntEnumField("visibility", 0, dict(constants.NOTIFY_VISIBILITIES)),
        LEIntField("what", 0),
        FieldLenField("message_len", None, length_of="message", fmt="<I"),
        TextField("message", b"", length_from=lambda p: p.message_len),
        RestField("after_message", b""),
    ]


class SpiceMsgList(SpiceMessage):
    """Server: nothing but a list of sub-messages: how many, where each begins, then they themselves."""

    name = "SPICE_MSG_LIST"
    fields_desc = [
        FieldLenField("size", None, count_of="sub_messages", fmt="<H"),
        FieldListField("sub_messages", [], LEIntField("", 0), count_from=lambda p: p.size, max_count=65535),
        RestField("listed", b""),
    ]


class SpiceSubMessage(SpicePacket):
    """6 bytes before each body in a list. protocol.h."""

    name = "SpiceSubMessage"
    fields_desc = [LEShortField("type", 0), LEIntField("size", 0)]


class SpiceSubMessageList(SpicePacket):
    """How many sub-messages, and the offset of each from the first byte of the body. protocol.h."""

    name = "SpiceSubMessageList"
    fields_desc = [
        FieldLenField("size", None, count_of="sub_messages", fmt="<H"),
        FieldListField("sub_messages", [], LEIntField("", 0), count_from=lambda p: p.size, max_count=65535),
    ]


class SpiceMsgcAckSync(SpiceMessage):
    """Client: SET_ACK received; counting begins."""

    name = "SPICE_MSGC_ACK_SYNC"
    fields_desc = [LEIntField("generation", 1)]


class SpiceMsgcPong(SpiceMessage):
    """Client: the PING's id and timestamp."""

    name = "SPICE_MSGC_PONG"
    fields_desc = [LEIntField("id", 0), LELongField("timestamp", 0)]


class SpiceMsgcMigrateData(SpiceMessage):
    """Client: the state that the server gave, to the other host."""

    name = "SPICE_MSGC_MIGRATE_DATA"
    fields_desc = [RestField("migrate_data", b"")]


class SpiceMsgcDisconnecting(SpiceMessage):
    """Client: it will close, and why."""

    name = "SPICE_MSGC_DISCONNECTING"
    fields_desc = _disconnecting()


empty("SPICE_MSG_BASE_LAST", "SPICE_MSGC_ACK", "SPICE_MSGC_MIGRATE_FLUSH_MARK")
