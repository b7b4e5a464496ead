# SPDX-License-Identifier: GPL-2.0-or-later
"""One case against one target: run by run, each with its live capture.

::

    with Session(case, target, plans, folder, stop) as session:
        run = session.run()
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dissect.capture import CaptureError, PcapngWriter, TcpScript
from dissect.check import reference
from dissect.check.suite import Case, Target
from dissect.check.targets import Live, Stop
from dissect.check.watching import reason_of, watch
from dissect.lab.errors import LabError, PeerTableError
from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import Plan, Unplayable, choose, load, sessions
from dissect.replay.player import Player
from dissect.replay.telling import describe
from dissect.replay.transports import NotAllowed, Sockets, Tape, play_session, resolve
from dissect.replay.voices import refusal
from dissect.stream.side import Side
from dissect.stream.text import duration, plural, safe
from dissect.timing.observations import Observation

if TYPE_CHECKING:
    from dissect.lab.probing.judging import Reaction, Transcript
    from dissect.lab.probing.prober import Result as Probed

LEAVES_S = 2.0
"""How long a client may take to end by itself once its conversation is over."""
LOOK_S = 0.02
SETTLE_S = 0.3
"""How long a probed server may take to close after it has reacted: long, so that no load decides that."""
RESOLVE_S = 10.0
CRASH_S = 0.1
"""How long it may take until the end of a process is known here, once its connection has ended early."""

Group = tuple[Plan, ...]
"""Conversations that are played together: one, or a SPICE session with its main channel first."""


@dataclass(slots=True)
class Run:
    """What one run came to.

    outcome: the replay's worst; a probe's is pass where all could be measured. behaviour: what the peer did,
    in lines that are the same where it did the same. complaints: what of the case's own expectations was not
    met. times: what is timed -> observations. told: all of it for a person. capture: the live one.
    """

    outcome: Outcome
    reason: str
    behaviour: tuple[str, ...] = ()
    complaints: list[str] = field(default_factory=list)
    times: dict[str, list[Observation]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    capture: Path | None = None
    compared: int = 0
    lasted_ns: int = 0
    machine_ns: int | None = None
    """Of a timed case: how fast the machine itself answered then; see `reference`."""

    @property
    def passed(self) -> bool:
        """Whether all that was asked was answered as the case wants it; a baseline is another question."""
        return self.outcome is Outcome.PASS and not self.complaints


@dataclass(frozen=True, slots=True)
class Played:
    """What of a capture is played, in order, and what is not, in sentences."""

    groups: tuple[Group, ...] = ()
    left_out: tuple[str, ...] = ()


def prepare(case: Case, source: str, password: str | None = None) -> Played:
    """What of the case's capture is played; nothing for a probe.

    source: the suite's file. Raises PeerTableError where nothing of it can be played.
    """
    if case.capture is None:
        return Played()

    def wrong(key: str, why: str) -> PeerTableError:
        return PeerTableError(source, f"case.{case.name}", key, why)

    try:
        plans, _ = load(case.capture, case.played, only=None)
    except (CaptureError, OSError) as error:
        raise wrong("capture", str(error)) from None
    groups = [tuple(group) for group in sessions(plans)] if case.session_id is None else []
    if case.conversation is not None:
        within = [group for group in groups if any(plan.index == case.conversation for plan in group)]
        try:
            chosen = choose(plans, case.conversation)
        except Unplayable as error:
            raise wrong("conversation", str(error)) from None
        groups = within or [(chosen,)]
    else:
        grouped = {plan.index for group in groups for plan in group}
        alone = [(plan,) for plan in plans if plan.index not in grouped]
        groups = sorted([*groups, *alone], key=lambda group: group[0].index)
    if not groups:
        raise wrong("capture", f"{case.capture}: no TCP conversation in it")
    every = groups
    if len(groups) > 1:
        groups = [group for group in groups if group[0].unplayable is None]
    if not groups:
        raise wrong("capture", f"{case.capture}: none of its conversations can be played")
    options = replace(case.options, password=password)
    for group in groups:
        for plan in group:
            session = 0 if len(group) > 1 else case.session_id
            why = refusal(plan, password, session) or Player(plan, options, session_id=session).why_not
            if why is not None:
                raise wrong("capture", f"{case.capture}: conversation {plan.index} cannot be replayed: {why}")
    names = {item.message.name for group in groups for plan in group for item in plan.expected}
    if case.options.through is not None and case.options.through not in names:
        raise wrong("through", f"no message {case.options.through} of the live side in {case.capture}")
    left_out = [
        f"conversation {group[0].index} of {Path(case.capture).name} is not played: {group[0].unplayable}"
        for group in every
        if group not in groups
    ]
    return Played(tuple(groups), tuple(left_out))


class Session(AbstractContextManager["Session"]):
    """A target for one case, and the runs of the case on it. Entering raises LabError, and so may `run`.

    folder: where the live captures go. repeat: how many reactions a probe times. password: the player's.
    """

    def __init__(
        self,
        case: Case,
        target: Target,
        played: Played,
        folder: Path,
        stop: Stop,
        *,
        allowed: Sequence[str] = (),
        repeat: int = 3,
        live: Live | None = None,
    ) -> None:
        self.case, self.target, self.groups, self.folder, self.stop = (
            case,
            target,
            played.groups,
            folder,
            stop,
        )
        self.allowed, self.repeat = allowed, repeat
        self._shared = live is not None
        self.live = live or Live(target)
        self._count = 0

    def __enter__(self) -> Self:
        if not self._shared:
            self.live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._shared:
            self.live.__exit__(None, None, None)

    def run(self) -> Run:
        """Run it once. Raises LabError where the target cannot be had any more."""
        number = self._count
        self._count += 1
        path = self.folder / f"{self.case.name}--{self.target.name}--{number}.pcapng"
        began = time.monotonic_ns()
        if self.case.probe is not None:
            found = self._probe(path)
        else:
            found = self._replay(path)
        found.lasted_ns = time.monotonic_ns() - began
        if self.case.timed and not self.stop.asked():
            found.machine_ns = reference.measure()
        if self.case.played is Side.CLIENT:
            self._look_for_a_crash(found)
        return found

    def _look_for_a_crash(self, found: Run) -> None:
        """A server of ours that has ended did so by this run: a finding, whatever else it answered."""
        until = time.monotonic() + CRASH_S
        suspicious = found.outcome is not Outcome.PASS and self.target.peer is not None
        while (how := self.live.died()) is None and suspicious and time.monotonic() < until:
            time.sleep(LOOK_S)
        if how is None:
            return
        found.complaints.insert(0, f"the target {how}")
        found.behaviour = (*found.behaviour, f"the target {how}")
        found.told.append(f"the target {how}")
        problem = self.live.restart()
        if problem is not None:
            raise LabError(f"the target {how}, and does not start again: {problem}")

    # --- replays

    def _replay(self, path: Path) -> Run:
        tape = Tape(path)
        try:
            if self.case.played is Side.CLIENT:
                results = asyncio.run(self._play(tape))
            else:
                results = []
                for group in self.groups:
                    if not self.stop.asked():
                        results += self._serve(group, tape)
        finally:
            tape.close()
        if self.stop.asked():
            return Run(Outcome.INCONCLUSIVE, "interrupted")
        plans = [plan for group in self.groups for plan in group]
        options = self.case.options
        seen = watch(path, plans, results, options.rules, options.through)
        worst = _worst(results)
        where = "" if len(results) == 1 else f"conversation {worst.conversation}: "
        found = Run(
            outcome=worst.outcome,
            reason=f"{where}{reason_of(worst)}",
            behaviour=seen.lines,
            times={name: [one] for name, one in seen.times.items()},
            told=[line for result in results for line in describe(result)],
            capture=path,
            compared=sum(r.compared_messages + r.compared_silences + r.compared_endings for r in results),
        )
        self._judge_replay(found, results)
        return found

    def _judge_replay(self, found: Run, results: Sequence[Result]) -> None:
        expect = self.case.expect
        if expect.outcome:
            if found.outcome not in expect.outcome:
                wanted = " or ".join(expect.outcome)
                found.complaints.append(f"expected {wanted}, got {found.outcome}: {found.reason}")
            else:
                # What the case says is right is right, and how it came out was compared.
                found.outcome, found.compared = Outcome.PASS, found.compared + 1
        named = {f"{one.message}.{one.field}" for result in results for one in result.differences}
        for pattern in expect.differs:
            if not any(fnmatchcase(name, pattern) or name.startswith(f"{pattern}.") for name in named):
                did = ", ".join(sorted(named)) or "nothing"
                found.complaints.append(f"expected {pattern} to differ; {did} did")
        self._judge_times(found)

    def _judge_times(self, found: Run) -> None:
        """Each time against the case's own bound. One that was cut off before it says nothing."""
        bound = self.case.expect.within_ns
        if bound is None:
            return
        for name, observed in found.times.items():
            late = [one for one in observed if one.ns > bound]
            if late:
                last = max(late, key=lambda one: (not one.exact, one.ns))
                took = duration(last.ns, censored=not last.exact)
                found.complaints.append(f"{name} after {took}, later than {duration(bound)}")

    async def _play(self, tape: Tape) -> list[Result]:
        case, target = self.case, self.target
        options = replace(case.options, password=self._password())
        address = target.address
        if address is None:
            from dissect.replay.transports import Target as Address

            host = f"[{self.live.host}]" if ":" in self.live.host else self.live.host
            address = Address.parse(f"{host}:{self.live.port}")
        try:
            address = await resolve(address, self.allowed, RESOLVE_S)
        except NotAllowed as error:
            raise LabError(str(error)) from None
        except OSError as error:
            raise LabError(f"{address.text}: {error.strerror or error}") from None
        carrier = Sockets(address, tape)
        loop = asyncio.get_running_loop()
        results: list[Result] = []
        with self.stop.telling(lambda: loop.call_soon_threadsafe(carrier.interrupt)):
            for group in self.groups:
                if self.stop.asked():
                    break
                if len(group) > 1:
                    results += await play_session(group, carrier, options, case.deadline_s)
                else:
                    player = Player(group[0], options, session_id=case.session_id)
                    results.append(await carrier.play(player, case.deadline_s))
        return results

    def _password(self) -> str | None:
        return self.case.password if self.case.password is not None else self.target.password

    def _serve(self, group: Group, tape: Tape) -> list[Result]:
        """Play the server's side to the target, which is started now."""
        from dissect.replay.serve import Server

        listening = socket.socket(socket.AF_INET6 if ":" in self.target.host else socket.AF_INET)
        with listening:
            listening.bind((self.target.host, 0))
            listening.listen()
            host, port = listening.getsockname()[:2]

            async def go() -> list[Result]:
                server = Server(list(group), self.case.options, tape)
                loop = asyncio.get_running_loop()

                def end() -> None:
                    loop.call_soon_threadsafe(server.stop, "interrupted")

                with self.stop.telling(end):
                    # A client that is a program starts in this thread, whose end would be its own.
                    running = self.live.launch(str(host), int(port))
                    watching = asyncio.create_task(_watch_client(server, running))
                    session = await server.serve(listening, self.case.deadline_s)
                    watching.cancel()
                await asyncio.to_thread(running.wait, LEAVES_S)
                return [served.result for served in session.served]

            return asyncio.run(go())

    # --- probes

    def _probe(self, path: Path) -> Run:
        from dissect.lab.probing.prober import Plan as ProbePlan
        from dissect.lab.probing.prober import Prober, Unreachable

        case, live = self.case, self.live
        assert case.probe is not None
        heard: list[tuple[bytes, Transcript]] = []
        plan = ProbePlan(
            deadline_s=case.deadline_s,
            protocols=case.probe.protocols,
            lengths=case.probe.lengths,
            sweeps=case.probe.sweeps,
            seed=case.probe.seed,
            repeat=self.repeat,
            delay_s=case.probe.delay_s,
            settle_s=SETTLE_S,
        )

        async def go() -> Probed:
            address = self.target.address
            if address is not None:
                try:
                    resolved = await resolve(address, self.allowed, RESOLVE_S)
                except NotAllowed as error:
                    raise LabError(str(error)) from None
                if resolved.address is None:
                    raise LabError(f"{address.text}: a probe needs TCP, HOST:PORT")
                where = resolved.address
            else:
                family = socket.AF_INET6 if ":" in live.host else socket.AF_INET
                where = (int(family), (live.host, live.port))
            prober = Prober(
                f"{live.host}:{live.port}",
                where,
                plan,
                restart=live.restart if live.restarts else None,
                died=live.died,
                seen=lambda data, transcript: heard.append((data, transcript)),
            )
            loop = asyncio.get_running_loop()
            task = asyncio.ensure_future(prober.run())
            with self.stop.telling(lambda: loop.call_soon_threadsafe(task.cancel)):
                return await task

        try:
            result = asyncio.run(go())
        except Unreachable as error:
            raise LabError(f"no connection: {error}") from None
        except asyncio.CancelledError:
            return Run(Outcome.INCONCLUSIVE, "interrupted")
        _write_trials(path, (live.host, live.port), heard)
        found = Run(
            outcome=Outcome.PASS,
            reason="measured",
            behaviour=tuple(_probed(result)),
            times=_probe_times(result),
            capture=path,
            compared=len(result.trials),
        )
        found.told = list(found.behaviour)
        if result.not_run or result.unsettled:
            left = result.not_run + len(result.unsettled)
            found.outcome = Outcome.INCONCLUSIVE
            found.reason = f"{plural(left, 'trial')} could not be measured"
            found.told += [f"{one.kind}: {one.text}" for one in result.findings]
        self._judge_probe(found, result)
        return found

    def _judge_probe(self, found: Run, result: Probed) -> None:
        expect, complaints = self.case.expect, found.complaints
        for name, wanted in expect.noticed:
            seen = result.detection(name)
            if seen is None:
                complaints.append(f"{name}: expected to be noticed after {wanted} bytes, and is not noticed")
            elif seen[0] != wanted:
                complaints.append(f"{name}: expected to be noticed after {wanted} bytes, is after {seen[0]}")
        for name in expect.never:
            seen = result.detection(name)
            if seen is not None:
                complaints.append(f"{name}: expected not to be noticed, and is after {seen[0]} bytes")
        if expect.speaks is not None and result.speaks != expect.speaks:
            complaints.append(f"expected a server that speaks {expect.speaks}; it speaks {result.speaks}")
        self._judge_times(found)
        if expect.answered:
            self._judge_sweep(result, complaints)

    def _judge_sweep(self, result: Probed, complaints: list[str]) -> None:
        expect = self.case.expect
        swept = [trial for trial in result.trials if trial.phase == "sweep" and not trial.reaction.tainted]
        hung, late, alive = [], [], []
        for trial in swept:
            label, seen = trial.stimulus.label, trial.reaction
            known = any(fnmatchcase(label, pattern) for pattern in expect.hangs)
            if seen.by is None and not known:
                hung.append(label)
            elif seen.by is not None and known:
                alive.append(label)
            elif seen.by is not None and expect.within_ns is not None and seen.ns > expect.within_ns:
                late.append(f"{label} ({duration(seen.ns)})")
        for labels, what in (
            (hung, "not answered before the deadline"),
            (late, "answered too late"),
            (alive, "answered, where a hang is known"),
        ):
            if labels:
                more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
                complaints.append(f"{', '.join(labels[:5])}{more}: {what}")


