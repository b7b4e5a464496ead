# SPDX-License-Identifier: GPL-2.0-or-later
"""How often the check calls a good build bad, and how often it names each of eight regressions.

::

    python -m tests.benchmarks.regressions [RUNS] [BAD RUNS]

Records the baselines once, then runs the suite of tests/check/regressions.py on the good builds RUNS times
(100) and on the bad ones BAD RUNS times (5). Exit code 1 where a good build was called bad, or a regression
was not named. A busy machine may leave times undecided.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from dissect.check.judging import Status
from tests.check.regressions import GOOD, REGRESSIONS, check, make


def main(runs: int, bad_runs: int) -> int:
    """Run it, and print the counts."""
    began = time.monotonic()
    loads: list[float] = []
    wrong = undecided = 0
    with tempfile.TemporaryDirectory() as folder:
        suite = make(Path(folder))
        check(suite, *GOOD, record=True)
        seen: Counter[tuple[str, str, Status]] = Counter()
        for number in range(runs):
            loads.append(os.getloadavg()[0])
            for cell in check(suite, *GOOD):
                seen[cell.target.name, cell.case.name, cell.status] += 1
                if cell.status is Status.INCONCLUSIVE:
                    undecided += 1
                elif cell.status is not Status.PASS:
                    wrong += 1
                if cell.status is not Status.PASS:
                    print(f"run {number}: {cell.name}: {cell.status}: {cell.judgement.reason}", flush=True)
        for (target, case, status), count in sorted(seen.items()):
            print(f"{count:4} of {runs} {status}: {case} on {target}")
        named: Counter[str] = Counter()
        for _ in range(bad_runs):
            loads.append(os.getloadavg()[0])
            cells = check(suite, *REGRESSIONS)
            for build, cases in REGRESSIONS.items():
                of = {cell.case.name: cell for cell in cells if cell.target.name == build}
                bad = {name for name, cell in of.items() if cell.status is not Status.PASS}
                words = all(text in of[name].judgement.reason for name, (_, text) in cases.items())
                named[build] += bad == set(cases) and words
        for build in REGRESSIONS:
            print(f"{named[build]:4} of {bad_runs} named: {build}")
    judged = sum(seen.values())
    print(
        f"{wrong} of {judged} judgements called a good build bad, {undecided} could not decide; load average "
        f"{min(loads):.1f} to {max(loads):.1f}; {time.monotonic() - began:.0f} s"
    )
    return int(bool(wrong) or any(named[build] != bad_runs for build in REGRESSIONS))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    sys.exit(main(*given, *(100, 5)[len(given) :]))
