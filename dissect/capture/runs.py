# SPDX-License-Identifier: GPL-2.0-or-later
"""Segments that go on where the one before them ended, taken together without numpy.

Most packets of a session with pictures are full segments of one sender, each next to the one before, with an
empty acknowledgement of the other side between them now and then. `Runs.follow` looks at the records behind
such a segment and takes them as one `Stretch`, at a microsecond or two each.

There is one description of TCP, and it is not here: what is taken is what `Conversations.push_many` says is
next and nothing else, and the first record that is any different (another link layer or address, an option
of IP, a fragment, another flag or ACK number, bytes out of order or captured in part) is left to the
ordinary way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeAlias

from dissect.capture.conversations import Conversations, Stretch
from dissect.capture.files import Capture, Frame, Layout
from dissect.capture.link import ACK, PSH, Segment
from dissect.capture.media import LINK_HEADERS
from dissect.stream.arrivals import Pieces

LEAST: Final = 2
"""Segments; fewer are not worth being taken together."""

FEW: Final = 4
"""Records that are alike; fewer are taken one by one."""

PAUSE: Final = 64
"""Segments that go the ordinary way after a run that could not be taken, so that none is looked at often."""

MOST_BYTES: Final = 1 << 20
"""Bytes of a run, after which it is handed on."""

_EPB: Final = 6
MASK: Final = 0xFFFFFFFF
HALF: Final = 0x7FFFFFFF
_MORE_OR_OFFSET: Final = 0x3FFF
_TCP: Final = 6
PLAIN: Final = {ACK, ACK | PSH}
_PLAIN_FLAGS: Final = bytes(PLAIN)

_BLOCK: Final = struct.Struct("<6I")
# Of IP: version, length, flags and offset (of IPv4), protocol, addresses; of TCP: ports as one number, ...
_FOUR: Final = struct.Struct(">BxHxxHxBxx8sIIIBB")
_SIX: Final = struct.Struct(">BxxxHBx32sIIIBB")


@dataclass(slots=True)
class _Found:
    """A run: its bytes in pieces, how many records it is, where the next one begins in the buffer.

    acked: what the other side acknowledged in the meantime; None where it said nothing.
    """

    data: bytes
    pieces: Pieces
    first: Segment
    records: int
    acked: int | None
    position: int


class Runs:
    """Takes runs into `conversations`."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._pause = 0

    def follow(self, capture: Capture, frame: Frame, segment: Segment) -> Stretch | None:
        """What follows a segment that was just taken, of its sender; None where nothing could be taken.

        frame: that which the segment came in. `capture` goes on behind what is taken.
        """
        if self._pause:
            self._pause -= 1
            return None
        found = _scan(capture, frame, segment)
        if found is None:
            return None
        stretch = self._conversations.push_many(
            found.first, found.data, found.pieces, found.records, found.acked
        )
        if stretch is None:
            self._pause = PAUSE
            return None
        times = found.pieces.times
        capture.took(found.records, found.position, min(times), max(times))
        return stretch


