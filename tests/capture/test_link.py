# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.capture import Decoder, Frame, Segment, Skipped, decode, endpoint, link, synthesise

A4, B4 = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
A6, B6 = bytes(15) + b"\1", bytes(15) + b"\2"
TCP4 = synthesise(A4, 1111, B4, 2222, 77, 88, 0x18, b"payload")
TCP6 = synthesise(A6, 1111, B6, 2222, 77, 88, 0x18, b"payload")
MACS = b"\x02" * 12


def frame(data: bytes, linktype: int = 101, *, length: int | None = None) -> Frame:
    return Frame(5, 0, 99, linktype, data, len(data) if length is None else length, 0)


def want(src: bytes = A4, dst: bytes = B4, payload: bytes = b"payload", missing: int = 0) -> Segment:
    return Segment(99, src, 1111, dst, 2222, 77, 88, 0x18, payload, missing, 5)


W4, W6 = want(), want(A6, B6)


def within(segment: Segment, network: int) -> Segment:
    """The same in a network of its own."""
    return replace(segment, network=network)


@pytest.mark.parametrize(
    ("linktype", "data", "expected"),
    [
        (1, MACS + b"\x08\x00" + TCP4, W4),
        (1, MACS + b"\x86\xdd" + TCP6, W6),
        (1, MACS + b"\x81\x00\x00\x05\x08\x00" + TCP4, within(W4, 5)),
        (1, MACS + b"\x88\xa8\x00\x05\x81\x00\x00\x06\x86\xdd" + TCP6, within(W6, 5 << 12 | 6)),
        (
            1,
            MACS + b"\x91\x00\x00\x05\x92\x00\x00\x05\x81\x00\x00\x06\x08\x00" + TCP4,
            within(W4, 5 << 24 | 5 << 12 | 6),
        ),
        (113, bytes(14) + b"\x08\x00" + TCP4, W4),
        (113, bytes(14) + b"\x81\x00\x00\x07\x86\xdd" + TCP6, within(W6, 7)),
        (276, b"\x08\x00" + bytes(18) + TCP4, W4),
        (276, b"\x86\xdd" + bytes(18) + TCP6, W6),
        (0, b"\x02\0\0\0" + TCP4, W4),
        (0, b"\0\0\0\x02" + TCP4, W4),
        *[(0, struct.pack("<I", family) + TCP6, W6) for family in (10, 23, 24, 28, 30)],
        *[(0, struct.pack(">I", family) + TCP6, W6) for family in (10, 23, 24, 28, 30)],
        (108, b"\0\0\0\x02" + TCP4, W4),
        (108, b"\0\0\0\x18" + TCP6, W6),
        *[(raw, packet, w) for raw in (12, 14, 101) for packet, w in ((TCP4, W4), (TCP6, W6))],
        (228, TCP4, W4),
        (229, TCP6, W6),
    ],
)
def test_link_layers(linktype: int, data: bytes, expected: Segment) -> None:
    assert decode(frame(data, linktype)) == expected


