# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte export CAPTURE`: the same packets as pcapng, with what was found as comments on them."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import ArgumentParser, Namespace
from array import array
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from dissect.app import terminal
from dissect.app.captures import Wanted, add_capture_arguments, add_choice_arguments
from dissect.app.extract import among, refuse_to_overwrite
from dissect.app.main import PASS
from dissect.app.whole import whole
from dissect.capture import CaptureError, open_capture
from dissect.capture.annotate import Annotated, annotate
from dissect.capture.places import Places
from dissect.dissection.reading import dissect

EPILOG = """\
Every packet stays as it is: bytes, times and their resolution, interfaces, comments that are there already. A
comment of ours begins with "firstbyte: ". In Wireshark, Statistics, Capture File Properties shows all of
them; the display filter `frame.comment contains "firstbyte"` finds the packets, and so does
tshark -r OUT.pcapng -Y frame.comment -T fields -e frame.number -e frame.comment

example: firstbyte export pcaps/gvncviewer--qemu-spice.pcapng -o found.pcapng
         firstbyte export day.pcap.gz --verdict wrong-protocol --only -o odd.pcapng
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_capture_arguments(parser, many=False)
    parser.add_argument("-o", "--output", required=True, metavar="OUT.pcapng", help="the file to write")
    add_choice_arguments(parser)
    parser.add_argument(
        "--only", action="store_true", help="only the packets of the conversations that are chosen"
    )
    parser.add_argument(
        "--messages", action="store_true", help="name each message too, on the packet in which it begins"
    )
    parser.epilog = EPILOG


@dataclass(slots=True)
class _Found:
    """What goes into the file: comments by the offsets of packets, and the packets of the conversations."""

    conversations: int = 0
    chosen: int = 0
    comments: dict[int, list[str]] = field(default_factory=dict)
    packets: list[array[int]] = field(default_factory=list)


def run(args: Namespace) -> int:
    """Write the file; `Unusable`, and nothing written, where no conversation is found."""
    refuse_to_overwrite(args.output, [args.capture])
    with ExitStack() as stack:
        source = stack.enter_context(_twice(args.capture))
        found = _find(source, args)
        source.seek(0)
        keep = among(found.packets) if args.only else None
        with whole(args.output) as target:
            done = annotate(source, args.capture, target, found.comments, keep)
    _say(args, found, done)
    return PASS


def _twice(name: str) -> BinaryIO:
    """The capture as a stream that can be read twice: a file itself, else a copy of what comes."""
    path = Path(name)
    if name != "-":
        if path.is_dir():
            raise terminal.Unusable("a directory, not a capture", source=name, offset=0)
        try:
            if path.is_file():
                return path.open("rb", buffering=0)
        except OSError as error:
            raise terminal.Unusable((error.strerror or str(error)).lower(), source=name, offset=0) from None
    copy = TemporaryFile()  # noqa: SIM115  # the caller closes it
    try:
        if name == "-":
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, copy)
    except OSError as error:
        copy.close()
        raise terminal.Unusable((error.strerror or str(error)).lower(), source=name, offset=0) from None
    copy.seek(0)
    return copy


def _find(source: BinaryIO, args: Namespace) -> _Found:
    """Read the capture once, and remember what is to be said of which packet."""
    from dissect.report.remarks import remarks

    found = _Found()
    wanted = Wanted(args.host, args.port, args.verdict)
    places = Places(every=args.only)
    try:
        with terminal.Progress() as progress:
            capture = open_capture(source, args.capture)
            for dissected in dissect(places.read(capture)):
                found.conversations += 1
                trail = places.take(dissected.conversation)
                progress.update(f"{args.capture}: {terminal.plural(found.conversations, 'conversation')}")
                if args.conversation not in (None, dissected.verdict.conversation) or not wanted(
                    dissected.verdict, capture.notes.names
                ):
                    continue
                found.chosen += 1
                if args.only:
                    found.packets.append(trail.every)
                for offset, words in remarks(dissected, trail, messages=args.messages):
                    found.comments.setdefault(offset, []).append(words)
    except CaptureError as error:
        raise terminal.Unusable(error.reason, source=args.capture, offset=error.offset) from None
    for problem in capture.problems:
        terminal.complain(problem.reason, source=args.capture, offset=problem.offset)
    unused = capture.not_used()
    if not found.chosen:
        missing = "no TCP conversation in this capture" + (f" ({unused})" if unused else "")
        if found.conversations:
            missing = (
                f"{terminal.plural(found.conversations, 'conversation')} found, none of what is asked for"
            )
        raise terminal.Unusable(missing, source=args.capture)
    return found


def _say(args: Namespace, found: _Found, done: Annotated) -> None:
    if done.homeless:
        missing = f"{terminal.plural(done.homeless, 'comment')} left out: simple packet blocks have no room"
        terminal.complain(missing, source=args.capture)
    facts = {"path": args.output, "conversations": found.chosen, "packets": done.packets}
    facts |= {"commented": done.commented, "comments": done.comments, "left_out": done.homeless}
    if args.json:
        print(json.dumps(facts))
        return
    words = f"{terminal.plural(done.comments, 'comment')} on {done.commented:,} of "
    words += f"{terminal.plural(done.packets, 'packet')}, {terminal.plural(found.chosen, 'conversation')}"
    print(f"{words}: {terminal.link(args.output)}")
