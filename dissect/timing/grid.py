# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients x servers, before anybody draws them: what each pair came to.

In every picture of it a hang looks like nothing else: it is a bound, and never shaded as a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dissect.stream.side import Side
from dissect.stream.text import duration
from dissect.timing.estimators import median
from dissect.timing.observations import Clock, Observation
from dissect.timing.results import Row

Pair = tuple[str, str]
Kind = Literal["time", "hang", "cut", "agreed", "lost", "absent"]

MEANING: dict[Kind, str] = {
    "hang": "hang: nothing before the deadline, a bound",
    "cut": "cut off: the other side noticed and left first",
    "agreed": "agreed: the same protocol",
}
"""What a legend says."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair. ns: of a "time" the median, of a "hang" the bound. share: of a time, 0 to 1 on the scale."""

    kind: Kind
    ns: int | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Grid:
    """How long until the side noticed. low_ns, high_ns: the scale, whole decades; None without a time."""

    side: Side
    clock: Clock
    clients: list[str]
    servers: list[str]
    cells: dict[Pair, Cell]
    low_ns: int | None
    high_ns: int | None
    caption: str


def grid(rows: Sequence[Row], *, side: Side = Side.CLIENT, clock: Clock | None = None) -> Grid:
    """What the trials come to, pair by pair. Raises ValueError without a row, StatisticsMissing."""
    if not rows:
        raise ValueError("no trial to draw")
    clock = clock or best_clock(rows)
    found = pair_times(rows, side, clock)
    medians = {pair: median(seen).ns for pair, seen in found.items() if seen}
    exact = [ns for ns in medians.values() if ns is not None]
    # Whole decades: shades that differ mean times that do.
    low = 10 ** math.floor(math.log10(max(1, min(exact, default=1))))
    high = 10 ** math.ceil(math.log10(max(10 * low, *exact, 1)))
    cells = {}
    for pair, seen in found.items():
        middle = medians.get(pair)
        if middle is not None:
            share = math.log(max(1, middle) / low) / math.log(high / low)
            cells[pair] = Cell("time", middle, share)
        else:
            cells[pair] = _without_time([row for row in rows if row.pair == pair], side, seen)
    return Grid(
        side,
        clock,
        sorted({row.client for row in rows}, key=natural),
        sorted({row.server for row in rows}, key=natural),
        cells,
        low if exact else None,
        high if exact else None,
        caption(rows, clock),
    )


def _without_time(of: Sequence[Row], side: Side, seen: Sequence[Observation]) -> Cell:
    good = [row for row in of if row.lost is None]
    if seen and all(left_first(row, side) for row in good):
        return Cell("cut")
    if seen:
        return Cell("hang", min(one.ns for one in seen if not one.exact))
    return Cell("agreed" if good else "lost")


def left_first(row: Row, side: Side) -> bool:
    """Whether the other side noticed and ended the conversation before this one could: no hang."""
    return any(one.side is side.other and one.exact for one in row.observations)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names as people do: server-2 before server-10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if at % 2 else (-1, part.casefold()) for at, part in enumerate(parts)]


def pair_times(rows: Sequence[Row], side: Side, clock: Clock) -> dict[Pair, list[Observation]]:
    """The observations of a side by one clock, pair by pair."""
    found: dict[Pair, list[Observation]] = {row.pair: [] for row in rows}
    for row in rows:
        one = row.seen(side, clock)
        if row.lost is None and one is not None:
            found[row.pair].append(one)
    return found


def best_clock(rows: Sequence[Row]) -> Clock:
    """The wire's where every trial with a time has one of it, else the user's: never both in a picture."""
    clocks = [{one.clock for one in row.observations} for row in rows if row.observations]
    return "wire" if clocks and all("wire" in seen for seen in clocks) else "user"


def caption(rows: Sequence[Row], clock: Clock) -> str:
    """The circumstances of the trials, on a line."""
    good = sum(row.lost is None for row in rows)
    deadlines = sorted({row.deadline_ns for row in rows})
    loads = [row.load1 for row in rows]
    pairs: dict[Pair, int] = {}
    for row in rows:
        pairs[row.pair] = pairs.get(row.pair, 0) + (row.lost is None)
    each = sorted(set(pairs.values()))
    number = f"n = {each[0]}" if len(each) == 1 else f"n = {each[0]} to {each[-1]}"
    words = [
        f"{clock} clock",
        f"{number} a pair, {good:,} trials in all, {len(rows) - good:,} lost",
        f"deadline {' and '.join(duration(ns) for ns in deadlines)}",
        f"seed {', '.join(map(str, sorted({row.seed for row in rows})))}",
        f"load average {min(loads):g} to {max(loads):g}",
    ]
    if added := sorted({row.rtt_ns for row in rows if row.rtt_ns is not None}):
        words.append(f"round trips {', '.join(f'{ns / 1e6:g}' for ns in added)} ms longer")
    return "; ".join(words)
