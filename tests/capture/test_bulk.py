# SPDX-License-Identifier: GPL-2.0-or-later
"""Two speeds, one truth: what is passed over changes no verdict, on real captures and under any disorder."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pytest

from dissect.capture import (
    Bytes,
    Conversation,
    Ended,
    Event,
    Lost,
    Opened,
    Passed,
    bulk,
    decode,
    open_capture,
    read,
    synthesise,
)
from dissect.capture.bulk import Bulk
from dissect.capture.conversations import Conversations, Stretch
from dissect.capture.files import Capture
from dissect.capture.link import Segment
from dissect.capture.plain import Plain
from dissect.dissection.reading import dissect
from dissect.stream import Side
from dissect.stream.records import Record
from tests.capture import build

ROOT = Path(__file__).resolve().parent.parent.parent
PCAPS = sorted((ROOT / "pcaps").glob("*.pcap*"))
ACK, FIN, RST, SYN = build.ACK, build.FIN, build.RST, build.SYN
MS = 1_000_000
START = 1_700_000_000_000_000_000


def set_run_size(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Frames in a run: small ones let conversations fall asleep and wake within a small capture."""
    monkeypatch.setattr(bulk, "LEAST_RUN", 1)
    monkeypatch.setattr(bulk, "FIRST_RUN", size)
    monkeypatch.setattr(bulk, "MOST_RUN", size)


@pytest.fixture(params=[1, 40])
def run_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    set_run_size(monkeypatch, size)
    return size


Row = tuple[object, ...]


def facts(capture: Capture) -> Row:
    """What a capture says of itself."""
    return capture.frames, capture.offset, capture.first_ns, capture.end_ns, capture.skipped


def slowly(capture: Capture) -> list[str]:
    """Every verdict, with every byte of every conversation decoded."""
    return [json.dumps(found.verdict.to_json("")) for found in dissect(read(capture))]


@lru_cache(maxsize=1)
def expected_of(data: bytes) -> tuple[list[str], Row]:
    """Every verdict, and what the capture says."""
    capture = open_capture(io.BytesIO(data), "x")
    found = slowly(capture)
    assert list(capture) == []
    return found, (*facts(capture), capture.problems)


def quickly(capture: Capture) -> tuple[list[str], int]:
    """Every verdict, and how many packets were passed over."""
    quick = Bulk(Conversations())

    def events() -> Iterator[Event]:
        yield from quick.read(capture)
        yield from quick.finish(capture, capture.end_ns)

    return [json.dumps(found.verdict.to_json("")) for found in dissect(events(), records=False)], quick.passed


def same(data: bytes) -> int:
    """Both ways agree on the verdicts and on everything the capture says; packets passed over."""
    expected, said = expected_of(data)
    capture = open_capture(io.BytesIO(data), "x")
    found, passed = quickly(capture)
    assert found == expected
    assert list(capture) == []
    assert (*facts(capture), capture.problems) == said
    return passed


def rows(events: Iterator[Event]) -> Iterator[Row]:
    """Events as they can be compared, stretches a segment at a time."""
    for event in events:
        for one in event.single() if isinstance(event, Stretch) else (event,):
            facts = (getattr(one, name, None) for name in ("side", "data", "size", "time_ns", "open"))
            yield type(one).__name__, one.conversation.index, *facts


@lru_cache(maxsize=1)
def one_at_a_time(data: bytes) -> tuple[list[Row], Row, list[Row], list[list[Record]]]:
    """Events, what the capture says, what its conversations say, and all records, a packet at a time."""
    with open_capture(io.BytesIO(data), "x") as capture:
        events = list(read(capture))
    conversations = [counts(event.conversation) for event in events if isinstance(event, Opened)]
    records = [found.records for found in dissect(iter(events))]
    return list(rows(iter(events))), facts(capture), conversations, records


def counts(conversation: Conversation) -> Row:
    return conversation.packets, conversation.last_ns, conversation.retransmitted


