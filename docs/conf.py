# SPDX-License-Identifier: GPL-2.0-or-later
"""How Sphinx builds the documentation: `make docs`.

The reference and the pictures are made from the code and the recordings before anything is read, so that
they cannot be older than these. Nothing in the built site is fetched from elsewhere.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

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

html_theme = "furo"
html_title = f"firstbyte {release}"
html_static_path = ["static"]
html_css_files = ["firstbyte.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "default"
pygments_dark_style = "github-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5d8a", "color-brand-content": "#0b5d8a"},
    "dark_css_variables": {"color-brand-primary": "#6cc0f0", "color-brand-content": "#6cc0f0"},
}
