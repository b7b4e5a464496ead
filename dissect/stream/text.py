# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and numbers for people, wherever they are shown: on a terminal, in a picture, in a sentence."""

from __future__ import annotations

_MICROSECOND, _MILLISECOND, _SECOND = 1_000, 1_000_000, 1_000_000_000


def duration(ns: int, *, censored: bool = False) -> str:
    """Return a duration of `ns` nanoseconds for a person: "420 ns", "0.08 ms", "1.86 s", "3 min 20 s".

    Three significant digits up to two minutes, but never less than a microsecond. A censored one ended
    with the capture or the deadline, so the true one is not shorter: "≥ 20 s".
    """
    sign = ("≥ " if censored else "") + ("-" if ns < 0 else "")
    ns = abs(ns)
    if ns < _MICROSECOND:
        return f"{sign}{ns} ns"
    if ns < 120 * _SECOND:
        # 999.6 ms would be rounded to "1000 ms": the unit is chosen by what will be shown.
        unit, name = (_MILLISECOND, "ms") if ns < 999_500_000 else (_SECOND, "s")
        value = ns / unit
        decimals = 3 if value < 0.0995 else 2 if value < 9.995 else 1 if value < 99.95 else 0
        shown = f"{value:.{decimals}f}"
        if "." in shown and ns * 10**decimals % unit == 0:
            shown = shown.rstrip("0").rstrip(".")  # "20 s": the zeros would claim a measured precision
        return f"{sign}{shown} {name}"
    step = _SECOND if ns < 3599.5 * _SECOND else 60 * _SECOND  # past an hour, seconds say nothing
    seconds = (ns + step // 2) // step * step // _SECOND
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    return sign + " ".join(f"{value} {name}" for value, name in parts if value)


def safe(text: str) -> str:
    r"""Replace what could steer a terminal or mislead a reader by its escape: `\n`, `\x1b`, `\u202e`.

    That is control characters (C0, DEL, C1), line and paragraph separators, everything that only
    formats (bidirectional overrides, zero-width characters), lone surrogates, private and unassigned
    characters. The result is one line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    number = ord(character)
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    if 0xDC80 <= number <= 0xDCFF:  # an undecodable byte of a file name, as Python keeps it
        number -= 0xDC00
    if number <= 0xFF:
        return f"\\x{number:02x}"
    if number <= 0xFFFF:
        return f"\\u{number:04x}"
    return f"\\U{number:08x}"


QUOTED = 12
"""Bytes of which `quoted` shows no more."""


def quoted(data: bytes, most: int = QUOTED) -> str:
    """The first bytes of something, for a sentence: as text where all are printable ASCII, else as hex."""
    head = bytes(data[:most])
    more = "…" if len(data) > most else ""
    text = head.decode("ascii", "replace")
    return f'"{text}{more}"' if text.isascii() and text.isprintable() else head.hex(" ") + more


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """Return "1 byte", "1,024 bytes"; `nouns` where the plural is not made with an s."""
    return f"{number:,} {noun if abs(number) == 1 else nouns or noun + 's'}"
