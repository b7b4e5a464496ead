# SPDX-License-Identifier: GPL-2.0-or-later
"""What all model peers share: settings, faults, and the engine that runs a script.

A `Model` is a frozen dataclass of settings. `Model.start()` gives one run of the program: a function that
begins a `Conversation` for each connection. A conversation is pure: whoever drives it calls `opened`,
`received`, `ended` and `woken` with bytes and times, and carries out the actions that they return.

What a model does is a script, a generator that reads like blocking code: ``yield from self.read(16)``. It
suspends by yielding the time at which it wants to be woken (None: only when something happens).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, ClassVar, NoReturn, TypeVar

from dissect.replay.credentials import CredentialError
from dissect.stream import Side
from dissect.stream.layout import ProtocolPacket
from dissect.stream.records import Message, Record, Violation
from dissect.stream.session import Session

MS = 1_000_000
"""Nanoseconds in a millisecond."""
SECOND = 1_000_000_000
RECORDS_KEPT = 10_000
"""How many records one report holds; the rest are counted."""
ENDLESS_BYTES, ENDLESS_GAP_NS = 4096, MS
"""What `Endless` sends at a time, and how often."""

T = TypeVar("T")
Script = Generator[int | None, None, T]


# --- What a model may be told to do wrong ----------------------------------------------------------------


class Parting(StrEnum):
    """What a model does where it would end the conversation."""

    CLOSE = "close"
    """Close the socket: FIN, or RST where bytes lie in it that the program never read."""
    RESET = "reset"
    HALF_CLOSE = "half-close"
    """FIN, and go on holding the connection open without a word."""
    HANG = "hang"
    """Nothing at all."""


@dataclass(frozen=True, slots=True)
class Change:
    """Message `message` goes out with another value in `field`; the model itself believes in the right one.

    nth: only that occurrence of the message, counted from 0. A field of the header before a SPICE message may
    be named too. A length follows the change unless it is the field that is changed.
    """

    message: str
    field: str
    value: Any
    nth: int | None = None


@dataclass(frozen=True, slots=True)
class Omit:
    """Message `message` is not sent."""

    message: str
    nth: int | None = None


@dataclass(frozen=True, slots=True)
class Late:
    """Message `message` is sent `ns` nanoseconds late, and what follows after it."""

    message: str
    ns: int
    nth: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The conversation ends `after` bytes of message `message`, in the manner of `then`."""

    message: str
    after: int
    then: Parting = Parting.CLOSE
    nth: int | None = None


@dataclass(frozen=True, slots=True)
class Endless:
    """After message `message` the model sends `filler` for ever and listens no more."""

    message: str
    filler: bytes = b"\0"
    nth: int | None = None


Fault = Change | Omit | Late | Cut | Endless


@dataclass(frozen=True, slots=True)
class Pace:
    """Everything goes out in pieces of `size` bytes, one every `gap_ns` nanoseconds."""

    size: int
    gap_ns: int


# --- What a conversation asks of its driver --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """One write of its own."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket once everything is sent."""


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Send a FIN once everything is sent; go on reading."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Send a RST now."""


@dataclass(frozen=True, slots=True)
class Open:
    """Connect to the same server once more, for `conversation`."""

    conversation: Conversation


@dataclass(frozen=True, slots=True)
class Drop:
    """Let another conversation of the same program close (call its `dropped`)."""

    conversation: Conversation


Action = Send | Close | HalfClose | Reset | Open | Drop


# --- What is reported ------------------------------------------------------------------------------------


class How(StrEnum):
    """How a connection ended."""

    CLOSE = "close"
    RESET = "reset"
    REFUSED = "refused"
    """There never was one."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The first that a conversation knew of its end. `mine`: it did it itself."""

    how: How
    mine: bool
    time_ns: int
    received: int
    """Bytes that it had received by then."""
    sent: int


@dataclass(frozen=True, slots=True)
class Word:
    """Something a model said of itself, as a program says it on stderr."""

    time_ns: int
    text: str


@dataclass(slots=True)
class Report:
    """What one conversation of a model saw and did. Times are ns of the driver's clock."""

    model: str
    role: Side
    """The side of its protocol; who opened the TCP connection is `opened_by_me`."""
    opened_by_me: bool | None = None
    opened_ns: int | None = None
    first_received_ns: int | None = None
    first_sent_ns: int | None = None
    received: int = 0
    sent: int = 0
    records: list[Record] = field(default_factory=list)
    """Messages of both sides and violations, in order."""
    records_left_out: int = 0
    """How many came after the first `RECORDS_KEPT`."""
    words: list[Word] = field(default_factory=list)
    state: str = ""
    """The state that its session was last in."""
    ending: Ending | None = None
    """None: neither side had ended it when the driver stopped."""
    failure: BaseException | None = None
    """A fault of the model itself, not of its peer; None is good."""

    @property
    def said(self) -> list[str]:
        """Its words without their times."""
        return [word.text for word in self.words]

    def messages(self, name: str | None = None, side: Side | None = None) -> list[Message]:
        """The messages called `name`, of `side`; all where None."""
        return [
            record
            for record in self.records
            if isinstance(record, Message)
            and (name is None or record.name == name)
            and (side is None or record.side is side)
        ]

    def violations(self) -> list[Violation]:
        """What was wrong, of either side."""
        return [record for record in self.records if isinstance(record, Violation)]


