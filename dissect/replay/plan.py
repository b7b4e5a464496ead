# SPDX-License-Identifier: GPL-2.0-or-later
"""What one recorded conversation asks of a replay: the steps of the played side, and what should answer them.

A plan is made from a dissected conversation and holds no live state, so one serves any number of replays.
Wrong-protocol, silent and one-sided conversations are plans too: then the reaction, or the silence, is what
is expected. Times are capture times in ns.
"""

from __future__ import annotations

import hashlib
import io
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Literal

from dissect.capture import Bytes, Capture, CaptureError, Event, Lost, Opened, open_capture, read
from dissect.dissection.reading import Dissected, Ending, dissect
from dissect.dissection.recognise import TITLES
from dissect.rfb import constants as rfb_constants
from dissect.spice import constants as spice_constants
from dissect.spice import link as spice_link
from dissect.spice.channels.main import SpiceMsgMainInit
from dissect.stream.records import Gap, Message, Record, Violation
from dissect.stream.side import Side

RFB_HANDSHAKE = {
    "ProtocolVersion",
    "RepeaterId",
    "SecurityTypes",
    "SecurityType",
    "VncAuthenticationChallenge",
    "VncAuthenticationResponse",
    "TightTunnels",
    "TightTunnel",
    "TightAuthTypes",
    "TightAuthType",
    "SecurityResult",
    "FailureReason",
    "ClientInit",
    "ServerInit",
}
"""What comes once and in a fixed order; everything after it comes when it comes."""

MAIN = 1
"""SPICE's main channel."""

PLAYABLE_SECURITY = (0, 1, 2, 16)
"""RFB security types that can be spoken again: a refusal, None, VNC authentication, Tight with these."""

SILENCE_NS = 500_000_000
"""A pause of both sides from which on it is part of what a plan expects, not only of how fast it was."""


def is_handshake(message: Message) -> bool:
    """Whether `message` has its one place in a fixed order."""
    if message.protocol == "rfb":
        return message.name in RFB_HANDSHAKE
    return message.name.startswith("SpiceLink")


class Unplayable(Exception):
    """A conversation cannot be replayed; `str()` is one sentence that says why, before anything was sent."""


@dataclass(frozen=True, slots=True)
class Step:
    """One message of the played side, or a run of its bytes that no message name fits.

    raw: its bytes as captured. message: the record, with fields and Scapy packet; None for a bare run.
    after: how many of the plan's `expected` had come before its first byte; after_bytes: the same in bytes.
    gap_ns: since the last byte of either side before it (since the connection stood where there is none).
    cuts: places in `raw` where a captured segment began; 0 where one began with the step itself.
    """

    name: str
    raw: bytes
    message: Message | None
    first_ns: int
    last_ns: int
    after: int
    after_bytes: int
    gap_ns: int
    cuts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """One message of the other side. `handshake`: it has its place in the order. `after`: steps before it."""

    message: Message
    handshake: bool
    after: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the played side's stream as one captured segment brought it."""

    offset: int
    size: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class End:
    """How the conversation ended first. `side` None: it was open when the capture stopped.

    silent_ns: how long neither side had said anything by then.
    half: the played side only ceased to send, and was answered after that.
    """

    side: Side | None
    how: Literal["close", "reset", "open"]
    time_ns: int
    silent_ns: int
    half: bool = False


