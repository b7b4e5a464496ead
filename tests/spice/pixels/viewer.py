# SPDX-License-Identifier: GPL-2.0-or-later
"""A SPICE client for these tests: the main and the display channel of one session, our renderer on top."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from dissect.lab.models.spice import capability_words
from dissect.replay.credentials import spice_ticket
from dissect.spice import constants, link
from dissect.spice.channels import base, display
from dissect.spice.pixels.screen import Renderer, images_in
from dissect.spice.session import SpiceSession
from dissect.stream.records import Message, Record
from dissect.stream.side import Side
from tests.rfb.pixels.x11 import Picture

PATIENCE_S = 30.0
MAIN, DISPLAY = 1, 2
COMMON = (0, 1, 3)
"""AUTH_SELECTION, AUTH_SPICE, MINI_HEADER."""
SIZED_STREAM, MONITORS_CONFIG, COMPOSITE, A8_SURFACE, LZ4, PREF_COMPRESSION = 0, 1, 2, 3, 5, 6
OFF, AUTO_GLZ, AUTO_LZ, QUIC, GLZ, LZ, LZ4_COMPRESSION = 1, 2, 3, 4, 5, 6, 7


class Link:
    """One channel, linked."""

    def __init__(
        self, host: str, port: int, channel: int, session_id: int, capabilities: Sequence[int]
    ) -> None:
        self.session = SpiceSession(role=Side.CLIENT)
        self.records: list[Record] = []
        self.said: list[tuple[Side, bytes]] = []
        self.window = self.waiting = 0
        self._socket = socket.create_connection((host, port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        words = list(capability_words(COMMON))
        own = list(capability_words(list(capabilities)))
        self.send(
            link.SpiceLinkMess(
                connection_id=session_id, channel_type=channel, common_caps=words, channel_caps=own
            )
        )
        self.until(lambda: self.session.public_key is not None)
        assert self.session.public_key is not None
        self.send(link.SpiceLinkAuthMechanism(auth_mechanism=1))
        self.send(link.SpiceLinkEncryptedTicket(encrypted_data=spice_ticket(self.session.public_key, "")))
        self.until(lambda: self.session.state == "messages")

    def close(self) -> None:
        self._socket.close()

    def send(self, message: link.SpiceLinkPacket | base.SpiceMessage) -> None:
        data = self.session.send(message, time.monotonic_ns())
        self._socket.sendall(data)
        self.said.append((Side.CLIENT, data))
        self.records += self.session.completed

    def until(self, true: Callable[[], bool]) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < limit, f"nothing in state {self.session.state}"
            self.read(0.5)

    def read(self, seconds: float) -> list[Record]:
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            return []
        assert data, "the server has closed the connection"
        self.said.append((Side.SERVER, data))
        found = self.session.feed(Side.SERVER, data, time.monotonic_ns())
        for record in found:
            if isinstance(record, Message) and self.session.state == "messages":
                self._answer(record)
        self.records += found
        return found

    def _answer(self, message: Message) -> None:
        if self.window and message.side is Side.SERVER:
            self.waiting += 1
            if self.waiting == self.window:
                self.waiting = 0
                self.send(base.BODIES[0, Side.CLIENT, 2]())
        if message.name == "SPICE_MSG_SET_ACK":
            self.window, self.waiting = message["window"], 0
            self.send(base.SpiceMsgcAckSync(generation=message["generation"]))
        elif message.name == "SPICE_MSG_PING":
            self.send(base.SpiceMsgcPong(id=message["id"], timestamp=message["timestamp"]))


class Viewer:
    """Connects, looks, and keeps the screen. `compression` is what it asks the server for.

    Without `draws` it only listens, on its display link.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        compression: int | None = None,
        capabilities: Sequence[int] = (SIZED_STREAM, MONITORS_CONFIG, A8_SURFACE, LZ4, PREF_COMPRESSION),
        draws: bool = True,
    ) -> None:
        self.renderer = Renderer()
        self.problems: list[str] = []
        self.main = Link(host, port, MAIN, 0, range(4))
        self.main.until(lambda: self.main.session.session_id is not None)
        number = self.main.session.session_id
        assert number is not None
        self.main.send(base.BODIES[MAIN, Side.CLIENT, 104]())
        self.main.until(lambda: any(one.name == "SPICE_MSG_MAIN_CHANNELS_LIST" for one in self.main.records))
        self.display = Link(host, port, DISPLAY, number, capabilities)
        if compression is not None:
            self.display.send(display.SpiceMsgcDisplayPreferredCompression(image_compression=compression))
        self.display.send(
            display.SpiceMsgcDisplayInit(
                pixmap_cache_id=1,
                pixmap_cache_size=1 << 22,
                glz_dictionary_id=1,
                glz_dictionary_window_size=1 << 22,
            )
        )
        self._taken = 0
        if draws:
            self.until(lambda: self.renderer.screen is not None)
        else:
            self.display.until(lambda: any(r.name == "SPICE_MSG_DISPLAY_MARK" for r in self.display.records))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.main.close()
        self.display.close()

    @property
    def images(self) -> set[str]:
        """The types of the images that came."""
        found: set[str] = set()
        for one in self.display.records:
            if isinstance(one, Message):
                kinds = (image["descriptor"]["type"] for image in images_in(one.values))
                found |= {constants.IMAGE_TYPES[kind] for kind in kinds}
        return found

    def heard(self, over: threading.Event) -> bool:
        """Listen to the display channel; whether there is nothing more to hear."""
        return not self.display.read(0.3) and over.is_set()

    def violations(self) -> list[Record]:
        return [one for one in [*self.main.records, *self.display.records] if one.kind != "message"]

    def shows(self, wanted: Callable[[], Picture]) -> None:
        """Look until the screen is the wanted one; fail where it does not become so."""
        limit = time.monotonic() + PATIENCE_S
        while True:
            while self._read(0.1) and time.monotonic() < limit:
                pass
            screen, picture = self.renderer.screen, wanted()
            assert not self.problems, self.problems
            if screen is not None and screen.shape == picture.shape and np.array_equal(screen, picture):
                return
            assert time.monotonic() < limit, _difference(screen, picture)

    def settle(self) -> None:
        """Draw until nothing more comes for a while."""
        limit = time.monotonic() + PATIENCE_S
        while self._read(0.4):
            assert time.monotonic() < limit, "it does not stop"

    def until(self, true: Callable[[], bool]) -> None:
        """Draw until it is true."""
        limit = time.monotonic() + 4 * PATIENCE_S
        while not true():
            assert time.monotonic() < limit, "nothing is shown"
            self._read(0.2)

    def _read(self, seconds: float) -> bool:
        """Draw what comes within so many seconds; whether anything did."""
        self.main.read(0.001)  # a server that has no answer to its PINGs takes the line for slow
        found = self.display.read(seconds)
        for record in self.display.records[self._taken :]:
            self.problems += [problem.why for problem in self.renderer.take(record)]
        self._taken = len(self.display.records)
        return bool(found)


def _difference(screen: Picture | None, picture: Picture) -> str:
    if screen is None or screen.shape != picture.shape:
        return f"{None if screen is None else screen.shape} instead of {picture.shape}"
    wrong = np.argwhere((screen != picture).any(axis=2))
    y, x = wrong[0]
    return f"{len(wrong)} pixels differ, first {x}, {y}: {screen[y, x]} instead of {picture[y, x]}"
