# SPDX-License-Identifier: GPL-2.0-or-later
"""Pointers: where they may lead, what is read there, and what is said of those that may not."""

from __future__ import annotations

import tracemalloc

import pytest

from dissect.spice.channels import devices, display, main
from dissect.spice.channels.base import SpiceMessage
from dissect.spice.fields import Pointer
from dissect.spice.images import SpiceImage
from dissect.stream.layout import Malformed
from tests.spice.examples import (
    BITMAP_IMAGE,
    CACHED_IMAGE,
    DESTINATION,
    PALETTE,
    PAYLOADS,
    ROWS,
    bitmap,
    data,
    descriptor,
    draw_copy,
    draw_paletted,
    mask,
    pointing,
    rect,
    solid,
    u8,
    u16,
    u32,
    where,
    words,
)
from tests.spice.test_link import after

COPY = display.SpiceMsgDisplayDrawCopy
FIXED = len(draw_copy(b""))
"""Bytes of a DRAW_COPY before what it points to."""


def aimed(offset: int, rest: bytes = BITMAP_IMAGE) -> bytes:
    """A DRAW_COPY whose image is said to be at `offset`."""
    body = bytearray(draw_copy(rest))
    at = len(where())
    body[at : at + 4] = u32(offset)
    return bytes(body)


def wrong(body: bytes, cls: type[SpiceMessage] = COPY) -> tuple[str, int]:
    with pytest.raises(Malformed) as bad:
        cls.layout().decode(body)
    assert 0 <= bad.value.at <= len(body)
    return bad.value.why, bad.value.at


def test_a_pointer_is_the_offset_and_what_is_there() -> None:
    values, end = COPY.layout().decode(draw_copy(BITMAP_IMAGE))
    pointer = values["src_bitmap"]
    assert isinstance(pointer, Pointer)
    assert pointer == FIXED
    assert pointer.to["descriptor"]["type"] == 0
    assert pointer.to["bitmap"]["pixels"] == bytes(range(128))
    assert values["mask"]["bitmap"] == 0
    assert values["mask"]["bitmap"].to is None
    assert end == FIXED + len(BITMAP_IMAGE)


def test_it_is_shown_where_it_is_pointed_from() -> None:
    it = after(channel=2)
    told = it.server(data(304, draw_copy(BITMAP_IMAGE, CACHED_IMAGE)))
    assert told == ["server SPICE_MSG_DISPLAY_DRAW_COPY"]
    fields = it.last("SPICE_MSG_DISPLAY_DRAW_COPY").fields()
    assert fields["src_bitmap"]["offset"] == FIXED
    assert fields["src_bitmap"]["descriptor"]["type_name"] == "BITMAP"
    assert fields["src_bitmap"]["bitmap"]["palette"] is None
    assert fields["mask"]["bitmap"]["descriptor"]["type_name"] == "FROM_CACHE"
    assert fields["rop_descriptor_names"] == ["OP_PUT"]
    assert "pointed_to" not in fields
    assert it.over() == []


def test_text_and_numbers_that_are_pointed_to() -> None:
    values = devices.SpiceMsgPortInit.layout().decode(pointing(u32(3), None, u8(1), to=[b"p0\0"]))[0]
    assert devices.SpiceMsgPortInit.layout().describe(values) == {
        "name_size": 3,
        "port_name": "p0\0",
        "port_name_offset": 9,
        "opened": 1,
    }
    row = next(raw for cls, raw, _ in ROWS if cls is display.SpiceMsgDisplayDrawStroke)
    values = display.SpiceMsgDisplayDrawStroke.layout().decode(row)[0]
    assert values["attr"]["style"].to == {"style": [16, 16]}
    assert values["path"].to["segments"][0]["points"] == [{"x": 16, "y": 32}]


@pytest.mark.parametrize("kind", ["bitmap", "lz_plt"])
def test_a_palette_behind_its_image(kind: str) -> None:
    values, end = COPY.layout().decode(draw_paletted(kind))
    assert values["src_bitmap"].to[kind]["palette"].to["ents"] == [0, 0xFFFFFF]
    assert end == len(draw_paletted(kind))
    assert {name for name, _ in values.leads} == {"src_bitmap", "palette"}


@pytest.mark.parametrize("kind", sorted(PAYLOADS))
def test_every_kind_of_image(kind: str) -> None:
    values = COPY.layout().decode(draw_copy(PAYLOADS[kind]))[0]
    assert set(values["src_bitmap"].to) == {"descriptor", kind}


def test_two_pointers_to_one_image() -> None:
    parts = [where(), u32(FIXED), rect(0, 0, 4, 8), u16(8) + u8(0), mask(FIXED)]
    values = COPY.layout().decode(b"".join(parts) + BITMAP_IMAGE)[0]
    assert values["src_bitmap"].to is values["mask"]["bitmap"].to


