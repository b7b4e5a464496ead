# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs come to: pass, fail, slower, flaky with its rates, or undecided; never a pass for nothing."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from dissect.check import reference
from dissect.check.baseline import Baseline, observation, this_machine
from dissect.check.judging import Status, first_difference, judge, shifts_of
from dissect.check.running import Run
from dissect.check.suite import Case, Expect, Probe, Timing
from dissect.replay.outcome import Outcome

pytest.importorskip("scipy")

CASE = Case("c", capture="x.pcapng")
TIMED = replace(CASE, timed=True)
MS = 1_000_000
GOOD, BAD = (
    ("conversation 0: pass", "  ServerInit", "    width = 640"),
    ("conversation 0: diff: x", "  ServerInit"),
)


def run(*lines: str, outcome: Outcome = Outcome.PASS, ns: int = 0, compared: int = 1, **more: object) -> Run:
    times = {"first answer": [observation(ns)]} if ns else {}
    return Run(outcome, "because", lines, times=times, compared=compared, **more)  # type: ignore[arg-type]


def base(
    *behaviours: tuple[str, ...], times: list[int] | None = None, counts: tuple[int, ...] = ()
) -> Baseline:
    seen = dict(zip(behaviours, counts or (20,) * len(behaviours), strict=True))
    found = {"first answer": [observation(ns) for ns in times]} if times else {}
    return Baseline("c", "b", "", seen, found, this_machine())


def status(*runs: Run, baseline: Baseline | None = None, case: Case = CASE) -> Status:
    return judge(case, runs, baseline, Timing()).status


def test_without_a_baseline_a_replay_must_pass() -> None:
    assert status(run(*GOOD)) is Status.PASS
    assert status(run(*BAD, outcome=Outcome.DIFF)) is Status.FAIL
    assert status(run(*BAD, outcome=Outcome.TIMEOUT)) is Status.FAIL
    assert status(run(outcome=Outcome.INCONCLUSIVE)) is Status.INCONCLUSIVE
    assert status() is Status.NOT_RUN


def test_a_case_that_compares_nothing_is_never_a_pass() -> None:
    assert status(run(*GOOD, compared=0)) is Status.FAIL
    assert status(run(*GOOD, outcome=Outcome.INCONCLUSIVE), baseline=base(GOOD)) is Status.INCONCLUSIVE
    probe = Case("p", probe=Probe(("rfb",)))
    assert status(run("rfb: noticed"), case=probe) is Status.INCONCLUSIVE
    wanted = replace(CASE, expect=Expect(baseline=True))
    assert status(run(*GOOD), case=wanted) is Status.INCONCLUSIVE
    assert status(run(*GOOD), case=wanted, baseline=base(GOOD)) is Status.PASS


def test_a_baseline_decides_what_is_right() -> None:
    assert status(run(*BAD, outcome=Outcome.DIFF), baseline=base(BAD)) is Status.PASS
    assert status(run(*GOOD), baseline=base(BAD)) is Status.FAIL
    assert status(run(*GOOD, complaints=["too late"]), baseline=base(GOOD)) is Status.FAIL


def test_a_change_is_named_by_its_message() -> None:
    now = (*GOOD[:2], "    width = 160")
    found = judge(CASE, [run(*now)], base(GOOD), Timing())
    assert found.reason == "ServerInit: expected width = 640, got width = 160"
    assert "-    width = 640" in found.diff
    assert first_difference(GOOD, GOOD[:2]) == "ServerInit: expected width = 640, which does not come"
    assert first_difference(GOOD[:2], GOOD) == "ServerInit: width = 640 is new"
    assert first_difference(("rfb: noticed after 4 bytes",), ("rfb: not noticed",)) == (
        "rfb: expected noticed after 4 bytes, got not noticed"
    )
    assert first_difference(GOOD, GOOD) == "no difference"


