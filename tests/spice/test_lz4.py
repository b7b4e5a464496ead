# SPDX-License-Identifier: GPL-2.0-or-later
"""LZ4 blocks, made by hand from lz4_Block_format.md."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissect.spice.lz4 import Damaged, decompress


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"\x10a", b"a"),
        (b"\xf0\x05" + b"x" * 20, b"x" * 20),
        (b"\x10a\x01\x00\x10b", b"aaaaab"),
        (b"\x1fa\x01\x00\xff\x01\x10b", b"a" * (1 + 19 + 256) + b"b"),
        (b"\x40abcd\x04\x00\x00", b"abcdabcd"),
        (b"\x00", b""),
    ],
)
def test_a_block(block: bytes, expected: bytes) -> None:
    assert decompress(block, len(expected)) == expected


def test_a_block_may_refer_to_what_was_before() -> None:
    assert decompress(b"\x00\x04\x00\x10!", 5, b"wxyz") == b"wxyz!"


@pytest.mark.parametrize(
    ("block", "size", "why"),
    [
        (b"\x10a", 2, "it has 1 bytes, not 2"),
        (b"\x20a", 2, "literals do not fit"),
        (b"\x20ab", 1, "literals do not fit"),
        (b"\x10a\x02\x00\x00", 9, "match does not fit"),
        (b"\x10a\x00\x00\x00", 9, "match does not fit"),
        (b"\x10a\x01", 9, "cut off"),
        (b"\xf0\xff", 9, "cut off"),
    ],
)
def test_a_damaged_block(block: bytes, size: int, why: str) -> None:
    with pytest.raises(Damaged, match=why):
        decompress(block, size)


def test_a_block_that_expands_without_end() -> None:
    block = b"\x1fa\x01\x00" + b"\xff" * 100_000 + b"\x00\x10b"
    tracemalloc.start()
    try:
        with pytest.raises(Damaged, match="match does not fit"):
            decompress(block, 1000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=60), st.integers(0, 200))
def test_any_bytes(block: bytes, size: int) -> None:
    try:
        assert len(decompress(block, size)) == size
    except Damaged:
        pass
