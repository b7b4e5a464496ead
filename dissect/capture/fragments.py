# SPDX-License-Identifier: GPL-2.0-or-later
"""IP fragments back to whole packets (RFC 791, 3.2; RFC 8200, 4.5).

Policies: where two fragments overlap, the one captured first wins. What a snaplen cut off is not waited for:
the packet ends there, and how much is missing is known. A packet that is not whole after `WAIT_NS` of capture
time is given up, and the oldest is where more than `PACKETS` wait; so at most 64 MB are held.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from dissect.capture.records import Frame

WAIT_NS: Final = 30_000_000_000
PACKETS: Final = 1024
LONGEST: Final = 65535
"""Bytes of payload that a packet can have at most."""


@dataclass(slots=True)
class Whole:
    """A packet put together: what lies behind its IP header.

    data: as far as it was captured; length: bytes that there were. frames: how many it came in.
    """

    data: bytes
    length: int
    frames: int


@dataclass(slots=True)
class _Waiting:
    since_ns: int
    frames: int = 0
    end: int | None = None
    parts: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(start, end, bytes captured) in order, disjoint."""
    kept: list[Frame] = field(default_factory=list)


class Fragments:
    """The packets of which some fragments were captured, and not all yet."""

    def __init__(self, *, remember: bool = False) -> None:
        self.earlier: list[Frame] = []
        """With `remember`, the frames of the packets that became whole lately, but their last ones."""
        self._remember = remember
        self._waiting: dict[Hashable, _Waiting] = {}
        self.given_up = 0
        """Frames whose packets were given up so far."""

    def take(
        self, key: Hashable, at: int, more: bool, data: bytes, length: int, frame: Frame
    ) -> Whole | None:
        """Take a fragment; returns its packet where that is whole with it.

        key: what all fragments of a packet have in common. at: its place in the packet's payload. data: its
        bytes, as far as captured; length: how many there were. frame: what it came in.
        """
        now = frame.time_ns
        self._give_up(now)
        packet = self._waiting.get(key)
        if packet is None:
            if len(self._waiting) >= PACKETS:
                self._drop(next(iter(self._waiting)))
            packet = self._waiting[key] = _Waiting(now)
        packet.frames += 1
        if self._remember:
            packet.kept.append(frame)
        end = at + length
        if end > LONGEST or (more and length % 8) or packet.frames > LONGEST // 8:
            self._drop(key)  # no packet can be made of this
            return None
        if not more and packet.end is None:
            packet.end = end
        _add(packet.parts, at, end, data)
        if packet.end is None:
            return None
        reached = 0
        for start, stop, _ in packet.parts:
            if start > reached:
                return None
            reached = stop
        if reached < packet.end:
            return None
        del self._waiting[key]
        self.earlier += packet.kept[:-1]
        whole = b""
        for start, stop, part in packet.parts:
            whole += part
            if len(part) < stop - start:
                break  # cut by a snaplen: what follows it cannot be told where it is
        return Whole(whole[: packet.end], packet.end, packet.frames)

    def finish(self) -> int:
        """Nothing more comes: frames whose packets are given up, those given up before included."""
        for key in list(self._waiting):
            self._drop(key)
        count, self.given_up = self.given_up, 0
        return count

    def _give_up(self, now: int) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            if now - self._waiting[key].since_ns < WAIT_NS:
                return
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        self.given_up += self._waiting.pop(key).frames


def _add(parts: list[tuple[int, int, bytes]], at: int, end: int, data: bytes) -> None:
    """Add what is new of [at, end)."""
    new: list[tuple[int, int, bytes]] = []
    begin = at
    for start, stop, _ in parts:
        if stop <= begin or start >= end:
            continue
        if start > begin:
            new.append((begin, start, data[begin - at : start - at]))
        begin = max(begin, stop)
    if begin < end:
        new.append((begin, end, data[begin - at : end - at]))
    parts += new
    parts.sort(key=_start)


def _start(part: tuple[int, int, bytes]) -> int:
    return part[0]
