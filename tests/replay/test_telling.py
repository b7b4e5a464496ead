# SPDX-License-Identifier: GPL-2.0-or-later
"""A result as lines: what is said, and that nothing of it is markup of a terminal unless asked for."""

from __future__ import annotations

from dissect.replay.compare import Difference
from dissect.replay.outcome import Outcome, Result
from dissect.replay.telling import SHOWN, describe


def result(**values: object) -> Result:
    found = Result("a.pcapng", None, 3, Outcome.DIFF, "ServerInit.width differs", to="127.0.0.1:5900")
    for name, value in values.items():
        setattr(found, name, value)
    return found


def test_a_difference_has_both_sides_and_the_bytes_around_it() -> None:
    wrong = Difference("ServerInit", "width", 640, 160, 0, 0, b"\x02\x80", b"\x00\xa0")
    lines = describe(result(differences=[wrong], received_bytes=12))
    assert lines[0] == "conversation 3 → 127.0.0.1:5900: diff: ServerInit.width differs"
    assert "  ServerInit.width: expected 640, got 160" in lines
    assert "    expected      0  02 80  |..|" in lines
    assert "    got           0  00 a0  |..|" in lines


def test_what_a_peer_said_cannot_steer_a_terminal() -> None:
    wrong = Difference("ServerInit", "name", "a", "\x1b[2J\n")
    text = "\n".join(describe(result(differences=[wrong], notes=["\x1b]0;x\x07"])))
    assert "\x1b" not in text
    assert r"got \x1b[2J\n" in text


def test_painting_is_the_callers() -> None:
    lines = describe(result(), lambda text, style: f"<{style}>{text}</>")
    assert "<bad>diff</>" in lines[0]


def test_many_differences_are_counted() -> None:
    wrong = [Difference("A", f"f{number}", 0, 1) for number in range(SHOWN + 5)]
    assert "and 5 more differences (--json has them)" in describe(result(differences=wrong))[-1]
