# SPDX-License-Identifier: GPL-2.0-or-later
"""Players on sockets. Loopback only, unless a host is allowed by name.

One asyncio loop carries any number of replays; nothing in it waits for a peer, and each has its own
deadline. A `Link` carries one player over one connected socket, whichever side it plays; `Sockets` connects
to a `Target`.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from dissect.capture import PcapngWriter, TcpScript
from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import Plan
from dissect.replay.player import Action, Close, HalfClose, Options, Pace, Player, Reset, Send
from dissect.spice import constants as spice_constants
from dissect.stream.side import Side

CHUNK = 1 << 14
"""Bytes that are read at a time: no peer has the loop for itself."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


_Info = tuple[int, int, int, str, tuple[Any, ...]]


class NotAllowed(Exception):
    """A host that is not loopback and was not allowed, or a target that names none; `str()` is one line."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: a host and port, or the path of a Unix socket. `address` is set by `resolve`."""

    text: str
    host: str = ""
    port: int = 0
    path: str | None = None
    address: tuple[int, tuple[str, int]] | None = None
    """Address family, and (address, port)."""

    @classmethod
    def parse(cls, text: str) -> Target:
        """`HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`. Raises NotAllowed where it is none of them."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path:
                raise NotAllowed("unix: needs a path")
            return cls(text, path=path)
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise NotAllowed(f"{text!r}: an IPv6 address is written in brackets, [::1]:5900")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise NotAllowed(f"{text!r} is neither HOST:PORT nor unix:PATH")
        return cls(text, host, int(port))


def is_loopback(address: str) -> bool:
    """Whether a numeric address belongs to this machine's loopback."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


async def resolve(target: Target, allowed: Iterable[str] = (), timeout_s: float = 10.0) -> Target:
    """`target` with its address.

    Raises NotAllowed where that is not loopback and the host is not among `allowed`, and OSError where the
    name cannot be resolved (TimeoutError: not in time).
    """
    if target.path is not None:
        return target
    try:
        ipaddress.ip_address(target.host.partition("%")[0])
        numeric = True
    except ValueError:
        numeric = False
    allowed = set(allowed)
    if numeric:
        if not is_loopback(target.host) and target.host not in allowed:
            raise NotAllowed(_not_allowed(target.host, target.host))
        found: list[_Info] = list(socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM))
    else:
        found = await _look_up(target.host, target.port, timeout_s)
    family, _, _, _, address = found[0]
    numeric_host = str(address[0])
    if not is_loopback(numeric_host) and target.host not in allowed and numeric_host not in allowed:
        raise NotAllowed(_not_allowed(target.host, numeric_host))
    return Target(target.text, target.host, target.port, None, (int(family), (numeric_host, target.port)))


def _not_allowed(host: str, address: str) -> str:
    of = "" if host == address else f" ({address})"
    return (
        f"{host}{of} is not this machine's loopback, and nothing goes anywhere else (a replay logs in, types "
        f"and clicks; a probe is wrong on purpose) unless it is named with --allow-host {host}"
    )


