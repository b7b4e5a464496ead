# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte matrix`: clients x servers, real ones and models, trial by trial, as data and as a table."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.app import terminal
from dissect.app.main import INCONCLUSIVE, INTERRUPTED, PASS
from dissect.app.terminal import Cell, Column, Table
from dissect.stream.side import Side
from dissect.stream.text import duration, safe

if TYPE_CHECKING:
    from dissect.lab.lab import Lab
    from dissect.lab.matrix import Folder, Plan
    from dissect.timing.observations import Clock, Observation
    from dissect.timing.results import Row

SCENARIOS = ("cure", "prefix")

EPILOG = """\
examples:
  firstbyte matrix --scenario cure -o cure/
  firstbyte matrix --scenario prefix -n 10 -o prefix/ --compare model-vnc-quiet,model-vnc-early
  firstbyte matrix --peers real -n 3 --deadline 5 -o run/
  firstbyte matrix --peers gvncviewer,spicy,qemu-spice,qemu-vnc -o run/
  firstbyte plot run/ -o heat.svg

--peers: names (see firstbyte peers), "real" (what is installed), "models", "all", or FILE.toml with more.
Models: model-spice-4, model-spice-16, model-vnc, model-vnc-peek, model-vnc-peek-old, model-vnc-quiet,
model-vnc-early, model-vnc-patient, model-spice.

The same command goes on with a run that was interrupted. Every time says its clock: "wire" is the kernel's
stamp in a capture (needs CAP_NET_RAW), "user" a relay's reading in user space.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--peers", type=_words, metavar="NAME,...", help="the clients and servers, see below")
    what.add_argument(
        "--scenario",
        choices=SCENARIOS,
        help="cure: three VNC clients at a SPICE server that judges at 16 bytes and at 4 (models); prefix: "
        "an honest client with and without the early prefix at every VNC server",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="keep the rows there, and go on with what is there"
    )
    parser.add_argument("-n", "--trials", type=_count, default=5, metavar="N", help="trials of each pair (5)")
    parser.add_argument(
        "--deadline", type=_seconds, default=5.0, metavar="SECONDS", help="end of each trial (5)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the order of the trials (0)")
    parser.add_argument("--cold", action="store_true", help="start each trial's server anew")
    parser.add_argument(
        "--clock",
        choices=("both", "user"),
        default="both",
        help="user: do not capture; both: also on the wire, where that is allowed (default)",
    )
    parser.add_argument(
        "--compare",
        type=_words,
        metavar="A,B",
        help="two servers, or two clients: is B faster than A, and by how much (log-rank test, difference of "
        "the medians with its interval)",
    )
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write the rows as Parquet too")
    parser.add_argument(
        "--json",
        action="store_true",
        help="NDJSON on standard output (a row a trial), and nothing else there",
    )
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.epilog = EPILOG


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value <= 100_000:
        raise ArgumentTypeError(f"{text} is not between 1 and 100000")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def run(args: Namespace) -> int:
    """Run the trials that are left and summarise all; 3 where some could not be had."""
    from dissect.lab.errors import LabError
    from dissect.lab.lab import Lab
    from dissect.lab.matrix import Folder, PlanError

    words = args.peers or []
    files = [word for word in words if word.endswith(".toml")]
    try:
        with Lab(files=files) as lab:
            plan, missing = _plan(lab, args, [word for word in words if word not in files])
            folder = None if args.output is None else Folder(args.output, plan)
            rows, code = _run(lab, plan, folder, args)
    except (LabError, PlanError) as error:
        raise terminal.Unusable(str(error)) from None
    for name in missing:
        terminal.complain("not installed: left out", source=name)
    if args.parquet is not None:
        from dissect.timing.results import ResultsError, write_parquet

        try:
            write_parquet(rows, args.parquet)
        except ResultsError as error:
            raise terminal.Unusable(str(error)) from None
    if not args.json:
        clock = _clock(rows)
        _print(rows, plan, clock)
        if args.compare is not None:
            _compare(rows, plan, clock, *args.compare)
    return code


def _plan(lab: Lab, args: Namespace, words: Sequence[str]) -> tuple[Plan, list[str]]:
    from dissect.lab import matrix
    from dissect.lab.matrix import Plan

    missing: list[str] = []
    if args.scenario == "cure":
        clients, servers = list(matrix.CURE[0]), list(matrix.CURE[1])
    elif args.scenario == "prefix":
        clients = list(matrix.PREFIX_CLIENTS)
        _, servers, missing = matrix.choose(lab, ["all"])
        servers = [name for name in servers if _speaks_rfb(lab, name)]
        missing = [name for name in missing if _speaks_rfb(lab, name)]
    else:
        clients, servers, missing = matrix.choose(lab, words)
    if args.compare is not None:
        two = set(args.compare)
        if len(args.compare) != 2 or len(two) != 2 or not (two <= set(clients) or two <= set(servers)):
            raise terminal.Unusable(
                f"--compare {','.join(args.compare)}: needs two servers or two clients of this matrix"
            )
    if not clients or not servers:
        raise terminal.Unusable(
            "a matrix needs a client and a server, and these are "
            f"{terminal.plural(len(clients), 'client')} and {terminal.plural(len(servers), 'server')}"
            + (f"; not installed: {', '.join(missing)}" if missing else "")
        )
    plan = Plan(tuple(clients), tuple(servers), args.trials, args.deadline, args.seed, args.cold)
    return plan, missing


def _speaks_rfb(lab: Lab, name: str) -> bool:
    from dissect.lab.matrix import MODELS, role_of
    from dissect.lab.peers import Role

    if role_of(lab, name) is not Role.SERVER:
        return False
    return name.startswith("model-vnc") if name in MODELS else lab.peers[name].protocol == "rfb"


def _run(lab: Lab, plan: Plan, folder: Folder | None, args: Namespace) -> tuple[list[Row], int]:
    """The trials that are left. Ctrl-C ends the run with what there is."""
    from dissect.lab.matrix import Matrix
    from dissect.lab.record import can_record_wire

    wire = args.clock == "both" and can_record_wire()
    rows: list[Row] = [] if folder is None else list(folder.rows)
    done = set() if folder is None else folder.done
    for problem in [] if folder is None else folder.problems:
        terminal.complain(problem)
    total = len(plan.order())
    left = total - len(done)
    note = "wire and user clock" if wire else "user clock only"
    if args.clock == "both" and not wire:
        note += " (no privilege to capture)"
    most = duration(round(left * (plan.deadline_s + 2.0) * 1e9))
    sys.stderr.write(f"{terminal.plural(left, 'trial')} of {total}, {note}: at most {most} or so\n")
    code = PASS
    began, ran = time.monotonic(), 0
    with terminal.Progress() as progress, Matrix(lab, plan, wire=wire) as matrix:
        progress.update(f"0 of {left} trials")
        try:
            for row in matrix.run(done):
                rows = [one for one in rows if (one.pair, one.trial) != (row.pair, row.trial)] + [row]
                if folder is not None:
                    folder.add(row)
                if args.json:
                    print(json.dumps(row.to_json()), flush=True)
                ran += 1
                rest = (time.monotonic() - began) / ran * (left - ran)
                time_left = duration(round(rest) * 10**9)
                progress.update(f"{ran} of {left} trials, {time_left} left: {row.client} → {row.server}")
        except KeyboardInterrupt:
            progress.clear()
            terminal.complain(f"interrupted after {ran} of {left} trials")
            return rows, INTERRUPTED
    if any(row.lost is not None for row in rows):
        code = INCONCLUSIVE
    return rows, code


# --- for a person -------------------------------------------------------------------------------------


def _clock(rows: Sequence[Row]) -> Clock:
    """The wire's where there is any: one clock for all figures of a table."""
    wire = any(one.clock == "wire" for row in rows for one in row.observations)
    return "wire" if wire or any("wire" in row.server_init_ns for row in rows) else "user"


