# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of sub-messages: SPICE_MSG_LIST, and what the `sub_list` of a full data header leads to.

Layout: `spice/protocol.h`, SpiceSubMessageList and SpiceSubMessage. All offsets count from the first byte of
the body. Servers of today send none; those of before 2010 sent what a client should forget this way.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dissect.spice import constants
from dissect.spice.channels import base
from dissect.stream.layout import Buffer, Malformed, Short
from dissect.stream.side import Side

if TYPE_CHECKING:
    from dissect.spice.meaning import Found
    from dissect.spice.session import SpiceSession


def read(session: SpiceSession, side: Side, data: Buffer, bounds: tuple[int, int, int], found: Found) -> int:
    """Read the list at `bounds[1]` of a body from `bounds[0]` to `bounds[2]`.

    Returns where the list or its first sub-message begins, whichever is first.

    Raises `Malformed` where offsets lead outside the body, or parts overlap or leave bytes between.
    """
    start, at, end = bounds
    if at > end:
        raise Malformed(f"its list of sub-messages is at byte {at - start} of {end - start}", start)
    try:
        listed, stop = base.SpiceSubMessageList.layout().decode(data, at, end)
    except Short:
        raise Malformed("its list of sub-messages is not whole", at) from None
    spans = [(at, stop)]
    shown: list[dict[str, Any]] = []
    for offset in listed["sub_messages"]:
        begin = start + offset
        try:
            head, body = base.SpiceSubMessage.layout().decode(data, begin, end)
        except Short:
            raise Malformed(f"a sub-message is at byte {offset} of {end - start}", at) from None
        over = body + head["size"]
        if over > end:
            raise Malformed(f"a sub-message has {head['size']} bytes where {end - body} are left", begin)
        spans.append((begin, over))
        shown.append(_shown(session, side, data, head, (body, over), found))
    spans.sort()
    for (_, before), (after, _) in pairwise(spans):
        if after != before:
            why = "overlap" if after < before else "leave bytes between"
            raise Malformed(f"its sub-messages {why}", after)
    if spans[-1][1] != end:
        raise Malformed(f"has {end - spans[-1][1]} bytes after its sub-messages", spans[-1][1])
    found.extra["listed_messages"] = shown
    return spans[0][0]


def _shown(
    session: SpiceSession, side: Side, data: Buffer, head: Any, span: tuple[int, int], found: Found
) -> dict[str, Any]:
    """One sub-message as it is shown; what is wrong with it is in `found`."""
    channel, number = session.channel_type or 0, head["type"]
    name = constants.message_name(channel, side, number) or f"message {number}"
    shown: dict[str, Any] = {"name": name, "size": head["size"]}
    cls = base.body(channel, side, number)
    if cls is None or cls is base.SpiceMsgList:
        shown["note"] = "not decoded"
        found.violations.append((span[0], f"{name} cannot be a sub-message"))
        return shown
    try:
        values, stop = cls.layout().decode(data, *span)
    except (Short, Malformed) as bad:
        why = bad.why if isinstance(bad, Malformed) else "its body is too short"
        found.violations.append((span[0], f"sub-message {name}: {why}"))
        return shown
    if stop != span[1]:
        found.violations.append((stop, f"sub-message {name} has {span[1] - stop} bytes after its body"))
    return {**shown, **cls.layout().describe(values)}
