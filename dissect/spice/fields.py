# SPDX-License-Identifier: GPL-2.0-or-later
"""What SPICE's structures are made of beyond plain numbers: flags by name, and pointers.

A pointer on the wire is a 32-bit offset from the first byte of the message's body; 0 is none. A class says so
with a `PointerField`, and ends with a `PointedField`, which holds the bytes that are pointed to. `BodyLayout`
follows the pointers after the fixed part is read. spice-server writes what is pointed to behind all that
points to it, each once, without space between; so an offset that leads backwards, into itself or into another
structure is refused, and with that every body is read in time and memory proportional to its size. Two
pointers to one structure are not refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dissect.stream.fields import (
    ByteField,
    LEIntField,
    LEShortField,
    PacketField,
    PacketListField,
)
from dissect.stream.layout import (
    Buffer,
    Layout,
    Malformed,
    ProtocolPacket,
    RestField,
    Short,
    Values,
    set_bits,
)


def flag_names(names: str, first: int = 0) -> dict[int, str]:
    """Number of the bit -> name, counted from bit `first`."""
    return {first + bit: name for bit, name in enumerate(names.split())}


class ByteFlagsField(ByteField):
    """8 bits with names."""

    def __init__(self, name: str, default: int, bits: Mapping[int, str]) -> None:
        super().__init__(name, default)
        self.bits = bits


class LEShortFlagsField(LEShortField):
    """16 bits with names."""

    def __init__(self, name: str, default: int, bits: Mapping[int, str]) -> None:
        super().__init__(name, default)
        self.bits = bits


class LEIntFlagsField(LEIntField):
    """32 bits with names."""

    def __init__(self, name: str, default: int, bits: Mapping[int, str]) -> None:
        super().__init__(name, default)
        self.bits = bits


FLAGS = (ByteFlagsField, LEShortFlagsField, LEIntFlagsField)


class PointedField(RestField):
    """The rest of a body: what its pointers lead to. Shown where it is pointed from, not by itself."""


class Pointer(int):
    """An offset as it is on the wire, and in `to` the fields of what was found there; None for 0."""

    to: Any

    def __new__(cls, offset: int, to: Any = None) -> Pointer:
        pointer = super().__new__(cls, offset)
        pointer.to = to
        return pointer


class Followed(Values):
    """A body's fields, and in `leads` its pointers that are not 0, by name, nested ones included."""

    __slots__ = ("leads",)
    leads: list[tuple[str, Pointer]]


class PointerField(LEIntField):
    """The offset of a structure (a class), or of bytes or numbers (a Scapy field, its length given before).

    `required`: whether 0 is refused.
    """

    def __init__(self, name: str, target: Any, *, required: bool = False) -> None:
        super().__init__(name, 0)
        if not (isinstance(target, type) and issubclass(target, ProtocolPacket)):
            # A class of its own for one field: then both kinds are read and shown by a layout.
            target = type("Pointed", (SpicePacket,), {"name": name, "fields_desc": [target]})
        self.target: type[ProtocolPacket] = target
        self.required = required

    @property
    def single(self) -> bool:
        """Whether the target is one field."""
        return self.target.__name__ == "Pointed"


