# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures named on a command line: read them, show progress, and say what could not be used."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, cast

from dissect.app import terminal
from dissect.app.looking import is_file
from dissect.capture import (
    Capture,
    CaptureError,
    Conversation,
    Event,
    Frame,
    Opened,
    Summed,
    SummedMany,
    open_capture,
)
from dissect.capture.notes import Comment
from dissect.dissection import readers
from dissect.dissection.comments import Comments, Said
from dissect.dissection.reading import (
    Dissected,
    DissectedMany,
    Tell,
    TellTogether,
    dissect,
    dissect_many,
)
from dissect.dissection.spice_links import SpiceLink
from dissect.dissection.verdict import Verdict
from dissect.stream.batch import Batch
from dissect.stream.records import Record
from dissect.stream.text import duration

if TYPE_CHECKING:
    from dissect.app.spool import Spools
    from dissect.dissection.readers import Reader

_FIRST = (Opened, Summed)
"""The first event of a conversation; their union would be made anew for each event."""

Keep = Callable[[Frame], bool]

Watch = Callable[[str, Conversation, SpiceLink | None, Record], None]
"""Is told each record in its turn: of which capture and conversation, of which channel of which session."""

WatchTogether = Callable[[str, Conversation, SpiceLink | None, Batch], None]
"""The same for messages in a batch."""


BACK_NS = 10_000_000_000
"""Times of packets that run back by so much are neither jitter nor what small buffers do to their order."""


def add_capture_arguments(parser: ArgumentParser, *, many: bool) -> None:
    """The CAPTURE argument and the options that every command has that reads one."""
    parser.add_argument(
        "captures" if many else "capture",
        metavar="CAPTURE",
        nargs="+" if many else None,
        help="a pcap or pcapng file, compressed or not; - reads one from standard input",
    )
    parser.add_argument(
        "--conversation", type=int, metavar="N", help="only conversation N (from 0) of each capture"
    )
    parser.add_argument(
        "--json", action="store_true", help="NDJSON on standard output, and nothing else there"
    )


def add_choice_arguments(parser: ArgumentParser) -> None:
    """Options that choose conversations, as `Wanted` takes them."""
    parser.add_argument(
        "--host",
        action="append",
        metavar="ADDRESS",
        help="only conversations of this address, or name that the capture has for one (repeatable)",
    )
    parser.add_argument(
        "--port",
        action="append",
        type=_port,
        metavar="N",
        help="only conversations of this port (repeatable)",
    )
    parser.add_argument(
        "--verdict",
        action="append",
        choices=("agreed", "wrong-protocol", "silent", "undecided"),
        help="only conversations with this verdict (repeatable)",
    )


def add_selection_arguments(parser: ArgumentParser) -> None:
    """Options that select conversations and packets, and those for captures that are large or grow."""
    add_choice_arguments(parser)
    parser.add_argument(
        "--filter", metavar="BPF", help="use only packets that match, as in tcpdump (slower; needs libpcap)"
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="the captures are one that was rotated: take them by the time of their first packets, and let "
        "conversations go on from one to the next",
    )
    parser.add_argument(
        "--jobs",
        type=job_count,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="cores that are used for one large file (default: all there are, here %(default)s)",
    )
    parser.add_argument(
        "--follow", action="store_true", help="at the end of a file wait for more, until Ctrl-C"
    )


def job_count(text: str) -> int:
    """A number of processes from the command line."""
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise ArgumentTypeError(f"{text!r} is no number of processes (1 to 64)")
    return int(text)


