# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP segments of many connections in, conversations and their events out, in capture order.

A conversation is one TCP connection. Its events, in order: `Opened`; `Established` where the handshake's last
ACK was captured; `Bytes`, `Lost` and `Closed` of each side, each side's in the order of its stream; `Reset`;
and `Ended` once, as the last. Events carry capture times of their own segments; after reordering, or where
an end is known only later, times may decrease from one event to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, nsmallest
from operator import attrgetter
from typing import Final, Literal, NamedTuple, TypeAlias

from dissect.capture.files import Capture
from dissect.capture.link import ACK, FIN, RST, SYN, Decoder, Segment, endpoint
from dissect.capture.reassembly import WINDOW, Counters, Data, Direction, Gap, Item, Pool
from dissect.stream import Side
from dissect.stream.arrivals import Pieces

RESET_LINGER_NS: Final = 1_000_000_000
"""How long (capture time) after a RST what was under way from the other side still counts."""

CLOSE_LINGER_NS: Final = 3_000_000_000
"""How long after the last packet holes are waited for once both FINs were captured."""

TIME_WAIT_NS: Final = 60_000_000_000
"""How long after its end packets of a conversation are taken for its tail, and not for a new one."""

LIVE: Final = 1 << 17
"""Conversations for which state is kept at once; with one more, those silent longest are given up."""

RolesFrom: TypeAlias = Literal["syn", "syn-ack", "port"]
EndedBy: TypeAlias = Literal["fin", "reset", "reused", "capture", "limit"]


@dataclass(slots=True, eq=False)
class Conversation:
    """One TCP connection. Compared by identity; filled in as it goes on.

    index: from 0, in the order of first packets.
    client, server: "address:port"; who opened the connection and who accepted it.
    roles_from, roles_because: what says so, for programs and for people. "port" is a guess.
    mid_stream: neither SYN nor SYN-ACK was captured.
    first_frame: number of its first frame in the capture.
    start_ns, last_ns: first and latest packet so far.
    syn_ns: the first SYN, established_ns: the client's first ACK after it (the end of the handshake); None
    where not captured.
    packets: captured so far, trailing ones included.
    counters: retransmitted, late, conflicting and other odd segments of both directions.
    after_end_bytes: payload of packets that came after the end and belong to no stream.
    end_ns, ended_by: None until `Ended`. "fin": both sides closed; "reset"; "reused": the same ports began
    another connection; "capture": the capture stopped first; "limit": it was given up, too many were open.
    aside: set by whoever reads the events, when the bytes that follow do not matter to them any more; then
    `bulk` may say how many there were (`Passed`) instead of what they were.
    network: see `Segment.network`; where the two sides are in different ones, that of the first packet.
    end_frame: number of the frame with which its end was known, where `bulk` reads shares; None at the end.
    end_due_ns: when its end was to be known, where it was by time alone.
    apart: set by whoever reads the events, when it does not matter any more how the bytes of one side lie to
    those of the other; then what both sent may come together (`Exchange`).
    """

    index: int
    client: str
    server: str
    roles_from: RolesFrom
    roles_because: str
    mid_stream: bool
    first_frame: int
    start_ns: int
    last_ns: int
    syn_ns: int | None = None
    established_ns: int | None = None
    packets: int = 0
    counters: Counters = field(default_factory=Counters)
    after_end_bytes: int = 0
    end_ns: int | None = None
    ended_by: EndedBy | None = None
    aside: bool = False
    network: int = 0
    end_frame: int | None = None
    end_due_ns: int | None = None
    apart: bool = False

    def __reduce__(self) -> tuple[type[Conversation], tuple[object, ...]]:
        return Conversation, _PARTS(self)  # in a third of the time that it takes otherwise

    @property
    def retransmitted(self) -> int:
        """Segments that brought bytes captured before."""
        return self.counters.retransmitted

    @property
    def late(self) -> int:
        """Segments that came for a hole after it had been given up."""
        return self.counters.late

    @property
    def conflicting(self) -> int:
        """Bytes that differed from the copy captured first."""
        return self.counters.conflicting_bytes


_PARTS = attrgetter(*Conversation.__match_args__)


@dataclass(slots=True)
class Opened:
    """The first packet of a conversation."""

    conversation: Conversation
    time_ns: int


@dataclass(slots=True)
class Established:
    """The ACK that ends the handshake."""

    conversation: Conversation
    time_ns: int


