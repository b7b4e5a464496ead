# SPDX-License-Identifier: GPL-2.0-or-later
"""The server's side, played to clients that connect: one connection, or the channels of a SPICE session.

The socket is the caller's, and listens. Whoever connects beyond what the plans hold is closed at once, and
counted.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import MAIN, Plan
from dissect.replay.player import Action, Options, Player
from dissect.replay.transports import Link, Tape
from dissect.spice import constants as spice_constants
from dissect.stream.records import Message, Record
from dissect.stream.side import Side

LINK_HEAD: Final = 22
"""Bytes of a SpiceLinkMess with its header up to the channel's number: 16, connection_id 4, type 1, id 1."""
PEEK_S: Final = 0.005
"""Pause between two looks at how much of a link message has come."""

How = Literal["close", "reset"]


@dataclass(slots=True)
class Served:
    """What one connection came to. Times are ns; `connected_ns` and the like are since 1970 and monotonic."""

    result: Result
    address: str = ""
    """The client's, "address:port"; "" where nobody connected."""
    connected_ns: int | None = None
    """Monotonic."""
    ended: How | None = None
    """How the client ended the connection; None: the server's side did, or nobody."""
    ended_ns: int | None = None
    """When it did, since it had connected."""
    messages: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name -> how many came, how many were recorded; in the order in which they first came."""


@dataclass(slots=True)
class Session:
    """All that came of serving."""

    served: list[Served] = field(default_factory=list)
    refused: int = 0
    """Connections that no plan was left for; they were closed at once."""


class _ServerPlayer(Player):
    """Notes what the client said, and how and when it left."""

    def __init__(self, plan: Plan, options: Options, *, session_id: int | None, hold: bool) -> None:
        super().__init__(plan, options, session_id=session_id, hold=hold)
        self.client_ended: tuple[How, int] | None = None
        self.heard: Counter[str] = Counter()

    def _take(self, records: list[Record]) -> None:
        self.heard.update(record.name for record in records if isinstance(record, Message))
        super()._take(records)

    def messages(self) -> dict[str, tuple[int, int]]:
        """See `Served.messages`."""
        recorded = Counter(item.message.name for item in self.plan.expected)
        return {name: (self.heard[name], recorded[name]) for name in (*self.heard, *recorded)}

    def ended(self, how: How, now: int) -> list[Action]:
        """See `Player.ended`."""
        if self.client_ended is None:
            self.client_ended = how, now
        # Where the recorded server ended it right after its last word, the two ends race: ours was due first.
        actions = self.woken(now)
        return actions if self.over else [*actions, *super().ended(how, now)]


class Server:
    """Plays `plans`, each to one connection: one plan, or a session with its main channel first.

    options: how. tape: where the live conversations are recorded.
    """

    def __init__(self, plans: Sequence[Plan], options: Options, tape: Tape | None = None) -> None:
        assert all(plan.played is Side.SERVER for plan in plans)
        self.plans, self.options, self.tape = list(plans), options, tape
        self.session = Session()
        self._left = list(plans)
        self._links: set[Link] = set()
        self._main: Link | None = None
        self._players: dict[int, Player] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._why = "no client connected"
        self._stopped = asyncio.Event()

    async def serve(
        self, listening: socket.socket, deadline_s: float, connected: Callable[[], None] = lambda: None
    ) -> Session:
        """Serve until every plan has been played or `deadline_s` is over; `connected` is told of each client.

        Never raises for what a client does. A plan that nobody came for gets a result too.
        """
        until = time.monotonic() + deadline_s
        listening.setblocking(False)
        accepting = asyncio.create_task(self._accept(listening, until, connected))
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.wait({accepting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self._why = "no client connected by the deadline"
        finally:
            for task in (accepting, stopped):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await accepting
            for link in list(self._links):
                link.stop("interrupted" if self._stopped.is_set() else "deadline")
            if self._tasks:
                await asyncio.wait(set(self._tasks))
        for plan in self._left:
            self._missed(plan)
        order = {plan.index: place for place, plan in enumerate(self.plans)}
        self.session.served.sort(key=lambda one: order[one.result.conversation])
        return self.session

    def stop(self, why: str) -> None:
        """End it now: nobody will come any more, because `why`, or somebody has interrupted it."""
        self._why = why
        self._stopped.set()

    @property
    def waiting(self) -> bool:
        """Whether nobody has connected yet."""
        return len(self._left) == len(self.plans)

    # --- connections

    async def _accept(self, listening: socket.socket, until: float, connected: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        all_played = asyncio.Event()
        while True:
            accept = asyncio.create_task(loop.sock_accept(listening))
            done = asyncio.create_task(all_played.wait())
            try:
                await asyncio.wait({accept, done}, return_when=asyncio.FIRST_COMPLETED)
                if not accept.done():
                    return
                sock, address = accept.result()
            except OSError:  # the client has gone before it was accepted, or no descriptor is left
                await asyncio.sleep(PEEK_S)
                continue
            finally:
                for waiting in (accept, done):
                    waiting.cancel()
            now = time.monotonic_ns()
            connected()

            def ended(task: asyncio.Task[None]) -> None:
                self._tasks.discard(task)
                self._let_main_end()
                if not self._left and not self._tasks:
                    all_played.set()

            task = loop.create_task(self._client(sock, address, now, until))
            self._tasks.add(task)
            task.add_done_callback(ended)

    async def _client(self, sock: socket.socket, address: tuple[object, ...], now: int, until: float) -> None:
        with sock:
            sock.setblocking(False)
            plan = await self._plan_for(sock, until)
            if plan is None:
                self.session.refused += 1
                return
            player = _ServerPlayer(
                plan,
                self.options,
                session_id=plan.session_id,
                # Where the client ended main, it is awaited anyway, and may come before the channels' ends.
                hold=len(self.plans) > 1 and plan is self.plans[0] and plan.end.side is not plan.peer,
            )
            result = player.result
            served = Served(result, _words(address), now)
            self.session.served.append(served)
            result.to = served.address
            result.started_ns = time.time_ns() - (time.monotonic_ns() - now)
            if len(self.plans) > 1:
                result.channel = _channel(plan)
            if player.why_not is not None:
                player.refused(player.why_not, now)
                return
            link = Link(player, sock, self.tape, syn_ns=now)
            self._links.add(link)
            if player.hold:
                self._main = link
            try:
                await link.play(max(0.0, until - time.monotonic()))
            finally:
                self._links.discard(link)
                served.messages = player.messages()
                if player.client_ended is not None:
                    served.ended, at = player.client_ended
                    served.ended_ns = at - now

    async def _plan_for(self, sock: socket.socket, until: float) -> Plan | None:
        """The plan that this connection is for: of several, the one of the channel that it asks for."""
        if len(self.plans) == 1:
            return self._left.pop() if self._left else None
        head = b""
        while len(head) < LINK_HEAD and time.monotonic() < until:
            try:
                head = sock.recv(LINK_HEAD, socket.MSG_PEEK)
            except BlockingIOError:
                pass
            except OSError:
                return None
            else:
                if not head:
                    return None
            if len(head) < LINK_HEAD:
                await asyncio.sleep(PEEK_S)
        if len(head) < LINK_HEAD:
            return None
        for plan in self._left:
            if (plan.channel_type, plan.channel_id) == (head[20], head[21]):
                self._left.remove(plan)
                return plan
        return None

    def _let_main_end(self) -> None:
        """Once the channels of a session are played, main need not be kept for them."""
        channels_left = any(plan.channel_type != MAIN for plan in self._left)
        if self._main is not None and not channels_left and self._links <= {self._main}:
            self._main.release()

    def _missed(self, plan: Plan) -> None:
        player = Player(plan, self.options, session_id=plan.session_id)
        result = player.result
        timed_out = self._why.endswith("deadline")
        result.outcome = Outcome.TIMEOUT if timed_out else Outcome.INCONCLUSIVE
        if player.why_not is not None:
            result.outcome, result.reason = Outcome.REFUSED, player.why_not
        elif len(self.plans) > 1:
            result.channel = _channel(plan)
            result.reason = f"no client opened the {result.channel} channel"
        else:
            result.reason = self._why
        result.started_ns = time.time_ns()
        self.session.served.append(Served(result))


def _channel(plan: Plan) -> str:
    kind = plan.channel_type or 0
    return spice_constants.CHANNEL_TYPES.get(kind, f"type {kind}")


def _words(address: tuple[object, ...]) -> str:
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
