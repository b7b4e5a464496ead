# SPDX-License-Identifier: GPL-2.0-or-later
"""The handshake as a conversation: who says what, and what is understood."""

from __future__ import annotations

import pytest

from dissect.dissection.recognise import recognise_rfb
from dissect.rfb import messages as m
from dissect.rfb import security
from dissect.rfb.session import RfbSession, form
from dissect.stream.recognition import No, NotYet, Yes
from dissect.stream.session import LocalProtocolError
from tests.rfb.examples import SERVER_INIT, u32
from tests.stream.talk import CLIENT, SERVER, Talk, play, words

CHALLENGE = bytes(range(16))
RESPONSE = bytes(range(16, 32))
BECAUSE_OF_THE_CLIENT = "cannot be read, because the client is not read any further"
BECAUSE_OF_THE_SERVER = "cannot be read, because the server is not read any further"


def banner(version: str) -> bytes:
    return f"RFB {version}\n".encode()


def reason(text: bytes) -> bytes:
    return u32(len(text)) + text


def talk(version: str = "003.008", *, answer: str | None = None) -> Talk:
    """A conversation past its ProtocolVersion messages."""
    talk = Talk(RfbSession())
    assert talk.server(banner(version)) == ["server ProtocolVersion"]
    assert talk.client(banner(answer or version)) == ["client ProtocolVersion"]
    return talk


def initialise(talk: Talk) -> None:
    assert talk.client(b"\1") == ["client ClientInit"]
    assert talk.server(SERVER_INIT) == ["server ServerInit"]
    assert talk.session.state == "messages"
    assert talk.server(b"\2") == ["server Bell"]
    assert talk.over() == []


# --- versions


AS_3_3 = ["003.003", "003.004", "003.005", "003.006", "003.014", "003.016"]
AS_3_8 = ["003.008", "003.889", "004.000", "004.001", "005.000"]


@pytest.mark.parametrize("version", AS_3_3)
def test_old_versions_let_the_server_decide(version: str) -> None:
    it = talk(version)
    assert it.server(u32(1)) == ["server SecurityType"]
    initialise(it)


def test_version_3_7_has_no_result_after_none() -> None:
    it = talk("003.007")
    assert it.server(b"\1\1") == ["server SecurityTypes"]
    assert it.client(b"\1") == ["client SecurityType"]
    initialise(it)


@pytest.mark.parametrize("version", AS_3_8)
def test_new_versions_have_a_result_after_none(version: str) -> None:
    it = talk(version)
    assert it.server(b"\2\1\2") == ["server SecurityTypes"]
    assert it.client(b"\1") == ["client SecurityType"]
    assert it.server(u32(0)) == ["server SecurityResult"]
    initialise(it)


def test_the_client_decides_which_of_both_versions_is_spoken() -> None:
    it = talk("003.008", answer="003.003")
    assert it.server(u32(1)) == ["server SecurityType"]
    initialise(it)


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        ((2, 9), (3, 3)),
        ((3, 3), (3, 3)),
        ((3, 5), (3, 3)),
        ((3, 7), (3, 7)),
        ((3, 8), (3, 8)),
        ((3, 16), (3, 3)),
        ((3, 130), (3, 8)),
        ((5, 0), (3, 8)),
    ],
)
def test_every_version_means_one_of_three(version: tuple[int, int], spoken: tuple[int, int]) -> None:
    assert form(version) == spoken


def test_the_repeater_takes_an_identity_and_then_the_server_greets() -> None:
    it = Talk(RfbSession())
    assert it.server(banner("000.000")) == ["server ProtocolVersion"]
    assert it.client(b"ID:1234".ljust(250, b"\0")) == ["client RepeaterId"]
    assert it.last("RepeaterId").fields() == {"identity": "ID:1234"}
    assert it.server(banner("003.003")) == ["server ProtocolVersion"]
    assert it.client(banner("003.003")) == ["client ProtocolVersion"]
    assert it.server(u32(1)) == ["server SecurityType"]
    initialise(it)
    assert isinstance(it.session, RfbSession)
    assert it.session.server_version == (3, 3)


