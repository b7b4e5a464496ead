# SPDX-License-Identifier: GPL-2.0-or-later
"""Real sessions under any disorder: what is read is what the undisturbed session says, or is missing exactly
where bytes are missing.

A recorded conversation is cut into other segments (split and merged), numbered from other initial sequence
numbers (so that they wrap), and its packets are permuted, doubled, overlapped, contradicted and dropped.
Packets change places only within what one side says in one go: nobody answers what has not arrived.
"""

from __future__ import annotations

import io
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest

from dissect.capture import Bytes, Conversations, Event, Lost, bulk, open_capture, read, swift, synthesise
from dissect.dissection.reading import Dissected, dissect
from dissect.dissection.recognise import first_bytes
from dissect.dissection.verdict import Verdict
from dissect.stream import Side
from dissect.stream.records import Message
from tests.capture import build

PCAPS = Path(__file__).resolve().parent.parent.parent / "pcaps"
ACK, FIN, SYN = build.ACK, build.FIN, build.SYN
MS = 1_000_000
START = 1_700_000_000_000_000_000

SESSIONS = [
    "gvncviewer--qemu-spice",
    "spicy--qemu-vnc",
    "spicy-screenshot--qemu-spice-wrong-password",
    "vncdotool--x11vnc",
    "vncsnapshot--x11vnc-wrong-password",
    "xtigervncviewer--xtigervnc-password",
    "xtightvncviewer--xtightvnc",
    "gvncviewer--qemu-vnc",
    "spicy--qemu-spice/0",  # its main channel, and some others of the session
    "spicy--qemu-spice/1",
    "spicy--qemu-spice/3",
]
"""Recordings, and which of their conversations: by default the first."""

Turn = tuple[Side, bytes]
Packet = tuple[int, bytes]


def said(name: str) -> list[Turn]:
    """What the two sides of a conversation of a recording say, in turn."""
    turns: list[Turn] = []
    name, _, index = name.partition("/")
    with open_capture(PCAPS / f"{name}.pcapng") as capture:
        for event in read(capture):
            if isinstance(event, Bytes) and event.conversation.index == int(index or 0):
                if turns and turns[-1][0] is event.side:
                    turns[-1] = (event.side, turns[-1][1] + event.data)
                else:
                    turns.append((event.side, event.data))
    return turns


