# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte probe`: the object of the contract, the table for a person, and one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dissect.app.main import DIFFERENT, PASS, UNUSABLE, main
from dissect.lab.models import SpiceServer, VncServer, serving

QUICK = ["--deadline", "0.8", "--lengths", "0,3,4,12,42", "--repeat", "2"]


def test_the_object_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(SpiceServer(key_per_link=False)) as served:
        assert main(["probe", f"127.0.0.1:{served.port}", "--json", *QUICK]) == PASS
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    data = json.loads(line)
    wrong = {"rfb", "tls", "http", "ssh", "zeros", "random"}
    assert data["server"] == f"127.0.0.1:{served.port}"
    assert (data["speaks"], data["greeting_ns"], data["clock"]) == ("spice", None, "user-monotonic")
    assert set(data["bytes_to_detect"]) == set(data["reaction"]) == set(data["detect_ns"]) == wrong
    assert set(data["bytes_to_detect"].values()) == {4}
    assert set(data["reaction"].values()) == {"error-reply"}
    assert all(isinstance(ns, int) for ns in data["detect_ns"].values())
    assert data["schema"] == "firstbyte-probe/1"
    assert "at most" in err  # how long it takes is said before it begins


def test_the_table_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(VncServer()) as served:
        words = ["probe", f"127.0.0.1:{served.port}", *QUICK, "--protocols", "rfb,spice", "--sweep", "rfb"]
        assert main(words) == PASS
    out = capsys.readouterr().out
    assert "speaks RFB; greets" in out
    assert '"RFB 003.008"' in out
    assert "none before the deadline" in out
    assert "bytes to detection: spice 12 (" in out
    assert "sweep of RFB:" in out
    assert "seed 0" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "name the server"),
        (["127.0.0.1:1", "--peer", "x11vnc"], "one of the two"),
        (["127.0.0.1"], "neither HOST:PORT"),
        (["unix:/tmp/x"], "a probe needs TCP"),
        (["192.0.2.1:5900"], "--allow-host 192.0.2.1"),
        (["127.0.0.1:1"], "127.0.0.1:1: no connection: "),
        (["--peer", "no-such-peer"], "no-such-peer"),
        (["127.0.0.1:1", "--protocols", "gopher"], "gopher"),
        (["127.0.0.1:1", "--deadline", "0"], "0 s"),
        (["127.0.0.1:1", "--parallel", "0"], "between 1 and 4096"),
        (["127.0.0.1:1", "--lengths", "-1"], "lengths"),
    ],
)
def test_bad_input_is_exit_code_2(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", *words]) == UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err.splitlines()[-1]


CRASHES = """
import os, signal, socket, sys, threading
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
def serve(connection):
    connection.sendall(b"RFB 003.008\\n")
    if connection.recv(12) == b"RED":
        os.kill(os.getpid(), signal.SIGKILL)
    connection.recv(12)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"""


def test_a_server_that_a_probe_kills_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "crashes.py").write_text(CRASHES)
    table = tmp_path / "mine.toml"
    table.write_text(
        '[weak]\nrole = "server"\nprotocol = "rfb"\nready = { listening = true }\n'
        'command = ["{python}", "-S", "{directory}/crashes.py", "{host}", "{port}"]\n'
    )
    words = ["--deadline", "0.8", "--lengths", "3,4", "--protocols", "spice,ssh", "--repeat", "1"]
    assert main(["probe", "--peer", "weak", "--peers", str(table), "--parallel", "1", *words]) == DIFFERENT
    out = capsys.readouterr().out
    assert "crashed: the server was killed by signal 9 after" in out
    assert "3 bytes of spice" in out
    assert "not run" not in out  # it was started again for the rest
