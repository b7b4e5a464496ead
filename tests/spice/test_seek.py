# SPDX-License-Identifier: GPL-2.0-or-later
"""After a gap that hides where a message begins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.spice import seek
from dissect.spice.channels.base import SpiceMessage
from dissect.spice.session import SpiceSession
from dissect.stream.layout import Buffer
from tests.benchmarks.damage import (
    PCAPS,
    Damage,
    changes,
    conversations,
    cut,
    damage,
    messages,
    normal_phase,
    overwrite,
    play,
)
from tests.spice.examples import INIT, data, linked, u16, u32, u64, words
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


def sized(said: bytes, size: int, *, mini: bool = True) -> bytes:
    """The same message with another size in its header."""
    at = 2 if mini else 10
    return said[:at] + u32(size) + said[at + 4 :]


@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize("size", [0, 9, 40, 100, 5000, 100_000, (1 << 27) - 1])
@pytest.mark.parametrize("pieces", [7, 1 << 20])
def test_a_wrong_size_costs_that_message_only(size: int, mini: bool, pieces: int) -> None:
    it = after(mini=mini)
    wrong = sized(data(103, INIT, mini=mini, serial=4), size, mini=mini)
    said = wrong + b"".join(row(mini=mini, first=5 + 4 * n) for n in range(5))
    told = [line for at in range(0, len(said), pieces) for line in it.server(said[at : at + pieces])]
    told += it.over()
    assert [line for line in told if "wrong at" not in line][-20:] == NAMES * 5
    assert sum("wrong at" in line for line in told) == 1


def test_a_body_that_is_whole_where_the_next_message_begins_is_read() -> None:
    it = after()
    told = it.server(sized(data(104, u32(1) + b"\2\0"), 70_000), row()) + it.over()
    head = "server SPICE_MSG_MAIN_CHANNELS_LIST"
    assert told == [
        head,
        f"{head} wrong at 208: size 70000 cannot be: a message begins after 6 bytes",
        *NAMES,
    ]
    assert it.last("SPICE_MSG_MAIN_CHANNELS_LIST")["num_of_channels"] == 1


@pytest.mark.parametrize("size", [20, 5000, 1 << 26])
def test_a_number_that_nobody_defined_swallows_nothing(size: int) -> None:
    it = after()
    told = it.server(sized(data(40_000, b"?" * 20), size), row(), row())
    told += it.over()
    assert told[-8:] == NAMES * 2
    assert "40000" in told[1 if size == 20 else 0]


def test_messages_that_nobody_defined_in_a_row_are_framed() -> None:
    it = after()
    told = it.server(data(900, b"?"), data(901, b"??"), data(902, b""), row())
    assert [line for line in told if "wrong at" not in line][3:] == NAMES
    assert "message 902 of channel main" in told[4]
    assert it.over() == []


def test_what_follows_a_message_that_never_comes_whole_is_read() -> None:
    it = after()
    told = it.server(sized(data(4, u32(1) + u64(2) + b"!" * 9), 200_000), row())
    assert told == []
    told = it.over()
    assert told[1].endswith("size 200000 cannot be: a message begins after 21 bytes")
    assert [told[0], *told[2:]] == ["server SPICE_MSG_PING", *NAMES]


def test_messages_inside_a_long_one_are_its_own() -> None:
    """A device's bytes may hold a whole session."""
    it = after(channel=10)
    piece = data(101, b"x") * 9 + data(1, u32(0))
    inside = data(101, bytes(12) + bytes(5000) + piece * 9)
    assert it.server(inside) == []  # until it is seen that a header is behind it
    assert it.server(data(101, b"y")) == ["server SPICE_MSG_SPICEVMC_DATA"] * 2
    it.server(inside[:-5])
    assert it.lose(SERVER, 5)[0] == "server gap 5"


def test_what_is_read_in_vain_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers of long lists one behind the other: each place might be a boundary, and none is."""
    spent = 0
    reads = seek.reads

    def counted(cls: type[SpiceMessage] | None, said: Buffer, at: int, end: int) -> bool:
        nonlocal spent
        spent += end - at
        return reads(cls, said, at, end)

    monkeypatch.setattr(seek, "reads", counted)
    monkeypatch.setattr(seek, "FREELY", 1 << 17)
    it = after(channel=2)
    it.lose(SERVER, 10)
    many = (u16(105) + u32(200_000) + u16(22_000)) * 40_000
    it.server(many)
    assert seek.FREELY < spent < seek.FREELY + 2 * len(many)
    it.over()


@settings(max_examples=40)
@given(st.data(), st.integers(0, 1 << 17), st.booleans())
def test_wrong_sizes_are_seen_however_the_bytes_are_cut(draw: st.DataObject, size: int, mini: bool) -> None:
    wrong = sized(data(draw.draw(st.sampled_from([4, 103, 104, 107, 900])), INIT, mini=mini), size, mini=mini)
    said = row(mini=mini) + wrong + row(mini=mini) + wrong + row(mini=mini)
    events: list[Event] = [*linked(mini=mini), (SERVER, said), (SERVER, 5), (SERVER, wrong + row(mini=mini))]
    hold(SpiceSession, events, draw.draw(recut(events)))


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


@pytest.mark.parametrize(
    ("name", "count", "step"),
    [("spicy--xspice-glz.pcapng.xz", None, 23), ("spicy--qemu-spice-devices.pcapng", 4, 13)],
)
def test_overwritten_bytes_of_a_real_session(name: str, count: int | None, step: int) -> None:
    """Sizes, or any bytes: what was not touched is read, and hardly anything that was not said."""
    found: list[Damage] = []
    for conversation in conversations(PCAPS / name):
        said = cut(conversation)
        whole = messages(play(SpiceSession, said))
        found += [
            overwrite(SpiceSession, said, change, whole)
            for change in changes(SpiceSession, said, count, step)
        ]
    total = Damage(*(sum(values) for values in zip(*(vars(one).values() for one in found), strict=True)))
    assert total.invented <= len(found) / 10
    assert total.recovered / total.remaining > 0.98
