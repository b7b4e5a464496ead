# SPDX-License-Identifier: GPL-2.0-or-later
"""The blocks of pcapng (draft-ietf-opsawg-pcapng) that matter here, for who reads and who writes them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

MAX_BLOCK: Final = 16 << 20
"""No block may be larger (bytes), whatever its length field says."""

SECTION_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
"""How a section header begins, and so the file, in both byte orders."""

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
OBSOLETE_PACKET: Final = 2
SIMPLE_PACKET: Final = 3
NAMES: Final = 4
STATISTICS: Final = 5
PACKET: Final = 6
SECRETS: Final = 0x0A

KNOWN: Final = {
    SECTION: (28, "a section header block"),
    INTERFACE: (20, "an interface description block"),
    OBSOLETE_PACKET: (32, "a packet block"),
    SIMPLE_PACKET: (16, "a simple packet block"),
    STATISTICS: (24, "an interface statistics block"),
    NAMES: (12, "a name resolution block"),
    SECRETS: (20, "a decryption secrets block"),
    PACKET: (32, "an enhanced packet block"),
}
"""By the type of each block: its least total length (bytes), and what to call it."""

OPT_COMMENT: Final = 1
IF_TSRESOL: Final = 9
IF_TSOFFSET: Final = 14
ISB_ENDTIME: Final = 3


@dataclass(slots=True)
class Interface:
    """What frames of one interface need to be understood.

    number: counted through the file. scale, divide: a unit of its time stamps is scale / divide ns.
    """

    number: int
    linktype: int
    snaplen: int
    scale: int = 1000
    divide: int = 1  # for resolutions finer than a nanosecond, and binary ones
    offset_ns: int = 0

    def time_ns(self, units: int) -> int:
        """Integer nanoseconds (rounded down) since 1970 of a time stamp in this interface's units."""
        return units * self.scale // self.divide + self.offset_ns

    def units(self, time_ns: int) -> int:
        """The way back: the first time stamp in this interface's units that is not before `time_ns`."""
        return max(0, -((self.offset_ns - time_ns) * self.divide // self.scale))

    def take(self, order: str, code: int, value: bytes) -> None:
        """What an option says of times: if_tsresol or if_tsoffset (seconds); others say nothing."""
        if code == IF_TSRESOL and len(value) == 1:
            exponent = value[0] & 0x7F
            base = 2 if value[0] & 0x80 else 10
            if base == 10 and exponent <= 9:
                self.scale, self.divide = 10 ** (9 - exponent), 1
            else:
                self.scale, self.divide = 1_000_000_000, base**exponent
        elif code == IF_TSOFFSET and len(value) == 8:
            self.offset_ns = struct.unpack(order + "q", value)[0] * 1_000_000_000


# -- reading


def order_of(magic: bytes) -> str | None:
    """The byte order, as `struct` writes it, that a section's byte-order magic says; None for no such."""
    return {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(magic)


def unusable(length: int, least: int) -> str | None:
    """Why a block cannot have this total length, in words; None if it can."""
    if length < least:
        return f"a length of {length}, where {least} is the least"
    if length % 4:
        return f"a length of {length}, not a multiple of 4"
    if length > MAX_BLOCK:
        return f"a length of {length}, where {MAX_BLOCK} is the limit"
    return None


def options_of(
    order: str, buffer: bytes, at: int, end: int, broken: Callable[[str], None] | None = None
) -> Iterator[tuple[int, bytes]]:
    """Code and value of each option, or record of names, between `at` and `end`; told where it breaks off."""
    while end - at >= 4:
        code, size = struct.unpack_from(order + "HH", buffer, at)
        if code == 0:
            return
        at += 4
        if size > end - at:
            if broken is not None:
                broken(f"an option of {size} bytes where {end - at} are left; not used")
            return
        yield code, buffer[at : at + size]
        at += (size + 3) & ~3


# -- writing


def padded(data: bytes) -> bytes:
    """With zeros behind it up to a multiple of four bytes."""
    return data + bytes(-len(data) % 4)


def option_list(*options: tuple[int, bytes]) -> bytes:
    """Options with the lowest byte first, without the empty ones; nothing at all where all are empty."""
    kept = [(code, value[:65535]) for code, value in options if value]
    if not kept:
        return b""
    return b"".join(struct.pack("<HH", code, len(value)) + padded(value) for code, value in kept) + bytes(4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A block of this type, with its two lengths."""
    length = 12 + len(body)
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)
