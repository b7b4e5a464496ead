# SPDX-License-Identifier: GPL-2.0-or-later
"""A capture in, dissected conversations out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from dissect.capture.conversations import (
    Bytes,
    Closed,
    Conversation,
    Ended,
    Event,
    Lost,
    Opened,
    Passed,
    Reset,
    Summed,
    SummedMany,
)
from dissect.dissection.dissector import Dissector
from dissect.dissection.order import Order, chronological
from dissect.dissection.spice_links import SpiceLink
from dissect.dissection.verdict import Verdict, judge
from dissect.dissection.wholes import Shared, Wholes
from dissect.stream.batch import Batch
from dissect.stream.records import Record
from dissect.stream.side import SIDES, Side


@dataclass(slots=True)
class Ending:
    """How one side left: its FIN or RST, and when (ns)."""

    side: Side
    how: str
    time_ns: int


@dataclass(slots=True)
class Dissected:
    """One finished conversation: its records in order, how it ended, and the verdict."""

    conversation: Conversation
    verdict: Verdict
    records: list[Record] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    established_ns: int | None = None
    end_ns: int = 0
    open: bool = True
    """Whether the capture ended first."""


@dataclass(slots=True)
class DissectedMany:
    """Finished conversations, one after the other, as columns; most share what their verdicts say.

    found: for each what its verdict shares with others, as `verdict.shared` has it, or all there is of it.
    """

    told: SummedMany
    found: list[Shared | Dissected]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Dissected]:
        return map(self.one, range(len(self.found)))

    def one(self, place: int) -> Dissected:
        """One of them by itself; it must be asked for before more is read."""
        found = self.found[place]
        if isinstance(found, Dissected):
            return found
        (told,) = self.told.some([place])
        return _whole(told, self.verdict(place))

    def verdict(self, place: int) -> Verdict:
        """The verdict on one of them."""
        found, told = self.found[place], self.told
        if isinstance(found, Dissected):
            return found.verdict
        own = told.indices[place], told.clients[place], told.servers[place], told.starts[place]
        return Verdict(*own, *found)


class Told(NamedTuple):
    """A record in its turn: of which conversation it is, and of which channel of which session."""

    conversation: Conversation
    link: SpiceLink | None
    record: Record


class ToldTogether(NamedTuple):
    """Messages in their turn, none of which another record comes between; else as `Told`."""

    conversation: Conversation
    link: SpiceLink | None
    batch: Batch


Tell = Callable[[Conversation, SpiceLink | None, Record], None]
"""Is told each record in its turn, as `Told` has it."""

TellTogether = Callable[[Conversation, SpiceLink | None, Batch], None]
"""The same for messages in a batch."""


def dissect(
    events: Iterable[Event],
    *,
    records: bool = True,
    only: int | None = None,
    watch: Tell | None = None,
    together: TellTogether | None = None,
) -> Iterator[Dissected]:
    """Dissect the events of any number of conversations; each is yielded when it has ended.

    `records`: whether to keep them (verdicts alone need none, and then memory does not grow with the length
    of a conversation). `only`: the one conversation that is wanted, by its number. `watch`: is told the
    records while the events are read, each in its turn (see `Order`), and then they are not kept. `together`:
    is told of them, beside `watch`, those messages that come in batches, in parts that fit in between the
    others; then records may be told some time after they could have been, but in the same order, and hold
    no more bytes than their fields are in.

    Without records, a conversation whose verdict no further byte can change is put aside
    (`Conversation.aside`): who makes the events need not look at its bytes any more.
    """
    for one in _read(events, records, only, in_turn=watch is not None, together=together is not None):
        if isinstance(one, Dissected):
            yield one
        elif isinstance(one, ToldTogether):
            if together is not None:
                together(*one)
        elif watch is not None:
            watch(*one)


def dissect_many(events: Iterable[Event | SummedMany]) -> Iterator[Dissected | DissectedMany]:
    """The same for verdicts alone, without records; conversations that were told together stay together."""
    for one in _read(events, False, None, in_turn=False, together=False):
        if isinstance(one, Dissected | DissectedMany):
            yield one


def each(events: Iterable[Event], *, only: int | None = None) -> Iterator[Told | Dissected]:
    """The records of all conversations, each in its turn (see `Order`), and each conversation when it has
    ended, without its records: whoever iterates decides what is kept.
    """
    for one in _read(events, True, only, in_turn=True, together=False):
        if isinstance(one, Told | Dissected):  # and it is one of these
            yield one


def _whole(event: Summed, verdict: Verdict) -> Dissected:
    """A conversation that was told at once."""
    conversation = event.conversation
    ended = conversation.established_ns, event.time_ns, event.open
    return Dissected(conversation, verdict, [], _endings(event), *ended)


def _many(event: SummedMany, wholes: Wholes) -> DissectedMany:
    found = wholes.many(event)
    alone = event.some([place for place, one in enumerate(found) if one is None])
    return DissectedMany(
        event, [_whole(told := next(alone), wholes(told)) if one is None else one for one in found]
    )


def _endings(event: Summed) -> list[Ending]:
    """How the sides of a conversation that was told at once left."""
    found = []
    for side, told in ((Side.CLIENT, event.client), (Side.SERVER, event.server)):
        if told.closed_ns:
            found.append(Ending(side, "close", told.closed_ns))
        if told.reset_ns:
            found.append(Ending(side, "reset", told.reset_ns))
    return found


def _in_turn(
    conversation: Conversation, dissector: Dissector, order: Order, found: list[Record]
) -> Iterator[Told | ToldTogether]:
    """Put what became known in its place, and tell what is next for certain."""
    order.add(found)
    if dissector.batches:
        order.add(dissector.batches)
        dissector.batches.clear()
    if order and dissector.named:
        yield from _told(
            conversation, dissector, order.ready({side: dissector.pending(side) for side in SIDES})
        )


def _told(
    conversation: Conversation, dissector: Dissector, records: Iterable[Record | Batch]
) -> Iterator[Told | ToldTogether]:
    link = dissector.link_now
    for record in records:
        if isinstance(record, Batch):
            yield ToldTogether(conversation, link, record)
        else:
            yield Told(conversation, link, record)


def _read(
    events: Iterable[Event | SummedMany],
    records: bool,
    only: int | None,
    *,
    in_turn: bool,
    together: bool,
) -> Iterator[Told | ToldTogether | Dissected | DissectedMany]:
    live: dict[Conversation, tuple[Dissector, Dissected, Order]] = {}
    wholes = Wholes()
    before: Conversation | None = None
    for event in events:
        if isinstance(event, SummedMany):
            yield _many(event, wholes)
            continue
        conversation = event.conversation
        if only is not None and conversation.index != only:
            conversation.aside = True
            continue
        if isinstance(event, Summed):
            yield _whole(event, wholes(event))
            continue
        if together and before is not conversation:
            if before in live:  # its bytes wait no longer than nothing else happens
                dissector, _, order = live[before]
                yield from _in_turn(before, dissector, order, dissector.read())
            before = conversation
        if isinstance(event, Opened):
            dissector = Dissector(conversation, together=together, handshake_only=not records)
            live[conversation] = dissector, Dissected(conversation, None), Order()  # type: ignore[arg-type]
        dissector, result, order = live[conversation]
        found = dissector.push(event)
        if in_turn:
            if found or order or dissector.batches:
                yield from _in_turn(conversation, dissector, order, found)
        elif records:
            result.records += found
        if isinstance(event, Bytes) and (records or conversation.aside):
            continue  # nearly all events are of this kind
        match event:
            case Closed() | Reset():
                how = "close" if isinstance(event, Closed) else "reset"
                result.endings.append(Ending(event.side, how, event.time_ns))
            case Ended():
                if in_turn:
                    yield from _told(conversation, dissector, order.rest())
                del live[conversation]
                if dissector.turned:
                    for ending in result.endings:
                        ending.side = ending.side.other
                result.records = chronological(result.records)
                result.verdict = judge(dissector)
                result.established_ns = dissector.established_ns
                result.end_ns, result.open = dissector.end_ns, dissector.open
                yield result
            case Bytes() | Lost():
                if not records and not conversation.aside and dissector.settled:
                    dissector.put_aside()
                    conversation.aside = True
            case Passed():
                pass
