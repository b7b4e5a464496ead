# SPDX-License-Identifier: GPL-2.0-or-later
"""Two builds in turns: what changed, and the difference of their times with its interval."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.check.comparing import Compared, difference, interleaved
from dissect.check.judging import Status
from dissect.check.runner import Runner, Settings
from dissect.check.suite import load
from tests.check import builds

pytest.importorskip("scipy")

SUITE = """
[target.good]
model = "VncServer"
[target.late]
model = "VncServer"
settings = { greeting_delay_ns = 100_000_000 }
[target.wide]
model = "VncServer"
settings = { width = 99 }
[case.session]
capture = "session.pcapng"
deadline = 5
targets = ["good", "late", "wide"]
[target.spice]
model = "SpiceServer"
[target.spice-16]
model = "SpiceServer"
settings = { judges_after = 16 }
[case.probe]
probe = "tls"
lengths = [4, 16]
deadline = 1
targets = "spice*"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("compared")
    builds.session(made)
    (made / "suite.toml").write_text(SUITE)
    return made


def compared(folder: Path, first: str, second: str, case: str = "session", samples: int = 8) -> Compared:
    suite = load(folder / "suite.toml")
    runner = Runner(suite, Settings(), folder)
    [found] = interleaved(runner, [suite.cases[case]], suite.targets[first], suite.targets[second], samples)
    return found


def test_the_same_build_is_the_same(folder: Path) -> None:
    found = compared(folder, "good", "good")
    assert (found.status, found.judgement.reason) == (Status.PASS, "the same in 8 and 8 runs")
    assert [len(runs) for runs in found.runs] == [8, 8]


def test_a_later_greeting_has_its_interval(folder: Path) -> None:
    found = compared(folder, "good", "late")
    assert found.status is Status.SLOWER
    gap = found.times["first answer"].difference
    assert gap is not None
    assert gap.low is not None
    assert gap.high is not None
    assert 0 < gap.low <= (gap.ns or 0) <= gap.high
    assert difference(found.times["first answer"]).startswith("+")
    back = compared(folder, "late", "good")
    assert back.status is Status.PASS
    assert difference(back.times["first answer"]).startswith("-")


def test_changed_behaviour_is_named(folder: Path) -> None:
    found = compared(folder, "good", "wide", samples=5)
    assert found.status is Status.FAIL
    assert "ServerInit.framebuffer_width expected 64, got 99" in found.judgement.reason


def test_probes_are_compared_too(folder: Path) -> None:
    found = compared(folder, "spice", "spice-16", "probe", samples=5)
    assert [len(runs) for runs in found.runs] == [2, 2]
    assert found.times["detection of tls"].difference is not None
    assert found.judgement.reason == "tls: expected noticed after 4 bytes, got noticed after 16 bytes"
