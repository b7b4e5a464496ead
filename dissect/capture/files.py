# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture files: bytes in, frames out, times in integer nanoseconds.

Reads pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng) by itself, because dpkt turns the
times of pcapng into floats and applies the first interface's resolution and link type to all of them.

A file is read once, from front to back, in bounded steps, so that a pipe serves as well as a file. What is
wrong with it is data: a `Problem` names file, offset and reason, and reading goes on where it can. Only a
file from which nothing at all can be had raises, with the same one line.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

from dissect.capture.notes import (
    HEAD,
    MAX_COMMENTS,
    MAX_NAME,
    MAX_NAMES,
    OPT_COMMENT,
    Comment,
    Notes,
    text_of,
)
from dissect.capture.packed import MAGIC_SIZE, Unavailable, Unpacked, kind_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from dissect.capture.ahead import Ahead

    Numbers: TypeAlias = npt.NDArray[Any]

MAX_BLOCK: Final = 16 << 20
"""No pcapng block may be larger (bytes), whatever its length field says."""

MIN_FRAME_LIMIT: Final = 256 << 10
"""A frame of a pcap file may hold this much (bytes), or the file's own snaplen where that is more..."""

MAX_FRAME_LIMIT: Final = 16 << 20
"""...but no snaplen is believed beyond this."""

MAX_PROBLEMS: Final = 100
"""Problems kept one by one; more of them are counted, and named in one last line."""

MAX_SECRETS: Final = 16 << 20
"""Bytes of secrets that are kept of one file."""

MAX_INTERFACES: Final = 1 << 16
"""Interfaces kept for one section of a pcapng file."""

