# SPDX-License-Identifier: GPL-2.0-or-later
"""All cases on all targets: some at once, each with a peer and a port of its own; timed ones alone, last.

A case is never tried again unless `retries` says so. `Stop` ends a run at any moment: what is undecided then
is "not run", and no process is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from dissect.check import baseline as baselines
from dissect.check.baseline import Baseline
from dissect.check.judging import GOOD, Judgement, Status, judge
from dissect.check.running import Played, Run, Session, prepare
from dissect.check.suite import Case, Suite, Target
from dissect.check.targets import Live, Stop, not_installed
from dissect.lab.errors import LabError
from dissect.replay.outcome import Outcome
from dissect.stream.text import plural

LOOK_S = 0.2
"""How often it is looked whether somebody wants to stop."""
RECORDED_RUNS = 3
"""Runs that the baseline of an untimed replay is made from, so that what flickers is seen."""

Pair = tuple[Case, Target]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a suite is run. runs: of each case, None: as the case says. record: write baselines. against: the
    build whose baselines all targets are judged by. allowed: hosts beyond loopback.
    """

    parallel: int = 2
    runs: int | None = None
    retries: int = 0
    record: bool = False
    against: str | None = None
    allowed: tuple[str, ...] = ()


@dataclass(slots=True)
class Cell:
    """One case on one target, and what it came to."""

    case: Case
    target: Target
    judgement: Judgement
    runs: list[Run] = field(default_factory=list)
    baseline: Baseline | None = None
    version: str | None = None
    log: str = ""
    retried: int = 0
    notes: list[str] = field(default_factory=list)
    """What of the case was left out, in sentences."""
    evidence: dict[str, Path] = field(default_factory=dict)
    """What was kept of a failure: what it is -> file."""

    @property
    def status(self) -> Status:
        return self.judgement.status

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.case.name} on {self.target.name}"

    @property
    def lasted_ns(self) -> int:
        """How long its runs took together."""
        return sum(run.lasted_ns for run in self.runs)