def _port(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= 65535:
        raise ArgumentTypeError(f"{text!r} is no port number")
    return int(text)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which conversations are asked for; None is any."""

    hosts: Sequence[str] | None = None
    ports: Sequence[int] | None = None
    verdicts: Sequence[str] | None = None

    @property
    def any(self) -> bool:
        """Whether any of them is asked for."""
        return self.hosts is None and self.ports is None and self.verdicts is None

    def __call__(self, verdict: Verdict, names: Mapping[str, str] | None = None) -> bool:
        """Whether this one is; names: of addresses, as the capture has them."""
        if self.hosts is None and self.ports is None:
            return self.verdicts is None or verdict.verdict in self.verdicts
        ends = [end.rpartition(":") for end in (verdict.client, verdict.server)]
        hosts = {address.strip("[]") for address, _, _ in ends}
        if names:
            hosts |= {names[address].lower() for address in hosts if address in names}
        ports = {int(port) for _, _, port in ends}
        return (
            (self.hosts is None or any(_plain(host) in hosts for host in self.hosts))
            and (self.ports is None or not ports.isdisjoint(self.ports))
            and (self.verdicts is None or verdict.verdict in self.verdicts)
        )


def _plain(host: str) -> str:
    """An address as conversations have it; what is none may be a name. Nobody is asked for its address."""
    from ipaddress import ip_address

    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return host.lower()


class Captures:
    """Conversations of captures, as they are decided: iterate once for (capture's name, `Dissected`).

    records, only: as for `dissect`. keep: which frames are used; None is all. merge: the captures are one.
    follow: wait at the end of a file for more of it. interruptible: the first Ctrl-C ends reading, and what
    was found by then comes out; `interrupted` is True then. jobs: as many processes read large files
    together, where no records are wanted; share: the part of the conversations that is this one's (see
    `Bulk`). watch: is told the records as they come, which are then not kept; together: those of them that
    come in batches, see `dissect`.
    noted: comments of packets and their interfaces are kept, see `Notes.packets`; `comments` has them.
    spools: keep what comes from pipes, to be read again.

    What could not be used is said on stderr, one line each: a cut file, frames that are not TCP. Raises
    `terminal.Unusable` after the last capture where not one conversation was found in any of them.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        records: bool = True,
        only: int | None = None,
        keep: Keep | None = None,
        merge: bool = False,
        follow: bool = False,
        interruptible: bool = False,
        jobs: int = 1,
        share: tuple[int, int] = (0, 1),
        watch: Watch | None = None,
        together: WatchTogether | None = None,
        noted: bool = False,
        spools: Spools | None = None,
    ) -> None:
        self.interrupted = False
        self.file = 0
        """Which of the captures is being read, from 0."""
        self.opened: list[tuple[int, int]] = []
        self.began: dict[int, tuple[int, int]] = {}
        """With a share: capture and first frame of each conversation that began, of late and by its number;
        whoever reads these clears them."""
        self.names: dict[str, dict[str, str]] = {}
        """Of each capture the names of addresses that it holds, as far as it was read."""
        self.comments: dict[str, Comments] = {}
        """With `noted`, of each of the captures that are one with the latest, as far as it was read."""
        self.tick: Callable[[], None] | None = None
        """Called often while reading, where it is set."""
        self.before_more: Callable[[], None] | None = None
        """Called before more is read, which may take a while: all is told by then that is known."""
        self.found = 0
        """Conversations of the captures that are done."""
        self.consumed = self.frame = self.count = 0
        """How far this is: bytes, frames of this capture, conversations."""
        self._jobs = jobs
        self._share = share
        self._noted = noted
        self._spools = spools
        self._names = names
        self._records = records
        self._watch = watch
        self._batches = together
        self._only = only
        self._keep = keep
        self._merge = merge
        self._follow = follow
        self._interruptible = interruptible
        self._open: Capture | None = None
        self._show = _Shower(names, 0, terminal.Progress())
        self._failure: terminal.Unusable | None = None
        self._opened: dict[int, str] = {}
        self._reading = ""
        self._unused: list[tuple[str, str, int]] = []  # capture, frames it did not use, bytes read of it

    def __iter__(self) -> Iterator[tuple[str, Dissected]]:
        for name, found in self.groups():
            if isinstance(found, DissectedMany):
                for dissected in found:
                    yield name, dissected
            else:
                yield name, found

    def groups(self) -> Iterator[tuple[str, Dissected | DissectedMany]]:
        """The same, with conversations together that were found together."""
        with terminal.Progress() as progress, _Interrupt(self._interrupt, self._interruptible):
            names = by_first_packet(self._names) if self._merge else list(self._names)
            self._show = _Shower(names, 0 if self._follow else _bytes_of(names), progress)
            for group in [names] if self._merge else [[name] for name in names]:
                if self.interrupted:
                    break
                large = self._verdicts_alone and readers.size_of(group) >= readers.LARGE
                if self._jobs > 1 and large and not self._swift(group):
                    yield from self._together(group, progress)
                else:
                    yield from self._group(group, progress)
        if self._failure is not None:
            if not self.found and not self.interrupted and self._share[1] == 1:
                raise self._failure
            self._say(None)

    def _together(self, names: list[str], progress: terminal.Progress) -> Iterator[tuple[str, Dissected]]:
        """Captures that are one, read by several processes."""
        from dissect.app.together import read_together

        parts = [
            Captures(
                names,
                records=False,
                keep=self._keep,
                merge=True,
                interruptible=self._interruptible,
                share=(number, self._jobs),
            )
            for number in range(self._jobs)
        ]
        in_these = read = 0

        def show(consumed: int, conversations: int) -> None:
            nonlocal read
            read = consumed
            if self.before_more is not None:
                self.before_more()
            self._show(names[0], consumed, conversations)

        for name, dissected in read_together(parts, show, self.names):
            progress.clear()
            in_these += 1
            yield name, dissected
        self.found += in_these
        self._show.over(read, in_these)
        if not in_these:
            where = "this capture" if len(names) == 1 else "these captures"
            self._say(terminal.Unusable(f"no TCP conversation in {where}{self._filtered()}", source=names[0]))

    def _group(
        self, names: list[str], progress: terminal.Progress
    ) -> Iterator[tuple[str, Dissected | DissectedMany]]:
        """Captures that are one."""
        in_these = 0
        self._opened.clear()
        self.comments.clear()
        readable: list[str] = []
        for found in self._dissected(names, readable, progress):
            progress.clear()
            if isinstance(found, DissectedMany):
                in_these += len(found)
                yield self._reading, found
            else:
                in_these += 1
                yield self._opened.pop(found.conversation.index), found
        self.found += in_these
        unused, self._unused = self._unused, []
        if not in_these and readable and self._share[1] == 1:
            missing = "no TCP conversation" if self._only is None else f"no conversation {self._only}"
            where = "this capture" if len(names) == 1 else "these captures"
            why = "".join(f" ({reason})" for _, reason, _ in unused)
            offset = unused[0][2] if unused else None
            reason = f"{missing} in {where}{self._filtered()}{why}"
            self._say(terminal.Unusable(reason, source=readable[0], offset=offset))
            return
        for name, reason, _ in unused:
            terminal.complain(reason, source=name)

    def _dissected(
        self, names: list[str], readable: list[str], progress: terminal.Progress
    ) -> Iterator[Dissected | DissectedMany]:
        events = self._events(names, readable, progress)
        if self._verdicts_alone:
            return dissect_many(events)
        return dissect(
            cast("Iterator[Event]", events),  # `SummedMany` comes where verdicts alone are wanted
            records=self._records,
            only=self._only,
            watch=None if self._watch is None else self._watching(self._watch, progress),
            together=None if self._batches is None else self._watching_batches(self._batches, progress),
        )

    def _filtered(self) -> str:
        """What to say of a filter where nothing was found."""
        if self._keep is None:
            return ""
        return ' that --filter lets through (as in tcpdump, frames with VLAN tags match behind "vlan" only)'

    def general(self, name: str) -> list[Comment]:
        """With `noted`, the comments on the capture, or those that are one, and on interfaces."""
        of = self.comments.values() if self._merge else [self.comments[name]] if self._noted else []
        return [comment for one in of for comment in one.general()]

    def said(self, name: str, dissected: Dissected) -> list[Said]:
        """With `noted`, the comments on the packets of a conversation."""
        if not self._merge:
            return self.comments[name].of(dissected)
        return [said for one in self.comments.values() for said in one.of(dissected)]

    def _watching(self, watch: Watch, progress: terminal.Progress) -> Tell:
        def tell(conversation: Conversation, link: SpiceLink | None, record: Record) -> None:
            progress.clear()
            watch(self._opened[conversation.index], conversation, link, record)

        return tell

    def _watching_batches(self, watch: WatchTogether, progress: terminal.Progress) -> TellTogether:
        def tell(conversation: Conversation, link: SpiceLink | None, batch: Batch) -> None:
            progress.clear()
            watch(self._opened[conversation.index], conversation, link, batch)

        return tell

    def _events(
        self, names: list[str], readable: list[str], progress: terminal.Progress
    ) -> Iterator[Event | SummedMany]:
        bulk, read = self._reader(names)
        first = self._share[0] == 0  # of several that read the same, one says what is wrong with it
        past = 0
        end_ns: int | None = None
        last: Capture | None = None
        for place, name in enumerate(names):
            if self.interrupted:
                break
            try:
                capture = last = self._open = self._opener(name)
            except CaptureError as error:
                self._say(terminal.Unusable(error.reason, source=name, offset=error.offset))
                continue
            readable.append(name)
            self._take_notes(name, capture, names)
            self.file = place
            more = place + 1 < len(names)
            tick = self._ticker(name, capture, bulk, past)
            with capture:
                for event in read(capture, tick=tick, more=more):
                    if isinstance(event, SummedMany):
                        self._reading = name  # where all of these began, too
                    elif isinstance(event, _FIRST):
                        self._note(event.conversation, name)
                    yield event
                tick()
            past += capture.consumed
            if capture.end_ns is not None:
                end_ns = capture.end_ns if end_ns is None else max(end_ns, capture.end_ns)
            if not more or self.interrupted:
                for event in bulk.finish(capture, end_ns):
                    if isinstance(event, _FIRST):
                        self._note(event.conversation, name)
                    yield event
                last = None
            progress.clear()
            if not first:
                continue
            for problem in capture.problems:
                terminal.complain(problem.reason, source=name, offset=problem.offset)
            if capture.back_ns >= BACK_NS:
                terminal.complain(
                    f"the times of its packets run back by up to {duration(capture.back_ns)}: if its parts "
                    "were put together in the wrong order, Wireshark's reordercap puts them right",
                    source=name,
                )
            if (unused := capture.not_used()) is not None:
                self._unused.append((name, unused, capture.offset))
        if last is not None:
            yield from bulk.finish(last, end_ns)  # the last of several could not be opened
        self._show.over(past, bulk.count)
        if given_up := bulk.conversations.given_up:
            terminal.complain(
                f"{terminal.plural(given_up, 'conversation')} given up before their ends, for more than "
                f"{bulk.conversations.live_limit:,} were open at once; what came after counts as new ones",
                source=names[0],
            )

    def _take_notes(self, name: str, capture: Capture, group: Sequence[str]) -> None:
        """Hold on to what a capture notes; where several are one, so are the names that they give."""
        notes = capture.notes
        if self._noted:
            notes.packets = True
            self.comments[name] = Comments(notes)
        earlier = next((self.names[one] for one in group if one in self.names), None)
        if earlier is not None:
            earlier.update({key: called for key, called in notes.names.items() if key not in earlier})
            notes.names = earlier
        self.names[name] = notes.names

    def _reader(self, names: Sequence[str]) -> tuple[Reader, Callable[..., Iterator[Event | SummedMany]]]:
        """What reads these captures best, and how."""
        if self._swift(names):
            swift = readers.swift_reader(beside=self._jobs > 1, compiling=say_compiling)
            return swift, swift.read_many
        # What grows has no size yet, as standard input has none.
        all_whole = self._only is None and (self._records or self._watch is not None)
        sizes = ["-"] if self._follow else names
        reader = readers.plain_reader(sizes, self._share, all_whole=all_whole)
        return reader, partial(reader.read, keep=self._keep)

    def _note(self, conversation: Conversation, name: str) -> None:
        """A conversation that began in this capture was told of for the first time."""
        self._opened[conversation.index] = name
        if self._share[1] > 1:
            self.began[conversation.index] = self.file, conversation.first_frame

    @property
    def _verdicts_alone(self) -> bool:
        return not self._records and not self._noted and self._watch is None and self._only is None

    def _swift(self, names: Sequence[str]) -> bool:
        """Whether the compiled kernels read these; they use two cores by themselves."""
        if not self._verdicts_alone or self._keep is not None or self._follow or self._share[1] > 1:
            return False
        return readers.worth_swift(names)

    def _ticker(self, name: str, capture: Capture, bulk: Reader, past: int) -> Callable[[], None]:
        """What is called often: shows how far this capture is, or tells whoever asked to be told."""

        def tick() -> None:
            self.consumed, self.frame, self.count = past + capture.consumed, capture.frames, bulk.count
            self.opened += [(self.file, frame) for frame in bulk.began]
            bulk.began.clear()
            if self.before_more is not None:
                self.before_more()
            if self.tick is None:
                self._show(name, self.consumed, bulk.count)
            else:
                self.tick()

        return tick

    def _opener(self, name: str) -> Capture:
        if self._spools is not None and name in self._spools:
            return self._spools.first(name)
        if self._follow and _is_file(name):
            return open_capture(io.BufferedReader(Growing(name)), name)
        return open_capture(name)

    def _interrupt(self) -> None:
        self.interrupted = True
        if self._open is not None:
            self._open.stop()

    def _say(self, new: terminal.Unusable | None) -> None:
        """Say the earlier failure now; the last one ends the command if nothing was found."""
        old = self._failure
        if old is not None and self._share[0] == 0:
            terminal.complain(old.reason, source=old.source, offset=old.offset)
        self._failure = new


