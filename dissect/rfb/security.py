# SPDX-License-Identifier: GPL-2.0-or-later
"""The messages of the security types beyond None, VNC authentication and Tight. Big-endian.

Layouts: rfbproto.rst, "Security Types", the section named in each docstring. `UNREAD` says of the other types
why nothing of them is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissect.rfb import constants
from dissect.rfb.messages import TEXT_LIMIT, RfbPacket
from dissect.stream.fields import (
    ByteField,
    FieldLenField,
    FieldListField,
    IntEnumField,
    IntField,
    LEIntField,
    ShortField,
    StrFixedLenField,
    StrLenField,
)
from dissect.stream.layout import FixedTextField, RestField, SecretField, SecretLenField, TextField

# --- VeNCrypt ------------------------------------------------------------------------------------------

VENCRYPT_NAMES = {**constants.SECURITY_TYPES, **constants.VENCRYPT_SUBTYPES}

PLAIN, IDENT = 256, 265


class VencryptVersion(RfbPacket):
    """Both sides, the server first: the version it speaks. rfbproto.rst "VeNCrypt"."""

    name = "VeNCryptVersion"
    fields_desc = [ByteField("major", 0), ByteField("minor", 2)]


class VencryptSubtypes(RfbPacket):
    """Server, 0.2: what it offers. rfbproto.rst "VeNCrypt"."""

    name = "VeNCryptSubtypes"
    fields_desc = [
        FieldLenField("number_of_subtypes", None, count_of="subtypes", fmt="B"),
        FieldListField(
            "subtypes",
            [],
            IntEnumField("", 0, VENCRYPT_NAMES),
            count_from=lambda p: p.number_of_subtypes,
            max_count=255,
        ),
    ]


class VencryptAck(RfbPacket):
    """Server: its answer to the version (0 is yes), or to the choice of a TLS subtype (1 is yes).

    rfbproto.rst "VeNCrypt".
    """

    name = "VeNCryptAck"
    fields_desc = [ByteField("ack", 0)]


class VencryptSubtype(RfbPacket):
    """Client: its choice. rfbproto.rst "VeNCrypt"; QEMU has 263 and 264 the other way round."""

    name = "VeNCryptSubtype"
    fields_desc = [IntEnumField("subtype", PLAIN, VENCRYPT_NAMES)]


class PlainCredentials(RfbPacket):
    """Client: who it is, in the clear. rfbproto.rst "Plain subtype", "Tight Unix Login Authentication"."""

    name = "PlainCredentials"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("username_length", None, length_of="username", fmt="I"),
        FieldLenField("password_length", None, length_of="password", fmt="I"),
        TextField("username", b"", length_from=lambda p: p.username_length),
        SecretLenField("password", b"", length_from=lambda p: p.password_length),
    ]


class IdentUsername(RfbPacket):
    """Client: its name, which nobody verifies. rfbproto.rst "Ident subtype"."""

    name = "IdentUsername"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("username_length", None, length_of="username", fmt="I"),
        TextField("username", b"", length_from=lambda p: p.username_length),
    ]


# --- SASL ----------------------------------------------------------------------------------------------


class SaslMechanisms(RfbPacket):
    """Server. rfbproto.rst "SASL server initialization message"."""

    name = "SASLMechanisms"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("mechlist_length", None, length_of="mechlist_string", fmt="I"),
        TextField("mechlist_string", b"", length_from=lambda p: p.mechlist_length),
    ]


class SaslClientStart(RfbPacket):
    """rfbproto.rst "SASL client start message". What there is of data ends with a NUL."""

    name = "SASLClientStart"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("mechname_length", None, length_of="mechname_string", fmt="I"),
        TextField("mechname_string", b"", length_from=lambda p: p.mechname_length),
        FieldLenField("clientout_length", None, length_of="clientout_data", fmt="I"),
        SecretLenField("clientout_data", b"", length_from=lambda p: p.clientout_length),
    ]


class SaslServerStep(RfbPacket):
    """rfbproto.rst "SASL server start message" and "SASL server step message", which are alike."""

    name = "SASLServerStep"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("serverout_length", None, length_of="serverout_data", fmt="I"),
        StrLenField("serverout_data", b"", length_from=lambda p: p.serverout_length),
        ByteField("complete_flag", 1),
    ]


class SaslClientStep(RfbPacket):
    """rfbproto.rst "SASL client step message"."""

    name = "SASLClientStep"
    limit = TEXT_LIMIT
    fields_desc = [
        FieldLenField("clientout_length", None, length_of="clientout_data", fmt="I"),
        SecretLenField("clientout_data", b"", length_from=lambda p: p.clientout_length),
    ]


SASL_PLAIN_AFTERWARDS = ("ANONYMOUS", "PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL", "SCRAM-")
"""How the names of mechanisms begin that cannot negotiate encryption: after them all is in the clear."""


# --- RSA-AES -------------------------------------------------------------------------------------------

RA2: Mapping[int, bool] = {5: True, 6: False, 13: True, 129: True, 130: False, 133: True}
"""RSA-AES security types, and whether all that follows is encrypted (else only the handshake is)."""


def _key_bytes(packet: Any) -> int:
    return (int(packet.key_length) + 7) // 8


class RsaPublicKey(RfbPacket):
    """Both sides, the server first; `key_length` in bits. rfbproto.rst "RSA-AES Security Type"."""

    name = "RSAPublicKey"
    limit = 8192
    fields_desc = [
        IntField("key_length", 0),
        StrLenField("modulus", b"", length_from=_key_bytes),
        StrLenField("public_exponent", b"", length_from=_key_bytes),
    ]


class RsaEncryptedRandom(RfbPacket):
    """Both sides: 16 random bytes under the other's key. rfbproto.rst "RSA-AES Security Type"."""

    name = "RSAEncryptedRandom"
    fields_desc = [
        FieldLenField("length", None, length_of="encrypted_random", fmt="H"),
        StrLenField("encrypted_random", b"", length_from=lambda p: p.length),
    ]


