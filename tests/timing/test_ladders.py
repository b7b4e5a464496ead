# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder of any conversation can be read, and says what the verdict says."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from random import Random

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.capture import open_capture, read
from dissect.dissection.reading import Dissected, dissect
from dissect.stream import Side
from dissect.stream.records import Gap, Message, Record, Violation
from dissect.timing.plots import FORMATS, ladder, save
from tests.dissection.conversations import (
    ERROR_REPLY,
    FIN,
    GREETING,
    LINK_MESS,
    LINK_REPLY,
    MS,
    RST,
    C,
    S,
    Step,
    run,
)
from tests.timing.paper import NASTY, check, marks, places, words, written
from tests.timing.test_wording import SESSION

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
SECOND = 1_000 * MS
EARLY: list[Step] = [
    (C, b"RFB ", 1_860 * MS),
    (S, ERROR_REPLY, 1_860 * MS + 71_000),
    (S, FIN, 1_861 * MS),
    (C, FIN, 1_862 * MS),
]
LINKED: list[Step] = [(C, LINK_MESS, MS), (S, LINK_REPLY, 2 * MS)]


def message(name: str, side: Side, ns: int, size: int = 10, offset: int = 0) -> Message:
    return Message(side, "rfb", name, offset, size, b"\x00" * min(size, 64), ns, ns)


def with_records(dissected: Dissected, records: list[Record]) -> Dissected:
    return dataclasses.replace(dissected, records=records)


def test_who_spoke_what_and_who_noticed() -> None:
    figure = ladder(run(EARLY), capture="a.pcap", names={C: "gvncviewer 1.3.1", S: "QEMU 7.2"})
    check(figure)
    text = words(figure)
    for part in (
        "The client spoke RFB, the server spoke SPICE",
        "gvncviewer 1.3.1",
        "QEMU 7.2",
        "127.0.0.1:40000",
        "spoke SPICE",
        "“RFB ”, incomplete: 4 of 12 bytes",
        "SpiceLinkReply\nerror 2 INVALID_MAGIC",
        "194 B",
        "nothing for 1.86 s",
        "1.860071 s",
        "server noticed after 0.071 ms and 4 bytes: error reply",
        "a.pcap, conversation 0, began 1970-01-01 00:00:00 UTC.",
    ):
        assert part in text, part
    assert marks(figure, "exact-server")
    assert marks(figure, "exact-client")[0].get_markerfacecolor() == "white"  # the server had left
    assert not marks(figure, "censored")


def test_the_mark_stands_on_the_lifeline_of_the_side_and_below_its_message() -> None:
    figure = ladder(run(EARLY))
    (server,), (client,) = marks(figure, "exact-server"), marks(figure, "exact-client")
    ((client_x, _),), ((server_x, server_y),) = places(client), places(server)
    assert server_x > 2 * client_x
    reply = next(text for text in figure.axes[0].texts if text.get_text() == "SpiceLinkReply")
    fin = next(text for text in figure.axes[0].texts if text.get_text() == "FIN")
    assert reply.get_position()[1] < server_y < fin.get_position()[1]


@pytest.mark.parametrize(
    ("steps", "end", "sides"),
    [
        ([], 10 * SECOND, set(Side)),
        ([(C, b"RFB ", MS)], 10 * SECOND, set(Side)),
        ([(C, LINK_MESS, MS), (C, RST, 5 * SECOND)], 5 * SECOND, {S}),
    ],
)
def test_a_censored_detection_is_never_drawn_as_one(steps: list[Step], end: int, sides: set[Side]) -> None:
    dissected = run(steps, end=end)
    figure = ladder(dissected)
    check(figure)
    for side in Side:
        seen = dissected.verdict.detect(side)
        assert bool(marks(figure, f"censored-{side}")) == (side in sides)
        assert bool(marks(figure, f"exact-{side}")) == (seen is not None and not seen.censored)
    assert "after ≥ " in words(figure)
    shapes = {line.get_marker() for line in marks(figure, "censored")}
    assert not shapes & {line.get_marker() for line in marks(figure, "exact")}


