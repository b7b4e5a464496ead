# SPDX-License-Identifier: GPL-2.0-or-later
"""The main channel. Layouts: `spice.proto`, MainChannel."""

from __future__ import annotations

from typing import Any

from dissect.spice import constants
from dissect.spice.channels.base import SpiceMessage, empty
from dissect.spice.fields import PointedField, PointerField
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    FieldLenField,
    LEIntEnumField,
    LEIntField,
    LELongField,
    LEShortEnumField,
    LEShortField,
    PacketListField,
    StrFixedLenField,
)
from dissect.stream.layout import ProtocolPacket, RestField, TextField


class SpiceMsgMainInit(SpiceMessage):
    """Server, first on the main channel: the session id that every other channel must name."""

    name = "SPICE_MSG_MAIN_INIT"
    fields_desc = [
        LEIntField("session_id", 0),
        LEIntField("display_channels_hint", 1),
        LEIntEnumField("supported_mouse_modes", 3, dict(constants.MOUSE_MODES)),
        LEIntEnumField("current_mouse_mode", 1, dict(constants.MOUSE_MODES)),
        LEIntField("agent_connected", 0),
        LEIntField("agent_tokens", 10),
        LEIntField("multi_media_time", 0),
        LEIntField("ram_hint", 0),
    ]


class ChannelId(ProtocolPacket):
    """One channel that the server has."""

    name = "ChannelId"
    fields_desc = [ByteEnumField("type", 1, dict(constants.CHANNEL_TYPES)), ByteField("id", 0)]


class SpiceMsgMainChannelsList(SpiceMessage):
    """Server: which channels the client may open."""

    name = "SPICE_MSG_MAIN_CHANNELS_LIST"
    fields_desc = [
        FieldLenField("num_of_channels", None, count_of="channels", fmt="<I"),
        PacketListField("channels", [], ChannelId, count_from=lambda p: p.num_of_channels, max_count=65536),
    ]


class SpiceMsgMainMouseMode(SpiceMessage):
    """Server: how pointer motion is to be sent."""

    name = "SPICE_MSG_MAIN_MOUSE_MODE"
    fields_desc = [
        LEShortEnumField("supported_modes", 3, dict(constants.MOUSE_MODES)),
        LEShortEnumField("current_mode", 1, dict(constants.MOUSE_MODES)),
    ]


class SpiceMsgMainMultiMediaTime(SpiceMessage):
    """Server: its multimedia clock, ms."""

    name = "SPICE_MSG_MAIN_MULTI_MEDIA_TIME"
    fields_desc = [LEIntField("multi_media_time", 0)]


class SpiceMsgMainAgentDisconnected(SpiceMessage):
    """Server: the guest's agent is gone."""

    name = "SPICE_MSG_MAIN_AGENT_DISCONNECTED"
    fields_desc = [LEIntEnumField("error_code", 0, dict(constants.LINK_ERRORS))]


def _tokens() -> list[Any]:
    return [LEIntField("num_tokens", 0)]


class SpiceMsgMainAgentToken(SpiceMessage):
    """Server: the client may send so many more agent messages."""

    name = "SPICE_MSG_MAIN_AGENT_TOKEN"
    fields_desc = _tokens()


class SpiceMsgMainAgentConnectedTokens(SpiceMessage):
    """Server: an agent is there, and how many messages it may be sent."""

    name = "SPICE_MSG_MAIN_AGENT_CONNECTED_TOKENS"
    fields_desc = _tokens()


class SpiceMsgMainName(SpiceMessage):
    """Server: the guest's name."""

    name = "SPICE_MSG_MAIN_NAME"
    fields_desc = [
        FieldLenField("name_len", None, length_of="guest_name", fmt="<I"),
        TextField("guest_name", b"", length_from=lambda p: p.name_len),
    ]


class SpiceMsgMainUuid(SpiceMessage):
    """Server: the guest's UUID."""

    name = "SPICE_MSG_MAIN_UUID"
    fields_desc = [StrFixedLenField("uuid", b"\0" * 16, length=16)]


class SpiceMsgcMainClientInfo(SpiceMessage):
    """Client: its cache size."""

    name = "SPICE_MSGC_MAIN_CLIENT_INFO"
    fields_desc = [LELongField("cache_size", 0)]


