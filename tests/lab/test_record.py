# SPDX-License-Identifier: GPL-2.0-or-later
"""Both recorders, on connections of our own: every byte, FIN and RST is in the file, with its time.

The files are read back by tshark, which has never heard of us, and by our own reader.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dissect.capture import Bytes, Closed, Reset, open_capture, read, synthesise
from dissect.lab import record
from dissect.lab.errors import CannotRecord
from dissect.lab.lab import Lab
from dissect.lab.record import By, can_record_wire, record_conversation
from dissect.lab.recorder import Recorder, Stopped
from dissect.lab.relay import RelayRecorder
from dissect.lab.wire import WireRecorder, parse_tcp
from dissect.stream import Side
from tests.lab.conftest import require_wire
from tests.lab.refusing import refusing

RESET = struct.pack("ii", 1, 0)
BOTH = [By.WIRE, By.RELAY]
tshark = pytest.mark.program("tshark")


@dataclass
class Ends:
    """A recorder at work, and both ends of one connection that it sees."""

    recorder: Recorder
    listener: socket.socket
    server: tuple[str, int]
    to: tuple[str, int]

    def connect(self) -> tuple[socket.socket, socket.socket]:
        client = socket.create_connection(self.to, 10)
        server, _ = self.listener.accept()
        server.settimeout(10)
        return client, server


@contextmanager
def recording(by: By, path: Path, *, max_bytes: int | None = None, host: str = "127.0.0.1") -> Iterator[Ends]:
    if by is By.WIRE:
        require_wire()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(10)
        server = (host, listener.getsockname()[1])
        recorder: Recorder
        if by is By.WIRE:
            recorder = WireRecorder(server[1], path, max_bytes=max_bytes)
            to = server
        else:
            recorder = RelayRecorder(server, path, host=host, max_bytes=max_bytes)
            to = server  # the port is known after start
        with recorder:
            if isinstance(recorder, RelayRecorder):
                to = (host, recorder.port)
            yield Ends(recorder, listener, server, to)
        assert recorder.dropped == 0
        assert recorder.failure is None


class Packet(NamedTuple):
    """One TCP packet as tshark sees it."""

    time: str
    sport: str
    dport: str
    size: str
    syn: str
    fin: str
    reset: str
    payload: str
    complaint: str


def packets(path: Path) -> list[Packet]:
    """What tshark finds in `path`. One run a test: a run costs half a second."""
    names = ["frame.time_epoch", "tcp.srcport", "tcp.dstport", "tcp.len", "tcp.flags.syn", "tcp.flags.fin"]
    names += ["tcp.flags.reset", "tcp.payload", "_ws.expert.message"]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=/t"]
    for name in names:
        command += ["-e", name]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return [Packet(*line.split("\t")) for line in run.stdout.splitlines()]


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.002)


def ended(recorder: Recorder) -> Callable[[], bool]:
    return lambda: bool(recorder.connections) and recorder.connections[-1].ended


@tshark
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("by", BOTH)
def test_bytes_of_both_sides_with_nanoseconds_read_by_tshark(by: By, host: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.pcapng"
    with recording(by, path, host=host) as ends:
        client, server = ends.connect()
        with client, server:
            sent: list[tuple[int, int]] = []
            for one, other, data in [(server, client, b"RFB 003.008\n"), (client, server, b"RFB 003.003\n")]:
                before = time.time_ns()
                one.sendall(data)
                assert other.recv(100) == data
                sent.append((before, time.time_ns()))
            client.close()
            assert server.recv(1) == b""
            server.close()
        until(ended(ends.recorder))
    seen = packets(path)
    rows = [packet for packet in seen if packet.payload]
    assert [bytes.fromhex(row.payload) for row in rows] == [b"RFB 003.008\n", b"RFB 003.003\n"]
    assert [int(row.sport) == ends.server[1] for row in rows] == [True, False]
    for (before, after), row in zip(sent, rows, strict=True):
        seconds, _, fraction = row.time.partition(".")
        assert before <= int(seconds + fraction) <= after
    assert [packet.syn for packet in seen].count("1") == 2
    # No mistake that tshark would point at, in sequence numbers or lengths; these it says of every packet.
    usual = ("Connection establish", "Connection finish")
    assert [
        packet.complaint for packet in seen if packet.complaint and not packet.complaint.startswith(usual)
    ] == []


@tshark
@pytest.mark.parametrize("by", BOTH)
@pytest.mark.parametrize("who", list(Side))
def test_a_half_close_stays_a_half_close(by: By, who: Side, tmp_path: Path) -> None:
    path = tmp_path / "half.pcapng"
    with recording(by, path) as ends:
        client, server = ends.connect()
        one, other = (client, server) if who is Side.CLIENT else (server, client)
        with client, server:
            one.shutdown(socket.SHUT_WR)
            assert other.recv(1) == b""
            until(lambda: [seen for seen in ends.recorder.connections if who in seen.closed_ns])
            assert not ends.recorder.connections[0].ended
            other.sendall(b"still here")  # the other direction lives
            assert one.recv(100) == b"still here"
            other.close()
            assert one.recv(1) == b""
        until(ended(ends.recorder))
        (connection,) = ends.recorder.connections
        assert connection.reset_ns is None
        assert connection.closed_ns[who] < connection.closed_ns[who.other]
        assert connection.sent == {who: 0, who.other: len(b"still here")}
    seen = packets(path)
    rows = [packet for packet in seen if packet.fin == "1" or packet.payload]
    assert [(row.fin, row.size) for row in rows] == [("1", "0"), ("0", "10"), ("1", "0")]
    assert rows[0].dport != rows[1].dport == rows[2].dport
    assert {packet.reset for packet in seen} == {"0"}


@pytest.mark.parametrize("by", BOTH)
@pytest.mark.parametrize("who", list(Side))
@pytest.mark.parametrize("after", ["nothing", "own-fin"])
def test_a_reset_stays_a_reset(by: By, who: Side, after: str, tmp_path: Path) -> None:
    path = tmp_path / "reset.pcapng"
    with recording(by, path) as ends:
        client, server = ends.connect()
        one, other = (client, server) if who is Side.CLIENT else (server, client)
        with client, server:
            one.sendall(b"last words")
            assert other.recv(100) == b"last words"
            if after == "own-fin":
                one.shutdown(socket.SHUT_WR)
                assert other.recv(1) == b""
                other.sendall(b"unread")  # a close with unread data resets, also after a FIN
                assert one.recv(1) == b"u"
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.close()
            if after == "nothing":
                with pytest.raises(ConnectionResetError):
                    other.recv(1)
            else:
                until(ended(ends.recorder))
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    until(lambda: other.send(b"x") == 0)
        until(ended(ends.recorder))
        (connection,) = ends.recorder.connections
        assert connection.reset_by is who
        assert connection.ended
    ends_seen = [event for event in _events(path) if isinstance(event, Closed | Reset)]
    assert [type(event) for event in ends_seen] == ([Closed, Reset] if after == "own-fin" else [Reset])
    assert {event.side for event in ends_seen} == {who}


def _events(path: Path) -> list[object]:
    with open_capture(path) as capture:
        found: list[object] = list(read(capture))
        assert [str(problem) for problem in capture.problems] == []
    return found


@pytest.mark.parametrize("by", BOTH)
def test_much_data_both_ways_at_once_is_passed_and_recorded_whole(by: By, tmp_path: Path) -> None:
    path = tmp_path / "much.pcapng"
    data = {side: os.urandom(3_000_000) for side in Side}
    got: dict[Side, bytes] = {}

    def push(end: socket.socket, side: Side) -> None:
        end.sendall(data[side])
        end.shutdown(socket.SHUT_WR)

    def pump(end: socket.socket, side: Side) -> None:
        sender = threading.Thread(target=push, args=(end, side))
        sender.start()
        received = bytearray()
        while part := end.recv(1 << 16):
            received += part
            if len(received) % 7 == 0:
                time.sleep(0.001)  # a slow reader: the relay must hold back the other side
        sender.join()
        got[side.other] = bytes(received)

    with recording(by, path) as ends:
        client, server = ends.connect()
        with client, server:
            threads = [
                threading.Thread(target=pump, args=(client, Side.CLIENT)),
                threading.Thread(target=pump, args=(server, Side.SERVER)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        until(ended(ends.recorder))
    assert got == data
    rebuilt = {side: bytearray() for side in Side}
    for event in _events(path):
        if isinstance(event, Bytes):
            rebuilt[event.side] += event.data
    assert {side: bytes(found) for side, found in rebuilt.items()} == data


@pytest.mark.parametrize("by", BOTH)
def test_what_comes_after_the_end_is_not_in_the_file_and_the_end_is(by: By, tmp_path: Path) -> None:
    path = tmp_path / "end.pcapng"
    with recording(by, path) as ends:
        client, server = ends.connect()
        with client, server:
            client.sendall(b"early")
            assert server.recv(100) == b"early"
            time.sleep(0.05)
            end_ns = time.time_ns()
            ends.recorder.stop(end_ns, reason="the test says so")
            assert ends.recorder.end_ns == end_ns
            if by is By.WIRE:
                client.sendall(b"late")
                assert server.recv(100) == b"late"
            ends.recorder.stop()  # again: nothing happens
            assert ends.recorder.end_ns == end_ns
    events = _events(path)
    assert [event.data for event in events if isinstance(event, Bytes)] == [b"early"]
    assert [event for event in events if isinstance(event, Closed | Reset)] == []
    with open_capture(path) as capture:
        frames = list(capture)
        assert capture.end_ns == end_ns
    assert frames[-1].time_ns < end_ns
    head = path.read_bytes()[:1000]
    assert b"Stopped because: the test says so" in head
    assert (b"A relay's record, not a capture" in head) == (by is By.RELAY)


@pytest.mark.parametrize("by", BOTH)
def test_a_recording_that_is_full_ends_before_the_packet_that_has_no_room(by: By, tmp_path: Path) -> None:
    path = tmp_path / "full.pcapng"
    with recording(by, path, max_bytes=5000) as ends:
        client, server = ends.connect()
        with client, server:
            for number in range(20):
                client.sendall(bytes([number]) * 1000)
                assert len(server.recv(1000, socket.MSG_WAITALL)) == 1000
            assert ends.recorder.wait(60) is Stopped.SIZE
            ends.recorder.stop()
    assert path.stat().st_size <= 5000 + 500
    assert ends.recorder.end_ns == ends.recorder.full_ns
    data = b"".join(event.data for event in _events(path) if isinstance(event, Bytes))
    assert data == b"".join(bytes([number]) * 1000 for number in range(len(data) // 1000))
    assert 0 < len(data) < 5000
    assert b"Stopped because: the next packet would have made the file too large" in path.read_bytes()


@pytest.mark.parametrize("by", BOTH)
def test_waiting_tells_why_to_stop(by: By, tmp_path: Path) -> None:
    path = tmp_path / "why.pcapng"
    with recording(by, path) as ends:
        assert ends.recorder.wait(1, connect_s=0.05) is Stopped.NO_CONNECTION
        assert ends.recorder.wait(1, still_coming=lambda: False) is Stopped.NO_CONNECTION
        client, server = ends.connect()
        began = time.monotonic()
        assert ends.recorder.wait(0.2) is Stopped.DEADLINE
        assert 0.2 <= time.monotonic() - began < 30
        client.close()
        assert server.recv(1) == b""
        server.close()
        # A second connection within the grace: it is not over yet.

        def again() -> None:
            client, server = ends.connect()
            time.sleep(0.2)
            client.close()
            server.close()

        threading.Timer(0.05, again).start()
        began = time.monotonic()
        assert ends.recorder.wait(60, grace_s=1) is Stopped.ENDED
        assert 1.2 <= time.monotonic() - began < 30
        assert len(ends.recorder.connections) == 2


def test_a_relay_to_nobody_resets(tmp_path: Path) -> None:
    with (
        refusing() as port,
        RelayRecorder(("127.0.0.1", port), tmp_path / "refused.pcapng") as recorder,
    ):
        with pytest.raises(ConnectionResetError):  # at once, or in connect itself
            socket.create_connection((recorder.host, recorder.port), 10).recv(1)
        until(ended(recorder))
        assert recorder.connections[0].reset_by is Side.SERVER


def test_stopping_a_relay_ends_what_it_carries(tmp_path: Path) -> None:
    with recording(By.RELAY, tmp_path / "open.pcapng") as ends:
        client, server = ends.connect()
        with client, server:
            ends.recorder.stop()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            with pytest.raises(ConnectionResetError):
                server.recv(1)
    assert [event for event in _events(tmp_path / "open.pcapng") if isinstance(event, Closed | Reset)] == []


def test_a_relay_serves_loopback_only(tmp_path: Path) -> None:
    with pytest.raises(CannotRecord, match="only loopback"):
        RelayRecorder(("192.0.2.1", 5900), tmp_path / "far.pcapng")
    with pytest.raises(CannotRecord, match="only loopback"):
        RelayRecorder(("127.0.0.1", 5900), tmp_path / "far.pcapng", host="0.0.0.0")


@pytest.mark.parametrize("by", BOTH)
def test_a_file_that_cannot_be_written_is_one_line(by: By, tmp_path: Path) -> None:
    path = tmp_path / "absent" / "x.pcapng"
    with pytest.raises(CannotRecord) as caught, recording(by, path):
        pass
    assert "No such file or directory" in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_ends_the_recording_but_not_the_conversation(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorder = RelayRecorder(listener.getsockname(), "/dev/full")
        recorder.start()
        client = socket.create_connection((recorder.host, recorder.port), 10)
        with client:
            server, _ = listener.accept()
            with server:
                client.sendall(bytes(100_000))
                assert len(server.recv(100_000, socket.MSG_WAITALL)) == 100_000
                assert recorder.wait(10) is Stopped.FAILED
                recorder.stop()
    assert recorder.failure is not None
    assert "No space left on device" in recorder.failure


def test_without_the_privilege_the_error_says_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = socket.socket

    def refuse(family: int = -1, *rest: int) -> socket.socket:
        if family == socket.AF_PACKET:
            raise PermissionError(1, "Operation not permitted")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", refuse)
    assert not can_record_wire()
    with pytest.raises(CannotRecord, match="CAP_NET_RAW") as caught:
        WireRecorder(5900, tmp_path / "x.pcapng").start()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.pcapng").exists()


def test_other_traffic_on_loopback_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "alone.pcapng"
    with recording(By.WIRE, path) as ends, socket.create_server(("127.0.0.1", 0)) as stranger:
        with socket.create_connection(stranger.getsockname()) as other:
            other.sendall(b"not ours")
        client, server = ends.connect()
        with client, server:
            client.sendall(b"ours")
            assert server.recv(100) == b"ours"
    assert [event.data for event in _events(path) if isinstance(event, Bytes)] == [b"ours"]
    assert stranger.fileno() == -1


def test_kernel_times_do_not_wait_for_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "late.pcapng"
    drain = WireRecorder._drain

    def late(self: WireRecorder, raw: socket.socket) -> None:
        time.sleep(0.3)
        drain(self, raw)

    monkeypatch.setattr(WireRecorder, "_drain", late)
    with recording(By.WIRE, path) as ends:
        client, server = ends.connect()
        with client, server:
            client.sendall(b"now")
            assert server.recv(100) == b"now"
            after = time.time_ns()
            time.sleep(0.1)
    (event,) = [event for event in _events(path) if isinstance(event, Bytes)]
    assert event.time_ns < after


@given(st.binary(max_size=120))
@example(bytes(12) + b"\x08\x00\x45" + bytes(8) + b"\x06" + bytes(10))
def test_no_frame_upsets_the_parser(frame: bytes) -> None:
    parse_tcp(frame)


def test_the_parser_reads_ipv4_and_ipv6() -> None:
    for kind, a, b in [(b"\x08\x00", "127.0.0.1", "127.0.0.2"), (b"\x86\xdd", "::1", "::2")]:
        packet = synthesise(a, 1234, b, 5900, 1, 2, 0x18, b"hello", options=b"\x01\x01\x01\x01")
        padding = b"\0" * 7  # Ethernet pads short frames; the size is the IP header's
        assert parse_tcp(bytes(12) + kind + packet + padding) == (a, 1234, b, 5900, 0x18, 5)


@pytest.mark.parametrize("by", BOTH)
def test_a_conversation_of_two_peers_is_recorded_whole(by: By, small: Lab, tmp_path: Path) -> None:
    if by is By.WIRE:
        require_wire()
    path = tmp_path / "whole.pcapng"
    recorded = record_conversation("caller", "small", path, 60, lab=small, by=by, grace_s=0.1)
    assert recorded.stopped is Stopped.ENDED
    assert recorded.by is by
    assert [line.text for line in recorded.client_output] == ["b'hello'"]
    assert recorded.client_exit is not None
    (connection,) = recorded.connections
    assert connection.sent == {Side.CLIENT: 0, Side.SERVER: 5}
    assert set(connection.closed_ns) == set(Side)
    assert recorded.started_ns < connection.opened_ns < recorded.end_ns
    assert recorded.commands["caller"][-2:] == ("127.0.0.1", str(recorded.port))
    assert b"caller to small" in path.read_bytes()
    assert [event.data for event in _events(path) if isinstance(event, Bytes)] == [b"hello"]


def test_one_server_may_serve_several_recordings(small: Lab, tmp_path: Path) -> None:
    server = small.start("small")
    for number in range(2):
        path = tmp_path / f"{number}.pcapng"
        recorded = record_conversation("caller", server, path, 60, lab=small, by=By.RELAY, grace_s=0.05)
        assert recorded.stopped is Stopped.ENDED
    assert server.alive


def test_a_client_that_never_connects_is_said_to_have_not(small: Lab, tmp_path: Path) -> None:
    small.peers["caller"] = small.peers["caller"].__class__(
        "caller",
        small.peers["caller"].role,
        ("{python}", "-c", "print('no')"),
        small.peers["caller"].protocol,
    )
    path = tmp_path / "none.pcapng"
    recorded = record_conversation("caller", "small", path, 60, lab=small, by=By.RELAY)
    assert recorded.stopped is Stopped.NO_CONNECTION
    assert recorded.connections == ()
    assert b"the client did not connect" in path.read_bytes()


def test_an_interrupt_in_the_middle_still_closes_the_file(
    small: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **kwargs: object) -> Stopped:
        raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "wait", interrupted)
    path = tmp_path / "interrupted.pcapng"
    with pytest.raises(KeyboardInterrupt):
        record_conversation("caller", "small", path, 60, lab=small, by=By.RELAY)
    with open_capture(path) as capture:
        list(capture)
        assert capture.end_declared
        assert capture.problems == []


def test_the_public_names_are_there() -> None:
    for name in record.__all__:
        assert hasattr(record, name)
