# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures for a page: its theme's colours, ids of their own, and colours that mean something left alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dissect import firstbyte as fb
from dissect.timing.plots import sheet
from tests.house.floors import ROOT

TRIALS = ROOT / "tests/firstbyte/trials.ndjson"


@pytest.fixture
def picture() -> fb.Picture:
    return fb.open(ROOT / "pcaps/spicy--qemu-vnc.pcapng")[0].plot()


def test_named_colours_become_variables(picture: fb.Picture) -> None:
    svg = picture.svg
    bare = re.sub(r"var\(--fb-[a-z-]+, #[0-9a-f]{6}\)", "", svg)
    assert not set(re.findall(r"#[0-9a-f]{6}\b", bare)) & {sheet.INK, sheet.BLUE, sheet.WASH, "#ffffff"}
    assert "var(--fb-ink, #1a1a1a)" in svg


def test_shades_and_the_words_on_them_stay() -> None:
    svg = fb.trials(TRIALS).plot().svg
    shade = re.search(r'id="fb[0-9a-f]{8}-cell-time".*?style="fill: (#[0-9a-f]{6});', svg, re.DOTALL)
    assert shade
    words = re.search(r'id="fb[0-9a-f]{8}-on-shade".*?</g>', svg, re.DOTALL)
    assert words
    assert "var(" not in words[0]
    assert "2.00 s" in words[0]


def test_two_in_one_page_do_not_share_an_id() -> None:
    run = fb.trials(TRIALS)
    one, two = run.plot("heat").svg, run.plot("trials").svg
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert all(ids)
    assert not ids[0] & ids[1]
    for svg, mine in zip((one, two), ids, strict=True):
        pointed = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert pointed
        assert pointed <= mine


def test_it_is_saved_as_it_was_drawn(picture: fb.Picture, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.svg")
    assert "var(" not in (tmp_path / "a.svg").read_text()
    picture.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="jpg"):
        picture.save(tmp_path / "a.jpg")


def test_the_title_is_text(picture: fb.Picture) -> None:
    svg = fb.Picture(picture.figure, '"><script>').svg
    assert "<script" not in svg
    assert 'aria-label="&quot;&gt;&lt;script&gt;"' in svg
