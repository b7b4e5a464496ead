# SPDX-License-Identifier: GPL-2.0-or-later
"""Start one program under a guard, and keep its last lines with the time of each.

The program gets a session, a temporary directory and an environment of its own. Nothing of it stays when the
main program ends, however that happens: see `dissect.lab.guard`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dissect.lab import guard
from dissect.lab.errors import CannotStart

KEPT_LINES = 2000
"""Lines of output kept of one program; a peer that floods costs at most this many times `LONGEST_LINE`."""
LONGEST_LINE = 4096
"""Bytes after which a line without an end is cut."""
TOKEN = "FIRSTBYTE_PEER"
"""Environment variable that marks every process of a peer, for the case that its guard was killed."""
GUARD_LIMIT_S = 20.0
"""How long the guard itself may take for its own steps before that is an error."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a peer's output, and when it was read (a line counts when its end has come)."""

    stream: str
    """"stdout" or "stderr"."""
    text: str
    monotonic_ns: int
    unix_ns: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How and when the command itself ended. `status` is the exit code, or minus the signal's number."""

    status: int
    monotonic_ns: int
    unix_ns: int

    def __str__(self) -> str:
        """How, in words: "exit code 3", "killed by SIGSEGV"."""
        if self.status >= 0:
            return f"exit code {self.status}"
        try:
            return f"killed by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"killed by signal {-self.status}"


class Output:
    """The last lines of a program, bounded; safe to read while it runs."""

    def __init__(self, changed: threading.Condition, keep: int = KEPT_LINES) -> None:
        self._changed = changed
        self._lines: deque[Line] = deque(maxlen=keep)
        self._partial: dict[str, bytes] = {}
        self._count = 0
        self._closed = False

    def __iter__(self) -> Iterator[Line]:
        with self._changed:
            return iter(list(self._lines))

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def dropped(self) -> int:
        """How many of the first lines are no longer kept."""
        with self._changed:
            return self._count - len(self._lines)

    @property
    def text(self) -> str:
        """What is kept, as one string."""
        return "\n".join(line.text for line in self)

    def last(self, count: int) -> list[str]:
        """The text of the last `count` lines."""
        return [line.text for line in list(self)[-count:]]

    def since(self, number: int) -> tuple[list[Line], int]:
        """The kept lines from the `number`-th ever (0: the first) on, and the number of the next."""
        with self._changed:
            skipped = max(0, number - (self._count - len(self._lines)))
            return list(self._lines)[skipped:], self._count

    def _feed(self, stream: str, data: bytes) -> None:
        monotonic_ns, unix_ns = time.monotonic_ns(), time.time_ns()
        *whole, rest = (self._partial.get(stream, b"") + data).split(b"\n")
        while len(rest) > LONGEST_LINE:
            whole.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._partial[stream] = rest
        with self._changed:
            for raw in whole:
                self._add(Line(stream, _decode(raw), monotonic_ns, unix_ns))
            self._changed.notify_all()

    def _end(self, stream: str) -> None:
        rest = self._partial.pop(stream, b"")
        with self._changed:
            if rest:
                self._add(Line(stream, _decode(rest), time.monotonic_ns(), time.time_ns()))
            self._changed.notify_all()

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        self._count += 1


def _decode(raw: bytes) -> str:
    return raw[:LONGEST_LINE].decode(errors="replace").rstrip("\r")


