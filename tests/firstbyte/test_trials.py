# SPDX-License-Identifier: GPL-2.0-or-later
"""Trials as one works with them: pairs, one clock, bounds that stay bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect import firstbyte as fb
from dissect.stream import Side
from dissect.timing.estimators import compare
from dissect.timing.results import ResultsError
from tests.house.floors import ROOT

FILE = ROOT / "tests/firstbyte/trials.ndjson"


@pytest.fixture
def run() -> fb.Trials:
    return fb.trials(FILE)


def test_folders_files_and_what_is_wrong_in_them(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    text = FILE.read_text()
    (tmp_path / "run/trials.ndjson").write_text(text + '{"schema": "firstbyte-trial/9"}\n' + text[:50])
    found = fb.trials(tmp_path / "run", FILE)
    assert len(found) == 2 * len(fb.trials(FILE))
    assert len(found.problems) == 2
    assert "the row is cut off" in found.problems[1]
    with pytest.raises(ResultsError):
        fb.trials(ROOT / "pyproject.toml")
    with pytest.raises(OSError, match="none"):
        fb.trials(tmp_path / "none")


def test_lost_trials_have_no_observation(run: fb.Trials) -> None:
    before = len(run.observations())
    run.rows[0].lost = "the server did not start"
    assert len(run.observations()) == before - 1
    assert len(run) == 12


def test_one_clock_for_all(run: fb.Trials) -> None:
    assert run.clock == "user"
    assert {one.clock for one in run.observations()} == {"user"}
    assert not run.observations(clock="wire")


def test_comparison_is_the_estimators(run: fb.Trials) -> None:
    one, two = run.select(client="quiet"), run.select(client="patient", server="spice-4")
    assert one.compare(two) == compare(one.observations(), two.observations())
    with pytest.raises(ValueError, match="no observation"):
        one.compare(run.select(client="nobody"))


def test_text_says_bounds_as_bounds(run: fb.Trials) -> None:
    lines = str(run).splitlines()
    assert lines[0] == "patient → spice-16: 0 of 3 noticed, ≥ 5 s"
    assert lines[1] == "patient → spice-4: 3 of 3 noticed, 2.00 s"
    assert fb.Trials([])._repr_html_() is None


@pytest.mark.parametrize("kind", ["heat", "trials", "curves"])
@pytest.mark.parametrize("side", list(Side))
def test_every_picture_of_either_side(run: fb.Trials, kind: str, side: Side) -> None:
    picture = run.plot(kind, side)  # type: ignore[arg-type]
    assert str(side) in picture.title
    with pytest.raises(ValueError, match="no picture 'pie'"):
        run.plot("pie")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no table of 'x'"):
        run.table("x")
