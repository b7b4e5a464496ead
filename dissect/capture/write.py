# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing captures: pcapng with nanoseconds, and TCP packets made up for bytes that came over a socket.

For a relay that records what passes through it without the privilege to capture, and for tests. Nothing here
opens a socket.
"""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from dissect.capture.blocks import (
    INTERFACE,
    MAX_BLOCK,
    PACKET,
    SECTION,
    STATISTICS,
    block,
    option_list,
    padded,
)
from dissect.capture.link import ACK, FIN, PSH, RST, SYN
from dissect.capture.media import LINKTYPE_RAW
from dissect.stream import Side

MAX_PAYLOAD: Final = 65535 - 40 - 20
"""The most payload (bytes) that `TcpScript` puts into one packet; it fits into IPv4 and IPv6."""


class PcapngWriter:
    """A pcapng file of one section and one interface with nanosecond time stamps (if_tsresol 9).

    target: a path (created or overwritten) or a binary stream (only written, never closed).
    linktype: of all frames; raw IP by default. name: the interface's. application, comment: who wrote it and
    why, in the section header. start_ns: when recording began, by default the first frame's time.

    Everything written so far is a readable capture at any moment after `flush`, also without `close`, which
    adds when the recording was started and stopped: what makes silence at the end a known silence.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        linktype: int = LINKTYPE_RAW,
        name: str = "",
        application: str = "firstbyte",
        comment: str = "",
        start_ns: int | None = None,
    ) -> None:
        self._owned = isinstance(target, str | os.PathLike)
        self._stream: BinaryIO = (
            Path(target).open("wb")  # noqa: SIM115  # closed by close()
            if isinstance(target, str | os.PathLike)
            else target
        )
        self._closed = False
        self._start_ns = start_ns
        self._last_ns = start_ns or 0
        section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        section += option_list((1, comment.encode()), (4, application.encode()))
        interface = struct.pack("<HHI", linktype, 0, 0)
        interface += option_list((2, name.encode()), (9, b"\x09"))
        self._stream.write(block(SECTION, section) + block(INTERFACE, interface))

    def write(
        self,
        time_ns: int,
        data: bytes,
        length: int | None = None,
        comment: str = "",
    ) -> None:
        """Add a frame: when (ns since 1970), its bytes, its length on the wire where `data` is only a part.

        Raises ValueError for a time that the format cannot hold, and for data that no reader would take.
        """
        if not 0 <= time_ns < 1 << 64:
            raise ValueError(f"a time of {time_ns} ns does not fit into a capture")
        if len(data) > MAX_BLOCK - 70_000:  # room for the block's own fields and a comment
            raise ValueError(f"a frame of {len(data)} bytes is too large for a capture")
        if self._start_ns is None:
            self._start_ns = time_ns
        self._last_ns = max(self._last_ns, time_ns)
        body = struct.pack(
            "<IIIII",
            0,
            time_ns >> 32,
            time_ns & 0xFFFFFFFF,
            len(data),
            len(data) if length is None else max(length, len(data)),
        )
        self._stream.write(block(PACKET, body + padded(data) + option_list((1, comment.encode()))))

    def flush(self) -> None:
        """Hand everything on to the operating system."""
        self._stream.flush()

    def close(self, end_ns: int | None = None) -> None:
        """Add when recording stopped (ns; by default the last frame's time), and close. Twice is once."""
        if self._closed:
            return
        self._closed = True
        try:
            end = self._last_ns if end_ns is None else end_ns
            start = end if self._start_ns is None else self._start_ns
            body = struct.pack("<III", 0, end >> 32, end & 0xFFFFFFFF)
            body += option_list((2, _time(start)), (3, _time(end)))
            self._stream.write(block(STATISTICS, body))
            self._stream.flush()
        finally:
            if self._owned:
                self._stream.close()

    def __enter__(self) -> PcapngWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def synthesise(
    src: bytes | str,
    sport: int,
    dst: bytes | str,
    dport: int,
    seq: int,
    ack: int,
    flags: int,
    payload: bytes = b"",
    *,
    window: int = 65535,
    options: bytes = b"",
) -> bytes:
    """A raw IPv4 or IPv6 packet with one TCP segment, checksums right; for LINKTYPE_RAW.

    src, dst: addresses, packed or in words, of one family. seq, ack: taken modulo 2**32. options: TCP
    options, padded here. Raises ValueError for mixed families and for what does not fit into one packet.
    """
    source, target = _packed(src), _packed(dst)
    if len(source) != len(target):
        raise ValueError("source and destination are of different address families")
    options = padded(options)
    offset = 20 + len(options)
    size = offset + len(payload)
    room = 65535 - (20 if len(source) == 4 else 0)
    if len(options) > 40 or size > room:
        raise ValueError(f"{len(payload)} bytes of payload do not fit into one packet")
    header = struct.pack(
        ">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset << 2, flags, window, 0, 0
    )
    segment = header + options + payload
    pseudo = source + target + struct.pack(">II", size, 6)
    checksum = _checksum(pseudo + segment)
    segment = segment[:16] + checksum.to_bytes(2, "big") + segment[18:]
    if len(source) == 4:
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, 6, 0) + source + target
        return ip[:10] + _checksum(ip).to_bytes(2, "big") + ip[12:] + segment
    return struct.pack(">IHBB", 6 << 28, size, 6, 64) + source + target + segment


