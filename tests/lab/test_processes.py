# SPDX-License-Identifier: GPL-2.0-or-later
"""One program under a guard: its output, its end, and that nothing of it stays whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from dissect.lab import guard
from dissect.lab.errors import CannotStart
from dissect.lab.processes import LONGEST_LINE, Exit, Process
from tests.lab.conftest import await_nothing_left, marked_by, python

ENV = {"PATH": os.environ["PATH"]}
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in (0, 1, 2):
            os.close(fd)
        time.sleep(1000)
    os._exit(0)
os.wait()
"""


def until(true: object, seconds: float = 60.0) -> None:
    assert callable(true)
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)


def test_lines_are_kept_with_stream_and_both_times() -> None:
    before = time.time_ns(), time.monotonic_ns()
    with Process("talker") as process:
        script = """
            import os, sys, time
            print("one", flush=True)
            while not os.path.exists("heard"):
                time.sleep(0.005)
            print("two", file=sys.stderr, flush=True)
            sys.stdout.write("no end")
        """
        process.spawn(python(script), ENV)
        assert process.wait_for_line("one", 60)
        heard_ns = time.time_ns(), time.monotonic_ns()
        (process.directory / "heard").touch()
        assert process.wait(60) is not None
        process.stop()
    lines = {line.text: line for line in process.output}
    assert {text: line.stream for text, line in lines.items()} == {
        "one": "stdout",
        "two": "stderr",
        "no end": "stdout",
    }
    one, two = lines["one"], lines["two"]
    assert before[0] < one.unix_ns < heard_ns[0] < two.unix_ns < time.time_ns()
    assert before[1] < one.monotonic_ns < heard_ns[1] < two.monotonic_ns < time.monotonic_ns()


@pytest.mark.parametrize(
    ("script", "status"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9), ("pass", 0)],
)
def test_the_exit_status_and_its_time(script: str, status: int) -> None:
    with Process("quick") as process:
        process.spawn(python(script), ENV)
        ended = process.wait(60)
        assert ended is not None
        assert ended.status == status
        assert process.started_ns is not None
        assert process.started_ns < ended.unix_ns < time.time_ns()
        until(lambda: not process.alive)


def test_a_program_that_cannot_start_gives_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    for path, reason in [(tmp_path / "absent", "No such file"), (text, "Permission denied")]:
        process = Process("absent")
        with pytest.raises(CannotStart, match=reason) as caught:
            process.spawn([str(path)], ENV)
        assert "\n" not in str(caught.value)
        assert not process.directory.exists()


def test_the_directory_is_private_and_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").touch()
    with Process("writer") as process:
        assert process.directory.stat().st_mode & 0o777 == 0o700
        script = f"""
            import os
            os.makedirs("a/b/c")
            open("a/b/file", "w").close()
            os.symlink({str(treasure)!r}, "a/link")
            os.chmod("a/b", 0)
        """
        process.spawn(python(script), ENV)
        process.wait(60)
        assert (process.directory / "a").is_dir()
    assert not process.directory.exists()
    assert (treasure / "gold").exists()


