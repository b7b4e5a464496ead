# SPDX-License-Identifier: GPL-2.0-or-later
"""Several processes on one capture say what one says, in the same order, numbered alike."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from dissect.app import main as app
from dissect.app.captures import Captures
from dissect.app.commands import schema
from dissect.app.together import read_together
from dissect.dissection import readers
from dissect.dissection.reading import Dissected
from tests.app.captures import CURE, FAST, HANG, runs, write
from tests.capture import build
from tests.capture.test_bulk import ethernet, interleaved
from tests.dissection.conversations import Step


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("together") / "x.pcap"
    packets = [(time, ethernet(packet, tags=packet[-1] % 2)) for time, packet in interleaved(11, 60)]
    path.write_bytes(build.pcap(packets, nano=True, linktype=1))
    return path


def answers(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[list[str], str]:
    assert app.main(["verdict", "--json", *words]) == app.PASS
    out, err = capfd.readouterr()
    return out.splitlines(), err


def test_the_same_answers(
    capture: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, complaints = answers(capfd, str(capture), "--jobs", "1")
    assert len(alone) > 60
    monkeypatch.setattr(readers, "LARGE", 0)
    for swift in (False, True):
        for name in ("SWIFT", "COMPILE"):
            monkeypatch.setattr(readers, name, 0 if swift else 1 << 60)
        for jobs in ("1", "2", "3"):
            together, others = answers(capfd, str(capture), "--jobs", jobs)
            assert together == alone, (swift, jobs)
            assert others == complaints, (swift, jobs)


def test_each_takes_a_share(capture: Path) -> None:
    def clients(share: tuple[int, int]) -> list[str]:
        found = Captures([str(capture)], records=False, share=share)
        return [f"{dissected.verdict.client} {dissected.verdict.start_ns}" for _, dissected in found]

    shares = [clients((number, 3)) for number in range(3)]
    assert all(shares)
    assert sorted(one for share in shares for one in share) == sorted(clients((0, 1)))


def test_rotated_captures_and_a_cut(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = [(time, ethernet(packet)) for time, packet in interleaved(12, 20)]
    names = []
    for number in range(3):
        path = tmp_path / f"{number}.pcap"
        size = len(packets) // 3 + 1
        path.write_bytes(build.pcap(packets[number * size : (number + 1) * size], nano=True, linktype=1))
        names.append(str(path))
    with Path(names[2]).open("r+b") as stream:
        stream.truncate(Path(names[2]).stat().st_size - 5)
    alone = answers(capfd, "--merge", *names, "--jobs", "1")
    monkeypatch.setattr(readers, "LARGE", 0)
    assert answers(capfd, "--merge", *names, "--jobs", "2") == alone
    assert alone[1].count("\n") == 1


def test_the_selected_packets_are_the_same(
    tmp_path: Path, capture: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "1.pcapng", tmp_path / "2.pcapng"
    answers(capfd, str(capture), "--jobs", "1", "--verdict", "wrong-protocol", "-w", str(one))
    monkeypatch.setattr(readers, "LARGE", 0)
    answers(capfd, str(capture), "--jobs", "2", "--verdict", "wrong-protocol", "-w", str(two))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("steps", [[CURE], []])
def test_a_share_may_be_empty(
    tmp_path: Path,
    steps: list[list[Step]],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One conversation, or none: what one process says, two say, and no more."""
    monkeypatch.setattr(readers, "LARGE", 0)
    path = str(write(tmp_path / "x.pcapng", *steps))
    told = []
    for jobs in ("1", "3"):
        code = app.main(["verdict", "--json", path, "--jobs", jobs])
        told.append((code, *capfd.readouterr()))
    assert told[0] == told[1]
    assert told[0][0] == (app.PASS if steps else app.UNUSABLE)


class Part:
    """In place of a `Captures`: fails, or is killed."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.consumed = self.count = 0
        self.opened: list[tuple[int, int]] = []
        self.names: dict[str, dict[str, str]] = {}

    def __iter__(self) -> Iterator[tuple[str, Dissected]]:
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raises":
            raise ZeroDivisionError("nothing divides")
        yield from ()


@pytest.mark.parametrize(("how", "words"), [("raises", "nothing divides"), ("killed", "has died")])
def test_a_process_that_fails_is_no_silence(how: str, words: str) -> None:
    before = len(multiprocessing.active_children())
    with pytest.raises(RuntimeError, match=words):
        list(read_together([Part("ends"), Part(how)], lambda *_: None, {}))  # type: ignore[list-item]
    assert len(multiprocessing.active_children()) == before


class Endless(Part):
    """In place of a `Captures` that is never done."""

    tick: Callable[[], None]
    file = frame = 0

    def __iter__(self) -> Iterator[tuple[str, Dissected]]:
        while self.how:
            self.tick()
        yield from ()


def _endless(pids: Connection) -> None:
    parts = [Endless("on and on") for _ in range(2)]
    for _ in read_together(parts, lambda *_: pids.send(_forked()), {}):  # type: ignore[arg-type]
        pass


def _forked() -> list[int]:
    return [process.pid for process in multiprocessing.active_children() if process.pid is not None]


def test_one_that_is_killed_leaves_nothing_running() -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_endless, args=(theirs,))
    process.start()
    theirs.close()
    started = ours.recv()
    process.kill()
    process.join()
    assert len(started) == 2
    deadline = time.monotonic() + 30
    while any(map(runs, started)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(runs, started))


def test_rows_can_be_sent(capture: Path) -> None:
    """What goes from one process to another keeps its verdict."""
    import pickle

    for _, dissected in Captures([str(capture)], records=False):
        again = pickle.loads(pickle.dumps(dissected))
        assert json.dumps(again.verdict.to_json("")) == json.dumps(dissected.verdict.to_json(""))
        assert dataclasses.asdict(again.conversation) == dataclasses.asdict(dissected.conversation)


@pytest.mark.parametrize("merge", [(), ("--merge",)])
def test_names_of_addresses(
    tmp_path: Path,
    merge: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are beside the addresses however the capture is read, and those at its end too."""
    path = write(tmp_path / "x.pcapng", CURE, FAST, HANG)
    names = build.options("<", (1, bytes([127, 0, 0, 1]) + b"vm7.example\0"))
    with path.open("ab") as target:
        target.write(build.block(4, names))
    found = []
    for large, swift, jobs in ((1 << 40, 1 << 60, "1"), (0, 1 << 60, "1"), (0, 1 << 60, "2"), (0, 0, "2")):
        monkeypatch.setattr(readers, "LARGE", large)
        monkeypatch.setattr(readers, "SMALL", large)
        monkeypatch.setattr(readers, "SWIFT", swift)
        monkeypatch.setattr(readers, "COMPILE", swift)
        found.append(answers(capfd, *merge, str(path), "--jobs", jobs))
        assert app.main(["verdict", *merge, str(path), "--jobs", jobs]) == app.PASS
        assert capfd.readouterr().out.count("127.0.0.1:5900 (vm7.example)") == 3
    assert found == found[:1] * 4
    rows = [json.loads(line) for line in found[0][0]]
    assert [(row["client_name"], row["server_name"]) for row in rows] == [("vm7.example", "vm7.example")] * 3
    validator = Draft202012Validator(schema.load("verdict"))
    assert all(validator.is_valid(row) for row in rows)
