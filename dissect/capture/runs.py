# SPDX-License-Identifier: GPL-2.0-or-later
"""Segments that go on where the ones before them ended, taken together without numpy.

Most packets of a session with pictures are full segments of one sender, each next to the one before, with an
acknowledgement of the other side between them now and then. `Runs.follow` looks at the records behind a
segment that was just taken, and takes what goes on from it as one `Stretch`, at a microsecond or two for each
packet. Where it does not matter how the bytes of one side lie to those of the other (`Conversation.apart`),
data of the other side need not end that: what both sent is taken as one `Exchange`.

There is one description of TCP, and it is not here: what is taken is what `Conversations.push_both` says is
next on either side and nothing else, and the first record that is any different (another link layer or
address, an option of IP, a fragment, another flag, bytes out of order or captured in part) is left to the
ordinary way.

What must be the same in all packets of a connection is compared as one large number (`_Form`), and of records
that are as long as one before, even what goes on in them: their sequence numbers are the next ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from dissect.capture.conversations import Conversations, Exchange, Sent, Stretch, Turns
from dissect.capture.files import Capture
from dissect.capture.link import ACK, PSH, Segment
from dissect.capture.media import LINK_HEADERS
from dissect.capture.records import Frame, Layout
from dissect.stream.arrivals import Pieces

LEAST: Final = 2
"""Packets; fewer are not worth being taken together."""

PAUSE: Final = 64
"""Segments that go the ordinary way after some that could not be taken, so that none is looked at often."""

MOST_BYTES: Final = 1 << 20
"""Bytes of both sides, after which they are handed on."""

_EPB: Final = 6
_TCP: Final = 6
_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x7FFFFFFF
_PLAIN: Final = {ACK, ACK | PSH}
_TO_FLAGS: Final = 14
"""Bytes of the header of TCP from the ports to the flags."""
_SEQUENCE: Final = 48
"""How many bits of these are behind the sequence number."""

_BLOCK: Final = struct.Struct("<6I")

_number: Final = int.from_bytes

_Head: TypeAlias = tuple[bool, int, int, int, int, int]
"""Of a segment whose it is (`_Form.way`), its numbers of TCP and flags, where its bytes begin and end."""


class Runs:
    """Takes runs into `conversations`."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self._pause = 0
        self._form: _Form | None = None

    def follow(
        self, capture: Capture, frame: Frame, segment: Segment, *, apart: bool = False
    ) -> Stretch | Exchange | None:
        """What follows a segment that was just taken; None where nothing could be taken.

        frame: that which the segment came in. apart: data of the other side may be taken too. `capture` goes
        on behind what is taken.
        """
        if self._pause:
            self._pause -= 1
            return None
        found = self._found(capture, frame, segment, apart)
        if found is None:
            return None
        exchange = self._conversations.push_both(found.turns)
        if exchange is None:
            self._pause = PAUSE
            return None
        capture.took(found.turns.packets, found.position, found.first_ns, found.turns.last_ns)
        return exchange if apart else exchange.stretches[0]

    def _found(self, capture: Capture, frame: Frame, segment: Segment, apart: bool) -> _Found | None:
        """What follows, as far as it is in the buffer."""
        link = LINK_HEADERS.get(frame.linktype)
        # Comments of packets are kept as the packets come.
        if link is None or segment.network or capture.notes.packets:
            return None
        layout = capture.layout()
        if layout is None:
            return None
        form = self._form
        if form is None or form.linktype != frame.linktype or form.way(frame.data) is None:
            form = self._form = _Form(frame, segment, link)
        forth = form.way(frame.data)
        if forth is None:  # it came in a tunnel, or in several frames
            return None
        return _scan(layout, form, forth, segment, apart=apart)


@dataclass(slots=True)
class _Found:
    """What both sides sent, where the next record begins in the buffer, the first and last time of any."""

    turns: Turns
    position: int
    first_ns: int


