# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte show --follow`: messages come out while the capture that they are in is still being written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from dissect.app import main as app
from dissect.capture import open_capture
from tests.app.captures import CURE, HANG, write

Grow = Callable[..., tuple[subprocess.Popen[str], IO[bytes]]]

FOLLOW = (sys.executable, "-m", "dissect.app.main", "show", "--follow")


def pieces(path: Path) -> tuple[bytes, bytes, bytes]:
    """A capture cut in three: up to the client's first bytes, up to its end, its end."""
    data = write(path, CURE).read_bytes()
    with open_capture(path) as capture:
        frames = list(capture)
    handshake, request, reply = 3, 4, 5  # SYN, SYN-ACK, ACK; then one frame for each
    assert len(frames) > reply
    middle = frames[request].offset + 10  # in the midst of a block, as writers leave it
    last = len(data) - int.from_bytes(data[-4:], "little")  # the block that says when it was stopped
    assert frames[handshake].offset < middle < last
    return data[:middle], data[middle:last], data[last:]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*FOLLOW, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )


@pytest.fixture(params=["file", "pipe"])
def grow(request: pytest.FixtureRequest, tmp_path: Path) -> Grow:
    """Start following a file, or a pipe, that is empty; returns the process and where to write."""

    def begin(*words: str) -> tuple[subprocess.Popen[str], IO[bytes]]:
        if request.param == "pipe":
            process = start(*words, "-")
            assert process.stdin is not None
            return process, process.stdin.buffer  # type: ignore[attr-defined]
        path = tmp_path / "growing.pcapng"
        path.touch()
        return start(*words, str(path)), path.open("ab")

    return begin


def test_messages_come_as_they_are_written(grow: Grow, tmp_path: Path) -> None:
    first, second, _ = pieces(tmp_path / "whole.pcapng")
    process, file = grow("--json")
    with process, file:
        assert process.stdout is not None
        for piece in (first, second):
            file.write(piece)
            file.flush()
        said = [json.loads(process.stdout.readline()) for _ in range(2)]  # before any end
        assert [(one["side"], one["name"]) for one in said] == [
            ("client", "ProtocolVersion"),
            ("server", "SpiceLinkReply"),
        ]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == app.INTERRUPTED
    assert (out, err) == ("", "")


def test_a_person_sees_who_and_when_and_in_the_end_the_verdict(grow: Grow, tmp_path: Path) -> None:
    first, second, third = pieces(tmp_path / "whole.pcapng")
    process, file = grow("--tz", "Europe/Berlin")
    with process, file:
        assert process.stdout is not None
        for piece in (first, second, third):
            file.write(piece)
            file.flush()
        lines = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert lines[0].split() == ["time", "#", "from", "size", "what"]
    assert lines[1] == "conversation 0: 127.0.0.1:40000 → 127.0.0.1:5900\n"
    assert lines[2].split()[:5] == ["15:03:12.860000", "0", "client", "→", "4"]
    assert lines[3].split()[:6] == ["15:03:12.860080", "0", "server", "←", "194", "SpiceLinkReply"]
    assert lines[4].startswith("conversation 0: wrong-protocol: ")
    assert process.returncode == app.INTERRUPTED
    assert "Traceback" not in err
    assert "Traceback" not in out


def test_the_end_of_a_pipe_is_the_end(tmp_path: Path) -> None:
    data = write(tmp_path / "x.pcapng", CURE, HANG).read_bytes()
    answer = subprocess.run([*FOLLOW, "-"], input=data, capture_output=True, timeout=60)
    assert answer.returncode == app.PASS
    assert answer.stderr == b""
    out = answer.stdout.decode()
    assert "SpiceLinkReply" in out
    assert "conversation 1: silent: nobody spoke" in out


def test_what_was_not_over_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcapng", CURE, HANG)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - int.from_bytes(data[-4:], "little")])
    with start(str(path)) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("conversation 0: wrong-protocol"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == app.INTERRUPTED
    assert "conversation 1: so far silent: nobody spoke" in out
    assert "Traceback" not in err


def test_all_of_a_real_recording_comes_and_nothing_else() -> None:
    capture = str(Path(__file__).resolve().parents[2] / "pcaps/spicy-screenshot--qemu-spice.pcapng")
    whole = subprocess.run([*FOLLOW[:-1], "--json", capture], capture_output=True, text=True, check=True)
    piped = subprocess.run(
        [*FOLLOW, "--json", "-"], input=Path(capture).read_bytes(), capture_output=True, check=True
    )
    followed = [{**json.loads(line), "capture": capture} for line in piped.stdout.splitlines()]
    shown = [json.loads(line) for line in whole.stdout.splitlines()]

    def key(record: dict[str, object]) -> tuple[object, ...]:
        return record["conversation"], record["side"], record["offset"], record["kind"], record["name"]

    assert sorted(map(key, followed), key=str) == sorted(map(key, shown), key=str)


def test_sessions_are_no_matter_of_following(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["show", "--follow", "--sessions", "x.pcapng"]) == app.UNUSABLE
    assert "--sessions needs the whole capture" in capsys.readouterr().err
