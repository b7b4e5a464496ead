# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures named on a command line: read them, show progress, and say what could not be used."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence

from dissect.app import terminal
from dissect.capture import Capture, CaptureError, Event, open_capture, read
from dissect.dissection.reading import Dissected, dissect


def add_capture_arguments(parser: ArgumentParser, *, many: bool) -> None:
    """The CAPTURE argument and the options that every command has that reads one."""
    parser.add_argument(
        "captures" if many else "capture",
        metavar="CAPTURE",
        nargs="+" if many else None,
        help="a pcap or pcapng file; - reads one from standard input",
    )
    parser.add_argument(
        "--conversation", type=int, metavar="N", help="only conversation N (from 0) of each capture"
    )
    parser.add_argument(
        "--json", action="store_true", help="NDJSON on standard output, and nothing else there"
    )


def read_captures(
    names: Sequence[str], *, records: bool = True, only: int | None = None
) -> Iterator[tuple[str, Dissected]]:
    """Yield (capture's name, dissected conversation) of each capture in turn.

    What could not be used is said on stderr, one line each: a cut file, frames that are not TCP. Raises
    `terminal.Unusable` after the last capture where not one conversation was found in any of them.
    """
    found = 0
    failure: terminal.Unusable | None = None
    for name in names:
        try:
            capture = open_capture(name)
        except CaptureError as error:
            failure = _replace(failure, terminal.Unusable(error.reason, source=name, offset=error.offset))
            continue
        in_this = 0
        with capture, terminal.Progress() as progress:
            for dissected in dissect(_events(capture, progress), records=records, only=only):
                progress.clear()
                in_this += 1
                yield name, dissected
        for problem in capture.problems:
            terminal.complain(problem.reason, source=name, offset=problem.offset)
        if (unused := capture.not_used()) is not None:
            terminal.complain(unused, source=name)
        if not in_this:
            missing = "no TCP conversation" if only is None else f"no conversation {only}"
            failure = _replace(failure, terminal.Unusable(f"{missing} in this capture", source=name))
        found += in_this
    if failure is not None:
        if not found:
            raise failure
        terminal.complain(failure.reason, source=failure.source, offset=failure.offset)


def _replace(old: terminal.Unusable | None, new: terminal.Unusable) -> terminal.Unusable:
    """Say the earlier failure now; the last one ends the command if nothing was found."""
    if old is not None:
        terminal.complain(old.reason, source=old.source, offset=old.offset)
    return new


def _events(capture: Capture, progress: terminal.Progress) -> Iterator[Event]:
    for number, event in enumerate(read(capture)):
        if number % 1024 == 1023:
            progress.update(f"{capture.name}: {capture.offset:,} bytes read")
        yield event
