# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans of segments: what TOML says, what it may not say, and what a recording makes."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from dissect.replay.packets.plan import (
    ALWAYS,
    LARGEST,
    MSS,
    Handshake,
    PacketPlan,
    Piece,
    PlanError,
    as_recorded,
    plan_from,
    read_plan,
)
from dissect.replay.plan import Segment


def test_a_plan_says_all_that_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        dedent("""
            mss = 536
            cut = 5
            window = 1000
            handshake = "fin"
            rto_ms = 50
            patience_ms = 0
            [[segment]]
            offset = 4
            size = 4
            [[segment]]
            offset = 8
            size = 4
            order = 0
            duplicate = 2
            drop = 1
            overlap = 3
            fill = 255
            window = 8
            delay_ms = 20
            fin = true
            [[segment]]
            offset = 0
            size = 4
            drop = true
        """)
    )
    assert read_plan(path) == PacketPlan(
        (
            Piece(4, 4),
            Piece(8, 4, duplicate=2, drop=1, overlap=3, fill=255, window=8, delay_ns=20_000_000, fin=True),
            Piece(0, 4, drop=ALWAYS),
        ),
        mss=536,
        cut=5,
        window=1000,
        handshake=Handshake.FIN,
        rto_ns=50_000_000,
        patience_ns=0,
    )


def test_order_moves_a_segment_before_others() -> None:
    reset = {"offset": 2, "rst": True, "order": 10}
    plan = plan_from({"segment": [{"offset": 0, "size": 1, "order": 9}, {"offset": 1, "size": 1}, reset]})
    assert [piece.offset for piece in plan.pieces] == [1, 0, 2]


def test_an_empty_plan_is_an_ordinary_connection() -> None:
    assert plan_from({}) == PacketPlan()


@pytest.mark.parametrize(
    ("segment", "why"),
    [
        ({"size": 4}, "segment 0: has no offset"),
        ({"offset": 0}, "nothing to send"),
        ({"offset": -1, "size": 4}, "segment 0: offset is -1"),
        ({"offset": 0, "size": 65536}, "segment 0: size is 65536"),
        ({"offset": 10, "size": LARGEST, "overlap": 1}, "one packet carries"),
        ({"offset": 2, "size": 4, "overlap": 3}, "begins before the stream"),
        ({"offset": 4, "overlap": 2, "fin": True}, "bytes of its own"),
        ({"offset": 2, "size": 4, "fill": 3}, "there is no overlap"),
        ({"offset": 2, "size": 4, "overlap": 1, "fill": 256}, "fill is 256"),
        ({"offset": 0, "size": 4, "fin": True, "rst": True}, "fin and rst"),
        ({"offset": 0, "size": "4"}, "size is not a whole number"),
        ({"offset": True, "size": 4}, "offset is not a whole number"),
        ({"offset": 0, "size": 4, "fin": 1}, "fin is not true or false"),
        ({"offset": 0, "size": 4, "flags": "S"}, 'unknown "flags"'),
        ({"offset": 0, "size": 4, "order": -2}, "order is -2"),
    ],
)
def test_a_segment_that_cannot_be_is_named(segment: dict[str, Any], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        plan_from({"segment": [segment]})


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"segments": []}, 'unknown "segments"'),
        ({"segment": {"offset": 0}}, "not a list of tables"),
        ({"handshake": "maybe"}, "handshake is none of ack, rst, fin, silence"),
        ({"window": 70_000}, "window is 70000"),
        ({"segment": [{"offset": 0, "size": 1, "rst": True}, {"offset": 1, "size": 1}]}, "after a rst"),
        ({"segment": [{"offset": 0, "size": 1, "fin": True}, {"offset": 1, "size": 1}]}, "stream ends at 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(table: dict[str, Any], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        plan_from(table)


@pytest.mark.parametrize(("data", "why"), [(b"mss = ", "not TOML"), (b"\xff\xfe", "byte 0 is not UTF-8")])
def test_a_file_that_is_no_toml(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_bytes(data)
    with pytest.raises(PlanError, match=why):
        read_plan(path)


def test_a_recording_keeps_its_boundaries_and_its_order() -> None:
    plan = as_recorded([Segment(0, 4, 10), Segment(4, 4, 30), Segment(8, 4, 20), Segment(12, 1, 30)])
    assert [(piece.offset, piece.size) for piece in plan.pieces] == [(0, 4), (8, 4), (4, 4), (12, 1)]
    assert plan.mss == MSS


def test_what_no_packet_carries_is_cut() -> None:
    plan = as_recorded([Segment(0, 100_000, 1)])
    assert [(piece.offset, piece.size) for piece in plan.pieces] == [
        (0, LARGEST),
        (LARGEST, 100_000 - LARGEST),
    ]
    assert plan.mss == LARGEST
