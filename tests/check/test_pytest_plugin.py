# SPDX-License-Identifier: GPL-2.0-or-later
"""The pytest plugin, in a pytest of its own: marks, the fixture, and what a failure shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dissect.check import pytest_plugin
from tests.check import builds
from tests.lab.conftest import leftovers_of

pytest_plugins = ["pytester"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builds.session(tmp_path_factory.mktemp("captures"))


def run(pytester: pytest.Pytester, recorded: Path, text: str, *words: str) -> pytest.RunResult:
    pytester.makepyfile(f"import pytest\nCAPTURE = {str(recorded)!r}\n{text}")
    plugins = ["-p", pytest_plugin.__name__] if not entry_point() else []
    return pytester.runpytest_inprocess(*plugins, "--strict-markers", *words)


def entry_point() -> bool:
    """Whether pytest finds the plugin by itself here."""
    from importlib.metadata import entry_points

    return any(one.value == pytest_plugin.__name__ for one in entry_points(group="pytest11"))


def test_a_marked_test_passes_where_answers_are_as_recorded(
    pytester: pytest.Pytester, recorded: Path
) -> None:
    result = run(
        pytester,
        recorded,
        """
        @pytest.mark.firstbyte(capture=CAPTURE, model="VncServer")
        def test_mark_alone():
            pass

        @pytest.mark.firstbyte(capture=CAPTURE, model="VncServer", early_prefix=True, through="ServerInit")
        def test_with_the_run(firstbyte):
            assert firstbyte.run.compared == 4
            assert firstbyte.run.times["first answer"][0].exact
        """.replace("\n        ", "\n"),
    )
    result.assert_outcomes(passed=2)


def test_a_failure_prints_the_difference_of_the_messages(pytester: pytest.Pytester, recorded: Path) -> None:
    result = run(
        pytester,
        recorded,
        """
        @pytest.mark.firstbyte(capture=CAPTURE, model="VncServer", settings={"width": 99})
        def test_it():
            raise SystemError("the body is not run")
        """.replace("\n        ", "\n"),
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "firstbyte: fail: diff: ServerInit.framebuffer_width expected 64, got 99",
            "*ServerInit.framebuffer_width: expected 64, got 99",
            "*expected      0  00 40 00 30*",
            "*got           0  00 63 00 30*",
        ]
    )
    assert "the body is not run" not in result.stdout.str()
    assert "pytest_plugin.py" not in result.stdout.str()  # no traceback of ours


def test_peers_by_hand(pytester: pytest.Pytester, recorded: Path) -> None:
    builds.program(pytester.path, "mute", builds.MUTE)
    builds.program(pytester.path, "crashes", builds.CRASHES)
    result = run(
        pytester,
        recorded,
        """
        import socket

        def test_two_on_one(firstbyte):
            with firstbyte.target(model="VncServer") as server:
                first = server.check(capture=CAPTURE)
                second = server.check(capture=CAPTURE, shape="bytewise")
                assert first.behaviour == second.behaviour
                socket.create_connection((server.host, server.port)).close()

        def test_a_probe(firstbyte):
            run = firstbyte.check(model="SpiceServer", probe="rfb", lengths=[3, 4], deadline=1.0,
                                  expect={"noticed": {"rfb": 4}})
            assert "rfb: noticed after 4 bytes" in run.behaviour

        def test_a_program_that_hangs(firstbyte):
            firstbyte.check(command=["{python}", "-S", "{directory}/mute.py", "{host}", "{port}"],
                            capture=CAPTURE, deadline=0.5)

        def test_a_program_that_crashes(firstbyte):
            firstbyte.check(command=["{python}", "-S", "{directory}/crashes.py", "{host}", "{port}"],
                            capture=CAPTURE)
        """.replace("\n        ", "\n"),
    )
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "firstbyte: fail: timeout: at the deadline: ProtocolVersion was still to come*",
            "firstbyte: fail: the target has ended (killed by SIGSEGV)*",
            "*firstbyte: the peer's log*",
            "about to fall over",
        ]
    )
    assert leftovers_of(os.getpid()) == []


def test_a_mistake_is_one_line(pytester: pytest.Pytester, recorded: Path) -> None:
    result = run(
        pytester,
        recorded,
        """
        @pytest.mark.firstbyte(capture="no.pcapng", model="VncServer")
        def test_no_capture():
            pass

        @pytest.mark.firstbyte(capture=CAPTURE, model="VncServer", colour=1)
        def test_unknown():
            pass

        @pytest.mark.firstbyte(capture=CAPTURE, command=["no-such-program", "{port}"], optional=True)
        def test_left_out():
            pass
        """.replace("\n        ", "\n"),
        "-rs",
    )
    result.assert_outcomes(failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "firstbyte: *capture: no.pcapng: no such file in *",
            "firstbyte: *colour: unknown key*",
            "*not installed*",
        ]
    )


def test_the_mark_is_known_and_costs_nothing_at_start() -> None:
    """With the plugin, a pytest that runs nothing has imported nothing of ours but it."""
    plugins = [] if entry_point() else ["-p", pytest_plugin.__name__]
    script = f"""
import sys, pytest
pytest.main(["--markers", "-p", "no:cacheprovider", *{plugins!r}])
print("OURS", sorted(name for name in sys.modules if name.startswith("dissect")))
heavy = ("scapy", "dpkt", "matplotlib", "numpy", "scipy")
print("HEAVY", [name for name in heavy if name in sys.modules])
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd="/", check=True
    )
    assert "@pytest.mark.firstbyte(**words)" in answer.stdout
    assert "OURS ['dissect', 'dissect.check', 'dissect.check.pytest_plugin']" in answer.stdout
    assert "HEAVY []" in answer.stdout
