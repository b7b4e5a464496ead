# SPDX-License-Identifier: GPL-2.0-or-later
"""A stream that is named but not decoded, in the form of a session."""

from __future__ import annotations

from dissect.stream.arrivals import Pieces
from dissect.stream.records import HEAD_BYTES, NOT_DECODED, Gap, Message, Record
from dissect.stream.side import Side


class OpaqueStream:
    """One side's bytes as runs between gaps, with their first bytes and times; nothing else is kept."""

    def __init__(self, side: Side, protocol: str, title: str) -> None:
        self.side = side
        self.protocol = protocol
        self._note = f"not decoded: {title}"
        self._offset = 0
        self._run: Message | None = None

    def feed(self, side: Side, data: bytes, now: int) -> list[Record]:
        """`data` came next; records come at the end of the run."""
        if self._run is None:
            self._run = Message(
                side, self.protocol, NOT_DECODED, self._offset, 0, b"", now, now, note=self._note
            )
        run = self._run
        run.raw = (run.raw + bytes(data[:HEAD_BYTES]))[:HEAD_BYTES]
        run.size += len(data)
        run.last_ns = max(run.last_ns, now)
        self._offset += len(data)
        return []

    def feed_many(self, side: Side, data: bytes, pieces: Pieces) -> list[Record]:
        """See `Session.feed_many`."""
        for begin, end, now in pieces:
            self.feed(side, data[begin:end], now)
        return []

    def gap(self, side: Side, size: int, now: int) -> list[Record]:
        """`size` bytes were lost here."""
        out = self.end(side, now)
        out.append(Gap(side, self.protocol, self._offset, size, now))
        self._offset += size
        return out

    def end(self, side: Side, now: int) -> list[Record]:
        """No more comes."""
        out: list[Record] = [] if self._run is None else [self._run]
        self._run = None
        return out

    def pending(self, side: Side) -> tuple[int, int | None]:
        """See `Session.pending`."""
        return (self._offset, None) if self._run is None else (self._run.offset, self._run.last_ns)
