# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames to TCP segments: link layers, IPv4, IPv6.

Headers of the common form are walked with `struct`. Everything unusual - IPv4 options, IPv6 extension
headers - goes through dpkt, which is imported only then. The tests hold both to the same answers.

Checksums are not verified: a capture taken on the sending machine has them wrong as a rule (offload).
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from dissect.capture.files import Frame

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10

LINKTYPE_NULL: Final = 0
LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101
LINKTYPE_LOOP: Final = 108
LINKTYPE_LINUX_SLL: Final = 113
LINKTYPE_IPV4: Final = 228
LINKTYPE_IPV6: Final = 229
LINKTYPE_LINUX_SLL2: Final = 276


@dataclass(slots=True)
class Segment:
    """One TCP segment as captured.

    src, dst: addresses as packed bytes (4 or 16). payload: the bytes that were captured; missing: how many
    more the IP header promises that a snaplen cut off. frame: the frame's number in its file.
    """

    time_ns: int
    src: bytes
    sport: int
    dst: bytes
    dport: int
    seq: int
    ack: int
    flags: int
    payload: bytes
    missing: int
    frame: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A frame that is no TCP segment, or none that can be read; `reason` is fit for counting and telling."""

    reason: str


def endpoint(address: bytes, port: int) -> str:
    """Packed address and port in words: `127.0.0.1:5900`, `[::1]:5900`."""
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}:{port}"
    return f"[{ipaddress.IPv6Address(address)}]:{port}"


def decode(frame: Frame) -> Segment | Skipped:
    """The TCP segment in a frame, or why there is none. Never raises.

    Read: Ethernet with any number of VLAN tags, Linux cooked v1 and v2, BSD loopback (NULL, LOOP), raw IP.
    Not read yet and said so: IP fragments, tunnels, MPLS, PPPoE, and every other link type.
    """
    data = frame.data
    linktype = frame.linktype
    if linktype == LINKTYPE_ETHERNET:
        if len(data) < 14:
            return Skipped("frame ends inside the link header")
        at = 14
        ethertype = data[12] << 8 | data[13]
    elif linktype in _RAW:
        if not data:
            return Skipped("frame ends inside the IP header")
        at = 0
        ethertype = _RAW[linktype] or {4: 0x0800, 6: 0x86DD}.get(data[0] >> 4, 0)
        if not ethertype:
            return Skipped(f"IP version {data[0] >> 4}")
    elif linktype == LINKTYPE_LINUX_SLL:
        if len(data) < 16:
            return Skipped("frame ends inside the link header")
        at = 16
        ethertype = data[14] << 8 | data[15]
    elif linktype == LINKTYPE_LINUX_SLL2:
        if len(data) < 20:
            return Skipped("frame ends inside the link header")
        at = 20
        ethertype = data[0] << 8 | data[1]
    elif linktype in (LINKTYPE_NULL, LINKTYPE_LOOP):
        if len(data) < 4:
            return Skipped("frame ends inside the link header")
        at = 4
        # NULL has the byte order of the machine that captured, LOOP the network's: families are small.
        family = min(int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
        ethertype = _FAMILIES.get(family, 0)
        if not ethertype:
            return Skipped(f"address family {family}")
    else:
        return Skipped(f"link type {linktype}")

    while ethertype in VLAN_TAGS:
        if len(data) < at + 4:
            return Skipped("frame ends inside the link header")
        ethertype = data[at + 2] << 8 | data[at + 3]
        at += 4

    if ethertype == 0x0800:
        return _ipv4(frame, data, at)
    if ethertype == 0x86DD:
        return _ipv6(frame, data, at)
    if ethertype < 0x0600:
        return Skipped("no IP (IEEE 802.3 length or LLC)")
    return Skipped(_ETHERTYPES.get(ethertype) or f"Ethernet type 0x{ethertype:04x}")


def _ipv4(frame: Frame, data: bytes, at: int) -> Segment | Skipped:
    """RFC 791. The total length rules, so Ethernet's padding never becomes payload."""
    have = len(data) - at
    if have < 20:
        return Skipped("frame ends inside the IP header")
    first, total, fragment, protocol, src, dst = _IPV4.unpack_from(data, at)
    if first >> 4 != 4 or first & 15 < 5:
        return Skipped("malformed IPv4 header")
    header = (first & 15) * 4
    if total and total < header:
        return Skipped("malformed IPv4 header")
    if protocol != 6:
        return Skipped(_PROTOCOLS.get(protocol) or f"IP protocol {protocol}")
    if fragment & 0x3FFF:
        return Skipped("IP fragment")
    if header != 20:
        return _by_dpkt(frame, data, at)
    # Total length 0: the sending machine's network card was to fill it in (segmentation offload).
    return _tcp(frame, data, at + 20, src, dst, total - 20 if total else frame.length - at - 20)


def _ipv6(frame: Frame, data: bytes, at: int) -> Segment | Skipped:
    """RFC 8200. Payload length 0 is a jumbogram or segmentation offload: what is there counts."""
    if len(data) - at < 40:
        return Skipped("frame ends inside the IP header")
    first, length, following, src, dst = _IPV6.unpack_from(data, at)
    if first >> 4 != 6:
        return Skipped("malformed IPv6 header")
    if following != 6:
        if following in _EXTENSIONS:
            return _by_dpkt(frame, data, at)
        return Skipped(_PROTOCOLS.get(following) or f"IP protocol {following}")
    return _tcp(frame, data, at + 40, src, dst, length or frame.length - at - 40)