# --- how the bytes are cut


@pytest.mark.parametrize("at", range(1, 12))
def test_a_banner_may_be_split_anywhere(at: int) -> None:
    it = Talk(RfbSession())
    assert it.server(banner("003.008")[:at]) == []
    assert it.server(banner("003.008")[at:]) == ["server ProtocolVersion"]
    assert it.client(banner("003.008")[:at]) == []
    assert it.client(banner("003.008")[at:]) == ["client ProtocolVersion"]
    assert it.last("ProtocolVersion").first_ns == 3000
    assert it.last("ProtocolVersion").last_ns == 4000


def test_the_early_prefix() -> None:
    it = Talk(RfbSession())
    assert it.client(b"RFB ") == []
    assert it.server(banner("003.008")) == ["server ProtocolVersion"]
    assert it.client(b"003.008\n") == ["client ProtocolVersion"]
    assert it.server(b"\1\1") == ["server SecurityTypes"]


def test_a_whole_version_before_the_greeting() -> None:
    it = Talk(RfbSession())
    assert it.client(banner("003.008")) == ["client ProtocolVersion"]
    assert it.server(banner("003.008"), b"\1\1") == ["server ProtocolVersion", "server SecurityTypes"]


def test_a_client_that_says_everything_at_once_is_read_when_the_server_has_said_what_it_means() -> None:
    it = Talk(RfbSession())
    assert it.client(banner("003.008"), b"\1", b"\1", b"\4\1\0\0\0\0\0a") == ["client ProtocolVersion"]
    assert it.server(banner("003.008")) == ["server ProtocolVersion"]
    assert it.server(b"\1\1") == ["server SecurityTypes", "client SecurityType"]
    assert it.server(u32(0)) == ["server SecurityResult", "client ClientInit"]
    assert it.server(SERVER_INIT) == ["server ServerInit", "client KeyEvent"]
    assert it.over() == []


def test_a_server_that_says_everything_at_once_waits_for_its_client() -> None:
    it = Talk(RfbSession())
    assert it.server(banner("003.003"), u32(1), SERVER_INIT, b"\2") == ["server ProtocolVersion"]
    assert it.client(banner("003.003")) == ["client ProtocolVersion", "server SecurityType"]
    assert it.client(b"\1") == ["client ClientInit", "server ServerInit", "server Bell"]
    assert it.over() == []


def test_3_3_sends_its_decision_and_the_challenge_in_one_segment() -> None:
    it = talk("003.003")
    assert it.server(u32(2), CHALLENGE) == ["server SecurityType", "server VncAuthenticationChallenge"]
    assert it.client(RESPONSE, b"\1") == ["client VncAuthenticationResponse"]
    assert it.last("VncAuthenticationResponse").values == {"response": RESPONSE}
    assert it.server(u32(0)) == ["server SecurityResult", "client ClientInit"]
    assert it.server(SERVER_INIT) == ["server ServerInit"]
    assert it.over() == []


# --- VNC authentication


@pytest.mark.parametrize("version", ["003.007", "003.008", "003.889"])
def test_vnc_authentication(version: str) -> None:
    it = talk(version)
    assert it.server(b"\2\2\1") == ["server SecurityTypes"]
    assert it.client(b"\2") == ["client SecurityType"]
    assert it.server(CHALLENGE) == ["server VncAuthenticationChallenge"]
    assert it.client(RESPONSE) == ["client VncAuthenticationResponse"]
    assert it.last("VncAuthenticationResponse").fields() == {"response": "hidden (16 bytes)"}
    assert it.last("VncAuthenticationResponse").fields(secrets=True) == {"response": RESPONSE.hex()}
    assert it.server(u32(0)) == ["server SecurityResult"]
    initialise(it)
    assert isinstance(it.session, RfbSession)
    assert it.session.challenge == CHALLENGE


