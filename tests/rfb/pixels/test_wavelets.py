# SPDX-License-Identifier: GPL-2.0-or-later
"""Wavelets and tiles as libvncclient decodes them, which shares nothing with this project.

What is sent is made up here: a model peer, because no server that can be installed sends TRLE, and because
one that sends ZYWRLE, or Tight's gradients, decides itself what it sends. Every kind of tile is there, with
random pixels.
"""

from __future__ import annotations

import random
import socket
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dissect.rfb import messages as m
from dissect.rfb.encodings import Format, packed_bits
from dissect.rfb.pixels import wavelets
from dissect.rfb.pixels.colours import pixels, rgb
from dissect.rfb.pixels.screen import Renderer
from dissect.rfb.session import RfbSession
from dissect.stream import Side
from tests.rfb.examples import FORMAT_32, rect, u16, u32, update
from tests.rfb.pixels.viewer import FORMATS
from tests.stream import headers

WIDTH, HEIGHT = 150, 101
UPDATES = 3


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    headers.text("/usr/include/rfb/rfbclient.h", "libvncserver-dev")
    source = Path(__file__).with_name("libvncclient.c")
    program = tmp_path_factory.mktemp("decoder") / "libvncclient"
    made = subprocess.run(["cc", "-o", program, source, "-lvncclient"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return program


class Maker:
    """Makes tiles of random kinds and pixels."""

    def __init__(self, form: Format, seed: int) -> None:
        self.form = form
        self.random = random.Random(seed)
        self.palette = 0

    def colour(self) -> bytes:
        return self.random.randbytes(self.form.cpixel)

    def tile(self, width: int, height: int, *, again: bool, deep: bool) -> bytes:
        """`again`: of TRLE, which may use the palette before; `deep`: of wavelets, within the tile's 0."""
        kinds = ["raw", "solid", "packed", "runs", "palette runs"]
        if again and 1 < self.palette <= 16:
            kinds.append("packed again")
        if again and self.palette > 1:
            kinds.append("palette runs again")
        kind = self.random.choice(kinds)
        if kind == "raw":
            if deep:
                return b"\0" + self.tile(width, height, again=False, deep=False)
            return b"\0" + self.random.randbytes(width * height * self.form.cpixel)
        if kind == "solid":
            self.palette = 1
            return b"\1" + self.colour()
        if kind == "runs":
            return b"\x80" + b"".join(self.colour() + run for run in self._runs(width * height))
        head = b""
        if kind in ("packed", "palette runs"):
            self.palette = self.random.randint(2, 16 if kind == "packed" else 127)
            number = self.palette + (0 if kind == "packed" else 128)
            head = bytes([number]) + b"".join(self.colour() for _ in range(self.palette))
        elif kind == "packed again":
            head = b"\x7f"
        else:
            head = b"\x81"
        if kind.startswith("packed"):
            bits = packed_bits(self.palette)
            for _ in range(height):
                row = [self.random.randrange(self.palette) for _ in range(width)]
                value = 0
                for index in row:
                    value = value << bits | index
                size = (width * bits + 7) // 8
                head += (value << (size * 8 - width * bits)).to_bytes(size, "big")
            return head
        for run in self._runs(width * height):
            index = self.random.randrange(self.palette)
            head += bytes([index]) if run == b"\0" else bytes([index | 128]) + run
        return head

    def _runs(self, left: int) -> list[bytes]:
        """Lengths of runs that are `left` pixels together, as they are written."""
        runs = []
        while left:
            run = min(left, self.random.choice([1, 1, 2, 30, 255, 256, 257, 600]))
            left -= run
            runs.append(b"\xff" * ((run - 1) // 255) + bytes([(run - 1) % 255]))
        return runs

    def tiles(self, size: int, *, again: bool, deep: bool = False) -> bytes:
        self.palette = 0
        return b"".join(
            self.tile(min(size, WIDTH - x), min(size, HEIGHT - y), again=again, deep=deep)
            for y in range(0, HEIGHT, size)
            for x in range(0, WIDTH, size)
        )


def shown_by(decoder: Path, form: Format, quality: int, updates: list[bytes]) -> bytes:
    """The framebuffer of libvncclient after these updates."""
    listener = socket.create_server(("127.0.0.1", 0))
    arguments = [listener.getsockname()[1], len(updates), quality, form.bits]
    for maximum, shift in zip(form.maxima, form.shifts, strict=True):
        arguments += [maximum, shift]
    client = subprocess.Popen([decoder, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        listener.settimeout(10)
        peer, _ = listener.accept()
        with peer, listener:
            peer.settimeout(10)
            peer.sendall(b"RFB 003.003\n" + u32(1) + u16(WIDTH) + u16(HEIGHT) + FORMAT_32 + u32(0))
            said = b""
            while len(said) < 12 + 1 + 20 + 4 + 10:  # up to its first request
                piece = peer.recv(4096)
                assert piece, client.stderr
                said += piece
            peer.sendall(b"".join(updates))
            out, error = client.communicate(timeout=20)
        assert client.returncode == 0, error.decode()
        return out
    finally:
        client.kill()
        client.wait()


def shown_by_us(form: m.PixelFormat, quality: int, updates: list[bytes]) -> Renderer:
    session, renderer = RfbSession(), Renderer()
    asked = m.SetEncodings(encoding_types=[17, 15, quality + wavelets.LOWEST_QUALITY])
    for side, data in (
        (Side.SERVER, b"RFB 003.003\n"),
        (Side.CLIENT, b"RFB 003.003\n"),
        (Side.SERVER, u32(1)),
        (Side.CLIENT, b"\1"),
        (Side.SERVER, u16(WIDTH) + u16(HEIGHT) + FORMAT_32 + u32(0)),
        (Side.CLIENT, bytes(m.SetPixelFormat(pixel_format=form)) + bytes(asked)),
        *((Side.SERVER, one) for one in updates),
    ):
        for record in session.feed(side, data, 0):
            assert record.kind == "message", record
            assert renderer.take(record) == []
    return renderer


def trle(maker: Maker) -> Callable[[], bytes]:
    return lambda: update(rect(WIDTH, HEIGHT, 15, maker.tiles(16, again=True)))


def compressed(maker: Maker, encoding: int, *, deep: bool) -> Callable[[], bytes]:
    stream = zlib.compressobj()

    def one() -> bytes:
        data = stream.compress(maker.tiles(64, again=False, deep=deep)) + stream.flush(zlib.Z_SYNC_FLUSH)
        return update(rect(WIDTH, HEIGHT, encoding, u32(len(data)) + data))

    return one


def gradients(maker: Maker) -> Callable[[], bytes]:
    """Tight's gradient filter over random differences; formats of 8 bits may not use it."""
    stream = zlib.compressobj()

    def one() -> bytes:
        plain = maker.random.randbytes(WIDTH * HEIGHT * maker.form.tpixel)
        data = stream.compress(plain) + stream.flush(zlib.Z_SYNC_FLUSH)
        size = len(data)
        length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
        return update(rect(WIDTH, HEIGHT, 7, b"\x40\2" + length + data))

    return one


CASES = [
    pytest.param(encoding, quality, bits, id=f"{name} {bits}")
    for encoding, quality, name in (
        (15, 9, "TRLE"),
        (16, 9, "ZRLE"),
        (17, 8, "ZYWRLE, one level"),
        (17, 5, "ZYWRLE, two levels"),
        (17, 0, "ZYWRLE, three levels"),
        (7, 9, "Tight, gradient"),
    )
    for bits in ((32, 16) if encoding == 7 else (32, 16, 8))
]


@pytest.mark.parametrize(("encoding", "quality", "bits"), CASES)
def test_libvncclient_shows_the_same(decoder: Path, encoding: int, quality: int, bits: int) -> None:
    wire = FORMATS[bits]
    form = Format.of(m.PixelFormat.layout().decode(bytes(wire))[0])
    maker = Maker(form, bits + encoding + quality)
    if encoding == 15:
        make = trle(maker)
    elif encoding == 7:
        make = gradients(maker)
    else:
        make = compressed(maker, encoding, deep=encoding == 17 and bits > 8)
    updates = [make() for _ in range(UPDATES)]
    theirs = pixels(shown_by(decoder, form, quality, updates), 0, WIDTH * HEIGHT, form).reshape(HEIGHT, WIDTH)
    renderer = shown_by_us(wire, quality, updates)
    assert renderer.whole
    assert renderer.screen is not None
    colours = rgb(theirs, form, np.zeros((1 << 16, 3), np.uint8))
    assert np.array_equal(renderer.screen, colours)


def test_levels_follow_from_the_quality_that_was_asked_for() -> None:
    assert [wavelets.level_of([17, wavelets.LOWEST_QUALITY + quality]) for quality in range(10)] == [
        3, 3, 3, 2, 2, 2, 1, 1, 1, 1,
    ]  # fmt: skip
    assert wavelets.level_of([17, 0, -239]) == 1


def test_without_the_clients_encodings_no_wavelet_is_undone() -> None:
    session, renderer = RfbSession(), Renderer()
    for side, data in (
        (Side.SERVER, b"RFB 003.003\n"),
        (Side.CLIENT, b"RFB 003.003\n"),
        (Side.SERVER, u32(1)),
        (Side.CLIENT, b"\1"),
        (Side.SERVER, u16(8) + u16(8) + FORMAT_32 + u32(0)),
    ):
        for record in session.feed(side, data, 0):
            renderer.take(record)
    data = zlib.compress(b"\0\0" + bytes(3 * 64))
    (record,) = session.feed(Side.SERVER, update(rect(8, 8, 17, u32(len(data)) + data)), 0)
    (problem,) = renderer.take(record)
    assert "not known without the client's SetEncodings" in problem.why
