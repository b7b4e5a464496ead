# SPDX-License-Identifier: GPL-2.0-or-later
"""The README's Python runs. (Its command lines: tests/docs.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n((?:.*\n)*?)```", README)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_there_is_something_to_try() -> None:
    assert PYTHON


@pytest.mark.parametrize("code", PYTHON)
def test_its_python_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert "INVALID_MAGIC" in capsys.readouterr().out