def refused(version: str) -> Talk:
    it = talk(version)
    it.server(u32(2) if version == "003.003" else b"\1\2")
    if version != "003.003":
        it.client(b"\2")
    it.server(CHALLENGE)
    it.client(RESPONSE)
    return it


@pytest.mark.parametrize("status", [1, 2, 3])
def test_a_refusal_has_a_reason_in_3_8(status: int) -> None:
    it = refused("003.008")
    assert it.server(u32(status), reason(b"Authentication failed")) == [
        "server SecurityResult",
        "server FailureReason",
    ]
    assert isinstance(it.session, RfbSession)
    assert it.session.reason == "Authentication failed"
    assert it.session.status == status
    assert it.over() == []


@pytest.mark.parametrize("version", ["003.003", "003.007"])
def test_a_refusal_has_no_reason_before(version: str) -> None:
    it = refused(version)
    assert it.server(u32(1)) == ["server SecurityResult"]
    assert it.session.state == "closed"
    at = 36 if version == "003.003" else 34
    why = "the server has refused: nothing may follow"
    assert it.server(b"x") == [f"server NotDecoded wrong at {at}: {why}"]
    assert len(it.over()) == 1


def test_a_result_that_says_go_on_means_another_type() -> None:
    it = refused("003.008")
    assert it.server(u32(0xFFFFFFFF), b"\1\1") == ["server SecurityResult", "server SecurityTypes"]
    it = refused("003.003")
    assert it.server(u32(0xFFFFFFFF), b"more") == ["server SecurityResult"]
    (told,) = it.over()
    assert "security type 2 (VNC Authentication) is not decoded: a result that says that more" in told


@pytest.mark.parametrize(
    ("number", "name"), [(118, "MS-Logon III"), (32, "Apple Inc."), (115, "SecureVNC plugin (new)")]
)
def test_a_security_type_that_is_not_decoded_is_named(number: int, name: str) -> None:
    it = talk()
    it.server(bytes([1, number]))
    assert it.client(bytes([number]), b"secret") == ["client SecurityType"]
    it.server(b"\0\2")
    told = it.over()
    assert len(told) == 2
    assert all(f"security type {number} ({name}" in line and security.UNREAD[number] in line for line in told)


# --- the Tight security type


def capability(code: int) -> bytes:
    return u32(code) + b"STDV" + b"NOAUTH__"


def tight(version: str = "003.008") -> Talk:
    it = talk(version)
    assert it.server(b"\1\x10") == ["server SecurityTypes"]
    assert it.client(b"\x10") == ["client SecurityType"]
    return it


def test_tight_without_tunnel_or_authentication() -> None:
    it = tight("003.007")
    assert it.server(u32(0), u32(0)) == ["server TightTunnels", "server TightAuthTypes"]
    assert it.client(b"\1") == ["client ClientInit"]
    assert it.server(SERVER_INIT, b"\0\1\0\0\0\2\0\0", capability(1), capability(5), capability(7)) == [
        "server ServerInit"
    ]
    assert it.last("ServerInit").fields()["encodings"][1]["code"] == 7
    assert it.server(b"\2") == ["server Bell"]
    assert it.over() == []


def test_tight_with_a_tunnel_to_decline_and_vnc_authentication() -> None:
    it = tight()
    assert it.server(u32(1), capability(0)) == ["server TightTunnels"]
    assert it.client(u32(0)) == ["client TightTunnel"]
    assert it.server(u32(2), capability(1), capability(2)) == ["server TightAuthTypes"]
    assert it.client(u32(2)) == ["client TightAuthType"]
    assert it.server(CHALLENGE) == ["server VncAuthenticationChallenge"]
    assert it.client(RESPONSE) == ["client VncAuthenticationResponse"]
    assert it.server(u32(0)) == ["server SecurityResult"]
    assert it.client(b"\0") == ["client ClientInit"]
    assert it.server(SERVER_INIT, bytes(8), b"\2") == ["server ServerInit", "server Bell"]


