# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures and conversations: what comes, in what order, and how much of it is in memory at a time."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dissect import firstbyte as fb
from dissect.capture import Event, PcapngWriter, TcpScript, open_capture, read, swift
from dissect.capture.swift import Swift
from dissect.dissection import readers
from dissect.dissection.reading import Dissected, dissect
from dissect.firstbyte.conversations import COST, KEEP
from dissect.stream import Side
from dissect.stream.records import Gap, Message, Violation
from tests.app.captures import CURE, FAST, HANG, START, write
from tests.dissection.conversations import GREETING, MS, Step
from tests.rfb.examples import SERVER_INIT

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
C, S = Side.CLIENT, Side.SERVER
HELLO: list[Step] = [
    (S, GREETING, MS), (C, GREETING, 2 * MS), (S, b"\1\1", 3 * MS), (C, b"\1", 4 * MS), (S, bytes(4), 5 * MS),
    (C, b"\1", 6 * MS), (S, SERVER_INIT, 7 * MS),
]  # fmt: skip


def facts(dissected: Dissected) -> dict[str, object]:
    """All but the capture's own object, which is compared by identity."""
    return {one.name: getattr(dissected, one.name) for one in fields(dissected) if one.name != "conversation"}


def test_verdicts_of_a_large_capture_come_by_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library has the quickest way too, and it says the same."""
    path = write(tmp_path / "x.pcapng", CURE, FAST, HANG)
    slowly = list(fb.open(path).verdicts())
    made: list[Swift] = []

    class Seen(Swift):
        def read(self, *words: Any, **more: Any) -> Iterator[Event]:
            made.append(self)
            return super().read(*words, **more)

    monkeypatch.setattr(readers, "SWIFT", 0)
    monkeypatch.setattr(readers, "COMPILE", 0)
    monkeypatch.setattr(swift, "Swift", Seen)
    assert list(fb.open(path).verdicts()) == slowly
    assert len(made) == 1
    assert [one.verdict for one in fb.open(path)] == slowly  # for messages the bytes are wanted
    assert len(made) == 1


def test_what_comes_is_what_the_rooms_below_say() -> None:
    path = PCAPS / "spicy--qemu-spice-devices.pcapng"
    with open_capture(path) as capture:
        wanted = {one.conversation.index: one for one in dissect(read(capture))}
    found = {one.number: one for one in fb.open(path)}
    assert sorted(found) == sorted(wanted)
    for number, conversation in found.items():
        assert conversation.verdict == wanted[number].verdict
        assert [one.record for one in conversation.records] == wanted[number].records
        assert facts(conversation.dissected) == facts(wanted[number])
        again = fb.open(path)[number]
        assert [one.record for one in again.records] == wanted[number].records


def test_captures_are_named_by_patterns_and_what_names_nothing_is_said(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.pcapng", CURE), write(tmp_path / "b.pcapng", FAST, HANG)
    assert fb.open(tmp_path / "*.pcapng", one).paths == [str(one), str(two)]
    with pytest.raises(FileNotFoundError, match=r"no capture '.*none\*'"):
        fb.open(one, tmp_path / "none*")
    with pytest.raises(ValueError, match="which of these 2 captures"):
        fb.open(one, two)[0]
    with pytest.raises(IndexError, match="no conversation 7"):
        fb.open(one)[7]
    assert fb.open(two)[1].verdict.verdict == "silent"


def test_bad_captures_are_lines_and_the_good_ones_are_read(tmp_path: Path) -> None:
    good = write(tmp_path / "good.pcapng", CURE, FAST)
    bad, cut = tmp_path / "bad.pcap", tmp_path / "cut.pcapng"
    bad.write_text("this is no capture\n")
    cut.write_bytes(good.read_bytes()[:-40])
    captures = fb.open(bad, good, cut)
    assert len(list(captures)) == 4
    assert [line.partition(":")[0] for line in captures.problems] == [str(bad), str(cut)]
    assert all("at byte" in line for line in captures.problems)
    with pytest.raises(fb.CaptureError, match="not a capture"):
        list(fb.open(bad))


def test_gaps_and_violations_are_in_their_places(tmp_path: Path) -> None:
    steps = [*HELLO, (C, b"\x04\1\0\0\0\0\0a", 8 * MS), (C, b"\xee\1\2\3", 9 * MS), (S, b"\x02", 10 * MS)]
    (conversation,) = fb.open(write(tmp_path / "odd.pcapng", steps))
    kinds = [record.kind for record in conversation.records]
    assert "violation" in kinds
    odd = next(record for record in conversation.records if record.kind == "violation")
    assert isinstance(odd.record, Violation)
    assert (odd.raw, odd.packet) == (b"", None)
    assert odd["why"] == odd.record.why
    assert odd.text
    assert odd.text in str(conversation)
    assert len(conversation.messages) == kinds.count("message")

    lossy = [*HELLO, (S, 5000, 8 * MS), (S, b"\x02", 9 * MS)]
    (conversation,) = fb.open(write(tmp_path / "lossy.pcapng", lossy))
    gap = next(record for record in conversation.records if record.kind == "gap")
    assert isinstance(gap.record, Gap)
    assert gap.text == "5,000 bytes of the server not in the capture"


def test_records_are_told_in_order_and_their_times_are_whole() -> None:
    (conversation,) = fb.open(PCAPS / "xtightvncviewer--xtightvnc.pcapng")
    messages = list(conversation.messages)
    assert all(one.time_ns <= two.time_ns for one, two in pairwise(messages))
    assert all(one.time_ns - one.since_ns == conversation.start_ns for one in messages)
    assert messages[0].time.microsecond == messages[0].time_ns // 1000 % 1_000_000
    assert [one.name for one in conversation.messages[1:3]] == [one.name for one in messages[1:3]]
    with pytest.raises(KeyError):
        conversation.messages["NoSuchMessage"]
    with pytest.raises(IndexError):
        conversation.messages[999]
    packet = conversation.messages["SetEncodings"].packet
    assert packet is not None
    assert bytes(packet) == conversation.messages["SetEncodings"].raw


# --- memory ---------------------------------------------------------------------------------------------


def key_events(number: int) -> bytes:
    return b"".join(b"\4\1\0\0" + (65 + index % 26).to_bytes(4, "big") for index in range(number))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 conversations of 107 messages each, some of which overlap."""
    path = tmp_path_factory.mktemp("many") / "many.pcapng"
    with PcapngWriter(path, linktype=101) as writer:
        for number in range(80):
            start = START + number * 20 * MS
            script = TcpScript(("127.0.0.1", 10_000 + number), ("127.0.0.1", 5900), writer.write)
            script.opened(start, start, start)
            for side, data, time in HELLO:
                assert isinstance(data, bytes)
                script.sent(side, data, start + time)
            script.sent(C, key_events(100), start + 8 * MS)
            script.closed(C, start + 9 * MS)
            script.closed(S, start + 10 * MS)
        writer.close(START + 5000 * MS)
    return path


