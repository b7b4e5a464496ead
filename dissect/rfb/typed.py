# SPDX-License-Identifier: GPL-2.0-or-later
"""What the person at a viewer typed, and what was copied on either side, as text.

Keys are X keysyms (rfbproto.rst "KeyEvent"; the names and numbers are those of X11's keysymdef.h). A key that
is pressed is typed, also where it repeats; one that stands for no character is its name in brackets, with the
modifiers that are held: `[BackSpace]`, `[Control+a]`. Passwords are among what people type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dissect.stream.records import Message, Record
from dissect.stream.side import Side

UNICODE = 0x0100_0000
"""Keysyms from here on are this number and the code point."""

MODIFIERS = {
    0xFFE1: "Shift", 0xFFE2: "Shift", 0xFFE3: "Control", 0xFFE4: "Control", 0xFFE7: "Meta", 0xFFE8: "Meta",
    0xFFE9: "Alt", 0xFFEA: "Alt", 0xFFEB: "Super", 0xFFEC: "Super", 0xFE03: "AltGr", 0xFF7E: "AltGr",
}  # fmt: skip
SILENT = {"Shift", "AltGr"}
"""Modifiers that choose a character, which the keysym already is."""

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


@dataclass(frozen=True, slots=True)
class Said:
    """A text: who it came from, whether it was typed or copied, and when the last of it came (ns)."""

    side: Side
    how: str
    time_ns: int
    text: str


def character(keysym: int) -> str | None:
    """The character that a keysym stands for, if it is one."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    if UNICODE + 0x20 <= keysym <= UNICODE + 0x10FFFF:
        return chr(keysym - UNICODE)
    return CHARACTERS.get(keysym)


def typed(records: Iterable[Record]) -> Iterator[Said]:
    """What was typed and copied in one conversation, in order; a copy ends what was typed before it."""
    held: set[str] = set()
    text = ""
    side, time_ns = Side.CLIENT, 0
    for record in records:
        if not isinstance(record, Message) or not record.parts:
            continue
        match record.name:
            case "KeyEvent" | "QEMUExtendedKeyEvent":
                values = record.values
                keysym = values["key"] if "key" in values else values["keysym"]
                text += _pressed(keysym, bool(values["down_flag"]), held)
                side, time_ns = record.side, record.time_ns
            case "ClientCutText" | "ServerCutText":
                fields = record.fields()
                copied = fields.get("clipboard", fields).get("text")
                if copied is None:
                    continue
                if text:
                    yield Said(side, "typed", time_ns, text)
                    text = ""
                yield Said(record.side, "copied", record.time_ns, copied)
            case _:
                pass
    if text:
        yield Said(side, "typed", time_ns, text)


def _pressed(keysym: int, down: bool, held: set[str]) -> str:
    """What a key event adds to the text."""
    if keysym in MODIFIERS:
        (held.add if down else held.discard)(MODIFIERS[keysym])
        return ""
    if not down:
        return ""
    found = character(keysym)
    if found is not None and held <= SILENT:
        return found
    name = found if found is not None and found > " " else NAMES.get(keysym, f"key {keysym:#x}")
    if found in ("\n", "\t", " "):
        name = {"\n": "Return", "\t": "Tab", " ": "space"}[found]
    shown = sorted(held - SILENT) + (["Shift"] if "Shift" in held and found is None else [])
    return f"[{'+'.join([*shown, name])}]"
