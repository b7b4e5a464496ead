# SPDX-License-Identifier: GPL-2.0-or-later
"""The bundled recordings, replayed against the programs that they were recorded from, and against others.

A real server is started once for this module, and anew only where a recorded client changes it for good (its
screen's size) or where it counts what is done to it.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dissect.lab.collection import load as load_index
from dissect.lab.lab import Lab, Running
from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import Plan, load, sessions
from dissect.replay.player import Options, Pace, Player, Shape
from dissect.replay.transports import Sockets, Target, play_session, resolve
from dissect.rfb.constants import CLIENT_MESSAGES
from tests.replay.play import told

PCAPS = Path(__file__).parent.parent.parent / "pcaps"
ENTRIES = load_index(PCAPS)
DEADLINE_S = 15
SERVERS = ("qemu-vnc", "qemu-spice", "xtigervnc", "x11vnc", "xtightvnc")
RFB_SERVERS = tuple(name for name in SERVERS if name != "qemu-spice")

WAYS = {
    "lockstep": Options(),
    "bytewise": Options(shape=Shape("bytes")),
    "coalesced": Options(shape=Shape("coalesced")),
}
EARLY = Options(early_prefix_ns=0)
RECORDED = Options(pace=Pace.RECORDED, speed=20)


Key = tuple[str, str | None, tuple[str, ...]]
"""A server's name, its password, and more arguments."""


