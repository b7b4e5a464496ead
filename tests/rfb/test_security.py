# SPDX-License-Identifier: GPL-2.0-or-later
"""Every registered security type: its exchange is read, or its number has a reason why not."""

from __future__ import annotations

import pytest

from dissect.rfb import constants, security
from dissect.rfb.messages import TIGHT_AUTH_TYPES
from dissect.rfb.session import RfbSession
from tests.rfb.examples import (
    APPLE_CREDENTIALS,
    APPLE_KEY,
    APPLE_REQUEST,
    MS_LOGON_1,
    SERVER_INIT,
    u16,
    u32,
)
from tests.stream.talk import CLIENT, SERVER, Talk

OK = u32(0)
SEALED = u16(1) + b"x" + bytes(16)
KEY = u32(1024) + bytes(256)
RANDOM = u16(128) + bytes(128)

Turn = tuple[str, bytes, list[str]]


def chosen(number: int, version: bytes = b"RFB 003.008\n") -> Talk:
    it = Talk(RfbSession())
    it.server(version)
    it.client(version)
    it.server(bytes([1, number]))
    it.client(bytes([number]))
    return it


def play(it: Talk, turns: list[Turn]) -> None:
    for side, data, told in turns:
        names = [f"{side} {name}" for name in told]
        # In one piece or byte by byte: the same.
        assert [
            line for byte in data for line in it.say(SERVER if side == "server" else CLIENT, bytes([byte]))
        ] == names


END: list[Turn] = [
    ("server", OK, ["SecurityResult"]),
    ("client", b"\1", ["ClientInit"]),
    ("server", SERVER_INIT + b"\2", ["ServerInit", "Bell"]),
]
VNC: list[Turn] = [
    ("server", bytes(16), ["VncAuthenticationChallenge"]),
    ("client", bytes(16), ["VncAuthenticationResponse"]),
]
RA2: list[Turn] = [
    ("server", KEY, ["RSAPublicKey"]),
    ("client", KEY, ["RSAPublicKey"]),
    ("server", RANDOM, ["RSAEncryptedRandom"]),
    ("client", RANDOM, ["RSAEncryptedRandom"]),
    ("server", SEALED, ["AESEAXMessage"]),
    ("client", SEALED, ["AESEAXMessage"]),
    ("server", SEALED, ["AESEAXMessage"]),
    ("client", SEALED, ["AESEAXMessage"]),
]
TAIL: list[Turn] = [("server", SEALED * 2, ["AESEAXMessage"] * 2), ("client", SEALED, ["AESEAXMessage"])]


def vencrypt(subtype: int) -> list[Turn]:
    return [
        ("server", b"\0\2", ["VeNCryptVersion"]),
        ("client", b"\0\2", ["VeNCryptVersion"]),
        ("server", b"\0\2" + u32(subtype) + u32(257), ["VeNCryptAck", "VeNCryptSubtypes"]),
        ("client", u32(subtype), ["VeNCryptSubtype"]),
    ]


def sasl(mechanism: bytes) -> list[Turn]:
    return [
        ("server", u32(len(mechanism)) + mechanism, ["SASLMechanisms"]),
        ("client", u32(len(mechanism)) + mechanism + u32(2) + b"a\0", ["SASLClientStart"]),
        ("server", u32(3) + b"xy\0" + b"\0", ["SASLServerStep"]),
        ("client", u32(3) + b"zz\0", ["SASLClientStep"]),
        ("server", u32(0) + b"\1", ["SASLServerStep"]),
    ]


