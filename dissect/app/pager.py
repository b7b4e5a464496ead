# SPDX-License-Identifier: GPL-2.0-or-later
"""A pager for output that is longer than the terminal.

What is printed is held until it fills the screen. What does not is printed as ever; what does goes to the
program in PAGER, else to `less`, which gets LESS=FRX where the user has not set it: colours stay, and the
screen is not cleared at the end. No pager: where NO_PAGER is set, PAGER is empty or `cat`, the terminal is
dumb, or there is none installed.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from dissect.app import terminal


def command() -> str | None:
    """The pager as a command of the shell; None where none is wanted, or there is none."""
    if os.environ.get("NO_PAGER") or os.environ.get("TERM", "dumb") == "dumb":
        return None
    chosen = os.environ.get("PAGER")
    if chosen is None:
        chosen = next((name for name in ("less", "more") if shutil.which(name)), "")
    return None if chosen.strip() in ("", "cat") else chosen


@contextmanager
def pager() -> Iterator[None]:
    """Show what is printed to stdout inside through a pager, where it is longer than the screen.

    Leaves when the pager has ended. A pager that its reader quits early is a closed pipe
    (`BrokenPipeError`), as for any reader of ours.
    """
    chosen = command()
    if chosen is None:
        yield
        return
    before = sys.stdout
    paged = Paged(before, chosen, shutil.get_terminal_size())
    sys.stdout = paged
    terminal.page("waits")
    try:
        yield
    finally:
        sys.stdout = before
        terminal.page("")
        paged.end()


class Paged(io.TextIOBase):
    """What stands for stdout: holds one screen, then writes to the pager."""

    def __init__(self, screen: TextIO, command: str, size: os.terminal_size) -> None:
        self._screen = screen
        self._command = command
        self._columns, self._lines = max(1, size.columns), max(2, size.lines)
        self._held: list[str] = []
        self._height = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._screen.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._screen.errors

    def isatty(self) -> bool:
        """Whether a person reads this: colours and widths are those of the terminal behind the pager."""
        return self._screen.isatty()

    def fileno(self) -> int:
        return self._screen.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if self._process is None:
            self._held.append(text)
            # Escapes count as columns too: a screen that is nearly full is paged a little early.
            self._height += text.count("\n") + len(text) // self._columns
            if self._height < self._lines - 1:
                return len(text)
            self._start()
            return len(text)
        assert self._process.stdin is not None
        return self._process.stdin.write(text)

    def flush(self) -> None:
        """Nothing: a pager reads on when it likes, and what is held may still become a page."""

    def _start(self) -> None:
        environment = {"LESS": "FRX", "LV": "-c", **os.environ}
        self._process = subprocess.Popen(
            self._command,
            shell=True,  # PAGER is a command of the shell, by POSIX
            stdin=subprocess.PIPE,
            text=True,
            encoding=self.encoding,
            errors=self.errors,
            env=environment,
        )
        terminal.page("shows")
        held, self._held = "".join(self._held), []
        self.write(held)

    def end(self) -> None:
        """Give the pager the rest and wait until it is quit, or print what never filled the screen."""
        if self._process is None:
            self._screen.write("".join(self._held))
            self._screen.flush()
            return
        # Ctrl-C is the pager's while it has the terminal: leaving before it does would leave it to the shell.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            assert self._process.stdin is not None
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # quit before it had read everything
            self._process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