def test_a_flaky_case_is_called_flaky_with_its_rates() -> None:
    runs = [run(*GOOD)] * 17 + [run(*BAD, outcome=Outcome.DIFF)] * 3
    found = judge(CASE, runs, None, Timing())
    assert found.status is Status.FLAKY
    assert found.reason.startswith("right in 17 of 20 runs (64% to 95%); else diff: because")
    assert found.rates[0].startswith("17 of 20 (64% to 95%): conversation 0: pass")
    assert not found.known
    known = judge(CASE, [run(*GOOD)], base(GOOD, BAD, counts=(17, 3)), Timing())
    assert (known.status, known.known) == (Status.FLAKY, True)
    assert "17 of 20" in known.reason
    other = judge(CASE, [run("conversation 0: refused", outcome=Outcome.REFUSED)], base(GOOD, BAD), Timing())
    assert other.status is Status.FAIL


def times(middle_ms: float, n: int = 20, spread_ms: float = 2.0, seed: int = 0) -> list[int]:
    random = Random(seed)
    return [round((middle_ms + spread_ms * random.random()) * MS) for _ in range(n)]


def timed(values: list[int], baseline: list[int]) -> Status:
    return status(*(run(*GOOD, ns=ns) for ns in values), baseline=base(GOOD, times=baseline), case=TIMED)


def test_slower_is_more_than_the_minimum_effect() -> None:
    assert timed(times(1, seed=1), times(1)) is Status.PASS
    assert timed(times(20), times(1)) is Status.PASS  # clearly slower, by less than 25 ms
    assert timed(times(101), times(1)) is Status.SLOWER
    assert timed(times(1), times(101)) is Status.PASS
    # A quarter of a slow time is a larger effect than 25 ms.
    assert timed(times(2100, spread_ms=100), times(2000, spread_ms=100)) is Status.PASS
    assert timed(times(2700, spread_ms=100), times(2000, spread_ms=100)) is Status.SLOWER


def test_a_loaded_machine_is_no_slow_down() -> None:
    """Three quarters of the times are far too slow, and the fastest are as they were."""
    assert timed(times(1, n=6) + times(200, n=14), times(1)) is Status.PASS


def test_what_was_answered_in_time_and_is_not_any_more() -> None:
    late = [
        Run(Outcome.PASS, "", GOOD, times={"first answer": [observation(5 * 10**9, exact=False)]}, compared=1)
    ]
    assert status(*late * 20, baseline=base(GOOD, times=times(1)), case=TIMED) is Status.SLOWER


def test_too_few_times_are_not_judged() -> None:
    assert timed(times(1, n=4), times(1)) is Status.INCONCLUSIVE


def test_times_of_another_machine_do_not_fail_a_build() -> None:
    elsewhere = base(GOOD, times=times(1))
    elsewhere.machine = "s390x, 900 CPUs"
    slow = [run(*GOOD, ns=ns) for ns in times(101)]
    found = judge(TIMED, slow, elsewhere, Timing())
    assert found.status is Status.INCONCLUSIVE
    assert "of another machine" in found.reason
    assert judge(TIMED, [run(*GOOD, ns=ns) for ns in times(1)], elsewhere, Timing()).status is Status.PASS


def test_a_busy_machine_is_not_taken_for_a_slow_build() -> None:
    """All times have grown, the fastest too; so have those of the machine itself."""
    before = base(GOOD, times=times(1))
    before.times[reference.NAME] = [observation(ns) for ns in times(1)]

    def slow(machine_ms: float) -> list[Run]:
        return [run(*GOOD, ns=ns, machine_ns=round(machine_ms * MS)) for ns in times(101)]

    found = judge(TIMED, slow(60), before, Timing())
    assert found.status is Status.INCONCLUSIVE
    assert "but the machine itself needs 60 ms for what took 2" in found.reason
    assert judge(TIMED, slow(15), before, Timing()).status is Status.SLOWER
    quick = [run(*GOOD, ns=ns, machine_ns=60 * MS) for ns in times(1)]
    assert judge(TIMED, quick, before, Timing()).status is Status.PASS


def test_the_level_is_divided_by_how_many_times_there_are() -> None:
    before = {name: [observation(ns) for ns in times(1)] for name in ("a", "b")}
    found = shifts_of(before, before, Timing(level=0.01))
    assert [shift.level for shift in found] == [0.005, 0.005]
    assert not any(shift.slower for shift in found)
    assert "level 0.005" in str(found[0])