class _Form:
    """What the packets of one connection look like, where they are of the common form."""

    __slots__ = ("_four", "_header", "_link", "_mask", "_unpack", "_ways", "alike", "linktype", "size")

    def __init__(self, frame: Frame, segment: Segment, link: tuple[int, int | None]) -> None:
        self.linktype = frame.linktype
        self._link, where = link
        self._four = len(segment.src) == 4
        # Of IP up to the addresses: where the length is, what is in it, and which bits of that must be.
        if self._four:  # version and length, fragments, protocol
            length, packet = 2, bytes([0x45, 0, 0, 0, 0, 0, 0, 0, 0, _TCP, 0, 0])
            same = bytes([0xFF, 0, 0, 0, 0, 0, 0x3F, 0xFF, 0, 0xFF, 0, 0])
        else:  # version, protocol
            length, packet = 4, bytes([0x60, 0, 0, 0, 0, 0, _TCP, 0])
            same = bytes([0xF0, 0, 0, 0, 0, 0, 0xFF, 0])
        # What the link layer says of what is in it, it says of all; it may say nothing.
        kind = slice(0, self._link) if where is None else slice(where, where + 2)
        before, mask = bytearray(self._link), bytearray(self._link)
        if len(frame.data) >= self._link:
            before[kind] = frame.data[kind]
        mask[kind] = b"\xff" * len(mask[kind])
        mask += same + b"\xff" * (2 * len(segment.src) + 4)
        self._header = len(mask) - 4 - self._link
        """Bytes of the header of IP."""
        self.size = self._link + self._header + _TO_FLAGS
        """Bytes of a frame up to the flags of TCP."""
        self._mask = _number(mask.ljust(self.size, b"\0"), "big")
        src, dst = segment.src, segment.dst
        sport, dport = segment.sport.to_bytes(2, "big"), segment.dport.to_bytes(2, "big")
        self._ways: dict[int, bool] = {}
        for ends, way in ((src + dst + sport + dport, True), (dst + src + dport + sport, False)):
            one = before + packet + ends
            self._ways[_number(one.ljust(self.size, b"\0"), "big")] = way
        # Of those that are as long: their length, numbers and header's length of TCP, and flags but PSH.
        mask[self._link + length : self._link + length + 2] = b"\xff\xff"
        self.alike = bytes(mask) + b"\xff" * (_TO_FLAGS - 5) + bytes([0xFF & ~PSH])
        """Which bits of a frame are those of one before it that is as long, or go on from them."""
        form = f">{self._link + length}xH{self._header - length - 2}x4xIIBB"
        self._unpack = struct.Struct(form).unpack_from

    def way(self, data: bytes) -> bool | None:
        """Whether a frame is of the sender of the segment this was made of; None: of neither side."""
        if len(data) < self.size:
            return None
        return self._ways.get(_number(data[: self.size], "big") & self._mask)

    def read(self, buffer: bytes, start: int, captured: int) -> _Head | None:
        """The head of the segment in a frame that begins in the buffer; None where it is anything else."""
        if captured < self.size:
            return None
        way = self._ways.get(_number(buffer[start : start + self.size], "big") & self._mask)
        if way is None:
            return None
        length, seq, ack, offset, flags = self._unpack(buffer, start)
        if not self._four:
            length += 40
        header = self._header + (offset >> 4 << 2)
        if offset < 0x50 or length < header or captured < self._link + length:
            return None
        start += self._link
        return way, seq, ack, flags, start + header, start + length


class _Like(NamedTuple):
    """A record that was taken, for those like it that are as long: see `_Alike`."""

    way: bool
    step: int
    """Bytes of the record."""
    data: int
    """Where in it the bytes of the segment begin."""
    size: int
    """How many these are."""
    number: int
    """What all have in common, with a sequence number of 0."""
    base_ns: int
    """Their times (ns) without the finer part."""
    scale: int
    """Nanoseconds a unit of that."""


