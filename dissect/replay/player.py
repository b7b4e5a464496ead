# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays one side of a plan: bytes, ends and times of the live peer in, actions out. No socket, no clock.

Whoever carries the bytes (sockets, segments built by hand, a simulation) calls `opened`, `received`, `ended`
and, at `wake_ns`, `woken`; each returns the actions to carry out, in order. `refused` and `stopped` end a
replay from outside. Once `over` is true, `result` holds what came of it; the actions returned last are still
to be done, and `wake_ns` may ask for more.

::

    player = Player(plan, Options(pace=Pace.LOCKSTEP))
    actions = player.opened(now)
    while not player.over:
        ...  # carry out actions; actions = player.received(data, now) or player.woken(now)
    print(player.result.outcome)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from dissect.dissection.recognise import TITLES, recognise
from dissect.replay.compare import WHOLE, Comparison, Difference, Rules
from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import SILENCE_NS, Plan, is_handshake
from dissect.replay.voices import Stuck, Word, refusal, voice
from dissect.stream.recognition import Yes
from dissect.stream.records import Message, Record, Violation
from dissect.stream.side import Side
from dissect.stream.text import duration

MS = 1_000_000
SECOND = 1_000_000_000
PREFIX = b"RFB "
"""What the proposal of 2017 sends early."""


class Pace(StrEnum):
    """When the next message is sent."""

    LOCKSTEP = "lockstep"
    """When what preceded it in the recording has been answered."""
    RECORDED = "recorded"
    """When it was sent in the recording, `speed` times as fast."""
    ASAP = "asap"
    """As soon as it can be made: only what must be computed waits for the peer."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the bytes are cut into writes. `gap_ns`: the pause between two pieces of "bytes" and "split"."""

    kind: Literal["captured", "bytes", "coalesced", "split"] = "captured"
    sizes: tuple[int, ...] = ()
    """For "split": sizes of the first pieces of the whole stream; the rest goes as it comes."""
    gap_ns: int = MS // 5


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is played. See the fields' comments; times are ns."""

    pace: Pace = Pace.LOCKSTEP
    speed: float = 1.0
    shape: Shape = field(default_factory=Shape)
    early_prefix_ns: int | None = None
    """RFB: `RFB ` is sent after so long a silence, the rest of the version after the greeting."""
    password: str | None = None
    idle_cap_ns: int | None = 2 * SECOND
    """The longest pause, and the longest silence, that is kept; None: as recorded."""
    patience_ns: int = SECOND // 4
    """How long the peer must be quiet before fewer updates than recorded are taken for an answer."""
    silence_ns: int | None = None
    """How long the peer must say nothing at the end; None: as recorded, where the two did not understand
    each other, else not at all."""
    through: str | None = None
    rules: Rules = field(default_factory=Rules)


# --- What a player asks of whoever carries its bytes ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """One write, or one segment, of its own."""

    data: bytes


@dataclass(frozen=True, slots=True)
class HalfClose:
    """A FIN after everything was sent; go on reading."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close after everything was sent."""


@dataclass(frozen=True, slots=True)
class Reset:
    """A RST now."""


Action = Send | HalfClose | Close | Reset
How = Literal["close", "reset"]


