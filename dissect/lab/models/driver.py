# SPDX-License-Identifier: GPL-2.0-or-later
"""Model peers on real sockets, on loopback only: the one place here with a socket and a clock.

One asyncio loop drives any number of conversations; nothing in it waits for a peer. For programs that are not
written for asyncio, `serving` and `meet` run a loop of their own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self, cast

from dissect.lab.errors import LabError
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
    Report,
    Reset,
    Send,
)
from dissect.lab.models.result import PairResult
from dissect.lab.ports import is_loopback

BACKLOG = 4096
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
SETTLE_S = 2.0
"""How long a loop is given to let go of its sockets once everything is stopped."""

Recording = Callable[[str, int], AbstractContextManager[Any]]
"""Given the server's host and port, a context in which the conversation is recorded.

Entering it may give an object with `host` and `port`, to which the client connects then: a relay. One without
`host` stands beside. See `through` and `beside`.
"""


def through(path: str, **options: Any) -> Recording:
    """Record to the pcapng file `path` through a relay; `options` as of `RelayRecorder`."""
    from dissect.lab.record import RelayRecorder

    return lambda host, port: RelayRecorder((host, port), path, host=host, **options)


def beside(path: str, **options: Any) -> Recording:
    """Record to the pcapng file `path` on the wire; `options` as of `WireRecorder` (needs CAP_NET_RAW)."""
    from dissect.lab.record import WireRecorder

    return lambda host, port: WireRecorder(port, path, **options)


class _Link(asyncio.Protocol):
    """One socket and its conversation."""

    def __init__(self, hub: _Hub, conversation: Conversation, by_me: bool) -> None:
        self.hub, self.conversation, self.by_me = hub, conversation, by_me
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.hub.links[self.conversation] = self
        self.run(lambda now: self.conversation.opened(now, self.by_me))

    def data_received(self, data: bytes) -> None:
        self.run(lambda now: self.conversation.received(data, now))

    def eof_received(self) -> bool:
        self.run(lambda now: self.conversation.ended(How.CLOSE, now))
        return True  # whether to close too is for the model to say

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.run(lambda now: self.conversation.ended(How.RESET, now))
        self.conversation.stopped(time.monotonic_ns())
        if self.timer is not None:
            self.timer.cancel()
        self.hub.lost(self)

    def pause_writing(self) -> None:
        self.conversation.blocked(True)

    def resume_writing(self) -> None:
        self.conversation.blocked(False)
        self.run(self.conversation.woken)

    def run(self, step: Callable[[int], list[Action]]) -> None:
        """Take one step of the conversation now and do what it says."""
        try:
            actions = step(time.monotonic_ns())
        except Exception as failure:
            # A fault of the model: it must not pass for something that the peer did.
            self.conversation.report.failure = failure
            self.abort()
            return
        for action in actions:
            self.do(action)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        wake = self.conversation.wake_ns
        if wake is not None:
            delay = max(0, wake - time.monotonic_ns()) / 1e9
            self.timer = self.hub.loop.call_later(delay, self.run, self.conversation.woken)

    def do(self, action: Action) -> None:
        transport = self.transport
        assert transport is not None
        match action:
            case Send(data):
                if not transport.is_closing():
                    transport.write(data)
            case Close():
                transport.close()
            case HalfClose():
                if transport.can_write_eof() and not transport.is_closing():
                    transport.write_eof()
            case Reset():
                self.reset()
            case Open(conversation):
                self.hub.open(conversation)
            case Drop(conversation):
                other = self.hub.links.get(conversation)
                if other is not None:
                    other.run(conversation.dropped)

    def reset(self) -> None:
        assert self.transport is not None
        raw = self.transport.get_extra_info("socket")
        if raw is not None and not self.transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        self.conversation.stopped(time.monotonic_ns())


class _Hub:
    """The connections of one run of a model."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.loop = asyncio.get_running_loop()
        self.host, self.port = address
        self.conversations: list[Conversation] = []
        self.links: dict[Conversation, _Link] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()

    @property
    def reports(self) -> tuple[Report, ...]:
        """One report a connection, in the order in which they were begun."""
        return tuple(conversation.report for conversation in self.conversations)

    @property
    def idle(self) -> bool:
        """Whether no connection stands or is being made."""
        return not self.links and not self.tasks

    def open(self, conversation: Conversation) -> None:
        """Connect for `conversation`."""
        self.conversations.append(conversation)
        task = self.loop.create_task(self._connect(conversation))
        self.tasks.add(task)
        task.add_done_callback(self._connected)

    async def _connect(self, conversation: Conversation) -> None:
        try:
            await self.loop.create_connection(lambda: _Link(self, conversation, True), self.host, self.port)
        except OSError:
            conversation.refused(time.monotonic_ns())

    def _connected(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.changed.set()

    def lost(self, link: _Link) -> None:
        self.links.pop(link.conversation, None)
        self.changed.set()

    async def wait(self, true: Callable[[], bool]) -> None:
        """Wait until `true()`, asked whenever a connection is gone."""
        while not true():
            self.changed.clear()
            await self.changed.wait()

    async def stop(self) -> None:
        """Abort every connection and return when all sockets are closed."""
        for task in list(self.tasks):
            task.cancel()
        for link in list(self.links.values()):
            link.abort()
        try:
            async with asyncio.timeout(SETTLE_S):
                await self.wait(lambda: self.idle)
        except TimeoutError:
            raise LabError("a model peer's sockets did not close") from None


class Served:
    """A model that listens. `host` and `port` say where; `reports` holds one report a connection."""

    def __init__(self, hub: _Hub, server: asyncio.Server) -> None:
        self._hub, self._server = hub, server
        self.host, self.port = hub.host, hub.port

    @property
    def reports(self) -> tuple[Report, ...]:
        """What happened on each connection so far, in the order in which they came."""
        return self._hub.reports

    @property
    def idle(self) -> bool:
        """Whether nobody is connected now."""
        return self._hub.idle

    @property
    def connections(self) -> int:
        """How many are connected now."""
        return len(self._hub.links)

    async def wait_for(self, count: int) -> None:
        """Wait until `count` connections have come and all are gone."""
        await self._hub.wait(lambda: len(self.reports) >= count and self._hub.idle)

    async def close(self) -> None:
        """Stop listening and abort what is connected. Call it again freely."""
        self._server.close()
        await self._hub.stop()
        raise_failure(self.reports)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class Connected:
    """A model that has connected, or is about to."""

    def __init__(self, hub: _Hub) -> None:
        self._hub = hub

    @property
    def report(self) -> Report:
        """What happened on the first connection."""
        return self._hub.reports[0]

    @property
    def reports(self) -> tuple[Report, ...]:
        """The same for all its connections: a SPICE client opens several."""
        return self._hub.reports

    async def wait(self) -> None:
        """Wait until all its connections are over."""
        await self._hub.wait(lambda: self._hub.idle)

    async def close(self) -> None:
        """Abort what is still connected. Call it again freely."""
        await self._hub.stop()
        raise_failure(self.reports)


async def serve(model: Model, host: str = "127.0.0.1", port: int = 0) -> Served:
    """Let `model` listen on `host`, a loopback address; port 0: a free one. Raises LabError, OSError."""
    _loopback_only(host)
    loop = asyncio.get_running_loop()
    begin: Begin = model.start()
    hub = _Hub((host, port))

    def accept() -> _Link:
        conversation = begin()
        hub.conversations.append(conversation)
        return _Link(hub, conversation, False)

    server = await loop.create_server(accept, host, port, backlog=BACKLOG)
    hub.port = server.sockets[0].getsockname()[1]
    return Served(hub, server)


async def connect(model: Model, host: str, port: int) -> Connected:
    """Let `model` connect to `host`:`port` on loopback; returns at once. Raises LabError.

    A refused connection is not an error but an ending, in the report.
    """
    _loopback_only(host)
    hub = _Hub((host, port))
    hub.open(model.start()())
    return Connected(hub)


async def pair(
    client: Model,
    server: Model,
    deadline_s: float,
    *,
    host: str = "127.0.0.1",
    recording: Recording | None = None,
) -> PairResult:
    """Let `client` connect to `server` and wait until all connections are over, `deadline_s` at the most.

    recording: see `through` and `beside`; it ends before anything is torn down. What is open at the deadline
    is aborted after that, and neither side's report calls that an ending. Raises LabError.
    """
    served = await serve(server, host)
    connected: Connected | None = None
    try:
        context = nullcontext() if recording is None else recording(host, served.port)
        with context as recorder:
            to = getattr(recorder, "port", served.port) if hasattr(recorder, "host") else served.port
            connected = await connect(client, host, to)
            try:
                async with asyncio.timeout(deadline_s):
                    await connected.wait()
                    reached = sum(report.opened_ns is not None for report in connected.reports)
                    await served.wait_for(reached)
                await asyncio.to_thread(_let_finish, recorder)
            except TimeoutError:
                pass
    finally:
        if connected is not None:
            await connected.close()
        await served.close()
    return PairResult(connected.reports, served.reports)


def _let_finish(recorder: object) -> None:
    """Wait until a recorder has seen the end that both models have seen: it reads in a thread of its own."""
    from dissect.lab.recorder import Recorder

    if isinstance(recorder, Recorder):
        recorder.wait(SETTLE_S, connect_s=0.2, grace_s=0.02)


def run_pair(
    client: Model,
    server: Model,
    deadline_s: float,
    *,
    host: str = "127.0.0.1",
    recording: Recording | None = None,
) -> PairResult:
    """`pair`, for callers without an event loop."""
    return asyncio.run(pair(client, server, deadline_s, host=host, recording=recording))


def meet(model: Model, host: str, port: int, deadline_s: float) -> PairResult:
    """Let client `model` talk to whatever listens on `host`:`port`, `deadline_s` at the most."""

    async def go() -> PairResult:
        connected = await connect(model, host, port)
        try:
            async with asyncio.timeout(deadline_s):
                await connected.wait()
        except TimeoutError:
            pass
        finally:
            await connected.close()
        return PairResult(connected.reports, ())

    return asyncio.run(go())


class Background:
    """A model that listens in a thread of its own, for callers without an event loop. See `serving`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, served: Served) -> None:
        self._loop, self._served = loop, served
        self.host, self.port = served.host, served.port

    @property
    def reports(self) -> tuple[Report, ...]:
        """One a connection; those of open connections are still growing."""
        return self._served.reports

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until `count` connections have come and all are gone; False after `timeout_s`."""

        async def go() -> bool:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._served.wait_for(count)
            except TimeoutError:
                return False
            return True

        return asyncio.run_coroutine_threadsafe(go(), self._loop).result()


@contextmanager
def serving(model: Model, host: str = "127.0.0.1", port: int = 0) -> Iterator[Background]:
    """Let `model` listen as long as the `with` block lasts; then what is connected is aborted."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=f"model {type(model).__name__}", daemon=True)
    thread.start()
    served: Served | None = None
    try:
        served = asyncio.run_coroutine_threadsafe(serve(model, host, port), loop).result()
        yield Background(loop, served)
    finally:
        try:
            if served is not None:
                asyncio.run_coroutine_threadsafe(served.close(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def raise_failure(reports: tuple[Report, ...]) -> None:
    """Raise LabError where a model itself has failed: nothing it reports can be trusted then."""
    for report in reports:
        if report.failure is not None:
            kind = type(report.failure).__name__
            raise LabError(f"{report.model} failed: {kind}: {report.failure}") from report.failure


def _loopback_only(host: str) -> None:
    if not is_loopback(host):
        raise LabError(f"{host} is not a loopback address; models use no other")
