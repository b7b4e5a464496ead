# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernels do changes no verdict: on real captures and under any disorder, compiled and as Python."""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from dissect.capture import Capture, Event, machine, open_capture, swift
from dissect.capture.conversations import Conversations, Summed, SummedMany
from dissect.capture.packed import Unpacked, kind_of
from dissect.dissection.reading import DissectedMany, dissect, dissect_many
from dissect.dissection.recognise import first_bytes, recognise
from dissect.dissection.verdict import Verdict
from dissect.stream import Side
from dissect.stream.recognition import AT_ONCE, BY_FIVE, BY_LINES, NotYet, Yes
from tests.capture import build
from tests.capture.test_bulk import HEADS, LINKS, PCAPS, START, Host, ethernet, interleaved, slowly

ACK, FIN, RST, SYN = build.ACK, build.FIN, build.RST, build.SYN
FIRSTS = first_bytes()


@pytest.fixture(params=["python", "compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to run the kernels; small steps let conversations fall asleep and wake in a small capture."""
    if request.param == "compiled":
        assert find_spec("numba") is not None, "numba is not installed"
    else:
        monkeypatch.setattr(machine, "functions", machine.plain)
    monkeypatch.setattr(swift, "LEAST", 40)
    monkeypatch.setattr(swift, "MOST", 40)
    monkeypatch.setattr(swift, "READ_AHEAD", 5000)
    monkeypatch.setattr(swift, "SLOTS", 4)
    return str(request.param)


def unpacked(path: Path) -> bytes:
    """What is in a recording, compressed or not."""
    data = path.read_bytes()
    kind = kind_of(data)
    if kind is None:
        return data
    stream = Unpacked(kind, lambda size: b"", data)
    return b"".join(iter(lambda: stream.read1(1 << 20), b""))


class Found:
    """The verdicts of a capture, how many packets were passed over, conversations told as a whole."""

    def __init__(self, path: Path) -> None:
        self.swift = swift.Swift(Conversations(), FIRSTS, beside=machine.functions() is machine.plain())
        self.whole = 0
        with open_capture(path) as self.capture:
            assert self.capture.readable_again
            self.verdicts = [json.dumps(one.to_json("")) for one in self._verdicts()]
        self.passed = self.swift.passed

    def _verdicts(self) -> Iterator[Verdict]:
        for found in dissect_many(self._events()):
            if isinstance(found, DissectedMany):
                assert len(found) == len(found.told) == len(list(found.told))
                for place, one in enumerate(found):
                    conversation = one.conversation
                    assert one.verdict == found.verdict(place)
                    assert one.verdict.conversation == conversation.index
                    assert one.verdict.start_ns == conversation.start_ns
                    yield one.verdict
            else:
                yield found.verdict

    def _events(self) -> Iterator[Event | SummedMany]:
        for event in self.swift.read_many(self.capture):
            self.whole += len(event) if isinstance(event, SummedMany) else isinstance(event, Summed)
            yield event
        for event in self.swift.finish(self.capture, self.capture.end_ns):
            self.whole += isinstance(event, Summed)
            yield event


@cache
def slow(data: bytes) -> tuple[list[str], tuple[object, ...]]:
    """What the slow way says of a capture: verdicts, and everything that the capture itself says."""
    capture = open_capture(io.BytesIO(data), "x")
    return slowly(capture), told(capture)


def told(capture: Capture) -> tuple[object, ...]:
    """What a capture says when it has been read."""
    problems = [(problem.offset, problem.reason) for problem in capture.problems]
    times = capture.frames, capture.first_ns, capture.end_ns
    return capture.skipped, problems, times, capture.offset


def same(data: bytes, folder: Path) -> Found:
    """The swift way and the slow one agree on the verdicts and on everything the capture says."""
    path = folder / "x"
    path.write_bytes(data)
    found = Found(path)
    assert (found.verdicts, told(found.capture)) == slow(data)
    return found


def test_the_recordings(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swift, "LEAST", 2)
    monkeypatch.setattr(swift, "MOST", 2)
    found = [same(unpacked(path), tmp_path) for path in PCAPS]
    assert len(found) > 20
    assert sum(one.passed for one in found) > 300


@pytest.mark.parametrize("seed", range(8))
def test_any_disorder(seed: int, way: str, tmp_path: Path) -> None:
    packets = interleaved(seed, 24 if way == "compiled" else 12)
    found = same(build.pcap(packets, nano=True), tmp_path)
    assert found.passed > 0
    assert found.whole > 0 or seed in (3, 7)
    if seed < 2:
        same(build.pcap(packets, nano=True, order=">", snaplen=60), tmp_path)


def ip4(protocol: int, size: int) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, protocol, 0)
    return head + b"\1\2\3\4" + b"\5\6\7\x08"


@pytest.mark.parametrize("linktype", [1, 113, 276, 0])
def test_link_layers_and_tags(linktype: int, way: str, tmp_path: Path) -> None:
    frames = []
    for number, (time, packet) in enumerate(interleaved(3, 8)):
        frame = LINKS[linktype](packet)
        if linktype == 1:
            frame = ethernet(packet, tags=sum(packet[12:20] if packet[0] == 0x45 else packet[8:40]) % 4)
            frame += bytes(max(0, 60 - len(frame)))
        frames.append((time, frame))
        if linktype == 1:
            match number % 16:
                case 3:
                    frames.append((time, bytes(12) + b"\x08\x06" + bytes(46)))
                case 5:
                    frames.append((time, frame[: number % 60]))
                case 7:
                    udp = struct.pack(">HHHH", 53, 53 if number % 3 else 4789, 12, 0) + b"abcd"
                    head = struct.pack(
                        ">BBHHHBBH4s4s", 0x45, 0, 32, 0, 0, 64, 17, 0, b"\1\2\3\4", b"\5\6\7\x08"
                    )
                    frames.append((time, ethernet(head + udp)))
                case 9:
                    head = struct.pack(
                        ">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 1, 0, b"\1\2\3\4", b"\5\6\7\x08"
                    )
                    frames.append((time, ethernet(head + bytes(8))))
                case 11 if packet[0] == 0x45:  # an IPv4 header with options
                    longer = b"\x46\0" + struct.pack(">H", len(packet) + 4) + packet[4:20]
                    frames[-1] = (time, ethernet(longer + b"\1\1\1\0" + packet[20:]))
                case _:
                    pass
    found = same(build.pcap(frames, nano=True, linktype=linktype), tmp_path)
    assert found.passed > 0 or linktype == 0


def test_pcapng_with_strange_blocks(way: str, tmp_path: Path) -> None:
    data = build.shb() + build.idb(linktype=101, resolution=9) + build.idb(linktype=1, resolution=6)
    for number, (time, packet) in enumerate(interleaved(6, 12)):
        if number == 300:
            data += build.shb() + build.idb(linktype=101) + build.idb(linktype=1, resolution=9)
        if number % 90 == 0:
            data += build.block(11, b"other")
        if number == 200:
            data += build.block(6, struct.pack("<IIIII", 0, 0, 0, 4, 4) + b"abcd", trailer=7)
        which = number // 3 % 2
        nano = which == (number >= 300)
        data += build.epb(
            time if nano else time // 1000, ethernet(packet) if which else packet, interface=which
        )
    assert same(data, tmp_path).passed > 0
    same(data[:-7], tmp_path)
    same(data + struct.pack("<II", 6, 10) + bytes(20), tmp_path)


def test_a_damaged_pcap_is_used_up_to_the_damage(way: str, tmp_path: Path) -> None:
    packets = interleaved(7, 8)
    data = build.pcap(packets, nano=True)
    half = 24 + sum(16 + len(packet) for _, packet in packets[:200])
    same(data[:half] + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30) + data[half:], tmp_path)
    same(data[:-1], tmp_path)


