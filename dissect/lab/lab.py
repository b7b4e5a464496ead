# SPDX-License-Identifier: GPL-2.0-or-later
"""`Lab`: real peers with a port, a display, a directory and an environment of their own.

::

    with Lab() as lab:
        server = lab.start("xtigervnc")
        client = lab.run("xtigervncviewer", server.host, server.port)
        client.wait(10)
"""

from __future__ import annotations

import os
import random
import re
import secrets
import struct
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from dissect.lab.errors import CannotStart, Died, LabError, NotInstalled, NotReady
from dissect.lab.peers import (
    SPLICES,
    Needs,
    Peer,
    Role,
    fill,
    find_peer,
    first_program,
    load_peers,
    resolve_program,
)
from dissect.lab.ports import Listener, free_port, is_loopback, who_listens
from dissect.lab.processes import Exit, Output, Process

ATTEMPTS = 6
"""How often another port or display number is tried when one was taken."""
VERSION_LIMIT_S = 20.0
"""How long a program may take to tell its version."""
POLL_FIRST_S, POLL_LAST_S = 0.002, 0.02
"""Pause between two looks at /proc while a server is awaited; it doubles from the first to the last."""
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "TZ", "USER", "LOGNAME")
"""What a peer keeps of the caller's environment. Nothing of a desktop session: no display, no bus."""
VNC_FILE_KEY = bytes([23, 82, 107, 6, 35, 78, 88, 7])
"""The fixed key that every VNC program hides passwords in files with; public, so it protects nothing."""


class _Busy(Exception):
    """A port or a display number was taken."""


class Running:
    """A peer that was started."""

    def __init__(
        self, lab: Lab, peer: Peer, process: Process, host: str, port: int | None, display: Running | None
    ) -> None:
        self._lab = lab
        self._display = display
        self.peer = peer
        self.process = process
        self.host = host
        self.port = port
        self.display: int | None = display.display if display else None
        self.xauthority: Path | None = display.xauthority if display else None
        self.ready_ns: int | None = None
        self.ready_monotonic_ns: int | None = None

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def pid(self) -> int:
        """Process id of the command itself."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def command(self) -> tuple[str, ...]:
        """The command as it was run."""
        return self.process.argv

    @property
    def directory(self) -> Path:
        """The peer's own directory, gone after `stop`."""
        return self.process.directory

    @property
    def output(self) -> Output:
        """Its last lines of output, each with its times."""
        return self.process.output

    @property
    def started_ns(self) -> int:
        """When it was started, Unix nanoseconds."""
        assert self.process.started_ns is not None
        return self.process.started_ns

    @property
    def exited(self) -> Exit | None:
        """How and when the command ended, or None while it runs."""
        return self.process.exit

    @property
    def alive(self) -> bool:
        """Whether any process of it runs, also a daemon that it left."""
        return self.process.alive

    @property
    def version(self) -> str | None:
        """What the program says of its version; None where the table does not know how to ask."""
        return self._lab.version(self.peer.name)

    def wait(self, timeout_s: float | None = None) -> Exit | None:
        """Wait for the command to end; None when it has not within `timeout_s`."""
        return self.process.wait(timeout_s)

    def stop(self, grace_s: float = 2.0) -> None:
        """End it with all its processes and remove its directory; returns when that is done."""
        self.process.stop(grace_s)
        if self._display is not None and self.peer.needs is Needs.OWN_X_SERVER:
            self._display.stop(grace_s)

    def __repr__(self) -> str:
        where = f" {self.host}:{self.port}" if self.port is not None else ""
        return f"<{self.name}{where} pid {self.process.pid}{'' if self.alive else ' ended'}>"


@dataclass(slots=True)
class _Start:
    """What one start needs to fill in a command."""

    peer: Peer
    program: str
    host: str
    port: int | None
    password: str | None
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    display: Running | None = None
    xauthority: Path | None = None
    displayfd: int | None = None
    free_display: int | None = field(default=None)

    def values(self, directory: Path) -> dict[str, str]:
        known: dict[str, object] = {
            "host": self.host,
            "url_host": f"[{self.host}]" if ":" in self.host else self.host,
            "tmp": directory,
            "python": sys.executable,
            "directory": self.peer.directory,
            "screen": self.peer.screen,
            "port": self.port,
            "port_minus_5900": None if self.port is None else self.port - 5900,
            "password": self.password,
            "display": self.display.display if self.display else None,
            "free_display": self.free_display,
            "displayfd": self.displayfd,
            "xauthority": self.xauthority,
        }
        return {name: str(value) for name, value in known.items() if value is not None}

    def argv(self, values: Mapping[str, str]) -> list[str]:
        security = self.peer.plain
        if self.password is not None and self.peer.password is not None:
            security = self.peer.password.arguments
        spliced = {"{security}": security, "{options}": self.arguments}
        argv = [self.program]
        for element in self.peer.command[1:]:
            if element in SPLICES:
                argv.extend(self.fill(text, values) for text in spliced[element])
            else:
                argv.append(self.fill(element, values))
        return argv

    def fill(self, text: str, values: Mapping[str, str]) -> str:
        try:
            return fill(text, values)
        except KeyError as error:
            raise LabError(f"{self.peer.name}: {{{error.args[0]}}} has no value here, in {text!r}") from None


