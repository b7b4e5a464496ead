# SPDX-License-Identifier: GPL-2.0-or-later
"""Two QEMUs, and the machine of the first moves to the second, with its SPICE client.

    python migrate.py DIRECTORY HOST OTHER PORT SECONDS RATE SPICE_OPTIONS -- QEMU ARGUMENT...

The first listens on HOST, the second on OTHER, both on PORT, so that one recording has both. After SECONDS
the first is told, over QMP, where its client shall go, and then to move, by RATE bytes a second: the client
has to be ready before the machine is, or it starts anew at the second.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Monitor:
    """QMP over a socket that QEMU has made."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: object) -> Any:
        """A command's answer."""
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise SystemExit(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]


def main() -> int:
    """Start both, move, and wait for the first."""
    place, host, other, port, seconds, rate, options = sys.argv[1:8]
    command = sys.argv[sys.argv.index("--") + 1 :]
    moving, monitor = Path(place, "moving"), Path(place, "monitor")
    spice = f"port={port},disable-ticketing=on,{options}"
    subprocess.Popen([*command, "-spice", f"addr={other},{spice}", "-incoming", f"unix:{moving}"])
    while not moving.exists():
        time.sleep(0.02)
    qmp = f"unix:{monitor},server=on,wait=off"
    first = subprocess.Popen([*command, "-spice", f"addr={host},{spice}", "-qmp", qmp])
    time.sleep(float(seconds))
    first_monitor = Monitor(monitor)
    first_monitor.ask("client_migrate_info", protocol="spice", hostname=other, port=int(port))
    first_monitor.ask("migrate-set-parameters", **{"max-bandwidth": int(rate)})
    first_monitor.ask("migrate", uri=f"unix:{moving}")
    while (status := first_monitor.ask("query-migrate")["status"]) not in ("completed", "failed"):
        time.sleep(0.05)
    print(f"migration {status}", file=sys.stderr, flush=True)
    return first.wait()


if __name__ == "__main__":
    sys.exit(main())
