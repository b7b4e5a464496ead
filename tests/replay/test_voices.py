# SPDX-License-Identifier: GPL-2.0-or-later
"""What cannot be replayed literally is computed from the live peer."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from dissect.lab.models import serving
from dissect.replay.outcome import Outcome
from dissect.replay.player import Options, Player, Send
from dissect.replay.voices import Spice, refusal
from dissect.rfb import messages as rfb
from dissect.spice import constants
from dissect.spice.channels import base
from dissect.stream import Side
from tests.dissection.conversations import FIN, GREETING, LINK_MESS, LINK_REPLY, MS, C, S, Step
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, plan_of, play, play_all, play_at, record, told

INIT = bytes(rfb.ServerInit(framebuffer_width=64, framebuffer_height=48, name_string=b"model"))
HANDSHAKE: list[Step] = [
    (S, GREETING, MS), (C, GREETING, 2 * MS), (S, b"\1\1", 3 * MS), (C, b"\1", 4 * MS), (S, bytes(4), 5 * MS),
    (C, b"\1", 6 * MS), (S, INIT, 7 * MS),
]  # fmt: skip


def sent(player: Player, *answers: bytes) -> list[bytes]:
    """What a player says to a live peer that says `answers`, one after the other."""
    actions = player.opened(0)
    for number, answer in enumerate(answers):
        actions += player.received(answer, number + 1)
    return [action.data for action in actions if isinstance(action, Send)]


# --- RFB ------------------------------------------------------------------------------------------------


def test_the_answer_to_the_live_challenge(tmp_path: Path) -> None:
    client, server = replace(CLIENT, password="secret42"), replace(SERVER, password="secret42")
    [plan] = record(tmp_path / "a.pcapng", client, server)
    other = replace(server, password="another1", seed=9)
    assert play(plan, server, Options(password="secret42")).outcome is Outcome.PASS
    result = play(plan, other, Options(password="another1"))
    assert result.outcome is Outcome.PASS, told(result)
    assert "VncAuthenticationResponse computed for the live challenge" in result.adapted
    wrong = play(plan, server, Options(password="wrong"))
    assert [(d.message, d.field) for d in wrong.differences][:1] == [("SecurityResult", "status")]


def test_a_password_that_is_needed_and_not_given_is_asked_for_before_anything_is_sent(tmp_path: Path) -> None:
    client, server = replace(CLIENT, password="secret42"), replace(SERVER, password="secret42")
    [plan] = record(tmp_path / "a.pcapng", client, server)
    assert "--password" in (refusal(plan, None, None) or "")
    with serving(server) as background:
        result = Player(plan).why_not
        assert result is not None
        assert background.reports == ()


def test_a_recorded_wrong_password_is_wrong_again(tmp_path: Path) -> None:
    server = replace(SERVER, password="secret42")
    [plan] = record(tmp_path / "a.pcapng", replace(CLIENT, password="wrong"), server)
    assert refusal(plan, None, None) is None
    result = play(plan, server)
    assert result.outcome is Outcome.PASS, told(result)
    assert result.compared_messages == 5


@pytest.mark.parametrize(
    ("offered", "password", "chosen"),
    [(b"\1\1", None, b"\1"), (b"\2\2\1", None, b"\1"), (b"\1\2", "secret42", b"\2"), (b"\2\1\2", "x", b"\1")],
)
def test_a_security_type_among_those_offered_now(offered: bytes, password: str | None, chosen: bytes) -> None:
    player = Player(plan_of(HANDSHAKE), Options(password=password))
    assert sent(player, GREETING, offered)[-1] == chosen


def test_no_security_type_that_can_be_spoken_ends_the_replay_in_words() -> None:
    player = Player(plan_of(HANDSHAKE))
    assert len(sent(player, GREETING, b"\2\2\x13")) == 1
    assert player.over
    assert "only security type 2 (VNC Authentication), 19 (VeNCrypt)" in player.result.reason
    assert "--password" in player.result.reason
    assert player.result.outcome is Outcome.DIFF  # what was offered differs


@pytest.mark.parametrize(
    ("greeting", "version", "rest"),
    [
        (b"RFB 003.003\n", b"RFB 003.003\n", (b"\0\0\0\1", INIT)),
        (b"RFB 003.007\n", b"RFB 003.007\n", (b"\1\1", INIT)),
        (b"RFB 003.889\n", GREETING, (b"\1\1", bytes(4), INIT)),
    ],
)
def test_the_handshake_follows_the_live_version(
    greeting: bytes, version: bytes, rest: tuple[bytes, ...]
) -> None:
    player = Player(plan_of([*HANDSHAKE, (C, FIN, 8 * MS)]))
    out = sent(player, greeting, *rest)
    assert out[0] == version
    assert out[-1] == b"\1"
    player.woken(10)
    assert player.over
    assert player.result.outcome is Outcome.DIFF


def test_requests_are_cut_to_the_live_framebuffer() -> None:
    request = bytes(rfb.FramebufferUpdateRequest(x_position=10, y_position=0, width=54, height=48))
    player = Player(plan_of([*HANDSHAKE, (C, request, 8 * MS)]))
    small = bytes(rfb.ServerInit(framebuffer_width=32, framebuffer_height=16, name_string=b"model"))
    out = sent(player, GREETING, b"\1\1", bytes(4), small)
    assert struct.unpack(">BBHHHH", out[-1]) == (3, 0, 10, 0, 22, 16)
    player.stopped("interrupted", 10)
    assert player.result.adapted == ["areas of FramebufferUpdateRequest cut to the live framebuffer, 32x16"]


def test_a_request_that_fits_is_sent_as_it_was() -> None:
    request = bytes(rfb.FramebufferUpdateRequest(x_position=0, y_position=0, width=64, height=48))
    player = Player(plan_of([*HANDSHAKE, (C, request, 8 * MS)]))
    assert sent(player, GREETING, b"\1\1", bytes(4), INIT)[-1] == request


def test_requests_follow_a_live_framebuffer_that_changes_its_size() -> None:
    request = bytes(rfb.FramebufferUpdateRequest(x_position=0, y_position=0, width=64, height=48))
    rectangle = rfb.RectangleHeader(width=40, height=30, encoding_type=-223)
    update = bytes(rfb.FramebufferUpdateHeader(number_of_rectangles=1) / rectangle)
    steps = [*HANDSHAKE, (C, request, 8 * MS), (S, update, 9 * MS), (C, request, 10 * MS)]
    player = Player(plan_of(steps))
    out = sent(player, GREETING, b"\1\1", bytes(4), INIT, update)
    assert [struct.unpack(">HH", data[-4:]) for data in out[-2:]] == [(64, 48), (40, 30)]


def test_a_live_fence_is_answered_and_a_recorded_answer_is_not_played() -> None:
    def fence(cls: type[rfb.RfbPacket], flags: int, data: bytes) -> bytes:
        return bytes(cls(flags=flags, payload_data=data))

    steps = [
        *HANDSHAKE,
        (S, fence(rfb.ServerFence, 1 << 31, b"\1"), 8 * MS),
        (C, fence(rfb.ClientFence, 0, b"\1"), 9 * MS),
    ]
    player = Player(plan_of(steps))
    out = sent(player, GREETING, b"\1\1", bytes(4), INIT, fence(rfb.ServerFence, 1 << 31 | 1, b"\7\7"))
    assert out[-1] == fence(rfb.ClientFence, 1, b"\7\7")
    assert len(out) == 4


def test_the_server_can_be_played_to_a_live_client() -> None:
    player = Player(plan_of([*HANDSHAKE, (C, FIN, 8 * MS)], played=S))
    out = sent(player, GREETING, b"\1", b"\1")
    assert out == [GREETING, b"\1\1", bytes(4), INIT]
    player.ended("close", 9)
    assert player.result.outcome is Outcome.PASS, told(player.result)


def test_a_played_server_speaks_the_version_of_its_live_client() -> None:
    player = Player(plan_of([*HANDSHAKE, (C, FIN, 8 * MS)], played=S))
    out = sent(player, b"RFB 003.003\n", b"\1")
    assert out == [GREETING, b"\0\0\0\1", INIT]


# --- SPICE ----------------------------------------------------------------------------------------------


def test_a_ticket_for_the_live_key(tmp_path: Path) -> None:
    server = replace(SPICE, password="xyz", key_per_link=True)
    [plan] = record(tmp_path / "a.pcapng", replace(SPICY, channels=(), password="xyz"), server)
    result = play(plan, server, Options(password="xyz"))
    assert result.outcome is Outcome.PASS, told(result)
    wrong = play(plan, server, Options(password="abc"))
    assert [(d.message, d.field, d.got) for d in wrong.differences][:1] == [("SpiceLinkResult", "result", 7)]


def test_every_channel_names_the_live_session(tmp_path: Path) -> None:
    plans = record(tmp_path / "a.pcapng", SPICY, SPICE)
    with serving(replace(SPICE, seed=77)) as server:
        results = play_all(plans, server.host, server.port)
        reports = server.reports
    assert [result.outcome for result in results] == [Outcome.PASS] * 3
    ids = [report.messages("SpiceLinkMess")[0]["connection_id"] for report in reports]
    assert ids[0] == 0
    assert set(ids[1:]) == {reports[0].messages("SPICE_MSG_MAIN_INIT")[0]["session_id"]}
    assert ids[1] != plans[0].session_id


def test_pings_and_ack_windows_are_answered_live(tmp_path: Path) -> None:
    [plan] = record(tmp_path / "a.pcapng", replace(SPICY, channels=()), SPICE)
    other = replace(SPICE, pings=(0, 10, 20, 30), ack_window=2)
    with serving(other) as server:
        result = play_at(plan, server.host, server.port)
        assert server.wait_for(1, 5)
        [report] = server.reports
    assert result.outcome is Outcome.PASS, told(result)
    pings, pongs = report.messages("SPICE_MSG_PING"), report.messages("SPICE_MSGC_PONG")
    assert [(m["id"], m["timestamp"]) for m in pings] == [(m["id"], m["timestamp"]) for m in pongs]
    assert len(pings) == 4
    assert len(report.messages("SPICE_MSGC_ACK_SYNC")) == 1
    assert len(report.messages("SPICE_MSGC_ACK")) >= 2


def test_data_headers_take_the_form_that_the_live_link_uses() -> None:
    """Recorded with mini headers; the live server does not announce them."""
    body = bytes(base.SpiceMsgcDisconnecting(time_stamp=5, reason=0))
    mini = bytes(base.SpiceMiniDataHeader(message_type=6, message_size=len(body))) + body
    steps: list[Step] = [
        (C, LINK_MESS, MS), (S, LINK_REPLY, 2 * MS), (C, struct.pack("<I", 1), 3 * MS),
        (C, bytes(128), 4 * MS), (S, bytes(4), 5 * MS), (C, mini, 6 * MS),
    ]  # fmt: skip
    plan = plan_of(steps)
    for word, header in ((0b1001, base.SpiceMiniDataHeader), (0b0001, base.SpiceDataHeader)):
        voice = Spice(plan, None, None)
        voice.session.feed(Side.CLIENT, LINK_MESS, 0)
        voice.session.feed(Side.SERVER, LINK_REPLY[:-8] + struct.pack("<II", word, 9), 0)
        data = voice.word(plan.steps[-1].message is not None and len(plan.steps) - 1).data
        size = header.layout().least
        values, _ = header.layout().decode(data)
        assert (values["message_type"], values["message_size"], data[size:]) == (6, len(body), body)


def test_an_ack_is_the_message_that_the_headers_number() -> None:
    assert constants.message_name(1, Side.CLIENT, 2) == "SPICE_MSGC_ACK"


def test_a_channel_alone_is_refused_in_words(tmp_path: Path) -> None:
    plans = record(tmp_path / "a.pcapng", SPICY, SPICE)
    assert "--all-channels" in (refusal(plans[1], None, None) or "")
    assert refusal(plans[1], None, 5) is None


def test_the_peer_says_who_it_is(tmp_path: Path) -> None:
    [plan] = record(tmp_path / "a.pcapng", CLIENT, SERVER)
    assert play(plan, replace(SERVER, name="a build")).peer == {
        "protocol": "rfb", "version": "3.8", "name": "a build",
    }  # fmt: skip
    [main] = record(tmp_path / "b.pcapng", replace(SPICY, channels=()), SPICE)
    assert play(main, replace(SPICE, name="guest")).peer["protocol"] == "spice"
