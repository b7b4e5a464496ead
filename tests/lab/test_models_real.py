# SPDX-License-Identifier: GPL-2.0-or-later
"""Model peers with real programs: the models speak what the programs speak, right and wrong."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import replace

import pytest

from dissect.lab.lab import Lab
from dissect.lab.models import (
    How,
    Model,
    Report,
    Speaks,
    SpiceClient,
    SpiceServer,
    VncClient,
    VncServer,
    meet,
    serving,
)
from dissect.lab.models.driver import Background
from dissect.stream import Side

DEADLINE_S = 30.0
QUIET, AT_ONCE = VncClient(), VncClient(speaks=Speaks.AT_ONCE)
SPICE = SpiceClient(channels=((2, 0), (3, 0)))
VNC = VncServer(width=64, height=48)


def peers(*names: str) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.peer(name)) for name in names]


def talk(lab: Lab, client: Model, server: str, *, password: str | None = None) -> tuple[Report, ...]:
    """Let a model client talk to a real server; its reports."""
    running = lab.start(server, password=password)
    assert running.port is not None
    return meet(client, running.host, running.port, DEADLINE_S).clients


def await_true(true: object, seconds: float = DEADLINE_S) -> None:
    assert callable(true)
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


# --- Model clients, real servers --------------------------------------------------------------------------


@pytest.mark.parametrize("server", peers("qemu-vnc", "xtigervnc", "xtightvnc", "x11vnc"))
def test_a_model_vnc_client_gets_a_picture(server: str) -> None:
    """Also the one that sends `RFB ` at once: the proposal breaks none of these."""
    with Lab() as lab:
        running = lab.start(server)
        assert running.port is not None
        reports = [meet(one, running.host, running.port, DEADLINE_S).client for one in (QUIET, AT_ONCE)]
    for report in reports:
        assert report.said == ["done: 1 updates"]
        assert not report.violations()
        init, update = report.messages("ServerInit")[0], report.messages("FramebufferUpdate")[0]
        raw = [one for one in update.extra["rectangles"] if one["encoding_type"] == 0]
        pixels = sum(one["width"] * one["height"] for one in raw)
        assert 0 < pixels <= init["framebuffer_width"] * init["framebuffer_height"]


@pytest.mark.parametrize("version", [(3, 3), (3, 7)])
@pytest.mark.peer("xtigervnc")
def test_older_versions_too(version: tuple[int, int]) -> None:
    with Lab() as lab:
        [report] = talk(lab, replace(QUIET, version=version), "xtigervnc")
    assert report.said == ["done: 1 updates"]
    assert bool(report.messages("SecurityResult")) is False


@pytest.mark.parametrize("server", peers("qemu-vnc", "xtigervnc", "xtightvnc", "x11vnc"))
def test_a_password_for_a_real_vnc_server(server: str) -> None:
    with Lab() as lab:
        running = lab.start(server, password="secret42")
        assert running.port is not None
        right = meet(VncClient(password="secret42"), running.host, running.port, DEADLINE_S).client
        wrong = meet(VncClient(password="wrong"), running.host, running.port, DEADLINE_S).client
    assert right.said == ["done: 1 updates"]
    assert right.messages("VncAuthenticationResponse")
    assert right.messages("FramebufferUpdate")
    assert len(wrong.said) == 1
    assert wrong.said[0].startswith("authentication failed")
    assert not wrong.messages("ServerInit")


@pytest.mark.parametrize("password", [None, "xyz"])
@pytest.mark.peer("qemu-spice")
def test_a_model_spice_client_opens_a_session(password: str | None) -> None:
    with Lab() as lab:
        reports = talk(lab, replace(SPICE, password=password or ""), "qemu-spice", password=password)
    assert [report.said for report in reports] == [["done"], [], []]
    assert not any(report.violations() for report in reports)
    main, display, inputs = reports
    channels = main.messages("SPICE_MSG_MAIN_CHANNELS_LIST")[0]["channels"]
    assert {(channel["type"], channel["id"]) for channel in channels} >= {(2, 0), (3, 0), (4, 0)}
    assert len(main.messages("SPICE_MSGC_PONG")) == len(main.messages("SPICE_MSG_PING")) >= 3
    session_id = main.messages("SPICE_MSG_MAIN_INIT")[0]["session_id"]
    for report in (display, inputs):
        assert report.messages("SpiceLinkMess")[0]["connection_id"] == session_id
        assert report.state == "messages"
    assert inputs.messages("SPICE_MSG_INPUTS_INIT")


@pytest.mark.peer("qemu-spice")
def test_a_real_spice_server_refuses_a_wrong_password_and_a_wrong_session() -> None:
    with Lab() as lab:
        running = lab.start("qemu-spice", password="xyz")
        assert running.port is not None
        stranger = SpiceClient(password="xyz", channel=(3, 0), connection_id=77)
        results = [
            meet(client, running.host, running.port, DEADLINE_S).client
            for client in (SpiceClient(password="abc"), stranger)
        ]
    assert [report.said for report in results] == [
        ["the server does not let in: 7 (PERMISSION_DENIED)"],
        ["the server does not let in: 8 (BAD_CONNECTION_ID)"],
    ]


@pytest.mark.peer("qemu-vnc")
def test_a_model_spice_client_on_a_real_vnc_server() -> None:
    with Lab() as lab:
        [report] = talk(lab, SPICE, "qemu-vnc")
    assert report.said == ["incomplete link header (12/16)"]
    assert (report.sent, report.received) == (42, 12)
    assert report.ending is not None
    assert (report.ending.how, report.ending.mine) == (How.CLOSE, False)


@pytest.mark.peer("qemu-spice")
def test_model_vnc_clients_on_a_real_spice_server() -> None:
    with Lab() as lab:
        running = lab.start("qemu-spice")
        assert running.port is not None
        early = meet(AT_ONCE, running.host, running.port, DEADLINE_S).client
        quiet = meet(QUIET, running.host, running.port, 0.3).client
    assert early.said == [r"Error while parsing server version: b'REDQ\x02\x00\x00\x00\x02\x00\x00\x00'"]
    assert (early.sent, early.received) == (4, 194)
    assert (quiet.said, quiet.received, quiet.ending) == ([], 0, None)


def link_bytes(
    size: int = 26, *, major: int = 2, minor: int = 2, kind: int = 1, words: int = 1, at: int = 18
) -> bytes:
    """A RedLinkMess of 42 bytes; `words` common capabilities are announced, one is there."""
    header = struct.pack("<4sIII", b"REDQ", major, minor, size)
    return header + struct.pack("<IBBIII", 0, kind, 0, words, 1, at) + bytes.fromhex("0b0000000f000000")


MEASURED: list[bytes] = [
    b"RED",
    b"REDQ",
    b"RFB ",
    b"RFB 003.008\n",
    b"\x16\3\1\0\x7a\1\0\0\x76\3\3",
    link_bytes(major=3)[:16],
    link_bytes(major=3),
    link_bytes(major=0)[:16],
    link_bytes(17)[:16],
    link_bytes(4097)[:16],
    link_bytes(words=5),
    link_bytes(words=2000),
    link_bytes(at=0),
    link_bytes(kind=99),
    link_bytes(minor=9),
    link_bytes(),
    link_bytes() + b"\x09\0\0\0",
    link_bytes() + b"\1\0\0\0" + bytes(128),
]


@pytest.mark.peer("qemu-spice")
def test_the_model_spice_server_answers_as_the_real_one() -> None:
    """Byte for byte but for the key, and end for end, reset or close included."""
    with Lab() as lab, serving(SpiceServer()) as model:
        running = lab.start("qemu-spice")
        assert running.port is not None
        for data in MEASURED:
            # Silence is a matter of patience: only a difference that stays is one.
            for patience_s in (0.1, 1.0, 5.0):
                real, mine = (reaction(one.host, one.port or 0, data, patience_s) for one in (running, model))
                if mine == real:
                    break
            assert mine == real, f"to {data!r}"


def reaction(host: str, port: int, data: bytes, patience_s: float) -> tuple[bytes, str]:
    """What a SPICE server answers to `data`, without its key, and how it ends it ("" where it does not)."""
    answer = b""
    with socket.create_connection((host, port), 10) as connection:
        connection.sendall(data)
        connection.settimeout(patience_s)
        how = ""
        try:
            while piece := connection.recv(4096):
                answer += piece
            how = "close"
        except TimeoutError:
            pass
        except ConnectionResetError:
            how = "reset"
    return answer[:20] + bytes(162) + answer[182:] if answer[16:20] == bytes(4) else answer, how


# --- Real clients, model servers --------------------------------------------------------------------------


def visit(lab: Lab, client: str, server: Background, *, password: str | None = None) -> None:
    """Start a real client towards a model server; what it does is in the server's reports."""
    lab.run(client, server.host, server.port, password=password)


