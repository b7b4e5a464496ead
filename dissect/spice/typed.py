# SPDX-License-Identifier: GPL-2.0-or-later
"""What the person at a SPICE client typed, and what the agents carried from one clipboard to the other.

A client sends scan codes of set 1, that is, which key it was: spice.proto, channel inputs; the extended ones
begin with 0xe0, a key that comes up has bit 7. Which character the guest made of it depends on the guest's
keyboard; here it is that of a US keyboard, and AltGr is shown as a modifier. Passwords are among what people
type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dissect.stream.keyboard import Said, Typing
from dissect.stream.records import Message, Record
from dissect.stream.side import Side

LAYOUT = "us"
EXTENDED, PAUSE, RELEASED = 0xE0, 0xE1, 0x80
CAPS_LOCK, NUM_LOCK = 0x3A, 0x45
UNTOLD = {0x12A, 0x136}
"""Shifts that a keyboard sends by itself around other keys."""
CAPS_LOCK_ON, NUM_LOCK_ON = 4, 2
"""Bits of `keyboard_modifiers`: spice.proto."""

PLAIN = {
    0x02: "1234567890-=", 0x10: "qwertyuiop[]", 0x1E: "asdfghjkl;'`", 0x2B: "\\zxcvbnm,./",
}  # fmt: skip
SHIFTED = dict(zip("1234567890-=[];'`\\,./", '!@#$%^&*()_+{}:"~|<>?', strict=True))
CHARACTERS = {first + at: key for first, row in PLAIN.items() for at, key in enumerate(row)}
NAMED = {0x0F: ("Tab", "\t"), 0x1C: ("Return", "\n"), 0x39: ("space", " ")}
NAMED |= {0x100 | 0x1C: ("Return", "\n"), 0x100 | 0x35: ("/", "/"), 0x37: ("*", "*")}
NAMED |= {0x4A: ("-", "-"), 0x4E: ("+", "+")}
KEYPAD = {
    0x47: ("7", "Home"), 0x48: ("8", "Up"), 0x49: ("9", "Prior"), 0x4B: ("4", "Left"), 0x4C: ("5", "Begin"),
    0x4D: ("6", "Right"), 0x4F: ("1", "End"), 0x50: ("2", "Down"), 0x51: ("3", "Next"), 0x52: ("0", "Insert"),
    0x53: (".", "Delete"),
}  # fmt: skip
NAMES = {
    0x01: "Escape", 0x0E: "BackSpace", CAPS_LOCK: "Caps_Lock", NUM_LOCK: "Num_Lock", 0x46: "Scroll_Lock",
    0x57: "F11", 0x58: "F12", 0x137: "Print", 0x15D: "Menu", 0x146: "Break",
    **{0x3B + at: f"F{at + 1}" for at in range(10)},
    **{0x100 | code: name for code, (_, name) in KEYPAD.items()},
}  # fmt: skip
MODIFIERS = {
    0x2A: "Shift", 0x36: "Shift", 0x1D: "Control", 0x11D: "Control", 0x38: "Alt", 0x138: "AltGr",
    0x15B: "Super", 0x15C: "Super",
}  # fmt: skip


def typed(records: Iterable[Record]) -> Iterator[Said]:
    """What was typed and copied in one conversation, in order; a copy ends what was typed before it."""
    keys, time_ns = Keys(), 0
    for record in records:
        if not isinstance(record, Message) or not record.parts:
            continue
        match record.name:
            case "SPICE_MSGC_INPUTS_KEY_DOWN" | "SPICE_MSGC_INPUTS_KEY_UP":
                keys.feed(record.values["code"].to_bytes(4, "little").rstrip(b"\0"))
                time_ns = record.time_ns
            case "SPICE_MSGC_INPUTS_KEY_SCANCODE":
                keys.feed(record.values["scancodes"])
                time_ns = record.time_ns
            case "SPICE_MSGC_INPUTS_KEY_MODIFIERS":
                keys.locks = record.values["modifiers"]
            case "SPICE_MSGC_MAIN_AGENT_DATA" | "SPICE_MSG_MAIN_AGENT_DATA":
                for said in record.fields().get("agent", ()):
                    if said["name"] != "VD_AGENT_CLIPBOARD" or "text" not in said:
                        continue
                    if text := keys.typing.take():
                        yield Said(Side.CLIENT, "typed", time_ns, text, LAYOUT)
                    yield Said(record.side, "copied", record.time_ns, said["text"])
            case _:
                pass
    if text := keys.typing.take():
        yield Said(Side.CLIENT, "typed", time_ns, text, LAYOUT)


class Keys:
    """Scan codes as they come, one or several at a time; a prefix and its code may come apart."""

    def __init__(self) -> None:
        self.typing = Typing("Shift")
        self.locks = 0
        self._prefix = 0
        self._pause = b""

    def feed(self, codes: bytes) -> None:
        """More scan codes."""
        for byte in codes:
            if byte == PAUSE or self._pause:  # one key of three codes
                self._pause += bytes([byte])
                if len(self._pause) == 3:
                    if not byte & RELEASED:
                        self.typing.press("Pause", None)
                    self._pause = b""
                continue
            if byte == EXTENDED:
                self._prefix = 0x100
                continue
            code, self._prefix = self._prefix | byte & ~RELEASED, 0
            down = not byte & RELEASED
            if code in MODIFIERS:
                self.typing.modifier(MODIFIERS[code], down=down)
            elif down and code not in UNTOLD:
                self._press(code)

    def _press(self, code: int) -> None:
        shift = "Shift" in self.typing.held
        if code in CHARACTERS:
            key = CHARACTERS[code]
            if key.isalpha():
                character = key.upper() if shift != bool(self.locks & CAPS_LOCK_ON) else key
            else:
                character = SHIFTED[key] if shift else key
            self.typing.press(character, character)
        elif code in NAMED:
            self.typing.press(*NAMED[code])
        elif code in KEYPAD and self.locks & NUM_LOCK_ON and not shift:
            self.typing.press(KEYPAD[code][0], KEYPAD[code][0])
        else:
            if code in (CAPS_LOCK, NUM_LOCK):
                self.locks ^= CAPS_LOCK_ON if code == CAPS_LOCK else NUM_LOCK_ON
            name = KEYPAD[code][1] if code in KEYPAD else NAMES.get(code, f"key {code:#x}")
            self.typing.press(name, None)
