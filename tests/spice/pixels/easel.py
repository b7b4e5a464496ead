# SPDX-License-Identifier: GPL-2.0-or-later
"""What SPICE's own canvas makes of drawing messages: a server that says them to spicy-screenshot.

No server at hand sends text, lines or images to be scaled; spice-gtk draws them all the same. Everything is
drawn on a surface beside the screen and then copied to the screen at once, because spicy-screenshot takes its
picture at the first change of the screen.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dissect.lab.models.spice import capability_words
from dissect.spice import link
from dissect.spice.channels import base, main
from dissect.spice.pixels.images import Plane
from dissect.spice.pixels.screen import ARGB, XRGB, Renderer
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from dissect.stream.records import Message
from tests.spice.examples import clip, data, linked, mask, pointing, rect, solid, u8, u16, u32, u64, words

PATIENCE_S = 20.0
WIDTH, HEIGHT = 160, 120
CREATE, FILL, COPY, COMPOSITE, MARK = 314, 302, 304, 318, 102
PUT, OVER = 8, 3
CANVAS, BEHIND = 1, 2
"""The surface on which all is drawn, and the one that is behind it."""
COMMON = list(capability_words((0, 1, 3)))
SESSION = 4711

Say = tuple[int, bytes]
"""Number and body of a message of the display channel."""


def scene(said: Sequence[Say], form: int) -> list[Say]:
    """The messages, with the surfaces before them and the copy to the screen after them.

    form: the format of the surface on which they draw. Where it has an alpha channel a colour shines through.
    """
    begun = [
        (CREATE, words(0, WIDTH, HEIGHT, XRGB, 1)),
        (CREATE, words(CANVAS, WIDTH, HEIGHT, form, 0)),
        (CREATE, words(BEHIND, WIDTH, HEIGHT, XRGB, 0)),
        (FILL, _whole(BEHIND) + solid(0x10C0F0) + u16(PUT) + mask()),
    ]
    over = pointing(_whole(BEHIND) + u32(OVER), None, bytes(8), to=[_surface(CANVAS)])
    shown = BEHIND if form == ARGB else CANVAS
    area = rect(0, 0, HEIGHT, WIDTH)
    copy = pointing(_whole(0), None, area, u16(PUT) + u8(0) + mask(), to=[_surface(shown)])
    return [*begun, *said, (COMPOSITE, over), (MARK, b""), (COPY, copy)]


def _whole(surface: int) -> bytes:
    return u32(surface) + rect(0, 0, HEIGHT, WIDTH) + clip()


def _surface(number: int) -> bytes:
    return u64(1) + u8(104) + u8(0) + words(WIDTH, HEIGHT) + u32(number)


def ours(said: Sequence[Say], form: int = XRGB) -> tuple[Plane, list[str]]:
    """What the renderer makes of the messages, and what it says is not drawn."""
    session, renderer = SpiceSession(), Renderer()
    why: list[str] = []
    for side, raw in linked(2):
        assert isinstance(raw, bytes)
        session.feed(side, raw, 0)
    for number, body in scene(said, form):
        for record in session.feed(Side.SERVER, data(number, body), 0):
            assert record.kind == "message", record
            why += [problem.why for problem in renderer.take(record)]
    assert renderer.screen is not None
    return renderer.screen, why


def theirs(said: Sequence[Say], folder: Path, form: int = XRGB) -> Plane:
    """What spice-gtk makes of the messages."""
    out = folder / "shot.ppm"
    with Easel(scene(said, form)) as easel:
        command = ["spicy-screenshot", "-h", "127.0.0.1", "-p", str(easel.port), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert out.exists(), done.stderr
    head, size, most, pixels = out.read_bytes().split(b"\n", 3)
    assert (head, size.split(), most) == (b"P6", [b"%d" % WIDTH, b"%d" % HEIGHT], b"255")
    return np.frombuffer(pixels, np.uint8).reshape(HEIGHT, WIDTH, 3)


class Easel:
    """The server. One client, its main channel, and one display channel, or another that begins by itself."""

    def __init__(self, said: Sequence[Say], channel: int = 2) -> None:
        self.said, self.channel = said, channel
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        key = rsa.generate_private_key(65537, 1024).public_key()
        self._key = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def __enter__(self) -> Easel:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _reply(self) -> link.SpiceLinkReply:
        return link.SpiceLinkReply(pub_key=self._key, common_caps=COMMON, channel_caps=[0])

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(one)
            self._threads.append(threading.Thread(target=self._serve, args=(one,), daemon=True))
            self._threads[-1].start()

    def _serve(self, one: socket.socket) -> None:
        session = SpiceSession(role=Side.SERVER)
        try:
            while received := one.recv(1 << 16):
                for record in session.feed(Side.CLIENT, received, 0):
                    assert isinstance(record, Message), record
                    self._answer(one, session, record)
        except OSError:
            return

    def _answer(self, one: socket.socket, session: SpiceSession, message: Message) -> None:
        match message.name:
            case "SpiceLinkMess":
                one.sendall(session.send(self._reply(), 0))
            case "SpiceLinkEncryptedTicket":
                one.sendall(session.send(link.SpiceLinkResult(result=0), 0))
                if session.channel_type == 1:
                    one.sendall(session.send(main.SpiceMsgMainInit(session_id=SESSION), 0))
                elif self.channel != 2:
                    self._say(one, session)
            case "SPICE_MSGC_MAIN_ATTACH_CHANNELS":
                channels = [main.ChannelId(type=self.channel, id=0)]
                one.sendall(session.send(main.SpiceMsgMainChannelsList(channels=channels), 0))
            case "SPICE_MSGC_DISPLAY_INIT":
                self._say(one, session)
            case "SPICE_MSG_PING":
                one.sendall(session.send(base.SpiceMsgcPong(id=message["id"]), 0))

    def _say(self, one: socket.socket, session: SpiceSession) -> None:
        assert session.mini_header
        one.sendall(b"".join(data(number, body) for number, body in self.said))