# --- where they may not lead


@pytest.mark.parametrize("offset", [1, len(where()), FIXED - 1])
def test_backwards_or_to_itself(offset: int) -> None:
    why, _ = wrong(aimed(offset))
    assert why == f"src_bitmap points to byte {offset}, which is not behind what points there"


@pytest.mark.parametrize("offset", [FIXED + len(BITMAP_IMAGE), 1 << 31, (1 << 32) - 1])
def test_outside(offset: int) -> None:
    size = FIXED + len(BITMAP_IMAGE)
    assert wrong(aimed(offset)) == (f"src_bitmap points to byte {offset} of a body of {size} bytes", 0)


def test_bytes_that_nothing_points_to() -> None:
    assert wrong(aimed(FIXED + 2, b"??" + BITMAP_IMAGE)) == ("2 bytes that nothing points to", FIXED)


def test_bytes_behind_the_last() -> None:
    it = after(channel=2)
    told = it.server(data(304, draw_copy(BITMAP_IMAGE) + b"more"), data(102, b""))
    assert told[0] == "server SPICE_MSG_DISPLAY_DRAW_COPY"
    assert told[1].endswith("has 4 bytes after its body")
    assert it.over() == []


def test_overlapping() -> None:
    parts = [where(), u32(FIXED), rect(0, 0, 4, 8), u16(8) + u8(0), mask(FIXED + 20)]
    why, at = wrong(b"".join(parts) + descriptor(0) + bitmap() + bytes(60))
    assert at == FIXED + 20
    assert "SpiceImage at byte" in why
    assert "overlaps what is before it" in why


def test_two_kinds_at_one_place() -> None:
    row = pointing(where(), None, u8(8) + u8(1), u32(0), solid(), u16(8) + u16(8), to=[u32(0)])
    at = len(where()) + 6
    path = int.from_bytes(row[len(where()) : len(where()) + 4], "little")
    body = row[:at] + u32(path) + row[at + 4 :]
    why, _ = wrong(body, display.SpiceMsgDisplayDrawStroke)
    assert why == f"style points to byte {path}, which is something else"


def test_a_palette_that_is_its_own_image() -> None:
    start = descriptor(0) + u8(5) + u8(1) + words(8, 4, 8)
    for offset in (FIXED, FIXED + len(start)):
        why, at = wrong(draw_copy(start + u32(offset) + bytes(32)))
        assert "not behind what points there" in why
        assert at == FIXED


def test_a_structure_that_is_cut() -> None:
    why, at = wrong(draw_copy(BITMAP_IMAGE[:-5]))
    assert why == f"src_bitmap at byte {FIXED} needs {len(BITMAP_IMAGE)} bytes of {len(BITMAP_IMAGE) - 5}"
    assert at == FIXED


def test_none_where_one_is_needed() -> None:
    assert wrong(DESTINATION + u32(0) * 3, main.SpiceMsgMainMigrateBegin)[0] == "host_data points nowhere"


@pytest.mark.parametrize("size", [(1 << 31, 1 << 31), (0xFFFFFFFF, 0xFFFFFFFF), (1 << 16, 1 << 20)])
def test_an_image_of_any_size_takes_no_memory(size: tuple[int, int]) -> None:
    image = descriptor(0) + u8(8) + u8(4) + words(8, *size) + u32(0) + bytes(64)
    tracemalloc.start()
    try:
        why, _ = wrong(draw_copy(image))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert "is outside the limit of" in why


@pytest.mark.parametrize("count", [1 << 16, 0xFFFFFFFF])
def test_a_list_of_any_length_takes_no_memory(count: int) -> None:
    body = pointing(where(), None, u8(0), solid(), u16(8) + u16(8), to=[u32(count) + bytes(50)])
    tracemalloc.start()
    try:
        why, _ = wrong(body, display.SpiceMsgDisplayDrawStroke)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert "path" in why


def test_a_payload_shorter_than_its_header() -> None:
    why, _ = wrong(draw_copy(descriptor(101) + u32(3) + bytes(28)))
    assert "lz_data: -25 bytes is outside the limit" in why


def test_a_wrong_body_is_a_violation_of_that_message_only() -> None:
    it = after(channel=2)
    told = it.server(data(304, aimed(7)), data(304, draw_copy(BITMAP_IMAGE)))
    assert told[0] == told[2] == "server SPICE_MSG_DISPLAY_DRAW_COPY"
    assert "src_bitmap points to byte 7" in told[1]
    assert it.over() == []


def test_a_structure_by_itself_is_not_followed() -> None:
    plain = SpiceImage.layout().decode(draw_paletted()[FIXED : -len(PALETTE)])[0]
    assert not isinstance(plain["bitmap"]["palette"], Pointer)
