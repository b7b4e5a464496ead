# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte show --json` on VNC and SPICE sessions of growing length, with `tshark -T fields` beside it.

For each encoding a real server (Xtigervnc, Xtightvnc) encodes changing pictures, for a viewer that sets a
pixel format, as real ones do; Xspice sends the same pictures in each compression, and rectangles of a few
pixels. What both said after the handshake, up to the last whole message, is written once, 4, 16 and 64 times
over, as segments of 1460 bytes. (What is compressed is not one stream then; nobody unpacks it here.)
Printed is

- what starting costs: CPU seconds for a capture of the handshake alone, by both;
- for each length: CPU, microseconds a packet beyond the start, peak memory; the ratio of both CPUs, all
  included, and of what was added since the length before; tshark is left out where it would take longer
  than its limit;
- `place`: whether tshark keeps its place, that is, names no message type that does not exist. Where it loses
  it, it looks at the rest of that side no further, and the ratio is that of two different works.

Ratios of one run hold, times do not: the load is printed.

    python -m tests.benchmarks.lengths [--pictures N] [--geometry WxH] [--only ENCODING] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissect.spice.constants import COMMON, MESSAGES
from dissect.spice.session import SpiceSession
from dissect.stream.side import Side
from tests.benchmarks.show import (
    ENCODINGS,
    LIMIT_S,
    MTU,
    SPICE,
    TSHARK_FIELDS,
    TSHARK_SPICE,
    Cost,
    Said,
    as_a_user_has_it,
    cost,
    handshake,
    session,
    spice_session,
    write,
)

LENGTHS = (1, 4, 16, 64)
TURNS = 3
"""How often both programs are run on a session, by turns; the least of it counts, ..."""

LONG_S = 10.0
"""...unless tshark takes longer (CPU seconds): once is enough then."""

DISPLAY = 2
KNOWN = {
    False: {"0", "1", "2", "3"},
    True: {str(number) for of in (COMMON, DISPLAY) for number in MESSAGES[of][Side.SERVER]},
}
"""The types of the server's messages in these sessions: of VNC, and of SPICE's display."""