class SpiceLayout(Layout):
    """A layout that knows the fields of this module."""

    def __init__(self, cls: type[ProtocolPacket]) -> None:
        super().__init__(cls)
        self.pointers = [(n, f) for n, f in self.fields.items() if isinstance(f, PointerField)]
        self.inner: list[tuple[str, SpiceLayout]] = []
        """Nested structures that hold pointers themselves."""
        for name, inside in self.fields.items():
            if isinstance(inside, PacketField | PacketListField):
                cls_inside: Any = inside.cls
                layout = cls_inside.layout()
                if isinstance(layout, SpiceLayout) and layout.points:
                    self.inner.append((name, layout))
        self.points: bool = bool(self.pointers or self.inner)
        self._own = {
            name for name, f in self.fields.items() if isinstance(f, (*FLAGS, PointedField, PointerField))
        }

    def describe(
        self, values: Mapping[str, Any], *, secrets: bool = False, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        if not self._own:
            return super().describe(values, secrets=secrets, context=context)
        shown: dict[str, Any] = {}
        for name, value in values.items():
            field_ = self.fields[name]
            if name not in self._own:
                shown.update(super().describe({name: value}, secrets=secrets, context=context))
            elif isinstance(field_, PointerField):
                shown.update(self._pointed(field_, value, secrets=secrets))
            elif isinstance(field_, FLAGS):
                shown[name] = value
                names = field_.bits
                shown[f"{name}_names"] = [names.get(bit, f"bit {bit}") for bit in set_bits([value])]
        return shown

    def _pointed(self, pointer: PointerField, value: int, *, secrets: bool) -> dict[str, Any]:
        to = getattr(value, "to", None)
        if to is None:
            return {pointer.name: None}
        shown = pointer.target.layout().describe(to, secrets=secrets)
        if pointer.single:
            return {**shown, f"{pointer.name}_offset": int(value)}
        return {pointer.name: {"offset": int(value), **shown}}


class SpicePacket(ProtocolPacket):
    """Base of the structures that use the fields of this module."""

    _maker: ClassVar[type[SpiceLayout]] = SpiceLayout

    @classmethod
    def layout(cls) -> Layout:
        """The compiled layout, made at first use."""
        compiled = cls.__dict__.get("_layout")
        if compiled is None:
            compiled = cls._maker(cls)
            cls._layout = compiled
        return compiled


# --- Following pointers


@dataclass(slots=True)
class _Body:
    """One body while its pointers are followed: `start` and `end` in `data`."""

    data: Buffer
    start: int
    end: int
    found: dict[int, tuple[type[ProtocolPacket], Values, int]] = field(default_factory=dict)
    """Where a structure begins -> its class, its fields, where it ends."""
    leads: list[tuple[str, Pointer]] = field(default_factory=list)

    def follow(self, layout: SpiceLayout, values: Values, holder: int, floor: int) -> None:
        """Resolve the pointers in `values`; their structure begins at `holder` and ends at `floor`."""
        for name, pointer in layout.pointers:
            if name in values:
                found = values[name] = self.resolve(pointer, values, holder, floor)
                if found:
                    self.leads.append((name, found))
        for name, inner in layout.inner:
            inside = values.get(name)
            for item in inside if isinstance(inside, list) else () if inside is None else (inside,):
                self.follow(inner, item, holder, floor)

    def resolve(self, pointer: PointerField, values: Values, holder: int, floor: int) -> Pointer:
        """What `pointer` leads to; raises `Malformed` where it may not lead there."""
        offset = int(values[pointer.name])
        if not offset:
            if pointer.required:
                raise Malformed(f"{pointer.name} points nowhere", holder)
            return Pointer(0)
        at = self.start + offset
        if at > self.end or (at == self.end and not pointer.single):  # a text may be empty
            size = self.end - self.start
            raise Malformed(f"{pointer.name} points to byte {offset} of a body of {size} bytes", holder)
        if at < floor:
            why = f"{pointer.name} points to byte {offset}, which is not behind what points there"
            raise Malformed(why, holder)
        known = self.found.get(at)
        if known is not None:
            if known[0] is not pointer.target:
                raise Malformed(f"{pointer.name} points to byte {offset}, which is something else", holder)
            return Pointer(offset, known[1])
        layout = pointer.target.layout()
        found = Values()
        try:
            if pointer.single:
                # Its length is given by what is beside the pointer.
                beside = Values(values)
                stop = layout.steps[0].read(self.data, at, self.end, beside, layout, 0)
                (name,) = layout.fields
                found[name] = beside[name]
            else:
                found, stop = layout.decode(self.data, at, self.end)
        except Short as short:
            why = f"{pointer.name} at byte {offset} needs {short.needed - at} bytes of {self.end - at}"
            raise Malformed(why, at) from None
        except Malformed as bad:
            raise Malformed(f"{pointer.name}: {bad.why}", bad.at) from None
        self.found[at] = pointer.target, found, stop
        if isinstance(layout, SpiceLayout) and layout.points:
            self.follow(layout, found, at, stop)
        return Pointer(offset, found)

    def close(self, fixed: int) -> int:
        """Where the last structure ends; raises `Malformed` where two overlap, or bytes are in none."""
        at = fixed
        for begin, (cls, _, stop) in sorted(self.found.items(), key=_begin):
            if begin < at:
                where = f"{cls.title()} at byte {begin - self.start}"
                raise Malformed(f"{where} overlaps what is before it", begin)
            if begin > at:
                raise Malformed(f"{begin - at} bytes that nothing points to", at)
            at = stop
        return at


def _begin(item: tuple[int, Any]) -> int:
    return item[0]


class BodyLayout(SpiceLayout):
    """The layout of a whole body: its own fields, then what they point to."""

    def __init__(self, cls: type[ProtocolPacket]) -> None:
        super().__init__(cls)
        last = list(self.fields)[-1:]
        if self.points and not (last and isinstance(self.fields[last[0]], PointedField)):
            raise TypeError(f"{cls.title()} holds pointers and must end with a PointedField")
        self._rest = last[0] if self.points else ""

    def decode(self, data: Buffer, at: int = 0, end: int | None = None) -> tuple[Values, int]:
        if end is None:
            end = len(data)
        values, stop = super().decode(data, at, end)
        if not self.points:
            return values, stop
        fixed = stop - len(values[self._rest])
        body = _Body(data, at, end)
        body.follow(self, values, at, fixed)
        followed = Followed(values)
        followed.leads = body.leads
        return followed, body.close(fixed) if body.found else fixed
