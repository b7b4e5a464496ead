# SPDX-License-Identifier: GPL-2.0-or-later
"""Model peers that speak SPICE: a server before and after its cure, and a client."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from dissect.lab.models.core import (
    MS,
    Begin,
    Change,
    Conversation,
    How,
    Model,
    Parting,
    PeerEnded,
    PeerWrong,
    Script,
)
from dissect.replay.credentials import CredentialError, oaep, password_bytes, spice_ticket
from dissect.spice import constants, link
from dissect.spice.channels import base, inputs, main
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from dissect.stream.layout import ProtocolPacket
from dissect.stream.records import Message

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAIN, DISPLAY, INPUTS, CURSOR = 1, 2, 3, 4
INVALID_MAGIC, INVALID_DATA, VERSION_MISMATCH, PERMISSION_DENIED, BAD_CONNECTION_ID = 2, 3, 4, 7, 8
AUTH_SPICE = 1
COMMON_CAPS = (0b1011,)
"""AUTH_SELECTION, AUTH_SPICE, MINI_HEADER: what spice-server without SASL and spice-gtk announce."""
NAME_AND_UUID = 1
"""The main channel's capability without which a client is not told the guest's name."""
SHORTLY_NS = 10 * MS
"""How often a client that wants to leave looks whether its channels are linked."""
REPLY_AND_HEADER = link.HEADER_SIZE + link.REPLY_SIZE

Channel = tuple[int, int]
"""Channel type and id."""


class _Conversation(Conversation):
    """What both sides share."""

    reads_ahead = False  # both read exactly what they need next

    def changed(self, data: bytes, packet: ProtocolPacket, change: Change) -> bytes:
        """As for every message, and for the fields of the header before it too."""
        size = len(data) - len(bytes(packet))
        header = data[:size]
        kind = {
            link.HEADER_SIZE: link.SpiceLinkHeader,
            base.SpiceMiniDataHeader.layout().least: base.SpiceMiniDataHeader,
            base.SpiceDataHeader.layout().least: base.SpiceDataHeader,
        }.get(size)
        if kind is None:
            return super().changed(data, packet, change)
        top = kind(header)
        if change.field in top.fields:
            top.setfieldval(change.field, change.value)
            return bytes(top) + data[size:]
        body = super().changed(data, packet, change)
        top.setfieldval("size" if kind is link.SpiceLinkHeader else "message_size", len(body))
        return bytes(top) + body


# --- The server ------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _shared_key() -> RSAPrivateKey:
    return _new_key()


def _new_key() -> RSAPrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError:
        raise CredentialError(
            "a SPICE server needs the package cryptography: pip install 'firstbyte[lab]'"
        ) from None
    return rsa.generate_private_key(65537, 1024)


@dataclass(frozen=True, kw_only=True)
class SpiceServer(Model):
    """spice-server, up to the list of its channels. It waits for ever: there is no handshake timeout."""

    role: ClassVar[Side] = Side.SERVER

    judges_after: int = 4
    """After how many bytes it looks at the magic: 16, the whole link header, before the cure; 4 after it."""
    looks_for_websocket: bool = True
    """After a wrong magic at 4 bytes, whether it takes all else that came to look for a WebSocket (0.14.3 and
    later). Without, a longer wrong beginning is left unread, and the end is a reset."""
    error_reply: bool = True
    """Whether a link it refuses is told why; False: it just ends."""
    password: str | bytes | None = None
    """None: ticketing is off. A ticket must be decryptable all the same."""
    key_per_link: bool = True
    """A new RSA key for every link (~10 ms each). False: one for all, where a thousand links are wanted."""
    common_caps: tuple[int, ...] = COMMON_CAPS
    channel_caps: Mapping[int, tuple[int, ...]] = field(
        default_factory=lambda: MappingProxyType(
            {MAIN: (0b1111,), DISPLAY: (0b1000001010010,), INPUTS: (1,)}
        ),
        hash=False,
    )
    """Channel type -> words of capabilities (those of QEMU 7.2)."""
    channels: tuple[Channel, ...] = ((DISPLAY, 0), (CURSOR, 0), (INPUTS, 0))
    """What CHANNELS_LIST says and what may be linked besides main; any other is dropped before a reply."""
    checks_session_id: bool = True
    name: str = "model"
    pings: tuple[int, ...] = (0, 0)
    """Bytes of data in each PING after MAIN_INIT; spice-server sends 0, 0 and 256,000."""
    ack_window: int = 0
    """SET_ACK asks for an ACK every so many messages; 0: no SET_ACK, as on spice-server's main channel."""
    multi_client: bool = False
    """False: a new main link ends the session before."""

    def start(self) -> Begin:
        program = _Program(self)
        return lambda: _ServerConversation(self, program)


