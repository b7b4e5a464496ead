# SPDX-License-Identifier: GPL-2.0-or-later
"""Players on sockets: each thing that can go wrong has its outcome, nothing hangs, nothing leaks."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dissect.lab.models import (
    Change,
    Cut,
    Endless,
    Fault,
    Late,
    Omit,
    Parting,
    VncServer,
    serving,
)
from dissect.lab.models import (
    Pace as ModelPace,
)
from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import Plan, load
from dissect.replay.player import Options, Player
from dissect.replay.transports import (
    NotAllowed,
    Sockets,
    Tape,
    Target,
    play_many,
    play_session,
    raise_file_limit,
    resolve,
)
from tests.lab.refusing import refusing
from tests.replay.play import CLIENT, SERVER, SPICE, SPICY, play_at, record, told


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    [found] = record(tmp_path_factory.mktemp("rfb") / "a.pcapng", CLIENT, SERVER)
    return found


@pytest.fixture(autouse=True)
def _no_descriptor_leaks() -> Iterator[None]:
    """After every test here there are as many open descriptors as before."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count
    yield
    limit = time.monotonic() + 20
    while (now := len(os.listdir("/proc/self/fd"))) > before and time.monotonic() < limit:  # noqa: PTH208
        time.sleep(0.01)
    assert now <= before


@contextmanager
def listening(
    serve: Callable[[socket.socket], None], family: int = socket.AF_INET, path: str = ""
) -> Iterator[str]:
    """Something that listens and does `serve` with the first that comes; gives its address."""
    with socket.socket(family) as listener:
        listener.bind(
            path if family == socket.AF_UNIX else ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)
        )
        listener.listen(16)
        over = threading.Event()

        def work() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    serve(connection)
                except OSError:
                    pass
                over.wait(10)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            if family == socket.AF_UNIX:
                yield f"unix:{path}"
            else:
                host, port = listener.getsockname()[:2]
                yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def play_to(
    plan: Plan, to: str, deadline_s: float, options: Options | None = None, tape: Tape | None = None
) -> Result:
    async def go() -> Result:
        target = await resolve(Target.parse(to))
        return await Sockets(target, tape).play(Player(plan, options), deadline_s)

    began = time.monotonic()
    result = asyncio.run(go())
    assert time.monotonic() - began < deadline_s + 8, "past its deadline"  # before its peer gives up
    return result


# --- Each thing that goes wrong -------------------------------------------------------------------------


def test_refused(plan: Plan) -> None:
    with refusing() as port:
        result = play_to(plan, f"127.0.0.1:{port}", 20)
    assert (result.outcome, result.reason, result.sent_bytes) == (Outcome.REFUSED, "connection refused", 0)


def test_no_such_unix_socket(plan: Plan, tmp_path: Path) -> None:
    assert play_to(plan, f"unix:{tmp_path}/none", 20).reason == "no such file or directory"


def test_reset(plan: Plan) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"RFB 003.008\n")
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with listening(serve) as to:
        result = play_to(plan, to, 30)
    assert result.outcome is Outcome.RESET, told(result)
    assert result.compared_messages == 1


def test_half_open(plan: Plan) -> None:
    """It accepts and says nothing, for ever."""
    with listening(lambda connection: None) as to:
        result = play_to(plan, to, 0.5)
    assert result.outcome is Outcome.TIMEOUT
    assert "ProtocolVersion was still to come" in result.reason


def test_a_peer_whose_backlog_is_full_is_a_timeout(plan: Plan) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(listener.getsockname())
            result = play_to(plan, f"127.0.0.1:{listener.getsockname()[1]}", 0.5)
    assert result.outcome is Outcome.TIMEOUT, told(result)


@pytest.mark.parametrize("filler", [b"\0", b"\x02", b"\xff"], ids=["updates", "bells", "nonsense"])
def test_a_peer_that_sends_for_ever(plan: Plan, filler: bytes) -> None:
    with serving(replace(SERVER, faults=(Endless("ServerInit", filler),))) as server:
        began = time.monotonic()
        result = play_at(plan, server.host, server.port, deadline_s=0.5)
    assert time.monotonic() - began < 30
    assert result.outcome in (Outcome.DIFF, Outcome.TIMEOUT, Outcome.PASS), told(result)
    assert result.outcome is not Outcome.PASS or filler == b"\0", told(result)


def test_one_byte_a_second(plan: Plan) -> None:
    with serving(replace(SERVER, pace=ModelPace(1, 1_000_000_000))) as server:
        result = play_at(plan, server.host, server.port, deadline_s=1.5)
    assert result.outcome is Outcome.TIMEOUT
    assert 0 < result.received_bytes < 12


def test_a_peer_that_closes_in_mid_message(plan: Plan) -> None:
    with serving(replace(SERVER, faults=(Cut("ServerInit", 20),))) as server:
        result = play_at(plan, server.host, server.port)
    assert result.outcome is Outcome.EARLY_CLOSE, told(result)