class SpiceMsgcMainMouseModeRequest(SpiceMessage):
    """Client: the pointer mode it would like."""

    name = "SPICE_MSGC_MAIN_MOUSE_MODE_REQUEST"
    fields_desc = [LEShortEnumField("mode", 2, dict(constants.MOUSE_MODES))]


class SpiceMsgcMainAgentStart(SpiceMessage):
    """Client: it will talk to the agent; the server may send so many messages."""

    name = "SPICE_MSGC_MAIN_AGENT_START"
    fields_desc = _tokens()


class SpiceMsgcMainAgentToken(SpiceMessage):
    """Client: the server may send so many more agent messages."""

    name = "SPICE_MSGC_MAIN_AGENT_TOKEN"
    fields_desc = _tokens()


class SpiceMsgcMainMigrateDstDoSeamless(SpiceMessage):
    """Client, to the target of a migration: the source's version."""

    name = "SPICE_MSGC_MAIN_MIGRATE_DST_DO_SEAMLESS"
    fields_desc = [LEIntField("src_version", 0)]


class SpiceMsgMainAgentData(SpiceMessage):
    """Server: a piece of the agent's stream, at most 2,048 bytes; not put together yet."""

    name = "SPICE_MSG_MAIN_AGENT_DATA"
    fields_desc = [RestField("agent_data", b"")]


class SpiceMsgcMainAgentData(SpiceMessage):
    """Client: a piece of its stream to the agent, at most 2,048 bytes; not put together yet."""

    name = "SPICE_MSGC_MAIN_AGENT_DATA"
    fields_desc = [RestField("agent_data", b"")]


def _destination(*, host_required: bool = True) -> list[Any]:
    """Where the guest goes: ports (0: none), host and the subject of its certificate, each with its NUL."""
    return [
        LEShortField("port", 0),
        LEShortField("sport", 0),
        LEIntField("host_size", 0),
        PointerField(
            "host_data",
            TextField("host_data", b"", length_from=lambda p: p.host_size),
            required=host_required,
        ),
        LEIntField("cert_subject_size", 0),
        PointerField(
            "cert_subject_data",
            TextField("cert_subject_data", b"", length_from=lambda p: p.cert_subject_size),
        ),
    ]


class SpiceMsgMainMigrateBegin(SpiceMessage):
    """Server: the guest will move; connect there and say whether that worked."""

    name = "SPICE_MSG_MAIN_MIGRATE_BEGIN"
    fields_desc = [*_destination(), PointedField("pointed_to", b"")]


class SpiceMsgMainMigrateSwitchHost(SpiceMessage):
    """Server: the guest has moved; go there."""

    name = "SPICE_MSG_MAIN_MIGRATE_SWITCH_HOST"
    fields_desc = [*_destination(host_required=False), PointedField("pointed_to", b"")]


class SpiceMsgMainMigrateBeginSeamless(SpiceMessage):
    """Server: the guest will move with all that its channels know (capability SEAMLESS_MIGRATE)."""

    name = "SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS"
    fields_desc = [*_destination(), LEIntField("src_mig_version", 1), PointedField("pointed_to", b"")]


class SpiceMsgcMainQualityIndicator(SpiceMessage):
    """Client: opaque to spice.proto."""

    name = "SPICE_MSGC_MAIN_QUALITY_INDICATOR"
    fields_desc = [RestField("indicator", b"")]


empty(
    "SPICE_MSG_MAIN_MIGRATE_CANCEL",
    "SPICE_MSG_MAIN_AGENT_CONNECTED",
    "SPICE_MSG_MAIN_MIGRATE_END",
    "SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_ACK",
    "SPICE_MSG_MAIN_MIGRATE_DST_SEAMLESS_NACK",
    "SPICE_MSGC_MAIN_MIGRATE_CONNECTED",
    "SPICE_MSGC_MAIN_MIGRATE_CONNECT_ERROR",
    "SPICE_MSGC_MAIN_ATTACH_CHANNELS",
    "SPICE_MSGC_MAIN_MIGRATE_END",
    "SPICE_MSGC_MAIN_MIGRATE_CONNECTED_SEAMLESS",
)
