# SPDX-License-Identifier: GPL-2.0-or-later
"""A message is described once, by a class; everything else is derived from its `fields_desc`.

`ProtocolPacket` is the base class of every message. Called, such a class makes a Scapy packet; the Scapy
class is made then (`packets`), so that who only reads messages need not wait for Scapy.
`ProtocolPacket.layout()` compiles the fields into a `Layout`, which answers, without Scapy,

- how many bytes are wanted before the message is whole (`Short`), for framing a stream;
- what the fields hold (`decode`), for bulk work;
- how to show them (`describe`), for people and for JSON.

A field's presentation is the field's own: an enumeration shows its name, `TextField` shows text,
`SecretField` hides itself, `Padding` is not shown, `BitNamesField` names the bits that are set.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dissect.stream.fields import (
    ConditionalField,
    EnumField,
    Field,
    FieldListField,
    NumberField,
    PacketField,
    PacketListField,
    StrField,
    StrFixedLenField,
    StrLenField,
)

Buffer = bytes | bytearray | memoryview

MESSAGE_LIMIT = 1 << 26
"""Bytes: the longest variable field that is taken into memory unless a class says otherwise (64 MiB)."""


ITEMS_LIMIT = 1 << 18
"""Items of one list; each takes some hundred bytes of memory, however few it has on the wire."""

BYTES_SHOWN = 256
"""How many bytes of a field that is not text are shown."""


class Short(Exception):
    """The message is not whole: at least `needed` bytes, counted from its first, are wanted.

    `exact` is true where `needed` is the whole size of the message, so that lost bytes inside it can be
    skipped without losing the place.
    """

    def __init__(self, needed: int, exact: bool) -> None:
        super().__init__(f"{needed} bytes needed")
        self.needed = needed
        self.exact = exact


class Malformed(Exception):
    """The bytes contradict the layout: `why`, and `at`, the offset from the message's first byte."""

    def __init__(self, why: str, at: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.at = at


class Values(dict[str, Any]):
    """Fields decoded so far, readable as attributes, as Scapy's `length_from` and `cond` callables expect."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


# --- Fields that say how they are shown ----------------------------------------------------------------


class TextField(StrLenField):
    """Text of a length given elsewhere in the message; undecodable bytes are shown as escapes."""

    def __init__(
        self,
        name: str,
        default: bytes,
        length_from: Callable[[Any], int],
        encoding: str = "utf-8",
        otherwise: str | None = None,
    ) -> None:
        """`otherwise`: the encoding of what is not text in `encoding`, where programs differ."""
        super().__init__(name, default, length_from=length_from)
        self.encoding = encoding
        self.otherwise = otherwise

    def text(self, value: bytes) -> str:
        """The bytes as text."""
        if self.otherwise is not None:
            try:
                return value.decode(self.encoding)
            except UnicodeDecodeError:
                return value.decode(self.otherwise, "backslashreplace")
        return value.decode(self.encoding, "backslashreplace")


class FixedTextField(StrFixedLenField):
    """Text of a fixed length; NULs at its end are not shown."""

    def __init__(self, name: str, default: bytes, length: int, encoding: str = "utf-8") -> None:
        super().__init__(name, default, length=length)
        self.encoding = encoding

    def text(self, value: bytes) -> str:
        """The bytes before the NULs at the end, as text."""
        return value.rstrip(b"\0").decode(self.encoding, "backslashreplace")


class LiteralField(FixedTextField):
    """Text that is always the same. Shown only where it is not."""

    def __init__(self, name: str, value: bytes) -> None:
        super().__init__(name, value, len(value))


class RestField(StrField):
    """Bytes up to the end of the message, whose size its header gives. Not shown where there are none."""


class SecretField(StrFixedLenField):
    """Bytes that let somebody else in, or let them try offline; hidden unless asked for."""


class SecretLenField(StrLenField):
    """The same of a length given elsewhere in the message."""


class Padding(StrFixedLenField):
    """Bytes that carry nothing. Shown only where they are not zero."""

    def __init__(self, name: str, length: int) -> None:
        super().__init__(name, b"\0" * length, length=length)


class BitNamesField(FieldListField):
    """A list of 32-bit little-endian words whose bits have names: bit b of word w is number 32 w + b.

    `names_from` is given the fields decoded so far and returns number -> name, because the meaning of a
    SPICE channel capability depends on the channel type in the same message.
    """

    def __init__(
        self,
        name: str,
        inner: Field,
        count_from: Callable[[Any], int],
        names_from: Callable[[Any], Mapping[int, str]],
        max_count: int,
    ) -> None:
        super().__init__(name, [], inner, count_from=count_from, max_count=max_count)
        self.names_from = names_from


def set_bits(words: Sequence[int]) -> Iterator[int]:
    """The numbers of the bits that are set in a list of 32-bit words, lowest first."""
    for index, word in enumerate(words):
        while word:
            low = word & -word
            yield 32 * index + low.bit_length() - 1
            word ^= low


# --- The base class ------------------------------------------------------------------------------------


class Description(type):
    """The type of the classes that describe messages: such a class, when called, makes a Scapy packet.

    Packets are instances of the class that describes them.
    """

    def __call__(cls, *args: Any, **values: Any) -> Any:
        return cls.scapy_class()(*args, **values)

    def __instancecheck__(cls, instance: object) -> bool:
        described = getattr(type(instance), "described", None)
        return isinstance(described, type) and issubclass(described, cls)

    def scapy_class(cls) -> Any:
        """The Scapy class, made at first use."""
        made = cls.__dict__.get("_scapy_class")
        if made is None:
            from dissect.stream.packets import packet_class

            made = cls._scapy_class = packet_class(cls)
        return made


if TYPE_CHECKING:
    from scapy.packet import Packet

    class _Base(Packet):
        """What a message class makes is a packet."""

        fields_desc: ClassVar[list[Any]]

        @classmethod
        def scapy_class(cls) -> type[Packet]:
            """See `Description`."""

else:

    class _Base(metaclass=Description):
        """What a message class describes; for whom it makes packets, see `Description`."""

        name = None
        fields_desc = ()


class ProtocolPacket(_Base):
    """Base of every message class of both protocols.

    `name` is the field's standard name of the message; `fields_desc` its layout; `limit` the longest
    variable field in bytes that is read (longer ones are a violation before any memory is taken).
    """

    limit: ClassVar[int] = MESSAGE_LIMIT
    _layout: ClassVar[Layout | None] = None

    @classmethod
    def layout(cls) -> Layout:
        """The compiled layout, made at first use."""
        compiled = cls.__dict__.get("_layout")
        if compiled is None:
            compiled = Layout(cls)
            cls._layout = compiled
        return compiled

    @classmethod
    def title(cls) -> str:
        """The field's standard name of the message."""
        return cls.name or cls.__name__


# --- Compiled steps ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Fixed:
    """Consecutive fields of fixed size: one struct."""

    struct: struct.Struct
    names: tuple[str, ...]
    size: int

    def read(self, data: Buffer, at: int, end: int, values: Values, layout: Layout, index: int) -> int:
        if end - at < self.size:
            raise layout.short(index, at, self.size)
        values.update(zip(self.names, self.struct.unpack_from(data, at), strict=True))
        return at + self.size


@dataclass(slots=True)
class _Bytes:
    """Bytes whose length is given by a field before them."""

    name: str
    length: Callable[[Any], int]
    size: None = None

    def read(self, data: Buffer, at: int, end: int, values: Values, layout: Layout, index: int) -> int:
        length = layout.checked(self.name, self.length(values), 1, at)
        if end - at < length:
            raise layout.short(index, at, length)
        values[self.name] = bytes(data[at : at + length])
        return at + length


@dataclass(slots=True)
class _Rest:
    """Everything up to the end of the message, whose size somebody else knows."""

    name: str
    size: None = None

    def read(self, data: Buffer, at: int, end: int, values: Values, layout: Layout, index: int) -> int:
        values[self.name] = bytes(data[at:end])
        return end


@dataclass(slots=True)
class _Numbers:
    """A counted list of numbers of one size."""

    name: str
    count: Callable[[Any], int]
    order: str
    code: str
    width: int
    size: None = None

    def read(self, data: Buffer, at: int, end: int, values: Values, layout: Layout, index: int) -> int:
        count = layout.counted(self.name, self.count(values), self.width, at)
        length = count * self.width
        if end - at < length:
            raise layout.short(index, at, length)
        values[self.name] = list(struct.unpack_from(f"{self.order}{count}{self.code}", data, at))
        return at + length


@dataclass(slots=True)
class _Packets:
    """A counted list of structures (a count of None: exactly one, not a list)."""

    name: str
    count: Callable[[Any], int] | None
    cls: type[ProtocolPacket]
    size: int | None

    def read(self, data: Buffer, at: int, end: int, values: Values, layout: Layout, index: int) -> int:
        inner = self.cls.layout()
        if self.count is None:
            values[self.name], at = inner.nested(data, at, end, layout, index, 0)
            return at
        count = layout.counted(self.name, self.count(values), inner.least, at)
        if end - at < count * inner.least:
            raise layout.short(index, at, count * inner.least, inner.fixed is not None)
        items = []
        for left in range(count - 1, -1, -1):
            item, at = inner.nested(data, at, end, layout, index, left)
            items.append(item)
        values[self.name] = items
        return at


@dataclass(slots=True)
class _Maybe:
    """A field that is there only if a condition on the fields before it holds."""

    condition: Callable[[Any], bool]
    step: _Step
    size: None = None

    def read(self, data: Buffer, at: int, end: int, values: Values, layout: Layout, index: int) -> int:
        if not self.condition(values):
            return at
        return self.step.read(data, at, end, values, layout, index)


_Step = _Fixed | _Bytes | _Rest | _Numbers | _Packets | _Maybe


class Layout:
    """The compiled form of one packet class. Made by `ProtocolPacket.layout()`."""

    def __init__(self, cls: type[ProtocolPacket]) -> None:
        self.cls = cls
        self.limit = cls.limit
        self.fields: dict[str, Any] = {}
        self.steps: list[_Step] = list(_joined(self._compile(cls)))
        self._numbers = {
            name: names_of(field) for name, field in self.fields.items() if isinstance(field, NumberField)
        }
        self._counts = {
            name for name, field in self.fields.items() if isinstance(field, EnumField) and field.counts
        }
        first = self.steps[0] if self.steps else None
        self._first = first if isinstance(first, _Fixed) else _Fixed(struct.Struct(""), (), 0)
        self.leading = {name: index for index, name in enumerate(self._first.names)}
        """Fields before the first one whose size may change; `leading_value` reads one by itself."""
        # For each step, the least number of bytes that follow it, and whether that number is exact.
        self._after: list[tuple[int, bool]] = []
        least, exact = 0, True
        for step in reversed(self.steps):
            self._after.append((least, exact))
            least += step.size or 0
            exact = exact and step.size is not None
        self._after.reverse()
        self.least = least
        """The least number of bytes that a message of this class has."""
        self.fixed = least if exact else None
        """The size in bytes where every message of this class has the same, else None."""

    def _compile(self, cls: type[ProtocolPacket]) -> Iterator[_Step]:
        for field in cls.fields_desc:
            inner = field.fld if isinstance(field, ConditionalField) else field
            self.fields[inner.name] = inner
            step = _compile_field(inner)
            yield _Maybe(field.cond, step) if isinstance(field, ConditionalField) else step

    def short(self, index: int, at: int, length: int, known: bool = True) -> Short:
        """What to raise where step `index`, at `at`, has not all `length` bytes; `known`: it has no more."""
        least, exact = self._after[index]
        return Short(at + length + least, known and exact)

    def checked(self, name: str, count: int, width: int, at: int) -> int:
        """`count` if so many items of `width` bytes are within the limit of this class; else `Malformed`."""
        if count < 0 or count * width > self.limit:
            unit = "bytes" if width == 1 else f"items of {width} bytes"
            raise Malformed(f"{name}: {count} {unit} is outside the limit of {self.limit} bytes", at)
        return count

    def counted(self, name: str, count: int, width: int, at: int) -> int:
        """As `checked`, of a list: within the limit of items too."""
        if self.checked(name, count, width, at) > ITEMS_LIMIT:
            raise Malformed(f"{name}: {count} items are over the limit of {ITEMS_LIMIT}", at)
        return count

    def nested(
        self, data: Buffer, at: int, end: int, parent: Layout, index: int, left: int
    ) -> tuple[Values, int]:
        """Decode as an element of `parent`; what is short is what the whole parent lacks."""
        try:
            return self.decode(data, at, end)
        except Short as short:
            least, exact = parent._after[index]
            needed = short.needed + left * self.least + least
            raise Short(needed, short.exact and exact and (self.fixed is not None or left == 0)) from None

    def decode(self, data: Buffer, at: int = 0, end: int | None = None) -> tuple[Values, int]:
        """Decode one message that begins at `at`; returns its fields and the offset of the byte after it.

        Raises `Short` where bytes are wanting before `end` (its `needed` counts from the first byte of
        `data`), and `Malformed` where a length is outside the limit.
        """
        if end is None:
            end = len(data)
        values = Values()
        for index, step in enumerate(self.steps):
            at = step.read(data, at, end, values, self, index)
        return values, at

    def leading_value(self, name: str, data: Buffer, at: int) -> Any:
        """One of the `leading` fields of a whole message that begins at `at`."""
        return self._first.struct.unpack_from(data, at)[self.leading[name]]

    def measure(self, data: Buffer, at: int = 0, end: int | None = None) -> int:
        """The offset of the byte after one message that begins at `at`. Raises as `decode` does."""
        if self.fixed is None:
            return self.decode(data, at, end)[1]
        if (len(data) if end is None else end) - at < self.fixed:
            raise Short(at + self.fixed, True)
        return at + self.fixed

    def describe(
        self, values: Mapping[str, Any], *, secrets: bool = False, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Decoded fields as JSON values, with the registered names beside the numbers.

        `context` holds what the message does not say of itself but its names depend on.
        """
        shown: dict[str, Any] = {}
        numbers = self._numbers
        for name, value in values.items():
            if name in numbers:  # most fields are
                shown[name] = value
                known = numbers[name]
                if known is not None and (value in known or name not in self._counts):
                    shown[f"{name}_name"] = known.get(value, f"unknown {value}")
                continue
            field = self.fields[name]
            if isinstance(field, Padding):
                if value.strip(b"\0"):
                    shown[name] = value.hex()
            elif isinstance(field, LiteralField):
                if value != field.default:
                    shown[name] = value.decode(field.encoding, "backslashreplace")
            elif isinstance(field, SecretField | SecretLenField):
                shown[name] = value.hex() if secrets else f"hidden ({len(value)} bytes)"
            elif isinstance(field, BitNamesField):
                shown[name] = value
                names = field.names_from({**(context or {}), **values})
                shown[f"{name}_names"] = [names.get(bit, f"bit {bit}") for bit in set_bits(value)]
            elif isinstance(field, PacketListField):
                inner = _element(field).layout()
                shown[name] = [inner.describe(item, secrets=secrets) for item in value]
            elif isinstance(field, PacketField):
                shown[name] = _element(field).layout().describe(value, secrets=secrets)
            elif isinstance(value, bytes):
                if not value and not isinstance(field, TextField | FixedTextField):
                    continue
                if isinstance(field, TextField | FixedTextField):
                    shown[name] = field.text(value)
                else:
                    shown[name] = shown_bytes(value)
            else:
                shown[name] = value
                known = names_of(field.field)
                if known is not None:
                    shown[f"{name}_names"] = [known.get(item, f"unknown {item}") for item in value]
        return shown


def shown_bytes(value: bytes | memoryview) -> str:
    """Bytes that are not text, as they are shown."""
    more = f"… ({len(value)} bytes)" if len(value) > BYTES_SHOWN else ""
    return value[:BYTES_SHOWN].hex() + more


def names_of(field: Any) -> Mapping[int, str] | None:
    """The number -> name table of an enumeration, else None."""
    return field.i2s if isinstance(field, EnumField) else None


def number_of(field: Any) -> tuple[str, str, int]:
    """The struct byte order, code and width of a number."""
    if not isinstance(field, NumberField):
        raise TypeError(f"{type(field).__name__} {field.name!r} has no compiled form")
    return field.fmt[0], field.fmt[1:], field.sz


def _element(field: PacketListField | PacketField) -> type[ProtocolPacket]:
    """The class of the structures that a field holds."""
    cls: Any = field.cls
    if not (isinstance(cls, type) and issubclass(cls, ProtocolPacket)):
        raise TypeError(f"{type(field).__name__} {field.name!r} does not hold one class of ProtocolPacket")
    return cls


def _compile_field(field: Any) -> _Step:
    if isinstance(field, StrFixedLenField):
        fixed: Any = field.length_from
        size = fixed(None)
        return _Fixed(struct.Struct(f"{size}s"), (field.name,), size)
    if isinstance(field, StrLenField):
        return _Bytes(field.name, _given(field.length_from, field))
    if isinstance(field, RestField):
        return _Rest(field.name)
    if isinstance(field, FieldListField):
        return _Numbers(field.name, _given(field.count_from, field), *number_of(field.field))
    if isinstance(field, PacketListField):
        return _Packets(field.name, _given(field.count_from, field), _element(field), None)
    if isinstance(field, PacketField):
        cls = _element(field)
        return _Packets(field.name, None, cls, cls.layout().fixed)
    order, code, width = number_of(field)
    return _Fixed(struct.Struct(order + code), (field.name,), width)


def _given(size_from: Callable[[Any], int] | None, field: Any) -> Callable[[Any], int]:
    """What gives the size of a field; without it the field would run to the end of whatever is there."""
    if size_from is None:
        raise TypeError(f"{type(field).__name__} {field.name!r} needs length_from or count_from")
    return size_from


def _joined(steps: Iterator[_Step]) -> Iterator[_Step]:
    """Join neighbours of fixed size and one byte order into one struct."""
    pending: list[_Fixed] = []

    def flush() -> Iterator[_Step]:
        if pending:
            order = next((o for o in map(_order, pending) if o), "!")
            codes = "".join(step.struct.format.lstrip("<>!=@") for step in pending)
            joined = struct.Struct(order + codes)
            yield _Fixed(joined, tuple(n for step in pending for n in step.names), joined.size)
            pending.clear()

    for step in steps:
        if isinstance(step, _Fixed):
            orders = {o for o in map(_order, [*pending, step]) if o}
            if len(orders) > 1:
                yield from flush()
            pending.append(step)
        else:
            yield from flush()
            yield step
    yield from flush()


def _order(step: _Fixed) -> str | None:
    """The byte order of a step, or None where it has none (bytes, single characters)."""
    format_ = step.struct.format
    if format_[0] not in "<>!=@" or step.size == 1:
        return None
    return "!" if format_[0] in "!>" else format_[0]


def packet_classes(names: Mapping[str, Any]) -> dict[str, type[ProtocolPacket]]:
    """The public message classes in a module's names."""
    return {
        name: value
        for name, value in names.items()
        if isinstance(value, type) and issubclass(value, ProtocolPacket) and not name.startswith("_")
    }
