# SPDX-License-Identifier: GPL-2.0-or-later
"""When the bytes of a stream came: kept a segment at a time, asked for by messages, of which there are fewer.

Segments come by the thousand and messages want two times each, so nothing here is done for each segment that
a list can do for all of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

KEPT = 1024
"""How many entries that are done with may stand in the lists before they are cut."""


@dataclass(slots=True)
class Pieces:
    """Of bytes that came in pieces, one after the other and without a hole between them.

    ends: for each piece the offset, in those bytes, of the byte after its last; they ascend up to the number
    of bytes. times: when each came (ns), in the same order; they may decrease.
    """

    ends: list[int]
    times: list[int]

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Of each piece where it begins, where it ends, and when it came."""
        begin = 0
        for end, now in zip(self.ends, self.times, strict=True):
            yield begin, end, now
            begin = end


class Arrivals:
    """Which bytes of a stream came when: those that are not done with. Offsets are those of the stream."""

    __slots__ = ("_at", "_ends", "_rising", "_times")

    def __init__(self) -> None:
        self._ends: list[int] = []
        self._times: list[int] = []
        self._at = 0  # the first entry that is not done with
        self._rising = True  # whether no time is before an earlier one's

    def add(self, end: int, now: int) -> None:
        """The bytes up to `end` came at `now`."""
        times = self._times
        if times and len(times) > self._at:
            last = times[-1]
            if last == now:
                self._ends[-1] = end
                return
            if last > now:
                self._rising = False
        self._ends.append(end)
        times.append(now)

    def add_many(self, base: int, pieces: Pieces) -> None:
        """What follows byte `base` came in pieces."""
        times, new = self._times, pieces.times
        if self._rising and ((times and times[-1] > new[0]) or new != sorted(new)):
            self._rising = False
        self._ends += [base + end for end in pieces.ends] if base else pieces.ends
        times += new

    def __bool__(self) -> bool:
        """Whether bytes are there that are not done with."""
        return self._at < len(self._ends)

    @property
    def rising(self) -> bool:
        """Whether it is known that none of them came before an earlier one."""
        return self._rising

    @property
    def first_ns(self) -> int:
        """When the first byte came that is not done with; only where there is one."""
        return self._times[self._at]

    def span(self, end: int) -> tuple[int, int]:
        """The times of the first byte and the last of those before `end`: the last is the latest of all.

        A reordered segment may have brought an earlier byte later.
        """
        at, times = self._at, self._times
        first = times[at]
        if end <= self._ends[at]:
            return first, first
        index = min(bisect_left(self._ends, end, at), len(times) - 1)
        return first, times[index] if self._rising else max(times[at : index + 1])

    def until(self, end: int) -> Arrivals:
        """When the bytes before `end` came, to be kept for later."""
        found = Arrivals()
        index = bisect_left(self._ends, end, self._at) + 1
        found._ends, found._times = self._ends[self._at : index], self._times[self._at : index]
        found._rising = self._rising
        return found

    def firsts(self, base: int, starts: Sequence[int]) -> list[int]:
        """When the first byte of each of several messages came, which begin at byte `base` plus `starts`."""
        found: list[int] = []
        at = 0
        for end, time_ns in zip(self._ends[self._at :], self._times[self._at :], strict=True):
            index = bisect_left(starts, end - base, at)
            if index > at:
                found += [time_ns] * (index - at)
                at = index
        return found

    def lasts(self, base: int, ends: Sequence[int]) -> list[int]:
        """The same of the last byte (see `span`) of messages in a row that end before `base` plus `ends`.

        The first begins with the first byte that is not done with.
        """
        if self._rising and 2 * len(ends) < len(self._ends) - self._at:
            return [self._times[bisect_left(self._ends, base + end, self._at)] for end in ends]
        found: list[int] = []
        at, latest = 0, 0
        for end, time_ns in zip(self._ends[self._at :], self._times[self._at :], strict=True):
            index = bisect_right(ends, end - base, at)
            latest = max(latest, time_ns)
            if index > at:
                found += [latest]
                found += [time_ns] * (index - at - 1)
                at = index
                latest = time_ns if ends[index - 1] < end - base else 0
        return found

    def done(self, offset: int) -> None:
        """The bytes before `offset` are done with."""
        ends = self._ends
        at = self._at
        if at >= len(ends) or ends[at] > offset:
            return
        at = bisect_right(ends, offset, at)
        if at == len(ends):
            ends.clear()
            self._times.clear()
            at, self._rising = 0, True
        elif at > KEPT and 2 * at > len(ends):
            del ends[:at], self._times[:at]
            at = 0
        self._at = at

    def bounds(self) -> Iterator[int]:
        """Where bytes end that came at one time."""
        pairs = list(zip(self._ends[self._at :], self._times[self._at :], strict=True))
        for (end, now), (_, following) in pairwise(pairs):
            if now != following:
                yield end
        if pairs:
            yield pairs[-1][0]
