# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays against model peers: what is recorded passes against what it was recorded from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.lab.models import serving
from dissect.replay.compare import Rules
from dissect.replay.outcome import Outcome
from dissect.replay.player import (
    MS,
    SECOND,
    Action,
    Close,
    HalfClose,
    Options,
    Pace,
    Player,
    Reset,
    Send,
    Shape,
)
from dissect.rfb import messages as rfb
from tests.app.captures import CURE, FAST, HANG
from tests.dissection.conversations import ERROR_REPLY, FIN, GREETING, LINK_MESS, C, S, Step
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, plan_of, play, play_all, record, told

SHAPES = [Shape(), Shape("bytes", gap_ns=0), Shape("coalesced"), Shape("split", (4, 8, 3))]


@pytest.mark.parametrize("pace", list(Pace))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_rfb_passes_against_what_it_was_recorded_from(tmp_path: Path, shape: Shape, pace: Pace) -> None:
    [plan] = record(tmp_path / "a.pcapng", CLIENT, SERVER)
    result = play(plan, SERVER, Options(shape=shape, pace=pace))
    assert result.outcome is Outcome.PASS, told(result)
    assert result.compared_messages == 5


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.kind)
def test_a_whole_spice_session_passes(tmp_path: Path, shape: Shape) -> None:
    plans = record(tmp_path / "a.pcapng", SPICY, SPICE)
    assert len(plans) == 3
    with serving(SPICE) as server:
        results = play_all(plans, server.host, server.port, Options(shape=shape))
    assert [result.outcome for result in results] == [Outcome.PASS] * 3, [told(result) for result in results]
    assert [result.channel for result in results] == ["main", "display", "inputs"]


# --- Pure: bytes and times in, actions out ----------------------------------------------------------------


def sent(actions: list[Action]) -> list[bytes]:
    return [action.data for action in actions if isinstance(action, Send)]


class Clocked:
    """Drives a player in simulated time; `out` is what it sent, with the times since it was opened."""

    def __init__(self, player: Player) -> None:
        self.player, self.now = player, 1_000
        self.out: list[tuple[int, bytes]] = []
        self.ends: list[Action] = []
        self.take(player.opened(self.now))

    def take(self, actions: list[Action]) -> None:
        self.out += [(self.now - 1_000, data) for data in sent(actions)]
        self.ends += [action for action in actions if not isinstance(action, Send)]

    def hear(self, data: bytes) -> None:
        self.take(self.player.received(data, self.now))
        self.run(0)

    def end(self, how: Literal["close", "reset"] = "close") -> None:
        self.take(self.player.ended(how, self.now))

    def run(self, ns: int) -> None:
        """Let `ns` pass, waking the player whenever it wants to be."""
        until = self.now + ns
        while (wake := self.player.wake_ns) is not None and wake <= until:
            self.now = max(self.now, wake)
            self.take(self.player.woken(self.now))
        self.now = until


def test_lockstep_waits_for_the_answer() -> None:
    clocked = Clocked(Player(plan_of(FAST)))
    clocked.run(10 * SECOND)
    assert clocked.out == []
    clocked.hear(GREETING)
    assert [data for _, data in clocked.out] == [LINK_MESS]
    clocked.end()
    result = clocked.player.result
    assert (result.outcome, result.compared_messages, result.compared_endings) == ("pass", 1, 1)
    assert clocked.ends == [Close()]


def test_asap_does_not_wait() -> None:
    clocked = Clocked(Player(plan_of(FAST), Options(pace=Pace.ASAP)))
    assert clocked.out == [(0, LINK_MESS)]


@pytest.mark.parametrize(("speed", "cap", "at"), [(1, None, 1860), (4, None, 465), (1, 1000, 1000)])
def test_the_recorded_pace(speed: float, cap: int | None, at: int) -> None:
    options = Options(pace=Pace.RECORDED, speed=speed, idle_cap_ns=None if cap is None else cap * MS)
    clocked = Clocked(Player(plan_of(CURE), options))
    clocked.run(5 * SECOND)
    assert clocked.out == [(at * MS, b"RFB ")]


