# SPDX-License-Identifier: GPL-2.0-or-later
"""Many captures into a folder of Parquet files: one file a capture, one row a conversation.

A capture that cannot be read, and what is wrong inside one, is a row too: `error` says it, and the columns of
the conversation are null. A Parquet file appears only when it is complete, named after its capture, that
one's size and time: so what was done is not done again, and what has changed is.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

from dissect.app.captures import say_compiling
from dissect.app.looking import is_file, is_folder, is_there
from dissect.app.terminal import Unusable
from dissect.capture import CaptureError, open_capture
from dissect.dissection.readers import compile_once, reader_for_verdicts
from dissect.dissection.reading import dissect
from dissect.firstbyte.tables import COLUMNS, CONVERSATION, conversation_row, schema_of

NAMES = re.compile(r"\.(pcap|pcapng|cap|dmp)\d*(\.(gz|xz|zst|lz4|bz2))?$", re.IGNORECASE)
"""Names that are taken for captures where a folder is walked; a file that is named is always taken."""

CONNECT = 10
"""Seconds in which a Dask scheduler must answer."""

BATCH = 4096
"""Rows that are kept before they are written."""


@dataclass(frozen=True)
class Source:
    """A capture to scan: its path or URL, and what tells that it is still the same."""

    name: str
    size: int
    changed: str

    @property
    def part(self) -> str:
        """The name of its Parquet file."""
        digest = hashlib.sha256(f"{self.name}\0{self.size}\0{self.changed}".encode()).hexdigest()[:20]
        return f"{digest}.parquet"


@dataclass(frozen=True)
class Scanned:
    """What became of a capture: rows of conversations; what was wrong; whether it had been done before."""

    name: str
    conversations: int
    error: str | None = None
    before: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object of `scan --json`."""
        return {
            "capture": self.name,
            "conversations": self.conversations,
            "error": self.error,
            "before": self.before,
        }


def sources(paths: Iterable[str]) -> list[Source]:
    """The captures that paths, folders, patterns and URLs stand for, each once, in a fixed order.

    Raises `Unusable` where one stands for nothing.
    """
    found: dict[str, Source] = {}
    for path in paths:
        before = len(found)
        for source in _remote(path) if "://" in path else _local(path):
            found.setdefault(source.name, source)
        if len(found) == before and not any(name == path for name in found):
            raise Unusable("no capture there", source=path)
    return sorted(found.values(), key=lambda source: source.name)


def _local(path: str) -> Iterator[Source]:
    if is_folder(path):
        names = [
            str(Path(folder) / file)
            for folder, _, files in os.walk(path)
            for file in files
            if NAMES.search(file)
        ]
    elif is_there(path):
        names = [path]
    else:
        names = [name for name in glob.glob(path, recursive=True) if is_file(name)]  # noqa: PTH207
    for name in names:
        try:
            status = Path(name).stat()
        except OSError:
            yield Source(name, 0, "")  # reading it will say what is wrong
        else:
            yield Source(name, status.st_size, str(status.st_mtime_ns))


def _remote(url: str) -> Iterator[Source]:
    fsspec = _needed("fsspec")
    try:
        system, path = fsspec.core.url_to_fs(url)
        if glob.has_magic(path):
            names = system.glob(path)
        elif system.isdir(path):
            names = [name for name in system.find(path) if NAMES.search(name)]
        else:
            names = [path] if system.exists(path) else []
    except (OSError, ValueError, ImportError) as error:
        raise Unusable(f"cannot be listed: {error}", source=url) from None
    _, inside, outer = url.partition("::")  # zip://*.pcap::file:///captures.zip
    for name in names:
        try:
            details = system.info(name)
        except (OSError, ValueError):
            details = {}  # reading it will say what is wrong
        told = details.get("ETag") or details.get("mtime") or details.get("LastModified") or ""
        whole = system.unstrip_protocol(name) + inside + outer
        yield Source(whole, int(details.get("size") or 0), str(told))


def _needed(package: str) -> Any:
    from importlib import import_module

    try:
        if package == "fsspec":
            return import_module("fsspec")
        if package == "distributed":
            return import_module("distributed")
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError:
        extra = "dask" if package == "distributed" else "scan"
        raise Unusable(f"scan needs the package {package} (pip install 'firstbyte[{extra}]')") from None


def scan(
    wanted: list[Source],
    folder: Path,
    jobs: int,
    tell: Callable[[Scanned], None],
    cluster: str | None = None,
) -> None:
    """Scan captures into `folder`, `jobs` at a time; `tell` is called for each as it is done.

    cluster: the address of a Dask scheduler, whose workers then do it. They must be able to open the captures
    by the same names; what they find comes back, and only this process writes into `folder`.
    """
    _needed("pyarrow")
    folder.mkdir(parents=True, exist_ok=True)
    for rest in folder.glob("*.unfinished"):
        rest.unlink()
    todo = []
    for source in wanted:
        if (folder / source.part).exists():
            tell(Scanned(source.name, _count(folder / source.part), before=True))
        else:
            todo.append(source)
    if cluster is not None:
        _scan_on_cluster(todo, folder, tell, cluster)
        return
    compile_once([source.name for source in todo], say_compiling)
    if jobs == 1 or len(todo) < 2:
        for source in todo:
            try:
                scanned = scan_one(source, folder)
            except OSError:
                raise  # of the folder
            except Exception as failure:  # one capture does not end the scan of many
                scanned = _not_scanned(source, failure)
            tell(scanned)
        return
    left = _together(todo, folder, tell, min(jobs, len(todo)))
    while left:  # a process died: one by one it is seen over which capture
        left = _together(left, folder, tell, 1)
        if left:
            tell(Scanned(left[0].name, 0, "not scanned: the process that read it died"))
            left = left[1:]


