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
from dissect.capture.link import ACK, LINK_HEADERS, PSH, Segment
from dissect.stream.arrivals import Pieces

LEAST: Final = 2
"""Segments; fewer are not worth being taken together."""

PAUSE: Final = 64
"""Segments that go the ordinary way after a run that could not be taken, so that none is looked at often."""

MOST_BYTES: Final = 1 << 20
"""Bytes of a run, after which it is handed on."""

_EPB: Final = 6
_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x7FFFFFFF
_MORE_OR_OFFSET: Final = 0x3FFF
_TCP: Final = 6
_PLAIN: Final = {ACK, ACK | PSH}
_PLAIN_FLAGS: Final = bytes(_PLAIN)

_BLOCK: Final = struct.Struct("<6I")
# Of IP: version, length, flags and offset (of IPv4), protocol, addresses; of TCP: ports as one number, ...
_FOUR: Final = struct.Struct(">BxHxxHxBxx8sIIIBB")
_SIX: Final = struct.Struct(">BxxxHBx32sIIIBB")


@dataclass(slots=True)
class _Found:
    """A run: its bytes in pieces, how many records it is, where the next one begins in the buffer."""

    data: bytes
    pieces: Pieces
    first: Segment
    records: int
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
        stretch = self._conversations.push_many(found.first, found.data, found.pieces, found.records)
        if stretch is None:
            self._pause = PAUSE
            return None
        times = found.pieces.times
        capture.took(found.records, found.position, min(times), max(times))
        return stretch


def _scan(capture: Capture, frame: Frame, segment: Segment) -> _Found | None:
    """The run that follows a segment, as far as it is in the buffer."""
    link = LINK_HEADERS.get(frame.linktype)
    # Comments of packets are kept as the packets come, one by one.
    layout = None if link is None or segment.network or capture.notes.packets else capture.layout()
    if link is None or layout is None:
        return None
    size, where = link
    four = len(segment.src) == 4
    form, ip = (_FOUR, 20) if four else (_SIX, 40)
    unpack, least = form.unpack_from, size + form.size
    forth, back = segment.src + segment.dst, segment.dst + segment.src
    ports, ports_back = segment.sport << 16 | segment.dport, segment.dport << 16 | segment.sport
    if len(frame.data) < least or unpack(frame.data, size)[-6:-4] != (forth, ports):
        return None  # it came in a tunnel, or in several frames
    # What the link layer says of what is in it, it says of all; it may say nothing.
    kind_at, kind_size = (0, size) if where is None else (where, 2)
    kind = frame.data[kind_at : kind_at + kind_size]
    ack, first_seq = segment.ack, (segment.seq + len(segment.payload)) & _MASK

    buffer, at = layout.buffer, layout.position
    view = memoryview(buffer)
    parts: list[memoryview] = []
    ends: list[int] = []
    times: list[int] = []
    total, next_seq = 0, first_seq
    records = taken = position = before = 0
    walk = _blocks if layout.form == 2 else _records
    walking = walk(layout, frame.linktype, at)
    while total < MOST_BYTES:
        start, captured, time_ns, after = next(walking, (0, 0, 0, 0))
        if captured < least or buffer[start + kind_at : start + kind_at + kind_size] != kind:
            break
        records += 1
        start += size
        head = unpack(buffer, start)
        addresses, from_to, seq, acked, offset, flags = head[-6:]
        if four:
            version, length, fragment, protocol = head[:4]
            if version != 0x45 or fragment & _MORE_OR_OFFSET:
                break
        else:
            version, length, protocol = head[:3]
            length += 40
            if version >> 4 != 6:
                break
        header = ip + (offset >> 4 << 2)
        bytes_of = length - header
        if protocol != _TCP or offset < 0x50 or bytes_of < 0 or captured < size + length:
            break
        if bytes_of:
            if (from_to, seq, acked) != (ports, next_seq, ack) or addresses != forth or flags not in _PLAIN:
                break
            parts.append(view[start + header : start + length])
            total += bytes_of
            ends.append(total)
            times.append(time_ns)
            next_seq = (seq + bytes_of) & _MASK
            taken, position = records, after
            # After two records of one size there may be many of it.
            if after - at == before:
                alike = _alike(layout, at, before, start - at, ip, (kind_at, kind_size), seq, bytes_of)
                if alike:
                    count = len(alike)
                    first = start + header + before
                    parts += [
                        view[one : one + bytes_of] for one in range(first, first + count * before, before)
                    ]
                    ends += range(total + bytes_of, total + count * bytes_of + 1, bytes_of)
                    times += alike
                    total += count * bytes_of
                    next_seq = (next_seq + count * bytes_of) & _MASK
                    records += count
                    taken, position = records, after + count * before
                    after = position
                    walking = walk(layout, frame.linktype, position)
                before = 0
            else:
                before = after - at
        # An empty one must be the other side's, and acknowledge no more than there was.
        elif (
            (from_to, seq, flags) != (ports_back, ack, ACK)
            or addresses != back
            or (next_seq - acked) & _MASK > _HALF
        ):
            break
        at = after
    if len(parts) < LEAST:
        return None
    leader = replace(segment, time_ns=times[0], seq=first_seq, payload=b"", frame=capture.frames + 1)
    return _Found(b"".join(parts), Pieces(ends, times), leader, taken, position)


def _alike(
    layout: Layout, at: int, step: int, packet: int, ip: int, kind: tuple[int, int], seq: int, size: int
) -> list[int]:
    """The times of the records that follow one, are of its size, and differ from it only where they may.

    at, step: where that one begins and how long it is. packet, ip: where in it the IP header begins, and how
    long that is; kind: where in its link header the kind of packet is said. seq, size: of its segment. What
    is compared is a column of all records at a time: a byte of each.
    """
    buffer = layout.buffer
    begin, count = at + step, (len(buffer) - at) // step - 1
    count = min(count, MOST_BYTES // size)
    pcapng = layout.form == 2
    for column in _columns(layout.header, pcapng, step, packet, ip, kind):
        value = buffer[at + column : at + column + 1]
        same = buffer[begin + column : begin + column + count * step : step]
        if same.count(value) != count:
            count -= len(same.lstrip(value))
    numbers = packet + ip + 4
    flags = buffer[begin + numbers + 9 : begin + numbers + 9 + count * step : step]
    count -= len(flags.lstrip(_PLAIN_FLAGS))
    expected = [(seq + number * size) & _MASK for number in range(1, count + 1)]
    wanted = struct.pack(f">{count}I", *expected)
    if _gathered(buffer, begin + numbers, 4, step, count) != wanted:
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
