# SPDX-License-Identifier: GPL-2.0-or-later
"""The link stage as a conversation: who says what, and what is understood."""

from __future__ import annotations

import tracemalloc

import pytest

from dissect.dissection.recognise import recognise_spice
from dissect.spice import constants, link
from dissect.spice.channels import base, main
from dissect.spice.channels.inputs import SpiceMsgInputsInit
from dissect.spice.session import SpiceSession
from dissect.stream.recognition import No, NotYet, Yes
from dissect.stream.session import LocalProtocolError
from tests.spice.examples import (
    AUTH_SASL,
    AUTH_SELECTION,
    AUTH_SPICE,
    INIT,
    KEY,
    MINI_HEADER,
    TICKET,
    USUAL,
    data,
    error_reply,
    header,
    linked,
    mess,
    reply,
    u8,
    u16,
    u32,
)
from tests.stream.talk import CLIENT, SERVER, Talk

BECAUSE_OF_THE_CLIENT = "cannot be read, because the client is not read any further"


def session(talk: Talk) -> SpiceSession:
    assert isinstance(talk.session, SpiceSession)
    return talk.session


def after(*, channel: int = 1, mini: bool = True, select: bool = True) -> Talk:
    """A conversation whose link stands."""
    it = Talk(SpiceSession())
    for side, what in linked(channel, mini=mini, select=select):
        assert isinstance(what, bytes)
        it.say(side, what)
    assert it.session.state == "messages"
    return it


# --- the whole link


@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_with_a_choice_of_authentication(mini: bool, whole: bool) -> None:
    common = USUAL if mini else (AUTH_SELECTION, AUTH_SPICE)
    it = Talk(SpiceSession())
    assert it.client(mess(common)) == ["client SpiceLinkMess"]
    assert it.server(reply(common)) == ["server SpiceLinkReply"]
    if whole:
        assert it.client(u32(1), TICKET) == [
            "client SpiceLinkAuthMechanism",
            "client SpiceLinkEncryptedTicket",
        ]
    else:
        assert it.client(u32(1)) == ["client SpiceLinkAuthMechanism"]
        assert it.client(TICKET) == ["client SpiceLinkEncryptedTicket"]
    assert it.server(u32(0), data(103, INIT, mini=mini)) == [
        "server SpiceLinkResult",
        "server SPICE_MSG_MAIN_INIT",
    ]
    assert session(it).mini_header is mini
    assert session(it).session_id == 4711
    assert session(it).public_key == KEY
    assert it.over() == []


@pytest.mark.parametrize("who", ["client", "server", "nobody"])
def test_without_a_choice_of_authentication(who: str) -> None:
    it = Talk(SpiceSession())
    it.client(mess([AUTH_SELECTION, MINI_HEADER] if who == "client" else [MINI_HEADER]))
    it.server(reply([AUTH_SELECTION] if who == "server" else []))
    assert it.client(TICKET) == ["client SpiceLinkEncryptedTicket"]
    assert it.last("SpiceLinkEncryptedTicket").fields() == {"encrypted_data": "hidden (128 bytes)"}
    assert it.server(u32(0), data(103, INIT, mini=False)) == [
        "server SpiceLinkResult",
        "server SPICE_MSG_MAIN_INIT",
    ]
    assert it.over() == []


def test_no_capabilities_at_all() -> None:
    it = Talk(SpiceSession())
    body = u32(0) + u8(1) + u8(0) + u32(0) + u32(0) + u32(18)
    assert it.client(header(18) + body) == ["client SpiceLinkMess"]
    body = u32(0) + KEY + u32(0) + u32(0) + u32(178)
    assert it.server(header(178) + body) == ["server SpiceLinkReply"]
    assert it.session.state == "ticket"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_link_may_be_cut_anywhere(size: int) -> None:
    it = Talk(SpiceSession())
    told = []
    for side, what in linked():
        assert isinstance(what, bytes)
        for at in range(0, len(what), size):
            told += it.say(side, what[at : at + size])
    assert told == [
        "client SpiceLinkMess",
        "server SpiceLinkReply",
        "client SpiceLinkAuthMechanism",
        "client SpiceLinkEncryptedTicket",
        "server SpiceLinkResult",
    ]


def test_a_client_that_does_not_wait_for_the_reply() -> None:
    it = Talk(SpiceSession())
    assert it.client(mess(), u32(1), TICKET) == ["client SpiceLinkMess"]
    assert it.server(reply()) == [
        "server SpiceLinkReply",
        "client SpiceLinkAuthMechanism",
        "client SpiceLinkEncryptedTicket",
    ]


