# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures, conversations and their messages, as one works with them: lazily, in bounded memory.

What is in memory at one time, whatever the size of the captures: messages of at most `keep` bytes of
conversations that are still open, and of as many of those that have ended, however many of them are held; for
each conversation that is open what its session needs (its streams of compressed bytes, an unfinished message,
at most 16 MiB that wait for their turn), and for each that is held its verdict. Messages that did not fit are
read again from the file when somebody looks, one by one.
"""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload
from weakref import ref

from dissect.capture import Capture, CaptureError, Event, open_capture
from dissect.dissection.readers import plain_reader, reader_for_verdicts
from dissect.dissection.reading import Dissected, dissect, each
from dissect.dissection.verdict import Verdict
from dissect.firstbyte import hexview
from dissect.stream import records as raw
from dissect.stream.side import Side
from dissect.stream.text import plural, safe
from dissect.timing import wording
from dissect.timing.observations import Observation, observations

if TYPE_CHECKING:
    from scapy.packet import Packet

    from dissect.dissection.readers import Reader
    from dissect.firstbyte.pictures import Picture
    from dissect.firstbyte.tables import Table

T = TypeVar("T")

KEEP = 32 << 20
"""Bytes of messages that are kept of open conversations, and as many of ended ones."""

COST = 1024
"""Bytes that a message is taken to need in memory besides its own."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S.%f} UTC"


