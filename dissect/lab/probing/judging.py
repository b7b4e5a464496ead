# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server's bytes and its leaving mean: a reaction, or an answer to some earlier trial. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dissect.dissection.recognise import TITLES, recognise
from dissect.lab.probing.stimuli import Stimulus
from dissect.rfb.session import RfbSession
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from dissect.stream.recognition import Yes
from dissect.stream.records import Message
from dissect.stream.text import quoted

MS = 1_000_000

By = Literal["answer", "error-reply", "close", "reset"]
"""How a server reacts. "answer": it goes on in a protocol, so it has noticed nothing."""

NOTICED: tuple[By, ...] = ("error-reply", "close", "reset")
"""The reactions that are a detection."""

MADE_ROOM = "made room"
LIMIT_QUIET_NS, LIMIT_NEAR_NS = 50 * MS, 20 * MS
"""A close that long after the last byte sent, and that soon after another connection came, is the sign of a
server that makes room (QEMU's VNC drops the oldest of more than 32)."""

BLACKLIST = re.compile(r"too many (security|authentication|login) failures|too many (failed|attempts)", re.I)
"""What a server says to an address that has failed too often, whatever it sends."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that came from the server. ns: monotonic. kind: "data", "fin" or "reset"."""

    ns: int
    kind: Literal["data", "fin", "reset"]
    data: bytes = b""


@dataclass(slots=True)
class Transcript:
    """One connection as the prober saw it; times of the monotonic clock.

    opened_ns: the connection stood (None: it never did, `failure` says why). sent_ns: just before the bytes
    went out; as `opened_ns` where none did. ended_ns: the prober stopped looking. newest_ns: when another
    connection of ours was opened last before that. busy: how many others of ours were open then.
    """

    opened_ns: int | None = None
    sent_ns: int | None = None
    ended_ns: int = 0
    events: list[Event] = field(default_factory=list)
    newest_ns: int | None = None
    busy: int = 0
    failure: str | None = None
    source: str | None = None

    @property
    def received(self) -> bytes:
        """All bytes that came."""
        return b"".join(event.data for event in self.events)

    @property
    def end(self) -> Event | None:
        """How the server ended the connection; None where it did not."""
        return next((event for event in self.events if event.kind != "data"), None)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the server does with a connection that sends nothing.

    greeting: the bytes it says unasked, b"" for a mute one. greeting_ns: how long that took, None for a mute
    one. ended: how it ended the connection itself, None where it did not.
    """

    greeting: bytes = b""
    greeting_ns: int | None = None
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class Reaction:
    """by: None for none before the deadline (then `ns` is a bound, censored). ns: from the sending (without
    bytes to send, from the connection) to the first sign. detail: decoded, for a person. then: what
    followed ("close", "reset"; None: the connection stayed). tainted: why this is no reaction, but due to an
    earlier trial; None for a good one.
    """

    by: By | None
    ns: int
    detail: str = ""
    then: str | None = None
    greeted: bool = False
    tainted: str | None = None

    @property
    def noticed(self) -> bool:
        """Whether this is a detection."""
        return self.by in NOTICED and self.tainted is None


def greeting_of(transcript: Transcript) -> Baseline:
    """The baseline, from a connection on which nothing was sent."""
    first = transcript.events[0] if transcript.events else None
    opened = transcript.opened_ns or 0
    data = transcript.received
    match = re.match(rb"(RFB \d{3}\.\d{3}\n|SSH-[^\n]*\n)", data)
    end = transcript.end
    return Baseline(
        greeting=match[0] if match else data,
        greeting_ns=None if first is None or first.kind != "data" else max(0, first.ns - opened),
        ended=None if end is None else "close" if end.kind == "fin" else "reset",
    )


def spoken(data: bytes) -> str:
    """What bytes are the beginning of, in the words of the contract."""
    if not data:
        return "nothing"
    match recognise(data, ended=True):
        case Yes(protocol):
            return protocol
    return "other"


def judge(stimulus: Stimulus, transcript: Transcript, baseline: Baseline) -> Reaction:
    """The reaction to `stimulus`. Whoever calls gives a transcript whose connection stood."""
    assert transcript.sent_ns is not None
    received = transcript.received
    greeted = bool(baseline.greeting) and received.startswith(baseline.greeting)
    rest_at = len(baseline.greeting) if greeted else 0
    end = transcript.end
    how = None if end is None else "close" if end.kind == "fin" else "reset"
    if len(received) > rest_at and not baseline.greeting.startswith(received):
        ns = max(0, _arrival(transcript, rest_at) - transcript.sent_ns)
        by, detail = _meaning(stimulus, received, rest_at)
        tainted = None
        if BLACKLIST.search(detail):
            tainted = "blacklist"
        return Reaction(by, ns, detail, how, greeted, tainted)
    if end is not None:
        ns = max(0, end.ns - transcript.sent_ns)
        by = "close" if end.kind == "fin" else "reset"
        return Reaction(by, ns, "" if greeted or not baseline.greeting else "no greeting", how, greeted,
                        _made_room(transcript, end))  # fmt: skip
    tainted = None
    if baseline.greeting and not greeted and transcript.busy:
        tainted = "busy"
    ns = transcript.ended_ns - transcript.sent_ns
    return Reaction(
        None, ns, "" if greeted or not baseline.greeting else "no greeting", None, greeted, tainted
    )


def _made_room(transcript: Transcript, end: Event) -> str | None:
    """Whether a close looks like a server's dropping its oldest connection for a newer one."""
    assert transcript.sent_ns is not None
    newest = transcript.newest_ns
    if newest is None or newest <= transcript.sent_ns or not transcript.busy:
        return None
    quiet, near = end.ns - transcript.sent_ns, end.ns - newest
    return MADE_ROOM if quiet > LIMIT_QUIET_NS and 0 <= near < LIMIT_NEAR_NS else None


