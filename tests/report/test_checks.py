# SPDX-License-Identifier: GPL-2.0-or-later
"""What `firstbyte check --json` prints, as rows of a report."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.check import reporting
from dissect.check.judging import Status
from dissect.report.checks import LISTED, SCHEMA, STATUSES, Checks
from dissect.report.page import Report
from tests.report.test_markup import Seen

MS = 1_000_000
RUN = {
    "outcome": "pass",
    "reason": "answered as recorded",
    "complaints": [],
    "compared": 4,
    "lasted_ns": 30 * MS,
    "times": {
        "handshake": [{"ns": 5 * MS, "censored": False}, {"ns": 9 * MS, "censored": True}],
        "answer": [],
    },
}


def check(status: str = "pass", **more: Any) -> dict[str, Any]:
    """A row as the command prints it."""
    return {
        "schema": SCHEMA, "suite": "peers", "case": f"a.{status}", "target": "xtigervnc", "version": "1.12",
        "status": status, "reason": "answered as recorded", "known": False, "judged_by": "baseline",
        "rates": [], "runs": [RUN], "retried": 0, "times": [], "machine": "x86_64",
        "lasted_ns": 30 * MS, "tags": ["right"], "evidence": {}, **more,
    }  # fmt: skip


def test_the_words_are_those_of_the_check() -> None:
    assert set(STATUSES) == {str(status) for status in Status}
    assert SCHEMA == reporting.SCHEMA


def test_the_worst_comes_first() -> None:
    found = Checks()
    for status in ("pass", "left-out", "flaky", "slower", "fail", "fail", "new-word"):
        found.add(check(status))
    found.add(check("flaky", known=True))
    assert found.answer() == (
        "Of 8 checks, 1 new-word, 2 fail, 1 slower, 1 flaky, 1 flaky (known), 1 left-out, 1 pass"
    )
    assert [one.words for one in sorted(found.odd, key=lambda one: one.rank)] == [
        *("new-word", "fail", "fail", "slower", "flaky")
    ]
    page = Report(checks=found).html()
    assert "5 to look at" in page
    assert 'data-table="checks" data-column="3" data-choose="flaky (known)"' in page
    one = Checks()
    one.add(check())
    assert one.answer() == "The one check passes"
    one.add(check())
    assert one.answer() == "All 2 checks pass"


def test_details() -> None:
    found = Checks()
    shift = {
        "name": "handshake",
        "before_ns": None,
        "after_ns": 9 * MS,
        "effect_ns": MS,
        "p": 0.001,
        "level": 0.01,
    }
    found.add(
        check(
            "slower",
            reason="<b>",
            rates=["1 of 2: pass"],
            runs=[{**RUN, "complaints": ["</script>"]}] * (LISTED + 2),
            times=[{**shift, "slower": True}],
            evidence={"ladder": "x/<i>.svg"},
        )
    )
    (details,) = found.table.details()
    words = Seen(details).words
    for part in (
        "<b>.",
        "1 of 2: pass",
        "not in time → 9 ms, slower",
        "</script>",
        "x/<i>.svg",
        "… and 2 more",
        "pass: answered as recorded; 4 messages compared; 30 ms; handshake 5 ms, ≥ 9 ms",
    ):
        assert part in words, part
    (cells,) = found.table.rows
    assert cells[5:7] == [[42 * 30 * MS, "1.26 s", ""], [1, "1 slower", "bad"]]


def test_two_builds_that_are_compared() -> None:
    found = Checks()
    data = check("fail", first="stable", second="candidate")
    for key in ("target", "version", "known", "judged_by", "retried", "lasted_ns", "tags", "evidence"):
        del data[key]
    data["runs"] = {"stable": [RUN], "candidate": [RUN, RUN]}
    data["times"] = {
        "handshake": {"difference_ns": 2 * MS, "low_ns": MS, "high_ns": None, "p": 0.01, "why": None},
        "answer": {"difference_ns": None, "low_ns": None, "high_ns": None, "p": 1.0, "why": "not reached"},
    }
    found.add(data)
    (cells,) = found.table.rows
    assert cells[1] == "stable → candidate"
    assert cells[4] == 3
    (details,) = found.table.details()
    words = Seen(details).words
    assert "2 ms more (1 ms to no bound)" in words
    assert "not reached" in words


@pytest.mark.parametrize("key", ["case", "status", "runs", "times", "suite"])
def test_a_row_that_is_not_whole(key: str) -> None:
    data = check()
    del data[key]
    found = Checks()
    with pytest.raises(ValueError, match="not a whole row"):
        found.add(data)
    assert not found.table.rows
    assert not found.counted


@pytest.mark.parametrize("data", [None, [], {}, {"schema": "firstbyte-check/2"}, check(runs=[None])])
def test_something_else(data: Any) -> None:
    with pytest.raises(ValueError, match=r"schema|not a whole row"):
        Checks().add(data)
