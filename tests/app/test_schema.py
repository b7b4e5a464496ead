# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands print with --json is what their schemas say, and nothing else passes for it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dissect.app import main as app
from dissect.app.commands import schema
from tests.app.captures import CURE, FAST, HANG, write

ROOT = Path(__file__).resolve().parents[2]
PCAPS = sorted((ROOT / "pcaps").glob("*.pcapng"))
SMALL = [path for path in PCAPS if path.stat().st_size < 40_000]

Object = dict[str, Any]


def firstbyte(*words: str, codes: tuple[int, ...] = (app.PASS,)) -> list[Object]:
    """Run a command and return the objects that it prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert app.main(list(words)) in codes
    return [json.loads(line) for line in out.getvalue().splitlines()]


def with_json() -> set[str]:
    """The commands that take --json."""
    parser = app.build_parser(app.COMMANDS)
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    return {name for name, command in commands.items() if "--json" in command._option_string_actions}


# --- real outputs, of each command ----------------------------------------------------------------------


def _verdict(_: Path) -> list[Object]:
    return firstbyte("verdict", "--json", "--comments", *map(str, PCAPS[:9])) + firstbyte(
        "verdict", "--json", *map(str, PCAPS)
    )


def _show(_: Path) -> list[Object]:
    plain = [found for path in SMALL for found in firstbyte("show", "--json", "--secrets", str(path))]
    return plain + firstbyte("show", "--json", "--comments", str(SMALL[0]))


def _scan(folder: Path) -> list[Object]:
    pytest.importorskip("pyarrow")
    (folder / "bad.pcap").write_bytes(b"no capture")
    write(folder / "good.pcapng", CURE, FAST)
    paths = (str(folder / "bad.pcap"), str(folder / "good.pcapng"))
    words = ("scan", "--json", "--jobs", "1", "-o", str(folder / "out"), *paths)
    return firstbyte(*words) + firstbyte(*words)


def _render(folder: Path) -> list[Object]:
    pytest.importorskip("PIL")
    capture = str(ROOT / "pcaps/vncdotool--xtigervnc.pcapng")
    whole = firstbyte("render", "--json", "-o", str(folder), capture)
    damaged = folder / "damaged.pcapng"
    data = bytearray(Path(capture).read_bytes())
    del data[-60_000:-30_000]
    damaged.write_bytes(data)
    codes = (app.PASS, app.UNUSABLE, app.INCONCLUSIVE)
    return whole + firstbyte("render", "--json", "-o", str(folder), str(damaged), codes=codes)


def _plot(folder: Path) -> list[Object]:
    captures = [str(write(folder / "a.pcapng", CURE)), str(write(folder / "b.pcapng", FAST, HANG))]
    return firstbyte("plot", "--json", "-o", str(folder / "a.png"), captures[0]) + firstbyte(
        "plot", "--json", "-o", str(folder / "b.svg"), *captures
    )


def _peers(_: Path) -> list[Object]:
    return firstbyte("peers", "--json")


def _schema(_: Path) -> list[Object]:
    return firstbyte("schema", "--json")


@cache
def _served(name: str) -> tuple[list[Object], list[Object]]:
    """What `serve` and `replay` print where one plays a recording's server to the other, its client."""
    capture = str(ROOT / "pcaps" / name)
    server = subprocess.Popen(
        [sys.executable, "-m", "dissect.app.main", "serve", capture, "--listen", "127.0.0.1:0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            assert server.stderr is not None
            found = re.search(r"127\.0\.0\.1:(\d+)", server.stderr.readline())
            assert found
            to = f"127.0.0.1:{found[1]}"
            replayed = firstbyte("replay", "--json", "--to", to, capture, codes=(0, 1, 3))
            out, _ = server.communicate(timeout=60)
        finally:
            server.kill()
    return [json.loads(line) for line in out.splitlines()], replayed


def _serve(_: Path) -> list[Object]:
    return _served("gvncviewer--qemu-vnc.pcapng")[0]


def _replay(folder: Path) -> list[Object]:
    passed = _served("gvncviewer--qemu-vnc.pcapng")[1]
    refused = firstbyte(
        "replay", "--json", "--to", "127.0.0.1:1", str(ROOT / "pcaps/gvncviewer--qemu-vnc.pcapng"), codes=(1,)
    )
    return passed + refused


def _matrix(folder: Path) -> list[Object]:
    names = "model-vnc-early,model-vnc,model-spice-4"
    made = firstbyte("matrix", "--json", "--peers", names, "-n", "1", "--deadline", "0.5", "--clock", "user")
    pytest.importorskip("scipy")
    results = str(ROOT / "pcaps/trials/round-trips.parquet")
    (folder / "few.ndjson").write_text("".join(json.dumps(row) + "\n" for row in made))
    few = str(folder / "few.ndjson")
    made += firstbyte("matrix", "--json", "--results", results)
    return made + firstbyte("matrix", "--json", "--results", few, "--against", few)


def _record(folder: Path) -> list[Object]:
    out = str(folder / "x.pcapng")
    return firstbyte("record", "vncsnapshot", "xtigervnc", "--json", "--deadline", "3", "-o", out)


def _probe(_: Path) -> list[Object]:
    return firstbyte(
        "probe", "--json", "--peer", "xtigervnc", "--protocols", "spice,rfb", "--lengths", "0,4,12,42",
        "--deadline", "0.3", codes=(0, 1, 3),
    )  # fmt: skip


def _report(folder: Path) -> list[Object]:
    write(folder / "x.pcapng", CURE, HANG)
    return firstbyte("report", "--json", "-o", str(folder / "x.html"), str(folder / "x.pcapng"))


def _export(folder: Path) -> list[Object]:
    write(folder / "x.pcapng", CURE, HANG)
    return firstbyte("export", "--json", "-o", str(folder / "y.pcapng"), str(folder / "x.pcapng"))


def _check(folder: Path) -> list[Object]:
    pytest.importorskip("scipy")
    write(folder / "x.pcapng", CURE)
    (folder / "suite.toml").write_text(
        '[target.new]\nmodel = "SpiceServer"\n[target.old]\nmodel = "SpiceServer"\n'
        "settings = { judges_after = 16 }\n"
        '[case.c]\ncapture = "x.pcapng"\ndeadline = 1\nearly_prefix = true\ntimed = true\nruns = 5\n'
    )
    suite = ("check", "--json", "-o", str(folder / "kept"), "--no-pictures", str(folder / "suite.toml"))
    made = firstbyte(*suite, "--record", "--target", "new")
    made += firstbyte(*suite, "--against", "new", codes=(1,))
    made += firstbyte(*suite, "--compare", "new,old", "--samples", "5", codes=(1,))
    return made + firstbyte(*suite, "--list")


MAKERS: dict[str, Callable[[Path], list[Object]]] = {
    "verdict": _verdict,
    "show": _show,
    "scan": _scan,
    "render": _render,
    "plot": _plot,
    "report": _report,
    "export": _export,
    "peers": _peers,
    "schema": _schema,
    "serve": _serve,
    "replay": _replay,
    "matrix": _matrix,
    "record": _record,
    "probe": _probe,
    "check": _check,
}
NEEDS = {"record": ("xtigervnc", "vncsnapshot"), "probe": ("xtigervnc",)}


@cache
def real(name: str) -> list[Object]:
    """Real objects of a command; made once."""
    with TemporaryDirectory() as folder:
        found = MAKERS[name](Path(folder))
    assert found
    return found


COMMANDS = [
    pytest.param(name, marks=pytest.mark.peer(*NEEDS[name]) if name in NEEDS else ())
    for name in sorted(MAKERS)
]


# --- the schemas ----------------------------------------------------------------------------------------


def test_every_command_with_json_has_a_schema_and_is_tried_here() -> None:
    assert with_json() == set(schema.names()) == set(MAKERS)


@pytest.mark.parametrize("name", schema.names())
def test_it_is_a_schema_that_says_what_everything_is(name: str) -> None:
    found = schema.load(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["$id"] == f"urn:firstbyte:{name}"
    for part in objects(found):
        assert part["additionalProperties"] is False, part
        for key, value in part["properties"].items():
            assert "description" in value or "const" in value, f"{key} is not described"


def objects(part: Any) -> Iterator[Object]:
    """The parts of a schema that describe the keys of an object."""
    if isinstance(part, dict):
        if part.get("type") in ("object", ["object", "null"]) and "properties" in part:
            yield part
        for value in part.values():
            yield from objects(value)
    elif isinstance(part, list):
        for value in part:
            yield from objects(value)


@pytest.mark.parametrize("name", COMMANDS)
def test_real_output_is_valid_and_a_changed_one_is_not(name: str) -> None:
    validator = Draft202012Validator(schema.load(name))
    for found in real(name):
        assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)] == []
    for found in {str(one.get("schema", one.get("kind"))): one for one in real(name)}.values():
        assert not validator.is_valid({**found, "a_new_key": 1})
        for key in found:
            less = {name: value for name, value in found.items() if name != key}
            assert key in optional(name) or not validator.is_valid(less), f"{key} may be left out"
            assert not validator.is_valid({**found, key: [[1.5]]}), f"{key} may be anything"


def optional(name: str) -> set[str]:
    """The keys that a schema says are not always there."""
    whole = schema.load(name)
    return {
        key
        for part in whole.get("oneOf", [whole])
        for key in part.get("properties", ())
        if key not in part.get("required", ())
    }


def test_what_no_bound_can_be() -> None:
    """A time that is a bound has no reaction, and one that is a time has."""
    validator = Draft202012Validator(schema.load("verdict"))
    found = next(row for row in real("verdict") if (row["server_detect"] or {}).get("censored") is False)
    assert validator.is_valid(found)
    assert not validator.is_valid({**found, "server_detect": {**found["server_detect"], "censored": True}})
    assert not validator.is_valid({**found, "server_detect": {**found["server_detect"], "by": None}})
    assert not validator.is_valid({**found, "start_ns": 1.5})


def test_the_command_prints_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["schema", "verdict"]) == 0
    assert json.loads(capsys.readouterr().out) == schema.load("verdict")
    assert app.main(["schema"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{name} " in listed for name in schema.names())
    assert app.main(["schema", "nothing"]) == app.UNUSABLE
