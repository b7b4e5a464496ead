# SPDX-License-Identifier: GPL-2.0-or-later
"""After lost bytes: the way back into the stream is found, and nothing is made up on it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dissect.rfb import messages as m
from dissect.rfb import seek
from dissect.rfb.session import RfbSession
from dissect.stream.session import LocalProtocolError
from tests.benchmarks.damage import PCAPS, Damage, conversations, cut, damage, messages, normal_phase, play
from tests.rfb.examples import FORMAT_16, SERVER_INIT, rect, u16, u32, update
from tests.rfb.test_messages import started
from tests.stream.talk import CLIENT, SERVER, Talk

REQUEST = b"\3\1" + u16(0) + u16(0) + u16(4) + u16(3)
KEY = b"\4\1\0\0" + u32(0x61)
RAW = rect(2, 2, 0, bytes(range(16)))


def asked(*encodings: int) -> Talk:
    """A session (4 x 3 pixels) whose client has asked for these encodings."""
    it = started()
    it.client(b"\2\0" + u16(len(encodings)) + b"".join(map(u32, encodings)))
    return it


def test_the_next_update_is_found() -> None:
    it = asked(0, 5)
    assert it.lose(SERVER, 100) == ["server gap 100"]
    assert it.server(b"the end of something", update(RAW), b"\2") == [
        "server NotDecoded (not decoded: follows a gap of 100 bytes)",
        "server FramebufferUpdate",
        "server Bell",
    ]
    assert it.over() == []


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_pieces_change_nothing(size: int) -> None:
    it = asked(0, 5)
    it.lose(SERVER, 100)
    said = b"the end of something" + update(RAW) + update(RAW, rect(1, 1, 0, bytes(4))) + b"\2"
    told = [line for at in range(0, len(said), size) for line in it.server(said[at : at + size])]
    assert told[1:] == ["server FramebufferUpdate"] * 2 + ["server Bell"]
    assert it.over() == []


@pytest.mark.parametrize(
    "body",
    [
        rect(2, 2, 16, u32(1) + b"x"),  # nobody asked for ZRLE
        rect(4, 4, 0, bytes(64)),  # not on the screen
        rect(0, 0, 0),
    ],
)
def test_what_cannot_be_believed_is_not_read(body: bytes) -> None:
    it = asked(0, 5)
    it.lose(SERVER, 100)
    assert it.server(update(body)) == []
    assert it.over() == ["server NotDecoded (not decoded: follows a gap of 100 bytes)"]


def test_the_end_of_zlib_data_is_no_update_of_unknown_length() -> None:
    last = update(RAW, rect(0, 0, -224), count=0xFFFF)
    it = asked(0, 6, -224)
    it.lose(SERVER, 100)
    assert it.server(b"zlib data, then its end: " + last) == []
    it.over()
    it = asked(0, 6, -224)
    it.lose(SERVER, 100)
    it.server(b"zlib data")
    assert it.server(last)[-1] == "server FramebufferUpdate"


def test_a_client_is_found_again() -> None:
    it = asked(0)
    it.lose(CLIENT, 7)
    assert it.client(b"\0\0\1" + REQUEST + KEY + KEY) == [
        "client NotDecoded (not decoded: follows a gap of 7 bytes)",
        "client FramebufferUpdateRequest",
        "client KeyEvent",
        "client KeyEvent",
    ]
    assert it.server(update(RAW)) == ["server FramebufferUpdate"]
    assert "no SetPixelFormat in the 7 bytes" in it.last("FramebufferUpdate")["assumed"]
    assert it.client(b"\0\0\0\0" + FORMAT_16) == ["client SetPixelFormat"]
    it.server(update(rect(2, 2, 0, bytes(8))))
    assert "assumed" not in it.last("FramebufferUpdate").extra
    assert it.over() == []


def test_a_client_whose_messages_come_one_by_one_is_found_again() -> None:
    """As a person types: the first key alone is too little to be believed, and is kept until the second."""
    it = asked(0)
    it.lose(CLIENT, 7)
    assert it.client(KEY) == []
    assert it.client(KEY) == ["client KeyEvent"] * 2
    assert it.client(KEY) == ["client KeyEvent"]
    assert it.over() == []


FENCE = b"\xf8\0\0\0" + u32(0x80000003) + b"\2ab"
TEXT = b"\3\0\0\0" + u32(5) + b"caf\xe9\n"
CLIPBOARD = b"\3\0\0\0" + u32(-8) + u32(0x1F000001) + u32(0)


@pytest.mark.parametrize("said", [FENCE, TEXT, CLIPBOARD], ids=["fence", "text", "clipboard"])
def test_other_messages_of_the_server_are_believed_where_bytes_begin_to_arrive(said: bytes) -> None:
    it = asked(0)
    it.lose(SERVER, 7)
    it.server(b"the end of something")
    assert it.server(said + b"\2")[1:] == [
        f"server Server{'Fence' if said == FENCE else 'CutText'}",
        "server Bell",
    ]
    assert it.over() == []
    it = asked(0)
    it.lose(SERVER, 7)
    assert it.server(b"within something: " + said + b"\2") == []
    it.over()


@pytest.mark.parametrize(
    "said",
    [
        b"\xf8\0\0\0" + u32(0) + b"\0",  # no flag: three dark pixels
        b"\xf8\0\0\0" + u32(8) + b"\0",
        b"\xf8\0\0\0" + u32(1) + b"\x41",
        b"\3\0\0\0" + u32(3) + b"a\0b",
        b"\3\0\0\0" + u32(0),
        b"\3\0\0\0" + u32(-8) + u32(0x03000001) + u32(0),
    ],
)
def test_what_only_looks_like_one_is_not_read(said: bytes) -> None:
    it = asked(0)
    it.lose(SERVER, 7)
    it.server(b"the end of something")
    assert it.server(said + b"\2") == []
    it.over()


def test_common_encodings_are_believed_where_the_clients_may_be_lost() -> None:
    it = started()
    it.lose(SERVER, 7)
    assert it.server(update(rect(2, 2, 1, u16(0) + u16(0)))) == []  # it has asked for nothing
    it = started()
    it.lose(CLIENT, 30)
    assert it.server(update(rect(2, 2, 1, u16(0) + u16(0)))) == ["server FramebufferUpdate"]


def test_an_update_in_another_format_than_assumed_is_not_misread() -> None:
    it = asked(0)
    it.lose(CLIENT, 20)  # it was a SetPixelFormat, to 16 bits
    assert it.server(update(rect(2, 2, 0, bytes(range(8)))), update(rect(1, 1, 0, b"\1\2"))) == []
    (rest,) = it.over()
    assert "cannot be read (no SetPixelFormat in the 20 bytes of the client that were lost?)" in rest


def test_pointers_that_may_be_read_in_two_ways_are_not_read() -> None:
    """5, 0, then x and y: with x = 5 the chain could begin four bytes on as well."""
    it = asked(0)
    it.lose(CLIENT, 3)
    pointer = b"\5\0" + u16(0) + u16(2)
    shifted = b"\5\0\0\5\0\0"
    assert it.client(shifted * 8) == []
    it.over()
    it = asked(0)
    it.lose(CLIENT, 3)
    assert (
        it.client(b"\0", pointer * 8)
        == ["client NotDecoded (not decoded: follows a gap of 3 bytes)"] + ["client PointerEvent"] * 8
    )


def test_after_an_encoding_that_is_not_framed_the_next_update_is_read() -> None:
    it = asked(0, 20)
    it.server(update(rect(1, 1, 20)), b"what it holds")
    told = it.server(update(RAW))
    assert told[-1] == "server FramebufferUpdate"
    assert told[0].startswith("server NotDecoded (not decoded: encoding 20 (H.264) is not framed")
    assert it.over() == []


def test_after_a_violation_the_next_update_is_read() -> None:
    it = asked(0, 7)
    told = it.server(update(rect(2, 2, 7, b"\xf0")), b"more of it")
    assert "Tight compression-control 0xf0 is invalid" in told[0]
    assert it.server(update(RAW))[1:] == ["server FramebufferUpdate"]
    assert it.over() == []


def test_what_may_not_be_sent_leaves_no_trace() -> None:
    session = RfbSession(role=CLIENT)
    for side, data in (
        (SERVER, b"RFB 003.003\n"),
        (CLIENT, b"RFB 003.003\n"),
        (SERVER, u32(1)),
        (CLIENT, b"\1"),
        (SERVER, SERVER_INIT),
    ):
        session.feed(side, data, 0)
    with pytest.raises(LocalProtocolError):
        session.send(m.Bell(), 0)
    with pytest.raises(LocalProtocolError):
        session.send(m.XvpClientMessage(message_type=249), 0)
    assert not session.astray
    assert session.send(m.KeyEvent(key=0x61), 0)


def test_noise_is_never_read() -> None:
    random_ = random.Random(1)
    for _ in range(50):
        it = asked(0, 2, 5, 6, 7, 16, -223, -224, -239)
        for side in (SERVER, CLIENT):
            it.lose(side, 10)
            assert [line for line in it.say(side, random_.randbytes(20000)) if "NotDecoded" not in line] == []
        it.over()


RECORDINGS = [
    "xtightvncviewer--x11vnc",
    "xtigervncviewer--xtightvnc",
    "gvncviewer--qemu-vnc",
    "remote-viewer-vnc--xtigervnc",
]


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_lost_segment_of_a_real_session(name: str) -> None:
    """Any segment of the normal phase: most of the rest is read, and nothing that was not said."""
    said = cut(conversations(PCAPS / f"{name}.pcapng")[0])
    whole = messages(play(RfbSession, said))
    places = range(normal_phase(RfbSession, said), len(said))
    found = [damage(RfbSession, said, lost, whole) for lost in places]
    total = Damage(*(sum(values) for values in zip(*(vars(one).values() for one in found), strict=True)))
    assert (total.invented, total.violations) == (0, 0)
    assert total.recovered / total.remaining > 0.97


ANSWER = b"\xf8\0\0\0" + u32(3) + b"\2ab"


@pytest.mark.parametrize(
    ("client", "server", "known"),
    [
        (ANSWER + KEY, FENCE, True),
        (ANSWER + KEY, b"pixels" + FENCE, False),  # nothing began to arrive there
        (ANSWER + KEY, b"\xf8\0\0\0" + u32(0x80000003) + b"\2xy", False),
        (ANSWER + ANSWER, FENCE, False),  # either side could have said this
        (FENCE, ANSWER + ANSWER, False),
    ],
)
def test_a_client_that_answers_fences_is_known_in_mid_session(
    client: bytes, server: bytes, known: bool
) -> None:
    joined = seek.join(client, server, {0})
    assert (joined is not None) is known
    if joined is not None:
        assert joined.form.why_unknown is not None


def test_two_bytes_of_an_update_are_no_update() -> None:
    """The count of rectangles is not there yet."""
    client = b"\3\1" + u16(0) + u16(0) + u16(4) + u16(3) + KEY
    assert seek.join(client, update(RAW) + b"\0\0", {0}) is None


@pytest.mark.parametrize(
    "said",
    [
        update(*[rect(2, 2, 1, bytes(4))] * 60000, count=65535),  # never whole
        update(rect(2, 2, 6, u32(0xFFFFFFFF) + bytes(1 << 20))),  # 4 GiB are announced
    ],
    ids=["many rectangles", "a large one"],
)
def test_what_never_ends_is_not_looked_at_with_each_segment(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    walk = seek._update

    def counted(data: bytes, at: int, *rest: Any) -> int:
        looked.append(len(data))
        return walk(data, at, *rest)

    monkeypatch.setattr(seek, "_update", counted)
    it = asked(0, 1, 6)
    it.lose(SERVER, 100)
    for at in range(0, len(said), 1460):
        it.server(said[at : at + 1460])
    assert len(looked) < 200 < len(said) / 1460
    assert all("NotDecoded" in line for line in it.over())
