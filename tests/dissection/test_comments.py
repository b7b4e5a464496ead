# SPDX-License-Identifier: GPL-2.0-or-later
"""Each comment is of the conversation whose packet it is on; what is on no such packet is told apart."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from dissect.capture import open_capture, read, synthesise
from dissect.capture.link import ACK, SYN
from dissect.dissection.comments import Comments
from dissect.dissection.reading import dissect
from tests.capture.build import block, options, shb
from tests.capture.test_link import MACS

ENDS = ("10.0.0.1", 40000, "10.0.0.2", 5900)
BACK = (*ENDS[2:], *ENDS[:2])


def packet(time: int, data: bytes, *comments: bytes) -> bytes:
    head = struct.pack("<IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data + bytes(-len(data) % 4) + options("<", *((1, one) for one in comments)))


def vxlan(inner: bytes) -> bytes:
    datagram = b"\x12\x34\x12\xb5" + struct.pack(">HH", 16 + len(MACS) + 2 + len(inner), 0)
    datagram += b"\x08\0\0\0\0\0\x07\0" + MACS + b"\x08\x00" + inner
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0)
    return head + bytes([192, 0, 2, 1, 192, 0, 2, 2]) + datagram


def test_whose_comment_it_is(tmp_path: Path) -> None:
    other = ("10.0.0.3", 40000, "10.0.0.2", 5900)
    tunnelled = ("10.1.0.1", 1, "10.1.0.2", 2)
    data = shb() + block(1, struct.pack("<HHI", 101, 0, 0) + options("<", (2, b"tap0"), (1, b"a card")))
    data += packet(1, synthesise(*ENDS, 1, 0, SYN), b"first", b"and second")
    data += packet(2, synthesise(*other, 1, 0, SYN), b"of the other")
    data += packet(3, synthesise(*BACK, 1, 2, SYN | ACK), b"of the server")
    data += packet(4, vxlan(synthesise(*tunnelled, 1, 0, SYN, b"x" * 400)), b"in a tunnel")
    data += packet(5, b"\x45", b"of nothing")
    data += packet(6, synthesise(*ENDS, 1, 0, 4))
    data += packet(7, synthesise(*ENDS, 999, 0, SYN), b"the same ports again")
    with open_capture(io.BytesIO(data), "x") as capture:
        capture.notes.packets = True
        comments = Comments(capture.notes)
        found = {one.conversation.index: comments.of(one) for one in dissect(read(capture))}
    words = {
        index: [(said.comment.text, str(said.side), said.comment.frame) for said in some]
        for index, some in found.items()
    }
    assert words == {
        0: [("first", "client", 1), ("and second", "client", 1), ("of the server", "server", 3)],
        1: [("of the other", "client", 2)],
        2: [("in a tunnel", "client", 4)],
        3: [("the same ports again", "client", 7)],
    }
    assert [comment.text for comment in comments.general()] == ["a card"]
    assert [comment.text for comment in comments.left()] == ["of nothing"]
    assert found[0][2].to_json() == {
        "about": "packet 3", "text": "of the server", "side": "server", "time_ns": 3000
    }  # fmt: skip
