# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte peers`, `record` and `demo`: the lab from the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from dissect.app import main as app
from dissect.app.commands import demo
from dissect.app.commands.peers import add_arguments
from dissect.app.commands.record import file_name
from dissect.lab.collection import findings, load, sha256, store
from dissect.lab.peers import load_peers
from tests.app.captures import CURE, FAST, HANG, write


def test_every_peer_of_the_table_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["peers", "--json"]) == app.PASS
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["peer"] for row in rows] == list(load_peers())
    assert all(row["installed"] in (True, False) for row in rows)
    assert app.main(["peers"]) == app.PASS
    out = capsys.readouterr().out
    assert all(name in out for name in load_peers())
    assert add_arguments.__doc__


def test_a_table_of_ones_own_that_is_wrong_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "mine.toml"
    table.write_text("[x]\nrole = 'cook'\n")
    assert app.main(["peers", "--peers", str(table)]) == app.UNUSABLE
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_peer_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["record", "nobody", "qemu-vnc", "-o", str(tmp_path / "x.pcapng")]) == app.UNUSABLE
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nobody" in err


def test_several_recordings_need_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = app.main(["record", "spicy,vncsnapshot", "qemu-vnc", "-o", str(tmp_path / "x.pcapng")])
    assert code == app.UNUSABLE
    assert "folder" in capsys.readouterr().err
    assert file_name("a", "b") == "a--b.pcapng"
    assert file_name("a", "b", "pw") == "a--b-password.pcapng"


@pytest.mark.peer("spicy-screenshot", "x11vnc")
def test_a_recording_and_its_index_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pair.pcapng"
    words = ["record", "spicy-screenshot", "x11vnc", "-o", str(path), "--deadline", "5", "--index", "--json"]
    assert app.main(words) == app.PASS
    row = json.loads(capsys.readouterr().out)
    assert row["packets"] > 3
    assert row["dropped"] == 0
    (entry,) = load(tmp_path)
    assert entry["sha256"] == sha256(path)
    assert entry["versions"].keys() == {"spicy-screenshot", "x11vnc"}
    assert entry["command"].startswith("firstbyte record spicy-screenshot x11vnc -o ")
    assert entry["conversation"] == findings(path)
    assert entry["conversation"][0]["verdict"] == "wrong-protocol"


def test_an_index_keeps_its_other_entries(tmp_path: Path) -> None:
    store(tmp_path, [{"file": "b.pcapng", "x": 1}, {"file": "a.pcapng", "x": 1}])
    store(tmp_path, [{"file": "b.pcapng", "x": 2}])
    assert [(entry["file"], entry["x"]) for entry in load(tmp_path)] == [("a.pcapng", 1), ("b.pcapng", 2)]
    assert tomllib.loads((tmp_path / "index.toml").read_text())["capture"][1]["x"] == 2
    assert load(tmp_path / "nothing") == []


def test_findings_say_what_the_index_needs(tmp_path: Path) -> None:
    cure, fast, hang = findings(write(tmp_path / "x.pcapng", CURE, FAST, HANG))
    assert cure["server_detect"] == {"by": "error-reply", "bytes": 4}
    assert cure["server_messages"] == {"SpiceLinkReply": 1}
    assert fast["detected_first"] == "server"
    assert hang == {
        "verdict": "silent",
        "client_spoke": "nothing",
        "server_spoke": "nothing",
        "server_detect": {"censored": True, "bytes": 0},
        "client_detect": {"censored": True, "bytes": 0},
    }


def test_the_tour_needs_no_real_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DEADLINE_S", 2.5)
    folder, out = tmp_path / "recorded", tmp_path / "pictures"
    folder.mkdir()
    write(folder / "gvncviewer--qemu-spice.pcapng", CURE)
    store(folder, [{"file": "gvncviewer--qemu-spice.pcapng", "client": "gvncviewer", "server": "qemu-spice"}])
    assert app.main(["demo", "--no-peers", "--captures", str(folder), "-o", str(out)]) == app.PASS
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert sum("→" in line for line in shown.splitlines()) == 1 + 12
    assert sum("silent" in line and "≥" in line for line in shown.splitlines()) >= 2
    assert sorted(path.name for path in out.iterdir()) == ["detection-times.png", "the-cure.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())


def test_the_tour_without_recordings_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo._recorded(tmp_path) == []
    assert "no recordings" in capsys.readouterr().out
