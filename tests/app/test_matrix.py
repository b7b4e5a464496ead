# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte matrix`: rows on stdout or in a folder, a table, Ctrl-C, and one line for bad input."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dissect.app.main import INCONCLUSIVE, INTERRUPTED, PASS, UNUSABLE, main
from dissect.lab.matrix import MODELS, Matrix
from dissect.lab.models import SpiceServer, VncServer, serving
from dissect.timing.results import FILE, read_rows
from tests.timing.test_results import row

PAIR = ["matrix", "--peers", "model-vnc-early,model-vnc-quiet,model-spice-4", "--deadline", "1", "-n", "2"]


def test_rows_on_stdout_and_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*PAIR, "--clock", "user", "-o", str(tmp_path / "run"), "--parquet", str(tmp_path / "x.parquet")]
    assert main([*words, "--json"]) == PASS
    out, err = capsys.readouterr()
    printed = [json.loads(line) for line in out.splitlines()]
    assert len(printed) == 4
    assert "4 trials of 4, user clock only: at most" in err
    kept, problems = read_rows(tmp_path / "run")
    assert problems == []
    assert [row.to_json() for row in kept] == printed
    assert read_rows(tmp_path / "x.parquet")[0] == kept
    assert main(words) == PASS  # nothing is left to do, and the table is there
    out, err = capsys.readouterr()
    assert "0 trials of 4" in err
    text = " ".join(out.split())
    assert "silent" in text
    assert "wrong-protocol" in text
    assert "error reply" in text
    assert "error reply 2/2 [34-100 %]" in text
    assert "nothing 2/2 [34-100 %] ≥ 1" in text
    assert "medians [95 % band], shares [95 %, Wilson], user clock" in text
    assert "deadline 1 s, seed 0, warm servers; load average" in text


def test_two_are_compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model-vnc-peek", "model-vnc-peek-old"):  # who speaks at once is not to come too late
        model = MODELS[name]
        assert isinstance(model, VncServer)
        assert model.peek is not None
        monkeypatch.setitem(MODELS, name, replace(model, peek=replace(model.peek, ns=500_000_000)))
    peers = "model-vnc-early,model-vnc-quiet,model-vnc-peek,model-vnc-peek-old"
    words = ["matrix", "--peers", peers, "--clock", "user", "-n", "5", "--deadline", "5"]
    assert main([*words, "--compare", "model-vnc-quiet,model-vnc-early"]) == PASS
    out = capsys.readouterr().out
    assert "model-vnc-early against model-vnc-quiet, user clock:" in out
    lines = {
        line.split("  ")[0]: line for line in out.splitlines() if "to ServerInit" in line and "5, " in line
    }
    # How long it took is the machine's: tests/timing holds the figures to rows of known times.
    said = re.search(r"  5, 5 +[-+]?[\d.]+ \S+ \[(.+), (.+)\] +p = ([\d.]+)$", lines["model-vnc-peek"])
    assert said is not None
    assert 0 < float(said[3]) <= 1
    assert "only with model-vnc-quiet" in lines["model-vnc-peek-old"]


def test_two_runs_are_compared_and_summarised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, ns in (("old", 5_000_000), ("new", 9_000_000)):
        lines = [json.dumps(row(trial=at, ns=ns + at).to_json()) + "\n" for at in range(6)]
        (tmp_path / name).write_text("".join(lines))
    words = ["matrix", "--results", str(tmp_path / "new"), "--against", str(tmp_path / "old")]
    assert main(words) == PASS
    out = " ".join(capsys.readouterr().out.split())
    assert "gvncviewer → qemu-spice: wrong-protocol, n = 6" in out
    assert "server close 6/6 [61-100 %] 9.00 ms" in out
    assert "gvncviewer qemu-spice server noticed 6, 6 +4 ms [+4.00 ms, +4.00 ms] p = 0.00" in out
    assert main([*words, "--json"]) == PASS
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["schema"].split("/")[0] for one in told] == ["firstbyte-pair"] + 3 * ["firstbyte-comparison"]
    pair, change = told[0], told[1]
    circumstances = {
        "clock": "wire",
        "n": 6,
        "deadline_ns": [5_000_000_000],
        "seed": [1],
        "load1": [0.5, 0.5],
    }
    for one in (pair, change["before"], change["after"]):
        assert {name: one[name] for name in circumstances} == circumstances
    assert pair["figures"][0]["outcomes"]["close"]["count"] == 6
    assert (change["what"], change["difference_ns"]) == ("server noticed", 4_000_000)
    assert change["low_ns"] <= 4_000_000 <= change["high_ns"]


