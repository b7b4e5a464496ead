# SPDX-License-Identifier: GPL-2.0-or-later
"""What every file of the project keeps to."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from dissect.app.main import COMMANDS
from tests.conftest import LONGEST
from tests.house.floors import ROOT, imports, room, sources

SPDX = "# SPDX-License-Identifier: GPL-2.0-or-later"

# Written so that this file does not hold what it looks for.
MACHINE_PATHS = [f"/{name}/".encode() for name in ("work", "root", "home")]
REGISTRIES = [
    f"{name}.{end}".encode()
    for name, end in (("pypi", "org"), ("pythonhosted", "org"), ("deb.debian", "org"))
]


@cache
def files() -> list[Path]:
    """The project's files: what git tracks or would add, or all of a tree that was unpacked without git."""
    try:
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return sorted(_walk(ROOT))
    paths = (ROOT / name for name in listed.decode("utf-8", "surrogateescape").split("\0") if name)
    return sorted(path for path in paths if path.is_file())


def _walk(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.name in (".git", ".venv", "build", "dist") or path.name.endswith(
            ("cache", "cache__", ".egg-info")
        ):
            continue
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def python_files() -> list[Path]:
    return [path for path in files() if path.suffix == ".py"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_python_file_says_its_licence() -> None:
    assert python_files()
    bare = [named(path) for path in python_files() if not licensed(path.read_text("utf-8"))]
    assert not bare


def licensed(text: str) -> bool:
    lines = text.splitlines()
    return SPDX in (lines[1:2] if text.startswith("#!") else lines[:1])


def test_every_module_opens_with_a_docstring() -> None:
    bare = [
        name for name, path in sources().items() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not bare


def test_every_room_tells_a_newcomer_what_it_may_touch() -> None:
    for name, path in sources().items():
        if path.name == "__init__.py" and name.count(".") == 1:
            text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            assert len(text.split()) >= 20, (
                f"{name}: a docstring of {len(text.split())} words tells nobody much"
            )


def test_every_room_is_typed() -> None:
    """One mark a room: the directory above belongs to other distributions too."""
    rooms = {
        path.parent for name, path in sources().items() if path.name == "__init__.py" and name.count(".") == 1
    }
    assert not [named(path) for path in rooms if not (path / "py.typed").exists()]
    assert not (ROOT / "dissect" / "py.typed").exists()


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    found = [f"{named(path)}: {text}" for path in files() for text in told(path.read_bytes())]
    assert not found, "\n" + "\n".join(found)


def told(data: bytes) -> list[str]:
    """The machine paths and package registries that `data` names; a recording must not either."""
    # A path begins where it does not go on from another: not the second half of `chroot/root`.
    paths = [text for text in MACHINE_PATHS if re.search(rb"(?<![\w.{}$-])" + re.escape(text), data)]
    return [text.decode() for text in paths + [text for text in REGISTRIES if text in data]]


def test_every_source_has_its_test() -> None:
    tested = modules_with_tests()
    bare = [
        name for name, path in sources().items() if path.name != "__init__.py" and not is_tested(name, tested)
    ]
    assert not bare


@cache
def modules_with_tests() -> frozenset[str]:
    """Every module of ours that a test file imports."""
    modules = set(sources())
    return frozenset(
        found.module
        for path in (ROOT / "tests").rglob("test_*.py")
        for found in imports("tests", path.read_text("utf-8"), modules)
        if found.module in modules
    )


def is_tested(module: str, tested: frozenset[str]) -> bool:
    """Whether a test imports `module`, or lies in the room's tests under its name."""
    name = module.rpartition(".")[2]
    return module in tested or any((ROOT / "tests" / room(module)).rglob(f"test_{name}*.py"))


def test_the_table_of_commands_is_the_folder() -> None:
    modules = {path.stem for path in (ROOT / "dissect/app/commands").glob("*.py")} - {"__init__"}
    assert modules == set(COMMANDS)


def test_the_files_that_are_run_first_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / f"{name}.py").exists()] == []
    assert len(set(LONGEST)) == len(LONGEST)


# The rules, held against what they are there to forbid.


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"{SPDX}\n", True),
        (f"#!/usr/bin/env python3\n{SPDX}\n", True),
        ("", False),
        (f"import os\n{SPDX}\n", False),
        ("# SPDX-License-Identifier: MIT\n", False),
    ],
)
def test_licensed(text: str, good: bool) -> None:
    assert licensed(text) is good


@pytest.mark.parametrize("text", [*MACHINE_PATHS, *REGISTRIES])
def test_told(text: bytes) -> None:
    assert told(b"\0 see " + text + b"x") == [text.decode()]
    assert told(b"frame" + text[:-1]) == []


def test_an_untested_module_is_found() -> None:
    assert not is_tested("dissect.rfb.nobody_wrote_this", modules_with_tests())
    assert is_tested("dissect.app.terminal", modules_with_tests())
    assert is_tested("dissect.app.main", frozenset())  # by its file's name
