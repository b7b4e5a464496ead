# SPDX-License-Identifier: GPL-2.0-or-later
# pathlib would be the largest import of a program that every start waits for:
# ruff: noqa: PTH101, PTH102, PTH108, PTH110, PTH114, PTH115, PTH118, PTH120, PTH208
"""The guard: a small process that outlives the main program just long enough to clean up after it.

One guard stands between the main program and one peer. It makes a private temporary directory, starts the
peer in a session of its own, and makes itself the reaper of every process the peer leaves behind
(`PR_SET_CHILD_SUBREAPER`), so a daemon that detaches itself is still a child of the guard. When it is told to
stop, when its connection to the main program closes, or when the main program dies in any way (also by
SIGKILL), it ends all of them, removes the directory and the lock files that killed X servers leave in /tmp,
and ends itself.

Run as a program: `python guard.py CONTROL_FD PARENT_PID DIRECTORY [KEEP_FD...]`. CONTROL_FD is one end of an
AF_UNIX SOCK_SEQPACKET pair; each packet is one JSON object:

- from the guard: `{"event": "ready"}` once the directory exists, then after a start `{"event": "started",
  "pid"}` or `{"event": "failed", "reason"}`, `{"event": "exit", "status"}` (>= 0 the exit code, < 0 minus the
  signal) when the command itself ends, `{"event": "empty"}` when no process of its tree is left,
  `{"event": "done", "left"}` at the end (`left`: process ids that would not die, normally none).
- to the guard: `{"do": "start", "argv", "env", "cwd"}` once, `{"do": "display", "number"}` when it is known
  that the peer is an X server, `{"do": "stop", "grace_ms"}`.

The guard's standard output and error become the peer's. KEEP_FD are passed on to the peer. Only small parts
of the standard library are imported, because every peer that starts waits for this file.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
X_SOCKETS = "/tmp/.X11-unix/X"
GRACE_AFTER_CRASH_MS = 500
"""How long the peer may take to end by itself when the main program is gone."""
KILL_LIMIT_S = 10.0
"""How long the guard keeps killing before it reports what it could not kill."""


def parents() -> dict[int, int]:
    """Every process id that /proc shows now -> its parent's."""
    found: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                stat = file.read()
        except OSError:  # it ended between listing and reading
            continue
        # The name in parentheses may hold anything, also ") R 1 "; the last parenthesis closes it.
        fields = stat[stat.rfind(b")") + 1 :].split()
        if len(fields) > 1:
            found[int(entry)] = int(fields[1])
    return found