@dataclass(slots=True)
class Bytes:
    """Bytes sent by `side`, next in its stream; time_ns is the capture time of their segment."""

    conversation: Conversation
    side: Side
    data: bytes
    time_ns: int


@dataclass(slots=True)
class Stretch(Bytes):
    """Bytes of several segments in a row, without anything odd between them; time_ns is their latest time.

    pieces: where in `data` each segment ends, and its capture time. Who does not care takes `data` as it is;
    `Session.feed_many` reads a message that spans thousands of segments at the cost of one, and looks for
    the times of its first and last byte alone. What is out of order, overlaps, follows a hole, or carries a
    FIN or RST comes as `Bytes`, `Lost` and the rest.
    """

    pieces: Pieces

    def single(self) -> Iterator[Bytes]:
        """The same, a segment at a time."""
        for begin, end, time_ns in self.pieces:
            yield Bytes(self.conversation, self.side, self.data[begin:end], time_ns)


@dataclass(slots=True)
class Exchange:
    """Bytes that both sides sent by turns, without anything odd between them; time_ns is their latest time.

    stretches: those of each side, next in its stream; one, or one of each.
    """

    conversation: Conversation
    stretches: tuple[Stretch, ...]
    time_ns: int


@dataclass(slots=True)
class Lost:
    """So many bytes sent by `side`, next in its stream, were not captured; sent by time_ns at the latest."""

    conversation: Conversation
    side: Side
    size: int
    time_ns: int


@dataclass(slots=True)
class Passed:
    """So many bytes sent by `side`, next in its stream, were not looked at, for the conversation is aside.

    The last of them was sent at time_ns.
    """

    conversation: Conversation
    side: Side
    size: int
    time_ns: int


class Summary(NamedTuple):
    """What one side of a conversation did that is told as a whole.

    head: its first bytes, those of its first segment. first_ns, last_ns: when its first and last bytes were
    captured; 0 where it sent none. sent: how many there were, sent_first: how many by the time the other side
    first sent any. closed_ns, reset_ns: its FIN and its first RST; 0 where it sent none.
    """

    head: bytes
    first_ns: int
    sent: int
    last_ns: int
    sent_first: int
    closed_ns: int
    reset_ns: int


@dataclass(slots=True)
class Summed:
    """A whole conversation of which nobody wants more: the only event of it. See `swift`.

    first: who sent the first byte, None where nobody did. After a side has closed, or reset, nobody sent
    anything.
    """

    conversation: Conversation
    time_ns: int
    open: bool
    first: Side | None
    client: Summary
    server: Summary


@dataclass(slots=True)
class SummedMany:
    """Whole conversations, one after the other, as columns; what `Summed` tells of each. See `swift`.

    Each began with a SYN, and both sides closed ("fin"). indices, clients, servers, starts: as `Conversation`
    has them. firsts: as `Summed` has it. client_heads, server_heads: what stands for the first bytes of a
    side; where it is the same of two, they are named alike, or neither is. Empty: they must be looked at.
    some: gives what is told of some, by their places here, until more is read.
    """

    indices: list[int]
    clients: list[str]
    servers: list[str]
    starts: list[int]
    firsts: list[Side | None]
    client_heads: list[bytes]
    server_heads: list[bytes]
    some: Callable[[Sequence[int]], Iterator[Summed]]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Summed]:
        return self.some(range(len(self)))


@dataclass(slots=True)
class Closed:
    """The FIN of `side`, at its place in the stream; time_ns is when the FIN was captured."""

    conversation: Conversation
    side: Side
    time_ns: int


@dataclass(slots=True)
class Reset:
    """A RST sent by `side`, at its place in the capture."""

    conversation: Conversation
    side: Side
    time_ns: int


@dataclass(slots=True)
class Ended:
    """The conversation is over; nothing of it follows.

    open: the capture stopped first, at time_ns, so how and when it ended is not known. Else time_ns is the
    time of the later FIN, of the RST, or of the SYN that took the ports again.
    """

    conversation: Conversation
    time_ns: int
    open: bool


Event: TypeAlias = Opened | Established | Bytes | Exchange | Lost | Passed | Summed | Closed | Reset | Ended


class Sent(NamedTuple):
    """What one side sent in several segments, each next to the one before it, with no flag but ACK and PSH.

    seq: of the first byte. ack: what the last of them acknowledges; None where there were none.
    """

    seq: int
    data: bytes
    pieces: Pieces
    ack: int | None


