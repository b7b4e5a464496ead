# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold for any bytes in any pieces, and how hypothesis makes both; shared by both protocols."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from scapy.packet import Packet

from dissect.stream import Side
from dissect.stream.fields import (
    ConditionalField,
    FieldLenField,
    FieldListField,
    PacketField,
    PacketListField,
    StrField,
    StrFixedLenField,
    StrLenField,
)
from dissect.stream.layout import ProtocolPacket, RestField, Values
from dissect.stream.session import Session
from tests.stream.talk import Event, account, play

# --- streams


def joined(events: Sequence[Event]) -> list[Event]:
    """The same conversation with neighbouring bytes of one side in one piece."""
    whole: list[Event] = []
    for side, what in events:
        last = whole[-1] if whole else None
        if last and last[0] is side and isinstance(what, bytes) and isinstance(last[1], bytes):
            whole[-1] = side, last[1] + what
        else:
            whole.append((side, what))
    return whole


@st.composite
def recut(draw: st.DrawFn, events: Sequence[Event]) -> list[Event]:
    """The same conversation, cut into other pieces; the order of the bytes of both sides stays."""
    pieces: list[Event] = []
    size = draw(st.sampled_from([1, 2, 5, 16, 100]))
    for side, what in joined(events):
        if isinstance(what, int):
            pieces.append((side, what))
            continue
        if size == 1:
            cuts = list(range(1, len(what)))
        else:
            cuts = sorted(draw(st.sets(st.integers(1, max(1, len(what) - 1)), max_size=size)))
        for start, end in zip([0, *cuts], [*cuts, len(what)], strict=True):
            if start < end:
                pieces.append((side, what[start:end]))
    return pieces


@st.composite
def mutated(draw: st.DrawFn, events: Sequence[Event], *, gaps: bool = False) -> list[Event]:
    """The conversation with some bytes flipped, inserted, deleted or (with `gaps`) lost."""
    changed = list(events)
    kinds = ["lose", "lose", "end"] if gaps else ["flip", "flip", "insert", "delete", "duplicate"]
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(changed) - 1))
        side, what = changed[index]
        if isinstance(what, int):
            continue
        at = draw(st.integers(0, max(0, len(what) - 1)))
        size = draw(st.integers(1, 20))
        match draw(st.sampled_from(kinds)):
            case "flip":
                new = bytes([draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])) ^ (what[at] if what else 0)])
                changed[index] = side, what[:at] + new + what[at + 1 :]
            case "insert":
                changed[index] = side, what[:at] + draw(st.binary(min_size=1, max_size=20)) + what[at:]
            case "delete":
                changed[index] = side, what[:at] + what[at + size :]
            case "duplicate":
                changed.insert(index, changed[index])
            case "lose":
                lost = len(what[at : at + size])
                changed[index : index + 1] = [(side, what[:at]), (side, lost), (side, what[at + size :])]
            case _:
                del changed[index + 1 :]
    return [(side, what) for side, what in changed if what]


def any_events(max_size: int = 60) -> st.SearchStrategy[list[Event]]:
    """Any bytes of either side, and gaps."""
    event = st.tuples(st.sampled_from(list(Side)), st.binary(min_size=1, max_size=max_size))
    gap = st.tuples(st.sampled_from(list(Side)), st.integers(1, 50))
    return st.lists(st.one_of(event, event, event, gap), max_size=8)


def hold(new: Callable[[], Session], events: Sequence[Event], again: Sequence[Event]) -> None:
    """`events` are accounted for byte by byte; `again`, the same cut otherwise, gives the same records."""
    records = play(new(), events)
    account(records, events)
    assert play(new(), again) == records


# --- packets


def packets(cls: type[ProtocolPacket]) -> st.SearchStrategy[ProtocolPacket]:
    """Any packet of a class whose counts and lengths Scapy fills in."""
    return st.fixed_dictionaries({f.name: _values(f) for f in cls.fields_desc}).map(
        lambda values: cls(**{name: value for name, value in values.items() if value is not None})
    )


def _values(field: Any) -> st.SearchStrategy[Any]:
    if isinstance(field, ConditionalField):
        return _values(field.fld)
    if isinstance(field, FieldLenField) or field.default is None:
        return st.none()
    if isinstance(field, StrFixedLenField):
        size = _call(field.length_from)
        return st.binary(min_size=size, max_size=size)
    if isinstance(field, StrLenField | RestField | StrField):
        return st.binary(max_size=30)
    if isinstance(field, FieldListField):
        return st.lists(_numbers(field.field), max_size=4)
    if isinstance(field, PacketListField):
        return st.lists(packets(_class(field)), max_size=3)
    if isinstance(field, PacketField):
        return packets(_class(field))
    return _numbers(field)


def _class(field: Any) -> type[ProtocolPacket]:
    cls: type[ProtocolPacket] = field.cls
    return cls


def _call(length_from: Any) -> int:
    return int(length_from(None))


def _numbers(field: Any) -> st.SearchStrategy[int]:
    size = struct.calcsize(field.fmt)
    if field.fmt[-1].islower():
        return st.integers(-(1 << 8 * size - 1), (1 << 8 * size - 1) - 1)
    return st.integers(0, (1 << 8 * size) - 1)


def same(values: Values, packet: Packet) -> bool:
    """Whether the compiled layout found what Scapy's own dissection found."""
    present = {
        (f.fld if isinstance(f, ConditionalField) else f).name
        for f in type(packet).described.fields_desc
        if not isinstance(f, ConditionalField) or f.cond(packet)
    }
    return set(values) == present and all(
        _equal(value, packet.getfieldval(name)) for name, value in values.items()
    )


def _equal(value: Any, scapys: Any) -> bool:
    if isinstance(value, Values):
        return same(value, scapys)
    if isinstance(value, list):
        return len(value) == len(scapys) and all(map(_equal, value, scapys))
    return bool(value == scapys)
