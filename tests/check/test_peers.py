# SPDX-License-Identifier: GPL-2.0-or-later
"""The bundled suite against the real programs, in its short form; `make check-peers` runs the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.check.baseline import read
from dissect.check.judging import Status
from dissect.check.runner import Runner, Settings
from dissect.check.suite import find, load
from dissect.lab.probing.stimuli import sweep

SUITE = load(find("peers"))
SHORT = [(case, target) for case, target in SUITE.pairs() if "short" in case.tags]


@pytest.mark.parametrize(
    "names", [pytest.param(pair, id=pair[0].name, marks=pytest.mark.peer(pair[1].name)) for pair in SHORT]
)
def test_a_short_case(names: tuple[object, object], tmp_path: Path) -> None:
    case, target = next(pair for pair in SHORT if pair == names)
    runner = Runner(SUITE, Settings(parallel=1), tmp_path)
    runner.prepare([(case, target)])
    [cell] = runner.run([(case, target)])
    assert cell.status is Status.PASS, "\n".join([cell.judgement.reason, *cell.judgement.diff, cell.log])


def test_the_whole_has_every_kind() -> None:
    names = {case.name.partition(".")[0] for case, _ in SUITE.pairs()}
    assert names >= {
        "right",
        "bytewise",
        "coalesced",
        "early",
        "wrong",
        "probe-spice",
        "probe-vnc",
        "blacklist",
    }
    early = [case for case, _ in SUITE.pairs() if case.name.startswith("early.")]
    assert len(early) >= 20
    assert all(case.options.early_prefix_ns == 0 for case in early)
    recordings = {Path(case.capture or "").name for case, _ in SUITE.pairs()}
    pcaps = {path.name for path in (Path(__file__).parents[2] / "pcaps").glob("*.pcapng")}
    assert len(pcaps & recordings) >= 56


def test_each_probe_that_wants_a_baseline_has_one() -> None:
    wanted = [(case, target) for case, target in SUITE.pairs() if case.expect.baseline]
    assert len(wanted) >= 5
    for case, target in wanted:
        found = read(SUITE.baselines / target.judged_by / f"{case.name}.txt")
        assert found is not None, (case.name, target.name)
        labels = {line.strip().partition(": ")[0] for line in found.usual}
        assert case.probe is not None
        assert {one.label for name in case.probe.sweeps for one in sweep(name)} <= labels
