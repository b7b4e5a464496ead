# SPDX-License-Identifier: GPL-2.0-or-later
"""Every number and name of SPICE against the headers of spice-protocol, both ways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from dissect.spice import constants, link
from dissect.spice.channels import base
from dissect.spice.channels.inputs import MOUSE_BUTTONS
from dissect.stream import Side
from tests.stream import headers

NEWER = ["SPICE_MSG_DISPLAY_GL_SCANOUT2_UNIX"]
"""Not yet in the headers of Debian 12."""
SMARTCARD_TYPES = {f"SPICE_MSGC_SMARTCARD_{name}" for name in ("HEADER", "ERROR", "ATR", "READER_ADD")}

FOLDER = "/usr/include/spice-1/spice"
PACKAGE = "libspice-protocol-dev"


@pytest.fixture(scope="module")
def enums() -> dict[str, int]:
    return headers.enums(headers.text(f"{FOLDER}/enums.h", PACKAGE))


@pytest.fixture(scope="module")
def protocol() -> str:
    return headers.text(f"{FOLDER}/protocol.h", PACKAGE)


def beginning(numbers: Mapping[str, int], prefix: str) -> dict[int, str]:
    """number -> rest of the name, of every name with this prefix that is no marker and no mask."""
    rests = {name.removeprefix(prefix): number for name, number in numbers.items() if name.startswith(prefix)}
    return {number: rest for rest, number in rests.items() if not re.match(r"MASK_|(ENUM_)?END", rest)}


@pytest.mark.parametrize(
    ("prefix", "ours"),
    [
        ("SPICE_LINK_ERR_", constants.LINK_ERRORS),
        ("SPICE_NOTIFY_SEVERITY_", constants.NOTIFY_SEVERITIES),
        ("SPICE_NOTIFY_VISIBILITY_", constants.NOTIFY_VISIBILITIES),
        ("SPICE_MOUSE_BUTTON_", MOUSE_BUTTONS),
        ("SPICE_DATA_COMPRESSION_TYPE_", constants.DATA_COMPRESSIONS),
        ("SPICE_CLIP_TYPE_", constants.CLIP_TYPES),
        ("SPICE_VIDEO_CODEC_TYPE_", constants.VIDEO_CODECS),
        ("SPICE_BRUSH_TYPE_", constants.BRUSH_TYPES),
        ("SPICE_IMAGE_TYPE_", constants.IMAGE_TYPES),
        ("SPICE_IMAGE_COMPRESSION_", constants.IMAGE_COMPRESSIONS),
        ("SPICE_BITMAP_FMT_", constants.BITMAP_FORMATS),
        ("SPICE_IMAGE_SCALE_MODE_", constants.IMAGE_SCALE_MODES),
        ("SPICE_SURFACE_FMT_", constants.SURFACE_FORMATS),
        ("SPICE_RES_TYPE_", constants.RESOURCE_TYPES),
        ("SPICE_CURSOR_TYPE_", constants.CURSOR_TYPES),
        ("SPICE_AUDIO_DATA_MODE_", constants.AUDIO_DATA_MODES),
        ("SPICE_AUDIO_FMT_", constants.AUDIO_FORMATS),
    ],
)
def test_enumerations(enums: dict[str, int], prefix: str, ours: Mapping[int, str]) -> None:
    theirs = beginning(enums, prefix)
    theirs = {
        number: name.removesuffix(" SPICE_GNUC_DEPRECATED")
        for number, name in theirs.items()
        if "ENUM_END" not in name and "MASK_" not in name
    }
    assert dict(ours) == theirs


def test_flags(enums: dict[str, int]) -> None:
    modes = {name: number for number, name in constants.MOUSE_MODES.items()}
    assert modes["SERVER"] == enums["SPICE_MOUSE_MODE_SERVER"]
    assert modes["CLIENT"] == enums["SPICE_MOUSE_MODE_CLIENT"]


@pytest.mark.parametrize(
    ("prefix", "ours"),
    [
        ("SPICE_MIGRATE_", constants.MIGRATE_FLAGS),
        ("SPICE_COMPOSITE_", constants.COMPOSITE_FLAGS),
        ("SPICE_PATH_", constants.PATH_FLAGS),
        ("SPICE_STREAM_FLAGS_", constants.STREAM_FLAGS),
        ("SPICE_MASK_FLAGS_", constants.MASK_FLAGS),
        ("SPICE_IMAGE_FLAGS_", constants.IMAGE_FLAGS),
        ("SPICE_BITMAP_FLAGS_", constants.BITMAP_FLAGS),
        ("SPICE_JPEG_ALPHA_FLAGS_", constants.JPEG_ALPHA_FLAGS),
        ("SPICE_ROPD_", constants.ROPD_FLAGS),
        ("SPICE_LINE_FLAGS_", constants.LINE_FLAGS),
        ("SPICE_STRING_FLAGS_", constants.STRING_FLAGS),
        ("SPICE_SURFACE_FLAGS_", constants.SURFACE_FLAGS),
        ("SPICE_ALPHA_FLAGS_", constants.ALPHA_FLAGS),
        ("SPICE_GL_SCANOUT_FLAGS_", constants.GL_SCANOUT_FLAGS),
        ("SPICE_CURSOR_FLAGS_", constants.CURSOR_FLAGS),
        ("SPICE_KEYBOARD_MODIFIER_FLAGS_", constants.KEYBOARD_MODIFIERS),
        ("SPICE_MOUSE_BUTTON_MASK_", constants.MOUSE_BUTTON_MASK),
    ],
)
def test_every_flag(enums: dict[str, int], prefix: str, ours: Mapping[int, str]) -> None:
    theirs = {
        name.removeprefix(prefix): number
        for name, number in enums.items()
        if name.startswith(prefix) and name.removeprefix(prefix) not in ("MASK", "FLAGS_MASK")
    }
    assert {name: 1 << bit for bit, name in ours.items()} == theirs


def test_the_events_of_a_port(protocol: str) -> None:
    theirs = beginning(headers.enums(protocol), "SPICE_PORT_EVENT_")
    assert theirs == dict(constants.PORT_EVENTS)


def test_channels(enums: dict[str, int]) -> None:
    theirs = {number: name.lower() for number, name in beginning(enums, "SPICE_CHANNEL_").items()}
    assert theirs == dict(constants.CHANNEL_TYPES)


@pytest.mark.parametrize(("side", "prefix"), [(Side.SERVER, "SPICE_MSG_"), (Side.CLIENT, "SPICE_MSGC_")])
def test_every_message(enums: dict[str, int], side: Side, prefix: str) -> None:
    theirs = {
        name: number
        for name, number in enums.items()
        if name.startswith(prefix) and not re.match(r"SPICE_MSGC?_(END_|FIRST_AVAIL)", name)
    }
    ours = {name: number for sides in constants.MESSAGES.values() for number, name in sides[side].items()}
    assert len(theirs) > 20
    theirs.update({name: number for name, number in ours.items() if name in NEWER and name not in theirs})
    # More names for one number: the smartcard client's message has its own types inside.
    theirs = {name: number for name, number in theirs.items() if name not in SMARTCARD_TYPES}
    assert ours == theirs


def test_each_message_is_on_the_channel_that_its_name_says() -> None:
    kinds = {9: "SPICEVMC", 10: "PORT SPICEVMC", 11: "PORT SPICEVMC"}
    for channel, sides in constants.MESSAGES.items():
        if channel == constants.COMMON:
            continue
        kind = kinds.get(channel, constants.CHANNEL_TYPES[channel].upper()).split()
        for side, numbers in sides.items():
            prefix = "SPICE_MSG" if side is Side.SERVER else "SPICE_MSGC"
            for name in numbers.values():
                assert any(name.startswith(f"{prefix}_{word}_") for word in kind), name


def test_every_capability(protocol: str) -> None:
    theirs = headers.enums(protocol)
    assert beginning(theirs, "SPICE_COMMON_CAP_") == dict(constants.COMMON_CAPABILITIES)
    names = {**constants.CHANNEL_TYPES, 9: "spicevmc", 10: "spicevmc", 11: "spicevmc"}
    found = set()
    for channel, name in names.items():
        prefix = f"SPICE_{name.upper()}_CAP_"
        assert dict(constants.CHANNEL_CAPABILITIES.get(channel, {})) == beginning(theirs, prefix)
        found |= {full for full in theirs if full.startswith(prefix)}
    rest = {name for name in theirs if "_CAP_" in name and not name.startswith("SPICE_COMMON")} - found
    assert not rest, "capabilities of a channel that we do not know"


def test_the_link_stage(protocol: str) -> None:
    numbers = headers.defines(protocol)
    assert numbers["SPICE_VERSION_MAJOR"] == constants.VERSION_MAJOR
    assert numbers["SPICE_VERSION_MINOR"] == constants.VERSION_MINOR
    magic = re.search(r"SPICE_MAGIC_CONST\(\"(.{4})\"\)", protocol)
    assert magic
    assert magic[1].encode() == constants.MAGIC
    ticket = link.SpiceLinkEncryptedTicket.layout().fixed
    assert ticket == numbers["SPICE_TICKET_KEY_PAIR_LENGTH"] // 8
    key = link.SpiceLinkReply.layout().fields["pub_key"].default
    assert len(key) == link.REPLY_SIZE - 16 == numbers["SPICE_TICKET_KEY_PAIR_LENGTH"] // 8 + 34


SIZES = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "uint64_t": 8}


@pytest.mark.parametrize(
    "cls",
    [
        link.SpiceLinkHeader,
        link.SpiceLinkMess,
        link.SpiceLinkReply,
        link.SpiceLinkAuthMechanism,
        base.SpiceDataHeader,
        base.SpiceMiniDataHeader,
    ],
)
def test_every_struct(protocol: str, cls: type[link.SpiceLinkPacket]) -> None:
    struct = re.search(rf"struct SPICE_ATTR_PACKED {cls.title()} \{{(.*?)\}}", protocol, re.DOTALL)
    assert struct
    theirs = []
    for kind, name, count in re.findall(r"(\w+) (\w+)(?:\[(\w+)\])?;", struct[1]):
        theirs.append((name, SIZES[kind] * (162 if count else 1)))
    fields: list[Any] = cls.fields_desc[: len(theirs)]
    ours = [(f.name.removeprefix("message_"), f.sz or len(f.default)) for f in fields]
    assert ours == theirs
