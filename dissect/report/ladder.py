# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder of one conversation for a browser: a table that reads as a table without its style too.

    rungs = Rungs(dissected)                                 # dissect.timing.rungs
    page = f"<style>{THEME}{STYLE}</style>{ladder(rungs, capture='a.pcap')}"
    picture = ladder_svg(rungs)                              # one file by itself

It follows the reader's choice of light or dark, gives way on narrow screens, prints, and fetches nothing.
Nothing is shown by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dissect.dissection.recognise import TITLES
from dissect.report.markup import Markup, asset, joined, tag
from dissect.stream.side import Side
from dissect.timing.rungs import Rung, Rungs
from dissect.timing.wording import legible

LIGHT: Final = {
    "paper": "#ffffff",
    "wash": "#f3f4f6",
    "ink": "#1a1a1a",
    "pale": "#595959",
    "line": "#8c8c8c",
    "rule": "#d6d6d6",
    "client": "#005a8f",
    "server": "#a84300",
    "client-tint": "#d9ebf7",
    "server-tint": "#fce6d8",
    "warn": "#fdf5c4",
    "link": "#00558c",
}
"""Colours on white. Client and server are Okabe and Ito's blue and vermillion, dark enough for text."""

DARK: Final = {
    "paper": "#14171a",
    "wash": "#20252a",
    "ink": "#ececec",
    "pale": "#b0b4b8",
    "line": "#868b90",
    "rule": "#3a4046",
    "client": "#7cc4f0",
    "server": "#f5a673",
    "client-tint": "#17364a",
    "server-tint": "#4a2814",
    "warn": "#46400f",
    "link": "#8ccbf5",
}
"""The same on black."""


def _variables(colours: Mapping[str, str]) -> str:
    return "".join(f"--fb-{name}:{colour};" for name, colour in colours.items())


THEME: Final = f"""
.fb {{ {_variables(LIGHT)} color-scheme: light dark; }}
@media (prefers-color-scheme: dark) {{ .fb {{ {_variables(DARK)} }} }}
[data-theme="light"] .fb, .fb[data-theme="light"], [data-jp-theme-light="true"] .fb {{ {_variables(LIGHT)} }}
[data-theme="dark"] .fb, .fb[data-theme="dark"], [data-jp-theme-light="false"] .fb {{ {_variables(DARK)} }}
@media print {{ .fb, .fb[data-theme] {{ {_variables(LIGHT)} color-scheme: light; }} }}
"""
"""Colours as CSS variables of all in class `fb`: the reader's choice, or that of a page or notebook."""

STYLE: Final = asset("ladder.css")
"""How a ladder looks; needs `THEME`, and an element of class `fb` around it."""

MARKS: Final = {"exact": "★", "late": "☆", "censored": "▽"}
"""What stands on the lifeline of a side that noticed, that may only have followed its peer, that had not."""


def ladder(rungs: Rungs, *, capture: str = "", names: Mapping[Side, str] | None = None) -> Markup:
    """The ladder as one HTML element. capture: its file's name; names: the programs, where they are known."""
    calls = {row.side: number for number, row in enumerate(rungs.rows) if row.kind == "call" and row.side}
    gone: set[Side] = set()
    body = []
    for number, row in enumerate(rungs.rows):
        body.append(_row(rungs, number, row, calls, gone))
        if row.kind == "ending" and row.side is not None:
            gone.add(row.side)
    return tag(
        "table",
        tag("caption", rungs.caption(legible(capture))),
        tag(
            "thead",
            tag(
                "tr",
                tag("th", "time", class_="fb-time", scope="col"),
                tag(
                    "th",
                    tag("div", *(_end(rungs, side, names or {}) for side in Side), class_="fb-ends"),
                    colspan=3,
                    scope="col",
                ),
                tag("th", "bytes", class_="fb-size", scope="col"),
            ),
        ),
        tag("tbody", *body),
        class_="fb-ladder",
    )


def end_words(rungs: Rungs, side: Side, names: Mapping[Side, str]) -> list[str]:
    """What is known of one end: its program, its address, what it spoke."""
    verdict = rungs.verdict
    spoke = f"spoke {TITLES.get(verdict.spoke(side), verdict.spoke(side))}"
    if verdict.reversed:
        spoke += " as its " + ("server" if side is Side.CLIENT else "client")
    address = verdict.client if side is Side.CLIENT else verdict.server
    return [legible(words) for words in (names.get(side, ""), address, spoke) if words]


def _end(rungs: Rungs, side: Side, names: Mapping[Side, str]) -> Markup:
    words = end_words(rungs, side, names)
    lines = [line for word in words for line in (tag("br"), word)][1:]
    return tag("div", tag("b", str(side)), *lines, class_=f"fb-{side}")