def whole(number: int, client: bytes, server: bytes) -> Host:
    """A conversation without anything odd."""
    import random

    host = Host(number, random.Random(number))
    host.opens()
    host.send(Side.CLIENT, ACK, client)
    host.send(Side.SERVER, ACK, server)
    for _ in range(20):
        host.send(Side.SERVER, ACK, bytes(1000))
        host.send(Side.CLIENT, ACK)
    return host


def test_each_kind_of_end(way: str, tmp_path: Path) -> None:
    """One FIN and two, with bytes in them or behind them, reset, ports again at once and after a while."""
    packets: list[tuple[int, bytes]] = []
    for number, (client, server) in enumerate(list(HEADS.values())[:6] * 4):
        host = whole(number, client[:1400], server[:1400])
        first, second = (Side.CLIENT, Side.SERVER) if number % 2 else (Side.SERVER, Side.CLIENT)
        match number // 6 + number % 3:
            case 0:
                host.send(first, FIN | ACK, b"last")
                host.send(second, ACK)
                host.send(second, FIN | ACK)
                host.send(first, ACK)
                host.now += (number % 2) * 61_000_000_000
                host.seq = {side: host.seq[side] + 99 for side in Side}
                host.opens()
            case 1:
                host.send(first, FIN | ACK)
                host.send(second, ACK, b"more")
                host.send(second, FIN | ACK)
            case 2:
                host.send(first, FIN | ACK)
                host.send(second, RST | ACK)
            case 3:
                host.send(first, FIN | ACK)
                host.packets.append(host.packets[-1])
                host.send(second, FIN | ACK, b"bye")
            case _:
                host.send(first, FIN | ACK)
        packets += host.packets
    found = same(build.pcap(sorted(packets), nano=True), tmp_path)
    assert found.whole >= 4


