# SPDX-License-Identifier: GPL-2.0-or-later
"""How many bytes of each protocol a server took before it reacted: a stair for each server.

A bar runs from the first byte to the last that was tried; it is hatched as long as nothing happened, and
filled from the byte on at which the server reacted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dissect.stream.text import duration
from dissect.timing.plots import sheet
from dissect.timing.plots.sheet import INK, PALE, WASH, WIDTH, Sheet, cut, drawable, font, line_height, wrap
from dissect.timing.plots.sheet import width as wide
from dissect.timing.results import Probed, Step

TITLE, SUBTITLE, LABEL, BODY = font(14, bold=True), font(10.5), font(10, bold=True), font(9)
MARGIN, ROW = 0.35, 0.27

LOOKS: dict[str | None, tuple[str, str, str]] = {
    None: ("white", "////", "nothing before the deadline"),
    "error-reply": (sheet.VERMILLION, "", "error reply"),
    "close": (sheet.BLUE, "|||", "close"),
    "reset": (sheet.GREEN, "xx", "reset"),
    "answer": (WASH, "", "an answer: its own protocol"),
}
"""Reaction -> fill, hatching, words. The hatching alone tells them apart in black and white."""


def staircase(probes: Sequence[Probed]) -> Figure:
    """Bytes to detection, by server and protocol. Raises ValueError without a probe that has a trial."""
    probes = [one for one in probes if one.tables]
    if not probes:
        raise ValueError("no probe to draw")
    most = max(max(size for size, _, _ in steps) for one in probes for steps in one.tables.values())
    with sheet.settings():
        space = WIDTH - 2 * MARGIN
        title = wrap("How many bytes until the server reacts", space, TITLE, 2)
        deadlines = " and ".join(duration(ns) for ns in sorted({one.deadline_ns for one in probes}))
        caption = (
            f"each byte count on a connection of its own; user-space clock; deadline {deadlines}; times: "
            "median of trials that ran alone"
        )
        subtitle = wrap(caption, space, SUBTITLE, 3)
        names = sorted({name for one in probes for name in one.tables}, key=lambda name: wide(name, BODY))
        left = MARGIN + 0.15 + max(wide(name, BODY) for name in names) + 0.2
        notes = {(number, name): _note(one, name) for number, one in enumerate(probes) for name in one.tables}
        right = WIDTH - MARGIN - max(wide(note, BODY) for note in notes.values()) - 0.2
        top = 0.3 + line_height(TITLE) * len(title) + line_height(SUBTITLE) * len(subtitle) + 0.1
        bottom = top + sum(0.38 + ROW * len(one.tables) for one in probes)
        paper = Sheet(bottom + 1.15)
        paper.head(MARGIN, title, subtitle, (TITLE, SUBTITLE))

        def across(size: float) -> float:
            """The left edge of a byte count; the axis is logarithmic."""
            return left + (right - left) * math.log(max(1.0, size)) / math.log(most + 1)

        y = top
        for number, one in enumerate(probes):
            y += 0.38
            paper.text(MARGIN, y - 0.1, cut(drawable(_who(one)), space, LABEL), LABEL)
            for name, steps in one.tables.items():
                _bar(paper, steps, across, y)
                paper.text(left - 0.15, y + ROW / 2 + 0.045, name, BODY, align="right")
                paper.text(WIDTH - MARGIN, y + ROW / 2 + 0.045, notes[number, name], BODY, align="right")
                y += ROW
        last = -math.inf
        for tick in (1, 2, 4, 8, 12, 16, 32, 42, 64, 128, 256, 512, most):
            x = (across(tick) + across(tick + 1)) / 2
            if tick <= most and x - last > 0.36:
                last = x
                paper.text(x, bottom + 0.2, str(tick), BODY, align="center")
        paper.text(
            (left + right) / 2, bottom + 0.42, "bytes sent (logarithmic)", BODY, align="center", colour=PALE
        )
        _legend(paper, bottom + 0.66)
        return paper.figure


def _who(one: Probed) -> str:
    speaks = {"rfb": "RFB", "spice": "SPICE", "tls": "TLS", "http": "HTTP", "ssh": "SSH"}.get(
        one.own, one.own
    )
    return f"{one.server}, speaks {speaks}"


def _note(one: Probed, name: str) -> str:
    if name == one.own:
        return "its own protocol"
    if name not in one.least:
        return "not measured"
    least = one.least[name]
    if least is None:
        return "not noticed"
    return f"{least[0]} byte{'' if least[0] == 1 else 's'}, {duration(least[1])}"


def _bar(paper: Sheet, steps: Sequence[Step], across: Callable[[float], float], y: float) -> None:
    sent = [step for step in steps if step[0] > 0]
    for by, group in groupby(enumerate(sent), key=lambda item: item[1][1]):
        several = list(group)
        first, number = several[0][1][0], several[-1][0]
        # Up to the next count that was tried: what lies between was not.
        end = sent[number + 1][0] if number + 1 < len(sent) else sent[number][0] + 1
        fill, hatch, _ = LOOKS[by]
        paper.axes.add_patch(
            Rectangle((across(first), y + 0.03), across(end) - across(first), ROW - 0.06, fc=fill, ec=INK,
                      lw=0.6, hatch=hatch, zorder=2, gid=f"bar {by}")
        )  # fmt: skip


def _legend(paper: Sheet, y: float) -> None:
    x = MARGIN
    for fill, hatch, text in LOOKS.values():
        if x + 0.4 + wide(text, BODY) > WIDTH - MARGIN:
            x, y = MARGIN, y + 0.26
        paper.axes.add_patch(Rectangle((x, y), 0.3, 0.16, fc=fill, ec=INK, lw=0.6, hatch=hatch, zorder=2))
        paper.text(x + 0.38, y + 0.13, text, BODY)
        x += 0.38 + wide(text, BODY) + 0.3
