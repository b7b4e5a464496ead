# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte export`: tshark reads our comments on the right packets, and the same packets."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from dissect.app import main as app
from dissect.capture import PcapngWriter, TcpScript, open_capture
from tests.app.captures import CURE, FAST, HANG, START, write
from tests.capture import build
from tests.capture.test_link import MACS, pieces

PCAPS = sorted((Path(__file__).resolve().parents[2] / "pcaps").glob("*.pcapng"))
FIELDS = ("number", "time_epoch", "len", "cap_len", "interface_id", "encap_type", "comment")


def export(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = app.PASS) -> tuple[Any, str]:
    """The object that the command prints, and what it says on stderr."""
    capsys.readouterr()
    assert app.main(["export", "--json", *map(str, words)]) == code
    out, err = capsys.readouterr()
    return json.loads(out) if out else None, err


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """Fields of each packet; comments of one packet are in one field."""
    words = [word for name in fields for word in ("-e", f"frame.{name}")]
    done = run(["tshark", "-r", path, "-T", "fields", *words], capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def packets(path: Path) -> list[tuple[int, int, bytes, int, int]]:
    with open_capture(path) as capture:
        return [(one.time_ns, one.linktype, one.data, one.length, one.interface) for one in capture]


@pytest.mark.program("tshark")
@pytest.mark.parametrize("path", PCAPS[::8], ids=lambda path: path.stem)
def test_tshark_reads_the_comments_and_the_same_packets(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.pcapng"
    found, err = export(capsys, path, "-o", target)
    assert err == ""
    before, after = tshark(path, *FIELDS), tshark(target, *FIELDS)
    assert [row[:-1] for row in after] == [row[:-1] for row in before]
    assert found["packets"] == len(after)
    said = [row[-1] for row in after if row[-1]]
    assert found["commented"] == len(said)
    assert found["comments"] == sum(words.count("firstbyte: ") for words in said)
    assert said[0].startswith("firstbyte: conversation 0, client ")


@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.stem)
def test_of_every_recording_the_packets_stay(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.pcapng"
    found, _ = export(capsys, path, "-o", target)
    assert packets(target) == packets(path)
    assert found["comments"] > found["conversations"]
    assert app.main(["verdict", "--json", str(path)]) == app.PASS
    before = capsys.readouterr().out.replace(str(path), "x")
    assert app.main(["verdict", "--json", str(target)]) == app.PASS
    assert capsys.readouterr().out.replace(str(target), "x") == before


def gathered(tmp_path: Path) -> bytes:
    """A capture of two interfaces of two link types and resolutions, with a comment and a fragment."""
    out = build.shb() + build.idb(linktype=101, resolution=9) + build.idb(linktype=1, resolution=6)
    for number, (time_ns, _, data, _, _) in enumerate(packets(write(tmp_path / "plain.pcapng", CURE))):
        if len(data) > 100:
            for part in pieces(data, 64):
                out += build.epb(time_ns, part)
        elif number % 2:
            out += build.epb(time_ns // 1000, MACS + b"\x08\x00" + data, interface=1)
        else:
            body = (0).to_bytes(4, "little") + (time_ns >> 32).to_bytes(4, "little")
            body += (time_ns & 0xFFFFFFFF).to_bytes(4, "little") + len(data).to_bytes(4, "little") * 2
            body += data + bytes(-len(data) % 4)
            out += build.block(6, body + build.options("<", (1, b"theirs")))
    return out


@pytest.mark.program("tshark")
def test_interfaces_fragments_and_comments_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "x.pcapng", tmp_path / "out.pcapng"
    source.write_bytes(gathered(tmp_path))
    export(capsys, source, "-o", target)
    assert packets(target) == packets(source)
    rows = tshark(target, "number", "interface_id", "comment")
    assert [row[:2] for row in rows] == tshark(source, "number", "interface_id")
    assert {row[1] for row in rows} == {"0", "1"}
    assert rows[0][2].startswith("firstbyte: conversation 0")
    assert rows[0][2].endswith(",theirs")
    answer = next(row for row in rows if "error reply" in row[2])
    assert answer[0] == "6"  # the fragment that made the packet whole


@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_pcap_and_gzip(
    nano: bool, compress: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [(one[0], one[2]) for one in packets(write(tmp_path / "plain.pcapng", CURE, FAST))]
    data = build.pcap(frames, nano=nano)
    source, target = tmp_path / "x.pcap.gz", tmp_path / "out.pcapng"
    source.write_bytes(gzip.compress(data) if compress else data)
    found, _ = export(capsys, source, "-o", target)
    assert packets(target) == packets(source)
    assert (found["packets"], found["conversations"], found["commented"]) == (len(frames), 2, 9)


def test_from_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write(tmp_path / "x.pcapng", CURE), tmp_path / "out.pcapng"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    found, _ = export(capsys, "-", "-o", target)
    assert found["conversations"] == 1
    assert packets(target) == packets(source)


def test_chosen_conversations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write(tmp_path / "x.pcapng", CURE, FAST, HANG), tmp_path / "out.pcapng"
    found, _ = export(capsys, source, "--conversation", "1", "-o", target)
    assert (found["conversations"], found["packets"]) == (1, len(packets(source)))
    found, _ = export(capsys, source, "--verdict", "silent", "--only", "-o", target)
    assert packets(target) == [
        one for one in packets(source) if b"\x9c\x42" in (one[2][20:22], one[2][22:24])
    ]
    found, _ = export(capsys, source, "--port", "40001", "--only", "-o", target)
    assert packets(target) == [
        one for one in packets(source) if b"\x9c\x41" in (one[2][20:22], one[2][22:24])
    ]
    more, _ = export(capsys, source, "--port", "40001", "--messages", "-o", target)
    assert more["comments"] == found["comments"] + 2
    _, err = export(capsys, source, "--conversation", "7", "-o", target, code=app.UNUSABLE)
    assert err == f"firstbyte: {source}: 3 conversations found, none of what is asked for\n"


def test_secrets_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in PCAPS if path.stem == "xtigervncviewer--xtigervnc-password")
    target = tmp_path / "out.pcapng"
    export(capsys, path, "--messages", "-o", target)
    assert app.main(["show", "--json", "--secrets", str(path)]) == app.PASS
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    secret = next(one["fields"]["response"] for one in shown if one["name"] == "VncAuthenticationResponse")
    assert secret.encode() not in target.read_bytes()


def test_what_cannot_be_done_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = write(tmp_path / "x.pcapng", CURE), tmp_path / "out.pcapng"
    before = source.read_bytes()
    assert "it would be lost" in export(capsys, source, "-o", source, code=app.UNUSABLE)[1]
    assert source.read_bytes() == before
    bad = tmp_path / "bad"
    bad.write_bytes(b"no capture at all")
    for wrong in (bad, tmp_path / "gone", tmp_path, write(tmp_path / "empty.pcapng")):
        _, err = export(capsys, wrong, "-o", target, code=app.UNUSABLE)
        assert err.startswith(f"firstbyte: {wrong}: ")
        assert err.count("\n") == 1
    assert "no such file" in export(capsys, source, "-o", tmp_path / "no" / "x", code=app.UNUSABLE)[1].lower()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"x.pcapng", "bad", "empty.pcapng"}


def test_a_cut_capture_is_said_and_what_is_there_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = write(tmp_path / "x.pcapng", CURE), tmp_path / "out.pcapng"
    source.write_bytes(source.read_bytes()[:-75])
    found, err = export(capsys, source, "-o", target)
    assert err.count("\n") == 1
    assert "the file is cut inside a block" in err
    assert packets(target) == packets(source)
    assert found["packets"] == len(packets(source))


def test_simple_packet_blocks_have_no_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "x.pcapng", tmp_path / "out.pcapng"
    out = io.BytesIO()
    with PcapngWriter(out) as writer:
        script = TcpScript(("127.0.0.1", 1), ("127.0.0.1", 2), writer.write)
        script.opened(START)
    data = build.shb() + build.idb()
    for frame in open_capture(io.BytesIO(out.getvalue())):
        packet = frame.data + bytes(-len(frame.data) % 4)
        data += build.block(3, len(frame.data).to_bytes(4, "little") + packet)
    source.write_bytes(data)
    found, err = export(capsys, source, "-o", target)
    assert found["left_out"] == 3
    assert "3 comments left out: simple packet blocks have no room" in err
    assert target.read_bytes() == data
