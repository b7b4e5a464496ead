# SPDX-License-Identifier: GPL-2.0-or-later
"""The RFB session: who may say what, when. rfbproto.rst "Protocol Messages".

Sides here are RFB's: the server is the side with the framebuffer. In a reverse connection it is the one that
opened the TCP connection, and whoever drives this session swaps the sides.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, ClassVar

from dissect.rfb import (
    clipboard,
    constants,
    contents,
    encodings,
    gii,
    messages,
    optional,
    security,
    seek,
    tightfiles,
)
from dissect.rfb.messages import MESSAGES
from dissect.stream.layout import ProtocolPacket
from dissect.stream.records import NOT_DECODED, Message, Part
from dissect.stream.session import (
    Flow,
    Framed,
    Limits,
    NotRead,
    Reading,
    Session,
    State,
    Want,
    Wrong,
    one,
    reads,
)
from dissect.stream.side import Side

Version = tuple[int, int]

CONTINUE = 0xFFFFFFFF
"""A SecurityResult that is none yet: more of the same security type follows (UltraVNC)."""

WITH_REASON = 3
"""A SecurityResult that a FailureReason follows whatever the version (UltraVNC)."""

VENCRYPT = 19

TIGHT = 16
"""The security type that brings tunnels and authentications of its own, and a longer ServerInit."""

ULTRA = 17
"""UltraVNC's own type: nothing is exchanged, and its result says that another one follows."""

UNIX_LOGIN = 129
"""The Tight authentication whose message is that of VeNCrypt's Plain."""

METHODS: Mapping[int, str] = {
    2: "vnc-challenge",
    VENCRYPT: "vencrypt-server-version",
    20: "sasl-mechanisms",
    22: "xvp",
    30: "dh-parameters",
    33: "apple-request",
    104: "sc-prompt",
    105: "session-selection",
    112: "ms-challenges",
    113: "ms-parameters",
    constants.LEGACY_MS_LOGON: "ms-parameters",
}
"""Security type -> the state in which its exchange begins, where that depends on nothing else."""

APPLE = (3, 889)
"""The version by which Apple's servers are known."""

APPLE_REQUEST = 10
"""Bytes of Apple's request for the server's key."""

ENCODINGS_KEPT = 4096
"""How many encodings that a client names are remembered."""

RECTANGLES_SHOWN = 256
"""How many rectangles of one update are kept as fields; the rest are counted."""

_AS_3_3 = {(3, minor) for minor in (3, 4, 5, 6, 14, 16)}
# 3.4, 3.6, 3.14 and 3.16 are UltraVNC's old ways to say "3.3, and more"; some clients wrongly sent 3.5.


def form(version: Version) -> Version:
    """Which of the three published handshakes a version number means: (3, 3), (3, 7) or (3, 8)."""
    if version in _AS_3_3 or version < (3, 7):
        return (3, 3)
    return (3, 7) if version == (3, 7) else (3, 8)


def version_of(values: Mapping[str, Any]) -> Version:
    """(major, minor) of a ProtocolVersion's fields."""
    return int(values["major"]), int(values["minor"])


@reads("ProtocolVersion")
def _read_version(session: RfbSession, flow: Flow) -> Reading:
    """ProtocolVersion, checked as far as it has come: a foreign peer is known by its first wrong byte."""
    pattern = b"RFB ddd.ddd\n"
    checked = 0
    while True:
        have = bytes(flow.buffer[: len(pattern)])
        for at in range(checked, len(have)):
            wanted = pattern[at : at + 1]
            good = have[at : at + 1].isdigit() if wanted == b"d" else have[at : at + 1] == wanted
            if not good:
                raise Wrong(f"{have[: at + 1]!r} does not begin a ProtocolVersion", at)
        checked = len(have)
        if checked == len(pattern):
            return (yield from flow.packet(messages.ProtocolVersion))
        yield Want(checked + 1, "ProtocolVersion", len(pattern))


@reads()
def _read_client_message(session: RfbSession, flow: Flow) -> Reading:
    if Side.CLIENT in session.astray:
        return (yield from _seek(session, flow))
    try:
        return (yield from _read_from_client(session, flow))
    except NotRead as cause:
        session.stray(Side.CLIENT, cause.why)
    return (yield from _seek(session, flow))


