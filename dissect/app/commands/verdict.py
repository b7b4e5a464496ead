# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte verdict CAPTURE...`: one row a conversation."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace

from dissect.app import terminal
from dissect.app.captures import add_capture_arguments, read_captures
from dissect.app.terminal import Cell, Column, Table
from dissect.app.verdicts import noticed, outcome, spoke
from dissect.dissection.verdict import Verdict
from dissect.stream.side import Side
from dissect.stream.text import safe


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_capture_arguments(parser, many=True)
    parser.epilog = "example: firstbyte verdict pcaps/*.pcapng"


def run(args: Namespace) -> int:
    """Print the verdicts; 0 where at least one conversation was found."""
    found = read_captures(args.captures, records=False, only=args.conversation)
    if args.json:
        for name, dissected in found:
            print(json.dumps(dissected.verdict.to_json(name)))
        return 0
    rows: list[tuple[str, Verdict]] = [(name, dissected.verdict) for name, dissected in found]
    table = Table(
        [
            Column("#", align="right"),
            Column("client"),
            Column("server"),
            Column("spoke"),
            Column("verdict"),
            Column("server noticed", align="right"),
            Column("client noticed", align="right"),
            Column("why", fit="wrap", style="dim"),
        ]
    )
    cells = [_cells(verdict) for _, verdict in rows]
    table.fit(cells)
    several = len({name for name, _ in rows}) > 1
    last = None
    for (name, _), row in zip(rows, cells, strict=True):
        if name != last:
            if several:
                print(("\n" if last is not None else "") + terminal.paint(safe(name), "head"))
            if last is None or several:
                print("\n".join(table.head()))
            last = name
        print("\n".join(table.row(row)))
    sys.stdout.flush()
    return 0


def _cells(verdict: Verdict) -> list[str | Cell]:
    return [
        str(verdict.conversation),
        Cell(verdict.client, "client"),
        Cell(verdict.server, "server"),
        spoke(verdict),
        outcome(verdict),
        *(noticed(verdict, side) for side in (Side.SERVER, Side.CLIENT)),
        verdict.reason,
    ]