def test_capabilities_have_the_names_of_their_channel() -> None:
    it = Talk(SpiceSession())
    it.client(mess(channel=2, connection=9, own=0b101))
    it.server(reply([*USUAL, 17], own=0b10 | 1 << 30))
    asked, answered = it.last("SpiceLinkMess").fields(), it.last("SpiceLinkReply").fields()
    assert asked["channel_type_name"] == "display"
    assert asked["channel_caps_names"] == ["SIZED_STREAM", "COMPOSITE"]
    assert answered["channel_caps_names"] == ["MONITORS_CONFIG", "bit 30"]
    assert answered["common_caps_names"] == ["PROTOCOL_AUTH_SELECTION", "AUTH_SPICE", "MINI_HEADER", "bit 17"]
    assert session(it).session_id == 9


# --- refusals


@pytest.mark.parametrize(("number", "name"), [pair for pair in constants.LINK_ERRORS.items() if pair[0]])
def test_every_error_of_a_reply(number: int, name: str) -> None:
    it = Talk(SpiceSession())
    it.client(mess())
    assert it.server(error_reply(number)) == ["server SpiceLinkReply"]
    assert it.last("SpiceLinkReply").fields()["error_name"] == name
    assert it.session.state == "closed"
    it.client(u32(1))
    assert it.over() == ["client NotDecoded (not decoded: the server has refused the link)"]


def test_an_error_reply_to_a_client_that_speaks_something_else() -> None:
    it = Talk(SpiceSession())
    assert it.server(error_reply(2)) == ["server SpiceLinkReply"]
    assert it.last("SpiceLinkReply").fields()["error_name"] == "INVALID_MAGIC"
    assert it.last("SpiceLinkReply").size == 194
    assert it.over() == []


@pytest.mark.parametrize(("number", "name"), list(constants.LINK_ERRORS.items()))
def test_every_result(number: int, name: str) -> None:
    it = Talk(SpiceSession())
    for side, what in linked()[:-1]:
        assert isinstance(what, bytes)
        it.say(side, what)
    assert it.server(u32(number)) == ["server SpiceLinkResult"]
    assert it.last("SpiceLinkResult").fields()["result_name"] == name
    assert it.session.state == ("closed" if number else "messages")


def test_a_mechanism_that_does_not_exist_is_answered_by_an_error_reply() -> None:
    it = Talk(SpiceSession())
    it.client(mess())
    it.server(reply())
    assert it.client(u32(7)) == ["client SpiceLinkAuthMechanism"]
    assert it.server(error_reply(3)) == ["server SpiceLinkReply"]
    assert it.session.state == "closed"


def lengths(text: bytes) -> bytes:
    return u32(len(text)) + text


def sasl(mechanism: bytes = b"SCRAM-SHA-1") -> Talk:
    """A link whose SASL exchange has begun."""
    it = Talk(SpiceSession())
    it.client(mess([AUTH_SELECTION, AUTH_SASL, MINI_HEADER]))
    it.server(reply([AUTH_SELECTION, AUTH_SASL, MINI_HEADER]))
    assert it.client(u32(2)) == ["client SpiceLinkAuthMechanism"]
    assert it.server(lengths(b"DIGEST-MD5,SCRAM-SHA-1")) == ["server SpiceSaslMechanisms"]
    assert it.client(lengths(mechanism), lengths(b"secret")) == ["client SpiceSaslStart"]
    return it


def test_sasl() -> None:
    it = sasl()
    assert it.last("SpiceSaslMechanisms").fields()["mechanisms"] == "DIGEST-MD5,SCRAM-SHA-1"
    assert it.last("SpiceSaslStart").fields()["mechanism"] == "SCRAM-SHA-1"
    assert it.last("SpiceSaslStart").fields()["sasl_data"] == "hidden (6 bytes)"
    assert it.server(lengths(b"more"), b"\0") == ["server SpiceSaslReply"]
    assert it.client(lengths(b"secret")) == ["client SpiceSaslStep"]
    assert it.server(lengths(b""), b"\1", u32(0), u32(0), data(103, INIT)) == [
        "server SpiceSaslReply",
        "server SpiceSaslResult",
        "server SpiceLinkResult",
        "server SPICE_MSG_MAIN_INIT",
    ]
    assert it.over() == []


def test_sasl_refused() -> None:
    it = sasl()
    assert it.server(u32(0), b"\1", u32(1), lengths(b"Authentication failed")) == [
        "server SpiceSaslReply",
        "server SpiceSaslResult",
        "server SpiceSaslReason",
    ]
    assert it.last("SpiceSaslReason").fields()["reason"] == "Authentication failed"
    assert it.session.state == "closed"
    assert it.over() == []


