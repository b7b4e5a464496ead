# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing of a capture steers the terminal, tables fit, numbers read as they should."""

from __future__ import annotations

import io
import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.app import terminal
from dissect.app.terminal import Cell, Column, Table, width, wrap
from dissect.stream.text import safe

SECOND = 1_000_000_000


class Screen(io.StringIO):
    """A stdout or stderr of which a test decides whether it is a terminal."""

    def __init__(self, *, tty: bool = False) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLUMNS", "LINES", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(terminal, "_colour", "auto")


def test_width_counts_columns() -> None:
    assert width("RFB") == 3
    assert width("世界") == 4
    assert width("e\u0301") == 1


def test_plural() -> None:
    assert terminal.plural(1, "byte") == "1 byte"
    assert terminal.plural(0, "byte") == "0 bytes"
    assert terminal.plural(12345, "reply", "replies") == "12,345 replies"


# --- numbers ------------------------------------------------------------------------------------------


def test_timestamps() -> None:
    assert terminal.timestamp(1_485_352_991_123_456_789) == "2017-01-25 14:03:11.123456 UTC"
    assert terminal.timestamp(0) == "1970-01-01 00:00:00.000000 UTC"
    assert terminal.timestamp(2**63) == "2262-04-11 23:47:16.854775 UTC"
    assert terminal.timestamp(10**30) == f"{10**30} ns"


# --- colour -------------------------------------------------------------------------------------------


def test_colour_is_for_terminals_and_for_those_who_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, file = Screen(tty=True), Screen()
    assert terminal.paint("x", "bad", screen) == "\x1b[1;31mx\x1b[0m"
    assert terminal.paint("x", "bad", file) == "x"
    assert terminal.paint("x", "", screen) == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.coloured(screen)
    monkeypatch.delenv("TERM")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.coloured(screen)
    terminal.choose_colour("always")
    assert terminal.coloured(screen)
    assert terminal.coloured(file)
    terminal.choose_colour("never")
    monkeypatch.delenv("NO_COLOR")
    assert not terminal.coloured(screen)


# --- tables -------------------------------------------------------------------------------------------

SENTENCE = "the server answered RFB with its own error reply after four bytes and closed the connection"


def table(limit: int, *, tty: bool = False) -> Table:
    columns = [
        Column("#", align="right"),
        Column("client", style="client"),
        Column("verdict"),
        Column("after", align="right"),
        Column("reason", fit="wrap"),
    ]
    return Table(columns, limit=limit, stream=Screen(tty=tty))


ROWS: list[list[str | Cell]] = [
    ["0", "127.0.0.1:40522", Cell("wrong-protocol", "bad"), "1.86 s", SENTENCE],
    ["11", "[::1]:5", Cell("agreed", "good"), "0.08 ms", "short"],
]


def test_columns_line_up_and_the_last_one_hangs() -> None:
    assert table(80).render(ROWS).splitlines() == [
        " #  client           verdict           after  reason",
        " 0  127.0.0.1:40522  wrong-protocol   1.86 s  the server answered RFB with its",
        "                                              own error reply after four bytes",
        "                                              and closed the connection",
        "11  [::1]:5          agreed          0.08 ms  short",
    ]


def test_on_a_narrow_terminal_the_sentence_gets_lines_of_its_own() -> None:
    assert table(52).render(ROWS).splitlines() == [
        " #  client           verdict           after",
        " 0  127.0.0.1:40522  wrong-protocol   1.86 s",
        "    the server answered RFB with its own error reply",
        "    after four bytes and closed the connection",
        "11  [::1]:5          agreed          0.08 ms",
        "    short",
    ]


def test_colour_changes_no_column() -> None:
    bare = re.sub(r"\x1b\[[0-9;]*m", "", table(80, tty=True).render(ROWS))
    assert bare == table(80).render(ROWS)
    assert "\x1b[1;31mwrong-protocol\x1b[0m" in table(80, tty=True).render(ROWS)


def test_a_table_escapes_what_it_is_given() -> None:
    text = table(100).render([["0", "a\x1b[2J", "v\n", "1", Cell("\x07bell")]])
    assert "\x1b" not in text
    assert r"a\x1b[2J" in text
    assert r"\x07bell" in text


