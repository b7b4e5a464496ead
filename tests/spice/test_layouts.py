# SPDX-License-Identifier: GPL-2.0-or-later
"""Every message of every channel, field by field, against what spice.proto says of it (`layouts.json`).

Compared are names, numbers, widths, order, enumerations, how long arrays are, what pointers lead to and
whether they may be 0, and what is there in which case of a switch, in every case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from dissect.spice import constants
from dissect.spice.channels import base
from dissect.spice.fields import FLAGS, PointedField, PointerField
from dissect.stream import Side
from dissect.stream.fields import ConditionalField, FieldListField, PacketField
from dissect.stream.layout import ProtocolPacket, RestField, Values, names_of, number_of

PROTO: dict[str, Any] = json.loads(Path(__file__).with_name("layouts.json").read_text())
CODES = {"8": "b", "16": "h", "32": "i", "64": "q"}

OTHER_NAMES: Mapping[str, str] = {
    "data": "migrate_data ping_data agent_data indicator frame pixels jpeg_data zlib_data raster scancodes "
    "image samples mode_data card_data carried",
    "compressed_data": "compressed",
    "time": "multi_media_time",  # Scapy keeps `time` and `name` for itself
    "name": "guest_name port_name",
    "visibilty": "visibility",
    "glyphs": "glyphs_a1 glyphs_a4 glyphs_a8",
}
"""Field of spice.proto -> what it is called here instead."""
NAMED = {
    "SPICE_MSG_MAIN_INIT.supported_mouse_modes",
    "SPICE_MSG_MAIN_INIT.current_mouse_mode",
    "ChannelId.type",
    "ResourceID.type",
    "SPICE_MSG_DISPLAY_DRAW_STROKE.fore_mode",
    "SPICE_MSG_DISPLAY_DRAW_STROKE.back_mode",
    "SPICE_MSG_DISPLAY_DRAW_TEXT.fore_mode",
    "SPICE_MSG_DISPLAY_DRAW_TEXT.back_mode",
    "SPICE_MSG_PORT_EVENT.event",
    "SPICE_MSGC_PORT_EVENT.event",
}
"""Fields whose values have names here, while spice.proto has a plain number."""
MORE = {"SPICE_MSG_NOTIFY.after_message"}
"""What spice-server sends though spice.proto has it not: the NUL behind the text."""
NEWER = {"SPICE_MSG_DISPLAY_GL_SCANOUT2_UNIX"}
"""Not yet in this spice.proto."""

Fields = list[dict[str, Any]]


class Choices:
    """Goes through all that can be chosen, one after the other."""

    def __init__(self) -> None:
        self._script: list[int] = []
        self._sizes: list[int] = []

    def choose(self, options: list[Any]) -> Any:
        place = len(self._sizes)
        self._sizes.append(len(options))
        if place == len(self._script):
            self._script.append(0)
        return options[self._script[place]]

    def __iter__(self) -> Iterator[None]:
        while True:
            self._sizes = []
            yield
            while self._script and self._script[-1] + 1 == self._sizes[len(self._script) - 1]:
                self._script.pop()
            if not self._script:
                return
            self._script[-1] += 1


@dataclass
class Leaf:
    """One field as it is on the wire; `code` is a number's, else "array" or "pointer"."""

    name: str
    code: str
    value: int = 0
    enum: Any = None
    of: Any = None
    size: Any = None
    nonnull: bool = False


def theirs(
    fields: Fields, choices: Choices, deciding: Mapping[str, list[Any]], values: dict[str, int]
) -> Iterator[Leaf]:
    """The fields that are there, in order; `values`, by name, are filled on the way."""
    here: dict[str, list[Any]] = {}
    for one in fields:
        if "switch" in one:
            here.setdefault(one["switch"], []).extend(one["cases"])
    deciding = {**deciding, **here}
    for one in fields:
        if "switch" in one:
            inside: Fields = next(
                (then for names, then in one["cases"] if _case(one["switch"], names, values)), []
            )
            yield from theirs(inside, choices, {}, values)
            continue
        name, kind = one["name"], one["type"]
        structure, enum = PROTO["structs"].get(kind), PROTO["enums"].get(kind)
        if "count" in one or "pointer" in one:
            size = one.get("count")
            if isinstance(size, str):
                size = values.get(size, size)
            elif isinstance(size, list):
                bits, width, height = size
                size = (values[width] * bits + 7) // 8 * values[height]
            code = "pointer" if "pointer" in one else "array"
            of = structure if structure is not None else kind
            yield Leaf(name, code, of=of, size=size, nonnull=one.get("pointer") == "nonnull")
        elif structure is not None:
            inner: dict[str, int] = {}
            ahead = {path[len(name) + 1 :]: c for path, c in deciding.items() if path.startswith(name + ".")}
            yield from theirs(structure, choices, ahead, inner)
            values.update({f"{name}.{key}": value for key, value in inner.items()})
        elif kind != "unix_fd":  # which travels beside the bytes
            value = 100 * (len(values) + 1)
            if name in deciding:
                value = choices.choose(_values(enum, deciding[name]))
                values[f"{name} of"] = enum
            values[name] = value
            yield _number(name, enum["type"] if enum else kind, value, enum)