def test_a_name_that_is_none() -> None:
    async def go() -> None:
        await resolve(Target.parse("nosuchhost.invalid:5900"))

    with pytest.raises(OSError, match=r"."):
        asyncio.run(go())


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "0.0.0.0", "169.254.1.1"])
def test_other_hosts_must_be_allowed_by_name(host: str) -> None:
    target = Target.parse(f"[{host}]:5900" if ":" in host else f"{host}:5900")
    with pytest.raises(NotAllowed, match=f"--allow-host {host}"):
        asyncio.run(resolve(target))
    allowed = asyncio.run(resolve(target, [host]))
    assert allowed.address is not None
    assert allowed.address[1] == (host, 5900)


@pytest.mark.parametrize(
    "text", ["", "5900", "host:", ":5900", "host:0", "host:99999", "::1:5900", "unix:", "a:b"]
)
def test_targets_that_are_none(text: str) -> None:
    with pytest.raises(NotAllowed):
        Target.parse(text)


def test_localhost_is_loopback() -> None:
    address = asyncio.run(resolve(Target.parse("localhost:5900"))).address
    assert address is not None
    assert address[1][0] in ("127.0.0.1", "::1")


# --- Where to ---------------------------------------------------------------------------------------------


def relay(port: int) -> Callable[[socket.socket], None]:
    """Carry a connection on to a model server."""

    def serve(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as onward:

            def back() -> None:
                while data := onward.recv(65536):
                    connection.sendall(data)

            thread = threading.Thread(target=back, daemon=True)
            thread.start()
            while data := connection.recv(65536):
                onward.sendall(data)
            onward.shutdown(socket.SHUT_WR)
            thread.join(5)

    return serve


def test_unix_sockets_and_ipv6(plan: Plan, tmp_path: Path) -> None:
    with serving(SERVER) as server, listening(relay(server.port), socket.AF_UNIX, str(tmp_path / "s")) as to:
        assert play_to(plan, to, 5).outcome is Outcome.PASS
    with serving(SERVER, "::1") as server:
        assert play_to(plan, f"[::1]:{server.port}", 5).outcome is Outcome.PASS


@pytest.mark.program("tshark")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_is_recorded_is_read_by_us_and_by_tshark(plan: Plan, tmp_path: Path, host: str) -> None:
    path = tmp_path / "out.pcapng"
    with serving(SERVER, host) as server:
        tape = Tape(path)
        result = play_to(
            plan, f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}", 5, tape=tape
        )
        tape.close()
    [again], problems = load(str(path))
    assert problems == []
    assert len(again.stream) == result.sent_bytes
    assert again.peer_bytes == result.received_bytes
    assert (again.end.side, again.end.how) == (again.played, "close")
    fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "tcp.flags.str", "-e", "_ws.expert"]
    shown = subprocess.run(["tshark", "-r", path, *fields], capture_output=True, text=True, check=True).stdout
    assert "Malformed" not in shown
    assert len(shown.splitlines()) > 8
    assert len(shown.split()[0].partition(".")[2]) == 9  # nanoseconds


# --- Many -------------------------------------------------------------------------------------------------


def many(
    plan: Plan, to: str, repeat: int, parallel: int, deadline_s: float
) -> tuple[Counter[Outcome], Sockets]:
    outcomes: Counter[Outcome] = Counter()

    async def go() -> Sockets:
        carrier = Sockets(await resolve(Target.parse(to)))

        async def play(number: int) -> Sequence[Result]:
            return [await carrier.play(Player(plan), deadline_s)]

        def done(number: int, results: Sequence[Result]) -> None:
            outcomes.update(result.outcome for result in results)

        await play_many(play, repeat, parallel, done)
        return carrier

    return outcomes, asyncio.run(go())


def test_a_thousand_replays_with_bounded_sockets(plan: Plan) -> None:
    with serving(SERVER) as server:
        outcomes, carrier = many(plan, f"127.0.0.1:{server.port}", 1000, 50, 20)
        assert server.wait_for(1000, 10)
    assert outcomes == {Outcome.PASS: 1000}
    assert carrier.most_open <= 50
    assert carrier.open == 0


def test_a_peer_that_hangs_delays_nobody(plan: Plan) -> None:
    """Every tenth connection is accepted and never answered."""

    async def go() -> list[Result]:
        count = 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal count
            count += 1
            if count % 10 == 1:
                await reader.read()
            else:
                onward_reader, onward = await asyncio.open_connection(model.host, model.port)

                async def back() -> None:
                    while data := await onward_reader.read(65536):
                        writer.write(data)

                task = asyncio.create_task(back())
                while data := await reader.read(65536):
                    onward.write(data)
                onward.close()
                await task
            writer.close()

        listener = await asyncio.start_server(handle, "127.0.0.1", 0)
        carrier = Sockets(await resolve(Target.parse(f"127.0.0.1:{listener.sockets[0].getsockname()[1]}")))
        results: list[Result] = []

        async def play(number: int) -> Sequence[Result]:
            return [await carrier.play(Player(plan), 2.5)]

        def done(number: int, found: Sequence[Result]) -> None:
            results.extend(found)

        await play_many(play, 60, 60, done)
        listener.close()
        return results

    with serving(SERVER) as model:
        results = asyncio.run(go())
    assert Counter(result.outcome for result in results) == {Outcome.PASS: 54, Outcome.TIMEOUT: 6}
    # Those that wait in vain are the last to end: nobody waited for them.
    assert [result.outcome for result in results[54:]] == [Outcome.TIMEOUT] * 6


