# SPDX-License-Identifier: GPL-2.0-or-later
"""Markdown: strangers' text is neither markup nor a mention, and a summary has its limit."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.report.markdown import LONGEST, block, code, details, escape, html_code, table, within

NASTY = "<img src=x> @everyone #1 [a](b) | `x` **b** \x1b[2J\n- c"


def test_text_cannot_steer() -> None:
    text = escape(NASTY)
    assert "\n" not in text
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)[<>|`*\[\]]", text)
    assert not re.search(r"[@#]\w", text)


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_a_cell_stays_a_cell(text: str) -> None:
    for cell in (escape(text), code(text)):
        lines = table(["a", "b"], [[cell, "x"]]).splitlines()
        assert len(lines) == 3
        assert len(re.findall(r"(?<!\\)\|", lines[2])) == 3


@settings(max_examples=100)
@given(st.lists(st.text(max_size=20), max_size=5))
def test_a_block_ends_where_it_should(lines: list[str]) -> None:
    text = block(lines, "diff")
    fence = re.match("`+", text)
    assert fence is not None
    inside = text.splitlines()[1:-1]
    assert not any(line.startswith(fence[0]) for line in inside)
    assert text.splitlines()[-1] == fence[0]


def test_code_with_backticks() -> None:
    assert code("a`b") == "``a`b``"
    assert code("`") == "`` ` ``"
    assert code("") == "` `"


def test_a_summary_is_html() -> None:
    """GitHub and GitLab read no Markdown between these tags."""
    assert details(html_code("a<b`c`"), "*x*").startswith(
        "<details><summary><code>a&lt;b`c`</code></summary>\n\n"
    )


def test_a_summary_has_its_limit() -> None:
    parts = ["x" * 10_000] * 20
    text = within(parts)
    assert len(text) < LONGEST + 200
    assert "15 more parts are left out here" in text
    assert within(["a", details("b", "c")]) == "a\n\n<details><summary>b</summary>\n\nc\n\n</details>\n"
