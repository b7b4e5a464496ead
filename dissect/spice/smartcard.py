# SPDX-License-Identifier: GPL-2.0-or-later
"""What client and guest's card reader say to each other inside SMARTCARD_DATA: VSCMsgHeader and its kinds.

Layouts: libcacard's `vscard_common.h`, the struct of the class's name; each class has the 12 bytes of
VSCMsgHeader first, which SPICE sends lowest byte first (`spice.proto`). What follows comes as its sender
wrote it: QEMU's reader puts the highest byte of an error's code first, spice-server's own errors begin with
the lowest. Codes and versions are small, so the order shows; those are two classes, and `described_by`
chooses.

APDU: ISO 7816-4. The server's are commands to the card, the client's are its answers. What they carry may be
a PIN, or what a key has opened: it is hidden, as secrets are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dissect.spice import constants
from dissect.spice.fields import SpicePacket
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldListField,
    IntEnumField,
    IntField,
    LEIntEnumField,
    LEIntField,
    ShortField,
    StrLenField,
)
from dissect.stream.layout import FixedTextField, SecretLenField, TextField
from dissect.stream.side import Side

HEADER_SIZE = 12
INIT, ERROR, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU, FLUSH, FLUSH_COMPLETE = range(1, 10)
ERRORS: Mapping[int, str] = dict(
    enumerate(["SUCCESS", "GENERAL_ERROR", "CANNOT_ADD_MORE_READERS", "CARD_ALREAY_INSERTED"])
)
"""VSCErrorCode; the last is spelled so."""
INSTRUCTIONS: Mapping[int, str] = {
    0x04: "DEACTIVATE FILE",
    0x0E: "ERASE BINARY",
    0x20: "VERIFY",
    0x21: "VERIFY",
    0x22: "MANAGE SECURITY ENVIRONMENT",
    0x24: "CHANGE REFERENCE DATA",
    0x26: "DISABLE VERIFICATION REQUIREMENT",
    0x28: "ENABLE VERIFICATION REQUIREMENT",
    0x2A: "PERFORM SECURITY OPERATION",
    0x2C: "RESET RETRY COUNTER",
    0x44: "ACTIVATE FILE",
    0x46: "GENERATE ASYMMETRIC KEY PAIR",
    0x47: "GENERATE ASYMMETRIC KEY PAIR",
    0x70: "MANAGE CHANNEL",
    0x82: "EXTERNAL AUTHENTICATE",
    0x84: "GET CHALLENGE",
    0x86: "GENERAL AUTHENTICATE",
    0x87: "GENERAL AUTHENTICATE",
    0x88: "INTERNAL AUTHENTICATE",
    0xA4: "SELECT",
    0xB0: "READ BINARY",
    0xB1: "READ BINARY",
    0xB2: "READ RECORD",
    0xB3: "READ RECORD",
    0xC0: "GET RESPONSE",
    0xC2: "ENVELOPE",
    0xCA: "GET DATA",
    0xCB: "GET DATA",
    0xD0: "WRITE BINARY",
    0xD2: "WRITE RECORD",
    0xD6: "UPDATE BINARY",
    0xD7: "UPDATE BINARY",
    0xDA: "PUT DATA",
    0xDB: "PUT DATA",
    0xDC: "UPDATE RECORD",
    0xE0: "CREATE FILE",
    0xE2: "APPEND RECORD",
    0xE4: "DELETE FILE",
}
"""ISO 7816-4, table of commands; a card may have its own besides."""


def _head(type_: int) -> list[Any]:
    return [
        LEIntEnumField("type", type_, dict(constants.SMARTCARD_MESSAGES)),
        LEIntField("reader_id", 0),
        LEIntField("length", 0),
    ]


class VSCMsgInit(SpicePacket):
    """Either end, first: what it can do."""

    name = "VSC_Init"
    fields_desc = [
        *_head(INIT),
        FixedTextField("magic", b"VSCD", 4),
        IntField("version", 2),
        FieldListField(
            "capabilities",
            [],
            IntField("", 0),
            count_from=lambda p: (p.length - 8) // 4,
            max_count=1024,
        ),
    ]


class VSCMsgInitLittle(SpicePacket):
    """The same with the lowest byte first."""

    name = "VSC_Init"
    fields_desc = [
        *_head(INIT),
        FixedTextField("magic", b"VSCD", 4),
        LEIntField("version", 2),
        FieldListField(
            "capabilities",
            [],
            LEIntField("", 0),
            count_from=lambda p: (p.length - 8) // 4,
            max_count=1024,
        ),
    ]


class VSCMsgError(SpicePacket):
    """Answer to the adding or removing of a reader, an inserted or a removed card: whether it was done."""

    name = "VSC_Error"
    fields_desc = [*_head(ERROR), IntEnumField("code", 0, dict(ERRORS))]


class VSCMsgErrorLittle(SpicePacket):
    """The same with the lowest byte first."""

    name = "VSC_Error"
    fields_desc = [*_head(ERROR), LEIntEnumField("code", 0, dict(ERRORS))]


class VSCMsgReaderAdd(SpicePacket):
    """Client: it has a reader, of this name."""

    name = "VSC_ReaderAdd"
    fields_desc = [*_head(READER_ADD), TextField("reader_name", b"", length_from=lambda p: p.length)]


class VSCMsgReaderRemove(SpicePacket):
    """Client: the reader is gone."""

    name = "VSC_ReaderRemove"
    fields_desc = _head(READER_REMOVE)


class VSCMsgATR(SpicePacket):
    """Client: a card was inserted or reset; its answer to reset says which it is."""

    name = "VSC_ATR"
    fields_desc = [*_head(ATR), StrLenField("atr", b"", length_from=lambda p: p.length)]


class VSCMsgCardRemove(SpicePacket):
    """Client: the card is gone."""

    name = "VSC_CardRemove"
    fields_desc = _head(CARD_REMOVE)


class VSCMsgAPDU(SpicePacket):
    """Server: a command to the card; `lc` bytes go with it, where there are any."""

    name = "VSC_APDU"
    fields_desc = [
        *_head(APDU),
        ByteField("cla", 0),
        ByteEnumField("ins", 0, dict(INSTRUCTIONS)),
        ByteField("p1", 0),
        ByteField("p2", 0),
        ConditionalField(ByteField("lc", 0), lambda p: p.length > 5),
        ConditionalField(ShortField("extended_lc", 0), lambda p: p.length > 7 and not p.lc),
        SecretLenField("command_data", b"", length_from=lambda p: _sent(p)),
        StrLenField("le", b"", length_from=lambda p: _wanted(p)),
    ]


def _sent(command: Any) -> int:
    """Bytes that go with a command: with less than 6 bytes none, with 7 it may want a long answer only."""
    if command.length <= 5:
        return 0
    if command.lc or command.length <= 7:
        return int(command.lc)
    return int(command.extended_lc)


def _wanted(command: Any) -> int:
    """Bytes of the number of bytes that are wanted as an answer."""
    if command.length <= 5:
        before = 0
    else:
        before = 1 if command.lc or command.length <= 7 else 3
    return min(3, max(0, int(command.length) - 4 - before - _sent(command)))


class VSCMsgAPDUAnswer(SpicePacket):
    """Client: what the card answers."""

    name = "VSC_APDU"
    fields_desc = [
        *_head(APDU),
        SecretLenField("answer_data", b"", length_from=lambda p: max(0, p.length - 2)),
        ByteField("sw1", 0x90),
        ByteField("sw2", 0),
    ]


class VSCMsgFlush(SpicePacket):
    """Server: say when all commands have been answered."""

    name = "VSC_Flush"
    fields_desc = _head(FLUSH)


class VSCMsgFlushComplete(SpicePacket):
    """Client: all have."""

    name = "VSC_FlushComplete"
    fields_desc = _head(FLUSH_COMPLETE)


_KINDS: Mapping[int, tuple[type[SpicePacket], type[SpicePacket]]] = {
    INIT: (VSCMsgInit, VSCMsgInitLittle),
    ERROR: (VSCMsgError, VSCMsgErrorLittle),
    READER_ADD: (VSCMsgReaderAdd, VSCMsgReaderAdd),
    READER_REMOVE: (VSCMsgReaderRemove, VSCMsgReaderRemove),
    ATR: (VSCMsgATR, VSCMsgATR),
    CARD_REMOVE: (VSCMsgCardRemove, VSCMsgCardRemove),
    APDU: (VSCMsgAPDU, VSCMsgAPDU),
    FLUSH: (VSCMsgFlush, VSCMsgFlush),
    FLUSH_COMPLETE: (VSCMsgFlushComplete, VSCMsgFlushComplete),
}
"""Type -> its class with the highest byte first, and with the lowest."""


def described_by(side: Side, type_: int, data: bytes) -> type[SpicePacket] | None:
    """The class of a message of `side` with `data` behind its header; None where nobody defined its type."""
    kinds = _KINDS.get(type_)
    if kinds is None:
        return None
    if type_ == APDU and side is Side.CLIENT:
        return VSCMsgAPDUAnswer
    number = data[4:8] if type_ == INIT else data[:4]
    return kinds[int.from_bytes(number, "big") > int.from_bytes(number, "little")]
