# SPDX-License-Identifier: GPL-2.0-or-later
"""A TUN device of ours with one made-up address, for as long as its file is open.

What the kernel routes to the address comes to us as packets; what we write is to the kernel a packet that
came in by this device. The address is of 198.18.0.0/15, which RFC 2544 keeps for tests and nobody routes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import struct
from types import TracebackType
from typing import Final, Self

CLONE: Final = "/dev/net/tun"
ROUTES: Final = "/proc/net/route"
NETWORK: Final = 0xC6120000
"""198.18.0.0/15."""
HOSTS: Final = 1 << 17
MTU: Final = 65_535
"""The largest IPv4 packet: what a recording on loopback has in one segment fits in one here."""
INSTEAD: Final = "--split cuts the bytes without any privilege, as far as a program can"

# linux/if_tun.h, linux/sockios.h, linux/if.h, linux/route.h
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_SIOCADDRT: Final = 0x890B
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFMTU: Final = 0x8922
_IFF_UP: Final = 0x0001
_RTF_UP: Final = 0x0001
_RTF_HOST: Final = 0x0004


class PacketsUnavailable(Exception):
    """Packets of our own are not to be had here; the text says what is missing and what there is instead."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"{missing}; {INSTEAD}")
        self.missing = missing


class Tun:
    """The device. `address`: ours, as text; `name`: the interface's; `fd`: to wait on.

    Its file is never blocking. Closing it removes the device, its route and its settings.
    """

    def __init__(self, fd: int, name: str, address: str) -> None:
        self.fd, self.name, self.address = fd, name, address

    @classmethod
    def open(cls, *, to_loopback: bool = True) -> Tun:
        """Make a device. Raises PacketsUnavailable.

        to_loopback: its packets may be addressed to 127.0.0.0/8.
        """
        fd = _clone()
        try:
            name = _name(fd)
            _write(name, "disable_ipv6", "1", family="ipv6", needed=False)  # nothing unasked is sent
            if to_loopback:
                _write(name, "route_localnet", "1")
            address = _configure(name)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, name, address)

    @classmethod
    def bare(cls) -> Tun:
        """Make a device without an address, down, in the namespace that we are in. Raises
        PacketsUnavailable.
        """
        fd = _clone()
        try:
            return cls(fd, _name(fd), "")
        except BaseException:
            os.close(fd)
            raise

    def send(self, packet: bytes) -> bool:
        """Hand the kernel a packet; False where it takes none now (its queue is full)."""
        try:
            os.write(self.fd, packet)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                return False
            raise
        return True

    def receive(self) -> bytes | None:
        """The next packet for us, or None where there is none now."""
        try:
            return os.read(self.fd, MTU)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Remove the device. Call it again freely."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def is_local(address: str) -> bool:
    """Whether an IPv4 address is this machine's own: only those can be reached by packets of ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _clone() -> int:
    try:
        return os.open(CLONE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PacketsUnavailable(f"this kernel has no {CLONE} (module tun)") from None
    except PermissionError:
        raise PacketsUnavailable(f"{CLONE} may not be opened for reading and writing by this user") from None
    except OSError as error:
        raise PacketsUnavailable(f"{CLONE}: {error.strerror}") from None


def _name(fd: int) -> str:
    request = struct.pack("16sH22x", b"firstbyte%d", _IFF_TUN | _IFF_NO_PI)
    try:
        answer = fcntl.ioctl(fd, _TUNSETIFF, request)
    except PermissionError:
        raise PacketsUnavailable("making a network device needs CAP_NET_ADMIN") from None
    except OSError as error:
        raise PacketsUnavailable(f"the kernel makes no TUN device: {error.strerror}") from None
    return answer[:16].rstrip(b"\0").decode("ascii")


def _write(name: str, setting: str, value: str, *, family: str = "ipv4", needed: bool = True) -> None:
    path = f"/proc/sys/net/{family}/conf/{name}/{setting}"
    try:
        with open(path, "w") as file:
            file.write(value)
    except OSError as error:
        if needed:
            raise PacketsUnavailable(
                f"{path}: {error.strerror} (without it the device's packets do not reach loopback)"
            ) from None


def _configure(name: str) -> str:
    """Bring the device up and route one address to it; returns the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", name.encode(), MTU))
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), _IFF_UP))
            taken = _routed()
            address = random.randrange(1, HOSTS - 1)
            while NETWORK + address in taken:
                address = random.randrange(1, HOSTS - 1)
            packed = struct.pack(">I", NETWORK + address)
            _route(control, name, packed)
        except PermissionError:
            raise PacketsUnavailable("setting up a network device needs CAP_NET_ADMIN") from None
        except OSError as error:
            raise PacketsUnavailable(f"the kernel does not set up {name}: {error.strerror}") from None
    return socket.inet_ntoa(packed)


def _route(control: socket.socket, name: str, packed: bytes) -> None:
    """`ip route add ADDRESS/32 dev NAME`: struct rtentry of linux/route.h, which points to the name."""
    import ctypes

    text = ctypes.create_string_buffer(name.encode())
    target = struct.pack("=HH4s8x", socket.AF_INET, 0, packed)
    none = struct.pack("=HH4s8x", socket.AF_INET, 0, bytes(4))
    mask = struct.pack("=HH4s8x", socket.AF_INET, 0, b"\xff" * 4)
    entry = struct.pack(
        "@L16s16s16sHhLPhPLLH",
        0, target, none, mask, _RTF_UP | _RTF_HOST, 0, 0, 0, 0, ctypes.addressof(text), 0, 0, 0,
    )  # fmt: skip
    fcntl.ioctl(control, _SIOCADDRT, entry)


def _routed() -> set[int]:
    """Addresses with a route already: devices of other processes like us."""
    found = set()
    try:
        with open(ROUTES) as file:
            for line in list(file)[1:]:
                fields = line.split("\t")
                found.add(socket.ntohl(int(fields[1], 16)))
    except (OSError, ValueError, IndexError):
        pass
    return found
