# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture files: bytes in, frames out, times in integer nanoseconds.

Reads pcap and pcapng by itself, because dpkt turns the times of pcapng into floats and applies the first
interface's resolution and link type to all of them.

A file is read once, from front to back, in bounded steps, so that a pipe serves as well as a file. What is
wrong with it is data: a `Problem` names file, offset and reason, and reading goes on where it can. Only a
file from which nothing at all can be had raises, with the same one line.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final

from dissect.capture import pcap
from dissect.capture.blocks import SECTION_MAGIC
from dissect.capture.format import Format
from dissect.capture.journal import Journal
from dissect.capture.packed import MAGIC_SIZE, Unavailable, kind_of
from dissect.capture.problems import CaptureError, words_of
from dissect.capture.records import Again, Frame, Layout, Run
from dissect.capture.source import Source

if TYPE_CHECKING:
    from dissect.capture.ahead import Ahead

_TWICE: Final = 128 << 10  # bytes that chunks which are read ahead have in common; few records are larger


class Capture(Journal):
    """An open capture file: iterate it once for its frames. Made by `open_capture`.

    format: "pcap" or "pcapng". compression: "gzip", "xz", "zstd", "lz4", "bzip2" or None. What is known of it
    so far: see `Journal`.
    """

    def __init__(self, stream: BinaryIO, name: str, *, owned: bool) -> None:
        super().__init__(name)
        self.compression: str | None = None
        self._stream = stream
        self._owned = owned
        self._source = Source(stream, stream.fileno() if owned and _on_disk(stream) else None)
        self._ahead: Ahead | None = None
        self._format = self._begin()
        self.format = "pcap" if isinstance(self._format, pcap.Pcap) else "pcapng"
        self._frames = self._format.frames()

    def _begin(self) -> Format:
        """Find out the format by the first bytes."""
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
        if head == SECTION_MAGIC:
            from dissect.capture import pcapng

            reason = pcapng.unreadable(source)
            if reason is not None:
                raise self._fatal(reason)
            found = pcapng.Pcapng(source, self)
            if self.readable_again:
                with suppress(OSError):  # it is said where reading comes there
                    found.read_last_names(self._stream.fileno())
            return found
        if head in pcap.MAGICS:
            reason = pcap.unreadable(source)
            if reason is not None:
                raise self._fatal(reason)
            return pcap.Pcap(source, self)
        source.need(512)
        raise self._fatal(_what_it_looks_like(source.buffer[:512]))

    def _fatal(self, reason: str) -> CaptureError:
        return CaptureError(self.name, self._source.offset, reason)

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

    # -- how far it was read

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

    # -- many frames at once

    def run(self, most: int) -> Run | None:
        """The next frames, at most `most`, where they lie whole in the buffer and are of the common form.

        None where there are none such: then the iterator gives the next frame, or says what is wrong, and
        refills the buffer. Both may be used in turn; each frame comes once.
        """
        return None if self._source.stopped else self._format.run(most)

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

    # -- for `swift` and `runs`

    @property
    def readable_again(self) -> bool:
        """Whether what was read can be read again: a file of its own on a disk, and not compressed."""
        return self._owned and self.compression is None and _on_disk(self._stream)

    def layout(self) -> Layout | None:
        """How the next records are to be read; None where the iterator must read the next one."""
        return self._format.layout()

    def again(self, layout: Layout) -> Again:
        """What reads the records again that are read by this layout; only where `readable_again`."""
        return Again(self._stream.fileno(), layout)

    def took(self, count: int, position: int, low: int, high: int) -> None:
        """So many records were taken, up to this place of the buffer; low and high bound their times."""
        self._source.position = position
        self.count(count, low, high)

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
            source.error = words_of(error)
            return False
        if found is None:
            return False
        source.buffer, source.position = found
        source.base = offset - source.position
        source.consumed = source.base + len(source.buffer)  # where others read on
        return True

    def changed(self) -> None:
        """Note that what was read before this place is not in the file any more."""
        reason = "the file was changed while it was read: what was found in it may be wrong"
        if not any(problem.reason == reason for problem in self.problems):
            self.problem(self.offset, reason)

    def frame_of(
        self, which: int, number: int, data: bytes, time_ns: int, length: int, linktype: int, at: int
    ) -> Frame:
        """One of the records taken, as a frame: of interface `which` of the section, `at` in the buffer."""
        interface = self._format.number_of(which)
        return Frame(number, self._source.base + at, time_ns, linktype, data, length, interface)


def _on_disk(stream: BinaryIO) -> bool:
    """Whether a stream is a file on a disk, without a buffer of its own."""
    return isinstance(stream, io.FileIO) and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


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
            raise CaptureError(name, 0, words_of(error)) from error
        try:
            return Capture(stream, name, owned=True)
        except BaseException:
            stream.close()
            raise
    if name is None:
        stream_name = getattr(source, "name", None)
        name = stream_name if isinstance(stream_name, str) else "stream"
    return Capture(source, name, owned=False)


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