@dataclass(frozen=True)
class Plan:
    """See the module. `played` is a side of TCP; `turned_rfb` where the RFB server opened the connection."""

    capture: str
    sha256: str | None
    index: int
    client: str
    server: str
    played: Side
    spoke: dict[Side, str]
    """What each side spoke, in the words of the contract."""
    verdict: str
    reversed: bool
    start_ns: int
    """When the TCP handshake ended; the first packet where that was not captured."""
    steps: tuple[Step, ...]
    expected: tuple[Expected, ...]
    end: End
    stream: bytes
    """All bytes of the played side, up to the first that were lost."""
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()
    """What of the recording is not replayed or not compared, in sentences."""
    unplayable: str | None = None
    """Why nothing of it can be replayed; None where it can."""
    peer_bytes: int = 0
    """How many bytes the other side sent."""
    channel_type: int | None = None
    """SPICE: the channel that the link names."""
    channel_id: int | None = None
    session_id: int | None = None
    """SPICE: the recorded session's id, on each of its channels."""
    peer_violations: frozenset[str] = frozenset()
    """Names of the messages in which the recorded other side was wrong."""
    password_wanted: bool = False
    """Whether the recorded handshake used VNC authentication."""

    @property
    def protocol(self) -> str | None:
        """The protocol that both sides spoke; None where they did not speak the same."""
        spoken = set(self.spoke.values())
        return spoken.pop() if len(spoken) == 1 and spoken <= {"rfb", "spice"} else None

    @property
    def peer(self) -> Side:
        return self.played.other

    @property
    def title(self) -> str:
        """One line for a person who must choose."""
        spoke = " to ".join(TITLES[self.spoke[side]] for side in Side)
        text = f"{self.index}: {self.client} → {self.server}, {spoke}, {self.verdict}"
        if self.channel_type is not None and self.protocol == "spice":
            text += f", channel {spice_constants.CHANNEL_TYPES.get(self.channel_type, self.channel_type)}"
        return text


# --- Reading a capture ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Recorded:
    """A dissected conversation, and each side's bytes with the segments that brought them."""

    dissected: Dissected
    streams: dict[Side, bytearray] = field(default_factory=lambda: {side: bytearray() for side in Side})
    segments: dict[Side, list[Segment]] = field(default_factory=lambda: {side: [] for side in Side})
    whole: dict[Side, bool] = field(default_factory=lambda: dict.fromkeys(Side, True))

    def turn(self) -> None:
        """Client and server are the other way round than the capture guessed."""
        self.streams = {side: self.streams[side.other] for side in Side}
        self.segments = {side: self.segments[side.other] for side in Side}
        self.whole = {side: self.whole[side.other] for side in Side}


def load(source: str, played: Side = Side.CLIENT, *, only: int | None = None) -> tuple[list[Plan], list[str]]:
    """The plans of a capture's conversations, in their order, and what is wrong with the file, in words.

    source: a path, or `-` for standard input. only: the one conversation that is wanted. Raises CaptureError.
    """
    digest: str | None = None
    if source == "-":
        if sys.stdin is None:
            raise CaptureError("standard input", 0, "closed")
        data = sys.stdin.buffer.read()
        digest = hashlib.sha256(data).hexdigest()
        capture = open_capture(io.BytesIO(data), "standard input")
    else:
        capture = open_capture(source)
        with Path(source).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with capture:
        found = [make(recorded, source, digest, played) for recorded in conversations(capture, only=only)]
    problems = [f"at byte {problem.offset:,}: {problem.reason}" for problem in capture.problems]
    return sorted(found, key=lambda plan: plan.index), problems


def conversations(capture: Capture | Iterable[Event], *, only: int | None = None) -> Iterator[Recorded]:
    """Dissect a capture, or events, and keep the bytes of each side; each is yielded when it has ended."""
    kept: dict[int, Recorded] = {}
    events = read(capture) if isinstance(capture, Capture) else capture

    def tee() -> Iterator[Event]:
        for event in events:
            index = event.conversation.index
            if only is None or index == only:
                if isinstance(event, Opened):
                    kept[index] = Recorded(None)  # type: ignore[arg-type]
                elif isinstance(event, Bytes) and kept[index].whole[event.side]:
                    stream = kept[index].streams[event.side]
                    kept[index].segments[event.side].append(
                        Segment(len(stream), len(event.data), event.time_ns)
                    )
                    stream += event.data
                elif isinstance(event, Lost):
                    kept[index].whole[event.side] = False
            yield event

    for dissected in dissect(tee(), only=only):
        recorded = kept.pop(dissected.conversation.index)
        recorded.dissected = dissected
        if dissected.verdict.client != dissected.conversation.client:  # the roles were put right
            recorded.turn()
        yield recorded


# --- Making a plan --------------------------------------------------------------------------------------


