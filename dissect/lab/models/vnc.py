# SPDX-License-Identifier: GPL-2.0-or-later
"""Model peers that speak RFB: a server with a small picture, and clients that differ in when they speak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from random import Random
from typing import Any, ClassVar

from dissect.lab.models.core import MS, SECOND, Begin, Conversation, Model, Parting, PeerWrong, Script
from dissect.replay.credentials import vnc_response
from dissect.rfb import messages
from dissect.rfb.session import RfbSession, Version, version_of
from dissect.stream import Side

NONE, VNC_AUTHENTICATION = 1, 2
RAW = 0
PREFIX = b"RFB "
"""What the proposal of 2017 lets a client send before the server has said anything."""
PATTERN = b"RFB ddd.ddd\n"

Area = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


def is_version(data: bytes) -> bool:
    """Whether `data` may be the beginning of a ProtocolVersion."""
    return all(
        48 <= byte <= 57 if wanted == ord("d") else byte == wanted
        for byte, wanted in zip(data, PATTERN, strict=False)
    )


# --- The server ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peek:
    """libvncserver's look for a WebSocket before it greets: it waits `ns` for the first `size` bytes.

    Where they come and begin like one of `known`, or where they do not come, it greets. Else it drops the
    connection without a greeting. 0.9.11 did not know `RFB `, 0.9.12 and later do.
    """

    known: tuple[bytes, ...] = (PREFIX,)
    size: int = 4
    ns: int = 100 * MS


@dataclass(frozen=True, kw_only=True)
class VncServer(Model):
    """A VNC server: greets at once, reads 12 bytes before it judges, closes on what is no ProtocolVersion."""

    role: ClassVar[Side] = Side.SERVER

    version: Version = (3, 8)
    accepts: tuple[Version, ...] = ((3, 3), (3, 4), (3, 5), (3, 7), (3, 8))
    """Client versions; any other is answered with a U32 0 and the end (QEMU)."""
    security_types: tuple[int, ...] | None = None
    """What is offered; None: VNC authentication where there is a password, else no authentication."""
    password: str | bytes | None = None
    width: int = 64
    height: int = 48
    name: str = "model"
    greeting_delay_ns: int = 0
    peek: Peek | None = None
    judges_after: int = 12
    """How many bytes it must have before it looks at the first of them."""
    refuses: str = ""
    """A reason to refuse everybody, in the form of Xtigervnc's blacklist; "" for none."""
    frame_ns: int | None = None
    """How often the picture changes, so that pending incremental requests are answered; None: never."""

    @property
    def offered(self) -> tuple[int, ...]:
        """The security types offered."""
        if self.security_types is not None:
            return self.security_types
        return (NONE,) if self.password is None else (VNC_AUTHENTICATION,)

    def start(self) -> Begin:
        random = Random(self.seed)
        return lambda: _ServerConversation(self, random)


