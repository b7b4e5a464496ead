# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.capture import Counters, Data, Direction, Fin, Gap, Segment, reassembly
from dissect.capture.reassembly import (
    GAP_NS,
    HARD_BYTES,
    HELD_BYTES,
    HELD_SEGMENTS,
    WINDOW,
    Item,
    Pool,
)
from tests.capture.build import ACK, FIN, SYN, segment

ISN = 2**32 - 5  # every table below crosses the wrap
S = GAP_NS

Step = Callable[[Direction], list[Item]]


def syn(time: int = 0, payload: bytes = b"", isn: int = ISN) -> Step:
    return lambda d: d.push(segment(isn, payload, flags=SYN, time_ns=time))


def at(offset: int, payload: bytes = b"", time: int = 0, *, fin: bool = False, missing: int = 0) -> Step:
    """A segment at an offset of the stream."""
    flags = ACK | (FIN if fin else 0)
    return lambda d: d.push(segment(ISN + 1 + offset, payload, flags=flags, time_ns=time, missing=missing))


def ack(offset: int, time: int = 0) -> Step:
    return lambda d: d.acked((ISN + 1 + offset) % 2**32, time)


def end(time: int = 0) -> Step:
    return lambda d: d.finish(time)


TABLE: dict[str, tuple[list[Step], list[list[Item]], Counters]] = {
    "in order": (
        [syn(), at(0, b"ab", 1), at(2, b"cd", 2), at(4, b"", 3, fin=True), end()],
        [[], [Data(1, b"ab")], [Data(2, b"cd")], [Fin(3)], []],
        Counters(),
    ),
    "reordered: each byte keeps its own time": (
        [syn(), at(4, b"ef", 1), at(2, b"cd", 2), at(0, b"ab", 3)],
        [[], [], [], [Data(3, b"ab"), Data(2, b"cd"), Data(1, b"ef")]],
        Counters(),
    ),
    "retransmitted": (
        [syn(), at(0, b"abc", 1), at(0, b"abc", 2), at(1, b"bc", 3)],
        [[], [Data(1, b"abc")], [], []],
        Counters(retransmitted=2),
    ),
    "retransmitted while it waits": (
        [syn(), at(2, b"cd", 1), at(2, b"cd", 2), at(0, b"ab", 3)],
        [[], [], [], [Data(3, b"ab"), Data(1, b"cd")]],
        Counters(retransmitted=1),
    ),
    "overlap with what was delivered": (
        [syn(), at(0, b"abc", 1), at(1, b"bcde", 2)],
        [[], [Data(1, b"abc")], [Data(2, b"de")]],
        Counters(retransmitted=1),
    ),
    "overlap in the middle: the first copy wins": (
        [syn(), at(2, b"CD", 1), at(0, b"abcdef", 2)],
        [[], [], [Data(2, b"ab"), Data(1, b"CD"), Data(2, b"ef")]],
        Counters(retransmitted=1, conflicting_bytes=2),
    ),
    "overlap of several that wait": (
        [syn(), at(1, b"b", 1), at(3, b"d", 2), at(2, b"cdef", 3), at(0, b"a", 4)],
        [[], [], [], [], [Data(4, b"a"), Data(1, b"b"), Data(3, b"c"), Data(2, b"d"), Data(3, b"ef")]],
        Counters(retransmitted=1),
    ),
    "conflict with what was delivered": (
        [syn(), at(0, b"abcd", 1), at(4, b"efgh", 2), at(2, b"cXeY", 3)],
        [[], [Data(1, b"abcd")], [Data(2, b"efgh")], []],
        Counters(retransmitted=1, conflicting_bytes=2),
    ),
    "a hole at the end of the conversation": (
        [syn(), at(0, b"ab", 1), at(5, b"fg", 2), end(9)],
        [[], [Data(1, b"ab")], [], [Gap(3, 2), Data(2, b"fg")]],
        Counters(),
    ),
    "a hole before a FIN": (
        [syn(), at(3, b"", 1, fin=True), end(9)],
        [[], [], [Gap(3, 1), Fin(1)]],
        Counters(),
    ),
    "a hole that was acknowledged waits a second, for it may be captured late": (
        [syn(), at(2, b"cd", 1), ack(4, 5), ack(4, 4 + S), ack(4, 5 + S)],
        [[], [], [], [], [Gap(2, 1), Data(1, b"cd")]],
        Counters(),
    ),
    "a hole that was acknowledged is given up by later data too": (
        [syn(), at(2, b"cd", 1), ack(4, 5), at(4, b"ef", 5 + S)],
        [[], [], [], [Gap(2, 1), Data(1, b"cd"), Data(5 + S, b"ef")]],
        Counters(),
    ),
    "a hole that was not acknowledged waits, for it must be sent again": (
        [syn(), at(2, b"cd", 1), ack(0, 5), at(4, b"ef", 5 + 50 * S), at(0, b"ab", 5 + 60 * S)],
        [[], [], [], [], [Data(5 + 60 * S, b"ab"), Data(1, b"cd"), Data(5 + 50 * S, b"ef")]],
        Counters(),
    ),
    "a hole acknowledged in part waits": (
        [syn(), at(4, b"ef", 1), ack(2, 5), ack(2, 5 + 9 * S), at(0, b"abcd", 6 + 9 * S)],
        [[], [], [], [], [Data(6 + 9 * S, b"abcd"), Data(1, b"ef")]],
        Counters(),
    ),
    "two holes with one wait": (
        [syn(), at(1, b"b", 1), at(3, b"d", 2), ack(2, 3), ack(4, 4), ack(4, 3 + S), ack(4, 4 + S)],
        [[], [], [], [], [], [Gap(1, 1), Data(1, b"b")], [Gap(1, 2), Data(2, b"d")]],
        Counters(),
    ),
    "bytes known only by their acknowledgement": (
        [syn(), at(0, b"ab", 1), ack(5, 2), ack(5, 2 + S), at(5, b"fg", 3 + S)],
        [[], [Data(1, b"ab")], [], [Gap(3, 2)], [Data(3 + S, b"fg")]],
        Counters(),
    ),
    "bytes known only by the number of a later bare ACK": (
        [syn(), at(12, b"", 1), end(9)],
        [[], [], [Gap(12, 1)]],
        Counters(),
    ),
    "one byte acknowledged may be a FIN": (
        [syn(), at(0, b"ab", 1), ack(3, 2), ack(3, 2 + 2 * S), end(9 * S)],
        [[], [Data(1, b"ab")], [], [], []],
        Counters(),
    ),
    "but not where the FIN is elsewhere": (
        [syn(), at(0, b"ab", 1), ack(3, 2), at(4, b"", 3, fin=True), end(9)],
        [[], [Data(1, b"ab")], [], [], [Gap(2, 3), Fin(3)]],
        Counters(),
    ),
    "a late segment": (
        [syn(), at(2, b"cd", 1), ack(4, 2), ack(4, 2 + S), at(0, b"ab", 3 + S), at(4, b"ef", 4 + S)],
        [[], [], [], [Gap(2, 1), Data(1, b"cd")], [], [Data(4 + S, b"ef")]],
        Counters(late=1, late_bytes=2),
    ),
    "a segment that is late in part, known in part, new in part": (
        [syn(), at(2, b"cd", 1), ack(4, 2), ack(4, 2 + S), at(1, b"bcdef", 3 + S)],
        [[], [], [], [Gap(2, 1), Data(1, b"cd")], [Data(3 + S, b"ef")]],
        Counters(late=1, late_bytes=1, retransmitted=1),
    ),
    "a tail that the snaplen cut": (
        [syn(), at(0, b"ab", 1, missing=3), at(5, b"fg", 2)],
        [[], [Data(1, b"ab"), Gap(3, 1)], [Data(2, b"fg")]],
        Counters(),
    ),
    "nothing but a cut tail": (
        [syn(), at(0, b"", 1, missing=3), at(3, b"d", 2)],
        [[], [Gap(3, 1)], [Data(2, b"d")]],
        Counters(),
    ),
    "a cut tail that waits, and another copy of it": (
        [syn(), at(2, b"c", 1, missing=4), at(4, b"ef", 2), at(0, b"ab", 3)],
        [[], [], [], [Data(3, b"ab"), Data(1, b"c"), Gap(1, 1), Data(2, b"ef"), Gap(1, 1)]],
        Counters(),
    ),
    "a cut tail where the bytes are there already": (
        [syn(), at(2, b"cd", 1), at(1, b"b", 2, missing=4), at(0, b"a", 3)],
        [[], [], [], [Data(3, b"a"), Data(2, b"b"), Data(1, b"cd"), Gap(2, 2)]],
        Counters(),
    ),
    "a cut tail below the next byte": (
        [syn(), at(0, b"abcdef", 1), at(0, b"ab", 2, missing=6), at(8, b"i", 3)],
        [[], [Data(1, b"abcdef")], [Gap(2, 2)], [Data(3, b"i")]],
        Counters(retransmitted=1),
    ),
    "keep-alives, with and without a byte": (
        [syn(), at(0, b"ab", 1), at(1, b"", 2), at(1, b"\0", 3), at(2, b"cd", 4)],
        [[], [Data(1, b"ab")], [], [], [Data(4, b"cd")]],
        Counters(keepalives=2),
    ),
    "a keep-alive before any data": (
        [syn(), at(-1, b"", 1), at(-1, b"\0", 2), at(0, b"ab", 3)],
        [[], [], [], [Data(3, b"ab")]],
        Counters(keepalives=2),
    ),
    "one byte sent again is no keep-alive": (
        [syn(), at(0, b"a", 1), at(0, b"a", 2), at(1, b"b", 3)],
        [[], [Data(1, b"a")], [], [Data(3, b"b")]],
        Counters(retransmitted=1),
    ),
    "a zero-window probe with the next byte": (
        [syn(), at(0, b"ab", 1), at(2, b"c", 2), at(2, b"c", 3), at(2, b"cd", 4)],
        [[], [Data(1, b"ab")], [Data(2, b"c")], [], [Data(4, b"d")]],
        Counters(retransmitted=2),
    ),
    "SYN with data": (
        [syn(1, b"ab"), at(2, b"cd", 2)],
        [[Data(1, b"ab")], [Data(2, b"cd")]],
        Counters(),
    ),
    "SYN with data, then both again": (
        [syn(1, b"ab"), syn(2, b"ab"), at(0, b"abcd", 3)],
        [[Data(1, b"ab")], [], [Data(3, b"cd")]],
        Counters(retransmitted=2),
    ),
    "SYN again": ([syn(), syn(1), at(0, b"a", 2)], [[], [], [Data(2, b"a")]], Counters()),
    "another SYN before any data": (
        [syn(isn=77), syn(1), at(0, b"a", 2)],
        [[], [], [Data(2, b"a")]],
        Counters(),
    ),
    "FIN with data": (
        [syn(), at(0, b"ab", 1, fin=True)],
        [[], [Data(1, b"ab"), Fin(1)]],
        Counters(),
    ),
    "FIN before its data, FIN again, ACKs of it": (
        [syn(), at(2, b"", 1, fin=True), at(2, b"", 2, fin=True), at(3, b"", 3), at(0, b"ab", 4), ack(3, 5)],
        [[], [], [], [], [Data(4, b"ab"), Fin(1)], []],
        Counters(),
    ),
    "bytes behind the FIN": (
        [syn(), at(0, b"ab", 1, fin=True), at(2, b"cd", 2), at(1, b"bcd", 3), end()],
        [[], [Data(1, b"ab"), Fin(1)], [], [], []],
        Counters(after_fin_bytes=4, retransmitted=1),
    ),
    "start in mid-stream": (
        [at(0, b"ab", 1), at(2, b"cd", 2)],
        [[Data(1, b"ab")], [Data(2, b"cd")]],
        Counters(),
    ),
    "start in mid-stream, with a bare ACK": (
        [at(0, b"", 1), at(0, b"ab", 2)],
        [[], [Data(2, b"ab")]],
        Counters(),
    ),
    "start in mid-stream, bytes lost after a bare ACK": (
        [at(0, b"", 1), at(3, b"de", 2), end()],
        [[], [], [Gap(3, 2), Data(2, b"de")]],
        Counters(),
    ),
    "start in mid-stream, with a keep-alive": (
        [at(-1, b"", 1), at(0, b"ab", 2), end()],
        [[], [Data(2, b"ab")], []],
        Counters(),
    ),
    "start in mid-stream, with a keep-alive that is answered": (
        [at(-1, b"", 1), ack(0, 2), at(3, b"de", 3), end()],
        [[], [], [], [Gap(3, 3), Data(3, b"de")]],
        Counters(),
    ),
    "start in mid-stream, older data after a bare ACK": (
        [at(2, b"", 1), at(0, b"ab", 2), at(2, b"cd", 3)],
        [[], [Data(2, b"ab")], [Data(3, b"cd")]],
        Counters(),
    ),
    "start in mid-stream, older data after newer": (
        [at(2, b"cd", 1), at(0, b"ab", 2), at(4, b"ef", 3)],
        [[Data(1, b"cd")], [], [Data(3, b"ef")]],
        Counters(early_bytes=2),
    ),
    "start in mid-stream, with a bare ACK and a keep-alive with a byte": (
        [at(0, b"", 1), at(-1, b"\0", 2), at(0, b"ab", 3)],
        [[], [], [Data(3, b"ab")]],
        Counters(keepalives=1),
    ),
    "a FIN in the midst of what was captured": (
        [syn(), at(0, b"abcd", 1), at(2, b"", 2, fin=True), at(4, b"ef", 3)],
        [[], [Data(1, b"abcd")], [], [Data(3, b"ef")]],
        Counters(),
    ),
    "one late byte, just below the next, is no keep-alive": (
        [syn(), at(0, b"ab", 1), ack(5, 2), ack(5, 2 + S), at(4, b"e", 3 + S), at(5, b"f", 4 + S)],
        [[], [Data(1, b"ab")], [], [Gap(3, 2)], [], [Data(4 + S, b"f")]],
        Counters(late=1, late_bytes=1),
    ),
    "a SYN captured after its data": (
        [at(0, b"ab", 1), syn(2), at(2, b"cd", 3)],
        [[Data(1, b"ab")], [], [Data(3, b"cd")]],
        Counters(),
    ),
    "a segment far away": (
        [syn(), at(0, b"ab", 1), at(10 + WINDOW, b"X", 2), at(2, b"cd", 3), end()],
        [[], [Data(1, b"ab")], [], [Data(3, b"cd")], []],
        Counters(outside=1),
    ),
    "two far away that do not follow each other": (
        [syn(), at(0, b"ab", 1), at(10 + WINDOW, b"X", 2), at(50 + WINDOW, b"X", 3), end()],
        [[], [Data(1, b"ab")], [], [], []],
        Counters(outside=2),
    ),
    "two far away that follow each other": (
        [syn(), at(0, b"ab", 1), at(2 + 2 * WINDOW, b"xx", 2), at(4 + 2 * WINDOW, b"yy", 3), end()],
        [[], [Data(1, b"ab")], [], [], [Gap(2 * WINDOW, 2), Data(2, b"xx"), Data(3, b"yy")]],
        Counters(),
    ),
    "a wild acknowledgement": (
        [syn(), at(0, b"ab", 1), ack(10 + WINDOW, 2), ack(10 + WINDOW, 2 + 2 * S), end()],
        [[], [Data(1, b"ab")], [], [], []],
        Counters(),
    ),
    "nothing at all": ([end()], [[]], Counters()),
    "acknowledged before anything was seen": ([ack(5), end()], [[], []], Counters()),
    "silent": ([syn(), ack(0), end()], [[], [], []], Counters()),
}


