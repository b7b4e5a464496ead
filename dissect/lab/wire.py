# SPDX-License-Identifier: GPL-2.0-or-later
"""Record what passes on the loopback interface, or on a TUN device, with the kernel's timestamps."""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path

from dissect.capture.media import LINKTYPE_ETHERNET, LINKTYPE_RAW
from dissect.lab.errors import CannotRecord
from dissect.lab.recorder import Recorder
from dissect.stream import Side

INTERFACE = "lo"
RECEIVE_BUFFER = 64 << 20
LARGEST_FRAME = 1 << 18
STAMP_LIMIT_S = 2.0

# Names that the module `socket` does not have; numbers from the kernel's headers.
ETH_P_ALL = 3
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_OUTGOING = 4

IPV4_FRAME = bytes(12) + b"\x08\x00"
"""The Ethernet header that a TUN device's packets lack; ours carry IPv4 only."""


class WireRecorder(Recorder):
    """Records the TCP connections to one port from an AF_PACKET socket; needs CAP_NET_RAW."""

    def __init__(
        self,
        port: int,
        path: str | Path,
        *,
        max_bytes: int | None = None,
        comment: str = "",
        interface: str = INTERFACE,
    ) -> None:
        """interface: "lo", or the name of a TUN device in the network namespace that `start` is called in."""
        super().__init__(path, max_bytes=max_bytes, comment=comment)
        self.port = port
        self.interface = interface
        self.tun = interface != INTERFACE
        # Loopback frames have an Ethernet header of zeros, a TUN device's packets none.
        self.linktype = LINKTYPE_RAW if self.tun else LINKTYPE_ETHERNET
        self._socket: socket.socket | None = None
        self._wake: int = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to record; raises CannotRecord, in particular where CAP_NET_RAW is missing."""
        try:
            # Protocol 0: nothing arrives before the filter is in place.
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError as error:
            raise CannotRecord(
                f"recording on {self.interface} needs CAP_NET_RAW (root, or setcap cap_net_raw+ep); "
                "without it the relay recorder records in user space"
            ) from error
        except OSError as error:
            raise CannotRecord(f"no packet socket: {error.strerror}") from error
        try:
            try:
                raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            except PermissionError:  # CAP_NET_RAW alone: as much as the system allows
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            raw.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            _attach(raw, port_filter(self.port, tun=self.tun))
            raw.setblocking(False)
            _await_kernel_stamps()
            self._open_file()
            raw.bind((self.interface, ETH_P_ALL))
        except OSError as error:
            raw.close()
            where = f"{self.path}: " if error.filename else ""
            raise CannotRecord(f"{where}cannot record on {self.interface}: {error.strerror}") from error
        self._socket = raw
        self._wake = os.eventfd(0)
        self._thread = threading.Thread(target=self._read, name="lab recorder", daemon=True)
        self._thread.start()

    def stop(self, end_ns: int | None = None, reason: str = "") -> None:
        """End the recording; see Recorder.stop."""
        with self._changed:
            if self._thread is None:
                return
            self._end_at(end_ns, reason)
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._thread = None
        os.close(self._wake)

    def _read(self) -> None:
        raw = self._socket
        assert raw is not None
        poll = select.poll()
        poll.register(raw, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            stopping = False
            while not stopping:
                stopping = self._wake in {fd for fd, _ in poll.poll()}
                self._drain(raw)
        except OSError as error:  # the interface went down
            self.failure = f"the recording broke off: {error.strerror}"
        finally:
            self._finish(raw)

    def _drain(self, raw: socket.socket) -> None:
        while True:
            try:
                frame, ancillary, _, address = raw.recvmsg(LARGEST_FRAME, 128)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:
                    raise
                continue
            if address[2] == PACKET_OUTGOING and not self.tun:  # lo shows every packet twice: out, and in
                continue
            with self._changed:
                self._take(_stamp(ancillary), frame)

    def _take(self, time_ns: int, frame: bytes) -> None:
        if not self._record(time_ns, frame):
            return
        found = parse_tcp(IPV4_FRAME + frame if self.tun else frame)
        if found is None:
            return
        source, sport, destination, dport, flags, size = found
        side = Side.CLIENT if dport == self.port else Side.SERVER
        key = (source, sport) if side is Side.CLIENT else (destination, dport)
        self._saw(key, side, time_ns, flags, size, (source, sport, destination, dport))

    def _finish(self, raw: socket.socket) -> None:
        try:
            _, dropped = struct.unpack("II", raw.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            self.dropped += dropped
        except OSError:
            pass
        raw.close()
        self._close_file()


def parse_tcp(frame: bytes) -> tuple[str, int, str, int, int, int] | None:
    """Source address and port, destination address and port, flags, payload size of an Ethernet frame.

    None for anything but unfragmented TCP over IPv4 or IPv6 without extension headers, which is all that
    loopback carries for the port a recorder filters on.
    """
    if len(frame) < 34:
        return None
    ethertype = int.from_bytes(frame[12:14])
    if ethertype == 0x0800 and frame[23] == 6:
        start = 14 + (frame[14] & 0x0F) * 4
        end = 14 + int.from_bytes(frame[16:18])
        source, destination = frame[26:30], frame[30:34]
    elif ethertype == 0x86DD and len(frame) >= 54 and frame[20] == 6:
        start = 54
        end = 54 + int.from_bytes(frame[18:20])
        source, destination = frame[22:38], frame[38:54]
    else:
        return None
    if len(frame) < start + 20:
        return None
    sport, dport = struct.unpack_from("!HH", frame, start)
    payload = end - start - (frame[start + 12] >> 4) * 4
    return (
        str(ipaddress.ip_address(source)),
        sport,
        str(ipaddress.ip_address(destination)),
        dport,
        frame[start + 13],
        max(0, payload),
    )


def port_filter(port: int, *, tun: bool = False) -> bytes:
    """A classic BPF program: TCP from or to `port`, IPv4 or IPv6, and no copy of what goes out.

    tun: without an Ethernet header, IPv4, both directions.

    In the kernel, so that other traffic of the machine neither wakes us nor fills the buffer.
    """
    word_at, half_at, byte_at = 0x20, 0x28, 0x30  # BPF_LD + size + BPF_ABS
    half_from_x, ip_header_to_x = 0x48, 0xB1  # BPF_LD + BPF_H + BPF_IND; BPF_LDX + BPF_B + BPF_MSH
    equal, bits, give = 0x15, 0x45, 0x06  # BPF_JMP + BPF_JEQ, + BPF_JSET; BPF_RET
    packet_type = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
    # (label, operation, k, label if true, label if false); an empty label is the next line.
    start = 0 if tun else 14
    ethernet: list[tuple[str, int, int, str, str]] = [
        ("", word_at, packet_type, "", ""),
        ("", equal, PACKET_OUTGOING, "no", ""),
        ("", half_at, 12, "", ""),
        ("", equal, 0x86DD, "six", ""),
        ("", equal, 0x0800, "", "no"),
    ]
    lines = [] if tun else ethernet
    lines += [
        ("", byte_at, start + 9, "", ""),
        ("", equal, 6, "", "no"),
        ("", half_at, start + 6, "", ""),
        ("", bits, 0x1FFF, "no", ""),
        ("", ip_header_to_x, start, "", ""),
        ("", half_from_x, start, "", ""),
        ("", equal, port, "yes", ""),
        ("", half_from_x, start + 2, "", ""),
        ("", equal, port, "yes", "no"),
        ("six", byte_at, 20, "", ""),
        ("", equal, 6, "", "no"),
        ("", half_at, 54, "", ""),
        ("", equal, port, "yes", ""),
        ("", half_at, 56, "", ""),
        ("", equal, port, "yes", "no"),
        ("yes", give, LARGEST_FRAME, "", ""),
        ("no", give, 0, "", ""),
    ]
    place = {label: number for number, (label, *_) in enumerate(lines) if label}
    program = b""
    for number, (_, operation, k, yes, no) in enumerate(lines):
        jumps = [place[label] - number - 1 if label else 0 for label in (yes, no)]
        program += struct.pack("HBBI", operation, *jumps, k)
    return program


def _attach(raw: socket.socket, program: bytes) -> None:
    import ctypes

    buffer = ctypes.create_string_buffer(program, len(program))
    raw.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    )


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("ll", data[: struct.calcsize("ll")])
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


def _await_kernel_stamps() -> None:
    """Return when the kernel stamps packets as they arrive.

    The first socket that asks for stamps switches them on for the machine, and the kernel does that a little
    later; until then it fills in the time of reading. So send ourselves datagrams, read each late, and see.
    """
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(STAMP_LIMIT_S)
        limit = time.monotonic() + STAMP_LIMIT_S
        while time.monotonic() < limit:
            sender.sendto(b"stamp", receiver.getsockname())
            select.select([receiver], [], [], STAMP_LIMIT_S)
            time.sleep(0.001)
            read_ns = time.time_ns()
            _, ancillary, _, _ = receiver.recvmsg(16, 128)
            if _stamp(ancillary) < read_ns:
                return
    raise CannotRecord("the kernel does not stamp packets as they arrive")
