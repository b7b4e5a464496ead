# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte check` from a user's seat: tables, files, exit codes, git bisect, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import xmlschema

from dissect.app.main import build_parser, main
from tests.check import builds
from tests.lab.conftest import await_nothing_left, leftovers_of

pytest.importorskip("scipy")

FIRSTBYTE = (sys.executable, "-m", "dissect.app.main")

SUITE = """
[target.good]
model = "VncServer"
[target.wide]
model = "VncServer"
settings = { width = 99 }
judged_by = "good"
[case.session]
capture = "session.pcapng"
tags = ["a"]
deadline = 5
[case.early]
capture = "session.pcapng"
early_prefix = true
through = "ProtocolVersion"
deadline = 5
"""


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    await_nothing_left(os.getpid())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    builds.session(tmp_path)
    (tmp_path / "suite.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def test_a_table_and_what_is_not_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "suite.toml", "--junit", "report.xml", "--markdown", "summary.md"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[:3] == ["case     good  wide", "session  pass  fail", "early    pass  pass"]
    assert "session on wide: fail" in lines
    assert "  diff: ServerInit.framebuffer_width expected 64, got 99" in lines
    assert "  evidence: check-evidence/wide/session/ (ladder, live capture, diff" in out
    assert lines[-1].startswith("suite: 3 pass, 1 fail; ")
    assert (folder / "check-evidence/wide/session/ladder.png").exists()
    assert not (folder / "check-evidence/good").exists()
    schema = xmlschema.XMLSchema(Path(__file__).parents[1] / "report/junit.xsd")
    text = (folder / "report.xml").read_text()
    schema.validate(text)
    assert "[[ATTACHMENT|check-evidence/wide/session/ladder.png]]" in text
    assert "❌ fail" in (folder / "summary.md").read_text()


def test_json_alone_on_standard_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "suite.toml", "--json", "--tag", "a", "--no-pictures"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["case"], row["target"], row["status"]) for row in rows} == {
        ("session", "good", "pass"),
        ("session", "wide", "fail"),
    }


def test_record_accept_and_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "suite.toml", "--record", "--target", "good"]) == 0
    path = folder / "suite.baselines/good/session.txt"
    before = path.read_text()
    assert main(["check", "suite.toml", "--target", "wide"]) == 1
    assert "conversation 0: expected pass, got diff" in capsys.readouterr().out
    assert main(["check", "suite.toml", "--target", "wide", "--accept", "session"]) == 0
    after = path.read_text()
    changed = set(after.splitlines()) - set(before.splitlines())
    assert "    framebuffer_width = 99".strip() in {line.strip() for line in changed}
    assert len(changed) <= 4  # a diff that one reads
    assert main(["check", "suite.toml", "--target", "wide"]) == 0


def test_two_builds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "suite.toml", "--compare", "good,wide", "--samples", "5", "--markdown", "s.md"]
    assert main(words) == 1
    out = capsys.readouterr().out
    assert out.startswith("wide against good, in turns:\n")
    assert "[95%]" in out
    assert "got diff: ServerInit.framebuffer_width expected 64, got 99" in " ".join(out.split())
    assert "wide against good: **changed**" in (folder / "s.md").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["no.toml"], "firstbyte: no.toml: No such file or directory"),
        (["nothing"], "firstbyte: nothing: neither a file nor a bundled suite (peers)"),
        (["suite.toml", "--case", "x"], "firstbyte: suite.toml: no case 'x'; there are: session, early"),
        (["suite.toml", "--target", "x"], "firstbyte: suite.toml: no target 'x'; there are: good, wide"),
        (["suite.toml", "--tag", "x"], "firstbyte: suite.toml: no tag 'x'; there are: a"),
        (["suite.toml", "--against", "x"], "no baselines of 'x'"),
        (["suite.toml", "--junit", "no/x.xml"], "firstbyte: no: there is no such directory"),
        (["broken.toml"], "firstbyte: broken.toml: [case.c] capture: no.pcapng: no such file in "),
    ],
)
def test_a_mistake_is_one_line_and_two(
    folder: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.toml").write_text('[target.t]\nmodel = "VncServer"\n[case.c]\ncapture = "no.pcapng"\n')
    assert main(["check", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1
    # For git bisect, 2 would be a bad commit: this one cannot be tested.
    assert main(["check", *words, "--bisect"]) == 125


def test_a_mistyped_option_is_no_answer_about_a_commit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "peers", "--tagg", "short", "--bisect"]) == 125
    assert main(["check", "peers", "--tagg", "short"]) == 2
    assert "--tagg" in capsys.readouterr().err


def test_a_damaged_baseline_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "suite.baselines/good/session.txt"
    path.parent.mkdir(parents=True)
    path.write_text("format: 1\nwhat\n")
    assert main(["check", "suite.toml"]) == 2
    assert "session.txt: line 2: no key in 'what'" in capsys.readouterr().err


def test_what_would_be_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "suite.toml", "--list"]) == 0
    assert "session  good    session.pcapng  a" in capsys.readouterr().out