def test_interrupted(plan: Plan) -> None:
    async def go() -> Result:
        carrier = Sockets(await resolve(Target.parse(to)))
        asyncio.get_running_loop().call_later(0.2, carrier.interrupt)
        return await carrier.play(Player(plan), 30)

    with listening(lambda connection: None) as to:
        result = asyncio.run(go())
    assert (result.outcome, result.reason) == (Outcome.INCONCLUSIVE, "interrupted")


def test_interrupted_while_it_connects(plan: Plan) -> None:
    async def go(port: int) -> Result:
        carrier = Sockets(await resolve(Target.parse(f"127.0.0.1:{port}")))
        asyncio.get_running_loop().call_later(0.2, carrier.interrupt)
        return await carrier.play(Player(plan), 30)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(listener.getsockname())
            began = time.monotonic()
            result = asyncio.run(go(listener.getsockname()[1]))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert time.monotonic() - began < 25  # of the 30 that it had


def test_a_session_whose_main_channel_is_refused(tmp_path: Path) -> None:
    plans = record(tmp_path / "a.pcapng", SPICY, SPICE)

    async def go(port: int) -> list[Result]:
        target = await resolve(Target.parse(f"127.0.0.1:{port}"))
        return await play_session(plans, Sockets(target), Options(), 20)

    with refusing() as port:
        results = asyncio.run(go(port))
    assert [result.outcome for result in results] == [
        Outcome.REFUSED,
        Outcome.INCONCLUSIVE,
        Outcome.INCONCLUSIVE,
    ]
    assert results[1].reason == "its main channel ended before it could be opened"


def test_a_fault_of_ours_is_no_answer(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Player, data: bytes, now: int) -> list[object]:
        raise ZeroDivisionError

    monkeypatch.setattr(Player, "received", broken)
    with serving(SERVER) as server, pytest.raises(ZeroDivisionError):
        play_at(plan, server.host, server.port)


def test_the_limit_of_files_is_raised() -> None:
    assert raise_file_limit(100) >= 164


# --- Faults by chance -------------------------------------------------------------------------------------

MESSAGES = ["ProtocolVersion", "SecurityTypes", "SecurityResult", "ServerInit", "FramebufferUpdate"]


def faulty(number: int) -> VncServer:
    """A server with one or two faults, the same for the same number."""
    chance = random.Random(number)
    faults: list[Fault] = []
    for _ in range(chance.randint(1, 2)):
        message = chance.choice(MESSAGES)
        match chance.randrange(5):
            case 0:
                faults.append(Omit(message))
            case 1:
                faults.append(Cut(message, chance.randrange(12), chance.choice(list(Parting))))
            case 2:
                faults.append(Endless(message, bytes([chance.randrange(256)])))
            case 3:
                faults.append(Late(message, chance.randrange(200_000_000)))
            case _:
                faults.append(Change("ServerInit", "framebuffer_width", chance.randrange(1, 60)))
    pace = ModelPace(chance.randint(1, 5), chance.randrange(2_000_000)) if chance.random() < 0.3 else None
    return replace(SERVER, faults=tuple(faults), pace=pace, seed=number)


@pytest.mark.parametrize("seed", range(4))
def test_no_fault_hangs_a_replay_or_passes_unseen(plan: Plan, seed: int) -> None:
    async def go() -> list[tuple[VncServer, Result]]:
        from dissect.lab.models import serve

        found: list[tuple[VncServer, Result]] = []

        async def one(number: int) -> None:
            model = faulty(1000 * seed + number)
            async with await serve(model) as served:
                carrier = Sockets(await resolve(Target.parse(f"127.0.0.1:{served.port}")))
                found.append((model, await carrier.play(Player(plan), 1)))

        await asyncio.gather(*(one(number) for number in range(25)))
        return found

    began = time.monotonic()
    found = asyncio.run(go())
    assert time.monotonic() - began < 60
    assert len(found) == 25
    for model, result in found:
        harmless = all(
            isinstance(fault, Late) or (isinstance(fault, Endless) and fault.message == "FramebufferUpdate")
            for fault in model.faults
        )
        if result.outcome is Outcome.PASS:
            allowed = harmless or all(
                isinstance(fault, Late)
                or (
                    isinstance(fault, Endless)
                    and (fault.filler == b"\0" or fault.message == "FramebufferUpdate")
                )
                or (
                    isinstance(fault, Cut)
                    and fault.message == "FramebufferUpdate"
                    and fault.then is Parting.HANG
                )
                for fault in model.faults
            )
            assert allowed, (model.faults, told(result))