@dataclass
class Model:
    """One conversation as disturbed packets, and what must be found in it."""

    dice: random.Random
    client: tuple[str, int] = ("10.0.0.1", 40000)
    server: tuple[str, int] = ("10.0.0.2", 5900)
    loses: bool = False
    contradicts: bool = True
    wraps: bool = True
    packets: list[Packet] = field(default_factory=list)
    streams: dict[Side, bytearray] = field(default_factory=lambda: {side: bytearray() for side in Side})
    missing: dict[Side, set[int]] = field(default_factory=lambda: {side: set() for side in Side})

    def make(self, turns: list[Turn], start_ns: int = START) -> Model:
        dice = self.dice
        self.now = start_ns
        isn = {side: dice.getrandbits(32) for side in Side}
        if self.wraps:
            isn = {side: dice.choice([0xFFFFFFFF, 0xFFFFF000, isn[side]]) for side in Side}
        for side, flags in ((Side.CLIENT, SYN), (Side.SERVER, SYN | ACK), (Side.CLIENT, ACK)):
            number = isn[side] + (flags == ACK)
            self._put(side, number, isn[side.other] + 1 if flags & ACK else 0, flags)
        at = {side: isn[side] + 1 for side in Side}
        for side, data in turns:
            self._say(side, data, at[side], at[side.other])
            self.streams[side] += data
            at[side] += len(data)
            self._put(side.other, at[side.other], at[side], ACK)
        for side in (Side.CLIENT, Side.SERVER):
            self._put(side, at[side], at[side.other], FIN | ACK)
            at[side] += 1
        self._put(Side.CLIENT, at[Side.CLIENT], at[Side.SERVER], ACK)
        return self

    def _say(self, side: Side, data: bytes, seq: int, ack: int) -> None:
        dice = self.dice
        base = len(self.streams[side])
        pieces: list[tuple[int, bytes]] = []
        at = 0
        while at < len(data):
            size = dice.choice([1, 3, 100, 1448, 1448, 20_000])
            pieces.append((at, data[at : at + size]))
            at += size
        kept = []
        for index, (place, piece) in enumerate(pieces):
            # The end of what was said must be known for a loss to be known.
            if self.loses and dice.random() < 0.2 and index + 1 < len(pieces):
                self.missing[side].update(range(base + place, base + place + len(piece)))
            else:
                kept.append((place, piece))
        again = []
        for place, piece in kept:
            if dice.random() < 0.15:
                again.append((place, piece))  # once more
            if dice.random() < 0.15 and len(piece) > 2 and not self.loses:
                begin = max(0, place - dice.randrange(50))
                again.append((begin, data[begin : place + len(piece) // 2]))  # overlapping what is before it
        order = [*kept, *again]
        if dice.random() < 0.7:
            for index in range(len(order)):
                other = min(len(order) - 1, index + dice.randrange(4))
                order[index], order[other] = order[other], order[index]
        if self.contradicts:
            # Another text for bytes that were captured before: the first copy counts.
            for place, piece in kept:
                if dice.random() < 0.1:
                    order.append((place, bytes(byte ^ 0xFF for byte in piece)))
        for place, piece in order:
            self._put(side, seq + place, ack, ACK, piece)

    def _put(self, side: Side, seq: int, ack: int, flags: int, payload: bytes = b"") -> None:
        (src, sport), (dst, dport) = (
            (self.client, self.server) if side is Side.CLIENT else (self.server, self.client)
        )
        self.now += self.dice.choice([1000, MS // 10])
        packet = synthesise(src, sport, dst, dport, seq % 2**32, ack % 2**32, flags, payload)
        self.packets.append((self.now, packet))


def events(packets: list[Packet]) -> Iterator[Event]:
    with open_capture(io.BytesIO(build.pcap(packets, nano=True)), "x") as capture:
        yield from read(capture)


def messages(found: Dissected) -> dict[Side, list[tuple[str, str, int, int]]]:
    """What each side said, without the times."""
    return {
        side: [(one.kind, one.name, one.offset, one.size) for one in found.records if one.side is side]
        for side in Side
    }


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_complete_is_read_as_if_undisturbed(name: str, seed: int) -> None:
    turns = said(name)
    calm = Model(_Calm(), contradicts=False)
    (expected,) = dissect(events(calm.make(turns).packets))
    model = Model(random.Random(f"{name} {seed}")).make(turns)
    (found,) = dissect(events(model.packets))
    assert messages(found) == messages(expected)
    assert found.verdict.verdict == expected.verdict.verdict
    assert len(model.packets) > len(calm.packets) / 2


class _Calm(random.Random):
    """Dice that disturb nothing."""

    def random(self) -> float:
        return 1.0

    def choice(self, options):  # type: ignore[no-untyped-def]
        return options[-1]


HARD = [
    # The first byte of the server's security types: the client's choice of one is not an offer.
    ("vncdotool--x11vnc", 14),
    ("xtigervncviewer--xtigervnc-password", 12),
    ("gvncviewer--qemu-vnc", 10),
    # The client's version, which was 3.3: what the server decided then is not a refusal of 3.8.
    ("vncsnapshot--x11vnc-wrong-password", 17),
]
"""What was lost where a session could be misread."""


@pytest.mark.parametrize(("name", "seed"), [*product(SESSIONS, range(5)), *HARD])
def test_what_is_lost_is_missing_exactly_there(name: str, seed: int) -> None:
    model = Model(random.Random(f"{name} {seed}"), loses=True).make(said(name))
    offsets = dict.fromkeys(Side, 0)
    lost: dict[Side, set[int]] = {side: set() for side in Side}
    for event in events(model.packets):
        if isinstance(event, Bytes):
            at, end = offsets[event.side], offsets[event.side] + len(event.data)
            assert event.data == model.streams[event.side][at:end]
            offsets[event.side] = end
        elif isinstance(event, Lost):
            end = offsets[event.side] + event.size
            lost[event.side].update(range(offsets[event.side], end))
            offsets[event.side] = end
    assert lost == model.missing
    assert offsets == {side: len(model.streams[side]) for side in Side}
    (found,) = dissect(events(model.packets))
    (whole,) = dissect(events(Model(_Calm(), contradicts=False).make(said(name)).packets))
    undisturbed = messages(whole)
    for one in found.records:
        if isinstance(one, Message) and one.note is None:  # decoded, and whole
            assert (one.kind, one.name, one.offset, one.size) in undisturbed[one.side]
    assert not found.verdict.reversed
    gaps = {
        side: sum(one.size for one in found.records if one.kind == "gap" and one.side is side)
        for side in Side
    }
    assert gaps == {side: len(model.missing[side]) for side in Side}


def interleaved(seed: int, *, loses: bool) -> list[Packet]:
    """Each of the sessions disturbed, half of them on ports that another one had just before, at the same
    time: packets of each stay in their order.
    """
    dice = random.Random(seed)
    queues: list[list[bytes]] = []
    for number in range(0, len(SESSIONS), 2):
        queue: list[bytes] = []
        for name in SESSIONS[number : number + 2]:
            # The same ports with the same numbers would be the same connection.
            model = Model(dice, (f"10.0.{number}.1", 40000), loses=loses, wraps=not queue)
            queue += [packet for _, packet in model.make(said(name)).packets]
        queues.append(queue[::-1])
    order = [index for index, queue in enumerate(queues) for _ in queue]
    dice.shuffle(order)
    return [(START + place * 100_000, queues[index].pop()) for place, index in enumerate(order)]


def summary(verdict: Verdict) -> tuple[object, ...]:
    """What of a verdict does not depend on when packets came."""
    reactions = tuple(seen and (seen.by, seen.censored) for seen in map(verdict.detect, Side))
    return verdict.client_spoke, verdict.server_spoke, verdict.verdict, verdict.reversed, *reactions


@pytest.mark.parametrize("reader", ["numpy", "compiled"])
@pytest.mark.parametrize("loses", [False, True], ids=["complete", "lost"])
@pytest.mark.parametrize("seed", range(3))
def test_each_way_to_read_says_the_same(
    seed: int, loses: bool, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packet by packet, many at once, and by the compiled kernels; and what the undisturbed sessions say."""
    for name in ("LEAST_RUN", "FIRST_RUN", "MOST_RUN"):
        monkeypatch.setattr(bulk, name, 50)
    path = tmp_path / "x.pcap"
    path.write_bytes(build.pcap(interleaved(seed, loses=loses), nano=True))
    quick = bulk.Bulk(Conversations())
    if reader == "compiled":
        monkeypatch.setattr(swift, "LEAST", 50)
        monkeypatch.setattr(swift, "MOST", 50)
        quick = swift.Swift(Conversations(), first_bytes())

    with open_capture(path) as capture:
        expected = [one.verdict.to_json("") for one in dissect(read(capture))]
    with open_capture(path) as capture:

        def all_events() -> Iterator[Event]:
            yield from quick.read(capture)
            yield from quick.finish(capture, capture.end_ns)

        found = [one.verdict for one in dissect(all_events(), records=False)]
    assert [one.to_json("") for one in found] == expected
    assert len(found) == len(SESSIONS)
    if not loses:
        calm = [
            summary(one.verdict)
            for name in SESSIONS
            for one in dissect(events(Model(_Calm(), contradicts=False).make(said(name)).packets))
        ]
        assert Counter(map(summary, found)) == Counter(calm)


def _of_client(packet: bytes, client: bytes, copy: int) -> bytes:
    """The same packet, of the client with another second byte of its address."""
    own = bytes([client[0], copy, *client[2:]])
    return packet[:12] + packet[12:20].replace(client, own) + packet[20:]


def test_ten_thousand_conversations_at_once() -> None:
    """Interleaved at random, disturbed, every fifth on the ports of another one before it."""
    dice = random.Random(1)
    kinds = [said("gvncviewer--qemu-spice"), said("spicy--qemu-vnc")]
    queues: list[list[bytes]] = []
    expected: Counter[tuple[str, str]] = Counter()
    for number in range(200):
        client = (f"10.0.{number}.1", 40000)
        queue: list[bytes] = []
        for _ in range(1 + (number % 4 == 0)):
            kind = dice.randrange(2)
            # The same ports with the same numbers would be the same connection.
            model = Model(random.Random(number * 2 + len(queue)), client, wraps=not queue)
            queue += [packet for _, packet in model.make(kinds[kind]).packets]
            expected["spice" if kind else "rfb", "rfb" if kind else "spice"] += 40
        # Each goes on at forty addresses at once, each time between others.
        queues += [
            [_of_client(packet, bytes([10, 0, number, 1]), copy) for packet in queue[::-1]]
            for copy in range(40)
        ]
    order = [index for index, queue in enumerate(queues) for _ in queue]
    dice.shuffle(order)
    packets = [(START + place * 100, queues[index].pop()) for place, index in enumerate(order)]
    data = build.pcap(packets, nano=True)
    quick = bulk.Bulk(Conversations())
    with open_capture(io.BytesIO(data), "x") as capture:

        def all_events() -> Iterator[Event]:
            yield from quick.read(capture)
            yield from quick.finish(capture, capture.end_ns)

        verdicts = [one.verdict for one in dissect(all_events(), records=False)]
        found = Counter((one.client_spoke, one.server_spoke) for one in verdicts)
        assert {one.verdict for one in verdicts} == {"wrong-protocol"}
    assert sum(expected.values()) == 10_000
    assert found == expected


@pytest.mark.program("tshark")
@pytest.mark.parametrize("name", [*SESSIONS[:6], *SESSIONS[-2:]])
def test_tshark_puts_the_same_bytes_together(name: str, tmp_path: Path) -> None:
    """Where its reassembly holds: permuted, doubled and overlapping segments, none lost or contradicted."""
    model = Model(random.Random(name), contradicts=False).make(said(name))
    path = tmp_path / "x.pcap"
    path.write_bytes(build.pcap(model.packets))
    command = ["tshark", "-r", str(path), "-q", "-z", "follow,tcp,raw,0"]
    told = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    lines = [
        line for line in told.splitlines() if line.strip() and set(line.strip()) <= set("0123456789abcdef")
    ]
    node = next(line for line in told.splitlines() if line.startswith("Node 0: "))
    plain = Side.CLIENT if node.endswith(":40000") else Side.SERVER
    theirs = {side: bytearray() for side in Side}
    for line in lines:
        theirs[plain.other if line.startswith("\t") else plain] += bytes.fromhex(line)
    ours = {side: bytearray() for side in Side}
    for event in events(model.packets):
        if isinstance(event, Bytes):
            ours[event.side] += event.data
    assert ours == model.streams
    assert theirs == ours
