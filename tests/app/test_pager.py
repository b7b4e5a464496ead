# SPDX-License-Identifier: GPL-2.0-or-later
"""What is longer than the terminal goes through a pager, and nothing else does."""

from __future__ import annotations

import os
import subprocess

import pytest

from dissect.app import main as app
from tests.app.terminals import FIRSTBYTE, ROOT, Seen, on_a_terminal

LONG = ("show", "pcaps/xtigervncviewer--xtigervnc.pcapng")
SHORT = ("verdict", "pcaps/gvncviewer--qemu-spice.pcapng")
MARK = 'echo "paged, LESS=$LESS"; cat'


def page(seen: Seen) -> str:
    """The screen without the line of progress before it."""
    return seen.screen.rpartition("\r\x1b[K")[2]


def test_long_output_is_paged_with_its_colours() -> None:
    seen = on_a_terminal(*LONG, environment={"PAGER": MARK})
    assert seen.code == app.PASS
    assert page(seen).startswith("paged, LESS=FRX\n")
    assert "\n\x1b[1mconversation 0" in page(seen)
    assert "\x1b[36mclient →\x1b[0m" in seen.screen
    plain = subprocess.run(
        [*FIRSTBYTE, *LONG, "--color", "always"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert page(seen).partition("\n")[2] == plain.stdout  # all of it, as wide as the terminal


def test_the_users_own_settings_stay() -> None:
    assert "paged, LESS=-S" in on_a_terminal(*LONG, environment={"PAGER": MARK, "LESS": "-S"}).screen


def test_so_is_long_help() -> None:
    seen = on_a_terminal("replay", "--help", environment={"PAGER": MARK})
    assert seen.screen.startswith("paged, ")
    assert seen.screen.rstrip().endswith("the retransmission brings it")


def test_short_output_is_not() -> None:
    seen = on_a_terminal(*SHORT, environment={"PAGER": MARK})
    assert seen.code == app.PASS
    assert "paged" not in seen.screen
    assert "INVALID_MAGIC" in seen.screen
    assert "paged" in on_a_terminal(*SHORT, lines=4, environment={"PAGER": MARK}).screen


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--no-pager"], {}),
        (["--no-p"], {}),
        ([], {"NO_PAGER": "1"}),
        ([], {"PAGER": ""}),
        ([], {"PAGER": "cat"}),
        ([], {"TERM": "dumb"}),
    ],
    ids=str,
)
def test_no_pager_where_none_is_wanted(words: list[str], environment: dict[str, str]) -> None:
    seen = on_a_terminal(*LONG, *words, environment={"PAGER": MARK, **environment})
    assert seen.code == app.PASS
    assert "paged" not in seen.screen
    assert "the capture ends" in seen.screen


def test_a_pipe_has_no_pager() -> None:
    answer = subprocess.run(
        [*FIRSTBYTE, *LONG], cwd=ROOT, capture_output=True, text=True, env={"PAGER": MARK, "TERM": "xterm"}
    )
    assert "paged" not in answer.stdout
    assert "\x1b" not in answer.stdout


def test_a_pager_that_is_quit_early_hears_nothing() -> None:
    big = ("show", "--json", "pcaps/remote-viewer-vnc--xtigervnc.pcapng")
    seen = on_a_terminal(*big, environment={"PAGER": "head -n 1 | cut -c 1-20"})
    assert seen.code in (app.CLOSED_PIPE, app.PASS)  # PASS where all fitted into the pipe
    assert page(seen).strip() == '{"capture": "pcaps/r'


def test_a_pager_that_does_not_exist_says_so_itself() -> None:
    seen = on_a_terminal(*LONG, environment={"PAGER": "no-such-pager-here"})
    assert "no-such-pager-here" in seen.screen
    assert "Traceback" not in seen.screen


@pytest.mark.program("less")
def test_less_shows_one_page_and_is_quit() -> None:
    seen = on_a_terminal(*LONG, lines=10, keys="q", await_="TCP established")
    assert seen.code in (app.PASS, app.CLOSED_PIPE)
    assert "conversation 0" in seen.screen
    assert "the capture ends" not in seen.screen
    assert "Traceback" not in seen.screen


@pytest.mark.program("less")
def test_ctrl_c_is_the_pagers() -> None:
    seen = on_a_terminal(*LONG, lines=10, keys="\x03q", await_="TCP established")
    assert seen.code in (app.PASS, app.CLOSED_PIPE, app.INTERRUPTED)
    assert "Traceback" not in seen.screen


def test_a_complaint_is_not_lost_behind_the_page() -> None:
    seen = on_a_terminal(
        "verdict",
        "no/such.pcap",
        "pcaps/gvncviewer--qemu-spice.pcapng",
        lines=4,
        environment={"PAGER": "sed 's/^/| /'"},
    )
    assert "| firstbyte: no/such.pcap: " in seen.screen
    assert "| 0  \x1b[36m127.0.0.1:33240" in seen.screen
