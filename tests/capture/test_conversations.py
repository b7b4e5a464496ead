# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.capture import (
    Bytes,
    Closed,
    Conversation,
    Conversations,
    Ended,
    Established,
    Event,
    Lost,
    Opened,
    PcapngWriter,
    Reset,
    Segment,
    TcpScript,
    decode,
    open_capture,
    read,
)
from dissect.capture.conversations import CLOSE_LINGER_NS, RESET_LINGER_NS, TIME_WAIT_NS
from dissect.capture.reassembly import GAP_NS
from dissect.stream import Side
from tests.capture.build import ACK, FIN, PSH, RST, SYN, pcap, segment

C, S = 2**32 - 2, 500  # initial sequence numbers; the client's wraps at once
SEC = 1_000_000_000


def c(offset: int, payload: bytes = b"", time: int = 0, *, got: int = 0, flags: int = ACK) -> Segment:
    """From the client, at an offset of its stream, having got so much of the server's."""
    return segment(C + 1 + offset, payload, flags=flags, ack=S + 1 + got, time_ns=time)


def s(offset: int, payload: bytes = b"", time: int = 0, *, got: int = 0, flags: int = ACK) -> Segment:
    """From the server."""
    return segment(S + 1 + offset, payload, flags=flags, ack=C + 1 + got, time_ns=time, from_server=True)


def syn(time: int = 0, isn: int = C) -> Segment:
    return segment(isn, flags=SYN, time_ns=time)


def synack(time: int = 0, isn: int = S, client_isn: int = C) -> Segment:
    return segment(isn, flags=SYN | ACK, ack=client_isn + 1, time_ns=time, from_server=True)


HANDSHAKE = [syn(0), synack(10), c(0, time=20)]


def told(event: Event) -> tuple[object, ...]:
    """An event in short, with the number of its conversation first."""
    number = event.conversation.index
    match event:
        case Bytes():
            return (number, event.side.value, event.data, event.time_ns)
        case Lost():
            return (number, event.side.value, event.size, event.time_ns)
        case Closed() | Reset():
            return (number, event.side.value, type(event).__name__, event.time_ns)
        case Ended():
            return (number, "open" if event.open else event.conversation.ended_by, event.time_ns)
        case _:
            return (number, type(event).__name__, event.time_ns)


def run(segments: Iterable[Segment], end_ns: int | None = None) -> list[tuple[object, ...]]:
    conversations = Conversations()
    events: list[Event] = []
    for one in segments:
        events += conversations.push(one)
    events += conversations.finish(end_ns)
    check_order(events)
    return [told(event) for event in events]


def check_order(events: list[Event]) -> None:
    """Opened first and Ended last and once, nothing of a stream after its Closed."""
    state: dict[Conversation, list[Event]] = {}
    for event in events:
        state.setdefault(event.conversation, []).append(event)
    assert [one.index for one in state] == list(range(len(state)))
    for conversation, own in state.items():
        assert isinstance(own[0], Opened)
        assert isinstance(own[-1], Ended)
        assert sum(isinstance(event, Opened) for event in own) == 1
        assert sum(isinstance(event, Ended) for event in own) == 1
        assert conversation.end_ns == own[-1].time_ns
        for side in Side:
            stream = [e for e in own if isinstance(e, Bytes | Lost | Closed) and e.side is side]
            assert not any(isinstance(event, Closed) for event in stream[:-1])


# -- one conversation


def test_a_whole_conversation() -> None:
    assert run(
        [
            *HANDSHAKE,
            s(0, b"RFB 003.008\n", 30),
            c(0, b"RFB 003.008\n", 40, got=12),
            s(12, b"", 50, got=12, flags=FIN | ACK),
            c(12, b"", 60, got=13),
            c(12, b"", 70, got=13, flags=FIN | ACK),
            s(13, b"", 80, got=13),
        ]
    ) == [
        (0, "Opened", 0),
        (0, "Established", 20),
        (0, "server", b"RFB 003.008\n", 30),
        (0, "client", b"RFB 003.008\n", 40),
        (0, "server", "Closed", 50),
        (0, "client", "Closed", 70),
        (0, "fin", 70),
    ]


