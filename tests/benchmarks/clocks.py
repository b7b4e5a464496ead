# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the clocks of a matrix are apart, and its wire times from those of an independent tcpdump.

    .venv/bin/python -m tests.benchmarks.clocks [N] [--load K]

N (25) trials of each of four pairs of models, in which somebody notices or a ServerInit comes, while K (0)
programs keep the processors busy. Times are compared trial by trial: the user clock's with the wire's, and
the wire's with those that the same dissector finds where each packet has the time that tcpdump gave it. Needs
root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dissect.capture import PcapngWriter, open_capture, read
from dissect.capture.media import LINKTYPE_ETHERNET
from dissect.dissection.reading import Dissected, dissect
from dissect.lab.lab import Lab
from dissect.lab.matrix import Matrix, Plan
from dissect.lab.recorder import Recorder
from dissect.stream import Side
from dissect.timing.results import Row

CLIENTS, SERVERS = ("model-vnc-early", "model-spice"), ("model-spice-4", "model-vnc")


@contextmanager
def tcpdump(path: Path) -> Iterator[None]:
    """All TCP of loopback, in nanoseconds, as tcpdump writes it."""
    command = ["tcpdump", "-i", "lo", "-s", "0", "--time-stamp-precision=nano", "-U", "-B", "65536"]
    process = subprocess.Popen([*command, "-w", str(path), "tcp"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "listening on" not in process.stderr.readline():
        if process.poll() is not None:
            raise SystemExit("tcpdump does not run")
    try:
        yield
    finally:
        time.sleep(1.5)  # it writes what it has once a second
        process.send_signal(signal.SIGINT)
        for line in process.stderr:
            if "dropped by kernel" in line and not line.startswith("0 "):
                print(f"tcpdump: {line.strip()}")
        process.wait()
        process.stderr.close()


@contextmanager
def busy(number: int) -> Iterator[None]:
    """So many programs that do nothing but compute."""
    programs = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


class Kept(Matrix):
    """A matrix that keeps the recordings of its hops."""

    def __init__(self, lab: Lab, plan: Plan, folder: Path) -> None:
        super().__init__(lab, plan, wire=True)
        self.folder = folder

    def _observe(self, row: Row, folder: Path, hops: dict[Side, Recorder], *, relayed: bool) -> None:
        for side in hops:
            shutil.copy(folder / f"{side}.pcapng", self.folder / f"{row.order}-{side}.pcapng")
        super()._observe(row, folder, hops, relayed=relayed)


def packets(path: Path) -> list[tuple[int, bytes]]:
    with open_capture(path) as capture:
        return [(packet.time_ns, bytes(packet.data)) for packet in capture]


def by_tcpdump(path: Path, theirs: dict[bytes, list[int]]) -> tuple[list[int], Dissected | None]:
    """How far the stamps of a recording are from tcpdump's of the same packets, and the recording with those.

    theirs: a packet without its link header -> when it came. None where tcpdump lacks one.
    """
    apart = []
    again = path.with_suffix(".again")
    with again.open("w+b") as file:
        writer = PcapngWriter(file, linktype=LINKTYPE_ETHERNET, name="lo", start_ns=0)
        for ours, frame in packets(path):
            times = theirs.get(frame[14:])
            if times is None:
                return [], None
            time_ns = min(times, key=lambda ns: abs(ns - ours))
            apart.append(ours - time_ns)
            writer.write(time_ns, frame)
        writer.close(time_ns + 1)
    with open_capture(again) as capture:
        return apart, next(dissect(read(capture)))


def figures(name: str, differences: list[int], absolute: bool = False) -> str:
    """Median, 5 to 95 % and the worst, in µs."""
    values = sorted(abs(value) for value in differences) if absolute else sorted(differences)
    place = [values[len(values) * part // 100] / 1000 for part in (5, 50, 95)]
    worst = max(values, key=abs) / 1000
    most = f"5 % to 95 % {place[0]:.1f} to {place[2]:.1f} µs, worst {worst:.1f} µs"
    return f"{name}: n = {len(values)}, median {place[1]:.1f} µs, {most}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trials", nargs="?", type=int, default=25)
    parser.add_argument("--load", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lo.pcap"
        before = os.getloadavg()[0]
        with Lab() as lab, busy(args.load), tcpdump(path):
            time.sleep(5 if args.load else 0)
            plan = Plan(CLIENTS, SERVERS, args.trials, 5.0)
            with Kept(lab, plan, Path(folder)) as run:
                rows = [row for row in run.run(set()) if row.lost is None]
        print(f"{args.load} busy programs, load average {before:.2f} before, {os.getloadavg()[0]:.2f} after")
        for side in Side:
            both = [(row.seen(side, "user"), row.seen(side, "wire")) for row in rows]
            apart = [user.ns - wire.ns for user, wire in both if user and wire and user.exact and wire.exact]
            print(figures(f"{side}: user minus wire", apart))
        apart = [
            row.server_init_ns["user"] - row.server_init_ns["wire"] for row in rows if row.server_init_ns
        ]
        print(figures("to ServerInit: user minus wire", apart))
        theirs: dict[bytes, list[int]] = {}
        for time_ns, frame in packets(path):
            theirs.setdefault(frame[14:], []).append(time_ns)
        stamps, durations = [], []
        for row in rows:
            for side in Side:
                apart, seen = by_tcpdump(Path(folder) / f"{row.order}-{side}.pcapng", theirs)
                stamps += apart
                ours = row.seen(side, "wire")
                other = None if seen is None else seen.verdict.detect(side)
                if ours is not None and other is not None and ours.exact and not other.censored:
                    durations.append(ours.ns - other.ns)
        print(figures("stamps of packets, against tcpdump's", stamps, absolute=True))
        print(figures("times of the wire clock, against tcpdump's", durations, absolute=True))


if __name__ == "__main__":
    main()
