# SPDX-License-Identifier: GPL-2.0-or-later
"""What was found in a conversation, as comments on the packets where it happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from dissect.capture.places import Trail
from dissect.dissection.reading import Dissected
from dissect.dissection.recognise import TITLES
from dissect.stream.records import Gap, Message, Violation
from dissect.stream.side import Side
from dissect.stream.text import plural, safe
from dissect.timing import wording
from dissect.timing.rungs import first_message, reference_ns

PREFIX: Final = "firstbyte: "
"""How every comment of ours begins, so that it can be told from others'."""

MOST_ODD: Final = 1000
"""Gaps and violations of one conversation that get a comment; more are counted in its summary."""

MOST_MESSAGES: Final = 8
"""Messages that are named on the packet in which they begin; more are counted there."""

Captured = Callable[[Side], Side]
"""The side as the capture has it, of a side as it was found to be."""

Remark = tuple[int, str]
"""The offset of a packet's record in its file, and the comment."""


def remarks(dissected: Dissected, trail: Trail, *, messages: bool = False) -> Iterator[Remark]:
    """The comments on one conversation, dissected with its records.

    messages: also name each message on the packet that brought its first byte.
    """
    for frame, words in _remarks(dissected, trail, messages):
        yield frame, PREFIX + safe(words)


def _remarks(dissected: Dissected, trail: Trail, messages: bool) -> Iterator[Remark]:
    verdict = dissected.verdict
    turned = verdict.client != dissected.conversation.client  # roles that the capture had guessed

    def captured(side: Side) -> Side:
        return side.other if turned else side

    odd = [one for one in dissected.records if isinstance(one, Gap | Violation)]
    more = f"; {len(odd) - MOST_ODD:,} more gaps and violations" if len(odd) > MOST_ODD else ""
    ends = f"client {verdict.client}, server {verdict.server}"
    yield (
        trail.first,
        f"conversation {verdict.conversation}, {ends}: {verdict.verdict}: {verdict.reason}{more}",
    )
    for side in Side:
        began = first_message(dissected, side)
        if began is not None:
            words = f"the {side} begins to speak {TITLES.get(verdict.spoke(side), verdict.spoke(side))}"
            if verdict.verdict == "wrong-protocol" and verdict.detect(side.other) is not None:
                words += f": the first wrong byte that reaches the {side.other}"
            yield trail.frame(captured(side), began.offset), words
    for side in Side:
        seen = verdict.detect(side)
        if seen is not None:
            yield _reaction(dissected, trail, side, captured), wording.detection(side, seen)
    for one in odd[:MOST_ODD]:
        if isinstance(one, Gap):
            words = (
                f"gap: {plural(one.size, 'byte')} of the {one.side} from offset {one.offset:,} of its stream "
            )
            yield trail.gap(captured(one.side), one.offset), words + "are not in the capture"
        else:
            where = f"violation of the {one.side} at offset {one.offset:,} of its stream"
            named = f"{one.name}: " if one.name else ""
            yield (
                trail.frame(captured(one.side), one.offset),
                f"{where}: {named}{one.why} (state: {one.state})",
            )
    if messages:
        yield from _messages(dissected, trail, captured)


def _reaction(dissected: Dissected, trail: Trail, side: Side, captured: Captured) -> int:
    """The frame with the reaction of a side; without one, the frame until which there was none."""
    seen = dissected.verdict.detect(side)
    assert seen is not None
    own = captured(side)
    when = reference_ns(dissected, side) + seen.ns
    found: int | None = None
    match seen.by:
        case "close":
            found = trail.closed(own)
        case "reset":
            found = trail.reset(own)
        case "error-reply":
            for one in dissected.records:
                if isinstance(one, Message) and one.side is side and one.first_ns == when:
                    return trail.frame(own, one.offset)
        case None:  # the peer left, or the capture ended
            for ending in dissected.endings:
                if ending.side is side.other and ending.time_ns == when:
                    left = captured(side.other)
                    found = trail.closed(left) if ending.how == "close" else trail.reset(left)
                    break
    return trail.last if found is None else found


def _messages(dissected: Dissected, trail: Trail, captured: Captured) -> Iterator[Remark]:
    begun: dict[int, list[Message]] = {}
    for one in dissected.records:
        if isinstance(one, Message):
            begun.setdefault(trail.frame(captured(one.side), one.offset), []).append(one)
    for frame, found in begun.items():
        for one in found[:MOST_MESSAGES]:
            words = f"{one.side}: {wording.title(one)} {wording.detail(one)}".strip()
            yield frame, f"{words} ({plural(one.size, 'byte')})"
        if len(found) > MOST_MESSAGES:
            yield frame, f"… and {len(found) - MOST_MESSAGES:,} more messages begin here"
