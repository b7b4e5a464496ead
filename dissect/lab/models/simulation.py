# SPDX-License-Identifier: GPL-2.0-or-later
"""A client and a server model over a simulated wire, in simulated time: no socket, no clock, no waiting.

Two seconds of silence cost nothing here, and bytes arrive in pieces of exactly the size asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from dissect.lab.models.core import (
    Action,
    Begin,
    Close,
    Conversation,
    Drop,
    HalfClose,
    How,
    Model,
    Open,
    Reset,
    Send,
)
from dissect.lab.models.result import PairResult

LATENCY_NS = 20_000
EVENTS_LIMIT = 5_000_000
"""A simulation with more events than this is an endless loop."""


@dataclass(eq=False)
class _End:
    """One end of a simulated connection."""

    conversation: Conversation
    other: _End | None = None
    gone: bool = False
    """Its socket is closed: what still comes is answered with a reset."""


def simulate(
    client: Model,
    server: Model,
    deadline_s: float,
    *,
    latency_ns: int = LATENCY_NS,
    chunk: int | None = None,
    start_ns: int = 0,
) -> PairResult:
    """Let `client` connect to `server` at `start_ns`; returns what both report, at `deadline_s` the latest.

    chunk: every write arrives in pieces of so many bytes, each by itself; None: as it was written. The same
    settings with a `seed` give the same bytes at the same times (but for RSA keys).
    """
    return _Wire(client, server, latency_ns, chunk, start_ns).run(start_ns + round(deadline_s * 1e9))


class _Wire:
    def __init__(
        self, client: Model, server: Model, latency_ns: int, chunk: int | None, start_ns: int
    ) -> None:
        self.latency_ns, self.chunk, self.now = latency_ns, chunk, start_ns
        self.begin_server: Begin = server.start()
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.numbers = count()
        self.ends: dict[Conversation, _End] = {}
        self.clients: list[Conversation] = []
        self.servers: list[Conversation] = []
        self.at(start_ns, lambda: self.connect(client.start()()))

    def run(self, until: int) -> PairResult:
        handled = 0
        while self.events and self.events[0][0] <= until:
            self.now, _, happen = heapq.heappop(self.events)
            happen()
            handled += 1
            if handled > EVENTS_LIMIT:
                raise RuntimeError(f"{handled} events by {self.now} ns: the models keep each other busy")
        # Where nothing can happen any more, waiting for the deadline changes nothing.
        for conversation in (*self.clients, *self.servers):
            conversation.stopped(until)
        return PairResult(
            tuple(conversation.report for conversation in self.clients),
            tuple(conversation.report for conversation in self.servers),
        )

    def at(self, time_ns: int, happen: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time_ns, next(self.numbers), happen))

    def connect(self, conversation: Conversation) -> None:
        """The client's end stands at once, the server's one latency later."""
        mine, theirs = _End(conversation), _End(self.begin_server())
        mine.other, theirs.other = theirs, mine
        self.clients.append(conversation)
        self.servers.append(theirs.conversation)
        for end in (mine, theirs):
            self.ends[end.conversation] = end
        self.at(
            self.now + self.latency_ns, lambda: self.do(theirs, theirs.conversation.opened(self.now, False))
        )
        self.do(mine, conversation.opened(self.now, True))

    def do(self, end: _End, actions: list[Action]) -> None:
        other = end.other
        assert other is not None
        arrival = self.now + self.latency_ns
        for action in actions:
            match action:
                case Send(data):
                    step = self.chunk or len(data)
                    for start in range(0, len(data), step):
                        self.at(arrival, self._arrive(other, data[start : start + step]))
                case Close() | HalfClose() | Reset() if not end.gone:
                    how = How.RESET if isinstance(action, Reset) else How.CLOSE
                    end.gone = not isinstance(action, HalfClose)
                    self.at(arrival, self._ended(other, how))
                case Open(conversation):
                    self.at(self.now, lambda conversation=conversation: self.connect(conversation))  # type: ignore[misc]
                case Drop(conversation):
                    if conversation in self.ends:
                        self.do(self.ends[conversation], conversation.dropped(self.now))
        wake = end.conversation.wake_ns
        if wake is not None:
            self.at(max(wake, self.now), self._wake(end))

    def _arrive(self, end: _End, data: bytes) -> Callable[[], None]:
        def happen() -> None:
            if not end.gone:
                self.do(end, end.conversation.received(data, self.now))
            elif end.other is not None and not end.other.gone:
                # A closed socket answers with a reset.
                self.at(self.now + self.latency_ns, self._ended(end.other, How.RESET))

        return happen

    def _ended(self, end: _End, how: How) -> Callable[[], None]:
        def happen() -> None:
            if not end.gone:
                end.gone = how is How.RESET
                self.do(end, end.conversation.ended(how, self.now))

        return happen

    def _wake(self, end: _End) -> Callable[[], None]:
        def happen() -> None:
            wake = end.conversation.wake_ns
            if not end.gone and wake is not None and wake <= self.now:
                self.do(end, end.conversation.woken(self.now))

        return happen
