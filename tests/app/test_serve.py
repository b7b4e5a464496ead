# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte serve`: recordings played to real clients, which are started or come by themselves."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dissect.app.commands.serve import _filled
from dissect.app.main import main
from dissect.lab.models import meet
from dissect.replay.plan import load
from dissect.stream import Side
from tests.replay.play import CLIENT, SERVER, record

ROOT = Path(__file__).resolve().parent.parent.parent
ANY = "127.0.0.1:0"


def bundled(name: str) -> str:
    return str(ROOT / "pcaps" / f"{name}.pcapng")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("serve") / "models.pcapng"
    record(path, CLIENT, SERVER)
    return str(path)


def serve(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Run `firstbyte serve --json`; the command line may go on with `--`."""
    cut = words.index("--") if "--" in words else len(words)
    code = main(["serve", *words[:cut], "--json", *words[cut:]])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# --- real clients, each with a recording of itself


@pytest.mark.parametrize(
    ("name", "client", "end"),
    [
        pytest.param(
            "xtigervncviewer--xtigervnc", "xtigervncviewer", 0, marks=pytest.mark.peer("xtigervncviewer")
        ),
        pytest.param("vncsnapshot--xtigervnc", "vncsnapshot", 0, marks=pytest.mark.peer("vncsnapshot")),
        pytest.param("gvncviewer--qemu-vnc", "gvncviewer", 0, marks=pytest.mark.peer("gvncviewer")),
        pytest.param(
            "spicy-screenshot--qemu-vnc", "spicy-screenshot", 1, marks=pytest.mark.peer("spicy-screenshot")
        ),
        pytest.param(
            "xtigervncviewer--xtigervnc-password",
            "xtigervncviewer",
            0,
            marks=pytest.mark.peer("xtigervncviewer"),
        ),
    ],
)
def test_a_real_client_does_what_it_did(
    capsys: pytest.CaptureFixture[str], name: str, client: str, end: int
) -> None:
    code, [told] = serve(
        capsys, bundled(name), "--listen", ANY, "--deadline", "60", "--password", "secret", "--", client
    )
    assert (code, told["outcome"]) == (0, "pass"), told
    assert told["compared_messages"] > 0
    assert told["client"]["exit_status"] == end, told["client"]
    assert told["client"]["exited_ns"] > 0
    assert all(count["live"] >= count["recorded"] for count in told["client"]["messages"].values())
    assert told["client"]["command"][0].endswith(client)


@pytest.mark.peer("spicy-screenshot")
def test_a_real_client_draws_the_recorded_session(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "screen.ppm"
    name = bundled("spicy-screenshot--qemu-spice")
    command = ["spicy-screenshot", "-h", "{host}", "-p", "{port}", "-o", str(picture)]
    code, told = serve(capsys, name, "--listen", ANY, "--all-channels", "--deadline", "60", "--", *command)
    assert (code, [one["outcome"] for one in told]) == (0, ["pass", "pass"]), told
    assert [one["channel"] for one in told] == ["main", "display"]
    assert picture.read_bytes().startswith(b"P6")
    assert told[0]["client"]["exit_status"] == 0


@pytest.mark.peer("vncsnapshot")
def test_another_client_than_the_recorded_one_differs(capsys: pytest.CaptureFixture[str]) -> None:
    code, [told] = serve(
        capsys, bundled("gvncviewer--qemu-vnc"), "--listen", ANY, "--deadline", "3", "--", "vncsnapshot"
    )
    assert code == 1
    assert told["outcome"] in ("diff", "early-close", "timeout"), told
    assert "SetEncodings" in {difference["message"] for difference in told["differences"]}, told


@pytest.mark.peer("xvfb")
def test_a_program_of_ones_own_has_a_display(capsys: pytest.CaptureFixture[str], capture: str) -> None:
    code, [told] = serve(capsys, capture, "--listen", ANY, "--", "sh", "-c", "echo $DISPLAY {} ${HOME##*/}")
    assert code == 3
    assert told["outcome"] == "inconclusive"
    assert told["reason"] == "the client ended before it connected (exit code 0)"
    assert re.fullmatch(r":\d+ \{\} firstbyte-.*", told["client"]["last_words"][-1])


# --- clients that come by themselves


def port_told(stream: Any) -> int:
    found = re.search(r"listening on 127\.0\.0\.1:(\d+)", stream.readline())
    assert found is not None
    return int(found[1])


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dissect.app.main", "serve", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_who_comes_is_served_recorded_and_described(capture: str, tmp_path: Path) -> None:
    out = tmp_path / "live.pcapng"
    with start(capture, "--listen", ANY, "--record", str(out), "--bytewise") as process:
        meet(CLIENT, "127.0.0.1", port_told(process.stderr), 120)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert re.match(r"conversation 0 → 127\.0\.0\.1:\d+: pass: ", said)
    assert "compared" in said
    [live], [recorded] = load(str(out), Side.SERVER)[0], load(capture, Side.SERVER)[0]
    assert live.stream == recorded.stream


def test_how_the_client_left_is_told(capture: str) -> None:
    with start(capture, "--listen", ANY) as process:
        with socket.create_connection(("127.0.0.1", port_told(process.stderr))) as sock:
            sock.recv(12)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "early-close" in said
    assert "it said: ProtocolVersion 0 (recorded: 1), " in said
    assert re.search(r"the client 127\.0\.0\.1:\d+ closed the connection after ", said)


@pytest.mark.parametrize("connected", [False, True])
def test_control_c_ends_it_at_once(capture: str, connected: bool) -> None:
    with start(capture, "--listen", ANY, "--json") as process, socket.socket() as sock:
        port = port_told(process.stderr)
        if connected:
            sock.connect(("127.0.0.1", port))
            sock.recv(12)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate(timeout=60)
        assert time.monotonic() - begun < 30  # nobody has said how long it may take
    assert process.returncode == 130, wrong
    told = json.loads(said)
    assert (told["outcome"], told["reason"]) == ("inconclusive", "interrupted")


def test_nobody_comes(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", capture, "--listen", ANY, "--deadline", "0.2"]) == 1
    said = capsys.readouterr()
    assert said.out == "conversation 0: timeout: no client connected by the deadline\n"
    assert "listening on" in said.err


def test_no_descriptor_is_left(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    def once() -> int:
        main(["serve", capture, "--listen", ANY, "--deadline", "0.1"])
        main(["serve", capture, "--listen", ANY, "--deadline", "30", "--", "true"])
        capsys.readouterr()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before, threads = once(), threading.active_count()
    assert once() == before
    assert threading.active_count() <= threads


# --- what is refused


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--listen", "192.0.2.1:5900"], r"--listen: 192\.0\.2\.1 is not this machine's loopback"),
        (["--listen", "unix:/tmp/x"], "serve listens on HOST:PORT only"),
        (["--listen", "5900"], "neither HOST:PORT nor unix:PATH"),
        (["--listen", "nosuchhost.invalid:1"], "cannot be resolved"),
        (["--listen", ANY, "--all-channels"], "no SPICE session"),
        (["--listen", ANY, "--conversation", "7"], "no conversation 7"),
        (["--listen", ANY, "--deadline", "1", "--", "no-such-program"], "the client: no-such-program"),
    ],
)
def test_what_cannot_be_is_one_line(
    capture: str, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", capture, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.search(why, said.err), said.err
    assert len(said.err.splitlines()) == 1


def test_a_port_that_is_taken(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", capture, "--listen", f"127.0.0.1:{port}"]) == 2
    assert "address already in use" in capsys.readouterr().err


def test_a_channel_beside_main_needs_its_session(capsys: pytest.CaptureFixture[str]) -> None:
    name = bundled("spicy-screenshot--qemu-spice")
    assert main(["serve", name, "--listen", ANY, "--conversation", "1"]) == 2
    assert "--all-channels" in capsys.readouterr().err


def test_words_are_filled_in_and_braces_kept() -> None:
    assert _filled("{host}:{port}", "::1", 5) == "::1:5"
    assert _filled("{x} {", "h", 1) == "{{x}} {{"
