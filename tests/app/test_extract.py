# SPDX-License-Identifier: GPL-2.0-or-later
"""`-w`: the packets of selected conversations, unchanged, and nothing else."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from dissect.app import main as app
from dissect.app.extract import Chosen
from dissect.capture import PcapngWriter, TcpScript, open_capture
from tests.app.captures import CURE, FAST, HANG, START, write
from tests.capture import build
from tests.capture.test_link import MACS, pieces


def frames(path: Path) -> list[tuple[int, int, bytes, int]]:
    with open_capture(path) as capture:
        return [(one.time_ns, one.linktype, one.data, one.length) for one in capture]


def extract(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app.main(["verdict", *words]) == app.PASS
    return capsys.readouterr().err


def test_only_the_selected_conversations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write(tmp_path / "x.pcapng", CURE, FAST, HANG), tmp_path / "out.pcapng"
    err = extract(capsys, str(source), "--verdict", "wrong-protocol", "-w", str(target))
    assert "of 2 conversations written" in err
    expected = [
        one
        for one in frames(source)
        if one[2][20:22] in (b"\x9c\x40", b"\x9c\x41") or one[2][22:24] in (b"\x9c\x40", b"\x9c\x41")
    ]
    assert frames(target) == expected
    assert app.main(["verdict", "--json", str(target)]) == app.PASS
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["verdict"] for row in found] == ["wrong-protocol"] * 2


def test_one_of_two_on_the_same_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ports that are used again: the second connection is another conversation."""
    source, target = tmp_path / "x.pcapng", tmp_path / "out.pcapng"
    with PcapngWriter(source, linktype=101) as writer:
        for number in range(3):
            script = TcpScript(
                ("127.0.0.1", 40_000), ("127.0.0.1", 5900), writer.write, client_isn=10_000 * number
            )
            start = START + number * 10**9
            script.opened(start)
            for side, what, time in CURE:
                if isinstance(what, bytes):
                    script.sent(side, what, start + time // 100)
            script.reset(CURE[-1][0], start + 10**8)
    extract(capsys, str(source), "--conversation", "1", "-w", str(target))
    found, all_frames = frames(target), frames(source)
    third = len(all_frames) // 3
    assert found == all_frames[third : 2 * third]


def test_over_rotated_captures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, target = write(tmp_path / "x.pcapng", CURE, FAST), tmp_path / "out.pcapng"
    everything = frames(whole)
    names = []
    for number, part in enumerate((everything[:5], everything[5:9], everything[9:])):
        path = tmp_path / f"part{number}.pcapng"
        with PcapngWriter(path, linktype=101) as writer:
            for time_ns, _, data, length in part:
                writer.write(time_ns, data, length)
        names.append(str(path))
    extract(capsys, "--merge", *names, "--port", "40000", "-w", str(target))
    assert frames(target) == [one for one in everything if b"\x9c\x40" in (one[2][20:22], one[2][22:24])]


def test_link_types_fragments_cut_frames_and_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "x.pcapng", tmp_path / "out.pcapng"
    packets = frames(write(tmp_path / "plain.pcapng", CURE))
    data = build.shb() + build.idb(linktype=101, resolution=9) + build.idb(linktype=1, resolution=9)
    data += build.block(10, b"KLST" + (7).to_bytes(4, "little") + b"secrets\0")
    for number, (time, _, packet, _) in enumerate(packets):
        if len(packet) > 100:
            for part in pieces(packet, 64):
                data += build.epb(time, part)
        elif number % 2:
            data += build.epb(time, MACS + b"\x08\x00" + packet, interface=1, length=2000)
        else:
            data += build.epb(time, packet)
    source.write_bytes(data)
    extract(capsys, str(source), "-w", str(target))
    assert frames(target) == frames(source)
    with open_capture(target) as capture:
        list(capture)
        assert capture.secrets == [(int.from_bytes(b"KLST", "little"), b"secrets")]


def test_what_else_the_capture_holds_comes_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Comments, names of addresses and interfaces, statistics, other options, each interface's own time."""
    source, target = tmp_path / "x.pcapng", tmp_path / "out.pcapng"
    packets = frames(write(tmp_path / "plain.pcapng", CURE, HANG))
    flags = build.options("<", (1, b"on a packet"), (2, b"\1\0\0\0"))
    names = build.options("<", (1, b"\x7f\0\0\1vm7.example\0"))
    data = build.shb() + build.idb(linktype=101, resolution=9) + build.idb(linktype=1, resolution=0x94)
    for time, _, packet, _ in packets:
        block = build.epb(time, packet)
        data += build.block(6, block[8:-4] + flags)
    data += build.block(4, names) + build.isb(START + 10**11)
    source.write_bytes(data)
    err = extract(capsys, str(source), "--verdict", "wrong-protocol", "-w", str(target))
    assert "of 1 conversation written" in err
    with open_capture(target) as capture:
        capture.notes.packets = True
        count = len(list(capture))
        assert [comment.text for comment in capture.notes.comments] == ["on a packet"] * count
        assert capture.notes.names == {"127.0.0.1": "vm7.example"}
        assert capture.notes.described == 2
        assert capture.end_ns == START + 10**11
    written = target.read_bytes()
    assert 0 < count < len(packets)
    assert written.count(flags) == count
    assert written == data[: data.index(packets[0][2]) - 28] + written[data.index(packets[0][2]) - 28 :]


@pytest.mark.parametrize("form", ["pcap", "pcap, nanoseconds", "pcapng", "pcapng, 2^-20 s from 2001 on"])
def test_silence_lasts_as_long_in_what_is_written(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where only the packets of another conversation show how long nobody spoke."""
    source, target = tmp_path / "x", tmp_path / "out.pcapng"
    packets = frames(write(tmp_path / "plain.pcapng", HANG, CURE))
    if form.startswith("pcap,") or form == "pcap":
        source.write_bytes(build.pcap([(one[0], one[2]) for one in packets], nano=form != "pcap"))
    else:
        fine = form == "pcapng"
        data = build.shb(">") + build.idb(">", resolution=9 if fine else 0x94, offset=None if fine else 10**9)
        for time, _, packet, _ in packets:
            units = time if fine else -(-(time - 10**18 << 20) // 10**9)
            data += build.epb(units, packet, ">")
        source.write_bytes(data)
    found = []
    for name, words in ((source, ["--conversation", "0", "-w", str(target)]), (target, [])):
        assert app.main(["verdict", "--json", str(name), *words]) == app.PASS
        (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        found.append({**row, "capture": ""})
    assert found[0] == found[1]
    assert found[0]["client_detect"]["ns"] > 10**9


@pytest.mark.program("tshark")
def test_wireshark_reads_what_is_written_of_captures_of_several_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sections of other byte orders, link types and resolutions, one compressed, one cut by its snaplen."""
    packets = frames(write(tmp_path / "plain.pcapng", CURE))
    times = [one[0] // 1000 * 1000 for one in packets]
    pcap = build.pcap([(time, one[2]) for time, one in zip(times, packets, strict=True)])
    (tmp_path / "a.pcap.gz").write_bytes(gzip.compress(pcap))
    data = build.shb(">") + build.idb(">", linktype=1, resolution=6, snaplen=100)
    for time, one in zip(times, packets, strict=True):
        frame = MACS + b"\x08\x00" + one[2]
        data += build.epb(time // 1000 + 10**9, frame[:100], ">", length=len(frame))
    (tmp_path / "b.pcapng").write_bytes(data)
    target = tmp_path / "out.pcapng"
    extract(capsys, str(tmp_path / "a.pcap.gz"), str(tmp_path / "b.pcapng"), "-w", str(target))
    fields = ["frame.time_epoch", "frame.len", "frame.cap_len", "frame.encap_type", "tcp.seq_raw"]
    words = ["tshark", "-r", str(target), "-T", "fields", *(word for one in fields for word in ("-e", one))]
    told = subprocess.run(words, capture_output=True, check=True, text=True, timeout=60).stdout
    rows = [line.split("\t") for line in told.splitlines()]
    for number, (time, one) in enumerate(zip(times, packets, strict=True)):
        size = len(one[2])
        seq = str(int.from_bytes(one[2][24:28], "big"))
        first, second = rows[number], rows[number + len(packets)]
        assert (first[0].replace(".", ""), *first[1:]) == (str(time), str(size), str(size), "7", seq)
        stamp = str(time + 10**12)
        cut = str(min(size + 14, 100))
        assert (second[0].replace(".", ""), *second[1:]) == (stamp, str(size + 14), cut, "1", seq)
    assert len(rows) == 2 * len(packets)


def test_nothing_selected_is_an_empty_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write(tmp_path / "x.pcapng", CURE), tmp_path / "out.pcapng"
    assert "0 packets" in extract(capsys, str(source), "--port", "1", "-w", str(target))
    assert frames(target) == []


def test_a_target_that_is_none_is_said_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "x.pcapng", CURE)
    for target, why in (("-", "standard output has the rows"), (str(tmp_path), "a directory"),
                        (str(tmp_path / "no" / "x"), "no such directory")):  # fmt: skip
        assert app.main(["verdict", str(source), "-w", target]) == app.UNUSABLE
        told = capsys.readouterr()
        assert told.out == ""
        assert why in told.err
        assert told.err.count("\n") == 1


def test_a_named_pipe_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, pipe, target = write(tmp_path / "x.pcapng", CURE), tmp_path / "pipe", tmp_path / "out.pcapng"
    os.mkfifo(pipe)
    reader = Thread(target=lambda: target.write_bytes(pipe.read_bytes()))
    reader.start()
    extract(capsys, str(source), "-w", str(pipe))
    reader.join()
    assert frames(target) == frames(source)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    source, target = write(tmp_path / "x.pcapng", *[CURE] * 9), tmp_path / "out.pcapng"
    target.write_bytes(b"before")
    words = [sys.executable, "-B", "-m", "dissect.app.main", "verdict", str(source), "-w", str(target)]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 1; trap "" XFSZ; exec "$@"', "bash", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == app.UNUSABLE
    assert done.stderr.count("\n") == 1
    assert "too large" in done.stderr
    assert str(target) in done.stderr
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.pcapng", "x.pcapng"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("words", [["-"], ["--follow", "-"], ["--follow", "x.pcapng"]])
def test_what_comes_is_written_when_it_ends_or_is_interrupted(
    words: list[str], packed: bool, tmp_path: Path
) -> None:
    source, target = write(tmp_path / "x.pcapng", CURE, FAST, HANG), tmp_path / "out.pcapng"
    expected = frames(source)
    if packed:
        source.write_bytes(gzip.compress(source.read_bytes()))
    command = [sys.executable, "-m", "dissect.app.main", "verdict", "--json", *words, "-w", str(target)]
    process = subprocess.Popen(
        [*command, "--verdict", "wrong-protocol"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        if "-" in words:
            process.stdin.write(source.read_bytes())
            process.stdin.flush()
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == app.INTERRUPTED
    assert b"of 2 conversations written" in told
    ports = (b"\x9c\x40", b"\x9c\x41")
    assert frames(target) == [one for one in expected if one[2][20:22] in ports or one[2][22:24] in ports]


def test_a_capture_is_not_overwritten_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "x.pcapng", CURE)
    before = source.read_bytes()
    assert app.main(["verdict", str(source), "-w", str(source)]) == app.UNUSABLE
    assert "it would be lost" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_chosen_knows_where_a_conversation_began(tmp_path: Path) -> None:
    from dissect.capture import read

    with open_capture(write(tmp_path / "x.pcapng", CURE, FAST)) as capture:
        one, other, *_ = dict.fromkeys(event.conversation for event in read(capture))
    chosen = Chosen()
    chosen.add("a", one)
    assert len(chosen) == 1
    assert chosen.began("a", one)
    assert not chosen.began("b", one)
    assert not chosen.began("a", other)
    assert chosen.ends("b") == set()
