# SPDX-License-Identifier: GPL-2.0-or-later
"""What both recorders share: the file, the connections seen, and when to stop.

A recorder writes nanosecond pcapng. It is stopped before anybody kills a peer, and the time at which it
stopped is the end time in the file, so that "the client waited until the recording ended" is told apart from
"the client closed".
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from dissect.capture.link import ACK, FIN, RST, SYN
from dissect.capture.write import PcapngWriter
from dissect.stream import Side

BLOCK_OVERHEAD = 36
"""Bytes that one packet costs in the file besides its own, at most."""
UNFINISHED = "Recording was cut off"
"""What the file's comment says until it is replaced by the reason of the end."""
REASON_WIDTH = 72


class Stopped(StrEnum):
    """Why a recording stopped."""

    ENDED = "ended"
    """Every TCP connection was closed by both sides, or reset."""
    DEADLINE = "deadline"
    """The time was over first."""
    SIZE = "size"
    """The next packet would have made the file larger than asked for."""
    FAILED = "failed"
    """The recording broke off, e.g. on a full disk."""
    NO_CONNECTION = "no-connection"
    """The client never connected: it ended before, or took too long."""


@dataclass(slots=True)
class Connection:
    """One TCP connection as a recorder has seen it. Times are Unix nanoseconds."""

    client: tuple[str, int]
    server: tuple[str, int]
    opened_ns: int
    sent: dict[Side, int] = field(default_factory=lambda: {Side.CLIENT: 0, Side.SERVER: 0})
    """Bytes of payload from each side (a retransmission counts again)."""
    closed_ns: dict[Side, int] = field(default_factory=dict)
    """When each side sent its FIN."""
    reset_ns: int | None = None
    reset_by: Side | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more can come: reset, or closed by both sides."""
        return self.reset_ns is not None or len(self.closed_ns) == 2


class Recorder(ABC):
    """A recording in progress: `start`, then `stop`; or a `with` block. Made once, used once."""

    linktype: int
    """pcapng link type of the frames."""
    interface: str
    """The interface's name in the file."""

    def __init__(self, path: str | Path, *, max_bytes: int | None = None, comment: str = "") -> None:
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.comment = comment
        self.connections: list[Connection] = []
        self.packets = 0
        self.bytes = 0
        self.dropped = 0
        """Packets that the system lost because nobody fetched them in time; 0 in a good recording."""
        self.started_ns: int | None = None
        self.end_ns: int | None = None
        self.full_ns: int | None = None
        """When a packet came that `max_bytes` had no room for; nothing is recorded from then on."""
        self.failure: str | None = None
        """What ended the recording before its time, in words; None is good."""
        self._changed = threading.Condition()
        self._last_ns = 0
        self._open: dict[object, Connection] = {}
        self._writer: PcapngWriter | None = None
        self._file: BinaryIO | None = None
        self._reason = ""

    def now(self) -> int:
        """The time of this recorder's clock, in Unix nanoseconds."""
        return time.time_ns()

    @abstractmethod
    def start(self) -> None:
        """Begin; what happens from the return on is recorded. Raises CannotRecord."""

    @abstractmethod
    def stop(self, end_ns: int | None = None, reason: str = "") -> None:
        """End the recording at `end_ns` (Unix; now where None) and close the file. Call it again freely.

        What comes later than `end_ns` is left out, unless it is written already; then that is the end.
        reason: for the file's comment.
        """

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait(
        self,
        deadline_s: float,
        *,
        connect_s: float = 30.0,
        grace_s: float = 0.3,
        still_coming: object = None,
        at_least: int = 1,
    ) -> Stopped:
        """Wait until there is a reason to stop; the caller then calls `stop`.

        deadline_s counts from the first connection, connect_s from now to that. grace_s: how long all
        connections must have been over, because some clients open one after the other. still_coming: a
        function that says whether the client may yet connect (asked now and then). at_least: how many
        connections there must have been by then; more than 1 where earlier ones are over already.
        """
        began = time.monotonic()
        coming = still_coming if callable(still_coming) else lambda: True
        first: float | None = None
        quiet: float | None = None
        with self._changed:
            while True:
                now = time.monotonic()
                if self.full_ns is not None:
                    return Stopped.SIZE
                if self.failure is not None:
                    return Stopped.FAILED
                if len(self.connections) >= at_least:
                    first = now if first is None else first
                    # Nothing is over as long as one connection is open; `quiet` starts when the last ends.
                    quiet = None if self._open else (now if quiet is None else quiet)
                    if now - first >= deadline_s:
                        return Stopped.DEADLINE
                    if quiet is not None and now - quiet >= grace_s:
                        return Stopped.ENDED
                    left = deadline_s - (now - first)
                    if quiet is not None:
                        left = min(left, grace_s - (now - quiet))
                    self._changed.wait(left)
                else:
                    if now - began >= connect_s or not coming():
                        return Stopped.NO_CONNECTION
                    self._changed.wait(0.1)

    def _open_file(self) -> None:
        """Create the file; raises OSError."""
        self._file = self.path.open("w+b")
        try:
            self.started_ns = self.now()
            comment = ". ".join(part for part in (self.comment, f"{UNFINISHED:<{REASON_WIDTH}}") if part)
            self._writer = PcapngWriter(
                self._file,
                linktype=self.linktype,
                name=self.interface,
                comment=comment,
                start_ns=self.started_ns,
            )
        except BaseException:
            self._file.close()
            raise

    def _end_at(self, end_ns: int | None, reason: str) -> None:
        """Note when and why the recording ends, the first time; the condition is held."""
        if self.end_ns is None:
            self.end_ns = self.now() if end_ns is None else end_ns
            self._reason = reason or "told to"

    def recording(self, time_ns: int) -> bool:
        """Whether a packet of `time_ns` belongs into the file: it is neither full nor over."""
        if self._writer is None or self.full_ns is not None:
            return False
        return self.end_ns is None or time_ns <= self.end_ns

    def _record(self, time_ns: int, frame: bytes) -> bool:
        """Write one packet if it belongs into the file; the condition is held. True: written."""
        if self._writer is None or not self.recording(time_ns):
            return False
        size = len(frame) + BLOCK_OVERHEAD
        if self.max_bytes is not None and self.bytes + size > self.max_bytes:
            self.full_ns = time_ns
            self._changed.notify_all()
            return False
        try:
            self._writer.write(time_ns, frame)
        except OSError as error:  # the disk is full: the conversation goes on, the recording does not
            self.failure = f"the recording broke off: {error.strerror}"
            self._abandon()
            return False
        self.bytes += size
        self.packets += 1
        self._last_ns = max(self._last_ns, time_ns)
        return True

    def _saw(
        self, key: object, side: Side, time_ns: int, flags: int, size: int, ends: tuple[str, int, str, int]
    ) -> None:
        """Note what one packet means for its connection; the condition is held.

        ends: source address and port, destination address and port.
        """
        source, destination = (ends[0], ends[1]), (ends[2], ends[3])
        connection = self._open.get(key)
        if flags & SYN and not flags & ACK and (connection is None or connection.ended):
            connection = Connection(source, destination, time_ns)
            self.connections.append(connection)
            self._open[key] = connection
        if connection is None:
            return
        connection.sent[side] += size
        if flags & FIN:
            connection.closed_ns.setdefault(side, time_ns)
        if flags & RST and connection.reset_ns is None:
            connection.reset_ns, connection.reset_by = time_ns, side
        if connection.ended:
            del self._open[key]
        self._changed.notify_all()

    def _abandon(self) -> None:
        """Give up the file as it is; the condition is held."""
        file, self._writer, self._file = self._file, None, None
        if file is not None:
            with suppress(OSError):
                file.close()
        self._changed.notify_all()

    def _close_file(self) -> None:
        """Write the end of the file and, into its comment, why it ended there."""
        with self._changed:
            self._end_at(None, self.failure or "")
            if self._writer is None or self._file is None:
                return
            assert self.end_ns is not None
            if self.full_ns is not None:
                # Recorded until just before the packet that had no room.
                self.end_ns = min(self.end_ns, self.full_ns)
                self._reason = "the next packet would have made the file too large"
            self.end_ns = max(self.end_ns, self._last_ns)
            writer, file = self._writer, self._file
            self._writer = self._file = None
            try:
                writer.close(self.end_ns)
                reason = f"Stopped because: {self.failure or self._reason}"
                file.seek(0)
                at = file.read(65536).find(UNFINISHED.encode())
                if at >= 0:
                    file.seek(at)
                    file.write(f"{reason:<{REASON_WIDTH}}".encode()[:REASON_WIDTH])
                file.close()
            except OSError as error:
                self.failure = self.failure or f"the end could not be written: {error.strerror}"
                with suppress(OSError):
                    file.close()
            finally:
                self._changed.notify_all()