def _print(rows: Sequence[Row], plan: Plan, clock: Clock) -> None:
    table: list[list[str | Cell]] = []
    for client in plan.clients:
        for server in plan.servers:
            pair = [row for row in rows if row.pair == (client, server)]
            good = [row for row in pair if row.lost is None]
            lost = len(pair) - len(good)
            verdicts = " / ".join(dict.fromkeys(str(row.verdict) for row in good)) or "nothing measured"
            style = "good" if verdicts == "agreed" else "bad" if "silent" in verdicts else "warn"
            table.append(
                [
                    Cell(client, "client"),
                    Cell(server, "server"),
                    f"{len(good)}" + (f" (+{lost} lost)" if lost else ""),
                    Cell(verdicts, style),
                    _side(good, Side.SERVER, clock),
                    _side(good, Side.CLIENT, clock),
                    _init(good, clock),
                ]
            )
    columns = [Column("client"), Column("server"), Column("n", align="right"), Column("verdict", fit="wrap")]
    columns += [Column(title, fit="wrap") for title in ("server noticed", "client noticed", "to ServerInit")]
    print(Table(columns).render(table), end="")
    loads = sorted(row.load1 for row in rows)
    load = f"; load average {loads[0]:g} to {loads[-1]:g}" if loads else ""
    print(
        f"medians [95 % band], {clock} clock; n as shown, deadline {plan.deadline_s:g} s, seed {plan.seed}"
        f", {'cold' if plan.cold else 'warm'} servers{load}"
    )
    for reason, count in _lost(rows).items():
        print(terminal.paint("lost:", "bad"), f"{terminal.plural(count, 'trial')}: {safe(reason)}")


