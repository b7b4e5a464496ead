# SPDX-License-Identifier: GPL-2.0-or-later
"""Detection times of 1 to hundreds of conversations can be read, and a bound is never drawn as a value."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from dissect.dissection.verdict import By
from dissect.stream import Side
from dissect.timing.observations import Observation
from dissect.timing.plots import FORMATS, detection_times
from dissect.timing.plots.detections import CENSORED
from tests.timing.paper import NASTY, check, marks, places, texts, words, written

KINDS: tuple[By, ...] = ("error-reply", "close", "reset")
PAIRS = [
    (client, server) for client in ("rfb", "spice", "tls", "http") for server in ("rfb", "spice", "nothing")
]


def one(
    ns: int,
    by: By | None = "close",
    *,
    side: Side = Side.SERVER,
    pair: tuple[str, str] = ("rfb", "spice"),
    after_close: bool = False,
    conversation: int = 0,
    label: str = "a.pcap",
    size: int = 4,
) -> Observation:
    status = "exact" if by else "censored"
    return Observation(side, ns, status, by, size, after_close, *pair, conversation, label)  # type: ignore[arg-type]


def many(number: int, groups: int, seed: int = 1) -> list[Observation]:
    """Observations over nine decades, of every kind, in so many groups."""
    random = Random(seed)
    keys = [(pair, side) for pair in PAIRS for side in Side][:groups]
    found = []
    for conversation in range(number):
        pair, side = keys[conversation % len(keys)]
        ns = int(10 ** random.uniform(3.5, 10.5))
        by = random.choice([*KINDS, None])
        found.append(
            one(
                ns,
                by,
                side=side,
                pair=pair,
                conversation=conversation,
                after_close=bool(by) and random.random() < 0.3,
            )
        )
    return found


def drawn(found: list[Observation]) -> tuple[Counter[float], Counter[float]]:
    """The seconds at which a picture has a mark of an exact time, and an arrow of a bound."""
    figure = detection_times(found)
    check(figure)
    times = next(axes for axes in figure.axes if axes.get_label() == "times")
    exact, bounds = Counter[float](), Counter[float]()
    lines: list[Any] = list(times.lines)
    for line in lines:
        seconds = [round(x, 9) for x, _ in places(line)]
        if line.get_gid() == "censored":
            assert line.get_marker() is CENSORED
            bounds.update(seconds)
        elif str(line.get_gid()).startswith("exact"):
            assert line.get_marker() in "os^"
            exact.update(seconds)
        else:
            assert line.get_gid() in (None, "break")
    return exact, bounds


@pytest.mark.parametrize(
    ("number", "groups"), [(1, 1), (2, 2), (12, 3), (13, 3), (40, 20), (200, 2), (200, 20), (400, 24)]
)
def test_every_observation_is_drawn_once_as_what_it_is(number: int, groups: int) -> None:
    found = many(number, groups)
    exact, bounds = drawn(found)
    assert exact == Counter(seen.ns / 1e9 for seen in found if seen.exact)
    assert bounds == Counter(seen.ns / 1e9 for seen in found if not seen.exact)


def test_a_bound_alone_has_no_mark_of_a_value() -> None:
    figure = detection_times([one(10_000_000_000, None)])
    check(figure)
    assert marks(figure, "censored")
    assert not marks(figure, "exact")
    assert not marks(figure, "legend-exact")
    assert "≥ 10 s" in words(figure)


def test_kinds_differ_by_shape_and_late_ones_are_hollow() -> None:
    figure = detection_times(
        [one(1_000, by, conversation=n) for n, by in enumerate(KINDS)] + [one(5, after_close=True)]
    )
    shapes = {line.get_gid(): line.get_marker() for line in marks(figure, "exact")}
    assert len({shapes[f"exact-{by}"] for by in KINDS}) == 3
    (hollow,) = marks(figure, "exact-close-after-close")
    assert hollow.get_markerfacecolor() == "white"
    assert hollow.get_marker() == shapes["exact-close"]
    assert "hollow: after the peer had left" in words(figure)


def test_rows_are_groups_with_their_numbers() -> None:
    found = [one(70_000 + n, "error-reply", conversation=n) for n in range(8)]
    found += [one(10**10, None, conversation=n) for n in range(8, 11)]
    found += [one(2 * 10**9, "close", side=Side.CLIENT, size=0, conversation=n) for n in range(5)]
    figure = detection_times(found)
    check(figure)
    text = words(figure)
    assert "n = 11: 8 error reply, 3 not noticed" in text
    assert "n = 5: 5 gave up (close)" in text
    assert text.splitlines().count("RFB → SPICE") == 1
    assert (
        "16 observations of 11 conversations in a.pcap: 13 seen to end, 3 not (censored); capture clock"
        in text
    )


def test_few_observations_have_a_row_each() -> None:
    figure = detection_times(
        [one(71_000, "error-reply", label=f"{name}.pcap", conversation=3) for name in "abc"]
    )
    check(figure)
    assert words(figure).count("0.071 ms, 4 bytes") == 3
    assert "b.pcap, #3" in words(figure)


def test_marks_of_a_row_do_not_cover_each_other() -> None:
    figure = detection_times([one(70_000 + n, conversation=n) for n in range(13)], few=0)
    check(figure)
    times = next(axes for axes in figure.axes if axes.get_label() == "times")
    points = [times.transData.transform(place) for line in marks(figure, "exact") for place in places(line)]
    lanes = Counter(round(y) for _, y in points)
    assert len(points) == 13
    assert len(lanes) == 9  # as many as there are; only then may two share one


@pytest.mark.parametrize(
    "times",
    [
        [71_000],
        [0],
        [0, 71_000, 10**10],
        [1, 10**13],
        [999_999_999, 1_000_000_001],
        [4 * 10**4, 6 * 10**5, 3 * 10**6],
        [10**k for k in range(14)],
        [1_000, 2_000],
    ],
)
def test_the_axis_follows_the_data(times: list[int]) -> None:
    found = [one(ns, conversation=n) for n, ns in enumerate(times)] + [one(max(times), None, conversation=99)]
    for few in (0, 100):
        figure = detection_times(found, few=few)
        check(figure)
        axes = next(axes for axes in figure.axes if axes.get_label() == "times")
        low, high = axes.get_xlim()
        assert low <= min((ns / 1e9 for ns in times if ns), default=1)
        assert high >= max(times) / 1e9
        ticks = [text.get_text() for text in axes.get_xticklabels() if text in texts(figure)]
        assert len(ticks) >= 2
        assert (ticks[0] == "0") == (0 in times)


def test_names_that_strangers_chose() -> None:
    found = [one(10**n, label=NASTY * 40 + str(n), pair=(NASTY, "x" * 300)) for n in range(3, 9)]
    for few in (0, 100):
        check(detection_times(found, few=few))


def test_nothing_gives_no_picture() -> None:
    with pytest.raises(ValueError, match="no observation"):
        detection_times([])


@pytest.mark.parametrize("kind", FORMATS)
def test_the_order_of_conversations_changes_nothing(kind: str) -> None:
    found = many(60, 8)
    shuffled = list(found)
    Random(2).shuffle(shuffled)
    assert written(detection_times(found), kind) == written(detection_times(shuffled), kind)
