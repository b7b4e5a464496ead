# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs against what was expected and what was recorded: the same, changed, slower, flaky, or undecided.

Pure. A case that compared nothing is never a pass. Where some runs are right and some are not, the case is
flaky, with its rates, and has not failed. A slow-down is one where two things hold: a one-sided Mann-Whitney
test at the stated level (divided by how many times the case has) says that the times have grown by more than
the minimum effect, and so has the fastest quarter of them: what a loaded machine adds, it adds to the slow
ones. Where the machine itself has become slower, nobody can tell.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median_low

from dissect.check import reference
from dissect.check.baseline import Baseline, Behaviour, this_machine, together
from dissect.check.running import Run
from dissect.check.suite import Case, Expect, Timing
from dissect.replay.outcome import Outcome
from dissect.stream.text import duration
from dissect.timing.estimators import LATER, StatisticsMissing, share, slower
from dissect.timing.observations import Observation

BUSY = 0.2
"""Where the machine itself has become slower by that share of a slow-down, no build is blamed for it."""
LEAST = 5
"""Observations on each side below which times are not judged."""


class Status(StrEnum):
    """What a case came to on a target."""

    PASS = "pass"
    RECORDED = "recorded"
    """Its baseline was written."""
    FAIL = "fail"
    SLOWER = "slower"
    ERROR = "error"
    """The target could not be had."""
    FLAKY = "flaky"
    INCONCLUSIVE = "inconclusive"
    LEFT_OUT = "left-out"
    """Its program is not installed, and it is optional."""
    NOT_RUN = "not-run"
    """Interrupted before it was decided."""


GOOD = frozenset({Status.PASS, Status.RECORDED, Status.LEFT_OUT})
BAD = frozenset({Status.FAIL, Status.SLOWER, Status.ERROR})


@dataclass(frozen=True, slots=True)
class Shift:
    """How times have moved. before, after: medians in ns (None: not seen in half of the runs). p: of the test
    for more than `effect_ns`; `slower`: the whole judgement. elsewhere: those before are of another machine.
    """

    name: str
    before: int | None
    after: int | None
    effect_ns: int
    p: float
    level: float
    slower: bool
    elsewhere: bool = False

    def __str__(self) -> str:
        """For a person."""
        one, other = (duration(ns) if ns is not None else "not in time" for ns in (self.before, self.after))
        p = f"p = {self.p:.2g}" if self.p >= 1e-4 else "p < 0.0001"
        where = "; the recorded times are of another machine" if self.elsewhere else ""
        return (
            f"{self.name}: {one} → {other} (slower by more than {duration(self.effect_ns)}: {p}, "
            f"level {self.level:g}{where})"
        )


@dataclass(slots=True)
class Judgement:
    """status and reason (one sentence, the first difference); diff: lines for a person; rates: how often what
    was seen, where it differed; known: flaky as it was recorded.
    """

    status: Status
    reason: str
    diff: list[str] = field(default_factory=list)
    rates: list[str] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    known: bool = False


def judge(case: Case, runs: Sequence[Run], baseline: Baseline | None, timing: Timing) -> Judgement:
    """What runs of one case on one target come to."""
    if not runs:
        return Judgement(Status.NOT_RUN, "not run")
    if baseline is None and case.expect.baseline:
        return Judgement(Status.INCONCLUSIVE, "there is no baseline yet: --record writes it")
    if baseline is None and case.probe is not None and case.expect == Expect():
        return Judgement(
            Status.INCONCLUSIVE, "nothing is expected of this probe: give expect, or --record a baseline"
        )
    right = [run for run in runs if _right(run, baseline)]
    undecided = [run for run in runs if _undecided(run)]
    wrong = [run for run in runs if run not in right and run not in undecided]
    if wrong and right:
        return _flaky(right, wrong, undecided, baseline)
    if wrong:
        first = _why(wrong[0], baseline)
        found = Judgement(Status.FAIL, first, _diff(wrong[0], baseline))
        if len({run.behaviour for run in wrong}) > 1:
            found.rates = _rates(wrong)
        return found
    if undecided:
        text = _some(undecided[0].reason, len(undecided), len(runs))
        return Judgement(Status.INCONCLUSIVE, text, list(undecided[0].told))
    if baseline is not None and len(baseline.behaviours) > 1:
        rates = "; ".join(
            f"{count} of {baseline.runs}: {_name(b)}" for b, count in baseline.behaviours.items()
        )
        return Judgement(Status.FLAKY, f"flaky as recorded ({rates})", rates=_rates(runs), known=True)
    return _judge_times(case, runs, baseline, timing)


