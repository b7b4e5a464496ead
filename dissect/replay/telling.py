# SPDX-License-Identifier: GPL-2.0-or-later
"""What a replay came to, as lines for a person: in a terminal, in a file, in a test's failure."""

from __future__ import annotations

from collections.abc import Callable

from dissect.replay.compare import Difference, hex_line
from dissect.replay.outcome import Outcome, Result
from dissect.stream.text import duration, plural, safe

SHOWN = 20
"""Differences that are shown; --json has them all."""

Paint = Callable[[str, str], str]
"""Given safe text and a style ("good", "bad", "warn", "head"): the text as it is to be written."""

STYLES = {Outcome.PASS: "good", Outcome.INCONCLUSIVE: "warn"}


def describe(result: Result, paint: Paint = lambda text, style: text) -> list[str]:
    """A result as lines."""
    what = f"conversation {result.conversation}" + (f" ({result.channel} channel)" if result.channel else "")
    run = "" if result.run is None else f"run {result.run}: "
    outcome = paint(str(result.outcome), STYLES.get(result.outcome, "bad"))
    lines = [f"{run}{safe(what)} → {safe(result.to)}: {outcome}: {safe(result.reason)}"]
    if result.outcome is Outcome.REFUSED and not result.sent_bytes and not result.received_bytes:
        return lines
    peer = ", ".join(f"{key} {value}" for key, value in result.peer.items())
    lines.append(
        f"  sent {plural(result.sent_bytes, 'byte')} in "
        f"{plural(result.sent_messages, 'message')}; received "
        f"{plural(result.received_bytes, 'byte')} in "
        f"{plural(result.received_messages, 'message')}; {duration(result.lasted_ns)}"
    )
    held = [plural(result.compared_messages, "message")]
    held += ["a silence"] * bool(result.compared_silences) + ["the end"] * bool(result.compared_endings)
    left = []
    for count, text in (
        (result.left_over_messages, "came over and above"),
        (result.unanswered_messages, "recorded and not met"),
        (result.unsent_messages, "not sent"),
    ):
        if count:
            left.append(f"{count:,} {text}")
    lines.append(f"  compared {', '.join(held)}" + (f"; {', '.join(left)}" if left else ""))
    if peer:
        lines.append(f"  live peer: {safe(peer)}")
    lines += [f"  not as recorded: {safe(text)}" for text in result.adapted]
    lines += [f"  note: {safe(text)}" for text in result.notes]
    around: tuple[object, ...] = ()
    for difference in result.differences[:SHOWN]:
        here = difference.message, difference.nth, difference.at
        lines += _difference(difference, paint, same=here == around)
        around = here
    hidden = len(result.differences) - SHOWN + result.differences_not_kept
    if hidden > 0:
        lines.append(f"  and {plural(hidden, 'more difference')} (--json has them)")
    return lines


def _difference(difference: Difference, paint: Paint, *, same: bool) -> list[str]:
    """One difference; `same`: the bytes around it have just been shown."""
    nth = f" #{difference.nth}" if difference.nth else ""
    path = f"{difference.message}{nth}.{difference.field}"
    expected, got = safe(str(difference.expected)), safe(str(difference.got))
    lines = [f"  {paint(safe(path), 'head')}: expected {expected}, got {got}"]
    if difference.at is not None and not same and (difference.expected_bytes or difference.got_bytes):
        at = f"{difference.at:>6}"
        if difference.expected_bytes:
            lines.append(f"    expected {at}  {hex_line(difference.expected_bytes)}")
        lines.append(f"    got      {at}  {hex_line(difference.got_bytes)}")
    return lines
