# SPDX-License-Identifier: GPL-2.0-or-later
"""Some conversations' packets, taken out of captures as they are."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from dissect.app.captures import by_first_packet
from dissect.app.looking import is_there
from dissect.app.spool import Spools
from dissect.app.terminal import Progress, Unusable, plural
from dissect.app.whole import whole
from dissect.capture import (
    CaptureError,
    Conversation,
    Conversations,
    Decoder,
    Frame,
    PcapngWriter,
    open_capture,
)
from dissect.capture.annotate import annotate

Keep: TypeAlias = Callable[[Frame], bool]


class Chosen:
    """Conversations by the frames that began them, for a second reading to find again."""

    def __init__(self, *, merge: bool = False) -> None:
        self.merge = merge
        self._by_capture: dict[str, dict[int, frozenset[str]]] = {}

    def __len__(self) -> int:
        return sum(len(found) for found in self._by_capture.values())

    def add(self, capture: str, conversation: Conversation) -> None:
        """Choose a conversation that began in `capture`."""
        ends = frozenset((conversation.client, conversation.server))
        self._by_capture.setdefault(capture, {})[conversation.first_frame] = ends

    def began(self, capture: str, conversation: Conversation) -> bool:
        """Whether a conversation that began in `capture` is chosen."""
        return conversation.first_frame in self._by_capture.get(capture, {})

    def ends(self, capture: str) -> set[frozenset[str]]:
        """Both ends of each conversation that may have packets in `capture`."""
        found = self._by_capture if self.merge else {capture: self._by_capture.get(capture, {})}
        return {ends for one in found.values() for ends in one.values()}


def refuse_to_overwrite(target: str, names: Sequence[str]) -> None:
    """Raise `Unusable` where `target` is one of the files that are read."""
    for name in names:
        if name != "-" and is_there(target) and is_there(name) and Path(target).samefile(name):
            raise Unusable("is one of the files that are read: it would be lost", source=target)


def refuse_what_cannot_be_written(target: str, names: Sequence[str]) -> None:
    """Raise `Unusable` for a target that is seen to be none, before anything is read for it."""
    if target == "-":
        raise Unusable("-w needs a file or a named pipe: standard output has the rows")
    path = Path(target)
    if path.is_dir():
        raise Unusable("a directory, not a file to write", source=target)
    if not path.parent.is_dir():
        raise Unusable("there is no such directory to write into", source=target)
    refuse_to_overwrite(target, names)


def among(offsets: Sequence[array[int]]) -> Callable[[int], bool]:
    """Whether a packet is one of these, by its offset in the file."""
    wanted = array("q", sorted(offset for one in offsets for offset in one))

    def wants(offset: int) -> bool:
        at = bisect_left(wanted, offset)
        return at < len(wanted) and wanted[at] == offset

    return wants


def spooling(target: str, names: Sequence[str]) -> Spools:
    """What keeps the captures that can be read only once: where `target` will be, for there is a disk."""
    path = Path(target)
    return Spools(names, None if path.exists() and not path.is_file() else path.resolve().parent)


def write(
    target: str, names: Sequence[str], chosen: Chosen, keep: Keep | None = None, spools: Spools | None = None
) -> tuple[int, int]:
    """Write the packets of the chosen conversations into a pcapng file; returns how many packets, of how
    many conversations.

    keep: which frames are used, as when the conversations were found. spools: have those captures that can be
    read only once. What was captured stays as it is:
    bytes, times and their resolution, interfaces, comments and other options, names, statistics, secrets for
    decryption. Each capture with such packets becomes sections of the file. Where its packets alone say how
    long it went on, a statistics block says it instead.

    Takes 8 bytes of memory a packet. Raises `Unusable` where the file is one of those read, or a capture
    cannot be read any more; OSError where the file cannot be written, which then is as it was.
    """
    refuse_to_overwrite(target, names)
    packets = conversations = 0
    with whole(target) as stream, Progress() as progress:
        for part in _parts(names, chosen, keep, spools):
            progress.update(f"{target}: {plural(packets, 'packet')} written")
            conversations += part.conversations
            with _opened(part.name, spools) as source:
                wanted = among([part.offsets])
                packets += annotate(source, part.name, stream, {}, wanted, part.end_ns).packets
        if not packets:
            PcapngWriter(stream, comment="no conversation was selected").close()
    return packets, conversations


@dataclass(slots=True)
class _Part:
    """What is to be copied of one capture.

    offsets: of its packets, in the file. conversations: how many of them began here. end_ns: when the capture
    ended, where the copy would not tell.
    """

    name: str
    offsets: array[int]
    conversations: int
    end_ns: int | None


@contextmanager
def _opened(name: str, spools: Spools | None) -> Iterator[BinaryIO]:
    """A capture's bytes, from their beginning."""
    if spools is not None and name in spools:
        yield spools.again(name)
        return
    with Path(name).open("rb", buffering=0) as stream:
        yield stream


def _parts(names: Sequence[str], chosen: Chosen, keep: Keep | None, spools: Spools | None) -> Iterator[_Part]:
    """The captures that hold something of the chosen conversations."""
    from dissect.capture.picking import of_ports  # numpy is slow to import

    conversations, decoder = Conversations(), Decoder(remember=True)
    began: dict[Conversation, bool] = {}
    for name in by_first_packet(names) if chosen.merge else names:
        if not chosen.merge:
            conversations, decoder = Conversations(), Decoder(remember=True)
            began.clear()
        ends = chosen.ends(name)
        if not ends:
            continue
        ports = {(_port(min(both)), _port(max(both))) for both in ends}
        part = _Part(name, array("q"), 0, None)
        last_ns = 0
        try:
            capture = open_capture(
                spools.again(name) if spools is not None and name in spools else name, name
            )
        except CaptureError as error:
            if chosen.merge:
                continue  # one of those that are one was never read, as has been said
            raise Unusable(error.reason, source=name, offset=error.offset) from None
        with capture:
            for frame in of_ports(capture, ports):
                if keep is not None and not keep(frame):
                    continue
                segment = decoder(frame, capture.skipped)
                if segment is None:
                    continue
                if frozenset((segment.sender, segment.receiver)) not in ends:
                    conversations.due(segment.time_ns)
                    continue
                for event in conversations.push(segment):
                    if event.conversation not in began:
                        began[event.conversation] = chosen.began(name, event.conversation)
                        part.conversations += began[event.conversation]
                half = conversations.find(segment.key)
                if half is None or not began.get(half.connection.conversation):
                    continue
                part.offsets.extend(one.offset for one in (*decoder.earlier, frame))
                last_ns = max(last_ns, frame.time_ns)
        if part.offsets:
            if not capture.end_declared and capture.end_ns is not None and capture.end_ns > last_ns:
                part.end_ns = capture.end_ns
            yield part


def _port(end: str) -> int:
    return int(end.rpartition(":")[2])
