# SPDX-License-Identifier: GPL-2.0-or-later
"""What capture files of any format come to: a frame, many frames at once, or where the next ones lie."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers: TypeAlias = npt.NDArray[Any]

_AGAIN: Final = 4096  # bytes that are read at once where a record is read again: nearly all are smaller


@dataclass(slots=True)
class Frame:
    """One captured frame, link-layer header included.

    `number` counts from 1 in file order, `offset` is where its record begins in the file. `data` is what was
    captured, `length` what was on the wire (more, where a snaplen cut it). `interface` counts from 0 through
    the whole file, over the sections of a pcapng file, and is 0 in a pcap file.
    """

    number: int
    offset: int
    time_ns: int
    linktype: int
    data: bytes
    length: int
    interface: int


@dataclass(slots=True)
class Run:
    """Consecutive frames that lie whole in one buffer, as arrays: what `Frame` has, for many at once.

    number: of the first frame, from 1. base: the file offset of `buffer[0]`. offsets: where each record
    begins in the buffer; starts: where its frame does. linktypes, interfaces: one number where all have the
    same.
    """

    number: int
    base: int
    buffer: bytes
    offsets: Numbers
    starts: Numbers
    captured: Numbers
    lengths: Numbers
    times: Numbers
    linktypes: Numbers | int
    interfaces: Numbers | int

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def back_ns(self) -> int:
        """How far (ns) a time among them lies before an earlier frame's, at most."""
        import numpy as np

        times = self.times
        if not (times[1:] < times[:-1]).any():
            return 0
        return int((np.maximum.accumulate(times) - times).max())

    def frame(self, index: int) -> Frame:
        """One of them by itself."""
        start, captured = int(self.starts[index]), int(self.captured[index])
        linktype, interface = self.linktypes, self.interfaces
        return Frame(
            self.number + index,
            self.base + int(self.offsets[index]),
            int(self.times[index]),
            linktype if isinstance(linktype, int) else int(linktype[index]),
            self.buffer[start : start + captured],
            max(int(self.lengths[index]), captured),
            interface if isinstance(interface, int) else int(interface[index]),
        )


@dataclass(slots=True)
class Layout:
    """Where the next records of a capture lie, and how they are to be read; for `swift`.

    buffer, position: the next record begins there; base: the file offset of `buffer[0]`. form: 0 for pcap
    with the lowest byte first, 1 with the highest, 2 for pcapng. header, limit, linktype, scale: as
    `pcap.Pcap` has them. faces: of each interface of a pcapng section its link type, ns a unit, ns of offset,
    the limit of the upper half of a time, and its number. source: what tells one such layout from another.
    """

    buffer: bytes
    position: int
    base: int
    form: int
    header: int
    limit: int
    linktype: int
    scale: int
    faces: list[tuple[int, int, int, int, int]]
    source: object


class Again:
    """Reads records of a capture again, by their place in the file; also when the capture has been closed."""

    def __init__(self, file: int, layout: Layout) -> None:
        self._file = os.dup(file)
        self._layout = layout

    def same(self, layout: Layout) -> bool:
        """Whether records of this layout can be read; its interfaces are then known here too."""
        if layout.source is self._layout.source:
            self._layout.faces = layout.faces
            return True
        return False

    def bytes(self, offset: int, size: int) -> bytes:
        """What lies there."""
        return os.pread(self._file, size, offset)

    @property
    def size(self) -> int:
        """How many bytes the file has now."""
        return os.fstat(self._file).st_size

    def frame(self, offset: int, number: int) -> Frame | None:
        """The record at an offset, whose number is known; None where the file has changed and it is gone."""
        layout = self._layout
        head = self.bytes(offset, _AGAIN)
        if len(head) < layout.header:
            return None
        if layout.form == 2:
            _kind, _size, which, high, low, captured, length = struct.unpack_from("<7I", head)
            if which >= len(layout.faces):
                return None
            linktype, scale, offset_ns, _limit, interface = layout.faces[which]
            time_ns, start = (high << 32 | low) * scale + offset_ns, 28
        else:
            order = "<>"[layout.form]
            seconds, fraction, captured, length = struct.unpack_from(order + "4I", head)
            time_ns, start = seconds * 1_000_000_000 + fraction * layout.scale, layout.header
            linktype, interface = layout.linktype, 0
        if captured > layout.limit:
            return None
        data = head[start : start + captured]
        if len(data) < captured:
            data = self.bytes(offset + start, captured)
            if len(data) < captured:
                return None
        return Frame(number, offset, time_ns, linktype, data, max(length, captured), interface)

    def close(self) -> None:
        """Nothing is read again."""
        os.close(self._file)


def windows(buffer: bytes, size: int) -> Numbers:
    """Every `size` bytes that lie together in the buffer, as an array to pick from by their offset."""
    import numpy as np

    return np.ndarray((len(buffer) - size + 1,), np.dtype((np.void, size)), buffer, strides=(1,))
