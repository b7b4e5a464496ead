# SPDX-License-Identifier: GPL-2.0-or-later
"""What a message means beyond its bytes: a frame's codec, an image from the cache, the agent's messages.

`consider` looks at one decoded message and says what to show beside its fields and what is wrong with it; it
changes nothing. What later messages depend on goes into `Memory` only when the session has delivered the
message, by `Found.after`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from dissect.spice import agent, carried, constants, lz4, smartcard
from dissect.spice.channels import audio, base, devices, display, main
from dissect.spice.fields import Pointer, SpicePacket
from dissect.stream.layout import Malformed, Short, Values, set_bits
from dissect.stream.side import SIDES, Side

if TYPE_CHECKING:
    from dissect.spice.session import SpiceSession

SLICE = 1 << 16
"""Bytes of an inner stream that are taken apart at once."""
SHOWN = 256
"""Units of an inner stream that are shown of one message, and violations reported of them, at most."""
REMEMBERED = 1 << 16
"""Images and palettes that are remembered at most, the oldest forgotten first."""

ONE_SIDED = frozenset({2, 3, 4, 5, 6})
"""Display, inputs, cursor, playback, record: what a message means there, only its own side's decide."""

UNKNOWN = "bytes were lost in which an end may have said what it can do"
"""Why what depends on the capabilities of both ends is not decoded."""

MULTI_CODEC = 8
CODEC_CAPABILITIES: Mapping[int, int] = {1: 9, 2: 10, 3: 11, 4: 13, 5: 14}
"""Codec -> the client's capability for it."""
AUDIO_CAPABILITIES: Mapping[int, Mapping[int, int]] = {5: {2: 0, 3: 3}, 6: {2: 0, 3: 2}}
"""Channel -> how sound is coded -> the receiver's capability for it; uncoded sound needs none."""
LZ4_COMPRESSION, A8_SURFACE = 5, 3
FROM_CACHE = (103, 106)
CACHE_ME, PAL_CACHE_ME, PAL_FROM_CACHE = 1, 1, 2


@dataclass(slots=True)
class Memory:
    """What a session knows from messages before."""

    streams: dict[int, int] = field(default_factory=dict)
    """Video stream -> codec."""
    images: dict[int, int] = field(default_factory=dict)
    """Image in the client's cache -> offset of the message that brought it."""
    palettes: dict[int, int] = field(default_factory=dict)
    audio: dict[Side, int] = field(default_factory=dict)
    """How the sound of either side is coded."""
    agent: dict[Side, carried.Inner] = field(
        default_factory=lambda: {side: carried.Inner() for side in SIDES}
    )
    agent_capabilities: dict[Side, frozenset[int]] = field(default_factory=dict)
    device: dict[Side, carried.Inner] = field(
        default_factory=lambda: {side: carried.Inner() for side in SIDES}
    )
    usbredir_capabilities: dict[Side, frozenset[int]] = field(default_factory=dict)

    gaps: bool = False
    """Whether bytes of either side were lost: what an end has not said it can do, it may have said there."""

    def astray(self, side: Side, why: str) -> None:
        """Bytes of `side` were lost: its inner streams cannot be followed until they begin anew."""
        self.gaps = True
        self.agent[side] = self.agent[side].astray(why)
        self.device[side] = self.device[side].astray(why)


@dataclass(slots=True)
class Found:
    """What was found: fields to show, violations (offset in the message, why), what to remember."""

    extra: dict[str, Any] = field(default_factory=dict)
    violations: list[tuple[int, str]] = field(default_factory=list)
    after: list[Callable[[], object]] = field(default_factory=list)

    def wrong(self, at: int, why: str) -> None:
        """A violation in an inner stream, unless there are many already."""
        if len(self.violations) < SHOWN:
            self.violations.append((at, why))


