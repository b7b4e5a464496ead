# SPDX-License-Identifier: GPL-2.0-or-later
"""Peers that do what peers must not: each has its outcome in time, and nothing is left.

The same faulty servers meet the kernel's TCP and our own; the same faulty clients meet a played VNC and a
played SPICE server. What is left to chance is left to a seed.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dissect.replay.outcome import Outcome, Result
from dissect.replay.packets.carrier import Packets
from dissect.replay.packets.device import PacketsUnavailable, Tun
from dissect.replay.plan import Plan, load
from dissect.replay.player import Options, Player
from dissect.replay.serve import Served, Server
from dissect.replay.transports import Sockets, Target, resolve
from dissect.stream import Side
from tests.lab.refusing import refusing
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, record, told

DEADLINE_S = 0.5
"""When a replay is to end that does not end by itself; one that does has far longer."""
SLACK_S = 15.0
"""What a loaded machine may add, and what packets linger to close in good order: half of a peer's silence."""


def deadline_of(outcomes: set[Outcome]) -> float:
    return DEADLINE_S if Outcome.TIMEOUT in outcomes else 20


def why_not() -> str | None:
    try:
        Tun.open().close()
    except PacketsUnavailable as error:
        return error.missing
    return None


MISSING = why_not()
CARRIERS = [
    "sockets",
    pytest.param(
        "packets",
        marks=pytest.mark.skipif(MISSING is not None, reason=f"no packets of our own here: {MISSING}"),
    ),
]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "vnc.pcapng"
    record(path, CLIENT, SERVER)
    return path


@pytest.fixture(scope="module")
def spice_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "spice.pcapng"
    record(path, SPICY, SPICE)
    return path


def plan_of(capture: Path, played: Side) -> Plan:
    return load(str(capture), played)[0][0]


def left_open() -> int:
    """Descriptors of this process; a network device of ours is there as long as its descriptor."""
    gc.collect()  # what a faulty peer of these tests has left lying about is not the replay's
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# --- faulty servers

GREETING = b"RFB 003.008\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


async def resets_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def resets_after_its_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING)
    await reader.readexactly(12)
    reset(writer)


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def says_nothing_after_its_fin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write_eof()
    await asyncio.sleep(30)


async def greets_and_falls_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING)
    await asyncio.sleep(30)


async def closes_in_mid_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING[:7])
    await writer.drain()
    writer.close()


async def sends_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING)
    while True:
        writer.write(bytes(16_384))
        await writer.drain()


async def sends_a_byte_at_a_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for at in range(12):
        writer.write(GREETING[at : at + 1])
        await asyncio.sleep(1)


SERVERS: list[tuple[Handler | None, set[Outcome]]] = [
    (None, {Outcome.REFUSED}),
    (resets_at_once, {Outcome.RESET}),
    (resets_after_its_greeting, {Outcome.RESET}),
    (says_nothing, {Outcome.TIMEOUT}),
    (says_nothing_after_its_fin, {Outcome.EARLY_CLOSE}),
    (greets_and_falls_silent, {Outcome.TIMEOUT}),
    (closes_in_mid_message, {Outcome.EARLY_CLOSE}),
    (sends_for_ever, {Outcome.DIFF, Outcome.TIMEOUT, Outcome.EARLY_CLOSE}),
    (sends_a_byte_at_a_time, {Outcome.TIMEOUT}),
]


async def replay(plan: Plan, carrier: str, handler: Handler | None, deadline_s: float) -> Result:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                assert handler is not None
                await handler(reader, writer)
        finally:
            writer.transport.abort()

    async def play(port: int) -> Result:
        target = await resolve(Target.parse(f"127.0.0.1:{port}"))
        if carrier == "sockets":
            return await Sockets(target).play(Player(plan), deadline_s)
        with Packets(target) as packets:
            return await packets.play(Player(plan), deadline_s)

    if handler is None:
        with refusing() as port:
            return await play(port)
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        return await play(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    ("handler", "outcomes"),
    SERVERS,
    ids=[handler.__name__ if handler else "refuses" for handler, _ in SERVERS],
)
def test_a_faulty_server(
    capture: Path, carrier: str, handler: Handler | None, outcomes: set[Outcome]
) -> None:
    plan = plan_of(capture, Side.CLIENT)
    before = left_open()
    begun = time.monotonic()
    result = asyncio.run(replay(plan, carrier, handler, deadline_of(outcomes)))
    assert time.monotonic() - begun < DEADLINE_S + SLACK_S
    assert result.outcome in outcomes, told(result)
    assert result.reason
    assert left_open() == before


@pytest.mark.skipif(MISSING is not None, reason=f"no packets of our own here: {MISSING}")
def test_an_interrupted_replay_by_packets(capture: Path) -> None:
    async def go() -> Result:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            port = mute.getsockname()[1]
            with Packets(await resolve(Target.parse(f"127.0.0.1:{port}"))) as packets:
                asyncio.get_running_loop().call_later(0.1, packets.interrupt)
                return await packets.play(Player(plan_of(capture, Side.CLIENT)), 30)

    begun = time.monotonic()
    result = asyncio.run(go())
    assert (result.outcome, result.reason) == (Outcome.INCONCLUSIVE, "interrupted")
    assert time.monotonic() - begun < SLACK_S


# --- faulty clients

Client = Callable[[int, bytes], Awaitable[None]]
"""Takes the port, and what the recorded client sent."""


async def stays_away(port: int, stream: bytes) -> None:
    pass