class Servers:
    """Real servers by name, password and arguments, each started when it is first asked for."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.running: dict[Key, Running] = {}

    def get(self, name: str, password: str | None = None, arguments: tuple[str, ...] = ()) -> Running:
        key = name, password, arguments
        if key not in self.running:
            self.running[key] = self.start(*key)
        return self.running[key]

    def start(self, name: str, password: str | None = None, arguments: tuple[str, ...] = ()) -> Running:
        # Failed handshakes are what is tested here; the default counts them and gives up on the address.
        patient = "xtigervnc-patient" if name == "xtigervnc" else name
        return self.lab.start(patient, password=password, arguments=arguments)


def arguments_of(entry: dict[str, Any]) -> tuple[str, ...]:
    """What the recorded server was started with besides what it always is."""
    words = [word for word in shlex.split(entry["command"]) if word.startswith("--server-args=")]
    return tuple(shlex.split(words[0].partition("=")[2])) if words else ()


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Lab() as lab:
        yield Servers(lab)


def peers(names: Sequence[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.peer(name)) for name in names]


def plans_of(entry: dict[str, Any]) -> list[Plan]:
    plans, _ = load(str(PCAPS / entry["file"]))
    return plans


def right(entry: dict[str, Any]) -> bool:
    return all(found["verdict"] == "agreed" for found in entry["conversation"])


def entries(server: str, *, agreed: bool) -> list[dict[str, Any]]:
    return [
        entry
        for entry in ENTRIES
        if entry["server"] == server
        and right(entry) is agreed
        and "blacklist" not in entry["file"]
        and "-tls" not in entry["file"]  # an encrypted session cannot be said again
    ]


def options(entry: dict[str, Any], way: Options) -> Options:
    return replace(way, password=entry.get("client_password", entry.get("password")))


def replay(plans: list[Plan], running: Running, way: Options) -> list[Result]:
    """A whole SPICE session where there is one, else each conversation by itself."""

    async def go() -> list[Result]:
        carrier = Sockets(await resolve(Target.parse(f"{running.host}:{running.port}")))
        groups = sessions(plans)
        if groups:
            return [r for group in groups for r in await play_session(group, carrier, way, DEADLINE_S)]
        return [await carrier.play(Player(plan, way), DEADLINE_S) for plan in plans]

    return asyncio.run(go())


def changes_the_screen(plans: list[Plan]) -> bool:
    return any(step.name == CLIENT_MESSAGES[251] for plan in plans for step in plan.steps)


MISREAD = re.compile(r"closing .*: (invalid pixel format|unknown message type)")


def misread(running: Running, result: Result) -> bool:
    """Whether it is the server's own fault: Xtigervnc 1.12 misreads a SetDesktopSize that comes in pieces.

    Where less than its first eight bytes are there, `SMsgReader::readSetDesktopSize` says that it has read
    the message, and takes the rest for another: it says so in its log and closes. The bytes that it was sent
    are those of the recording.
    """
    if not running.name.startswith("xtigervnc") or result.outcome is not Outcome.EARLY_CLOSE:
        return False
    limit = time.monotonic() + 2  # its log is read by a thread
    while not (found := MISREAD.search(running.output.text)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert found, running.output.text[-2000:]
    return True


@pytest.mark.parametrize("server", peers(SERVERS))
def test_right_protocol_recordings_pass_against_their_own_server(servers: Servers, server: str) -> None:
    failed: list[str] = []
    passed = 0
    ways = dict(WAYS)
    if server != "qemu-spice":
        ways["early"] = EARLY
    if server.startswith("qemu"):
        ways["recorded"] = RECORDED
    for entry in entries(server, agreed=True):
        plans = plans_of(entry)
        for name, way in ways.items():
            start = servers.start if changes_the_screen(plans) else servers.get
            running = start(server, entry.get("password"), arguments_of(entry))
            for result in replay(plans, running, options(entry, way)):
                if result.outcome is Outcome.PASS:
                    passed += 1
                    assert result.compared_messages > 0
                elif not (name == "bytewise" and misread(running, result)):
                    failed.append(f"{entry['file']} {name} {result.channel or ''}: {told(result)}")
            if changes_the_screen(plans):
                running.stop()
    assert not failed, "\n".join(failed)
    assert passed >= len(WAYS) * 3


@pytest.mark.parametrize("server", peers(SERVERS))
def test_wrong_protocol_recordings_get_the_recorded_reaction(servers: Servers, server: str) -> None:
    async def go() -> list[tuple[str, Result]]:
        running = servers.get(server)
        carrier = Sockets(await resolve(Target.parse(f"{running.host}:{running.port}")))
        found = [(entry["file"], plan) for entry in entries(server, agreed=False) for plan in plans_of(entry)]
        players = [(name, Player(plan)) for name, plan in found]
        results = await asyncio.gather(*(carrier.play(player, DEADLINE_S) for _, player in players))
        return [(name, result) for (name, _), result in zip(players, results, strict=True)]

    results = asyncio.run(go())
    assert len(results) >= 3
    for name, result in results:
        assert result.outcome is Outcome.PASS, f"{name}: {told(result)}"
        assert result.compared_messages or result.compared_silences or result.compared_endings


CROSS = [
    (recorded, live)
    for recorded in RFB_SERVERS
    for live in RFB_SERVERS
    if recorded != live
]  # fmt: skip


@pytest.mark.parametrize(
    ("recorded", "live"), [pytest.param(*pair, marks=pytest.mark.peer(*pair)) for pair in CROSS]
)
def test_another_server_of_the_protocol_differs_by_name(servers: Servers, recorded: str, live: str) -> None:
    [entry] = [e for e in ENTRIES if e["file"] == f"vncdotool--{recorded}.pcapng"]
    [result] = replay(plans_of(entry), servers.get(live), Options())
    assert result.outcome is Outcome.DIFF, told(result)
    named = {(d.message, d.field) for d in result.differences}
    telling = {
        ("ServerInit", "framebuffer_width"),
        ("ServerInit", "server_pixel_format.true_colour_flag"),
        ("SecurityTypes", "security_types"),
    }
    assert named & telling, told(result)
    assert result.peer["protocol"] == "rfb"


@pytest.mark.peer("qemu-spice", "xtigervnc")
def test_another_protocol_is_named(servers: Servers) -> None:
    [entry] = [e for e in ENTRIES if e["file"] == "spicy-screenshot--qemu-spice.pcapng"]
    main = sessions(plans_of(entry))[0][0]
    [result] = replay_one(main, servers.get("xtigervnc"))
    assert (result.differences[0].got, result.differences[0].expected) == ("RFB", "SPICE")


def replay_one(plan: Plan, running: Running) -> list[Result]:
    async def go() -> list[Result]:
        carrier = Sockets(await resolve(Target.parse(f"{running.host}:{running.port}")))
        return [await carrier.play(Player(plan), DEADLINE_S)]

    return asyncio.run(go())


@pytest.mark.peer("xtigervnc")
def test_a_blacklist_is_met_again() -> None:
    """Eight visits, in their order, to a server that counts them."""
    [entry] = [e for e in ENTRIES if "blacklist" in e["file"]]
    plans = plans_of(entry)
    with Lab() as lab:
        running = lab.start("xtigervnc")
        results = replay(plans, running, Options())
    assert [result.outcome for result in results] == [Outcome.PASS] * len(plans), [told(r) for r in results]
    assert any(item.message.name == "FailureReason" for item in plans[-1].expected)


@pytest.mark.peer("qemu-spice")
def test_the_early_prefix_is_answered_by_a_spice_server_at_once(servers: Servers) -> None:
    [entry] = [e for e in ENTRIES if e["file"] == "gvncviewer--qemu-spice.pcapng"]
    [result] = replay(plans_of(entry), servers.get("qemu-spice"), EARLY)
    assert result.outcome is Outcome.PASS, told(result)
    assert result.lasted_ns < 1_000_000_000  # the recorded client waited for two seconds
