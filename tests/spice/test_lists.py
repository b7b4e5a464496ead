# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of sub-messages, behind a body and as a message of their own."""

from __future__ import annotations

import pytest

from tests.spice.examples import INIT, data, u16, u32, u64, words
from tests.spice.test_link import after
from tests.stream.talk import Talk

SET_ACK = u16(3) + u32(8) + words(1, 20)
PING = u16(4) + u32(13) + u32(1) + u64(2) + b"x"


def behind_init(subs: bytes, *offsets: int) -> bytes:
    """MAIN_INIT, then sub-messages, then the list of where they are (offsets from the end of MAIN_INIT)."""
    listed = u16(len(offsets)) + words(*(32 + offset for offset in offsets))
    return data(103, INIT + subs + listed, mini=False, sub_list=32 + len(subs))


def names(it: Talk, name: str) -> list[str]:
    return [sub["name"] for sub in it.last(name).fields()["listed_messages"]]


def test_behind_a_body() -> None:
    it = after(mini=False)
    told = it.server(behind_init(SET_ACK + PING, 0, len(SET_ACK)))
    assert told == ["server SPICE_MSG_MAIN_INIT"]
    assert names(it, "SPICE_MSG_MAIN_INIT") == ["SPICE_MSG_SET_ACK", "SPICE_MSG_PING"]
    fields = it.last("SPICE_MSG_MAIN_INIT").fields()
    assert fields["session_id"] == 4711
    assert fields["listed_messages"][0]["window"] == 20
    assert it.over() == []


@pytest.mark.parametrize("mini", [True, False])
def test_a_message_that_is_a_list(mini: bool) -> None:
    it = after(mini=mini)
    told = it.server(data(8, u16(1) + u32(6) + SET_ACK, mini=mini))
    assert told == ["server SPICE_MSG_LIST"]
    assert names(it, "SPICE_MSG_LIST") == ["SPICE_MSG_SET_ACK"]
    assert it.over() == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (data(103, INIT, mini=False, sub_list=99), "its list of sub-messages is at byte 99 of 32"),
        (data(103, INIT + u16(0xFFFF), mini=False, sub_list=32), "its list of sub-messages is not whole"),
        (behind_init(SET_ACK, 0xFFFFFF00), "a sub-message is at byte 4294967072 of 52"),
        (behind_init(u16(3) + u32(99) + words(1, 20), 0), "a sub-message has 99 bytes where 14 are left"),
        (behind_init(SET_ACK, 0, 0), "its sub-messages overlap"),
        (behind_init(SET_ACK + b"?", 0), "its sub-messages leave bytes between"),
        (data(103, INIT + u16(0) + b"?", mini=False, sub_list=32), "has 1 bytes after its sub-messages"),
        (behind_init(u16(3) + u32(4) + u32(1), 0), "sub-message SPICE_MSG_SET_ACK: its body is too short"),
        (behind_init(u16(3) + u32(9) + words(1, 20) + b"?", 0), "has 1 bytes after its body"),
        (behind_init(u16(8) + u32(2) + u16(0), 0), "SPICE_MSG_LIST cannot be a sub-message"),
        (behind_init(u16(999) + u32(0), 0), "message 999 cannot be a sub-message"),
    ],
)
def test_a_wrong_list_is_a_violation_of_that_message_only(said: bytes, why: str) -> None:
    it = after(mini=False)
    told = it.server(said, data(103, INIT, mini=False))
    assert any(why in line for line in told), told
    assert told[-1] == "server SPICE_MSG_MAIN_INIT"
    assert it.over() == []
