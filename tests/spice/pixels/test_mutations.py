# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings with numbers, bytes and pieces of them changed: read and drawn without an exception."""

from __future__ import annotations

import random

import pytest

from dissect.spice.pixels.screen import Renderer
from dissect.spice.session import SpiceSession
from tests.benchmarks.damage import PCAPS, conversations
from tests.stream.mutations import mutated, read_and_draw

MUTATIONS = 4
"""Of each recording."""
LINK = 6
"""Segments that are left as they are: nothing is read of a link that is wrong."""


@pytest.mark.parametrize(
    "name",
    [
        "spicy--qemu-spice-devices.pcapng",
        "spicy--xspice-auto_glz.pcapng.xz",
        "spicy--xspice-quic.pcapng.xz",
        "spicy--xspice-video.pcapng.xz",
        "spicy--xspice-wan.pcapng.xz",
        "spicy--xspice-x11perf.pcapng.xz",
    ],
)
def test_nothing_that_is_changed_does_harm(name: str) -> None:
    at_random = random.Random(name)
    pool = conversations(PCAPS / name)
    read = 0
    for _ in range(MUTATIONS):
        conversation = at_random.choice(pool)
        said = mutated(conversation[:70], at_random, spared=LINK)
        read += len(read_and_draw(SpiceSession(), Renderer(), said))
    assert read > 20
