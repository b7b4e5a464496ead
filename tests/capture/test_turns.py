# SPDX-License-Identifier: GPL-2.0-or-later
"""What both sides sent by turns, taken together: of each side it is what comes one packet at a time."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dissect.capture import Conversation, Event, Exchange, Opened, open_capture, read, runs, turns
from dissect.capture.conversations import Conversations
from dissect.capture.plain import Plain
from dissect.stream import Side
from tests.capture import build
from tests.capture.test_bulk import ACK, FIN, PCAPS, Host, Row, interleaved, rows


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PAUSE", 0)
    monkeypatch.setattr(turns, "PAUSE", 0)


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
def test_the_recordings(path: Path) -> None:
    taken_by_turns(path.read_bytes())


def test_any_disorder() -> None:
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
def test_what_is_odd_among_what_is_not(six: bool) -> None:
    by_turns = sum(
        taken_by_turns(build.pcap(talk(random.Random(seed), six=six), nano=True)) for seed in range(30)
    )
    assert by_turns > 1000
