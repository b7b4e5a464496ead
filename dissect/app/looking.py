# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies at a path. Where nobody may look nothing does, and what opens it says why."""

from __future__ import annotations

import os
import stat


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a plain file is there, or a link to one."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: str | os.PathLike[str]) -> bool:
    """The same of a folder."""
    return stat.S_ISDIR(_mode(path))


def is_pipe(path: str | os.PathLike[str]) -> bool:
    """The same of a named pipe."""
    return stat.S_ISFIFO(_mode(path))


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether anything is there, as far as one may look."""
    return _mode(path) != 0


def _mode(path: str | os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_mode  # noqa: PTH116  # of one place: `Path` has no more to say
    except (OSError, ValueError):
        return 0
