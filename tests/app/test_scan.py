# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte scan`: each conversation of many captures a row; what fails is a row; it can be resumed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dissect.app import main as app
from dissect.app import scanning
from dissect.app.scanning import NAMES, Source, scan_one, sources
from dissect.firstbyte.tables import COLUMNS, CONVERSATION, DETECTION
from tests.app.captures import CURE, FAST, HANG, runs, write

parquet = pytest.importorskip("pyarrow.parquet")


KILLED = ("qemu-spice", "qemu-vnc", "x11vnc-3.7", "x11vnc", "xtigervnc", "xtightvnc")
"""Servers of captures of a scan that is killed."""


def table(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.parquet")):
        rows += parquet.read_table(path).to_pylist()
    return sorted(rows, key=lambda row: (row["capture"], row["conversation"] is None, row["conversation"]))


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    write(folder / "one.pcapng", CURE, FAST)
    plain = write(folder / "deep" / "two.pcapng", HANG)
    (folder / "deep" / "three.pcap.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (folder / "bad.pcap").write_bytes(b"this is no capture\n")
    (folder / "cut.pcap0").write_bytes((folder / "one.pcapng").read_bytes()[:-40])
    (folder / "readme.txt").write_text("not taken")
    return folder


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_rows_are_those_of_verdict(
    captures: Path, tmp_path: Path, jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert app.main(["scan", str(captures), "-o", str(out), "--jobs", jobs]) == app.PASS
    told = capsys.readouterr()
    assert told.out == f"6 conversations in 5 captures, 2 with errors: {out}\n"
    assert "bad.pcap: at byte 0: not a capture but text" in told.err
    rows = table(out)
    assert all(list(row) == list(COLUMNS[CONVERSATION]) for row in rows)
    names = [
        str(captures / name) for name in ("one.pcapng", "deep/two.pcapng", "deep/three.pcap.gz", "cut.pcap0")
    ]
    assert app.main(["verdict", "--json", *names]) == app.PASS
    expected = []
    for line in capsys.readouterr().out.splitlines():
        row = json.loads(line)
        for side in ("server", "client"):
            seen = row.pop(f"{side}_detect") or {}
            row.update({f"{side}_detect_{name}": seen.get(name) for name in DETECTION})
        row["session"] = None if row["session"] is None else json.dumps(row["session"])
        expected.append({**row, "error": None})
    found = [row for row in rows if row["error"] is None]
    assert all(row.pop("start") is not None for row in found)
    assert found == sorted(expected, key=lambda row: (row["capture"], row["conversation"]))
    errors = {Path(row["capture"]).name: row for row in rows if row["error"] is not None}
    assert set(errors) == {"bad.pcap", "cut.pcap0"}
    assert errors["bad.pcap"]["verdict"] is None
    assert "the file is cut" in errors["cut.pcap0"]["error"]


def test_what_was_done_is_not_done_again(
    captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["scan", str(captures), "-o", str(out), "--json", "--jobs", "1"]
    calls: list[str] = []

    def stops(source: Source, folder: Path) -> scanning.Scanned:
        calls.append(source.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return scan_one(source, folder)

    monkeypatch.setattr(scanning, "scan_one", stops)
    assert app.main(words) == app.INTERRUPTED
    assert len(list(out.glob("*.parquet"))) == 2
    (out / "leftover.unfinished").write_bytes(b"of a run that was killed")
    capsys.readouterr()
    calls.clear()

    def goes_on(source: Source, folder: Path) -> scanning.Scanned:
        calls.append(source.name)
        return scan_one(source, folder)

    monkeypatch.setattr(scanning, "scan_one", goes_on)
    assert app.main(words) == app.PASS
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(one["before"] for one in told) == 2
    assert len(calls) == 3
    assert sum(one["conversations"] for one in told) == 6
    assert not list(out.glob("*.unfinished"))
    write(captures / "one.pcapng", CURE, FAST, HANG)  # changed: done anew
    calls.clear()
    assert app.main(words) == app.PASS
    assert calls == [str(captures / "one.pcapng")]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in.pcapng", CURE)
    os.mkfifo(tmp_path / "pipe.pcap")
    assert app.main(["scan", str(tmp_path), "-o", str(tmp_path / "out"), "--jobs", "1"]) == app.PASS
    assert "pipe.pcap: a pipe or a device, not a file" in capsys.readouterr().err
    assert [row["error"] for row in table(tmp_path / "out")] == [None, "a pipe or a device, not a file"]


def troubled(source: Source, folder: Path) -> scanning.Scanned:
    """Over one capture the process dies, over another the program fails."""
    if source.name.endswith("two.pcapng"):
        os._exit(9)
    if source.name.endswith("one.pcapng"):
        raise ZeroDivisionError("a fault")
    return scan_one(source, folder)


def test_one_capture_does_not_end_the_scan_of_many(
    captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "scan_one", troubled)
    words = ["scan", str(captures), "-o", str(tmp_path / "out"), "--json", "--jobs", "2"]
    assert app.main(words) == app.PASS
    told = {Path(row["capture"]).name: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert told["two.pcapng"]["error"] == "not scanned: the process that read it died"
    assert told["one.pcapng"]["error"] == "not scanned: ZeroDivisionError: a fault"
    assert told["three.pcap.gz"] == {**told["three.pcap.gz"], "conversations": 1, "error": None}
    assert len(told) == 5
    monkeypatch.setattr(scanning, "scan_one", scan_one)
    assert app.main(words) == app.PASS
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {Path(row["capture"]).name for row in again if not row["before"]} == {"one.pcapng", "two.pcapng"}


def _children(pid: int) -> set[int]:
    return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_one_that_is_killed_leaves_nothing_running_and_can_be_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [Path(__file__).parents[2] / "pcaps" / f"xtightvncviewer--{name}.pcapng" for name in KILLED]
    words = ["scan", *map(str, many), "-o", str(tmp_path / "out")]
    command = [sys.executable, "-m", "dissect.app.main", *words, "--jobs", "2"]
    for _ in range(5):  # it may be done before it is killed
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        started: set[int] = set()
        deadline = time.monotonic() + 60
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not list(tmp_path.glob("out/*.parquet")) and time.monotonic() < deadline:
                started |= _children(process.pid)
                time.sleep(0.01)
            process.kill()
        if process.returncode == -signal.SIGKILL:
            break
    assert process.returncode == -signal.SIGKILL
    assert started
    while any(map(runs, started)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(runs, started))
    assert app.main([*words, "--jobs", "1"]) == app.PASS
    assert app.main(["scan", *map(str, many), "-o", str(tmp_path / "whole"), "--jobs", "1"]) == app.PASS
    assert table(tmp_path / "out") == table(tmp_path / "whole")
    assert not list(tmp_path.glob("out/*.unfinished"))
    capsys.readouterr()


def test_patterns_and_urls(captures: Path) -> None:
    one = str(captures / "one.pcapng")
    assert [source.name for source in sources([str(captures / "*.pcapng"), one])] == [one]
    deep = sources([str(captures / "**" / "*.pcap.gz")])
    assert [Path(source.name).name for source in deep] == ["three.pcap.gz"]
    urls = sources([f"file://{captures}"])
    assert len(urls) == 5
    assert all(source.name.startswith("file://") for source in urls)
    assert len(sources([f"file://{captures}/*.pcapng"])) == 1


def test_a_url_is_read(captures: Path, tmp_path: Path) -> None:
    (source,) = sources([f"file://{captures}/one.pcapng"])
    assert scan_one(source, tmp_path).conversations == 2
    assert {row["capture"] for row in table(tmp_path)} == {f"file://{captures}/one.pcapng"}
    gone = Source(f"file://{captures}/gone.pcap", 1, "")
    assert scan_one(gone, tmp_path).error


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, without a word."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(captures: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(captures)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_capture_that_a_listing_has_and_nobody_finds_is_a_row(
    captures: Path, tmp_path: Path, web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("aiohttp")
    (captures / "gone.pcap").symlink_to(captures / "nowhere")
    assert app.main(["scan", f"{web}/", "-o", str(tmp_path / "out"), "--jobs", "1"]) == app.PASS
    rows = {Path(row["capture"]).name: row["error"] for row in table(tmp_path / "out")}
    assert rows["gone.pcap"] is not None
    assert rows["one.pcapng"] is None
    capsys.readouterr()


def test_captures_in_an_archive(captures: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(captures / "one.pcapng", "deep/one.pcapng")
    url = f"zip://deep/*.pcapng::file://{tmp_path}/x.zip"
    assert app.main(["scan", url, "-o", str(tmp_path / "out"), "--jobs", "1"]) == app.PASS
    names = {row["capture"] for row in table(tmp_path / "out")}
    assert names == {f"zip://deep/one.pcapng::file://{tmp_path}/x.zip"}


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without where the capture was."""
    return [{**row, "capture": Path(row["capture"]).name} for row in rows]


def test_captures_in_memory_and_on_the_web(captures: Path, tmp_path: Path, web: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    memory = fsspec.filesystem("memory")
    memory.pipe("/firstbyte-test/one.pcapng", (captures / "one.pcapng").read_bytes())
    names = {
        "disk": str(captures / "one.pcapng"),
        "memory": "memory://firstbyte-test/one.pcapng",
        "web": f"{web}/one.pcapng",
    }
    for kind, name in names.items():
        words = ["scan", name, "-o", str(tmp_path / kind), "--jobs", "1"]
        assert app.main(words) == app.PASS
    memory.rm("/firstbyte-test", recursive=True)
    disk, *others = (bare(table(tmp_path / kind)) for kind in names)
    assert len(disk) == 2
    assert all(other == disk for other in others)


def test_a_cluster_finds_what_one_process_finds(
    captures: Path, tmp_path: Path, web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("aiohttp")
    wanted = [str(captures), f"{web}/one.pcapng"]
    assert app.main(["scan", *wanted, "-o", str(tmp_path / "alone"), "--jobs", "1"]) == app.PASS
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(host="127.0.0.1", silence_logs="CRITICAL", **options) as cluster:
        words = ["scan", *wanted, "-o", str(tmp_path / "many"), "--dask", cluster.scheduler_address, "--json"]
        capsys.readouterr()
        assert app.main(words) == app.PASS
        first = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        (tmp_path / "many" / next((tmp_path / "many").glob("*.parquet")).name).unlink()
        assert app.main(words) == app.PASS
        again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sum(one["before"] for one in run) for run in (first, again)] == [0, 5]
    assert table(tmp_path / "many") == table(tmp_path / "alone")
    names = {path.name for path in (tmp_path / "many").iterdir()}
    assert names == {path.name for path in (tmp_path / "alone").iterdir()}


def test_a_cluster_that_is_not_there_is_one_line(
    captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(scanning, "CONNECT", 0.2)
    words = ["scan", str(captures), "-o", str(tmp_path / "out"), "--dask", "tcp://127.0.0.1:9"]
    assert app.main(words) == app.UNUSABLE
    assert "no Dask scheduler answers" in capsys.readouterr().err


def test_nothing_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (str(tmp_path), str(tmp_path / "none*.pcap"), f"file://{tmp_path}/none.pcap", "nonsense://x"):
        assert app.main(["scan", path, "-o", str(tmp_path / "out")]) == app.UNUSABLE
        assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_package_is_named(
    captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert app.main(["scan", str(captures), "-o", str(tmp_path / "out")]) == app.UNUSABLE
    assert "pip install 'firstbyte[scan]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("a.pcap", True),
        ("a.PCAPNG", True),
        ("a.pcap12", True),
        ("a.cap.zst", True),
        ("a.txt", False),
        ("pcap", False),
    ],
)
def test_names_in_folders(name: str, taken: bool) -> None:
    assert bool(NAMES.search(name)) is taken
