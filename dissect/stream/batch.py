# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of well-known kinds in a row, kept together for as long as nobody looks at one of them.

A session may be full of small messages that all look alike. To make a record of each, to put it in order and
to make a line of text of it costs more than all that is in them. A `Batch` stands for such messages, of one
side, one behind the other without a byte between them: their bytes, and for each stretch of equal ones
(`Run`) the kind, which knows what their fields are called. It can be taken apart, made into lines of text,
or gone through, and is then the same messages as if each had been read by itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

from dissect.stream.arrivals import Arrivals
from dissect.stream.layout import Buffer
from dissect.stream.records import KnownParts, Message
from dissect.stream.side import Side

ROWS = 64
"""Lines that are made at once: more at once are slower, as they do not fit the processor's nearest memory."""


class Around(NamedTuple):
    """What a line says around what is a message's own, in ASCII.

    Before its time (ns), before its offset, before its size, before its fields, and behind them.
    """

    time: str
    offset: str
    size: str
    fields: str
    end: str

    def line(self, time_ns: int, offset: int, size: int, fields: str) -> str:
        """One line, without its end."""
        return f"{self.time}{time_ns}{self.offset}{offset}{self.size}{size}{self.fields}{fields}{self.end}"


class Kind(KnownParts):
    """Messages of so well known a kind that lines of text come of their bytes directly."""

    title: str
    """The name of the message."""

    def of_size(self, size: int) -> KnownParts:
        """The parts of such a message of `size` bytes."""
        raise NotImplementedError

    def rows(self, around: Around, data: Buffer, run: Run, offset: int, times: Sequence[int]) -> Rows:
        """A line for each message of `run`, which lies in `data`: what `around.line` says, in ASCII.

        offset: where `data` begins in the stream. times: when each message had come (ns).
        """
        raise NotImplementedError


class Rows(NamedTuple):
    """Lines that differ in some numbers only: what all of them have, with a place for each number."""

    template: bytes
    """With its end of line; each % that is meant as one twice."""
    width: int
    """How many numbers a line has."""
    numbers: Sequence[Any]
    """Those of all lines, one after the other."""

    def text(self, begin: int, stop: int) -> bytes:
        """The lines from number `begin` to before `stop`."""
        template, width, numbers = self
        if stop - begin <= ROWS:
            return template * (stop - begin) % tuple(numbers[width * begin : width * stop])
        return b"".join([self.text(at, min(at + ROWS, stop)) for at in range(begin, stop, ROWS)])


class Run(NamedTuple):
    """So many messages of one kind and size in a row, from `at` on in the bytes of a batch."""

    kind: Kind
    at: int
    size: int
    many: int
    extra: Mapping[str, Any]
    """As in `Message`; where there is any, it is one message."""

    @property
    def ends(self) -> range:
        """Where each message ends."""
        return range(self.at + self.size, self.at + self.size * self.many + 1, self.size)

    def part(self, begin: int, stop: int) -> Run:
        """Those from number `begin` to before `stop`."""
        return self._replace(at=self.at + self.size * begin, many=stop - begin)