def test_lines_over_round_trips_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        json.dumps(
            row(
                trial=at,
                rtt_ns=rtt,
                handshake_ns=rtt + 200_000 + at,
                over_ns={"wire": 2 * rtt + 3_000_000 + at},
            ).to_json()
        )
        + "\n"
        for at, rtt in enumerate([0, 10_000_000, 50_000_000] * 4)
    ]
    (tmp_path / "far").write_text("".join(lines))
    assert main(["matrix", "--results", str(tmp_path / "far")]) == PASS
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "over for the client" in line]
    assert "2.00 [2.00, 2.00]" in line
    assert "2.60 ms [" in line  # what 2 handshakes of 0.2 ms leave of 3 ms
    assert "added 10 ms: handshakes took 10.2 ms at the least" in out
    assert main(["matrix", "--results", str(tmp_path / "far"), "--json"]) == PASS
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (over,) = [one for one in told if one["schema"] == "firstbyte-round-trips/1" and "over" in one["what"]]
    assert abs(over["round_trips"] - 2) < 0.001
    assert (over["n"], over["exact"], over["hung"]) == (12, 12, 0)
    assert list(over["handshake_ns"]) == ["0", "10000000", "50000000"]


def test_an_interrupted_run_keeps_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Matrix.run

    def run(self: Matrix, done: Any) -> Iterator[Any]:
        for number, found in enumerate(original(self, done)):
            if number == 1:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Matrix, "run", run)
    assert main([*PAIR, "-o", str(tmp_path)]) == INTERRUPTED
    assert "interrupted after 1 of 4 trials" in capsys.readouterr().err
    assert len(read_rows(tmp_path)[0]) == 1