def test_a_silence_is_kept_and_counts() -> None:
    clocked = Clocked(Player(plan_of(CURE)))
    clocked.run(1_859 * MS)
    assert clocked.out == []
    clocked.run(2 * MS)
    assert clocked.out == [(1_860 * MS, b"RFB ")]
    clocked.hear(ERROR_REPLY)
    clocked.end()
    result = clocked.player.result
    assert (result.outcome, result.compared_silences) == ("pass", 1), told(result)


def test_a_silence_that_is_broken_is_a_difference() -> None:
    clocked = Clocked(Player(plan_of(HANG, 20 * SECOND)))
    clocked.run(SECOND)
    clocked.hear(GREETING)
    clocked.run(10 * SECOND)
    result = clocked.player.result
    assert result.outcome is Outcome.DIFF
    assert ("ProtocolVersion", "(message)") in [(d.message, d.field) for d in result.differences]


def test_bytes_that_nobody_knows_break_a_silence_too() -> None:
    clocked = Clocked(Player(plan_of(HANG, 20 * SECOND)))
    clocked.hear(b"\x07")
    clocked.run(10 * SECOND)
    assert clocked.player.result.outcome is Outcome.DIFF
    assert clocked.player.result.differences[-1].got == "1 bytes"


def test_a_silence_is_cut_at_the_cap_and_given_by_the_user() -> None:
    for options, lasted in ((Options(), 2 * SECOND), (Options(silence_ns=5 * SECOND), 5 * SECOND)):
        clocked = Clocked(Player(plan_of(HANG, 20 * SECOND), options))
        clocked.run(30 * SECOND)
        assert clocked.player.result.outcome is Outcome.PASS
        assert clocked.player.result.lasted_ns == lasted


def test_nothing_compared_is_never_a_pass() -> None:
    """A client that closed at once, and a server that had not said a word by then."""
    clocked = Clocked(Player(plan_of([(C, FIN, 1), (S, FIN, 2)])))
    clocked.run(SECOND)
    assert clocked.player.result.outcome is Outcome.INCONCLUSIVE
    assert clocked.player.result.reason == "nothing was compared"


def test_a_server_that_stays_where_it_left_is_a_timeout() -> None:
    clocked = Clocked(Player(plan_of(FAST)))
    clocked.hear(GREETING)
    clocked.run(5 * SECOND)
    assert not clocked.player.over
    assert clocked.player.stopped("deadline", clocked.now) == [Reset()]
    result = clocked.player.result
    assert result.outcome is Outcome.TIMEOUT
    assert "did not end the connection" in result.reason


@pytest.mark.parametrize(
    ("how", "rules", "outcome"),
    [("reset", {}, "pass"), ("reset", {"ending": {"how": "exact"}}, "diff"), ("close", {}, "pass")],
)
def test_whether_a_reset_is_a_close(
    how: Literal["close", "reset"], rules: dict[str, Any], outcome: str
) -> None:
    clocked = Clocked(Player(plan_of(FAST), Options(rules=Rules(rules))))
    clocked.hear(GREETING)
    clocked.end(how)
    assert clocked.player.result.outcome == outcome
    assert bool(clocked.player.result.notes) is (how == "reset")


@pytest.mark.parametrize(
    ("shape", "pieces"),
    [
        (Shape(), [4, 38]),
        (Shape("coalesced"), [42]),
        (Shape("bytes", gap_ns=0), [1] * 42),
        (Shape("split", (4, 8)), [4, 8, 30]),
        (Shape("split", (100,)), [42]),
    ],
    ids=["captured", "coalesced", "bytes", "split", "split-long"],
)
def test_shapes(shape: Shape, pieces: list[int]) -> None:
    steps: list[Step] = [
        (S, GREETING, MS), (C, LINK_MESS[:4], 2 * MS), (C, LINK_MESS[4:], 3 * MS), (S, FIN, 4 * MS),
    ]  # fmt: skip
    clocked = Clocked(Player(plan_of(steps), Options(shape=shape)))
    clocked.hear(GREETING)
    clocked.run(SECOND)
    assert [len(data) for _, data in clocked.out] == pieces
    assert b"".join(data for _, data in clocked.out) == LINK_MESS


def test_pieces_have_a_pause_between_them() -> None:
    clocked = Clocked(Player(plan_of(FAST), Options(shape=Shape("bytes", gap_ns=MS))))
    clocked.hear(GREETING)
    clocked.run(SECOND)
    assert [at for at, _ in clocked.out] == [number * MS for number in range(42)]


