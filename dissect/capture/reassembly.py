# SPDX-License-Identifier: GPL-2.0-or-later
"""One direction of a TCP connection: segments in any order in, bytes in stream order out.

Lost bytes come out as explicit gaps; nothing is ever filled in. Sequence numbers are unwrapped to stream
offsets of any size, so that a wrap is nothing special.

Policies, all of them tested:

- Overlap: the copy that was captured first wins. Where two copies differ, the differing bytes are counted as
  conflicting (against everything that waits, and the last `HISTORY_BYTES` or `HISTORY_PIECES` segments that
  were delivered).
- Times: every byte keeps the capture time of the segment that brought it. After reordering the times of
  successive items may therefore decrease.
- Gap: a hole is given up when the other side has acknowledged what lies beyond it, and `GAP_NS` of capture
  time have passed since; or when more than `HELD_BYTES` or `HELD_SEGMENTS` wait behind it (without that
  acknowledgement, while the other side's ACKs are being captured, more than `HARD_BYTES` or `HARD_SEGMENTS`,
  because then a retransmission must still come); when all streams together hold more than `HELD_BY_ALL`
  bytes and this one is to hold more; and at the end. What arrives for a hole after that is
  counted as late and not delivered.
- Snaplen: bytes that the capture cut off a segment are a gap of known size, at once when it is their turn.
- A segment further than `WINDOW` ahead is believed only when the next one follows on it; until then, and
  if none does, it is counted as outside.
- A FIN ends the stream. Bytes that pretend to lie behind it are counted, not delivered.
- One byte that is known only through an acknowledgement, or through the number of a segment without data,
  is not called lost: it may be a FIN that the capture missed.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, TypeAlias

from dissect.capture.link import FIN, SYN, Segment

GAP_NS: Final = 1_000_000_000
HELD_BYTES: Final = 1 << 20
HELD_SEGMENTS: Final = 256
HARD_BYTES: Final = 16 << 20
HARD_SEGMENTS: Final = 16384
WINDOW: Final = 16 << 20
HISTORY_BYTES: Final = 16 << 10
HISTORY_PIECES: Final = 64

HELD_BY_ALL: Final = 256 << 20

_LOST_KEPT: Final = 64
_ACKS_KEPT: Final = 256
_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


@dataclass(slots=True)
class Data:
    """Bytes next in the stream, and when their segment was captured (ns)."""

    time_ns: int
    data: bytes


@dataclass(slots=True)
class Gap:
    """So many bytes next in the stream were not captured.

    time_ns is when they are known to have been sent: the time of the segment behind them, or of the
    acknowledgement that covers them, or of the very segment whose tail was cut.
    """

    size: int
    time_ns: int


@dataclass(slots=True)
class Fin:
    """The stream ends here; time_ns is when the FIN was captured."""

    time_ns: int


Item: TypeAlias = Data | Gap | Fin


@dataclass(slots=True)
class Counters:
    """What was odd, in segments unless a name says bytes.

    retransmitted: brought at least one byte that had been captured already. late, late_bytes: brought bytes
    of a hole given up. conflicting_bytes: bytes that differ from the copy captured first. keepalives:
    keep-alive and zero-window probes below the next byte. outside: too far from the stream to belong to it.
    after_fin_bytes: lie behind the FIN. early_bytes: lie before the stream's first byte, as where it was
    joined in mid-stream and an older segment is captured later.
    """

    retransmitted: int = 0
    late: int = 0
    late_bytes: int = 0
    conflicting_bytes: int = 0
    keepalives: int = 0
    outside: int = 0
    after_fin_bytes: int = 0
    early_bytes: int = 0


@dataclass(slots=True)
class Pool:
    """How many bytes wait behind holes in all streams that share this."""

    held: int = 0


@dataclass(slots=True)
class _Held:
    """An interval of the stream that waits for what is before it; `data` None where a snaplen cut it off."""

    start: int
    end: int
    data: bytes | None
    time_ns: int


class Direction:
    """What one side of a connection sent.

    `push` takes that side's segments, `acked` the other side's acknowledgements, `finish` says that nothing
    more comes. Each returns what has become known, in stream order: Data, Gap, and Fin once as the last.
    """

    __slots__ = (
        "_ack",
        "_ack_at",
        "_ack_heard",
        "_ack_ns",
        "_ack_seq",
        "_captured",
        "_fin",
        "_firm",
        "_held",
        "_held_bytes",
        "_history",
        "_history_bytes",
        "_joined",
        "_lost",
        "_next_seq",
        "_pool",
        "_seen",
        "_seen_ns",
        "_stray",
        "busy",
        "counters",
        "ended",
        "fin_ns",
        "isn",
        "position",
    )

    def __init__(self, counters: Counters | None = None, pool: Pool | None = None) -> None:
        self.counters: Final = counters if counters is not None else Counters()
        self.position = 0
        """Stream offset of the next byte to deliver: bytes delivered and lost so far."""
        self.ended = False
        """The Fin has been delivered."""
        self.fin_ns: int | None = None
        """When the FIN was captured, whether or not all before it was."""
        self.isn: int | None = None
        """The sequence number of the SYN, where it was captured."""
        self.busy = True
        """Something waits or is not settled yet, so the quick way through `push` is closed."""

        self._next_seq: int | None = None  # the sequence number that belongs to `position`
        self._firm = False  # whether that was told by a SYN or by data, not only guessed
        self._joined = False  # no SYN: the stream's true beginning is not known
        self._held: list[_Held] = []  # disjoint, in order, all at or behind `position`
        self._held_bytes = 0
        self._pool = pool if pool is not None else Pool()
        self._captured = 0  # end of the last interval captured
        self._seen = 0  # end of what is known to have been sent, captured or not
        self._seen_ns = 0
        self._ack = 0  # what the other side has acknowledged, and the times at which it did
        self._ack_heard = False
        self._ack_seq: int | None = None  # the latest as it stood in a segment
        self._ack_at: list[int] = []
        self._ack_ns: list[int] = []
        self._fin: int | None = None  # stream offset of the FIN
        # Lists, for an empty deque takes 600 bytes, and most conversations of a large capture are short.
        self._history: list[tuple[int, bytes]] = []  # delivered lately: (offset, bytes)
        self._history_bytes = 0
        self._lost: list[tuple[int, int]] = []  # holes given up lately
        self._stray: tuple[int, Segment] | None = None  # sequence number behind it, and the segment

    @property
    def first_seq(self) -> int | None:
        """The sequence number of the stream's first byte, None before anything tells it."""
        return None if self._next_seq is None else (self._next_seq - self.position) & _MASK

    def near(self, seq: int, window: int = WINDOW) -> bool:
        """Whether a sequence number can belong to this stream now, give or take `window` bytes."""
        if self._next_seq is None:
            return True
        at = self._offset(seq)
        return self.position - window <= at <= max(self.position, self._captured) + window

    # -- input

    def expect(self, seq: int) -> None:
        """Hint: the first byte of this side has this sequence number, though its SYN was not captured."""
        if self._next_seq is None:
            self._next_seq = seq & _MASK

    def push(self, segment: Segment) -> list[Item]:
        """Take one segment of this side. Segments with RST belong elsewhere, their data is no stream data."""
        if self.take(segment):
            return [Data(segment.time_ns, segment.payload)] if segment.payload else []
        return self._push_any(segment)

    def take(self, segment: Segment) -> bool:
        """The quick way for what is exactly next while nothing waits: True where the segment was such.

        Its payload is then delivered, and the caller has it already; else nothing has happened, and `push`
        is to be called.
        """
        if self.busy or segment.seq != self._next_seq or segment.flags & (SYN | FIN) or segment.missing:
            return False
        payload = segment.payload
        if payload:
            position = self.position
            self._history.append((position, payload))
            self._history_bytes += len(payload)
            if self._history_bytes > HISTORY_BYTES or len(self._history) > HISTORY_PIECES:
                self._forget()
            self._firm = True
            self.position = self._captured = self._seen = position + len(payload)
            self._next_seq = (segment.seq + len(payload)) & _MASK
        return True

    def take_many(self, data: bytes) -> bool:
        """The same for the data of several segments in a row, of which the first is exactly next."""
        if self.busy or self._next_seq is None:
            return False
        tail = data[-HISTORY_BYTES:]
        self._remember(self.position + len(data) - len(tail), tail)
        self._firm = True
        self.position = self._captured = self._seen = self.position + len(data)
        self._next_seq = (self._next_seq + len(data)) & _MASK
        return True

    def has_sent(self, seq: int) -> bool:
        """Whether all below sequence number `seq` has been delivered; only where the stream is at rest."""
        return self._next_seq is not None and self._offset(seq) <= self.position

    def acked(self, ack: int, time_ns: int) -> list[Item]:
        """The other side has acknowledged everything below sequence number `ack`."""
        if ack == self._ack_seq and not self.busy:
            return []
        if self._next_seq is None:
            return []
        self._ack_seq = ack
        self._ack_heard = True
        at = self._offset(ack)
        if self._fin is not None and at > self._fin:
            at = self._fin
        if at > self.position + WINDOW and at > self._captured + WINDOW:
            return []
        if at == 1 and self._joined and not self._firm and not self._seen:
            # The one segment seen so far was a keep-alive, one below the next byte.
            self._next_seq = ack
            return []
        if at > self._ack:
            self._ack = at
            if at > self.position:
                if at > self._seen:
                    self._seen, self._seen_ns = at, time_ns
                    self.busy = True
                if len(self._ack_at) >= _ACKS_KEPT:
                    # Forgetting the oldest makes a hole wait longer, never shorter.
                    del self._ack_at[0], self._ack_ns[0]
                self._ack_at.append(at)
                self._ack_ns.append(time_ns)
        if self._held or self._seen > self.position:
            return self._release(time_ns)
        return []

    def finish(self, time_ns: int) -> list[Item]:
        """Nothing more comes: give up all holes and deliver what waits. time_ns is the time of the end."""
        if self._stray is not None:
            self._stray = None
            self.counters.outside += 1
        return self._release(time_ns, give_up=True)

    @property
    def at_rest(self) -> bool:
        """Nothing waits, nothing is open, and what comes next is known."""
        return not self.busy and self._stray is None and self._next_seq is not None

    @property
    def next_seq(self) -> int:
        """The sequence number of the next byte to deliver; only where the stream is at rest."""
        assert self._next_seq is not None
        return self._next_seq

    def skip(self, size: int) -> None:
        """So many bytes came in order, or again, and were not looked at; only where the stream is at rest."""
        if size:
            self._advance(self.position + size)
            self._captured = self._seen = self.position
            self._history.clear()  # what is remembered must lie right before `position`
            self._history_bytes = 0

    # -- the general way

    def _push_any(self, segment: Segment) -> list[Item]:
        seq = segment.seq
        flags = segment.flags
        payload = segment.payload
        size = len(payload) + segment.missing
        if flags & SYN:
            self.isn = seq
            seq = (seq + 1) & _MASK
            if not self._firm or (not self._captured and not self._seen and self._fin is None):
                # Nothing of the stream was seen: the latest SYN rules (a server may have chosen anew).
                self._rebase(seq)
                self._joined = False
        elif self._next_seq is None:
            self._next_seq = seq
            self._joined = True
        start = self._offset(seq)
        if not self._firm:
            earlier = start < 0 and size > (start == -1)
            if earlier or (start == 1 and size and self._joined and not self._seen):
                # What came first was reordered, or it was a keep-alive: the stream begins here.
                self._rebase(seq)
                start = 0
            if (size and start >= 0) or flags & (SYN | FIN):
                self._firm = True

        probe = start == self.position - 1 and size <= 1 and not flags & (SYN | FIN)
        if probe and not self._known(start, payload):
            self.counters.keepalives += 1
            return self._release(segment.time_ns)

        if start > max(self.position, self._captured, self._ack) + WINDOW:
            stray = self._stray
            self._stray = ((seq + size) & _MASK, segment)
            if stray is None or stray[0] != seq or not size or not stray[1].payload:
                if stray is not None:
                    self.counters.outside += 1
                return self._release(segment.time_ns)
            self._stray = None
            self._insert(self._offset(stray[1].seq), stray[1])
        self._insert(start, segment)
        return self._release(segment.time_ns)

    def _insert(self, start: int, segment: Segment) -> None:
        """Put a segment's bytes where they belong among those that wait."""
        payload = segment.payload
        middle = start + len(payload)
        end = middle + segment.missing
        if segment.flags & FIN and self._fin is None and end >= max(self._captured, self.position):
            self._fin, self.fin_ns = end, segment.time_ns
        if end > self._seen and (self._fin is None or end <= self._fin):
            self._seen, self._seen_ns = end, segment.time_ns
        if self._fin is not None and end > self._fin:
            self.counters.after_fin_bytes += end - max(self._fin, start)
            end = max(self._fin, start)
            middle = min(middle, end)
            payload = payload[: middle - start]
        if end <= start:
            return
        again = False
        if start < self.position:
            again = self._old(start, payload[: self.position - start])
            payload = payload[self.position - start :]
            start = self.position
            middle = max(middle, start)
        if middle > start:
            again |= self._place(start, middle, payload, segment.time_ns)
        if end > middle:
            self._place(middle, end, None, segment.time_ns)
        if end > start and end > self._captured:
            self._captured = end
        if again:
            self.counters.retransmitted += 1

    def _old(self, start: int, data: bytes) -> bool:
        """Bytes below the next one: captured before, lost before, or from before we listened."""
        early = min(len(data), -start) if start < 0 else 0
        if early:
            self.counters.early_bytes += early
            start += early
            data = data[early:]
        end = start + len(data)
        late = sum(max(0, min(end, high) - max(start, low)) for low, high in self._lost)
        if late:
            self.counters.late += 1
            self.counters.late_bytes += late
        self.counters.conflicting_bytes += self._conflicts(start, data)
        return len(data) > late

    def _conflicts(self, start: int, data: bytes) -> int:
        """How many of these bytes differ from those delivered at the same place, as far as remembered."""
        end = start + len(data)
        count = 0
        for at, known in reversed(self._history):
            if at + len(known) <= start:
                break
            low, high = max(at, start), min(at + len(known), end)
            if low < high:
                count += _differing(data[low - start : high - start], known[low - at : high - at])
        return count

    def _known(self, at: int, byte: bytes) -> bool:
        """Whether the byte just below `position` is a true copy of what was there, or fills a hole."""
        if not byte:
            return False
        if self._lost and self._lost[-1][1] == self.position:
            return True
        return bool(self._history) and at >= 0 and self._history[-1][1].endswith(byte)

    def _place(self, start: int, end: int, data: bytes | None, time_ns: int) -> bool:
        """Add what is new of [start, end) to what waits; True where some bytes were there already."""
        held = self._held
        first = index = bisect_left(held, start + 1, key=_end_of)
        again = False
        pieces: list[_Held] = []
        at = start
        while index < len(held) and held[index].start < end:
            other = held[index]
            index += 1
            if at < other.start:
                pieces.append(_piece(start, at, other.start, data, time_ns))
            low, high = max(at, other.start), min(end, other.end)
            if other.data is None and data is not None:
                # Cut off the first time, captured the second.
                if other.start < low:
                    pieces.append(_Held(other.start, low, None, other.time_ns))
                pieces.append(_piece(start, low, high, data, time_ns))
                if high < other.end:
                    pieces.append(_Held(high, other.end, None, other.time_ns))
            else:
                if other.data is not None and data is not None:
                    again = True
                    self.counters.conflicting_bytes += _differing(
                        data[low - start : high - start], other.data[low - other.start : high - other.start]
                    )
                pieces.append(other)
            at = high
        if at < end:
            pieces.append(_piece(start, at, end, data, time_ns))
        before = sum(_size(piece) for piece in held[first:index])
        more = sum(_size(piece) for piece in pieces) - before
        self._held_bytes += more
        self._pool.held += more
        held[first:index] = pieces
        return again

    # -- output

    def _release(self, now: int, *, give_up: bool = False) -> list[Item]:
        """Deliver what is next, declaring the holes that are given up by now."""
        items: list[Item] = []
        while True:
            self._deliver(items)
            if self._held:
                end, known_ns = self._held[0].start, self._held[0].time_ns
            else:
                end, known_ns = self._evidence(), self._seen_ns
            if end <= self.position or not (give_up or self._given_up(end, now)):
                break
            items.append(Gap(end - self.position, known_ns))
            self._lose(self.position, end)
            self._advance(end)
        if self.fin_ns is not None and self._fin == self.position and not self.ended:
            self.ended = True
            items.append(Fin(self.fin_ns))
        if self._ack_at and self._ack_at[0] <= self.position:
            done = bisect_left(self._ack_at, self.position + 1)
            del self._ack_at[:done], self._ack_ns[:done]
        self.busy = bool(self._held) or self._seen > self.position or self._fin is not None
        return items

    def _deliver(self, items: list[Item]) -> None:
        held = self._held
        count = 0
        for piece in held:
            if piece.start != self.position:
                break
            count += 1
            if piece.data is None:
                items.append(Gap(piece.end - piece.start, piece.time_ns))
                self._lose(piece.start, piece.end)
            else:
                items.append(Data(piece.time_ns, piece.data))
                self._held_bytes -= len(piece.data)
                self._pool.held -= len(piece.data)
                self._remember(piece.start, piece.data)
            self._advance(piece.end)
        del held[:count]

    def _lose(self, start: int, end: int) -> None:
        self._lost.append((start, end))
        if len(self._lost) > _LOST_KEPT:
            del self._lost[0]

    def _advance(self, position: int) -> None:
        if self._next_seq is not None:
            self._next_seq = (self._next_seq + position - self.position) & _MASK
        self.position = position

    def _evidence(self) -> int:
        """Up to where bytes are known to have been sent, though nothing behind `position` was captured."""
        if self._fin is not None:
            return self._fin
        if self._seen - max(self._captured, self.position) == 1:
            return self.position  # that one may be a FIN
        return self._seen

    def _given_up(self, end: int, now: int) -> bool:
        if self._held_bytes and self._pool.held > HELD_BY_ALL:
            return True
        acknowledged = bisect_left(self._ack_at, end)
        if acknowledged < len(self._ack_at):
            if now - self._ack_ns[acknowledged] >= GAP_NS:
                return True
        elif self._ack_heard:
            return self._held_bytes > HARD_BYTES or len(self._held) > HARD_SEGMENTS
        return self._held_bytes > HELD_BYTES or len(self._held) > HELD_SEGMENTS

    # -- places

    def _offset(self, seq: int) -> int:
        """The stream offset of a sequence number, taken as the one nearest to `position`."""
        assert self._next_seq is not None
        return self.position + ((seq - self._next_seq + _HALF) & _MASK) - _HALF

    def _rebase(self, seq: int) -> None:
        """The stream begins at `seq`; only while nothing of it has been delivered."""
        if self._next_seq is not None:
            start = self._offset(seq)
            self._ack = max(0, self._ack - start)
            self._seen = max(0, self._seen - start)
            self._ack_at = [max(0, at - start) for at in self._ack_at]
        self._next_seq = seq

    def _remember(self, at: int, data: bytes) -> None:
        self._history.append((at, data))
        self._history_bytes += len(data)
        self._forget()

    def _forget(self) -> None:
        history = self._history
        while len(history) > 1 and (self._history_bytes > HISTORY_BYTES or len(history) > HISTORY_PIECES):
            self._history_bytes -= len(history.pop(0)[1])


def _end_of(piece: _Held) -> int:
    return piece.end


def _size(piece: _Held) -> int:
    return len(piece.data) if piece.data is not None else 0


def _piece(start: int, low: int, high: int, data: bytes | None, time_ns: int) -> _Held:
    """[low, high) of a segment's interval that begins at `start`."""
    return _Held(low, high, None if data is None else data[low - start : high - start], time_ns)


def _differing(one: bytes, other: bytes) -> int:
    if one == other:
        return 0
    return sum(a != b for a, b in zip(one, other, strict=True))
