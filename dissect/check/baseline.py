# SPDX-License-Identifier: GPL-2.0-or-later
"""Baselines: what a build did in a case, as one small text file that a person reads in a diff.

A file holds each behaviour that was seen, with how often, and the times of a timed case. What differs from
run to run is masked by `watching`. `read` and `write` are each other's reverse; the order is always the same.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median_low

from dissect.check import reference
from dissect.check.running import Run
from dissect.stream.side import Side
from dissect.stream.text import duration, safe
from dissect.timing.observations import Observation

FORMAT = "1"
SUFFIX = ".txt"
PER_LINE = 12
"""Times in a line."""
HEAD = "# What a build does in one case; `firstbyte check --record` and `--accept CASE` write it."

Behaviour = tuple[str, ...]


class BaselineError(Exception):
    """A file that cannot be used; `str()` is one line: file, line, reason."""


@dataclass(slots=True)
class Baseline:
    """behaviours: what was seen -> in how many runs, the most frequent first. times: what is timed ->
    observations. machine: where those were taken. build, source: for people only.
    """

    case: str
    build: str
    source: str
    behaviours: dict[Behaviour, int] = field(default_factory=dict)
    times: dict[str, list[Observation]] = field(default_factory=dict)
    machine: str = ""

    @property
    def usual(self) -> Behaviour:
        """What was seen most often."""
        return next(iter(self.behaviours), ())

    @property
    def runs(self) -> int:
        """How many runs it was made from."""
        return sum(self.behaviours.values())


def observation(ns: int, *, exact: bool = True) -> Observation:
    """A time of which nothing else is known."""
    status = "exact" if exact else "censored"
    return Observation(Side.SERVER, ns, status, None, 0, False, "", "", 0, clock="user")  # type: ignore[arg-type]


@cache
def this_machine() -> str:
    """What times depend on most, in one line; no names."""
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            model = next(
                (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
            )
    except OSError:
        pass
    return ", ".join(part for part in (platform.machine(), f"{os.cpu_count()} CPUs", model) if part)


def path_of(folder: Path, judged_by: str, case: str) -> Path:
    """Where the baseline of a case lies; `judged_by`: the build that it is of."""
    return folder / judged_by / f"{case}{SUFFIX}"


def made(case: str, build: str, source: str, runs: Sequence[Run], *, timed: bool) -> Baseline:
    """The baseline of these runs."""
    counted = Counter(run.behaviour for run in runs)
    order = sorted(counted, key=lambda lines: (-counted[lines], lines))
    found = Baseline(case, build, source, {lines: counted[lines] for lines in order})
    if timed:
        found.times = together(runs)
        found.times[reference.NAME] = [observation(run.machine_ns) for run in runs if run.machine_ns]
        found.machine = this_machine()
    return found


def together(runs: Iterable[Run]) -> dict[str, list[Observation]]:
    """The times of several runs: what is timed -> all observations."""
    found: dict[str, list[Observation]] = {}
    for run in runs:
        for name, times in run.times.items():
            found.setdefault(name, []).extend(times)
    return found


# --- as text --------------------------------------------------------------------------------------------


def write(baseline: Baseline, path: Path) -> None:
    """Write it, in place of what was there. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines_of(baseline))
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def lines_of(baseline: Baseline) -> Iterator[str]:
    """The file, line by line."""
    yield HEAD
    yield f"format: {FORMAT}"
    yield f"case: {baseline.case}"
    yield f"build: {safe(baseline.build)}"
    yield f"from: {safe(baseline.source)}"
    for lines, count in baseline.behaviours.items():
        yield ""
        yield f"seen: {count} of {baseline.runs}"
        yield from (f"  {line}" for line in lines)
    for name in sorted(baseline.times):
        times = baseline.times[name]
        seen = sorted(one.ns for one in times if one.exact)
        bounds = sorted(one.ns for one in times if not one.exact)
        yield ""
        yield f"time: {name}"
        if seen:
            first, middle, last = (duration(ns) for ns in (seen[0], median_low(seen), seen[-1]))
            yield f"  # {len(seen)} seen: {first} to {last}, median {middle}, user clock"
        if bounds:
            yield f"  # {len(bounds)} not seen before {duration(bounds[0])}"
        yield from _numbers("ms", seen)
        yield from _numbers("not before, ms", bounds)
    if baseline.times:
        yield f"machine: {safe(baseline.machine)}"


def _numbers(key: str, times: Sequence[int]) -> Iterator[str]:
    for at in range(0, len(times), PER_LINE):
        yield f"  {key}: " + " ".join(f"{ns / 1e6:.3f}" for ns in times[at : at + PER_LINE])


def read(path: Path) -> Baseline | None:
    """The baseline in a file; None where there is no file. Raises BaselineError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return _parse(path, text.splitlines())
    except ValueError as error:
        raise BaselineError(f"{path}: {error}") from None


def _parse(path: Path, lines: Sequence[str]) -> Baseline:
    head: dict[str, str] = {}
    behaviours: list[tuple[int, list[str]]] = []
    times: dict[str, list[Observation]] = {}
    block: list[str] | None = None
    timed: list[Observation] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("  "):
            if block is not None:
                block.append(line[2:])
            elif timed is not None:
                _times(number, line.strip(), timed)
            else:
                raise ValueError(f"line {number}: belongs to nothing")
            continue
        key, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"line {number}: no key in {safe(line[:60])!r}")
        value = value.strip()
        block = timed = None
        if key == "seen":
            count = value.partition(" ")[0]
            if not count.isdigit() or not int(count):
                raise ValueError(f"line {number}: seen must begin with a number of runs, not {safe(value)!r}")
            block = []
            behaviours.append((int(count), block))
        elif key == "time":
            timed = times.setdefault(value, [])
        elif key in ("format", "case", "build", "from", "machine"):
            head[key] = value
        else:
            raise ValueError(f"line {number}: unknown key {safe(key)!r}")
    if head.get("format") != FORMAT:
        raise ValueError(f"line 2: format {head.get('format')!r} is not {FORMAT}")
    if not behaviours:
        raise ValueError("holds no behaviour (no line that begins with seen:)")
    return Baseline(
        head.get("case", path.stem),
        head.get("build", ""),
        head.get("from", ""),
        {tuple(block): count for count, block in behaviours},
        times,
        head.get("machine", ""),
    )


def _times(number: int, line: str, into: list[Observation]) -> None:
    if line.startswith("#"):
        return
    key, _, values = line.partition(":")
    if key not in ("ms", "not before, ms"):
        raise ValueError(f"line {number}: unknown key {safe(key)!r}")
    try:
        into += [observation(round(float(word) * 1e6), exact=key == "ms") for word in values.split()]
    except (ValueError, OverflowError):
        raise ValueError(f"line {number}: not all of these are milliseconds") from None