def utc(ns: int) -> datetime:
    """A time of nanoseconds since 1970 as a datetime in UTC, rounded down to its microseconds."""
    return EPOCH + timedelta(microseconds=ns // 1000)


# --- a record -----------------------------------------------------------------------------------------------


class Record:
    """One message of a conversation, or a gap or a violation in it (`kind` says which).

    Shows itself in a notebook as its fields beside its bytes, and prints as both. Secrets (the answer to a
    VNC challenge, a SPICE ticket) are shown neither among the fields nor among the bytes.

    capture: the file's name. conversation: its number there. record: what the dissector said.

    >>> from dissect import firstbyte as fb
    >>> (conversation,) = fb.open("pcaps/xtightvncviewer--xtightvnc.pcapng")
    >>> message = conversation.messages["FramebufferUpdateRequest"]
    >>> message
    <message FramebufferUpdateRequest of the client: 10 bytes at 90>
    >>> print(message)
    FramebufferUpdateRequest: 10 bytes from the client, at 90 of its stream, 5.22 ms after the start
      message_type  3
      incremental   0
      x_position    0
      y_position    0
      width         160
      height        120
    00000000  03 00 00 00 00 00 00 a0 00 78                    |.........x|
    """

    __slots__ = ("_start_ns", "capture", "conversation", "record")

    def __init__(self, record: raw.Record, capture: str, conversation: int, start_ns: int) -> None:
        self.record = record
        self.capture = capture
        self.conversation = conversation
        self._start_ns = start_ns

    @property
    def kind(self) -> str:
        """What it is: "message", "gap" (bytes that are not in the capture) or "violation"."""
        return self.record.kind

    @property
    def side(self) -> Side:
        """Who sent it: `Side.CLIENT` or `Side.SERVER`, by who opened the TCP connection."""
        return self.record.side

    @property
    def protocol(self) -> str:
        """What its sender speaks, in the words of a verdict: "rfb", "spice", "tls", ..."""
        return self.record.protocol

    @property
    def name(self) -> str:
        """The standard name of the message: "FramebufferUpdate", "SPICE_MSG_MAIN_INIT"."""
        return self.record.name

    @property
    def offset(self) -> int:
        """Where it begins in its sender's stream, in bytes."""
        return self.record.offset

    @property
    def size(self) -> int:
        """Its bytes on the wire."""
        return self.record.size

    @property
    def time_ns(self) -> int:
        """When its last byte was captured, in ns since 1970."""
        return self.record.time_ns

    @property
    def time(self) -> datetime:
        """The same as a datetime in UTC, which has only microseconds."""
        return utc(self.time_ns)

    @property
    def since_ns(self) -> int:
        """The same in ns since the conversation's first packet."""
        return self.time_ns - self._start_ns

    @property
    def raw(self) -> bytes:
        """Its bytes. Of a run that is not decoded only the first 64; of a gap or a violation none."""
        return self.record.raw if isinstance(self.record, raw.Message) else b""

    @property
    def fields(self) -> dict[str, Any]:
        """Its fields as JSON values, registered names beside numbers; secrets are hidden."""
        return self.record.fields()

    def __getitem__(self, name: str) -> Any:
        """A field as it is on the wire, undecorated; KeyError where there is none of that name.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/xtightvncviewer--xtightvnc.pcapng")
        >>> conversation.messages["ServerInit"]["framebuffer_width"]
        160
        """
        if isinstance(self.record, raw.Message):
            return self.record[name]
        return self.fields[name]

    @property
    def packet(self) -> Packet | None:
        """The Scapy packet, made now; None where there is no layout (a run that is not decoded, a gap).

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/xtightvncviewer--xtightvnc.pcapng")
        >>> packet = conversation.messages["FramebufferUpdateRequest"].packet
        >>> type(packet).__name__, packet.width, packet.height
        ('FramebufferUpdateRequest', 160, 120)
        """
        return self.record.packet if isinstance(self.record, raw.Message) else None

    @property
    def text(self) -> str:
        """The few words that matter, on one line; "" where the name says it all.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/gvncviewer--qemu-spice.pcapng")
        >>> conversation.messages[-1].text
        'error 2 INVALID_MAGIC'
        """
        if isinstance(self.record, raw.Message):
            return wording.detail(self.record)
        if isinstance(self.record, raw.Gap):
            return f"{plural(self.size, 'byte')} of the {self.side} not in the capture"
        return safe(self.record.why)

    def __repr__(self) -> str:
        size = plural(self.size, "byte")
        return f"<{self.kind} {safe(self.name)} of the {self.side}: {size} at {self.offset:,}>"

    def __str__(self) -> str:
        return hexview.text(self)

    def _repr_html_(self) -> str:
        return hexview.markup(self)


class Records:
    """The messages of one conversation, or all its records, in the order of their times. Not a list.

    They are in memory or, where they are many, read again from the file each time somebody iterates.

    >>> from dissect import firstbyte as fb
    >>> (conversation,) = fb.open("pcaps/xtightvncviewer--xtightvnc.pcapng")
    >>> [message.name for message in conversation.messages][:3]
    ['ProtocolVersion', 'ProtocolVersion', 'SecurityTypes']
    >>> conversation.messages[-1].name, conversation.messages["SetEncodings"].size
    ('FramebufferUpdateRequest', 56)
    >>> conversation.messages
    <14 messages: ProtocolVersion ×2, SecurityTypes, SecurityType, TightTunnels, TightAuthTypes, ...>
    """

    def __init__(self, records: Callable[[], Iterable[Record]], noun: str) -> None:
        self._records = records
        self._noun = noun

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records())

    def __len__(self) -> int:
        return sum(1 for _ in self._records())

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    @overload
    def __getitem__(self, which: int | str) -> Record: ...
    @overload
    def __getitem__(self, which: slice) -> list[Record]: ...
    def __getitem__(self, which: int | str | slice) -> Record | list[Record]:
        """The one at a place, or the first of a name; a list for a slice. Raises IndexError, KeyError."""
        if isinstance(which, str):
            for record in self:
                if record.name == which:
                    return record
            raise KeyError(which)
        return list(self)[which]

    def named(self, name: str) -> list[Record]:
        """All of one name.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/xtightvncviewer--xtightvnc.pcapng")
        >>> [request["incremental"] for request in conversation.messages.named("FramebufferUpdateRequest")]
        [0, 1]
        """
        return [record for record in self if record.name == name]

    def __repr__(self) -> str:
        counted: dict[str, int] = {}
        for record in self:
            counted[record.name] = counted.get(record.name, 0) + 1
        names = [f"{safe(name)} ×{number}" if number > 1 else safe(name) for name, number in counted.items()]
        more = ", ..." if len(names) > 5 else ""
        about = f": {', '.join(names[:5])}{more}" if names else ""
        return f"<{plural(sum(counted.values()), self._noun)}{about}>"


# --- a conversation -----------------------------------------------------------------------------------------


