# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte verdict`: the contract's object, a table that fits, and one line for what cannot be used."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from dissect.app import main as app
from dissect.app.captures import read_captures
from dissect.app.commands import verdict as command
from dissect.app.verdicts import STYLES, noticed, outcome, spoke
from dissect.capture.write import PcapngWriter
from dissect.stream import Side
from tests.app.captures import CURE, FAST, HANG, START, noted, write
from tests.benchmarks.traffic import Template, Writer, recorded
from tests.dissection.conversations import MS, run

PCAPS = Path(__file__).parent.parent.parent / "pcaps"

KEYS = {
    "capture", "conversation", "client", "server", "start_ns", "first_speaker", "client_spoke",
    "server_spoke", "verdict", "server_detect", "client_detect", "reversed", "detected_first", "reason",
}  # fmt: skip


def answers(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert app.main(["verdict", "--json", *words]) == app.PASS
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_object_a_conversation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.pcapng", CURE, FAST, HANG)
    rows = {row["conversation"]: row for row in answers(capsys, str(path))}
    assert sorted(rows) == [0, 1, 2]  # type: ignore[type-var]
    assert all(set(row) >= KEYS for row in rows.values())
    assert rows[0]["server_detect"] == {
        "ns": 80_000, "censored": False, "by": "error-reply", "bytes": 4, "after_close": False,
    }  # fmt: skip
    assert (rows[1]["verdict"], rows[1]["detected_first"]) == ("wrong-protocol", "server")
    assert rows[2]["verdict"] == "silent"
    assert rows[2]["client_detect"]["ns"] == 20_000 * MS  # type: ignore[index]
    assert {row["start_ns"] for row in rows.values()} == {START}
    assert {row["server"] for row in rows.values()} == {"127.0.0.1:5900"}


def test_one_conversation_by_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.pcapng", CURE, FAST)
    (row,) = answers(capsys, str(path), "--conversation", "1")
    assert row["conversation"] == 1
    assert app.main(["verdict", str(path), "--conversation", "7"]) == app.UNUSABLE
    assert "no conversation 7" in capsys.readouterr().err


def test_a_capture_from_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.pcapng", CURE)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    (row,) = answers(capsys, "-")
    assert (row["capture"], row["verdict"]) == ("-", "wrong-protocol")


def test_the_table_fits_a_hundred_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    path = write(tmp_path / "x.pcapng", CURE, FAST, HANG)
    assert app.main(["verdict", str(path)]) == app.PASS
    out = capsys.readouterr().out
    assert all(len(line) <= 100 for line in out.splitlines())
    assert "\x1b" not in out
    assert "0.08 ms, 4 B" in out
    assert "≥ 20 s" in out
    assert "INVALID_MAGIC" in out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is text\n", "at byte"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (None, "directory"),
    ],
)
def test_what_is_no_capture_is_one_line(
    tmp_path: Path, content: bytes | None, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pcap"
    path.mkdir() if content is None else path.write_bytes(content)
    assert app.main(["verdict", str(path)]) == app.UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"firstbyte: {path}: ")
    assert reason in err.lower()


def test_a_capture_without_tcp_is_one_line_and_what_was_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "udp.pcapng"
    with PcapngWriter(path, linktype=101) as writer:
        writer.write(START, bytes.fromhex("4500001c000100004011000a7f0000017f000001") + bytes(8))
        writer.close(START)
    assert app.main(["verdict", str(path)]) == app.UNUSABLE
    assert "1 frame not used: 1 UDP" in (err := capsys.readouterr().err)
    assert "no TCP conversation in this capture" in err


def test_a_file_that_fails_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = write(tmp_path / "good.pcapng", CURE), tmp_path / "bad.pcap"
    assert app.main(["verdict", "--json", str(bad), str(good)]) == app.PASS
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err.startswith(f"firstbyte: {bad}: ")


