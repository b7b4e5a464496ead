# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte show`: every message, gap and violation, for people and as the contract's objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dissect.app import main as app
from dissect.app.commands.show import summary
from dissect.capture import PcapngWriter, TcpScript, open_capture, synthesise
from dissect.replay.credentials import spice_ticket
from dissect.stream import Side
from tests.app.captures import CURE, START, noted, write
from tests.capture.build import pcap
from tests.dissection.conversations import GREETING, MS, Step
from tests.dissection.test_spice_links import MAIN, steps
from tests.spice.examples import TICKET
from tests.spice.test_ticket import PUBLIC, form

C, S = Side.CLIENT, Side.SERVER

AUTHENTICATED: list[Step] = [
    (S, GREETING, 1 * MS),
    (C, GREETING, 2 * MS),
    (S, b"\1\2", 3 * MS),
    (C, b"\2", 4 * MS),
    (S, b"challenge-of-16b", 5 * MS),
    (C, b"secret-response!", 6 * MS),
    (S, b"\0\0\0\0", 7 * MS),
    (C, b"\1", 8 * MS),
    (S, bytes.fromhex("0010000820180001 00ff00ff00ff 100800 000000 00000006") + b"\x1b[31m$", 9 * MS),
]
"""VNC authentication, and a desktop's name that would colour a terminal."""


