# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients x servers as a map of times, and pair by pair with every trial marked.

In both a hang looks like nothing else: hatched white in the map, an arrow that leaves its bound among the
marks. Shades run from light to dark with time, so that they read in black and white as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from dissect.stream.side import Side
from dissect.stream.text import duration
from dissect.timing.estimators import Curve, curve, median
from dissect.timing.grid import (
    MEANING,
    Cell,
    Grid,
    Pair,
    best_clock,
    caption,
    grid,
    left_first,
    natural,
    pair_times,
)
from dissect.timing.observations import Clock, Observation
from dissect.timing.plots import sheet
from dissect.timing.plots.sheet import (
    FAINT,
    INK,
    PALE,
    WASH,
    WIDTH,
    Sheet,
    cut,
    drawable,
    font,
    line_height,
    wrap,
)
from dissect.timing.plots.sheet import width as wide
from dissect.timing.results import Row

TITLE, SUBTITLE, LABEL, BODY = font(14, bold=True), font(10.5), font(9.5, bold=True), font(9)
MARGIN = 0.35
NAME_MOST, ABOVE_MOST = 2.3, 2.3
"""Inches that the name of a client and of a server may take."""

LIGHT, DARK = (0.78, 0.86, 0.94), (0.03, 0.19, 0.42)
"""The shades of the shortest and of the longest time."""


def heat_map(rows: Sequence[Row], *, side: Side = Side.CLIENT, clock: Clock | None = None) -> Figure:
    """How long until the `side` noticed, client by server: the median of each pair.

    Raises ValueError without a row.
    """
    found = grid(rows, side=side, clock=clock)
    clients, servers = found.clients, found.servers
    with sheet.settings():
        names = {name: cut(drawable(name), NAME_MOST, LABEL) for name in clients}
        above = {name: cut(drawable(name), ABOVE_MOST, LABEL) for name in servers}
        space = WIDTH - 2 * MARGIN
        title = wrap(f"How long until the {side} noticed", space, TITLE, 2)
        subtitle = wrap(found.caption, space, SUBTITLE, 3)
        left = MARGIN + max(wide(name, LABEL) for name in names.values()) + 0.15
        cell = min(1.1, (WIDTH - MARGIN - left) / len(servers))
        upright = max(wide(name, LABEL) for name in above.values()) > cell - 0.1
        over = max(wide(name, LABEL) for name in above.values()) if upright else line_height(LABEL)
        top = (
            0.3 + line_height(TITLE) * len(title) + line_height(SUBTITLE) * len(subtitle) + 0.15 + over + 0.1
        )
        high_cell = 0.46
        bottom = top + high_cell * len(clients)
        paper = Sheet(bottom + 1.15)
        paper.head(MARGIN, title, subtitle, (TITLE, SUBTITLE))
        for column, name in enumerate(servers):
            x = left + (column + 0.5) * cell
            if upright:
                paper.axes.text(
                    x, top - 0.08, above[name], fontproperties=LABEL, rotation=90, ha="center", va="bottom",
                    color=INK, parse_math=False, zorder=6,
                )  # fmt: skip
            else:
                paper.text(x, top - 0.1, above[name], LABEL, align="center")
        for number, client in enumerate(clients):
            y = top + number * high_cell
            paper.text(left - 0.12, y + high_cell / 2 + 0.045, names[client], LABEL, align="right")
            for column, server in enumerate(servers):
                cell_of = found.cells.get((client, server), Cell("absent"))
                _cell(paper, (left + column * cell, y, cell, high_cell), cell_of)
        _legend(paper, bottom + 0.3, found)
        return paper.figure