def say_compiling() -> None:
    """Say on a terminal why it takes so long to begin."""
    if sys.stderr.isatty():
        terminal.complain("compiling what reads large captures; once, for some ten seconds")


def read_captures(
    names: Sequence[str], *, records: bool = True, only: int | None = None
) -> Iterator[tuple[str, Dissected]]:
    """Yield (capture's name, dissected conversation) of each capture in turn; see `Captures`."""
    return iter(Captures(names, records=records, only=only))


def by_first_packet(names: Sequence[str]) -> list[str]:
    """Captures by the time of their first packets; as they are where one is no file, to be read only once."""
    if not all(map(_is_file, names)):
        return list(names)
    times: list[tuple[int, int, str]] = []
    for place, name in enumerate(names):
        first = 1 << 80  # one without a packet does not matter
        try:
            with open_capture(name) as capture:
                frame = next(capture, None)
                first = frame.time_ns if frame is not None else first
        except CaptureError:
            pass  # said when it is its turn
        times.append((first, place, name))
    return [name for _, _, name in sorted(times)]


class Growing(io.RawIOBase):
    """A file at whose end one waits for more."""

    PAUSE = 0.2  # seconds between two looks

    def __init__(self, name: str) -> None:
        self._file = Path(name).open("rb", buffering=0)  # noqa: SIM115  # close() does

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        while True:
            size = self._file.readinto(buffer)
            if size:
                return size
            time.sleep(self.PAUSE)

    def close(self) -> None:
        self._file.close()
        super().close()


