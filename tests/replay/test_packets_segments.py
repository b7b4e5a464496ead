# SPDX-License-Identifier: GPL-2.0-or-later
"""Segments to packets and back, held against the capture room's own reading and writing."""

from __future__ import annotations

import pytest

from dissect.capture import Frame, synthesise
from dissect.capture.link import Segment as Captured
from dissect.capture.link import decode
from dissect.capture.media import LINKTYPE_RAW
from dissect.replay.packets.segments import ACK, FIN, PSH, RST, SYN, Path, Segment, from_packet, to_packet

PATH = Path("198.18.7.9", 40_000, "127.0.0.1", 5900)
SEGMENTS = [
    Segment(0xFFFFFFFF, 0, SYN, 65_535, mss=1460),
    Segment(1, 2, ACK, 0),
    Segment(1, 2, PSH | ACK, 8, b"RFB "),
    Segment(1, 2, FIN | ACK, 8, bytes(range(256)) * 200),
    Segment(77, 0, RST, 0),
]


@pytest.mark.parametrize("segment", SEGMENTS, ids=str)
def test_there_and_back(segment: Segment) -> None:
    assert from_packet(to_packet(segment, PATH)) == (PATH, segment)


@pytest.mark.parametrize("segment", SEGMENTS, ids=str)
def test_others_read_the_same(segment: Segment) -> None:
    packet = to_packet(segment, PATH)
    read = decode(Frame(1, 0, 5, LINKTYPE_RAW, packet, len(packet), 0))
    assert isinstance(read, Captured)
    assert (read.seq, read.ack, read.flags, read.payload) == (
        segment.seq,
        segment.ack,
        segment.flags,
        segment.payload,
    )
    assert (read.sport, read.dport, read.src, read.dst) == (
        40_000,
        5900,
        bytes((198, 18, 7, 9)),
        b"\x7f\0\0\1",
    )


def test_checksums_are_right() -> None:
    def folded(data: bytes) -> int:
        total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return total

    packet = to_packet(SEGMENTS[2], PATH)
    assert folded(packet[:20]) == 0xFFFF
    pseudo = packet[12:20] + bytes((0, 6)) + (len(packet) - 20).to_bytes(2, "big")
    assert folded(pseudo + packet[20:]) == 0xFFFF


def test_options_before_the_payload_are_no_payload() -> None:
    timestamps = bytes((1, 1, 8, 10)) + bytes(8)
    packet = synthesise("127.0.0.1", 5900, "198.18.7.9", 40_000, 5, 6, ACK, b"abc", options=timestamps)
    found = from_packet(packet)
    assert found is not None
    assert found[1] == Segment(5, 6, ACK, 65_535, b"abc")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x45" * 10,
        b"\x60" + bytes(60),  # IPv6
        bytes((0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17)) + bytes(30),  # UDP
        bytes((0x45, 0, 0, 60, 0, 0, 0x20, 0, 64, 6)) + bytes(50),  # a fragment
    ],
)
def test_what_is_no_segment(data: bytes) -> None:
    assert from_packet(data) is None
