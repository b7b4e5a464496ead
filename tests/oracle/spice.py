# SPDX-License-Identifier: GPL-2.0-or-later
"""SPICE: which of our fields is which of tshark's, and where tshark (4.0) is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dissect.spice import constants
from dissect.stream import Side
from dissect.stream.records import Message
from tests.oracle.compare import Case, Reason, Table, at, plain

Ours = str | Callable[[Message], Sequence[Any]]


def _bit(words: str, bit: int) -> Callable[[Message], Sequence[Any]]:
    return lambda message: [word >> bit & 1 for word in message[words][:1]]


def _own(channel: int, names: str) -> dict[str, Ours]:
    """The capabilities of one channel, by tshark's names for their bits."""

    def bit(number: int) -> Callable[[Message], Sequence[Any]]:
        def found(message: Message) -> Sequence[Any]:
            its = message.values.get("channel_type", message.extra.get("channel_type"))
            return _bit("channel_caps", number)(message) if its == channel else []

        return found

    return {f"spice.{name}": bit(number) for number, name in enumerate(names.split())}


CHANNELS: dict[str, Ours] = {
    **_own(
        1,
        "main_cap_semi_migrate main_cap_vm_name_uuid main_cap_agent_connected_tokens "
        "main_cap_seamless_migrate",
    ),
    **_own(
        2,
        "display_cap_sized_stream display_cap_monitors_config display_cap_composite display_cap_a8_surface "
        "display_cap_stream_report display_cap_lz4_compression display_cap_pref_compression "
        "display_cap_gl_scanout display_cap_multi_codec display_cap_codec_mjpeg display_cap_codec_vp8 "
        "display_cap_codec_h264 display_cap_pref_video_codec_type display_cap_codec_vp9 "
        "display_cap_codec_h265",
    ),
    **_own(5, "playback_cap_celt_0_5_1 playback_cap_volume playback_cap_latency playback_cap_opus"),
    **_own(6, "record_cap_celt record_cap_volume record_cap_opus"),
}
COMMON: dict[str, Ours] = {
    "spice.common_cap_auth_select": _bit("common_caps", 0),
    "spice.common_cap_auth_spice": _bit("common_caps", 1),
    "spice.common_cap_auth_sasl": _bit("common_caps", 2),
    "spice.common_cap_mini_header": _bit("common_caps", 3),
}
HEADER: dict[str, Ours] = {
    "spice.major_version": "major_version",
    "spice.minor_version": "minor_version",
    "spice.message_size": "size",
    "spice.num_common_caps": "num_common_caps",
    "spice.num_channel_caps": "num_channel_caps",
    "spice.caps_offset": "caps_offset",
}
DATA: dict[str, Ours] = {"spice.message_type": "message_type", "spice.message_size": "message_size"}
NAMES = {
    name for sides in constants.MESSAGES.values() for side in Side for name in sides.get(side, {}).values()
}
RECT = {"left": "top", "top": "left", "right": "bottom", "bottom": "right"}
"""An edge -> the one that tshark shows under its name."""


def _drawing(box: str, *areas: str, base: str = "base.") -> dict[str, Ours]:
    """What most drawing messages have: `box` and `areas` are their rectangles, in the order of the wire."""
    found: dict[str, Ours] = {"spice.surface_id": f"{base}surface_id", "spice.clip_type": f"{base}clip.type"}
    for edge in RECT:
        found[f"spice.rect.{edge}"] = partial(_edges, (box, f"{base}clip.rects[]", *areas), edge)
    return found


def _edges(rects: Sequence[str], edge: str, message: Message) -> Sequence[Any]:
    return [value for rect in rects for value in at(message.values, f"{rect}.{edge}")]


def _source(part: str, field: str) -> Callable[[Message], Sequence[Any]]:
    """A field of the image that is drawn: of its descriptor, or of its data where they are of this kind."""

    def found(message: Message) -> Sequence[Any]:
        image = message.values["src_bitmap"].to
        return [] if image is None or part not in image else [image[part][field]]

    return found


