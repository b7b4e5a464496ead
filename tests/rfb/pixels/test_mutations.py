# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings that are changed do no harm, read or drawn: no exception, every byte accounted for, and what is
drawn has a bound."""

from __future__ import annotations

import random
import resource

import pytest

from dissect.rfb.pixels.rectangles import PIXELS_LIMIT
from dissect.rfb.pixels.screen import Renderer
from dissect.rfb.session import RfbSession
from dissect.stream.records import Message
from tests.benchmarks.damage import PCAPS, Segment, conversations
from tests.stream.mutations import mutated, read_and_draw

RECORDINGS = sorted(path.name for path in PCAPS.glob("*.pcapng") if "vnc" in path.name)
MUTATIONS = 4
"""Of each recording that is taken."""
HANDSHAKE = 10
"""Segments that are left as they are in most cases: of a handshake that is wrong nothing else is read."""


def look(said: list[Segment]) -> tuple[int, Renderer]:
    """Read and draw; how many messages were read."""
    renderer = Renderer()
    records = read_and_draw(RfbSession(), renderer, said)
    return sum(isinstance(one, Message) and bool(one.parts) for one in records), renderer


@pytest.mark.parametrize("name", [name for name in RECORDINGS if "drawing" in name])
def test_nothing_that_is_changed_does_harm(name: str) -> None:
    at_random = random.Random(name)
    (said, *_) = conversations(PCAPS / name)
    read = 0
    for number in range(MUTATIONS):
        messages, renderer = look(mutated(said, at_random, spared=HANDSHAKE if number else 0))
        assert renderer.screen is None or renderer.screen.size <= 3 * PIXELS_LIMIT
        read += messages
    assert read > 20


def main() -> None:
    """The same without an end, of all recordings: `python -m tests.rfb.pixels.test_mutations [SECONDS]`."""
    import sys
    import time

    at_random, worst = random.Random(0), (0.0, "")
    began, number = time.monotonic(), 0
    pool = {name: found[0] for name in RECORDINGS if (found := conversations(PCAPS / name))}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() - began < float((*sys.argv[1:], "60")[0]):
        name = at_random.choice(list(pool))
        seed = at_random.randrange(1 << 32)
        cpu = time.process_time()
        try:
            look(mutated(pool[name], random.Random(seed), spared=at_random.choice([0, 4, HANDSHAKE])))
        except Exception:
            print(f"{name} with seed {seed}")
            raise
        worst = max(worst, (time.process_time() - cpu, name))
        number += 1
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{number} sessions; longest {worst[0]:.2f} s of CPU ({worst[1]}); {before >> 10} to {most >> 10} MiB"
    )


if __name__ == "__main__":
    main()
