# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets for a case, and the wish that all ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dissect.check.suite import target_from
from dissect.check.targets import Live, Stop, not_installed
from dissect.lab.errors import LabError
from tests.check import builds


def test_a_wish_is_told_to_what_goes_on_and_to_nothing_else() -> None:
    stop, told = Stop(), []
    with stop.telling(lambda: told.append("before")):
        pass
    with stop.telling(lambda: told.append("now")):
        assert not stop.asked()
        stop.ask()
    with stop.telling(lambda: told.append("late")):
        pass
    assert told == ["now", "late"]
    assert stop.asked()


def test_a_loop_that_has_ended_is_no_fault() -> None:
    stop, loop = Stop(), asyncio.new_event_loop()
    loop.close()
    with stop.telling(lambda: loop.call_soon_threadsafe(print)):
        stop.ask()


def test_a_wish_may_come_while_its_own_thread_is_in_it() -> None:
    stop = Stop()
    with stop._lock:
        stop.ask()
    assert stop.asked()


def test_a_server_that_was_killed_is_started_again_on_its_port(tmp_path: Path) -> None:
    builds.program(tmp_path, "mute", builds.MUTE)
    words = {"command": ["{python}", "-S", "{directory}/mute.py", "{host}", "{port}"]}
    with Live(target_from("t", words, str(tmp_path / "s.toml"), {})) as live:
        assert live.died() is None
        assert live._running is not None
        live._running.process.stop(0)
        assert live.died() is not None
        port = live.port
        assert live.restart() is None
        assert (live.died(), live.port, live.starts) == (None, port, 2)
    assert "that was start 1" in live.log()


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    builds.program(tmp_path, "dies", builds.DIES)
    words = {"command": ["{python}", "-S", "{directory}/dies.py", "{host}", "{port}"]}
    with (
        pytest.raises(LabError, match=r"exit code 3.*no such option"),
        Live(target_from("t", words, str(tmp_path / "s.toml"), {})),
    ):
        pass


def test_what_is_not_there() -> None:
    gone = target_from("t", {"command": ["no-such-program", "{port}"]}, "s.toml", {})
    assert "not installed" in (not_installed(gone) or "")
    assert not_installed(target_from("t", {"model": "VncServer"}, "s.toml", {})) is None
