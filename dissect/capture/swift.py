# SPDX-License-Identifier: GPL-2.0-or-later
"""The swift way from a large capture to the events of its conversations: `kernels` does what is common.

For who wants verdicts alone (`Conversation.aside`) of files that lie on a disk as they are. A conversation
that opens, speaks something foreign on both sides, and closes without anything odd, or is cut off by a RST at
any time, never becomes an object before its end: it is told in one event, `Summed`, or together with those
that close one after the other, `SummedMany`. All that is odd in any way wakes it: its first packets are read
again from the file, what passed is told as `Passed`, and from there on it goes the ordinary way (`bulk` and
`conversations`), packet by packet. So the answers are those of the ordinary way; the tests hold that.

Memory: 864 bytes for each conversation that lives or ended in the last minute of capture time, in arrays that
grow in steps, and what `conversations` keeps for those that are awake.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from dissect.capture import kernels as k
from dissect.capture import machine
from dissect.capture.bulk import Bulk
from dissect.capture.conversations import (
    Connection,
    Conversation,
    Conversations,
    Ended,
    EndedBy,
    Event,
    Key,
    Passed,
    Summary,
    Summed,
    SummedMany,
)
from dissect.capture.files import Capture
from dissect.capture.link import RST, SYN, Segment, decode, endpoint
from dissect.capture.reassembly import Counters
from dissect.capture.records import Again, Frame
from dissect.stream import Side

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers: TypeAlias = npt.NDArray[Any]

READ_AHEAD: Final = 4 << 20
"""Bytes that are read from a file at once: few enough to stay in the processor's cache."""

LEAST: Final = 512
MOST: Final = 16384
"""Records taken at once, at least and at most: a conversation cannot fall asleep in the midst of them."""

TODO: Final = 512
"""What is left to do ends them earlier: packets that come one by one, and conversations that end."""

SLOTS: Final = 4096
"""Conversations that there is room for at first."""

SLOTS_MOST: Final = 1 << 20
"""Conversations that there is ever room for (900 MB); with one more, those silent longest are given up."""

TEXTS: Final = 1 << 14
"""Addresses whose texts are remembered."""

_KEY: Final = np.array(k.KEY)

_COMMON: Final = np.array(
    (
        k.ORDINAL, k.FRAME, k.START, k.LAST, k.ESTABLISHED, k.HEADS, k.PACKETS, k.KEY_NETWORK, k.KEY_PORTS,
        k.CLIENT, k.FIRST,
    )
)  # fmt: skip
"""What is told of a conversation as a whole, ..."""

_EACH: Final = np.array(
    (k.HEAD_AT, k.HEAD_SIZE, k.FIRST_NS, k.SENT, k.DATA_NS, k.SENT_BY, k.FIN_NS, k.RESET_NS)
)
"""...and of each side, as pairs of columns: its head, then what `Summary` has in this order."""

_FIRSTS: Final = (Side.CLIENT, Side.SERVER, None)

_CLOSED: Final = 6
_RESET: Final = 7
"""Where its FIN and its RST are among these."""


