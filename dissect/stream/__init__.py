# SPDX-License-Identifier: GPL-2.0-or-later
"""What both protocols stand on, and nothing of either.

`side` the two ends; `records` what a session says; `recognition` yes, no, not yet; `layout` one description a
message, and everything that follows from it; `arrivals` which bytes came when; `session` the engine that
turns bytes and times into records.
May touch Scapy's fields and packets (in `layout`), no file, no socket, no clock. Importing this package
imports no Scapy.
"""

from dissect.stream.side import Side

__all__ = ["Side"]
