# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine under both sessions: bytes and times come in, messages and violations come out.

No socket, no clock. A session is a table of states (`State`), each of which says what either side may
send now, plus readers, which are generators: a reader yields the number of bytes it wants, counted from the
first byte of its message, and returns what it found (`Framed`). It may suspend anywhere, so how the bytes
were cut into segments changes nothing.

A side whose turn it is not has its bytes kept until the other side has said what they mean: one
direction of a handshake cannot be read without facts from the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dissect.stream.layout import Layout, Malformed, ProtocolPacket, Short
from dissect.stream.records import HEAD_BYTES, NOT_DECODED, Gap, Message, Part, Record, Violation
from dissect.stream.side import Side


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer can make a session keep, in bytes."""

    waiting: int = 1 << 20
    """Bytes of one side kept while the other side's facts are awaited."""
    message: int = 1 << 28
    """Bytes of one message: the largest that is put together."""


@dataclass(slots=True)
class Framed:
    """A whole message as a reader found it: its name, size, the classes that describe it.

    `size` may be less than the bytes present, never more. `violations` are (offset in the message, why).
    """

    name: str
    size: int
    parts: tuple[Part, ...] = ()
    note: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    violations: tuple[tuple[int, str], ...] = ()


class Want(int):
    """How many bytes a reader wants before it is called again, counted from the message's first.

    `name` is the message's, where it is known by now; `total` its whole size, where that is known.
    """

    name: str | None
    total: int | None

    def __new__(cls, size: int, name: str | None = None, total: int | None = None) -> Want:
        want = super().__new__(cls, size)
        want.name = name
        want.total = total
        return want


