# SPDX-License-Identifier: GPL-2.0-or-later
"""One capture read by several processes, each a share of its conversations.

Every process reads the whole file and walks its headers; what costs more, the conversations that need looking
at, is divided by their addresses. Their answers are put together again in the order of the frames at which
they were known, and numbered as one process would have numbered them.
"""

from __future__ import annotations

import heapq
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TypeAlias

from dissect.dissection.reading import Dissected

if TYPE_CHECKING:
    from dissect.app.captures import Captures

Place: TypeAlias = tuple[int, int]
"""Which capture, and which frame of it."""

Known: TypeAlias = tuple[int, int, int]
"""Where an answer was known: capture, frame, and among those known with one frame when they were due."""

Row: TypeAlias = tuple[Known, Place, str, Dissected]
"""Where it was known, where the conversation began, the capture's name, the answer."""

Names: TypeAlias = dict[str, dict[str, str]]
"""Of each capture the names of addresses."""

Batch: TypeAlias = tuple[Place, int, int, list[Place], list[Row], Names]
"""How far a process is: place, bytes, conversations; those that began, answers, and names, since the last
one."""

END: Place = (1 << 30, 0)
LAST: Known = (1 << 30, -1, 0)
NOT_DUE = 1 << 80
ROWS = 256
"""Answers that a process sends at once, ..."""
TICKS = 64
"""...or runs of packets after which it says how far it is."""


def read_together(
    parts: Sequence[Captures], show: Callable[[int, int], None], names: Names
) -> Iterator[tuple[str, Dissected]]:
    """Read the parts, which share one capture, each in a process of its own; yields as `Captures` does.

    show: told bytes read and conversations found. names: is filled as they are found.

    Raises RuntimeError where a process fails.
    """
    context = multiprocessing.get_context("fork")
    processes = []
    ends: list[Connection] = []
    before = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches them all: each then comes to its end
    try:
        for part in parts:
            ours, theirs = context.Pipe(duplex=False)
            others = (*ends, ours)  # a forked process has these too
            process = context.Process(target=_work, args=(part, theirs, others, before), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            ends.append(ours)
        signal.signal(signal.SIGINT, before)
        yield from _merge(ends, show, names)
        for process in processes:
            process.join()
    finally:
        signal.signal(signal.SIGINT, before)
        for process in processes:
            if process.is_alive():
                process.terminate()
                process.join()
        for end in ends:
            end.close()


def _merge(
    ends: Sequence[Connection], show: Callable[[int, int], None], names: Names
) -> Iterator[tuple[str, Dissected]]:
    reached: dict[Connection, Place] = dict.fromkeys(ends, (-1, 0))
    told: dict[Connection, tuple[int, int]] = dict.fromkeys(ends, (0, 0))
    opened: list[Place] = []  # a heap
    numbers: dict[Place, int] = {}
    count = 0
    rows: list[tuple[Known, Place, int, Any]] = []  # a heap; the third, a number, ends comparisons
    arrived = 0
    open_ends = set(ends)
    while open_ends:
        for end in wait(open_ends):
            assert isinstance(end, Connection)
            try:
                received: Batch | str = end.recv()
            except EOFError:
                raise RuntimeError("a process that read a share of the capture has died") from None
            if isinstance(received, str):
                raise RuntimeError(f"a process that read a share of the capture failed:\n{received}")
            place, consumed, conversations, began, found, called = received
            for capture, fresh in called.items():
                names.setdefault(capture, {}).update(fresh)
            reached[end] = place
            told[end] = consumed, conversations
            for one in began:
                heapq.heappush(opened, one)
            for known, start, name, dissected in found:
                arrived += 1
                heapq.heappush(rows, (known, start, arrived, (name, dissected)))
            if place == END:
                open_ends.discard(end)
        show(min(read for read, _ in told.values()), sum(number for _, number in told.values()))
        # What all have passed is complete: nothing can come before it any more.
        safe = min(reached.values())
        while opened and opened[0] <= safe:
            numbers[heapq.heappop(opened)] = count
            count += 1
        while rows and rows[0][0] <= safe:
            _, start, _, (name, dissected) = heapq.heappop(rows)
            index = numbers.pop(start)
            dissected.conversation.index = index
            dissected.verdict = replace(dissected.verdict, conversation=index)
            yield name, dissected


def _work(
    part: Captures, end: Connection, others: Sequence[Connection], before: signal.Handlers | None
) -> None:
    for other in others:  # else nobody would notice that the reader is gone, were it killed
        other.close()
    signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
    rows: list[Row] = []
    ticks = 0
    sent: dict[str, int] = {}

    def fresh() -> Names:
        new = {
            capture: dict(islice(names.items(), sent.get(capture, 0), None))
            for capture, names in part.names.items()
            if len(names) > sent.get(capture, 0)
        }
        sent.update((capture, len(part.names[capture])) for capture in new)
        return new

    def send(place: Place) -> None:
        nonlocal ticks
        ticks = 0
        end.send((place, part.consumed, part.count, part.opened, rows, fresh()))
        part.opened = []
        rows.clear()

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks >= TICKS or len(rows) >= ROWS:
            send((part.file, part.frame))

    part.tick = tick
    try:
        for name, dissected in part:
            conversation = dissected.conversation
            frame, due_ns = conversation.end_frame, conversation.end_due_ns
            known = LAST if frame is None else (part.file, frame, NOT_DUE if due_ns is None else due_ns)
            rows.append((known, part.began.pop(conversation.index), name, dissected))
        send(END)
    except BrokenPipeError:
        pass  # there is nobody left to be told
    except BaseException:
        end.send(traceback.format_exc())
    finally:
        end.close()
