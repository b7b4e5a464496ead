# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte show --json` against `tshark -T fields` on the same VNC sessions: CPU of both, and their ratio.

The sessions are made of real updates: a real server (Xtigervnc, Xtightvnc) encodes changing pictures of a
common screen size, every fifth of them noise; what it sent is written as a capture of MTU-sized segments,
once and twice as long. Both programs read the same file in the same run, in turn; user and system time of the
child are counted, its start-up too. Ratios hold, times do not.

    python tests/benchmarks/show.py [--pictures N] [--geometry WxH] [--only ENCODING] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dissect.capture.write import PcapngWriter, TcpScript
from dissect.lab.lab import Lab
from dissect.stream import Side
from dissect.stream.records import Message
from tests.rfb.pixels.viewer import Viewer, pictures
from tests.rfb.pixels.x11 import XClient

ENCODINGS = [
    ("Raw", 0, "xtigervnc"),
    ("Hextile", 5, "xtigervnc"),
    ("zlib", 6, "xtightvnc"),
    ("Tight", 7, "xtigervnc"),
    ("ZRLE", 16, "xtigervnc"),
]
TSHARK_FIELDS = ["frame.number", "vnc.client_message_type", "vnc.server_message_type", "vnc.encoding_type"]
LIMIT_S = 120.0
MTU = 1460


@dataclass
class Cost:
    """One command on one capture."""

    cpu: float
    peak_kb: int


def session(server: str, encoding: int, count: int, geometry: str) -> list[tuple[Side, bytes]]:
    """What both sides say while `count` pictures are shown."""
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
    return said


def write(path: Path, said: list[tuple[Side, bytes]]) -> None:
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


def cost(command: list[str]) -> Cost | None:
    """CPU and peak memory of a command; None where it took longer than `LIMIT_S`."""
    pid = os.fork()
    if not pid:
        resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT_S), int(LIMIT_S)))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.execvp(command[0], command)
    _, status, usage = os.wait4(pid, 0)
    return None if status else Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=5, help="pictures of the shorter session (5)")
    parser.add_argument("--geometry", default="1024x768", help="size of the screen (1024x768)")
    parser.add_argument("--json", action="store_true", help="one object an encoding")
    parser.add_argument("--only", metavar="ENCODING", help="one of Raw, Hextile, zlib, Tight, ZRLE")
    options = parser.parse_args()
    firstbyte = str(Path(sys.executable).with_name("firstbyte"))
    fields = [word for field in TSHARK_FIELDS for word in ("-e", field)]
    version = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=True).stdout
    if not options.json:
        print(version.splitlines()[0], "- CPU seconds, peak MB; the longer session is twice the shorter")
        print(f"{'':8} {'MB':>6} {'show':>7} {'tshark':>8} {'ratio':>7} {'twice':>6} {'MB':>5} {'twice':>6}")
    for name, encoding, server in ENCODINGS:
        if options.only not in (None, name):
            continue
        said = session(server, encoding, 2 * options.pictures, options.geometry)
        updates = [
            index for index, (side, data) in enumerate(said) if data[:1] == b"\0" and side is Side.SERVER
        ]
        half = updates[len(updates) // 2] + 1
        with tempfile.TemporaryDirectory() as directory:
            short, long = Path(directory) / "short.pcapng", Path(directory) / "long.pcapng"
            write(short, said[:half])
            write(long, said)
            time.sleep(0.2)
            ours = cost([firstbyte, "show", "--json", str(short)])
            theirs = cost(["tshark", "-r", str(short), "-T", "fields", *fields])
            twice = cost([firstbyte, "show", "--json", str(long)])
            size = short.stat().st_size / 1e6
        assert ours is not None
        assert twice is not None
        ratio = None if theirs is None else theirs.cpu / ours.cpu
        row = {
            "encoding": name,
            "megabytes": round(size, 2),
            "show_s": round(ours.cpu, 3),
            "tshark_s": None if theirs is None else round(theirs.cpu, 3),
            "ratio": None if ratio is None else round(ratio, 1),
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
                f"{name:8} {size:6.2f} {ours.cpu:7.2f} {tshark:>8} {shown:>7} {row['twice']:6}"
                f" {row['peak_mb']:5} {row['peak_mb_twice']:6}",
                flush=True,
            )


if __name__ == "__main__":
    main()
