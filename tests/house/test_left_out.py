# SPDX-License-Identifier: GPL-2.0-or-later
"""A test that cannot run here is named with its reason, and under CI=true it is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.floors import ROOT

TESTS = """
import pytest

@pytest.mark.program("no-such-program")
def test_one(): pass

@pytest.mark.program("no-such-program")
def test_two(): pass

@pytest.mark.peer("xtigervncviewer")
def test_viewer(): pass

@pytest.mark.peer("no-such-peer")
def test_misspelt(): pass

def test_plain(): pass

def test_by_itself():
    pytest.skip("there is no display")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with our configuration and our conftest.py, on a machine with an empty PATH."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "empty").mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "tests")
    (tmp_path / "tests/test_it.py").write_text(TESTS)
    return tmp_path


def outcome(project: Path, **variables: str) -> tuple[int, list[str]]:
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    environment |= {"PATH": str(project / "empty"), **variables}
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.returncode, answer.stdout.splitlines()


def test_what_is_left_out_is_listed_with_its_reason(project: Path) -> None:
    code, lines = outcome(project)
    assert code == 1  # the misspelt name is an error, wherever it runs
    assert any("no peer 'no-such-peer' in the table" in line for line in lines)
    listed = lines[next(index for index, line in enumerate(lines) if " left out " in line) :]
    assert "2 tests: no-such-program is not on the PATH" in listed
    assert "1 test: there is no display" in listed
    assert (
        "1 test: xtigervncviewer is not installed (package tigervnc-viewer);"
        " xvfb is not installed (package xvfb)" in listed
    )
    assert "1 passed, 4 skipped, 1 error" in listed[-1]


def test_in_the_pipeline_nothing_is_left_out(project: Path) -> None:
    code, lines = outcome(project, CI="true")
    assert code == 1
    assert any(
        "under CI=true nothing is left out, but no-such-program is not on the PATH" in line for line in lines
    )
    assert "1 passed, 1 skipped, 4 errors" in lines[-1]
