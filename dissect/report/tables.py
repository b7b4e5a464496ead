# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables for a page that sorts, searches and pages them by itself, from data embedded in it.

A cell is a text, a number, None, or [what to sort by, what to show, its look]. The details of a row, shown
when somebody opens it, are kept compressed, `TOGETHER` rows at a time: ladders are so alike that thousands of
them take little more room than their differences.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dissect.report.markup import Markup
from dissect.stream.text import duration, safe
from dissect.timing.rungs import date

TOGETHER = 32
"""Rows whose details are compressed together, and unpacked together when one of them is opened."""

Cell = str | int | float | None | list[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. choose: its values are few, and one of them can be chosen."""

    title: str
    kind: Literal["text", "number"] = "text"
    choose: bool = False


@dataclass(slots=True)
class Table:
    """A table, row by row. name: its place in links; anchors: the place of each row.

    ranks: what orders the rows at first, where that is not as they were added.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    packed: list[str] = field(default_factory=list)
    ranks: list[tuple[int, int]] = field(default_factory=list)
    _waiting: list[str] = field(default_factory=list)

    def add(self, cells: Sequence[Cell], anchor: str = "", details: Markup | None = None) -> None:
        """One more row; with details, every row of the table has some. Texts are made safe to show."""
        self.rows.append([_shown(cell) for cell in cells])
        if anchor:
            self.anchors.append(anchor)
        if details is not None:
            self._waiting.append(details)
            if len(self._waiting) == TOGETHER:
                self._pack()

    def _pack(self) -> None:
        if self._waiting:
            whole = json.dumps(self._waiting, ensure_ascii=False).encode("utf-8", "backslashreplace")
            self.packed.append(base64.b64encode(zlib.compress(whole, 9)).decode())
            self._waiting = []

    def to_json(self) -> dict[str, Any]:
        """What the page's script reads; the packed details lie beside it."""
        self._pack()
        return {
            "name": self.name,
            "title": self.title,
            "columns": [
                {"title": column.title, "kind": column.kind, "choose": column.choose}
                for column in self.columns
            ],
            "rows": self.rows,
            "anchors": self.anchors,
            "first": sorted(range(len(self.ranks)), key=self.ranks.__getitem__),
            "together": TOGETHER if self.packed else 0,
        }

    def details(self) -> list[str]:
        """The details of all rows, as they come out again."""
        self._pack()
        return [
            one for packed in self.packed for one in json.loads(zlib.decompress(base64.b64decode(packed)))
        ]


def time(ns: int | None, *, censored: bool = False, more: str = "", first: bool = False) -> Cell:
    """A duration as a cell, sorted by its ns, a bound behind times that equal it; None is an empty cell."""
    if ns is None:
        return None
    look = "bound" if censored else "first" if first else ""
    return [ns + (0.5 if censored else 0), duration(ns, censored=censored) + more, look]


def moment(ns: int) -> str:
    """A time as it is shown in a table: to the millisecond, cut off."""
    whole, _, zone = date(ns).rpartition(" ")
    return f"{whole}.{ns % 1_000_000_000 // 1_000_000:03}" if zone == "UTC" else date(ns)


def _shown(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return safe(cell)
    if isinstance(cell, list):
        return [safe(part) if isinstance(part, str) else part for part in cell]
    return cell
