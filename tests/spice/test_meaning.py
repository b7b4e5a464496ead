# SPDX-License-Identifier: GPL-2.0-or-later
"""What messages mean by those before them, and what capabilities allow: each with and without."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.spice import constants, meaning
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from tests.spice.examples import (
    BITMAP_IMAGE,
    CACHED_IMAGE,
    PAYLOADS,
    bitmap,
    clip,
    data,
    descriptor,
    draw_copy,
    draw_paletted,
    example_of,
    linked,
    rect,
    u8,
    u16,
    u32,
    u64,
    words,
)
from tests.spice.test_link import session
from tests.stream.talk import Talk

ALL = 0xFFFFFFFF


def announced(channel: int, *, client: int = ALL, server: int = ALL) -> Talk:
    """A link whose sides announced these channel capabilities."""
    it = Talk(SpiceSession())
    for side, what in linked(channel, client=client, server=server):
        assert isinstance(what, bytes)
        it.say(side, what)
    return it


# --- capabilities


def places() -> list[tuple[int, Side, int, str, int]]:
    found = [
        (channel, side, number, name, constants.NEEDS[name])
        for channel, sides in constants.MESSAGES.items()
        for side, numbers in sides.items()
        for number, name in numbers.items()
        if name in constants.NEEDS
    ]
    assert {name for _, _, _, name, _ in found} == set(constants.NEEDS)
    return found


@pytest.mark.parametrize(("channel", "side", "number", "name", "capability"), places())
@pytest.mark.parametrize("has", [True, False])
def test_a_message_that_needs_a_capability(
    channel: int, side: Side, number: int, name: str, capability: int, has: bool
) -> None:
    bits = ALL if has else ALL & ~(1 << capability)
    it = (
        announced(channel, client=bits, server=ALL)
        if side is Side.SERVER
        else announced(channel, server=bits)
    )
    body = example_of(channel, side, number)
    assert body is not None
    told = it.say(side, data(number, body))
    word = constants.CHANNEL_CAPABILITIES[channel][capability]
    why = f"needs the capability {word}, which the {side.other} did not announce"
    assert told[0] == f"{side} {name}"
    assert [line.split(": ")[1] for line in told[1:]] == ([] if has else [why])
    assert it.over() == []


def stream(codec: int) -> bytes:
    return data(
        122,
        words(0, 7) + u8(0) + u8(codec) + u64(1) + words(64, 48, 64, 48) + rect(0, 0, 48, 64) + clip(),
    )


@pytest.mark.parametrize(
    ("codec", "client", "missing"),
    [
        (1, 0, None),
        (3, 0, "MULTI_CODEC"),
        (3, 1 << 8, "CODEC_H264"),
        (3, 1 << 8 | 1 << 11, None),
        (4, 1 << 8 | 1 << 11, "CODEC_VP9"),
        (1, 1 << 8, "CODEC_MJPEG"),
        (1, 1 << 8 | 1 << 9, None),
    ],
)
def test_codecs(codec: int, client: int, missing: str | None) -> None:
    told = announced(2, client=client).server(stream(codec))
    assert len(told) == (1 if missing is None else 2)
    assert missing is None or f"needs the capability {missing}," in told[1]


@pytest.mark.parametrize("has", [True, False])
def test_lz4_images(has: bool) -> None:
    told = announced(2, client=ALL if has else 0).server(data(304, draw_copy(PAYLOADS["lz4"])))
    assert ["LZ4_COMPRESSION" in line for line in told] == ([False] if has else [False, True])


@pytest.mark.parametrize("has", [True, False])
def test_surfaces_of_alpha_only(has: bool) -> None:
    told = announced(2, client=ALL if has else 0).server(data(314, words(1, 8, 8, 8, 0)))
    assert ["A8_SURFACE" in line for line in told] == ([False] if has else [False, True])


@pytest.mark.parametrize(("channel", "side", "number"), [(5, Side.SERVER, 102), (6, Side.CLIENT, 102)])
@pytest.mark.parametrize(("mode", "word"), [(1, None), (2, "CELT_0_5_1"), (3, "OPUS")])
def test_how_sound_may_be_coded(channel: int, side: Side, number: int, mode: int, word: str | None) -> None:
    said = data(number, u32(5) + u16(mode))
    bits = [bit for bit, name in constants.CHANNEL_CAPABILITIES[channel].items() if name == word]
    for has in (True, False):
        receiver = sum(1 << bit for bit in bits) if has else 0
        server, client = (ALL, receiver) if side is Side.SERVER else (receiver, ALL)
        told = announced(channel, client=client, server=server).say(side, said)
        assert [f"needs the capability {word}," in line for line in told[1:]] == [True] * (
            word is not None and not has
        )


# --- caches


def cached(it: Talk) -> list[dict[str, Any]]:
    found = it.last("SPICE_MSG_DISPLAY_DRAW_COPY").fields().get("from_cache", [])
    assert isinstance(found, list)
    return found


def test_an_image_from_the_cache_is_where_it_was_sent() -> None:
    it = announced(2)
    it.server(data(304, draw_copy(descriptor(0, 1) + bitmap())))
    brought = it.last("SPICE_MSG_DISPLAY_DRAW_COPY").offset
    it.server(data(304, draw_copy(CACHED_IMAGE)))
    assert cached(it) == [{"id": 0xABCD, "sent_at": brought}]
    it.server(data(105, u16(1) + u8(1) + u64(0xABCD)), data(304, draw_copy(CACHED_IMAGE)))
    assert cached(it) == [{"id": 0xABCD, "sent_at": None}]
    assert it.over() == []


def test_an_image_that_is_not_to_be_kept_is_not() -> None:
    it = announced(2)
    it.server(data(304, draw_copy(BITMAP_IMAGE)), data(304, draw_copy(CACHED_IMAGE)))
    assert cached(it) == [{"id": 0xABCD, "sent_at": None}]


@pytest.mark.parametrize("said", [data(106, u8(0)), data(105, u16(1) + u8(1) + u64(0xABCD))])
def test_images_are_forgotten(said: bytes) -> None:
    it = announced(2)
    it.server(data(304, draw_copy(descriptor(0, 1) + bitmap())))
    assert list(session(it).memory.images) == [0xABCD]
    it.server(said)
    assert not session(it).memory.images


def test_a_palette_from_the_cache() -> None:
    it = announced(2)
    it.server(data(304, draw_paletted()))
    brought = it.last("SPICE_MSG_DISPLAY_DRAW_COPY").offset
    again = draw_copy(descriptor(0) + bitmap(u64(77), flags=2))
    it.server(data(304, again))
    fields = it.last("SPICE_MSG_DISPLAY_DRAW_COPY").fields()
    assert fields["palettes_from_cache"] == [{"id": 77, "sent_at": brought}]
    it.server(data(107, u64(77)), data(304, again))
    fields = it.last("SPICE_MSG_DISPLAY_DRAW_COPY").fields()
    assert fields["palettes_from_cache"] == [{"id": 77, "sent_at": None}]
    it.server(data(304, draw_paletted()), data(108, b""))
    assert not session(it).memory.palettes


def test_what_is_remembered_has_a_limit() -> None:
    known: dict[int, int] = {}
    for number in range(meaning.REMEMBERED + 10):
        meaning.remember(known, number, number)
    assert len(known) == meaning.REMEMBERED
    assert next(iter(known)) == 10


def test_an_image_type_that_nobody_defined() -> None:
    told = announced(2).server(data(304, draw_copy(descriptor(50))))
    assert told[1].endswith("image type 50 is not defined")


# --- streams and sound


@pytest.mark.parametrize("number", [123, 316])
def test_a_frame_says_its_codec(number: int) -> None:
    it = announced(2)
    frame = data(
        number, words(7, 99) + (b"" if number == 123 else words(1, 1) + rect(0, 0, 1, 1)) + u32(1) + b"x"
    )
    name = constants.MESSAGES[2][Side.SERVER][number]
    it.server(frame)
    assert it.last(name).fields()["codec_name"] is None
    it.server(stream(3), frame)
    assert it.last(name).fields()["codec_name"] == "H264"
    it.server(data(125, u32(7)), frame)
    assert it.last(name).fields()["codec_name"] is None
    it.server(stream(3), data(126, b""), frame)
    assert it.last(name).fields()["codec_name"] is None


def test_sound_says_how_it_is_coded() -> None:
    it = announced(5)
    it.server(data(101, u32(1) + b"x"))
    assert it.last("SPICE_MSG_PLAYBACK_DATA").fields()["mode_name"] is None
    it.server(data(102, u32(1) + u16(3)), data(101, u32(1) + b"x"))
    assert it.last("SPICE_MSG_PLAYBACK_DATA").fields()["mode_name"] == "OPUS"
    it = announced(6)
    it.client(data(102, u32(1) + u16(1)), data(101, u32(1) + b"x"))
    assert it.last("SPICE_MSGC_RECORD_DATA").fields()["mode_name"] == "RAW"
