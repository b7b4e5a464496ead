# SPDX-License-Identifier: GPL-2.0-or-later
"""Each regression is named by the cases that it concerns, and by no other; good builds are not called bad."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dissect.check.judging import Status
from dissect.check.runner import Cell
from dissect.check.suite import Suite
from dissect.lab.models import Model
from tests.check.regressions import GOOD, REGRESSIONS, check, make

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    made = make(tmp_path_factory.mktemp("regressions"))
    recorded = check(made, *GOOD, record=True)
    assert {cell.status for cell in recorded} == {Status.RECORDED}, [cell.judgement for cell in recorded]
    return made


@pytest.fixture(scope="module")
def cells(suite: Suite) -> dict[str, dict[str, Cell]]:
    """Build -> case -> what it came to."""
    found: dict[str, dict[str, Cell]] = {}
    for cell in check(suite, *GOOD, *REGRESSIONS):
        found.setdefault(cell.target.name, {})[cell.case.name] = cell
    return found


@pytest.mark.parametrize("build", GOOD)
def test_a_good_build_is_good(cells: dict[str, dict[str, Cell]], build: str) -> None:
    """Once here; `python -m tests.benchmarks.regressions` does it a hundred times."""
    assert cells[build]
    assert {cell.status for cell in cells[build].values()} == {Status.PASS}, cells[build]


@pytest.mark.parametrize("build", REGRESSIONS)
def test_a_regression_is_named_and_nothing_else(cells: dict[str, dict[str, Cell]], build: str) -> None:
    named = {name: cell.judgement for name, cell in cells[build].items() if cell.status is not Status.PASS}
    assert set(named) == set(REGRESSIONS[build]), named
    for name, (status, words) in REGRESSIONS[build].items():
        assert (named[name].status, words in named[name].reason) == (status, True), named[name]


@pytest.mark.parametrize("build", REGRESSIONS)
def test_a_regression_is_one_setting(suite: Suite, build: str) -> None:
    def settings(model: Model | None) -> dict[str, object]:
        assert model is not None
        return {one.name: getattr(model, one.name) for one in fields(model)}

    bad = suite.targets[build]
    good = suite.targets[bad.judged_by]
    assert type(bad.model) is type(good.model)
    one, other = settings(good.model), settings(bad.model)
    assert sum(one[name] != other[name] for name in one) == 1
