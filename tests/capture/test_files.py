# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import os
import pickle
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.capture import Capture, CaptureError, Frame, open_capture
from dissect.capture.files import MAX_BLOCK, MAX_PROBLEMS
from tests.capture.build import block, epb, idb, isb, options, pcap, shb

T = 1_700_000_000_123_456_789
FRAMES = [(T, b"one"), (T + 5_000_001, b"second"), (T + 10**9, b""), (T + 2 * 10**9 + 1, b"4444")]


def whole(data: bytes) -> tuple[list[Frame], Capture]:
    capture = open_capture(io.BytesIO(data), "file")
    return list(capture), capture


def short(frames: list[Frame]) -> list[tuple[int, bytes]]:
    return [(frame.time_ns, frame.data) for frame in frames]


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


# -- pcap


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_in_both_byte_orders_and_resolutions(order: str, nano: bool) -> None:
    frames, capture = whole(pcap(FRAMES, order=order, nano=nano, linktype=113))
    unit = 1 if nano else 1000
    assert short(frames) == [(time // unit * unit, data) for time, data in FRAMES]
    assert [frame.number for frame in frames] == [1, 2, 3, 4]
    assert [frame.offset for frame in frames] == [24, 24 + 19, 24 + 19 + 22, 24 + 19 + 22 + 16]
    assert {frame.linktype for frame in frames} == {113}
    assert capture.format == "pcap"
    assert capture.first_ns == FRAMES[0][0] // unit * unit
    assert capture.end_ns == FRAMES[-1][0] // unit * unit
    assert not capture.end_declared
    assert capture.frames == 4
    assert capture.problems == []


def test_pcap_keeps_the_length_that_a_snaplen_cut() -> None:
    frames, _capture = whole(pcap([(T, b"abcdefgh")], snaplen=3))
    assert (frames[0].data, frames[0].length) == (b"abc", 8)


def test_pcap_link_type_without_the_bits_of_the_check_sequence() -> None:
    data = bytearray(pcap(FRAMES, linktype=1))
    data[20:24] = struct.pack("<I", 1 | 2 << 29 | 1 << 28)
    assert whole(bytes(data))[0][0].linktype == 1


@pytest.mark.parametrize("order", "<>")
def test_modified_pcap_with_longer_record_headers(order: str) -> None:
    data = struct.pack(order + "IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    for time_ns, body in FRAMES:
        data += struct.pack(order + "IIII", time_ns // 10**9, time_ns % 10**9 // 1000, len(body), len(body))
        data += struct.pack(order + "IHBB", 7, 0x800, 0, 0) + body
    frames, capture = whole(data)
    assert [frame.data for frame in frames] == [body for _time, body in FRAMES]
    assert capture.problems == []


@pytest.mark.parametrize("minor", [2, 3])
def test_old_pcap_with_the_lengths_the_other_way_round(minor: int) -> None:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, minor, 0, 0, 65535, 1)
    data += struct.pack("<IIII", 1, 2, 90, 3) + b"abc" + struct.pack("<IIII", 1, 2, 3, 3) + b"def"
    frames, capture = whole(data)
    assert [(frame.data, frame.length) for frame in frames] == [(b"abc", 90), (b"def", 3)]
    assert capture.problems == []


@pytest.mark.parametrize("order", "<>")
def test_pcap_cut_at_any_byte(order: str) -> None:
    data = pcap(FRAMES, order=order)
    ends = [24]
    for _time, body in FRAMES:
        ends.append(ends[-1] + 16 + len(body))
    for cut in range(24, len(data) + 1):
        frames, capture = whole(data[:cut])
        count = sum(end <= cut for end in ends) - 1
        assert [frame.data for frame in frames] == [body for _time, body in FRAMES[:count]]
        if cut in ends:
            assert capture.problems == []
        else:
            (problem,) = capture.problems
            assert problem.offset == ends[count]
            assert str(problem).startswith(f"file: at byte {ends[count]}: the file is cut inside a record")
            assert f": {cut - ends[count]} of " in problem.reason


def test_pcap_with_an_absurd_length_ends_there_with_a_problem() -> None:
    good = pcap(FRAMES)
    for length in (262_145, 2**31, 2**32 - 1):
        frames, capture = whole(good + struct.pack("<IIII", 1, 2, length, length) + bytes(100))
        assert len(frames) == 4
        (problem,) = capture.problems
        assert problem.offset == len(good)
        assert str(length) in problem.reason


def test_a_snaplen_allows_larger_records_up_to_a_limit() -> None:
    data = bytes(300_000)
    assert len(whole(pcap([(T, data)], snaplen=400_000))[0]) == 1
    assert len(whole(pcap([(T, data)], snaplen=0xFFFFFFFF))[0]) == 1
    head = pcap([], snaplen=0xFFFFFFFF)
    _frames, capture = whole(head + struct.pack("<IIII", 1, 2, MAX_BLOCK + 1, MAX_BLOCK + 1))
    assert len(capture.problems) == 1


# -- pcapng


@pytest.mark.parametrize("order", "<>")
def test_pcapng_in_both_byte_orders(order: str) -> None:
    data = shb(order) + idb(order, 1, resolution=9)
    data += b"".join(epb(time, body, order) for time, body in FRAMES)
    frames, capture = whole(data)
    assert short(frames) == FRAMES
    assert {frame.linktype for frame in frames} == {1}
    assert capture.format == "pcapng"
    assert capture.problems == []


@pytest.mark.parametrize(
    ("resolution", "units", "want_ns"),
    [
        (None, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (0, 1_700_000_000, 1_700_000_000_000_000_000),
        (3, 1_700_000_000_123, 1_700_000_000_123_000_000),
        (6, 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (7, 17_000_000_001_234_567, 1_700_000_000_123_456_700),
        (9, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (10, 17_000_000_001_234_567_899, 1_700_000_000_123_456_789),
        (0x80 | 0, 1_700_000_000, 1_700_000_000_000_000_000),
        (0x80 | 10, 1_700_000_000 << 10 | 1, 1_700_000_000_000_976_562),
        (0x80 | 20, 1_700_000_000 << 20 | 1 << 19, 1_700_000_000_500_000_000),
        (0x80 | 33, 1_700_000_000 << 33 | 3 << 31, 1_700_000_000_750_000_000),
        (127, 2**64 - 1, 0),
        (255, 2**64 - 1, 0),
    ],
)
def test_every_time_resolution_gives_exact_nanoseconds(
    resolution: int | None, units: int, want_ns: int
) -> None:
    (frame,), capture = whole(shb() + idb(resolution=resolution) + epb(units, b"x"))
    assert frame.time_ns == want_ns
    assert capture.problems == []


def test_interfaces_have_their_own_resolution_link_type_and_offset() -> None:
    data = shb() + idb(linktype=1, resolution=6) + idb(linktype=276, resolution=9, offset=-3600)
    data += epb(T // 1000, b"a") + epb(T, b"b", interface=1) + epb(T // 1000, b"c")
    frames, capture = whole(data)
    assert [(frame.linktype, frame.interface, frame.time_ns) for frame in frames] == [
        (1, 0, T // 1000 * 1000),
        (276, 1, T - 3600 * 10**9),
        (1, 0, T // 1000 * 1000),
    ]
    assert capture.problems == []


def test_sections_have_their_own_byte_order_and_interfaces() -> None:
    data = shb("<") + idb("<", 1) + idb("<", 113) + epb(1, b"a", "<", interface=1)
    data += shb(">") + idb(">", 101, resolution=9) + epb(5000, b"b", ">")
    frames, capture = whole(data)
    assert [(f.linktype, f.interface, f.time_ns, f.data) for f in frames] == [
        (113, 1, 1000, b"a"),
        (101, 2, 5000, b"b"),
    ]
    assert capture.problems == []


def test_a_section_of_an_unknown_version_is_left_out_and_said() -> None:
    data = shb() + idb() + epb(1, b"a") + shb(version=(2, 0)) + idb() + epb(2, b"b") + shb() + idb()
    frames, capture = whole(data + epb(3, b"c"))
    assert [frame.data for frame in frames] == [b"a", b"c"]
    assert [problem.reason for problem in capture.problems] == [
        "a section of pcapng version 2.0, not known; not read"
    ]


@pytest.mark.parametrize("order", "<>")
def test_simple_and_obsolete_packet_blocks(order: str) -> None:
    data = shb(order) + idb(order, 1, resolution=9, snaplen=3)
    data += block(2, struct.pack(order + "HHIIII", 0, 9, T >> 32, T & 0xFFFFFFFF, 2, 8) + b"hi", order)
    data += block(3, struct.pack(order + "I", 6) + b"abc", order)
    data += block(3, struct.pack(order + "I", 2) + b"de", order)
    frames, capture = whole(data)
    assert [(f.time_ns, f.data, f.length) for f in frames] == [(T, b"hi", 8), (T, b"abc", 6), (T, b"de", 2)]
    (problem,) = capture.problems  # once a file, not once a frame
    assert "carry no time" in problem.reason


def test_unknown_blocks_are_skipped_and_options_ignored() -> None:
    body = struct.pack("<IIIII", 0, 0, 7, 1, 1) + b"x\0\0\0" + options("<", (1, b"a comment"))
    data = shb() + block(0x80000001, b"local") + idb() + block(4, bytes(40)) + block(6, body) + block(99, b"")
    frames, capture = whole(data)
    assert short(frames) == [(7000, b"x")]
    assert capture.problems == []


def test_the_end_is_the_latest_one_that_the_file_states() -> None:
    data = shb() + idb(resolution=9) + idb(resolution=6) + epb(T, b"a")
    data += isb(T + 10**9) + isb(T // 1000 + 5_000_000, interface=1) + isb(T + 2 * 10**9)
    _frames, capture = whole(data)
    assert capture.end_ns == (T // 1000 + 5_000_000) * 1000
    assert capture.end_declared
    # Not earlier than the last frame, whatever is stated.
    assert whole(shb() + idb(resolution=9) + epb(T, b"a") + isb(T - 1))[1].end_ns == T


@pytest.mark.parametrize("order", "<>")
def test_pcapng_cut_at_any_byte(order: str) -> None:
    blocks = [shb(order), idb(order, resolution=9), epb(T, b"one", order), block(77, b"unknown", order)]
    blocks += [
        epb(T + 1, b"second", order),
        isb(T + 9, order),
        shb(order),
        idb(order, 1),
        epb(3, b"3", order),
    ]
    data = b"".join(blocks)
    ends, count_at = [], {}
    at = count = 0
    for part in blocks:
        at += len(part)
        count += part[:4] == struct.pack(order + "I", 6)
        ends.append(at)
        count_at[at] = count
    for cut in range(ends[0], len(data) + 1):
        frames, capture = whole(data[:cut])
        last = max(end for end in ends if end <= cut)
        assert len(frames) == count_at[last]
        if cut in ends:
            assert capture.problems == []
        else:
            (problem,) = capture.problems
            assert problem.offset == last
            assert str(problem).startswith(f"file: at byte {last}: the file is cut inside ")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (block(6, bytes(16)), "too short"),
        (block(6, struct.pack("<IIIII", 0, 0, 1, 5, 5) + b"four"), "room for 4"),
        (epb(1, b"x", interface=3), "interface 3, which is not described"),
        (block(6, struct.pack("<IIIII", 0, 0, 1, 1, 1) + b"x", trailer=44), "two lengths differ"),
        (block(2, bytes(8)), "too short"),
        (block(3, b""), "too short"),
        (block(5, b""), "too short"),
        (block(5, struct.pack("<III", 0, 0, 0) + struct.pack("<HH", 3, 99) + bytes(8)), "option of 99"),
        (block(1, bytes(4)), "too short"),
        (block(1, bytes(8) + struct.pack("<HH", 9, 500)), "option of 500"),
    ],
)
def test_a_bad_block_of_usable_length_is_left_out(bad: bytes, words: str) -> None:
    start = shb() + idb() + epb(1, b"before")
    frames, capture = whole(start + bad + epb(2, b"after"))
    assert [frame.data for frame in frames] == [b"before", b"after"]
    (problem,) = capture.problems
    assert problem.offset == len(start)
    assert words in problem.reason


def test_a_bad_interface_block_keeps_its_number() -> None:
    data = shb() + block(1, bytes(4)) + idb(linktype=113) + epb(1, b"x", interface=1)
    frames, _capture = whole(data)
    assert [frame.linktype for frame in frames] == [113]


def test_what_others_depend_on_is_used_in_spite_of_a_wrong_end() -> None:
    section = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), trailer=24)
    interface = block(1, struct.pack("<HHI", 113, 0, 0), trailer=24)
    for start in (section, shb() + section):
        frames, capture = whole(
            start + interface + idb(linktype=1) + epb(1, b"x") + epb(1, b"y", interface=1)
        )
        assert [(frame.linktype, frame.interface) for frame in frames] == [(113, 0), (1, 1)]
        assert [problem.reason for problem in capture.problems] == [
            "a section header block whose two lengths differ; used all the same",
            "an interface description block whose two lengths differ; used all the same",
        ]


@pytest.mark.parametrize("length", [0, 8, 13, 30, MAX_BLOCK + 4, 2**32 - 4])
def test_a_block_of_unusable_length_ends_the_reading(length: int) -> None:
    start = shb() + idb() + epb(1, b"before")
    frames, capture = whole(start + struct.pack("<II", 6, length) + bytes(400))
    assert len(frames) == 1
    (problem,) = capture.problems
    assert problem.offset == len(start)
    assert f"a length of {length}," in problem.reason


def test_many_problems_are_counted_rather_than_kept() -> None:
    _frames, capture = whole(shb() + epb(1, b"x") * (MAX_PROBLEMS + 7))
    assert len(capture.problems) == MAX_PROBLEMS + 1
    assert capture.problems[-1].reason == "7 more problems before this place, not listed"


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


def test_an_error_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(CaptureError("f", 7, "why")))
    assert (str(error), error.offset) == ("f: at byte 7: why", 7)


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


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_how_far_times_run_back(form: str) -> None:
    """Frame by frame, and many at once; over the border of what is read at once too."""
    times = [5, 7, 6, 9, 3, 9, 20, 19]
    frames = [(time, b"x") for time in times]
    data = shb() + idb(resolution=9) + b"".join(epb(*one) for one in frames)
    if form == "pcap":
        data = pcap(frames, nano=True)
    for most in (0, 2, 4, 100):
        capture = open_capture(io.BytesIO(data), "x")
        next(capture)
        while most and capture.run(most) is not None:
            pass
        assert len(list(capture)) + capture.frames >= len(times)
        assert (capture.back_ns, capture.first_ns, capture.end_ns) == (6, 3, 20)


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
