# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of a check run, as `firstbyte check --json` prints them, in a report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from dissect.report.conversations import Odd
from dissect.report.markup import Markup, joined, tag
from dissect.report.tables import Column, Table, time
from dissect.stream.text import duration, plural, safe

SCHEMA: Final = "firstbyte-check/1"

STATUSES: Final = (
    "fail", "slower", "error", "flaky", "inconclusive", "not-run", "left-out", "recorded", "pass",
)  # fmt: skip
"""What a check may come to, the worst first; one that is not here stands before all."""

FINE: Final = frozenset({"left-out", "recorded", "pass"})
"""What nobody needs to look at."""

BAD: Final = frozenset({"fail", "slower", "error"})

KNOWN: Final = " (known)"
"""Behind the status of what was so when the baseline was recorded."""

LISTED: Final = 40
"""Runs of one check that its details list; more are counted."""

COLUMNS: Final = (
    Column("case"),
    Column("target", choose=True),
    Column("version"),
    Column("status", choose=True),
    Column("runs", "number"),
    Column("took", "number"),
    Column("times", "number"),
    Column("tags", choose=True),
    Column("why"),
)

STATUS_COLUMN: Final = next(at for at, column in enumerate(COLUMNS) if column.title == "status")


@dataclass(slots=True)
class Checks:
    """The table of checks, what it counts, and those to look at."""

    table: Table = field(default_factory=lambda: Table("checks", "Checks", COLUMNS))
    counted: Counter[str] = field(default_factory=Counter)
    odd: list[Odd] = field(default_factory=list)

    def add(self, data: Any) -> None:
        """One row of NDJSON: a case on a target, or on two that are compared. Raises ValueError."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else None
            raise ValueError(f"schema {found!r} is not {SCHEMA}")
        try:
            self._add(data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a whole row: {error}") from None

    def _add(self, data: dict[str, Any]) -> None:
        target = data["target"] if "target" in data else f"{data['first']} → {data['second']}"
        case, status, reason = str(data["case"]), str(data["status"]), str(data["reason"])
        known = bool(data.get("known"))
        runs = data["runs"]
        several = runs if isinstance(runs, dict) else {"": runs}
        lasted = sum(int(run["lasted_ns"]) for some in several.values() for run in some)
        times = data["times"]
        shifts = (
            list(times) if isinstance(times, list) else [{"name": name, **one} for name, one in times.items()]
        )
        slower = sum(bool(one.get("slower")) for one in shifts)
        number = sum(len(some) for some in several.values())
        rank = _rank(status)
        shown = status + KNOWN * known
        anchor = f"{safe(str(data['suite']))}/{safe(case)}/{safe(target)}"
        details = _details(data, reason, several, shifts)
        looks = "bad" if status in BAD and not known else ""
        self.table.add(
            [
                case,
                target,
                str(data.get("version") or ""),
                [rank, shown, f"{status} {looks}".strip()],
                number,
                time(lasted),
                [slower, f"{slower} slower", "bad"] if slower else None,
                ", ".join(map(str, data.get("tags", []))),
                reason,
            ],
            anchor,
            details,
        )
        self.counted[shown] += 1
        if status not in FINE and not known:
            self.odd.append(Odd((rank, len(self.table.rows), 0), anchor, status, reason))

    def answer(self) -> str:
        """What the run comes to."""
        total = self.counted.total()
        found = sorted(self.counted, key=_rank)
        if found == ["pass"]:
            return "The one check passes" if total == 1 else f"All {total:,} checks pass"
        return f"Of {plural(total, 'check')}, " + ", ".join(
            f"{self.counted[name]:,} {name}" for name in found
        )


def _rank(status: str) -> int:
    """How bad a status is, the worst first."""
    plain = status.removesuffix(KNOWN)
    return STATUSES.index(plain) if plain in STATUSES else -1


def tiles(found: Checks) -> list[tuple[str, int, str]]:
    """Statuses that occur, how often, and their tone."""
    return [
        (name, found.counted[name], "bad" if name in BAD else "good" if name in FINE else "warn")
        for name in sorted(found.counted, key=_rank)
    ]


def _details(
    data: dict[str, Any], reason: str, several: dict[str, list[Any]], shifts: list[dict[str, Any]]
) -> Markup:
    parts = [tag("p", reason[:1].upper() + reason[1:] + ".", class_="why")]
    if data.get("rates"):
        parts.append(tag("ul", *(tag("li", str(rate)) for rate in data["rates"])))
    if shifts:
        head = tag("tr", *(tag("th", name, scope="col") for name in ("time", "what has changed", "p")))
        lines = [
            tag("tr", tag("td", str(one["name"])), tag("td", _shift(one)), tag("td", f"{one['p']:.2g}"))
            for one in shifts
        ]
        parts.append(
            tag("table", tag("thead", head), tag("tbody", *lines), class_="plain", aria_label="Times")
        )
    for name, runs in several.items():
        if name:
            parts.append(tag("h4", name))
        parts.append(tag("ol", *(_run(run) for run in runs[:LISTED])))
        if len(runs) > LISTED:
            parts.append(tag("p", f"… and {len(runs) - LISTED:,} more", class_="small"))
    evidence = data.get("evidence") or {}
    if evidence:
        parts.append(tag("h4", "Evidence"))
        parts.append(
            tag("ul", *(tag("li", f"{name}: ", tag("code", str(path))) for name, path in evidence.items()))
        )
    parts.append(tag("p", f"suite {data['suite']}; machine {data['machine']}", class_="small"))
    return joined(*parts)


def _run(run: dict[str, Any]) -> Markup:
    said = f": {run['reason']}; {plural(run['compared'], 'message')} compared; {duration(run['lasted_ns'])}"
    found = "; ".join(
        f"{name} {', '.join(duration(one['ns'], censored=one['censored']) for one in seen[:3])}"
        for name, seen in run["times"].items()
        if seen
    )
    complaints = [tag("ul", *(tag("li", str(one)) for one in run["complaints"]))] if run["complaints"] else []
    return tag("li", tag("b", str(run["outcome"])), said, f"; {found}" if found else "", *complaints)


def _shift(one: dict[str, Any]) -> str:
    if "before_ns" in one:
        before, after = (
            "not in time" if one[key] is None else duration(one[key]) for key in ("before_ns", "after_ns")
        )
        return f"{before} → {after}" + (", slower" if one["slower"] else "")
    if one["difference_ns"] is None:
        return str(one["why"] or "not known")
    low, high = ("no bound" if one[key] is None else duration(one[key]) for key in ("low_ns", "high_ns"))
    return f"{duration(one['difference_ns'])} more ({low} to {high})"
