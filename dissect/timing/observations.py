# SPDX-License-Identifier: GPL-2.0-or-later
"""Observations of detection times: what was measured, and whether it was seen to end.

The time to detection of one side of one conversation is either seen (*exact*) or cut short by the end of the
capture or by the peer's leaving (right-*censored*: the true time is not shorter). The two are never mixed:
whoever counts, averages or draws asks `exact` first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from dissect.dissection.reading import Dissected
from dissect.dissection.verdict import By, Detection, Verdict
from dissect.stream.side import Side

Status = Literal["exact", "censored"]

Clock = Literal["wire", "user"]
"""Which clock a time was read from: "wire", the capture's time stamps; "user", a program's own reading."""


@dataclass(frozen=True, slots=True)
class Observation:
    """How long one side of one conversation took to notice the wrong protocol, or how long it had not.

    side: whose reaction it is.
    ns: from the first byte of the wrong protocol that reached the side (the end of the TCP handshake where
        none did) to its first reaction; where censored a lower bound.
    status: "exact" or "censored".
    by: the reaction; None where censored.
    bytes: what the side had been sent by then.
    after_close: the peer had left before, so that the reaction may be to that.
    client_spoke, server_spoke: the protocols, in the words of the verdict.
    conversation: its number in the capture; label: the capture's name, "" where it has none.
    clock: what the time was read from.
    """

    side: Side
    ns: int
    status: Status
    by: By | None
    bytes: int
    after_close: bool
    client_spoke: str
    server_spoke: str
    conversation: int
    label: str = ""
    clock: Clock = "wire"

    @property
    def exact(self) -> bool:
        """Whether `ns` is a value; a bound otherwise."""
        return self.status == "exact"

    @property
    def group(self) -> tuple[str, str, Side]:
        """What observations are compared by: who spoke what, and who had to notice."""
        return self.client_spoke, self.server_spoke, self.side

    def to_json(self) -> dict[str, Any]:
        """The observation as one object of NDJSON."""
        return {
            "capture": self.label,
            "conversation": self.conversation,
            "side": str(self.side),
            "client_spoke": self.client_spoke,
            "server_spoke": self.server_spoke,
            "ns": self.ns,
            "status": self.status,
            "by": self.by,
            "bytes": self.bytes,
            "after_close": self.after_close,
            "clock": self.clock,
        }


def observe(dissected: Dissected, *, label: str = "") -> list[Observation]:
    """The observations of one conversation: none where both sides agreed, else up to one a side.

    `label`: the name of the capture that it comes from.
    """
    return observations(dissected.verdict, label=label)


def observations(verdict: Verdict, *, label: str = "") -> list[Observation]:
    """The same from the verdict alone, the server's first."""
    return [
        _observation(verdict, side, seen, label)
        for side in (Side.SERVER, Side.CLIENT)
        if (seen := verdict.detect(side)) is not None
    ]


def _observation(verdict: Verdict, side: Side, seen: Detection, label: str) -> Observation:
    return Observation(
        side=side,
        ns=seen.ns,
        status="censored" if seen.censored else "exact",
        by=seen.by,
        bytes=seen.bytes,
        after_close=seen.after_close,
        client_spoke=verdict.client_spoke,
        server_spoke=verdict.server_spoke,
        conversation=verdict.conversation,
        label=label,
    )


def grouped(found: Iterable[Observation]) -> dict[tuple[str, str, Side], list[Observation]]:
    """Observations by `Observation.group`, in the order in which the groups first appear."""
    groups: dict[tuple[str, str, Side], list[Observation]] = {}
    for one in found:
        groups.setdefault(one.group, []).append(one)
    return groups
