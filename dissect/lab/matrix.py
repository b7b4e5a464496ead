# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients x servers, real ones and models, trial by trial in a seeded random order.

Every trial runs through a relay on loopback, whose readings are the user clock. Where this process may
capture, each of the relay's two hops is recorded on the wire as well: the server's reaction is timed on the
server's hop and the client's on the client's, so that neither has the relay's own time in it.

Where round trips are asked for, client and server meet in two network namespaces instead, with no relay but
one of packets between them (`distance`), and are recorded at either end of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dissect.capture import CaptureError, open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.lab.distance import Distance
from dissect.lab.errors import CannotRecord, LabError
from dissect.lab.lab import Lab, Running
from dissect.lab.models import (
    Model,
    Peek,
    Speaks,
    SpiceClient,
    SpiceServer,
    VncClient,
    VncServer,
    connect,
    serving,
)
from dissect.lab.peers import Role, find_peer, installed
from dissect.lab.probing.judging import BLACKLIST
from dissect.lab.recorder import Recorder, Stopped
from dissect.lab.relay import RelayRecorder
from dissect.lab.wire import WireRecorder
from dissect.stream.records import Message
from dissect.stream.side import Side
from dissect.timing.observations import Clock, observations
from dissect.timing.results import FILE, Row

MODELS: dict[str, Model] = {
    "model-spice-4": SpiceServer(),
    "model-spice-16": SpiceServer(judges_after=16),
    "model-vnc": VncServer(),
    "model-vnc-peek": VncServer(peek=Peek()),
    "model-vnc-peek-old": VncServer(peek=Peek(known=(b"GET ",))),
    "model-vnc-quiet": VncClient(),
    "model-vnc-early": VncClient(speaks=Speaks.AT_ONCE),
    "model-vnc-patient": VncClient(speaks=Speaks.AFTER_SILENCE),
    "model-spice": SpiceClient(),
}
"""Name -> model. SPICE servers judge at so many bytes; `peek` is libvncserver's look for a WebSocket, `old`
as before 0.9.12; VNC clients never speak first, send `RFB ` at once, or after 2 s of silence."""

CURE = (
    ("model-vnc-quiet", "model-vnc-early", "model-vnc-patient"),
    ("model-spice-16", "model-spice-4"),
)
"""The scenario of 2017: every client behaviour at the server before and after."""
PREFIX_CLIENTS = ("model-vnc-quiet", "model-vnc-early")

MOST_BYTES = 8 << 20
"""Bytes of one recording; a peer that floods ends its trial there."""
GRACE_S, EXIT_S, CONNECT_S = 0.2, 0.5, 20.0
WORDS_KEPT, LONGEST_WORD = 20, 300
TRIAL = "firstbyte-trial-"
"""How a trial's folder is called, followed by the process; it holds the recordings until they are judged."""
STEP_NS = 1_000_000
"""How far the wall clock may drift from the monotonic one within a trial; beyond, somebody has set it."""


class PlanError(Exception):
    """A matrix that cannot be run as asked; `str()` is one line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fixed before the first trial. cold: each trial starts its own server. rtts_ns: what the round
    trip is made longer by; then there are so many trials at each of them, and no relay.
    """

    clients: tuple[str, ...]
    servers: tuple[str, ...]
    trials: int = 5
    deadline_s: float = 5.0
    seed: int = 0
    cold: bool = False
    rtts_ns: tuple[int, ...] = ()

    def rtt_ns(self, number: int) -> int | None:
        """What trial `number` of a pair adds to the round trip."""
        return self.rtts_ns[number % len(self.rtts_ns)] if self.rtts_ns else None

    def order(self) -> list[tuple[str, str, int]]:
        """All trials, (client, server, number), interleaved in the seed's order."""
        everything = [
            (client, server, number)
            for client in self.clients
            for server in self.servers
            for number in range(self.trials * max(1, len(self.rtts_ns)))
        ]
        random.Random(self.seed).shuffle(everything)
        return everything


