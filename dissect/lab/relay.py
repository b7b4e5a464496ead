# SPDX-License-Identifier: GPL-2.0-or-later
"""Record a conversation without any privilege: a TCP relay on loopback that writes what it passes on.

The client connects to the relay, the relay to the server. Bytes, the end of a direction (FIN) and a reset
(RST) are passed on as they come; the file holds packets made up from them, between the client's address and
the server's. Their times are those at which the relay read them, in user space and by the monotonic clock,
counted from the wall clock's time when the relay was made: whoever sets the wall clock meanwhile changes no
duration. Segment boundaries are the relay's reads. The file says so in its comment.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from dissect.capture.link import FIN, PSH, RST, SYN
from dissect.capture.media import LINKTYPE_RAW
from dissect.capture.write import TcpScript
from dissect.lab.errors import CannotRecord
from dissect.lab.ports import is_loopback
from dissect.lab.recorder import Recorder
from dissect.stream import Side

CHUNK = 1 << 15
"""Largest payload of one written packet, and of one read."""
HELD = 1 << 20
"""Bytes that may wait for one side before the other is no longer read."""
CONNECT_LIMIT_S = 5.0
RELAY_NOTE = (
    "A relay's record, not a capture: packets are made up from the bytes, FINs and RSTs that a TCP relay on "
    "loopback passed on; times are its user-space times; segment boundaries are its reads"
)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _End:
    """One of the two sockets of a relayed connection, seen by what comes from `side`."""

    side: Side
    socket: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    """What is still to be sent to it."""
    ended: bool = False
    """It has sent its FIN."""
    told: bool = False
    """It has been sent the other side's FIN."""


@dataclass(slots=True)
class _Pair:
    ends: dict[Side, _End]
    address: dict[Side, tuple[str, int]]
    script: TcpScript


