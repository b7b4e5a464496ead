# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures made by hand for the tests of this room, written independently of the code under test."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from dissect.capture import Segment

SYN, FIN, RST, PSH, ACK = 2, 1, 4, 8, 16

CLIENT = (b"\x7f\x00\x00\x01", 40000)
SERVER = (b"\x7f\x00\x00\x02", 5900)


def pcap(
    frames: Iterable[tuple[int, bytes]],
    *,
    order: str = "<",
    nano: bool = False,
    linktype: int = 101,
    snaplen: int = 262144,
) -> bytes:
    """A pcap file of (time in ns, data) frames; `order` as struct has it."""
    magic, unit = (0xA1B23C4D, 1) if nano else (0xA1B2C3D4, 1000)
    out = bytearray(struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, linktype))
    for time_ns, data in frames:
        seconds, rest = divmod(time_ns, 10**9)
        kept = data[:snaplen]
        out += struct.pack(order + "IIII", seconds, rest // unit, len(kept), len(data)) + kept
    return bytes(out)


def block(kind: int, body: bytes, order: str = "<", *, trailer: int | None = None) -> bytes:
    """A pcapng block; `trailer` puts another length at its end."""
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return (
        struct.pack(order + "II", kind, length)
        + body
        + struct.pack(order + "I", length if trailer is None else trailer)
    )


def options(order: str, *pairs: tuple[int, bytes]) -> bytes:
    """A pcapng option list with its end."""
    out = b""
    for code, value in pairs:
        out += struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)
    return out + bytes(4)


def shb(order: str = "<", version: tuple[int, int] = (1, 0)) -> bytes:
    """A section header block."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, *version, -1), order)


def idb(
    order: str = "<",
    linktype: int = 101,
    *,
    resolution: int | None = None,
    offset: int | None = None,
    snaplen: int = 0,
) -> bytes:
    """An interface description block; resolution is the if_tsresol byte, offset if_tsoffset in seconds."""
    pairs = []
    if resolution is not None:
        pairs.append((9, bytes([resolution])))
    if offset is not None:
        pairs.append((14, struct.pack(order + "q", offset)))
    body = struct.pack(order + "HHI", linktype, 0, snaplen)
    return block(1, body + (options(order, *pairs) if pairs else b""), order)


def epb(units: int, data: bytes, order: str = "<", *, interface: int = 0, length: int | None = None) -> bytes:
    """An enhanced packet block; `units` in the interface's resolution."""
    body = struct.pack(
        order + "IIIII",
        interface,
        units >> 32,
        units & 0xFFFFFFFF,
        len(data),
        len(data) if length is None else length,
    )
    return block(6, body + data, order)


def isb(end_units: int, order: str = "<", *, interface: int = 0) -> bytes:
    """An interface statistics block that says when the capture was stopped."""
    body = struct.pack(order + "III", interface, 0, 0)
    stamp = struct.pack(order + "II", end_units >> 32, end_units & 0xFFFFFFFF)
    return block(5, body + options(order, (3, stamp)), order)


def segment(
    seq: int,
    payload: bytes = b"",
    *,
    flags: int = ACK,
    ack: int = 0,
    time_ns: int = 0,
    missing: int = 0,
    from_server: bool = False,
    sport: int = CLIENT[1],
    frame: int = 0,
) -> Segment:
    """A segment between CLIENT and SERVER."""
    client, server = (CLIENT[0], sport), SERVER
    (src, from_port), (dst, to_port) = (server, client) if from_server else (client, server)
    return Segment(
        time_ns,
        src,
        from_port,
        dst,
        to_port,
        seq % 2**32,
        ack % 2**32,
        flags,
        payload,
        missing,
        frame,
    )