def _undecided(run: Run) -> bool:
    return run.outcome is Outcome.INCONCLUSIVE and not run.complaints


def _right(run: Run, baseline: Baseline | None) -> bool:
    if run.complaints or run.outcome is Outcome.INCONCLUSIVE:
        return False
    if baseline is not None:
        return run.behaviour in baseline.behaviours
    return run.outcome is Outcome.PASS and bool(run.compared)


def _why(run: Run, baseline: Baseline | None) -> str:
    if run.complaints:
        more = f" (and {len(run.complaints) - 1} more)" if len(run.complaints) > 1 else ""
        return run.complaints[0] + more
    if baseline is not None:
        return first_difference(baseline.usual, run.behaviour)
    if run.outcome is Outcome.PASS:
        return "nothing was compared"
    return f"{run.outcome}: {run.reason}"


def _some(text: str, count: int, of: int) -> str:
    return text if of == 1 else f"{count} of {of} runs: {text}"


# --- behaviour ------------------------------------------------------------------------------------------


def first_difference(expected: Behaviour, got: Behaviour) -> str:
    """Where two behaviours begin to differ, as one sentence that names the message."""
    matcher = difflib.SequenceMatcher(None, expected, got, autojunk=False)
    for tag, start, end, begin, stop in matcher.get_opcodes():
        if tag == "equal":
            continue
        wanted, came = expected[start:end], got[begin:stop]
        of = _above(expected, start) if wanted else _above(got, begin)
        one = wanted[0].strip() if wanted else ""
        other = came[0].strip() if came else ""
        if one and other:
            # What both lines are about is said once.
            about, colon, rest = one.partition(": ")
            if colon and other.startswith(f"{about}: "):
                of, one, other = about, rest, other.removeprefix(f"{about}: ")
            text = f"expected {one}, got {other}"
        elif one:
            text = f"expected {one}, which does not come"
        else:
            text = f"{other} is new"
        return f"{of}: {text}" if of else text
    return "no difference"


def _above(lines: Behaviour, place: int) -> str:
    """The line that the line at `place` is indented under; "" where there is none, or the conversation's."""
    if place >= len(lines):
        return ""
    depth = len(lines[place]) - len(lines[place].lstrip())
    for line in reversed(lines[:place]):
        above = len(line) - len(line.lstrip())
        if above < depth:
            return "" if not above and line.startswith("conversation") else line.strip().partition(":")[0]
    return ""


def _diff(run: Run, baseline: Baseline | None) -> list[str]:
    """All that a person wants to see of a run that was not right."""
    lines = [f"! {text}" for text in run.complaints]
    if baseline is not None and run.behaviour not in baseline.behaviours:
        lines += difflib.unified_diff(
            baseline.usual, run.behaviour, f"baseline ({baseline.build})", "now", n=3, lineterm=""
        )
    return [*lines, *([""] if lines else []), *run.told]


def _name(behaviour: Behaviour) -> str:
    return behaviour[0] if behaviour else "nothing"


def _rates(runs: Sequence[Run]) -> list[str]:
    """How often each behaviour was seen, the most frequent first, with the interval of its share."""
    counted = Counter(run.behaviour for run in runs)
    names = Counter(_name(behaviour) for behaviour in counted)
    lines = []
    for behaviour, count in counted.most_common():
        name = _name(behaviour)
        if names[name] > 1:
            name = f"{name} ({first_difference(counted.most_common(1)[0][0], behaviour)})"
        lines.append(f"{count} of {len(runs)}{_interval(count, len(runs))}: {name}")
    return lines


