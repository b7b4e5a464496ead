# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts on conversations that are told at once (`Summed`): the dissector's and `judge`'s, by less work.

Nearly all conversations of a large capture are foreign to RFB and SPICE, and of nearly all of these both
sides speak the same. A verdict that says so holds no time but that of the first packet: what is in it follows
from what both sides are recognised as. So it is found once, and said again of every conversation alike.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from dissect.capture.conversations import Summary, Summed
from dissect.dissection.dissector import Dissector, error_by_head
from dissect.dissection.recognise import recognise_foreign
from dissect.dissection.verdict import Verdict, judge, shared
from dissect.stream.recognition import Yes

KNOWN: Final = 4096
"""Kinds of conversations that are remembered."""

_Kind: TypeAlias = tuple[Any, ...]


class Wholes:
    """Gives the verdict on each conversation that was told at once."""

    def __init__(self) -> None:
        self._known: dict[_Kind, tuple[Any, ...]] = {}

    def __call__(self, event: Summed) -> Verdict:
        """The verdict, as `judge` would give it after all of the conversation's events."""
        conversation = event.conversation
        kind = _kind(event)
        if kind is None:
            return judge(Dissector.of_whole(event))
        known = self._known.get(kind)
        if known is not None:
            return Verdict(
                conversation.index, conversation.client, conversation.server, conversation.start_ns, *known
            )
        verdict = judge(Dissector.of_whole(event))
        if verdict.verdict == "agreed":
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[kind] = shared(verdict)
        return verdict


def _kind(event: Summed) -> _Kind | None:
    """What the verdict follows from, where both sides speak the same and the capture says who opened."""
    client, server = _spoke(event.client), _spoke(event.server)
    if client is None or server is None or client[0] != server[0]:
        return None
    conversation = event.conversation
    if conversation.roles_from != "syn":
        return None
    return client, server, event.first, conversation.ended_by


def _spoke(side: Summary) -> tuple[str, str, str | None] | None:
    """What a side spoke, what says so, and its error reply; None where it is not named."""
    answer = recognise_foreign(side.head)
    if not isinstance(answer, Yes):
        return None
    return answer.protocol, answer.because, error_by_head(answer.protocol, side.head)