def _together(
    todo: list[Source], folder: Path, tell: Callable[[Scanned], None], workers: int
) -> list[Source]:
    """Scan in so many processes; returns, in their order, those left undone since one of these died."""
    waiting: dict[Future[Scanned], Source] = {}
    # Arrow keeps threads, which a forked process would miss.
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            with suppress(BrokenProcessPool):
                for source in todo:
                    waiting[pool.submit(scan_one, source, folder)] = source
            for future in as_completed(waiting):
                failure = future.exception()
                if failure is None:
                    tell(future.result())
                elif isinstance(failure, OSError):
                    raise failure  # of the folder
                elif not isinstance(failure, BrokenProcessPool):
                    tell(_not_scanned(waiting[future], failure))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    done = {
        source for future, source in waiting.items() if not isinstance(future.exception(), BrokenProcessPool)
    }
    return [source for source in todo if source not in done]


def _not_scanned(source: Source, failure: BaseException) -> Scanned:
    """Nothing is written, so that the next run tries again."""
    return Scanned(source.name, 0, f"not scanned: {type(failure).__name__}: {failure}")


def _end_with_parent() -> None:
    """Let this process not be left over where its parent is killed: nobody else would end it."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _scan_on_cluster(todo: list[Source], folder: Path, tell: Callable[[Scanned], None], address: str) -> None:
    distributed = _needed("distributed")
    try:
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Unusable(f"no Dask scheduler answers: {error}", source=address) from None
    with client:
        waiting = {client.submit(scan_apart, source, pure=False): source for source in todo}
        for future in distributed.as_completed(list(waiting), loop=client.loop):
            source = waiting.pop(future)
            failure = future.exception()
            if failure is None:
                scanned, part = future.result()
                unfinished = (folder / source.part).with_suffix(".unfinished")
                unfinished.write_bytes(part)
                unfinished.rename(folder / source.part)
            else:
                scanned = _not_scanned(source, failure)
            future.release()
            tell(scanned)


def scan_apart(source: Source) -> tuple[Scanned, bytes]:
    """`scan_one` where the folder is not at hand: what became of the capture, and its Parquet file."""
    with tempfile.TemporaryDirectory() as name:
        scanned = scan_one(source, Path(name))
        return scanned, (Path(name) / source.part).read_bytes()


def scan_one(source: Source, folder: Path) -> Scanned:
    """Scan one capture into its Parquet file. Its errors are rows; those of `folder` are raised."""
    arrow = _needed("pyarrow")
    schema = schema_of(CONVERSATION)
    target = folder / source.part
    unfinished = target.with_suffix(".unfinished")
    count = 0
    error: str | None = None
    with arrow.parquet.ParquetWriter(unfinished, schema) as writer:
        rows: list[dict[str, Any]] = []
        for row in _rows(source):
            count += row["error"] is None
            error = error or row["error"]
            rows.append(row)
            if len(rows) >= BATCH:
                writer.write_table(arrow.Table.from_pylist(rows, schema))
                rows.clear()
        writer.write_table(arrow.Table.from_pylist(rows, schema))
    unfinished.rename(target)
    return Scanned(source.name, count, error)


def _rows(source: Source) -> Iterator[dict[str, Any]]:
    empty = dict.fromkeys(COLUMNS[CONVERSATION])
    path = Path(source.name)
    if "://" not in source.name and path.exists() and not path.is_file():
        # A pipe in a folder would be waited for, and nobody may ever write into it.
        yield {**empty, "capture": source.name, "error": "a pipe or a device, not a file"}
        return
    try:
        opened = _open(source)
        capture = open_capture(source.name if opened is None else opened[0], source.name)
    except CaptureError as error:
        yield {**empty, "capture": source.name, "error": f"at byte {error.offset}: {error.reason}"}
        return
    except (OSError, ValueError, ImportError) as error:
        yield {**empty, "capture": source.name, "error": str(error)}
        return
    reader = reader_for_verdicts([source.name])
    with capture:

        def events() -> Iterator[Any]:
            yield from reader.read(capture)
            yield from reader.finish(capture, capture.end_ns)

        for dissected in dissect(events(), records=False):
            yield conversation_row(dissected.verdict, source.name)
    for problem in capture.problems:
        yield {**empty, "capture": source.name, "error": f"at byte {problem.offset}: {problem.reason}"}
    if opened is not None:
        opened[0].close()


def _open(source: Source) -> tuple[BinaryIO, object] | None:
    """A stream of what a URL names, and what must live as long (an archive is closed with it); None for a
    path.
    """
    if "://" not in source.name:
        return None
    system, path = _needed("fsspec").core.url_to_fs(source.name)
    stream: BinaryIO = system.open(path, "rb")
    return stream, system


def _count(path: Path) -> int:
    """Conversations in a Parquet file."""
    with _needed("pyarrow").parquet.ParquetFile(path) as file:
        rows = file.read(columns=["conversation"], use_threads=False)
    return int(rows.num_rows - rows.column("conversation").null_count)
