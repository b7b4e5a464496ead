# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte show CAPTURE`: the messages, gaps and violations of each conversation, in order."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.app import terminal
from dissect.app.captures import Captures, add_capture_arguments, read_captures
from dissect.app.main import INTERRUPTED
from dissect.app.terminal import Cell, Column, Table
from dissect.app.verdicts import tell_comments
from dissect.capture import Conversation
from dissect.capture.notes import Comment, named
from dissect.dissection.comments import Comments
from dissect.dissection.reading import Dissected
from dissect.dissection.spice_links import SpiceLink, tie
from dissect.stream.batch import Around, Batch
from dissect.stream.records import Message, Record
from dissect.stream.side import Side
from dissect.stream.text import safe
from dissect.timing.wording import detail, disorder

if TYPE_CHECKING:
    from dissect.spice.ticket import PrivateKey

HIDDEN = {
    "message_type",
    "message_size",
    "major_version",
    "minor_version",
    "size",
    "head",
    "pub_key",
    "caps_offset",
    "channel_type_name",
}
"""Fields that say nothing new to a person on one line: the name, the size and other fields do."""

COUNTS = ("num_", "number_of_", "name_len", "reason_length", "message_len", "padding")
"""How the names of fields begin that only count what follows, or carry nothing."""

EPILOG = """\
examples:
  firstbyte show pcaps/gvncviewer--qemu-spice.pcapng
  firstbyte show --wide --tz Europe/Berlin pcaps/xtightvncviewer--xtightvnc.pcapng
  firstbyte show --sessions pcaps/spicy--qemu-spice-devices.pcapng
  firstbyte show --follow growing.pcapng

Names of addresses are those that the capture holds. Its comments are printed among the messages, with --json
where --comments is given too, and not with --sessions, --typed or --follow.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_capture_arguments(parser, many=False)
    parser.add_argument(
        "--secrets", action="store_true", help="print VNC responses and SPICE tickets too (they are hidden)"
    )
    parser.add_argument(
        "--wide", action="store_true", help="print all of a message's fields, on several lines"
    )
    parser.add_argument(
        "--ticket-key",
        metavar="FILE",
        help="the SPICE server's private key (PEM or DER): print the passwords of the tickets made for it",
    )
    parser.add_argument(
        "--sessions",
        action="store_true",
        help="print each SPICE session as one timeline of all its channels, and nothing else",
    )
    parser.add_argument(
        "--typed",
        action="store_true",
        help="print what was typed and copied in each session, passwords too, and nothing else; "
        "SPICE tells keys, not characters: those of a US keyboard are printed",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="print each message as it comes, of all conversations, and at the end of a file wait for more, "
        "until Ctrl-C; with - as a pipe brings them",
    )
    parser.add_argument(
        "--comments",
        action="store_true",
        help="with --json: also an object for each comment in the capture, at its packet's time (large "
        "captures are read more slowly)",
    )
    terminal.add_zone_arguments(parser)
    parser.epilog = EPILOG


def run(args: Namespace) -> int:
    """Print the records; 0 where at least one conversation was found."""
    key = None if args.ticket_key is None else _key(args.ticket_key)
    if args.sessions and args.follow:
        raise terminal.Unusable("--sessions needs the whole capture, and --follow does not wait for it")
    if args.comments and (not args.json or args.typed or args.sessions or args.follow):
        raise terminal.Unusable(
            "--comments goes with --json (without it they are printed anyway), and not with --sessions, "
            "--typed or --follow"
        )
    if args.typed:
        return _typed(args)
    if args.sessions:
        return _sessions(args, key)
    if args.follow:
        return _follow(args, key)
    if args.json:
        return _with_comments(args, key) if args.comments else _stream(args, key)
    captures = Captures([args.capture], only=args.conversation, noted=True)
    comments: Comments | None = None
    for name, dissected in captures:
        _decrypt(dissected.records, key)
        if first := comments is None:
            comments = captures.comments[name]
            tell_comments(comments.general())
        _print(dissected, args, comments, first=first)
    if comments is not None and args.conversation is None:
        tell_comments(comments.left())
    return 0


def _typed(args: Namespace) -> int:
    """Print what was typed and copied; 3 where nothing was."""
    from itertools import chain

    from dissect.rfb import typed as rfb
    from dissect.spice import typed as spice

    nothing = True
    for name, dissected in read_captures([args.capture], only=args.conversation):
        index, verdict = dissected.conversation.index, dissected.verdict
        records = list(dissected.records)
        for said in chain(rfb.typed(records), spice.typed(records)):
            nothing = False
            if args.json:
                shown = {"side": said.side, "how": said.how, "time_ns": said.time_ns, "text": said.text}
                if said.layout is not None:
                    shown["layout"] = said.layout
                print(json.dumps({"capture": name, "conversation": index, **shown}))
                continue
            since = _since(said.time_ns - verdict.start_ns)
            keyboard = "" if said.layout is None else f", as on a {said.layout.upper()} keyboard"
            head = f"conversation {index} {since} {said.side} {said.how}{keyboard}"
            print(f"{terminal.paint(head, str(said.side))}: {safe(said.text)}")
    if nothing:
        terminal.complain("nothing was typed or copied", source=args.capture)
        return 3
    return 0


def _stream(args: Namespace, key: PrivateKey | None) -> int:
    """Print each record as soon as its turn is certain; none is kept, so memory does not grow."""

    def tell(name: str, conversation: Conversation, link: SpiceLink | None, record: Record) -> None:
        _decrypt((record,), key)
        print(to_line(name, conversation.index, link, record, secrets=args.secrets))

    def together(name: str, conversation: Conversation, link: SpiceLink | None, batch: Batch) -> None:
        text = batch.text(_frames(name, conversation.index, link, batch.side is Side.CLIENT, batch.protocol))
        sys.stdout.write(text.decode())

    for _ in Captures([args.capture], only=args.conversation, watch=tell, together=together):
        pass
    return 0


def _with_comments(args: Namespace, key: PrivateKey | None) -> int:
    """The same, and the comments: those on packets before the first record that is later, all others last."""

    def tell(name: str, conversation: Conversation, link: SpiceLink | None, record: Record) -> None:
        for said in captures.comments[name].before(conversation, record.time_ns):
            print(json.dumps(_comment(name, conversation.index, said.comment, said.side)))
        _decrypt((record,), key)
        print(to_line(name, conversation.index, link, record, secrets=args.secrets))

    captures = Captures([args.capture], only=args.conversation, watch=tell, noted=True)
    for name, dissected in captures:
        for said in captures.comments[name].before(dissected.conversation):
            print(json.dumps(_comment(name, dissected.conversation.index, said.comment, said.side)))
    for name, comments in captures.comments.items():
        for comment in comments.general():
            print(json.dumps(_comment(name, None, comment, None)))
        for comment in comments.left() if args.conversation is None else ():
            print(json.dumps(_comment(name, None, comment, None)))
    return 0


def _comment(name: str, conversation: int | None, comment: Comment, side: Side | None) -> dict[str, Any]:
    """The object of a comment."""
    return {
        "capture": name,
        "conversation": conversation,
        "kind": "comment",
        "side": side,
        "time_ns": comment.time_ns if comment.frame else None,
        "fields": {"about": comment.about, "text": comment.text},
    }


def _follow(args: Namespace, key: PrivateKey | None) -> int:
    """Print each record when its turn is certain, and each verdict, until Ctrl-C or a pipe's end."""
    table = _live_table(args)
    started: set[int] = set()

    def tell(name: str, conversation: Conversation, link: SpiceLink | None, record: Record) -> None:
        _decrypt((record,), key)
        if args.json:
            shown = to_json(name, conversation.index, link, record, secrets=args.secrets)
            print(json.dumps(shown), flush=True)
            return
        if not started:
            print("\n".join(table.head()))
        if conversation.index not in started:
            started.add(conversation.index)
            names = captures.names.get(name, {})
            _remark(
                conversation.index,
                f"{named(conversation.client, names)} → {named(conversation.server, names)}",
            )
        style, what = _what(record)
        row: list[str | Cell] = [
            terminal.clock(record.time_ns),
            str(conversation.index),
            _side(record.side),
            f"{record.size:,}",
            Cell(what, style),
            Cell(_words(record, args), style),
        ]
        print("\n".join(table.row(row)), flush=True)

    captures = Captures([args.capture], only=args.conversation, watch=tell, follow=True, interruptible=True)
    for _, dissected in captures:
        if not args.json:
            verdict = dissected.verdict
            so_far = "so far " if captures.interrupted and dissected.open else ""
            _remark(verdict.conversation, f"{so_far}{verdict.verdict}: {verdict.reason}")
    return INTERRUPTED if captures.interrupted else 0


