# SPDX-License-Identifier: GPL-2.0-or-later
"""Text is measured before it is placed: what is said to fit does fit, and nothing vanishes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.timing.plots.sheet import cut, drawable, font, width, wrap
from tests.timing.paper import NASTY

FACE = font(10)


@given(st.text("abc WWW,;", max_size=300), st.floats(0.3, 6), st.integers(1, 5))
def test_wrapped_text_fits_and_is_all_there_or_says_that_it_is_not(
    text: str, space: float, most: int
) -> None:
    lines = wrap(text, space, FACE, most)
    assert len(lines) <= most
    assert all(width(line, FACE) <= space for line in lines)
    whole = "".join(lines).replace(" ", "")
    if whole.endswith("…"):
        assert text.replace(" ", "").startswith(whole[:-1])
        assert len(lines) == most
    else:
        assert whole == text.replace(" ", "")


def test_words_are_kept_whole_where_there_is_room() -> None:
    assert wrap("one two three", width("one two", FACE) + 0.01, FACE, 2) == ["one two", "three"]
    assert wrap("", 1, FACE, 3) == []
    assert wrap("x" * 100, width("x" * 60, FACE), FACE, 2) == ["x" * 60, "x" * 40]


@pytest.mark.parametrize("text", ["short", "W" * 500, "i" * 500])
def test_cut_text_is_the_longest_that_fits(text: str) -> None:
    short = cut(text, 2.0, FACE)
    assert width(short, FACE) <= 2.0
    if short != text:
        assert short.endswith("…")
        assert width(text[: len(short)] + "…", FACE) > 2.0


def test_what_the_font_lacks_is_written_as_its_number() -> None:
    assert drawable("naïve → Ω ≥ 3 µs") == "naïve → Ω ≥ 3 µs"
    assert drawable("漢🖥") == "\\u6f22\\U0001f5a5"
    assert drawable(NASTY).isprintable()
