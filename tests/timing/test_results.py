# SPDX-License-Identifier: GPL-2.0-or-later
"""Results: what is written is read again, in both formats, and what is no row is said to be none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dissect.stream import Side
from dissect.timing.observations import Observation
from dissect.timing.results import (
    FILE,
    SCHEMA,
    ResultsError,
    Row,
    is_results,
    read_rows,
    write_parquet,
)

MS = 1_000_000


def row(
    client: str = "gvncviewer",
    server: str = "qemu-spice",
    trial: int = 0,
    ns: int = 5 * MS,
    by: Any = "close",
    **changed: Any,
) -> Row:
    """A trial in which both sides were observed by both clocks, the client after twice the time."""
    made = Row(
        client=client, server=server, trial=trial, order=trial, seed=1, deadline_ns=5_000 * MS,
        started_ns=10**18, load1=0.5, warm=True, verdict="wrong-protocol", client_spoke="rfb",
        server_spoke="spice",
    )  # fmt: skip
    for name, value in changed.items():
        setattr(made, name, value)
    status: Any = "exact" if by else "censored"
    made.observations = [
        Observation(side, ns * (1 + (side is Side.CLIENT)) + (clock == "user"), status, by, 4, False,
                    "rfb", "spice", made.order, f"{client} → {server}", clock)
        for clock in ("user", "wire")
        for side in Side
    ]  # fmt: skip
    return made


def rows() -> list[Row]:
    return [
        row(words=[{"ns": 3, "stream": "stderr", "text": "\u202eboo"}], server_init_ns={"wire": 7}),
        row(trial=1, by=None, client_exit=-9),
        row(trial=2, lost="the server died", verdict=None),
    ]


def test_ndjson_comes_back(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_text("".join(json.dumps(one.to_json()) + "\n" for one in rows()))
    assert read_rows(file) == (rows(), [])
    assert read_rows(tmp_path) == (rows(), [])
    assert is_results(file)
    assert is_results(tmp_path)


def test_a_lost_trial_that_was_measured_again_is_left_out(tmp_path: Path) -> None:
    found = [row(lost="gone"), row(trial=1, lost="gone"), row(), row()]  # the last: of another run, it may be
    (tmp_path / FILE).write_text("".join(json.dumps(one.to_json()) + "\n" for one in found))
    assert read_rows(tmp_path)[0] == found[1:]


def test_parquet_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / "x.parquet"
    write_parquet(rows(), file)
    assert read_rows(file) == (rows(), [])
    assert is_results(file)
    (tmp_path / "bad.parquet").write_bytes(file.read_bytes()[:200])
    with pytest.raises(ResultsError, match=r"bad\.parquet"):
        read_rows(tmp_path / "bad.parquet")


def test_what_is_seen_is_by_side_and_clock() -> None:
    one = rows()[0].seen(Side.CLIENT, "user")
    assert one is not None
    assert (one.ns, one.clock) == (10 * MS + 1, "user")
    assert row(lost="x").pair == ("gvncviewer", "qemu-spice")


def changed(**values: Any) -> str:
    return json.dumps(rows()[0].to_json() | values)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "not a line of JSON"),
        ("[]", "schema None"),
        ("{}", "schema None"),
        (changed(schema="firstbyte-trial/99"), "schema 'firstbyte-trial/99'"),
        (json.dumps({"schema": SCHEMA}), "not a whole row: 'client'"),
        (changed(client=7), "not what it should be"),
        (changed(deadline_ns="x"), "not a whole row"),
        (changed(observations=[{"status": "guessed", "ns": 1}]), "guessed"),
        (changed(observations=3), "not a whole row"),
        ("[" * 100_000, ""),
    ],
)
def test_a_line_that_is_no_row_is_named_and_the_others_used(line: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "x.ndjson"
    good = json.dumps(rows()[1].to_json())
    file.write_text(f"{good}\n{line}\n{good}\n")
    found, problems = read_rows(file)
    assert found == [rows()[1]] * 2
    assert len(problems) == 1
    assert f"at byte {len(good) + 1:,}: " in problems[0]
    assert reason in problems[0]
    file.write_text(line + "\n")
    with pytest.raises(ResultsError, match=r"x\.ndjson: no row"):
        read_rows(file)


def test_a_row_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "x.ndjson"
    whole = json.dumps(rows()[0].to_json())
    file.write_text(f"{whole}\n{whole[:-5]}")
    assert read_rows(file)[0] == rows()[:1]
    assert "cut off" in read_rows(file)[1][0]


def test_other_files_are_no_results(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\n\r\r\n")
    assert not is_results(tmp_path / "x")
    assert not is_results(tmp_path)
    assert not is_results(tmp_path / "absent")