def taken_together(data: bytes, way: type[Bulk | Plain] = Bulk) -> int:
    """Where nobody puts anything aside, events and records are those of one packet at a time; how many were
    taken together. way: how they are taken.
    """
    together = 0

    def quick(watched: list[Conversation]) -> Iterator[Event]:
        nonlocal together
        capture = open_capture(io.BytesIO(data), "x")
        reader = way(Conversations())
        for event in reader.read(capture):
            together += len(event.pieces) if isinstance(event, Stretch) else 0
            watched += [event.conversation] if isinstance(event, Opened) else []
            yield event
        yield from reader.finish(capture, capture.end_ns)
        said.append(facts(capture))

    watched: list[Conversation] = []
    said: list[Row] = []
    events, facts_of_one, conversations, records = one_at_a_time(data)
    assert list(rows(quick(watched))) == events
    assert said == [facts_of_one]
    assert [counts(one) for one in watched] == conversations
    assert [found.records for found in dissect(quick([]))] == records
    return together // 2


@cache
def passed_over(path: Path) -> int:
    """Both ways of reading agree on a recording, with few and many frames in a run; packets passed over."""
    data, passed = path.read_bytes(), 0
    with pytest.MonkeyPatch.context() as patch:
        for size in (40, 1):
            set_run_size(patch, size)
            passed = same(data)
            taken_together(data)
    return passed


@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.stem)
def test_the_recordings(path: Path) -> None:
    passed_over(path)


def test_the_recordings_are_there_and_something_of_them_is_passed_over() -> None:
    assert len(PCAPS) > 20
    assert sum(map(passed_over, PCAPS)) > 300


# --- made-up traffic


class Host:
    """One conversation as packets with their times, in order; `disturb` then has its way with them."""

    def __init__(self, number: int, dice: random.Random, *, six: bool = False, port: int = 443) -> None:
        self.number, self.dice, self.six, self.port = number, dice, six, port
        self.packets: list[tuple[int, bytes]] = []
        self.seq = {side: dice.choice([0xFFFFFF00, dice.getrandbits(32)]) for side in Side}
        self.now = START + number * 1000

    def send(self, side: Side, flags: int, payload: bytes = b"") -> None:
        client = (
            f"fd00::{self.number + 1:x}" if self.six else f"10.0.{self.number >> 8}.{self.number & 255}",
            40000,
        )
        server = ("fd00::ffff" if self.six else "192.168.0.1", self.port)
        (src, sport), (dst, dport) = (client, server) if side is Side.CLIENT else (server, client)
        self.now += self.dice.choice([10_000, MS, 50 * MS])
        ack = self.seq[side.other] if flags & ACK else 0
        packet = synthesise(src, sport, dst, dport, self.seq[side], ack, flags, payload)
        self.packets.append((self.now, packet))
        self.seq[side] += len(payload) + bool(flags & (SYN | FIN))

    def opens(self) -> None:
        self.send(Side.CLIENT, SYN)
        self.send(Side.SERVER, SYN | ACK)
        self.send(Side.CLIENT, ACK)

    def talks(self, side: Side, size: int) -> None:
        while size > 0:
            part = min(size, self.dice.choice([1, 500, 1400]))
            self.send(side, ACK, self.dice.randbytes(part))
            if self.dice.random() < 0.5:
                self.send(side.other, ACK)
            size -= part

    def ends(self) -> None:
        match self.dice.choice(["fin", "half", "reset", "open"]):
            case "fin":
                self.send(Side.CLIENT, FIN | ACK)
                self.send(Side.SERVER, FIN | ACK)
                self.send(Side.CLIENT, ACK)
            case "half":
                self.send(Side.SERVER, FIN | ACK)
                self.talks(Side.CLIENT, 2000)
            case "reset":
                self.send(self.dice.choice(list(Side)), RST | ACK)
            case _:
                pass


