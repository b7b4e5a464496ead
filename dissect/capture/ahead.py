# SPDX-License-Identifier: GPL-2.0-or-later
"""A file read by a thread of its own, a little ahead of who uses it: one core copies while another works."""

from __future__ import annotations

import os
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Final

AHEAD: Final = 2
"""Chunks that wait to be used, at most."""


class Ahead:
    """The bytes of a file from `offset` on, in chunks of `size`.

    Each begins with the last `again` bytes of the one before, so that a record that crosses from one to the
    next lies whole in one of them.

    The file descriptor must stay open until `close`. What the file has grown by once its end was read is not
    noticed; where it has become shorter, its end comes earlier.
    """

    def __init__(self, file: int, offset: int, size: int, again: int) -> None:
        assert 0 <= again < size
        self._file = file
        self._size = size
        self._again = again
        self._chunks: SimpleQueue[tuple[int, bytes | OSError]] = SimpleQueue()
        self._room = Semaphore(AHEAD)
        self._closed = False
        self._at, self._chunk = offset, b""
        self._ended = False
        self._thread = Thread(target=self._read, args=(offset,), name="read ahead", daemon=True)
        self._thread.start()

    def take(self, offset: int, size: int) -> tuple[bytes, int] | None:
        """A chunk that holds the `size` bytes at `offset`, and where in it they are; None where none does.

        Offsets must not decrease from call to call. Raises OSError where the file cannot be read.
        """
        while offset + size > self._at + len(self._chunk) and not self._ended:
            at, chunk = self._chunks.get()
            self._room.release()
            if isinstance(chunk, OSError):
                self._ended = True
                raise chunk
            self._ended = len(chunk) < self._size
            self._at, self._chunk = at, chunk
        if not self._at <= offset <= self._at + len(self._chunk) - size:
            return None
        return self._chunk, offset - self._at

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._room.release()
        self._thread.join()

    def _read(self, offset: int) -> None:
        while True:
            self._room.acquire()
            if self._closed:
                return
            chunk: bytes | OSError
            try:
                chunk = os.pread(self._file, self._size, offset)
            except OSError as error:
                chunk = error
            self._chunks.put((offset, chunk))
            if isinstance(chunk, OSError) or len(chunk) < self._size:
                return
            offset += self._size - self._again
