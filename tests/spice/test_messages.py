# SPDX-License-Identifier: GPL-2.0-or-later
"""Each message of SPICE: its name, its example, its size; bodies that do not fit; gaps."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.spice import agent, carried, constants, images, link, scapy_layers, smartcard
from dissect.spice.channels import audio, base, cursor, devices, display, inputs, main
from dissect.spice.fields import SpicePacket
from dissect.stream import Side
from dissect.stream.fields import PacketField
from dissect.stream.layout import ProtocolPacket, RestField, Short, packet_classes
from tests.spice.examples import INIT, ROWS, data, example_of, u16, u32, u64
from tests.spice.test_link import after
from tests.stream.properties import same
from tests.stream.talk import CLIENT, SERVER

BASES = {ProtocolPacket, SpicePacket, link.SpiceLinkPacket, link.SpiceSaslPacket, base.SpiceMessage}
CLASSES = {
    cls
    for module in (
        link,
        images,
        agent,
        carried,
        smartcard,
        base,
        main,
        inputs,
        display,
        cursor,
        audio,
        devices,
    )
    for cls in packet_classes(vars(module)).values()
    if cls not in BASES
} | set(base.BODIES.values())
WITH_FIELDS = {cls for cls in CLASSES if cls.fields_desc}

NUMBERED = [
    (channel, side, number, name)
    for channel, sides in constants.MESSAGES.items()
    for side, numbers in sides.items()
    for number, name in numbers.items()
]
IDS = [f"{constants.CHANNEL_TYPES.get(channel, 'any')}-{name}" for channel, _, _, name in NUMBERED]


def has_no_end(cls: Any) -> bool:
    """Whether a class takes what its message has left."""
    return any(
        isinstance(field, RestField) or (isinstance(field, PacketField) and has_no_end(field.cls))
        for field in cls.fields_desc
    )


UNWRITTEN = {"SPICE_MSG_DISPLAY_GL_SCANOUT2_UNIX"}
"""Its layout is in no published spice.proto, and it is sent on Unix sockets only."""


# --- every class


def test_every_class_with_fields_has_an_example() -> None:
    assert {cls for cls, _, _ in ROWS} == WITH_FIELDS


def test_every_body_is_registered_by_its_standard_name() -> None:
    bodies = {cls for cls in CLASSES if issubclass(cls, base.SpiceMessage)}
    assert bodies == set(base.BODIES.values())
    for (channel, side, number), cls in base.BODIES.items():
        assert constants.MESSAGES[channel][side][number] == cls.title()


def test_every_class_is_handed_to_scapy() -> None:
    assert {vars(scapy_layers)[name] for name in scapy_layers.__all__} >= {
        cls.scapy_class() for cls in CLASSES - {base.SpiceMessage}
    }


@pytest.mark.parametrize(("cls", "raw", "expected"), ROWS)
def test_the_example_is_decoded_by_both_descriptions(
    cls: type[ProtocolPacket], raw: bytes, expected: dict[str, Any]
) -> None:
    values, end = cls.layout().decode(raw)
    assert end == len(raw)
    assert {name: values[name] for name in expected} == expected
    packet = cls(raw)
    assert same(values, packet)
    assert bytes(packet) == raw
    packet.clear_cache()
    assert bytes(packet) == raw, "built from its fields it is not the same"


@pytest.mark.parametrize(("cls", "raw", "expected"), ROWS)
def test_the_example_is_whole_only_with_its_last_byte(
    cls: type[ProtocolPacket], raw: bytes, expected: dict[str, Any]
) -> None:
    if has_no_end(cls):
        assert cls.layout().decode(raw + b"more", 0, len(raw))[1] == len(raw)
        return
    for size in range(len(raw)):
        with pytest.raises(Short) as short:
            cls.layout().decode(raw[:size])
        assert size < short.value.needed <= len(raw)
    assert cls.layout().decode(raw + b"next")[1] == len(raw)


# --- every number


@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize(("channel", "side", "number", "name"), NUMBERED, ids=IDS)
def test_every_message_has_its_name_and_its_size(
    channel: int, side: Side, number: int, name: str, mini: bool
) -> None:
    it = after(channel=channel or 1, mini=mini)
    body = example_of(channel or 1, side, number)
    assert (body is None) == (name in UNWRITTEN)
    said = data(number, b"?" * 9 if body is None else body, mini=mini)
    told = it.say(side, said, said)
    assert (
        told
        == [f"{side} {name}" if body is not None else f"{side} {name} (not decoded: 9 bytes of body)"] * 2
    )
    message = it.last(name)
    assert message.size == len(said)
    assert message["message_type"] == number
    assert it.over() == []


@pytest.mark.parametrize("channel", sorted(constants.CHANNEL_TYPES))
@pytest.mark.parametrize("side", list(Side))
def test_a_number_that_nobody_defined_is_framed_and_wrong(channel: int, side: Side) -> None:
    it = after(channel=channel)
    name = constants.CHANNEL_TYPES[channel]
    told = it.say(side, data(999, b"body"), data(1, bytes(4)))
    assert told[0] == f"{side} message 999 of channel {name} (not decoded: undefined)"
    assert told[1].endswith(f": the {name} channel has no {side} message 999")
    assert told[2] == ("client SPICE_MSGC_ACK_SYNC" if side is CLIENT else "server SPICE_MSG_MIGRATE")
    assert it.over() == []


def test_a_channel_that_nobody_defined_has_the_common_messages() -> None:
    it = after(channel=77)
    assert it.server(data(3, bytes(8))) == ["server SPICE_MSG_SET_ACK"]
    told = it.server(data(101, b""))
    assert told[1].endswith("the type 77 channel has no server message 101")


# --- bodies that do not fit

SIZED = [
    (channel, side, number, cls)
    for (channel, side, number), cls in base.BODIES.items()
    if not has_no_end(cls)
]


@pytest.mark.parametrize(("channel", "side", "number", "cls"), SIZED)
def test_a_longer_body_is_a_violation_of_that_message_only(
    channel: int, side: Side, number: int, cls: type[base.SpiceMessage]
) -> None:
    it = after(channel=channel or 1)
    body = example_of(channel or 1, side, number)
    assert body is not None
    told = it.say(side, data(number, body + b"xyz"), data(number, body))
    at = it.last(cls.title()).offset - 3
    why = "has 3 bytes after its body"
    assert told == [
        f"{side} {cls.title()}",
        f"{side} {cls.title()} wrong at {at}: {why}",
        f"{side} {cls.title()}",
    ]
    assert it.over() == []


@pytest.mark.parametrize(("channel", "side", "number", "cls"), [row for row in SIZED if row[3].fields_desc])
def test_a_shorter_body_is_a_violation_of_that_message_only(
    channel: int, side: Side, number: int, cls: type[base.SpiceMessage]
) -> None:
    it = after(channel=channel or 1)
    body = example_of(channel or 1, side, number)
    assert body is not None
    told = it.say(side, data(number, body[:-1]), data(number, body))
    assert [told[0], told[2]] == [f"{side} {cls.title()}"] * 2
    assert f"has {len(body) - 1} bytes of body where at least {len(body)} are needed" in told[1]
    assert it.over() == []


def test_a_count_over_the_limit_is_a_violation_of_that_message_only() -> None:
    it = after()
    told = it.server(data(104, u32((1 << 32) - 1) + b"\2\0"), data(103, INIT))
    assert "channels: 4294967295 items of 2 bytes is outside the limit" in told[1]
    assert told[2:] == ["server SPICE_MSG_MAIN_INIT"]


@pytest.mark.parametrize("size", [(1 << 27) + 1, (1 << 32) - 1])
@pytest.mark.parametrize("mini", [True, False])
def test_a_size_over_the_limit_is_refused_at_the_header(size: int, mini: bool) -> None:
    it = after(mini=mini)
    head = u16(4) + u32(size)
    (told,) = it.server(head if mini else u64(1) + head + u32(0))
    at = 206 + (2 if mini else 10)
    assert told == f"server SPICE_MSG_PING wrong at {at}: size {size} is over the limit of {1 << 27} bytes"


def test_a_path_of_too_many_points_is_passed_over_by_its_size() -> None:
    it = after(channel=2)
    most = display.SpiceMsgDisplayDrawStroke.most
    told = it.server(data(310, bytes(most + 1)), data(102, b""))
    why = f"size {most + 1} is over the limit of {most} bytes for this message"
    assert told == [
        f"server SPICE_MSG_DISPLAY_DRAW_STROKE (not decoded: {why})",
        f"server SPICE_MSG_DISPLAY_DRAW_STROKE wrong at {it.records[-3].offset + 6}: {why}",
        "server SPICE_MSG_DISPLAY_MARK",
    ]


@pytest.mark.parametrize("mini", [True, False])
def test_after_an_impossible_size_the_next_message_is_found(mini: bool) -> None:
    it = after(mini=mini)
    head = u16(4) + u32((1 << 32) - 1)
    lost = (head if mini else u64(7) + head + u32(0)) + b"\xfe" * 37
    pongs = [
        data(4, u32(number) + u64(number) + bytes(number), mini=mini, serial=8 + number)
        for number in range(5)
    ]
    told = it.server(lost, *pongs)
    assert told[0].startswith("server SPICE_MSG_PING wrong at")
    assert told[1:] == [
        "server NotDecoded (not decoded: follows a message of impossible size, and no message begins here)",
        *["server SPICE_MSG_PING"] * 5,
    ]
    assert it.over() == []


# --- gaps


def test_a_gap_inside_a_message_is_bridged() -> None:
    it = after()
    said = data(4, u32(1) + u64(2) + bytes(1000))
    assert it.server(said[:100]) == []
    assert it.lose(SERVER, 500) == ["server gap 500"]
    assert it.server(said[600:], data(103, INIT)) == [
        "server SPICE_MSG_PING (not decoded: 500 of its 1018 bytes are not there)",
        "server SPICE_MSG_MAIN_INIT",
    ]
    assert it.over() == []


def test_a_gap_up_to_the_end_of_a_message() -> None:
    it = after()
    said = data(4, u32(1) + u64(2) + bytes(1000))
    it.server(said[:6])
    assert it.lose(SERVER, 1012) == [
        "server gap 1012",
        "server SPICE_MSG_PING (not decoded: 1012 of its 1018 bytes are not there)",
    ]
    assert it.server(data(103, INIT)) == ["server SPICE_MSG_MAIN_INIT"]
    assert it.over() == []


def test_an_incomplete_message_says_how_much_of_it_came() -> None:
    it = after()
    it.server(data(103, INIT)[:20])
    assert it.over() == ["server SPICE_MSG_MAIN_INIT (not decoded: incomplete: 20 of 38 bytes)"]