def first(server: Background) -> Report:
    return server.reports[0]


@pytest.mark.parametrize(
    "client",
    peers(
        "xtigervncviewer", "xtightvncviewer", "vncsnapshot", "gvncviewer", "remote-viewer-vnc", "vncdotool"
    ),
)
def test_the_model_vnc_server_shows_a_picture(client: str) -> None:
    with Lab() as lab, serving(VNC) as server:
        visit(lab, client, server)
        await_true(lambda: server.reports and first(server).messages("FramebufferUpdate"))
        report = first(server)
        assert not report.violations()
        assert report.messages("FramebufferUpdateRequest")
        assert not report.said or report.said == ["the client closed the connection"]


@pytest.mark.parametrize("client", peers("xtigervncviewer", "vncsnapshot", "remote-viewer-vnc", "vncdotool"))
def test_the_model_vnc_server_asks_for_a_password(client: str) -> None:
    with Lab() as lab, serving(replace(VNC, password="secret42")) as server:
        visit(lab, client, server, password="secret42")
        await_true(lambda: server.reports and first(server).messages("FramebufferUpdate"))
        assert first(server).messages("SecurityResult")[0]["status"] == 0


@pytest.mark.parametrize("client", peers("spicy", "spicy-screenshot", "remote-viewer-spice"))
def test_the_model_spice_server_opens_a_session(client: str) -> None:
    """It asks for the channels, answers the pings, and links what the list says with the session's id."""
    free = SpiceServer(pings=(0, 0, 256_000))
    with Lab() as lab, serving(free) as one, serving(replace(free, password="xyz")) as two:
        visit(lab, client, one)
        visit(lab, client, two, password="xyz")
        for server in (one, two):
            await_true(lambda server=server: len(server.reports) > 1 and linked(server.reports[1]))
            main, other = server.reports[:2]
            session_id = main.messages("SPICE_MSG_MAIN_INIT")[0]["session_id"]
            assert other.messages("SpiceLinkMess")[0]["connection_id"] == session_id
            await_true(lambda main=main: len(main.messages("SPICE_MSGC_PONG")) == 3)
            assert main.messages("SPICE_MSGC_MAIN_ATTACH_CHANNELS")
            assert not main.violations()


