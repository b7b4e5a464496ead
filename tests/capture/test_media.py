# SPDX-License-Identifier: GPL-2.0-or-later
"""Link layers, as tshark reads them in the same file."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dissect.capture import Frame, Segment, Skipped, decode, open_capture, synthesise
from dissect.capture.media import MAX_LENGTH
from tests.capture import build
from tests.capture.test_link import MACS

SNAP = b"\xaa\xaa\x03\0\0\0"
BRIDGE = b"\xaa\xaa\x03\0\0\xf8"


def kind(packet: bytes) -> bytes:
    """The EtherType of a packet."""
    return b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"


def number(packet: bytes) -> bytes:
    """PPP's number of a packet."""
    return b"\0\x21" if packet[0] >> 4 == 4 else b"\0\x57"


def sized(inside: bytes) -> bytes:
    """A frame of IEEE 802.3, filled up to 60 bytes."""
    return (MACS + struct.pack(">H", len(inside)) + inside).ljust(60, b"\0")


def over_air(
    packet: bytes, first: int = 0x08, flags: int = 0x01, *, control: bytes = b"", fill: bytes = b""
) -> bytes:
    """A data frame of IEEE 802.11 from a station to the network, or as `flags` have it."""
    addresses = b"\x02\0\0\0\0\1" * (4 if flags & 3 == 3 else 3)
    header = bytes((first, flags)) + b"\0\0" + addresses[:18] + b"\x10\0" + addresses[18:] + control
    return header + fill + SNAP + kind(packet) + packet


def grouped(packet: bytes, *, times: int = 1) -> bytes:
    """An A-MSDU."""
    one = MACS + struct.pack(">H", 8 + len(packet)) + SNAP + kind(packet) + packet
    header = b"\x88\x01\0\0" + b"\x02\0\0\0\0\1" * 3 + b"\x10\0\x80\0"
    return header + (one + bytes(-len(one) % 4)) * (times - 1) + one


def radiotap(frame: bytes, present: tuple[int, ...] = (0,), fields: bytes = b"") -> bytes:
    """A radiotap header before a frame."""
    words = b"".join(struct.pack("<I", word) for word in present)
    return struct.pack("<BxH", 0, 4 + len(words) + len(fields)) + words + fields + frame


def ppi(frame: bytes, linktype: int, fields: bytes = b"") -> bytes:
    """A PPI header before a frame."""
    return struct.pack("<BBHI", 0, 0, 8 + len(fields), linktype) + fields + frame


COMMON = struct.pack("<HHQHHHHBBbb", 2, 20, 5, 1, 2, 2412, 0, 0, 0, -40, -90)
"""A field of PPI about the radio, with a checksum behind the frame."""

