# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte matrix`: clients x servers, real ones and models, trial by trial, as data and as a table."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.app import terminal
from dissect.app.main import INCONCLUSIVE, INTERRUPTED, PASS
from dissect.app.terminal import Cell, Column, Table
from dissect.stream.text import duration, safe

if TYPE_CHECKING:
    from dissect.lab.lab import Lab
    from dissect.lab.matrix import Folder, Plan
    from dissect.timing.estimators import Median, Share
    from dissect.timing.observations import Clock
    from dissect.timing.results import Row
    from dissect.timing.summaries import Change, Distances, Figure, Summary

SCENARIOS = ("cure", "prefix")

EPILOG = """\
examples:
  firstbyte matrix --scenario cure -o cure/
  firstbyte matrix --scenario prefix -n 10 -o prefix/ --compare model-vnc-quiet,model-vnc-early
  firstbyte matrix --peers real -n 3 --deadline 5 -o run/
  firstbyte matrix --peers gvncviewer,spicy,qemu-spice,qemu-vnc -o run/
  firstbyte matrix --peers spicy,gvncviewer,qemu-spice,qemu-vnc --rtt 0,1,10,50 -o far/
  firstbyte matrix --results new/ --against old/ --json
  firstbyte plot run/ -o heat.svg

--peers: names (see firstbyte peers), "real" (what is installed), "models", "all", or FILE.toml with more.
Models: model-spice-4, model-spice-16, model-vnc, model-vnc-peek, model-vnc-peek-old, model-vnc-quiet,
model-vnc-early, model-vnc-patient, model-spice.

The same command goes on with a run that was interrupted. Every time says its clock: "wire" is the kernel's
stamp in a capture (needs CAP_NET_RAW), "user" a relay's reading in user space by the monotonic clock.

--rtt: client and server in two network namespaces of ours, N trials at each delay, and what each time costs
in round trips and without any. Needs root, or unshare --user --map-root-user --net; nothing of it stays.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--peers", type=_words, metavar="NAME,...", help="the clients and servers, see below")
    what.add_argument(
        "--results", type=Path, metavar="RUN", help="run nothing: summarise a run's folder, NDJSON or Parquet"
    )
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
    parser.add_argument(
        "--rtt",
        type=_delays,
        default=(),
        metavar="MS,...",
        help="also over round trips that take so many ms longer, such as 0,1,10,50",
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
    parser.add_argument(
        "--against",
        type=Path,
        metavar="OLD",
        help="what has changed since the run OLD, pair by pair, each difference with its interval",
    )
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write the rows as Parquet too")
    parser.add_argument(
        "--json",
        action="store_true",
        help="NDJSON on standard output, and nothing else there: a row a trial; with --summary, --results or "
        "--against an object a pair, a line over round trips, a change",
    )
    parser.add_argument("--summary", action="store_true", help="with --json: what the trials come to")
    parser.epilog = EPILOG


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value <= 100_000:
        raise ArgumentTypeError(f"{text} is not between 1 and 100000")
    return value


def _delays(text: str) -> tuple[int, ...]:
    values = [float(word) for word in text.split(",")]
    if not all(0 <= value <= 2000 for value in values) or len(set(values)) < len(values):
        raise ArgumentTypeError(f"{text}: different numbers of ms, up to 2000, are wanted")
    return tuple(round(value * 1e6) for value in values)


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

    if args.results is not None:
        for word in ("output", "rtt", "parquet"):
            if getattr(args, word):
                raise terminal.Unusable(f"--{word} goes with a run, and --results runs nothing")
        rows = _read(args.results)
        code = INCONCLUSIVE if any(row.lost is not None for row in rows) else PASS
        _check_compare(args, {row.client for row in rows}, {row.server for row in rows})
        _tell(rows, args)
        return code
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
    if rows:
        _tell(rows, args)
    return code


def _read(path: Path) -> list[Row]:
    from dissect.timing.results import ResultsError, read_rows

    try:
        rows, problems = read_rows(path)
    except ResultsError as error:
        raise terminal.Unusable(str(error)) from None
    for problem in problems:
        terminal.complain(problem)
    return rows


def _check_compare(args: Namespace, clients: set[str], servers: set[str]) -> None:
    if args.compare is not None:
        two = set(args.compare)
        if len(args.compare) != 2 or len(two) != 2 or not (two <= clients or two <= servers):
            raise terminal.Unusable(
                f"--compare {','.join(args.compare)}: needs two servers or two clients of this matrix"
            )


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
    _check_compare(args, set(clients), set(servers))
    if not clients or not servers:
        raise terminal.Unusable(
            "a matrix needs a client and a server, and these are "
            f"{terminal.plural(len(clients), 'client')} and {terminal.plural(len(servers), 'server')}"
            + (f"; not installed: {', '.join(missing)}" if missing else "")
        )
    plan = Plan(tuple(clients), tuple(servers), args.trials, args.deadline, args.seed, args.cold, args.rtt)
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

    if plan.rtts_ns and args.clock == "user":
        raise terminal.Unusable("--rtt has no user clock: no relay stands between the two sides")
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
    note = "over round trips, wire clock" if plan.rtts_ns else note
    most = duration(round(left * (plan.deadline_s + 2.0) * 1e9))
    forecast = f"at most {most} or so" if left else "all are there"
    sys.stderr.write(f"{terminal.plural(left, 'trial')} of {total}, {note}: {forecast}\n")
    code = PASS
    began, ran = time.monotonic(), 0
    with terminal.Progress() as progress, Matrix(lab, plan, wire=wire) as matrix:
        progress.update(f"0 of {left} trials")
        try:
            for row in matrix.run(done):
                rows = [one for one in rows if (one.pair, one.trial) != (row.pair, row.trial)] + [row]
                if folder is not None:
                    try:
                        folder.add(row)
                    except OSError as error:
                        progress.clear()
                        terminal.complain(
                            f"{error.strerror}: stopped after {ran + 1} of {left} trials, of which the last "
                            "is not kept; the same command goes on",
                            source=str(error.filename),
                        )
                        return rows, INCONCLUSIVE
                if args.json and not args.summary and args.against is None:
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


# --- what it comes to -----------------------------------------------------------------------------------


def _tell(rows: Sequence[Row], args: Namespace) -> None:
    """Print what the trials come to, as asked for."""
    from dissect.timing.estimators import StatisticsMissing
    from dissect.timing.summaries import distances, summaries

    clock = _clock(rows)
    far = any(row.rtt_ns is not None for row in rows)
    try:
        lines = list(distances(rows, clock)) if far else []
        changed = [] if args.against is None else _since(_read(args.against), rows, clock)
        compared = [] if args.compare is None else _compared(rows, clock, *args.compare)
    except StatisticsMissing as error:
        raise terminal.Unusable(str(error)) from None
    found = list(summaries(rows, clock))
    if args.json:
        if args.summary or args.results is not None or args.against is not None:
            for told in [one.to_json() for part in (found, lines, compared, changed) for one in part]:
                print(json.dumps(told))
        return
    if far:
        _print_lines(rows, lines)
    else:
        _print(found)
    _print_circumstances(rows, clock)
    if compared:
        what = f"{args.compare[1]} against {args.compare[0]}"
        servers = args.compare[0] in {row.server for row in rows}
        _print_changes(compared, f"{what}, {clock} clock:", args.compare, at=0 if servers else 1)
    if args.against is not None:
        _print_changes(changed, f"since {args.against}, {clock} clock:")


def _clock(rows: Sequence[Row]) -> Clock:
    """The wire's where there is any: one clock for all figures of a table."""
    wire = any(one.clock == "wire" for row in rows for one in row.observations)
    return "wire" if wire or any("wire" in row.server_init_ns for row in rows) else "user"


