# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tables of a report hold, before a browser shows it."""

from __future__ import annotations

import pytest

from dissect.report.conversations import Conversations
from dissect.report.markup import tag
from dissect.report.tables import TOGETHER, Column, Table, time
from dissect.report.trials import SHADES, maps, probe_table, trial_table
from dissect.stream.records import Gap, Violation
from dissect.timing.results import Probed
from tests.dissection.conversations import ERROR_REPLY, FIN, MS, C, S, run
from tests.report.test_markup import Seen
from tests.timing.test_results import row


def test_details_come_out_as_they_went_in() -> None:
    table = Table("t", "T", [Column("a")])
    details = [tag("p", f"{number} <\udcff>") for number in range(2 * TOGETHER + 1)]
    for number, one in enumerate(details):
        table.add([f"\x1b{number}", None], f"t/{number}", one)
    found = table.to_json()
    assert len(table.packed) == 3
    assert [one.encode("utf-8", "backslashreplace") for one in details] == [
        one.encode() for one in table.details()
    ]
    assert found["rows"][7] == ["\\x1b7", None]
    assert found["together"] == TOGETHER
    assert Table("t", "T", []).to_json()["together"] == 0


def test_a_bound_sorts_behind_its_equal() -> None:
    assert time(5 * MS, first=True) == [5_000_000, "5 ms", "first"]
    assert time(5 * MS, censored=True, more=", 4 B") == [5_000_000.5, "≥ 5 ms, 4 B", "bound"]
    assert time(None) is None


def test_a_conversation_is_a_row_and_the_odd_are_listed() -> None:
    found = Conversations()
    cure = run([(C, b"RFB ", 1_860 * MS), (S, ERROR_REPLY, 1_861 * MS), (S, FIN, 1_862 * MS)])
    cure.records.append(Violation(S, "rfb", "Bell", 300, 1, 1_870 * MS, "state", "why not"))
    cure.records.append(Gap(C, "rfb", 4, 77, 1_880 * MS))
    found.add("a.pcap", "a b.pcap", cure)
    (cells,) = found.table.rows
    assert cells[0] == "a.pcap/0"
    assert cells[3:5] == ["RFB → SPICE", [0, "wrong-protocol", "wrong-protocol"]]
    assert cells[5] == [1_000_000, "1 ms, 4 B, error reply", "first"]
    assert cells[7] == [1_000_001, "1 violation, 1 gap of 77 bytes", "bad"]
    (odd,) = found.odd
    assert (odd.anchor, odd.words) == ("a.pcap/0", "wrong-protocol; 1 violation, 1 gap of 77 bytes")
    (details,) = found.table.details()
    words = Seen(details).words
    assert "server, offset 300, 1.870000 s: violation in Bell: why not" in words
    assert "client, offset 4, 1.880000 s: gap of 77 bytes that are not in the capture" in words
    assert "firstbyte show 'a b.pcap' --conversation 0" in words


def test_trials_and_probes_are_rows_and_maps() -> None:
    pytest.importorskip("scipy")
    rows = [row("a", "x"), row("b", "x", by=None), row("c", "x", lost="gone")]
    table = trial_table([("run", rows)])
    assert [cells[6] for cells in table.rows][2] == ["lost", "lost", "lost"]
    _, client = maps([("run", rows)])
    looks = [said["class"] for name, said in Seen(client).tags if name == "td"]
    assert looks[1:] == ["hang", "lost"]
    assert looks[0] in [f"time s{shade}" for shade in range(SHADES)]
    probed = Probed(
        "127.0.0.1:5900", "spice", 10**9, {"rfb": [(0, None, 10**9), (4, "close", MS)]}, {"rfb": (4, MS)}
    )
    shown = probe_table([probed]).rows
    assert shown[0][4:] == ["none before the deadline", [10**9 + 0.5, "≥ 1 s", "bound"]]
    assert shown[1][3:] == [4, "close", [MS, "1 ms", ""]]


def test_what_was_measured_otherwise_is_a_map_of_its_own() -> None:
    pytest.importorskip("scipy")
    far = row("a", "x")
    far.rtt_ns = 10 * MS
    found = [Seen(one).words for one in maps([("run", [row("a", "x"), far]), ("more", [row("a", "x")])])]
    assert [words.partition("wire")[0] for words in found] == [
        f"How long until the {side} noticed ({of})"
        for of in ("run, loopback", "run, round trip 10 ms", "more")
        for side in ("server", "client")
    ]
