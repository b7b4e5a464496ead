# SPDX-License-Identifier: GPL-2.0-or-later
"""The quick way from a capture to the events of its conversations: whole runs of packets at once.

Most packets of a large capture belong to conversations whose further bytes nobody wants: whoever reads
the events has put them aside (`Conversation.aside`). A conversation that is aside, established and at rest
sleeps: its packets are recognised by their addresses and checked with numpy, many at a time, and only
counted. What was counted comes out as `Passed` events when it wakes.

There is one description of TCP, and it is not here. A packet is passed over only where `reassembly` and
`conversations` could do no more than advance: the conversation is at rest, no SYN, FIN or RST is set, no
byte lies beyond the next one, and nothing beyond it is acknowledged. The first packet that is any different
wakes its conversation, which then takes the ordinary way. So do all packets whose headers are out of the
common form (Ethernet with at most two tags, Linux cooked, BSD loopback or raw IP; IPv4 without options or
IPv6 without extension headers; TCP). UDP that is no tunnel is only counted.

What limits it now: finding where each record begins is a loop in Python (a fifth of a microsecond a packet);
the columns cost about as much as copying the file; and each conversation costs some ten packets of the
ordinary way, at its beginning and its end. Tunnels, fragments and packets with options always take that way.

What differs from the ordinary way, and only for conversations that are aside: their counters of
retransmitted, late and conflicting bytes cover what was awake; and of the times at which their bytes passed
two are known for each sleep, that of the latest run and that of what came before it. So the answers differ
only where a capture's times run backwards by more than a run of packets.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from dissect.capture.conversations import Connection, Conversations, Ended, Event, Key, Passed, Summed
from dissect.capture.files import Capture
from dissect.capture.link import (
    ACK,
    FIN,
    RST,
    SYN,
    TUNNEL_PORTS,
    VLAN_TAGS,
    Decoder,
    Segment,
)
from dissect.capture.media import IPV4, IPV6, LINK_HEADERS
from dissect.capture.records import Frame, Run, windows
from dissect.stream import Side
from dissect.stream.arrivals import Pieces

if TYPE_CHECKING:
    import numpy.typing as npt  # slow to import

    Numbers: TypeAlias = npt.NDArray[Any]

_PSH: Final = 8

READ_AHEAD: Final = 1 << 20
"""Bytes that are read from a file at once."""

LEAST_RUN: Final = 32
"""Frames; fewer are quicker one by one."""

FIRST_RUN: Final = 512
MOST_RUN: Final = 8192
"""Frames taken at once, at first and at most: a conversation cannot fall asleep in the middle of them."""


class Bulk:
    """Reads captures into `conversations`, one after the other."""

    def __init__(self, conversations: Conversations, share: tuple[int, int] = (0, 1)) -> None:
        """share: (k, n) takes the k-th of n parts of all conversations, told apart by their addresses; n
        of these, one for each part, say together what one would, at the same packets.
        """
        self.conversations: Final = conversations
        self._share, self._shares = share
        self.passed = 0
        """Packets that were passed over so far."""
        self.began: list[int] = []
        """With a share: frames that began conversations, of late; whoever reads these clears them."""
        self._decode = Decoder()
        self._sleepers = _Sleepers()
        conversations.wake = self._sleepers.wake
        self._touched: dict[Connection, None] = {}

    @property
    def count(self) -> int:
        """Conversations found so far."""
        return self.conversations.count

    def read(
        self,
        capture: Capture,
        *,
        keep: Callable[[Frame], bool] | None = None,
        tick: Callable[[], None] | None = None,
        more: bool = False,
    ) -> Iterator[Event]:
        """All events of a capture but those of its end; frames that are not used are counted in `skipped`.

        The next capture may follow: a conversation goes on in it, and a packet whose fragments do.
        keep: which frames are used, by default all; each is then taken by itself. tick: called often. more:
        another capture follows; here that makes no difference.
        """
        capture.read_ahead(READ_AHEAD)
        most = FIRST_RUN
        while True:
            events: list[Event] = []
            if tick is not None:
                tick()
            run = capture.run(most) if keep is None else None
            if run is None:
                if keep is None and capture.used_up and capture.fill(1):
                    continue
                frame = capture.one()
                if frame is None:
                    return
                if keep is None or keep(frame):
                    self._frame(capture, frame, events)
            elif len(run) < LEAST_RUN:
                for index in range(len(run)):
                    self._frame(capture, run.frame(index), events)
            else:
                slow = self._run(capture, run, events)
                # Long runs cost less a packet; short ones let conversations that begin fall asleep sooner.
                if 8 * slow > len(run):
                    most = max(most // 2, FIRST_RUN)
                elif 24 * slow < len(run):
                    most = min(most * 2, MOST_RUN)
            yield from events
            self._lay_down()

    def finish(self, capture: Capture, end_ns: int | None = None) -> Iterator[Event]:
        """Wake all that sleeps, and end everything that is still open; `capture` was the last one."""
        self._decode.finish(capture.skipped)
        events: list[Event] = []
        for connection in self._sleepers.all():
            self._sleepers.wake(connection, events)
        yield from events
        yield from self.conversations.finish(end_ns)

    # -- one packet

    def _frame(self, capture: Capture, frame: Frame, events: list[Event]) -> None:
        segment = self._decode(frame, capture.skipped)
        if segment is not None:
            if self._mine(segment):
                self._push(segment, events)
            else:
                events += self.conversations.due(segment.time_ns)
            self._date(events, 0, frame.number)

    def _mine(self, segment: Segment) -> bool:
        if self._shares == 1:
            return True
        addresses = int.from_bytes(segment.src, "big") + int.from_bytes(segment.dst, "big")
        return (_folded(addresses) + segment.sport + segment.dport) % self._shares == self._share

    def _date(self, events: list[Event], start: int, number: int) -> None:
        """Note at which frame conversations ended, for those who put shares together again."""
        if self._shares > 1:
            for event in events[start:]:
                if isinstance(event, Ended | Summed):
                    event.conversation.end_frame = number

    def _push(self, segment: Segment, events: list[Event]) -> None:
        find = self.conversations.find
        key = segment.key
        half = find(key)
        count = self.conversations.count
        if half is not None:
            connection = half.connection
            if connection.slot is not None:
                self._sleepers.wake(connection, events)
            self._touched[connection] = None
        found = self.conversations.push(segment)
        if found:
            events += found
            if self._shares > 1 and self.conversations.count > count:
                self.began.append(segment.frame)
            if half is None or segment.flags & SYN:
                half = find(key)
                if half is not None:
                    self._touched[half.connection] = None

    def _push_many(self, found: _Together, events: list[Event]) -> bool:
        """Take segments together; False where each must be looked at by itself."""
        stretch = self.conversations.push_many(found.first, found.data, found.pieces, len(found.rows))
        if stretch is None:
            return False
        events.append(stretch)
        half = self.conversations.find(found.first.key)
        if half is not None:
            self._touched[half.connection] = None
        return True

    def _lay_down(self) -> None:
        """Let those sleep that can."""
        if not self._touched:
            return
        for connection in self._touched:
            if connection.conversation.aside and connection.slot is None and connection.quiet:
                self._sleepers.lay(connection)
        self._touched.clear()

    # -- many packets

    def _run(self, capture: Capture, run: Run, events: list[Event]) -> int:
        """Take a run; returns how many of its packets went the ordinary way."""
        heads = headers(run)
        every = heads.tcp
        if self._shares > 1:
            heads.keep(self._share, self._shares)
        count = len(run)
        if heads.udp:
            capture.skipped["UDP"] += heads.udp
        halves = self._sleepers.find(heads)
        unusual: dict[int, Segment] = {}
        for index in np.flatnonzero(heads.unusual).tolist():
            decoded = self._decode(run.frame(index), capture.skipped)
            if decoded is not None:
                unusual[index] = decoded
                if not self._mine(decoded):
                    continue
                half = self.conversations.find(decoded.key)
                if half is not None and half.connection.slot is not None:
                    halves[index] = 2 * half.connection.slot + (half.side is Side.SERVER)
        quiet = self._sleepers.quiet(heads, halves, run.times)
        passed = int(np.count_nonzero(quiet))
        if passed:
            self._sleepers.account(heads, halves, quiet, run.times)
            self.passed += passed

        used = every
        slow = heads.tcp & ~quiet
        if unusual:
            used = used.copy()
            used[list(unusual)] = True
        rows = np.flatnonzero(slow)
        together, alone = _together(heads, run, rows)
        todo: list[tuple[int, Segment | _Together]] = [*together]
        todo += zip(alone.tolist(), heads.segments(run, alone), strict=True)
        if unusual:
            todo += [(index, segment) for index, segment in unusual.items() if self._mine(segment)]
        if unusual or together:
            todo.sort(key=_index)
        # What is due by time alone is due at the first packet after it, also where that one is passed over.
        conversations = self.conversations
        times = run.times if used.all() else np.where(used, run.times, np.iinfo(np.int64).min)
        last_ns = int(times.max())
        due_ns, due_at = conversations.due_ns, -1
        for index, found in todo:
            if isinstance(found, _Together):
                if self._push_many(found, events):
                    continue
                singly = list(zip(found.rows.tolist(), heads.segments(run, found.rows), strict=True))
            else:
                singly = [(index, found)]
            for place, segment in singly:
                if due_ns <= last_ns:
                    due_at = _next(times, due_at + 1, due_ns, count)
                    while due_at < place:
                        before = len(events)
                        events += conversations.due(int(times[due_at]))
                        self._date(events, before, run.number + due_at)
                        due_ns = conversations.due_ns
                        due_at = _next(times, due_at + 1, due_ns, count)
                before = len(events)
                self._push(segment, events)
                self._date(events, before, run.number + place)
                due_at = place
                due_ns = conversations.due_ns
        while due_ns <= last_ns and (due_at := _next(times, due_at + 1, due_ns, count)) < count:
            before = len(events)
            events += conversations.due(int(times[due_at]))
            self._date(events, before, run.number + due_at)
            due_ns = conversations.due_ns
        conversations.passed(last_ns)
        return len(todo)


@dataclass(slots=True)
class _Together:
    """Segments of one sender that look as if they came in a row: see `Conversations.push_many`.

    rows: theirs in the run, and those of the other side's empty segments between them. first: the first one.
    """

    rows: Numbers
    first: Segment
    data: bytes
    pieces: Pieces


def _together(heads: Headers, run: Run, rows: Numbers) -> tuple[list[tuple[int, _Together]], Numbers]:
    """What of the rows can be taken together, each with its last row; and the rows that cannot."""
    if len(rows) < 2 or not len(heads.rows4):
        return [], rows
    pair, ports = np.zeros(len(run), np.uint64), np.zeros(len(run), np.uint64)
    pair[heads.rows4], ports[heads.rows4] = heads.keys4[:2]
    pair, ports, networks = pair[rows], ports[rows], heads.networks[rows]
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    pair_back = pair >> half | (pair & low) << half
    ports_back = ports >> np.uint64(16) | (ports & np.uint64(0xFFFF)) << np.uint64(16)
    forth = np.where(pair == pair_back, ports < ports_back, pair < pair_back)
    one, other = np.where(forth, pair, pair_back), np.where(forth, ports, ports_back)
    seq, ack, size = heads.seq[rows], heads.ack[rows], heads.size[rows]
    end = heads.payload[rows] + size
    plain = (
        (pair != 0)
        & (heads.flags[rows] & ~np.uint8(_PSH) == ACK)
        & (end <= run.starts[rows] + run.captured[rows])
    )
    # Whether each row goes on what is before it: the same connection, and nothing odd between them.
    odd = np.cumsum(heads.unusual)[rows]
    goes_on = np.zeros(len(rows), bool)
    goes_on[1:] = (one[1:] == one[:-1]) & (other[1:] == other[:-1]) & (odd[1:] == odd[:-1])
    goes_on[1:] &= plain[1:] & plain[:-1] & (networks[1:] == networks[:-1])
    full = np.flatnonzero(size > 0)
    if len(full) < 2:
        return [], rows
    # Empty segments must be the other side's, and acknowledge no more than there was.
    before = np.searchsorted(full, np.arange(len(rows)), "right") - 1
    last = full[np.maximum(before, 0)]
    beyond = (seq[last] + size[last].astype(np.uint32) - ack) >> np.uint32(31)
    empty = (forth != forth[last]) & (beyond == 0) & (seq == ack[last]) & (before >= 0)
    breaks = np.cumsum(~goes_on | ((size == 0) & ~empty))
    first, then = full[:-1], full[1:]
    joined = (
        (breaks[then] == breaks[first])
        & (forth[then] == forth[first])
        & (seq[then] == seq[first] + size[first].astype(np.uint32))
        & (ack[then] == ack[first])
    )
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], joined, [False])).astype(np.int8))).reshape(
        -1, 2
    )
    leaders = heads.segments(run, rows[full[bounds[:, 0]]])
    found: list[tuple[int, _Together]] = []
    alone = np.ones(len(rows), bool)
    view = memoryview(run.buffer)
    for (begin, stop), leader in zip(bounds.tolist(), leaders, strict=True):
        mine = full[begin : stop + 1]
        places = rows[mine]
        sizes = heads.size[places]
        starts = heads.payload[places]
        ends = starts + sizes
        data = b"".join([view[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)])
        pieces = Pieces(np.cumsum(sizes).tolist(), run.times[places].tolist())
        together = _Together(rows[mine[0] : mine[-1] + 1], leader, data, pieces)
        found.append((int(places[-1]), together))
        alone[mine[0] : mine[-1] + 1] = False
    return found, rows[alone]


def _next(times: Numbers, start: int, due_ns: int, count: int) -> int:
    """The first packet from `start` on whose own time is at or after due_ns."""
    if start >= count:
        return count
    later = times[start:] >= due_ns
    at = int(np.argmax(later))
    return start + at if later[at] else count


def _folded(number: int) -> int:
    """A number modulo 2**32 - 1: the same for a whole address and for the sum of its 32-bit words."""
    return number % 0xFFFFFFFF


def _shared(addresses: Numbers, ports: Numbers, shares: int) -> Numbers:
    both = (ports >> np.uint64(16)) + (ports & np.uint64(0xFFFF))
    found: Numbers = (addresses % np.uint64(0xFFFFFFFF) + both) % np.uint64(shares)
    return found


def _index(item: tuple[int, Segment | _Together]) -> int:
    return item[0]


# --- headers


@dataclass(slots=True)
class Headers:
    """The headers of a run as columns, one row a frame; rows that are not `tcp` hold nothing of use.

    tcp: TCP in the common form. unusual: to be decoded by itself. udp: how many are UDP and no tunnel.
    rows4, keys4, rows6, keys6: which rows are of IPv4 and IPv6, and what makes a key of the sender's half.
    size: bytes of payload, captured or not. payload, addresses: where it, and the source address, begin in
    the run's buffer.
    """

    tcp: Numbers
    unusual: Numbers
    udp: int
    rows4: Numbers
    keys4: tuple[Numbers, ...]
    rows6: Numbers
    keys6: tuple[Numbers, ...]
    seq: Numbers
    ack: Numbers
    flags: Numbers
    size: Numbers
    payload: Numbers
    addresses: Numbers
    sports: Numbers
    dports: Numbers
    is6: Numbers
    networks: Numbers

    def keep(self, share: int, shares: int) -> None:
        """Forget the TCP rows that are not of this share; see `Bulk`."""
        self.tcp = self.tcp.copy()
        if len(self.rows4):
            pair, ports, networks = self.keys4
            addresses = (pair >> np.uint64(32)) + (pair & np.uint64(0xFFFFFFFF))
            mine = _shared(addresses, ports, shares) == share
            self.tcp[self.rows4[~mine]] = False
            self.rows4, self.keys4 = self.rows4[mine], (pair[mine], ports[mine], networks[mine])
        if len(self.rows6):
            *words, ports, _ = self.keys6
            # Their sum modulo 2**64 - 1, and so modulo the shares' folding, is that of the whole addresses.
            low = [word & np.uint64(0xFFFFFFFF) for word in words]
            high = [word >> np.uint64(32) for word in words]
            addresses = sum(low[1:], low[0]) + sum(high[1:], high[0])
            mine = _shared(addresses, ports, shares) == share
            self.tcp[self.rows6[~mine]] = False
            self.rows6, self.keys6 = self.rows6[mine], tuple(column[mine] for column in self.keys6)

    def segments(self, run: Run, rows: Numbers) -> Iterator[Segment]:
        """Some rows as the segments that `decode` would give."""
        buffer = run.buffer
        columns = (
            rows + run.number,
            run.times[rows],
            self.addresses[rows],
            self.is6[rows],
            self.sports[rows],
            self.dports[rows],
            self.seq[rows],
            self.ack[rows],
            self.flags[rows],
            self.networks[rows],
            self.payload[rows],
            self.size[rows],
            run.starts[rows] + run.captured[rows],
        )
        for number, time_ns, at, six, sport, dport, seq, ack, flags, network, start, size, end in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            width = 16 if six else 4
            middle = at + width
            payload = buffer[start : start + size if start + size < end else end]
            yield Segment(
                time_ns,
                buffer[at:middle],
                sport,
                buffer[middle : middle + width],
                dport,
                seq,
                ack,
                flags,
                payload,
                size - len(payload),
                number,
                network,
            )


_TCP_FIELDS: Final = [
    ("sport", ">u2"),
    ("dport", ">u2"),
    ("seq", ">u4"),
    ("ack", ">u4"),
    ("offset", "u1"),
    ("flags", "u1"),
    ("rest", "V6"),
]
_FOUR: Final = np.dtype(
    [
        ("first", "u1"),
        ("tos", "u1"),
        ("total", ">u2"),
        ("id", ">u2"),
        ("fragment", ">u2"),
        ("ttl", "u1"),
        ("protocol", "u1"),
        ("sum", ">u2"),
        ("src", ">u4"),
        ("dst", ">u4"),
        *_TCP_FIELDS,
    ]
)
_SIX: Final = np.dtype(
    [
        ("first", ">u4"),
        ("length", ">u2"),
        ("next", "u1"),
        ("hops", "u1"),
        ("src0", ">u8"),
        ("src1", ">u8"),
        ("dst0", ">u8"),
        ("dst1", ">u8"),
        *_TCP_FIELDS,
    ]
)
_UDP: Final = 17
_TCP: Final = 6
_EIGHT: Final = 8  # bytes of a UDP header


def headers(run: Run) -> Headers:
    """Read the headers of a run, as far as they are of the common form."""
    buffer, count = run.buffer, len(run)
    octets = np.frombuffer(buffer, np.uint8)
    at, ethertype, plain, networks = _link(run, octets)
    end = run.starts + run.captured
    tcp = np.zeros(count, bool)
    unusual = ~plain
    seq, ack = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
    flags = np.zeros(count, np.uint8)
    size, payload = np.zeros(count, np.int64), np.zeros(count, np.int64)
    addresses = np.zeros(count, np.int64)
    sports, dports = np.zeros(count, np.uint16), np.zeros(count, np.uint16)
    is6 = np.zeros(count, bool)
    udp = 0
    keys: dict[int, tuple[Numbers, tuple[Numbers, ...]]] = {}
    for version, kind, fields, least in ((4, IPV4, _FOUR, 20), (6, IPV6, _SIX, 40)):
        rows = np.flatnonzero(plain & (ethertype == kind))
        # Behind the last whole header of the buffer nothing can be picked; the ordinary way takes those.
        whole = (end[rows] - at[rows] >= least + _EIGHT) & (at[rows] + fields.itemsize <= len(buffer))
        unusual[rows[~whole]] = True
        rows = rows[whole]
        if not len(rows):
            keys[version] = rows, ()
            continue
        place = at[rows]
        head = windows(buffer, fields.itemsize)[place].view(fields)
        if version == 4:
            total = head["total"].astype(np.int64)
            fine = (head["first"] == 0x45) & (head["fragment"] & 0x3FFF == 0)
            protocol = head["protocol"]
        else:
            total = head["length"].astype(np.int64) + 40
            fine = (head["first"] >> 28 == 6) & (total > 40)
            protocol = head["next"]
        datagram = fine & (protocol == _UDP)
        if datagram.any():
            for port in TUNNEL_PORTS:
                datagram &= (head["sport"] != port) & (head["dport"] != port)
            datagram &= total >= least
            udp += int(np.count_nonzero(datagram))
        header = (head["offset"] >> 4).astype(np.int64) * 4
        there = end[rows] - place >= least + 20
        segment = fine & (protocol == _TCP) & there & (header >= 20) & (total >= least + header)
        unusual[rows[~(datagram | segment)]] = True
        if not segment.all():
            rows, head, place = rows[segment], head[segment], place[segment]
            header, total = header[segment], total[segment]
        tcp[rows] = True
        seq[rows], ack[rows], flags[rows] = head["seq"], head["ack"], head["flags"]
        sports[rows], dports[rows] = head["sport"], head["dport"]
        size[rows] = total - least - header
        payload[rows] = place + least + header
        addresses[rows] = place + (12 if version == 4 else 8)
        is6[rows] = version == 6
        ports = head["sport"].astype(np.uint64) << np.uint64(16) | head["dport"]
        if version == 4:
            pair = head["src"].astype(np.uint64) << np.uint64(32) | head["dst"]
            keys[4] = rows, (pair, ports, networks[rows])
        else:
            names = ("src0", "src1", "dst0", "dst1")
            keys[6] = rows, (*(head[name].astype(np.uint64) for name in names), ports, networks[rows])
    return Headers(
        tcp,
        unusual,
        udp,
        *keys[4],
        *keys[6],
        seq,
        ack,
        flags,
        size,
        payload,
        addresses,
        sports,
        dports,
        is6,
        networks,
    )


def _link(run: Run, octets: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Where the IP header of each frame begins, its EtherType, whether the link layer is a plain one; the
    network by its VLAN tags.
    """
    linktypes = run.linktypes
    if isinstance(linktypes, int):
        return _link_of(linktypes, run.starts, run.captured, octets)
    at, ethertype = run.starts.copy(), np.zeros(len(run), np.uint16)
    plain, networks = np.zeros(len(run), bool), np.zeros(len(run), np.uint64)
    for linktype in np.unique(linktypes).tolist():
        rows = np.flatnonzero(linktypes == linktype)
        at[rows], ethertype[rows], plain[rows], networks[rows] = _link_of(
            linktype, run.starts[rows], run.captured[rows], octets
        )
    return at, ethertype, plain, networks


