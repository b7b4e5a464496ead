# SPDX-License-Identifier: GPL-2.0-or-later
"""What client and guest agent say to each other inside AGENT_DATA: VDAgentMessage and its kinds.

Layouts: `spice/vd_agent.h`, the struct of the class's name; each class has the 20 bytes of VDAgentMessage
first. The 4 bytes of a selection are there only where both ends announced CLIPBOARD_SELECTION, the serial
number of a grab only with CLIPBOARD_GRAB_SERIAL, details of a failed file transfer only with
FILE_XFER_DETAILED_ERRORS; those are classes of their own, and `described_by` chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissect.spice.fields import LEIntFlagsField, SpicePacket, flag_names
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    FieldListField,
    LEIntEnumField,
    LEIntField,
    LELongField,
    LEShortField,
    LESignedIntField,
    PacketListField,
    StrLenField,
)
from dissect.stream.layout import BitNamesField, Padding, TextField

HEADER_SIZE = 20
PROTOCOL = 1
CHUNK_SIZE = 2048
"""Bytes of one AGENT_DATA message at most: VD_AGENT_MAX_DATA_SIZE."""

TYPES: Mapping[int, str] = {
    number: f"VD_AGENT_{name}"
    for number, name in enumerate(
        [
            "MOUSE_STATE",
            "MONITORS_CONFIG",
            "REPLY",
            "CLIPBOARD",
            "DISPLAY_CONFIG",
            "ANNOUNCE_CAPABILITIES",
            "CLIPBOARD_GRAB",
            "CLIPBOARD_REQUEST",
            "CLIPBOARD_RELEASE",
            "FILE_XFER_START",
            "FILE_XFER_STATUS",
            "FILE_XFER_DATA",
            "CLIENT_DISCONNECTED",
            "MAX_CLIPBOARD",
            "AUDIO_VOLUME_SYNC",
            "GRAPHICS_DEVICE_INFO",
        ],
        1,
    )
}
CAPABILITIES: Mapping[int, str] = flag_names(
    "MOUSE_STATE MONITORS_CONFIG REPLY CLIPBOARD DISPLAY_CONFIG CLIPBOARD_BY_DEMAND CLIPBOARD_SELECTION "
    "SPARSE_MONITORS_CONFIG GUEST_LINEEND_LF GUEST_LINEEND_CRLF MAX_CLIPBOARD AUDIO_VOLUME_SYNC "
    "MONITORS_CONFIG_POSITION FILE_XFER_DISABLED FILE_XFER_DETAILED_ERRORS GRAPHICS_DEVICE_INFO "
    "CLIPBOARD_NO_RELEASE_ON_REGRAB CLIPBOARD_GRAB_SERIAL"
)
"""VD_AGENT_CAP_*."""
CAP_SELECTION, CAP_DETAILED_ERRORS, CAP_GRAB_SERIAL = 6, 14, 17

CLIPBOARD_TYPES: Mapping[int, str] = dict(
    enumerate(["NONE", "UTF8_TEXT", "IMAGE_PNG", "IMAGE_BMP", "IMAGE_TIFF", "IMAGE_JPG", "FILE_LIST"])
)
SELECTIONS: Mapping[int, str] = dict(enumerate(["CLIPBOARD", "PRIMARY", "SECONDARY"]))
TRANSFER_STATUS: Mapping[int, str] = dict(
    enumerate(
        [
            "CAN_SEND_DATA",
            "CANCELLED",
            "ERROR",
            "SUCCESS",
            "NOT_ENOUGH_SPACE",
            "SESSION_LOCKED",
            "VDAGENT_NOT_CONNECTED",
            "DISABLED",
        ]
    )
)
RESULTS: Mapping[int, str] = {1: "SUCCESS", 2: "ERROR"}
MONITOR_FLAGS = flag_names("USE_POS PHYSICAL_SIZE")
DISPLAY_FLAGS = flag_names("DISABLE_WALLPAPER DISABLE_FONT_SMOOTH DISABLE_ANIMATION SET_COLOR_DEPTH")
BUTTONS = flag_names("LBUTTON MBUTTON RBUTTON UBUTTON DBUTTON SBUTTON EBUTTON", 1)
"""VD_AGENT_*_MASK."""


def _head(type_: int) -> list[Any]:
    return [
        LEIntField("protocol", PROTOCOL),
        LEIntEnumField("type", type_, dict(TYPES)),
        LELongField("opaque", 0),
        LEIntField("size", 0),
    ]


def _rest(name: str, before: int) -> Any:
    """What is left of the message after so many bytes."""
    return StrLenField(name, b"", length_from=lambda p: p.size - before)


class VDAgentMessage(SpicePacket):
    """What every message begins with; `size` counts what follows."""

    name = "VDAgentMessage"
    fields_desc = _head(0)


class VDAgentMouseState(SpicePacket):
    """Server to agent: the pointer."""

    name = "VD_AGENT_MOUSE_STATE"
    fields_desc = [
        *_head(1),
        LEIntField("x", 0),
        LEIntField("y", 0),
        LEIntFlagsField("buttons", 0, BUTTONS),
        ByteField("display_id", 0),
    ]


class VDAgentMonConfig(SpicePacket):
    """One monitor as it should be; 0 by 0 is off."""

    name = "VDAgentMonConfig"
    fields_desc = [
        LEIntField("height", 0),
        LEIntField("width", 0),
        LEIntField("depth", 32),
        LESignedIntField("x", 0),
        LESignedIntField("y", 0),
    ]


class VDAgentMonitorMM(SpicePacket):
    """A monitor's size in millimetres."""

    name = "VDAgentMonitorMM"
    fields_desc = [LEShortField("height", 0), LEShortField("width", 0)]


