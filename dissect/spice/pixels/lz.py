# SPDX-License-Identifier: GPL-2.0-or-later
"""LZ and GLZ (spice-common's lz.c, spice-server's glz-encoder.c): runs of new pixels, and copies of old ones.

A control byte below 32 is followed by so many pixels and one more. Any other is a copy: its upper 3 bits are
the length (7: more bytes follow while they are 255), the others and the next bytes how far back it begins.
Both count pixels, of `unit` bytes each. In GLZ a copy may come from another image, so many images before.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heappop, heappush

NEW = 32
"""Control bytes from here on are copies."""
FAR = 8191
"""What the long form of a distance in LZ is more than."""
WINDOW_LIMIT = 1 << 28
"""Bytes of images that are kept for GLZ at most; the oldest is forgotten first."""
KEEPING = 1 << 10
"""Bytes that it takes at most to keep one image, beside its pixels."""


class Damaged(Exception):
    """The data is not what it should be, or does not fit into the image's size."""


class Missing(Exception):
    """An image that this one copies from is not there."""


def lz(data: bytes, at: int, pixels: int, unit: int, bias: int) -> tuple[bytes, int]:
    """`pixels` pixels of `unit` bytes, and where the data ends. `bias`: what is added to a copy's length.

    Never makes more than it should; raises `Damaged`.
    """
    out = bytearray()
    wanted = pixels * unit
    try:
        while len(out) < wanted:
            control = data[at]
            at += 1
            if control < NEW:
                at = _new(data, at, (control + 1) * unit, out, wanted)
                continue
            length, back = (control >> 5) - 1, (control & 31) << 8
            if length == 6:
                length, at = _longer(data, at, length)
            low = data[at]
            at += 1
            back += low
            if low == 255 and back - low == 31 << 8:
                back = (data[at] << 8 | data[at + 1]) + FAR
                at += 2
            start = len(out) - (back + 1) * unit
            _copy(out, out, start, (length + bias) * unit, wanted)
    except IndexError:
        raise Damaged("it is cut off") from None
    return bytes(out), at


@dataclass(slots=True)
class _Kept:
    """An image that others may copy from: its pixels of `unit` bytes, and its alpha where it has one."""

    unit: int
    pixels: bytes
    alpha: bytes

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.pixels) + len(self.alpha) + KEEPING


@dataclass(slots=True)
class Window:
    """The images that GLZ images may copy from, by their numbers."""

    images: OrderedDict[int, _Kept] = field(default_factory=OrderedDict)
    held: int = 0
    _numbers: list[int] = field(default_factory=list)
    """The numbers of the images, as a heap; some may be of images that are gone."""

    def decode(
        self, data: bytes, number: int, pixels: int, unit: int, *, alpha: bool
    ) -> tuple[bytes, bytes | None]:
        """The pixels of image `number`, and its alpha plane if it has one. Raises `Damaged`, `Missing`."""
        out, at = self._plane(data, 0, number, pixels, unit, 1 if unit == 2 else 0, plane="pixels")
        plane = None
        if alpha:
            plane, at = self._plane(data, at, number, pixels, 1, 2, plane="alpha")
        kept = _Kept(unit, out, plane if plane is not None else bytes(pixels if unit == 3 else 0))
        self._keep(number, kept)
        return out, plane

    def release(self, number: int, oldest: int) -> None:
        """Image `number` says that none older than `oldest` images before it is needed any more."""
        while self._numbers and self._numbers[0] < number - oldest:
            self._drop(heappop(self._numbers))

    def _keep(self, number: int, kept: _Kept) -> None:
        self._drop(number)
        self.images[number] = kept
        self.held += kept.size
        heappush(self._numbers, number)
        while self.held > WINDOW_LIMIT and len(self.images) > 1:
            self._drop(next(iter(self.images)))
        if len(self._numbers) > 2 * len(self.images) + KEEPING:
            self._numbers = sorted(self.images)

    def _drop(self, number: int) -> None:
        kept = self.images.pop(number, None)
        self.held -= 0 if kept is None else kept.size

    def _plane(
        self, data: bytes, at: int, number: int, pixels: int, unit: int, bias: int, *, plane: str
    ) -> tuple[bytes, int]:
        out = bytearray()
        wanted = pixels * unit
        try:
            while len(out) < wanted:
                control = data[at]
                at += 1
                if control < NEW:
                    at = _new(data, at, (control + 1) * unit, out, wanted)
                    continue
                length, far, back = control >> 5, control & 16, control & 15
                if length == 7:
                    length, at = _longer(data, at, length)
                back |= data[at] << 4
                code = data[at + 1]
                at += 2
                more = code >> 6
                if far:
                    back |= (code & 31) << 12
                    images = int.from_bytes(data[at : at + more], "little")
                    at += more
                    if code & 32:
                        back |= data[at] << 17
                        at += 1
                else:
                    images = code & 63 | int.from_bytes(data[at : at + more], "little") << 6
                    at += more
                size = (length + bias) * unit
                if not images:
                    _copy(out, out, len(out) - (back + 1) * unit, size, wanted)
                    continue
                source = self.images.get(number - images)
                if source is None:
                    raise Missing(f"it copies from image {number - images}, which is not there")
                if plane == "pixels" and source.unit != unit:
                    raise Damaged(f"it copies from image {number - images}, whose pixels are of another kind")
                before = source.pixels if plane == "pixels" else source.alpha
                if (back * unit) + size > len(before):
                    raise Damaged(f"it copies from outside image {number - images}")
                _copy(out, before, back * unit, size, wanted)
        except IndexError:
            raise Damaged("it is cut off") from None
        return bytes(out), at


def _longer(data: bytes, at: int, length: int) -> tuple[int, int]:
    """A length that goes on in bytes while they are 255, and where it ends."""
    while True:
        more = data[at]
        at += 1
        length += more
        if more != 255:
            return length, at


def _new(data: bytes, at: int, size: int, out: bytearray, wanted: int) -> int:
    """Take `size` bytes of new pixels; returns where they end."""
    piece = data[at : at + size]
    if len(piece) < size:
        raise Damaged("it is cut off")
    if len(out) + size > wanted:
        raise Damaged("it has more pixels than the image")
    out += piece
    return at + size


def _copy(out: bytearray, source: bytearray | bytes, start: int, size: int, wanted: int) -> None:
    """Copy `size` bytes from `start` of `source`, which may be `out`, and may then reach into itself."""
    if start < 0:
        raise Damaged("it copies from before its beginning")
    if len(out) + size > wanted:
        raise Damaged("it has more pixels than the image")
    piece = source[start : start + size]
    if len(piece) < size:
        piece = (piece * (size // len(piece) + 1))[:size]
    out += piece
