# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of SPICE and their standard names.

Sources: `spice.proto` of spice-common (channels, messages, enumerations), and the headers of spice-protocol
(link stage, capabilities). A test holds every name here against those headers where they are installed.
"""

from __future__ import annotations

from collections.abc import Mapping

from dissect.stream.side import Side

MAGIC = b"REDQ"
VERSION_MAJOR = 2
VERSION_MINOR = 2

LINK_ERRORS: Mapping[int, str] = {
    0: "OK",
    1: "ERROR",
    2: "INVALID_MAGIC",
    3: "INVALID_DATA",
    4: "VERSION_MISMATCH",
    5: "NEED_SECURED",
    6: "NEED_UNSECURED",
    7: "PERMISSION_DENIED",
    8: "BAD_CONNECTION_ID",
    9: "CHANNEL_NOT_AVAILABLE",
}
"""SpiceLinkErr (protocol.h), link_err (spice.proto)."""

AUTH_MECHANISMS: Mapping[int, str] = {1: "SPICE", 2: "SASL"}
"""Numbers of the common capabilities AUTH_SPICE and AUTH_SASL, which SpiceLinkAuthMechanism carries."""

MAIN = 1
"""The channel that a client opens first."""

CHANNEL_TYPES: Mapping[int, str] = {
    1: "main",
    2: "display",
    3: "inputs",
    4: "cursor",
    5: "playback",
    6: "record",
    7: "tunnel",
    8: "smartcard",
    9: "usbredir",
    10: "port",
    11: "webdav",
}
"""SPICE_CHANNEL_* (enums.h), in lower case."""

# --- Capabilities: number of the bit -> name


def _bits(names: str) -> dict[int, str]:
    return dict(enumerate(names.split()))


CAP_AUTH_SELECTION, CAP_AUTH_SPICE, CAP_AUTH_SASL, CAP_MINI_HEADER = range(4)

COMMON_CAPABILITIES: Mapping[int, str] = _bits("PROTOCOL_AUTH_SELECTION AUTH_SPICE AUTH_SASL MINI_HEADER")
"""SPICE_COMMON_CAP_* (protocol.h)."""

CHANNEL_CAPABILITIES: Mapping[int, Mapping[int, str]] = {
    1: _bits("SEMI_SEAMLESS_MIGRATE NAME_AND_UUID AGENT_CONNECTED_TOKENS SEAMLESS_MIGRATE"),
    2: _bits(
        "SIZED_STREAM MONITORS_CONFIG COMPOSITE A8_SURFACE STREAM_REPORT LZ4_COMPRESSION PREF_COMPRESSION "
        "GL_SCANOUT MULTI_CODEC CODEC_MJPEG CODEC_VP8 CODEC_H264 PREF_VIDEO_CODEC_TYPE CODEC_VP9 CODEC_H265"
    ),
    3: _bits("KEY_SCANCODE"),
    5: _bits("CELT_0_5_1 VOLUME LATENCY OPUS"),
    6: _bits("CELT_0_5_1 VOLUME OPUS"),
    9: _bits("DATA_COMPRESS_LZ4"),
    10: _bits("DATA_COMPRESS_LZ4"),
    11: _bits("DATA_COMPRESS_LZ4"),
}
"""Channel type -> SPICE_<CHANNEL>_CAP_* (protocol.h). Channels not listed have none."""

# --- Messages


def _names(prefix: str, first: int, names: str) -> dict[int, str]:
    return {first + index: f"{prefix}_{name}" for index, name in enumerate(names.split())}


COMMON = 0
"""Stands for every channel in `MESSAGES`; no channel has this type."""

MESSAGES: Mapping[int, Mapping[Side, Mapping[int, str]]] = {
    COMMON: {  # every channel
        Side.SERVER: {
            **_names(
                "SPICE_MSG",
                1,
                "MIGRATE MIGRATE_DATA SET_ACK PING WAIT_FOR_CHANNELS DISCONNECTING NOTIFY LIST",
            ),
            **_names("SPICE_MSG", 100, "BASE_LAST"),
        },
        Side.CLIENT: {
            **_names("SPICE_MSGC", 1, "ACK_SYNC ACK PONG MIGRATE_FLUSH_MARK MIGRATE_DATA DISCONNECTING"),
        },
    },
    1: {  # main
        Side.SERVER: {
            **_names(
                "SPICE_MSG_MAIN",
                101,
                "MIGRATE_BEGIN MIGRATE_CANCEL INIT CHANNELS_LIST MOUSE_MODE MULTI_MEDIA_TIME "
                "AGENT_CONNECTED AGENT_DISCONNECTED AGENT_DATA AGENT_TOKEN MIGRATE_SWITCH_HOST "
                "MIGRATE_END NAME UUID AGENT_CONNECTED_TOKENS MIGRATE_BEGIN_SEAMLESS "
                "MIGRATE_DST_SEAMLESS_ACK MIGRATE_DST_SEAMLESS_NACK",
            ),
        },
        Side.CLIENT: {
            **_names(
                "SPICE_MSGC_MAIN",
                101,
                "CLIENT_INFO MIGRATE_CONNECTED MIGRATE_CONNECT_ERROR ATTACH_CHANNELS "
                "MOUSE_MODE_REQUEST AGENT_START AGENT_DATA AGENT_TOKEN MIGRATE_END "
                "MIGRATE_DST_DO_SEAMLESS MIGRATE_CONNECTED_SEAMLESS QUALITY_INDICATOR",
            ),
        },
    },
    2: {  # display
        Side.SERVER: {
            **_names(
                "SPICE_MSG_DISPLAY",
                101,
                "MODE MARK RESET COPY_BITS INVAL_LIST INVAL_ALL_PIXMAPS INVAL_PALETTE INVAL_ALL_PALETTES",
            ),
            **_names(
                "SPICE_MSG_DISPLAY",
                122,
                "STREAM_CREATE STREAM_DATA STREAM_CLIP STREAM_DESTROY STREAM_DESTROY_ALL",
            ),
            **_names(
                "SPICE_MSG_DISPLAY",
                302,
                "DRAW_FILL DRAW_OPAQUE DRAW_COPY DRAW_BLEND DRAW_BLACKNESS DRAW_WHITENESS "
                "DRAW_INVERS DRAW_ROP3 DRAW_STROKE DRAW_TEXT DRAW_TRANSPARENT DRAW_ALPHA_BLEND "
                "SURFACE_CREATE SURFACE_DESTROY STREAM_DATA_SIZED MONITORS_CONFIG DRAW_COMPOSITE "
                "STREAM_ACTIVATE_REPORT GL_SCANOUT_UNIX GL_DRAW QUALITY_INDICATOR "
                "GL_SCANOUT2_UNIX",
            ),
        },
        Side.CLIENT: {
            **_names(
                "SPICE_MSGC_DISPLAY",
                101,
                "INIT STREAM_REPORT PREFERRED_COMPRESSION GL_DRAW_DONE PREFERRED_VIDEO_CODEC_TYPE",
            ),
        },
    },
    3: {  # inputs
        Side.SERVER: {
            **_names("SPICE_MSG_INPUTS", 101, "INIT KEY_MODIFIERS"),
            **_names("SPICE_MSG_INPUTS", 111, "MOUSE_MOTION_ACK"),
        },
        Side.CLIENT: {
            **_names("SPICE_MSGC_INPUTS", 101, "KEY_DOWN KEY_UP KEY_MODIFIERS KEY_SCANCODE"),
            **_names("SPICE_MSGC_INPUTS", 111, "MOUSE_MOTION MOUSE_POSITION MOUSE_PRESS MOUSE_RELEASE"),
        },
    },
    4: {  # cursor
        Side.SERVER: {
            **_names("SPICE_MSG_CURSOR", 101, "INIT RESET SET MOVE HIDE TRAIL INVAL_ONE INVAL_ALL"),
        },
        Side.CLIENT: {},
    },
    5: {  # playback
        Side.SERVER: {
            **_names("SPICE_MSG_PLAYBACK", 101, "DATA MODE START STOP VOLUME MUTE LATENCY"),
        },
        Side.CLIENT: {},
    },
    6: {  # record
        Side.SERVER: {
            **_names("SPICE_MSG_RECORD", 101, "START STOP VOLUME MUTE"),
        },
        Side.CLIENT: {
            **_names("SPICE_MSGC_RECORD", 101, "DATA MODE START_MARK"),
        },
    },
    7: {  # tunnel
        Side.SERVER: {},
        Side.CLIENT: {},
    },
    8: {  # smartcard
        Side.SERVER: {
            **_names("SPICE_MSG_SMARTCARD", 101, "DATA"),
        },
        Side.CLIENT: {
            **_names("SPICE_MSGC_SMARTCARD", 101, "DATA"),
        },
    },
    9: {  # usbredir
        Side.SERVER: {
            **_names("SPICE_MSG_SPICEVMC", 101, "DATA COMPRESSED_DATA"),
        },
        Side.CLIENT: {
            **_names("SPICE_MSGC_SPICEVMC", 101, "DATA COMPRESSED_DATA"),
        },
    },
    10: {  # port
        Side.SERVER: {
            **_names("SPICE_MSG_SPICEVMC", 101, "DATA COMPRESSED_DATA"),
            **_names("SPICE_MSG_PORT", 201, "INIT EVENT"),
        },
        Side.CLIENT: {
            **_names("SPICE_MSGC_SPICEVMC", 101, "DATA COMPRESSED_DATA"),
            **_names("SPICE_MSGC_PORT", 201, "EVENT"),
        },
    },
    11: {  # webdav
        Side.SERVER: {
            **_names("SPICE_MSG_SPICEVMC", 101, "DATA COMPRESSED_DATA"),
            **_names("SPICE_MSG_PORT", 201, "INIT EVENT"),
        },
        Side.CLIENT: {
            **_names("SPICE_MSGC_SPICEVMC", 101, "DATA COMPRESSED_DATA"),
            **_names("SPICE_MSGC_PORT", 201, "EVENT"),
        },
    },
}
"""Channel type -> side -> message type -> standard name (enums.h). Tunnel (7) is an empty placeholder."""


NEEDS: Mapping[str, int] = {
    "SPICE_MSG_MAIN_NAME": 1,
    "SPICE_MSG_MAIN_UUID": 1,
    "SPICE_MSG_MAIN_AGENT_CONNECTED_TOKENS": 2,
    "SPICE_MSG_MAIN_MIGRATE_BEGIN_SEAMLESS": 3,
    "SPICE_MSG_DISPLAY_STREAM_DATA_SIZED": 0,
    "SPICE_MSG_DISPLAY_MONITORS_CONFIG": 1,
    "SPICE_MSG_DISPLAY_DRAW_COMPOSITE": 2,
    "SPICE_MSG_DISPLAY_STREAM_ACTIVATE_REPORT": 4,
    "SPICE_MSG_DISPLAY_GL_SCANOUT_UNIX": 7,
    "SPICE_MSG_DISPLAY_GL_DRAW": 7,
    "SPICE_MSGC_DISPLAY_PREFERRED_COMPRESSION": 6,
    "SPICE_MSGC_DISPLAY_PREFERRED_VIDEO_CODEC_TYPE": 12,
    "SPICE_MSGC_INPUTS_KEY_SCANCODE": 0,
    "SPICE_MSG_PLAYBACK_VOLUME": 1,
    "SPICE_MSG_PLAYBACK_MUTE": 1,
    "SPICE_MSG_PLAYBACK_LATENCY": 2,
    "SPICE_MSG_RECORD_VOLUME": 1,
    "SPICE_MSG_RECORD_MUTE": 1,
    "SPICE_MSG_SPICEVMC_COMPRESSED_DATA": 0,
    "SPICE_MSGC_SPICEVMC_COMPRESSED_DATA": 0,
}
"""Message -> the capability of its channel that its receiver must have announced before it may be sent."""


def message_name(channel: int, side: Side, number: int) -> str | None:
    """The standard name of a message, or None where nobody defined that number for that channel and side."""
    own = MESSAGES.get(channel, {}).get(side, {})
    return own.get(number) or MESSAGES[COMMON][side].get(number)


# --- Enumerations (spice.proto, enums.h)


def _numbered(names: str, first: int = 0) -> dict[int, str]:
    return {first + index: name for index, name in enumerate(names.split())}


MOUSE_MODES: Mapping[int, str] = {1: "SERVER", 2: "CLIENT", 3: "SERVER|CLIENT"}
NOTIFY_SEVERITIES: Mapping[int, str] = {0: "INFO", 1: "WARN", 2: "ERROR"}
NOTIFY_VISIBILITIES: Mapping[int, str] = {0: "LOW", 1: "MEDIUM", 2: "HIGH"}
DATA_COMPRESSIONS: Mapping[int, str] = _numbered("NONE LZ4")
CLIP_TYPES: Mapping[int, str] = _numbered("NONE RECTS")
VIDEO_CODECS: Mapping[int, str] = _numbered("MJPEG VP8 H264 VP9 H265", 1)
BRUSH_TYPES: Mapping[int, str] = _numbered("NONE SOLID PATTERN")
IMAGE_TYPES: Mapping[int, str] = {
    **_numbered("BITMAP QUIC RESERVED"),
    **_numbered(
        "LZ_PLT LZ_RGB GLZ_RGB FROM_CACHE SURFACE JPEG FROM_CACHE_LOSSLESS ZLIB_GLZ_RGB JPEG_ALPHA LZ4", 100
    ),
}
IMAGE_COMPRESSIONS: Mapping[int, str] = _numbered("INVALID OFF AUTO_GLZ AUTO_LZ QUIC GLZ LZ LZ4")
BITMAP_FORMATS: Mapping[int, str] = _numbered(
    "INVALID 1BIT_LE 1BIT_BE 4BIT_LE 4BIT_BE 8BIT 16BIT 24BIT 32BIT RGBA 8BIT_A"
)
IMAGE_SCALE_MODES: Mapping[int, str] = _numbered("INTERPOLATE NEAREST")
SURFACE_FORMATS: Mapping[int, str] = {
    0: "INVALID",
    1: "1_A",
    8: "8_A",
    16: "16_555",
    32: "32_xRGB",
    80: "16_565",
    96: "32_ARGB",
}
RESOURCE_TYPES: Mapping[int, str] = _numbered("INVALID PIXMAP")
CURSOR_TYPES: Mapping[int, str] = _numbered("ALPHA MONO COLOR4 COLOR8 COLOR16 COLOR24 COLOR32")
AUDIO_DATA_MODES: Mapping[int, str] = _numbered("INVALID RAW CELT_0_5_1 OPUS")
AUDIO_FORMATS: Mapping[int, str] = _numbered("INVALID S16")
SMARTCARD_MESSAGES: Mapping[int, str] = _numbered(
    "Init Error ReaderAdd ReaderRemove ATR CardRemove APDU Flush FlushComplete", 1
)
"""vsc_message_type (spice.proto); libcacard's vscard_common.h."""
PORT_EVENTS: Mapping[int, str] = _numbered("OPENED CLOSED BREAK")
"""SPICE_PORT_EVENT_* (protocol.h)."""

