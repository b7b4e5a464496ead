# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiled layout of a packet class: sizes, limits, nesting, byte orders, and how fields are shown."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.fields import BitField

from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    FieldListField,
    IntEnumField,
    IntField,
    LEIntField,
    LELongField,
    LEShortField,
    PacketField,
    PacketListField,
    ShortField,
    SignedShortField,
    StrLenField,
)
from dissect.stream.layout import (
    BYTES_SHOWN,
    ITEMS_LIMIT,
    BitNamesField,
    FixedTextField,
    Malformed,
    Padding,
    ProtocolPacket,
    RestField,
    SecretField,
    Short,
    TextField,
    set_bits,
)
from tests.stream.properties import packets, same


class Point(ProtocolPacket):
    name = "Point"
    fields_desc: ClassVar[list[Any]] = [ShortField("x", 0), SignedShortField("y", 0)]


class Name(ProtocolPacket):
    name = "Name"
    fields_desc: ClassVar[list[Any]] = [
        FieldLenField("size", None, length_of="text", fmt="B"),
        TextField("text", b"", length_from=lambda p: p.size),
        ByteField("end", 0),
    ]


class Mixed(ProtocolPacket):
    """Everything that a layout may hold, in both byte orders."""

    name = "A mixed message"
    limit = 100
    fields_desc: ClassVar[list[Any]] = [
        ByteEnumField("kind", 1, {0: "none", 1: "one"}),
        Padding("padding", 1),
        LEShortField("little", 0x0102),
        IntField("big", 0x01020304),
        LELongField("long", 1),
        FixedTextField("title", b"ab\0\0", 4),
        SecretField("secret", b"1234", length=4),
        PacketField("origin", None, Point),
        PacketField("owner", None, Name),
        FieldLenField("points_size", None, count_of="points", fmt="B"),
        FieldLenField("names_size", None, count_of="names", fmt="B"),
        FieldLenField("words_size", None, count_of="words", fmt="B"),
        PacketListField("points", [], Point, count_from=lambda p: p.points_size),
        PacketListField("names", [], Name, count_from=lambda p: p.names_size),
        FieldListField("words", [], ByteEnumField("", 0, {7: "seven"}), count_from=lambda p: p.words_size),
        ConditionalField(ShortField("only_one", 5), lambda p: p.kind == 1),
        IntField("last", 9),
    ]


@settings(max_examples=60)
@given(packets(Mixed))
def test_it_reads_what_scapy_reads(packet: Mixed) -> None:
    raw = bytes(packet)
    layout = Mixed.layout()
    values, end = layout.decode(raw + b"next")
    assert end == len(raw)
    assert same(values, Mixed(raw))
    for size in range(len(raw)):
        with pytest.raises(Short) as short:
            layout.decode(raw[:size])
        assert size < short.value.needed <= len(raw)
        assert not short.value.exact or short.value.needed == len(raw)
    shifted, end = layout.decode(b"???" + raw, 3)
    assert (shifted, end) == (values, len(raw) + 3)
    first = {name: layout.leading_value(name, b"???" + raw, 3) for name in layout.leading}
    assert first == {name: values[name] for name in ("kind", "padding", "little")}


def test_the_layout_knows_its_sizes() -> None:
    assert (Point.layout().least, Point.layout().fixed) == (4, 4)
    assert (Name.layout().least, Name.layout().fixed) == (2, None)
    assert Name.layout() is Name.layout()
    assert Mixed.layout() is not Name.layout()
    assert Mixed.title() == "A mixed message"


def test_short_says_whether_it_knows_the_end() -> None:
    with pytest.raises(Short) as short:
        Name.layout().decode(b"")
    assert (short.value.needed, short.value.exact) == (2, False)
    with pytest.raises(Short) as short:
        Name.layout().decode(b"\5ab")
    assert (short.value.needed, short.value.exact) == (7, True)


def test_a_nested_structure_never_reads_beyond_its_parents_end() -> None:
    with pytest.raises(Short):
        Name.layout().decode(b"\5abcdef and more", 0, 6)


class Limited(ProtocolPacket):
    name = "Limited"
    limit = 8
    fields_desc: ClassVar[list[Any]] = [
        IntField("size", 0),
        IntField("count", 0),
        StrLenField("text", b"", length_from=lambda p: p.size),
        FieldListField("words", [], LEIntField("", 0), count_from=lambda p: p.count),
    ]


@pytest.mark.parametrize(
    ("size", "count", "why"),
    [
        (9, 0, "text: 9 bytes is outside the limit of 8 bytes"),
        ((1 << 32) - 1, 0, "text: 4294967295 bytes is outside the limit of 8 bytes"),
        (0, 3, "words: 3 items of 4 bytes is outside the limit of 8 bytes"),
        (0, (1 << 32) - 1, "words: 4294967295 items of 4 bytes is outside the limit of 8 bytes"),
    ],
)
def test_limits_are_checked_before_bytes_are_wanted(size: int, count: int, why: str) -> None:
    head = size.to_bytes(4, "big") + count.to_bytes(4, "big")
    with pytest.raises(Malformed) as bad:
        Limited.layout().decode(head)
    assert (bad.value.why, bad.value.at) == (why, 8)


