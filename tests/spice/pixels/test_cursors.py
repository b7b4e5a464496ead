# SPDX-License-Identifier: GPL-2.0-or-later
"""Cursors of each kind are what spice-gtk makes of them; and what is not drawn is named."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random

import numpy as np
import pytest

from dissect.app import main as app
from dissect.spice.pixels import cursors
from dissect.spice.pixels.cursors import Renderer
from dissect.spice.pixels.images import NotDrawn
from dissect.spice.session import SpiceSession
from dissect.stream import Side
from tests.benchmarks.damage import PCAPS
from tests.spice.examples import data, linked, u8, u16, u64
from tests.spice.pixels.easel import PATIENCE_S, Easel, Say

INIT, RESET, SET, HIDE, INVAL_ONE, INVAL_ALL = 101, 102, 103, 105, 107, 108
ALPHA, MONO, COLOR4, COLOR8, COLOR16, COLOR24, COLOR32 = range(7)
NOTHING: Say = (INIT, bytes(8) + u8(1) + u16(1))

CLIENT = """
import ctypes, json, sys
import gi
gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, SpiceClientGLib

loop, left = GLib.MainLoop(), int(sys.argv[2])

def shown(channel, width, height, x, y, pixels):
    global left
    print(json.dumps([width, height, x, y, ctypes.string_at(pixels, 4 * width * height).hex()]))
    left -= 1
    if not left:
        loop.quit()

def found(session, channel):
    if isinstance(channel, SpiceClientGLib.CursorChannel):
        GObject.Object.connect(channel, "cursor-set", shown)
        channel.connect()  # to the server: the name is SPICE's own

