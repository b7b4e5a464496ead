# SPDX-License-Identifier: GPL-2.0-or-later
"""A VNC client for these tests: our session and our renderer on a socket, and pictures worth encoding."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from dissect.rfb import messages as m
from dissect.rfb.pixels.screen import Renderer
from dissect.rfb.session import RfbSession
from dissect.stream.records import Message, Record
from dissect.stream.side import Side
from tests.rfb.pixels.x11 import Picture

PATIENCE_S = 30.0

FORMATS = {
    32: m.PixelFormat(),
    16: m.PixelFormat(
        bits_per_pixel=16,
        depth=16,
        red_max=31,
        green_max=63,
        blue_max=31,
        red_shift=11,
        green_shift=5,
        blue_shift=0,
    ),
    8: m.PixelFormat(
        bits_per_pixel=8,
        depth=8,
        red_max=7,
        green_max=7,
        blue_max=3,
        red_shift=0,
        green_shift=3,
        blue_shift=6,
    ),
}


class Viewer:
    """Connects, looks, and keeps the screen. Security None, and the highest version the server speaks."""

    def __init__(self, host: str, port: int) -> None:
        self.session = RfbSession(role=Side.CLIENT)
        self.renderer = Renderer()
        self.records: list[Record] = []
        self.problems: list[str] = []
        self.encodings: Counter[int] = Counter()
        """How many rectangles of each encoding came."""
        self._socket = socket.create_connection((host, port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._until(lambda: self.session.server_version is not None)
        self.send(m.ProtocolVersion.of(3, 8))
        self._until(lambda: self.session.state == "choice")
        self.send(m.SecurityType(security_type=1))
        self._until(lambda: self.session.state == "client-init")
        self.send(m.ClientInit(shared_flag=1))
        self._until(lambda: self.renderer.screen is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, message: m.RfbPacket) -> None:
        self._socket.sendall(self.session.send(message, time.monotonic_ns()))
        self._keep(self.session.completed)

    def want(self, encodings: Sequence[int]) -> None:
        """What the server may send."""
        self.send(m.SetEncodings(encoding_types=list(encodings)))

    def ask(self, *, incremental: bool = True) -> None:
        assert self.renderer.screen is not None
        height, width = self.renderer.screen.shape[:2]
        self.send(m.FramebufferUpdateRequest(incremental=int(incremental), width=width, height=height))

    def shows(self, wanted: Callable[[], Picture], *, incremental: bool = True) -> None:
        """Ask for updates until the screen is the wanted one; fail where it does not become so."""
        limit = time.monotonic() + PATIENCE_S
        self.ask(incremental=incremental)
        seen = self.renderer.updates
        while True:
            screen, picture = self.renderer.screen, wanted()
            assert not self.problems, self.problems
            if (
                (self.renderer.updates > seen or incremental)
                and screen is not None
                and screen.shape == picture.shape
                and np.array_equal(screen, picture)
            ):
                return
            assert time.monotonic() < limit, _difference(screen, picture)
            before = self.renderer.updates
            self._read(0.5)
            if self.renderer.updates > before:
                self.ask()

    def violations(self) -> list[Record]:
        return [record for record in self.records if record.kind != "message"]

    def _until(self, true: Callable[[], bool]) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < limit, f"nothing in state {self.session.state}"
            self._read(0.5)

    def _read(self, seconds: float) -> None:
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return
        assert data, "the server has closed the connection"
        self._keep(self.session.feed(Side.SERVER, data, time.monotonic_ns()))

    def _keep(self, records: list[Record]) -> None:
        for record in records:
            self.records.append(record)
            self.problems += [problem.why for problem in self.renderer.take(record)]
            if isinstance(record, Message) and record.name == "FramebufferUpdate":
                self.encodings.update(one["encoding_type"] for one in record.extra["rectangles"])


def _difference(screen: Picture | None, picture: Picture) -> str:
    if screen is None or screen.shape != picture.shape:
        return f"{None if screen is None else screen.shape} instead of {picture.shape}"
    wrong = np.argwhere((screen != picture).any(axis=2))
    y, x = wrong[0]
    return f"{len(wrong)} pixels differ, first {x}, {y}: {screen[y, x]} instead of {picture[y, x]}"


def reduced(picture: Picture, bits: int, half: int | None) -> Picture:
    """The picture as a server shows it that has fewer levels, each spread over 0 to 255 again by the viewer.

    `half` is what it adds before it divides by 255, to round: 127, or 128 (TigerVNC). None: it only
    shifts (QEMU).
    """
    levels = []
    for number, width in enumerate(WIDTHS[bits]):
        channel = picture[..., number].astype(int)
        levels.append(
            channel >> (8 - width) if half is None else (channel * ((1 << width) - 1) + half) // 255
        )
    return _spread(levels, bits)


WIDTHS = {32: (8, 8, 8), 16: (5, 6, 5), 8: (3, 3, 2)}


def _spread(levels: Sequence[npt.NDArray[np.int64]], bits: int) -> Picture:
    channels = []
    for level, width in zip(levels, WIDTHS[bits], strict=True):
        most = (1 << width) - 1
        channels.append((level.astype(int) * 255 + most // 2) // most)
    return np.stack(channels, axis=-1).astype(np.uint8)


def pictures(width: int, height: int) -> list[Picture]:
    """Smooth, coloured by few, by sixteen, by two, and noise: what makes encoders choose differently."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=-1)
    few = np.array([[0, 0, 0], [255, 255, 255], [200, 30, 40], [12, 77, 250]])
    many = random.integers(0, 256, (40, 3))
    blocks = random.integers(0, 40, (height // 5 + 1, width // 3 + 1)).repeat(5, 0).repeat(3, 1)
    letters = (random.random((height, width)) < 0.2).astype(int)
    noise = random.integers(0, 256, (height, width, 3))
    mixed = np.where((x < width // 2)[..., None], few[blocks[:height, :width] % 4], few[letters])
    return [
        picture.astype(np.uint8)
        for picture in (smooth, mixed, many[blocks[:height, :width]], few[letters], noise)
    ]
