# SPDX-License-Identifier: GPL-2.0-or-later
"""Summaries: competing outcomes, bounds that stay bounds, lines over round trips, two runs."""

from __future__ import annotations

import json

import pytest

from dissect.stream import Side
from dissect.timing.estimators import round_trips
from dissect.timing.results import Row
from dissect.timing.summaries import changes, distances, handshakes, observed, ordered, summaries
from tests.timing.test_results import row

pytest.importorskip("scipy")
MS = 1_000_000


def test_pairs_stand_in_the_order_of_people() -> None:
    rows = [row(f"viewer-{number}", "x") for number in (10, 2, 1)]
    assert [pair[0] for pair in ordered(rows)] == ["viewer-1", "viewer-2", "viewer-10"]


def test_outcomes_compete_and_those_who_were_left_are_told_apart() -> None:
    cut = row(trial=3, by="reset")
    cut.observations = [one for one in cut.observations if one.side is Side.SERVER]
    cut.observations += [one for one in row(by=None).observations if one.side is Side.CLIENT]
    rows = [row(), row(trial=1, by="error-reply"), row(trial=2, by=None), cut, row(trial=4, lost="gone")]
    (found,) = summaries(rows, "wire")
    figures = {figure.what: figure for figure in found.figures}
    client = figures["client noticed"]
    assert {name: one.count for name, one in client.outcomes.items()} == {
        "close": 1, "error reply": 1, "nothing": 1, "other side left": 1,
    }  # fmt: skip
    assert all(one.n == 4 and one.low < 0.25 < one.high for one in client.outcomes.values())
    assert (client.n, client.exact) == (4, 2)
    told = json.loads(json.dumps(found.to_json()))
    assert (told["n"], told["lost"], told["verdicts"]) == (4, 1, {"wrong-protocol": 4})


def test_who_is_never_over_is_a_bound() -> None:
    rows = [row(over_ns={"wire": 7 * MS}), row(trial=1, by=None)]
    over = observed(rows, "over for the client", "wire")
    assert [(one.ns, one.exact) for one in over] == [(7 * MS, True), (5_000 * MS, False)]
    agreed = row(verdict="agreed", over_ns={"wire": MS})
    agreed.observations = []
    assert observed([agreed], "over for the client", "wire") == []
    assert observed([row(lost="gone")], "server noticed", "wire") == []


def far(trips: int, own_ns: int, hang: bool = False) -> list[Row]:
    return [
        row(
            trial=trial,
            rtt_ns=rtt,
            handshake_ns=rtt + 100_000,
            over_ns={} if hang and trial == 3 else {"wire": trips * (rtt + 100_000) + own_ns + trial},
        )
        for trial, rtt in enumerate([0, MS, 10 * MS, 50 * MS] * 5)
    ]


@pytest.mark.parametrize("trips", [0, 1, 4])
def test_a_line_has_round_trips_and_what_is_left(trips: int) -> None:
    rows = far(trips, 3 * MS)
    assert [len(measured) for measured in handshakes(rows).values()] == [5] * 4
    found = {one.what: one for one in distances(rows)}
    line = found["over for the client"].line
    assert line is not None
    assert line.slope_low <= line.slope <= line.slope_high
    assert abs(line.slope - trips) < 1e-5
    assert abs(line.own_ns - 3 * MS) < 1000
    level = found["server noticed"].line
    assert level is not None
    assert abs(level.slope) < 1e-5


def test_a_line_through_very_many_points() -> None:
    points = [(rtt, 2 * rtt + 3 * MS + at) for at in range(5_000) for rtt in (MS, 10 * MS)]
    line = round_trips(points, seed=1)
    assert line.n == 10_000
    assert abs(line.slope - 2) < 0.01
    assert line.slope_low <= line.slope <= line.slope_high


def test_no_line_through_those_that_did_not_hang() -> None:
    (over,) = [one for one in distances(far(1, MS, hang=True)) if one.what == "over for the client"]
    assert (over.line, over.hung, len(over.points)) == (None, 1, 19)
    assert over.to_json()["round_trips"] is None
    (one, *_) = distances(far(1, MS)[:1])
    assert one.line is None  # one distance is no line


def test_what_only_one_run_has_is_no_difference() -> None:
    before, after = [row(server_init_ns={"wire": MS})], [row()]
    found = {one.what: one for one in changes(before, after, "wire", ("a", "b"))}
    assert found["to ServerInit"].n == (1, 0)
    assert found["to ServerInit"].to_json()["why"] == "only one of them has this time"
    assert found["server noticed"].found is not None
    assert found["server noticed"].found.p == 1.0
