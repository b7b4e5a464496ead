# SPDX-License-Identifier: GPL-2.0-or-later
"""Run firstbyte on a terminal of its own, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FIRSTBYTE = (sys.executable, "-m", "dissect.app.main")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Seen:
    """What came on the screen, and the exit code."""

    screen: str
    code: int


def on_a_terminal(
    *words: str,
    lines: int = 24,
    keys: str = "",
    await_: str = "",
    environment: dict[str, str] | None = None,
) -> Seen:
    """Run `firstbyte WORDS` on a terminal of `lines` x 100; type `keys` once `await_` is on the screen.

    The keys come half a second apart, as a person's do (after Ctrl-C what was typed ahead is lost), and the
    last one until it has been heard. The environment is empty but for PATH and what is given. Fails after 60
    seconds.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.OPOST  # so that "\n" stays what it is
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    base = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*FIRSTBYTE, *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**base, **(environment or {})},
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    screen = b""
    next_key = 0.0
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if keys and await_.encode() in screen and time.monotonic() > next_key:
                with suppress(OSError):  # nobody has the other end any more
                    os.write(ours, keys[0].encode())
                keys = keys[1:] or keys
                next_key = time.monotonic() + 0.5
            if not select.select([ours], [], [], 0.1)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
            if not data:
                break
            screen += data
        code = process.wait(max(0.1, deadline - time.monotonic()))
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return Seen(screen.decode("utf-8", "replace"), code)
