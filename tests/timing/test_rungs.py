# SPDX-License-Identifier: GPL-2.0-or-later
"""What a ladder has on it, before anybody draws it; `test_ladders` holds the picture."""

from __future__ import annotations

import sys
from dataclasses import replace
from subprocess import run as execute

from dissect.stream import Side
from dissect.stream.records import Message, Record
from dissect.timing.rungs import Rungs, date
from tests.dissection.conversations import ERROR_REPLY, FIN, GREETING, MS, C, S, Step, run

CURE: list[Step] = [
    (C, b"RFB ", 1_860 * MS),
    (S, ERROR_REPLY, 1_861 * MS),
    (S, FIN, 1_862 * MS),
    (C, FIN, 1_863 * MS),
]


def test_a_rung_for_each_thing_that_happened() -> None:
    rungs = Rungs(
        run(
            [
                (C, b"RFB ", 1_860 * MS),
                (S, ERROR_REPLY, 1_861 * MS),
                (S, FIN, 1_862 * MS),
                (C, FIN, 1_863 * MS),
            ]
        )
    )
    assert [(row.kind, row.side) for row in rungs.rows] == [
        ("open", None),
        ("wait", None),
        ("message", C),
        ("message", S),
        ("call", S),
        ("ending", S),
        ("ending", C),
        ("call", C),
    ]
    assert [row.title for row in rungs.rows][1:4] == [
        "nothing for 1.86 s",
        "ProtocolVersion",
        "SpiceLinkReply",
    ]
    assert rungs.bar_from == {C: 3, S: 2}  # from the first wrong byte that reached each
    assert "★ a reaction, ☆ a reaction after the peer had left" in rungs.caption("a.pcap")


def test_many_messages_are_folded_and_none_is_lost() -> None:
    whole = run([(S, GREETING, MS)], end=100 * MS)
    records: list[Record] = [
        Message(S, "rfb", "Bell", number, 1, b"\2", number * MS, number * MS) for number in range(60)
    ]
    rungs = Rungs(replace(whole, records=records), most=10)
    shown = sum(row.kind == "message" for row in rungs.rows)
    (folded,) = (row for row in rungs.rows if row.kind == "fold")
    assert folded.title.startswith(f"… {len(rungs.dissected.records) - shown:,} more messages, ")
    assert folded.begin_ns < folded.time_ns


def test_times_that_no_calendar_has() -> None:
    assert date(0) == "1970-01-01 00:00:00 UTC"
    assert date(1 << 100) == f"{1 << 100} ns"


def test_rungs_cost_no_matplotlib() -> None:
    code = "import sys, dissect.timing.rungs; sys.exit('matplotlib' in sys.modules)"
    assert execute([sys.executable, "-c", code], check=False).returncode == 0


def test_both_sides_have_a_bar() -> None:
    rungs = Rungs(run([], end=10_000 * MS))
    assert {row.side for row in rungs.rows if row.kind == "call"} == set(Side)