class Turns(NamedTuple):
    """Segments of both sides by turns, of which each acknowledges no more than there was before it.

    key: of the sender of what is `forth`. before: what its segments acknowledge before the first one of the
    other side. packets: how many there were in all, empty ones too. last_ns: the latest time of any.
    """

    key: Key
    forth: Sent
    back: Sent
    before: int
    packets: int
    last_ns: int


class Connection:
    """What is kept of a conversation while it lives, and a little of it for a while after. For this room."""

    __slots__ = (
        "client",
        "conversation",
        "forgotten",
        "handshaking",
        "keys",
        "lingering",
        "opener",
        "reset_ns",
        "server",
        "slot",
    )

    def __init__(self, conversation: Conversation, keys: tuple[Key, Key], pool: Pool) -> None:
        self.conversation: Final = conversation
        self.keys = keys
        self.client: Final = Half(self, Side.CLIENT, conversation.counters, pool)
        self.server: Final = Half(self, Side.SERVER, conversation.counters, pool)
        self.client.other = self.server
        self.server.other = self.client
        self.handshaking = not conversation.mid_stream
        self.reset_ns: int | None = None
        self.lingering = False
        self.forgotten = False
        self.opener = self.client
        """Whose packet was the first; `keys` begin with its."""
        self.slot: int | None = None
        """Where `bulk` keeps it while it sleeps."""

    @property
    def quiet(self) -> bool:
        """Established, with nothing that waits on either side and no end in sight."""
        client, server = self.client.stream, self.server.stream
        return (
            client is not None
            and server is not None
            and client.at_rest
            and server.at_rest
            and not self.handshaking
            and not self.lingering
        )


class Half:
    """One side of a connection; `stream` is None once the conversation has ended. For this room."""

    __slots__ = ("connection", "isn", "other", "reset", "side", "stream")

    other: Half

    def __init__(self, connection: Connection, side: Side, counters: Counters, pool: Pool) -> None:
        self.connection = connection
        self.side: Final = side
        self.stream: Direction | None = Direction(counters, pool)
        self.isn: int | None = None
        self.reset = False


Key: TypeAlias = tuple[bytes, int, bytes, int, int]
"""As `Segment.key` has it."""

NETWORKS: Final = 4096
"""Networks that are remembered, so that the two sides of one conversation can be found in different ones."""


