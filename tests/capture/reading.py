# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures made in memory, read whole."""

from __future__ import annotations

import io

from dissect.capture import Capture, Frame, open_capture

T = 1_700_000_000_123_456_789
FRAMES = [(T, b"one"), (T + 5_000_001, b"second"), (T + 10**9, b""), (T + 2 * 10**9 + 1, b"4444")]


def whole(data: bytes) -> tuple[list[Frame], Capture]:
    capture = open_capture(io.BytesIO(data), "file")
    return list(capture), capture


def short(frames: list[Frame]) -> list[tuple[int, bytes]]:
    return [(frame.time_ns, frame.data) for frame in frames]