@pytest.mark.parametrize("name", TABLE)
def test_in_and_out(name: str) -> None:
    steps, wanted, counters = TABLE[name]
    direction = Direction()
    assert [step(direction) for step in steps] == wanted
    for field in fields(Counters):
        assert (field.name, getattr(direction.counters, field.name)) == (
            field.name,
            getattr(counters, field.name),
        )


def test_the_stream_knows_itself() -> None:
    assert Direction().first_seq is None
    assert Direction().near(12345)
    direction = Direction()
    direction.push(segment(ISN, flags=SYN))
    assert direction.isn == ISN
    direction.push(segment(ISN + 1, b"abcdefgh"))
    assert direction.position == 8
    assert direction.first_seq == ISN + 1
    assert direction.near(ISN + 1)
    assert not direction.near(ISN + 9 + 2 * WINDOW)
    direction.push(segment(ISN + 9, flags=FIN, time_ns=7))
    assert direction.ended
    assert direction.fin_ns == 7


def test_a_hint_makes_a_loss_at_the_very_beginning_visible() -> None:
    direction = Direction()
    direction.expect(100)
    assert direction.push(segment(112, b"next", time_ns=5)) == []
    assert direction.finish(9) == [Gap(12, 5), Data(5, b"next")]


def test_a_hint_that_was_too_high_gives_way() -> None:
    direction = Direction()
    direction.expect(112)
    assert direction.push(segment(100, b"RFB 003.008\n")) == [Data(0, b"RFB 003.008\n")]


