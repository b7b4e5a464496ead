# SPDX-License-Identifier: GPL-2.0-or-later
"""The client's end of one TCP connection (RFC 9293), as pure code: segments and times in, segments out.

Whoever drives it calls `open`, `receive`, `write`, `close`, `abort` and `poll` with times in nanoseconds,
sends the segments that each returns, and calls `poll` again at `wake_ns`. It differs from a kernel's end
where a plan wants it to: it cuts the stream where the plan says and sends the pieces in the plan's order,
more than once or not at all. What the plan does not speak of is ordinary: acknowledgements at once,
retransmission of the oldest piece that is not acknowledged after a timeout that doubles (RFC 6298, without
measuring), the peer's window.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Final

from dissect.replay.packets.plan import ALWAYS, Handshake, PacketPlan, Piece
from dissect.replay.packets.segments import ACK, FIN, PSH, RST, SYN, Segment

MODULUS: Final = 1 << 32
RETRANSMISSIONS: Final = 8
"""How often one piece, or SYN, is sent again before the peer is taken for gone."""
RTO_LIMIT_NS: Final = 10_000_000_000
REORDER_LIMIT: Final = 1 << 20
"""Bytes kept that came before others that are missing; more are left to the peer's retransmission."""
EVENTS_KEPT: Final = 100_000
DEVIATIONS_KEPT: Final = 1000
LOOK_AHEAD: Final = 64
"""How many planned pieces behind one that cannot go are looked at."""


class State(StrEnum):
    """Where the connection stands."""

    CLOSED = "closed"
    """Not opened yet."""
    OPENING = "opening"
    OPEN = "open"
    OVER = "over"
    """See `Endpoint.ended_by`."""


class EndedBy(StrEnum):
    """Why there is no connection any more."""

    FINS = "fins"
    """Both ends have closed and acknowledged it."""
    PEER_RESET = "peer-reset"
    REFUSED = "refused"
    """The peer has answered SYN with a reset."""
    OUR_RESET = "our-reset"
    NO_ANSWER = "no-answer"
    """The peer acknowledges nothing any more."""


class Why(StrEnum):
    """What a segment was sent for."""

    HANDSHAKE = "handshake"
    PLANNED = "planned"
    UNPLANNED = "unplanned"
    COPY = "copy"
    KEPT_BACK = "kept back"
    """Not sent: the plan says that this transmission gets lost."""
    AGAIN = "again"
    """Retransmitted."""
    ACKNOWLEDGED = "ack"
    """Nothing but an acknowledgement; these are not in the list of events."""
    PROBE = "probe"
    END = "end"


@dataclass(frozen=True, slots=True)
class Event:
    """One segment that we sent or kept back: when, what for, and which bytes of the stream."""

    time_ns: int
    why: Why
    start: int
    end: int
    flags: int
    window: int


@dataclass(slots=True, eq=False)
class _Flight:
    """A piece that was sent and is not acknowledged whole."""

    piece: Piece
    transmissions: int

    @property
    def sequence_end(self) -> int:
        """The offset that acknowledges it: a FIN counts as one byte."""
        return self.piece.end + self.piece.fin