def test_a_list_of_too_many_items_is_refused() -> None:
    """Even where its bytes are within the limit: each item takes more memory than it has bytes."""

    class Many(ProtocolPacket):
        name = "Many"
        fields_desc: ClassVar[list[Any]] = [
            IntField("count", 0),
            FieldListField("words", [], LEIntField("", 0), count_from=lambda p: p.count),
        ]

    assert len(Many.layout().decode((ITEMS_LIMIT).to_bytes(4, "big") + bytes(4 * ITEMS_LIMIT))[0]["words"])
    with pytest.raises(
        Malformed, match=f"words: {ITEMS_LIMIT + 1} items are over the limit of {ITEMS_LIMIT}"
    ):
        Many.layout().decode((ITEMS_LIMIT + 1).to_bytes(4, "big"))


def test_a_negative_length_is_refused() -> None:
    class Negative(ProtocolPacket):
        name = "Negative"
        fields_desc: ClassVar[list[Any]] = [
            SignedShortField("size", 0),
            StrLenField("text", b"", length_from=lambda p: p.size),
        ]

    with pytest.raises(Malformed, match="text: -1 bytes"):
        Negative.layout().decode(b"\xff\xff")


def test_what_has_no_compiled_form_says_so_when_the_class_is_compiled() -> None:
    class Bits(ProtocolPacket):
        name = "Bits"
        fields_desc: ClassVar[list[Any]] = [BitField("a", 0, 3), BitField("b", 0, 5)]

    class Open(ProtocolPacket):
        name = "Open"
        fields_desc: ClassVar[list[Any]] = [PacketListField("points", [], Point)]

    with pytest.raises(TypeError, match="'a'"):
        Bits.layout()
    with pytest.raises(TypeError, match="needs length_from or count_from"):
        Open.layout()


class Shown(ProtocolPacket):
    name = "Shown"
    fields_desc: ClassVar[list[Any]] = [
        FieldLenField("count", None, count_of="flags", fmt="B"),
        ByteField("channel", 0),
        BitNamesField(
            "flags",
            LEIntField("", 0),
            count_from=lambda p: p.count,
            names_from=lambda values: {0: "ZERO", 33: "HIGH"} if values["channel"] == 2 else {},
            max_count=8,
        ),
        RestField("rest", b""),
    ]


def show(packet: ProtocolPacket, **how: Any) -> dict[str, Any]:
    values, _ = packet.layout().decode(bytes(packet))
    shown = packet.layout().describe(values, **how)
    json.dumps(shown)
    return shown


def test_fields_are_shown_as_what_they_are() -> None:
    shown = show(
        Mixed(
            kind=1,
            title=b"ab\xff\0",
            owner=Name(text="ü".encode()),
            points=[Point(x=1, y=-1)],
            words=[7, 8],
        )
    )
    assert shown["kind_name"] == "one"
    assert "padding" not in shown
    assert shown["title"] == "ab\\xff"
    assert shown["secret"] == "hidden (4 bytes)"
    assert shown["owner"]["text"] == "ü"
    assert shown["points"] == [{"x": 1, "y": -1}]
    assert shown["words_names"] == ["seven", "unknown 8"]
    assert shown["only_one"] == 5
    assert "only_one" not in show(Mixed(kind=0))
    assert show(Mixed(kind=9))["kind_name"] == "unknown 9"
    assert show(Mixed(padding=b"\1"))["padding"] == "01"
    assert show(Mixed(), secrets=True)["secret"] == b"1234".hex()


def test_bits_have_the_names_that_another_field_gives_them() -> None:
    assert show(Shown(channel=2, flags=[1, 2]))["flags_names"] == ["ZERO", "HIGH"]
    assert show(Shown(channel=3, flags=[1, 2]))["flags_names"] == ["bit 0", "bit 33"]
    assert "rest" not in show(Shown())
    assert show(Shown(rest=b"\1\2"))["rest"] == "0102"
    long = show(Shown(rest=bytes(BYTES_SHOWN + 1)))["rest"]
    assert long == "00" * BYTES_SHOWN + f"… ({BYTES_SHOWN + 1} bytes)"


class Said(ProtocolPacket):
    name = "Said"
    fields_desc: ClassVar[list[Any]] = [
        IntEnumField("length", 0, {0xFFFFFFFF: "open"}, counts=True),
        TextField("text", b"", lambda p: 0 if p.length > 99 else p.length, otherwise="latin-1"),
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff" * 4, {"length": 0xFFFFFFFF, "length_name": "open", "text": ""}),
        (b"\0\0\0\2\xc2\xa3", {"length": 2, "text": "£"}),
        (b"\0\0\0\2\xa3!", {"length": 2, "text": "£!"}),
    ],
)
def test_numbers_of_which_some_have_names_and_text_in_either_encoding(
    data: bytes, expected: dict[str, object]
) -> None:
    layout = Said.layout()
    values, _ = layout.decode(data)
    assert layout.describe(values) == expected


@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=4))
def test_set_bits(words: list[int]) -> None:
    number = sum(word << 32 * index for index, word in enumerate(words))
    assert sum(1 << bit for bit in set_bits(words)) == number
    assert list(set_bits(words)) == sorted(set_bits(words))
