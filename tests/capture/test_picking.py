# SPDX-License-Identifier: GPL-2.0-or-later
"""No frame of the ports asked for is missed, in any file; few others come along."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dissect.capture import Decoder, open_capture
from dissect.capture.picking import of_ports
from tests.capture import build

PCAPS = sorted((Path(__file__).resolve().parents[2] / "pcaps").glob("*.pcapng"))


@pytest.mark.parametrize("path", PCAPS[::8], ids=lambda path: path.stem)
def test_the_frames_of_each_pair_of_ports(path: Path) -> None:
    decoder = Decoder()
    by_ports: dict[frozenset[int], list[int]] = {}
    with open_capture(path) as capture:
        for frame in capture:
            segment = decoder(frame, capture.skipped)
            assert segment is not None
            by_ports.setdefault(frozenset((segment.sport, segment.dport)), []).append(frame.number)
    for ports, expected in by_ports.items():
        first, *rest = ports
        with open_capture(path) as capture:
            found = list(of_ports(capture, [(first, (rest or [first])[0])]))
        numbers = [frame.number for frame in found]
        assert numbers == sorted({*numbers, *expected})
    with open_capture(path) as capture:
        # Those at the edge of a buffer are read one by one.
        assert len(list(of_ports(capture, [(1, 2)]))) <= 1 + sum(map(len, by_ports.values())) // 10


def test_what_is_out_of_the_common_form_comes_along() -> None:
    with open_capture(PCAPS[0]) as capture:
        frames = list(capture)
    broken = [frames[0].data[:14] + b"\x46" + frames[0].data[15:], b"\0" * 60, frames[1].data[:40]]
    data = build.pcap([(1, one) for one in [frames[0].data, *broken, frames[1].data]], linktype=1)
    with open_capture(io.BytesIO(data), "x") as capture:
        assert [frame.data for frame in of_ports(capture, [(1, 2)])] == broken
