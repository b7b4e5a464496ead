# SPDX-License-Identifier: GPL-2.0-or-later
"""Every byte of a stream is traced to the very frame whose copy of it was taken."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.capture import PcapngWriter, TcpScript, open_capture, synthesise
from dissect.capture.conversations import Bytes, Ended, Lost
from dissect.capture.places import Places, Trail
from dissect.stream import Side
from tests.capture import build

START = 1_485_352_991_000_000_000
ENDS = {4: ("127.0.0.1", "127.0.0.2"), 6: ("::1", "fe80::2")}
ISN = 0xFFFFFF00  # the numbers wrap within the first 256 bytes


def stream(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


def write(segments: Sequence[tuple[int, int]], *, version: int, step_ns: int, size: int) -> io.BytesIO:
    """A server's stream in these segments (start, size), after a handshake; all captured whole."""
    client, server = ENDS[version]
    data, out = stream(size), io.BytesIO()
    with PcapngWriter(out) as writer:
        packets = [
            synthesise(client, 40000, server, 5900, 7, 0, build.SYN),
            synthesise(server, 5900, client, 40000, ISN, 8, build.SYN | build.ACK),
            synthesise(client, 40000, server, 5900, 8, ISN + 1, build.ACK),
            *(
                synthesise(
                    server, 5900, client, 40000, ISN + 1 + start, 8, build.ACK, data[start : start + length]
                )
                for start, length in segments
            ),
        ]
        for number, packet in enumerate(packets):
            writer.write(START + number * step_ns, packet)
    out.seek(0)
    return out


def trace(source: io.BytesIO, *, every: bool = False) -> tuple[Trail, dict[int, int], list[object]]:
    """The trail of the only conversation, frame numbers by their offsets, and the events."""
    source.seek(0)
    numbers = {frame.offset: frame.number for frame in open_capture(source)}
    source.seek(0)
    places = Places(every=every)
    events: list[object] = []
    trail = None
    for event in places.read(open_capture(source)):
        events.append(event)
        if isinstance(event, Ended):
            trail = places.take(event.conversation)
    assert trail is not None
    return trail, numbers, events


@st.composite
def disordered(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Segments that cover a stream, some more than once, in nearly any order."""
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=12))
    total = sum(sizes)
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    again = draw(st.lists(st.tuples(st.integers(0, total - 1), st.integers(1, 80)), max_size=8))
    whole = [*zip(starts, sizes, strict=True), *((at, min(size, total - at)) for at, size in again)]
    return draw(st.permutations(whole))


@settings(max_examples=60)
@given(disordered(), st.sampled_from([4, 6]), st.sampled_from([0, 1, 1_000]))
def test_the_frame_of_each_byte_is_the_first_that_has_it(
    segments: list[tuple[int, int]], version: int, step_ns: int
) -> None:
    size = max(start + length for start, length in segments)
    trail, numbers, events = trace(write(segments, version=version, step_ns=step_ns, size=size))
    read = b"".join(event.data for event in events if isinstance(event, Bytes))
    assert read == stream(size)
    for offset in range(size):
        first = next(n for n, (start, length) in enumerate(segments) if start <= offset < start + length)
        assert numbers[trail.frame(Side.SERVER, offset)] == 4 + first, offset


def test_a_gap_is_told_on_the_frame_behind_it() -> None:
    trail, numbers, events = trace(write([(0, 10), (30, 10), (40, 5)], version=4, step_ns=1000, size=45))
    assert [event.size for event in events if isinstance(event, Lost)] == [20]
    assert numbers[trail.gap(Side.SERVER, 10)] == 5
    assert numbers[trail.frame(Side.SERVER, 30)] == 5
    assert numbers[trail.frame(Side.SERVER, 44)] == 6
    assert numbers[trail.last] == 6


def test_a_gap_at_the_end_is_told_on_the_frame_that_acknowledges_it() -> None:
    source = io.BytesIO()
    with PcapngWriter(source) as writer:
        script = TcpScript(("127.0.0.1", 40000), ("127.0.0.1", 5900), writer.write)
        script.opened(START)
        script.sent(Side.SERVER, b"abc", START + 1)
        script.lost(Side.SERVER, 100)
        script.acked(Side.CLIENT, START + 2)
        script.acked(Side.CLIENT, START + 3_000_000_000)
    trail, numbers, events = trace(source)
    assert [event.size for event in events if isinstance(event, Lost)] == [100]
    assert numbers[trail.gap(Side.SERVER, 3)] == 6  # the one with which it was given up


def test_a_gap_of_the_snaplen_is_told_on_the_frame_that_is_cut() -> None:
    whole = write([(0, 200), (200, 10)], version=4, step_ns=1000, size=210)
    frames = [(frame.time_ns, frame.data) for frame in open_capture(whole)]
    cut = io.BytesIO(build.pcap(frames, snaplen=100))
    trail, numbers, events = trace(cut)
    assert [event.size for event in events if isinstance(event, Lost)] == [140]
    assert numbers[trail.gap(Side.SERVER, 60)] == 4
    assert numbers[trail.frame(Side.SERVER, 205)] == 5


def test_the_frames_of_endings_and_of_the_tail() -> None:
    source = io.BytesIO()
    with PcapngWriter(source) as writer:
        script = TcpScript(("127.0.0.1", 40000), ("127.0.0.1", 5900), writer.write)
        script.opened(START)
        script.sent(Side.CLIENT, b"RFB ", START)
        script.closed(Side.SERVER, START)
        script.closed(Side.CLIENT, START)
        script.acked(Side.SERVER, START)
    trail, numbers, _ = trace(source, every=True)
    assert [numbers[at] for at in (trail.closed(Side.SERVER) or 0, trail.closed(Side.CLIENT) or 0)] == [5, 6]
    assert trail.reset(Side.CLIENT) is None
    assert [numbers[at] for at in trail.every] == [1, 2, 3, 4, 5, 6, 7]
    source = io.BytesIO()
    with PcapngWriter(source) as writer:
        script = TcpScript(("::1", 40000), ("::1", 5900), writer.write)
        script.opened(START)
        script.reset(Side.SERVER, START + 5)
    trail, numbers, _ = trace(source)
    assert numbers[trail.reset(Side.SERVER) or 0] == 4
    assert numbers[trail.frame(Side.CLIENT, 0)] == 1  # it never said anything


@pytest.mark.parametrize("compressed", [False, True])
def test_of_compressed_captures_it_is_the_place_in_what_is_inside(compressed: bool) -> None:
    import gzip

    source = write([(0, 10)], version=4, step_ns=1, size=10)
    plain, _, _ = trace(source)
    if compressed:
        source = io.BytesIO(gzip.compress(source.getvalue()))
    trail, _, _ = trace(source)
    assert trail.frame(Side.SERVER, 3) == plain.frame(Side.SERVER, 3)
