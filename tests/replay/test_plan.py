# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans: what a recorded conversation asks of a replay."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from dissect.replay.plan import Unplayable, choose, load, sessions
from dissect.replay.player import Player
from tests.app.captures import CURE, FAST, HANG, write
from tests.dissection.conversations import (
    CLIENT_HELLO,
    ERROR_REPLY,
    FIN,
    GREETING,
    LINK_MESS,
    LINK_REPLY,
    MS,
    RST,
    C,
    S,
    Step,
)
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, plan_of, record


def test_a_spice_client_at_a_vnc_server() -> None:
    plan = plan_of(FAST)
    [step], [expected] = plan.steps, plan.expected
    assert (step.raw, step.after, step.after_bytes, step.cuts) == (LINK_MESS, 1, 12, (0,))
    assert (expected.message.raw, expected.handshake, expected.after) == (GREETING, True, 0)
    assert (plan.end.side, plan.end.how, plan.protocol, plan.unplayable) == (S, "close", None, None)


def test_a_silence_before_a_step_and_an_answer_after_it() -> None:
    plan = plan_of(CURE)
    [step] = plan.steps
    assert (step.raw, step.gap_ns, step.after) == (b"RFB ", 1_860 * MS, 0)
    assert [item.message.name for item in plan.expected] == ["SpiceLinkReply"]
    assert plan.expected[0].after == 1


def test_a_conversation_without_a_byte_expects_silence() -> None:
    plan = plan_of(HANG, 20_000 * MS)
    assert (plan.steps, plan.expected) == ((), ())
    assert (plan.end.side, plan.end.silent_ns, plan.verdict) == (None, 20_000 * MS, "silent")


def test_steps_know_where_captured_segments_began() -> None:
    plan = plan_of(
        [
            (S, GREETING, MS),
            (C, b"RFB ", 2 * MS),
            (C, b"003.008\n", 3 * MS),
            (S, b"\1\1", 4 * MS),
            (C, b"\1", 5 * MS),
        ]
    )
    assert [(step.name, step.cuts) for step in plan.steps] == [
        ("ProtocolVersion", (0, 4)),
        ("SecurityType", (0,)),
    ]
    assert [(s.offset, s.size) for s in plan.segments] == [(0, 4), (4, 8), (12, 1)]
    assert plan.stream == GREETING + b"\1"


def test_bytes_of_a_foreign_protocol_are_kept_whole() -> None:
    """A run that is not decoded keeps 64 bytes only; what is played is all of it."""
    hello = CLIENT_HELLO + bytes(500)
    plan = plan_of([(C, hello, MS), (S, ERROR_REPLY, 2 * MS), (S, FIN, 3 * MS)])
    assert b"".join(step.raw for step in plan.steps) == hello


def test_what_is_lost_on_the_played_side_ends_the_steps_and_is_said() -> None:
    plan = plan_of(
        [(S, GREETING, MS), (C, GREETING, 2 * MS), (S, b"\1\1", 3 * MS), (C, 1, 4 * MS), (C, b"\1", 5 * MS)]
    )
    assert [step.name for step in plan.steps] == ["ProtocolVersion"]
    assert plan.notes == ("the capture lacks bytes of the client from byte 12 on: not played from there",)
    assert plan.unplayable is None


def test_what_is_lost_at_the_very_start_cannot_be_played() -> None:
    plan = plan_of([(C, 12, 1 * MS), (S, GREETING, MS)])
    assert plan.unplayable == "the first bytes of the client are not in the capture"


def test_what_came_after_the_played_side_had_left_is_not_expected() -> None:
    plan = plan_of([(C, FIN, MS), (S, GREETING, 2 * MS), (S, RST, 3 * MS)])
    assert plan.expected == ()
    assert plan.notes == ("1 messages came after the client had ended the connection: not expected",)


