# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte report INPUT...`: one HTML file of captures and results, to be sent."""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.app import terminal
from dissect.app.extract import refuse_to_overwrite
from dissect.app.labels import labels, programs
from dissect.app.looking import is_file
from dissect.app.main import PASS
from dissect.app.whole import whole
from dissect.capture import CaptureError, open_capture, read
from dissect.dissection.comments import Comments
from dissect.dissection.reading import dissect
from dissect.stream.text import safe
from dissect.timing.results import ResultsError, is_results, read_probes, read_rows

if TYPE_CHECKING:
    from dissect.report.page import Report

LONGEST_CHECK = 16 << 20
"""Bytes of one row of a check run at the most."""


MOST_COMMENTS = 20
"""Comments on a capture, and on packets of no conversation, that the report has; more are counted."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="a capture (- reads one from standard input), or results: of matrix (NDJSON, Parquet, a run's "
        "folder), of probe --json, of check --json",
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT.html", default="report.html", help="the file (default: %(default)s)"
    )
    parser.add_argument("--title", default="", help="what stands below the answer")
    parser.add_argument(
        "--json", action="store_true", help="NDJSON on standard output, and nothing else there"
    )
    parser.epilog = (
        "example: firstbyte report pcaps/*.pcapng -o report.html\n"
        "         firstbyte report run/ probe.ndjson -o matrix.html --title 'before and after'"
    )


def run(args: Namespace) -> int:
    """Write the report; `Unusable`, and nothing written, where nothing of the inputs could be read."""
    from dissect.report.page import Report

    refuse_to_overwrite(args.output, args.inputs)
    report = Report(args.title, _now())
    called = labels(args.inputs)
    failures: list[terminal.Unusable] = []
    with terminal.Progress() as progress:
        for name in dict.fromkeys(args.inputs):
            try:
                _add(report, name, called[name], progress)
            except terminal.Unusable as error:
                failures.append(error)
            progress.clear()
    last = failures.pop() if len(failures) == len(report.inputs) else None
    for failure in failures:
        terminal.complain(failure.reason, source=failure.source, offset=failure.offset)
    if last is not None:
        raise last
    page = report.html().encode("utf-8", "backslashreplace")
    with whole(args.output) as target:
        target.write(page)
    counted = report.conversations.counted
    if args.json:
        facts = {"path": args.output, "bytes": len(page), "answer": report.answer()}
        facts |= {"inputs": len(report.inputs), "unreadable": len(failures)}
        facts |= {"conversations": counted.total(), "verdicts": dict(counted)}
        facts["checks"] = report.checks.counted.total()
        facts |= {"trials": sum(len(rows) for _, rows in report.runs), "probes": len(report.probes)}
        print(json.dumps(facts))
    else:
        print(f"{safe(report.answer())}: {terminal.link(args.output)}")
    return PASS


def _now() -> str:
    """When the report is made, or SOURCE_DATE_EPOCH: then the same inputs give the same file."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(epoch) if epoch.isdigit() else time.time()))


def _add(report: Report, name: str, label: str, progress: terminal.Progress) -> None:
    """Put one input into the report, whatever it is; raises Unusable where it is nothing that can be read."""
    from dissect.report.page import Input

    try:
        comments: list[str] = []
        if name != "-" and is_results(name):
            found, problems = _results(report, name, label)
        else:
            found, problems, comments = _capture(report, name, label, progress)
    except terminal.Unusable as error:
        where = "" if error.offset is None else f"at byte {error.offset:,}: "
        report.inputs.append(Input(label, "", [where + error.reason]))
        raise
    report.inputs.append(Input(label, found, problems, comments))
    for problem in problems:
        terminal.complain(problem, source=name)


def _capture(
    report: Report, name: str, label: str, progress: terminal.Progress
) -> tuple[str, list[str], list[str]]:
    known = programs(name)
    count = 0
    try:
        with open_capture(name) as capture:
            capture.notes.packets = True
            comments = Comments(capture.notes)
            for dissected in dissect(read(capture)):
                # Of a reversed connection the index does not say which of its programs opened it.
                named = {} if dissected.verdict.reversed else known
                report.add(label, name, dissected, named, comments)
                count += 1
                progress.update(f"{name}: {terminal.plural(count, 'conversation')}")
            problems = [f"at byte {one.offset:,}: {one.reason}" for one in capture.problems]
            unused, offset = capture.not_used(), capture.offset
    except CaptureError as error:
        raise terminal.Unusable(error.reason, source=name, offset=error.offset) from None
    problems += [unused] if unused is not None else []
    if not count:
        why = f" ({'; '.join(problems)})" if problems else ""
        raise terminal.Unusable(f"no TCP conversation in this capture{why}", source=name, offset=offset)
    others = [*comments.general(), *comments.left()]
    told = [f"comment on {one.about}: {one.text}" for one in others[:MOST_COMMENTS]]
    if len(others) > MOST_COMMENTS:
        told.append(f"… and {len(others) - MOST_COMMENTS:,} more comments")
    return terminal.plural(count, "conversation"), problems, told


def _results(report: Report, name: str, label: str) -> tuple[str, list[str]]:
    if is_file(name) and _is_check(name):
        return _checks(report, name)
    probes = read_probes(name)
    if probes:
        report.probes += probes
        return terminal.plural(len(probes), "probe"), []
    try:
        rows, problems = read_rows(name)
    except ResultsError as error:
        raise terminal.Unusable(str(error).removeprefix(f"{name}: "), source=name) from None
    report.runs.append((label, rows))
    return terminal.plural(len(rows), "trial"), [line.removeprefix(f"{name}: ") for line in problems]


def _is_check(name: str) -> bool:
    """Whether a file begins with a row of a check run, of whatever version."""
    with Path(name).open("rb") as file:
        return b'"firstbyte-check/' in file.read(256)


def _checks(report: Report, name: str) -> tuple[str, list[str]]:
    before = report.checks.counted.total()
    problems = []
    offset = 0
    with Path(name).open("rb") as file:
        while line := file.readline(LONGEST_CHECK):
            try:
                report.checks.add(json.loads(line))
            except (ValueError, RecursionError) as error:
                reason = "the row is cut off" if not line.endswith(b"\n") else str(error)
                problems.append(f"at byte {offset:,}: {reason}")
            offset += len(line)
    found = report.checks.counted.total() - before
    if not found:
        raise terminal.Unusable(f"no check in it ({problems[0]})", source=name)
    return terminal.plural(found, "check"), problems
