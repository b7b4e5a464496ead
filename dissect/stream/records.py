# SPDX-License-Identifier: GPL-2.0-or-later
"""What a session says: messages, gaps and violations, in order.

Unknown is data, lost is data, wrong is data. A reader of these records never meets an exception for
what was on the wire, and never meets bytes that were not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from dissect.stream.side import Side

if TYPE_CHECKING:
    from scapy.packet import Packet

    from dissect.stream.layout import ProtocolPacket

NOT_DECODED = "NotDecoded"
"""The name of a run of bytes for which no message name is known."""

HEAD_BYTES = 64
"""How many bytes of a run that is not decoded are kept for a person to look at."""


@dataclass(slots=True, frozen=True)
class Part:
    """A stretch of a message that one packet class describes: its class and its first and last byte."""

    cls: type[ProtocolPacket]
    start: int
    end: int


class KnownParts(tuple[Part, ...]):
    """The parts of a message of a kind so well known that its fields have a text without being decoded."""

    def text(self, raw: bytes) -> str:
        """The fields of the message `raw` as a JSON text."""
        raise NotImplementedError


_DUMPS = json.JSONEncoder().encode


@dataclass(slots=True)
class Message:
    """One protocol unit, or a run of bytes that could not be read as one (then `note` says why).

    `offset` and `size` count bytes of that side's stream. `raw` is the message as it was on the wire; of a
    run that is not decoded only the first `HEAD_BYTES` are kept. `first_ns` and `last_ns` are the times of
    the first and the last byte, in ns of the clock that the session was fed with.
    """

    side: Side
    protocol: str
    name: str
    offset: int
    size: int
    raw: bytes
    first_ns: int
    last_ns: int
    parts: tuple[Part, ...] = ()
    note: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    basis: Any = None
    """What the bytes do not say and whoever decodes them further must know; not among the fields."""

    kind: ClassVar[str] = "message"

    @property
    def time_ns(self) -> int:
        """The time of the last byte: from then on the receiver could have known."""
        return self.last_ns

    @property
    def values(self) -> dict[str, Any]:
        """The fields as the packet classes name them, undecorated: int, bytes, lists."""
        values: dict[str, Any] = {}
        for part in self.parts:
            values.update(part.cls.layout().decode(self.raw, part.start, part.end)[0])
        values.update(self.extra)
        return values

    def __getitem__(self, name: str) -> Any:
        """One of `values`, mostly without decoding the others."""
        if name not in self.extra:
            for part in reversed(self.parts):
                layout = part.cls.layout()
                if name in layout.leading:
                    return layout.leading_value(name, self.raw, part.start)
                if name in layout.fields:
                    break
        return self.values[name]

    def fields(self, *, secrets: bool = False) -> dict[str, Any]:
        """The fields as JSON values: numbers with their registered names beside them, text, bytes as hex.

        Fields that hold a secret (a VNC response, a SPICE ticket) read `hidden (16 bytes)` unless `secrets`.
        """
        shown: dict[str, Any] = {}
        for part in self.parts:
            layout = part.cls.layout()
            values, _ = layout.decode(self.raw, part.start, part.end)
            shown.update(layout.describe(values, secrets=secrets, context=self.extra))
        shown.update(self.extra)
        if self.note is not None:
            shown["note"] = self.note
            if not self.parts and self.raw:
                shown["head"] = self.raw[:HEAD_BYTES].hex()
        return shown

    def text(self, *, secrets: bool = False) -> str:
        """`fields` as a JSON text: what `json.dumps` makes of it, with less work where it is known how."""
        parts = self.parts
        if not isinstance(parts, KnownParts) or self.note is not None:
            return _DUMPS(self.fields(secrets=secrets))
        text = parts.text(self.raw)
        return f"{text[:-1]}, {_DUMPS(self.extra)[1:]}" if self.extra else text

    @property
    def packet(self) -> Packet | None:
        """The Scapy packet, made now; None for a run that is not decoded. `bytes(packet)` is `raw`.

        What no class describes (the rectangles of an update, the body of an undecoded message) is its `Raw`.
        """
        if not self.parts:
            return None
        from scapy.packet import Raw

        layers: list[Packet] = []
        at = 0
        for part in self.parts:
            if at < part.start:
                layers.append(Raw(self.raw[at : part.start]))
            layers.append(part.cls(self.raw[part.start : part.end]))
            at = part.end
        if at < len(self.raw):
            layers.append(Raw(self.raw[at:]))
        top = layers[0]
        for layer in layers[1:]:
            top.add_payload(layer)
        return top


@dataclass(slots=True)
class Gap:
    """Bytes of one side's stream that were sent but never seen: how many, where, and when it was known."""

    side: Side
    protocol: str
    offset: int
    size: int
    time_ns: int

    kind: ClassVar[str] = "gap"
    name: ClassVar[str] = "Gap"

    def fields(self, *, secrets: bool = False) -> dict[str, Any]:
        return {"lost_bytes": self.size}

    def text(self, *, secrets: bool = False) -> str:
        return _DUMPS(self.fields())


@dataclass(slots=True)
class Violation:
    """What one side sent is not what the protocol allows there.

    `offset` is where in that side's stream it shows, `state` what the session was in, `why` one sentence.
    """

    side: Side
    protocol: str
    name: str
    offset: int
    size: int
    time_ns: int
    state: str
    why: str

    kind: ClassVar[str] = "violation"

    @classmethod
    def about(cls, record: Message | Gap, state: str, why: str) -> Violation:
        """One that shows where `record` begins."""
        return cls(record.side, record.protocol, record.name, record.offset, 0, record.time_ns, state, why)

    def fields(self, *, secrets: bool = False) -> dict[str, Any]:
        return {"state": self.state, "why": self.why}

    def text(self, *, secrets: bool = False) -> str:
        return _DUMPS(self.fields())


Record = Message | Gap | Violation