def _link_of(
    linktype: int, starts: Numbers, captured: Numbers, octets: Numbers
) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    known = LINK_HEADERS.get(linktype)
    count = len(starts)
    networks = np.zeros(count, np.uint64)
    if known is None:
        return starts, np.zeros(count, np.uint16), np.zeros(count, bool), networks
    size, where = known
    plain = captured >= size + 20
    safe = np.where(plain, starts, 0)
    if where is None:  # no EtherType: the version of IP tells
        first = octets[safe + size] >> 4
        ethertype = np.where(first == 4, IPV4, np.where(first == 6, IPV6, 0)).astype(np.uint16)
        if size:  # BSD loopback: the family must agree, and the ordinary way knows all families
            family = octets[safe[:, None] + np.arange(4)]
            two = (family == [2, 0, 0, 0]).all(axis=1) | (family == [0, 0, 0, 2]).all(axis=1)
            plain &= (ethertype == IPV4) & two
        return starts + size, ethertype, plain & (ethertype != 0), networks
    ethertype = _two(octets, safe + where)
    at = starts + size
    for _ in range(2):
        tagged = plain & _any(ethertype, VLAN_TAGS)
        if not tagged.any():
            break
        at = at + 4 * tagged
        plain &= ~tagged | (starts + captured >= at + 20)
        tag = _two(octets, np.where(plain & tagged, at - 4, 0)).astype(np.uint64) & np.uint64(0xFFF)
        networks = np.where(tagged, networks << np.uint64(12) | tag, networks)
        ethertype = np.where(tagged & plain, _two(octets, np.where(plain, at - 2, 0)), ethertype)
    plain &= (ethertype == IPV4) | (ethertype == IPV6)
    return at, ethertype, plain, networks


