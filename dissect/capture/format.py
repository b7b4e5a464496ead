# SPDX-License-Identifier: GPL-2.0-or-later
"""What each format of capture files (`pcap`, `pcapng`) does for `files`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from dissect.capture.journal import Journal
from dissect.capture.records import Frame, Layout, Run
from dissect.capture.source import Source


class Format(ABC):
    """Takes records out of `source`, whose first header is known and in its buffer, and writes `journal`.

    `frames`, `run` and `layout` may be used in turn; each frame comes once.
    """

    def __init__(self, source: Source, journal: Journal) -> None:
        self.source = source
        self.journal = journal

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Frame by frame to the end of the file, refilling the buffer and saying what is wrong."""

    @abstractmethod
    def run(self, most: int) -> Run | None:
        """The next frames that lie whole in the buffer and are of the common form, at most `most`."""

    @abstractmethod
    def layout(self) -> Layout | None:
        """How the next records are to be read; None where `frames` must read the next one."""

    @abstractmethod
    def number_of(self, interface: int) -> int:
        """The number through the whole file of an interface by its number where we are now."""

    def ended(self, what: str, size: int) -> None:
        """The file has ended before `size` more bytes: a problem unless it ended between two records."""
        source = self.source
        if source.stopped:
            return
        reason = source.cut(what, size)
        if source.left or source.error is not None:
            self.journal.problem(source.offset, reason or "")
            source.position = len(source.buffer)
