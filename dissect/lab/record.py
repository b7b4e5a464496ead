# SPDX-License-Identifier: GPL-2.0-or-later
"""Record what a client and a server of the lab say to each other.

Two recorders with one interface: `WireRecorder` reads the loopback interface (kernel times, needs
CAP_NET_RAW), `RelayRecorder` stands between the two (no privilege, user-space times). `record_conversation`
does the whole: server, recorder, client, wait, stop the recorder, and only then end the peers.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dissect.lab.errors import CannotRecord
from dissect.lab.lab import Lab, Running
from dissect.lab.processes import Exit, Line
from dissect.lab.recorder import Connection, Recorder, Stopped
from dissect.lab.relay import RelayRecorder
from dissect.lab.wire import WireRecorder

__all__ = [
    "By",
    "Connection",
    "Recorder",
    "Recording",
    "RelayRecorder",
    "Stopped",
    "WireRecorder",
    "can_record_wire",
    "record_conversation",
]


RUN_AFTER_S = 2.0
"""Seconds after the first connection, by which a client has opened its others."""

WHY = {
    Stopped.ENDED: "all connections had ended",
    Stopped.DEADLINE: "the time was over, with a connection open",
    Stopped.SIZE: "the next packet would have made the file too large",
    Stopped.FAILED: "the recording broke off",
    Stopped.NO_CONNECTION: "the client did not connect",
}
"""What the file's comment says of the end."""


class By(StrEnum):
    """How to record."""

    WIRE = "wire"
    RELAY = "relay"
    BEST = "best"
    """On the wire where that is allowed, else through a relay."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded, and how. Times are Unix nanoseconds."""

    path: Path
    by: By
    client: str
    server: str
    versions: dict[str, str | None]
    """Peer -> what it said of its version."""
    commands: dict[str, tuple[str, ...]]
    """Peer -> its command, without this machine's paths: {tmp} stands for the peer's own directory."""
    host: str
    port: int
    """Where the client connected to: the server's port, or the relay's."""
    started_ns: int
    end_ns: int
    stopped: Stopped
    connections: tuple[Connection, ...]
    packets: int
    bytes: int
    dropped: int
    failure: str | None
    client_output: tuple[Line, ...]
    server_output: tuple[Line, ...]
    client_exit: Exit | None
    """How the client ended by itself; None if it was alive when the recording was over, and was ended."""


def can_record_wire() -> bool:
    """Whether this process may open a packet socket."""
    import socket

    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError:
        return False
    return True


