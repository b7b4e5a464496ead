# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams inside messages: usbredir's packets and WebDAV's frames, plain and compressed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.spice import carried
from dissect.stream import Side
from tests.spice.examples import data, u8, u16, u32, u64, words
from tests.spice.test_link import after
from tests.stream.talk import CLIENT, SERVER, Talk

DATA, COMPRESSED = 101, 102
USBREDIR, PORT, WEBDAV = 9, 10, 11


def hello(*capabilities: int) -> bytes:
    bits = sum(1 << bit for bit in capabilities)
    return words(0, 68, 0) + b"program 1.0".ljust(64, b"\0") + u32(bits)


def shown(it: Talk, kind: str) -> list[dict[str, Any]]:
    return [unit for record in it.records for unit in record.fields().get(kind, [])]


@pytest.mark.parametrize("wide", [True, False])
def test_usbredir_numbers_have_64_bits_where_both_say_so(wide: bool) -> None:
    it = after(channel=USBREDIR)
    it.server(data(DATA, hello(carried.USBREDIR_64BIT_IDS)))
    it.client(data(DATA, hello(*([carried.USBREDIR_64BIT_IDS] if wide else []))))
    number = u64(7) if wide else u32(7)
    it.client(data(DATA, words(1, 3) + number + b"ab"), data(DATA, b"c" + words(2, 0) + number))
    names = [unit["name"] for unit in shown(it, "usbredir")]
    assert names == ["usb_redir_hello"] * 2 + ["usb_redir_device_connect", "usb_redir_device_disconnect"]
    assert [unit["id"] for unit in shown(it, "usbredir")[2:]] == [7, 7]
    assert shown(it, "usbredir")[0]["version"] == "program 1.0"
    assert it.over() == []


def test_usbredir_numbers_are_not_guessed_where_a_hello_was_lost() -> None:
    it = after(channel=USBREDIR)
    it.lose(SERVER, 100)
    it.client(data(DATA, hello(carried.USBREDIR_64BIT_IDS)), data(DATA, words(1, 3) + u64(7) + b"abc"))
    (only,) = it.records[-2].fields()["usbredir"]
    assert only["name"] == "usb_redir_hello"
    assert it.records[-1].fields()["usbredir"].startswith("not decoded: bytes were lost in which an end may")
    assert it.over() == []


def test_webdav_frames() -> None:
    it = after(channel=WEBDAV)
    it.client(data(DATA, u64(5) + u16(3) + b"G"), data(DATA, b"ET" + u64(5) + u16(0)))
    frames = shown(it, "webdav")
    assert [(f["client_id"], f["size"]) for f in frames] == [(5, 3), (5, 0)]
    assert frames[0]["frame_data"] == b"GET".hex()
    assert it.over() == []


def test_a_port_carries_anything() -> None:
    it = after(channel=PORT)
    assert it.server(data(DATA, b"any")) == ["server SPICE_MSG_SPICEVMC_DATA"]
    assert it.last("SPICE_MSG_SPICEVMC_DATA").fields()["carried"] == b"any".hex()


def test_an_unfinished_unit_says_how_much_of_it_came() -> None:
    it = after(channel=WEBDAV)
    it.client(data(DATA, u64(5)))
    assert it.last("SPICE_MSGC_SPICEVMC_DATA").fields()["webdav_pending"] == "8 bytes"
    it.client(data(DATA, u16(3) + b"G"))
    assert it.last("SPICE_MSGC_SPICEVMC_DATA").fields()["webdav_pending"] == "11 of 13 bytes"


def test_compressed() -> None:
    # 4 literals, then a match of 8 bytes, 4 back; then the last literal.
    block = u8(0x44) + b"abcd" + u16(4) + u8(0x10) + b"!"
    frame = u64(1) + u16(13)
    it = after(channel=WEBDAV)
    it.client(data(DATA, frame), data(COMPRESSED, u8(1) + u32(13) + block))
    assert shown(it, "webdav")[-1]["frame_data"] == b"abcdabcdabcd!".hex()
    it.client(data(COMPRESSED, u8(0) + u64(1) + u16(0)))
    assert shown(it, "webdav")[-1]["size"] == 0
    assert it.over() == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (u8(1) + u32(99) + u8(0x10) + b"!", "its LZ4 data is damaged: it has 1 bytes, not 99"),
        (u8(1) + u32(1 << 31) + u8(0x10) + b"!", "2147483648 bytes are over the limit"),
        (u8(7) + u32(3) + b"abc", "compression 7 is not defined"),
    ],
)
def test_compressed_wrongly(body: bytes, why: str) -> None:
    it = after(channel=USBREDIR)
    told = it.server(data(COMPRESSED, body))
    assert told[1].endswith(why)
    it.server(data(DATA, hello()))
    assert it.last("SPICE_MSG_SPICEVMC_DATA").fields()["usbredir"] == f"not decoded: {why}"
    assert it.over() == []


def test_a_hello_that_is_too_short() -> None:
    it = after(channel=USBREDIR)
    assert it.server(data(DATA, words(0, 3, 0) + b"abc"))[1].endswith("the hello of usbredir is too short")


def test_a_port_opened_again_begins_anew() -> None:
    it = after(channel=WEBDAV)
    it.server(data(DATA, u64(5)), data(202, u8(0)), data(DATA, u64(5) + u16(0)))
    assert len(shown(it, "webdav")) == 1


@given(st.lists(st.binary(max_size=9), max_size=5), st.data())
def test_units_whatever_the_pieces(units: list[bytes], draw: st.DataObject) -> None:
    stream = b"".join(u8(len(unit)) + unit for unit in units)
    inner, found, at = carried.Inner(), [], 0
    while at < len(stream):
        size = draw.draw(st.integers(1, 7))
        before = inner
        inner, more = inner.take(stream[at : at + size], lambda count: 1, lambda head: 1 + head[0])
        again, same = before.take(stream[at : at + size], lambda count: 1, lambda head: 1 + head[0])
        assert (again, same) == (inner, more)
        found += more
        at += size
    assert [unit.raw[1:] for unit in found] == units
    assert inner.count == len(units)
    assert inner.pending is None


def test_sides_are_both_there() -> None:
    assert {CLIENT, SERVER} == set(Side)
