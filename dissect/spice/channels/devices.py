# SPDX-License-Identifier: GPL-2.0-or-later
"""The channels that carry another protocol: smartcard, usbredir, port and webdav.

Layouts: `spice.proto`, SmartcardChannel, SpicevmcChannel (usbredir, port and webdav) and PortChannel.
"""

from __future__ import annotations

from typing import Any

from dissect.spice import constants
from dissect.spice.channels.base import SpiceMessage
from dissect.spice.fields import PointedField, PointerField
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    LEIntEnumField,
    LEIntField,
)
from dissect.stream.layout import RestField, SecretLenField, TextField


def _smartcard() -> list[Any]:
    return [
        LEIntEnumField("type", 1, dict(constants.SMARTCARD_MESSAGES)),
        LEIntField("reader_id", 0),
        FieldLenField("length", None, length_of="card_data", fmt="<I"),
        SecretLenField("card_data", b"", length_from=lambda p: p.length),
    ]


class SpiceMsgSmartcardData(SpiceMessage):
    """Server: a message of the smartcard protocol: see `dissect.spice.smartcard`."""

    name = "SPICE_MSG_SMARTCARD_DATA"
    fields_desc = _smartcard()


class SpiceMsgcSmartcardData(SpiceMessage):
    """Client: a message of the smartcard protocol: see `dissect.spice.smartcard`."""

    name = "SPICE_MSGC_SMARTCARD_DATA"
    fields_desc = _smartcard()


class SpiceMsgSpicevmcData(SpiceMessage):
    """Server: a piece of the stream that the channel carries."""

    name = "SPICE_MSG_SPICEVMC_DATA"
    fields_desc = [RestField("carried", b"")]


class SpiceMsgcSpicevmcData(SpiceMessage):
    """Client: a piece of the stream that the channel carries."""

    name = "SPICE_MSGC_SPICEVMC_DATA"
    fields_desc = [RestField("carried", b"")]


def _compressed() -> list[Any]:
    return [
        ByteEnumField("type", 1, dict(constants.DATA_COMPRESSIONS)),
        ConditionalField(LEIntField("uncompressed_size", 0), lambda p: p.type),
        RestField("compressed", b""),
    ]


class SpiceMsgSpicevmcCompressedData(SpiceMessage):
    """Server: a piece of the stream, compressed (capability DATA_COMPRESS_LZ4)."""

    name = "SPICE_MSG_SPICEVMC_COMPRESSED_DATA"
    fields_desc = _compressed()


class SpiceMsgcSpicevmcCompressedData(SpiceMessage):
    """Client: a piece of the stream, compressed (capability DATA_COMPRESS_LZ4)."""

    name = "SPICE_MSGC_SPICEVMC_COMPRESSED_DATA"
    fields_desc = _compressed()


class SpiceMsgPortInit(SpiceMessage):
    """Server, first on the channel: the port's name, and whether the guest has it open."""

    name = "SPICE_MSG_PORT_INIT"
    fields_desc = [
        LEIntField("name_size", 0),
        PointerField(
            "port_name", TextField("port_name", b"", length_from=lambda p: p.name_size), required=True
        ),
        ByteField("opened", 0),
        PointedField("pointed_to", b""),
    ]


class SpiceMsgPortEvent(SpiceMessage):
    """Server: the guest opened or closed the port, or sent a break."""

    name = "SPICE_MSG_PORT_EVENT"
    fields_desc = [ByteEnumField("event", 0, dict(constants.PORT_EVENTS))]


class SpiceMsgcPortEvent(SpiceMessage):
    """Client: it opened or closed its end, or sends a break."""

    name = "SPICE_MSGC_PORT_EVENT"
    fields_desc = [ByteEnumField("event", 0, dict(constants.PORT_EVENTS))]