class Conversation:
    """One TCP connection of a capture: its verdict, its messages, its picture.

    Shows itself in a notebook as a ladder with its verdict, and prints as its messages with it.

    capture: the file's name. number: which of its conversations, from 0, as `firstbyte verdict` counts them.

    >>> from dissect import firstbyte as fb
    >>> (conversation,) = fb.open("pcaps/gvncviewer--qemu-spice.pcapng")
    >>> conversation
    <Conversation 0 of gvncviewer--qemu-spice.pcapng: wrong-protocol, rfb → spice>
    >>> conversation.verdict.detected_first, conversation.verdict.server_detect.bytes
    (<Side.SERVER: 'server'>, 4)
    >>> for message in conversation.messages:
    ...     print(message.side, message.name, message.text)
    client ProtocolVersion “RFB ”, incomplete: 4 of 12 bytes
    server SpiceLinkReply error 2 INVALID_MAGIC
    """

    def __init__(
        self,
        dissected: Dissected,
        capture: str,
        kept: list[raw.Record] | None,
        again: Callable[[], Iterator[raw.Record]],
    ) -> None:
        """kept: its records, None where they were too many; again: reads them from the file."""
        self.capture = capture
        self.verdict: Verdict = dissected.verdict
        self._dissected = dissected
        self._kept = kept
        self._again = again

    @property
    def number(self) -> int:
        """Which conversation of the capture it is, from 0."""
        return self.verdict.conversation

    @property
    def client(self) -> str:
        """Who opened the connection: "address:port", IPv6 in brackets."""
        return self.verdict.client

    @property
    def server(self) -> str:
        """Who accepted it."""
        return self.verdict.server

    @property
    def start_ns(self) -> int:
        """Its first packet, in ns since 1970."""
        return self.verdict.start_ns

    @property
    def start(self) -> datetime:
        """The same as a datetime in UTC, which has only microseconds."""
        return utc(self.start_ns)

    @property
    def lasted_ns(self) -> int:
        """From its first packet until its end, or that of the capture."""
        return max(0, self._dissected.end_ns - self.start_ns)

    @property
    def messages(self) -> Records:
        """What both sides said, in order.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/spicy--qemu-vnc.pcapng")
        >>> conversation.messages
        <2 messages: ProtocolVersion, SpiceLinkMess>
        """
        return Records(lambda: (one for one in self._records() if one.kind == "message"), "message")

    @property
    def records(self) -> Records:
        """The same with the gaps and the violations of the protocol in their places.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/spicy--qemu-vnc.pcapng")
        >>> {record.kind for record in conversation.records}
        {'message'}
        """
        return Records(self._records, "record")

    def _records(self) -> Iterator[Record]:
        found = iter(self._kept) if self._kept is not None else self._again()
        for one in found:
            yield Record(one, self.capture, self.number, self.start_ns)

    @property
    def in_memory(self) -> bool:
        """Whether its messages are; otherwise they are read from the file when somebody looks."""
        return self._kept is not None

    def observations(self) -> list[Observation]:
        """How long each side took to notice, exact or as a bound; none where both agreed.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/xtigervncviewer--qemu-spice.pcapng")
        >>> [(str(seen.side), seen.status, seen.by) for seen in conversation.observations()]
        [('server', 'censored', None), ('client', 'censored', None)]
        """
        return observations(self.verdict, label=Path(self.capture).name)

    def table(self) -> Table:
        """Its records as a table, a row each. Raises TableError without pyarrow.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/spicy--qemu-vnc.pcapng")
        >>> conversation.table().to_pandas()["name"].tolist()
        ['ProtocolVersion', 'SpiceLinkMess']
        """
        from dissect.firstbyte import tables

        return tables.Table(tables.MESSAGE, lambda: map(tables.message_row, self._records()))

    @property
    def dissected(self) -> Dissected:
        """What the rooms below work with, with all its records in memory.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/spicy--qemu-vnc.pcapng")
        >>> [(ending.side.value, ending.how) for ending in conversation.dissected.endings]
        [('server', 'close'), ('client', 'close')]
        """
        whole = Dissected(self._dissected.conversation, self.verdict)
        whole.records = self._kept if self._kept is not None else list(self._again())
        whole.endings = self._dissected.endings
        whole.established_ns = self._dissected.established_ns
        whole.end_ns, whole.open = self._dissected.end_ns, self._dissected.open
        return whole

    def plot(self, *, names: dict[Side, str] | None = None) -> Picture:
        """Its ladder as a picture that can be saved. names: the programs at either end, where they are known.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/spicy--qemu-vnc.pcapng")
        >>> conversation.plot(names={fb.Side.CLIENT: "spicy", fb.Side.SERVER: "QEMU's VNC server"})
        <Picture: conversation 0 of spicy--qemu-vnc.pcapng>
        """
        from dissect.firstbyte.pictures import Picture
        from dissect.timing.plots import ladder

        figure = ladder(self.dissected, capture=Path(self.capture).name, names=names)
        return Picture(figure, self._title())

    @property
    def svg(self) -> str:
        """Its ladder as one SVG document, in the light or dark of whoever looks at it.

        >>> from dissect import firstbyte as fb
        >>> (conversation,) = fb.open("pcaps/spicy--qemu-vnc.pcapng")
        >>> conversation.svg.startswith('<svg'), "server noticed after" in conversation.svg
        (True, True)
        """
        from dissect.report.ladder import ladder_svg
        from dissect.timing.rungs import Rungs

        return ladder_svg(Rungs(self.dissected), capture=Path(self.capture).name)

    def _title(self) -> str:
        return f"conversation {self.number} of {safe(Path(self.capture).name)}"

    def __repr__(self) -> str:
        verdict = self.verdict
        spoke = f"{verdict.client_spoke} → {verdict.server_spoke}"
        return f"<C{self._title()[1:]}: {verdict.verdict}, {spoke}>"

    def __str__(self) -> str:
        verdict = self.verdict
        lines = [
            f"{self._title()}: {safe(verdict.client)} → {safe(verdict.server)}, {_shown(self.start)}",
            f"{verdict.verdict}: {safe(verdict.reason)}",
        ]
        for record in self._records():
            arrow = "→" if record.side is Side.CLIENT else "←"
            what = record.name if record.kind == "message" else record.kind
            lines.append(
                f"{record.since_ns / 1e9:>12.6f}  {record.side} {arrow}  {record.size:>9,}  {safe(what):<25}"
                f" {record.text}".rstrip()
            )
        lines.append(f"{self.lasted_ns / 1e9:>12.6f}  {self._end()}")
        return "\n".join(lines)

    def _end(self) -> str:
        if self._dissected.open:
            return "the capture ends"
        return ", ".join(f"{ending.side} {ending.how}s" for ending in self._dissected.endings) or "it ends"

    def _repr_html_(self) -> str:
        from dissect.firstbyte import display

        return display.conversation(self)


