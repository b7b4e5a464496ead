# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing that a stranger chose becomes markup, wherever it is put."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from dissect.report.markup import Markup, asset, data, joined, tag, text
from dissect.stream.text import safe

NASTY = "</script><script>alert(1)</script>\"' onload=x & <!-- \u2028 \u202e \0 ]]>"
ANY = st.text(st.characters(codec=None), max_size=40) | st.just(NASTY)


class Seen(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@given(ANY)
def test_text_stays_text_in_content_and_attributes(words: str) -> None:
    seen = Seen(tag("p", "a", words, title=words, hidden=True, lang=None))
    assert seen.tags == [("p", {"title": safe(words), "hidden": None})]
    assert seen.words == "a" + safe(words)


@given(st.recursive(ANY | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_data_cannot_end_its_element(value: object) -> None:
    found = data({"x": value})
    assert not set(found) & set("<>&\u2028\u2029")
    found.encode()
    assert json.loads(found) == {"x": value}


def test_what_is_markup_is_not_escaped_again() -> None:
    inner = tag("b", "1 < 2")
    assert tag("p", inner, " & ", for_="x", data_n=3) == '<p for="x" data-n="3"><b>1 &lt; 2</b> &amp; </p>'
    assert text(inner) is inner
    assert joined(inner, "<") == "<b>1 &lt; 2</b>&lt;"
    assert tag("br") == "<br>"
    assert Markup("<i>").__html__() == "<i>"


def test_assets_lose_their_licence_line_only() -> None:
    assert asset("ladder.css").startswith(".fb-ladder")
