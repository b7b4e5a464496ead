# SPDX-License-Identifier: GPL-2.0-or-later
"""A capture again, packet by packet as it is, with comments on some of them.

pcapng is copied block by block: interfaces, their options, names, statistics, secrets and comments stay as
they are, and so does the byte order. pcap becomes pcapng with one interface, of the same link type and
resolution.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from dissect.capture.blocks import (
    INTERFACE,
    ISB_ENDTIME,
    MAX_BLOCK,
    OBSOLETE_PACKET,
    OPT_COMMENT,
    PACKET,
    SECTION,
    SECTION_MAGIC,
    SIMPLE_PACKET,
    STATISTICS,
    Interface,
    block,
    option_list,
    options_of,
    order_of,
    padded,
)
from dissect.capture.files import Capture
from dissect.capture.packed import MAGIC_SIZE, kind_of
from dissect.capture.pcap import FILE_HEADER, MAGICS
from dissect.capture.source import Source

MAX_COMMENT: Final = 4000
"""Bytes of one comment; what goes beyond is cut off."""


@dataclass(slots=True)
class Annotated:
    """What was written: packets, those with a comment of ours, comments; and comments without room.

    A simple packet block has no room for any.
    """

    packets: int = 0
    commented: int = 0
    comments: int = 0
    homeless: int = 0


Keep = Callable[[int], bool]


def annotate(
    source: BinaryIO,
    name: str,
    target: BinaryIO,
    comments: Mapping[int, Sequence[str]],
    keep: Keep | None = None,
    end_ns: int | None = None,
) -> Annotated:
    """Copy the capture in `source` (read from its beginning, compressed or not) to `target` as pcapng.

    comments: by the offset of a packet's record in the file, `Frame.offset`. keep: says by that offset which
    packets are copied; all by default. Copying ends where reading (`open_capture`) ends: at damage behind
    which nothing can be found. name: as for `open_capture`. end_ns: state at the end that the capture went on
    until then, for one that says so only by packets that are not copied.
    """
    found = Annotated()
    raw = Source(source)
    raw.need(MAGIC_SIZE)
    kind = kind_of(raw.buffer)
    if kind is not None:
        raw.unpack(kind)
        raw.need(4)
    if raw.buffer[:4] == SECTION_MAGIC:
        for made in _copied(raw, comments, keep, found, end_ns):
            target.write(made)
        return found
    raw.need(FILE_HEADER)
    head = raw.buffer[:FILE_HEADER]
    source.seek(0)
    for made in _made(head, Capture(source, name, owned=False), comments, keep, found, end_ns):
        target.write(made)
    return found


@dataclass(slots=True)
class _Section:
    """A section's byte order, and how its first interface tells the time."""

    order: str
    first: Interface | None = None


def _copied(
    source: Source,
    comments: Mapping[int, Sequence[str]],
    keep: Keep | None,
    found: Annotated,
    end_ns: int | None,
) -> Iterator[bytes]:
    """The blocks of a pcapng file."""
    section = _Section("<")
    while source.need(12):
        start, offset = source.position, source.offset
        if source.buffer[start : start + 4] == SECTION_MAGIC:
            new = order_of(source.buffer[start + 8 : start + 12])
            if new is None:
                break
            section = _Section(new)
        order = section.order
        kind, length = struct.unpack_from(order + "II", source.buffer, start)
        if length < 12 or length > MAX_BLOCK or length % 4 or not source.need(length):
            break
        body = source.buffer[source.position + 8 : source.position + length - 4]
        source.position += length
        if kind in (PACKET, OBSOLETE_PACKET, SIMPLE_PACKET):
            if keep is not None and not keep(offset):
                continue
            body = _with_comments(kind, order, body, comments.get(offset, ()), found)
        elif kind == SECTION:
            body = body[:8] + b"\xff" * 8 + body[16:]  # how long the section is, nobody knows any more
        elif kind == INTERFACE and section.first is None:
            section.first = Interface(0, 0, 0)
            for code, value in options_of(order, body, 8, len(body)):
                section.first.take(order, code, value)
        # The second length is written as the first one is: a reader would stop where they differ.
        yield block(kind, body, order)
    if end_ns is not None and section.first is not None:
        yield _ended(section.order, section.first, end_ns)


def _ended(order: str, interface: Interface, end_ns: int) -> bytes:
    """The block that says when capturing stopped, in the time of a section's first interface."""
    units = interface.units(end_ns)
    stamp = struct.pack(order + "II", units >> 32 & 0xFFFFFFFF, units & 0xFFFFFFFF)
    body = struct.pack(order + "I", 0) + stamp + struct.pack(order + "HH", ISB_ENDTIME, 8) + stamp + bytes(4)
    return block(STATISTICS, body, order)


def _with_comments(kind: int, order: str, body: bytes, comments: Sequence[str], found: Annotated) -> bytes:
    """The body of a packet's block with more comments, before the options that it has."""
    found.packets += 1
    if not comments:
        return body
    if kind == SIMPLE_PACKET:
        found.homeless += len(comments)
        return body
    (captured,) = struct.unpack_from(order + "I", body, 12)
    end = 20 + (captured + 3 & ~3)
    if end > len(body):
        found.homeless += len(comments)
        return body
    found.commented += 1
    found.comments += len(comments)
    added = b"".join(
        struct.pack(order + "HH", OPT_COMMENT, len(value)) + padded(value) for value in map(_cut, comments)
    )
    return body[:end] + added + (body[end:] or bytes(4))


def _cut(comment: str) -> bytes:
    data = comment.encode("utf-8", "backslashreplace")
    return (
        data
        if len(data) <= MAX_COMMENT
        else data[: MAX_COMMENT - 3].decode("utf-8", "ignore").encode() + b"..."
    )


def _made(
    head: bytes,
    capture: Capture,
    comments: Mapping[int, Sequence[str]],
    keep: Keep | None,
    found: Annotated,
    end_ns: int | None,
) -> Iterator[bytes]:
    """The blocks that a pcap file comes to."""
    order, scale, _ = MAGICS[head[:4]]
    snaplen, network = struct.unpack_from(order + "II", head, 16)
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    yield block(SECTION, section + option_list((4, b"firstbyte")))
    # The upper half of the link type: whether a frame check sequence is at the end of frames, and its words.
    check = bytes([(network >> 28) * 16]) if network & 0x0400_0000 and network >> 28 < 16 else b""
    resolution = b"\x09" if scale == 1 else b"\x06"
    interface = struct.pack("<HHI", network & 0xFFFF, 0, snaplen)
    yield block(INTERFACE, interface + option_list((9, resolution), (13, check)))
    for frame in capture:
        if keep is not None and not keep(frame.offset):
            continue
        units = frame.time_ns // scale
        body = struct.pack(
            "<IIIII", 0, units >> 32, units & 0xFFFFFFFF, len(frame.data), frame.length
        ) + padded(frame.data)  # fmt: skip
        yield block(PACKET, _with_comments(PACKET, "<", body, comments.get(frame.offset, ()), found))
    if end_ns is not None:
        yield _ended("<", Interface(0, 0, 0, scale=scale), end_ns)
