# SPDX-License-Identifier: GPL-2.0-or-later
"""Our end of TCP: what goes out for what comes in, and a whole stream over a wire that loses and reorders."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest

from dissect.replay.packets.endpoint import RETRANSMISSIONS, EndedBy, Endpoint, State, Why
from dissect.replay.packets.plan import ALWAYS, Handshake, PacketPlan, Piece
from dissect.replay.packets.segments import ACK, FIN, PSH, RST, SYN, Segment

MS = 1_000_000
ISN, PEER = 0xFFFFFFF0, 0xFFFFFFFA
"""Both streams cross the end of the sequence space early."""
VERSION = b"RFB 003.008\n"


def seq(offset: int) -> int:
    return (ISN + 1 + offset) % 2**32


def from_peer(
    offset: int, payload: bytes = b"", *, acks: int = 0, flags: int = ACK, window: int = 65_535
) -> Segment:
    return Segment((PEER + 1 + offset) % 2**32, seq(acks), flags, window, payload)


def over(endpoint: Endpoint) -> bool:
    return endpoint.state is State.OVER


def opened(plan: PacketPlan | None = None, *, window: int = 65_535) -> Endpoint:
    endpoint = Endpoint(plan or PacketPlan(), initial=ISN)
    assert endpoint.open(0) == [Segment(ISN, 0, SYN, endpoint.plan.window, mss=endpoint.plan.mss)]
    endpoint.receive(Segment(PEER, seq(0), SYN | ACK, window, mss=1460), MS)
    return endpoint


def sent(segments: list[Segment]) -> list[tuple[int, bytes]]:
    """(offset, payload) of what carries bytes."""
    return [((one.seq - seq(0)) % 2**32, one.payload) for one in segments if one.payload]


def plays(plan: PacketPlan, data: bytes, now: int = 2 * MS) -> list[tuple[int, bytes]]:
    endpoint = opened(plan)
    endpoint.write(data)
    return sent(endpoint.poll(now))


# --- the handshake


def test_the_handshake_ends_with_an_ack() -> None:
    endpoint = Endpoint(PacketPlan(window=100), initial=ISN)
    endpoint.open(0)
    answer = endpoint.receive(Segment(PEER, seq(0), SYN | ACK, 65_535), MS)
    assert answer == [Segment(seq(0), (PEER + 1) % 2**32, ACK, 100)]
    assert endpoint.state is State.OPEN
    assert endpoint.wake_ns is None


def test_a_refusal() -> None:
    endpoint = Endpoint(PacketPlan(), initial=ISN)
    endpoint.open(0)
    assert endpoint.receive(Segment(0, seq(0), RST | ACK, 0), MS) == []
    assert (endpoint.state, endpoint.ended_by) == (State.OVER, EndedBy.REFUSED)


def test_a_reset_for_somebody_else_is_no_refusal() -> None:
    endpoint = Endpoint(PacketPlan(), initial=ISN)
    endpoint.open(0)
    endpoint.receive(Segment(0, seq(5), RST | ACK, 0), MS)
    assert endpoint.state is State.OPENING


def test_syn_is_sent_again_and_given_up() -> None:
    endpoint = Endpoint(PacketPlan(rto_ns=100 * MS), initial=ISN)
    endpoint.open(0)
    waits, last = [], 0
    while endpoint.state is State.OPENING:
        assert endpoint.wake_ns is not None
        waits.append((endpoint.wake_ns - last) // MS)
        last = endpoint.wake_ns
        endpoint.poll(last)
    assert waits[:4] == [100, 200, 400, 800]
    assert len(waits) == RETRANSMISSIONS + 1
    assert endpoint.ended_by is EndedBy.NO_ANSWER
    assert endpoint.wake_ns is None


@pytest.mark.parametrize(
    ("handshake", "flags", "state"),
    [
        (Handshake.RST, [RST | ACK], State.OVER),
        (Handshake.FIN, [FIN | ACK], State.OPEN),
        (Handshake.SILENCE, [], State.OPENING),
    ],
)
def test_the_handshake_may_end_otherwise(handshake: Handshake, flags: list[int], state: State) -> None:
    endpoint = Endpoint(PacketPlan(handshake=handshake), initial=ISN)
    endpoint.open(0)
    synack = Segment(PEER, seq(0), SYN | ACK, 65_535)
    assert [one.flags for one in endpoint.receive(synack, MS)] == flags
    assert endpoint.state is state
    endpoint.write(VERSION)
    assert sent(endpoint.poll(2 * MS)) == []
    assert endpoint.unsent == len(VERSION)
    if handshake is Handshake.SILENCE:
        assert endpoint.receive(synack, 3 * MS) == []
        assert endpoint.wake_ns is None
        assert len(endpoint.deviations) == 1


# --- how the stream is cut


def test_without_a_plan_the_largest_segments_go() -> None:
    assert [len(data) for _, data in plays(PacketPlan(mss=1000), bytes(2500))] == [1000, 1000, 500]
    assert [len(data) for _, data in plays(PacketPlan(cut=4), VERSION)] == [4, 4, 4]
    assert [len(data) for _, data in plays(PacketPlan(mss=9000), bytes(2920))] == [1460, 1460]


@pytest.mark.parametrize(
    ("pieces", "on_the_wire"),
    [
        pytest.param([Piece(0, 4), Piece(4, 8)], [(0, b"RFB "), (4, b"003.008\n")], id="boundaries"),
        pytest.param([Piece(4, 8), Piece(0, 4)], [(4, b"003.008\n"), (0, b"RFB ")], id="reordered"),
        pytest.param([Piece(0, 4, duplicate=1)], [(0, b"RFB ")] * 2 + [(4, b"003.008\n")], id="duplicate"),
        pytest.param([Piece(4, 8, overlap=2)], [(0, b"RFB "), (2, b"B 003.008\n")], id="overlap"),
        pytest.param([Piece(4, 8, overlap=2, fill=65)], [(0, b"RFB "), (2, b"AA003.008\n")], id="other"),
        pytest.param([Piece(0, 4, drop=1)], [(4, b"003.008\n")], id="lost"),
        pytest.param([Piece(0, 8), Piece(4, 8)], [(0, b"RFB 003."), (4, b"003.008\n")], id="both have them"),
        pytest.param([Piece(2, 2)], [(0, b"RF"), (2, b"B "), (4, b"003.008\n")], id="in the middle"),
    ],
)  # fmt: skip
def test_the_plan_is_on_the_wire(pieces: list[Piece], on_the_wire: list[tuple[int, bytes]]) -> None:
    assert plays(PacketPlan(tuple(pieces)), VERSION) == on_the_wire


def test_a_window_is_announced_from_its_segment_on() -> None:
    endpoint = opened(PacketPlan((Piece(0, 4), Piece(4, 4, window=8), Piece(8, 0, window=0))))
    endpoint.write(VERSION)
    windows = [one.window for one in endpoint.poll(2 * MS)]
    assert windows == [65_535, 8, 0, 0]
    assert endpoint.receive(from_peer(0, b"x"), 3 * MS)[-1].window == 0


def test_a_pause_is_kept() -> None:
    endpoint = opened(PacketPlan((Piece(0, 4), Piece(4, 8, delay_ns=50 * MS))))
    endpoint.write(VERSION)
    assert sent(endpoint.poll(2 * MS)) == [(0, b"RFB ")]
    assert endpoint.wake_ns == 52 * MS
    assert sent(endpoint.poll(51 * MS)) == []
    assert sent(endpoint.poll(52 * MS)) == [(4, b"003.008\n")]


def test_fin_goes_with_its_bytes_and_nothing_after_it() -> None:
    endpoint = opened(PacketPlan((Piece(0, 4, fin=True),)))
    endpoint.write(VERSION)
    (segment,) = endpoint.poll(2 * MS)
    assert (segment.payload, segment.flags) == (b"RFB ", PSH | ACK | FIN)
    assert endpoint.unsent == 8
    assert endpoint.fin_sent
    endpoint.receive(from_peer(0, flags=ACK | FIN, acks=5), 3 * MS)
    assert (endpoint.state, endpoint.ended_by) == (State.OVER, EndedBy.FINS)


def test_bytes_before_a_fin_that_overtook_them_still_go() -> None:
    endpoint = opened(PacketPlan((Piece(4, 8, fin=True), Piece(0, 4))))
    endpoint.write(VERSION + b"never")
    segments = endpoint.poll(2 * MS)
    assert sent(segments) == [(4, b"003.008\n"), (0, b"RFB ")]
    assert endpoint.unsent == 5


def test_rst_in_the_middle() -> None:
    endpoint = opened(PacketPlan((Piece(0, 4, rst=True),)))
    endpoint.write(VERSION)
    first, second = endpoint.poll(2 * MS)
    assert first.payload == b"RFB "
    assert (second.flags, second.seq) == (RST | ACK, seq(4))
    assert (endpoint.state, endpoint.ended_by, endpoint.unsent) == (State.OVER, EndedBy.OUR_RESET, 8)


def test_a_plan_that_wants_too_much_is_not_waited_for() -> None:
    """In lockstep the player gives no more before the answer: after a while what is there goes."""
    endpoint = opened(PacketPlan((Piece(0, 20), Piece(24, 4), Piece(20, 4)), patience_ns=100 * MS))
    endpoint.write(VERSION)
    assert sent(endpoint.poll(2 * MS)) == []
    assert endpoint.wake_ns == 102 * MS
    assert sent(endpoint.poll(102 * MS)) == [(0, VERSION)]
    endpoint.write(bytes(12))
    endpoint.receive(from_peer(0, b"\1", acks=12), 103 * MS)
    assert endpoint.wake_ns == 203 * MS
    assert sent(endpoint.poll(203 * MS)) == [(20, bytes(4))]
    assert "cut after 12" in endpoint.deviations[0]
    assert "bytes 24 to 28 was not sent before others" in endpoint.deviations[1]


def test_a_segment_whose_bytes_are_not_there_lets_others_pass_after_a_while() -> None:
    endpoint = opened(PacketPlan((Piece(20, 4), Piece(0, 12)), patience_ns=100 * MS))
    endpoint.write(VERSION)
    assert sent(endpoint.poll(2 * MS)) == []
    assert sent(endpoint.poll(102 * MS)) == [(0, VERSION)]
    endpoint.write(bytes(12))
    assert sent(endpoint.poll(110 * MS)) == [(12, bytes(8)), (20, bytes(4))]
    assert "bytes 20 to 24 was not sent before others" in endpoint.deviations[0]


def test_what_the_stream_never_had_is_said() -> None:
    endpoint = opened(PacketPlan((Piece(0, 12), Piece(40, 4))))
    endpoint.write(VERSION)
    endpoint.close()
    flags = [one.flags for one in endpoint.poll(2 * MS)]
    assert flags == [PSH | ACK, FIN | ACK]
    assert (endpoint.never_sent, endpoint.deviations) == (1, [])


# --- acknowledgements, loss, windows


def test_what_is_lost_is_sent_again_until_acknowledged() -> None:
    endpoint = opened(PacketPlan((Piece(0, 4, drop=2), Piece(4, 8)), rto_ns=100 * MS))
    endpoint.write(VERSION)
    assert sent(endpoint.poll(2 * MS)) == [(4, b"003.008\n")]
    assert sent(endpoint.poll(102 * MS)) == []  # kept back once more
    assert sent(endpoint.poll(302 * MS)) == [(0, b"RFB ")]
    endpoint.receive(from_peer(0, acks=12), 310 * MS)
    assert endpoint.unacknowledged == 0
    assert endpoint.wake_ns is None
    assert [event.why for event in endpoint.events][2:] == [
        Why.KEPT_BACK,
        Why.PLANNED,
        Why.KEPT_BACK,
        Why.AGAIN,
    ]


def test_what_is_to_be_lost_for_ever_is_not_sent_and_nobody_gives_up() -> None:
    endpoint = opened(PacketPlan((Piece(0, 4, drop=ALWAYS),)))
    endpoint.write(VERSION)
    assert sent(endpoint.poll(2 * MS)) == [(4, b"003.008\n")]
    for _ in range(50):
        if endpoint.wake_ns is None:
            break
        assert all(offset == 4 for offset, _ in sent(endpoint.poll(endpoint.wake_ns)))
        endpoint.receive(from_peer(0), endpoint.plan.rto_ns)
    assert endpoint.unacknowledged == len(VERSION)


def test_a_peer_that_acknowledges_nothing_is_given_up() -> None:
    endpoint = opened()
    endpoint.write(VERSION)
    endpoint.poll(2 * MS)
    for _ in range(RETRANSMISSIONS + 1):
        assert endpoint.wake_ns is not None
        endpoint.poll(endpoint.wake_ns)
    assert endpoint.ended_by is EndedBy.NO_ANSWER


def test_the_window_of_the_peer_holds_and_is_asked_about() -> None:
    endpoint = opened(PacketPlan(rto_ns=100 * MS), window=5)
    endpoint.write(VERSION)
    assert sent(endpoint.poll(2 * MS)) == [(0, b"RFB 0")]
    assert endpoint.receive(from_peer(0, acks=5, window=0), 3 * MS) == []
    (probe,) = endpoint.poll(103 * MS)
    assert (probe.seq, probe.payload) == (seq(4), b"")  # a byte it has: it must answer
    assert sent(endpoint.receive(from_peer(0, acks=5, window=100), 104 * MS)) == [(5, b"03.008\n")]


def test_a_piece_larger_than_the_window_is_cut_and_it_is_said() -> None:
    endpoint = opened(PacketPlan((Piece(0, 12),)), window=8)
    endpoint.write(VERSION)
    assert sent(endpoint.poll(2 * MS)) == [(0, b"RFB 003.")]
    assert "the peer's window is smaller" in endpoint.deviations[0]


def test_what_comes_is_put_in_order_once() -> None:
    endpoint = opened()
    for at, data in ((6, b"gh"), (2, b"cd"), (0, b"abc"), (3, b"def"), (0, b"ab"), (8, b"i")):
        (ack,) = endpoint.receive(from_peer(at, data), 2 * MS)
    assert endpoint.read() == b"abcdefghi"
    assert ack.ack == (PEER + 1 + 9) % 2**32
    assert endpoint.read() == b""


def test_fin_counts_only_after_all_before_it() -> None:
    endpoint = opened()
    (ack,) = endpoint.receive(from_peer(3, b"def", flags=ACK | FIN), 2 * MS)
    assert ack.ack == (PEER + 1) % 2**32
    (ack,) = endpoint.receive(from_peer(0, b"abc"), 3 * MS)
    assert endpoint.peer_closed
    assert ack.ack == (PEER + 1 + 7) % 2**32
    assert endpoint.read() == b"abcdef"


def test_a_reset_ends_it_unless_it_is_out_of_the_window() -> None:
    endpoint = opened(PacketPlan(window=100))
    endpoint.receive(from_peer(5000, flags=RST), 2 * MS)
    assert not over(endpoint)
    endpoint.receive(from_peer(0, flags=RST), 3 * MS)
    assert endpoint.ended_by is EndedBy.PEER_RESET


def test_probes_and_repetitions_are_answered() -> None:
    endpoint = opened()
    assert [one.flags for one in endpoint.receive(from_peer(-1), 2 * MS)] == [ACK]  # keepalive
    assert [one.flags for one in endpoint.receive(Segment(PEER, seq(0), SYN | ACK, 9), 2 * MS)] == [ACK]
    assert endpoint.receive(from_peer(0), 2 * MS) == []  # a bare ACK is not


def test_acknowledging_what_was_never_sent_changes_nothing() -> None:
    endpoint = opened()
    endpoint.write(VERSION)
    endpoint.poll(2 * MS)
    endpoint.receive(from_peer(0, acks=500), 3 * MS)
    assert endpoint.unacknowledged == len(VERSION)


def test_abort_says_so_once() -> None:
    endpoint = opened()
    assert [one.flags for one in endpoint.abort(2 * MS)] == [RST | ACK]
    assert endpoint.abort(3 * MS) == []


# --- a whole conversation over a bad wire


@dataclass
class Receiver:
    """Another end of TCP, as simple as can be: keeps each byte's first copy, acknowledges what is whole."""

    data: dict[int, int] = field(default_factory=dict)
    end: int | None = None
    whole: int = 0

    def take(self, segment: Segment) -> Segment | None:
        if segment.flags & SYN:
            return Segment(PEER, seq(0), SYN | ACK, 65_535, mss=1460)
        offset = (segment.seq - seq(0)) % 2**32
        for at, byte in enumerate(segment.payload, offset):
            self.data.setdefault(at, byte)
        while self.whole in self.data:
            self.whole += 1
        if segment.flags & FIN:
            self.end = offset + len(segment.payload)
        done = self.end is not None and self.whole >= self.end
        if not segment.payload and not segment.flags & FIN:
            return None
        return from_peer(0, acks=self.whole + done, flags=ACK | FIN if done else ACK)


@pytest.mark.parametrize("seed", range(40))
def test_every_stream_arrives_whole(seed: int) -> None:
    random = Random(seed)
    data = random.randbytes(random.randrange(1, 400))
    pieces = []
    for _ in range(random.randrange(12)):
        at = random.randrange(len(data) + 20)
        pieces.append(
            Piece(
                at,
                random.randrange(1, 60),
                duplicate=random.choice((0, 0, 2)),
                drop=random.choice((0, 0, 1)),
                overlap=random.randrange(min(at, 9) + 1),
                delay_ns=random.choice((0, 0, 3 * MS)),
            )
        )
    endpoint = Endpoint(
        PacketPlan(tuple(pieces), cut=random.choice((None, 1, 7)), rto_ns=20 * MS), initial=ISN
    )
    receiver, numbers = Receiver(), count()
    wire: list[tuple[int, int, bool, Segment]] = []
    now = 0

    def put(segments: list[Segment], to_peer: bool) -> None:
        for segment in segments:
            if random.random() > 0.15:
                heapq.heappush(wire, (now + random.randrange(1, 4) * MS, next(numbers), to_peer, segment))

    put(endpoint.open(now), True)
    written = 0
    for _ in range(20_000):
        if written < len(data):
            step = random.randrange(1, 200)
            endpoint.write(data[written : written + step])
            written += step
            if written >= len(data):
                endpoint.close()
        times = [time for time in (endpoint.wake_ns, wire[0][0] if wire else None) if time is not None]
        if endpoint.state is State.OVER or not times:
            break
        now = max(now, min(times))
        if wire and wire[0][0] <= now:
            _, _, to_peer, segment = heapq.heappop(wire)
            if to_peer:
                answer = receiver.take(segment)
                put([answer] if answer else [], False)
            else:
                put(endpoint.receive(segment, now), True)
        put(endpoint.poll(now), True)
    assert bytes(receiver.data[at] for at in range(receiver.whole)) == data
    assert receiver.end == len(data)
    assert endpoint.unacknowledged == 0
