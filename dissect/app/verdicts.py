# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict as the cells of a table."""

from __future__ import annotations

from dissect.app.terminal import Cell
from dissect.dissection.verdict import Detection, Verdict
from dissect.stream.side import Side
from dissect.stream.text import duration

STYLES = {"agreed": "good", "wrong-protocol": "bad", "silent": "warn", "undecided": "dim"}


def spoke(verdict: Verdict) -> str:
    """What each side spoke, client first; a dash for the one that never did."""
    return " → ".join(
        "–" if name == "nothing" else name for name in (verdict.client_spoke, verdict.server_spoke)
    )


def outcome(verdict: Verdict) -> Cell:
    """The verdict itself, in its colour."""
    return Cell(verdict.verdict, STYLES[verdict.verdict])


def noticed(verdict: Verdict, side: Side) -> Cell:
    """When `side` noticed, after how many bytes; a lower bound where it did not. Bold: it was the first."""
    seen: Detection | None = verdict.detect(side)
    if seen is None:
        return Cell("")
    text = duration(seen.ns, censored=seen.censored)
    if seen.bytes:
        text += f", {seen.bytes:,} B"
    return Cell(text, "warn" if seen.censored else "head" if verdict.detected_first is side else "")
