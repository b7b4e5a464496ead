# SPDX-License-Identifier: GPL-2.0-or-later
"""What the played side says to this live peer: the recorded messages, with what cannot be literal made new.

A voice reads the live peer through the protocol's own session and so knows its state. The handshake follows
the live state: it asks for a message, the recorded one of that name answers, adapted or computed. What
follows the handshake is the recorded script. A conversation in which the two sides did not speak the same
protocol has no state that could be followed: its bytes are said as they were.

Pure: no socket, no clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dissect.dissection.opaque import OpaqueStream
from dissect.dissection.recognise import ENOUGH, TITLES, recognise
from dissect.replay.credentials import CredentialError, spice_ticket, vnc_response
from dissect.replay.plan import MAIN, Plan, is_handshake
from dissect.rfb import constants as rfb_constants
from dissect.rfb import messages as rfb
from dissect.rfb.session import RfbSession, form
from dissect.spice import constants as spice_constants
from dissect.spice import link
from dissect.spice.channels import base
from dissect.spice.session import SpiceSession
from dissect.stream.recognition import NotYet, Yes
from dissect.stream.records import Message, Record
from dissect.stream.session import Limits, Session
from dissect.stream.side import Side

LIMITS = Limits(waiting=1 << 20, message=1 << 26)
"""What one live peer can make a replay keep: 64 MiB hold the raw picture of a 4K screen."""

NONE, VNC_AUTHENTICATION = 1, 2

DESKTOP_SIZE, EXTENDED_DESKTOP_SIZE = -223, -308

FENCE_REQUEST = 1 << 31
FENCE_FLAGS = 0b111
"""BlockBefore, BlockAfter, SyncNext: what an answer may repeat. rfbproto.rst "ServerFence"."""


class Stuck(Exception):
    """The live peer asks for what cannot be computed; `str()` is a sentence."""


@dataclass(frozen=True, slots=True)
class Word:
    """Something to say: a message's name and bytes, the step it comes from, and where segments begin."""

    name: str
    data: bytes
    step: int | None = None
    cuts: tuple[int, ...] = (0,)


class Voice(ABC):
    """Speaks for `plan.played`. See the module."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.script: list[int] = []
        """Numbers of the steps that follow the handshake."""
        self.adapted: dict[str, str] = {}
        """What was not said as recorded: message -> a sentence."""

    @abstractmethod
    def hear(self, data: bytes, now: int) -> list[Record]:
        """The live peer's next bytes; returns its records."""

    @abstractmethod
    def hear_end(self, now: int) -> list[Record]:
        """The live peer says no more; returns what is left of its stream."""

    def leave(self, now: int) -> list[Record]:
        """We end the connection: what of the peer is only known in runs is reported as far as it came."""
        return []

    def say(self, word: Word, now: int) -> list[Record]:
        """`word` is on its way. Returns what the peer had sent early, and can be read only now."""
        return []

    def handshake(self) -> Word | None:
        """What the live handshake asks for now. Raises Stuck."""
        return None

    @property
    def in_handshake(self) -> bool:
        """Whether the script must wait."""
        return False

    @property
    def handshake_left(self) -> bool:
        """Whether recorded messages of the handshake were not said yet, and may still be."""
        return False

    def word(self, number: int) -> Word:
        """Step `number` of the plan, for this peer."""
        step = self.plan.steps[number]
        return Word(step.name, step.raw, number, step.cuts)

    def answers(self, message: Message) -> list[Word]:
        """What `message` of the live peer must be answered with at once."""
        return []

    @property
    def lost(self) -> str | None:
        """Why the live peer is not read any further; None while it is."""
        return None

    @property
    def session_id(self) -> int | None:
        """SPICE: the live session's id, once known."""
        return None

    def identity(self) -> dict[str, Any]:
        """What the live peer is, as far as it has said."""
        return {}


