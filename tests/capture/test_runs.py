# SPDX-License-Identifier: GPL-2.0-or-later
"""Segments taken together without numpy: every event and record is that of one packet at a time.

Where it does not matter how the bytes of one side lie to those of the other, those of each side are.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from dissect.capture import Conversation, Event, Exchange, Frame, Opened, Segment, open_capture, read, runs
from dissect.capture.conversations import Conversations
from dissect.capture.files import Capture
from dissect.capture.link import RST
from dissect.capture.plain import Plain
from dissect.stream import Side
from tests.capture import build
from tests.capture.test_bulk import (
    ACK,
    FIN,
    LINKS,
    PCAPS,
    Host,
    Row,
    ethernet,
    interleaved,
    rows,
    taken_together,
)

SYN = build.SYN


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PAUSE", 0)


@pytest.mark.parametrize("path", PCAPS[::3], ids=lambda path: path.stem)
def test_the_recordings(path: Path) -> None:
    taken_together(path.read_bytes(), Plain)


def test_any_disorder() -> None:
    together = 0
    for seed in range(100, 150):
        data = build.pcap(
            interleaved(seed, 1 + seed % 3),
            nano=True,
            order="<>"[seed % 2],
            snaplen=60 if seed % 10 == 9 else 0xFFFF,
        )
        together += taken_together(data, Plain)
    assert together > 100


def stream(dice: random.Random, *, six: bool = False, side: Side = Side.SERVER) -> list[tuple[int, bytes]]:
    """Full segments of one side, and odd things between them, of each kind."""
    host = Host(1, dice, six=six, port=5900)
    host.opens()
    for turn in range(60):
        for _ in range(dice.randrange(1, 9)):
            host.send(
                side, dice.choice([ACK, ACK | 8]), dice.randbytes(dice.choice([1, 7, 1400, 1400, 1400]))
            )
        seq = dict(host.seq)
        match turn % 12:
            case 0 | 1 | 2:
                host.send(side.other, ACK)
            case 3:
                host.send(side.other, ACK, b"pointer")
            case 4:  # a keep-alive, one below the next byte
                host.seq[side] -= 1
                host.send(side, ACK)
                host.seq = seq
            case 5:  # the same again
                host.seq[side] -= 1
                host.send(side, ACK, b"?")
            case 6 if turn > 40:  # a hole, which is waited for
                host.seq[side] += 100
            case 7 if turn > 40:  # more is acknowledged than there was
                host.seq[side] += 5
                host.send(side.other, ACK)
                host.seq = seq
            case 8:
                host.send(side, ACK | 32, b"urgent")
            case 9:  # what was sent long before is acknowledged
                host.seq[side] = (host.seq[side] - 3000) & 0xFFFFFFFF
                host.send(side.other, ACK)
                host.seq = seq
            case 10:  # a later acknowledgement, in mid-stream
                host.seq[side.other] -= 1
                host.send(side, ACK, b"old")
                host.seq[side.other] = seq[side.other]
            case _:
                host.send(side.other, ACK | 8)
        host.seq = {one: number & 0xFFFFFFFF for one, number in host.seq.items()}
    host.send(side, dice.choice([FIN, RST]) | ACK, b"")
    return host.packets


@pytest.mark.parametrize("seed", range(4))
def test_odd_segments_between(seed: int) -> None:
    packets = stream(random.Random(seed), six=seed % 2 == 1, side=list(Side)[seed // 2])
    assert taken_together(build.pcap(packets, nano=True), Plain) > 100


@pytest.mark.parametrize("linktype", LINKS)
def test_link_layers(linktype: int) -> None:
    packets = [(time, LINKS[linktype](packet)) for time, packet in stream(random.Random(linktype))]
    together = taken_together(build.pcap(packets, nano=True, linktype=linktype), Plain)
    assert together > 100 or linktype in (108, 228, 105)


def test_padding_options_fragments_tags_and_what_is_no_tcp() -> None:
    dice = random.Random(9)
    frames: list[tuple[int, bytes]] = []
    for time, packet in stream(dice):
        frame = ethernet(packet)
        odd = [
            ethernet(
                b"\x46\0" + (len(packet) + 4).to_bytes(2, "big") + packet[4:20] + bytes(4) + packet[20:]
            ),
            ethernet(packet[:6] + b"\x20\0" + packet[8:]),  # more fragments follow
            ethernet(packet, tags=1),
            bytes(12) + b"\x08\x06" + bytes(46),
            frame[:-1],
            ethernet(packet[:9] + b"\x11" + packet[10:]),  # another protocol than TCP
            ethernet(packet[:32] + b"\x40" + packet[33:]),  # a header of TCP that is too short
            ethernet(b"\x65" + packet[1:]),
        ]
        if dice.random() < 0.2:
            frames.append((time, dice.choice(odd)))
        frames.append((time, frame + bytes(max(0, 60 - len(frame)))))
    assert taken_together(build.pcap(frames, nano=True, linktype=1), Plain) > 50


def test_pcapng_with_strange_blocks() -> None:
    dice = random.Random(11)
    data = build.shb() + build.idb(linktype=101, resolution=9) + build.idb(linktype=1, resolution=6)
    data += build.idb(linktype=101, resolution=6)
    for number, (time, packet) in enumerate(stream(dice)):
        which = 0 if number % 7 else dice.choice([0, 1, 2, 3])
        units = time if which == 0 else time // 1000
        block = build.epb(units, ethernet(packet) if which == 1 else packet, interface=which)
        if number % 50 == 49:
            data += block[:-4] + b"\0\0\0\1"  # a wrong trailer
        if which == 3:
            data += build.epb(units, packet)  # there is no such interface
        data += block
        if number % 31 == 30:
            data += build.block(0x0BAD, b"what is not known")
    assert taken_together(data, Plain) > 20
    assert taken_together(data[:-3], Plain) > 20


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("form", ["pcap", "turned", "pcapng"])
def test_one_byte_of_one_of_many_alike_is_another(form: str, six: bool) -> None:
    dice = random.Random(form)
    host = Host(1, dice, six=six, port=5900)
    host.opens()
    host.send(Side.CLIENT, ACK, b"ask")
    for number in range(40):
        host.send(Side.SERVER, ACK | 8 * (number % 3 == 2), dice.randbytes(90))
    clean = host.packets

    def written(packets: list[tuple[int, bytes]]) -> bytearray:
        if form != "pcapng":
            return bytearray(build.pcap(packets, nano=True, order="><"[form == "pcap"], linktype=101))
        blocks = [build.epb(time, packet) for time, packet in packets]
        return bytearray(build.shb() + build.idb(linktype=101, resolution=9) + b"".join(blocks))

    assert taken_together(bytes(written(clean)), Plain) > 35
    size = len(written(clean[-1:])) - len(written([]))
    for turn in range(60):
        data = written(clean)
        # The heads of record and packet, where nearly all matters.
        at = len(data) - size * dice.randrange(1, 36) + dice.randrange(28 + 60 if turn % 6 else size)
        data[at] ^= 1 << dice.randrange(8)
        taken_together(bytes(data), Plain)


def test_a_run_that_cannot_be_taken_is_not_looked_at_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PAUSE", 5)
    looked: list[int] = []
    found = runs.Runs._found

    def look(self: runs.Runs, capture: Capture, frame: Frame, segment: Segment, apart: bool) -> object:
        looked.append(capture.frames)
        return found(self, capture, frame, segment, apart)

    monkeypatch.setattr(runs.Runs, "_found", look)
    monkeypatch.setattr(Conversations, "push_both", lambda *_: None)
    assert taken_together(build.pcap(stream(random.Random(1)), nano=True), Plain) == 0
    assert len(looked) > 10
    # What is found and cannot be taken is not found again and again.
    assert sum(later - earlier > 5 for earlier, later in pairwise(looked)) > 10


def taken_by_turns(data: bytes) -> int:
    """Where how the sides' bytes lie to each other does not matter, the events of each side are those of one
    packet at a time, and so are the others; how many packets came in exchanges.
    """
    by_turns = 0
    watched: list[Conversation] = []

    def quick() -> Iterator[Event]:
        nonlocal by_turns
        capture = open_capture(io.BytesIO(data), "x")
        reader = Plain(Conversations())
        for event in reader.read(capture):
            if isinstance(event, Opened):
                watched.append(event.conversation)
                event.conversation.apart = True
            if isinstance(event, Exchange):
                by_turns += sum(len(one.pieces) for one in event.stretches)
                assert event.time_ns == max(one.time_ns for one in event.stretches)
                yield from event.stretches
            else:
                yield event
        yield from reader.finish(capture, capture.end_ns)

    def by_sides(events: Iterator[Event]) -> dict[Row, list[Row]]:
        sides: dict[Row, list[Row]] = {}
        for row in rows(events):
            sides.setdefault(row[1:3], []).append(row)
        return sides

    with open_capture(io.BytesIO(data), "x") as capture:
        slow = list(read(capture))
    assert by_sides(quick()) == by_sides(iter(slow))
    plain = [event.conversation for event in slow if isinstance(event, Opened)]
    for name in ("packets", "last_ns", "counters"):
        assert [getattr(one, name) for one in watched] == [getattr(one, name) for one in plain]
    return by_turns


@pytest.mark.parametrize("path", PCAPS[::3], ids=lambda path: path.stem)
def test_the_recordings_by_turns(path: Path) -> None:
    taken_by_turns(path.read_bytes())


def test_any_disorder_by_turns() -> None:
    by_turns = 0
    for seed in range(60):
        data = build.pcap(
            interleaved(seed, 1 + seed % 3),
            nano=True,
            order="<>"[seed % 2],
            snaplen=60 if seed % 10 == 9 else 0xFFFF,
        )
        by_turns += taken_by_turns(data)
    assert by_turns > 100


def talk(dice: random.Random, *, six: bool) -> list[tuple[int, bytes]]:
    """Both sides by turns, and odd things between them, of each kind."""
    host = Host(1, dice, six=six, port=5900)
    host.opens()
    for turn in range(80):
        for _ in range(dice.randrange(1, 6)):
            side = dice.choice([Side.CLIENT, Side.SERVER])
            data = dice.randbytes(dice.choice([0, 1, 7, 700, 1400]))
            host.send(side, dice.choice([ACK, ACK | 8]), data)
        seq = dict(host.seq)
        match turn % 10:
            case 0:  # a keep-alive, one below the next byte
                host.seq[side] -= 1
                host.send(side, ACK)
                host.seq = seq
            case 1:  # the same again
                host.seq[side] -= 1
                host.send(side, ACK, b"?")
            case 2 if turn > 50:  # a hole, which is waited for
                host.seq[side] += 100
            case 3 if turn > 50:  # more is acknowledged than there was
                host.seq[side] += 5
                host.send(side.other, ACK)
                host.seq = seq
            case 4:
                host.send(side, ACK | 32, b"urgent")
            case 5:  # what was sent long before is acknowledged
                host.seq[side] = (host.seq[side] - 3000) & 0xFFFFFFFF
                host.send(side.other, ACK)
                host.seq = seq
            case _:
                pass
    host.send(Side.SERVER, ACK | FIN)
    return host.packets


@pytest.mark.parametrize("six", [False, True])
def test_what_is_odd_among_what_both_send(six: bool) -> None:
    by_turns = sum(
        taken_by_turns(build.pcap(talk(random.Random(seed), six=six), nano=True)) for seed in range(30)
    )
    assert by_turns > 1000