class Wrong(Exception):
    """Raised by a reader: this side cannot be read any further. `why`, `at` (from the message's first byte)."""

    def __init__(self, why: str, at: int = 0, name: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.at = at
        self.name = name


class NotRead(Exception):
    """Raised by a reader: lawful as far as is known, but this side is not decoded from here on, because `why`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class LocalProtocolError(Exception):
    """`send` was asked for what its own side may not send now."""


Reading = Generator[int, None, Framed]
Reader = Callable[[Any, "Flow"], Reading]
"""Called with the session and the flow; see the module's docstring."""


@dataclass(frozen=True, slots=True)
class State:
    """What either side may send in one state. `stays`: any number of messages, else one of each.

    `then` is called with the session after each message and returns the next state's name, or None to stay.
    """

    server: Reader | None = None
    client: Reader | None = None
    then: Callable[[Any], str | None] = lambda session: None
    stays: bool = False

    def reader(self, side: Side) -> Reader | None:
        return self.server if side is Side.SERVER else self.client


def one(cls: type[ProtocolPacket]) -> Reader:
    """A reader of one message of class `cls`."""

    def read(session: Session, flow: Flow) -> Reading:
        return (yield from flow.packet(cls))

    read.expects = (cls,)  # type: ignore[attr-defined]
    return read


@dataclass(slots=True)
class _Run:
    """A run of bytes that is not decoded, growing until something ends it."""

    name: str
    note: str
    offset: int
    size: int
    head: bytes
    first_ns: int
    last_ns: int


class Flow:
    """One side's bytes: those not yet read, where they stand in the stream, and when each arrived."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.buffer = bytearray()
        self.offset = 0
        """The stream offset of `buffer[0]`."""
        self.lost: str | None = None
        """Why this side is not read any further; None while it is."""
        self.ended = False
        self.want = Want(0)
        self.reading: Reading | None = None
        self.run: _Run | None = None
        self.skip: tuple[str, int, int, int, int] | None = None
        self._marks: deque[tuple[int, int]] = deque()

    def append(self, data: bytes | bytearray | memoryview, now: int) -> None:
        self.buffer += data
        self._marks.append((self.offset + len(self.buffer), now))

    def packet(self, cls: type[ProtocolPacket], name: str | None = None) -> Reading:
        """Read one message of `cls` from the buffer."""
        layout: Layout = cls.layout()
        name = name or cls.title()
        while True:
            try:
                _, end = layout.decode(self.buffer)
            except Short as short:
                yield Want(short.needed, name, short.needed if short.exact else None)
            except Malformed as bad:
                raise Wrong(bad.why, bad.at, name) from None
            else:
                return Framed(name, end, (Part(cls, 0, end),))

    def need(self, size: int) -> Generator[int, None, bytearray]:
        """Wait until `size` bytes are there; returns the buffer."""
        if len(self.buffer) < size:
            yield Want(size)
        return self.buffer

    def times(self, size: int) -> tuple[int, int]:
        """The times (ns) of the first and the last of the next `size` bytes.

        The last is the latest: a reordered segment may have brought an earlier byte later.
        """
        end = self.offset + size
        first = last = self._marks[0][1]
        for mark_end, now in self._marks:
            last = max(last, now)
            if mark_end >= end:
                break
        return first, last

    def take(self, size: int) -> bytes:
        raw = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.offset += size
        while self._marks and self._marks[0][0] <= self.offset:
            self._marks.popleft()
        return raw


class Session(ABC):
    """One conversation in one protocol. See `feed`, `gap`, `end` and `send`.

    `role` is the side that `send` speaks for; a session that only listens has none. Times are int ns of
    any one clock; nothing here reads one.
    """

    protocol: ClassVar[str]
    table: ClassVar[Mapping[str, State]]
    start: ClassVar[str]

    def __init__(self, role: Side | None = None, limits: Limits | None = None) -> None:
        self.role = role
        self.limits = limits or Limits()
        self.state = self.start
        self._done: set[Side] = set()
        self._flows = {side: Flow(side) for side in Side}

    # --- what protocols define

    @abstractmethod
    def observe(self, message: Message) -> None:
        """Remember what later messages depend on. Called for each message, before the state moves on."""

    def encode(self, packet: ProtocolPacket) -> bytes:
        """The bytes that `send` puts on the wire for `packet`."""
        return bytes(packet)

    def after_gap(self, flow: Flow, size: int, now: int) -> str | None:
        """Why `flow` cannot be read after a gap at a place that no length bridges; None where it can."""
        return f"follows a gap of {size} bytes"

    # --- what users call

    def feed(self, side: Side, data: bytes | bytearray | memoryview, now: int) -> list[Record]:
        """`data` is what `side` sent next, at `now`. Returns the records that it completes, in order."""
        out: list[Record] = []
        if data:
            self._flows[side].append(data, now)
            self._advance(side, out)
        return out

    def gap(self, side: Side, size: int, now: int) -> list[Record]:
        """`size` bytes of `side` were lost here. What a known length bridges is bridged; else see `after_gap`."""
        out: list[Record] = []
        flow = self._flows[side]
        if size <= 0:
            return out
        known, total = (flow.want.name, flow.want.total) if flow.reading is not None else (None, None)
        left = (total or 0) - len(flow.buffer)
        if flow.skip is None and known is not None and total is not None and self.table[self.state].stays and size <= left:
            have = len(flow.buffer)
            first = flow.times(have)[0] if have else now
            flow.reading, flow.want = None, Want(0)
            flow.skip = (known, flow.offset, total, have, first)
            flow.take(have)
            flow.offset += size
            flow.skip = (known, flow.skip[1], total, have, first)
        elif flow.skip is not None and flow.offset + size <= flow.skip[1] + flow.skip[2]:
            flow.offset += size
        else:
            self._break(flow, out, now)
            flow.offset += size
            if flow.lost is None:
                flow.lost = self.after_gap(flow, size, now)
        gap_at = flow.offset - size
        out.append(Gap(side, self.protocol, gap_at, size, now))
        self._finish_skip(flow, now, out)
        self._advance(side, out)
        return out

    def end(self, side: Side, now: int) -> list[Record]:
        """`side` sends no more. Returns what is left of its stream, each run with the reason it was not read."""
        out: list[Record] = []
        flow = self._flows[side]
        if flow.ended:
            return out
        flow.ended = True
        self._break(flow, out, now)
        return out

    def send(self, packet: ProtocolPacket, now: int) -> bytes:
        """The bytes of `packet` as this session's role sends it now.

        Raises `LocalProtocolError` where the role may not send it: the same machine that reads the peer
        reads this.
        """
        if self.role is None:
            raise LocalProtocolError("this session only listens: it has no role")
        data = self.encode(packet)
        flow = self._flows[self.role]
        if flow.lost is not None or flow.buffer:
            raise LocalProtocolError(f"{packet.name} cannot be sent now: {flow.lost or 'a message is open'}")
        if self._reader(flow) is None:
            raise LocalProtocolError(f"{packet.name} cannot be sent in state {self.state!r}")
        records = self.feed(self.role, data, now)
        wrong = next((r for r in records if isinstance(r, Violation)), None)
        if wrong is not None:
            raise LocalProtocolError(f"{packet.name} cannot be sent in state {wrong.state!r}: {wrong.why}")
        first = next((r for r in records if r.side is self.role), None)
        if first is None or first.name != packet.name:
            raise LocalProtocolError(f"{packet.name} is not what {self.role} sends in state {self.state!r}")
        return data

    def awaits(self, side: Side) -> bool:
        """Whether `side` may send in the present state."""
        return self._reader(self._flows[side]) is not None

    # --- the machine

    def _reader(self, flow: Flow) -> Reader | None:
        state = self.table[self.state]
        if not state.stays and flow.side in self._done:
            return None
        return state.reader(flow.side)

    def _advance(self, fed: Side, out: list[Record]) -> None:
        # After every message of the fed side the other side catches up first: it could have been read at
        # that byte. So the order of records does not depend on how the bytes were cut.
        mine, other = self._flows[fed], self._flows[fed.other]
        while self._step(other, out) or self._step(mine, out):
            pass

    def _step(self, flow: Flow, out: list[Record]) -> bool:
        if not flow.buffer:
            return False
        if flow.lost is not None:
            self._run_on(flow, NOT_DECODED, flow.lost, len(flow.buffer))
            return False
        if flow.skip is not None:
            name, start, total, have, first = flow.skip
            size = min(len(flow.buffer), start + total - flow.offset)
            last = flow.times(size)[1]
            flow.take(size)
            flow.skip = (name, start, total, have + size, first)
            return self._finish_skip(flow, last, out)
        if flow.reading is None:
            reader = self._reader(flow)
            if reader is None:
                if len(flow.buffer) > self.limits.waiting:
                    flow.lost = f"more than {self.limits.waiting} bytes {self._waiting(flow)}"
                    return True
                return False
        try:
            if flow.reading is None:
                # A reader that refuses at once need not be a generator.
                flow.reading, flow.want = reader(self, flow), Want(1)
            while len(flow.buffer) >= flow.want:
                want = next(flow.reading)
                flow.want = want if isinstance(want, Want) else Want(want)
                if flow.want > self.limits.message:
                    raise Wrong(
                        f"a message of {int(flow.want)} bytes is over the limit of {self.limits.message}"
                    )
        except StopIteration as stop:
            self._deliver(flow, stop.value, out)
        except Wrong as wrong:
            at = flow.offset + wrong.at
            now = flow.times(min(wrong.at + 1, len(flow.buffer)))[1]
            name = wrong.name or self._expected(flow)
            out.append(Violation(flow.side, self.protocol, name, at, 0, now, self.state, wrong.why))
            self._lose(flow, f"follows a violation at byte {at}")
        except NotRead as cause:
            self._lose(flow, cause.why)
        else:
            return False
        return True

    def _lose(self, flow: Flow, why: str) -> None:
        flow.reading, flow.want, flow.lost = None, Want(0), why

    def _deliver(self, flow: Flow, framed: Framed, out: list[Record]) -> None:
        flow.reading, flow.want = None, Want(0)
        first, last = flow.times(framed.size)
        offset = flow.offset
        message = Message(
            flow.side,
            self.protocol,
            framed.name,
            offset,
            framed.size,
            flow.take(framed.size),
            first,
            last,
            framed.parts,
            framed.note,
            framed.extra,
        )
        out.append(message)
        for at, why in framed.violations:
            out.append(
                Violation(
                    flow.side,
                    self.protocol,
                    framed.name,
                    offset + at,
                    framed.size - at,
                    last,
                    self.state,
                    why,
                )
            )
        self.observe(message)
        self._done.add(flow.side)
        state = self.table[self.state].then(self)
        if state is not None:
            self.enter(state)

    def enter(self, state: str) -> None:
        self.state = state
        self._done.clear()

    def done(self, side: Side) -> bool:
        """Whether `side` has sent its message of the present state."""
        return side in self._done

    def _finish_skip(self, flow: Flow, now: int, out: list[Record]) -> bool:
        """Report the message that a gap went through, once its end is reached."""
        if flow.skip is None:
            return False
        name, start, total, have, first = flow.skip
        if flow.offset < start + total:
            return False
        flow.skip = None
        note = f"not decoded: {total - have} of its {total} bytes were lost"
        out.append(Message(flow.side, self.protocol, name, start, total, b"", first, now, note=note))
        return True

    def _run_on(self, flow: Flow, name: str, note: str, size: int) -> None:
        first, last = flow.times(size)
        offset = flow.offset
        raw = flow.take(size)
        if flow.run is None:
            flow.run = _Run(name, f"not decoded: {note}", offset, 0, b"", first, last)
        run = flow.run
        run.head = (run.head + raw[:HEAD_BYTES])[:HEAD_BYTES]
        run.size += size
        run.last_ns = max(run.last_ns, last)

    def _break(self, flow: Flow, out: list[Record], now: int) -> None:
        """The stream of `flow` ends or has a hole here: report what is unread before it."""
        if flow.skip is not None:
            name, start, total, have, first = flow.skip
            flow.skip = None
            note = f"not decoded: {total - have} of its {total} bytes are not there"
            size = flow.offset - start
            out.append(Message(flow.side, self.protocol, name, start, size, b"", first, now, note=note))
        if flow.buffer:
            have = len(flow.buffer)
            if flow.lost is not None:
                self._run_on(flow, NOT_DECODED, flow.lost, have)
            elif flow.reading is None:
                self._run_on(flow, NOT_DECODED, self._waiting(flow), have)
            else:
                size = f"at least {int(flow.want)}" if flow.want.total is None else str(flow.want.total)
                name = flow.want.name or self._expected(flow)
                self._run_on(flow, name, f"incomplete: {have} of {size} bytes", have)
        if flow.run is not None:
            run = flow.run
            out.append(
                Message(
                    flow.side,
                    self.protocol,
                    run.name,
                    run.offset,
                    run.size,
                    run.head,
                    run.first_ns,
                    run.last_ns,
                    note=run.note,
                )
            )
            flow.run = None
        flow.reading, flow.want = None, Want(0)

    def _expected(self, flow: Flow) -> str:
        """The name of the one message that `flow` may bring now, else `NotDecoded`."""
        reader = self._reader(flow)
        expects = getattr(reader, "expects", ())
        return expects[0].title() if len(expects) == 1 else NOT_DECODED

    def _waiting(self, flow: Flow) -> str:
        return f"sent in state {self.state!r}, in which it is not the {flow.side}'s turn"
