# SPDX-License-Identifier: GPL-2.0-or-later
"""The playback and record channels. Layouts: `spice.proto`, PlaybackChannel and RecordChannel."""

from __future__ import annotations

from typing import Any

from dissect.spice import constants
from dissect.spice.channels.base import SpiceMessage, empty
from dissect.stream.fields import (
    ByteField,
    FieldLenField,
    FieldListField,
    LEIntField,
    LEShortEnumField,
    LEShortField,
)
from dissect.stream.layout import RestField


def _time() -> Any:
    """The multimedia clock, ms; spice.proto calls it `time`, which Scapy keeps for itself."""
    return LEIntField("multi_media_time", 0)


def _packet() -> list[Any]:
    return [_time(), RestField("samples", b"")]


def _mode() -> list[Any]:
    return [
        _time(),
        LEShortEnumField("mode", 1, dict(constants.AUDIO_DATA_MODES)),
        RestField("mode_data", b""),
    ]


def _format() -> list[Any]:
    return [
        LEIntField("channels", 2),
        LEShortEnumField("format", 1, dict(constants.AUDIO_FORMATS)),
        LEIntField("frequency", 48000),
    ]


def _volume() -> list[Any]:
    return [
        FieldLenField("nchannels", None, count_of="volume", fmt="B"),
        FieldListField("volume", [], LEShortField("", 0), count_from=lambda p: p.nchannels, max_count=255),
    ]


class SpiceMsgPlaybackData(SpiceMessage):
    """Server: sound, coded as the last mode says."""

    name = "SPICE_MSG_PLAYBACK_DATA"
    fields_desc = _packet()


class SpiceMsgPlaybackMode(SpiceMessage):
    """Server: how the sound that follows is coded."""

    name = "SPICE_MSG_PLAYBACK_MODE"
    fields_desc = _mode()


class SpiceMsgPlaybackStart(SpiceMessage):
    """Server: sound begins."""

    name = "SPICE_MSG_PLAYBACK_START"
    fields_desc = [*_format(), _time()]


class SpiceMsgPlaybackVolume(SpiceMessage):
    """Server: how loud each channel is (capability VOLUME)."""

    name = "SPICE_MSG_PLAYBACK_VOLUME"
    fields_desc = _volume()


class SpiceMsgPlaybackMute(SpiceMessage):
    """Server: silent or not (capability VOLUME)."""

    name = "SPICE_MSG_PLAYBACK_MUTE"
    fields_desc = [ByteField("mute", 0)]


class SpiceMsgPlaybackLatency(SpiceMessage):
    """Server: how long to hold sound back (capability LATENCY)."""

    name = "SPICE_MSG_PLAYBACK_LATENCY"
    fields_desc = [LEIntField("latency_ms", 0)]


class SpiceMsgRecordStart(SpiceMessage):
    """Server: record, in this format."""

    name = "SPICE_MSG_RECORD_START"
    fields_desc = _format()


class SpiceMsgRecordVolume(SpiceMessage):
    """Server: how loud each channel is (capability VOLUME)."""

    name = "SPICE_MSG_RECORD_VOLUME"
    fields_desc = _volume()


class SpiceMsgRecordMute(SpiceMessage):
    """Server: silent or not (capability VOLUME)."""

    name = "SPICE_MSG_RECORD_MUTE"
    fields_desc = [ByteField("mute", 0)]


class SpiceMsgcRecordData(SpiceMessage):
    """Client: sound, coded as the last mode says."""

    name = "SPICE_MSGC_RECORD_DATA"
    fields_desc = _packet()


class SpiceMsgcRecordMode(SpiceMessage):
    """Client: how the sound that follows is coded."""

    name = "SPICE_MSGC_RECORD_MODE"
    fields_desc = _mode()


class SpiceMsgcRecordStartMark(SpiceMessage):
    """Client: recording has begun."""

    name = "SPICE_MSGC_RECORD_START_MARK"
    fields_desc = [_time()]


empty("SPICE_MSG_PLAYBACK_STOP", "SPICE_MSG_RECORD_STOP")
