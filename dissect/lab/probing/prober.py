# SPDX-License-Identifier: GPL-2.0-or-later
"""The trials of a probe on sockets: many at once under a cap, suspicious ones again and alone."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import Any, cast

from dissect.lab.probing import stimuli
from dissect.lab.probing.judging import (
    MADE_ROOM,
    Baseline,
    Event,
    Reaction,
    Transcript,
    greeting_of,
    judge,
    spoken,
)
from dissect.lab.probing.stimuli import PROTOCOLS, Stimulus
from dissect.stream.text import plural

SCHEMA = "firstbyte-probe/1"
CLOCK = "user-monotonic"
"""The clock of all times here: CLOCK_MONOTONIC, read in user space when the event loop hands a byte over."""

SETTLE_S = 0.05
"""`Plan.settle_s`, where nobody says."""
STAGGER_S = 0.001
"""Pause between two connections, so that a short queue of new ones does not overflow."""
CONNECT_S = 5.0
NOTICE_S = 0.2
"""How long it may take until the end of a process is known here, once its port is closed."""
RECEIVED_MOST = 1 << 16
"""Bytes kept of one connection; a server that floods is cut off there."""

AT_ONCE_MUTE, AT_ONCE_VNC, AT_ONCE_SWEEP = 256, 24, 4
"""Trials at once by default. QEMU's VNC drops the oldest of more than 32 connections. Almost all of a sweep
is answered at once, some of it with an RSA key made for it: more together would only queue up."""

Address = tuple[int, tuple[str, int]]


class Unreachable(Exception):
    """The server takes no connection; `str()` is one line."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One row: what was sent on a connection and what came of it. alone: no other trial ran."""

    stimulus: Stimulus
    reaction: Reaction
    alone: bool
    source: str | None = None
    phase: str = "table"

    def to_json(self) -> dict[str, Any]:
        """The trial as a JSON object."""
        seen = self.reaction
        return {
            "phase": self.phase,
            "protocol": self.stimulus.protocol,
            "bytes": len(self.stimulus.data),
            "sweep": self.stimulus.label or None,
            "reaction": seen.by,
            "ns": seen.ns,
            "censored": seen.by is None,
            "detail": seen.detail,
            "then": seen.then,
            "greeted": seen.greeted,
            "tainted": seen.tainted,
            "alone": self.alone,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the server that is no reaction: kind and one sentence."""

    kind: str
    text: str


@dataclass(slots=True)
class Plan:
    """What a probe does. deadline_s: how long a reaction may take. at_once: trials at a time, None to choose.

    delay_s: pause between the connection and the bytes. repeat: trials, alone, that a time is taken from.
    settle_s: how long a server may take to close after it has reacted, so that its close is seen too.
    """

    deadline_s: float = 2.0
    at_once: int | None = None
    protocols: tuple[str, ...] = PROTOCOLS
    lengths: tuple[int, ...] | None = None
    sweeps: tuple[str, ...] = ()
    seed: int = 0
    repeat: int = 3
    delay_s: float = 0.0
    settle_s: float = SETTLE_S


@dataclass(slots=True)
class Result:
    """What a probe found out. `trials` holds every connection of the table, the repeats and the sweeps."""

    server: str
    plan: Plan
    baseline: Baseline = field(default_factory=Baseline)
    speaks: str = "nothing"
    at_once: int = 1
    trials: list[Trial] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    not_run: int = 0
    seconds: float = 0.0

    def table(self, protocol: str) -> dict[int, Reaction]:
        """Reactions by number of bytes, the last word on each length."""
        return {
            len(trial.stimulus.data): trial.reaction
            for trial in self.trials
            if trial.phase == "table" and trial.stimulus.protocol == protocol
        }

    def detection(self, protocol: str) -> tuple[int, Reaction, int] | None:
        """The least number of bytes that the server noticed, the reaction, and the median time of repeats.

        None where it noticed nothing before the deadline.
        """
        for size, reaction in sorted(self.table(protocol).items()):
            if not reaction.noticed:
                continue
            again = [
                trial.reaction
                for trial in self.trials
                if trial.phase == "repeat"
                and trial.stimulus.protocol == protocol
                and len(trial.stimulus.data) == size
            ]
            seen = [one for one in again if one.noticed]
            if seen:
                return size, seen[0], median_low(one.ns for one in seen)
            if not again:
                return size, reaction, reaction.ns
        return None

    @property
    def unsettled(self) -> list[Trial]:
        """Trials whose answer was due to something else and that no repeat has settled."""
        return [trial for trial in self.trials if trial.reaction.tainted]

    @property
    def not_measured(self) -> list[str]:
        """Protocols that were not tried at every length, none of it noticed: not "none", but unknown."""
        found = []
        for name in self.plan.protocols:
            tried = {size for size, reaction in self.table(name).items() if not reaction.tainted}
            wanted = {len(one.data) for one in stimuli.prefixes(name, self.plan.seed, self.plan.lengths)}
            if not wanted <= tried and self.detection(name) is None:
                found.append(name)
        return found

    def to_json(self) -> dict[str, Any]:
        """The object of the command line's contract, and more."""
        unknown = self.not_measured
        wrong = [name for name in self.plan.protocols if name != self.speaks and name not in unknown]
        found = {name: self.detection(name) for name in wrong}
        own = self.detection(self.speaks) if self.speaks in self.plan.protocols else None
        return {
            "schema": SCHEMA,
            "server": self.server,
            "speaks": self.speaks,
            "greeting_ns": self.baseline.greeting_ns,
            "greeting": self.baseline.greeting.hex(),
            "bytes_to_detect": {name: seen[0] if seen else None for name, seen in found.items()},
            "reaction": {name: seen[1].by if seen else None for name, seen in found.items()},
            "detect_ns": {name: seen[2] if seen else None for name, seen in found.items()},
            "own_protocol": None
            if own is None
            else {"protocol": self.speaks, "bytes": own[0], "reaction": own[1].by, "ns": own[2]},
            "clock": CLOCK,
            "deadline_ns": round(self.plan.deadline_s * 1e9),
            "delay_ns": round(self.plan.delay_s * 1e9),
            "seed": self.plan.seed,
            "repeat": self.plan.repeat,
            "at_once": self.at_once,
            "seconds": round(self.seconds, 3),
            "findings": [{"kind": one.kind, "text": one.text} for one in self.findings],
            "not_run": self.not_run,
            "not_measured": unknown,
            "trials": [trial.to_json() for trial in self.trials],
        }


class _Probe(asyncio.Protocol):
    """One connection."""

    def __init__(self, prober: Prober, data: bytes, delay_s: float, enough: int) -> None:
        self.prober, self.data, self.delay_s, self.enough = prober, data, delay_s, enough
        self.transcript = Transcript()
        self.over = asyncio.Event()
        self.reacted = asyncio.Event()
        self.size = 0
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        now = time.monotonic_ns()
        self.transcript.opened_ns = self.transcript.sent_ns = now
        self.prober.opened(self, now)
        if self.data and self.delay_s:
            self.timer = asyncio.get_running_loop().call_later(self.delay_s, self.send)
        elif self.data:
            self.send()

    def send(self) -> None:
        assert self.transport is not None
        if not self.transport.is_closing():
            self.transcript.sent_ns = time.monotonic_ns()
            self.transport.write(self.data)

    def data_received(self, data: bytes) -> None:
        self.note("data", data)
        self.size += len(data)
        if self.size > self.enough:
            self.reacted.set()
        if self.size > RECEIVED_MOST:
            self.over.set()

    def eof_received(self) -> bool:
        self.note("fin")
        self.over.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self.over.is_set():
            self.note("reset")
        self.over.set()
        self.reacted.set()

    def note(self, kind: str, data: bytes = b"") -> None:
        self.transcript.events.append(Event(time.monotonic_ns(), kind, data))  # type: ignore[arg-type]

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.transport is not None:
            self.transport.abort()  # a reset: nothing lingers in the server's queues


class Prober:
    """Runs a `Plan` against one server."""

    def __init__(
        self,
        server: str,
        address: Address,
        plan: Plan,
        *,
        restart: Callable[[], str | None] | None = None,
        died: Callable[[], str | None] = lambda: None,
        announce: Callable[[str], None] = lambda text: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        seen: Callable[[bytes, Transcript], None] = lambda data, transcript: None,
    ) -> None:
        """restart: start the server again, on the same address (None: it is not ours to start).

        died: how it has ended, in words, None while it runs or where nobody knows. announce: told once,
        before the trials, how long they take. seen: told each connection, when it is over, and what it sent.
        """
        self.address, self.plan = address, plan
        self.restart, self.died, self.announce, self.progress = restart, died, announce, progress
        self.seen = seen
        self.result = Result(server, plan)
        self._open: set[_Probe] = set()
        self._newest: list[int] = []
        self._sources = itertools.count(2)
        self._own_sources = self._refused = False
        self._stopped = False
        self._done = self._total = 0

    # --- one connection

    def opened(self, probe: _Probe, now: int) -> None:
        for other in self._open:
            other.transcript.newest_ns = now
        self._open.add(probe)

    def _source(self) -> tuple[str, int] | None:
        """An address of this machine's loopback that no trial had before."""
        number = next(self._sources)
        return (f"127.{1 + number // 65025 % 254}.{number // 255 % 255}.{1 + number % 254}", 0)

    @property
    def _many_sources(self) -> bool:
        family, (host, _) = self.address
        return family == socket.AF_INET and host.startswith("127.")

    async def _connect(self, probe: _Probe) -> None:
        family, (host, port) = self.address
        local = self._source() if self._own_sources else None
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: probe, host, port, family=family, local_addr=local
                )
        except OSError as error:  # TimeoutError is one
            probe.transcript.failure = _why(error)
        probe.transcript.source = local[0] if local else None

    async def _talk(
        self, data: bytes, *, seconds: float | None = None, enough: int | None = None
    ) -> Transcript:
        """One connection that sends `data`, until it is over, has reacted, or the deadline is there.

        enough: more bytes than that from the server are a reaction (default: more than its greeting).
        """
        enough = len(self.result.baseline.greeting) if enough is None else enough
        probe = _Probe(self, data, self.plan.delay_s, enough)
        await self._connect(probe)
        transcript = probe.transcript
        if transcript.failure is None:
            limit = self.plan.deadline_s if seconds is None else seconds
            with suppress(TimeoutError):
                async with asyncio.timeout(limit + (self.plan.delay_s if data else 0)):
                    await probe.reacted.wait()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self.plan.settle_s):
                            await probe.over.wait()
            transcript.busy = len(self._open) - 1
            transcript.ended_ns = time.monotonic_ns()
        self._open.discard(probe)
        probe.close()
        self.seen(data, transcript)
        return transcript

    # --- the whole

    async def run(self) -> Result:
        """Do it. Raises Unreachable where not even the first connection stands."""
        began = time.monotonic()
        result = self.result
        first = await self._talk(b"", enough=0)
        if first.failure is not None:
            raise Unreachable(first.failure)
        result.baseline = greeting_of(first)
        said = judge(Stimulus("rfb", b""), first, Baseline())
        if said.tainted == "blacklist":
            result.findings.append(
                Finding(
                    "blacklist", f"the server refuses this address before anything is sent: {said.detail}"
                )
            )
            if self._many_sources:
                self._own_sources = True
                first = await self._talk(b"", enough=0)
                result.baseline = greeting_of(first)
        result.speaks = spoken(result.baseline.greeting)
        serial = await self._one_at_a_time() if result.baseline.greeting else False
        usual = 1 if serial else AT_ONCE_VNC if result.baseline.greeting else AT_ONCE_MUTE
        result.at_once = self.plan.at_once or usual
        table = [Stimulus(name, b"") for name in self.plan.protocols[:1]]
        for name in self.plan.protocols:
            table += stimuli.prefixes(name, self.plan.seed, self.plan.lengths)
        swept = [one for name in self.plan.sweeps for one in stimuli.sweep(name)]
        self._total = len(table) + len(swept)
        self.announce(self._forecast(len(table), len(swept)))
        await self._all(table, "table")
        if not self._stopped:
            self._name_the_speaker()
            await self._repeat()
        if not self._stopped:
            await self._all(swept, "sweep")
        result.seconds = time.monotonic() - began
        return result

    def _forecast(self, table: int, swept: int) -> str:
        plan, cap = self.plan, self.result.at_once
        batches = math.ceil(table / cap) + math.ceil(swept / min(cap, AT_ONCE_SWEEP))
        most = batches * (plan.deadline_s + plan.delay_s + 0.1)
        return (
            f"{table + swept} trials, {cap} at a time, deadline {plan.deadline_s:g} s: at most {most:.0f} s, "
            "and some repeats of those that react"
        )

    async def _one_at_a_time(self) -> bool:
        """Whether half a version on one connection keeps the next from being greeted."""
        result = self.result
        holder = _Probe(self, b"RFB ", 0, RECEIVED_MOST)
        await self._connect(holder)
        if holder.transcript.failure is not None:
            return True
        await asyncio.sleep(max(0.02, 1.5 * (result.baseline.greeting_ns or 0) / 1e9))
        other = await self._talk(b"", seconds=self._patience(), enough=0)
        self._open.discard(holder)
        holder.close()
        if other.received:
            return False
        result.findings.append(
            Finding(
                "one at a time",
                "a client that has sent 4 bytes of a version and stops keeps the next one waiting: trials "
                "ran one after the other",
            )
        )
        return True

    def _patience(self) -> float:
        """How long the greeting may take before the server counts as hung."""
        return max(1.0, 8 * (self.result.baseline.greeting_ns or 0) / 1e9)

    def _name_the_speaker(self) -> None:
        """A server that is mute at first speaks what it answers to."""
        result = self.result
        if result.speaks != "nothing":
            return
        for trial in result.trials:
            if trial.reaction.by == "answer" and trial.reaction.tainted is None:
                result.speaks = "tls" if trial.reaction.detail.startswith("TLS") else trial.stimulus.protocol
                return
        for trial in result.trials:
            if trial.reaction.by == "error-reply" and "Spice" in trial.reaction.detail:
                result.speaks = "spice"
                return

    async def _all(self, wanted: Sequence[Stimulus], phase: str) -> None:
        """Each stimulus once; what is suspicious again, alone."""
        rows: dict[int, Trial] = {}
        if self.result.at_once == 1:
            await self._serial(list(enumerate(wanted)), rows, phase)
        else:
            await self._parallel(list(enumerate(wanted)), rows, phase)
            marked = [number for number in sorted(rows) if rows[number].reaction.tainted == "blacklist"]
            if marked:
                self._blacklisted(len(marked))
                if self._own_sources:
                    await self._parallel([(number, wanted[number]) for number in marked], rows, phase)
            again = [
                (number, wanted[number]) for number, trial in sorted(rows.items()) if trial.reaction.tainted
            ]
            cut = [number for number, trial in rows.items() if trial.reaction.tainted == MADE_ROOM]
            healthy = await self._healthy()
            if not healthy:
                self._struck([wanted[number] for number, _ in again])
                self._revive()
            if again and not self._stopped:
                await self._serial(again, rows, phase)
                self._limited([number for number in cut if not rows[number].reaction.noticed])
            elif self._stopped:
                self.result.not_run += len(again)
        self.result.trials += [rows[number] for number in sorted(rows)]

    def _limited(self, cut: Sequence[int]) -> None:
        """Note that the server makes room: `cut` are trials that it ended and that alone it leaves be."""
        if cut:
            self.result.findings.append(
                Finding(
                    "connection limit",
                    f"with {self.result.at_once} at a time it closed {plural(len(cut), 'connection')} when "
                    "others came, which is no reaction to what was sent: those ran again alone",
                )
            )

    def _blacklisted(self, count: int) -> None:
        text = (
            f"{count} trials were answered as too many failures of one address, which is no reaction to them"
        )
        if self._many_sources:
            self._own_sources = True
            text += "; each was repeated from an address of its own (127.x.y.z)"
        elif self.restart is None:
            text += "; they are not measured"
        self.result.findings.append(Finding("blacklist", text))

    async def _parallel(
        self, wanted: Sequence[tuple[int, Stimulus]], rows: dict[int, Trial], phase: str
    ) -> None:
        gate = asyncio.Semaphore(min(self.result.at_once, AT_ONCE_SWEEP if phase == "sweep" else 4096))

        async def one(number: int, stimulus: Stimulus) -> None:
            try:
                rows[number] = self._row(stimulus, await self._talk(stimulus.data), phase)
            finally:
                gate.release()
            self._tick()

        async with asyncio.TaskGroup() as group:
            for number, stimulus in wanted:
                await gate.acquire()
                group.create_task(one(number, stimulus))
                await asyncio.sleep(STAGGER_S)

    def _tick(self) -> None:
        self._done += 1
        self.progress(min(self._done, self._total), self._total)

    def _row(self, stimulus: Stimulus, transcript: Transcript, phase: str, alone: bool = False) -> Trial:
        if transcript.failure is not None:
            reaction = Reaction(None, 0, f"no connection: {transcript.failure}", tainted="not reached")
        else:
            reaction = judge(stimulus, transcript, self.result.baseline)
        return Trial(stimulus, reaction, alone, transcript.source, phase)

    async def _serial(
        self, wanted: Iterable[tuple[int, Stimulus]], rows: dict[int, Trial], phase: str
    ) -> None:
        """One after the other, with a look at the server's health where one may have hurt it.

        Those that a server hung by another had no chance to answer are run once more after its restart.
        """
        since: list[tuple[int, Stimulus]] = []
        again: set[int] = set()
        queue = deque(wanted)
        while queue:
            number, stimulus = queue.popleft()
            trial = self._row(stimulus, await self._talk(stimulus.data), phase, alone=True)
            if trial.reaction.tainted == "blacklist" and not self._own_sources and self._many_sources:
                self._blacklisted(1)
                trial = self._row(stimulus, await self._talk(stimulus.data), phase, alone=True)
            rows[number] = trial
            since.append((number, stimulus))
            self._tick()
            odd = trial.reaction.tainted == "not reached" or self._ungreeted(trial)
            if not (odd or number in again or len(since) == 10 or not queue):
                continue
            if await self._healthy():
                since = []
                continue
            self._struck([one for _, one in since])
            for number, stimulus in reversed(since):
                trial = rows[number]
                if self._ungreeted(trial):
                    rows[number] = replace(trial, reaction=replace(trial.reaction, tainted="hung"))
                if rows[number].reaction.tainted and number not in again:
                    again.add(number)
                    queue.appendleft((number, stimulus))
            since = []
            self._revive()
            if self._stopped:
                self.result.not_run += len(queue)
                return

    def _ungreeted(self, trial: Trial) -> bool:
        """Whether the server did not even greet, which it does at other times."""
        return (
            trial.reaction.by is None and bool(self.result.baseline.greeting) and not trial.reaction.greeted
        )

    async def _healthy(self) -> bool:
        """Whether the server still takes a connection, and greets it if it used to."""
        for seconds in (self._patience(), 2 * self._patience()):
            if self.died() is not None:
                return False
            greets = bool(self.result.baseline.greeting)
            look = await self._talk(b"", seconds=seconds if greets else 0.01, enough=0)
            if look.failure is None and (look.received or not greets):
                return True
            self._refused = look.failure is not None
            if self._refused:
                await asyncio.sleep(NOTICE_S)
        return False

    def _struck(self, suspects: Sequence[Stimulus]) -> None:
        """Note that the server is hung or gone, and after what."""
        how = self.died()
        if how is None and self._refused:
            how = "takes no connection any more"
        kind = "hung" if how is None else "crashed"
        what = [_named(one) for one in suspects]
        after = (
            what[0] if len(what) == 1 else f"one of: {', '.join(what[:12])}" if what else "the trials so far"
        )
        state = how or f"greets nobody any more ({3 * self._patience():.0f} s)"
        self.result.findings.append(Finding(kind, f"the server {state} after {after}"))

    def _revive(self) -> None:
        if self.restart is None:
            self._stopped = True
            self.result.findings.append(
                Finding("stopped", "not started here, so it could not be restarted: the rest was not run")
            )
            return
        problem = self.restart()
        if problem is not None:
            self._stopped = True
            self.result.findings.append(Finding("stopped", f"it could not be restarted: {problem}"))

    async def _repeat(self) -> None:
        """The least length of each protocol again, alone, for its time; else the next that does repeat."""
        result = self.result
        for name in self.plan.protocols:
            for size, reaction in sorted(result.table(name).items()):
                if not reaction.noticed:
                    continue
                stimulus = Stimulus(name, stimuli.whole(name, self.plan.seed)[:size])
                rows: dict[int, Trial] = {}
                await self._serial([(n, stimulus) for n in range(self.plan.repeat)], rows, "repeat")
                result.trials += rows.values()
                if self._stopped or not rows or any(one.reaction.noticed for one in rows.values()):
                    break
                result.findings.append(
                    Finding(
                        "not repeated",
                        f"{size} bytes of {name}: {reaction.by} among other trials, nothing when alone: "
                        "not counted",
                    )
                )
            if self._stopped:
                return


def _named(stimulus: Stimulus) -> str:
    size = len(stimulus.data)
    field = f" ({stimulus.label})" if stimulus.label else ""
    return f"{size} byte{'' if size == 1 else 's'} of {stimulus.protocol}{field}"


def _why(error: OSError) -> str:
    """The system's own words; asyncio puts the address into them."""
    if isinstance(error, TimeoutError):
        return f"none within {CONNECT_S:g} s"
    return os.strerror(error.errno) if error.errno else str(error)


def probe(prober: Prober) -> Result:
    """`prober.run()` in an event loop of its own."""
    return asyncio.run(prober.run())
