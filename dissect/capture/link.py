# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames to TCP segments: what is between the link layer (see `media`) and TCP; tunnels, IPv4, IPv6.

Headers of the common form are walked with `struct`. Everything unusual - IPv4 options, IPv6 extension
headers - goes through dpkt, which is imported only then. The tests hold both to the same answers.

Of a packet in a tunnel the innermost addresses count. Networks that use the same addresses are told apart
by their VLAN tags and the numbers of VXLAN and GENEVE (`Segment.network`), not by what names a path and may
differ from one direction to the other: labels of MPLS, keys of GRE.

Checksums are not verified: a capture taken on the sending machine has them wrong as a rule (offload).
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Final

from dissect.capture.fragments import Fragments
from dissect.capture.media import IPV4, IPV6, LINKTYPE_ETHERNET, LLC, MPLS, kind_of, llc, network, pppoe
from dissect.capture.records import Frame

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10


@dataclass(slots=True)
class Segment:
    """One TCP segment as captured.

    src, dst: addresses as packed bytes (4 or 16). payload: the bytes that were captured; missing: how many
    more the IP header promises that a snaplen cut off. frame: the frame's number in its file. network: by
    VLAN tags and the numbers of VXLAN and GENEVE, 0 without any; two of them may use the same addresses.
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
    network: int = 0

    @property
    def key(self) -> tuple[bytes, int, bytes, int, int]:
        """What all segments of this sender in this connection have in common."""
        return (self.src, self.sport, self.dst, self.dport, self.network)

    @property
    def sender(self) -> str:
        """Its source as `endpoint` has it."""
        return endpoint(self.src, self.sport)

    @property
    def receiver(self) -> str:
        """Its destination as `endpoint` has it."""
        return endpoint(self.dst, self.dport)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A frame that is no TCP segment, or none that can be read; `reason` is fit for counting and telling.

    frames: more than one where it was the last of so many fragments.
    """

    reason: str
    frames: int = 1


HELD: Final = Skipped("IP fragment that waits for others", 0)

DEPTH: Final = 8
"""Tunnels one inside the other that are followed."""


def endpoint(address: bytes, port: int) -> str:
    """Packed address and port in words: `127.0.0.1:5900`, `[::1]:5900`."""
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}:{port}"
    return f"[{ipaddress.IPv6Address(address)}]:{port}"


def decode(frame: Frame, fragments: Fragments | None = None) -> Segment | Skipped:
    """The TCP segment in a frame, or why there is none. Never raises.

    Read: the link layers of `media`, with any number of VLAN tags; MPLS, PPPoE, IP in IP, GRE, ERSPAN, VXLAN,
    GENEVE, up to `DEPTH` of them one inside the other. Every other link type is said not to be.

    fragments: where fragments of earlier frames are; with None a fragment is skipped. A fragment that waits
    for others is `HELD`; the one that completes a packet stands for it.
    """
    data = frame.data
    if frame.linktype == LINKTYPE_ETHERNET and len(data) >= 14:
        at, ethertype = 14, kind_of(data[12] << 8 | data[13])
    else:
        found = network(frame.linktype, data, frame.length)
        if isinstance(found, str):
            return Skipped(found)
        at, ethertype = found
    return _Packet(frame, data, frame.length, fragments).network(at, ethertype)


class Decoder:
    """`decode` with a memory for fragments; counts what is skipped.

    remember: keep the frames of fragments, so that `earlier` has, after each segment, the frames before the
    last that it came in.
    """

    def __init__(self, *, remember: bool = False) -> None:
        self._fragments = Fragments(remember=remember)

    @property
    def earlier(self) -> list[Frame]:
        """The frames, but the last, that the latest segment came in; none where it came in one."""
        return self._fragments.earlier

    def __call__(self, frame: Frame, skipped: Counter[str]) -> Segment | None:
        """The segment that a frame holds or completes; why there is none is counted in `skipped`."""
        self._fragments.earlier = []
        decoded = decode(frame, self._fragments)
        if isinstance(decoded, Segment):
            return decoded
        if decoded is not HELD:
            skipped[decoded.reason] += decoded.frames
        return None

    def finish(self, skipped: Counter[str]) -> None:
        """Nothing more comes: count the fragments whose packets never became whole."""
        left = self._fragments.finish()
        if left:
            skipped["IP fragment without the others"] += left


