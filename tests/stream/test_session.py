# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine, with a protocol of four messages: a greeting each way, then sized messages of either side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.stream import Side
from dissect.stream.fields import ByteField, FieldLenField, IntField, StrLenField
from dissect.stream.layout import ProtocolPacket
from dissect.stream.records import HEAD_BYTES, Message
from dissect.stream.session import (
    Flow,
    Framed,
    Limits,
    LocalProtocolError,
    NotRead,
    Reading,
    Session,
    State,
    Want,
    Wrong,
    one,
    reads,
)
from tests.stream.properties import any_events, hold, recut
from tests.stream.talk import CLIENT, SERVER, Talk, play, words


class Hello(ProtocolPacket):
    name = "Hello"
    fields_desc: ClassVar[list[Any]] = [ByteField("kind", 0)]


class Sized(ProtocolPacket):
    name = "Sized"
    fields_desc: ClassVar[list[Any]] = [
        FieldLenField("size", None, length_of="body", fmt="H"),
        StrLenField("body", b"", length_from=lambda p: p.size),
        IntField("check", 0),
    ]


class Plain(ProtocolPacket):
    name = "Plain"
    fields_desc: ClassVar[list[Any]] = [IntField("number", 0)]


@reads()
def _any(session: Toy, flow: Flow) -> Reading:
    match flow.buffer[0]:
        case 0:
            return (yield from flow.packet(Sized))
        case 1:
            return (yield from flow.packet(Plain))
        case 2:
            raise NotRead("the reason")
        case 3:
            buffer = yield from flow.need(3)
            raise Wrong("a three", 2, "Three") if buffer[1] else Wrong("a three", 1)
        case 4:
            yield Want(1 << 20, "Endless")
            raise AssertionError("over the limit")
        case 5:
            # Ends with the side.
            while not flow.ended:
                yield Want(len(flow.buffer) + 1, "Rest")
            return Framed("Rest", len(flow.buffer), (), "not decoded: the rest")
        case number:
            return Framed(f"Number {number}", 1, violations=((0, "odd"),) if number & 1 else ())


class Toy(Session):
    protocol: ClassVar[str] = "toy"
    start: ClassVar[str] = "hello"
    table: ClassVar[Mapping[str, State]] = {
        "hello": State(
            server=one(Hello),
            client=one(Hello),
            then=lambda session: "talk" if session.done(SERVER) and session.done(CLIENT) else None,
        ),
        "talk": State(server=_any, client=_any, stays=True),
    }

    def __init__(self, role: Side | None = None, limits: Limits | None = None) -> None:
        super().__init__(role, limits or Limits(waiting=100, message=4096))
        self.seen: list[str] = []
        self.missing: list[str] = []

    def observe(self, message: Message) -> None:
        self.seen.append(message.name)

    def missed(self, side: Side, name: str) -> None:
        self.missing.append(f"{side} {name}")


class Patient(Toy):
    """Reads on after any gap."""

    def after_gap(self, flow: Flow, size: int, now: int) -> str | None:
        return None


SIZED = b"\0\5hello\0\0\0\7"
PLAIN = b"\1\2\3\4"


def talking(session: Toy | None = None) -> Talk:
    it = Talk(session or Toy())
    assert it.server(b"\0") == ["server Hello"]
    assert it.client(b"\0") == ["client Hello"]
    return it


def test_messages_may_come_in_one_piece_or_in_many() -> None:
    it = talking()
    assert it.client(SIZED, PLAIN, SIZED) == ["client Sized", "client Plain", "client Sized"]
    assert [line for byte in SIZED + PLAIN for line in it.server(bytes([byte]))] == [
        "server Sized",
        "server Plain",
    ]
    assert it.over() == []
    assert isinstance(it.session, Toy)
    assert it.session.seen.count("Sized") == 3


def test_times_are_those_of_the_first_and_the_last_byte() -> None:
    session = Toy()
    play(session, [(SERVER, b"\0"), (CLIENT, b"\0")], end=False)
    session.feed(CLIENT, SIZED[:3], 100)
    session.feed(CLIENT, SIZED[3:7], 90)
    (sized,) = session.feed(CLIENT, SIZED[7:] + PLAIN[:1], 200)
    assert isinstance(sized, Message)
    assert (sized.first_ns, sized.last_ns) == (100, 200)
    (plain,) = session.feed(CLIENT, PLAIN[1:], 150)
    assert isinstance(plain, Message)
    assert (plain.first_ns, plain.last_ns) == (200, 200), "the later of two bytes may have come first"


def test_a_side_out_of_turn_waits_and_then_is_read_first() -> None:
    it = Talk(Toy())
    assert it.client(b"\0", PLAIN) == ["client Hello"]
    assert it.server(b"\0", PLAIN) == ["server Hello", "client Plain", "server Plain"]


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_what_waits_is_limited(size: int) -> None:
    it = Talk(Toy())
    for _ in range(0, 1000, size):
        it.client(b"\0" * size)
    assert it.server(b"\0") == ["server Hello"]
    assert it.session.lost(CLIENT)
    why = "more than 100 bytes sent in state 'hello', in which it is not the client's turn"
    assert it.over() == [f"client NotDecoded (not decoded: {why})"]


def test_a_message_over_the_limit_is_refused_before_it_is_there() -> None:
    it = talking()
    assert it.client(b"\4") == [
        "client Endless wrong at 1: a message of 1048576 bytes is over the limit of 4096"
    ]
    assert it.over() == ["client NotDecoded (not decoded: follows a violation at byte 1)"]


