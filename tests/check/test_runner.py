# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole suite: isolation, builds that do not start, hang, crash or flicker, retries, an end half way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dissect.check import evidence
from dissect.check.judging import Status
from dissect.check.runner import Cell, Runner, Settings, default_parallel
from dissect.check.suite import load
from dissect.check.targets import Stop
from tests.check import builds
from tests.lab.conftest import await_nothing_left, leftovers_of

MODEL = '[target.model]\nmodel = "VncServer"\n'
CASE = '[case.session]\ncapture = "session.pcapng"\ndeadline = 3\n'


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    await_nothing_left(os.getpid())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return builds.session(tmp_path_factory.mktemp("captures"))


def runner_of(
    folder: Path, recorded: Path, text: str, stop: Stop | None = None, **settings: object
) -> Runner:
    path = folder / "suite.toml"
    path.write_text(f'captures = "{recorded.parent}"\n{text}')
    live = folder / "live"
    live.mkdir(exist_ok=True)
    return Runner(load(path), Settings(**settings), live, stop)  # type: ignore[arg-type]


def run(runner: Runner) -> dict[str, Cell]:
    pairs = runner.suite.pairs()
    runner.prepare(pairs)
    return {cell.name: cell for cell in runner.run(pairs)}


def test_builds_that_do_not_do_what_they_should(tmp_path: Path, recorded: Path) -> None:
    text = (
        CASE
        + MODEL
        + "".join(
            builds.program(tmp_path, name, program)
            for name, program in (("crashes", builds.CRASHES), ("dies", builds.DIES), ("mute", builds.MUTE))
        )
    )
    cells = run(runner_of(tmp_path, recorded, text, parallel=3))
    assert cells["session on model"].status is Status.PASS
    crashed = cells["session on crashes"]
    assert crashed.status is Status.FAIL
    assert crashed.judgement.reason.startswith("the target has ended (killed by SIGSEGV)")
    assert "about to fall over" in crashed.log
    dead = cells["session on dies"]
    assert dead.status is Status.ERROR
    assert "exit code 3" in dead.judgement.reason
    assert "no such option: --port" in dead.judgement.reason
    mute = cells["session on mute"]
    assert mute.status is Status.FAIL
    assert "timeout: at the deadline: ProtocolVersion was still to come" in mute.judgement.reason


def test_the_evidence_of_a_failure_is_kept(tmp_path: Path, recorded: Path) -> None:
    text = CASE + builds.program(tmp_path, "crashes", builds.CRASHES)
    [cell] = run(runner_of(tmp_path, recorded, text)).values()
    evidence.keep(cell, tmp_path / "kept")
    place = tmp_path / "kept/crashes/session"
    assert {path.name for path in place.iterdir()} == {"ladder.png", "live.pcapng", "diff.txt", "peer.log"}
    assert list(cell.evidence) == ["ladder", "live capture", "diff", "peer log"]
    assert (place / "ladder.png").read_bytes().startswith(b"\x89PNG")
    text = (place / "diff.txt").read_text()
    assert text.startswith("case session\ntarget crashes\nfail: the target has ended (killed by SIGSEGV)")
    assert "about to fall over" in (place / "peer.log").read_text()
    # A run that is well takes it away, and nothing that is not ours.
    (place / "notes.txt").write_text("mine")
    cell.judgement.status = Status.PASS
    evidence.keep(cell, tmp_path / "kept")
    assert [path.name for path in place.iterdir()] == ["notes.txt"]


def test_a_flaky_build_is_called_flaky_and_retried_only_when_asked(tmp_path: Path, recorded: Path) -> None:
    text = (
        '[case.greets]\ncapture = "session.pcapng"\nthrough = "ProtocolVersion"\ndeadline = 3\n'
        + builds.program(tmp_path, "flickers", builds.FLICKERS)
        + "shared = true\n"
    )
    often = run(runner_of(tmp_path, recorded, text, runs=9))["greets on flickers"]
    assert often.status is Status.FLAKY
    assert len(often.runs) == 9
    assert often.judgement.reason.startswith("right in 6 of 9 runs")
    once = run(runner_of(tmp_path, recorded, text, runs=3))["greets on flickers"]
    assert (len(once.runs), once.retried) == (3, 0)
    wrong = text.replace('through = "ProtocolVersion"', 'through = "ServerInit"')
    tried = run(runner_of(tmp_path, recorded, wrong, retries=2))["greets on flickers"]
    assert (tried.status, len(tried.runs), tried.retried) == (Status.FAIL, 3, 2)