def test_sasl_that_may_encrypt_what_follows() -> None:
    it = sasl(b"DIGEST-MD5")
    assert it.server(u32(0), b"\1", u32(0), b"????") == ["server SpiceSaslReply", "server SpiceSaslResult"]
    why = "follows a SASL exchange with DIGEST-MD5, which may have encrypted it"
    assert it.over() == [f"server NotDecoded (not decoded: {why})"]


def test_sasl_data_without_end() -> None:
    it = sasl()
    (told,) = it.server(u32(0xFFFFFFFF))
    assert "sasl_data: 4294967295 bytes is outside the limit" in told
    it.over()


# --- what is wrong with a link message


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("said", "at"), [(b"RFB 003.008\n", 1), (b"GET / HTTP", 0), (b"REDX", 3), (b"\x16", 0)]
)
def test_another_protocol_is_known_by_its_first_wrong_byte(said: bytes, at: int, whole: bool) -> None:
    it = Talk(SpiceSession())
    told = it.client(said) if whole else [line for byte in said for line in it.client(bytes([byte]))]
    assert told == [f"client SpiceLinkMess wrong at {at}: begins with {said[: at + 1]!r}, not with b'REDQ'"]


@pytest.mark.parametrize("size", [0, 17])
def test_a_size_that_holds_no_link_message(size: int) -> None:
    it = Talk(SpiceSession())
    assert it.client(header(size) + bytes(size)) == [
        "client SpiceLinkMess",
        f"client SpiceLinkMess wrong at 12: size {size} is less than 18 bytes",
    ]
    assert it.server(error_reply(3)) == ["server SpiceLinkReply"]
    assert it.over() == []


@pytest.mark.parametrize("size", [18, 4096])
def test_the_smallest_and_the_largest_size(size: int) -> None:
    it = Talk(SpiceSession())
    body = u32(0) + u8(1) + u8(0) + u32(0) + u32(0) + u32(18)
    assert it.client(header(size) + body.ljust(size, b"x")) == ["client SpiceLinkMess"]
    assert it.last("SpiceLinkMess")["after_caps"] == b"x" * (size - 18)


@pytest.mark.parametrize("size", [4097, 1 << 31, (1 << 32) - 1])
def test_a_size_over_the_limit_is_refused_at_the_header(size: int) -> None:
    it = Talk(SpiceSession())
    why = f"size {size} is over the limit of 4096 bytes"
    assert it.client(header(size)) == [f"client SpiceLinkMess wrong at 12: {why}"]
    assert it.server(error_reply(3)) == ["server SpiceLinkReply"]


def with_capabilities(common: int, channel: int, offset: int, rest: bytes) -> bytes:
    body = u32(0) + u8(1) + u8(0) + u32(common) + u32(channel) + u32(offset) + rest
    return header(len(body)) + body


def test_capabilities_at_an_odd_offset() -> None:
    it = Talk(SpiceSession())
    assert it.client(with_capabilities(1, 1, 21, b"???" + u32(8) + u32(1))) == ["client SpiceLinkMess"]
    values = it.last("SpiceLinkMess").values
    assert (values["before_caps"], values["common_caps"], values["channel_caps"]) == (b"???", [8], [1])


@pytest.mark.parametrize(
    ("common", "channel", "offset", "rest", "at", "why"),
    [
        (1, 0, 17, u32(0), 34, "before_caps: -1 bytes is outside the limit of 4096 bytes"),
        (1, 0, 0, u32(0), 34, "before_caps: -18 bytes is outside the limit of 4096 bytes"),
        (1, 0, 22, u32(0), 16, "has 22 bytes where its capabilities need 26"),
        (1, 1, 18, u32(0), 16, "has 22 bytes where its capabilities need 26"),
        (1, 0, (1 << 32) - 1, u32(0), 34, f"before_caps: {(1 << 32) - 19} bytes is outside the limit"),
        ((1 << 32) - 1, 0, 18, u32(0), 34, "common_caps: 4294967295 items of 4 bytes is outside the limit"),
        (0, (1 << 32) - 1, 18, u32(0), 34, "channel_caps: 4294967295 items of 4 bytes is outside the limit"),
        (1025, 0, 18, u32(0), 34, "common_caps: 1025 items of 4 bytes is outside the limit of 4096 bytes"),
    ],
)
def test_capabilities_outside_the_message(
    common: int, channel: int, offset: int, rest: bytes, at: int, why: str
) -> None:
    it = Talk(SpiceSession())
    tracemalloc.start()
    try:
        told = it.client(with_capabilities(common, channel, offset, rest))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert told[0] == "client SpiceLinkMess"
    assert told[1].startswith(f"client SpiceLinkMess wrong at {at}: {why}")
    assert len(told) == 2
    assert peak < 1 << 18
    assert it.server(error_reply(3)) == ["server SpiceLinkReply"]
    assert it.over() == []


