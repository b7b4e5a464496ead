# SPDX-License-Identifier: GPL-2.0-or-later
"""pcap (draft-ietf-opsawg-pcap): a header of 24 bytes, then records of 16 bytes and the data."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from dissect.capture.format import Format
from dissect.capture.journal import Journal
from dissect.capture.problems import DAMAGED
from dissect.capture.records import Frame, Layout, Run, windows
from dissect.capture.source import Source

MIN_FRAME_LIMIT: Final = 256 << 10
"""A frame may hold this much (bytes), or the file's own snaplen where that is more..."""

MAX_FRAME_LIMIT: Final = 16 << 20
"""...but no snaplen is believed beyond this."""

FILE_HEADER: Final = 24
"""Bytes before the first record."""

MAGICS: Final[dict[bytes, tuple[str, int, int]]] = {
    b"\xa1\xb2\xc3\xd4": (">", 1000, 0),
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 0),
    b"\xa1\xb2\x3c\x4d": (">", 1, 0),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 0),
    # A. Kuznetsov's libpcap for old Linux: interface index, protocol, packet type after the lengths.
    b"\xa1\xb2\xcd\x34": (">", 1000, 8),
    b"\x34\xcd\xb2\xa1": ("<", 1000, 8),
}
"""By the first bytes of a file: byte order, ns a unit of fraction, bytes that a record's header is longer."""

JOINED: Final = (
    "another pcap file was put behind this one, which makes no capture: nothing of it can be used; name each "
    "file by itself (with --merge where they are one capture)"
)


def unreadable(source: Source) -> str | None:
    """Why nothing can be read of a file that begins with one of `MAGICS`, in words; None where it can."""
    if not source.need(FILE_HEADER):
        return source.cut("the file header", FILE_HEADER)
    major, minor = _version(source.buffer)
    if major in (2, 543):  # 543.0 is an early tcpdump's number for 2.x, which libpcap reads too
        return None
    return f"pcap version {major}.{minor} is not known (2.4 is the current one)"


def _version(header: bytes) -> tuple[int, int]:
    order, _scale, _extra = MAGICS[header[:4]]
    major, minor = struct.unpack_from(order + "HH", header, 4)
    return major, minor


class Pcap(Format):
    """The records of a file that is not `unreadable`.

    Files of versions before 2.3 have the two lengths the other way round, those of 2.3 either way.
    """

    def __init__(self, source: Source, journal: Journal) -> None:
        super().__init__(source, journal)
        order, scale, extra = MAGICS[source.buffer[:4]]
        major, minor = _version(source.buffer)
        self._swapped = major == 543 or minor < 3
        self._doubtful = major != 543 and minor == 3
        snaplen, network = struct.unpack_from(order + "II", source.buffer, 16)
        self._order = order
        self._scale = scale
        self._header = 16 + extra
        self._linktype = network & 0xFFFF  # the upper half tells of a frame check sequence
        self._limit = max(MIN_FRAME_LIMIT, min(snaplen, MAX_FRAME_LIMIT))
        source.position = FILE_HEADER

    @property
    def _common(self) -> bool:
        return not self._swapped and not self._doubtful

    def frames(self) -> Iterator[Frame]:
        """As `Format.frames`."""
        source, journal, limit, scale, linktype = (
            self.source, self.journal, self._limit, self._scale, self._linktype
        )  # fmt: skip
        header = self._header
        unpack = struct.Struct(self._order + "IIII").unpack_from
        while True:
            if len(source.buffer) - source.position < header and not source.need(header):
                self.ended("a record header", header)
                break
            seconds, fraction, captured, length = unpack(source.buffer, source.position)
            if self._swapped or (self._doubtful and captured > length):
                captured, length = length, captured
            if captured > limit:
                # The header of a file would have been read as a record of 16 bytes without data.
                joined = source.buffer[max(0, source.position - 16) : source.position][:4] in MAGICS
                reason = f"a record of {captured} bytes, where {limit} is the limit; {DAMAGED}"
                journal.problem(source.offset, JOINED if joined else reason)
                break
            size = header + captured
            if len(source.buffer) - source.position < size and not source.need(size):
                self.ended("a record", size)
                break
            start = source.position + header
            data = source.buffer[start : start + captured]
            offset = source.base + source.position
            source.position += size
            time_ns = seconds * 1_000_000_000 + fraction * scale
            yield journal.frame(offset, time_ns, linktype, data, max(length, captured), 0)
        journal.finished(source.offset)

    def run(self, most: int) -> Run | None:
        """As `Format.run`."""
        if not self._common:
            return None
        import numpy as np

        source = self.source
        buffer = source.buffer
        header = self._header
        length_of = struct.Struct(self._order + "I").unpack_from
        at = source.position
        last = len(buffer) - header
        offsets: list[int] = []
        found = offsets.append
        for _ in range(most):
            if at > last:
                break
            found(at)
            at += header + length_of(buffer, at + 8)[0]
        if offsets and at > len(buffer):
            at = offsets.pop()
        if not offsets:
            return None
        starts = np.array(offsets, np.int64)
        heads = windows(buffer, 16)[starts].view(np.dtype(self._order + "u4")).reshape(-1, 4)
        captured = heads[:, 2].astype(np.int64)
        if int(captured.max()) > self._limit:
            count = int(np.argmax(captured > self._limit))
            if not count:
                return None
            at = offsets[count]
            starts, heads, captured = starts[:count], heads[:count], captured[:count]
        times = heads[:, 0].astype(np.int64) * 1_000_000_000 + heads[:, 1].astype(np.int64) * self._scale
        run = Run(
            self.journal.frames + 1,
            source.base,
            buffer,
            starts,
            starts + header,
            captured,
            np.maximum(heads[:, 3].astype(np.int64), captured),
            times,
            self._linktype,
            0,
        )
        source.position = at
        self.journal.count_run(run)
        return run

    def layout(self) -> Layout | None:
        """As `Format.layout`."""
        if not self._common:
            return None
        source = self.source
        return Layout(
            source.buffer,
            source.position,
            source.base,
            "<>".index(self._order),
            self._header,
            self._limit,
            self._linktype,
            self._scale,
            [],
            self,
        )

    def number_of(self, interface: int) -> int:
        """As `Format.number_of`: there is one."""
        return 0
