# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of the kernels by themselves, as Python and compiled; `test_swift` has what they do together."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from dissect.capture import kernels, machine, swift
from dissect.capture.conversations import Conversations
from tests.capture.test_swift import FIRSTS


@pytest.mark.parametrize("functions", [machine.plain, machine.functions], ids=["python", "compiled"])
def test_the_table_of_conversations(
    functions: Callable[[], machine.Functions], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots are found by their keys, in any order of coming and going, and in larger tables."""
    monkeypatch.setattr(swift, "SLOTS", 4)
    dice = random.Random(2)
    run = functions()
    table = swift.Swift(Conversations(), FIRSTS, run=run)
    known: dict[tuple[int, ...], int] = {}
    for _ in range(600):
        six = dice.random() < 0.3
        ports = dice.randrange(4) << 16 | dice.randrange(4) | six << 32
        key = [ports, dice.randrange(3), *[dice.randrange(2) for _ in range(8 if six else 2)]]
        key += [0] * (10 - len(key))
        slot = table._find(key)
        assert slot == known.get(tuple(key), -1)
        if slot < 0:
            known[tuple(key)] = table._insert(key)
            table._slots[known[tuple(key)], kernels.STATE] = kernels.AWAKE
        elif dice.random() < 0.5:
            run.remove(slot, table._state, table._slots, table._table, table._free)
            del known[tuple(key)]
    assert len(set(known.values())) == len(known)
    for one, other in pairwise(sorted(known.values())):
        assert one < other


def test_sequence_numbers_go_round() -> None:
    assert kernels.behind(5, 3) == 2
    assert kernels.behind(3, 5) == -2
    assert kernels.behind(1, 0xFFFFFFFF) == 2
    assert kernels.behind(0xFFFFFFFF, 1) == -2
    assert kernels.behind(0x80000000, 0) == -0x80000000
