# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of installed C headers, to hold ours against."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_CONSTANT = re.compile(r"^#\s*define\s+(\w+)\s+\(?(-?(?:0x[0-9A-Fa-f]+|\d+))\)?\s*$", re.MULTILINE)
_ENUM = re.compile(r"\benum\b[^{};]*\{([^}]*)\}")


def text(path: str, package: str) -> str:
    """A header without its comments; leaves the test out, or fails it under CI=true, where it is missing."""
    header = Path(path)
    if not header.exists():
        reason = f"{path} is not installed (package {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(f"under CI=true nothing is left out, but {reason}", pytrace=False)
        pytest.skip(reason)
    return _COMMENT.sub(" ", header.read_text(encoding="utf-8", errors="replace"))


def defines(source: str) -> dict[str, int]:
    """`#define NAME number`."""
    return {name: int(number, 0) for name, number in _CONSTANT.findall(source)}


def enums(source: str) -> dict[str, int]:
    """The enumerators of all enums, counted as C does; those with an expression are left out."""
    numbers: dict[str, int] = {}
    for body in _ENUM.findall(source):
        following: int | None = 0
        for item in filter(None, (part.strip() for part in body.split(","))):
            name, _, value = (part.strip() for part in item.partition("="))
            if value:
                known = numbers.get(value)
                shifted = re.fullmatch(r"\(?1 << (\d+)\)?", value)
                if shifted:
                    following = 1 << int(shifted[1])
                elif known is not None:
                    following = known
                else:
                    following = int(value, 0) if re.fullmatch(r"0x[0-9A-Fa-f]+|\d+", value) else None
            if following is not None:
                numbers[name] = following
                following += 1
    return numbers
