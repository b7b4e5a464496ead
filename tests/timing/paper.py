# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold of every picture, whatever is in it: no text leaves the paper, and no two meet."""

from __future__ import annotations

from io import BytesIO
from itertools import combinations
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dissect.timing.plots import save

TOLERANCE = 0.5
"""Pixels by which two boxes may meet: half of what a screen can show."""

NASTY = (
    "$\\frac{1}{0}$ \x1b[31m %s {0} & <b>\u202eevil\u2066 שלום مرحبا Z\u0301a\u0300lgo 漢字 🖥 \x00\n\t\ud800"
)
"""Mathematics, escapes, markup, right-to-left text and overrides, combining, wide and undecodable ones."""


def texts(figure: Figure) -> list[Any]:
    """All text that is drawn; Any, as matplotlib's types differ from version to version."""
    canvas: Any = figure
    canvas.draw_without_rendering()
    found: list[Any] = figure.findobj(Text)
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def words(figure: Figure) -> str:
    """Everything that can be read in a picture."""
    return "\n".join(text.get_text() for text in texts(figure))


def check(figure: Figure) -> None:
    """Fail where a text leaves the paper, meets another, is too small, or would be read as mathematics."""
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    found = [(text, text.get_window_extent(renderer)) for text in texts(figure)]
    assert found
    paper = figure.bbox
    for text, box in found:
        assert not text.get_parse_math(), text
        assert text.get_text().isprintable(), text
        assert text.get_fontsize() >= 9, text
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= paper.width, text
        assert box.y1 <= paper.height, text
    for (one, first), (other, second) in combinations(found, 2):
        assert not _meet(first, second), (one, other)


def _meet(one: Bbox, other: Bbox) -> bool:
    return bool(
        min(one.x1, other.x1) - max(one.x0, other.x0) > TOLERANCE
        and min(one.y1, other.y1) - max(one.y0, other.y0) > TOLERANCE
    )


def marks(figure: Figure, gid: str) -> list[Any]:
    """The markers whose gid begins like that."""
    found: list[Any] = figure.findobj(Line2D)
    return [line for line in found if str(line.get_gid() or "").startswith(gid)]


def places(line: Any) -> list[tuple[float, float]]:
    """Where the marks of a line are, in its axes' own units."""
    return [(float(x), float(y)) for x, y in line.get_xydata()]


def written(figure: Figure, kind: str) -> bytes:
    """The picture as the bytes of a file."""
    target = BytesIO()
    save(figure, target, kind)
    return target.getvalue()