def cut_off(number: int, kind: int) -> Host:
    """A conversation that ends, or seems to end, with a RST; several of them at the same times."""
    import random

    dice = random.Random(kind)
    host = Host(number, random.Random(number))
    host.now = 10**18
    rst, both = RST | (ACK if kind % 2 else 0), (Side.CLIENT, Side.SERVER)
    who = both[kind % 2]
    stage = kind // 2 % 6
    if stage == 0:  # refused
        host.send(Side.CLIENT, SYN)
        host.send(Side.SERVER, RST | ACK)
        if kind % 4 == 1:
            host.now += 10**9 * (kind % 3)
            host.packets.append((host.now, host.packets[0][1]))
        return host
    host.opens()
    if stage >= 2:
        client, server = list(HEADS.values())[kind % len(HEADS)]
        host.send(Side.CLIENT, ACK, client[:1400])
        if stage >= 3:
            host.send(Side.SERVER, ACK, server[:1400])
            for _ in range(3):
                host.send(Side.SERVER, ACK, bytes(1000))
                host.send(Side.CLIENT, ACK)
    if stage == 4:
        host.send(dice.choice(both), FIN | ACK)
    host.send(who, rst)
    after = kind // 12 % 8
    if after == 1:
        host.send(who, rst)
        host.send(who, rst)
    elif after == 2:  # under way
        host.send(who.other, ACK, b"under way")
        host.send(who, rst)
    elif after == 3:
        host.send(who.other, rst)
    elif after == 4:
        host.now += 999_000_000
        host.send(who.other, ACK, b"in time")
    elif after == 5:
        host.now += 1_100_000_000
        host.send(who.other, ACK, b"too late")
    elif after >= 6:
        host.now += dice.choice((1_000, 2 * 10**9, 61 * 10**9, 70 * 10**9))
        if after == 7:
            host.seq = {side: host.seq[side] + 99 for side in Side}
            host.opens()
        else:
            host.packets.append((host.now, host.packets[0][1]))
    return host


