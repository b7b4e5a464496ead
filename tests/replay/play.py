# SPDX-License-Identifier: GPL-2.0-or-later
"""Model peers recorded, and replayed: what the tests of the replayer share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from dissect.lab.models import (
    Model,
    SpiceClient,
    SpiceServer,
    VncClient,
    VncServer,
    run_pair,
    serving,
    through,
)
from dissect.replay.outcome import Result
from dissect.replay.plan import Plan, conversations, load, make, sessions
from dissect.replay.player import Options, Player
from dissect.replay.transports import Sockets, Target, play_session, resolve
from dissect.stream import Side
from tests.dissection.conversations import Step, events

SERVER = VncServer(width=64, height=48, seed=1)
CLIENT = VncClient(seed=2)
SPICE = SpiceServer(key_per_link=False, seed=3)
SPICY = SpiceClient(channels=((2, 0), (3, 0)), lasts_ns=50_000_000)


def plan_of(steps: list[Step], end: int | None = None, played: Side = Side.CLIENT, **options: object) -> Plan:
    """The plan of a conversation that is written down; `options` as of `events`."""
    end = end if end is not None else max((time for _, _, time in steps), default=0)
    [recorded] = conversations(events(steps, end, **options))  # type: ignore[arg-type]
    return make(recorded, "a.pcapng", None, played)


def record(
    path: Path, client: Model, server: Model, deadline_s: float = 10, played: Side = Side.CLIENT
) -> list[Plan]:
    """Let two models meet, and make the plans of what they said."""
    run_pair(client, server, deadline_s, recording=through(str(path)))
    plans, problems = load(str(path), played)
    assert not problems
    return plans


def play(plan: Plan, server: Model, options: Options | None = None, deadline_s: float = 5) -> Result:
    """Replay the client's side at a model server."""
    with serving(server) as background:
        return play_at(plan, background.host, background.port, options, deadline_s)


def play_at(
    plan: Plan, host: str, port: int, options: Options | None = None, deadline_s: float = 5
) -> Result:
    """Replay the client's side at whatever listens there."""

    async def go() -> Result:
        target = await resolve(Target.parse(f"{host}:{port}"))
        return await Sockets(target).play(Player(plan, options), deadline_s)

    return asyncio.run(go())


def play_all(
    plans: Sequence[Plan], host: str, port: int, options: Options | None = None, deadline_s: float = 10
) -> list[Result]:
    """Replay a whole SPICE session."""
    [group] = sessions(list(plans))

    async def go() -> list[Result]:
        target = await resolve(Target.parse(f"{host}:{port}"))
        return await play_session(group, Sockets(target), options or Options(), deadline_s)

    return asyncio.run(go())


def told(result: Result) -> str:
    """All about a result, for the message of a failed assertion."""
    differences = [
        (d.message, d.field, d.expected, d.got, d.expected_bytes.hex(), d.got_bytes.hex())
        for d in result.differences
    ]
    return f"{result.outcome}: {result.reason} {differences} {result.notes} {result.adapted}"
