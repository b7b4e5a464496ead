# SPDX-License-Identifier: GPL-2.0-or-later
"""Comments are added, and nothing else changes: blocks, interfaces, options, resolutions, byte orders."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.capture import CaptureError, Frame, open_capture
from dissect.capture.annotate import MAX_COMMENT, Annotated, annotate
from tests.capture import build

PCAPS = sorted((Path(__file__).resolve().parents[2] / "pcaps").glob("*.pcapng"))
DATA = b"\x45" + bytes(60)
NOW = 1_485_352_991_000_000_123

Block = tuple[int, bytes]


def blocks(data: bytes, order: str = "<") -> Iterator[Block]:
    """The blocks of a section, as the format has them; any slip is an error."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(order + "II", data, at)
        assert length % 4 == 0
        assert struct.unpack_from(order + "I", data, at + length - 4)[0] == length
        yield kind, data[at + 8 : at + length - 4]
        at += length
    assert at == len(data)


def split(body: bytes, order: str = "<") -> tuple[bytes, list[tuple[int, bytes]]]:
    """A packet's block without its options, and those."""
    end = 20 + (struct.unpack_from(order + "I", body, 12)[0] + 3 & ~3)
    found, at = [], end
    while at < len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        if code == 0:
            assert at + 4 == len(body)
            break
        found.append((code, body[at + 4 : at + 4 + size]))
        at += 4 + (size + 3 & ~3)
    return body[:end], found


def frames(data: bytes) -> list[Frame]:
    return list(open_capture(io.BytesIO(data)))


def done(data: bytes, comments: dict[int, list[str]], **words: object) -> tuple[bytes, Annotated]:
    """The annotated file; comments are given by the number of a frame here."""
    try:
        offsets = {frame.number: frame.offset for frame in frames(data)}
    except CaptureError:
        offsets = {}
    out = io.BytesIO()
    by_offset = {offsets[number]: said for number, said in comments.items()}
    found = annotate(io.BytesIO(data), "x", out, by_offset, **words)  # type: ignore[arg-type]
    return out.getvalue(), found


@pytest.mark.parametrize("order", ["<", ">"])
def test_everything_else_is_copied(order: str) -> None:
    commented = build.options(order, (1, b"theirs"), (2, b"\0\0\0\1"))
    body = struct.pack(order + "IIIII", 1, 0, 9, 61, 61) + DATA + bytes(3) + commented
    secrets = build.block(10, struct.pack(order + "II", 0x4B53534C, 3) + b"key\0", order)
    data = (
        build.shb(order)
        + build.idb(order, 101, resolution=9, offset=5)
        + build.idb(order, 1, resolution=0x8A)
        + secrets
        + build.epb(77, DATA, order)
        + build.block(6, body, order)
        + build.epb(78, DATA, order, length=2000)
        + build.block(0x0BAD, b"whatever", order)
        + build.isb(99, order)
    )
    out, found = done(data, {2: ["ours", "more"], 3: ["x" * 9000]})
    assert (found.packets, found.commented, found.comments, found.homeless) == (3, 2, 3, 0)
    before, after = list(blocks(data, order)), list(blocks(out, order))
    assert [kind for kind, _ in after] == [kind for kind, _ in before]
    for (kind, old), (_, new) in zip(before, after, strict=True):
        if kind != 6:
            assert new == old
    packets = [
        (split(old, order), split(new, order))
        for (k, old), (_, new) in zip(before, after, strict=True)
        if k == 6
    ]
    assert all(old[0] == new[0] for old, new in packets)
    assert packets[0][1][1] == []
    assert packets[1][1][1] == [(1, b"ours"), (1, b"more"), (1, b"theirs"), (2, b"\0\0\0\1")]
    assert [(code, len(value)) for code, value in packets[2][1][1]] == [(1, MAX_COMMENT)]
    assert [(f.time_ns, f.data, f.length, f.linktype, f.interface) for f in frames(out)] == [
        (f.time_ns, f.data, f.length, f.linktype, f.interface) for f in frames(data)
    ]


