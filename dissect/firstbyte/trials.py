# SPDX-License-Identifier: GPL-2.0-or-later
"""Trials: clients that met servers, many times, as `firstbyte matrix` keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dissect.stream.side import Side
from dissect.stream.text import plural
from dissect.timing import results
from dissect.timing.observations import Clock, Observation
from dissect.timing.results import Row

if TYPE_CHECKING:
    from dissect.firstbyte.pictures import Picture
    from dissect.firstbyte.tables import Table
    from dissect.timing.estimators import Comparison, Summary

Kind = Literal["heat", "trials", "curves"]
"""The pictures of trials: the map of medians, every trial, the share that has noticed by each time."""


def trials(*paths: str | PathLike[str]) -> Trials:
    """Read trials: folders of `firstbyte matrix -o`, their NDJSON files, or Parquet.

    Raises OSError, and `ResultsError` of `dissect.timing.results` where there is no trial in a file.

    >>> from dissect import firstbyte as fb
    >>> run = fb.trials("pcaps/trials/cure.parquet")
    >>> run
    <Trials: 120 of 6 pairs>
    >>> run.select(client="model-vnc-quiet").observations()[0].status
    'censored'
    """
    rows: list[Row] = []
    problems: list[str] = []
    for path in paths:
        found, wrong = results.read_rows(Path(path))
        rows += found
        problems += wrong
    return Trials(rows, problems)


class Trials:
    """Trials, in the order in which they were made. Shows itself in a notebook as a map of its pairs.

    rows: each trial with its circumstances and its observations. problems: a line on each row of the files
    that could not be used.

    >>> from dissect import firstbyte as fb
    >>> run = fb.trials("pcaps/trials/cure.parquet")
    >>> run.pairs[0]
    ('model-vnc-early', 'model-spice-16')
    >>> found = run.summaries(fb.Side.SERVER)
    >>> found["model-vnc-early", "model-spice-4"].median
    Median(ns=1197321, low=975291, high=1467172)
    >>> found["model-vnc-early", "model-spice-16"].median.ns is None  # only a bound
    True
    """

    def __init__(self, rows: Sequence[Row], problems: Iterable[str] = ()) -> None:
        self.rows = list(rows)
        self.problems = list(problems)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Who met whom: (client, server), sorted.

        >>> from dissect import firstbyte as fb
        >>> len(fb.trials("pcaps/trials/cure.parquet").pairs)
        6
        """
        return sorted({row.pair for row in self.rows})

    def select(
        self,
        *,
        client: str | None = None,
        server: str | None = None,
        where: Callable[[Row], bool] | None = None,
    ) -> Trials:
        """Those of one client, of one server, or for which `where` is true.

        >>> from dissect import firstbyte as fb
        >>> run = fb.trials("pcaps/trials/cure.parquet")
        >>> len(run.select(server="model-spice-4")), len(run.select(where=lambda row: row.trial == 0))
        (60, 6)
        """
        return Trials(
            [
                row
                for row in self.rows
                if client in (None, row.client)
                and server in (None, row.server)
                and (where is None or where(row))
            ]
        )

    @property
    def clock(self) -> Clock:
        """The clock that times are taken from: "wire" where every trial has it, else "user"; never both.

        >>> from dissect import firstbyte as fb
        >>> fb.trials("pcaps/trials/cure.parquet").clock
        'wire'
        """
        from dissect.timing.grid import best_clock

        return best_clock(self.rows)

    def observations(self, side: Side = Side.CLIENT, *, clock: Clock | None = None) -> list[Observation]:
        """What was observed of one side, exact or as a bound; trials that were lost have none.

        >>> from dissect import firstbyte as fb
        >>> run = fb.trials("pcaps/trials/cure.parquet").select(client="model-vnc-quiet")
        >>> {seen.status for seen in run.observations()}
        {'censored'}
        """
        clock = clock or self.clock
        return [seen for row in self.rows if row.lost is None and (seen := row.seen(side, clock)) is not None]

    def summaries(self, side: Side = Side.CLIENT) -> dict[tuple[str, str], Summary]:
        """What the trials of each pair come to: n, how many noticed, the median with its band.

        Pairs with nothing to notice are left out. Raises `StatisticsMissing` without scipy.

        >>> from dissect import firstbyte as fb
        >>> found = fb.trials("pcaps/trials/cure.parquet").summaries()
        >>> summary = found["model-vnc-early", "model-spice-4"]
        >>> summary.n, summary.exact, summary.outcomes["close"].count
        (20, 20, 20)
        """
        from dissect.timing.estimators import summarise

        found = {}
        for client, server in self.pairs:
            if seen := self.select(client=client, server=server).observations(side, clock=self.clock):
                found[client, server] = summarise(seen)
        return found

    def compare(self, other: Trials, side: Side = Side.CLIENT) -> Comparison:
        """Whether `other` differs from these, and by how much: the log-rank test, the difference of medians.

        Both are counted with the same clock, and bounds as bounds. Raises ValueError where one has no
        observation, `StatisticsMissing` without scipy.

        >>> from dissect import firstbyte as fb
        >>> run = fb.trials("pcaps/trials/cure.parquet").select(client="model-vnc-early")
        >>> before, after = run.select(server="model-spice-16"), run.select(server="model-spice-4")
        >>> before.compare(after).why                       # before, nobody noticed: no median to compare
        'the median of the first is not reached'
        """
        from dissect.timing.estimators import compare

        clock = Trials([*self.rows, *other.rows]).clock
        return compare(self.observations(side, clock=clock), other.observations(side, clock=clock))

    def table(self, of: str = "trials") -> Table:
        """A table: one row a trial, or of="observations". Raises ValueError for another word.

        A trial's row has its observations in a list, as in the Parquet of `firstbyte matrix`.

        >>> from dissect import firstbyte as fb
        >>> run = fb.trials("pcaps/trials/cure.parquet")
        >>> run.table("observations").to_pandas().groupby(["client", "status"]).size().to_dict()
        {('model-vnc-early', 'censored'): 80, ('model-vnc-early', 'exact'): 80, ...}
        """
        from dissect.firstbyte import tables

        if of == "trials":
            return tables.Table(tables.TRIAL, lambda: map(results.arrow_row, self.rows))
        if of == "observations":
            return tables.Table(tables.OBSERVATION, lambda: self._observed(tables.observation_row))
        raise ValueError(f"no table of {of!r}: trials or observations")

    def _observed(self, made: Callable[[Observation, Row], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            for seen in row.observations:
                yield made(seen, row)

    def plot(self, kind: Kind = "heat", side: Side = Side.CLIENT) -> Picture:
        """A picture of them: "heat" is a map of the medians, "trials" has every trial, "curves" the share
        that has noticed by each time.

        Raises ValueError for another word or without a trial, `StatisticsMissing` without scipy.

        >>> from dissect import firstbyte as fb
        >>> fb.trials("pcaps/trials/cure.parquet").plot("curves")
        <Picture: 120 trials, the client's curves>
        """
        from dissect.firstbyte.pictures import Picture
        from dissect.timing.plots import before_after, curves, heat_map

        draw = {"heat": heat_map, "trials": before_after, "curves": curves}.get(kind)
        if draw is None:
            raise ValueError(f"no picture {kind!r}: heat, trials or curves")
        what = {"heat": "map", "trials": "times", "curves": "curves"}[kind]
        return Picture(draw(self.rows, side=side), f"{plural(len(self), 'trial')}, the {side}'s {what}")

    def __repr__(self) -> str:
        return f"<Trials: {len(self):,} of {plural(len(self.pairs), 'pair')}>"

    def __str__(self) -> str:
        from dissect.stream.text import duration, safe

        lines = []
        for (client, server), found in self.summaries().items():
            bound = found.least_ns if found.exact == 0 else found.most_ns
            middle = found.median.ns
            time = duration(bound, censored=True) if middle is None else duration(middle)
            lines.append(f"{safe(client)} → {safe(server)}: {found.exact} of {found.n} noticed, {time}")
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        return self.plot()._repr_html_() if self.rows else None