class Wanted:
    """What the packets of one connection look like, where they are of the common form."""

    __slots__ = ("_addresses", "_four", "_kind", "_least", "_link", "_unpack", "ip", "kind", "known")

    def __init__(self, frame: Frame, segment: Segment, link: tuple[int, int | None]) -> None:
        self._link, where = link
        self._four = len(segment.src) == 4
        form, self.ip = (_FOUR, 20) if self._four else (_SIX, 40)
        self._unpack, self._least = form.unpack_from, self._link + form.size
        forth = segment.src + segment.dst, segment.sport << 16 | segment.dport
        back = segment.dst + segment.src, segment.dport << 16 | segment.sport
        self._addresses = {forth: True, back: False}
        # What the link layer says of what is in it, it says of all; it may say nothing.
        self.kind = (0, self._link) if where is None else (where, 2)
        self._kind = frame.data[self.kind[0] : sum(self.kind)]
        data = frame.data
        # Else it came in a tunnel, or in several frames.
        self.known = len(data) >= self._least and self._unpack(data, self._link)[-6:-4] == forth

    def read(self, buffer: bytes, start: int, captured: int) -> tuple[bool, int, int, int, int, int] | None:
        """Of a frame: whether it is of the segment's sender, its numbers of TCP and flags, and where in the
        buffer its bytes begin and end; None where it is anything else.
        """
        at, size = self.kind
        if captured < self._least or buffer[start + at : start + at + size] != self._kind:
            return None
        start += self._link
        head = self._unpack(buffer, start)
        addresses, ports, seq, ack, offset, flags = head[-6:]
        if self._four:
            version, length, fragment, protocol = head[:4]
            if version != 0x45 or fragment & _MORE_OR_OFFSET:
                return None
        else:
            version, length, protocol = head[:3]
            length += 40
            if version >> 4 != 6:
                return None
        header = self.ip + (offset >> 4 << 2)
        if protocol != _TCP or offset < 0x50 or length < header or captured < self._link + length:
            return None
        forth = self._addresses.get((addresses, ports))
        return None if forth is None else (forth, seq, ack, flags, start + header, start + length)

    @classmethod
    def behind(cls, capture: Capture, frame: Frame, segment: Segment) -> tuple[Wanted, Layout] | None:
        """What packets like that of a segment look like, and the buffer in which more may follow it; None
        where they have to be taken one by one. frame: that which the segment came in.
        """
        link = LINK_HEADERS.get(frame.linktype)
        # Comments of packets are kept as the packets come.
        if link is None or segment.network or capture.notes.packets:
            return None
        layout = capture.layout()
        if layout is None:
            return None
        wanted = cls(frame, segment, link)
        return (wanted, layout) if wanted.known else None

    def packet(self, start: int) -> int:
        """Where the IP header of a frame begins."""
        return start + self._link


def _scan(capture: Capture, frame: Frame, segment: Segment) -> _Found | None:
    """The run that follows a segment, as far as it is in the buffer."""
    found = Wanted.behind(capture, frame, segment)
    if found is None:
        return None
    wanted, layout = found
    buffer, at = layout.buffer, layout.position
    view = memoryview(buffer)
    parts: list[memoryview] = []
    ends: list[int] = []
    times: list[int] = []
    total = records = taken = position = before = 0
    first_seq = next_seq = (segment.seq + len(segment.payload)) & MASK
    acked: int | None = None
    heard: int | None = None
    length_at = 4 if layout.form == 2 else 8
    walking = walk(layout, frame.linktype, at)
    while total < MOST_BYTES:
        start, captured, time_ns, after = next(walking, (0, 0, 0, 0))
        read = wanted.read(buffer, start, captured)
        if read is None:
            break
        forth, seq, ack, flags, begin, end = read
        records += 1
        if begin == end:
            # An empty one must be the other side's, and acknowledge no more than there was.
            if forth or (seq, flags) != (segment.ack, ACK) or (next_seq - ack) & MASK > HALF:
                break
            heard = ack
        else:
            if not forth or (seq, ack) != (next_seq, segment.ack) or flags not in PLAIN:
                break
            size, step = end - begin, after - at
            parts.append(view[begin:end])
            times.append(time_ns)
            # After two records of one size there may be many.
            alike: list[int] = []
            length, far = at + length_at, at + length_at + FEW * step
            if step == before and buffer[length : length + 4] == buffer[far : far + 4]:
                alike = _alike(layout, at, step, wanted.packet(start) - at, wanted, seq, size)
            count = 1 + len(alike)
            if alike:
                parts += [view[one : one + size] for one in range(begin + step, begin + count * step, step)]
                times += alike
                records += count - 1
                after = at + count * step
                walking = walk(layout, frame.linktype, after)
            ends += range(total + size, total + count * size + 1, size)
            total += count * size
            next_seq = (seq + count * size) & MASK
            taken, position, before, acked = records, after, step, heard
        at = after
    if len(parts) < LEAST:
        return None
    leader = replace(segment, time_ns=times[0], seq=first_seq, payload=b"", frame=capture.frames + 1)
    return _Found(b"".join(parts), Pieces(ends, times), leader, taken, acked, position)


