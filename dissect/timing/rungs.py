# SPDX-License-Identifier: GPL-2.0-or-later
"""What the ladder of one conversation has on it, rung by rung, whoever draws it.

Rungs are set by their order and not to scale: what matters may lie 70 µs or 2 s after what came before, and a
linear axis would show only one of the two. Each has its time instead, a long wait is a rung with its length
written on it, and a burst of messages is folded into one that says what is in it. So every conversation gives
a picture that can be read.

A bar on a lifeline runs from the first byte of the wrong protocol that reached that side to its first
reaction. Where none was seen the bar goes on into an open end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from dissect.dissection.reading import Dissected
from dissect.dissection.verdict import Detection
from dissect.stream.records import Gap, Message, Record, Violation
from dissect.stream.side import Side
from dissect.stream.text import duration, plural
from dissect.timing import wording

MOST = 18
"""Messages that get a rung of their own; what goes beyond is folded."""

LAST = 3
"""How many of those are the last ones of the conversation."""

ODD = 4
"""Gaps and violations that get a rung of their own, of each kind; what goes beyond is folded and counted."""

WAIT_NS = 100_000_000
"""The shortest wait that is a rung; in a long conversation a fiftieth of it."""

TRICKLE_NS = 50_000_000
"""A message whose last byte came that long after its first has a rung for its beginning too."""

Kind = Literal[
    "note", "open", "syn", "begin", "message", "gap", "violation", "fold", "ending", "end", "wait", "call"
]


@dataclass(slots=True)
class Rung:
    """One thing that happened.

    begin_ns, time_ns: when it began and when it was over. side: whose it is; None where nobody's. title,
    detail, size, stamp: its texts, those of strangers made legible; a stamp of None is its time. lines: what
    is folded. seen: the detection that a "call" tells of.
    """

    kind: Kind
    time_ns: int
    begin_ns: int
    side: Side | None = None
    title: str = ""
    detail: str = ""
    size: str = ""
    stamp: str | None = None
    record: Record | None = None
    seen: Detection | None = None
    lines: list[str] = field(default_factory=list)


class Rungs:
    """The rungs of a conversation that was dissected with its records.

    most: how many messages get one of their own; the others are folded, but never the first of a side, nor
    one that a verdict rests on. bar_from: where the bar of a side begins, as a number of `rows`.
    """

    def __init__(self, dissected: Dissected, most: int = MOST) -> None:
        self.dissected = dissected
        self.verdict = dissected.verdict
        self.most = max(most, LAST + 2)
        self.start_ns = dissected.conversation.start_ns
        times = [dissected.end_ns, *(ending.time_ns for ending in dissected.endings)]
        times += [record.time_ns for record in dissected.records]
        self.span_ns = max(max(times) - self.start_ns, 0)
        self.first = {side: first_message(dissected, side) for side in Side}
        self.reference_ns = {side: reference_ns(dissected, side) for side in Side}
        self.bar_from: dict[Side, int] = {}
        self.rows = self._rows()

    def since(self, ns: int) -> str:
        """A time since the start, to the microsecond."""
        since = ns - self.start_ns
        return f"{since / 1e6:.3f} ms" if since < 1_000_000_000 else f"{since / 1e9:.6f} s"

    def caption(self, capture: str = "") -> str:
        """What the ladder is of, and what its times and its marks mean. capture: its file's name."""
        parts = [f"{capture}, " if capture else ""]
        parts += [f"conversation {self.verdict.conversation}, began {date(self.start_ns)}."]
        parts += [" Times: capture clock, since the first packet. Rows in order, not to scale."]
        seen = [row.seen for row in self.rows if row.seen is not None]
        if seen:
            parts += [" Bar: from the first wrong byte that reached a side (without one, from the handshake)"]
            meaning = (
                ("★ a reaction", any(not one.censored and not one.after_close for one in seen)),
                ("☆ a reaction after the peer had left", any(one.after_close for one in seen)),
                ("▽ no reaction seen", any(one.censored for one in seen)),
            )
            parts += [", until: ", ", ".join(words for words, occurs in meaning if occurs), "."]
        return "".join(parts)

    def _rows(self) -> list[Rung]:
        rows = [*self._opening(), *self._exchanged(), *self._endings()]
        rows.sort(key=lambda row: row.time_ns)  # stable: each kind keeps its own order
        beginnings: dict[Side, Rung] = {}
        for side in Side:
            before = [row for row in rows if row.begin_ns <= self.reference_ns[side]]
            heard = self.first[side.other]
            of_first = [row for row in rows if heard is not None and row.record is heard]
            beginnings[side] = (of_first or before[-1:] or rows[:1])[0]
        rows = self._with_waits(self._with_detections(rows))
        self.bar_from = {
            side: next(number for number, row in enumerate(rows) if row is begun)
            for side, begun in beginnings.items()
        }
        return rows

    def _opening(self) -> list[Rung]:
        conversation = self.dissected.conversation
        established = self.dissected.established_ns
        if established is not None:
            what = "SYN, SYN-ACK, ACK" if conversation.roles_from == "syn" else ""
            return [Rung("open", established, self.start_ns, title="TCP handshake", detail=what)]
        if conversation.mid_stream:
            return [Rung("note", self.start_ns, self.start_ns, title="the capture begins in mid-stream")]
        if conversation.syn_ns is not None:
            return [Rung("syn", self.start_ns, self.start_ns, Side.CLIENT, title="SYN")]
        return [Rung("note", self.start_ns, self.start_ns, title="the handshake is not in the capture")]

    def _endings(self) -> list[Rung]:
        counted: Counter[tuple[Side, str]] = Counter()
        rows: dict[tuple[Side, str], Rung] = {}
        for ending in self.dissected.endings:
            key = ending.side, ending.how
            counted[key] += 1
            if key not in rows:
                title = "FIN" if ending.how == "close" else "RST"
                rows[key] = Rung("ending", ending.time_ns, ending.time_ns, ending.side, title=title)
        for key, row in rows.items():
            row.detail = f"{counted[key]:,} times" if counted[key] > 1 else ""
        found = list(rows.values())
        if self.dissected.open:
            end_ns = max(self.dissected.end_ns, *(row.time_ns for row in found), self.start_ns)
            found.append(Rung("end", end_ns, end_ns, title="the capture ends, the connection is still open"))
        return found

    def _exchanged(self) -> list[Rung]:
        """Rows of messages, gaps and violations, the many folded."""
        records = self.dissected.records
        kept = self._kept(records)
        rows: list[Rung] = []
        folded: list[Record] = []
        at = self.start_ns
        for index, record in enumerate(records):
            # As `chronological` has it: no record is drawn above the one before it.
            at = max(at, record.time_ns)
            if index not in kept:
                folded.append(record)
                continue
            rows += self._folded(folded)
            folded = []
            rows += self._unfolded(record, at)
        return rows + self._folded(folded)

    def _kept(self, records: Sequence[Record]) -> set[int]:
        """Numbers of the records that get a row of their own."""
        messages = [index for index, record in enumerate(records) if isinstance(record, Message)]
        kept = set(messages)
        if len(messages) > self.most:
            kept = {*messages[: self.most - LAST], *messages[-LAST:]}
            reactions = {
                (side, self.reference_ns[side] + seen.ns)
                for side in Side
                if (seen := self.verdict.detect(side)) is not None and not seen.censored
            }
            for index in messages:
                record = records[index]
                assert isinstance(record, Message)
                if record is self.first[record.side] or (record.side, record.first_ns) in reactions:
                    kept.add(index)
        for odd in (Gap, Violation):
            kept.update([index for index, record in enumerate(records) if isinstance(record, odd)][:ODD])
        for index in range(1, len(records) - 1):
            if index - 1 in kept and index + 1 in kept and isinstance(records[index], Message):
                kept.add(index)  # one message takes no more room than its fold
        return kept

    def _unfolded(self, record: Record, at: int) -> list[Rung]:
        if isinstance(record, Gap):
            row = Rung("gap", at, at, record.side, title="lost", record=record)
            row.detail = f"{plural(record.size, 'byte')} of the {record.side} not in the capture"
            row.size = f"({record.size:,} B)"
            return [row]
        if isinstance(record, Violation):
            row = Rung("violation", at, at, record.side, title="violation", record=record)
            row.detail = f"{record.name}: {record.why}" if record.name else record.why
            return [row]
        title, detail = wording.title(record), wording.detail(record)
        row = Rung(
            "message", at, record.first_ns, record.side, title, detail, f"{record.size:,} B", record=record
        )
        row.stamp = self.since(record.time_ns)
        if record.last_ns - record.first_ns < TRICKLE_NS:
            return [row]
        begin = Rung("begin", record.first_ns, record.first_ns, record.side, title, record=record)
        begin.detail = "first byte"
        row.detail = f"{detail}, last byte" if detail else "last byte"
        row.begin_ns = at
        return [begin, row]

    def _folded(self, records: Sequence[Record]) -> list[Rung]:
        if not records:
            return []
        messages = [record for record in records if isinstance(record, Message)]
        begin = min((one.first_ns if isinstance(one, Message) else one.time_ns) for one in records)
        end = max(record.time_ns for record in records)
        total = sum(record.size for record in messages)
        parts = []
        if messages:
            parts += [f"{len(messages):,} more {'message' if len(messages) == 1 else 'messages'}"]
            parts += [wording.volume(total)]
        for kind, word in ((Gap, "gap"), (Violation, "violation")):
            number = sum(isinstance(record, kind) for record in records)
            if number:
                parts.append(f"{number:,} more {word}{'' if number == 1 else 's'}")
        row = Rung("fold", end, begin, title=f"… {', '.join(parts)} …", record=records[0])
        for side in Side:
            counted = Counter(wording.title(one) for one in messages if one.side is side)
            if counted:
                shown = [
                    f"{number:,} × {name}" if number > 1 else name for name, number in counted.most_common(4)
                ]
                if len(counted) > 4:
                    shown.append("…")
                row.lines.append(f"from the {side}: {', '.join(shown)}")
        row.size = f"{total:,} B" if total else ""
        return [row]

    def _with_detections(self, rows: list[Rung]) -> list[Rung]:
        """Put the row of each side's detection behind what it is about."""
        for side in sorted(Side, key=lambda side: side is not self.verdict.detected_first):
            seen = self.verdict.detect(side)
            if seen is None:
                continue
            when = self.reference_ns[side] + seen.ns
            index = self._reaction(rows, side, seen, when)
            call = Rung("call", rows[index].time_ns, rows[index].time_ns, side, seen=seen, stamp="")
            call.title = wording.detection(side, seen)
            while index + 1 < len(rows) and rows[index + 1].kind == "call":
                index += 1
            rows.insert(index + 1, call)
        return rows

    @staticmethod
    def _reaction(rows: list[Rung], side: Side, seen: Detection, when: int) -> int:
        """The number of the row that shows the reaction of `side`, or until when there was none."""
        for index, row in enumerate(rows):
            if seen.censored or row.side is not side:
                continue
            if seen.by == "error-reply" and isinstance(row.record, Message) and row.record.first_ns == when:
                return index
            how = {"close": "FIN", "reset": "RST"}.get(str(seen.by))
            if row.kind == "ending" and row.title == how and row.time_ns == when:
                return index
        before = [index for index, row in enumerate(rows) if row.time_ns <= when]
        return before[-1] if before else 0

    def _with_waits(self, rows: list[Rung]) -> list[Rung]:
        least = max(WAIT_NS, self.span_ns // 50)
        result: list[Rung] = []
        until = self.start_ns
        messages = [record for record in self.dissected.records if isinstance(record, Message)]
        for row in rows:
            if result and row.begin_ns - until >= least:
                waited = duration(row.begin_ns - until)
                busy = any(one.first_ns < row.begin_ns and one.last_ns > until for one in messages)
                title = f"{waited} pass" if busy else f"nothing for {waited}"
                result.append(Rung("wait", until, until, title=title, stamp=""))
            result.append(row)
            until = max(until, row.time_ns)
        return result


def first_message(dissected: Dissected, side: Side) -> Message | None:
    """The message with which `side` began."""
    mine = (one for one in dissected.records if isinstance(one, Message) and one.side is side)
    return min(mine, key=lambda one: one.first_ns, default=None)


def reference_ns(dissected: Dissected, side: Side) -> int:
    """When the clock of `side` started, as the verdict has it."""
    first = first_message(dissected, side.other)
    if first is not None:
        return first.first_ns
    established = dissected.established_ns
    return established if established is not None else dissected.conversation.start_ns


def date(ns: int) -> str:
    """A Unix time in nanoseconds as UTC, to the second."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return f"{ns} ns"  # a damaged capture holds any number
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