def make(recorded: Recorded, capture: str, sha256: str | None, played: Side) -> Plan:
    """The plan of one conversation in which `played` is the side to be replayed."""
    dissected = recorded.dissected
    verdict, peer = dissected.verdict, played.other
    start = dissected.established_ns
    if start is None:
        start = dissected.conversation.start_ns
    spoke = {side: verdict.spoke(side) for side in Side}
    messages = [record for record in dissected.records if isinstance(record, Message)]
    notes: list[str] = []
    stream, segments = bytes(recorded.streams[played]), recorded.segments[played]
    end = _end(dissected, messages, played, start)
    expected, left_out = _expected(messages, played, end)
    if left_out:
        notes.append(f"{left_out} messages came after the {played} had ended the connection: not expected")
    if not recorded.whole[played]:
        lost = next((r.offset for r in dissected.records if isinstance(r, Gap) and r.side is played), 0)
        notes.append(f"the capture lacks bytes of the {played} from byte {lost:,} on: not played from there")
    if not recorded.whole[peer]:
        notes.append(f"the capture lacks bytes of the {peer}: what was in them is not compared")
    steps = _steps(messages, expected, stream, segments, played, start)
    links = [m for m in messages if m.parts and m.parts[-1].cls is spice_link.SpiceLinkMess]
    inits = [m for m in messages if m.parts and m.parts[-1].cls is SpiceMsgMainInit]
    channel = links[0].values if links else {}
    session_id = inits[0]["session_id"] if inits else channel.get("connection_id") or None
    return Plan(
        capture=capture,
        sha256=sha256,
        index=dissected.conversation.index,
        client=verdict.client,
        server=verdict.server,
        played=played,
        spoke=spoke,
        verdict=verdict.verdict,
        reversed=verdict.reversed,
        start_ns=start,
        steps=steps,
        expected=expected,
        end=end,
        stream=stream,
        segments=tuple(segments),
        notes=tuple(notes),
        unplayable=_unplayable(spoke, dissected.records, recorded, played),
        peer_bytes=len(recorded.streams[peer]),
        channel_type=channel.get("channel_type"),
        channel_id=channel.get("channel_id"),
        session_id=session_id,
        peer_violations=frozenset(
            r.name for r in dissected.records if isinstance(r, Violation) and r.side is peer
        ),
        password_wanted=any(m.name == "VncAuthenticationResponse" for m in messages),
    )


def _end(dissected: Dissected, messages: list[Message], played: Side, start: int) -> End:
    first: Ending | None = min(dissected.endings, key=lambda ending: ending.time_ns, default=None)
    time_ns = dissected.end_ns if first is None else first.time_ns
    last = max([start, *(m.last_ns for m in messages if m.last_ns <= time_ns)])
    silent = max(0, time_ns - last)
    if first is None:
        return End(None, "open", time_ns, silent)
    how: Literal["close", "reset"] = "reset" if first.how == "reset" else "close"
    # A side that is answered after its FIN has only ceased to send, unless it refuses the answer.
    half = (
        first.side is played
        and how == "close"
        and any(m.side is not played and m.first_ns > time_ns for m in messages)
        and not any(ending.how == "reset" for ending in dissected.endings)
    )
    return End(first.side, how, time_ns, silent, half)


def _expected(messages: list[Message], played: Side, end: End) -> tuple[tuple[Expected, ...], int]:
    """What the other side said while it was listened to, and how many messages came too late for that."""
    found: list[Expected] = []
    left_out = 0
    mine = list(accumulate((m.first_ns for m in messages if m.side is played), max))
    for message in messages:
        if message.side is played:
            continue
        if end.side is played and not end.half and message.first_ns > end.time_ns:
            left_out += 1
            continue
        found.append(Expected(message, is_handshake(message), bisect_left(mine, message.first_ns)))
    return tuple(found), left_out


def _steps(
    messages: list[Message],
    expected: tuple[Expected, ...],
    stream: bytes,
    segments: list[Segment],
    played: Side,
    start: int,
) -> tuple[Step, ...]:
    offsets = [segment.offset for segment in segments]
    # When so many of the expected messages were whole.
    whole = list(accumulate((e.message.last_ns for e in expected), max))
    steps: list[Step] = []
    last = start
    for message in messages:
        if message.side is not played:
            continue
        at, stop = message.offset, message.offset + message.size
        if stop > len(stream):
            break
        after = bisect_left(whole, message.first_ns)
        before = expected[after - 1].message if after else None
        heard = whole[after - 1] if after else start
        # A run that is not decoded was kept in part only: its bytes come from the stream.
        cuts = offsets[bisect_left(offsets, at) : bisect_left(offsets, stop)]
        steps.append(
            Step(
                message.name,
                stream[at:stop],
                message if message.parts else None,
                message.first_ns,
                message.last_ns,
                after,
                before.offset + before.size if before else 0,
                max(0, message.first_ns - max(last, heard)),
                tuple(offset - at for offset in cuts),
            )
        )
        last = max(last, message.last_ns)
    return tuple(steps)


