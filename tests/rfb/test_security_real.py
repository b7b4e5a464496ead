# SPDX-License-Identifier: GPL-2.0-or-later
"""VeNCrypt with a real server: our session speaks the client's side up to the encryption."""

from __future__ import annotations

import socket
import time

import pytest

from dissect.lab.lab import Lab
from dissect.rfb import messages as m
from dissect.rfb import security
from dissect.rfb.session import RfbSession
from dissect.stream.records import Message, Record
from dissect.stream.side import Side


@pytest.mark.parametrize(("kind", "subtype"), [("TLSNone", 257), ("TLSVnc", 258), ("Plain", 256)])
@pytest.mark.peer("xtigervnc")
def test_vencrypt_as_a_real_server_speaks_it(kind: str, subtype: int) -> None:
    session = RfbSession(role=Side.CLIENT)
    records: list[Record] = []
    with Lab() as lab:
        running = lab.start("xtigervnc", arguments=["-SecurityTypes", kind])
        assert running.port is not None
        with socket.create_connection((running.host, running.port), 10) as connection:
            connection.settimeout(10)

            def until(state: str) -> None:
                while session.state != state:
                    data = connection.recv(4096)
                    assert data, f"the server left in state {session.state}"
                    records.extend(session.feed(Side.SERVER, data, time.monotonic_ns()))

            def say(message: m.RfbPacket) -> None:
                connection.sendall(session.send(message, time.monotonic_ns()))

            while session.server_version is None:
                records.extend(session.feed(Side.SERVER, connection.recv(12), time.monotonic_ns()))
            say(m.ProtocolVersion.of(3, 8))
            until("choice")
            say(m.SecurityType(security_type=19))
            until("vencrypt-client-version")
            say(security.VencryptVersion())
            until("vencrypt-subtype")
            say(security.VencryptSubtype(subtype=subtype))
            if subtype == security.PLAIN:
                assert session.state == "plain"
                return
            until("encrypted")
    offered = next(one for one in records if isinstance(one, Message) and one.name == "VeNCryptSubtypes")
    assert offered["subtypes"] == [subtype]
    assert session.ack == 1
    assert session.wrapped == f"TLS follows, encrypted (VeNCrypt subtype {subtype}, {kind})"
