# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of results: readable at any number of peers, and a hang is never drawn as a time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from dissect.stream import Side
from dissect.timing.grid import best_clock
from dissect.timing.plots.matrices import before_after, curves, heat_map
from dissect.timing.plots.stairs import staircase
from dissect.timing.results import Probed, Row
from tests.timing.paper import NASTY, check, words, written
from tests.timing.test_results import row

pytest.importorskip("scipy")
MS = 1_000_000
DRAW = [heat_map, before_after, curves]


def grid(clients: int, servers: int) -> list[Row]:
    """Every kind of pair: fast, slow, hung, agreed, lost; the longest names."""
    rows = []
    for a in range(clients):
        for b in range(servers):
            name, at = f"a-viewer-of-some-kind-{a}", f"some-server-or-other-{b}"
            kind = (a + b) % 5
            for trial in range(3):
                one = row(
                    name, at, trial, ns=(1 + trial) * 10 ** (4 + a % 4), by="close" if kind < 2 else None
                )
                if kind == 2:
                    one = row(name, at, trial, ns=5_000 * MS, by=None)
                if kind == 3:
                    one = row(name, at, trial, verdict="agreed")
                    one.observations = []
                if kind == 4:
                    one = row(name, at, trial, lost="the server died")
                rows.append(one)
    return rows


SIZES = ((1, 1), (2, 2), (3, 5), (4, 4), (8, 8), (12, 8), (1, 19), (19, 1), (10, 10))


@pytest.mark.parametrize(("draw", "size"), [(draw, size) for draw in DRAW for size in SIZES])
def test_no_text_meets_another(draw: Any, size: tuple[int, int]) -> None:
    check(draw(grid(*size)))


def test_the_largest_map() -> None:
    check(heat_map(grid(20, 20)))


def test_names_stand_in_the_order_of_people() -> None:
    figure = heat_map([row(f"viewer-{number}", "x") for number in (10, 9, 2)])
    names = [line for line in words(figure).splitlines() if line.startswith("viewer")]
    assert names == ["viewer-2", "viewer-9", "viewer-10"]


def in_grey(colour: Any) -> float:
    """How light a colour is on a printer without colours (Rec. 601)."""
    red, green, blue, *_ = colour
    return float(0.299 * red + 0.587 * green + 0.114 * blue)


def test_shades_are_told_apart_without_colour() -> None:
    """Ten times as long is visibly darker; a hang is hatched, so that it needs no shade."""
    rows = [row(f"client-{power}", "x", ns=5 * 10**power) for power in range(4, 9)]
    figure = heat_map(rows)
    shades = [in_grey(p.get_facecolor()) for p in figure.axes[0].patches if p.get_gid() == "cell time"]
    assert len(shades) == 5
    assert all(lighter - darker > 0.08 for lighter, darker in pairwise(shades))


@pytest.mark.parametrize("draw", DRAW)
def test_names_are_made_harmless(draw: Any) -> None:
    check(draw([row(NASTY, NASTY), row("a", "b", by=None)]))


def cells(figure: Any) -> list[str]:
    return [
        str(patch.get_gid()) for patch in figure.axes[0].patches if str(patch.get_gid()).startswith("cell")
    ]


def test_a_hang_is_not_a_time() -> None:
    figure = heat_map([row("a", "x"), row("b", "x", ns=5_000 * MS, by=None), row("c", "x", lost="gone")])
    assert cells(figure) == ["cell time", "cell hang", "cell lost"]
    assert "≥ 10 s" in words(figure)
    (hatched,) = [patch for patch in figure.axes[0].patches if patch.get_gid() == "cell hang"]
    assert hatched.get_hatch()


def test_shades_that_differ_mean_times_that_do() -> None:
    """Without a span of its own the map would show 0.60 and 0.62 ms as white and black."""
    figure = heat_map([row("a", "x", ns=600_000), row("b", "x", ns=620_000)])
    shades = [patch.get_facecolor() for patch in figure.axes[0].patches if patch.get_gid() == "cell time"]
    assert max(abs(a - b) for a, b in zip(*shades, strict=True)) < 0.05
    assert "1 ms to 10 ms, logarithmic" in words(figure)


def test_who_was_left_did_not_hang() -> None:
    one = row("a", "x", by=None)
    other = row("a", "x", by="reset").observations
    one.observations = [seen for seen in one.observations if seen.side is Side.CLIENT]
    one.observations += [seen for seen in other if seen.side is Side.SERVER]
    assert cells(heat_map([one])) == ["cell cut"]
    assert "cut off" in words(heat_map([one]))


def test_bounds_are_arrows_and_ticks() -> None:
    rows = [row("a", "x", 0), row("a", "x", 1, by=None), row("a", "x", 2, by=None)]
    figure = before_after(rows)
    arrows = [patch for patch in figure.axes[0].patches if patch.get_gid() == "censored"]
    marks = [line for line in figure.axes[0].lines if str(line.get_gid()).startswith("exact")]
    assert (len(arrows), len(marks)) == (2, 1)
    assert "1 of 3, median not reached" in words(figure)
    ticks = [line for line in curves(rows).axes[0].lines if line.get_gid() == "censored"]
    assert len(ticks) == 2


@pytest.mark.parametrize("draw", DRAW)
def test_the_circumstances_stand_below_the_title(draw: Any) -> None:
    text = words(draw([row(), row(trial=1)]))
    assert "wire clock; n = 2 a pair, 2 trials in all, 0 lost; deadline 5 s; seed 1; load average 0.5" in text


def test_clocks_are_not_mixed() -> None:
    one = row(trial=1)
    one.observations = [seen for seen in one.observations if seen.clock == "user"]
    assert best_clock([row()]) == "wire"
    assert best_clock([row(), one]) == "user"


def test_nothing_is_no_picture() -> None:
    with pytest.raises(ValueError, match="no trial"):
        heat_map([])
    for draw in (before_after, curves):
        with pytest.raises(ValueError, match="no observation"):
            draw([row(lost="gone")])


def probed(server: str = "127.0.0.1:5900") -> Probed:
    tables: dict[str, list[Any]] = {
        "spice": [(size, "close" if size >= 12 else None, MS) for size in range(43)],
        "rfb": [(size, "answer" if size == 12 else None, MS) for size in range(13)],
        "tls": [(1, "reset", MS), (87, "error-reply", MS)],
    }
    return Probed(server, "rfb", 2_000 * MS, tables, {"spice": (12, MS), "tls": None})


@pytest.mark.parametrize("count", [1, 2, 20])
def test_a_staircase(count: int) -> None:
    figure = staircase([probed(f"server number {number}") for number in range(count)])
    check(figure)
    text = words(figure)
    assert "12 bytes, 1 ms" in text
    assert "not noticed" in text
    bars = [str(p.get_gid()) for p in figure.axes[0].patches if str(p.get_gid()).startswith("bar")]
    each = ["bar None", "bar close", "bar None", "bar answer", "bar reset", "bar error-reply"]
    assert bars == each * count


def test_a_staircase_of_nothing() -> None:
    with pytest.raises(ValueError, match="no probe"):
        staircase([])
    check(staircase([probed(NASTY)]))


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_pictures_can_be_written(kind: str) -> None:
    assert written(heat_map(grid(2, 2)), kind) == written(heat_map(grid(2, 2)), kind)
    assert written(staircase([probed()]), kind)
