# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts on conversations that are told at once (`Summed`): the dissector's and `judge`'s, by less work.

Nearly all conversations of a large capture are foreign to RFB and SPICE, and of nearly all of these both
sides speak the same. A verdict that says so holds no time but that of the first packet: what is in it follows
from what both sides are recognised as. So it is found once, and said again of every conversation alike.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from dissect.capture.conversations import Summary, Summed, SummedMany
from dissect.dissection.dissector import Dissector, error_by_head
from dissect.dissection.recognise import recognise_foreign
from dissect.dissection.verdict import Verdict, judge, shared
from dissect.stream.recognition import Yes

KNOWN: Final = 4096
"""Kinds of conversations that are remembered."""

HEADS: Final = 1 << 16
"""Beginnings of sides that are remembered."""

Shared: TypeAlias = tuple[Any, ...]
"""What verdicts share, as `verdict.shared` has it."""

_Kind: TypeAlias = tuple[Any, ...]
_Spoken: TypeAlias = tuple[str, str, str | None]


class Wholes:
    """Gives the verdict on each conversation that was told at once."""

    def __init__(self) -> None:
        self._known: dict[_Kind, Shared] = {}
        self._heads: dict[bytes, _Spoken | None] = {}

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

    def many(self, event: SummedMany) -> list[Shared | None]:
        """What the verdict on each of these shares with others; None where it must be asked for by itself."""
        heads, known = self._heads, self._known
        found: list[Shared | None] = []
        for place, (client, server, first) in enumerate(
            zip(event.client_heads, event.server_heads, event.firsts, strict=True)
        ):
            if not client or not server:
                found.append(None)
                continue
            if client not in heads or server not in heads:
                (told,) = event.some([place])
                if len(heads) >= HEADS:
                    heads.clear()
                heads[client], heads[server] = _spoke(told.client), _spoke(told.server)
            # Where one of them is not named, or they differ, there is nothing of this kind.
            found.append(known.get((heads[client], heads[server], first, "fin")))
        return found


def _kind(event: Summed) -> _Kind | None:
    """What the verdict follows from, where both sides speak the same and the capture says who opened."""
    client, server = _spoke(event.client), _spoke(event.server)
    if client is None or server is None or client[0] != server[0]:
        return None
    conversation = event.conversation
    if conversation.roles_from != "syn":
        return None
    return client, server, event.first, conversation.ended_by


def _spoke(side: Summary) -> _Spoken | None:
    """What a side spoke, what says so, and its error reply; None where it is not named."""
    answer = recognise_foreign(side.head)
    if not isinstance(answer, Yes):
        return None
    return answer.protocol, answer.because, error_by_head(answer.protocol, side.head)