class Player:
    """See the module. `session_id`: for a SPICE channel, the live session it belongs to."""

    def __init__(
        self, plan: Plan, options: Options | None = None, *, session_id: int | None = None, hold: bool = False
    ) -> None:
        self.plan = plan
        self.options = options or Options()
        self.over = False
        self.hold = hold
        """Whether the connection is kept though all is done: others depend on it. See `release`."""
        self.result = Result(plan.capture, plan.sha256, plan.index, Outcome.INCONCLUSIVE, "not begun")
        self.result.notes += plan.notes
        self.why_not = refusal(plan, self.options.password, session_id)
        """Why nothing can be sent at all; then `opened` must not be called, but `refused`."""
        if self.why_not is None and self.options.early_prefix_ns is not None:
            self.why_not = _no_prefix(plan)
        self.voice = voice(plan, self.options.password, session_id)
        self.comparison = Comparison(plan.expected, self.options.rules, self.options.through)
        self.now = 0
        self._opened: int | None = None
        self._last_ns = 0
        """When either side last sent anything."""
        self._next = 0
        """Place in the voice's script."""
        self._ready_ns: int | None = None
        """Since when the next step has had its answers and only keeps a silence."""
        self._patience_ns = self.options.patience_ns
        self._wake: int | None = None
        self._pending: list[Word] = []
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._out_ns = 0
        self._streamed = 0
        """Bytes that were cut into pieces so far."""
        self._parting: Action | None = None
        self._half_closed = False
        self._head = bytearray()
        self._prefixed = 0
        """How many bytes of the version went out before its turn."""
        self._early: tuple[int, int] | None = self._early_prefix()
        self._said_first = False
        self._peer_ended: How | None = None
        self._cut_short: str | None = None
        """The message in whose middle the peer ended, where the recorded peer did not."""
        self._done_ns: int | None = None
        self._silent_from: int | None = None

    # --- what a driver calls

    def opened(self, now: int) -> list[Action]:
        """The TCP connection stands."""
        assert self.why_not is None, self.why_not
        self._opened = self._last_ns = self.now = now
        return self._go(now)

    def received(self, data: bytes, now: int) -> list[Action]:
        """The peer has sent `data`."""
        if self.over or not data:
            return []
        self.now = self._last_ns = now
        self.result.received_bytes += len(data)
        self._silent_from = self._done_ns = None
        if len(self._head) < 64:
            self._head += data[: 64 - len(self._head)]
        self._take(self.voice.hear(data, now))
        return self._go(now)

    def ended(self, how: How, now: int) -> list[Action]:
        """The peer has closed its direction, or reset the connection."""
        if self.over:
            return []
        self.now = now
        self._peer_ended = how
        self._take(self.voice.hear_end(now))
        self._after_end(how)
        return self._flush()

    def woken(self, now: int) -> list[Action]:
        """It is `wake_ns`, or later."""
        return [] if self.over else self._go(now)

    def release(self, now: int) -> list[Action]:
        """Nothing depends on this connection any more: it may end."""
        self.hold = False
        return self.woken(now) if self._opened is not None else []

    def refused(self, reason: str, now: int) -> None:
        """There is no connection, because `reason`."""
        self.now = now
        self.over = True
        self.result.outcome, self.result.reason = Outcome.REFUSED, reason

    def stopped(self, why: Literal["deadline", "interrupted"], now: int) -> list[Action]:
        """It is over from outside. Returns the reset that ends the connection."""
        if self.over:
            return []
        self.now = now
        if self._opened is None:
            self.over = True
            self.result.outcome = Outcome.TIMEOUT if why == "deadline" else Outcome.INCONCLUSIVE
            self.result.reason = "not connected by the deadline" if why == "deadline" else "interrupted"
            return []
        if why == "interrupted":
            self._finish(Outcome.INCONCLUSIVE, "interrupted")
        else:
            self._finish(Outcome.TIMEOUT, f"at the deadline: {self._awaited()}")
        return [Reset()]

    @property
    def wake_ns(self) -> int | None:
        """When to call `woken` at the latest; None: only when something happens."""
        if self.over and not self._outbox:
            return None
        times = [
            time for time in (self._wake, self._outbox[0][0] if self._outbox else None) if time is not None
        ]
        return min(times, default=None)

    @property
    def session_id(self) -> int | None:
        """SPICE: the live session's id, once the main channel has told it."""
        return self.voice.session_id

    def has_sent(self, time_ns: int) -> bool:
        """Whether all that the recording has before capture time `time_ns` is sent, or never will be."""
        script = self.voice.script
        left = script[self._next :] if self._next < len(script) else []
        waiting = bool(left) and self.plan.steps[left[0]].first_ns < time_ns
        return self.over or not (waiting or self.voice.in_handshake)

    # --- the peer's messages

    def _take(self, records: list[Record]) -> None:
        answers: list[Word] = []
        for record in records:
            if isinstance(record, Violation):
                self._violated(record)
            elif isinstance(record, Message):
                self.result.received_messages += 1
                handshake = is_handshake(record)
                if self._peer_ended is not None and record.note and "incomplete" in record.note:
                    self.result.notes.append(f"{record.name}: {record.note}")
                    if not self._was_cut:
                        self._cut_short = record.name
                    continue
                self.comparison.saw(record, handshake)
                answers += self.voice.answers(record)
        for word in answers:
            self._say(word)

    @property
    def _was_cut(self) -> bool:
        """Whether the recorded peer, too, ended in the middle of a message."""
        last = self.plan.expected[-1].message.note if self.plan.expected else None
        return last is not None and "incomplete" in last

    def _violated(self, violation: Violation) -> None:
        if violation.name in self.plan.peer_violations:
            return
        expected, got = "as recorded", violation.why
        answer = recognise(bytes(self._head))
        spoke = self.plan.spoke[self.plan.peer]
        if isinstance(answer, Yes) and answer.protocol != spoke:
            expected, got = TITLES[spoke], TITLES[answer.protocol]
        self.comparison.differ(
            Difference(violation.name, WHOLE, expected, got, 0, 0, b"", bytes(self._head[:32]))
        )

    # --- what to say

    def _go(self, now: int) -> list[Action]:
        self.now = now
        self._wake = None
        if not self.over:
            try:
                while (word := self._word()) is not None:
                    self._say(word)
            except Stuck as stuck:
                self._finish(Outcome.INCONCLUSIVE, str(stuck))
                self._parting = self._parting or Close()
        if not self.over:
            self._conclude()
        return self._flush()

    def _word(self) -> Word | None:
        if self.over or (self.comparison.complete and not self.hold):
            return None
        self._prefix()
        word = self.voice.handshake()
        if word is not None:
            return word if self._may(word.step) else None
        if self.voice.in_handshake or self._next >= len(self.voice.script):
            return None
        number = self.voice.script[self._next]
        if not self._may(number):
            return None
        self._next += 1
        return self.voice.word(number)

    def _may(self, number: int | None) -> bool:
        """Whether step `number` may be sent now; notes when to look again."""
        if number is None:
            return True
        step, options = self.plan.steps[number], self.options
        if options.pace is Pace.ASAP:
            return True
        if options.pace is Pace.RECORDED:
            return self._due(self._schedule(number))
        if self.voice.in_handshake and self.plan.protocol is not None:
            return True  # the live state asks for it
        if not self.comparison.settled(step.after):
            return False
        if not self.comparison.as_many(step.after):
            if not self._due(self._last_ns + self._patience_ns):
                return False
            # Fewer updates are an answer too; the longer that goes on, the less is waited for the next.
            self.comparison.forgive(step.after)
            self._patience_ns = max(options.patience_ns // 8, self._patience_ns // 2)
        if step.gap_ns < SILENCE_NS or self.plan.protocol is not None:
            return True
        if self._ready_ns is None:
            self._ready_ns = self.now
            self._silent_from = self.now
        if not self._due(self._ready_ns + self._capped(step.gap_ns)):
            return False
        self._kept_silent()
        self._ready_ns = None
        return True

    def _kept_silent(self) -> None:
        """A silence that was expected is over; it counts where it was kept."""
        if self._silent_from is not None:
            self.result.compared_silences += 1
        self._silent_from = None

    def _capped(self, ns: int) -> int:
        cap = self.options.idle_cap_ns
        return ns if cap is None else min(ns, cap)

    def _due(self, time_ns: int) -> bool:
        if self.now >= time_ns:
            return True
        self._wake = time_ns if self._wake is None else min(self._wake, time_ns)
        return False

    def _schedule(self, number: int) -> int:
        """When step `number` is due at the recorded pace: pauses over the cap are cut."""
        assert self._opened is not None
        if not self._times:
            saved = 0
            for step in self.plan.steps:
                saved += max(0, step.gap_ns - self._capped(step.gap_ns))
                self._times.append(max(0, step.first_ns - self.plan.start_ns - saved))
        return self._opened + round(self._times[number] / self.options.speed)

    @property
    def _times(self) -> list[int]:
        found: list[int] = self.__dict__.setdefault("_schedule_times", [])
        return found

    def _early_prefix(self) -> tuple[int, int] | None:
        """(bytes, after so much silence) that go out before the greeting, as asked for or as recorded."""
        if self.options.early_prefix_ns is not None:
            return len(PREFIX), self.options.early_prefix_ns
        first = self.plan.steps[0] if self.plan.steps else None
        if (
            self.plan.protocol == "rfb"
            and not self.plan.reversed
            and first is not None
            and first.name == "ProtocolVersion"
            and first.first_ns < first.last_ns
            and self.plan.expected
            and first.first_ns < self.plan.expected[0].message.first_ns
            and len(first.cuts) > 1
        ):
            return first.cuts[1], max(0, first.first_ns - self.plan.start_ns)
        return None

    def _prefix(self) -> None:
        """Send the early part of the version where the peer has been silent for long enough."""
        if self._early is None or self._prefixed or self.plan.played is not Side.CLIENT:
            return
        size, delay = self._early
        assert self._opened is not None
        if self.result.received_bytes or self._said_first:
            self._early = None
        elif self._due(self._opened + delay):
            version = self.plan.steps[0].raw
            self._pending.append(Word("ProtocolVersion prefix", version[:size]))
            self._prefixed = size
            if self.voice.script[:1] == [0] and size >= len(version):
                self._next = 1  # the recorded client had said no more
            self.result.adapted.append(f"{version[:size]!r} sent before the greeting")

    def _say(self, word: Word) -> None:
        self.result.sent_messages += 1
        self._said_first = True
        early = self.voice.say(word, self.now)
        if word.step == 0 and self._prefixed:
            cuts = tuple(cut - self._prefixed for cut in word.cuts if cut >= self._prefixed)
            word = Word(word.name, word.data[self._prefixed :], word.step, (0, *cuts))
            self._prefixed, self._early = 0, None
        self._pending.append(word)
        self._last_ns = self.now
        self._done_ns = None
        if early:
            self._take(early)

    # --- how it ends

    def _conclude(self) -> None:
        """End the replay where everything was said and everything awaited has come."""
        comparison, plan, options = self.comparison, self.plan, self.options
        if comparison.complete:
            if not self.hold:
                self._succeed(f"compared through {options.through}", Close())
            return
        lost = self.voice.lost
        if lost is not None and comparison.differences and not plan.peer_violations:
            self._finish(Outcome.DIFF, f"the live {plan.peer} cannot be read on: {lost}")
            self._parting = self._parting or Close()
            return
        if self._left_to_say() or self._outbox or self._pending:
            return
        if plan.end.half and not self._half_closed:
            self._half_closed = True
            self._parting = HalfClose()
        if not comparison.settled() or plan.end.side is plan.peer or plan.end.half:
            return
        if not comparison.as_many(len(comparison.expected)) and not self._due(
            self._last_ns + options.patience_ns
        ):
            return
        silent = options.silence_ns
        if silent is None:
            understood = plan.protocol is not None or plan.end.silent_ns < SILENCE_NS
            silent = 0 if understood else self._capped(plan.end.silent_ns)
        if self._broken_silence() or comparison.differences:
            silent = 0  # no longer to be kept
        if silent:
            if self._done_ns is None:
                self._done_ns = self._silent_from = self.now
            if not self._due(self._done_ns + silent):
                return
            self._kept_silent()
        if self.hold:
            return
        last = f"after {duration(silent)} of silence" if silent else "as recorded"
        self._succeed(f"answered {last}", Reset() if plan.end.how == "reset" else Close())

    def _left_to_say(self) -> bool:
        return self.voice.handshake_left or (
            not self.voice.in_handshake and self._next < len(self.voice.script)
        )

    def _after_end(self, how: How) -> None:
        """The live peer has ended the connection: is that the recorded end?"""
        plan, comparison = self.plan, self.comparison
        verb = "reset" if how == "reset" else "closed"
        expected = (plan.end.side is plan.peer or plan.end.half) and comparison.settled()
        expected = expected and self._cut_short is None
        if comparison.complete:
            self._succeed(f"compared through {self.options.through}", Close())
        elif self.hold and comparison.settled():
            self._finish(self._end_outcome(how), f"the live {plan.peer} {verb} the main channel too early")
        elif expected:
            self.result.compared_endings += 1
            if plan.end.how != how and not plan.end.half:
                note = f"the recorded {plan.peer} ended by {plan.end.how}, the live one by {how}"
                self.result.notes.append(note)
                if self.options.rules.exact_ending:
                    comparison.differ(Difference("(end)", "how", plan.end.how, how))
            if self._left_to_say() or self._outbox:
                self.result.notes.append(f"the {plan.peer} ended before all was sent")
            self._succeed(f"the {plan.peer} {verb} the connection, as recorded", Close())
        else:
            self._finish(
                self._end_outcome(how), f"the live {plan.peer} {verb} the connection: {self._awaited()}"
            )
        self._outbox.clear()
        self._pending.clear()
        self._parting = self._parting or Close()

    @staticmethod
    def _end_outcome(how: How) -> Outcome:
        return Outcome.RESET if how == "reset" else Outcome.EARLY_CLOSE

    def _awaited(self) -> str:
        """What the replay was waiting for, in words."""
        comparison = self.comparison
        if self._cut_short is not None:
            return f"the rest of {self._cut_short} was still to come from the {self.plan.peer}"
        names = comparison.missing_names()
        if names:
            return f"{names[0]} was still to come from the {self.plan.peer}"
        if self._left_to_say() or self._outbox:
            return f"the {self.plan.played} had not said everything"
        if self.plan.end.side is self.plan.peer:
            return f"the {self.plan.peer} did not end the connection, which it did in the recording"
        return f"the recorded {self.plan.peer} stayed"

    def _broken_silence(self) -> bool:
        """Whether the live peer said something, whatever it was, where the recorded one said nothing."""
        return self.plan.protocol is None and not self.plan.peer_bytes and bool(self._head)

    def _succeed(self, reason: str, parting: Action) -> None:
        result = self.result
        if self._peer_ended is None:
            self._take(self.voice.leave(self.now))
        if self._broken_silence() and not self.comparison.differences:
            got = f"{result.received_bytes} bytes"
            where = Difference("(bytes)", WHOLE, "silence", got, 0, 0, b"", bytes(self._head[:32]))
            self.comparison.differ(where)
        self._count()
        if self.comparison.differences:
            first = self.comparison.differences[0]
            count = len(self.comparison.differences) + self.comparison.differences_not_kept
            more = f" and {count - 1} more" if count > 1 else ""
            field = "" if first.field == WHOLE else f".{first.field}"
            self._finish(Outcome.DIFF, f"{first.message}{field} differs{more}")
        elif not (result.compared_messages or result.compared_silences or result.compared_endings):
            self._finish(Outcome.INCONCLUSIVE, "nothing was compared")
        else:
            self._finish(Outcome.PASS, reason)
        self._parting = parting

    def _finish(self, outcome: Outcome, reason: str) -> None:
        """End it. What came before the end as a difference outweighs how it ended."""
        comparison, result = self.comparison, self.result
        differed = bool(comparison.differences)
        comparison.finish()
        if differed or (outcome is Outcome.PASS and comparison.differences):
            outcome = Outcome.DIFF
        result.outcome, result.reason = outcome, reason
        self.over = True
        self._wake = None
        self._outbox.clear()
        self._pending.clear()
        self._count()

    def _count(self) -> None:
        comparison, result = self.comparison, self.result
        result.compared_messages = comparison.compared
        result.left_over_messages = comparison.left_over
        result.unanswered_messages = comparison.unanswered
        result.differences = comparison.differences
        result.differences_not_kept = comparison.differences_not_kept
        result.unsent_messages = max(0, len(self.voice.script) - self._next)
        result.peer = self.voice.identity()
        for sentence in self.voice.adapted.values():
            if sentence not in result.adapted:
                result.adapted.append(sentence)
        if self._opened is not None:
            result.lasted_ns = self.now - self._opened

    # --- shapes

    def _flush(self) -> list[Action]:
        for piece, gap in self._pieces():
            # `_out_ns` is when the last piece goes out; the first of all goes at once.
            at = max(self.now, self._out_ns + gap) if gap and self._streamed else max(self.now, self._out_ns)
            self._outbox.append((at, piece))
            self._out_ns = at
            self._streamed += len(piece)
        self._pending.clear()
        actions: list[Action] = []
        while self._outbox and self._outbox[0][0] <= self.now:
            data = self._outbox.popleft()[1]
            self.result.sent_bytes += len(data)
            self._last_ns = self.now
            actions.append(Send(data))
        if self._outbox:
            self._wake = self._outbox[0][0] if self._wake is None else min(self._wake, self._outbox[0][0])
        elif self._parting is not None:
            actions.append(self._parting)
            self._parting = None
        elif actions and not self.over and self._wake is None:
            # Everything is out: what follows from that is looked at next time.
            self._wake = self.now
        return actions

    def _pieces(self) -> Iterator[tuple[bytes, int]]:
        """What waits to be sent, cut as the shape says: (bytes, pause before them in ns)."""
        shape = self.options.shape
        data = b"".join(word.data for word in self._pending)
        match shape.kind:
            case "coalesced":
                cuts: set[int] = set()
            case "bytes":
                cuts = set(range(1, len(data)))
            case "split":
                cuts, at = set(), 0
                for size in shape.sizes:
                    at += size
                    if 0 < at - self._streamed < len(data):
                        cuts.add(at - self._streamed)
            case _:
                cuts, at = set(), 0
                for word in self._pending:
                    cuts |= {at + cut for cut in word.cuts if cut < len(word.data)}
                    at += len(word.data)
        gap = shape.gap_ns if shape.kind in ("bytes", "split") else 0
        start = 0
        for end in [*sorted(cuts - {0}), len(data)]:
            if end > start:
                yield data[start:end], gap
                start = end


def _no_prefix(plan: Plan) -> str | None:
    """Why the early prefix cannot be played from `plan`; None where it can."""
    if plan.played is not Side.CLIENT or plan.reversed:
        return "--early-prefix is for the client of a VNC server"
    if plan.spoke[Side.CLIENT] != "rfb" or not plan.steps or not plan.steps[0].raw.startswith(PREFIX):
        spoke = TITLES[plan.spoke[Side.CLIENT]]
        return f"--early-prefix needs a recorded client that speaks RFB; this one spoke {spoke}"
    return None