_CHUNK: Final = 256 << 10
_TWICE: Final = 128 << 10  # bytes that chunks which are read ahead have in common; few records are larger
_LAST_BLOCKS: Final = 64  # at the end of a file, among which names are looked for before it is read
_AGAIN: Final = 4096  # bytes that are read at once where a record is read again: nearly all are smaller


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at one place of one file; `str()` is one line fit for a person."""

    file: str
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{_one_line(self.file)}: at byte {self.offset}: {_one_line(self.reason)}"


class CaptureError(Exception):
    """Nothing can be read from this file. `str()` is the one line of its `problem`."""

    def __init__(self, file: str, offset: int, reason: str) -> None:
        super().__init__(file, offset, reason)  # as given, so that it can be pickled
        self.problem: Final = Problem(file, offset, reason)

    def __str__(self) -> str:
        return str(self.problem)

    @property
    def file(self) -> str:
        """The file's name as the user knows it."""
        return self.problem.file

    @property
    def offset(self) -> int:
        """Where in the file, in bytes from its start."""
        return self.problem.offset

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return self.problem.reason


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
class _Interface:
    """What frames of one pcapng interface need to be understood."""

    number: int
    linktype: int
    snaplen: int
    scale: int = 1000  # nanoseconds a unit, for resolutions that are whole nanoseconds
    divide: int = 1  # units are scale / divide ns, for finer or binary resolutions
    offset_ns: int = 0

    def time_ns(self, units: int) -> int:
        """Integer nanoseconds (rounded down) since 1970 of a time stamp in this interface's units."""
        return units * self.scale // self.divide + self.offset_ns

    def units(self, time_ns: int) -> int:
        """The way back: the first time stamp in this interface's units that is not before `time_ns`."""
        return max(0, -((self.offset_ns - time_ns) * self.divide // self.scale))

    def take(self, order: str, code: int, value: bytes) -> None:
        """What an option says of times: if_tsresol (9) or if_tsoffset (14, seconds); others say nothing."""
        if code == 9 and len(value) == 1:
            exponent = value[0] & 0x7F
            base = 2 if value[0] & 0x80 else 10
            if base == 10 and exponent <= 9:
                self.scale, self.divide = 10 ** (9 - exponent), 1
            else:
                self.scale, self.divide = 1_000_000_000, base**exponent
        elif code == 14 and len(value) == 8:
            self.offset_ns = struct.unpack(order + "q", value)[0] * 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Records:
    """How the records of a pcap file lie: byte order, ns a unit of fraction, bytes of header, the limit."""

    order: str
    scale: int
    header: int
    linktype: int
    limit: int


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
    `_Records` has them. faces: of each interface of a pcapng section its link type, ns a unit, ns of offset,
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


class _Section:
    """A section of a pcapng file: its byte order, and its interfaces (None for one that is unusable).

    first_number: of its first interface, counted through the file. readable: False for one of a version that
    is not known; its blocks are passed over.
    """

    __slots__ = ("first_number", "header", "interfaces", "order", "packet", "readable")

    def __init__(self, order: str, first_number: int) -> None:
        self.order: Final = order
        self.first_number: Final = first_number
        self.header: Final = struct.Struct(order + "II")
        self.packet: Final = struct.Struct(order + "IIIII")
        self.interfaces: list[_Interface | None] = []
        self.readable = True


class Stopped(BaseException):
    """Raised by `Capture.stop` out of a read that waits, and caught where that was called."""


class _Source:
    """Bytes from a stream, in chunks, without seeking; knows the file offset of what it holds."""

    __slots__ = (
        "_read",
        "_stream_read",
        "base",
        "buffer",
        "chunk",
        "consumed",
        "error",
        "position",
        "stopped",
        "waiting",
    )

    def __init__(self, stream: BinaryIO) -> None:
        # A buffered pipe's read(n) waits for all n bytes; read1(n) hands on what has arrived.
        read = getattr(stream, "read1", None) or stream.read
        self._stream_read: Callable[[int], bytes | None] = read
        self._read: Callable[[int], bytes | None] = self.taken
        self.consumed = 0
        self.stopped = False
        self.waiting = False
        self.base = 0
        self.buffer = b""
        self.position = 0
        self.chunk = _CHUNK
        self.error: str | None = None

    def taken(self, size: int) -> bytes | None:
        """The next bytes of the stream itself, at most `size`; counted, and `stop` can end the wait."""
        self.waiting = True
        try:
            if self.stopped:
                raise Stopped
            chunk = self._stream_read(size)
        finally:
            self.waiting = False
        self.consumed += len(chunk or b"")
        return chunk

    def unpack(self, kind: str) -> None:
        """What has been read is the beginning of compressed data: go on with what is in them."""
        unpacked = Unpacked(kind, self.taken, self.buffer)
        self.buffer = b""
        self._read = unpacked.read1

    def stop(self) -> None:
        """End here as if the stream did; may be called by a signal handler while it is being read."""
        self.stopped = True
        if self.waiting:
            raise Stopped

    @contextmanager
    def no_more_than_needed(self) -> Iterator[None]:
        """For the time being no more is read than `need` asks for."""
        chunk, self.chunk = self.chunk, 0
        try:
            yield
        finally:
            self.chunk = chunk

    @property
    def offset(self) -> int:
        return self.base + self.position

    @property
    def left(self) -> int:
        """Bytes that are here, unread."""
        return len(self.buffer) - self.position

    def need(self, size: int) -> bool:
        """Make `size` unread bytes available; False where the file ends, or fails, before them."""
        missing = size - self.left
        if missing <= 0:
            return True
        parts = [self.buffer[self.position :]] if self.left else []
        self.base += self.position
        self.position = 0
        while missing > 0 and not self.stopped:
            try:
                chunk = self._read(max(self.chunk, min(missing, MAX_BLOCK)))
            except (OSError, ValueError) as error:
                self.error = _words(error)
                break
            except Stopped:
                break
            if chunk is None:
                self.error = "the stream has nothing to read and does not wait for more (it is non-blocking)"
                break
            if not chunk:
                break
            parts.append(chunk)
            missing -= len(chunk)
        self.buffer = b"".join(parts)
        return missing <= 0


class Capture:
    """An open capture file: iterate it once for its frames. Made by `open_capture`.

    name: as the user knows the file.
    format: "pcap" or "pcapng". compression: "gzip", "xz", "zstd", "lz4", "bzip2" or None.
    problems: what was wrong so far, in file order (see `MAX_PROBLEMS`).
    frames: how many frames were handed out so far.
    first_ns: the earliest time of any frame so far, None before the first. back_ns: how far (ns) a frame's
    time lies before an earlier frame's, at most; where many frames are read at once it may be more.
    skipped: why frames were not used, and how many, kept by those who decode them (`conversations.read`).
    secrets: what decryption needs, as Decryption Secrets Blocks have it: (kind, data), `MAX_SECRETS` bytes.
    notes: names of addresses and interfaces, and comments. Names at the end of a file that is
    `readable_again`, where programs tend to write them, are there from the beginning.
    """

    def __init__(self, stream: BinaryIO, name: str, *, owned: bool) -> None:
        self.name: Final = name
        self.format = ""
        self.compression: str | None = None
        self.problems: list[Problem] = []
        self.frames = 0
        self.first_ns: int | None = None
        self.back_ns = 0
        self.skipped: Counter[str] = Counter()
        self.secrets: list[tuple[int, bytes]] = []
        self.notes = Notes()
        self._last_ns: int | None = None
        self._declared_end_ns: int | None = None
        self._more_problems = 0
        self._full = False  # no room for another comment, and that was said
        self._stream = stream
        self._owned = owned
        self._source = _Source(stream)
        self._ahead: Ahead | None = None
        self._records: _Records | None = None  # of a pcap file in the common form
        self._section: _Section | None = None  # of a pcapng file, the latest
        self._frames = self._begin()

    # -- being an iterator and a context manager

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; closes the file if `open_capture` opened it."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        if self._owned:
            self._stream.close()

    # -- what is known of the whole

    @property
    def end_ns(self) -> int | None:
        """When the capture was stopped (ns), as far as read.

        The latest end that a pcapng file states in its Interface Statistics Blocks; the time of the last
        frame where it states none or an earlier one. None while there is neither.
        """
        ends = [end for end in (self._declared_end_ns, self._last_ns) if end is not None]
        return max(ends, default=None)

    @property
    def end_declared(self) -> bool:
        """Whether the file itself says when it was stopped, so that silence at its end is known."""
        return self._declared_end_ns is not None

    @property
    def offset(self) -> int:
        """Bytes of the capture used so far; of a compressed one, of what is in it."""
        return self._source.offset

    @property
    def consumed(self) -> int:
        """Bytes of the file read so far, compressed or not, also those that are not used yet."""
        return self._source.consumed

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called, so that the capture ends here without being at its end."""
        return self._source.stopped

    def stop(self) -> None:
        """Let the capture end here; from a signal handler or another place than the one that reads it."""
        self._source.stop()

    def not_used(self) -> str | None:
        """One line for the user: how many frames were not used, and why. None where all were."""
        total = self.skipped.total()
        if not total:
            return None
        reasons = [f"{count} {reason}" for reason, count in self.skipped.most_common(9)]
        if len(self.skipped) > 9:
            listed = sum(count for _reason, count in self.skipped.most_common(9))
            reasons.append(f"{total - listed} of {len(self.skipped) - 9} other kinds")
        return f"{total} frame{'s' if total > 1 else ''} not used: {', '.join(reasons)}"

    # -- many frames at once

    def run(self, most: int) -> Run | None:
        """The next frames, at most `most`, where they lie whole in the buffer and are of the common form.

        None where there are none such: then the iterator gives the next frame, or says what is wrong, and
        refills the buffer. Both may be used in turn; each frame comes once.
        """
        if self._source.stopped:
            return None
        if self._records is not None:
            return self._pcap_run(self._records, most)
        if self._section is not None and self._section.order == "<" and sys.byteorder == "little":
            return self._pcapng_run(self._section, most)
        return None

    @property
    def used_up(self) -> bool:
        """Whether nothing is left of what was read so far."""
        return not self._source.left

    def one(self) -> Frame | None:
        """The next frame, None at the end. One that only begins in the buffer is completed by itself: what
        follows is then read into a buffer of its own, and not put together with what was left.
        """
        if not self._source.left:
            return next(self._frames, None)
        with self._source.no_more_than_needed():
            return next(self._frames, None)

    def read_ahead(self, size: int) -> None:
        """Read in steps of so many bytes from now on (a pipe gives what it has)."""
        self._source.chunk = size

    def _pcap_run(self, records: _Records, most: int) -> Run | None:
        import numpy as np

        source = self._source
        buffer = source.buffer
        header = records.header
        length_of = struct.Struct(records.order + "I").unpack_from
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
        heads = windows(buffer, 16)[starts].view(np.dtype(records.order + "u4")).reshape(-1, 4)
        captured = heads[:, 2].astype(np.int64)
        if int(captured.max()) > records.limit:
            count = int(np.argmax(captured > records.limit))
            if not count:
                return None
            at = offsets[count]
            starts, heads, captured = starts[:count], heads[:count], captured[:count]
        times = heads[:, 0].astype(np.int64) * 1_000_000_000 + heads[:, 1].astype(np.int64) * records.scale
        run = Run(
            self.frames + 1,
            source.base,
            buffer,
            starts,
            starts + header,
            captured,
            np.maximum(heads[:, 3].astype(np.int64), captured),
            times,
            records.linktype,
            0,
        )
        source.position = at
        self._account(run)
        return run

    def _pcapng_run(self, section: _Section, most: int) -> Run | None:
        import numpy as np

        source = self._source
        buffer, start = source.buffer, source.position
        size = (len(buffer) - start) >> 2
        words = memoryview(buffer)[start : start + 4 * size].cast("I")
        at, last = 0, size - 8
        places: list[int] = []
        found = places.append
        for _ in range(most):
            if at > last or words[at] != _EPB:
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
            self.frames + 1,
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
        self._account(run)
        if self.notes.packets:
            self._note(section, run, lengths)
        return run

    def _note(self, section: _Section, run: Run, lengths: Numbers) -> None:
        """Keep the interfaces and comments of packets of a run; lengths: of their blocks."""
        import numpy as np

        numbers = run.interfaces
        if isinstance(numbers, int):
            self.notes.came_by(run.number, numbers)
        else:
            changes = np.flatnonzero(np.diff(numbers, prepend=-1))
            for index, number in zip(changes.tolist(), numbers[changes].tolist(), strict=True):
                self.notes.came_by(run.number + index, number)
        ends = run.starts + ((run.captured + 3) & ~3)
        blocks = run.offsets + lengths - 4
        for index in np.flatnonzero(blocks - ends >= 4).tolist():
            self._comments(section, run.buffer, int(ends[index]), int(blocks[index]), run.frame(index))

    def _comments(self, section: _Section, buffer: bytes, at: int, end: int, frame: Frame) -> None:
        """Keep the comments of a packet, whose options lie between `at` and `end`."""
        for code, value in self._options(section.order, buffer, at, end, frame.offset):
            if code == OPT_COMMENT:
                about, head = f"packet {frame.number}", frame.data[:HEAD]
                self._comment(
                    Comment(about, text_of(value), frame.number, frame.time_ns, frame.linktype, head),
                    frame.offset,
                )

    def _comment(self, comment: Comment, offset: int) -> None:
        if not self.notes.comment(comment) and not self._full:
            self._full = True
            self._problem(
                offset, f"more than {len(self.notes.comments)} comments; this and later ones not kept"
            )

    def _account(self, run: Run) -> None:
        import numpy as np

        times = run.times
        if (times[1:] < times[:-1]).any():
            self.back_ns = max(self.back_ns, int((np.maximum.accumulate(times) - times).max()))
        self._counted(len(run), int(times.min()), int(times.max()))

    def _counted(self, count: int, low: int, high: int) -> None:
        self.frames += count
        if self._last_ns is not None and self._last_ns - low > self.back_ns:
            self.back_ns = self._last_ns - low
        self.first_ns = low if self.first_ns is None else min(self.first_ns, low)
        self._last_ns = high if self._last_ns is None else max(self._last_ns, high)

    # -- for `swift`

    @property
    def readable_again(self) -> bool:
        """Whether what was read can be read again: a file of its own on a disk, and not compressed."""
        if not self._owned or self.compression is not None or not isinstance(self._stream, io.FileIO):
            return False
        return stat.S_ISREG(os.fstat(self._stream.fileno()).st_mode)

    def layout(self) -> Layout | None:
        """How the next records are to be read; None where the iterator must read the next one."""
        source, records, section = self._source, self._records, self._section
        faces: list[tuple[int, int, int, int, int]] = []
        if records is not None:
            form = "<>".index(records.order)
            header, limit, linktype, scale = records.header, records.limit, records.linktype, records.scale
        elif section is not None and section.order == "<" and section.readable:
            form, header, limit, linktype, scale = 2, 28, MAX_BLOCK, 0, 0
            for one in section.interfaces:
                if one is None or one.divide != 1 or abs(one.offset_ns) > 1 << 61:
                    return None
                faces.append((one.linktype, one.scale, one.offset_ns, (1 << 30) // one.scale, one.number))
        else:
            return None
        return Layout(
            source.buffer,
            source.position,
            source.base,
            form,
            header,
            limit,
            linktype,
            scale,
            faces,
            records or section,
        )

    def again(self, layout: Layout) -> Again:
        """What reads the records again that are read by this layout; only where `readable_again`."""
        return Again(self._stream.fileno(), layout)

    def took(self, count: int, position: int, low: int, high: int) -> None:
        """So many records were taken, up to this place of the buffer; low and high bound their times."""
        self._source.position = position
        self._counted(count, low, high)

    def fill(self, size: int) -> bool:
        """Read on, so that at least `size` unread bytes are here; False where the file ends before.

        A record that only begins in the buffer is completed by itself, so that little is copied.
        """
        source = self._source
        if self._ahead is not None and not source.stopped and self._turn(self._ahead, size):
            return True
        if not source.left:
            return source.need(1)
        with source.no_more_than_needed():
            return source.need(size)

    def read_beside(self, size: int) -> None:
        """From now on a thread reads ahead for `fill`, so many bytes at once; only where `readable_again`."""
        from dissect.capture.ahead import Ahead

        self._ahead = Ahead(self._stream.fileno(), self._source.offset, size, min(_TWICE, size // 4))

    def _turn(self, ahead: Ahead, size: int) -> bool:
        """Go on with a chunk that was read ahead; False where none has the next `size` bytes whole."""
        source = self._source
        offset = source.offset
        try:
            found = ahead.take(offset, size)
        except OSError as error:
            source.error = _words(error)
            return False
        if found is None:
            return False
        source.buffer, source.position = found
        source.base = offset - source.position
        source.consumed = self._stream.seek(source.base + len(source.buffer))  # where others read on
        return True

    def changed(self) -> None:
        """Note that what was read before this place is not in the file any more."""
        reason = "the file was changed while it was read: what was found in it may be wrong"
        if not any(problem.reason == reason for problem in self.problems):
            self._problem(self.offset, reason)

    def frame_of(
        self, which: int, number: int, data: bytes, time_ns: int, length: int, linktype: int, at: int
    ) -> Frame:
        """One of the records taken, as a frame: of interface `which` of the section, `at` in the buffer."""
        section = self._section
        interface = 0 if section is None else section.first_number + which
        return Frame(number, self._source.base + at, time_ns, linktype, data, length, interface)

    # -- reading

    def _begin(self) -> Iterator[Frame]:
        source = self._source
        source.need(MAGIC_SIZE)
        kind = kind_of(source.buffer)
        if kind is not None:
            self.compression = kind
            try:
                source.unpack(kind)
            except Unavailable as missing:
                raise self._fatal(f"{kind} compressed, which needs {missing}") from None
            source.need(4)
        head = source.buffer[:4]
        if source.error is not None and len(head) < 4:
            raise self._fatal(f"cannot be read: {source.error}")
        if not head:
            raise self._fatal(f"nothing inside the {kind} data" if kind else "an empty file")
        if head == _SECTION_MAGIC:
            self.format = "pcapng"
            order = self._section_order()
            if order is None:
                raise self._fatal(self._cut("the first section header", 12) or _BAD_ORDER)
            length: int = struct.unpack_from(order + "I", source.buffer, 4)[0]
            reason = _unusable_block(length, 28)
            if reason is not None:
                raise self._fatal(f"section header block with {reason}")
            if not source.need(length):
                raise self._fatal(self._cut("the first section header", length) or "")
            if self.readable_again:
                with suppress(OSError):  # it is said where reading comes there
                    self._last_names(order)
            return self._pcapng(order)
        if head in _PCAP_MAGICS:
            self.format = "pcap"
            if not source.need(24):
                raise self._fatal(self._cut("the file header", 24) or "")
            order, scale, extra = _PCAP_MAGICS[head]
            major, minor = struct.unpack_from(order + "HH", source.buffer, 4)
            if major not in (2, 543):  # 543.0 is an early tcpdump's number for 2.x, which libpcap reads too
                raise self._fatal(f"pcap version {major}.{minor} is not known (2.4 is the current one)")
            return self._pcap(order, scale, extra, swapped=major == 543 or minor < 3, doubtful=minor == 3)
        source.need(512)
        raise self._fatal(_what_it_looks_like(source.buffer[:512]))

    def _pcap(self, order: str, scale: int, extra: int, *, swapped: bool, doubtful: bool) -> Iterator[Frame]:
        """Frames of a pcap file: 24 bytes of header, then records of 16 + `extra` bytes and the data.

        Files of versions before 2.3 have the two lengths the other way round, those of 2.3 either way.
        """
        source = self._source
        snaplen, network = struct.unpack_from(order + "II", source.buffer, 16)
        linktype = network & 0xFFFF  # the upper half tells of a frame check sequence
        limit = max(MIN_FRAME_LIMIT, min(snaplen, MAX_FRAME_LIMIT))
        record = struct.Struct(order + "IIII")
        header_size = record.size + extra
        if not swapped and not doubtful:
            self._records = _Records(order, scale, header_size, linktype, limit)
        source.position = 24
        while True:
            if len(source.buffer) - source.position < header_size and not source.need(header_size):
                self._ended("a record header", header_size)
                break
            seconds, fraction, captured, length = record.unpack_from(source.buffer, source.position)
            if swapped or (doubtful and captured > length):
                captured, length = length, captured
            if captured > limit:
                # The header of a file would have been read as a record of 16 bytes without data.
                joined = source.buffer[max(0, source.position - 16) : source.position][:4] in _PCAP_MAGICS
                reason = f"a record of {captured} bytes, where {limit} is the limit; {_DAMAGED}"
                self._problem(source.offset, _JOINED if joined else reason)
                break
            size = header_size + captured
            if len(source.buffer) - source.position < size and not source.need(size):
                self._ended("a record", size)
                break
            start = source.position + header_size
            data = source.buffer[start : start + captured]
            offset = source.base + source.position
            source.position += size
            yield self._frame(
                offset, seconds * 1_000_000_000 + fraction * scale, linktype, data, max(length, captured), 0
            )
        self._finish()

    def _pcapng(self, order: str) -> Iterator[Frame]:
        """Frames of a pcapng file, block by block; the first section header is already in the buffer."""
        source = self._source
        section = self._section = _Section(order, 0)
        untimed = False
        while True:
            if len(source.buffer) - source.position < 8 and not source.need(8):
                self._ended("a block header", 8)
                break
            kind, length = section.header.unpack_from(source.buffer, source.position)
            if kind == _SHB:  # the same number in both byte orders
                new_order = self._section_order()
                if new_order is None:
                    cut = self._cut("a section header", 12)
                    self._problem(
                        source.offset, cut or f"{_BAD_ORDER}; nothing after this place can be found"
                    )
                    break
                section = _Section(new_order, section.first_number + len(section.interfaces))
                self._section = section
                kind, length = section.header.unpack_from(source.buffer, source.position)
            if length < 12 or length > MAX_BLOCK or length % 4:
                joined = source.buffer[source.position : source.position + 4] in _PCAP_MAGICS
                reason = f"a block with {_unusable_block(length, 12)}; {_DAMAGED}"
                self._problem(source.offset, _JOINED if joined else reason)
                break
            if len(source.buffer) - source.position < length and not source.need(length):
                self._ended("a block", length)
                break
            buffer, start, offset = source.buffer, source.position, source.base + source.position
            end = start + length - 4
            source.position += length

            known = _BLOCKS.get(kind)
            if known is None:
                continue
            least, name = known
            if length < least:
                self._problem(offset, f"{name} of {length} bytes, too short; not used")
                if kind == _IDB:
                    section.interfaces.append(None)  # its number is taken all the same
                elif kind == _SHB:
                    section.readable = False
                continue
            if buffer[end : end + 4] != buffer[start + 4 : start + 8]:
                # What follows a section header or an interface depends on it: those are taken at their word.
                needed = kind in (_SHB, _IDB)
                self._problem(
                    offset,
                    f"{name} whose two lengths differ; {'used all the same' if needed else 'not used'}",
                )
                if not needed:
                    continue

            if kind == _SHB:
                major, minor = struct.unpack_from(section.order + "HH", buffer, start + 12)
                if major != 1:
                    section.readable = False
                    self._problem(offset, f"a section of pcapng version {major}.{minor}, not known; not read")
                    continue
                for code, value in _list(section.order, buffer, start + 24, end):
                    if code == OPT_COMMENT:
                        self._comment(Comment("the capture", text_of(value)), offset)
            elif not section.readable:
                continue
            elif kind in (_EPB, _PB):
                if kind == _EPB:
                    which, high, low, captured, size = section.packet.unpack_from(buffer, start + 8)
                else:  # the obsolete one has the count of drops in the other half of the interface number
                    which, _drops, high, low, captured, size = struct.unpack_from(
                        section.order + "HHIIII", buffer, start + 8
                    )
                interface = self._interface(section, which, offset)
                if interface is None:
                    continue
                at = start + 28
                if captured > end - at:
                    self._problem(
                        offset, f"a packet of {captured} bytes in a block with room for {end - at}; not used"
                    )
                    continue
                frame = self._frame(
                    offset,
                    interface.time_ns(high << 32 | low),
                    interface.linktype,
                    buffer[at : at + captured],
                    max(size, captured),
                    interface.number,
                )
                if self.notes.packets:
                    self._comments(section, buffer, at + (captured + 3 & ~3), end, frame)
                yield frame
            elif kind == _SPB:
                interface = self._interface(section, 0, offset)
                if interface is None:
                    continue
                if not untimed:
                    untimed = True
                    self._problem(
                        offset,
                        "simple packet blocks carry no time: this and later ones get the time of the latest "
                        "frame before them",
                    )
                size = struct.unpack_from(section.order + "I", buffer, start + 8)[0]
                at = start + 12
                captured = min(size, interface.snaplen or size, end - at)
                yield self._frame(
                    offset,
                    self._last_ns or 0,
                    interface.linktype,
                    buffer[at : at + captured],
                    size,
                    interface.number,
                )
            elif kind == _IDB:
                self._describe(section, buffer, start, end, offset)
            elif kind == _ISB:
                self._statistics(section, buffer, start, end, offset)
            elif kind == _NRB:
                kept = self.notes.resolve(self._options(section.order, buffer, start + 8, end, offset))
                if not kept:
                    self._problem(offset, f"more than {MAX_NAMES} names of addresses; not kept")
            elif kind == _DSB:
                what, size = struct.unpack_from(section.order + "II", buffer, start + 8)
                if size > end - (start + 16):
                    self._problem(offset, f"secrets of {size} bytes in a block with less room; not used")
                elif sum(len(one) for _, one in self.secrets) + size > MAX_SECRETS:
                    self._problem(offset, f"more than {MAX_SECRETS} bytes of secrets; not kept")
                else:
                    self.secrets.append((what, buffer[start + 16 : start + 16 + size]))
        self._finish()

    def _last_names(self, order: str) -> None:
        """Read names at the end of the file, back to its last packet; what is wrong is said in its turn."""
        file = self._stream.fileno()
        end = os.fstat(file).st_size
        for _ in range(_LAST_BLOCKS):
            length = int.from_bytes(os.pread(file, 4, max(end - 4, 0)), "little" if order == "<" else "big")
            if length < 12 or length % 4 or length > min(end, MAX_BLOCK):
                return
            head = os.pread(file, 8, end - length)
            if len(head) < 8:
                return
            kind, first = struct.unpack(order + "II", head)
            if first != length or kind in (_EPB, _PB, _SPB, _SHB):
                return
            end -= length
            if kind == _NRB:
                body = os.pread(file, length - 12, end + 8)
                self.notes.resolve(_list(order, body, 0, len(body)))

    def _section_order(self) -> str | None:
        """Byte order of the section whose header begins here; None where it is cut or makes no sense."""
        source = self._source
        if not source.need(12):
            return None
        magic = source.buffer[source.position + 8 : source.position + 12]
        return {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(magic)

    def _interface(self, section: _Section, which: int, offset: int) -> _Interface | None:
        if which < len(section.interfaces):
            interface = section.interfaces[which]
            if interface is not None:
                return interface
        self._problem(offset, f"a block of interface {which}, which is not described before it; not used")
        return None

    def _describe(self, section: _Section, buffer: bytes, start: int, end: int, offset: int) -> None:
        """An Interface Description Block: link type, snaplen, if_name (2), if_description (3),
        if_tsresol (9), if_tsoffset (14), comments (1).
        """
        number = len(section.interfaces)
        if number >= MAX_INTERFACES:
            self._problem(offset, f"more than {MAX_INTERFACES} interfaces in a section; not used")
            return
        linktype, _reserved, snaplen = struct.unpack_from(section.order + "HHI", buffer, start + 8)
        interface = _Interface(section.first_number + number, linktype, snaplen)
        names: dict[int, str] = {}
        comments: list[str] = []
        for code, value in self._options(section.order, buffer, start + 16, end, offset):
            if code in (2, 3):
                names.setdefault(code, text_of(value, MAX_NAME))
            elif code == OPT_COMMENT and len(comments) < MAX_COMMENTS:
                comments.append(text_of(value))
            else:
                interface.take(section.order, code, value)
        section.interfaces.append(interface)
        about = self.notes.describe(interface.number, names.get(2) or names.get(3, ""))
        for comment in comments:
            self._comment(Comment(about, comment), offset)

    def _statistics(self, section: _Section, buffer: bytes, start: int, end: int, offset: int) -> None:
        """An Interface Statistics Block: isb_endtime (3), when the capture was stopped."""
        which = struct.unpack_from(section.order + "I", buffer, start + 8)[0]
        interface = self._interface(section, which, offset)
        if interface is None:
            return
        for code, value in self._options(section.order, buffer, start + 20, end, offset):
            if code == 3 and len(value) == 8:
                high, low = struct.unpack(section.order + "II", value)
                stopped = interface.time_ns(high << 32 | low)
                if self._declared_end_ns is None or stopped > self._declared_end_ns:
                    self._declared_end_ns = stopped

    def _options(
        self, order: str, buffer: bytes, at: int, end: int, offset: int
    ) -> Iterator[tuple[int, bytes]]:
        """Code and value of each option between `at` and `end`; a list that breaks off is a problem."""
        yield from _list(order, buffer, at, end, lambda reason: self._problem(offset, reason))

    def _frame(
        self, offset: int, time_ns: int, linktype: int, data: bytes, length: int, interface: int
    ) -> Frame:
        self.frames += 1
        if self._last_ns is None or self.first_ns is None:
            self.first_ns = self._last_ns = time_ns
        elif time_ns > self._last_ns:
            self._last_ns = time_ns
        elif time_ns < self._last_ns:
            self.back_ns = max(self.back_ns, self._last_ns - time_ns)
            self.first_ns = min(self.first_ns, time_ns)
        if self.notes.packets:
            self.notes.came_by(self.frames, interface)
        return Frame(self.frames, offset, time_ns, linktype, data, length, interface)

    # -- what went wrong

    def _problem(self, offset: int, reason: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.name, offset, reason))
        else:
            self._more_problems += 1

    def _cut(self, what: str, size: int) -> str | None:
        """The words for a file that ends, or fails, before `size` bytes of `what`; None if they are there."""
        source = self._source
        if source.left >= size:
            return None
        if source.error is not None:
            return f"cannot be read further: {source.error}"
        return f"the file is cut inside {what}: {source.left} of {size} bytes are there"

    def _ended(self, what: str, size: int) -> None:
        """The file has ended before `size` more bytes: a problem unless it ended between two records."""
        if self._source.stopped:
            return
        if self._source.left or self._source.error is not None:
            self._problem(self._source.offset, self._cut(what, size) or "")
            self._source.position = len(self._source.buffer)

    def _finish(self) -> None:
        if self._more_problems:
            reason = f"{self._more_problems} more problems before this place, not listed"
            self.problems.append(Problem(self.name, self._source.offset, reason))
            self._more_problems = 0

    def _fatal(self, reason: str) -> CaptureError:
        return CaptureError(self.name, self._source.offset, reason)


def windows(buffer: bytes, size: int) -> Numbers:
    """Every `size` bytes that lie together in the buffer, as an array to pick from by their offset."""
    import numpy as np

    return np.ndarray((len(buffer) - size + 1,), np.dtype((np.void, size)), buffer, strides=(1,))


def open_capture(source: str | os.PathLike[str] | BinaryIO, name: str | None = None) -> Capture:
    """Open a pcap or pcapng file for reading, from front to back.

    source: a path, `-` for standard input, or a binary stream (never seeked, not closed).
    name: how problems call it; by default the path, or "standard input".

    Raises CaptureError where nothing can be used: missing, unreadable, empty, a directory, or not a capture.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if path == "-":
            name = name or "standard input"
            if sys.stdin is None:
                raise CaptureError(name, 0, "closed")
            return Capture(sys.stdin.buffer, name, owned=False)
        name = name or path
        try:
            stream: BinaryIO = Path(path).open("rb", buffering=0)  # noqa: SIM115  # the Capture closes it
        except (OSError, ValueError) as error:
            raise CaptureError(name, 0, _words(error)) from error
        try:
            return Capture(stream, name, owned=True)
        except BaseException:
            stream.close()
            raise
    if name is None:
        stream_name = getattr(source, "name", None)
        name = stream_name if isinstance(stream_name, str) else "stream"
    return Capture(source, name, owned=False)


_SHB: Final = 0x0A0D0D0A
_IDB: Final = 1
_PB: Final = 2
_SPB: Final = 3
_NRB: Final = 4
_ISB: Final = 5
_EPB: Final = 6
_DSB: Final = 0x0A

# the blocks that matter here -> the least total length, and what to call them
_BLOCKS: Final = {
    _SHB: (28, "a section header block"),
    _IDB: (20, "an interface description block"),
    _PB: (32, "a packet block"),
    _SPB: (16, "a simple packet block"),
    _ISB: (24, "an interface statistics block"),
    _NRB: (12, "a name resolution block"),
    _DSB: (20, "a decryption secrets block"),
    _EPB: (32, "an enhanced packet block"),
}

_SECTION_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_BAD_ORDER: Final = "a section header without a byte-order mark"

# magic as it lies in the file -> byte order, nanoseconds a unit of fraction, bytes a record header is longer
_PCAP_MAGICS: Final[dict[bytes, tuple[str, int, int]]] = {
    b"\xa1\xb2\xc3\xd4": (">", 1000, 0),
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 0),
    b"\xa1\xb2\x3c\x4d": (">", 1, 0),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 0),
    # A. Kuznetsov's libpcap for old Linux: interface index, protocol, packet type after the lengths.
    b"\xa1\xb2\xcd\x34": (">", 1000, 8),
    b"\x34\xcd\xb2\xa1": ("<", 1000, 8),
}

