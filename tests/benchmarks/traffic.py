# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures of any size for the benchmarks: real sessions multiplied, and a mix in which few are of interest.

A template is one conversation as Ethernet frames of at most 1514 bytes: a recorded VNC or SPICE conversation
cut into segments of a common MTU, with an acknowledgement after every second one; or a made-up one of
another protocol. It is multiplied with addresses, ports and initial sequence numbers of its own, and many
copies run at once, interleaved packet by packet. Times are made up: 100 µs a packet. Checksums are
left zero, as on a machine that sends with offload.

    python tests/benchmarks/traffic.py sessions 200000 /tmp/sessions.pcap
    python tests/benchmarks/traffic.py mix 10000000 /tmp/mix.pcap
"""

from __future__ import annotations

import argparse
import struct
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from dissect.capture import Bytes, open_capture, read
from dissect.stream import Side

ROOT = Path(__file__).resolve().parent.parent.parent
MSS = 1460
START_US = 1_700_000_000_000_000
PACKET_US = 100
SYN, FIN, PSH, ACK = 2, 1, 8, 16

Step = tuple[Side, int, int, int, bytes]
"""Side, flags, sequence and acknowledgement number (from 0 at the SYN), payload."""


@dataclass
class Template:
    """One conversation, ready to be multiplied. port: the server's."""

    name: str
    port: int
    records: list[tuple[Side, npt.NDArray[np.uint8], int, int]] = field(default_factory=list)
    """Side, the record as it lies in a pcap file, sequence and acknowledgement number."""

    @classmethod
    def of(cls, name: str, port: int, turns: list[tuple[Side, bytes]], *, closes: bool = True) -> Template:
        """From what each side says in turn."""
        template = cls(name, port)
        for side, flags, seq, ack, payload in _steps(turns, closes):
            frame = bytes(12) + b"\x08\x00"
            frame += struct.pack(">BBHHHBBHII", 0x45, 0, 40 + len(payload), 0, 0x4000, 64, 6, 0, 0, 0)
            frame += struct.pack(">HHIIBBHHH", 0, 0, 0, 0, 0x50, flags, 0xFFFF, 0, 0) + payload
            record = struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame
            template.records.append((side, np.frombuffer(record, np.uint8), seq, ack))
        return template


def _steps(turns: list[tuple[Side, bytes]], closes: bool) -> Iterator[Step]:
    client, server = Side.CLIENT, Side.SERVER
    at = {client: 1, server: 1}
    yield client, SYN, 0, 0, b""
    yield server, SYN | ACK, 0, 1, b""
    yield client, ACK, 1, 1, b""
    for side, data in turns:
        unacknowledged = 0
        for start in range(0, len(data), MSS):
            part = data[start : start + MSS]
            yield side, ACK | PSH, at[side], at[side.other], part
            at[side] += len(part)
            unacknowledged += 1
            if unacknowledged == 2:
                yield side.other, ACK, at[side.other], at[side], b""
                unacknowledged = 0
    if closes:
        yield client, FIN | ACK, at[client], at[server], b""
        yield server, FIN | ACK, at[server], at[client] + 1, b""
        yield client, ACK, at[client] + 1, at[server] + 1, b""


def recorded(pcaps: Path, verdict: str, least: int = 0) -> list[Template]:
    """Templates of the recorded conversations that have this verdict, with at least so many bytes."""
    index = tomllib.loads((pcaps / "index.toml").read_text())
    wanted = {
        entry["file"]
        for entry in index["capture"]
        if any(found["verdict"] == verdict for found in entry["conversation"])
    }
    templates = []
    for name in sorted(wanted):
        conversations: dict[int, list[tuple[Side, bytes]]] = {}
        with open_capture(pcaps / name) as capture:
            for event in read(capture):
                turns = conversations.setdefault(event.conversation.index, [])
                if isinstance(event, Bytes):
                    if turns and turns[-1][0] is event.side:
                        turns[-1] = (event.side, turns[-1][1] + event.data)
                    else:
                        turns.append((event.side, event.data))
        templates += [
            Template.of(name, 5900, turns)
            for turns in conversations.values()
            if sum(len(data) for _, data in turns) >= least
        ]
    if not templates:
        sys.exit(f"{pcaps} holds no recorded conversation with the verdict {verdict}")
    return templates


def foreign() -> list[tuple[Template, float]]:
    """What else goes over a network, and which part of all conversations each is."""
    client, server = Side.CLIENT, Side.SERVER
    noise = np.random.default_rng(7).integers(0, 256, 1 << 21, dtype=np.uint8).tobytes()

    def tls(size: int) -> list[tuple[Side, bytes]]:
        hello = b"\x16\x03\x01\x02\x00" + noise[:512]
        return [
            (client, hello),
            (server, b"\x16\x03\x03\x00\x7a" + noise[:3000]),
            (client, b"\x14\x03\x03\x00\x01\x01" + noise[:400]),
            (server, b"\x17\x03\x03\x40\x00" + noise[:size]),
        ]

    get = b"GET /index.html HTTP/1.1\r\nHost: www.example.org\r\nAccept: */*\r\n\r\n"
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9000\r\n\r\n"
    keys: list[tuple[Side, bytes]] = [
        (side, noise[i * 48 : i * 48 + 48]) for i in range(50) for side in (client, server)
    ]
    lines: list[tuple[Side, bytes]] = [
        (client, b"*1\r\n$4\r\nPING\r\n"), (server, b"+PONG\r\n")
    ] * 25  # fmt: skip
    return [
        (Template.of("tls, short", 443, tls(20_000)), 0.40),
        (Template.of("http", 80, [(client, get), (server, reply + noise[:9000])]), 0.20),
        (Template.of("tls, long", 443, tls(200_000)), 0.15),
        (
            Template.of("ssh", 22, [(client, b"SSH-2.0-a\r\n"), (server, b"SSH-2.0-b\r\n"), *keys]),
            0.05,
        ),
        (Template.of("a key-value store", 6379, lines), 0.10),
        (Template.of("bulk", 443, tls(1_500_000)), 0.10),
    ]


