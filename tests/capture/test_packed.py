# SPDX-License-Identifier: GPL-2.0-or-later
"""Compressed captures: the same frames, whole or in parts, cut or damaged; memory stays bounded."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import sys
import tracemalloc
from collections.abc import Callable

import pytest

from dissect.capture import CaptureError, Frame, open_capture, packed
from tests.capture import build


def _zstd(data: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(data))


def _lz4(data: bytes) -> bytes:
    return bytes(pytest.importorskip("lz4.frame").compress(data))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": _zstd,
    "lz4": _lz4,
}

PLAIN = build.pcap([(number * 1000, bytes([number % 251]) * (number % 900)) for number in range(3000)])


def frames(data: bytes, step: int | None = None) -> tuple[list[Frame], list[str], str | None]:
    stream: io.RawIOBase | io.BytesIO = io.BytesIO(data) if step is None else Slow(data, step)
    with open_capture(stream, "x") as capture:  # type: ignore[arg-type]
        found = list(capture)
        assert capture.consumed == len(data) or capture.problems
        return found, [problem.reason for problem in capture.problems], capture.compression


class Slow(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = io.BytesIO(data), step

    def read(self, size: int | None = -1, /) -> bytes:
        return self._data.read(self._step)


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("step", [None, 7, 1000])
def test_the_same_frames(kind: str, step: int | None) -> None:
    expected, problems, none = frames(PLAIN)
    assert (len(expected), problems, none) == (3000, [], None)
    assert frames(PACKERS[kind](PLAIN), step) == (expected, [], kind)


@pytest.mark.parametrize("kind", PACKERS)
def test_several_members_one_after_the_other(kind: str) -> None:
    """As from `cat`, and from tools that compress in parallel."""
    pack = PACKERS[kind]
    assert frames(pack(PLAIN[:1000]) + pack(PLAIN[1000:5000]) + pack(PLAIN[5000:]))[0] == frames(PLAIN)[0]


@pytest.mark.parametrize("kind", PACKERS)
def test_cut_data_give_what_is_before_the_cut(kind: str) -> None:
    whole = PACKERS[kind](PLAIN)
    cut = whole[: len(whole) - len(whole) // 5]
    if kind == "bzip2":  # it hands out whole blocks, and this is less than one
        with pytest.raises(CaptureError, match=f"the {kind} data are cut"):
            frames(cut)
    else:
        found, problems, _ = frames(cut)
        assert 0 < len(found) < 3000
        assert f"the {kind} data are cut" in problems[-1]


@pytest.mark.parametrize("kind", PACKERS)
def test_damaged_data_are_one_line(kind: str) -> None:
    whole = bytearray(PACKERS[kind](PLAIN))
    middle = len(whole) // 2
    whole[middle : middle + 40] = bytes(40)
    problems = [""]
    with contextlib.suppress(CaptureError):
        _, problems, _ = frames(bytes(whole))
    assert problems
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize("kind", PACKERS)
def test_what_is_compressed_must_be_a_capture(kind: str) -> None:
    with pytest.raises(CaptureError, match="not a capture but text"):
        open_capture(io.BytesIO(PACKERS[kind](b"some text, and no capture\n" * 100)), "x")
    with pytest.raises(CaptureError, match=f"nothing inside the {kind} data"):
        open_capture(io.BytesIO(PACKERS[kind](b"")), "x")


def test_twice_is_said() -> None:
    with pytest.raises(CaptureError, match="xz data inside compressed data"):
        open_capture(io.BytesIO(gzip.compress(lzma.compress(PLAIN))), "x")


@pytest.mark.parametrize("kind", ["gzip", "xz", "bzip2", "zstd", "lz4"])
def test_a_bomb_is_unpacked_in_steps(kind: str) -> None:
    """200 MB of zeros behind a header are no capture, and never in memory at once."""
    bomb = PACKERS[kind](PLAIN[:24]) + PACKERS[kind](bytes(64 << 20)) * 3
    tracemalloc.start()
    try:
        with open_capture(io.BytesIO(bomb), "x") as capture:
            for _ in zip(range(1000), capture, strict=False):
                pass
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "module"), [("zstd", "zstandard"), ("lz4", "lz4.frame")])
def test_a_missing_package_is_named(kind: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PACKERS[kind](PLAIN)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CaptureError, match=rf"{kind} compressed, which needs .*firstbyte\[formats\]"):
        open_capture(io.BytesIO(data), "x")


def test_every_kind_is_known_by_its_beginning() -> None:
    assert {packed.kind_of(pack(PLAIN)) for pack in PACKERS.values()} == set(packed.MAGICS.values())
    assert packed.kind_of(PLAIN) is None