def _any(values: Numbers, wanted: tuple[int, ...]) -> Numbers:
    found: Numbers = values == wanted[0]
    for one in wanted[1:]:
        found |= values == one
    return found


def _two(octets: Numbers, at: Numbers) -> Numbers:
    found: Numbers = octets[at].astype(np.uint16) << 8 | octets[at + 1]
    return found


# --- those that sleep


class _Sleepers:
    """What is known of the conversations that sleep, as columns: two rows (halves) a slot."""

    def __init__(self) -> None:
        self._connections: list[Connection | None] = []
        self._free: list[int] = []
        self._tables = {4: _Table(3), 6: _Table(6)}
        self._halves = np.zeros(0, _HALF)
        self._slots = np.zeros(0, _SLOT)

    def all(self) -> list[Connection]:
        """Those that sleep, in the order of their conversations."""
        sleeping = [one for one in self._connections if one is not None]
        return sorted(sleeping, key=lambda one: one.conversation.index)

    def lay(self, connection: Connection) -> None:
        """Let a connection sleep; it must be quiet. Where there is no room for it, it stays awake."""
        if connection.slot is not None:
            return
        if not self._free:
            self._grow()
        slot = self._free.pop()
        for row, half in ((2 * slot, connection.client), (2 * slot + 1, connection.server)):
            stream = half.stream
            assert stream is not None
            self._halves[row] = (stream.next_seq, stream.position > 0, 0, 0, 0, 0, 0, False)
        self._slots[slot] = (0, connection.conversation.last_ns)
        for number, key in enumerate(connection.keys):
            # `keys` begin with the half that opened the conversation, which may be the server's.
            table, columns = self._tables[4 if len(key[0]) == 4 else 6], _columns(key)
            row = 2 * slot + (self._side(connection, number) is Side.SERVER)
            table.insert(columns, row)
        self._connections[slot] = connection
        connection.slot = slot

    def wake(self, connection: Connection, events: list[Event]) -> None:
        """Bring what `reassembly` knows up to date; what has passed is added to `events`."""
        slot = connection.slot
        assert slot is not None
        conversation = connection.conversation
        connection.slot = None
        self._connections[slot] = None
        self._free.append(slot)
        for number, key in enumerate(connection.keys):
            row = 2 * slot + (self._side(connection, number) is Side.SERVER)
            self._tables[4 if len(key[0]) == 4 else 6].remove(_columns(key), row)
        packets, last_ns = self._slots[slot].tolist()
        conversation.packets += packets
        conversation.last_ns = max(conversation.last_ns, last_ns)
        halves = (connection.client, connection.server)
        rows = [self._halves[2 * slot + side].tolist() for side in (0, 1)]
        for half, row in zip(halves, rows, strict=True):
            _, _, before, before_ns, passed, passed_ns, _, _ = row
            assert half.stream is not None
            half.stream.skip(before + passed)
            if before:
                events.append(Passed(conversation, half.side, before, before_ns))
            if passed:
                events.append(Passed(conversation, half.side, passed, passed_ns))
        for half, row in zip(halves, rows, strict=True):
            *_, ack, acked = row
            if acked:
                other = half.other.stream
                assert other is not None
                other.acked(ack, last_ns)

    @staticmethod
    def _side(connection: Connection, number: int) -> Side:
        return connection.opener.side if number == 0 else connection.opener.side.other

    def find(self, heads: Headers) -> Numbers:
        """The half (row) of each packet's sender where it sleeps, -1 elsewhere."""
        found = np.full(len(heads.tcp), -1, np.int64)
        for version, rows, keys in ((4, heads.rows4, heads.keys4), (6, heads.rows6, heads.keys6)):
            if len(rows) and self._tables[version].used:
                found[rows] = self._tables[version].find(keys)
        return found

    def quiet(self, heads: Headers, halves: Numbers, times: Numbers) -> Numbers:
        """Which packets can be passed over: of each conversation those before the first that cannot be."""
        quiet = np.zeros(len(halves), bool)
        mine = np.flatnonzero(halves >= 0)
        if not len(mine):
            return quiet
        # By conversation, each in the order of the capture.
        mine = mine[np.argsort(halves[mine] >> 1, kind="stable")]
        half = halves[mine]
        slot = half >> 1
        begins = np.empty(len(mine), bool)
        begins[0] = True
        begins[1:] = slot[1:] != slot[:-1]
        group = np.cumsum(begins) - 1
        starts = np.flatnonzero(begins)
        state = self._halves
        size = heads.size[mine]
        flags = heads.flags[mine]
        is_server = half & 1 == 1
        at = (heads.seq[mine] - state["next"][half]).view(np.int32).astype(np.int64)
        # How far each side has come with each packet: the running maximum, begun anew in each conversation.
        lift = group << 34
        ends = np.maximum(at + size, 0)
        reach = [
            np.maximum.accumulate(np.where(is_server == side, ends, 0) + lift) - lift
            for side in (False, True)
        ]
        other = np.where(is_server, reach[0], reach[1])
        before = np.empty_like(ends)
        before[1:] = np.where(is_server[1:], reach[1][:-1], reach[0][:-1])
        before[starts] = 0
        fine = (flags & (SYN | FIN | RST) == 0) & heads.tcp[mine]
        fine &= (at <= before) & (at > -(1 << 30)) & (size < 1 << 20)
        # A side that has said nothing yet: where its stream begins may still change.
        fine &= state["spoken"][half] | ((at == 0) & (size == 0))
        acknowledged = (heads.ack[mine] - state["next"][half ^ 1]).view(np.int32).astype(np.int64)
        fine &= (flags & ACK == 0) | (acknowledged <= other)
        # Times that run backwards are told exactly, packet by packet.
        now = times[mine]
        previous = np.empty_like(now)
        previous[1:] = now[:-1]
        previous[starts] = self._slots["last"][slot[starts]]
        backwards = now < previous
        if backwards.any():
            fine &= ~(np.add.reduceat(backwards, starts) > 0)[group]
        if fine.all():
            quiet[mine] = True
        else:
            order = np.arange(len(mine))
            first_bad = np.minimum.reduceat(np.where(fine, len(mine), order), starts)
            quiet[mine[order < first_bad[group]]] = True
        return quiet

    def account(self, heads: Headers, halves: Numbers, quiet: Numbers, times: Numbers) -> None:
        """Count what was passed over."""
        mine = np.flatnonzero(quiet)
        if not len(mine):
            return
        half = halves[mine]
        order = np.argsort(half, kind="stable")
        mine, half = mine[order], half[order]
        starts = np.flatnonzero(np.append(True, half[1:] != half[:-1]))
        rows = half[starts]
        lasts = np.append(starts[1:], len(half)) - 1
        state = self._halves
        at = (heads.seq[mine] - state["next"][half]).view(np.int32).astype(np.int64) + heads.size[mine]
        reached = np.maximum(np.maximum.reduceat(at, starts), 0)
        advanced = rows[reached > 0]
        # The time of the last packet that brought something new.
        new = at == np.repeat(reached, np.diff(np.append(starts, len(half))))
        first_new = np.minimum.reduceat(np.where(new, np.arange(len(half)), len(half)), starts)
        when = times[mine[np.minimum(first_new, len(half) - 1)]]
        state["before"][advanced] += state["passed"][advanced]
        state["before_ns"][advanced] = np.where(
            state["passed"][advanced] > 0, state["passed_ns"][advanced], state["before_ns"][advanced]
        )
        state["passed"][advanced] = reached[reached > 0]
        state["passed_ns"][advanced] = when[reached > 0]
        state["next"][rows] += reached.astype(np.uint32)
        last = mine[lasts]
        acks = heads.flags[last] & ACK != 0
        state["ack"][rows[acks]] = heads.ack[last[acks]]
        state["acked"][rows[acks]] = True
        counts = lasts - starts + 1
        np.add.at(self._slots["packets"], rows >> 1, counts)
        np.maximum.at(self._slots["last"], rows >> 1, times[last])

    def _grow(self) -> None:
        old = len(self._connections)
        new = max(64, old)
        self._connections += [None] * new
        self._free += range(old + new - 1, old - 1, -1)
        self._halves = np.concatenate([self._halves, np.zeros(2 * new, _HALF)])
        self._slots = np.concatenate([self._slots, np.zeros(new, _SLOT)])