def _live_table(args: Namespace) -> Table:
    """The columns of rows that are still to come, so that they cannot be fitted to them."""
    table = Table(
        [
            Column("time", align="right"),
            Column("#", align="right"),
            Column("from"),
            Column("size", align="right"),
            Column("what"),
            Column("", fit="wrap" if args.wide else "cut"),
        ]
    )
    detail = " " * table.limit
    table.fit([[terminal.clock(0), "999", _side(Side.CLIENT), "999,999", "FramebufferUpdateRequest", detail]])
    return table


def _remark(number: int, text: str) -> None:
    """A line about a conversation, between those of its messages."""
    for line in terminal.wrap(safe(f"conversation {number}: {text}"), terminal.terminal_width()):
        print(terminal.paint(line, "head"), flush=True)


def to_json(
    capture: str, conversation: int, link: SpiceLink | None, record: Record, *, secrets: bool = False
) -> dict[str, Any]:
    """The object of `show --json`."""
    return {
        "capture": capture,
        "conversation": conversation,
        "kind": record.kind,
        "side": record.side,
        "protocol": record.protocol,
        "name": record.name,
        "time_ns": record.time_ns,
        "offset": record.offset,
        "size": record.size,
        "fields": record.fields(secrets=secrets),
        "session": None if link is None else link.session_id,
        "channel": None if link is None else link.channel,
    }


