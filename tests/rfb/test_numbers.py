# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of RFB against libvncserver's header, and the sizes of messages against its structs."""

from __future__ import annotations

import re

import pytest

from dissect.rfb import constants
from dissect.rfb import messages as m
from dissect.rfb.constants import CLIENT_MESSAGES, ENCODINGS, SECURITY_TYPES, SERVER_MESSAGES
from dissect.stream.layout import ProtocolPacket
from tests.stream import headers

SAME_NAME = {
    "client": (
        "SetPixelFormat SetEncodings FramebufferUpdateRequest KeyEvent PointerEvent ClientCutText "
        "FileTransfer SetScale SetServerInput SetSW TextChat SetDesktopSize"
    ),
    "server": "FramebufferUpdate SetColourMapEntries Bell ServerCutText ResizeFrameBuffer",
}

OTHER_NAMES = {
    "RichCursor": "Cursor",
    "XCursor": "X Cursor",
    "NewFBSize": "DesktopSize",
    "ExtDesktopSize": "ExtendedDesktopSize",
    "ZYWRLE": "Hitachi ZYWRLE",
    "H264": "VA H.264",
    "QemuExtendedKeyEvent": "QEMU Extended Key Event",
    "XOR_Zlib": "XOR zlib",
    "XORMonoColor_Zlib": "XORMonoRect zlib",
    "XORMultiColor_Zlib": "XORMultiColor zlib",
}
RANGES = {
    "CompressLevel": "Compression Level",
    "QualityLevel": "JPEG Quality Level",
    "FineQualityLevel": "JPEG Fine-Grained Quality Level",
    "Subsamp": "JPEG Subsampling Level",
}

SIZES: dict[str, type[ProtocolPacket]] = {
    "PixelFormat": m.PixelFormat,
    "ProtocolVersionMsg": m.ProtocolVersion,
    "ClientInitMsg": m.ClientInit,
    "FramebufferUpdateMsg": m.FramebufferUpdateHeader,
    "SetColourMapEntriesMsg": m.SetColourMapEntries,
    "BellMsg": m.Bell,
    "ServerCutTextMsg": m.ServerCutText,
    "SetEncodingsMsg": m.SetEncodings,
    "FramebufferUpdateRequestMsg": m.FramebufferUpdateRequest,
    "KeyEventMsg": m.KeyEvent,
    "QemuExtendedKeyEventMsg": m.QemuExtendedKeyEvent,
    "PointerEventMsg": m.PointerEvent,
    "ClientCutTextMsg": m.ClientCutText,
    "XvpMsg": m.XvpClientMessage,
    "SetDesktopSizeMsg": m.SetDesktopSize,
    "ExtDesktopScreen": m.Screen,
}


@pytest.fixture(scope="module")
def numbers() -> dict[str, int]:
    return headers.defines(headers.text("/usr/include/rfb/rfbproto.h", "libvncserver-dev"))


def test_message_types(numbers: dict[str, int]) -> None:
    for side, names in SAME_NAME.items():
        ours = CLIENT_MESSAGES if side == "client" else SERVER_MESSAGES
        for name in names.split():
            assert ours[numbers[f"rfb{name}"]] == name
    assert "QEMU" in CLIENT_MESSAGES[numbers["rfbQemuEvent"]]
    assert "xvp" in SERVER_MESSAGES[numbers["rfbXvp"]]


def test_security(numbers: dict[str, int]) -> None:
    for name in ("Tight", "Ultra", "TLS", "VeNCrypt", "SASL"):
        assert SECURITY_TYPES[numbers[f"rfb{name}"]] == name
    assert SECURITY_TYPES[numbers["rfbVncAuth"]] == "VNC Authentication"
    assert SECURITY_TYPES[numbers["rfbARD"]] == "Diffie-Hellman Authentication"
    assert constants.SECURITY_RESULTS[numbers["rfbVncAuthTooMany"]] == "failed, too many attempts"


def test_every_encoding_of_the_header_is_known_by_its_name(numbers: dict[str, int]) -> None:
    found = {
        name.removeprefix("rfbEncoding"): number
        for name, number in numbers.items()
        if name.startswith("rfbEncoding")
    }
    assert len(found) > 60
    for name, number in found.items():
        number -= (number & 0x80000000) << 1
        stem = re.sub(r"(\d*X|Gray|\d+)$", "", name)
        wanted = RANGES.get(stem) or OTHER_NAMES.get(name, name)
        ours = ENCODINGS.get(number, "missing")
        assert ours.replace(" ", "").lower() == wanted.replace(" ", "").lower(), (name, number)


def test_sizes(numbers: dict[str, int]) -> None:
    for name, cls in SIZES.items():
        assert cls.layout().least == numbers[f"sz_rfb{name}"], name
    rectangle = numbers["sz_rfbRectangle"] + 4
    assert m.RectangleHeader.layout().fixed == rectangle


@pytest.mark.parametrize(
    "table", [SECURITY_TYPES, CLIENT_MESSAGES, SERVER_MESSAGES], ids=["security", "client", "server"]
)
def test_one_byte_is_enough(table: dict[int, str]) -> None:
    assert all(0 <= number <= 255 for number in table)


def test_encodings_are_signed() -> None:
    assert all(-(1 << 31) <= number < 1 << 31 for number in ENCODINGS)
