# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte scan PATH... -o DIR`: the verdicts of many captures, as Parquet."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dissect.app import terminal
from dissect.app.captures import job_count


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a capture, a folder, a pattern, or a URL that fsspec knows"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="where the Parquet files go, one a capture"
    )
    parser.add_argument(
        "--jobs",
        type=job_count,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="captures that are read at a time (default: one a core, here %(default)s)",
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="let the workers of this Dask cluster read (tcp://HOST:8786); they need firstbyte, and the "
        "captures under the same names; the Parquet files are written here",
    )
    parser.add_argument("--json", action="store_true", help="one object a capture on standard output")
    parser.epilog = (
        "What was done is not done again: run the same command to go on after an interruption.\n\n"
        "examples:\n"
        "  firstbyte scan pcaps -o verdicts\n"
        "  firstbyte scan captures/ 's3://bucket/2026-*/*.pcap.gz' -o verdicts"
    )


def run(args: Namespace) -> int:
    """Scan; 0 where at least one conversation was found."""
    from dissect.app.scanning import Scanned, scan, sources

    wanted = sources(args.paths)
    found = failed = done = 0
    with terminal.Progress() as progress:

        def tell(scanned: Scanned) -> None:
            nonlocal found, failed, done
            done += 1
            found += scanned.conversations
            failed += scanned.error is not None
            progress.clear()
            if args.json:
                print(json.dumps(scanned.to_json()), flush=True)
            if scanned.error is not None:
                terminal.complain(scanned.error, source=scanned.name)
            of = terminal.plural(len(wanted), "capture")
            progress.update(f"{done} of {of}, {terminal.plural(found, 'conversation')}")

        scan(wanted, Path(args.output), args.jobs, tell, args.dask)
    if not args.json:
        print(
            f"{terminal.plural(found, 'conversation')} in {terminal.plural(done, 'capture')}"
            + (f", {failed} with errors" if failed else "")
            + f": {terminal.link(args.output)}"
        )
    if not found:
        raise terminal.Unusable("no TCP conversation in any of these captures")
    return 0
