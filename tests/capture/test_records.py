# SPDX-License-Identifier: GPL-2.0-or-later
"""Many frames at once are the frames one by one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dissect.capture import open_capture
from dissect.capture.records import windows
from tests.capture.build import epb, idb, pcap, shb
from tests.capture.reading import FRAMES, whole

FILES = {
    "pcap": pcap(FRAMES, nano=True),
    "pcapng": shb() + idb(resolution=9) + b"".join(epb(time, data) for time, data in FRAMES),
}


@pytest.mark.parametrize("form", FILES)
def test_a_run_is_its_frames(form: str) -> None:
    frames, _capture = whole(FILES[form])
    capture = open_capture(io.BytesIO(FILES[form]), "x")
    first = next(capture)
    run = capture.run(100)
    assert run is not None
    assert [first, *(run.frame(index) for index in range(len(run)))] == frames
    assert run.back_ns == 0


@pytest.mark.parametrize("form", FILES)
def test_records_are_read_again_by_their_place(form: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(FILES[form])
    with open_capture(path) as capture:
        first = next(capture)
        layout = capture.layout()
        assert layout is not None
        again = capture.again(layout)
    frames, _capture = whole(FILES[form])
    assert [again.frame(frame.offset, frame.number) for frame in frames] == frames
    assert again.frame(first.offset, 9) is not None
    path.write_bytes(FILES[form][: frames[-1].offset + 18])
    assert again.frame(frames[-1].offset, 4) is None  # it is gone from the file
    again.close()


def test_windows_are_all_bytes_that_lie_together() -> None:
    assert [bytes(one) for one in windows(b"abcd", 3)] == [b"abc", b"bcd"]
