# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte show --json` against `tshark -T fields` on the same VNC and SPICE sessions: CPU, and its ratio.

The sessions are made of real updates: a real server (Xtigervnc, Xtightvnc) encodes changing pictures of a
common screen size, every fifth of them noise, for a viewer that sets a pixel format, as real ones do (tshark
reads Tight only then); what it sent is written as a capture of MTU-sized segments,
once and twice as long. For SPICE Xspice shows the same pictures in each compression and, as the hardest
case, fills rectangles of a few pixels: each is a message of 47 bytes. Both programs read the same files in
the same run, in turn; user and system time of the child are counted. `ratio` is of the shorter session,
start-up included; `added` of what the second half adds. Ratios hold, times do not. Hextile has a smaller
session, for tshark's time on it grows so fast that it would not end.

    python -m tests.benchmarks.show [--pictures N] [--geometry WxH] [--only ENCODING] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dissect.capture.write import PcapngWriter, TcpScript
from dissect.lab.lab import Lab
from dissect.rfb import messages as m
from dissect.stream import Side
from dissect.stream.records import Message
from tests.rfb.pixels.viewer import Viewer, pictures
from tests.rfb.pixels.x11 import XClient
from tests.spice.pixels import viewer

ENCODINGS = [
    ("Raw", 0, "xtigervnc"),
    ("Hextile", 5, "xtigervnc"),
    ("zlib", 6, "xtightvnc"),
    ("Tight", 7, "xtigervnc"),
    ("ZRLE", 16, "xtigervnc"),
]
SMALLER = {"Hextile": (2, "640x480")}
"""Pictures and screen of the shorter session, where tshark would not end in time with a common one."""

SPICE = [
    ("SPICE off", viewer.OFF),
    ("SPICE LZ", viewer.LZ),
    ("SPICE GLZ", viewer.GLZ),
    ("SPICE QUIC", viewer.QUIC),
    ("SPICE LZ4", viewer.LZ4_COMPRESSION),
    ("SPICE fill", viewer.OFF),
]
TSHARK_SPICE = ["frame.number", "spice.message_type", "spice.image_type"]
TSHARK_FIELDS = ["frame.number", "vnc.client_message_type", "vnc.server_message_type", "vnc.encoding_type"]
LIMIT_S = 120.0
MTU = 1460


@dataclass
class Cost:
    """One command on one capture."""

    cpu: float
    peak_kb: int


Said = list[tuple[Side, bytes]]


def handshake(said: Said) -> int:
    """How many entries of a session are its handshake: up to ServerInit, the fourth after the versions."""
    return next(index for index, (side, data) in enumerate(said) if side is Side.CLIENT and data[:1] == b"\2")


def with_format(said: Said) -> Said:
    """The session of a viewer that sets the server's own pixel format first."""
    at = handshake(said)
    init = said[at - 1][1]
    form = m.PixelFormat(init[4:20])
    return [*said[:at], (Side.CLIENT, bytes(m.SetPixelFormat(pixel_format=form))), *said[at:]]


def session(server: str, encoding: int, count: int, geometry: str) -> Said:
    """What both sides say while `count` pictures are shown to a viewer that sets a pixel format."""
    with Lab() as lab:
        running = lab.start(server, arguments=["-geometry", geometry])
        assert running.display is not None
        assert running.xauthority is not None
        assert running.port is not None
        x = XClient(running.display, running.xauthority)
        with x, Viewer(running.host, running.port) as viewer:
            viewer.want([encoding])
            shown = pictures(x.width, x.height)
            for number in range(count):
                x.draw(np.roll(shown[number % 5], 7 * number, 1))
                before = viewer.renderer.updates
                viewer.ask(incremental=False)
                viewer._until(lambda before=before: viewer.renderer.updates > before)  # type: ignore[misc]
            said = [(one.side, one.raw) for one in viewer.records if isinstance(one, Message)]
    return with_format(said)


def spice_session(compression: int, count: int, *, fills: bool) -> Said:
    """What both sides of a display channel say while `count` pictures are shown, or rectangles filled."""
    with Lab() as lab:
        running = lab.start("xspice")
        assert running.display is not None
        assert running.xauthority is not None
        assert running.port is not None
        x = XClient(running.display, running.xauthority)
        with x, viewer.Viewer(running.host, running.port, compression=compression, draws=False) as seen:
            # Xspice waits for a client that does not read, and its X clients with it.
            over = threading.Event()
            reader = threading.Thread(target=lambda: list(iter(lambda: seen.heard(over), True)))
            reader.start()
            shown = pictures(x.width, x.height)
            for number in range(count):
                if fills:
                    for place in range(4000):
                        x.fill((place & 255, number, 7), place % 600, place % 431, 9, 5)
                else:
                    x.draw(np.roll(shown[number % 5], 7 * number, 1))
                x.screenshot()
            over.set()
            reader.join()
            return seen.display.said


def write(path: Path, said: Said) -> None:
    """A capture of one conversation, in segments of a common size, 50 µs apart."""
    with PcapngWriter(path, linktype=101) as writer:
        script = TcpScript(("127.0.0.1", 40000), ("127.0.0.1", 5900), writer.write)
        now = 1_700_000_000_000_000_000
        script.opened(now, now, now)
        for side, data in said:
            for at in range(0, len(data), MTU):
                now += 50_000
                script.sent(side, data[at : at + MTU], now)
        writer.close(now)


