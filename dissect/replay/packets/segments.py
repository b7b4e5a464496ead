# SPDX-License-Identifier: GPL-2.0-or-later
"""A TCP segment to an IPv4 packet and back, by Scapy's own layers.

Options other than the maximum segment size are neither sent nor read: no window scaling, no timestamps, no
selective acknowledgements, so that what is on the wire is what the plan says and nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment (RFC 9293, 3.1), without its addresses. mss: the option's value, where it has one."""

    seq: int
    ack: int
    flags: int
    window: int
    payload: bytes = b""
    mss: int | None = None

    def __str__(self) -> str:
        names = [name for name, bit in _FLAGS if self.flags & bit]
        return (
            f"{'+'.join(names)} seq {self.seq} ack {self.ack} window {self.window} {len(self.payload)} bytes"
        )


_FLAGS: Final = (("SYN", SYN), ("FIN", FIN), ("RST", RST), ("PSH", PSH), ("ACK", ACK))


@dataclass(frozen=True, slots=True)
class Path:
    """Who sends to whom: IPv4 addresses as text, and ports."""

    source: str
    source_port: int
    target: str
    target_port: int


def to_packet(segment: Segment, path: Path) -> bytes:
    """The IPv4 packet that carries `segment`, checksums filled in."""
    from scapy.layers.inet import IP, TCP
    from scapy.packet import Raw

    packet = IP(src=path.source, dst=path.target, ttl=64, flags="DF") / TCP(
        sport=path.source_port,
        dport=path.target_port,
        seq=segment.seq,
        ack=segment.ack,
        flags=segment.flags,
        window=segment.window,
        options=[] if segment.mss is None else [("MSS", segment.mss)],
    )
    return bytes(packet / Raw(segment.payload) if segment.payload else packet)


def from_packet(data: bytes) -> tuple[Path, Segment] | None:
    """The segment in an IPv4 packet that the kernel has sent, or None where it is none."""
    from scapy.layers.inet import IP, TCP

    if len(data) < 40 or data[0] >> 4 != 4 or data[9] != 6:
        return None  # the kernel sends IPv6 router solicitations to a new device, unasked
    packet = IP(data)
    tcp = packet.getlayer(TCP)
    if tcp is None or packet.frag or packet.flags.MF:
        return None
    start = packet.ihl * 4 + tcp.dataofs * 4
    mss = next((value for name, value in tcp.options if name == "MSS"), None)
    return (
        Path(packet.src, tcp.sport, packet.dst, tcp.dport),
        Segment(tcp.seq, tcp.ack, int(tcp.flags) & 0x3F, tcp.window, data[start : packet.len], mss),
    )
