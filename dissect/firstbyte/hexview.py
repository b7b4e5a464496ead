# SPDX-License-Identifier: GPL-2.0-or-later
"""A message as its fields beside its bytes, as text and as HTML.

Which bytes a field has is asked of the message's own layout, field by field; so a secret is hidden among the
bytes wherever it is hidden among the fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dissect.firstbyte import display
from dissect.report.markup import Markup, joined, tag
from dissect.stream import records as raw
from dissect.stream.layout import ProtocolPacket, SecretField, SecretLenField
from dissect.stream.text import duration, plural, safe

if TYPE_CHECKING:
    from dissect.firstbyte.conversations import Record

LINE = 16
"""Bytes of one line."""

SHOWN = 512
"""Bytes of a message that are shown."""

LONGEST = 160
"""Characters of a field's value that are shown."""


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes of a message that belong to one field of it: from `start` up to `end`."""

    name: str
    start: int
    end: int
    secret: bool = False


def spans(message: raw.Message) -> list[Span]:
    """Which bytes belong to which field, in their order; bytes that no layout describes are in none.

    A field that holds structures is one span.
    """
    found = []
    for part in message.parts:
        packet: Any = part.cls()
        rest = message.raw[part.start : part.end]
        for field, scapys in zip(part.cls.fields_desc, packet.fields_desc, strict=True):
            before = len(rest)
            rest, packet.fields[field.name] = scapys.getfield(packet, rest)
            if len(rest) < before:
                span = Span(field.name, part.end - before, part.end - len(rest), _secret(field))
                found.append(span)
    return found


def _secret(field: Any) -> bool:
    """Whether a field holds a secret, itself or in the structures that it holds."""
    field = getattr(field, "fld", field)
    if isinstance(field, SecretField | SecretLenField):
        return True
    inner = getattr(field, "cls", None)
    if isinstance(inner, type) and issubclass(inner, ProtocolPacket):
        return any(map(_secret, inner.fields_desc))
    return False


# --- what both forms show -----------------------------------------------------------------------------------


def head(record: Record) -> str:
    """One line: what it is, whose, where and when."""
    what = safe(record.name) if record.kind == "message" else f"{record.kind} ({safe(record.name)})"
    return (
        f"{what}: {plural(record.size, 'byte')} from the {record.side}, at {record.offset:,} of its stream, "
        f"{duration(record.since_ns)} after the start"
    )


def _fields(record: Record) -> dict[str, Any]:
    """Its fields, but for the bytes of a run that is not decoded: they stand beside them."""
    return {name: value for name, value in record.fields.items() if name != "head" or not record.raw}


def rows(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each field with its value, numbers with their registered names in one."""
    for name, value in fields.items():
        base = name.removesuffix("_names").removesuffix("_name")
        if base != name and base in fields:
            continue
        if isinstance(value, dict) and value:
            yield from ((f"{safe(name)}.{inner}", shown) for inner, shown in rows(value))
            continue
        shown = _value(value)
        for names in (fields.get(f"{name}_name"), fields.get(f"{name}_names")):
            if names:
                shown += f" ({', '.join(map(str, names)) if isinstance(names, list) else names})"
        shown = safe(shown)
        yield safe(name), shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown}" for name, shown in rows(value))
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "; ".join(map(_value, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _bytes(record: Record) -> tuple[bytes, list[Span]]:
    """The bytes that there are to show, and the fields that they belong to."""
    if not isinstance(record.record, raw.Message):
        return b"", []
    return record.raw[:SHOWN], spans(record.record)


def _hidden(found: Iterable[Span]) -> frozenset[int]:
    return frozenset(at for span in found if span.secret for at in range(span.start, min(span.end, SHOWN)))


def _left(record: Record, shown: bytes) -> str:
    left = record.size - len(shown) if shown else 0
    return f"… {plural(left, 'more byte')}" if left > 0 else ""


def _character(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else "."


# --- text ---------------------------------------------------------------------------------------------------


def text(record: Record) -> str:
    """A record for a terminal: a line on what it is, its fields, its bytes."""
    lines = [head(record)]
    found = list(rows(_fields(record)))
    space = max((len(name) for name, _ in found), default=0)
    lines += [f"  {name:<{space}}  {value}" for name, value in found]
    data, of = _bytes(record)
    hidden = _hidden(of)
    for start in range(0, len(data), LINE):
        here = range(start, min(start + LINE, len(data)))
        numbers = " ".join("··" if at in hidden else f"{data[at]:02x}" for at in here)
        letters = "".join("·" if at in hidden else _character(data[at]) for at in here)
        lines.append(f"{start:08x}  {numbers:<{3 * LINE}} |{letters}|")
    if left := _left(record, data):
        lines.append(left)
    return "\n".join(lines)


# --- HTML ---------------------------------------------------------------------------------------------------


def markup(record: Record) -> str:
    """A record for a notebook: its fields beside its bytes; pointing at one shows the other."""
    data, of = _bytes(record)
    number = {span.name: place for place, span in enumerate(of)}
    table = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            tag("td", value),
            class_=_field_class(number[top]) if (top := name.partition(".")[0]) in number else None,
        )
        for name, value in rows(_fields(record))
    ]
    parts = [tag("p", tag("b", head(record)))]
    if isinstance(record.record, raw.Violation):
        parts.append(tag("p", record.record.why, class_="fb-wrong"))
    columns = []
    if table:
        columns.append(tag("div", tag("table", tag("tbody", *table), class_="fb-fields")))
    if data:
        columns.append(tag("pre", *_dump(data, of), *([_left(record, data)] if _left(record, data) else [])))
    parts.append(tag("div", *columns, class_="fb-beside"))
    return display.frame(*parts, style=display.FIELDS)


def _field_class(place: int) -> str:
    return f"fb-f{place % display.FIELD_CLASSES} fb-t{place % 2}"


def _dump(data: bytes, of: list[Span]) -> Iterator[Markup]:
    """Lines of the dump; the bytes of a field, and its letters, in elements of its class."""
    hidden = _hidden(of)
    owner: dict[int, int] = {}
    for number, span in enumerate(of):
        owner.update(dict.fromkeys(range(span.start, min(span.end, len(data))), number))
    for start in range(0, len(data), LINE):
        here = range(start, min(start + LINE, len(data)))
        numbers: list[Markup] = []
        letters: list[Markup] = []
        for place, run in _runs(here, owner):
            said = " ".join("··" if at in hidden else f"{data[at]:02x}" for at in run)
            drawn = "".join("·" if at in hidden else _character(data[at]) for at in run)
            kind = None if place is None else _field_class(place)
            title = None if place is None else of[place].name
            numbers.append(tag("span", said, class_=kind, title=title))
            letters.append(tag("span", drawn, class_=kind, title=title))
        between = [joined(" " if index else "", one) for index, one in enumerate(numbers)]
        padding = "   " * (LINE - len(here))
        yield joined(tag("i", f"{start:04x}"), "  ", *between, padding, "  ", *letters, Markup("\n"))


def _runs(here: range, owner: Mapping[int, int]) -> Iterator[tuple[int | None, range]]:
    """Neighbours that belong to the same field."""
    start = here.start
    for at in here:
        if at + 1 == here.stop or owner.get(at + 1) != owner.get(at):
            yield owner.get(at), range(start, at + 1)
            start = at + 1
