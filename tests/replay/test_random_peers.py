# SPDX-License-Identifier: GPL-2.0-or-later
"""Every bundled recording, either side of it, to a peer that answers as recorded, nearly so, or with noise.

Whatever comes, at whatever time and in whatever pieces: no exception, one outcome, a result that is JSON; and
only what was answered without a flaw may pass.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Literal

import pytest

from dissect.replay.outcome import Outcome
from dissect.replay.plan import Plan, load
from dissect.replay.player import Options, Pace, Player, Shape
from dissect.stream import Side

PCAPS = sorted((Path(__file__).parent.parent.parent / "pcaps").glob("*.pcapng"))
SHAPES = (Shape(), Shape("bytes"), Shape("coalesced"), Shape("split", (3, 5)))
TRIALS = 5
ANSWER_BYTES = 200_000
"""How much of a recorded answer is said again: the start of it is where the decisions are."""


def answer(plan: Plan, chance: random.Random) -> bytes:
    """What the peer will say: what was recorded, the same with a few bits wrong, or noise."""
    recorded = bytearray(b"".join(item.message.raw for item in plan.expected)[:ANSWER_BYTES])
    kind = chance.randrange(3)
    if kind == 0 or not recorded:
        return bytes(recorded)
    if kind == 1:
        return chance.randbytes(chance.randrange(1, 500))
    for _ in range(chance.randrange(1, 4)):
        recorded[chance.randrange(min(len(recorded), 400))] ^= 1 << chance.randrange(8)
    return bytes(recorded)


def meet(plan: Plan, chance: random.Random) -> Player | None:
    """Play `plan` to one such peer in simulated time; None where it cannot be played."""
    options = Options(pace=chance.choice(list(Pace)), password="x", shape=chance.choice(SHAPES))
    player = Player(plan, options, session_id=7)
    if player.why_not is not None:
        return None
    now = 0
    player.opened(now)
    data = answer(plan, chance)
    while data and not player.over:
        size = chance.randrange(1, 3000)
        now += chance.randrange(10_000_000)
        player.received(data[:size], now)
        data = data[size:]
        for _ in range(100):
            wake = player.wake_ns
            if wake is None or wake > now:
                break
            player.woken(now)
    if chance.random() < 0.5:
        how: Literal["close", "reset"] = chance.choice(("close", "reset"))
        player.ended(how, now)
    player.stopped("deadline", now + 1)
    return player


@pytest.mark.parametrize("played", list(Side))
def test_no_peer_can_break_a_player(played: Side) -> None:
    met = 0
    for path in PCAPS:
        for plan in load(str(path), played)[0][:4]:
            for trial in range(TRIALS):
                where = f"{path.name} {plan.index} {trial}"
                player = meet(plan, random.Random(where))
                if player is None:
                    continue
                met += 1
                assert player.over, where
                assert player.result.outcome in list(Outcome)
                json.dumps(player.result.to_json())
                if player.result.outcome is Outcome.PASS:
                    assert not player.result.differences, where
    assert met > 200