class AesEaxMessage(RfbPacket):
    """Both sides: encrypted bytes and their MAC. rfbproto.rst "RSA-AES Security Type"."""

    name = "AESEAXMessage"
    fields_desc = [
        FieldLenField("message_length", None, length_of="encrypted_message", fmt="H"),
        StrLenField("encrypted_message", b"", length_from=lambda p: p.message_length),
        StrFixedLenField("mac", b"\0" * 16, length=16),
    ]


# --- others --------------------------------------------------------------------------------------------


class XvpCredentials(RfbPacket):
    """Client: who wants to see which machine; VNC authentication follows. rfbproto.rst "xvp Authentication".

    The document has the server send it; noVNC, and sense, have it from the client.
    """

    name = "xvpCredentials"
    fields_desc = [
        FieldLenField("username_length", None, length_of="username", fmt="B"),
        FieldLenField("target_length", None, length_of="target", fmt="B"),
        TextField("username", b"", length_from=lambda p: p.username_length),
        TextField("target", b"", length_from=lambda p: p.target_length),
    ]


class DiffieHellmanParameters(RfbPacket):
    """Server. rfbproto.rst "Diffie-Hellman Authentication" (Apple Remote Desktop)."""

    name = "DiffieHellmanParameters"
    limit = 8192
    fields_desc = [
        ShortField("generator", 2),
        ShortField("key_size", 0),
        StrLenField("prime_modulus", b"", length_from=lambda p: p.key_size),
        StrLenField("public_value", b"", length_from=lambda p: p.key_size),
    ]


class DiffieHellmanCredentials(RfbPacket):
    """Client: name and password under AES, and its key, as long as the server's.

    rfbproto.rst "Diffie-Hellman Authentication".
    """

    name = "DiffieHellmanCredentials"
    fields_desc = [
        SecretField("encrypted_credentials", b"\0" * 128, length=128),
        RestField("public_value", b""),
    ]


class MsLogon2Parameters(RfbPacket):
    """Server. rfbproto.rst "MSLogonII Authentication"."""

    name = "MSLogonIIParameters"
    fields_desc = [
        StrFixedLenField("generator", b"\0" * 8, length=8),
        StrFixedLenField("modulus", b"\0" * 8, length=8),
        StrFixedLenField("public_value", b"\0" * 8, length=8),
    ]


