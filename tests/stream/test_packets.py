# SPDX-License-Identifier: GPL-2.0-or-later
"""A message class makes Scapy packets, and Scapy is imported only then."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any, ClassVar

import pytest
from scapy.fields import ByteField as ScapyByteField
from scapy.fields import StrLenField as ScapyStrLenField
from scapy.packet import Packet, Raw

from dissect.stream.fields import ByteField, FieldLenField, PacketField, PacketListField
from dissect.stream.layout import ProtocolPacket, TextField

PCAP = "pcaps/xtightvncviewer--xtightvnc.pcapng"


class Inner(ProtocolPacket):
    """A structure."""

    name = "Inner"
    fields_desc: ClassVar[list[Any]] = [ByteField("a", 1), ByteField("b", 2)]


class Outer(ProtocolPacket):
    """A message."""

    name = "The outer one"
    fields_desc: ClassVar[list[Any]] = [
        PacketField("one", None, Inner),
        FieldLenField("count", None, count_of="many", fmt="B"),
        PacketListField("many", [], Inner, count_from=lambda p: p.count),
        FieldLenField("size", None, length_of="text", fmt="B"),
        TextField("text", b"x", length_from=lambda p: p.size),
    ]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        return pkt + b"!" + pay


class Other(Outer):
    """The same under another name."""

    name = "Other"


def test_it_makes_packets_of_scapy() -> None:
    packet = Outer(many=[Inner(b=7)], text=b"abc")
    assert isinstance(packet, Packet)
    assert type(packet) is Outer.scapy_class() is not Outer
    assert bytes(packet) == b"\1\2\1\1\7\3abc!"
    again = Outer(bytes(packet)[:-1])
    assert (again.one.b, again.many[0].b, again.text) == (2, 7, b"abc")
    assert [type(field) for field in Inner.scapy_class().fields_desc] == [ScapyByteField] * 2
    assert type(Outer.scapy_class().fields_desc[-1]) is ScapyStrLenField
    assert (packet.name, packet.title(), packet.layout()) == ("The outer one", Outer.title(), Outer.layout())
    assert [layer.name for layer in (packet / Raw(b"z")).iterpayloads()] == ["The outer one", "Raw"]


def test_a_packet_is_an_instance_of_what_describes_it() -> None:
    packet = Other()
    assert isinstance(packet, Other)
    assert isinstance(packet, Outer)
    assert isinstance(packet, Inner | ProtocolPacket)
    assert not isinstance(packet, Inner)
    assert not isinstance(b"", Outer)
    assert issubclass(Other.scapy_class(), Outer.scapy_class())
    assert bytes(packet).endswith(b"!")
    match packet:
        case Inner():
            pytest.fail("it is none")
        case Outer(size=None):
            pass
        case _:
            pytest.fail("it is one")


def test_it_is_copied_and_pickled() -> None:
    packet = Outer(many=[Inner(b=7)], text=b"abc")
    assert bytes(copy.deepcopy(packet)) == bytes(packet.copy()) == bytes(packet)
    loaded = pickle.loads(pickle.dumps(Inner(b=9)))
    assert isinstance(loaded, Inner)
    assert loaded.b == 9


@pytest.mark.parametrize("command", [["show", "--json"], ["show"], ["verdict", "--json"]])
def test_reading_a_capture_needs_no_scapy(command: list[str]) -> None:
    code = (
        "import sys\nfrom dissect.app.main import main\n"
        f"code = main({[*command, PCAP]!r})\n"
        "sys.exit(code or ','.join(n for n in ('scapy', 'numpy', 'dpkt') if n in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
