# SPDX-License-Identifier: GPL-2.0-or-later
"""Each message of RFB: its example, how it is framed, and what unknown and oversized ones become."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.rfb import constants, contents, optional, scapy_layers, security, tightfiles
from dissect.rfb import messages as m
from dissect.rfb.session import RfbSession
from dissect.stream import Side
from dissect.stream.layout import ProtocolPacket, Short, packet_classes
from dissect.stream.records import Message
from tests.rfb.examples import FORMAT_8, FORMAT_16, ROWS, SERVER_INIT, rect, u16, u32, update
from tests.stream.talk import CLIENT, SERVER, Talk

BASES = {ProtocolPacket, m.RfbPacket}
CLASSES = {
    cls
    for module in (m, optional, security, tightfiles, contents)
    for cls in packet_classes(vars(module)).values()
    if cls not in BASES
}
SIZED_BY_THE_SESSION = {security.DiffieHellmanCredentials}
"""The session knows how long they are; their examples are in test_security."""


def started() -> Talk:
    """A conversation past its handshake; 44 bytes of the server and 13 of the client are said."""
    it = Talk(RfbSession())
    it.server(b"RFB 003.003\n")
    it.client(b"RFB 003.003\n")
    it.server(u32(1))
    it.client(b"\1")
    it.server(SERVER_INIT)
    assert it.session.state == "messages"
    return it


# --- every class


def test_every_class_has_an_example() -> None:
    registered = {cls for side in m.MESSAGES.values() for cls in side.values()}
    registered |= set(m.QEMU_CLIENT_MESSAGES.values())
    assert registered <= CLASSES
    assert {cls for cls, _, _ in ROWS} == CLASSES - SIZED_BY_THE_SESSION


def test_every_class_is_handed_to_scapy() -> None:
    assert {vars(scapy_layers)[name] for name in scapy_layers.__all__} >= {
        cls.scapy_class() for cls in CLASSES
    }


IDS = [f"{cls.__name__}-{index}" for index, (cls, _, _) in enumerate(ROWS)]


@pytest.mark.parametrize(("cls", "data", "expected"), ROWS, ids=IDS)
def test_the_example_is_decoded_by_both_descriptions(
    cls: type[ProtocolPacket], data: bytes, expected: dict[str, Any]
) -> None:
    values, end = cls.layout().decode(data)
    assert end == len(data)
    assert {name: values[name] for name in expected} == expected
    packet = cls(data)
    assert bytes(packet) == data
    packet.clear_cache()
    assert bytes(packet) == data, "built from its fields it is not the same"


@pytest.mark.parametrize(("cls", "data", "expected"), ROWS, ids=IDS)
def test_the_example_is_whole_only_with_its_last_byte(
    cls: type[ProtocolPacket], data: bytes, expected: dict[str, Any]
) -> None:
    for size in range(len(data)):
        with pytest.raises(Short) as short:
            cls.layout().decode(data[:size])
        assert size < short.value.needed <= len(data)
        if short.value.exact:
            assert short.value.needed == len(data)
    assert cls.layout().decode(data + b"next")[1] == len(data)


NORMAL = [
    (side, data, cls)
    for cls, data, _ in ROWS
    for side in Side
    if cls in m.MESSAGES[side].values()
    or (side is CLIENT and cls in (*m.QEMU_CLIENT_MESSAGES.values(), m.ExtendedPointerEvent))
    or cls is {CLIENT: m.ExtendedClientCutText, SERVER: m.ExtendedServerCutText}[side]
    or (side is CLIENT and cls in (optional.GiiBigEndian, optional.GiiLittleEndian))
]


@pytest.mark.parametrize(("side", "data", "cls"), NORMAL)
@pytest.mark.parametrize("size", [1, 1000])
def test_each_message_of_the_normal_phase_follows_another(
    side: Side, data: bytes, cls: type[ProtocolPacket], size: int
) -> None:
    it = started()
    if cls is m.ExtendedPointerEvent:
        it.server(update(rect(0, 0, -316)))
    twice = data + data
    told = [line for at in range(0, len(twice), size) for line in it.say(side, twice[at : at + size])]
    assert told == [f"{side} {cls.title()}"] * 2
    assert it.last(cls.title()).raw == data
    assert it.over() == []


def test_the_extended_pointer_needs_the_servers_consent() -> None:
    it = started()
    assert it.client(b"\5\x81" + u16(1) + u16(2)) == ["client PointerEvent"]
    it.server(update(rect(0, 0, -316)))
    assert it.client(b"\5\x81" + u16(1) + u16(2)) == []
    assert it.client(b"\1", b"\5\1" + u16(1) + u16(2)) == ["client PointerEvent", "client PointerEvent"]


# --- what is not described


@pytest.mark.parametrize("side", list(Side))
def test_each_number_is_read_or_named_or_wrong(side: Side) -> None:
    """All 256 numbers: those that are registered have a class, or a reason that says why not."""
    names = constants.CLIENT_MESSAGES if side is CLIENT else constants.SERVER_MESSAGES
    for number in range(256):
        if number in m.MESSAGES[side] or number in {SERVER: (0, 253), CLIENT: (253, 255)}[side]:
            assert number in names
            continue
        it = started()
        told = it.say(side, bytes([number]) + bytes(5)) + it.over()
        if number in (252, 254):
            assert told[0].startswith(f"{side} NotDecoded (not decoded: {side} message {number}: ")
        elif number in names:
            why = optional.UNREAD[side][number]
            name = names[number]
            assert told == [f"{side} NotDecoded (not decoded: {side} message {number} ({name}): {why})"]
        else:
            assert told[0].endswith(f": {side} message type {number} does not exist")
            assert len(told) == 2


def test_a_qemu_message_that_does_not_exist() -> None:
    it = started()
    assert it.client(b"\xff") == []
    (told,) = it.client(b"\7")
    assert told == "client QEMU Client Message wrong at 14: QEMU client submessage 7 does not exist"
    it = started()
    (told,) = it.client(b"\xff\1\0\3")
    assert told == "client QEMU Audio wrong at 15: QEMU audio operation 3 does not exist"
    it = started()
    (told,) = it.server(b"\xff\0")
    assert told == "server QEMU Server Message wrong at 45: QEMU server submessage 0 does not exist"
    it = started()
    (told,) = it.server(b"\xff\1\0\7")
    assert told == "server QEMU Audio wrong at 46: QEMU audio operation 7 does not exist"


def test_one_lost_side_does_not_stop_the_other() -> None:
    it = started()
    it.client(b"\x42")
    assert it.server(b"\2") == ["server Bell"]
    assert it.server(update(rect(1, 1, 0, bytes(4)))) == ["server FramebufferUpdate"]
    assert "no SetPixelFormat since the client is not read" in it.last("FramebufferUpdate")["assumed"]


# --- sizes


@pytest.mark.parametrize("length", [1 << 31, (1 << 31) - 1, (1 << 31) + 1, (1 << 26) + 1])
@pytest.mark.parametrize(("side", "number"), [(CLIENT, 6), (SERVER, 3)])
def test_a_cut_text_over_the_limit_is_refused_at_its_length(side: Side, number: int, length: int) -> None:
    it = started()
    (told,) = it.say(side, bytes([number, 0, 0, 0]) + u32(length) + bytes(4))
    extended = length >= 1 << 31
    size = f"clipboard_data: {(1 << 32) - length - 4}" if extended else f"text: {length}"
    assert told.endswith(f"{size} bytes is outside the limit of {1 << 26} bytes")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_length_of_4_gib_is_no_extended_clipboard(length: int) -> None:
    it = started()
    (told,) = it.server(b"\3\0\0\0" + u32(-length) + bytes(length))
    assert f"wrong at 48: a length of {-length} (or {(1 << 32) - length})" in told
    assert it.client(b"\4\1\0\0\0\0\0\x61") == ["client KeyEvent"]


@pytest.mark.parametrize("length", [0, 4, 1000])
def test_an_extended_clipboard_message_is_framed_by_the_absolute_length(length: int) -> None:
    it = started()
    told = it.server(b"\3\0\0\0" + u32(-length) + bytes(length), b"\2")
    assert told == ["server ServerCutText", "server Bell"]
    assert ("clipboard" in it.last("ServerCutText").fields()) is (length >= 4)


def test_a_colour_map_of_65535_entries() -> None:
    it = started()
    assert it.server(b"\1\0" + u16(0) + u16(65535) + bytes(6 * 65535)) == ["server SetColourMapEntries"]
    assert len(it.last("SetColourMapEntries")["colours"]) == 65535


# --- gaps


def test_a_gap_inside_a_message_of_known_size_is_bridged() -> None:
    it = started()
    assert it.client(b"\6\0\0\0" + u32(100) + b"x" * 10) == []
    assert it.lose(CLIENT, 60) == ["client gap 60"]
    assert it.client(b"x" * 29) == []
    assert it.client(b"x" + b"\4\1\0\0" + u32(0x61)) == [
        "client ClientCutText (not decoded: 60 of its 108 bytes are not there)",
        "client KeyEvent",
    ]
    assert it.over() == []


def test_two_gaps_in_one_message() -> None:
    it = started()
    it.client(b"\6\0\0\0" + u32(100))
    assert it.lose(CLIENT, 60) == ["client gap 60"]
    assert it.lose(CLIENT, 40) == [
        "client gap 40",
        "client ClientCutText (not decoded: 100 of its 108 bytes are not there)",
    ]
    assert it.client(b"\4\1\0\0" + u32(0x61)) == ["client KeyEvent"]
    assert it.over() == []


def test_a_gap_over_the_end_of_a_message_loses_the_side() -> None:
    it = started()
    it.client(b"\6\0\0\0" + u32(100))
    assert it.lose(CLIENT, 101) == [
        "client ClientCutText (not decoded: incomplete: 8 of 108 bytes)",
        "client gap 101",
    ]
    it.client(b"\4\1\0\0" + u32(0x61))
    assert it.over() == ["client NotDecoded (not decoded: follows a gap of 101 bytes)"]


def test_a_second_gap_over_the_end_loses_the_side_too() -> None:
    it = started()
    it.client(b"\6\0\0\0" + u32(100))
    it.lose(CLIENT, 60)
    it.client(b"x" * 5)
    assert it.lose(CLIENT, 41) == [
        "client ClientCutText (not decoded: 95 of its 108 bytes are not there)",
        "client gap 41",
    ]
    assert it.over() == []


def test_a_bridged_message_that_ends_early() -> None:
    it = started()
    it.client(b"\6\0\0\0" + u32(100))
    it.lose(CLIENT, 60)
    it.client(b"x" * 5)
    assert it.over() == ["client ClientCutText (not decoded: 95 of its 108 bytes are not there)"]


def test_a_gap_inside_an_update_loses_the_server_but_not_the_client() -> None:
    it = started()
    it.server(update(rect(2, 2, 0, bytes(4))))
    assert it.lose(SERVER, 12)[0] == (
        "server FramebufferUpdate (not decoded: incomplete: 20 of at least 32 bytes)"
    )
    assert it.client(b"\4\1\0\0" + u32(0x61)) == ["client KeyEvent"]
    it.server(b"\2")
    assert it.over() == ["server NotDecoded (not decoded: follows a gap of 12 bytes)"]


def test_after_a_lost_pixel_format_nothing_is_made_up() -> None:
    it = started()
    it.client(b"\0\0\0\0")
    it.lose(CLIENT, 16)
    assert it.client(b"\4\1\0\0" + u32(0x61)) == ["client KeyEvent"]
    assert it.server(update(rect(9, 9, 16, u32(3) + b"abc"))) == ["server FramebufferUpdate"]
    it.server(update(rect(1, 1, 0, b"\1\2")))
    assert it.over() == [
        "server NotDecoded (not decoded: the pixel format is not known: a SetPixelFormat was lost)"
    ]
    it = started()
    it.client(b"\0\0\0\0")
    it.lose(CLIENT, 16)
    it.client(b"\0\0\0\0" + FORMAT_16)
    assert it.server(update(rect(1, 1, 0, b"\1\2")), b"\2") == ["server FramebufferUpdate", "server Bell"]


# --- times and presentation


def test_a_message_knows_when_its_bytes_came() -> None:
    it = started()
    start = it.now
    it.client(b"\4\1")
    it.client(b"\0\0" + u32(0x61), b"\4\0")
    it.client(b"\0\0" + u32(0x61))
    down, up = [record for record in it.records if record.name == "KeyEvent"]
    assert isinstance(down, Message)
    assert isinstance(up, Message)
    assert (down.first_ns, down.time_ns) == (start + 1000, start + 2000)
    assert (up.first_ns, up.time_ns) == (start + 2000, start + 3000)


def test_fields_are_for_people_and_json() -> None:
    it = started()
    it.client(b"\2\0" + u16(3) + u32(0) + u32(-239) + u32(4711))
    assert it.last("SetEncodings").fields() == {
        "message_type": 2,
        "number_of_encodings": 3,
        "encoding_types": [0, -239, 4711],
        "encoding_types_names": ["Raw", "Cursor", "unknown 4711"],
    }
    it.client(b"\0\1\2\3" + FORMAT_8)
    assert it.last("SetPixelFormat").fields()["padding"] == "010203"
    it.server(b"\3\0\0\0" + u32(4) + b"caf\xe9")
    assert it.last("ServerCutText").fields() == {"message_type": 3, "length": 4, "text": "café"}