@lru_cache(4096)
def _before(capture: str, conversation: int, kind: str, client: bool, protocol: str, name: str) -> str:
    """What a line begins with; the same for many records."""
    side = Side.CLIENT if client else Side.SERVER
    return (
        f'{{"capture": {json.dumps(capture)}, "conversation": {conversation}, "kind": "{kind}", '
        f'"side": "{side}", "protocol": "{protocol}", "name": {json.dumps(name)}, "time_ns": '
    )


@lru_cache(64)
def _behind(link: SpiceLink | None) -> str:
    """What it ends with."""
    session, channel = (None, None) if link is None else (link.session_id, link.channel)
    return f', "session": {json.dumps(session)}, "channel": {json.dumps(channel)}}}'


OFFSET, SIZE, FIELDS = ', "offset": ', ', "size": ', ', "fields": '
"""What stands between the numbers of a line."""


@lru_cache(64)
def _frames(
    capture: str, conversation: int, link: SpiceLink | None, client: bool, protocol: str
) -> Callable[[str], Around]:
    """What is around the messages of one side, by their names."""

    @cache
    def around(name: str) -> Around:
        before = _before(capture, conversation, "message", client, protocol, name)
        return Around(before, OFFSET, SIZE, FIELDS, _behind(link))

    return around


def to_line(
    capture: str, conversation: int, link: SpiceLink | None, record: Record, *, secrets: bool = False
) -> str:
    """`to_json` as a line of JSON, of which there may be millions."""
    client = record.side is Side.CLIENT
    before = _before(capture, conversation, record.kind, client, record.protocol, record.name)
    place = f"{before}{record.time_ns}{OFFSET}{record.offset}{SIZE}{record.size}{FIELDS}"
    return f"{place}{record.text(secrets=secrets)}{_behind(link)}"


