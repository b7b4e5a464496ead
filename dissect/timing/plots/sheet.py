# SPDX-License-Identifier: GPL-2.0-or-later
"""Paper, ink and type: what both pictures are drawn on and with.

A `Sheet` is a figure whose coordinates are inches from its upper left corner, so that a layout is plain
arithmetic on text that was measured before it is placed. Everything works on `Figure` objects with
matplotlib's own defaults, whatever a user's matplotlibrc says, and puts the settings back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from dissect.stream.side import Side
from dissect.timing.wording import escape, legible

DPI = 150
"""Dots per inch of a PNG."""

WIDTH = 10.0
"""Inches: every picture's width. One point is then 1.4 pixels where it is shown 1000 pixels wide."""

FORMATS = ("png", "svg")
"""What `save` writes."""

FAMILY = "DejaVu Sans"  # comes with matplotlib, so that a picture looks the same everywhere

# Okabe and Ito's colours: told apart by every kind of sight. Shapes say the same in black and white.
INK = "#1a1a1a"
PALE = "#5f5f5f"
FAINT = "#b9b9b9"
WASH = "#f3f3f3"
BLUE = "#0072b2"
VERMILLION = "#d55e00"
GREEN = "#009e73"
YELLOW = "#f0e442"

COLOURS = {Side.CLIENT: BLUE, Side.SERVER: VERMILLION}
TINTS = {Side.CLIENT: "#d4e8f5", Side.SERVER: "#fbe3d2"}

Align = Literal["left", "center", "right"]

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, and read aloud
    "svg.hashsalt": "firstbyte",  # else every run has other ids
    "text.parse_math": False,
    "path.simplify": False,
    "hatch.linewidth": 0.5,
    "agg.path.chunksize": 0,
}


