# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte verdict CAPTURE...`: one row a conversation."""

from __future__ import annotations

import json
import os
import stat
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TextIO

from dissect.app import terminal
from dissect.app.captures import Captures, Wanted, add_capture_arguments, add_selection_arguments
from dissect.app.looking import is_pipe
from dissect.app.main import INTERRUPTED
from dissect.app.terminal import Cell, Column, Table
from dissect.app.verdicts import Lines, cells, columns, tell_comments
from dissect.capture.notes import Comment, name_of, named
from dissect.dissection.comments import Said, to_json
from dissect.dissection.reading import Dissected, DissectedMany
from dissect.dissection.spice_links import hosts_of, tie
from dissect.dissection.verdict import Verdict
from dissect.dissection.wholes import Shared
from dissect.stream.side import Side
from dissect.stream.text import safe

if TYPE_CHECKING:  # imported where packets are written
    from dissect.app import extract
    from dissect.app.spool import Spools

EPILOG = """\
examples:
  firstbyte verdict pcaps/gvncviewer--qemu-spice.pcapng
  firstbyte verdict --when --tz Europe/Berlin pcaps/spicy-*.pcapng
  firstbyte verdict --verdict wrong-protocol -w odd.pcapng day-*.pcap.gz --merge
  tcpdump -i lo -U -w - port 5900 | firstbyte verdict -
  tcpdump -w - | firstbyte verdict - -w odd.pcapng --verdict wrong-protocol

Conversations come as they are decided: at once where - is a pipe, and with --follow.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_capture_arguments(parser, many=True)
    add_selection_arguments(parser)
    parser.add_argument(
        "-w",
        "--write",
        metavar="OUT.pcapng",
        help="write the packets of these conversations, unchanged; of a pipe, and with --follow, at its end "
        "or Ctrl-C (a pipe is kept on the disk until then, 16 GiB at most)",
    )
    parser.add_argument("--when", action="store_true", help="show when each conversation began")
    parser.add_argument(
        "--comments",
        action="store_true",
        help="show what people wrote into the capture, on it and on packets of these conversations (large "
        "captures are read more slowly)",
    )
    terminal.add_zone_arguments(parser)
    parser.epilog = EPILOG


def run(args: Namespace) -> int:
    """Print the verdicts; 0 where at least one conversation was found."""
    keep = None
    if args.filter is not None:
        from dissect.app.bpf import compile_filter

        keep = compile_filter(args.filter)
    if args.write is None:
        return _run(args, keep, None, None)
    from dissect.app import extract

    extract.refuse_what_cannot_be_written(args.write, args.captures)
    with extract.spooling(args.write, args.captures) as spools:
        return _run(args, keep, extract.Chosen(merge=args.merge), spools)


def _run(
    args: Namespace, keep: extract.Keep | None, chosen: extract.Chosen | None, spools: Spools | None
) -> int:
    captures = Captures(
        args.captures,
        records=False,
        only=args.conversation,
        keep=keep,
        merge=args.merge,
        follow=args.follow,
        interruptible=True,
        jobs=args.jobs,
        noted=args.comments,
        spools=spools,
    )
    wanted = Wanted(args.host, args.port, args.verdict)
    code = _print(captures, wanted, chosen, args)
    waited = args.follow or (spools is not None and any(name in spools for name in args.captures))
    if chosen is not None and captures.interrupted and not waited:
        terminal.complain("interrupted: no packets were written", source=args.write)
    elif chosen is not None:
        from dissect.app import extract

        packets, found = extract.write(args.write, args.captures, chosen, keep, spools)
        if spools is not None and spools.full is not None:
            terminal.complain(
                f"not all that the pipe brought could be kept ({spools.full}): no later packets are written; "
                "let tcpdump write files (-C), and name them with --merge",
                source=args.write,
            )
        terminal.complain(
            f"{terminal.plural(packets, 'packet')} of {terminal.plural(found, 'conversation')} written",
            source=args.write,
        )
    return code


def _print(captures: Captures, wanted: Wanted, chosen: extract.Chosen | None, args: Namespace) -> int:
    table = _Rows(captures, args)
    # On a pipe or a terminal rows go out before more is read; a file may wait for its buffer.
    if not _is_file(sys.stdout):
        captures.before_more = sys.stdout.flush
    partial = shown = 0
    lines = Lines()
    for name, dissected in _apart(captures, wanted, each=chosen is not None):
        if isinstance(dissected, DissectedMany):
            shown += len(dissected)
            if args.json:
                sys.stdout.write(lines.many(name, dissected))
            else:
                table.add_many(name, dissected)
            continue
        verdict = dissected.verdict
        shown += 1
        if chosen is not None:
            chosen.add(name, dissected.conversation)
        unfinished = captures.interrupted and dissected.open
        partial += unfinished
        comments = captures.said(name, dissected) if args.comments else []
        if args.json:
            names = captures.names.get(name)
            if names or unfinished or args.comments:
                line = _line(name, verdict, names or {}, unfinished=unfinished)
                if args.comments:
                    line["comments"] = [to_json(comment) for comment in captures.general(name)]
                    line["comments"] += [said.to_json() for said in comments]
                print(json.dumps(line))
            else:
                print(lines.line(name, verdict))
        else:
            table.add(name, verdict, comments, unfinished=unfinished)
    table.end()
    sys.stdout.flush()
    if captures.found and not shown:
        terminal.complain(
            f"{terminal.plural(captures.found, 'conversation')} found, none of what is asked for"
        )
    if captures.interrupted:
        left = f"; {terminal.plural(partial, 'conversation')} had not ended by then" if partial else ""
        terminal.complain(f"interrupted: this is what was found so far{left}")
        return INTERRUPTED
    return 0


def _apart(
    captures: Captures, wanted: Wanted, *, each: bool
) -> Iterator[tuple[str, Dissected | DissectedMany]]:
    """The conversations that are asked for. each: also those that were found together come one by one."""
    for name, found in captures.groups():
        names = captures.names.get(name)
        if not isinstance(found, DissectedMany):
            if wanted(found.verdict, names):
                yield name, found
        elif each or names or not wanted.any:
            for place in range(len(found)):
                if wanted(found.verdict(place), names):
                    yield name, found.one(place)
        else:
            yield name, found


def _line(name: str, verdict: Verdict, names: Mapping[str, str], *, unfinished: bool) -> dict[str, Any]:
    """The object of a line of JSON that says more than the verdict."""
    found = verdict.to_json(name)
    for side, end in ((Side.CLIENT, verdict.client), (Side.SERVER, verdict.server)):
        if (called := name_of(end, names)) is not None:
            found[f"{side}_name"] = called
    if unfinished:
        found["partial"] = True
    return found


def _is_pipe(name: str) -> bool:
    return name == "-" or is_pipe(name)


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


KNOWN = 4096
"""Kinds of rows that are remembered."""

HELD = 1000
"""Rows of a file to which the table is fitted."""

MOST_DIGITS: Final = 6
"""Digits of a conversation's number that there is room for where rows follow those that were held back."""

