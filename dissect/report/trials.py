# SPDX-License-Identifier: GPL-2.0-or-later
"""Trials of a matrix and probes of servers as tables and maps of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from dissect.report.markup import Markup, tag
from dissect.report.tables import Cell, Column, Table, time
from dissect.stream.side import Side
from dissect.stream.text import duration
from dissect.timing.grid import MEANING, Grid, grid
from dissect.timing.grid import Cell as Meeting
from dissect.timing.observations import Clock
from dissect.timing.results import Probed, Row
from dissect.timing.wording import REACTIONS

SHADES: Final = 11
"""Shades of the map, from the shortest time to the longest."""

_LIGHT, _DARK = (199, 219, 240), (8, 48, 107)


def _shade(number: int) -> str:
    colour = "".join(
        f"{a + (b - a) * number // (SHADES - 1):02x}" for a, b in zip(_LIGHT, _DARK, strict=True)
    )
    ink = "#fff" if number > 0.45 * (SHADES - 1) else "#1a1a1a"
    return f".s{number}{{background:#{colour};color:{ink}}}"


STYLE: Final = "".join(map(_shade, range(SHADES)))
"""The shades, which run from light to dark with time on any ground."""

TRIALS: Final = (
    Column("run", choose=True),
    Column("client", choose=True),
    Column("server", choose=True),
    Column("trial", "number"),
    Column("client spoke"),
    Column("server spoke"),
    Column("verdict", choose=True),
    Column("server noticed", "number"),
    Column("client noticed", "number"),
    Column("clock"),
    Column("round trip", "number"),
    Column("load", "number"),
    Column("lost because"),
)

PROBES: Final = (
    Column("server", choose=True),
    Column("speaks", choose=True),
    Column("sent", choose=True),
    Column("bytes", "number"),
    Column("reaction", choose=True),
    Column("time", "number"),
)


def trial_table(runs: Sequence[tuple[str, Sequence[Row]]]) -> Table:
    """Every trial of every run."""
    table = Table("trials", "Trials", TRIALS)
    for label, rows in runs:
        for row in rows:
            clock: Clock | None = next((one.clock for one in row.observations if one.clock == "wire"), None)
            clock = clock or next((one.clock for one in row.observations), None)
            verdict = "lost" if row.lost is not None else row.verdict or "undecided"
            table.add(
                [
                    label,
                    row.client,
                    row.server,
                    row.trial,
                    row.client_spoke,
                    row.server_spoke,
                    [verdict, verdict, verdict],
                    _noticed(row, Side.SERVER, clock),
                    _noticed(row, Side.CLIENT, clock),
                    clock or "",
                    time(row.rtt_ns),
                    row.load1,
                    row.lost or "",
                ]
            )
    return table


def _noticed(row: Row, side: Side, clock: Clock | None) -> Cell:
    seen = None if clock is None else row.seen(side, clock)
    if seen is None:
        return None
    more = f", {seen.bytes:,} B" if seen.bytes else ""
    if seen.by is not None:
        more += f", {REACTIONS[seen.by]}"
    return time(seen.ns, censored=not seen.exact, more=more)


def counted(rows: Sequence[Row]) -> Counter[str]:
    """Trials by their verdict; "lost" for those that say nothing."""
    return Counter("lost" if row.lost is not None else row.verdict or "undecided" for row in rows)


def probe_table(probes: Sequence[Probed]) -> Table:
    """Every step of every probe."""
    table = Table("probes", "Probes", PROBES)
    for probed in probes:
        for protocol, steps in probed.tables.items():
            for size, reaction, ns in steps:
                table.add(
                    [
                        probed.server,
                        probed.own,
                        protocol,
                        size,
                        reaction or "none before the deadline",
                        time(ns, censored=reaction is None),
                    ]
                )
    return table


def maps(runs: Sequence[tuple[str, Sequence[Row]]]) -> list[Markup]:
    """How long each side took, client by server: a map a side for each run, and for each round trip in it.

    What was measured under different circumstances is not put into one median. Raises `StatisticsMissing`.
    """
    found = []
    for label, rows in runs:
        trips = sorted({row.rtt_ns for row in rows}, key=lambda ns: -1 if ns is None else ns)
        for trip in trips:
            words = [label] if len(runs) > 1 else []
            if trip is not None:
                words.append(f"round trip {duration(trip)}")
            elif len(trips) > 1:
                words.append("loopback")
            of = [row for row in rows if row.rtt_ns == trip]
            found += [_map(grid(of, side=side), words) for side in (Side.SERVER, Side.CLIENT)]
    return found


def _map(found: Grid, of: Sequence[str]) -> Markup:
    head = tag("tr", tag("th", "client ↓ server →", scope="col"),
               *(tag("th", tag("span", name), scope="col") for name in found.servers))  # fmt: skip
    body = [
        tag(
            "tr",
            tag("th", client, scope="row"),
            *(_cell(found.cells.get((client, server), Meeting("absent"))) for server in found.servers),
        )
        for client in found.clients
    ]
    legend = []
    if found.low_ns is not None and found.high_ns is not None:
        scale = tag("span", *(tag("i", class_=f"s{shade}") for shade in range(SHADES)), class_="scale",
                    aria_hidden="true")  # fmt: skip
        words = (
            f" {duration(found.low_ns)} to {duration(found.high_ns)}, logarithmic, the median of each pair"
        )
        legend.append(tag("li", scale, words))
    legend += [
        tag("li", tag("i", class_=f"key {kind}", aria_hidden="true"), " ", words)
        for kind, words in MEANING.items()
    ]
    title = f"How long until the {found.side} noticed" + (f" ({', '.join(of)})" if of else "")
    table = tag("table", tag("thead", head), tag("tbody", *body), class_="map", aria_label=title)
    return tag(
        "figure",
        tag("figcaption", tag("h3", title), tag("p", found.caption)),
        tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=title),
        tag("ul", *legend, class_="legend"),
    )


def _cell(cell: Meeting) -> Markup:
    match cell.kind:
        case "time":
            return tag("td", duration(cell.ns or 0), class_=f"time s{round(cell.share * (SHADES - 1))}")
        case "hang":
            return tag("td", tag("span", duration(cell.ns or 0, censored=True)), class_="hang")
        case "cut":
            return tag("td", tag("span", "cut off"), class_="cut")
        case "absent":
            return tag("td", "–", class_="absent")
        case _:
            return tag("td", cell.kind, class_=cell.kind)
