# SPDX-License-Identifier: GPL-2.0-or-later
"""Which session reads whom, what is held back until that is known, and how little is kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dissect.capture import Bytes, Conversation, Ended, Opened, open_capture, read
from dissect.dissection.dissector import HOLD, MARKS, Dissector, SideFacts
from dissect.dissection.opaque import OpaqueStream
from dissect.dissection.order import chronological
from dissect.dissection.reading import dissect
from dissect.stream.records import HEAD_BYTES, Message, Record, Violation
from dissect.stream.side import Side
from tests.dissection.conversations import ERROR_REPLY, FIN, GREETING, LINK_MESS, MS, C, S, Step, events, run

PCAPS = Path(__file__).parents[2] / "pcaps"


def push(steps: list[Step], end: int = 10 * MS) -> tuple[Dissector, list[int]]:
    """Push a conversation; also how many records were out after each of its events."""
    stream = list(events(steps, end))
    dissector = Dissector(stream[0].conversation)
    counts = []
    total = 0
    for event in stream:
        total += len(dissector.push(event))
        counts.append(total)
    return dissector, counts


def test_one_session_reads_both_sides_of_one_protocol() -> None:
    dissector, _ = push([(S, GREETING, 0), (C, GREETING, 1), (S, b"\1\1", 2)])
    assert dissector.rfb is not None
    assert dissector.rfb.state == "choice"
    assert dissector.spice is None


def test_each_side_has_its_own_session_where_they_differ() -> None:
    dissector, _ = push([(C, b"RFB ", 0), (S, ERROR_REPLY, 1)])
    assert dissector.rfb is None
    assert dissector.spice is None
    assert dissector.facts[S].error == "INVALID_MAGIC"


def test_records_come_as_soon_as_both_sides_are_known() -> None:
    _, counts = push([(S, GREETING, 0), (C, LINK_MESS, 1), (S, FIN, 2)])
    # Opened, Established, greeting: nothing yet, it may be anybody's; then both at once.
    assert counts[:4] == [0, 0, 0, 2]


def test_what_is_held_back_is_bounded() -> None:
    steps: list[Step] = [(C, b"\x16\x03\x01\x02\0", 0)]
    steps += [(C, bytes(4096), number) for number in range(1, 40)]
    _, counts = push(steps)
    dissector, _ = push(steps[: HOLD // 4096 - 1])
    assert dissector.facts[C].spoke == "tls"
    found = run(steps).records
    assert [(record.protocol, record.size) for record in found] == [("tls", 5 + 39 * 4096)]
    assert counts[-1] == 1  # one run of bytes, however many there were


def test_bytes_sent_by_a_time() -> None:
    facts = SideFacts(marks=[(10, 4), (20, 12)])
    assert [facts.sent_by(time) for time in (9, 10, 19, 20, 99)] == [0, 4, 4, 12, 12]


def test_a_long_stream_keeps_few_marks() -> None:
    dissector, _ = push([(C, b"x", time) for time in range(MARKS + 100)])
    assert len(dissector.facts[C].marks) == MARKS
    assert dissector.facts[C].sent_by(MARKS + 100) == MARKS + 100


@pytest.mark.parametrize("side", Side)
def test_the_other_side_of_the_other_is_oneself(side: Side) -> None:
    assert side.other is not side
    assert side.other.other is side
    assert f"{side}" == side.value


def test_an_opaque_stream_keeps_its_first_bytes_and_its_gaps() -> None:
    stream = OpaqueStream(C, "ssh", "SSH")
    assert stream.feed(C, b"SSH-2.0-x\r\n", 5) == []
    assert stream.feed(C, bytes(1000), 7) == []
    run_of, gap = stream.gap(C, 30, 9)
    assert isinstance(run_of, Message)
    assert (run_of.size, len(run_of.raw), run_of.first_ns, run_of.last_ns) == (1011, HEAD_BYTES, 5, 7)
    assert run_of.note == "not decoded: SSH"
    assert (gap.kind, gap.offset, gap.size) == ("gap", 1011, 30)
    stream.feed(C, b"more", 11)
    (rest,) = stream.end(C, 12)
    assert rest.offset == 1041
    assert stream.end(C, 12) == []


def test_records_of_both_sides_by_time_each_side_in_its_order() -> None:
    def message(side: Side, offset: int, time: int) -> Message:
        return Message(side, "rfb", "Bell", offset, 1, b"\2", time, time)

    # The server's second byte was captured before its first: a reordered segment.
    late, early, other = message(S, 0, 10), message(S, 1, 5), message(C, 0, 7)
    assert chronological([other, early, late]) == [other, late, early]


# --- captures that begin in mid-session


def segments_of(name: str) -> list[tuple[Side, bytes]]:
    with open_capture(PCAPS / f"{name}.pcapng") as capture:
        return [
            (event.side, event.data)
            for event in read(capture)
            if isinstance(event, Bytes) and event.conversation.index == 0
        ]


def joined(said: list[tuple[Side, bytes]], *, swapped: bool = False) -> tuple[Dissector, list[Record]]:
    conversation = Conversation(0, "127.0.0.1:5900", "127.0.0.1:40000", "port", "", True, 1, 0, 0)
    dissector = Dissector(conversation)
    records = dissector.push(Opened(conversation, 0))
    for number, (side, data) in enumerate(said):
        records += dissector.push(Bytes(conversation, side.other if swapped else side, data, number))
    return dissector, records + dissector.push(Ended(conversation, len(said), True))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("name", "skip", "least"),
    [
        ("xtightvncviewer--x11vnc-drawing-rre", 11, 7),
        ("xtightvncviewer--x11vnc-drawing-zlib", 11, 7),
        ("remote-viewer-vnc--qemu-vnc", 10, 10),
        ("xtigervncviewer-typing--xtigervnc", 40, 80),
    ],
)
def test_a_start_in_mid_session_is_recognised(name: str, skip: int, least: int, swapped: bool) -> None:
    said = segments_of(name)
    missed = {side: sum(len(data) for other, data in said[:skip] if other is side) for side in Side}
    with open_capture(PCAPS / f"{name}.pcapng") as capture:
        (whole,) = dissect(read(capture))
    known = {(one.side, one.offset, one.name): one.raw for one in whole.records if isinstance(one, Message)}
    dissector, records = joined(said[skip:], swapped=swapped)
    assert dissector.rfb is not None
    assert (dissector.turned is not None) is swapped
    assert {facts.spoke for facts in dissector.facts.values()} == {"rfb"}
    found = [one for one in records if isinstance(one, Message) and one.parts]
    assert len(found) >= least
    for one in found:
        assert known.get((one.side, one.offset + missed[one.side], one.name)) == one.raw
    assert not [one for one in records if isinstance(one, Violation)]


@pytest.mark.parametrize("name", ["spicy-screenshot--qemu-spice", "remote-viewer-spice--qemu-spice"])
def test_what_is_no_rfb_is_not_taken_for_it(name: str) -> None:
    said = segments_of(name)
    for skip in range(1, len(said), max(1, len(said) // 12)):
        dissector, records = joined(said[skip:])
        assert dissector.rfb is None
        assert not [one for one in records if one.protocol == "rfb"]


def test_no_random_bytes_are_rfb() -> None:
    chance = random.Random(11)
    for _ in range(40):
        said = []
        for _ in range(12):
            first = bytes([chance.choice((0, 2, 3, 4, 5, 6))])
            said.append((chance.choice(list(Side)), first + chance.randbytes(chance.choice((5, 9, 200)))))
        assert joined(said)[0].rfb is None
    zeros = [(side, bytes(1000)) for side in Side] * 4
    assert joined(zeros)[0].rfb is None


def test_a_conversation_whose_beginning_was_captured_is_not_joined() -> None:
    said = segments_of("xtightvncviewer--x11vnc-drawing-rre")[14:]
    found = run([(side, data, number * MS) for number, (side, data) in enumerate(said)])
    assert "rfb" not in (found.verdict.client_spoke, found.verdict.server_spoke)
