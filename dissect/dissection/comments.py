# SPDX-License-Identifier: GPL-2.0-or-later
"""What people wrote into a capture: comments, and which conversation each is of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dissect.capture import Conversation, Frame, Segment, decode
from dissect.capture.notes import Comment, Notes
from dissect.dissection.reading import Dissected
from dissect.stream import Side


@dataclass(frozen=True, slots=True)
class Said:
    """A comment on a packet of a conversation. side: who sent the packet."""

    comment: Comment
    side: Side

    def to_json(self) -> dict[str, Any]:
        """The object of `verdict --comments --json`."""
        return {**to_json(self.comment), "side": self.side, "time_ns": self.comment.time_ns}


def to_json(comment: Comment) -> dict[str, Any]:
    """The same of a comment that is of no conversation."""
    return {"about": comment.about, "text": comment.text, "side": None, "time_ns": None}


class Comments:
    """The comments of a capture, each with the conversation that its packet is of.

    A packet is known by its addresses and its time. One in a tunnel, or a fragment but the first, is found
    only where its first `HEAD` bytes tell them; others are told apart, see `left`.
    """

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self._taken: set[Comment] = set()
        self._seen = 0
        self._by_ends: dict[frozenset[str], list[tuple[Comment, str]]] = {}
        self._waiting: dict[frozenset[str], list[tuple[Comment, str]]] = {}

    def of(self, dissected: Dissected) -> list[Said]:
        """The comments on a conversation's packets."""
        self._sort()
        return self._among(self._by_ends, dissected.conversation, dissected.conversation.last_ns + 1)

    def before(self, conversation: Conversation, time_ns: int | None = None) -> list[Said]:
        """Those that came before a time, by default all; each is told once."""
        if self._seen == len(self.notes.comments) and not self._waiting:
            return []
        self._sort()
        end_ns = conversation.last_ns + 1 if time_ns is None else time_ns
        found = self._among(self._waiting, conversation, end_ns)
        if found:
            told = {said.comment for said in found}
            both = frozenset((conversation.client, conversation.server))
            left = [one for one in self._waiting.pop(both) if one[0] not in told]
            if left:
                self._waiting[both] = left
        return found

    def _sort(self) -> None:
        """Look at what was noted since the last time."""
        for comment in self.notes.comments[self._seen :]:
            frame = Frame(
                comment.frame, 0, comment.time_ns, comment.linktype, comment.head, len(comment.head), 0
            )
            if comment.frame and isinstance(segment := decode(frame), Segment):
                ends = frozenset((segment.sender, segment.receiver))
                for sorted_by in (self._by_ends, self._waiting):
                    sorted_by.setdefault(ends, []).append((comment, segment.sender))
        self._seen = len(self.notes.comments)

    def _among(
        self,
        by_ends: dict[frozenset[str], list[tuple[Comment, str]]],
        conversation: Conversation,
        end_ns: int,
    ) -> list[Said]:
        both = frozenset((conversation.client, conversation.server))
        found = [
            Said(comment, Side.CLIENT if sender == conversation.client else Side.SERVER)
            for comment, sender in by_ends.get(both, ())
            if conversation.start_ns <= comment.time_ns < end_ns
        ]
        self._taken.update(said.comment for said in found)
        return found

    def general(self) -> Iterator[Comment]:
        """Those on the capture itself and on its interfaces, as far as it was read."""
        return (one for one in self.notes.comments if not one.frame)

    def left(self) -> Iterator[Comment]:
        """Those on packets of no conversation that was asked for."""
        return (one for one in self.notes.comments if one.frame and one not in self._taken)