class TcpScript:
    """The packets that two ends of a TCP connection would have sent, for bytes that are known.

    client, server: (address in words, port), of one family. write: takes (time_ns, packet), as
    `PcapngWriter.write` does for LINKTYPE_RAW. client_isn, server_isn: initial sequence numbers.

    Only packets that carry something are made: the handshake, data, FIN and RST, each with the
    acknowledgement due by then; and bare acknowledgements where `acked` asks for them.
    """

    def __init__(
        self,
        client: tuple[str, int],
        server: tuple[str, int],
        write: Callable[[int, bytes], object],
        *,
        client_isn: int = 1000,
        server_isn: int = 2000,
    ) -> None:
        self._ends = {
            Side.CLIENT: (ipaddress.ip_address(client[0]).packed, client[1]),
            Side.SERVER: (ipaddress.ip_address(server[0]).packed, server[1]),
        }
        self._seq = {Side.CLIENT: client_isn & 0xFFFFFFFF, Side.SERVER: server_isn & 0xFFFFFFFF}
        self._write = write

    def opened(self, syn_ns: int, synack_ns: int | None = None, ack_ns: int | None = None) -> None:
        """SYN, SYN-ACK and ACK; the later ones at the time of the one before where no time is given."""
        synack_ns = syn_ns if synack_ns is None else synack_ns
        self._put(Side.CLIENT, syn_ns, SYN, 1, acks=False)
        self._put(Side.SERVER, synack_ns, SYN | ACK, 1)
        self._put(Side.CLIENT, synack_ns if ack_ns is None else ack_ns, ACK, 0)

    def refused(self, syn_ns: int, reset_ns: int) -> None:
        """SYN, and the RST that answers it."""
        self._put(Side.CLIENT, syn_ns, SYN, 1, acks=False)
        self._put(Side.SERVER, reset_ns, RST | ACK, 0, seq=0)

    def sent(self, side: Side, data: bytes, time_ns: int) -> None:
        """Data sent by one side, in as many packets as it needs."""
        for at in range(0, len(data), MAX_PAYLOAD):
            part = data[at : at + MAX_PAYLOAD]
            self._put(side, time_ns, PSH | ACK, len(part), part)

    def acked(self, side: Side, time_ns: int) -> None:
        """A bare acknowledgement by one side of all that the other has sent."""
        self._put(side, time_ns, ACK, 0)

    def closed(self, side: Side, time_ns: int) -> None:
        """The FIN of one side."""
        self._put(side, time_ns, FIN | ACK, 1)

    def reset(self, side: Side, time_ns: int) -> None:
        """A RST by one side."""
        self._put(side, time_ns, RST | ACK, 0)

    def lost(self, side: Side, size: int) -> None:
        """So many bytes of one side that are known to have passed, but not which."""
        self._seq[side] = (self._seq[side] + size) & 0xFFFFFFFF

    def _put(
        self,
        side: Side,
        time_ns: int,
        flags: int,
        size: int,
        payload: bytes = b"",
        *,
        acks: bool = True,
        seq: int | None = None,
    ) -> None:
        (src, sport), (dst, dport) = self._ends[side], self._ends[side.other]
        ack = self._seq[side.other] if acks else 0
        own = self._seq[side] if seq is None else seq
        self._write(time_ns, synthesise(src, sport, dst, dport, own, ack, flags, payload))
        self._seq[side] = (self._seq[side] + size) & 0xFFFFFFFF


def _packed(address: bytes | str) -> bytes:
    packed = ipaddress.ip_address(address).packed if isinstance(address, str) else address
    if len(packed) not in (4, 16):
        raise ValueError(f"an address of {len(packed)} bytes is neither IPv4 nor IPv6")
    return packed


def _checksum(data: bytes) -> int:
    """RFC 1071: the ones' complement of the ones' complement sum of 16-bit words."""
    if len(data) % 2:
        data += b"\0"
    # The sum of words modulo 65535 is that of the whole number: 2**16 is 1 modulo 65535.
    total = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF - total if total or not any(data) else 0


def _time(time_ns: int) -> bytes:
    return struct.pack("<II", time_ns >> 32, time_ns & 0xFFFFFFFF)
