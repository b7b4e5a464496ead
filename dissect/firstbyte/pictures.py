# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures that show themselves in a notebook, in its light or dark theme, and can be saved.

The drawings are those of `dissect.timing.plots`, in their few named colours. For a notebook these become
variables of its theme; a colour that stands for a value (the shades of a map, and the words on them) stays.
"""

from __future__ import annotations

import hashlib
import io
import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from dissect.firstbyte import display
from dissect.report.markup import Markup, tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG: Final = "{http://www.w3.org/2000/svg}"
HREF: Final = "{http://www.w3.org/1999/xlink}href"

LONG_PATH: Final = 10_000
"""Characters of a path from which on it is a hatch of dots."""

DOTS: Final = 3.0
"""Points between two dots of a hatch."""

FIXED: Final = "on shade"
"""How the ids of parts begin whose colours stay: what is written on a shade that stands for a value."""


class Picture:
    """One picture: shows itself in a notebook, and can be saved.

    figure: the matplotlib figure, for whoever wants to go on with it. title: what it is of.

    >>> from dissect import firstbyte as fb
    >>> picture = fb.open("pcaps/spicy--qemu-vnc.pcapng").plot()
    >>> picture
    <Picture: detection times>
    >>> picture.figure.get_size_inches()[0].item()
    10.0
    """

    def __init__(self, figure: Figure, title: str) -> None:
        self.figure = figure
        self.title = title

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as PNG or SVG, by the name's ending. Raises ValueError for another one, and OSError.

        >>> import tempfile, pathlib
        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/spicy--qemu-vnc.pcapng")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     conversation.plot().save(f"{folder}/ladder.png")
        ...     pathlib.Path(f"{folder}/ladder.png").read_bytes()[1:4]
        b'PNG'
        """
        from dissect.timing.plots import save

        save(self.figure, Path(path))

    @property
    def svg(self) -> str:
        """It as one `<svg>` element for a page; it takes the colours of an element of class `fb` around it.

        >>> from dissect import firstbyte as fb
        >>> fb.open("pcaps/spicy--qemu-vnc.pcapng").plot().svg.startswith("<svg ")
        True
        """
        return themed(self.figure, self.title)

    def __repr__(self) -> str:
        return f"<Picture: {self.title}>"

    def _repr_html_(self) -> str:
        return display.frame(Markup(self.svg))


def themed(figure: Figure, title: str) -> Markup:
    """A figure of `dissect.timing.plots` as an `<svg>` element in the colours of the page around it.

    Its ids are its own, so that several can stand in one page.
    """
    from dissect.timing.plots import save

    target = io.BytesIO()
    save(figure, target, "svg")
    root = ElementTree.fromstring(target.getvalue())
    for child in list(root):
        if child.tag == f"{SVG}metadata":
            root.remove(child)
    for pattern in root.iter(f"{SVG}pattern"):
        _lighter(pattern)
    mark = hashlib.sha256(target.getvalue()).hexdigest()[:8]
    _walk(root, mark, _variables(), fixed=False)
    across, down = (root.get("viewBox") or "0 0 720 720").split()[2:]
    body = "".join(_written(child) for child in root)
    # Points are made pixels: a picture is then as wide as the text of a notebook.
    return tag(
        "svg",
        tag("title", title),
        Markup(body),
        viewBox=f"0 0 {across} {down}",
        width=f"{float(across) * 1.25:g}",
        role="img",
        aria_label=title,
    )


def _lighter(pattern: ElementTree.Element) -> None:
    """Give a hatch of dots one small tile: matplotlib writes out a thousand of them."""
    path = pattern.find(f"{SVG}path")
    if path is None or len(path.get("d") or "") < LONG_PATH:
        return
    pattern.set("width", f"{DOTS:g}")
    pattern.set("height", f"{2 * DOTS:g}")
    pattern.remove(path)
    for x, y in ((DOTS / 2, DOTS / 2), (0, 1.5 * DOTS), (DOTS, 1.5 * DOTS)):
        dot = {"cx": f"{x:g}", "cy": f"{y:g}", "r": "0.4", "style": path.get("style") or ""}
        ElementTree.SubElement(pattern, f"{SVG}circle", dot)


def _variables() -> dict[str, str]:
    """Colour of a picture -> the variable of the theme that takes its place."""
    from dissect.stream.side import Side
    from dissect.timing.plots import sheet

    names = {
        sheet.INK: "ink",
        sheet.PALE: "pale",
        sheet.WASH: "wash",
        sheet.BLUE: "client",
        sheet.VERMILLION: "server",
        sheet.TINTS[Side.CLIENT]: "client-tint",
        sheet.TINTS[Side.SERVER]: "server-tint",
        "#ffffff": "paper",
        "#000000": "ink",
    }
    found = {colour: f"var(--fb-{name}, {colour})" for colour, name in names.items()}
    # Grids and hatches: fainter than lines that one is to read, stronger than rules that one is not.
    found[sheet.FAINT] = "color-mix(in srgb, var(--fb-line, #8c8c8c) 60%, var(--fb-paper, #ffffff))"
    return found


_COLOUR = re.compile(r"#[0-9a-f]{6}")
_POINTS_AT = re.compile(r"url\(#([^)]*)\)")


def _walk(element: ElementTree.Element, mark: str, variables: dict[str, str], *, fixed: bool) -> None:
    """Give every id, and what points at it, its mark, and every known colour its variable."""
    name = element.get("id")
    if name is not None:
        fixed = fixed or name.startswith(FIXED)
        element.set("id", f"fb{mark}-{name.replace(' ', '-')}")
    for key, value in element.attrib.items():
        if key == HREF and value.startswith("#"):
            element.set(key, f"#fb{mark}-{value[1:].replace(' ', '-')}")
        elif key in ("style", "clip-path", "fill", "stroke"):
            value = _POINTS_AT.sub(lambda one: f"url(#fb{mark}-{one[1].replace(' ', '-')})", value)
            if not fixed:
                value = _COLOUR.sub(lambda one: variables.get(one[0], one[0]), value)
            element.set(key, value)
    for child in element:
        _walk(child, mark, variables, fixed=fixed)


def _written(element: ElementTree.Element) -> str:
    """An element as HTML wants it: without the prefixes of namespaces."""
    text = ElementTree.tostring(element, "unicode")
    text = re.sub(r' xmlns:ns\d+="[^"]*"', "", text)
    text = re.sub(r"(</?)ns\d+:", r"\1", text)
    return re.sub(r"\bns\d+:href=", "href=", text)
