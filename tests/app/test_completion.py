# SPDX-License-Identifier: GPL-2.0-or-later
"""The shells themselves complete firstbyte's command lines, with the scripts that it prints."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dissect.app import main as app
from dissect.app.commands.completion import SHELLS

Complete = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script for each shell, and beside them files to complete with."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        with (folder / shell).open("w") as file:
            subprocess.run(
                [sys.executable, "-m", "dissect.app.main", "completion", shell],
                stdout=file,
                check=True,
            )
    (folder / "captures").mkdir()
    (folder / "captures" / "odd-one.pcapng").touch()
    (folder / "odd.toml").touch()
    return folder


def bash(folder: Path, line: str) -> list[str]:
    """What bash offers at the end of `line`, asked as it asks itself: through the registered function."""
    code = """
    source ./bash
    COMP_LINE=$1; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
    eval "COMP_WORDS=($COMP_LINE)"; [[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
    registered=$(complete -p firstbyte); registered=${registered##*-F }; registered=${registered%% *}
    "$registered" firstbyte "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    answer = subprocess.run(
        ["bash", "--norc", "-c", code, "bash", line], cwd=folder, capture_output=True, text=True, check=True
    )
    return answer.stdout.split()


ZSHRC = """
PROMPT= ; stty -echo; fpath=($PWD/functions $fpath)
autoload -U compinit; compinit -u -d $PWD/dump
compadd () {  # says what it is to offer
  [[ " ${@[1,(i)(-|--)]} " == *" -"[OAD]" "* ]] && { builtin compadd "$@"; return }
  local -a offered; builtin compadd -A offered "$@"
  (( $#offered )) && print -rl -- "<"${^offered}">"
}
finished () { print '<the end>'; exit }
comppostfuncs=(finished)
print '<ready>'
"""


def zsh(folder: Path, line: str) -> list[str]:
    """What zsh offers for `line` and a TAB, typed on a terminal of its own."""
    code = r"""
    zmodload zsh/zpty
    zpty z zsh -f -i
    zpty -w z 'source ./zshrc'
    zpty -r z said '*<ready>*' && zpty -n -w z "$1"$'\t' && zpty -r z said '*<the end>*'
    print -r -- $said
    """
    (folder / "functions").mkdir(exist_ok=True)
    (folder / "functions" / "_firstbyte").write_text((folder / "zsh").read_text())
    (folder / "zshrc").write_text(ZSHRC)
    answer = subprocess.run(
        ["zsh", "-f", "-c", code, "zsh", line],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder)},
    )
    return re.findall("<([^<>]+)>", answer.stdout)


def fish(folder: Path, line: str) -> list[str]:
    """What fish offers at the end of `line`."""
    answer = subprocess.run(
        ["fish", "--no-config", "-c", 'source ./fish; complete -C "$argv[1]"', line],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
    )
    return [entry.partition("\t")[0] for entry in answer.stdout.splitlines()]


@pytest.fixture(
    params=[
        pytest.param(bash, marks=pytest.mark.program("bash")),
        pytest.param(zsh, marks=pytest.mark.program("zsh")),
        pytest.param(fish, marks=pytest.mark.program("fish")),
    ],
    ids=["bash", "zsh", "fish"],
)
def complete(request: pytest.FixtureRequest, scripts: Path) -> Complete:
    ask = request.param
    return lambda line: ask(scripts, line)


def test_commands(complete: Complete) -> None:
    found = complete("firstbyte ")
    assert set(app.COMMANDS) <= set(found)
    assert {"verdict"} == {word for word in complete("firstbyte verd") if word.startswith("verd")}


def test_options_and_their_values(complete: Complete) -> None:
    found = complete("firstbyte verdict --f")
    assert {"--filter", "--follow"} <= set(found)
    assert "--json" not in found
    found = complete("firstbyte verdict --verdict ")
    assert {"agreed", "wrong-protocol", "silent", "undecided"} <= set(found)


def test_files_where_a_capture_is_wanted(complete: Complete) -> None:
    assert any(word.startswith("captures") for word in complete("firstbyte show capt"))


def test_the_labs_programs(complete: Complete) -> None:
    found = complete("firstbyte record gvnc")
    assert "gvncviewer" in found
    found = complete("firstbyte probe --peer qemu-")
    assert {"qemu-spice", "qemu-vnc"} <= set(found)
    assert "gvncviewer" not in found


def test_without_shtab_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def importing(name: str, *rest: Any, **named: Any) -> Any:
        if name == "shtab":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", importing)
    assert app.main(["completion", "bash"]) == app.UNUSABLE
    assert capsys.readouterr() == (
        "",
        "firstbyte: completion needs shtab: pip install 'firstbyte[completion]'\n",
    )
