# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the ways to read captures is the quickest for these; all of them say the same.

`Plain` takes packets one by one, `Bulk` many at once with numpy, `Swift` with kernels that numba compiles.
They are imported where they are chosen, for numpy and numba take longer to come up than a small capture to
read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dissect.capture.conversations import Conversations
from dissect.capture.files import open_capture
from dissect.capture.packed import MAGIC_SIZE, kind_of
from dissect.capture.problems import CaptureError
from dissect.dissection.recognise import first_bytes

if TYPE_CHECKING:
    from dissect.capture.bulk import Bulk
    from dissect.capture.plain import Plain
    from dissect.capture.swift import Swift

Reader: TypeAlias = "Bulk | Plain"

SMALL = 1 << 20
"""Bytes of captures below which numpy is not worth its import."""

LARGE = 256 << 20
"""Bytes of captures from which on several processes are worth their start."""

SWIFT = 4 << 20
"""Bytes of captures from which on the compiled kernels are worth their start, where numba is installed..."""

COMPILE = 384 << 20
"""...and from which on they are worth being compiled first, for some ten seconds."""

BEGINNING = 1024
"""Packets by which a capture is judged, of those that are read at once."""


def size_of(names: Sequence[str]) -> int:
    """Bytes of captures that are files and not compressed; 0 where one is anything else."""
    size = 0
    for name in names:
        path = Path(name)
        try:
            if name == "-" or not path.is_file():
                return 0
            with path.open("rb") as stream:
                if kind_of(stream.read(MAGIC_SIZE)) is not None:
                    return 0
            size += path.stat().st_size
        except OSError:
            return 0
    return size


def worth_swift(names: Sequence[str]) -> bool:
    """Whether the kernels can read these captures, and are worth it, where verdicts alone are wanted.

    A packet out of the common form costs them more than any other reader: a capture of which half of the
    first ones are (tunnels, IEEE 802.11) is not for them.
    """
    size = size_of(names)
    if size < SWIFT or find_spec("numba") is None:
        return False
    if size < COMPILE:
        from dissect.capture import machine

        if machine.to_compile():
            return False
    return all(map(_is_common, names))


def _is_common(name: str) -> bool:
    from dissect.capture.bulk import headers

    try:
        with open_capture(name) as capture:
            next(capture, None)
            run = capture.run(BEGINNING)
            return run is None or bool(headers(run).unusual.mean() <= 0.5)
    except CaptureError:
        return True  # said when it is its turn


def swift_reader(*, beside: bool = False, compiling: Callable[[], None] | None = None) -> Swift:
    """The reader by the kernels, which are loaded now; see `Swift`.

    beside: a second core may be used. compiling: is told when they must be compiled first, for some ten
    seconds.
    """
    from dissect.capture import machine, swift

    if compiling is not None and machine.to_compile():
        compiling()
    return swift.Swift(Conversations(), first_bytes(), beside=beside)


def compile_once(names: Sequence[str], compiling: Callable[[], None]) -> None:
    """Compile the kernels where these captures, each read by itself, are worth it together: not in several
    processes at a time. compiling: is told before.
    """
    sizes = [size_of([name]) for name in names]
    if find_spec("numba") is not None and sum(size for size in sizes if size >= SWIFT) >= COMPILE:
        from dissect.capture import machine

        if machine.to_compile():
            compiling()
            machine.functions()


def plain_reader(names: Sequence[str], share: tuple[int, int] = (0, 1), *, all_whole: bool = False) -> Reader:
    """The reader whatever is wanted of the captures: packet by packet, or with numpy. share: see `Bulk`.

    all_whole: all conversations are wanted to their ends. Then numpy has nothing to pass over, and what it
    saves on runs of segments `Plain` saves too, without its import.
    """
    if share[1] == 1 and (all_whole or 0 < size_of(names) < SMALL):
        from dissect.capture.plain import Plain

        return Plain(Conversations())
    from dissect.capture.bulk import Bulk

    return Bulk(Conversations(), share)


def reader_for_verdicts(
    names: Sequence[str], *, beside: bool = False, compiling: Callable[[], None] | None = None
) -> Reader:
    """The reader where verdicts alone are wanted, so that conversations are put aside (`dissect`)."""
    if worth_swift(names):
        return swift_reader(beside=beside, compiling=compiling)
    return plain_reader(names)
