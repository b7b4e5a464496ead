# SPDX-License-Identifier: GPL-2.0-or-later
"""After a gap that hides where a message begins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.spice import seek
from dissect.spice.session import SpiceSession
from tests.benchmarks.damage import PCAPS, Damage, conversations, cut, damage, messages, normal_phase, play
from tests.spice.examples import INIT, data, linked, u32, u64, words
from tests.spice.test_link import after
from tests.stream.properties import hold, recut
from tests.stream.talk import SERVER, Event

SET_ACK = words(1, 20)
NEXT = [(103, INIT), (3, SET_ACK), (4, u32(1) + u64(2) + b"xyz"), (105, b"\3\0\2\0")]


def row(*, mini: bool = True, first: int = 5) -> bytes:
    """Four messages, one behind the other."""
    said = [data(n, body, mini=mini, serial=first + index) for index, (n, body) in enumerate(NEXT)]
    return b"".join(said)


NAMES = [
    "server SPICE_MSG_MAIN_INIT",
    "server SPICE_MSG_SET_ACK",
    "server SPICE_MSG_PING",
    "server SPICE_MSG_MAIN_MOUSE_MODE",
]


@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize("before", [b"", b"left over of a message"])
def test_the_next_message_is_found(mini: bool, before: bytes) -> None:
    it = after(mini=mini)
    assert it.lose(SERVER, 10) == ["server gap 10"]
    told = it.server(before + row(mini=mini))
    passed = "server NotDecoded (not decoded: follows a gap of 10 bytes, and no message begins here)"
    assert told == ([passed] if before else []) + NAMES
    assert it.server(data(3, SET_ACK, mini=mini)) == ["server SPICE_MSG_SET_ACK"]
    assert it.over() == []


@pytest.mark.parametrize("mini", [True, False])
def test_a_gap_in_a_header(mini: bool) -> None:
    it = after(mini=mini)
    it.server(data(3, SET_ACK, mini=mini)[:3])
    it.lose(SERVER, 4)
    assert it.server(data(3, SET_ACK, mini=mini)[7:] + row(mini=mini))[-4:] == NAMES
    assert it.over() == []


def test_fewer_messages_count_only_up_to_the_end() -> None:
    it = after()
    it.lose(SERVER, 10)
    assert it.server(data(103, INIT), data(3, SET_ACK)) == []
    assert it.over() == NAMES[:2]


@pytest.mark.parametrize(
    "said",
    [
        data(103, INIT),
        data(107, b"") * 3,
        data(103, INIT) + data(3, SET_ACK)[:-1],
        data(103, INIT) + data(3, SET_ACK) + b"?",
        data(103, INIT[:-1]) + data(3, SET_ACK),
        bytes(100),
        b"\2",
    ],
)
def test_nothing_is_invented(said: bytes) -> None:
    it = after()
    it.lose(SERVER, 10)
    it.server(said)
    (told,) = it.over()
    assert told == "server NotDecoded (not decoded: follows a gap of 10 bytes, and no message begins here)"


def test_a_long_message_of_anything_is_not_believed_for_where_it_leads() -> None:
    """Bytes of a lost message that look like a header whose size leads to the beginning of another."""
    it = after()
    it.lose(SERVER, 10)
    told = it.server(data(2, bytes(seek.ANYTHING_LIMIT + 1)), row())
    assert [line.split(" (")[0] for line in told] == ["server NotDecoded", *NAMES]
    assert it.over() == []


def test_serial_numbers_must_ascend() -> None:
    it = after(mini=False)
    it.lose(SERVER, 10)
    it.server(data(103, INIT, mini=False, serial=5) + data(3, SET_ACK, mini=False, serial=9))
    assert len(it.over()) == 1


def test_another_gap_while_seeking() -> None:
    it = after()
    it.lose(SERVER, 10)
    it.server(b"??")
    told = it.lose(SERVER, 5)
    assert told[0].endswith("follows a gap of 10 bytes, and no message begins here)")
    assert it.server(row()) == NAMES
    assert it.over() == []


def test_what_is_kept_has_a_limit() -> None:
    it = after()
    it.lose(SERVER, 10)
    told = it.server(bytes(seek.WINDOW + 100), row())
    assert [line.split(" (")[0] for line in told] == ["server NotDecoded"] * 2 + NAMES
    assert it.over() == []


@settings(max_examples=60)
@given(st.data(), st.binary(max_size=40), st.integers(1, 30), st.booleans())
def test_the_pieces_change_nothing(draw: st.DataObject, before: bytes, lost: int, mini: bool) -> None:
    events: list[Event] = [*linked(mini=mini), (SERVER, lost), (SERVER, before + row(mini=mini) + before)]
    hold(SpiceSession, events, draw.draw(recut(events)))


@pytest.mark.parametrize(
    ("name", "step"), [("spicy--xspice-glz.pcapng.xz", 31), ("spicy--qemu-spice-devices.pcapng", 13)]
)
def test_a_lost_segment_of_a_real_session(name: str, step: int) -> None:
    """Any segment behind the link: nearly all of the rest is read, and nothing that was not said."""
    found: list[Damage] = []
    for conversation in conversations(PCAPS / name):
        said = cut(conversation)
        whole = messages(play(SpiceSession, said))
        places = range(normal_phase(SpiceSession, said), len(said), step)
        found += [damage(SpiceSession, said, lost, whole) for lost in places]
    total = Damage(*(sum(values) for values in zip(*(vars(one).values() for one in found), strict=True)))
    assert (total.invented, total.violations) == (0, 0)
    assert total.recovered / total.remaining > 0.98