class _ServerConversation(Conversation):
    def __init__(self, settings: VncServer, random: Random) -> None:
        self.settings = settings
        self.session = RfbSession(role=Side.SERVER)
        super().__init__(settings, self.session, random)

    def script(self) -> Script[None]:
        yield from self.greet()
        yield from self.judge()
        yield from self.secure()
        yield from self.expect("ClientInit")
        settings = self.settings
        self.send(
            messages.ServerInit(
                framebuffer_width=settings.width,
                framebuffer_height=settings.height,
                name_string=settings.name.encode(),
            )
        )
        yield from self.serve()

    def greet(self) -> Script[None]:
        settings = self.settings
        peek = settings.peek
        if peek is not None and (yield from self.read(peek.size, self.now + peek.ns)):
            head = bytes(self.inbox[: peek.size])
            if not any(known[: peek.size] == head[: len(known)] for known in peek.known):
                self.say(f"unknown WebSocket connection: {head!r}")
                self.leave()
        if settings.greeting_delay_ns:
            yield from self.pause(settings.greeting_delay_ns)
        if settings.refuses:
            self.write("ProtocolVersion", bytes(messages.ProtocolVersion.of(3, 3)))
            self.write("FailureReason", bytes(4) + _reason(settings.refuses))
            self.say(f"refused: {settings.refuses}")
            self.leave()
        self.send(messages.ProtocolVersion.of(*settings.version))

    def judge(self) -> Script[None]:
        settings = self.settings
        for size in (settings.judges_after, len(PATTERN)):
            yield from self.read(size)
            head = bytes(self.inbox[: len(PATTERN)])
            if not is_version(head):
                self.say(f"not a VNC client: {head!r}")
                self.leave()
        self.hand_over(len(PATTERN))
        yield from self.expect("ProtocolVersion")
        version = self.session.client_version
        assert version is not None
        if version not in settings.accepts:
            self.say(f"version {version[0]}.{version[1]} is not supported")
            self.send_bytes("SecurityType", bytes(4))
            self.leave()

    def secure(self) -> Script[None]:
        settings, session = self.settings, self.session
        offered = settings.offered
        if not offered:
            self.say("no security type to offer")
            # In one write: a count of 0 alone might yet be the U32 0 of 3.3.
            none = bytes(4) if session.form == (3, 3) else bytes(1)
            self.send_bytes("SecurityTypes", none + _reason("No security type"))
            self.leave()
        if session.form == (3, 3):
            chosen = offered[0]
            self.send(messages.SecurityType33(security_type=chosen))
        else:
            self.send(messages.SecurityTypes(security_types=list(offered)))
            chosen = (yield from self.expect("SecurityType", strict=False))["security_type"]
        if chosen not in offered or chosen not in (NONE, VNC_AUTHENTICATION):
            self.say(f"security type {chosen} is not spoken here")
            reason = _reason("Unsupported security type") if session.form == (3, 8) else b""
            self.write("SecurityResult", b"\0\0\0\1" + reason)
            self.leave()
        if chosen == VNC_AUTHENTICATION:
            challenge = self.random.randbytes(16)
            self.send(messages.VncAuthenticationChallenge(challenge=challenge))
            response = (yield from self.expect("VncAuthenticationResponse"))["response"]
            if response != vnc_response(challenge, settings.password or ""):
                self.say("authentication failed")
                self.send(messages.SecurityResult(status=1))
                if session.form == (3, 8):
                    self.send(messages.FailureReason(reason=b"Authentication failed"))
                self.leave()
        if session.state == "result":
            self.send(messages.SecurityResult(status=0))

    def serve(self) -> Script[None]:
        """The normal phase: pictures on request. An incremental request waits until the picture changes."""
        settings = self.settings
        picture = Picture(settings.width, settings.height)
        pending: Area | None = None
        frame = 0
        while True:
            until = None
            if pending is not None and settings.frame_ns is not None:
                opened = self.report.opened_ns or 0
                until = opened + (1 + (self.now - opened) // settings.frame_ns) * settings.frame_ns
            message = yield from self.message(until)
            if message is None:
                assert pending is not None
                frame += 1
                self.update(picture, pending, frame)
                pending = None
            elif message.name == "SetPixelFormat":
                picture.pixel_format = message["pixel_format"]
                if picture.pixel_format["bits_per_pixel"] not in (8, 16, 32):
                    raise PeerWrong(f"{picture.pixel_format['bits_per_pixel']} bits a pixel do not exist")
                if not picture.pixel_format["true_colour_flag"]:
                    self.send(messages.SetColourMapEntries(colours=[_grey(level) for level in range(256)]))
            elif message.name == "FramebufferUpdateRequest":
                area = picture.clip(
                    message["x_position"], message["y_position"], message["width"], message["height"]
                )
                if message["incremental"]:
                    pending = area
                else:
                    self.update(picture, area, frame)

    def update(self, picture: Picture, area: Area, frame: int) -> None:
        x, y, width, height = area
        rectangle = messages.RectangleHeader(
            x_position=x, y_position=y, width=width, height=height, encoding_type=RAW
        )
        header = messages.FramebufferUpdateHeader(number_of_rectangles=1)
        self.send(header / rectangle / picture.pixels(area, frame))


def _reason(text: str) -> bytes:
    return bytes(messages.FailureReason(reason=text.encode()))


def _grey(level: int) -> messages.Colour:
    return messages.Colour(red=level * 257, green=level * 257, blue=level * 257)


class Picture:
    """What the model server shows: a gradient, in whatever format the client asks for."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        layout = messages.PixelFormat.layout()
        self.pixel_format: Mapping[str, Any] = layout.decode(bytes(messages.PixelFormat()))[0]

    def clip(self, x: int, y: int, width: int, height: int) -> Area:
        """The part of an area that is on the screen; of no size where none is."""
        x, y = min(x, self.width), min(y, self.height)
        return x, y, min(width, self.width - x), min(height, self.height - y)

    def pixels(self, area: Area, frame: int) -> bytes:
        """An area in Raw encoding."""
        form = self.pixel_format
        return _pixels(
            (self.width, self.height),
            area,
            frame,
            form["bits_per_pixel"],
            bool(form["big_endian_flag"]),
            tuple((form[f"{name}_max"], form[f"{name}_shift"]) for name in ("red", "green", "blue"))
            if form["true_colour_flag"]
            else None,
        )


@lru_cache(maxsize=64)
def _pixels(
    screen: tuple[int, int],
    area: Area,
    frame: int,
    bits: int,
    big_endian: bool,
    channels: tuple[tuple[int, int], ...] | None,
) -> bytes:
    """Raw pixels; `channels`: maximum and shift of red, green and blue, None for a grey of the colour map."""
    mask = (1 << bits) - 1
    out = bytearray()
    left, top, width, height = area
    for y in range(top, top + height):
        for x in range(left, left + width):
            colour = colour_at(screen, x, y, frame)
            if channels is None:
                value = sum(colour[:2]) // 2
            else:
                value = sum(
                    level * most // 255 << shift
                    for level, (most, shift) in zip(colour, channels, strict=True)
                )
            out += (value & mask).to_bytes(bits // 8, "big" if big_endian else "little")
    return bytes(out)


def colour_at(screen: tuple[int, int], x: int, y: int, frame: int) -> tuple[int, int, int]:
    """Red, green and blue of one pixel, 0 to 255: from left to right, from top to bottom, with time."""
    width, height = screen
    return 255 * x // max(1, width - 1), 255 * y // max(1, height - 1), (128 + 16 * frame) % 256


# --- The client ------------------------------------------------------------------------------------------


class Speaks(StrEnum):
    """When a VNC client says its first byte."""

    AFTER_GREETING = "after-greeting"
    """As RFB has it: the server speaks first (TigerVNC, TightVNC, vncsnapshot, noVNC)."""
    AT_ONCE = "at-once"
    """`RFB ` right after connecting, the rest after the greeting: the proposal, and gtk-vnc 0.7.0."""
    AFTER_SILENCE = "after-silence"
    """`RFB ` once, where not one byte has come for `silence_ns`: gtk-vnc since 0.7.1."""


@dataclass(frozen=True, kw_only=True)
class VncClient(Model):
    """A VNC client: asks for the whole screen, then after each update for what changes, and leaves.

    It leaves after `updates` or `lasts_ns`; on a greeting that is none it closes, after 12 bytes (gtk-vnc).
    """

    role: ClassVar[Side] = Side.CLIENT

    speaks: Speaks = Speaks.AFTER_GREETING
    silence_ns: int = 2 * SECOND
    version: Version = (3, 8)
    """The highest that it speaks."""
    security_types: tuple[int, ...] = (NONE, VNC_AUTHENTICATION)
    """Those it can do; of those offered it takes the first it can."""
    password: str | bytes | None = None
    shared: bool = True
    encodings: Sequence[int] = (RAW,)
    updates: int | None = 1
    """It ends the session after so many FramebufferUpdates; None: not for that."""
    lasts_ns: int | None = None
    """It ends the session so long after ServerInit, at the latest; None: not for that."""

    def start(self) -> Begin:
        random = Random(self.seed)
        return lambda: _ClientConversation(self, random)


class _ClientConversation(Conversation):
    def __init__(self, settings: VncClient, random: Random) -> None:
        self.settings = settings
        self.session = RfbSession(role=Side.CLIENT)
        self.spoken = 0
        """How many bytes of the version are out before the greeting is in."""
        super().__init__(settings, self.session, random)

    def script(self) -> Script[None]:
        yield from self.greet()
        yield from self.secure()
        self.send(messages.ClientInit(shared_flag=int(self.settings.shared)))
        yield from self.expect("ServerInit")
        yield from self.look()

    def greet(self) -> Script[None]:
        settings = self.settings
        if settings.speaks is Speaks.AFTER_SILENCE:
            yield from self.read(1, self.now + settings.silence_ns)
        if settings.speaks is Speaks.AT_ONCE or (
            settings.speaks is Speaks.AFTER_SILENCE and not self.inbox and self._peer_ended is None
        ):
            self.write("ProtocolVersion prefix", PREFIX)
            self.spoken = len(PREFIX)
        yield from self.read(len(PATTERN))
        greeting = bytes(self.inbox[: len(PATTERN)])
        if not is_version(greeting):
            self.say(f"Error while parsing server version: {greeting!r}")
            self.leave()
        self.hand_over(len(PATTERN))
        version = version_of((yield from self.expect("ProtocolVersion")).values)
        mine = min((3, 3) if version < (3, 7) else (3, 7) if version < (3, 8) else (3, 8), settings.version)
        self.send(messages.ProtocolVersion.of(*mine), skip=self.spoken)

    def secure(self) -> Script[None]:
        settings, session = self.settings, self.session
        offer = yield from self.expect("SecurityTypes", "SecurityType")
        if not session.offered:
            reason = (yield from self.expect("FailureReason"))["reason"]
            raise PeerWrong(f"the server refuses: {reason.decode('utf-8', 'replace')}")
        chosen = next((number for number in session.offered if number in settings.security_types), None)
        if chosen is None:
            raise PeerWrong(f"no security type in common: the server offers {list(session.offered)}")
        if offer.name == "SecurityTypes":
            self.send(messages.SecurityType(security_type=chosen))
        if chosen == VNC_AUTHENTICATION:
            challenge = (yield from self.expect("VncAuthenticationChallenge"))["challenge"]
            if settings.password is None:
                raise PeerWrong("the server wants a password and there is none")
            self.send(messages.VncAuthenticationResponse(response=vnc_response(challenge, settings.password)))
        # Not by the session's state: a server in a hurry may have moved it on already.
        if chosen == VNC_AUTHENTICATION or session.form == (3, 8):
            status = (yield from self.expect("SecurityResult"))["status"]
            if status:
                reason = b""
                if session.form == (3, 8):
                    reason = (yield from self.expect("FailureReason"))["reason"]
                text = reason.decode("utf-8", "replace")
                raise PeerWrong(f"authentication failed: {text}" if text else "authentication failed")

    def look(self) -> Script[None]:
        """The normal phase."""
        settings = self.settings
        assert self.session.framebuffer is not None
        until = None if settings.lasts_ns is None else self.now + settings.lasts_ns
        width, height = self.session.framebuffer

        def ask(incremental: bool) -> None:
            self.send(
                messages.FramebufferUpdateRequest(incremental=int(incremental), width=width, height=height)
            )

        self.send(messages.SetEncodings(encoding_types=list(settings.encodings)))
        ask(incremental=False)
        updates = 0
        while True:
            message = yield from self.message(until)
            if message is None:
                self.say(f"done: {updates} updates")
                self.leave(Parting.CLOSE)
            if message.name != "FramebufferUpdate":
                continue
            updates += 1
            ask(incremental=True)
            if settings.updates is not None and updates >= settings.updates:
                self.say(f"done: {updates} updates")
                self.leave(Parting.CLOSE)