class Runner:
    """See the module. folder: for live captures, one file a run."""

    def __init__(self, suite: Suite, settings: Settings, folder: Path, stop: Stop | None = None) -> None:
        self.suite, self.settings, self.folder = suite, settings, folder
        self.stop = stop or Stop()
        self._played: dict[tuple[str, str | None], Played] = {}
        self._shared: dict[str, tuple[Live, threading.Lock]] = {}
        self._stack = ExitStack()
        self._lock = threading.Lock()

    def prepare(self, pairs: Sequence[Pair], tick: Callable[[int], None] = lambda done: None) -> None:
        """Read the captures and baselines that `pairs` need, so that a mistake shows before anything runs.

        Raises LabError, BaselineError.
        """
        for done, (case, target) in enumerate(pairs):
            self.played(case, target)
            if not self.settings.record:
                self.baseline(case, target)
            tick(done + 1)

    def played(self, case: Case, target: Target) -> Played:
        """What of the case's capture is played."""
        password = case.password if case.password is not None else target.password
        key = case.name, password
        if key not in self._played:
            self._played[key] = prepare(case, self.suite.file, password)
        return self._played[key]

    def baseline_path(self, case: Case, target: Target) -> Path:
        """Where the baseline lies that `target` is judged by."""
        by = self.settings.against or target.judged_by
        return baselines.path_of(self.suite.baselines, by, case.name)

    def baseline(self, case: Case, target: Target) -> Baseline | None:
        """The baseline that `target` is judged by; None where there is none."""
        return baselines.read(self.baseline_path(case, target))

    def run(self, pairs: Sequence[Pair]) -> Iterator[Cell]:
        """Run them, and yield each as it is decided. After `stop` the rest comes as not run."""
        timed = [pair for pair in pairs if pair[0].timed]
        others = [pair for pair in pairs if not pair[0].timed]
        try:
            for some, at_once in ((others, self.settings.parallel), (timed, 1)):
                with ThreadPoolExecutor(max_workers=max(1, at_once)) as pool:
                    try:
                        yield from self._some(pool, some)
                    except BaseException:  # also where nobody wants the rest
                        self.stop.ask()
                        raise
        finally:
            self._stack.close()

    def _some(self, pool: ThreadPoolExecutor, pairs: Sequence[Pair]) -> Iterator[Cell]:
        left = {pool.submit(self._guarded, pair) for pair in pairs}
        while left:
            # Not without end: a signal's handler runs between two looks.
            done, left = wait(left, LOOK_S, FIRST_COMPLETED)
            for one in done:
                yield one.result()

    def _guarded(self, pair: Pair) -> Cell:
        case, target = pair
        missing = not_installed(target)
        if missing is not None:
            status = Status.LEFT_OUT if target.optional else Status.ERROR
            return Cell(case, target, Judgement(status, missing))
        if self.stop.asked():
            return Cell(case, target, Judgement(Status.NOT_RUN, "interrupted before it was begun"))
        try:
            if target.shared:
                live, lock = self._share(target)
                with lock:
                    return self._cell(case, target, live)
            return self._cell(case, target, None)
        except LabError as error:
            if self.stop.asked():
                return Cell(case, target, Judgement(Status.NOT_RUN, "interrupted"))
            return Cell(case, target, Judgement(Status.ERROR, str(error)))

    def _share(self, target: Target) -> tuple[Live, threading.Lock]:
        """The one start of a target that its cases share, and the lock under which they use it."""
        with self._lock:
            if target.name not in self._shared:
                self._shared[target.name] = self._stack.enter_context(Live(target)), threading.Lock()
            return self._shared[target.name]

    def _cell(self, case: Case, target: Target, live: Live | None) -> Cell:
        settings = self.settings
        recorded = None if settings.record else self.baseline(case, target)
        repeat = self.suite.timing.samples if case.timed else 3
        played = self.played(case, target)
        cell = Cell(case, target, Judgement(Status.NOT_RUN, "interrupted"), baseline=recorded)
        cell.notes += played.left_out
        session = Session(
            case, target, played, self.folder, self.stop,
            allowed=settings.allowed, repeat=repeat, live=live,
        )  # fmt: skip
        failed: LabError | None = None
        with session:
            cell.version = session.live.ask_version()
            try:
                self._runs(session, cell)
            except LabError as error:
                failed = error
        cell.log = session.live.log()
        if self.stop.asked() and len(cell.runs) < self._wanted(case):
            cell.judgement = self._interrupted(cell)
        elif failed is not None:
            said = [run.complaints[0] for run in cell.runs if run.complaints]
            cell.judgement = Judgement(Status.ERROR, f"{said[-1]}; {failed}" if said else str(failed))
        else:
            cell.judgement = judge(case, cell.runs, recorded, self.suite.timing)
            if settings.record:
                self._record(cell)
        return cell

    def _interrupted(self, cell: Cell) -> Judgement:
        """What is known of a case that was not run to its end; undecided, whatever that is."""
        if not cell.runs:
            return Judgement(Status.NOT_RUN, "interrupted before its first run was over")
        so_far = judge(cell.case, cell.runs, cell.baseline, self.suite.timing)
        text = f"interrupted after {plural(len(cell.runs), 'run')}; so far {so_far.status}: {so_far.reason}"
        return Judgement(Status.NOT_RUN, text, so_far.diff, so_far.rates)

    def _wanted(self, case: Case) -> int:
        if self.settings.runs is not None:
            return self.settings.runs
        if self.settings.record and case.probe is None:
            return max(case.runs, RECORDED_RUNS)
        return case.runs

    def _runs(self, session: Session, cell: Cell) -> None:
        for _ in range(self._wanted(cell.case)):
            if not self._once(session, cell):
                return
        while cell.retried < self.settings.retries and not self.settings.record:
            if judge(cell.case, cell.runs, cell.baseline, self.suite.timing).status is not Status.FAIL:
                return
            cell.retried += 1
            if not self._once(session, cell):
                return

    def _once(self, session: Session, cell: Cell) -> bool:
        """One more run; False where it was interrupted, and does not count."""
        if self.stop.asked():
            return False
        found = session.run()
        if self.stop.asked() and found.outcome is Outcome.INCONCLUSIVE:
            return False
        cell.runs.append(found)
        return True

    def _record(self, cell: Cell) -> None:
        """Write what was seen as the baseline, unless that says the same already."""
        case, target = cell.case, cell.target
        if any(run.complaints for run in cell.runs):
            return  # what the suite itself calls wrong does not become right by being written down
        path = self.baseline_path(case, target)
        source = "a probe"
        if case.capture is not None:
            plan = self.played(case, target).groups[0][0]
            source = f"{Path(case.capture).name}, sha256 {(plan.sha256 or '')[:16]}"
        build = f"{target.name} {cell.version or '(version unknown)'}"
        new = baselines.made(case.name, build, source, cell.runs, timed=case.timed)
        cell.baseline = new
        what = f"{len(new.behaviours)} behaviours" if len(new.behaviours) > 1 else new.usual[0].strip()
        try:
            old = baselines.read(path)
        except baselines.BaselineError:
            old = None
        if old is not None and self._same(cell, old):
            cell.judgement = Judgement(Status.RECORDED, f"unchanged: {what}")
            return
        baselines.write(new, path)
        cell.judgement = Judgement(Status.RECORDED, f"{'changed' if old else 'new'}: {what}")

    def _same(self, cell: Cell, old: Baseline) -> bool:
        """Whether a baseline need not be written again: same behaviour, times that no test tells apart."""
        new = cell.baseline
        assert new is not None
        if set(old.behaviours) != set(new.behaviours) or set(old.times) != set(new.times):
            return False
        if not new.times:
            return True
        back = replace(cell.case, timed=True)
        forth = judge(back, cell.runs, old, self.suite.timing)
        return old.machine == new.machine and forth.status in GOOD


def default_parallel() -> int:
    """How many cases run at once where nobody says."""
    import os

    return max(1, len(os.sched_getaffinity(0)))
