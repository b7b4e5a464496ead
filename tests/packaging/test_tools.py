# SPDX-License-Identifier: GPL-2.0-or-later
"""The two scripts behind `make`: an environment on a bare machine, and the packages for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dissect.lab.peers import load_peers
from tests.house.floors import ROOT
from tools import debian


def make_environment(target: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [ROOT / "tools/venv", target],
        env={**environment, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def pip_works(target: Path) -> bool:
    return (
        subprocess.run([target / "bin/python", "-m", "pip", "--version"], capture_output=True).returncode == 0
    )


def test_a_broken_environment_is_made_again_and_one_that_works_is_kept(tmp_path: Path) -> None:
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to("/no/such/python")
    assert make_environment(tmp_path / "venv").returncode == 0
    assert pip_works(tmp_path / "venv")
    kept = tmp_path / "venv" / "kept"
    kept.touch()
    assert make_environment(tmp_path / "venv").returncode == 0
    assert kept.exists()


@pytest.mark.index
@pytest.mark.program("apt-get", "dpkg-deb")
def test_where_debian_keeps_pip_apart_it_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/ensurepip.py").write_text("raise ImportError\n")
    made = make_environment(tmp_path / "venv", PYTHONPATH=str(tmp_path / "bare"))
    assert made.returncode == 0, made.stderr
    assert pip_works(tmp_path / "venv")
    assert (tmp_path / "venv/bin/pip").exists()  # what make looks at


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_an_unfit_python_is_refused_in_one_line(python: str, tmp_path: Path) -> None:
    made = make_environment(tmp_path / "venv", PYTHON=python)
    assert made.returncode == 1
    assert made.stderr == f"tools/venv: PYTHON={python} is not a Python of at least 3.11\n"
    assert not (tmp_path / "venv").exists()


def test_both_lists_are_read() -> None:
    names = debian.wanted()
    assert "libspice-protocol-dev" in names
    assert len(names) == len(set(names))
    for peer in load_peers().values():
        for package in peer.package:
            assert (package in names) != package.startswith("pypi:")


@pytest.mark.program("dpkg-query", "apt-cache")
def test_what_is_missing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert debian.missing(["dpkg", "no-such-package-1"]) == ["no-such-package-1"]
    assert debian.missing([]) == []
    assert debian.unknown(["dpkg", "no-such-package-1"]) == ["no-such-package-1"]


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_the_right_to_install_it_says_what_is_left_out(
    ci: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(debian, "missing", lambda names: ["one", "two"])
    monkeypatch.setattr(debian, "privilege", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(debian, "install", lambda *_: pytest.fail("installed without the right to"))
    monkeypatch.setattr(sys, "argv", ["debian.py", "--install"])
    assert debian.main() == code
    assert capsys.readouterr().out == (
        "not installed: one two\n"
        "  because this needs root or sudo without a password;"
        " the tests that need them are left out, each with its reason.\n"
    )


def test_a_failed_installation_is_shown_and_the_tests_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(debian, "missing", lambda names: ["one"])
    monkeypatch.setattr(debian, "privilege", list)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(debian, "install", lambda *_: "E: no network")
    monkeypatch.setattr(sys, "argv", ["debian.py", "--install"])
    assert debian.main() == 0
    out, err = capsys.readouterr()
    assert err == "E: no network\n"
    assert out.startswith("installing with apt-get: one\nnot installed: one\n  because apt-get failed")