def _compare(rows: Sequence[Row], plan: Plan, clock: Clock, first: str, second: str) -> None:
    """B against A, at each peer of the other kind: who noticed when, and the time to ServerInit."""
    from dissect.timing.estimators import StatisticsMissing, compare

    servers = first in plan.servers
    table: list[list[str | Cell]] = []
    for other in plan.clients if servers else plan.servers:
        pairs = [(other, name) if servers else (name, other) for name in (first, second)]
        both = [[row for row in rows if row.pair == pair and row.lost is None] for pair in pairs]
        for what in ("server noticed", "client noticed", "to ServerInit"):
            one, two = (_observed(group, what, clock) for group in both)
            if not one or not two:
                if one or two:
                    text = f"only with {first if one else second}"
                    table.append([other, what, f"{len(one)}, {len(two)}", text, ""])
                continue
            try:
                found = compare(one, two, seed=plan.seed)
            except StatisticsMissing as error:
                raise terminal.Unusable(str(error)) from None
            p = f"p = {found.p:.2g}" if found.p >= 1e-4 else "p < 0.0001"
            if found.difference is None:
                text = found.why or ""
            else:
                gap = found.difference
                ends = ["unbounded" if end is None else _signed(end) for end in (gap.low, gap.high)]
                text = f"{_signed(gap.ns or 0)} [{ends[0]}, {ends[1]}]"
            table.append([other, what, f"{len(one)}, {len(two)}", text, p])
    print(f"\n{second} against {first}, {clock} clock:")
    columns = [Column("at" if not servers else "with"), Column("what"), Column("n")]
    columns += [Column("difference of medians [95 %]", fit="wrap"), Column("log-rank")]
    print(Table(columns).render(table), end="")


def _signed(ns: int) -> str:
    return ("+" if ns > 0 else "") + duration(ns)


def _observed(rows: Sequence[Row], what: str, clock: Clock) -> list[Observation]:
    from dissect.timing.observations import Observation

    if what != "to ServerInit":
        side = Side.SERVER if what.startswith("server") else Side.CLIENT
        return [one for row in rows if (one := row.seen(side, clock)) is not None]
    return [
        Observation(Side.SERVER, row.server_init_ns[clock], "exact", None, 0, False, "rfb", "rfb", row.order)
        for row in rows
        if clock in row.server_init_ns
    ]


def _lost(rows: Sequence[Row]) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(f"{r.client} → {r.server}: {r.lost}" for r in rows if r.lost is not None))


def _side(rows: Sequence[Row], side: Side, clock: Clock) -> str:
    found = [one for row in rows if (one := row.seen(side, clock)) is not None]
    if not found:
        return ""
    counted: dict[str, int] = {}
    for one in found:
        by = (one.by or "nothing").replace("-", " ")
        counted[by] = counted.get(by, 0) + 1
    how = ", ".join(f"{count} {by}" if len(counted) > 1 else by for by, count in counted.items())
    return f"{how}: {_time(found)}" if any(one.exact for one in found) else _time(found)


def _time(found: Sequence[Observation]) -> str:
    from dissect.timing.estimators import StatisticsMissing, median

    if not any(one.exact for one in found):
        return f"nothing, {duration(min(one.ns for one in found), censored=True)}"
    try:
        middle = median(found)
    except StatisticsMissing:
        exact = sorted(one.ns for one in found if one.exact)
        return f"{duration(exact[0])} to {duration(exact[-1])} (no median without scipy)"
    if middle.ns is None:
        return "median not reached"
    low = "?" if middle.low is None else duration(middle.low)
    high = "unbounded" if middle.high is None else duration(middle.high)
    return f"{duration(middle.ns)} [{low}, {high}]"


def _init(rows: Sequence[Row], clock: Clock) -> str:
    from statistics import median_low

    times = [row.server_init_ns[clock] for row in rows if clock in row.server_init_ns]
    if not times:
        return ""
    return f"{duration(median_low(times))} (n = {len(times)})"