class Swift(Bulk):
    """Reads captures into `conversations`, one after the other; each must be `Capture.readable_again`."""

    def __init__(
        self,
        conversations: Conversations,
        firsts: bytes,
        *,
        beside: bool = False,
        run: machine.Functions | None = None,
    ) -> None:
        """firsts: what each first byte of a side says, see `stream.recognition`.

        beside: a thread of its own reads the file, so that two cores are used. run: the kernels, compiled or
        plain; None takes those of `machine.functions`.
        """
        super().__init__(conversations)
        self._kernels = machine.functions() if run is None else run
        self._beside = beside
        self._firsts = np.frombuffer(firsts, np.uint8).astype(np.int64)
        state = self._state = np.zeros(k.STATES, np.int64)
        state[k.SEED] = int.from_bytes(os.urandom(4), "big") >> 1
        state[k.LATEST] = k.NEVER
        self._slots = np.zeros((SLOTS, k.COLUMNS), np.int64)
        self._table = np.zeros(4 * SLOTS, np.int64)
        self._free = np.arange(SLOTS - 1, -1, -1, dtype=np.int64)
        state[k.FREE_COUNT] = SLOTS
        self._todo = np.zeros((TODO, k.TODO_COLUMNS), np.int64)
        self._snaps = np.zeros((TODO, k.COLUMNS), np.int64)
        self._times = np.zeros(MOST, np.int64)
        self._opens = np.zeros((MOST, 2), np.int64)
        self._faces = np.zeros((0, k.FACE_COLUMNS), np.int64)
        self._key = np.zeros(10, np.int64)
        self._asleep: dict[int, Connection] = {}
        self._over: list[Connection] = []
        conversations.forgotten = self._over.append
        conversations.wake = self._wake_one
        self._began_at = array("q")
        """For each conversation that began the ordinary way: how many had begun in the kernel by then."""
        self._again: Again | None = None
        self._late: list[Event] = []
        """What became known where nobody could be told at once."""
        self._changed = False
        """Whether packets that were read are not in the file any more."""
        self._many: list[tuple[int, SummedMany]] = []
        """What closed in this step, and before which of its events."""
        self._cut: list[Summed] = []
        self._cut_ns = 0
        self._most = LEAST
        self._texts = _Texts()

    # -- captures

    @property
    def count(self) -> int:
        """Conversations found so far."""
        return int(self._state[k.ORD]) + len(self._began_at)

    def read(
        self,
        capture: Capture,
        *,
        keep: Callable[[Frame], bool] | None = None,
        tick: Callable[[], None] | None = None,
        more: bool = False,
    ) -> Iterator[Event]:
        """As `Bulk.read`. more: another capture follows."""
        assert keep is None
        for event in self.read_many(capture, tick=tick, more=more):
            if isinstance(event, SummedMany):
                yield from event
            else:
                yield event

    def read_many(
        self, capture: Capture, *, tick: Callable[[], None] | None = None, more: bool = False
    ) -> Iterator[Event | SummedMany]:
        """The same, but most of those that are told as a whole come many at once."""
        capture.read_ahead(READ_AHEAD)
        if self._beside:
            capture.read_beside(READ_AHEAD)
        try:
            while True:
                events: list[Event] = []
                if tick is not None:
                    tick()
                going = self._step(capture, events)
                told = 0
                for place, many in self._many:
                    yield from events[told:place]
                    yield many
                    told = place
                yield from events[told:]
                self._many.clear()
                late, self._late = self._late, []
                yield from late
                self._lay_down()
                self._forget()
                if not going:
                    break
        except BaseException:  # also where nobody wants more
            self._close()
            raise
        if more:
            woken = self._wake_all()
            self._compare(capture)
            self._close()
            yield from woken

    def finish(self, capture: Capture, end_ns: int | None = None) -> Iterator[Event]:
        """As `Bulk.finish`."""
        self._decode.finish(capture.skipped)
        latest = int(self._state[k.LATEST])
        if latest != k.NEVER:
            self.conversations.passed(latest)
        end = self.conversations.last_ns if end_ns is None else end_ns
        events: list[Event] = []
        whole = self._slots[self._taken(k.YOUNG, k.CUT)]
        events += self._wholes(whole, [end] * len(whole), "capture")
        for connection in list(self._asleep.values()):
            self._wake(self._slots[connection.slot].tolist(), events)
        events += self.conversations.finish(end_ns)
        events.sort(key=_index)
        self._compare(capture)
        self._close()
        yield from events

    def _compare(self, capture: Capture) -> None:
        """Say so where the file is not what it was when it was read."""
        if self._changed or (self._again is not None and self._again.size < capture.offset):
            capture.changed()
        self._changed = False

    def _wake_all(self) -> list[Event]:
        """What is young here goes on the ordinary way, for its first packets cannot be read again later."""
        events: list[Event] = []
        for slot in self._taken(k.YOUNG, k.CUT).tolist():
            self._rouse(slot, events)
        return events

    def _taken(self, *states: int) -> Numbers:
        """The slots in these states, in the order in which their conversations began."""
        found = np.flatnonzero(np.isin(self._slots[:, k.STATE], states))
        return found[np.argsort(self._slots[found, k.ORDINAL], kind="stable")]

    def _close(self) -> None:
        if self._again is not None:
            self._again.close()
            self._again = None

    # -- one step

    def _step(self, capture: Capture, events: list[Event]) -> bool:
        """Take the next records; False at the end of the capture."""
        layout = capture.layout()
        if layout is None:
            return self._odd(capture, events)
        state = self._state
        if self._again is None or not self._again.same(layout):
            events += self._wake_all()
            self._close()
            self._again = capture.again(layout)
            self._faces = np.array(layout.faces, np.int64).reshape(-1, k.FACE_COLUMNS)
        elif len(layout.faces) != len(self._faces):
            self._faces = np.array(layout.faces, np.int64).reshape(-1, k.FACE_COLUMNS)
        state[k.AT : k.SCALE + 1] = (
            layout.position,
            capture.frames + 1,
            layout.base,
            layout.form,
            layout.header,
            layout.limit,
            layout.linktype,
            layout.scale,
        )
        state[k.MOST] = self._most
        udp, quiet = int(state[k.UDP]), int(state[k.QUIET])
        reason = self._kernels.step(
            np.frombuffer(layout.buffer, np.uint8),
            state,
            self._faces,
            self._slots,
            self._table,
            self._free,
            self._todo,
            self._snaps,
            self._times,
            self._opens,
            self._firsts,
            self._key,
        )
        count = int(state[k.ROWS])
        if count:
            capture.took(count, int(state[k.AT]), int(state[k.LOW]), int(state[k.HIGH]))
            if state[k.UDP] > udp:
                capture.skipped["UDP"] += int(state[k.UDP]) - udp
            self.passed += int(state[k.QUIET]) - quiet
        if count or state[k.TODO]:
            self._work_off(capture, layout.buffer, count, events)
        match reason:
            case k.MORE:
                return capture.fill(int(state[k.NEED])) or self._odd(capture, events)
            case k.ODD:
                return self._odd(capture, events)
            case k.ROOM:
                self._make_room(events)
            case _:
                pass
        return True

    def _odd(self, capture: Capture, events: list[Event]) -> bool:
        """One frame as the capture gives it; False where there is none."""
        frame = next(capture, None)
        if frame is None:
            return False
        segment = self._decode(frame, capture.skipped)
        if segment is not None:
            self._unusual(segment, int(self._state[k.ORD]), events)
        return True

    def _work_off(self, capture: Capture, buffer: bytes, count: int, events: list[Event]) -> None:
        """Do what the kernel left to do, in order, with what becomes due by time alone."""
        state, conversations = self._state, self.conversations
        number = int(state[k.NUMBER])
        opens = self._opens[: int(state[k.OPENS])]
        if opens[:, 1].any():
            conversations.networks.update(opens[:, 1].tolist())
        times = self._times[:count]
        last_ns = int(times.max()) if count else k.NEVER
        rows = self._todo[: int(state[k.TODO])]
        ended = rows[rows[:, k.T_KIND] == k.CUT_OFF]
        wholes = self._wholes(self._snaps[ended[:, k.T_SNAP]], ended[:, k.T_TIME].tolist())
        done = rows[rows[:, k.T_KIND] == k.DONE]
        runs: list[list[int]] = []  # of what is done: before which event, and up to which row
        todo = rows.tolist()
        cut = self._cut  # what is cut off with one packet; where there is much of it, that packet comes again
        place = 0 if cut else -1  # the row up to which what was due has been seen to
        for row in todo:
            index, kind = row[k.T_ROW], row[k.T_KIND]
            if cut and (kind != k.CUT_OFF or index != place):
                self._tell_due(self._cut_ns, cut, events)
            segment: Segment | None = None
            if kind == k.OTHER:
                frame = capture.frame_of(
                    row[k.T_INTERFACE],
                    number + index,
                    buffer[row[k.T_START] : row[k.T_END]],
                    row[k.T_TIME],
                    row[k.T_LENGTH],
                    row[k.T_LINK],
                    row[k.T_OFFSET],
                )
                segment = self._decode(frame, capture.skipped)
                if segment is None:
                    continue
                times[index] = segment.time_ns
                last_ns = max(last_ns, segment.time_ns)
            if conversations.due_ns <= last_ns and not cut:
                until = index + 1 if kind == k.DONE else index
                self._due(times, place + 1, until, events)
            place = max(place, index - (kind == k.WAKE))
            if kind == k.CUT_OFF:
                cut.append(next(wholes))
                self._cut_ns = row[k.T_TIME]
                continue
            if kind == k.DONE:
                if not runs or runs[-1][0] != len(events):
                    runs.append([len(events), runs[-1][1] if runs else 0])
                runs[-1][1] += 1
            elif kind == k.WAKE:
                self._wake(self._snaps[row[k.T_SNAP]].tolist(), events)
            elif segment is not None:
                self._unusual(segment, row[k.T_ORD], events)
            else:
                self._push_at(_segment(row, buffer, number), row[k.T_ORD], events)
        if cut and place < count:
            self._tell_due(self._cut_ns, cut, events)
        if conversations.due_ns <= last_ns:
            self._due(times, place + 1, count, events)
        if last_ns != k.NEVER:
            conversations.passed(last_ns)
        if runs:
            self._tell_many(self._snaps[done[:, k.T_SNAP]], done[:, k.T_TIME].tolist(), runs)
        # Short steps let conversations fall asleep soon, where there are many of them to be looked at.
        looked_at = len(todo) - len(ended) - len(done)
        if 24 * looked_at > count:
            self._most = max(self._most // 2, LEAST)
        elif 96 * looked_at < count:
            self._most = min(self._most * 2, MOST)

    def _due(self, times: Numbers, start: int, stop: int, events: list[Event]) -> None:
        """Let end what is due at the packets from `start` to before `stop`, each at its own time."""
        conversations = self.conversations
        while start < stop:
            later = times[start:stop] >= conversations.due_ns
            at = int(np.argmax(later))
            if not later[at]:
                return
            start += at
            events += conversations.due(int(times[start]))
            start += 1

    def _tell_due(self, now: int, cut: list[Summed], events: list[Event]) -> None:
        """Tell all that became due with the packet of `now`, as if all of it had waited in one place.

        cut: what the kernel told of that packet; emptied.
        """
        found: list[tuple[int, int, list[Event]]] = [
            (one.conversation.end_due_ns or 0, one.conversation.index, [one]) for one in cut
        ]
        cut.clear()
        group: list[Event] = []
        for event in self.conversations.due(now):
            group.append(event)
            if isinstance(event, Ended):
                conversation = event.conversation
                found.append((conversation.end_due_ns or 0, conversation.index, group))
                group = []
        for _, _, its in sorted(found, key=_when):
            events += its

    # -- one segment

    def _push_at(self, segment: Segment, ordinal: int, events: list[Event]) -> None:
        """Give a segment to `conversations`; `ordinal` conversations had begun in the kernel before it."""
        conversations = self.conversations
        key = segment.key
        if (segment.network or len(conversations.networks) > 1) and conversations.find(key) is None:
            self._wake_elsewhere(key, events)
        conversations.count = ordinal + len(self._began_at)
        events += conversations.push(segment)
        if conversations.count > ordinal + len(self._began_at):
            self._began_at.append(ordinal)
        half = conversations.find(key)
        if half is not None:
            self._touched[half.connection] = None

    def _unusual(self, segment: Segment, ordinal: int, events: list[Event]) -> None:
        """A segment that the kernel has not seen."""
        state = self._state
        state[k.LATEST] = max(int(state[k.LATEST]), segment.time_ns)
        self._run_out(segment.time_ns, events)
        packed, side = _packed(segment.key)
        slot = self._find(packed)
        if slot >= 0 and self._slots[slot, k.STATE] == k.OVER:
            again = segment.flags & (SYN | RST) == SYN and self._slots[slot, k.ISN + side] != segment.seq
            if not again and state[k.LATEST] < self._slots[slot, k.UNTIL]:
                events += self.conversations.due(segment.time_ns)
                return
            self._kernels.remove(slot, state, self._slots, self._table, self._free)
            slot = -1
        if slot < 0:
            slot = self._insert(packed)
        elif self._slots[slot, k.STATE] != k.AWAKE:
            self._rouse(slot, events)
        self._slots[slot, k.STATE] = k.AWAKE
        self._push_at(segment, ordinal, events)

    def _run_out(self, now: int, events: list[Event]) -> None:
        """What the kernel does for those that are CUT, at a packet that it has not seen."""
        cut: list[Summed] = []
        while (slot := int(self._state[k.CUT_FIRST]) - 1) >= 0 and self._slots[slot, k.UNTIL] <= now:
            cut += self._wholes(self._slots[slot : slot + 1], [now])
            self._kernels.ran_out(slot, now, self._state, self._slots)
        if cut:
            self._tell_due(now, cut, events)

    def _wake_elsewhere(self, key: Key, events: list[Event]) -> None:
        """Wake what has the same addresses in other networks: this may be its other side."""
        for network in self.conversations.networks:
            slot = self._find(_packed((*key[:4], network))[0])
            if slot >= 0 and self._slots[slot, k.STATE] in (k.YOUNG, k.CUT):
                self._rouse(slot, events)

    # -- conversations

    def _index_of(self, ordinal: int) -> int:
        """The number of a conversation that began in the kernel, among all."""
        return ordinal + bisect_right(self._began_at, ordinal)

    def _rouse(self, slot: int, events: list[Event]) -> None:
        """Wake what is in a slot."""
        snap = self._slots[slot].tolist()
        if snap[k.STATE] == k.CUT:
            self._kernels.unlink(slot, self._state, self._slots)
        self._slots[slot, k.STATE] = k.AWAKE
        self._wake(snap, events)

    def _wake(self, snap: list[int], events: list[Event]) -> None:
        """A conversation goes on the ordinary way, from what the kernel knows of it."""
        if snap[k.STATE] == k.ASLEEP:
            self._told(self._asleep.pop(snap[k.SLOT]), snap, events)
            return
        segments = self._again_of(snap)
        if segments is None:  # gone from the file: what the kernel knows is all there is
            events += self._wholes(np.array([snap]), [snap[k.LAST]], "capture")
            return
        conversations, first = self.conversations, snap[k.HEADS]
        count, conversations.count = conversations.count, self._index_of(snap[k.ORDINAL])
        for segment in segments[:first]:
            events += conversations.push(segment)
        conversations.count = count
        half = conversations.find(segments[0].key)
        assert half is not None
        self._told(half.connection, snap, events)
        for segment in segments[first:]:
            events += conversations.push(segment)
        self._touched[half.connection] = None

    def _again_of(self, snap: list[int]) -> list[Segment] | None:
        """The first packets of a conversation, its FIN and its RST, read again; None where one is gone."""
        assert self._again is not None
        places = snap[k.PLACES : k.PLACES + 2 * snap[k.HEADS]]
        if snap[k.FIN_NS] or snap[k.FIN_NS + 1]:
            places += snap[k.FIN_AT], snap[k.FIN_FRAME]
        if snap[k.RESET_NS] or snap[k.RESET_NS + 1]:
            places += snap[k.RESET_AT], snap[k.RESET_FRAME]
        words = 8 if snap[k.KEY_PORTS] >> 32 else 2
        key = [snap[k.KEY_PORTS], snap[k.KEY_NETWORK], *snap[k.KEY_WORDS : k.KEY_WORDS + words]]
        found = []
        for offset, number in zip(places[::2], places[1::2], strict=True):
            frame = self._again.frame(offset, number)
            segment = None if frame is None else decode(frame)
            if not isinstance(segment, Segment) or _packed(segment.key)[0][: len(key)] != key:
                self._changed = True
                return None
            found.append(segment)
        return found

    def _wake_one(self, connection: Connection, events: list[Event]) -> None:
        assert connection.slot is not None
        self._rouse(connection.slot, events)

    def _told(self, connection: Connection, snap: list[int], events: list[Event]) -> None:
        """Bring what `reassembly` knows up to date; what has passed is added to `events`."""
        connection.slot = None
        conversation = connection.conversation
        conversation.packets += snap[k.PACKETS]
        conversation.last_ns = max(conversation.last_ns, snap[k.LAST])
        client = _client_of(connection) if snap[k.STATE] == k.ASLEEP else snap[k.CLIENT]
        halves = ((connection.client, client), (connection.server, 1 - client))
        for half, side in halves:
            before, passed = snap[k.BEFORE + side], snap[k.PASSED + side]
            if not before and not passed:
                continue
            assert half.stream is not None
            half.stream.skip(before + passed)
            if before:
                events.append(Passed(conversation, half.side, before, snap[k.BEFORE_NS + side]))
            if passed:
                events.append(Passed(conversation, half.side, passed, snap[k.PASSED_NS + side]))
        for half, side in halves:
            if snap[k.ACKED + side]:
                other = half.other.stream
                assert other is not None
                other.acked(snap[k.ACKED + side] - 1, snap[k.LAST])

    def _wholes(self, snaps: Numbers, ends: Sequence[int], ended_by: EndedBy = "fin") -> Iterator[Summed]:
        """Conversations as wholes, from what the kernel knew of each when it ended, at `ends` (ns)."""
        assert self._again is not None
        head_of, texts = self._again.bytes, self._texts
        clients = snaps[:, k.CLIENT]
        for common, words, told, answered, now in zip(
            snaps[:, _COMMON].tolist(),
            snaps[:, k.KEY_WORDS : k.KEY_WORDS + 8].tolist(),
            _side(snaps, clients),
            _side(snaps, 1 - clients),
            ends,
            strict=True,
        ):
            ordinal, frame, start, last, established, heads, packets, network, ports, opener, first = common
            lower, higher = f":{ports >> 16 & 0xFFFF}", f":{ports & 0xFFFF}"
            if ports >> 32:
                both = (texts[tuple(words[:4])] + lower, texts[tuple(words[4:])] + higher)
            else:
                both = (texts[words[0]] + lower, texts[words[1]] + higher)
            client = both[opener]
            closed = told[_CLOSED] or answered[_CLOSED]
            reset = told[_RESET] or answered[_RESET]
            by: EndedBy = "reset" if reset else ended_by
            end = reset or now
            conversation = Conversation(
                self._index_of(ordinal),
                client,
                both[1 - opener],
                "syn",
                f"{client} sent the SYN",
                False,
                frame,
                start,
                last,
                start,
                established or None,
                heads + packets + (closed != 0) + (reset != 0),
                Counters(),
                0,
                end,
                by,
                True,
                network,
                None,
                reset + k.LINGER if reset else None,
            )
            yield Summed(
                conversation,
                end,
                by in ("capture", "limit"),
                None if first < 0 else Side.CLIENT if first == opener else Side.SERVER,
                Summary(head_of(told[0], told[1]), *told[2:]),
                Summary(head_of(answered[0], answered[1]), *answered[2:]),
            )

    def _tell_many(self, snaps: Numbers, ends: list[int], runs: list[list[int]]) -> None:
        """What has closed, at `ends` (ns), in runs: before which of the events, and up to which of these."""
        count = len(snaps)
        rows = np.arange(count)
        clients = snaps[:, k.CLIENT]
        ports = snaps[:, k.KEY_PORTS]
        indices = snaps[:, k.ORDINAL]
        indices = indices + np.searchsorted(np.array(self._began_at, np.int64), indices, "right")
        firsts = snaps[:, k.FIRST]
        texts = self._texts
        both = []
        for sides in (clients, 1 - clients):
            addresses: Sequence[int | tuple[int, ...]]
            if (ports >> 32).any():
                addresses = [self._address(snap, side) for snap, side in zip(snaps, sides, strict=True)]
            else:
                addresses = snaps[rows, k.KEY_WORDS + sides].tolist()
            its_ports = (ports >> 16 * (1 - sides) & 0xFFFF).tolist()
            words = snaps[rows[:, None], (k.BEGINS + 4 * sides)[:, None] + np.arange(4)]
            heads = words.astype(">u4").tobytes()
            both.append(
                (
                    [f"{texts[one]}:{port}" for one, port in zip(addresses, its_ports, strict=True)],
                    [heads[at : at + 16] if heads[at + 15] else b"" for at in range(0, len(heads), 16)],
                )
            )
        (client_ends, client_heads), (server_ends, server_heads) = both
        numbers, starts = indices.tolist(), snaps[:, k.START].tolist()
        spoke_first = [_FIRSTS[one] for one in np.where(firsts < 0, 2, firsts ^ clients).tolist()]
        start = 0
        for place, stop in runs:
            part = slice(start, stop)
            many = SummedMany(
                numbers[part],
                client_ends[part],
                server_ends[part],
                starts[part],
                spoke_first[part],
                client_heads[part],
                server_heads[part],
                partial(self._some, snaps[part], ends[part]),
            )
            self._many.append((place, many))
            start = stop

    def _some(self, snaps: Numbers, ends: list[int], places: Sequence[int]) -> Iterator[Summed]:
        return self._wholes(snaps[places], [ends[place] for place in places])

    def _address(self, snap: Numbers, side: int) -> int | tuple[int, ...]:
        """The address of one side as `_Texts` has it."""
        if snap[k.KEY_PORTS] >> 32 == 0:
            return int(snap[k.KEY_WORDS + side])
        return tuple(snap[k.KEY_WORDS + 4 * side : k.KEY_WORDS + 4 * side + 4].tolist())

    # -- the table

    def _find(self, packed: list[int]) -> int:
        key = np.array(packed, np.int64)
        hashed = self._kernels.hash_of(key, int(self._state[k.SEED]))
        return int(self._kernels.find(key, hashed, self._slots, self._table))

    def _insert(self, packed: list[int]) -> int:
        if self._state[k.FREE_COUNT] < 2:
            self._make_room(self._late)
        key = np.array(packed, np.int64)
        hashed = self._kernels.hash_of(key, int(self._state[k.SEED]))
        return int(self._kernels.insert(key, hashed, self._state, self._slots, self._table, self._free))

    def _lay_down(self) -> None:
        for connection in self._touched:
            if not connection.conversation.aside or connection.slot is not None or not connection.quiet:
                continue
            if connection.keys[0][4] != connection.keys[1][4]:
                continue  # each side in a network of its own
            slot = self._find(_packed(connection.keys[0])[0])
            if slot < 0:
                continue
            row = self._slots[slot]
            kept = row[_KEY]
            row[:] = 0
            row[_KEY] = kept
            client = _client_of(connection)
            for half, side in ((connection.client, client), (connection.server, 1 - client)):
                assert half.stream is not None
                row[k.NEXT + side] = half.stream.next_seq
                row[k.SPOKE + side] = half.stream.position > 0
            row[k.LAST] = connection.conversation.last_ns
            row[k.STATE] = k.ASLEEP
            connection.slot = slot
            self._asleep[slot] = connection
        self._touched.clear()

    def _forget(self) -> None:
        """Free the slots of what `conversations` has forgotten."""
        for connection in self._over:
            for key in connection.keys:
                if self.conversations.find(key) is None:
                    slot = self._find(_packed(key)[0])
                    if slot >= 0 and self._slots[slot, k.STATE] == k.AWAKE:
                        self._kernels.remove(slot, self._state, self._slots, self._table, self._free)
        self._over.clear()

    def _make_room(self, events: list[Event]) -> None:
        state = self._state
        self._kernels.sweep(state, self._slots, self._table, self._free)
        count = len(self._slots)
        if 4 * state[k.FREE_COUNT] <= count and count >= SLOTS_MOST:
            self._give_up(count // 4, events)
        if state[k.FREE_COUNT] < 2 or (4 * state[k.FREE_COUNT] <= count and count < SLOTS_MOST):
            self._slots = np.concatenate([self._slots, np.zeros((count, k.COLUMNS), np.int64)])
            free = np.zeros(2 * count, np.int64)
            known = int(state[k.FREE_COUNT])
            free[:count] = np.arange(2 * count - 1, count - 1, -1)
            free[count : count + known] = self._free[:known]
            self._free = free
            state[k.FREE_COUNT] += count
        self._table = np.zeros(4 * len(self._slots), np.int64)
        self._kernels.rebuild(state, self._slots, self._table)

    def _give_up(self, many: int, events: list[Event]) -> None:
        """Free slots: of what is over, then of what was silent longest."""
        conversations, slots = self.conversations, self._slots
        for state in (k.OVER, k.CUT, k.YOUNG):
            found = np.flatnonzero(slots[:, k.STATE] == state)
            found = found[np.argsort(slots[found, k.LAST], kind="stable")][:many]
            many -= len(found)
            for slot in found.tolist():
                if state == k.CUT:
                    self._kernels.unlink(slot, self._state, slots)
                if state != k.OVER:
                    conversations.given_up += state == k.YOUNG
                    events += self._wholes(slots[slot : slot + 1], [int(slots[slot, k.LAST])], "limit")
                self._kernels.remove(slot, self._state, slots, self._table, self._free)


def _when(due: tuple[int, int, list[Event]]) -> tuple[int, int]:
    return due[:2]


def _index(event: Event) -> int:
    return event.conversation.index


def _client_of(connection: Connection) -> int:
    """Which of the two, the lower (0) or the higher address, the client is."""
    side = _packed(connection.keys[0])[1]
    return side if connection.opener.side is Side.CLIENT else 1 - side


class _Texts(dict[int | tuple[int, ...], str]):
    """Addresses as `endpoint` writes them, without the port; each is written once.

    One of IPv4 is asked for as one word of 32 bits, of IPv6 as four.
    """

    def __missing__(self, address: int | tuple[int, ...]) -> str:
        words = (address,) if isinstance(address, int) else address
        packed = b"".join(word.to_bytes(4, "big") for word in words)
        text = endpoint(packed, 0).removesuffix(":0")
        if len(self) >= TEXTS:
            self.clear()
        self[address] = text
        return text


def _side(snaps: Numbers, sides: Numbers) -> list[list[int]]:
    """Of each conversation the columns `_EACH` of one of its sides."""
    found: list[list[int]] = snaps[np.arange(len(snaps))[:, None], _EACH + sides[:, None]].tolist()
    return found


def _packed(key: Key) -> tuple[list[int], int]:
    """A key as the kernel has it, and which of its two ends the sender is."""
    src, sport, dst, dport, network = key
    side = 0 if (src, sport) <= (dst, dport) else 1
    if side:
        src, sport, dst, dport = dst, dport, src, sport
    both = src + dst
    words = [int.from_bytes(both[at : at + 4], "big") for at in range(0, len(both), 4)]
    ports = sport << 16 | dport | (len(src) > 4) << 32
    return [ports, network, *words, *[0] * (8 - len(words))], side


def _segment(row: list[int], buffer: bytes, number: int) -> Segment:
    """A segment as `decode` would give it."""
    at = row[k.T_ADDRESSES]
    width = 16 if row[k.T_SIX] else 4
    start, size, end = row[k.T_PAYLOAD], row[k.T_SIZE], row[k.T_END]
    payload = buffer[start : min(start + size, end)]
    return Segment(
        row[k.T_TIME],
        buffer[at : at + width],
        row[k.T_SPORT],
        buffer[at + width : at + 2 * width],
        row[k.T_DPORT],
        row[k.T_SEQ],
        row[k.T_ACK],
        row[k.T_FLAGS],
        payload,
        size - len(payload),
        number + row[k.T_ROW],
        row[k.T_NETWORK],
    )