def test_an_acknowledgement_keeps_its_place_where_a_hint_gives_way() -> None:
    direction = Direction()
    direction.expect(112)
    assert direction.acked(120, 1) == []
    assert direction.push(segment(100, b"RFB 003.008\n", time_ns=2)) == [Data(2, b"RFB 003.008\n")]
    assert direction.acked(120, 1 + GAP_NS) == [Gap(8, 1)]


# -- memory is bounded


def test_without_acks_much_behind_a_hole_gives_it_up_by_bytes() -> None:
    direction = Direction()
    direction.push(segment(0, flags=SYN))
    chunk = bytes(60_000)
    items: list[Item] = []
    at = 10
    while not items:
        assert at < HELD_BYTES + 200_000
        items = direction.push(segment(1 + at, chunk, time_ns=at))
        at += len(chunk)
    assert items[0] == Gap(10, 10)
    assert at - 10 > HELD_BYTES
    assert direction.position == at


def test_without_acks_much_behind_a_hole_gives_it_up_by_segments() -> None:
    direction = Direction()
    direction.push(segment(0, flags=SYN))
    for count in range(HELD_SEGMENTS):
        assert direction.push(segment(2 + count, b"x")) == []
    assert direction.push(segment(2 + HELD_SEGMENTS, b"x"))[0] == Gap(1, 0)


