# SPDX-License-Identifier: GPL-2.0-or-later
"""What people and programs noted in a pcapng file beside its packets: names, comments. All of it is bounded.

Names of addresses come from Name Resolution Blocks alone; nobody is ever asked for one. Comments of packets,
and the interfaces that packets came by, are kept only for who wants them (`Notes.packets`), since that costs
a look at each packet.
"""

from __future__ import annotations

import ipaddress
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_NAMES: Final = 1 << 16
"""Addresses of one file whose names are kept."""

MAX_NAME: Final = 255
"""Bytes of one name, which is what DNS allows; longer ones are cut off there."""

MAX_COMMENTS: Final = 4096
"""Comments kept of one file."""

MAX_COMMENT: Final = 4000
"""Bytes of one comment; what goes beyond is cut off."""

MAX_CHANGES: Final = 1 << 20
"""How often the interface may change from one packet to the next; later packets are of an unknown one."""

HEAD: Final = 256
"""Bytes kept of a packet with a comment: its addresses are in them."""


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment, and what it is about: "the capture", "interface 0 (lo)" or "packet 12".

    frame: number of the packet from 1, 0 where it is not about one; then the rest says nothing. time_ns,
    linktype: the packet's. head: its first bytes.
    """

    about: str
    text: str
    frame: int = 0
    time_ns: int = 0
    linktype: int = 0
    head: bytes = b""


class Notes:
    """The notes of one file, as far as it was read.

    names: of addresses as text, the first one told of each (those
    at the end of a file come first, see `Capture.notes`). interfaces: names of interfaces by their numbers,
    counted through the file. described: how many interfaces there are. comments: in file order. packets: set
    it before reading, to keep comments of packets and their interfaces.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.interfaces: dict[int, str] = {}
        self.described = 0
        self.comments: list[Comment] = []
        self.packets = False
        self._changed_at = array("q")  # frames from which on packets come by another interface
        self._changed_to = array("q")
        self._last = -1

    def resolve(self, records: Iterable[tuple[int, bytes]]) -> bool:
        """Keep what the records of a Name Resolution Block say (type, value); False where they are too many.

        Types: 1 is an IPv4 address with its names, 2 an IPv6 one (draft-ietf-opsawg-pcapng, section 4.5);
        others are passed over. Of several names of one address the first counts.
        """
        for kind, value in records:
            size = {1: 4, 2: 16}.get(kind)
            if size is None or len(value) <= size:
                continue
            name = value[size:].split(b"\0", 1)[0][:MAX_NAME].decode("utf-8", "backslashreplace")
            address = str(ipaddress.ip_address(value[:size]))
            if not name or address in self.names:
                continue
            if len(self.names) >= MAX_NAMES:
                return False
            self.names[address] = name
        return True

    def describe(self, number: int, name: str) -> str:
        """Keep an interface's name ("" where it has none); returns it in words."""
        self.described += 1
        if name:
            self.interfaces[number] = name
        return f"interface {number} ({name})" if name else f"interface {number}"

    def comment(self, comment: Comment) -> bool:
        """Keep a comment; False where there are too many."""
        if len(self.comments) >= MAX_COMMENTS:
            return False
        self.comments.append(comment)
        return True

    def came_by(self, frame: int, interface: int) -> None:
        """The packet of this number, and those after it, came by this interface."""
        if interface != self._last and len(self._changed_at) <= MAX_CHANGES:
            self._last = interface if len(self._changed_at) < MAX_CHANGES else -1
            self._changed_at.append(frame)
            self._changed_to.append(self._last)

    def interface_of(self, frame: int) -> str | None:
        """The interface of a packet: its name, "interface 1" where it has none; None where nobody needs it.

        That is where there is but one and it has no name, or where it is not known (`packets`).
        """
        place = bisect_right(self._changed_at, frame) - 1
        number = self._changed_to[place] if place >= 0 else -1
        if number < 0:
            return None
        return self.interfaces.get(number) or (f"interface {number}" if self.described > 1 else None)


def text_of(value: bytes, most: int = MAX_COMMENT) -> str:
    """An option's text; what is no UTF-8 is shown by its escapes."""
    cut = "…" if len(value) > most else ""
    return value[:most].rstrip(b"\0").decode("utf-8", "ignore" if cut else "backslashreplace").strip() + cut


def name_of(endpoint: str, names: Mapping[str, str]) -> str | None:
    """The name of the address in `127.0.0.1:5900` or `[::1]:5900`, where there is one."""
    return names.get(endpoint.rpartition(":")[0].strip("[]")) if names else None


def named(endpoint: str, names: Mapping[str, str]) -> str:
    """The endpoint with the name of its address behind it: `127.0.0.1:5900 (vm7.example)`."""
    name = name_of(endpoint, names)
    return endpoint if name is None else f"{endpoint} ({name})"
