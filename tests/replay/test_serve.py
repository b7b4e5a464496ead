# SPDX-License-Identifier: GPL-2.0-or-later
"""The server's side of recordings, played to model clients."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dissect.lab.models import (
    Change,
    Model,
    Omit,
    PairResult,
    Parting,
    Speaks,
    SpiceClient,
    SpiceServer,
    VncClient,
    meet,
)
from dissect.replay.outcome import Outcome
from dissect.replay.plan import Plan, load, sessions
from dissect.replay.player import Options, Shape
from dissect.replay.serve import Served, Server, Session
from dissect.replay.transports import Tape
from dissect.stream import Side
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, record, told


@pytest.fixture(scope="module")
def vnc(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("serve") / "vnc.pcapng"
    return record(path, CLIENT, SERVER, played=Side.SERVER)[0]


@pytest.fixture(scope="module")
def spice(tmp_path_factory: pytest.TempPathFactory) -> list[Plan]:
    path = tmp_path_factory.mktemp("serve") / "spice.pcapng"
    [group] = sessions(record(path, SPICY, SPICE, played=Side.SERVER))
    return group


def serve(
    plans: list[Plan],
    visit: Callable[[int], object],
    options: Options | None = None,
    deadline_s: float = 30,
    tape: Tape | None = None,
) -> tuple[Session, object]:
    """Serve `plans`; `visit(port)` runs in a thread meanwhile. Returns what both came to."""

    async def go() -> tuple[Session, object]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = Server(plans, options or Options(), tape)
            visiting = asyncio.create_task(asyncio.to_thread(visit, listening.getsockname()[1]))
            session = await server.serve(listening, deadline_s)
            return session, await visiting

    return asyncio.run(go())


def models(model: Model) -> Callable[[int], PairResult]:
    return lambda port: meet(model, "127.0.0.1", port, 30)


def serve_one(plan: Plan, model: Model, options: Options | None = None, deadline_s: float = 30) -> Served:
    session, _ = serve([plan], models(model), options, deadline_s)
    [served] = session.served
    return served


@pytest.mark.parametrize(
    "shape",
    [Shape(), Shape("bytes", gap_ns=0), Shape("coalesced"), Shape("split", (4, 8, 1))],
    ids=lambda s: s.kind,
)
def test_the_recorded_client_is_known_again(vnc: Plan, shape: Shape) -> None:
    session, met = serve([vnc], models(CLIENT), Options(shape=shape))
    [served] = session.served
    assert served.result.outcome is Outcome.PASS, told(served.result)
    assert served.result.compared_messages == len(vnc.expected)
    assert isinstance(met, PairResult)
    assert not met.clients[0].violations()
    assert met.clients[0].received == len(vnc.stream)
    assert served.address.startswith("127.0.0.1:")
    assert all(live == recorded for live, recorded in served.messages.values()), served.messages
    assert served.messages["ProtocolVersion"] == (1, 1)


@pytest.mark.parametrize(
    ("fault", "message", "field"),
    [
        (Change("ClientInit", "shared_flag", 0), "ClientInit", "shared_flag"),
        (Change("SetEncodings", "encoding_types", [0, 1]), "SetEncodings", "encoding_types"),
        (Omit("SetEncodings"), "SetEncodings", "(message)"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else type(value).__name__,
)
def test_a_client_that_does_otherwise_is_caught(
    vnc: Plan, fault: Change | Omit, message: str, field: str
) -> None:
    missing = Outcome.TIMEOUT  # in lockstep what does not come is awaited
    served = serve_one(vnc, replace(CLIENT, faults=(fault,)), deadline_s=2 if isinstance(fault, Omit) else 30)
    assert served.result.outcome is (missing if isinstance(fault, Omit) else Outcome.DIFF), told(
        served.result
    )
    assert served.messages["SetEncodings"] == (0 if isinstance(fault, Omit) else 1, 1)
    assert (message, field) in [(d.message, d.field) for d in served.result.differences], told(served.result)


def test_how_and_when_the_client_left(vnc: Plan) -> None:
    def close_early(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.recv(12)
            time.sleep(0.05)

    session, _ = serve([vnc], close_early)
    [served] = session.served
    assert served.result.outcome is Outcome.EARLY_CLOSE, told(served.result)
    assert served.ended == "close"
    assert served.ended_ns is not None
    assert 40_000_000 < served.ended_ns < 30_000_000_000


def test_a_reset_is_no_close(vnc: Plan) -> None:
    def reset(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.recv(12)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    session, _ = serve([vnc], reset)
    [served] = session.served
    assert (served.result.outcome, served.ended) == (Outcome.RESET, "reset")


def test_a_client_of_the_other_protocol(vnc: Plan) -> None:
    served = serve_one(vnc, SPICY, deadline_s=2)
    assert served.result.outcome is Outcome.DIFF, told(served.result)
    assert any("SPICE" in str(d.got) for d in served.result.differences), told(served.result)


def test_a_message_that_was_answered_half_is_answered_half(tmp_path: Path) -> None:
    """`RFB ` and no more: the old SPICE server's error is due after four bytes, not after twelve."""
    early = VncClient(speaks=Speaks.AFTER_SILENCE, silence_ns=20_000_000)
    [plan] = record(tmp_path / "early.pcapng", early, SpiceServer(), played=Side.SERVER)
    assert plan.peer_bytes == 4
    session, met = serve([plan], models(early))
    [served] = session.served
    assert served.result.outcome is Outcome.PASS, told(served.result)
    assert served.result.compared_messages == 1
    assert isinstance(met, PairResult)
    assert met.clients[0].received == len(plan.stream)