def test_a_daemon_that_left_its_session_is_ended() -> None:
    with Process("daemon") as process:
        process.spawn(python(DAEMON), ENV)
        ended = process.wait(60)
        assert ended is not None
        assert ended.status == 0
        assert process.alive
        (daemon,) = process.pids()
        assert daemon != process.pid
        process.stop()
    assert not Path(f"/proc/{daemon}").exists()
    until(lambda: not process.alive)
    assert process.left == ()


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    script = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", flush=True)
        time.sleep(1000)
    """
    process = Process("deaf")
    process.spawn(python(script), ENV)
    assert process.wait_for_line("deaf", 60)
    began = time.monotonic()
    process.stop(grace_s=0.2)
    assert 0.2 <= time.monotonic() - began < 30
    assert process.exit is not None
    assert process.exit.status == -signal.SIGKILL


def test_a_stopped_process_is_ended_too() -> None:
    process = Process("frozen")
    process.spawn(python("import os; os.kill(os.getpid(), 19)"), ENV)
    assert process.pid is not None
    stat = Path(f"/proc/{process.pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
    process.stop(grace_s=5)
    assert process.exit is not None
    assert process.exit.status == -signal.SIGTERM


def test_a_process_that_forks_without_end_is_ended() -> None:
    script = """
        import os, time
        print("on", flush=True)
        while True:
            if os.fork():  # the parent ends, the child goes on: never the same process for long
                os._exit(0)
            os.setsid()
            time.sleep(0.001)
    """
    process = Process("runner")
    process.spawn(python(script), ENV)
    assert process.wait_for_line("on", 60)
    process.stop(grace_s=0.05)
    assert process.left == ()
    assert marked_by(os.getpid()) == []


def test_a_flood_costs_bounded_memory_and_the_last_lines_are_kept() -> None:
    script = """
        for number in range(100_000):
            print("line", number)
        print("x" * 1_000_000)
        print("last", flush=True)
    """
    with Process("flood", kept_lines=100) as process:
        process.spawn(python(script), ENV)
        assert process.wait(60) is not None
        process.stop()
        assert len(process.output) == 100
        assert process.output.dropped > 100_000
        assert max(len(line.text) for line in process.output) <= LONGEST_LINE
        assert process.output.last(1) == ["last"]


def test_waiting_for_a_line_sees_old_ones_new_ones_and_the_end() -> None:
    script = """
        import time
        print("early", flush=True)
        time.sleep(0.2)
        print("late 17", flush=True)
    """
    with Process("talker") as process:
        process.spawn(python(script), ENV)
        assert process.wait_for_line("early", 60)
        found = process.wait_for_line(r"late (\d+)", 60)
        assert found is not None
        assert found[1] == "17"
        assert process.wait_for_line("early", 0)
        began = time.monotonic()
        assert process.wait_for_line("never", 120) is None  # its output ends long before
        assert time.monotonic() - began < 60


def test_stop_may_be_called_again_and_from_several_threads() -> None:
    process = Process("patient")
    process.spawn(python("import time; time.sleep(1000)"), ENV)
    threads = [threading.Thread(target=process.stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    process.stop()
    assert not process.alive


def test_when_the_guard_is_killed_the_rest_is_still_swept_up() -> None:
    process = Process("orphan")
    process.spawn(python(DAEMON), ENV)
    process.wait(60)
    os.kill(process.guard_pid, signal.SIGKILL)
    until(lambda: not process.alive)
    process.stop()
    assert not process.directory.exists()
    assert marked_by(os.getpid()) == []


def test_no_descriptor_and_no_thread_is_lost() -> None:
    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = count()
    for _ in range(3):
        with Process("quick") as process:
            process.spawn(python("print('x')"), ENV)
            process.wait(60)
    assert count() == before


def test_descendants_reads_names_with_spaces_and_parentheses(tmp_path: Path) -> None:
    odd = tmp_path / ") R 1 (x"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(odd), "100"])
    try:
        until(lambda: ") R 1 (x" in Path(f"/proc/{child.pid}/comm").read_text())
        assert child.pid in guard.descendants(os.getpid())
        assert guard.parents()[child.pid] == os.getpid()
    finally:
        child.kill()
        child.wait()


MAIN = """
import os, sys, time
sys.path.insert(0, {root!r})
from dissect.lab.processes import Process
process = Process("peer")
script = {daemon!r} + "open('there', 'w').close()\\nprint('up', flush=True); time.sleep(1000)"
process.spawn([sys.executable, "-I", "-S", "-c", script], dict(PATH=os.environ["PATH"]))
assert process.wait_for_line("up", 60)
print("started", flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("end", "number"),
    [
        pytest.param("time.sleep(1000)", signal.SIGKILL, id="killed"),
        pytest.param("time.sleep(1000)", signal.SIGTERM, id="terminated"),
        pytest.param("time.sleep(1000)", signal.SIGINT, id="interrupted"),
        pytest.param("raise RuntimeError('oops')", None, id="exception"),
        pytest.param("os._exit(3)", None, id="exit-without-cleaning"),
        pytest.param("pass", None, id="forgot-to-stop"),
        # Here the connection to the guard stays open in another process, when the main program is gone.
        pytest.param(
            "os.fork() or (time.sleep(3), os._exit(0)); time.sleep(1000)", signal.SIGKILL, id="forked"
        ),
    ],
)
def test_nothing_stays_when_the_main_program_ends(end: str, number: int | None) -> None:
    root = str(Path(__file__).parents[2])
    text = MAIN.format(root=root, daemon=textwrap.dedent(DAEMON), end=end)
    main = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert main.stdout is not None
    assert main.stderr is not None
    with main.stdout, main.stderr:
        assert main.stdout.readline() == "started\n", main.stderr.read()
        if number is not None:
            assert len(marked_by(main.pid)) == 2  # the command and its daemon
            main.send_signal(number)
        main.wait(60)
    await_nothing_left(main.pid)


def test_an_exit_in_words() -> None:
    words = [str(Exit(status, 0, 0)) for status in (0, 3, -11, -200)]
    assert words == ["exit code 0", "exit code 3", "killed by SIGSEGV", "killed by signal 200"]
