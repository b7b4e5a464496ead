# SPDX-License-Identifier: GPL-2.0-or-later
"""Small captures read without numpy: the same events, and no numpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dissect.capture import Bytes, open_capture, read
from dissect.capture.bulk import Bulk
from dissect.capture.conversations import Conversations, Stretch
from dissect.capture.plain import Plain

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"


@pytest.mark.parametrize("path", sorted(PCAPS.glob("*--x*.pcapng")), ids=lambda path: path.stem)
def test_it_says_what_the_quick_way_says(path: Path) -> None:
    told = []
    for reader in (Plain(Conversations()), Bulk(Conversations())):
        with open_capture(path) as capture:
            events = [*reader.read(capture), *reader.finish(capture, capture.end_ns)]
        single = [
            one for event in events for one in (event.single() if isinstance(event, Stretch) else (event,))
        ]
        told.append([(type(one), one.time_ns, getattr(one, "side", None)) for one in single])
        assert reader.count == 1 + max(event.conversation.index for event in events)
    assert told[0] == told[1]


def test_frames_that_are_not_wanted_are_left_out_and_ticks_come() -> None:
    ticks: list[int] = []
    path = PCAPS / "gvncviewer--qemu-vnc.pcapng"
    with open_capture(path) as capture:
        kept = Plain(Conversations()).read(
            capture, keep=lambda frame: frame.number > 12, tick=lambda: ticks.append(1)
        )
        some = [event for event in kept if isinstance(event, Bytes)]
    with open_capture(path) as capture:
        every = [event for event in read(capture) if isinstance(event, Bytes)]
    assert 0 < len(some) < len(every)
    assert ticks == [1]


def test_show_of_a_small_capture_needs_no_numpy() -> None:
    code = (
        "import sys; from dissect.app import main; sys.stdout = open('/dev/null', 'w');"
        f"main.main(['show', '--json', {str(PCAPS / 'gvncviewer--qemu-vnc.pcapng')!r}]);"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
