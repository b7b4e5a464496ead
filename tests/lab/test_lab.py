# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab with small peers of our own: readiness, ports, the environment, and each kind of failure."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from dissect.lab.errors import CannotStart, Died, LabError, NotInstalled, NotReady
from dissect.lab.lab import Lab, Running, vnc_password_file
from dissect.lab.ports import Listener, free_port, who_listens
from dissect.lab.processes import Output
from tests.lab.conftest import Table

HEAD = """
role = "server"
protocol = "rfb"
command = ["{python}", "-S", "{directory}/server.py", "{host}", "{port}", "{options}"]
"""


def lines(output: Output) -> list[str]:
    return [line.text for line in output]


def test_a_server_is_ready_when_it_listens_and_nobody_has_connected(small: Lab) -> None:
    server = small.start("small")
    assert who_listens(server.port or 0, lambda: [server.pid]) is Listener.OURS
    assert server.ready_ns is not None
    assert server.started_ns < server.ready_ns <= time.time_ns()
    client = small.run("caller", server.host, server.port or 0)
    ended = client.wait(60)
    assert ended is not None
    assert ended.status == 0
    assert server.process.wait_for_line("somebody came", 60)
    server.stop()
    assert lines(server.output) == ["accepting", "somebody came"]  # once: our client, not the lab
    assert lines(client.output) == ["b'hello'"]
    assert not server.alive


def test_readiness_waits_for_a_slow_server(table: Table) -> None:
    path = table(
        f'[slow]{HEAD}ready = {{ listening = true, line = "^warm$" }}',
        server="""
        import socket, sys, time
        time.sleep(0.3)
        listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
        time.sleep(0.3)
        print("warm", flush=True)
        time.sleep(1000)
        """,
    )
    with Lab(files=[path]) as lab:
        began = time.monotonic()
        server = lab.start("slow")
        assert time.monotonic() - began >= 0.6
        assert lines(server.output) == ["warm"]


def test_one_that_never_gets_ready_is_ended_and_quoted(table: Table) -> None:
    path = table(
        f'[mute]{HEAD}ready = {{ listening = true, line = "^go$", seconds = 2 }}',
        server="import time; print('thinking', flush=True); print('still', flush=True); time.sleep(1000)",
    )
    with Lab(files=[path]) as lab, pytest.raises(NotReady) as caught:
        lab.start("mute")
    assert str(caught.value) == (
        "mute: not ready after 2 s (no line matching '^go$' and no listener on its port)"
        '; it said: "thinking" / "still"'
    )


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("import sys; sys.exit('no such option')", 'exit code 1); it said: "no such option"'),
        ("pass", "exit code 0); it said nothing"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11)"),
    ],
)
def test_one_that_dies_at_once_is_told_with_its_last_words(table: Table, script: str, how: str) -> None:
    path = table(f"[ill]{HEAD}ready = {{ listening = true }}", server=script)
    began = time.monotonic()
    with Lab(files=[path]) as lab, pytest.raises(Died) as caught:
        lab.start("ill")
    assert str(caught.value).startswith(f"ill: ended before it was ready ({how}")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 15  # a server has twenty seconds


def test_a_server_that_goes_to_the_background_is_found_and_stopped(table: Table) -> None:
    path = table(
        f"[daemon]{HEAD}ready = {{ listening = true }}",
        server="""
        import os, socket, sys, time
        if os.fork():
            os._exit(0)
        os.setsid()
        time.sleep(0.2)
        listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
        time.sleep(1000)
        """,
    )
    with Lab(files=[path]) as lab:
        server = lab.start("daemon")
        assert server.exited is not None
        assert server.alive
        port = server.port or 0
        assert who_listens(port, server.process.pids) is Listener.OURS
    assert who_listens(port, list) is Listener.NOBODY


def test_a_taken_port_is_exchanged_for_another(small: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], taken.getsockname()[1], free_port()])
        monkeypatch.setattr("dissect.lab.lab.free_port", lambda host: next(ports))
        server = small.start("small")
        assert server.port not in (None, taken.getsockname()[1])
        with pytest.raises(CannotStart, match="taken"):
            small.start("small", port=taken.getsockname()[1])


def test_a_program_that_is_not_there_is_named_with_its_package(table: Table) -> None:
    path = table(f'[gone]{HEAD.replace("{python}", "no-such-vnc")}package = ["some-package"]')
    with Lab(files=[path]) as lab:
        with pytest.raises(NotInstalled) as caught:
            lab.start("gone")
        with pytest.raises(NotInstalled):
            lab.check("gone")
        assert lab.version("gone") is None
    assert str(caught.value) == ("gone: not installed (no-such-vnc not found; Debian package: some-package)")