@given(
    st.lists(st.text(alphabet="ab9.: é%", max_size=12), min_size=4, max_size=4),
    st.lists(st.text(alphabet="ab→\x1b", max_size=40), min_size=4, max_size=4),
    st.integers(20, 90),
    st.sampled_from(["left", "right"]),
)
def test_rows_that_are_alike_are_those_made_one_by_one(
    own: list[str], cells: list[str], limit: int, last: Literal["left", "right"]
) -> None:
    columns = [
        Column("#", align="right"),
        Column("client", style="client"),
        Column("verdict"),
        Column("after", align=last),
        Column("why", fit="wrap"),
    ]
    listing = Table(columns, limit=limit, stream=Screen())
    listing.fit([["123", "192.0.2.1", *cells[:3]]])
    found = listing.alike(2, cells[:3])
    if found is None:
        assert not any(safe(cell) for cell in cells[:2])  # nothing stands behind the cells of its own
        return
    for texts in (own[:2], own[2:]):
        if listing.plain([[text] for text in texts]):
            assert (found % tuple(texts)).splitlines() == listing.row([*texts, *cells[:3]])
    assert listing.plain([["1", "123"], ["192.0.2.1"]])
    assert not listing.plain([["1", "1234"], ["192.0.2.1"]])
    assert not listing.plain([["1"], ["\x07"]])
    assert Table(columns, limit=limit, stream=Screen(tty=True)).alike(2, cells[:3]) is None


def test_cut_shows_the_beginning_and_says_so() -> None:
    columns = [Column("name", fit="cut"), Column("n", align="right")]
    lines = (
        Table(columns, limit=20, stream=Screen()).render([["abcdefghijklmnopqrstuvwxyz", "1"]]).splitlines()
    )
    assert lines == ["name               n", "abcdefghijklmn...  1"]


def test_a_stream_of_rows_keeps_the_fitted_columns_and_loses_nothing() -> None:
    listing = table(100)
    listing.fit(ROWS[1:])
    assert listing.row(["3", "[2001:db8::1]:443", "ok", "1 s", "x"]) == [" 3  [2001:db8::1]:443  ok  1 s  x"]


@given(
    st.integers(1, 150),
    st.lists(st.lists(st.text(max_size=60), min_size=3, max_size=3), min_size=1, max_size=5),
    st.lists(st.sampled_from(["keep", "wrap", "cut"]), min_size=3, max_size=3),
)
def test_tables_of_any_text_fit_where_they_can_and_show_all_but_what_is_cut(
    limit: int, rows: list[list[str]], fits: list[terminal.Fit]
) -> None:
    columns = [Column(f"c{index}", fit=fit) for index, fit in enumerate(fits)]
    text = Table(columns, limit=limit, stream=Screen()).render(rows)
    lines = text.splitlines()
    if all(fit != "keep" for fit in fits) and limit >= 3 * Table.LEAST + 2 * Table.GAP:
        assert all(width(line) <= limit for line in lines)
    for row in rows:
        for cell, fit in zip(row, fits, strict=True):
            if fit == "keep":
                assert safe(cell).strip() in text


@given(st.text(max_size=200), st.integers(1, 60))
def test_wrapping_keeps_every_character(text: str, space: int) -> None:
    text = safe(text)
    lines = wrap(text, space)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(width(line) <= space or len(line) == 1 for line in lines)


def test_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal.terminal_width() == 72


# --- errors and progress ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "offset", "line"),
    [
        (None, None, "firstbyte: no capture\n"),
        ("a.pcap", None, "firstbyte: a.pcap: no capture\n"),
        ("a.pcap", 0, "firstbyte: a.pcap: at byte 0: no capture\n"),
        ("-", 4096, "firstbyte: standard input: at byte 4,096: no capture\n"),
        ("\x1b[2J", None, "firstbyte: \\x1b[2J: no capture\n"),
    ],
)
def test_a_complaint_is_one_line(
    source: str | None, offset: int | None, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.complain("no capture\n", source=source, offset=offset)
    assert capsys.readouterr() == ("", line)


def test_progress_is_for_terminals_only() -> None:
    file = Screen()
    with terminal.Progress(file) as progress:
        progress.update("1 of 2")
    assert file.getvalue() == ""


def test_progress_leaves_no_trace_and_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    screen = Screen(tty=True)
    with terminal.Progress(screen) as progress:
        progress.update("\x1b[2J of many captures")
        progress.update("too soon to be written")
    assert screen.getvalue() == "\r\x1b[K\\x1b[2J o\r\x1b[K"


@pytest.mark.parametrize(("limit", "found"), [(50, 4), (35, 3), (25, 2), (9, 1)])
def test_columns_that_the_sentence_repeats_are_left_out_where_there_is_no_room(
    limit: int, found: int
) -> None:
    columns = [
        Column("name"),
        *(Column(f"time {n}", fit="leave") for n in range(3)),
        Column("why", fit="wrap"),
    ]
    table = Table(columns, limit=limit, stream=io.StringIO())
    row = ["a name", "10.25 ms", "20.25 ms", "30.25 ms", "words " * 20]
    table.fit([row])
    assert table.complete is (found == 4)
    assert table.head()[0].split("  ")[0].startswith("name")
    assert table.head()[0].count("time") == table.row(row)[0].count("ms") == found - 1
    assert " ".join(" ".join(table.row(row)[1:]).split()) == ("words " * 20).strip()
    assert found == 1 or all(len(line) <= limit for line in (*table.head(), *table.row(row)))
