# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that is written for a person: safe text, colour, numbers, tables, progress, errors.

Captures hold text that strangers chose. Whatever of it reaches a terminal goes through `safe` first:
the table writer, the progress line and `complain` do that themselves, and `paint` expects it done.
"""

from __future__ import annotations

import os
import sys
import time
from functools import lru_cache

from dissect.stream.text import plural as plural
from dissect.stream.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import tzinfo
    from typing import Literal, TextIO

    Fit = Literal["keep", "wrap", "cut", "leave"]

DEFAULT_WIDTH = 100
"""Columns, where neither the terminal nor COLUMNS says."""


class Unusable(Exception):
    """Input that a command can do nothing with; ends the command with one line and exit code 2.

    `source` is the file's name as the user gave it, `offset` counts its bytes from 0.
    """

    def __init__(self, reason: str, *, source: str | None = None, offset: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.source = source
        self.offset = offset


def complain(reason: str, *, source: str | None = None, offset: int | None = None) -> None:
    """Write one line to stderr: `firstbyte: file: at byte N: reason`."""
    parts = ["firstbyte"]
    if source is not None:
        parts.append("standard input" if source == "-" else safe(source))
    if offset is not None:
        parts.append(f"at byte {offset:,}")
    parts.append(safe(reason.strip()))
    line = ": ".join(parts) + "\n"
    try:
        if _pager and sys.stderr.isatty():  # in its place among the rest, and not lost below the page
            sys.stdout.write(line)
            return
        sys.stdout.flush()  # what was printed before comes first where both end in one place
    except OSError:
        pass  # a full disk or a reader that has left; the complaint matters all the more
    sys.stderr.write(line)


_pager: Literal["", "waits", "shows"] = ""


def page(pager: Literal["", "waits", "shows"]) -> None:
    """Say what is between stdout and the terminal: nothing, a pager that may start, or one that has."""
    global _pager
    _pager = pager


# --- text ---------------------------------------------------------------------------------------------


def width(text: str) -> int:
    """Columns that safe text takes on a terminal: wide East Asian characters two, combining ones none."""
    return len(text) if text.isascii() else _width(text)


@lru_cache(1024)
def _width(text: str) -> int:
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text
    )


# --- numbers ------------------------------------------------------------------------------------------


_zone: tzinfo | Literal["UTC", "local"] = "UTC"
"""The zone that times are shown in."""


def add_zone_arguments(parser: ArgumentParser) -> None:
    """The options of a command that shows times of day to a person."""
    zone = parser.add_mutually_exclusive_group()
    zone.add_argument(
        "--tz",
        metavar="ZONE",
        help='show times in this zone: Europe/Berlin, "local", "UTC" (default: FIRSTBYTE_TZ, else UTC)',
    )
    zone.add_argument(
        "--utc", dest="tz", action="store_const", const="UTC", help="show times in UTC, whatever is set"
    )


def choose_zone(name: str | None) -> None:
    """Set the zone that times are shown in, for the whole process.

    name: "UTC", "local" or a name of the zone database; None takes FIRSTBYTE_TZ, and UTC where that is not
    set. Raises `Unusable` where there is no such zone.
    """
    global _zone
    asked = name if name is not None else os.environ.get("FIRSTBYTE_TZ") or "UTC"
    if asked in ("UTC", "local"):
        _zone = "UTC" if asked == "UTC" else "local"
        return
    from zoneinfo import ZoneInfo, available_timezones

    try:
        _zone = ZoneInfo(asked)
    except (KeyError, ValueError, OSError):
        said = f"no time zone {asked!r}" + ("" if name is not None else " (from FIRSTBYTE_TZ)")
        if not available_timezones():
            said += ": this system has no zone database (Debian: tzdata)"
        raise Unusable(said) from None


def timestamp(ns: int) -> str:
    """Return a Unix time in nanoseconds, to the microsecond, in the zone that was chosen.

    "2017-01-25 14:03:11.123456 UTC", or "2017-01-25 15:03:11.123456+01:00". Times outside the years 1 to
    9999, which a damaged capture may hold, come as "<ns> ns".
    """
    from datetime import UTC, datetime, timedelta

    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
        if _zone == "UTC":
            return moment.strftime("%Y-%m-%d %H:%M:%S.%f UTC")
        return moment.astimezone(None if _zone == "local" else _zone).isoformat(" ", "microseconds")
    except (OverflowError, ValueError):
        return f"{ns} ns"


def clock(ns: int) -> str:
    """The time of day of a Unix time in nanoseconds, in the zone that was chosen: "15:03:11.123456"."""
    return timestamp(ns)[11:26]


# --- links --------------------------------------------------------------------------------------------

NO_LINKS = frozenset({"", "dumb", "linux"})
"""Terminals that would show a link's bytes as text."""


