# SPDX-License-Identifier: GPL-2.0-or-later
"""SPICE sessions as rows of a report: a session has a connection for each of its channels."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from dissect.dissection.reading import Dissected
from dissect.dissection.spice_links import SpiceGroup, tie
from dissect.dissection.verdict import Verdict
from dissect.report.markup import Markup, joined, link, tag
from dissect.report.tables import Column, Table, moment
from dissect.stream.records import Gap, Message, Violation
from dissect.stream.text import plural, safe

COLUMNS: Final = (
    Column("session"),
    Column("client"),
    Column("server"),
    Column("channels"),
    Column("odd", "number"),
    Column("messages", "number"),
    Column("bytes", "number"),
    Column("began (UTC)"),
    Column("remarks"),
)


@dataclass(frozen=True, slots=True)
class Counted:
    """What was read of one conversation."""

    messages: int
    bytes: int
    violations: int
    gaps: int

    @classmethod
    def of(cls, dissected: Dissected) -> Counted:
        """Counts one conversation's records."""
        kinds = Counter(type(record) for record in dissected.records)
        size = sum(record.size for record in dissected.records if isinstance(record, Message))
        return cls(kinds[Message], size, kinds[Violation], kinds[Gap])

    @property
    def odd(self) -> str:
        """Violations and gaps, in words; "" for none."""
        counted = ((self.violations, "violation"), (self.gaps, "gap"))
        return ", ".join(plural(number, one) for number, one in counted if number)


@dataclass(slots=True)
class Sessions:
    """Gathers the conversations that may be of SPICE sessions; `table` ties them."""

    _seen: dict[tuple[str, str], list[tuple[Verdict, Counted]]] = field(default_factory=dict)

    def add(self, label: str, name: str, dissected: Dissected) -> None:
        """One more conversation, as `Conversations.add` is given it."""
        verdict = dissected.verdict
        if verdict.spice is not None or verdict.client_spoke == "tls":
            self._seen.setdefault((label, name), []).append((verdict, Counted.of(dissected)))

    def table(self) -> Table:
        """The sessions, capture by capture."""
        table = Table("sessions", "SPICE sessions", COLUMNS)
        for (label, name), seen in self._seen.items():
            counted = {verdict.conversation: one for verdict, one in seen}
            for group in tie(verdict for verdict, _ in seen):
                _add(table, label, name, group, counted)
        return table


def _add(table: Table, label: str, name: str, group: SpiceGroup, counted: dict[int, Counted]) -> None:
    mine = [counted[verdict.conversation] for verdict in group.members]
    whole = Counted(
        sum(one.messages for one in mine),
        sum(one.bytes for one in mine),
        sum(one.violations for one in mine),
        sum(one.gaps for one in mine),
    )
    anchor = f"{safe(label)}/{group.name}/{group.members[0].conversation}"
    table.add(
        [
            anchor,
            group.client,
            group.server,
            ", ".join(verdict.spice.channel for verdict in group.members if verdict.spice),
            [whole.violations * 1_000_000 + whole.gaps, whole.odd, "bad" if whole.odd else ""],
            whole.messages,
            whole.bytes,
            [group.start_ns, moment(group.start_ns), ""],
            "; ".join(group.remarks),
        ],
        anchor,
        _details(label, name, group, counted),
    )


def _details(label: str, name: str, group: SpiceGroup, counted: dict[int, Counted]) -> Markup:
    items = []
    unsure = group.encrypted if group.main is None else (group.main, *group.encrypted)
    for verdict in (*group.members, *group.refused, *unsure):
        one = counted[verdict.conversation]
        what = verdict.spice.channel if verdict.spice is not None else "TLS"
        words = f": {plural(one.messages, 'message')}, {plural(one.bytes, 'byte')}"
        if one.odd:
            words += f", {one.odd}"
        if verdict in group.refused:
            words += ", refused"
        elif verdict in unsure:
            words += ", perhaps of this session"
        target = f"{safe(label)}/{verdict.conversation}"
        items.append(tag("li", tag("a", f"{what}, {target}", href=f"#{link(target)}"), words))
    parts = [tag("h4", "Channels"), tag("ul", *items)]
    if name != "-":
        command = f"firstbyte show --sessions {shlex.quote(name)}"
        parts.append(tag("p", "All channels as one timeline: ", tag("code", command), class_="small"))
    return joined(*parts)