def test_wrong_uses_are_refused_in_one_line(small: Lab) -> None:
    with pytest.raises(LabError, match="not a loopback address"):
        small.start("small", host="0.0.0.0")
    with pytest.raises(LabError, match="not a loopback address"):
        small.run("caller", "192.0.2.1", 5900)
    with pytest.raises(LabError, match="is a client, not a server"):
        small.start("caller")
    with pytest.raises(LabError, match="is a server, not a client"):
        small.run("small", "127.0.0.1", 5900)
    with pytest.raises(LabError, match="knows IPv4 only, and ::1 is IPv6"):
        small.run("gvncviewer", "::1", 5900)
    with pytest.raises(LabError, match="no way to give it a password"):
        small.start("small", password="x")


def test_a_peer_sees_its_own_home_and_nothing_of_a_desktop(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "SSH_AUTH_SOCK", "SECRET"):
        monkeypatch.setenv(name, "of the caller")
    path = table(
        """
        [teller]
        role = "client"
        protocol = "rfb"
        command = ["{python}", "-S", "{directory}/client.py", "{options}", "{tmp}"]
        ready = { line = "^end$" }
        environment = { MINE = "{tmp}/x", TZ = "UTC" }
        """,
        client="""
        import os, sys
        for item in os.environ.items():
            print("=".join(item))
        print(sys.argv[1:])
        print("end", flush=True)
        """,
    )
    with Lab(files=[path], environment={"OURS": "yes"}) as lab:
        client = lab.run("teller", "127.0.0.1", 1, arguments=["a b", "{port}"])
        directory = str(client.directory)
        told = lines(client.output)
    seen = dict(line.split("=", 1) for line in told if "=" in line)
    assert seen["HOME"] == directory
    assert {name for name in seen if name.startswith("XDG") and not seen[name].startswith(directory)} == set()
    assert seen["MINE"] == f"{directory}/x"
    assert seen["OURS"] == "yes"
    assert seen["TZ"] == "UTC"
    assert "of the caller" not in seen.values()
    assert str(["a b", "1", directory]) in told


def test_all_that_was_started_is_stopped_when_the_block_ends_with_an_exception(small: Lab) -> None:
    def fail() -> None:
        with small:
            started.append(small.start("small"))
            raise RuntimeError("oops")

    started: list[Running] = []
    with pytest.raises(RuntimeError, match="oops"):
        fail()
    assert not started[0].alive
    assert not started[0].directory.exists()


def test_many_can_be_started_at_once(small: Lab) -> None:
    ports: list[int | None] = []

    def start() -> None:
        ports.append(small.start("small").port)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(ports)) == 6


def test_ports_are_free_high_enough_and_not_given_twice() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    assert min(ports) >= 5900
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert who_listens(port, lambda: [os.getpid()]) is Listener.OURS
        assert who_listens(port, list) is Listener.OTHER
    assert who_listens(port, lambda: [os.getpid()]) is Listener.NOBODY


def test_a_port_of_an_ipv6_server_is_seen_as_well() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        assert who_listens(listener.getsockname()[1], lambda: [os.getpid()]) is Listener.OURS


def test_the_vnc_password_file_is_the_known_one() -> None:
    # `echo secret | vncpasswd -f`, of two implementations.
    assert vnc_password_file("secret").hex() == "2e2dbf576eb06c9e"
    assert vnc_password_file("12345678") == vnc_password_file("123456789")


@pytest.mark.peer("xvfb")
def test_an_x_server_lets_in_those_with_its_cookie_only() -> None:
    with Lab() as lab:
        display = lab.display("320x200")
        assert display.xauthority is not None
        assert display.xauthority.stat().st_mode & 0o777 == 0o600
        cookie = display.xauthority.read_bytes()[-16:]
        answers = []
        for name, data in [(b"", b""), (b"MIT-MAGIC-COOKIE-1", bytes(16)), (b"MIT-MAGIC-COOKIE-1", cookie)]:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"/tmp/.X11-unix/X{display.display}")
                hello = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(data))
                connection.sendall(hello + name + bytes(-len(name) % 4) + data)
                answers.append(connection.recv(1))
        assert answers == [b"\0", b"\0", b"\1"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("xvfb", marks=pytest.mark.peer("xvfb")),
        pytest.param("xtightvnc", marks=pytest.mark.peer("xtightvnc")),
    ],
)
def test_an_x_server_that_is_killed_leaves_no_file_either(name: str) -> None:
    # One chose its number itself and makes no lock file, the other was given one and does.
    with Lab() as lab:
        for by in (lambda running: running.stop(0.0), lambda running: os.kill(running.pid, 9)):
            running = lab.display() if name == "xvfb" else lab.start(name)
            files = [Path(f"/tmp/.X11-unix/X{running.display}"), Path(f"/tmp/.X{running.display}-lock")]
            assert files[0].exists()
            assert files[1].exists() == (name == "xtightvnc")
            by(running)
            running.stop()
            assert not any(path.exists() for path in files)