def records(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert app.main(["show", "--json", *words]) == app.PASS
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_object_a_record_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.pcapng", CURE)
    found = records(capsys, str(path))
    keys = {
        "capture",
        "conversation",
        "kind",
        "side",
        "protocol",
        "name",
        "time_ns",
        "offset",
        "size",
        "fields",
        "session",
        "channel",
    }
    assert all(set(record) == keys for record in found)
    assert [(r["kind"], r["side"], r["protocol"], r["name"], r["size"]) for r in found] == [
        ("message", "client", "rfb", "ProtocolVersion", 4),
        ("message", "server", "spice", "SpiceLinkReply", 194),
    ]
    assert [r["time_ns"] - START for r in found] == [1_860 * MS, 1_860 * MS + 80_000]
    assert found[0]["fields"]["note"] == "not decoded: incomplete: 4 of 12 bytes"
    assert found[1]["fields"]["error_name"] == "INVALID_MAGIC"


def test_secrets_are_hidden_unless_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.pcapng", AUTHENTICATED)
    response = b"secret-response!".hex()
    for words in ([], ["--json"], ["--wide"]):
        app.main(["show", str(path), *words])
        assert response not in capsys.readouterr().out
        app.main(["show", str(path), "--secrets", *words])
        assert response[:6] in capsys.readouterr().out


def test_text_of_strangers_does_not_reach_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "x.pcapng", AUTHENTICATED)
    app.main(["show", str(path), "--wide"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[31m$" in out


def test_gaps_and_violations_are_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[Step] = [
        *AUTHENTICATED,
        (S, b"\x03\0\0\0\0\0\0\x10before", 10 * MS),
        (S, 10, 11 * MS),
        (S, b"\x02", 12 * MS),
        (C, b"\x63", 13 * MS),
        (C, b"more", 14 * MS),
    ]
    path = write(tmp_path / "x.pcapng", steps)
    found = [(r["kind"], r["side"], r["name"], r["size"]) for r in records(capsys, str(path))][9:]
    assert ("message", "server", "ServerCutText", 24) in found  # its size was known: the hole is bridged
    assert ("gap", "server", "Gap", 10) in found
    assert ("message", "server", "Bell", 1) in found
    assert any(kind == "violation" and side == "client" for kind, side, _, _ in found)
    app.main(["show", str(path)])
    out = capsys.readouterr().out
    assert "lost_bytes=10" in out
    assert "violation in" in out


def test_the_table_tells_the_tcp_connection_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app.main(["show", str(write(tmp_path / "x.pcapng", CURE))])
    out = capsys.readouterr().out
    assert [word in out for word in ("TCP established", "closes (FIN)", "conversation 0")] == [True] * 3
    assert "2017-01-25 14:03:11.000000 UTC" in out


def test_a_summary_is_short_and_named() -> None:
    fields = {
        "message_type": 1,
        "error": 2,
        "error_name": "INVALID_MAGIC",
        "list": list(range(20)),
        "x": "y" * 99,
    }
    assert summary(fields) == (
        "error=INVALID_MAGIC, list=[0, 1, 2, 3, 4, 5, 6, 7, … 20 in all], x=" + "y" * 60 + "…"
    )


def test_a_session_is_one_timeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = str(write(tmp_path / "session.pcapng", MAIN, steps(2)))
    assert app.main(["show", "--sessions", capture]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("SPICE session 0x00001267")
    times = [float(line.split()[0]) for line in lines[3:]]
    assert times == sorted(times)
    assert {line.split()[1] for line in lines[3:]} == {"main", "display"}
    found = records(capsys, "--sessions", capture)
    assert {(r["session"], r["channel"]) for r in found} == {(4711, "main"), (4711, "display")}
    assert [r["time_ns"] for r in found] == sorted(r["time_ns"] for r in found)


def test_no_session_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["show", "--sessions", str(write(tmp_path / "x.pcapng", CURE))]) == 3
    assert "no SPICE session" in capsys.readouterr().err


def test_the_password_of_a_ticket_with_the_servers_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = spice_ticket(PUBLIC, "pass\x1b[31mword")
    said = [
        (side, what.replace(TICKET, ticket) if isinstance(what, bytes) else what, at)
        for side, what, at in MAIN
    ]
    capture = str(write(tmp_path / "ticket.pcapng", said))
    key = tmp_path / "key.pem"
    key.write_bytes(form())
    found = records(capsys, "--ticket-key", str(key), capture)
    (fields,) = [r["fields"] for r in found if r["name"] == "SpiceLinkEncryptedTicket"]
    assert fields == {"encrypted_data": "hidden (128 bytes)", "password": "pass\x1b[31mword"}
    assert app.main(["show", "--sessions", "--ticket-key", str(key), capture]) == 0
    assert "password=pass\\x1b[31mword" in capsys.readouterr().out
    other = str(write(tmp_path / "other.pcapng", MAIN))
    found = records(capsys, "--ticket-key", str(key), other)
    (fields,) = [r["fields"] for r in found if r["name"] == "SpiceLinkEncryptedTicket"]
    assert "not for this key" in fields["password_unknown"]


def test_a_key_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = str(write(tmp_path / "x.pcapng", CURE))
    key = tmp_path / "key.pem"
    assert app.main(["show", "--ticket-key", str(key), capture]) == 2
    key.write_bytes(b"nothing")
    assert app.main(["show", "--ticket-key", str(key), capture]) == 2
    assert "not an RSA private key" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["spicy--xspice-wan.pcapng.xz", "xtightvncviewer--xtightvnc.pcapng"])
def test_a_line_is_the_object_as_json(name: str) -> None:
    from dissect.app.commands.show import to_json, to_line
    from dissect.capture import read
    from dissect.dissection.reading import Told, each

    lines = 0
    with open_capture(Path(__file__).resolve().parents[2] / "pcaps" / name) as capture:
        for one in each(read(capture)):
            if isinstance(one, Told):
                place = 'a "name".pcap', one.conversation.index, one.link, one.record
                assert to_line(*place) == json.dumps(to_json(*place))
                lines += 1
    assert lines > 10


def test_comments_as_data_come_among_the_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pcaps, path = Path(__file__).resolve().parents[2] / "pcaps", tmp_path / "x.pcapng"
    assert app.main(["export", str(pcaps / "gvncviewer--qemu-spice.pcapng"), "-o", str(path)]) == app.PASS
    capsys.readouterr()

    def shown(*words: str) -> list[dict[str, Any]]:
        assert app.main(["show", "--json", *words, str(path)]) == app.PASS
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    found = shown("--comments")
    assert [one for one in found if one["kind"] != "comment"] == shown()
    times = [one["time_ns"] for one in found if one["conversation"] == 0]
    assert times == sorted(times)
    said = [(one["side"], one["fields"]["about"]) for one in found if one["kind"] == "comment"]
    on_packets = [("client", 1), ("client", 4), ("server", 6), ("server", 6), ("client", 9)]
    assert said == [*((side, f"packet {number}") for side, number in on_packets), (None, "the capture")]
    assert app.main(["show", "--comments", str(path)]) == app.UNUSABLE


def test_names_and_comments_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(noted(tmp_path / "x.pcapng"))
    assert app.main(["show", path]) == app.PASS
    shown = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    ends = "127.0.0.1:40000 (vm7\\x1b.example) → 127.0.0.1:5900 (vm7\\x1b.example)"
    assert lines[0] == f"conversation 0: {ends}"
    assert lines.count("0.000000 client → comment: the \\x1b[31mfirst") == 1
    assert lines[-1].startswith("comment on packet ")
    assert lines[-1].endswith(": nothing here")
    assert "\x1b" not in shown
    assert app.main(["show", "--conversation", "0", path]) == app.PASS
    assert "nothing here" not in capsys.readouterr().out
    plain = records(capsys, str(tmp_path / "plain.pcapng"))
    assert [{**one, "capture": ""} for one in records(capsys, path)] == [
        {**one, "capture": ""} for one in plain
    ]


def test_what_was_odd_about_the_packets_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.pcap"
    packet = ("127.0.0.1", 40_000, "127.0.0.1", 5900)
    pieces = [synthesise(*packet, 1, 0, 2), synthesise(*packet, 2, 0, 16, b"RFB 003.008\n")]
    pieces += [pieces[1], synthesise(*packet, 2, 0, 16, b"RFB 003.003\n")]
    path.write_bytes(pcap([(START + number, one) for number, one in enumerate(pieces)], nano=True))
    assert app.main(["show", str(path)]) == app.PASS
    assert "  2 segments sent again, 1 byte unlike its first copy\n" in capsys.readouterr().out


def test_interfaces_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.pcapng"
    with PcapngWriter(path, linktype=101, name="eth7", comment="taken at night") as writer:
        script = TcpScript(("127.0.0.1", 40_000), ("127.0.0.1", 5900), writer.write)
        script.opened(START, START, START)
    assert app.main(["show", str(path)]) == app.PASS
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "comment on the capture: taken at night"
    assert lines[1] == "conversation 0: 127.0.0.1:40000 → 127.0.0.1:5900, on eth7"
