# SPDX-License-Identifier: GPL-2.0-or-later
"""The README shows what the commands print, and its Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dissect.app.main import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CONSOLE = re.findall(r"```console\n\$ (.+)\n((?:.*\n)*?)```", README)
PYTHON = re.findall(r"```python\n((?:.*\n)*?)```", README)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")


def test_there_is_something_to_try() -> None:
    assert len(CONSOLE) >= 4
    assert PYTHON


@pytest.mark.parametrize(("command", "shown"), CONSOLE, ids=[command for command, _ in CONSOLE])
def test_a_command_prints_what_the_readme_shows(
    command: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command)
    assert words[0] == "firstbyte"
    assert main(words[1:]) == 0
    assert capsys.readouterr() == (shown, "")


@pytest.mark.parametrize("code", PYTHON)
def test_its_python_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert "INVALID_MAGIC" in capsys.readouterr().out


def test_its_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