def _compared(rows: Sequence[Row], clock: Clock, first: str, second: str) -> list[Change]:
    """The second against the first, at each peer of the other kind."""
    from dissect.timing.summaries import changes, ordered

    pairs = ordered(rows)
    servers = any(first == server for _, server in pairs)
    found: list[Change] = []
    for other in dict.fromkeys(pair[0] if servers else pair[1] for pair in pairs):
        both = [(other, name) if servers else (name, other) for name in (first, second)]
        before, after = ([row for row in rows if row.pair == pair] for pair in both)
        if before and after:
            found += changes(before, after, clock, both[1], before[0].seed)
    return found


def _since(old: Sequence[Row], rows: Sequence[Row], clock: Clock) -> list[Change]:
    """Each pair of both runs, now against then."""
    from dissect.timing.summaries import changes, ordered

    found: list[Change] = []
    for pair in ordered(rows):
        for rtt in dict.fromkeys(row.rtt_ns for row in rows if row.pair == pair):
            before, after = (
                [row for row in run if row.pair == pair and row.rtt_ns == rtt] for run in (old, rows)
            )
            if before and after:
                found += changes(before, after, clock, pair, after[0].seed)
    if not found:
        raise terminal.Unusable(f"no pair has a time by the {clock} clock in both runs")
    return found


# --- for a person -------------------------------------------------------------------------------------


WHO = {"server noticed": "server", "client noticed": "client", "to ServerInit": "ServerInit"}
"""What stands in the table; the rest is in the JSON."""


def _print(found: Sequence[Summary]) -> None:
    """A line a pair, and one below it for each kind of time."""
    figures = [figure for one in found for figure in one.figures if figure.what in WHO]
    widest = max((len(_how(figure)) for figure in figures), default=0)
    for one in found:
        n = len(one.good)
        lost = len(one.rows) - n
        verdicts = " / ".join(one.verdicts) or "nothing measured"
        style = "good" if verdicts == "agreed" else "bad" if "silent" in verdicts else "warn"
        client, server = (safe(name) for name in one.pair)
        print(
            f"{terminal.paint(client, 'client')} → {terminal.paint(server, 'server')}: "
            f"{terminal.paint(verdicts, style)}, n = {n}" + (f" (+{lost} lost)" if lost else "")
        )
        for figure in one.figures:
            if figure.what in WHO:
                print(f"  {WHO[figure.what]:<10}  {_how(figure):<{widest}}  {_time(figure)}")