@pytest.mark.parametrize(
    ("linktype", "data", "reason"),
    [
        (147, b"", "link type 147"),
        (1, MACS + b"\x08\x06" + bytes(28), "ARP"),
        (1, MACS + b"\x12\x34", "Ethernet type 0x1234"),
        (1, MACS + b"\x00\x26\x42\x42\x03", "spanning tree"),
        (1, MACS + b"\x88\x47" + bytes(9), "frame ends inside the MPLS labels"),
        (
            1,
            MACS + b"\x88\x47" + b"\0\0\1\xff" + b"\x90" * 40,
            "MPLS with neither IP nor an Ethernet control word",
        ),
        (1, MACS + b"\x88\x63" + bytes(40), "PPPoE discovery"),
        (1, MACS + b"\x88\x64" + b"\x11\x09" + bytes(40), "PPPoE that carries no data"),
        (1, MACS + b"\x88\x64" + b"\x11\0\0\1\0\x30\xc0\x21" + bytes(40), "PPP protocol 0xc021"),
        (1, MACS + b"\x88\x64\x11", "frame ends inside the PPPoE header"),
        (1, MACS, "frame ends inside the link header"),
        (1, MACS + b"\x81\x00\x00", "frame ends inside the link header"),
        (113, bytes(15), "frame ends inside the link header"),
        (276, bytes(19), "frame ends inside the link header"),
        (0, b"\0\0\0", "frame ends inside the link header"),
        (0, b"\0\0\0\x07" + TCP4, "address family 7"),
        (101, b"", "frame ends inside the IP header"),
        (101, b"\x50" + bytes(60), "IP version 5"),
        (228, TCP6, "malformed IPv4 header"),
        (229, TCP4 + bytes(40), "malformed IPv6 header"),
        (101, TCP4[:19], "frame ends inside the IP header"),
        (101, TCP6[:39], "frame ends inside the IP header"),
        (101, b"\x44" + TCP4[1:], "malformed IPv4 header"),
        (101, TCP4[:2] + b"\0\x13" + TCP4[4:], "malformed IPv4 header"),
        (101, TCP4[:9] + b"\x11" + TCP4[10:], "UDP"),
        (101, TCP4[:9] + b"\xfd" + TCP4[10:], "IP protocol 253"),
        (101, TCP6[:6] + b"\x3a" + TCP6[7:], "ICMPv6"),
        (101, TCP6[:6] + b"\xfd" + TCP6[7:], "IP protocol 253"),
        (101, TCP4[:6] + b"\x20\0" + TCP4[8:], "IP fragment"),
        (101, TCP4[:6] + b"\0\x10" + TCP4[8:], "IP fragment"),
        (101, TCP4[:39], "frame ends inside the TCP header"),
        (101, TCP6[:59], "frame ends inside the TCP header"),
        (101, TCP4[:32] + b"\x40" + TCP4[33:], "malformed TCP header"),
        (101, TCP4[:32] + b"\xf0" + TCP4[33:], "malformed TCP header"),
        (101, TCP4[:2] + b"\0\x27" + TCP4[4:], "malformed TCP header"),
    ],
)
def test_what_is_no_tcp_segment_says_why(linktype: int, data: bytes, reason: str) -> None:
    decoded = decode(frame(data, linktype))
    assert isinstance(decoded, Skipped)
    assert decoded.reason.startswith(reason)
    assert decoded.frames == 1


def ip4_options(packet: bytes, options: bytes) -> bytes:
    """The IPv4 packet with options put in."""
    options += bytes(-len(options) % 4)
    total = len(packet) + len(options)
    head = bytes([0x45 + len(options) // 4, 0]) + total.to_bytes(2, "big") + packet[4:20]
    return head + options + packet[20:]


def ip6_extensions(packet: bytes, *headers: tuple[int, bytes], last: int = 6) -> bytes:
    """The IPv6 packet with extension headers (type, bytes from the third on) put in."""
    kinds = [kind for kind, _rest in headers] + [last]
    body = b""
    for (_kind, rest), following in zip(headers, kinds[1:], strict=True):
        body += bytes([following]) + rest
    length = len(packet) - 40 + len(body)
    return packet[:4] + length.to_bytes(2, "big") + bytes([kinds[0]]) + packet[7:40] + body + packet[40:]


HOP = (0, b"\0\x01\x04\0\0\0\0")
DST = (60, b"\x01\x01\x0c" + bytes(12))
ROUTE = (43, b"\x02\0\0" + bytes(20))
AH = (51, b"\x04" + bytes(22))


def fragment(offset: int, more: bool) -> tuple[int, bytes]:
    return (44, b"\0" + (offset << 3 | more).to_bytes(2, "big") + bytes(4))


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (ip4_options(TCP4, b"\x94\x04\0\0"), W4),
        (ip4_options(TCP4, b"\x01" * 40), W4),
        (ip4_options(TCP4, b"\x94\x04\0\0") + b"padding", W4),
        (ip4_options(TCP4, b"\x94\x04\0\0")[:-3], want(payload=b"payl", missing=3)),
        (ip4_options(TCP4, b"\x94\x04\0\0")[:22], Skipped("frame ends inside the IP header")),
        (ip4_options(TCP4, b"\x94\x04\0\0")[:40], Skipped("frame ends inside the TCP header")),
        (ip6_extensions(TCP6, HOP), W6),
        (ip6_extensions(TCP6, HOP, DST, ROUTE, DST), W6),
        (ip6_extensions(TCP6, AH), W6),
        (ip6_extensions(TCP6, HOP) + b"padding", W6),
        (ip6_extensions(TCP6, HOP)[:-3], want(A6, B6, b"payl", 3)),
        (ip6_extensions(TCP6, fragment(0, False)), W6),  # an "atomic" fragment is whole
        (ip6_extensions(TCP6, fragment(0, True)), Skipped("IP fragment")),
        (ip6_extensions(TCP6, fragment(9, False)), Skipped("IP fragment")),
        (ip6_extensions(TCP6, HOP, fragment(9, True)), Skipped("IP fragment")),
        (ip6_extensions(TCP6, HOP, last=17), Skipped("UDP")),
        (ip6_extensions(TCP6, (50, bytes(7))), Skipped("ESP (encrypted)")),
        (ip6_extensions(TCP6, (0, b"\xff" + bytes(6))), Skipped("frame ends inside the IP header")),
    ],
)
def test_unusual_ip_headers(packet: bytes, expected: Segment | Skipped) -> None:
    assert decode(frame(packet)) == expected


