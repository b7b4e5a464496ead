# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder in HTML and SVG says what the rungs say; `test_page` looks at it in a browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dissect.capture import open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.report.ladder import DARK, LIGHT, STYLE, THEME, ladder, ladder_svg
from dissect.stream.records import Gap, Message, Record, Violation
from dissect.stream.side import Side
from dissect.timing.rungs import Rungs
from tests.dissection.conversations import ERROR_REPLY, FIN, MS, RST, C, S, Step, run
from tests.report.test_markup import NASTY, Seen

PCAPS = sorted((Path(__file__).resolve().parents[2] / "pcaps").glob("*.pcapng"))
CURE: list[Step] = [(C, b"RFB ", 1_860 * MS), (S, ERROR_REPLY, 1_861 * MS), (S, FIN, 1_862 * MS)]


def kinds(markup: str) -> list[str]:
    """The classes of each row of a ladder's body."""
    return [str(said.get("class")) for name, said in Seen(markup).tags if name == "tr"][1:]


def test_rows_bars_and_marks() -> None:
    markup = ladder(Rungs(run([*CURE, (C, RST, 1_863 * MS)])), capture="a.pcap", names={C: "gvncviewer 1.3"})
    assert kinds(markup) == [
        "fb-open",
        "fb-wait",
        "fb-message fb-client",
        "fb-message fb-server",
        "fb-call fb-server",
        "fb-ending fb-server",
        "fb-ending fb-client fb-rst",
        "fb-call fb-client fb-open-end",
    ]
    assert markup.count("fb-bar-server") == 2  # the answer, and the mark
    assert markup.count("fb-bar-client") == 4
    words = Seen(markup).words
    for part in ("gvncviewer 1.3", "spoke SPICE", "client → server: ProtocolVersion", "nothing for 1.86 s",
                 "server noticed after 1 ms and 4 bytes: error reply", "★", "☆", "■", "✖", "194 B",
                 "a.pcap, conversation 0"):  # fmt: skip
        assert part in words, part


def odd() -> Dissected:
    """A conversation with everything odd, named by somebody who means harm."""
    whole = run([], end=5_000 * MS)
    records: list[Record] = [
        Message(S, "rfb", NASTY, 0, 9, b"<b>\"'&", MS, MS, note=NASTY),
        Gap(C, "rfb", 0, 1_234, 2 * MS),
        Violation(S, "rfb", NASTY, 9, 1, 3 * MS, "state", f"why: {NASTY}"),
        *(Message(C, "rfb", "PointerEvent", 5 + n, 1, b"\5", (4 + n) * MS, (4 + n) * MS) for n in range(90)),
    ]
    return replace(whole, records=records)


def test_gaps_violations_and_folds_show_and_text_is_text() -> None:
    rungs = Rungs(odd(), most=8)
    markup = ladder(rungs, capture=NASTY, names={C: NASTY, S: NASTY})
    seen = Seen(markup)
    assert {name for name, _ in seen.tags} <= {
        "table", "caption", "thead", "tbody", "tr", "th", "td", "div", "b", "br", "span",
    }  # fmt: skip
    allowed = {"class", "scope", "colspan"}
    assert {key for _, said in seen.tags for key in said} == allowed
    assert "lost 1,234 bytes of the client not in the capture" in seen.words
    assert "violation of the server: </script>" in seen.words
    assert "more messages" in seen.words
    picture = ladder_svg(rungs, capture=NASTY, names={C: NASTY, S: NASTY})
    names = {element.tag.partition("}")[2] for element in ElementTree.fromstring(picture).iter()}
    assert names == {"svg", "style", "title", "desc", "rect", "path", "text", "g"}
    boxes = [one.attrib for one in ElementTree.fromstring(picture).iter() if one.get("class") == "box"]
    lefts = [float(one["x"]) for one in boxes if float(one["y"]) > 10]
    assert len(lefts) == 4
    assert min(lefts) > 104  # right of the client's lifeline


@pytest.mark.parametrize("path", PCAPS[::6], ids=lambda path: path.stem)
def test_of_recordings_both_forms_say_the_same(path: Path) -> None:
    with open_capture(path) as capture:
        dissected = next(dissect(read(capture)))
    rungs = Rungs(dissected)
    markup = ladder(rungs)
    assert len(kinds(markup)) == len(rungs.rows)
    root = ElementTree.fromstring(ladder_svg(rungs))
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    told = Seen(markup).words
    for row in rungs.rows:
        assert row.title in told
        assert any(text.startswith(row.title[:40]) for text in texts), row.title
    high = float(root.attrib["height"])
    assert all(
        0 < float(element.attrib["y"]) < high for element in root.iter("{http://www.w3.org/2000/svg}text")
    )


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read(colours: dict[str, str]) -> None:
    """A contrast of 4.5 to 1 at least, of every colour of text on every ground that it stands on."""
    grounds = {
        "ink": ("paper", "wash", "client-tint", "server-tint", "warn"),
        "pale": ("paper", "wash"),
        "client": ("paper", "wash"),
        "server": ("paper", "wash"),
        "link": ("paper", "wash"),
    }
    for ink, papers in grounds.items():
        for paper in papers:
            low, high = sorted((luminance(colours[ink]), luminance(colours[paper])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)


def test_styles_fetch_nothing_and_know_their_colours() -> None:
    assert not re.search(r"url\(|@import|https?:", THEME + STYLE)
    assert set(re.findall(r"var\(--fb-([a-z-]+)\)", STYLE)) <= set(LIGHT)
    assert LIGHT.keys() == DARK.keys()
    assert set(Side) == {C, S}