def test_nobody_comes(vnc: Plan) -> None:
    session, _ = serve([vnc], lambda port: None, deadline_s=0.2)
    [served] = session.served
    assert (served.result.outcome, served.address) == (Outcome.TIMEOUT, "")
    assert served.result.reason == "no client connected by the deadline"
    assert served.result.compared_messages == 0


def test_told_that_nobody_will_come(vnc: Plan) -> None:
    async def go() -> Session:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = Server([vnc], Options())
            assert server.waiting
            asyncio.get_running_loop().call_later(0.05, server.stop, "it has died")
            return await server.serve(listening, 30)

    [served] = asyncio.run(go()).served
    assert (served.result.outcome, served.result.reason) == (Outcome.INCONCLUSIVE, "it has died")


def test_a_silent_client_ends_at_the_deadline(vnc: Plan) -> None:
    def wait(port: int) -> float:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            begun = time.monotonic()
            sock.settimeout(10)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            return time.monotonic() - begun

    session, lasted = serve([vnc], wait, deadline_s=0.4)
    [served] = session.served
    assert served.result.outcome is Outcome.TIMEOUT, told(served.result)
    assert "ProtocolVersion was still to come from the client" in served.result.reason
    assert isinstance(lasted, float)
    assert lasted < 9


def test_who_comes_too_many_is_closed_and_counted(vnc: Plan) -> None:
    def two(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.recv(12)
            with socket.create_connection(("127.0.0.1", port)) as second:
                second.settimeout(30)
                return second.recv(10)

    session, got = serve([vnc], two)
    assert got == b""
    assert session.refused == 1
    assert len(session.served) == 1


# --- a SPICE session


def test_a_whole_session_is_played(spice: list[Plan]) -> None:
    session, met = serve(spice, models(SPICY))
    assert [one.result.outcome for one in session.served] == [Outcome.PASS] * len(spice), [
        told(one.result) for one in session.served
    ]
    assert [one.result.channel for one in session.served] == ["main", "display", "inputs"]
    assert isinstance(met, PairResult)
    assert len(met.clients) == len(spice)


def test_a_channel_that_nobody_opens_is_said(spice: list[Plan]) -> None:
    only_display = SpiceClient(channels=((2, 0),), lasts_ns=50_000_000)
    session, _ = serve(spice, models(only_display), deadline_s=3)
    by_name = {one.result.channel: one.result for one in session.served}
    assert by_name["inputs"].outcome is Outcome.TIMEOUT
    assert by_name["inputs"].reason == "no client opened the inputs channel"
    assert by_name["display"].outcome is Outcome.PASS, told(by_name["display"])


def test_a_channel_that_the_recording_lacks_is_refused(spice: list[Plan]) -> None:
    session, _ = serve(spice[:1], models(SPICY))
    assert session.refused == 2
    session, _ = serve(spice[:2], models(SPICY))
    assert session.refused == 1


def test_the_session_is_recorded(spice: list[Plan], tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    tape = Tape(path)
    session, _ = serve(spice, models(SPICY), tape=tape)
    tape.close()
    plans, problems = load(str(path), Side.SERVER)
    assert not problems
    assert sorted(plan.stream for plan in plans) == sorted(plan.stream for plan in spice)
    assert {one.address for one in session.served} == {plan.client for plan in plans}


def test_no_descriptor_is_left(vnc: Plan, spice: list[Plan]) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    serve([vnc], models(CLIENT))
    before = descriptors()
    for _ in range(3):
        serve([vnc], models(CLIENT))
        serve([vnc], lambda port: None, deadline_s=0.05)
        serve(spice, models(replace(SPICY, parting=Parting.RESET)), deadline_s=2)
    assert descriptors() == before