def _read_from_client(session: RfbSession, flow: Flow) -> Reading:
    number = flow.buffer[0]
    if session.server_version == APPLE and number in constants.APPLE_CLIENT_MESSAGES:
        name = constants.APPLE_CLIENT_MESSAGES[number]
        raise NotRead(
            f"client message {number} to a server of 3.889 is Apple's {name}, which is not published"
        )
    if number == 255:
        yield from flow.need(2)
        cls: type[ProtocolPacket] | None = messages.QEMU_CLIENT_MESSAGES.get(flow.buffer[1])
        if cls is None:
            raise Wrong(f"QEMU client submessage {flow.buffer[1]} does not exist", 1, "QEMU Client Message")
        if cls is messages.QemuAudioClientMessage:
            yield from _audio_operation(flow, messages.QEMU_AUDIO_CLIENT_OPERATIONS)
    else:
        cls = MESSAGES[Side.CLIENT].get(number)
    if cls is messages.PointerEvent and session.extended_buttons:
        yield from flow.need(2)
        if flow.buffer[1] & 0x80:
            cls = messages.ExtendedPointerEvent
    if cls is messages.ClientCutText:
        return (yield from _read_cut_text(flow, cls, messages.ExtendedClientCutText))
    if cls is None:
        return (yield from _read_rest(session, flow, constants.CLIENT_MESSAGES))
    framed = yield from flow.packet(cls)
    return _checked_format(flow, framed, 4) if cls is messages.SetPixelFormat else framed


def _checked_format(flow: Flow, framed: Framed, at: int) -> Framed:
    """Say so where the PIXEL_FORMAT at `at` has pixels of no size that exists."""
    bits = flow.buffer[at]
    if bits not in (8, 16, 32):
        framed.violations = ((at, f"{bits} bits a pixel: there are 8, 16 and 32"),)
    return framed


@reads()
def _read_server_message(session: RfbSession, flow: Flow) -> Reading:
    if session.doubt is not None and flow.buffer[0] == 0:
        # An update in another format could be read as this one, to a wrong end: believe it on evidence only.
        session.stray(Side.SERVER, session.astray.get(Side.SERVER, f"cannot be read ({session.doubt}?)"))
    if Side.SERVER in session.astray:
        return (yield from _seek(session, flow))
    try:
        return (yield from _read_from_server(session, flow))
    except NotRead as cause:
        session.stray(Side.SERVER, cause.why)
    return (yield from _seek(session, flow))