class _Program:
    """What the links of one server share: its sessions."""

    def __init__(self, settings: SpiceServer) -> None:
        self.random = Random(settings.seed)
        self.sessions: dict[int, list[_ServerConversation]] = {}

    def new_session(self, main_link: _ServerConversation) -> int:
        while (number := self.random.getrandbits(32)) == 0 or number in self.sessions:
            pass
        self.sessions[number] = [main_link]
        return number


class _ServerConversation(_Conversation):
    def __init__(self, settings: SpiceServer, program: _Program) -> None:
        self.settings = settings
        self.program = program
        self.session = SpiceSession(role=Side.SERVER)
        super().__init__(settings, self.session, program.random)

    def script(self) -> Script[None]:
        yield from self.read_link()
        key = _new_key() if self.settings.key_per_link else _shared_key()
        yield from self.reply_and_authenticate(key)
        if self.session.channel_type == MAIN:
            yield from self.serve_main()
        else:
            yield from self.serve_channel()

    # --- the link

    def refuse(self, error: int, why: str, size: int | None = None) -> None:
        """End a link, with an error reply where there is one; `size`: how much of the inbox was read."""
        self.say(why)
        self.hand_over(size)
        if self.settings.error_reply:
            # spice-server leaves everything but the error zero, even the offset of the capabilities.
            reply = link.SpiceLinkReply(error=error, num_common_caps=0, num_channel_caps=0, caps_offset=0)
            if self.session.awaits(Side.SERVER) and self.session.error is None:
                self.send(reply)
            else:
                self.write(reply.name, bytes(link.SpiceLinkHeader() / reply))
        self.leave()

    def read_link(self) -> Script[None]:
        magic = constants.MAGIC
        for size in (self.settings.judges_after, link.HEADER_SIZE):
            yield from self.read(size)
            begin = bytes(self.inbox[: len(magic)])
            if not magic.startswith(begin[:size]):
                takes_all = self.settings.looks_for_websocket and size == len(magic)
                self.refuse(INVALID_MAGIC, f"bad magic {begin!r}", None if takes_all else size)
        header, _ = link.SpiceLinkHeader.layout().decode(self.inbox)
        version = f"{header['major_version']}.{header['minor_version']}"
        size = header["size"]
        if header["major_version"] == 0:
            self.say(f"version mismatch: {version}")
            self.hand_over(link.HEADER_SIZE)
            self.leave()
        if header["major_version"] != constants.VERSION_MAJOR:
            self.refuse(VERSION_MISMATCH, f"version mismatch: {version}", link.HEADER_SIZE)
        if not link.MESS_SIZE <= size <= link.SIZE_LIMIT:
            self.refuse(INVALID_DATA, f"bad size {size}", link.HEADER_SIZE)
        whole = link.HEADER_SIZE + size
        yield from self.read(whole)
        # Looked at before the session reads them: what is wrong here has an answer of its own.
        counts = self.inbox[link.HEADER_SIZE + link.MESS_SIZE - 12 : link.HEADER_SIZE + link.MESS_SIZE]
        num_common, num_channel, offset = struct.unpack("<III", counts)
        words = num_common + num_channel
        if words > link.CAPABILITY_WORDS_LIMIT or offset < link.MESS_SIZE or offset + 4 * words > size:
            self.refuse(INVALID_DATA, f"{words} capability words at {offset} of {size} bytes", whole)
        self.hand_over(whole)
        yield from self.expect(link.SpiceLinkMess.title())
        channel = (self.session.channel_type or 0, self.session.channel_id or 0)
        if channel[0] != MAIN and channel not in self.settings.channels:
            self.say(f"there is no channel {channel[0]}:{channel[1]}")
            self.leave()

    def reply_and_authenticate(self, key: RSAPrivateKey) -> Script[None]:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        settings, session = self.settings, self.session
        reply = link.SpiceLinkReply(
            pub_key=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            common_caps=list(settings.common_caps),
            channel_caps=list(settings.channel_caps.get(session.channel_type or 0, ())),
        )
        words = len(settings.common_caps) + len(settings.channel_caps.get(session.channel_type or 0, ()))
        # One write for the reply and one for each capability word, as spice-server does it.
        self.send(reply, pieces=(REPLY_AND_HEADER, *([4] * words)))
        message = yield from self.expect(
            link.SpiceLinkAuthMechanism.title(), link.SpiceLinkEncryptedTicket.title()
        )
        if message.name == link.SpiceLinkAuthMechanism.title():
            mechanism = message["auth_mechanism"]
            if mechanism != AUTH_SPICE:
                self.refuse(INVALID_DATA, f"unknown auth mechanism {mechanism}")
            message = yield from self.expect(link.SpiceLinkEncryptedTicket.title())
        why = self.objection(key, message["encrypted_data"])
        if why is not None:
            self.end_link(PERMISSION_DENIED, why)
        known = session.channel_type == MAIN or session.connection_id in self.program.sessions
        if settings.checks_session_id and not known:
            self.end_link(BAD_CONNECTION_ID, f"no session {session.connection_id:#010x}")
        self.send(link.SpiceLinkResult(result=0))

    def objection(self, key: RSAPrivateKey, ticket: bytes) -> str | None:
        """Why a ticket does not let in, or None."""
        try:
            plain = key.decrypt(ticket, oaep())
        except ValueError:
            return "failed to decrypt the ticket"
        wanted = self.settings.password
        if wanted is not None and plain.partition(b"\0")[0] != password_bytes(wanted):
            return "wrong password"
        return None

    def end_link(self, result: int, why: str) -> None:
        self.say(why)
        self.send(link.SpiceLinkResult(result=result))
        self.leave()

    # --- the channels

    def serve_main(self) -> Script[None]:
        settings = self.settings
        if self.session.connection_id:
            self.say("a main link that names a session: the target of a migration")
            yield from self.ignore()
        sessions = self.program.sessions
        if not settings.multi_client:
            for number in list(sessions):
                self.end_session(number)
        number = self.program.new_session(self)
        try:
            if settings.ack_window:
                self.send(base.SpiceMsgSetAck(generation=1, window=settings.ack_window))
            self.send(main.SpiceMsgMainInit(session_id=number, supported_mouse_modes=1))
            if NAME_AND_UUID in self.session.capabilities.get(Side.CLIENT, ()):
                self.send(main.SpiceMsgMainName(guest_name=settings.name.encode() + b"\0"))
            for index, size in enumerate(settings.pings, 1):
                self.send(base.SpiceMsgPing(id=index, timestamp=self.now // 1000, ping_data=bytes(size)))
            while True:
                message = yield from self.message()
                assert message is not None
                if message.name == "SPICE_MSGC_MAIN_ATTACH_CHANNELS":
                    channels = [main.ChannelId(type=kind, id=id_) for kind, id_ in settings.channels]
                    self.send(main.SpiceMsgMainChannelsList(channels=channels))
        finally:
            if number in sessions:
                self.end_session(number)

    def end_session(self, number: int) -> None:
        """Forget a session; its connections, but this one, are dropped."""
        for conversation in self.program.sessions.pop(number):
            if conversation is not self:
                self.drop(conversation)

    def serve_channel(self) -> Script[None]:
        number = self.session.connection_id or 0
        linked = self.program.sessions.get(number)
        if linked is not None:
            linked.append(self)
        if self.session.channel_type == INPUTS:
            self.send(inputs.SpiceMsgInputsInit())
        yield from self.ignore()

    def ignore(self) -> Script[None]:
        """Read for ever and answer nothing."""
        while True:
            yield from self.message()


# --- The client ------------------------------------------------------------------------------------------


_ATTACH_CHANNELS = base.BODIES[MAIN, Side.CLIENT, 104]
_ACK = base.BODIES[constants.COMMON, Side.CLIENT, 2]


@dataclass(frozen=True, kw_only=True)
class SpiceClient(Model):
    """A SPICE client: its whole RedLinkMess at once, then a 16-byte header before it judges (spice-gtk)."""

    role: ClassVar[Side] = Side.CLIENT

    password: str | bytes = ""
    connection_id: int = 0
    """What its main link names; another than 0 is a migration."""
    channel: Channel = (MAIN, 0)
    """The channel of its first link."""
    channels: tuple[Channel, ...] = ()
    """What it opens besides, each on a connection of its own, where the server's list has it."""
    common_caps: tuple[int, ...] = COMMON_CAPS
    channel_caps: Mapping[int, tuple[int, ...]] = field(
        default_factory=lambda: MappingProxyType({MAIN: (0b1111,)}),
        hash=False,
    )
    """Channel type -> words of capabilities."""
    lasts_ns: int | None = 100 * MS
    """It ends the session so long after CHANNELS_LIST, and not before its other channels are linked.

    None: it stays until the server ends it.
    """

    def start(self) -> Begin:
        random = Random(self.seed)
        return lambda: _ClientConversation(self, random, self.channel, self.connection_id)


class _ClientConversation(_Conversation):
    def __init__(self, settings: SpiceClient, random: Random, channel: Channel, connection_id: int) -> None:
        self.settings = settings
        self.channel, self.connection_id = channel, connection_id
        self.children: list[_ClientConversation] = []
        self.window = self.unacknowledged = 0
        self.session = SpiceSession(role=Side.CLIENT)
        super().__init__(settings, self.session, random)

    @property
    def linking(self) -> bool:
        """Whether the server has not let it in yet, and still may."""
        return not self.over and self.session.state != "messages"

    def script(self) -> Script[None]:
        settings = self.settings
        self.send(
            link.SpiceLinkMess(
                connection_id=self.connection_id,
                channel_type=self.channel[0],
                channel_id=self.channel[1],
                common_caps=list(settings.common_caps),
                channel_caps=list(settings.channel_caps.get(self.channel[0], ())),
            )
        )
        yield from self.read_reply()
        yield from self.authenticate()
        if self.channel[0] == DISPLAY:
            self.initialise_display()
        try:
            yield from self.talk()
        finally:
            for child in self.children:
                self.drop(child)

    def initialise_display(self) -> None:
        """Send SPICE_MSGC_DISPLAY_INIT, without which spice-server tells the display channel nothing.

        Layout: spice.proto, DisplayChannel: cache id u8, its size i64, dictionary id u8, its window i32.
        """
        body = struct.pack("<BqBi", 1, 1 << 20, 1, 1 << 18)
        number = 101
        header = bytes(
            base.SpiceMiniDataHeader(message_type=number, message_size=len(body))
            if self.session.mini_header
            else base.SpiceDataHeader(message_serial=1, message_type=number, message_size=len(body))
        )
        self.send_bytes(constants.MESSAGES[DISPLAY][Side.CLIENT][number], header + body)

    def read_whole(self, size: int, what: str, begin: int = 0) -> Script[None]:
        """Wait for `size` bytes; where the server ends first, say how much of `what` is there."""
        try:
            yield from self.read(size)
        except PeerEnded:
            if self._peer_ended is How.RESET and len(self.inbox) <= begin:
                self.say("connection reset by peer")
            else:
                self.say(f"incomplete {what} ({max(0, len(self.inbox) - begin)}/{size - begin})")
            self.leave(Parting.CLOSE)

    def read_reply(self) -> Script[None]:
        yield from self.read_whole(link.HEADER_SIZE, "link header")
        header, _ = link.SpiceLinkHeader.layout().decode(self.inbox)
        if header["magic"] != constants.MAGIC:
            self.say(f"invalid SPICE magic {header['magic']!r}")
            self.leave()
        if header["major_version"] != constants.VERSION_MAJOR:
            self.say(f"major mismatch (got {header['major_version']}, expected {constants.VERSION_MAJOR})")
            self.leave()
        if header["size"] > link.SIZE_LIMIT:
            raise PeerWrong(f"a link reply of {header['size']} bytes")
        whole = link.HEADER_SIZE + header["size"]
        yield from self.read_whole(whole, "link reply", link.HEADER_SIZE)
        self.hand_over(whole)
        reply = yield from self.expect(link.SpiceLinkReply.title())
        error = reply.values.get("error")
        if error is None:
            raise PeerWrong("a link reply that cannot be read")
        if error:
            raise PeerWrong(f"the server refuses the link: {_error(error)}")

    def authenticate(self) -> Script[None]:
        session = self.session
        assert session.public_key is not None
        ticket = spice_ticket(session.public_key, self.settings.password)
        if session.state == "mechanism":
            self.send(link.SpiceLinkAuthMechanism(auth_mechanism=AUTH_SPICE))
        self.send(link.SpiceLinkEncryptedTicket(encrypted_data=ticket))
        result = (yield from self.expect(link.SpiceLinkResult.title()))["result"]
        if result:
            raise PeerWrong(f"the server does not let in: {_error(result)}")

    def talk(self) -> Script[None]:
        settings = self.settings
        until: int | None = None
        while True:
            message = yield from self.message(until)
            if message is None:
                if any(child.linking for child in self.children):
                    until = self.now + SHORTLY_NS
                    continue
                self.say("done")
                self.leave(Parting.CLOSE)
            self.acknowledge()
            if message.name == "SPICE_MSG_SET_ACK":
                self.window, self.unacknowledged = message["window"], 0
                self.send(base.SpiceMsgcAckSync(generation=message["generation"]))
            elif message.name == "SPICE_MSG_PING":
                self.send(base.SpiceMsgcPong(id=message["id"], timestamp=message["timestamp"]))
            elif message.name == "SPICE_MSG_MAIN_INIT":
                self.send(_ATTACH_CHANNELS())
            elif message.name == "SPICE_MSG_MAIN_CHANNELS_LIST":
                self.open_channels(message)
                if settings.lasts_ns is not None:
                    until = self.now + settings.lasts_ns

    def acknowledge(self) -> None:
        """Count a message; the window's last one is acknowledged."""
        if self.window:
            self.unacknowledged += 1
            if self.unacknowledged >= self.window:
                self.unacknowledged = 0
                self.send(_ACK())

    def open_channels(self, message: Message) -> None:
        offered = {(channel["type"], channel["id"]) for channel in message["channels"]}
        for channel in self.settings.channels:
            if channel not in offered:
                self.say(f"the server has no channel {channel[0]}:{channel[1]}")
                continue
            child = _ClientConversation(self.settings, self.random, channel, self.session.session_id or 0)
            self.children.append(child)
            self.open(child)


def _error(number: int) -> str:
    return f"{number} ({constants.LINK_ERRORS.get(number, 'unknown')})"


def capability_words(bits: Sequence[int]) -> tuple[int, ...]:
    """The 32-bit words in which exactly `bits` are set; what `common_caps` and `channel_caps` want."""
    words = [0] * (max(bits, default=-1) // 32 + 1)
    for bit in bits:
        words[bit // 32] |= 1 << bit % 32
    return tuple(words)