def link(path: str, text: str | None = None) -> str:
    """The name of a file, or safe `text`, as a link to it (OSC 8), on terminals that may know links.

    Not where colours are off, for whoever switches those off wants plain text.
    """
    text, stream = safe(path) if text is None else text, sys.stdout
    if path == "-" or os.environ.get("TERM", "") in NO_LINKS or not coloured(stream) or not stream.isatty():
        return text
    from pathlib import Path
    from urllib.parse import quote

    where = quote(os.fsencode(Path(path).absolute()))
    return f"\x1b]8;;file://{quote(os.uname().nodename)}{where}\x1b\\{text}\x1b]8;;\x1b\\"


# --- colour -------------------------------------------------------------------------------------------

STYLES = {
    "head": "1",
    "good": "32",
    "bad": "1;31",
    "warn": "33",
    "client": "36",
    "server": "35",
    "dim": "2",
}
"""Styles by what they mean; the 16 colours of every terminal, so that the user's theme decides."""

_colour: Literal["auto", "always", "never"] = "auto"


def choose_colour(when: Literal["auto", "always", "never"]) -> None:
    """Set what the user asked for with --color, for the whole process."""
    global _colour
    _colour = when


def coloured(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`: as asked for, else on terminals unless NO_COLOR is set."""
    if _colour != "auto":
        return _colour == "always"
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """Wrap safe `text` in a style's colour, where `stream` (default: stdout) is coloured."""
    return _painted(text, style) if style and coloured(stream or sys.stdout) else text


def _painted(text: str, style: str) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and text else text


# --- tables -------------------------------------------------------------------------------------------


class Cell:
    """Text of a table with a style; a plain str does where there is none."""

    __slots__ = ("style", "text")

    def __init__(self, text: str, style: str = "") -> None:
        self.text = safe(text)
        self.style = style


class Column:
    """How one column behaves.

    `align`: "left" or "right". `fit`: what happens where the table is wider than the terminal. "keep"
    never gives way; "wrap" goes on below, indented under its own beginning; "cut" ends in "…", for
    text of which the beginning is enough; "leave" is left out, where the sentence below each row says it too.
    """

    def __init__(
        self, title: str, *, align: Literal["left", "right"] = "left", fit: Fit = "keep", style: str = ""
    ) -> None:
        self.title = title
        self.align = align
        self.fit = fit
        self.style = style


class Table:
    """Aligned columns that fit into `limit` terminal columns (default: those of the terminal).

    `fit` reads rows to find the widths; `head` and `row` then give lines, so that a long listing is
    fitted to its first rows and printed as it comes, and `alike` is for a very long one. `render` does it
    all for a short one.
    """

    GAP = 2
    LEAST = 16  # columns; a narrower column of words is harder to read than a line of its own
    INDENT = 4

    def __init__(
        self, columns: Sequence[Column], *, limit: int | None = None, stream: TextIO | None = None
    ) -> None:
        self.columns = list(columns)
        self.stream = stream or sys.stdout
        self.coloured = coloured(self.stream)
        self.limit = terminal_width() if limit is None else limit
        self.widths = [width(column.title) for column in self.columns]
        self._below = len(self.columns)  # columns from here on stand on lines of their own
        self._beside = self._below  # columns from here on are left out, up to those
        self._known = limit is not None or "COLUMNS" in os.environ or self.stream.isatty()
        self._mark = "…" if _can_show("…", self.stream) else "..."

    def fit(self, rows: Iterable[Sequence[str | Cell]]) -> None:
        """Choose the widths for these rows and the titles."""
        natural = [width(column.title) for column in self.columns]
        for row in rows:
            for index, cell in enumerate(row):
                natural[index] = max(natural[index], width(_cell(cell).text))
        self.widths, self._below = natural, len(self.columns)
        self._beside = self._below
        excess = sum(natural) + self.GAP * (len(natural) - 1) - self.limit
        # The widest column that may give way does, column by column, until all fits.
        while excess > 0:
            yielding = [
                (natural[index], index)
                for index, column in enumerate(self.columns)
                if column.fit not in ("keep", "leave")
                and natural[index] > max(self.LEAST, width(column.title))
            ]
            if not yielding:
                break
            _, index = max(yielding)
            natural[index] -= 1
            excess -= 1
        if excess > 0 and self.columns[-1].fit != "keep" and len(self.columns) > 1:
            # Not even so: the last column, the sentence, goes on lines of its own below each row.
            self._below -= 1
            self._beside = self._below
            while self._known and self.columns[self._beside - 1].fit == "leave" and not self._fits():
                self._beside -= 1

    @property
    def complete(self) -> bool:
        """Whether no column is left out."""
        return self._beside == self._below

    def _fits(self) -> bool:
        return sum(self.widths[: self._beside]) + self.GAP * (self._beside - 1) <= self.limit

    def head(self) -> list[str]:
        """Return the line of titles."""
        cells = [Cell(column.title, "head") for column in self.columns[: self._beside]]
        return list(self._lines(cells, head=True))

    def row(self, cells: Sequence[str | Cell]) -> list[str]:
        """Return one row as the lines it takes. A cell wider than a "keep" column is shown whole."""
        return list(self._lines([_cell(cell) for cell in cells], head=False))

    def alike(self, own: int, cells: Sequence[str | Cell]) -> str | None:
        """The lines of rows that differ in their first `own` cells alone, and have `cells` behind them.

        One format call (%) makes those of each, of the texts of its own cells, which must be `plain`. None
        where rows must be laid out one by one: in colours, or if those columns may give way.
        """
        widths = self.widths[:own]
        if self.coloured or own >= self._below or any(column.fit != "keep" for column in self.columns[:own]):
            return None
        first, *more = self.row([*("x" * size for size in widths), *cells])
        common = first[sum(widths) + self.GAP * (own - 1) :]
        if not common:
            return None  # the rows end with cells of their own
        padded = [
            f"%{'-' if column.align == 'left' else ''}{size}s"
            for column, size in zip(self.columns, widths, strict=False)
        ]
        return (" " * self.GAP).join(padded) + "\n".join((common, *more, "")).replace("%", "%%")

    def plain(self, texts: Sequence[Sequence[str]]) -> bool:
        """Whether texts of the first columns are ASCII that needs no escape, and not too long for these."""
        return all(
            (together := "".join(some)).isascii()
            and together.isprintable()
            and max(map(len, some), default=0) <= size
            for some, size in zip(texts, self.widths, strict=False)
        )

    def render(self, rows: Sequence[Sequence[str | Cell]]) -> str:
        """Fit to these rows and return the whole table, each line with its newline."""
        self.fit(rows)
        lines = self.head()
        for row in rows:
            lines += self.row(row)
        return "".join(line + "\n" for line in lines)

    def _lines(self, cells: Sequence[Cell], *, head: bool) -> Iterator[str]:
        columns = self.columns[: self._beside]
        texts = [cell.text for cell in cells[: self._beside]]
        styles = [
            "head" if head else cell.style or column.style
            for cell, column in zip(cells, columns, strict=False)
        ]
        pads = [size - width(text) for size, text in zip(self.widths, texts, strict=False)]
        if min(pads, default=0) >= 0:
            yield self._line(texts, pads, styles)
        else:
            blocks = [
                self._block(text, column.fit, size)
                for text, column, size in zip(texts, columns, self.widths, strict=False)
            ]
            for number in range(max(map(len, blocks))):
                texts = [block[number] if number < len(block) else "" for block in blocks]
                yield self._line(texts, self._pads(texts), styles)
        for index, cell in enumerate(cells[self._below :], self._below):
            if cell.text and not head:
                style = cell.style or self.columns[index].style
                space = max(self.LEAST, self.limit - self.INDENT)
                for text in self._block(cell.text, self.columns[index].fit, space):
                    yield " " * self.INDENT + (_painted(text, style) if self.coloured else text)

    def _pads(self, texts: Sequence[str]) -> list[int]:
        """The spaces beside each text; an overlong one takes its columns from those that follow it."""
        pads, debt = [], 0
        for size, text in zip(self.widths, texts, strict=False):
            space = size - width(text)
            pads.append(max(0, space - debt))
            debt = max(0, debt - max(0, space)) + max(0, -space)
        return pads

    def _line(self, texts: Sequence[str], pads: Sequence[int], styles: Sequence[str]) -> str:
        """One line of cells, with so many spaces beside each, and none at its end."""
        parts: list[str] = []
        end, last = 0, ""
        for text, pad, style, column in zip(texts, pads, styles, self.columns, strict=False):
            painted = _painted(text, style) if self.coloured else text
            right = column.align == "right"
            parts.append(" " * pad + painted if right else painted + " " * pad)
            if text:
                end, last = len(parts), parts[-1] if right else painted
        return (" " * self.GAP).join([*parts[: end - 1], last]) if end else ""

    def _block(self, text: str, fit: Fit, space: int) -> list[str]:
        if fit in ("keep", "leave") or width(text) <= space:
            return [text]
        if fit == "cut":
            return [_prefix(text, space - width(self._mark)) + self._mark]
        return wrap(text, space)


def _cell(cell: str | Cell) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def wrap(text: str, space: int) -> list[str]:
    """Break safe text into lines of at most `space` columns, at spaces where there are any."""
    lines: list[str] = []
    line = ""
    wide = len if text.isascii() else width
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if wide(longer) <= space:
            line = longer
            continue
        if line:
            lines.append(line)
        while wide(word) > space:
            start = _prefix(word, space) or word[0]
            lines.append(start)
            word = word[len(start) :]
        line = word
    if line or not lines:
        lines.append(line)
    return lines


def _prefix(text: str, space: int) -> str:
    taken = 0
    for index, character in enumerate(text):
        taken += width(character)
        if taken > space:
            return text[:index]
    return text


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def terminal_width() -> int:
    """Columns of the terminal behind stdout: COLUMNS, else what it says, else 100."""
    from shutil import get_terminal_size  # slow to import, and JSON has no width

    return get_terminal_size((DEFAULT_WIDTH, 24)).columns


# --- progress -----------------------------------------------------------------------------------------


class Progress:
    """One line on stderr that is written over, and only where stderr is a terminal.

    A context manager: the line is gone when the work is done or has failed.
    """

    PAUSE = 0.1  # seconds between two writes; more often is only work for the terminal

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.shown = self.stream.isatty()
        self._next = 0.0
        self._dirty = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def update(self, text: str) -> None:
        """Show `text`, cut to the terminal's width; most calls cost a look at the clock."""
        if not self.shown or _pager == "shows" or (now := time.monotonic()) < self._next:
            return
        self._next = now + self.PAUSE
        self.stream.write("\r\x1b[K" + _prefix(safe(text), terminal_width() - 1))
        self.stream.flush()
        self._dirty = True

    def clear(self) -> None:
        """Take the line away, before something else is printed."""
        if self._dirty:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._dirty = False
            self._next = 0.0
