# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the notebooks and write them with their outputs: notebooks/NAME.md -> notebooks/NAME.ipynb.

    python tools/notebooks.py [NAME...]

The text form is the one to edit and to review; the other one is what is read and run. The tests hold that the
two agree and that a fresh run says the same. Needs `pip install -e '.[test]'`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"


def from_text(path: Path) -> Any:
    """The notebook of a text form, without outputs. Its cells are numbered, so that a diff is small."""
    import jupytext  # type: ignore[import-untyped]

    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        cell["metadata"] = _tags(cell)
    notebook["metadata"] = {"kernelspec": notebook["metadata"]["kernelspec"]}
    return notebook


def _tags(cell: Any) -> dict[str, Any]:
    """What is kept of a cell's metadata: its tags."""
    return {"tags": list(cell["metadata"]["tags"])} if "tags" in cell["metadata"] else {}


def run(notebook: Any) -> None:
    """Run all cells from clean, in the folder of notebooks; what is left are outputs and no times."""
    from nbclient import NotebookClient

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
    for cell in notebook.cells:
        cell["metadata"] = _tags(cell)
    notebook["metadata"].pop("language_info", None)


def main() -> None:
    """Write those that are named, or all."""
    import nbformat

    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.md"))
    for name in names:
        notebook = from_text(FOLDER / f"{name}.md")
        run(notebook)
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")  # type: ignore[no-untyped-call]
        print(f"notebooks/{name}.ipynb")


if __name__ == "__main__":
    main()
