# SPDX-License-Identifier: GPL-2.0-or-later
"""Free TCP ports on loopback, and who listens on one, without ever connecting to it.

A connection is not a harmless question: Xtigervnc counts failed handshakes by address, and x11vnc serves one
client at a time. So whether a peer listens is read from /proc.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path

from dissect.lab.errors import LabError

LOWEST_PORT = 10_000
"""Ports are taken from here up to the range the kernel uses for outgoing connections, which therefore never
takes one away between our choice and the peer's bind. All of them are >= 5900, as QEMU's -vnc needs."""
LISTEN = "0A"


class Listener(Enum):
    """Who listens on a port."""

    NOBODY = "nobody"
    OURS = "ours"
    OTHER = "other"


_given: set[int] = set()
_lock = threading.Lock()


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine's loopback (the lab serves nothing else)."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody has on `host` now, and that this process has not handed out lately."""
    try:
        end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        end = 32768
    if end - LOWEST_PORT < 1000:
        end = 65_000
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(200):
        port = random.randrange(LOWEST_PORT, end)
        with _lock:
            if port in _given:
                continue
            if len(_given) > 5000:
                _given.clear()
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                try:
                    probe.bind((host, port))
                except OSError:
                    continue
            _given.add(port)
            return port
    raise LabError(f"no free TCP port on {host} between {LOWEST_PORT} and {end}")


def who_listens(port: int, pids: Callable[[], Iterable[int]]) -> Listener:
    """Whether one of the processes `pids()`, somebody else, or nobody listens on TCP `port` (IPv4 or IPv6).

    Read from /proc/net/tcp and tcp6 of this thread's network namespace, and the descriptors of those
    processes.
    """
    inodes = _listening_inodes(port)
    if not inodes:
        return Listener.NOBODY
    for pid in pids():
        try:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    target = str(link.readlink())
                except OSError:
                    continue
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    return Listener.OURS
        except OSError:  # the process ended
            continue
    return Listener.OTHER


def _listening_inodes(port: int) -> set[str]:
    wanted = f":{port:04X}"
    found: set[str] = set()
    for table in ("/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"):
        try:
            with Path(table).open() as file:
                next(file, None)
                for line in file:
                    fields = line.split()
                    if fields[3] == LISTEN and fields[1].endswith(wanted):
                        found.add(fields[9])
        except FileNotFoundError:  # a kernel without IPv6
            continue
    return found