def role_of(lab: Lab, name: str) -> Role:
    """Client or server, of a model or a peer of the table. Raises UnknownPeer."""
    model = MODELS.get(name)
    if model is not None:
        return Role.SERVER if model.role is Side.SERVER else Role.CLIENT
    return find_peer(lab.peers, name).role


def choose(lab: Lab, words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Clients, servers, and those that are not installed, from names and groups.

    Groups: "all", "real" (what is installed, without variants of one program that blacklist or repeat),
    "models". Raises UnknownPeer.
    """
    names: list[str] = []
    for word in words:
        if word in ("all", "real"):
            names += [
                name for name, peer in lab.peers.items() if peer.role is not Role.DISPLAY and usual(name)
            ]
        if word in ("all", "models"):
            names += MODELS
        if word not in ("all", "real", "models"):
            names.append(word)
    clients: list[str] = []
    servers: list[str] = []
    missing: list[str] = []
    for name in dict.fromkeys(names):
        role = role_of(lab, name)
        if name not in MODELS and not installed(lab.peers[name]):
            missing.append(name)
        elif role is not Role.DISPLAY:
            (clients if role is Role.CLIENT else servers).append(name)
    return clients, servers, missing


def usual(name: str) -> bool:
    """Whether a group holds a peer: of Xtigervnc the one that keeps no blacklist, of vncdotool one way."""
    return name not in ("xtigervnc", "vncdotool-key")


def machine() -> str:
    """What the times are of: kernel, processors, memory, distribution, Python."""
    words = [f"{platform.system()} {platform.release()} {platform.machine()}"]
    cpus = f"{os.cpu_count()} CPUs"
    with suppress(OSError, StopIteration):
        info = Path("/proc/cpuinfo").read_text().splitlines()
        cpus += " " + next(line.partition(":")[2].strip() for line in info if line.startswith("model name"))
    words += [cpus, f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"]
    with suppress(OSError):
        words.append(platform.freedesktop_os_release()["PRETTY_NAME"])
    return ", ".join([*words, f"Python {platform.python_version()}"])


def _sweep() -> None:
    """Remove the folders of trials whose process was killed: it could not."""
    for path in Path(tempfile.gettempdir()).glob(f"{TRIAL}*-*"):
        pid = path.name.removeprefix(TRIAL).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(path, ignore_errors=True)


class _Visitor(Protocol):
    """A client at work, a program or a model."""

    @property
    def alive(self) -> bool: ...
    def stop(self, grace_s: float = ...) -> None: ...


class _ModelVisitor:
    """A model client in a thread of its own."""

    def __init__(self, model: Model, host: str, port: int) -> None:
        self.model, self.to = model, (host, port)
        self.words: list[tuple[int, str]] = []
        self.failure: str | None = None
        self.loop = asyncio.new_event_loop()
        self.end = asyncio.Event()
        self.thread = threading.Thread(target=self._run, name="model client", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._go())
        except LabError as error:
            self.failure = str(error)
        finally:
            self.loop.close()

    async def _go(self) -> None:
        connected = await connect(self.model, *self.to)
        leaving = asyncio.ensure_future(self.end.wait())
        try:
            over = asyncio.ensure_future(connected.wait())
            await asyncio.wait({over, leaving}, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
        finally:
            leaving.cancel()
            await connected.close()
            self.words = [(word.time_ns, word.text) for one in connected.reports for word in one.words]

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()

    def stop(self, grace_s: float = 0.5) -> None:
        try:
            self.loop.call_soon_threadsafe(self.end.set)
        except RuntimeError:  # it has ended
            pass
        self.thread.join(10)


class Matrix:
    """A run. Use as a context: servers that run between trials are stopped at its end."""

    def __init__(self, lab: Lab, plan: Plan, *, wire: bool) -> None:
        """wire: record on the wire too (needs CAP_NET_RAW); trials over round trips always do.

        Raises CannotStart where round trips are asked for and cannot be had.
        """
        self.lab, self.plan, self.wire = lab, plan, wire
        _sweep()
        self._stack = ExitStack()
        self.distance = self._stack.enter_context(Distance()) if plan.rtts_ns else None
        lab.numbered = lab.numbered or self.distance is not None
        self._servers: dict[str, Any] = {}
        self._machine = machine()

    def __enter__(self) -> Matrix:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, done: set[tuple[str, str, int]]) -> Iterator[Row]:
        """Each trial's row as it comes; those in `done` are left out."""
        for order, (client, server, number) in enumerate(self.plan.order()):
            if (client, server, number) not in done:
                yield self.trial(client, server, number, order)

    def trial(self, client: str, server: str, number: int, order: int) -> Row:
        """One trial. What goes wrong with a peer or a recorder is in the row, not raised."""
        row = Row(
            client=client,
            server=server,
            trial=number,
            order=order,
            seed=self.plan.seed,
            deadline_ns=round(self.plan.deadline_s * 1e9),
            started_ns=time.time_ns(),
            load1=round(os.getloadavg()[0], 2),
            warm=not self.plan.cold,
            machine=self._machine,
            rtt_ns=self.plan.rtt_ns(number),
        )
        try:
            row.client_version, row.server_version = self._version(client), self._version(server)
            with ExitStack() as stack:
                if self.distance is None:
                    self._meet(row, stack)
                else:
                    self._meet_far(row, stack, self.distance)
        except (LabError, CaptureError, OSError) as error:  # the last: a full disk, too many open files
            row.lost = str(error)
        return row

    def _version(self, name: str) -> str | None:
        return "model" if name in MODELS else self.lab.version(name)

    def _server(self, name: str, stack: ExitStack) -> Any:
        if self.plan.cold:
            return self._begin(name, stack)
        running = self._servers.get(name)
        if running is None or not getattr(running, "alive", True):
            if running is not None:
                running.stop(0.5)
            running = self._servers[name] = self._begin(name, self._stack)
        return running

    def _begin(self, name: str, stack: ExitStack) -> Any:
        host = "127.0.0.1" if self.distance is None else self.distance.server
        with nullcontext() if self.distance is None else self.distance.server_side():
            if name in MODELS:
                return stack.enter_context(serving(MODELS[name], host))
            running = self.lab.start(name, host=host)
        stack.callback(running.stop, 0.5)
        return running

    def _visit(self, name: str, host: str, port: int, stack: ExitStack) -> _Visitor:
        visitor: _Visitor
        if name in MODELS:
            visitor = _ModelVisitor(MODELS[name], host, port)
        else:
            visitor = self.lab.run(name, host, port)
        stack.callback(visitor.stop, 0.5)
        return visitor

    def _display(self, client: str) -> None:
        """What a client draws on is there before it is: its start is no part of the trial."""
        if client not in MODELS:
            self.lab.check(client)
            if self.lab.peers[client].needs is not None:
                self.lab.shared_display()

    def _meet(self, row: Row, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{TRIAL}{os.getpid()}-")))
        server = self._server(row.server, stack)
        self._display(row.client)
        relay = RelayRecorder(
            (server.host, server.port), folder / "user.pcapng", host=server.host, max_bytes=MOST_BYTES
        )
        relay.start()
        stack.callback(relay.stop)
        hops: dict[Side, Recorder] = {}
        if self.wire:
            for side, port in ((Side.SERVER, server.port), (Side.CLIENT, relay.port)):
                hops[side] = WireRecorder(port, folder / f"{side}.pcapng", max_bytes=MOST_BYTES)
                hops[side].start()
                stack.callback(hops[side].stop)
        visitor = self._visit(row.client, server.host, relay.port, stack)
        self._await(row, relay, (*hops.values(), relay), visitor, server, relay.apart_ns)
        if row.lost is None:
            self._observe(row, folder, hops, relayed=True)

    def _meet_far(self, row: Row, stack: ExitStack, distance: Distance) -> None:
        """The same over a distance, each end recorded where it is."""
        assert row.rtt_ns is not None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{TRIAL}{os.getpid()}-")))
        self._display(row.client)
        server = self._server(row.server, stack)
        distance.set(row.rtt_ns)
        hops: dict[Side, Recorder] = {}
        places = {Side.SERVER: distance.server_side, Side.CLIENT: distance.client_side}
        for (side, place), device in zip(places.items(), reversed(distance.devices), strict=True):
            hops[side] = WireRecorder(
                server.port, folder / f"{side}.pcapng", max_bytes=MOST_BYTES, interface=device
            )
            with place():
                hops[side].start()
            stack.callback(hops[side].stop)
        apart = time.time_ns() - time.monotonic_ns()
        with distance.client_side():
            visitor = self._visit(row.client, server.host, server.port, stack)
        self._await(row, hops[Side.CLIENT], tuple(hops.values()), visitor, server, apart)
        if (lost := distance.set(row.rtt_ns).lost) and row.lost is None:
            row.lost = f"the path between the namespaces lost {lost} packets"
        if row.lost is None:
            self._observe(row, folder, hops, relayed=False)

    def _await(
        self,
        row: Row,
        watched: Recorder,
        recorders: Sequence[Recorder],
        visitor: _Visitor,
        server: Any,
        apart: int,
    ) -> None:
        """Let the trial come to its end, stop the `recorders` in that order, and note what went wrong.

        apart: the wall clock's lead of the monotonic one.
        """
        stopped = watched.wait(
            self.plan.deadline_s,
            connect_s=CONNECT_S,
            grace_s=GRACE_S,
            still_coming=lambda: visitor.alive and getattr(server, "alive", True),
        )
        # The wire first: stopping the relay resets what is open.
        for recorder in recorders:
            recorder.stop()
        row.stopped = str(stopped)
        if stopped is Stopped.ENDED and isinstance(visitor, Running):
            ended = visitor.wait(EXIT_S)
            row.client_exit = ended.status if ended is not None else None
        visitor.stop(0.5)
        opened = watched.connections[0].opened_ns if watched.connections else row.started_ns
        row.words = _words(visitor, opened - apart)
        if stopped is Stopped.DEADLINE and watched.end_ns is not None:
            # What it says to the end of the trial is no part of it.
            lasted = watched.end_ns - opened
            row.words = [word for word in row.words if word["ns"] <= lasted]
        wire = any(isinstance(recorder, WireRecorder) for recorder in recorders)
        if stopped is Stopped.NO_CONNECTION:
            row.lost = "the client did not connect"
        elif wire and abs(time.time_ns() - time.monotonic_ns() - apart) > STEP_NS:
            row.lost = "the wall clock was set during the trial"
        elif not getattr(server, "alive", True):
            row.lost = "the server died"
        elif failure := next((one.failure for one in recorders if one.failure), None):
            row.lost = failure

    def _observe(self, row: Row, folder: Path, hops: dict[Side, Recorder], *, relayed: bool) -> None:
        """Fill in what the recordings say."""
        whole = _first(folder / ("user.pcapng" if relayed else f"{Side.CLIENT}.pcapng"))
        row.verdict = whole.verdict.verdict
        row.client_spoke, row.server_spoke = whole.verdict.client_spoke, whole.verdict.server_spoke
        reasons = [m for m in whole.records if isinstance(m, Message) and m.name == "FailureReason"]
        if any(BLACKLIST.search(str(m.fields().get("reason"))) for m in reasons):
            row.lost = "the server refuses the address: too many failures before"
            return
        if whole.established_ns is None:
            row.lost = whole.verdict.reason
            return
        if relayed:
            self._take(row, whole, "user", tuple(Side))
        elif whole.established_ns is not None:
            row.handshake_ns = whole.established_ns - whole.conversation.start_ns
        for side in hops:
            seen = _first(folder / f"{side}.pcapng")
            if seen.established_ns is None:
                row.lost, row.observations = f"the {side}'s end: {seen.verdict.reason}", []
                return
            self._take(row, seen, "wire", (side,))

    @staticmethod
    def _take(row: Row, found: Dissected, clock: Clock, sides: Sequence[Side]) -> None:
        row.observations += [
            replace(one, clock=clock) for one in observations(found.verdict) if one.side in sides
        ]
        if Side.CLIENT in sides and found.established_ns is not None:
            over = [one.time_ns for one in found.endings if one.side is Side.CLIENT or one.how == "reset"]
            if over:
                row.over_ns[clock] = min(over) - found.conversation.start_ns
            for record in found.records:
                if isinstance(record, Message) and record.name == "ServerInit":
                    row.server_init_ns[clock] = record.time_ns - found.established_ns
                    break


def _first(path: Path) -> Dissected:
    """The first conversation of a recording that began in it: before it, the last trial's may still end."""
    with open_capture(path) as capture:
        found = sorted(dissect(read(capture)), key=lambda one: one.conversation.index)
    if not found:
        raise CannotRecord("nothing was recorded")
    return next((one for one in found if one.verdict.roles_from == "syn"), found[0])


def _words(visitor: _Visitor, opened: int) -> list[dict[str, Any]]:
    """What a client said. opened: the connection's beginning by the monotonic clock."""
    if isinstance(visitor, _ModelVisitor):
        return [{"ns": ns - opened, "stream": "model", "text": text} for ns, text in visitor.words]
    assert isinstance(visitor, Running)
    ours = str(visitor.directory)  # of this machine, and gone by now
    return [
        {
            "ns": line.monotonic_ns - opened,
            "stream": line.stream,
            "text": line.text.replace(ours, "{tmp}")[:LONGEST_WORD],
        }
        for line in list(visitor.output)[:WORDS_KEPT]
    ]


# --- a run's folder ---------------------------------------------------------------------------------


class Folder:
    """Where a run is kept, so that it can go on: `plan.json`, and a row a line in `trials.ndjson`."""

    def __init__(self, path: str | Path, plan: Plan) -> None:
        """Make it, or go on with what is there. Raises PlanError where that is of another plan, OSError."""
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        wanted = json.loads(json.dumps(asdict(plan)))
        file = self.path / "plan.json"
        if file.exists():
            try:
                found = json.loads(file.read_text())
            except ValueError:
                raise PlanError(f"{file}: not a plan") from None
            if isinstance(found, dict):
                found.setdefault("rtts_ns", [])  # of before there were any
            if found != wanted:
                differ = sorted(
                    key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]
                )
                raise PlanError(f"{file}: a run with other {', '.join(differ)}: choose another folder")
        else:
            file.write_text(json.dumps(wanted, indent=1) + "\n")
        self.rows: list[Row] = []
        self.problems: list[str] = []
        self._load()

    def _load(self) -> None:
        """Read the rows; a line that a crash cut off is taken away, its trial will run again."""
        file = self.path / FILE
        if not file.exists():
            return
        from dissect.timing.results import ResultsError, read_rows

        data = file.read_bytes()
        if data and not data.endswith(b"\n"):
            file.write_bytes(data[: data.rfind(b"\n") + 1])
            self.problems.append(f"{file}: the last row was cut off and is measured again")
        try:
            self.rows, problems = read_rows(file)
            self.problems += problems
        except ResultsError:
            pass

    @property
    def done(self) -> set[tuple[str, str, int]]:
        """Trials that need not run again; lost ones do."""
        return {(row.client, row.server, row.trial) for row in self.rows if row.lost is None}

    def add(self, row: Row) -> None:
        """Keep a row, on the disk before this returns. Raises OSError (a full disk)."""
        self.rows = [one for one in self.rows if (one.pair, one.trial) != (row.pair, row.trial)]
        self.rows.append(row)
        line = json.dumps(row.to_json()).encode() + b"\n"
        with (self.path / FILE).open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError as error:
                with suppress(OSError):
                    file.truncate(before)  # no half row
                raise OSError(error.errno, error.strerror, str(self.path / FILE)) from None