HEADS = {
    "tls": (b"\x16\x03\x01\x02\x00" + bytes(512), b"\x16\x03\x03\x00\x7a" + bytes(122)),
    "alert": (b"\x16\x03\x01\x02\x00" + bytes(512), b"\x15\x03\x03\x00\x02\x02\x28"),
    "http": (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n"),
    "ssh": (b"SSH-2.0-a\r\n", b"SSH-2.0-b\r\n"),
    "other": (b"PING\r\n", b"+PONG\r\n"),
    "mixed": (b"PING\r\n", b"SSH-2.0-b\r\n"),
    "mute": (b"\0\1\2\3" * 17_000, b""),
    "vnc": (b"RFB 003.008\n", b"RFB 003.008\n"),
    "late vnc": (b"GET / HTTP/1.1\r\n\r\n", b"RFB 003.008\n"),
}


def conversation(number: int, dice: random.Random) -> list[tuple[int, bytes]]:
    """A conversation of a random kind, perhaps disturbed, perhaps the second on its ports."""
    host = Host(number, dice, six=dice.random() < 0.3)
    for _ in range(dice.choice([1, 1, 1, 2])):
        if dice.random() < 0.9:
            host.opens()
        client, server = HEADS[dice.choice(list(HEADS))]
        host.send(Side.CLIENT, ACK, client[:1400])
        host.talks(Side.CLIENT, len(client) - 1400)
        if server:
            host.send(Side.SERVER, ACK, server)
        for _ in range(dice.randrange(4)):
            host.talks(dice.choice(list(Side)), dice.choice([50, 3000, 10_000]))
        host.ends()
        host.seq = {side: dice.getrandbits(32) for side in Side}
    packets = host.packets
    match dice.choice(["none", "none", "lost", "swapped", "again", "late", "backwards"]):
        case "lost":
            packets = [one for one in packets if dice.random() > 0.02]
        case "swapped":
            for at in range(len(packets) - 1):
                if dice.random() < 0.1:
                    (one, first), (other, second) = packets[at : at + 2]
                    packets[at : at + 2] = [(one, second), (other, first)]
        case "again":
            packets = sorted(packets + [(t + 3 * MS, p) for t, p in packets if dice.random() < 0.05])
        case "late":
            packets = sorted((t + (300 * MS if dice.random() < 0.03 else 0), p) for t, p in packets)
        case "backwards":
            packets = [(t - (MS if dice.random() < 0.1 else 0), p) for t, p in packets]
        case _:
            pass
    return packets


def interleaved(seed: int, count: int = 16) -> list[tuple[int, bytes]]:
    dice = random.Random(seed)
    found = [conversation(number, dice) for number in range(count)]
    order = sorted(
        (time, number, index)
        for number, packets in enumerate(found)
        for index, (time, _) in enumerate(packets)
    )
    # By time, but each conversation's packets stay as they are.
    places: dict[int, int] = dict.fromkeys(range(count), 0)
    out = []
    for _, number, _ in order:
        out.append(found[number][places[number]])
        places[number] += 1
    return out


@pytest.mark.parametrize("seed", range(6))
def test_any_disorder(seed: int, run_size: int) -> None:
    packets = interleaved(seed)
    assert same(build.pcap(packets, nano=True)) > 0
    if seed < 2:
        same(build.pcap(packets, nano=True, order=">", snaplen=60))


def test_any_disorder_of_what_is_taken_together(run_size: int) -> None:
    together = 0
    for seed in range(60):
        data = build.pcap(
            interleaved(seed, 1 + seed % 3), nano=True, snaplen=60 if seed % 10 == 9 else 0xFFFF
        )
        together += taken_together(data)
    assert together > 100 or run_size == 1


def ethernet(packet: bytes, tags: int = 0) -> bytes:
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    tag = b"".join(struct.pack(">HH", 0x88A8 if left else 0x8100, 5) for left in reversed(range(tags)))
    return bytes(12) + tag + kind + packet


SNAP = b"\xaa\xaa\x03\0\0\0"

LINKS: dict[int, Callable[[bytes], bytes]] = {
    1: ethernet,
    101: lambda packet: packet,
    113: lambda packet: bytes(14) + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet,
    276: lambda packet: (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + bytes(18) + packet,
    0: lambda packet: (b"\2\0\0\0" if packet[0] >> 4 == 4 else b"\x1e\0\0\0") + packet,
    108: lambda packet: (b"\0\0\0\2" if packet[0] >> 4 == 4 else b"\0\0\0\x1e") + packet,
    228: lambda packet: packet,
    104: lambda packet: b"\x0f\0" + (b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet,
    105: lambda packet: (
        b"\x08\1" + bytes(22) + SNAP + (b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet
    ),
}


@pytest.mark.parametrize("linktype", LINKS)
def test_link_layers(linktype: int, run_size: int) -> None:
    packets = [(time, LINKS[linktype](packet)) for time, packet in interleaved(3, 10)]
    passed = same(build.pcap(packets, nano=True, linktype=linktype))
    assert passed > 0 or linktype in (108, 228, 105)


def test_a_connection_that_comes_and_goes_takes_no_more_room() -> None:
    table = bulk._Table(3)
    for row in range(100):
        table.insert((9, 9, row), row)
    for _ in range(50):
        table.remove((9, 9, 7), 7)
        table.insert((9, 9, 7), 7)
    keys = tuple(np.array(column, np.uint64) for column in ([9] * 101, [9] * 101, range(101)))
    assert table.find(keys).tolist() == [*range(100), -1]
    assert table._rows.size == 1024


def test_tags_padding_and_what_is_no_tcp(run_size: int) -> None:
    dice = random.Random(5)
    frames = []
    for time, packet in interleaved(5, 10):
        # Each conversation has tags of its own: other tags are another network.
        frame = ethernet(packet, tags=sum(packet[12:20] if packet[0] == 0x45 else packet[8:40]) % 4)
        frames.append((time, frame + bytes(max(0, 60 - len(frame)))))
        match dice.randrange(8):
            case 0:
                udp = struct.pack(">HHHH", 53, dice.choice([53, 4789]), 8 + 4, 0) + b"abcd"
                head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 32, 0, 0, 64, 17, 0, b"\1\2\3\4", b"\5\6\7\x08")
                frames.append((time, ethernet(head + udp)))
            case 1:
                frames.append((time, bytes(12) + b"\x08\x06" + bytes(46)))
            case 2:
                frames.append((time, ethernet(packet)[: dice.randrange(60)]))
            case 3:  # an IPv4 header with options
                if packet[0] == 0x45:
                    longer = bytes([0x46, 0]) + struct.pack(">H", len(packet) + 4) + packet[4:20]
                    frames[-1] = (time, ethernet(longer + b"\1\1\1\0" + packet[20:]))
            case _:
                pass
    assert same(build.pcap(frames, nano=True, linktype=1)) > 0


def test_pcapng_with_several_interfaces_and_strange_blocks(run_size: int) -> None:
    """Two link types and resolutions, blocks in between, a wrong trailer, another section, a cut."""
    dice = random.Random(6)
    data = build.shb() + build.idb(linktype=101, resolution=9) + build.idb(linktype=1, resolution=6)
    for number, (time, packet) in enumerate(interleaved(6, 12)):
        if number == 300:
            data += build.shb() + build.idb(linktype=101) + build.idb(linktype=1, resolution=9)
        if dice.random() < 0.01:
            data += build.block(11, b"other")
        if number == 200:
            data += build.block(6, struct.pack("<IIIII", 0, 0, 0, 4, 4) + b"abcd", trailer=7)
        which = dice.randrange(2)
        nano = which == (number >= 300)
        data += build.epb(
            time if nano else time // 1000, ethernet(packet) if which else packet, interface=which
        )
    assert same(data) > 0
    same(data[:-7])
    same(data + struct.pack("<II", 6, 10) + bytes(20))


def test_a_damaged_pcap_is_used_up_to_the_damage(run_size: int) -> None:
    packets = interleaved(7, 8)
    data = build.pcap(packets, nano=True)
    half = 24 + sum(16 + len(packet) for _, packet in packets[:200])
    same(data[:half] + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30) + data[half:])
    same(data[:-1])


def test_columns_say_what_decode_says() -> None:
    packets = [
        (time, ethernet(packet, tags=number % 3)) for number, (time, packet) in enumerate(interleaved(8, 12))
    ]
    for snaplen in (262144, 70):
        data = build.pcap(packets, nano=True, linktype=1, snaplen=snaplen)
        with open_capture(io.BytesIO(data), "x") as capture:
            next(capture)  # fills the buffer
            run = capture.run(100_000)
            assert run is not None
            heads = bulk.headers(run)
            rows = heads.tcp.nonzero()[0]
            assert len(rows) > len(packets) / 2
            for row, segment in zip(rows.tolist(), heads.segments(run, rows), strict=True):
                decoded = decode(run.frame(row))
                assert isinstance(decoded, Segment)
                assert segment == decoded


def test_more_conversations_than_there_is_room_for() -> None:
    """Those silent longest are given up, asleep or not; every byte was told before."""
    dice = random.Random(3)
    hosts = []
    for number in range(40):
        host = Host(number, dice)
        host.opens()
        for side in Side:
            host.send(side, ACK, HEADS["tls"][side is Side.SERVER][:1400])
        for _ in range(50):
            host.send(Side.SERVER, ACK, bytes(100))
        hosts.append(host)
    conversations = Conversations(live_limit=8)
    quick = Bulk(conversations)
    sizes: dict[int, int] = {}
    ended = []
    with open_capture(
        io.BytesIO(build.pcap([one for host in hosts for one in host.packets], nano=True)), "x"
    ) as capture:
        for events in (quick.read(capture), quick.finish(capture)):
            for event in events:
                assert conversations.live <= 8
                event.conversation.aside = True
                if isinstance(event, Bytes | Passed):
                    size = len(event.data) if isinstance(event, Bytes) else event.size
                    sizes[event.conversation.index] = sizes.get(event.conversation.index, 0) + size
                elif isinstance(event, Ended):
                    ended.append(event.conversation)
    assert quick.passed > 50
    assert len(ended) == 40
    assert sum(one.ended_by == "limit" for one in ended) == conversations.given_up >= 32
    assert set(sizes.values()) == {517 + 127 + 5000}


def test_what_has_passed_is_said() -> None:
    """Bytes, Passed and Lost together are all that was sent; packets are counted, passed over or not."""
    packets = interleaved(9)
    data = build.pcap(packets, nano=True)
    quick = Bulk(Conversations())
    found: dict[tuple[int, Side], int] = {}
    expected: dict[tuple[int, Side], int] = {}
    with open_capture(io.BytesIO(data), "x") as capture:
        for event in quick.read(capture):
            event.conversation.aside = True
            _count(event, found)
        ended = []
        for event in quick.finish(capture, capture.end_ns):
            _count(event, found)
            ended.append(event.conversation)
    with open_capture(io.BytesIO(data), "x") as capture:
        slow = {event.conversation.index: event.conversation for event in _counted(read(capture), expected)}
    assert quick.passed > len(packets) / 4
    assert found == expected
    for conversation in ended:
        other = slow[conversation.index]
        assert (conversation.packets, conversation.last_ns) == (other.packets, other.last_ns)


def _counted(events: Iterator[Event], sizes: dict[tuple[int, Side], int]) -> Iterator[Event]:
    for event in events:
        _count(event, sizes)
        yield event


def _count(event: Event, sizes: dict[tuple[int, Side], int]) -> None:
    if isinstance(event, Bytes):
        size = len(event.data)
    elif isinstance(event, Lost | Passed):
        size = event.size
    else:
        return
    key = event.conversation.index, event.side
    sizes[key] = sizes.get(key, 0) + size
