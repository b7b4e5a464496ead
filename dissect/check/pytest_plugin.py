# SPDX-License-Identifier: GPL-2.0-or-later
"""The pytest plugin: a case of a suite as a mark, and the same by hand as a fixture.

::

    @pytest.mark.firstbyte(capture="captures/session.pcapng", peer="xtigervnc", early_prefix=True)
    def test_the_early_prefix_breaks_nothing(firstbyte):
        assert firstbyte.run.compared > 3

    def test_two_sessions_in_a_row(firstbyte):
        with firstbyte.target(command=["./server", "--port", "{port}"]) as server:
            server.check(capture="captures/first.pcapng")
            server.check(capture="captures/second.pcapng", through="ServerInit")

The words are those of a suite's tables (docs/check.md): those of a target, and those of a case; paths are as
seen from the file of the test. A case that does not come out as expected fails the test with the difference
of the messages. Nothing of firstbyte is imported before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dissect.check.running import Run
    from dissect.check.suite import Target

MARK = "firstbyte"
OF_TARGET = frozenset(
    {
        *("peer", "command", "extends", "address", "model", "settings", "faults", "arguments", "host"),
        *("ready", "needs", "environment", "optional"),
    }
)
"""Words that describe a target; all others are the case's, but for `target_password` and `allow_host`."""


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark is for."""
    config.addinivalue_line(
        "markers", f"{MARK}(**words): play a capture at a peer, or probe it, as a case of a firstbyte suite"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each marked test the fixture, also where it does not name it."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is not None and item.get_closest_marker(MARK) is not None and MARK not in names:
            names.append(MARK)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Run the case of a marked test, just before its body."""
    mark = item.get_closest_marker(MARK)
    if mark is None:
        return
    tool: Firstbyte | None = getattr(item, "funcargs", {}).get(MARK)
    if tool is None:
        raise pytest.UsageError(f"{item.nodeid}: the mark {MARK} is for functions")
    if mark.args:
        raise pytest.UsageError(f"{item.nodeid}: {MARK} takes words only: {MARK}(capture=..., ...)")
    tool.check(**mark.kwargs)


@pytest.fixture
def firstbyte(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Firstbyte]:
    """Start peers, replay captures, probe; see `Firstbyte`. What was started is gone after the test."""
    with ExitStack() as stack:
        tool = Firstbyte(request.node, tmp_path, stack)
        yield tool
        tool.keep()


class Firstbyte:
    """What the fixture gives. `run`: the last run: outcome, times, what the peer did, live capture."""

    def __init__(self, item: pytest.Item, folder: Path, stack: ExitStack) -> None:
        self._item, self._folder, self._stack = item, folder, stack
        self._count = 0
        self.run: Run | None = None

    def check(self, **words: Any) -> Run:
        """Start the target that the words describe, and run the case that they describe against it."""
        about = {key: value for key, value in words.items() if key in OF_TARGET or key == "target_password"}
        rest = {key: value for key, value in words.items() if key not in about}
        with self.target(**about) as target:
            return target.check(**rest)

    @contextmanager
    def target(self, **words: Any) -> Iterator[Running]:
        """A target as long as the `with` block lasts; several cases may be run on it."""
        from dissect.check.suite import target_from
        from dissect.check.targets import Live, not_installed
        from dissect.lab.errors import LabError
        from dissect.lab.peers import load_peers

        if "target_password" in words:
            words["password"] = words.pop("target_password")
        try:
            target = target_from("target", words, self._file, load_peers())
            missing = not_installed(target)
            if missing is not None and target.optional:
                pytest.skip(missing)
            live = Live(target)
            try:
                with live:
                    yield Running(self, target, live)
            finally:
                # Now it has ended, and all that it said has been read; and the report is yet to be made.
                if log := live.log():
                    self._item.add_report_section("call", "firstbyte: the peer's log", log)
        except LabError as error:
            pytest.fail(f"firstbyte: {error}", pytrace=False)

    @property
    def _file(self) -> str:
        return str(self._item.path)

    def _path(self) -> Path:
        self._count += 1
        folder = self._folder / f"firstbyte-{self._count}"
        folder.mkdir()
        return folder

    def keep(self) -> None:
        """Leave where the capture is with the test's report."""
        if self.run is not None and self.run.capture is not None:
            self._item.user_properties.append(("firstbyte_capture", str(self.run.capture)))


class Running:
    """A target that runs. host, port: where a server listens."""

    def __init__(self, tool: Firstbyte, target: Target, live: Any) -> None:
        self._tool, self._target, self._live = tool, target, live

    @property
    def host(self) -> str:
        """Where a server listens."""
        return str(self._live.host)

    @property
    def port(self) -> int:
        """Where a server listens."""
        return int(self._live.port)

    def check(self, **words: Any) -> Run:
        """Run the case that the words describe; the test fails where it does not come out as expected."""
        from dissect.check.judging import Status, judge
        from dissect.check.running import Session, prepare
        from dissect.check.suite import Timing, case_from
        from dissect.check.targets import Stop
        from dissect.lab.errors import LabError

        tool = self._tool
        allowed = words.pop("allow_host", ())
        try:
            case = case_from("case", words, tool._file, [tool._item.path.parent])
            if case.needs is not self._target.role:
                pytest.fail(f"firstbyte: this case needs a {case.needs}", pytrace=False)
            played = prepare(case, tool._file, case.password or self._target.password)
            allowed = (allowed,) if isinstance(allowed, str) else tuple(allowed)
            with Session(
                case, self._target, played, tool._path(), Stop(), allowed=allowed, live=self._live
            ) as session:
                runs = [session.run() for _ in range(case.runs)]
        except LabError as error:
            pytest.fail(f"firstbyte: {error}", pytrace=False)
        tool.run = runs[-1]
        judgement = judge(case, runs, None, Timing())
        if judgement.status is not Status.PASS:
            lines = [f"firstbyte: {judgement.status}: {judgement.reason}", *judgement.rates, *judgement.diff]
            pytest.fail("\n".join(lines), pytrace=False)
        return tool.run
