# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte schema [NAME]`: the JSON Schemas of what the commands print with --json."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from dissect.app.terminal import Column, Table

FOLDER = Path(__file__).resolve().parents[1] / "schemas"
"""The schemas (JSON Schema 2020-12), one file a command."""

EPILOG = """\
Each line that `firstbyte NAME --json` prints is one object, which its schema (JSON Schema 2020-12) describes.

examples:
  firstbyte schema
  firstbyte schema verdict
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", nargs="?", choices=names(), metavar="NAME", help="a command; none: list them")
    parser.add_argument(
        "--json", action="store_true", help="NDJSON on standard output, and nothing else there"
    )
    parser.epilog = EPILOG


def names() -> list[str]:
    """The commands that have a schema."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> dict[str, Any]:
    """The schema of one command's objects."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return found


def run(args: Namespace) -> int:
    """Print one schema, or which there are."""
    if args.name is not None:
        schema = load(args.name)
        print(json.dumps(schema) if args.json else json.dumps(schema, indent=2, ensure_ascii=False))
    elif args.json:
        for name in names():
            print(
                json.dumps({"name": name, "title": load(name)["title"], "path": str(FOLDER / f"{name}.json")})
            )
    else:
        table = Table([Column("schema"), Column("of each line", fit="wrap")])
        print(table.render([[name, load(name)["title"]] for name in names()]), end="")
    return 0
