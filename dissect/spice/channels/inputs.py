# SPDX-License-Identifier: GPL-2.0-or-later
"""The inputs channel. Layouts: `spice.proto`, InputsChannel."""

from __future__ import annotations

from typing import Any

from scapy.fields import ByteEnumField, ByteField, LEIntField, LEShortField, LESignedIntField, XLEIntField

from dissect.spice.channels.base import SpiceMessage, empty
from dissect.stream.layout import RestField

MOUSE_BUTTONS = dict(enumerate(["INVALID", "LEFT", "MIDDLE", "RIGHT", "UP", "DOWN", "SIDE", "EXTRA"]))


class SpiceMsgInputsInit(SpiceMessage):
    """Server: the lock keys (bit 0 Scroll, 1 Num, 2 Caps)."""

    name = "SPICE_MSG_INPUTS_INIT"
    fields_desc = [LEShortField("keyboard_modifiers", 0)]


class SpiceMsgInputsKeyModifiers(SpiceMessage):
    """Server: the lock keys changed."""

    name = "SPICE_MSG_INPUTS_KEY_MODIFIERS"
    fields_desc = [LEShortField("modifiers", 0)]


class SpiceMsgcInputsKeyDown(SpiceMessage):
    """Client: a key goes down; a PC scancode."""

    name = "SPICE_MSGC_INPUTS_KEY_DOWN"
    fields_desc = [XLEIntField("code", 0)]


class SpiceMsgcInputsKeyUp(SpiceMessage):
    """Client: a key goes up; a PC scancode."""

    name = "SPICE_MSGC_INPUTS_KEY_UP"
    fields_desc = [XLEIntField("code", 0)]


class SpiceMsgcInputsKeyModifiers(SpiceMessage):
    """Client: its lock keys."""

    name = "SPICE_MSGC_INPUTS_KEY_MODIFIERS"
    fields_desc = [LEShortField("modifiers", 0)]


class SpiceMsgcInputsKeyScancode(SpiceMessage):
    """Client: several scancodes at once (capability KEY_SCANCODE)."""

    name = "SPICE_MSGC_INPUTS_KEY_SCANCODE"
    fields_desc = [RestField("scancodes", b"")]


class SpiceMsgcInputsMouseMotion(SpiceMessage):
    """Client: relative motion."""

    name = "SPICE_MSGC_INPUTS_MOUSE_MOTION"
    fields_desc = [LESignedIntField("dx", 0), LESignedIntField("dy", 0), LEShortField("buttons_state", 0)]


class SpiceMsgcInputsMousePosition(SpiceMessage):
    """Client: absolute position."""

    name = "SPICE_MSGC_INPUTS_MOUSE_POSITION"
    fields_desc = [
        LEIntField("x", 0),
        LEIntField("y", 0),
        LEShortField("buttons_state", 0),
        ByteField("display_id", 0),
    ]


def _button() -> list[Any]:
    return [ByteEnumField("button", 1, MOUSE_BUTTONS), LEShortField("buttons_state", 0)]


class SpiceMsgcInputsMousePress(SpiceMessage):
    """Client: a button goes down."""

    name = "SPICE_MSGC_INPUTS_MOUSE_PRESS"
    fields_desc = _button()


class SpiceMsgcInputsMouseRelease(SpiceMessage):
    """Client: a button goes up."""

    name = "SPICE_MSGC_INPUTS_MOUSE_RELEASE"
    fields_desc = _button()


empty("SPICE_MSG_INPUTS_MOUSE_MOTION_ACK")
