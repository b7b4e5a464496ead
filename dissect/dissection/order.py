# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which the records of a conversation are told: by time, each side's as its stream has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from dissect.stream.batch import Batch
from dissect.stream.records import Message, Record
from dissect.stream.side import SIDES, Side

HELD_BYTES = 16 << 20
"""Bytes of records that are held back at most while an earlier one may still come."""

RECORD_COST = 512
"""Bytes that a record is taken to cost besides what it holds."""

NEVER = 1 << 80


def chronological(records: Iterable[Record]) -> list[Record]:
    """Records of both sides by the time of their last byte, each side's in the order of its stream.

    A side's record is not placed before the one that precedes it in the stream, though reordered segments
    may have brought its bytes earlier.
    """
    latest: dict[Side, int] = dict.fromkeys(SIDES, 0)
    placed: list[tuple[int, int, Record]] = []
    for side in SIDES:
        mine = [record for record in records if record.side is side]
        # Stable: a violation stays behind the message it is about.
        for index, record in enumerate(sorted(mine, key=lambda record: record.offset)):
            latest[side] = max(latest[side], record.time_ns)
            placed.append((latest[side], index, record))
    return [record for _, _, record in sorted(placed, key=lambda item: item[0])]


class Order:
    """Records of one conversation in, as they become known; the same out in the order of `chronological`.

    A record is given out as soon as no earlier one can come any more. Two things come later than their time:
    what follows lost bytes, whose loss is known only later, comes when it is known; and at most `HELD_BYTES`
    are held back, so where a side has a message that stays open for longer (a run that is not decoded), the
    other side's records go first.

    A batch counts as its messages, and comes out in as few parts as that order allows.
    """

    def __init__(self) -> None:
        self._queues: dict[Side, deque[Record | Batch]] = {side: deque() for side in SIDES}
        self._latest: dict[Side, int] = dict.fromkeys(SIDES, 0)
        self._held = 0

    def __bool__(self) -> bool:
        """Whether there are records that were not given out."""
        return self._held > 0

    def add(self, records: Iterable[Record | Batch]) -> None:
        """Take what became known; of batches what is left here is cut off as they are given out."""
        for record in records:  # mostly there are none
            queue = self._queues[record.side]
            self._held += _cost(record)
            # Only a violation is known before the run in which it lies; batches are told by themselves.
            at = len(queue)
            while at and queue[at - 1].offset > record.offset:
                at -= 1
            queue.insert(at, record)

    def ready(self, pending: dict[Side, tuple[int, int]]) -> Iterator[Record | Batch]:
        """The records that are next for certain.

        pending: for each side, where in its stream the next record that is still to come begins at the
        earliest, and the earliest time (ns) that it can have.
        """
        client, server = Side.CLIENT, Side.SERVER
        client_ns, client_known = self._next(client, *pending[client])
        server_ns, server_known = self._next(server, *pending[server])
        while self._held:
            until = None
            if client_known and client_ns <= server_ns:
                side, until = client, server_ns
            elif server_known and server_ns < client_ns:
                side, until = server, client_ns - 1
            elif self._held > HELD_BYTES:
                first = client if client_known and (client_ns <= server_ns or not server_known) else server
                side = first if self._queues[first] else first.other
            else:
                break
            yield self._pop(side, until)
            # What is next of the other side is so still.
            if side is client:
                client_ns, client_known = self._next(client, *pending[client])
            else:
                server_ns, server_known = self._next(server, *pending[server])

    def rest(self) -> Iterator[Record | Batch]:
        """All that is left, once the conversation has ended."""
        yield from self.ready(dict.fromkeys(SIDES, (NEVER, NEVER)))

    def _next(self, side: Side, position: int, earliest_ns: int) -> tuple[int, bool]:
        """The time of the side's next record, or the earliest it can have, and whether it is in the queue."""
        queue = self._queues[side]
        if queue and queue[0].offset <= position:
            return max(self._latest[side], queue[0].time_ns), True
        return max(self._latest[side], earliest_ns), False

    def _pop(self, side: Side, until_ns: int | None) -> Record | Batch:
        """The side's next record; of a batch what comes by then, or (None) its first message."""
        queue = self._queues[side]
        record = queue[0]
        if isinstance(record, Batch):
            count = 1 if until_ns is None else record.by(until_ns)
            if count < len(record):
                record = record.take(count)
            else:
                queue.popleft()
            last_ns = record.last_ns
        else:
            queue.popleft()
            last_ns = record.time_ns
        self._latest[side] = max(self._latest[side], last_ns)
        self._held -= _cost(record)
        return record


def _cost(record: Record | Batch) -> int:
    if isinstance(record, Batch):
        return RECORD_COST * len(record) + record.size
    return RECORD_COST + (len(record.raw) if isinstance(record, Message) else 0)