class RelayRecorder(Recorder):
    """Relays TCP connections to `to` and records them; `host` and `port` are where clients connect."""

    linktype = LINKTYPE_RAW
    interface = "relay"

    def __init__(
        self,
        to: tuple[str, int],
        path: str | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_bytes: int | None = None,
        comment: str = "",
    ) -> None:
        """to: the server, on loopback. port: 0 lets the system choose one, known after `start`."""
        super().__init__(path, max_bytes=max_bytes, comment=f"{RELAY_NOTE}. {comment}".strip())
        if not (is_loopback(to[0]) and is_loopback(host)):
            raise CannotRecord(f"relay from {host} to {to[0]}: only loopback is relayed")
        self.to, self.host, self.port = to, host, port
        self.apart_ns = time.time_ns() - time.monotonic_ns()
        """What is added to the monotonic clock."""
        self._listener: socket.socket | None = None
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._poll = select.poll()
        self._served: dict[int, tuple[_Pair, _End]] = {}
        self._pairs: list[_Pair] = []
        self._stopping = False

    def now(self) -> int:
        return self.apart_ns + time.monotonic_ns()

    def start(self) -> None:
        """Listen and begin to record; raises CannotRecord."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(64)
            listener.setblocking(False)
            self._open_file()
        except OSError as error:
            listener.close()
            where = self.path if error.filename else f"relay on {self.host}:{self.port}"
            raise CannotRecord(f"{where}: {error.strerror}") from error
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._wake = os.eventfd(0)
        self._poll.register(listener, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name="lab relay", daemon=True)
        self._thread.start()

    def stop(self, end_ns: int | None = None, reason: str = "") -> None:
        """End the recording and the relay. The connections that are left are reset, which is not recorded."""
        with self._changed:
            if self._thread is None:
                return
            self._end_at(end_ns, reason)
            self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._thread = None
        os.close(self._wake)

    def _run(self) -> None:
        assert self._listener is not None
        try:
            while not self._stopping:
                for fd, events in self._poll.poll():
                    if fd == self._listener.fileno():
                        self._accept()
                    elif fd in self._served:
                        self._serve(*self._served[fd], events)
        except OSError as error:
            self.failure = f"the recording broke off: {error.strerror}"
        finally:
            self._finish()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            accepted, address = self._listener.accept()
        except OSError:  # gone before it was accepted
            return
        now = self.now()
        who = {Side.CLIENT: (str(address[0]), int(address[1])), Side.SERVER: self.to}
        script = TcpScript(who[Side.CLIENT], who[Side.SERVER], self._record)
        pair = _Pair({Side.CLIENT: _End(Side.CLIENT, accepted)}, who, script)
        try:
            onward = socket.create_connection(self.to, CONNECT_LIMIT_S)
        except OSError:
            # The true server would have refused: the nearest thing a relay can do is to reset.
            pair.ends[Side.SERVER] = _End(Side.SERVER, socket.socket())
            self._note(pair, Side.CLIENT, now, SYN)
            self._note(pair, Side.SERVER, self.now(), RST)
            self._abort(pair)
            return
        pair.ends[Side.SERVER] = _End(Side.SERVER, onward)
        self._pairs.append(pair)
        self._note(pair, Side.CLIENT, now, SYN)
        for end in pair.ends.values():
            end.socket.setblocking(False)
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch(pair)

    def _serve(self, pair: _Pair, end: _End, events: int) -> None:
        if events & select.POLLOUT:
            self._flush(pair, end)
        if pair in self._pairs and events & (select.POLLIN | select.POLLERR | select.POLLHUP):
            if not end.ended:
                self._read(pair, end)
            elif end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                # A reset after its FIN: nothing will be read from it any more, so this is the only sign.
                self._note(pair, end.side, self.now(), RST)
                self._abort(pair)
            elif events & select.POLLHUP:  # done in both directions; the other end is not yet
                self._unwatch(end)
                return
        if pair in self._pairs:
            self._watch(pair)

    def _read(self, pair: _Pair, end: _End) -> None:
        try:
            data = end.socket.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._note(pair, end.side, self.now(), RST)
            self._abort(pair)
            return
        now = self.now()
        other = pair.ends[end.side.other]
        if data:
            self._note(pair, end.side, now, PSH, data)
            other.waiting += data
        else:
            end.ended = True
            self._note(pair, end.side, now, FIN)
        self._flush(pair, other)

    def _flush(self, pair: _Pair, end: _End) -> None:
        """Send what waits for `end`, then the FIN if the other side has sent one."""
        while end.waiting:
            try:
                sent = end.socket.send(end.waiting)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # It was reset; reading will say so, unless it has closed its direction already.
                end.waiting.clear()
                if end.ended:
                    self._note(pair, end.side, self.now(), RST)
                    self._abort(pair)
                return
            del end.waiting[:sent]
        if pair.ends[end.side.other].ended and not end.told:
            end.told = True
            try:
                end.socket.shutdown(socket.SHUT_WR)
            except OSError:  # it is gone already; reading says how
                pass
        if all(one.ended and one.told for one in pair.ends.values()):
            self._forget(pair)

    def _watch(self, pair: _Pair) -> None:
        """Poll each end for what can be done with it now; errors are always told."""
        for end in pair.ends.values():
            if end.ended and end.told and not end.waiting:
                self._unwatch(end)
                continue
            wanted = 0
            if not end.ended and len(pair.ends[end.side.other].waiting) < HELD:
                wanted |= select.POLLIN
            if end.waiting:
                wanted |= select.POLLOUT
            self._poll.register(end.socket, wanted)
            self._served[end.socket.fileno()] = (pair, end)

    def _unwatch(self, end: _End) -> None:
        if self._served.pop(end.socket.fileno(), None) is not None:
            self._poll.unregister(end.socket)

    def _abort(self, pair: _Pair) -> None:
        """Reset both sockets: what a reset on one side means for the other."""
        for end in pair.ends.values():
            try:
                end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            except OSError:
                pass
        self._forget(pair)

    def _forget(self, pair: _Pair) -> None:
        for end in pair.ends.values():
            self._unwatch(end)
            end.socket.close()
        if pair in self._pairs:
            self._pairs.remove(pair)

    def _note(self, pair: _Pair, side: Side, now: int, flags: int, data: bytes = b"") -> None:
        """Write what one side has done as packets, and what it means for the connection."""
        with self._changed:
            if flags & SYN:
                pair.script.opened(now)
            elif flags & RST:
                pair.script.reset(side, now)
            elif flags & FIN:
                pair.script.closed(side, now)
            else:
                pair.script.sent(side, data, now)
            if self.recording(now):
                source, destination = pair.address[side], pair.address[side.other]
                key = pair.address[Side.CLIENT]
                self._saw(key, side, now, flags, len(data), (*source, *destination))

    def _finish(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for pair in list(self._pairs):
            self._abort(pair)
        self._close_file()
