# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte probe HOST:PORT`: what a server speaks, and how many wrong bytes it needs before it reacts."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.app import terminal
from dissect.app.main import DIFFERENT, INCONCLUSIVE, PASS
from dissect.app.terminal import Cell, Column, Table
from dissect.stream.text import duration, safe

if TYPE_CHECKING:
    from dissect.lab.lab import Running
    from dissect.lab.probing.prober import Address, Plan, Prober, Result

PROTOCOLS = ("rfb", "spice", "tls", "http", "ssh", "zeros", "random")
SWEEPS = ("spice", "rfb")

EPILOG = """\
examples:
  firstbyte probe 127.0.0.1:5900
  firstbyte probe --peer x11vnc --protocols spice,tls
  firstbyte probe --peer qemu-spice --sweep spice --lengths 0,4,16

Each trial is a connection of its own that sends a prefix at once. Times are of the user-space monotonic
clock, from the sending to the first sign, the median of --repeat trials that ran alone. "None before the
deadline" is a bound, not a time.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("server", nargs="?", metavar="HOST:PORT", help="the server; also [IPv6]:PORT")
    parser.add_argument(
        "--peer", metavar="NAME", help="let the lab start this server, and restart it where a trial breaks it"
    )
    parser.add_argument(
        "--peers", type=Path, action="append", default=[], metavar="FILE", help="a TOML file with more peers"
    )
    parser.add_argument(
        "--deadline", type=_seconds, default=2.0, metavar="SECONDS", help="wait so long for a reaction (2)"
    )
    parser.add_argument("--parallel", type=_count, metavar="K", help="at most K trials at once")
    parser.add_argument(
        "--protocols",
        type=_words,
        default=PROTOCOLS,
        metavar="NAME,...",
        help=f"what to send (default: {','.join(PROTOCOLS)})",
    )
    parser.add_argument(
        "--lengths", type=_lengths, metavar="N,N,...", help="only prefixes of these lengths (default: all)"
    )
    parser.add_argument(
        "--sweep",
        action="append",
        choices=SWEEPS,
        default=[],
        help="spice: each field of the link message on its own; rfb: versions",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random bytes (0)")
    parser.add_argument(
        "--repeat", type=_count, default=3, metavar="N", help="trials that a time is from (3)"
    )
    parser.add_argument(
        "--delay", type=_seconds0, default=0.0, metavar="SECONDS", help="send so long after connecting (0)"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="probe HOST though it is not loopback: hundreds of connections that may hang or crash it",
    )
    parser.add_argument(
        "--json", action="store_true", help="one object on standard output, and nothing else there"
    )
    parser.epilog = EPILOG


def _seconds0(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def _seconds(text: str) -> float:
    value = _seconds0(text)
    if not value:
        raise ArgumentTypeError("no reaction can come in 0 s")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value <= 4096:
        raise ArgumentTypeError(f"{text} is not between 1 and 4096")
    return value


def _words(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(text.split(",")))
    for word in words:
        if word not in PROTOCOLS:
            raise ArgumentTypeError(f"{word!r} is not one of {', '.join(PROTOCOLS)}")
    return words


def _lengths(text: str) -> tuple[int, ...]:
    values = tuple(int(word) for word in text.split(","))
    if min(values) < 0:
        raise ArgumentTypeError("a length is not negative")
    return values


def run(args: Namespace) -> int:
    """Probe and report: 1 where the server was hung or crashed, 3 where a part could not be measured."""
    from dissect.lab.errors import LabError
    from dissect.lab.probing.prober import Plan, Unreachable, probe
    from dissect.replay.transports import NotAllowed

    if (args.server is None) == (args.peer is None):
        raise terminal.Unusable("name the server, as HOST:PORT or with --peer NAME (one of the two)")
    plan = Plan(
        deadline_s=args.deadline,
        at_once=args.parallel,
        protocols=args.protocols,
        lengths=args.lengths,
        sweeps=tuple(dict.fromkeys(args.sweep)),
        seed=args.seed,
        repeat=args.repeat,
        delay_s=args.delay,
    )
    with ExitStack() as stack, terminal.Progress() as progress:
        try:
            prober = _prober(args, plan, stack, progress)
            result = probe(prober)
        except NotAllowed as error:
            raise terminal.Unusable(str(error)) from None
        except Unreachable as error:
            raise terminal.Unusable(f"no connection: {error}", source=args.server or args.peer) from None
        except LabError as error:
            raise terminal.Unusable(str(error)) from None
        progress.clear()
    if args.json:
        print(json.dumps(result.to_json()))
    else:
        _print(result)
    if any(one.kind in ("hung", "crashed") for one in result.findings):
        return DIFFERENT
    return INCONCLUSIVE if result.not_run or result.unsettled else PASS


def _prober(args: Namespace, plan: Plan, stack: ExitStack, progress: terminal.Progress) -> Prober:
    from dissect.lab.probing.prober import Prober

    def announce(text: str) -> None:
        progress.clear()
        sys.stderr.write(f"probing {args.server or args.peer}: {text}\n")

    def tick(done: int, total: int) -> None:
        progress.update(f"{done} of {total} trials")

    if args.peer is not None:
        from dissect.lab.lab import Lab

        served = _Served(stack.enter_context(Lab(files=args.peers)), args.peer)
        return Prober(
            f"{served.running.host}:{served.running.port}",
            served.address,
            plan,
            restart=served.restart,
            died=served.died,
            announce=announce,
            progress=tick,
        )
    from dissect.replay.transports import Target, resolve, words

    target = Target.parse(args.server)
    if target.path is not None:
        from dissect.replay.transports import NotAllowed

        raise NotAllowed(f"{args.server!r}: a probe needs TCP, HOST:PORT")
    try:
        resolved = asyncio.run(resolve(target, args.allow_host))
    except OSError as error:
        raise terminal.Unusable(f"no connection: {words(error)}", source=args.server) from None
    assert resolved.address is not None
    return Prober(args.server, resolved.address, plan, announce=announce, progress=tick)


class _Served:
    """A server of the lab that can be started again on its port."""

    def __init__(self, lab: object, name: str) -> None:
        from dissect.lab.lab import Lab

        assert isinstance(lab, Lab)
        self.lab, self.name = lab, name
        self.running: Running = lab.start(name)

    @property
    def address(self) -> Address:
        import socket

        assert self.running.port is not None
        return (int(socket.AF_INET), (self.running.host, self.running.port))

    def died(self) -> str | None:
        if self.running.alive:
            return None
        ended = self.running.exited
        if ended is None:
            return "has ended"
        signal = f"was killed by signal {-ended.status}"
        return signal if ended.status < 0 else f"has ended with exit code {ended.status}"

    def restart(self) -> str | None:
        from dissect.lab.errors import LabError

        port = self.running.port
        self.running.stop(0.5)
        try:
            self.running = self.lab.start(self.name, port=port)
        except LabError as error:
            return str(error)
        return None


# --- for a person -------------------------------------------------------------------------------------


def _print(result: Result) -> None:
    from dissect.dissection.recognise import TITLES
    from dissect.stream.text import quoted

    base = result.baseline
    print(f"{result.server} speaks {TITLES[result.speaks]}", end="")
    if base.greeting_ns is None:
        print("; says nothing before it is spoken to")
    else:
        said = quoted(base.greeting.rstrip(), 40)
        print(f"; greets {duration(base.greeting_ns)} after the connection: {said}")
    rows: list[list[str | Cell]] = []
    for name in result.plan.protocols:
        rows += _rows(result, name)
    columns = [Column("sent"), Column("bytes", align="right"), Column("reaction")]
    columns += [Column("time", align="right"), Column("what", fit="wrap", style="dim")]
    print(Table(columns).render(rows), end="")
    for name in result.plan.sweeps:
        print(f"\nsweep of {TITLES[name]}:")
        swept = [t for t in result.trials if t.phase == "sweep" and t.stimulus.protocol == name]
        lines: list[list[str | Cell]] = [
            [
                trial.stimulus.label,
                _by(trial.reaction.by, trial.reaction.tainted),
                duration(trial.reaction.ns, censored=trial.reaction.by is None),
                _what(trial.reaction.detail, trial.reaction.then, trial.reaction.by),
            ]
            for trial in swept
        ]
        columns = [Column("field"), Column("reaction"), Column("time", align="right")]
        print(Table([*columns, Column("what", fit="wrap", style="dim")]).render(lines), end="")
    print("\nbytes to detection:", end=" ")
    shown = []
    for name in result.plan.protocols:
        if name != result.speaks:
            seen = result.detection(name)
            if name in result.not_measured:
                shown.append(f"{name} not measured")
                continue
            shown.append(f"{name} none" if seen is None else f"{name} {seen[0]} ({duration(seen[2])})")
    print(", ".join(shown) or "nothing wrong was sent")
    print(
        f"times: user-space monotonic clock, median of {result.plan.repeat} alone; deadline "
        f"{result.plan.deadline_s:g} s; seed {result.plan.seed}; "
        f"{terminal.plural(len(result.trials), 'trial')} in {result.seconds:.1f} s"
    )
    for finding in result.findings:
        bad = finding.kind in ("hung", "crashed", "stopped")
        print(terminal.paint(f"{finding.kind}:", "bad" if bad else "warn"), safe(finding.text))
    if result.not_run:
        print(f"{terminal.plural(result.not_run, 'trial')} not run")


def _rows(result: Result, name: str) -> list[list[str | Cell]]:
    """Lengths with the same reaction in one row."""
    from itertools import groupby

    rows: list[list[str | Cell]] = []
    found = sorted(result.table(name).items())
    for (by, detail, then, tainted), group in groupby(
        found, key=lambda item: (item[1].by, item[1].detail, item[1].then, item[1].tainted)
    ):
        several = list(group)
        first, last = several[0][0], several[-1][0]
        times = sorted(reaction.ns for _, reaction in several)
        time = duration(times[0], censored=True)
        if by is not None:
            time = duration(times[0])
            if len(times) > 1:
                time += f" to {duration(times[-1])}"
        sizes = str(first) if first == last else f"{first}-{last}" if _all(several) else f"{first}..{last}"
        rows.append([name, sizes, _by(by, tainted), time, _what(detail, then, by)])
    return rows


def _all(several: Sequence[tuple[int, object]]) -> bool:
    return several[-1][0] - several[0][0] + 1 == len(several)


def _by(by: str | None, tainted: str | None) -> Cell:
    if tainted:
        return Cell(f"not measured ({tainted})", "warn")
    if by is None:
        return Cell("none before the deadline", "bad")
    return Cell({"error-reply": "error reply"}.get(by, by), "good" if by != "answer" else "")


def _what(detail: str, then: str | None, by: str | None) -> str:
    end = f"then {then}" if then is not None and then != by else ""
    return ", ".join(part for part in (detail, end) if part)
