# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversations written down as a list of what each side does, for tests of what is found in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dissect.capture import Bytes, Closed, Conversation, Ended, Established, Event, Lost, Opened, Reset
from dissect.capture.conversations import RolesFrom
from dissect.dissection.reading import Dissected, dissect
from dissect.stream import Side

C, S = Side.CLIENT, Side.SERVER
FIN, RST = "FIN", "RST"
MS = 1_000_000

Step = tuple[Side, bytes | str | int, int]
"""Side; bytes it sends, or FIN, RST, or a number of lost bytes; ns since the end of the TCP handshake."""

GREETING = b"RFB 003.008\n"
LINK_MESS = b"REDQ" + struct.pack("<IIIIBBIIIII", 2, 2, 26, 0, 1, 0, 1, 1, 18, 0b1001, 9)
ERROR_REPLY = b"REDQ" + struct.pack("<IIII", 2, 2, 178, 2) + bytes(162) + struct.pack("<III", 0, 0, 0)
LINK_REPLY = (
    b"REDQ" + struct.pack("<IIII", 2, 2, 186, 0) + bytes(162) + struct.pack("<IIIII", 1, 1, 178, 0b1001, 9)
)
CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303")
TLS_ALERT = bytes.fromhex("15030300020246")
BLACKLISTED = b"RFB 003.003\n" + struct.pack(">II", 0, 26) + b"Too many security failures"


def events(
    steps: list[Step],
    end: int,
    *,
    roles: RolesFrom = "syn",
    mid_stream: bool = False,
    established: bool = True,
    index: int = 0,
) -> Iterator[Event]:
    """The events of one conversation; `end` is the time of its last packet, or of the capture's end."""
    because = "who sent the SYN" if roles == "syn" else "the port of the server is the lower one"
    conversation = Conversation(
        index, "127.0.0.1:40000", "127.0.0.1:5900", roles, because, mid_stream, 1, 0, 0
    )
    yield Opened(conversation, 0)
    if established:
        yield Established(conversation, 0)
    left: set[Side] = set()
    for side, what, time in steps:
        if what == FIN:
            left.add(side)
            yield Closed(conversation, side, time)
        elif what == RST:
            left.update(Side)
            yield Reset(conversation, side, time)
        elif isinstance(what, int):
            yield Lost(conversation, side, what, time)
        elif isinstance(what, bytes):
            yield Bytes(conversation, side, what, time)
    yield Ended(conversation, end, open=left != set(Side))


def run(steps: list[Step], end: int | None = None, **options: object) -> Dissected:
    """Dissect one conversation; it ends with its last step where `end` is not given."""
    end = end if end is not None else max((time for _, _, time in steps), default=0)
    (found,) = dissect(events(steps, end, **options))  # type: ignore[arg-type]
    return found