def _alike(layout: Layout, at: int, step: int, packet: int, wanted: Wanted, seq: int, size: int) -> list[int]:
    """The times of the records that follow one, are of its size, and differ from it only where they may.

    at, step: where that one begins and how long it is. packet: where in it the IP header begins. seq, size:
    of its segment. What is compared is a column of all records at a time: a byte of each.
    """
    buffer, ip = layout.buffer, wanted.ip
    begin, count = at + step, (len(buffer) - at) // step - 1
    count = min(count, MOST_BYTES // size)
    pcapng = layout.form == 2
    for column in _columns(layout.header, pcapng, step, packet, ip, wanted.kind):
        value = buffer[at + column : at + column + 1]
        same = buffer[begin + column : begin + column + count * step : step]
        if same.count(value) != count:
            count -= len(same.lstrip(value))
            if count < FEW:
                return []
    numbers = packet + ip + 4
    flags = buffer[begin + numbers + 9 : begin + numbers + 9 + count * step : step]
    count -= len(flags.lstrip(_PLAIN_FLAGS))
    expected = [(seq + number * size) & MASK for number in range(1, count + 1)]
    if _gathered(buffer, begin + numbers, 4, step, count) != struct.pack(f">{count}I", *expected):
        return []
    words = struct.unpack(
        f"{'<><'[layout.form]}{2 * count}I", _gathered(buffer, begin + (12 if pcapng else 0), 8, step, count)
    )
    high, low = words[::2], words[1::2]
    if not pcapng:
        return [
            seconds * 1_000_000_000 + units * layout.scale for seconds, units in zip(high, low, strict=True)
        ]
    _, scale, offset_ns, high_limit, _ = layout.faces[int.from_bytes(buffer[at + 8 : at + 12], "little")]
    if max(high, default=0) >= high_limit:
        return []
    return [(upper << 32 | lower) * scale + offset_ns for upper, lower in zip(high, low, strict=True)]


@lru_cache(64)
def _columns(
    header: int, pcapng: bool, step: int, packet: int, ip: int, kind: tuple[int, int]
) -> tuple[int, ...]:
    """Which bytes of a record are alike in all that go on: not times, sequence numbers, sums and so on."""
    record = [*range(12), *range(20, 28), *range(step - 4, step)] if pcapng else range(8, 16)
    link = range(header + kind[0], header + kind[0] + kind[1])
    places = (0, 2, 3, 6, 7, 9, *range(12, 20)) if ip == 20 else (0, 4, 5, 6, *range(8, 40))
    tcp = packet + ip
    # Ports, what is acknowledged, and the length of the header.
    return (
        *record,
        *link,
        *(packet + one for one in places),
        *(tcp + one for one in (0, 1, 2, 3, *range(8, 13))),
    )


def _gathered(buffer: bytes, at: int, size: int, step: int, count: int) -> bytearray:
    """The same `size` bytes of so many records, one after the other."""
    found = bytearray(size * count)
    for place in range(size):
        found[place::size] = buffer[at + place : at + place + count * step : step]
    return found


_Records: TypeAlias = Iterator[tuple[int, int, int, int]]
"""Of each record where its frame begins in the buffer, how long that is, its time (ns), where it ends."""


def walk(layout: Layout, linktype: int, at: int) -> _Records:
    """The packets of one link type in a row from `at` on that lie whole in the buffer."""
    return (_blocks if layout.form == 2 else _records)(layout, linktype, at)


def _records(layout: Layout, linktype: int, at: int) -> _Records:
    """The records of a pcap file from `at` on that lie whole in the buffer."""
    buffer = layout.buffer
    header, limit, scale = layout.header, layout.limit, layout.scale
    unpack = struct.Struct("<>"[layout.form] + "3I").unpack_from
    while at + header <= len(buffer):
        seconds, fraction, captured = unpack(buffer, at)
        start = at + header
        at = start + captured
        if captured > limit or at > len(buffer):
            return
        yield start, captured, seconds * 1_000_000_000 + fraction * scale, at


def _blocks(layout: Layout, linktype: int, at: int) -> _Records:
    """The packet blocks of a pcapng file from `at` on, of interfaces of one link type."""
    buffer, faces = layout.buffer, layout.faces
    unpack = _BLOCK.unpack_from
    known, scale, offset_ns, high_limit = -1, 0, 0, 0
    while at + _BLOCK.size + 8 <= len(buffer):
        kind, length, which, high, low, captured = unpack(buffer, at)
        end = at + length - 4
        if kind != _EPB or length & 3 or captured + 32 > length or end + 4 > len(buffer):
            return
        if which != known:
            if which >= len(faces) or faces[which][0] != linktype:
                return
            known = which
            _, scale, offset_ns, high_limit, _ = faces[which]
        if high >= high_limit or buffer[end : end + 4] != buffer[at + 4 : at + 8]:
            return
        yield at + 28, captured, (high << 32 | low) * scale + offset_ns, end + 4
        at = end + 4
