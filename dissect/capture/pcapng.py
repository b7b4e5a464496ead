# SPDX-License-Identifier: GPL-2.0-or-later
"""pcapng (draft-ietf-opsawg-pcapng): sections of blocks, each with its length before and behind it."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dissect.capture.blocks import (
    INTERFACE,
    ISB_ENDTIME,
    KNOWN,
    MAX_BLOCK,
    NAMES,
    OBSOLETE_PACKET,
    OPT_COMMENT,
    PACKET,
    SECRETS,
    SECTION,
    SIMPLE_PACKET,
    STATISTICS,
    Interface,
    options_of,
    order_of,
    unusable,
)
from dissect.capture.format import Format
from dissect.capture.journal import Journal
from dissect.capture.notes import MAX_COMMENTS, MAX_NAME, MAX_NAMES, text_of
from dissect.capture.pcap import JOINED, MAGICS
from dissect.capture.problems import DAMAGED
from dissect.capture.records import Frame, Layout, Run, windows
from dissect.capture.source import Source

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers: TypeAlias = npt.NDArray[Any]

MAX_INTERFACES: Final = 1 << 16
"""Interfaces kept for one section."""

_BAD_ORDER: Final = "a section header without a byte-order mark"
_LAST_BLOCKS: Final = 64  # at the end of a file, among which names are looked for before it is read


def unreadable(source: Source) -> str | None:
    """Why nothing can be read of a file that begins with `SECTION_MAGIC`, in words; None where it can."""
    order = _order(source)
    if order is None:
        return source.cut("the first section header", 12) or _BAD_ORDER
    length: int = struct.unpack_from(order + "I", source.buffer, 4)[0]
    reason = unusable(length, KNOWN[SECTION][0])
    if reason is not None:
        return f"section header block with {reason}"
    source.need(length)
    return source.cut("the first section header", length)


def _order(source: Source) -> str | None:
    """Byte order of the section whose header begins here; None where it is cut or makes no sense."""
    if not source.need(12):
        return None
    return order_of(source.buffer[source.position + 8 : source.position + 12])


class _Section:
    """A section: its byte order, and its interfaces (None for one that is unusable).

    first_number: of its first interface, counted through the file. readable: False for one of a version that
    is not known; its blocks are passed over.
    """

    __slots__ = ("first_number", "header", "interfaces", "order", "packet", "readable")

    def __init__(self, order: str, first_number: int) -> None:
        self.order: Final = order
        self.first_number: Final = first_number
        self.header: Final = struct.Struct(order + "II")
        self.packet: Final = struct.Struct(order + "IIIII")
        self.interfaces: list[Interface | None] = []
        self.readable = True


class Pcapng(Format):
    """The blocks of a file that is not `unreadable`."""

    def __init__(self, source: Source, journal: Journal) -> None:
        super().__init__(source, journal)
        self._section = _Section(_order(source) or "<", 0)
        self._untimed = False  # whether a packet without a time has come, which is said once

    # -- frame by frame

    def frames(self) -> Iterator[Frame]:
        """As `Format.frames`."""
        source, journal = self.source, self.journal
        while True:
            if len(source.buffer) - source.position < 8 and not source.need(8):
                self.ended("a block header", 8)
                break
            kind, length = self._section.header.unpack_from(source.buffer, source.position)
            if kind == SECTION:  # the same number in both byte orders
                if not self._next_section():
                    break
                kind, length = self._section.header.unpack_from(source.buffer, source.position)
            if length < 12 or length > MAX_BLOCK or length % 4:
                joined = source.buffer[source.position : source.position + 4] in MAGICS
                reason = f"a block with {unusable(length, 12)}; {DAMAGED}"
                journal.problem(source.offset, JOINED if joined else reason)
                break
            if len(source.buffer) - source.position < length and not source.need(length):
                self.ended("a block", length)
                break
            buffer, start, offset = source.buffer, source.position, source.base + source.position
            source.position += length
            if self._fit(kind, buffer, start, length, offset):
                frame = self._block(kind, buffer, start, start + length - 4, offset)
                if frame is not None:
                    yield frame
        journal.finished(source.offset)

    def _next_section(self) -> bool:
        """Whether a section begins here whose byte order is known."""
        source, before = self.source, self._section
        order = _order(source)
        if order is None:
            reason = f"{_BAD_ORDER}; nothing after this place can be found"
            self.journal.problem(source.offset, source.cut("a section header", 12) or reason)
            return False
        self._section = _Section(order, before.first_number + len(before.interfaces))
        return True

    def _fit(self, kind: int, buffer: bytes, start: int, length: int, offset: int) -> bool:
        """Whether a block is used: of a kind that is known, long enough, and with two lengths that agree."""
        known = KNOWN.get(kind)
        if known is None:
            return False
        least, name = known
        section = self._section
        if length < least:
            self.journal.problem(offset, f"{name} of {length} bytes, too short; not used")
            if kind == INTERFACE:
                section.interfaces.append(None)  # its number is taken all the same
            elif kind == SECTION:
                section.readable = False
            return False
        end = start + length - 4
        if buffer[end : end + 4] == buffer[start + 4 : start + 8]:
            return True
        # What follows a section header or an interface depends on it: those are taken at their word.
        needed = kind in (SECTION, INTERFACE)
        self.journal.problem(
            offset, f"{name} whose two lengths differ; {'used all the same' if needed else 'not used'}"
        )
        return needed

    def _block(self, kind: int, buffer: bytes, start: int, end: int, offset: int) -> Frame | None:
        """Take a block from `start` to its second length at `end`; a packet's comes to a frame."""
        if kind == SECTION:
            self._begin(buffer, start, end, offset)
        elif not self._section.readable:
            pass
        elif kind in (PACKET, OBSOLETE_PACKET):
            return self._packet(kind, buffer, start, end, offset)
        elif kind == SIMPLE_PACKET:
            return self._simple_packet(buffer, start, end, offset)
        elif kind == INTERFACE:
            self._describe(buffer, start, end, offset)
        elif kind == STATISTICS:
            self._statistics(buffer, start, end, offset)
        elif kind == NAMES:
            if not self.journal.notes.resolve(self._options(buffer, start + 8, end, offset)):
                self.journal.problem(offset, f"more than {MAX_NAMES} names of addresses; not kept")
        elif kind == SECRETS:
            self._secrets(buffer, start, end, offset)
        return None

    def _begin(self, buffer: bytes, start: int, end: int, offset: int) -> None:
        section = self._section
        major, minor = struct.unpack_from(section.order + "HH", buffer, start + 12)
        if major != 1:
            section.readable = False
            self.journal.problem(offset, f"a section of pcapng version {major}.{minor}, not known; not read")
            return
        for code, value in options_of(section.order, buffer, start + 24, end):
            if code == OPT_COMMENT:
                self.journal.comment("the capture", value, offset)

    def _packet(self, kind: int, buffer: bytes, start: int, end: int, offset: int) -> Frame | None:
        section, journal = self._section, self.journal
        if kind == PACKET:
            which, high, low, captured, size = section.packet.unpack_from(buffer, start + 8)
        else:  # the obsolete one has the count of drops in the other half of the interface number
            which, _drops, high, low, captured, size = struct.unpack_from(
                section.order + "HHIIII", buffer, start + 8
            )
        interface = self._interface(which, offset)
        if interface is None:
            return None
        at = start + 28
        if captured > end - at:
            reason = f"a packet of {captured} bytes in a block with room for {end - at}; not used"
            journal.problem(offset, reason)
            return None
        time_ns = interface.time_ns(high << 32 | low)
        data = buffer[at : at + captured]
        frame = journal.frame(
            offset, time_ns, interface.linktype, data, max(size, captured), interface.number
        )
        if journal.notes.packets:
            self._comments(buffer, at + (captured + 3 & ~3), end, frame)
        return frame

    def _simple_packet(self, buffer: bytes, start: int, end: int, offset: int) -> Frame | None:
        journal = self.journal
        interface = self._interface(0, offset)
        if interface is None:
            return None
        if not self._untimed:
            self._untimed = True
            journal.problem(
                offset,
                "simple packet blocks carry no time: this and later ones get the time of the latest "
                "frame before them",
            )
        size = struct.unpack_from(self._section.order + "I", buffer, start + 8)[0]
        at = start + 12
        captured = min(size, interface.snaplen or size, end - at)
        data = buffer[at : at + captured]
        return journal.frame(offset, journal.last_ns or 0, interface.linktype, data, size, interface.number)

    def _interface(self, which: int, offset: int) -> Interface | None:
        if which < len(self._section.interfaces):
            interface = self._section.interfaces[which]
            if interface is not None:
                return interface
        reason = f"a block of interface {which}, which is not described before it; not used"
        self.journal.problem(offset, reason)
        return None

    def _describe(self, buffer: bytes, start: int, end: int, offset: int) -> None:
        """An Interface Description Block: link type, snaplen, if_name (2), if_description (3),
        if_tsresol (9), if_tsoffset (14), comments (1).
        """
        section, journal = self._section, self.journal
        number = len(section.interfaces)
        if number >= MAX_INTERFACES:
            journal.problem(offset, f"more than {MAX_INTERFACES} interfaces in a section; not used")
            return
        linktype, _reserved, snaplen = struct.unpack_from(section.order + "HHI", buffer, start + 8)
        interface = Interface(section.first_number + number, linktype, snaplen)
        names: dict[int, str] = {}
        comments: list[bytes] = []
        for code, value in self._options(buffer, start + 16, end, offset):
            if code in (2, 3):
                names.setdefault(code, text_of(value, MAX_NAME))
            elif code == OPT_COMMENT and len(comments) < MAX_COMMENTS:
                comments.append(value)
            else:
                interface.take(section.order, code, value)
        section.interfaces.append(interface)
        about = journal.notes.describe(interface.number, names.get(2) or names.get(3, ""))
        for comment in comments:
            journal.comment(about, comment, offset)

    def _statistics(self, buffer: bytes, start: int, end: int, offset: int) -> None:
        """An Interface Statistics Block: isb_endtime (3), when the capture was stopped."""
        order = self._section.order
        interface = self._interface(struct.unpack_from(order + "I", buffer, start + 8)[0], offset)
        if interface is None:
            return
        for code, value in self._options(buffer, start + 20, end, offset):
            if code == ISB_ENDTIME and len(value) == 8:
                high, low = struct.unpack(order + "II", value)
                self.journal.stopped_at(interface.time_ns(high << 32 | low))

    def _secrets(self, buffer: bytes, start: int, end: int, offset: int) -> None:
        kind, size = struct.unpack_from(self._section.order + "II", buffer, start + 8)
        at = start + 16
        if size > end - at:
            reason = f"secrets of {size} bytes in a block with less room; not used"
            self.journal.problem(offset, reason)
        else:
            self.journal.secret(kind, buffer[at : at + size], offset)

    def _comments(self, buffer: bytes, at: int, end: int, frame: Frame) -> None:
        """Keep the comments of a packet, whose options lie between `at` and `end`."""
        for code, value in self._options(buffer, at, end, frame.offset):
            if code == OPT_COMMENT:
                self.journal.comment(f"packet {frame.number}", value, frame.offset, frame)

    def _options(self, buffer: bytes, at: int, end: int, offset: int) -> Iterator[tuple[int, bytes]]:
        """Code and value of each option between `at` and `end`; a list that breaks off is a problem."""
        broken = self.journal.problem
        yield from options_of(self._section.order, buffer, at, end, lambda reason: broken(offset, reason))

    # -- many at once

    def run(self, most: int) -> Run | None:
        """As `Format.run`."""
        section = self._section
        if section.order != "<" or sys.byteorder != "little":
            return None
        import numpy as np

        source = self.source
        buffer, start = source.buffer, source.position
        size = (len(buffer) - start) >> 2
        words = memoryview(buffer)[start : start + 4 * size].cast("I")
        at, last = 0, size - 8
        places: list[int] = []
        found = places.append
        for _ in range(most):
            if at > last or words[at] != PACKET:
                break
            length = words[at + 1]
            if length < 32 or length > MAX_BLOCK:
                break
            found(at)
            at += length >> 2
        if places and at > size:
            places.pop()
        if not places or not section.readable:
            return None
        interfaces = section.interfaces
        if any(one is None or one.divide != 1 for one in interfaces) or not interfaces:
            return None
        offsets = np.array(places, np.int64) * 4 + start
        heads = windows(buffer, 28)[offsets].view("<u4").reshape(-1, 7).astype(np.int64)
        lengths, captured = heads[:, 1], heads[:, 5]
        trailers = windows(buffer, 4)[offsets + (lengths & ~3) - 4].view("<u4")
        fine = (lengths & 3 == 0) & (trailers == lengths) & (heads[:, 2] < len(interfaces))
        fine &= captured <= lengths - 32
        # Times beyond 63 bits of nanoseconds are left to the exact way.
        known = [one for one in interfaces if one is not None]
        if any(abs(one.offset_ns) > 1 << 61 for one in known):
            return None
        limits = np.array([(1 << 30) // one.scale for one in known], np.int64)
        fine &= heads[:, 3] < limits[np.minimum(heads[:, 2], len(known) - 1)]
        count = len(offsets) if fine.all() else int(np.argmin(fine))
        if not count:
            return None
        heads, offsets, lengths, captured = heads[:count], offsets[:count], lengths[:count], captured[:count]
        units = heads[:, 3] << 32 | heads[:, 4]
        linktypes: Numbers | int
        numbers: Numbers | int
        if len(known) == 1:
            times = units * known[0].scale + known[0].offset_ns
            linktypes, numbers = known[0].linktype, known[0].number
        else:
            which = heads[:, 2]
            times = units * np.array([one.scale for one in known])[which]
            times += np.array([one.offset_ns for one in known])[which]
            linktypes = np.array([one.linktype for one in known])[which]
            numbers = np.array([one.number for one in known])[which]
        run = Run(
            self.journal.frames + 1,
            source.base,
            buffer,
            offsets,
            offsets + 28,
            captured,
            np.maximum(heads[:, 6], captured),
            times,
            linktypes,
            numbers,
        )
        source.position = int(offsets[-1] + lengths[-1])
        self.journal.count_run(run)
        if self.journal.notes.packets:
            self._note(run, lengths)
        return run

    def _note(self, run: Run, lengths: Numbers) -> None:
        """Keep the interfaces and comments of packets of a run; lengths: of their blocks."""
        import numpy as np

        numbers = run.interfaces
        if isinstance(numbers, int):
            self.journal.notes.came_by(run.number, numbers)
        else:
            changes = np.flatnonzero(np.diff(numbers, prepend=-1))
            for index, number in zip(changes.tolist(), numbers[changes].tolist(), strict=True):
                self.journal.notes.came_by(run.number + index, number)
        ends = run.starts + ((run.captured + 3) & ~3)
        blocks = run.offsets + lengths - 4
        for index in np.flatnonzero(blocks - ends >= 4).tolist():
            self._comments(run.buffer, int(ends[index]), int(blocks[index]), run.frame(index))

    # -- where they lie

    def layout(self) -> Layout | None:
        """As `Format.layout`."""
        source, section = self.source, self._section
        if section.order != "<" or not section.readable:
            return None
        faces: list[tuple[int, int, int, int, int]] = []
        for one in section.interfaces:
            if one is None or one.divide != 1 or abs(one.offset_ns) > 1 << 61:
                return None
            faces.append((one.linktype, one.scale, one.offset_ns, (1 << 30) // one.scale, one.number))
        return Layout(
            source.buffer, source.position, source.base, 2, 28, MAX_BLOCK, 0, 0, faces, section
        )  # fmt: skip

    def number_of(self, interface: int) -> int:
        """As `Format.number_of`."""
        return self._section.first_number + interface

    # -- the end

    def read_last_names(self, file: int) -> None:
        """Read names at the end of the file, back to its last packet; what is wrong is said in its turn.

        file: a descriptor of the same file. Raises OSError where it cannot be read there.
        """
        order = self._section.order
        end = os.fstat(file).st_size
        for _ in range(_LAST_BLOCKS):
            length = int.from_bytes(os.pread(file, 4, max(end - 4, 0)), "little" if order == "<" else "big")
            if length < 12 or length % 4 or length > min(end, MAX_BLOCK):
                return
            head = os.pread(file, 8, end - length)
            if len(head) < 8:
                return
            kind, first = struct.unpack(order + "II", head)
            if first != length or kind in (PACKET, OBSOLETE_PACKET, SIMPLE_PACKET, SECTION):
                return
            end -= length
            if kind == NAMES:
                body = os.pread(file, length - 12, end + 8)
                self.journal.notes.resolve(options_of(order, body, 0, len(body)))
