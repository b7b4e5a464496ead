# SPDX-License-Identifier: GPL-2.0-or-later
"""What captures and the programs in them are called where something is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dissect.app.looking import is_file
from dissect.stream.side import Side


def labels(names: Sequence[str]) -> dict[str, str]:
    """What each capture is called: its file's name, its path where names are not unique."""
    distinct = list(dict.fromkeys(names))
    counted = Counter(Path(name).name for name in distinct)
    return {
        name: "standard input" if name == "-" else Path(name).name if counted[Path(name).name] == 1 else name
        for name in distinct
    }


def programs(name: str) -> dict[Side, str]:
    """The programs at either end, with versions, where an index beside the capture knows this very file."""
    path = Path(name)
    if name == "-" or not is_file(path.parent / "index.toml"):
        return {}
    from dissect.lab.collection import load, sha256

    try:
        for entry in load(path.parent):
            if entry["file"] == path.name and entry["sha256"] == sha256(path):
                versions = entry["versions"]
                return {side: f"{entry[side]} {versions.get(entry[side], '')}".strip() for side in Side}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # somebody else's index.toml: the picture does without
    return {}
