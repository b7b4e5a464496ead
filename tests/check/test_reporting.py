# SPDX-License-Identifier: GPL-2.0-or-later
"""Exit codes, rows, JUnit and Markdown of a suite's results, whatever bytes are in its messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import xmlschema

from dissect.check import reporting
from dissect.check.judging import Judgement, Status
from dissect.check.runner import Cell
from dissect.check.running import Run
from dissect.check.suite import Case, Target
from dissect.replay.outcome import Outcome

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[1] / "report/junit.xsd")
NASTY = "\0\x1b[2J ]]> <script> | @all \udcff \ufffe"


def cell(status: Status, case: str = "c", target: str = "t", *, known: bool = False, **more: object) -> Cell:
    judgement = Judgement(status, NASTY, [f"-{NASTY}"], [NASTY], known=known)
    run = Run(Outcome.PASS, NASTY, (NASTY,), compared=1)
    found = Cell(Case(case, tags=("a",)), Target(target), judgement, [run], version="1.0", log=NASTY)
    for name, value in more.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 3),
        ([Status.PASS], 0),
        ([Status.PASS, Status.LEFT_OUT], 0),
        ([Status.LEFT_OUT], 3),
        ([Status.RECORDED], 0),
        ([Status.PASS, Status.FLAKY], 3),
        ([Status.PASS, Status.INCONCLUSIVE], 3),
        ([Status.PASS, Status.NOT_RUN], 3),
        ([Status.FLAKY, Status.FAIL], 1),
        ([Status.PASS, Status.SLOWER], 1),
        ([Status.PASS, Status.ERROR], 1),
    ],
)
def test_exit_codes(statuses: list[Status], code: int) -> None:
    assert reporting.exit_code([Judgement(status, "") for status in statuses]) == code


def test_what_is_known_to_be_flaky_breaks_nothing() -> None:
    assert reporting.exit_code([Judgement(Status.FLAKY, "", known=True)]) == 0
    assert reporting.exit_code([Judgement(Status.FLAKY, "", known=True), Judgement(Status.FAIL, "")]) == 1


def test_junit_of_every_status_is_valid() -> None:
    cells = [cell(status, f"case-{status}", target) for status in Status for target in ("one", "two")]
    text = reporting.junit_of(cells, "suite", 1_700_000_000 * 10**9)
    SCHEMA.validate(text)
    root: Any = SCHEMA.decode(text)
    assert [one["@name"] for one in root["testsuite"]] == ["suite.one", "suite.two"]
    first = root["testsuite"][0]
    # fail and slower are failures, error an error, what is neither pass nor fail is skipped.
    assert (first["@tests"], first["@failures"], first["@errors"], first["@skipped"]) == (9, 2, 1, 4)
    slower = next(case for case in first["testcase"] if case["@name"] == "case-slower")
    assert slower["@classname"] == "suite.one"
    assert slower["failure"]["@type"] == "slower"
    assert {"@name": "tag", "@value": "a"} in slower["properties"]["property"]


def test_attachments_are_as_each_reader_wants_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("kept/ladder.png")
    assert reporting.attachment(path, {}) == "kept/ladder.png"
    assert reporting.attachment(tmp_path / path, {}) == "kept/ladder.png"
    assert reporting.attachment(path, {"JENKINS_URL": "x"}) == str(tmp_path / path)
    assert reporting.attachment(Path("/elsewhere/x"), {}) == "/elsewhere/x"


def test_markdown_has_what_is_not_well_and_nothing_that_steers() -> None:
    cells = [cell(Status.PASS, "good"), cell(Status.FAIL, "bad"), cell(Status.LEFT_OUT, "absent")]
    text = reporting.markdown_of(cells, "suite")
    assert text.startswith("### suite: **fail**\n\n1 pass, 1 fail, 1 left-out.")
    assert "| `bad` | ❌ fail |" in text
    assert "| `good`" not in text
    assert "2 more cases passed everywhere" in text
    assert "\0" not in text
    assert "\x1b" not in text
    assert "<script>" not in text.replace("\\<script\\>", "").replace("-\\x00\\x1b[2J ]]> <script>", "")
    fine = reporting.markdown_of([cell(Status.PASS, "good")], "suite")
    assert fine.startswith("### suite: pass\n")
    assert "<details><summary>1 case</summary>" in fine


def test_a_row_is_json_whatever_was_said() -> None:
    row = json.loads(json.dumps(reporting.row(cell(Status.FAIL), "suite")))
    assert (row["status"], row["reason"]) == ("fail", NASTY)
    assert row["runs"][0]["outcome"] == "pass"