# --- captures -----------------------------------------------------------------------------------------------


def open(*paths: str | PathLike[str], keep: int = KEEP) -> Captures:  # as gzip.open
    """Open captures: pcap and pcapng, compressed or not. Nothing is read yet.

    paths: files, or patterns such as "pcaps/*.pcapng". keep: bytes of messages that stay in memory, see the
    module. Raises FileNotFoundError where a path or a pattern stands for nothing.

    >>> from dissect import firstbyte as fb
    >>> captures = fb.open("pcaps/gvncviewer--*.pcapng")
    >>> for conversation in captures:
    ...     if conversation.verdict.verdict == "wrong-protocol":
    ...         print(conversation.verdict.reason.partition(";")[0])
    the client spoke RFB, the server spoke SPICE
    """
    found: dict[str, None] = {}
    for path in map(str, paths):
        names = [path] if Path(path).exists() else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
        if not names:
            raise FileNotFoundError(f"no capture {path!r}")
        found.update(dict.fromkeys(names))
    return Captures(list(found), keep=keep)


class Captures:
    """Captures that are read when somebody iterates: each conversation comes when it has ended.

    With one capture of several that cannot be read the others are read all the same, and `problems` has a
    line; where there is only the one, iterating raises CaptureError.

    >>> from dissect import firstbyte as fb
    >>> captures = fb.open("pcaps/spicy--qemu-vnc.pcapng", "pcaps/gvncviewer--qemu-spice.pcapng")
    >>> captures
    <Captures: 2 files>
    >>> for conversation in captures:
    ...     print(conversation)                                                   # doctest: +ELLIPSIS
    conversation 0 of spicy--qemu-vnc.pcapng: 127.0.0.1:... → 127.0.0.1:..., 20... UTC
    wrong-protocol: the client spoke SPICE, the server spoke RFB; ...
    conversation 0 of gvncviewer--qemu-spice.pcapng: 127.0.0.1:... → 127.0.0.1:..., 20... UTC
    wrong-protocol: the client spoke RFB, the server spoke SPICE; ...
    """

    def __init__(self, paths: list[str], *, keep: int = KEEP) -> None:
        self.paths = paths
        self._keep = keep
        self._problems: dict[str, list[str]] = {}
        self._ended = _Ended(keep)

    @property
    def problems(self) -> list[str]:
        """What could not be used, one line each: grows as the captures are read.

        >>> from dissect import firstbyte as fb
        >>> captures = fb.open("pcaps/spicy--qemu-vnc.pcapng")
        >>> len(list(captures)), captures.problems
        (1, [])
        """
        return [line for lines in self._problems.values() for line in lines]

    def __iter__(self) -> Iterator[Conversation]:
        for path in self.paths:
            open_now = _Open(self._keep)
            for one in self._read(path, each):
                if not isinstance(one, Dissected):
                    open_now.add(one.conversation.index, one.record)
                    continue
                yield self._conversation(path, one, open_now.take(one.conversation.index))

    def __getitem__(self, number: int) -> Conversation:
        """Conversation `number` of the one capture that is open, as `firstbyte verdict` counts them.

        Raises IndexError where there is none, ValueError where several captures are open.

        >>> from dissect import firstbyte as fb
        >>> fb.open("pcaps/spicy-screenshot--xtigervnc-blacklist.pcapng")[7].verdict.server_detect is None
        True
        """
        if len(self.paths) != 1:
            raise ValueError(f"which of these {len(self.paths)} captures? Open it by itself, or iterate")
        open_now = _Open(self._keep)
        for one in self._read(self.paths[0], lambda events: each(events, only=number)):
            if isinstance(one, Dissected):
                return self._conversation(self.paths[0], one, open_now.take(number))
            open_now.add(number, one.record)
        raise IndexError(f"no conversation {number} in {safe(self.paths[0])}")

    def verdicts(self) -> Iterator[Verdict]:
        """The verdicts alone, without messages: the quickest way through a large capture.

        >>> from dissect import firstbyte as fb
        >>> [verdict.verdict for verdict in fb.open("pcaps/spicy--qemu-vnc.pcapng").verdicts()]
        ['wrong-protocol']
        """
        return (verdict for _, verdict in self._verdicts())

    def records(self) -> Iterator[Record]:
        """All records of all conversations as they become known, each conversation's in its order; none is
        kept, so that a capture of any size goes through.

        >>> from dissect import firstbyte as fb
        >>> sum(record.size for record in fb.open("pcaps/spicy--qemu-vnc.pcapng").records())
        54
        """
        for path in self.paths:
            for one in self._read(path, each):
                if not isinstance(one, Dissected):
                    yield Record(one.record, path, one.conversation.index, one.conversation.start_ns)

    def observations(self) -> list[Observation]:
        """How long each side of each conversation took to notice, exact or as a bound.

        >>> from dissect import firstbyte as fb
        >>> seen = fb.open("pcaps/spicy--qemu-vnc.pcapng").observations()
        >>> [(str(one.side), one.by, one.bytes) for one in seen]
        [('server', 'close', 42), ('client', 'close', 12)]
        """
        return [
            one for path, verdict in self._verdicts() for one in observations(verdict, label=Path(path).name)
        ]

    def table(self, of: str = "conversations") -> Table:
        """A table of these captures: one row a conversation, or of="messages", of="observations".

        Rows are made when the table is looked at, and then kept; iterating over it, or `to_parquet`, keeps
        none. Raises ValueError for another word.

        >>> from dissect import firstbyte as fb
        >>> fb.open("pcaps/spicy--qemu-vnc.pcapng").table("observations")
        <Table firstbyte-observation/1: 2 rows, 16 columns>
        """
        from dissect.firstbyte import tables

        if of == "conversations":
            return tables.Table(
                tables.CONVERSATION,
                lambda: (tables.conversation_row(verdict, path) for path, verdict in self._verdicts()),
            )
        if of == "messages":
            return tables.Table(tables.MESSAGE, lambda: map(tables.message_row, self.records()))
        if of == "observations":
            return tables.Table(tables.OBSERVATION, lambda: map(tables.observation_row, self.observations()))
        raise ValueError(f"no table of {of!r}: conversations, messages or observations")

    def plot(self) -> Picture:
        """The detection times of all conversations as a picture. Raises ValueError where there is none.

        >>> from dissect import firstbyte as fb
        >>> fb.open("pcaps/spicy--qemu-vnc.pcapng").plot()
        <Picture: detection times>
        """
        from dissect.firstbyte.pictures import Picture
        from dissect.timing.plots import detection_times

        return Picture(detection_times(self.observations()), "detection times")

    def __repr__(self) -> str:
        return f"<Captures: {plural(len(self.paths), 'file')}>"

    # --- reading

    def _read(
        self, path: str, read: Callable[[Iterator[Event]], Iterator[T]], reader: Reader | None = None
    ) -> Iterator[T]:
        """What `read` makes of the events of one capture; notes what was wrong with it."""
        try:
            capture = open_capture(path)
        except CaptureError as error:
            if len(self.paths) == 1:
                raise
            self._problems[path] = [str(error)]
            return
        with capture:
            try:
                yield from read(_events(capture, reader or plain_reader([path])))
            finally:
                unused = capture.not_used()
                self._problems[path] = [str(problem) for problem in capture.problems]
                self._problems[path] += [] if unused is None else [f"{safe(path)}: {unused}"]

    def _verdicts(self) -> Iterator[tuple[str, Verdict]]:
        for path in self.paths:
            reader = reader_for_verdicts([path], beside=True)
            for dissected in self._read(path, lambda events: dissect(events, records=False), reader):
                yield path, dissected.verdict

    def _conversation(self, path: str, dissected: Dissected, kept: list[raw.Record] | None) -> Conversation:
        number = dissected.conversation.index

        def again() -> Iterator[raw.Record]:
            for one in self._read(path, lambda events: each(events, only=number)):
                if not isinstance(one, Dissected):
                    yield one.record

        conversation = Conversation(dissected, path, kept, again)
        if kept is not None:
            self._ended.add(conversation, kept)
        return conversation