async def _look_up(host: str, port: int, timeout_s: float) -> list[_Info]:
    """Ask getaddrinfo in a thread that nobody waits for when it does not come back in time."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[_Info]] = loop.create_future()

    def settle(result: object, error: OSError | None) -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as failed:
            error = failed
        except UnicodeError as failed:
            error = OSError(errno.EINVAL, str(failed))
        with suppress(RuntimeError):  # the loop has gone meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=f"resolve {host}", daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await future


# --- Recording what is played ---------------------------------------------------------------------------


class Tape:
    """Writes live conversations to a pcapng file, as packets made up for the bytes of their sockets."""

    COMMENT = (
        "A replay as its own sockets saw it: packets are made up, times are those of the program (user "
        "space), not of the wire."
    )

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._writer = PcapngWriter(path, name="replay", comment=self.COMMENT, start_ns=time.time_ns())
        self._connections = 0
        # One clock for all: wall time at the start, then monotonic, so that times never jump back.
        self._offset = time.time_ns() - time.monotonic_ns()

    def wall(self, now: int) -> int:
        """A monotonic time as time since 1970."""
        return now + self._offset

    def connection(self, client: tuple[str, int] | None, server: tuple[str, int] | None) -> TcpScript:
        """A new conversation; sockets without addresses get some of loopback."""
        self._connections += 1
        number = self._connections
        if client is None or server is None:
            client, server = ("127.0.0.1", 1024 + number % 60000), ("127.0.0.1", 1)
        return TcpScript(
            client, server, self._writer.write, client_isn=number * 7919, server_isn=number * 104729
        )

    def refused(self, server: tuple[str, int], syn_ns: int) -> None:
        """A connection that nobody took; `syn_ns` is a monotonic time."""
        client = "::1" if ":" in server[0] else "127.0.0.1", 1024 + (self._connections + 1) % 60000
        self.connection(client, server).refused(self.wall(syn_ns), self.wall(time.monotonic_ns()))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close(self.wall(time.monotonic_ns()))


# --- One player on one socket ---------------------------------------------------------------------------


class Link:
    """Carries `player` over `sock`, which is connected. `after` is called after each thing that happened."""

    def __init__(
        self, player: Player, sock: socket.socket, tape: Tape | None = None, *, syn_ns: int | None = None
    ) -> None:
        self.player, self.sock = player, sock
        self.after: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._out: deque[bytes] = deque()
        self._parting: Close | HalfClose | None = None
        self._reading = self._writing = False
        self._closed = False
        self._side = player.plan.played
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tape: TcpScript | None = None
        self._wall: Callable[[int], int] = lambda now: now
        if tape is not None:
            ends = self._side, self._side.other
            addresses = dict(
                zip(ends, (_address(sock.getsockname()), _address(sock.getpeername())), strict=True)
            )
            self._tape = tape.connection(addresses[Side.CLIENT], addresses[Side.SERVER])
            self._wall = tape.wall
            now = time.monotonic_ns()
            self._tape.opened(tape.wall(syn_ns or now), tape.wall(now))

    async def play(self, deadline_s: float) -> Result:
        """Carry on until the player is done, `deadline_s` from now at the most; the socket is closed then."""
        try:
            self._loop.add_reader(self.sock, self._readable)
            self._reading = True
            self._step(self.player.opened)
            async with asyncio.timeout(deadline_s):
                await self._done
        except TimeoutError:
            self.stop("deadline")
        finally:
            if not self.player.over:
                self.stop("interrupted")
            self._shut()
        return self.player.result

    def stop(self, why: str) -> None:
        """End the replay from outside: `deadline` or `interrupted`."""
        now = time.monotonic_ns()
        actions = self.player.stopped("deadline" if why == "deadline" else "interrupted", now)
        self._carry_out(actions)
        self._shut()

    def release(self) -> None:
        """Nothing depends on this connection any more."""
        if not self._closed:
            self._step(self.player.release)

    # --- events in

    def _step(self, step: Callable[[int], list[Action]]) -> None:
        if self._closed:
            return
        try:
            self._carry_out(step(time.monotonic_ns()))
        except Exception as fault:
            # A fault of ours must not pass for something that the peer did.
            if not self._done.done():
                self._done.set_exception(fault)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self.player.wake_ns
        if wake is not None and not self._closed:
            delay = max(0, wake - time.monotonic_ns()) / 1e9
            self._timer = self._loop.call_later(delay, self._step, self.player.woken)
        self.after()

    def _readable(self) -> None:
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        now = time.monotonic_ns()
        if data:
            if self._tape is not None:
                self._tape.sent(self._side.other, data, self._wall(now))
            self._step(lambda now: self.player.received(data, now))
            return
        if self._tape is not None:
            self._tape.closed(self._side.other, self._wall(now))
        self._stop_reading()
        self._step(lambda now: self.player.ended("close", now))

    def _lost(self) -> None:
        """The connection was reset."""
        if self._closed:
            return
        if self._tape is not None:
            self._tape.reset(self._side.other, self._wall(time.monotonic_ns()))
            self._tape = None
        self._stop_reading()
        self._step(lambda now: self.player.ended("reset", now))
        self._shut()

    # --- actions out

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send(data):
                    self._out.append(data)
                    self._write()
                case Close() | HalfClose():
                    self._parting = action
                    self._part()
                case Reset():
                    self._reset()

    def _write(self) -> None:
        if self._closed:
            return
        try:
            while self._out:
                sent = self.sock.send(self._out[0])
                if self._tape is not None:
                    self._tape.sent(self._side, self._out[0][:sent], self._wall(time.monotonic_ns()))
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                else:
                    self._out.popleft()
        except BlockingIOError:
            if not self._writing:
                self._loop.add_writer(self.sock, self._writable)
                self._writing = True
            return
        except OSError:
            # What the peer said before it went is still there to be read; then comes the reset.
            self._out.clear()
            return
        if self._writing:
            self._loop.remove_writer(self.sock)
            self._writing = False

    def _writable(self) -> None:
        self._write()
        self._part()

    def _part(self) -> None:
        if self._parting is None or self._out or self._closed:
            return
        parting, self._parting = self._parting, None
        if self._tape is not None:
            self._tape.closed(self._side, self._wall(time.monotonic_ns()))
        if isinstance(parting, HalfClose):
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        else:
            self._shut()

    def _reset(self) -> None:
        if self._closed:
            return
        if self._tape is not None:
            self._tape.reset(self._side, self._wall(time.monotonic_ns()))
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._out.clear()
        self._shut()

    def _stop_reading(self) -> None:
        if self._reading:
            self._loop.remove_reader(self.sock)
            self._reading = False

    def _shut(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_reading()
        if self._writing:
            self._loop.remove_writer(self.sock)
            self._writing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.sock.close()
        if not self._done.done():
            self._done.set_result(None)


def _address(name: object) -> tuple[str, int] | None:
    """The address of a socket's end, without the scope of IPv6; None for Unix sockets."""
    if isinstance(name, tuple):
        return str(name[0]).partition("%")[0], int(name[1])
    return None


