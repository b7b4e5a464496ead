# SPDX-License-Identifier: GPL-2.0-or-later
"""Every notebook runs from clean, and says again what is committed with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def opened(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def outputs(notebook: Any) -> list[list[tuple[str, str]]]:
    """For each code cell, the kinds of its outputs, and the text of those that are text."""
    return [
        [(one.output_type, text(one)) for one in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def text(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    data = output.get("data", {})
    # A picture is compared by being one: its coordinates depend on the version of what draws it.
    return "picture" if "image/svg+xml" in data else str(data.get("text/plain", ""))


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_and_says_what_is_committed(path: Path) -> None:
    committed, fresh = opened(path), opened(path)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(fresh, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
    wanted = outputs(committed)
    assert sum(bool(one) for one in wanted) >= 5, "committed without its outputs"
    assert any(("display_data", "picture") in one for one in wanted), "committed without its pictures"
    assert outputs(fresh) == wanted