@dataclass(slots=True)
class Shown:
    """The units of an inner stream that one message completes, as they are shown."""

    units: list[dict[str, Any]] = field(default_factory=list)
    more: int = 0

    def add(self, described: dict[str, Any]) -> None:
        """One more, or only its number where there are enough."""
        if len(self.units) < SHOWN:
            self.units.append(described)
        else:
            self.more += 1

    def into(self, extra: dict[str, Any], kind: str, inner: carried.Inner) -> None:
        """Put them among a message's fields, and how much of the next has come."""
        if self.units:
            extra[kind] = self.units
        if self.more:
            extra[f"{kind}_not_shown"] = self.more
        if inner.pending:
            extra[f"{kind}_pending"] = inner.pending


def slices(data: bytes) -> Iterator[bytes]:
    """`data` in pieces of a size that bounds what is kept of it at once."""
    for start in range(0, len(data), SLICE):
        yield data[start : start + SLICE]


Reader = Callable[["SpiceSession", Side, Values, int, int, Found], None]
"""Looks at a message: session, side, fields, its offset in the stream, its body's in it, what is found."""


def remember(into: dict[int, int], number: int, value: int) -> None:
    """Keep one fact, and drop the oldest where there are too many."""
    into.pop(number, None)
    if len(into) >= REMEMBERED:
        del into[next(iter(into))]
    into[number] = value


def consider(
    session: SpiceSession, side: Side, cls: type[base.SpiceMessage], values: Values, offset: int, at: int
) -> Found:
    """What a message of `side` means now; it begins at `offset` in the stream, its body at `at` in it."""
    found = Found()
    needed = constants.NEEDS.get(cls.title())
    receiver = session.capabilities.get(side.other)
    if needed is not None and receiver is not None and needed not in receiver:
        found.violations.append((0, _unannounced(session, side, needed)))
    reader = _READERS.get(cls)
    if reader is not None:
        reader(session, side, values, offset, at, found)
    return found


def is_quiet(cls: type[base.SpiceMessage], found: Found) -> bool:
    """Whether nothing was found, nor would be in any message with the same enumerations and flags.

    A drawing means something by the kinds and flags of its images alone.
    """
    return _READERS.get(cls) in (None, _drawing) and not (found.extra or found.violations or found.after)


def _unannounced(session: SpiceSession, side: Side, capability: int) -> str:
    names = constants.CHANNEL_CAPABILITIES.get(session.channel_type or 0, {})
    return f"needs the capability {names[capability]}, which the {side.other} did not announce"


# --- display


def _drawing(session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found) -> None:
    memory = session.memory
    for _, pointer in values.leads:
        image = pointer.to
        if not isinstance(image, Values) or "descriptor" not in image:
            continue
        descriptor = image["descriptor"]
        kind, number = descriptor["type"], descriptor["id"]
        if kind in FROM_CACHE:
            known = {"id": number, "sent_at": memory.images.get(number)}
            found.extra.setdefault("from_cache", []).append(known)
        elif descriptor["flags"] & CACHE_ME:
            found.after.append(partial(remember, memory.images, number, offset))
        receiver = session.capabilities.get(side.other)
        if kind == 109 and receiver is not None and LZ4_COMPRESSION not in receiver:
            found.violations.append((at + pointer, _unannounced(session, side, LZ4_COMPRESSION)))
        if kind not in constants.IMAGE_TYPES or kind == 2:
            found.violations.append((at + pointer, f"image type {kind} is not defined"))
        coloured = image.get("bitmap") or image.get("lz_plt")
        if not coloured:
            continue
        palette = coloured.get("palette")
        if coloured["flags"] & PAL_FROM_CACHE:
            number = coloured["palette_id"]
            known = {"id": number, "sent_at": memory.palettes.get(number)}
            found.extra.setdefault("palettes_from_cache", []).append(known)
        elif coloured["flags"] & PAL_CACHE_ME and isinstance(palette, Pointer) and palette.to:
            number = palette.to["unique"]
            found.after.append(partial(remember, memory.palettes, number, offset))


