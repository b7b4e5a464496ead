# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a message begins, after a gap that hides it, or where a size cannot be right.

The rule, which invents nothing: a place is a boundary only if from there on `CHAIN` messages stand one behind
the other, each of a type that the channel has on that side, each with a body that its class reads to its very
end, at least two of them with a body, and, with full headers, serial numbers that ascend by one; or if fewer,
at least two with a body, reach exactly to the end of what there is. Where no message of a client holds bytes
that may be anything (a display's says hardly more than ACK), those without a body count as well. The first
may hold anything only where it is short: a long one would be believed wherever its size happens to lead.
Places are tried in order of the stream; what is passed over is reported as bytes that are not decoded. Where
nothing fits, everything is.

A size that was overwritten makes one message of many, or leaves the rest of a message to be taken for others.
So a message that cannot be as it says (`doubted`, `Search.grown`, or a body that its class does not read) is
held to what is around it (`Search.believed`): its size stands where a header can be behind it; else the next
message is sought among the bytes that it would swallow, and then behind them.

A first look is a pattern's: where the numbers of a header can stand. The rest looks only there.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from dissect.spice import constants
from dissect.spice.channels import base
from dissect.spice.fields import PointedField
from dissect.stream.layout import Buffer, Malformed, RestField, Short
from dissect.stream.records import NOT_DECODED
from dissect.stream.session import Flow, Framed, Want
from dissect.stream.side import Side

if TYPE_CHECKING:
    from dissect.spice.session import SpiceSession

CHAIN = 4
"""Messages in a row that prove a boundary."""
WINDOW = 1 << 16
"""Bytes that are looked at before they are given up."""
SIZE_LIMIT = 1 << 18
"""Bytes of one message in the chain: PINGs have 256,000 at most."""
ANYTHING_LIMIT = 1 << 12
"""Bytes of the first message of the chain where its body ends with bytes that may be anything."""
GROWN = 1 << 16
"""Bytes of a body that is not whole after which it is looked at; again when there are twice as many."""
FREELY = 1 << 20
"""Bytes of bodies that are read in vain, besides as many as the stream has by then: that bounds time."""


def boundary(session: SpiceSession, side: Side, flow: Flow) -> Generator[Want, None, Framed | None]:
    """Returns None where a message begins here, else the bytes before the next (or all that there are)."""
    place = yield from Search(session, side, flow).find(0, WINDOW)
    if place == 0:
        return None
    size = min(WINDOW, len(flow.buffer)) if place is None else place
    lost = session.seeking[side]
    what = f"a gap of {lost} bytes" if lost else "a message of impossible size"
    why = f"follows {what}, and no message begins here"
    return Framed(NOT_DECODED, size, note=f"not decoded: {why}")


def doubted(channel: int, side: Side, number: int, size: int, sub_list: int = 0) -> str | None:
    """Why a body of `size` bytes cannot be one of message `number`; None where it can.

    `sub_list`: where in it a list of sub-messages is, which may follow any body; 0: nowhere.
    """
    cls = base.body(channel, side, number)
    if cls is None:
        if constants.message_name(channel, side, number) is not None or not any(
            _own(channel, one) for one in Side
        ):
            return None
        name = constants.CHANNEL_TYPES.get(channel, f"type {channel}")
        return f"the {name} channel has no {side} message {number}"
    layout = cls.layout()
    if size < layout.least:
        return f"has {size} bytes of body where at least {layout.least} are needed"
    if layout.fixed not in (None, size) and not sub_list:
        return f"has {size - layout.least} bytes after its body"
    if size > cls.usual:
        return f"has {size} bytes of body, where there are {cls.usual} at most"
    return None


def _own(channel: int, side: Side) -> Mapping[int, str]:
    """The messages that a channel has besides those of every channel."""
    return constants.MESSAGES.get(channel, {}).get(side, {})


def holds_anything(cls: type[base.SpiceMessage]) -> bool:
    """Whether a body of this class may be of any size, whatever its bytes."""
    last: Any = cls.fields_desc[-1] if cls.fields_desc else None
    return isinstance(last, RestField) and not isinstance(last, PointedField)


@cache
def _sizes(channel: int, side: Side) -> Mapping[int, tuple[int, int]]:
    """Message number -> the least and the largest body that it can have in a chain."""
    found: dict[int, tuple[int, int]] = {}
    for number in {**constants.MESSAGES[constants.COMMON][side], **_own(channel, side)}:
        cls = base.body(channel, side, number)
        layout = None if cls is None else cls.layout()
        least, fixed = (0, None) if layout is None else (layout.least, layout.fixed)
        found[number] = least, SIZE_LIMIT if fixed is None else fixed
    return found


@cache
def _terse(channel: int, side: Side) -> bool:
    """Whether no message of a client's own holds anything: none of its bytes look like headers by chance."""
    bodies = [base.body(channel, side, number) for number in _own(channel, side)]
    return side is Side.CLIENT and not any(cls is None or holds_anything(cls) for cls in bodies)


@cache
def _headers(channel: int, side: Side, mini: bool) -> re.Pattern[bytes]:
    """Where the type of a message of this channel can stand in a header: a first look, which passes more."""
    numbers = sorted(_sizes(channel, side))
    low = [bytes({number & 255 for number in numbers if number >> 8 == high}) for high in (0, 1)]
    first = b"|".join(
        b"(?<=[%b])%c" % (re.escape(bytes(sorted(some))), high) for high, some in enumerate(low) if some
    )
    any_of = b"[%b]" % re.escape(bytes(sorted({*low[0], *low[1]})))
    size = b"..[\0-%c]\0" % (SIZE_LIMIT >> 16)
    # A full header begins with the serial number, which no session brings beyond 32 bits.
    before = b"" if mini else b"(?<=\0{4}.)"
    listed = b"" if mini else size
    return re.compile(b"%b%b(?:%b)%b%b" % (any_of, before, first, size, listed), re.DOTALL)


class Search:
    """Looks for boundaries in one side's bytes, from the first byte of the buffer on."""

    def __init__(self, session: SpiceSession, side: Side, flow: Flow) -> None:
        self._flow, self._side = flow, side
        self._channel = session.channel_type or 0
        self._head = (base.SpiceMiniDataHeader if session.mini_header else base.SpiceDataHeader).layout()
        self._before = 0 if session.mini_header else 8
        """Bytes of a header before the message's type."""
        self._pattern = _headers(self._channel, side, session.mini_header)
        self._sizes = _sizes(self._channel, side)
        self._bodies = 0 if _terse(self._channel, side) else 2
        """Messages with a body that a chain has at least."""
        self._in_vain = session.in_vain
        self.ended = False
        """Whether no more bytes come: a gap or the end follows."""

    def has(
        self, size: int, name: str | None = None, total: int | None = None
    ) -> Generator[Want, None, bool]:
        """Wait until `size` bytes are there; False where they do not come. `name`, `total`: see `Want`."""
        buffer = self._flow.buffer
        want = Want(size, name or NOT_DECODED, total)
        while len(buffer) < size and not self.ended:
            yield want
            # Woken before it is there: a gap or the end follows, and what is there is all there is.
            self.ended = len(buffer) < size
        return len(buffer) >= size

    def find(
        self, at: int, stop: int, last: int | None = None, *, fewer: bool = True
    ) -> Generator[Want, None, int | None]:
        """The first boundary from `at` on and before `stop`; None where there is none.

        `last`: where the bytes end that may prove it. `fewer`: whether fewer than `CHAIN` messages do, up to
        the end of what there is.
        """
        buffer, least = self._flow.buffer, self._head.least
        while at < stop:
            found = self._pattern.search(buffer, at + self._before, stop + least)
            at = max(at, len(buffer) - least + 1) if found is None else found.start() - self._before
            if at >= stop:
                return None
            if found is None:
                if (last is not None and at + least > last) or not (yield from self.has(at + least)):
                    return None
                continue
            if (yield from self._chain(at, last, fewer=fewer)):
                return at
            at += 1
        return None

    def _chain(self, at: int, last: int | None, *, fewer: bool) -> Generator[Want, None, bool]:
        """Whether messages stand in a row from `at` on."""
        long = self._in_vain[self._side] < FREELY + self._flow.offset + at
        buffer = self._flow.buffer
        bodies, serial, read = 0, None, 0
        for place in range(CHAIN):
            if not (yield from self._there(at + self._head.least, last)):
                return fewer and last is None and at == len(buffer) and place >= 2 and bodies >= self._bodies
            values, body = self._head.decode(buffer, at)
            number, size = values["message_type"], values["message_size"]
            least, most = self._sizes.get(number, (1, 0))
            if not least <= size <= most:
                break
            if serial is not None and values["message_serial"] != serial + 1:
                break
            serial = values.get("message_serial")
            cls = base.body(self._channel, self._side, number)
            if not place and size > ANYTHING_LIMIT and cls is not None and holds_anything(cls):
                break
            if not (yield from self._there(body + size, last)):
                break
            if cls is not None and not values.get("sub_list"):
                if size > ANYTHING_LIMIT and not long:
                    break
                read += size
                if not reads(cls, buffer, body, body + size):
                    break
            bodies += size > 0
            at = body + size
        else:
            return bodies >= self._bodies
        self._in_vain[self._side] += read
        return False

    def _there(self, size: int, last: int | None) -> Generator[Want, None, bool]:
        """As `has`, of bytes that may prove something."""
        return (last is None or size <= last) and (yield from self.has(size))

    def believed(self, at: int, end: int, *, defined: bool) -> Generator[Want, None, int | None]:
        """Where the next message begins after one that cannot be as it says: its body from `at` to `end`.

        Its size is believed where a header can stand behind it. None where nothing is. `defined`: whether it
        is a message that somebody defined; else there may be more behind it that nobody did.
        """
        long = end - at > ANYTHING_LIMIT
        if long:  # it is not waited for
            place = yield from self.find(at, end)
            if place is not None:
                return place
        if (yield from self._follows(end, 1 if defined else CHAIN)):
            return end
        return None if long else (yield from self.find(at, end))

    def _follows(self, end: int, many: int) -> Generator[Want, None, bool]:
        """Whether at `end` there is nothing, or a defined message's header, as one of so `many`."""
        at = end
        for _ in range(many):
            if not (yield from self.has(at + self._head.least)):
                have = len(self._flow.buffer)
                return have >= end if at == end else have == at
            values, body = self._head.decode(self._flow.buffer, at)
            number, size = values["message_type"], values["message_size"]
            listed = values.get("sub_list", 0)
            if not number or listed > size or size > base.SpiceMessage.most:
                return False
            if number in self._sizes:
                return doubted(self._channel, self._side, number, size, listed) is None
            at = body + size
        return False

    def grown(
        self, cls: type[base.SpiceMessage] | None, at: int, end: int, name: str
    ) -> Generator[Want, None, tuple[str | None, int | None]]:
        """Wait for a body from `at` to `end`; returns why it is not what its size says, None where it may be.

        And where the next message begins, where that is known by now.
        """
        why, size = f"has {end - at} bytes of body, and messages begin among them", GROWN
        anything = cls is not None and holds_anything(cls)
        while at + size < end and (yield from self.has(at + size, name, end)):
            stop = _whole(cls, self._flow.buffer, at, at + size)
            if stop is not None:
                return f"has {end - stop} bytes after its body", None
            size *= 2
        if (yield from self.has(end, name, end)):
            if not anything or end - at <= ANYTHING_LIMIT:
                return None, None
            place = yield from self.find(at, end, end)
            believed = place is None or (yield from self._follows(end, 1))
            return (None, None) if believed else (why, place)
        # A gap may lie within a message; what holds anything may hold messages.
        bridged = anything and not self._flow.ended and end - at <= SIZE_LIMIT
        place = None if bridged else (yield from self.find(at, end, fewer=False))
        while True:
            if place is not None:
                return why, place
            yield Want(end, name, end)


def reads(cls: type[base.SpiceMessage] | None, data: Buffer, at: int, end: int) -> bool:
    """Whether a class reads a body to its very end."""
    try:
        return cls is not None and cls.layout().decode(data, at, end)[1] == end
    except (Short, Malformed):
        return False


def _whole(cls: type[base.SpiceMessage] | None, data: Buffer, at: int, have: int) -> int | None:
    """Where a body ends of which there are bytes up to `have`; None where that is not before `have`."""
    try:
        stop = have if cls is None else cls.layout().decode(data, at, have)[1]
    except (Short, Malformed):
        return None
    return stop if stop < have else None
