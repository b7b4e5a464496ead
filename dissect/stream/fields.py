# SPDX-License-Identifier: GPL-2.0-or-later
"""What a message is described with: fields, called and written as Scapy's are, and nothing of Scapy in them.

Scapy takes longer to import than most captures take to be read, so a description is data of its own. A
message's `layout` compiles it into a decoder; `packets` makes of it the Scapy class, with Scapy's own field
of the same name for each of these, when a packet is first asked for.

The order of the arguments is Scapy's. `default`: what a packet has where it is built and nothing is given;
None: a count or length that is worked out, a structure with its own defaults. `fmt`: as in `struct`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dissect.stream.layout import ProtocolPacket

From = Callable[[Any], int]
"""Is given the fields before a field, as attributes, and returns its length in bytes or its count."""


class Field:
    """A field: its name, and its value where none is given."""

    def __init__(self, name: str, default: Any) -> None:
        self.name = name
        self.default = default

    @property
    def sz(self) -> int:
        """Its size in bytes where it is a number, else 0."""
        return 0


# --- Numbers ---------------------------------------------------------------------------------------------


class NumberField(Field):
    """A number."""

    fmt: str

    def __init__(self, name: str, default: int | None) -> None:
        super().__init__(name, default)

    @property
    def sz(self) -> int:
        return struct.calcsize(self.fmt)


class ByteField(NumberField):
    """8 bits."""

    fmt = "!B"


class XByteField(ByteField):
    """8 bits, which Scapy shows as hex; so with all whose names begin with X."""


class ShortField(NumberField):
    """16 bits, the highest byte first; so with all whose names do not say LE."""

    fmt = "!H"


class XShortField(ShortField):
    """16 bits."""


class LEShortField(NumberField):
    """16 bits, the lowest byte first."""

    fmt = "<H"


class LESignedShortField(NumberField):
    """16 bits with a sign."""

    fmt = "<h"


class SignedShortField(NumberField):
    """16 bits with a sign."""

    fmt = "!h"


class IntField(NumberField):
    """32 bits."""

    fmt = "!I"


class XIntField(IntField):
    """32 bits."""


class SignedIntField(NumberField):
    """32 bits with a sign."""

    fmt = "!i"


class LEIntField(NumberField):
    """32 bits."""

    fmt = "<I"


class XLEIntField(LEIntField):
    """32 bits."""


class LESignedIntField(NumberField):
    """32 bits with a sign."""

    fmt = "<i"


class LongField(NumberField):
    """64 bits."""

    fmt = "!Q"


class LELongField(NumberField):
    """64 bits."""

    fmt = "<Q"


class XLELongField(LELongField):
    """64 bits."""


class LESignedLongField(NumberField):
    """64 bits with a sign."""

    fmt = "<q"


class EnumField(NumberField):
    """A number whose values have names: `i2s`. With `counts`, the others are numbers as any, not unknown."""

    def __init__(
        self, name: str, default: int | None, names: Mapping[int, str], *, counts: bool = False
    ) -> None:
        super().__init__(name, default)
        self.i2s = names
        self.counts = counts


class ByteEnumField(EnumField):
    """8 bits."""

    fmt = "!B"


class ShortEnumField(EnumField):
    """16 bits."""

    fmt = "!H"


class LEShortEnumField(EnumField):
    """16 bits."""

    fmt = "<H"


class IntEnumField(EnumField):
    """32 bits."""

    fmt = "!I"


class SignedIntEnumField(EnumField):
    """32 bits with a sign."""

    fmt = "!i"


class LEIntEnumField(EnumField):
    """32 bits."""

    fmt = "<I"


class FieldLenField(NumberField):
    """How many bytes (`length_of`) or items (`count_of`) another field has; worked out where it is None."""

    def __init__(
        self,
        name: str,
        default: int | None,
        length_of: str | None = None,
        fmt: str = "H",
        count_of: str | None = None,
    ) -> None:
        super().__init__(name, default)
        self.length_of = length_of
        self.count_of = count_of
        self.fmt = fmt if fmt[0] in "<>!=@" else f"!{fmt}"


# --- Bytes -----------------------------------------------------------------------------------------------


class StrField(Field):
    """Bytes up to the end of the message."""

    def __init__(self, name: str, default: bytes) -> None:
        super().__init__(name, default)


class StrFixedLenField(StrField):
    """Bytes of a fixed length."""

    def __init__(self, name: str, default: bytes, length: int) -> None:
        super().__init__(name, default)
        self.length = length

    def length_from(self, _: Any) -> int:
        """Its length."""
        return self.length


class StrLenField(StrField):
    """Bytes of a length given elsewhere in the message."""

    def __init__(self, name: str, default: bytes, length_from: From | None = None) -> None:
        super().__init__(name, default)
        self.length_from = length_from


# --- What holds others -----------------------------------------------------------------------------------


class FieldListField(Field):
    """So many numbers of one kind."""

    def __init__(
        self,
        name: str,
        default: list[int],
        field: Field,
        count_from: From | None = None,
        max_count: int | None = None,
    ) -> None:
        super().__init__(name, default)
        self.field = field
        self.count_from = count_from
        self.max_count = max_count


class PacketField(Field):
    """A structure."""

    def __init__(self, name: str, default: ProtocolPacket | None, cls: type[ProtocolPacket]) -> None:
        super().__init__(name, default)
        self.cls = cls


class PacketListField(Field):
    """So many structures of one kind."""

    def __init__(
        self,
        name: str,
        default: list[ProtocolPacket],
        cls: type[ProtocolPacket],
        count_from: From | None = None,
        max_count: int | None = None,
    ) -> None:
        super().__init__(name, default)
        self.cls = cls
        self.count_from = count_from
        self.max_count = max_count


class ConditionalField(Field):
    """A field that is there only if `cond` holds, which is given the fields before it."""

    def __init__(self, fld: Field, cond: Callable[[Any], bool]) -> None:
        super().__init__(fld.name, fld.default)
        self.fld = fld
        self.cond = cond
