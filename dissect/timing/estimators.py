# SPDX-License-Identifier: GPL-2.0-or-later
"""What many observations come to, bounds counted as bounds: medians that may not be reached, bands.

The statistics are scipy's: `ecdf` of right-censored data (Kaplan-Meier), `logrank`, `bootstrap`,
`theilslopes` and the binomial test's interval. Each figure goes with its n and its confidence.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dissect.timing.observations import Observation

CONFIDENCE = 0.95
MOST_POINTS, MOST_PAIRS = 2000, 5000
"""What a line over round trips is taken from at the most: its cost grows with the square of the points."""
RESAMPLES = 2000
"""Of the bootstrap; more changes the interval's ends by less than it means."""


class StatisticsMissing(Exception):
    """scipy is not installed; `str()` is one line."""


@dataclass(frozen=True, slots=True)
class Median:
    """A median time in ns and its band. None: not reached before the observation ended, or without bound."""

    ns: int | None
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Share:
    """How many of n had one outcome, and the interval of the share (Wilson's)."""

    count: int
    n: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One group of observations. outcomes: "close", "reset", "error-reply", and "nothing" for the censored.

    At one deadline for all, as a run has it, these shares are the cumulative incidence at the deadline.
    """

    n: int
    exact: int
    median: Median
    outcomes: dict[str, Share]
    least_ns: int
    most_ns: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Curve:
    """The share that has reacted by each time, with its band; steps at the exact times only."""

    ns: list[int]
    share: list[float]
    low: list[float]
    high: list[float]
    censored_ns: list[int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two groups. p: of the log-rank test that both are the same. difference: median of the second minus that
    of the first, with its bootstrap interval; None where a median is not reached, and `why` says so.
    """

    p: float
    difference: Median | None
    why: str | None
    confidence: float


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise StatisticsMissing(
            "medians and bands need the package scipy: pip install 'firstbyte[stats]'"
        ) from None
    return stats


def _censored(found: Sequence[Observation]) -> Any:
    stats = _stats()
    times = [one.ns for one in found]
    return stats.CensoredData.right_censored(times, [not one.exact for one in found])


def curve(found: Sequence[Observation], confidence: float = CONFIDENCE) -> Curve:
    """The Kaplan-Meier estimate of the share that has reacted. Raises ValueError without an observation."""
    if not found:
        raise ValueError("no observation")
    exact = [one for one in found if one.exact]
    waiting = sorted(one.ns for one in found if not one.exact)
    if not exact:
        return Curve([], [], [], [], waiting)
    estimate = _stats().ecdf(_censored(found)).cdf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # at 0 and at 1 the band has no width to compute
        band = estimate.confidence_interval(confidence_level=confidence, method="log-log")
    steps: dict[int, tuple[float, float, float]] = {}
    seen = {one.ns for one in exact}
    for ns, share, low, high in zip(
        estimate.quantiles,
        estimate.probabilities,
        band.low.probabilities,
        band.high.probabilities,
        strict=True,
    ):
        if int(ns) in seen:
            steps[int(ns)] = (
                float(share),
                0.0 if math.isnan(low) else float(low),
                1.0 if math.isnan(high) else float(high),
            )
    values = list(steps.values())
    return Curve(
        ns=list(steps),
        share=[one[0] for one in values],
        low=[one[1] for one in values],
        high=[one[2] for one in values],
        censored_ns=waiting,
    )


def median(found: Sequence[Observation], confidence: float = CONFIDENCE) -> Median:
    """When half have reacted; None where that was not seen."""
    estimate = curve(found, confidence)

    def first(values: Sequence[float]) -> int | None:
        return next((ns for ns, share in zip(estimate.ns, values, strict=True) if share >= 0.5 - 1e-12), None)

    return Median(first(estimate.share), first(estimate.high), first(estimate.low))


def share(count: int, n: int, confidence: float = CONFIDENCE) -> Share:
    """A share with Wilson's interval."""
    interval = _stats().binomtest(count, n).proportion_ci(confidence_level=confidence, method="wilson")
    return Share(count, n, float(interval.low), float(interval.high))


def summarise(found: Sequence[Observation], confidence: float = CONFIDENCE) -> Summary:
    """What a group of observations comes to. Raises ValueError without one, StatisticsMissing."""
    if not found:
        raise ValueError("no observation")
    counted = Counter(one.by or "nothing" for one in found)
    return Summary(
        n=len(found),
        exact=sum(one.exact for one in found),
        median=median(found, confidence),
        outcomes={name: share(count, len(found), confidence) for name, count in counted.most_common()},
        least_ns=min(one.ns for one in found),
        most_ns=max(one.ns for one in found),
        confidence=confidence,
    )