class Endpoint:
    """One connection, opened by us. `initial`: our initial sequence number."""

    def __init__(self, plan: PacketPlan, *, initial: int) -> None:
        self.plan = plan
        self.state = State.CLOSED
        self.ended_by: EndedBy | None = None
        self.peer_closed = False
        """The peer's FIN has come, and all before it."""
        self.events: list[Event] = []
        self.events_left_out = 0
        self.deviations: list[str] = []
        """Where the plan could not be kept, in words."""
        self.never_sent = 0
        """Planned segments before whose bytes the stream has ended."""
        self.wake_ns: int | None = None
        """When `poll` is to be called next; None: only when something else happens."""
        self._initial = initial % MODULUS
        self._stream = bytearray()
        self._queue = deque(plan.pieces)
        self._covered = _union(plan.pieces)
        self._starts = [start for start, _ in self._covered]
        self._loose = 0  # below it, every byte that no piece covers has been sent
        self._top = 0  # end of what was sent so far, FIN included
        self._acked = 0
        self._flights: list[_Flight] = []
        self._end: int | None = None  # offset of our FIN
        self._closing = False
        self._mute = False
        self._peer_window = 0
        self._peer_mss = 536  # RFC 9293, 3.7.1: where the peer announces none
        self._expected = 0  # next sequence number of the peer
        self._early: dict[int, bytes] = {}
        self._peer_fin: int | None = None
        self._received = bytearray()
        self._window = plan.window
        self._retry_ns: int | None = None
        self._retries = 0
        self._stalled_ns: int | None = None
        self._resume_ns: int | None = None
        self._out: list[Segment] = []
        self._bare = False  # the last of them is an ACK and nothing else
        self._now = 0

    # --- what a driver calls

    def open(self, now: int) -> list[Segment]:
        """Begin: SYN."""
        assert self.state is State.CLOSED
        self.state = State.OPENING
        self._now = now
        self._send_syn(Why.HANDSHAKE)
        self._arm()
        return self._leave()

    def write(self, data: bytes) -> None:
        """Bytes that follow in our stream; `poll` sends what the plan lets go."""
        if not self._closing:
            self._stream += data

    def close(self) -> None:
        """Nothing follows in our stream: what the plan still waits for is sent, then FIN; see `poll`."""
        self._closing = True

    def abort(self, now: int) -> list[Segment]:
        """RST, whatever is under way."""
        self._now = now
        if self.state in (State.OPENING, State.OPEN):
            self._send_reset(self._top)
            self._over(EndedBy.OUR_RESET)
        return self._leave()

    def poll(self, now: int) -> list[Segment]:
        """What is due at `now`."""
        self._now = now
        if self.state is State.OPENING:
            self._retry()
        elif self.state is State.OPEN and not self._mute:
            self._pump()
            self._retry()
        return self._leave()

    def receive(self, segment: Segment, now: int) -> list[Segment]:
        """A segment of the peer."""
        self._now = now
        if self.state is State.OPENING:
            if not self._mute:
                self._answered(segment)
        elif self.state is State.OPEN:
            self._more(segment)
        elif self.state is State.OVER and self.ended_by is EndedBy.FINS and segment.flags & FIN:
            self._acknowledge()  # ours was lost
        if self.state is State.OPEN and not self._mute:
            self._pump()
        return self._leave()

    def read(self) -> bytes:
        """Take the peer's bytes that have come, in order."""
        data = bytes(self._received)
        self._received.clear()
        return data

    @property
    def unsent(self) -> int:
        """Bytes of the stream that have not been on their way, not even kept back."""
        return max(0, len(self._stream) - self._contiguous())

    @property
    def unacknowledged(self) -> int:
        """Bytes sent, or kept back, that the peer has not acknowledged."""
        return max(0, min(self._top, len(self._stream)) - self._acked)

    @property
    def fin_sent(self) -> bool:
        """Whether our FIN has been on its way."""
        return self._end is not None

    # --- the handshake

    def _answered(self, segment: Segment) -> None:
        ours = segment.flags & ACK and segment.ack == self._sequence(0)
        if segment.flags & RST:
            if ours:
                self._over(EndedBy.REFUSED)
            return
        if not segment.flags & SYN or not ours:
            return  # not an answer to this SYN: its retransmission will tell
        self._expected = (segment.seq + 1) % MODULUS
        self._peer_window = segment.window
        if segment.mss is not None:
            self._peer_mss = segment.mss
        if self.plan.handshake is Handshake.SILENCE:
            self._mute = True
            self._note("no ACK was sent: the handshake is left half open, so nothing of the stream goes out")
            self._retry_ns = None
            return
        self.state = State.OPEN
        self._retry_ns, self._retries = None, 0
        if self.plan.handshake is Handshake.RST:
            self._send_reset(0)
            self._over(EndedBy.OUR_RESET)
        elif self.plan.handshake is Handshake.FIN:
            self._transmit(_Flight(Piece(0, 0, fin=True), 0), Why.HANDSHAKE)
        else:
            self._emit(ACK, 0, b"", Why.HANDSHAKE)

    def _send_syn(self, why: Why) -> None:
        self._log(why, 0, 0, SYN, self._window)
        self._out.append(Segment(self._initial, 0, SYN, self._window, mss=self.plan.mss))

    # --- what comes

    def _more(self, segment: Segment) -> None:
        shift = _signed(segment.seq - self._expected)
        if segment.flags & RST:
            if 0 <= shift <= self._window or segment.seq == self._expected:
                self._over(EndedBy.PEER_RESET)
            return
        if segment.flags & SYN:
            self._acknowledge()  # SYN-ACK once more: our ACK was lost
            return
        if segment.flags & ACK:
            self._peer_acknowledged(segment)
        size = len(segment.payload)
        if segment.flags & FIN:
            self._peer_fin = (segment.seq + size) % MODULUS
        if size:
            if -size < shift <= 0:
                self._take(segment.payload[-shift:])
            elif 0 < shift <= REORDER_LIMIT and sum(map(len, self._early.values())) < REORDER_LIMIT:
                self._early.setdefault(segment.seq, segment.payload)
        if self._peer_fin is not None and not self.peer_closed and self._peer_fin == self._expected:
            self._expected = (self._expected + 1) % MODULUS
            self.peer_closed = True
        if size or segment.flags & FIN:
            self._acknowledge()
        elif shift < 0:
            self._acknowledge()  # a keepalive or window probe: RFC 9293, 3.10.7.4
        self._finished()

    def _take(self, data: bytes) -> None:
        self._received += data
        self._expected = (self._expected + len(data)) % MODULUS
        while self._early:
            seq = min(self._early, key=lambda seq: _signed(seq - self._expected))
            shift = _signed(seq - self._expected)
            if shift > 0:
                return
            kept = self._early.pop(seq)
            if -shift < len(kept):
                fresh = kept[-shift:]
                self._received += fresh
                self._expected = (self._expected + len(fresh)) % MODULUS

    def _peer_acknowledged(self, segment: Segment) -> None:
        acked = self._acked + _signed(segment.ack - self._sequence(self._acked))
        if acked > self._top:
            return  # for bytes that we have not sent
        if acked >= self._acked:
            self._peer_window = segment.window
        if acked <= self._acked:
            return
        self._acked = acked
        self._flights = [flight for flight in self._flights if flight.sequence_end > acked]
        self._retry_ns, self._retries = None, 0
        self._arm()

    def _finished(self) -> None:
        if self.peer_closed and self._end is not None and self._acked > self._end:
            self._over(EndedBy.FINS)

    # --- what goes

    def _pump(self) -> None:
        """Send whatever the plan, the player's bytes and the peer's window let go now."""
        while self.state is State.OPEN and self._step():
            pass
        if (
            self._closing
            and self.state is State.OPEN
            and self._end is None
            and not self._queue
            and self._loose_span() is None
        ):
            self._transmit(_Flight(Piece(len(self._stream), 0, fin=True), 0), Why.END)
        self._arm()

    def _step(self) -> bool:
        """Send one piece; False where none may go now."""
        piece = self._queue[0] if self._queue else None
        span = self._loose_span()
        if span is not None and (piece is None or span[0] < piece.offset):
            start, end = span
            size = min(end - start, self.plan.cut or self.plan.mss, self._peer_mss, self._room(start))
            if size <= 0:
                return False
            loose = Piece(start, size)
            self._loose = loose.end
            self._transmit(_Flight(loose, 0), Why.UNPLANNED)
            return True
        if piece is None or (self._end is not None and piece.end > self._end):
            return False
        if piece.end > len(self._stream):
            return self._wait_for_bytes(piece)
        self._stalled_ns = None
        if piece.delay_ns:
            if self._resume_ns is None:
                self._resume_ns = self._now + piece.delay_ns
            if self._now < self._resume_ns:
                return False
        room = self._room(piece.offset)
        if room < piece.size:
            # Acknowledgements of what is under way may still open the window.
            if self._flights or not self._peer_window:
                return False
            if room > 0:
                self._split(piece, room, "the peer's window is smaller")
                return True
            return self._instead(piece, "it lies beyond the peer's window")
        self._next()
        self._send_planned(piece)
        return True

    def _wait_for_bytes(self, piece: Piece) -> bool:
        """`piece` is next and its bytes are not there: is there something that goes instead, after a while?

        A player in lockstep gives the bytes of its next message only after the answer to the last one. A plan
        that wants both in one segment, or the later first, would wait for ever.
        """
        part = len(self._stream) - piece.offset
        if part <= 0 and self._other() is None and not self._closing:
            self._stalled_ns = None
            return False
        if self._stalled_ns is None:
            self._stalled_ns = self._now + self.plan.patience_ns
        if self._now < self._stalled_ns and not self._closing:
            return False
        self._stalled_ns = None
        if part > 0:
            self._split(piece, part, f"bytes from {len(self._stream)} on were not there to send")
        elif not self._instead(piece, "its bytes were not there to send"):
            self.never_sent += 1
            self._next()
        return True

    def _other(self) -> int | None:
        """The place in the queue of a piece that could go before the first, or None."""
        for place, piece in enumerate(islice(self._queue, LOOK_AHEAD)):
            if place and piece.size and piece.end <= min(len(self._stream), self._acked + self._peer_window):
                return place
        return None

    def _instead(self, piece: Piece, reason: str) -> bool:
        """Send another piece than `piece`, whose turn it is, if one can go."""
        place = self._other()
        if place is None:
            return False
        self._note(f"{_name(piece)} was not sent before others: {reason}")
        other = self._queue[place]
        del self._queue[place]
        self._send_planned(other)
        return True

    def _split(self, piece: Piece, size: int, reason: str) -> None:
        self._note(f"{_name(piece)} was cut after {size}: {reason}")
        self._queue[0] = replace(
            piece, offset=piece.offset + size, size=piece.size - size, overlap=0, fill=None, delay_ns=0
        )
        self._resume_ns = None
        self._send_planned(replace(piece, size=size, fin=False, rst=False))

    def _next(self) -> None:
        self._queue.popleft()
        self._resume_ns = None

    def _send_planned(self, piece: Piece) -> None:
        if piece.window is not None:
            self._window = piece.window
        flight = _Flight(piece, 0)
        if piece.size or piece.fin:
            self._transmit(flight, Why.PLANNED)
            for _ in range(piece.duplicate):
                self._transmit(flight, Why.COPY)
        elif not piece.rst:
            self._emit(ACK, self._top, b"", Why.PLANNED)  # nothing but the window
        if piece.rst:
            self._send_reset(piece.end)
            self._over(EndedBy.OUR_RESET)

    def _transmit(self, flight: _Flight, why: Why) -> None:
        """Send a piece; the first time it joins those that wait for their acknowledgement."""
        piece = flight.piece
        if flight not in self._flights:
            self._flights.append(flight)
            self._top = max(self._top, flight.sequence_end)
            if piece.fin:
                self._end = piece.end
        if piece.drop == ALWAYS or flight.transmissions < piece.drop:
            self._log(Why.KEPT_BACK, piece.offset, piece.end, FIN if piece.fin else 0, self._window)
        else:
            overlap = 0 if why is Why.AGAIN else piece.overlap
            start = piece.offset - overlap
            payload = bytes(self._stream[start : piece.end])
            if overlap and piece.fill is not None:
                payload = bytes([piece.fill]) * overlap + payload[overlap:]
            flags = ACK | (PSH if payload else 0) | (FIN if piece.fin else 0)
            self._emit(flags, start, payload, why)
        flight.transmissions += 1

    def _room(self, offset: int) -> int:
        """How many bytes from `offset` on the peer's window takes."""
        return self._acked + self._peer_window - offset

    def _loose_span(self) -> tuple[int, int] | None:
        """The next bytes that the player has given, no piece covers, and were not sent: start and end."""
        start = self._loose
        at = bisect_right(self._starts, start) - 1
        while at >= 0 and at < len(self._covered) and self._covered[at][0] <= start < self._covered[at][1]:
            start = self._covered[at][1]
            at += 1
        self._loose = start
        following = bisect_right(self._starts, start)
        end = len(self._stream) if self._end is None else min(self._end, len(self._stream))
        if following < len(self._starts):
            end = min(end, self._starts[following])
        return (start, end) if start < end else None

    def _contiguous(self) -> int:
        """Bytes of the stream up to the first that was not sent yet."""
        pending = min((piece.offset for piece in self._queue), default=len(self._stream))
        span = self._loose_span()
        end = len(self._stream) if self._end is None else self._end
        return min(pending, span[0] if span else end, end)

    # --- time

    def _arm(self) -> None:
        """Start the retransmission timer where something waits for it and it does not run."""
        # A zero window with bytes to send must be asked about: the peer's word that it is open may be lost.
        lost = all(flight.piece.drop == ALWAYS for flight in self._flights)  # as the plan wants it
        waiting = not lost or self.state is State.OPENING or (not self._peer_window and self.unsent)
        if not waiting:
            self._retry_ns = None
        elif self._retry_ns is None:
            self._retry_ns = self._now + min(self.plan.rto_ns << self._retries, RTO_LIMIT_NS)

    def _retry(self) -> None:
        if self._retry_ns is None or self._now < self._retry_ns or self.state is State.OVER:
            return
        self._retry_ns = None
        sendable = [flight for flight in self._flights if flight.piece.drop != ALWAYS]
        if self._retries >= RETRANSMISSIONS and (sendable or self.state is State.OPENING):
            self._over(EndedBy.NO_ANSWER)
            return
        self._retries = min(self._retries + 1, RETRANSMISSIONS)
        if self.state is State.OPENING:
            self._send_syn(Why.AGAIN)
        elif sendable:
            self._transmit(min(sendable, key=lambda flight: flight.piece.offset), Why.AGAIN)
        else:
            self._emit(ACK, self._acked - 1, b"", Why.PROBE)
        self._arm()

    # --- the segments themselves

    def _sequence(self, offset: int) -> int:
        return (self._initial + 1 + offset) % MODULUS

    def _acknowledge(self) -> None:
        self._emit(ACK, self._top, b"", Why.ACKNOWLEDGED)

    def _emit(self, flags: int, offset: int, payload: bytes, why: Why) -> None:
        # One ACK is enough for what came together, and a segment with bytes is an ACK as well.
        if self._bare:
            self._out.pop()
        self._bare = why is Why.ACKNOWLEDGED
        self._log(why, offset, offset + len(payload), flags, self._window)
        self._out.append(Segment(self._sequence(offset), self._expected, flags, self._window, payload))

    def _send_reset(self, offset: int) -> None:
        if self.state is State.OPEN:
            self._emit(RST | ACK, offset, b"", Why.END)
        else:
            self._log(Why.END, offset, offset, RST, 0)
            self._out.append(Segment(self._sequence(0), 0, RST, 0))

    def _over(self, by: EndedBy) -> None:
        self.state, self.ended_by = State.OVER, by
        self._retry_ns = None

    def _leave(self) -> list[Segment]:
        times = [
            time
            for time in (self._retry_ns, self._stalled_ns, self._resume_ns)
            if time is not None and self.state is not State.OVER
        ]
        self.wake_ns = min(times, default=None)
        out, self._out, self._bare = self._out, [], False
        return out

    def _log(self, why: Why, start: int, end: int, flags: int, window: int) -> None:
        if why is Why.ACKNOWLEDGED:
            return
        if len(self.events) < EVENTS_KEPT:
            self.events.append(Event(self._now, why, start, end, flags, window))
        else:
            self.events_left_out += 1

    def _note(self, text: str) -> None:
        if len(self.deviations) < DEVIATIONS_KEPT:
            self.deviations.append(text)


def _name(piece: Piece) -> str:
    return f"the segment of bytes {piece.offset} to {piece.end}"


def _signed(difference: int) -> int:
    """A difference of two sequence numbers, the short way round (RFC 9293, 3.4)."""
    return (difference + (MODULUS >> 1)) % MODULUS - (MODULUS >> 1)


def _union(pieces: tuple[Piece, ...]) -> list[tuple[int, int]]:
    """The bytes that some piece covers, as spans in order that do not touch."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted((piece.offset, piece.end) for piece in pieces if piece.size):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans
