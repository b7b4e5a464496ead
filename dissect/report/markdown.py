# SPDX-License-Identifier: GPL-2.0-or-later
"""Markdown that strangers' text cannot steer: tables and folded details for a pull request's page.

What GitHub and GitLab both render: pipes tables, `<details>`, fenced blocks. Text from captures and programs
is escaped, so that it is neither markup, nor HTML, nor a mention of somebody.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from dissect.stream.text import safe

STEERS = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$])")
MENTION = re.compile(r"([@#])(?=\w)")
"""What notifies people, and links to other things."""
ZERO_WIDTH = "\u200b"

LONGEST = 60_000
"""Characters that a summary may have: GitHub cuts off a comment at 65,536."""


def escape(text: str) -> str:
    """Text as it is, on one line."""
    return MENTION.sub(rf"\1{ZERO_WIDTH}", STEERS.sub(r"\\\1", safe(text)))


def code(text: str) -> str:
    """Text as code within a line; also in a table."""
    text = safe(text).replace("|", "\u2223") if text else " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def block(lines: Sequence[str], language: str = "") -> str:
    """Lines as a block of code; a `diff` is coloured."""
    text = "\n".join(safe(line) for line in lines)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def html_code(text: str) -> str:
    """Text as code where only HTML is read: in a summary."""
    return f"<code>{html.escape(safe(text))}</code>"


def details(summary: str, body: str) -> str:
    """Something folded. `summary`: HTML of one line (no Markdown is read there); `body`: Markdown."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def within(parts: Sequence[str], limit: int = LONGEST) -> str:
    """As many of the parts, as paragraphs, as fit; how many were left out is said."""
    kept: list[str] = []
    size = 0
    for part in parts:
        if size + len(part) > limit:
            kept.append(f"_{len(parts) - len(kept)} more parts are left out here: this page has its limits._")
            break
        kept.append(part)
        size += len(part) + 2
    return "\n\n".join(kept) + "\n"
