# SPDX-License-Identifier: GPL-2.0-or-later
"""The SPICE session: one link (one TCP connection, one channel) from its magic on."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

from dissect.spice import constants, link, lists, meaning, seek
from dissect.spice.channels import base, main
from dissect.spice.shapes import Shapes
from dissect.stream.batch import Batch, Run, Series
from dissect.stream.layout import Buffer, Malformed, ProtocolPacket, Short, Values, set_bits
from dissect.stream.records import Message, Part, Record
from dissect.stream.session import (
    Flow,
    Framed,
    Limits,
    NotRead,
    Reader,
    Reading,
    Session,
    State,
    Wrong,
    one,
    reads,
)
from dissect.stream.side import SIDES, Side

NEVER_QUICK = (base.SpiceMsgList, main.SpiceMsgMainInit)
"""Messages that `SpiceSession.observe` looks at, or whose size does not say what they hold."""
QUICK_LIMIT = 1 << 26
"""Bytes of the largest message that is read without its layout, which has this limit for its fields."""
AT_ONCE, MANY = 1 << 19, 2048
"""Bytes in which messages of a known shape are read at once, and how many of them; a few may be more."""
_MINI, _FULL = struct.Struct("<HI"), struct.Struct("<QHII")

MESSAGE_LIMIT = 1 << 27
"""Bytes: the largest data message that is put together (128 MiB; a 4K frame uncompressed has 33 MB)."""


def _link(cls: type[link.SpiceLinkPacket], least: int) -> Reader:
    """A reader of a link header and the struct `cls`, of at least `least` bytes, behind it."""
    name = cls.title()

    @reads(name)
    def read(session: SpiceSession, flow: Flow) -> Reading:
        if not flow.buffer.startswith(constants.MAGIC):  # the first byte that is wrong ends it, or some wait
            for at, wanted in enumerate(constants.MAGIC):
                yield from flow.need(at + 1, name)
                if flow.buffer[at] != wanted:
                    begins = bytes(flow.buffer[: at + 1])
                    raise Wrong(f"begins with {begins!r}, not with {constants.MAGIC!r}", at)
        yield from flow.need(link.HEADER_SIZE, name)
        header, at = link.SpiceLinkHeader.layout().decode(flow.buffer)
        size = header["size"]
        if size > link.SIZE_LIMIT:
            raise Wrong(f"size {size} is over the limit of {link.SIZE_LIMIT} bytes", 12)
        end = at + size
        yield from flow.need(end, name, end)
        head = Part(link.SpiceLinkHeader, 0, at)
        if header["major_version"] != constants.VERSION_MAJOR:
            version = f"{header['major_version']}.{header['minor_version']}"
            return Framed(name, end, (head,), f"not decoded: link version {version}")
        if size < least:
            return Framed(name, end, (head,), violations=((12, f"size {size} is less than {least} bytes"),))
        try:
            values, _ = cls.layout().decode(flow.buffer, at, end)
        except Short as short:
            why = f"has {size} bytes where its capabilities need {short.needed - at}"
            return Framed(name, end, (head,), violations=((at, why),))
        except Malformed as bad:
            return Framed(name, end, (head,), violations=((bad.at, bad.why),))
        session.after = (partial(session.linked, flow.side, values),)
        extra = {} if session.channel_type is None or cls is link.SpiceLinkMess else session.channel_fields()
        return Framed(name, end, (head, Part(cls, at, end)), extra=extra)

    return read


def _data(side: Side) -> Reader:
    """A reader of one data message of `side`."""

    @reads()
    def read(session: SpiceSession, flow: Flow) -> Reading:
        if side in session.seeking:
            skipped = yield from seek.boundary(session, side, flow)
            if skipped is not None:
                return skipped
            session.seeking = {one: size for one, size in session.seeking.items() if one is not side}
        header = base.SpiceMiniDataHeader if session.mini_header else base.SpiceDataHeader
        layout = header.layout()
        yield from flow.need(layout.least)
        values, at = layout.decode(flow.buffer)
        number, size = values["message_type"], values["message_size"]
        channel = session.channel_type or 0
        name = constants.message_name(channel, side, number)
        shown = name or f"message {number} of channel {session.channel_name}"
        size_at = 2 if session.mini_header else 10
        if size > MESSAGE_LIMIT:
            raise Wrong(f"size {size} is over the limit of {MESSAGE_LIMIT} bytes", size_at, shown)
        end, cls = at + size, base.body(channel, side, number)
        search = seek.Search(session, side, flow)
        sub_list = values.get("sub_list", 0)
        doubt, place = seek.doubted(channel, side, number, size, sub_list), None
        if doubt is None and (len(flow.buffer) < end or size > seek.ANYTHING_LIMIT):
            doubt, place = yield from search.grown(cls, at, end, shown)
        body = None
        if doubt is None and cls is not None and size <= cls.most:
            body = _body(session, side, flow.buffer, cls, sub_list, at, end)
            doubt = body.found.violations[0][1] if body.found.violations else None
        wrong: list[tuple[int, str]] = []
        if doubt is not None:
            place = place or (yield from search.believed(at, end, defined=name is not None))
            if place is None or (place < end and not seek.reads(cls, flow.buffer, at, place)):
                raise Wrong(f"size {size} cannot be: {doubt}, and no message is behind it", size_at, shown)
            if place < end:
                wrong.append((size_at, f"size {size} cannot be: a message begins after {place - at} bytes"))
                size, end = place - at, place
        head = Part(header, 0, at)
        if name is None:
            why = f"the {session.channel_name} channel has no {side} message {number}"
            return Framed(shown, end, (head,), "not decoded: undefined", violations=((0, why),))
        if cls is None:
            return Framed(name, end, (head,), f"not decoded: {size} bytes of body" if size else None)
        if size > cls.most:
            why = f"size {size} is over the limit of {cls.most} bytes for this message"
            return Framed(name, end, (head,), f"not decoded: {why}", violations=((at, why),))
        if body is None or wrong:
            body = _body(session, side, flow.buffer, cls, sub_list, at, end)
        wrong += body.found.violations
        if body.fields is None:
            return Framed(name, end, (head,), violations=tuple(wrong))
        meant = meaning.consider(session, side, cls, body.fields, flow.offset, at)
        session.after = meant.after
        wrong += meant.violations
        parts = head, Part(cls, at, body.stop)
        if not wrong and not body.found.extra and cls not in NEVER_QUICK:
            quiet = meaning.is_quiet(cls, meant)
            session.shapes.learn(side, number, parts, [values, body.fields], quiet=quiet)
        return Framed(name, end, parts, extra={**body.found.extra, **meant.extra}, violations=tuple(wrong))

    return read


class _Body(NamedTuple):
    """A body as its class reads it: its fields (None: it does not), where they end, and what is wrong."""

    fields: Values | None
    stop: int
    found: meaning.Found


def _body(
    session: SpiceSession,
    side: Side,
    data: Buffer,
    cls: type[base.SpiceMessage],
    sub_list: int,
    at: int,
    end: int,
) -> _Body:
    """Read the body from `at` to `end`; `sub_list` is where in it a list of sub-messages is, 0: nowhere."""
    found = meaning.Found()
    try:
        listed = end
        if sub_list or cls is base.SpiceMsgList:
            listed = lists.read(session, side, data, (at, at + sub_list, end), found)
        last = end if cls is base.SpiceMsgList else listed
        fields, stop = cls.layout().decode(data, at, last)
    except Short as short:
        why = f"has {end - at} bytes of body where at least {short.needed - at} are needed"
        return _Body(None, at, meaning.Found(violations=[(at, why)]))
    except Malformed as bad:
        return _Body(None, at, meaning.Found(violations=[(bad.at, bad.why)]))
    if stop < last:
        found.violations.append((stop, f"has {last - stop} bytes after its body"))
    return _Body(fields, stop, found)


def _after_link(session: SpiceSession) -> str | None:
    if session.error not in (None, 0):
        return "closed"
    if not (session.done(Side.CLIENT) and session.done(Side.SERVER)):
        return None
    if session.channel_type is None or session.error is None:
        return "lost"
    if session.both_have(constants.CAP_AUTH_SELECTION):
        return "mechanism"
    return "ticket"


def _after_mechanism(session: SpiceSession) -> str:
    if session.mechanism == constants.CAP_AUTH_SPICE:
        return "ticket"
    return "sasl-mechanisms" if session.mechanism == constants.CAP_AUTH_SASL else "bad-mechanism"


LAYERED = ("GSSAPI", "GSS-SPNEGO", "DIGEST-MD5", "KERBEROS_V4")
"""SASL mechanisms that can encrypt all that follows; without TLS spice-server insists that they do."""


def _after_sasl_reply(session: SpiceSession) -> str:
    return "sasl-result" if session.sasl_complete else "sasl-step"


def _after_sasl_result(session: SpiceSession) -> str:
    if session.sasl_result:
        return "sasl-reason"
    return "sasl-layer" if session.sasl_mechanism in LAYERED else "result"


@reads()
def _sasl_layer(session: SpiceSession, flow: Flow) -> Reading:
    raise NotRead(f"follows a SASL exchange with {session.sasl_mechanism}, which may have encrypted it")


@reads()
def _lost(session: SpiceSession, flow: Flow) -> Reading:
    raise NotRead("the link messages could not be read")


@reads()
def _closed(session: SpiceSession, flow: Flow) -> Reading:
    raise NotRead("the server has refused the link")


class SpiceSession(Session):
    """One SPICE link."""

    protocol: ClassVar[str] = "spice"
    start: ClassVar[str] = "link"
    table: ClassVar[Mapping[str, State]] = {
        "link": State(
            client=_link(link.SpiceLinkMess, link.MESS_SIZE),
            server=_link(link.SpiceLinkReply, link.REPLY_SIZE),
            then=_after_link,
        ),
        "mechanism": State(client=one(link.SpiceLinkAuthMechanism), then=_after_mechanism),
        "bad-mechanism": State(
            server=_link(link.SpiceLinkReply, link.REPLY_SIZE), then=lambda session: "closed"
        ),
        "ticket": State(client=one(link.SpiceLinkEncryptedTicket), then=lambda session: "result"),
        "result": State(
            server=one(link.SpiceLinkResult),
            then=lambda session: "closed" if session.result else "messages",
        ),
        "messages": State(client=_data(Side.CLIENT), server=_data(Side.SERVER), stays=True),
        "closed": State(client=_closed, server=_closed, stays=True),
        "lost": State(client=_lost, server=_lost, stays=True),
        "sasl-mechanisms": State(server=one(link.SpiceSaslMechanisms), then=lambda session: "sasl-start"),
        "sasl-start": State(client=one(link.SpiceSaslStart), then=lambda session: "sasl-reply"),
        "sasl-reply": State(server=one(link.SpiceSaslReply), then=_after_sasl_reply),
        "sasl-step": State(client=one(link.SpiceSaslStep), then=lambda session: "sasl-reply"),
        "sasl-result": State(server=one(link.SpiceSaslResult), then=_after_sasl_result),
        "sasl-reason": State(server=one(link.SpiceSaslReason), then=lambda session: "closed"),
        "sasl-layer": State(client=_sasl_layer, server=_sasl_layer, stays=True),
    }

    def __init__(self, role: Side | None = None, limits: Limits | None = None) -> None:
        super().__init__(role, limits)
        self.connection_id: int | None = None
        """What the client's link names: 0 on a new main channel, else the session's id."""
        self.channel_type: int | None = None
        self.channel_id: int | None = None
        self.error: int | None = None
        """The link reply's error; None until it came."""
        self.public_key: bytes | None = None
        self.mechanism: int | None = None
        self.sasl_mechanism: str | None = None
        self.sasl_complete = False
        self.sasl_result: int | None = None
        self.result: int | None = None
        self.session_id: int | None = None
        """From MAIN_INIT, or from the link of another channel."""
        self.common: dict[Side, frozenset[int]] = {}
        """Each side's common capabilities, as bit numbers."""
        self.capabilities: dict[Side, frozenset[int]] = {}
        """Each side's channel capabilities, as bit numbers."""
        self.memory = meaning.Memory()
        """What later messages need to know of those before."""
        self.seeking: Mapping[Side, int] = {}
        """Sides of which it is not known where a message begins -> bytes lost (0: a size was impossible).

        It is sought: see `seek`.
        """
        self.in_vain = dict.fromkeys(Side, 0)
        """Bytes that were read in vain where the next message was sought: see `seek.FREELY`."""
        self.shapes = Shapes()
        """How messages looked that came before: see `dissect.spice.shapes`."""
        self.after: Sequence[Callable[[], object]] = ()
        """What the message that was just read leaves in the memory, once it is delivered."""
        self.batches: list[Batch] | None = None
        """Where this is a list, messages that come in batches are put there, not among the records."""
        self._serial = 0
        """Data messages that this session's role has sent."""

    @property
    def apart(self) -> bool:
        """Whether from here on each side can be read whatever the other one says: see `meaning.ONE_SIDED`."""
        return self.state == "messages" and self.channel_type in meaning.ONE_SIDED

    @property
    def settled(self) -> bool:
        """As in `Session`; a new main channel's number comes with the first message."""
        return super().settled and self.numbered

    @property
    def numbered(self) -> bool:
        """Whether nothing that is still to come can change what is known of the session's number."""
        return self.channel_type != constants.MAIN or self.session_id is not None or bool(self.error)

    @property
    def channel_name(self) -> str:
        return constants.CHANNEL_TYPES.get(self.channel_type or 0, f"type {self.channel_type}")

    @property
    def mini_header(self) -> bool:
        return self.both_have(constants.CAP_MINI_HEADER)

    def both_have(self, capability: int) -> bool:
        """Whether both sides announced a common capability."""
        return all(capability in self.common.get(side, ()) for side in SIDES)

    def channel_fields(self) -> dict[str, Any]:
        """What a reply does not say of itself, though its capabilities are read by it."""
        return {"channel_type": self.channel_type, "channel_type_name": self.channel_name}

    def encode(self, packet: ProtocolPacket) -> bytes:
        """A link message behind its header, a message body behind its data header, the rest as it is."""
        if isinstance(packet, link.SpiceLinkMess | link.SpiceLinkReply):
            return bytes(link.SpiceLinkHeader() / packet)
        if isinstance(packet, base.SpiceMessage):
            data = bytes(packet)
            number = next(
                (n for channel, _, n in packet.keys if channel in (constants.COMMON, self.channel_type)), None
            )
            if number is None:
                raise ValueError(f"{packet.name} is not a message of the {self.channel_name} channel")
            if self.mini_header:
                return bytes(base.SpiceMiniDataHeader(message_type=number, message_size=len(data))) + data
            head = base.SpiceDataHeader(
                message_serial=self._serial + 1, message_type=number, message_size=len(data)
            )
            return bytes(head) + data
        return bytes(packet)

    def observe(self, message: Message) -> None:
        """Keep what later messages depend on."""
        if not message.parts:
            return
        after, self.after = self.after, ()
        for note in after:
            note()
        if self.state == "messages" and message.side is self.role:
            self._serial += 1
        match message.parts[-1].cls:
            case link.SpiceLinkAuthMechanism:
                self.mechanism = message["auth_mechanism"]
            case link.SpiceSaslStart:
                self.sasl_mechanism = message.fields()["mechanism"]
            case link.SpiceSaslReply:
                self.sasl_complete = bool(message["complete"])
            case link.SpiceSaslResult:
                self.sasl_result = message["sasl_result"]
            case link.SpiceLinkResult:
                self.result = message["result"]
            case main.SpiceMsgMainInit:
                self.session_id = message["session_id"]
            case _:
                pass

    def _step(self, flow: Flow, out: list[Record]) -> bool:
        """As in `Session`; messages of a known shape take a shorter way to the same records."""
        if (
            flow.buffer
            and self.state == "messages"
            and flow.lost is None
            and flow.unread is None
            and flow.side not in self.seeking
            and (flow.reading is None or 0 < (flow.want.total or 0) <= len(flow.buffer))
            and self._quick(flow, out)
        ):
            return True
        return super()._step(flow, out)

    def _quick(self, flow: Flow, out: list[Record]) -> bool:
        """Read the messages in front that are whole and of a known shape; False where the first is not."""
        buffer, side, mini = flow.buffer, flow.side, self.mini_header
        header = _MINI if mini else _FULL
        head = header.size
        if len(buffer) < head:
            return False
        size = header.unpack_from(buffer)[-1 if mini else -2]
        if head + size > len(buffer) or size > min(QUICK_LIMIT, self.limits.message - head):
            return False
        whole, base_offset = len(buffer), flow.offset
        nothing: dict[str, Any] = {}
        find = self.shapes.find
        same = 0 if mini else 8  # from here on headers of equal messages are equal: not the serial number
        runs: list[Run] = []
        at = many = 0
        while at + head <= whole and at < AT_ONCE and many < MANY:
            if mini:
                number, size = header.unpack_from(buffer, at)
            else:
                _, number, size, listed = header.unpack_from(buffer, at)
                if listed:
                    break
            end = at + head + size
            if end > whole:
                break
            found = find(side, number, buffer, at, end)
            if found is None:
                break
            shape, numbers = found
            extra, stop = nothing, end
            if not shape.quiet:
                values = shape.values(numbers, buffer, at, end)
                cls: Any = shape[-1].cls
                body = meaning.consider(self, side, cls, values, base_offset + at, head)
                if body.violations:
                    break
                for note in body.after:
                    note()
                extra = body.extra
            elif shape.fixed and buffer[end + same : end + head] == buffer[at + same : at + head]:
                stop = shape.row(buffer, end)
            size = end - at
            runs.append(Run(shape, at, size, (stop - at) // size, extra))
            many += runs[-1].many
            at = stop
        if not at:
            return False
        arrivals = flow.arrived(at)
        series = Series(side, "spice", base_offset, flow.cut(at), runs, arrivals)
        batch = Batch.of(series)
        if self.batches is None:
            out.extend(batch)
        else:
            self.batches.append(batch)
        if side is self.role:
            self._serial += len(batch)
        flow.idle()
        self._done.add(side)
        return True

    def missed(self, side: Side, name: str) -> None:
        """A gap went through a message: what it carried of another stream is lost."""
        if name.endswith(("_AGENT_DATA", "_SPICEVMC_DATA", "_SPICEVMC_COMPRESSED_DATA")):
            self.memory.astray(side, "follows a gap")

    def after_gap(self, flow: Flow, size: int, now: int) -> str | None:
        """Seek the next message where the link stands; before that nothing can be read."""
        if self.state != "messages":
            return super().after_gap(flow, size, now)
        self.seeking = {**self.seeking, flow.side: self.seeking.get(flow.side, 0) + size}
        self.memory.astray(flow.side, "follows a gap")
        return None

    def after_violation(self, flow: Flow, at: int) -> str | None:
        """Seek the next message after one whose size cannot be; not before the link stands."""
        if self.state != "messages":
            return super().after_violation(flow, at)
        self.seeking = {**self.seeking, flow.side: 0}
        self.memory.astray(flow.side, "follows a message of impossible size")
        return None

    def linked(self, side: Side, values: Mapping[str, Any]) -> None:
        """Keep what a side says of the link: the fields of a SpiceLinkMess or SpiceLinkReply."""
        if side is Side.CLIENT:
            self.connection_id = values["connection_id"]
            self.channel_type = values["channel_type"]
            self.channel_id = values["channel_id"]
            self.session_id = self.connection_id or None
        else:
            self.error = values["error"]
            self.public_key = values["pub_key"]
        self.common[side] = frozenset(set_bits(values["common_caps"]))
        self.capabilities[side] = frozenset(set_bits(values["channel_caps"]))