def test_waits_are_breaks_with_their_length_and_cost_the_same_room() -> None:
    short, long = (
        ladder(run([(S, GREETING, MS), (C, LINK_MESS, wait), (S, FIN, wait + MS)]))
        for wait in (SECOND, 3600 * SECOND)
    )
    assert "nothing for 999 ms" in words(short)
    assert "nothing for 1 h" in words(long)
    assert short.get_size_inches()[1] == long.get_size_inches()[1]
    assert "nothing for" not in words(ladder(run([(S, GREETING, MS), (C, LINK_MESS, 3 * MS)])))


def test_a_message_that_comes_in_two_parts_shows_when_it_began() -> None:
    figure = ladder(run([(C, b"RFB ", MS), (S, GREETING, 2 * SECOND), (C, GREETING[4:], 2 * SECOND + MS)]))
    check(figure)
    text = words(figure)
    assert "first byte" in text
    assert "RFB 003.008, last byte" in text
    assert "2.00 s pass" in text  # its bytes may have come in between: "nothing" would say too much


def test_thousands_of_messages_are_folded_and_none_is_lost() -> None:
    dissected = run(SESSION)
    records = list(dissected.records)
    for number in range(5_000):
        side = S if number % 3 else C
        name = "FramebufferUpdate" if side is S else "FramebufferUpdateRequest"
        records.append(message(name, side, 20 * MS + number * MS, 1_000))
    figure = ladder(with_records(dissected, records))
    check(figure)
    text = words(figure)
    drawn = [name for name in text.splitlines() if name in {one.name for one in records}]
    assert f"… {len(records) - len(drawn):,} more messages" in text
    counted = {name: int(number.replace(",", "")) for number, name in re.findall(r"([\d,]+) × (\w+)", text)}
    assert counted["FramebufferUpdate"] + drawn.count("FramebufferUpdate") == 3_333
    assert figure.get_size_inches()[1] < 14


def test_what_a_verdict_rests_on_is_never_folded() -> None:
    many = [message("Noise", C, MS + number) for number in range(200)]
    reply = Message(S, "spice", "SpiceLinkReply", 0, 194, ERROR_REPLY, 1_931 * MS, 1_931 * MS)
    dissected = run(
        [(C, b"RFB ", MS), (S, ERROR_REPLY, 1_931 * MS), (S, FIN, 9_000 * MS), (C, FIN, 9_001 * MS)]
    )
    late = [message("Noise", C, 2_000 * MS + number) for number in range(200)]
    figure = ladder(with_records(dissected, [*dissected.records[:1], *many, reply, *late]))
    check(figure)
    text = words(figure)
    assert "SpiceLinkReply" in text.splitlines()
    assert "server noticed after 1.93 s" in text
    folds = [line for line in text.splitlines() if line.startswith("… ")]
    assert len(folds) == 2


def test_gaps_and_violations_show_and_thousands_are_counted() -> None:
    records: list[Record] = [message("Hello", S, MS)]
    records += [Gap(S, "rfb", number, 1_448, (2 + number) * MS) for number in range(1_000)]
    records += [
        Violation(C, "rfb", "SetEncodings", number, 4, (1_100 + number) * MS, "normal", f"reason {number}")
        for number in range(1_000)
    ]
    figure = ladder(with_records(run(LINKED), records))
    check(figure)
    text = words(figure)
    assert text.count("1,448 bytes of the server not in the capture") == 4
    assert "996 more gaps" in text
    assert text.count("violation: SetEncodings: reason") == 4
    assert "996 more violations" in text


@pytest.mark.parametrize(
    ("steps", "options", "part"),
    [
        ([(S, RST, MS)], {"established": False}, "RST"),
        ([], {"established": False, "mid_stream": True, "roles": "port"}, "the capture begins in mid-stream"),
        ([], {"established": False}, "the handshake is not in the capture"),
        ([(C, FIN, MS), (S, FIN, MS)], {}, "FIN"),
        ([(C, RST, MS + number) for number in range(1_000)], {}, "1,000 times"),
    ],
)
def test_conversations_with_next_to_nothing_in_them(
    steps: list[Step], options: dict[str, object], part: str
) -> None:
    figure = ladder(run(steps, **options))  # type: ignore[arg-type]
    check(figure)
    assert part in words(figure)