def test_sections_with_a_length_and_of_both_byte_orders() -> None:
    first = build.idb("<") + build.epb(5, DATA)
    known = build.block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, len(first)))
    data = known + first + build.shb(">") + build.idb(">") + build.epb(6, DATA, ">")
    out, _ = done(data, {1: ["one"], 2: ["two"]})
    assert [frame.time_ns for frame in frames(out)] == [5_000, 6_000]
    assert struct.unpack_from("<q", out, 16)[0] == -1
    assert out.count(b"\x00\x01\x00\x03two\x00") == 1
    assert out.count(b"\x01\x00\x03\x00one\x00") == 1


def test_obsolete_packet_blocks_have_room_and_simple_ones_have_none() -> None:
    obsolete = build.block(2, struct.pack("<HHIIII", 0, 0xFFFF, 0, 7, 61, 61) + DATA)
    simple = build.block(3, struct.pack("<I", 61) + DATA)
    data = build.shb() + build.idb() + obsolete + simple
    out, found = done(data, {1: ["here"], 2: ["there"]})
    assert (found.packets, found.commented, found.homeless) == (2, 1, 1)
    assert b"here" in out
    assert out.endswith(simple)


@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compress", [False, True])
def test_pcap_becomes_pcapng(nano: bool, order: str, compress: bool) -> None:
    data = build.pcap([(NOW, DATA), (NOW + 999, DATA * 3)], order=order, nano=nano, linktype=113, snaplen=100)
    packed = gzip.compress(data) if compress else data
    out, found = done(packed, {2: ["häh"]})
    assert (found.packets, found.commented) == (2, 1)
    assert [(f.time_ns, f.data, f.length, f.linktype) for f in frames(out)] == [
        (f.time_ns, f.data, f.length, f.linktype) for f in frames(data)
    ]
    (_, section), (_, interface), _, (_, packet) = blocks(out)
    assert interface[:8] == struct.pack("<HHI", 113, 0, 100)
    assert (9, b"\x09" if nano else b"\x06") in split(bytes(20) + interface[8:])[1]
    assert split(packet)[1] == [(1, "häh".encode())]
    assert b"firstbyte" in section


def test_a_frame_check_sequence_is_said_again() -> None:
    data = bytearray(build.pcap([(NOW, DATA)], linktype=1))
    data[20:24] = struct.pack("<I", 1 | 0x2400_0000)  # two words of 16 bits
    out, _ = done(bytes(data), {})
    _, (_, interface), _ = blocks(out)
    assert (13, b"\x20") in split(bytes(20) + interface[8:])[1]


def test_only_some_packets() -> None:
    data = build.shb() + build.idb() + b"".join(build.epb(n, DATA) for n in range(5))
    wanted = {frame.offset for frame in frames(data)[1:3]}
    out, found = done(data, {}, keep=wanted.__contains__)
    assert [frame.time_ns for frame in frames(out)] == [1_000, 2_000]
    assert found.packets == 2


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_file_gives_what_reading_it_gives(data: st.DataObject) -> None:
    whole = bytearray(
        build.shb() + build.idb(resolution=9) + b"".join(build.epb(n, DATA) for n in range(4)) + build.isb(9)
    )
    at = data.draw(st.integers(28, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at] ^= data.draw(st.integers(1, 255))
    before = [(frame.time_ns, frame.data) for frame in frames(bytes(whole))]
    out, _ = done(bytes(whole), {1: ["x"]} if before else {})
    after = [(frame.time_ns, frame.data) for frame in frames(out)]
    # What a reader refuses of a packet stays refused, but for two lengths that differ: those are made good.
    assert [one for one in after if one in before] == before


@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.stem)
def test_recordings_without_a_comment_stay_as_they_are(path: Path) -> None:
    data = path.read_bytes()
    out, found = done(data, {})
    assert out == data
    assert found.packets == len(frames(data))
