# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables: whole nanoseconds, UTC, one layout for whoever writes and whoever reads, and versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dissect import firstbyte as fb
from dissect.app import main as app
from dissect.firstbyte import tables
from dissect.firstbyte.tables import COLUMNS, CONVERSATION, MESSAGE, OBSERVATION, TRIAL
from dissect.timing.results import read_rows, write_parquet
from tests.app.captures import CURE, FAST, HANG, START, write
from tests.house.floors import ROOT

pa: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")

TRIALS = ROOT / "tests/firstbyte/trials.ndjson"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write(tmp_path / "three.pcapng", CURE, FAST, HANG)


def all_tables(capture: Path) -> dict[str, fb.Table]:
    captures, trials = fb.open(capture), fb.trials(TRIALS)
    return {
        MESSAGE: captures.table("messages"),
        CONVERSATION: captures.table(),
        OBSERVATION: captures.table("observations"),
        TRIAL: trials.table(),
    }


def test_every_layout_goes_to_parquet_and_back(capture: Path, tmp_path: Path) -> None:
    found = all_tables(capture)
    assert {*COLUMNS, TRIAL} == set(found)
    for layout, table in found.items():
        path = tmp_path / "table.parquet"
        table.to_parquet(path)
        again = fb.read_parquet(path)
        assert (again.layout, again.columns) == (layout, table.columns)
        assert again.arrow.equals(table.arrow)
        assert again.arrow.schema.metadata[b"firstbyte"].decode() == layout
        assert parquet.read_schema(path).metadata[b"firstbyte"].decode() == layout
        assert len(list(table)) == len(table) == len(again)


def test_nanoseconds_are_whole_and_times_are_utc(capture: Path) -> None:
    for layout, table in all_tables(capture).items():
        for column in table.arrow.schema:
            if column.name.endswith("_ns") or column.name == "ns":
                assert column.type in (pa.int64(), *(c for c in [column.type] if pa.types.is_struct(c))), (
                    layout
                )
            if f"{column.name}_ns" in table.columns:
                assert column.type == pa.timestamp("ns", "UTC")
                whole = table.arrow.column(f"{column.name}_ns")
                assert table.arrow.column(column.name).cast(pa.int64()).equals(whole)


def test_pandas_and_polars_keep_every_nanosecond(capture: Path) -> None:
    table = fb.trials(TRIALS).table("observations")
    wanted = [row.started_ns for row in fb.trials(TRIALS) for _ in row.observations]
    assert any(ns % 1000 for ns in wanted)
    frame = table.to_pandas()
    assert frame["started_ns"].tolist() == wanted
    assert [one.value for one in frame["started"]] == wanted
    assert str(frame["started"].dt.tz) == "UTC"
    polars = table.to_polars()
    assert polars["started_ns"].to_list() == wanted
    assert polars["started"].dt.timestamp("ns").to_list() == wanted
    verdicts = fb.open(capture).table().to_pandas()
    assert str(verdicts["client_detect_ns"].dtype) == "Int64"
    assert int(verdicts["start_ns"].iloc[0]) == START


def test_rows_are_those_of_the_commands(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["show", "--json", str(capture)]) == app.PASS
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = (
        "capture",
        "conversation",
        "kind",
        "side",
        "protocol",
        "name",
        "time_ns",
        "offset",
        "size",
        "fields",
    )
    key = ("conversation", "time_ns")
    found = [
        {name: json.loads(row[name]) if name == "fields" else row[name] for name in names}
        for row in fb.open(capture).table("messages")
    ]
    wanted = [{name: row[name] for name in names} for row in shown]
    assert sorted(found, key=lambda row: [row[name] for name in key]) == sorted(
        wanted, key=lambda row: [row[name] for name in key]
    )


def test_what_scan_and_matrix_write_is_read(capture: Path, tmp_path: Path) -> None:
    assert app.main(["scan", str(capture), "-o", str(tmp_path / "out"), "--jobs", "1"]) == app.PASS
    scanned = fb.read_parquet(tmp_path / "out")
    assert scanned.layout == CONVERSATION
    assert scanned.to_pandas()["verdict"].tolist() == fb.open(capture).table().to_pandas()["verdict"].tolist()
    rows, _ = read_rows(TRIALS)
    write_parquet(rows, tmp_path / "run.parquet")
    table = fb.read_parquet(tmp_path / "run.parquet")
    assert table.layout == TRIAL
    assert table.arrow.equals(fb.trials(TRIALS).table().arrow)
    assert [row.to_json() for row in fb.trials(tmp_path / "run.parquet")] == [row.to_json() for row in rows]


def test_another_layout_is_refused_in_one_line(capture: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for metadata, words in (
        (None, "names no layout"),
        ({"firstbyte": "firstbyte-message/2"}, "has the layout 'firstbyte-message/2'"),
    ):
        parquet.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), path)
        with pytest.raises(fb.TableError, match=words) as error:
            fb.read_parquet(path)
        assert "\n" not in str(error.value)
    parquet.write_table(
        pa.table({"offset": ["no number"]}).replace_schema_metadata({"firstbyte": MESSAGE}), path
    )
    with pytest.raises(fb.TableError):
        fb.read_parquet(path)
    path.write_text("no Parquet at all")
    with pytest.raises(fb.TableError, match="no Parquet that can be read"):
        fb.read_parquet(path)
    with pytest.raises(FileNotFoundError):
        fb.read_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="no table of 'packets'"):
        fb.open(capture).table("packets")


def test_a_column_that_was_added_later_has_no_value_in_older_files(capture: Path, tmp_path: Path) -> None:
    table = fb.open(capture).table().arrow.drop_columns(["start", "session"])
    parquet.write_table(table, tmp_path / "old.parquet")
    again = fb.read_parquet(tmp_path / "old.parquet")
    assert again.columns == list(COLUMNS[CONVERSATION])
    assert again.arrow.column("start").null_count == len(again)


def test_a_table_is_read_by_whoever_reads_arrow(capture: Path) -> None:
    table = fb.open(capture).table()
    assert pa.table(table).num_rows == len(table) == 3


def test_without_the_library_one_line_says_what_to_install(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    table = fb.open(capture).table()
    assert table.arrow is not None
    for name, ask in (("pandas", table.to_pandas), ("polars", table.to_polars)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(fb.TableError, match=f"pip install {name}"):
            ask()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(fb.TableError, match=r"pip install 'firstbyte\[tables\]'"):
        tables.pyarrow()


def test_a_table_shows_its_first_and_last_rows_escaped(capture: Path) -> None:
    rows = [
        {**dict.fromkeys(COLUMNS[CONVERSATION]), "conversation": number, "reason": f"<script>{number}\x1b"}
        for number in range(50)
    ]
    page = fb.Table(CONVERSATION, lambda: iter(rows))._repr_html_()
    assert "&lt;script&gt;0" in page
    assert "&lt;script&gt;49" in page
    assert "&lt;script&gt;25" not in page
    assert "… 30 more rows …" in page
    assert "<script" not in page
    assert "\x1b" not in page
