# SPDX-License-Identifier: GPL-2.0-or-later
"""A session that reads many messages at a time, where nobody is in a hurry.

What comes of a segment costs the less the more is read at once. So where the sides are read independently of
each other (`SpiceSession.apart`) their bytes are kept until there are enough of them. The records are the
same; they are known later, and in batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissect.stream.arrivals import Pieces
from dissect.stream.batch import Batch
from dissect.stream.records import Record
from dissect.stream.side import SIDES, Side

if TYPE_CHECKING:
    from dissect.spice.session import SpiceSession

ENOUGH = 1 << 16
"""Bytes of a side that are read together; there may be more where they come so."""


class Patient:
    """Hears what a session hears; messages in batches are put into `batches`, not among the records."""

    def __init__(self, session: SpiceSession, batches: list[Batch]) -> None:
        self.session = session
        session.batches = batches
        self._waiting = dict.fromkeys(SIDES, 0)
        """Bytes of each side that the session keeps and has not read."""
        self.apart = False
        """Whether bytes wait, and so how those of one side lie to those of the other does not matter."""

    def feed(self, side: Side, data: bytes, now: int) -> list[Record]:
        """See `Session.feed`."""
        if not self.apart:
            records = self.session.feed(side, data, now)
            self.apart = self.session.apart
            return records
        self.keep(side, data, Pieces([len(data)], [now]))
        return self.read_enough()

    def feed_many(self, side: Side, data: bytes, pieces: Pieces) -> list[Record]:
        """See `Session.feed_many`."""
        if not self.apart:
            records = self.session.feed_many(side, data, pieces)
            self.apart = self.session.apart
            return records
        self.keep(side, data, pieces)
        return self.read_enough()

    def gap(self, side: Side, size: int, now: int) -> list[Record]:
        """See `Session.gap`."""
        return [*self.read(), *self.session.gap(side, size, now)]

    def end(self, side: Side, now: int) -> list[Record]:
        """See `Session.end`."""
        return [*self.read(), *self.session.end(side, now)]

    def pending(self, side: Side) -> tuple[int, int | None]:
        """See `Session.pending`."""
        return self.session.pending(side)

    def keep(self, side: Side, data: bytes, pieces: Pieces) -> None:
        """Bytes that wait in any case; only where the sides are apart."""
        self.session.keep(side, data, pieces)
        self._waiting[side] += len(data)

    def read_enough(self) -> list[Record]:
        """Read what waits, where it is enough."""
        return self.read() if max(self._waiting.values()) >= ENOUGH else []

    def read(self) -> list[Record]:
        """Read what waits of both sides: the records of one are told no further than the other is read."""
        if not any(self._waiting.values()):
            return []
        self._waiting = dict.fromkeys(SIDES, 0)
        return self.session.read(Side.CLIENT)
