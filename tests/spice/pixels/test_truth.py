# SPDX-License-Identifier: GPL-2.0-or-later
"""Pixel truth: the screen rebuilt from the stream is the server's own screenshot of that moment."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dissect.capture import open_capture, read
from dissect.dissection.reading import Told, each
from dissect.lab.lab import Lab
from dissect.spice.pixels.screen import Renderer
from tests.rfb.pixels.test_truth import Monitor
from tests.rfb.pixels.viewer import pictures
from tests.rfb.pixels.x11 import Picture, XClient
from tests.spice.pixels import viewer
from tests.spice.pixels.viewer import Viewer

PCAPS = Path(__file__).resolve().parents[3] / "pcaps"
KINDS = {
    viewer.OFF: {"BITMAP"},
    viewer.QUIC: {"QUIC"},
    viewer.LZ: {"LZ_RGB"},
    viewer.GLZ: {"GLZ_RGB"},
    viewer.LZ4_COMPRESSION: {"LZ4"},
    viewer.AUTO_GLZ: {"QUIC", "GLZ_RGB"},
    viewer.AUTO_LZ: {"QUIC", "LZ_RGB"},
}
"""What is asked for -> the types of images that must come."""


@pytest.mark.peer("xspice")
@pytest.mark.skipif(os.geteuid() != 0, reason="Xspice takes its configuration from root only")
def test_the_screen_is_the_screenshot() -> None:
    """Every compression, one after the other, on one server."""
    with Lab() as lab:
        running = lab.start("xspice")
        assert running.display is not None
        assert running.xauthority is not None
        assert running.port is not None
        with XClient(running.display, running.xauthority) as x:
            for compression, wanted in KINDS.items():
                x.fill((0, 0, 0), 0, 0, x.width, x.height)
                with Viewer(running.host, running.port, compression=compression) as seen:
                    for number, picture in enumerate(pictures(100, 70)):
                        x.draw(picture, 37 + number, 50 * number)
                        seen.shows(x.screenshot)
                    x.copy(37, 21, 60, 33, 120, 90)
                    seen.shows(x.screenshot)
                    x.fill((10, 200, 30), 5, 5, 300, 40)
                    seen.shows(x.screenshot)
                    assert seen.images >= wanted, (compression, seen.images)
                    assert seen.renderer.whole
                    assert seen.violations() == []


@pytest.mark.peer("qemu-spice")
def test_what_was_drawn_of_a_guest_is_what_a_new_client_is_shown(tmp_path: Path) -> None:
    """QEMU's firmware draws, rectangle by rectangle; to a new client the server sends its whole surface.

    Not held to QEMU's screendump: each takes from the SPICE server what it would have sent next.
    """
    for compression in ("off", "quic", "glz", "lz"):
        with Lab() as lab:
            where = tmp_path / compression
            monitor_is = ["-monitor", f"unix:{where},server=on,wait=off"]
            options = [*monitor_is, "-spice", f"image-compression={compression}"]
            running = lab.start("qemu-spice", arguments=options)
            assert running.port is not None
            monitor = Monitor(where)
            with Viewer(running.host, running.port) as seen:
                monitor.say("cont")
                seen.until(lambda: seen.renderer.updates > 20)
                monitor.say("stop")
                seen.settle()
                assert seen.problems == []
                assert seen.violations() == []
                before = seen.renderer.screen
            with Viewer(running.host, running.port) as fresh:
                fresh.until(lambda: fresh.renderer.updates > 0)
                fresh.settle()
                assert before is not None
                assert len(np.unique(before.reshape(-1, 3), axis=0)) > 1, "the guest has drawn nothing"
                np.testing.assert_array_equal(before, fresh.renderer.screen)


# --- the same from recordings


def scene() -> Picture:
    """What `tests.spice.pixels.draw` leaves on a screen of 640 x 480."""
    screen = np.zeros((480, 640, 3), np.uint8)
    for number, picture in enumerate(pictures(160, 120)):
        screen[21 * number : 21 * number + 120, 37 : 37 + 160] = picture
    screen[33 : 33 + 120, 100 : 100 + 160] = screen[21 : 21 + 120, 37 : 37 + 160].copy()
    screen[5:45, 5:305] = 10, 200, 30
    return screen


def rendered(name: str) -> Renderer:
    renderer = Renderer()
    with open_capture(PCAPS / name) as capture:
        for one in each(read(capture)):
            if isinstance(one, Told) and one.link is not None and one.link.channel_type == 2:
                assert renderer.take(one.record) == []
    return renderer


@pytest.mark.parametrize("compression", ["off", "quic", "lz", "glz", "auto_lz", "auto_glz"])
def test_a_recording_shows_what_was_drawn(compression: str) -> None:
    renderer = rendered(f"spicy--xspice-{compression}.pcapng.xz")
    assert renderer.whole
    assert not renderer.lossy
    np.testing.assert_array_equal(renderer.screen, scene())


def test_jpeg_is_near_what_was_drawn() -> None:
    """JPEG for the smooth picture, whose rest is under the others; deflated GLZ, without loss, for these."""
    renderer = rendered("spicy--xspice-wan.pcapng.xz")
    assert renderer.whole
    assert renderer.lossy
    assert renderer.screen is not None
    wrong = np.abs(renderer.screen.astype(int) - scene())
    assert 0 < (wrong > 0).mean() < 0.02
    assert wrong.max() < 40
    assert not wrong[110:].any()


def test_video_is_drawn_frame_by_frame() -> None:
    renderer = rendered("spicy--xspice-video.pcapng.xz")
    assert renderer.whole
    assert renderer.lossy
    assert renderer.screen is not None
    frame = np.roll(pictures(160, 120)[0], 5 * 89, 1)
    wrong = np.abs(renderer.screen[40:160, 40:200].astype(int) - frame)
    assert wrong.mean() < 6


def test_all_that_x11perf_draws_is_drawn() -> None:
    renderer = rendered("spicy--xspice-x11perf.pcapng.xz")
    assert renderer.whole
    assert renderer.updates > 1000