@contextmanager
def settings() -> Iterator[None]:
    """Defaults of matplotlib and ours for the time being; the process's own come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def save(figure: Figure, target: str | Path | IO[bytes], kind: str | None = None) -> None:
    """Write a picture. `kind`: one of `FORMATS`; None takes it from the suffix of `target`.

    The same figure gives the same bytes: no date is written. Raises ValueError for another format, and
    OSError.
    """
    if kind is None:
        kind = Path(str(target)).suffix.removeprefix(".").lower() if isinstance(target, str | Path) else ""
    if kind not in FORMATS:
        raise ValueError(f"the format {kind or 'without a name'} is not one of {', '.join(FORMATS)}")
    metadata: dict[str, Any] = {"Software": None} if kind == "png" else {"Date": None, "Creator": "firstbyte"}
    with settings():
        figure.savefig(target, format=kind, dpi=DPI, metadata=metadata, facecolor="white")


# --- type -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def font(size: float, *, bold: bool = False, italic: bool = False) -> FontProperties:
    """The one family that is used, in points."""
    return FontProperties(
        family=FAMILY,
        size=size,
        weight="bold" if bold else "normal",
        style="italic" if italic else "normal",
    )


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    """The characters that the font has."""
    return frozenset(get_font(findfont(font(10))).get_charmap())


def drawable(text: str) -> str:
    """`legible` text, and what the font lacks by its number too: an empty box would say less."""
    text = legible(text)
    if text.isascii():
        return text
    known = _glyphs()
    return "".join(character if ord(character) in known else escape(character) for character in text)


@lru_cache(maxsize=4096)
def width(text: str, face: FontProperties) -> float:
    """Inches that one line of text takes."""
    if not text:
        return 0.0
    return float(text_to_path.get_text_width_height_descent(text, face, ismath=False)[0]) / 72


def line_height(face: FontProperties) -> float:
    """Inches from one line to the next."""
    return float(face.get_size_in_points()) * 1.32 / 72


def cut(text: str, space: float, face: FontProperties) -> str:
    """`text`, or as much of its beginning as fits into `space` inches, and an ellipsis."""
    if width(text, face) <= space:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if width(text[:middle].rstrip() + "…", face) <= space:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…"


def wrap(text: str, space: float, face: FontProperties, most: int) -> list[str]:
    """Break text into at most `most` lines of `space` inches, at spaces where there are any; the rest is
    cut.
    """
    lines: list[str] = []
    rest = text.strip()
    while rest and len(lines) < most - 1:
        if width(rest, face) <= space:
            break
        low, high = 1, len(rest)  # the longest beginning that fits
        while low < high:
            middle = (low + high + 1) // 2
            if width(rest[:middle].rstrip(), face) <= space:
                low = middle
            else:
                high = middle - 1
        at = rest.rfind(" ", 0, low + 1)
        at = at if at > low // 3 else low  # a long word is broken rather than a line left almost empty
        lines.append(rest[:at].rstrip())
        rest = rest[at:].lstrip()
    if rest:
        lines.append(cut(rest, space, face))
    return lines


# --- paper ----------------------------------------------------------------------------------------------


class Sheet:
    """A figure of `WIDTH` by `height` inches; x goes right, y goes down, both in inches."""

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
        axes: Axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        self.axes = axes

    def text(
        self,
        x: float,
        y: float,
        text: str,
        face: FontProperties,
        *,
        align: Align = "left",
        colour: str = INK,
        gid: str | None = None,
    ) -> Text | None:
        """One line of text with its baseline at `y`. Empty text is nothing."""
        if not text:
            return None
        return self.axes.text(
            x,
            y,
            text,
            fontproperties=face,
            ha=align,
            va="baseline",
            color=colour,
            parse_math=False,
            zorder=6,
            gid=gid,
        )

    def line(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        *,
        colour: str,
        weight: float = 1.0,
        style: Any = "-",
    ) -> None:
        """A straight line; `weight` in points."""
        self.axes.add_line(
            Line2D([x0, x1], [y0, y1], color=colour, lw=weight, ls=style, solid_capstyle="butt", zorder=2)
        )

    def arrow(
        self,
        x0: float,
        x1: float,
        y: float,
        *,
        colour: str,
        weight: float = 1.6,
        style: Any = "-",
        heads: str = "-|>",
        gid: str | None = None,
    ) -> None:
        """A level arrow from x0 to x1."""
        self.axes.add_patch(
            FancyArrowPatch(
                (x0, y),
                (x1, y),
                arrowstyle=heads,
                mutation_scale=13,
                shrinkA=0,
                shrinkB=0,
                color=colour,
                lw=weight,
                ls=style,
                joinstyle="miter",
                capstyle="butt",
                zorder=3,
                gid=gid,
            )
        )

    def box(
        self,
        x: float,
        y: float,
        wide: float,
        high: float,
        *,
        edge: str,
        fill: str = "white",
        weight: float = 1.2,
        style: Any = "-",
        rounded: float = 0.05,
    ) -> None:
        """A box whose upper left corner is at (x, y)."""
        self.axes.add_patch(
            FancyBboxPatch(
                (x + rounded, y + rounded),
                wide - 2 * rounded,
                high - 2 * rounded,
                boxstyle=f"round,pad={rounded},rounding_size={rounded}",
                ec=edge,
                fc=fill,
                lw=weight,
                ls=style,
                zorder=4,
            )
        )

    def band(self, x: float, y: float, wide: float, high: float, *, fill: str, order: float = 0.5) -> None:
        """A filled rectangle without an edge, behind everything."""
        self.axes.add_patch(Rectangle((x, y), wide, high, fc=fill, ec="none", lw=0, zorder=order))

    def head(
        self, x: float, title: list[str], subtitle: list[str], faces: tuple[FontProperties, FontProperties]
    ) -> float:
        """The lines of title and subtitle, each in its face; returns where they end."""
        y = 0.24
        for text in title:
            y += line_height(faces[0])
            self.text(x, y - 0.06, text, faces[0], gid="title")
        for text in subtitle:
            y += line_height(faces[1])
            self.text(x, y - 0.04, text, faces[1], colour=PALE)
        return y

    def mark(
        self,
        x: float,
        y: float,
        shape: Any,
        *,
        size: float,
        edge: str = INK,
        fill: str = "white",
        weight: float = 1.0,
        gid: str | None = None,
    ) -> None:
        """A marker of matplotlib's; `size` in points."""
        self.axes.add_line(
            Line2D(
                [x], [y], marker=shape, ms=size, mec=edge, mfc=fill, mew=weight, ls="none", zorder=7, gid=gid
            )
        )
