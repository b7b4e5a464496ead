# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversations of captures as rows of a report, each with its ladder."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dissect.capture.notes import named
from dissect.dissection.comments import Comments, Said
from dissect.dissection.reading import Dissected
from dissect.dissection.recognise import TITLES
from dissect.report.ladder import ladder
from dissect.report.markup import Markup, joined, tag
from dissect.report.tables import Cell, Column, Table, moment, time
from dissect.stream.records import Gap, Violation
from dissect.stream.side import Side
from dissect.stream.text import plural, safe
from dissect.timing.rungs import Rungs
from dissect.timing.wording import REACTIONS, disorder, legible

VERDICTS: Final = ("wrong-protocol", "silent", "undecided", "agreed")
"""The words of a verdict, the worst first."""

LISTED: Final = 40
"""Gaps and violations, and comments, that the details of one conversation list; more are counted."""

COLUMNS: Final = (
    Column("conversation"),
    Column("client"),
    Column("server"),
    Column("spoke", choose=True),
    Column("verdict", choose=True),
    Column("server noticed", "number"),
    Column("client noticed", "number"),
    Column("odd", "number"),
    Column("messages", "number"),
    Column("began (UTC)"),
    Column("why"),
)


@dataclass(frozen=True, slots=True)
class Odd:
    """A conversation to look at first."""

    rank: tuple[int, int, int]
    anchor: str
    words: str
    why: str


@dataclass(slots=True)
class Conversations:
    """The table of conversations, what it counts, and those that are odd, the worst first."""

    table: Table = field(default_factory=lambda: Table("conversations", "Conversations", COLUMNS))
    counted: Counter[str] = field(default_factory=Counter)
    odd: list[Odd] = field(default_factory=list)
    with_violations: int = 0
    with_gaps: int = 0
    _captures: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        label: str,
        name: str,
        dissected: Dissected,
        programs: Mapping[Side, str] | None = None,
        comments: Comments | None = None,
    ) -> None:
        """One more. label: what its capture is called here; name: how firstbyte is to be called for it;
        comments: those in its capture, which has names of addresses too.
        """
        verdict = dissected.verdict
        anchor = f"{safe(label)}/{verdict.conversation}"
        violations = [one for one in dissected.records if isinstance(one, Violation)]
        gaps = [one for one in dissected.records if isinstance(one, Gap)]
        self.counted[verdict.verdict] += 1
        self.with_violations += bool(violations)
        self.with_gaps += bool(gaps)
        # Conversations come as they end; they are shown as they began, capture by capture.
        place = self._captures.setdefault(label, len(self._captures))
        self.table.ranks.append((place, verdict.conversation))
        odd = _odd(violations, gaps)
        if verdict.verdict != "agreed" or odd:
            rank = VERDICTS.index(verdict.verdict) if verdict.verdict != "agreed" else 3 if violations else 4
            words = verdict.verdict + (f"; {odd}" if odd else "")
            self.odd.append(Odd((rank, place, verdict.conversation), anchor, words, verdict.reason))
        rungs = Rungs(dissected)
        names = {} if comments is None else comments.notes.names
        said = [] if comments is None else comments.of(dissected)
        self.table.add(
            [
                anchor,
                safe(named(verdict.client, names)),
                safe(named(verdict.server, names)),
                " → ".join(TITLES[name] for name in (verdict.client_spoke, verdict.server_spoke)),
                [VERDICTS.index(verdict.verdict), verdict.verdict, verdict.verdict],
                self._noticed(dissected, Side.SERVER),
                self._noticed(dissected, Side.CLIENT),
                [len(violations) * 1_000_000 + len(gaps), odd, "bad" if odd else ""],
                len(dissected.records) - len(violations) - len(gaps),
                [verdict.start_ns, moment(verdict.start_ns), ""],
                verdict.reason,
            ],
            anchor,
            _details(label, name, dissected, rungs, programs or {}, violations, gaps, said),
        )

    @staticmethod
    def _noticed(dissected: Dissected, side: Side) -> Cell:
        seen = dissected.verdict.detect(side)
        if seen is None:
            return None
        more = f", {seen.bytes:,} B" if seen.bytes else ""
        if seen.by is not None:
            more += f", {REACTIONS[seen.by]}"
        first = dissected.verdict.detected_first is side
        return time(seen.ns, censored=seen.censored, more=more, first=first)


def _odd(violations: list[Violation], gaps: list[Gap]) -> str:
    found = []
    if violations:
        found.append(plural(len(violations), "violation"))
    if gaps:
        found.append(f"{plural(len(gaps), 'gap')} of {plural(sum(gap.size for gap in gaps), 'byte')}")
    return ", ".join(found)


def _details(
    label: str,
    name: str,
    dissected: Dissected,
    rungs: Rungs,
    programs: Mapping[Side, str],
    violations: list[Violation],
    gaps: list[Gap],
    comments: list[Said],
) -> Markup:
    verdict, conversation = dissected.verdict, dissected.conversation
    parts = [tag("p", verdict.reason[:1].upper() + verdict.reason[1:] + ".", class_="why")]
    parts.append(ladder(rungs, capture=label, names=programs))
    if violations or gaps:
        odd: list[Violation | Gap] = sorted([*violations, *gaps], key=lambda one: one.time_ns)
        items = [
            tag("li", f"{one.side}, offset {one.offset:,}, {rungs.since(one.time_ns)}: ", *_words(one))
            for one in odd[:LISTED]
        ]
        if len(odd) > LISTED:
            items.append(tag("li", f"… and {len(odd) - LISTED:,} more"))
        parts += [tag("h4", "Violations and gaps"), tag("ul", *items)]
    if comments:
        items = [
            tag(
                "li",
                f"{one.side}, {one.comment.about}, {rungs.since(one.comment.time_ns)}: ",
                safe(one.comment.text),
            )
            for one in comments[:LISTED]
        ]
        if len(comments) > LISTED:
            items.append(tag("li", f"… and {len(comments) - LISTED:,} more"))
        parts += [tag("h4", "Comments in the capture"), tag("ul", *items)]
    said = [f"{plural(conversation.packets, 'packet')}; roles: {conversation.roles_because}"]
    said += disorder(conversation)
    if verdict.spice is not None:
        number = verdict.spice.session_id
        of = "" if number is None else f" of session {number:#010x}"
        said.append(f"SPICE {verdict.spice.channel} channel{of}")
    command = f"firstbyte show {shlex.quote(name)} --conversation {verdict.conversation}"
    parts.append(tag("p", "; ".join(said) + ".", class_="small"))
    if name != "-":
        parts.append(tag("p", "Every message: ", tag("code", command), class_="small"))
    return joined(*parts)


def _words(one: Violation | Gap) -> tuple[str, ...]:
    if isinstance(one, Gap):
        return (tag("b", "gap"), f" of {plural(one.size, 'byte')} that are not in the capture")
    return (
        tag("b", "violation"),
        f" in {legible(one.name)}: {legible(one.why)}" if one.name else legible(one.why),
    )