def _cell(paper: Sheet, place: tuple[float, float, float, float], cell: Cell) -> None:
    x, y, across, down = place
    fill, hatch, ink, lines = "white", "", INK, ["–"]
    match cell.kind:
        case "time":
            colour = tuple(a + (b - a) * cell.share for a, b in zip(LIGHT, DARK, strict=True))
            fill = "#" + "".join(f"{round(255 * part):02x}" for part in colour)
            ink = "white" if cell.share > 0.45 else INK
            lines = duration(cell.ns or 0).split(" ", 1)
        case "cut":
            hatch, lines = "....", ["cut off"] if across > 0.6 else ["cut", "off"]
        case "hang":
            hatch, bound = "////", cell.ns or 0
            lines = ["≥ " + f"{bound / 1e9:.3g}", "s"] if bound >= 10**9 else ["≥", duration(bound)]
        case "agreed":
            fill, lines = WASH, ["agreed"] if across > 0.55 else ["ok"]
        case "lost":
            lines = ["lost"]
        case "absent":
            pass
    paper.axes.add_patch(
        Rectangle((x, y), across, down, fc=fill, ec=FAINT, lw=0.8, hatch=hatch, zorder=1,
                  gid=f"cell {cell.kind}")
    )  # fmt: skip
    if len(lines) > 1 and wide(" ".join(lines), BODY) < across - 0.08:
        lines = [" ".join(lines)]
    start = y + down / 2 - line_height(BODY) * len(lines) / 2
    if hatch:  # a field of white, so that the hatching leaves the words readable
        space = max(wide(line, BODY) for line in lines) + 0.06
        paper.axes.add_patch(
            Rectangle((x + (across - space) / 2, start), space, line_height(BODY) * len(lines), fc="white",
                      ec="none", zorder=2)
        )  # fmt: skip
    for number, line in enumerate(lines):
        baseline = start + line_height(BODY) * (number + 0.76)
        gid = "on shade" if cell.kind == "time" else None  # a colour that a dark page leaves alone
        paper.text(x + across / 2, baseline, line, BODY, align="center", colour=ink, gid=gid)


def _legend(paper: Sheet, y: float, found: Grid) -> None:
    x = MARGIN
    steps = 24
    if found.low_ns is not None and found.high_ns is not None:
        for step in range(steps):
            share = step / (steps - 1)
            colour = tuple(a + (b - a) * share for a, b in zip(LIGHT, DARK, strict=True))
            paper.axes.add_patch(
                Rectangle((x + step * 0.05, y), 0.05, 0.18, fc=colour, ec=colour, lw=0.3, zorder=1)
            )
        x += steps * 0.05 + 0.1
        text = f"{duration(found.low_ns)} to {duration(found.high_ns)}, logarithmic"
        paper.text(x, y + 0.14, text, BODY)
        x += wide(text, BODY) + 0.35
    items = (
        ("////", "white", MEANING["hang"]),
        ("....", "white", MEANING["cut"]),
        ("", WASH, MEANING["agreed"]),
    )
    for hatch, fill, text in items:
        if x + 0.4 + wide(text, BODY) > WIDTH - MARGIN:
            x, y = MARGIN, y + 0.28
        paper.axes.add_patch(Rectangle((x, y), 0.3, 0.18, fc=fill, ec=FAINT, lw=0.8, hatch=hatch, zorder=1))
        paper.text(x + 0.4, y + 0.14, text, BODY)
        x += 0.4 + wide(text, BODY) + 0.35


# --- pair by pair ---------------------------------------------------------------------------------------

AXIS = "from the first wrong byte (without one, from the handshake); logarithmic"
TICK = "logarithmic; a tick on a curve: had not noticed when the trial ended or the other side left"
MARKS = {"error-reply": ("o", sheet.VERMILLION), "close": ("s", sheet.BLUE), "reset": ("^", sheet.GREEN)}
ROW = 0.34


