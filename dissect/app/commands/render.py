# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte render CAPTURE -o DIR`: the screens of its VNC and SPICE sessions, rebuilt, as PNG files.

What a VNC server sends as H.264 is not decoded: it is written as it is, for a player.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.app import terminal
from dissect.app.captures import add_capture_arguments
from dissect.capture import Capture, CaptureError, Conversation, Ended, Opened, open_capture, read
from dissect.dissection.dissector import Dissector
from dissect.stream.records import Violation
from dissect.stream.text import safe

if TYPE_CHECKING:
    from dissect.rfb.encodings import Rectangle
    from dissect.rfb.pixels.screen import Renderer
    from dissect.spice.pixels.cursors import Renderer as CursorRenderer
    from dissect.spice.pixels.screen import Renderer as SpiceRenderer

DISPLAY, CURSOR = 2, 4
"""The SPICE channels of the screen and of the cursor."""

TOLD = 20
"""How many problems of a conversation are told to a person; the rest are counted."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_capture_arguments(parser, many=False)
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="where the PNGs go")
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--every",
        type=_seconds,
        metavar="SECONDS",
        help="a picture every so many seconds in which something was drawn",
    )
    when.add_argument(
        "--each-update",
        action="store_true",
        help="a picture after each FramebufferUpdate, or each drawing of a SPICE display channel",
    )
    parser.epilog = (
        "Without --every and --each-update: the last screen of each session. The cursor, where a server\n"
        "sends it apart, is a picture of its own; H.264 is written to files for a player. Exit code 3: not\n"
        "all could be drawn.\n\n"
        "example: firstbyte render pcaps/vncdotool--xtigervnc.pcapng -o screens"
    )


def _seconds(text: str) -> int:
    """Seconds, as ns."""
    try:
        ns = int(float(text) * 1_000_000_000)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if ns <= 0:
        raise ArgumentTypeError("must be more than 0 seconds")
    return ns


def run(args: Namespace) -> int:
    """Write the pictures; 0 where all was drawn, 3 where something was not. Raises `terminal.Unusable`."""
    try:
        import dissect.rfb.pixels.screen
        import dissect.spice.pixels.screen  # noqa: F401
    except ImportError as error:
        why = f"pictures need numpy and Pillow ({error}): pip install 'firstbyte[render]'"
        raise terminal.Unusable(why) from None
    try:
        capture = open_capture(args.capture)
    except CaptureError as error:
        raise terminal.Unusable(error.reason, source=args.capture, offset=error.offset) from None
    args.output.mkdir(parents=True, exist_ok=True)
    with capture:
        films = _films(capture, args)
    for problem in capture.problems:
        terminal.complain(problem.reason, source=args.capture, offset=problem.offset)
    if (unused := capture.not_used()) is not None:
        terminal.complain(unused, source=args.capture)
    if not any(film.written for film in films):
        raise terminal.Unusable(
            "no VNC session and no SPICE display channel in it shows a screen", source=args.capture
        )
    return 0 if all(film.renderer.whole for film in films if film.written) else 3


def _films(capture: Capture, args: Namespace) -> list[Film]:
    """Read the capture; one film a conversation, each finished."""
    live: dict[Conversation, Film] = {}
    films: list[Film] = []
    with terminal.Progress() as progress:
        for number, event in enumerate(read(capture)):
            if number % 1024 == 1023:
                progress.update(f"{capture.name}: {capture.offset:,} bytes read")
            conversation = event.conversation
            if args.conversation is not None and conversation.index != args.conversation:
                continue
            if isinstance(event, Opened):
                live[conversation] = Film(conversation, args)
            film = live[conversation]
            for record in film.dissector.push(event):
                film.take(record)
            if isinstance(event, Ended):
                progress.clear()
                film.finish()
                films.append(live.pop(conversation))
    return films


RESET_CONTEXT, RESET_ALL_CONTEXTS = 1, 2
"""Flags of an Open H.264 rectangle. rfbproto.rst "Open H.264 Encoding"."""

CONTEXTS = 64
"""How many streams of H.264 may be open at once."""

STREAMS = 1024
"""How many files one conversation may have."""


class Videos:
    """The H.264 streams of one conversation, a file each.

    There is one for each place on the screen, and another where the server begins it anew.
    """

    def __init__(self, stem: Path) -> None:
        self.stem = stem
        self.files: list[Path] = []
        self.left_out = 0
        """Bytes of streams beyond the `STREAMS` that are written."""
        self._open: dict[tuple[int, int, int, int], Path] = {}

    def take(self, rect: Rectangle, flags: int, data: bytes) -> None:
        """The frames of one rectangle."""
        place = rect.x, rect.y, rect.width, rect.height
        if flags & RESET_ALL_CONTEXTS:
            self._open.clear()
        elif flags & RESET_CONTEXT:
            self._open.pop(place, None)
        if not data:
            return
        path = self._open.pop(place, None)
        if path is None and len(self.files) == STREAMS:
            self.left_out += len(data)
            return
        if path is None:
            where = f"{rect.width}x{rect.height}+{rect.x}+{rect.y}"
            path = self.stem.with_name(f"{self.stem.name}-{len(self.files)}-{where}.h264")
            path.write_bytes(b"")
            self.files.append(path)
        self._open[place] = path  # the last to be used is the last to be forgotten
        if len(self._open) > CONTEXTS:
            del self._open[next(iter(self._open))]
        with path.open("ab") as file:
            file.write(data)


class Film:
    """The pictures of one conversation, written as they come."""

    def __init__(self, conversation: Conversation, args: Namespace) -> None:
        self.conversation = conversation
        self.dissector = Dissector(conversation)
        self._renderer: Renderer | SpiceRenderer | CursorRenderer | None = None
        self.written = 0
        """How many pictures of the screen there are."""
        self._args = args
        self._last_ns = conversation.start_ns
        self._next_ns = None if args.every is None else conversation.start_ns + args.every
        self._drawn = 0
        self._problems = 0
        self._videos = Videos(args.output / f"conversation-{conversation.index}-video")

    @property
    def renderer(self) -> Renderer | SpiceRenderer | CursorRenderer:
        """What draws; which one is known when the first record is there that is shown."""
        if self._renderer is None:
            if self.dissector.spice is None:
                from dissect.rfb.pixels.screen import Renderer

                self._renderer = Renderer()
                self._renderer.video = self._videos.take
            elif self._is_cursor:
                from dissect.spice.pixels.cursors import Renderer as CursorRenderer

                self._renderer = CursorRenderer()
            else:
                from dissect.spice.pixels.screen import Renderer as SpiceRenderer

                self._renderer = SpiceRenderer()
        return self._renderer

    @property
    def _is_cursor(self) -> bool:
        return self.dissector.spice is not None and self.dissector.spice.channel_type == CURSOR

    @property
    def shows(self) -> bool:
        """Whether its records are of a screen or a cursor: the other channels of SPICE are not."""
        spice = self.dissector.spice
        return spice is None or spice.channel_type in (DISPLAY, CURSOR)

    def take(self, record: Any) -> None:
        """Draw one record, and write what is due."""
        if not self.shows:
            return
        if self._next_ns is not None and record.time_ns >= self._next_ns:
            every = self._args.every
            passed = (record.time_ns - self.conversation.start_ns) // every * every
            if self.renderer.updates > self._drawn:
                self._write(f"-{passed / 1e9:012.3f}s", self._last_ns)
            self._next_ns = self.conversation.start_ns + passed + every
        before = self.renderer.updates
        for problem in self.renderer.take(record):
            self._tell(problem)
        self._last_ns = record.time_ns
        if self._args.each_update and self.renderer.updates > before:
            self._write(f"-update-{self.renderer.updates:06d}", record.time_ns)

    def finish(self) -> None:
        """Write the last picture, and the cursor."""
        if self.renderer.updates and not (self._args.each_update and self.written):
            self._write("", self._last_ns)
        from dissect.rfb.pixels.screen import Renderer

        renderer = self.renderer
        if isinstance(renderer, Renderer) and renderer.cursor is not None:
            self._put("-cursor", renderer.cursor_png(), renderer.cursor.image.shape, self._last_ns)
        for path in self._videos.files:
            self._say_video(path)
        if self._videos.left_out:
            why = f"{self._videos.left_out:,} bytes of H.264 are in more than {STREAMS} streams, and left out"
            terminal.complain(why, source=self._args.capture)
        if self._problems > TOLD and not self._args.json:
            print(f"  and {self._problems - TOLD} more")

    def _say_video(self, path: Path) -> None:
        size = path.stat().st_size
        if self._args.json:
            shown = {
                "capture": self._args.capture,
                "conversation": self.conversation.index,
                "kind": "video",
                "file": str(path),
                "size": size,
            }
            print(json.dumps(shown))
        else:
            print(f"{terminal.link(str(path))}: {size:,} bytes of H.264")

    def _write(self, what: str, time_ns: int) -> None:
        self._drawn = self.renderer.updates
        if self.renderer.screen is not None:
            self.written += 1
            what = f"-cursor{what}" if self._is_cursor else what
            self._put(what, self.renderer.png(), self.renderer.screen.shape, time_ns)

    def _put(self, what: str, png: bytes, shape: tuple[int, ...], time_ns: int) -> None:
        path = self._args.output / f"conversation-{self.conversation.index}{what}.png"
        path.write_bytes(png)
        height, width = shape[:2]
        if self._args.json:
            shown = {
                "capture": self._args.capture,
                "conversation": self.conversation.index,
                "kind": "picture",
                "file": str(path),
                "time_ns": time_ns,
                "width": width,
                "height": height,
                "updates": self.renderer.updates,
                "whole": self.renderer.whole,
            }
            print(json.dumps(shown))
        else:
            since = f"{(time_ns - self.conversation.start_ns) / 1e9:.3f} s"
            whole = "" if self.renderer.whole else ", not whole"
            updates = f"{self.renderer.updates} update{'' if self.renderer.updates == 1 else 's'}"
            shown_path = terminal.link(str(path))
            print(f"{shown_path}: {width} × {height}, after {updates}, at {since}{whole}")

    def _tell(self, problem: Violation) -> None:
        self._problems += 1
        if self._args.json:
            shown = {
                "capture": self._args.capture,
                "conversation": self.conversation.index,
                "kind": problem.kind,
                "side": problem.side,
                "protocol": problem.protocol,
                "name": problem.name,
                "time_ns": problem.time_ns,
                "offset": problem.offset,
                "size": problem.size,
                "fields": problem.fields(),
            }
            print(json.dumps(shown))
        elif self._problems <= TOLD:
            where = f"conversation {self.conversation.index}, {problem.side} byte {problem.offset}"
            print(safe(f"  {where}: {problem.why}"))
