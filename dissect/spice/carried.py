# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams inside messages: pieces in, whole units out, whatever the pieces are.

The agent's messages travel in AGENT_DATA, usbredir's packets and WebDAV's frames in SPICEVMC_DATA. Each
begins with a header that gives its size. `Inner` is where one direction of such a stream stands; it is never
changed, only followed by another, so that one can ask what would come of a message without it coming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dissect.spice.fields import SpicePacket, flag_names
from dissect.stream.fields import (
    FieldLenField,
    LEIntEnumField,
    LEIntField,
    LELongField,
    LESignedLongField,
    StrLenField,
)
from dissect.stream.layout import FixedTextField

UNIT_LIMIT = 1 << 24
"""Bytes of one unit that are kept at most (16 MiB); a larger one is passed over by its size."""


SMALL = 1024
"""Bytes up to which pieces are put together at once."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One whole unit: its size, and its bytes unless it was too large to keep (then its header only)."""

    size: int
    raw: bytes
    kept: bool


Pieces = tuple[Any, bytes] | None
"""What has come of a unit: (the pieces before, the last piece)."""


@dataclass(frozen=True, slots=True)
class Inner:
    """One direction of an inner stream: what has come of the unit that is not whole yet."""

    pieces: Pieces = None
    have: int = 0
    total: int | None = None
    """The unit's size; None until its header is whole."""
    count: int = 0
    """Units that were whole."""
    lost: str | None = None
    """Why the place in the stream is not known; None while it is."""

    def take(
        self, data: bytes, head: Callable[[int], int], size: Callable[[bytes], int]
    ) -> tuple[Inner, list[Unit]]:
        """The units that `data` completes, and where the stream stands after it.

        `head` gives the size of the header of unit number n; `size` the size of the unit, of its header.
        """
        pieces, have, total, count = self.pieces, self.have, self.total, self.count
        units: list[Unit] = []
        at = 0
        while at < len(data):
            if total is None:
                wanted = head(count)
                piece = data[at : at + wanted - have]
                pieces, have, at = _added(pieces, piece), have + len(piece), at + len(piece)
                if have < wanted:
                    break
                header = _joined(pieces)
                pieces, total = (None, header), size(header)
            piece = data[at : at + total - have]
            have, at = have + len(piece), at + len(piece)
            kept = total <= UNIT_LIMIT
            if kept and piece:
                pieces = _added(pieces, piece)
            if have == total:
                units.append(Unit(total, _joined(pieces), kept))
                pieces, have, total, count = None, 0, None, count + 1
        return Inner(pieces, have, total, count), units

    def astray(self, why: str) -> Inner:
        """The stream after bytes of it were lost."""
        return replace(self, pieces=None, have=0, total=None, lost=why)

    @property
    def pending(self) -> str | None:
        """How much of an unfinished unit has come, in words."""
        if not self.have:
            return None
        return f"{self.have} of {self.total} bytes" if self.total is not None else f"{self.have} bytes"


def _added(pieces: Pieces, piece: bytes) -> Pieces:
    """The pieces and one more; small ones are put together, so that a byte at a time costs no more memory."""
    if pieces is not None and len(pieces[1]) + len(piece) <= SMALL:
        return pieces[0], pieces[1] + piece
    return pieces, piece


def _joined(pieces: Pieces) -> bytes:
    found: list[bytes] = []
    while pieces is not None:
        pieces, piece = pieces
        found.append(piece)
    return b"".join(reversed(found))


# --- usbredir (usbredirproto.h of usbredir, protocol 0.7)

USBREDIR_TYPES: Mapping[int, str] = {
    **dict(
        enumerate(
            [
                "hello",
                "device_connect",
                "device_disconnect",
                "reset",
                "interface_info",
                "ep_info",
                "set_configuration",
                "get_configuration",
                "configuration_status",
                "set_alt_setting",
                "get_alt_setting",
                "alt_setting_status",
                "start_iso_stream",
                "stop_iso_stream",
                "iso_stream_status",
                "start_interrupt_receiving",
                "stop_interrupt_receiving",
                "interrupt_receiving_status",
                "alloc_bulk_streams",
                "free_bulk_streams",
                "bulk_streams_status",
                "cancel_data_packet",
                "filter_reject",
                "filter_filter",
                "device_disconnect_ack",
                "start_bulk_receiving",
                "stop_bulk_receiving",
                "bulk_receiving_status",
            ]
        )
    ),
    **dict(
        enumerate(
            ["control_packet", "bulk_packet", "iso_packet", "interrupt_packet", "buffered_bulk_packet"], 100
        )
    ),
}
USBREDIR_CAPABILITIES: Mapping[int, str] = flag_names(
    "bulk_streams connect_device_version filter device_disconnect_ack ep_info_max_packet_size 64bits_ids "
    "32bits_bulk_length bulk_receiving"
)
USBREDIR_64BIT_IDS = 5


def _usbredir(id_: Any) -> list[Any]:
    return [
        LEIntEnumField("type", 0, dict(USBREDIR_TYPES)),
        FieldLenField("length", None, length_of="packet_data", fmt="<I"),
        id_,
        StrLenField("packet_data", b"", length_from=lambda p: p.length),
    ]


class UsbredirPacket(SpicePacket):
    """A packet whose number has 32 bits: the first, and all where not both ends have 64bits_ids."""

    name = "UsbredirPacket"
    fields_desc = _usbredir(LEIntField("id", 0))


class UsbredirPacket64(SpicePacket):
    """A packet whose number has 64 bits."""

    name = "UsbredirPacket"
    fields_desc = _usbredir(LELongField("id", 0))


class UsbredirHello(SpicePacket):
    """The first packet of either end: which program it is, and one word of what it can do."""

    name = "UsbredirHello"
    fields_desc = [FixedTextField("version", bytes(64), 64), LEIntField("capabilities", 0)]


# --- WebDAV (spice-gtk's channel-webdav.c, phodav's spice-webdavd.c)


class WebdavFrame(SpicePacket):
    """A piece of one client's HTTP connection; a size of 0 closes it."""

    name = "WebdavFrame"
    fields_desc = [
        LESignedLongField("client_id", 0),
        FieldLenField("size", None, length_of="frame_data", fmt="<H"),
        StrLenField("frame_data", b"", length_from=lambda p: p.size),
    ]


WEBDAV_HEADER = 10