# --- Flags: number of the bit -> name (spice.proto lists them so; enums.h has the masks)

MIGRATE_FLAGS: Mapping[int, str] = _bits("NEED_FLUSH NEED_DATA_TRANSFER")
COMPOSITE_FLAGS: Mapping[int, str] = _bits(
    "OP0 OP1 OP2 OP3 OP4 OP5 OP6 OP7 SRC_FILTER0 SRC_FILTER1 SRC_FILTER2 MASK_FILTER0 MASK_FITLER1 "
    "MASK_FILTER2 SRC_REPEAT0 SRC_REPEAT1 MASK_REPEAT0 MASK_REPEAT1 COMPONENT_ALPHA HAS_MASK "
    "HAS_SRC_TRANSFORM HAS_MASK_TRANSFORM SOURCE_OPAQUE MASK_OPAQUE DEST_OPAQUE"
)
"""MASK_FITLER1 is spelled so in spice.proto and enums.h."""
COMPOSITE_HAS_MASK, COMPOSITE_HAS_SRC_TRANSFORM, COMPOSITE_HAS_MASK_TRANSFORM = 1 << 19, 1 << 20, 1 << 21
PATH_FLAGS: Mapping[int, str] = {0: "BEGIN", 1: "END", 3: "CLOSE", 4: "BEZIER"}
STREAM_FLAGS: Mapping[int, str] = _bits("TOP_DOWN")
MASK_FLAGS: Mapping[int, str] = _bits("INVERS")
IMAGE_FLAGS: Mapping[int, str] = _bits("CACHE_ME HIGH_BITS_SET CACHE_REPLACE_ME")
BITMAP_FLAGS: Mapping[int, str] = _bits("PAL_CACHE_ME PAL_FROM_CACHE TOP_DOWN")
JPEG_ALPHA_FLAGS: Mapping[int, str] = _bits("TOP_DOWN")
ROPD_FLAGS: Mapping[int, str] = _bits(
    "INVERS_SRC INVERS_BRUSH INVERS_DEST OP_PUT OP_OR OP_AND OP_XOR OP_BLACKNESS OP_WHITENESS OP_INVERS "
    "INVERS_RES"
)
LINE_FLAGS: Mapping[int, str] = {2: "START_WITH_GAP", 3: "STYLED"}
STRING_FLAGS: Mapping[int, str] = _bits("RASTER_A1 RASTER_A4 RASTER_A8 RASTER_TOP_DOWN")
SURFACE_FLAGS: Mapping[int, str] = _bits("PRIMARY STREAMING_MODE")
ALPHA_FLAGS: Mapping[int, str] = _bits("DEST_HAS_ALPHA SRC_SURFACE_HAS_ALPHA")
GL_SCANOUT_FLAGS: Mapping[int, str] = _bits("Y0TOP")
CURSOR_FLAGS: Mapping[int, str] = _bits("NONE CACHE_ME FROM_CACHE")
KEYBOARD_MODIFIERS: Mapping[int, str] = _bits("SCROLL_LOCK NUM_LOCK CAPS_LOCK")
MOUSE_BUTTON_MASK: Mapping[int, str] = _bits("LEFT MIDDLE RIGHT UP DOWN SIDE EXTRA")
