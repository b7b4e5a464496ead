# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of which packet; `tests/app/test_export.py` reads it back with tshark."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from dissect.capture import PcapngWriter, TcpScript, open_capture
from dissect.capture.places import Places
from dissect.dissection.reading import dissect
from dissect.report.remarks import MOST_MESSAGES, PREFIX, remarks
from dissect.stream.records import Gap, Record, Violation
from tests.app.captures import CURE, FAST, START, write
from tests.dissection.conversations import GREETING, LINK_MESS, MS, C, S, Step
from tests.report.test_page import named


def of(source: io.BytesIO, *, messages: bool = False) -> list[tuple[int, str]]:
    """Frame number and comment, without the prefix, in the order of frames."""
    numbers = {frame.offset: frame.number for frame in open_capture(source)}
    source.seek(0)
    places = Places()
    found = []
    for dissected in dissect(places.read(open_capture(source))):
        for offset, words in remarks(dissected, places.take(dissected.conversation), messages=messages):
            assert words.startswith(PREFIX)
            found.append((numbers[offset], words.removeprefix(PREFIX)))
    return sorted(found, key=lambda one: one[0])


def made(path: Path, *conversations: list[Step]) -> io.BytesIO:
    return io.BytesIO(write(path / "x.pcapng", *conversations).read_bytes())


def test_a_detection_by_an_error_reply_and_one_by_closing(tmp_path: Path) -> None:
    found = of(made(tmp_path, CURE))
    assert [number for number, _ in found] == [1, 4, 5, 5, 7]
    assert found[0][1].startswith(
        "conversation 0, client 127.0.0.1:40000, server 127.0.0.1:5900: wrong-protocol: the client spoke RFB"
    )
    assert [words for _, words in found[1:]] == [
        "the client begins to speak RFB: the first wrong byte that reaches the server",
        "the server begins to speak SPICE: the first wrong byte that reaches the client",
        "server noticed after 0.08 ms and 4 bytes: error reply",
        "client: close after 0.15 ms and 194 bytes, the server had left",
    ]


def test_a_reset_and_a_side_that_was_left() -> None:
    source = io.BytesIO()
    with PcapngWriter(source, linktype=101) as writer:
        script = TcpScript(("::1", 40_000), ("::1", 5900), writer.write)
        script.opened(START)
        script.sent(C, LINK_MESS, START + MS)
        script.sent(S, GREETING, START + 2 * MS)
        script.reset(C, START + 9 * MS)
    source.seek(0)
    found = of(source)
    assert [number for number, _ in found] == [1, 4, 5, 6, 6]
    assert {words for _, words in found[3:]} == {
        "client noticed after 7 ms and 12 bytes: reset",
        "server had not noticed after ≥ 8 ms and 42 bytes",
    }


def test_nobody_speaks_and_nothing_ends_it(tmp_path: Path) -> None:
    found = of(made(tmp_path, []))
    assert [number for number, _ in found] == [1, 3, 3]  # until the last packet nobody had reacted
    assert all("had not reacted after ≥ 20 s" in words for _, words in found[1:])


def test_messages_are_named_where_they_begin(tmp_path: Path) -> None:
    bells = [(S, b"\2" * 20, 9 * MS)]
    found = of(made(tmp_path, [*named(b"<x>\x1b\xe2\x80\xae"), *bells]), messages=True)
    said = [words for _, words in found]
    assert "server: ProtocolVersion RFB 003.008 (12 bytes)" in said
    assert any(words.startswith("server: ServerInit 16×16, “<x>\\x1b") for words in said)
    last = [words for number, words in found if number == found[-1][0]]
    assert last == [
        *["server: Bell (1 byte)"] * MOST_MESSAGES,
        f"… and {20 - MOST_MESSAGES} more messages begin here",
    ]


def test_gaps_and_violations_stand_where_they_show(tmp_path: Path) -> None:
    source = made(tmp_path, FAST)
    numbers = {frame.offset: frame.number for frame in open_capture(source)}
    source.seek(0)
    places = Places()
    (dissected,) = dissect(places.read(open_capture(source)))
    trail = places.take(dissected.conversation)
    odd: list[Record] = [
        Violation(C, "spice", "SpiceLinkMess", 7, 1, 0, "link", "why"),
        Gap(S, "rfb", 12, 5, 0),
    ]
    whole = replace(dissected, records=[*dissected.records, *odd])
    found = {words.removeprefix(PREFIX): numbers[at] for at, words in remarks(whole, trail)}
    assert found["violation of the client at offset 7 of its stream: SpiceLinkMess: why (state: link)"] == 5
    assert found["gap: 5 bytes of the server from offset 12 of its stream are not in the capture"] == 4
