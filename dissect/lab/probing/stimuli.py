# SPDX-License-Identifier: GPL-2.0-or-later
"""What a probe sends: the first bytes of each protocol, and single fields of them changed one at a time."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

from dissect.rfb.messages import ProtocolVersion
from dissect.spice.link import SpiceLinkHeader, SpiceLinkMess

PROTOCOLS = ("rfb", "spice", "tls", "http", "ssh", "zeros", "random")
"""What can be sent, in the order in which it is shown."""

FILLER_BYTES = 32
"""How much of zeros and of random bytes: twice the longest header that a server may wait for."""


@dataclass(frozen=True, slots=True)
class Stimulus:
    """What one connection sends, all at once.

    protocol: one of `PROTOCOLS`. data: the bytes. label: "" for a prefix of the protocol, else which field of
    a sweep was given which value.
    """

    protocol: str
    data: bytes
    label: str = ""


def whole(protocol: str, seed: int = 0) -> bytes:
    """The longest beginning that is sent of a protocol. `seed` makes the random bytes."""
    match protocol:
        case "rfb":
            return bytes(ProtocolVersion.of(3, 8))
        case "spice":
            return link_message()
        case "tls":
            return client_hello(seed)
        case "http":
            return b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        case "ssh":
            return b"SSH-2.0-firstbyte\r\n"
        case "zeros":
            return bytes(FILLER_BYTES)
        case "random":
            return Random(seed).randbytes(FILLER_BYTES)
    raise ValueError(f"{protocol!r} is not one of {', '.join(PROTOCOLS)}")


def link_message() -> bytes:
    """The 42 bytes that spice-gtk begins with: header, SpiceLinkMess of a main channel, two words."""
    return bytes(SpiceLinkHeader() / SpiceLinkMess(common_caps=[0b1011], channel_caps=[0b1001]))


def client_hello(seed: int = 0) -> bytes:
    """A small ClientHello of TLS 1.2 and 1.3 (RFC 8446, 4.1.2), without a key share."""

    def extension(number: int, body: bytes) -> bytes:
        return struct.pack("!HH", number, len(body)) + body

    groups = extension(10, struct.pack("!HHH", 4, 29, 23))
    signatures = extension(13, struct.pack("!HHHH", 6, 0x0403, 0x0804, 0x0401))
    versions = extension(43, b"\x04\x03\x04\x03\x03")
    extensions = groups + signatures + versions
    body = b"\x03\x03" + Random(seed).randbytes(32) + b"\0"  # no session to resume
    body += struct.pack("!HHHH", 6, 0x1301, 0xC02F, 0xC030) + b"\x01\0"
    body += struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


def prefixes(protocol: str, seed: int = 0, lengths: tuple[int, ...] | None = None) -> list[Stimulus]:
    """Each prefix from one byte to the whole; of these only `lengths`, where given."""
    data = whole(protocol, seed)
    wanted = range(1, len(data) + 1)
    return [
        Stimulus(protocol, data[:size])
        for size in wanted
        if lengths is None or min(size, len(data)) in lengths
    ]


SWEEPS = ("spice", "rfb", "first-bytes")
"""What can be swept."""


def sweep(protocol: str) -> list[Stimulus]:
    """Single fields of the link message (spice), versions (rfb), every first byte; ValueError for another."""
    if protocol == "first-bytes":
        # As many of the same as anybody waits for, so that only what they are decides.
        filled = {f"first byte 0x{byte:02x}": bytes([byte]) * FILLER_BYTES for byte in range(256)}
        return [Stimulus(protocol, data, label) for label, data in filled.items()]
    if protocol == "spice":
        return _link_sweep()
    if protocol == "rfb":
        return _version_sweep()
    raise ValueError(f"there is no sweep of {protocol!r}: {', '.join(SWEEPS)}")


def _link_sweep() -> list[Stimulus]:
    """Values at and around the limits that spice-server's source names (facts of `reds.cpp`)."""
    found: list[Stimulus] = []

    def link(label: str, **changed: int) -> None:
        values = {
            "magic": 0x51444552, "major": 2, "minor": 2, "size": 26, "connection_id": 0, "channel_type": 1,
            "channel_id": 0, "num_common_caps": 1, "num_channel_caps": 1, "caps_offset": 18,
        } | changed  # fmt: skip
        head = struct.pack("<IIII", *(values[key] for key in ("magic", "major", "minor", "size")))
        body = struct.pack("<IBBIII", *(values[key] for key in list(values)[4:]))
        body += struct.pack("<II", 0b1011, 0b1001)
        # As many bytes as are announced, within reason: a server that waits for more is not judged by that.
        size = min(values["size"], 5000)
        found.append(Stimulus("spice", head + body.ljust(size, b"\0")[:size], label))

    link("as it should be")
    for major in (0, 1, 3, 0xFFFFFFFF):
        link(f"major = {major}", major=major)
    for minor in (0, 1, 3, 0xFFFFFFFF):
        link(f"minor = {minor}", minor=minor)
    for size in (0, 1, 17, 18, 4096, 4097, 0xFFFFFFFF):
        counts = {"num_common_caps": 0, "num_channel_caps": 0} if size < 26 else {}
        link(f"size = {size}", size=size, **counts)
    for offset in (0, 17, 19, 22, 26, 27, 0xFFFFFFFF):
        link(f"caps_offset = {offset}", caps_offset=offset)
    for count in (0, 2, 1023, 1024, 1025, 0xFFFFFFFF):
        link(f"num_common_caps = {count}", num_common_caps=count)
        link(f"num_channel_caps = {count}", num_channel_caps=count)
    for kind in (0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 255):
        link(f"channel_type = {kind}", channel_type=kind)
    link("connection_id = 1 on main", connection_id=1)
    link("connection_id = 1 on inputs", connection_id=1, channel_type=3)
    return found


VERSIONS = (
    "000.000", "003.000", "003.002", "003.003", "003.004", "003.005", "003.006", "003.007", "003.008",
    "003.009", "003.014", "003.016", "003.130", "003.889", "004.000", "004.001", "005.000", "999.999",
)  # fmt: skip
"""Versions that have been met, and their neighbours."""


def _version_sweep() -> list[Stimulus]:
    texts = {version: f"RFB {version}\n".encode() for version in VERSIONS}
    texts |= {
        "carriage return at the end": b"RFB 003.008\r",
        "no point": b"RFB 003 008\n",
        "letters": b"RFB abc.def\n",
        "lower case": b"rfb 003.008\n",
        "spaces for zeros": b"RFB   3.  8\n",
        "signs": b"RFB +03.-08\n",
        "NUL at the end": b"RFB 003.008\0",
        "repeater's keep-alive": b"REP 000.000\n",
    }
    return [Stimulus("rfb", data, label) for label, data in texts.items()]