def _key(name: str) -> PrivateKey:
    """The key in a file."""
    from dissect.spice.ticket import NotAKey, PrivateKey

    try:
        return PrivateKey.read(Path(name).read_bytes())
    except OSError as error:
        raise terminal.Unusable(f"{name}: {error.strerror}") from None
    except NotAKey as error:
        raise terminal.Unusable(f"{name}: {error}") from None


def _decrypt(records: Iterable[Record], key: PrivateKey | None) -> None:
    """Put the password beside each ticket, or why it is not found."""
    if key is None:
        return
    from dissect.spice.ticket import NotDecrypted

    for record in records:
        if isinstance(record, Message) and record.name == "SpiceLinkEncryptedTicket" and record.parts:
            try:
                word = key.password(record.raw).decode("utf-8", "backslashreplace")
                record.extra = {**record.extra, "password": word}
            except NotDecrypted as error:
                record.extra = {**record.extra, "password_unknown": str(error)}


def _sessions(args: Namespace, key: PrivateKey | None) -> int:
    """Print the SPICE sessions, each as one timeline; 3 where there is none."""
    found = list(read_captures([args.capture], only=args.conversation))
    for _, dissected in found:
        _decrypt(dissected.records, key)
    by_index = {dissected.conversation.index: dissected for _, dissected in found}
    groups = tie(dissected.verdict for _, dissected in found)
    for number, group in enumerate(groups):
        mine = [by_index[verdict.conversation] for verdict in group.members]
        merged = sorted(
            ((record, dissected) for dissected in mine for record in dissected.records), key=_time
        )
        if args.json:
            for record, dissected in merged:
                verdict = dissected.verdict
                shown = to_json(
                    args.capture, verdict.conversation, verdict.spice, record, secrets=args.secrets
                )
                print(json.dumps(shown))
            continue
        title = "\n".join(terminal.wrap(safe(group.title), terminal.terminal_width()))
        print(("\n" if number else "") + terminal.paint(title, "head"))
        start = min(dissected.conversation.start_ns for dissected in mine)
        print(f"  {terminal.timestamp(start)}")
        table = Table(
            [
                Column("time", align="right"),
                Column("channel"),
                Column("from"),
                Column("size", align="right"),
                Column("what"),
                Column("", fit="wrap" if args.wide else "cut"),
            ]
        )
        rows = [_merged_row(record, dissected, start, args) for record, dissected in merged]
        table.fit(rows)
        print("\n".join(table.head()))
        for row in rows:
            print("\n".join(table.row(row)))
    if not groups:
        terminal.complain("no SPICE session, or its number is not in the capture", source=args.capture)
        return 3
    return 0


def _time(item: tuple[Record, Dissected]) -> int:
    return item[0].time_ns


def _merged_row(record: Record, dissected: Dissected, start: int, args: Namespace) -> list[str | Cell]:
    link = dissected.verdict.spice
    style, what = _what(record)
    return [
        _since(record.time_ns - start),
        "" if link is None else link.channel,
        _side(record.side),
        f"{record.size:,}",
        Cell(what, style),
        Cell(_words(record, args), style),
    ]


def _what(record: Record) -> tuple[str, str]:
    """How a record is painted, and what it is called."""
    style = {"gap": "warn", "violation": "bad"}.get(record.kind, "")
    return style, {"gap": "gap", "violation": f"violation in {record.name}"}.get(record.kind, record.name)


