# SPDX-License-Identifier: GPL-2.0-or-later
"""Which reader is chosen; that all of them say the same is held by the tests of each."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from dissect.capture.bulk import Bulk
from dissect.capture.plain import Plain
from dissect.capture.swift import Swift
from dissect.dissection import readers

PCAP = Path(__file__).parent.parent.parent / "pcaps" / "xtightvncviewer--xtightvnc.pcapng"


def of_size(path: Path, size: int) -> str:
    """A capture as large as that, by its length alone."""
    path.write_bytes(PCAP.read_bytes())
    os.truncate(path, size)
    return str(path)


def test_the_size_of_what_is_no_plain_file_is_not_known(tmp_path: Path) -> None:
    big = of_size(tmp_path / "big", readers.LARGE)
    assert readers.size_of([big]) == readers.LARGE
    assert readers.size_of([big, str(PCAP)]) == readers.LARGE + PCAP.stat().st_size
    assert not readers.size_of(["-"])
    assert not readers.size_of([big, str(tmp_path / "missing")])
    (tmp_path / "packed").write_bytes(b"\x1f\x8b" + bytes(1000))
    assert not readers.size_of([str(tmp_path / "packed")])


@pytest.mark.parametrize(("size", "kind"), [(readers.SMALL - 1, Plain), (readers.SWIFT - 1, Bulk)])
def test_readers_by_size(size: int, kind: type, tmp_path: Path) -> None:
    name = of_size(tmp_path / "x", size)
    assert type(readers.reader_for_verdicts([name])) is kind
    assert type(readers.plain_reader([name])) is kind
    assert type(readers.plain_reader([name], (0, 2))) is Bulk
    assert type(readers.plain_reader(["-"])) is Bulk
    assert type(readers.plain_reader([name], all_whole=True)) is Plain
    assert type(readers.plain_reader(["-"], all_whole=True)) is Plain
    assert type(readers.plain_reader([name], (0, 2), all_whole=True)) is Bulk


def test_the_kernels_are_for_large_captures(tmp_path: Path) -> None:
    assert find_spec("numba") is not None, "numba is not installed"
    name = of_size(tmp_path / "x", readers.COMPILE)
    told: list[None] = []
    for _ in range(2):
        assert type(readers.reader_for_verdicts([name], compiling=lambda: told.append(None))) is Swift
    assert len(told) < 2  # compiled by then
    assert type(readers.plain_reader([name])) is Bulk
    assert type(readers.reader_for_verdicts([of_size(tmp_path / "y", readers.SWIFT)])) is Swift


def test_the_kernels_are_compiled_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("dissect.capture.machine.to_compile", lambda: True)
    monkeypatch.setattr("dissect.capture.machine.functions", lambda: done.append("compiled"))
    monkeypatch.setattr(readers, "COMPILE", 2 * readers.SWIFT)
    small, large = of_size(tmp_path / "small", readers.SWIFT - 1), of_size(tmp_path / "large", readers.SWIFT)
    readers.compile_once([small, small, small, large, "http://127.0.0.1/x.pcap"], lambda: done.append("told"))
    assert done == []
    readers.compile_once([small, large, large], lambda: done.append("told"))
    assert done == ["told", "compiled"]


def test_what_is_not_compiled_yet_is_only_for_what_is_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = of_size(tmp_path / "x", readers.SWIFT)
    answers = iter((True, False))
    monkeypatch.setattr("dissect.capture.machine.to_compile", lambda: next(answers))
    assert not readers.worth_swift([name])
    assert readers.worth_swift([name] * (readers.COMPILE // readers.SWIFT))  # and is not asked
    assert readers.worth_swift([name])
