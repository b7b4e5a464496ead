# SPDX-License-Identifier: GPL-2.0-or-later
"""TightVNC's file transfers: every message of both, where the server has announced them, and only there."""

from __future__ import annotations

import pytest

from dissect.rfb import tightfiles
from dissect.stream import Side
from dissect.stream.layout import ProtocolPacket
from tests.rfb.examples import TIGHT_ROWS
from tests.rfb.test_messages import started
from tests.rfb.test_optional import announcing

SENT = [
    (side, data, cls)
    for cls, data, _ in TIGHT_ROWS
    for side in Side
    if cls in (*tightfiles.MESSAGES[side].values(), *tightfiles.CODED[side].values())
]


def test_every_code_has_its_message_on_one_side() -> None:
    for code, name in tightfiles.CODES.items():
        side = Side.SERVER if name.endswith("_REPLY") else Side.CLIENT
        assert code in tightfiles.CODED[side]
        assert code not in tightfiles.CODED[side.other]
    assert len(SENT) == sum(map(len, (*tightfiles.MESSAGES.values(), *tightfiles.CODED.values()))) + 2


@pytest.mark.parametrize(("side", "data", "cls"), SENT)
def test_each_is_read_where_it_was_announced(side: Side, data: bytes, cls: type[ProtocolPacket]) -> None:
    it = announcing(data[0], 0xFC000102)
    twice = data + data
    assert [line for byte in twice for line in it.say(side, bytes([byte]))] == [f"{side} {cls.title()}"] * 2
    assert it.over() == []
    it = started()
    told = it.say(side, data) + it.over()
    assert "does not exist" in told[0] or "neither was announced" in told[0]


def test_a_message_that_does_not_exist() -> None:
    it = announcing(0xFC000102)
    (told,) = it.client(b"\xfc\0\2\0")
    assert told.endswith("client message 0xfc000200 of TightVNC's file transfer does not exist")
