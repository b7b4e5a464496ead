# SPDX-License-Identifier: GPL-2.0-or-later
"""A replay from a program: the outcomes of the command, inside an event loop too, and refusals in words."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dissect import firstbyte as fb
from dissect.lab.models import VncServer, serving
from dissect.replay.outcome import Outcome
from tests.house.floors import ROOT

PCAPS = ROOT / "pcaps"
RECORDED = PCAPS / "xtigervncviewer--qemu-vnc.pcapng"


def test_a_difference_is_shown_as_text() -> None:
    with serving(VncServer(width=160, height=480)) as server:
        found = fb.replay(RECORDED, to=f"127.0.0.1:{server.port}", through="ServerInit")
    assert found.outcome is Outcome.DIFF
    assert "ServerInit.framebuffer_width: expected 640, got 160" in str(found)
    assert found.reason in str(found)


def test_it_works_where_an_event_loop_runs_already() -> None:
    async def cell() -> fb.Replayed:
        return fb.replay(RECORDED, to=f"127.0.0.1:{server.port}", through="ServerInit")

    with serving(VncServer(width=640, height=480)) as server:
        assert asyncio.run(cell())


def test_the_early_prefix_and_a_password_are_passed_on() -> None:
    with serving(VncServer(width=640, height=480)) as server:
        assert fb.replay(RECORDED, to=f"127.0.0.1:{server.port}", through="ServerInit", early_prefix=0)
    with pytest.raises(fb.ReplayError, match="password"):
        fb.replay(PCAPS / "xtigervncviewer--xtigervnc-password.pcapng", to="127.0.0.1:1")


def test_nobody_there_is_an_outcome() -> None:
    with socket.socket() as held:  # bound and not listening: nobody else gets the port
        held.bind(("127.0.0.1", 0))
        found = fb.replay(RECORDED, to=f"127.0.0.1:{held.getsockname()[1]}")
    assert (found.outcome, bool(found)) == (Outcome.REFUSED, False)


@pytest.mark.parametrize(
    ("to", "options", "words"),
    [
        ("10.1.2.3:5900", {}, "not this machine's loopback"),
        ("nowhere", {}, "neither HOST:PORT"),
        ("127.0.0.1:1", {"conversation": 9}, "no conversation 9"),
        ("127.0.0.1:1", {"through": "NoSuchMessage"}, "no message NoSuchMessage"),
    ],
)
def test_what_cannot_be_begun_is_said_before_anything_is_sent(
    to: str, options: dict[str, int | str], words: str
) -> None:
    with pytest.raises(fb.ReplayError, match=words):
        fb.replay(RECORDED, to=to, **options)  # type: ignore[arg-type]
    with pytest.raises(fb.CaptureError):
        fb.replay(ROOT / "pyproject.toml", to="127.0.0.1:1")
