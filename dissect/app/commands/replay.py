# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte replay CAPTURE --to HOST:PORT`: play the client's side again, and compare the live answers."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from dissect.app import terminal
from dissect.app.main import DIFFERENT, INCONCLUSIVE, INTERRUPTED, PASS, UNUSABLE
from dissect.app.packets import EPILOG as PACKETS_EPILOG
from dissect.app.packets import add_packet_arguments, open_packets
from dissect.capture import CaptureError
from dissect.replay import telling
from dissect.replay.compare import Rules, RulesError
from dissect.replay.outcome import Outcome, Result
from dissect.replay.plan import Plan, Unplayable, choose, load, sessions
from dissect.replay.player import Options, Pace, Player, Shape
from dissect.replay.transports import (
    NotAllowed,
    Sockets,
    Tape,
    Target,
    play_many,
    play_session,
    raise_file_limit,
    resolve,
    words,
)
from dissect.replay.voices import refusal
from dissect.stream.text import duration, safe

EPILOG = """\
examples:
  firstbyte replay pcaps/gvncviewer--qemu-vnc.pcapng --to 127.0.0.1:5900
  firstbyte replay session.pcapng --to 127.0.0.1:5900 --all-channels --password secret
  firstbyte replay session.pcapng --to unix:/tmp/vnc.sock --early-prefix --through ServerInit

What cannot be literal is made new: the answer to a VNC challenge and the SPICE ticket (--password), the live
session id, ACK, PONG and fences, the security type among those offered, areas cut to the live framebuffer.
Most SPICE servers serve one session at a time, so --all-channels with --parallel disturbs itself there.

--rules FILE.toml: how fields are compared; a table a message, patterns allowed:
  [ServerInit]
  name_string = "exact"                      # or "ignore", "length", "reuse"
  framebuffer_width = { range = [640, 1920] }
  [FramebufferUpdate]
  count = "exact"                            # or "some" (at least one), "any"
  [ending]
  how = "exact"                              # a reset is not a close
"""


