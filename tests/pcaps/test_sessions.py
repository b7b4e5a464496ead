# SPDX-License-Identifier: GPL-2.0-or-later
"""What was done in the recorded sessions is found in them: drawn, typed, copied, sent, said, moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dissect.capture import open_capture, read
from dissect.dissection.reading import Dissected, Told, dissect, each
from dissect.dissection.spice_links import tie
from dissect.rfb.pixels.screen import Renderer as RfbRenderer
from dissect.spice.pixels.screen import Renderer
from dissect.stream import Side
from dissect.stream.records import Message

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
DISPLAY = 2


def conversations(name: str) -> list[Dissected]:
    with open_capture(PCAPS / name) as capture:
        return list(dissect(read(capture)))


def messages(name: str, title: str, side: Side | None = None) -> Iterator[Message]:
    """The messages of one kind, in the order of the conversations."""
    for one in conversations(name):
        for record in one.records:
            if isinstance(record, Message) and record.name == title and side in (None, record.side):
                yield record


def drawn_by_the_guest() -> npt.NDArray[np.uint8]:
    """What pcaps/guest.s draws, computed anew: levels of six bits, each pixel twice as wide and high."""
    y, x = np.mgrid[0:200, 0:320]
    colour = np.where(x < 160, x + y, ((320 - x) // 20 + y // 16) * 37) & 255
    wave = np.where(colour & 0x40, ~colour, colour) & 0x3F
    levels = np.stack([colour >> 2, (colour >> 2) ^ 0x3F, wave], -1)
    return without_what_moves(levels.repeat(2, 0).repeat(2, 1).astype(np.uint8))


def without_what_moves(screen: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    screen = screen.copy()
    screen[32:144, 32:144] = screen[64:128, 480:544] = 0
    return screen


@pytest.mark.parametrize("compression", ["off", "lz", "glz", "auto_lz"])
def test_the_screen_is_what_the_guest_has_drawn(compression: str) -> None:
    renderer = Renderer()
    with open_capture(PCAPS / f"spicegtk--qemu-spice-drawing-{compression}.pcapng.xz") as capture:
        for one in each(read(capture)):
            if isinstance(one, Told) and one.link is not None and one.link.channel_type == DISPLAY:
                assert renderer.take(one.record) == []
    assert renderer.whole
    assert not renderer.lossy
    assert renderer.screen is not None
    np.testing.assert_array_equal(without_what_moves(renderer.screen) >> 2, drawn_by_the_guest())


def test_the_screen_of_a_browser_is_what_the_guest_has_drawn() -> None:
    """noVNC came when all was still, and had all of it in Tight."""
    renderer = RfbRenderer()
    with open_capture(PCAPS / "novnc--qemu-vnc-drawing.pcapng.xz") as capture:
        for one in each(read(capture)):
            if isinstance(one, Told):
                assert renderer.take(one.record) == []
    assert renderer.screen is not None
    np.testing.assert_array_equal(without_what_moves(renderer.screen) >> 2, drawn_by_the_guest())


def test_the_agents_carried_text_both_ways_and_a_file() -> None:
    """By the index: the client copied, the guest pasted; then the other way about; a file was sent."""
    name = "spicegtk--xspice-agent.pcapng.xz"
    said = []
    for title in ("SPICE_MSGC_MAIN_AGENT_DATA", "SPICE_MSG_MAIN_AGENT_DATA"):
        for message in messages(name, title):
            said += [(message.side, one) for one in message.fields().get("agent", ())]
    texts = {side: one["text"] for side, one in said if one["name"] == "VD_AGENT_CLIPBOARD"}
    assert texts == {Side.CLIENT: "from the client: 1 €", Side.SERVER: "from the server: café"}
    (start,) = (one for _, one in said if one["name"] == "VD_AGENT_FILE_XFER_START")
    (data,) = (one for _, one in said if one["name"] == "VD_AGENT_FILE_XFER_DATA")
    assert "name=guest.s\n" in start["description"]
    assert f"size={data['data_size']}\n" in start["description"]
    assert data["data_size"] > 2 * 2048  # it came in three messages
    ends = [one["result_name"] for _, one in said if one["name"] == "VD_AGENT_FILE_XFER_STATUS"]
    assert ends == ["CAN_SEND_DATA", "SUCCESS"]


def test_the_serial_port_says_what_was_sent_to_it() -> None:
    """guest.s says its name, twice as it is reset in between, and sends back what it gets."""
    name = "spicegtk--qemu-spice-drawing-devices.pcapng.xz"
    found = {
        side: [
            bytes.fromhex(message.fields()["carried"])
            for one in conversations(name)
            if one.verdict.spice is not None and one.verdict.spice.channel == "port"
            for message in one.records
            if isinstance(message, Message) and message.name == title
        ]
        for side, title in (
            (Side.CLIENT, "SPICE_MSGC_SPICEVMC_DATA"),
            (Side.SERVER, "SPICE_MSG_SPICEVMC_DATA"),
        )
    }
    assert found[Side.CLIENT] == [b"hello"]
    # The client also sent a break, which a serial port receives as a zero.
    assert b"".join(found[Side.SERVER]) == b"firstbyte\r\nfirstbyte\r\nhello\0"


def test_keys_and_distances_of_a_mouse() -> None:
    """What `--client-args` of the recording's command have, in the index."""
    name = "spicegtk--qemu-spice-input.pcapng.xz"
    moved = [message.values for message in messages(name, "SPICE_MSGC_INPUTS_MOUSE_MOTION")]
    assert [(one["dx"], one["dy"]) for one in moved] == [(5, 7), (-3, -300), (20, 0)]
    pressed = [message.fields()["button_name"] for message in messages(name, "SPICE_MSGC_INPUTS_MOUSE_PRESS")]
    assert pressed == ["LEFT", "RIGHT"]
    codes = [message.fields()["scancodes"] for message in messages(name, "SPICE_MSGC_INPUTS_KEY_SCANCODE")]
    assert codes == ["1e9e", "30b0", "e048e0c8"]
    (down,) = messages(name, "SPICE_MSGC_INPUTS_KEY_DOWN")
    (up,) = messages(name, "SPICE_MSGC_INPUTS_KEY_UP")
    assert (down["code"], up["code"]) == (0x2A, 0xAA)