def linked(report: Report) -> bool:
    return any(result["result"] == 0 for result in report.messages("SpiceLinkResult"))


@pytest.mark.parametrize("client", peers("spicy-screenshot"))
def test_a_real_spice_client_on_the_model_vnc_server(client: str) -> None:
    with Lab() as lab, serving(VNC) as server:
        visit(lab, client, server)
        await_true(lambda: server.reports and first(server).ending is not None)
        report = first(server)
    assert report.said == [r"not a VNC client: b'REDQ\x02\x00\x00\x00\x02\x00\x00\x00'"]
    assert (report.received, report.sent) == (42, 12)


@pytest.mark.peer("gvncviewer")
def test_a_real_vnc_client_that_speaks_after_two_seconds() -> None:
    """Before the cure it goes on waiting; after it, both know."""
    with Lab() as lab, serving(SpiceServer()) as cured, serving(SpiceServer(judges_after=16)) as old:
        visit(lab, "gvncviewer", cured)
        visit(lab, "gvncviewer", old)
        await_true(lambda: cured.reports and first(cured).ending is not None)
        report = first(cured)
        assert report.ending is not None
        assert report.opened_ns is not None
        assert 1_500_000_000 < report.ending.time_ns - report.opened_ns < 10_000_000_000
        assert (report.received, report.sent) == (4, 194)
        await_true(lambda: old.reports and first(old).received == 4)
        assert (first(old).sent, first(old).ending) == (0, None)


@pytest.mark.peer("xtigervncviewer")
def test_a_real_vnc_client_that_never_speaks_first() -> None:
    with Lab() as lab, serving(SpiceServer()) as server:
        visit(lab, "xtigervncviewer", server)
        await_true(lambda: server.reports and first(server).opened_ns)
        time.sleep(0.5)
        report = first(server)
        assert (report.received, report.sent, report.ending) == (0, 0, None)
    assert report.role is Side.SERVER
