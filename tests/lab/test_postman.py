# SPDX-License-Identifier: GPL-2.0-or-later
"""The postman by itself, between two pairs of sockets in the place of devices."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dissect.lab import postman

MS = 1_000_000


class Post:
    """A postman in a thread, the far ends of its devices, and its control."""

    def __init__(self) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
        (self.control, its), (self.one, first), (self.other, second) = pairs
        for device in (first, second):
            device.setblocking(False)
        self.control.settimeout(10)
        self.its = its, first, second
        fds = first.fileno(), second.fileno()
        self.thread = threading.Thread(target=postman.carry, args=(its, fds))
        self.thread.start()

    def ask(self, delay_ns: int) -> tuple[int, ...]:
        self.control.send(postman.NUMBER.pack(delay_ns))
        return postman.ANSWER.unpack(self.control.recv(64))

    def close(self) -> None:
        self.control.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        for one in (self.one, self.other, *self.its):
            one.close()


@pytest.fixture
def post() -> Iterator[Post]:
    with ExitStack() as stack:
        made = Post()
        stack.callback(made.close)
        yield made


def test_both_ways_in_order_and_not_before_their_time(post: Post) -> None:
    assert post.ask(15 * MS) == (0, 0, 0, 0)
    packets = [os.urandom(size) for size in (1, 40, 1500, 3)]
    began = time.monotonic_ns()
    for packet in packets:
        post.one.send(packet)
        post.other.send(packet[::-1])
    assert [post.other.recv(65536) for _ in packets] == packets
    assert [post.one.recv(65536) for _ in packets] == [packet[::-1] for packet in packets]
    assert time.monotonic_ns() - began >= 15 * MS
    carried, lost, worst, total = post.ask(0)
    assert (carried, lost) == (8, 0)
    assert worst <= total <= 8 * worst


def test_an_answer_comes_when_all_has_gone(post: Post) -> None:
    post.ask(20 * MS)
    post.one.send(b"late")
    time.sleep(0.005)  # it has been read
    assert post.ask(0)[0] == 1
    assert post.other.recv(10, socket.MSG_DONTWAIT) == b"late"


def test_a_queue_has_an_end(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postman, "QUEUE_MOST", 3)
    post.ask(300 * MS)  # none of the three has gone when the fifth comes
    for number in range(5):
        post.one.send(bytes([number]))
    carried, lost, _, _ = post.ask(0)
    assert (carried, lost) == (3, 2)
    assert [post.other.recv(10) for _ in range(3)] == [b"\0", b"\1", b"\2"]