class Series:
    """What all parts of a batch share."""

    __slots__ = (
        "_arrivals",
        "_ends_of_runs",
        "_made",
        "data",
        "ends",
        "offset",
        "order_ns",
        "protocol",
        "runs",
        "side",
        "times",
    )

    def __init__(
        self, side: Side, protocol: str, offset: int, data: Buffer, runs: Sequence[Run], arrivals: Arrivals
    ) -> None:
        """offset: of the first message in the stream. data: begins with it. arrivals: of these bytes."""
        self.side, self.protocol, self.offset, self.data, self.runs = side, protocol, offset, data, runs
        self.ends: list[int] = list(chain.from_iterable([run.ends for run in runs]))
        """Where in `data` each message ends."""
        self.times = arrivals.lasts(offset, self.ends)
        """When the last byte of each had come (ns)."""
        self.order_ns = self.times if arrivals.rising else list(accumulate(self.times, max))
        """The same, or the time of one before, where that came later."""
        self._arrivals = arrivals
        self._ends_of_runs = list(accumulate(run.many for run in runs))
        self._made: dict[int, tuple[Around, Rows]] = {}

    def _within(self, begin: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """The runs of the messages from number `begin` to before `stop`: which one of all, the number of its
        first message, and which of its own messages these are.
        """
        for index in range(bisect_right(self._ends_of_runs, begin), len(self.runs)):
            last = self._ends_of_runs[index]
            first = last - self.runs[index].many
            if first >= stop:
                return
            yield index, first, max(begin - first, 0), min(stop, last) - first

    def messages(self, begin: int, stop: int) -> Iterator[Message]:
        """The messages from number `begin` to before `stop`."""
        side, protocol, offset, data = self.side, self.protocol, self.offset, memoryview(self.data)
        starts = [self.ends[begin - 1] if begin else 0, *self.ends[begin : stop - 1]]
        times = zip(self._arrivals.firsts(offset, starts), self.times[begin:stop], strict=True)
        for index, _, low, high in self._within(begin, stop):
            kind, at, size, count, extra = self.runs[index].part(low, high)
            name, parts = kind.title, kind.of_size(size)
            for start in range(at, at + size * count, size):
                (first, last), raw = next(times), bytes(data[start : start + size])
                place = offset + start
                yield Message(side, protocol, name, place, size, raw, first, last, parts, None, extra)

    def text(self, around: Callable[[str], Around], begin: int, stop: int) -> bytes:
        """A line for each of the messages from number `begin` to before `stop`; see `Batch.text`."""
        found = []
        for index, first, at, end in self._within(begin, stop):
            mine, made = around(self.runs[index].kind.title), self._made.get(index)
            if made is None or made[0] != mine:
                made = self._made[index] = mine, self._rows(mine, self.runs[index], first)
            found.append(made[1].text(at, end))
        return found[0] if len(found) == 1 else b"".join(found)

    def _rows(self, around: Around, run: Run, first: int) -> Rows:
        """The lines of a run that begins with message number `first`."""
        if not run.extra:
            return run.kind.rows(around, self.data, run, self.offset, self.times[first : first + run.many])
        (one,) = self.messages(first, first + 1)
        return Rows(b"%b\n", 1, [around.line(one.time_ns, one.offset, one.size, one.text()).encode()])


class Batch:
    """Some of the messages of a series in a row: those from number `begin` to before `stop`."""

    __slots__ = ("begin", "series", "stop")

    def __init__(self, series: Series, begin: int, stop: int) -> None:
        self.series, self.begin, self.stop = series, begin, stop

    @classmethod
    def of(cls, series: Series) -> Batch:
        """All of a series."""
        return cls(series, 0, len(series.ends))

    @property
    def side(self) -> Side:
        """Who sent all of them."""
        return self.series.side

    @property
    def protocol(self) -> str:
        """Of which protocol they are."""
        return self.series.protocol

    @property
    def offset(self) -> int:
        """Where the first begins in the stream."""
        return self.series.offset + self._start

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self.series.ends[self.stop - 1] - self._start

    @property
    def _start(self) -> int:
        return self.series.ends[self.begin - 1] if self.begin else 0

    @property
    def time_ns(self) -> int:
        """When the last byte of the first had come."""
        return self.series.times[self.begin]

    @property
    def last_ns(self) -> int:
        """The latest time of any."""
        return self.series.order_ns[self.stop - 1]

    def by(self, time_ns: int) -> int:
        """How many of the first had come by then."""
        return bisect_right(self.series.order_ns, time_ns, self.begin, self.stop) - self.begin

    def __len__(self) -> int:
        return self.stop - self.begin

    def __iter__(self) -> Iterator[Message]:
        """The messages, as if each had been read by itself."""
        return self.series.messages(self.begin, self.stop)

    def take(self, count: int) -> Batch:
        """The first `count` of them, which this has no more."""
        begin = self.begin
        self.begin = begin + count
        return Batch(self.series, begin, begin + count)

    def text(self, around: Callable[[str], Around]) -> bytes:
        """A line of ASCII for each, with its end; `around` gives what is around, of a message's name."""
        return self.series.text(around, self.begin, self.stop)
