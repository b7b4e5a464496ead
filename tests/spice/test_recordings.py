# SPDX-License-Identifier: GPL-2.0-or-later
"""Every bundled recording of a SPICE session: each byte accounted for, nothing wrong, nothing unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.capture import open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.dissection.spice_links import tie
from dissect.lab.collection import load
from dissect.stream import Side
from dissect.stream.records import Message

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
SPICE = [
    path
    for path in sorted([*PCAPS.glob("*--qemu-spice*.pcapng*"), *PCAPS.glob("*--xspice*.pcapng*")])
    if path.name.startswith(("spicy", "remote-viewer-spice"))
]


def conversations(path: Path) -> list[Dissected]:
    with open_capture(path) as capture:
        return list(dissect(read(capture)))


@pytest.mark.parametrize("path", SPICE, ids=lambda path: path.stem)
def test_every_byte_is_in_a_message_that_is_understood(path: Path) -> None:
    for conversation in conversations(path):
        assert conversation.verdict.verdict == "agreed"
        for side in Side:
            at = 0
            for record in conversation.records:
                if record.side is side:
                    assert isinstance(record, Message), record
                    assert record.offset == at
                    at += record.size
                    # A recording may end in mid-message; nothing else is undecoded.
                    assert record.note is None or record.note.startswith("not decoded: incomplete"), record


def test_keys_and_pointer_are_recovered_exactly() -> None:
    """What xdotool did in spicy's window: `--run` of the recording's command in the index."""
    said = [
        (record.name.removeprefix("SPICE_MSGC_INPUTS_"), record.fields())
        for conversation in conversations(PCAPS / "spicy--xspice-input.pcapng.xz")
        for record in conversation.records
        if record.name.startswith("SPICE_MSGC_INPUTS_")
    ]
    # Scan codes of set 1, released with bit 7: a; Shift with B inside; F1; Return.
    pressed: list[int] = []
    for name, fields in said:
        if name == "KEY_SCANCODE":
            pressed += bytes.fromhex(fields["scancodes"])
        elif name in ("KEY_DOWN", "KEY_UP"):
            pressed.append(fields["code"])
    assert pressed == [0x1E, 0x9E, 0x2A, 0x30, 0xAA, 0xB0, 0x3B, 0xBB, 0x1C, 0x9C]
    # Moved to 200, 200, then 210, 231, then 173, 240 on the display, where the window has a bar at its top.
    places = [(fields["x"], fields["y"]) for name, fields in said if name == "MOUSE_POSITION"]
    top = 200 - places[0][1]
    assert 0 < top < 100
    assert places == [(200, 200 - top), (210, 231 - top), (173, 240 - top)]
    buttons = [(name[6:], fields.get("button_name")) for name, fields in said if name.startswith("MOUSE_")]
    clicks = [("PRESS", "LEFT"), ("RELEASE", "LEFT"), ("PRESS", "RIGHT"), ("RELEASE", "RIGHT")]
    assert [one for one in buttons if one[0] != "POSITION"] == [*clicks, ("PRESS", "UP"), ("RELEASE", "UP")]


def test_every_kind_of_image_was_recorded() -> None:
    """By the index, which another test holds to the recordings."""
    kinds = {kind for entry in load(PCAPS) for one in entry["conversation"] for kind in one.get("images", ())}
    assert kinds >= {"BITMAP", "QUIC", "LZ_RGB", "GLZ_RGB", "ZLIB_GLZ_RGB", "JPEG", "JPEG_ALPHA"}


def test_nine_channels_are_one_session() -> None:
    found = conversations(PCAPS / "spicy--qemu-spice-devices.pcapng")
    (group,) = tie(conversation.verdict for conversation in found)
    channels = {verdict.spice.channel for verdict in group.members if verdict.spice}
    assert channels == {
        *("main", "display", "inputs", "cursor", "playback", "record", "usbredir", "port", "webdav"),
    }
    messages = {record.name: record for conversation in found for record in conversation.records}
    assert messages["SPICE_MSG_PLAYBACK_MODE"].fields()["mode_name"] == "OPUS"
    hello = messages["SPICE_MSGC_SPICEVMC_DATA"].fields()["usbredir"][0]
    assert hello["name"] == "usb_redir_hello"
    assert hello["version"].startswith("spice-gtk")
    names = [
        record.fields()["port_name"]
        for conversation in found
        for record in conversation.records
        if record.name == "SPICE_MSG_PORT_INIT"
    ]
    assert sorted(names) == ["org.firstbyte.port.0\0", "org.spice-space.webdav.0\0"]


@pytest.mark.parametrize(("name", "kind"), [("-quic", "quic"), ("", "lz_rgb")])
def test_the_screen_is_an_image_of_its_size(name: str, kind: str) -> None:
    (drawn,) = [
        record
        for conversation in conversations(PCAPS / f"spicy-screenshot--qemu-spice{name}.pcapng")
        for record in conversation.records
        if record.name == "SPICE_MSG_DISPLAY_DRAW_COPY"
    ]
    image = drawn.fields()["src_bitmap"]
    assert (image[kind]["width"], image[kind]["height"]) == (640, 480)
    assert image["descriptor"]["width"] == 640