def _case(switch: str, names: list[str], values: Mapping[str, Any]) -> bool:
    enum, value = values[f"{switch} of"], values[switch]
    numbers = {text: int(number) for number, text in enum["names"].items()}
    if enum["type"].startswith("enum"):
        return not names or any(value == numbers[one] for one in names)
    return not names or any(bool(value >> numbers[one.strip("!")] & 1) == ("!" not in one) for one in names)


def _values(enum: Any, cases: list[Any]) -> list[int]:
    """Values of an enumeration or of flags such that each case is met, and none."""
    named = {name.strip("!") for names, _ in cases for name in names}
    numbers = [int(number) for number, text in enum["names"].items() if text in named]
    if enum["type"].startswith("enum"):
        return [*numbers, 222]
    return [
        sum(1 << bit for bit in some) for n in range(len(numbers) + 1) for some in combinations(numbers, n)
    ]


def _number(name: str, kind: str, value: int, enum: Any) -> Leaf:
    code = CODES[kind.strip("abcdefghijklmnopqrstuvwxyz")]
    return Leaf(name, code if kind.startswith("int") else code.upper(), value, enum)


class Comparison:
    """Of one message with its class; what differs is in `found`."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._done: set[tuple[int, type]] = set()
        self._left: Any = 0
        """Bytes of an array that are still to come; "rest": all that there are."""

    def compare(self, fields: Fields, cls: type[ProtocolPacket]) -> None:
        """A structure, in every case of its switches, and what it leads to."""
        if (id(fields), cls) in self._done:
            return
        self._done.add((id(fields), cls))
        choices = Choices()
        for _ in choices:
            queue = list(theirs(fields, choices, {}, {}))
            self._left = 0
            self._structure(cls, queue)
            if self._left:
                self.found.append(f"{cls.title()}: {self._left} bytes more are wanted")
            if queue:
                self.found.append(f"{cls.title()}: {queue[0].name} is not there")

    def _structure(self, cls: type[ProtocolPacket], queue: list[Leaf]) -> Values:
        values = Values()
        for field in cls.fields_desc:
            inner: Any = field
            if isinstance(field, ConditionalField):
                there: Any = field.cond
                if not there(values):
                    continue
                inner = field.fld
            where = f"{cls.title()}.{inner.name}"
            if isinstance(inner, PointedField) or where in MORE:
                continue
            if isinstance(inner, PacketField):
                held: Any = inner.cls
                values[inner.name] = self._structure(held, queue)
            elif self._left:
                self._piece(where, inner, values)
            elif not queue:
                self.found.append(f"{where} is more than there is")
            else:
                self._field(where, inner, queue.pop(0), values)
        return values

    def _field(self, where: str, field: Any, leaf: Leaf, values: Values) -> None:
        values[field.name] = leaf.value
        wrong = self.found.append
        if leaf.code == "array" and _size(field, values) != leaf.size:
            # Bytes to spice.proto; here they are taken apart.
            self._left = leaf.size
            self._piece(where, field, values)
            return
        if field.name != leaf.name and field.name not in OTHER_NAMES.get(leaf.name, "").split():
            wrong(f"{where} has the name {leaf.name}")
        if leaf.code == "array":
            self._items(where, field, leaf)
        elif leaf.code == "pointer":
            if not isinstance(field, PointerField):
                wrong(f"{where} is no pointer")
            elif field.required != leaf.nonnull:
                wrong(f"{where} may{' not' if leaf.nonnull else ''} be 0")
            elif not field.single:
                self.compare(leaf.of, field.target)
            else:
                (target,) = field.target.fields_desc
                if _size(target, values) != leaf.size:
                    wrong(f"{where} leads to {_size(target, values)} items, not {leaf.size}")
                self._items(where, target, leaf)
        elif number_of(field)[1] != leaf.code or (number_of(field)[0] != "<" and leaf.code not in "bB"):
            wrong(f"{where} is {number_of(field)}, not <{leaf.code}")
        else:
            self._names(where, field, leaf.enum)

    def _piece(self, where: str, field: Any, values: Values) -> None:
        """A part of an array of bytes."""
        size = _size(field, values)
        if self._left == "rest" or size == "rest":
            self._left = 0 if size == "rest" else self._left
            return
        values[field.name] = 0
        self._left -= number_of(field)[2] if size is None else size
        if self._left < 0:
            self.found.append(f"{where} is {-self._left} bytes too long")
            self._left = 0

    def _items(self, where: str, field: Any, leaf: Leaf) -> None:
        enum = PROTO["enums"].get(leaf.of) if isinstance(leaf.of, str) else None
        if isinstance(leaf.of, list):
            self.compare(leaf.of, field.cls)
        elif isinstance(field, FieldListField):
            item = _number("", enum["type"] if enum else leaf.of, 0, enum)
            if number_of(field.field)[1] != item.code:
                self.found.append(f"{where} holds {number_of(field.field)}, not {item.code}")
            self._names(where, field.field, enum)
        elif leaf.of != "uint8":
            self.found.append(f"{where} holds bytes, not {leaf.of}")

    def _names(self, where: str, field: Any, enum: Any) -> None:
        ours = dict(field.bits) if isinstance(field, FLAGS) else names_of(field)
        if enum is None:
            if ours is not None and where not in NAMED:
                self.found.append(f"{where} has no names")
            return
        wanted = {int(number): name for number, name in enum["names"].items()}
        if enum["type"].startswith("flags") and not isinstance(field, FLAGS):
            # All that can be set, by name.
            some = [one for n in range(1, len(wanted) + 1) for one in combinations(wanted, n)]
            wanted = {sum(1 << bit for bit in one): "|".join(wanted[bit] for bit in one) for one in some}
        if ours is None or dict(ours) != wanted:
            self.found.append(f"{where} has the names {wanted}, not {ours}")


def _size(field: Any, values: Values) -> Any:
    """Bytes of a field of bytes, items of a list; "rest", or None of a number."""
    if isinstance(field, RestField):
        return "rest"
    size_of = getattr(field, "length_from", None) or getattr(field, "count_from", None)
    return None if size_of is None else size_of(values)


MESSAGES = [
    (int(channel), Side(side), int(number), name)
    for channel, sides in PROTO["channels"].items()
    for side, those in sides.items()
    for number, (name, _) in those.items()
]


@pytest.mark.parametrize(("channel", "side", "number", "name"), MESSAGES)
def test_every_field(channel: int, side: Side, number: int, name: str) -> None:
    cls = base.body(channel, side, number)
    assert cls is not None
    comparison = Comparison()
    comparison.compare(PROTO["channels"][str(channel)][str(side)][str(number)][1], cls)
    assert comparison.found == []


def test_no_message_is_missing_and_none_is_more() -> None:
    ours = {
        (channel, side, number)
        for channel, sides in constants.MESSAGES.items()
        for side, those in sides.items()
        for number, name in those.items()
        if name not in NEWER
    }
    assert ours == {one[:3] for one in MESSAGES}


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ([{"name": "generation", "type": "uint32"}], "SPICE_MSG_SET_ACK.window is more than there is"),
        (
            [{"name": "generation", "type": "uint16"}, {"name": "window", "type": "int32"}],
            "SPICE_MSG_SET_ACK.generation is ('<', 'I', 4), not <H",
        ),
        (
            [{"name": "window", "type": "uint32"}, {"name": "generation", "type": "uint32"}],
            "SPICE_MSG_SET_ACK.generation has the name window",
        ),
    ],
)
def test_what_differs_is_found(spoilt: Fields, why: str) -> None:
    comparison = Comparison()
    comparison.compare(spoilt, base.SpiceMsgSetAck)
    assert why in comparison.found
