# SPDX-License-Identifier: GPL-2.0-or-later
"""An X client of few lines: it draws on the root window and takes the X server's own screenshot.

X Window System Protocol, version 11: the requests CreateGC, ChangeGC, CopyArea, PolyFillRectangle, PutImage,
GetImage and GetGeometry.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""Height x width x 3."""

Z_PIXMAP = 2
INCLUDE_INFERIORS = 1


class XClient:
    """One connection to the X server of display `number`, whose root must have 24 bits at 32 a pixel."""

    def __init__(self, number: int, xauthority: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(f"/tmp/.X11-unix/X{number}")
        name, cookie = b"MIT-MAGIC-COOKIE-1", xauthority.read_bytes()[-16:]
        hello = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(cookie))
        self._socket.sendall(hello + _padded(name) + cookie)
        good, _, _, size = struct.unpack("<BxHHH", self._take(8))
        setup = self._take(4 * size)
        assert good == 1, setup
        base, _, _, vendor, self._longest, _, formats, order = struct.unpack_from("<4xIIIHHBBB", setup)
        assert order == 0, "the server keeps pictures with the highest byte first"
        screen = 32 + (vendor + 3) // 4 * 4 + 8 * formats
        self.root, self.width, self.height, depth = struct.unpack_from("<I16xHH14xB", setup, screen)
        assert depth == 24
        self._gc = base
        values = struct.pack("<III", 0, INCLUDE_INFERIORS, 0)  # foreground, subwindow mode, no exposures
        self._ask(55, 0, struct.pack("<III", self._gc, self.root, 1 << 2 | 1 << 15 | 1 << 16) + values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def draw(self, picture: Picture, x: int = 0, y: int = 0) -> None:
        """Put a picture on the screen."""
        height, width = picture.shape[:2]
        pixels = np.zeros((height, width, 4), np.uint8)
        pixels[..., 2::-1] = picture
        rows = max(1, (4 * self._longest - 64) // (4 * width))
        for top in range(0, height, rows):
            part = pixels[top : top + rows]
            place = struct.pack("<IIHHhhBBxx", self.root, self._gc, width, len(part), x, y + top, 0, 24)
            self._ask(72, Z_PIXMAP, place + part.tobytes())

    def fill(self, colour: tuple[int, int, int], x: int, y: int, width: int, height: int) -> None:
        """Fill a rectangle."""
        red, green, blue = colour
        self._ask(56, 0, struct.pack("<III", self._gc, 1 << 2, red << 16 | green << 8 | blue))
        self._ask(70, 0, struct.pack("<IIhhHH", self.root, self._gc, x, y, width, height))

    def copy(self, x: int, y: int, to_x: int, to_y: int, width: int, height: int) -> None:
        """Copy a rectangle within the screen."""
        place = struct.pack("<hhhhHH", x, y, to_x, to_y, width, height)
        self._ask(62, 0, struct.pack("<III", self.root, self.root, self._gc) + place)

    def screenshot(self) -> Picture:
        """The screen as the server has it, once it has done all that it was asked for."""
        place = struct.pack("<IhhHHI", self.root, 0, 0, self.width, self.height, 0xFFFFFFFF)
        self._ask(73, Z_PIXMAP, place)
        while True:
            head = self._take(32)
            assert head[0] != 0, f"X error {head[1]} for request {head[10]}"
            if head[0] == 1:
                break
        data = self._take(4 * int(struct.unpack_from("<I", head, 4)[0]))
        return np.frombuffer(data, np.uint8).reshape(self.height, self.width, 4)[..., 2::-1].copy()

    def measure(self) -> None:
        """Ask for the size of the screen again."""
        self._ask(14, 0, struct.pack("<I", self.root))
        head = self._take(32)
        assert head[0] == 1
        self.width, self.height = struct.unpack_from("<HH", head, 16)

    def _ask(self, opcode: int, detail: int, body: bytes) -> None:
        body = _padded(body)
        self._socket.sendall(struct.pack("<BBH", opcode, detail, 1 + len(body) // 4) + body)

    def _take(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            assert piece, "the X server has closed the connection"
            data += piece
        return bytes(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
