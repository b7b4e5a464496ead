# SPDX-License-Identifier: GPL-2.0-or-later
"""Small servers of our own, as programs that a suite starts: what builds do that nobody wants."""

from __future__ import annotations

import textwrap
from pathlib import Path

from dissect.lab.models import VncClient, VncServer, run_pair, through

CRASHES = """
import os, signal, socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    connection, _ = listener.accept()
    connection.sendall(b"RFB 003.008\\n")
    print("about to fall over", file=sys.stderr, flush=True)
    connection.recv(12)
    os.kill(os.getpid(), signal.SIGSEGV)
"""

DIES = """
import sys
print("no such option: --port", file=sys.stderr)
sys.exit(3)
"""

MUTE = """
import socket, sys, time
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
kept = []
while True:
    kept.append(listener.accept())
"""

FLICKERS = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
count = 0
while True:
    connection, _ = listener.accept()
    count += 1
    if count % 3:
        connection.sendall(b"RFB 003.008\\n")
    connection.close()
"""


def program(folder: Path, name: str, text: str) -> str:
    """Write a program, and give the table of a target that starts it."""
    (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return f"""
[target.{name}]
command = ["{{python}}", "-S", "{{directory}}/{name}.py", "{{host}}", "{{port}}"]
ready = {{ listening = true, seconds = 20 }}
"""


def session(folder: Path) -> Path:
    """A capture of the model client at the model server."""
    path = folder / "session.pcapng"
    run_pair(VncClient(), VncServer(), 10, recording=through(str(path)))
    return path