# --- Connecting -----------------------------------------------------------------------------------------


class Carrier(Protocol):
    """What can carry a player's bytes to a peer: sockets, or segments built by hand."""

    async def play(
        self, player: Player, deadline_s: float, linked: Callable[[Link], None] = lambda link: None
    ) -> Result:
        """Play to the end, `deadline_s` at the most. Never raises for what the peer or the network does."""


class Sockets:
    """Connects to `target`, which is resolved, once for each player."""

    def __init__(self, target: Target, tape: Tape | None = None) -> None:
        self.target, self.tape = target, tape
        self.open = 0
        """Sockets that are open now."""
        self.most_open = 0
        self._links: set[Link] = set()
        self._connecting: set[asyncio.Task[Any]] = set()
        self._interrupted = False

    async def play(
        self, player: Player, deadline_s: float, linked: Callable[[Link], None] = lambda link: None
    ) -> Result:
        """See `Carrier`. `linked` is given the link once the connection stands."""
        result = player.result
        result.to, result.started_ns = self.target.text, time.time_ns()
        if player.why_not is not None:
            player.refused(player.why_not, time.monotonic_ns())
            return result
        begun = time.monotonic()
        syn_ns = time.monotonic_ns()
        sock: socket.socket | None = None
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            family, address = self._where()
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            syn_ns = time.monotonic_ns()
            await self._connect(sock, address, deadline_s)
            link = Link(player, sock, self.tape, syn_ns=syn_ns)
            self._links.add(link)
            try:
                linked(link)
                await link.play(max(0.0, deadline_s - (time.monotonic() - begun)))
            finally:
                self._links.discard(link)
        except TimeoutError:
            player.stopped("deadline", time.monotonic_ns())
        except OSError as error:
            if player.over:
                pass
            elif isinstance(error, ConnectionResetError):  # it stood for a moment
                player.opened(time.monotonic_ns())
                player.ended("reset", time.monotonic_ns())
            else:
                player.refused(words(error), time.monotonic_ns())
                if isinstance(error, ConnectionRefusedError) and self.tape and self.target.address:
                    self.tape.refused(self.target.address[1], syn_ns)
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
        finally:
            if not player.over:
                player.stopped("interrupted", time.monotonic_ns())
            if sock is not None:
                sock.close()
            self.open -= 1
        return result

    async def _connect(self, sock: socket.socket, address: Any, deadline_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connecting.add(task)
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.get_running_loop().sock_connect(sock, address)
        finally:
            self._connecting.discard(task)

    def _where(self) -> tuple[int, tuple[str, int] | str]:
        if self.target.path is not None:
            return socket.AF_UNIX, self.target.path
        assert self.target.address is not None, "resolve the target first"
        return self.target.address

    def interrupt(self) -> None:
        """End all that is connected or connecting now, as interrupted."""
        self._interrupted = True
        for task in list(self._connecting):
            task.cancel()
        for link in list(self._links):
            link.stop("interrupted")


def words(error: OSError) -> str:
    """Why there is no connection, in words."""
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    # asyncio's own text repeats the address.
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


# --- Several connections --------------------------------------------------------------------------------


async def play_session(
    plans: Sequence[Plan], carrier: Carrier, options: Options, deadline_s: float
) -> list[Result]:
    """Replay a SPICE session: `plans[0]` is its main channel, the others follow in their recorded order.

    Each channel is a connection of its own, begun once main has told the live session id and has sent what it
    had sent before that channel in the recording; main ends last.
    """
    loop = asyncio.get_running_loop()
    until = time.monotonic() + deadline_s
    main, channels = plans[0], list(plans[1:])
    player = Player(main, options, hold=bool(channels))
    waiting = deque(channels)
    results: dict[int, Result] = {}
    tasks: set[asyncio.Task[None]] = set()
    main_link: list[Link] = []
    timers: list[asyncio.TimerHandle] = []

    async def channel(plan: Plan, session_id: int) -> None:
        one = Player(plan, options, session_id=session_id)
        results[plan.index] = await carrier.play(one, max(0.0, until - time.monotonic()))

    def ended(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        look()

    def look() -> None:
        """Begin what may begin now; let main end where nothing else is to come."""
        session_id = player.session_id
        while waiting and not player.over and session_id is not None:
            plan = waiting[0]
            if not player.has_sent(plan.start_ns):
                break
            if options.pace is Pace.RECORDED:
                due = (plan.start_ns - main.start_ns) / 1e9 / options.speed
                left = due - (time.monotonic() - begun)
                if left > 0.001:
                    timers.append(loop.call_later(left, look))
                    break
            waiting.popleft()
            task = loop.create_task(channel(plan, session_id))
            tasks.add(task)
            task.add_done_callback(ended)
        if not waiting and not tasks and player.hold and main_link:
            player.hold = False
            loop.call_soon(main_link[0].release)

    def linked(link: Link) -> None:
        main_link.append(link)
        link.after = look

    begun = time.monotonic()
    try:
        results[main.index] = await carrier.play(player, deadline_s, linked)
        while tasks:
            await asyncio.wait(set(tasks))
    finally:
        for timer in timers:
            timer.cancel()
        for task in list(tasks):
            task.cancel()
    for plan in waiting:
        one = Player(plan, options, session_id=0)
        one.refused("its main channel ended before it could be opened", time.monotonic_ns())
        one.result.outcome = Outcome.INCONCLUSIVE
        results[plan.index] = one.result
    for plan in plans:
        kind = plan.channel_type or 0
        results[plan.index].channel = spice_constants.CHANNEL_TYPES.get(kind, f"type {kind}")
    return [results[plan.index] for plan in plans]


async def play_many(
    play: Callable[[int], Awaitable[Sequence[Result]]],
    repeat: int,
    parallel: int,
    done: Callable[[int, Sequence[Result]], None],
    stop: asyncio.Event | None = None,
) -> None:
    """Call `play` for 0 to `repeat` - 1, at most `parallel` at once, and `done` with each as it ends.

    After `stop` is set no more are begun.
    """
    numbers = iter(range(repeat))

    async def worker() -> None:
        for number in numbers:
            if stop is not None and stop.is_set():
                return
            done(number, await play(number))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(parallel, repeat)):
            group.create_task(worker())


def raise_file_limit(sockets: int) -> int:
    """Raise this process's limit of open files for so many sockets, as far as it may; returns the limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sockets + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return soft