def test_a_tunnel_or_authentication_that_is_not_decoded_is_named() -> None:
    it = tight()
    it.server(u32(1), capability(5))
    it.client(u32(5), b"x")
    assert "Tight tunnel 5 (unregistered) is not decoded" in it.over()[0]
    it = tight()
    it.server(u32(0), u32(1), capability(130))
    it.client(u32(130), b"x")
    assert "Tight authentication 130 (External Authentication)" in it.over()[0]


def test_more_capabilities_than_fit_are_refused_at_their_count() -> None:
    it = tight()
    (told,) = it.server(u32(0x7FFFFFFF))
    assert "tunnels: 2147483647 items of 16 bytes is outside the limit" in told


def test_a_security_type_that_was_not_offered_is_wrong_but_read() -> None:
    it = talk()
    it.server(b"\1\1")
    assert it.client(b"\2") == [
        "client SecurityType",
        "client SecurityType wrong at 12: security type 2 was not offered",
    ]
    assert it.server(CHALLENGE) == ["server VncAuthenticationChallenge"]


# --- refusals before security


def test_no_security_type_and_a_reason() -> None:
    it = talk("003.008")
    assert it.server(b"\0", reason(b"Too many connections")) == [
        "server SecurityTypes",
        "server FailureReason",
    ]
    assert it.over() == []


def test_no_security_type_and_a_reason_byte_by_byte() -> None:
    it = talk("003.007")
    said = b"\0" + reason(b"no")
    told = [line for byte in said for line in it.server(bytes([byte]))]
    assert told == ["server SecurityTypes", "server FailureReason"]


@pytest.mark.parametrize("size", [1, 255, 256, 70000])
def test_a_reason_of_any_size(size: int) -> None:
    it = talk("003.008")
    assert it.server(b"\0", reason(b"x" * size)) == ["server SecurityTypes", "server FailureReason"]


def test_type_0_and_a_reason_in_3_3() -> None:
    it = talk("003.003")
    assert it.server(u32(0), reason(b"no")) == ["server SecurityType", "server FailureReason"]
    assert it.over() == []


@pytest.mark.parametrize("pieces", [[4], [1, 1, 1, 1], [2, 2]])
def test_a_server_that_refuses_the_version_itself_says_the_u32_of_3_3(pieces: list[int]) -> None:
    """QEMU answers 003.889 with four zero bytes and closes."""
    it = talk("003.008", answer="003.889")
    for size in pieces:
        assert it.server(bytes(size)) == []
    assert it.over() == ["server SecurityType"]
    assert isinstance(it.session, RfbSession)
    assert it.session.offered == ()


def blacklisted() -> bytes:
    return banner("003.003") + u32(0) + reason(b"Too many security failures")


@pytest.mark.parametrize("size", [1, 3, 12, 16, 99])
def test_a_blacklist_answer_needs_nothing_of_the_client(size: int) -> None:
    it = Talk(RfbSession(foreign_client=True))
    said = blacklisted()
    told = [line for at in range(0, len(said), size) for line in it.server(said[at : at + size])]
    assert told == ["server ProtocolVersion", "server SecurityType", "server FailureReason"]
    assert isinstance(it.session, RfbSession)
    assert it.session.reason == "Too many security failures"
    assert it.over() == []


def test_a_3_8_server_refuses_a_foreign_client_in_its_own_form() -> None:
    """neatvnc: no security type, and a reason."""
    it = Talk(RfbSession(foreign_client=True))
    assert it.server(banner("003.008")) == ["server ProtocolVersion"]
    assert it.server(b"\0", reason(b"Unsupported version\n")) == [
        "server SecurityTypes",
        "server FailureReason",
    ]


