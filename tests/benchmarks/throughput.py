# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte verdict` on large captures, as a multiple of what others take for the same file.

Makes its own captures (see traffic.py): recorded VNC and SPICE sessions multiplied, and a mix of protocols
with one conversation in a hundred of interest. Runs the programs in turn on the same file, after one turn
that only warms the caches, and compares medians of wall time of one run; peaks are the largest of any
process. Needs no privilege. What is not installed (tshark; ndpiReader of Debian's libndpi-bin) is said and
left out.

    python tests/benchmarks/throughput.py                  # 200,000 and 1,000,000 packets, about 1.2 GB
    python tests/benchmarks/throughput.py --mix 10000000   # 10 million packets, about 9.5 GB
    python tests/benchmarks/throughput.py --memory         # peak memory at one and at ten times the size

--keep FOLDER makes the captures there, leaves them, and takes those that are there: to make 10 million
packets takes longer than to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.benchmarks import traffic

SESSIONS, MIX = 200_000, 1_000_000

OURS, ALONE = "firstbyte verdict", "firstbyte verdict --jobs 1"
"""What people type: all is compared with the first of these."""


@dataclass
class Measured:
    """Wall times (s) of each turn, processor time of the last, and the peak of any of its processes (kB)."""

    walls: list[float] = field(default_factory=list)
    processor: float = 0.0
    peak: int = 0

    @property
    def wall(self) -> float:
        return statistics.median(self.walls)


def programs(path: Path) -> dict[str, list[str]]:
    """What is compared, by name; firstbyte as a user runs it."""
    firstbyte = Path(sys.executable).with_name("firstbyte")
    if not firstbyte.exists():
        sys.exit(f"{firstbyte} is not there: install firstbyte into the environment of this Python")
    return {
        OURS: [str(firstbyte), "verdict", str(path)],
        ALONE: [str(firstbyte), "verdict", "--jobs", "1", str(path)],
        "firstbyte verdict --json": [str(firstbyte), "verdict", "--json", str(path)],
        "ndpiReader -q": ["ndpiReader", "-q", "-i", str(path)],
        "tshark -q -z conv,tcp": ["tshark", "-q", "-z", "conv,tcp", "-r", str(path)],
        "cat": ["cat", str(path)],
    }


def versions() -> str:
    """What is compared, as it names itself."""
    found = [f"Python {sys.version.split()[0]}"]
    found += [f"{name} {version(name)}" for name in ("numpy", "numba") if find_spec(name) is not None]
    if find_spec("numba") is None:
        found.append("without numba")
    for command, pattern in (
        (["tshark", "--version"], r"TShark \(Wireshark\) (\S+)"),
        (["ndpiReader", "-h"], r"nDPI .*?(\d\S+)"),
    ):
        if shutil.which(command[0]) is not None:
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            match = re.search(pattern, said.stdout + said.stderr)
            found.append(f"{command[0]} {match.group(1).rstrip('.)') if match else 'of unknown version'}")
    return ", ".join(found)


def once(command: list[str]) -> tuple[float, float, int]:
    """Run a command: wall time and processor time in s, peak memory in kB of its largest process."""
    # A process of its own, so that the peak is that of this command and not of an earlier one.
    code = (
        "import json,resource,subprocess,sys,time;a=time.perf_counter();"
        "r=subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL).returncode;"
        "w=time.perf_counter()-a;u=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([r,w,u.ru_utime+u.ru_stime,u.ru_maxrss]))"
    )
    # As who has not set anything for Python: no bytecode kept, or no buffer, would be another program.
    usual = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, check=True, env=usual)
    status, wall, processor, peak = json.loads(done.stdout)
    if status:
        sys.exit(f"{command[0]} ended with {status}")
    return wall, processor, peak


def compiled() -> None:
    """Compile the kernels, where they are not: for one capture of 200 MB alone that would not be done."""
    if find_spec("numba") is not None:
        subprocess.run(
            [sys.executable, "-c", "from dissect.capture import machine; machine.functions()"], check=True
        )


