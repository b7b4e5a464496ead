# SPDX-License-Identifier: GPL-2.0-or-later
"""LZ and GLZ: what a writer of a few lines puts in comes out, whatever else is refused, and nothing grows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect.spice.pixels import lz

Step = tuple[str, int, int]
"""("new", pixels, seed) or ("copy", pixels, how far back)."""


def lz_copy(length: int, back: int, bias: int) -> bytes:
    """A copy of `length` pixels that begins `back` pixels before."""
    length, back = length - bias, back - 1
    far = back >= lz.FAR
    low = 255 if far else back & 255
    high = 31 if far else back >> 8
    code = bytes([min(length, 6) + 1 << 5 | high])
    if length >= 6:
        rest = length - 6
        code += b"\xff" * (rest // 255) + bytes([rest % 255])
    return code + bytes([low]) + ((back - lz.FAR).to_bytes(2, "big") if far else b"")


@settings(max_examples=80)
@given(
    st.sampled_from([(1, 3), (2, 2), (3, 1)]),
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 700), st.integers(1, 12000)), min_size=1, max_size=12
    ),
)
def test_what_was_written_is_read(kind: tuple[int, int], steps: list[tuple[int, int, int]]) -> None:
    unit, bias = kind
    data, pixels = b"", b""
    for number, (new, copied, back) in enumerate(steps):
        fresh = bytes((number * 7 + at) & 255 for at in range(min(new, 32) * unit))
        data, pixels = data + bytes([min(new, 32) - 1]) + fresh, pixels + fresh
        back = min(back, len(pixels) // unit)
        if copied < bias + 1 or (back >= 7936 and back <= lz.FAR):  # where both forms would do
            continue
        data += lz_copy(copied, back, bias)
        for _ in range(copied):
            pixels += pixels[-back * unit :][:unit]
    assert lz.lz(data + b"more", 0, len(pixels) // unit, unit, bias) == (pixels, len(data))
    with pytest.raises(lz.Damaged):
        lz.lz(data[:-1], 0, len(pixels) // unit, unit, bias)


@settings(max_examples=200)
@given(st.binary(max_size=80), st.integers(1, 500), st.sampled_from([(1, 3), (2, 2), (3, 1)]))
def test_any_bytes_make_no_more_than_wanted(data: bytes, pixels: int, kind: tuple[int, int]) -> None:
    try:
        out, _ = lz.lz(data, 0, pixels, *kind)
    except lz.Damaged:
        return
    assert len(out) == pixels * kind[0]


def test_a_copy_without_end_is_refused_at_once() -> None:
    with pytest.raises(lz.Damaged, match="more pixels than the image"):
        lz.lz(b"\0abc\xe0" + b"\xff" * 5_000_000 + b"\0\0", 0, 1 << 20, 3, 1)


# --- GLZ


def test_glz_copies_from_its_own_pixels_and_from_other_images() -> None:
    window = lz.Window()
    first, _ = window.decode(b"\x03" + b"abcdefghijkl", 1, 4, 3, alpha=False)
    assert first == b"abcdefghijkl"
    # Length 2, 1 image before, from its pixel 1; then length 3, 1 pixel before.
    second, _ = window.decode(bytes([2 << 5 | 1, 0, 1]) + bytes([3 << 5, 0, 0]), 2, 5, 3, alpha=False)
    assert second == b"defghi" + b"ghi" * 3
    # 65 images before need a longer number.
    window.images[70] = window.images.pop(1)
    third, _ = window.decode(bytes([4 << 5, 0, 1 << 6 | 1, 1]), 135, 4, 3, alpha=False)
    assert third == first
    with pytest.raises(lz.Missing, match="image 133"):
        window.decode(bytes([4 << 5, 0, 3]), 136, 4, 3, alpha=False)
    with pytest.raises(lz.Damaged, match="outside image 135"):
        window.decode(bytes([4 << 5 | 9, 0, 1]), 136, 4, 3, alpha=False)


def test_glz_forgets_what_it_is_told_to_and_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    window = lz.Window()
    for number in range(10):
        window.decode(b"\x00abc", number, 1, 3, alpha=False)
    window.release(9, 3)
    assert list(window.images) == [6, 7, 8, 9]
    one = 4 + lz.KEEPING
    assert window.held == 4 * one
    monkeypatch.setattr(lz, "WINDOW_LIMIT", 2 * one)
    window.decode(b"\x00abc", 10, 1, 3, alpha=False)
    assert list(window.images) == [9, 10]
    assert window.held == 2 * one


def test_glz_keeps_few_of_any_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are, and in whatever order they come."""
    monkeypatch.setattr(lz, "WINDOW_LIMIT", 100 * lz.KEEPING)
    window = lz.Window()
    for number in range(5000):
        window.decode(b"\x00abc", number * 7919 % 5003, 1, 3, alpha=False)
        window.release(number, 1 << 31)
    assert len(window.images) < 100
    assert len(window._numbers) <= 200 + lz.KEEPING
    window.release(5002, 0)
    assert all(number >= 5002 for number in window.images)


@settings(max_examples=150)
@given(st.lists(st.binary(max_size=40), max_size=5), st.booleans())
def test_any_glz_makes_no_more_than_wanted(images: list[bytes], alpha: bool) -> None:
    window = lz.Window()
    for number, data in enumerate(images):
        try:
            out, plane = window.decode(data, number, 30, 3, alpha=alpha)
        except (lz.Damaged, lz.Missing):
            continue
        assert len(out) == 90
        assert plane is None or len(plane) == 30
