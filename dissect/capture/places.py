# SPDX-License-Identifier: GPL-2.0-or-later
"""Which frame brought which byte: the way back from what was found in a stream to the packets of a file.

A frame is known by its record's offset in the file (`Frame.offset`), which another reading of the same file
finds again. Of a byte that was captured more than once it is the frame whose copy was taken: the first.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dissect.capture.conversations import (
    Bytes,
    Closed,
    Conversation,
    Conversations,
    Event,
    Lost,
    Opened,
    Reset,
)
from dissect.capture.files import Capture
from dissect.capture.link import FIN, SYN, Decoder, Segment
from dissect.capture.records import Frame
from dissect.stream import Side

PENDING: Final = 1 << 15
"""Segments of one side that are remembered while their bytes are not delivered: more than are held back."""

_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


@dataclass(slots=True)
class _Pending:
    """A segment whose bytes have not all been delivered: where it begins (sequence number), and its frame."""

    seq: int
    size: int
    time_ns: int
    frame: int
    cut: bool


@dataclass(slots=True)
class _Way:
    """What one side sent: pieces of its stream by where they begin, and the frames that brought them."""

    position: int = 0
    first_seq: int | None = None
    starts: array[int] = field(default_factory=lambda: array("q"))
    frames: array[int] = field(default_factory=lambda: array("q"))
    pending: list[_Pending] = field(default_factory=list)
    gaps: dict[int, int] = field(default_factory=dict)
    behind: list[int] = field(default_factory=list)  # gaps that want the frame behind them
    fins: list[tuple[int, int]] = field(default_factory=list)  # time, frame
    closed: int | None = None
    reset: int | None = None

    def begins(self, one: _Pending) -> int:
        """The stream offset of a segment, taken as the one nearest to `position`."""
        if self.first_seq is None:
            return self.position
        ahead = (one.seq - self.first_seq - self.position + _HALF) & _MASK
        return self.position + ahead - _HALF

    def take(self, time_ns: int) -> _Pending | None:
        """The segment that the byte at `position` came in, captured at `time_ns`: the first of its copies."""
        for one in self.pending:
            if one.time_ns == time_ns and self.begins(one) <= self.position < self.begins(one) + one.size:
                return one
        return None

    def forget(self) -> None:
        """Drop what has been delivered."""
        self.pending = [one for one in self.pending if self.begins(one) + one.size > self.position]
        if len(self.pending) > PENDING:
            del self.pending[: PENDING // 2]  # what never was to belong to the stream


@dataclass(slots=True)
class Trail:
    """The frames of one conversation, as their offsets in the file.

    Sides are those of the capture: who opened the connection. first, last: its first and latest frame. every:
    all of them, fragments too, where they were asked for.
    """

    first: int
    last: int
    every: array[int] = field(default_factory=lambda: array("q"))
    _ways: dict[Side, _Way] = field(default_factory=lambda: {side: _Way() for side in Side})

    def frame(self, side: Side, offset: int) -> int:
        """The frame that brought a byte of a side's stream; of a lost one that before it."""
        way = self._ways[side]
        index = bisect_right(way.starts, offset) - 1
        return way.frames[index] if index >= 0 else self.first

    def gap(self, side: Side, offset: int) -> int:
        """The frame that shows a gap: the next of that side, the one that was cut, or who acknowledged it."""
        found = self._ways[side].gaps.get(offset)
        return self.frame(side, offset) if found is None else found

    def closed(self, side: Side) -> int | None:
        """The frame with a side's FIN."""
        return self._ways[side].closed

    def reset(self, side: Side) -> int | None:
        """The frame with a side's RST."""
        return self._ways[side].reset


class Places:
    """The trails of conversations. every: keep all frames of each conversation, 8 bytes a frame."""

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._trails: dict[Conversation, Trail] = {}

    def read(self, capture: Capture) -> Iterator[Event]:
        """All events of a capture, as `conversations.read` gives them."""
        conversations = Conversations()
        decoder = Decoder(remember=True)
        for frame in capture:
            segment = decoder(frame, capture.skipped)
            if segment is not None:
                events = conversations.push(segment)
                self._follow(conversations, segment, frame, decoder.earlier, events)
                yield from events
        decoder.finish(capture.skipped)
        for event in conversations.finish(capture.end_ns):
            trail = self._trails.get(event.conversation)
            if trail is not None:
                self._note(event, trail.last)
            yield event

    def take(self, conversation: Conversation) -> Trail:
        """The trail of a conversation that has ended; what it knows of bytes is then forgotten here.

        Packets of its tail that are still to come are added to `every`.
        """
        trail = self._trails.pop(conversation)
        if self._every:
            self._trails[conversation] = Trail(trail.first, trail.last, trail.every)
        return trail

    def _follow(
        self,
        conversations: Conversations,
        segment: Segment,
        frame: Frame,
        earlier: list[Frame],
        events: list[Event],
    ) -> None:
        for event in events:
            if isinstance(event, Opened):
                self._trails[event.conversation] = Trail(frame.offset, frame.offset)
        half = conversations.find(segment.key)
        trail = None if half is None else self._trails.get(half.connection.conversation)
        if half is not None and trail is not None:
            trail.last = frame.offset
            if self._every:
                trail.every.extend(one.offset for one in (*earlier, frame))
            self._heard(trail._ways[half.side], segment, frame)
            for one in (half, half.other):
                if one.stream is not None and one.stream.first_seq is not None:
                    trail._ways[one.side].first_seq = one.stream.first_seq
        for event in events:
            self._note(event, frame.offset)

    @staticmethod
    def _heard(way: _Way, segment: Segment, frame: Frame) -> None:
        if segment.flags & FIN:
            way.fins.append((segment.time_ns, frame.offset))
        size = len(segment.payload) + segment.missing
        if size:
            seq = (segment.seq + bool(segment.flags & SYN)) & _MASK
            way.pending.append(_Pending(seq, size, segment.time_ns, frame.offset, segment.missing > 0))

    def _note(self, event: Event, frame: int) -> None:
        """What an event says; `frame`: the one that it became known with."""
        trail = self._trails.get(event.conversation)
        if trail is None:
            return
        match event:
            case Bytes():
                way = trail._ways[event.side]
                found = way.take(event.time_ns)
                at = frame if found is None else found.frame
                way.starts.append(way.position)
                way.frames.append(at)
                for gap in way.behind:
                    way.gaps[gap] = at
                way.behind.clear()
                way.position += len(event.data)
                way.forget()
            case Lost():
                way = trail._ways[event.side]
                found = way.take(event.time_ns)
                if found is not None and found.cut:
                    way.gaps[way.position] = found.frame
                else:
                    way.gaps[way.position] = frame
                    way.behind.append(way.position)
                way.position += event.size
                way.forget()
            case Closed():
                fins = trail._ways[event.side].fins
                trail._ways[event.side].closed = next((at for ns, at in fins if ns == event.time_ns), frame)
            case Reset():
                trail._ways[event.side].reset = frame
            case _:
                pass
