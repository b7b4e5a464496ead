# SPDX-License-Identifier: GPL-2.0-or-later
"""A baseline as text: what is written is read again, in the same order, and a damaged file is one line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.check.baseline import (
    Baseline,
    BaselineError,
    lines_of,
    made,
    observation,
    path_of,
    read,
    this_machine,
    write,
)
from dissect.check.running import Run
from dissect.replay.outcome import Outcome

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["C"]), min_size=1)
LINES = st.lists(WORDS.map(lambda text: f"  {text}"), min_size=1, max_size=4).map(tuple)
TIMES = st.lists(st.integers(0, 10**7).map(lambda us: observation(us * 1000)), min_size=1, max_size=30)


@settings(max_examples=60)
@given(
    st.dictionaries(LINES, st.integers(1, 99), min_size=1, max_size=3),
    st.dictionaries(WORDS, TIMES, max_size=2),
)
def test_what_is_written_is_read(
    behaviours: dict[tuple[str, ...], int], times: dict[str, list[object]]
) -> None:
    one = Baseline("c", "b 1.0", "x.pcapng", behaviours, times, "m" if times else "")  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        path = path_of(Path(folder), "build", "c")
        write(one, path)
        found = read(path)
        assert found is not None
        assert found.behaviours == one.behaviours
        assert found.machine == one.machine
        for name, seen in one.times.items():
            assert sorted(t.ns for t in found.times[name]) == sorted(t.ns for t in seen)
        assert list(lines_of(found)) == path.read_text(encoding="utf-8").splitlines()


def run(*lines: str, ns: int = 1_000_000) -> Run:
    return Run(Outcome.PASS, "", lines, times={"first answer": [observation(ns)]}, compared=1)


def test_the_most_frequent_behaviour_comes_first() -> None:
    found = made("c", "b", "", [run("x"), run("y"), run("y")], timed=True)
    assert found.behaviours == {("y",): 2, ("x",): 1}
    assert (found.usual, found.runs, found.machine) == (("y",), 3, this_machine())
    text = "\n".join(lines_of(found))
    assert text.index("seen: 2 of 3") < text.index("seen: 1 of 3") < text.index("time: first answer")
    assert not made("c", "b", "", [run("x")], timed=False).times


def test_a_bound_stays_a_bound(tmp_path: Path) -> None:
    one = Baseline("c", "b", "", {("x",): 1}, {"detection": [observation(5_000_000_000, exact=False)]}, "m")
    write(one, tmp_path / "c.txt")
    found = read(tmp_path / "c.txt")
    assert found is not None
    assert [(t.ns, t.exact) for t in found.times["detection"]] == [(5_000_000_000, False)]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read(tmp_path / "no.txt") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "format None is not 1"),
        ("format: 2\nseen: 1 of 1\n  x\n", "format '2' is not 1"),
        ("format: 1\n", "holds no behaviour"),
        ("format: 1\nseen: many\n", "line 2: seen must begin with a number"),
        ("format: 1\n  x\n", "line 2: belongs to nothing"),
        ("format: 1\nwhat\n", "line 2: no key"),
        ("format: 1\nwhat: ever\n", "line 2: unknown key 'what'"),
        ("format: 1\nseen: 1 of 1\n  x\ntime: t\n  ms: 1 two\n", "line 5: not all of these are milliseconds"),
        ("format: 1\nseen: 1 of 1\n  x\ntime: t\n  s: 1\n", "line 5: unknown key 's'"),
    ],
)
def test_a_damaged_one_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.txt"
    path.write_text(text)
    with pytest.raises(BaselineError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BaselineError, match="utf-8"):
        read(path)