LATER = 1 << 62
"""Where a bound stands among times: later than anything seen."""


def slower(first: Sequence[Observation], second: Sequence[Observation], by_ns: int = 0) -> float:
    """One-sided Mann-Whitney test that `second` is slower than `first` by more than `by_ns`: its p.

    A bound counts as later than anything seen. Raises ValueError where one has no observation.
    """
    if not first or not second:
        raise ValueError("no observation")
    one, other = ([time.ns if time.exact else LATER for time in group] for group in (first, second))
    shifted = [ns - by_ns if ns < LATER else LATER for ns in other]
    return float(_stats().mannwhitneyu(shifted, one, alternative="greater").pvalue)


def compare(
    first: Sequence[Observation],
    second: Sequence[Observation],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Two builds, or the same before and after. Raises ValueError where one has no observation."""
    if not first or not second:
        raise ValueError("no observation")
    import numpy as np

    stats = _stats()
    p = 1.0  # where nobody has reacted, or one trial stands against one, nothing tells them apart
    if any(one.exact for one in (*first, *second)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            test = stats.logrank(_censored(first), _censored(second))
        p = float(test.pvalue) if math.isfinite(test.statistic) else p
    medians = [median(group, confidence).ns for group in (first, second)]
    if medians[0] is None or medians[1] is None:
        which = "first" if medians[0] is None else "second"
        return Comparison(p, None, f"the median of the {which} is not reached", confidence)
    if min(len(first), len(second)) < 5:
        return Comparison(p, None, "fewer than 5 observations on one side", confidence)
    # A bound above every median resamples as "later than anything seen".
    samples = [np.array([one.ns if one.exact else math.inf for one in group]) for group in (first, second)]

    def difference(one: Any, other: Any, axis: int) -> Any:
        return np.median(other, axis=axis) - np.median(one, axis=axis)

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            samples, difference, n_resamples=RESAMPLES, confidence_level=confidence, method="percentile",
            vectorized=True, rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    low, high = (round(float(end)) if math.isfinite(end) else None for end in (found.low, found.high))
    return Comparison(p, Median(medians[1] - medians[0], low, high), None, confidence)


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """A time as a line over the round trip: `slope` round trips, and `own_ns`, what it takes without any.

    Each with its interval; n: the points.
    """

    n: int
    slope: float
    slope_low: float
    slope_high: float
    own_ns: int
    own_low: int
    own_high: int
    confidence: float


def round_trips(
    points: Sequence[tuple[int, int]], *, seed: int = 0, confidence: float = CONFIDENCE
) -> RoundTrips:
    """The line through (round trip, time), both in ns: Theil and Sen's, which a few slow trials do not bend.

    Its intervals are of the bootstrap, drawn anew among the times of each round trip. Raises ValueError where
    there are fewer than two different round trips, StatisticsMissing. Of very many points or pairs of points
    a part is taken, drawn with the seed.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    n = len(points)
    if n > MOST_POINTS:
        points = [points[at] for at in generator.choice(n, MOST_POINTS, replace=False)]
    x, y = (np.array(values, dtype=float) for values in zip(*sorted(points), strict=True))
    if n < 3 or x[0] == x[-1]:
        raise ValueError("fewer than two round trips, or than three times")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # its own interval, which is not used, minds ties
        line = _stats().theilslopes(y, x, method="joint")
    starts = np.flatnonzero(np.r_[True, np.diff(x) > 0])
    drawn = np.concatenate(
        [
            part[generator.integers(0, len(part), (RESAMPLES // 2, len(part)))]
            for part in np.split(y, starts[1:])
        ],
        axis=1,
    )
    first, second = np.nonzero(np.subtract.outer(x, x).T > 0)
    if len(first) > MOST_PAIRS:
        some = generator.choice(len(first), MOST_PAIRS, replace=False)
        first, second = first[some], second[some]
    slopes = np.median((drawn[:, second] - drawn[:, first]) / (x[second] - x[first]), axis=1)
    own = np.median(drawn - slopes[:, None] * x, axis=1)
    ends = (50 * (1 - confidence), 50 * (1 + confidence))
    low, high = np.percentile(slopes, ends)
    own_low, own_high = np.percentile(own, ends)
    return RoundTrips(
        n, float(line.slope), float(low), float(high),
        round(float(line.intercept)), round(float(own_low)), round(float(own_high)), confidence,
    )  # fmt: skip