# --- The engine ------------------------------------------------------------------------------------------


class PeerEnded(Exception):
    """The peer has closed or reset the connection, and nothing it sent is left to read."""


class PeerWrong(Exception):
    """The peer did what this model ends the conversation for; the text is what the model says."""


class _Left(Exception):
    """The script has ended the conversation itself."""

    def __init__(self, parting: Parting | None) -> None:
        super().__init__()
        self.parting = parting


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """Settings of a model peer. Subclasses add their own; `dataclasses.replace` makes variants."""

    faults: tuple[Fault, ...] = ()
    pace: Pace | None = None
    parting: Parting = Parting.CLOSE
    seed: int | None = None
    """What is random repeats where this is set; RSA keys do not."""

    role: ClassVar[Side]
    """The side of its protocol that it speaks for."""

    @abstractmethod
    def start(self) -> Begin:
        """One run of the program: what it returns begins a conversation for one connection."""


class Conversation(ABC):
    """One connection of a model: bytes, ends and times in, actions out. Subclasses write `script`."""

    reads_ahead = True
    """Whether the program takes what has come from the socket at once, or only what it needs next.

    It shows at the end: closing a socket with unread bytes in it sends RST, not FIN.
    """

    def __init__(self, model: Model, session: Session, random: Random) -> None:
        assert session.role is not None
        self.random = random
        self.report = Report(type(model).__name__, session.role)
        self.role, self.peer = session.role, session.role.other
        self.inbox = bytearray()
        """What has come and was not handed to the session yet."""
        self.now = 0
        self.over = False
        """Nothing will come of this conversation any more."""
        self._model = model
        self._session = session
        self._arrived: deque[tuple[int, int]] = deque()
        self._records: deque[Record] = deque()
        self._peer_ended: How | None = None
        self._actions: list[Action] = []
        self._outbox: deque[tuple[int, Action]] = deque()
        self._out_ns = 0
        self._occurrences: Counter[str] = Counter()
        self._endless = b""
        self._blocked = False
        self._script: Script[None] | None = self.script()
        self._wake_ns: int | None = None
        self._endless_ns = 0

    @abstractmethod
    def script(self) -> Script[None]:
        """What this peer does, from the established connection on. Where it returns, the model is silent."""

    # --- what a driver calls

    def opened(self, now: int, by_me: bool) -> list[Action]:
        """The TCP connection stands; `by_me`: this side has opened it."""
        self.report.opened_ns, self.report.opened_by_me = now, by_me
        return self._go(now)

    def refused(self, now: int) -> None:
        """There is no connection: nobody listens."""
        self._end(How.REFUSED, mine=False, now=now)
        self.now = now
        self.say("connection refused")
        self._finish(now)

    def received(self, data: bytes, now: int) -> list[Action]:
        """The peer has sent `data`."""
        if self.over or not data:
            return []
        report = self.report
        report.received += len(data)
        if report.first_received_ns is None:
            report.first_received_ns = now
        self.inbox += data
        self._arrived.append((len(data), now))
        return self._go(now)

    def ended(self, how: How, now: int) -> list[Action]:
        """The peer has closed its direction, or reset the connection."""
        if self.over:
            return []
        if self._peer_ended is None or how is How.RESET:
            self._peer_ended = how
        self._end(how, mine=False, now=now)
        actions = self._go(now)
        if how is How.RESET:
            self._finish(now)
        return actions

    def woken(self, now: int) -> list[Action]:
        """It is `wake_ns`, or later; nothing happens where it is not."""
        return [] if self.over else self._go(now)

    def blocked(self, blocked: bool) -> None:
        """The peer does not take what is sent (True), or takes it again."""
        self._blocked = blocked

    def dropped(self, now: int) -> list[Action]:
        """The program this belongs to ends the conversation."""
        if self.over or self._script is None:
            return []
        self.now = now
        self._script.close()
        self._script = None
        self._leave(None)
        return self._flush(now)

    def stopped(self, now: int) -> None:
        """The driver stops here: what is unread is reported as it is."""
        if not self.over:
            self._finish(now)

    @property
    def wake_ns(self) -> int | None:
        """When to call `woken` at the latest; None: no need."""
        if self.over:
            return None
        times = [self._outbox[0][0]] if self._outbox else []
        if self._script is not None and self._wake_ns is not None:
            times.append(self._wake_ns)
        if self._endless and not self._blocked:
            times.append(self._endless_ns)
        return min(times, default=None)

    # --- what scripts call

    def say(self, text: str) -> None:
        self.report.words.append(Word(self.now, text))

    def leave(self, parting: Parting | None = None) -> NoReturn:
        """End the conversation in the manner of the model's settings, or as `parting` says."""
        raise _Left(parting)

    def read(self, size: int, until: int | None = None) -> Script[bool]:
        """Wait until `size` bytes are in `inbox`: True; False at the time `until`. Raises PeerEnded."""
        while len(self.inbox) < size:
            if until is not None and self.now >= until:
                return False
            if self._peer_ended is not None:
                raise PeerEnded
            yield until
        return True

    def pause(self, ns: int) -> Script[None]:
        """Wait `ns` nanoseconds, whatever comes meanwhile. Raises PeerEnded."""
        until = self.now + ns
        while self.now < until:
            if self._peer_ended is not None:
                raise PeerEnded
            yield until

    def hand_over(self, size: int | None = None) -> None:
        """Let the session read the next `size` bytes of `inbox` (all of it)."""
        left = len(self.inbox) if size is None else min(size, len(self.inbox))
        while left:
            # Piece by piece as they arrived: a message's first byte keeps its time.
            count, now = self._arrived.popleft()
            if count > left:
                self._arrived.appendleft((count - left, now))
                count = left
            piece = bytes(self.inbox[:count])
            del self.inbox[:count]
            left -= count
            self._collect(self._session.feed(self.peer, piece, now))

    def message(self, until: int | None = None, *, strict: bool = True) -> Script[Message | None]:
        """The peer's next message; None at the time `until`. Raises PeerEnded, PeerWrong for a violation.

        strict: False lets a message pass that is whole and nevertheless wrong: the caller judges it.
        """
        while True:
            while self._records:
                record = self._records.popleft()
                if isinstance(record, Violation):
                    raise PeerWrong(self._wrong(record))
                if not isinstance(record, Message):
                    continue
                if record.parts and self._records and isinstance(self._records[0], Violation):
                    # A message and what is wrong with it come together.
                    why = self._wrong(self._records.popleft())
                    if strict:
                        raise PeerWrong(why)
                return record
            if self.inbox:
                self.hand_over()
                continue
            if (lost := self._session.lost(self.peer)) is not None:
                raise PeerWrong(f"cannot read on: {lost}")
            if until is not None and self.now >= until:
                return None
            if self._peer_ended is not None:
                raise PeerEnded
            yield until

    @staticmethod
    def _wrong(violation: Record) -> str:
        assert isinstance(violation, Violation)
        return f"{violation.name}: {violation.why}"

    def expect(self, *names: str, strict: bool = True) -> Script[Message]:
        """The peer's next message, which must be one of `names`. Raises PeerEnded, PeerWrong."""
        message = yield from self.message(strict=strict)
        assert message is not None
        if message.name not in names:
            raise PeerWrong(f"{message.name} came where {' or '.join(names)} should")
        return message

    def send(self, packet: ProtocolPacket, *, pieces: Sequence[int] = (), skip: int = 0) -> None:
        """Send `packet` after the session's state check.

        pieces: the first bytes go out in writes of these sizes. skip: so many bytes are out already.
        """
        data = self._session.send(packet, self.now)
        self._collect(self._session.completed)
        self._emit(packet.title(), data, packet, pieces, skip)

    def send_bytes(self, name: str, data: bytes) -> None:
        """Send a message called `name` that no class describes; the session reads it as it goes."""
        self._collect(self._session.feed(self.role, data, self.now))
        self._emit(name, data, None, (), 0)

    def write(self, name: str, data: bytes) -> None:
        """Send bytes past the session, for which it has no place; `name` is for faults."""
        self._emit(name, data, None, (), 0)

    def open(self, conversation: Conversation) -> None:
        self._actions.append(Open(conversation))

    def drop(self, conversation: Conversation) -> None:
        self._actions.append(Drop(conversation))

    def changed(self, data: bytes, packet: ProtocolPacket, change: Change) -> bytes:
        """`data`, which is `packet` as the session sends it, with `change` made. Raises ValueError."""
        copy = packet.copy()
        if not _set(copy, change.field, change.value):
            raise ValueError(f"{packet.name} has no field {change.field!r} to change")
        return bytes(copy)

    # --- the machine

    def _go(self, now: int) -> list[Action]:
        self.now = now
        if self._script is not None:
            try:
                self._wake_ns = next(self._script)
            except StopIteration:
                self._script = None
            except _Left as left:
                self._leave(left.parting)
            except PeerEnded:
                how = "reset" if self._peer_ended is How.RESET else "closed"
                self.say(f"the {self.peer} {how} the connection")
                # Also where the model's parting is another: that is for what it decides itself.
                self._leave(Parting.CLOSE)
            except (PeerWrong, CredentialError) as wrong:
                self.say(str(wrong))
                self._leave(None)
        else:
            self.hand_over()  # nobody reads it any more; the session keeps the head of it
        return self._flush(now)

    def _leave(self, parting: Parting | None) -> None:
        if self._script is not None:
            self._script.close()
            self._script = None
        parting = parting or self._model.parting
        if parting is Parting.RESET or (
            parting is Parting.CLOSE and self.inbox and not self.reads_ahead and self._peer_ended is None
        ):
            self._queue(Reset())
        elif parting is Parting.CLOSE:
            self._queue(Close())
        elif parting is Parting.HALF_CLOSE:
            self._queue(HalfClose())

    def _emit(
        self, name: str, data: bytes, packet: ProtocolPacket | None, pieces: Sequence[int], skip: int
    ) -> None:
        nth = self._occurrences[name]
        self._occurrences[name] += 1
        faults = [f for f in self._model.faults if f.message == name and f.nth in (None, nth)]
        cut: Cut | None = None
        for fault in faults:
            match fault:
                case Omit():
                    return
                case Change():
                    if packet is None:
                        raise ValueError(f"{name} has no field {fault.field!r} to change")
                    data = self.changed(data, packet, fault)
                case Late():
                    self._out_ns = max(self._out_ns, self.now) + fault.ns
                case Cut():
                    cut = fault
                    data = data[: fault.after]
                case Endless():
                    self._endless = (fault.filler * ENDLESS_BYTES)[:ENDLESS_BYTES]
        data = data[skip:]
        for size in pieces:
            if len(data) > size:
                self._queue(Send(data[:size]))
                data = data[size:]
        if data:
            self._queue(Send(data))
        if cut is not None:
            self.leave(cut.then)
        if self._endless:
            self.leave(Parting.HANG)

    def _queue(self, action: Action) -> None:
        """Put `action` behind what waits to be sent, at the model's pace."""
        at = max(self._out_ns, self.now)
        pace = self._model.pace
        if isinstance(action, Send) and pace is not None:
            for start in range(0, len(action.data), pace.size):
                self._outbox.append((at, Send(action.data[start : start + pace.size])))
                at += pace.gap_ns
        else:
            self._outbox.append((at, action))
        self._out_ns = at

    def _flush(self, now: int) -> list[Action]:
        """Whatever is due now."""
        actions, self._actions = self._actions, []
        while self._outbox and self._outbox[0][0] <= now and not self.over:
            action = self._outbox.popleft()[1]
            if self._peer_ended is How.RESET and not isinstance(action, Close | Reset):
                continue
            actions.append(action)
            match action:
                case Send(data):
                    self._count(len(data), now)
                case Close():
                    self._end(How.CLOSE, mine=True, now=now)
                    self._finish(now)
                case HalfClose():
                    self._end(How.CLOSE, mine=True, now=now)
                case Reset():
                    self._end(How.RESET, mine=True, now=now)
                    self._finish(now)
        if self._endless and not self._blocked and not self.over and now >= self._endless_ns:
            self._endless_ns = now + ENDLESS_GAP_NS
            actions.append(Send(self._endless))
            self._count(len(self._endless), now)
        return actions

    def _count(self, size: int, now: int) -> None:
        self.report.sent += size
        if self.report.first_sent_ns is None:
            self.report.first_sent_ns = now

    def _end(self, how: How, *, mine: bool, now: int) -> None:
        if self.report.ending is None:
            self.report.ending = Ending(how, mine, now, self.report.received, self.report.sent)

    def _collect(self, records: list[Record]) -> None:
        self._keep(records)
        self._records.extend(record for record in records if record.side is self.peer)

    def _keep(self, records: list[Record]) -> None:
        room = max(0, RECORDS_KEPT - len(self.report.records))
        self.report.records += records[:room]
        self.report.records_left_out += len(records[room:])

    def _finish(self, now: int) -> None:
        self.over = True
        if self._script is not None:
            self._script.close()
            self._script = None
        self.report.state = self._session.state
        self.hand_over()
        for side in Side:
            self._keep(self._session.end(side, now))


Begin = Callable[[], Conversation]


def _set(packet: Any, name: str, value: Any) -> bool:
    """Set a field of a packet or of the layers behind it; False where none has it."""
    layer = packet
    while layer:
        if any(field.name == name for field in layer.fields_desc):
            layer.setfieldval(name, value)
            return True
        layer = layer.payload
    return False
