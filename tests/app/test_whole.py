# SPDX-License-Identifier: GPL-2.0-or-later
"""A file is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from dissect.app.whole import whole


def test_a_new_file_and_one_in_place_of_another(tmp_path: Path) -> None:
    target = tmp_path / "x"
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with whole(str(target)) as stream:
        stream.write(b"one")
        assert not target.exists()
    assert target.read_bytes() == b"one"
    assert target.stat().st_mode == plain.stat().st_mode
    target.chmod(0o600)
    (tmp_path / "link").symlink_to(target)
    with whole(str(tmp_path / "link")) as stream:
        stream.write(b"two")
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "plain", "x"]


def fail(target: Path) -> None:
    with whole(str(target)) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        fail(target)
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    with pytest.raises(FileNotFoundError, match="no/x"), whole(str(tmp_path / "no" / "x")):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_could_not_be_written_is_named() -> None:
    with pytest.raises(OSError, match="/dev/full"), whole("/dev/full") as stream:
        stream.write(bytes(1 << 20))
    with pytest.raises(BrokenPipeError), whole("/dev/null"):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with whole(str(pipe)) as stream:
        stream.write(b"through")
    reader.join()
    assert read == [b"through"]
    assert pipe.is_fifo()
