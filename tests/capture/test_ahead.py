# SPDX-License-Identifier: GPL-2.0-or-later
"""What is read ahead is what is in the file, wherever it is asked for."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dissect.capture.ahead import Ahead


@contextmanager
def ahead(path: Path, offset: int, size: int, again: int) -> Iterator[Ahead]:
    file = os.open(path, os.O_RDONLY)
    one = Ahead(file, offset, size, again)
    try:
        yield one
    finally:
        one.close()
        os.close(file)


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 1000, 5000])
def test_all_bytes_come_in_order(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = random.Random(length).randbytes(length)
    path.write_bytes(data)
    dice = random.Random(1)
    with ahead(path, length // 10, 100, 30) as one:
        at = length // 10
        while at < length:
            size = min(dice.randrange(1, 30), length - at)
            found = one.take(at, size)
            assert found is not None  # what is no longer than what two chunks share is whole in one
            chunk, place = found
            assert chunk[place : place + size] == data[at : at + size]
            at += dice.choice((size, size, min(150, length - at)))
        assert one.take(length, 1) is None
        assert one.take(length, 1) is None


def test_what_is_longer_than_a_chunk_is_in_none(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(1000))
    with ahead(path, 0, 100, 30) as one:
        assert one.take(0, 101) is None
        assert one.take(500, 20) is not None
        assert one.take(990, 20) is None


def test_a_file_that_became_shorter_ends_earlier_and_one_that_fails_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(10_000))
    with ahead(path, 0, 100, 0) as one:
        assert one.take(0, 100) is not None
        os.truncate(path, 150)
        assert one.take(9_000, 10) is None
    with ahead(tmp_path, 0, 100, 0) as one, pytest.raises(OSError, match="directory"):
        one.take(0, 10)


def test_no_thread_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(10_000))
    before = threading.active_count()
    for size in (10, 100, 20_000):
        with ahead(path, 0, size, 0):
            pass
    assert threading.active_count() == before