def test_ctrl_c_half_way(folder: Path) -> None:
    """What was decided is told, the rest is not run, and no process is left."""
    cases = "".join(
        f'[case.hang{n}]\ncapture = "session.pcapng"\ndeadline = 300\ntargets = "mute"\n' for n in range(3)
    )
    (folder / "suite.toml").write_text(SUITE + cases + builds.program(folder, "mute", builds.MUTE))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dissect.app.main",
            "check",
            "suite.toml",
            "--parallel",
            "3",
            "--junit",
            "r.xml",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with process:
        limit = time.monotonic() + 60
        while not _listening(process.pid) and time.monotonic() < limit:
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "not-run" in out
    assert " pass " in out  # what was decided by then
    assert "interrupted" in out
    assert "Traceback" not in err
    assert "not-run: interrupted" in (folder / "r.xml").read_text()
    await_nothing_left(process.pid)


def _listening(pid: int) -> bool:
    return len(leftovers_of(pid)) >= 4


BUILD = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    connection, _ = listener.accept()
    connection.sendall(b"RFB VERSION\\n")
    connection.recv(1)
    connection.close()
"""


@pytest.mark.program("git")
def test_git_bisect_finds_the_commit(folder: Path) -> None:
    """Eight commits of a server: one does not start, one brings the regression."""
    repo = folder / "repo"
    repo.mkdir()
    home = Path(__file__).parents[2]
    env = {
        **os.environ, "PYTHONPATH": str(home), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=repo, env=env, check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    for number in range(8):
        text = BUILD.replace("VERSION", "003.003" if number >= 5 else "003.008")
        (repo / "server.py").write_text("raise SystemExit('does not build')\n" if number == 3 else text)
        (repo / "number").write_text(str(number))
        git("add", ".")
        git("commit", "-q", "-m", f"commit {number}")
    (folder / "bisect.toml").write_text(
        f"""
        [target.mine]
        command = ["{{python}}", "-S", "{repo}/server.py", "{{host}}", "{{port}}"]
        ready = {{ listening = true, seconds = 30 }}
        [case.version]
        capture = "session.pcapng"
        through = "ProtocolVersion"
        """
    )
    git("bisect", "start", "HEAD", "HEAD~7")
    out = git(
        "bisect", "run", *FIRSTBYTE, "check", str(folder / "bisect.toml"), "--bisect", "--no-pictures",
        "-o", str(folder / "kept"),
    )  # fmt: skip
    assert "is the first bad commit" in out
    assert "commit 5" in out
    log = git("bisect", "log")
    assert "# bad:" in log
    assert "# good:" in log


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ('[target.t]\nmodel = "VncServer"\n', 0),
        ('[target.t]\nmodel = "VncServer"\nsettings = { width = 99 }\n', 1),
        ('[target.t]\ncommand = ["no-such-server", "{port}"]\n', 125),
        ('[target.t]\ncommand = ["no-such-server", "{port}"]\noptional = true\n', 125),
    ],
)
def test_the_exit_codes_of_a_bisection(folder: Path, table: str, code: int) -> None:
    (folder / "b.toml").write_text(table + '[case.session]\ncapture = "session.pcapng"\n')
    assert main(["check", "b.toml", "--bisect", "--no-pictures"]) == code


def test_a_fault_of_ours_is_no_bad_commit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("dissect.check.suite.load", broken)
    assert main(["check", "suite.toml", "--bisect"]) == 125
    assert "RuntimeError: broken" in capsys.readouterr().err
    assert main(["check", "suite.toml"]) == 70


def test_retries_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check", "suite.toml", "--case", "session", "--retries", "2", "--no-pictures"]
    assert main(words) == 1
    assert "fail (2 retries)" in capsys.readouterr().out


def test_the_pipelines_in_the_documentation_are_ones() -> None:
    """The YAML is YAML of its form, and its command lines are read by the parser."""
    yaml = pytest.importorskip("yaml")
    text = (Path(__file__).parents[2] / "docs/check.md").read_text("utf-8")
    github, gitlab = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.S))
    steps = [step["run"] for step in github["jobs"]["check"]["steps"] if "run" in step]
    lines = [*steps, *gitlab["first-bytes"]["script"]]
    commands = [line.strip() for line in lines if line.startswith("firstbyte ")]
    assert len(commands) == 2
    for command in commands:
        args = build_parser(["check"]).parse_args(shlex.split(command)[1:])
        assert (args.junit, args.markdown) == (Path("report.xml"), Path("summary.md"))
    assert gitlab["first-bytes"]["artifacts"]["reports"]["junit"] == "report.xml"
    assert gitlab["first-bytes"]["allow_failure"] == {"exit_codes": 3}
