# SPDX-License-Identifier: GPL-2.0-or-later
"""The screen of a session, rebuilt from its records.

`Renderer.take` is given every record of an RFB session in the order in which the session gave it. Nothing is
made up: what could not be drawn is returned as a problem, and `Renderer.whole` says whether all was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from dissect.rfb import encodings, messages, optional
from dissect.rfb.encodings import Format, Rectangle, Walk, Whole
from dissect.rfb.pixels import colours, wavelets
from dissect.rfb.pixels.colours import Rgb
from dissect.rfb.pixels.rectangles import PIXELS_LIMIT, Cursor, Painting, Streams
from dissect.stream.pictures import png
from dissect.stream.records import Gap, Message, Record, Violation
from dissect.stream.session import NotRead, Wrong
from dissect.stream.side import Side

PROBLEMS_KEPT = 64
"""How many problems of one update are told; a rectangle can hold thousands of wrong ones."""


class Renderer:
    """Takes the records of one RFB session; keeps the screen and the cursor as they are after each."""

    def __init__(self) -> None:
        self.screen: Rgb | None = None
        """Height x width x 3; None before ServerInit, and where the screen is too large to be drawn."""
        self.cursor: Cursor | None = None
        """The cursor's image, which servers send apart and viewers draw themselves; None: there is none."""
        self.pointer: tuple[int, int] | None = None
        """Where the server says that the pointer is."""
        self.updates = 0
        """FramebufferUpdates taken."""
        self.whole = True
        """Whether all that came was drawn."""
        self.video: Callable[[Rectangle, int, bytes], None] | None = None
        """Is told of each rectangle of Open H.264: where it is, its flags, and its frames."""
        self._streams = Streams()
        self._map: Rgb = np.zeros((1 << 16, 3), np.uint8)
        self._indices: npt.NDArray[np.int32] | None = None
        # Per pixel its place in the colour map, -1 for those that have a true colour.
        self._server: Side | None = None
        self._reading = False
        self._wavelet_level: int | None = None

    def take(self, record: Record) -> list[Violation]:
        """Draw what `record` says; returns what is wrong or could not be drawn, each with its offset."""
        match record:
            case Gap() if self._reading and record.side is self._server:
                self._lose(f"follows a gap of {record.size} bytes at byte {record.offset}")
                return [_told(record, f"{record.size} bytes were lost: what they drew is missing")]
            case Message() if record.parts:
                return self._message(record)
            case Message() if self._reading and record.side is self._server:
                self._lose(f"follows what could not be read at byte {record.offset}")
                return [_told(record, f"{record.size} bytes of {record.name} are not drawn: {record.note}")]
        return []

    def png(self) -> bytes:
        """The screen as a PNG file. ValueError where there is none."""
        if self.screen is None:
            raise ValueError("there is no screen")
        return png(self.screen)

    def cursor_png(self) -> bytes:
        """The cursor as a PNG file with transparency. ValueError where there is none, or an empty one."""
        if self.cursor is None or not self.cursor.image.size:
            raise ValueError("there is no cursor")
        return png(self.cursor.image)

    # --- messages

    def _message(self, message: Message) -> list[Violation]:
        match message.parts[0].cls:
            case messages.ServerInit | messages.TightServerInit:
                self._reading, self._server = True, message.side
                values = message.values
                return self._resize(message, 0, values["framebuffer_width"], values["framebuffer_height"])
            case messages.SetEncodings:
                self._wavelet_level = wavelets.level_of(message["encoding_types"])
            case messages.SetColourMapEntries:
                self._recolour(message)
            case optional.ResizeFrameBuffer | optional.PalmResizeFrameBuffer:
                width, height = message["framebuffer_width"], message["framebuffer_height"]
                return self._resize(message, 0, width, height)
            case messages.FramebufferUpdateHeader:
                return self._update(message)
        return []

    def _lose(self, why: str) -> None:
        self.whole = False
        self._streams.lose(f"its zlib stream {why}")

    def _recolour(self, message: Message) -> None:
        first, entries = message["first_colour"], message["colours"]
        table = [(entry["red"] >> 8, entry["green"] >> 8, entry["blue"] >> 8) for entry in entries]
        table = table[: len(self._map) - first]
        if not table:
            return
        self._map[first : first + len(table)] = table
        if self._indices is not None and self.screen is not None:
            of_map = self._indices >= 0
            self.screen[of_map] = self._map[self._indices[of_map]]

    def _update(self, message: Message) -> list[Violation]:
        self.updates += 1
        problems: list[Violation] = []
        painting: Painting | None = None

        def see(what: str, *numbers: object) -> None:
            assert painting is not None
            painting.see(what, *numbers)

        def before(rect: Rectangle, form: Format) -> None:
            nonlocal painting
            painting = Painting(rect, form, message.raw, self._streams, self._map, self._wavelet_level)

        def after(rect: Rectangle, start: int, end: int) -> None:
            assert painting is not None
            found = list(self._put(message, painting, start))
            self.whole = self.whole and not found
            problems.extend(found[: PROBLEMS_KEPT - len(problems)])

        whole = Whole(message.raw, "the update")
        header = messages.FramebufferUpdateHeader.layout()
        values, at = header.decode(message.raw)
        try:
            for _ in encodings.update(
                Walk(whole, at, see), values["number_of_rectangles"], message.basis, before, after
            ):
                pass
        except (Wrong, NotRead) as cause:
            # The session read the same bytes with the same walkers: only a part that it left out is missing.
            self.whole = False
            problems.append(_problem(message, len(message.raw), message.note or cause.why))
        return problems

    def _put(self, message: Message, painting: Painting, start: int) -> Iterator[Violation]:
        """Put a decoded rectangle on the screen."""
        painting.finish()
        rect = painting.rect
        if painting.video is not None and self.video is not None:
            self.video(rect, *painting.video)
        if painting.failed is not None:
            cause = painting.failed
            name = messages.ENCODING_NAMES.get(rect.encoding, str(rect.encoding))
            at = cause.at if isinstance(cause, Wrong) and cause.at else start
            yield _problem(message, at, f"{name} rectangle not drawn: {cause.why}")
            return
        if painting.cursor is not None:
            self.cursor = painting.cursor if painting.cursor.image.size else None
            return
        match rect.encoding:
            case encodings.DESKTOP_SIZE:
                yield from self._resize(message, start, rect.width, rect.height)
                return
            case encodings.EXTENDED_DESKTOP_SIZE:
                # y is the status of a request; only 0 says that the size is now this.
                if rect.y == 0 or rect.x != 1:
                    yield from self._resize(message, start, rect.width, rect.height)
                return
            case encodings.DESKTOP_NAME if rect.width and rect.height:  # ExtViewSize
                yield from self._resize(message, start, rect.width, rect.height)
                return
            case encodings.POINTER_POS | -225:
                self.pointer = rect.x, rect.y
                return
        if painting.values is None and painting.image is None and painting.source is None:
            return
        screen = self.screen
        if screen is None:
            yield _problem(message, start, "rectangle not drawn: there is no screen")
            return
        height, width = screen.shape[:2]
        if rect.x + rect.width > width or rect.y + rect.height > height:
            where = f"{rect.width} × {rect.height} at {rect.x}, {rect.y}"
            yield _problem(
                message, start, f"a rectangle of {where} reaches outside the screen ({width} × {height})"
            )
            return
        area = slice(rect.y, rect.y + rect.height), slice(rect.x, rect.x + rect.width)
        if painting.source is not None:
            x, y = painting.source
            if x + rect.width > width or y + rect.height > height:
                where = f"{rect.width} × {rect.height} at {x}, {y}"
                yield _problem(message, start, f"a CopyRect of {where} comes from outside the screen")
                return
            origin = slice(y, y + rect.height), slice(x, x + rect.width)
            screen[area] = screen[origin].copy()
            if self._indices is not None:
                self._indices[area] = self._indices[origin].copy()
            return
        if painting.image is not None:
            screen[area] = painting.image
        elif painting.values is not None:
            screen[area] = colours.rgb(painting.values, painting.form, self._map)
        if not painting.form.true_colour and painting.values is not None:
            if self._indices is None:
                self._indices = np.full((height, width), -1, np.int32)
            self._indices[area] = painting.values & np.uint32(0xFFFF)
        elif self._indices is not None:
            self._indices[area] = -1

    def _resize(self, message: Message, at: int, width: int, height: int) -> list[Violation]:
        """The screen has another size; what both have in common stays, as viewers do it."""
        old, old_indices = self.screen, self._indices
        if width * height > PIXELS_LIMIT:
            self.screen = self._indices = None
            self.whole = False
            why = (
                f"a screen of {width} × {height} is over the limit of {PIXELS_LIMIT} pixels: it is not drawn"
            )
            return [_problem(message, at, why)]
        if old is not None and old.shape[:2] == (height, width):
            return []
        self.screen = np.zeros((height, width, 3), np.uint8)
        self._indices = None
        if old is not None:
            common = slice(0, min(height, old.shape[0])), slice(0, min(width, old.shape[1]))
            self.screen[common] = old[common]
            if old_indices is not None:
                self._indices = np.full((height, width), -1, np.int32)
                self._indices[common] = old_indices[common]
        return []


def _problem(message: Message, at: int, why: str) -> Violation:
    problem = _told(message, why)
    problem.offset += at
    return problem


def _told(record: Message | Gap, why: str) -> Violation:
    return Violation.about(record, "messages", why)
