# SPDX-License-Identifier: GPL-2.0-or-later
"""A thousand replays from one process: how long, how many sockets, how much memory.

    .venv/bin/python -m tests.benchmarks.replays [N]

The model server runs in a process of its own. The same session is replayed N times (1,000) with a growing
number at once; memory is the largest resident size of the replaying process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.replay.play import CLIENT, SERVER, record

SERVE = """
import sys
from dissect.lab.models import serving
from tests.replay.play import SERVER
with serving(SERVER) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""
PARALLEL = (1, 50, 200, 1000)


def measure(capture: Path, port: str, repeat: int, parallel: int) -> tuple[float, int, str]:
    """Seconds, largest resident size in bytes, and what the command says."""
    words = [sys.executable, "-m", "dissect.app.main", "replay", str(capture), "--to", f"127.0.0.1:{port}"]
    words += ["--repeat", str(repeat), "--parallel", str(parallel)]
    began = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # it was waited for above
    process.stdout.close()
    return time.monotonic() - began, usage.ru_maxrss * 1024, said.strip()


def main() -> None:
    """Print one line for each number at once."""
    repeat = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "session.pcapng"
        record(capture, CLIENT, SERVER)
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdin is not None
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        try:
            for parallel in PARALLEL:
                seconds, size, said = measure(capture, port, repeat, parallel)
                print(f"{parallel:>5} at once: {seconds:5.1f} s, {size / 1e6:5.1f} MB; {said}", flush=True)
        finally:
            server.stdin.close()
            server.stdout.close()
            server.wait(10)


if __name__ == "__main__":
    main()