def test_a_3_8_server_refuses_a_foreign_client_with_four_zeros() -> None:
    it = Talk(RfbSession(foreign_client=True))
    assert it.server(banner("003.008"), u32(0)) == ["server ProtocolVersion"]
    assert it.over() == ["server SecurityType"]


def test_a_greeting_and_no_more_to_a_foreign_client() -> None:
    it = Talk(RfbSession(foreign_client=True))
    assert it.server(banner("003.008")) == ["server ProtocolVersion"]
    assert it.over() == []


# --- what is wrong


@pytest.mark.parametrize(
    ("said", "at"),
    [
        (b"REDQ\2\0\0\0", 1),
        (b"SSH-2.0-x", 0),
        (b"RFBx", 3),
        (b"RFB 3.8\n", 5),
        (b"RFB 003,008\n", 7),
        (b"RFB 003.008\r", 11),
    ],
)
@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize("whole", [True, False])
def test_a_foreign_peer_is_known_by_its_first_wrong_byte(
    said: bytes, at: int, side: str, whole: bool
) -> None:
    it = Talk(RfbSession())
    say = it.client if side == CLIENT else it.server
    told = say(said) if whole else [line for byte in said for line in say(bytes([byte]))]
    begins = f"{said[: at + 1]!r} does not begin a ProtocolVersion"
    assert told == [f"{side} ProtocolVersion wrong at {at}: {begins}"]
    assert it.over() == [f"{side} NotDecoded (not decoded: follows a violation at byte {at})"]


def test_what_follows_a_lost_client_says_so() -> None:
    it = Talk(RfbSession())
    it.server(banner("003.008"))
    it.client(b"REDQ")
    it.server(b"\1\1")
    assert it.over() == [
        "client NotDecoded (not decoded: follows a violation at byte 1)",
        f"server NotDecoded (not decoded: {BECAUSE_OF_THE_CLIENT}: follows a violation at byte 1)",
    ]


def test_out_of_turn_is_kept_and_said_at_the_end() -> None:
    it = talk()
    assert it.client(b"\1") == []
    assert it.over() == [
        "client NotDecoded (not decoded: sent in state 'security', in which it is not the client's turn)"
    ]


@pytest.mark.parametrize("have", range(1, 12))
def test_a_banner_that_stops_says_how_much_of_it_came(have: int) -> None:
    it = Talk(RfbSession())
    it.server(banner("003.008")[:have])
    assert it.over() == [f"server ProtocolVersion (not decoded: incomplete: {have} of 12 bytes)"]


def test_a_gap_in_the_handshake_loses_the_side_and_what_needs_it() -> None:
    it = Talk(RfbSession())
    it.server(banner("003.008")[:5])
    assert it.lose(SERVER, 7) == [
        "server ProtocolVersion (not decoded: incomplete: 5 of 12 bytes)",
        "server gap 7",
    ]
    it.client(banner("003.008"), b"\1")
    it.server(b"\1\1")
    assert it.over() == [
        f"client NotDecoded (not decoded: {BECAUSE_OF_THE_SERVER}: follows a gap of 7 bytes)",
        "server NotDecoded (not decoded: follows a gap of 7 bytes)",
    ]


def test_a_name_of_4_gib_is_refused_when_its_length_is_read() -> None:
    it = talk("003.003")
    it.server(u32(1))
    it.client(b"\1")
    told = it.server(SERVER_INIT[:20] + b"\xff\xff\xff\xff" + b"x" * 1000)
    assert told[0].startswith("server ServerInit wrong at 40: name_string: 4294967295 bytes is outside")


# --- recognition


def test_recognition_has_three_answers() -> None:
    assert isinstance(recognise_rfb(b"RFB "), Yes)
    assert recognise_rfb(b"") == NotYet(4)
    assert recognise_rfb(b"RF") == NotYet(2)
    assert isinstance(recognise_rfb(b"REDQ"), No)
    assert isinstance(recognise_rfb(b"RFb"), No)


