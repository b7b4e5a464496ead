# SPDX-License-Identifier: GPL-2.0-or-later
"""The picture over round trips: readable at any number of pairs, no line where anything hung."""

from __future__ import annotations

import random

import pytest

from dissect.timing.plots.roundtrips import round_trips
from dissect.timing.results import Row
from tests.timing.paper import NASTY, check, marks, words
from tests.timing.test_results import row

pytest.importorskip("scipy")
MS = 1_000_000


def trials(client: str, server: str, trips: float, own_ns: int, hang: bool = False) -> list[Row]:
    """Four round trips, four trials each, with a little noise."""
    noise = random.Random(trips)
    found = []
    for trial, rtt in enumerate([0, MS, 10 * MS, 50 * MS] * 4):
        handshake = rtt + 200_000 + noise.randrange(50_000)
        ns = round(trips * handshake + own_ns * noise.uniform(0.9, 1.1))
        made = row(client, server, trial, rtt_ns=rtt, handshake_ns=handshake, over_ns={"wire": ns})
        if hang:
            made = row(client, server, trial, by=None, rtt_ns=rtt, handshake_ns=handshake)
        found.append(made)
    return found


def grid(clients: int, servers: int) -> list[Row]:
    """Every kind of pair: quick, slow, hung; the longest names."""
    rows = []
    for a in range(clients):
        for b in range(servers):
            kind = (a + b) % 4
            rows += trials(
                f"a-viewer-of-some-kind-{a}",
                f"some-server-or-other-{b}",
                a % 5,
                10 ** (4 + kind * 2),
                kind == 3,
            )
    return rows


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (10, 3), (1, 19), (19, 1)])
def test_no_text_meets_another(size: tuple[int, int]) -> None:
    check(round_trips(grid(*size)))


def test_names_are_made_harmless() -> None:
    check(round_trips(trials(NASTY, NASTY, 2, MS)))


def test_every_trial_is_there_and_a_hang_has_no_line() -> None:
    figure = round_trips([*trials("a", "x", 2, 3 * MS), *trials("b", "x", 1, MS, hang=True)])
    text = words(figure).replace("\n", " ")
    assert "hang: 16 of 16 trials" in text
    assert "round trips 0, 1, 10, 50 ms longer, handshakes of 0.2" in text
    assert "wire clock" in text
    assert len(marks(figure, "trial")) == 16
    assert len(marks(figure, "line")) == 1
    assert len(marks(figure, "estimate")) == 2


def test_an_interval_that_leaves_its_axis_has_an_arrow() -> None:
    wild = trials("a", "x", 2, MS)
    for number, one in enumerate(wild):
        one.over_ns["wire"] += (number % 7) * 2_000 * MS
    figure = round_trips(wild)
    assert [patch for patch in figure.axes[0].patches if patch.get_gid() == "beyond"]
    check(figure)


def test_nothing_is_no_picture() -> None:
    with pytest.raises(ValueError, match="no trial over round trips"):
        round_trips([row()])
