# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures of any size and kind on the command line: rotated, growing, piped, interrupted, filtered."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dissect.app import main as app
from dissect.app.captures import Captures, Growing, Wanted, by_first_packet
from dissect.capture import PcapngWriter, open_capture
from tests.app.captures import CURE, FAST, HANG, START, write
from tests.capture.build import pcap
from tests.dissection.conversations import run

FIRSTBYTE = [sys.executable, "-m", "dissect.app.main"]


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    code = app.main(["verdict", "--json", *words])
    out, err = capsys.readouterr()
    assert code == app.PASS, err
    return [json.loads(line) for line in out.splitlines()]


def rotated(folder: Path, pieces: int) -> tuple[Path, list[str]]:
    """A capture, and the same packets in several files."""
    whole = write(folder / "whole.pcapng", CURE, FAST, HANG)
    with open_capture(whole) as capture:
        frames = sorted(capture, key=lambda frame: frame.time_ns)
    for number, frame in enumerate(frames):
        frame.time_ns += number  # no two at once
    with PcapngWriter(whole, linktype=101) as writer:
        for frame in frames:
            writer.write(frame.time_ns, frame.data)
    size = -(-len(frames) // pieces)
    names = []
    for number in range(pieces):
        path = folder / f"part{pieces - number}.pcapng"  # named against their order in time
        with PcapngWriter(path, linktype=101) as writer:
            for frame in frames[number * size : (number + 1) * size]:
                writer.write(frame.time_ns, frame.data)
        names.append(str(path))
    return whole, names


@pytest.mark.parametrize("pieces", [2, 3, 7])
def test_rotated_captures_are_one(tmp_path: Path, pieces: int, capsys: pytest.CaptureFixture[str]) -> None:
    whole, names = rotated(tmp_path, pieces)
    expected = rows(capsys, str(whole), "--verdict", "wrong-protocol")
    found = rows(capsys, "--merge", *sorted(names), "--verdict", "wrong-protocol")
    assert by_first_packet(sorted(names)) == names
    for row in (*expected, *found):
        del row["capture"]
    assert found == expected
    assert len(found) == 2


def test_a_rotated_capture_with_a_bad_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, names = rotated(tmp_path, 2)
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(b"no capture")
    assert app.main(["verdict", "--json", "--merge", *names, str(bad)]) == app.PASS
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert f"firstbyte: {bad}: at byte 0: not a capture but text" in err


def test_compressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = write(tmp_path / "x.pcapng", CURE, FAST)
    packed = tmp_path / "x.pcapng.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    expected, found = rows(capsys, str(plain)), rows(capsys, str(packed))
    for row in (*expected, *found):
        del row["capture"]
    assert found == expected


def test_selections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path / "x.pcapng", CURE, FAST, HANG))
    assert len(rows(capsys, path)) == 3
    assert {row["verdict"] for row in rows(capsys, path, "--verdict", "silent")} == {"silent"}
    assert [row["conversation"] for row in rows(capsys, path, "--port", "40001")] == [1]
    assert len(rows(capsys, path, "--port", "5900", "--verdict", "wrong-protocol")) == 2
    assert len(rows(capsys, path, "--host", "127.0.0.1")) == 3
    assert app.main(["verdict", "--json", path, "--host", "10.9.9.9"]) == app.PASS
    assert capsys.readouterr() == ("", "firstbyte: 3 conversations found, none of what is asked for\n")
    assert app.main(["verdict", path, "--port", "http"]) == app.UNUSABLE
    assert "'http' is no port number" in capsys.readouterr().err


def test_addresses_are_compared_as_addresses() -> None:
    verdict = run(CURE).verdict
    assert Wanted(hosts=["127.0.0.1"])(verdict)
    assert not Wanted(hosts=["127.0.0.2", "somewhere"])(verdict)
    assert Wanted(hosts=["127.0.0.2", "127.0.0.1"], ports=[40000], verdicts=["wrong-protocol"])(verdict)
    assert not Wanted(ports=[1])(verdict)
    names = {"127.0.0.1": "VM7.example"}
    assert Wanted(hosts=["vm7.Example"])(verdict, names)
    assert not Wanted(hosts=["vm7"])(verdict, names)


def test_a_filter_of_tcpdump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path / "x.pcapng", CURE, FAST))
    (row,) = rows(capsys, path, "--filter", "tcp port 40001")
    assert str(row["client"]).endswith(":40001")
    assert app.main(["verdict", path, "--filter", "tcp port nonsense"]) == app.UNUSABLE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("firstbyte: --filter 'tcp port nonsense': ")
    assert err.count("\n") == 1
    assert app.main(["verdict", path, "--filter", "udp"]) == app.UNUSABLE
    assert "no TCP conversation in this capture that --filter lets through" in capsys.readouterr().err


