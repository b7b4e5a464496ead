# SPDX-License-Identifier: GPL-2.0-or-later
"""An address at which nobody listens, for as long as a test needs it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def refusing() -> Iterator[int]:
    """A port of 127.0.0.1 that is bound and no more: the kernel refuses, and gives it to nobody else."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
