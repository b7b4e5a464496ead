# SPDX-License-Identifier: GPL-2.0-or-later
"""What `firstbyte --help`, and reading a small capture, cost as a multiple of starting Python itself.

Runs the commands in turn, many times over, so that whatever else the machine does falls on all alike,
and compares medians of one run. Times of different runs or machines say little; the ratio holds.

    python tests/benchmarks/startup.py [--runs N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

BASE = "python -c pass"
SMALL = Path(__file__).resolve().parents[2] / "pcaps/xtightvncviewer--xtightvnc.pcapng"


def commands() -> dict[str, list[str]]:
    """What is measured, the base first: the installed command, run as a user runs it."""
    firstbyte = Path(sys.executable).with_name("firstbyte")
    if not firstbyte.exists():
        sys.exit(f"{firstbyte} is not there: install firstbyte into the environment of this Python")
    read = {
        "firstbyte show --json SMALL": [str(firstbyte), "show", "--json", str(SMALL)],
        "firstbyte verdict --json SMALL": [str(firstbyte), "verdict", "--json", str(SMALL)],
    }
    if tshark := shutil.which("tshark"):
        read["tshark -r SMALL"] = [tshark, "-r", str(SMALL)]
    return {
        BASE: [sys.executable, "-c", "pass"],
        "python -c 'import argparse'": [sys.executable, "-c", "import argparse"],
        "firstbyte --help": [str(firstbyte), "--help"],
        "firstbyte --version": [str(firstbyte), "--version"],
        **read,
        "python -c 'import scapy.packet'": [sys.executable, "-c", "import scapy.packet"],
        "python -c 'import matplotlib.pyplot'": [sys.executable, "-c", "import matplotlib.pyplot"],
    }


def measure(runs: int) -> dict[str, list[int]]:
    """Wall time of each command in ns, `runs` times in turn; the first turn only warms the caches."""
    # Compiled modules are part of an installation, so they are allowed to be kept.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    times: dict[str, list[int]] = {name: [] for name in commands()}
    for turn in range(runs + 1):
        for name, command in commands().items():
            start = time.perf_counter_ns()
            subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, check=True
            )
            if turn:
                times[name].append(time.perf_counter_ns() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="turns (default: 15)")
    parser.add_argument("--json", action="store_true", help="one object a command, times in ns")
    options = parser.parse_args()

    times = measure(max(1, options.runs))
    base = statistics.median(times[BASE])
    if not options.json:
        print(f"{'':38} median      spread   ratio   (medians of {max(1, options.runs)}, in turn)")
    for name, values in times.items():
        median, ratio = statistics.median(values), statistics.median(values) / base
        if options.json:
            print(
                json.dumps(
                    {"command": name, "ns": values, "median_ns": int(median), "ratio": round(ratio, 2)}
                )
            )
        else:
            low, high = min(values) / 1e6, max(values) / 1e6
            print(f"{name:38}{median / 1e6:7.1f} ms {low:5.0f} -{high:4.0f} {ratio:7.2f}")


if __name__ == "__main__":
    main()