def _events(capture: Capture, reader: Reader) -> Iterator[Event]:
    yield from reader.read(capture)
    yield from reader.finish(capture, capture.end_ns)


def _cost(records: Iterable[raw.Record]) -> int:
    return sum(COST + (len(one.raw) if isinstance(one, raw.Message) else 0) for one in records)


class _Open:
    """The records of conversations that are open, at most `most` bytes of them: the largest are let go."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[int, list[raw.Record]] = {}
        self._costs: dict[int, int] = {}
        self._let_go: set[int] = set()
        self._total = 0

    def add(self, number: int, record: raw.Record) -> None:
        if number in self._let_go:
            return
        cost = _cost((record,))
        self._kept.setdefault(number, []).append(record)
        self._costs[number] = self._costs.get(number, 0) + cost
        self._total += cost
        while self._total > self._most:
            largest = max(self._costs, key=self._costs.__getitem__)
            self._total -= self._costs.pop(largest)
            del self._kept[largest]
            self._let_go.add(largest)

    def take(self, number: int) -> list[raw.Record] | None:
        """Those of a conversation that has ended; None where they were let go."""
        if number in self._let_go:
            self._let_go.discard(number)
            return None
        self._total -= self._costs.pop(number, 0)
        return self._kept.pop(number, [])


class _Ended:
    """Conversations that have ended and still have their records, at most `most` bytes; the first go."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: deque[tuple[ref[Conversation], int]] = deque()
        self._total = 0

    def add(self, conversation: Conversation, records: list[raw.Record]) -> None:
        cost = _cost(records)
        self._held.append((ref(conversation), cost))
        self._total += cost
        if self._total > self._most:
            # What nobody holds any more has freed its memory itself.
            self._held = deque(one for one in self._held if one[0]() is not None)
            self._total = sum(cost for _, cost in self._held)
        while self._total > self._most and self._held:
            first, cost = self._held.popleft()
            self._total -= cost
            held = first()
            if held is not None:
                held._kept = None
