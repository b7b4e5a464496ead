# SPDX-License-Identifier: GPL-2.0-or-later
"""Every notebook runs from clean, says again what is committed with it, and agrees with its text form."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import nbformat
import pytest

from tools import notebooks
from tools.notebooks import FOLDER

NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def committed(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


GROWS = "all-recordings"
"""The tag of a cell whose output changes with every recording that is added: only its kind is compared."""


def outputs(notebook: Any) -> list[list[tuple[str, str]]]:
    """For each code cell, the kinds of its outputs, and their text."""
    return [
        [
            (one.output_type, "" if GROWS in cell.metadata.get("tags", []) else text(one))
            for one in cell.outputs
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def text(output: Any) -> str:
    """The text of an output; what is shown beside it as a page or a picture depends on what draws it."""
    if output.output_type == "stream":
        return str(output.text)
    return str(output.get("data", {}).get("text/plain", ""))


def pages(notebook: Any) -> list[str]:
    """The outputs that are HTML."""
    return [
        str(one.data["text/html"])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for one in cell.outputs
        if "text/html" in one.get("data", {})
    ]


def test_there_are_three_and_each_has_its_text_form() -> None:
    assert len(NAMES) == 3
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_says_what_is_committed(name: str) -> None:
    fresh = notebooks.from_text(FOLDER / f"{name}.md")
    notebooks.run(fresh)
    assert outputs(fresh) == outputs(committed(name))
    assert len(pages(fresh)) == len(pages(committed(name)))


@pytest.mark.parametrize("name", NAMES)
def test_the_text_form_agrees(name: str) -> None:
    """Cell by cell; where it fails, run tools/notebooks.py."""
    wanted = [(cell.cell_type, cell.source) for cell in committed(name).cells]
    assert [
        (cell.cell_type, cell.source) for cell in notebooks.from_text(FOLDER / f"{name}.md").cells
    ] == wanted


@pytest.mark.parametrize("name", NAMES)
def test_it_is_committed_with_its_outputs_and_pictures(name: str) -> None:
    notebook = committed(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell.outputs) for cell in code) >= 5
    assert not [one for cell in code for one in cell.outputs if one.output_type == "error"]
    assert not [one for cell in code for one in cell.outputs if one.get("name") == "stderr"]
    assert any("<svg" in page or "fb-diff" in page for page in pages(notebook))


class Fetched(HTMLParser):
    """What a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "embed"):
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (
                name in ("src", "href", "xlink:href") and not str(value).startswith("#")
            ):
                self.found.append(f"{tag} {name}={value}")


@pytest.mark.parametrize("name", NAMES)
def test_its_outputs_fetch_nothing_and_run_nothing(name: str) -> None:
    for page in pages(committed(name)):
        parser = Fetched()
        parser.feed(page)
        assert not parser.found
        assert not re.search(r"@import|url\((?!#)", page)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_links_to_is_there(name: str) -> None:
    for cell in committed(name).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)]+)\)", cell.source):
                assert (FOLDER / target).exists(), target