def _print_lines(rows: Sequence[Row], lines: Sequence[Distances]) -> None:
    from dissect.timing.summaries import handshakes

    table: list[list[str | Cell]] = []
    for one in lines:
        line = one.line
        if line is not None:
            slope = f"{line.slope:.2f} [{line.slope_low:.2f}, {line.slope_high:.2f}]"
            own = f"{duration(line.own_ns)} [{duration(line.own_low)}, {duration(line.own_high)}]"
        else:
            slope = ""
            own = f"{one.hung} without a time" if one.hung else "too few"
        client, server = one.pair
        table.append(
            [Cell(client, "client"), Cell(server, "server"), one.what, f"{len(one.points)}", slope, own]
        )
    columns = [Column("client"), Column("server"), Column("what"), Column("n", align="right")]
    columns += [Column("round trips [95 %]", fit="wrap"), Column("and by itself [95 %]", fit="wrap")]
    print(Table(columns).render(table), end="")
    for added, measured in handshakes(rows).items():
        places = (0, len(measured) // 2, len(measured) * 95 // 100, len(measured) - 1)
        least, middle, most, worst = (duration(measured[place]) for place in places)
        text = (
            f"added {added / 1e6:g} ms: handshakes took {least} at the least, {middle} at the median, "
            f"{most} at 95 %, {worst} at the most (n = {len(measured)})"
        )
        print("\n".join(terminal.wrap(text, terminal.terminal_width())))


def _print_circumstances(rows: Sequence[Row], clock: Clock) -> None:
    deadlines = " and ".join(duration(ns) for ns in sorted({row.deadline_ns for row in rows}))
    seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in rows}))
    warm = "warm" if all(row.warm for row in rows) else "cold"
    loads = sorted(row.load1 for row in rows)
    text = (
        f"medians [95 % band], shares [95 %, Wilson], {clock} clock; n as shown, deadline {deadlines}, "
        f"seed {seeds}, {warm} servers; load average {loads[0]:g} to {loads[-1]:g}"
    )
    print("\n".join(terminal.wrap(text, terminal.terminal_width())))
    for reason, count in _lost(rows).items():
        print(terminal.paint("lost:", "bad"), f"{terminal.plural(count, 'trial')}: {safe(reason)}")


def _print_changes(
    changed: Sequence[Change], title: str, names: Sequence[str] = ("before", "now"), at: int | None = None
) -> None:
    """names: what is compared. at: 0 where it is servers, so that clients are named, 1 where clients."""
    table: list[list[str | Cell]] = []
    for one in changed:
        pair: list[str | Cell] = [Cell(one.pair[0], "client"), Cell(one.pair[1], "server")]
        if one.found is None:
            text, p = f"only {'' if at is None else 'with '}{names[0 if one.n[0] else 1]}", ""
        else:
            gap, p = one.found.difference, _p(one.found.p)
            if gap is None:
                text = one.found.why or ""
            else:
                ends = ["unbounded" if end is None else _signed(end) for end in (gap.low, gap.high)]
                text = f"{_signed(gap.ns or 0)} [{ends[0]}, {ends[1]}]"
        where = pair if at is None else [pair[at]]
        table.append([*where, one.what, f"{one.n[0]}, {one.n[1]}", text, p])
    print(f"\n{title}")
    heads = [Column("client"), Column("server")]
    columns = heads if at is None else [heads[at]]
    columns = [*columns, Column("what"), Column("n")]
    columns += [Column("difference of medians [95 %]", fit="wrap"), Column("log-rank")]
    print(Table(columns).render(table), end="")


def _p(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def _signed(ns: int) -> str:
    return ("+" if ns > 0 else "") + duration(ns)


def _lost(rows: Sequence[Row]) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(f"{r.client} → {r.server}: {r.lost}" for r in rows if r.lost is not None))


def _how(figure: Figure) -> str:
    """How many reacted in which way, with the share's interval."""
    if figure.what == "to ServerInit":
        return f"n = {figure.n}"
    return "; ".join(f"{name} {_share(one)}" for name, one in figure.outcomes.items())


def _share(one: Share) -> str:
    return f"{one.count}/{one.n} [{100 * one.low:.0f}-{100 * one.high:.0f} %]"


def _time(figure: Figure) -> str:
    if not figure.exact:
        return duration(figure.least_ns, censored=True)
    if figure.median is None:
        return f"{duration(figure.least_ns)} to {duration(figure.most_ns)} (no median without scipy)"
    return _median(figure.median)


def _median(middle: Median) -> str:
    if middle.ns is None:
        return "median not reached"
    low = "?" if middle.low is None else duration(middle.low)
    high = "unbounded" if middle.high is None else duration(middle.high)
    return f"{duration(middle.ns)} [{low}, {high}]"
