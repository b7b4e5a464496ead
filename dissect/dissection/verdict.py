# SPDX-License-Identifier: GPL-2.0-or-later
"""Who spoke what to whom, who noticed, after how long and how many bytes.

`judge` turns the facts of one finished conversation into a `Verdict`. The rules, in words:

- *agreed*: both sides spoke the same protocol. Nobody had anything to notice.
- *wrong-protocol*: both spoke, and not the same; or only one spoke and the other ended the connection
  without a word.
- *silent*: nobody spoke; or only one did, and either nothing ended it or that side gave up itself.
- *undecided*: the capture lacks what would decide it; and where a client hung up on a greeting without a
  word, since a client that only looked does the same.

A side notices (`Detection`) with its first reaction at or after the first byte of the wrong protocol that
reached it: an error reply, a close or a reset. Where no byte reached it the clock runs from the end of the
TCP handshake. Where the capture, or the peer's own leaving, came first, the observation is censored: the side
needs at least that long. Times are those at the point of capture.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from dissect.dissection.dissector import Dissector, SideFacts
from dissect.dissection.recognise import TITLES
from dissect.dissection.spice_links import SpiceLink, link_of
from dissect.stream.side import SIDES, Side
from dissect.stream.text import duration

By = Literal["error-reply", "close", "reset"]
Outcome = Literal["agreed", "wrong-protocol", "silent", "undecided"]


@dataclass(frozen=True, slots=True)
class Detection:
    """One side's first reaction to the wrong protocol, or how long there was none.

    `ns` is a duration; `bytes` what the side had been sent by then; `by` is None where `censored`.
    `after_close`: the peer had closed or reset before, so the reaction may be to that.
    """

    ns: int
    censored: bool
    by: By | None
    bytes: int
    after_close: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object of the command line's contract."""
        return {
            "ns": self.ns,
            "censored": self.censored,
            "by": self.by,
            "bytes": self.bytes,
            "after_close": self.after_close,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one conversation. Times are ns since the Unix epoch, durations ns."""

    conversation: int
    client: str
    server: str
    start_ns: int
    first_speaker: Side | None
    client_spoke: str
    server_spoke: str
    verdict: Outcome
    server_detect: Detection | None
    client_detect: Detection | None
    reversed: bool
    detected_first: Side | None
    reason: str
    roles_from: str
    spice: SpiceLink | None = None
    """Which channel of which SPICE session it is."""

    def __reduce__(self) -> tuple[type[Verdict], tuple[Any, ...]]:
        return Verdict, _PARTS(self)  # verdicts go from process to process: this takes a third of the time

    def detect(self, side: Side) -> Detection | None:
        return self.server_detect if side is Side.SERVER else self.client_detect

    def spoke(self, side: Side) -> str:
        return self.server_spoke if side is Side.SERVER else self.client_spoke

    def to_json(self, capture: str) -> dict[str, Any]:
        """The object of `verdict --json`."""
        return {
            "capture": capture,
            "conversation": self.conversation,
            "client": self.client,
            "server": self.server,
            "start_ns": self.start_ns,
            "first_speaker": self.first_speaker,
            "client_spoke": self.client_spoke,
            "server_spoke": self.server_spoke,
            "verdict": self.verdict,
            "server_detect": None if self.server_detect is None else self.server_detect.to_json(),
            "client_detect": None if self.client_detect is None else self.client_detect.to_json(),
            "reversed": self.reversed,
            "detected_first": self.detected_first,
            "reason": self.reason,
            "roles_from": self.roles_from,
            "session": None if self.spice is None else self.spice.to_json(),
        }


_PARTS = attrgetter(*Verdict.__match_args__)

OWN = ("conversation", "client", "server", "start_ns")
"""What a verdict has of its own where it shares the rest with others; its first fields."""

assert Verdict.__match_args__[: len(OWN)] == OWN

shared = attrgetter(*Verdict.__match_args__[len(OWN) :])
"""Of a verdict, all that it may share with others."""


def judge(dissector: Dissector) -> Verdict:
    """The verdict on a conversation whose `Ended` event has been pushed."""
    facts = dissector.facts
    conversation = dissector.conversation
    outcome, why = _outcome(dissector)
    detections: dict[Side, Detection | None] = dict.fromkeys(SIDES)
    if outcome != "agreed" and _connected(dissector):
        detections = {side: _detection(dissector, side, outcome) for side in SIDES}
    reactions = {
        side: _reference(dissector, side) + seen.ns
        for side, seen in detections.items()
        if seen is not None and not seen.censored
    }
    first = min(reactions, key=lambda side: reactions[side]) if reactions else None
    sentences = [why, *_reactions(dissector, detections, first), *_remarks(dissector)]
    return Verdict(
        conversation=conversation.index,
        client=dissector.client,
        server=dissector.server,
        start_ns=conversation.start_ns,
        first_speaker=dissector.first_speaker,
        client_spoke=facts[Side.CLIENT].spoke,
        server_spoke=facts[Side.SERVER].spoke,
        verdict=outcome,
        server_detect=detections[Side.SERVER],
        client_detect=detections[Side.CLIENT],
        reversed=dissector.reversed,
        detected_first=first,
        reason="; ".join(sentence for sentence in sentences if sentence),
        roles_from=conversation.roles_from,
        spice=dissector.link or link_of(dissector.spice),
    )


def _connected(dissector: Dissector) -> bool:
    """Whether there was a TCP connection at all: a refused one has nothing to say."""
    return dissector.established_ns is not None or any(facts.sent for facts in dissector.facts.values())


def _outcome(dissector: Dissector) -> tuple[Outcome, str]:
    """The verdict, and the sentence that it rests on."""
    client, server = dissector.facts[Side.CLIENT], dissector.facts[Side.SERVER]
    if not _connected(dissector):
        refused = server.reset_ns is not None
        return "undecided", "the connection was refused" if refused else "no TCP connection was made"
    for side, facts in dissector.facts.items():
        if facts.spoke == "other" and (facts.lost_start or dissector.conversation.mid_stream):
            return "undecided", f"the first bytes of the {side} are not in the capture"
    if client.spoke == server.spoke == "nothing":
        return "silent", "nobody spoke"
    speaking = [side for side, facts in dissector.facts.items() if facts.spoke != "nothing"]
    if len(speaking) == 1:
        return _alone(dissector, speaking[0])
    if client.spoke == server.spoke:
        if client.spoke == "other":
            return "undecided", "neither side speaks a protocol that is known here"
        return "agreed", f"both sides spoke {TITLES[client.spoke]}"
    for side, facts in dissector.facts.items():
        if facts.ambiguous and dissector.open:
            return "undecided", f"the {side} sent too little to tell: {facts.because}"
    return "wrong-protocol", f"{_said(Side.CLIENT, client)}, {_said(Side.SERVER, server)}"


def _said(side: Side, facts: SideFacts) -> str:
    if facts.spoke == "other":
        return f"the {side} spoke something else ({facts.because})"
    return f"the {side} spoke {TITLES[facts.spoke]}"


def _alone(dissector: Dissector, speaker: Side) -> tuple[Outcome, str]:
    """Only `speaker` spoke: who ended it decides."""
    said = dissector.facts[speaker]
    mute = dissector.facts[speaker.other]
    named = said.because if said.spoke == "other" else TITLES[said.spoke]
    what = f"only the {speaker} spoke ({named})"
    if mute.lost_start:
        return "undecided", f"{what}; the bytes of the {speaker.other} are not in the capture"
    if mute.ended_ns is None and said.ended_ns is None:
        return "silent", f"{what}, the {speaker.other} never answered"
    if mute.ended_ns is None or (said.ended_ns is not None and said.ended_ns < mute.ended_ns):
        return "silent", f"{what}, the {speaker.other} never answered and the {speaker} left"
    if speaker is Side.SERVER:
        return "undecided", f"{what}, the client left without a word: it may only have looked"
    return "wrong-protocol", f"{what}, the server ended the connection without a word"


def _reference(dissector: Dissector, side: Side) -> int:
    """When the clock of `side` starts: the peer's first byte, else the end of the TCP handshake."""
    first_ns = dissector.facts[side.other].first_ns
    if first_ns is not None:
        return first_ns
    if dissector.established_ns is not None:
        return dissector.established_ns
    return dissector.conversation.start_ns


def _detection(dissector: Dissector, side: Side, outcome: Outcome) -> Detection | None:
    facts, peer = dissector.facts[side], dissector.facts[side.other]
    if facts.blacklisted is not None:
        return None  # it refused the address for its past, before it looked at this peer
    start = _reference(dissector, side)
    heard = peer.first_ns is not None
    peer_left = peer.ended_ns
    reactions: list[tuple[int, int, By]] = []
    for order, (time, by) in enumerate(
        ((facts.error_ns, "error-reply"), (facts.reset_ns, "reset"), (facts.closed_ns, "close"))
    ):
        if time is not None and time >= start:
            reactions.append((time, order, by))  # type: ignore[arg-type]
    if facts.ended_ns is not None and facts.ended_ns < start:
        return None  # it had left before anything reached it
    if reactions:
        time, _, by = min(reactions)
        after = peer_left is not None and peer_left < time
        # With nothing wrong heard, leaving after the peer left is an answer to that, not a detection.
        if not after or (heard and outcome == "wrong-protocol"):
            return Detection(time - start, False, by, peer.sent_by(time), after)
    until = dissector.end_ns if peer_left is None else min(peer_left, dissector.end_ns)
    return Detection(max(until - start, 0), True, None, peer.sent_by(until))


def _reactions(
    dissector: Dissector, detections: dict[Side, Detection | None], first: Side | None
) -> list[str]:
    """A sentence a side on how it reacted, in the order of the reactions."""
    sentences: list[str] = []
    for side in sorted(SIDES, key=lambda side: side is not first):
        seen = detections[side]
        if seen is None:
            continue
        after = f"after {duration(seen.ns)}"
        size = f"{seen.bytes:,} byte{'' if seen.bytes == 1 else 's'}"
        if seen.censored:
            heard = f" and {size}" if seen.bytes else ""
            left = dissector.facts[side.other].ended_ns is not None
            when = f", when the {side.other} left" if left else ""
            sentences.append(f"the {side} had not reacted {after}{heard}{when}")
            continue
        match seen.by:
            case "error-reply":
                act = f"answered with an error ({dissector.facts[side].error})"
            case "reset":
                act = "reset the connection"
            case _:
                act = "closed"
        late = f", after the {side.other} had left" if seen.after_close else ""
        sentences.append(f"the {side} {act} {after}" + (f" and {size}" if seen.bytes else "") + late)
    return sentences


def _remarks(dissector: Dissector) -> list[str]:
    """What else a person should know."""
    remarks = []
    for side, facts in dissector.facts.items():
        if facts.blacklisted is not None:
            remarks.append(
                f'the {side} refused the address for what came from it earlier ("{facts.blacklisted}"), '
                "which is not a detection"
            )
        elif facts.error is not None and facts.spoke == dissector.facts[side.other].spoke:
            remarks.append(f"the {side} refused: {facts.error}")
    if dissector.conversation.ended_by == "limit":
        remarks.append("it was given up before its end, for too many conversations were open at once")
    if dissector.reversed:
        remarks.append("the RFB server opened the connection")
    if dissector.conversation.roles_from != "syn":
        remarks.append(f"roles: {dissector.turned or dissector.conversation.roles_because}")
    return remarks