async def connects_and_says_nothing(port: int, stream: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await asyncio.sleep(30)
    finally:
        writer.close()


async def leaves_at_once(port: int, stream: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def resets(port: int, stream: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(stream[:5])
    await asyncio.sleep(0.05)
    reset(writer)


async def leaves_in_mid_message(port: int, stream: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(stream[:7])
    await writer.drain()
    writer.write_eof()
    while await reader.read(4096):
        pass


async def floods(port: int, stream: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(stream[:12])
    while True:
        writer.write(b"\xfe" * 16_384)
        await writer.drain()


async def a_byte_a_second(port: int, stream: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for byte in stream:
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


CLIENTS: list[tuple[Client, set[Outcome]]] = [
    (stays_away, {Outcome.TIMEOUT}),
    (connects_and_says_nothing, {Outcome.TIMEOUT}),
    (leaves_at_once, {Outcome.EARLY_CLOSE, Outcome.RESET}),
    (resets, {Outcome.RESET}),
    (leaves_in_mid_message, {Outcome.EARLY_CLOSE}),
    (floods, {Outcome.DIFF, Outcome.TIMEOUT}),
    (a_byte_a_second, {Outcome.TIMEOUT}),
]


async def serve(plan: Plan, client: Client, deadline_s: float = DEADLINE_S) -> Served:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        visiting = asyncio.create_task(_visit(client, port, plan))
        try:
            session = await Server([plan], Options()).serve(listening, deadline_s)
        finally:
            visiting.cancel()
            await asyncio.gather(visiting, return_exceptions=True)
    [served] = session.served
    return served


async def _visit(client: Client, port: int, plan: Plan) -> None:
    with suppress(OSError):
        await client(port, b"".join(item.message.raw for item in plan.expected))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("protocol", ["vnc", "spice"])
@pytest.mark.parametrize(("client", "outcomes"), CLIENTS, ids=[client.__name__ for client, _ in CLIENTS])
def test_a_faulty_client(
    capture: Path, spice_capture: Path, protocol: str, client: Client, outcomes: set[Outcome]
) -> None:
    plan = plan_of(capture if protocol == "vnc" else spice_capture, Side.SERVER)
    before = left_open()
    begun = time.monotonic()
    served = asyncio.run(serve(plan, client, deadline_of(outcomes)))
    assert time.monotonic() - begun < DEADLINE_S + SLACK_S
    assert served.result.outcome in outcomes, told(served.result)
    assert left_open() == before


# --- by chance


class Chance:
    """A client that says a part of what the recorded one said, then does something else."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.said = 0
        self.then = self.random.choice(("close", "reset", "hang", "noise", "flood", "half-close"))
        self.piece = self.random.choice((1, 3, 1000))
        self.part = self.random.random()

    async def __call__(self, port: int, stream: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        size = round(len(stream) * self.part)
        try:
            for at in range(0, size, self.piece):
                writer.write(stream[at : min(at + self.piece, size)])
                self.said = min(at + self.piece, size)
                await writer.drain()
                await asyncio.sleep(0.001)
            match self.then:
                case "close":
                    writer.close()
                case "reset":
                    reset(writer)
                case "half-close":
                    writer.write_eof()
                    await asyncio.sleep(30)
                case "noise":
                    writer.write(self.random.randbytes(self.random.randrange(1, 5000)))
                    await asyncio.sleep(30)
                case "flood":
                    while True:
                        writer.write(self.random.randbytes(9000))
                        await writer.drain()
                case _:
                    await asyncio.sleep(30)
        finally:
            writer.close()

    def __repr__(self) -> str:
        return f"{self.said} bytes in pieces of {self.piece}, then {self.then}"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("protocol", ["vnc", "spice"])
@pytest.mark.parametrize("seed", range(2))
def test_whatever_a_client_does_it_is_over_in_time_and_no_pass(
    capture: Path, spice_capture: Path, protocol: str, seed: int
) -> None:
    plan = plan_of(capture if protocol == "vnc" else spice_capture, Side.SERVER)
    ends = list(accumulate(item.message.size for item in plan.expected))
    handshake = sum(item.message.size for item in plan.expected if item.handshake)
    clients = [Chance(1000 * seed + number) for number in range(25)]

    async def go() -> list[Served]:
        return list(await asyncio.gather(*(serve(plan, client) for client in clients)))

    before = left_open()
    begun = time.monotonic()
    found = asyncio.run(go())
    assert time.monotonic() - begun < DEADLINE_S + SLACK_S
    assert left_open() == before
    for client, served in zip(clients, found, strict=True):
        result = served.result
        if client.said < handshake or client.said not in ends or client.then == "hang":
            assert result.outcome is not Outcome.PASS, (client, told(result))
        assert result.reason, client


# --- on the command line


@pytest.mark.parametrize(
    ("words", "outcome", "code"),
    [
        (["--to", "no-such-host.invalid:5900"], "refused", 1),
        (["--to", "127.0.0.1:{closed}"], "refused", 1),
        (["--to", "127.0.0.1:{mute}", "--deadline", "0.3"], "timeout", 1),
        (["--to", "unix:/nonexistent/socket"], "refused", 1),
    ],
)
def test_outcomes_and_exit_codes_of_a_command(
    capture: Path, words: list[str], outcome: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from dissect.app.main import main

    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as mute:
        closed.bind(("127.0.0.1", 0))
        ports = {"closed": closed.getsockname()[1], "mute": mute.getsockname()[1]}
        assert main(["replay", str(capture), *(word.format(**ports) for word in words), "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["outcome"] == outcome
    assert said["compared_messages"] == 0


def test_no_descriptor_left_is_told_and_over(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    async def go() -> Result:
        target = await resolve(Target.parse("127.0.0.1:1"))
        with monkeypatch.context() as patch:
            patch.setattr("dissect.replay.transports.socket.socket", none_left)
            return await Sockets(target).play(Player(plan_of(capture, Side.CLIENT)), 1)

    result = asyncio.run(go())
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "too many open files")
