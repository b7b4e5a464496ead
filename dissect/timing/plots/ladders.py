# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder of one conversation on paper: two lifelines, time downwards, one row for each rung.

What the rungs are is in `dissect.timing.rungs`; here they get their places, so that no two texts can meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from dissect.dissection.reading import Dissected
from dissect.dissection.recognise import TITLES
from dissect.stream.side import Side
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
from dissect.timing.rungs import MOST, Rung, Rungs

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


@dataclass(slots=True)
class _Row(Rung):
    """A rung on paper. `y`: its line, in inches."""

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
        return _Ladder(Rungs(dissected, most), capture, names or {}).draw()


class _Ladder:
    def __init__(self, rungs: Rungs, capture: str, names: Mapping[Side, str]) -> None:
        self.rungs = rungs
        self.verdict = rungs.verdict
        self.capture = capture
        self.names = names
        self.rows = [_Row(**{one.name: getattr(row, one.name) for one in fields(Rung)}) for row in rungs.rows]

    # --- where it goes

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
        capture = cut(drawable(self.capture), WIDTH / 2, SMALL)
        return wrap(drawable(self.rungs.caption(capture)), WIDTH - 2 * MARGIN, SMALL, 4)

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
                begin = min(self.rows[self.rungs.bar_from[side]].y, call.y)
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
        stamp = self.rungs.since(row.time_ns) if row.stamp is None else row.stamp
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
                paper.text(
                    TIME_X, row.y - 0.03, self.rungs.since(row.begin_ns), NUMBER, align="right", colour=PALE
                )
                late = f"to {self.rungs.since(row.time_ns)}"
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
