# SPDX-License-Identifier: GPL-2.0-or-later
"""A target for one case: started in a lab of its own, or found running; what it said, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Self

from dissect.lab.errors import LabError, NotInstalled
from dissect.lab.peers import Peer, Role, find_peer, installed, load_peers

if TYPE_CHECKING:
    from dissect.check.suite import Target
    from dissect.lab.lab import Lab, Running
    from dissect.lab.models import Model
    from dissect.lab.models.driver import Background

DISPLAY = "xvfb"


class Stop:
    """A wish that everything ends: asked once, by whoever; told to what is going on then."""

    def __init__(self) -> None:
        self._wish = threading.Event()
        self._lock = threading.RLock()  # a signal's handler may ask while its own thread is in here
        self._calls: list[Callable[[], object]] = []

    def asked(self) -> bool:
        """Whether it was asked for."""
        return self._wish.is_set()

    def ask(self) -> None:
        """Ask for it; what is going on is told at once."""
        self._wish.set()
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            with suppress(RuntimeError):  # a loop that has just come to its end
                call()

    @contextmanager
    def telling(self, call: Callable[[], object]) -> Iterator[None]:
        """As long as the block lasts, `call` is called where the end is asked for."""
        with self._lock:
            self._calls.append(call)
        try:
            if self.asked():
                call()
            yield
        finally:
            with self._lock:
                self._calls.remove(call)


@cache
def _bundled() -> Mapping[str, Peer]:
    return load_peers()


def not_installed(target: Target) -> str | None:
    """Why a target cannot be started on this machine, or None."""
    peer = target.peer
    if peer is None:
        return None
    wanted = [peer] if peer.needs is None else [peer, find_peer(_bundled(), DISPLAY)]
    for one in wanted:
        if not installed(one):
            return str(NotInstalled(one.name, one.command[0], one.package))
    return None


class Live(AbstractContextManager["Live"]):
    """A target while its `with` block lasts. Entering raises LabError where it does not start.

    host, port: where a server listens; a client is started by `launch`.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.host, self.port = target.host, 0
        self.version: str | None = None
        self.starts = 0
        self._stack = ExitStack()
        self._lab: Lab | None = None
        self._running: Running | None = None
        self._model: Background | None = None
        self._log: list[str] = []

    def __enter__(self) -> Self:
        target = self.target
        try:
            if target.address is not None:
                self.host, self.port = target.address.host, target.address.port
            elif target.model is not None:
                self._serve(target.model)
            else:
                self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._model is not None:
            self._stack.close()  # a model has its last word then
            self._log += self._said()
            self._model = None
        self._keep_log()
        self._stack.close()

    # --- programs

    def _serve(self, model: Model) -> None:
        from dissect.lab.models import serving

        self._model = self._stack.enter_context(serving(model, self.host))
        self.port = self._model.port
        self.version = "model"

    def _start(self) -> None:
        from dissect.lab.lab import Lab

        peer = self.target.peer
        assert peer is not None
        self._lab = self._stack.enter_context(Lab(peers={**_bundled(), peer.name: peer}))
        self._lab.check(peer.name)
        if peer.role is Role.SERVER:
            self._launch_server(None)

    def _launch_server(self, port: int | None) -> None:
        assert self._lab is not None
        assert self.target.peer is not None
        self.starts += 1
        self._running = self._lab.start(
            self.target.peer.name,
            host=self.host,
            port=port,
            password=self.target.password,
            arguments=self.target.arguments,
        )
        assert self._running.port is not None
        self.port = self._running.port

    def launch(self, host: str, port: int) -> Running:
        """Start a client target towards `host`:`port`. Raises LabError."""
        assert self._lab is not None
        assert self.target.peer is not None
        self._keep_log()
        self.starts += 1
        self._running = self._lab.run(
            self.target.peer.name,
            host,
            port,
            password=self.target.password,
            arguments=self.target.arguments,
        )
        return self._running

    def ask_version(self) -> str | None:
        """What the program says of its version; None where there is no way to ask."""
        if self.version is None and self._lab is not None and self.target.peer is not None:
            try:
                self.version = self._lab.version(self.target.peer.name)
            except LabError:
                return None
        return self.version

    # --- what became of it

    def died(self) -> str | None:
        """How a server that was started here has ended, in words; None while it runs, or is not ours."""
        running = self._running
        if running is None or running.peer.role is not Role.SERVER or running.alive:
            return None
        return "has ended" if running.exited is None else f"has ended ({running.exited})"

    @property
    def restarts(self) -> bool:
        """Whether it can be started again."""
        return self._running is not None and self._running.peer.role is Role.SERVER

    def restart(self) -> str | None:
        """Start a server again, on its port; why that failed, or None."""
        assert self._running is not None
        self._keep_log()
        port = self._running.port
        self._running.stop(0.5)
        try:
            self._launch_server(port)
        except LabError as error:
            return str(error)
        return None

    def log(self) -> str:
        """What it has said so far, a line each; complete once the block has ended."""
        return "".join(f"{line}\n" for line in [*self._log, *self._said()])

    def _said(self) -> list[str]:
        if self._model is not None:
            return [text for report in self._model.reports for text in report.said]
        if self._running is None:
            return []
        said = [line.text for line in self._running.output]
        dropped = self._running.output.dropped
        if dropped:
            said.insert(0, f"({dropped} earlier lines were not kept)")
        if self._running.exited is not None:
            said.append(f"(ended: {self._running.exited})")
        return said

    def _keep_log(self) -> None:
        if self._running is not None and self._lab is not None:
            if self._running.peer.role is Role.CLIENT or self._running.exited is not None:
                self._running.stop(0.5)  # now all that it said has been read
            self._log += self._said()
            self._log.append(f"(that was start {self.starts})")
            self._running = None if self._running.peer.role is Role.CLIENT else self._running
