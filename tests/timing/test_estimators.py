# SPDX-License-Identifier: GPL-2.0-or-later
"""Estimators, against figures worked out by hand: a bound never counts as a value."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dissect.stream import Side
from dissect.timing import estimators
from dissect.timing.estimators import StatisticsMissing, compare, curve, median, share, slower, summarise
from dissect.timing.observations import Observation

pytest.importorskip("scipy")


def seen(*times: int, by: Any = "close") -> list[Observation]:
    return [Observation(Side.SERVER, ns, "exact", by, 4, False, "rfb", "spice", 0) for ns in times]


def bound(*times: int) -> list[Observation]:
    return [Observation(Side.SERVER, ns, "censored", None, 4, False, "rfb", "spice", 0) for ns in times]


def test_a_curve_by_hand() -> None:
    """1, 2 exact; 3 censored; 4 exact; 5 censored: the share that is left is 4/5, 3/5, 3/5 x 1/2."""
    found = curve(seen(1, 2, 4) + bound(3, 5))
    assert found.ns == [1, 2, 4]
    assert found.share == pytest.approx([0.2, 0.4, 0.7])
    assert found.censored_ns == [3, 5]
    assert all(low <= mid <= high for low, mid, high in zip(found.low, found.share, found.high, strict=True))


def test_a_median_that_is_reached_and_one_that_is_not() -> None:
    assert median(seen(1, 2, 3, 4, 5)).ns == 3
    assert median(seen(1, 2) + bound(9, 9, 9)).ns is None
    assert median(seen(1, 2, 3) + bound(9, 9)).ns == 3
    assert median(bound(9, 9)).ns is None


def test_a_bound_is_not_taken_for_a_value() -> None:
    """Taken for values, five bounds at 2 would make the median 2."""
    assert median(seen(7, 8) + bound(2, 2, 2, 2, 2)).ns == 7
    assert median(bound(2, 2, 2, 2, 2)).ns is None


def test_the_band_holds_the_median_and_narrows() -> None:
    few, many = median(seen(*range(1, 8))), median(seen(*range(1, 201)))
    assert few.ns == 4
    assert many.ns == 100
    assert many.low is not None
    assert many.high is not None
    assert many.low < 100 < many.high
    assert many.low >= 80
    assert many.high <= 120


def test_outcomes_compete() -> None:
    found = summarise(seen(1, 2) + seen(3, by="reset") + bound(9))
    assert {name: (one.count, one.n) for name, one in found.outcomes.items()} == {
        "close": (2, 4), "reset": (1, 4), "nothing": (1, 4),
    }  # fmt: skip
    assert (found.n, found.exact, found.least_ns, found.most_ns) == (4, 3, 1, 9)


def test_the_interval_of_a_share_is_wilsons() -> None:
    none = share(0, 10)
    assert none.low == pytest.approx(0, abs=1e-12)
    assert none.high == pytest.approx(0.2775, abs=1e-3)  # z^2 / (n + z^2)


def test_two_builds_are_told_apart_or_not() -> None:
    before, after = seen(*range(100, 130)), seen(*range(10, 40))
    found = compare(before, after)
    assert found.p < 1e-6
    assert found.difference is not None
    assert found.difference.ns == -90
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert found.difference.low <= -90 <= found.difference.high < 0
    assert compare(before, after) == found  # the same seed, the same interval
    assert compare(before, before).p > 0.9


def test_slower_by_more_than_so_much() -> None:
    """Of 4 and 4 times without overlap, one of 70 orders is that extreme: p = 1/70."""
    one, other = seen(1, 2, 3, 4), seen(11, 12, 13, 14)
    assert slower(one, other) == pytest.approx(1 / 70)
    assert slower(other, one) == pytest.approx(1.0)
    assert slower(one, other, by_ns=6) == pytest.approx(1 / 70)
    assert slower(one, other, by_ns=10) > 0.4
    assert slower(one, bound(2, 2, 2, 2)) < 0.02  # later than anything seen, wherever it was cut
    with pytest.raises(ValueError):
        slower(one, [])


def test_a_median_that_is_not_reached_has_no_difference() -> None:
    found = compare(bound(*[9] * 8), seen(*range(1, 9)))
    assert found.p < 0.01
    assert found.difference is None
    assert found.why == "the median of the first is not reached"
    assert compare(bound(9), bound(9)).p == 1.0
    assert "fewer than 5" in str(compare(seen(1, 2), seen(3, 4)).why)


def test_nothing_is_no_group() -> None:
    for action in (lambda: curve([]), lambda: summarise([]), lambda: compare([], seen(1))):
        with pytest.raises(ValueError, match="no observation"):
            action()


def test_without_scipy_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(StatisticsMissing, match="pip install"):
        estimators.median(seen(1))
