# SPDX-License-Identifier: GPL-2.0-or-later
"""The real programs of the table: each starts, is ready, tells its version, and leaves nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dissect.lab.lab import Lab
from dissect.lab.peers import Protocol, Role, load_peers
from dissect.lab.ports import Listener, who_listens
from dissect.lab.record import By, Recording, Stopped, record_conversation
from dissect.stream import Side
from tests.lab.conftest import await_nothing_left, require_wire

PEERS = load_peers()
REDLINKMESS = bytes.fromhex(
    "52454451 02000000 02000000 1a000000"  # REDQ, version 2.2, 26 bytes follow
    "00000000 01 00 01000000 01000000 12000000 0b000000 00000000"
)


def each(role: Role, *, password: bool = False) -> list[object]:
    """The names of the bundled peers with that role, each marked with what it needs."""
    return [
        pytest.param(name, marks=pytest.mark.peer(name))
        for name, peer in PEERS.items()
        if peer.role is role and (not password or peer.password is not None)
    ]


def received(connection: socket.socket, size: int) -> bytes:
    connection.settimeout(10)
    return connection.recv(size, socket.MSG_WAITALL)


@pytest.mark.parametrize("name", each(Role.SERVER))
def test_a_server_starts_speaks_its_protocol_and_leaves_nothing(name: str) -> None:
    with Lab() as lab:
        server = lab.start(name)
        assert server.version is not None
        assert server.version[0].isdigit()
        assert server.port is not None
        with socket.create_connection((server.host, server.port), 10) as connection:
            if PEERS[name].protocol is Protocol.SPICE:
                connection.sendall(REDLINKMESS)
                assert received(connection, 4) == b"REDQ"
            else:
                assert received(connection, 12) == b"RFB 003.008\n"
        server.stop()
        assert server.process.left == ()
        assert who_listens(server.port, list) is Listener.NOBODY
        assert not server.directory.exists()


@pytest.mark.parametrize("name", each(Role.CLIENT))
def test_a_client_tells_its_version(name: str) -> None:
    with Lab() as lab:
        version = lab.version(name)
    assert version is not None
    assert version[0].isdigit()


@pytest.mark.parametrize("name", each(Role.SERVER, password=True))
def test_a_server_asks_for_the_password(name: str) -> None:
    with Lab() as lab:
        server = lab.start(name, password="secret")
        assert server.port is not None
        with socket.create_connection((server.host, server.port), 10) as connection:
            if PEERS[name].protocol is Protocol.SPICE:
                connection.sendall(REDLINKMESS)
                reply = received(connection, 202)
                assert int.from_bytes(reply[16:20], "little") == 0
                connection.sendall((1).to_bytes(4, "little") + bytes(128))
                assert received(connection, 4) != bytes(4)  # no ticket of that key: refused
            else:
                assert received(connection, 12) == b"RFB 003.008\n"
                connection.sendall(b"RFB 003.008\n")
                kinds = received(connection, received(connection, 1)[0])
                assert 2 in kinds  # VNC authentication
                assert 1 not in kinds  # and not: none


@pytest.mark.peer("xtightvnc", "x11vnc", "qemu-spice", "xvfb")
def test_nothing_of_real_servers_stays_when_the_main_program_is_killed() -> None:
    root = str(Path(__file__).parents[2])
    text = f"""
import sys, time
sys.path.insert(0, {root!r})
from dissect.lab.lab import Lab
lab = Lab()
print([lab.start(name).display for name in ("xtightvnc", "x11vnc", "qemu-spice")], flush=True)
time.sleep(1000)
"""
    main = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert main.stdout is not None
    with main.stdout:
        displays = main.stdout.readline().strip("[]\n").split(", ")[:2]
        main.send_signal(signal.SIGKILL)
        main.wait()
    assert all(display.isdigit() for display in displays)
    await_nothing_left(main.pid)
    for display in displays:
        assert not Path(f"/tmp/.X{display}-lock").exists()
        assert not Path(f"/tmp/.X11-unix/X{display}").exists()


def recorded(
    client: str,
    server: str,
    path: Path,
    by: By = By.RELAY,
    password: str | None = None,
    client_password: str | None = None,
) -> Recording:
    return record_conversation(
        client,
        server,
        path,
        15,
        by=by,
        max_bytes=400_000,
        exit_s=10,
        password=password,
        client_password=client_password,
    )


@pytest.mark.peer("gvncviewer", "qemu-spice")
def test_gtk_vnc_speaks_first_after_two_seconds_and_the_spice_server_notices(tmp_path: Path) -> None:
    require_wire()
    found = recorded("gvncviewer", "qemu-spice", tmp_path / "x.pcapng", By.WIRE)
    (connection,) = found.connections
    assert found.stopped is Stopped.ENDED
    assert connection.sent == {Side.CLIENT: 4, Side.SERVER: 194}
    assert connection.closed_ns[Side.SERVER] - connection.opened_ns > 1_500_000_000
    assert any("server version" in line.text for line in found.client_output)
    assert None not in found.versions.values()
    assert found.dropped == 0


@pytest.mark.peer("spicy-screenshot", "qemu-vnc")
def test_a_spice_client_notices_a_vnc_server_at_once(tmp_path: Path) -> None:
    found = recorded("spicy-screenshot", "qemu-vnc", tmp_path / "x.pcapng")
    (connection,) = found.connections
    assert found.stopped is Stopped.ENDED
    assert connection.sent == {Side.CLIENT: 42, Side.SERVER: 12}
    assert found.client_exit is not None
    assert found.client_exit.status == 1


@pytest.mark.peer("vncdotool", "x11vnc")
def test_a_vnc_session_with_a_password_goes_through(tmp_path: Path) -> None:
    found = recorded("vncdotool", "x11vnc", tmp_path / "x.pcapng", password="secret")
    assert found.stopped is Stopped.ENDED
    assert found.connections[0].sent[Side.SERVER] > 160 * 120 * 4  # it was let in and got the screen
    assert found.client_exit is not None
    assert found.client_exit.status == 0


@pytest.mark.peer("spicy-screenshot", "qemu-spice")
@pytest.mark.parametrize(("given", "status"), [("secret", 0), ("wrong", 1)])
def test_a_spice_session_with_a_ticket_goes_through_and_without_it_does_not(
    given: str, status: int, tmp_path: Path
) -> None:
    found = recorded(
        "spicy-screenshot", "qemu-spice", tmp_path / "x.pcapng", password="secret", client_password=given
    )
    assert found.stopped is Stopped.ENDED
    assert found.client_exit is not None
    assert found.client_exit.status == status
    assert (found.connections[0].sent[Side.SERVER] > 100_000) == (status == 0)
    # What goes into an index names no directory of this machine.
    for argv in found.commands.values():
        assert not [text for text in argv if "/firstbyte-" in text]


@pytest.mark.peer("xtigervncviewer", "qemu-spice")
def test_a_client_that_waits_for_ever_is_stopped_at_the_deadline(tmp_path: Path) -> None:
    with Lab() as lab:
        found = record_conversation(
            "xtigervncviewer", "qemu-spice", tmp_path / "x.pcapng", 0.5, lab=lab, by=By.RELAY
        )
    assert found.stopped is Stopped.DEADLINE
    (connection,) = found.connections
    assert connection.sent == {Side.CLIENT: 0, Side.SERVER: 0}
    assert not connection.closed_ns
    assert found.end_ns - connection.opened_ns >= 450_000_000
    assert found.client_exit is None
    assert found.path.stat().st_size < 2000
