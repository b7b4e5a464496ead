# SPDX-License-Identifier: GPL-2.0-or-later
"""One SPICE session from its many connections.

A client opens a main channel, is given a number (MAIN_INIT), and names it on the link of every other channel.
So the connections of one session are those between one client address and one server that have one number. A
main link that names a session already is the target of a migration: no MAIN_INIT comes, the number is the old
server's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dissect.spice import constants
from dissect.spice.constants import MAIN

if TYPE_CHECKING:
    from dissect.dissection.verdict import Verdict
    from dissect.spice.session import SpiceSession

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


@dataclass(frozen=True, slots=True)
class SpiceGroup:
    """One session: its number, the client's address, the server, its connections as they began.

    Client and server are those of the first connection.
    """

    session_id: int
    client: str
    server: str
    members: tuple[Verdict, ...]
    refused: tuple[Verdict, ...] = ()
    """Connections that were refused for want of TLS (or of none), and tried again."""
    encrypted: tuple[Verdict, ...] = ()
    """Connections by TLS between the same hosts at that time, which may be more of its channels."""
    before: str | None = None
    """The server that had the session before this one."""
    main: Verdict | None = None
    """The connection that may be its main channel, where its number cannot be read (SASL may encrypt it)."""

    @property
    def has_main(self) -> bool:
        """Whether the main channel is among its connections."""
        return any(one.spice is not None and one.spice.channel_type == MAIN for one in self.members)

    @property
    def start_ns(self) -> int:
        """When its first connection began."""
        return self.members[0].start_ns

    @property
    def name(self) -> str:
        """Its number, as it is shown."""
        return f"{self.session_id:#010x}"

    @property
    def channels(self) -> str:
        """Its channels, each with its conversation, and its addresses where they are others."""
        return ", ".join(map(self._channel, self.members))

    @property
    def remarks(self) -> list[str]:
        """What there is to say of it beside its channels."""
        said = []
        if any(one.spice and one.spice.migrated for one in self.members):
            said.append(f"migrated from {self.before or 'another server'}")
        if self.main is not None:
            said.append(f"its main channel may be #{self.main.conversation}, whose number cannot be read")
        elif not self.has_main:
            said.append("its main channel is not in the capture, or not in the clear")
        for verdict in self.refused:
            assert verdict.spice is not None
            name = constants.LINK_ERRORS[verdict.spice.error or 0]
            said.append(f"{verdict.spice.channel} (#{verdict.conversation}) was refused: {name}")
        if self.encrypted:
            numbers = ", ".join(f"#{verdict.conversation}" for verdict in self.encrypted)
            said.append(f"TLS between the same hosts then, which may be more of its channels: {numbers}")
        return said

    @property
    def title(self) -> str:
        """The session in one line."""
        text = f"SPICE session {self.name}, {self.client} → {self.server}: {self.channels}"
        return "; ".join([text, *self.remarks])

    def _channel(self, verdict: Verdict) -> str:
        assert verdict.spice is not None
        text = f"{verdict.spice.channel} (#{verdict.conversation})"
        if (host(verdict.client), verdict.server) != (self.client, self.server):
            text += f" by {host(verdict.client)} → {verdict.server}"
        return text


TOGETHER_NS = 5_000_000_000
"""A client opens all its channels within this time."""


def tie(verdicts: Iterable[Verdict]) -> list[SpiceGroup]:
    """The sessions among these conversations of one capture, by the start of their first connection.

    Connections with one number between other addresses (a client may use IPv4 and IPv6) belong together where
    only one main channel of that number is there, and began before them: it is random. A refusal for want of
    TLS or of none belongs to the session that has the next connection of the same hosts; the port is another.
    """
    members: dict[tuple[str, str, int], list[Verdict]] = {}
    refused: list[Verdict] = []
    encrypted: dict[tuple[str, str], list[Verdict]] = {}
    unnumbered: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in sorted(verdicts, key=_start):
        link = verdict.spice
        if link is None:
            if verdict.client_spoke == "tls":
                encrypted.setdefault(_hosts(verdict), []).append(verdict)
        elif link.error in (NEED_SECURED, NEED_UNSECURED):
            refused.append(verdict)
        elif link.session_id is not None:
            key = host(verdict.client), verdict.server, link.session_id
            members.setdefault(key, []).append(verdict)
        elif link.channel_type == MAIN and not link.error:
            unnumbered.setdefault((host(verdict.client), verdict.server), []).append(verdict)
    alike: dict[int, list[SpiceGroup]] = {}
    for (client, server, number), those in members.items():
        alike.setdefault(number, []).append(SpiceGroup(number, client, server, tuple(those)))
    groups = [_moved(group, some) for some in alike.values() for group in _joined(some)]
    groups.sort(key=lambda group: group.start_ns)
    mine = _owners(refused, groups)
    return [
        replace(
            group,
            refused=tuple(mine.get(place, ())),
            encrypted=tuple(_beside(group, encrypted)),
            main=_main(group, unnumbered),
        )
        for place, group in enumerate(groups)
    ]


def _joined(groups: list[SpiceGroup]) -> list[SpiceGroup]:
    """Groups of one number: those without a main channel put to the one that has it."""
    whole = [[group] for group in groups if group.has_main]
    alone: list[SpiceGroup] = []
    for group in groups:
        if not group.has_main:
            earlier = [one for one in whole if one[0].start_ns <= group.start_ns]
            near = [one for one in earlier if _port(one[0].server) == _port(group.server)] or earlier
            (near[0] if len(near) == 1 else alone).append(group)
    joined = []
    for some in whole:
        members = sorted((verdict for group in some for verdict in group.members), key=_start)
        joined.append(replace(some[0], members=tuple(members)))
    return joined + alone


def _moved(group: SpiceGroup, groups: Iterable[SpiceGroup]) -> SpiceGroup:
    """The group, with the server that had the session before, where that is in the capture."""
    servers = [
        one.server
        for one in groups
        if one.client == group.client and one.server != group.server and one.start_ns < group.start_ns
    ]
    return replace(group, before=servers[-1]) if servers else group


def _owners(refused: list[Verdict], groups: list[SpiceGroup]) -> dict[int, list[Verdict]]:
    """Place of a group -> the refusals that are its."""
    starts: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for place, group in enumerate(groups):
        for one in group.members:
            starts.setdefault(_hosts(one), []).append((one.start_ns, place))
    for some in starts.values():
        some.sort()
    found: dict[int, list[Verdict]] = {}
    for verdict in refused:
        some = starts.get(_hosts(verdict), [])
        after = bisect_left(some, (verdict.start_ns, -1))
        if after < len(some):
            found.setdefault(some[after][1], []).append(verdict)
    return found


def _main(group: SpiceGroup, unnumbered: Mapping[tuple[str, str], list[Verdict]]) -> Verdict | None:
    """The last main channel without a number that began before a session without a main channel."""
    if group.has_main:
        return None
    some = unnumbered.get((group.client, group.server), [])
    before = bisect_right(some, group.start_ns, key=_start)
    return some[before - 1] if before else None


def _beside(group: SpiceGroup, encrypted: Mapping[tuple[str, str], list[Verdict]]) -> Iterator[Verdict]:
    first, last = group.start_ns, group.members[-1].start_ns + TOGETHER_NS
    if not group.has_main:
        first -= TOGETHER_NS
    some = encrypted.get(_hosts(group.members[0]), [])
    for verdict in some[bisect_left(some, first, key=_start) :]:
        if verdict.start_ns > last:
            return
        yield verdict


def hosts_of(client: str, server: str) -> tuple[str, str]:
    """The addresses of two ends."""
    return host(client), host(server)


def _hosts(verdict: Verdict) -> tuple[str, str]:
    return hosts_of(verdict.client, verdict.server)


def _port(server: str) -> str:
    return server.rpartition(":")[2]


def _start(verdict: Verdict) -> int:
    return verdict.start_ns


def host(endpoint: str) -> str:
    """The address of "address:port"."""
    return endpoint.rpartition(":")[0]
