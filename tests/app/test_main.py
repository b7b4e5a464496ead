# SPDX-License-Identifier: GPL-2.0-or-later
"""Exit codes, quiet endings, and a start that imports next to nothing."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from dissect.app import main as app
from dissect.app.terminal import Unusable

HEAVY = ("scapy", "dpkt", "matplotlib", "numpy", "pandas", "cryptography")

Run = Callable[[argparse.Namespace], int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], Callable[..., int]]:
    """Install a `run` as the command "verdict" and return a way to call it."""

    def install(run: Run) -> Callable[..., int]:
        module = types.ModuleType("dissect.app.commands.verdict")
        module.add_arguments = lambda parser: parser.add_argument("capture", nargs="*")  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return lambda *words: app.main(["verdict", *words])

    return install


def firstbyte(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "dissect.app.main", *words], capture_output=True, text=True, **options
    )


@pytest.mark.parametrize("code", [app.PASS, app.DIFFERENT, app.UNUSABLE, app.INCONCLUSIVE])
def test_a_command_answers_with_its_exit_code(
    code: int, command: Callable[[Run], Callable[..., int]]
) -> None:
    assert command(lambda args: code)("x.pcap") == code


def test_unusable_input_is_one_line_and_exit_code_2(
    command: Callable[[Run], Callable[..., int]], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        raise Unusable("not a capture", source=args.capture[0], offset=12)

    assert command(run)("x.pcap") == app.UNUSABLE
    assert capsys.readouterr() == ("", "firstbyte: x.pcap: at byte 12: not a capture\n")


def test_a_missing_file_is_one_line_and_exit_code_2(
    command: Callable[[Run], Callable[..., int]], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        with open(args.capture[0]):
            return 0

    assert command(run)("no/such.pcap") == app.UNUSABLE
    assert capsys.readouterr() == ("", "firstbyte: no/such.pcap: No such file or directory\n")


def test_a_fault_of_ours_is_no_answer(
    command: Callable[[Run], Callable[..., int]], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        raise ZeroDivisionError

    assert command(run)() == app.BROKEN
    out, err = capsys.readouterr()
    assert out == ""
    assert "ZeroDivisionError" in err
    assert err.endswith("please report it\n")


def test_an_interrupt_ends_quietly(
    command: Callable[[Run], Callable[..., int]], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    assert command(run)() == app.INTERRUPTED
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [["nonsense"], ["--nonsense"], []], ids=str)
def test_wrong_usage_is_exit_code_2_and_nothing_on_stdout(words: list[str]) -> None:
    answer = firstbyte(*words)
    assert answer.returncode == app.UNUSABLE
    assert answer.stdout == ""
    assert answer.stderr.startswith("usage: firstbyte")


def test_help_lists_the_commands_and_exit_codes() -> None:
    answer = firstbyte("--help")
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert "exit codes:" in answer.stdout
    for name in app.COMMANDS:
        assert re.search(rf"^    {name}\s", answer.stdout, re.M)


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in app.COMMANDS:
        assert app.main([name, "--help"]) == app.PASS
        out, err = capsys.readouterr()
        assert err == ""
        assert f"usage: firstbyte {name}" in out


def into(stdout: int) -> tuple[int, bytes]:
    """Run `firstbyte --help` into a descriptor; buffered, as for everybody who does not ask otherwise."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    answer = subprocess.run(
        [sys.executable, "-m", "dissect.app.main", "--help"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment,
    )
    return answer.returncode, answer.stderr


def test_a_reader_that_leaves_early_hears_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        assert into(closed.fileno()) == (app.CLOSED_PIPE, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line_and_exit_code_2() -> None:
    with open("/dev/full", "wb") as full:
        assert into(full.fileno()) == (app.UNUSABLE, b"firstbyte: No space left on device\n")


def test_what_the_encoding_lacks_does_not_end_the_program() -> None:
    code = (
        "import sys; from dissect.app import main as app\n"
        "app._run = lambda arguments: print('≥ 20 s') or 0\n"
        "sys.exit(app.main([]))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert (answer.returncode, answer.stdout) == (0, b"\\u2265 20 s\n")


@pytest.mark.parametrize("words", [["--help"], ["--version"]], ids=str)
def test_start_up_imports_nothing_heavy(words: list[str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dissect.app.main", *words], capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in answer.stderr.splitlines()}
    assert answer.returncode == 0
    assert "argparse" in imported  # the list is what it is taken for
    assert not imported.intersection(HEAVY)


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([BrokenPipeError(), BrokenPipeError()], app.CLOSED_PIPE),
        ([OSError(28, "No space left on device")], app.UNUSABLE),
        ([BrokenPipeError(), ValueError("a fault")], app.BROKEN),
    ],
)
def test_what_several_tasks_fell_over_together_ends_like_the_one_it_is(
    failures: list[Exception],
    code: int,
    command: Callable[[Run], Callable[..., int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(args: argparse.Namespace) -> int:
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", failures)])

    monkeypatch.setattr(app, "_abandon_stdout", lambda: None)
    assert command(run)("x.pcap") == code


@pytest.mark.parametrize("command", ["show", "replay", "probe", "matrix"])
def test_the_prose_of_help_fits_and_its_examples_stay(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def text(columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        (commands,) = (
            action.choices
            for action in app.build_parser({command})._actions
            if isinstance(action.choices, dict)
        )
        return str(commands[command].format_help())

    narrow, wide = text(60), text(200)
    begin = f"  firstbyte {command} "
    examples = [line for line in wide.splitlines() if line.startswith(begin)]
    assert examples
    assert [line for line in narrow.splitlines() if line.startswith(begin)] == examples
    assert all(len(line) <= 60 for line in narrow.splitlines() if line[:1].strip())
    assert narrow.partition("examples:")[2].split() == wide.partition("examples:")[2].split()
