# SPDX-License-Identifier: GPL-2.0-or-later
"""The Scapy class of a message, made of its description (`dissect.stream.fields`) when it is first wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scapy import fields as scapys
from scapy.packet import Packet

from dissect.stream import fields

if TYPE_CHECKING:
    from dissect.stream.layout import Layout


class Described(Packet):
    """What the Scapy classes of all messages have in common. `described`: the class that describes it."""

    described: Any

    @classmethod
    def layout(cls) -> Layout:
        """See `ProtocolPacket.layout`."""
        layout: Layout = cls.described.layout()
        return layout

    @classmethod
    def title(cls) -> str:
        """See `ProtocolPacket.title`."""
        return str(cls.described.title())

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        # A nested structure must leave what follows it to its parent.
        return b"", s

    def __reduce__(self) -> tuple[Any, ...]:
        # The class cannot be found by its name, what describes it can; that makes the same packet.
        return (self.described, *super().__reduce__()[1:])


OWN = {"fields_desc", "__dict__", "__weakref__"}
"""What a description does not pass on."""


def packet_class(described: Any) -> type[Packet]:
    """The Scapy class; its bases are those of the description's bases, its methods are the description's."""
    # What the first description is based on describes nothing: there Scapy's own classes begin.
    bases = [base.scapy_class() if hasattr(base, "layout") else Described for base in described.__bases__]
    names = {
        name: value
        for name, value in vars(described).items()
        if name not in OWN and not name.startswith("_layout") and not isinstance(value, classmethod)
    }
    if "fields_desc" in vars(described):
        names["fields_desc"] = [field_of(field) for field in described.fields_desc]
    metaclass: Any = type(Packet)
    made: type[Packet] = metaclass(described.__name__, tuple(bases), {**names, "described": described})
    return made


def field_of(field: Any) -> scapys.AnyField:
    """Scapy's field for one of ours."""
    match field:
        case fields.ConditionalField():
            return scapys.ConditionalField(field_of(field.fld), field.cond)
        case fields.PacketField():
            default = field.cls() if field.default is None else field.default
            return scapys.PacketField(field.name, default, field.cls.scapy_class())
        case fields.PacketListField():
            return scapys.PacketListField(
                field.name,
                field.default,
                field.cls.scapy_class(),
                count_from=field.count_from,
                max_count=field.max_count,
            )
        case fields.FieldListField():
            return scapys.FieldListField(
                field.name,
                field.default,
                field_of(field.field),
                count_from=field.count_from,
                max_count=field.max_count,
            )
        case fields.StrFixedLenField():
            return scapys.StrFixedLenField(field.name, field.default, length=field.length)
        case fields.StrLenField():
            return scapys.StrLenField(field.name, field.default, length_from=field.length_from)
        case fields.StrField():
            return scapys.StrField(field.name, field.default)
        case fields.FieldLenField():
            return scapys.FieldLenField(
                field.name, field.default, length_of=field.length_of, count_of=field.count_of, fmt=field.fmt
            )
    # A number: its own class, or the nearest base that Scapy has too.
    cls: Any = next(
        getattr(scapys, base.__name__) for base in type(field).__mro__ if hasattr(scapys, base.__name__)
    )
    more = (dict(field.i2s),) if isinstance(field, fields.EnumField) else ()
    made: scapys.AnyField = cls(field.name, field.default, *more)
    return made
