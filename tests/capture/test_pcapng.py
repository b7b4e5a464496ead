# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames of pcapng files: sections, interfaces, blocks of every kind, whole and damaged."""

from __future__ import annotations

import struct

import pytest

from dissect.capture.blocks import MAX_BLOCK
from tests.capture.build import block, epb, idb, isb, options, shb
from tests.capture.reading import FRAMES, T, short, whole


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
