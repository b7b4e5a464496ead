# SPDX-License-Identifier: GPL-2.0-or-later
"""A server that answers wrongly in one stated way is caught, each time; and a right one is not accused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dissect.lab.models import Change, Cut, Model, Omit, Parting, Peek, serving
from dissect.lab.models import Pace as ModelPace
from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import Plan
from dissect.replay.player import Options
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, play, play_all, record, told


@pytest.fixture(scope="module")
def rfb(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    [plan] = record(tmp_path_factory.mktemp("rfb") / "a.pcapng", CLIENT, SERVER)
    return plan


@pytest.fixture(scope="module")
def spice(tmp_path_factory: pytest.TempPathFactory) -> list[Plan]:
    return record(tmp_path_factory.mktemp("spice") / "a.pcapng", SPICY, SPICE)


RFB_FIELDS: list[tuple[str, str, Any]] = [
    ("ProtocolVersion", "minor", b"007"),
    ("SecurityTypes", "security_types", [1, 2]),
    ("SecurityResult", "status", 1),
    ("ServerInit", "framebuffer_width", 65),
    ("ServerInit", "framebuffer_height", 47),
]


@pytest.mark.parametrize(("message", "field", "value"), RFB_FIELDS, ids=lambda value: str(value))
def test_one_field_changed_in_rfb(rfb: Plan, message: str, field: str, value: Any) -> None:
    result = play(rfb, replace(SERVER, faults=(Change(message, field, value),)), deadline_s=2)
    assert result.outcome is Outcome.DIFF, told(result)
    assert (message, field) in [(d.message, d.field) for d in result.differences], told(result)


@pytest.mark.parametrize(
    "message", ["ProtocolVersion", "SecurityTypes", "SecurityResult", "ServerInit", "FramebufferUpdate"]
)
def test_one_message_missing_in_rfb(rfb: Plan, message: str) -> None:
    result = play(rfb, replace(SERVER, faults=(Omit(message),)), deadline_s=1)
    assert result.outcome in (Outcome.TIMEOUT, Outcome.DIFF, Outcome.EARLY_CLOSE), told(result)
    assert message in [d.message for d in result.differences], told(result)


@pytest.mark.parametrize("then", [Parting.CLOSE, Parting.RESET], ids=str)
@pytest.mark.parametrize(
    ("message", "after"),
    [
        ("ProtocolVersion", 0),
        ("ProtocolVersion", 7),
        ("SecurityTypes", 1),
        ("ServerInit", 24),
        ("FramebufferUpdate", 40),
    ],
)
def test_an_early_close_in_rfb(rfb: Plan, message: str, after: int, then: Parting) -> None:
    result = play(rfb, replace(SERVER, faults=(Cut(message, after, then),)), deadline_s=30)
    ended = (Outcome.EARLY_CLOSE, Outcome.RESET) if then is Parting.RESET else (Outcome.EARLY_CLOSE,)
    assert result.outcome in ended, told(result)
    assert message in [d.message for d in result.differences], told(result)


def test_a_message_that_ends_half_way_is_noted(rfb: Plan) -> None:
    result = play(rfb, replace(SERVER, faults=(Cut("ServerInit", 24),)), deadline_s=30)
    assert any("incomplete: 24 of 29 bytes" in note for note in result.notes), told(result)


SPICE_FIELDS: list[tuple[str, str, Any]] = [
    ("SpiceLinkReply", "error", 3),
    ("SpiceLinkReply", "common_caps", [0b1001]),
    ("SpiceLinkResult", "result", 7),
    ("SPICE_MSG_MAIN_INIT", "current_mouse_mode", 2),
    ("SPICE_MSG_MAIN_INIT", "agent_connected", 1),
]


@pytest.mark.parametrize(("message", "field", "value"), SPICE_FIELDS, ids=lambda value: str(value))
def test_one_field_changed_in_spice(spice: list[Plan], message: str, field: str, value: Any) -> None:
    found = main_of(spice, replace(SPICE, faults=(Change(message, field, value),)))
    assert found.outcome is Outcome.DIFF, told(found)
    assert (message, field) in [(d.message, d.field) for d in found.differences], told(found)


@pytest.mark.parametrize(
    "message",
    [
        "SpiceLinkReply",
        "SpiceLinkResult",
        "SPICE_MSG_MAIN_INIT",
        "SPICE_MSG_MAIN_CHANNELS_LIST",
        "SPICE_MSG_PING",
    ],
)
def test_one_message_missing_in_spice(spice: list[Plan], message: str) -> None:
    found = main_of(spice, replace(SPICE, faults=(Omit(message),)), deadline_s=1)
    assert found.outcome is not Outcome.PASS, told(found)
    assert message in [d.message for d in found.differences], told(found)


@pytest.mark.parametrize("after", [0, 3, 16, 100])
def test_an_early_close_in_spice(spice: list[Plan], after: int) -> None:
    found = main_of(spice, replace(SPICE, faults=(Cut("SpiceLinkReply", after),)))
    assert found.outcome in (Outcome.EARLY_CLOSE, Outcome.RESET), told(found)


def main_of(plans: list[Plan], server: Model, deadline_s: float = 2) -> Result:
    with serving(server) as background:
        return play_all(plans, background.host, background.port, deadline_s=deadline_s)[0]


def test_a_channel_that_is_wrong_is_named(spice: list[Plan]) -> None:
    with serving(SPICE) as right, serving(replace(SPICE, channels=((3, 0),))) as wrong:
        good = play_all(spice, right.host, right.port, deadline_s=30)
        bad = play_all(spice, wrong.host, wrong.port, deadline_s=2)
    assert [result.outcome for result in good] == [Outcome.PASS] * 3
    assert [(result.channel, result.outcome is Outcome.PASS) for result in bad] == [
        ("main", False), ("display", False), ("inputs", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "server",
    [
        replace(SERVER, pace=ModelPace(1, 100_000)),
        replace(SERVER, greeting_delay_ns=200_000_000),
        replace(SERVER, seed=99, name="another machine"),
        replace(SERVER, judges_after=4),
    ],
    ids=["byte-by-byte", "slow", "other-seed", "four-bytes"],
)
def test_a_server_that_is_only_different_in_what_may_differ_passes(rfb: Plan, server: Model) -> None:
    result = play(rfb, server)
    assert result.outcome is Outcome.PASS, told(result)


def test_the_early_prefix_finds_the_server_that_it_breaks(rfb: Plan) -> None:
    """libvncserver up to 0.9.11 looks at four bytes before it greets, and knows no RFB there.

    Its 100 ms are over when a prefix comes after 1.5 s. Where one comes at once it has 3 s, not to be late.
    """
    old = replace(SERVER, peek=Peek(known=(b"GET ",)))
    patient = replace(SERVER, peek=Peek(known=(b"GET ",), ns=3_000_000_000))
    cured = replace(SERVER, peek=Peek(known=(b"GET ", b"RFB "), ns=3_000_000_000))
    for server, delay, passes in (
        (patient, 0, False),
        (cured, 0, True),
        (old, 1_500_000_000, True),
        (SERVER, 0, True),
    ):
        result = play(rfb, server, Options(early_prefix_ns=delay), deadline_s=30)
        assert (result.outcome is Outcome.PASS) is passes, told(result)
    assert play(rfb, old).outcome is Outcome.PASS
