# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of a model client and a model server that were brought together."""

from __future__ import annotations

from dataclasses import dataclass

from dissect.lab.models.core import Ending, Report
from dissect.stream import Side


@dataclass(frozen=True, slots=True)
class PairResult:
    """Reports of all connections, in the order in which each side opened or accepted them.

    Sides here are TCP's: the client is who connected.
    """

    clients: tuple[Report, ...]
    servers: tuple[Report, ...]

    @property
    def client(self) -> Report:
        """The client's report on its first connection."""
        return self.clients[0]

    @property
    def server(self) -> Report | None:
        """The server's report on its first connection; None where it was never reached."""
        return self.servers[0] if self.servers else None

    @property
    def ended_by(self) -> Side | None:
        """Who ended the first connection first; None: the deadline came before either did."""
        mine = {side: ending for side, ending in self._endings().items() if ending.mine}
        return min(mine, key=lambda side: mine[side].time_ns, default=None)

    @property
    def ending(self) -> Ending | None:
        """How the first connection ended, told by the side that ended it; None: nobody did, or refused."""
        by = self.ended_by
        return None if by is None else self._endings()[by]

    @property
    def after_ns(self) -> int | None:
        """How long after the client's connect the first connection was ended."""
        ending, opened = self.ending, self.client.opened_ns
        return None if ending is None or opened is None else ending.time_ns - opened

    def _endings(self) -> dict[Side, Ending]:
        reports = {Side.CLIENT: self.client, Side.SERVER: self.server}
        return {side: report.ending for side, report in reports.items() if report and report.ending}
