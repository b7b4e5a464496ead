# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine under both sessions: bytes and times come in, messages and violations come out.

No socket, no clock. A session is a table of states (`State`), each of which says what either side may
send now, plus readers, which are generators: a reader yields what it wants (`Want`), counted from the first
byte of its message, and returns what it found (`Framed`). It may suspend anywhere, so how the bytes were
cut into segments changes nothing.

A side whose turn it is not has its bytes kept until the other side has said what they mean: one
direction of a handshake cannot be read without facts from the other.

Every byte of a side is reported once: in a message, in a gap, or in a run that says why it was not read. A
gap that a known size bridges lies inside its message; all others lie between messages.
"""

from __future__ import annotations

import copy
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dissect.stream.arrivals import Arrivals, Pieces
from dissect.stream.layout import Malformed, ProtocolPacket, Short
from dissect.stream.records import HEAD_BYTES, NOT_DECODED, Gap, Message, Part, Record, Violation
from dissect.stream.side import Side

# --- What protocols are written with --------------------------------------------------------------------


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
    basis: Any = None
    """As in `Message`."""


@dataclass(frozen=True, slots=True)
class Want:
    """How many bytes a reader wants before it is called again, counted from the message's first.

    `name` is the message's, where it is known by now; `total` its whole size, where that is known.
    """

    size: int
    name: str | None = None
    total: int | None = None


FIRST_BYTE = Want(1)


class Wrong(Exception):
    """Raised by a reader: what this side sent is not allowed, and it cannot be read any further.

    `why` is one sentence, `at` counts from the message's first byte.
    """

    def __init__(self, why: str, at: int = 0, name: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.at = at
        self.name = name


class NotRead(Exception):
    """Raised by a reader: lawful as far as is known, but not decoded from here on, because `why`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class LocalProtocolError(Exception):
    """`send` was asked for what its own side may not send now. The session is as it was before."""


