# SPDX-License-Identifier: GPL-2.0-or-later
"""A batch is its messages: gone through, cut, in order and as text."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dissect.stream.arrivals import Arrivals
from dissect.stream.batch import Around, Batch, Kind, Rows, Run, Series
from dissect.stream.layout import Buffer
from dissect.stream.records import KnownParts, Message
from dissect.stream.side import Side

AROUND = Around("time ", " at ", " size ", " fields ", " end")


class Letters(Kind):
    """Messages that say what they are."""

    title = "Letters"

    def of_size(self, size: int) -> KnownParts:
        return self

    def text(self, raw: bytes) -> str:
        return raw.decode()

    def rows(self, around: Around, data: Buffer, run: Run, offset: int, times: Sequence[int]) -> Rows:
        size = run.size
        numbers = [
            (now, offset + end - size, bytes(data[end - size : end]))
            for end, now in zip(run.ends, times, strict=True)
        ]
        template = around.line(0, 0, size, "{}").replace("0", "%d").replace("{}", "%b")
        return Rows(template.encode() + b"\n", 3, [number for row in numbers for number in row])


@st.composite
def series(draw: st.DrawFn) -> tuple[Series, list[int]]:
    """A series, and the time of each of its bytes."""
    runs, data = [], b""
    for size, count in draw(
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=4)
    ):
        runs.append(Run(Letters(), len(data), size, count, {}))
        data += bytes(97 + (len(data) + at) % 26 for at in range(size * count))
    offset, arrivals, each = draw(st.integers(0, 50)), Arrivals(), list[int]()
    while len(each) < len(data):
        now = draw(st.integers(0, 9))
        each += [now] * draw(st.integers(1, 6))
        arrivals.add(offset + len(each), now)
    return Series(Side.SERVER, "spice", offset, data, runs, arrivals.until(offset + len(data))), each


@given(series(), st.data())
def test_a_batch_is_its_messages(found: tuple[Series, list[int]], drawn: st.DataObject) -> None:
    whole, each = found
    messages = list(Batch.of(whole))
    assert b"".join(one.raw for one in messages) == whole.data
    for one in messages:
        at = one.offset - whole.offset
        assert one.raw == whole.data[at : at + one.size]
        assert (one.first_ns, one.last_ns) == (each[at], max(each[at : at + one.size]))
    begin = drawn.draw(st.integers(0, len(messages) - 1))
    stop = drawn.draw(st.integers(begin + 1, len(messages)))
    rest = Batch.of(whole)
    rest.take(begin)
    part = rest.take(stop - begin)
    mine = messages[begin:stop]
    assert list(part) == mine
    assert len(part) == len(mine)
    assert len(rest) == len(messages) - stop
    assert (part.side, part.protocol) == (Side.SERVER, "spice")
    assert (part.offset, part.time_ns) == (mine[0].offset, mine[0].time_ns)
    assert part.size == sum(one.size for one in mine)
    before = max([0, *(one.time_ns for one in messages[:begin])])
    assert part.last_ns == max(before, *(one.time_ns for one in mine))
    limit = drawn.draw(st.integers(before, 9))
    late = [at for at, one in enumerate(mine) if one.time_ns > limit]
    assert part.by(limit) == (late[0] if late else len(mine))

    def around(name: str) -> Around:
        assert name == "Letters"
        return AROUND

    wanted = "".join(AROUND.line(m.time_ns, m.offset, m.size, m.text()) + "\n" for m in mine).encode()
    assert part.text(around) == wanted
    assert part.text(around) == wanted
    assert part.text(lambda name: AROUND) == wanted


def test_what_is_beside_the_fields_is_in_the_line() -> None:
    arrivals = Arrivals()
    arrivals.add(2, 5)
    whole = Series(Side.CLIENT, "spice", 0, b"{}", [Run(Letters(), 0, 2, 1, {"more": 1})], arrivals)
    (message,) = Batch.of(whole)
    assert isinstance(message, Message)
    line = Batch.of(whole).text(lambda name: AROUND)
    assert line == AROUND.line(5, 0, 2, message.text()).encode() + b"\n"
    assert b'"more": 1' in line