_HALF: Final = np.dtype(
    [
        ("next", "u4"),  # sequence number of the next byte
        ("spoken", "?"),
        ("before", "i8"),  # bytes that passed before the latest run that brought some, and their time
        ("before_ns", "i8"),
        ("passed", "i8"),  # in that run
        ("passed_ns", "i8"),
        ("ack", "u4"),  # the latest acknowledgement, where one came
        ("acked", "?"),
    ]
)
_SLOT: Final = np.dtype([("packets", "i8"), ("last", "i8")])


class _Table:
    """From keys of some 64-bit columns to row numbers, looked up many at a time (open addressing)."""

    PROBES: Final = 8

    def __init__(self, columns: int) -> None:
        self.used = 0
        self._dead = 0
        self._bits = 10
        self._keys = np.zeros((columns, 1 << self._bits), np.uint64)
        self._rows = np.full(1 << self._bits, _EMPTY, np.int64)

    def find(self, keys: tuple[Numbers, ...]) -> Numbers:
        """The row of each key, -1 where there is none."""
        mask = np.int64((1 << self._bits) - 1)
        place = _mixed(keys, self._bits)
        found = self._match(keys, place)
        for _ in range(self.PROBES - 1):
            missing = np.flatnonzero(found == _OTHER)
            if not len(missing):
                break
            place[missing] = (place[missing] + 1) & mask
            found[missing] = self._match(tuple(column[missing] for column in keys), place[missing])
        return np.maximum(found, -1)

    def _match(self, keys: tuple[Numbers, ...], place: Numbers) -> Numbers:
        rows: Numbers = self._rows[place]
        same = rows >= 0
        for own, column in zip(self._keys, keys, strict=True):
            same &= own[place] == column
        return np.where(same, rows, np.where(rows == _EMPTY, -1, _OTHER))

    def insert(self, key: tuple[int, ...], row: int) -> None:
        """Add a key that is not there."""
        if 4 * (self.used + self._dead) > 1 << self._bits:
            self._rebuild(grow=4 * self.used > 1 << (self._bits - 1))
        while (place := self._room(key)) is None:
            self._rebuild(grow=True)
        self._dead -= int(self._rows[place] == _DEAD)
        self._keys[:, place] = key
        self._rows[place] = row
        self.used += 1

    def remove(self, key: tuple[int, ...], row: int) -> None:
        """Take a key away that is there."""
        place = next(place for place in self._places(key) if self._rows[place] == row)
        self._rows[place] = _DEAD
        self.used -= 1
        self._dead += 1

    def _places(self, key: tuple[int, ...]) -> Iterator[int]:
        """Where a key may be."""
        first = _mixed_one(key, self._bits)
        return (place & ((1 << self._bits) - 1) for place in range(first, first + self.PROBES))

    def _room(self, key: tuple[int, ...]) -> int | None:
        """Where a key can be put; a place that was left will do: one connection may come and go often."""
        return next((place for place in self._places(key) if self._rows[place] < 0), None)

    def _rebuild(self, *, grow: bool) -> None:
        live = np.flatnonzero(self._rows >= 0)
        keys, rows = self._keys[:, live], self._rows[live]
        self._bits += grow
        while True:
            self._keys = np.zeros((len(keys), 1 << self._bits), np.uint64)
            self._rows = np.full(1 << self._bits, _EMPTY, np.int64)
            self._dead = 0
            if all(self._put(key, row) for key, row in zip(keys.T.tolist(), rows.tolist(), strict=True)):
                return
            self._bits += 1

    def _put(self, key: list[int], row: int) -> bool:
        place = self._room(tuple(key))
        if place is None:
            return False
        self._keys[:, place] = key
        self._rows[place] = row
        return True