class _Packet:
    """The bytes of a frame, or of a packet put together, and where they came from."""

    __slots__ = ("data", "depth", "fragments", "frame", "frames", "length", "network_number")

    def __init__(
        self,
        frame: Frame,
        data: bytes,
        length: int,
        fragments: Fragments | None,
        depth: int = 0,
        frames: int = 1,
        network_number: int = 0,
    ) -> None:
        self.frame = frame
        self.data = data
        self.length = length  # on the wire
        self.fragments = fragments
        self.depth = depth
        self.frames = frames
        self.network_number = network_number

    def skipped(self, reason: str) -> Skipped:
        return Skipped(reason, self.frames)

    def network(self, at: int, ethertype: int) -> Segment | Skipped:
        """What an EtherType announces, at this place."""
        data = self.data
        while ethertype in _BEFORE_OTHERS:
            if ethertype == LLC:
                found = llc(data, at)
                if isinstance(found, str):
                    return self.skipped(found)
                at, ethertype = found
                continue
            if len(data) < at + 4:
                return self.skipped("frame ends inside the link header")
            tag = (data[at] & 15) << 8 | data[at + 1]
            self.network_number = (self.network_number << 12 | tag) & _NETWORKS
            ethertype = kind_of(data[at + 2] << 8 | data[at + 3])
            at += 4
        if ethertype == IPV4:
            return self.ipv4(at)
        if ethertype == IPV6:
            return self.ipv6(at)
        if ethertype in MPLS:
            return self._mpls(at)
        if ethertype == 0x8864:
            return self._pppoe(at)
        if ethertype == _BRIDGED:
            return self._ethernet(at)
        return self.skipped(_ETHERTYPES.get(ethertype) or f"Ethernet type 0x{ethertype:04x}")

    def ipv4(self, at: int) -> Segment | Skipped:
        """RFC 791. The total length rules, so Ethernet's padding never becomes payload."""
        data = self.data
        have = len(data) - at
        if have < 20:
            return self.skipped("frame ends inside the IP header")
        first, total, ident, fragment, protocol, src, dst = _IPV4.unpack_from(data, at)
        if first >> 4 != 4 or first & 15 < 5:
            return self.skipped("malformed IPv4 header")
        header = (first & 15) * 4
        if total and total < header:
            return self.skipped("malformed IPv4 header")
        if protocol not in _READ:
            return self.skipped(_PROTOCOLS.get(protocol) or f"IP protocol {protocol}")
        # Total length 0: the sending machine's network card was to fill it in (segmentation offload).
        length = total - header if total else self.length - at - header
        if fragment & 0x3FFF:
            key = (src, dst, ident, protocol, self.network_number)
            return self._fragment(
                key, (fragment & 0x1FFF) * 8, fragment & 0x2000 != 0, at + header, length, protocol, src, dst
            )
        if header != 20:
            if have < header:
                return self.skipped("frame ends inside the IP header")
            if protocol == _TCP_NUMBER:
                return _by_dpkt(self, at)
        return self.transport(at + header, length, protocol, src, dst)

    def ipv6(self, at: int) -> Segment | Skipped:
        """RFC 8200. Payload length 0 is a jumbogram or segmentation offload: what is there counts."""
        data = self.data
        if len(data) - at < 40:
            return self.skipped("frame ends inside the IP header")
        first, length, following, src, dst = _IPV6.unpack_from(data, at)
        if first >> 4 != 6:
            return self.skipped("malformed IPv6 header")
        length = length or self.length - at - 40
        if following in _READ:
            return self.transport(at + 40, length, following, src, dst)
        if following not in _EXTENSIONS:
            return self.skipped(_PROTOCOLS.get(following) or f"IP protocol {following}")
        # Of headers before it, those that can precede a fragment header.
        place = at + 40
        while following in (0, 43, 60) and len(data) >= place + 2:
            following, size = data[place], data[place + 1]
            place += 8 * (size + 1)
        if following == 44 and len(data) >= place + 8:
            following, fragment, ident = _FRAGMENT.unpack_from(data, place)
            if fragment & 0xFFF9:
                if following not in _READ:
                    return self.skipped(_PROTOCOLS.get(following) or f"IP protocol {following}")
                key = (src, dst, ident, 44, self.network_number)
                size = length - (place + 8 - at - 40)
                return self._fragment(
                    key, fragment & 0xFFF8, fragment & 1 != 0, place + 8, size, following, src, dst
                )
        elif following in _READ and following != _TCP_NUMBER and len(data) > place:
            return self.transport(place, length - (place - at - 40), following, src, dst)
        return _by_dpkt(self, at)

    def transport(self, at: int, length: int, protocol: int, src: bytes, dst: bytes) -> Segment | Skipped:
        """What an IP header carries, of `length` bytes at this place."""
        if protocol == _TCP_NUMBER:
            return _tcp(self, at, src, dst, length)
        if protocol == 17:
            return self._udp(at)
        if self.depth >= DEPTH:
            return self.skipped(f"more than {DEPTH} tunnels one inside the other")
        if protocol == 47:
            return self._gre(at)
        return self._deeper().ipv4(at) if protocol == 4 else self._deeper().ipv6(at)

    def _fragment(
        self, key: tuple[bytes, bytes, int, int, int], place: int, more: bool, at: int, length: int,
        protocol: int, src: bytes, dst: bytes,
    ) -> Segment | Skipped:  # fmt: skip
        if self.fragments is None:
            return self.skipped("IP fragment")
        if length < 0:
            return self.skipped("malformed IP header")
        part = self.data[at : at + length]
        whole = self.fragments.take(key, place, more, part, length, self.frame)
        if whole is None:
            return HELD
        packet = _Packet(
            self.frame,
            whole.data,
            whole.length,
            self.fragments,
            self.depth,
            whole.frames,
            self.network_number,
        )
        return packet.transport(0, whole.length, protocol, src, dst)

    # -- tunnels

    def _deeper(self) -> _Packet:
        return _Packet(
            self.frame,
            self.data,
            self.length,
            self.fragments,
            self.depth + 1,
            self.frames,
            self.network_number,
        )

    def _inner(self, at: int, ethertype: int) -> Segment | Skipped:
        if self.depth >= DEPTH:
            return self.skipped(f"more than {DEPTH} tunnels one inside the other")
        return self._deeper().network(at, ethertype)

    def _ethernet(self, at: int) -> Segment | Skipped:
        data = self.data
        if len(data) < at + 14:
            return self.skipped("frame ends inside the link header")
        return self._inner(at + 14, kind_of(data[at + 12] << 8 | data[at + 13]))

    def _mpls(self, at: int) -> Segment | Skipped:
        """RFC 3032: labels of 4 bytes up to the one with the bottom-of-stack bit; what follows is not named.

        Taken for IP by its version, for Ethernet behind the control word of RFC 4448 where that is 0.
        """
        data = self.data
        while len(data) >= at + 5:
            bottom = data[at + 2] & 1
            at += 4
            if bottom:
                match data[at] >> 4:
                    case 4:
                        return self._inner(at, IPV4)
                    case 6:
                        return self._inner(at, IPV6)
                    case 0:
                        return self._ethernet(at + 4)
                    case _:
                        return self.skipped("MPLS with neither IP nor an Ethernet control word inside")
        return self.skipped("frame ends inside the MPLS labels")

    def _pppoe(self, at: int) -> Segment | Skipped:
        found = pppoe(self.data, at)
        return self.skipped(found) if isinstance(found, str) else self._inner(*found)

    def _gre(self, at: int) -> Segment | Skipped:
        """RFC 2784 and 2890; ERSPAN types I to III inside it."""
        data = self.data
        if len(data) < at + 4:
            return self.skipped("frame ends inside the GRE header")
        flags, kind = data[at] << 8 | data[at + 1], data[at + 2] << 8 | data[at + 3]
        if flags & 7:
            return self.skipped(f"GRE version {flags & 7} (PPTP, not read)")
        if flags & 0x4000:
            return self.skipped("GRE with source routing (not read)")
        at += 4 + 4 * (flags >> 15 & 1) + 4 * (flags >> 13 & 1) + 4 * (flags >> 12 & 1)
        if kind == 0x88BE:
            return self._ethernet(at + 8 if flags & 0x1000 else at)
        if kind == 0x22EB:
            if len(data) < at + 12:
                return self.skipped("frame ends inside the ERSPAN header")
            return self._ethernet(at + 12 + 8 * (data[at + 11] & 1))
        return self._inner(at, kind)

    def _udp(self, at: int) -> Segment | Skipped:
        """VXLAN (RFC 7348, 5) and GENEVE (RFC 8926, 3.4) by their ports; all else is only UDP."""
        data = self.data
        if len(data) < at + 16:
            return self.skipped("UDP")
        port = data[at + 2] << 8 | data[at + 3]
        # RFC 7348 and RFC 8926 have the 24 bits of the network at the same place.
        number = 1 << 24 | int.from_bytes(data[at + 12 : at + 15], "big")
        if port in TUNNEL_PORTS[:2] and data[at + 8] & 0x08:
            self.network_number = number
            return self._ethernet(at + 16)
        if port == TUNNEL_PORTS[2] and data[at + 8] >> 6 == 0:
            self.network_number = number
            return self._inner(at + 16 + 4 * (data[at + 8] & 0x3F), data[at + 10] << 8 | data[at + 11])
        return self.skipped("UDP")