session = SpiceClientGLib.Session(host="127.0.0.1", port=sys.argv[1])
GObject.Object.connect(session, "channel-new", found)
session.connect()
GLib.timeout_add_seconds(15, loop.quit)
loop.run()
"""
"""Prints each cursor that spice-gtk shows: size, hot spot, pixels."""


def cursor(
    kind: int,
    width: int,
    height: int,
    image: bytes,
    *,
    flags: int = 0,
    unique: int = 7,
    hot: tuple[int, int] = (1, 2),
) -> Say:
    header = u64(unique) + u8(kind) + u16(width) + u16(height) + u16(hot[0]) + u16(hot[1])
    return SET, bytes(4) + u8(1) + u16(flags) + header + image


def scenes(seed: int) -> list[Say]:
    """Cursors of each kind that spice-gtk knows: masks of all sorts, white where it inverts, any sizes."""
    random = Random(seed)
    said: list[Say] = []
    for width, height in ((32, 32), (8, 5), (24, 17), (13, 9)):
        count, row = width * height, (width + 7) // 8
        mask = random.randbytes((count + 7) // 8)
        few = b"".join(random.choice((b"\xff\xff\xff\0", random.randbytes(4))) for _ in range(count))
        five = b"".join(random.choice((b"\xff\x7f", random.randbytes(2))) for _ in range(count))
        palette = b"\xff\xff\xff\0" + random.randbytes(60)
        dots = bytes(random.choice((0, 0, 16, 1)) for _ in range(row * height))
        said += [
            cursor(ALPHA, width, height, random.randbytes(4 * count)),
            cursor(MONO, width, height, random.randbytes(2 * row * height)),
            cursor(MONO, width, height, b"\xff" * (row * height) + dots),
            cursor(COLOR4, width, height, random.randbytes((width + 1) // 2 * height) + palette + mask),
            cursor(COLOR16, width, height, five + mask),
            cursor(COLOR32, width, height, few + mask, hot=(200, 200)),
        ]
    kept = cursor(ALPHA, 9, 9, random.randbytes(324), flags=cursors.CACHE_ME, unique=99)
    again = cursor(ALPHA, 0, 0, b"", flags=cursors.FROM_CACHE, unique=99)
    return [NOTHING, *said, kept, said[0], again]


Told = list[tuple[int, int, int, int, bytes]]


def ours(said: list[Say]) -> tuple[Told, list[str]]:
    session, renderer, told, why = SpiceSession(), Renderer(), [], []
    for side, raw in linked(4):
        assert isinstance(raw, bytes)
        session.feed(side, raw, 0)
    for number, body in said:
        before = renderer.updates
        for record in session.feed(Side.SERVER, data(number, body), 0):
            why += [problem.why for problem in renderer.take(record)]
        shape = renderer.cursor
        if renderer.updates > before and shape is not None:
            height, width = shape.image.shape[:2]
            told.append((width, height, shape.hot_x, shape.hot_y, shape.image.tobytes()))
    return told, why


def theirs(said: list[Say], count: int) -> Told:
    with Easel(said, 4) as easel:
        command = ["/usr/bin/python3", "-c", CLIENT, str(easel.port), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == count, done.stderr
    return [(width, height, x, y, bytes.fromhex(pixels)) for width, height, x, y, pixels in rows]


def test_cursors_are_what_spice_gtk_shows() -> None:
    said = scenes(1)
    told, why = ours(said)
    assert why == []
    assert len(told) == len(said) - 1
    for number, (mine, real) in enumerate(zip(told, theirs(said, len(told)), strict=True)):
        assert mine == real, said[number + 1][1][:16].hex()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (cursor(COLOR8, 2, 2, bytes(2000)), "cursors of the type COLOR8 are not drawn"),
        (cursor(COLOR24, 2, 2, bytes(20)), "cursors of the type COLOR24 are not drawn"),
        (cursor(9, 2, 2, bytes(20)), "cursors of the type 9 are not drawn"),
        (cursor(ALPHA, 2, 2, bytes(15)), "it has 15 bytes where 16 are needed"),
        (cursor(MONO, 9, 2, bytes(7)), "it has 7 bytes where 8 are needed"),
        (cursor(ALPHA, 0, 2, b""), "its 0 × 2 pixels are outside the limit"),
        (cursor(MONO, 65535, 65535, b""), "its 65535 × 65535 pixels are outside the limit"),
        (cursor(ALPHA, 0, 0, b"", flags=cursors.FROM_CACHE), "cursor 0x7 is not in the cache"),
    ],
)
def test_what_is_not_drawn_is_named(said: Say, why: str) -> None:
    told, problems = ours([NOTHING, said])
    assert told == []
    assert len(problems) == 1
    assert problems[0].startswith(f"SPICE_MSG_CURSOR_SET is not drawn: {why}")


@pytest.mark.parametrize("forget", [(INVAL_ONE, u64(7)), (INVAL_ALL, b""), (RESET, b""), NOTHING])
def test_a_cursor_that_was_forgotten_is_not_there(forget: Say) -> None:
    kept = cursor(ALPHA, 1, 1, bytes(4), flags=cursors.CACHE_ME)
    again = cursor(ALPHA, 0, 0, b"", flags=cursors.FROM_CACHE)
    assert ours([NOTHING, kept, again])[1] == []
    assert "not in the cache" in ours([NOTHING, kept, forget, again])[1][0]


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "CACHE_LIMIT", 40)
    many = [cursor(ALPHA, 2, 2, bytes(16), flags=cursors.CACHE_ME, unique=number) for number in range(9)]
    kept = [cursor(ALPHA, 0, 0, b"", flags=cursors.FROM_CACHE, unique=number) for number in range(9)]
    _, why = ours([NOTHING, *many, *kept])
    assert len(why) == 7


def test_the_cursor_of_a_real_session_is_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Xspice's cross, of 24 x 24 pixels, with nothing around it."""
    path = PCAPS / "spicegtk--xspice-agent.pcapng.xz"
    assert app.main(["render", str(path), "-o", str(tmp_path)]) == app.PASS
    (found,) = tmp_path.glob("*-cursor.png")
    assert f"{found}: 24 × 24, after 1 update" in capsys.readouterr().out
    from PIL import Image

    with Image.open(found) as picture:
        shown = np.asarray(picture)
    assert shown.shape == (24, 24, 4)
    assert 0 < (shown[..., 3] > 0).sum() < 24 * 24


def test_pixels_are_checked_before_they_are_read() -> None:
    with pytest.raises(NotDrawn):
        cursors.pixels(COLOR16, 100, 100, bytes(100))
