# SPDX-License-Identifier: GPL-2.0-or-later
"""Players on segments of our own: a `Carrier` beside `transports.Sockets`, one TUN device for all links."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, cast

from dissect.capture import PcapngWriter
from dissect.replay.outcome import Outcome, Result
from dissect.replay.packets.device import PacketsUnavailable, Tun, is_local
from dissect.replay.packets.endpoint import EndedBy, Endpoint, Event, State, Why
from dissect.replay.packets.plan import PacketPlan, as_recorded
from dissect.replay.packets.segments import Path, Segment, from_packet, to_packet
from dissect.replay.player import Action, Close, HalfClose, Player, Reset, Send
from dissect.replay.transports import Link, Target
from dissect.stream.side import Side

LINGER_S: Final = 1.0
"""How long a connection that we have closed is given to close in good order; then it is reset."""
AT_ONCE: Final = 64
"""Packets that are read at a time."""
FIRST_PORT: Final = 1024


class Packets:
    """Connects to `target`, which is resolved, with segments of our own, once for each player.

    plan: what is on the wire; None: the segments of each player's own recording. record: gets every packet
    of both sides as it was on the device, and is closed with it. Raises PacketsUnavailable where packets
    cannot be had here, or cannot reach the target. `close` it, or use it in a `with` block; the device ends
    with the process at the latest.
    """

    def __init__(
        self, target: Target, plan: PacketPlan | None = None, record: PcapngWriter | None = None
    ) -> None:
        self.target, self.plan, self.record = target, plan, record
        self.events: list[tuple[Event, ...]] = []
        """What each connection that has ended had sent, in the order in which they ended."""
        self.address, self.port = _reachable(target)
        self.tun = Tun.open(to_loopback=self.address.startswith("127."))
        # Scapy takes longer to import than the first segment may take: not while somebody waits for it.
        to_packet(Segment(0, 0, 0, 0), Path(self.tun.address, 1, self.address, self.port))
        self.most_open = 0
        """The most connections that were open at once."""
        self._links: dict[int, _Link] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offset = time.time_ns() - time.monotonic_ns()

    async def play(
        self, player: Player, deadline_s: float, linked: Callable[[Link], None] = lambda link: None
    ) -> Result:
        """See `transports.Carrier`. `linked` is given the link once the connection stands."""
        result = player.result
        result.to, result.started_ns = self.target.text, time.time_ns()
        if player.why_not is None and player.plan.played is not Side.CLIENT:
            player.why_not = "segments of our own play the client's side only"
        if player.why_not is not None:
            player.refused(player.why_not, time.monotonic_ns())
            return result
        self._listen()
        plan = as_recorded(player.plan.segments) if self.plan is None else self.plan
        port = self._free_port()
        link = self._links[port] = _Link(self, player, plan, port, linked)
        self.most_open = max(self.most_open, len(self._links))
        try:
            await link.play(deadline_s)
        finally:
            del self._links[port]
            self.events.append(tuple(link.endpoint.events))
        return result

    def interrupt(self) -> None:
        """End all that is connected now, as interrupted."""
        for link in list(self._links.values()):
            link.stop("interrupted")

    def close(self) -> None:
        """Remove the device. Call it again freely."""
        if self._loop is not None and self.tun.fd >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self.tun.fd)
        self._loop = None
        self.tun.close()
        if self.record is not None:
            self.record.close(time.monotonic_ns() + self._offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the device

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            loop.add_reader(self.tun.fd, self._readable)
            self._loop = loop

    def _free_port(self) -> int:
        while True:
            port = random.randrange(FIRST_PORT, 1 << 16)
            if port not in self._links:
                return port

    def hear(self) -> None:
        """Take what has come: before a timer runs out that an answer would have stopped."""
        if self._loop is not None:
            self._readable()

    def _readable(self) -> None:
        for _ in range(AT_ONCE):
            try:
                data = self.tun.receive()
            except OSError:  # somebody has removed the device
                self._loop = None
                asyncio.get_running_loop().remove_reader(self.tun.fd)
                for link in list(self._links.values()):
                    link.stop("interrupted")
                return
            if data is None:
                return
            now = time.monotonic_ns()
            found = from_packet(data)
            if found is None:
                continue
            path, segment = found
            if self.record is not None:
                self.record.write(now + self._offset, data)
            addressed = self._links.get(path.target_port)
            if addressed is not None and (path.source, path.source_port) == (self.address, self.port):
                addressed.arrived(segment, now)

    def send(self, segment: Segment, port: int) -> None:
        """Put a segment of ours on the device; what it does not take is lost, as on any wire."""
        packet = to_packet(segment, Path(self.tun.address, port, self.address, self.port))
        if self.record is not None:
            self.record.write(time.monotonic_ns() + self._offset, packet)
        self.tun.send(packet)


def _reachable(target: Target) -> tuple[str, int]:
    """The address and port that packets of ours can reach. Raises PacketsUnavailable."""
    if target.path is not None:
        raise PacketsUnavailable("a Unix socket carries no packets")
    assert target.address is not None, "resolve the target first"
    family, (address, port) = target.address
    if family != socket.AF_INET:
        raise PacketsUnavailable(
            f"{address}: packets of our own are IPv4 (the kernel takes packets for ::1 from loopback alone)"
        )
    if not is_local(address):
        raise PacketsUnavailable(
            f"{address} is another machine, whose answers would not find a made-up address"
        )
    return address, port


class _Link:
    """One player on one endpoint; the surface of `transports.Link`."""

    def __init__(
        self,
        packets: Packets,
        player: Player,
        plan: PacketPlan,
        port: int,
        linked: Callable[[Link], None],
    ) -> None:
        self.player = player
        self.after: Callable[[], None] = lambda: None
        self.endpoint = Endpoint(plan, initial=random.randrange(1 << 32))
        self._packets, self._port, self._linked = packets, port, linked
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._opened = self._ended = self._leaving = False
        self._linger: asyncio.TimerHandle | None = None

    async def play(self, deadline_s: float) -> None:
        """Carry on until the player is done and the connection has ended, `deadline_s` at the most."""
        try:
            self._send(self.endpoint.open(time.monotonic_ns()))
            self._look()
            async with asyncio.timeout(deadline_s):
                await self._done
        except TimeoutError:
            self.stop("deadline")
        finally:
            if not self.player.over:
                self.stop("interrupted")
            self._shut()
            self._tell()

    def stop(self, why: str) -> None:
        """End the replay from outside: `deadline` or `interrupted`."""
        now = time.monotonic_ns()
        self._act(self.player.stopped("deadline" if why == "deadline" else "interrupted", now))
        self._shut()

    def release(self) -> None:
        """Nothing depends on this connection any more."""
        if not self._done.done():
            self._act(self.player.release(time.monotonic_ns()))
            self._look()

    def arrived(self, segment: Segment, now: int) -> None:
        """A segment of the peer."""
        if not self._done.done():
            self._send(self.endpoint.receive(segment, now))
            self._look()

    # --- what has happened

    def _wake(self) -> None:
        self._packets.hear()
        if self._done.done():
            return
        now = time.monotonic_ns()
        if self._opened and not self._leaving:
            self._act(self.player.woken(now))
        self._look()

    def _look(self) -> None:
        """Tell the player what is new, let the endpoint send what is due, and set the alarm for both."""
        if self._done.done():
            return
        endpoint = self.endpoint
        if not self._opened and endpoint.state in (State.OPEN, State.OVER):
            self._opening()
        if self._opened and not self._leaving:
            data = endpoint.read()
            if data:
                self._act(self.player.received(data, time.monotonic_ns()))
            if endpoint.peer_closed and not self._ended and not self._leaving:
                self._ended = True
                self._act(self.player.ended("close", time.monotonic_ns()))
        self._send(endpoint.poll(time.monotonic_ns()))
        if endpoint.state is State.OVER:
            self._over()
            return
        if self._opened:
            self.after()
        self._alarm()

    def _alarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        player_wake = self.player.wake_ns if self._opened and not self._leaving else None
        times = [time_ns for time_ns in (self.endpoint.wake_ns, player_wake) if time_ns is not None]
        if times and not self._done.done():
            delay = max(0, min(times) - time.monotonic_ns()) / 1e9
            self._timer = self._loop.call_later(delay, self._wake)

    def _opening(self) -> None:
        now = time.monotonic_ns()
        ended_by = self.endpoint.ended_by
        if self.endpoint.state is State.OPEN:
            self._opened = True
            self._linked(cast(Link, self))
            self._act(self.player.opened(now))
        elif ended_by is EndedBy.REFUSED:
            self.player.refused("connection refused", now)
        elif ended_by is EndedBy.NO_ANSWER:
            self.player.refused("nothing answers SYN (a local packet filter may drop it)", now)

    def _over(self) -> None:
        """There is no connection any more."""
        now, player, ended_by = time.monotonic_ns(), self.player, self.endpoint.ended_by
        if not player.over:
            if ended_by is EndedBy.PEER_RESET:
                player.ended("reset", now)
            elif ended_by is EndedBy.FINS:
                player.ended("close", now)
            elif ended_by is EndedBy.NO_ANSWER:
                player.stopped("deadline", now)
                player.result.reason = "the peer acknowledges nothing any more"
            else:
                player.stopped("interrupted", now)
                if player.result.outcome is Outcome.INCONCLUSIVE:
                    player.result.reason = "the packet plan has reset the connection"
        self.after()
        self._shut()

    # --- what is to be done

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send(data):
                    self.endpoint.write(data)
                case HalfClose():
                    self.endpoint.close()
                case Close():
                    self.endpoint.close()
                    self._leave()
                case Reset():
                    self._send(self.endpoint.abort(time.monotonic_ns()))

    def _leave(self) -> None:
        """The player wants no more; the connection may take a moment to end in good order."""
        if not self._leaving:
            self._leaving = True
            self._linger = self._loop.call_later(LINGER_S, self._shut)

    def _send(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            self._packets.send(segment, self._port)

    def _shut(self) -> None:
        """Leave nothing behind: a peer whose connection still stands is reset, not left to wait."""
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        self._timer = self._linger = None
        if not self._done.done():
            self._send(self.endpoint.abort(time.monotonic_ns()))
            self._done.set_result(None)

    def _tell(self) -> None:
        """What was on the wire, and where the plan could not be kept, as notes of the result."""
        endpoint, notes = self.endpoint, self.player.result.notes
        counts = Counter(event.why for event in endpoint.events)
        words = ", ".join(f"{counts[why]} {why}" for why in Why if counts[why])
        notes.append(f"segments of our own: {words}")
        if endpoint.unsent:
            notes.append(f"{endpoint.unsent} bytes were never sent: the connection had ended before them")
        if endpoint.never_sent:
            notes.append(f"{endpoint.never_sent} planned segments were not sent: the stream had ended")
        notes += endpoint.deviations