def _worst(results: Sequence[Result]) -> Result:
    """What decides of several: a failure, then what could not be decided."""
    order = {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 1}
    return max(results, key=lambda result: order.get(result.outcome, 2))


async def _watch_client(server: Any, running: Any) -> None:
    """Do not wait for a client that has ended without connecting."""
    while server.waiting:
        if running.exited is not None and not running.alive:
            await asyncio.sleep(LOOK_S)  # its connection may be about to be accepted
            if server.waiting:
                server.stop(f"the client ended before it connected ({running.exited})")
            return
        await asyncio.sleep(LOOK_S)


# --- what a probe found, as lines and as times ----------------------------------------------------------

STRUCK = {
    "hung": "is hung by a probe",
    "crashed": "is killed by a probe",
    "one at a time": "serves one at a time",
}
"""What is found of a server besides its reactions."""


def _probed(result: Probed) -> list[str]:
    """What a probe found, in lines that are the same where the server did the same."""
    from itertools import groupby

    lines = []
    if result.baseline.greeting:
        lines.append(f"greets with {safe(repr(result.baseline.greeting)[1:])}")
    elif result.plan.protocols:
        lines.append("says nothing before it is spoken to")
    for name in result.plan.protocols:
        seen = result.detection(name)
        own = " (its own protocol)" if name == result.speaks else ""
        noticed = "not noticed before the deadline" if seen is None else f"noticed after {seen[0]} bytes"
        lines.append(f"{name}{own}: {noticed}")
        table = sorted(result.table(name).items())
        for text, group in groupby(table, key=lambda item: _reaction(item[1])):
            sizes = [size for size, _ in group]
            span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
            lines.append(f"  {span} bytes: {text}")
    for name in result.plan.sweeps:
        lines.append(f"sweep of {name}")
        swept = [one for one in result.trials if one.phase == "sweep" and one.stimulus.protocol == name]
        lines += [f"  {one.stimulus.label}: {_reaction(one.reaction)}" for one in swept]
    if result.plan.protocols:
        lines.append(f"speaks {result.speaks}")
    kinds = dict.fromkeys(one.kind for one in result.findings)
    return lines + [STRUCK[kind] for kind in kinds if kind in STRUCK]