def peak(path: Path, keep: int) -> tuple[int, list[fb.Conversation]]:
    """The most memory that iterating takes while every conversation is held, and these."""
    gc.collect()
    tracemalloc.start()
    try:
        held = list(fb.open(path, keep=keep))
        return tracemalloc.get_traced_memory()[1], held
    finally:
        tracemalloc.stop()


def test_memory_has_a_bound_however_many_conversations_are_held(many: Path) -> None:
    next(iter(fb.open(many)))  # what is imported and compiled at first use does not count
    keep = 100 * COST
    bounded, held = peak(many, keep)
    assert len(held) == 80
    kept = [one for one in held if one.in_memory]
    assert held[-1] not in kept  # 107 messages are more than the 100 that may be kept
    del held, kept
    whole, held = peak(many, KEEP)
    assert all(one.in_memory for one in held)
    assert whole - bounded > 80 * 107 * 300  # what holding them all costs, at the least
    # Of what is held for each conversation whatever is kept, its verdict: not its messages.
    assert bounded < whole / 3


def test_what_was_let_go_is_read_again(many: Path) -> None:
    (*_, last) = fb.open(many, keep=50 * COST)
    assert not last.in_memory
    assert len(last.messages) == 107
    assert last.messages["ServerInit"].raw == SERVER_INIT
    assert [one.name for one in last.messages.named("KeyEvent")] == ["KeyEvent"] * 100
    whole = fb.open(many)[last.number]
    assert whole.in_memory
    assert [one.record for one in whole.records] == [one.record for one in last.records]
    assert facts(last.dissected) == facts(whole.dissected)
    assert "its ladder is not drawn here" in last._repr_html_()
    assert "<svg" in whole._repr_html_()


def test_of_those_that_ended_the_first_are_let_go(many: Path) -> None:
    held = list(fb.open(many, keep=10 * 110 * COST))
    kept = [one.number for one in held if one.in_memory]
    assert kept == [one.number for one in held][-len(kept) :]
    assert 8 <= len(kept) <= 10


def test_a_long_conversation_streams(tmp_path: Path) -> None:
    """Messages of one conversation that is larger than what is kept: memory does not grow with it."""
    peaks = []
    for number in (2_000, 6_000):
        path = tmp_path / f"{number}.pcapng"
        with PcapngWriter(path, linktype=101) as writer:
            script = TcpScript(("127.0.0.1", 40_000), ("127.0.0.1", 5900), writer.write)
            script.opened(START, START, START)
            for side, data, time in HELLO:
                assert isinstance(data, bytes)
                script.sent(side, data, START + time)
            for piece in range(number // 200):
                script.sent(C, key_events(200), START + (8 + piece) * MS)
                script.sent(S, b"\2", START + (8 + piece) * MS)  # a Bell
            writer.close(START + 1000 * MS)
        gc.collect()
        tracemalloc.start()
        assert sum(1 for one in fb.open(path).records() if one.name == "KeyEvent") == number
        (conversation,) = fb.open(path, keep=1 << 17)
        assert not conversation.in_memory
        assert sum(one.size for one in conversation.messages if one.name == "KeyEvent") == 8 * number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 6_000 * 400  # far below what its messages would take


def test_nothing_is_read_before_somebody_looks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pcapng", CURE)
    captures = fb.open(path)
    path.write_text("no capture any more")
    with pytest.raises(fb.CaptureError):
        next(iter(captures))


def test_messages_are_messages() -> None:
    (conversation,) = fb.open(PCAPS / "spicy--qemu-vnc.pcapng")
    assert all(isinstance(one.record, Message) for one in conversation.messages)
    assert bool(conversation.messages)
    assert not fb.open(PCAPS / "xtigervncviewer--qemu-spice.pcapng")[0].messages
