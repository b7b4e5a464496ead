# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO


@contextmanager
def whole(name: str) -> Iterator[BinaryIO]:
    """A file to write, under a name of its own until it is finished: a failure leaves what was there.

    What is there and is no plain file (a pipe, a terminal) is written as it is. Raises OSError, which names
    the file also where writing it failed (Python does not say what was written).
    """
    try:
        with _opened(Path(name), name) as stream:
            yield stream
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, name) from None
        raise


@contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()  # a link stays one
    try:
        number, temporary = mkstemp(dir=path.parent, prefix=".firstbyte-")
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None  # nobody knows the other name
    try:
        with open(number, "wb") as stream:
            yield stream
        Path(temporary).chmod(_mode(path))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    """The permissions that the file has, or that a new one gets."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0o077)
        os.umask(mask)
        return 0o666 & ~mask
