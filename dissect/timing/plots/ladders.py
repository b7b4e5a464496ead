# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder of one conversation: two lifelines, time downwards, one row for each thing that happened.

Rows are set by their order and not to scale: what matters may lie 70 µs or 2 s after what came before, and a
linear axis would show only one of the two. Each row has its time instead, a long wait is a break with its
length written on it, and a burst of messages is folded into one row that says what is in it. So every
conversation gives a picture that can be read, and no two texts can meet.

A bar on a lifeline runs from the first byte of the wrong protocol that reached that side to its first
reaction. Where none was seen the bar goes on into an open end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from dissect.dissection.reading import Dissected
from dissect.dissection.recognise import TITLES
from dissect.dissection.verdict import Detection
from dissect.stream.records import Gap, Message, Record, Violation
from dissect.stream.side import Side
from dissect.stream.text import duration, plural
from dissect.timing import wording
from dissect.timing.plots import sheet
from dissect.timing.plots.sheet import (
    COLOURS,
    FAINT,
    INK,
    PALE,
    TINTS,
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

MOST = 18
"""Messages drawn one by one; what goes beyond is folded."""

LAST = 3
"""How many of those are the last ones of the conversation."""

ODD = 4
"""Gaps and violations drawn one by one, of each kind; what goes beyond is folded and counted."""

WAIT_NS = 100_000_000
"""The shortest wait that is drawn as a break; in a long conversation a fiftieth of it."""

TRICKLE_NS = 50_000_000
"""A message whose last byte came that long after its first has a row for its beginning too."""

MARGIN = 0.35
TIME_X = 1.7
LIFELINE = {Side.CLIENT: 2.15, Side.SERVER: 8.35}
BYTES_X = WIDTH - MARGIN
EDGE = 0.08
"""Inches between a row and the band of a wait that follows it."""
BETWEEN = LIFELINE[Side.SERVER] - LIFELINE[Side.CLIENT]
BOX = 2.6
MIDDLE = (LIFELINE[Side.SERVER] + LIFELINE[Side.CLIENT]) / 2

TITLE = font(14, bold=True)
SUBTITLE = font(10.5)
HEAD = font(11, bold=True)
HEAD_BODY = font(10)
NAME = font(10, bold=True)
BODY = font(10)
ASIDE = font(10, italic=True)
NUMBER = font(9.5)
SMALL = font(9)

Kind = Literal[
    "note", "open", "syn", "begin", "message", "gap", "violation", "fold", "ending", "end", "wait", "call"
]


@dataclass(slots=True)
class _Row:
    """One row. `begin_ns` and `time_ns`: when it began and when it was over; `y`: its line, in inches."""

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
    y: float = 0.0
    top: float = 0.0
    bottom: float = 0.0


def ladder(
    dissected: Dissected,
    *,
    capture: str = "",
    names: Mapping[Side, str] | None = None,
    most: int = MOST,
) -> Figure:
    """The ladder of one conversation that was dissected with its records.

    `capture`: its file's name, for the caption. `names`: the programs at either end, where they are known.
    `most`: how many messages are drawn one by one; the others are folded, but never the first of a side, nor
    one that a verdict rests on.
    """
    with sheet.settings():
        return _Ladder(dissected, capture, names or {}, max(most, LAST + 2)).draw()


class _Ladder:
    def __init__(self, dissected: Dissected, capture: str, names: Mapping[Side, str], most: int) -> None:
        self.dissected = dissected
        self.verdict = dissected.verdict
        self.capture = capture
        self.names = names
        self.most = most
        self.start_ns = dissected.conversation.start_ns
        self.first = {side: self._first(side) for side in Side}
        times = [dissected.end_ns, *(ending.time_ns for ending in dissected.endings)]
        times += [record.time_ns for record in dissected.records]
        self.span_ns = max(max(times) - self.start_ns, 0)
        self.from_row: dict[Side, _Row] = {}
        self.rows = self._rows()

    # --- what there is to draw

    def _first(self, side: Side) -> Message | None:
        """The message with which `side` began."""
        mine = (one for one in self.dissected.records if isinstance(one, Message) and one.side is side)
        return min(mine, key=lambda one: one.first_ns, default=None)

    def _reference_ns(self, side: Side) -> int:
        """When the clock of `side` started, as the verdict has it."""
        first = self.first[side.other]
        if first is not None:
            return first.first_ns
        established = self.dissected.established_ns
        return established if established is not None else self.start_ns

    def _rows(self) -> list[_Row]:
        rows = [*self._opening(), *self._exchanged(), *self._endings()]
        rows.sort(key=lambda row: row.time_ns)  # stable: each kind keeps its own order
        for side in Side:
            before = [row for row in rows if row.begin_ns <= self._reference_ns(side)]
            heard = self.first[side.other]
            of_first = [row for row in rows if heard is not None and row.record is heard]
            self.from_row[side] = (of_first or before[-1:] or rows[:1])[0]
        rows = self._with_detections(rows)
        return self._with_waits(rows)

    def _opening(self) -> list[_Row]:
        conversation = self.dissected.conversation
        established = self.dissected.established_ns
        if established is not None:
            what = "SYN, SYN-ACK, ACK" if conversation.roles_from == "syn" else ""
            return [_Row("open", established, self.start_ns, title="TCP handshake", detail=what)]
        if conversation.mid_stream:
            return [_Row("note", self.start_ns, self.start_ns, title="the capture begins in mid-stream")]
        if conversation.syn_ns is not None:
            return [_Row("syn", self.start_ns, self.start_ns, Side.CLIENT, title="SYN")]
        return [_Row("note", self.start_ns, self.start_ns, title="the handshake is not in the capture")]

    def _endings(self) -> list[_Row]:
        counted: Counter[tuple[Side, str]] = Counter()
        rows: dict[tuple[Side, str], _Row] = {}
        for ending in self.dissected.endings:
            key = ending.side, ending.how
            counted[key] += 1
            if key not in rows:
                title = "FIN" if ending.how == "close" else "RST"
                rows[key] = _Row("ending", ending.time_ns, ending.time_ns, ending.side, title=title)
        for key, row in rows.items():
            row.detail = f"{counted[key]:,} times" if counted[key] > 1 else ""
        found = list(rows.values())
        if self.dissected.open:
            end_ns = max(self.dissected.end_ns, *(row.time_ns for row in found), self.start_ns)
            found.append(_Row("end", end_ns, end_ns, title="the capture ends, the connection is still open"))
        return found

    def _exchanged(self) -> list[_Row]:
        """Rows of messages, gaps and violations, the many folded."""
        records = self.dissected.records
        kept = self._kept(records)
        rows: list[_Row] = []
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
                (side, self._reference_ns(side) + seen.ns)
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

    def _unfolded(self, record: Record, at: int) -> list[_Row]:
        if isinstance(record, Gap):
            row = _Row("gap", at, at, record.side, title="lost", record=record)
            row.detail = f"{plural(record.size, 'byte')} of the {record.side} not in the capture"
            row.size = f"({record.size:,} B)"
            return [row]
        if isinstance(record, Violation):
            row = _Row("violation", at, at, record.side, title="violation", record=record)
            row.detail = f"{record.name}: {record.why}" if record.name else record.why
            return [row]
        title, detail = wording.title(record), wording.detail(record)
        row = _Row(
            "message", at, record.first_ns, record.side, title, detail, f"{record.size:,} B", record=record
        )
        row.stamp = self._time(record.time_ns)
        if record.last_ns - record.first_ns < TRICKLE_NS:
            return [row]
        begin = _Row("begin", record.first_ns, record.first_ns, record.side, title, record=record)
        begin.detail = "first byte"
        row.detail = f"{detail}, last byte" if detail else "last byte"
        row.begin_ns = at
        return [begin, row]

    def _folded(self, records: Sequence[Record]) -> list[_Row]:
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
        row = _Row("fold", end, begin, title=f"… {', '.join(parts)} …", record=records[0])
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

    def _with_detections(self, rows: list[_Row]) -> list[_Row]:
        """Put the row of each side's detection behind what it is about."""
        for side in sorted(Side, key=lambda side: side is not self.verdict.detected_first):
            seen = self.verdict.detect(side)
            if seen is None:
                continue
            when = self._reference_ns(side) + seen.ns
            index = self._reaction(rows, side, seen, when)
            call = _Row("call", rows[index].time_ns, rows[index].time_ns, side, seen=seen, stamp="")
            call.title = wording.detection(side, seen)
            while index + 1 < len(rows) and rows[index + 1].kind == "call":
                index += 1
            rows.insert(index + 1, call)
        return rows

    @staticmethod
    def _reaction(rows: list[_Row], side: Side, seen: Detection, when: int) -> int:
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

    def _with_waits(self, rows: list[_Row]) -> list[_Row]:
        least = max(WAIT_NS, self.span_ns // 50)
        result: list[_Row] = []
        until = self.start_ns
        messages = [record for record in self.dissected.records if isinstance(record, Message)]
        for row in rows:
            if result and row.begin_ns - until >= least:
                waited = duration(row.begin_ns - until)
                busy = any(one.first_ns < row.begin_ns and one.last_ns > until for one in messages)
                title = f"{waited} pass" if busy else f"nothing for {waited}"
                result.append(_Row("wait", until, until, title=title, stamp=""))
            result.append(row)
            until = max(until, row.time_ns)
        return result

    # --- where it goes

    def _time(self, ns: int) -> str:
        """A time since the start, to the microsecond."""
        since = ns - self.start_ns
        return f"{since / 1e6:.3f} ms" if since < 1_000_000_000 else f"{since / 1e9:.6f} s"

    def _measure(self, row: _Row) -> tuple[float, float]:
        """Break a row's text into lines; returns the inches above and below its line."""
        line, small = line_height(BODY), line_height(SMALL)
        row.title, row.detail = drawable(row.title), drawable(row.detail)
        space = BETWEEN - 0.5
        match row.kind:
            case "open" | "syn" | "begin" | "message" | "gap" | "ending":
                row.title = cut(row.title, space, NAME)
                beside = width(row.title, NAME) + GAP + width(row.detail, BODY) <= space
                row.lines = [] if beside else wrap(row.detail, space, BODY, 2)
                return 0.12 + line * (1 + len(row.lines)), 0.08
            case "violation" | "call":
                face = NAME if row.kind == "call" else BODY
                text = row.title if row.kind == "call" else f"{row.title}: {row.detail}"
                row.lines = wrap(text, space - 0.35, face, 3)
                half = (line * len(row.lines) + 0.12) / 2
                return half + 0.06, half + 0.08
            case "fold":
                row.title = cut(row.title, space, NAME)
                inside = space - 0.2
                row.lines = [line for text in row.lines for line in wrap(drawable(text), inside, SMALL, 2)]
                half = (line + small * len(row.lines) + 0.14) / 2
                return half + 0.1, half + 0.06
            case _:
                row.title = cut(row.title, space, ASIDE)
                return 0.25, 0.17

    # --- on paper

    def draw(self) -> Figure:
        head = self._heading()
        y = head
        for row in self.rows:
            above, below = self._measure(row)
            row.top, row.y, row.bottom = y, y + above, y + above + below
            y = row.bottom
        footer = self._footer()
        floor = y + 0.15
        paper = Sheet(floor + 0.16 + line_height(SMALL) * len(footer) + 0.1)
        self._draw_heading(paper)
        self._draw_lifelines(paper, head, floor)
        for row in self.rows:
            self._draw_row(paper, row)
        for number, text in enumerate(footer):
            baseline = floor + 0.16 + line_height(SMALL) * (number + 0.75)
            paper.text(MARGIN, baseline, text, SMALL, colour=PALE)
        return paper.figure

    def _heading(self) -> float:
        """Break the title; returns where the rows begin."""
        space = WIDTH - 2 * MARGIN
        first, _, more = drawable_sentence(self.verdict.reason or self.verdict.verdict).partition("; ")
        self.title = wrap(first, space, TITLE, 3)
        self.subtitle = wrap(more[:1].upper() + more[1:], space, SUBTITLE, 4)
        self.boxes = {side: self._box_lines(side) for side in Side}
        self.box_y = (
            0.3 + line_height(TITLE) * len(self.title) + line_height(SUBTITLE) * len(self.subtitle) + 0.12
        )
        lines = max(len(lines) for lines in self.boxes.values())
        self.box_height = 0.16 + line_height(HEAD) + line_height(HEAD_BODY) * lines
        return self.box_y + self.box_height + 0.12

    def _box_lines(self, side: Side) -> list[str]:
        verdict = self.verdict
        spoke = f"spoke {TITLES.get(verdict.spoke(side), verdict.spoke(side))}"
        if verdict.reversed:
            spoke += " as its " + ("server" if side is Side.CLIENT else "client")
        address = verdict.client if side is Side.CLIENT else verdict.server
        texts = [self.names.get(side, ""), address, spoke]
        return [line for text in texts for line in wrap(drawable(text), BOX - 0.2, HEAD_BODY, 2)]

    def _footer(self) -> list[str]:
        parts = [f"{cut(drawable(self.capture), WIDTH / 2, SMALL)}, " if self.capture else ""]
        parts += [f"conversation {self.verdict.conversation}, began {_date(self.start_ns)}."]
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
        return wrap(drawable("".join(parts)), WIDTH - 2 * MARGIN, SMALL, 4)

    def _draw_heading(self, paper: Sheet) -> None:
        y = 0.3 - 0.06
        for text in self.title:
            y += line_height(TITLE)
            paper.text(MARGIN, y - 0.06, text, TITLE, gid="title")
        for text in self.subtitle:
            y += line_height(SUBTITLE)
            paper.text(MARGIN, y - 0.04, text, SUBTITLE, colour=PALE)
        for side in Side:
            x, wide = LIFELINE[side], BOX
            left = x - wide / 2
            paper.box(
                left, self.box_y, wide, self.box_height, edge=COLOURS[side], fill=TINTS[side], weight=1.4
            )
            baseline = self.box_y + 0.05 + line_height(HEAD) * 0.85
            paper.text(x, baseline, str(side), HEAD, align="center")
            for number, text in enumerate(self.boxes[side], 1):
                paper.text(
                    x, baseline + line_height(HEAD_BODY) * number, text, HEAD_BODY, align="center", colour=INK
                )

    def _draw_lifelines(self, paper: Sheet, top: float, floor: float) -> None:
        breaks = [row for row in self.rows if row.kind == "wait"]
        for row in breaks:
            paper.band(MARGIN, row.top + EDGE, WIDTH - 2 * MARGIN, row.bottom - row.top - EDGE, fill=WASH)
        for side in Side:
            x = LIFELINE[side]
            gone = min(
                (row.y for row in self.rows if row.kind == "ending" and row.side is side), default=floor
            )
            pieces = _pieces(self.box_y + self.box_height, floor, breaks)
            for begin, end in pieces:
                if begin < gone:
                    paper.line(x, begin, x, min(end, gone), colour=PALE, weight=1.3)
                if end > gone:
                    paper.line(x, max(begin, gone), x, end, colour=FAINT, weight=1.3, style=(0, (2, 2)))
            for row in breaks:
                for step in (-0.07, 0.0, 0.07):
                    paper.mark(
                        x, (row.top + EDGE + row.bottom) / 2 + step, "o", size=2.4, edge=PALE, fill=PALE
                    )
            call = next((row for row in self.rows if row.kind == "call" and row.side is side), None)
            if call is not None:
                begin = min(self.from_row[side].y, call.y)
                for upper, lower in _pieces(begin, call.y, breaks):
                    paper.box(
                        x - 0.07,
                        upper,
                        0.14,
                        max(lower - upper, 0.01),
                        edge=COLOURS[side],
                        fill=TINTS[side],
                        weight=1.2,
                        rounded=0,
                    )

    def _draw_row(self, paper: Sheet, row: _Row) -> None:
        stamp = self._time(row.time_ns) if row.stamp is None else row.stamp
        match row.kind:
            case "wait" | "note" | "end":
                paper.text(MIDDLE, row.y + 0.05, row.title, ASIDE, align="center", colour=INK)
                if row.kind == "end":
                    half = width(row.title, ASIDE) / 2 + 0.12
                    for side, way in ((Side.CLIENT, -1), (Side.SERVER, 1)):
                        edge = LIFELINE[side]
                        paper.line(MIDDLE + way * half, row.y, edge, row.y, colour=PALE, style=(0, (1, 2)))
                baseline = row.y + 0.05
            case "call":
                self._draw_call(paper, row)
                return
            case "violation":
                self._draw_violation(paper, row)
                baseline = row.y + 0.05
            case "fold":
                self._draw_fold(paper, row)
                baseline = row.y + 0.05
                stamp = ""
                paper.text(TIME_X, row.y - 0.03, self._time(row.begin_ns), NUMBER, align="right", colour=PALE)
                late = f"to {self._time(row.time_ns)}"
                paper.text(TIME_X, row.y + 0.14, late, NUMBER, align="right", colour=PALE)
            case _:
                self._draw_arrow(paper, row)
                baseline = row.y + 0.05
        paper.text(TIME_X, baseline, stamp, NUMBER, align="right", colour=PALE)
        paper.text(BYTES_X, baseline, row.size, NUMBER, align="right", colour=PALE)

    def _draw_arrow(self, paper: Sheet, row: _Row) -> None:
        side = row.side
        colour = INK if side is None else COLOURS[side]
        tail, head = LIFELINE[side or Side.CLIENT], LIFELINE[(side or Side.CLIENT).other]
        way = 1 if head > tail else -1
        match row.kind:
            case "open":
                paper.arrow(tail + 0.1, head - 0.1, row.y, colour=PALE, weight=1.0, heads="<|-|>")
            case "syn":
                paper.arrow(tail + 0.1, head - 0.1, row.y, colour=PALE, weight=1.0)
            case "begin":
                start, end = tail + way * 0.1, head - way * 0.2
                paper.line(start, row.y, end, row.y, colour=colour, weight=1.4, style=(0, (4, 2)))
                paper.mark(head - way * 0.16, row.y, ">" if way > 0 else "<", size=7, edge=colour, weight=1.4)
            case "gap":
                start, end = tail + way * 0.1, head - way * 0.2
                paper.line(start, row.y, end, row.y, colour=colour, weight=1.6, style=(0, (1, 1.5)))
                paper.mark(end, row.y, "x", size=9, edge=colour, weight=2.2)
            case "ending" if row.title == "RST":
                paper.arrow(tail + way * 0.1, head - way * 0.2, row.y, colour=colour, weight=1.2, heads="-")
                paper.mark(head - way * 0.2, row.y, "x", size=10, edge=colour, weight=2.4)
                paper.mark(tail, row.y, "X", size=8, edge=INK, fill=INK)
            case "ending":
                paper.arrow(tail + way * 0.1, head - way * 0.1, row.y, colour=colour, weight=1.0, heads="->")
                paper.mark(tail, row.y, "s", size=5.5, edge=INK, fill=INK)
            case _:
                paper.arrow(tail + way * 0.1, head - way * 0.1, row.y, colour=colour)
        line = line_height(BODY)
        first = row.y - 0.07 - line * len(row.lines)
        if row.lines:
            paper.text(MIDDLE, first, row.title, NAME, align="center")
            for number, text in enumerate(row.lines, 1):
                paper.text(MIDDLE, first + line * number, text, BODY, align="center")
            return
        gap = GAP if row.detail else 0
        left = MIDDLE - (width(row.title, NAME) + gap + width(row.detail, BODY)) / 2
        paper.text(left, first, row.title, NAME, colour=PALE if row.kind in ("open", "syn") else INK)
        paper.text(
            left + width(row.title, NAME) + gap,
            first,
            row.detail,
            BODY,
            colour=PALE if row.kind in ("open", "syn") else INK,
        )

    def _draw_call(self, paper: Sheet, row: _Row) -> None:
        side, seen = row.side, row.seen
        assert side is not None
        assert seen is not None
        x, colour = LIFELINE[side], COLOURS[side]
        self._draw_box(
            paper,
            row,
            side,
            NAME,
            edge=colour,
            fill="white" if seen.censored or seen.after_close else TINTS[side],
        )
        if seen.censored:
            paper.mark(x, row.y, "v", size=12, edge=colour, weight=1.8, gid=f"censored-{side}")
        else:
            paper.mark(
                x,
                row.y,
                "*",
                size=18,
                edge=INK,
                fill="white" if seen.after_close else colour,
                weight=1.0,
                gid=f"exact-{side}",
            )

    def _draw_violation(self, paper: Sheet, row: _Row) -> None:
        side = row.side
        assert side is not None
        self._draw_box(paper, row, side, BODY, edge=INK, fill="#fdf8cf", style=(0, (3, 2)))
        paper.mark(LIFELINE[side], row.y, "^", size=11, edge=INK, fill=sheet.YELLOW)

    @staticmethod
    def _draw_box(
        paper: Sheet,
        row: _Row,
        side: Side,
        face: FontProperties,
        *,
        edge: str,
        fill: str,
        style: object = "-",
    ) -> None:
        """A box with a row's lines beside the lifeline of `side`, and the stroke that joins them."""
        x, way = LIFELINE[side], 1 if side is Side.CLIENT else -1
        line = line_height(face)
        wide = max(width(text, face) for text in row.lines) + 0.3
        high = line * len(row.lines) + 0.1
        left = x + 0.3 if way > 0 else x - 0.3 - wide
        paper.line(x + way * 0.1, row.y, x + way * 0.3, row.y, colour=edge, weight=1.2)
        paper.box(left, row.y - high / 2, wide, high, edge=edge, fill=fill, style=style)
        for number, text in enumerate(row.lines):
            baseline = row.y - high / 2 + 0.05 + line * (number + 0.76)
            paper.text(left + 0.15, baseline, text, face)

    @staticmethod
    def _draw_fold(paper: Sheet, row: _Row) -> None:
        line, small = line_height(BODY), line_height(SMALL)
        high = line + small * len(row.lines) + 0.1
        left = LIFELINE[Side.CLIENT] + 0.2
        paper.box(
            left, row.y - high / 2, BETWEEN - 0.4, high, edge=PALE, fill=WASH, weight=0.9, style=(0, (1, 1.5))
        )
        baseline = row.y - high / 2 + 0.05 + line * 0.76
        paper.text(MIDDLE, baseline, row.title, NAME, align="center")
        for number, text in enumerate(row.lines, 1):
            paper.text(MIDDLE, baseline + small * number, text, SMALL, align="center", colour=PALE)


GAP = 0.1
"""Inches between a name and what follows it."""


def drawable_sentence(text: str) -> str:
    """A sentence with a capital, safe to draw."""
    text = drawable(text)
    return text[:1].upper() + text[1:]


def _pieces(begin: float, end: float, breaks: Sequence[_Row]) -> list[tuple[float, float]]:
    """The stretch from begin to end without the breaks in it."""
    pieces = []
    for row in breaks:
        if begin < row.top + EDGE < end:
            pieces.append((begin, row.top + EDGE))
        if begin < row.bottom:
            begin = row.bottom
    if begin < end:
        pieces.append((begin, end))
    return pieces


def _date(ns: int) -> str:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return f"{ns} ns"  # a damaged capture holds any number
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
