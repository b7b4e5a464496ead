# SPDX-License-Identifier: GPL-2.0-or-later
"""Times over round trips: each pair's trials with their line, how many round trips it has, and what is left.

A pair in which anything hung has no line, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dissect.stream.text import duration, plural
from dissect.timing.grid import best_clock, caption
from dissect.timing.plots import sheet
from dissect.timing.plots.matrices import BODY, LABEL, MARGIN, SUBTITLE, TITLE
from dissect.timing.plots.sheet import (
    BLUE,
    FAINT,
    INK,
    PALE,
    WASH,
    WIDTH,
    Sheet,
    cut,
    drawable,
    line_height,
    wrap,
)
from dissect.timing.plots.sheet import width as wide
from dissect.timing.results import Row
from dissect.timing.summaries import Distances, distances, handshakes

SHOWN = {"over for the client": "until it is over", "to ServerInit": "to ServerInit"}
"""What is drawn, and its words: of a pair at odds how long its user waits, of an honest one what it costs."""
ROW, DOTS, GAP = 0.42, 1.15, 0.35
FIRST_SLOPE, MOST_SLOPE = -0.5, 12.0
"""Where the axis of round trips begins, so that an interval about none has room, and ends at the latest."""


def round_trips(rows: Sequence[Row]) -> Figure:
    """One line a pair of a run over round trips. Raises ValueError where there is none, StatisticsMissing."""
    clock = best_clock(rows)
    lines = [one for one in distances(rows, clock) if one.what in SHOWN]
    if not lines:
        raise ValueError("no trial over round trips to draw")
    fitted = [one.line for one in lines if one.line is not None]
    most = min(MOST_SLOPE, max(3.0, *(math.ceil(one.slope + 0.5) for one in fitted), 0.0))
    owns = [max(100_000, one.own_ns) for one in fitted] or [1_000_000]
    low, high = 10 ** math.floor(math.log10(min(owns))), 10 ** math.ceil(math.log10(max(owns) * 1.05))
    measured = handshakes(rows)
    middle = ", ".join(f"{group[len(group) // 2] / 1e6:.3g}" for group in measured.values())
    words = f"{caption(rows, clock)}, handshakes of {middle} ms at the median; bars: 95 %"
    with sheet.settings():
        space = WIDTH - 2 * MARGIN
        title = wrap("What grows with the round trip, and what does not", space, TITLE, 2)
        subtitle = wrap(words, space, SUBTITLE, 3)
        clients = {one.pair[0]: cut(drawable(one.pair[0]), 1.8, LABEL) for one in lines}
        servers = {one.pair[1]: cut(drawable(one.pair[1]), 1.45, BODY) for one in lines}
        second = MARGIN + 0.1 + max(wide(text, LABEL) for text in clients.values()) + 0.15
        third = second + max(wide(text, BODY) for text in servers.values()) + 0.15
        dots = third + max(wide(text, BODY) for text in SHOWN.values()) + 0.2
        slopes = dots + DOTS + GAP
        half = (WIDTH - MARGIN - 0.3 - slopes - GAP) / 2
        owned = slopes + half + GAP
        top = 0.3 + line_height(TITLE) * len(title) + line_height(SUBTITLE) * len(subtitle) + 0.35
        bottom = top + ROW * len(lines)
        paper = Sheet(bottom + 0.85)
        paper.head(MARGIN, title, subtitle, (TITLE, SUBTITLE))

        def trips(value: float) -> float:
            return slopes + half * min(1.0, max(0.0, (value - FIRST_SLOPE) / (most - FIRST_SLOPE)))

        def own(ns: float) -> float:
            share = math.log(max(ns, low) / low) / math.log(high / low)
            return owned + half * min(1.0, share)

        for x, text in ((dots, "every trial"), (slopes, "round trips"), (owned, "and by itself")):
            paper.text(x, top - 0.1, text, LABEL)
        every = math.ceil(most / max(1, math.floor(half / 0.3)))
        for tick in range(0, int(most) + 1, every):
            _tick(paper, trips(tick), top, bottom, f"{tick}")
        powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
        skip = math.ceil(0.62 * len(powers) / max(0.6, half))
        for number, power in enumerate(powers):
            _tick(paper, own(10**power), top, bottom, duration(10**power) if number % skip == 0 else "")
        block = -1
        for number, one in enumerate(lines):
            y = top + ROW * (number + 0.5)
            if number == 0 or lines[number - 1].pair[0] != one.pair[0]:
                block += 1
                paper.text(MARGIN + 0.1, y + 0.045, clients[one.pair[0]], LABEL)
            if block % 2 == 0:
                paper.band(MARGIN, y - ROW / 2, WIDTH - 2 * MARGIN, ROW, fill=WASH)
            paper.text(second, y + 0.045, servers[one.pair[1]], BODY)
            paper.text(third, y + 0.045, SHOWN[one.what], BODY)
            if one.line is None:
                n = len(one.points) + one.hung
                text = f"hang: {one.hung} of {plural(n, 'trial')}" if one.hung else "too few trials"
                paper.text(slopes + 0.06, y + 0.045, text, BODY, gid="hang")
                continue
            _scatter(paper, one, dots, y)
            line = one.line
            _interval(paper, (line.slope_low, line.slope, line.slope_high), trips, (slopes, half), y)
            _interval(paper, (line.own_low, line.own_ns, line.own_high), own, (owned, half), y)
        paper.text(
            MARGIN,
            bottom + 0.55,
            "Every trial: from 0 to the pair's largest time, with Theil and Sen's line. A bar that "
            "leaves its axis has an arrow.",
            BODY,
            colour=PALE,
        )
        return paper.figure


def _tick(paper: Sheet, x: float, top: float, bottom: float, text: str) -> None:
    paper.line(x, top, x, bottom, colour=FAINT, weight=0.6)
    paper.text(x, bottom + 0.2, text, BODY, align="center")


def _scatter(paper: Sheet, one: Distances, left: float, y: float) -> None:
    """Every trial of a pair, and the line."""
    assert one.line is not None
    across = max(x for x, _ in one.points)
    tall = max(time for _, time in one.points) * 1.08
    base = y + ROW / 2 - 0.05
    room = ROW - 0.1

    def place(x: float, time: float) -> tuple[float, float]:
        return left + DOTS * x / across, base - room * min(1.0, max(0.0, time / tall))

    paper.line(left, base, left + DOTS, base, colour=FAINT, weight=0.8)
    paper.line(left, base, left, base - room, colour=FAINT, weight=0.8)
    ends = [place(x, one.line.own_ns + one.line.slope * x) for x in (0, across)]
    paper.axes.add_line(
        Line2D([x for x, _ in ends], [at for _, at in ends], color=INK, lw=1.0, zorder=3, gid="line")
    )
    for x, time in one.points:
        paper.mark(*place(x, time), "o", size=2.6, edge=BLUE, fill="none", weight=0.7, gid="trial")


def _interval(
    paper: Sheet,
    values: tuple[float, float, float],
    across: Callable[[float], float],
    axis: tuple[float, float],
    y: float,
) -> None:
    """A value and its interval on an axis (its left end, its length)."""
    low, middle, high = (across(value) for value in values)
    left, right = axis[0], axis[0] + axis[1]
    paper.line(low, y, high, y, colour=INK, weight=1.6)
    for at, edge, way in ((low, left, -1), (high, right, 1)):
        if abs(at - edge) < 1e-6:
            paper.arrow(edge - way * 0.02, edge + way * 0.14, y, colour=INK, weight=1.0, gid="beyond")
        else:
            paper.line(at, y - 0.05, at, y + 0.05, colour=INK, weight=1.2)
    paper.mark(middle, y, "D", size=5, edge=INK, fill="white", weight=1.2, gid="estimate")
