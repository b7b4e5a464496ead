# SPDX-License-Identifier: GPL-2.0-or-later
"""FramebufferUpdate: every encoding that is framed, in every pixel format, and what is not framed."""

from __future__ import annotations

import tracemalloc

import pytest

from dissect.rfb import constants
from dissect.rfb.encodings import WALKERS
from dissect.rfb.session import RECTANGLES_SHOWN
from tests.rfb.examples import FORMAT_8, FORMAT_16, FORMAT_32, FORMS, rect, rectangles, u16, u32, update
from tests.rfb.test_messages import started
from tests.stream.talk import SERVER, Talk

FORMATS = {"32": (FORMAT_32, FORMS[32]), "16": (FORMAT_16, FORMS[16]), "8": (FORMAT_8, FORMS[8])}
CASES = [
    pytest.param(wire, data, id=f"{name} at {bits} bits")
    for bits, (wire, form) in FORMATS.items()
    for name, data in rectangles(form)
]


@pytest.mark.parametrize(("wire", "data"), CASES)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_rectangle_of_every_encoding_ends_where_it_ends(wire: bytes, data: bytes, size: int) -> None:
    it = started()
    it.client(b"\0\0\0\0" + wire)
    said = update(data, data) + b"\2"
    told = [line for at in range(0, len(said), size) for line in it.server(said[at : at + size])]
    assert told == ["server FramebufferUpdate", "server Bell"]
    shown = it.last("FramebufferUpdate")["rectangles"]
    assert [r["size"] for r in shown] == [len(data), len(data)]
    assert shown[0]["encoding_type_name"] == constants.ENCODINGS[shown[0]["encoding_type"]]
    assert it.over() == []


def test_every_framed_encoding_has_an_example() -> None:
    seen = {int.from_bytes(data[8:12], "big", signed=True) for _, data in rectangles(FORMS[32])}
    assert set(WALKERS) - seen == {-224, 0x574D5669}, "LastRect and Display Mode Change: below"


def test_last_rect_ends_an_update_of_unknown_count() -> None:
    it = started()
    said = update(rect(1, 1, 0, bytes(4)), rect(3, 3, 1, bytes(4)), rect(0, 0, -224), count=0xFFFF)
    assert it.server(said, b"\2") == ["server FramebufferUpdate", "server Bell"]
    assert len(it.last("FramebufferUpdate")["rectangles"]) == 3


def test_an_update_of_no_rectangles() -> None:
    it = started()
    assert it.server(update(), b"\2") == ["server FramebufferUpdate", "server Bell"]


def test_the_pixel_format_changes_in_mid_session() -> None:
    it = started()
    for wire, size in ((FORMAT_32, 4), (FORMAT_8, 1), (FORMAT_16, 2), (FORMAT_32, 4)):
        it.client(b"\0\0\0\0" + wire)
        assert it.server(update(rect(3, 2, 0, bytes(6 * size))), b"\2") == [
            "server FramebufferUpdate",
            "server Bell",
        ]
    assert it.over() == []


@pytest.mark.parametrize("bits", [0, 1, 15, 64])
def test_pixels_of_no_size_that_exists_are_wrong_and_the_rest_is_read(bits: int) -> None:
    it = started()
    (told, wrong) = it.client(b"\0\0\0\0" + bytes([bits]) + FORMAT_16[1:])
    assert told == "client SetPixelFormat"
    assert wrong.endswith(f"{bits} bits a pixel: there are 8, 16 and 32")
    assert it.server(update(rect(2, 2, 1, u16(0) + u16(0)))) == ["server FramebufferUpdate"]
    assert it.server(update(rect(2, 2, 0, bytes(16)))) == []
    assert f"the pixel format has {bits} bits a pixel" in it.over()[0]


def test_the_server_changes_the_format_within_an_update() -> None:
    it = started()
    change = rect(640, 480, 0x574D5669, FORMAT_16)
    said = update(rect(1, 1, 0, bytes(4)), change, rect(1, 1, 0, bytes(2)))
    assert it.server(said, b"\2") == ["server FramebufferUpdate", "server Bell"]
    assert it.server(update(rect(1, 1, 0, bytes(2))), b"\2") == ["server FramebufferUpdate", "server Bell"]


@pytest.mark.parametrize(
    ("depth", "maxima", "size"),
    [(24, (255, 255, 255), 3), (32, (255, 255, 255), 4), (24, (255, 255, 127), 4)],
)
def test_a_tight_pixel_has_three_bytes_only_where_all_three_colours_have_eight_bits(
    depth: int, maxima: tuple[int, int, int], size: int
) -> None:
    it = started()
    it.client(
        b"\0\0\0\0" + bytes([32, depth, 0, 1]) + b"".join(map(u16, maxima)) + bytes([16, 8, 0, 0, 0, 0])
    )
    assert it.server(update(rect(64, 64, 7, b"\x80" + bytes(size))), b"\2") == [
        "server FramebufferUpdate",
        "server Bell",
    ]