def _tcp(packet: _Packet, at: int, src: bytes, dst: bytes, length: int) -> Segment | Skipped:
    """RFC 9293, 3.1. `length` is header and payload as the IP header has it."""
    frame, data = packet.frame, packet.data
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
        packet.network_number,
    )


def _by_dpkt(whole: _Packet, at: int) -> Segment | Skipped:
    """The same answer for an IP packet of any form, by way of dpkt."""
    frame, data = whole.frame, whole.data
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
        length = declared - header if declared else whole.length - at - header
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
        length = packet.plen - (header - 40) if packet.plen else whole.length - at - header
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
        whole.network_number,
    )


_NETWORKS: Final = (1 << 62) - 1  # of very many tags, one in the other, the outermost are let go
_IPV4: Final = struct.Struct(">BxHHHxBxx4s4s")
_IPV6: Final = struct.Struct(">BxxxHBx16s16s")
_FRAGMENT: Final = struct.Struct(">BxHI")
_TCP: Final = struct.Struct(">HHIIBB")
_TCP_NUMBER: Final = 6
_BRIDGED: Final = 0x6558

_READ: Final = frozenset((4, _TCP_NUMBER, 17, 41, 47))
"""IP protocols that are, or may carry, TCP."""

VLAN_TAGS: Final = (0x8100, 0x88A8, 0x9100, 0x9200)
_BEFORE_OTHERS: Final = frozenset((*VLAN_TAGS, LLC))

TUNNEL_PORTS: Final = (4789, 8472, 6081)
"""UDP ports of VXLAN (RFC 7348, and Linux's own), GENEVE (RFC 8926)."""

_EXTENSIONS: Final = frozenset((0, 43, 44, 50, 51, 60))

_ETHERTYPES: Final = {
    0x0806: "ARP",
    0x8035: "RARP",
    0x8863: "PPPoE discovery",
    0x888E: "EAPOL",
    0x88CC: "LLDP",
    0x88E5: "MACsec (encrypted)",
    0x88F7: "PTP",
}

_PROTOCOLS: Final = {
    1: "ICMP",
    2: "IGMP",
    17: "UDP",
    50: "ESP (encrypted)",
    51: "AH (not read yet)",
    58: "ICMPv6",
    59: "IPv6 without payload",
    89: "OSPF",
    103: "PIM",
    112: "VRRP",
    132: "SCTP",
}
