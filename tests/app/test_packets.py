# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte replay --packets`: from the command line to the device and back."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path

import pytest

from dissect.app.main import main
from dissect.app.packets import open_packets, packet_plan
from dissect.app.terminal import Unusable
from dissect.lab.models import serving
from dissect.replay.packets import device
from dissect.replay.packets.device import PacketsUnavailable, Tun
from dissect.replay.packets.plan import PacketPlan, Piece
from dissect.replay.plan import load
from dissect.replay.transports import Target
from tests.replay.play import CLIENT, SERVER, record


def why_not() -> str | None:
    try:
        Tun.open().close()
    except PacketsUnavailable as error:
        return error.missing
    return None


MISSING = why_not()
needs_tun = pytest.mark.skipif(MISSING is not None, reason=f"no packets of our own here: {MISSING}")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("packets") / "models.pcapng"
    record(path, CLIENT, SERVER)
    return str(path)


@needs_tun
def test_segments_are_sent_and_the_recording_has_them(
    capture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = tmp_path / "plan.toml", tmp_path / "live.pcapng"
    plan.write_text("[[segment]]\noffset = 8\nsize = 4\n[[segment]]\noffset = 0\nsize = 8\nduplicate = 1\n")
    with serving(SERVER) as background:
        to = f"127.0.0.1:{background.port}"
        code = main(
            ["replay", capture, "--to", to, "--packet-plan", str(plan), "--record", str(out), "--json"]
        )
    [line] = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert (code, result["outcome"]) == (0, "pass")
    [note] = [note for note in result["notes"] if "segments of our own" in note]
    assert re.search(r"\b2 planned, \d+ unplanned, 1 copy\b", note)
    [live] = load(str(out))[0]
    assert live.verdict == "agreed"
    assert live.client.startswith("198.1")


@needs_tun
def test_a_thousand_bytes_one_by_one_and_many_at_once(
    capture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(SERVER) as background:
        to = f"127.0.0.1:{background.port}"
        arguments = ["replay", capture, "--to", to, "--packets", "--bytewise"]
        assert main([*arguments, "--repeat", "6", "--parallel", "3"]) == 0
    assert "6 pass" in capsys.readouterr().out


def test_the_missing_privilege_is_one_line(
    capture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device, "CLONE", str(tmp_path / "tun"))
    assert main(["replay", capture, "--to", "127.0.0.1:5900", "--packets"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"firstbyte: --packets: .* has no .*/tun \(module tun\); --split .*\n", said.err)


def test_what_packets_cannot_reach_is_one_line(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", capture, "--to", "[::1]:5900", "--packets"]) == 2
    assert "are IPv4" in capsys.readouterr().err


def test_a_wrong_plan_is_one_line(capture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("[[segment]]\noffset = 0\nsize = 4\nsyn = true\n")
    assert main(["replay", capture, "--to", "127.0.0.1:5900", "--packet-plan", str(path)]) == 2
    assert re.fullmatch(r'firstbyte: .*plan\.toml: segment 0: unknown "syn".*\n', capsys.readouterr().err)


def arguments(**given: object) -> Namespace:
    return Namespace(
        **{"packets": True, "packet_plan": None, "split": None, "bytewise": False, "coalesce": False} | given
    )


def test_the_shapes_of_writes_are_shapes_of_segments() -> None:
    assert packet_plan(arguments()) is None
    assert packet_plan(arguments(bytewise=True)) == PacketPlan(cut=1)
    assert packet_plan(arguments(coalesce=True)) == PacketPlan()
    assert packet_plan(arguments(split=(4, 8))) == PacketPlan((Piece(0, 4), Piece(4, 8)))
    with pytest.raises(Unusable, match="no --split"):
        packet_plan(arguments(packet_plan="x.toml", split=(4,)))


def test_without_the_option_there_are_sockets() -> None:
    assert open_packets(arguments(packets=False), Target.parse("127.0.0.1:1")) is None