def test_a_reversed_connection_says_so() -> None:
    dissected = run([(C, GREETING, MS), (S, GREETING, 2 * MS), (C, b"\x01\x01", 3 * MS)])
    assert dissected.verdict.reversed
    assert "spoke RFB as its server" in words(ladder(dissected))


@pytest.mark.parametrize("long", [1, 60])
def test_names_that_strangers_chose(long: int) -> None:
    nasty = NASTY * long
    dissected = run(EARLY)
    verdict = dataclasses.replace(
        dissected.verdict,
        client=nasty,
        server="[2001:db8:85a3:1111:2222:8a2e:370:7334]:65535",
        reason=f"{nasty}; {nasty}",
    )
    records: list[Record] = [
        *dissected.records,
        message(nasty, C, 1_863 * MS),
        message("x" * 10_000, S, 1_864 * MS),
        Message(
            C, "rfb", "NotDecoded", 4, 9, nasty.encode("utf-8", "replace"), 1_865 * MS, 3_000 * MS, note=nasty
        ),
        Violation(S, nasty, nasty, 1, 1, 3_001 * MS, nasty, nasty),
    ]
    records += [message(nasty + str(number), C, 3_002 * MS) for number in range(100)]
    figure = ladder(
        dataclasses.replace(dissected, verdict=verdict, records=records),
        capture=nasty,
        names={C: nasty, S: "word " * 100 * long},
    )
    check(figure)
    assert written(figure, "svg")


STEP = st.tuples(
    st.sampled_from(list(Side)),
    st.sampled_from(
        [
            b"RFB ",
            GREETING,
            LINK_MESS,
            LINK_REPLY,
            ERROR_REPLY,
            b"\x02\x01\x02",
            b"\x01",
            bytes(400),
            b"$\xff",
            7,
            FIN,
            RST,
        ]
    ),
    st.integers(0, 10 * SECOND),
)


@settings(max_examples=15)
@given(st.lists(STEP, max_size=12), st.integers(0, 20 * SECOND))
def test_any_conversation_can_be_read(steps: list[Step], more: int) -> None:
    steps = sorted(steps, key=lambda step: step[2])
    dissected = run(steps, end=max((time for _, _, time in steps), default=0) + more)
    figure = ladder(dissected)
    check(figure)
    for side in Side:
        seen = dissected.verdict.detect(side)
        assert bool(marks(figure, f"exact-{side}")) == (seen is not None and not seen.censored)
        assert bool(marks(figure, f"censored-{side}")) == (seen is not None and seen.censored)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_conversation_gives_the_same_bytes(kind: str) -> None:
    first = written(ladder(run(EARLY), capture="a$b.pcap"), kind)
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "lines.linewidth": 9}):
        second = written(ladder(run(EARLY), capture="a$b.pcap"), kind)
    assert first == second
    if kind == "svg":
        text = first.decode()
        assert ">a$b.pcap, conversation 0" in text  # text is text
        assert "<dc:date>" not in text


def test_settings_of_the_process_are_left_alone() -> None:
    with matplotlib.rc_context({"font.size": 31.0, "svg.hashsalt": "mine"}):
        before = dict(matplotlib.rcParams)
        written(ladder(run(EARLY)), "svg")
        assert dict(matplotlib.rcParams) == before


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="pdf"):
        save(ladder(run(EARLY)), "x.pdf")


def test_the_number_of_messages_shown_can_be_chosen() -> None:
    records: list[Record] = [message(f"M{number}", C, number * MS) for number in range(30)]
    few, all_of_them = (ladder(with_records(run(LINKED), records), most=most) for most in (5, 30))
    assert "25 more messages" in words(few)
    assert "more messages" not in words(all_of_them)
    rng = Random(1)
    assert f"M{rng.randrange(30)}" in words(all_of_them).splitlines()


def test_real_recordings_can_be_read() -> None:
    captures = sorted(PCAPS.glob("*.pcapng"))[::7]
    assert captures
    for path in captures:
        with open_capture(path) as capture:
            for dissected in dissect(read(capture)):
                check(ladder(dissected, capture=path.name))
