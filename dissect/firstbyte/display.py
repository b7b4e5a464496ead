# SPDX-License-Identifier: GPL-2.0-or-later
"""How things show themselves in a notebook: HTML that follows its light or dark theme and fetches nothing.

The colours and the ladder are those of the report (`dissect.report`), and so is the escaping: text from a
capture never becomes markup.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dissect.replay import telling
from dissect.replay.compare import hex_line
from dissect.replay.outcome import Outcome, Result
from dissect.report.ladder import THEME
from dissect.report.markup import Markup, tag
from dissect.stream.text import plural

if TYPE_CHECKING:
    from dissect.firstbyte.conversations import Conversation

FRAME: Final = """
.fb.fb-frame { background: var(--fb-paper); color: var(--fb-ink); padding: .5rem .75rem; border-radius: 4px;
  font: 14px/1.45 system-ui, sans-serif; max-width: 62rem; overflow-x: auto; }
.fb.fb-frame p { margin: .25rem 0; } .fb.fb-frame svg { max-width: 100%; height: auto; display: block; }
.fb.fb-frame table { border-collapse: collapse; margin: .4rem 0; background: none; color: inherit;
  font: inherit; }
.fb.fb-frame thead tr, .fb.fb-frame tbody tr:nth-child(n) { background: none; }
.fb.fb-frame th, .fb.fb-frame td { text-align: left; vertical-align: top; padding: .15rem .5rem; border: 0;
  color: inherit; max-width: 40rem; overflow-wrap: anywhere; white-space: normal; }
.fb.fb-frame thead th { border-bottom: 1px solid var(--fb-line); white-space: nowrap; }
.fb.fb-frame tbody tr > * { border-bottom: 1px solid var(--fb-rule); }
.fb.fb-frame .fb-rows td { white-space: nowrap; max-width: 28rem; overflow: hidden; text-overflow: ellipsis; }
.fb.fb-frame .fb-number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.fb.fb-frame .fb-more, .fb.fb-frame .fb-pale { color: var(--fb-pale); }
.fb.fb-frame .fb-more { text-align: center; }
.fb.fb-frame pre { background: none; color: inherit; margin: .4rem 0; padding: 0;
  font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre; overflow-x: auto; }
.fb.fb-frame .fb-word { display: inline-block; border: 1px solid var(--fb-line); border-radius: 4px;
  padding: 0 .4rem; font-weight: 600; background: var(--fb-wash); }
"""

FIELD_CLASSES: Final = 24
"""Fields of a message that can be pointed at apart; what goes beyond begins anew."""

FIELDS: Final = """
.fb.fb-frame .fb-beside { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: flex-start; }
.fb.fb-frame .fb-beside > div { flex: 1 1 18rem; }
.fb.fb-frame .fb-fields th { font-weight: 600; white-space: nowrap; }
.fb.fb-frame pre i { color: var(--fb-pale); font-style: normal; }
.fb.fb-frame pre .fb-t0 { background: var(--fb-client-tint); }
.fb.fb-frame pre .fb-t1 { background: var(--fb-server-tint); }
.fb.fb-frame .fb-fields tr.fb-t0 > th { box-shadow: inset 4px 0 var(--fb-client-tint); }
.fb.fb-frame .fb-fields tr.fb-t1 > th { box-shadow: inset 4px 0 var(--fb-server-tint); }
""" + "".join(
    f".fb-beside:has(.fb-f{n}:hover) .fb-f{n} {{ outline: 2px solid var(--fb-ink); }}\n"
    for n in range(FIELD_CLASSES)
)
"""For a message; pointing at a field outlines its bytes, and the other way round."""

DIFF: Final = """
.fb.fb-frame .fb-diff td { font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
.fb.fb-frame .fb-diff th { white-space: nowrap; } .fb.fb-frame .fb-diff pre { overflow-x: visible; }
.fb.fb-frame .fb-diff .fb-expected { background: var(--fb-client-tint); }
.fb.fb-frame .fb-diff .fb-got { background: var(--fb-server-tint); }
.fb.fb-frame .fb-diff pre { margin: 0; }
"""


def frame(*parts: str, style: str = "") -> Markup:
    """Parts in one element of our own theme; what is not `Markup` is escaped."""
    return tag("div", tag("style", Markup(THEME + FRAME + style)), *parts, class_="fb fb-frame")


def table(head: tuple[str, ...], rows: list[Markup], class_: str | None = None) -> Markup:
    """A table with one line of headings over rows that are made already."""
    headings = tag("tr", *(tag("th", name, scope="col") for name in head))
    return tag("table", tag("thead", headings), tag("tbody", *rows), class_=class_)


# --- a conversation -----------------------------------------------------------------------------------------


def conversation(shown: Conversation) -> Markup:
    """Its verdict above its ladder; without the ladder where its messages are too many to keep."""
    verdict = shown.verdict
    name = Path(shown.capture).name
    parts = [tag("p", tag("span", verdict.verdict, class_="fb-word"), " ", verdict.reason)]
    if shown.in_memory:
        parts.append(Markup(shown.svg))
    else:
        words = (
            "Its messages are more than are kept in memory, so its ladder is not drawn here; "
            "plot() reads them all and draws it."
        )
        where = f"{name}, conversation {shown.number}: {shown.client} → {shown.server}"
        parts += [tag("p", where, class_="fb-pale"), tag("p", words, class_="fb-pale")]
    return frame(*parts)


# --- the result of a replay ---------------------------------------------------------------------------------


def replay(result: Result) -> Markup:
    """Outcome, what was compared, and each difference: expected beside got, with the bytes around it."""
    told = telling.describe(replace(result, differences=[], differences_not_kept=0))[1:]
    mark = "✓" if result.outcome is Outcome.PASS else "?" if result.outcome is Outcome.INCONCLUSIVE else "✗"
    parts = [
        tag("p", tag("span", f"{mark} {result.outcome}", class_="fb-word"), " ", result.reason),
        tag("p", _where(result), class_="fb-pale"),
        *(tag("p", line.strip(), class_="fb-pale") for line in told),
    ]
    rows = []
    around: tuple[object, ...] = ()
    for one in result.differences[: telling.SHOWN]:
        nth = f" #{one.nth}" if one.nth else ""
        rows.append(
            tag(
                "tr",
                tag("th", f"{one.message}{nth}.{one.field}", scope="row"),
                tag("td", str(one.expected), class_="fb-expected"),
                tag("td", str(one.got), class_="fb-got"),
            )
        )
        here = one.message, one.nth, one.at
        if one.at is not None and here != around:
            for word, data in (("expected", one.expected_bytes), ("got", one.got_bytes)):
                if data:
                    side = "recorded" if word == "expected" else "live"
                    about = tag("td", f"{side}, from byte {one.at:,}", class_="fb-pale")
                    rows.append(
                        tag(
                            "tr", about, tag("td", tag("pre", hex_line(data)), colspan=2, class_=f"fb-{word}")
                        )
                    )
        around = here
    if rows:
        parts.append(table(("field", "recorded", "live"), rows, class_="fb-diff"))
    hidden = len(result.differences) - telling.SHOWN + result.differences_not_kept
    if hidden > 0:
        parts.append(tag("p", f"and {plural(hidden, 'more difference')}", class_="fb-pale"))
    return frame(*parts, style=DIFF)


def _where(result: Result) -> str:
    return f"conversation {result.conversation} of {Path(result.capture).name} → {result.to}"