def _arrival(transcript: Transcript, offset: int) -> int:
    """When the byte at `offset` came."""
    seen = 0
    for event in transcript.events:
        seen += len(event.data)
        if seen > offset:
            return event.ns
    raise AssertionError("no such byte")


def _meaning(stimulus: Stimulus, received: bytes, rest_at: int) -> tuple[By, str]:
    """What came beyond the greeting: an answer or an error reply, decoded."""
    rest = received[rest_at:]
    protocol = spoken(received)
    match protocol:
        case "rfb":
            return _rfb(stimulus, received)
        case "spice":
            return _spice(received)
        case "tls":
            alert = rest[0] == 21
            description = f" {rest[6]}" if alert and len(rest) > 6 else ""
            return ("error-reply", f"TLS alert{description}") if alert else ("answer", "TLS handshake")
        case "http" | "websocket":
            line = rest.split(b"\r\n", 1)[0]
            good = line.split(b" ")[1:2] and line.split(b" ")[1][:1] in (b"1", b"2", b"3")
            return "answer" if good else "error-reply", quoted(line, 60)
    text = quoted(rest, 60)
    return "answer", f"{TITLES[protocol]}: {text}"


def _messages(session: Any, parts: Sequence[tuple[Side, bytes]]) -> list[Message]:
    found = []
    for side, data in parts:
        found += session.feed(side, data, 0)
    found += session.end(Side.SERVER, 0)
    return [record for record in found if isinstance(record, Message) and record.side is Side.SERVER]


def _rfb(stimulus: Stimulus, received: bytes) -> tuple[By, str]:
    greeting, rest = received[:12], received[12:]
    if rest == bytes(4):
        return "error-reply", "refused without a reason (security type 0)"
    # The client's version decides how the answer reads; where it sent none the server's own is assumed.
    version = stimulus.data if re.fullmatch(rb"RFB 003\.\d{3}\n", stimulus.data) else greeting
    if rest.startswith(bytes(4)) and 5 + int.from_bytes(rest[1:5]) != len(rest):
        version = b"RFB 003.003\n"  # a U32 of 0 and a reason, whatever was agreed on
    messages = _messages(RfbSession(), [(Side.SERVER, greeting), (Side.CLIENT, version), (Side.SERVER, rest)])
    messages = [message for message in messages if message.parts]  # the beginning of one says nothing yet
    for message in messages:
        if message.name == "FailureReason":
            return "error-reply", f"refused: {quoted(message['reason'], 80)}"
    names = [message.name for message in messages if message.name != "ProtocolVersion"]
    for message in messages:
        if message.name == "SecurityTypes":
            return "answer", f"SecurityTypes {', '.join(message.fields()['security_types_names'])}"
        if message.name == "SecurityType":
            return "answer", f"SecurityType {message.fields()['security_type_name']}"
    if not rest:
        return "answer", f"greeting {quoted(greeting)}"
    return "answer", " ".join([*dict.fromkeys(names), rest[:12].hex(" ")])


def _spice(received: bytes) -> tuple[By, str]:
    for message in _messages(SpiceSession(), [(Side.SERVER, received)]):
        if message.name == "SpiceLinkReply":
            fields = message.fields()
            if fields["error"]:
                return "error-reply", f"SpiceLinkReply error {fields['error']} {fields['error_name']}"
            return "answer", "SpiceLinkReply OK"
    return "answer", f"SPICE: {received[:12].hex(' ')}"
