# SPDX-License-Identifier: GPL-2.0-or-later
"""What a side speaks, by its first bytes: RFB, SPICE, and what else is met on their ports.

Only the first bytes of a side are looked at, so `data` must begin where the side's stream begins.
"""

from __future__ import annotations

from functools import cache, lru_cache

from dissect.spice.constants import MAGIC
from dissect.stream.recognition import (
    AT_ONCE,
    BY_FIVE,
    BY_LINES,
    HEAD,
    NOT_HERE,
    WORD,
    No,
    NotYet,
    Recogniser,
    Recognition,
    Yes,
    magic,
)
from dissect.stream.text import QUOTED, quoted

ENOUGH = HEAD
"""Bytes after which no recogniser asks for more."""

PROTOCOLS = ("rfb", "spice", "tls", "websocket", "http", "ssh")
"""The names that `recognise` says yes with."""

TITLES = {
    "rfb": "RFB",
    "spice": "SPICE",
    "tls": "TLS",
    "websocket": "WebSocket",
    "http": "HTTP",
    "ssh": "SSH",
    "other": "something else",
    "nothing": "nothing",
}
"""How the names of the contract are written in a sentence."""

_METHODS = tuple(
    method + b" "
    for method in (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"CONNECT", b"PATCH")
)

recognise_rfb = magic("rfb", b"RFB ")
"""The first four bytes of either side's ProtocolVersion."""

recognise_spice = magic("spice", MAGIC)
"""The first four bytes of either side's SpiceLinkHeader."""

recognise_ssh = magic("ssh", b"SSH-")
_recognise_http = magic("http", *_METHODS, b"HTTP/1.")


def recognise_tls(data: bytes) -> Recognition:
    """A TLS record: handshake (22) or alert (21), version 3.x, a length that is allowed. RFC 8446, 5.1."""
    wanted = ({21, 22}, {3}, {0, 1, 2, 3, 4})
    for byte, allowed in zip(data, wanted, strict=False):
        if byte not in allowed:
            return No(f"begins with {data[:3].hex(' ')}")
    if len(data) < 5:
        return NotYet(5 - len(data))
    length = int.from_bytes(data[3:5], "big")
    if not 2 <= length <= 1 << 14:
        return No(f"a TLS record of {length} bytes does not exist")
    return Yes("tls", f"begins with a TLS {'alert' if data[0] == 21 else 'handshake'} record")


def recognise_http(data: bytes) -> Recognition:
    """HTTP/1, and the opening handshake of WebSocket within it (RFC 6455, 4)."""
    answer = _recognise_http(data)
    if not isinstance(answer, Yes):
        return answer
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end and len(data) < ENOUGH:
        return NotYet(1)
    if WORD not in head.lower():
        return answer
    lines = head.split(b"\r\n")
    upgrade = any(
        key.strip().lower() == b"upgrade" and WORD in value.lower()
        for key, _, value in (line.partition(b":") for line in lines[1:])
    )
    if lines[0].startswith(b"HTTP/1."):
        upgrade = upgrade and lines[0].split(b" ")[1:2] == [b"101"]
    if upgrade:
        return Yes("websocket", "asks for an upgrade to WebSocket")
    return answer


RECOGNISERS = {
    "rfb": recognise_rfb,
    "spice": recognise_spice,
    "tls": recognise_tls,
    "http": recognise_http,
    "ssh": recognise_ssh,
}


def first_bytes() -> bytes:
    """What each of the 256 first bytes says of a side, as `stream.recognition` has it; for `swift`."""
    return bytes(_first_byte(byte) for byte in range(256))


@cache
def _possible(byte: int) -> dict[str, Recogniser]:
    """Those of the recognisers that do not say no to this first byte."""
    one = bytes([byte])
    return {
        name: recogniser for name, recogniser in RECOGNISERS.items() if not isinstance(recogniser(one), No)
    }


@cache
def _first_byte(byte: int) -> int:
    maybe = set(_possible(byte))
    if not maybe:
        return AT_ONCE
    if maybe == {"http"}:
        return BY_LINES
    # TLS is named by five bytes, SSH by four.
    return BY_FIVE if maybe <= {"tls", "ssh"} else NOT_HERE


def recognise_foreign(head: bytes) -> Recognition:
    """`recognise` for the first bytes of a side that the table of `first_bytes` says enough of.

    The same answer, mostly from memory: it rests on the first five bytes, or on as many as are quoted.
    """
    if head and _first_byte(head[0]) == BY_FIVE:
        answer = _by_beginning(head[:5])
        if isinstance(answer, Yes):
            return answer
    if head and _first_byte(head[0]) in (AT_ONCE, BY_FIVE):
        return _by_beginning(head[: QUOTED + 1])
    return recognise(head)


@lru_cache(4096)
def _by_beginning(head: bytes) -> Recognition:
    return recognise(head)


def recognise(data: bytes, *, ended: bool = False) -> Recognition:
    """What a stream that begins with `data` is.

    `ended`: no more will come. Then what is left of several possibilities decides: one protocol only could
    have begun like this, or nobody can tell.
    """
    if not data:
        return No("no byte was sent") if ended else NotYet(1)
    candidates: dict[str, int] = {}
    for name, recogniser in _possible(data[0]).items():
        match recogniser(data):
            case Yes() as yes:
                return yes
            case NotYet(more):
                candidates[name] = more
            case No():
                pass
    if candidates and not ended and len(data) < ENOUGH:
        return NotYet(min(candidates.values()))
    if len(candidates) == 1:
        (name,) = candidates
        return Yes(name, f"{quoted(data)} is how {TITLES[name]} begins, as far as it goes")
    if candidates:
        names = " or ".join(TITLES[name] for name in candidates)
        return No(f"{quoted(data)} may be the beginning of {names}")
    return No(f"begins with {quoted(data)}")
