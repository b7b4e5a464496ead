# SPDX-License-Identifier: GPL-2.0-or-later
"""Two builds side by side: the same case on both in turns, so that the machine does the same to both.

Which of the two is first in a turn is drawn with a seed. What changed is told; how times differ has the
interval of the difference of the medians.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random

from dissect.check.baseline import Baseline, together
from dissect.check.judging import LEAST, Judgement, Status, judge, shifts_of
from dissect.check.runner import Runner
from dissect.check.running import Run, Session
from dissect.check.suite import Case, Target
from dissect.check.targets import not_installed
from dissect.lab.errors import LabError
from dissect.replay.outcome import Outcome
from dissect.stream.text import duration
from dissect.timing.estimators import Comparison, StatisticsMissing, compare


@dataclass(slots=True)
class Compared:
    """One case on two builds. times: what is timed -> how the second differs from the first."""

    case: Case
    first: Target
    second: Target
    judgement: Judgement
    runs: tuple[list[Run], list[Run]] = field(default_factory=lambda: ([], []))
    times: dict[str, Comparison] = field(default_factory=dict)
    logs: tuple[str, str] = ("", "")

    @property
    def status(self) -> Status:
        return self.judgement.status


def interleaved(
    runner: Runner, cases: Sequence[Case], first: Target, second: Target, samples: int, seed: int = 0
) -> Iterator[Compared]:
    """Compare the builds on each case, and yield it. After the runner's `stop` the rest comes as not run.

    samples: runs on each build; a probe runs twice on each, and times so many reactions.
    """
    random = Random(seed)
    for case in cases:
        found = Compared(case, first, second, Judgement(Status.NOT_RUN, "interrupted"))
        if not runner.stop.asked():
            try:
                _run(runner, found, samples, random)
            except LabError as error:
                found.judgement = Judgement(Status.ERROR, str(error))
        yield found


def _run(runner: Runner, found: Compared, samples: int, random: Random) -> None:
    case, targets = found.case, (found.first, found.second)
    for target in targets:
        if (missing := not_installed(target)) is not None:
            found.judgement = Judgement(Status.ERROR, missing)
            return
    turns = 2 if case.probe is not None else samples
    versions = []
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(
                Session(
                    case, target, runner.played(case, target), runner.folder, runner.stop,
                    allowed=runner.settings.allowed, repeat=max(LEAST, samples // turns),
                )
            )
            for target in targets
        ]  # fmt: skip
        versions = [session.live.ask_version() for session in sessions]
        for _ in range(turns):
            order = [0, 1]
            random.shuffle(order)
            for which in order:
                run = sessions[which].run()
                if runner.stop.asked() and run.outcome is Outcome.INCONCLUSIVE:
                    return
                found.runs[which].append(run)
    found.logs = (sessions[0].live.log(), sessions[1].live.log())
    _judge(runner, found, versions[0])


def _judge(runner: Runner, found: Compared, version: str | None) -> None:
    case, (one, other) = found.case, found.runs
    build = f"{found.first.name} {version or ''}".strip()
    counted = Counter(run.behaviour for run in one)
    base = Baseline(case.name, build, "", dict(counted.most_common()))
    for run in one:
        if run.outcome is Outcome.INCONCLUSIVE:
            found.judgement = Judgement(Status.INCONCLUSIVE, f"{found.first.name}: {run.reason}")
            return
    # The first build is what the second is held to, whatever the case itself expects of both.
    for run in other:
        run.complaints = [text for text in run.complaints if text not in _complaints(one)]
    found.judgement = judge(case, other, base, runner.suite.timing)
    before, after = together(one), together(other)
    try:
        for name in before:
            if after.get(name):
                found.times[name] = compare(before[name], after[name])
        shifts = shifts_of(before, after, runner.suite.timing)
    except StatisticsMissing as error:
        if found.judgement.status is Status.PASS:
            found.judgement = Judgement(Status.INCONCLUSIVE, f"the times are not compared: {error}")
        return
    found.judgement.shifts = shifts
    late = [shift for shift in shifts if shift.slower]
    if found.judgement.status is Status.PASS:
        found.judgement.reason = f"the same in {len(one)} and {len(other)} runs"
        if late:
            found.judgement = Judgement(Status.SLOWER, str(late[0]), shifts=shifts)


def _complaints(runs: Sequence[Run]) -> set[str]:
    return {text for run in runs for text in run.complaints}


def difference(found: Comparison) -> str:
    """The difference of the medians with its interval, for a person."""
    if found.difference is None:
        return found.why or ""
    gap = found.difference
    ends = ["unbounded" if end is None else _signed(end) for end in (gap.low, gap.high)]
    return f"{_signed(gap.ns or 0)} [{ends[0]}, {ends[1]}]"


def _signed(ns: int) -> str:
    return ("+" if ns > 0 else "") + duration(ns)