def test_where_acks_are_captured_more_may_wait_but_not_without_end() -> None:
    direction = Direction()
    direction.push(segment(0, flags=SYN))
    direction.acked(1, 0)
    chunk = bytes(60_000)
    items: list[Item] = []
    at = 10
    while not items:
        assert at < HARD_BYTES + 200_000
        items = direction.push(segment(1 + at, chunk))
        at += len(chunk)
    assert items[0] == Gap(10, 0)
    assert at > HARD_BYTES


def test_many_acks_over_a_hole_take_no_memory_and_give_nothing_up_early() -> None:
    direction = Direction()
    direction.push(segment(0, flags=SYN))
    for count in range(5000):
        assert direction.push(segment(2 + 2 * count, b"xy", time_ns=count)) == [] or count >= HELD_SEGMENTS
        direction.acked(2 + 2 * count, count)
    assert len(direction._ack_at) <= 256
    direction.acked(2 + 2 * 5000, 3 * S)
    direction.finish(9 * S)
    assert direction._ack_at == direction._ack_ns == []
    assert len(direction._held) <= HELD_SEGMENTS + 1


# -- any order, any cuts, any copies


def played(
    isn: int, segments: list[Segment], *, fin: bool = False
) -> tuple[dict[int, tuple[int, int]], list[Item], Direction]:
    """Push all; gives offset -> (byte, time) of what came out, the items, and the direction."""
    direction = Direction()
    items = direction.push(segment(isn, flags=SYN))
    for one in segments:
        items += direction.push(one)
    items += direction.finish(10**6)
    out: dict[int, tuple[int, int]] = {}
    at = 0
    for item in items:
        if isinstance(item, Data):
            assert item.data
            for byte in item.data:
                out[at] = (byte, item.time_ns)
                at += 1
        elif isinstance(item, Gap):
            assert item.size > 0
            at += item.size
    assert at == direction.position
    return out, items, direction