class MsLogon2Credentials(RfbPacket):
    """Client; a key of 64 bits hides nothing. rfbproto.rst "MSLogonII Authentication"."""

    name = "MSLogonIICredentials"
    fields_desc = [
        StrFixedLenField("public_value", b"\0" * 8, length=8),
        SecretField("encrypted_username", b"\0" * 256, length=256),
        SecretField("encrypted_password", b"\0" * 64, length=64),
    ]


class MsLogon1Challenges(RfbPacket):
    """Server. ClientConnection::AuthMsLogonI of UltraVNC's viewer."""

    name = "MSLogonIChallenges"
    fields_desc = [
        StrFixedLenField("challenge_ms", b"\0" * 64, length=64),
        StrFixedLenField("challenge", b"\0" * 16, length=16),
    ]


class MsLogon1Credentials(RfbPacket):
    """Client: its name in the clear, and two responses. AuthMsLogonI of UltraVNC's viewer."""

    name = "MSLogonICredentials"
    fields_desc = [
        FixedTextField("username", b"", 256),
        FixedTextField("domain", b"", 256),
        SecretField("response_ms", b"\0" * 64, length=64),
        SecretField("response", b"\0" * 16, length=16),
    ]


class ScPrompt(RfbPacket):
    """Server: what to ask the person at the viewer. AuthSCPrompt of UltraVNC's viewer; little-endian."""

    name = "SCPrompt"
    limit = 1024
    fields_desc = [
        FieldLenField("text_length", None, length_of="text", fmt="<I"),
        TextField("text", b"", length_from=lambda p: p.text_length),
    ]


class ScPromptAnswer(RfbPacket):
    """Client: whether that person agreed. AuthSCPrompt of UltraVNC's viewer; little-endian."""

    name = "SCPromptAnswer"
    fields_desc = [LEIntField("accepted", 0)]


class SessionSelection(RfbPacket):
    """Client: the session it wants. AuthSessionSelect of UltraVNC's viewer; little-endian."""

    name = "SessionSelection"
    fields_desc = [LEIntField("session", 0)]


class AppleRsaRequest(RfbPacket):
    """Client: it asks for the server's key. As asyncvnc sends it; nothing is published."""

    name = "AppleRSARequest"
    limit = 8192
    fields_desc = [
        FieldLenField("packet_length", None, length_of="request", fmt="I"),
        StrLenField("request", b"", length_from=lambda p: p.packet_length),
    ]


class AppleRsaKey(RfbPacket):
    """Server: its RSA key, in DER. As asyncvnc reads it; nothing is published."""

    name = "AppleRSAKey"
    limit = 8192
    fields_desc = [
        IntField("packet_length", 0),
        ShortField("version", 1),
        FieldLenField("key_length", None, length_of="key", fmt="I"),
        StrLenField("key", b"", length_from=lambda p: p.key_length),
        ByteField("unknown", 0),
    ]


class AppleRsaCredentials(RfbPacket):
    """Client: name and password under AES, its key under RSA. As asyncvnc sends it; nothing is published."""

    name = "AppleRSACredentials"
    limit = 8192
    fields_desc = [
        FieldLenField("packet_length", None, length_of="encrypted_credentials", fmt="I"),
        SecretLenField("encrypted_credentials", b"", length_from=lambda p: p.packet_length),
    ]


class AppleRsaAnswer(RfbPacket):
    """Server, before its SecurityResult. As asyncvnc reads it, which does not know what it means."""

    name = "AppleRSAAnswer"
    fields_desc = [IntField("unknown", 0)]


UNREAD: Mapping[int, str] = {
    21: "registered, never published",
    23: "registered, never published",
    24: "registered, never published",
    114: "the SecureVNC plugin asks and answers until it is content, and encrypts what follows",
    115: "the SecureVNC plugin asks and answers until it is content, and encrypts what follows",
    116: "UltraVNC's longer ClientInit is not documented",
    117: "UltraVNC's longer ClientInit is not documented",
    118: "MS-Logon III has no published layout",
    **dict.fromkeys((31, 32, 34, 35, 36), "Apple has not published it"),
    **dict.fromkeys((3, 4, *range(7, 13), 14, 15, 128, 131, 132), "RealVNC has not published it"),
    **dict.fromkeys(range(134, 256), "RealVNC has not published it"),
}
"""Registered security types of which nothing is read, and why."""
