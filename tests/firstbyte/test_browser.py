# SPDX-License-Identifier: GPL-2.0-or-later
"""What shows itself in a notebook, in a real browser: its theme, its fields, and nothing that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dissect.report.ladder import DARK, LIGHT
from tests.firstbyte.test_display import shown
from tests.report.browser import Browser

pytestmark = pytest.mark.program("chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them in one page, as the outputs of a notebook are."""
    folder = tmp_path_factory.mktemp("page")
    found = "<hr>".join(f'<div class="jp-RenderedHTMLCommon">{one}</div>' for one in shown(folder).values())
    # What a notebook says of tables and code, which is not what ours look like.
    style = (
        ".jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th { text-align: right }"
        ".jp-RenderedHTMLCommon tbody tr:nth-child(odd) { background: red }"
    )
    path = folder / "page.html"
    head = f'<!DOCTYPE html><html data-ready="yes"><meta charset="utf-8"><style>{style}</style>'
    path.write_text(f"{head}<body>{found}</body>")
    return path


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Browser]:
    with Browser() as one:
        one.look()
        one.open(page.as_uri())
        yield one


def test_it_loads_quietly_and_fetches_nothing(browser: Browser, page: Path) -> None:
    assert browser.said == []
    assert browser.fetched == [page.as_uri()]
    assert browser.run("document.scripts.length") == 0


def paper(browser: Browser) -> list[str]:
    """The background of each frame, as #rrggbb."""
    found = browser.run(
        "[...new Set([...document.querySelectorAll('.fb-frame')]"
        ".map(one => getComputedStyle(one).backgroundColor))]"
    )
    return [
        "#" + "".join(f"{int(part):02x}" for part in one.removeprefix("rgb(").rstrip(")").split(","))
        for one in found
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("notebook", [None, "true", "false"])
def test_the_notebooks_theme_goes_before_the_systems(
    browser: Browser, scheme: str, notebook: str | None
) -> None:
    browser.look(scheme=scheme)
    browser.run(
        "delete document.body.dataset.jpThemeLight"
        if notebook is None
        else f"document.body.dataset.jpThemeLight = '{notebook}'"
    )
    dark = scheme == "dark" if notebook is None else notebook == "false"
    assert paper(browser) == [(DARK if dark else LIGHT)["paper"]]
    ink = browser.run("getComputedStyle(document.querySelector('.fb-frame svg text')).fill")
    wanted = (DARK if dark else LIGHT)["ink"]
    assert ink == f"rgb({', '.join(str(int(wanted[at : at + 2], 16)) for at in (1, 3, 5))})"


def test_pointing_at_a_field_outlines_its_bytes_and_back(browser: Browser) -> None:
    row = "document.querySelector('.fb-fields tr.fb-f1 th')"
    byte = "document.querySelector('.fb-beside pre span.fb-f1')"
    for here, there in ((row, byte), (byte, row.replace(" th", ""))):
        browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
        assert browser.run(f"getComputedStyle({there}).outlineStyle") == "none"
        at = browser.run(
            f"(() => {{ {here}.scrollIntoView({{block: 'center'}}); const r = {here}.getBoundingClientRect();"
            " return [r.x + 3, r.y + r.height / 2]; })()"
        )
        browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=at[0], y=at[1])
        browser.until(f"getComputedStyle({there}).outlineStyle === 'solid'")


def test_the_notebooks_own_style_does_not_get_in(browser: Browser) -> None:
    cell = "document.querySelector('.fb-fields tr:first-child th')"
    assert browser.run(f"getComputedStyle({cell}).textAlign") == "left"
    assert browser.run(f"getComputedStyle({cell}.parentElement).backgroundColor") == "rgba(0, 0, 0, 0)"


def test_nothing_is_wider_than_a_narrow_window(browser: Browser) -> None:
    browser.look(width=700)
    assert browser.run("document.documentElement.scrollWidth <= 700")
    browser.look()
