# SPDX-License-Identifier: GPL-2.0-or-later
"""Results for machines and for pull requests: rows of NDJSON, JUnit XML, a Markdown summary."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dissect.check.baseline import this_machine
from dissect.check.comparing import Compared, difference
from dissect.check.judging import BAD, GOOD, Judgement, Shift, Status
from dissect.check.runner import Cell
from dissect.check.running import Run
from dissect.report import junit, markdown
from dissect.stream.text import plural

SCHEMA = "firstbyte-check/1"
RUNS_TOLD = 1000
"""Runs of one cell of which a row has the outcomes, one by one."""

SIGNS = {
    Status.PASS: "✅", Status.RECORDED: "📝", Status.FAIL: "❌", Status.SLOWER: "🐢", Status.ERROR: "❌",
    Status.FLAKY: "⚠️", Status.INCONCLUSIVE: "⚠️", Status.LEFT_OUT: "➖", Status.NOT_RUN: "➖",
}  # fmt: skip
FOLDED = 30
"""Failures of which a Markdown summary has the details."""


def exit_code(judgements: Sequence[Judgement]) -> int:
    """0: all is well; 1: something failed; 3: look here. Nothing that was decided is no pass."""
    found = {one.status for one in judgements if not one.known}
    if found & BAD:
        return 1
    decided = [one for one in judgements if one.status in (Status.PASS, Status.RECORDED) or one.known]
    return 0 if found <= GOOD and decided else 3


def counts(judgements: Sequence[Judgement]) -> str:
    """How many there are of each status: "12 pass, 1 fail"."""
    counted = Counter(one.status for one in judgements)
    return ", ".join(f"{counted[status]} {status}" for status in Status if counted[status])


# --- NDJSON ---------------------------------------------------------------------------------------------


def row(cell: Cell, suite: str) -> dict[str, Any]:
    """One cell as a JSON object."""
    judgement = cell.judgement
    return {
        "schema": SCHEMA,
        "suite": suite,
        "case": cell.case.name,
        "target": cell.target.name,
        "version": cell.version,
        "status": judgement.status,
        "reason": judgement.reason,
        "known": judgement.known,
        "judged_by": "baseline" if cell.baseline is not None else "expectation",
        "rates": judgement.rates,
        "notes": cell.notes,
        "runs": [run_row(run) for run in cell.runs[:RUNS_TOLD]],
        "retried": cell.retried,
        "times": [shift_row(shift) for shift in judgement.shifts],
        "machine": this_machine(),
        "lasted_ns": cell.lasted_ns,
        "tags": list(cell.case.tags),
        "evidence": {name: str(path) for name, path in cell.evidence.items()},
    }


def run_row(run: Run) -> dict[str, Any]:
    """One run as a JSON object; times in ns, bounds as bounds."""
    return {
        "outcome": run.outcome,
        "reason": run.reason,
        "complaints": run.complaints,
        "compared": run.compared,
        "lasted_ns": run.lasted_ns,
        "times": {
            name: [{"ns": one.ns, "censored": not one.exact} for one in observed]
            for name, observed in run.times.items()
        },
    }


def shift_row(shift: Shift) -> dict[str, Any]:
    """How one time has moved, as a JSON object."""
    return {
        "name": shift.name,
        "before_ns": shift.before,
        "after_ns": shift.after,
        "effect_ns": shift.effect_ns,
        "p": shift.p,
        "level": shift.level,
        "slower": shift.slower,
    }


def compared_row(found: Compared, suite: str) -> dict[str, Any]:
    """One case on two builds, as a JSON object."""
    return {
        "schema": SCHEMA,
        "suite": suite,
        "case": found.case.name,
        "first": found.first.name,
        "second": found.second.name,
        "status": found.status,
        "reason": found.judgement.reason,
        "rates": found.judgement.rates,
        "runs": {
            target.name: [run_row(run) for run in runs[:RUNS_TOLD]]
            for target, runs in zip((found.first, found.second), found.runs, strict=True)
        },
        "times": {
            name: {
                "difference_ns": None if one.difference is None else one.difference.ns,
                "low_ns": None if one.difference is None else one.difference.low,
                "high_ns": None if one.difference is None else one.difference.high,
                "confidence": one.confidence,
                "p": one.p,
                "why": one.why,
            }
            for name, one in found.times.items()
        },
        "machine": this_machine(),
    }


# --- JUnit ----------------------------------------------------------------------------------------------


def junit_of(cells: Sequence[Cell], suite: str, started_ns: int) -> str:
    """The report: a test suite for each target, in the order in which they first come."""
    targets = dict.fromkeys(cell.target.name for cell in cells)
    suites = []
    for name in targets:
        of = [cell for cell in cells if cell.target.name == name]
        versions = [("version", version) for version in dict.fromkeys(cell.version for cell in of) if version]
        suites.append(
            junit.TestSuite(
                f"{suite}.{name}", [_test(cell, suite) for cell in of], started_ns,
                [("target", name), *versions, ("machine", this_machine())],
            )
        )  # fmt: skip
    return junit.document(suite, suites)


def _test(cell: Cell, suite: str) -> junit.TestCase:
    judgement = cell.judgement
    result: junit.Result = "passed"
    if judgement.status in (Status.FAIL, Status.SLOWER):
        result = "failure"
    elif judgement.status is Status.ERROR:
        result = "error"
    elif judgement.status not in GOOD or judgement.status is Status.LEFT_OUT:
        # Neither passed nor failed: readers know one word for that, and its message says which it is.
        result = "skipped"
    message = judgement.reason
    if result == "skipped":
        message = f"{judgement.status}: {judgement.reason}"
    properties = [("status", str(judgement.status)), ("runs", str(len(cell.runs)))]
    properties += [("tag", tag) for tag in cell.case.tags]
    properties += [("rate", rate) for rate in judgement.rates]
    properties += [("note", note) for note in cell.notes]
    properties += [(f"time {shift.name}", str(shift)) for shift in judgement.shifts]
    if cell.retried:
        properties.append(("retried", str(cell.retried)))
    return junit.TestCase(
        name=cell.case.name,
        classname=f"{suite}.{cell.target.name}",
        seconds=cell.lasted_ns / 1e9,
        result=result,
        kind=str(judgement.status),
        message=message,
        text="\n".join([judgement.reason, *judgement.rates, *judgement.diff]),
        properties=properties,
        attachments=[attachment(path) for path in cell.evidence.values()],
        output=judgement.reason,
        errors=cell.log if judgement.status not in GOOD else "",
    )


def attachment(path: Path, environment: Mapping[str, str] = os.environ) -> str:
    """A file as the reader of a report wants it: absolute for Jenkins, else from the working directory."""
    if "JENKINS_URL" in environment:
        return str(path.resolve())
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path.resolve())


# --- Markdown -------------------------------------------------------------------------------------------


def markdown_of(cells: Sequence[Cell], suite: str) -> str:
    """A summary for a pull request: a sentence, a table of case x target, and what is not well, folded."""
    judgements = [cell.judgement for cell in cells]
    words = {0: "pass", 1: "**fail**", 3: "**look here**"}[exit_code(judgements)]
    parts = [f"### {markdown.escape(suite)}: {words}", f"{counts(judgements)}."]
    targets = list(dict.fromkeys(cell.target.name for cell in cells))
    cases = list(dict.fromkeys(cell.case.name for cell in cells))
    by_name = {(cell.case.name, cell.target.name): cell for cell in cells}
    odd = [name for name in cases if any(_odd(by_name.get((name, target))) for target in targets)]
    rows = [
        [markdown.code(name), *(_mark(by_name.get((name, target))) for target in targets)]
        for name in (odd or cases)
    ]
    table = markdown.table(["case", *(markdown.code(name) for name in targets)], rows)
    parts.append(table if odd else markdown.details(plural(len(cases), "case"), table))
    if odd and len(odd) < len(cases):
        parts.append(f"{plural(len(cases) - len(odd), 'more case')} passed everywhere.")
    bad = [cell for cell in cells if _odd(cell) and cell.status is not Status.NOT_RUN]
    parts += [_details(cell) for cell in bad[:FOLDED]]
    if len(bad) > FOLDED:
        parts.append(f"{len(bad) - FOLDED} more are in the evidence.")
    return markdown.within(parts)


def _odd(cell: Cell | None) -> bool:
    return cell is not None and cell.status not in GOOD


def _mark(cell: Cell | None) -> str:
    return "" if cell is None else f"{SIGNS[cell.status]} {cell.status}"


def _details(cell: Cell) -> str:
    case, target = markdown.html_code(cell.case.name), markdown.html_code(cell.target.name)
    head = f"{SIGNS[cell.status]} {case} on {target}"
    lines = [f"{markdown.escape(cell.judgement.reason)}"]
    if cell.judgement.rates:
        lines.append("\n".join(f"- {markdown.escape(rate)}" for rate in cell.judgement.rates))
    if cell.judgement.diff:
        lines.append(markdown.block(cell.judgement.diff[:60], "diff"))
    if cell.evidence:
        kept = ", ".join(f"{name} {markdown.code(attachment(path))}" for name, path in cell.evidence.items())
        lines.append(f"Evidence: {kept}")
    return markdown.details(head, "\n\n".join(lines))


def markdown_compared(found: Sequence[Compared], suite: str) -> str:
    """A summary of two builds side by side."""
    if not found:
        return ""
    first, second = found[0].first.name, found[0].second.name
    judgements = [one.judgement for one in found]
    words = {0: "no change", 1: "**changed**", 3: "**look here**"}[exit_code(judgements)]
    head = (
        f"### {markdown.escape(suite)}: {markdown.escape(second)} against {markdown.escape(first)}: {words}"
    )
    rows = [
        [
            markdown.code(one.case.name),
            f"{SIGNS[one.status]} {one.status}",
            markdown.escape(one.judgement.reason),
            "<br>".join(
                f"{markdown.escape(name)}: {markdown.escape(difference(time))}"
                for name, time in one.times.items()
            ),
        ]
        for one in found
    ]
    titles = ["case", "", "behaviour", f"time, difference of medians [{found_confidence(found)}]"]
    return markdown.within([head, markdown.table(titles, rows)])


def found_confidence(found: Sequence[Compared]) -> str:
    """The confidence of the intervals, in words."""
    return next((f"{time.confidence:.0%}" for one in found for time in one.times.values()), "95%")
