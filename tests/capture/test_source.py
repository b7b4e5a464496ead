# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes in chunks: what is here, what is still wanted, and the words where they end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from dissect.capture.format import Format
from dissect.capture.journal import Journal
from dissect.capture.pcap import FILE_HEADER, Pcap
from dissect.capture.source import Source
from tests.capture.build import pcap


@pytest.fixture(params=["stream", "file"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    """A hundred bytes, read in tens."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    with path.open("rb", buffering=0) as stream:
        found = Source(stream, stream.fileno() if request.param == "file" else None)
        found.chunk = 10
        yield found


def test_what_is_wanted_is_here_and_where_it_lies(source: Source) -> None:
    assert source.need(4)
    assert (source.offset, source.left, source.consumed) == (0, 10, 10)
    source.position = 8
    assert source.need(25)
    assert (source.base, source.position, source.buffer[0]) == (8, 0, 8)
    assert source.buffer == bytes(range(8, source.consumed))
    assert source.left >= 25
    assert source.cut("a record", 25) is None
    assert not source.need(93)
    assert source.buffer == bytes(range(8, 100))
    assert source.cut("a record", 93) == "the file is cut inside a record: 92 of 93 bytes are there"


def test_a_stop_is_the_end(source: Source) -> None:
    assert source.need(10)
    source.stop()
    assert not source.need(11)
    assert (source.left, source.consumed) == (10, 10)
    assert source.error is None


def test_a_file_that_becomes_shorter_ends_where_it_was_read_to(source: Source, tmp_path: Path) -> None:
    assert source.need(10)
    source.position = 4
    with (tmp_path / "file").open("r+b") as file:
        file.truncate(2)
    assert not source.need(7)
    assert (source.base, source.buffer, source.consumed) == (4, bytes(range(4, 10)), 10)


def test_an_end_between_records_is_none_of_a_format_s_problems() -> None:
    for extra, problems in ((b"", 0), (b"x", 1)):
        source, journal = Source(io.BytesIO(pcap([]) + extra)), Journal("file")
        source.need(FILE_HEADER)
        found: Format = Pcap(source, journal)
        assert list(found.frames()) == []
        assert len(journal.problems) == problems