def test_progress_goes_to_a_terminal_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes read of how many, conversations; nothing where nobody sees it."""
    path = str(write(tmp_path / "x.pcapng", CURE, FAST))
    seen: list[str] = []

    def update(self: object, text: str) -> None:
        seen.append(text)

    monkeypatch.setattr("dissect.app.terminal.Progress.update", update)
    assert len(list(Captures([path], records=False))) == 2
    assert seen == []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert len(list(Captures([path], records=False))) == 2
    size = Path(path).stat().st_size
    assert seen[-1] == f"{path}: {size:,} bytes of {size:,} (100 %), 2 conversations"
    # Of several captures how far all of them are, each by itself or as one.
    other = str(write(tmp_path / "y.pcapng", HANG))
    both = size + Path(other).stat().st_size
    for merge, count in ((False, 3), (True, 2)):  # the one of the other has the ports of the first
        seen.clear()
        assert len(list(Captures([path, other], records=False, merge=merge))) == count
        last = f"{both:,} bytes of {both:,} (100 %), {count} conversations"
        assert seen[-1].endswith(f", of 2 captures: {last}")
        percents = [int(text.rpartition("(")[2].split()[0]) for text in seen]
        assert percents == sorted(percents)


def test_a_pipe_gives_rows_as_they_are_decided(tmp_path: Path) -> None:
    """The first conversation has ended while the capture goes on: its row is there before the rest comes."""
    data = write(tmp_path / "x.pcapng", CURE, FAST).read_bytes()
    with open_capture(tmp_path / "x.pcapng") as capture:
        frames = list(capture)
    # What follows the second conversation's last packet.
    cut = frames[-1].offset
    with subprocess.Popen(
        [*FIRSTBYTE, "verdict", "--json", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data[:cut])
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        assert first["verdict"] == "wrong-protocol"
        process.stdin.write(data[cut:])
        process.stdin.close()
        assert len(process.stdout.read().splitlines()) == 1
        assert process.wait(20) == app.PASS


@pytest.mark.parametrize("how", ["pipe", "named pipe"])
def test_a_person_sees_rows_of_a_pipe_as_they_are_decided(how: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcapng", CURE, FAST)
    with open_capture(path) as capture:
        cut = list(capture)[-1].offset
    os.mkfifo(tmp_path / "fifo")
    name = "-" if how == "pipe" else str(tmp_path / "fifo")
    with subprocess.Popen(
        [*FIRSTBYTE, "verdict", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stream = process.stdin if how == "pipe" else (tmp_path / "fifo").open("wb")
        stream.write(path.read_bytes()[:cut])
        stream.flush()
        assert process.stdout.readline().split()[:3] == [b"#", b"client", b"server"]
        assert b"wrong-protocol" in process.stdout.readline()
        stream.write(path.read_bytes()[cut:])
        stream.close()
        assert process.stdout.read().count(b"wrong-protocol") == 1
        assert process.wait(20) == app.PASS


@pytest.mark.parametrize("how", ["pipe", "follow"])
def test_ctrl_c_gives_what_was_found_so_far(tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "x.pcapng", CURE, HANG)
    data = path.read_bytes()
    last = len(data) - int.from_bytes(data[-4:], "little")  # without the block that says when it was stopped
    path.write_bytes(data[:last])  # the end is still to come
    words = ["-"] if how == "pipe" else ["--follow", str(path)]
    with subprocess.Popen(
        [*FIRSTBYTE, "verdict", "--json", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if how == "pipe":
            process.stdin.write(data[:last])
            process.stdin.flush()
        else:
            with path.open("ab") as more:  # the file grows while it is read
                time.sleep(0.1)
                more.write(data[last : last + 3])
        deadline = time.monotonic() + 60
        while not _waits(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == app.INTERRUPTED
    found = [json.loads(line) for line in out.splitlines()]
    assert {row["verdict"] for row in found} == {"wrong-protocol", "silent"}
    assert all(row.get("partial") is True for row in found if row["verdict"] == "silent")
    assert b"interrupted: this is what was found so far; 1 conversation had not ended by then" in err
    assert b"Traceback" not in err


def _waits(pid: int) -> bool:
    """Whether a process has read what there is: it sleeps, with its modules loaded."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "S" and "numpy" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def test_a_growing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Growing, "PAUSE", 0.01)
    path = tmp_path / "grows"
    path.write_bytes(b"one")
    growing = Growing(str(path))
    buffer = bytearray(10)
    assert growing.readinto(memoryview(buffer)) == 3

    def grow() -> None:
        with path.open("ab") as stream:
            stream.write(b"more")

    timer = threading.Timer(0.1, grow)
    timer.start()
    assert growing.readinto(memoryview(buffer)) == 4
    assert bytes(buffer[:4]) == b"more"
    timer.join()
    growing.close()
    assert os.path.getsize(path) == 7  # noqa: PTH202


@pytest.mark.parametrize("back", [9_999, 10_000])
def test_times_that_run_back_far_are_said(
    back: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_capture(write(tmp_path / "x.pcapng", CURE)) as capture:
        packets = [(frame.time_ns, frame.data) for frame in capture]
    last = packets.pop()
    other = packets[-1][0] - back * 10**6
    path = tmp_path / "y.pcap"
    path.write_bytes(pcap([*packets, (other, last[1])], nano=True))
    assert len(rows(capsys, str(path))) == 1
    assert app.main(["verdict", str(path)]) == app.PASS
    assert ("the times of its packets run back by up to 10 s: " in capsys.readouterr().err) == (
        back == 10_000
    )


def test_names_without_times_stay_where_they_are(tmp_path: Path) -> None:
    late = write(tmp_path / "late.pcapng", FAST)
    with PcapngWriter(tmp_path / "early.pcapng", linktype=101) as writer:
        writer.write(START - 10**9, b"")
    names = [str(late), str(tmp_path / "early.pcapng")]
    assert by_first_packet(names) == names[::-1]
    assert by_first_packet([*names, "-"]) == [*names, "-"]
