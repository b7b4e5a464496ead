# SPDX-License-Identifier: GPL-2.0-or-later
"""Model peers on loopback sockets: what the simulated wire promised, with a kernel in between."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dissect.capture.conversations import read
from dissect.capture.files import open_capture
from dissect.dissection.reading import dissect
from dissect.lab.errors import LabError
from dissect.lab.models import (
    Change,
    Cut,
    Endless,
    How,
    Model,
    Parting,
    Speaks,
    SpiceClient,
    SpiceServer,
    VncClient,
    VncServer,
    beside,
    connect,
    meet,
    pair,
    run_pair,
    serve,
    serving,
    simulate,
    through,
)
from dissect.lab.models.driver import Recording, _Link
from dissect.stream import Side
from tests.lab.conftest import require_wire
from tests.lab.refusing import refusing

VNC = VncServer(width=8, height=6)
OLD, NEW = SpiceServer(judges_after=16), SpiceServer()
QUIET, AT_ONCE = VncClient(), VncClient(speaks=Speaks.AT_ONCE)
EARLY_SOON = VncClient(speaks=Speaks.AFTER_SILENCE, silence_ns=50_000_000)
SPICE = SpiceClient(lasts_ns=0)
CLIENTS = {"quiet": QUIET, "at-once": AT_ONCE, "after-silence": EARLY_SOON, "spice": SPICE}
SERVERS = {"vnc": VNC, "before": OLD, "after": NEW}
HANG = {("quiet", "before"), ("quiet", "after"), ("at-once", "before"), ("after-silence", "before")}


@pytest.fixture(autouse=True)
def _nothing_left() -> None:
    """No process is started here, so none is looked for after each of these many small tests."""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_sockets_do_what_the_simulation_does(client: str, server: str) -> None:
    hangs = (client, server) in HANG
    real = run_pair(CLIENTS[client], SERVERS[server], 1 if hangs else 60)
    simulated = simulate(CLIENTS[client], SERVERS[server], 20)
    assert (real.ended_by is None) is hangs
    assert real.ended_by is simulated.ended_by
    assert real.client.said == simulated.client.said
    assert real.server is not None
    assert simulated.server is not None
    assert real.server.said == simulated.server.said
    # MAIN_INIT and the tickets are random, but of one size.
    assert (real.client.sent, real.server.sent) == (simulated.client.sent, simulated.server.sent)
    for side in Side:
        # How the two sides' messages interleave depends on what came in one segment.
        names = [[m.name for m in one.client.messages(side=side)] for one in (real, simulated)]
        assert names[0] == names[1]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_one_byte_at_a_time(client: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides get every byte by itself, whatever the kernel has joined."""
    whole = _Link.data_received

    def bytewise(self: _Link, data: bytes) -> None:
        for start in range(len(data)):
            whole(self, data[start : start + 1])

    monkeypatch.setattr(_Link, "data_received", bytewise)
    test_sockets_do_what_the_simulation_does(client, server)


def test_times_are_of_one_clock_and_in_order() -> None:
    began = time.monotonic_ns()
    result = run_pair(EARLY_SOON, NEW, 60)
    ended = time.monotonic_ns()
    assert result.server is not None
    assert result.ending is not None
    times = [
        began,
        result.client.opened_ns or 0,
        (result.client.first_sent_ns or 0),
        (result.server.first_received_ns or 0),
        result.ending.time_ns,
        ended,
    ]
    assert times == sorted(times)
    assert times[2] - times[1] >= EARLY_SOON.silence_ns
    assert result.after_ns is not None
    assert result.after_ns < 20_000_000_000
    assert [word.time_ns <= ended for word in result.client.words] == [True]


@pytest.mark.parametrize(
    ("server", "how"),
    [
        (VNC, How.CLOSE),
        (replace(VNC, parting=Parting.RESET), How.RESET),
        (replace(VNC, parting=Parting.HALF_CLOSE), How.CLOSE),
    ],
)
def test_how_an_end_looks_from_the_other_side(server: Model, how: How) -> None:
    result = run_pair(SPICE, server, 0.5)
    assert result.ended_by is Side.SERVER
    assert result.client.ending is not None
    assert (result.client.ending.how, result.client.ending.mine) == (how, False)


def test_unread_bytes_turn_a_close_into_a_reset() -> None:
    with serving(replace(NEW, looks_for_websocket=False)) as server:
        for data, how in ((b"RFB ", b""), (b"RFB 003.008\n", None)):
            with socket.create_connection((server.host, server.port), 10) as connection:
                connection.sendall(data)
                reply = connection.recv(194, socket.MSG_WAITALL)
                assert (len(reply), reply[16]) == (194, 2)
                if how is None:
                    with pytest.raises(ConnectionResetError):
                        connection.recv(1)
                else:
                    assert connection.recv(1) == how


def test_an_end_in_mid_message() -> None:
    result = run_pair(QUIET, replace(VNC, faults=(Cut("ServerInit", 5, Parting.RESET),)), 60)
    assert result.client.said == ["the server reset the connection"]
    assert result.client.messages("ServerInit")[0].size == 5


def test_nobody_listens() -> None:
    with refusing() as port:
        result = meet(QUIET, "127.0.0.1", port, 60)
    assert result.client.ending is not None
    assert result.client.ending.how is How.REFUSED
    assert result.client.said == ["connection refused"]
    assert result.ended_by is None
    assert result.server is None


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "example.org", "::"])
def test_only_loopback(host: str) -> None:
    with pytest.raises(LabError, match="not a loopback address"):
        meet(QUIET, host, 5900, 1)
    with pytest.raises(LabError, match="not a loopback address"), serving(VNC, host):
        pass


