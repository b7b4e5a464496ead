# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte report`: what goes in, what is said of it; the page itself is looked at in `tests/report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dissect.app import main as app
from dissect.app.labels import labels, programs
from dissect.stream import Side
from dissect.timing.results import write_parquet
from tests.app.captures import CURE, FAST, HANG, noted, write
from tests.report.test_checks import check
from tests.timing.test_results import row

ROOT = Path(__file__).resolve().parents[2]


def report(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = app.PASS) -> tuple[Any, str]:
    """The object that the command prints, and what it says on stderr."""
    capsys.readouterr()
    assert app.main(["report", "--json", *map(str, words)]) == code
    out, err = capsys.readouterr()
    return json.loads(out) if out else None, err


def test_captures_and_results_in_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy")
    source, target = write(tmp_path / "x.pcapng", CURE, FAST, HANG), tmp_path / "out.html"
    run = tmp_path / "run"
    run.mkdir()
    (run / "trials.ndjson").write_text("".join(json.dumps(row(trial=n).to_json()) + "\n" for n in range(3)))
    write_parquet([row(server="other")], tmp_path / "more.parquet")
    found, err = report(capsys, source, run, tmp_path / "more.parquet", "-o", target, "--title", "a & b")
    assert err == ""
    assert found["verdicts"] == {"wrong-protocol": 2, "silent": 1}
    assert (found["inputs"], found["unreadable"], found["trials"]) == (3, 0, 4)
    page = target.read_text("utf-8")
    assert found["bytes"] == target.stat().st_size
    assert f"<h1>{found['answer']}</h1>" in page
    assert "a &amp; b" in page
    assert app.main(["report", str(source), "-o", str(target)]) == app.PASS
    assert capsys.readouterr().out == (
        f"Of 3 conversations, 2 spoke the wrong protocol, 1 stayed silent: {target}\n"
    )


def test_a_check_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, target = tmp_path / "check.ndjson", tmp_path / "out.html"
    rows.write_text("".join(json.dumps(one) + "\n" for one in (check(), check("fail"))) + '{"schema"')
    found, err = report(capsys, rows, "-o", target)
    assert (found["checks"], found["answer"]) == (2, "Of 2 checks, 1 fail, 1 pass")
    assert err.endswith("the row is cut off\n")
    assert err.count("\n") == 1
    rows.write_text(json.dumps(check()).replace("check/1", "check/99"))
    _, err = report(capsys, rows, "-o", target, code=app.UNUSABLE)
    assert "no check in it (at byte 0: " in err


def test_what_cannot_be_read_is_a_line_and_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, target = write(tmp_path / "x.pcapng", FAST), tmp_path / "bad.pcap", tmp_path / "out.html"
    bad.write_bytes(b"no capture at all")
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(good.read_bytes()[:-20])
    found, err = report(capsys, bad, good, cut, tmp_path / "gone.pcap", "-o", target)
    assert (found["inputs"], found["unreadable"], found["conversations"]) == (4, 2, 2)
    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"firstbyte: {cut}: at byte ")
    assert lines[1] == f"firstbyte: {bad}: at byte 0: not a capture but text"
    assert "gone.pcap: at byte 0: no such file" in lines[2]
    page = target.read_text("utf-8")
    assert (
        '<td class="problem">not read</td><td class="problem">at byte 0: not a capture but text</td>' in page
    )
    assert "4 inputs, 3 with problems" in page


def test_nothing_to_read_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, target = tmp_path / "bad.pcap", tmp_path / "out.html"
    bad.write_bytes(b"no capture at all")
    found, err = report(capsys, bad, bad, "-o", target, code=app.UNUSABLE)
    assert found is None
    assert err == f"firstbyte: {bad}: at byte 0: not a capture but text\n"
    assert not target.exists()
    empty = write(tmp_path / "empty.pcapng")
    assert "no TCP conversation" in report(capsys, empty, "-o", target, code=app.UNUSABLE)[1]
    rows = tmp_path / "rows.ndjson"
    rows.write_text('{"schema": "firstbyte-trial/99"}\n')
    _, err = report(capsys, rows, "-o", target, code=app.UNUSABLE)
    assert err.count("\n") == 1
    assert "no row of firstbyte-trial/1" in err


def test_an_input_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "x.pcapng", FAST)
    before = source.read_bytes()
    assert "it would be lost" in report(capsys, source, "-o", source, code=app.UNUSABLE)[1]
    assert source.read_bytes() == before


def test_made_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    source, target = write(tmp_path / "x.pcapng", FAST), tmp_path / "out.html"
    report(capsys, source, "-o", target)
    assert "made 1970-01-01 00:00 UTC" in target.read_text("utf-8")


def test_what_things_are_called() -> None:
    assert labels(["a/x", "b/x", "c/y", "-"]) == {
        "a/x": "a/x",
        "b/x": "b/x",
        "c/y": "y",
        "-": "standard input",
    }
    found = programs(str(ROOT / "pcaps/gvncviewer--qemu-spice.pcapng"))
    assert found[Side.CLIENT].startswith("gvncviewer ")
    assert programs("-") == {}


def test_what_people_wrote_into_a_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On it and on no packet of a conversation; see tests/report for the others."""
    target = tmp_path / "x.html"
    report(capsys, noted(tmp_path / "x.pcapng"), "-o", target)
    page = target.read_text()
    assert "comment on packet 8: nothing here" in page
    assert "\x1b" not in page
