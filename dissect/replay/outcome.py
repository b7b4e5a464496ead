# SPDX-License-Identifier: GPL-2.0-or-later
"""What a replay comes to: its outcome, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dissect.replay.compare import Difference


class Outcome(StrEnum):
    """The contract's outcomes."""

    PASS = "pass"
    DIFF = "diff"
    TIMEOUT = "timeout"
    EARLY_CLOSE = "early-close"
    RESET = "reset"
    REFUSED = "refused"
    """There was no connection, or the conversation cannot be replayed: nothing was sent."""
    INCONCLUSIVE = "inconclusive"


@dataclass(slots=True)
class Result:
    """One replayed conversation. Sizes are bytes, times ns.

    sent, received: messages of the played and of the live side. compared: live messages that were held
    against a recorded one; silences, endings: expectations of that kind that were held. left_over: live
    messages without a recorded one that were no difference. unanswered: recorded messages of the live side
    that were not met. unsent: recorded messages that were not sent.
    """

    capture: str
    sha256: str | None
    conversation: int
    outcome: Outcome
    reason: str
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_messages: int = 0
    received_messages: int = 0
    compared_messages: int = 0
    compared_silences: int = 0
    compared_endings: int = 0
    left_over_messages: int = 0
    unanswered_messages: int = 0
    unsent_messages: int = 0
    differences: list[Difference] = field(default_factory=list)
    differences_not_kept: int = 0
    peer: dict[str, Any] = field(default_factory=dict)
    """What the live peer is, as far as its protocol tells."""
    adapted: list[str] = field(default_factory=list)
    """What was not sent as recorded, in sentences."""
    notes: list[str] = field(default_factory=list)
    to: str = ""
    started_ns: int = 0
    """When the connection was begun, ns since 1970."""
    lasted_ns: int = 0
    channel: str | None = None
    run: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The object of `replay --json`."""
        return {
            "capture": self.capture,
            "sha256": self.sha256,
            "conversation": self.conversation,
            **({"channel": self.channel} if self.channel else {}),
            **({"run": self.run} if self.run is not None else {}),
            "to": self.to,
            "peer": self.peer,
            "outcome": self.outcome,
            "reason": self.reason,
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "sent_messages": self.sent_messages,
            "received_messages": self.received_messages,
            "compared_messages": self.compared_messages,
            "compared_silences": self.compared_silences,
            "compared_endings": self.compared_endings,
            "left_over_messages": self.left_over_messages,
            "unanswered_messages": self.unanswered_messages,
            "unsent_messages": self.unsent_messages,
            "differences": [difference.to_json() for difference in self.differences],
            "differences_not_kept": self.differences_not_kept,
            "adapted": self.adapted,
            "notes": self.notes,
            "started_ns": self.started_ns,
            "lasted_ns": self.lasted_ns,
        }