def as_a_user_has_it() -> None:
    """Let nothing in the environment slow Python down: compiled modules are kept, output is buffered."""
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]


_MEASURE = """
import os, resource, sys
pid = os.fork()
if not pid:
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]),) * 2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
print(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""
# In a small process of its own: a child's peak counts what its parent held when it began.


def cost(command: list[str]) -> Cost | None:
    """CPU and peak memory of a command; None where it took longer than `LIMIT_S`."""
    measure = [sys.executable, "-ISc", _MEASURE, str(int(LIMIT_S)), *command]
    said = subprocess.run(measure, capture_output=True, text=True, check=True).stdout
    status, cpu, peak_kb = said.split()
    return None if int(status) else Cost(float(cpu), int(peak_kb))


Sessions = Callable[[], tuple[Said, int]]


def _rows(options: argparse.Namespace) -> Iterator[tuple[str, Sessions]]:
    """For each row its name, and what makes its session and says where the shorter one ends."""

    def rfb(name: str, server: str, encoding: int) -> tuple[Said, int]:
        count, geometry = SMALLER.get(name, (options.pictures, options.geometry))
        said = session(server, encoding, 2 * count, geometry)
        updates = [
            index for index, (side, data) in enumerate(said) if data[:1] == b"\0" and side is Side.SERVER
        ]
        return said, updates[len(updates) // 2] + 1

    def spice(name: str, compression: int) -> tuple[Said, int]:
        said = spice_session(compression, 2 * options.pictures, fills=name.endswith("fill"))
        total, half, sent = sum(len(data) for _, data in said), 0, 0
        while sent < total // 2:
            sent += len(said[half][1])
            half += 1
        return said, half

    for name, encoding, server in ENCODINGS:
        yield name, partial(rfb, name, server, encoding)
    for name, compression in SPICE:
        yield name, partial(spice, name, compression)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=5, help="pictures of the shorter session (5)")
    parser.add_argument("--geometry", default="1024x768", help="size of the screen (1024x768)")
    parser.add_argument("--json", action="store_true", help="one object an encoding")
    parser.add_argument("--only", metavar="ENCODING", help="one row, as `Raw` or `SPICE LZ`")
    options = parser.parse_args()
    as_a_user_has_it()
    firstbyte = str(Path(sys.executable).with_name("firstbyte"))
    version = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=True).stdout
    if not options.json:
        print(version.splitlines()[0], "- CPU seconds, peak MB; the longer session is twice the shorter")
        heads = f"{'MB':>6} {'show':>7} {'tshark':>8} {'ratio':>7} {'added':>6} {'twice':>6} {'MB':>5}"
        print(f"{'':10} {heads} {'twice':>6}")
    for name, sessions in _rows(options):
        if options.only not in (None, name):
            continue
        said, half = sessions()
        spice = name.startswith("SPICE")
        fields = [word for field in (TSHARK_SPICE if spice else TSHARK_FIELDS) for word in ("-e", field)]
        protocol = ["-d", "tcp.port==5900,spice"] if spice else []
        with tempfile.TemporaryDirectory() as directory:
            short, long = Path(directory) / "short.pcapng", Path(directory) / "long.pcapng"
            write(short, said[:half])
            write(long, said)
            time.sleep(0.2)
            ours = cost([firstbyte, "show", "--json", str(short)])
            theirs = cost(["tshark", "-r", str(short), *protocol, "-T", "fields", *fields])
            twice = cost([firstbyte, "show", "--json", str(long)])
            theirs_twice = cost(["tshark", "-r", str(long), *protocol, "-T", "fields", *fields])
            size = short.stat().st_size / 1e6
        assert ours is not None
        assert twice is not None
        ratio = None if theirs is None else theirs.cpu / ours.cpu
        added = None
        if theirs is not None and theirs_twice is not None:
            added = (theirs_twice.cpu - theirs.cpu) / max(0.01, twice.cpu - ours.cpu)
        row = {
            "encoding": name,
            "megabytes": round(size, 2),
            "show_s": round(ours.cpu, 3),
            "tshark_s": None if theirs is None else round(theirs.cpu, 3),
            "ratio": None if ratio is None else round(ratio, 1),
            "added": None if added is None else round(added, 1),
            "twice": round(twice.cpu / ours.cpu, 2),
            "peak_mb": ours.peak_kb // 1024,
            "peak_mb_twice": twice.peak_kb // 1024,
        }
        if options.json:
            print(json.dumps(row), flush=True)
        else:
            tshark = f"> {LIMIT_S:.0f}" if theirs is None else f"{theirs.cpu:.2f}"
            shown = f"> {LIMIT_S / ours.cpu:.0f}" if ratio is None else f"{ratio:.1f}"
            print(
                f"{name:10} {size:6.2f} {ours.cpu:7.2f} {tshark:>8} {shown:>7} {row['added'] or '-':>6}"
                f" {row['twice']:6} {row['peak_mb']:5} {row['peak_mb_twice']:6}",
                flush=True,
            )


if __name__ == "__main__":
    main()
