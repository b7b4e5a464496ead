# SPDX-License-Identifier: GPL-2.0-or-later
"""The link stage of SPICE: from the client's magic to the server's result. Little-endian, packed.

Layouts: `spice/protocol.h` of spice-protocol, the struct of the class's name. `SpiceLinkHeader` and
`SpiceLinkMess` together are what the source of the server calls RedLinkMess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissect.spice import constants
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    FieldLenField,
    LEIntEnumField,
    LEIntField,
    StrFixedLenField,
    StrLenField,
)
from dissect.stream.layout import (
    BitNamesField,
    LiteralField,
    ProtocolPacket,
    RestField,
    SecretField,
    SecretLenField,
    TextField,
)

HEADER_SIZE = 16
MESS_SIZE = 18
REPLY_SIZE = 178
SIZE_LIMIT = 4096
"""Bytes after the header. spice-server refuses more (since February 2017), so nothing lawful is longer."""
CAPABILITY_WORDS_LIMIT = 1024
"""Words of capabilities. spice-server refuses more."""


class SpiceLinkPacket(ProtocolPacket):
    """Base of the link stage's classes."""

    limit = SIZE_LIMIT


class SpiceLinkHeader(SpiceLinkPacket):
    """Both sides, 16 bytes; `size` counts what follows (left out when building: computed)."""

    name = "SpiceLinkHeader"
    fields_desc = [
        LiteralField("magic", constants.MAGIC),
        LEIntField("major_version", constants.VERSION_MAJOR),
        LEIntField("minor_version", constants.VERSION_MINOR),
        LEIntField("size", None),
    ]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        if self.size is None:
            pkt = pkt[:12] + len(pay).to_bytes(4, "little")
        return pkt + pay


def _common_names(values: Mapping[str, Any]) -> Mapping[int, str]:
    return constants.COMMON_CAPABILITIES


def _channel_names(values: Mapping[str, Any]) -> Mapping[int, str]:
    return constants.CHANNEL_CAPABILITIES.get(values.get("channel_type", 0), {})


def _capabilities(fixed: int) -> list[Any]:
    """Both capability lists, `caps_offset` bytes after the struct's first byte; `fixed` is the struct's size.

    Where there are no capabilities the offset says nothing (spice-server's error reply has 0 there).
    """

    def before(packet: Any) -> int:
        some = packet.num_common_caps or packet.num_channel_caps
        return int(packet.caps_offset) - fixed if some else 0

    return [
        StrLenField("before_caps", b"", length_from=before),
        BitNamesField(
            "common_caps",
            LEIntField("", 0),
            count_from=lambda p: p.num_common_caps,
            names_from=_common_names,
            max_count=CAPABILITY_WORDS_LIMIT,
        ),
        BitNamesField(
            "channel_caps",
            LEIntField("", 0),
            count_from=lambda p: p.num_channel_caps,
            names_from=_channel_names,
            max_count=CAPABILITY_WORDS_LIMIT,
        ),
        RestField("after_caps", b""),
    ]


class _WithCapabilities(SpiceLinkPacket):
    """Fills in the counts of the capability words when building, unless they are given."""

    _counts_at: int

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        at = self._counts_at
        counts = [
            len(words) if given is None else given
            for given, words in (
                (self.num_common_caps, self.common_caps),
                (self.num_channel_caps, self.channel_caps),
            )
        ]
        return pkt[:at] + b"".join(count.to_bytes(4, "little") for count in counts) + pkt[at + 8 :] + pay


class SpiceLinkMess(_WithCapabilities):
    """Client: which channel of which session, and what it can do."""

    name = "SpiceLinkMess"
    _counts_at = 6
    fields_desc = [
        LEIntField("connection_id", 0),
        ByteEnumField("channel_type", 1, dict(constants.CHANNEL_TYPES)),
        ByteField("channel_id", 0),
        LEIntField("num_common_caps", None),
        LEIntField("num_channel_caps", None),
        LEIntField("caps_offset", MESS_SIZE),
        *_capabilities(MESS_SIZE),
    ]