class _Alike:
    """Finds records that are as long as one before, and differ from it only where those that go on do."""

    def __init__(self, layout: Layout, form: _Form) -> None:
        self._layout = layout
        self._pcapng = layout.form == 2
        # Of a record: its kind, lengths, interface, and the coarser part of its time.
        same = b"\xff" * 16 + bytes(4) + b"\xff" * 8 if self._pcapng else b"\xff" * 4 + bytes(4) + b"\xff" * 8
        self._size = layout.header + form.size
        self._mask = _number(same.ljust(layout.header, b"\0") + form.alike, "big")
        self._known: dict[bytes, _Like] = {}

    def note(self, at: int, after: int, head: _Head, time_ns: int) -> None:
        """A record from one place of the buffer to another was taken: where the next one is as long, it and
        others may be like it.
        """
        length = self._length(at)
        if length != self._length(after):
            return
        way, seq, _, _, begin, end = head
        layout, step = self._layout, after - at
        buffer, scale = layout.buffer, layout.scale
        if self._pcapng:
            scale = layout.faces[int.from_bytes(buffer[at + 8 : at + 12], "little")][1]
        number = (_number(buffer[at : at + self._size], "big") & self._mask) - (seq << _SEQUENCE)
        base_ns = time_ns - _varying(layout.form, step).unpack_from(buffer, at)[0] * scale
        self._known[length] = _Like(way, step, begin - at, end - begin, number, base_ns, scale)

    def find(self, at: int) -> _Like | None:
        """That which the record at a place may be like."""
        return self._known.get(self._length(at))

    def times(self, at: int, like: _Like, seq: int) -> list[int]:
        """The times (ns) of the records in a row from a place on that are like one, of which the first has
        the sequence number `seq`.
        """
        buffer, step = self._layout.buffer, like.step
        # No further than numbers of 32 bits go.
        most = min((len(buffer) - at) // step, (_MASK - seq) // like.size)
        number, each = like.number + (seq << _SEQUENCE), like.size << _SEQUENCE
        size, mask, end = self._size, self._mask, at + most * step
        for place in range(at, end, step):
            if _number(buffer[place : place + size], "big") & mask != number:
                end = place
                break
            number += each
        if at == end:
            return []
        span = memoryview(buffer)[at:end]
        fine, *ends = zip(*_varying(self._layout.form, step).iter_unpack(span), strict=True)
        for lengths in ends:  # a block ends with its length once more
            if lengths.count(step) != len(lengths):
                fine = fine[: next(place for place, length in enumerate(lengths) if length != step)]
        base_ns, scale = like.base_ns, like.scale
        return [base_ns + one * scale for one in fine]

    def _length(self, at: int) -> bytes:
        """What a record says of its length."""
        at += 4 if self._pcapng else 8
        return self._layout.buffer[at : at + 4]


@lru_cache(64)
def _varying(form: int, step: int) -> struct.Struct:
    """Of a record of so many bytes the finer part of its time, and (of pcapng) the length at its end."""
    return struct.Struct(f"<16xI{step - 24}xI" if form == 2 else f"{'<>'[form]}4xI{step - 8}x")


@dataclass(slots=True)
class _Side:
    """What one side sent so far: its first and next sequence number, the last one it acknowledged."""

    seq: int
    next_seq: int
    ack: int | None = None
    parts: list[memoryview] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    size: int = 0

    def sent(self) -> Sent:
        return Sent(self.seq, b"".join(self.parts), Pieces(self.ends, self.times), self.ack)


def _scan(layout: Layout, form: _Form, forth: bool, segment: Segment, *, apart: bool) -> _Found | None:
    """What follows a segment, as far as it is in the buffer. forth: what `form` says of its sender."""
    record, alike = _records(layout, form.linktype), _Alike(layout, form)
    buffer, view, at = layout.buffer, memoryview(layout.buffer), layout.position
    next_seq = (segment.seq + len(segment.payload)) & _MASK
    sides = {forth: _Side(next_seq, next_seq)}
    low: int | None = None
    high = packets = total = 0
    while total < MOST_BYTES:
        like = alike.find(at)
        if like is not None:
            mine, size, step = sides[like.way], like.size, like.step
            times = alike.times(at, like, mine.next_seq)
            if times:
                count, begin = len(times), at + like.data
                mine.parts += [view[one : one + size] for one in range(begin, begin + count * step, step)]
                mine.ends += range(mine.size + size, mine.size + count * size + 1, size)
                mine.times += times
                mine.size += count * size
                mine.next_seq = mine.next_seq + count * size & _MASK
                low, high = min(times) if low is None else min(low, min(times)), max(high, max(times))
                at, packets, total = at + count * step, packets + count, total + count * size
                continue
        start, captured, time_ns, after = record(at)
        head = form.read(buffer, start, captured)
        if head is None:
            break
        way, seq, acked, flags, begin, end = head
        if flags not in _PLAIN or (begin < end and not apart and way is not forth):
            break
        if way not in sides:
            sides[way] = _Side(seq, seq)
        mine, theirs = sides[way], sides.get(not way)
        # Each is next, and acknowledges no more than there was.
        if seq != mine.next_seq:
            break
        if theirs is None:
            if acked != segment.ack:
                break
        elif (theirs.next_seq - acked) & _MASK > _HALF:
            break
        mine.ack = acked
        if begin < end:
            mine.parts.append(view[begin:end])
            mine.size += end - begin
            mine.ends.append(mine.size)
            mine.times.append(time_ns)
            mine.next_seq = seq + end - begin & _MASK
            total += end - begin
            alike.note(at, after, head, time_ns)
        low, high = time_ns if low is None else min(low, time_ns), max(high, time_ns)
        at, packets = after, packets + 1
    if low is None or packets < LEAST or not total:
        return None
    back = sides.get(not forth) or _Side(0, 0)
    turns = Turns(segment.key, sides[forth].sent(), back.sent(), segment.ack, packets, high)
    return _Found(turns, at, low)


_Record: TypeAlias = tuple[int, int, int, int]
"""Where the frame of a record begins in the buffer, how long it is, its time (ns), where the record ends."""

_NONE: Final[_Record] = (0, 0, 0, 0)


def _records(layout: Layout, linktype: int) -> Callable[[int], _Record]:
    """What reads the record at a place of the buffer; one of another kind or link type, or that does not lie
    whole in the buffer, is none: its frame has no bytes.
    """
    buffer = layout.buffer
    size = len(buffer)
    header, limit, scale, faces = layout.header, layout.limit, layout.scale, layout.faces

    def packet(at: int) -> _Record:
        start = at + header
        if start > size:
            return _NONE
        seconds, fraction, captured = three(buffer, at)
        after = start + captured
        if captured > limit or after > size:
            return _NONE
        return start, captured, seconds * 1_000_000_000 + fraction * scale, after

    def block(at: int) -> _Record:
        if at + _BLOCK.size + 8 > size:
            return _NONE
        kind, length, which, high, low, captured = six(buffer, at)
        after = at + length
        if kind != _EPB or length & 3 or captured + 32 > length or after > size or which >= len(faces):
            return _NONE
        its, scale, offset_ns, high_limit, _ = faces[which]
        if its != linktype or high >= high_limit or buffer[after - 4 : after] != buffer[at + 4 : at + 8]:
            return _NONE
        return at + 28, captured, (high << 32 | low) * scale + offset_ns, after

    if layout.form == 2:
        six = _BLOCK.unpack_from
        return block
    three = struct.Struct("<>"[layout.form] + "3I").unpack_from
    return packet