MASK: dict[str, Ours] = {"spice.point32.x": "mask.pos.x", "spice.point32.y": "mask.pos.y"}
IMAGE: dict[str, Ours] = {
    **{
        f"spice.image_{name}": _source("descriptor", name)
        for name in ["id", "type", "flags", "width", "height"]
    },
    "spice.quic_type": _source("quic", "quic_type"),
    "spice.quic_width": _source("quic", "width"),
    "spice.quic_height": _source("quic", "height"),
    "spice.quic_image_size": _source("quic", "data_size"),
    "spice.lz_rgb_image_size": _source("lz_rgb", "data_size"),
}


def _locks(words: str) -> dict[str, Ours]:
    """The lock keys, together and one by one."""

    def key(bit: int) -> Callable[[Message], Sequence[Any]]:
        return lambda message: [message[words] >> bit & 1]

    found: dict[str, Ours] = {"spice.keyboard_modifiers": words}
    for bit, name in enumerate(("scroll_lock", "num_lock", "caps_lock")):
        found[f"spice.keyboard_modifier_{name}"] = key(bit)
    return found


def _cursor(*, moves: bool = False) -> dict[str, Ours]:
    place: dict[str, Ours] = {"spice.point16.x": "position.x", "spice.point16.y": "position.y"}
    return place if moves else {**place, "spice.cursor_flags": "cursor.flags"}


