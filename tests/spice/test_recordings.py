# SPDX-License-Identifier: GPL-2.0-or-later
"""Every bundled recording of a SPICE session: each byte accounted for, nothing wrong, nothing unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.capture import open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.dissection.spice_links import tie
from dissect.stream import Side
from dissect.stream.records import Message

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
SPICE = [
    path
    for path in sorted(PCAPS.glob("*--qemu-spice*.pcapng"))
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