@dataclass
class Talk:
    """One session to be measured: what both sides say, and how many entries of it are the handshake."""

    name: str
    said: Said
    begin: int
    spice: bool

    def write(self, path: Path, times: int) -> int:
        """Write the handshake, then so many times what follows it; returns how many packets that are."""
        said = self.said[: self.begin] + self.said[self.begin :] * times
        write(path, said)
        return 3 + sum(-(-len(data) // MTU) for _, data in said)

    def command(self, path: Path, *, firstbyte: bool) -> list[str]:
        """What is measured."""
        if firstbyte:
            return [str(Path(sys.executable).with_name("firstbyte")), "show", "--json", str(path)]
        fields = [word for field in (TSHARK_SPICE if self.spice else TSHARK_FIELDS) for word in ("-e", field)]
        return ["tshark", "-r", str(path), *self._protocol, "-T", "fields", *fields]

    def keeps_its_place(self, path: Path) -> bool:
        """Whether tshark names no type of the server's messages that does not exist."""
        field = "spice.message_type" if self.spice else "vnc.server_message_type"
        server = ["-Y", "tcp.srcport==5900"]
        done = subprocess.run(
            ["tshark", "-r", str(path), *self._protocol, *server, "-T", "fields", "-e", field],
            capture_output=True,
            text=True,
            check=True,
        )
        return {one for line in done.stdout.split() for one in line.split(",")} <= KNOWN[self.spice]

    @property
    def _protocol(self) -> list[str]:
        return ["-d", "tcp.port==5900,spice"] if self.spice else []


def of_spice(name: str, said: Said) -> Talk:
    """A SPICE session as far as its messages are whole, so that it can be said again from there on."""
    session = SpiceSession()
    begin = 0
    for index, (side, data) in enumerate(said):
        session.feed(side, data, index)
        begin += session.state != "messages"
    whole: Said = []
    at = dict.fromkeys(Side, 0)
    for side, data in said:
        kept = data[: max(0, session.pending(side)[0] - at[side])]
        at[side] += len(data)
        if kept:
            whole.append((side, kept))
    return Talk(name, whole, begin + 1, spice=True)


def talks(options: argparse.Namespace) -> Iterator[Talk]:
    """The sessions that are asked for."""
    for name, encoding, server in ENCODINGS:
        if options.only in (None, name):
            said = session(server, encoding, options.pictures, options.geometry)
            yield Talk(name, said, handshake(said) + 2, spice=False)
    for name, compression in SPICE:
        if options.only in (None, name):
            said = spice_session(compression, options.pictures, fills=name.endswith("fill"))
            yield of_spice(name, said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=5, help="pictures of the shortest session (5)")
    parser.add_argument("--geometry", default="1024x768", help="size of the screen (1024x768)")
    parser.add_argument("--only", metavar="ENCODING", help="one row, as `Raw` or `SPICE LZ`")
    parser.add_argument("--json", action="store_true", help="one object a row")
    options = parser.parse_args()
    as_a_user_has_it()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = f"{folder}/compiled"
        if not options.json:
            load = f"load {os.getloadavg()[0]:.1f}"
            print(f"{load}; CPU seconds, least of {TURNS}; µs a packet beyond the start; peak MB")
            heads = f"{'MB':>7} {'packets':>8} {'show':>7} {'µs':>6} {'MB':>5}"
            print(f"{'':10} {'x':>3} {heads} {'tshark':>7} {'µs':>6} {'ratio':>6} {'added':>6} place")
        for talk in talks(options):
            _measure(talk, folder, options)


def _measure(talk: Talk, folder: str, options: argparse.Namespace) -> None:
    path = Path(folder) / "start.pcapng"
    talk.write(path, 0)
    for mine in (True, False):
        cost(talk.command(path, firstbyte=mine))  # warms the caches
    start, their_start = _least(talk, path, beside=True)
    assert their_start is not None
    path = Path(folder) / "warm.pcapng"
    talk.write(path, 1)
    cost(talk.command(path, firstbyte=True))  # compiles what only longer captures need
    last: float | None = 0.0
    before: tuple[Cost, Cost] | None = None
    for times in LENGTHS:
        path = Path(folder) / "session.pcapng"
        packets = talk.write(path, times)
        # Four times the packets take it sixteen times as long at worst.
        hopeless = last is None or (times > 1 and 4 * last > LIMIT_S)
        ours, theirs = _least(talk, path, beside=not hopeless)
        last = None if theirs is None else theirs.cpu
        row: dict[str, Any] = {
            "encoding": talk.name,
            "times": times,
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "packets": packets,
            "start_s": round(start.cpu, 3),
            "tshark_start_s": round(their_start.cpu, 3),
            "show_s": round(ours.cpu, 3),
            "show_us": round(1e6 * (ours.cpu - start.cpu) / packets, 1),
            "peak_mb": ours.peak_kb // 1024,
        }
        if theirs is not None:
            row["tshark_s"] = round(theirs.cpu, 2)
            row["tshark_us"] = round(1e6 * (theirs.cpu - their_start.cpu) / packets, 1)
            row["ratio"] = round(theirs.cpu / ours.cpu, 1)
            if before is not None:
                more = theirs.cpu - before[1].cpu, ours.cpu - before[0].cpu
                row["added"] = round(more[0] / max(0.01, more[1]), 1)
            before = ours, theirs
            if times == 1:
                row["place"] = "kept" if talk.keeps_its_place(path) else "lost"
        path.unlink()
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        text = f"{talk.name:10} {times:3} {row['megabytes']:7} {packets:8} {row['show_s']:7}"
        text += f" {row['show_us']:6} {row['peak_mb']:5}"
        text += f" {row.get('tshark_s', '-'):>7} {row.get('tshark_us', '-'):>6}"
        text += f" {row.get('ratio', '-'):>6} {row.get('added', '-'):>6} {row.get('place', '')}"
        print(text.rstrip(), flush=True)
        if times == 1:
            print(f"{'':10}     start: show {row['start_s']}, tshark {row['tshark_start_s']}", flush=True)


def _least(talk: Talk, path: Path, *, beside: bool) -> tuple[Cost, Cost | None]:
    """What firstbyte takes, and tshark `beside` it (None beyond the limit): the least of `TURNS`."""
    ours: list[Cost] = []
    theirs: list[Cost] = []
    while len(ours) < TURNS and not (theirs and theirs[0].cpu > LONG_S):
        for costs, mine in ((ours, True), (theirs, False)):
            found = cost(talk.command(path, firstbyte=mine)) if mine or beside else None
            costs += [] if found is None else [found]
        beside = beside and bool(theirs)
    return min(ours, key=_cpu), min(theirs, key=_cpu, default=None)


def _cpu(found: Cost) -> float:
    return found.cpu


if __name__ == "__main__":
    main()
