# SPDX-License-Identifier: GPL-2.0-or-later
"""`--packets` on a command line: what is on the wire, and why it cannot be where it cannot."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from itertools import accumulate
from typing import TYPE_CHECKING

from dissect.app import terminal

if TYPE_CHECKING:
    from dissect.replay.packets.carrier import Packets
    from dissect.replay.packets.plan import PacketPlan
    from dissect.replay.transports import Target

COMMENT = "A replay by segments of its own: every packet of both sides as it was on the TUN device."

EPILOG = """\
--packets: the client's segments are built here and not by the kernel, on a TUN device that exists as long as
the command runs (CAP_NET_ADMIN, /dev/net/tun; IPv4 servers of this machine). They have the boundaries and the
order of the recording, or what --bytewise, --coalesce or --split say, or a plan of your own. PLAN.toml:
  window = 2000           # what we announce; also: mss, cut, rto_ms, patience_ms
  handshake = "ack"       # our answer to SYN-ACK; also "rst", "fin", "silence"
  [[segment]]             # sent in this order; the rest of the stream follows in the ordinary way
  offset = 8              # from the first byte of the client's stream
  size = 4
  overlap = 2             # also: fill, duplicate, drop, order, window, delay_ms, fin, rst
  [[segment]]
  offset = 0
  size = 8
  drop = 1                # kept back once; the retransmission brings it
"""


def add_packet_arguments(parser: ArgumentParser) -> None:
    """Declare `--packets` and `--packet-plan`."""
    parser.add_argument(
        "--packets", action="store_true", help="send segments of our own, cut as recorded (see below)"
    )
    parser.add_argument(
        "--packet-plan", metavar="PLAN.toml", help="send segments of our own as this file says (see below)"
    )


def open_packets(args: Namespace, target: Target) -> Packets | None:
    """The carrier that `args` ask for, to be closed; None where they want sockets. Raises Unusable."""
    if not (args.packets or args.packet_plan):
        return None
    from dissect.capture import PcapngWriter
    from dissect.replay.packets.carrier import Packets
    from dissect.replay.packets.device import PacketsUnavailable

    plan = packet_plan(args)
    try:
        packets = Packets(target, plan)
    except PacketsUnavailable as error:
        raise terminal.Unusable(f"--packets: {error}") from None
    if args.record:
        try:
            packets.record = PcapngWriter(args.record, name="replay", comment=COMMENT)
        except OSError:
            packets.close()
            raise
    return packets


def packet_plan(args: Namespace) -> PacketPlan | None:
    """What is on the wire; None: as recorded. Raises terminal.Unusable."""
    from dissect.replay.packets.plan import PacketPlan, Piece, PlanError, read_plan

    if args.packet_plan:
        if args.split or args.bytewise or args.coalesce:
            raise terminal.Unusable(
                "--packet-plan says how the bytes are cut: no --split, --bytewise, --coalesce"
            )
        try:
            return read_plan(args.packet_plan)
        except PlanError as error:
            raise terminal.Unusable(str(error), source=args.packet_plan) from None
    if args.split:
        ends = list(accumulate(args.split))
        return PacketPlan(tuple(Piece(end - size, size) for end, size in zip(ends, args.split, strict=True)))
    if args.bytewise:
        return PacketPlan(cut=1)
    return PacketPlan() if args.coalesce else None
