# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the lab share: tables of small peers of our own, and the proof that nothing stays."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dissect.lab.lab import Lab
from dissect.lab.processes import TOKEN
from dissect.lab.record import can_record_wire

Table = Callable[..., Path]


def marked_by(pid: int) -> list[int]:
    """Living processes of peers that process `pid` has started."""
    mark = f"{TOKEN}=firstbyte-{pid}-".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def directories_of(pid: int) -> list[Path]:
    """Temporary directories of peers that process `pid` has started."""
    return list(Path(tempfile.gettempdir()).glob(f"firstbyte-{pid}-*"))


def guards_of(pid: int) -> list[int]:
    """Guards that work for process `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if len(argv) > 5 and argv[3].endswith(b"guard.py") and argv[5] == str(pid).encode():
                found.append(int(entry.name))
    return found


def leftovers_of(pid: int) -> list[object]:
    """All that is left of the peers of process `pid`: processes, guards, directories."""
    return [*marked_by(pid), *guards_of(pid), *directories_of(pid)]


def await_nothing_left(pid: int, seconds: float = 60.0) -> None:
    """Return as soon as nothing is left; fail with the list of what is."""
    limit = time.monotonic() + seconds
    while left := leftovers_of(pid):
        assert time.monotonic() < limit, f"left behind: {left}"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """After every test here: no process, no guard and no directory of a peer is left."""
    yield
    assert leftovers_of(os.getpid()) == []


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Write a table of peers; `scripts` are Python programs, named {directory}/NAME.py in it."""

    def write(text: str, **scripts: str) -> Path:
        for name, script in scripts.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(script))
        path = tmp_path / "mine.toml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


SERVER = """
import socket, sys, time
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("accepting", flush=True)
while True:
    connection, _ = listener.accept()
    print("somebody came", flush=True)
    connection.sendall(b"hello")
    connection.close()
"""


@pytest.fixture
def small(table: Table) -> Iterator[Lab]:
    """A lab with one small server, `small`, and one small client, `caller`, both of our own."""
    path = table(
        """
        [small]
        role = "server"
        protocol = "rfb"
        command = ["{python}", "-S", "{directory}/server.py", "{host}", "{port}", "{options}"]
        ready = { listening = true }
        busy = "Address already in use"

        [caller]
        role = "client"
        protocol = "rfb"
        command = ["{python}", "-S", "{directory}/client.py", "{host}", "{port}", "{options}"]
        """,
        server=SERVER,
        client="""
        import socket, sys
        with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
            print(connection.recv(100), flush=True)
        """,
    )
    with Lab(files=[path]) as lab:
        yield lab


def require_wire() -> None:
    """Leave a test out, or fail it under CI=true, where this process may not capture."""
    if not can_record_wire():
        reason = "capturing on lo needs CAP_NET_RAW"
        if os.environ.get("CI") == "true":
            pytest.fail(f"under CI=true nothing is left out, but {reason}", pytrace=False)
        pytest.skip(reason)


def python(script: str) -> list[str]:
    """A command that runs `script` in a bare, fast Python."""
    return [sys.executable, "-I", "-S", "-c", textwrap.dedent(script)]
