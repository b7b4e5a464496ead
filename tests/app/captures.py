# SPDX-License-Identifier: GPL-2.0-or-later
"""Small captures for tests of the commands, and what else several of them need."""

from __future__ import annotations

import struct
from pathlib import Path

from dissect.capture import open_capture
from dissect.capture.annotate import annotate
from dissect.capture.write import PcapngWriter, TcpScript
from dissect.stream import Side
from tests.capture.build import block, options
from tests.dissection.conversations import ERROR_REPLY, FIN, GREETING, LINK_MESS, MS, Step

START = 1_485_352_991_000_000_000

CURE: list[Step] = [
    (Side.CLIENT, b"RFB ", 1_860 * MS),
    (Side.SERVER, ERROR_REPLY, 1_860 * MS + 80_000),
    (Side.SERVER, FIN, 1_860 * MS + 90_000),
    (Side.CLIENT, FIN, 1_860 * MS + 230_000),
]
"""A patient VNC client at a SPICE server that judges after four bytes."""

FAST: list[Step] = [
    (Side.SERVER, GREETING, MS),
    (Side.CLIENT, LINK_MESS, 3 * MS),
    (Side.SERVER, FIN, 3 * MS + 50_000),
    (Side.CLIENT, FIN, 3 * MS + 400_000),
]
"""A SPICE client at a VNC server."""

HANG: list[Step] = []
"""A VNC client that waits for a greeting, at a SPICE server."""


def write(path: Path, *conversations: list[Step], lasts_ns: int = 20_000 * MS) -> Path:
    """Write conversations that all begin at `START`; the capture ends `lasts_ns` later."""
    with PcapngWriter(path, linktype=101) as writer:
        for number, steps in enumerate(conversations):
            script = TcpScript(("127.0.0.1", 40_000 + number), ("127.0.0.1", 5900), writer.write)
            script.opened(START, START, START)
            for side, what, time in steps:
                if what == FIN:
                    script.closed(side, START + time)
                elif isinstance(what, int):
                    script.lost(side, what)
                elif isinstance(what, bytes):
                    script.sent(side, what, START + time)
        writer.close(START + lasts_ns)
    return path


def noted(path: Path) -> Path:
    """A capture with a comment on its first packet, one on a packet that is no TCP, and names at its end."""
    plain = write(path.with_name("plain.pcapng"), CURE)
    with open_capture(plain) as capture:
        first = next(capture).offset
    with plain.open("rb") as source, path.open("wb") as target:
        annotate(source, "x", target, {first: ["the \x1b[31mfirst"]})
    stray = struct.pack("<IIIII", 0, 0, 0, 1, 1) + b"\0\0\0\0" + options("<", (1, b"nothing here"))
    names = options("<", (1, bytes([127, 0, 0, 1]) + b"vm7\x1b.example\0"))
    with path.open("ab") as target:
        target.write(block(6, stray) + block(4, names))
    return path


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie that nobody has asked for its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