def test_ethernet_padding_is_no_payload() -> None:
    bare = synthesise(A4, 1111, B4, 2222, 77, 88, 0x18)
    padded = frame(MACS + b"\x08\x00" + bare + b"\xaa" * 6, 1)
    assert decode(padded) == want(payload=b"")


def test_what_a_snaplen_cut_is_missing() -> None:
    whole = MACS + b"\x08\x00" + TCP4
    for kept in range(54, len(whole) + 1):
        cut = decode(frame(whole[:kept], 1, length=len(whole)))
        assert cut == want(payload=b"payload"[: kept - 54], missing=len(whole) - kept)


def test_options_that_a_snaplen_cut_do_not_shift_the_payload() -> None:
    packet = synthesise(A4, 1111, B4, 2222, 77, 88, 0x18, b"payload", options=bytes(12))
    assert decode(frame(packet)) == W4
    assert decode(frame(packet[:45], length=len(packet))) == want(payload=b"", missing=7)


@pytest.mark.parametrize(("packet", "expected"), [(TCP4, W4), (TCP6, W6)])
def test_a_length_left_to_the_network_card_means_what_is_there(packet: bytes, expected: Segment) -> None:
    at = 2 if packet is TCP4 else 4
    offloaded = packet[:at] + b"\0\0" + packet[at + 2 :]
    assert decode(frame(offloaded)) == expected
    cut = decode(frame(offloaded[:-3], length=len(offloaded)))
    assert isinstance(cut, Segment)
    assert (cut.payload, cut.missing) == (b"payl", 3)


def test_endpoints_in_words() -> None:
    assert endpoint(b"\x7f\0\0\1", 5900) == "127.0.0.1:5900"
    assert endpoint(bytes(15) + b"\1", 5900) == "[::1]:5900"
    assert endpoint(bytes.fromhex("20010db8000000000000000000000001"), 1) == "[2001:db8::1]:1"


# -- the quick way and dpkt's way


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """TCP packets, many of them damaged in their headers, cut, or padded."""
    six = draw(st.booleans())
    payload = draw(st.binary(max_size=40))
    ends = (A6, B6) if six else (A4, B4)
    packet = bytearray(
        synthesise(
            ends[0],
            draw(st.integers(0, 65535)),
            ends[1],
            draw(st.integers(0, 65535)),
            draw(st.integers(0, 2**32 - 1)),
            draw(st.integers(0, 2**32 - 1)),
            draw(st.integers(0, 255)),
            payload,
            options=draw(st.binary(max_size=40)),
        )
    )
    # Not the version, the header length and the upper protocol, which choose the way.
    places = [at for at in range(60 if six else 40) if at not in ((0, 6) if six else (0, 6, 7, 9))]
    for at, value in draw(st.lists(st.tuples(st.sampled_from(places), st.integers(0, 255)), max_size=3)):
        packet[at] = value
    data = bytes(packet) + draw(st.binary(max_size=10))
    return data[: draw(st.integers(1, len(data)))] if draw(st.booleans()) else data


@given(packets(), st.integers(0, 5))
def test_both_ways_give_the_same_answer(data: bytes, more: int) -> None:
    one = frame(data, length=len(data) + more)
    assert decode(one) == link._by_dpkt(link._Packet(one, data, one.length, None), 0)


LINKTYPES = [0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 7]
SAMPLES = [
    MACS + b"\x08\x00" + TCP4,
    MACS + b"\x81\x00\x00\x05\x86\xdd" + ip6_extensions(TCP6, HOP, DST, ROUTE, fragment(0, False)),
    ip4_options(TCP4, b"\x94\x04\0\0"),
    ip6_extensions(TCP6, HOP, AH),
    b"",
]


@given(
    st.sampled_from(LINKTYPES),
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    st.binary(max_size=80),
    st.integers(0, 200),
)
def test_any_frame_is_a_segment_or_a_reason(
    linktype: int, sample: bytes, changes: list[tuple[int, int]], tail: bytes, kept: int
) -> None:
    data = bytearray(sample + tail)
    for at, value in changes:
        if data:
            data[at % len(data)] = value
    one = frame(bytes(data[:kept]), linktype, length=len(data))
    answer = decode(one)
    if isinstance(answer, Skipped):
        assert answer.reason
    else:
        assert answer.missing >= 0
        assert answer.payload in one.data