WRAPPED: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "PPP": (9, lambda packet: number(packet) + packet),
    "PPP, framed": (9, lambda packet: b"\xff\x03" + number(packet) + packet),
    "PPP, short number": (9, lambda packet: number(packet)[1:] + packet),
    "PPP and MPLS": (9, lambda packet: b"\2\x81" + b"\0\1\x01\xff" + packet),
    "HDLC": (50, lambda packet: b"\xff\x03" + number(packet) + packet),
    "HDLC of Cisco": (50, lambda packet: b"\x0f\0" + kind(packet) + packet),
    "Cisco": (104, lambda packet: b"\x8f\0" + kind(packet) + packet),
    "PPPoE": (
        51,
        lambda packet: b"\x11\0\0\7" + struct.pack(">H", 2 + len(packet)) + number(packet) + packet,
    ),
    "PPP with direction": (204, lambda packet: b"\1\xff\x03" + number(packet) + packet),
    "SNAP": (1, lambda packet: sized(SNAP + kind(packet) + packet)),
    "SNAP of a bridge": (1, lambda packet: sized(BRIDGE + kind(packet) + packet)),
    "SNAP behind a tag": (
        1,
        lambda packet: (
            MACS + b"\x81\0\0\0" + struct.pack(">H", 8 + len(packet)) + SNAP + kind(packet) + packet
        ),
    ),
    "LLC": (1, lambda packet: sized(b"\6\6\3" + packet)),
    "cooked LLC": (113, lambda packet: bytes(14) + b"\0\4" + SNAP + kind(packet) + packet),
    "802.11": (105, over_air),
    "802.11, downwards": (105, lambda packet: over_air(packet, flags=0x0A)),
    "802.11, between networks": (105, lambda packet: over_air(packet, flags=3)),
    "802.11, QoS": (105, lambda packet: over_air(packet, 0x88, control=b"\1\0")),
    "802.11, QoS and HT": (105, lambda packet: over_air(packet, 0x88, 0x81, control=b"\1\0\0\0\0\0")),
    "802.11, one grouped": (105, grouped),
    "radiotap": (127, lambda packet: radiotap(over_air(packet))),
    "radiotap, FCS": (127, lambda packet: radiotap(over_air(packet) + b"1234", (2,), b"\x10")),
    "radiotap, filled up": (
        127,
        lambda packet: radiotap(
            over_air(packet, 0x88, control=b"\1\0", fill=b"\0\0"), (3,), bytes(8) + b"\x20"
        ),
    ),
    "radiotap, two words": (
        127,
        lambda packet: radiotap(
            over_air(packet, 0x88, control=b"\1\0", fill=b"\0\0"),
            (3 | 1 << 29 | 1 << 31, 0),
            bytes(4) + bytes(8) + b"\x20",
        ),
    ),
    "PPI": (192, lambda packet: ppi(over_air(packet) + b"1234", 105, COMMON)),
    "PPI and Ethernet": (192, lambda packet: ppi(MACS + kind(packet) + packet, 1)),
}


def packets(port: int) -> list[bytes]:
    """Both sides of a short session, over IPv4 or IPv6."""
    ends = (b"\x0a\0\0\1", b"\x0a\0\0\2") if port % 2 else (bytes(15) + b"\1", bytes(15) + b"\2")
    script = [(0, 0x02, b""), (1, 0x12, b""), (0, 0x10, b""), (1, 0x18, b"RFB 003.008\n"), (0, 0x18, b"RFB ")]
    found, numbers = [], [1000, 2000]
    for side, flags, payload in script:
        (src, sport), (dst, dport) = [(ends[0], port), (ends[1], 5900)][:: -1 if side else 1]
        acked = numbers[1 - side] if flags & 0x10 else 0
        found.append(synthesise(src, sport, dst, dport, numbers[side], acked, flags, payload))
        numbers[side] += len(payload) + (flags & 2 != 0)
    return found