def measure(path: Path, runs: int, slowest: int) -> dict[str, Measured]:
    """All programs in turn; tshark only where it would not take for ever."""
    found: dict[str, Measured] = {}
    for turn in range(runs + 1):
        for name, command in programs(path).items():
            if shutil.which(command[0]) is None:
                if not turn:
                    print(f"  left out, not installed: {command[0]}")
                continue
            if command[0] == "tshark" and (turn != 1 or path.stat().st_size > slowest):
                continue  # one measurement: it takes many times as long as all others together
            wall, processor, peak = once(command)
            if turn:
                one = found.setdefault(name, Measured())
                one.walls.append(wall)
                one.processor, one.peak = processor, max(one.peak, peak)
    return found


def report(title: str, capture: Made, found: dict[str, Measured]) -> None:
    """A table of one file's ratios."""
    print(
        f"\n{title}: {capture.packets:,} packets, {capture.conversations:,} conversations, "
        f"{capture.bytes:,} bytes"
    )
    print(f"  {'':36}{'wall':>9}{'processor':>11}{'peak':>10}   firstbyte takes")
    ours = found[OURS].wall
    for name, one in found.items():
        ratio = "" if name.startswith(OURS) else f"{ours / one.wall:8.2f} times its wall time"
        print(f"  {name:36}{one.wall:7.2f} s{one.processor:9.2f} s{one.peak / 1024:7.0f} MB   {ratio}")
    tshark = found.get("tshark -q -z conv,tcp")
    if tshark is not None:
        alone = found[ALONE].wall
        print(
            f"  tshark takes {tshark.wall / ours:.1f} times the wall time of firstbyte, "
            f"{tshark.wall / alone:.1f} times that of its one job"
        )


@dataclass(frozen=True)
class Made:
    """A capture, and what is in it."""

    path: Path
    packets: int
    conversations: int
    bytes: int


def made(folder: Path, kind: str, packets: int, live: int) -> Made:
    """The capture of this kind, made now unless it is there."""
    path = folder / f"{kind}-{packets}-{live}.pcap"
    said = path.with_suffix(".json")
    if not said.exists():
        pcaps = traffic.ROOT / "pcaps"
        with path.open("wb") as stream:
            if kind == "sessions":
                writer = traffic.sessions(stream, packets, pcaps)
            else:
                writer = traffic.mix(stream, packets, pcaps, live)
        said.write_text(json.dumps([writer.packets, writer.conversations, writer.bytes]))
    return Made(path, *json.loads(said.read_text()))


def memory(folder: Path, packets: int, live: int) -> None:
    """Peak memory for a capture and for one ten times its size, with as many conversations at a time."""
    peaks = []
    for size in (packets, 10 * packets):
        capture = made(folder, "mix", size, live)
        _, _, peak = once(programs(capture.path)[OURS])
        print(
            f"  {capture.packets:,} packets, {capture.bytes:,} bytes, "
            f"{capture.conversations:,} conversations, {live:,} at a time: peak {peak / 1024:.0f} MB"
        )
        peaks.append(peak)
    print(f"  ratio of the peaks: {peaks[1] / peaks[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=SESSIONS, metavar="PACKETS", help="0: leave out")
    parser.add_argument("--mix", type=int, default=MIX, metavar="PACKETS", help="0: leave out")
    parser.add_argument("--live", type=int, default=2000, help="conversations at a time in the mix")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="turns (default: 3)")
    parser.add_argument("--memory", action="store_true", help="only the peak memory, at two sizes of the mix")
    parser.add_argument("--folder", type=Path, help="where the captures are made for the time being")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where they are made, and stay")
    parser.add_argument(
        "--tshark-limit", type=int, default=2 << 30, metavar="BYTES", help="larger files without tshark"
    )
    options = parser.parse_args()
    compiled()
    load = os.getloadavg()[0]
    print(f"{len(os.sched_getaffinity(0))} cores, load {load:.1f} at the start; {versions()}")
    with ExitStack() as stack:
        if options.keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        else:
            folder = options.keep
            folder.mkdir(parents=True, exist_ok=True)
        if options.memory:
            memory(folder, options.mix, options.live)
            return
        for kind, packets in (("sessions", options.sessions), ("mix", options.mix)):
            if packets:
                capture = made(folder, kind, packets, options.live)
                report(kind, capture, measure(capture.path, max(1, options.runs), options.tshark_limit))
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