def descendants(root: int) -> list[int]:
    """Process ids of all children of `root`, their children and so on, without `root`; zombies included."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), ())
        found.extend(below)
        waiting.extend(below)
    return found


def children(pid: int) -> list[int]:
    """Process ids of the direct children of `pid`, from one small file for each of its threads.

    Much faster than `descendants`, but not all kernels have it; then the list is empty.
    """
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass
    return found


def remove_tree(directory: str) -> None:
    """Remove `directory` with all that is in it; links are removed, never followed. Missing is fine."""

    def make_writable(error: OSError) -> None:
        # A peer may have made a directory that its owner may not list.
        if isinstance(error.filename, str):
            try:
                os.chmod(error.filename, 0o700)
            except OSError:
                pass

    for _ in range(3):  # again where a directory had to be made readable first
        for path, names, files in os.walk(directory, topdown=False, onerror=make_writable):
            for name in files:
                _quietly(os.unlink, os.path.join(path, name))
            for name in names:
                full = os.path.join(path, name)
                _quietly(os.unlink if os.path.islink(full) else os.rmdir, full)
            _quietly(os.rmdir, path)
        if not os.path.lexists(directory):
            return


def _quietly(do: Any, path: str) -> None:
    try:
        do(path)
    except OSError:
        parent = os.path.dirname(path)
        try:
            os.chmod(parent, 0o700)
            do(path)
        except OSError:
            pass


def x_sockets(pids: Iterable[int]) -> set[str]:
    """Paths in /tmp/.X11-unix on which one of the processes `pids` listens."""
    listening = {inode: path for inode, path in _unix_listeners() if path.startswith(X_SOCKETS)}
    found: set[str] = set()
    for pid in pids if listening else ():
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:  # it ended meanwhile
            continue
        for fd in names:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in listening:
                found.add(listening[target[8:-1]])
    return found


def _unix_listeners() -> list[tuple[str, str]]:
    """Inode and path of each named unix socket that somebody listens on."""
    found: list[tuple[str, str]] = []
    try:
        with open("/proc/net/unix") as file:
            for line in file:
                fields = line.split(None, 7)
                if len(fields) == 8 and fields[3] == "00010000":
                    found.append((fields[6], fields[7].rstrip("\n")))
    except OSError:
        pass
    return found


def remove_x_files(dead: Iterable[int], sockets: Iterable[str]) -> None:
    """Remove what X servers that were killed leave in /tmp; one that ends by itself does it itself.

    dead: the processes they ran as; the lock files name them. sockets: theirs, where known; an X server that
    chose its display number itself makes no lock file. What somebody else uses by now stays.
    """
    ended, stale = set(dead), set(sockets)
    for name in os.listdir("/tmp"):
        if not (name.startswith(".X") and name.endswith("-lock") and name[2:-5].isdigit()):
            continue
        lock = f"/tmp/{name}"
        try:
            with open(lock, "rb") as file:
                owner = int(file.read(32))
            if owner in ended and not os.path.exists(f"/proc/{owner}"):
                os.unlink(lock)
                stale.add(f"{X_SOCKETS}{name[2:-5]}")
        except (OSError, ValueError):
            continue
    if stale:
        used = {path for _, path in _unix_listeners()}
        for path in stale - used:
            try:
                os.unlink(path)
            except OSError:
                pass


class Guard:
    """State of one guard process; see the module's text for what it does."""

    def __init__(self, control: socket.socket, parent: int, directory: str, keep: list[int]) -> None:
        self.control = control
        self.parent = parent
        self.directory = directory
        self.keep = keep
        self.command: int | None = None
        self.seen: set[int] = set()
        self.sockets: set[str] = set()
        self.started = False
        self.told_empty = False

    def say(self, **event: object) -> None:
        try:
            self.control.send(json.dumps(event).encode())
        except OSError:  # nobody is left to hear it
            pass

    def start(self, argv: list[str], env: dict[str, str], cwd: str) -> None:
        """Fork and exec; report the process id, or why exec failed."""
        read_end, write_end = os.pipe()  # close-on-exec: end of file here means that exec worked
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                # Only for the case that somebody kills the guard itself.
                _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_DFL)
                for fd in self.keep:
                    os.set_inheritable(fd, True)
                os.chdir(cwd)
                os.execve(argv[0], argv, env)
            except OSError as error:
                os.write(write_end, f"{error.filename or argv[0]}: {error.strerror}".encode())
            except BaseException as error:
                os.write(write_end, repr(error).encode())
            finally:
                os._exit(127)
        os.close(write_end)
        reason = b""
        while part := os.read(read_end, 4096):
            reason += part
        os.close(read_end)
        # From here on only the peer holds these, so the main program sees their end.
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)
        for fd in self.keep:
            os.close(fd)
        self.keep = []
        self.started = True
        self.seen.add(pid)
        if reason:
            os.waitpid(pid, 0)
            self.say(event="failed", reason=reason.decode(errors="replace"))
        else:
            self.command = pid
            self.say(event="started", pid=pid)

    def reap(self) -> bool:
        """Collect ended children; True when none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            self.seen.add(pid)
            if pid == self.command:
                self.command = None
                self.say(event="exit", status=os.waitstatus_to_exitcode(status))

    def kill(self, grace_ms: int) -> list[int]:
        """End every process below the guard: SIGTERM, then after `grace_ms` SIGKILL until none is left.

        Returns those that could not be ended within `KILL_LIMIT_S`.
        """
        self.signal_all(signal.SIGTERM)
        if self.wait_empty(grace_ms / 1000):
            return []
        limit = time.monotonic() + KILL_LIMIT_S
        while time.monotonic() < limit:
            # Again and again: a process may fork while it is being killed.
            self.signal_all(signal.SIGKILL)
            if self.wait_empty(0.005):
                return []
            # One that forks and ends without pause is never where the slow look at /proc has seen it. But
            # each time its parent ends it becomes our own child, and those can be looked up fast.
            for _ in range(200):
                for pid in children(os.getpid()):
                    self.seen.add(pid)
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass
                if self.reap():
                    return []
        return descendants(os.getpid())

    def signal_all(self, number: int) -> None:
        for pid in descendants(os.getpid()):
            self.seen.add(pid)
            try:
                os.kill(pid, number)
                if number == signal.SIGTERM:
                    os.kill(pid, signal.SIGCONT)  # a stopped process would never see it
            except OSError:
                pass

    def wait_empty(self, seconds: float) -> bool:
        limit = time.monotonic() + seconds
        pause = 0.001
        while not self.reap():
            if time.monotonic() >= limit:
                return False
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
        return True

    def finish(self, grace_ms: int) -> None:
        self.sockets |= x_sockets(descendants(os.getpid()))
        left = self.kill(grace_ms)
        remove_x_files(self.seen, self.sockets)
        remove_tree(self.directory)
        self.say(event="done", left=left)

    def run(self) -> None:
        """Serve until told to stop or until the main program is gone; always clean up."""
        grace = GRACE_AFTER_CRASH_MS
        try:
            os.mkdir(self.directory, 0o700)
            self.say(event="ready")
            grace = self.serve()
        finally:
            self.finish(grace)

    def serve(self) -> int:
        """The loop; returns the grace in milliseconds to end the peer with."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        asked_to_end = False

        def end(number: int, frame: object) -> None:
            nonlocal asked_to_end
            asked_to_end = True

        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        try:
            # The connection alone does not tell: a process that the main program forked holds it open too.
            main = os.pidfd_open(self.parent)
            poll.register(main, select.POLLIN)
        except ProcessLookupError:
            return GRACE_AFTER_CRASH_MS
        except OSError:  # an old or locked-down kernel: then the connection must do
            main = -1
        while not asked_to_end:
            ready = {fd for fd, _ in poll.poll()}
            if wake_read in ready:
                try:
                    os.read(wake_read, 4096)
                except BlockingIOError:
                    pass
            if main in ready:
                break
            if self.started and self.reap() and not self.told_empty:
                self.told_empty = True
                self.say(event="empty")
            if self.control.fileno() in ready:
                packet = self.control.recv(1 << 20)
                if not packet:
                    break
                order = json.loads(packet)
                if order["do"] == "stop":
                    return int(order["grace_ms"])
                if order["do"] == "display":
                    self.sockets.add(f"{X_SOCKETS}{int(order['number'])}")
                if order["do"] == "start":
                    self.start(order["argv"], order["env"], order["cwd"])
        return GRACE_AFTER_CRASH_MS


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"prctl({option})")


def main(arguments: list[str]) -> int:
    """Be a guard; `arguments` as in the module's text. Returns the exit code, 0."""
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    keep = [int(fd) for fd in arguments[3:]]
    for fd in keep:
        os.set_inheritable(fd, False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    Guard(control, int(arguments[1]), arguments[2], keep).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