def _print(dissected: Dissected, args: Namespace, comments: Comments, *, first: bool) -> None:
    verdict, notes = dissected.verdict, comments.notes
    ends = f"{named(verdict.client, notes.names)} → {named(verdict.server, notes.names)}"
    title = f"conversation {verdict.conversation}: {ends}"
    if (interface := notes.interface_of(dissected.conversation.first_frame)) is not None:
        title += f", on {interface}"
    print(("" if first else "\n") + terminal.paint(safe(title), "head"))
    print(f"  {terminal.timestamp(verdict.start_ns)}")
    for line in terminal.wrap(safe(f"{verdict.verdict}: {verdict.reason}"), terminal.terminal_width() - 2):
        print(f"  {line}")
    if odd := disorder(dissected.conversation):
        print(terminal.paint(f"  {', '.join(odd)}", "dim"))
    table = Table(
        [
            Column("time", align="right"),
            Column("from"),
            Column("offset", align="right"),
            Column("size", align="right"),
            Column("what"),
            Column("fields" if args.wide or args.secrets else "", fit="wrap" if args.wide else "cut"),
        ]
    )
    rows = _rows(dissected, args, comments)
    table.fit(rows)
    print("\n".join(table.head()))
    for row in rows:
        print("\n".join(table.row(row)))


def _rows(dissected: Dissected, args: Namespace, comments: Comments) -> list[list[str | Cell]]:
    start = dissected.conversation.start_ns
    timed: list[tuple[int, list[str | Cell]]] = []
    for record in dissected.records:
        style, what = _what(record)
        timed.append(
            (
                record.time_ns,
                [
                    _since(record.time_ns - start),
                    _side(record.side),
                    f"{record.offset:,}",
                    f"{record.size:,}",
                    Cell(what, style),
                    Cell(_words(record, args), style),
                ],
            )
        )
    for said in comments.of(dissected):
        time_ns, words = said.comment.time_ns, Cell(said.comment.text, "dim")
        row: list[str | Cell] = [
            _since(time_ns - start),
            _side(said.side),
            "",
            "",
            Cell("comment:", "dim"),
            words,
        ]
        timed.append((time_ns, row))
    if dissected.established_ns is not None:
        text = _since(dissected.established_ns - start)
        timed.append((dissected.established_ns, [text, "", "", "", Cell("TCP established", "dim"), ""]))
    for ending in dissected.endings:
        text = _since(ending.time_ns - start)
        what = "closes (FIN)" if ending.how == "close" else "resets (RST)"
        timed.append((ending.time_ns, [text, _side(ending.side), "", "", Cell(what, "dim"), ""]))
    if dissected.open:
        text = _since(dissected.end_ns - start)
        timed.append((dissected.end_ns, [text, "", "", "", Cell("the capture ends", "dim"), ""]))
    # Stable: records keep their own order.
    return [row for _, row in sorted(timed, key=lambda item: item[0])]


def _words(record: Record, args: Namespace) -> str:
    """The few words that matter, or all fields where more was asked for."""
    if isinstance(record, Message) and not (args.wide or args.secrets):
        if found := {name: value for name, value in record.extra.items() if name.startswith("password")}:
            return summary(found)
        return detail(record)
    return summary(record.fields(secrets=args.secrets))


def _since(ns: int) -> str:
    """Seconds since the conversation's first packet, to the microsecond."""
    return f"{ns / 1e9:.6f}"


def _side(side: Side) -> Cell:
    return Cell(f"{side} {'→' if side is Side.CLIENT else '←'}", str(side))


def summary(fields: dict[str, Any]) -> str:
    """A message's fields on one line: names of numbers instead of the numbers where they are registered."""
    parts = []
    for name, value in fields.items():
        if name in HIDDEN or name.startswith(COUNTS) or name.endswith(("_name", "_names")):
            continue
        if name in ("why", "note"):
            parts.append(str(value))
            continue
        named = fields.get(f"{name}_name", fields.get(f"{name}_names"))
        parts.append(f"{name}={_brief(value if named is None else named)}")
    return ", ".join(parts)


def _brief(value: Any) -> str:
    match value:
        case dict():
            return "{" + summary(value) + "}"
        case list() if len(value) > 8:
            return f"[{', '.join(map(_brief, value[:8]))}, … {len(value)} in all]"
        case list():
            return f"[{', '.join(map(_brief, value))}]"
        case str() if len(value) > 60:
            return f"{value[:60]}…"
        case _:
            return str(value)
