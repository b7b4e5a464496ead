# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters in tcpdump's words: right for each link type, one line where they cannot be."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from dissect.app.bpf import compile_filter
from dissect.app.terminal import Unusable
from dissect.capture import Frame, open_capture, synthesise
from tests.capture.build import pcap

TCP = synthesise("10.0.0.1", 1111, "10.0.0.2", 2222, 1, 1, 2)


def frame(data: bytes, linktype: int) -> Frame:
    return Frame(1, 0, 0, linktype, data, len(data), 0)


@pytest.mark.parametrize(
    ("linktype", "head"),
    [(101, b""), (1, bytes(12) + b"\x08\x00"), (0, b"\2\0\0\0"), (113, bytes(14) + b"\x08\x00")],
)
def test_each_link_type(linktype: int, head: bytes) -> None:
    one = frame(head + TCP, linktype)
    assert compile_filter("tcp and src host 10.0.0.1 and dst port 2222")(one)
    assert compile_filter("tcp[tcpflags] & tcp-syn != 0")(one)
    assert not compile_filter("udp or port 80")(one)
    assert not compile_filter("host 10.0.0.3")(one)


TAGGED = bytes(12) + b"\x81\x00\x00\x05\x08\x00" + TCP
LABELLED = bytes(12) + b"\x88\x47\x00\x01\x01\x40" + TCP
EXPRESSIONS = [
    "tcp",
    "tcp port 2222",
    "vlan 5 and tcp port 2222",
    "vlan 6",
    "mpls and tcp",
    "greater 59",
    "ip",
]


@pytest.mark.program("tcpdump")
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_tcpdump_takes_of_the_same_file(expression: str, tmp_path: Path) -> None:
    """Tagged packets too, which most expressions do not match; and what a snaplen has cut."""
    path = tmp_path / "x.pcap"
    packets = [bytes(12) + b"\x08\x00" + TCP, TAGGED, LABELLED, bytes(12) + b"\x08\x00" + TCP + bytes(40)]
    path.write_bytes(pcap([(1, one) for one in packets], linktype=1, snaplen=56))
    done = subprocess.run(["tcpdump", "-r", path, "-w", "-", expression], capture_output=True, check=True)
    theirs = [one.data for one in open_capture(io.BytesIO(done.stdout), "x")]
    matches = compile_filter(expression)
    with open_capture(path) as capture:
        assert [one.data for one in capture if matches(one)] == theirs


def test_what_is_no_filter() -> None:
    with pytest.raises(Unusable, match="--filter 'tcp and': "):
        compile_filter("tcp and")


def test_a_filter_that_makes_no_sense_for_a_link_type() -> None:
    matches = compile_filter("ether host 00:11:22:33:44:55")
    assert not matches(frame(bytes(12) + b"\x08\x00" + TCP, 1))
    with pytest.raises(Unusable, match="--filter"):
        matches(frame(TCP, 101))


def test_without_libpcap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scapy.libs.winpcapy", None)
    monkeypatch.delattr("scapy.libs.winpcapy", raising=False)
    with pytest.raises(Unusable, match="needs libpcap"):
        compile_filter("tcp")
