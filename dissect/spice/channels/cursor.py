# SPDX-License-Identifier: GPL-2.0-or-later
"""The cursor channel. Layouts: `spice.proto`, CursorChannel."""

from __future__ import annotations

from typing import Any

from dissect.spice import constants
from dissect.spice.channels.base import SpiceMessage, empty
from dissect.spice.channels.display import Point16
from dissect.spice.fields import LEShortFlagsField, SpicePacket
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    LEShortField,
    PacketField,
    XLELongField,
)
from dissect.stream.layout import RestField

NO_CURSOR = 1


class CursorHeader(SpicePacket):
    """A cursor's number in the client's cache, its kind, size and hot spot."""

    name = "CursorHeader"
    fields_desc = [
        XLELongField("unique", 0),
        ByteEnumField("type", 0, dict(constants.CURSOR_TYPES)),
        LEShortField("width", 0),
        LEShortField("height", 0),
        LEShortField("hot_spot_x", 0),
        LEShortField("hot_spot_y", 0),
    ]


class Cursor(SpicePacket):
    """A cursor; with FROM_CACHE its image is one that was sent before. It runs to the end of the body."""

    name = "Cursor"
    fields_desc = [
        LEShortFlagsField("flags", NO_CURSOR, constants.CURSOR_FLAGS),
        ConditionalField(PacketField("header", None, CursorHeader), lambda p: not p.flags & NO_CURSOR),
        RestField("image", b""),
    ]


def _position() -> Any:
    return PacketField("position", None, Point16)


class SpiceMsgCursorInit(SpiceMessage):
    """Server, first on the channel: the cursor as it is."""

    name = "SPICE_MSG_CURSOR_INIT"
    fields_desc = [
        _position(),
        LEShortField("trail_length", 0),
        LEShortField("trail_frequency", 0),
        ByteField("visible", 1),
        PacketField("cursor", None, Cursor),
    ]


class SpiceMsgCursorSet(SpiceMessage):
    """Server: another cursor."""

    name = "SPICE_MSG_CURSOR_SET"
    fields_desc = [_position(), ByteField("visible", 1), PacketField("cursor", None, Cursor)]


class SpiceMsgCursorMove(SpiceMessage):
    """Server: it is there now."""

    name = "SPICE_MSG_CURSOR_MOVE"
    fields_desc = [_position()]


class SpiceMsgCursorTrail(SpiceMessage):
    """Server: the trail that it leaves."""

    name = "SPICE_MSG_CURSOR_TRAIL"
    fields_desc = [LEShortField("length", 0), LEShortField("frequency", 0)]


class SpiceMsgCursorInvalOne(SpiceMessage):
    """Server: forget this cursor."""

    name = "SPICE_MSG_CURSOR_INVAL_ONE"
    fields_desc = [XLELongField("id", 0)]


empty("SPICE_MSG_CURSOR_RESET", "SPICE_MSG_CURSOR_HIDE", "SPICE_MSG_CURSOR_INVAL_ALL")
