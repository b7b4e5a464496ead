# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures that come from pipes, kept on the disk for as long as they are read a second time."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Final, cast

from dissect.app.looking import is_file, is_there
from dissect.capture import Capture, CaptureError, open_capture

MOST: Final = 16 << 30
"""Bytes that are kept of all pipes together, or half of what is free there, if that is less."""


class Spools:
    """Of each capture that can be read only once, a copy in a file that has no name and goes with this.

    folder: where the copies lie; None is the system's own place for such files.
    """

    def __init__(self, names: Sequence[str], folder: Path | None) -> None:
        self._kept: dict[str, IO[bytes]] = {}
        self._stack = ExitStack()
        self._room = 0
        self.full: str | None = None
        """Why not all was kept, in words."""
        for name in names:
            if not _is_lasting(name) and name not in self._kept:
                file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # the stack closes it
                self._kept[name] = self._stack.enter_context(file)
        if self._kept:
            self._room = min(MOST, shutil.disk_usage(folder or tempfile.gettempdir()).free // 2)

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def __enter__(self) -> Spools:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def first(self, name: str) -> Capture:
        """The capture, from its pipe. Raises CaptureError as `open_capture` does."""
        if name == "-":
            if sys.stdin is None:
                raise CaptureError("standard input", 0, "closed")
            stream: BinaryIO = sys.stdin.buffer
        else:
            try:
                stream = self._stack.enter_context(Path(name).open("rb"))  # noqa: SIM115
            except OSError as error:
                raise CaptureError(name, 0, (error.strerror or "cannot be read").lower()) from error
        copied = cast("BinaryIO", _Copied(stream, self, self._kept[name]))
        return open_capture(copied, "standard input" if name == "-" else name)

    def again(self, name: str) -> BinaryIO:
        """The copy, from its beginning, as far as it goes."""
        kept = self._kept[name]
        kept.seek(0)
        return cast("BinaryIO", kept)

    def keep(self, file: IO[bytes], data: bytes) -> None:
        """Put bytes behind those that are kept in a file, as long as there is room."""
        if self.full is not None:
            return
        kept = data[: self._room]
        self._room -= len(kept)
        try:
            file.write(kept)
            file.flush()
        except OSError as error:
            self.full = (error.strerror or "they cannot be kept").lower()
        if len(kept) < len(data):
            self.full = f"there was room for {file.tell():,} bytes"


class _Copied(io.RawIOBase):
    """A stream; what is read of it is kept."""

    def __init__(self, stream: BinaryIO, spools: Spools, file: IO[bytes]) -> None:
        self._stream, self._spools, self._file = stream, spools, file

    def read(self, size: int = -1, /) -> bytes | None:
        data = cast("io.BufferedReader", self._stream).read1(size)
        if data:
            self._spools.keep(self._file, data)
        return data


def _is_lasting(name: str) -> bool:
    """Whether a capture can be read twice; what is not there is said when it is its turn."""
    return name != "-" and (is_file(name) or not is_there(name))
