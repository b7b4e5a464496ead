# SPDX-License-Identifier: GPL-2.0-or-later
"""Each command's --help shows an example, and the examples are command lines that work."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from dissect.app import main as app
from tests.docs.documents import DOCUMENTS, blocks

ROOT = Path(__file__).resolve().parents[2]

LIVE = frozenset({"replay", "serve", "probe", "matrix", "record", "demo", "check", "peers"})
"""Commands that start programs, or need live ones: their examples are parsed here. The others' run."""

DOCUMENTED = {
    command for document in DOCUMENTS for block in blocks(document) for command, _ in block.commands
}
"""What runs in the tests of the documentation, and need not run twice."""


@cache
def parser() -> ArgumentParser:
    return app.build_parser(app.COMMANDS)


def examples(name: str) -> list[str]:
    """The command lines in a command's --help."""
    (commands,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    epilog = commands[name].epilog or ""
    return re.findall(r"^(?:examples?:)?\s+(firstbyte .+?)(?:\s+#.*)?$", epilog, re.M)


EXAMPLES = [(name, line) for name in app.COMMANDS for line in examples(name)]


def words(line: str) -> list[str]:
    """A line's words as a shell has them, patterns filled in where they match; without the program's name."""
    found: list[str] = []
    for word in shlex.split(line)[1:]:
        found += sorted(map(str, Path().glob(word))) or [word] if "*" in word else [word]
    return found


@pytest.fixture(autouse=True)
def beside_the_captures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pcaps").symlink_to(ROOT / "pcaps")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_one_of_its_own(name: str) -> None:
    assert [line for line in examples(name) if line.split()[1] == name]


@pytest.mark.parametrize(("name", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_it_is_a_command_line_that_works(name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = words(line)
    mine = given[: given.index("--")] if given[0] in app.STARTS_PROGRAMS and "--" in given else given
    args = parser().parse_args(mine)  # exits where it cannot
    assert args.command == given[0]
    capsys.readouterr()
    if (
        line not in DOCUMENTED
        and args.command not in LIVE
        and all(Path(path).exists() for path in inputs(given))
    ):
        assert app.main(given) == app.PASS
        out, err = capsys.readouterr()
        assert out
        assert err == ""


def inputs(given: list[str]) -> list[str]:
    """The words of a command line that are files to be read."""
    pairs = pairwise(given)
    return [word for before, word in pairs if re.search(r"[/*.]", word) and before not in ("-o", "-w", "-")]


def test_enough_of_them_ran() -> None:
    given = [words(line) for _, line in EXAMPLES]
    runs = {one[0] for one in given if all(Path(path).exists() for path in inputs(one))}
    assert {"verdict", "show", "scan", "render", "plot", "schema"} <= runs
