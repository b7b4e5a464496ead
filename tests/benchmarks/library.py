# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of `dissect.firstbyte` on a capture and on one of ten times the size: it must not grow with it.

Makes its own captures (see traffic.py: a mix of protocols, one conversation in a hundred of interest). Each
way through a capture runs in a process of its own, whose largest memory is compared. "All held" is what a
notebook does: `list(fb.open(path))`.

    python tests/benchmarks/library.py                     # 100,000 and 1,000,000 packets, about 1 GB
    python tests/benchmarks/library.py --packets 20000     # and 200,000
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.benchmarks import traffic
from tests.benchmarks.traffic import ROOT

WAYS = {
    "verdicts": "sum(1 for _ in fb.open(path).verdicts())",
    "records": "sum(1 for _ in fb.open(path).records())",
    "conversations, one at a time": "sum(len(one.messages) for one in fb.open(path))",
    "conversations, all held": "len(held := list(fb.open(path)))",
    "messages to Parquet": "fb.open(path).table('messages').to_parquet(path + '.parquet')",
}
"""What is done -> the expression for it."""

CODE = """
import resource, sys
from dissect import firstbyte as fb
path = sys.argv[1]
found = {way}
print(found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure(way: str, path: Path) -> tuple[str, int, float]:
    """What came out, the peak in kB, and the seconds that it took."""
    begun = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-c", CODE.format(way=way), str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found, peak = answer.stdout.split()
    return found, int(peak), time.monotonic() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packets", type=int, default=100_000, metavar="N", help="of the smaller capture")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="firstbyte-library-") as folder:
        paths = []
        for packets in (args.packets, 10 * args.packets):
            path = Path(folder) / f"{packets}.pcap"
            with path.open("wb") as stream:
                traffic.mix(stream, packets, ROOT / "pcaps")
            paths.append(path)
            print(f"{packets:,} packets: {path.stat().st_size / 1e6:,.0f} MB")
        print(f"load average {os.getloadavg()[0]:.2f}")
        for name, way in WAYS.items():
            small, large = (measure(way, path) for path in paths)
            print(
                f"{name:<30} {small[1] / 1024:6.0f} MiB -> {large[1] / 1024:6.0f} MiB"
                f"  ({large[1] / small[1]:.2f} times)   {large[2]:.0f} s, {large[0]} found"
            )


if __name__ == "__main__":
    main()
