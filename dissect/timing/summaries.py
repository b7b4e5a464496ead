# SPDX-License-Identifier: GPL-2.0-or-later
"""What the trials of a matrix come to, pair by pair: figures with all that belongs to a figure.

How many reacted in which way, and when; what a round trip more costs; what changed between two runs. Every
object of JSON here says n, deadline, seed, load and clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any, Literal, get_args

from dissect.stream.side import Side
from dissect.timing.estimators import (
    Comparison,
    Median,
    RoundTrips,
    Share,
    StatisticsMissing,
    compare,
    median,
    round_trips,
    share,
)
from dissect.timing.grid import Pair, left_first, natural
from dissect.timing.observations import Clock, Observation
from dissect.timing.results import Row

PAIR_SCHEMA = "firstbyte-pair/1"
ROUND_TRIPS_SCHEMA = "firstbyte-round-trips/1"
COMPARISON_SCHEMA = "firstbyte-comparison/1"

What = Literal["server noticed", "client noticed", "over for the client", "to ServerInit"]
"""What a figure is of. The first two as in a verdict; "over for the client": from its SYN until it had closed
or been reset, of pairs at odds; "to ServerInit": from the connection, of honest pairs."""

WHATS: tuple[What, ...] = get_args(What)
CUT_OFF = "other side left"
"""The outcome of a side that could not react any more; "nothing" is none before the deadline."""


def observed(rows: Sequence[Row], what: What, clock: Clock) -> list[Observation]:
    """The times of one kind by one clock, of the trials that are not lost."""
    good = [row for row in rows if row.lost is None]
    if what in ("server noticed", "client noticed"):
        side = Side.SERVER if what == "server noticed" else Side.CLIENT
        return [one for row in good if (one := row.seen(side, clock)) is not None]
    if what == "to ServerInit":
        return [_exact(row, row.server_init_ns[clock]) for row in good if clock in row.server_init_ns]
    over: list[Observation] = []
    for row in good:
        if row.verdict == "agreed":  # it ends when somebody has had enough
            continue
        if clock in row.over_ns:
            over.append(_exact(row, row.over_ns[clock]))
        elif any(one.clock == clock for one in row.observations):  # somebody had something to notice
            over.append(_observation(row, row.deadline_ns, censored=True))
    return over


def _exact(row: Row, ns: int) -> Observation:
    return _observation(row, ns, censored=False)


def _observation(row: Row, ns: int, *, censored: bool) -> Observation:
    status: Literal["exact", "censored"] = "censored" if censored else "exact"
    return Observation(Side.CLIENT, ns, status, None, 0, False, row.client_spoke, row.server_spoke, row.order)


def ordered(rows: Sequence[Row]) -> list[Pair]:
    """The pairs there are, names with numbers in their order."""
    return sorted({row.pair for row in rows}, key=lambda pair: (natural(pair[0]), natural(pair[1])))


@dataclass(frozen=True, slots=True)
class Figure:
    """One kind of time of one pair. median: None without scipy. outcomes: of a side's noticing only, the
    competing ones; with one deadline for all and those who were left counted as such, their shares are the
    cumulative incidences at the deadline (Aalen and Johansen's). least_ns, most_ns: of all n.
    """

    what: What
    n: int
    exact: int
    median: Median | None
    outcomes: dict[str, Share]
    least_ns: int
    most_ns: int

    def to_json(self) -> dict[str, Any]:
        """The figure as an object of JSON."""
        middle = self.median
        return {
            "what": self.what,
            "n": self.n,
            "exact": self.exact,
            "median_ns": None if middle is None else middle.ns,
            "low_ns": None if middle is None else middle.low,
            "high_ns": None if middle is None else middle.high,
            "least_ns": self.least_ns,
            "most_ns": self.most_ns,
            "outcomes": {
                name: {"count": one.count, "share": one.count / one.n, "low": one.low, "high": one.high}
                for name, one in self.outcomes.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """One pair's trials at one distance, by one clock."""

    pair: Pair
    rtt_ns: int | None
    clock: Clock
    rows: Sequence[Row]
    figures: list[Figure]

    @property
    def good(self) -> list[Row]:
        """The trials that were not lost."""
        return [row for row in self.rows if row.lost is None]

    @property
    def verdicts(self) -> dict[str, int]:
        """How often each verdict was given, the most frequent first."""
        return dict(Counter(str(row.verdict) for row in self.good).most_common())

    def to_json(self) -> dict[str, Any]:
        """The pair as one object of NDJSON."""
        return {
            "schema": PAIR_SCHEMA,
            **_of(self.pair, self.rows, self.clock),
            "rtt_ns": self.rtt_ns,
            "verdicts": self.verdicts,
            "figures": [figure.to_json() for figure in self.figures],
        }


def _of(pair: Pair, rows: Sequence[Row], clock: Clock) -> dict[str, Any]:
    """The circumstances of some trials of one pair."""
    versions = {
        side: sorted({str(version) for row in rows if (version := getattr(row, f"{side}_version"))})
        for side in Side
    }
    loads = [row.load1 for row in rows]
    return {
        "client": pair[0],
        "server": pair[1],
        "client_versions": versions[Side.CLIENT],
        "server_versions": versions[Side.SERVER],
        "clock": clock,
        "n": sum(row.lost is None for row in rows),
        "lost": sum(row.lost is not None for row in rows),
        "deadline_ns": sorted({row.deadline_ns for row in rows}),
        "seed": sorted({row.seed for row in rows}),
        "warm": all(row.warm for row in rows),
        "load1": [min(loads), max(loads)],
        "machine": sorted({row.machine for row in rows}),
    }


def summaries(rows: Sequence[Row], clock: Clock) -> Iterator[Summary]:
    """Every pair, at each distance by itself."""
    for pair in ordered(rows):
        of = [row for row in rows if row.pair == pair]
        for rtt in sorted({row.rtt_ns for row in of}, key=lambda ns: -1 if ns is None else ns):
            here = [row for row in of if row.rtt_ns == rtt]
            found = [(what, observed(here, what, clock)) for what in WHATS]
            figures = [_figure(here, what, seen, clock) for what, seen in found if seen]
            yield Summary(pair, rtt, clock, here, figures)


def _figure(rows: Sequence[Row], what: What, seen: Sequence[Observation], clock: Clock) -> Figure:
    outcomes: dict[str, Share] = {}
    middle: Median | None = None
    try:
        middle = median(seen)
        if what in ("server noticed", "client noticed"):
            outcomes = _outcomes(rows, Side.SERVER if what == "server noticed" else Side.CLIENT, clock)
    except StatisticsMissing:
        pass
    return Figure(
        what,
        len(seen),
        sum(one.exact for one in seen),
        middle,
        outcomes,
        min(one.ns for one in seen),
        max(one.ns for one in seen),
    )


def _outcomes(rows: Sequence[Row], side: Side, clock: Clock) -> dict[str, Share]:
    counted: Counter[str] = Counter()
    for row in rows:
        one = row.seen(side, clock)
        if row.lost is None and one is not None:
            by = "error reply" if one.by == "error-reply" else one.by
            counted[by or (CUT_OFF if left_first(row, side) else "nothing")] += 1
    return {name: share(count, counted.total()) for name, count in counted.most_common()}


# --- round trips ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Distances:
    """One kind of time of one pair over the round trips. x: what was added -> the median handshake there.

    points: (x, time) of each exact one; hung: how many trials had no time; line: None where there are too few
    or where any hung, since those that did not would be a choice.
    """

    pair: Pair
    what: What
    clock: Clock
    rows: Sequence[Row]
    x: dict[int, int]
    points: list[tuple[int, int]]
    hung: int
    line: RoundTrips | None

    def to_json(self) -> dict[str, Any]:
        """The line as one object of NDJSON."""
        line = self.line
        return {
            "schema": ROUND_TRIPS_SCHEMA,
            **_of(self.pair, self.rows, self.clock),
            "what": self.what,
            "exact": len(self.points),
            "hung": self.hung,
            "handshake_ns": {str(added): measured for added, measured in self.x.items()},
            "round_trips": None if line is None else line.slope,
            "round_trips_low": None if line is None else line.slope_low,
            "round_trips_high": None if line is None else line.slope_high,
            "own_ns": None if line is None else line.own_ns,
            "own_low_ns": None if line is None else line.own_low,
            "own_high_ns": None if line is None else line.own_high,
        }


def handshakes(rows: Sequence[Row]) -> dict[int, list[int]]:
    """What was added to the round trip -> the handshakes that were measured then, in ns, sorted."""
    found: dict[int, list[int]] = {}
    for row in rows:
        if row.rtt_ns is not None and row.handshake_ns is not None and row.lost is None:
            found.setdefault(row.rtt_ns, []).append(row.handshake_ns)
    return {added: sorted(measured) for added, measured in sorted(found.items())}


def distances(rows: Sequence[Row], clock: Clock = "wire") -> Iterator[Distances]:
    """Every kind of time of every pair over the round trips of a run. Raises StatisticsMissing."""
    x = {added: median_low(measured) for added, measured in handshakes(rows).items()}
    for pair in ordered(rows):
        of = [row for row in rows if row.pair == pair and row.rtt_ns in x]
        for what in WHATS:
            points: list[tuple[int, int]] = []
            hung = 0
            for added, measured in x.items():
                for one in observed([row for row in of if row.rtt_ns == added], what, clock):
                    if one.exact:
                        points.append((measured, one.ns))
                    else:
                        hung += 1
            if not points and not hung:
                continue
            line = None
            if not hung:
                try:
                    line = round_trips(points, seed=of[0].seed)
                except ValueError:
                    pass
            yield Distances(pair, what, clock, of, x, points, hung, line)


# --- two runs -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """One kind of time, before and after. found: None where one of them has none of it."""

    pair: Pair
    what: What
    clock: Clock
    before: Sequence[Row]
    after: Sequence[Row]
    n: tuple[int, int]
    found: Comparison | None

    def to_json(self) -> dict[str, Any]:
        """The change as one object of NDJSON."""
        found = self.found
        gap = None if found is None else found.difference
        return {
            "schema": COMPARISON_SCHEMA,
            "what": self.what,
            "clock": self.clock,
            "before": {**_of(self.before[0].pair, self.before, self.clock), "n": self.n[0]},
            "after": {**_of(self.after[0].pair, self.after, self.clock), "n": self.n[1]},
            "difference_ns": None if gap is None else gap.ns,
            "low_ns": None if gap is None else gap.low,
            "high_ns": None if gap is None else gap.high,
            "p": None if found is None else found.p,
            "why": "only one of them has this time" if found is None else found.why,
        }


def changes(
    before: Sequence[Row], after: Sequence[Row], clock: Clock, pair: Pair, seed: int = 0
) -> Iterator[Change]:
    """What changed in each kind of time between two sets of trials. pair: what they are called.

    Raises StatisticsMissing.
    """
    for what in WHATS:
        old, new = observed(before, what, clock), observed(after, what, clock)
        if not old and not new:
            continue
        found = compare(old, new, seed=seed) if old and new else None
        yield Change(pair, what, clock, before, after, (len(old), len(new)), found)
