# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays against model peers: what is recorded passes against what it was recorded from."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.lab.models import serving
from dissect.replay.outcome import Outcome
from dissect.replay.player import Options, Pace, Shape
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, play, play_all, record, told

SHAPES = [Shape(), Shape("bytes", gap_ns=0), Shape("coalesced"), Shape("split", (4, 8, 3))]


@pytest.mark.parametrize("pace", list(Pace))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_rfb_passes_against_what_it_was_recorded_from(tmp_path: Path, shape: Shape, pace: Pace) -> None:
    [plan] = record(tmp_path / "a.pcapng", CLIENT, SERVER)
    result = play(plan, SERVER, Options(shape=shape, pace=pace))
    assert result.outcome is Outcome.PASS, told(result)
    assert result.compared_messages == 5


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_a_whole_spice_session_passes(tmp_path: Path, shape: Shape) -> None:
    plans = record(tmp_path / "a.pcapng", SPICY, SPICE)
    assert len(plans) == 3
    with serving(SPICE) as server:
        results = play_all(plans, server.host, server.port, Options(shape=shape))
    assert [result.outcome for result in results] == [Outcome.PASS] * 3, [told(result) for result in results]
    assert [result.channel for result in results] == ["main", "display", "inputs"]