def test_what_a_conversation_knows() -> None:
    conversations = Conversations()
    events = []
    for number, one in enumerate([*HANDSHAKE, s(0, b"abc", 30), s(0, b"abX", 40), s(3, b"", 50, flags=FIN)]):
        one.frame = number + 7
        events += conversations.push(one)
    conversation = events[0].conversation
    assert (conversation.client, conversation.server) == ("127.0.0.1:40000", "127.0.0.2:5900")
    assert (conversation.roles_from, conversation.mid_stream) == ("syn", False)
    assert conversation.roles_because == "127.0.0.1:40000 sent the SYN"
    assert (conversation.start_ns, conversation.syn_ns, conversation.established_ns) == (0, 0, 20)
    assert (conversation.first_frame, conversation.packets, conversation.last_ns) == (7, 6, 50)
    assert (conversation.retransmitted, conversation.late, conversation.conflicting) == (1, 0, 1)
    assert (conversation.end_ns, conversation.ended_by) == (None, None)
    assert conversations.live == 1
    conversations.finish(99)
    assert (conversation.end_ns, conversation.ended_by) == (99, "capture")
    assert conversations.live == 0


def test_a_half_closed_conversation_stays_open() -> None:
    assert run([*HANDSHAKE, c(0, b"", 30, flags=FIN | ACK), s(0, b"x", 90 * SEC, got=1)], 100 * SEC) == [
        (0, "Opened", 0),
        (0, "Established", 20),
        (0, "client", "Closed", 30),
        (0, "server", b"x", 90 * SEC),
        (0, "open", 100 * SEC),
    ]


def test_silence_to_the_end_of_the_capture() -> None:
    assert run(HANDSHAKE, 60 * SEC) == [
        (0, "Opened", 0),
        (0, "Established", 20),
        (0, "open", 60 * SEC),
    ]
    assert run(HANDSHAKE)[-1] == (0, "open", 20)


def test_the_handshake_ends_with_data_where_its_bare_ack_is_lost() -> None:
    assert run([syn(0), synack(10), s(0, b"hi", 12), c(0, b"yo", 30, got=2)])[1:4] == [
        (0, "server", b"hi", 12),
        (0, "Established", 30),
        (0, "client", b"yo", 30),
    ]


def test_the_handshake_without_its_syn_ack() -> None:
    events = run([syn(0), c(0, b"", 20), s(4, b"efgh", 30)])
    assert events[1:4] == [(0, "Established", 20), (0, "server", 4, 30), (0, "server", b"efgh", 30)]


def test_syn_and_syn_ack_again_are_the_same_conversation() -> None:
    assert run([syn(0), syn(1), synack(2), synack(3), c(0, b"", 4), synack(5), c(0, b"", 6)]) == [
        (0, "Opened", 0),
        (0, "Established", 4),
        (0, "open", 6),
    ]


def test_a_syn_ack_with_another_number_for_a_repeated_syn() -> None:
    other = segment(9000, flags=SYN | ACK, ack=C + 1, time_ns=3, from_server=True)
    hello = segment(9001, b"hello", ack=C + 1, time_ns=5, from_server=True)
    done = segment(C + 1, ack=9001, time_ns=4)
    assert run([syn(0), synack(1), syn(2), other, done, hello]) == [
        (0, "Opened", 0),
        (0, "Established", 4),
        (0, "server", b"hello", 5),
        (0, "open", 5),
    ]


def test_a_server_that_still_remembers_an_old_connection() -> None:
    # It answers the SYN with an ACK of the old one, gets a RST for it, and takes the next SYN.
    old_ack = segment(3_000_000_000, ack=77_000, time_ns=5, from_server=True)
    old_reset = segment(77_000, flags=RST, time_ns=6)
    hello = s(0, b"hello", 30)
    assert run([syn(0), old_ack, old_reset, syn(SEC), synack(SEC + 1), c(0, time=SEC + 2), hello]) == [
        (0, "Opened", 0),
        (0, "Established", SEC + 2),
        (0, "server", b"hello", 30),
        (0, "open", SEC + 2),
    ]


def test_both_open_at_once() -> None:
    theirs = segment(S, flags=SYN, time_ns=5, from_server=True)
    mine = segment(C, flags=SYN | ACK, ack=S + 1, time_ns=6)
    events = run([syn(0), theirs, mine, synack(7), c(0, b"a", 8), s(0, b"b", 9, got=1)])
    assert {event[0] for event in events} == {0}
    assert events[-3:] == [(0, "client", b"a", 8), (0, "server", b"b", 9), (0, "open", 9)]


