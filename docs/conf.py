# SPDX-License-Identifier: GPL-2.0-or-later
"""How Sphinx builds the documentation: `make docs`.

The reference and the pictures are made from the code and the recordings before anything is read, so that
they cannot be older than these. Nothing in the built site is fetched from elsewhere.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tools import pictures, reference  # noqa: E402

reference.write(HERE / "reference")
pictures.write(HERE / "pictures")

project = "firstbyte"
copyright = "the firstbyte authors, GPL-2.0-or-later"
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]["version"]

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns: list[str] = []
nitpicky = False  # the types in signatures are Python's and Scapy's, of which there is no inventory here
smartquotes = False  # "--json" is not a dash

toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"firstbyte {release}"
html_static_path = ["static"]
html_css_files = ["firstbyte.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_search_summary = False  # would be fetched, which a browser refuses pages on a disk
pygments_style = "default"
pygments_dark_style = "github-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5d8a", "color-brand-content": "#0b5d8a"},
    "dark_css_variables": {"color-brand-primary": "#6cc0f0", "color-brand-content": "#6cc0f0"},
}


FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|audio|video|link(?![^>]*rel="(?:canonical|author)"))[^>]*"""
    r"""(?:src|href)=["'](?:https?:)?//[^"']+|@import[^;]+//[^;]+|url\(["']?(?:https?:)?//[^)]+"""
)
"""What a browser would fetch from elsewhere when it shows a page; a link to follow is none."""


def look_for_fetches(app: Sphinx, failure: Exception | None) -> None:
    """Warn, which ends the build, of every page or style that needs something from elsewhere."""
    for path in Path(app.outdir).rglob("*"):
        if failure is None and path.suffix in (".html", ".css"):
            for found in FETCHED.findall(path.read_text("utf-8")):
                logging.getLogger(__name__).warning(f"{path}: fetched from elsewhere: {found}")


LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#:]+)\)")


def name_what_is_not_here(app: Sphinx, name: str, source: list[str]) -> None:
    """Let a link to a file of the repository that is no page say where that file is."""

    def named(link: re.Match[str]) -> str:
        path = (HERE / name).parent.joinpath(link[2]).resolve()
        return link[0] if path.is_relative_to(HERE) else f"{link[1]} (`{path.relative_to(HERE.parent)}`)"

    source[0] = LINK.sub(named, source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", name_what_is_not_here)
    app.connect("build-finished", look_for_fetches)
