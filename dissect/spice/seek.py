# SPDX-License-Identifier: GPL-2.0-or-later
"""After a gap that hides where a message begins: where does the next one?

The rule, which invents nothing: a place is a boundary only if from there on `CHAIN` messages stand one behind
the other, each of a type that the channel has on that side, each with a body that its class reads to its very
end, at least two of them with a body, and, with full headers, serial numbers that ascend by one; or if fewer,
at least two with a body, reach exactly to the end of what there is. The first may hold anything only where it
is short: a long one would be believed wherever its size happens to lead. Places are tried in order of the
stream; what is passed over is reported as bytes that are not decoded. Where nothing fits, everything is.
"""

from __future__ import annotations

from collections.abc import Generator
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


def boundary(session: SpiceSession, side: Side, flow: Flow) -> Generator[Want, None, Framed | None]:
    """Returns None where a message begins here, else the bytes before the next (or all that there are)."""
    at, ended = 0, False
    while at < WINDOW:
        size = len(flow.buffer)
        proof = (
            _chain(session, side, flow.buffer, at, ended=ended) if at < size else Want(at + 1, NOT_DECODED)
        )
        if proof is True:
            return _passed(session, side, at) if at else None
        if proof is False:
            at += 1
        elif ended:
            return _passed(session, side, size)
        else:
            yield proof
            # Woken before it is there: a gap or the end follows, and what is there is all there is.
            ended = len(flow.buffer) < proof.size
    return _passed(session, side, at)


def _passed(session: SpiceSession, side: Side, size: int) -> Framed:
    lost = session.seeking[side]
    what = f"a gap of {lost} bytes" if lost else "a message of impossible size"
    why = f"follows {what}, and no message begins here"
    return Framed(NOT_DECODED, size, note=f"not decoded: {why}")


def _chain(session: SpiceSession, side: Side, data: Buffer, at: int, *, ended: bool) -> bool | Want:
    """Whether messages stand in a row from `at` on, or what must come before that is known.

    `ended`: no more bytes come.
    """
    mini = session.mini_header
    layout = (base.SpiceMiniDataHeader if mini else base.SpiceDataHeader).layout()
    channel = session.channel_type or 0
    bodies, serial = 0, None
    for place in range(CHAIN):
        if at == len(data):
            return (bodies >= 2) if ended else Want(at + 1, NOT_DECODED)
        try:
            values, body = layout.decode(data, at)
        except Short:
            return False if ended else _possible(session, side, data, at)
        number, size = values["message_type"], values["message_size"]
        if constants.message_name(channel, side, number) is None or size > SIZE_LIMIT:
            return False
        if not mini and (serial is not None and values["message_serial"] != serial + 1):
            return False
        serial = values.get("message_serial")
        cls = base.body(channel, side, number)
        if not place and size > ANYTHING_LIMIT and cls is not None and _holds_anything(cls):
            return False
        if body + size > len(data):
            fixed = cls.layout().fixed if cls is not None else None
            if ended or (fixed is not None and fixed != size):
                return False
            return Want(body + size, NOT_DECODED)
        if cls is not None and not values.get("sub_list"):
            try:
                if cls.layout().decode(data, body, body + size)[1] != body + size:
                    return False
            except (Short, Malformed):
                return False
        bodies += size > 0
        at = body + size
    return bodies >= 2


def _holds_anything(cls: type[base.SpiceMessage]) -> bool:
    """Whether a body of this class may be of any size, whatever its bytes."""
    last: Any = cls.fields_desc[-1] if cls.fields_desc else None
    return isinstance(last, RestField) and not isinstance(last, PointedField)


def _possible(session: SpiceSession, side: Side, data: Buffer, at: int) -> bool | Want:
    """False where the beginning of a header that is there cannot be one; else the next byte is wanted."""
    first = at if session.mini_header else at + 8
    if len(data) >= first + 2:
        number = int.from_bytes(data[first : first + 2], "little")
        if constants.message_name(session.channel_type or 0, side, number) is None:
            return False
    return Want(len(data) + 1, NOT_DECODED)