def test_reordered_segments_keep_their_times_and_lost_ones_are_gaps() -> None:
    assert run(
        [
            *HANDSHAKE,
            s(2, b"cd", 30),
            s(0, b"ab", 40),
            s(9, b"jk", 50),
            c(0, b"", 60, got=11),
            c(0, b"", 60 + GAP_NS, got=11),
        ]
    )[2:] == [
        (0, "server", b"ab", 40),
        (0, "server", b"cd", 30),
        (0, "server", 5, 50),
        (0, "server", b"jk", 50),
        (0, "open", 60 + GAP_NS),
    ]


def test_a_gap_comes_before_the_bytes_of_the_very_segment_that_tells_it() -> None:
    events = run([*HANDSHAKE, s(2, b"cd", 30), c(0, b"", 31, got=4), c(0, b"x", 40 + GAP_NS, got=4)])
    assert events[2:-1] == [
        (0, "server", 2, 30),
        (0, "server", b"cd", 30),
        (0, "client", b"x", 40 + GAP_NS),
    ]


# -- how it ends


def test_refused() -> None:
    refusal = segment(0, flags=RST | ACK, ack=C + 1, time_ns=5, from_server=True)
    assert run([syn(0), refusal], 50 * SEC) == [
        (0, "Opened", 0),
        (0, "server", "Reset", 5),
        (0, "reset", 5),
    ]