# --- tunnels


def ip4(protocol: int, payload: bytes, *, fragment: int = 0x4000, ident: int = 7) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), ident, fragment, 64, protocol, 0)
    return head + b"\x01\x01\x01\x01\x02\x02\x02\x02" + payload


def ip6(protocol: int, payload: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + bytes(31) + b"\x09" + payload


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", 50000, port, 8 + len(payload), 0) + payload


ETHERNET4 = MACS + b"\x08\x00" + TCP4
ETHERNET6 = MACS + b"\x81\x00\x00\x05\x86\xdd" + TCP6
VXLAN = b"\x08\0\0\0\0\0\x2a\0"
VNI = 1 << 24 | 0x2A  # a number of VXLAN or GENEVE, and no VLAN

TUNNELS = {
    "MPLS": (1, MACS + b"\x88\x47" + b"\0\1\0\x40" + b"\0\2\1\x40" + TCP4, W4),
    "MPLS with IPv6": (1, MACS + b"\x88\x48" + b"\0\2\1\x40" + TCP6, W6),
    "Ethernet over MPLS": (1, MACS + b"\x88\x47" + b"\0\2\1\x40" + bytes(4) + ETHERNET4, W4),
    "PPPoE": (1, MACS + b"\x88\x64" + b"\x11\0\0\1" + b"\0\x31\0\x21" + TCP4, W4),
    "PPPoE with IPv6, in a VLAN": (
        1, MACS + b"\x81\0\0\5\x88\x64" + b"\x11\0\0\1\0\x31\0\x57" + TCP6, within(W6, 5),
    ),
    "PPPoE, protocol number of one byte": (1, MACS + b"\x88\x64\x11\0\0\1\0\x30\x21" + TCP4, W4),
    "IP in IP": (101, ip4(4, TCP4), W4),
    "IPv6 in IPv4": (101, ip4(41, TCP6), W6),
    "IPv4 in IPv6": (101, ip6(4, TCP4), W4),
    "IPv6 in IPv6": (101, ip6(41, TCP6), W6),
    "GRE": (101, ip4(47, b"\0\0\x08\x00" + TCP4), W4),
    "GRE with key, checksum and number": (101, ip4(47, b"\xb0\0\x86\xdd" + bytes(12) + TCP6), W6),
    "GRE with Ethernet": (101, ip4(47, b"\x20\0\x65\x58" + bytes(4) + ETHERNET6), within(W6, 5)),
    "GRE with MPLS": (101, ip4(47, b"\0\0\x88\x47" + b"\0\2\1\x40" + TCP4), W4),
    "ERSPAN I": (101, ip4(47, b"\0\0\x88\xbe" + ETHERNET4), W4),
    "ERSPAN II": (101, ip4(47, b"\x10\0\x88\xbe" + bytes(4) + bytes(8) + ETHERNET4), W4),
    "ERSPAN III": (101, ip4(47, b"\x10\0\x22\xeb" + bytes(4) + bytes(12) + ETHERNET4), W4),
    "ERSPAN III with a platform's own": (
        101, ip4(47, b"\x10\0\x22\xeb" + bytes(4) + bytes(11) + b"\1" + bytes(8) + ETHERNET4), W4,
    ),
    "VXLAN": (101, ip4(17, udp(4789, VXLAN + ETHERNET4)), within(W4, VNI)),
    "VXLAN on Linux's port, over IPv6": (
        101, ip6(17, udp(8472, VXLAN + ETHERNET6)), within(W6, VNI << 12 | 5),
    ),
    "GENEVE": (101, ip4(17, udp(6081, b"\0\0\x65\x58\0\0\x2a\0" + ETHERNET4)), within(W4, VNI)),
    "GENEVE with options and IP": (
        101, ip4(17, udp(6081, b"\2\0\x86\xdd\0\0\x2a\0" + bytes(8) + TCP6)), within(W6, VNI),
    ),
    "VXLAN in GRE in IPv6": (
        101, ip6(47, b"\0\0\x08\0" + ip4(17, udp(4789, VXLAN + ETHERNET6))), within(W6, VNI << 12 | 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TUNNELS)
def test_tunnels(name: str) -> None:
    linktype, data, expected = TUNNELS[name]
    assert decode(frame(data, linktype)) == expected
    for size in range(len(data) - 8):  # cut anywhere: less of the payload, or a reason; never an exception
        decoded = decode(frame(data[:size], linktype, length=len(data)))
        assert isinstance(decoded, Skipped) or decoded.missing


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ip4(47, b"\x30\x01\x88\x0b" + bytes(40)), "GRE version 1 (PPTP, not read)"),
        (ip4(47, b"\x40\0\x08\0" + bytes(40)), "GRE with source routing (not read)"),
        (ip4(17, udp(4789, bytes(40))), "UDP"),
        (ip4(17, udp(53, bytes(40))), "UDP"),
        (ip4(4, ip4(4, ip4(4, ip4(4, ip4(4, ip4(4, ip4(4, ip4(4, ip4(4, TCP4))))))))), "more than 8 tunnels"),
    ],
)
def test_tunnels_that_are_not_followed_say_why(data: bytes, reason: str) -> None:
    decoded = decode(frame(data))
    assert isinstance(decoded, Skipped)
    assert decoded.reason.startswith(reason)