class VDAgentMonitorsConfig(SpicePacket):
    """Client: the monitors that it has."""

    name = "VD_AGENT_MONITORS_CONFIG"
    fields_desc = [
        *_head(2),
        FieldLenField("num_of_monitors", None, count_of="monitors", fmt="<I"),
        LEIntFlagsField("flags", 0, MONITOR_FLAGS),
        PacketListField(
            "monitors", [], VDAgentMonConfig, count_from=lambda p: p.num_of_monitors, max_count=65536
        ),
        ConditionalField(
            PacketListField(
                "physical_sizes",
                [],
                VDAgentMonitorMM,
                count_from=lambda p: p.num_of_monitors,
                max_count=65536,
            ),
            lambda p: p.flags & 2,
        ),
    ]


class VDAgentReply(SpicePacket):
    """Agent: what became of a message of this type."""

    name = "VD_AGENT_REPLY"
    fields_desc = [
        *_head(3),
        LEIntEnumField("reply_type", 1, dict(TYPES)),
        LEIntEnumField("error", 1, dict(RESULTS)),
    ]


class VDAgentDisplayConfig(SpicePacket):
    """Client: what the guest may leave out to save the line."""

    name = "VD_AGENT_DISPLAY_CONFIG"
    fields_desc = [*_head(5), LEIntFlagsField("flags", 0, DISPLAY_FLAGS), LEIntField("depth", 0)]


class VDAgentAnnounceCapabilities(SpicePacket):
    """Either end: what it can do, and whether the other should say so too."""

    name = "VD_AGENT_ANNOUNCE_CAPABILITIES"
    fields_desc = [
        *_head(6),
        LEIntField("request", 0),
        BitNamesField(
            "caps",
            LEIntField("", 0),
            count_from=lambda p: (p.size - 4) // 4,
            names_from=lambda values: CAPABILITIES,
            max_count=1024,
        ),
    ]


# --- The clipboard: with and without the selection, and a grab's serial


def _selection(wanted: bool) -> list[Any]:
    return [ByteEnumField("selection", 0, dict(SELECTIONS)), Padding("reserved", 3)] if wanted else []


def _clipboard(selection: bool) -> list[Any]:
    before = 8 if selection else 4
    return [
        *_head(4),
        *_selection(selection),
        LEIntEnumField("clipboard_type", 1, dict(CLIPBOARD_TYPES)),
        ConditionalField(
            TextField("text", b"", length_from=lambda p: p.size - before),
            lambda p: p.clipboard_type in (1, 6),
        ),
        ConditionalField(_rest("clipboard_data", before), lambda p: p.clipboard_type not in (1, 6)),
    ]