def test_a_card_was_in_the_reader() -> None:
    name = "spicegtk-card--qemu-spice.pcapng.xz"
    kinds = [message.fields()["type_name"] for message in messages(name, "SPICE_MSGC_SMARTCARD_DATA")]
    assert kinds[0] == "ReaderAdd"
    assert "ATR" in kinds
    answers = [message.fields() for message in messages(name, "SPICE_MSG_SMARTCARD_DATA")]
    assert {one["type_name"] for one in answers} == {"Error"}
    assert len(answers) == len(kinds)


def test_a_cd_was_given_to_the_guest() -> None:
    """The BIOS asks for its descriptors and reads its size: SCSI in bulk packets of USB in SPICE."""
    name = "spicegtk--qemu-spice-drawing-devices.pcapng.xz"
    packets: Counter[str] = Counter()
    for title in (
        "SPICE_MSG_SPICEVMC_DATA",
        "SPICE_MSGC_SPICEVMC_DATA",
        "SPICE_MSGC_SPICEVMC_COMPRESSED_DATA",
    ):
        for message in messages(name, title):
            packets.update(one["name"] for one in message.fields().get("usbredir", ()))
    assert packets["usb_redir_hello"] == 2
    assert packets["usb_redir_device_connect"] == 1
    assert packets["usb_redir_control_packet"] >= 6
    assert packets["usb_redir_bulk_packet"] >= 12


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("migrating", ["BEGIN_SEAMLESS", "CONNECTED_SEAMLESS", "DST_DO_SEAMLESS", "DST_SEAMLESS_ACK"]),
        ("moving", ["BEGIN", "CONNECTED", "END", "END"]),
    ],
)
def test_a_machine_has_moved_with_its_client(kind: str, said: list[str]) -> None:
    found = conversations(f"spicegtk--qemu-spice-{kind}.pcapng.xz")
    first, second = tie(one.verdict for one in found)
    assert first.session_id == second.session_id
    assert second.before == first.server
    assert {one.spice.channel for one in second.members if one.spice} == {
        *("main", "display", "cursor", "inputs"),
    }
    names = [record.name for one in found for record in one.records if "_MAIN_MIGRATE_" in record.name]
    assert sorted(name.rpartition("MIGRATE_")[2] for name in names) == sorted(said)


def test_the_client_carries_what_a_channel_leaves_to_its_successor() -> None:
    given, taken = (
        sorted(
            message.fields()["migrate_data"]
            for message in messages("spicegtk--qemu-spice-migrating.pcapng.xz", title)
        )
        for title in ("SPICE_MSG_MIGRATE_DATA", "SPICE_MSGC_MIGRATE_DATA")
    )
    assert given == taken
    assert len(given) == 3


def test_encrypted_channels_are_one_session() -> None:
    found = tie(one.verdict for one in conversations("spicegtk--qemu-spice-sasl-password.pcapng.xz"))
    assert sum(len(one.members) for one in found) >= 3


def test_what_was_said_in_a_chat() -> None:
    said: dict[Side, list[str]] = {side: [] for side in Side}
    for message in messages("ssvncviewer-chatting--x11vnc.pcapng", "TextChat"):
        fields = message.fields()
        if fields["text"]:
            assert "length_name" not in fields
            said[message.side].append(fields["text"])
        else:
            assert fields["length_name"] == "open"
    assert set(said[Side.CLIENT]) == set(said[Side.SERVER]) == {"hello, 1 £\n", "bye\n"}


def test_keys_sound_and_power_of_a_guest() -> None:
    name = "gtkvnc--qemu-vnc-drawing.pcapng.xz"
    keys = [message.values for message in messages(name, "QEMUExtendedKeyEvent")]
    assert [(one["down_flag"], one["keysym"], one["keycode"]) for one in keys] == [(1, 97, 30), (0, 97, 30)]
    power = [message.values["xvp_message_code"] for message in messages(name, "xvpClientMessage")]
    assert power == [2, 3, 4]
    sound = list(messages(name, "QEMUAudioServerMessage"))
    operations = Counter(message.fields()["operation_name"] for message in sound)
    assert operations["begin"] >= 1
    assert operations["data"] > 100