# --- fragments


def pieces(packet: bytes, *cuts: int) -> list[bytes]:
    """The fragments of an IPv4 packet of 20 bytes of header, cut after so many bytes of payload each."""
    body, ends = packet[20:], [*cuts, len(packet) - 20]
    out = []
    for start, end in zip([0, *cuts], ends, strict=True):
        more = 0x2000 if end < len(body) else 0
        head = packet[:2] + struct.pack(">H", 20 + end - start) + packet[4:6]
        out.append(head + struct.pack(">H", more | start // 8) + packet[8:20] + body[start:end])
    return out


def put_together(frames: list[bytes], **options: int) -> tuple[list[Segment], dict[str, int]]:
    skipped: Counter[str] = Counter()
    decoder = Decoder()
    found = [decoder(frame(data, **options), skipped) for data in frames]
    decoder.finish(skipped)
    return [one for one in found if one is not None], dict(skipped)


LONG = synthesise(A4, 1111, B4, 2222, 77, 88, 0x18, bytes(range(256)) * 4)
WHOLE = want(payload=bytes(range(256)) * 4)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_fragments_in_any_order(order: tuple[int, ...]) -> None:
    parts = pieces(LONG, 400, 800)
    assert put_together([parts[index] for index in order]) == ([WHOLE], {})


def test_fragments_again_overlapping_and_of_two_packets() -> None:
    first, second, third = pieces(LONG, 400, 800)
    other = [data[:4] + b"\0\x63" + data[6:] for data in pieces(LONG, 24)]
    assert put_together([first, other[0], first, second, other[1], second, third]) == ([WHOLE, WHOLE], {})
    wide = pieces(LONG, 808)[0]
    assert put_together([wide, second, third]) == ([WHOLE], {})


def test_a_fragment_alone_is_counted() -> None:
    first, second, third = pieces(LONG, 400, 800)
    assert put_together([first, third]) == ([], {"IP fragment without the others": 2})
    assert put_together([second]) == ([], {"IP fragment without the others": 1})
    datagram = ip4(17, udp(53, bytes(800)))
    assert put_together(pieces(datagram, 400)) == ([], {"UDP": 2})


def test_fragments_that_a_snaplen_cut() -> None:
    """The header is in the first; how much is missing is known."""
    parts = pieces(LONG, 400, 800)
    cut = [frame(data[:100], length=len(data)) for data in parts]
    skipped: Counter[str] = Counter()
    decoder = Decoder()
    found = [decoder(one, skipped) for one in cut]
    assert found[:2] == [None, None]
    assert found[2] == want(payload=(bytes(range(256)) * 4)[:60], missing=1024 - 60)


def test_fragments_of_ipv6() -> None:
    body = synthesise(A6, 1111, B6, 2222, 77, 88, 0x18, bytes(1000))[40:]
    head = struct.pack(">IHBB", 6 << 28, 0, 0, 64) + A6 + B6

    def part(start: int, end: int) -> bytes:
        more = end < len(body)
        fragment_header = struct.pack(">BxHI", 6, start | more, 5)
        payload = bytes([44, 0, 1, 4, 0, 0, 0, 0]) + fragment_header + body[start:end]
        return head[:4] + struct.pack(">H", len(payload)) + head[6:] + payload

    parts = [part(0, 504), part(504, len(body))]
    expected = want(A6, B6, bytes(1000))
    assert put_together(parts) == ([expected], {})
    assert put_together(parts[::-1]) == ([expected], {})


def test_a_tunnel_in_fragments() -> None:
    assert put_together(pieces(ip4(17, udp(4789, VXLAN + ETHERNET4)), 48)) == ([within(W4, VNI)], {})