class Conversations:
    """Sorts segments into conversations.

    `push` each segment in capture order, `finish` once at the end; both return the events that result.
    Memory is bounded: for each live conversation and for what all of them hold back (see `reassembly`), and
    by `live_limit`, their number; of an ended one a small record is kept for `TIME_WAIT_NS` of capture time.
    """

    def __init__(self, live_limit: int | None = None) -> None:
        self.live_limit: Final = LIVE if live_limit is None else live_limit
        self.given_up = 0
        """Conversations that were ended by that limit so far."""
        self.wake: Callable[[Connection, list[Event]], None] | None = None
        """Wakes a connection that sleeps somewhere (`slot`), before it is given up."""
        self._pool = Pool()
        self.count = 0
        """Conversations opened so far."""
        self.networks: set[int] = {0}
        """Networks that conversations were in so far."""
        self.forgotten: Callable[[Connection], None] | None = None
        """Told of each connection of which nothing is kept any more."""
        self._halves: dict[Key, Half] = {}
        # Heaps, so that when one conversation ends does not depend on the others.
        self._lingering: list[tuple[int, int, int, Connection]] = []
        self._waiting: list[tuple[int, int, int, Connection]] = []
        self._timers = 0
        self._due_ns = _NEVER  # when the first of those two wants to be looked at
        self._last_ns = 0

    @property
    def live(self) -> int:
        """Conversations for which state is kept: those not ended, and those that ended lately."""
        return len(self._halves) // 2

    def push(self, segment: Segment) -> list[Event]:
        """Take the next captured segment."""
        now = segment.time_ns
        if now > self._last_ns:
            self._last_ns = now
        half = self._halves.get((segment.src, segment.sport, segment.dst, segment.dport, segment.network))
        if (
            half is None
            or segment.flags & _UNUSUAL
            or half.stream is None
            or half.connection.handshaking
            or half.connection.lingering
            or now >= self._due_ns
        ):
            return self._push_any(segment, half)
        conversation = half.connection.conversation
        conversation.packets += 1
        if now > conversation.last_ns:
            conversation.last_ns = now
        events: list[Event] = []
        other = half.other.stream
        if other is not None and segment.flags & ACK and (known := other.acked(segment.ack, now)):
            events += [_event(conversation, half.other.side, item) for item in known]
        if half.stream.take(segment):
            if segment.payload:
                events.append(Bytes(conversation, half.side, segment.payload, now))
        else:
            events += [_event(conversation, half.side, item) for item in half.stream.push(segment)]
        return events

    # -- for `bulk` and `runs`, which take several packets at once, or pass over what needs no looking at

    def push_many(self, first: Segment, data: bytes, pieces: Pieces, packets: int) -> Stretch | None:
        """Take segments of one sender in a row, of one ACK number and no flag but ACK and PSH.

        Between them may have been empty ones of the other side that acknowledge what was sent before them, at
        its next byte. first: the first of them; packets: how many there were in all. None, and nothing has
        happened, where they are not exactly next, or anything else is to be seen to before the last of them.
        """
        half = self._halves.get(first.key)
        last_ns = max(pieces.times)
        if half is None or last_ns >= self._due_ns or half.connection.slot is not None:
            return None
        connection, own, other = half.connection, half.stream, half.other.stream
        if own is None or other is None or not connection.quiet or own.next_seq != first.seq:
            return None
        if not other.has_sent(first.ack) or not own.take_many(data):
            return None
        other.acked(first.ack, last_ns)
        conversation = connection.conversation
        conversation.packets += packets
        conversation.last_ns = max(conversation.last_ns, last_ns)
        self._last_ns = max(self._last_ns, last_ns)
        return Stretch(conversation, half.side, data, last_ns, pieces)

    def push_both(self, turns: Turns) -> Exchange | None:
        """Take segments that both sides sent by turns, with which `push` would do no more than deliver them.

        None, and nothing has happened, where they are not exactly next, or anything else is to be seen to
        before the last of them.
        """
        half = self._halves.get(turns.key)
        if half is None or turns.last_ns >= self._due_ns or half.connection.slot is not None:
            return None
        connection, own, other = half.connection, half.stream, half.other.stream
        if own is None or other is None or not connection.quiet:
            return None
        forth, back = turns.forth, turns.back
        if own.next_seq != forth.seq or (back.ack is not None and other.next_seq != back.seq):
            return None
        if not other.has_sent(turns.before):
            return None
        conversation = connection.conversation
        found = []
        for stream, side, sent in ((own, half.side, forth), (other, half.other.side, back)):
            if sent.data:
                stream.take_many(sent.data)
                found.append(Stretch(conversation, side, sent.data, max(sent.pieces.times), sent.pieces))
        for stream, sent in ((other, forth), (own, back)):
            if sent.ack is not None:
                stream.acked(sent.ack, turns.last_ns)
        conversation.packets += turns.packets
        conversation.last_ns = max(conversation.last_ns, turns.last_ns)
        self._last_ns = max(self._last_ns, turns.last_ns)
        return Exchange(conversation, tuple(found), max(one.time_ns for one in found))

    @property
    def last_ns(self) -> int:
        """The latest time (ns) of any packet so far."""
        return self._last_ns

    @property
    def due_ns(self) -> int:
        """When (ns) something becomes due by time alone; the next packet at or after it calls `due`."""
        return self._due_ns

    def due(self, now: int) -> list[Event]:
        """A packet that needs no looking at was captured at `now`: what was due by then."""
        events: list[Event] = []
        if now >= self._due_ns:
            self._due(now, events)
        return events

    def passed(self, last_ns: int) -> None:
        """Packets were passed over; the latest of them was captured at last_ns."""
        self._last_ns = max(self._last_ns, last_ns)

    def find(self, key: Key) -> Half | None:
        """The sender's half of the conversation that `Segment.key` belongs to."""
        return self._halves.get(key)

    def finish(self, end_ns: int | None = None) -> list[Event]:
        """End everything that is still open, in the order of opening.

        end_ns: when the capture was stopped (ns); by default the time of the last segment.
        """
        end = self._last_ns if end_ns is None else end_ns
        events: list[Event] = []
        for half in list(self._halves.values()):
            if half.side is Side.CLIENT and half.stream is not None:
                connection = half.connection
                if connection.reset_ns is not None:
                    self._end(connection, end, "reset", connection.reset_ns, events)
                else:
                    self._end(connection, end, "capture", end, events)
        self._halves.clear()
        self._lingering.clear()
        self._waiting.clear()
        self._due_ns = _NEVER
        return events

    # -- the general way

    def _push_any(self, segment: Segment, half: Half | None) -> list[Event]:
        now = segment.time_ns
        events: list[Event] = []
        if now >= self._due_ns:
            self._due(now, events)
            half = self._halves.get(segment.key)
        if half is None and (segment.network or len(self.networks) > 1):
            half = self._elsewhere(segment)
        if half is not None and segment.flags & SYN and self._is_new(half, segment):
            connection = half.connection
            if half.stream is not None:
                if connection.reset_ns is not None:
                    self._end(connection, now, "reset", connection.reset_ns, events)
                else:
                    self._end(connection, now, "reused", now, events)
            self._forget(connection)
            half = None
        if half is None:
            half = self._open(segment, events)
        connection = half.connection
        conversation = connection.conversation
        conversation.packets += 1
        if now > conversation.last_ns:
            conversation.last_ns = now
        own, other = half.stream, half.other.stream
        if own is None or other is None:
            if not segment.flags & (SYN | RST):
                conversation.after_end_bytes += len(segment.payload)
            return events

        if segment.flags & RST:
            self._reset(half, own, segment, events)
            return events

        if connection.handshaking and self._is_stray(half, other, segment):
            own.counters.outside += 1
            return events

        if segment.flags & SYN:
            half.isn = segment.seq
            if segment.flags & ACK:
                other.expect(segment.ack)
            elif conversation.syn_ns is None:
                conversation.syn_ns = now
                if half.side is Side.CLIENT and conversation.roles_from != "syn":  # captured late
                    conversation.roles_from = "syn"
                    conversation.roles_because = f"{conversation.client} sent the SYN"
                    conversation.mid_stream = False
        elif connection.handshaking and half.side is Side.CLIENT and segment.flags & ACK:
            connection.handshaking = False
            conversation.established_ns = now
            events.append(Established(conversation, now))
            other.expect(segment.ack)
        if segment.flags & ACK:
            events += [_event(conversation, half.other.side, item) for item in other.acked(segment.ack, now)]
        events += [_event(conversation, half.side, item) for item in own.push(segment)]

        if own.ended and other.ended and connection.reset_ns is None:
            closed = max(own.fin_ns or 0, other.fin_ns or 0)
            self._end(connection, now, "fin", closed, events)
        elif own.fin_ns is not None and other.fin_ns is not None and not connection.lingering:
            self._linger(connection, now + CLOSE_LINGER_NS)
        return events

    def _open(self, segment: Segment, events: list[Event]) -> Half:
        """A new conversation that begins with this segment; returns the sender's half."""
        if len(self._halves) >= 2 * self.live_limit:
            self._make_room(segment.time_ns, events)
        sender = endpoint(segment.src, segment.sport)
        receiver = endpoint(segment.dst, segment.dport)
        roles_from: RolesFrom
        syn = segment.flags & (SYN | ACK | RST)
        if syn == SYN:
            roles_from, because, from_client = "syn", f"{sender} sent the SYN", True
        elif syn == SYN | ACK:
            roles_from, because, from_client = (
                "syn-ack",
                f"{sender} answered a SYN that was not captured",
                False,
            )
        else:
            roles_from = "port"
            because, from_client = _guess(segment)
        conversation = Conversation(
            index=self.count,
            client=sender if from_client else receiver,
            server=receiver if from_client else sender,
            roles_from=roles_from,
            roles_because=because,
            mid_stream=roles_from == "port",
            first_frame=segment.frame,
            start_ns=segment.time_ns,
            last_ns=segment.time_ns,
            network=segment.network,
        )
        self.count += 1
        forth = segment.key
        back = (segment.dst, segment.dport, segment.src, segment.sport, segment.network)
        if segment.network and len(self.networks) < NETWORKS:
            self.networks.add(segment.network)
        connection = Connection(conversation, (forth, back), self._pool)
        own = connection.client if from_client else connection.server
        connection.opener = own
        self._halves[forth] = own
        self._halves[back] = own.other
        events.append(Opened(conversation, segment.time_ns))
        return own

    def _make_room(self, now: int, events: list[Event]) -> None:
        """Forget what is over, give up what was silent longest: one in sixteen, so that it is seldom done."""
        many = max(1, self.live_limit // 16)
        wanted = 2 * max(0, self.live_limit - many)
        while self._waiting and len(self._halves) > wanted:
            self._forget(heappop(self._waiting)[3])
        if len(self._halves) <= wanted:
            return
        live = {half.connection for half in self._halves.values() if half.stream is not None}
        for connection in nsmallest(many, live, key=_silent_since):
            self.give_up(connection, now, events)

    def give_up(self, connection: Connection, now: int, events: list[Event]) -> None:
        """End a conversation whose end is not known, and forget it."""
        if connection.slot is not None and self.wake is not None:
            self.wake(connection, events)
        self.given_up += 1
        self._end(connection, now, "limit", connection.conversation.last_ns, events)
        self._forget(connection)

    def _elsewhere(self, segment: Segment) -> Half | None:
        """The sender's half where only the other side was captured so far, and that in another network.

        So it is where one direction is captured without its VLAN tag, or routed between two of them. It is
        that conversation only where the segment acknowledges exactly what the other side has sent.
        """
        if not segment.flags & ACK:
            return None
        for network in self.networks:
            if network == segment.network:
                continue
            key = (segment.src, segment.sport, segment.dst, segment.dport, network)
            half = self._halves.get(key)
            if half is None or half.stream is None or half.connection.opener is half:
                continue
            other = half.other.stream
            heard = half.stream.isn is not None or half.stream.first_seq is not None
            if other is None or heard or other.first_seq is None or not other.near(segment.ack, 0):
                continue
            connection = half.connection
            del self._halves[key]
            self._halves[segment.key] = half
            connection.keys = (connection.keys[0], segment.key)
            return half
        return None

    def _is_new(self, half: Half, segment: Segment) -> bool:
        """Whether a SYN or SYN-ACK on known ports begins another connection."""
        if segment.flags & RST:
            return False
        connection = half.connection
        own, other = half.stream, half.other.stream
        plain = not segment.flags & ACK
        if own is None or other is None:  # ended: only a copy of its own SYN belongs to it
            return half.isn != segment.seq or (plain and connection.conversation.ended_by == "reset")
        if connection.reset_ns is not None and plain:
            return True  # each attempt that is refused is one of its own, though the number may be the same
        if half.isn is not None:
            if half.isn == segment.seq:
                return False
            # A server that keeps no state may answer a repeated SYN with another number.
            return plain or not connection.handshaking or half.other.isn != (segment.ack - 1) & 0xFFFFFFFF
        if half.side is Side.SERVER and connection.handshaking:
            if plain:
                return False  # both opened at once
            if half.other.isn == (segment.ack - 1) & 0xFFFFFFFF:
                return False
        return own.first_seq is None or own.first_seq != (segment.seq + 1) & 0xFFFFFFFF

    def _is_stray(self, half: Half, client: Direction, segment: Segment) -> bool:
        """Whether this is a server's bare ACK of an old connection, in answer to the SYN of the new one."""
        return (
            half.side is Side.SERVER
            and half.isn is None
            and half.other.isn is not None
            and not segment.flags & (SYN | FIN)
            and not segment.payload
            and not client.near(segment.ack, 0)
        )

    def _reset(self, half: Half, own: Direction, segment: Segment, events: list[Event]) -> None:
        connection = half.connection
        # A client that has sent no more than its SYN answers a server's stray ACK of an old connection with a
        # RST for that one. And no end believes a RST from far outside.
        exact = connection.handshaking and half.side is Side.CLIENT and half.isn is not None
        if not own.near(segment.seq, 0 if exact else WINDOW):
            own.counters.outside += 1
            return
        if not half.reset:
            half.reset = True
            events.append(Reset(connection.conversation, half.side, segment.time_ns))
        if connection.reset_ns is None:
            connection.reset_ns = segment.time_ns
            self._linger(connection, segment.time_ns + RESET_LINGER_NS)

    def _linger(self, connection: Connection, until_ns: int) -> None:
        connection.lingering = True
        self._set(self._lingering, until_ns, connection)

    def _set(
        self, timers: list[tuple[int, int, int, Connection]], until_ns: int, connection: Connection
    ) -> None:
        self._timers += 1  # no two entries are alike, so connections are never compared
        heappush(timers, (until_ns, connection.conversation.index, self._timers, connection))
        self._due_ns = min(self._due_ns, until_ns)

    def _due(self, now: int, events: list[Event]) -> None:
        """End what has lingered long enough, forget what has been over for long."""
        while self._lingering and self._lingering[0][0] <= now:
            until_ns, _index, _timer, connection = heappop(self._lingering)
            if connection.client.stream is None:
                continue
            connection.conversation.end_due_ns = until_ns
            if connection.reset_ns is not None:
                self._end(connection, now, "reset", connection.reset_ns, events)
                continue
            again = connection.conversation.last_ns + CLOSE_LINGER_NS
            if again > now:
                self._set(self._lingering, again, connection)
                continue
            self._end(connection, now, "fin", None, events)
        while self._waiting and self._waiting[0][0] <= now:
            self._forget(heappop(self._waiting)[3])
        heads = [queue[0][0] for queue in (self._lingering, self._waiting) if queue]
        self._due_ns = min(heads, default=_NEVER)

    def _end(
        self, connection: Connection, now: int, by: EndedBy, time_ns: int | None, events: list[Event]
    ) -> None:
        """Give out what waits, then the end; time_ns None means the later FIN."""
        conversation = connection.conversation
        client, server = connection.client.stream, connection.server.stream
        assert client is not None
        assert server is not None
        rest: list[tuple[int, Event]] = []
        for half, stream in ((connection.client, client), (connection.server, server)):
            order = 0
            for item in stream.finish(now):
                order = max(order, item.time_ns)
                rest.append((order, _event(conversation, half.side, item)))
            half.stream = None
        rest.sort(key=_first)  # by time, but each side's in the order of its stream
        events.extend(event for _order, event in rest)
        if time_ns is None:
            time_ns = max(client.fin_ns or 0, server.fin_ns or 0)
        conversation.end_ns = time_ns
        conversation.ended_by = by
        events.append(Ended(conversation, time_ns, by in ("capture", "limit")))
        if by != "limit":
            self._set(self._waiting, now + TIME_WAIT_NS, connection)

    def _forget(self, connection: Connection) -> None:
        if connection.forgotten:
            return
        connection.forgotten = True
        for key in connection.keys:
            half = self._halves.get(key)
            if half is not None and half.connection is connection:
                del self._halves[key]
        # No longer a circle: it is gone at once, and need not wait for the garbage collector.
        for half in (connection.client, connection.server):
            del half.other, half.connection
        if self.forgotten is not None:
            self.forgotten(connection)


def read(capture: Capture) -> Iterator[Event]:
    """All events of a capture, as they become known.

    Frames that hold no TCP segment are counted by reason in `capture.skipped`; what is wrong with the file is
    in `capture.problems`. Both are complete when this ends.
    """
    conversations = Conversations()
    push = conversations.push
    decoder = Decoder()
    for frame in capture:
        segment = decoder(frame, capture.skipped)
        if segment is not None:
            yield from push(segment)
    decoder.finish(capture.skipped)
    yield from conversations.finish(capture.end_ns)


def _event(conversation: Conversation, side: Side, item: Item) -> Event:
    if isinstance(item, Data):
        return Bytes(conversation, side, item.data, item.time_ns)
    if isinstance(item, Gap):
        return Lost(conversation, side, item.size, item.time_ns)
    return Closed(conversation, side, item.time_ns)


def _guess(segment: Segment) -> tuple[str, bool]:
    """Why, and whether, the sender is the client, from the port numbers alone."""
    if segment.sport == segment.dport:
        return (
            f"no SYN was captured and both ports are {segment.sport}; the first packet's sender is taken",
            True,
        )
    shown = [port for port in (segment.sport, segment.dport) if 5900 <= port <= 5999]
    if len(shown) == 1:
        port, why = shown[0], "is one that VNC and SPICE servers use"
    else:
        port, why = min(segment.sport, segment.dport), "is the lower one"
    return f"no SYN was captured; port {port} {why}", segment.dport == port


def _silent_since(connection: Connection) -> tuple[int, int]:
    return connection.conversation.last_ns, connection.conversation.index


def _first(pair: tuple[int, Event]) -> int:
    return pair[0]


_UNUSUAL: Final = SYN | FIN | RST
_NEVER: Final = 1 << 80