def add_play_arguments(parser: ArgumentParser) -> None:
    """The options that replaying either side has."""
    parser.add_argument(
        "capture", metavar="CAPTURE", help="a pcap or pcapng file; - reads one from standard input"
    )
    parser.add_argument("--conversation", type=int, metavar="N", help="play conversation N (from 0)")
    parser.add_argument(
        "--through", metavar="NAME", help="stop after the first message of that name (ServerInit)"
    )
    parser.add_argument(
        "--deadline", type=_seconds, default=30.0, metavar="SECONDS", help="end of each replay (default: 30)"
    )
    parser.add_argument(
        "--pace",
        choices=[str(pace) for pace in Pace],
        default=str(Pace.LOCKSTEP),
        help="lockstep: when what preceded is answered (default); recorded: as then; asap: without waiting",
    )
    parser.add_argument(
        "--speed", type=_positive, default=1.0, metavar="X", help="--pace recorded, X times as fast"
    )
    parser.add_argument(
        "--idle-cap",
        type=_seconds,
        metavar="SECONDS",
        help="the longest pause or silence that is kept (default: 2; with --pace recorded as recorded)",
    )
    parser.add_argument(
        "--silence", type=_seconds, metavar="SECONDS", help="at the end the peer must say nothing for so long"
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--bytewise", action="store_true", help="send one byte at a time")
    shape.add_argument("--coalesce", action="store_true", help="send what is due together in one write")
    shape.add_argument(
        "--split", type=_sizes, metavar="N,N,...", help="send the first bytes in pieces of these sizes"
    )
    parser.add_argument(
        "--gap",
        type=_seconds,
        default=0.0002,
        metavar="SECONDS",
        help="pause between two pieces (default: 0.0002)",
    )
    parser.add_argument("--rules", metavar="FILE.toml", help="how fields are compared (see below)")
    parser.add_argument("--record", metavar="OUT.pcapng", help="write the live conversation to a capture")
    parser.add_argument(
        "--json", action="store_true", help="NDJSON on standard output, and nothing else there"
    )


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_play_arguments(parser)
    parser.add_argument(
        "--to", required=True, metavar="HOST:PORT", help="the live server; also [IPv6]:PORT, unix:PATH"
    )
    parser.add_argument(
        "--all-channels", action="store_true", help="SPICE: replay the whole session, main and its channels"
    )
    parser.add_argument("--password", metavar="TEXT", help="for VNC authentication, or the SPICE ticket")
    parser.add_argument(
        "--early-prefix",
        nargs="?",
        type=_seconds,
        const=0.0,
        metavar="SECONDS",
        help="RFB: send 'RFB ' at once, or after so long a silence; the rest follows the greeting",
    )
    parser.add_argument("--repeat", type=_count, default=1, metavar="N", help="replay N times")
    parser.add_argument("--parallel", type=_count, default=1, metavar="K", help="at most K replays at once")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="connect to HOST though it is not loopback: a replay logs in, types and clicks there as the "
        "recorded client did, and may break what it meets",
    )
    add_packet_arguments(parser)
    parser.epilog = f"{EPILOG}\n{PACKETS_EPILOG}"


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise ArgumentTypeError(f"{text} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"{text} is not a positive number")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(_count(part) for part in text.split(",") if part)
    if not sizes:
        raise ArgumentTypeError("no size is given")
    return sizes


def options_from(args: Namespace) -> Options:
    """How the arguments want a plan to be played. Raises terminal.Unusable."""
    pace = Pace(args.pace)
    gap_ns = round(args.gap * 1e9)
    shape = Shape(gap_ns=gap_ns)
    if args.bytewise:
        shape = Shape("bytes", gap_ns=gap_ns)
    elif args.coalesce:
        shape = Shape("coalesced", gap_ns=gap_ns)
    elif args.split:
        shape = Shape("split", args.split, gap_ns)
    rules = Rules()
    if args.rules is not None:
        try:
            rules = Rules.read(args.rules)
        except RulesError as error:
            raise terminal.Unusable(str(error), source=args.rules) from None
    options = Options(
        pace=pace,
        speed=args.speed,
        shape=shape,
        silence_ns=None if args.silence is None else round(args.silence * 1e9),
        through=args.through,
        rules=rules,
    )
    if args.idle_cap is not None:
        return replace(options, idle_cap_ns=round(args.idle_cap * 1e9))
    return replace(options, idle_cap_ns=None) if pace is Pace.RECORDED else options


def run(args: Namespace) -> int:
    """Replay; 0 where all passed, 1 where an answer differs, 2 where nothing was begun, 3 inconclusive."""
    options = replace(
        options_from(args),
        password=args.password,
        early_prefix_ns=None if args.early_prefix is None else round(args.early_prefix * 1e9),
    )
    try:
        target = Target.parse(args.to)
        plans, problems = load(args.capture, only=None if args.all_channels else args.conversation)
    except NotAllowed as error:
        raise terminal.Unusable(str(error)) from None
    except CaptureError as error:
        raise terminal.Unusable(error.reason, source=args.capture, offset=error.offset) from None
    for problem in problems:
        terminal.complain(problem, source=args.capture)
    try:
        chosen = _choose(plans, args)
    except Unplayable as error:
        return unplayable(error, args.capture)
    if args.through is not None:
        _check_through(chosen, args)
    for plan in chosen:
        why = Player(plan, options, session_id=0).why_not if args.all_channels else _why_not(plan, options)
        if why is not None:
            return _refuse(plan, why, args)
    return asyncio.run(_play(args, chosen, options, target))


def unplayable(error: Unplayable, capture: str) -> int:
    """Say why nothing is played, and list the choices below where there are some; returns the exit code."""
    reason, *choices = str(error).splitlines()
    terminal.complain(reason, source=capture)
    for choice in choices:
        sys.stderr.write(f"{safe(choice)}\n")
    return UNUSABLE


def _check_through(plans: list[Plan], args: Namespace) -> None:
    """Raise terminal.Unusable where --through names what the live side is not expected to send."""
    names = list(dict.fromkeys(item.message.name for plan in plans for item in plan.expected))
    if args.through not in names:
        has = f"it has {', '.join(names)}" if names else "it has none at all"
        why = f"--through: no message {args.through} of the {plans[0].peer} in the recording; {has}"
        raise terminal.Unusable(why, source=args.capture)


def _why_not(plan: Plan, options: Options) -> str | None:
    return refusal(plan, options.password, None) or Player(plan, options).why_not


def _choose(plans: list[Plan], args: Namespace) -> list[Plan]:
    if not args.all_channels:
        return [choose(plans, args.conversation)]
    found = sessions(plans)
    if args.conversation is not None:
        found = [group for group in found if any(plan.index == args.conversation for plan in group)]
    if not found:
        raise Unplayable(
            "no SPICE session whose main channel was let in, so --all-channels has nothing to play"
        )
    if len(found) > 1:
        choices = "\n".join(f"  {group[0].title}, {len(group)} channels" for group in found)
        raise Unplayable(f"{len(found)} SPICE sessions; choose one with --conversation N:\n{choices}")
    return found[0]


def _refuse(plan: Plan, why: str, args: Namespace) -> int:
    """Nothing is sent: say why."""
    if args.json:
        result = Result(plan.capture, plan.sha256, plan.index, Outcome.REFUSED, why, to=args.to)
        print(json.dumps(result.to_json()))
    terminal.complain(f"conversation {plan.index} cannot be replayed: {why}", source=args.capture)
    return UNUSABLE


class _Report:
    """Prints results as they come, and counts them."""

    def __init__(self, args: Namespace) -> None:
        self.args = args
        self.outcomes: Counter[Outcome] = Counter()
        self.slowest_ns = 0
        self.printed = 0

    def add(self, run: int, results: Sequence[Result]) -> None:
        for result in results:
            self.outcomes[result.outcome] += 1
            self.slowest_ns = max(self.slowest_ns, result.lasted_ns)
            if self.args.repeat > 1:
                result.run = run
            if self.args.json:
                print(json.dumps(result.to_json()))
            elif self.args.repeat == 1 or (
                result.outcome is not Outcome.PASS and self.printed < telling.SHOWN
            ):
                self.printed += 1
                print("\n".join(describe(result)))

    def code(self) -> int:
        if set(self.outcomes) == {Outcome.PASS}:
            return PASS
        failed = set(self.outcomes) - {Outcome.PASS, Outcome.INCONCLUSIVE}
        return DIFFERENT if failed else INCONCLUSIVE


async def _play(args: Namespace, plans: list[Plan], options: Options, target: Target) -> int:
    report = _Report(args)
    try:
        target = await resolve(target, args.allow_host, min(args.deadline, 10.0))
    except NotAllowed as error:
        raise terminal.Unusable(str(error)) from None
    except TimeoutError:
        return _unresolved(args, plans, report, "the name was not resolved in time")
    except OSError as error:
        return _unresolved(args, plans, report, words(error))
    sockets = args.parallel * len(plans)
    if raise_file_limit(sockets) < sockets + 16:
        raise terminal.Unusable(f"{sockets} sockets at once are more than this process may open")
    packets = open_packets(args, target)
    tape = Tape(args.record) if args.record and packets is None else None
    stop = asyncio.Event()
    carrier = packets or Sockets(target, tape)

    def interrupt() -> None:
        stop.set()
        carrier.interrupt()

    with suppress(NotImplementedError, ValueError, RuntimeError):  # not in the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)

    async def play(number: int) -> Sequence[Result]:
        if len(plans) > 1 or args.all_channels:
            return await play_session(plans, carrier, options, args.deadline)
        return [await carrier.play(Player(plans[0], options), args.deadline)]

    try:
        with terminal.Progress() as progress:

            def done(number: int, results: Sequence[Result]) -> None:
                progress.clear()
                report.add(number, results)
                progress.update(f"{sum(report.outcomes.values()):,} of {args.repeat * len(plans):,} replayed")

            await play_many(play, args.repeat, args.parallel, done, stop)
    finally:
        if tape is not None:
            tape.close()
        if packets is not None:
            packets.close()
    if args.repeat > 1 and not args.json:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in report.outcomes.most_common())
        print(f"{counts}; slowest {duration(report.slowest_ns)}; at most {carrier.most_open} sockets at once")
    return INTERRUPTED if stop.is_set() else report.code()


def _unresolved(args: Namespace, plans: list[Plan], report: _Report, why: str) -> int:
    plan = plans[0]
    report.add(0, [Result(plan.capture, plan.sha256, plan.index, Outcome.REFUSED, why, to=args.to)])
    return report.code()


def describe(result: Result) -> list[str]:
    """A result as lines for this terminal."""
    return telling.describe(result, terminal.paint)