class Process:
    """One program under a guard.

    Made in two steps, because the command often names files in a directory that must exist first:
    `Process(name)` starts the guard, which makes `directory`; `spawn(argv, ...)` starts the program.
    """

    def __init__(self, name: str, keep_fds: Sequence[int] = (), kept_lines: int = KEPT_LINES) -> None:
        """Start the guard.

        name: for messages. keep_fds: descriptors that the program shall inherit under the same number; the
        caller closes its own copies after `spawn`. Raises CannotStart.
        """
        self.name = name
        self._changed = threading.Condition()
        self.output = Output(self._changed, kept_lines)
        self.pid: int | None = None
        self.exit: Exit | None = None
        self.started_ns: int | None = None
        self.started_monotonic_ns: int | None = None
        self.argv: tuple[str, ...] = ()
        self.left: tuple[int, ...] = ()
        self._failed: str | None = None
        self._sockets: list[str] = []
        self._ready = False
        self._empty = False
        self._done = False
        self._closed = False
        self._token = f"firstbyte-{os.getpid()}-{secrets.token_hex(6)}"
        self.directory = Path(tempfile.gettempdir(), self._token)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        try:
            self._guard = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    guard.__file__,
                    str(theirs.fileno()),
                    str(os.getpid()),
                    str(self.directory),
                    *map(str, keep_fds),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out_end,
                stderr=err_end,
                pass_fds=(theirs.fileno(), *keep_fds),
                start_new_session=True,  # Ctrl-C on the terminal is for the main program only
                cwd="/",
            )
        except OSError as error:
            for fd in (out, err):
                os.close(fd)
            ours.close()
            raise CannotStart(f"{name}: the guard does not start: {error.strerror}") from error
        finally:
            theirs.close()
            os.close(out_end)
            os.close(err_end)
        self._control = ours
        self._pipes = {out: "stdout", err: "stderr"}
        self._reader = threading.Thread(target=self._read, name=f"lab {name}", daemon=True)
        self._reader.start()
        self._wait(lambda: self._ready or self._done)
        if not self._ready:
            self.stop()
            raise CannotStart(f"{name}: the guard ended at once: {' / '.join(self.output.last(2))}")

    def spawn(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None) -> None:
        """Start the program: `argv[0]` is an absolute path; the working directory is `directory`.

        Raises CannotStart with the system's reason.
        """
        self.argv = tuple(argv)
        self.started_ns, self.started_monotonic_ns = time.time_ns(), time.monotonic_ns()
        self._tell(
            do="start",
            argv=list(argv),
            env={**env, TOKEN: self._token},
            cwd=cwd or str(self.directory),
        )
        self._wait(lambda: self.pid is not None or self._failed is not None or self._done)
        if self.pid is None:
            reason = self._failed or "its guard ended"
            self.stop()
            raise CannotStart(f"{self.name}: cannot start {argv[0]}: {reason}")

    def is_display(self, number: int) -> None:
        """Say that it is the X server of display `number`: its files will go even if it is killed."""
        self._sockets.append(f"{guard.X_SOCKETS}{number}")
        self._tell(do="display", number=number)

    @property
    def guard_pid(self) -> int:
        """Process id of the guard: every process of the peer is below it."""
        return self._guard.pid

    @property
    def alive(self) -> bool:
        """Whether any process of it runs still: the command itself, a child, or a daemon it left."""
        with self._changed:
            return self.pid is not None and not self._empty and not self._done

    def pids(self) -> list[int]:
        """All processes of the peer, also daemons it has detached."""
        return guard.descendants(self._guard.pid)

    def wait(self, timeout_s: float | None = None) -> Exit | None:
        """Wait for the command itself to end; None when it has not within `timeout_s`."""
        self._wait(lambda: self.exit is not None or self._done, timeout_s, fail=False)
        return self.exit

    def wait_for_change(self, timeout_s: float) -> None:
        """Return at the next line of output or end of a process, at the latest after `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)

    def wait_for_line(self, pattern: str, timeout_s: float) -> re.Match[str] | None:
        """The first kept or coming line that `pattern` (a regular expression) is found in.

        None when the time is over, or when the program's output has ended without it.
        """
        search = re.compile(pattern).search
        limit = time.monotonic() + timeout_s
        number = 0
        with self._changed:
            while True:
                lines, number = self.output.since(number)
                for line in lines:
                    if match := search(line.text):
                        return match
                left = limit - time.monotonic()
                if left <= 0 or not self._pipes:
                    return None
                self._changed.wait(left)

    def ask_to_stop(self, grace_s: float = 2.0) -> None:
        """Begin what `stop` does, without waiting for it."""
        if not self._closed:
            self._tell(do="stop", grace_ms=int(grace_s * 1000))

    def stop(self, grace_s: float = 2.0) -> None:
        """End all processes of it (SIGTERM, after `grace_s` SIGKILL) and remove its directory.

        Returns when that is done; safe to call again, and from several threads.
        """
        self.ask_to_stop(grace_s)
        limit = grace_s + guard.KILL_LIMIT_S + GUARD_LIMIT_S
        self._wait(lambda: self._done, limit, fail=False)
        if not self._done:  # the guard hangs: it must not keep the main program
            self._guard.kill()
        self._guard.wait()
        self._reader.join(GUARD_LIMIT_S)
        self._closed = True
        self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _tell(self, **order: object) -> None:
        try:
            self._control.send(json.dumps(order).encode())
        except OSError:  # the guard is gone; the reader finds out and sweeps
            pass

    def _wait(self, true: object, timeout_s: float | None = GUARD_LIMIT_S, fail: bool = True) -> None:
        assert callable(true)
        with self._changed:
            if not self._changed.wait_for(true, timeout_s) and fail:
                raise CannotStart(f"{self.name}: the guard does not answer within {timeout_s:g} s")

    def _read(self) -> None:
        """The reader thread: output lines and the guard's events, until both have ended."""
        with selectors.DefaultSelector() as selector:
            for fd in self._pipes:
                selector.register(fd, selectors.EVENT_READ)
            selector.register(self._control, selectors.EVENT_READ)
            control_open = True
            while control_open:
                for key, _ in selector.select():
                    if key.fileobj is self._control:
                        try:
                            packet = self._control.recv(1 << 16)
                        except OSError:
                            packet = b""
                        if packet:
                            self._hear(json.loads(packet))
                        else:
                            control_open = False
                    else:
                        self._read_pipe(selector, key.fd)
            # All writers are dead when the guard has ended, so this only drains what is left.
            for fd in list(self._pipes):
                os.set_blocking(fd, False)
                while fd in self._pipes and self._read_pipe(selector, fd):
                    pass
                if fd in self._pipes:
                    self._close_pipe(selector, fd)
        if not self._done:
            self._sweep()
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _read_pipe(self, selector: selectors.BaseSelector, fd: int) -> bool:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        if data:
            self.output._feed(self._pipes[fd], data)
            return True
        self._close_pipe(selector, fd)
        return False

    def _close_pipe(self, selector: selectors.BaseSelector, fd: int) -> None:
        selector.unregister(fd)
        os.close(fd)
        with self._changed:
            stream = self._pipes.pop(fd)
        self.output._end(stream)

    def _hear(self, event: dict[str, object]) -> None:
        with self._changed:
            match event["event"]:
                case "ready":
                    self._ready = True
                case "started":
                    self.pid = _int(event["pid"])
                case "failed":
                    self._failed = str(event["reason"])
                case "exit":
                    self.exit = Exit(_int(event["status"]), time.monotonic_ns(), time.time_ns())
                case "empty":
                    self._empty = True
                case "done":
                    left = event["left"]
                    assert isinstance(left, list)
                    self.left = tuple(left)
                    self._done = True
            self._changed.notify_all()

    def _sweep(self) -> None:
        """The guard was killed: end what carries our mark, and remove the directory."""
        mark = f"{TOKEN}={self._token}".encode()
        ended: set[int] = set()
        limit = time.monotonic() + guard.KILL_LIMIT_S
        while found := _marked(mark):
            for pid in found:
                ended.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            if time.monotonic() > limit:
                self.left = tuple(found)
                break
            time.sleep(0.01)
        guard.remove_x_files(ended, self._sockets)
        guard.remove_tree(str(self.directory))


def _marked(mark: bytes) -> list[int]:
    """Living processes that carry `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # ended meanwhile, or another user's
                continue
    return found


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