def test_ipv6() -> None:
    result = run_pair(QUIET, VNC, 60, host="::1")
    assert result.client.said == ["done: 1 updates"]


def test_a_reverse_connection() -> None:
    """The RFB server opens the TCP connection."""
    result = run_pair(VNC, QUIET, 60)
    assert (result.client.role, result.client.opened_by_me) == (Side.SERVER, True)
    assert result.server is not None
    assert result.server.said == ["done: 1 updates"]
    assert result.ended_by is Side.SERVER, "by who accepted, which is the viewer here"


def test_a_fault_of_the_model_is_not_taken_for_an_answer() -> None:
    wrong = replace(VNC, faults=(Change("ServerInit", "colour", 1),))
    with pytest.raises(LabError, match="VncServer failed: ValueError: ServerInit has no field 'colour'"):
        run_pair(QUIET, wrong, 5)


def test_a_session_of_three_connections() -> None:
    client = SpiceClient(channels=((2, 0), (3, 0)), password="xyz")
    result = run_pair(client, replace(NEW, password="xyz"), 60)
    assert len(result.clients) == len(result.servers) == 3
    assert {report.state for report in result.clients + result.servers} == {"messages"}
    assert result.clients[2].messages("SPICE_MSG_INPUTS_INIT")


def test_a_server_in_the_background_and_who_came() -> None:
    with serving(VNC) as server:
        for _ in range(3):
            assert meet(QUIET, server.host, server.port, 60).client.said == ["done: 1 updates"]
        assert server.wait_for(3, 60)
        assert not server.wait_for(4, 0.05)
        assert [report.said for report in server.reports] == [["the client closed the connection"]] * 3


def test_a_deadline_is_kept_and_is_no_ending() -> None:
    began = time.monotonic()
    result = run_pair(QUIET, OLD, 0.2)
    assert time.monotonic() - began < 30
    assert result.client.ending is None
    assert result.server is not None
    assert result.server.ending is None


# --- Recorders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [through, beside])
def test_a_recorder_between_or_beside(make: Callable[..., Recording], tmp_path: Path) -> None:
    if make is beside:
        require_wire()
    path = tmp_path / "conversation.pcapng"
    result = run_pair(AT_ONCE, NEW, 60, recording=make(str(path), comment="a model of each"))
    assert result.ended_by is Side.SERVER
    with open_capture(str(path)) as capture:
        [dissected] = dissect(read(capture))
    found = dissected.verdict.to_json("conversation.pcapng")
    assert found["verdict"] == "wrong-protocol"
    assert (found["client_spoke"], found["server_spoke"]) == ("rfb", "spice")
    assert (found["server_detect"]["by"], found["server_detect"]["bytes"]) == ("error-reply", 4)
    assert (found["client_detect"]["by"], found["client_detect"]["bytes"]) == ("close", 194)
    assert found["detected_first"] == "server"


# --- Many -------------------------------------------------------------------------------------------------


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} descriptors, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_at_once() -> None:
    """All stand at the same time; one that is stuck in every way delays nobody."""
    count = 1000

    async def go() -> tuple[float, int]:
        async with await serve(replace(VNC, width=4, height=4)) as server:
            stuck = await connect(VncClient(updates=None), server.host, server.port)
            silent = socket.create_connection((server.host, server.port))
            began = time.monotonic()
            client = VncClient(updates=None)
            linked = [await connect(client, server.host, server.port) for _ in range(count)]
            for one in linked:
                while not one.report.messages("FramebufferUpdate"):
                    await asyncio.sleep(0.05)
                    assert time.monotonic() - began < 200
            took = time.monotonic() - began
            standing = server.connections
            for one in (*linked, stuck):
                await one.close()
            silent.close()
            await server.wait_for(count + 2)
            return took, standing

    with many_descriptors(2 * count + 200):
        took, standing = asyncio.run(go())
    assert standing == count + 2
    assert took < 200  # one that waits for another would wait for ever


def test_an_endless_sender_to_one_that_does_not_read() -> None:
    """What is sent to a socket that nobody empties is bounded."""
    model = replace(VNC, faults=(Endless("ProtocolVersion", b"x"),))
    with serving(model) as server, socket.create_connection((server.host, server.port)):
        sizes = []
        for _ in range(200):
            sizes.append(server.reports[0].sent if server.reports else 0)
            if len(sizes) > 5 and sizes[-1] > 0 and len(set(sizes[-5:])) == 1:
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"it never stopped: {sizes[-1]} bytes")
        assert sizes[-1] < 64 << 20


def test_pair_runs_beside_others_in_one_loop() -> None:
    async def go() -> list[str]:
        results = await asyncio.gather(
            pair(QUIET, VNC, 60), pair(QUIET, OLD, 0.3), pair(AT_ONCE, NEW, 60), pair(SPICE, NEW, 60)
        )
        return [str(result.ended_by) for result in results]

    assert asyncio.run(go()) == ["client", "None", "server", "client"]


def test_importing_the_lab_loads_no_model() -> None:
    import subprocess
    import sys

    code = "import sys, dissect.lab; sys.exit('asyncio' in sys.modules or 'scapy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ}).returncode == 0
