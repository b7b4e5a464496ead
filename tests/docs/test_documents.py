# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command line in the documentation works, and prints what the documentation shows."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dissect.app import main as app
from dissect.app.terminal import choose_colour, choose_zone
from tests.docs.documents import DOCUMENTS, ROOT, Block, blocks, matches, mentioned

BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
MENTIONED = sorted({(line, whole) for document in DOCUMENTS for line, whole in mentioned(document)})


def parameters() -> list[Any]:
    found = []
    for block in BLOCKS:
        peers = [name for key in ("peer", "server") for name in block.needs.get(key, "").split(",") if name]
        marks = [pytest.mark.peer(*peers)] if peers else []
        if "program" in block.needs:
            marks.append(pytest.mark.program(*block.needs["program"].split(",")))
        found.append(pytest.param(block, id=block.name, marks=marks))
    return found


@pytest.fixture(autouse=True)
def at_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with the recordings, and files that documents show under their names."""
    for name in ("pcaps", "notebooks", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    yield
    choose_colour("auto")
    choose_zone("UTC")


def files_shown(document: Path) -> Iterator[tuple[str, str]]:
    """Files whose text a document shows: blocks of TOML whose first line is `# NAME.toml`."""
    for text in re.findall(r"```toml\n(# \S+\.toml\n.*?)```", document.read_text("utf-8"), re.S):
        yield text.split()[1], text


def run(command: str) -> tuple[int, str]:
    """A command's exit code and everything that it prints."""
    words = shlex.split(command)
    if words[0] == "firstbyte" and not re.search("[|<>*;&]", command):
        out = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="")
        with redirect_stdout(out), redirect_stderr(out):
            code = app.main(words[1:])
            out.flush()
        return code, out.buffer.getvalue().decode()
    answer = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return answer.returncode, answer.stdout


@pytest.mark.parametrize("block", parameters())
def test_a_command_prints_what_the_document_shows(block: Block) -> None:
    if "slow" in block.needs and os.environ.get("CI") != "true" and not os.environ.get("FIRSTBYTE_SLOW"):
        pytest.skip("documented commands that take long: FIRSTBYTE_SLOW=1 runs them")
    for name, text in files_shown(block.document):
        Path(name).write_text(text)
    if "server" not in block.needs:
        return try_all(block, None)
    from dissect.lab.lab import Lab

    with Lab() as lab:
        server = lab.start(block.needs["server"])
        try_all(block, f"{server.host}:{server.port}")


def try_all(block: Block, server: str | None) -> None:
    for number, (command, shown) in enumerate(block.commands):
        if shlex.split(command)[0] in ("make", "python"):
            assert_is_there(command)
            continue
        if server is not None:
            command, shown = (text.replace("127.0.0.1:5900", server) for text in (command, shown))
        code, printed = run(command)
        last = number == len(block.commands) - 1
        assert matches(shown, printed), f"$ {command}\n{printed}"
        assert code == (int(block.needs.get("exit", "0")) if last else 0), f"$ {command}\n{printed}"


def assert_is_there(command: str) -> None:
    """What the suite itself does is not done again in it: the target or the tests must be there."""
    words = shlex.split(command)
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
        assert set(words[1:]) <= set(targets)
    else:
        files = [word for word in words if word.startswith("tests/")]
        assert files
        assert all((ROOT / file).exists() for file in files)


# --- command lines that are only mentioned --------------------------------------------------------------


@cache
def parser() -> ArgumentParser:
    return app.build_parser(app.COMMANDS)


@pytest.mark.parametrize(("line", "whole"), MENTIONED, ids=[line for line, _ in MENTIONED])
def test_a_mentioned_command_line_is_one(line: str, whole: bool, capsys: pytest.CaptureFixture[str]) -> None:
    line = re.split(r"\s[|>]\s", line)[0]
    words = shlex.split(line)[1:]
    words = words[: words.index("--")] if "--" in words else words
    (commands,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    assert words[0] in commands
    options = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[a-zA-Z]", word)}
    assert options <= set(commands[words[0]]._option_string_actions)
    if whole and "..." not in line:
        try:
            parser().parse_args(words)
        except SystemExit:
            pytest.fail(capsys.readouterr().err)


def test_the_example_of_a_new_rfb_message_is_all_that_it_takes() -> None:
    text = (ROOT / "docs/how-to/rfb-message.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    program = f"""
from dissect.rfb import constants, messages
constants.SERVER_MESSAGES = {{**constants.SERVER_MESSAGES, 200: "Levels"}}
exec({code!r}, vars(messages))
values, end = messages.MESSAGES[messages.Side.SERVER][200].layout().decode(bytes([200, 2, 0, 1, 0, 2, 9]))
assert (values["levels"], end) == ([1, 2], 6), values
"""
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


# --- the mechanism ------------------------------------------------------------------------------------


def test_there_is_something_to_try() -> None:
    documents = {block.document for block in BLOCKS}
    assert {ROOT / "README.md", ROOT / "docs/tutorial.md"} <= documents
    assert len(BLOCKS) >= 15
    assert len(MENTIONED) >= 20


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n...\n", "a\nb\nc\n", True),
        ("took ... ms\n", "took 1.5 ms\n", True),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "a\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_matches(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def test_a_block_says_its_commands_and_needs(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text(
        "text\n\n<!-- run: peer=a,b exit=1 -->\n```console\n$ firstbyte show x\nout\n$ firstbyte peers\n```\n"
    )
    (block,) = blocks(path)
    assert block.commands == (("firstbyte show x", "out\n"), ("firstbyte peers", ""))
    assert block.needs == {"peer": "a,b", "exit": "1"}
    path.write_text("<!-- run: unknown=1 -->\n```console\n$ firstbyte peers\n```\n")
    with pytest.raises(ValueError, match="unknown marks"):
        list(blocks(path))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_links_lead_somewhere(document: Path) -> None:
    made = (ROOT / "docs/reference", ROOT / "docs/pictures")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8")):
        path = (document.parent / target).resolve()
        if any(path.is_relative_to(folder) for folder in made):
            continue  # the build looks at these
        assert path.exists(), target