def before_after(rows: Sequence[Row], *, side: Side = Side.CLIENT, clock: Clock | None = None) -> Figure:
    """Each client at each server: every trial, from the connection's view of that side.

    One block a client, one line a server. A mark is a trial in which the side noticed, an arrow one in which
    it had not when the trial ended. Raises ValueError without an observation.
    """
    clock = clock or best_clock(rows)
    found = {pair: seen for pair, seen in pair_times(rows, side, clock).items() if seen}
    if not found:
        raise ValueError("no observation to draw")
    pairs = sorted(found, key=lambda pair: (natural(pair[0]), natural(pair[1])))
    times = [one.ns for seen in found.values() for one in seen]
    low = 10 ** math.floor(math.log10(max(1_000, min(times))))
    high = 10 ** math.ceil(math.log10(max(times) * 1.5))
    with sheet.settings():
        space = WIDTH - 2 * MARGIN
        title = wrap(f"How long until the {side} noticed, server by server", space, TITLE, 2)
        subtitle = wrap(caption(rows, clock), space, SUBTITLE, 3)
        clients = {pair[0]: cut(drawable(pair[0]), 1.9, LABEL) for pair in pairs}
        servers = {pair[1]: cut(drawable(pair[1]), 1.7, BODY) for pair in pairs}
        notes = {pair: _note(rows, pair, side, found[pair]) for pair in pairs}
        second = MARGIN + 0.1 + max(wide(text, LABEL) for text in clients.values()) + 0.2
        left = second + max(wide(text, BODY) for text in servers.values()) + 0.25
        right = WIDTH - MARGIN - max(wide(text, BODY) for text in notes.values()) - 0.5
        top = 0.3 + line_height(TITLE) * len(title) + line_height(SUBTITLE) * len(subtitle) + 0.2
        bottom = top + ROW * len(pairs)
        paper = Sheet(bottom + 1.05)
        paper.head(MARGIN, title, subtitle, (TITLE, SUBTITLE))

        def across(ns: float) -> float:
            return left + (right - left) * math.log(max(ns, low) / low) / math.log(high / low)

        ticks = [10**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
        every = math.ceil(0.66 * len(ticks) / max(0.7, right - left))
        for number, tick in enumerate(ticks):
            x = across(tick)
            paper.line(x, top, x, bottom, colour=FAINT, weight=0.6)
            if number % every == 0:
                paper.text(x, bottom + 0.2, duration(tick), BODY, align="center")
        paper.text(left, bottom + 0.42, AXIS,
                   BODY, colour=PALE)  # fmt: skip
        block = -1
        for number, pair in enumerate(pairs):
            y = top + ROW * (number + 0.5)
            if number == 0 or pairs[number - 1][0] != pair[0]:
                block += 1
                paper.text(MARGIN + 0.1, y + 0.045, clients[pair[0]], LABEL)
            if block % 2 == 0:
                paper.band(MARGIN, y - ROW / 2, WIDTH - 2 * MARGIN, ROW, fill=WASH)
            paper.text(second, y + 0.045, servers[pair[1]], BODY)
            paper.text(WIDTH - MARGIN - 0.08, y + 0.045, notes[pair], BODY, align="right")
            _trials(paper, found[pair], across, y)
        _mark_legend(paper, bottom + 0.72)
        return paper.figure


def _note(rows: Sequence[Row], pair: Pair, side: Side, seen: Sequence[Observation]) -> str:
    if not any(one.exact for one in seen):
        if all(left_first(row, side) for row in rows if row.pair == pair and row.lost is None):
            return f"the {side.other} left first"
        return f"not noticed: {duration(min(one.ns for one in seen), censored=True)}"
    middle = median(seen).ns
    noticed = sum(one.exact for one in seen)
    return f"{noticed} of {len(seen)}, " + ("median not reached" if middle is None else duration(middle))


def _trials(paper: Sheet, seen: Sequence[Observation], across: Callable[[float], float], y: float) -> None:
    for number, one in enumerate(sorted(seen, key=lambda one: one.ns)):
        at = y + 0.035 * (number % 3 - 1)
        x = across(one.ns)
        if one.exact:
            shape, colour = MARKS[one.by or "close"]
            paper.mark(x, at, shape, size=6.5, edge=colour, fill="none", weight=1.3, gid=f"exact {one.by}")
        else:
            paper.line(x, at - 0.05, x, at + 0.05, colour=INK, weight=1.2)
            paper.arrow(x, x + 0.32, at, colour=INK, weight=1.0, gid="censored")


def _mark_legend(paper: Sheet, y: float) -> None:
    x = MARGIN
    for by, (shape, colour) in MARKS.items():
        paper.mark(x + 0.08, y - 0.04, shape, size=6.5, edge=colour, fill="none", weight=1.3)
        text = by.replace("-", " ")
        paper.text(x + 0.22, y, text, BODY)
        x += 0.22 + wide(text, BODY) + 0.3
    paper.line(x, y - 0.09, x, y + 0.01, colour=INK, weight=1.2)
    paper.arrow(x, x + 0.32, y - 0.04, colour=INK, weight=1.0)
    paper.text(x + 0.42, y, "had not noticed when the trial ended or the other side left: longer", BODY)


# --- curves ---------------------------------------------------------------------------------------------

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.2)), (0, (6, 2, 1.2, 2)), (0, (3, 1, 1, 1, 1, 1)))
STYLES: tuple[tuple[str, Any, float], ...] = tuple(
    (
        (INK, sheet.BLUE, sheet.VERMILLION, sheet.GREEN)[number % 4],
        DASHES[number % 5],
        (1.4, 2.8)[number // 5 % 2],
    )
    for number in range(20)
)
"""Twenty lines that differ; in print without colours ten do by dashes and weight, all by shade as well."""


def curves(rows: Sequence[Row], *, side: Side = Side.CLIENT, clock: Clock | None = None) -> Figure:
    """The share of trials in which the side had noticed by each time: a panel a server, a curve a client.

    A tick on a curve is a trial that ended unnoticed; the share is Kaplan and Meier's. Raises ValueError
    without an observation.
    """
    clock = clock or best_clock(rows)
    found = {pair: seen for pair, seen in pair_times(rows, side, clock).items() if seen}
    if not found:
        raise ValueError("no observation to draw")
    clients = sorted({pair[0] for pair in found}, key=natural)
    servers = sorted({pair[1] for pair in found}, key=natural)
    style = {client: STYLES[number % len(STYLES)] for number, client in enumerate(clients)}
    times = [one.ns for seen in found.values() for one in seen]
    low = 10 ** math.floor(math.log10(max(1_000, min(times))) - 1e-9)
    high = 10 ** math.ceil(math.log10(max(times)) + 0.1)
    with sheet.settings():
        space = WIDTH - 2 * MARGIN
        title = wrap(f"Share of trials in which the {side} has noticed", space, TITLE, 2)
        subtitle = wrap(caption(rows, clock), space, SUBTITLE, 3)
        notes = {pair: _note(rows, pair, side, seen) for pair, seen in found.items()}
        entries = {
            server: [(client, cut(f"{drawable(client)}: {notes[client, server]}", 3.2, BODY))
                     for client in clients if (client, server) in found]
            for server in servers
        }  # fmt: skip
        right = WIDTH - MARGIN - 0.55 - max(wide(text, BODY) for one in entries.values() for _, text in one)
        left = MARGIN + 0.55
        heights = [max(1.5, line_height(BODY) * len(entries[server]) + 0.2) for server in servers]
        top = 0.3 + line_height(TITLE) * len(title) + line_height(SUBTITLE) * len(subtitle) + 0.1
        bottom = top + sum(heights) + 0.75 * len(servers)
        paper = Sheet(bottom + 0.35)
        paper.head(MARGIN, title, subtitle, (TITLE, SUBTITLE))

        def across(ns: float) -> float:
            return left + (right - left) * math.log(max(ns, low) / low) / math.log(high / low)

        ticks = [10**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
        every = math.ceil(0.66 * len(ticks) / max(0.7, right - left))
        y = top
        for server, tall in zip(servers, heights, strict=True):
            y += 0.35
            paper.text(left, y - 0.08, cut(drawable(server), 4.0, LABEL), LABEL)
            base = y + tall
            for number, tick in enumerate(ticks):
                paper.line(across(tick), y, across(tick), base, colour=FAINT, weight=0.6)
                if number % every == 0:
                    paper.text(across(tick), base + 0.18, duration(tick), BODY, align="center")
            for part, text in ((0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")):
                level = base - part * tall
                paper.line(left, level, right, level, colour=FAINT, weight=0.6)
                paper.text(left - 0.08, level + 0.045, text, BODY, align="right")
            for number, (client, text) in enumerate(entries[server]):
                look = style[client]
                colour, dashes, weight = look
                _curve(paper, curve(found[client, server]), across, (y, base), right, look)
                at = y + line_height(BODY) * (number + 0.76)
                paper.line(
                    right + 0.12,
                    at - 0.05,
                    right + 0.45,
                    at - 0.05,
                    colour=colour,
                    weight=weight,
                    style=dashes,
                )
                paper.text(right + 0.52, at, text, BODY)
            y = base + 0.4
        paper.text(left, bottom + 0.12, TICK,
                   BODY, colour=PALE)  # fmt: skip
        return paper.figure


def _curve(
    paper: Sheet,
    estimate: Curve,
    across: Callable[[float], float],
    between: tuple[float, float],
    right: float,
    look: tuple[str, Any, float],
) -> None:
    """One step curve as far as somebody looked, with a tick at each censored time."""
    top, base = between
    colour, dashes, weight = look
    xs, ys, level = [across(0)], [base], base
    for ns, share in zip(estimate.ns, estimate.share, strict=True):
        xs += [across(ns)] * 2
        ys += [level, base - share * (base - top)]
        level = ys[-1]
    last = max([*estimate.ns, *estimate.censored_ns])
    xs.append(min(right, across(last)))
    ys.append(level)
    paper.axes.add_line(Line2D(xs, ys, color=colour, lw=weight, ls=dashes, zorder=3, gid="curve"))
    for ns in estimate.censored_ns:
        reached = [share for at, share in zip(estimate.ns, estimate.share, strict=True) if at <= ns]
        at = base - (reached[-1] if reached else 0.0) * (base - top)
        paper.mark(across(ns), at, "|", size=9, edge=colour, fill=colour, weight=1.4, gid="censored")
