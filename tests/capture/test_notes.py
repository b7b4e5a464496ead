# SPDX-License-Identifier: GPL-2.0-or-later
"""Names and comments of pcapng files: kept, bounded, the same whichever way the file is read."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from dissect.capture import notes, open_capture
from dissect.capture.files import Capture
from dissect.capture.notes import Notes, name_of, named
from tests.capture import build

NOW = 1_700_000_000_000_000


def interface(order: str, *pairs: tuple[int, bytes]) -> bytes:
    return build.block(1, struct.pack(order + "HHI", 101, 0, 0) + build.options(order, *pairs), order)


def packet(order: str, number: int, which: int, *comments: str) -> bytes:
    data = bytes([number]) * (20 + number)
    body = struct.pack(order + "IIIII", which, NOW >> 32, NOW & 0xFFFFFFFF, len(data), len(data))
    body += data + bytes(-len(data) % 4)
    pairs = [(1, comment.encode()) for comment in comments]
    return build.block(6, body + (build.options(order, *pairs) if pairs else b""), order)


def names(order: str, *pairs: tuple[int, bytes]) -> bytes:
    return build.block(4, build.options(order, *pairs), order)


def capture(order: str) -> bytes:
    section = struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + build.options(order, (1, b"of the capture"))
    return b"".join(
        [
            build.block(0x0A0D0D0A, section, order),
            interface(order, (2, b"eth0"), (1, b"of the interface")),
            interface(order, (3, b"the second card")),
            interface(order),
            packet(order, 1, 0),
            packet(order, 2, 1, "one", "two"),
            names(order, (1, bytes([127, 0, 0, 1]) + b"first.example\0other.example\0")),
            packet(order, 3, 1),
            packet(order, 4, 2, "three"),
            packet(order, 5, 0),
            names(
                order,
                (1, bytes([127, 0, 0, 1]) + b"too.late\0"),
                (2, bytes(15) + b"\1" + b"six.example\0"),
                (3, b"an Ethernet address"),
                (1, b"\1\2"),
            ),
            build.isb(NOW, order),
        ]
    )


def read(found: Capture, *, runs: bool) -> Notes:
    found.notes.packets = True
    while True:
        while runs and found.run(2) is not None:
            pass
        if next(found, None) is None:
            assert found.problems == []
            return found.notes


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_noted_is_kept(order: str, runs: bool) -> None:
    found = read(open_capture(io.BytesIO(capture(order)), "x"), runs=runs)
    assert found.names == {"127.0.0.1": "first.example", "::1": "six.example"}
    assert found.interfaces == {0: "eth0", 1: "the second card"}
    assert [found.interface_of(frame) for frame in range(6)] == [
        None,
        "eth0",
        "the second card",
        "the second card",
        "interface 2",
        "eth0",
    ]
    assert [(one.about, one.text, one.frame) for one in found.comments] == [
        ("the capture", "of the capture", 0),
        ("interface 0 (eth0)", "of the interface", 0),
        ("packet 2", "one", 2),
        ("packet 2", "two", 2),
        ("packet 4", "three", 4),
    ]
    assert found.comments[2].head == bytes([2]) * 22
    assert found.comments[2].time_ns == NOW * 1000


@pytest.mark.parametrize("order", ["<", ">"])
def test_names_at_the_end_of_a_file_are_there_from_the_beginning(order: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(capture(order))
    with open_capture(path) as found:
        assert found.notes.names == {"127.0.0.1": "too.late", "::1": "six.example"}
        assert len(list(found)) == 5
        assert [one.frame for one in found.notes.comments] == [0, 0]  # those of packets only where wanted
    path.write_bytes(capture(order)[:-7])
    with open_capture(path) as found:
        assert found.notes.names == {}
        assert len(list(found)) == 5
        assert found.notes.names["127.0.0.1"] == "first.example"


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "MAX_NAMES", 1)
    monkeypatch.setattr(notes, "MAX_COMMENTS", 3)
    monkeypatch.setattr(notes, "MAX_CHANGES", 2)
    found = open_capture(io.BytesIO(capture("<")), "x")
    found.notes.packets = True
    assert len(list(found)) == 5
    assert len(found.notes.names) == 1
    assert len(found.notes.comments) == 3
    assert [found.notes.interface_of(frame) for frame in (1, 2, 4, 5)] == [
        "eth0",
        "the second card",
        None,
        None,
    ]
    assert [problem.reason.split(";")[0] for problem in found.problems] == [
        "more than 3 comments",
        "more than 65536 names of addresses",
    ]


def test_a_broken_block_of_names_is_a_problem_and_the_rest_is_read() -> None:
    broken = build.block(4, struct.pack("<HH", 1, 400) + b"\x7f\0\0\1")
    data = build.shb() + interface("<") + packet("<", 1, 0) + broken + packet("<", 2, 0)
    found = open_capture(io.BytesIO(data), "x")
    assert len(list(found)) == 2
    assert [problem.reason for problem in found.problems] == [
        "an option of 400 bytes where 4 are left; not used"
    ]


def test_text_that_is_none() -> None:
    assert notes.text_of(b"a\xffb\0") == "a\\xffb"
    assert notes.text_of("ü".encode() * 3, 3) == "ü…"


def test_endpoints() -> None:
    known = {"127.0.0.1": "vm7.example", "::1": "six.example"}
    assert named("127.0.0.1:5900", known) == "127.0.0.1:5900 (vm7.example)"
    assert named("[::1]:5900", known) == "[::1]:5900 (six.example)"
    assert named("127.0.0.2:5900", known) == "127.0.0.2:5900"
    assert name_of("127.0.0.2:5900", known) is None


def test_one_interface_without_a_name_is_not_told() -> None:
    found = open_capture(io.BytesIO(build.shb() + interface("<") + packet("<", 1, 0)), "x")
    assert read(found, runs=False).interface_of(1) is None
