# SPDX-License-Identifier: GPL-2.0-or-later
"""gii: every sub-type in both byte orders, and what contradicts itself."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from dissect.rfb import gii
from dissect.stream import Side
from tests.rfb.test_messages import started
from tests.stream.talk import CLIENT, SERVER

VALUATOR = (3, b"Wheel of fortune", b"W", -5, 0, 5, 6, 1, 2, 3, 4)
DEVICE = (b"Joystick", 7, 8, 0x3020, 0, 1, 2)


def message(sub_type: int, layout: str, *values: Any, order: str) -> bytes:
    data = struct.pack(order + layout, *values)
    return bytes([253, sub_type | (0x80 if order == ">" else 0)]) + struct.pack(f"{order}H", len(data)) + data


EVENTS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("BBH5I", (24, 5, 0, 9, 1, 2, 3, 4), {"event_type_name": "key press", "symbol": 2, "button": 4}),
    ("BBHI4i", (24, 8, 0, 9, -1, 2, -3, 4), {"event_type_name": "pointer relative", "x": -1, "wheel": 4}),
    ("BBH2I", (12, 11, 0, 9, 3), {"event_type_name": "pointer button release", "button_number": 3}),
    ("BBH3I2i", (24, 13, 0, 9, 1, 2, -7, 8), {"first": 1, "count": 2, "value": [-7, 8]}),
    ("BBH", (4, 99, 0), {"event_type_name": "unknown 99"}),
]


@pytest.mark.parametrize("order", [">", "<"])
def test_every_sub_type(order: str) -> None:
    layout, values = gii.DEVICE + gii.VALUATOR, DEVICE + VALUATOR
    every = [value for _, values, _ in EVENTS for value in values]
    cases: list[tuple[Side, bytes, dict[str, Any]]] = [
        (CLIENT, message(1, "H", 1, order=order), {"sub_type_name": "version", "version": 1}),
        (
            CLIENT,
            message(2, layout, *values, order=order),
            {"device_name": "Joystick", "vendor_id": 7, "num_valuators": 1, "num_buttons": 2},
        ),
        (CLIENT, message(3, "I", 9, order=order), {"device_origin": 9}),
        (CLIENT, message(0, "".join(one for one, _, _ in EVENTS), *every, order=order), {}),
        (SERVER, message(1, "2H", 2, 1, order=order), {"maximum_version": 2, "minimum_version": 1}),
        (SERVER, message(2, "I", 9, order=order), {"device_origin": 9}),
        (SERVER, message(15, "I", 9, order=order), {"sub_type_name": "unregistered"}),
    ]
    it = started()
    for side, data, wanted in cases:
        assert it.say(side, data) == [f"{side} giiMessage"]
        fields = it.last("giiMessage").fields()
        assert {name: fields[name] for name in wanted} == wanted
        if "device_name" in wanted:
            assert fields["can_generate_names"] == ["key press", "valuator relative", "valuator absolute"]
            (valuator,) = fields["valuators"]
            assert (valuator["long_name"], valuator["range_min"], valuator["si_unit_name"]) == (
                "Wheel of fortune",
                -5,
                "rad",
            )
        if "events" in fields:
            for event, (_, _, told) in zip(fields["events"], EVENTS, strict=True):
                assert {name: event[name] for name in told} == told
    assert it.over() == []


@pytest.mark.parametrize(
    ("sub_type", "data", "why"),
    [
        (1, b"", "0 bytes where 2 are wanted"),
        (2, bytes(55), "a device of 55 bytes: it has at least 56"),
        (2, bytes(48) + struct.pack(">2I", 1 << 31, 0), "2147483648 valuators in 0 bytes"),
        (0, b"\1", "an event of 1 bytes with 1 left"),
        (0, b"\x18\5\0\0", "an event of 24 bytes with 4 left"),
        (0, b"\4\5\0\0", "an event of type 5 of 4 bytes where 24 are wanted"),
        (0, b"\x10\x0c\0\0" + struct.pack(">3I", 1, 0, 1 << 31), "where 8589934608 are wanted"),
    ],
)
def test_what_contradicts_itself_is_told_and_the_rest_is_read(sub_type: int, data: bytes, why: str) -> None:
    it = started()
    said = bytes([253, 0x80 | sub_type]) + struct.pack(">H", len(data)) + data
    told = it.client(said, b"\4\1\0\0\0\0\0\x61")
    assert told[0] == "client giiMessage"
    assert why in told[1]
    assert told[2] == "client KeyEvent"


def test_many_events_are_counted() -> None:
    shown, wrong = gii.decode(CLIENT, 0, b"\4\x63\0\0" * 300, big=True)
    assert wrong is None
    assert (len(shown["events"]), shown["events_not_shown"]) == (gii.SHOWN, 300 - gii.SHOWN)
