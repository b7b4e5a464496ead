# SPDX-License-Identifier: GPL-2.0-or-later
"""Two namespaces and a path between them: as long as asked for, whole, and gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from dissect.lab.distance import WITHOUT, Distance
from dissect.lab.errors import CannotStart
from dissect.lab.lab import Lab
from dissect.lab.matrix import Matrix, Plan
from dissect.stream import Side

MS = 1_000_000


def require_namespaces() -> None:
    """Leave a test out where there are no network namespaces of our own: no package brings them."""
    try:
        Distance().__enter__().close()
    except CannotStart as error:
        pytest.skip(str(error))


def interfaces() -> set[str]:
    return {line.partition(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}


def await_no_other(before: set[str]) -> None:
    """No interface is here that was not here before, or other tests have made it and take it away again."""
    limit = time.monotonic() + 30
    while other := interfaces() - before:
        assert time.monotonic() < limit, f"left behind: {other}"
        time.sleep(0.01)


def test_a_round_trip_takes_as_long_as_asked_and_carries_all() -> None:
    require_namespaces()
    before = interfaces()
    sent = os.urandom(300_000)
    heard: list[bytes] = []
    with Distance() as path:
        await_no_other(before)  # nothing is made where we are
        with path.server_side():
            listener = socket.create_server((path.server, 0))
        with path.client_side():
            client = socket.socket()
        assert path.set(20 * MS).lost == 0
        began = time.monotonic_ns()
        client.connect(listener.getsockname())
        assert time.monotonic_ns() - began >= 20 * MS  # SYN and SYN-ACK: one round trip
        connection, (came_from, _) = listener.accept()
        assert came_from == path.client

        def hear() -> None:
            while data := connection.recv(65536):
                heard.append(data)

        thread = threading.Thread(target=hear)
        thread.start()
        client.sendall(sent)
        client.close()
        thread.join(60)
        carried = path.set(0)
        assert carried.packets > len(sent) // 1500
        assert carried.lost == 0
        assert carried.latest_ns >= carried.mean_ns
        for one in (listener, connection):
            one.close()
    assert b"".join(heard) == sent
    await_no_other(before)


def test_nothing_else_can_be_reached_from_within() -> None:
    require_namespaces()
    with Distance() as path, socket.create_server(("127.0.0.1", 0)) as here:
        with path.client_side():
            one, other = socket.socket(), socket.socket()
        with one, other:
            with pytest.raises(ConnectionRefusedError):  # its loopback is its own
                one.connect(here.getsockname())
            with pytest.raises(OSError, match="unreachable"):
                other.connect(("192.0.2.1", 80))


def test_a_killed_program_leaves_no_path() -> None:
    require_namespaces()
    script = """
        import time
        from dissect.lab.distance import Distance
        path = Distance().__enter__()
        print(path._postman.pid, flush=True)
        time.sleep(1000)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    postman = Path(f"/proc/{int(process.stdout.readline())}")
    assert postman.exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    limit = time.monotonic() + 60
    while postman.exists():  # with it go its devices, and with those and us the namespaces
        assert time.monotonic() < limit, "the postman outlives who employed it"
        time.sleep(0.01)


@pytest.mark.program("setpriv")
def test_without_the_privilege_it_is_one_line() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has a privilege to give away")
    command = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", sys.executable, "-m"]
    command += ["dissect.app.main", "matrix", "--peers", "model-vnc,model-spice", "--rtt", "0,1", "-n", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert WITHOUT in done.stderr.splitlines()[-1]


@pytest.mark.program("unshare")
def test_a_user_namespace_will_do() -> None:
    """What the line without the privilege advises: there its commands have it, and nothing outside."""
    inside = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no namespaces of one's own")
    command = [*inside, sys.executable, "-m", "dissect.app.main", "matrix", "--json", "--deadline", "3"]
    command += ["--peers", "model-vnc,model-spice", "--rtt", "0,5", "-n", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "need a TUN device" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["rtt_ns"]: row["verdict"] for row in rows} == dict.fromkeys((0, 5 * MS), "wrong-protocol")


def test_a_path_that_breaks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    require_namespaces()
    with Distance() as path:
        assert path._postman is not None
        path._postman.kill()
        path._postman.wait()
        with pytest.raises(CannotStart, match="the path between the namespaces"):
            path.set(MS)


def test_a_matrix_over_round_trips() -> None:
    require_namespaces()
    plan = Plan(("model-spice",), ("model-vnc",), 1, 3.0, rtts_ns=(0, 20 * MS))
    with Lab() as lab, Matrix(lab, plan, wire=True) as run:
        rows = {row.rtt_ns or 0: row for row in run.run(set())}
    assert sorted(rows) == [0, 20 * MS]
    for rtt, row in rows.items():
        assert row.lost is None
        assert row.verdict == "wrong-protocol"
        assert row.handshake_ns is not None
        assert row.handshake_ns >= rtt
        assert row.over_ns["wire"] >= 2 * rtt  # the handshake, and its first bytes with their answer
        assert {one.clock for one in row.observations} == {"wire"}
        server = row.seen(Side.SERVER, "wire")
        assert server is not None
        assert server.by == "close"


@pytest.mark.peer("xtigervnc-patient", "xvfb")
def test_an_x_server_over_there_takes_nobodys_display() -> None:
    require_namespaces()
    with Lab() as lab:
        display = lab.shared_display()
        ours = Path(f"/tmp/.X11-unix/X{display.display}")
        before = ours.stat().st_ino
        plan = Plan(("model-vnc-early",), ("xtigervnc-patient",), 1, 5.0, rtts_ns=(MS,))
        with Matrix(lab, plan, wire=True) as run:
            (row,) = run.run(set())
            assert row.lost is None
            assert row.server_init_ns["wire"] >= 2 * MS
        assert ours.stat().st_ino == before