def test_each_case_has_a_peer_and_a_port_of_its_own_unless_shared(tmp_path: Path, recorded: Path) -> None:
    cases = "".join(CASE.replace("session]", f"s{n}]") for n in range(4))
    runner = runner_of(tmp_path, recorded, cases + MODEL, parallel=4)
    cells = run(runner)
    assert {cell.status for cell in cells.values()} == {Status.PASS}
    ports = {line for cell in cells.values() for run in cell.runs for line in run.told if " → " in line}
    assert len({line.split(" → ")[1] for line in ports}) == 4
    shared = run(runner_of(tmp_path, recorded, cases + MODEL + "shared = true\n", parallel=4))
    ports = {line for cell in shared.values() for run in cell.runs for line in run.told if " → " in line}
    assert len({line.split(" → ")[1] for line in ports}) == 1
    assert {cell.status for cell in shared.values()} == {Status.PASS}


def test_what_is_not_installed_is_left_out_or_an_error(tmp_path: Path, recorded: Path) -> None:
    text = CASE + '[target.gone]\ncommand = ["no-such-server", "{port}"]\noptional = true\n'
    assert run(runner_of(tmp_path, recorded, text))["session on gone"].status is Status.LEFT_OUT
    found = run(runner_of(tmp_path, recorded, text.replace("optional = true", "")))["session on gone"]
    assert found.status is Status.ERROR
    assert "not installed" in found.judgement.reason


def test_the_end_half_way_leaves_nothing_and_calls_nothing_decided(tmp_path: Path, recorded: Path) -> None:
    stop = Stop()
    cases = "".join(f'[case.s{n}]\ncapture = "session.pcapng"\ndeadline = 60\n' for n in range(5))
    text = cases + builds.program(tmp_path, "mute", builds.MUTE)
    runner = runner_of(tmp_path, recorded, text, stop, parallel=2)
    pairs = runner.suite.pairs()
    threading.Timer(1.0, stop.ask).start()
    began = time.monotonic()
    cells = list(runner.run(pairs))
    assert time.monotonic() - began < 30  # five minutes, otherwise
    assert {cell.status for cell in cells} == {Status.NOT_RUN}
    assert len(cells) == 5
    assert leftovers_of(os.getpid()) == []


def test_a_baseline_is_written_once_and_left_alone_while_it_says_the_same(
    tmp_path: Path, recorded: Path
) -> None:
    runner = runner_of(tmp_path, recorded, CASE + MODEL, record=True)
    [cell] = run(runner).values()
    assert (cell.status, cell.judgement.reason) == (Status.RECORDED, "new: conversation 0: pass")
    path = tmp_path / "suite.baselines/model/session.txt"
    text = path.read_text()
    assert "seen: 3 of 3" in text
    assert "name_string: masked, holds the machine's name" in text
    [cell] = run(runner_of(tmp_path, recorded, CASE + MODEL, record=True)).values()
    assert cell.judgement.reason == "unchanged: conversation 0: pass"
    assert path.read_text() == text
    [cell] = run(runner_of(tmp_path, recorded, CASE + MODEL)).values()
    assert (cell.status, cell.judgement.reason) == (Status.PASS, "as recorded")
    changed = MODEL + "settings = { width = 99 }\n"
    [cell] = run(runner_of(tmp_path, recorded, CASE + changed)).values()
    assert cell.status is Status.FAIL
    assert "ServerInit.framebuffer_width expected 64, got 99" in cell.judgement.reason
    [cell] = run(runner_of(tmp_path, recorded, CASE + changed, record=True)).values()
    assert cell.judgement.reason.startswith("changed: conversation 0: diff: ServerInit.framebuffer_width")
    assert "framebuffer_width = 99" in path.read_text()


def test_another_builds_baseline(tmp_path: Path, recorded: Path) -> None:
    two = MODEL + '[target.other]\nmodel = "VncServer"\nsettings = { width = 99 }\n'
    run(runner_of(tmp_path, recorded, CASE + two, record=True))
    cells = run(runner_of(tmp_path, recorded, CASE + two, against="model"))
    assert cells["session on model"].status is Status.PASS
    assert cells["session on other"].status is Status.FAIL


def test_at_once_is_as_many_as_processors() -> None:
    assert default_parallel() >= 1
