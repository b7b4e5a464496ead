# SPDX-License-Identifier: GPL-2.0-or-later
"""Compressed captures: what is in them, in bounded steps, however large it would be unpacked.

gzip, xz and bzip2 need nothing but Python; zstd and lz4 the packages of the extra `formats`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

MAGICS: Final = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"BZh": "bzip2",
}
"""How a compressed file begins, and what it is called."""

MAGIC_SIZE: Final = max(map(len, MAGICS))

WINDOW_LIMIT: Final = 256 << 20
"""Bytes of memory that unpacking may take; xz -9 takes 65 MB, zstd --ultra -22 128 MB."""

_STEP: Final = 256 << 10


class Unavailable(Exception):
    """A package that this format needs is not installed; `str()` says which."""


class _Decompressor(Protocol):
    """As bz2, lzma and lz4 have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def kind_of(head: bytes) -> str | None:
    """What a file that begins like this is compressed with; None where it is not."""
    return next((kind for magic, kind in MAGICS.items() if head.startswith(magic)), None)


class Unpacked:
    """A stream of what is in a compressed one: `read1(n)` gives at most n bytes, none at the end.

    kind: as `kind_of` has it. read: gives the compressed bytes. head: those that were read already.
    Raises Unavailable; `read1` raises OSError where the data are cut or damaged.
    """

    def __init__(self, kind: str, read: Callable[[int], bytes | None], head: bytes) -> None:
        self.kind = kind
        self._read = read
        self._data = head
        self._new, self._errors = _maker(kind)
        self._now: _Decompressor | None = None

    def read1(self, size: int) -> bytes:
        """The next bytes."""
        while True:
            if self._now is None:
                if not self._data and not self._fill():
                    return b""  # the end, between two members
                self._now = self._new()
            now = self._now
            if now.needs_input and not self._data and not self._fill():
                raise OSError(f"the {self.kind} data are cut")
            try:
                out = now.decompress(self._data, size)
            except self._errors as error:
                raise OSError(f"the {self.kind} data are damaged: {error}") from error
            self._data = b""
            if now.eof:
                self._data = now.unused_data or b""
                if self.kind in ("xz", "gzip"):
                    self._data = self._data.lstrip(b"\0")  # padding between members and at the end
                self._now = None
            if out:
                return out

    def _fill(self) -> bool:
        chunk = self._read(_STEP)
        if chunk is None:
            raise OSError("the stream has nothing to read and does not wait for more (it is non-blocking)")
        self._data = chunk
        return bool(chunk)


def _maker(kind: str) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    """What makes a decompressor, and the errors that it raises for bad data."""
    match kind:
        case "gzip":
            import zlib

            return _Gzip, (zlib.error,)
        case "xz":
            import lzma

            return lambda: lzma.LZMADecompressor(memlimit=WINDOW_LIMIT), (lzma.LZMAError, EOFError)
        case "bzip2":
            import bz2

            return bz2.BZ2Decompressor, (OSError, EOFError)
        case "zstd":
            try:
                import zstandard
            except ImportError:
                raise Unavailable("the package zstandard (pip install 'firstbyte[formats]')") from None
            return _Zstd, (zstandard.ZstdError,)
        case _:
            try:
                import lz4.frame
            except ImportError:
                raise Unavailable("the package lz4 (pip install 'firstbyte[formats]')") from None
            return lz4.frame.LZ4FrameDecompressor, (RuntimeError, EOFError)


class _Gzip:
    """zlib's way of saying it, turned into that of the others."""

    def __init__(self) -> None:
        import zlib

        self._object = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def needs_input(self) -> bool:
        return not self._object.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + data, max(0, max_length))


class _Zstd:
    """zstandard unpacks all that it is handed: so it is handed little, for 4 bytes may become 128 KiB."""

    _LEAST, _MOST = 64, 2048

    def __init__(self) -> None:
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT // 2)
        self._object = decompressor.decompressobj()
        self._waiting = b""
        self._out = b""
        self._step = self._LEAST

    @property
    def eof(self) -> bool:
        return self._object.eof and not self._out

    @property
    def needs_input(self) -> bool:
        return not self._waiting and not self._out

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data + self._waiting

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        self._waiting += data
        parts = [self._out]
        size = len(self._out)
        while size < max_length and self._waiting and not self._object.eof:
            step, self._waiting = self._waiting[: self._step], self._waiting[self._step :]
            parts.append(self._object.decompress(step))
            size += len(parts[-1])
            self._step = self._LEAST if len(parts[-1]) > 1 << 20 else min(2 * self._step, self._MOST)
        out = b"".join(parts)
        self._out = out[max_length:]
        return out[:max_length]
