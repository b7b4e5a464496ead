# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames of pcap files of every age and byte order, whole and damaged."""

from __future__ import annotations

import struct

import pytest

from dissect.capture.pcap import MAX_FRAME_LIMIT
from tests.capture.build import pcap
from tests.capture.reading import FRAMES, T, short, whole


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
    _frames, capture = whole(head + struct.pack("<IIII", 1, 2, MAX_FRAME_LIMIT + 1, MAX_FRAME_LIMIT + 1))
    assert len(capture.problems) == 1
