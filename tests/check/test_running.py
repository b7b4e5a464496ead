# SPDX-License-Identifier: GPL-2.0-or-later
"""One case against one target: what is expected of it, clients as targets, probes with their capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dissect.capture import open_capture, read
from dissect.check.running import Run, Session, prepare
from dissect.check.suite import Case, case_from, target_from
from dissect.check.targets import Stop
from dissect.check.watching import DETECTION, HANDSHAKE
from dissect.dissection.reading import dissect
from dissect.lab.errors import LabError, PeerTableError
from dissect.lab.probing.stimuli import client_hello
from dissect.replay.outcome import Outcome
from dissect.stream.side import Side
from tests.app.captures import FAST, write
from tests.check import builds
from tests.dissection.conversations import MS, Step

PCAPS = Path(__file__).parents[2] / "pcaps"
VNC = {"model": "VncServer"}
SPICE = {"model": "SpiceServer"}


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builds.session(tmp_path_factory.mktemp("captures")).parent


def case_of(captures: Path, **words: Any) -> Case:
    return case_from("c", words, "suite.toml", [captures, PCAPS])


def run(captures: Path, tmp_path: Path, target: dict[str, Any], **words: Any) -> Run:
    case = case_of(captures, **words)
    made = target_from("t", target, "suite.toml", {})
    with Session(case, made, prepare(case, "suite.toml"), tmp_path, Stop()) as session:
        return session.run()


def test_a_replay_has_times_and_lines(captures: Path, tmp_path: Path) -> None:
    found = run(captures, tmp_path, VNC, capture="session.pcapng")
    assert found.passed
    assert found.behaviour[:2] == ("conversation 0: pass", "  RFB to RFB")
    assert "    name_string: masked, holds the machine's name and a display's number" in found.behaviour
    assert found.times[HANDSHAKE][0].exact
    assert found.compared > 3
    assert found.capture is not None
    assert found.capture.exists()


@pytest.mark.parametrize(
    ("expect", "complaint"),
    [
        ("diff", None),
        ({"outcome": ["timeout", "diff"], "differs": "ServerInit.framebuffer_width"}, None),
        (
            {"outcome": "diff", "differs": ["ServerInit.*", "SecurityTypes.*"]},
            "expected SecurityTypes.* to differ",
        ),
        ("timeout", "expected timeout, got diff: ServerInit.framebuffer_width expected 64, got 99"),
    ],
)
def test_what_is_expected_may_be_a_difference(
    captures: Path, tmp_path: Path, expect: Any, complaint: str | None
) -> None:
    wide = {**VNC, "settings": {"width": 99}}
    found = run(captures, tmp_path, wide, capture="session.pcapng", expect=expect)
    assert found.passed is (complaint is None), found.complaints
    if complaint is not None:
        assert complaint in found.complaints[0]


def test_a_bound_on_the_answer(captures: Path, tmp_path: Path) -> None:
    late = {**VNC, "settings": {"greeting_delay_ns": 300_000_000}}
    words = {"capture": "session.pcapng", "expect": {"within": 0.2}}
    found = run(captures, tmp_path, late, **words)
    assert found.complaints[0].startswith("first answer after ")
    assert found.complaints[0].endswith(", later than 200 ms")


def test_the_wrong_protocol_has_a_detection(captures: Path, tmp_path: Path) -> None:
    found = run(captures, tmp_path, SPICE, capture="gvncviewer--qemu-spice.pcapng", early_prefix=True)
    assert found.passed
    assert "  the server answers the wrong protocol by an error reply" in found.behaviour
    assert found.times[DETECTION][0].exact


def test_a_probe_is_held_to_what_is_expected_and_leaves_a_capture(captures: Path, tmp_path: Path) -> None:
    words = {"probe": ["rfb", "tls"], "lengths": [3, 4, 12], "deadline": 1.0}
    found = run(captures, tmp_path, SPICE, **words, expect={"noticed": {"rfb": 4}, "speaks": "spice"})
    assert found.passed, found.complaints
    assert "rfb: noticed after 4 bytes" in found.behaviour
    assert found.capture is not None
    with open_capture(str(found.capture)) as capture:
        live = list(dissect(read(capture)))
    assert any(one.verdict.client_spoke == "rfb" and one.verdict.server_spoke == "spice" for one in live)
    wrong = run(captures, tmp_path, SPICE, **words, expect={"noticed": {"rfb": 12}, "never": "tls"})
    assert wrong.complaints == [
        "rfb: expected to be noticed after 12 bytes, is after 4",
        "tls: expected not to be noticed, and is after 4 bytes",
    ]


def test_a_sweep_has_its_known_hangs(captures: Path, tmp_path: Path) -> None:
    words = {"sweep": "rfb", "deadline": 1.0, "expect": {"answered": True, "hangs": ["003.008"]}}
    found = run(captures, tmp_path, VNC, **words)
    assert found.complaints == ["003.008: answered, where a hang is known"]


@pytest.mark.peer("vncdotool")
def test_a_client_is_a_target(captures: Path, tmp_path: Path) -> None:
    from dissect.lab.peers import load_peers

    case = case_of(captures, capture="vncdotool-key--qemu-vnc.pcapng", role="server")
    target = target_from("t", {"peer": "vncdotool-key"}, "suite.toml", load_peers())
    with Session(case, target, prepare(case, "suite.toml"), tmp_path, Stop()) as session:
        found = session.run()
    assert found.passed, found.reason
    assert "  ClientInit" in found.behaviour
    assert "the program" not in session.live.log()


def test_a_client_that_never_connects_is_no_pass(captures: Path, tmp_path: Path) -> None:
    quits = {"role": "client", "command": ["{python}", "-c", "print('cannot')"]}
    found = run(captures, tmp_path, quits, capture="session.pcapng", role="server", deadline=20)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "the client ended before it connected (exit code 0)" in found.reason


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"capture": "session.pcapng", "conversation": 7}, "conversation: no conversation 7"),
        ({"capture": "session.pcapng", "through": "Nothing"}, "through: no message Nothing"),
        ({"capture": "xtigervncviewer--xtigervnc-password.pcapng"}, "authenticated with a VNC password"),
        ({"capture": "spicy--qemu-vnc.pcapng", "early_prefix": True}, "early-prefix needs a recorded client"),
    ],
)
def test_what_cannot_be_played_is_said_before_anything_runs(
    captures: Path, words: dict[str, Any], line: str
) -> None:
    with pytest.raises(PeerTableError) as caught:
        prepare(case_of(captures, **words), "suite.toml")
    assert line in str(caught.value)
    assert str(caught.value).startswith("suite.toml: [case.c] ")


def test_a_capture_that_is_none(captures: Path) -> None:
    (captures / "text.pcapng").write_text("not a capture")
    with pytest.raises(PeerTableError, match=r"\[case.c\] capture: "):
        prepare(case_of(captures, capture="text.pcapng"), "suite.toml")


def test_another_host_must_be_allowed(captures: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="--allow-host"):
        run(captures, tmp_path, {"address": "192.0.2.1:5900"}, capture="session.pcapng")


def test_what_of_a_capture_is_not_played_is_said(captures: Path, tmp_path: Path) -> None:
    hello = client_hello()
    tls: list[Step] = [(Side.CLIENT, hello, MS), (Side.SERVER, b"\x16\x03\x03\x00\x02\x02\x00", 2 * MS)]
    write(tmp_path / "two.pcapng", tls, FAST)
    played = prepare(case_of(tmp_path, capture="two.pcapng"), "suite.toml")
    assert len(played.groups) == 1
    [line] = played.left_out
    assert line.startswith("conversation 0 of two.pcapng is not played: both sides spoke TLS")


def test_a_hang_may_be_what_is_expected(captures: Path, tmp_path: Path) -> None:
    mute = {"address": "127.0.0.1:1"}
    found = run(captures, tmp_path, mute, capture="session.pcapng", expect="refused")
    assert found.passed
    assert found.compared == 1


def test_nobody_there(captures: Path, tmp_path: Path) -> None:
    found = run(captures, tmp_path, {"address": "127.0.0.1:1"}, capture="session.pcapng")
    assert (found.outcome, found.behaviour) == (
        Outcome.REFUSED,
        ("conversation 0: refused: connection refused",),
    )