READ: dict[int, list[Turn]] = {
    1: END,
    2: VNC + END,
    5: RA2 + TAIL,
    6: RA2 + END,
    13: RA2 + TAIL,
    16: [("server", u32(0) + u32(0), ["TightTunnels", "TightAuthTypes"])],
    18: [],
    19: [
        *vencrypt(256),
        ("client", u32(3) + u32(4) + b"bobpass", ["PlainCredentials"]),
        *END,
    ],
    20: sasl(b"SCRAM-SHA-256") + END,
    22: [("client", b"\3\2bobpc", ["xvpCredentials"]), *VNC, *END],
    30: [
        ("server", u16(2) + u16(16) + bytes(32), ["DiffieHellmanParameters"]),
        ("client", bytes(128 + 16), ["DiffieHellmanCredentials"]),
        *END,
    ],
    17: END,
    33: [
        ("client", APPLE_REQUEST, ["AppleRSARequest"]),
        ("server", APPLE_KEY, ["AppleRSAKey"]),
        ("client", APPLE_CREDENTIALS, ["AppleRSACredentials"]),
        ("server", u32(0), ["AppleRSAAnswer"]),
        *END,
    ],
    104: [
        ("server", b"\3\0\0\0ok?", ["SCPrompt"]),
        ("client", b"\1\0\0\0", ["SCPromptAnswer"]),
        *END,
    ],
    105: [("client", b"\2\0\0\0", ["SessionSelection"]), *END],
    112: [
        ("server", bytes(80), ["MSLogonIChallenges"]),
        ("client", MS_LOGON_1, ["MSLogonICredentials"]),
        *END,
    ],
    113: [
        ("server", bytes(24), ["MSLogonIIParameters"]),
        ("client", bytes(8 + 256 + 64), ["MSLogonIICredentials"]),
        *END,
    ],
    129: RA2 + TAIL,
    130: RA2 + END,
    133: RA2 + TAIL,
}


@pytest.mark.parametrize("number", sorted(set(constants.SECURITY_TYPES) - {0}))
def test_every_registered_security_type(number: int) -> None:
    it = chosen(number)
    if number in READ:
        assert number not in security.UNREAD
        play(it, READ[number])
        assert it.over() == []
    else:
        told = it.server(b"abc") + it.client(b"def") + it.over()
        name = constants.SECURITY_TYPES[number]
        why = (
            f"security type {number} ({name}) is not decoded: {security.UNREAD[number]}; what follows is kept"
        )
        assert sorted(told) == [
            f"{side} NotDecoded (not decoded: {why} as bytes)" for side in ("client", "server")
        ]


@pytest.mark.parametrize("subtype", sorted(constants.VENCRYPT_SUBTYPES))
def test_every_vencrypt_subtype(subtype: int) -> None:
    it = chosen(19)
    play(it, vencrypt(subtype))
    if subtype == 256:
        play(it, [("client", u32(0) + u32(0), ["PlainCredentials"]), *END])
    elif subtype == 265:
        play(it, [("client", u32(2) + b"me", ["IdentUsername"]), *END])
    else:
        play(it, [("server", b"\1", ["VeNCryptAck"])])
        it.client(b"\x16\3\1")
        name = constants.VENCRYPT_SUBTYPES[subtype]
        why = f"TLS follows, encrypted (VeNCrypt subtype {subtype}, {name}); what follows is kept as bytes"
        assert it.over() == [f"client NotDecoded (not decoded: {why})"]


@pytest.mark.parametrize("subtype", [1, 2, 5])
def test_vencrypt_around_a_common_security_type(subtype: int) -> None:
    it = chosen(19)
    play(it, vencrypt(subtype) + READ[subtype])
    assert it.over() == []


def test_vencrypt_refusals_and_what_is_not_documented() -> None:
    it = chosen(19)
    play(it, [*vencrypt(257), ("server", b"\0", ["VeNCryptAck"])])
    assert it.session.state == "closed"
    it = chosen(19)
    it.server(b"\0\2")
    it.client(b"\0\2")
    it.server(b"\1")
    assert it.session.state == "closed"
    it = chosen(19)
    it.server(b"\0\1")
    it.client(b"\0\1")
    it.server(b"\1\x13")
    assert "VeNCrypt 0.1 is not documented" in it.over()[0]
    it = chosen(19)
    play(it, [*vencrypt(4711)])
    it.client(b"x")
    assert "VeNCrypt subtype 4711 (unregistered) is not decoded" in it.over()[0]


