# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ends of a TCP connection."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Side(StrEnum):
    """Who opened the TCP connection, and who accepted it.

    Never decided by who sent which magic: in a reverse RFB connection the RFB server opens the TCP
    connection and is `CLIENT` here.
    """

    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


SIDES: Final = (Side.CLIENT, Side.SERVER)
"""Both, for what is done very often: to iterate over the class itself takes ten times as long."""
