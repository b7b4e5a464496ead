# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's messages: their numbers, their pieces, what the capabilities of both ends change."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import pytest

from dissect.spice import agent, carried, meaning
from dissect.stream import Side
from dissect.stream.fields import ConditionalField, FieldListField, PacketListField, StrLenField
from dissect.stream.layout import Padding
from tests.spice.examples import AGENT_ROWS, SELECTION, data, u8, u32, u64, vd, words
from tests.spice.test_link import after, session
from tests.spice.test_numbers import FOLDER, PACKAGE, beginning
from tests.stream import headers
from tests.stream.talk import CLIENT, SERVER, Talk

TO, FROM = 107, 109
"""AGENT_DATA of client and server."""


@pytest.fixture(scope="module")
def source() -> str:
    return headers.text(f"{FOLDER}/vd_agent.h", PACKAGE)


def test_every_number(source: str) -> None:
    theirs = headers.enums(source)
    for number, name in agent.TYPES.items():
        assert theirs[name] == number
    assert theirs["VD_AGENT_END_MESSAGE"] == max(agent.TYPES) + 1
    assert beginning(theirs, "VD_AGENT_CAP_") == dict(agent.CAPABILITIES)
    assert beginning(theirs, "VD_AGENT_CLIPBOARD_SELECTION_") == dict(agent.SELECTIONS)
    for number, name in agent.CLIPBOARD_TYPES.items():
        assert theirs[f"VD_AGENT_CLIPBOARD_{name}"] == number
    for number, name in agent.TRANSFER_STATUS.items():
        assert theirs[f"VD_AGENT_FILE_XFER_STATUS_{name}"] == number
    assert theirs["VD_AGENT_CONFIG_MONITORS_FLAG_PHYSICAL_SIZE"] == 2
    numbers = headers.defines(source)
    assert numbers["VD_AGENT_PROTOCOL"] == agent.PROTOCOL
    assert numbers["VD_AGENT_MAX_DATA_SIZE"] == agent.CHUNK_SIZE


SIZES = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "int32_t": 4, "uint64_t": 8}


@pytest.mark.parametrize("cls", sorted({cls for cls, _, _ in AGENT_ROWS}, key=str))
def test_every_struct(source: str, cls: Any) -> None:
    name = re.sub(r"(OfSelection|Serial|Detailed)+$", "", cls.__name__)
    name += "Message" if name.startswith("VDAgentFileXfer") else ""
    struct = re.search(rf"struct SPICE_ATTR_PACKED {name} \{{(.*?)\}} {name};", source, re.DOTALL)
    if name == "VDAgentClientDisconnected":
        assert struct is None, "it has a body now"
        return
    assert struct
    plain = re.sub(r"#if.*?#endif", "", struct[1], flags=re.DOTALL)
    theirs = [SIZES[kind] for kind, _ in re.findall(r"(u?int\d+_t)\s+(\w+);", plain)]
    if "OfSelection" in cls.__name__:
        theirs = [1, 3, *theirs]
    if "Serial" in cls.__name__:
        theirs = [*theirs, 4]
    first = 4 if cls.title().startswith("VD_AGENT_") else 0
    ours = [
        len(field.default or b"") if isinstance(field, Padding) else field.sz
        for field in cls.fields_desc[first:]
        if not isinstance(field, StrLenField | FieldListField | PacketListField | ConditionalField)
    ]
    assert ours[: len(theirs)] == theirs


# --- pieces


def shown(it: Talk, side: Side = CLIENT) -> list[dict[str, Any]]:
    """All that the agent's messages of one side were shown as."""
    found: list[dict[str, Any]] = []
    for record in it.records:
        if record.side is side and record.name.endswith("AGENT_DATA") and record.kind == "message":
            agents = record.fields().get("agent", [])
            assert isinstance(agents, list)
            found += agents
    return found


@pytest.mark.parametrize("size", [1, 7, 20, 2048])
def test_one_message_in_any_pieces(size: int) -> None:
    it = after()
    text = b"clip " * 1000
    whole = vd(4, u32(1) + text)
    for at in range(0, min(len(whole), 60 * size), size):
        it.client(data(TO, whole[at : at + size]))
    if 60 * size < len(whole):
        pending = it.last("SPICE_MSGC_MAIN_AGENT_DATA").fields()["agent_pending"]
        assert pending.startswith(f"{60 * size} ")
        it.client(
            data(TO, whole[60 * size : 60 * size + 2000]),
            data(TO, whole[60 * size + 2000 : 60 * size + 4000]),
        )
        it.client(data(TO, whole[60 * size + 4000 :]))
    (message,) = shown(it)
    assert message["name"] == "VD_AGENT_CLIPBOARD"
    assert message["text"] == text.decode()
    assert not [r for r in it.records if r.kind == "violation"]
    assert it.over() == []


def test_several_messages_in_one_piece() -> None:
    it = after()
    it.server(data(FROM, vd(3, words(2, 1)) + vd(9) + vd(14, u32(5))[:22]), data(FROM, vd(14, u32(5))[22:]))
    assert [m["name"] for m in shown(it, SERVER)] == [
        "VD_AGENT_REPLY",
        "VD_AGENT_CLIPBOARD_RELEASE",
        "VD_AGENT_MAX_CLIPBOARD",
    ]


def test_the_directions_are_apart() -> None:
    it = after()
    whole = vd(3, words(2, 1))
    it.server(data(FROM, whole[:10]))
    it.client(data(TO, vd(9)))
    it.server(data(FROM, whole[10:]))
    assert [m["name"] for m in shown(it)] == ["VD_AGENT_CLIPBOARD_RELEASE"]
    assert shown(it, SERVER)[0]["reply_type_name"] == "VD_AGENT_MONITORS_CONFIG"


