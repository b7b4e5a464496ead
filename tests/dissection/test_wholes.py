# SPDX-License-Identifier: GPL-2.0-or-later
"""A verdict that is said again of a conversation alike is the one that `judge` gives."""

from __future__ import annotations

import random
from itertools import product

from dissect.capture.conversations import Conversation, EndedBy, Summary, Summed
from dissect.dissection.dissector import Dissector
from dissect.dissection.verdict import judge
from dissect.dissection.wholes import Wholes
from dissect.stream.side import Side

HEADS = [
    b"",
    b"\x16\x03\x01\x02\x00\x01",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x17\x03\x03\x00\x02",
    b"\x16\x03\x01\xff\xff\x01 and more than is quoted",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\n\r\n",
    b"HTTP/1.1 403 Forbidden\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    b"SSH-2.0-a\r\n",
    b"SSH-1.99-another\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"+PONG\r\n",
]
ENDS: tuple[EndedBy, ...] = ("fin", "reset", "capture", "limit")


def told(number: int, client: bytes, server: bytes, ended_by: EndedBy) -> Summed:
    """A conversation whose sides begin with these heads, with times and addresses of its own."""
    dice = random.Random(number)
    start = dice.randrange(10**18)
    first = Side.SERVER if (server and dice.random() < 0.3) or not client else Side.CLIENT
    ends = f"10.0.0.{dice.randrange(256)}:{dice.randrange(65536)}", f"[::{number}]:443"
    conversation = Conversation(
        number, *ends, "syn", "", False, number, start, start + 10**9, start, start + 5
    )
    conversation.ended_by = conversation.ended_by or ended_by

    def side(head: bytes) -> Summary:
        if not head:
            return Summary(b"", 0, 0, 0, 0, 0, start + 800 if ended_by == "reset" else 0)
        at = start + dice.randrange(10, 500)
        closed = start + 700 if ended_by == "fin" else 0
        reset = start + 800 if ended_by == "reset" and dice.random() < 0.5 else 0
        return Summary(head, at, 1000, at + 100, dice.choice((0, len(head))), closed, reset)

    spoke = first if client or server else None
    return Summed(
        conversation, start + 900, ended_by in ("capture", "limit"), spoke, side(client), side(server)
    )


def test_what_is_said_again_is_what_would_be_found() -> None:
    wholes = Wholes()
    kinds = list(product(HEADS, HEADS, ENDS))
    seen = set()
    for number, (client, server, ended_by) in enumerate(kinds * 2):
        event = told(number, client, server, ended_by)
        found = wholes(event)
        assert found == judge(Dissector.of_whole(event))
        seen.add((found.verdict, found.client_spoke))
    assert {spoke for verdict, spoke in seen if verdict == "agreed"} == {"tls", "http", "websocket", "ssh"}
    assert {verdict for verdict, _ in seen} >= {"agreed", "wrong-protocol", "undecided"}
    assert wholes._known
