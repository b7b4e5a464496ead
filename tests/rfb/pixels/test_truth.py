# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel truth: the screen rebuilt from the stream is the server's own screenshot of that moment."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dissect.lab.lab import Lab, Running
from dissect.rfb import messages as m
from dissect.stream.records import Message
from tests.rfb.pixels.viewer import FORMATS, PATIENCE_S, Viewer, pictures, reduced
from tests.rfb.pixels.x11 import Picture, XClient

RAW, COPY_RECT, RRE, CORRE, HEXTILE, ZLIB, TIGHT, ULTRA, ZRLE, ZYWRLE = 0, 1, 2, 4, 5, 6, 7, 9, 16, 17
CURSOR, TIGHT_PNG, DESKTOP_SIZE = -239, -260, -223
EXTENDED_DESKTOP_SIZE, BEST_QUALITY = -308, -23


@dataclass(frozen=True)
class Server:
    """A server on an X display; `half` is how it rounds to fewer levels."""

    peer: str
    half: int
    encodings: tuple[int, ...]
    copies: bool = True
    """Whether it sends a copy as one."""
    arguments: tuple[str, ...] = ()


SERVERS = [
    Server("xtigervnc", 128, (RAW, RRE, HEXTILE, TIGHT, ZRLE)),
    Server("xtightvnc", 127, (RAW, RRE, CORRE, HEXTILE, ZLIB, TIGHT)),
    Server(
        "x11vnc",
        127,
        (RAW, RRE, CORRE, HEXTILE, ZLIB, TIGHT, ULTRA, ZRLE),
        copies=False,
        arguments=("-wait", "5", "-defer", "1"),
    ),
]
ROWS = [
    pytest.param(server, encoding, marks=pytest.mark.peer(server.peer), id=f"{server.peer} {encoding}")
    for server in SERVERS
    for encoding in server.encodings
]


@contextmanager
def opened(lab: Lab, running: Running) -> Iterator[tuple[XClient, Viewer]]:
    assert running.port is not None
    assert running.xauthority is not None
    assert running.display is not None
    with XClient(running.display, running.xauthority) as x, Viewer(running.host, running.port) as viewer:
        yield x, viewer


@pytest.mark.parametrize(("server", "encoding"), ROWS)
def test_the_screen_is_the_screenshot(server: Server, encoding: int) -> None:
    with Lab() as lab:
        running = lab.start(server.peer, arguments=server.arguments)
        with opened(lab, running) as (x, viewer):
            viewer.want([encoding, COPY_RECT, CURSOR])
            for bits in (32, 16, 8, 32):
                viewer.send(m.SetPixelFormat(pixel_format=FORMATS[bits]))
                incremental = False

                def wanted(bits: int = bits) -> Picture:
                    return reduced(x.screenshot(), bits, server.half)

                for picture in pictures(x.width, x.height):
                    x.draw(picture)
                    x.fill((255, 128, 3), 20, 30, 70, 40)
                    x.copy(10, 20, 14, 31, 100, 60)
                    viewer.shows(wanted, incremental=incremental)
                    incremental = True
                x.copy(0, 0, 40, 17, 90, 80)
                viewer.shows(wanted)
            assert viewer.encodings[encoding] > 3
            assert viewer.encodings[COPY_RECT] >= 4 or not server.copies
            assert not viewer.violations()
            assert viewer.renderer.whole


OTHER_FORMATS = {
    "big-endian": (32, m.PixelFormat(big_endian_flag=1)),
    "blue first": (32, m.PixelFormat(red_shift=0, blue_shift=16)),
    "high": (32, m.PixelFormat(red_shift=24, green_shift=16, blue_shift=8)),
    "high, big-endian": (32, m.PixelFormat(red_shift=24, green_shift=16, blue_shift=8, big_endian_flag=1)),
    "16 bits, big-endian": (16, m.PixelFormat(**{**FORMATS[16].fields, "big_endian_flag": 1})),
}