# --- what both ends announced


def talk(*capabilities: int) -> Talk:
    """An agent and a client that both announced these."""
    it = after()
    announced = vd(6, words(0, sum(1 << bit for bit in capabilities)))
    it.server(data(FROM, announced))
    it.client(data(TO, announced))
    return it


def test_a_selection_only_where_both_announced_it() -> None:
    plain, chosen = vd(7, words(1)), vd(7, SELECTION + words(1))
    it = talk(agent.CAP_SELECTION)
    it.client(data(TO, chosen))
    assert shown(it)[-1]["selection_name"] == "PRIMARY"
    assert shown(it)[-1]["types_names"] == ["UTF8_TEXT"]
    it = talk()
    it.client(data(TO, plain))
    assert "selection" not in shown(it)[-1]
    assert shown(it)[-1]["types_names"] == ["UTF8_TEXT"]
    it = after()
    it.server(data(FROM, vd(6, words(0, 1 << agent.CAP_SELECTION))))
    it.client(data(TO, plain))
    assert "selection" not in shown(it)[-1], "only the agent announced it"


def test_a_serial_only_where_both_announced_it() -> None:
    it = talk(agent.CAP_SELECTION, agent.CAP_GRAB_SERIAL)
    it.client(data(TO, vd(7, SELECTION + words(9, 1))))
    assert shown(it)[-1]["serial"] == 9


def test_details_only_where_both_announced_them() -> None:
    status = vd(11, words(5, 4) + u64(99))
    it = talk(agent.CAP_DETAILED_ERRORS)
    it.server(data(FROM, status))
    assert shown(it, SERVER)[-1]["disk_free_space"] == 99
    it = talk()
    it.server(data(FROM, status))
    assert "disk_free_space" not in shown(it, SERVER)[-1]
    assert shown(it, SERVER)[-1]["detail"] == u64(99).hex()


# --- what is wrong


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (vd(99, b"abc"), "the agent's message type 99 is not defined"),
        (words(2, 9) + u64(0) + u32(0), "the agent's protocol is 2, not 1"),
        (vd(3, u32(2)), "VD_AGENT_REPLY has 24 bytes where at least 28 are needed"),
        (vd(3, words(2, 1) + b"?"), "VD_AGENT_REPLY has 1 bytes after its end"),
        (vd(2, words(0xFFFFFFFF, 0)), "outside the limit"),
        (bytes(2049), "has 2049 bytes of the agent's, over 2048"),
    ],
)
def test_a_wrong_message_and_the_one_after_it(raw: bytes, why: str) -> None:
    it = after()
    told = it.client(data(TO, raw))
    assert any(why in line for line in told[1:])
    it.client(data(106, u32(10)), data(TO, vd(9)))
    assert shown(it)[-1]["name"] == "VD_AGENT_CLIPBOARD_RELEASE"
    assert it.over() == []


def test_a_message_of_any_size_is_passed_over() -> None:
    it = after()
    size = carried.UNIT_LIMIT + 1
    it.client(data(TO, words(1, 4) + u64(0) + u32(size)))
    for at in range(0, size, 1 << 20):
        it.session.feed(CLIENT, data(TO, bytes(min(1 << 20, size - at))), 0)
    inner = session(it).memory.agent[CLIENT]
    assert inner.count == 1
    assert inner.pieces is None


def test_a_gap_loses_the_agents_place_until_it_begins_anew() -> None:
    it = after()
    said = data(TO, vd(4, u32(1) + bytes(500)))
    it.client(said[:30])
    it.lose(CLIENT, 100)
    it.client(said[130:], data(TO, vd(9)))
    assert it.last("SPICE_MSGC_MAIN_AGENT_DATA").fields()["agent"] == "not decoded: follows a gap"
    it.client(data(106, u32(10)), data(TO, vd(9)))
    assert it.last("SPICE_MSGC_MAIN_AGENT_DATA").fields()["agent"][0]["name"] == "VD_AGENT_CLIPBOARD_RELEASE"
    assert it.over() == []


def test_what_depends_on_lost_capabilities_is_not_decoded() -> None:
    it = after()
    it.lose(SERVER, 100)  # perhaps the agent's announcement
    it.client(data(TO, vd(6, words(0, 1 << agent.CAP_SELECTION))))
    it.client(data(TO, vd(8, SELECTION + u32(1))), data(TO, vd(14, u32(5))))
    announced, asked, most = shown(it)
    assert announced["caps_names"] == ["CLIPBOARD_SELECTION"]
    assert asked["note"].startswith("not decoded: bytes were lost in which an end may have said")
    assert most["max"] == 5
    assert it.over() == []


def test_a_new_agent_begins_anew() -> None:
    it = after()
    it.server(data(FROM, vd(9)[:5]), data(108, u32(0)), data(FROM, vd(9)))
    assert [m["name"] for m in shown(it, SERVER)] == ["VD_AGENT_CLIPBOARD_RELEASE"]
    assert u8(1) == b"\1"


def test_a_piece_with_any_number_of_messages_shows_some() -> None:
    it = after()
    told = it.client(data(TO, vd(99) * 10_000))
    fields = it.last("SPICE_MSGC_MAIN_AGENT_DATA").fields()
    assert len(fields["agent"]) == meaning.SHOWN
    assert fields["agent_not_shown"] == 10_000 - meaning.SHOWN
    assert len(told) == 1 + meaning.SHOWN
    assert session(it).memory.agent[CLIENT].count == 10_000


def test_a_byte_at_a_time_costs_no_more_memory() -> None:
    inner = carried.Inner()
    tracemalloc.start()
    try:
        for byte in vd(4, u32(1) + bytes(200_000)):
            inner, _ = inner.take(bytes([byte]), lambda count: 20, lambda head: 300_000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
