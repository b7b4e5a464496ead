# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of peers: the bundled one, a user's own on top, and one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.lab.errors import PeerTableError, UnknownPeer
from dissect.lab.peers import (
    Needs,
    Peer,
    Protocol,
    Role,
    debian_packages,
    fill,
    find_peer,
    installed,
    load_peers,
    missing,
)
from tests.lab.conftest import Table

SERVERS = {"qemu-vnc", "qemu-spice", "xtigervnc", "xtightvnc", "x11vnc"}
CLIENTS = {
    "xtigervncviewer",
    "xtightvncviewer",
    "vncsnapshot",
    "gvncviewer",
    "remote-viewer-vnc",
    "remote-viewer-spice",
    "spicy",
    "spicy-screenshot",
    "vncdotool",
}


def test_the_bundled_table_has_the_peers_that_were_promised() -> None:
    peers = load_peers()
    assert {name for name, peer in peers.items() if peer.role is Role.SERVER} >= SERVERS
    assert {name for name, peer in peers.items() if peer.role is Role.CLIENT} >= CLIENTS
    assert {name for name, peer in peers.items() if peer.protocol is Protocol.SPICE} == {
        "qemu-spice",
        "remote-viewer-spice",
        "spicy",
        "spicy-screenshot",
        "xspice",
    }


def test_every_bundled_peer_says_where_it_is_from_its_version_and_when_it_is_ready() -> None:
    for peer in load_peers().values():
        assert peer.package, peer.name
        assert peer.version, peer.name
        if peer.role is Role.SERVER:
            assert peer.ready.listening, peer.name
            assert peer.busy, peer.name


def test_the_packages_are_named_once_and_without_those_of_other_registries() -> None:
    names = debian_packages(load_peers())
    assert names == sorted(set(names))
    assert {"qemu-system-x86", "virt-viewer", "xvfb"} <= set(names)
    assert not [name for name in names if "pypi" in name or "vncdotool" in name]


def test_an_own_file_adds_extends_and_replaces(table: Table) -> None:
    path = table(
        """
        [my-qemu]
        extends = "qemu-spice"
        command = ["{directory}/bin/qemu", "{security}"]
        environment = { LD_LIBRARY_PATH = "{directory}/lib" }

        [my-qemu-traced]
        extends = "my-qemu"
        environment = { SPICE_DEBUG_LEVEL = "4" }

        [vncsnapshot]
        role = "client"
        protocol = "rfb"
        command = ["/opt/snapshot"]
        """
    )
    bundled, peers = load_peers(), load_peers(path)
    assert peers["qemu-spice"] == bundled["qemu-spice"]
    mine = peers["my-qemu"]
    assert mine.command == ("{directory}/bin/qemu", "{security}")
    assert mine.plain == bundled["qemu-spice"].plain
    assert mine.variant_of == "qemu-spice"
    assert (mine.file, mine.directory) == (str(path), str(path.parent))
    assert peers["my-qemu-traced"].environment == {
        "LD_LIBRARY_PATH": "{directory}/lib",
        "SPICE_DEBUG_LEVEL": "4",
    }
    assert peers["vncsnapshot"].command == ("/opt/snapshot",)
    assert peers["vncsnapshot"].package == ()


GOOD = 'role = "server"\nprotocol = "rfb"\ncommand = ["x", "{port}"]\n'


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("[x\n", None, "not TOML: "),
        ("x = 1", "x", "must be a table"),
        ("[p]\n", "role", 'missing; must be "server" or "client" or "display"'),
        ('[p]\nrole = "viewer"', "role", 'not "viewer"'),
        ('[p]\nrole = "server"', "protocol", "missing"),
        ('[p]\nrole = "server"\nprotocol = "vnc"', "protocol", 'must be one of "rfb", "spice"'),
        ('[p]\nrole = "server"\nprotocol = "rfb"', "command", "missing or empty"),
        ('[p]\nrole = "server"\nprotocol = "rfb"\ncommand = "x"', "command", "list of strings, not a string"),
        ('[p]\nrole = "server"\nprotocol = "rfb"\ncommand = ["x"]', "command", "must be told its port"),
        (f"[p]\n{GOOD}comand = 1", "comand", "did you mean 'command'?"),
        (f'[p]\n{GOOD}plain = ["{{prot}}"]', "plain", "did you mean {port}?"),
        (f'[p]\n{GOOD}plain = ["a{{"]', "plain", "write it twice"),
        (f'[p]\n{GOOD}plain = ["a"]', "command", '"{security}"'),
        (f'[p]\n{GOOD}ready = {{ line = "(" }}', "ready.line", "not a regular expression"),
        (f"[p]\n{GOOD}ready = {{ seconds = -1 }}", "ready.seconds", "between 0 and 3600"),
        (f"[p]\n{GOOD}ready = {{ seconds = true }}", "ready.seconds", "must be a number"),
        (f"[p]\n{GOOD}ready = {{ listening = 1 }}", "ready.listening", "must be true or false"),
        (f"[p]\n{GOOD}ready = {{ displayfd = true }}", "ready.displayfd", "does not name {displayfd}"),
        (f"[p]\n{GOOD}ready = true", "ready", "must be a table"),
        (f'[p]\n{GOOD}version = {{ pattern = "(.)" }}', "version.command", "missing"),
        (f'[p]\n{GOOD}version = {{ command = ["x"], pattern = "." }}', "version.pattern", "group"),
        (f'[p]\n{GOOD}needs = "wayland"', "needs", "must be one of"),
        (f'[p]\n{GOOD}screen = "big"', "screen", '"800x600"'),
        (f"[p]\n{GOOD}environment = {{ A = 1 }}", "environment.A", "must be a string"),
        (f"[p]\n{GOOD}password = {{ files = {{ a = {{}} }} }}", "password.files.a", "either"),
        (
            f'[p]\n{GOOD}password = {{ files = {{ "../a" = {{ vnc = true }} }} }}',
            "password.files.../a",
            "plain file name",
        ),
        ('[p]\nextends = "qemu-spize"', "extends", "did you mean 'qemu-spice'?"),
        ('[p]\nextends = "p"', "extends", "no peer 'p' before this one"),
    ],
)
def test_a_mistake_gives_one_line_with_file_table_key_and_reason(
    table: Table, text: str, key: str | None, reason: str
) -> None:
    path = table(text)
    with pytest.raises(PeerTableError) as caught:
        load_peers(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert reason in line
    assert caught.value.key == key
    if "[p]" in text:
        assert caught.value.table == "p"
        assert "[p]" in line


def test_a_file_that_cannot_be_read_gives_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"[a]\nb = '\xff'")
    for path, reason in [
        (tmp_path / "absent.toml", "No such file"),
        (tmp_path, "Is a directory"),
        (binary, "not UTF-8 at byte 9"),
    ]:
        with pytest.raises(PeerTableError, match=reason) as caught:
            load_peers(path)
        assert "\n" not in str(caught.value)


def test_an_unknown_name_is_answered_with_what_is_near() -> None:
    with pytest.raises(UnknownPeer, match="did you mean xtigervnc"):
        find_peer(load_peers(), "xtigrvnc")
    with pytest.raises(UnknownPeer, match=r"known: .*qemu-spice"):
        find_peer(load_peers(), "????")


def test_fill_replaces_placeholders_and_doubled_braces() -> None:
    assert fill("{host}:{port}", {"host": "h", "port": "1"}) == "h:1"
    assert fill('{{"a": {port}}}', {"port": "1"}) == '{"a": 1}'
    # What was filled in is not looked at again.
    assert fill("{password}", {"password": "{port}", "port": "1"}) == "{port}"
    with pytest.raises(KeyError):
        fill("{host}", {})


def test_installed_asks_the_path_and_the_python_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peer = Peer("p", Role.CLIENT, ("some-viewer",), needs=Needs.X_SERVER)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not installed(peer)
    assert missing({"p": peer}) == [peer]
    (tmp_path / "some-viewer").write_text("#!/bin/sh\n")
    (tmp_path / "some-viewer").chmod(0o755)
    assert installed(peer)
    assert missing({"p": peer}, ["p"]) == []
    assert installed(Peer("q", Role.CLIENT, ("{python}", "-m", "viewer")))
