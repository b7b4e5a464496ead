# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of the kernels by themselves, as Python and compiled; `test_swift` has what they do together."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from dissect.capture import kernels, machine, swift
from dissect.capture.conversations import Conversations
from dissect.dissection.dissector import error_by_head
from dissect.dissection.recognise import recognise_foreign
from dissect.stream.recognition import Yes
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


def test_a_head_is_recognised_by_its_beginning() -> None:
    """Where what is kept of two heads is the same, they are named alike, or neither is named."""
    methods = [
        b"GET",
        b"POST",
        b"HEAD",
        b"PUT",
        b"OPTIONS",
        b"DELETE",
        b"CONNECT",
        b"PATCH",
        b"CHEESE",
        b"HTTP",
        b"P",
    ]
    paths = [b" / HTTP/1.1", b" /a/b HTTP/1.0", b"X / HTTP/1.1", b"", b"  "]
    lines = [b"", b"Upgrade: WebSocket\r\n", b"Host: a\r\n", b"Host: a\r\nupgrade: xwebsocketx\r\n"]
    codes = [b"HTTP/1." + rest for rest in (b"1 200 OK", b"0 404 No", b"1 503", b"1", b"", b" 4", b"1  200")]
    starts = [method + path for method in methods for path in paths] + codes
    heads = [start + b"\r\n" + line + b"\r\n" for start in starts for line in lines]
    heads += [
        b"\x16\x03\x01\x02\x00" + bytes(9),
        b"\x15\x03\x03\x00\x02\x02",
        b"\x16\x03\x01\xff\xff" + bytes(9),
    ]
    heads += [b"SSH-2.0-a\r\n", b"SSH-1.99-another\r\n", b"SSX-1", b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"]
    known: dict[bytes, object] = {}
    kept = 0
    for head in heads:
        slots = np.zeros((1, kernels.COLUMNS), np.int64)
        buffer = np.frombuffer(b"xy" + head + b"websocket", np.uint8)
        kernels.beginning(FIRSTS[head[0]], 0, 1, 2, len(head), buffer, slots)
        assert not slots[0, kernels.BEGINS : kernels.BEGINS + 4].any()
        key = slots[0, kernels.BEGINS + 4 : kernels.BEGINS + 8].astype(">u4").tobytes()
        if not key[15]:
            continue
        kept += 1
        assert head.startswith(key[: key[15]])
        answer = recognise_foreign(head)
        said = (answer, error_by_head(answer.protocol, head)) if isinstance(answer, Yes) else None
        assert known.setdefault(key, said) == said
    assert len(known) < kept / 2
    assert 100 < kept < len(heads)