class Lab:
    """Starts peers, and stops all it has started when its `with` block ends, however it ends."""

    def __init__(
        self,
        peers: Mapping[str, Peer] | None = None,
        *,
        files: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
        display: str = "xvfb",
    ) -> None:
        """peers: a table from `load_peers`; without it the bundled one and those of `files`.

        environment: more variables for every peer. display: the entry that X clients draw on.
        """
        self.peers = dict(peers) if peers is not None else load_peers(*files)
        self.environment = dict(environment or {})
        self.display_name = display
        self.numbered = False
        """Tell X servers their display's number. One that chooses looks for sockets of its own network
        namespace only, and would take another's number and file away."""
        self._running: list[Running] = []
        self._shared_display: Running | None = None
        self._versions: dict[str, str | None] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything this lab has started."""
        with self._lock:
            running, self._running = self._running, []
            self._shared_display = None
        for one in running:
            one.process.ask_to_stop()
        for one in reversed(running):
            one.stop()

    def start(
        self,
        name: str,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        password: str | None = None,
        arguments: Sequence[str] = (),
    ) -> Running:
        """Start a server and return when it is ready.

        host: a loopback address. port: a free one is chosen where it is None. password: ask for this one.
        arguments: more of them, at the entry's "{options}". Raises NotInstalled, NotReady, Died, LabError.
        """
        peer = find_peer(self.peers, name)
        if peer.role is not Role.SERVER:
            raise LabError(f"{name}: is a {peer.role}, not a server")
        return self._launch(peer, host, port, password, arguments)

    def run(
        self,
        name: str,
        host: str,
        port: int,
        *,
        password: str | None = None,
        arguments: Sequence[str] = (),
    ) -> Running:
        """Start a client towards `host`:`port` and return at once (or when its entry's `ready` is true).

        Raises NotInstalled, NotReady, Died, LabError.
        """
        peer = find_peer(self.peers, name)
        if peer.role is not Role.CLIENT:
            raise LabError(f"{name}: is a {peer.role}, not a client")
        return self._launch(peer, host, port, password, arguments)

    def display(self, screen: str | None = None) -> Running:
        """Start an X server of one's own, `screen` being its size, and return when it is ready."""
        peer = find_peer(self.peers, self.display_name)
        if screen is not None:
            from dataclasses import replace

            peer = replace(peer, screen=screen)
        return self._launch(peer, "127.0.0.1", None, None, ())

    def shared_display(self) -> Running:
        """The X server that the clients of this lab share; started when first asked for."""
        with self._lock:
            if self._shared_display is None or not self._shared_display.alive:
                self._shared_display = self.display()
            return self._shared_display

    def version(self, name: str) -> str | None:
        """The version of a peer's program, asked once; None where there is no way or no answer."""
        with self._lock:
            if name not in self._versions:
                self._versions[name] = self._ask_version(find_peer(self.peers, name))
            return self._versions[name]

    def check(self, name: str) -> None:
        """Raise NotInstalled unless the program of peer `name`, and the display it needs, are there."""
        peer = find_peer(self.peers, name)
        self._program(peer)
        if peer.needs is not None:
            self._program(find_peer(self.peers, self.display_name))

    def _program(self, peer: Peer) -> str:
        wanted = first_program(peer)
        program = resolve_program(wanted)
        if program is None:
            raise NotInstalled(peer.name, wanted, peer.package)
        return program

    def _launch(
        self, peer: Peer, host: str, port: int | None, password: str | None, arguments: Sequence[str]
    ) -> Running:
        if not is_loopback(host):
            raise LabError(f"{peer.name}: {host} is not a loopback address; the lab uses no other")
        if peer.ipv4_only and ":" in host:
            raise LabError(f"{peer.name}: knows IPv4 only, and {host} is IPv6")
        if password is not None and peer.password is None:
            raise LabError(f"{peer.name}: the table knows no way to give it a password")
        if arguments and "{options}" not in peer.command:
            raise LabError(f'{peer.name}: takes no arguments (its command has no "{{options}}")')
        start = _Start(peer, self._program(peer), host, port, password, tuple(arguments), self.environment)
        if peer.needs is Needs.OWN_X_SERVER:
            start.display = self.display(peer.screen)
        elif peer.needs is Needs.X_SERVER:
            start.display = self.shared_display()
        try:
            for attempt in range(1, ATTEMPTS + 1):
                if peer.role is Role.SERVER and port is None:
                    start.port = free_port(host)
                start.free_display = _free_display() if "free_display" in peer.placeholders else None
                try:
                    return self._attempt(start)
                except _Busy as error:
                    choosable = start.port is not port or start.free_display is not None
                    if attempt == ATTEMPTS or not choosable:
                        raise CannotStart(f"{peer.name}: {error}") from None
            raise AssertionError("unreachable")
        except BaseException:
            if start.display is not None and peer.needs is Needs.OWN_X_SERVER:
                start.display.stop()
            raise

    def _attempt(self, start: _Start) -> Running:
        peer = start.peer
        read_end = write_end = -1
        if "displayfd" in peer.placeholders:
            read_end, write_end = os.pipe()
            os.set_blocking(read_end, False)
            start.displayfd = write_end
        process: Process | None = None
        try:
            process = Process(peer.name, keep_fds=() if write_end < 0 else (write_end,))
            running = Running(self, peer, process, start.host, start.port, start.display)
            if "xauthority" in peer.placeholders:
                # Also where it draws on another's display: then that one's cookies are copied.
                start.xauthority = running.xauthority = process.directory / "Xauthority"
                _write_xauthority(start.xauthority, start.display)
            values = start.values(process.directory)
            _write_password_files(start, process.directory, values)
            argv = start.argv(values)
            if self.numbered and "displayfd" in peer.placeholders:
                argv.append(f":{_free_display()}")
            process.spawn(argv, _environment(start, process.directory, values))
            if write_end >= 0:
                os.close(write_end)
                write_end = -1
            if start.free_display is not None:
                running.display = start.free_display
                process.is_display(start.free_display)
            self._await_ready(running, read_end)
            with self._lock:
                self._running.append(running)
            return running
        except BaseException:
            if process is not None:
                process.stop(0.5)
            raise
        finally:
            for fd in (read_end, write_end):
                if fd >= 0:
                    os.close(fd)

    def _await_ready(self, running: Running, displayfd: int) -> None:
        """Return when everything the entry asks for has happened; else _Busy, Died or NotReady."""
        ready, process = running.peer.ready, running.process
        waits = {
            "listener on its port": ready.listening,
            f"line matching {ready.line!r}": ready.line is not None,
            "display number": ready.displayfd,
        }
        waiting = {what for what, wanted in waits.items() if wanted}
        limit = time.monotonic() + ready.seconds
        number, text, pause, strangers = 0, b"", POLL_FIRST_S, 0
        busy = re.compile(running.peer.busy) if running.peer.busy else None
        while waiting:
            lines, number = process.output.since(number)
            for line in lines:
                if ready.line is not None and re.search(ready.line, line.text):
                    waiting.discard(f"line matching {ready.line!r}")
            if "display number" in waiting:
                with suppress(BlockingIOError):
                    text += os.read(displayfd, 64)
                if text.endswith(b"\n"):
                    running.display = int(text)
                    process.is_display(running.display)
                    waiting.discard("display number")
            if "listener on its port" in waiting:
                assert running.port is not None
                listener = who_listens(running.port, process.pids)
                if listener is Listener.OURS:
                    waiting.discard("listener on its port")
                # A process that was being born during one look at /proc looks like somebody else's.
                strangers = strangers + 1 if listener is Listener.OTHER else 0
                if strangers == 3:
                    raise _Busy(f"port {running.port} is taken by another program")
            if not waiting:
                break
            ended = process.exit
            if ended is not None and (ended.status != 0 or not process.alive):
                process.stop(0.5)  # now all it said has been read
                if busy is not None and any(busy.search(line.text) for line in process.output):
                    raise _Busy(f"its port or display number is taken ({process.output.last(1)})")
                raise Died(running.name, ended.status, process.output.last(20))
            if time.monotonic() >= limit:
                process.stop(0.5)
                raise NotReady(
                    running.name, ready.seconds, " and no ".join(sorted(waiting)), process.output.last(20)
                )
            if waiting <= {f"line matching {ready.line!r}"}:
                process.wait_for_change(min(0.25, max(0.0, limit - time.monotonic())))
            else:
                time.sleep(pause)
                pause = min(pause * 2, POLL_LAST_S)
        running.ready_ns, running.ready_monotonic_ns = time.time_ns(), time.monotonic_ns()

    def _ask_version(self, peer: Peer) -> str | None:
        question = peer.version
        if question is None:
            return None
        values = {"python": sys.executable, "directory": peer.directory}
        argv = [fill(text, values) for text in question.command]
        program = resolve_program(argv[0])
        if program is None:
            return None
        start = _Start(peer, program, "127.0.0.1", None, None, (), self.environment)
        if peer.needs is Needs.X_SERVER and peer.role is Role.CLIENT and _asks_itself(peer):
            with suppress(LabError):  # toolkits open the display before they read their options
                start.display = self.shared_display()
        with Process(f"{peer.name} version") as process:
            values = start.values(process.directory)
            process.spawn([program, *argv[1:]], _environment(start, process.directory, values))
            process.wait(VERSION_LIMIT_S)
        for line in process.output:
            if match := re.search(question.pattern, line.text):
                return match[1]
        return None


def _asks_itself(peer: Peer) -> bool:
    assert peer.version is not None
    return peer.version.command[0] == peer.command[0]


def _environment(start: _Start, directory: Path, values: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a peer: its own home, no desktop session, software drawing."""
    runtime = directory / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env |= {
        "LANG": "C.UTF-8",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "XDG_CONFIG_HOME": str(directory / "config"),
        "XDG_CACHE_HOME": str(directory / "cache"),
        "XDG_DATA_HOME": str(directory / "data"),
        "XDG_STATE_HOME": str(directory / "state"),
        "XDG_RUNTIME_DIR": str(runtime),
        # A bus nobody serves: without an address GLib would start one, which outlives the program.
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={directory}/no-bus",
        "NO_AT_BRIDGE": "1",
        "GTK_A11Y": "none",
        "GSETTINGS_BACKEND": "memory",
        "GIO_USE_VFS": "local",
        "GIO_USE_PROXY_RESOLVER": "dummy",
        "GDK_BACKEND": "x11",
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "PULSE_SERVER": f"unix:{directory}/no-sound",
        "QEMU_AUDIO_DRV": "none",
        "PYTHONUNBUFFERED": "1",
    }
    if start.display is not None:
        env["DISPLAY"] = f":{start.display.display}"
        env["XAUTHORITY"] = str(start.display.xauthority)
    env |= start.environment
    env |= {name: start.fill(text, values) for name, text in start.peer.environment.items()}
    return env


def _free_display() -> int:
    """An X display number nobody holds now. The X server locks it itself; if it cannot, another is tried."""
    while True:
        number = random.randrange(100, 30_000)
        if not (Path(f"/tmp/.X{number}-lock").exists() or Path(f"/tmp/.X11-unix/X{number}").exists()):
            return number


def _write_xauthority(path: Path, display: Running | None) -> None:
    """Write a cookie that fits every display of this machine (family wild), so no number need be known."""
    if display is not None and display.xauthority is not None:
        path.write_bytes(display.xauthority.read_bytes())
        return
    name, cookie = b"MIT-MAGIC-COOKIE-1", secrets.token_bytes(16)
    entry = struct.pack(">HHHH", 0xFFFF, 0, 0, len(name)) + name + struct.pack(">H", len(cookie)) + cookie
    path.touch(mode=0o600)
    path.write_bytes(entry)


def _write_password_files(start: _Start, directory: Path, values: Mapping[str, str]) -> None:
    if start.password is None or start.peer.password is None:
        return
    for name, content in start.peer.password.files.items():
        path = directory / name
        path.touch(mode=0o600)
        if content.text is None:
            path.write_bytes(vnc_password_file(start.password))
        else:
            path.write_text(start.fill(content.text, values))


def vnc_password_file(password: str) -> bytes:
    """The 8 bytes of a VNC password file: the first 8 bytes of the password, DES with the known key."""
    from dissect.replay.credentials import CredentialError, vnc_des

    plain = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    try:
        return vnc_des(VNC_FILE_KEY, plain, "a VNC password file")
    except CredentialError as error:
        raise LabError(str(error)) from None
