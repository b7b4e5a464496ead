# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte show --json` on VNC sessions of growing length, with `tshark -T fields` beside it.

For each encoding a real server (Xtigervnc, Xtightvnc) encodes changing pictures, for a viewer that sets a
pixel format, as real ones do; what both said after the handshake is written once, 4, 16 and 64 times over as
segments of 1460 bytes. (What is compressed is not one stream then; nobody inflates it here.) Printed is

- what starting costs: CPU seconds for a capture of the handshake alone, by both;
- for each length: CPU, microseconds a packet beyond the start, peak memory; the ratio of both CPUs, all
  included; tshark is left out where it would take longer than its limit;
- `place`: whether tshark keeps its place, that is, names no message type that does not exist. Where it loses
  it, it looks at the rest of that side no further, and the ratio is that of two different works.

Ratios of one run hold, times do not: the load is printed. Hextile has a smaller session, as in `show`.

    python -m tests.benchmarks.lengths [--pictures N] [--geometry WxH] [--only ENCODING] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.show import (
    ENCODINGS,
    LIMIT_S,
    SMALLER,
    TSHARK_FIELDS,
    Cost,
    Said,
    as_a_user_has_it,
    cost,
    handshake,
    session,
    write,
)

LENGTHS = (1, 4, 16, 64)
KNOWN = {"0", "1", "2", "3"}
"""The server's message types in these sessions."""


def command(path: Path, *, firstbyte: bool) -> list[str]:
    """What is measured."""
    if firstbyte:
        return [str(Path(sys.executable).with_name("firstbyte")), "show", "--json", str(path)]
    fields = [word for field in TSHARK_FIELDS for word in ("-e", field)]
    return ["tshark", "-r", str(path), "-T", "fields", *fields]


def keeps_its_place(path: Path) -> bool:
    """Whether tshark names no server's message that does not exist."""
    done = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", "-e", "vnc.server_message_type"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {one for line in done.stdout.split() for one in line.split(",")} <= KNOWN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=5, help="pictures of the shortest session (5)")
    parser.add_argument("--geometry", default="1024x768", help="size of the screen (1024x768)")
    parser.add_argument("--only", metavar="ENCODING", help="one of Raw, Hextile, zlib, Tight, ZRLE")
    parser.add_argument("--json", action="store_true", help="one object a row")
    options = parser.parse_args()
    as_a_user_has_it()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = f"{folder}/compiled"
        if not options.json:
            print(f"load {os.getloadavg()[0]:.1f}; CPU seconds; µs a packet beyond the start; peak MB")
            heads = f"{'MB':>7} {'packets':>8} {'show':>7} {'µs':>6} {'MB':>5}"
            print(f"{'':8} {'x':>3} {heads} {'tshark':>7} {'µs':>6} {'ratio':>6} place")
        for name, encoding, server in ENCODINGS:
            if options.only in (None, name):
                count, geometry = SMALLER.get(name, (options.pictures, options.geometry))
                _encoding(name, session(server, encoding, count, geometry), folder, options)


def _encoding(name: str, said: Said, folder: str, options: argparse.Namespace) -> None:
    begin = handshake(said) + 2
    path = Path(folder) / "start.pcapng"
    write(path, said[:begin])
    starts: dict[bool, Cost] = {}
    for mine in (True, False):
        cost(command(path, firstbyte=mine))  # warms the caches
        found = cost(command(path, firstbyte=mine))
        assert found is not None
        starts[mine] = found
    path = Path(folder) / "warm.pcapng"
    write(path, said)
    cost(command(path, firstbyte=True))  # compiles what only longer captures need
    last: float | None = 0.0
    for times in LENGTHS:
        path = Path(folder) / f"{name}.pcapng"
        write(path, said[:begin] + said[begin:] * times)
        packets = 3 + sum(-(-len(data) // 1460) for _, data in said[:begin] + said[begin:] * times)
        ours = cost(command(path, firstbyte=True))
        assert ours is not None
        # Four times the packets take it sixteen times as long at worst.
        hopeless = last is None or (times > 1 and 4 * last > LIMIT_S)
        theirs = None if hopeless else cost(command(path, firstbyte=False))
        last = None if theirs is None else theirs.cpu
        row: dict[str, Any] = {
            "encoding": name,
            "times": times,
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "packets": packets,
            "start_s": round(starts[True].cpu, 3),
            "tshark_start_s": round(starts[False].cpu, 3),
            "show_s": round(ours.cpu, 3),
            "show_us": round(1e6 * (ours.cpu - starts[True].cpu) / packets, 1),
            "peak_mb": ours.peak_kb // 1024,
        }
        if theirs is not None:
            row["tshark_s"] = round(theirs.cpu, 2)
            row["tshark_us"] = round(1e6 * (theirs.cpu - starts[False].cpu) / packets, 1)
            row["ratio"] = round(theirs.cpu / ours.cpu, 1)
            if times == 1:
                row["place"] = "kept" if keeps_its_place(path) else "lost"
        path.unlink()
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        text = f"{name:8} {times:3} {row['megabytes']:7} {packets:8} {row['show_s']:7} {row['show_us']:6}"
        text += f" {row['peak_mb']:5} {row.get('tshark_s', '-'):>7} {row.get('tshark_us', '-'):>6}"
        print(f"{text} {row.get('ratio', '-'):>6} {row.get('place', '')}".rstrip(), flush=True)
        if times == 1:
            print(f"{'':8}     start: show {row['start_s']}, tshark {row['tshark_start_s']}", flush=True)


if __name__ == "__main__":
    main()