@pytest.mark.parametrize("size", range(0, 2000, 97))
def test_a_cut_file_gives_what_is_before_the_cut_and_one_line(
    tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write(tmp_path / "whole.pcapng", CURE, FAST).read_bytes()
    path = tmp_path / "cut.pcapng"
    path.write_bytes(whole[:size])
    code = app.main(["verdict", str(path)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert code == (app.PASS if out else app.UNUSABLE)
    if size < len(whole):
        assert any(line.startswith(f"firstbyte: {path}: ") for line in err.splitlines())
    else:
        assert err == ""


def test_cells_say_what_the_verdict_says() -> None:
    found = run(CURE).verdict
    assert spoke(found) == "rfb → spice"
    assert outcome(found).style == STYLES["wrong-protocol"]
    assert noticed(found, Side.SERVER).text == "0.08 ms, 4 B"
    assert noticed(found, Side.SERVER).style == "head"  # it was the first
    assert spoke(run(HANG, 1).verdict) == "– → –"
    assert noticed(run(HANG, 5 * MS).verdict, Side.CLIENT).text == "≥ 5 ms"


def test_verdicts_need_no_records(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcapng", CURE)
    assert [found.records for _, found in read_captures([str(path)], records=False)] == [[]]
    assert command.run.__doc__


def test_comments_are_shown_where_they_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = noted(tmp_path / "x.pcapng")
    with (tmp_path / "y.pcapng").open("wb") as target, path.open("rb") as source:
        with PcapngWriter(target, comment="taken at night"):
            pass
        shutil.copyfileobj(source, target)
    assert app.main(["verdict", str(path)]) == app.PASS
    assert "comment" not in capsys.readouterr().out
    assert app.main(["verdict", "--comments", str(tmp_path / "y.pcapng")]) == app.PASS
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "comment on the capture: taken at night"
    assert lines.count("    comment on packet 1 (client): the \\x1b[31mfirst") == 1
    first = {"about": "packet 1", "text": "the \x1b[31mfirst", "side": "client", "time_ns": START}
    general = {"about": "the capture", "text": "taken at night", "side": None, "time_ns": None}
    (row,) = answers(capsys, "--comments", str(tmp_path / "y.pcapng"))
    assert row["comments"] == [general, first]
    # Where captures are one, those of all of them.
    parts = [str(tmp_path / name) for name in ("y.pcapng", "rest.pcapng")]
    shutil.copy(path, parts[1])
    (row,) = answers(capsys, "--comments", "--merge", *parts)
    assert row["comments"] == [general, first]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    (row,) = answers(capsys, "--comments", "-")
    assert row["comments"] == [first]


def test_many_rows_are_printed_before_all_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.pcapng", CURE, FAST, HANG, CURE)
    assert app.main(["verdict", str(path)]) == app.PASS
    expected = capsys.readouterr().out
    monkeypatch.setattr("dissect.app.commands.verdict.HELD", 2)
    assert app.main(["verdict", str(path)]) == app.PASS
    assert capsys.readouterr().out.split() == expected.split()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of which nearly all are foreign, many of a kind; two are of interest, one is refused."""
    path = tmp_path_factory.mktemp("many") / "many.pcap"
    client, server = Side.CLIENT, Side.SERVER
    hello = b"\x16\x03\x01\x00\x10" + bytes(16)
    kinds = [
        Template.of("tls", 443, [(client, hello), (server, hello)]),
        Template.of("tls to a server of SPICE", 5900, [(client, hello), (server, hello)]),
        Template.of("http", 80, [(client, b"GET / HTTP/1.1\r\n\r\n"), (server, b"HTTP/1.1 404 No\r\n\r\n")]),
        Template.of("unknown", 6379, [(client, b"PING\r\n"), (server, b"+PONG\r\n")]),
        Template.of("odd", 5901, [(client, b"REDQ"), (server, b"RFB 003.008\n")]),
        *recorded(PCAPS, "agreed")[:2],
    ]
    with path.open("wb") as stream:
        writer = Writer(stream)
        for _ in range(3):
            writer.wave(list(zip(kinds, (20, 3, 9, 4, 1, 1, 1), strict=True)))
    return path


@pytest.mark.parametrize(
    "options",
    [(), ("--json",), ("--when",), ("--verdict", "wrong-protocol"), ("--port", "80"), ("--color", "always")],
)
def test_the_kernels_change_no_row(
    options: tuple[str, ...], many: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found together is printed as what is found one by one."""
    monkeypatch.setattr("dissect.app.commands.verdict.HELD", 30)
    printed = []
    for least in (1 << 40, 1):
        monkeypatch.setattr("dissect.dissection.readers.SWIFT", least)
        assert app.main(["verdict", *options, str(many)]) == app.PASS
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0]
