# SPDX-License-Identifier: GPL-2.0-or-later
"""Every public name is documented with an example, and every example does what it says."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import dissect.firstbyte as fb
from dissect.dissection.verdict import Detection, Verdict
from dissect.timing.observations import Observation
from tests.house.floors import ROOT

pytest.importorskip("pyarrow")

MODULES = ("conversations", "pictures", "replays", "tables", "trials")

FOREIGN = (fb.CaptureError, Detection, Observation, fb.Side, Verdict)
"""What stands in other rooms and is named here too, so that one import does."""


def examples() -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in MODULES:
        yield from finder.find(import_module(f"dissect.firstbyte.{name}"))


EXAMPLES = {test.name.removeprefix("dissect.firstbyte."): test for test in examples()}


@pytest.mark.parametrize("name", sorted(name for name, test in EXAMPLES.items() if test.examples))
def test_an_example_does_what_it_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    outcome = runner.run(EXAMPLES[name], out=said.append)
    assert outcome.attempted
    assert not outcome.failed, "".join(said)


def public() -> Iterator[tuple[str, Any]]:
    """Every public function, class, and every public method and property of these classes."""
    for name in fb.__all__:
        found = getattr(fb, name)
        if found in FOREIGN:
            continue
        yield name, found
        if inspect.isclass(found) and not issubclass(found, Exception):
            for member, value in vars(found).items():
                if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value


@pytest.mark.parametrize(
    ("name", "found"), list(public()), ids=lambda one: one if isinstance(one, str) else ""
)
def test_a_public_name_is_documented_and_typed(name: str, found: Any) -> None:
    text = inspect.getdoc(found)
    assert text, "no docstring"
    function = found.fget if isinstance(found, property) else found
    if inspect.isfunction(function):
        assert "return" in function.__annotations__
    if name.count(".") == 0 and not (inspect.isclass(found) and issubclass(found, Exception)):
        assert ">>>" in text, "no example"


def test_importing_it_imports_no_heavy_library() -> None:
    import subprocess
    import sys

    heavy = ("matplotlib", "pyarrow", "pandas", "polars", "scipy", "numpy")
    code = f"import sys, dissect.firstbyte; print(*(name for name in {heavy} if name in sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == []
