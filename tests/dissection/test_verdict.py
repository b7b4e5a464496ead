# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of a conversation: each case as who does what, when, and the answer."""

from __future__ import annotations

from typing import Any

import pytest

from dissect.stream import Side
from tests.dissection.conversations import (
    BLACKLISTED,
    CLIENT_HELLO,
    ERROR_REPLY,
    FIN,
    GREETING,
    LINK_MESS,
    LINK_REPLY,
    MS,
    RST,
    TLS_ALERT,
    C,
    S,
    Step,
    run,
)


def seen(ns: int, by: str | None, size: int, *, after: bool = False) -> dict[str, Any]:
    return {"ns": ns, "censored": by is None, "by": by, "bytes": size, "after_close": after}


def answer(**changes: Any) -> dict[str, Any]:
    """What is expected: the given keys; and of the rest, that nobody noticed anything."""
    return {
        "client_detect": None,
        "server_detect": None,
        "detected_first": None,
        "reversed": False,
        **changes,
    }


CASES: dict[str, tuple[list[Step], int | None, dict[str, Any]]] = {
    "nobody speaks and the capture ends: both waited at least that long": (
        [],
        20_000 * MS,
        answer(
            verdict="silent",
            first_speaker=None,
            client_spoke="nothing",
            server_spoke="nothing",
            server_detect=seen(20_000 * MS, None, 0),
            client_detect=seen(20_000 * MS, None, 0),
        ),
    ),
    "nobody speaks and the client gives up: the server's closing after it is no detection": (
        [(C, FIN, 9_000 * MS), (S, FIN, 9_001 * MS)],
        None,
        answer(
            verdict="silent",
            client_detect=seen(9_000 * MS, "close", 0),
            server_detect=seen(9_000 * MS, None, 0),
            detected_first="client",
        ),
    ),
    "an early prefix at a SPICE server that judges after four bytes": (
        [
            (C, b"RFB ", 1_860 * MS),
            (S, ERROR_REPLY, 1_860 * MS + 80_000),
            (S, FIN, 1_860 * MS + 90_000),
            (C, FIN, 1_860 * MS + 230_000),
        ],
        None,
        answer(
            verdict="wrong-protocol",
            first_speaker="client",
            client_spoke="rfb",
            server_spoke="spice",
            server_detect=seen(80_000, "error-reply", 4),
            client_detect=seen(150_000, "close", 194, after=True),
            detected_first="server",
        ),
    ),
    "an early prefix at a SPICE server that waits for sixteen bytes": (
        [(C, b"RFB ", 10 * MS)],
        5_010 * MS,
        answer(
            verdict="silent",
            client_spoke="rfb",
            server_spoke="nothing",
            server_detect=seen(5_000 * MS, None, 4),
            client_detect=seen(5_010 * MS, None, 0),
        ),
    ),
    "a SPICE client at a VNC server": (
        [(S, GREETING, MS), (C, LINK_MESS, 3 * MS), (S, FIN, 3 * MS + 50_000), (C, FIN, 3 * MS + 400_000)],
        None,
        answer(
            verdict="wrong-protocol",
            first_speaker="server",
            client_spoke="spice",
            server_spoke="rfb",
            server_detect=seen(50_000, "close", 42),
            client_detect=seen(2_400_000, "close", 12, after=True),
            detected_first="server",
        ),
    ),
    "both ends speak at once, the client's bytes first on the wire": (
        [(C, LINK_MESS, MS), (S, GREETING, MS + 1), (S, FIN, 2 * MS), (C, FIN, 3 * MS)],
        None,
        answer(
            verdict="wrong-protocol",
            first_speaker="client",
            client_spoke="spice",
            server_spoke="rfb",
            server_detect=seen(MS, "close", 42),
            client_detect=seen(2 * MS - 1, "close", 12, after=True),
            detected_first="server",
        ),
    ),
    "a server that drops a RedLinkMess by RST without a word": (
        [(C, LINK_MESS, MS), (S, RST, 256 * MS)],
        None,
        answer(
            verdict="wrong-protocol",
            client_spoke="spice",
            server_spoke="nothing",
            server_detect=seen(255 * MS, "reset", 42),
            client_detect=seen(256 * MS, None, 0),
            detected_first="server",
        ),
    ),
    "one byte that may begin either protocol, dropped": (
        [(C, b"R", MS), (S, RST, 41 * MS)],
        None,
        answer(
            verdict="wrong-protocol",
            client_spoke="other",
            server_spoke="nothing",
            server_detect=seen(40 * MS, "reset", 1),
            client_detect=seen(41 * MS, None, 0),
            detected_first="server",
        ),
    ),
    "two bytes are enough to know RFB by": (
        [(C, b"RF", MS)],
        100 * MS,
        answer(
            verdict="silent",
            client_spoke="rfb",
            server_spoke="nothing",
            server_detect=seen(99 * MS, None, 2),
            client_detect=seen(100 * MS, None, 0),
        ),
    ),
    "the same protocol on both sides": (
        [(S, GREETING, MS), (C, GREETING, 2 * MS), (S, b"\1\1", 3 * MS)],
        10 * MS,
        answer(verdict="agreed", client_spoke="rfb", server_spoke="rfb", first_speaker="server"),
    ),
    "an early prefix is still a VNC client at a VNC server": (
        [(C, b"RFB ", 1), (S, GREETING, MS), (C, b"003.008\n", 2 * MS), (S, b"\1\1", 3 * MS)],
        10 * MS,
        answer(verdict="agreed", first_speaker="client", reversed=False),
    ),
    "an early prefix, and nobody goes on after the versions": (
        [(C, b"RFB ", 1), (S, GREETING, MS), (C, b"003.008\n", 2 * MS), (C, FIN, 3 * MS)],
        4 * MS,
        answer(verdict="agreed", first_speaker="client", reversed=False),
    ),
    "an early prefix that is never finished": (
        [(C, b"RFB ", 1), (S, GREETING, MS), (C, FIN, 3 * MS)],
        4 * MS,
        answer(verdict="agreed", first_speaker="client", reversed=False),
    ),
    "the RFB server opens the connection": (
        [(C, GREETING, 1), (S, GREETING, MS), (C, b"\1\1", 2 * MS), (S, b"\1", 3 * MS)],
        10 * MS,
        answer(verdict="agreed", first_speaker="client", reversed=True),
    ),
    "two SPICE peers": (
        [(C, LINK_MESS, 1), (S, LINK_REPLY, 13 * MS)],
        20 * MS,
        answer(verdict="agreed", client_spoke="spice", server_spoke="spice"),
    ),
    "a blacklist answer to a SPICE client is no detection": (
        [(S, BLACKLISTED, MS), (S, FIN, MS), (C, LINK_MESS, 2 * MS), (C, FIN, 3 * MS)],
        None,
        answer(
            verdict="wrong-protocol",
            client_spoke="spice",
            server_spoke="rfb",
            server_detect=None,
            client_detect=seen(2 * MS, "close", len(BLACKLISTED), after=True),
            detected_first="client",
        ),
    ),
    "a TLS client on a plain SPICE port": (
        [(C, CLIENT_HELLO, 1), (S, ERROR_REPLY, MS), (S, FIN, MS), (C, FIN, 2 * MS)],
        None,
        answer(
            verdict="wrong-protocol",
            client_spoke="tls",
            server_spoke="spice",
            server_detect=seen(MS - 1, "error-reply", 11),
            client_detect=seen(MS, "close", 194, after=True),
            detected_first="server",
        ),
    ),
    "a plain SPICE client on a TLS port": (
        [(C, LINK_MESS, 0), (S, TLS_ALERT, MS), (S, FIN, MS), (C, FIN, 2 * MS)],
        None,
        answer(
            verdict="wrong-protocol",
            client_spoke="spice",
            server_spoke="tls",
            server_detect=seen(MS, "error-reply", 42),
            client_detect=seen(MS, "close", 7, after=True),
            detected_first="server",
        ),
    ),
    "TLS on both sides": (
        [(C, CLIENT_HELLO, 1), (S, bytes.fromhex("160303007a020000760303"), MS)],
        2 * MS,
        answer(verdict="agreed", client_spoke="tls", server_spoke="tls"),
    ),
    "a browser at a VNC server": (
        [(S, GREETING, 1), (C, b"GET / HTTP/1.1\r\nHost: vnc\r\n\r\n", MS), (S, FIN, 2 * MS)],
        3 * MS,
        answer(
            verdict="wrong-protocol",
            client_spoke="http",
            server_spoke="rfb",
            server_detect=seen(MS, "close", 29),
            client_detect=seen(2 * MS - 1, None, 12),
            detected_first="server",
        ),
    ),
    "a WebSocket upgrade that is granted": (
        [
            (C, b"GET /websockify HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n", 1),
            (S, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", MS),
        ],
        2 * MS,
        answer(verdict="agreed", client_spoke="websocket", server_spoke="websocket"),
    ),
    "an SSH client at an HTTP server": (
        [(C, b"SSH-2.0-x\r\n", 0), (S, b"HTTP/1.1 400 Bad Request\r\n\r\n", MS), (S, FIN, MS)],
        2 * MS,
        answer(
            verdict="wrong-protocol",
            client_spoke="ssh",
            server_spoke="http",
            server_detect=seen(MS, "error-reply", 11),
            client_detect=seen(0, None, 28),
            detected_first="server",
        ),
    ),
    "a client that hangs up on a greeting may only have looked": (
        [(S, GREETING, 1), (C, FIN, MS), (S, FIN, MS + 1)],
        None,
        answer(
            verdict="undecided",
            client_spoke="nothing",
            server_spoke="rfb",
            client_detect=seen(MS - 1, "close", 12),
            server_detect=seen(MS, None, 0),
            detected_first="client",
        ),
    ),
    "a mute client at a VNC server": (
        [(S, GREETING, MS)],
        30_000 * MS,
        answer(
            verdict="silent",
            server_detect=seen(30_000 * MS, None, 0),
            client_detect=seen(29_999 * MS, None, 12),
        ),
    ),
    "the server's first bytes were not captured": (
        [(C, LINK_MESS, 0), (S, 12, MS), (S, b"more", 2 * MS)],
        3 * MS,
        {"verdict": "undecided", "client_spoke": "spice", "server_spoke": "other"},
    ),
}


@pytest.mark.parametrize(("steps", "end", "wanted"), CASES.values(), ids=CASES.keys())
def test_a_conversation_is_judged(steps: list[Step], end: int | None, wanted: dict[str, Any]) -> None:
    found = run(steps, end).verdict.to_json("x.pcap")
    assert {key: found[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", CASES)
def test_how_the_bytes_are_cut_changes_neither_verdict_nor_bytes(name: str) -> None:
    steps, end, _ = CASES[name]
    cut: list[Step] = []
    for side, what, time in steps:
        if isinstance(what, bytes):
            cut += [(side, what[at : at + 1], time) for at in range(len(what))]
        else:
            cut.append((side, what, time))
    whole, pieces = run(steps, end), run(cut, end)
    assert pieces.verdict == whole.verdict
    assert pieces.records == whole.records


def test_a_refused_connection_is_no_conversation_to_judge() -> None:
    verdict = run([(S, RST, 1)], established=False).verdict
    assert verdict.verdict == "undecided"
    assert verdict.reason == "the connection was refused"
    assert verdict.server_detect is None
    assert verdict.client_detect is None


def test_a_start_in_mid_stream_is_undecided() -> None:
    verdict = run([(C, b"\3\0\0\0\0\0", 0), (S, b"\0\0\0\1", 1)], roles="port", mid_stream=True).verdict
    assert verdict.verdict == "undecided"
    assert "first bytes" in verdict.reason
    assert "port" in verdict.reason  # guessed roles are named as such


def test_guessed_roles_give_way_to_who_spoke_redq_first() -> None:
    found = run([(S, LINK_MESS, 0), (C, LINK_REPLY, MS)], roles="port")
    assert (found.verdict.client, found.verdict.server) == ("127.0.0.1:5900", "127.0.0.1:40000")
    assert "REDQ first" in found.verdict.reason
    assert [(r.side, r.name) for r in found.records] == [(C, "SpiceLinkMess"), (S, "SpiceLinkReply")]


def test_guessed_roles_give_way_to_who_greeted() -> None:
    found = run([(C, GREETING, 0), (S, GREETING, 1), (C, b"\1\1", 2)], roles="port")
    assert found.verdict.server == "127.0.0.1:40000"
    assert not found.verdict.reversed


def test_the_error_reply_is_the_servers_and_read() -> None:
    found = run([(C, b"RFB ", 0), (S, ERROR_REPLY, 1), (S, FIN, 2)], 3)
    reply = next(r for r in found.records if r.side is Side.SERVER)
    assert (reply.protocol, reply.name, reply.fields()["error_name"]) == (
        "spice",
        "SpiceLinkReply",
        "INVALID_MAGIC",
    )


def test_a_blacklist_answer_is_named() -> None:
    found = run([(S, BLACKLISTED, 1), (S, FIN, 2), (C, LINK_MESS, 3), (C, FIN, 4)])
    assert "Too many security failures" in found.verdict.reason
    assert "not a detection" in found.verdict.reason
    assert [r.name for r in found.records if r.side is S] == [
        "ProtocolVersion",
        "SecurityType",
        "FailureReason",
    ]


def test_records_are_kept_only_where_wanted() -> None:
    from dissect.dissection.reading import dissect
    from tests.dissection.conversations import events

    (found,) = dissect(events([(S, GREETING, 0)], 1), records=False)
    assert found.records == []
