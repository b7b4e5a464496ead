# SPDX-License-Identifier: GPL-2.0-or-later
"""`-w`: the packets of selected conversations, unchanged, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dissect.app import main as app
from dissect.app.extract import Chosen
from dissect.capture import PcapngWriter, TcpScript, open_capture
from tests.app.captures import CURE, FAST, HANG, START, write
from tests.capture import build
from tests.capture.test_link import MACS, pieces


def frames(path: Path) -> list[tuple[int, int, bytes, int]]:
    with open_capture(path) as capture:
        return [(one.time_ns, one.linktype, one.data, one.length) for one in capture]


def extract(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app.main(["verdict", *words]) == app.PASS
    return capsys.readouterr().err


def test_only_the_selected_conversations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write(tmp_path / "x.pcapng", CURE, FAST, HANG), tmp_path / "out.pcapng"
    err = extract(capsys, str(source), "--verdict", "wrong-protocol", "-w", str(target))
    assert "of 2 conversations written" in err
    expected = [
        one
        for one in frames(source)
        if one[2][20:22] in (b"\x9c\x40", b"\x9c\x41") or one[2][22:24] in (b"\x9c\x40", b"\x9c\x41")
    ]
    assert frames(target) == expected
    assert app.main(["verdict", "--json", str(target)]) == app.PASS
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["verdict"] for row in found] == ["wrong-protocol"] * 2


def test_one_of_two_on_the_same_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ports that are used again: the second connection is another conversation."""
    source, target = tmp_path / "x.pcapng", tmp_path / "out.pcapng"
    with PcapngWriter(source, linktype=101) as writer:
        for number in range(3):
            script = TcpScript(
                ("127.0.0.1", 40_000), ("127.0.0.1", 5900), writer.write, client_isn=10_000 * number
            )
            start = START + number * 10**9
            script.opened(start)
            for side, what, time in CURE:
                if isinstance(what, bytes):
                    script.sent(side, what, start + time // 100)
            script.reset(CURE[-1][0], start + 10**8)
    extract(capsys, str(source), "--conversation", "1", "-w", str(target))
    found, all_frames = frames(target), frames(source)
    third = len(all_frames) // 3
    assert found == all_frames[third : 2 * third]


def test_over_rotated_captures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, target = write(tmp_path / "x.pcapng", CURE, FAST), tmp_path / "out.pcapng"
    everything = frames(whole)
    names = []
    for number, part in enumerate((everything[:5], everything[5:9], everything[9:])):
        path = tmp_path / f"part{number}.pcapng"
        with PcapngWriter(path, linktype=101) as writer:
            for time_ns, _, data, length in part:
                writer.write(time_ns, data, length)
        names.append(str(path))
    extract(capsys, "--merge", *names, "--port", "40000", "-w", str(target))
    assert frames(target) == [one for one in everything if b"\x9c\x40" in (one[2][20:22], one[2][22:24])]


def test_link_types_fragments_cut_frames_and_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "x.pcapng", tmp_path / "out.pcapng"
    packets = frames(write(tmp_path / "plain.pcapng", CURE))
    data = build.shb() + build.idb(linktype=101, resolution=9) + build.idb(linktype=1, resolution=9)
    data += build.block(10, b"KLST" + (7).to_bytes(4, "little") + b"secrets\0")
    for number, (time, _, packet, _) in enumerate(packets):
        if len(packet) > 100:
            for part in pieces(packet, 64):
                data += build.epb(time, part)
        elif number % 2:
            data += build.epb(time, MACS + b"\x08\x00" + packet, interface=1, length=2000)
        else:
            data += build.epb(time, packet)
    source.write_bytes(data)
    extract(capsys, str(source), "-w", str(target))
    assert frames(target) == frames(source)
    with open_capture(target) as capture:
        list(capture)
        assert capture.secrets == [(int.from_bytes(b"KLST", "little"), b"secrets")]


@pytest.mark.parametrize("words", [["-"], ["--follow", "x.pcapng"]])
def test_what_can_be_read_only_once_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["verdict", *words, "-w", "out.pcapng"]) == app.UNUSABLE
    assert "-w reads the captures twice" in capsys.readouterr().err


def test_a_capture_is_not_overwritten_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "x.pcapng", CURE)
    before = source.read_bytes()
    assert app.main(["verdict", str(source), "-w", str(source)]) == app.UNUSABLE
    assert "it would be lost" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_chosen_knows_where_a_conversation_began(tmp_path: Path) -> None:
    from dissect.capture import read

    with open_capture(write(tmp_path / "x.pcapng", CURE, FAST)) as capture:
        one, other, *_ = dict.fromkeys(event.conversation for event in read(capture))
    chosen = Chosen()
    chosen.add("a", one)
    assert len(chosen) == 1
    assert chosen.began("a", one)
    assert not chosen.began("b", one)
    assert not chosen.began("a", other)
    assert chosen.ends("b") == set()
