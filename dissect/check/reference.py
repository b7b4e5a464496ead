# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast this machine answers just now, without any build: what a slow-down is held against.

Where other programs have the processors, every answer waits for its turn, the fastest too. So each run of a
timed case goes with a few exchanges between two threads here, over loopback; where those have become slower
than they were with the baseline, it is the machine that has.
"""

from __future__ import annotations

import socket
import threading
import time

EXCHANGES = 5
"""About as many as a handshake has."""
LIMIT_S = 30.0

NAME = "the machine itself"
"""How these times are called in a baseline."""


def measure() -> int:
    """The time of `EXCHANGES` exchanges of one byte, each of which must wake a thread, ns."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)
        answering = threading.Thread(target=_answer, args=(listener,), daemon=True)
        answering.start()
        began = time.monotonic_ns()
        try:
            with socket.create_connection(listener.getsockname(), LIMIT_S) as connection:
                for _ in range(EXCHANGES):
                    connection.sendall(b"?")
                    connection.recv(1)
        except TimeoutError:
            pass  # then that is how long it takes
        took = time.monotonic_ns() - began
        answering.join(LIMIT_S)
    return took


def _answer(listener: socket.socket) -> None:
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(LIMIT_S)
            while connection.recv(1):
                connection.sendall(b"!")
    except OSError:
        pass