Reading = Generator[Want, None, Framed]
Read = Callable[[Any, "Flow"], Reading]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one message: `read` is called with the session and the flow once the first byte is there.

    It may be resumed before it has what it wants, when a gap or the end follows (`Flow.ended`), and then
    asks again. `name`: the message's, where only one can come.
    """

    read: Read
    name: str | None = None


def reads(name: str | None = None) -> Callable[[Read], Reader]:
    """Make a function a `Reader`."""
    return lambda read: Reader(read, name)


def one(cls: type[ProtocolPacket]) -> Reader:
    """A reader of one message of class `cls`."""
    return Reader(lambda session, flow: flow.packet(cls), cls.title())


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


# --- One side's bytes -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Unread:
    """A stretch of a stream that is reported undecoded: it grows until something ends it.

    `total` is the size of the message that it is, where a gap went through a message of known size: then the
    stretch ends there, and counts the gap's bytes (`lost`) as its own.
    """

    name: str
    note: str
    offset: int
    first_ns: int
    last_ns: int
    size: int = 0
    head: bytes = b""
    total: int | None = None
    lost: int = 0

    @property
    def left(self) -> int | None:
        """Bytes up to the end that `total` gives."""
        return None if self.total is None else self.total - self.size


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
        self.reader: Reader | None = None
        self.reading: Reading | None = None
        """The message that is being read; None between messages."""
        self.want = FIRST_BYTE
        self.unread: _Unread | None = None
        self._arrivals = Arrivals()

    # --- for readers

    def packet(self, cls: type[ProtocolPacket], name: str | None = None) -> Reading:
        """Read one message of `cls` from the buffer."""
        layout = cls.layout()
        name = name or cls.title()
        while True:
            try:
                end = layout.measure(self.buffer)
            except Short as short:
                yield Want(short.needed, name, short.needed if short.exact else None)
            except Malformed as bad:
                raise Wrong(bad.why, bad.at, name) from None
            else:
                return Framed(name, end, (Part(cls, 0, end),))

    def need(
        self, size: int, name: str | None = None, total: int | None = None
    ) -> Generator[Want, None, bytearray]:
        """Wait until `size` bytes are there; returns the buffer. `name` and `total` as in `Want`."""
        if len(self.buffer) < size:
            want = Want(size, name, total)
            while len(self.buffer) < size:
                yield want
        return self.buffer

    def arrivals(self) -> set[int]:
        """Where in the buffer bytes begin that arrived together."""
        return {0, *(end - self.offset for end in self._arrivals.bounds())}

    # --- for the session

    def append(self, data: bytes | bytearray | memoryview, now: int) -> None:
        self.buffer += data
        self._arrivals.add(self.offset + len(self.buffer), now)

    def append_many(self, data: bytes, pieces: Pieces) -> None:
        """The same for bytes that came in pieces."""
        self._arrivals.add_many(self.offset + len(self.buffer), pieces)
        self.buffer += data

    def times(self, size: int) -> tuple[int, int]:
        """The times (ns) of the first and the last of the next `size` bytes.

        The last is the latest: a reordered segment may have brought an earlier byte later.
        """
        return self._arrivals.span(self.offset + size)

    def pending(self) -> tuple[int, int | None]:
        """Where the next record begins at the earliest, and the earliest time it can have: see `Session`."""
        if self.unread is not None:
            return self.unread.offset, self.unread.last_ns
        return self.offset, self._arrivals.first_ns if self._arrivals else None

    def taken(self, size: int) -> bytes:
        """A copy of the next `size` bytes."""
        if size < 4096:
            return bytes(self.buffer[:size])
        with memoryview(self.buffer) as view:  # one copy, where a slice would be another
            return bytes(view[:size])

    def arrived(self, size: int) -> Arrivals:
        """When the next `size` bytes came."""
        return self._arrivals.until(self.offset + size)

    def cut(self, size: int) -> bytes | bytearray:
        """The next `size` bytes, with which this is done. What is copied is the smaller part of all."""
        if 2 * size < len(self.buffer):
            data = self.taken(size)
            self.drop(size)
            return data
        mine, self.buffer = self.buffer, self.buffer[size:]
        del mine[size:]
        self._past(size)
        return mine

    def drop(self, size: int) -> None:
        """Be done with the next `size` bytes."""
        del self.buffer[:size]
        self._past(size)

    def _past(self, size: int) -> None:
        self.offset += size
        self._arrivals.done(self.offset)

    def idle(self) -> None:
        """No message is being read from here on."""
        self.reader = self.reading = None
        self.want = FIRST_BYTE

    def swallow(self, size: int, name: str, why: str, total: int | None = None) -> _Unread:
        """Move the next `size` bytes to the stretch that is not decoded; it begins here if there is none."""
        first, last = self.times(size)
        if self.unread is None:
            self.unread = _Unread(name, f"not decoded: {why}", self.offset, first, last, total=total)
        unread = self.unread
        unread.head += self.buffer[: min(size, HEAD_BYTES - len(unread.head))]
        unread.size += size
        unread.last_ns = max(unread.last_ns, last)
        self.drop(size)
        return unread


# --- The session ----------------------------------------------------------------------------------------


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
        self.handshake_only = False
        """Whether reading ends where the session is `settled`; what follows is only kept."""
        self.heads_only = False
        """Whether messages hold no more of their bytes than their parts describe, where fields are wanted."""
        self.completed: list[Record] = []
        """What the last `send` brought about: its message, then what the peer had sent early."""

    # --- what protocols define

    @abstractmethod
    def observe(self, message: Message) -> None:
        """Remember what later messages depend on. Called for each message, before the state moves on."""

    def missed(self, side: Side, name: str) -> None:
        """A gap went through a message of `side` called `name`: what it said is not known."""
        return

    def encode(self, packet: ProtocolPacket) -> bytes:
        """The bytes that `send` puts on the wire for `packet`; ValueError where it has no place here."""
        return bytes(packet)

    def after_gap(self, flow: Flow, size: int, now: int) -> str | None:
        """Why `flow` cannot be read after a gap at a place that no length bridges; None where it can."""
        return f"follows a gap of {size} bytes"

    def after_violation(self, flow: Flow, at: int) -> str | None:
        """Why `flow` is not read after a violation at byte `at` of its stream; None where it is."""
        return f"follows a violation at byte {at}"

    @property
    def settled(self) -> bool:
        """Whether the handshake is over, with all that is learnt from what directly follows it."""
        return self.table[self.state].stays

    @property
    def piecewise(self) -> bool:
        """Whether what is read now depends on how the bytes were cut: each piece is read by itself."""
        return False

    # --- what users call

    def feed(self, side: Side, data: bytes | bytearray | memoryview, now: int) -> list[Record]:
        """`data` is what `side` sent next, at `now`. Returns the records that it completes, in order."""
        out: list[Record] = []
        if data:
            flow = self._flows[side]
            if flow.reading is not None and len(flow.buffer) + len(data) < flow.want.size and flow.buffer:
                flow.append(data, now)  # in the midst of a message: nothing else can come of it
                return out
            if flow.ended:
                flow.ended = False
                flow.lost = flow.lost or "follows the end of the stream"
            flow.append(data, now)
            self._advance(side, out)
        return out

    def feed_many(self, side: Side, data: bytes, pieces: Pieces) -> list[Record]:
        """`feed` for bytes that came in pieces: the same records, with less to do for each piece."""
        flow = self._flows[side]
        if self.piecewise or flow.ended:
            out: list[Record] = []
            for begin, end, now in pieces:
                out += self.feed(side, data[begin:end], now)
            return out
        self.keep(side, data, pieces)
        return self.read(side) if flow.reading is None or len(flow.buffer) >= flow.want.size else []

    def keep(self, side: Side, data: bytes, pieces: Pieces) -> None:
        """Hear what `feed_many` hears, and make nothing of it before `read`; not after the end of a side, nor
        where it matters how the bytes were cut, or how those of one side lie to those of the other.
        """
        self._flows[side].append_many(data, pieces)

    def read(self, side: Side) -> list[Record]:
        """The records that are completed by what was kept: of `side`, and of the other one before it."""
        out: list[Record] = []
        self._advance(side, out)
        return out

    def gap(self, side: Side, size: int, now: int) -> list[Record]:
        """`size` bytes of `side` were lost here. Returns what that completes, and the gap itself.

        A gap inside a message of known size is bridged: that message is reported when its end is reached, and
        reading goes on after it. Any other is answered by `after_gap`.
        """
        out: list[Record] = []
        if size <= 0:
            return out
        flow = self._flows[side]
        self._wake(flow, out)
        bridged = self._bridge(flow, size, now)
        if not bridged:
            self._break(flow, out)
            if flow.lost is None:
                flow.lost = self.after_gap(flow, size, now)
        out.append(Gap(side, self.protocol, flow.offset, size, now))
        flow.offset += size
        if bridged:
            self._finish(flow, out)
        self._advance(side, out)
        return out

    def end(self, side: Side, now: int) -> list[Record]:
        """`side` sends no more. Returns what is left of its stream, with the reason it was not read."""
        out: list[Record] = []
        flow = self._flows[side]
        flow.ended = True
        self._wake(flow, out)
        self._break(flow, out)
        return out

    def send(self, packet: ProtocolPacket, now: int) -> bytes:
        """The bytes of `packet` as this session's role sends it now.

        Raises `LocalProtocolError`, and changes nothing, where the role may not send it: the same readers
        that read the peer read this. The bytes then go through `feed`; its records are in `completed`.
        """
        if self.role is None:
            raise LocalProtocolError("this session only listens: it has no role")
        flow = self._flows[self.role]
        reader = self._reader(flow)
        if flow.lost is not None or flow.ended or flow.buffer or flow.unread:
            why = flow.lost or ("its stream has ended" if flow.ended else "a message is open")
            raise LocalProtocolError(f"{packet.name} cannot be sent now: {why}")
        if reader is None:
            raise LocalProtocolError(f"{packet.name} cannot be sent in state {self.state!r}")
        try:
            data = self.encode(packet)
        except (ValueError, struct.error) as bad:
            raise LocalProtocolError(f"{packet.name} has no bytes: {bad}") from None
        self._rehearse(reader, packet.title(), data)
        self.completed = self.feed(self.role, data, now)
        return data

    def awaits(self, side: Side) -> bool:
        """Whether `side` may send in the present state."""
        return self._reader(self._flows[side]) is not None

    def done(self, side: Side) -> bool:
        """Whether `side` has sent its message of the present state."""
        return side in self._done

    def lost(self, side: Side) -> str | None:
        """Why `side` is not read any further; None while it is."""
        return self._flows[side].lost

    def pending(self, side: Side) -> tuple[int, int | None]:
        """Where in its stream the next record of `side` begins at the earliest, and from when it is at least.

        The time (ns) is None where no byte waits.
        """
        return self._flows[side].pending()

    def enter(self, state: str) -> None:
        """Go to `state`."""
        self.state = state
        self._done.clear()

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
        while not (self.handshake_only and self.settled):
            if not (self._step(other, out) or self._step(mine, out)):
                return

    def _step(self, flow: Flow, out: list[Record]) -> bool:
        """Go on with `flow` as far as one message; False where it must wait for bytes or the other side."""
        if not flow.buffer:
            return False
        if flow.unread is not None and flow.unread.left is not None:
            flow.swallow(min(flow.unread.left, len(flow.buffer)), flow.unread.name, flow.unread.note)
            return self._finish(flow, out)
        if flow.lost is not None:
            flow.swallow(len(flow.buffer), NOT_DECODED, flow.lost)
            return False
        try:
            if flow.reading is None:
                reader = self._reader(flow)
                if reader is None:
                    flow.lost = self._hopeless(flow)
                    return flow.lost is not None
                flow.reader, flow.reading = reader, reader.read(self, flow)
            while len(flow.buffer) >= flow.want.size:
                flow.want = next(flow.reading)
                if flow.want.size > self.limits.message:
                    why = f"a message of {flow.want.size} bytes is over the limit of {self.limits.message}"
                    raise Wrong(why, name=flow.want.name)
        except StopIteration as stop:
            self._deliver(flow, stop.value, out)
        except Wrong as wrong:
            self._violate(flow, wrong, out)
        except NotRead as cause:
            flow.lost = cause.why
            flow.idle()
        else:
            return False
        return True

    def _hopeless(self, flow: Flow) -> str | None:
        """Why it is no use to keep bytes of `flow` until the other side has spoken; None where it is."""
        other = self._flows[flow.side.other]
        if other.lost is not None:
            return f"cannot be read, because the {other.side} is not read any further: {other.lost}"
        if len(flow.buffer) > self.limits.waiting:
            return f"more than {self.limits.waiting} bytes {self._not_its_turn(flow)}"
        return None

    def _not_its_turn(self, flow: Flow) -> str:
        return f"sent in state {self.state!r}, in which it is not the {flow.side}'s turn"

    def _wake(self, flow: Flow, out: list[Record]) -> None:
        """Let each open reading look once at all that is there: nothing follows it directly."""
        woken = None
        while flow.reading is not None and flow.reading is not woken:
            woken = flow.reading
            flow.want = FIRST_BYTE
            self._advance(flow.side, out)

    def _deliver(self, flow: Flow, framed: Framed, out: list[Record]) -> None:
        assert 0 < framed.size <= len(flow.buffer), f"{framed.name} framed as {framed.size} bytes"
        first, last = flow.times(framed.size)
        held = framed.parts[-1].end if self.heads_only and framed.parts else framed.size
        message = Message(
            flow.side,
            self.protocol,
            framed.name,
            flow.offset,
            framed.size,
            flow.taken(held),
            first,
            last,
            framed.parts,
            framed.note,
            framed.extra,
            framed.basis,
        )
        flow.drop(framed.size)
        flow.idle()
        out.append(message)
        for at, why in framed.violations:
            offset, size = message.offset + at, framed.size - at
            out.append(Violation(flow.side, self.protocol, framed.name, offset, size, last, self.state, why))
        self.observe(message)
        self._done.add(flow.side)
        state = self.table[self.state].then(self)
        if state is not None:
            self.enter(state)

    def _violate(self, flow: Flow, wrong: Wrong, out: list[Record]) -> None:
        """Report what a reader found wrong; `after_violation` says whether `flow` is read after that."""
        at = flow.offset + wrong.at
        now = flow.times(min(wrong.at + 1, len(flow.buffer)))[1]
        name = wrong.name or (flow.reader and flow.reader.name) or NOT_DECODED
        out.append(Violation(flow.side, self.protocol, name, at, 0, now, self.state, wrong.why))
        flow.lost = self.after_violation(flow, at)
        flow.idle()

    def _name(self, flow: Flow) -> str:
        """The name of the message that `flow` is in, as far as it is known."""
        return flow.want.name or (flow.reader and flow.reader.name) or NOT_DECODED

    def _bridge(self, flow: Flow, size: int, now: int) -> bool:
        """Whether a gap of `size` bytes here lies inside a message of known size, which it then goes through.

        Not in a handshake, where what the message says is needed to read on.
        """
        if flow.unread is None and flow.reading is not None and flow.want.name and flow.want.total:
            if not self.table[self.state].stays or size > flow.want.total - len(flow.buffer):
                return False
            flow.swallow(len(flow.buffer), flow.want.name, "", flow.want.total)
            flow.idle()
        unread = flow.unread
        if unread is None or unread.left is None or size > unread.left:
            return False
        unread.size += size
        unread.lost += size
        unread.last_ns = max(unread.last_ns, now)
        return True

    def _finish(self, flow: Flow, out: list[Record]) -> bool:
        """Report the message that a gap went through, once its end is reached."""
        unread = flow.unread
        if unread is None or unread.left != 0:
            return False
        self._report(flow, out)
        self.missed(flow.side, unread.name)
        return True

    def _break(self, flow: Flow, out: list[Record]) -> None:
        """The stream of `flow` ends or has a hole here: report what is unread before it."""
        if flow.buffer:
            have = len(flow.buffer)
            if flow.lost is not None:
                flow.swallow(have, NOT_DECODED, flow.lost)
            elif flow.reading is None:
                flow.swallow(have, NOT_DECODED, self._not_its_turn(flow))
            else:
                want = flow.want
                size = f"at least {want.size}" if want.total is None else str(want.total)
                flow.swallow(have, self._name(flow), f"incomplete: {have} of {size} bytes")
        self._report(flow, out)
        flow.idle()

    def _report(self, flow: Flow, out: list[Record]) -> None:
        """Report the stretch of `flow` that is not decoded, if there is one: it is over."""
        unread, flow.unread = flow.unread, None
        if unread is None:
            return
        note = unread.note
        if unread.total is not None:
            missing = unread.total - unread.size + unread.lost
            note = f"not decoded: {missing} of its {unread.total} bytes are not there"
        out.append(
            Message(
                flow.side,
                self.protocol,
                unread.name,
                unread.offset,
                unread.size,
                unread.head,
                unread.first_ns,
                unread.last_ns,
                note=note,
            )
        )

    def _rehearse(self, reader: Reader, name: str, data: bytes) -> None:
        """Raise `LocalProtocolError` where `data` is not one whole message `name` that may be sent now."""
        assert self.role is not None
        flow = Flow(self.role)
        flow.append(data, 0)
        # A reader may note facts on the session it is given: on this copy they are forgotten.
        session = copy.copy(self)
        try:
            reading = reader.read(session, flow)
            while (want := next(reading)).size <= len(data):
                pass
        except StopIteration as stop:
            framed: Framed = stop.value
        except (Wrong, NotRead) as refused:
            raise LocalProtocolError(
                f"{name} cannot be sent in state {self.state!r}: {refused.why}"
            ) from None
        else:
            raise LocalProtocolError(f"{name} is not whole: {len(data)} of at least {want.size} bytes")
        if framed.name != name:
            raise LocalProtocolError(
                f"{name} cannot be sent in state {self.state!r}: it would be read as {framed.name}"
            )
        if framed.violations:
            raise LocalProtocolError(f"{name} is not well-formed: {framed.violations[0][1]}")
        if framed.size != len(data):
            raise LocalProtocolError(f"{name} has {len(data) - framed.size} bytes after its end")
