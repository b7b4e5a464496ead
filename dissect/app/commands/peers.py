# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte peers`: the programs that the lab can start."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dissect.app import terminal
from dissect.app.terminal import Cell, Column, Table
from dissect.lab.errors import LabError
from dissect.lab.lab import Lab
from dissect.lab.peers import installed


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--peers", type=Path, action="append", default=[], metavar="FILE", help="a TOML file with more peers"
    )
    parser.add_argument(
        "--json", action="store_true", help="NDJSON on standard output, and nothing else there"
    )
    parser.epilog = "examples:\n  firstbyte peers\n  firstbyte peers --peers my-builds.toml"


def run(args: Namespace) -> int:
    """Print a row a peer: what it is, its version here, or which package brings it."""
    try:
        with Lab(files=args.peers) as lab:
            rows: list[list[str | Cell]] = []
            for name, peer in lab.peers.items():
                here = installed(peer)
                version = lab.version(name) if here else None
                if args.json:
                    row = {"peer": name, "role": peer.role, "protocol": peer.protocol, "installed": here}
                    print(json.dumps({**row, "version": version, "package": list(peer.package)}))
                    continue
                state = Cell(version or "installed", "good") if here else Cell("not installed", "warn")
                rows.append(
                    [
                        name,
                        Cell(str(peer.role), str(peer.role) if peer.role in ("client", "server") else "dim"),
                        str(peer.protocol or ""),
                        state,
                        " ".join(peer.package),
                        peer.notes or "",
                    ]
                )
    except LabError as error:
        raise terminal.Unusable(str(error)) from None
    if not args.json:
        columns = [Column(title) for title in ("peer", "role", "protocol", "version here")]
        columns.append(Column("package", fit="wrap"))
        print(Table([*columns, Column("notes", fit="wrap", style="dim")]).render(rows), end="")
    return 0