_EMPTY: Final = -1
_DEAD: Final = -2
_OTHER: Final = -3
_FACTOR: Final = 0x9E3779B97F4A7C15
_ALL: Final = (1 << 64) - 1


def _mixed(keys: tuple[Numbers, ...], bits: int) -> Numbers:
    mixed = np.zeros(len(keys[0]), np.uint64)
    for column in keys:
        mixed = (mixed ^ column) * np.uint64(_FACTOR)
        mixed ^= mixed >> np.uint64(29)
    return (mixed * np.uint64(_FACTOR) >> np.uint64(64 - bits)).astype(np.int64)


def _mixed_one(key: tuple[int, ...], bits: int) -> int:
    """The same for one key."""
    mixed = 0
    for column in key:
        mixed = (mixed ^ column) * _FACTOR & _ALL
        mixed ^= mixed >> 29
    return (mixed * _FACTOR & _ALL) >> (64 - bits)


def _columns(key: Key) -> tuple[int, ...]:
    """A conversation's key in the form of `Headers.keys4` or `keys6`."""
    src, sport, dst, dport, network = key
    if len(src) == 4:
        return (int.from_bytes(src + dst, "big"), sport << 16 | dport, network)
    return (*struct.unpack(">4Q", src + dst), sport << 16 | dport, network)