class Literal(Voice):
    """The bytes as they were, to a peer that need not speak the same protocol."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.script = list(range(len(plan.steps)))
        self._head = b""
        self._held: list[tuple[bytes, int]] = []
        self._spoken: str | None = None
        self._stream: Session | OpaqueStream | None = None
        self._heard = 0
        last = plan.expected[-1].message if plan.expected else None
        cut = last is not None and last.note is not None and "incomplete" in last.note
        self._cut_at = last.offset + last.size if last is not None and cut else None
        """Where the recorded peer stopped in the middle of a message: all that may come of this one too."""
        known = plan.spoke[plan.peer]
        if known in ("rfb", "spice"):
            self._choose(known)

    def _choose(self, protocol: str) -> None:
        peer = self.plan.peer
        self._spoken = protocol
        match protocol:
            case "rfb":
                self._stream = RfbSession(limits=LIMITS, foreign_client=peer is Side.SERVER)
            case "spice":
                self._stream = SpiceSession(limits=LIMITS)
            case _:
                self._stream = OpaqueStream(peer, protocol, TITLES[protocol])

    def hear(self, data: bytes, now: int) -> list[Record]:
        self._head += data[: max(0, ENOUGH - len(self._head))]
        if self._stream is not None:
            self._heard += len(data)
            records = self._stream.feed(self.plan.peer, data, now)
            if self._heard == self._cut_at and self._spoken is not None:
                # Answered then, so it is to be answered now; what follows is no part of it.
                records += self._stream.end(self.plan.peer, now)
                self._stream = OpaqueStream(self.plan.peer, self._spoken, TITLES[self._spoken])
            return records
        self._held.append((data, now))
        return self._decide(ended=False)

    def hear_end(self, now: int) -> list[Record]:
        records = self._decide(ended=True) if self._stream is None and self._held else []
        if self._stream is not None:
            records += self._stream.end(self.plan.peer, now)
        return records

    def leave(self, now: int) -> list[Record]:
        known = isinstance(self._stream, Session)
        return [] if known else self.hear_end(now)

    def _decide(self, *, ended: bool) -> list[Record]:
        answer = recognise(self._head, ended=ended)
        if isinstance(answer, NotYet):
            return []
        self._choose(answer.protocol if isinstance(answer, Yes) else "other")
        assert self._stream is not None
        held, self._held = self._held, []
        return [r for data, now in held for r in self._stream.feed(self.plan.peer, data, now)]

    @property
    def lost(self) -> str | None:
        return self._stream.lost(self.plan.peer) if isinstance(self._stream, Session) else None

    def identity(self) -> dict[str, Any]:
        answer = recognise(self._head, ended=True)
        if not self._head:
            return {}
        found: dict[str, Any] = {"protocol": answer.protocol if isinstance(answer, Yes) else "other"}
        if isinstance(self._stream, RfbSession) and self._stream.server_version is not None:
            found["version"] = "{}.{}".format(*self._stream.server_version)
        return found


class Following(Voice):
    """A voice that follows the live session. Subclasses say what each state asks for, and how it is made."""

    asks: ClassVar[Mapping[Side, Mapping[str, str]]]
    """Role -> state -> the name of the message that the role sends in it."""

    def __init__(self, plan: Plan, session: Session) -> None:
        super().__init__(plan)
        self._session = session
        # Sides of the protocol: in a reversed connection they are not those of TCP.
        self.role = plan.played.other if plan.reversed else plan.played
        self.peer = self.role.other
        self._handshake: dict[str, int] = {}
        for number, step in enumerate(plan.steps):
            if step.message is not None and is_handshake(step.message):
                self._handshake.setdefault(step.name, number)
            elif not self.automatic(number):
                self.script.append(number)
        self._steps_left = set(self._handshake.values())

    def automatic(self, number: int) -> bool:
        """Whether a recorded step is made new for what the live peer sends, and so is not in the script."""
        return False

    def hear(self, data: bytes, now: int) -> list[Record]:
        return [r for r in self._session.feed(self.peer, data, now) if r.side is self.peer]

    def hear_end(self, now: int) -> list[Record]:
        return self._session.end(self.peer, now)

    def say(self, word: Word, now: int) -> list[Record]:
        if word.step is not None:
            self._steps_left.discard(word.step)
        return [r for r in self._session.feed(self.role, word.data, now) if r.side is self.peer]

    @property
    def in_handshake(self) -> bool:
        return self._session.state != "messages"

    @property
    def handshake_left(self) -> bool:
        return self.in_handshake and bool(self._steps_left)

    @property
    def lost(self) -> str | None:
        return self._session.lost(self.peer)

    def recorded(self, name: str) -> Word | None:
        """The recorded handshake message of that name."""
        number = self._handshake.get(name)
        return None if number is None else super().word(number)

    def handshake(self) -> Word | None:
        name = self.asks[self.role].get(self._session.state)
        if name is None or not self._session.awaits(self.role) or self._session.lost(self.role):
            return None
        if not self._steps_left and not self.script:
            return None  # the recording ends here
        return self.make(name)

    @abstractmethod
    def make(self, name: str) -> Word | None:
        """The message `name` for the live state; None where something is awaited first. Raises Stuck."""

    def new(self, name: str, recorded: Word | None, data: bytes, why: str) -> Word:
        """`data` in the place of a recorded message, which is noted where it differs."""
        if recorded is not None and recorded.data == data:
            return recorded
        self.adapted.setdefault(name, why)
        if recorded is None:
            return Word(name, data)
        cuts = tuple(cut for cut in recorded.cuts if cut < len(data))
        return Word(name, data, recorded.step, cuts)


class Rfb(Following):
    """RFB, for either role."""

    asks = {
        Side.CLIENT: {
            "version": "ProtocolVersion",
            "repeater": "RepeaterId",
            "choice": "SecurityType",
            "vnc-response": "VncAuthenticationResponse",
            "tight-tunnel": "TightTunnel",
            "tight-auth-type": "TightAuthType",
            "client-init": "ClientInit",
        },
        Side.SERVER: {
            "version": "ProtocolVersion",
            "security": "SecurityTypes",
            "vnc-challenge": "VncAuthenticationChallenge",
            "tight-tunnels": "TightTunnels",
            "tight-auth-types": "TightAuthTypes",
            "result": "SecurityResult",
            "refused": "FailureReason",
            "server-init": "ServerInit",
        },
    }

    def __init__(self, plan: Plan, password: str | None) -> None:
        self.session = RfbSession(limits=LIMITS)
        self.password = password
        self._name: str | None = None
        self._size: tuple[int, int] | None = None
        super().__init__(plan, self.session)

    def automatic(self, number: int) -> bool:
        step = self.plan.steps[number]
        fence = "ClientFence" if self.role is Side.CLIENT else "ServerFence"
        return step.name == fence and step.message is not None and not step.message["flags"] & FENCE_REQUEST

    def hear(self, data: bytes, now: int) -> list[Record]:
        records = super().hear(data, now)
        for record in records:
            if not isinstance(record, Message) or not record.parts:
                continue
            if record.name == "ServerInit":
                self._name = record["name_string"].decode("utf-8", "backslashreplace")
                self._size = self.session.framebuffer
            elif record.name == "FramebufferUpdate":
                self._resized(record)
        return records

    def _resized(self, update: Message) -> None:
        """Follow the framebuffer's size, which a pseudo-rectangle may change."""
        for rectangle in update.extra.get("rectangles", ()):
            kind = rectangle["encoding_type"]
            # An ExtendedDesktopSize that answers a request has its status in the y position; 0 is "done".
            refused = rectangle["x_position"] == 1 and rectangle["y_position"] != 0
            if kind == DESKTOP_SIZE or (kind == EXTENDED_DESKTOP_SIZE and not refused):
                self._size = rectangle["width"], rectangle["height"]

    def make(self, name: str) -> Word | None:
        recorded = self.recorded(name)
        maker: Callable[[Word | None], Word | None] | None = getattr(self, f"_make_{name}", None)
        if maker is not None:
            return maker(recorded)
        if recorded is None:
            raise Stuck(f"the live {self.peer} comes to where {name} is due, and the recording has none")
        return recorded

    def _make_ProtocolVersion(self, recorded: Word | None) -> Word | None:
        session = self.session
        if self.role is Side.SERVER or recorded is None or recorded.step is None:
            return recorded
        step = self.plan.steps[recorded.step]
        if session.server_version is None:
            # A client that did not wait for the greeting then does not wait for it now.
            expected = self.plan.expected
            return recorded if expected and step.last_ns < expected[0].message.first_ns else None
        assert step.message is not None
        mine = int(step.message["major"]), int(step.message["minor"])
        live = session.server_version
        if (3, 3) <= live < mine:
            highest = form(live)
            why = f"ProtocolVersion {highest[0]}.{highest[1]}: the live server has no higher"
            return self.new("ProtocolVersion", recorded, bytes(rfb.ProtocolVersion.of(*highest)), why)
        return recorded

    def _make_SecurityTypes(self, recorded: Word | None) -> Word | None:
        """The server's offer, in the form that the live client's version asks for."""
        old = self.recorded("SecurityType")
        session = self.session
        assert session.form is not None
        offer = next((w for w in (recorded, old) if w is not None), None)
        if offer is None or offer.step is None:
            raise Stuck("the recording has no offer of security types")
        message = self.plan.steps[offer.step].message
        assert message is not None
        values = message.values
        types = values.get("security_types")
        if types is None:
            types = [values["security_type"]] if values["security_type"] else []
        why = (
            f"security types in the form of RFB {session.form[0]}.{session.form[1]}, which the client speaks"
        )
        if session.form == (3, 3):
            data = bytes(rfb.SecurityType33(security_type=types[0] if types else 0))
        else:
            data = bytes(rfb.SecurityTypes(security_types=list(types)))
        return self.new(offer.name, offer, data, why)

    def _make_SecurityType(self, recorded: Word | None) -> Word:
        offered = self.session.offered or ()
        usable = [NONE] + ([VNC_AUTHENTICATION] if self.password is not None else [])
        wanted = recorded.data[0] if recorded is not None else None
        if wanted in offered:
            assert recorded is not None
            return recorded
        chosen = next((number for number in usable if number in offered), None)
        if chosen is None:
            names = ", ".join(
                f"{number} ({rfb_constants.SECURITY_TYPES.get(number, 'unregistered')})" for number in offered
            )
            more = "; --password may help" if VNC_AUTHENTICATION in offered and self.password is None else ""
            raise Stuck(f"the live server offers only security type {names}, which cannot be used{more}")
        why = f"SecurityType {chosen}: the live server does not offer {wanted}"
        return self.new("SecurityType", recorded, bytes([chosen]), why)

    def _make_VncAuthenticationResponse(self, recorded: Word | None) -> Word:
        challenge = self.session.challenge
        if self.password is None:
            if recorded is not None and recorded_failure(self.plan):
                return recorded  # wrong then, wrong now
            raise Stuck("the live server asks for a VNC password: give it with --password")
        assert challenge is not None
        try:
            data = vnc_response(challenge, self.password)
        except CredentialError as error:
            raise Stuck(str(error)) from None
        why = "VncAuthenticationResponse computed for the live challenge"
        return self.new("VncAuthenticationResponse", recorded, data, why)

    def _make_VncAuthenticationChallenge(self, recorded: Word | None) -> Word:
        why = "a VncAuthenticationChallenge that the recording does not have; any answer is accepted"
        return recorded or self.new("VncAuthenticationChallenge", None, bytes(range(16)), why)

    def _make_SecurityResult(self, recorded: Word | None) -> Word:
        return recorded or self.new("SecurityResult", None, bytes(4), "a SecurityResult of OK")

    def _make_TightTunnel(self, recorded: Word | None) -> Word:
        return recorded or self.new("TightTunnel", None, bytes(4), "no Tight tunnel")

    def _make_TightAuthType(self, recorded: Word | None) -> Word:
        code = VNC_AUTHENTICATION if self.password is not None else NONE
        return recorded or self.new(
            "TightAuthType", None, code.to_bytes(4, "big"), f"Tight authentication {code}"
        )

    def _make_ClientInit(self, recorded: Word | None) -> Word:
        return recorded or self.new("ClientInit", None, b"\1", "a ClientInit")

    def word(self, number: int) -> Word:
        word, message = super().word(number), self.plan.steps[number].message
        if message is None or message.name not in ("FramebufferUpdateRequest", "EnableContinuousUpdates"):
            return word
        if self._size is None:
            return word
        width, height = self._size
        values = message.values
        x, y = min(values["x_position"], width), min(values["y_position"], height)
        area = x, y, min(values["width"], width - x), min(values["height"], height - y)
        names = "x_position", "y_position", "width", "height"
        if area == tuple(values[name] for name in names):
            return word
        packet = message.packet
        assert packet is not None
        for name, value in zip(names, area, strict=True):
            packet.setfieldval(name, value)
        why = f"areas of {message.name} cut to the live framebuffer, {width}x{height}"
        return self.new(message.name, word, bytes(packet), why)

    def answers(self, message: Message) -> list[Word]:
        if message.name not in ("ServerFence", "ClientFence") or not message["flags"] & FENCE_REQUEST:
            return []
        values = message.values
        cls = rfb.ClientFence if self.role is Side.CLIENT else rfb.ServerFence
        packet = cls(flags=values["flags"] & FENCE_FLAGS, payload_data=values["payload_data"])
        return [Word(packet.title(), bytes(packet))]

    def identity(self) -> dict[str, Any]:
        session = self.session
        version = session.server_version if self.peer is Side.SERVER else session.client_version
        found: dict[str, Any] = {"protocol": "rfb"} if version is not None else {}
        if version is not None:
            found["version"] = f"{version[0]}.{version[1]}"
        if self._name is not None:
            found["name"] = self._name
        return found


