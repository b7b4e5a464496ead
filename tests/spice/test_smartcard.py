# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes between a card and its reader: each kind of message, either order of bytes, what is hidden."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.spice import smartcard
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from dissect.stream.records import Message
from tests.benchmarks.damage import PCAPS, conversations, play
from tests.spice.examples import data, words
from tests.spice.test_link import after
from tests.stream import talk
from tests.stream.talk import CLIENT, SERVER, Talk

PIN = b"4PIN21\xff\xff"


def said(side: Side, type_: int, body: bytes, reader: int = 0) -> Talk:
    it = after(channel=8)
    it.say(side, data(101, words(type_, reader, len(body)) + body), data(2, b"") if side is CLIENT else b"")
    return it


def shown(it: Talk, side: Side, *, secrets: bool = False) -> dict[str, Any]:
    name = f"SPICE_MSG{'C' if side is CLIENT else ''}_SMARTCARD_DATA"
    found: dict[str, Any] = it.last(name).fields(secrets=secrets)
    return found


@pytest.mark.parametrize(
    ("side", "type_", "body", "expected"),
    [
        (
            CLIENT,
            smartcard.INIT,
            b"VSCD\0\0\0\2\0\0\0\0",
            {"name": "VSC_Init", "magic": "VSCD", "version": 2, "capabilities": [0]},
        ),
        (
            SERVER,
            smartcard.INIT,
            b"VSCD" + words(2, 1, 0),
            {"name": "VSC_Init", "magic": "VSCD", "version": 2, "capabilities": [1, 0]},
        ),
        (
            SERVER,
            smartcard.ERROR,
            b"\0\0\0\2",
            {"name": "VSC_Error", "code": 2, "code_name": "CANNOT_ADD_MORE_READERS"},
        ),
        (SERVER, smartcard.ERROR, words(1), {"name": "VSC_Error", "code": 1, "code_name": "GENERAL_ERROR"}),
        (
            CLIENT,
            smartcard.READER_ADD,
            "Leser ä".encode(),
            {"name": "VSC_ReaderAdd", "reader_name": "Leser ä"},
        ),
        (CLIENT, smartcard.READER_REMOVE, b"", {"name": "VSC_ReaderRemove"}),
        (CLIENT, smartcard.ATR, b"\x3b\x7a\x18", {"name": "VSC_ATR", "atr": "3b7a18"}),
        (CLIENT, smartcard.CARD_REMOVE, b"", {"name": "VSC_CardRemove"}),
        (SERVER, smartcard.FLUSH, b"", {"name": "VSC_Flush"}),
        (CLIENT, smartcard.FLUSH_COMPLETE, b"", {"name": "VSC_FlushComplete"}),
        (
            CLIENT,
            smartcard.APDU,
            b"secret\x63\xc2",
            {"name": "VSC_APDU", "answer_data": "hidden (6 bytes)", "sw1": 0x63, "sw2": 0xC2},
        ),
    ],
)
def test_each_kind(side: Side, type_: int, body: bytes, expected: dict[str, Any]) -> None:
    it = said(side, type_, body, reader=3)
    fields = shown(it, side)
    assert fields["smartcard"] == expected
    assert (fields["reader_id"], fields["length"]) == (3, len(body))
    assert it.over() == []


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"", {}),
        (b"\x10", {"le": "10"}),
        (b"\x08" + PIN, {"lc": 8, "command_data": "hidden (8 bytes)"}),
        (b"\x08" + PIN + b"\0", {"lc": 8, "command_data": "hidden (8 bytes)", "le": "00"}),
        (b"\0\x01\0", {"lc": 0, "le": "0100"}),
        (b"\0\0\x08" + PIN, {"lc": 0, "extended_lc": 8, "command_data": "hidden (8 bytes)"}),
        (
            b"\0\0\x08" + PIN + b"\x01\0",
            {"lc": 0, "extended_lc": 8, "command_data": "hidden (8 bytes)", "le": "0100"},
        ),
    ],
)
def test_each_case_of_a_command(rest: bytes, expected: dict[str, Any]) -> None:
    it = said(SERVER, smartcard.APDU, b"\0\x20\0\x81" + rest)
    found = shown(it, SERVER)["smartcard"]
    head = {"name": "VSC_APDU", "cla": 0, "ins": 0x20, "ins_name": "VERIFY", "p1": 0, "p2": 0x81}
    hidden = {"command_data": "hidden (0 bytes)"}
    assert found == {**head, **({} if "command_data" in expected else hidden), **expected}
    assert it.over() == []


def test_a_pin_is_hidden_unless_it_is_asked_for() -> None:
    it = said(SERVER, smartcard.APDU, b"\0\x20\0\1\x08" + PIN)
    fields = shown(it, SERVER)
    assert fields["card_data"] == "hidden (13 bytes)"
    assert PIN.hex() not in str(fields)
    assert PIN.hex() in str(shown(it, SERVER, secrets=True)["card_data"])


@pytest.mark.parametrize(
    ("side", "type_", "body", "why"),
    [
        (SERVER, 10, b"", "the smartcard's message type 10 is not defined"),
        (SERVER, smartcard.ERROR, b"\0\0", "VSC_Error has 14 bytes where at least 16 are needed"),
        (SERVER, smartcard.APDU, b"\0\x20\0", "VSC_APDU has 15 bytes where at least 16 are needed"),
        (
            SERVER,
            smartcard.APDU,
            b"\0\x20\0\1\x09" + PIN,
            "VSC_APDU has 25 bytes where at least 26 are needed",
        ),
        (SERVER, smartcard.APDU, b"\0\x20\0\1\x01" + PIN, "VSC_APDU has 4 bytes after its end"),
        (CLIENT, smartcard.APDU, b"\x90", "VSC_APDU has 13 bytes where at least 14 are needed"),
        (CLIENT, smartcard.CARD_REMOVE, b"?", "VSC_CardRemove has 1 bytes after its end"),
    ],
)
def test_what_does_not_fit_is_a_violation_and_stays_hidden(
    side: Side, type_: int, body: bytes, why: str
) -> None:
    it = said(side, type_, body)
    assert why in " ".join(talk.words(record) for record in it.records)
    assert PIN[:6].hex() not in str([record.fields() for record in it.records])
    assert it.over() == []


def test_a_real_card() -> None:
    """spice-gtk's own card, made of certificates, at QEMU's reader."""
    found = [
        record.fields()["smartcard"]
        for conversation in conversations(PCAPS / "spicegtk-card--qemu-spice.pcapng.xz")
        for record in play(SpiceSession, conversation)
        if isinstance(record, Message) and "SMARTCARD" in record.name
    ]
    done = {"name": "VSC_Error", "code": 0, "code_name": "SUCCESS"}
    card = {"name": "VSC_ATR", "atr": "3b7a18000073667465206364313434"}
    reader = {"name": "VSC_ReaderAdd", "reader_name": "Spice Software Smartcard"}
    assert found == [reader, done, card, done, card, done]
