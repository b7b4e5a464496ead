# SPDX-License-Identifier: GPL-2.0-or-later
"""LZ4 blocks (lz4_Block_format.md of lz4), decompressed."""

from __future__ import annotations


class Damaged(Exception):
    """The block is not LZ4, or has not the size that it should have."""


def decompress(block: bytes, size: int, before: bytes = b"") -> bytes:
    """The `size` bytes that `block` stands for; it may refer to the last 64 KiB of `before`.

    Raises `Damaged`. Never makes more than `size` bytes.
    """
    out = expand(block, size, before)
    if len(out) != size:
        raise Damaged(f"it has {len(out)} bytes, not {size}")
    return out


def expand(block: bytes, limit: int, before: bytes | bytearray = b"") -> bytes:
    """As `decompress`, of a block that stands for any number of bytes up to `limit`."""
    out = bytearray(before[-65536:])
    start, wanted, at, end = len(out), len(out) + limit, 0, len(block)
    try:
        while at < end:
            token = block[at]
            literals, at = _length(block, at + 1, token >> 4)
            if at + literals > end or len(out) + literals > wanted:
                raise Damaged("its literals do not fit")
            out += block[at : at + literals]
            at += literals
            if at == end:
                break
            offset = block[at] | block[at + 1] << 8
            matched, at = _length(block, at + 2, token & 15)
            matched += 4
            if not 0 < offset <= len(out) or len(out) + matched > wanted:
                raise Damaged("a match does not fit")
            piece = out[-offset:] if offset >= matched else out[-offset:] * (matched // offset + 1)
            out += piece[:matched]
    except IndexError:
        raise Damaged("it is cut off") from None
    return bytes(out[start:])


def _length(block: bytes, at: int, nibble: int) -> tuple[int, int]:
    """A length that begins in 4 bits and goes on in bytes while they are 255, and where it ends."""
    if nibble == 15:
        while True:
            more = block[at]
            at += 1
            nibble += more
            if more != 255:
                break
    return nibble, at
