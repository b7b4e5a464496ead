# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets one by one: for captures so small that numpy takes longer to import than they take to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dissect.capture.conversations import Conversations, Event
from dissect.capture.files import Capture
from dissect.capture.link import Decoder
from dissect.capture.records import Frame
from dissect.capture.runs import Runs

READ_AHEAD = 1 << 19
"""Bytes that are read from a file at once."""


class Plain:
    """Reads captures into `conversations`, one after the other, and says the same as `bulk.Bulk`."""

    def __init__(self, conversations: Conversations) -> None:
        self.conversations = conversations
        self.began: list[int] = []
        """As in `Bulk`: it is for shares, which this has not."""
        self._decode = Decoder()
        self._runs = Runs(conversations)

    @property
    def count(self) -> int:
        """Conversations opened so far."""
        return self.conversations.count

    def read(
        self,
        capture: Capture,
        *,
        keep: Callable[[Frame], bool] | None = None,
        tick: Callable[[], None] | None = None,
        more: bool = False,
    ) -> Iterator[Event]:
        """All events of a capture but those of its end; the arguments are those of `Bulk.read`."""
        capture.read_ahead(READ_AHEAD)
        for number, frame in enumerate(capture):
            if tick is not None and not number & 1023:
                tick()
            if keep is not None and not keep(frame):
                continue
            segment = self._decode(frame, capture.skipped)
            if segment is not None:
                events = self.conversations.push(segment)
                yield from events
                if events and segment.payload and keep is None:
                    apart = events[-1].conversation.apart
                    followed = self._runs.follow(capture, frame, segment, apart=apart)
                    if followed is not None:
                        yield followed

    def finish(self, capture: Capture, end_ns: int | None = None) -> Iterator[Event]:
        """End everything that is still open; `capture` was the last one."""
        self._decode.finish(capture.skipped)
        yield from self.conversations.finish(end_ns)
