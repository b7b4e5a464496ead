# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes known of a capture while it is read: kept by its format, shown by `files.Capture`."""

from __future__ import annotations

from collections import Counter
from typing import Final

from dissect.capture.notes import HEAD, Comment, Notes, text_of
from dissect.capture.problems import Problem
from dissect.capture.records import Frame, Run

MAX_PROBLEMS: Final = 100
"""Problems kept one by one; more of them are counted, and named in one last line."""

MAX_SECRETS: Final = 16 << 20
"""Bytes of secrets that are kept of one file."""


class Journal:
    """Frames counted, their times, and all that is no frame.

    name: as the user knows the file.
    problems: what was wrong so far, in file order (see `MAX_PROBLEMS`).
    frames: how many frames were handed out so far.
    first_ns, last_ns: the earliest and the latest time of any frame so far, None before the first. back_ns:
    how far (ns) a frame's time lies before an earlier frame's, at most; where many frames are read at once it
    may be more.
    skipped: why frames were not used, and how many, kept by those who decode them (`conversations.read`).
    secrets: what decryption needs, as Decryption Secrets Blocks have it: (kind, data), `MAX_SECRETS` bytes.
    notes: names of addresses and interfaces, and comments. Names at the end of a file that is
    `readable_again`, where programs tend to write them, are there from the beginning.
    """

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.problems: list[Problem] = []
        self.frames = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.back_ns = 0
        self.skipped: Counter[str] = Counter()
        self.secrets: list[tuple[int, bytes]] = []
        self.notes = Notes()
        self._declared_end_ns: int | None = None
        self._more_problems = 0
        self._full = False  # no room for another comment, and that was said

    @property
    def end_ns(self) -> int | None:
        """When the capture was stopped (ns), as far as read.

        The latest end that a pcapng file states in its Interface Statistics Blocks; the time of the last
        frame where it states none or an earlier one. None while there is neither.
        """
        ends = [end for end in (self._declared_end_ns, self.last_ns) if end is not None]
        return max(ends, default=None)

    @property
    def end_declared(self) -> bool:
        """Whether the file itself says when it was stopped, so that silence at its end is known."""
        return self._declared_end_ns is not None

    def not_used(self) -> str | None:
        """One line for the user: how many frames were not used, and why. None where all were."""
        total = self.skipped.total()
        if not total:
            return None
        reasons = [f"{count} {reason}" for reason, count in self.skipped.most_common(9)]
        if len(self.skipped) > 9:
            listed = sum(count for _reason, count in self.skipped.most_common(9))
            reasons.append(f"{total - listed} of {len(self.skipped) - 9} other kinds")
        return f"{total} frame{'s' if total > 1 else ''} not used: {', '.join(reasons)}"

    # -- for who reads the file

    def frame(
        self, offset: int, time_ns: int, linktype: int, data: bytes, length: int, interface: int
    ) -> Frame:
        """The next frame, counted."""
        self.frames += 1
        if self.last_ns is None or self.first_ns is None:
            self.first_ns = self.last_ns = time_ns
        elif time_ns > self.last_ns:
            self.last_ns = time_ns
        elif time_ns < self.last_ns:
            self.back_ns = max(self.back_ns, self.last_ns - time_ns)
            self.first_ns = min(self.first_ns, time_ns)
        if self.notes.packets:
            self.notes.came_by(self.frames, interface)
        return Frame(self.frames, offset, time_ns, linktype, data, length, interface)

    def count_run(self, run: Run) -> None:
        """Count the frames of a run."""
        self.back_ns = max(self.back_ns, run.back_ns)
        self.count(len(run), int(run.times.min()), int(run.times.max()))

    def count(self, frames: int, low: int, high: int) -> None:
        """Count so many frames, whose times (ns) lie between these two."""
        self.frames += frames
        if self.last_ns is not None and self.last_ns - low > self.back_ns:
            self.back_ns = self.last_ns - low
        self.first_ns = low if self.first_ns is None else min(self.first_ns, low)
        self.last_ns = high if self.last_ns is None else max(self.last_ns, high)

    def stopped_at(self, time_ns: int) -> None:
        """The file states that capturing was stopped then, on one of its interfaces."""
        if self._declared_end_ns is None or time_ns > self._declared_end_ns:
            self._declared_end_ns = time_ns

    def problem(self, offset: int, reason: str) -> None:
        """Something is wrong at this place of the file."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.name, offset, reason))
        else:
            self._more_problems += 1

    def finished(self, offset: int) -> None:
        """Reading has come to its end here."""
        if self._more_problems:
            reason = f"{self._more_problems} more problems before this place, not listed"
            self.problems.append(Problem(self.name, offset, reason))
            self._more_problems = 0

    def secret(self, kind: int, data: bytes, offset: int) -> None:
        """Keep what decryption needs."""
        if sum(len(one) for _, one in self.secrets) + len(data) > MAX_SECRETS:
            self.problem(offset, f"more than {MAX_SECRETS} bytes of secrets; not kept")
        else:
            self.secrets.append((kind, data))

    def comment(self, about: str, text: bytes, offset: int, frame: Frame | None = None) -> None:
        """Keep a comment, on this frame where there is one."""
        comment = Comment(about, text_of(text))
        if frame is not None:
            head = frame.data[:HEAD]
            comment = Comment(about, comment.text, frame.number, frame.time_ns, frame.linktype, head)
        if not self.notes.comment(comment) and not self._full:
            self._full = True
            self.problem(
                offset, f"more than {len(self.notes.comments)} comments; this and later ones not kept"
            )
