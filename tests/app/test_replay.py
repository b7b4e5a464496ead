# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte replay`: the contract's object, exit codes, and one line for what cannot be used."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dissect.app.main import main
from dissect.lab.models import Change, Model, Parting, serving
from tests.app.captures import CURE, FAST, HANG, write
from tests.dissection.conversations import CLIENT_HELLO, MS, C, S
from tests.lab.refusing import refusing
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, record

KEYS = {"outcome", "sent_bytes", "received_bytes", "compared_messages", "differences"}


@pytest.fixture(scope="module")
def rfb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rfb") / "rfb.pcapng"
    record(path, CLIENT, SERVER)
    return path


@pytest.fixture(scope="module")
def spice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spice") / "spice.pcapng"
    record(path, SPICY, SPICE)
    return path


def replay(capture: Path, server: Model, *options: str) -> int:
    with serving(server) as background:
        return main(["replay", str(capture), "--to", f"{background.host}:{background.port}", *options])


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_pass(rfb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(rfb, SERVER, "--json") == 0
    out, err = capsys.readouterr()
    [found] = objects(out)
    assert err == ""
    assert found.keys() >= KEYS
    assert (found["outcome"], found["differences"], found["compared_messages"]) == ("pass", [], 5)
    assert found["peer"] == {"protocol": "rfb", "version": "3.8", "name": SERVER.name}
    assert len(found["sha256"]) == 64


def test_a_difference_for_a_person(rfb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(rfb, replace(SERVER, width=80), "--deadline", "20") == 1
    out, _ = capsys.readouterr()
    assert "diff" in out
    assert "ServerInit.framebuffer_width: expected 64, got 80" in out
    assert "00 40 00 30" in out  # the recorded bytes around it
    assert "00 50 00 30" in out


def test_a_difference_as_json(rfb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = replace(SERVER, faults=(Change("ServerInit", "framebuffer_height", 47),))
    assert replay(rfb, server, "--json") == 1
    [found] = objects(capsys.readouterr().out)
    assert {"message", "field", "expected", "got"} <= found["differences"][0].keys()
    assert found["differences"][0]["field"] == "framebuffer_height"


def test_through_a_message(rfb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes after ServerInit is not looked at."""
    server = replace(SERVER, parting=Parting.RESET)
    assert replay(rfb, server, "--through", "ServerInit", "--json") == 0
    assert objects(capsys.readouterr().out)[0]["compared_messages"] == 4


def test_through_a_message_that_is_not_in_the_recording(
    rfb: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(rfb, SERVER, "--through", "ServerInitt") == 2
    assert "no message ServerInitt of the server" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--bytewise", "--gap", "0"],
        ["--coalesce"],
        ["--split", "4,8,1"],
        ["--early-prefix"],
        ["--early-prefix", "0.05"],
        ["--pace", "asap"],
        ["--pace", "recorded", "--speed", "4"],
    ],
    ids=" ".join,
)
def test_ways_to_play(rfb: Path, options: list[str]) -> None:
    assert replay(rfb, SERVER, *options) == 0


def test_a_whole_session(spice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(spice, SPICE, "--all-channels", "--json") == 0
    found = objects(capsys.readouterr().out)
    assert [(one["channel"], one["outcome"]) for one in found] == [
        ("main", "pass"), ("display", "pass"), ("inputs", "pass"),
    ]  # fmt: skip


def test_an_ambiguous_capture_lists_the_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "two.pcapng", CURE, FAST)
    assert main(["replay", str(path), "--to", "127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert "choose one with --conversation N" in err
    assert [line[:20] for line in err.splitlines()[1:]] == ["  0: 127.0.0.1:40000", "  1: 127.0.0.1:40001"]


def test_repeat(rfb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(rfb, SERVER, "--repeat", "20", "--parallel", "5") == 0
    out = capsys.readouterr().out
    assert out.startswith("20 pass; slowest ")
    assert "sockets at once" in out
    assert replay(rfb, SERVER, "--repeat", "3", "--json") == 0
    assert [one["run"] for one in objects(capsys.readouterr().out)] == [0, 1, 2]


def test_rules(rfb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[ServerInit]\nframebuffer_width = { range = [60, 90] }\nname_string = 'exact'\n")
    assert replay(rfb, replace(SERVER, width=80), "--rules", str(rules), "--deadline", "20") == 0
    assert replay(rfb, replace(SERVER, name="other"), "--rules", str(rules)) == 1
    assert "name_string: expected model, got other" in capsys.readouterr().out
    rules.write_text("[ServerInit]\nname_string = 'sometimes'\n")
    assert replay(rfb, SERVER, "--rules", str(rules)) == 2
    assert "rules.toml: " in capsys.readouterr().err


def test_record(rfb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "live.pcapng"
    assert replay(rfb, SERVER, "--record", str(out)) == 0
    capsys.readouterr()
    assert main(["verdict", "--json", str(out)]) == 0
    [verdict] = objects(capsys.readouterr().out)
    assert (verdict["verdict"], verdict["client_spoke"]) == ("agreed", "rfb")


def test_nobody_listens(rfb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcapng"
    with refusing() as port:
        assert main(["replay", str(rfb), "--to", f"127.0.0.1:{port}", "--json", "--record", str(out)]) == 1
    [found] = objects(capsys.readouterr().out)
    assert (found["outcome"], found["reason"]) == ("refused", "connection refused")
    assert main(["verdict", str(out), "--json"]) == 0  # the SYN and the RST that answered it
    assert objects(capsys.readouterr().out)[0]["server"] == f"127.0.0.1:{port}"


def test_a_name_that_is_none(rfb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(rfb), "--to", "nosuchhost.invalid:5900", "--json", "--deadline", "3"]) == 1
    [found] = objects(capsys.readouterr().out)
    assert found["outcome"] == "refused"
    assert "resolved" in found["reason"]


def test_another_host_must_be_allowed(rfb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(rfb), "--to", "192.0.2.1:5900"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--allow-host 192.0.2.1" in err


def test_what_cannot_be_computed_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hello = CLIENT_HELLO + bytes(30)
    path = write(
        tmp_path / "tls.pcapng",
        [(C, hello, MS), (S, bytes.fromhex("160303004a02000046") + bytes(70), 2 * MS)],
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        assert main(["replay", str(path), "--to", f"127.0.0.1:{listener.getsockname()[1]}", "--json"]) == 2
        with pytest.raises(TimeoutError):
            listener.accept()
    out, err = capsys.readouterr()
    assert objects(out)[0]["outcome"] == "refused"
    assert "both sides spoke TLS" in err


def test_a_silence_for_as_long_as_the_user_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "hang.pcapng", HANG)
    assert replay(path, SPICE, "--silence", "0.3", "--json") == 0
    [found] = objects(capsys.readouterr().out)
    assert found["lasted_ns"] >= 300_000_000
    assert found["compared_silences"] == 1
    assert replay(path, SERVER, "--silence", "0.3", "--json", "--deadline", "2") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--to", "nowhere"],
        ["--to", "127.0.0.1:1", "--split", "0"],
        ["--to", "127.0.0.1:1", "--speed", "0"],
        ["--to", "127.0.0.1:1", "--conversation", "9"],
        ["--to", "127.0.0.1:1", "--all-channels"],
        [],
    ],
    ids=" ".join,
)
def test_usage(rfb: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(rfb), *words]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_that_is_no_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no.pcapng"
    path.write_bytes(b"no capture at all")
    for name in (path, tmp_path / "none.pcapng"):
        assert main(["replay", str(name), "--to", "127.0.0.1:1"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c(rfb: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = f"127.0.0.1:{listener.getsockname()[1]}"
        words = [sys.executable, "-m", "dissect.app.main", "replay", str(rfb), "--to", to, "--json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = listener.accept()
            time.sleep(0.2)
            os.kill(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
            connection.close()
    assert process.returncode == 130
    assert err == ""
    assert (objects(out)[0]["outcome"], objects(out)[0]["reason"]) == ("inconclusive", "interrupted")


def test_the_help_says_why_other_hosts_are_not_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--allow-host" in text
    assert "logs in, types and clicks" in text


def test_a_whole_session_through_a_message_of_main(spice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Main goes on without being compared, because the channels need it."""
    assert replay(spice, SPICE, "--all-channels", "--through", "SPICE_MSG_MAIN_INIT", "--json") == 0
    main_channel, *others = objects(capsys.readouterr().out)
    assert main_channel["reason"] == "compared through SPICE_MSG_MAIN_INIT"
    assert [one["outcome"] for one in others] == ["pass", "pass"]