@pytest.mark.parametrize("encoding", [20, 22, 1011, 4711, -100000])
@pytest.mark.parametrize("inside", [False, True])
def test_an_encoding_that_is_not_framed_is_named(encoding: int, inside: bool) -> None:
    it = started()
    body = rect(1, 1, -314, u32(encoding)) if inside else rect(1, 1, encoding)
    assert it.server(update(body), b"what follows") == []
    name = constants.ENCODINGS.get(encoding, "unregistered")
    why = f"encoding {encoding} ({name}) is not framed, and a rectangle of it has no length that is known"
    assert it.over() == [f"server NotDecoded (not decoded: {why})"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (rect(9, 9, 7, b"\x40\3"), "Tight filter 3 does not exist"),
        (rect(9, 9, 7, b"\x40\1\0"), "a Tight palette has 2 to 256 colours, not 1"),
        (rect(9, 9, 7, b"\xb0"), "Tight compression-control 0xb0 is invalid"),
        (rect(9, 9, 7, b"\xf0"), "Tight compression-control 0xf0 is invalid"),
        (rect(9, 9, 0x574D5664, b"\2\0"), "VMware cursor type 2 does not exist"),
    ],
)
def test_what_an_encoding_forbids_is_a_violation_where_it_stands(body: bytes, why: str) -> None:
    it = started()
    (told,) = it.server(update(body), b"\2")
    at = 44 + 4 + (len(body) - 2 if "cursor" in why else len(body) - 1)
    assert told == f"server FramebufferUpdate wrong at {at}: {why}"


def test_rectangles_beyond_the_shown_ones_are_counted() -> None:
    it = started()
    it.server(update(*[rect(1, 1, 1, bytes(4))] * (RECTANGLES_SHOWN + 5)))
    fields = it.last("FramebufferUpdate").fields()
    assert len(fields["rectangles"]) == RECTANGLES_SHOWN
    assert fields["rectangles_not_shown"] == 5


HUGE = [
    ("65535 raw rectangles of 65535 x 65535", update(rect(65535, 65535, 0), count=65535)),
    ("RRE of 2^32 - 1 rectangles", update(rect(1, 1, 2, u32(-1) + bytes(8)))),
    ("ZRLE of 4 GiB", update(rect(64, 64, 16, u32(-1)))),
    ("a cursor of 65535 x 65535", update(rect(65535, 65535, -239))),
    ("H.264 of 4 GiB", update(rect(64, 64, 50, u32(-1) + u32(0)))),
    ("a name of 4 GiB", update(rect(0, 0, -307, u32(-1)))),
    ("a cut text of 2 GiB", b"\3\0\0\0" + u32((1 << 31) - 1)),
    ("an extended clipboard of 2 GiB", b"\3\0\0\0" + u32(1 << 31)),
    ("audio of 4 GiB", b"\xff\1\0\2" + u32(-1)),
]


@pytest.mark.parametrize("said", [pytest.param(said, id=name) for name, said in HUGE])
def test_no_length_takes_memory_before_its_bytes_are_there(said: bytes) -> None:
    it = started()
    tracemalloc.start()
    try:
        told = it.server(said)
        for _ in range(64):
            told += it.server(bytes(1024))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert len(told) == 1
    assert "limit of" in told[0]
    (rest,) = it.over()
    assert rest.startswith("server NotDecoded (not decoded: follows a violation")


def test_a_message_within_the_limit_costs_what_was_fed() -> None:
    """A hextile rectangle of 65535 x 65535 is lawful and endless; only its bytes may cost memory."""
    it = started()
    it.server(update(rect(65535, 65535, 5)))
    tracemalloc.start()
    try:
        for _ in range(32):
            assert it.server(bytes(1024)) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 32 * 1024
    assert it.over()[0].startswith("server FramebufferUpdate (not decoded: incomplete: 32784 of at least")


def test_the_same_for_an_update_in_one_byte_pieces() -> None:
    it: Talk = started()
    said = update(*[rect(1, 1, 1, bytes(4))] * 20)
    told = [line for byte in said for line in it.say(SERVER, bytes([byte]))]
    assert told == ["server FramebufferUpdate"]
    update_ = it.last("FramebufferUpdate")
    assert update_.last_ns - update_.first_ns == 1000 * (len(said) - 1)
