# SPDX-License-Identifier: GPL-2.0-or-later
"""What the person at a viewer typed, and what was copied on either side, as text.

Keys are X keysyms (rfbproto.rst "KeyEvent"; the names and numbers are those of X11's keysymdef.h). Passwords
are among what people type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dissect.stream.keyboard import Said, Typing
from dissect.stream.records import Message, Record
from dissect.stream.side import Side

UNICODE = 0x0100_0000
"""Keysyms from here on are this number and the code point."""

MODIFIERS = {
    0xFFE1: "Shift", 0xFFE2: "Shift", 0xFFE3: "Control", 0xFFE4: "Control", 0xFFE7: "Meta", 0xFFE8: "Meta",
    0xFFE9: "Alt", 0xFFEA: "Alt", 0xFFEB: "Super", 0xFFEC: "Super", 0xFE03: "AltGr", 0xFF7E: "AltGr",
}  # fmt: skip
CHARACTERS = {
    0xFF09: "\t", 0xFF0D: "\n", 0xFF8D: "\n", 0xFF89: "\t", 0xFF80: " ", 0xFFAA: "*", 0xFFAB: "+",
    0xFFAC: ",", 0xFFAD: "-", 0xFFAE: ".", 0xFFAF: "/", 0xFFBD: "=",
    **{0xFFB0 + digit: str(digit) for digit in range(10)},
}  # fmt: skip
NAMES = {
    0xFF08: "BackSpace", 0xFF1B: "Escape", 0xFFFF: "Delete", 0xFF50: "Home", 0xFF51: "Left", 0xFF52: "Up",
    0xFF53: "Right", 0xFF54: "Down", 0xFF55: "Prior", 0xFF56: "Next", 0xFF57: "End", 0xFF63: "Insert",
    0xFF13: "Pause", 0xFF14: "Scroll_Lock", 0xFF61: "Print", 0xFF67: "Menu", 0xFF7F: "Num_Lock",
    0xFFE5: "Caps_Lock", 0xFF95: "Home", 0xFF96: "Left", 0xFF97: "Up", 0xFF98: "Right", 0xFF99: "Down",
    0xFF9A: "Prior", 0xFF9B: "Next", 0xFF9C: "End", 0xFF9E: "Insert", 0xFF9F: "Delete",
    **{0xFFBE + number: f"F{number + 1}" for number in range(24)},
}  # fmt: skip


def character(keysym: int) -> str | None:
    """The character that a keysym stands for, if it is one."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    if UNICODE + 0x20 <= keysym <= UNICODE + 0x10FFFF:
        return chr(keysym - UNICODE)
    return CHARACTERS.get(keysym)


def typed(records: Iterable[Record]) -> Iterator[Said]:
    """What was typed and copied in one conversation, in order; a copy ends what was typed before it."""
    typing = Typing("Shift", "AltGr")  # the keysym is the character that they chose
    side, time_ns = Side.CLIENT, 0
    for record in records:
        if not isinstance(record, Message) or not record.parts:
            continue
        match record.name:
            case "KeyEvent" | "QEMUExtendedKeyEvent":
                values = record.values
                keysym = values["key"] if "key" in values else values["keysym"]
                _key(typing, keysym, down=bool(values["down_flag"]))
                side, time_ns = record.side, record.time_ns
            case "ClientCutText" | "ServerCutText":
                fields = record.fields()
                copied = fields.get("clipboard", fields).get("text")
                if copied is None:
                    continue
                if text := typing.take():
                    yield Said(side, "typed", time_ns, text)
                yield Said(record.side, "copied", record.time_ns, copied)
            case _:
                pass
    if text := typing.take():
        yield Said(side, "typed", time_ns, text)


def _key(typing: Typing, keysym: int, *, down: bool) -> None:
    """A key event."""
    if keysym in MODIFIERS:
        typing.modifier(MODIFIERS[keysym], down=down)
    elif down:
        found = character(keysym)
        name = found if found is not None and found > " " else NAMES.get(keysym, f"key {keysym:#x}")
        if found in ("\n", "\t", " "):
            name = {"\n": "Return", "\t": "Tab", " ": "space"}[found]
        typing.press(name, found)
