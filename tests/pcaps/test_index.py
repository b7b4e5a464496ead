# SPDX-License-Identifier: GPL-2.0-or-later
"""The bundled recordings are what their index says, and the dissector finds in them what it must."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dissect.capture import open_capture, read
from dissect.dissection.reading import dissect
from dissect.lab.collection import findings, load, sha256
from dissect.lab.peers import Role, load_peers
from dissect.stream import Side

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
ENTRIES = load(PCAPS)
LARGEST = 300 * 1024
CLIENTS = (
    "xtigervncviewer", "xtightvncviewer", "vncsnapshot", "gvncviewer", "remote-viewer-vnc", "vncdotool",
    "remote-viewer-spice", "spicy", "spicy-screenshot",
)  # fmt: skip
ENCRYPTED = ("-tls", "-x509", "-ssl", "-sasl")
SERVERS = ("qemu-vnc", "qemu-spice", "xtigervnc", "xtightvnc", "x11vnc")


def names(entry: dict[str, Any]) -> str:
    return str(entry["file"])


def test_every_client_met_every_server() -> None:
    met = {(entry["client"], entry["server"]) for entry in ENTRIES if "password" not in entry}
    assert met >= {(client, server) for client in CLIENTS for server in SERVERS}


def test_every_file_has_an_entry_and_every_entry_a_file() -> None:
    files = {path.name for path in PCAPS.glob("*.pcapng*")}
    assert files == {entry["file"] for entry in ENTRIES}


@pytest.mark.parametrize("entry", ENTRIES, ids=names)
def test_a_recording_is_what_was_recorded(entry: dict[str, Any]) -> None:
    path = PCAPS / entry["file"]
    assert sha256(path) == entry["sha256"]
    assert path.stat().st_size <= LARGEST
    assert set(entry["versions"]) == {entry["client"], entry["server"]}
    assert "unknown" not in entry["versions"].values()
    assert entry["command"].startswith(f"firstbyte record {entry['client']} {entry['server']} -o pcaps/")
    peers = load_peers(PCAPS / "peers.toml")
    assert peers[entry["client"]].role is Role.CLIENT
    assert peers[entry["server"]].role is Role.SERVER


@pytest.mark.parametrize("entry", ENTRIES, ids=names)
def test_the_dissector_finds_what_the_index_says(entry: dict[str, Any]) -> None:
    assert findings(PCAPS / entry["file"]) == entry["conversation"]


@pytest.mark.parametrize("entry", ENTRIES, ids=names)
def test_the_verdict_follows_from_who_was_recorded(entry: dict[str, Any]) -> None:
    """Not what was found before, but what must be true of these two programs."""
    peers = load_peers(PCAPS / "peers.toml")
    same = peers[entry["client"]].protocol == peers[entry["server"]].protocol
    for found in entry["conversation"]:
        assert (found["verdict"] == "agreed") is same
        if not same:
            assert found["verdict"] == ("silent" if found["client_spoke"] == "nothing" else "wrong-protocol")


@pytest.mark.parametrize("entry", ENTRIES, ids=names)
def test_every_byte_is_accounted_for_and_nothing_is_wrong(entry: dict[str, Any]) -> None:
    with open_capture(PCAPS / entry["file"]) as capture:
        for found in dissect(read(capture)):
            for side in Side:
                at = 0
                for record in found.records:
                    if record.side is not side:
                        continue
                    assert record.kind == "message", record
                    assert record.offset == at
                    at += record.size
                    # What is not decoded is the cut of a recording that was stopped, or an early prefix.
                    note = getattr(record, "note", None)
                    if note is not None and "encrypt" in note:
                        assert any(kind in entry["file"] for kind in ENCRYPTED), record
                    elif note is not None and not note.startswith("not decoded: incomplete"):
                        assert note.endswith("of body"), record  # framed by its size, named by its number
        assert capture.problems == []


def test_each_security_type_that_is_offered_here_was_chosen() -> None:
    chosen = set()
    for entry in ENTRIES:
        if not entry["server"].startswith(("qemu-vnc", "xtigervnc", "xtightvnc", "x11vnc")):
            continue
        with open_capture(PCAPS / entry["file"]) as capture:
            for found in dissect(read(capture)):
                for record in found.records:
                    match record.name:
                        case "SecurityType":
                            chosen.add(record.fields()["security_type"])
                        case "VeNCryptSubtype":
                            chosen.add(record.fields()["subtype"])
    assert chosen >= {1, 2, 16, 18, 19, 20, *range(256, 265)}


def test_a_blacklist_answer_of_a_real_server_is_no_detection() -> None:
    (entry,) = (entry for entry in ENTRIES if "blacklist" in entry["file"])
    refused = [
        found for found in entry["conversation"] if "FailureReason" in found.get("server_messages", {})
    ]
    assert refused
    assert all("server_detect" not in found for found in refused)
    assert any("server_detect" in found for found in entry["conversation"])  # before it was angry


def test_passwords_are_in_the_index_and_not_in_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    from dissect.app.main import main

    protected = [entry for entry in ENTRIES if "password" in entry]
    assert {entry["server"] for entry in protected} >= {"xtigervnc", "qemu-spice"}
    for entry in protected:
        assert main(["show", "--json", str(PCAPS / entry["file"])]) == 0
        for line in capsys.readouterr().out.splitlines():
            fields = json.loads(line)["fields"]
            assert fields.get("response", "hidden").startswith("hidden")
            assert fields.get("encrypted_data", "hidden").startswith("hidden")
