# SPDX-License-Identifier: GPL-2.0-or-later
"""The project's Markdown and the command lines in it.

A block of code that is marked `console` is run, and prints what stands below its command; `...` there stands
for anything. A comment before the block says what it needs beyond the recordings:

    <!-- run: peer=gvncviewer,qemu-spice -->   these programs of the lab
    <!-- run: server=qemu-vnc -->              this one, started, in place of 127.0.0.1:5900
    <!-- run: program=tshark -->               this command on the PATH
    <!-- run: exit=1 -->                       another exit code than 0
    <!-- run: slow=10 -->                      some seconds: runs under CI=true, or with FIRSTBYTE_SLOW=1

Whatever else looks like a command line of firstbyte, in another block or between backticks, is read by its
parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(
        path
        for path in (ROOT / "docs").rglob("*.md")
        if not path.is_relative_to(ROOT / "docs/reference")  # made from the parsers themselves
    ),
]

MARKS = frozenset({"peer", "server", "program", "exit", "slow"})

BLOCK = re.compile(r"^(?:<!-- run: ([^>]*?) -->\n)?^( *)```console\n(.*?)^ *```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A console block: its commands, each with what it prints, and what it needs."""

    document: Path
    line: int
    commands: tuple[tuple[str, str], ...]
    needs: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> Iterator[Block]:
    """The console blocks of a document. Raises ValueError for a mark that nobody knows."""
    text = document.read_text("utf-8")
    for found in BLOCK.finditer(text):
        marks, indent, body = found.groups()
        needs = dict(mark.split("=", 1) for mark in (marks or "").split())
        if unknown := set(needs) - MARKS:
            raise ValueError(f"{document}: unknown marks {', '.join(sorted(unknown))}")
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        commands: list[tuple[str, str]] = []
        for line in lines:
            if line.startswith("$ "):
                commands.append((line[2:], ""))
            else:
                if not commands:
                    raise ValueError(f"{document}: a console block begins with {line!r}, no command")
                command, shown = commands[-1]
                commands[-1] = (command, f"{shown}{line}\n")
        yield Block(document, text[: found.start(3)].count("\n"), tuple(commands), needs)


def matches(shown: str, printed: str) -> bool:
    """Whether what a document shows is what was printed; "..." stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, printed, re.S) is not None


def mentioned(document: Path) -> Iterator[tuple[str, bool]]:
    """Command lines of firstbyte in a document, and whether each is whole: not one between backticks."""
    text = document.read_text("utf-8")
    for line in text.splitlines():
        found = re.match(r"^\s*(?:\$ )?(?:\.venv/bin/)?(firstbyte [a-z].*?)(?:\s+#.*)?$", line)
        if found and (line.startswith("    ") or "$ " in line or _fenced(text, line)):
            yield found[1], True
    for found in re.finditer(r"(?<!`)`(firstbyte [a-z][^`]*)`(?!`)", text):
        yield " ".join(found[1].split()), False


def _fenced(text: str, line: str) -> bool:
    """Whether a line stands in a block of code."""
    return text[: text.index(line)].count("\n```") % 2 == 1