class VDAgentClipboard(SpicePacket):
    """Either end: the contents of the clipboard."""

    name = "VD_AGENT_CLIPBOARD"
    fields_desc = _clipboard(False)


class VDAgentClipboardOfSelection(SpicePacket):
    """Either end: the contents of a selection."""

    name = "VD_AGENT_CLIPBOARD"
    fields_desc = _clipboard(True)


def _grab(selection: bool, serial: bool) -> list[Any]:
    before = (4 if selection else 0) + (4 if serial else 0)
    return [
        *_head(7),
        *_selection(selection),
        *([LEIntField("serial", 0)] if serial else []),
        FieldListField(
            "types",
            [],
            LEIntEnumField("", 1, dict(CLIPBOARD_TYPES)),
            count_from=lambda p: (p.size - before) // 4,
            max_count=1024,
        ),
    ]


class VDAgentClipboardGrab(SpicePacket):
    """Either end: it has something for the clipboard, in these types."""

    name = "VD_AGENT_CLIPBOARD_GRAB"
    fields_desc = _grab(False, False)


class VDAgentClipboardGrabOfSelection(SpicePacket):
    """Either end: it has something for a selection."""

    name = "VD_AGENT_CLIPBOARD_GRAB"
    fields_desc = _grab(True, False)


class VDAgentClipboardGrabSerial(SpicePacket):
    """Either end: it has something for the clipboard; a number decides who was first."""

    name = "VD_AGENT_CLIPBOARD_GRAB"
    fields_desc = _grab(False, True)


class VDAgentClipboardGrabSerialOfSelection(SpicePacket):
    """Either end: it has something for a selection; a number decides who was first."""

    name = "VD_AGENT_CLIPBOARD_GRAB"
    fields_desc = _grab(True, True)


class VDAgentClipboardRequest(SpicePacket):
    """Either end: send the clipboard, in this type."""

    name = "VD_AGENT_CLIPBOARD_REQUEST"
    fields_desc = [*_head(8), LEIntEnumField("clipboard_type", 1, dict(CLIPBOARD_TYPES))]


class VDAgentClipboardRequestOfSelection(SpicePacket):
    """Either end: send the selection, in this type."""

    name = "VD_AGENT_CLIPBOARD_REQUEST"
    fields_desc = [
        *_head(8),
        *_selection(True),
        LEIntEnumField("clipboard_type", 1, dict(CLIPBOARD_TYPES)),
    ]


class VDAgentClipboardRelease(SpicePacket):
    """Either end: it has nothing for the clipboard any more."""

    name = "VD_AGENT_CLIPBOARD_RELEASE"
    fields_desc = _head(9)


class VDAgentClipboardReleaseOfSelection(SpicePacket):
    """Either end: it has nothing for a selection any more."""

    name = "VD_AGENT_CLIPBOARD_RELEASE"
    fields_desc = [*_head(9), *_selection(True)]


class VDAgentMaxClipboard(SpicePacket):
    """Client: the largest clipboard that it sends or takes; -1: no limit."""

    name = "VD_AGENT_MAX_CLIPBOARD"
    fields_desc = [*_head(14), LESignedIntField("max", -1)]


# --- Files


class VDAgentFileXferStart(SpicePacket):
    """Client: a file comes; name and size as a key file."""

    name = "VD_AGENT_FILE_XFER_START"
    fields_desc = [
        *_head(10),
        LEIntField("id", 0),
        TextField("description", b"", length_from=lambda p: p.size - 4),
    ]


def _status() -> list[Any]:
    return [*_head(11), LEIntField("id", 0), LEIntEnumField("result", 0, dict(TRANSFER_STATUS))]


class VDAgentFileXferStatus(SpicePacket):
    """Either end: how a transfer goes."""

    name = "VD_AGENT_FILE_XFER_STATUS"
    fields_desc = [*_status(), _rest("detail", 8)]


