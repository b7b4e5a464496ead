# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures from wherever they come, and what is none; the formats have tests of their own."""

from __future__ import annotations

import io
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.capture import CaptureError, open_capture
from tests.capture.build import epb, idb, isb, pcap, shb
from tests.capture.reading import FRAMES, T, whole


class Dribble(io.RawIOBase):
    """A stream that cannot be seeked and hands out a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = data, size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "an unbounded read"
        size = min(size, self._size)
        part, self._data = self._data[:size], self._data[size:]
        return part


# -- what cannot be read at all


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"ab", "only 2 bytes"),
        (b"hello, world\n" * 10, "text"),
        ("größer\n".encode() * 100, "text"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "the gzip data are damaged"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
        (b"PK\x03\x04" + bytes(20), "a zip archive"),
        (b"\xfd7zXZ\x00" + bytes(20), "xz"),
        (b"\x04\x22\x4d\x18" + bytes(20), "lz4"),
        (b"BZh91AY", "bzip2"),
        (b"snoop\x00\x00\x00" + bytes(20), "snoop"),
        (b"\x7fELF" + bytes(20), "program"),
        (b"\x00\x01\x02\x03" + bytes(20), "begins with 00 01 02 03"),
        (pcap(FRAMES)[:10], "cut inside the file header: 10 of 24"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 3, 0, 0, 0, 1, 1), "version 3.0"),
        (shb()[:9], "9 of 12"),
        (shb()[:20], "20 of 28"),
        (b"\x0a\x0d\x0d\x0a" + bytes(30), "byte-order mark"),
        (b"\x0a\x0d\x0d\x0a" + struct.pack("<II", 2**31, 0x1A2B3C4D) + bytes(30), "the limit"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(data: bytes, words: str) -> None:
    with pytest.raises(CaptureError) as caught:
        open_capture(io.BytesIO(data), "a\nfile")
    line = str(caught.value)
    assert line.startswith("a\\nfile: at byte 0: ")
    assert words in line
    assert "\n" not in line
    assert (caught.value.file, caught.value.offset) == ("a\nfile", 0)
    assert words in caught.value.reason


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"nowhere: at byte 0: no such file"):
        open_capture(tmp_path / "nowhere")
    with pytest.raises(CaptureError, match=r": at byte 0: a directory"):
        open_capture(str(tmp_path))
    with pytest.raises(CaptureError, match=r"null"):
        open_capture("nu\0ll")


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(pcap(FRAMES))
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # root may read everything, nobody may not
        os.seteuid(65534)
    try:
        with pytest.raises(CaptureError, match=r"secret: at byte 0: permission denied"):
            open_capture(path)
    finally:
        if root:
            os.seteuid(0)


class Failing(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int = -1) -> bytes:
        data, self._data = self._data, b""
        if not data:
            raise OSError(5, "Input/output error")
        return data


def test_a_read_error_in_the_middle_keeps_what_was_read() -> None:
    capture = open_capture(Failing(pcap(FRAMES)), "disk")  # type: ignore[arg-type]
    assert len(list(capture)) == 4
    (problem,) = capture.problems
    assert problem.reason == "cannot be read further: input/output error"


def test_a_read_error_at_the_start() -> None:
    with pytest.raises(CaptureError, match=r"cannot be read: input/output error"):
        open_capture(Failing(b""), "disk")  # type: ignore[arg-type]


# -- where bytes come from


@pytest.mark.parametrize("size", [1, 3, 17, 4096])
def test_the_size_of_reads_changes_nothing(size: int) -> None:
    for data in (pcap(FRAMES), shb() + idb() + b"".join(epb(t, d) for t, d in FRAMES) + isb(3)):
        capture = open_capture(Dribble(data, size), "pipe")  # type: ignore[arg-type]
        assert list(capture) == whole(data)[0]
        assert capture.problems == []
        assert capture.offset == len(data)


def test_frames_come_out_of_a_pipe_before_it_ends() -> None:
    data = pcap(FRAMES)
    out, into = os.pipe()
    gone = threading.Event()

    def write() -> None:
        with os.fdopen(into, "wb", buffering=0) as pipe:
            pipe.write(data[: 24 + 19])
            gone.wait(30)
            pipe.write(data[24 + 19 :])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with os.fdopen(out, "rb") as pipe, open_capture(pipe) as capture:
            assert next(capture).data == b"one"  # would never come if reading waited for more
            gone.set()
            assert len(list(capture)) == 3
    finally:
        gone.set()
        writer.join()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(pcap(FRAMES))))
    with open_capture("-") as capture:
        assert capture.name == "standard input"
        assert len(list(capture)) == 4


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CaptureError, match=r"^standard input: at byte 0: closed$"):
        open_capture("-")


def test_a_path_is_closed_and_a_stream_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(FRAMES))
    with open_capture(path) as capture:
        assert capture.name == str(path)
        next(capture)
    assert capture.frames == 1
    stream = io.BytesIO(pcap(FRAMES))
    with open_capture(stream):
        pass
    assert not stream.closed


# -- any bytes


def consume(data: bytes) -> None:
    """Anything but frames and problems, or one CaptureError, is a failure here."""
    try:
        capture = open_capture(io.BytesIO(data), "any")
    except CaptureError as error:
        line = str(error)
        capture = None
    if capture is None:
        assert "\n" not in line
        return
    for number, frame in enumerate(capture, 1):
        assert frame.number == number
        assert frame.offset < len(data)
        assert len(frame.data) <= frame.length
    for problem in capture.problems:
        assert problem.offset <= len(data)
        assert "\n" not in str(problem)


HEADS = [b"", pcap([]), pcap([], order=">", nano=True), shb() + idb(), shb(">") + idb(">", resolution=0x8A)]


@given(st.sampled_from(HEADS), st.binary(max_size=300))
def test_any_bytes(head: bytes, tail: bytes) -> None:
    consume(head + tail)


SAMPLES = [
    pcap(FRAMES),
    shb() + idb(resolution=9) + epb(T, b"one") + isb(T) + shb(">") + idb(">") + epb(1, b"two", ">"),
]


@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=6),
)
def test_any_damage(sample: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(sample)
    for at, value in changes:
        data[at % len(data)] = value
    consume(bytes(data))


@pytest.mark.parametrize("first", ["pcap", "pcapng"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("most", [0, 100])
def test_files_put_behind_one_another(first: str, order: str, most: int) -> None:
    """As `zcat *.gz` does; sections of pcapng may be, files of pcap not."""
    second = pcap([(T, b"b" * 60)], order=order)
    data = pcap([(T, b"a" * 60)], order=order) if first == "pcap" else shb() + idb() + epb(T, b"a" * 60)
    capture = open_capture(io.BytesIO(data + second), "x")
    assert next(capture).data == b"a" * 60
    while most and capture.run(most) is not None:
        pass
    assert [frame.data for frame in capture if frame.data] == []
    (problem,) = capture.problems
    assert "another pcap file was put behind this one" in problem.reason