class Spice(Following):
    """One SPICE link, for either role. `session_id`: of the live session that a channel belongs to."""

    asks = {
        Side.CLIENT: {
            "link": "SpiceLinkMess",
            "mechanism": "SpiceLinkAuthMechanism",
            "ticket": "SpiceLinkEncryptedTicket",
        },
        Side.SERVER: {
            "link": "SpiceLinkReply",
            "bad-mechanism": "SpiceLinkReply",
            "result": "SpiceLinkResult",
        },
    }
    AUTOMATIC: ClassVar[frozenset[str]] = frozenset(
        {"SPICE_MSGC_ACK_SYNC", "SPICE_MSGC_ACK", "SPICE_MSGC_PONG"}
    )

    def __init__(self, plan: Plan, password: str | None, session_id: int | None) -> None:
        self.session = SpiceSession(limits=LIMITS)
        self.password = password or ""
        self.given_session_id = session_id
        self._sent = 0
        self._window = 0
        self._until_ack = 0
        self._name: str | None = None
        self._version: str | None = None
        super().__init__(plan, self.session)

    @property
    def session_id(self) -> int | None:
        return self.session.session_id

    def automatic(self, number: int) -> bool:
        return self.role is Side.CLIENT and self.plan.steps[number].name in self.AUTOMATIC

    def make(self, name: str) -> Word | None:
        recorded = self.recorded(name)
        match name:
            case "SpiceLinkMess":
                return self._link_mess(recorded)
            case "SpiceLinkReply":
                return recorded if self.session.channel_type is not None else None
            case "SpiceLinkAuthMechanism":
                data = spice_constants.CAP_AUTH_SPICE.to_bytes(4, "little")
                return recorded or self.new(name, None, data, "the SPICE authentication is selected")
            case "SpiceLinkEncryptedTicket":
                assert self.session.public_key is not None
                try:
                    data = spice_ticket(self.session.public_key, self.password)
                except CredentialError as error:
                    raise Stuck(str(error)) from None
                return self.new(name, recorded, data, "SpiceLinkEncryptedTicket computed for the live key")
            case "SpiceLinkResult":
                return recorded or self.new(name, None, bytes(4), "a SpiceLinkResult of OK")
        return recorded

    def _link_mess(self, recorded: Word | None) -> Word | None:
        if recorded is None or recorded.step is None:
            return None
        message = self.plan.steps[recorded.step].message
        assert message is not None
        if len(message.parts) < 2 or message["channel_type"] == MAIN or self.given_session_id is None:
            return recorded
        at = link.HEADER_SIZE
        data = recorded.data[:at] + self.given_session_id.to_bytes(4, "little") + recorded.data[at + 4 :]
        return self.new("SpiceLinkMess", recorded, data, "SpiceLinkMess names the live session")

    def word(self, number: int) -> Word:
        word, message = super().word(number), self.plan.steps[number].message
        if message is None:
            return word
        head = message.parts[0]
        if head.cls not in (base.SpiceMiniDataHeader, base.SpiceDataHeader):
            return word
        if self.session.mini_header and head.cls is base.SpiceMiniDataHeader:
            return word
        body = message.raw[head.end :]
        why = "data headers in the form that the live link uses"
        return self.new("data headers", word, self._header(message["message_type"], len(body)) + body, why)

    def _header(self, number: int, size: int) -> bytes:
        if self.session.mini_header:
            return bytes(base.SpiceMiniDataHeader(message_type=number, message_size=size))
        return bytes(
            base.SpiceDataHeader(message_serial=self._sent + 1, message_type=number, message_size=size)
        )

    def say(self, word: Word, now: int) -> list[Record]:
        if not self.in_handshake:
            self._sent += 1
        return super().say(word, now)

    def hear(self, data: bytes, now: int) -> list[Record]:
        records = super().hear(data, now)
        for record in records:
            if isinstance(record, Message) and record.parts:
                if record.name == "SPICE_MSG_MAIN_NAME" and len(record.parts) > 1:
                    self._name = record["guest_name"].rstrip(b"\0").decode("utf-8", "backslashreplace")
                elif record.name == "SpiceLinkReply":
                    self._version = "{major_version}.{minor_version}".format(**record.values)
        return records

    def answers(self, message: Message) -> list[Word]:
        if self.role is not Side.CLIENT or is_handshake(message) or not message.parts:
            return []
        words: list[Word] = []
        cls = message.parts[-1].cls
        if cls is base.SpiceMsgSetAck:
            values = message.values
            self._window = self._until_ack = values["window"]
            words.append(self._data(base.SpiceMsgcAckSync(generation=values["generation"]), 1))
        elif self._window:
            self._until_ack -= 1
            if self._until_ack <= 0:
                self._until_ack = self._window
                words.append(self._data(ACK(), 2))
        if cls is base.SpiceMsgPing:
            values = message.values
            words.append(self._data(base.SpiceMsgcPong(id=values["id"], timestamp=values["timestamp"]), 3))
        return words

    def _data(self, packet: base.SpiceMessage, number: int) -> Word:
        body = bytes(packet)
        return Word(packet.title(), self._header(number, len(body)) + body)

    def identity(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._version is not None:
            found = {"protocol": "spice", "version": self._version}
        if self._name:
            found["name"] = self._name
        return found


ACK: type[base.SpiceMessage] = base.BODIES[spice_constants.COMMON, Side.CLIENT, 2]
"""SPICE_MSGC_ACK, which has no body."""


def recorded_failure(plan: Plan) -> bool:
    """Whether the recorded authentication failed."""
    return any(
        item.message.name == "SecurityResult" and item.message.parts and item.message["status"]
        for item in plan.expected
    )


def refusal(
    plan: Plan, password: str | None, session_id: int | None, *, whole_session: bool = False
) -> str | None:
    """Why `plan` cannot be replayed, known before anything is sent; None where it can be tried."""
    if plan.unplayable is not None:
        return plan.unplayable
    if plan.played is not Side.CLIENT:
        return None
    if plan.protocol == "rfb" and plan.password_wanted and password is None and not recorded_failure(plan):
        return "the recorded client authenticated with a VNC password: give the live server's with --password"
    channel = plan.channel_type
    if plan.protocol == "spice" and channel not in (None, MAIN) and session_id is None and not whole_session:
        name = spice_constants.CHANNEL_TYPES.get(channel or 0, str(channel))
        return (
            f"this is the {name} channel of a SPICE session, which a server accepts only beside its main "
            "channel: replay the session with --all-channels"
        )
    return None


def voice(plan: Plan, password: str | None = None, session_id: int | None = None) -> Voice:
    """The voice that a plan needs."""
    match plan.protocol:
        case "rfb":
            return Rfb(plan, password)
        case "spice":
            return Spice(plan, password, session_id)
        case _:
            return Literal(plan)