@pytest.mark.parametrize("version", [b"RFB 003.007\n", b"RFB 003.008\n"])
def test_sasl_that_may_encrypt_is_not_guessed_at(version: bytes) -> None:
    it = chosen(20, version)
    play(it, [*sasl(b"DIGEST-MD5"), ("server", OK, ["SecurityResult"])])
    it.client(b"\1")
    assert "the SASL mechanism DIGEST-MD5 may have agreed on encryption" in it.over()[0]
    assert it.last("SASLClientStart").fields()["clientout_data"] == "hidden (2 bytes)"


@pytest.mark.parametrize("code", sorted(TIGHT_AUTH_TYPES))
def test_every_tight_authentication(code: int) -> None:
    it = chosen(16)
    it.server(u32(0), u32(1), u32(code) + b"STDVNOAUTH__")
    it.client(u32(code))
    end: list[Turn] = [*END[:2], ("server", SERVER_INIT + bytes(8), ["ServerInit"])]
    match code:
        case 1 | 2 | 20:
            play(it, READ[code][:-3] + end)
        case 19:
            play(it, [*vencrypt(256), ("client", u32(1) + u32(1) + b"ab", ["PlainCredentials"]), *end])
        case 129:
            play(it, [("client", u32(3) + u32(4) + b"bobpass", ["PlainCredentials"]), *end])
            assert it.last("PlainCredentials").fields()["password"] == "hidden (4 bytes)"
        case _:
            it.client(b"x")
            assert f"Tight authentication {code}" in it.over()[0]
            return
    assert it.over() == []


def test_a_result_with_a_reason_whatever_the_version() -> None:
    it = chosen(2, b"RFB 003.007\n")
    play(it, [*VNC, ("server", u32(3) + u32(2) + b"no", ["SecurityResult", "FailureReason"])])


@pytest.mark.parametrize(
    ("number", "said", "why"),
    [
        (19, b"\0\2\0", ""),
        (5, u32(1 << 20), "modulus: 131072 bytes is outside the limit"),
        (20, u32(-1), "mechlist_string: 4294967295 bytes is outside the limit"),
        (30, u16(2) + u16(65535), "prime_modulus: 65535 bytes is outside the limit"),
    ],
)
def test_lengths_are_checked(number: int, said: bytes, why: str) -> None:
    it = chosen(number)
    told = it.server(said)
    assert why in (told[-1] if told else "")


def test_a_client_that_has_apples_key_sends_its_credentials_at_once() -> None:
    it = chosen(33)
    play(it, [("client", APPLE_CREDENTIALS, ["AppleRSACredentials"]), *READ[33][3:]])
    assert it.over() == []
    assert "hidden" in it.last("AppleRSACredentials").fields()["encrypted_credentials"]


def test_ms_logon_by_the_number_that_old_servers_decide_on() -> None:
    it = Talk(RfbSession())
    it.server(b"RFB 003.006\n")
    it.client(b"RFB 003.006\n")
    assert it.server(u32(0xFFFFFFFA)) == ["server SecurityType"]
    assert it.last("SecurityType").fields()["security_type_name"] == "MS-Logon"
    play(it, READ[113])
    assert it.over() == []


def test_ultravnc_goes_on_with_another_list_of_types() -> None:
    """Its type 17 exchanges nothing; the result says to continue, and the server lists its types again."""
    it = chosen(17)
    play(
        it,
        [
            ("server", u32(-1) + b"\2\x71\2", ["SecurityResult", "SecurityTypes"]),
            ("client", b"\2", ["SecurityType"]),
            *VNC,
            ("server", u32(-1) + b"\1\x68", ["SecurityResult", "SecurityTypes"]),
            ("client", b"\x68", ["SecurityType"]),
            *READ[104],
        ],
    )
    assert it.over() == []
