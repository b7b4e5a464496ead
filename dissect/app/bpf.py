# SPDX-License-Identifier: GPL-2.0-or-later
"""Capture filters in the words of tcpdump, compiled and run by libpcap, which Scapy finds."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from dissect.app.terminal import Unusable
from dissect.capture import Frame


def compile_filter(expression: str) -> Callable[[Frame], bool]:
    """What says whether a frame matches a BPF expression (pcap-filter(7)).

    Raises `Unusable` where libpcap is not there, or the expression is not one. It is compiled for each link
    type that is met; one for which it makes no sense (`ether host` on raw IP) ends the command then.
    """
    try:
        from scapy.libs import structures, winpcapy
    except (OSError, ImportError):
        raise Unusable("--filter needs libpcap (Debian: libpcap0.8), which is not there") from None
    run = winpcapy._lib.bpf_filter
    run.restype = ctypes.c_uint
    programs: dict[int, Any] = {}

    def program(linktype: int) -> Any:
        # LINKTYPE_RAW of files is DLT_RAW in the library, whose number differs between systems.
        handle = winpcapy.pcap_open_dead(12 if linktype == 101 else linktype, 1 << 18)
        compiled = structures.bpf_program()
        failed = winpcapy.pcap_compile(handle, ctypes.byref(compiled), expression.encode(), 1, 0xFFFFFFFF)
        reason = winpcapy.pcap_geterr(handle) if failed else b""
        reason = bytes(bytearray(reason)).strip(b"\0").decode(errors="replace") if failed else ""
        winpcapy.pcap_close(handle)
        if failed:
            raise Unusable(f"--filter {expression!r}: {reason or 'not a filter'}")
        return compiled

    program(1)  # what is no filter at all is said before anything is read

    def matches(frame: Frame) -> bool:
        compiled = programs.get(frame.linktype)
        if compiled is None:
            compiled = programs[frame.linktype] = program(frame.linktype)
        return bool(run(compiled.bf_insns, frame.data, frame.length, len(frame.data)))

    return matches