CHILD = """
import resource, sys
sys.dont_write_bytecode = True  # what does not fit would stay behind cut short, for every later program
from dissect.app.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_ends_the_run_with_what_it_has(tmp_path: Path) -> None:
    """A file that may not grow is to a program what a full disk is; no half row is left."""
    words = [*PAIR[:2], "model-vnc-early,model-spice-4", "--clock", "user", "--deadline", "1", "-n", "11"]
    command = [sys.executable, "-c", CHILD, *words, "-o", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == INCONCLUSIVE
    rows, problems = read_rows(tmp_path / "run")
    assert problems == []
    assert 0 < len(rows) < 11
    line = done.stderr.splitlines()[-1]
    assert f"File too large: stopped after {len(rows) + 1} of 11 trials" in line
    assert f"n = {len(rows) + 1}" in done.stdout
    assert main([*words, "-o", str(tmp_path / "run")]) == PASS  # there is room again: it goes on
    assert len(read_rows(tmp_path / "run")[0]) == 11


def test_an_interrupt_leaves_rows_and_no_process(tmp_path: Path) -> None:
    words = ["matrix", "--peers", "model-vnc-quiet,model-vnc-early,model-spice-4", "--deadline", "1"]
    command = [sys.executable, "-m", "dissect.app.main", *words, "-n", "50", "-o", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / FILE).exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in err
    assert "interrupted after" in err
    assert "medians [95 % band]" in out
    assert read_rows(tmp_path / "run")[1] == []


def test_results_that_nobody_takes_are_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    words = [*PAIR, "--clock", "user", "--json", "-n", "1"]
    command = [sys.executable, "-m", "dissect.app.main", *words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == UNUSABLE
    assert done.stderr.splitlines()[-1] == "firstbyte: No space left on device"


def test_what_is_lost_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tmp_path / "mine.toml"
    table.write_text(
        '[never]\nrole = "client"\nprotocol = "rfb"\ncommand = ["true", "{host}", "{port}"]\n'
        '[absent]\nrole = "client"\nprotocol = "rfb"\ncommand = ["no-such-program", "{host}", "{port}"]\n'
    )
    peers = f"{table},never,absent,model-vnc"
    assert main(["matrix", "--peers", peers, "--clock", "user", "-n", "1"]) == INCONCLUSIVE
    out, err = capsys.readouterr()
    assert "lost: 1 trial: never → model-vnc: the client did not connect" in out
    assert "absent: not installed: left out" in err


def test_results_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    lines = [json.dumps(one.to_json()) + "\n" for one in (row(), row(trial=1, by=None))]
    Path("run/trials.ndjson").write_text("".join(lines))
    for kind in ("heat", "times", "curves"):
        assert main(["plot", "run", "--kind", kind, "--side", "server", "--json"]) == PASS
        told = json.loads(capsys.readouterr().out)
        assert told == {"path": f"firstbyte-{kind}.png", "kind": kind, "trials": 2}
        assert Path(told["path"]).read_bytes().startswith(b"\x89PNG")
    assert main(["plot", "run/trials.ndjson", "-o", "x.svg"]) == PASS
    assert "How long until the client noticed" in Path("x.svg").read_text()
    capsys.readouterr()
    Path("cut.ndjson").write_text(lines[0] + lines[1][:-9])
    assert main(["plot", "cut.ndjson", "-o", "x.svg"]) == PASS
    assert "the row is cut off" in capsys.readouterr().err


def test_probes_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(SpiceServer(key_per_link=False)) as served:
        quick = ["--deadline", "0.8", "--lengths", "3,4,12", "--json"]
        assert main(["probe", f"127.0.0.1:{served.port}", *quick]) == PASS
    Path("probe.json").write_text(capsys.readouterr().out)
    assert main(["plot", "probe.json", "-o", "x.svg"]) == PASS
    assert "speaks SPICE" in Path("x.svg").read_text()
    assert main(["plot", "probe.json", "--kind", "heat"]) == UNUSABLE


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["bad.ndjson"], "no row of firstbyte-trial/1"),
        (["good.ndjson", "bad.txt"], "bad.txt: captures and results do not go into one picture"),
        (["good.ndjson", "--kind", "ladder"], "of a matrix there is heat, times, curves, rtt, not ladder"),
        (["bad.txt", "--kind", "heat"], "bad.txt: --kind heat needs results"),
        (["lost.ndjson", "--kind", "times"], "lost.ndjson: no observation to draw"),
    ],
)
def test_results_that_cannot_be_drawn(
    words: list[str],
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.ndjson").write_text(json.dumps(row().to_json()) + "\n")
    Path("lost.ndjson").write_text(json.dumps(row(lost="gone").to_json()) + "\n")
    Path("bad.ndjson").write_text('{"schema": "firstbyte-trial/1"}\n')
    Path("bad.txt").write_text("words")
    assert main(["plot", *words]) == UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert line in err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--peers", "model-vnc"], "0 clients and 1 server"),
        (["--peers", "nobody,model-vnc"], "nobody"),
        (["--peers", "no-such.toml,model-vnc"], "no-such.toml"),
        ([], "required"),
        (["--scenario", "cure", "--compare", "model-vnc-quiet,model-spice-4"], "--compare"),
        (["--scenario", "cure", "-n", "0"], "between 1 and"),
        (["--scenario", "cure", "--deadline", "0"], "not a number of seconds"),
        (["--scenario", "cure", "-o", "/dev/null/x"], "/dev/null/x"),
        (["--scenario", "cure", "--rtt", "1,1"], "different numbers of ms"),
        (["--scenario", "cure", "--rtt", "-1"], "--rtt"),
        (["--scenario", "cure", "--rtt", "1", "--clock", "user"], "no user clock"),
        (["--results", "/dev/null"], "no row of firstbyte-trial/1"),
        (["--results", "/dev/null", "-o", "x"], "--output goes with a run"),
    ],
)
def test_bad_input_is_exit_code_2(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["matrix", *words]) == UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err.splitlines()[-1]
