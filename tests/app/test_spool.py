# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes by pipes is kept, and can be read again as far as there was room."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from threading import Thread

import pytest

from dissect.app import main as app
from dissect.app import spool
from dissect.capture import CaptureError, open_capture
from tests.app.captures import CURE, FAST, HANG, write
from tests.app.test_extract import frames


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Put data on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_pipe_and_a_named_pipe_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, pipe = write(tmp_path / "x.pcapng", CURE, FAST), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=lambda: pipe.write_bytes(source.read_bytes()))
    writer.start()
    piped(monkeypatch, source.read_bytes())
    with spool.Spools(["-", str(pipe), str(source)], tmp_path) as spools:
        assert ["-" in spools, str(pipe) in spools, str(source) in spools] == [True, True, False]
        for name in ("-", str(pipe)):
            with spools.first(name) as capture:
                found = [frame.data for frame in capture]
            for _ in range(2):
                assert [frame.data for frame in open_capture(spools.again(name))] == found
        assert spools.full is None
    writer.join()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["pipe", "x.pcapng"]


def test_what_is_no_capture_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, b"")
    with spool.Spools(["-"], tmp_path) as spools, pytest.raises(CaptureError, match="standard input"):
        spools.first("-")


def test_where_there_is_no_room_that_is_said_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "x.pcapng", CURE, FAST, HANG).read_bytes()
    target = tmp_path / "out.pcapng"
    whole = frames(tmp_path / "x.pcapng")
    for most in (len(data), len(data) // 2):
        monkeypatch.setattr(spool, "MOST", most)
        piped(monkeypatch, data)
        assert app.main(["verdict", "-", "-w", str(target)]) == app.PASS
        told = capsys.readouterr()
        assert told.out.count(" → ") == 3
        found = frames(target)
        assert found == whole[: len(found)]
        assert 1 < len(found) <= len(whole)
        cut = f"not all that the pipe brought could be kept (there was room for {most:,} bytes)"
        assert (cut in told.err) is (most < len(data)) is (len(found) < len(whole))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.pcapng", "x.pcapng"]
