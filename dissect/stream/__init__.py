# SPDX-License-Identifier: GPL-2.0-or-later
"""What both protocols stand on, and nothing of either.

`side` the two ends; `dataclass` data classes that are quickly made; `records` what a session says;
`recognition` yes, no, not yet; `fields` what a message is described with; `layout` one description a message,
and everything that follows from it; `packets` its Scapy class, made when a packet is asked for; `arrivals`
which bytes came when; `batch` many messages that look alike, without a record for each; `session` the engine
that turns bytes and times into records.
May touch Scapy (in `packets`), no file, no socket, no clock. Only `packets` imports Scapy.
"""

from dissect.stream.side import Side

__all__ = ["Side"]