LIKELY: list[str | Cell] = [
    "999",
    "192.168.100.100:50000",
    "192.168.100.100:5900",
    "spice → spice",
    "wrong-protocol",
    "≥ 99.9 ms, 999 B",
    "≥ 99.9 ms, 999 B",
    "why " * 40,
]
"""A row such as may come; to it the table is fitted where nothing can be waited for."""


class _Rows:
    """The table: rows of files are held back at first, to be fitted to; those of pipes and of what grows are
    printed as they come.
    """

    def __init__(self, captures: Captures, args: Namespace) -> None:
        self._captures = captures
        self._when: bool = args.when
        self._several = len(args.captures) > 1
        self._live: bool = args.follow or any(map(_is_pipe, args.captures))
        self._table = Table(
            [
                Column("#", align="right"),
                *columns(),
                Column("why", fit="wrap", style="dim"),
            ]
        )
        self._held: list[tuple[str, list[str | Cell], list[Said], list[Comment]]] = []
        self._fitted = False
        self._last: str | None = None
        self._spice: dict[str, list[Verdict]] = {}
        self._known: dict[Shared, tuple[str | None, bool]] = {}
        """The rows that share this: what makes them of their own cells, and whether the client spoke TLS."""
        self._tls: dict[str, list[tuple[tuple[int, str, str, int], Shared]]] = {}
        """Of each capture the verdicts that were found together and may belong to a session of SPICE."""

    def add(self, name: str, verdict: Verdict, comments: list[Said], *, unfinished: bool) -> None:
        """One more row, and the comments on its packets. unfinished: interrupted before its end."""
        names = self._captures.names.get(name, {})
        general = self._captures.general(name) if name not in self._spice else []
        kept = self._spice.setdefault(name, [])
        if verdict.spice is not None or verdict.client_spoke == "tls":
            kept.append(verdict)
        row = _row(verdict, names, when=self._when, unfinished=unfinished)
        if self._fitted:
            self._print(name, row, comments, general)
            return
        self._held.append((name, row, comments, general))
        if self._live:
            self._table.fit([LIKELY, row])
            if not self._table.complete:
                self._table.fit([row])
            self._release()
        elif len(self._held) >= HELD:
            self._release(more=True)

    def add_many(self, name: str, found: DissectedMany) -> None:
        """The rows of conversations that were found together."""
        told = found.told
        own = [[str(number) for number in told.indices], told.clients, told.servers]
        if not self._fitted or name != self._last or self._when or self._live or not self._table.plain(own):
            for place in range(len(found)):
                self.add(name, found.verdict(place), [], unfinished=False)
            return
        tls = self._tls.setdefault(name, [])
        rows = []
        for place, (one, *texts) in enumerate(zip(found.found, *own, strict=True)):
            if isinstance(one, tuple):
                row, encrypted = self._known.get(one) or self._know(one, found.verdict(place))
                if row is not None:
                    rows.append(row % tuple(texts))
                    if encrypted:
                        tls.append(((told.indices[place], texts[1], texts[2], told.starts[place]), one))
                    continue
            sys.stdout.write("".join(rows))
            rows.clear()
            self.add(name, found.verdict(place), [], unfinished=False)
        sys.stdout.write("".join(rows))

    def _know(self, one: Shared, verdict: Verdict) -> tuple[str | None, bool]:
        if len(self._known) >= KNOWN:
            self._known.clear()
        cells = _row(verdict, {}, when=False, unfinished=False)
        found = self._known[one] = self._table.alike(3, cells[3:]), verdict.client_spoke == "tls"
        return found

    def end(self) -> None:
        """There are no more rows: print what was held back, and the SPICE sessions that they come to."""
        if not self._fitted:
            self._several = len(self._spice) > 1
            self._release()
        for name, verdicts in self._spice.items():
            hosts = {hosts_of(one.client, one.server) for one in verdicts if one.spice is not None}
            for own, shared in self._tls.get(name, []):
                if hosts and hosts_of(own[1], own[2]) in hosts:
                    verdicts.append(Verdict(*own, *shared))
            for group in tie(verdicts):
                print()
                for line in terminal.wrap(safe(group.title), terminal.terminal_width()):
                    print(line)

    def _release(self, *, more: bool = False) -> None:
        """Print what was held back. more: other rows follow."""
        if not self._live:
            rows = [row for _, row, _, _ in self._held]
            self._table.fit(rows + [_longest(row) for row in rows] if more else rows)
        self._fitted = True
        for held in self._held:
            self._print(*held)
        self._held.clear()

    def _print(self, name: str, row: list[str | Cell], comments: list[Said], general: list[Comment]) -> None:
        if name != self._last:
            if self._several:
                heading = terminal.link(name, terminal.paint(safe(name), "head"))
                print(("\n" if self._last is not None else "") + heading)
            tell_comments(general)
            if self._last is None or self._several:
                print("\n".join(self._table.head()))
            self._last = name
        print("\n".join(self._table.row(row)))
        for said in comments:
            text = safe(f"comment on {said.comment.about} ({said.side}): {said.comment.text}")
            for line in terminal.wrap(text, terminal.terminal_width() - Table.INDENT):
                print(" " * Table.INDENT + terminal.paint(line, "dim"))
        if self._live:
            sys.stdout.flush()


def _longest(row: list[str | Cell]) -> list[str | Cell]:
    """A row as one that follows may be: numbers of conversations grow, and so do those of clients' ports."""
    _, client, *rest = row
    assert isinstance(client, Cell)
    host, _, port = client.text.rpartition(":")
    return ["9" * MOST_DIGITS, Cell(f"{host}:65535") if port.isdigit() else client, *rest]


def _row(verdict: Verdict, names: Mapping[str, str], *, when: bool, unfinished: bool) -> list[str | Cell]:
    why = f"so far: {verdict.reason}" if unfinished else verdict.reason
    return [
        str(verdict.conversation),
        *cells(verdict, named(verdict.client, names), named(verdict.server, names)),
        f"began {terminal.timestamp(verdict.start_ns)}: {why}" if when else why,
    ]
