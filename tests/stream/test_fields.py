# SPDX-License-Identifier: GPL-2.0-or-later
"""Each field is what Scapy's field of its name is, and Scapy's is made of it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from scapy import fields as scapys

from dissect.stream import fields
from dissect.stream.packets import field_of

CLASSES = [cls for _, cls in inspect.getmembers(fields, inspect.isclass) if cls.__module__ == fields.__name__]
NUMBERS = [
    cls
    for cls in CLASSES
    if issubclass(cls, fields.NumberField)
    and cls not in (fields.NumberField, fields.EnumField, fields.FieldLenField)
]


@pytest.mark.parametrize("cls", NUMBERS)
def test_a_number_is_the_one_that_scapy_has(cls: type[fields.NumberField]) -> None:
    ours = cls("number", 5, {5: "five"}) if issubclass(cls, fields.EnumField) else cls("number", 5)
    made: Any = field_of(ours)
    assert type(made) is getattr(scapys, cls.__name__)
    # Scapy writes the network's order as ">" in some, and none for a byte.
    assert made.fmt.replace(">", "!") in (ours.fmt, ours.fmt.replace("!", "<"))[: 1 + (ours.sz == 1)]
    assert (made.name, made.default, made.sz) == (ours.name, ours.default, ours.sz)
    if isinstance(ours, fields.EnumField):
        assert made.i2s == ours.i2s


def test_every_field_has_a_scapy_field_of_its_name() -> None:
    own = {fields.NumberField}
    assert {cls.__name__ for cls in CLASSES if cls not in own and not hasattr(scapys, cls.__name__)} == set()


@pytest.mark.parametrize(
    ("ours", "size"),
    [
        (fields.FieldLenField("size", None, length_of="text", fmt="<H"), 2),
        (fields.FieldLenField("count", None, count_of="items"), 2),
        (fields.StrFixedLenField("text", b"abc", length=3), 0),
    ],
)
def test_sizes(ours: fields.Field, size: int) -> None:
    assert ours.sz == size
    made = field_of(ours)
    assert type(made) is getattr(scapys, type(ours).__name__)
    assert vars(ours).items() >= {"name": made.name, "default": made.default}.items()
