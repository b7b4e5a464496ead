# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with a peer, each as one clear line."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN_LINES = 3
"""How many of a peer's last lines an error quotes."""


class LabError(Exception):
    """Anything the lab could not do; `str()` is one line for a person."""


class PeerTableError(LabError):
    """A table of peers is wrong: which file, which table, which key, and why."""

    def __init__(self, file: str, table: str | None, key: str | None, reason: str) -> None:
        self.file, self.table, self.key, self.reason = file, table, key, reason
        place = " ".join(part for part in (f"[{table}]" if table else "", key or "") if part)
        super().__init__(": ".join(part for part in (file, place, reason) if part))


class UnknownPeer(LabError):
    """No such entry in the table."""


class NotInstalled(LabError):
    """The program of a peer is not on this machine; `package` says where Debian has it."""

    def __init__(self, peer: str, program: str, package: Sequence[str]) -> None:
        self.peer, self.program, self.package = peer, program, tuple(package)
        hint = f"; Debian package: {' '.join(package)}" if package else ""
        super().__init__(f"{peer}: not installed ({program} not found{hint})")


class NotReady(LabError):
    """A peer did not become ready in time."""

    def __init__(self, peer: str, seconds: float, waited_for: str, last: Sequence[str]) -> None:
        self.peer, self.seconds, self.waited_for, self.last = peer, seconds, waited_for, tuple(last)
        super().__init__(f"{peer}: not ready after {seconds:g} s (no {waited_for}){quoted(last)}")


class Died(LabError):
    """A peer ended before it was ready. `exit` is its exit code, or minus the signal that killed it."""

    def __init__(self, peer: str, exit: int, last: Sequence[str]) -> None:
        self.peer, self.exit, self.last = peer, exit, tuple(last)
        how = f"killed by signal {-exit}" if exit < 0 else f"exit code {exit}"
        super().__init__(f"{peer}: ended before it was ready ({how}){quoted(last)}")


class CannotStart(LabError):
    """The operating system would not start the program, or the guard failed."""


class CannotRecord(LabError):
    """A recorder could not do its work, e.g. for want of a privilege."""


def quoted(lines: Sequence[str]) -> str:
    """`; it said: "..." / "..."` with the last few lines, or that there was nothing."""
    kept = [line.strip() for line in lines if line.strip()][-SHOWN_LINES:]
    if not kept:
        return "; it said nothing"
    return "; it said: " + " / ".join(f'"{line[:200]}"' for line in kept)
