# SPDX-License-Identifier: GPL-2.0-or-later
"""Segments of both sides by turns, taken together without numpy.

Where it does not matter how the bytes of one side lie to those of the other (`Conversation.apart`), a few
segments there and an acknowledgement back need not end a run. `ByTurns` looks at the records behind a segment
and takes what both sides sent as one `Exchange`. As in `runs` there is one description of TCP, and it is not
here: what is taken is what `Conversations.push_both` says is next on either side and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dissect.capture.conversations import Conversations, Exchange, Sent, Turns
from dissect.capture.files import Capture, Frame
from dissect.capture.link import Segment
from dissect.capture.runs import HALF, MASK, MOST_BYTES, PAUSE, PLAIN, Wanted, walk
from dissect.stream.arrivals import Pieces

LEAST: Final = 3
"""Segments; fewer are not worth being taken together."""

ONE_WAY: Final = 16
"""Segments of one side in a row, which are left to `runs`: it is quicker with them."""


@dataclass(slots=True)
class _Side:
    """What one side sent so far: its next sequence number, the last one it acknowledged."""

    seq: int
    next_seq: int
    ack: int | None = None
    parts: list[memoryview] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    size: int = 0

    def sent(self) -> Sent:
        return Sent(self.seq, b"".join(self.parts), Pieces(self.ends, self.times), self.ack)


@dataclass(slots=True)
class _Found:
    """What both sides sent, where the next record begins in the buffer, the first and last time of any."""

    turns: Turns
    position: int
    first_ns: int


class ByTurns:
    """Takes what both sides sent into `conversations`."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._pause = 0

    def follow(self, capture: Capture, frame: Frame, segment: Segment) -> Exchange | None:
        """What follows a segment that was just taken; None where nothing could be taken.

        frame: that which the segment came in. `capture` goes on behind what is taken.
        """
        if self._pause:
            self._pause -= 1
            return None
        found = _scan(capture, frame, segment)
        if found is None:
            return None
        exchange = self._conversations.push_both(found.turns)
        if exchange is None:
            self._pause = PAUSE
            return None
        capture.took(found.turns.packets, found.position, found.first_ns, found.turns.last_ns)
        return exchange


def _scan(capture: Capture, frame: Frame, segment: Segment) -> _Found | None:
    """What follows a segment, as far as it is in the buffer. frame: that which the segment came in."""
    found = Wanted.behind(capture, frame, segment)
    if found is None:
        return None
    wanted, layout = found
    next_seq = (segment.seq + len(segment.payload)) & MASK
    sides = [_Side(next_seq, next_seq)]
    buffer = layout.buffer
    view = memoryview(buffer)
    times: list[int] = []
    total, position = 0, layout.position
    latest = row = 0
    for start, captured, time_ns, after in walk(layout, frame.linktype, position):
        head = wanted.read(buffer, start, captured)
        if head is None or total >= MOST_BYTES:
            break
        of_sender, seq, acked, flags, begin, stop = head
        if flags not in PLAIN:
            break
        way = 0 if of_sender else 1
        if way == len(sides):
            sides.append(_Side(seq, seq))
        mine = sides[way]
        # Each is next, and acknowledges no more than there was.
        if seq != mine.next_seq:
            break
        if len(sides) == 1:
            if acked != segment.ack:
                break
        elif (sides[1 - way].next_seq - acked) & MASK > HALF:
            break
        mine.ack = acked
        if begin < stop:
            mine.parts.append(view[begin:stop])
            mine.size += stop - begin
            mine.ends.append(mine.size)
            mine.times.append(time_ns)
            mine.next_seq = (seq + stop - begin) & MASK
            total += stop - begin
            row = row + 1 if way == latest else 1
            latest = way
        times.append(time_ns)
        position = after
        if row == ONE_WAY:
            break
    if len(times) < LEAST or not total or len(times) == row:
        return None
    if len(sides) == 1:
        sides.append(_Side(0, 0))
    forth, back = (side.sent() for side in sides)
    turns = Turns(segment.key, forth, back, segment.ack, len(times), max(times))
    return _Found(turns, position, min(times))