def test_the_offset_says_nothing_where_there_are_no_capabilities() -> None:
    it = Talk(SpiceSession())
    assert it.client(with_capabilities(0, 0, (1 << 32) - 1, b"")) == ["client SpiceLinkMess"]


@pytest.mark.parametrize("major", [0, 1, 3])
def test_another_major_version_is_named_and_left(major: int) -> None:
    it = Talk(SpiceSession())
    told = it.client(header(18, major=major, minor=4) + bytes(18))
    assert told == [f"client SpiceLinkMess (not decoded: link version {major}.4)"]
    assert it.last("SpiceLinkMess").fields()["major_version"] == major
    assert it.server(error_reply(4)) == ["server SpiceLinkReply"]
    assert it.over() == []


@pytest.mark.parametrize("minor", [0, 1, 2, 3, (1 << 32) - 1])
def test_any_minor_version_is_read(minor: int) -> None:
    it = Talk(SpiceSession())
    assert it.client(header(26, minor=minor) + mess()[16:]) == ["client SpiceLinkMess"]
    assert it.last("SpiceLinkMess")["minor_version"] == minor
    assert session(it).channel_type == 1


def test_a_link_that_could_not_be_read_ends_the_reading() -> None:
    it = Talk(SpiceSession())
    it.client(header(18, major=1) + bytes(18))
    it.server(header(178, major=1) + bytes(178) + b"more")
    assert it.over() == ["server NotDecoded (not decoded: the link messages could not be read)"]


@pytest.mark.parametrize("have", [1, 4, 15, 16, 30])
def test_a_link_message_that_stops(have: int) -> None:
    it = Talk(SpiceSession())
    it.client(mess()[:have])
    (told,) = it.over()
    assert told.startswith("client SpiceLinkMess (not decoded: incomplete: ")


def test_a_gap_in_the_link_loses_it() -> None:
    it = Talk(SpiceSession())
    it.client(mess()[:20])
    assert it.lose(CLIENT, 22) == [
        "client SpiceLinkMess (not decoded: incomplete: 20 of 42 bytes)",
        "client gap 22",
    ]
    it.server(reply(), b"x")
    it.client(u32(1))
    assert it.over() == [
        "client NotDecoded (not decoded: follows a gap of 22 bytes)",
        f"server NotDecoded (not decoded: {BECAUSE_OF_THE_CLIENT}: follows a gap of 22 bytes)",
    ]


# --- recognition


def test_recognition_has_three_answers() -> None:
    assert isinstance(recognise_spice(b"REDQ\2"), Yes)
    assert recognise_spice(b"RED") == NotYet(1)
    assert isinstance(recognise_spice(b"RFB "), No)


# --- sending


def test_both_ends_speak_by_the_session() -> None:
    client, server = SpiceSession(role=CLIENT), SpiceSession(role=SERVER)

    def says(
        one: SpiceSession, other: SpiceSession, packet: link.SpiceLinkPacket | base.SpiceMessage
    ) -> bytes:
        assert one.role is not None
        sent = one.send(packet, 0)
        (record,) = other.feed(one.role, sent, 0)
        assert record.name == packet.title()
        return sent

    assert says(client, server, link.SpiceLinkMess(common_caps=[0b0011], channel_caps=[9])) == (
        mess([AUTH_SELECTION, AUTH_SPICE], own=9)
    )
    says(server, client, link.SpiceLinkReply(pub_key=KEY, common_caps=[0b0011]))
    says(client, server, link.SpiceLinkAuthMechanism())
    says(client, server, link.SpiceLinkEncryptedTicket())
    says(server, client, link.SpiceLinkResult())
    assert says(server, client, base.SpiceMsgSetAck(window=5))[:10] == b"\1" + bytes(7) + u16(3)
    with pytest.raises(LocalProtocolError, match="has no bytes"):
        server.send(base.SpiceMsgSetAck(window=1 << 32), 0)
    with pytest.raises(
        LocalProtocolError, match="SPICE_MSG_INPUTS_INIT is not a message of the main channel"
    ):
        server.send(SpiceMsgInputsInit(), 0)
    assert says(server, client, main.SpiceMsgMainInit(session_id=5))[:10] == b"\2" + bytes(7) + u16(103)
    assert client.session_id == 5


def test_a_server_may_not_send_what_a_client_sends() -> None:
    it = SpiceSession(role=SERVER)
    for side, what in linked():
        assert isinstance(what, bytes)
        it.feed(side, what, 0)
    with pytest.raises(LocalProtocolError, match="it would be read as SPICE_MSG_MIGRATE"):
        it.send(base.SpiceMsgcAckSync(), 0)
    assert it.send(base.SpiceMsgSetAck(), 0)
