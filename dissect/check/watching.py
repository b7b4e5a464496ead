# SPDX-License-Identifier: GPL-2.0-or-later
"""What a live peer did in one run: as lines that are the same where it did the same, and as times.

Both come from the live capture, dissected. What differs from run to run by its nature (keys, session ids,
clocks) is masked, with the reason. Of what follows a handshake only that is kept which must come; when and
how often updates come is the guest's. Whether an end is a FIN or a RST depends on what lay unread in a
socket, so both are "ended".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dissect.capture import CaptureError, open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.dissection.recognise import TITLES
from dissect.replay.compare import WHOLE, Count, Kind, Rules, json_value
from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import Plan, is_handshake
from dissect.stream.records import Message, Violation
from dissect.stream.side import Side
from dissect.stream.text import safe
from dissect.timing.observations import Observation, observations

ANSWER, HANDSHAKE, DETECTION = "first answer", "handshake", "detection"
"""What is timed: from the last byte sent (the connection where none was) to the peer's first byte; from the
connection to the end of the handshake; from the first byte of the wrong protocol to the reaction."""

LONGEST_VALUE = 200
"""Characters of one value in a line."""

REASONS: Mapping[tuple[str, str], str] = {
    ("*", "*padding*"): "means nothing",
    ("*", "message_type"): "said by the name",
    ("ServerInit", "name_*"): "holds the machine's name and a display's number",
    ("VncAuthenticationChallenge", "challenge"): "random on every connection",
    ("SpiceLinkReply", "pub_key"): "a new key for every link",
    ("SpiceLinkMess", "connection_id"): "the number of the live session",
    ("SPICE_MSG_MAIN_INIT", "session_id"): "random for every session",
    ("SPICE_MSG_MAIN_INIT", "multi_media_time"): "a clock",
    ("SPICE_MSG_MAIN_INIT", "ram_hint"): "the guest's memory",
    ("SPICE_MSG_*", "message_size"): "follows from the rest",
    ("SPICE_MSG_*", "message_serial"): "counts what was sent before",
    ("VncAuthenticationResponse", "response"): "answers a random challenge",
    ("SpiceLinkEncryptedTicket", "encrypted_data"): "for a key that is new for every link",
}
"""Message and field (patterns) -> why it is masked."""

ELSE = "masked by the rules of the comparison"


@dataclass(frozen=True, slots=True)
class Seen:
    """lines: what the peer did, stable. times: what is timed -> one observation each."""

    lines: tuple[str, ...]
    times: Mapping[str, Observation]


def watch(
    path: Path, plans: Sequence[Plan], results: Sequence[Result], rules: Rules, through: str | None
) -> Seen:
    """What the peer of these replays did, from their live capture. `results`: those of `plans`, in order."""
    try:
        with open_capture(str(path)) as capture:
            live = sorted(dissect(read(capture)), key=lambda one: one.conversation.index)
    except CaptureError:  # nobody was connected to
        live = []
    begun = sorted((result for result in results if _connected(result)), key=lambda result: result.started_ns)
    found = {id(result): one for result, one in zip(begun, live, strict=False)}
    lines: list[str] = []
    times: dict[str, Observation] = {}
    whole_session = any(result.channel for result in results)
    for plan, result in zip(plans, results, strict=True):
        dissected = found.get(id(result))
        lines += _told(plan, result, dissected, rules, through)
        if dissected is not None and (not whole_session or plan is plans[0]):
            of = "" if whole_session or len(plans) == 1 else f" of conversation {plan.index}"
            for name, time in _times(plan, dissected, through).items():
                times[name + of] = time
    return Seen(tuple(lines), times)


def _connected(result: Result) -> bool:
    return result.outcome is not Outcome.REFUSED and bool(
        result.lasted_ns or result.sent_bytes or result.received_bytes
    )


# --- as lines -------------------------------------------------------------------------------------------

_ENDED = re.compile(r"\b(closed|reset) the (connection|main channel)")


def _told(
    plan: Plan, result: Result, dissected: Dissected | None, rules: Rules, through: str | None
) -> Iterator[str]:
    channel = f" ({result.channel} channel)" if result.channel else ""
    yield f"conversation {plan.index}{channel}: {_outcome(result)}"
    if dissected is None:
        return
    verdict, peer = dissected.verdict, plan.peer
    spoke = " to ".join(TITLES[verdict.spoke(side)] for side in Side)
    # A plan whose client left in mid-greeting is "undecided" or "agreed" by a hair: what was spoken says it.
    yield f"  {spoke}"
    seen = verdict.detect(peer)
    if seen is not None and plan.protocol is None:
        by = {"error-reply": "an error reply", "close": "an end", "reset": "an end"}
        if seen.by is None:
            yield f"  the {peer} does not answer the wrong protocol"
        else:
            yield f"  the {peer} answers the wrong protocol by {by[seen.by]}"
    expected = {item.message.name for item in plan.expected if not item.handshake}
    later: dict[str, list[Message]] = {}
    for record in dissected.records:
        if record.side is not peer:
            continue
        if isinstance(record, Violation):
            yield f"  {peer} is wrong in {record.name}: {safe(record.why)}"
        elif isinstance(record, Message):
            if is_handshake(record):
                yield from _message(record, rules)
                if record.name == through:
                    break
            elif record.name in expected:
                later.setdefault(record.name, []).append(record)
                if record.name == through:
                    break
            elif not record.parts and plan.protocol is None:
                yield f"  {TITLES[record.protocol]} that is not decoded"
    for name in sorted(later):
        match rules.count(name):
            case Count.EXACT:
                for message in later[name]:
                    yield from _message(message, rules)
            case Count.SOME:
                yield f"  {name} comes (how often: masked, comes when it comes)"
            case _:
                pass
    if result.compared_silences:
        yield "  keeps silent as recorded"
    if result.compared_endings:
        yield f"  the {peer} ends the connection (close or reset: masked, depends on what lay unread)"


def _outcome(result: Result) -> str:
    """The outcome in words that do not change where nothing does."""
    if result.outcome is Outcome.PASS:
        return "pass"
    how = "ended early" if result.outcome in (Outcome.EARLY_CLOSE, Outcome.RESET) else str(result.outcome)
    return f"{how}: {_ENDED.sub('ended it', reason_of(result))}"


def reason_of(result: Result) -> str:
    """Why a replay came out as it did: by its first difference, where it is that which decided."""
    if result.outcome is not Outcome.DIFF or not result.differences:
        return safe(result.reason)
    first = result.differences[0]
    field = "" if first.field == WHOLE else f".{first.field}"
    expected, got = (_value(value) for value in (first.expected, first.got))
    return f"{first.message}{field} expected {expected}, got {got}"


def _message(message: Message, rules: Rules) -> Iterator[str]:
    yield f"  {message.name}"
    if not message.parts:
        yield f"    {safe(message.note or 'not decoded')}"
        return
    values = message.values
    for path, value in _flat(message.fields()):
        base = re.sub(r"_names?$", "", path)
        mode = rules.mode(message.name, base if base in values and path not in values else path)
        match mode.kind:
            case Kind.IGNORE | Kind.REUSE:
                yield f"    {path}: masked, {_reason(message.name, path)}"
            case Kind.LENGTH:
                size = len(value) if isinstance(value, str | list) else 1
                yield f"    {path}: masked but for its length, {size}"
            case Kind.RANGE if isinstance(value, int | float) and mode.least <= value <= mode.most:
                yield f"    {path}: masked, from {mode.least:g} to {mode.most:g}"
            case _:
                yield f"    {path} = {_value(value)}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value(value: Any) -> str:
    text = safe(value if isinstance(value, str) else str(json_value(value)))
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def _reason(message: str, path: str) -> str:
    last = path.rpartition(".")[2]
    for (name, field), why in REASONS.items():
        if fnmatchcase(message, name) and (fnmatchcase(path, field) or fnmatchcase(last, field)):
            return why
    return ELSE


# --- as times -------------------------------------------------------------------------------------------


def _times(plan: Plan, dissected: Dissected, through: str | None) -> dict[str, Observation]:
    peer, verdict = plan.peer, dissected.verdict
    start = dissected.established_ns
    if start is None:
        start = dissected.conversation.start_ns
    last = max(dissected.end_ns, start)
    found: dict[str, Observation] = {}

    def note(name: str, ns: int | None, since: int) -> None:
        exact = ns is not None
        found[name] = Observation(
            side=peer,
            ns=max(0, (last if ns is None else ns) - since),
            status="exact" if exact else "censored",
            by=None,
            bytes=0,
            after_close=False,
            client_spoke=verdict.client_spoke,
            server_spoke=verdict.server_spoke,
            conversation=plan.index,
            clock="user",
        )

    records = [record for record in dissected.records if isinstance(record, Message)]
    if plan.expected:
        first = min((one.first_ns for one in records if one.side is peer), default=None)
        before = [one.last_ns for one in records if one.side is plan.played]
        until = last if first is None else first
        note(ANSWER, first, max([start, *(ns for ns in before if ns <= until)]))
    if plan.protocol is not None:
        wanted = [item.message.name for item in plan.expected if item.handshake]
        if through in wanted:
            wanted = wanted[: wanted.index(through) + 1]
        if len(wanted) > 1:
            ends = [one.last_ns for one in records if one.side is peer and one.name == wanted[-1]]
            note(HANDSHAKE, ends[0] if ends else None, start)
    else:
        for one in observations(verdict):
            if one.side is peer:
                found[DETECTION] = one
    return found
