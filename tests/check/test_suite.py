# SPDX-License-Identifier: GPL-2.0-or-later
"""The form of a suite: what it may say, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissect.check import suite as suites
from dissect.check.suite import Suite, find, load
from dissect.lab.errors import LabError
from dissect.lab.models import VncServer
from dissect.lab.peers import Role
from dissect.replay.outcome import Outcome
from dissect.replay.player import Pace
from dissect.stream.side import Side

PCAPS = Path(__file__).parents[2] / "pcaps"
TARGET = '[target.t]\nmodel = "VncServer"\n'
CASE = '[case.c]\ncapture = "vncdotool--qemu-vnc.pcapng"\n'


def read(tmp_path: Path, text: str) -> Suite:
    path = tmp_path / "suite.toml"
    path.write_text(f'captures = "{PCAPS}"\n{text}')
    return load(path)


def test_everything_that_a_case_may_say(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        TARGET
        + CASE
        + """
        about = "why"
        conversation = 0
        pace = "recorded"
        speed = 20
        shape = [4, 8]
        gap = 0.01
        early_prefix = 0.5
        through = "ServerInit"
        deadline = 7
        password = "secret"
        silence = 1
        idle_cap = 0.5
        targets = ["t"]
        tags = ["a", "b"]
        runs = 9
        timed = true
        expect = { outcome = ["pass", "diff"], differs = "ServerInit.name_string", within = 2 }
        [case.c.rules.ServerInit]
        name_string = "exact"
        [case.p]
        probe = ["spice", "tls"]
        lengths = [1, 4]
        sweep = "rfb"
        seed = 3
        expect = { noticed = { spice = 12 }, never = "tls", answered = true, hangs = "003.*", speaks = "rfb" }
        """,
    )
    case, probe = found.cases.values()
    options = case.options
    assert (options.pace, options.speed, options.shape.sizes) == (Pace.RECORDED, 20, (4, 8))
    assert (options.early_prefix_ns, options.idle_cap_ns, options.silence_ns) == (5 * 10**8, 5 * 10**8, 10**9)
    assert (case.runs, case.timed, case.deadline_s, case.tags) == (9, True, 7, ("a", "b"))
    assert case.expect.outcome == (Outcome.PASS, Outcome.DIFF)
    assert case.expect.within_ns == 2 * 10**9
    assert options.rules.mode("ServerInit", "name_string").kind == "exact"
    assert probe.probe is not None
    assert (probe.probe.protocols, probe.probe.lengths, probe.probe.sweeps) == (
        ("spice", "tls"),
        (1, 4),
        ("rfb",),
    )
    assert probe.expect.noticed == (("spice", 12),)


def test_the_kinds_of_targets(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        CASE
        + """
        [target.named]
        peer = "qemu-vnc"
        arguments = ["-name", "x"]
        password = "secret"
        [target.mine]
        command = ["{directory}/server", "{port}"]
        [target.extended]
        extends = "xtigervnc"
        command = ["/opt/Xtigervnc", "-rfbport", "{port}", "{security}"]
        judged_by = "named"
        ready = { listening = true }
        [target.far]
        address = "127.0.0.1:5900"
        [target.viewer]
        peer = "gvncviewer"
        [target.model]
        model = "VncServer"
        settings = { greeting_delay_ns = 5 }
        """,
    )
    targets = found.targets
    assert targets["named"].password == "secret"
    assert targets["mine"].peer is not None
    assert targets["mine"].peer.ready.listening
    assert targets["mine"].peer.directory == str(tmp_path)
    assert targets["extended"].peer is not None
    assert targets["extended"].peer.password is not None  # from what it extends
    assert targets["extended"].judged_by == "named"
    assert targets["far"].shared
    assert targets["viewer"].role is Role.CLIENT
    assert targets["model"].model == VncServer(greeting_delay_ns=5)
    # A case of a server is not for a client.
    assert {target.name for _, target in found.pairs()} == set(targets) - {"viewer"}


MISTAKES = {
    "unknown key": (TARGET + CASE + "colour = 1", "[case.c] colour: unknown key"),
    "near key": (TARGET + CASE + "deadlin = 1", "did you mean 'deadline'?"),
    "missing capture": (
        TARGET + '[case.c]\ncapture = "no.pcapng"',
        "[case.c] capture: no.pcapng: no such file in ",
    ),
    "wrong type": (TARGET + CASE + 'deadline = "soon"', "deadline: must be a number, not a string"),
    "out of range": (TARGET + CASE + "deadline = -1", "deadline: must be a number of seconds from 0.001"),
    "a role": (TARGET + CASE + 'role = "proxy"', 'role: must be one of "client", "server"'),
    "a shape": (TARGET + CASE + "shape = [0]", "shape: must be"),
    "a rule": (TARGET + CASE + 'rules = { ServerInit = { name = "so" } }', "[case.c] rules: "),
    "an outcome": (TARGET + CASE + 'expect = "passt"', "expect: no 'passt' here; did you mean 'pass'?"),
    "nothing compared": (TARGET + CASE + 'expect = "inconclusive"', "expect: no 'inconclusive' here"),
    "a protocol": (TARGET + '[case.c]\nprobe = "gopher"', "probe: no 'gopher' here"),
    "neither": (TARGET + "[case.c]\ndeadline = 1", "a case has either a capture, or a probe"),
    "both": (TARGET + CASE + 'probe = "rfb"', "a case has either a capture, or a probe"),
    "of the other kind": (TARGET + '[case.c]\nprobe = "rfb"\nshape = "bytewise"', "shape: is for a capture"),
    "a name": (TARGET + '[case."../c"]\nprobe = "rfb"', "files are named after it"),
    "no such target": (TARGET + CASE + 'targets = "x"', "[case.c] targets: no such target; there are: t"),
    "the other kind": (
        CASE + '[target.t]\npeer = "gvncviewer"',
        't is a client, and role = "client" needs a server',
    ),
    "no case": (TARGET, "case: there is no case in it"),
    "no target": (CASE, "no such target; there are: none"),
    "two kinds": (CASE + '[target.t]\npeer = "qemu-vnc"\naddress = "127.0.0.1:1"', "a target has one of"),
    "a model": (CASE + '[target.t]\nmodel = "Vnc"', "[target.t] model: no model 'Vnc'"),
    "a setting": (CASE + '[target.t]\nmodel = "VncServer"\nsettings = { x = 1 }', "settings.x: unknown key"),
    "a peer": (CASE + '[target.t]\npeer = "qemu"', "no peer 'qemu' in the table; did you mean"),
    "a command in one": (CASE + '[target.t]\ncommand = "server --port 1"', "must be a list of strings"),
    "no port": (CASE + '[target.t]\ncommand = ["server"]', "a server must be told its port"),
    "an address": (CASE + '[target.t]\naddress = "localhost"', "is neither HOST:PORT nor unix:PATH"),
    "not TOML": ("[case", "not TOML: "),
    "a level": (TARGET + CASE + "[timing]\nlevel = 2", "level: must be a probability"),
    "few runs": (TARGET + CASE + "timed = true\nruns = 3", "a timed case needs 5 runs or more"),
    "an empty pattern": (TARGET + '[case.c]\ncapture = "zz*.pcapng"', "zz*.pcapng: no such file"),
    "except": (TARGET + CASE + 'except = "x"', "except: is for a capture that is a pattern"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line_that_says_where(tmp_path: Path, what: str) -> None:
    text, words = MISTAKES[what]
    with pytest.raises(LabError) as caught:
        read(tmp_path, text)
    line = str(caught.value)
    assert words in line
    assert "\n" not in line
    assert line.startswith(str(tmp_path / "suite.toml")) or what == "a peer"


def test_a_pattern_makes_a_case_for_each_file(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        '[target.qemu-vnc]\nmodel = "VncServer"\n[target.x11vnc]\nmodel = "VncServer"\n'
        '[case.early]\ncapture = "vncdotool*--{target}.pcapng"\nexcept = "*-key-*"\ntargets = ["*vnc"]\n'
        '[case.all]\ncapture = "vncsnapshot--*vnc.pcapng"\ntargets = "qemu-vnc"\n',
    )
    pairs = {(case.name, target.name) for case, target in found.pairs()}
    assert pairs >= {("early.vncdotool--qemu-vnc", "qemu-vnc"), ("early.vncdotool--x11vnc", "x11vnc")}
    assert not any("-key-" in name for name, _ in pairs)
    assert ("all.vncsnapshot--xtigervnc", "qemu-vnc") in pairs


def test_files_of_one_name_are_two_cases(tmp_path: Path) -> None:
    for name in ("a b.pcap", "a_b.pcap", "a_b.pcapng"):
        (tmp_path / name).touch()
    path = tmp_path / "suite.toml"
    path.write_text(f'{TARGET}[case.c]\ncapture = "a?b.*"\n')
    assert list(load(path).cases) == ["c.a_b", "c.a_b-2", "c.a_b-3"]


def test_the_bundled_suite_is_found_by_its_name() -> None:
    assert "peers" in suites.bundled()
    assert load(find("peers")).name == "peers"
    with pytest.raises(LabError, match="neither a file nor a bundled suite"):
        find("nothing")


def test_what_a_timed_case_is_held_to(tmp_path: Path) -> None:
    found = read(
        tmp_path, TARGET + CASE + "timed = true\n[timing]\nsamples = 7\neffect_ms = 3\neffect_ratio = 0.5"
    )
    assert found.cases["c"].runs == 7
    assert found.timing.effect(1_000_000) == 3_000_000
    assert found.timing.effect(10_000_000) == 5_000_000
    assert found.cases["c"].played is Side.CLIENT