def _unplayable(
    spoke: dict[Side, str], records: list[Record], recorded: Recorded, played: Side
) -> str | None:
    """Why the conversation cannot be replayed at all; None where it can."""
    values = set(spoke.values())
    if values == {"tls"}:
        return "both sides spoke TLS: its keys are not in the capture, so it cannot be spoken again"
    if not recorded.whole[played] and not recorded.streams[played]:
        return f"the first bytes of the {played} are not in the capture"
    conversation = recorded.dissected.conversation
    if conversation.mid_stream and values <= {"other", "nothing"}:
        return "the capture begins in the middle of the connection, and what was spoken cannot be told"
    if len(values) == 1 and values <= {"rfb", "spice"}:
        for record in records:
            if isinstance(record, Message) and (secret := _secret(record)) is not None:
                return f"the recorded handshake cannot be computed for another connection: {secret}"
        if (secret := _secret_exchange(records)) is not None:
            return f"the recorded handshake cannot be computed for another connection: {secret}"
    return None


def _secret_exchange(records: list[Record]) -> str | None:
    """The RFB security type, read or not, whose answers depend on what only the recorded client knew."""
    for record in records:
        match record:
            case Message(name="SecurityType", protocol="rfb") if record.parts:
                number = record["security_type"]
                if number not in (0, 1, 2, 16):
                    return f"security type {number} ({record.fields()['security_type_name']})"
            case Message(name="TightAuthType") if record.parts and record["code"] not in (1, 2):
                return f"Tight authentication {record['code']} ({record.fields()['code_name']})"
    return None


def _secret(message: Message) -> str | None:
    """What `message` chose, where that needs a secret or a computation that is not to be had here."""
    if message.note is not None and any(
        what in message.note for what in ("security type", "authentication", "Tight tunnel")
    ):
        return message.note.removeprefix("not decoded: ").split(";")[0]
    if not message.parts:
        return None
    match message.name:
        case "SecurityType" if message["security_type"] not in PLAYABLE_SECURITY:
            number = message["security_type"]
            return f"security type {number} ({rfb_constants.SECURITY_TYPES.get(number, 'unregistered')})"
        case "TightTunnel" if message["code"]:
            return f"Tight tunnel {message['code']}"
        case "TightAuthType" if message["code"] not in (1, 2):
            return f"Tight authentication {message['code']}"
        case "SpiceLinkAuthMechanism" if message["auth_mechanism"] == spice_constants.CAP_AUTH_SASL:
            return "authentication 2 (SASL)"
        case _:
            return None


def choose(plans: list[Plan], number: int | None = None) -> Plan:
    """The conversation called `number`, or the only one that can be played.

    Raises Unplayable, which lists the choices where there are several.
    """
    if number is not None:
        for plan in plans:
            if plan.index == number:
                return plan
        raise Unplayable(f"no conversation {number} in this capture")
    fitting = [plan for plan in plans if plan.unplayable is None]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        if not plans:
            raise Unplayable("no TCP conversation in this capture")
        if len(plans) == 1:
            return plans[0]
        raise Unplayable("none of its conversations can be played: " + str(plans[0].unplayable))
    hint = " (or --all-channels for a whole SPICE session)" if sessions(plans) else ""
    choices = "\n".join(f"  {plan.title}" for plan in fitting)
    raise Unplayable(
        f"{len(fitting)} conversations could be played; choose one with --conversation N{hint}:\n{choices}"
    )


def sessions(plans: list[Plan]) -> list[list[Plan]]:
    """The SPICE sessions of a capture: main first, then its channels in the order in which they came."""
    found = []
    for main in plans:
        if main.protocol == "spice" and main.channel_type == MAIN and main.session_id is not None:
            channels = [
                plan
                for plan in plans
                if plan is not main and plan.protocol == "spice" and plan.session_id == main.session_id
            ]
            found.append([main, *sorted(channels, key=lambda plan: plan.start_ns)])
    return found