class VDAgentFileXferStatusDetailed(SpicePacket):
    """Either end: how a transfer goes, and where it failed, why (where the message is long enough)."""

    name = "VD_AGENT_FILE_XFER_STATUS"
    fields_desc = [
        *_status(),
        ConditionalField(LELongField("disk_free_space", 0), lambda p: p.result == 4 and p.size >= 16),
        ConditionalField(
            ByteEnumField("error_type", 0, {0: "GLIB_IO"}), lambda p: p.result == 2 and p.size >= 13
        ),
        ConditionalField(LEIntField("error_code", 0), lambda p: p.result == 2 and p.size >= 13),
    ]


class VDAgentFileXferData(SpicePacket):
    """Client: a piece of a file."""

    name = "VD_AGENT_FILE_XFER_DATA"
    fields_desc = [
        *_head(12),
        LEIntField("id", 0),
        LELongField("data_size", 0),
        _rest("file_data", 12),
    ]


# --- The rest


class VDAgentClientDisconnected(SpicePacket):
    """Server to agent: the client is gone."""

    name = "VD_AGENT_CLIENT_DISCONNECTED"
    fields_desc = _head(13)


class VDAgentAudioVolumeSync(SpicePacket):
    """Client: how loud its sound is."""

    name = "VD_AGENT_AUDIO_VOLUME_SYNC"
    fields_desc = [
        *_head(15),
        ByteField("is_playback", 1),
        ByteField("mute", 0),
        FieldLenField("nchannels", None, count_of="volume", fmt="B"),
        FieldListField("volume", [], LEShortField("", 0), count_from=lambda p: p.nchannels, max_count=255),
    ]


class VDAgentDeviceDisplayInfo(SpicePacket):
    """Which device of the guest shows what."""

    name = "VDAgentDeviceDisplayInfo"
    fields_desc = [
        LEIntField("channel_id", 0),
        LEIntField("monitor_id", 0),
        LEIntField("device_display_id", 0),
        FieldLenField("device_address_len", None, length_of="device_address", fmt="<I"),
        TextField("device_address", b"", length_from=lambda p: p.device_address_len),
    ]


class VDAgentGraphicsDeviceInfo(SpicePacket):
    """Server to agent: which device of the guest is which monitor."""

    name = "VD_AGENT_GRAPHICS_DEVICE_INFO"
    fields_desc = [
        *_head(16),
        FieldLenField("count", None, count_of="display_info", fmt="<I"),
        PacketListField(
            "display_info", [], VDAgentDeviceDisplayInfo, count_from=lambda p: p.count, max_count=65536
        ),
    ]


PLAIN: Mapping[int, type[SpicePacket]] = {
    1: VDAgentMouseState,
    2: VDAgentMonitorsConfig,
    3: VDAgentReply,
    4: VDAgentClipboard,
    5: VDAgentDisplayConfig,
    6: VDAgentAnnounceCapabilities,
    7: VDAgentClipboardGrab,
    8: VDAgentClipboardRequest,
    9: VDAgentClipboardRelease,
    10: VDAgentFileXferStart,
    11: VDAgentFileXferStatus,
    12: VDAgentFileXferData,
    13: VDAgentClientDisconnected,
    14: VDAgentMaxClipboard,
    15: VDAgentAudioVolumeSync,
    16: VDAgentGraphicsDeviceInfo,
}
OF_SELECTION: Mapping[int, type[SpicePacket]] = {
    4: VDAgentClipboardOfSelection,
    7: VDAgentClipboardGrabOfSelection,
    8: VDAgentClipboardRequestOfSelection,
    9: VDAgentClipboardReleaseOfSelection,
}


DEPENDS = frozenset({*OF_SELECTION, 11})
"""Types whose layout depends on what both ends have announced."""


def described_by(type_: int, shared: frozenset[int]) -> type[SpicePacket] | None:
    """The class of a message, given the capabilities that both ends announced; None for an unknown type."""
    selection = CAP_SELECTION in shared
    if type_ == 7 and CAP_GRAB_SERIAL in shared:
        return VDAgentClipboardGrabSerialOfSelection if selection else VDAgentClipboardGrabSerial
    if type_ == 11 and CAP_DETAILED_ERRORS in shared:
        return VDAgentFileXferStatusDetailed
    return (OF_SELECTION.get(type_) if selection else None) or PLAIN.get(type_)