def test_fewer_updates_are_waited_for_ever_less() -> None:
    """Ten requests, each answered when it was recorded; the live server answers only the first."""
    request = bytes(rfb.FramebufferUpdateRequest(width=8, height=8))
    update = bytes(rfb.FramebufferUpdateHeader(number_of_rectangles=0))
    init = bytes(rfb.ServerInit(framebuffer_width=8, framebuffer_height=8, name_string=b"model"))
    steps: list[Step] = [*AGREED[:6], (S, init, 7 * MS)]
    for number in range(10):
        steps += [(C, request, (10 + 2 * number) * MS), (S, update, (11 + 2 * number) * MS)]
    clocked = Clocked(Player(plan_of(steps)))
    for answer in (GREETING, b"\1\1", bytes(4), init, update):
        clocked.hear(answer)
    clocked.run(5 * SECOND)
    result = clocked.player.result
    assert result.outcome is Outcome.PASS, told(result)
    assert (result.sent_messages, result.compared_messages, result.unanswered_messages) == (13, 5, 9)
    assert SECOND // 4 < result.lasted_ns < 1200 * MS


AGREED: list[Step] = [
    (S, GREETING, MS), (C, GREETING, 2 * MS), (S, b"\1\1", 3 * MS), (C, b"\1", 4 * MS), (S, bytes(4), 5 * MS),
    (C, b"\1", 6 * MS), (C, FIN, 7 * MS), (S, FIN, 8 * MS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("delay", "greeted", "out"),
    [
        (0, 5 * MS, [(0, b"RFB "), (5 * MS, b"003.008\n")]),
        (2 * MS, 5 * MS, [(2 * MS, b"RFB "), (5 * MS, b"003.008\n")]),
        (9 * MS, 5 * MS, [(5 * MS, GREETING)]),
        (None, 5 * MS, [(5 * MS, GREETING)]),
    ],
)
def test_the_early_prefix(delay: int | None, greeted: int, out: list[tuple[int, bytes]]) -> None:
    clocked = Clocked(Player(plan_of(AGREED), Options(early_prefix_ns=delay)))
    clocked.run(greeted)
    clocked.hear(GREETING)
    assert clocked.out == out
    clocked.hear(b"\1\1")
    clocked.hear(bytes(4))
    clocked.run(SECOND)
    assert clocked.player.result.outcome is Outcome.PASS, told(clocked.player.result)


def test_an_early_prefix_that_was_recorded_is_played_again() -> None:
    steps: list[Step] = [
        (C, b"RFB ", 100 * MS),
        (S, GREETING, 200 * MS),
        (C, GREETING[4:], 201 * MS),
        *AGREED[2:],
    ]
    shifted = [(side, what, time + 300 * MS if n > 2 else time) for n, (side, what, time) in enumerate(steps)]
    clocked = Clocked(Player(plan_of(shifted)))
    clocked.run(150 * MS)
    assert clocked.out == [(100 * MS, b"RFB ")]
    clocked.hear(GREETING)
    assert clocked.out[1:] == [(150 * MS, GREETING[4:])]


def test_the_early_prefix_of_a_client_that_got_no_further() -> None:
    clocked = Clocked(Player(plan_of(CURE), Options(early_prefix_ns=0)))
    assert clocked.out == [(0, b"RFB ")]
    clocked.hear(ERROR_REPLY)
    clocked.end()
    assert clocked.player.result.outcome is Outcome.PASS
    assert clocked.player.result.unsent_messages == 0


@pytest.mark.parametrize(("steps", "why"), [(FAST, "this one spoke SPICE"), (HANG, "this one spoke nothing")])
def test_the_early_prefix_needs_an_rfb_client(steps: list[Step], why: str) -> None:
    assert why in (Player(plan_of(steps, 20 * SECOND), Options(early_prefix_ns=0)).why_not or "")


def test_another_protocol_is_named() -> None:
    clocked = Clocked(Player(plan_of(AGREED)))
    clocked.hear(ERROR_REPLY)
    [difference, *_] = clocked.player.result.differences
    assert (difference.message, difference.expected, difference.got) == ("ProtocolVersion", "RFB", "SPICE")
    assert clocked.player.over


def test_a_reversed_connection_is_played_with_its_own_sides() -> None:
    steps: list[Step] = [
        (C, GREETING, MS), (S, GREETING, 2 * MS), (C, b"\1\1", 3 * MS), (S, b"\1", 4 * MS),
        (C, bytes(4), 5 * MS), (C, FIN, 6 * MS),
    ]  # fmt: skip
    clocked = Clocked(Player(plan_of(steps)))
    clocked.hear(GREETING)
    clocked.hear(b"\1")
    clocked.run(SECOND)
    assert [data for _, data in clocked.out] == [GREETING, b"\1\1", bytes(4)]
    assert clocked.player.result.outcome is Outcome.PASS, told(clocked.player.result)


def test_a_half_close_is_played_as_one() -> None:
    steps: list[Step] = [
        (C, b"GET / HTTP/1.0\r\n\r\n", MS), (C, FIN, 2 * MS), (S, ERROR_REPLY, 3 * MS), (S, FIN, 4 * MS),
    ]  # fmt: skip
    clocked = Clocked(Player(plan_of(steps)))
    clocked.run(0)
    assert clocked.ends == [HalfClose()]
    clocked.hear(ERROR_REPLY)
    clocked.end()
    assert clocked.player.result.outcome is Outcome.PASS, told(clocked.player.result)


def test_the_result_has_the_keys_of_the_contract() -> None:
    clocked = Clocked(Player(plan_of(FAST)))
    clocked.hear(GREETING.replace(b"8", b"7"))
    clocked.end()
    found = clocked.player.result.to_json()
    assert found["outcome"] == "diff"
    assert (found["sent_bytes"], found["received_bytes"], found["compared_messages"]) == (42, 12, 1)
    assert found["differences"] == [
        {"message": "ProtocolVersion", "field": "minor", "expected": "008", "got": "007", "nth": 0}
    ]


@given(st.lists(st.integers(1, 40), max_size=30))
def test_how_the_answers_are_cut_changes_nothing(cuts: list[int]) -> None:
    init = bytes(rfb.ServerInit(framebuffer_width=8, framebuffer_height=8, name_string=b"model"))
    steps: list[Step] = [*AGREED[:6], (S, init, 7 * MS), (C, FIN, 8 * MS)]
    clocked = Clocked(Player(plan_of(steps)))
    sizes = iter(cuts)
    for answer in (
        GREETING,
        b"\1\1",
        bytes(4),
        bytes(rfb.ServerInit(framebuffer_width=9, name_string=b"model")),
    ):
        left = answer
        while left:
            size = next(sizes, len(left))
            clocked.hear(left[:size])
            left = left[size:]
    clocked.run(SECOND)
    result = clocked.player.result
    assert [(d.message, d.field) for d in result.differences] == [
        ("ServerInit", "framebuffer_width"), ("ServerInit", "framebuffer_height"),
    ]  # fmt: skip
    assert (result.outcome, result.compared_messages, b"".join(data for _, data in clocked.out)) == (
        Outcome.DIFF, 4, GREETING + b"\1\1",
    )  # fmt: skip
    assert result.reason == "ServerInit.framebuffer_width differs and 1 more"


SSH, OTHER = b"SSH-2.0-OpenSSH_9.2\r\n", b"\x07\x01\x02\x03 whatever"


@pytest.mark.parametrize(
    ("recorded", "live", "outcome"),
    [
        (SSH, SSH, "pass"),
        (SSH, SSH[:-4] + b"x\r\n", "pass"),
        (SSH, OTHER, "diff"),
        (OTHER, OTHER, "inconclusive"),
    ],
)
def test_of_bytes_that_nobody_reads_only_the_protocol_is_compared(
    recorded: bytes, live: bytes, outcome: str
) -> None:
    """And where not even that is known, nothing was compared."""
    clocked = Clocked(Player(plan_of([(S, recorded, MS), (C, b"hello", 2 * MS), (C, FIN, 3 * MS)])))
    clocked.hear(live)
    clocked.run(SECOND)
    assert [data for _, data in clocked.out] == [b"hello"]
    assert clocked.player.result.outcome == outcome, told(clocked.player.result)