class Writer:
    """Multiplies templates into one pcap file."""

    def __init__(self, stream: BinaryIO, seed: int = 1) -> None:
        self.stream = stream
        self.packets = 0
        self.conversations = 0
        self.bytes = 24
        self._random = np.random.default_rng(seed)
        stream.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))

    def wave(self, groups: list[tuple[Template, int]], limit: int | None = None) -> None:
        """So many copies of each template at once, packet by packet in turn; stops after `limit` packets."""
        copies = [(template, self._columns(template, count)) for template, count in groups if count]
        for step in range(max(len(template.records) for template, _ in copies)):
            for template, columns in copies:
                if step < len(template.records):
                    self._emit(template.records[step], columns)
            if limit is not None and self.packets >= limit:
                return

    def _columns(self, template: Template, count: int) -> dict[str, npt.NDArray[np.uint32]]:
        numbers = np.arange(self.conversations, self.conversations + count, dtype=np.uint32)
        self.conversations += count
        return {
            "client": 0x0A000000 + numbers // 60_000,
            "port": 1024 + numbers % 60_000,
            "server": 0xC0A80000 + numbers % 251,
            "server port": np.full(count, template.port, np.uint32),
            "client isn": self._random.integers(0, 1 << 32, count, dtype=np.uint32),
            "server isn": self._random.integers(0, 1 << 32, count, dtype=np.uint32),
        }

    def _emit(
        self, packet: tuple[Side, npt.NDArray[np.uint8], int, int], columns: dict[str, npt.NDArray[np.uint32]]
    ) -> None:
        side, record, seq, ack = packet
        count = len(columns["client"])
        rows = np.tile(record, (count, 1))
        times = START_US + PACKET_US * (self.packets + np.arange(count, dtype=np.int64))
        own, other = ("client", "server") if side is Side.CLIENT else ("server", "client")
        port = {"client": "port", "server": "server port"}

        def put(at: int, values: npt.NDArray[np.uint32], kind: str, size: int) -> None:
            rows[:, at : at + size] = values.astype(kind).view(np.uint8).reshape(count, size)

        put(0, (times // 1_000_000).astype(np.uint32), "<u4", 4)
        put(4, (times % 1_000_000).astype(np.uint32), "<u4", 4)
        ip = 16 + 14
        put(ip + 12, columns[own], ">u4", 4)
        put(ip + 16, columns[other], ">u4", 4)
        put(ip + 20, columns[port[own]], ">u2", 2)
        put(ip + 22, columns[port[other]], ">u2", 2)
        put(ip + 24, columns[f"{own} isn"] + np.uint32(seq), ">u4", 4)
        if record[ip + 33] & ACK:
            put(ip + 28, columns[f"{other} isn"] + np.uint32(ack), ">u4", 4)
        self.stream.write(rows.tobytes())
        self.packets += count
        self.bytes += rows.size


def sessions(stream: BinaryIO, packets: int, pcaps: Path) -> Writer:
    """Recorded VNC and SPICE sessions, multiplied until there are so many packets."""
    writer = Writer(stream)
    templates = recorded(pcaps, "agreed", least=20_000)
    while writer.packets < packets:
        writer.wave([(template, 2) for template in templates])
    return writer


def mix(stream: BinaryIO, packets: int, pcaps: Path, live: int = 2000) -> Writer:
    """`live` conversations at a time, one in a hundred a recorded VNC or SPICE one, right or wrong."""
    writer = Writer(stream)
    few = recorded(pcaps, "wrong-protocol") + recorded(pcaps, "agreed")
    others = foreign()
    turn = 0
    while writer.packets < packets:
        wanted = max(1, live // 100)
        chosen = [few[(turn * wanted + number) % len(few)] for number in range(wanted)]
        groups = [(template, round(live * 0.99 * share)) for template, share in others]
        writer.wave(groups + [(template, 1) for template in chosen], packets)
        turn += 1
    return writer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("kind", choices=("sessions", "mix"))
    parser.add_argument("packets", type=int)
    parser.add_argument("output", type=Path)
    parser.add_argument("--live", type=int, default=2000, help="conversations at a time (mix)")
    parser.add_argument("--pcaps", type=Path, default=ROOT / "pcaps", help="the recordings to multiply")
    options = parser.parse_args()
    with options.output.open("wb") as stream:
        if options.kind == "sessions":
            made = sessions(stream, options.packets, options.pcaps)
        else:
            made = mix(stream, options.packets, options.pcaps, options.live)
    print(f"{made.packets} packets, {made.conversations} conversations, {made.bytes} bytes")


if __name__ == "__main__":
    main()