MORE: dict[str, dict[str, Ours]] = {
    "SPICE_MSG_SET_ACK": {"spice.red_set_ack_generation": "generation", "spice.red_set_ack_window": "window"},
    "SPICE_MSGC_ACK_SYNC": {"spice.red_set_ack_generation": "generation"},
    "SPICE_MSG_PING": {"spice.ping_id": "id", "spice.timestamp": "timestamp"},
    "SPICE_MSGC_PONG": {"spice.ping_id": "id", "spice.timestamp": "timestamp"},
    "SPICE_MSG_NOTIFY": {
        "spice.timestamp": "time_stamp",
        "spice.notify_severity": "severity",
        "spice.notify_visibility": "visibility",
        "spice.notify_code": "what",
        "spice.notify_message_length": "message_len",
        "spice.notify_message": "message",
    },
    "SPICE_MSG_MAIN_INIT": {
        "spice.main_session_id": "session_id",
        "spice.display_channels_hint": "display_channels_hint",
        "spice.supported_mouse_modes": "supported_mouse_modes",
        "spice.current_mouse_mode": "current_mouse_mode",
        "spice.agent": "agent_connected",
        "spice.agent_tokens": "agent_tokens",
        "spice.multimedia_time": "multi_media_time",
        "spice.ram_hint": "ram_hint",
    },
    "SPICE_MSG_MAIN_CHANNELS_LIST": {
        "spice.main_num_channels": "num_of_channels",
        "spice.channel_type": "channels[].type",
        "spice.channel_id": "channels[].id",
    },
    "SPICE_MSG_MAIN_MULTI_MEDIA_TIME": {"spice.multimedia_time": "multi_media_time"},
    "SPICE_MSG_MAIN_NAME": {"spice.main_name_length": "name_len", "spice.main_name": "guest_name"},
    "SPICE_MSGC_DISPLAY_INIT": {
        "spice.display_init_cache_id": "pixmap_cache_id",
        "spice.display_init_cache_size": "pixmap_cache_size",
        "spice.display_init_glz_dict_id": "glz_dictionary_id",
        "spice.display_init_dict_window_size": "glz_dictionary_window_size",
    },
    "SPICE_MSG_DISPLAY_SURFACE_CREATE": {
        "spice.surface_id": "surface_id",
        "spice.surface_width": "width",
        "spice.surface_height": "height",
        "spice.surface_format": "format",
        "spice.surface_flags": "flags",
    },
    "SPICE_MSG_DISPLAY_SURFACE_DESTROY": {"spice.surface_id": "surface_id"},
    "SPICE_MSG_DISPLAY_MONITORS_CONFIG": {
        "spice.monitor_config_count": "count",
        "spice.monitor_config_max_allowed": "max_allowed",
        "spice.display_head_id": "heads[].monitor_id",
        "spice.display_head_width": "heads[].width",
        "spice.display_head_height": "heads[].height",
        "spice.display_head_surface_id": "heads[].surface_id",
        "spice.display_head_x": "heads[].x",
        "spice.display_head_y": "heads[].y",
        "spice.display_head_flags": "heads[].flags",
    },
    "SPICE_MSG_DISPLAY_STREAM_CREATE": {
        "spice.display_stream_id": "id",
        "spice.display_stream_codec_type": "codec_type",
        "spice.display_stream_flags": "flags",
        "spice.stream_width": "stream_width",
        "spice.stream_height": "stream_height",
        "spice.stream_src_width": "src_width",
        "spice.stream_src_height": "src_height",
        "spice.display_stream_stamp": "stamp",
        **_drawing("dest", base=""),
    },
    "SPICE_MSG_DISPLAY_STREAM_ACTIVATE_REPORT": {
        "spice.display_stream_id": "stream_id",
        "spice.display_stream_report_unique_id": "unique_id",
        "spice.display_stream_report_max_window_size": "max_window_size",
        "spice.display_stream_report_timeout": "timeout_ms",
    },
    "SPICE_MSG_DISPLAY_STREAM_CLIP": {
        "spice.display_stream_id": "id",
        "spice.clip_type": "clip.type",
        **{f"spice.rect.{edge}": partial(_edges, ("clip.rects[]",), edge) for edge in RECT},
    },
    "SPICE_MSG_DISPLAY_STREAM_DESTROY": {"spice.display_stream_id": "id"},
    "SPICE_MSG_DISPLAY_DRAW_COPY": {
        **_drawing("base.box", "src_area"),
        **IMAGE,
        **MASK,
        "spice.display_rop_descriptor": "rop_descriptor",
        "spice.scale_mode": "scale_mode",
    },
    "SPICE_MSG_DISPLAY_COPY_BITS": {
        **_drawing("base.box"),
        "spice.point32.x": "src_pos.x",
        "spice.point32.y": "src_pos.y",
    },
    "SPICE_MSG_DISPLAY_STREAM_DATA": {
        "spice.display_stream_id": "base.id",
        "spice.multimedia_time": "base.multi_media_time",
        "spice.display_stream_data_size": "data_size",
    },
    "SPICE_MSG_DISPLAY_DRAW_FILL": {
        **_drawing("base.box"),
        **MASK,
        "spice.brush_type": "brush.type",
        "spice.display_rop_descriptor": "rop_descriptor",
    },
    "SPICE_MSG_INPUTS_INIT": _locks("keyboard_modifiers"),
    "SPICE_MSG_INPUTS_KEY_MODIFIERS": _locks("modifiers"),
    "SPICE_MSGC_INPUTS_KEY_MODIFIERS": _locks("modifiers"),
    "SPICE_MSGC_INPUTS_MOUSE_MOTION": {
        "spice.point32.x": "dx",
        "spice.point32.y": "dy",
        "spice.button_state": "buttons_state",
    },
    "SPICE_MSGC_INPUTS_MOUSE_POSITION": {
        "spice.point32.x": "x",
        "spice.point32.y": "y",
        "spice.button_state": "buttons_state",
        "spice.mouse_display_id": "display_id",
    },
    "SPICE_MSGC_INPUTS_KEY_DOWN": {"spice.keyboard_key_code": "code"},
    "SPICE_MSGC_INPUTS_KEY_UP": {"spice.keyboard_key_code": "code"},
    "SPICE_MSG_CURSOR_MOVE": _cursor(moves=True),
    "SPICE_MSG_CURSOR_SET": {**_cursor(), "spice.cursor_trail_visible": "visible"},
    "SPICE_MSG_CURSOR_INIT": {
        **_cursor(),
        "spice.cursor_trail_len": "trail_length",
        "spice.cursor_trail_freq": "trail_frequency",
        "spice.cursor_trail_visible": "visible",
    },
    "SPICE_MSG_PLAYBACK_MODE": {"spice.audio_timestamp": "multi_media_time", "spice.audio_mode": "mode"},
    "SPICE_MSG_PLAYBACK_START": {
        "spice.audio_timestamp": "multi_media_time",
        "spice.audio_channels": "channels",
        "spice.audio_format": "format",
        "spice.audio_frequency": "frequency",
    },
    "SPICE_MSG_PLAYBACK_DATA": {"spice.audio_timestamp": "multi_media_time"},
    "SPICE_MSG_PLAYBACK_LATENCY": {"spice.audio_latency": "latency_ms"},
    "SPICE_MSG_PORT_INIT": {"spice.port_opened": "opened"},
}
FIELDS: dict[str, dict[str, Ours]] = {
    "SpiceLinkMess": {
        **HEADER,
        **COMMON,
        **CHANNELS,
        "spice.conn_id": "connection_id",
        "spice.channel_type": "channel_type",
        "spice.channel_id": "channel_id",
    },
    "SpiceLinkReply": {**HEADER, **COMMON, **CHANNELS, "spice.error_code": "error"},
    "SpiceLinkResult": {"spice.ticket_server": "result"},
    "SpiceSaslResult": {"spice.ticket_server": "sasl_result"},
    **{name: {**DATA, **MORE.get(name, {})} for name in sorted(NAMES)},
}