_DAMAGED: Final = "the file is damaged here and nothing after this place can be found"

_JOINED: Final = (
    "another pcap file was put behind this one, which makes no capture: nothing of it can be used; name each "
    "file by itself (with --merge where they are one capture)"
)

_OTHER_CAPTURES: Final = {
    b"snoop\x00\x00\x00": "Solaris snoop",
    b"GMBU": "Microsoft Network Monitor 2",
    b"RTSS": "Microsoft Network Monitor 1",
    b"XCP\x00": "NetXRay",
    b"\xa1\xe2\xcb\x12": "Endace or other pcap variant",
}


def _what_it_looks_like(head: bytes) -> str:
    """Why a file with this beginning is not read, in words."""
    kind = kind_of(head)
    if kind is not None:
        return f"{kind} data inside compressed data; decompress it once first"
    if head.startswith(b"PK\x03\x04"):
        return "not read: a zip archive; take the capture out of it first"
    for magic, kind in _OTHER_CAPTURES.items():
        if head.startswith(magic):
            return f"not read yet: a capture of {kind}; convert it to pcapng first"
    if head.startswith(b"\x7fELF"):
        return "not a capture but a program"
    if len(head) < 4:
        return f"not a capture: only {len(head)} bytes"
    if _is_text(head):
        return "not a capture but text"
    return f"not a capture: it begins with {head[:4].hex(' ')}, neither pcap nor pcapng"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character that the end of `head` cuts
            return False
        text = head[: error.start].decode()
    return all(letter.isprintable() or letter in "\t\n\r\f\x1b" for letter in text)


def _list(
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


def _unusable_block(length: int, least: int) -> str | None:
    """Why a block cannot have this total length, or None."""
    if length < least:
        return f"a length of {length}, where {least} is the least"
    if length % 4:
        return f"a length of {length}, not a multiple of 4"
    if length > MAX_BLOCK:
        return f"a length of {length}, where {MAX_BLOCK} is the limit"
    return None


def _words(error: Exception) -> str:
    """An operating system's error in lower-case words."""
    if isinstance(error, IsADirectoryError):
        return "a directory, not a capture"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{words[0].lower()}{words[1:]}"


def _one_line(text: str) -> str:
    """The text with everything that does not print made visible, so that it is one safe line."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )
