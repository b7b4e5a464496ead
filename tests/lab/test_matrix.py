# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix: order, resuming, both clocks, and peers that do not do what they should."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dissect.lab import matrix
from dissect.lab.errors import UnknownPeer
from dissect.lab.lab import Lab
from dissect.lab.matrix import CURE, MODELS, Folder, Matrix, Plan, PlanError, choose
from dissect.lab.models import VncServer
from dissect.lab.record import can_record_wire
from dissect.stream import Side
from dissect.timing.observations import Clock
from dissect.timing.results import FILE
from tests.lab.conftest import Table, require_wire

MS = 1_000_000
CLOCKS: tuple[Clock, ...] = ("user", "wire")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def test_the_order_is_the_seeds_and_holds_every_trial_once() -> None:
    plan = Plan(("a", "b"), ("x", "y", "z"), 4, seed=3)
    order = plan.order()
    assert order == plan.order() != Plan(("a", "b"), ("x", "y", "z"), 4, seed=4).order()
    assert len(set(order)) == len(order) == 24
    assert len({pair[:2] for pair in order[:8]}) > 2  # interleaved, not pair by pair


def test_peers_are_chosen_by_name_and_by_group(lab: Lab) -> None:
    clients, servers, _ = choose(lab, ["models"])
    assert set(clients) | set(servers) == set(MODELS)
    named = choose(lab, ["model-vnc", "model-vnc-early", "model-vnc"])
    assert named == (["model-vnc-early"], ["model-vnc"], [])
    real = choose(lab, ["real"])
    assert "xtigervnc" not in real[1]  # its blacklist would answer instead of it
    assert set(choose(lab, ["all"])[0]) == set(real[0]) | set(clients)
    with pytest.raises(UnknownPeer):
        choose(lab, ["nobody"])


def test_the_scenario_of_2017(lab: Lab) -> None:
    require_wire()
    with Matrix(lab, Plan(*CURE, 1, 3.0), wire=True) as run:
        rows = {row.pair: row for row in run.run({("model-vnc-quiet", server, 0) for server in CURE[1]})}
    assert len(rows) == 4  # those that are done are left out
    noticed = {pair for pair, row in rows.items() if row.verdict == "wrong-protocol"}
    assert noticed == {(client, "model-spice-4") for client in ("model-vnc-early", "model-vnc-patient")}
    assert all(row.lost is None for row in rows.values())
    for pair, row in rows.items():
        for clock in CLOCKS:
            server, client = row.seen(Side.SERVER, clock), row.seen(Side.CLIENT, clock)
            assert server is not None
            assert client is not None
            if pair in noticed:
                assert (server.by, server.bytes, server.exact) == ("error-reply", 4, True)
                assert (client.by, client.bytes) == ("close", 194)
            else:
                assert not server.exact
                assert not client.exact
                assert client.ns >= 3_000 * MS
    (patient,) = [row for pair, row in rows.items() if pair == ("model-vnc-patient", "model-spice-4")]
    assert any("Error while parsing server version" in word["text"] for word in patient.words)
    assert all(word["ns"] >= 2_000 * MS for word in patient.words)


