# SPDX-License-Identifier: GPL-2.0-or-later
"""One SPICE session from its many connections.

A client opens a main channel, is given a number (MAIN_INIT), and names it on the link of every other channel.
So the connections of one session are those between one client address and one server that have one number. A
main link that names a session already is the target of a migration: no MAIN_INIT comes, the number is the old
server's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dissect.spice import constants
from dissect.spice.session import SpiceSession

if TYPE_CHECKING:
    from dissect.dissection.verdict import Verdict

MAIN = 1
NEED_SECURED, NEED_UNSECURED = 5, 6


@dataclass(frozen=True, slots=True)
class SpiceLink:
    """What one connection said of itself: which channel of which session. None is what is not known."""

    session_id: int | None
    channel_type: int | None
    channel_id: int | None
    connection_id: int | None
    error: int | None

    @property
    def channel(self) -> str:
        """The channel's name, with its number where that is not 0."""
        name = constants.CHANNEL_TYPES.get(self.channel_type or 0, f"type {self.channel_type}")
        return f"{name} {self.channel_id}" if self.channel_id else name

    @property
    def migrated(self) -> bool:
        """Whether this is the main link of a session that comes from another server."""
        return self.channel_type == MAIN and bool(self.connection_id)

    def to_json(self) -> dict[str, Any]:
        """The object `session` of `verdict --json`."""
        return {
            "id": self.session_id,
            "channel": constants.CHANNEL_TYPES.get(self.channel_type or 0),
            "channel_type": self.channel_type,
            "channel_id": self.channel_id,
            "migrated": self.migrated,
            "error": None if self.error is None else constants.LINK_ERRORS.get(self.error, str(self.error)),
        }


def link_of(session: SpiceSession | None) -> SpiceLink | None:
    """What is known of a session's link; None before the client's RedLinkMess was read."""
    if session is None or session.channel_type is None:
        return None
    return SpiceLink(
        session.session_id, session.channel_type, session.channel_id, session.connection_id, session.error
    )


def known(session: SpiceSession) -> bool:
    """Whether nothing that is still to come can change what `link_of` says."""
    return session.channel_type != MAIN or session.session_id is not None or bool(session.error)


@dataclass(frozen=True, slots=True)
class SpiceGroup:
    """One session: its number, the client's address, the server, its connections as they began."""

    session_id: int
    client: str
    server: str
    members: tuple[Verdict, ...]
    refused: tuple[Verdict, ...] = ()
    """Connections that were refused for want of TLS (or of none), and tried again."""

    @property
    def title(self) -> str:
        """The session in one line."""
        channels = ", ".join(f"{m.spice.channel} (#{m.conversation})" for m in self.members if m.spice)
        text = f"SPICE session {self.session_id:#010x}, {self.client} → {self.server}: {channels}"
        if any(m.spice and m.spice.migrated for m in self.members):
            text += "; migrated from another server"
        for verdict in self.refused:
            assert verdict.spice is not None
            name = constants.LINK_ERRORS[verdict.spice.error or 0]
            text += f"; {verdict.spice.channel} (#{verdict.conversation}) was refused: {name}"
        return text


def tie(verdicts: Iterable[Verdict]) -> list[SpiceGroup]:
    """The sessions among these conversations of one capture, by the start of their first connection.

    Refusals for want of TLS or of none belong to the session of the same client at the same server's address
    that begins next; the port is another.
    """
    members: dict[tuple[str, str, int], list[Verdict]] = {}
    refused: list[Verdict] = []
    for verdict in sorted(verdicts, key=_start):
        link = verdict.spice
        if link is None:
            continue
        if link.error in (NEED_SECURED, NEED_UNSECURED):
            refused.append(verdict)
        elif link.session_id is not None:
            key = host(verdict.client), verdict.server, link.session_id
            members.setdefault(key, []).append(verdict)
    groups = []
    for (client, server, number), those in members.items():
        last = those[-1].start_ns
        ends = client, host(server)
        mine = [
            verdict
            for verdict in refused
            if verdict.start_ns <= last and (host(verdict.client), host(verdict.server)) == ends
        ]
        refused = [verdict for verdict in refused if verdict not in mine]
        groups.append(SpiceGroup(number, client, server, tuple(those), tuple(mine)))
    return groups


def _start(verdict: Verdict) -> int:
    return verdict.start_ns


def host(endpoint: str) -> str:
    """The address of "address:port"."""
    return endpoint.rpartition(":")[0]
