# SPDX-License-Identifier: GPL-2.0-or-later
"""Optional messages: numbers with more than one meaning, gii, the clipboard of many formats."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from dissect.rfb import clipboard, constants
from dissect.rfb.encodings import UNFRAMED, WALKERS
from dissect.rfb.optional import clash
from dissect.rfb.session import RfbSession
from dissect.stream import Side
from tests.rfb.examples import SERVER_INIT, rect, u16, u32, update
from tests.rfb.test_messages import started
from tests.stream.bombs import bomb
from tests.stream.talk import CLIENT, SERVER, Talk


def announcing(*codes: int) -> Talk:
    """A conversation past its handshake, whose Tight ServerInit announces these messages of the client."""
    it = Talk(RfbSession())
    it.server(b"RFB 003.007\n")
    it.client(b"RFB 003.007\n")
    it.server(b"\1\x10")
    it.client(b"\x10")
    it.server(u32(0), u32(0))
    it.client(b"\1")
    listed = b"".join(u32(code) + b"TGHTFTC_XXXX" for code in codes)
    it.server(SERVER_INIT, u16(0) + u16(len(codes)) + u16(0) + u16(0) + listed)
    return it


ULTRA, VMWARE = 0xFFFF8005 - (1 << 32), 0x574D5664


@pytest.mark.parametrize(
    ("number", "announced", "encodings", "why"),
    [
        (252, {252}, set(), "TightVNC's, as the server's capabilities say"),
        (252, set(), {ULTRA}, "UltraVNC's MonitorInfo, as the client's"),
        (252, set(), set(), "neither was announced"),
        (254, set(), {VMWARE}, "VMware's, as the client's encodings say"),
        (254, set(), {ULTRA}, "UltraVNC's SetMonitor, as the client's"),
        (254, set(), {ULTRA, VMWARE}, "nothing says which"),
        (254, set(), set(), "nothing says which"),
    ],
)
def test_clashes_are_resolved_by_evidence(
    number: int, announced: set[int], encodings: set[int], why: str
) -> None:
    assert why in clash(Side.CLIENT, number, announced=announced, encodings=encodings)


def test_the_evidence_comes_from_the_wire() -> None:
    it = started()
    it.client(b"\2\0" + u16(1) + u32(VMWARE))
    it.client(b"\xfe")
    assert "VMware's, as the client's encodings say" in it.over()[0]
    it = announcing(151, 252)
    it.client(b"\x97")
    assert "client message 151: a capability of the server whose layout is not known" in it.over()[0]
    it = announcing(151, 252)
    it.client(b"\xfc")
    assert "client message 252: TightVNC's, as the server's capabilities say" in it.over()[0]


@pytest.mark.parametrize("number", constants.APPLE_CLIENT_MESSAGES)
def test_what_is_said_to_an_apple_server_is_not_taken_for_ultravncs(number: int) -> None:
    it = Talk(RfbSession())
    it.server(b"RFB 003.889\n")
    it.client(b"RFB 003.889\n")
    it.server(b"\1\1")
    it.client(b"\1")
    it.server(u32(0))
    it.client(b"\1")
    it.server(SERVER_INIT)
    it.client(bytes([number]) + bytes(7))
    (told,) = it.over()
    assert f"client message {number} to a server of 3.889 is Apple's" in told


def test_a_number_that_was_not_announced_is_wrong() -> None:
    it = started()
    (told,) = it.client(b"\x82")
    assert told.endswith("client message type 130 does not exist")


def test_an_ext_view_size_is_no_desktop_name() -> None:
    it = started()
    assert it.server(update(rect(640, 480, -307), rect(0, 0, -307, u32(2) + b"me")), b"\2") == [
        "server FramebufferUpdate",
        "server Bell",
    ]


# --- encodings


@pytest.mark.parametrize("encoding", sorted(constants.ENCODINGS))
def test_every_registered_encoding_is_framed_or_says_why_not(encoding: int) -> None:
    if encoding in WALKERS:
        return
    it = started()
    it.server(update(rect(1, 1, encoding), rect(1, 1, 0, bytes(4))))
    (told,) = it.over()
    why = UNFRAMED.get(encoding, "is not framed, and a rectangle of it has no length that is known")
    assert (
        told
        == f"server NotDecoded (not decoded: encoding {encoding} ({constants.ENCODINGS[encoding]}) {why})"
    )


def test_what_comes_before_an_unframed_rectangle_is_kept() -> None:
    it = started()
    begin = update(rect(1, 1, 0, bytes(4)), rect(1, 1, 20), rect(1, 1, 0))
    (told,) = it.server(begin, b"more")
    assert told.startswith(
        "server FramebufferUpdate (not decoded after 1 of 3 rectangles: encoding 20 (H.264)"
    )
    assert it.last("FramebufferUpdate").size == 4 + 16
    assert len(it.last("FramebufferUpdate")["rectangles"]) == 1
    (rest,) = it.over()
    assert rest.startswith("server NotDecoded (not decoded: encoding 20 (H.264) is not framed")


# --- the clipboard


def cut(flags: int, data: bytes, number: int = 3) -> bytes:
    return bytes([number, 0, 0, 0]) + u32(-(4 + len(data))) + u32(flags) + data


@pytest.mark.parametrize(
    ("side", "number", "name"), [(SERVER, 3, "ServerCutText"), (CLIENT, 6, "ClientCutText")]
)
def test_the_extended_clipboard(side: Side, number: int, name: str) -> None:
    it = started()
    html = u32(5) + b"<b>x\0"
    provided = zlib.compress(u32(6) + "h€y\0".encode() + html)
    cases: list[tuple[bytes, dict[str, Any]]] = [
        (cut(1 << 24 | 3, u32(20) + u32(30), number), {"sizes": {"text": 20, "rtf": 30}}),
        (cut(1 << 25 | 1, b"", number), {"actions": ["request"], "formats": ["text"]}),
        (cut(1 << 27 | 5, b"", number), {"actions": ["notify"], "formats": ["text", "html"]}),
        (cut(1 << 28 | 5, provided, number), {"text": "h€y", "html": "5 bytes"}),
    ]
    for data, wanted in cases:
        assert it.say(side, data) == [f"{side} {name}"]
        shown = it.last(name).fields()["clipboard"]
        assert {key: shown[key] for key in wanted} == wanted
    assert it.over() == []


BOMB = bomb(128, u32(1 << 27))


@pytest.mark.parametrize(
    ("flags", "data", "why"),
    [
        (1 << 24 | 3, u32(20), "2 formats, but only 4 bytes of their sizes"),
        (1 << 28 | 1, b"not zlib", "clipboard data: Error -3"),
        (1 << 28 | 1, zlib.compress(u32(9) + b"abc"), "clipboard data ends within text"),
        (1 << 28 | 1, BOMB, f"more than the {clipboard.DATA_LIMIT} bytes that are inflated"),
    ],
)
def test_a_wrong_clipboard_is_told_and_the_rest_is_read(flags: int, data: bytes, why: str) -> None:
    it = started()
    told = it.server(cut(flags, data), b"\2")
    assert told[0] == "server ServerCutText"
    assert why in told[1]
    assert told[2] == "server Bell"