@pytest.mark.peer("xtigervnc")
def test_the_order_of_bytes_and_colours_changes_nothing() -> None:
    """In each encoding of Xtigervnc, one viewer after another."""
    server = SERVERS[0]
    with Lab() as lab:
        running = lab.start(server.peer)
        assert running.port is not None
        for encoding in server.encodings:
            with opened(lab, running) as (x, viewer):
                viewer.want([encoding, CURSOR])
                for number, (bits, form) in enumerate(OTHER_FORMATS.values()):
                    viewer.send(m.SetPixelFormat(pixel_format=form))
                    x.draw(pictures(x.width, x.height)[number])
                    viewer.shows(partial(reduced, x.screenshot(), bits, server.half), incremental=False)
                assert viewer.encodings[encoding]
                assert not viewer.violations()
                assert viewer.renderer.whole


@pytest.mark.peer("xtigervnc")
def test_a_map_of_256_colours_is_the_same_screen_in_every_encoding() -> None:
    """The server's map has no more colours than it has: no pixel is farther off than 43 of 255 levels."""
    form = m.PixelFormat(bits_per_pixel=8, depth=8, true_colour_flag=0)
    screens = []
    with Lab() as lab:
        running = lab.start("xtigervnc")
        for encoding in SERVERS[0].encodings:
            with opened(lab, running) as (x, viewer):
                viewer.want([encoding])
                viewer.send(m.SetPixelFormat(pixel_format=form))
                x.draw(pictures(x.width, x.height)[1])
                wanted = x.screenshot().astype(int)
                viewer.ask(incremental=False)
                viewer._until(lambda v=viewer, e=encoding: v.encodings[e] > 0)  # type: ignore[misc]
                assert viewer.renderer.whole
                assert viewer.renderer.screen is not None
                assert [one for one in viewer.records if one.name == "SetColourMapEntries"]
                assert np.abs(viewer.renderer.screen - wanted).max() <= 43
                screens.append(viewer.renderer.screen)
    assert all(np.array_equal(screen, screens[0]) for screen in screens)


class Monitor:
    """QEMU's monitor: run the machine, stop it, take a screenshot."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._answer()

    def say(self, command: str) -> None:
        self._socket.sendall(command.encode() + b"\n")
        self._answer()

    def screenshot(self, path: Path) -> Picture:
        self.say(f"screendump {path}")
        kind, size, most, data = path.read_bytes().split(b"\n", 3)
        assert (kind, most) == (b"P6", b"255")
        width, height = map(int, size.split())
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def _answer(self) -> None:
        said = b""
        while not said.endswith(b"(qemu) "):
            piece = self._socket.recv(4096)
            assert piece, said
            said += piece


def run(monitor: Monitor, path: Path, *, until_drawn: bool) -> Picture:
    """Let the guest run for a moment, or until it has drawn something: what its screen is then, stopped."""
    limit = time.monotonic() + PATIENCE_S
    while True:
        monitor.say("cont")
        time.sleep(0.4)
        monitor.say("stop")
        screenshot = monitor.screenshot(path)
        if not until_drawn or len(np.unique(screenshot.reshape(-1, 3), axis=0)) > 1:
            return screenshot
        assert time.monotonic() < limit, "the guest has drawn nothing"


@pytest.mark.parametrize("encoding", [RAW, HEXTILE, ZLIB, TIGHT, TIGHT_PNG, ZRLE])
@pytest.mark.peer("qemu-vnc")
def test_the_screen_of_a_guest_is_the_screendump(encoding: int, tmp_path: Path) -> None:
    """QEMU's firmware draws; the machine is stopped whenever screen and screendump are compared."""
    with Lab() as lab:
        where = tmp_path / "monitor"
        running = lab.start("qemu-vnc", arguments=["-monitor", f"unix:{where},server=on,wait=off"])
        assert running.port is not None
        monitor = Monitor(where)
        with Viewer(running.host, running.port) as viewer:
            viewer.want([encoding, DESKTOP_SIZE])
            for number, bits in enumerate((32, 16, 8, 32), 1):
                viewer.send(m.SetPixelFormat(pixel_format=FORMATS[bits]))
                monitor.say("system_reset")
                screenshot = run(monitor, tmp_path / "screen.ppm", until_drawn=number == 4)
                viewer.shows(partial(reduced, screenshot, bits, None), incremental=False)
            assert viewer.encodings[encoding] > 3
            assert not viewer.violations()
            assert viewer.renderer.whole