class SpiceLinkReply(_WithCapabilities):
    """Server: an error, or its public key (DER SubjectPublicKeyInfo, RSA 1024) and what it can do."""

    name = "SpiceLinkReply"
    _counts_at = 166
    fields_desc = [
        LEIntEnumField("error", 0, dict(constants.LINK_ERRORS)),
        StrFixedLenField("pub_key", b"\0" * 162, length=162),
        LEIntField("num_common_caps", None),
        LEIntField("num_channel_caps", None),
        LEIntField("caps_offset", REPLY_SIZE),
        *_capabilities(REPLY_SIZE),
    ]


class SpiceLinkAuthMechanism(SpiceLinkPacket):
    """Client, where both sides announced PROTOCOL_AUTH_SELECTION: how it will authenticate."""

    name = "SpiceLinkAuthMechanism"
    fields_desc = [LEIntEnumField("auth_mechanism", 1, dict(constants.AUTH_MECHANISMS))]


class SpiceLinkEncryptedTicket(SpiceLinkPacket):
    """Client: the password and a NUL, RSA-OAEP for the server's key of this very link."""

    name = "SpiceLinkEncryptedTicket"
    fields_desc = [SecretField("encrypted_data", b"\0" * 128, length=128)]


SASL_LIMIT = 1 << 20
"""Bytes of one SASL message; spice-server refuses more."""


class SpiceSaslPacket(SpiceLinkPacket):
    """Base of the SASL exchange's classes (`reds-stream.cpp` of spice-server; as in QEMU's VNC)."""

    limit = SASL_LIMIT


class SpiceSaslMechanisms(SpiceSaslPacket):
    """Server: the mechanisms that it offers."""

    name = "SpiceSaslMechanisms"
    fields_desc = [
        FieldLenField("mechanisms_length", None, length_of="mechanisms", fmt="<I"),
        TextField("mechanisms", b"", length_from=lambda p: p.mechanisms_length),
    ]


def _sasl_data() -> list[Any]:
    return [
        FieldLenField("data_length", None, length_of="sasl_data", fmt="<I"),
        SecretLenField("sasl_data", b"", length_from=lambda p: p.data_length),
    ]


class SpiceSaslStart(SpiceSaslPacket):
    """Client: the mechanism that it chose, and its first data (length 0: none)."""

    name = "SpiceSaslStart"
    fields_desc = [
        FieldLenField("mechanism_length", None, length_of="mechanism", fmt="<I"),
        TextField("mechanism", b"", length_from=lambda p: p.mechanism_length),
        *_sasl_data(),
    ]


class SpiceSaslStep(SpiceSaslPacket):
    """Client: more data."""

    name = "SpiceSaslStep"
    fields_desc = _sasl_data()


class SpiceSaslReply(SpiceSaslPacket):
    """Server: its data, and whether the exchange is complete."""

    name = "SpiceSaslReply"
    fields_desc = [*_sasl_data(), ByteField("complete", 0)]


class SpiceSaslResult(SpiceSaslPacket):
    """Server, after a complete exchange: 0, or 1 and then why not."""

    name = "SpiceSaslResult"
    fields_desc = [LEIntEnumField("sasl_result", 0, {0: "OK", 1: "refused"})]


class SpiceSaslReason(SpiceSaslPacket):
    """Server: why the client is refused."""

    name = "SpiceSaslReason"
    fields_desc = [
        FieldLenField("reason_length", None, length_of="reason", fmt="<I"),
        TextField("reason", b"", length_from=lambda p: p.reason_length),
    ]


class SpiceLinkResult(SpiceLinkPacket):
    """Server: whether the client is let in."""

    name = "SpiceLinkResult"
    fields_desc = [LEIntEnumField("result", 0, dict(constants.LINK_ERRORS))]
