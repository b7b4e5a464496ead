# SPDX-License-Identifier: GPL-2.0-or-later
"""Live messages against recorded ones: modes, rules, counts, order, context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dissect.replay.compare import (
    WHOLE,
    Comparison,
    Rules,
    RulesError,
    context,
    flat,
    hex_line,
    json_value,
)
from dissect.replay.plan import Expected, is_handshake
from dissect.rfb import messages as rfb
from dissect.spice.channels import base
from dissect.stream import Side
from dissect.stream.records import Message, Part


def message(packet: Any, raw: bytes | None = None) -> Message:
    data = bytes(packet) if raw is None else raw
    protocol = "spice" if packet.title().startswith("SPICE") else "rfb"
    parts = (Part(type(packet), 0, len(data)),)
    return Message(Side.SERVER, protocol, packet.title(), 0, len(data), data, 0, 0, parts)


def expected(*messages: Message) -> tuple[Expected, ...]:
    return tuple(Expected(m, is_handshake(m), 0) for m in messages)


def held(recorded: Any, live: Any, rules: Rules | None = None) -> list[tuple[str, Any, Any]]:
    comparison = Comparison(expected(message(recorded)), rules)
    one = message(live)
    comparison.saw(one, is_handshake(one))
    comparison.finish()
    return [(d.field, d.expected, d.got) for d in comparison.differences]


INIT = rfb.ServerInit(framebuffer_width=640, framebuffer_height=480, name_string=b"QEMU")


@pytest.mark.parametrize(
    ("live", "found"),
    [
        ({}, []),
        ({"framebuffer_width": 641}, [("framebuffer_width", 640, 641)]),
        ({"name_string": b"another"}, []),
    ],
)
def test_defaults(live: dict[str, Any], found: list[Any]) -> None:
    packet = INIT.copy()
    for name, value in live.items():
        packet.setfieldval(name, value)
    assert held(INIT, packet) == found


@pytest.mark.parametrize(
    ("mode", "value", "good"),
    [
        ("exact", 640, True), ("exact", 641, False), ("ignore", 641, True), ("reuse", 1, True),
        ({"range": [600, 700]}, 700, True), ({"range": [600, 700]}, 701, False),
        ({"range": [1, 2]}, 640, False),
    ],
)  # fmt: skip
def test_modes(mode: Any, value: int, good: bool) -> None:
    live = INIT.copy()
    live.framebuffer_width = value
    assert (held(INIT, live, Rules({"ServerInit": {"framebuffer_width": mode}})) == []) is good


@pytest.mark.parametrize(("name", "good"), [(b"ABCD", True), (b"ABC", False)])
def test_length_only(name: bytes, good: bool) -> None:
    live = INIT.copy()
    live.name_string = name
    rules = Rules({"Server*": {"name_string": "length", "name_length": "ignore"}})
    assert (held(INIT, live, rules) == []) is good


def test_a_user_overrides_a_default_and_may_use_patterns() -> None:
    live = INIT.copy()
    live.name_string = b"another"
    live.server_pixel_format.depth = 16
    assert held(INIT, live) == [("server_pixel_format.depth", 24, 16)]
    rules = Rules({"Server*": {"name_string": "exact", "server_pixel_format": "ignore"}})
    assert held(INIT, live, rules) == [("name_string", "QEMU", "another")]


def test_a_missing_and_an_unexpected_message_of_a_handshake() -> None:
    types, result = message(rfb.SecurityTypes(security_types=[1])), message(rfb.SecurityResult(status=0))
    comparison = Comparison(expected(types, result))
    comparison.saw(result, True)
    comparison.saw(types, True)
    assert [(d.message, d.field, d.expected, d.got) for d in comparison.differences] == [
        ("SecurityTypes", WHOLE, "came", "did not come"),
        ("SecurityTypes", WHOLE, "no such message", "came"),
    ]
    assert comparison.compared == 1


def test_counts_after_the_handshake() -> None:
    ping, ack, set_ack = (
        base.SpiceMsgPing(id=1),
        base.SpiceMsgSetAck(window=20),
        base.SpiceMsgSetAck(window=21),
    )
    names = expected(message(ping), message(ping), message(ack))
    comparison = Comparison(names, Rules({"SPICE_MSG_SET_ACK": {"window": "exact"}}))
    assert not comparison.settled()
    comparison.saw(message(base.SpiceMsgPing(id=77)), False)
    assert comparison.missing_names() == ["SPICE_MSG_SET_ACK"]
    comparison.saw(message(set_ack), False)
    assert comparison.settled()
    assert not comparison.as_many(3)
    comparison.saw(message(ping), False)
    assert comparison.as_many(3)
    comparison.saw(message(ping), False)
    comparison.finish()
    assert [(d.message, d.field, d.expected, d.got) for d in comparison.differences] == [
        ("SPICE_MSG_SET_ACK", "window", 20, 21)
    ]
    assert (comparison.compared, comparison.left_over) == (3, 1)


@pytest.mark.parametrize(
    ("count", "came", "good"), [("exact", 1, False), ("exact", 3, False), ("any", 0, True)]
)
def test_a_user_says_how_many(count: str, came: int, good: bool) -> None:
    ping = message(base.SpiceMsgPing(id=1))
    comparison = Comparison(expected(ping, ping), Rules({"SPICE_MSG_PING": {"count": count}}))
    for _ in range(came):
        comparison.saw(ping, False)
    comparison.finish()
    assert (comparison.differences == []) is good


def test_through_stops_the_comparison() -> None:
    types, result = message(rfb.SecurityTypes(security_types=[1])), message(rfb.SecurityResult(status=0))
    comparison = Comparison(expected(types, result), through="SecurityTypes")
    comparison.saw(types, True)
    assert comparison.complete
    comparison.saw(message(rfb.SecurityResult(status=1)), True)
    comparison.finish()
    assert (comparison.differences, comparison.compared, comparison.left_over) == ([], 1, 1)


def test_context_shows_where_it_begins_to_differ() -> None:
    recorded, live = bytes(range(100)), bytes(range(50)) + b"\xff" + bytes(range(51, 100))
    at, one, other = context(recorded, live)
    assert (at, one, other) == (34, recorded[34:66], live[34:66])
    assert hex_line(b"AB\n") == "41 42 0a  |AB.|"
    assert context(b"abc", b"abcd") == (0, b"abc", b"abcd")


def test_values_for_json() -> None:
    assert json_value(b"QEMU\0") == "QEMU"
    assert json_value(b"\1\2") == "0102"
    assert json_value(bytes(100)).endswith("(100 bytes)")
    assert dict(flat({"a": {"b": 1}, "c": [{"d": 2}], "e": [1]})) == {
        "a.b": 1,
        "c.length": 1,
        "c.0.d": 2,
        "e": [1],
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[ServerInit]\nname_string = 'exactly'", "must be"),
        ("[ServerInit]\nname_string = { range = [2, 1] }", "must be"),
        ("ServerInit = 1", "not a table"),
        ("[PING]\ncount = 'few'", "one of exact, some, any"),
        ("[", "Invalid"),
    ],
)
def test_a_rules_file_that_cannot_be_used(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(RulesError) as raised:
        Rules.read(path)
    assert why.lower() in str(raised.value).lower()
    assert "\n" not in str(raised.value)


def test_a_rules_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[ServerInit]\nname_string = "exact"\n[ending]\nhow = "exact"\n')
    rules = Rules.read(path)
    assert rules.exact_ending
    assert not Rules().exact_ending
    assert rules.mode("ServerInit", "name_string").kind == "exact"
    with pytest.raises(RulesError):
        Rules.read(tmp_path / "none.toml")
