# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytes of a file or pipe in chunks, from front to back, and where in the file they lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Final

from dissect.capture.packed import Unpacked
from dissect.capture.problems import words_of

CHUNK: Final = 256 << 10
"""Bytes that are asked for at once."""

MOST: Final = 16 << 20
"""...and the most, however large a record says that it is."""


class Stopped(BaseException):
    """Raised by `Capture.stop` out of a read that waits, and caught where that was called."""


class Source:
    """Bytes from a stream, in chunks; knows the file offset of what it holds.

    buffer, position: what is here, and how far it is used; base: the file offset of `buffer[0]`. chunk: bytes
    that are asked for at once. consumed: bytes of the stream read so far. error: why it cannot be read on, in
    words. stopped: whether `stop` was called.
    """

    __slots__ = (
        "_again",
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

    def __init__(self, stream: BinaryIO, file: int | None = None) -> None:
        """stream: never seeked, not closed. file: the descriptor of one that is a file on a disk, and is
        read from its beginning: a record that crosses two chunks is then read again with the second, which
        costs less than to put the two together.
        """
        self._again = file is not None
        # A buffered pipe's read(n) waits for all n bytes; read1(n) hands on what has arrived.
        read = getattr(stream, "read1", None) or stream.read
        self._stream_read: Callable[[int], bytes | None] = (
            read if file is None else partial(self._from_disk, file)
        )
        self._read: Callable[[int], bytes | None] = self.taken
        self.consumed = 0
        self.stopped = False
        self.waiting = False
        self.base = 0
        self.buffer = b""
        self.position = 0
        self.chunk = CHUNK
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

    def _from_disk(self, file: int, size: int) -> bytes:
        return os.pread(file, size, self.consumed)

    def unpack(self, kind: str) -> None:
        """What has been read is the beginning of compressed data: go on with what is in them."""
        unpacked = Unpacked(kind, self.taken, self.buffer)
        self.buffer = b""
        self._read = unpacked.read1
        self._again = False

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
        """The file offset of the next unread byte."""
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
        kept = self.buffer[self.position :]
        parts = [kept] if kept else []
        self.base += self.position
        self.position = 0
        if kept and self._again:
            parts, missing, self.consumed = [], size, self.base
        while missing > 0 and not self.stopped:
            try:
                chunk = self._read(max(self.chunk, min(missing, MOST)))
            except (OSError, ValueError) as error:
                self.error = words_of(error)
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
        if kept and not parts:  # stopped, or it is not in the file any more
            parts, missing, self.consumed = [kept], size - len(kept), self.base + len(kept)
        self.buffer = b"".join(parts)
        return missing <= 0

    def cut(self, what: str, size: int) -> str | None:
        """The words for a file that ends, or fails, before `size` bytes of `what`; None if they are there."""
        if self.left >= size:
            return None
        if self.error is not None:
            return f"cannot be read further: {self.error}"
        return f"the file is cut inside {what}: {self.left} of {size} bytes are there"