@pytest.mark.peer("xtigervnc")
def test_jpeg_is_near_the_screenshot() -> None:
    """At the best quality: on average less than 2 of 255 levels off, and nowhere more than 40."""
    with Lab() as lab, opened(lab, lab.start("xtigervnc")) as (x, viewer):
        viewer.want([TIGHT, CURSOR, BEST_QUALITY])
        x.draw(pictures(x.width, x.height)[0])
        wanted = x.screenshot()
        viewer.ask(incremental=False)
        viewer._until(lambda: viewer.renderer.updates > 0)
        viewer.ask()  # the first update may hold the cursor alone
        viewer._until(lambda: viewer.encodings[TIGHT] > 0)
        last = next(one for one in reversed(viewer.records) if one.name == "FramebufferUpdate")
        assert isinstance(last, Message)
        assert b"JFIF" in last.raw
        assert viewer.renderer.screen is not None
        error = np.abs(viewer.renderer.screen.astype(int) - wanted)
        assert 0 < error.mean() < 2
        assert error.max() <= 40
        assert viewer.renderer.whole


@pytest.mark.peer("x11vnc")
@pytest.mark.parametrize(("quality", "mean", "most"), [(-23, 2, 6), (-32, 9, 32)], ids=["best", "worst"])
def test_wavelets_are_near_the_screenshot(quality: int, mean: int, most: int) -> None:
    """Of a smooth picture, in levels of 255: what ZYWRLE drops is all that differs."""
    with Lab() as lab, opened(lab, lab.start("x11vnc", arguments=SERVERS[2].arguments)) as (x, viewer):
        viewer.want([ZYWRLE, CURSOR, quality])
        x.draw(pictures(x.width, x.height)[0])
        wanted = x.screenshot().astype(int)
        limit = time.monotonic() + PATIENCE_S
        while True:  # it looks at its display now and then only
            seen = viewer.renderer.updates
            viewer.ask(incremental=False)
            viewer._until(lambda seen=seen: viewer.renderer.updates > seen)  # type: ignore[misc]
            assert viewer.renderer.screen is not None
            error = np.abs(viewer.renderer.screen - wanted)
            if error.mean() < mean or time.monotonic() > limit:
                break
        assert viewer.encodings[ZYWRLE]
        assert 0 < error.mean() < mean
        assert error.max() <= most
        assert viewer.renderer.whole


@pytest.mark.peer("xtigervnc")
def test_the_screen_after_it_became_larger() -> None:
    with Lab() as lab, opened(lab, lab.start("xtigervnc")) as (x, viewer):
        viewer.want([ZRLE, CURSOR, EXTENDED_DESKTOP_SIZE])
        x.draw(pictures(x.width, x.height)[1])
        viewer.shows(x.screenshot, incremental=False)
        screen = m.Screen(id=1, width=200, height=140)
        viewer.send(m.SetDesktopSize(width=200, height=140, screens=[screen]))
        viewer._until(lambda: viewer.renderer.screen is not None and viewer.renderer.screen.shape[1] == 200)
        assert running_size(x) == (200, 140)
        x.draw(pictures(200, 140)[1])
        viewer.shows(x.screenshot, incremental=False)
        assert viewer.renderer.whole


def running_size(x: XClient) -> tuple[int, int]:
    """The size of the root window now; later screenshots have it."""
    x.measure()
    return x.width, x.height
