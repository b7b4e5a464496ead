# SPDX-License-Identifier: GPL-2.0-or-later
"""The bundled trials: whole, with all that belongs to a figure, and they say what the documents say."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

import pytest

from dissect.stream import Side
from dissect.stream.text import duration
from dissect.timing.results import Row, read_rows
from dissect.timing.summaries import WHATS, distances, summaries

pytest.importorskip("pyarrow")
pytest.importorskip("scipy")
TRIALS = Path(__file__).resolve().parents[2] / "pcaps" / "trials"
FILES = sorted(path.name for path in TRIALS.glob("*.parquet"))
LARGEST = 200_000


@cache
def trials(name: str) -> list[Row]:
    rows, problems = read_rows(TRIALS / name)
    assert problems == []
    return rows


def test_every_file_is_described() -> None:
    text = (TRIALS / "README.md").read_text()
    assert set(re.findall(r"^\| `(\S+\.parquet)`", text, re.M)) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_trial_is_there_once_and_has_its_circumstances(name: str) -> None:
    assert (TRIALS / name).stat().st_size < LARGEST
    rows = trials(name)
    assert len({(row.pair, row.trial) for row in rows}) == len(rows)
    counted = {pair: sum(row.pair == pair for row in rows) for pair in {row.pair for row in rows}}
    assert len(set(counted.values())) == 1  # as many of each pair
    assert {row.lost for row in rows} == {None}
    for row in rows:
        assert row.machine
        assert row.client_version
        assert row.server_version
        assert row.load1 > 0
        assert row.seed == 2017
        assert not any(re.search(r"/(tmp|home|root)/", word["text"]) for word in row.words)
        clocks = {one.clock for one in row.observations}
        assert clocks <= ({"wire", "user"} if row.rtt_ns is None else {"wire"})


def test_what_the_real_programs_do() -> None:
    """No time is asserted: who noticed, by what and after how many bytes."""
    rows = trials("clients-and-servers.parquet")
    assert len({row.client for row in rows}) == 9
    assert len({row.server for row in rows}) == 5
    patient, spice = {"gvncviewer", "remote-viewer-vnc"}, {"spicy", "spicy-screenshot", "remote-viewer-spice"}
    for row in rows:
        honest = (row.client in spice) == (row.server == "qemu-spice")
        if honest:
            assert row.verdict == "agreed"
            assert bool(row.server_init_ns) == (row.server != "qemu-spice")
            continue
        server, client = row.seen(Side.SERVER, "wire"), row.seen(Side.CLIENT, "wire")
        assert server is not None
        assert client is not None
        if row.client in patient:
            assert (row.verdict, server.by, server.bytes) == ("wrong-protocol", "error-reply", 4)
            assert row.over_ns["wire"] > 1_500_000_000  # it waits for a greeting first
        elif row.client in spice:
            assert row.verdict == "wrong-protocol"
            assert server.by == ("reset" if row.server in ("xtightvnc", "x11vnc") else "close")
        else:
            assert row.verdict == "silent"
            assert not server.exact
            assert not client.exact


def test_the_table_of_the_readme_is_what_the_trials_say() -> None:
    text = (TRIALS.parents[1] / "README.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| \S.* → \S+ \|", line)]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in rows]
    pairs = {
        (client, server): cells
        for names, *cells in lines
        if names != "client → server"
        for client in names.split(" → ")[0].split(", ")
        for server in [names.split(" → ")[1]]
    }
    assert len(pairs) == 10
    found = {one.pair: one for one in summaries(trials("clients-and-servers.parquet"), "wire")}
    for pair, cells in pairs.items():
        figures = {figure.what: figure for figure in found[pair].figures}
        for what, cell in zip(WHATS[:3], cells, strict=True):
            figure = figures[what]
            middle = figure.median
            if cell in ("", "never", "for ever"):
                assert figure.exact == 0
            else:
                assert middle is not None
                assert middle.ns is not None
                assert cell.split(", ")[-1] == duration(middle.ns)
                assert set(figure.outcomes) <= {cell.split(", ")[0]}


TIMING = (TRIALS.parents[1] / "docs" / "timing.md").read_text("utf-8")


def cells_of(head: str) -> list[list[str]]:
    """The rows of the table in docs/timing.md that begins with `head`."""
    _, _, rest = TIMING.partition(f"{head}\n")
    lines = itertools.takewhile(lambda line: line.startswith("|"), rest.splitlines())
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines][1:]


def test_the_round_trips_of_the_document_are_those_of_the_trials() -> None:
    found = {(one.pair, one.what): one for one in distances(trials("round-trips.parquet"))}
    names, seen = "", 0
    for first, what, slope, own in cells_of("| client → server | what | round trips | by itself |"):
        names = first or names
        clients, server = names.split(" → ")
        for client in clients.split(", "):
            if not what:
                lines = [found[(client, server), kind] for kind in WHATS[:3]]
                assert all(one.line is None and one.hung == 20 for one in lines)
                continue
            one = next(found[pair] for pair in found if pair[0] == (client, server) and pair[1] in what)
            assert one.line is not None
            assert f"{one.line.slope:.2f}" == slope.split(" ")[0]
            assert own.startswith(duration(one.line.own_ns))
            seen += 1
    assert seen == 11


def test_the_cost_of_the_early_prefix_in_the_document_is_that_of_the_trials() -> None:
    found = {one.pair: one for one in summaries(trials("early-prefix.parquet"), "wire")}
    named = {
        "QEMU": "qemu-vnc",
        "Xtigervnc": "xtigervnc-patient",
        "Xtightvnc": "xtightvnc",
        "x11vnc": "x11vnc",
    }
    rows = cells_of("| server | without | with | difference [95 %] |")
    assert len(rows) == 6
    for name, without, early, _ in rows[:4]:
        for client, cell in (("model-vnc-quiet", without), ("model-vnc-early", early)):
            (figure,) = found[client, named.get(name.split(" ")[0], "x11vnc")].figures
            assert figure.n == 40
            assert figure.median is not None
            assert figure.median.ns is not None
            assert cell == duration(figure.median.ns)