def test_a_half_close_is_told_from_a_close() -> None:
    plan = plan_of(
        [(C, b"GET / HTTP/1.0\r\n\r\n", MS), (C, FIN, 2 * MS), (S, ERROR_REPLY, 3 * MS), (S, FIN, 4 * MS)]
    )
    assert plan.end.half
    assert len(plan.expected) == 1


SASL = [
    (C, LINK_MESS, MS),
    (S, LINK_REPLY, 2 * MS),
    (C, struct.pack("<I", 2), 3 * MS),
    (C, bytes(40), 4 * MS),
]
VENCRYPT = [
    (S, GREETING, MS), (C, GREETING, 2 * MS), (S, b"\1\x13", 3 * MS), (C, b"\x13", 4 * MS),
    (S, b"\0\2", 5 * MS), (C, b"\0\2", 6 * MS),
]  # fmt: skip
TLS = [(C, CLIENT_HELLO + bytes(30), MS), (S, bytes.fromhex("160303004a02000046") + bytes(70), 2 * MS)]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (SASL, "authentication 2 (SASL)"),
        (VENCRYPT, "security type 19 (VeNCrypt)"),
        (TLS, "both sides spoke TLS"),
    ],
    ids=["sasl", "vencrypt", "tls"],
)
def test_what_cannot_be_computed_is_refused_before_anything_is_sent(steps: list[Step], why: str) -> None:
    plan = plan_of(steps)
    assert plan.unplayable is not None
    assert why in plan.unplayable
    assert Player(plan).why_not == plan.unplayable


def test_a_reversed_rfb_connection_keeps_the_sides_of_tcp() -> None:
    plan = plan_of([(C, GREETING, MS), (S, GREETING, 2 * MS), (C, b"\1\1", 3 * MS), (S, b"\1", 4 * MS)])
    assert plan.reversed
    assert [step.name for step in plan.steps] == ["ProtocolVersion", "SecurityTypes"]


def test_guessed_roles_that_were_put_right_turn_the_bytes_too() -> None:
    steps: list[Step] = [(C, GREETING, MS), (S, GREETING, 2 * MS), (C, b"\1\1", 3 * MS), (S, b"\1", 4 * MS)]
    plan = plan_of(steps, roles="port", mid_stream=True, established=False)
    assert not plan.reversed
    assert plan.stream == GREETING + b"\1"


def test_the_other_side_can_be_played_too() -> None:
    plan = plan_of(FAST, played=S)
    assert [step.raw for step in plan.steps] == [GREETING]
    assert [item.message.name for item in plan.expected] == ["SpiceLinkMess"]
    assert plan.end.side is plan.played


def test_choosing(tmp_path: Path) -> None:
    plans, problems = load(str(write(tmp_path / "a.pcapng", CURE, FAST)))
    assert problems == []
    assert choose(plans, 1) is plans[1]
    assert choose(plans[:1]) is plans[0]
    with pytest.raises(
        Unplayable, match=r"2 conversations .* --conversation N:\n  0: .*RFB to SPICE.*\n  1: "
    ):
        choose(plans)
    with pytest.raises(Unplayable, match="no conversation 7"):
        choose(plans, 7)
    with pytest.raises(Unplayable, match="no TCP conversation"):
        choose([])
    assert len(plans[0].sha256 or "") == 64


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.pcapng", CURE)
    [named], _ = load(str(path))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    [piped], _ = load("-")
    assert (piped.stream, piped.sha256) == (named.stream, named.sha256)


def test_the_channels_of_a_session_are_tied_by_its_id(tmp_path: Path) -> None:
    plans = record(tmp_path / "a.pcapng", SPICY, SPICE)
    [[main, *channels]] = sessions(plans)
    assert main.channel_type == 1
    assert [plan.channel_type for plan in channels] == [2, 3]
    assert {plan.session_id for plan in channels} == {main.session_id}
    with pytest.raises(Unplayable, match="--all-channels"):
        choose(plans)
    assert "--all-channels" in (Player(channels[0]).why_not or "")
    assert sessions(record(tmp_path / "b.pcapng", CLIENT, SERVER)) == []
