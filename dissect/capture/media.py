# SPDX-License-Identifier: GPL-2.0-or-later
"""The link layers of captures: where the network layer begins in a frame, and which one it is.

By draft-ietf-opsawg-pcaplinktype, and what that refers to. Nothing here makes a copy of a frame's bytes:
places in it go in and come out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

LINKTYPE_NULL: Final = 0
LINKTYPE_ETHERNET: Final = 1
LINKTYPE_PPP: Final = 9
LINKTYPE_PPP_HDLC: Final = 50
LINKTYPE_PPP_ETHER: Final = 51
LINKTYPE_RAW: Final = 101
LINKTYPE_C_HDLC: Final = 104
LINKTYPE_IEEE802_11: Final = 105
LINKTYPE_LOOP: Final = 108
LINKTYPE_LINUX_SLL: Final = 113
LINKTYPE_RADIOTAP: Final = 127
LINKTYPE_PPI: Final = 192
LINKTYPE_PPP_WITH_DIR: Final = 204
LINKTYPE_IPV4: Final = 228
LINKTYPE_IPV6: Final = 229
LINKTYPE_LINUX_SLL2: Final = 276

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
MPLS: Final = (0x8847, 0x8848)

LLC: Final = 4
"""Stands for IEEE 802.2 LLC where an EtherType would; in Linux cooked frames this very number does."""

MAX_LENGTH: Final = 1500
"""Of IEEE 802.3: what stands where an EtherType would and is no more than this is a length."""

LINK_HEADERS: Final[dict[int, tuple[int, int | None]]] = {
    LINKTYPE_NULL: (4, None),
    LINKTYPE_ETHERNET: (14, 12),
    12: (0, None),
    14: (0, None),
    LINKTYPE_RAW: (0, None),
    LINKTYPE_C_HDLC: (4, 2),
    LINKTYPE_LINUX_SLL: (16, 14),
    LINKTYPE_LINUX_SLL2: (20, 0),
}
"""Link type -> size of its header, and where the EtherType lies in it (None: there is none); of those whose
header always has that size."""

Found: TypeAlias = tuple[int, int] | str
"""Where the network layer begins and its EtherType (or `LLC`); or why there is none, in words."""

CUT: Final = "frame ends inside the link header"


def network(linktype: int, data: bytes, length: int) -> Found:
    """What a frame of a link type holds. length: on the wire."""
    reader = _READERS.get(linktype)
    if reader is not None:
        return reader(data, 0, length)
    name = _NAMES.get(linktype)
    return f"link type {linktype} ({name})" if name else f"link type {linktype}"


def kind_of(value: int) -> int:
    """What two bytes of Ethernet say that are an EtherType or a length."""
    return LLC if value <= MAX_LENGTH else value


def llc(data: bytes, at: int) -> Found:
    """IEEE 802.2 LLC: SNAP with an EtherType (RFC 1042, and IEEE 802.1H), or IP by itself."""
    if len(data) < at + 3:
        return "frame ends inside the LLC header"
    both = data[at : at + 3]
    if both == b"\xaa\xaa\x03":
        if len(data) < at + 8:
            return "frame ends inside the SNAP header"
        organisation, kind = data[at + 3 : at + 6], data[at + 6] << 8 | data[at + 7]
        if organisation in (b"\0\0\0", b"\0\0\xf8") and kind > MAX_LENGTH:
            return at + 8, kind
        return f"SNAP protocol 0x{kind:04x} of {organisation.hex(':')}"
    if both == b"\x06\x06\x03":
        return _raw(data, at + 3, 0)
    return _LLC_USERS.get(data[at]) or f"LLC for 0x{data[at]:02x}"


def ppp(data: bytes, at: int) -> Found:
    """PPP (RFC 1661, section 2), with or without the address and control of RFC 1662."""
    if data[at : at + 2] == b"\xff\x03":
        at += 2
    if len(data) < at + 2:
        return "frame ends inside the PPP header"
    number, size = (data[at], 1) if data[at] & 1 else (data[at] << 8 | data[at + 1], 2)
    ethertype = _IN_PPP.get(number)
    if ethertype is not None:
        return at + size, ethertype
    name = _PPP_PROTOCOLS.get(number)
    return f"PPP protocol 0x{number:04x} ({name})" if name else f"PPP protocol 0x{number:04x}"


def pppoe(data: bytes, at: int) -> Found:
    """RFC 2516, section 4, session stage: 6 bytes before PPP."""
    if len(data) < at + 8:
        return "frame ends inside the PPPoE header"
    if data[at] != 0x11 or data[at + 1]:
        return "PPPoE that carries no data"
    return ppp(data, at + 6)


def _ethernet(data: bytes, at: int, _length: int) -> Found:
    if len(data) < at + 14:
        return CUT
    return at + 14, kind_of(data[at + 12] << 8 | data[at + 13])


def _raw(data: bytes, at: int, _length: int) -> Found:
    if len(data) <= at:
        return "frame ends inside the IP header"
    version = data[at] >> 4
    return (at, IPV4) if version == 4 else (at, IPV6) if version == 6 else f"IP version {version}"


def _loopback(data: bytes, at: int, _length: int) -> Found:
    if len(data) < at + 4:
        return CUT
    # NULL has the byte order of the machine that captured, LOOP the network's: families are small.
    said = data[at : at + 4]
    family = min(int.from_bytes(said, "little"), int.from_bytes(said, "big"))
    ethertype = _FAMILIES.get(family)
    return f"address family {family}" if ethertype is None else (at + 4, ethertype)


def _linux_cooked(data: bytes, at: int, _length: int) -> Found:
    if len(data) < at + 16:
        return CUT
    return at + 16, data[at + 14] << 8 | data[at + 15]


def _linux_cooked_2(data: bytes, at: int, _length: int) -> Found:
    if len(data) < at + 20:
        return CUT
    return at + 20, data[at] << 8 | data[at + 1]


def _cisco_hdlc(data: bytes, at: int, _length: int) -> Found:
    """RFC 1547, section 4.3.1: address and control, then an EtherType."""
    if len(data) < at + 4:
        return CUT
    kind = data[at + 2] << 8 | data[at + 3]
    if kind == 0x8035:
        return "keepalive of Cisco HDLC"
    return (at + 4, kind) if kind > MAX_LENGTH else f"Cisco HDLC protocol 0x{kind:04x}"


def _ppp_hdlc(data: bytes, at: int, length: int) -> Found:
    if data[at : at + 1] in (b"\x0f", b"\x8f"):
        return _cisco_hdlc(data, at, length)
    return ppp(data, at)


def _ieee80211(data: bytes, at: int, length: int, *, padded: bool = False) -> Found:
    """IEEE 802.11-2020, section 9: data frames that are not encrypted and hold one packet.

    padded: the header is filled up to a multiple of 4 bytes.
    """
    if len(data) < at + 24:
        kind = data[at] >> 2 & 3 if len(data) > at else 2
        return _FRAMES_OF_80211[kind] if kind != 2 else "frame ends inside the IEEE 802.11 header"
    first, flags = data[at], data[at + 1]
    if first & 3:
        return f"IEEE 802.11 version {first & 3}"
    kind, subtype = first >> 2 & 3, first >> 4
    if kind != 2:
        return _FRAMES_OF_80211[kind]
    if subtype & 4:
        return "IEEE 802.11 without data"
    if flags & 0x40:
        return "encrypted IEEE 802.11 data"
    if flags & 0x04 or data[at + 22] & 0x0F:
        return "fragment of IEEE 802.11 (not read)"
    size = 30 if flags & 3 == 3 else 24
    several = False
    if subtype & 8:
        if len(data) < at + size + 2:
            return "frame ends inside the IEEE 802.11 header"
        several = data[at + size] & 0x80 != 0
        size += 6 if flags & 0x80 else 2
    at += (size + 3) & ~3 if padded else size
    if several:
        # An A-MSDU of one packet is as good as none; behind one there may be 3 bytes that fill, and 4 of FCS.
        if len(data) < at + 14:
            return "frame ends inside the IEEE 802.11 header"
        if at + 14 + (data[at + 12] << 8 | data[at + 13]) + 14 <= length:
            return "several packets in one of IEEE 802.11 (A-MSDU: not read)"
        at += 14
    return at, LLC


def _radiotap(data: bytes, at: int, length: int) -> Found:
    """radiotap.org: a header of which only the flags matter, which are behind a time of 8 bytes or not."""
    if len(data) < at + 8:
        return "frame ends inside the radiotap header"
    version, size, present = _RADIOTAP.unpack_from(data, at)
    if version:
        return f"radiotap version {version}"
    if len(data) < at + size or size < 8:
        return "frame ends inside the radiotap header"
    flags = 0
    if present & 2:
        place = 4
        while place + 8 <= size and data[at + place + 3] & 0x80:  # another word says what else is present
            place += 4
        place += 4
        if present & 1:
            place = ((place + 7) & ~7) + 8
        if place < size:
            flags = data[at + place]
    if flags & 0x40:
        return _DAMAGED
    return _ieee80211(data, at + size, length, padded=flags & 0x20 != 0)


def _ppi(data: bytes, at: int, length: int) -> Found:
    """Per-Packet Information, 1.0.7, section 3: fields, then a frame of the link type that is said."""
    if len(data) < at + 8:
        return "frame ends inside the PPI header"
    version, size, linktype = _PPI.unpack_from(data, at)
    if version:
        return f"PPI version {version}"
    if len(data) < at + size or size < 8:
        return "frame ends inside the PPI header"
    place, end = at + 8, at + size
    while place + 4 <= end:
        kind, width = _PPI_FIELD.unpack_from(data, place)
        if kind == 2 and width >= 10 and place + 14 <= end and data[place + 12] & 4:
            return _DAMAGED
        place += 4 + width
    reader = _READERS.get(linktype)
    if reader is None or reader is _ppi:
        return f"PPI with link type {linktype}"
    return reader(data, at + size, length)


_RADIOTAP: Final = struct.Struct("<BxHI")
_PPI: Final = struct.Struct("<BxHI")
_PPI_FIELD: Final = struct.Struct("<HH")

_READERS: Final[dict[int, Callable[[bytes, int, int], Found]]] = {
    LINKTYPE_NULL: _loopback,
    LINKTYPE_ETHERNET: _ethernet,
    LINKTYPE_PPP: lambda data, at, _: ppp(data, at),
    12: _raw,
    14: _raw,
    LINKTYPE_PPP_HDLC: _ppp_hdlc,
    LINKTYPE_PPP_ETHER: lambda data, at, _: pppoe(data, at),
    LINKTYPE_RAW: _raw,
    LINKTYPE_C_HDLC: _cisco_hdlc,
    LINKTYPE_IEEE802_11: _ieee80211,
    LINKTYPE_LOOP: _loopback,
    LINKTYPE_LINUX_SLL: _linux_cooked,
    LINKTYPE_RADIOTAP: _radiotap,
    LINKTYPE_PPI: _ppi,
    LINKTYPE_PPP_WITH_DIR: lambda data, at, length: _ppp_hdlc(data, at + 1, length),
    LINKTYPE_IPV4: lambda _data, at, _: (at, IPV4),
    LINKTYPE_IPV6: lambda _data, at, _: (at, IPV6),
    LINKTYPE_LINUX_SLL2: _linux_cooked_2,
}

_NAMES: Final = {
    3: "AX.25",
    6: "token ring",
    7: "ARCNET",
    8: "SLIP",
    10: "FDDI",
    100: "ATM",
    107: "frame relay",
    117: "pflog of OpenBSD",
    119: "IEEE 802.11 behind a Prism header",
    163: "IEEE 802.11 behind an AVS header",
    166: "PPP of pppd",
    187: "Bluetooth",
    189: "USB",
    195: "IEEE 802.15.4",
    201: "Bluetooth",
    205: "Cisco HDLC with directions",
    220: "USB",
    227: "CAN",
    239: "NFLOG",
    249: "USB",
    251: "Bluetooth",
    252: "exported by Wireshark",
    253: "netlink",
}
"""Link types that are not read, by what people call them."""

_FRAMES_OF_80211: Final = (
    "IEEE 802.11 management",
    "IEEE 802.11 control",
    "IEEE 802.11 data",
    "IEEE 802.11 extension",
)

_DAMAGED: Final = "frame of IEEE 802.11 that was damaged in the air"

# AF_INET everywhere; AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin
_FAMILIES: Final = {2: IPV4, 10: IPV6, 23: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}

_LLC_USERS: Final = {
    0x42: "spanning tree",
    0xAA: "SNAP of an unknown form",
    0xE0: "IPX",
    0xF0: "NetBIOS",
    0xFE: "OSI (IS-IS and others)",
    0xFF: "IPX",
}

_IN_PPP: Final = {0x21: IPV4, 0x57: IPV6, 0x281: MPLS[0], 0x283: MPLS[1]}

_PPP_PROTOCOLS: Final = {
    0x2D: "TCP with compressed headers",
    0x2F: "TCP with compressed headers",
    0x3D: "multilink",
    0x53: "encrypted",
    0xFD: "compressed",
    0x8021: "IPCP",
    0x8053: "ECP",
    0x8057: "IPV6CP",
    0x80FD: "CCP",
    0xC021: "LCP",
    0xC023: "PAP",
    0xC025: "link quality",
    0xC223: "CHAP",
}