def _row(rungs: Rungs, number: int, row: Rung, calls: Mapping[Side, int], gone: set[Side]) -> Markup:
    stamp = rungs.since(row.time_ns) if row.stamp is None else row.stamp
    if row.kind == "fold":
        stamp = f"{rungs.since(row.begin_ns)} to {rungs.since(row.time_ns)}"
    kinds = [f"fb-{row.kind}"]
    if row.side is not None:
        kinds.append(f"fb-{row.side}")
    if row.kind == "ending" and row.title == "RST":
        kinds.append("fb-rst")
    if row.seen is not None and (row.seen.censored or row.seen.after_close):
        kinds.append("fb-open-end")
    lives = [_life(rungs, number, row, side, calls, gone) for side in Side]
    return tag(
        "tr",
        tag("td", *_stamp(stamp), class_="fb-time"),
        lives[0],
        tag("td", *_what(row), class_="fb-what"),
        lives[1],
        tag("td", row.size, class_="fb-size"),
        class_=" ".join(kinds),
    )


def _stamp(stamp: str) -> list[str]:
    early, to, late = stamp.partition(" to ")
    return [early, tag("br"), f"to {late}"] if to else [stamp]


def _life(
    rungs: Rungs, number: int, row: Rung, side: Side, calls: Mapping[Side, int], gone: set[Side]
) -> Markup:
    """The lifeline of a side beside one rung: a line, a bar, or the dots of one who has left."""
    kinds = ["fb-life"]
    if side in calls and rungs.bar_from[side] < number <= calls[side]:
        kinds.append(f"fb-bar-{side}")
    elif side in gone:
        kinds.append("fb-gone")
    glyph = ""
    if row.side is side:
        glyph = mark(row)
    return tag("td", *([tag("span", glyph)] if glyph else []), class_=" ".join(kinds))


def mark(row: Rung) -> str:
    """The glyph of a rung on its side's lifeline; "" where it has none."""
    if row.kind == "call" and row.seen is not None:
        return MARKS["censored" if row.seen.censored else "late" if row.seen.after_close else "exact"]
    if row.kind == "ending":
        return "✖" if row.title == "RST" else "■"
    return "▲" if row.kind == "violation" else ""


def _what(row: Rung) -> list[Markup]:
    way = "" if row.side is None else "client → server: " if row.side is Side.CLIENT else "server → client: "
    match row.kind:
        case "wait" | "note" | "end":
            return [tag("span", row.title, class_="fb-words")]
        case "call":
            return [tag("span", row.title, class_="fb-box")]
        case "violation":
            said = f"{row.title} of the {row.side}: {row.detail}"
            return [tag("span", said, class_="fb-box")]
        case "fold":
            return [
                tag("span", tag("b", row.title), *(tag("span", line) for line in row.lines), class_="fb-box")
            ]
        case _:
            words = [tag("span", way, class_="fb-way")] if way else []
            words.append(tag("b", row.title))
            detail = joined(" ", row.detail) if row.detail else Markup()
            return [tag("span", *words, detail, class_="fb-words"), tag("span", class_="fb-arrow")]


# --- as a picture ---------------------------------------------------------------------------------------

WIDE: Final = 760
"""Units of a picture's width; about 1.2 to a pixel where it is shown as wide as a page's text."""

_TIME, _CLIENT, _SERVER, _BYTES = 84, 104, 672, 752
_LINE, _LETTER, _BOLD = 17, 7.3, 7.7  # a line of a size of 13, a letter on the average of the widest fonts

_PICTURE: Final = asset("ladder-picture.css")


def ladder_svg(rungs: Rungs, *, capture: str = "", names: Mapping[Side, str] | None = None) -> Markup:
    """The ladder as one SVG document, in the light or dark of whoever looks. Long texts are cut.

    capture, names: as for `ladder`.
    """
    ends = {side: end_words(rungs, side, names or {}) for side in Side}
    y = 12 + _LINE * (1 + max(map(len, ends.values())))
    top = y + 6
    lines: list[tuple[Rung, float, list[str]]] = []  # a rung, its line, its words line by line
    for row in rungs.rows:
        words = [_said(row), *row.lines]
        lines.append((row, y + 8 + _LINE * len(words), words))
        y += 15 + _LINE * len(words)
    caption = _broken(rungs.caption(legible(capture)), 125)
    body: list[Markup] = []
    for row, at, _words in lines:
        if row.kind == "wait":
            body.append(
                tag("rect", x=0, y=f"{at - _LINE - 4:g}", width=WIDE, height=_LINE + 10, class_="wash")
            )
    for side, x in zip(Side, (_CLIENT, _SERVER), strict=True):
        gone = next((at for row, at, _ in lines if row.kind == "ending" and row.side is side), y)
        body.append(tag("path", d=f"M{x} {top}V{gone:g}", class_="life"))
        body.append(tag("path", d=f"M{x} {gone:g}V{y}", class_="life gone"))
        call = next((at for row, at, _ in lines if row.kind == "call" and row.side is side), None)
        if call is not None:
            begin = lines[rungs.bar_from[side]][1]
            high = max(call - begin - 6, 2)
            body.append(
                tag("rect", x=x - 5, y=f"{begin:g}", width=10, height=f"{high:g}", class_=f"bar {side}")
            )
        wide = max(len(word) for word in (*ends[side], "client")) * _LETTER + 18
        left = min(max(x - wide / 2, 2), WIDE - wide - 2)
        box = tag("rect", x=f"{left:g}", y=2, width=f"{wide:g}", height=top - 8, rx=5, class_="box")
        texts = [
            _text(left + wide / 2, _LINE * (number + 1), word, "bold" if number == 0 else "", "middle")
            for number, word in enumerate((str(side), *ends[side]))
        ]
        body.append(tag("g", box, *texts, class_=str(side)))
    for row, at, words in lines:
        body += _drawn(rungs, row, at, words)
    body += [_text(4, y + 20 + 15 * number, line, "pale") for number, line in enumerate(caption)]
    high = y + 20 + 15 * len(caption)
    return tag(
        "svg",
        tag("style", Markup(THEME + _PICTURE)),
        tag("title", f"Ladder of conversation {rungs.verdict.conversation}"),
        tag("desc", legible(rungs.verdict.reason)),
        tag("rect", width=WIDE, height=high, class_="paper"),
        *body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDE} {high}",
        width=WIDE,
        height=high,
        role="img",
        class_="fb",
    )