# --- sending


def test_both_ends_speak_by_the_session() -> None:
    client, server = RfbSession(role=CLIENT), RfbSession(role=SERVER)

    def says(one: RfbSession, other: RfbSession, packet: m.RfbPacket) -> str:
        assert one.role is not None
        data = one.send(packet, 0)
        (record,) = other.feed(one.role, data, 0)
        return record.name

    assert says(server, client, m.ProtocolVersion.of(3, 8)) == "ProtocolVersion"
    assert says(client, server, m.ProtocolVersion.of(3, 8)) == "ProtocolVersion"
    assert says(server, client, m.SecurityTypes(security_types=[1])) == "SecurityTypes"
    assert says(client, server, m.SecurityType(security_type=1)) == "SecurityType"
    assert says(server, client, m.SecurityResult()) == "SecurityResult"
    assert says(client, server, m.ClientInit()) == "ClientInit"
    assert says(server, client, m.ServerInit(framebuffer_width=3, name_string=b"x")) == "ServerInit"
    assert says(client, server, m.SetEncodings(encoding_types=[0, -224])) == "SetEncodings"
    assert says(server, client, m.Bell()) == "Bell"
    assert client.framebuffer == server.framebuffer == (3, 0)


def test_what_may_not_be_sent_is_refused_and_changes_nothing() -> None:
    session = RfbSession(role=SERVER)
    session.send(m.ProtocolVersion.of(3, 8), 0)
    with pytest.raises(LocalProtocolError, match="cannot be sent in state 'version'"):
        session.send(m.SecurityTypes(security_types=[1]), 0)
    session.feed(CLIENT, banner("003.008"), 0)
    with pytest.raises(LocalProtocolError, match="it would be read as SecurityTypes"):
        session.send(m.SecurityResult(status=0x01010101), 0)
    with pytest.raises(LocalProtocolError, match="bytes after its end"):
        session.send(m.SecurityTypes(number_of_security_types=1, security_types=[1, 2]), 0)
    with pytest.raises(LocalProtocolError, match="is not whole"):
        session.send(m.SecurityTypes(number_of_security_types=3, security_types=[1]), 0)
    assert session.send(m.SecurityTypes(security_types=[1]), 0) == b"\1\1"


def test_a_client_may_not_choose_what_was_not_offered() -> None:
    session = RfbSession(role=CLIENT)
    session.feed(SERVER, banner("003.008"), 0)
    session.send(m.ProtocolVersion.of(3, 8), 0)
    session.feed(SERVER, b"\1\1", 0)
    with pytest.raises(LocalProtocolError, match="was not offered"):
        session.send(m.SecurityType(security_type=2), 0)
    assert session.send(m.SecurityType(security_type=1), 0) == b"\1"


def test_who_only_listens_sends_nothing() -> None:
    with pytest.raises(LocalProtocolError, match="no role"):
        RfbSession().send(m.Bell(), 0)


def test_what_the_peer_said_early_is_heard_when_it_can_be_read() -> None:
    session = RfbSession(role=SERVER)
    assert len(session.feed(CLIENT, banner("003.008") + b"\1", 0)) == 1
    session.send(m.ProtocolVersion.of(3, 8), 0)
    session.send(m.SecurityTypes(security_types=[1]), 0)
    assert [words(record) for record in session.completed] == ["server SecurityTypes", "client SecurityType"]


def test_after_the_end_nothing_is_read_and_nothing_lost() -> None:
    session = RfbSession()
    play(session, [(SERVER, banner("003.008"))])
    assert session.feed(SERVER, b"\1\1", 0) == []
    assert [words(r) for r in session.end(SERVER, 0)] == [
        "server NotDecoded (not decoded: follows the end of the stream)"
    ]
    assert session.end(SERVER, 0) == []
