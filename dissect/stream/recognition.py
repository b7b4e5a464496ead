# SPDX-License-Identifier: GPL-2.0-or-later
"""Three-valued recognition: yes, no (because), or not yet (n more bytes).

"Not yet" answered as "no" is how a split banner becomes an unknown protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Yes:
    """It is `protocol`, and what says so."""

    protocol: str
    because: str


@dataclass(frozen=True, slots=True)
class No:
    """It is not, and what says so."""

    because: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """`more` bytes, at least, are wanting before the question can be answered."""

    more: int


Recognition = Yes | No | NotYet
Recogniser = Callable[[bytes], Recognition]

# What the first byte of a side says of it, for those who must decide by a table of 256 of these.
AT_ONCE: Final = 0
"""Foreign, whatever follows."""
NOT_HERE: Final = 1
"""It may be of interest, or more than a few bytes are needed."""
BY_FIVE: Final = 2
"""Foreign, and named by its first five bytes."""
BY_LINES: Final = 3
"""Foreign, and named by its lines up to the first empty one, or by `HEAD` bytes.

Where `WORD` is nowhere in these, by less: a request (which does not begin with HT) by its first word and the
space behind it, where this ends before `WORD_MOST` bytes; else by the first `LINE` bytes.
"""

FIVE: Final = 5
"""Bytes that all is in that is said of a side `BY_FIVE`."""
LINE: Final = 12
WORD_MOST: Final = 8
WORD: Final = b"websocket"
"""In any case of its letters."""

HEAD: Final = 2048
"""Bytes of a side after which no recogniser asks for more."""


def magic(protocol: str, *prefixes: bytes) -> Recogniser:
    """A recogniser that says yes once `data` begins with one of `prefixes`."""

    def recognise(data: bytes) -> Recognition:
        nearest: int | None = None
        for prefix in prefixes:
            if data[: len(prefix)] == prefix:
                return Yes(protocol, f"begins with {prefix!r}")
            if prefix.startswith(data):
                more = len(prefix) - len(data)
                nearest = more if nearest is None else min(nearest, more)
        if nearest is not None:
            return NotYet(nearest)
        longest = max(map(len, prefixes))
        return No(f"begins with {data[:longest]!r}")

    return recognise
