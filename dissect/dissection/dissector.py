# SPDX-License-Identifier: GPL-2.0-or-later
"""One conversation: recognise each side, drive the sessions that fit, remember what a verdict needs.

Each side is recognised by its own first bytes, never by the port and never by what the other side says. Where
both speak one protocol, one session reads both. Where they do not, each side is read by a session of its own
protocol that hears only that side: so a SPICE server's error reply to a VNC client is the server's, and read.

Bytes are held back until the sides are known (at most `HOLD` bytes); their times are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Protocol

from dissect.capture.conversations import (
    Bytes,
    Closed,
    Conversation,
    Ended,
    Established,
    Event,
    Exchange,
    Lost,
    Passed,
    Reset,
    Stretch,
    Summed,
)
from dissect.dissection.opaque import OpaqueStream
from dissect.dissection.recognise import ENOUGH, TITLES, recognise, recognise_foreign
from dissect.dissection.spice_links import SpiceLink, link_of
from dissect.stream.arrivals import Pieces
from dissect.stream.batch import Batch
from dissect.stream.recognition import No, NotYet, Recognition, Yes
from dissect.stream.records import Message, Record
from dissect.stream.side import SIDES, Side

if TYPE_CHECKING:  # imported by the first conversation that needs it: many captures hold one of the two
    from dissect.dissection.patient import Patient
    from dissect.rfb.seek import Joined
    from dissect.rfb.session import RfbSession
    from dissect.spice.session import SpiceSession

JOIN_HOLD = 1 << 20
"""Bytes that are held back at most where a capture may begin in the midst of an RFB session."""

HOLD = 1 << 16
"""Bytes of a conversation that are held back at most until both sides are known."""

MARKS = 4096
"""How many (time, bytes sent by then) pairs are kept for a side; later ones replace the last."""

BLACKLIST_REASONS = ("too many security failures", "too many authentication failures")
"""A refusal of the address for its past (TigerVNC; RealVNC and TightVNC), whatever this client sent."""

VERSION_SIZE = 12
"""Bytes of an RFB ProtocolVersion."""


class Stream(Protocol):
    """What a session and an opaque stream have in common."""

    def feed(self, side: Side, data: bytes, now: int) -> list[Record]: ...
    def feed_many(self, side: Side, data: bytes, pieces: Pieces) -> list[Record]: ...
    def gap(self, side: Side, size: int, now: int) -> list[Record]: ...
    def end(self, side: Side, now: int) -> list[Record]: ...
    def pending(self, side: Side) -> tuple[int, int | None]: ...


class Unread:
    """A stream that nobody wants any more."""

    def feed(self, side: Side, data: bytes, now: int) -> list[Record]:
        return []

    def feed_many(self, side: Side, data: bytes, pieces: Pieces) -> list[Record]:
        return []

    def gap(self, side: Side, size: int, now: int) -> list[Record]:
        return []

    def end(self, side: Side, now: int) -> list[Record]:
        return []

    def pending(self, side: Side) -> tuple[int, int | None]:
        return 0, None


class Reversed:
    """An RFB session heard from the other end: the RFB server opened the TCP connection."""

    def __init__(self, session: RfbSession) -> None:
        self.session = session

    def feed(self, side: Side, data: bytes, now: int) -> list[Record]:
        return self._turned(self.session.feed(side.other, data, now))

    def feed_many(self, side: Side, data: bytes, pieces: Pieces) -> list[Record]:
        return self._turned(self.session.feed_many(side.other, data, pieces))

    def gap(self, side: Side, size: int, now: int) -> list[Record]:
        return self._turned(self.session.gap(side.other, size, now))

    def end(self, side: Side, now: int) -> list[Record]:
        return self._turned(self.session.end(side.other, now))

    def pending(self, side: Side) -> tuple[int, int | None]:
        return self.session.pending(side.other)

    def _turned(self, records: list[Record]) -> list[Record]:
        for record in records:
            record.side = record.side.other
        return records


@dataclass(slots=True)
class SideFacts:
    """What one side did, for the verdict. Times are capture times in ns."""

    spoke: str = "nothing"
    because: str = "no byte was sent"
    ambiguous: bool = False
    """Whether it spoke too little to tell."""
    first_ns: int | None = None
    """Its first byte."""
    sent: int = 0
    """Bytes it sent, lost ones included."""
    marks: list[tuple[int, int]] = field(default_factory=list)
    """(time, bytes sent by then), ascending."""
    closed_ns: int | None = None
    reset_ns: int | None = None
    error_ns: int | None = None
    """The first byte of its error reply."""
    error: str | None = None
    """What the error reply says."""
    blacklisted: str | None = None
    """The reason with which it refused the address for its past."""
    lost_start: bool = False
    """Whether its first bytes are not in the capture."""

    @property
    def ended_ns(self) -> int | None:
        """When it closed or reset, whichever came first."""
        times = [time for time in (self.closed_ns, self.reset_ns) if time is not None]
        return min(times) if times else None

    def sent_by(self, time_ns: int) -> int:
        """Bytes it had sent by `time_ns`."""
        sent = 0
        for mark_ns, total in self.marks:
            if mark_ns > time_ns:
                break
            sent = total
        return sent


class Dissector:
    """Push the events of one conversation in; records come out; `facts` is ready after `Ended`.

    together: messages that come in batches are put into `batches`, from where whoever pushes takes them, and
    are not among the records; bytes may wait a little to be read many at a time. Messages of RFB then hold
    only the bytes that their fields are in. handshake_only: of a session that both sides speak nothing is
    read once it is `settled`; whoever pushes puts it aside then.
    """

    def __init__(
        self, conversation: Conversation, *, together: bool = False, handshake_only: bool = False
    ) -> None:
        self.conversation = conversation
        self.batches: list[Batch] = []
        self._together = together
        self._handshake_only = handshake_only
        self._patient: Patient | None = None
        self.facts = {side: SideFacts() for side in SIDES}
        self.first_speaker: Side | None = None
        self.established_ns: int | None = None
        self.end_ns = conversation.start_ns
        """When the conversation, or the capture, ended."""
        self.open = True
        """Whether the capture ended before the conversation did."""
        self.reversed = False
        self.turned: str | None = None
        """Why client and server are the other way round than the capture guessed; None where they are not."""
        self.rfb: RfbSession | None = None
        """The session that reads both sides' RFB."""
        self.spice: SpiceSession | None = None
        """The session that reads both sides' SPICE."""
        self.link: SpiceLink | None = None
        """Which channel of which SPICE session this was, of a conversation that was put aside."""
        self._heads = {side: bytearray() for side in SIDES}
        self._answers: dict[Side, Recognition] = {side: NotYet(1) for side in SIDES}
        self._held: list[Bytes | Lost] = []
        self._held_bytes = 0
        self._joined: tuple[Side, Joined] | None = None
        """Who the RFB client is in a session that was joined in its midst, and what is known of it."""
        self._try_at = 0
        self._hopeless = dict.fromkeys(SIDES, False)
        self._past_version: dict[Side, int] = {}
        """When each side's first byte behind its ProtocolVersion passed, captured or not."""
        self._latest_ns = 0
        self._streams: dict[Side, Stream] | None = None

    @classmethod
    def of_whole(cls, event: Summed) -> Dissector:
        """One to which a whole conversation was told at once, ready for its verdict."""
        self = cls(event.conversation)
        self.established_ns = event.conversation.established_ns
        self.first_speaker = event.first
        for side, told in ((Side.CLIENT, event.client), (Side.SERVER, event.server)):
            facts = self.facts[side]
            facts.closed_ns, facts.reset_ns = told.closed_ns or None, told.reset_ns or None
            if not told.sent:
                continue
            facts.first_ns, facts.sent = told.first_ns, told.sent
            if told.sent_first:
                facts.marks.append((told.first_ns, told.sent_first))
            facts.marks.append((told.last_ns, told.sent))
            self._heads[side] += told.head
            self._answers[side] = recognise_foreign(told.head)
        self._name(ended=True)
        self.end_ns, self.open = event.time_ns, event.open
        return self

    # --- events in

    def push(self, event: Event) -> list[Record]:
        """Take one event; returns the records that it completes. `Ended` must be the last."""
        if event.time_ns > self._latest_ns:
            self._latest_ns = event.time_ns
        if type(event) is Bytes:
            return self._bytes(event)
        if type(event) is Stretch:
            return self._stretch(event)
        if type(event) is Exchange:
            return self._exchange(event)
        match event:
            case Established():
                self.established_ns = event.time_ns
            case Lost():
                facts = self._facts_of(event.side)
                facts.lost_start = facts.lost_start or not facts.sent
                facts.sent += event.size
                if facts.sent > VERSION_SIZE:
                    self._past_version.setdefault(event.side, event.time_ns)
                self._mark(facts, event.time_ns)
                return self._drive(event)
            case Passed():
                facts = self._facts_of(event.side)
                facts.sent += event.size
                self._mark(facts, event.time_ns)
            case Closed():
                facts = self._facts_of(event.side)
                if facts.closed_ns is None:
                    facts.closed_ns = event.time_ns
            case Reset():
                facts = self._facts_of(event.side)
                if facts.reset_ns is None:
                    facts.reset_ns = event.time_ns
            case Ended():
                return self._end(event)
            case _:
                pass
        return []

    def read(self) -> list[Record]:
        """Take what waits to be read many at a time, where messages may come together."""
        return [] if self._patient is None else self._seen(self._patient.read())

    # --- where records are told before the end

    @property
    def named(self) -> bool:
        """Whether what is said of a record besides itself will not change: its channel and session."""
        return self.spice is None or self.spice.numbered

    @property
    def link_now(self) -> SpiceLink | None:
        """Which channel of which SPICE session this is, as far as it is known."""
        return self.link or link_of(self.spice)

    def pending(self, side: Side) -> tuple[int, int]:
        """Where the next record of a side begins at the earliest, and the earliest time (ns) it can have."""
        if self._streams is None:
            return 0, 0
        offset, waits_ns = self._streams[side].pending(side)
        return offset, self._latest_ns if waits_ns is None else waits_ns

    # --- where only a verdict is wanted

    @property
    def settled(self) -> bool:
        """Whether no byte that is still to come can change the verdict, only how many there are and when.

        So where neither side can be RFB or SPICE, by its first bytes; and where both speak the same of the
        two and their handshake is over.
        """
        if self._streams is None:
            return False
        session = self.rfb or self.spice
        if session is not None:
            return session.settled
        return not any(facts.spoke in ("rfb", "spice") for facts in self.facts.values())

    def put_aside(self) -> None:
        """Read no more of what the sides say; what a verdict needs is kept up all the same."""
        self._streams = dict.fromkeys(SIDES, Unread())
        self.link = self.link or link_of(self.spice)
        self.rfb = self.spice = None

    def _bytes(self, event: Bytes) -> list[Record]:
        side = event.side
        own = side.other if self.turned else side
        facts = self.facts[own]
        if facts.first_ns is None:
            facts.first_ns = event.time_ns
            self.first_speaker = self.first_speaker or side
        facts.sent += len(event.data)
        self._mark(facts, event.time_ns)
        if self._streams is not None:
            records = self._streams[own].feed(own, event.data, event.time_ns)
            return self._seen(records) if records else records
        head = self._heads[side]
        head += event.data[: ENOUGH - len(head)]
        if facts.sent > VERSION_SIZE:
            self._past_version.setdefault(side, event.time_ns)
        if isinstance(self._answers[side], NotYet):
            lost = facts.lost_start
            self._answers[side] = No("its first bytes were lost") if lost else recognise(bytes(head))
        return self._drive(event)

    def _stretch(self, event: Stretch) -> list[Record]:
        """The bytes of several segments, taken together where they are in the midst of one message."""
        own = event.side.other if self.turned else event.side
        if self._streams is None or self.facts[own].first_ns is None:
            return [record for one in event.single() for record in self._bytes(one)]
        self._mark_all(self.facts[own], event)
        records = self._streams[own].feed_many(own, event.data, event.pieces)
        return self._seen(records) if records else records

    def _exchange(self, event: Exchange) -> list[Record]:
        """Those of both sides, where it does not matter how they lie to each other."""
        assert self._patient is not None
        for one in event.stretches:
            own = one.side.other if self.turned else one.side
            self._mark_all(self.facts[own], one)
            self._patient.keep(own, one.data, one.pieces)
        return self._seen(self._patient.read_enough())

    def _mark_all(self, facts: SideFacts, event: Stretch) -> None:
        """Keep what the verdict needs of several segments."""
        sent, marks = facts.sent, facts.marks
        room = MARKS - len(marks)
        if room > 0:
            since_ns = marks[-1][0] if marks else 0
            rising = islice(accumulate(event.pieces.times[:room], max, initial=since_ns), 1, None)
            marks += zip(rising, [sent + end for end in event.pieces.ends[:room]], strict=True)
        facts.sent = sent + len(event.data)
        self._mark(facts, event.time_ns)

    def _mark(self, facts: SideFacts, time_ns: int) -> None:
        marks = facts.marks
        if marks:
            last_ns = marks[-1][0]
            if last_ns > time_ns:
                time_ns = last_ns
            if len(marks) >= MARKS:
                marks[-1] = time_ns, facts.sent
                return
        marks.append((time_ns, facts.sent))

    def _drive(self, event: Bytes | Lost) -> list[Record]:
        if self._streams is not None:
            return self._feed(event)
        self._held.append(event)
        self._held_bytes += len(event.data) if isinstance(event, Bytes) else 0
        if self._try_at:  # it may be RFB: look again when there is twice as much
            if self._held_bytes < self._try_at:
                return []
            self._try_at = min(2 * self._held_bytes, JOIN_HOLD)
            if not self._join() and self._held_bytes < JOIN_HOLD:
                return []
        elif self._may_join():
            self._try_at = 2 * self._held_bytes
            return []
        if self._held_bytes > HOLD or self._joined or self._known():
            return self._decide(ended=False)
        return []

    def _may_join(self) -> bool:
        """Whether this may be RFB of which the beginning was not captured."""
        if not self.conversation.mid_stream or any(isinstance(one, Yes) for one in self._answers.values()):
            return False
        from dissect.rfb.seek import JOIN_CLIENT, hopeful

        for side in SIDES:
            if not self._hopeless[side]:
                data, _ = self._captured(side, JOIN_CLIENT)
                if hopeful(data):
                    return True
                self._hopeless[side] = len(data) == JOIN_CLIENT
        return False

    def _join(self, *, ended: bool = False) -> bool:
        """Look whether both sides say that it is; see `seek.join`."""
        from dissect.rfb.seek import join

        for side in SIDES:
            client, _ = self._captured(side, JOIN_HOLD)
            server, arrivals = self._captured(side.other, JOIN_HOLD)
            known = join(client, server, arrivals, ended=ended) if client else None
            if known is not None:
                self._joined = side, known
                return True
        return False

    def _captured(self, side: Side, most: int) -> tuple[bytes, set[int]]:
        """What was captured of a side up to the first loss, at most `most` bytes, and where pieces begin."""
        data = bytearray()
        begins: set[int] = set()
        for event in self._held:
            if event.side is side:
                if not isinstance(event, Bytes) or len(data) >= most:
                    break
                begins.add(len(data))
                data += event.data
        return bytes(data[:most]), begins

    def _known(self) -> bool:
        """Whether both sides are known, and for RFB also which of them is the RFB server."""
        if any(isinstance(answer, NotYet) for answer in self._answers.values()):
            return False
        both_rfb = all(
            isinstance(answer, Yes) and answer.protocol == "rfb" for answer in self._answers.values()
        )
        return not both_rfb or self._went_on(ended=False) is not None

    def _went_on(self, *, ended: bool) -> Side | None:
        """Who had more to say behind its ProtocolVersion first; None where that is not certain yet.

        That one is the client only where the server is known to have been behind: what it said before may
        have been lost. And one byte of the server may be a choice, of what the client offered and was lost.
        """
        client, server = (self._past_version.get(side) for side in (Side.CLIENT, Side.SERVER))
        if client is not None and server is not None:
            return Side.CLIENT if client < server else Side.SERVER
        if server is not None:
            return Side.SERVER if ended or self.facts[Side.SERVER].sent > VERSION_SIZE + 1 else None
        return Side.CLIENT if ended and client is not None else None

    def _end(self, event: Ended) -> list[Record]:
        self.end_ns, self.open = event.time_ns, event.open
        records = self._decide(ended=True) if self._streams is None else []
        assert self._streams is not None
        for side, stream in self._streams.items():
            records += self._seen(stream.end(side, event.time_ns))
        return records

    # --- who speaks what

    def _name(self, *, ended: bool) -> None:
        """Say what each side spoke, by the bytes there are."""
        if ended and self._try_at and self._joined is None:
            self._join(ended=True)
        for side, answer in self._answers.items():
            facts = self.facts[side]
            if isinstance(answer, NotYet) and (ended or self._heads[side]):
                answer = recognise(bytes(self._heads[side]), ended=True)
                facts.ambiguous = isinstance(answer, No) and bool(self._heads[side])
            match answer:
                case Yes(protocol, because):
                    facts.spoke, facts.because = protocol, because
                case No(because):
                    facts.spoke = "other" if facts.sent else "nothing"
                    facts.because = because
                case NotYet():
                    facts.spoke = "nothing"
        if self._joined is not None:
            client, _ = self._joined
            for facts in self.facts.values():
                facts.spoke, facts.ambiguous = "rfb", False
                facts.because = "its messages are RFB's, from the midst of a session on"
            if client is Side.SERVER:
                self._turn("the side that asks for updates is the client")
        else:
            self._orient()
        self._errors_by_head()

    def _decide(self, *, ended: bool) -> list[Record]:
        self._name(ended=ended)
        self._streams = self._choose()
        records: list[Record] = []
        for event in self._held:
            records += self._feed(event)
        self._held.clear()
        return records

    def _orient(self) -> None:
        """Find a reversed RFB connection; where the roles are only guessed, put them right by evidence."""
        spoke = {facts.spoke for facts in self.facts.values()}
        if spoke == {"rfb"}:
            # Only the RFB server has more to say after its version before it is answered. Who spoke first
            # proves nothing: a VNC client may send its version early.
            server = self._went_on(ended=True) or (self.first_speaker if self._guessed else Side.SERVER)
            if server is Side.CLIENT:
                if self._guessed:
                    self._turn("the side that went on after its ProtocolVersion is the server")
                else:
                    self.reversed = True
        elif spoke == {"spice"} and self.first_speaker is Side.SERVER and self._guessed:
            self._turn("the side that sent REDQ first is the client")

    @property
    def _guessed(self) -> bool:
        """Whether the capture does not say who opened the connection."""
        return self.conversation.roles_from == "port"

    def _turn(self, why: str) -> None:
        self.turned = why
        self.facts = {side: self.facts[side.other] for side in SIDES}
        if self.first_speaker is not None:
            self.first_speaker = self.first_speaker.other

    def _facts_of(self, captured: Side) -> SideFacts:
        return self.facts[self.side_of(captured)]

    def side_of(self, captured: Side) -> Side:
        """The side as it was found to be, of a side as the capture had it."""
        return captured.other if self.turned else captured

    @property
    def client(self) -> str:
        return self.conversation.server if self.turned else self.conversation.client

    @property
    def server(self) -> str:
        return self.conversation.client if self.turned else self.conversation.server

    def _choose(self) -> dict[Side, Stream]:
        spoke = {side: facts.spoke for side, facts in self.facts.items()}
        # Where the first bytes of one side were lost, it may have spoken RFB too, of a version that is not
        # known: what its peer answered is read as behind a gap, not as answers to something else.
        certain = {name for side, name in spoke.items() if name != "other" or not self.facts[side].lost_start}
        if certain == {"rfb"}:
            from dissect.rfb.session import RfbSession

            self.rfb = RfbSession() if self._joined is None else RfbSession.joined(self._joined[1])
            self.rfb.heads_only = self._together
            self.rfb.handshake_only = self._handshake_only
            both: Stream = Reversed(self.rfb) if self.reversed else self.rfb
            return dict.fromkeys(SIDES, both)
        if set(spoke.values()) == {"spice"}:
            from dissect.spice.session import SpiceSession

            self.spice = SpiceSession()
            self.spice.handshake_only = self._handshake_only
            if not self._together:
                return dict.fromkeys(SIDES, self.spice)
            from dissect.dissection.patient import Patient

            self._patient = Patient(self.spice, self.batches)
            return dict.fromkeys(SIDES, self._patient)
        return {side: self._alone(side, spoke[side]) for side in SIDES}

    @staticmethod
    def _alone(side: Side, protocol: str) -> Stream:
        """A reader for one side whose peer speaks something else, or nothing."""
        match protocol:
            case "rfb":
                from dissect.rfb.session import RfbSession

                return RfbSession(foreign_client=side is Side.SERVER)
            case "spice":
                from dissect.spice.session import SpiceSession

                return SpiceSession()
            case "other" | "nothing":
                return OpaqueStream(side, protocol, "its protocol is not known here")
            case _:
                return OpaqueStream(side, protocol, TITLES[protocol])

    # --- records out

    def _feed(self, event: Bytes | Lost) -> list[Record]:
        assert self._streams is not None
        side = self.side_of(event.side)
        stream = self._streams[side]
        if isinstance(event, Bytes):
            return self._seen(stream.feed(side, event.data, event.time_ns))
        return self._seen(stream.gap(side, event.size, event.time_ns))

    def _errors_by_head(self) -> None:
        for captured, head in self._heads.items():
            facts = self._facts_of(captured)
            error = error_by_head(facts.spoke, head)
            if error is not None:
                facts.error_ns, facts.error = facts.first_ns, error

    def _seen(self, records: list[Record]) -> list[Record]:
        for record in records:
            if isinstance(record, Message) and record.parts:
                self._note(record)
        if self._patient is not None:
            self.conversation.apart = self._patient.apart
        return records

    def _note(self, message: Message) -> None:
        """Remember an error reply, and tell a refusal of the address from it."""
        facts = self.facts[message.side]
        match message.parts[-1].cls.__name__:
            case "SpiceLinkReply" if message["error"]:
                facts.error_ns = message.first_ns
                facts.error = message.fields()["error_name"]
            case "SecurityTypes" if not message["number_of_security_types"]:
                facts.error_ns, facts.error = message.first_ns, "no security type"
            case "SecurityType33" if not message["security_type"]:
                facts.error_ns, facts.error = message.first_ns, "security type 0"
            case "SecurityResult" if message["status"]:
                facts.error = f"security result {message.fields()['status_name']}"
            case "SpiceLinkResult" if message["result"]:
                facts.error = message.fields()["result_name"]
            case "FailureReason":
                reason = message.fields()["reason"]
                if any(known in reason.lower() for known in BLACKLIST_REASONS):
                    facts.blacklisted = reason
                else:
                    facts.error = f'"{reason}"'
            case _:
                pass


def error_by_head(spoke: str, head: bytes | bytearray) -> str | None:
    """An error reply in a protocol that is only named: a TLS alert, an HTTP status of 400 or more."""
    if spoke == "tls" and head[:1] == b"\x15":
        return "a TLS alert"
    if spoke == "http" and head[:7] == b"HTTP/1." and bytes(head[9:10]) in (b"4", b"5"):
        return f"HTTP status {bytes(head[9:12]).decode('ascii', 'replace')}"
    return None
