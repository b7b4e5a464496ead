# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written in a picture: safe, short, and in the field's own words."""

from __future__ import annotations

import struct

import pytest

from dissect.dissection.verdict import Detection
from dissect.stream import Side
from dissect.stream.records import Message
from dissect.timing import wording
from tests.dissection.conversations import (
    CLIENT_HELLO,
    ERROR_REPLY,
    FIN,
    GREETING,
    LINK_MESS,
    LINK_REPLY,
    MS,
    C,
    S,
    Step,
    run,
)
from tests.timing.paper import NASTY

SERVER_INIT = (
    struct.pack(">HHBBBBHHHBBB3xI", 640, 480, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0, 6) + b"QEMU \xff"
)
SESSION: list[Step] = [
    (S, GREETING, MS),
    (C, GREETING, 2 * MS),
    (S, b"\x02\x01\x02", 3 * MS),
    (C, b"\x01", 4 * MS),
    (S, bytes(4), 5 * MS),
    (C, b"\x01", 6 * MS),
    (S, SERVER_INIT, 7 * MS),
    (C, struct.pack(">BBHHHH", 3, 1, 0, 0, 640, 480), 8 * MS),
    (C, struct.pack(">BBHii", 2, 0, 2, 0, 16), 9 * MS),
    (C, struct.pack(">BBHI", 4, 1, 0, 0xFF0D), 10 * MS),
]


def described(steps: list[Step]) -> list[tuple[str, str]]:
    records = run(steps).records
    return [(wording.title(one), wording.detail(one)) for one in records if isinstance(one, Message)]


def test_a_vnc_handshake_in_words() -> None:
    assert described(SESSION) == [
        ("ProtocolVersion", "RFB 003.008"),
        ("ProtocolVersion", "RFB 003.008"),
        ("SecurityTypes", "None, VNC Authentication"),
        ("SecurityType", "None"),
        ("SecurityResult", "OK"),
        ("ClientInit", "shared"),
        ("ServerInit", "640×480, “QEMU \\xff”"),
        ("FramebufferUpdateRequest", "640×480, incremental"),
        ("SetEncodings", "Raw, ZRLE"),
        ("KeyEvent", "down flag 1, key 0xff0d"),
    ]


def test_a_spice_link_in_words() -> None:
    assert described([(C, LINK_MESS, MS), (S, LINK_REPLY, 2 * MS)]) == [
        ("SpiceLinkMess", "main channel"),
        ("SpiceLinkReply", "OK"),
    ]
    assert described([(C, b"RFB ", MS), (S, ERROR_REPLY, 2 * MS), (S, FIN, 3 * MS)]) == [
        ("ProtocolVersion", "“RFB ”, incomplete: 4 of 12 bytes"),
        ("SpiceLinkReply", "error 2 INVALID_MAGIC"),
    ]


def test_other_protocols_are_named_and_their_first_bytes_shown() -> None:
    steps: list[Step] = [(C, CLIENT_HELLO, MS), (S, b"SSH-2.0-x\r\n", 2 * MS)]
    assert described(steps) == [
        ("TLS bytes", "16 03 01 02 00 01 00 01 fc 03 03"),
        ("SSH bytes", "“SSH-2.0-x\\r\\n”"),
    ]


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (
            Detection(71_000, False, "error-reply", 4),
            "server noticed after 0.071 ms and 4 bytes: error reply",
        ),
        (Detection(MS, False, "reset", 1), "server noticed after 1 ms and 1 byte: reset"),
        (Detection(MS, False, "close", 9, True), "server: close after 1 ms and 9 bytes, the client had left"),
        (Detection(2_000 * MS, False, "close", 0), "server gave up after 2 s without a byte: close"),
        (Detection(10_000 * MS, True, None, 12), "server had not noticed after ≥ 10 s and 12 bytes"),
        (Detection(10_000 * MS, True, None, 0), "server had not reacted after ≥ 10 s without a byte"),
    ],
)
def test_a_detection_in_words(seen: Detection, text: str) -> None:
    assert wording.detection(Side.SERVER, seen) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain $x$ text", "plain $x$ text"),
        ("größer", "größer"),
        ("\x1b[31m\n", "\\x1b[31m\\n"),
        ("\u202eevil", "\\u202eevil"),
        ("שב", "\\u05e9\\u05d1"),
        ("e\u0301", "e\\u0301"),
        ("\ud800", "\\ud800"),
    ],
)
def test_text_from_a_capture_is_made_legible(text: str, shown: str) -> None:
    assert wording.legible(text) == shown


def test_long_and_nasty_text_stays_short_and_on_one_line() -> None:
    shown = wording.legible(NASTY * 1000)
    assert shown.isprintable()
    assert len(shown) < 10 * wording.LONGEST
    assert wording.legible("x" * 1_000_000) == "x" * (wording.LONGEST - 1) + "…"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (9_999, "9,999 bytes"), (212_345, "212 kB"), (1_040_000, "1.04 MB")],
)
def test_volumes(size: int, text: str) -> None:
    assert wording.volume(size) == text


def test_odd_segments_are_counted() -> None:
    conversation = run(SESSION).conversation
    assert wording.disorder(conversation) == []
    counters = conversation.counters
    counters.retransmitted, counters.late, counters.conflicting_bytes = 1, 1000, 2
    assert wording.disorder(conversation) == [
        "1 segment sent again",
        "1,000 segments too late",
        "2 bytes unlike their first copy",
    ]
