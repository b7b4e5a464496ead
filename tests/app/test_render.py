# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte render`: the last screen, one every few seconds, one an update; problems with offsets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dissect.app import main as app
from dissect.stream import Side
from tests.app.captures import CURE, write
from tests.dissection.conversations import GREETING, MS, Step
from tests.rfb.examples import FORMAT_32, rect, u16, u32, update

C, S = Side.CLIENT, Side.SERVER
PCAPS = Path(__file__).resolve().parent.parent.parent / "pcaps"

RED, BLUE = b"\0\0\xff\0", b"\xff\0\0\0"


def session(*rectangles: tuple[bytes, int]) -> list[Step]:
    """A screen of 4 x 2 pixels, and updates at so many ms."""
    steps: list[Step] = [
        (S, GREETING, 1 * MS),
        (C, GREETING, 2 * MS),
        (S, b"\1\1", 3 * MS),
        (C, b"\1", 4 * MS),
        (S, u32(0), 5 * MS),
        (C, b"\1", 6 * MS),
        (S, u16(4) + u16(2) + FORMAT_32 + u32(0), 7 * MS),
    ]
    return steps + [(S, update(data), at * MS) for data, at in rectangles]


PLAIN = session(
    (rect(4, 2, 0, RED * 8), 100), (rect(2, 2, 0, BLUE * 4), 2100), (rect(1, 1, -239, RED + b"\x80"), 2200)
)


def pixels(path: Path) -> list[Any]:
    with Image.open(path) as image:
        return list(np.asarray(image.convert("RGB"))[0, [0, 3]].tolist())


def test_the_last_screen_and_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a" / "b"
    path = write(tmp_path / "x.pcapng", CURE, PLAIN)
    assert app.main(["render", str(path), "-o", str(out)]) == app.PASS
    assert sorted(one.name for one in out.iterdir()) == ["conversation-1-cursor.png", "conversation-1.png"]
    assert pixels(out / "conversation-1.png") == [[0, 0, 255], [255, 0, 0]]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{out}/conversation-1.png: 4 × 2, after 3 updates, at 2.200 s"


def test_each_update_and_every_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.pcapng", PLAIN)
    assert app.main(["render", str(path), "-o", str(tmp_path / "each"), "--each-update", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["kind"], one["updates"], one["whole"]) for one in told] == [
        ("picture", number, True) for number in (1, 2, 3, 3)
    ]
    first, second = (tmp_path / "each" / f"conversation-0-update-00000{number}.png" for number in (1, 2))
    assert pixels(first) == [[255, 0, 0]] * 2
    assert pixels(second) == [[0, 0, 255], [255, 0, 0]]
    assert app.main(["render", str(path), "-o", str(tmp_path / "every"), "--every", "0.5"]) == 0
    names = sorted(one.name for one in (tmp_path / "every").iterdir())
    assert names == ["conversation-0-00000002.000s.png", "conversation-0-cursor.png", "conversation-0.png"]
    assert pixels(tmp_path / "every" / names[0]) == [[255, 0, 0]] * 2


def test_what_cannot_be_drawn_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = session((rect(4, 2, 6, u32(3) + b"abc"), 100), (rect(1, 1, 0, BLUE), 200))
    path = write(tmp_path / "x.pcapng", wrong)
    assert app.main(["render", str(path), "-o", str(tmp_path), "--json"]) == app.INCONCLUSIVE
    violation, picture = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (violation["kind"], violation["offset"]) == ("violation", 12 + 2 + 4 + 24 + 4 + 12 + 4)
    assert "incorrect header check" in violation["fields"]["why"]
    assert picture["whole"] is False
    assert pixels(tmp_path / "conversation-0.png")[0] == [0, 0, 255]
    assert app.main(["render", str(path), "-o", str(tmp_path)]) == app.INCONCLUSIVE
    assert "byte 62: zlib rectangle not drawn" in capsys.readouterr().out


def test_h264_is_written_for_a_player(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model peer's frames, which are none: what was sent must be there, apart by place and by reset."""

    def video(width: int, flags: int, data: bytes) -> bytes:
        return rect(width, 2, 50, u32(len(data)) + u32(flags) + data)

    said = session(
        (video(4, 1, b"a1"), 100),
        (video(2, 1, b"b1"), 200),
        (video(4, 0, b"a2"), 300),
        (video(4, 1, b"A1"), 400),
        (video(4, 2, b""), 500),
        (video(2, 0, b"B1"), 600),
        (rect(4, 2, 0, RED * 8), 700),
    )
    path = write(tmp_path / "x.pcapng", said)
    out = tmp_path / "out"
    assert app.main(["render", str(path), "-o", str(out), "--json"]) == app.INCONCLUSIVE
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    videos = {Path(one["file"]).name: one["size"] for one in told if one["kind"] == "video"}
    written = {name: (out / name).read_bytes() for name in videos}
    assert written == {
        "conversation-0-video-0-4x2+0+0.h264": b"a1a2",
        "conversation-0-video-1-2x2+0+0.h264": b"b1",
        "conversation-0-video-2-4x2+0+0.h264": b"A1",
        "conversation-0-video-3-2x2+0+0.h264": b"B1",
    }
    assert videos == {name: len(data) for name, data in written.items()}
    assert "H.264 is not decoded" in told[0]["fields"]["why"]
    assert app.main(["render", str(path), "-o", str(out)]) == app.INCONCLUSIVE
    assert "video-0-4x2+0+0.h264: 4 bytes of H.264" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--conversation", "7"], "no VNC session and no SPICE display channel in it shows a screen"),
        (["--every", "0"], "must be more than 0 seconds"),
        (["--every", "x"], "is not a number of seconds"),
    ],
)
def test_what_cannot_be_done(
    words: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "x.pcapng", PLAIN)
    assert app.main(["render", str(path), "-o", str(tmp_path), *words]) == app.UNUSABLE
    assert why in capsys.readouterr().err


def test_a_capture_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["render", str(write(tmp_path / "x.pcapng", CURE)), "-o", str(tmp_path)]) == app.UNUSABLE
    assert app.main(["render", str(tmp_path / "missing"), "-o", str(tmp_path)]) == app.UNUSABLE
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("path", sorted(PCAPS.glob("*.pcapng")), ids=lambda path: path.stem)
def test_the_recordings(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever shows a screen is drawn, to the end of the recording."""
    code = app.main(["render", str(path), "-o", str(tmp_path), "--json"])
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == (app.UNUSABLE if not told else app.PASS if told[-1]["whole"] else app.INCONCLUSIVE)
    # Some recorders stopped in the middle of an update; nothing else may be missing.
    missing = [one for one in told if one["kind"] != "picture"]
    assert all("incomplete: " in one["fields"]["why"] for one in missing)
    assert len(missing) < 2