def _tcp(frame: Frame, data: bytes, at: int, src: bytes, dst: bytes, length: int) -> Segment | Skipped:
    """RFC 9293, 3.1. `length` is header and payload as the IP header has it."""
    if length < 20:
        return Skipped("malformed TCP header")
    if len(data) - at < 20:
        return Skipped("frame ends inside the TCP header")
    sport, dport, seq, ack, offset, flags = _TCP.unpack_from(data, at)
    header = (offset >> 4) * 4
    if header < 20 or header > length:
        return Skipped("malformed TCP header")
    payload = data[at + header : at + length]
    return Segment(
        frame.time_ns,
        src,
        sport,
        dst,
        dport,
        seq,
        ack,
        flags,
        payload,
        length - header - len(payload),
        frame.number,
    )


def _by_dpkt(frame: Frame, data: bytes, at: int) -> Segment | Skipped:
    """The same answer for an IP packet of any form, by way of dpkt."""
    import dpkt.ip
    import dpkt.ip6
    import dpkt.tcp

    four = data[at] >> 4 == 4
    try:
        packet = dpkt.ip.IP(data[at:]) if four else dpkt.ip6.IP6(data[at:])
    except dpkt.NeedData:
        return Skipped("frame ends inside the IP header")
    except (dpkt.UnpackError, struct.error, IndexError):
        return Skipped("malformed IPv4 header" if four else "malformed IPv6 header")
    if four:
        header = packet.hl * 4
        declared = packet.len
        if len(data) - at < header:
            return Skipped("frame ends inside the IP header")
        if declared and declared < header:
            return Skipped("malformed IPv4 header")
        fragmented = packet.mf or packet.offset
        protocol = packet.p
        length = declared - header if declared else frame.length - at - header
    else:
        header = 40 + sum(extension.length for extension in packet.all_extension_headers)
        # dpkt sees to the fragment header only where it is the first, and not to the first fragment.
        fragmented = any(
            extension.m_flag or extension.frag_off
            for extension in packet.all_extension_headers
            if isinstance(extension, dpkt.ip6.IP6FragmentHeader)
        )
        chain = packet.all_extension_headers
        protocol = getattr(chain[-1], "nxt", 50) if chain else packet.nxt  # ESP hides what follows
        length = packet.plen - (header - 40) if packet.plen else frame.length - at - header
    if protocol != 6:
        return Skipped(_PROTOCOLS.get(protocol) or f"IP protocol {protocol}")
    if fragmented:
        return Skipped("IP fragment")
    if length < 20:
        return Skipped("malformed TCP header")
    tcp = packet.data
    if not isinstance(tcp, dpkt.tcp.TCP):
        if len(data) - at - header < 20:
            return Skipped("frame ends inside the TCP header")
        return Skipped("malformed TCP header")
    if tcp.off * 4 > length:
        return Skipped("malformed TCP header")
    payload = bytes(tcp.data)
    return Segment(
        frame.time_ns,
        packet.src,
        tcp.sport,
        packet.dst,
        tcp.dport,
        tcp.seq,
        tcp.ack,
        tcp.flags & 0xFF,
        payload,
        max(0, length - tcp.off * 4 - len(payload)),
        frame.number,
    )


_IPV4: Final = struct.Struct(">BxHxxHxBxx4s4s")
_IPV6: Final = struct.Struct(">BxxxHBx16s16s")
_TCP: Final = struct.Struct(">HHIIBB")

VLAN_TAGS: Final = (0x8100, 0x88A8, 0x9100, 0x9200)

IPV4: Final = 0x0800
IPV6: Final = 0x86DD

TUNNEL_PORTS: Final = (4789, 8472, 6081)
"""UDP ports of VXLAN (RFC 7348, and Linux's own), GENEVE (RFC 8926)."""

LINK_HEADERS: Final[dict[int, tuple[int, int | None]]] = {
    LINKTYPE_NULL: (4, None),
    LINKTYPE_ETHERNET: (14, 12),
    12: (0, None),
    14: (0, None),
    LINKTYPE_RAW: (0, None),
    LINKTYPE_LINUX_SLL: (16, 14),
    LINKTYPE_LINUX_SLL2: (20, 0),
}
"""Link type -> size of its header, and where the EtherType lies in it (None: there is none)."""

# raw link types -> the one EtherType they carry, or 0 where the packet's first nibble tells
_RAW: Final = {12: 0, 14: 0, LINKTYPE_RAW: 0, LINKTYPE_IPV4: 0x0800, LINKTYPE_IPV6: 0x86DD}

# AF_INET everywhere; AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin
_FAMILIES: Final = {2: 0x0800, 10: 0x86DD, 23: 0x86DD, 24: 0x86DD, 28: 0x86DD, 30: 0x86DD}

_EXTENSIONS: Final = frozenset((0, 43, 44, 50, 51, 60))

_ETHERTYPES: Final = {
    0x0806: "ARP",
    0x8035: "RARP",
    0x8847: "MPLS (not read yet)",
    0x8848: "MPLS (not read yet)",
    0x8863: "PPPoE (not read yet)",
    0x8864: "PPPoE (not read yet)",
    0x888E: "EAPOL",
    0x88CC: "LLDP",
    0x88E5: "MACsec (encrypted)",
    0x88F7: "PTP",
}

_PROTOCOLS: Final = {
    1: "ICMP",
    2: "IGMP",
    4: "IP in IP (not read yet)",
    17: "UDP",
    41: "IPv6 in IP (not read yet)",
    47: "GRE (not read yet)",
    50: "ESP (encrypted)",
    51: "AH (not read yet)",
    58: "ICMPv6",
    59: "IPv6 without payload",
    89: "OSPF",
    103: "PIM",
    112: "VRRP",
    132: "SCTP",
}
