# SPDX-License-Identifier: GPL-2.0-or-later
"""Few frames out of many: those that may belong to conversations whose ports are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from dissect.capture.bulk import READ_AHEAD, headers
from dissect.capture.files import Capture
from dissect.capture.records import Frame

MOST: Final = 4096
"""Frames that are looked at together."""


def of_ports(capture: Capture, pairs: Iterable[tuple[int, int]]) -> Iterator[Frame]:
    """The frames of TCP between two ports of one of the pairs, in either direction, in file order.

    And all frames whose headers are out of the common form (see `bulk`), or that do not lie in one buffer
    with others: what they hold is not known here.
    """
    both = {one for first, second in pairs for one in (first << 16 | second, second << 16 | first)}
    wanted = np.array(sorted(both), np.uint32)
    capture.read_ahead(READ_AHEAD)
    while True:
        run = capture.run(MOST)
        if run is None:
            frame = next(capture, None)
            if frame is None:
                return
            yield frame
            continue
        heads = headers(run)
        ports = heads.sports.astype(np.uint32) << np.uint32(16) | heads.dports
        for index in np.flatnonzero(heads.unusual | heads.tcp & np.isin(ports, wanted)).tolist():
            yield run.frame(index)
