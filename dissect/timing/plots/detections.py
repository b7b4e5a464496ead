# SPDX-License-Identifier: GPL-2.0-or-later
"""The detection times of many conversations on one logarithmic axis.

One row for each group (who spoke what to whom, and who had to notice), or for each observation where there
are few. A mark is a reaction that was seen; its shape says of which kind, and it is hollow where the peer
had left before. An arrow to the right begins at the bound of a censored observation: the time is longer,
nobody saw how much. The two are separate artists and share no shape, so that a bound is never taken for a
value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from dissect.dissection.recognise import TITLES
from dissect.dissection.verdict import By
from dissect.stream.side import Side
from dissect.stream.text import duration, plural
from dissect.timing.observations import Observation, grouped
from dissect.timing.plots import sheet
from dissect.timing.plots.sheet import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    PALE,
    VERMILLION,
    WASH,
    WIDTH,
    Sheet,
    cut,
    drawable,
    font,
    line_height,
    width,
    wrap,
)
from dissect.timing.wording import REACTIONS

FEW = 12
"""Observations that get a row each; more are put into groups."""

PAIR = "client spoke → server spoke"
WHO = "who"

CLOCKS = {"wire": "capture clock", "user": "user-space clock"}

MARGIN = 0.35
LANE = 0.135
"""Inches between two marks of a row that would cover each other."""
LABEL_GAP = 0.66
"""Inches from one labelled tick to the next at least; "100 ms" takes 0.5."""
ZERO_GAP = 0.45
"""Inches at the left end of the axis that separate zero from the least time."""
LANES = 9
"""Marks above each other at most; then they do cover each other, translucent."""

MARKS: dict[By | None, tuple[str, str, float]] = {
    "error-reply": ("o", VERMILLION, 9.0),
    "close": ("s", BLUE, 8.0),
    "reset": ("^", GREEN, 9.5),
}
"""Reaction -> marker, colour, size in points."""

CENSORED = Path(
    [(0, -0.4), (0, 0.4), (0, 0), (1.75, 0), (1.25, 0.34), (1.75, 0), (1.25, -0.34)],
    [Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.LINETO],
)
"""A bar at the bound and an arrow away from it; matplotlib scales its longest side to one half."""
CENSORED_SIZE = 36.0
ARROW = 0.3
"""Inches that the arrow reaches beyond its bound."""

TITLE = font(14, bold=True)
SUBTITLE = font(10.5)
LABEL = font(10, bold=True)
BODY = font(9.5)
TICK = font(9.5)
SMALL = font(9)

LABEL_MOST, NOTE_MOST = 2.7, 2.3


@dataclass(slots=True)
class _Row:
    """One row. `label`, `below`: what stands at the left of the rows of one block; `block`: its number."""

    label: str
    below: str
    side: Side
    notes: list[str]
    block: int
    found: list[Observation]
    lanes: list[int] = field(default_factory=list)
    middle: float = 0.0
    crowded: bool = False
    height: float = 0.0
    y: float = 0.0


def detection_times(found: Sequence[Observation], *, few: int = FEW) -> Figure:
    """Detection times of all conversations given. `few`: up to so many observations get a row each.

    Raises ValueError where there is none.
    """
    if not found:
        raise ValueError("no observation to draw")
    with sheet.settings():
        return _Detections(found, few).draw()


class _Detections:
    def __init__(self, found: Sequence[Observation], few: int) -> None:
        self.found = sorted(found, key=_order)  # so that the order of the input changes nothing
        labels = {one.label for one in self.found}
        self.captures = sorted(label for label in labels if label)
        self.rows = self._single() if len(self.found) <= few else self._grouped()
        self.low, self.high, self.zero = _range(one.ns for one in self.found)

    # --- rows

    def _ordered(self) -> list[tuple[tuple[str, str, Side], list[Observation]]]:
        """Groups: the pair of protocols that was noticed soonest first, within it the side that was."""
        groups = grouped(self.found)
        fastest = {
            key: min((one.ns for one in group if one.exact), default=None) for key, group in groups.items()
        }
        pairs: dict[tuple[str, str], float] = {}
        for (client, server, _), ns in fastest.items():
            soon = math.inf if ns is None else ns
            pairs[client, server] = min(pairs.get((client, server), math.inf), soon)
        return sorted(
            groups.items(),
            key=lambda item: (
                pairs[item[0][:2]],
                item[0][:2],
                item[0][2].other,  # the server's first
            ),
        )

    def _grouped(self) -> list[_Row]:
        rows: list[_Row] = []
        pairs: list[tuple[str, str]] = []
        for (client, server, side), group in self._ordered():
            if (client, server) not in pairs:
                pairs.append((client, server))
            rows.append(_Row(_pair(client, server), "", side, _counts(group), len(pairs), group))
        return rows

    def _single(self) -> list[_Row]:
        rows: list[_Row] = []
        last, block = None, 0
        for one in sorted(self.found, key=lambda one: (one.label, one.conversation, one.side.other, one.ns)):
            which = one.label, one.conversation
            block += which != last
            last = which
            of = f"{one.label}, #{one.conversation}" if len(self.captures) > 1 else f"#{one.conversation}"
            time = duration(one.ns, censored=not one.exact)
            notes = [f"{time}, {plural(one.bytes, 'byte')}", _what(one)]
            rows.append(_Row(_pair(one.client_spoke, one.server_spoke), of, one.side, notes, block, [one]))
        return rows

    # --- on paper

    def draw(self) -> Figure:
        for row in self.rows:
            row.label = cut(drawable(row.label), LABEL_MOST, LABEL)
            row.below = cut(drawable(row.below), LABEL_MOST, SMALL)
            row.notes = [line for note in row.notes for line in wrap(drawable(note), NOTE_MOST, SMALL, 2)]
        space = WIDTH - 2 * MARGIN
        title = wrap("How long until each side noticed", space, TITLE, 2)
        subtitle = wrap(drawable(self._subtitle()), space, SUBTITLE, 3)
        labelled = max(max(width(row.label, LABEL), width(row.below, SMALL)) for row in self.rows)
        self.side_x = MARGIN + 0.1 + max(labelled, width(PAIR, SMALL)) + 0.25
        left = self.side_x + max(width(str(side), BODY) for side in Side) + 0.25
        noted = max(width(note, SMALL) for row in self.rows for note in row.notes)
        right = WIDTH - MARGIN - noted - ARROW - 0.15
        if self.zero:
            share = (ZERO_GAP + 0.1) / (right - left)
            self.low = math.exp((math.log(self.low) - share * math.log(self.high)) / (1 - share))
        self._lanes(right - left)

        top = 0.3 + line_height(TITLE) * len(title) + line_height(SUBTITLE) * len(subtitle) + 0.46
        y = top
        for row in self.rows:
            row.y, y = y + row.height / 2, y + row.height
        bottom = y
        legend = self._legend(space)
        height = bottom + 0.78 + 0.26 * len(legend) + 0.16
        paper = Sheet(height)

        paper.head(MARGIN, title, subtitle, (TITLE, SUBTITLE))
        paper.text(MARGIN + 0.1, top - 0.1, PAIR, SMALL, colour=PALE)
        paper.text(self.side_x, top - 0.1, WHO, SMALL, colour=PALE)
        self._draw_rows(paper)
        axes = self._axes(paper, left, right, top, bottom)
        self._draw_marks(axes)
        axis = "from the first byte of the wrong protocol (without one, from the TCP handshake); logarithmic"
        across = (left + right) / 2
        half = width(axis, SMALL) / 2
        across = min(max(across, MARGIN + half), WIDTH - MARGIN - half)
        paper.text(across, bottom + 0.52, axis, SMALL, align="center", colour=PALE)
        self._draw_legend(paper, legend, bottom + 0.82)
        return paper.figure

    def _subtitle(self) -> str:
        conversations = len({(one.label, one.conversation) for one in self.found})
        exact = sum(one.exact for one in self.found)
        names = self.captures
        of = "" if not names else f" in {names[0]}" if len(names) == 1 else f" in {len(names)} captures"
        censored = len(self.found) - exact
        clocks = " and ".join(sorted({CLOCKS[one.clock] for one in self.found}))
        return (
            f"{plural(len(self.found), 'observation')} of {plural(conversations, 'conversation')}{of}: "
            f"{exact:,} seen to end, {censored:,} not (censored); {clocks}"
        )

    def _lanes(self, across: float) -> None:
        """Give each mark of a row a lane in which it covers no other, and each row its height."""
        for row in self.rows:
            free: dict[int, float] = {}
            order = sorted(range(-(LANES // 2), LANES // 2 + 1), key=lambda lane: (abs(lane), lane))
            for number, one in enumerate(row.found):
                x = self._across(one.ns) * across
                lane = next((lane for lane in order if free.get(lane, -math.inf) <= x), None)
                if lane is None:
                    lane, row.crowded = order[number % LANES], True
                free[lane] = x + (0.15 if one.exact else ARROW + 0.08)
                row.lanes.append(lane)
            row.middle = (min(row.lanes) + max(row.lanes)) / 2
            alone = sum(other.block == row.block for other in self.rows) == 1
            text = line_height(LABEL) + (line_height(SMALL) if alone and row.below else 0)
            notes = line_height(SMALL) * len(row.notes)
            swarm = (max(row.lanes) - min(row.lanes) + 1) * LANE
            row.height = max(text, notes, swarm) + 0.1

    def _across(self, ns: int) -> float:
        """Where a time lies between the left (0) and the right (1) end of the axis."""
        seconds = self._seconds(ns)
        return math.log(seconds / self.low) / math.log(self.high / self.low)

    def _seconds(self, ns: int) -> float:
        return ns / 1e9 if ns > 0 else self.low

    def _axes(self, paper: Sheet, left: float, right: float, top: float, bottom: float) -> Axes:
        high = paper.height
        axes = paper.figure.add_axes(
            (left / WIDTH, 1 - bottom / high, (right - left) / WIDTH, (bottom - top) / high), label="times"
        )
        axes.set_xscale("log")
        axes.set_xlim(self.low, self.high)
        axes.set_ylim(bottom, top)
        axes.patch.set_visible(False)
        for name, spine in axes.spines.items():
            spine.set_visible(name == "bottom")
            spine.set_color(PALE)
        ticks, minor = _ticks(self.low, self.high, right - left)
        labels = [_tick(tick) for tick in ticks]
        if self.zero:
            # Zero has no place on this axis: it stands at its left end, behind a break.
            least = ZERO_GAP / (right - left)
            ticks = [self.low, *(tick for tick in ticks if self._across(round(tick * 1e9)) > least)]
            minor = [tick for tick in minor if self._across(round(tick * 1e9)) > least]
            labels = ["0", *(_tick(tick) for tick in ticks[1:])]
            for at in (0.45, 0.6):
                x = self.low * (self.high / self.low) ** (least * at)
                axes.add_line(
                    Line2D(
                        [x],
                        [bottom],
                        marker=(2, 0, -25),
                        ms=11,
                        mec=PALE,
                        ls="none",
                        clip_on=False,
                        gid="break",
                    )
                )
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FixedFormatter(labels))
        axes.xaxis.set_minor_locator(FixedLocator(minor) if minor else NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(NullLocator())
        axes.tick_params(axis="x", which="both", colors=PALE, length=3)
        axes.tick_params(axis="x", which="major", length=5)
        for label in axes.get_xticklabels():
            label.set_fontproperties(TICK)
            label.set_color(INK)
            label.set_parse_math(False)
        axes.grid(axis="x", which="major", color=FAINT, lw=0.7)
        axes.set_axisbelow(True)
        return axes

    def _draw_rows(self, paper: Sheet) -> None:
        for block in sorted({row.block for row in self.rows}):
            rows = [row for row in self.rows if row.block == block]
            top, high = rows[0].y - rows[0].height / 2, sum(row.height for row in rows)
            if block % 2:
                paper.band(MARGIN, top, WIDTH - 2 * MARGIN, high, fill=WASH)
            # Beside the first row of a block; alone, in the middle of it.
            below = rows[0].below
            text = line_height(LABEL) + (line_height(SMALL) if below else 0)
            baseline = top + max((rows[0].height - line_height(LABEL)) / 2, 0.05) + line_height(LABEL) * 0.78
            if len(rows) == 1:
                baseline = top + (high - text) / 2 + line_height(LABEL) * 0.78
            paper.text(MARGIN + 0.1, baseline, rows[0].label, LABEL)
            paper.text(MARGIN + 0.1, baseline + line_height(SMALL), below, SMALL, colour=PALE)
        for row in self.rows:
            paper.text(self.side_x, row.y + 0.045, str(row.side), BODY)
            top = row.y - line_height(SMALL) * len(row.notes) / 2
            for number, note in enumerate(row.notes):
                baseline = top + line_height(SMALL) * (number + 0.78)
                paper.text(WIDTH - MARGIN - 0.08, baseline, note, SMALL, align="right")

    def _draw_marks(self, axes: Axes) -> None:
        for row in self.rows:
            series: dict[tuple[str, By | None, bool], list[tuple[float, float]]] = {}
            for one, lane in zip(row.found, row.lanes, strict=True):
                point = self._seconds(one.ns), row.y + (lane - row.middle) * LANE
                key = one.status, one.by, one.exact and one.after_close
                series.setdefault(key, []).append(point)
            for (status, by, hollow), points in series.items():
                line = _mark(status == "exact", by, hollow, row.crowded)
                line.set_data([x for x, _ in points], [y for _, y in points])
                line.set_clip_on(False)
                axes.add_line(line)

    def _legend(self, space: float) -> list[list[tuple[Line2D, str]]]:
        """What the marks that occur mean, broken into lines."""
        entries = [
            (_mark(True, by, False, False), f"{REACTIONS[by]}")
            for by in MARKS
            if by is not None and any(one.by == by and one.exact for one in self.found)
        ]
        if any(one.exact and one.after_close for one in self.found):
            hollow = next(one.by for one in self.found if one.exact and one.after_close)
            entries.append((_mark(True, hollow, True, False), "hollow: after the peer had left"))
        if any(not one.exact for one in self.found):
            entries.append(
                (_mark(False, None, False, False), "not noticed by then (censored): it takes longer")
            )
        lines: list[list[tuple[Line2D, str]]] = [[]]
        x = 0.0
        for line, text in entries:
            wide = 0.6 + width(text, BODY)
            if lines[-1] and x + wide > space:
                lines.append([])
                x = 0.0
            lines[-1].append((line, text))
            x += wide
        return lines

    @staticmethod
    def _draw_legend(paper: Sheet, legend: list[list[tuple[Line2D, str]]], y: float) -> None:
        for number, entries in enumerate(legend):
            x, middle = MARGIN + 0.1, y + 0.26 * number
            for line, text in entries:
                line.set_data([x + 0.05], [middle])
                line.set_gid(f"legend-{line.get_gid()}")
                paper.axes.add_line(line)
                after = 0.18 if line.get_marker() is not CENSORED else ARROW + 0.08
                paper.text(x + after, middle + 0.05, text, BODY)
                x += after + 0.3 + width(text, BODY)


def _mark(exact: bool, by: By | None, hollow: bool, crowded: bool) -> Line2D:
    """The marks of one kind, without their places. The gid says the kind: "exact-close", "censored"."""
    if not exact:
        return Line2D(
            [], [], ls="none", marker=CENSORED, ms=CENSORED_SIZE, mec=INK, mfc="none", mew=1.5, gid="censored"
        )
    shape, colour, size = MARKS.get(by, ("D", PALE, 8.0))
    name = f"exact-{by}" + ("-after-close" if hollow else "")
    return Line2D(
        [],
        [],
        ls="none",
        marker=shape,
        ms=size,
        mec=colour if hollow else INK,
        mfc="white" if hollow else colour,
        mew=1.6 if hollow else 0.7,
        alpha=0.8 if crowded else 1.0,
        gid=name,
    )


def _order(one: Observation) -> tuple[object, ...]:
    return one.ns, one.status, str(one.by), one.after_close, one.bytes, one.label, one.conversation, one.side


def _pair(client: str, server: str) -> str:
    return f"{TITLES.get(client, client)} → {TITLES.get(server, server)}"


def _what(one: Observation) -> str:
    if not one.exact:
        return "not noticed by then"
    return f"{_kind(one)}, the {one.side.other} had left" if one.after_close else _kind(one)


def _kind(one: Observation) -> str:
    """The reaction in a word; a side that heard nothing wrong noticed nothing but the silence."""
    by = REACTIONS[one.by] if one.by is not None else "reaction"
    return by if one.bytes else f"gave up ({by})"


def _counts(group: Sequence[Observation]) -> list[str]:
    """How many of each, on as many lines as it takes: "n = 12: 8 error reply, 3 close, 1 not noticed"."""
    kinds = Counter(_kind(one) for one in group if one.exact)
    words = [f"{number} {word}" for word, number in kinds.most_common()]
    censored = sum(not one.exact for one in group)
    if censored:
        words.append(f"{censored} not noticed")
    if len(group) == 1:
        words = [words[0].removeprefix("1 ")]  # "n = 1: close"
    lines = [f"n = {len(group):,}: {words[0]}"]
    for word in words[1:]:
        if width(f"{lines[-1]}, {word},", SMALL) <= NOTE_MOST:
            lines[-1] += f", {word}"
        else:
            lines[-1] += ","
            lines.append(word)
    return lines


# --- the axis -------------------------------------------------------------------------------------------


def _range(times: Iterable[int]) -> tuple[float, float, bool]:
    """The ends of the axis in seconds, and whether its left end stands for zero."""
    found = list(times)
    positive = [ns / 1e9 for ns in found if ns > 0] or [1e-6]
    low = _round(min(positive) / 1.25, up=False)
    high = _round(max(positive) * 1.25, up=True)
    return low, high, any(ns <= 0 for ns in found)


def _round(value: float, *, up: bool) -> float:
    """The next of 1, 2, 5, 10, ... in that direction."""
    decade = 10.0 ** math.floor(math.log10(value))
    steps = [decade * step for step in (1, 2, 5, 10)]
    if up:
        return next(step for step in [*steps, decade * 20] if step >= value * 0.999999)
    return next(step for step in reversed([decade / 2, *steps]) if step <= value * 1.000001)


def _ticks(low: float, high: float, across: float) -> tuple[list[float], list[float]]:
    """Labelled ticks of an axis that is `across` inches long, and the small ones between them."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = [10.0**exponent for exponent in exponents]
    a_decade = across / math.log10(high / low)

    def within(ticks: Iterable[float]) -> list[float]:
        return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]

    fine = within(decade * step for decade in decades for step in range(2, 10))
    if a_decade * math.log10(2) >= LABEL_GAP:
        return within(decade * step for decade in decades for step in (1, 2, 5)), fine
    every = math.ceil(LABEL_GAP / a_decade)
    return within(decades[::every]), fine if every == 1 else within(decades)


def _tick(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale * 0.999:
            return f"{round(seconds / scale, 3):,g} {unit}" if seconds < 1e6 else f"{seconds:.0e} s"
    return f"{round(seconds / 1e-9, 3):g} ns"
