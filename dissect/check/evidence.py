# SPDX-License-Identifier: GPL-2.0-or-later
"""The folder of what failed: for each case and target live capture, difference, the peer's log, a picture.

::

    FOLDER/TARGET/CASE/ladder.png  live.pcapng  diff.txt  peer.log
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dissect.capture import CaptureError, open_capture, read
from dissect.check.baseline import Baseline
from dissect.check.judging import GOOD, Status
from dissect.check.runner import Cell
from dissect.check.running import Run
from dissect.dissection.reading import Dissected, dissect
from dissect.stream.side import Side
from dissect.stream.text import safe

FILES = ("ladder.png", "live.pcapng", "diff.txt", "peer.log")
ORDER = ("ladder", "live capture", "diff", "peer log")
"""A picture first: where a reader of reports shows one attachment only, it is the first."""


def keep(cell: Cell, folder: Path, *, pictures: bool = True) -> None:
    """Keep the evidence of a cell that is not good, and note it in `cell.evidence`. Raises OSError."""
    place = folder / cell.target.name / cell.case.name
    clear(place)
    if cell.status in GOOD or cell.status is Status.NOT_RUN or not (cell.runs or cell.log):
        return
    place.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    run = telling(cell.runs, cell.baseline)
    if run is not None and run.capture is not None and run.capture.exists():
        found["live capture"] = place / "live.pcapng"
        shutil.copyfile(run.capture, found["live capture"])
        names = {cell.case.played: "firstbyte", cell.case.played.other: cell.target.name}
        about = cell.judgement.reason.partition(":")[0] if cell.case.probe is not None else None
        if pictures and draw(found["live capture"], place / "ladder.png", names, about):
            found["ladder"] = place / "ladder.png"
    found["diff"] = place / "diff.txt"
    found["diff"].write_text(text_of(cell), encoding="utf-8")
    if cell.log:
        found["peer log"] = place / "peer.log"
        found["peer log"].write_text(cell.log, encoding="utf-8", errors="backslashreplace")
    cell.evidence = {name: found[name] for name in ORDER if name in found}


def clear(place: Path) -> None:
    """Take away what an earlier run kept of the same case and target; nothing else."""
    if place.is_dir():
        for old in FILES:
            (place / old).unlink(missing_ok=True)
        for folder in (place, place.parent):
            with suppress(OSError):  # somebody else's files are in it
                folder.rmdir()


def telling(runs: Sequence[Run], baseline: Baseline | None) -> Run | None:
    """The run that shows what is wrong: the first that is not right, else the last."""
    for run in runs:
        if not run.passed or (baseline is not None and run.behaviour not in baseline.behaviours):
            return run
    return runs[-1] if runs else None


def text_of(cell: Cell) -> str:
    """What a person wants to read first."""
    judgement = cell.judgement
    lines = [
        f"case {cell.case.name}" + (f": {safe(cell.case.about)}" if cell.case.about else ""),
        f"target {cell.target.name} {safe(cell.version or '')}".rstrip(),
        f"{judgement.status}: {safe(judgement.reason)}",
        *(f"  {safe(line)}" for line in judgement.rates),
        *(safe(line) for line in cell.notes),
        "",
        *(safe(line) for line in judgement.diff),
        *(["", *map(str, judgement.shifts)] if judgement.shifts else []),
    ]
    return "".join(f"{line}\n" for line in lines)


def draw(capture: Path, picture: Path, names: Mapping[Side, str], probed: str | None = None) -> bool:
    """Draw the first conversation in which somebody spoke; False where there is none at all.

    probed: of a probe, the protocol in question: the trial that sent most of it is drawn.
    """
    try:
        with open_capture(str(capture)) as opened:
            found = list(dissect(read(opened)))
    except CaptureError:
        return False
    if not found:
        return False
    from dissect.timing.plots import ladder, save

    if probed is None:
        chosen = min(found, key=lambda one: (not one.records, one.conversation.index))
    else:
        chosen = max(found, key=lambda one: (one.verdict.client_spoke == probed, _sent(one)))
    save(ladder(chosen, capture=capture.name, names=names), picture)
    return True


def _sent(dissected: Dissected) -> int:
    return sum(record.size for record in dissected.records if record.side is Side.CLIENT)