def test_the_early_prefix_and_its_cost(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = ("model-vnc-peek", "model-vnc-peek-old")
    for name in servers:  # libvncserver's tenth of a second is soon over on a loaded machine
        model = MODELS[name]
        assert isinstance(model, VncServer)
        assert model.peek is not None
        monkeypatch.setitem(MODELS, name, replace(model, peek=replace(model.peek, ns=1_000 * MS)))
    plan = Plan(("model-vnc-quiet", "model-vnc-early"), servers, 1, 3.0)
    with Matrix(lab, plan, wire=False) as run:
        rows = {row.pair: row for row in run.run(set())}
    reached = {pair: row.server_init_ns.get("user") for pair, row in rows.items()}
    quiet, early = reached["model-vnc-quiet", "model-vnc-peek"], reached["model-vnc-early", "model-vnc-peek"]
    assert quiet is not None
    assert early is not None
    assert all(row.seen(Side.SERVER, "wire") is None for row in rows.values())
    assert quiet > 1_000 * MS > early  # who speaks at once is not waited for
    assert reached["model-vnc-quiet", "model-vnc-peek-old"] is not None
    assert reached["model-vnc-early", "model-vnc-peek-old"] is None  # the cure broke it


@pytest.mark.peer("gvncviewer", "xtightvncviewer", "qemu-spice")
def test_programs(lab: Lab) -> None:
    plan = Plan(("gvncviewer", "xtightvncviewer"), ("qemu-spice",), 1, 3.0)
    with Matrix(lab, plan, wire=can_record_wire()) as run:
        rows = {row.client: row for row in run.run(set())}
    patient, quiet = rows["gvncviewer"], rows["xtightvncviewer"]
    assert (patient.verdict, quiet.verdict) == ("wrong-protocol", "silent")
    seen = patient.seen(Side.SERVER, "user")
    assert seen is not None
    assert (seen.by, seen.bytes) == ("error-reply", 4)
    assert patient.client_version
    assert patient.server_version
    assert quiet.stopped == "deadline"
    assert not any("reset by peer" in word["text"] for word in quiet.words)  # that was the end of the trial


def broken(table: Table, **scripts: str) -> Path:
    text = ""
    for name in scripts:
        role = "server" if name.startswith("server") else "client"
        text += f"""
        [{name}]
        role = "{role}"
        protocol = "rfb"
        command = ["{{python}}", "-S", "{{directory}}/{name}.py", "{{host}}", "{{port}}"]
        """
        if role == "server":
            seconds = 2 if name == "server_late" else 20
            text += f"ready = {{ listening = true, seconds = {seconds} }}\n"
    return table(text, **scripts)


def test_peers_that_fail_do_not_end_the_run(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    path = broken(
        table,
        server_absent="import sys; sys.exit('no can do')",
        server_dies="""
        import os, socket, sys
        listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
        listener.accept()
        os._exit(3)
        """,
        server_floods="""
        import socket, sys
        listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
        while True:
            connection, _ = listener.accept()
            try:
                while True:
                    connection.sendall(bytes(65536))
            except OSError:
                pass
        """,
        server_slow="""
        import socket, sys, time
        time.sleep(0.7)
        listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
        while True:
            connection, _ = listener.accept()
            connection.close()
        """,
        server_late="import time; time.sleep(60)",
        client_never="import time; time.sleep(0.2)",
        client_parent="""
        import os, socket, sys, time
        if os.fork() == 0:
            os.setsid()
            connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
            time.sleep(1000)
        """,
    )
    monkeypatch.setattr(matrix, "MOST_BYTES", 1 << 18)
    servers = ("server_absent", "server_dies", "server_floods", "server_slow", "server_late", "model-vnc")
    plan = Plan(("client_never", "client_parent", "model-vnc-quiet"), servers, 1, 1.5)
    needless = {(client, name, 0) for client in plan.clients[:2] for name in servers[:-1]}
    with Lab(files=[path]) as lab, Matrix(lab, plan, wire=False) as run:
        rows = {row.pair: row for row in run.run(needless)}
    assert len(rows) == 8
    assert rows["model-vnc-quiet", "server_slow"].lost is None
    assert rows["model-vnc-quiet", "server_slow"].verdict == "silent"
    assert "not ready after 2 s" in str(rows["model-vnc-quiet", "server_late"].lost)
    # A client that went into the background is still there, and its child is ended with it.
    assert rows["client_parent", "model-vnc"].lost is None
    assert rows["client_parent", "model-vnc"].stopped == "deadline"
    assert rows["model-vnc-quiet", "model-vnc"].lost is None
    assert "ended before it was ready" in str(rows["model-vnc-quiet", "server_absent"].lost)
    assert rows["model-vnc-quiet", "server_dies"].lost == "the server died"
    assert rows["model-vnc-quiet", "server_floods"].lost is None  # the client noticed, and left
    assert rows["client_never", "model-vnc"].lost == "the client did not connect"


def test_a_run_goes_on_where_it_was_left(tmp_path: Path, lab: Lab) -> None:
    plan = Plan(("model-vnc-early",), ("model-spice-4",), 3, 2.0)
    folder = Folder(tmp_path / "run", plan)
    with Matrix(lab, plan, wire=False) as run:
        for row in run.run(folder.done):
            folder.add(row)
            if len(folder.rows) == 2:
                break
    file = tmp_path / "run" / FILE
    file.write_bytes(file.read_bytes()[:-20])  # as a crash leaves it
    again = Folder(tmp_path / "run", plan)
    assert len(again.done) == 1
    assert "cut off" in again.problems[0]
    with Matrix(lab, plan, wire=False) as run:
        for row in run.run(again.done):
            again.add(row)
    assert again.done == {("model-vnc-early", "model-spice-4", number) for number in range(3)}
    assert len(file.read_text().splitlines()) == 3
    with pytest.raises(PlanError, match="other deadline_s: choose"):
        Folder(tmp_path / "run", Plan(("model-vnc-early",), ("model-spice-4",), 3, 3.0))
    (tmp_path / "run" / "plan.json").write_text("nonsense")
    with pytest.raises(PlanError, match="not a plan"):
        Folder(tmp_path / "run", plan)


def test_a_lost_trial_is_run_again(tmp_path: Path, lab: Lab) -> None:
    plan = Plan(("model-vnc-early",), ("model-spice-4",), 1, 2.0)
    folder = Folder(tmp_path, plan)
    with Matrix(lab, plan, wire=False) as run:
        row = next(iter(run.run(set())))
    row.lost = "the wall clock was set during the trial"
    folder.add(row)
    assert Folder(tmp_path, plan).done == set()
    row.lost = None
    folder.add(row)
    assert len(folder.rows) == 1
    assert Folder(tmp_path, plan).done == {("model-vnc-early", "model-spice-4", 0)}
    assert json.loads((tmp_path / "plan.json").read_text())["trials"] == 1


def test_what_a_killed_run_has_left_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = [f"firstbyte-trial-{pid}-x" for pid in (ended.pid, os.getpid())]
    for name in (*names, "firstbyte-trial-notes"):
        (tmp_path / name).mkdir()
    with Matrix(lab, Plan(("model-vnc-early",), ("model-spice-4",), 1, 2.0), wire=False) as run:
        (row,) = run.run(set())
    assert row.lost is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[1], "firstbyte-trial-notes"]


def test_cold_servers_are_started_for_each_trial(lab: Lab) -> None:
    plan = Plan(("model-vnc-early",), ("model-spice-4",), 2, 2.0, cold=True)
    with Matrix(lab, plan, wire=False) as run:
        rows = list(run.run(set()))
        assert run._servers == {}
    assert [row.warm for row in rows] == [False, False]
    assert all(row.lost is None for row in rows)