def _seek(session: RfbSession, flow: Flow) -> Reading:
    """Look for the next message that can be believed (`dissect.rfb.seek`), and read it."""
    side, why = flow.side, session.astray[flow.side]
    screen = session.framebuffer or (0, 0)
    searched, over = 0, False
    while True:
        data = bytes(flow.buffer)
        if side is Side.SERVER:
            wanted = session.encodings or (seek.COMMON if session.doubt else set())
            searched, found = seek.server(
                data, searched, wanted, screen, session.pixel_format, flow.arrivals()
            )
        else:
            searched, found = seek.client(data, searched, screen)
        if found:
            session.astray = {other: why for other, why in session.astray.items() if other is not side}
            if searched:
                return Framed(NOT_DECODED, searched, note=f"not decoded: {why}")
            read = _read_from_server if side is Side.SERVER else _read_from_client
            return (yield from read(session, flow))
        if searched > seek.KEEP:
            return Framed(NOT_DECODED, searched, note=f"not decoded: {why}")
        if over:
            return Framed(NOT_DECODED, len(data), note=f"not decoded: {why}")
        waiting = len(data) - searched
        size = len(data) + (waiting // 8 if waiting >= seek.PATIENT else 1)
        yield Want(size, NOT_DECODED)
        over = len(flow.buffer) < size  # woken, because nothing follows directly


def _read_from_server(session: RfbSession, flow: Flow) -> Reading:
    number = flow.buffer[0]
    if number == 0:
        return (yield from _read_update(session, flow))
    cls = MESSAGES[Side.SERVER].get(number)
    if cls is messages.ServerCutText:
        return (yield from _read_cut_text(flow, cls, messages.ExtendedServerCutText))
    if cls is messages.QemuAudioServerMessage:
        yield from flow.need(2)
        if flow.buffer[1] != messages.QEMU_AUDIO:
            raise Wrong(f"QEMU server submessage {flow.buffer[1]} does not exist", 1, "QEMU Server Message")
        yield from _audio_operation(flow, messages.QEMU_AUDIO_SERVER_OPERATIONS)
    if cls is None:
        return (yield from _read_rest(session, flow, constants.SERVER_MESSAGES))
    return (yield from flow.packet(cls))


def _audio_operation(flow: Flow, known: Mapping[int, str]) -> Generator[Want, None, None]:
    """The operation decides what follows: one that is not known has no size."""
    yield from flow.need(4)
    operation = int.from_bytes(flow.buffer[2:4], "big")
    if operation not in known:
        raise Wrong(f"QEMU audio operation {operation} does not exist", 2, "QEMU Audio")


def _read_cut_text(flow: Flow, plain: type[ProtocolPacket], extended: type[ProtocolPacket]) -> Reading:
    yield from flow.need(8, plain.title())
    length = int.from_bytes(flow.buffer[4:8], "big", signed=True)
    if length >= 0:
        return (yield from flow.packet(plain))
    if length > -4:
        why = (
            f"a length of {length} (or {length % (1 << 32)}): the flags of an extended clipboard take 4 bytes"
        )
        raise Wrong(why, 4, plain.title())
    framed = yield from flow.packet(extended)
    values, _ = extended.layout().decode(flow.buffer, 0, framed.size)
    shown, wrong = clipboard.decode(values["flags"], values["clipboard_data"])
    framed.extra = {"clipboard": shown}
    if wrong is not None:
        framed.violations = ((12, wrong),)
    return framed


def _read_rest(session: RfbSession, flow: Flow, names: Mapping[int, str]) -> Reading:
    """What depends on more than its number; else say why it is not read, or that it is wrong."""
    number, side = flow.buffer[0], flow.side
    if number == 253:
        return (yield from _read_gii(flow, names[number]))
    if number in session.announced and number in tightfiles.MESSAGES[side]:
        return (yield from flow.packet(tightfiles.MESSAGES[side][number]))
    if number == tightfiles.CODED_TYPE and any(
        code % (1 << 32) in tightfiles.CODES for code in session.announced
    ):
        yield from flow.need(4)
        code = int.from_bytes(flow.buffer[:4], "big")
        cls = tightfiles.CODED[side].get(code)
        if cls is None:
            raise Wrong(f"{side} message {code:#010x} of TightVNC's file transfer does not exist")
        return (yield from flow.packet(cls))
    if number in (252, 254):
        why = optional.clash(side, number, announced=session.announced, encodings=session.encodings)
        raise NotRead(f"{side} message {number}: {why}")
    if number in optional.UNREAD[side]:
        raise NotRead(f"{side} message {number} ({names[number]}): {optional.UNREAD[side][number]}")
    if number in session.announced:
        raise NotRead(f"{side} message {number}: a capability of the server whose layout is not known")
    raise Wrong(f"{side} message type {number} does not exist")


def _read_gii(flow: Flow, name: str) -> Reading:
    """gii, whose class depends on its second byte."""
    yield from flow.need(2, name)
    kind = flow.buffer[1]
    big = bool(kind & gii.BIG_ENDIAN)
    framed = yield from flow.packet(optional.GiiBigEndian if big else optional.GiiLittleEndian)
    sub_type = kind & ~gii.BIG_ENDIAN
    shown, wrong = gii.decode(flow.side, sub_type, bytes(flow.buffer[4 : framed.size]), big=big)
    framed.extra = {"sub_type_name": gii.SUB_TYPES[flow.side].get(sub_type, "unregistered"), **shown}
    if wrong is not None:
        framed.violations = ((4, wrong),)
    return framed


def _read_update(session: RfbSession, flow: Flow) -> Reading:
    header = messages.FramebufferUpdateHeader.layout()
    yield from flow.need(header.least, encodings.NAME)
    values, at = header.decode(flow.buffer)
    walk = encodings.Walk(flow, at)
    described = messages.RectangleHeader.layout()
    shown: list[dict[str, Any]] = []
    basis = session.pixel_format
    count, end = 0, at

    def after(rect: encodings.Rectangle, start: int, past: int) -> None:
        nonlocal count, end
        count, end = count + 1, past
        if len(shown) < RECTANGLES_SHOWN:
            fields = described.describe(described.decode(flow.buffer, start)[0])
            fields["size"] = past - start
            if rect.encoding in contents.TELLING and (
                said := contents.shown(rect, flow.buffer, start + encodings.HEADER.size, past)
            ):
                fields["contents"] = said
            shown.append(fields)
        if rect.encoding == encodings.EXTENDED_MOUSE_BUTTONS:
            session.extended_buttons = True
        elif rect.encoding == encodings.DESKTOP_SIZE or (
            rect.encoding == encodings.EXTENDED_DESKTOP_SIZE and (rect.x != 1 or rect.y == 0)
        ):
            session.framebuffer = rect.width, rect.height

    note = None
    try:
        session.pixel_format = yield from encodings.update(
            walk, values["number_of_rectangles"], basis, None, after
        )
    except NotRead as cause:
        if not count:
            raise
        # What came before it is kept; after it the way back must be found.
        session.stray(Side.SERVER, cause.why)
        note = f"not decoded after {count} of {values['number_of_rectangles']} rectangles: {cause.why}"
    extra: dict[str, Any] = {"rectangles": shown}
    if count > len(shown):
        extra["rectangles_not_shown"] = count - len(shown)
    lost = session.lost(Side.CLIENT)
    if lost is not None:
        extra["assumed"] = f"no SetPixelFormat since the client is not read any further ({lost})"
    elif session.doubt is not None:
        extra["assumed"] = session.doubt
    part = Part(messages.FramebufferUpdateHeader, 0, at)
    return Framed(encodings.NAME, end, (part,), note, extra, basis=basis)


@reads()
def _read_security(session: RfbSession, flow: Flow) -> Reading:
    """What a server says of security when the client's version is known or will never come."""
    # A client that spoke something else was never understood: the server's own version says its form.
    spoken = session.form or form(session.server_version or (3, 8))
    if spoken != (3, 3) and flow.buffer[0] == 0:
        # A refusal: a U8 0 and a reason, or, from servers that refuse the version itself, the U32 0 of 3.3.
        # The fifth byte tells them apart, because a reason has 1 to 255 bytes, or one of the three is not 0.
        while len(flow.buffer) < 5 and not flow.ended:
            yield Want(5)
        if len(flow.buffer) >= 4 and not any(flow.buffer[:5]):
            spoken = (3, 3)
    cls = messages.SecurityType33 if spoken == (3, 3) else messages.SecurityTypes
    return (yield from flow.packet(cls))


@reads("SecurityType")
def _read_choice(session: RfbSession, flow: Flow) -> Reading:
    framed = yield from flow.packet(messages.SecurityType)
    if flow.buffer[0] not in (session.offered or ()):
        framed.violations = ((0, f"security type {flow.buffer[0]} was not offered"),)
    return framed


def _after_version(session: RfbSession) -> str | None:
    if session.server_version == (0, 0):
        session.server_version = None
        return "repeater"
    if session.done(Side.SERVER) and (session.done(Side.CLIENT) or session.foreign_client):
        return "security"
    return None


def _after_security(session: RfbSession) -> str:
    if session.offered == ():
        return "refused"
    if session.form == (3, 3):
        return session.chosen_state()
    return "choice"


def _after_tight_tunnels(session: RfbSession) -> str:
    return "tight-tunnel" if session.tight_tunnels else "tight-auth-types"


def _after_tight_tunnel(session: RfbSession) -> str:
    return "not-decoded" if session.tight_tunnel else "tight-auth-types"


def _after_tight_auth_types(session: RfbSession) -> str:
    return "tight-auth-type" if session.tight_auth is None else session.chosen_state()


@reads("ServerInit")
def _read_server_init(session: RfbSession, flow: Flow) -> Reading:
    tight = session.security_type == TIGHT
    framed = yield from flow.packet(messages.TightServerInit if tight else messages.ServerInit)
    return _checked_format(flow, framed, 4)


def _after_result(session: RfbSession) -> str:
    if session.status == 0:
        return "encrypted" if session.wrapped is not None else "client-init"
    if session.status == CONTINUE:
        return "not-decoded" if session.form == (3, 3) else "security"
    return "refused" if session.form == (3, 8) or session.status == WITH_REASON else "closed"


@reads()
def _not_decoded(session: RfbSession, flow: Flow) -> Reading:
    number, what = session.security_type, "security type"
    names: Mapping[int, str] = constants.SECURITY_TYPES
    if number == TIGHT and session.tight_tunnel:
        number, what, names = session.tight_tunnel, "Tight tunnel", {}
    elif number == TIGHT:
        number, what, names = session.tight_auth, "Tight authentication", messages.TIGHT_AUTH_TYPES
    if session.vencrypt is not None:
        number, what, names = session.vencrypt, "VeNCrypt subtype", security.VENCRYPT_NAMES
    name = names.get(number or 0, "unregistered")
    why = "its form is not known"
    if session.status == CONTINUE:
        why = "a result that says that more follows does not exist in 3.3"
    elif what == "security type":
        why = security.UNREAD.get(number or 0, why)
    raise NotRead(f"{what} {number} ({name}) is not decoded: {why}; what follows is kept as bytes")


@reads()
def _encrypted(session: RfbSession, flow: Flow) -> Reading:
    raise NotRead(f"{session.wrapped}; what follows is kept as bytes")


@reads("AESEAXMessage")
def _read_sealed(session: RfbSession, flow: Flow) -> Reading:
    """A message of RSA-AES, framed and not decrypted."""
    return (yield from flow.packet(security.AesEaxMessage))


@reads("DiffieHellmanCredentials")
def _read_dh_credentials(session: RfbSession, flow: Flow) -> Reading:
    name, size = "DiffieHellmanCredentials", 128 + session.key_size
    yield from flow.need(size, name, size)
    return Framed(name, size, (Part(security.DiffieHellmanCredentials, 0, size),))


@reads("AppleRSARequest")
def _read_apple_request(session: RfbSession, flow: Flow) -> Reading:
    """A client that has the server's key already sends its credentials at once; a request has ten bytes."""
    yield from flow.need(4)
    asks = int.from_bytes(flow.buffer[:4], "big") == APPLE_REQUEST
    return (yield from flow.packet(security.AppleRsaRequest if asks else security.AppleRsaCredentials))


def _after_apple_request(session: RfbSession) -> str:
    return "apple-answer" if session.ack else "apple-key"


def _after_vencrypt_version(session: RfbSession) -> str:
    """0.2 is documented; of 0.1 nothing is but that its subtypes are U8."""
    if session.vencrypt_version == (0, 2):
        return "vencrypt-accepted"
    major, minor = session.vencrypt_version
    why = "refuses the server's" if (major, minor) == (0, 0) else "is not documented"
    session.wrapped = f"VeNCrypt {major}.{minor} {why}"
    return "encrypted"


def _after_vencrypt_subtype(session: RfbSession) -> str:
    subtype = session.vencrypt
    if subtype == security.PLAIN:
        return "plain"
    if subtype == security.IDENT:
        return "ident"
    if subtype in constants.VENCRYPT_SUBTYPES:
        return "vencrypt-tls"
    return session.method_state(subtype) if subtype != VENCRYPT else "not-decoded"


def _after_vencrypt_tls(session: RfbSession) -> str:
    name = constants.VENCRYPT_SUBTYPES[session.vencrypt or 0]
    session.wrapped = f"TLS follows, encrypted (VeNCrypt subtype {session.vencrypt}, {name})"
    return "encrypted" if session.ack == 1 else "closed"


def _after_sasl(session: RfbSession) -> str:
    if not session.ack:
        return "sasl-client-step"
    if not session.mechanism.upper().startswith(security.SASL_PLAIN_AFTERWARDS):
        session.wrapped = f"the SASL mechanism {session.mechanism} may have agreed on encryption"
    return "result"


def _after_ra2(session: RfbSession) -> str:
    """After the credentials: RA2ne goes on in the clear, the others in sealed messages."""
    return "sealed" if security.RA2[session.method or 5] else "result"


@reads()
def _closed(session: RfbSession, flow: Flow) -> Reading:
    raise Wrong("the server has refused: nothing may follow")


class RfbSession(Session):
    """One RFB connection. `foreign_client`: the client speaks something else, only the server is read."""

    protocol: ClassVar[str] = "rfb"
    start: ClassVar[str] = "version"
    table: ClassVar[Mapping[str, State]] = {
        "version": State(server=_read_version, client=_read_version, then=_after_version),
        "repeater": State(client=one(messages.RepeaterId), then=lambda session: "version"),
        "security": State(server=_read_security, then=_after_security),
        "choice": State(client=_read_choice, then=lambda session: session.chosen_state()),
        "vnc-challenge": State(
            server=one(messages.VncAuthenticationChallenge), then=lambda session: "vnc-response"
        ),
        "vnc-response": State(client=one(messages.VncAuthenticationResponse), then=lambda session: "result"),
        "tight-tunnels": State(server=one(messages.TightTunnels), then=_after_tight_tunnels),
        "tight-tunnel": State(client=one(messages.TightTunnel), then=_after_tight_tunnel),
        "tight-auth-types": State(server=one(messages.TightAuthTypes), then=_after_tight_auth_types),
        "tight-auth-type": State(
            client=one(messages.TightAuthType), then=lambda session: session.chosen_state()
        ),
        "vencrypt-server-version": State(
            server=one(security.VencryptVersion), then=lambda session: "vencrypt-client-version"
        ),
        "vencrypt-client-version": State(client=one(security.VencryptVersion), then=_after_vencrypt_version),
        "vencrypt-accepted": State(
            server=one(security.VencryptAck),
            then=lambda session: "closed" if session.ack else "vencrypt-subtypes",
        ),
        "vencrypt-subtypes": State(
            server=one(security.VencryptSubtypes), then=lambda session: "vencrypt-subtype"
        ),
        "vencrypt-subtype": State(client=one(security.VencryptSubtype), then=_after_vencrypt_subtype),
        "vencrypt-tls": State(server=one(security.VencryptAck), then=_after_vencrypt_tls),
        "plain": State(client=one(security.PlainCredentials), then=lambda session: "result"),
        "ident": State(client=one(security.IdentUsername), then=lambda session: "result"),
        "sasl-mechanisms": State(server=one(security.SaslMechanisms), then=lambda session: "sasl-start"),
        "sasl-start": State(client=one(security.SaslClientStart), then=lambda session: "sasl-server-step"),
        "sasl-server-step": State(server=one(security.SaslServerStep), then=_after_sasl),
        "sasl-client-step": State(
            client=one(security.SaslClientStep), then=lambda session: "sasl-server-step"
        ),
        "ra2-server-key": State(server=one(security.RsaPublicKey), then=lambda session: "ra2-client-key"),
        "ra2-client-key": State(client=one(security.RsaPublicKey), then=lambda session: "ra2-server-random"),
        "ra2-server-random": State(
            server=one(security.RsaEncryptedRandom), then=lambda session: "ra2-client-random"
        ),
        "ra2-client-random": State(
            client=one(security.RsaEncryptedRandom), then=lambda session: "ra2-server-hash"
        ),
        "ra2-server-hash": State(server=_read_sealed, then=lambda session: "ra2-client-hash"),
        "ra2-client-hash": State(client=_read_sealed, then=lambda session: "ra2-subtype"),
        "ra2-subtype": State(server=_read_sealed, then=lambda session: "ra2-credentials"),
        "ra2-credentials": State(client=_read_sealed, then=_after_ra2),
        "sealed": State(server=_read_sealed, client=_read_sealed, stays=True),
        "xvp": State(client=one(security.XvpCredentials), then=lambda session: "vnc-challenge"),
        "dh-parameters": State(
            server=one(security.DiffieHellmanParameters), then=lambda session: "dh-credentials"
        ),
        "dh-credentials": State(client=_read_dh_credentials, then=lambda session: "result"),
        "ms-parameters": State(
            server=one(security.MsLogon2Parameters), then=lambda session: "ms-credentials"
        ),
        "ms-credentials": State(client=one(security.MsLogon2Credentials), then=lambda session: "result"),
        "ms-challenges": State(
            server=one(security.MsLogon1Challenges), then=lambda session: "ms-clear-credentials"
        ),
        "ms-clear-credentials": State(
            client=one(security.MsLogon1Credentials), then=lambda session: "result"
        ),
        "sc-prompt": State(server=one(security.ScPrompt), then=lambda session: "sc-answer"),
        "sc-answer": State(client=one(security.ScPromptAnswer), then=lambda session: "result"),
        "session-selection": State(client=one(security.SessionSelection), then=lambda session: "result"),
        "apple-request": State(client=_read_apple_request, then=_after_apple_request),
        "apple-key": State(server=one(security.AppleRsaKey), then=lambda session: "apple-credentials"),
        "apple-credentials": State(
            client=one(security.AppleRsaCredentials), then=lambda session: "apple-answer"
        ),
        "apple-answer": State(server=one(security.AppleRsaAnswer), then=lambda session: "result"),
        "encrypted": State(server=_encrypted, client=_encrypted, stays=True),
        "result": State(server=one(messages.SecurityResult), then=_after_result),
        "client-init": State(client=one(messages.ClientInit), then=lambda session: "server-init"),
        "server-init": State(server=_read_server_init, then=lambda session: "messages"),
        "messages": State(server=_read_server_message, client=_read_client_message, stays=True),
        "refused": State(server=one(messages.FailureReason), then=lambda session: "closed"),
        "closed": State(server=_closed, client=_closed),
        "not-decoded": State(server=_not_decoded, client=_not_decoded, stays=True),
    }

    def __init__(
        self, role: Side | None = None, limits: Limits | None = None, *, foreign_client: bool = False
    ) -> None:
        super().__init__(role, limits)
        self.foreign_client = foreign_client
        self.server_version: Version | None = None
        self.client_version: Version | None = None
        self.form: Version | None = None
        """The published handshake that is spoken: (3, 3), (3, 7) or (3, 8); None until it is known."""
        self.offered: tuple[int, ...] | None = None
        """The security types that the server offers (in 3.3: the one it decided on); () where it refuses."""
        self.security_type: int | None = None
        self.tight_tunnels: int | None = None
        """How many tunnels a server offers within the Tight security type; None until it has said."""
        self.tight_tunnel: int | None = None
        """The code of the tunnel that was chosen; 0 is none."""
        self.tight_auth: int | None = None
        """The code of the Tight authentication: the choice, or 1 where the server asks for none."""
        self.method: int | None = None
        """The security type whose exchange is under way: the chosen one, or one within Tight or VeNCrypt."""
        self.vencrypt_version = (0, 0)
        """The client's VeNCrypt version."""
        self.vencrypt: int | None = None
        """The VeNCrypt subtype that was chosen."""
        self.ack = 0
        """The last acknowledgement of VeNCrypt; whether SASL is complete, or Apple's credentials are sent."""
        self.mechanism = ""
        """The SASL mechanism that the client chose."""
        self.key_size = 0
        """Bytes of a Diffie-Hellman key."""
        self.wrapped: str | None = None
        """Why what follows the security handshake cannot be read: its encryption; None where it can."""
        self.announced: set[int] = set()
        """The codes of the messages that a Tight ServerInit announces."""
        self.encodings: set[int] = set()
        """All that the client has ever said in SetEncodings."""
        self.status: int | None = None
        """SecurityResult; None until it came."""
        self.reason: str | None = None
        """The server's FailureReason."""
        self.challenge: bytes | None = None
        self.framebuffer: tuple[int, int] | None = None
        """Width and height in pixels, from ServerInit."""
        self.pixel_format = encodings.Format()
        self.extended_buttons = False
        self.doubt: str | None = None
        """What is assumed of the pixel format, since a SetPixelFormat may be lost; None: it is known."""
        self.astray: dict[Side, str] = {}
        """The sides whose next message must be searched for, and why."""

    @classmethod
    def joined(cls, known: seek.Joined) -> RfbSession:
        """A session that is heard from its midst on: see `seek.join`."""
        session = cls()
        session.enter("messages")
        session.framebuffer, session.pixel_format = known.screen, known.form
        session.encodings, session.doubt = set(known.encodings), known.assumed
        session.astray = dict.fromkeys(Side, "the capture begins in mid-session")
        return session

    def chosen_state(self) -> str:
        """The state that the chosen security type leads to."""
        if self.security_type != TIGHT:
            return self.method_state(self.security_type)
        if self.tight_tunnels is None:
            return "tight-tunnels"
        if self.tight_auth == UNIX_LOGIN:
            return "plain"
        # Tight's codes are its own; these mean what the security types of these numbers mean.
        return self.method_state(self.tight_auth) if self.tight_auth in (1, 2, 19, 20) else "not-decoded"

    def method_state(self, method: int | None) -> str:
        """The state in which the exchange of a security type begins."""
        self.method = method
        if method == 1:
            return "result" if self.form == (3, 8) else "client-init"
        if method == 18:
            self.wrapped = "TLS follows, encrypted (security type 18)"
            return "encrypted"
        if method == ULTRA and self.form != (3, 3):
            return "result"
        if method in security.RA2:
            return "ra2-server-key"
        return METHODS.get(method or 0, "not-decoded")

    @property
    def piecewise(self) -> bool:
        """Where the way back is looked for, that bytes begin to arrive or end somewhere is evidence."""
        return bool(self.astray) or self.doubt is not None

    def after_gap(self, flow: Flow, size: int, now: int) -> str | None:
        """In the normal phase the way back is searched for; in a handshake there is none."""
        why = f"follows a gap of {size} bytes"
        if not self.table[self.state].stays or self.state != "messages":
            return why
        if flow.side is Side.CLIENT:
            self.doubt = f"no SetPixelFormat in the {size} bytes of the client that were lost"
        self.stray(flow.side, why)
        return None

    def after_violation(self, flow: Flow, at: int) -> str | None:
        """As after a gap: what follows can be read where its beginning is found."""
        why = f"follows a violation at byte {at}"
        if self.state != "messages":
            return why
        self.stray(flow.side, why)
        return None

    def stray(self, side: Side, why: str) -> None:
        """The next message of `side` must be searched for, because `why`."""
        self.astray = {**self.astray, side: why}  # a new one: a rehearsal has a copy of this session
        if side is Side.CLIENT and self.doubt is None:
            self.doubt = f"no SetPixelFormat since the client is not read any further ({why})"

    def missed(self, side: Side, name: str) -> None:
        """A lost SetPixelFormat leaves the sizes of pixels unknown."""
        if name == messages.SetPixelFormat.title():
            self.pixel_format = encodings.Format(
                why_unknown="the pixel format is not known: a SetPixelFormat was lost"
            )

    def observe(self, message: Message) -> None:
        """Keep what later messages depend on."""
        if not message.parts:
            return
        match message.parts[0].cls:
            case messages.ProtocolVersion:
                version = version_of(message.values)
                if message.side is Side.SERVER:
                    self.server_version = version
                else:
                    self.client_version = version
                    self.form = form(version)
            case messages.SecurityTypes:
                self.offered = tuple(message["security_types"])
            case messages.SecurityType33:
                self.security_type = message["security_type"]
                self.offered = (self.security_type,) if self.security_type else ()
                self.form = (3, 3)
            case messages.SecurityType:
                self.security_type = message["security_type"]
            case messages.VncAuthenticationChallenge:
                self.challenge = message["challenge"]
            case messages.TightTunnels:
                self.tight_tunnels = message["number_of_tunnels"]
            case messages.TightTunnel:
                self.tight_tunnel = message["code"]
            case messages.TightAuthTypes:
                self.tight_auth = None if message["number_of_auth_types"] else 1
            case messages.TightAuthType:
                self.tight_auth = message["code"]
            case security.VencryptVersion:
                self.vencrypt_version = message["major"], message["minor"]
            case security.VencryptAck:
                self.ack = message["ack"]
            case security.VencryptSubtype:
                self.vencrypt = message["subtype"]
            case security.AppleRsaRequest:
                self.ack = 0
            case security.AppleRsaCredentials:
                self.ack = 1
            case security.SaslClientStart:
                self.mechanism = message["mechname_string"].decode("ascii", "backslashreplace")
            case security.SaslServerStep:
                self.ack = message["complete_flag"]
            case security.DiffieHellmanParameters:
                self.key_size = message["key_size"]
            case messages.SetEncodings:
                if len(self.encodings) < ENCODINGS_KEPT:
                    self.encodings.update(message["encoding_types"][:ENCODINGS_KEPT])
            case optional.ResizeFrameBuffer | optional.PalmResizeFrameBuffer:
                self.framebuffer = message["framebuffer_width"], message["framebuffer_height"]
            case messages.SecurityResult:
                self.status = message["status"]
            case messages.FailureReason:
                self.reason = message["reason"].decode("utf-8", "backslashreplace")
            case messages.ServerInit | messages.TightServerInit:
                values = message.values
                self.framebuffer = values["framebuffer_width"], values["framebuffer_height"]
                self.pixel_format = encodings.Format.of(values["server_pixel_format"])
                for kind in ("server_messages", "client_messages"):
                    self.announced.update(one["code"] for one in values.get(kind, ()))
            case messages.SetPixelFormat:
                self.pixel_format = encodings.Format.of(message["pixel_format"])
                self.doubt = None
            case _:
                pass