def _stream_create(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    codec, number = values["codec_type"], values["id"]
    receiver = session.capabilities.get(side.other)
    if receiver is not None:
        needed = CODEC_CAPABILITIES.get(codec)
        if codec != 1 and MULTI_CODEC not in receiver:
            found.violations.append((at, _unannounced(session, side, MULTI_CODEC)))
        elif needed is not None and MULTI_CODEC in receiver and needed not in receiver:
            found.violations.append((at, _unannounced(session, side, needed)))
    found.after.append(lambda: remember(session.memory.streams, number, codec))


def _stream_data(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    codec = session.memory.streams.get(values["base"]["id"])
    found.extra["codec_name"] = None if codec is None else constants.VIDEO_CODECS.get(codec, f"{codec}")


def _stream_destroy(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    found.after.append(lambda: session.memory.streams.pop(values["id"], None))


def _surface_create(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    receiver = session.capabilities.get(side.other)
    if values["format"] == 8 and receiver is not None and A8_SURFACE not in receiver:
        found.violations.append((at, _unannounced(session, side, A8_SURFACE)))


def _forget(kind: str) -> Reader:
    def reader(session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found) -> None:
        known: dict[int, int] = getattr(session.memory, kind)
        if "resources" in values:
            numbers = [resource["id"] for resource in values["resources"]]
            found.after.append(lambda: [known.pop(number, None) for number in numbers])
        elif "id" in values:
            found.after.append(lambda: known.pop(values["id"], None))
        else:
            found.after.append(known.clear)

    return reader


# --- sound


def _audio_mode(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    mode = values["mode"]
    needed = AUDIO_CAPABILITIES.get(session.channel_type or 0, {}).get(mode)
    receiver = session.capabilities.get(side.other)
    if needed is not None and receiver is not None and needed not in receiver:
        found.violations.append((at, _unannounced(session, side, needed)))
    found.after.append(lambda: session.memory.audio.update({side: mode}))


def _audio_data(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    mode = session.memory.audio.get(side)
    found.extra["mode_name"] = None if mode is None else constants.AUDIO_DATA_MODES.get(mode, f"{mode}")


# --- the agent


def _agent_begins(which: Side | None) -> Reader:
    """A message with which the agent's stream of `which` side (or its own) begins anew."""

    def reader(session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found) -> None:
        fresh = {which or side: carried.Inner()}
        found.after.append(lambda: session.memory.agent.update(fresh))

    return reader


def _agent_data(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    memory, data = session.memory, values["agent_data"]
    inner = memory.agent[side]
    if len(data) > agent.CHUNK_SIZE:
        found.violations.append((at, f"has {len(data)} bytes of the agent's, over {agent.CHUNK_SIZE}"))
    if inner.lost is not None:
        found.extra["agent"] = f"not decoded: {inner.lost}"
        return
    capabilities = dict(memory.agent_capabilities)
    shown = Shown()
    for piece in slices(data):
        inner, units = inner.take(piece, lambda count: agent.HEADER_SIZE, _agent_size)
        for unit in units:
            shared = capabilities.get(side, frozenset()) & capabilities.get(side.other, frozenset())
            head = agent.VDAgentMessage.layout().decode(unit.raw)[0]
            cls = agent.described_by(head["type"], shared)
            if memory.gaps and len(capabilities) < len(Side) and head["type"] in agent.DEPENDS:
                name = agent.TYPES[head["type"]]
                shown.add({"name": name, "note": f"not decoded: {UNKNOWN}, {unit.size} bytes"})
                continue
            if head["protocol"] != agent.PROTOCOL:
                found.wrong(at, f"the agent's protocol is {head['protocol']}, not {agent.PROTOCOL}")
            elif cls is None:
                found.wrong(at, f"the agent's message type {head['type']} is not defined")
            fields, described = _unit(cls, head["type"], unit, at, found)
            shown.add(described)
            if cls is agent.VDAgentAnnounceCapabilities and fields is not None:
                capabilities[side] = frozenset(set_bits(fields["caps"]))
    found.after.append(partial(memory.agent.update, {side: inner}))
    found.after.append(partial(memory.agent_capabilities.update, capabilities))
    shown.into(found.extra, "agent", inner)


def _agent_size(header: bytes) -> int:
    return agent.HEADER_SIZE + int.from_bytes(header[16:20], "little")


def _unit(
    cls: type[SpicePacket] | None, type_: int, unit: carried.Unit, at: int, found: Found
) -> tuple[Values | None, dict[str, Any]]:
    """Decode one whole unit of an inner stream; returns its fields and what to show of it."""
    name = cls.title() if cls is not None else f"type {type_}"
    described: dict[str, Any] = {"name": name}
    if cls is None:
        described["note"] = f"not decoded: undefined, {unit.size} bytes"
        return None, described
    if not unit.kept:
        found.violations.append(
            (at, f"{name} of {unit.size} bytes is over the limit of {carried.UNIT_LIMIT}")
        )
        described["note"] = f"not decoded: too large, {unit.size} bytes"
        return None, described
    layout = cls.layout()
    try:
        values, end = layout.decode(unit.raw)
    except Short as short:
        why = f"{name} has {unit.size} bytes where at least {short.needed} are needed"
    except Malformed as bad:
        why = f"{name}: {bad.why}"
    else:
        if end == unit.size:
            return values, {**described, **layout.describe(values)}
        why = f"{name} has {unit.size - end} bytes after its end"
    found.wrong(at, why)
    described["note"] = f"not decoded: it does not fit, {unit.size} bytes"
    return None, described


# --- streams of devices


def _device_data(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    _device(session, side, values["carried"], at, found)


def _device_compressed(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    data = values["compressed"]
    kind, size = values["type"], values.get("uncompressed_size", len(data))
    if kind > 1 or size > carried.UNIT_LIMIT:
        why = f"{size} bytes are over the limit" if kind <= 1 else f"compression {kind} is not defined"
        found.violations.append((at, why))
        found.after.append(lambda: session.memory.astray(side, why))
        return
    if kind:
        try:
            data = lz4.decompress(data, size)
        except lz4.Damaged as bad:
            why = f"its LZ4 data is damaged: {bad}"
            found.violations.append((at, why))
            found.after.append(lambda: session.memory.astray(side, why))
            return
    _device(session, side, data, at, found)


def _device(session: SpiceSession, side: Side, data: bytes, at: int, found: Found) -> None:
    kind = constants.CHANNEL_TYPES.get(session.channel_type or 0)
    if kind == "usbredir":
        _usbredir(session, side, data, at, found)
    elif kind == "webdav":
        _webdav(session, side, data, at, found)


def _usbredir(session: SpiceSession, side: Side, data: bytes, at: int, found: Found) -> None:
    memory = session.memory
    inner = memory.device[side]
    if inner.lost is not None:
        found.extra["usbredir"] = f"not decoded: {inner.lost}"
        return
    capabilities = memory.usbredir_capabilities
    if memory.gaps and inner.count and len(capabilities) < len(Side):
        found.extra["usbredir"] = f"not decoded: {UNKNOWN}"
        found.after.append(partial(memory.device.update, {side: inner.astray(UNKNOWN)}))
        return
    wide = all(carried.USBREDIR_64BIT_IDS in capabilities.get(one, ()) for one in Side)
    shown = Shown()
    for piece in slices(data):
        inner, units = inner.take(piece, lambda count: 16 if wide and count else 12, _usb_size)
        for number, unit in enumerate(units, inner.count - len(units)):
            type_ = int.from_bytes(unit.raw[:4], "little")
            cls = carried.UsbredirPacket64 if wide and number else carried.UsbredirPacket
            fields, described = _unit(cls, type_, unit, at, found)
            described["name"] = f"usb_redir_{carried.USBREDIR_TYPES.get(type_, f'type {type_}')}"
            if fields is not None and not type_:
                _hello(memory, side, fields["packet_data"], at, described, found)
            shown.add(described)
    found.after.append(partial(memory.device.update, {side: inner}))
    shown.into(found.extra, "usbredir", inner)


def _hello(memory: Memory, side: Side, data: bytes, at: int, described: dict[str, Any], found: Found) -> None:
    """The first packet of either end. The word of capabilities is missing where there are none."""
    layout = carried.UsbredirHello.layout()
    try:
        hello, _ = layout.decode(data + bytes(4))
    except Short:
        found.wrong(at, "the hello of usbredir is too short")
        return
    described.update(layout.describe(hello))
    known = frozenset(set_bits([hello["capabilities"]]))
    found.after.append(partial(memory.usbredir_capabilities.update, {side: known}))


def _usb_size(header: bytes) -> int:
    return len(header) + int.from_bytes(header[4:8], "little")


def _webdav(session: SpiceSession, side: Side, data: bytes, at: int, found: Found) -> None:
    memory = session.memory
    inner = memory.device[side]
    if inner.lost is not None:
        found.extra["webdav"] = f"not decoded: {inner.lost}"
        return
    shown = Shown()
    for piece in slices(data):
        inner, units = inner.take(piece, lambda count: carried.WEBDAV_HEADER, _webdav_size)
        for unit in units:
            shown.add(_unit(carried.WebdavFrame, 0, unit, at, found)[1])
    found.after.append(partial(memory.device.update, {side: inner}))
    shown.into(found.extra, "webdav", inner)


def _webdav_size(header: bytes) -> int:
    return carried.WEBDAV_HEADER + int.from_bytes(header[8:10], "little")


# --- smartcards


def _smartcard(session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found) -> None:
    type_, data = values["type"], values["card_data"]
    cls = smartcard.described_by(side, type_, data)
    if cls is None:
        found.wrong(at, f"the smartcard's message type {type_} is not defined")
        return
    raw = struct.pack("<III", type_, values["reader_id"], values["length"]) + data
    _, described = _unit(cls, type_, carried.Unit(len(raw), raw, True), at, found)
    header = devices.SpiceMsgSmartcardData.layout().describe(values)
    found.extra["smartcard"] = {name: value for name, value in described.items() if name not in header}


def _port_event(
    session: SpiceSession, side: Side, values: Values, offset: int, at: int, found: Found
) -> None:
    if values["event"] == 0:
        fresh = {one: carried.Inner() for one in Side}
        found.after.append(lambda: session.memory.device.update(fresh))


_READERS: dict[type[base.SpiceMessage], Reader] = {
    **{cls: _drawing for cls in base.BODIES.values() if cls.title().startswith("SPICE_MSG_DISPLAY_DRAW_")},
    display.SpiceMsgDisplayStreamCreate: _stream_create,
    display.SpiceMsgDisplayStreamData: _stream_data,
    display.SpiceMsgDisplayStreamDataSized: _stream_data,
    display.SpiceMsgDisplayStreamDestroy: _stream_destroy,
    display.SpiceMsgDisplaySurfaceCreate: _surface_create,
    display.SpiceMsgDisplayInvalList: _forget("images"),
    display.SpiceMsgDisplayInvalAllPixmaps: _forget("images"),
    display.SpiceMsgDisplayInvalPalette: _forget("palettes"),
    base.BODIES[2, Side.SERVER, 108]: _forget("palettes"),
    base.BODIES[2, Side.SERVER, 126]: _forget("streams"),
    audio.SpiceMsgPlaybackMode: _audio_mode,
    audio.SpiceMsgcRecordMode: _audio_mode,
    audio.SpiceMsgPlaybackData: _audio_data,
    audio.SpiceMsgcRecordData: _audio_data,
    main.SpiceMsgMainAgentData: _agent_data,
    main.SpiceMsgcMainAgentData: _agent_data,
    main.SpiceMsgMainAgentDisconnected: _agent_begins(Side.SERVER),
    main.SpiceMsgcMainAgentStart: _agent_begins(None),
    devices.SpiceMsgSmartcardData: _smartcard,
    devices.SpiceMsgcSmartcardData: _smartcard,
    devices.SpiceMsgSpicevmcData: _device_data,
    devices.SpiceMsgcSpicevmcData: _device_data,
    devices.SpiceMsgSpicevmcCompressedData: _device_compressed,
    devices.SpiceMsgcSpicevmcCompressedData: _device_compressed,
    devices.SpiceMsgPortEvent: _port_event,
}