def test_resets(way: str, tmp_path: Path) -> None:
    """Each kind of conversation that a RST ends, many at once, among others of which verdicts are wanted."""
    hosts = [cut_off(number, number) for number in range(192)]
    packets = [one for host in hosts for one in host.packets]
    few = [(time, packet) for host in hosts[::7] for time, packet in host.packets]
    for number, part in enumerate((packets, few)):
        for unit in (1, 10**9) if number else (1,):  # in files with coarse times much happens at once
            coarse = [(time // unit * unit, packet) for time, packet in sorted(part)]
            found = same(build.pcap(coarse, nano=True), tmp_path)
            assert found.whole > len(found.verdicts) // 8
    by_kind = [same(build.pcap(host.packets, nano=True), tmp_path) for host in hosts]
    assert sum(one.whole for one in by_kind) > 60


def test_more_resets_than_there_is_room_for_at_one_packet(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swift, "TODO", 8)
    packets = [one for number in range(60) for one in cut_off(number, 0).packets]
    last = whole(99, *HEADS["http"])
    packets = sorted(packets) + [(time + 10**18, packet) for time, packet in last.packets]
    assert same(build.pcap(packets, nano=True), tmp_path).whole == 61


def test_more_conversations_than_there_is_room_for(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those silent longest are given up, which is counted and said; none is lost."""
    monkeypatch.setattr(swift, "SLOTS_MOST", 16)
    client, server = HEADS["tls"]
    hosts = [whole(number, client[:1400], server) for number in range(60)]
    later = [
        [(time + number * 10**10, packet) for time, packet in host.packets]
        for number, host in enumerate(hosts)
    ]
    packets = [one for host in later for one in host[:9]]
    packets += [(time + 10**12, packet) for host in later[-4:] for time, packet in host[9:]]
    path = tmp_path / "x"
    path.write_bytes(build.pcap(packets, nano=True))
    found = Found(path)
    assert len(found.swift._slots) == 16
    given_up = found.swift.conversations.given_up
    assert 40 <= given_up <= 60
    rows = [json.loads(row) for row in found.verdicts]
    assert len(rows) == len({row["client"] for row in rows}) == 60
    assert sum("given up" in row["reason"] for row in rows) == given_up


@pytest.mark.parametrize("then", [b"", bytes(30_000), b"\xff" * 30_000])
def test_a_file_that_is_changed_while_it_is_read(then: bytes, way: str, tmp_path: Path) -> None:
    """It ends earlier, or holds anything: that is said, and what is known by then comes out."""
    path = tmp_path / "x"
    first = (START - 1, ip4(1, 8) + bytes(8))
    hosts = [whole(number, *HEADS["tls"]) for number in range(6)]
    for host in hosts:
        host.send(Side.SERVER, SYN | ACK)  # wakes it
    packets = [first, *sorted(one for host in hosts for one in host.packets)]
    path.write_bytes(build.pcap(packets, nano=True))
    quick = swift.Swift(Conversations(), FIRSTS)
    with open_capture(path) as capture:
        ticks = iter(range(1000))

        def tick() -> None:
            if next(ticks) == 4:
                os.truncate(path, 200)
                with path.open("ab") as file:
                    file.write(then)

        events = [*quick.read(capture, tick=tick), *quick.finish(capture, capture.end_ns)]
        assert capture.frames > 40
        assert any("was changed while it was read" in problem.reason for problem in capture.problems)
    found = list(dissect(events, records=False))
    assert len(found) >= 6


def test_who_wants_no_more_leaves_no_file_open(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(build.pcap(interleaved(1, 30), nano=True))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with open_capture(path) as capture:
        events = swift.Swift(Conversations(), FIRSTS, beside=True).read(capture)
        next(events)
        events.close()  # type: ignore[attr-defined]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("seed", range(12))
def test_resets_in_any_disorder(seed: int, way: str, tmp_path: Path) -> None:
    import random

    dice = random.Random(seed)
    packets = []
    for number in range(dice.randrange(2, 30)):
        its = cut_off(number, dice.randrange(1000)).packets
        match seed % 4:
            case 1 if dice.random() < 0.4:
                dice.shuffle(its)
            case 2:
                its = [one for one in its if dice.random() < 0.9]
            case 3:
                its = [copy for one in its for copy in [one] * (1 + (dice.random() < 0.1))]
            case _:
                pass
        packets += its
    unit = dice.choice((1, 1, 10**6, 10**9))  # in files with coarse times much happens at once
    packets = [(time // unit * unit, packet) for time, packet in packets]
    if seed % 4 != 1:
        packets.sort(key=_time)
    same(build.pcap([(10**18 - 10**9, ip4(1, 8) + bytes(8)), *packets], nano=True), tmp_path)


def _time(packet: tuple[int, bytes]) -> int:
    return packet[0]


def test_networks_keep_equal_addresses_apart(way: str, tmp_path: Path) -> None:
    """The same conversation in three VLANs at once; and one whose server is captured without the tag."""
    frames: list[tuple[int, bytes]] = []
    for number in range(6):
        host = whole(number % 2, *HEADS["http"])
        if number < 4:
            host.send(Side.CLIENT, FIN | ACK)
            host.send(Side.SERVER, FIN | ACK)
        for time, packet in host.packets:
            tags = number if number < 3 else int(packet[12] == 10)
            frames.append((time + number, ethernet(packet, tags=tags)))
        if number == 2:
            frames = [(time + 10**12, frame) for time, frame in frames]
    found = same(build.pcap(frames, nano=True, linktype=1), tmp_path)
    assert len(found.verdicts) == 5  # the last is the fourth once more
    assert found.whole >= 2


def test_several_captures_are_one(way: str, tmp_path: Path) -> None:
    packets = interleaved(4, 16)
    third = len(packets) // 3
    names = []
    for number in range(3):
        path = tmp_path / f"{number}.pcap"
        path.write_bytes(build.pcap(packets[number * third : (number + 1) * third], nano=True))
        names.append(path)
    quick = swift.Swift(Conversations(), FIRSTS)

    def events() -> Iterator[Event]:
        for path in names:
            with open_capture(path) as capture:
                yield from quick.read(capture, more=path is not names[-1])
        yield from quick.finish(capture, packets[3 * third - 1][0])

    found = [one.verdict for one in dissect(events(), records=False)]
    whole_file = build.pcap(packets[: 3 * third], nano=True)
    expected = slowly(open_capture(io.BytesIO(whole_file), "x"))
    ends = [json.loads(one)["conversation"] for one in expected]
    assert [one.conversation for one in found] == ends
    assert [json.dumps(one.to_json("")) for one in found] == expected


def test_first_bytes_are_believed_only_where_recognition_is_certain() -> None:
    """What the table says of a first byte holds for whatever follows it."""
    import random

    dice = random.Random(1)
    for byte in range(256):
        for size in (1, 2, 3, 4, 5, 100):
            tails = (b"\x03\x01\x02\x00" + bytes(size), b"SH-2.0-x", b"ET / HTTP/1.1\r\n\r\n")
            for tail in (dice.randbytes(size), *tails):
                data = bytes([byte]) + tail
                answer = recognise(data)
                known = (
                    FIRSTS[byte] == AT_ONCE
                    or (FIRSTS[byte] == BY_FIVE and len(data) >= 5)
                    or (FIRSTS[byte] == BY_LINES and b"\r\n\r\n" in data)
                )
                if known:
                    assert not isinstance(answer, NotYet)
                    assert not (isinstance(answer, Yes) and answer.protocol in ("rfb", "spice"))
    assert {FIRSTS[byte] for byte in b"RFB"[:1] + b"REDQ"[:1]} == {1}