def _interval(count: int, n: int) -> str:
    try:
        found = share(count, n)
    except StatisticsMissing:
        return ""
    return f" ({found.low:.0%} to {found.high:.0%})"


def _flaky(
    right: Sequence[Run], wrong: Sequence[Run], undecided: Sequence[Run], baseline: Baseline | None
) -> Judgement:
    n = len(right) + len(wrong) + len(undecided)
    text = f"right in {len(right)} of {n} runs{_interval(len(right), n)}; else {_why(wrong[0], baseline)}"
    rates = _rates([*right, *wrong, *undecided])
    return Judgement(Status.FLAKY, text, _diff(wrong[0], baseline), rates)


# --- times ----------------------------------------------------------------------------------------------


def _judge_times(case: Case, runs: Sequence[Run], baseline: Baseline | None, timing: Timing) -> Judgement:
    passed = Judgement(Status.PASS, "as recorded" if baseline is not None else runs[0].reason)
    if baseline is None or not baseline.times or not case.timed:
        return passed
    try:
        shifts = shifts_of(
            baseline.times, together(runs), timing, elsewhere=baseline.machine != this_machine()
        )
    except StatisticsMissing as error:
        return Judgement(Status.INCONCLUSIVE, f"the times are not judged: {error}")
    passed.shifts = shifts
    late = [shift for shift in shifts if shift.slower]
    if not shifts:
        return Judgement(Status.INCONCLUSIVE, f"too few times to judge: fewer than {LEAST} on one side")
    if not late:
        return passed
    if late[0].elsewhere:
        return Judgement(Status.INCONCLUSIVE, f"perhaps slower: {late[0]}", shifts=shifts)
    if (busy := _busy(baseline, runs, late[0])) is not None:
        return Judgement(Status.INCONCLUSIVE, f"perhaps slower: {late[0]}; {busy}", shifts=shifts)
    return Judgement(Status.SLOWER, str(late[0]), [str(shift) for shift in shifts], shifts=shifts)


def _busy(baseline: Baseline, runs: Sequence[Run], shift: Shift) -> str | None:
    """How much slower the machine itself has become, where that is enough to explain a slow-down."""
    before = sorted(one.ns for one in baseline.times.get(reference.NAME, ()))
    after = sorted(run.machine_ns for run in runs if run.machine_ns)
    if not before or not after or shift.before is None or shift.after is None:
        return None
    then, now = median_low(before), median_low(after)
    if now - then <= BUSY * (shift.after - shift.before):
        return None
    return f"but the machine itself needs {duration(now)} for what took {duration(then)}: it is busy"


def shifts_of(
    before: dict[str, list[Observation]],
    after: dict[str, list[Observation]],
    timing: Timing,
    *,
    elsewhere: bool = False,
) -> list[Shift]:
    """How each of the times has moved. Raises StatisticsMissing."""
    both = [name for name in before if min(len(before[name]), len(after.get(name, ()))) >= LEAST]
    found = []
    for name in both:
        old, new = _sorted(before[name]), _sorted(after[name])
        middle, late = old[(len(old) - 1) // 2], new[(len(new) - 1) // 2]
        effect = timing.effect(0 if middle == LATER else middle)
        p = slower(before[name], after[name], effect)
        level = timing.level / len(both)
        fastest = new[len(new) // 4] - old[len(old) // 4] > effect
        found.append(
            Shift(
                name,
                None if middle == LATER else middle,
                None if late == LATER else late,
                effect,
                p,
                level,
                slower=p < level and fastest and middle != LATER,
                elsewhere=elsewhere,
            )
        )
    return found


def _sorted(found: Sequence[Observation]) -> list[int]:
    return sorted(one.ns if one.exact else LATER for one in found)
