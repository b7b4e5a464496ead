# SPDX-License-Identifier: GPL-2.0-or-later
"""What a gii message carries: versions, devices and their valuators, events.

rfbproto.rst "gii Client Message" and "gii Server Message". All numbers are of the byte order that the message
itself gives.
"""

from __future__ import annotations

import struct
from typing import Any

from dissect.stream.side import Side

BIG_ENDIAN = 0x80
"""The bit of the second byte of a message that says so; the others are its sub-type."""

EVENTS, VERSION, CREATION, DESTRUCTION = 0, 1, 2, 3
SUB_TYPES = {
    Side.CLIENT: {
        EVENTS: "injecting events",
        VERSION: "version",
        CREATION: "device creation",
        DESTRUCTION: "device destruction",
    },
    Side.SERVER: {VERSION: "version", CREATION: "device creation response"},
}

EVENT_NAMES = {
    5: "key press",
    6: "key release",
    7: "key repeat",
    8: "pointer relative",
    9: "pointer absolute",
    10: "pointer button press",
    11: "pointer button release",
    12: "valuator relative",
    13: "valuator absolute",
}
"""By event type; as bits of an EVENT_MASK their numbers are the same."""

SI_UNITS = (
    "unknown", "s", "1/s", "m", "m/s", "m/s^2", "rad", "rad/s", "rad/s^2", "m^2", "m^3", "kg", "N (kg*m/s^2)",
    "N/m^2 (Pa)", "Nm", "Nm, VAs, J", "Nm/s, VA, W", "K", "A", "V (kg*m^2/(As^3))", "V/A (Ohm)", "As/V",
    "Vs/A",
)  # fmt: skip

DEVICE, VALUATOR = "31sx6I", "I74sx4sx3iI4i"

SHOWN = 256
"""How many events or valuators of one message are kept as fields; the rest are counted."""


def decode(side: Side, sub_type: int, data: bytes, *, big: bool) -> tuple[dict[str, Any], str | None]:
    """The fields of a message of `side` that carries `data`, and what is wrong with it (None: nothing)."""
    order = ">" if big else "<"
    match side, sub_type:
        case Side.CLIENT, 0:
            return _events(data, order)
        case Side.CLIENT, 1:
            return _numbers(data, f"{order}H", "version")
        case Side.CLIENT, 2:
            return _device(data, order)
        case Side.CLIENT, 3:
            return _numbers(data, f"{order}I", "device_origin")
        case Side.SERVER, 1:
            return _numbers(data, f"{order}2H", "maximum_version", "minimum_version")
        case Side.SERVER, 2:
            return _numbers(data, f"{order}I", "device_origin")
        case _:
            return {}, None


def _numbers(data: bytes, layout: str, *names: str) -> tuple[dict[str, Any], str | None]:
    size = struct.calcsize(layout)
    if len(data) != size:
        return {}, f"{len(data)} bytes where {size} are wanted"
    return dict(zip(names, struct.unpack(layout, data), strict=True)), None


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _device(data: bytes, order: str) -> tuple[dict[str, Any], str | None]:
    device, valuator = struct.Struct(order + DEVICE), struct.Struct(order + VALUATOR)
    if len(data) < device.size:
        return {}, f"a device of {len(data)} bytes: it has at least {device.size}"
    name, vendor, product, mask, registers, valuators, buttons = device.unpack_from(data)
    shown: dict[str, Any] = {
        "device_name": _text(name),
        "vendor_id": vendor,
        "product_id": product,
        "can_generate": mask,
        "can_generate_names": [what for bit, what in EVENT_NAMES.items() if mask >> bit & 1],
        "num_registers": registers,
        "num_valuators": valuators,
        "num_buttons": buttons,
    }
    if len(data) != device.size + valuators * valuator.size:
        return shown, f"{valuators} valuators in {len(data) - device.size} bytes, each has {valuator.size}"
    names = (
        "index", "long_name", "short_name", "range_min", "range_center", "range_max", "si_unit", "si_add",
        "si_mul", "si_div", "si_shift",
    )  # fmt: skip
    shown["valuators"] = []
    for values in valuator.iter_unpack(data[device.size :][: SHOWN * valuator.size]):
        one = dict(zip(names, values, strict=True))
        one["long_name"], one["short_name"] = _text(one["long_name"]), _text(one["short_name"])
        unit = one["si_unit"]
        one["si_unit_name"] = SI_UNITS[unit] if unit < len(SI_UNITS) else f"unknown {unit}"
        shown["valuators"].append(one)
    return shown, None


def _events(data: bytes, order: str) -> tuple[dict[str, Any], str | None]:
    events: list[dict[str, Any]] = []
    shown: dict[str, Any] = {"events": events}
    at = count = 0
    while at < len(data):
        size = data[at]
        if size < 2 or at + size > len(data):
            return shown, f"an event of {size} bytes with {len(data) - at} left"
        event, wrong = _event(data[at : at + size], order)
        if wrong is not None:
            return shown, wrong
        count += 1
        if count <= SHOWN:
            events.append(event)
        at += size
    if count > SHOWN:
        shown["events_not_shown"] = count - SHOWN
    return shown, None


KEY = ("device_origin", "modifiers", "symbol", "label", "button")
MOVE = ("device_origin", "x", "y", "z", "wheel")
BUTTON = ("device_origin", "button_number")
VALUES = ("device_origin", "first", "count")
FORMS = {
    **dict.fromkeys((5, 6, 7), ("5I", KEY)),
    **dict.fromkeys((8, 9), ("I4i", MOVE)),
    **dict.fromkeys((10, 11), ("2I", BUTTON)),
    **dict.fromkeys((12, 13), ("3I", VALUES)),
}
"""By event type, what follows its size, its type and two bytes of padding."""


def _event(data: bytes, order: str) -> tuple[dict[str, Any], str | None]:
    kind = data[1]
    event: dict[str, Any] = {"event_type": kind, "event_type_name": EVENT_NAMES.get(kind, f"unknown {kind}")}
    if kind not in FORMS:
        return event, None
    layout, names = FORMS[kind]
    body = struct.Struct(f"{order}{layout}")
    values = body.unpack_from(data, 4) if len(data) >= 4 + body.size else None
    size = 4 + body.size
    if values is not None:
        event.update(zip(names, values, strict=True))
        size += 4 * event.get("count", 0)
    if len(data) != size:
        return event, f"an event of type {kind} of {len(data)} bytes where {size} are wanted"
    if "count" in event:
        event["value"] = list(struct.unpack_from(f"{order}{event['count']}i", data, 4 + body.size))
    return event, None
