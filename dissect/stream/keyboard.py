# SPDX-License-Identifier: GPL-2.0-or-later
"""What was typed and copied, as text: what the protocols have in common of it.

A key that is pressed is typed, also where it repeats; one that stands for no character is its name in
brackets, with the modifiers that are held: `[BackSpace]`, `[Control+a]`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dissect.stream.side import Side


@dataclass(frozen=True, slots=True)
class Said:
    """A text: who it came from, whether it was typed or copied, and when the last of it came (ns).

    `layout` is the keyboard whose characters were taken, where the protocol tells only which key it was.
    """

    side: Side
    how: str
    time_ns: int
    text: str
    layout: str | None = None


class Typing:
    """The keys of one keyboard as they are pressed, until `take` takes their text.

    `choosing`: the modifiers that only choose among the characters of a key; they are not shown beside one.
    """

    def __init__(self, *choosing: str) -> None:
        self.held: set[str] = set()
        self._choosing = frozenset(choosing)
        self._text = ""

    def modifier(self, name: str, *, down: bool) -> None:
        """A modifier goes down or up."""
        (self.held.add if down else self.held.discard)(name)

    def press(self, name: str, character: str | None) -> None:
        """A key is pressed: its name, and the character that it stands for, with the modifiers."""
        if character is not None and self.held <= self._choosing:
            self._text += character
            return
        shown = sorted(self.held - self._choosing)
        if character is None and "Shift" in self.held:
            shown.append("Shift")
        self._text += f"[{'+'.join([*shown, name])}]"

    def take(self) -> str:
        """What was typed since the last time."""
        text, self._text = self._text, ""
        return text
