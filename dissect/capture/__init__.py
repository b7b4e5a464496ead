# SPDX-License-Identifier: GPL-2.0-or-later
"""From capture files to conversations. This room knows nothing of RFB or SPICE.

    files          a capture file -> frames, times in integer nanoseconds
    pcap, pcapng   the two formats (`format`: what each does), `blocks`: those of pcapng, also for writing
    source         bytes of a file or pipe in chunks
    records        what both come to: a frame, a run of frames, how the next ones lie
    journal        what becomes known of a capture while it is read; `problems`: what is wrong with it
    notes          names of addresses and interfaces, and comments, that a pcapng file holds
    packed         what is in compressed files
    media          link layers: where the network layer begins in a frame
    link           frames -> TCP segments, or why not
    fragments      IP fragments -> whole packets
    reassembly     segments of one direction -> bytes in order with their times, and explicit gaps
    conversations  segments of all -> conversations (one a TCP connection) and their events
    plain          from files to events, packet by packet, without numpy
    runs           segments of one sender in a row, taken together in `plain`
    turns          segments of both sides by turns, the same
    bulk           the same events, many packets at once where nobody wants their bytes
    swift          the same for large files, by `kernels`, which numba compiles (`machine`)
    places         which frame brought which byte
    picking        few frames out of many
    annotate       a capture again as it is, with comments on some packets
    write          the way back: pcapng, and made-up TCP packets for bytes from a socket

Typical use:

    with open_capture("session.pcapng") as capture:
        for event in read(capture):
            match event:
                case Bytes(conversation, side, data, time_ns):
                    ...
        for problem in capture.problems:
            print(problem)

May import `dissect.stream` and dpkt (the only room that does, and only for packets out of the
ordinary), numpy in `bulk`, `swift`, `picking` and for their arrays, and numba and llvmlite in `machine`.
It opens files that it is given and nothing else; it reads no clock.
"""

from dissect.capture.conversations import (
    Bytes,
    Closed,
    Conversation,
    Conversations,
    Ended,
    Established,
    Event,
    Exchange,
    Lost,
    Opened,
    Passed,
    Reset,
    Summary,
    Summed,
    SummedMany,
    read,
)
from dissect.capture.files import Capture, open_capture
from dissect.capture.link import Decoder, Segment, Skipped, decode, endpoint
from dissect.capture.problems import CaptureError, Problem
from dissect.capture.reassembly import Counters, Data, Direction, Fin, Gap
from dissect.capture.records import Frame
from dissect.capture.write import PcapngWriter, TcpScript, synthesise

__all__ = [
    "Bytes",
    "Capture",
    "CaptureError",
    "Closed",
    "Conversation",
    "Conversations",
    "Counters",
    "Data",
    "Decoder",
    "Direction",
    "Ended",
    "Established",
    "Event",
    "Exchange",
    "Fin",
    "Frame",
    "Gap",
    "Lost",
    "Opened",
    "Passed",
    "PcapngWriter",
    "Problem",
    "Reset",
    "Segment",
    "Skipped",
    "Summary",
    "Summed",
    "SummedMany",
    "TcpScript",
    "decode",
    "endpoint",
    "open_capture",
    "read",
    "synthesise",
]