@pytest.mark.program("tshark")
def test_tshark_reads_the_same(tmp_path: Path) -> None:
    linktypes = sorted({linktype for linktype, _ in WRAPPED.values()})
    data = build.shb() + b"".join(build.idb(linktype=one) for one in linktypes)
    for place, (linktype, wrap) in enumerate(WRAPPED.values()):
        for port in (40000 + 2 * place, 40001 + 2 * place):
            for packet in packets(port):
                data += build.epb(place, wrap(packet), interface=linktypes.index(linktype))
    path = tmp_path / "all.pcapng"
    path.write_bytes(data)
    fields = [
        "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.payload",
    ]  # fmt: skip
    command = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    command += [part for name in fields for part in ("-e", name)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    with open_capture(path) as capture:
        segments = [decode(frame) for frame in capture]
    assert len(segments) == 10 * len(WRAPPED)
    for line, segment in zip(said, segments, strict=True):
        assert isinstance(segment, Segment), (line, segment)
        numbers = segment.sport, segment.dport, segment.seq, segment.ack
        assert line.split("\t") == [*map(str, numbers), f"0x{segment.flags:04x}", segment.payload.hex()]
        assert segment.missing == 0


TCP = packets(40001)[3]


@pytest.mark.parametrize(
    ("linktype", "data", "reason"),
    [
        (9, b"\xff\x03\xc0\x21" + bytes(8), "PPP protocol 0xc021 (LCP)"),
        (9, b"\xff\x03", "frame ends inside the PPP header"),
        (9, b"\0\x2d" + bytes(40), "PPP protocol 0x002d (TCP with compressed headers)"),
        (50, b"\x0f\0\x80\x35" + bytes(14), "keepalive of Cisco HDLC"),
        (104, b"\x0f\0\0\x26" + bytes(14), "Cisco HDLC protocol 0x0026"),
        (104, b"\x0f\0\x08", "frame ends inside the link header"),
        (51, b"\x11\0\0\7\0\x10", "frame ends inside the PPPoE header"),
        (1, sized(b"\x42\x42\x03"), "spanning tree"),
        (1, sized(b"\xff\xff\0\0"), "IPX"),
        (1, sized(b"\x98\x98\x03"), "LLC for 0x98"),
        (1, sized(b"\xaa\xaa\x03\0\0\x0c\x20\0"), "SNAP protocol 0x2000 of 00:00:0c"),
        (1, MACS + b"\0\x08\xaa\xaa\x03\0\0", "frame ends inside the SNAP header"),
        (1, MACS + b"\0\x08\xaa", "frame ends inside the LLC header"),
        (1, MACS + struct.pack(">H", MAX_LENGTH + 1) + bytes(46), "Ethernet type 0x05dd"),
        (113, bytes(14) + b"\0\1" + bytes(40), "Ethernet type 0x0001"),
        (105, b"\x80" + bytes(40), "IEEE 802.11 management"),
        (105, b"\xd4" + bytes(9), "IEEE 802.11 control"),
        (105, b"\x48" + bytes(23), "IEEE 802.11 without data"),
        (105, over_air(TCP, flags=0x41), "encrypted IEEE 802.11 data"),
        (105, over_air(TCP, flags=0x05), "fragment of IEEE 802.11 (not read)"),
        (105, over_air(TCP)[:23], "frame ends inside the IEEE 802.11 header"),
        (105, over_air(TCP, 0x88)[:24], "frame ends inside the IEEE 802.11 header"),
        (105, grouped(TCP, times=2), "several packets in one of IEEE 802.11 (A-MSDU: not read)"),
        (105, over_air(TCP, 0x09), "IEEE 802.11 version 1"),
        (127, radiotap(over_air(TCP), (2,), b"\x50"), "frame of IEEE 802.11 that was damaged in the air"),
        (127, radiotap(over_air(TCP))[:7], "frame ends inside the radiotap header"),
        (127, b"\0\0\x40\0" + bytes(20), "frame ends inside the radiotap header"),
        (127, b"\1" + bytes(20), "radiotap version 1"),
        (192, ppi(over_air(TCP), 105, COMMON[:12] + b"\5" + COMMON[13:]), "frame of IEEE 802.11 that was"),
        (192, ppi(ppi(over_air(TCP), 105), 192), "PPI with link type 192"),
        (192, b"\1" + bytes(7), "PPI version 1"),
        (192, b"\0\0\x40\0" + bytes(20), "frame ends inside the PPI header"),
        (239, b"", "link type 239 (NFLOG)"),
        (147, b"", "link type 147"),
    ],
)
def test_what_holds_no_packet_says_why(linktype: int, data: bytes, reason: str) -> None:
    decoded = decode(Frame(5, 0, 99, linktype, data, len(data), 0))
    assert isinstance(decoded, Skipped)
    assert decoded.reason.startswith(reason)


def test_a_group_that_a_snaplen_cut_is_told_by_its_length() -> None:
    one, two = grouped(TCP), grouped(TCP, times=2)
    cut = decode(Frame(1, 0, 0, 105, one[:-2], len(one), 0))
    assert isinstance(cut, Segment)
    assert cut.missing == 2
    assert isinstance(decode(Frame(1, 0, 0, 105, two[: len(one)], len(two), 0)), Skipped)


def test_very_many_headers_one_behind_the_other_end() -> None:
    data = MACS + b"\0\x08" + (SNAP + b"\x81\0" + b"\0\0\0\x08") * 20_000
    assert decode(Frame(1, 0, 0, 1, data, len(data), 0)) == Skipped("frame ends inside the LLC header")
