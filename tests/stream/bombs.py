# SPDX-License-Identifier: GPL-2.0-or-later
"""Compressed data that grows without measure."""

from __future__ import annotations

import zlib


def bomb(mebibytes: int, head: bytes = b"") -> bytes:
    """A zlib stream of `head` and so many MiB of zeros, which does not end.

    Each MiB is the same kilobyte again: compressing them all takes seconds.
    """
    stream = zlib.compressobj(9)
    first = stream.compress(head) + stream.flush(zlib.Z_FULL_FLUSH)
    return first + mebibytes * (stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH))
