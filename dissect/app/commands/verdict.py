# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte verdict CAPTURE...`: one row a conversation."""

from __future__ import annotations

import json
import os
import stat
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TextIO

from dissect.app import extract, terminal
from dissect.app.captures import Captures, Wanted, add_capture_arguments, add_selection_arguments
from dissect.app.main import INTERRUPTED
from dissect.app.terminal import Cell, Column, Table
from dissect.app.verdicts import Lines, noticed, outcome, spoke
from dissect.capture.notes import name_of, named
from dissect.dissection.spice_links import tie
from dissect.dissection.verdict import Verdict
from dissect.stream.side import Side
from dissect.stream.text import safe

EPILOG = """\
examples:
  firstbyte verdict pcaps/gvncviewer--qemu-spice.pcapng
  firstbyte verdict --when --tz Europe/Berlin pcaps/spicy-*.pcapng
  firstbyte verdict --verdict wrong-protocol -w odd.pcapng day-*.pcap.gz --merge
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_capture_arguments(parser, many=True)
    add_selection_arguments(parser)
    parser.add_argument(
        "-w", "--write", metavar="OUT.pcapng", help="write the packets of these conversations, unchanged"
    )
    parser.add_argument("--when", action="store_true", help="show when each conversation began")
    terminal.add_zone_arguments(parser)
    parser.epilog = EPILOG


def run(args: Namespace) -> int:
    """Print the verdicts; 0 where at least one conversation was found."""
    keep = None
    if args.filter is not None:
        from dissect.app.bpf import compile_filter

        keep = compile_filter(args.filter)
    if args.write is not None:
        if args.follow or "-" in args.captures:
            raise terminal.Unusable("-w reads the captures twice, which - and --follow do not allow")
        extract.refuse_what_cannot_be_written(args.write, args.captures)
    captures = Captures(
        args.captures,
        records=False,
        only=args.conversation,
        keep=keep,
        merge=args.merge,
        follow=args.follow,
        interruptible=True,
        jobs=args.jobs,
    )
    wanted = Wanted(args.host, args.port, args.verdict)
    chosen = None if args.write is None else extract.Chosen(merge=args.merge)
    code = _print(captures, wanted, chosen, args)
    if chosen is not None and captures.interrupted:
        terminal.complain("interrupted: no packets were written", source=args.write)
    elif chosen is not None:
        packets, found = extract.write(args.write, args.captures, chosen, keep)
        terminal.complain(
            f"{terminal.plural(packets, 'packet')} of {terminal.plural(found, 'conversation')} written",
            source=args.write,
        )
    return code


def _print(captures: Captures, wanted: Wanted, chosen: extract.Chosen | None, args: Namespace) -> int:
    rows: list[tuple[str, Verdict]] = []
    # On a pipe or a terminal each row goes out as it is decided; a file may wait for its buffer.
    at_once = not _is_file(sys.stdout)
    partial = shown = 0
    lines = Lines()
    for name, dissected in captures:
        verdict = dissected.verdict
        if not wanted(verdict, captures.names.get(name)):
            continue
        shown += 1
        if chosen is not None:
            chosen.add(name, dissected.conversation)
        unfinished = captures.interrupted and dissected.open
        partial += unfinished
        if args.json:
            names = captures.names.get(name)
            if names or unfinished:
                line = _line(name, verdict, names or {}, unfinished=unfinished)
            else:
                line = lines.line(name, verdict)
            print(line, flush=at_once)
        else:
            rows.append((name, verdict))
    if not args.json:
        _table(rows, captures.names, when=args.when)
    sys.stdout.flush()
    if captures.found and not shown:
        terminal.complain(f"none of {terminal.plural(captures.found, 'conversation')} is asked for")
    if captures.interrupted:
        terminal.complain(
            "interrupted: this is what was found so far; "
            f"{terminal.plural(partial, 'conversation')} had not ended by then"
        )
        return INTERRUPTED
    return 0


def _line(name: str, verdict: Verdict, names: Mapping[str, str], *, unfinished: bool) -> str:
    """A line of JSON that says more than the verdict."""
    found = verdict.to_json(name)
    for side, end in ((Side.CLIENT, verdict.client), (Side.SERVER, verdict.server)):
        if (called := name_of(end, names)) is not None:
            found[f"{side}_name"] = called
    if unfinished:
        found["partial"] = True
    return json.dumps(found)


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _table(rows: list[tuple[str, Verdict]], names: dict[str, dict[str, str]], *, when: bool) -> None:
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
    cells = [_cells(verdict, names.get(name, {}), when=when) for name, verdict in rows]
    table.fit(cells)
    several = len({name for name, _ in rows}) > 1
    last = None
    for (name, _), row in zip(rows, cells, strict=True):
        if name != last:
            if several:
                heading = terminal.link(name, terminal.paint(safe(name), "head"))
                print(("\n" if last is not None else "") + heading)
            if last is None or several:
                print("\n".join(table.head()))
            last = name
        print("\n".join(table.row(row)))
    for name in dict.fromkeys(name for name, _ in rows):
        for group in tie(verdict for its, verdict in rows if its == name):
            print()
            for line in terminal.wrap(safe(group.title), terminal.terminal_width()):
                print(line)


def _cells(verdict: Verdict, names: Mapping[str, str], *, when: bool) -> list[str | Cell]:
    return [
        str(verdict.conversation),
        Cell(named(verdict.client, names), "client"),
        Cell(named(verdict.server, names), "server"),
        spoke(verdict),
        outcome(verdict),
        *(noticed(verdict, side) for side in (Side.SERVER, Side.CLIENT)),
        f"began {terminal.timestamp(verdict.start_ns)}: {verdict.reason}" if when else verdict.reason,
    ]