def test_each_refused_attempt_is_a_conversation() -> None:
    def refusal(time: int) -> Segment:
        return segment(0, flags=RST | ACK, ack=C + 1, time_ns=time, from_server=True)

    events = run(
        [syn(0), refusal(5), syn(SEC // 2), refusal(SEC // 2 + 5), syn(3 * SEC), refusal(3 * SEC + 5)]
    )
    assert [event for event in events if event[1] == "reset"] == [
        (0, "reset", 5),
        (1, "reset", SEC // 2 + 5),
        (2, "reset", 3 * SEC + 5),
    ]


def test_what_was_under_way_when_the_reset_came_still_counts() -> None:
    events = run(
        [
            *HANDSHAKE,
            c(0, b"", 30, flags=RST | ACK),
            s(0, b"late", 40),
            c(0, b"", 41, flags=RST),
            s(9, b"", 30 + RESET_LINGER_NS + 1),
        ]
    )
    assert events[2:] == [(0, "client", "Reset", 30), (0, "server", b"late", 40), (0, "reset", 30)]


def test_a_reset_by_both() -> None:
    events = run([*HANDSHAKE, c(0, b"", 30, flags=RST), s(0, b"", 31, flags=RST)], 5 * SEC)
    assert events[2:] == [(0, "client", "Reset", 30), (0, "server", "Reset", 31), (0, "reset", 30)]


def test_a_reset_gives_holes_up() -> None:
    events = run([*HANDSHAKE, s(2, b"cd", 25), c(0, b"", 30, flags=RST)], 5 * SEC)
    assert events[2:] == [
        (0, "client", "Reset", 30),
        (0, "server", 2, 25),
        (0, "server", b"cd", 25),
        (0, "reset", 30),
    ]


def test_a_reset_from_far_outside_is_not_believed() -> None:
    conversations = Conversations()
    for one in [*HANDSHAKE, segment(C + 2**30, flags=RST, time_ns=30), s(0, b"on", 40)]:
        events = conversations.push(one)
    assert [told(event) for event in events] == [(0, "server", b"on", 40)]
    assert events[0].conversation.counters.outside == 1


def test_fin_then_reset() -> None:
    events = run([*HANDSHAKE, s(0, b"", 30, flags=FIN | ACK), c(0, b"", 40, flags=RST | ACK)], 9 * SEC)
    assert events[2:] == [(0, "server", "Closed", 30), (0, "client", "Reset", 40), (0, "reset", 40)]


def test_both_fins_but_a_hole_that_nothing_fills() -> None:
    events = run(
        [
            *HANDSHAKE,
            s(3, b"", 30, flags=FIN | ACK),
            c(0, b"", 40, got=4, flags=FIN | ACK),
            segment(77, flags=SYN, time_ns=50 + CLOSE_LINGER_NS, sport=40001),
        ]
    )
    assert events[2:] == [
        (0, "client", "Closed", 40),
        (0, "server", 3, 30),
        (0, "server", "Closed", 30),
        (0, "fin", 40),
        (1, "Opened", 50 + CLOSE_LINGER_NS),
        (1, "open", 50 + CLOSE_LINGER_NS),
    ]


def test_both_fins_and_a_hole_that_is_filled_in_time() -> None:
    events = run(
        [
            *HANDSHAKE,
            s(3, b"", 30, flags=FIN | ACK),
            c(0, b"", 40, flags=FIN | ACK),
            c(1, b"", CLOSE_LINGER_NS),
            s(0, b"abc", 50 + CLOSE_LINGER_NS),
        ]
    )
    assert events[2:] == [
        (0, "client", "Closed", 40),
        (0, "server", b"abc", 50 + CLOSE_LINGER_NS),
        (0, "server", "Closed", 30),
        (0, "fin", 40),
    ]


def test_both_fins_and_a_hole_that_is_filled_at_once() -> None:
    closing = [s(3, b"", 30, flags=FIN | ACK), c(0, b"", 40, flags=FIN | ACK), s(0, b"abc", 50)]
    assert run([*HANDSHAKE, *closing])[2:] == [
        (0, "client", "Closed", 40),
        (0, "server", b"abc", 50),
        (0, "server", "Closed", 30),
        (0, "fin", 40),
    ]


def test_an_end_is_told_when_it_is_due_by_whatever_is_captured_then() -> None:
    conversations = Conversations()
    for one in [*HANDSHAKE, c(0, b"", 30, flags=RST)]:
        conversations.push(one)
    for one in (segment(5, flags=SYN, sport=9, time_ns=31), segment(6, sport=9, time_ns=32)):
        conversations.push(one)
    plain = segment(6, b"plain", sport=9, time_ns=30 + RESET_LINGER_NS)
    assert [told(event) for event in conversations.push(plain)] == [
        (0, "reset", 30),
        (1, "client", b"plain", 30 + RESET_LINGER_NS),
    ]


def test_what_waits_at_the_end_comes_out_in_the_order_of_its_stream() -> None:
    events = run(
        [
            *HANDSHAKE,
            s(6, b"gh", 25),
            s(4, b"ef", 26),
            c(3, b"d", 27),
            s(2, b"cd", 28),
            c(0, b"", 30, flags=RST),
        ]
    )
    assert events[3:-1] == [
        (0, "client", 3, 27),
        (0, "client", b"d", 27),
        (0, "server", 2, 28),
        (0, "server", b"cd", 28),
        (0, "server", b"ef", 26),
        (0, "server", b"gh", 25),
    ]


def test_fins_after_a_reset_do_not_undo_it() -> None:
    events = run(
        [
            *HANDSHAKE,
            s(0, b"", 30, flags=FIN | ACK),
            c(0, b"", 40, flags=RST | ACK),
            c(0, b"", 50, flags=FIN | ACK),
        ],
        9 * SEC,
    )
    assert events[-2:] == [(0, "client", "Closed", 50), (0, "reset", 40)]


CLOSING = [c(0, b"", 30, flags=FIN | ACK), s(0, b"", 40, got=1, flags=FIN | ACK)]


def test_trailing_packets_open_nothing_for_a_while() -> None:
    conversations = Conversations()
    events: list[Event] = []
    trailing = [
        c(1, b"", 50, got=1),
        s(0, b"", 60, flags=FIN | ACK),
        c(1, b"late", 70),
        c(1, b"", 80, flags=RST),
    ]
    for one in [*HANDSHAKE, *CLOSING, *trailing]:
        events += conversations.push(one)
    assert [told(event) for event in events][-1] == (0, "fin", 40)
    assert (events[0].conversation.packets, events[0].conversation.after_end_bytes) == (9, 4)
    assert conversations.live == 1
    (opened,) = conversations.push(c(1, b"", 41 + TIME_WAIT_NS))
    assert told(opened) == (1, "Opened", 41 + TIME_WAIT_NS)
    assert opened.conversation.mid_stream


def test_a_copy_of_the_first_syn_after_the_end_opens_nothing() -> None:
    assert run([*HANDSHAKE, *CLOSING, syn(50), synack(60)])[-1] == (0, "fin", 40)


def test_ended_conversations_are_forgotten() -> None:
    conversations = Conversations()
    for number in range(3000):
        time = number * SEC
        isn = number * 7
        for one in (
            segment(isn, flags=SYN, time_ns=time, sport=number + 1),
            segment(0, flags=RST | ACK, ack=isn + 1, time_ns=time, from_server=True, sport=number + 1),
        ):
            conversations.push(one)
    assert conversations.count == 3000
    assert conversations.live < 70


# -- ports used again


@pytest.mark.parametrize("before", [[*HANDSHAKE], [*HANDSHAKE, *CLOSING], [*HANDSHAKE, s(3, b"x", 30)]])
def test_ports_used_again(before: list[Segment]) -> None:
    events = run([*before, syn(100, 7777), segment(7778, b"new", time_ns=110, ack=1)])
    assert events[-4:] == [
        (1, "Opened", 100),
        (1, "Established", 110),
        (1, "client", b"new", 110),
        (1, "open", 110),
    ]
    ended = [event for event in events if event[0] == 0][-1]
    assert ended == ((0, "fin", 40) if len(before) == 5 else (0, "reused", 100))


def test_ports_used_again_the_other_way_round() -> None:
    back = segment(9999, flags=SYN, time_ns=100, from_server=True)
    conversations = Conversations()
    events = []
    for one in [*HANDSHAKE, *CLOSING, back]:
        events += conversations.push(one)
    assert events[-1].conversation.client == "127.0.0.2:5900"


def test_ports_used_again_seen_only_by_the_syn_ack() -> None:
    events = run([*HANDSHAKE, *CLOSING, synack(100, 8888, 7777)])
    assert events[-2:] == [(1, "Opened", 100), (1, "open", 100)]


# -- who is who


@pytest.mark.parametrize(
    ("first", "source", "because", "mid_stream"),
    [
        (synack(), "syn-ack", "127.0.0.2:5900 answered a SYN that was not captured", False),
        (c(0, b"x"), "port", "no SYN was captured; port 5900 is one that VNC and SPICE servers use", True),
        (s(0, b"x"), "port", "no SYN was captured; port 5900 is one that VNC and SPICE servers use", True),
        (s(0, b"", flags=RST), "port", "no SYN was captured; port 5900 is one that VNC and SPICE", True),
    ],
)
def test_roles_without_a_syn(first: Segment, source: str, because: str, mid_stream: bool) -> None:
    event = Conversations().push(first)[0]
    conversation = event.conversation
    assert (conversation.client, conversation.server) == ("127.0.0.1:40000", "127.0.0.2:5900")
    assert conversation.roles_from == source
    assert because in conversation.roles_because
    assert conversation.mid_stream is mid_stream
    assert conversation.syn_ns is None


@pytest.mark.parametrize(
    ("ports", "server", "because"),
    [
        ((443, 50000), 443, "lower"),
        ((50000, 443), 443, "lower"),
        ((5905, 22), 5905, "VNC"),
        ((5905, 5901), 5901, "lower"),
        ((5900, 5900), 5900, "both ports"),
    ],
)
def test_roles_by_port(ports: tuple[int, int], server: int, because: str) -> None:
    one = Segment(0, b"\1\1\1\1", ports[0], b"\2\2\2\2", ports[1], 1, 1, ACK, b"x", 0, 1)
    conversation = Conversations().push(one)[0].conversation
    assert conversation.server.endswith(f":{server}")
    assert because in conversation.roles_because


def test_start_in_mid_stream() -> None:
    events = run([s(100, b"abc", 5, got=50), c(50, b"xyz", 6, got=103), s(105, b"f", 7, got=53)], 9)
    assert events == [
        (0, "Opened", 5),
        (0, "server", b"abc", 5),
        (0, "client", b"xyz", 6),
        (0, "server", 2, 7),
        (0, "server", b"f", 7),
        (0, "open", 9),
    ]


def test_a_syn_captured_after_its_syn_ack() -> None:
    conversations = Conversations()
    events: list[Event] = []
    for one in [synack(10), syn(11), c(0, b"", 20), c(0, b"hi", 30)]:
        events += conversations.push(one)
    assert [told(event) for event in events] == [
        (0, "Opened", 10),
        (0, "Established", 20),
        (0, "client", b"hi", 30),
    ]
    conversation = events[0].conversation
    assert (conversation.roles_from, conversation.syn_ns) == ("syn", 11)


def test_the_same_ports_of_other_addresses_are_another_conversation() -> None:
    one = Segment(0, b"\1\1\1\1", 1000, b"\2\2\2\2", 2000, 1, 0, SYN, b"", 0, 1)
    two = Segment(1, b"\2\2\2\2", 1000, b"\1\1\1\1", 2000, 1, 0, SYN, b"", 0, 2)
    assert [event[0] for event in run([one, two])] == [0, 1, 0, 1]


# -- many at once, in any order


Take = Callable[[int, bytes], None]


def talk(write: Take, port: int, seed: int) -> None:
    """One scripted conversation with its own contents."""
    source = random.Random(seed)
    script = TcpScript(
        ("127.0.0.1", port),
        ("127.0.0.2", 5900),
        write,
        client_isn=source.choice([0, 2**32 - 10, 2**31 - 3]),
        server_isn=source.choice([5, 2**32 - 1, 2**31]),
    )
    time = source.randrange(10**6)
    script.opened(time)
    for _ in range(source.randrange(12)):
        time += source.randrange(1, 10**6)
        script.sent(source.choice(list(Side)), source.randbytes(source.randrange(1, 40)), time)
    time += 1
    if source.random() < 0.5:
        script.closed(Side.SERVER, time)
        script.closed(Side.CLIENT, time + 1)
    elif source.random() < 0.5:
        script.reset(Side.CLIENT, time)


def segments_of(ports: range, seed: int) -> list[list[Segment]]:
    """The segments of each conversation."""
    out = []
    for port in ports:
        frames: list[tuple[int, bytes]] = []
        talk(lambda time, data, frames=frames: frames.append((time, data)), port, seed + port)  # type: ignore[misc]
        decoded = [decode(frame) for frame in open_capture(io.BytesIO(pcap(frames, nano=True)))]
        out.append([one for one in decoded if isinstance(one, Segment)])
    return out


def by_client(events: Iterable[Event]) -> dict[str, list[tuple[object, ...]]]:
    out: dict[str, list[tuple[object, ...]]] = {}
    for event in events:
        out.setdefault(event.conversation.client, []).append(told(event)[1:])
    return out


def pushed(segments: Iterable[Segment], end_ns: int) -> list[Event]:
    conversations = Conversations()
    events: list[Event] = []
    for one in segments:
        events += conversations.push(one)
    events += conversations.finish(end_ns)
    check_order(events)
    return events


@given(st.integers(0, 10**6))
def test_interleaved_conversations_do_not_touch_each_other(seed: int) -> None:
    each = segments_of(range(1000, 1012), seed)
    mixed = sorted((one for own in each for one in own), key=lambda one: one.time_ns)
    together = by_client(pushed(mixed, SEC))
    alone: dict[str, list[tuple[object, ...]]] = {}
    for own in each:
        alone |= by_client(pushed(own, SEC))
    assert together == alone


@given(st.integers(0, 10**6), st.data())
def test_disorder_within_a_conversation_changes_no_byte(seed: int, data: st.DataObject) -> None:
    (own,) = segments_of(range(2000, 2001), seed)
    handshake, rest = own[:3], own[3:]
    wanted = streams(pushed(own, SEC))
    copies = data.draw(st.lists(st.sampled_from(rest), max_size=4)) if rest else []
    mixed = data.draw(st.permutations(rest + copies))
    got = streams(pushed([*handshake, *mixed], SEC))
    assert got == wanted


def streams(events: Iterable[Event]) -> dict[Side, bytes]:
    out = dict.fromkeys(Side, b"")
    for event in events:
        if isinstance(event, Bytes):
            out[event.side] += event.data
        assert not isinstance(event, Lost)
    return out


@given(
    st.lists(
        st.builds(
            segment,
            st.integers(0, 12),
            st.binary(max_size=5),
            flags=st.sampled_from(
                [SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, RST | ACK, PSH | ACK, SYN | RST, 0]
            ),
            ack=st.integers(0, 14),
            time_ns=st.integers(0, 200).map(lambda t: t * SEC // 2),
            from_server=st.booleans(),
            sport=st.sampled_from([40000, 40001, 5900]),
        ),
        max_size=40,
    ),
    st.booleans(),
)
def test_any_segments_give_events_in_order(segments: list[Segment], in_time: bool) -> None:
    if in_time:
        segments.sort(key=lambda one: one.time_ns)
    run(segments, 100 * SEC)


# -- a whole capture


def test_read_counts_what_it_does_not_use() -> None:
    stream = io.BytesIO()
    with PcapngWriter(stream) as writer:
        script = TcpScript(("::1", 40000), ("::1", 5900), writer.write)
        script.opened(10)
        writer.write(11, b"\x45\0\0\x1c" + bytes(5) + b"\x11" + bytes(18))
        writer.write(12, b"\x45\0\0\x1c" + bytes(5) + b"\x11" + bytes(18))
        writer.write(13, b"\x90" + bytes(40))
        script.sent(Side.CLIENT, b"hello", 20)
        writer.close(5 * SEC)
    capture = open_capture(io.BytesIO(stream.getvalue()))
    events = [told(event) for event in read(capture)]
    assert events == [
        (0, "Opened", 10),
        (0, "Established", 10),
        (0, "client", b"hello", 20),
        (0, "open", 5 * SEC),
    ]
    assert capture.skipped == {"UDP": 2, "IP version 9": 1}
    assert capture.not_used() == "3 frames not used: 2 UDP, 1 IP version 9"
    assert capture.problems == []


def test_read_gives_what_was_before_a_cut() -> None:
    stream = io.BytesIO()
    with PcapngWriter(stream) as writer:
        script = TcpScript(("10.0.0.1", 40000), ("10.0.0.2", 5900), writer.write)
        script.opened(10)
        script.sent(Side.CLIENT, b"hello", 20)
        script.sent(Side.CLIENT, b"world", 30)
    whole = stream.getvalue()
    sizes = []
    for cut in range(60, len(whole)):
        capture = open_capture(io.BytesIO(whole[:cut]), "f")
        events = list(read(capture))
        sizes.append(sum(len(event.data) for event in events if isinstance(event, Bytes)))
        assert len(capture.problems) <= 1
        assert not events or isinstance(events[-1], Ended)
    assert sizes == sorted(sizes)
    assert set(sizes) == {0, 5, 10}


def test_read_of_a_capture_without_frames() -> None:
    capture = open_capture(io.BytesIO(pcap([])))
    assert list(read(capture)) == []
    assert capture.end_ns is None
    assert capture.not_used() is None


def test_established_is_an_event_of_its_own() -> None:
    event = [e for one in HANDSHAKE for e in Conversations().push(one)][-1]
    assert not isinstance(event, Established)  # each into its own: no handshake is seen


# --- networks with the same addresses


SPOKEN = [*HANDSHAKE, c(0, b"abc", 30), s(0, b"xy", 40, got=3), c(3, time=50, got=2)]


def in_networks(packets: Iterable[tuple[Segment, int]]) -> list[Event]:
    conversations = Conversations()
    found = [event for one, network in packets for event in conversations.push(replace(one, network=network))]
    return found + conversations.finish()


def test_equal_addresses_in_two_networks_are_two_conversations() -> None:
    events = in_networks((one, network) for one in SPOKEN for network in (0, 5, 1 << 24 | 7))
    ended = [event.conversation for event in events if isinstance(event, Ended)]
    assert [(one.index, one.network, one.packets) for one in ended] == [
        (0, 0, 6),
        (1, 5, 6),
        (2, 1 << 24 | 7, 6),
    ]
    assert sum(isinstance(event, Bytes) for event in events) == 6


@pytest.mark.parametrize("networks", [(0, 5), (5, 0), (5, 6)])
def test_each_side_may_be_in_a_network_of_its_own(networks: tuple[int, int]) -> None:
    """As where one direction is captured without its tag: told by what is acknowledged."""
    other = in_networks((each, 9) for each in SPOKEN)
    client, server = networks
    events = in_networks((one, client if one.sport == SPOKEN[0].sport else server) for one in SPOKEN)
    assert [told(event) for event in events] == [told(event) for event in other]
    assert [event.conversation.packets for event in events if isinstance(event, Ended)] == [6]


def test_an_answer_to_somebody_else_is_of_another_conversation() -> None:
    stranger = replace(SPOKEN[1], network=5, ack=12345)
    events = in_networks([(SPOKEN[0], 0), (stranger, 5), (SPOKEN[1], 0)])
    assert {event.conversation.network for event in events if isinstance(event, Ended)} == {0, 5}
