# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compiled is kept, and taken only where it is of this source and whole."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from dissect.capture import kernels, machine


@pytest.fixture(autouse=True)
def compiled() -> None:
    """It may have to be compiled first."""
    assert find_spec("numba") is not None, "numba is not installed"
    machine.functions()


def test_what_is_compiled_is_kept() -> None:
    assert not machine.to_compile()
    assert machine._kept() is not None  # so it needs nothing of numba


def test_what_is_kept_is_of_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "kernels.py"
    other.write_bytes(Path(kernels.__file__).read_bytes() + b"# changed\n")
    monkeypatch.setattr(kernels, "__file__", str(other))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine._kept() is None


def test_what_is_kept_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package cannot be written, the user's cache has it; what is damaged is not loaded."""
    code = machine._kept()
    assert code is not None
    monkeypatch.setattr(machine, "_folders", lambda: [Path("/dev/null/x"), tmp_path / "cache"])
    assert machine._kept() is None
    machine._keep(code)
    assert machine._kept() == code
    begin, _ = machine._name()
    (kept,) = (tmp_path / "cache").iterdir()
    (tmp_path / "cache" / f"{begin}earlier.o").write_bytes(b"of a source that was")
    machine._keep(code)
    assert list((tmp_path / "cache").iterdir()) == [kept]
    kept.write_bytes(kept.read_bytes()[:-1])
    assert machine._kept() is None
