# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the clocks of a matrix are apart, and its wire times from those of an independent tcpdump.

    .venv/bin/python -m tests.benchmarks.clocks [N] [--load K]

N (25) trials of each of four pairs of models, in which somebody notices or a ServerInit comes, while K (0)
programs keep the processors busy. Times are compared trial by trial: the user clock's with the wire's, and
the wire's with what the same dissector finds in tcpdump's capture of the same packets. Needs root.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dissect.capture import open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.lab.lab import Lab
from dissect.lab.matrix import Matrix, Plan
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


def hops(path: Path, rows: Sequence[Row]) -> Iterator[tuple[Row, Dissected, Dissected]]:
    """Of each trial, tcpdump's view of the client's and of the server's hop: those of one began together."""
    with open_capture(path) as capture:
        found = sorted(dissect(read(capture), records=False), key=lambda one: one.conversation.start_ns)
    ends = [row.started_ns for row in rows[1:]] + [1 << 63]
    for row, end in zip(rows, ends, strict=True):
        of = [one for one in found if row.started_ns <= one.conversation.start_ns < end]
        mine = [one for one in of if one.verdict.client_spoke == row.client_spoke]
        for client in mine:
            # The relay connects while it serves the client: the next connection, a millisecond away at most.
            later = [
                one for one in mine if 0 < one.conversation.start_ns - client.conversation.start_ns < 10**8
            ]
            server = later[0] if len(later) == 1 else None
            if server is not None and server.verdict.server_spoke == row.server_spoke:
                yield row, client, server
                break


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
            with Matrix(lab, plan, wire=True) as run:
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
        against = []
        for row, client, server in hops(path, rows):
            for side, seen in ((Side.CLIENT, client), (Side.SERVER, server)):
                ours, theirs = row.seen(side, "wire"), seen.verdict.detect(side)
                if ours and theirs and ours.exact and not theirs.censored:
                    against.append(ours.ns - theirs.ns)
        print(figures("wire against tcpdump, absolute", against, absolute=True))


if __name__ == "__main__":
    main()
