# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether reading costs time in proportion to its bytes: each shape of stream at one size and at twice it.

Run it with `python tests/benchmarks/sessions.py [MB]`. It prints seconds, MB/s and the factor that twice the
bytes cost; about 2 is linear.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from dissect.rfb.session import RfbSession
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from dissect.stream.session import Session
from tests.rfb.examples import SERVER_INIT, rect, u32, update
from tests.spice.examples import data, linked
from tests.stream.talk import CLIENT, SERVER

MSS = 1448


def rfb() -> Session:
    session = RfbSession()
    for side, what in (
        (SERVER, b"RFB 003.003\n"),
        (CLIENT, b"RFB 003.003\n\1"),
        (SERVER, u32(1) + SERVER_INIT),
    ):
        session.feed(side, what, 0)
    return session


def spice() -> Session:
    session = SpiceSession()
    for side, what in linked(3):
        assert isinstance(what, bytes)
        session.feed(side, what, 0)
    return session


def repeat(one: bytes, size: int) -> bytes:
    return one * (size // len(one))


KEY = b"\4\1\0\0" + u32(0x61)
TILE = b"\x1a" + bytes(4) + b"\2" + bytes(12)
HEXTILE = update(rect(640, 480, 5, TILE * 1200))
RAW = update(rect(640, 480, 0, bytes(640 * 480 * 4)))
TIGHT = update(*[rect(64, 64, 7, b"\x00\xf4\x03" + bytes(500))] * 200)
MOTION = data(111, bytes(10))
PING = data(4, bytes(12 + 250_000))

# Name, a fresh session, whose bytes, one message, bytes a segment.
SHAPES: list[tuple[str, Callable[[], Session], Side, bytes, int]] = [
    ("RFB, small messages, one large segment", rfb, CLIENT, KEY, 1 << 30),
    ("RFB, small messages in TCP segments", rfb, CLIENT, KEY, MSS),
    ("RFB, a message a segment", rfb, CLIENT, KEY, len(KEY)),
    ("RFB, Hextile in TCP segments", rfb, SERVER, HEXTILE, MSS),
    ("RFB, Tight in TCP segments", rfb, SERVER, TIGHT, MSS),
    ("RFB, Raw in TCP segments", rfb, SERVER, RAW, MSS),
    ("RFB, Raw in segments of 16 bytes", rfb, SERVER, RAW, 16),
    ("RFB, cut text in segments of 16 bytes", rfb, CLIENT, b"\6\0\0\0" + u32(1 << 20) + bytes(1 << 20), 16),
    ("RFB, not decoded", rfb, SERVER, b"\xfc" + bytes(1 << 16), MSS),
    ("SPICE, small messages, one large segment", spice, CLIENT, MOTION, 1 << 30),
    ("SPICE, small messages in TCP segments", spice, CLIENT, MOTION, MSS),
    ("SPICE, large messages in TCP segments", spice, SERVER, PING, MSS),
]


def seconds(new: Callable[[], Session], side: Side, stream: bytes, size: int) -> tuple[float, int]:
    session = new()
    records = 0
    begin = time.process_time()
    for at in range(0, len(stream), size):
        records += len(session.feed(side, stream[at : at + size], at))
    return time.process_time() - begin, records


def main() -> None:
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 4_000_000
    print(f"{'':42} {'MB':>5} {'s':>7} {'MB/s':>7} {'µs/record':>10} {'twice':>6}")
    for name, new, side, one, segment in SHAPES:
        took, records = seconds(new, side, repeat(one, size), segment)
        twice, _ = seconds(new, side, repeat(one, 2 * size), segment)
        print(
            f"{name:42} {size / 1e6:5.1f} {took:7.3f} {size / 1e6 / took:7.1f}"
            f" {took * 1e6 / max(1, records):10.1f} {twice / took:6.2f}"
        )


if __name__ == "__main__":
    main()
