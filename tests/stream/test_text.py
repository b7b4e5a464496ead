# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of strangers is harmless, and durations read as they should."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.stream.text import duration, quoted, safe

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("QEMU (fedora)", "QEMU (fedora)"),
        ("Grüße, 世界", "Grüße, 世界"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),  # the C1 form of ESC [
        ("a\nb\r\tc\0d\x7f", r"a\nb\r\tc\x00d\x7f"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\ufeff\u200b", r"\ufeff\u200b"),
        ("\U000e0041", r"\U000e0041"),  # an invisible tag letter
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
    ],
)
def test_what_steers_a_terminal_is_shown_by_its_number(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(st.text(st.characters()))
def test_safe_text_is_one_printable_encodable_line(text: str) -> None:
    shown = safe(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert safe(shown) == shown
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in shown)


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "0.001 ms"),
        (8_250, "0.008 ms"),
        (80_000, "0.08 ms"),
        (84_600, "0.085 ms"),
        (99_700, "0.10 ms"),
        (352_000, "0.35 ms"),
        (999_999, "1.00 ms"),
        (13_240_000, "13.2 ms"),
        (255_000_000, "255 ms"),
        (999_400_000, "999 ms"),
        (999_600_000, "1.00 s"),
        (1_860_000_000, "1.86 s"),
        (20 * SECOND, "20 s"),
        (20 * SECOND + 40_000_000, "20.0 s"),
        (119_600_000_000, "120 s"),
        (120 * SECOND, "2 min"),
        (200 * SECOND, "3 min 20 s"),
        (3_600 * SECOND, "1 h"),
        (3_599_600_000_000, "1 h"),
        (3_678_761_684_592, "1 h 1 min"),
        (3_690 * SECOND, "1 h 2 min"),
        (7_380 * SECOND, "2 h 3 min"),
        (-80_000, "-0.08 ms"),
    ],
)
def test_durations_read_naturally(ns: int, shown: str) -> None:
    assert duration(ns) == shown


def test_a_censored_duration_is_a_lower_bound() -> None:
    assert duration(20 * SECOND, censored=True) == "≥ 20 s"


@given(st.integers(1_000, 7_200 * SECOND))
def test_a_shown_duration_is_near_the_true_one(ns: int) -> None:
    units = {"ms": 10**6, "s": SECOND, "min": 60 * SECOND, "h": 3600 * SECOND}
    shown = duration(ns).split()
    value = sum(float(number) * units[unit] for number, unit in zip(shown[::2], shown[1::2], strict=True))
    # Half of the last digit shown.
    assert abs(value - ns) <= max(
        500,
        ns * 0.0051 if ns > 10**6 else ns * 0.05,
        (SECOND if ns < 3600 * SECOND else 60 * SECOND) / 2 * (ns > 119 * SECOND),
    )


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"RFB ", '"RFB "'),
        (b"R", '"R"'),
        (b"\x16\x03\x01", "16 03 01"),
        (b"GET / HTTP/1.1", '"GET / HTTP/1…"'),
        (b"a\n", "61 0a"),
        (b"\xe9", "e9"),
    ],
)
def test_bytes_in_a_sentence(data: bytes, shown: str) -> None:
    assert quoted(data) == shown
