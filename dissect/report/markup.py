# SPDX-License-Identifier: GPL-2.0-or-later
"""HTML and SVG from Python, escaped unless said otherwise."""

from __future__ import annotations

import json
import re
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from dissect.stream.text import safe

VOID = frozenset({"br", "col", "input", "link", "meta", "wbr"})
"""Elements of HTML without content or an end."""


class Markup(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()

    def __html__(self) -> str:
        """The way in which template engines ask."""
        return self


def text(words: str) -> Markup:
    """Words as markup: escaped for content and for attributes in quotes; what could mislead, by number."""
    return words if isinstance(words, Markup) else Markup(escape(safe(words), quote=True))


def tag(name: str, /, *content: str, **attributes: str | int | bool | None) -> Markup:
    """One element. content: each piece is escaped where it is no `Markup`.

    attributes: `class_` and `for_` lose their last mark, and `_` in a name is `-`; None and False leave it
    out, True gives it no value.
    """
    said = "".join(
        f" {key}" if value is True else f' {key}="{text(str(value))}"'
        for key, value in (
            (key.removesuffix("_").replace("_", "-"), value) for key, value in attributes.items()
        )
        if value is not None and value is not False
    )
    if name in VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{''.join(map(text, content))}</{name}>")


def joined(*parts: str) -> Markup:
    """Pieces one after the other."""
    return Markup("".join(map(text, parts)))


@cache
def asset(name: str) -> str:
    """A style sheet or a script that lies beside this file, without its opening comment."""
    found = files("dissect.report").joinpath(name).read_text("utf-8")
    return found.partition("*/\n")[2]


def data(value: Any) -> Markup:
    """JSON for the inside of a `<script type="application/json">`: nothing in it can end the element."""
    found = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(_ODD.sub(lambda one: f"\\u{ord(one[0]):04x}", found))


_ODD = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
"""What may end the element or, where JSON is read as a script, a line; and lone surrogates, without UTF-8."""


def link(anchor: str) -> str:
    """What stands behind the # of a link to a row."""
    return quote(anchor, safe="!~*'()")  # as the script's encodeURIComponent
