# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: one HTML file with everything in it, the answer first.

It fetches nothing, and a Content-Security-Policy in it says so to the browser: no address may be fetched, and
no script or style but the ones whose hashes stand there may be used. Data lie in it as JSON that cannot end
its element; the page's script makes text of them, never markup.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dissect.dissection.comments import Comments
from dissect.dissection.reading import Dissected
from dissect.report import ladder, trials
from dissect.report.checks import STATUS_COLUMN, Checks, tiles
from dissect.report.conversations import COLUMNS, VERDICTS, Conversations
from dissect.report.markup import Markup, asset, data, link, tag, text
from dissect.report.sessions import Sessions
from dissect.report.tables import Table
from dissect.stream.side import Side
from dissect.stream.text import plural, safe
from dissect.timing.estimators import StatisticsMissing
from dissect.timing.results import Probed, Row

MOST_ODD: Final = 15
"""Conversations that are listed before the tables; all are in the tables."""

TONES: Final = {
    "wrong-protocol": "bad",
    "agreed": "good",
    "silent": "warn",
    "undecided": "warn",
    "lost": "warn",
}

ODD_COLUMN: Final = next(at for at, column in enumerate(COLUMNS) if column.title == "verdict")


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that was read. found: what was in it, in words, "" for nothing; problems and comments: a line
    each.
    """

    name: str
    found: str
    problems: Sequence[str] = ()
    comments: Sequence[str] = ()


@dataclass(slots=True)
class Report:
    """What goes into one report. made: when it was, in words."""

    title: str = ""
    made: str = ""
    inputs: list[Input] = field(default_factory=list)
    conversations: Conversations = field(default_factory=Conversations)
    sessions: Sessions = field(default_factory=Sessions)
    checks: Checks = field(default_factory=Checks)
    runs: list[tuple[str, list[Row]]] = field(default_factory=list)
    probes: list[Probed] = field(default_factory=list)

    def add(
        self,
        label: str,
        name: str,
        dissected: Dissected,
        programs: Mapping[Side, str] | None = None,
        comments: Comments | None = None,
    ) -> None:
        """One more conversation, as `Conversations.add` takes it."""
        self.conversations.add(label, name, dissected, programs, comments)
        self.sessions.add(label, name, dissected)

    def answer(self) -> str:
        """The one sentence that the report comes to."""
        sentences = [self.checks.answer()] if self.checks.counted else []
        counted = self.conversations.counted
        if counted:
            sentences.append(_answer(counted))
        rows = [row for _, some in self.runs for row in some]
        if rows:
            pairs = len({row.pair for row in rows})
            found = trials.counted(rows)
            words = ", ".join(f"{found[name]:,} {name}" for name in (*VERDICTS, "lost") if found[name])
            sentences.append(f"{plural(len(rows), 'trial')} of {plural(pairs, 'pair')}: {words}")
        if self.probes:
            sentences.append(_probed(self.probes))
        return ". ".join(sentences) or "Nothing that could be read"

    def html(self) -> str:
        """The file."""
        tables = self._tables()
        style = ladder.THEME + ladder.STYLE + asset("page.css") + trials.STYLE
        script = asset("page.js")
        policy = (
            f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
            "base-uri 'none'; form-action 'none'"
        )
        head = tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", self.title or self.answer()),
            tag("style", Markup(style)),
        )
        body = tag(
            "body",
            tag("a", "to the tables", href="#tables", class_="skip"),
            tag("header", *self._header()),
            tag(
                "main",
                *self._odd(),
                *self._inputs(),
                *self._maps(),
                tag("div", *(_place(table) for table in tables), id="tables"),
            ),
            tag("footer", *self._footer()),
            *(_embedded(tables)),
            tag("script", Markup(script)),
        )
        return f"<!doctype html>\n{tag('html', head, body, lang='en', class_='fb')}\n"

    def _tables(self) -> list[Table]:
        found = []
        if self.checks.table.rows:
            found.append(self.checks.table)
        if self.conversations.table.rows:
            found.append(self.conversations.table)
        if (sessions := self.sessions.table()).rows:
            found.append(sessions)
        if self.runs:
            found.append(trials.trial_table(self.runs))
        if self.probes:
            found.append(trials.probe_table(self.probes))
        return found

    def _header(self) -> list[Markup]:
        made = f"made {self.made}" if self.made else ""
        parts = [tag("h1", self.answer())]
        if self.title or made:
            parts.append(tag("p", " · ".join(part for part in (self.title, made) if part), class_="small"))
        if self.checks.counted:
            parts.append(_check_tiles(self.checks))
        if self.conversations.counted:
            parts.append(_tiles(self.conversations))
        return parts

    def _odd(self) -> list[Markup]:
        odd = sorted(self.checks.odd, key=lambda one: one.rank)
        odd += sorted(self.conversations.odd, key=lambda one: one.rank)
        if not odd:
            return []
        items = [
            tag(
                "li",
                tag("a", one.anchor, href=f"#{link(one.anchor)}"),
                ": ",
                tag("span", one.words, class_="verdict"),
                f" – {one.why}",
            )
            for one in odd[:MOST_ODD]
        ]
        more = []
        if len(odd) > MOST_ODD:
            words = f"… and {len(odd) - MOST_ODD:,} more: choose a tile above, or sort a table."
            more.append(tag("p", words, id="more-odd"))
        title = f"{len(odd):,} to look at" if len(odd) > 1 else "One to look at"
        return [tag("section", tag("h2", title), tag("ul", *items, class_="odd"), *more)]

    def _inputs(self) -> list[Markup]:
        head = tag("tr", *(tag("th", name, scope="col") for name in ("input", "what is in it", "problems")))
        lines = [
            tag(
                "tr",
                tag("td", one.name),
                tag("td", *_lines([one.found, *map(safe, one.comments)]))
                if one.found
                else tag("td", "not read", class_="problem"),
                tag("td", *_lines(one.problems), class_="problem" if one.problems else None),
            )
            for one in sorted(self.inputs, key=lambda one: (bool(one.found), not one.problems))
        ]
        bad = sum(bool(one.problems) for one in self.inputs)
        title = plural(len(self.inputs), "input") + (f", {bad:,} with problems" if bad else "")
        table = tag("table", tag("thead", head), tag("tbody", *lines), class_="plain", aria_label="Inputs")
        whole = tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="Inputs")
        return [
            tag("section", tag("h2", "Inputs"), tag("details", tag("summary", title), whole, open=bad > 0))
        ]

    def _maps(self) -> list[Markup]:
        if not self.runs:
            return []
        try:
            found = trials.maps(self.runs)
        except StatisticsMissing as missing:
            found = [tag("p", f"No map: {missing}.", class_="problem")]
        return [tag("section", tag("h2", "Clients and servers"), tag("div", *found, class_="maps"))]

    def _footer(self) -> list[Markup]:
        parts = ["Made by firstbyte. This file fetches nothing and sends nothing."]
        if self.conversations.counted or self.runs:
            parts.append(
                "“Noticed” runs from the first byte of the wrong protocol that reached a side (without one, "
                "from the TCP handshake) to its first reaction. “≥” is a bound: there was no reaction before "
                "the capture or the trial ended, or before the other side left. Bold: who noticed first. "
                "Times are the capture's clock, in UTC. Passwords, tickets and responses are left out."
            )
        return [tag("p", part) for part in parts]


def _answer(counted: Counter[str]) -> str:
    total = counted.total()
    if counted["agreed"] == total > 1:
        return f"All {total:,} conversations agreed"
    words = {"wrong-protocol": "spoke the wrong protocol", "silent": "stayed silent",
             "undecided": "cannot be decided", "agreed": "agreed"}  # fmt: skip
    if total == 1:
        (only,) = (name for name in VERDICTS if counted[name])
        return f"The one conversation {words[only]}"
    parts = [f"{counted[name]:,} {words[name]}" for name in VERDICTS if counted[name]]
    return f"Of {plural(total, 'conversation')}, " + ", ".join(parts)


def _probed(probes: Sequence[Probed]) -> str:
    if len(probes) > 1:
        return plural(len(probes), "server") + " probed"
    (one,) = probes
    found = [
        f"{name} after {least[0]:,} bytes" if least else f"{name} not" for name, least in one.least.items()
    ]
    return f"{one.server} speaks {one.own} and notices {', '.join(found) or 'nothing'}"


def _tiles(found: Conversations) -> Markup:
    shown = [_tile(found.counted[name], name, TONES[name], "conversations", ODD_COLUMN) for name in VERDICTS]
    for number, words in ((found.with_violations, "with violations"), (found.with_gaps, "with gaps")):
        if number:
            shown.append(tag("span", tag("b", f"{number:,}"), words, class_="tile bad"))
    return tag(
        "ul", *(tag("li", tile) for tile in shown), class_="tiles", aria_label="Conversations by verdict"
    )


def _check_tiles(found: Checks) -> Markup:
    shown = [_tile(number, name, tone, "checks", STATUS_COLUMN) for name, number, tone in tiles(found)]
    return tag("ul", *(tag("li", tile) for tile in shown), class_="tiles", aria_label="Checks by status")


def _tile(number: int, name: str, tone: str, table: str, column: int) -> Markup:
    """A number with its name; a link to those rows of a table, where there are any."""
    content = (tag("b", f"{number:,}"), name.replace("-", " "))
    if not number:
        return tag("span", *content, class_="tile")
    where = {"href": f"#table-{table}", "data_table": table, "data_column": str(column), "data_choose": name}
    return tag("a", *content, class_=tone, **where)


def _lines(texts: Sequence[str]) -> list[Markup]:
    return [part for one in texts for part in (tag("br"), text(one))][1:]


def _place(table: Table) -> Markup:
    """Where the script puts a table."""
    need = "The table needs JavaScript. It is in this file: nothing is fetched for it."
    heading = f"{table.title} ({len(table.rows):,})"
    return tag("section", tag("h2", heading), tag("noscript", tag("p", need)), id=f"table-{table.name}")


def _embedded(tables: Sequence[Table]) -> list[Markup]:
    found = [tag("script", data([table.to_json() for table in tables]), type="application/json", id="data")]
    for table in tables:
        found += [tag("script", packed, type="text/plain", data_packed=table.name) for packed in table.packed]
    return found


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
