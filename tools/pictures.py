#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws the pictures of the documentation from the bundled recordings, as HTML that pages take in.

    python tools/pictures.py [DIRECTORY]           # default: docs/pictures

They follow the page's light or dark theme. A picture is only written where it differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from dissect import firstbyte as fb

ROOT = Path(__file__).resolve().parent.parent
PCAPS = ROOT / "pcaps"

LADDERS: Mapping[str, str] = {
    "the-hang": "xtigervncviewer--qemu-spice",
    "the-cure": "gvncviewer--qemu-spice",
    "fails-fast": "spicy--qemu-vnc",
}
"""Picture -> recording."""


def drawn() -> dict[str, str]:
    """Every picture by its name."""
    found = {}
    for name, recording in LADDERS.items():
        (conversation,) = fb.open(PCAPS / f"{recording}.pcapng")
        found[name] = conversation._repr_html_()
    found["detection-times"] = fb.open(str(PCAPS / "*.pcapng")).plot()._repr_html_()
    return found


def write(folder: Path) -> list[Path]:
    """Write all pictures into `folder`; returns what has changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in drawn().items():
        path = folder / f"{name}.html"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            changed.append(path)
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "pictures")
    folder = parser.parse_args().folder
    changed = write(folder)
    print(f"{len(changed)} pictures written to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
