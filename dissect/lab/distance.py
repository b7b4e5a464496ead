# SPDX-License-Identifier: GPL-2.0-or-later
"""Two network namespaces of ours, and between them a path with as long a round trip as one likes.

::

    with Distance() as path:
        path.set(10_000_000)
        with path.server_side():
            server = lab.start("qemu-spice", host=path.server)
        with path.client_side():
            client = lab.run("gvncviewer", path.server, server.port)

In each namespace there is a TUN device with one address of 127.66.0.0/24, which the loopback device of that
namespace leaves alone, so that what the lab knows of loopback holds there too: nothing can leave, there is no
other way out. A process of its own, `postman`, carries the packets. The namespaces have no names: they end
with the processes in them, also where this one is killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dissect.lab import postman
from dissect.lab.errors import CannotStart
from dissect.replay.packets.device import PacketsUnavailable, Tun

CLIENT, SERVER = "127.66.0.1", "127.66.0.2"
MTU: Final = 1500
"""As on Ethernet, so that what is cut into segments there is cut here."""
ANSWER_S: Final = 10.0
HERE: Final = "/proc/thread-self/ns/net"
WITHOUT: Final = (
    "round trips need network namespaces of our own: run as root, or where the system allows it as "
    "unshare --user --map-root-user --net firstbyte matrix ..."
)

CLONE_NEWNET: Final = 0x40000000
# linux/sockios.h, linux/if.h
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFDSTADDR, SIOCSIFNETMASK = 0x8914, 0x8916, 0x8918, 0x891C
IFF_UP: Final = 0x0001


@dataclass(frozen=True, slots=True)
class Carried:
    """What the postman says of a while: packets carried and lost, and how late they were, in ns."""

    packets: int
    lost: int
    latest_ns: int
    mean_ns: int


class Distance:
    """The two namespaces and the path between them. A context; nothing of it is left at its end."""

    client, server = CLIENT, SERVER
    """The addresses of the two sides."""

    def __init__(self) -> None:
        self._home = self._client = self._server = -1
        self._control: socket.socket | None = None
        self._postman: subprocess.Popen[bytes] | None = None
        self.rtt_ns = 0
        self.devices: tuple[str, str] = ("", "")
        """The names of the client's and the server's device, each in its own namespace."""

    def __enter__(self) -> Self:
        """Make both. Raises CannotStart, without the privilege in one line that says what would help."""
        tuns: list[Tun] = []
        try:
            self._home = os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
            for mine, other in ((CLIENT, SERVER), (SERVER, CLIENT)):
                space = self._make()
                if mine == CLIENT:
                    self._client = space
                else:
                    self._server = space
                with self._in(space):
                    tuns.append(_device(mine, other))
            self.devices = (tuns[0].name, tuns[1].name)
            self._employ([tun.fd for tun in tuns])
            self.set(0)
        except BaseException:
            self.close()
            raise
        finally:
            for tun in tuns:
                tun.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the path away. Call it again freely; what still runs in the namespaces loses its network."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._postman is not None:
            try:
                self._postman.wait(2)
            except subprocess.TimeoutExpired:
                self._postman.kill()
                self._postman.wait()
            self._postman = None
        for name in ("_home", "_client", "_server"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)

    def set(self, rtt_ns: int) -> Carried:
        """Make the round trip that much longer, half of it each way, for what is sent from now on.

        Returns what became of the packets since the last call. Raises CannotStart where the postman is gone.
        """
        assert self._control is not None
        try:
            self._control.send(postman.NUMBER.pack(rtt_ns // 2))
            answer = self._control.recv(postman.ANSWER.size)
        except OSError as error:
            raise CannotStart(f"the path between the namespaces does not answer: {error}") from None
        if len(answer) < postman.ANSWER.size:
            raise CannotStart("the path between the namespaces is gone")
        self.rtt_ns = rtt_ns
        packets, lost, latest, total = postman.ANSWER.unpack(answer)
        return Carried(packets, lost, latest, total // max(1, packets))

    @contextmanager
    def client_side(self) -> Iterator[None]:
        """What this thread does within, and what it starts, is in the client's namespace."""
        with self._in(self._client):
            yield

    @contextmanager
    def server_side(self) -> Iterator[None]:
        """The same for the server's."""
        with self._in(self._server):
            yield

    @contextmanager
    def _in(self, space: int) -> Iterator[None]:
        _enter(space)
        try:
            yield
        finally:
            _enter(self._home)

    def _make(self) -> int:
        """A new namespace; this thread is at home again afterwards."""
        _libc(lambda libc: libc.unshare(CLONE_NEWNET))
        try:
            return os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _enter(self._home)

    def _employ(self, devices: list[int]) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(ANSWER_S)
        fds = [its.fileno(), *devices]
        try:
            self._postman = subprocess.Popen(
                [sys.executable, "-S", "-E", str(Path(postman.__file__)), *map(str, fds)],
                pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise CannotStart(f"{sys.executable}: {error.strerror}") from None
        finally:
            its.close()
        self._control = ours


def _libc(call: object) -> None:
    assert callable(call)
    if call(ctypes.CDLL(None, use_errno=True)) != 0:
        number = ctypes.get_errno()
        if isinstance(OSError(number, ""), PermissionError):
            raise CannotStart(WITHOUT)
        raise CannotStart(f"network namespaces: {os.strerror(number)}")


def _enter(space: int) -> None:
    _libc(lambda libc: libc.setns(space, CLONE_NEWNET))


def _device(mine: str, other: str) -> Tun:
    """A TUN device here with the address `mine`, the way to `other`, and a loopback device beside it."""
    try:
        tun = Tun.bare()
    except PacketsUnavailable as error:
        raise CannotStart(f"round trips need a TUN device: {error.missing}") from None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            _up(control, "lo")
            # Of 127.0.0.0/8 it keeps one address, so that those of the devices are found on the devices.
            _address(control, SIOCSIFNETMASK, "lo", "255.255.255.255")
            for setting in ("route_localnet", "accept_local"):
                Path(f"/proc/sys/net/ipv4/conf/{tun.name}/{setting}").write_text("1")
            with suppress(OSError):  # a kernel without IPv6; elsewhere nothing unasked is sent
                Path(f"/proc/sys/net/ipv6/conf/{tun.name}/disable_ipv6").write_text("1")
            fcntl.ioctl(control, 0x8922, struct.pack("16si20x", tun.name.encode(), MTU))
            _address(control, SIOCSIFADDR, tun.name, mine)
            _address(control, SIOCSIFDSTADDR, tun.name, other)
            _up(control, tun.name)
    except OSError as error:
        tun.close()
        raise CannotStart(f"the kernel does not set up {tun.name}: {error.strerror}") from None
    return tun


def _address(control: socket.socket, request: int, name: str, address: str) -> None:
    packed = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton(address))
    fcntl.ioctl(control, request, struct.pack("16s16s8x", name.encode(), packed))


def _up(control: socket.socket, name: str) -> None:
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), IFF_UP))
