# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a capture file, as data: one line with file, offset and reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAMAGED: Final = "the file is damaged here and nothing after this place can be found"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at one place of one file; `str()` is one line fit for a person."""

    file: str
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{one_line(self.file)}: at byte {self.offset}: {one_line(self.reason)}"


class CaptureError(Exception):
    """Nothing can be read from this file. `str()` is the one line of its `problem`."""

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(file, offset, reason)  # as given, so that it can be pickled
        self.problem: Final = Problem(file, offset, reason)

    def __str__(self) -> str:
        return str(self.problem)

    @property
    def file(self) -> str:
        """The file's name as the user knows it."""
        return self.problem.file

    @property
    def offset(self) -> int:
        """Where in the file, in bytes from its start."""
        return self.problem.offset

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return self.problem.reason


def words_of(error: Exception) -> str:
    """An operating system's error in lower-case words."""
    if isinstance(error, IsADirectoryError):
        return "a directory, not a capture"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{words[0].lower()}{words[1:]}"


def one_line(text: str) -> str:
    """The text with everything that does not print made visible, so that it is one safe line."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )
