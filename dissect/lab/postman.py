# SPDX-License-Identifier: GPL-2.0-or-later
"""The postman: a small process that carries packets between two TUN devices and keeps each for a while.

What the kernel's netem would do where there is one. Each packet read from one device is written to the other
when its delay is over, in the order in which it came. A process of its own, because packets of a program
that also starts peers and reads captures would wait for those.

Run as a program: `python postman.py CONTROL_FD FIRST_FD SECOND_FD`. On CONTROL_FD, one end of an AF_UNIX
SOCK_SEQPACKET pair, each packet is one little-endian 64-bit number: the delay of one direction in ns. The
answer, once all that was on its way has gone, is four such numbers about the packets since the last answer:
how many were carried, how many were lost (a full queue), and by how much they were late, at the most and in
sum, in ns. It ends when CONTROL_FD is closed, in whatever way the main program ended; the devices go with it.
Only small parts of the standard library are imported.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import sys
import time
from collections import deque

PR_SET_TIMERSLACK = 29
LARGEST = 65_536
NUMBER = struct.Struct("<Q")
ANSWER = struct.Struct("<QQQQ")
SPIN_NS = 200_000
"""A timer may be that late; so the last bit of a wait is spent awake."""
QUEUE_MOST = 10_000
"""Packets on their way in one direction; more than a bulk transfer over 1 s needs here."""


def punctual() -> None:
    """As punctual as this user may be: a real-time class if allowed, and no slack of timers."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def carry(control: socket.socket, devices: tuple[int, int]) -> None:
    """Carry packets until `control` is closed."""
    other = {devices[0]: devices[1], devices[1]: devices[0]}
    ways: dict[int, deque[tuple[int, bytes]]] = {fd: deque() for fd in devices}  # by where they go to
    delay = carried = lost = worst = total = 0
    asked = False
    while True:
        now = time.monotonic_ns()
        for fd, way in ways.items():
            while way and way[0][0] <= now:
                due, packet = way.popleft()
                try:
                    os.write(fd, packet)
                except OSError:  # the kernel takes none now, as a wire that is full
                    lost += 1
                    continue
                late = max(0, time.monotonic_ns() - due)
                carried, worst, total = carried + 1, max(worst, late), total + late
        following = min((way[0][0] for way in ways.values() if way), default=None)
        if asked and following is None:
            control.send(ANSWER.pack(carried, lost, worst, total))
            carried = lost = worst = total = 0
            asked = False
        wait = None if following is None else max(0, following - time.monotonic_ns() - SPIN_NS) / 1e9
        ready, _, _ = select.select([control.fileno(), *devices], [], [], wait)
        came = time.monotonic_ns()
        for fd in devices:
            if fd not in ready:
                continue
            while True:
                try:
                    packet = os.read(fd, LARGEST)
                except BlockingIOError:
                    break
                if len(ways[other[fd]]) >= QUEUE_MOST:
                    lost += 1
                else:
                    ways[other[fd]].append((came + delay, packet))
        if control.fileno() in ready:
            order = control.recv(NUMBER.size)
            if len(order) < NUMBER.size:
                return
            (delay,) = NUMBER.unpack(order)
            asked = True


def main() -> None:
    """Run with the descriptors that are named on the command line."""
    control, *devices = (int(word) for word in sys.argv[1:])
    punctual()
    carry(socket.socket(fileno=control), (devices[0], devices[1]))


if __name__ == "__main__":
    main()