def _said(row: Rung) -> str:
    title = f"{row.title} of the {row.side}:" if row.kind == "violation" else row.title
    return f"{title} {row.detail}".strip()


def _text(x: float, y: float, words: str, kind: str = "", anchor: str | None = None) -> Markup:
    return tag("text", words, x=f"{x:g}", y=f"{y:g}", class_=kind or None, text_anchor=anchor)


def _cut(words: str, space: float) -> str:
    most = int(space / _LETTER)
    return words if len(words) <= most else words[: most - 1] + "…"


def _broken(words: str, most: int) -> list[str]:
    from textwrap import wrap

    return wrap(words, most, break_on_hyphens=False)


def _drawn(rungs: Rungs, row: Rung, at: float, words: list[str]) -> list[Markup]:
    """One rung of the picture: its line is at `at`, its words above or, in a box, on it."""
    middle, space = (_CLIENT + _SERVER) / 2, _SERVER - _CLIENT - 40
    stamp = rungs.since(row.time_ns) if row.stamp is None else row.stamp
    side = str(row.side or "none")
    found = [_text(_TIME, at + 4, stamp, "pale", "end"), _text(_BYTES, at + 4, row.size, "pale", "end")]
    found = [one for one, shown in zip(found, (stamp, row.size), strict=True) if shown]
    boxed = row.kind in ("call", "violation", "fold")
    room = [(space - 20) * _LETTER / _BOLD, *[space - 20] * len(row.lines)] if boxed else [space]
    shown = [_cut(line, wide) for line, wide in zip(words, room, strict=boxed)]
    whole = [tag("title", " ".join(words))] if shown != words else []
    if boxed:
        wide = max(len(shown[0]) * _BOLD, *(len(line) * _LETTER for line in shown)) + 20
        left = middle - wide / 2
        if row.kind != "fold":
            left = _CLIENT + 18 if row.side is Side.CLIENT else _SERVER - 18 - wide
        high = _LINE * len(shown) + 6
        kinds = [side, row.kind]
        if row.seen is not None and (row.seen.censored or row.seen.after_close):
            kinds.append("open-end")
        box = tag(
            "rect", x=f"{left:g}", y=f"{at - high + 2:g}", width=f"{wide:g}", height=high, rx=4, class_="box"
        )
        texts = [
            _text(left + 10, at - high + 2 + _LINE * (number + 1) - 1, line, "" if number else "bold")
            for number, line in enumerate(shown)
        ]
        found.append(tag("g", *whole, box, *texts, class_=" ".join(kinds)))
        at -= high / 2 - 6
    elif row.kind in ("wait", "note", "end"):
        found.append(_text(middle, at + 1, shown[0], "wait", "middle"))
    else:
        found.append(
            tag("g", *whole, *_way(row, at), _text(middle, at - 5, shown[0], "", "middle"), class_=side)
        )
    glyph = mark(row)
    if glyph:
        x = _CLIENT if row.side is Side.CLIENT else _SERVER
        found.append(_text(x, at + 5, glyph, "mark", "middle"))
    return found


def _way(row: Rung, at: float) -> list[Markup]:
    """The arrow of a rung."""
    left, right = _CLIENT + 8, _SERVER - 8
    dashes = {"begin": "6 4", "gap": "2 3"}.get(row.kind)
    line = tag("path", d=f"M{left} {at:g}H{right}", class_="way", stroke_dasharray=dashes)
    if row.kind == "gap" or row.title == "RST":
        x = right - 4 if row.side is Side.CLIENT else left + 4
        return [line, tag("path", d=f"M{x - 5} {at - 5:g}l10 10m0 -10l-10 10", class_="way")]
    heads = []
    if row.side is not Side.SERVER:
        heads.append(tag("path", d=f"M{right + 2} {at:g}l-10 -5v10z", class_="head"))
    if row.side is not Side.CLIENT and row.kind != "syn":
        heads.append(tag("path", d=f"M{left - 2} {at:g}l10 -5v10z", class_="head"))
    return [line, *heads]