def _reaction(seen: Reaction) -> str:
    if seen.tainted:
        return f"not measured ({seen.tainted})"
    if seen.by is None:
        return "nothing before the deadline"
    if seen.by in ("close", "reset"):
        return "the connection ends" + (", without a greeting" if seen.detail == "no greeting" else "")
    then = ", then the connection ends" if seen.then else ""
    return f"{seen.by}: {safe(seen.detail)}{then}"


def _probe_times(result: Probed) -> dict[str, list[Observation]]:
    found: dict[str, list[Observation]] = {}
    for trial in result.trials:
        if trial.phase != "repeat" or trial.reaction.tainted:
            continue
        name = trial.stimulus.protocol
        exact = trial.reaction.by is not None
        found.setdefault(f"detection of {name}", []).append(
            Observation(
                side=Side.SERVER,
                ns=trial.reaction.ns,
                status="exact" if exact else "censored",
                by=None,
                bytes=len(trial.stimulus.data),
                after_close=False,
                client_spoke=name,
                server_spoke=result.speaks,
                conversation=0,
                clock="user",
            )
        )
    return found


def _write_trials(path: Path, server: tuple[str, int], heard: Sequence[tuple[bytes, Transcript]]) -> None:
    """The connections of a probe as a capture: packets made up for what its sockets saw."""
    packets: list[tuple[int, bytes]] = []
    offset = time.time_ns() - time.monotonic_ns()
    for number, (data, transcript) in enumerate(heard):
        if transcript.opened_ns is None:
            continue
        host = transcript.source or ("::1" if ":" in server[0] else "127.0.0.1")
        script = TcpScript(
            (host, 10_000 + number % 50_000), server, lambda ns, raw: packets.append((ns, raw))
        )
        script.opened(transcript.opened_ns)
        events: list[tuple[int, str, bytes]] = [(e.ns, e.kind, e.data) for e in transcript.events]
        if data:
            events.append((transcript.sent_ns or transcript.opened_ns, "sent", data))
        for ns, kind, payload in sorted(events, key=lambda event: event[0]):
            match kind:
                case "sent":
                    script.sent(Side.CLIENT, payload, ns)
                case "data":
                    script.sent(Side.SERVER, payload, ns)
                case "fin":
                    script.closed(Side.SERVER, ns)
                case _:
                    script.reset(Side.SERVER, ns)
        if transcript.end is None:
            script.reset(Side.CLIENT, transcript.ended_ns)
    with PcapngWriter(path, name="probe", comment=Tape.COMMENT) as writer:
        for ns, packet in sorted(packets, key=lambda one: one[0]):
            writer.write(ns + offset, packet)