def _mislabelled(case: Case) -> bool:
    """Whether the values are right and stand under the names of other edges."""
    prefix, _, edge = case.field.rpartition(".")
    if prefix != "spice.rect":
        return False
    theirs = f"spice.rect.{RECT[edge]}"
    values = [
        plain(value)
        for message in case.messages
        for ours in (FIELDS.get(message.name, {}).get(theirs),)
        if callable(ours)
        for value in ours(message)
    ]
    return values == case.theirs


def _turned(case: Case) -> bool:
    if case.field != "spice.main_session_id" or not case.ours or not case.theirs:
        return False
    return int(case.ours[0]).to_bytes(4, "little") == int(case.theirs[0]).to_bytes(4, "big")


def _after(name: str) -> Callable[[Case], bool]:
    """Whether a message of this name is in the frame or before it, on the same side."""
    return lambda case: any(message.name == name for message in (*case.messages, *case.before))


REASONS: list[Reason] = [
    Reason("has the names of a rectangle's edges wrong: its left is the top", _mislabelled),
    Reason("reads the session's number with its bytes in the wrong order", _turned),
    Reason(
        "takes the offset of a port's name for the name",
        lambda case: (
            case.field in ("spice.main_name", "spice.port_opened") and "SPICE_MSG_PORT_INIT" in case.names
        ),
    ),
    Reason(
        "takes the button that was pressed for a part of the state of all, and that for a display",
        lambda case: (
            case.field in ("spice.button_state", "spice.mouse_display_id")
            and case.names in (["SPICE_MSGC_INPUTS_MOUSE_PRESS"], ["SPICE_MSGC_INPUTS_MOUSE_RELEASE"])
        ),
    ),
    Reason(
        "does not show whether a cursor that is set can be seen",
        lambda case: (
            case.field == "spice.cursor_trail_visible"
            and "SPICE_MSG_CURSOR_SET" in case.names
            and not case.theirs
        ),
    ),
    Reason(
        "loses its place in the data of a client's agent",
        _after("SPICE_MSGC_MAIN_AGENT_DATA"),
        stays=True,
    ),
    *(
        Reason(
            f"does not know {name}, and reads nothing of that side after it",
            _after(name),
            stays=True,
        )
        for name in (
            "SPICE_MSGC_INPUTS_KEY_SCANCODE",
            "SPICE_MSGC_DISPLAY_STREAM_REPORT",
            "SPICE_MSGC_DISPLAY_PREFERRED_VIDEO_CODEC_TYPE",
            "SPICE_MSGC_SMARTCARD_DATA",
            "SPICE_MSG_MIGRATE_DATA",
            "SPICE_MSGC_MIGRATE_DATA",
        )
    ),
]

TABLE = Table("spice", "spice", FIELDS, REASONS)