def _bytes_of(names: Sequence[str]) -> int:
    """Bytes of these captures as they lie on the disk; 0 where one is no file."""
    try:
        return sum(Path(name).stat().st_size for name in names) if all(map(_is_file, names)) else 0
    except OSError:
        return 0


def _is_file(name: str) -> bool:
    return name != "-" and is_file(name)


class _Shower:
    """Progress through captures of `size` bytes (0: not known): bytes, conversations, time left."""

    def __init__(self, names: Sequence[str], size: int, progress: terminal.Progress) -> None:
        self._names, self._size, self._progress = names, size, progress
        self._began = time.monotonic()
        self._read = self._found = 0

    def over(self, read: int, conversations: int) -> None:
        """Captures that are one are over: so many bytes, and conversations, are added to what follows."""
        self._read += read
        self._found += conversations

    def __call__(self, name: str, read: int, conversations: int) -> None:
        """Show how far one capture is, or those that are one."""
        if not self._progress.shown:
            return
        size, read = self._size, self._read + read
        text = f"{name}: " if len(self._names) == 1 else f"{name}, of {len(self._names):,} captures: "
        text += f"{read:,} bytes"
        if size:
            text += f" of {size:,} ({100 * min(read, size) // size} %)"
        text += f", {terminal.plural(self._found + conversations, 'conversation')}"
        passed = time.monotonic() - self._began
        if size and passed > 1 and read:
            text += f", {_left(passed * max(0, size - read) / read)} left"
        self._progress.update(text)


def _left(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class _Interrupt:
    """While this is entered the first Ctrl-C calls `stop`; the next one is as ever."""

    def __init__(self, stop: Callable[[], None], wanted: bool) -> None:
        self._stop = stop
        self._wanted = wanted
        self._before: signal.Handlers | int | Callable[[int, FrameType | None], object] | None = None

    def __enter__(self) -> None:
        if self._wanted:
            try:
                self._before = signal.signal(signal.SIGINT, self._handle)
            except ValueError:  # not the main thread, to which signals come
                self._wanted = False

    def __exit__(self, *_: object) -> None:
        if self._wanted:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before or signal.default_int_handler)
        self._stop()
