# SPDX-License-Identifier: GPL-2.0-or-later
"""The inputs channel. Layouts: `spice.proto`, InputsChannel."""

from __future__ import annotations

from typing import Any

from dissect.spice import constants
from dissect.spice.channels.base import SpiceMessage, empty
from dissect.spice.fields import LEShortFlagsField
from dissect.stream.fields import ByteEnumField, ByteField, LEIntField, LESignedIntField, XLEIntField
from dissect.stream.layout import RestField

MOUSE_BUTTONS = dict(enumerate(["INVALID", "LEFT", "MIDDLE", "RIGHT", "UP", "DOWN", "SIDE", "EXTRA"]))


class SpiceMsgInputsInit(SpiceMessage):
    """Server: the lock keys."""

    name = "SPICE_MSG_INPUTS_INIT"
    fields_desc = [LEShortFlagsField("keyboard_modifiers", 0, constants.KEYBOARD_MODIFIERS)]


class SpiceMsgInputsKeyModifiers(SpiceMessage):
    """Server: the lock keys changed."""

    name = "SPICE_MSG_INPUTS_KEY_MODIFIERS"
    fields_desc = [LEShortFlagsField("modifiers", 0, constants.KEYBOARD_MODIFIERS)]


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
    fields_desc = [LEShortFlagsField("modifiers", 0, constants.KEYBOARD_MODIFIERS)]


class SpiceMsgcInputsKeyScancode(SpiceMessage):
    """Client: several scancodes at once (capability KEY_SCANCODE)."""

    name = "SPICE_MSGC_INPUTS_KEY_SCANCODE"
    fields_desc = [RestField("scancodes", b"")]


class SpiceMsgcInputsMouseMotion(SpiceMessage):
    """Client: relative motion."""

    name = "SPICE_MSGC_INPUTS_MOUSE_MOTION"
    fields_desc = [
        LESignedIntField("dx", 0),
        LESignedIntField("dy", 0),
        LEShortFlagsField("buttons_state", 0, constants.MOUSE_BUTTON_MASK),
    ]


class SpiceMsgcInputsMousePosition(SpiceMessage):
    """Client: absolute position."""

    name = "SPICE_MSGC_INPUTS_MOUSE_POSITION"
    fields_desc = [
        LEIntField("x", 0),
        LEIntField("y", 0),
        LEShortFlagsField("buttons_state", 0, constants.MOUSE_BUTTON_MASK),
        ByteField("display_id", 0),
    ]


def _button() -> list[Any]:
    return [
        ByteEnumField("button", 1, MOUSE_BUTTONS),
        LEShortFlagsField("buttons_state", 0, constants.MOUSE_BUTTON_MASK),
    ]


class SpiceMsgcInputsMousePress(SpiceMessage):
    """Client: a button goes down."""

    name = "SPICE_MSGC_INPUTS_MOUSE_PRESS"
    fields_desc = _button()


class SpiceMsgcInputsMouseRelease(SpiceMessage):
    """Client: a button goes up."""

    name = "SPICE_MSGC_INPUTS_MOUSE_RELEASE"
    fields_desc = _button()


empty("SPICE_MSG_INPUTS_MOUSE_MOTION_ACK")