def test_a_violation_ends_that_side_only() -> None:
    it = talking()
    assert it.client(PLAIN, b"\3\1") == ["client Plain"]
    assert it.client(b"x") == ["client Three wrong at 7: a three"]
    assert it.server(PLAIN) == ["server Plain"]
    it.client(PLAIN * 100)
    assert it.over() == ["client NotDecoded (not decoded: follows a violation at byte 7)"]
    lost = it.records[-1]
    assert isinstance(lost, Message)
    assert (lost.offset, lost.size, len(lost.raw)) == (5, 403, HEAD_BYTES)


def test_a_violation_inside_a_message_does_not_end_anything() -> None:
    it = Talk(Toy())
    it.server(b"\0")
    it.client(b"\0", b"\7\6\7")
    assert [words(r) for r in it.records[-5:]] == [
        "client Number 7",
        "client Number 7 wrong at 1: odd",
        "client Number 6",
        "client Number 7",
        "client Number 7 wrong at 3: odd",
    ]


def test_what_is_not_read_says_why_once() -> None:
    it = talking()
    it.client(b"\2")
    it.client(PLAIN)
    assert it.session.lost(CLIENT) == "the reason"
    assert it.over() == ["client NotDecoded (not decoded: the reason)"]


def test_a_reader_may_wait_for_the_end() -> None:
    it = talking()
    it.client(b"\5abc")
    assert it.client(b"def") == []
    assert it.over() == ["client Rest (not decoded: the rest)"]


# --- gaps


@pytest.mark.parametrize("have", range(2, 11))
def test_a_gap_inside_a_message_of_known_size(have: int) -> None:
    it = talking()
    assert it.client(SIZED[:have]) == []
    assert it.lose(CLIENT, 1) == ["client gap 1"] + (
        ["client Sized (not decoded: 1 of its 11 bytes are not there)"] if have == 10 else []
    )
    it.client(SIZED[have + 1 :], PLAIN)
    assert [words(r) for r in it.records[-2:]] == [
        "client Sized (not decoded: 1 of its 11 bytes are not there)",
        "client Plain",
    ]
    assert isinstance(it.session, Toy)
    assert it.session.missing == ["client Sized"]
    assert it.over() == []


@pytest.mark.parametrize(("have", "size"), [(0, 1), (1, 1), (2, 10), (11, 3)])
def test_a_gap_elsewhere_loses_the_place(have: int, size: int) -> None:
    it = talking()
    it.client(SIZED[:have])
    assert it.lose(CLIENT, size)[-1] == f"client gap {size}"
    assert it.client(PLAIN) == []
    assert it.over()[-1] == f"client NotDecoded (not decoded: follows a gap of {size} bytes)"


def test_a_protocol_may_find_its_place_again() -> None:
    it = talking(Patient())
    it.client(SIZED[:1])
    assert it.lose(CLIENT, 10) == [
        "client Sized (not decoded: incomplete: 1 of at least 6 bytes)",
        "client gap 10",
    ]
    assert it.client(PLAIN) == ["client Plain"]
    assert it.over() == []


def test_a_gap_of_nothing_is_none() -> None:
    it = talking()
    assert it.session.gap(CLIENT, 0, 0) == []
    assert it.session.gap(CLIENT, -3, 0) == []
    assert it.client(PLAIN) == ["client Plain"]


def test_gaps_one_after_another() -> None:
    it = talking()
    it.lose(SERVER, 5)
    it.lose(SERVER, 6)
    it.server(b"x")
    it.lose(SERVER, 7)
    assert [words(r) for r in it.records[2:]] == [
        "server gap 5",
        "server gap 6",
        "server NotDecoded (not decoded: follows a gap of 5 bytes)",
        "server gap 7",
    ]
    assert it.over() == []


# --- sending


def test_a_refused_send_changes_nothing() -> None:
    session = Toy(role=CLIENT)
    with pytest.raises(LocalProtocolError, match="it would be read as Hello"):
        session.send(Plain(), 0)
    assert session.send(Hello(), 0) == b"\0"
    with pytest.raises(LocalProtocolError, match="Plain cannot be sent in state 'hello'"):
        session.send(Plain(), 0)
    session.feed(SERVER, b"\0", 0)
    with pytest.raises(LocalProtocolError, match="Plain cannot be sent in state 'talk': the reason"):
        session.send(Plain(number=2 << 24), 0)
    with pytest.raises(LocalProtocolError, match="is not whole"):
        session.send(Sized(size=9, body=b"x"), 0)
    assert session.send(Plain(number=1 << 24), 0) == b"\1\0\0\0"
    assert session.seen == ["Hello", "Hello", "Plain"]
    assert [words(record) for record in session.completed] == ["client Plain"]


def test_after_its_end_a_side_sends_nothing() -> None:
    session = Toy(role=CLIENT)
    session.end(CLIENT, 0)
    with pytest.raises(LocalProtocolError, match="its stream has ended"):
        session.send(Hello(), 0)


def test_who_may_speak() -> None:
    session = Toy()
    assert session.awaits(CLIENT)
    session.feed(CLIENT, b"\0", 0)
    assert not session.awaits(CLIENT)
    assert session.awaits(SERVER)


# --- properties


@pytest.mark.parametrize("new", [Toy, Patient])
@settings(max_examples=150)
@given(st.data())
def test_any_bytes(new: type[Toy], data: st.DataObject) -> None:
    few = st.sampled_from(
        [b"\0", b"\0\0", b"\0\1", SIZED, PLAIN, SIZED[:5], SIZED[5:], b"\5", b"\7", b"\3\0x"]
    )
    whole = st.tuples(st.sampled_from(list(Side)), few)
    events = data.draw(st.one_of(any_events(10), st.lists(whole, max_size=10)))
    more = data.draw(any_events(5))
    hold(new, events + more, data.draw(recut(events + more)))
