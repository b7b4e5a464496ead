# SPDX-License-Identifier: GPL-2.0-or-later
"""What shows itself in a notebook: escaped, in the notebook's theme, with nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dissect import firstbyte as fb
from dissect.firstbyte import display
from dissect.replay.compare import Difference
from dissect.replay.outcome import Outcome, Result
from dissect.report.markup import VOID
from tests.app.captures import write
from tests.dissection.conversations import MS
from tests.firstbyte.test_conversations import HELLO
from tests.house.floors import ROOT

BAD = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The elements of a page, and whether each that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def result() -> Result:
    wrong = Difference("ServerInit", "name_string", BAD, "other", 0, 4, b"<b>x", b"<i>y")
    return Result(
        f"{BAD}.pcapng", None, 0, Outcome.DIFF, f"because {BAD}", differences=[wrong], received_bytes=4
    )


def shown(tmp_path: Path) -> dict[str, str]:
    """Everything that shows itself, made of a capture in which a stranger chose the desktop's name."""
    name = BAD.encode()
    server_init = HELLO[-1][1]
    assert isinstance(server_init, bytes)
    evil = server_init[:20] + len(name).to_bytes(4, "big") + name
    path = write(tmp_path / "evil.pcapng", [*HELLO[:-1], (HELLO[-1][0], evil, 7 * MS)])
    (conversation,) = fb.open(path)
    assert conversation.messages["ServerInit"]["name_string"] == name
    trials = fb.trials(ROOT / "tests/firstbyte/trials.ndjson")
    for row in trials:
        row.client = f"{BAD}{row.client}"
    pictures = fb.open(ROOT / "pcaps/spicy--qemu-vnc.pcapng", path)
    return {
        "conversation": conversation._repr_html_(),
        "message": conversation.messages["ServerInit"]._repr_html_(),
        "table": conversation.table()._repr_html_(),
        "ladder": conversation.plot()._repr_html_(),
        "times": pictures.plot()._repr_html_(),
        "trials": trials._repr_html_() or "",
        "curves": trials.plot("curves")._repr_html_(),
        "replay": display.replay(result()),
    }


def test_what_a_stranger_wrote_is_text_and_nothing_is_fetched(tmp_path: Path) -> None:
    for what, page in shown(tmp_path).items():
        elements = Page(page).found
        assert "script" not in {tag for tag, _ in elements}, what
        assert BAD not in page, what
        assert "&lt;script&gt;" in page or what in ("times", "table"), what  # cut before it, or without names
        for tag, attributes in elements:
            assert tag not in ("img", "link", "iframe", "object", "embed", "foreignobject"), what
            for name, value in attributes.items():
                assert not name.startswith("on"), what
                if name in ("href", "src", "xlink:href"):
                    assert (value or "").startswith("#"), (what, value)
        links = {link for link in re.findall(r"https?://[^\s\"')<]+", page) if "www.w3.org" not in link}
        assert not links, what
        assert "@import" not in page
        assert set(re.findall(r"url\((.)", page)) <= {"#"}, what


def test_all_follow_the_theme_of_system_and_notebook(tmp_path: Path) -> None:
    for what, page in shown(tmp_path).items():
        assert "@media (prefers-color-scheme: dark)" in page, what
        assert '[data-jp-theme-light="false"] .fb' in page, what
        assert 'class="fb fb-frame"' in page, what


def test_a_conversation_shows_its_verdict_and_its_ladder() -> None:
    (conversation,) = fb.open(ROOT / "pcaps/gvncviewer--qemu-spice.pcapng")
    page = conversation._repr_html_()
    assert '<span class="fb-word">wrong-protocol</span>' in page
    assert "server noticed after" in page
    assert page.count("<svg") == 1


def test_a_replay_shows_its_differences() -> None:
    page = display.replay(result())
    assert "✗ diff" in page
    assert re.search(r'<th scope="row">ServerInit.name_string</th><td class="fb-expected">&lt;script', page)
    assert '<td class="fb-got">other</td>' in page
    assert "3c 62 3e 78  |&lt;b&gt;x|" in page
    passed = Result("a.pcapng", None, 0, Outcome.PASS, "answered as recorded")
    assert "✓ pass" in display.replay(passed)
    many = result()
    many.differences *= 30
    many.differences_not_kept = 5
    assert "and 15 more differences" in display.replay(many)


@pytest.mark.parametrize("name", ["gvncviewer--qemu-spice", "spicy--qemu-spice-devices"])
def test_in_ipython_it_is_html_with_text_beside_it(name: str) -> None:
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    for conversation in fb.open(ROOT / f"pcaps/{name}.pcapng"):
        data, _ = formatter.format(conversation)
        assert set(data) == {"text/plain", "text/html"}
        assert data["text/plain"] == repr(conversation)