@st.composite
def disorder(draw: st.DrawFn) -> tuple[int, bytes, list[tuple[int, int, int]], bool]:
    """ISN, stream, pieces (start, end, end of what was captured) in the order of capture, and a FIN."""
    isn = draw(st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32 - 20, 2**32 - 60]))
    stream = bytes(range(draw(st.integers(1, 90))))
    size = len(stream)
    cuts = sorted(draw(st.sets(st.integers(1, size), max_size=12)) | {0, size})
    pieces = list(pairwise(cuts))
    spans = st.tuples(st.integers(0, size), st.integers(0, size)).map(lambda p: (min(p), max(p)))
    pieces += draw(st.lists(spans, max_size=6))
    pieces = draw(st.permutations(pieces))
    dropped = draw(st.sets(st.integers(0, len(pieces)), max_size=4))
    kept = [piece for number, piece in enumerate(pieces) if number not in dropped]
    return isn, stream, [(start, stop, stop) for start, stop in kept], draw(st.booleans())


@given(disorder())
def test_bytes_come_out_once_in_order_and_gaps_are_where_bytes_are_missing(
    case: tuple[int, bytes, list[tuple[int, int, int]], bool],
) -> None:
    isn, stream, pieces, fin = case
    first: dict[int, int] = {}
    segments = []
    for time, (start, stop, _kept) in enumerate(pieces):
        segments.append(segment(isn + 1 + start, stream[start:stop], time_ns=time))
        for offset in range(start, stop):
            first.setdefault(offset, time)
    if fin:
        segments.insert(len(segments) // 2, segment(isn + 1 + len(stream), flags=FIN | ACK, time_ns=77))
    out, items, direction = played(isn, segments)
    assert out == {offset: (stream[offset], time) for offset, time in first.items()}
    if fin:
        assert direction.position == len(stream)
        assert items[-1] == Fin(77)
        assert sum(isinstance(item, Fin) for item in items) == 1
    elif first:
        assert direction.position >= max(first) + 1
    assert direction.counters.conflicting_bytes == 0
    assert direction.counters.late == 0
    assert direction.counters.outside == 0


@given(disorder(), st.data())
def test_acknowledgements_within_a_second_change_nothing(
    case: tuple[int, bytes, list[tuple[int, int, int]], bool], data: st.DataObject
) -> None:
    isn, stream, pieces, _fin = case
    segments = [segment(isn + 1 + a, stream[a:b], time_ns=time) for time, (a, b, _kept) in enumerate(pieces)]
    plain = played(isn, segments)[0]
    direction = Direction()
    items = direction.push(segment(isn, flags=SYN))
    for one in segments:
        items += direction.push(one)
        items += direction.acked((isn + 1 + data.draw(st.integers(0, len(stream)))) % 2**32, one.time_ns)
    items += direction.finish(10**6)
    got = b"".join(item.data for item in items if isinstance(item, Data))
    assert got == bytes(byte for _offset, (byte, _time) in sorted(plain.items()))


@given(disorder(), st.lists(st.integers(0, 20), max_size=30))
def test_with_cut_tails_nothing_is_invented(
    case: tuple[int, bytes, list[tuple[int, int, int]], bool], cuts: list[int]
) -> None:
    isn, stream, pieces, _fin = case
    cuts = cuts + [0] * len(pieces)
    captured: set[int] = set()
    sent: set[int] = set()
    segments = []
    for time, ((start, stop, _kept), cut) in enumerate(zip(pieces, cuts, strict=False)):
        kept = max(start, stop - cut)
        captured |= set(range(start, kept))
        sent |= set(range(start, stop))
        segments.append(segment(isn + 1 + start, stream[start:kept], missing=stop - kept, time_ns=time))
    out, items, direction = played(isn, segments)
    assert all(stream[offset] == byte for offset, (byte, _time) in out.items())
    assert set(out) <= captured
    # What was captured and is not there came after its gap had been told, and is counted.
    assert len(captured - set(out)) <= direction.counters.late_bytes
    assert direction.position >= max(sent, default=-1) + 1 or not sent
    assert items == [item for item in items if not isinstance(item, Fin)]


@given(
    st.lists(
        st.one_of(
            st.builds(
                segment,
                st.integers(0, 2**32 - 1),
                st.binary(max_size=8),
                flags=st.sampled_from([ACK, SYN, FIN | ACK, SYN | FIN]),
                time_ns=st.integers(0, 5 * S),
                missing=st.sampled_from([0, 0, 3]),
            ),
            st.builds(
                segment,
                st.integers(0, 40),
                st.binary(max_size=8),
                flags=st.sampled_from([ACK, ACK, SYN, FIN | ACK]),
                time_ns=st.integers(0, 5 * S),
                missing=st.sampled_from([0, 0, 3]),
            ),
            st.integers(0, 60),
        ),
        max_size=30,
    )
)
def test_any_segments_give_items_and_the_books_balance(moves: list[Segment | int]) -> None:
    direction = Direction()
    items: list[Item] = []
    for move in moves:
        items += direction.acked(move, 3 * S) if isinstance(move, int) else direction.push(move)
    items += direction.finish(9 * S)
    told = sum(
        len(item.data) if isinstance(item, Data) else item.size if isinstance(item, Gap) else 0
        for item in items
    )
    assert told == direction.position
    fins = [number for number, item in enumerate(items) if isinstance(item, Fin)]
    assert fins in ([], [len(items) - 1])
    assert direction._held == []
    assert direction._held_bytes == 0


def test_what_all_streams_hold_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone may hold back more; together they give up the holes of those that are to hold yet more."""
    monkeypatch.setattr(reassembly, "HELD_BY_ALL", 10_000)
    pool = Pool()
    streams = [Direction(pool=pool) for _ in range(20)]
    found: list[list[Item]] = [[] for _ in streams]
    for number, stream in enumerate(streams):
        found[number] += syn()(stream)
        found[number] += at(0, b"a")(stream)
        for piece in range(10):
            found[number] += at(10 + 100 * piece, bytes(100))(stream)
            assert pool.held <= 10_000
    sizes = [sum(len(one.data) for one in items if isinstance(one, Data)) for items in found]
    assert sizes[:10] == [1] * 10
    assert sizes[11:] == [1001] * 9
    for stream, items in zip(streams, found, strict=True):
        items += stream.finish(0)
        assert sum(one.size for one in items if isinstance(one, Gap)) == 9
    assert pool.held == 0