def record_conversation(
    client: str,
    server: str | Running,
    path: str | Path,
    deadline_s: float,
    *,
    lab: Lab | None = None,
    by: By = By.BEST,
    max_bytes: int | None = None,
    password: str | None = None,
    client_password: str | None = None,
    client_arguments: Sequence[str] = (),
    server_arguments: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int | None = None,
    connect_s: float = 30.0,
    grace_s: float = 0.3,
    exit_s: float = 1.0,
    times: int = 1,
    run: Sequence[Sequence[str]] = (),
) -> Recording:
    """Let `client` talk to `server` once and write the conversation to `path`, a pcapng file.

    The recording stops when every connection has been over for `grace_s`, when `deadline_s` have passed since
    the first connection, or before the file grows beyond `max_bytes`; the file's comment says which. Only
    then are the peers ended, so nothing of that is in the file.

    client: a peer's name. server: a peer's name, or one that runs already, which then stays. lab: where to
    start them; without it one is made for this recording. password: the server asks for it, and the client
    gives it, or `client_password`. connect_s: how long the client may take to connect at all. exit_s: how
    long it may take to end by itself once its connections have, so that its exit code is known. times: how
    often the client is started, one after the other, each once the one before is over (what a server does to
    an address that has failed too often shows only then). run: commands that are run meanwhile, one after the
    other, `RUN_AFTER_S` after the first connection, on the server's X display, or the client's if the server
    has none ({client_display} and {client_xauthority} are the client's). Raises the lab's errors.
    """
    with ExitStack() as stack:
        lab = stack.enter_context(Lab()) if lab is None else lab
        lab.check(client)
        if isinstance(server, Running):
            running = server
        else:
            running = lab.start(server, host=host, port=port, password=password, arguments=server_arguments)
            stack.callback(running.stop, 0.5)
        assert running.port is not None
        versions = {client: lab.version(client), running.name: running.version}
        if by is By.BEST:
            by = By.WIRE if can_record_wire() else By.RELAY
        comment = _comment(client, running.name, versions, deadline_s, max_bytes)
        recorder: Recorder
        if by is By.WIRE:
            recorder = WireRecorder(running.port, path, max_bytes=max_bytes, comment=comment)
        else:
            recorder = RelayRecorder(
                (running.host, running.port), path, host=running.host, max_bytes=max_bytes, comment=comment
            )
        # The client's display must be there before: its start is no part of the conversation.
        if lab.peers[client].needs is not None:
            lab.shared_display()
        with recorder:
            to = recorder.port if isinstance(recorder, RelayRecorder) else running.port
            spoken = client_password if client_password is not None else password
            if spoken is not None and lab.peers[client].password is None:
                spoken = None
            for turn in range(times):
                wanted = len(recorder.connections) + 1  # counted before the client can have connected
                visitor = lab.run(client, running.host, to, password=spoken, arguments=client_arguments)
                stack.callback(visitor.stop, 0.5)
                if run:
                    shared = lab.shared_display()
                    screen = running if running.display is not None else shared
                    commands = [[_placed(word, shared) for word in command] for command in run]
                    stack.enter_context(_meanwhile(commands, screen, recorder, wanted))
                stopped = recorder.wait(
                    deadline_s,
                    connect_s=connect_s,
                    grace_s=grace_s,
                    still_coming=lambda visitor=visitor: visitor.alive and running.alive,
                    at_least=wanted,
                )
                if stopped is not Stopped.ENDED or turn + 1 == times:
                    break
                visitor.stop(0.5)
            client_exit = visitor.exited  # a client that leaves when the relay does, did not leave by itself
            recorder.stop(reason=WHY[stopped])
            if stopped is Stopped.ENDED:
                visitor.wait(exit_s)
                client_exit = visitor.exited
        visitor.stop(0.5)
        if recorder.started_ns is None or recorder.end_ns is None:
            raise CannotRecord(f"{path}: nothing was recorded")
        return Recording(
            path=Path(path),
            by=by,
            client=client,
            server=running.name,
            versions=versions,
            commands={client: _portable(visitor), running.name: _portable(running)},
            host=running.host,
            port=to,
            started_ns=recorder.started_ns,
            end_ns=recorder.end_ns,
            stopped=stopped,
            connections=tuple(recorder.connections),
            packets=recorder.packets,
            bytes=recorder.bytes,
            dropped=recorder.dropped,
            failure=recorder.failure,
            client_output=tuple(visitor.output),
            server_output=tuple(running.output),
            client_exit=client_exit,
        )


def _placed(word: str, display: Running) -> str:
    """A word of a command with the client's display in it, where it asks for that."""
    word = word.replace("{client_display}", f":{display.display}")
    return word.replace("{client_xauthority}", str(display.xauthority))


@contextmanager
def _meanwhile(
    commands: Sequence[Sequence[str]], screen: Running, recorder: Recorder, connections: int
) -> Iterator[None]:
    """Run commands beside a recording, from `RUN_AFTER_S` after it has so many connections to its end."""
    over = threading.Event()
    environment = {**os.environ, "DISPLAY": f":{screen.display}", "XAUTHORITY": str(screen.xauthority)}

    def work() -> None:
        while len(recorder.connections) < connections:
            if over.wait(0.05):
                return
        if over.wait(RUN_AFTER_S):
            return
        for command in commands:
            with subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                while process.poll() is None:
                    if over.wait(0.05):
                        process.kill()
            if over.is_set():
                return

    thread = threading.Thread(target=work, name="meanwhile")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _comment(
    client: str, server: str, versions: dict[str, str | None], deadline_s: float, max_bytes: int | None
) -> str:
    def named(name: str) -> str:
        return f"{name} {versions[name]}" if versions[name] else name

    limits = f"{deadline_s:g} s"
    if max_bytes is not None:
        limits += f" or {max_bytes} bytes"
    return f"{named(client)} to {named(server)}, at most {limits}"


def _portable(running: Running) -> tuple[str, ...]:
    """The command with the directories of this machine taken out."""
    argv = [text.replace(str(running.directory), "{tmp}") for text in running.command]
    if running.peer.directory:
        argv = [text.replace(running.peer.directory, "{directory}") for text in argv]
    return (Path(argv[0]).name, *argv[1:])
