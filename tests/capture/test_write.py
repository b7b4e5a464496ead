# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.capture import (
    Bytes,
    Ended,
    Lost,
    PcapngWriter,
    Reset,
    Segment,
    TcpScript,
    decode,
    open_capture,
    read,
    synthesise,
)
from dissect.capture.blocks import MAX_BLOCK
from dissect.capture.write import MAX_PAYLOAD
from dissect.stream import Side

T = 1_700_000_000_123_456_789


def tshark(path: Path, *fields: str, options: tuple[str, ...] = ()) -> list[list[str]]:
    """One row a frame: the fields as tshark reads them."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", *options]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_what_is_written_is_read_again() -> None:
    stream = io.BytesIO()
    with PcapngWriter(stream, linktype=1, name="lo", application="test", comment="why", start_ns=T) as writer:
        writer.write(T + 1, b"one")
        writer.write(T + 2, b"", 9, comment="empty")
        writer.write(T, b"three", 4)
        writer.flush()
        early = stream.getvalue()
        writer.close(T + 10**9)
        writer.close(T + 2 * 10**9)
    capture = open_capture(io.BytesIO(stream.getvalue()))
    assert [(f.time_ns, f.data, f.length, f.linktype) for f in capture] == [
        (T + 1, b"one", 3, 1),
        (T + 2, b"", 9, 1),
        (T, b"three", 5, 1),
    ]
    assert (capture.problems, capture.end_ns, capture.end_declared) == ([], T + 10**9, True)
    # Not closed, as after a crash: still whole.
    capture = open_capture(io.BytesIO(early))
    assert len(list(capture)) == 3
    assert (capture.problems, capture.end_declared) == ([], False)
    assert not stream.closed


def test_a_path_is_written_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    writer = PcapngWriter(path)
    writer.write(T, b"x")
    writer.close()
    with open_capture(path) as capture:
        assert [frame.data for frame in capture] == [b"x"]
        assert capture.end_ns == T


@pytest.mark.parametrize("time", [-1, 2**64])
def test_a_time_that_does_not_fit(time: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        PcapngWriter(io.BytesIO()).write(time, b"x")


def test_a_frame_that_no_reader_would_take() -> None:
    writer = PcapngWriter(io.BytesIO())
    with pytest.raises(ValueError, match="too large"):
        writer.write(T, bytes(MAX_BLOCK))


@pytest.mark.parametrize(("src", "dst"), [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "::2")])
@pytest.mark.parametrize("size", [0, 1, 2, 1000, MAX_PAYLOAD])
def test_a_synthesised_packet_is_the_segment_it_says(src: str, dst: str, size: int) -> None:
    stream = io.BytesIO()
    writer = PcapngWriter(stream)
    payload = bytes(number % 251 for number in range(size))
    writer.write(T, synthesise(src, 1, dst, 65535, 2**32 + 5, -1, 0x1B, payload))
    (frame,) = open_capture(io.BytesIO(stream.getvalue()))
    got = decode(frame)
    assert isinstance(got, Segment)
    assert (got.sport, got.dport, got.seq, got.ack) == (1, 65535, 5, 2**32 - 1)
    assert (got.flags, got.payload, got.missing) == (0x1B, payload, 0)


def test_what_cannot_be_synthesised() -> None:
    with pytest.raises(ValueError, match="families"):
        synthesise("10.0.0.1", 1, "::1", 2, 0, 0, 0)
    with pytest.raises(ValueError, match="do not fit"):
        synthesise("10.0.0.1", 1, "10.0.0.2", 2, 0, 0, 0, bytes(65496))
    with pytest.raises(ValueError, match="neither IPv4 nor IPv6"):
        synthesise(b"abc", 1, b"def", 2, 0, 0, 0)


def words_sum(data: bytes) -> int:
    """RFC 1071 as it is written, word by word."""
    data += bytes(len(data) % 2)
    total = sum(data[at] << 8 | data[at + 1] for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.booleans(), st.binary(max_size=60), st.integers(0, 2**32 - 1), st.binary(max_size=12))
def test_checksums_add_up(six: bool, payload: bytes, seq: int, options: bytes) -> None:
    src, dst = ("::", "::") if six else ("0.0.0.0", "0.0.0.0")
    packet = synthesise(src, 0, dst, 0, seq, 0, 0, payload, options=options, window=0)
    head = 40 if six else 20
    if not six:
        assert words_sum(packet[:20]) == 0xFFFF
    segment = packet[head:]
    assert words_sum(len(segment).to_bytes(4, "big") + b"\0\0\0\6" + segment) == 0xFFFF


# -- a scripted connection


def scripted(write: PcapngWriter, client: str = "127.0.0.1", server: str = "127.0.0.1") -> TcpScript:
    return TcpScript((client, 40000), (server, 5900), write.write, client_isn=2**32 - 3)


def test_a_script_becomes_the_conversation_it_tells() -> None:
    stream = io.BytesIO()
    with PcapngWriter(stream) as writer:
        script = scripted(writer)
        script.opened(T, T + 1, T + 2)
        script.sent(Side.SERVER, b"RFB 003.008\n", T + 3)
        script.acked(Side.CLIENT, T + 4)
        big = bytes(200_000)
        script.sent(Side.CLIENT, big, T + 5)
        script.lost(Side.SERVER, 7)
        script.sent(Side.SERVER, b"more", T + 6)
        script.closed(Side.SERVER, T + 7)
        script.reset(Side.CLIENT, T + 8)
        again = TcpScript(("::1", 40000), ("::1", 5900), writer.write)
        again.refused(T + 9, T + 10)
    capture = open_capture(io.BytesIO(stream.getvalue()))
    events = list(read(capture))
    first, second = dict.fromkeys(event.conversation for event in events)
    assert (first.client, first.server) == ("127.0.0.1:40000", "127.0.0.1:5900")
    assert (first.syn_ns, first.established_ns, first.end_ns) == (T, T + 2, T + 8)
    assert (second.client, second.server) == ("[::1]:40000", "[::1]:5900")
    assert (second.established_ns, second.end_ns) == (None, T + 10)
    sent = [event for event in events if isinstance(event, Bytes) and event.side is Side.CLIENT]
    assert b"".join(event.data for event in sent) == big
    assert [(e.size, e.time_ns) for e in events if isinstance(e, Lost)] == [(7, T + 6)]
    assert [e.side for e in events if isinstance(e, Reset)] == [Side.CLIENT, Side.SERVER]
    assert [e.open for e in events if isinstance(e, Ended)] == [False, False]


# -- tshark reads the same


@pytest.mark.program("tshark")
def test_tshark_reads_the_same_times_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    times = [T, T + 1, T + 10**9 - 1, T + 3 * 10**9 + 7, T + 5]
    with PcapngWriter(path, comment="a comment", name="relay", application="firstbyte test") as writer:
        for number, time in enumerate(times):
            data = synthesise("127.0.0.1", 1000 + number, "127.0.0.2", 9, 1, 2, 0x18, b"x" * number)
            writer.write(time, data, comment=f"frame {number}" if number % 2 else "")
        writer.close(T + 60 * 10**9)
    rows = tshark(path, "frame.time_epoch", "tcp.srcport", "tcp.len", "frame.comment", "frame.encap_type")
    assert [row[0] for row in rows] == [f"{time // 10**9}.{time % 10**9:09}" for time in times]
    assert [row[1:3] for row in rows] == [[str(1000 + n), str(n)] for n in range(len(times))]
    assert [row[3] for row in rows] == ["", "frame 1", "", "frame 3", ""]
    assert {row[4] for row in rows} == {"7"}  # raw IP
    with open_capture(path) as capture:
        assert [frame.time_ns for frame in capture] == times


@pytest.mark.program("tshark")
def test_tshark_finds_the_checksums_right_and_follows_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    with PcapngWriter(path) as writer:
        for client, server in (("127.0.0.1", "127.0.0.3"), ("::1", "::1")):
            script = scripted(writer, client, server)
            script.opened(T)
            script.sent(Side.SERVER, b"odd", T + 1)
            script.sent(Side.CLIENT, bytes(100_000), T + 2)
            script.closed(Side.CLIENT, T + 3)
            script.closed(Side.SERVER, T + 4)
    check = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
    rows = tshark(
        path,
        "ip.checksum.status",
        "tcp.checksum.status",
        "tcp.stream",
        "tcp.analysis.flags",
        "_ws.malformed",
        options=check,
    )
    assert len(rows) == 2 * 8
    assert {row[0] for row in rows} == {"1", ""}  # good; IPv6 has none
    assert {row[1] for row in rows} == {"1"}
    assert {row[2] for row in rows} == {"0", "1"}
    assert {row[4] for row in rows} == {""}
    lost = tshark(path, "tcp.analysis.lost_segment", "tcp.analysis.retransmission", options=check)
    assert {tuple(row) for row in lost} <= {("", ""), ()}
