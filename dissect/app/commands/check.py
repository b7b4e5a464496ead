# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte check SUITE.toml`: a regression suite against one or more builds."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
import traceback
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from dissect.app import terminal
from dissect.app.main import DIFFERENT, INCONCLUSIVE, INTERRUPTED, PASS, UNTESTED
from dissect.app.terminal import Cell as Box
from dissect.app.terminal import Column, Table
from dissect.stream.text import safe

if TYPE_CHECKING:
    from dissect.check.comparing import Compared
    from dissect.check.judging import Judgement
    from dissect.check.runner import Cell, Pair, Runner, Settings
    from dissect.check.suite import Suite
    from dissect.check.targets import Stop

EVIDENCE = Path("check-evidence")
STYLES = {
    "pass": "good", "recorded": "good", "fail": "bad", "slower": "bad", "error": "bad", "left-out": "dim",
    "not-run": "warn",
}  # fmt: skip

EPILOG = """\
examples:
  firstbyte check suite.toml
  firstbyte check suite.toml --target candidate --junit report.xml --markdown summary.md
  firstbyte check suite.toml --record                  # what the builds do now, as baselines
  firstbyte check suite.toml --accept early-prefix     # this one answer has changed, and is right
  firstbyte check suite.toml --compare stable,candidate
  git bisect run firstbyte check suite.toml --target mine --bisect
  firstbyte check peers --tag short                    # the bundled suite, against what is installed here

docs/check.md describes suites. Times are held to a baseline only on a machine like that of its recording.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("suite", metavar="SUITE", help="a TOML file, or the name of a bundled suite: peers")
    which = parser.add_argument_group("which cases and targets")
    which.add_argument("--case", type=_words, action="extend", default=[], metavar="NAME,...",
                       help="only these; patterns allowed")  # fmt: skip
    which.add_argument("--target", type=_words, action="extend", default=[], metavar="NAME,...",
                       help="only these; patterns allowed")  # fmt: skip
    which.add_argument("--tag", type=_words, action="extend", default=[], metavar="TAG,...",
                       help="only cases that have one of these")  # fmt: skip
    which.add_argument("--captures", type=Path, action="append", default=[], metavar="DIR",
                       help="look for captures there too")  # fmt: skip
    which.add_argument("--list", action="store_true", help="say what would be run, and run nothing")
    how = parser.add_argument_group("how")
    how.add_argument("--parallel", type=_count, metavar="K", help="cases at once (default: one a processor); "
                     "timed ones always run alone")  # fmt: skip
    how.add_argument("--repeat", type=_count, metavar="N", help="run each case N times (default: as it says)")
    how.add_argument("--retries", type=_number, default=0, metavar="N",
                     help="try a failed case N times more; one that passes then is flaky (0)")  # fmt: skip
    how.add_argument("--allow-host", action="append", default=[], metavar="HOST",
                     help="talk to HOST though it is not loopback: replays log in and type")  # fmt: skip
    what = parser.add_argument_group("baselines and builds").add_mutually_exclusive_group()
    what.add_argument("--record", action="store_true", help="write the baselines of what is run")
    what.add_argument("--accept", type=_words, action="extend", default=[], metavar="CASE,...",
                      help="run these, and write their baselines")  # fmt: skip
    what.add_argument("--compare", type=_two, metavar="A,B",
                      help="two targets in turns: what changes from A to B, and the times")  # fmt: skip
    what.add_argument("--bisect", action="store_true",
                      help="exit code for git bisect run: 0 good, 1 bad, 125 cannot be tested")  # fmt: skip
    parser.add_argument("--against", metavar="NAME", help="judge all targets by the baselines of NAME")
    parser.add_argument(
        "--samples", type=_samples, default=20, metavar="N", help="--compare: runs of each (20)"
    )
    out = parser.add_argument_group("reports")
    out.add_argument("-o", "--evidence", type=Path, default=EVIDENCE, metavar="DIR",
                     help=f"where the evidence of failures is kept (default: {EVIDENCE})")  # fmt: skip
    out.add_argument("--no-pictures", action="store_true", help="keep no ladder pictures")
    out.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    out.add_argument("--markdown", type=Path, metavar="FILE",
                     help="write a summary for a pull request, in place of an older one")  # fmt: skip
    out.add_argument("--json", action="store_true", help="NDJSON on standard output, and nothing else there")
    parser.epilog = EPILOG


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _two(text: str) -> tuple[str, str]:
    words = _words(text)
    if len(words) != 2 or words[0] == words[1]:
        raise ArgumentTypeError(f"{text!r}: two targets are compared, A,B")
    return words[0], words[1]


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value <= 100_000:
        raise ArgumentTypeError(f"{text} is not between 1 and 100000")
    return value


def _number(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1000:
        raise ArgumentTypeError(f"{text} is not between 0 and 1000")
    return value


def _samples(text: str) -> int:
    value = _count(text)
    if value < 5:
        raise ArgumentTypeError(f"{text} are too few to compare: 5 or more")
    return value


def run(args: Namespace) -> int:
    """Run the suite; 0 all pass, 1 something failed, 2 nothing could be begun, 3 look here."""
    from dissect.check.baseline import BaselineError
    from dissect.lab.errors import LabError

    try:
        return _run(args)
    except (LabError, BaselineError) as error:
        if args.bisect:  # 2 would be a bad commit for git
            terminal.complain(str(error))
            return UNTESTED
        raise terminal.Unusable(str(error)) from None
    except terminal.Unusable as error:
        if args.bisect:
            terminal.complain(error.reason, source=error.source)
            return UNTESTED
        raise
    except Exception:
        if args.bisect:  # a fault of ours is no answer about the commit
            traceback.print_exc()
            return UNTESTED
        raise


def _run(args: Namespace) -> int:
    from dissect.check import suite as suites
    from dissect.check.runner import Runner

    suite = suites.load(suites.find(args.suite), args.captures)
    pairs = _chosen(suite, args)
    if args.list:
        return _list(pairs, args)
    for path in (args.junit, args.markdown):
        if path is not None and not path.resolve().parent.is_dir():
            raise terminal.Unusable("there is no such directory", source=str(path.parent))
    with tempfile.TemporaryDirectory(prefix="firstbyte-check-") as folder:
        with _stopping() as stop:
            runner = Runner(suite, _settings(args), Path(folder), stop)
            with terminal.Progress() as progress:
                runner.prepare(pairs, lambda done: progress.update(f"{done} of {len(pairs)} read"))
                if args.compare is not None:
                    code = _compare(runner, pairs, args, progress)
                else:
                    code = _check(runner, pairs, args, progress)
        return INTERRUPTED if stop.asked() else code  # which ends a bisection too: it is beyond 127


def _settings(args: Namespace) -> Settings:
    from dissect.check.runner import Settings, default_parallel

    return Settings(
        parallel=args.parallel or default_parallel(),
        runs=args.repeat,
        retries=args.retries,
        record=bool(args.record or args.accept),
        against=args.against,
        allowed=tuple(args.allow_host),
    )


def _chosen(suite: Suite, args: Namespace) -> list[Pair]:
    """The cases and targets that are wanted. Raises terminal.Unusable for names that there are none of."""
    targets = list(args.compare or args.target)
    for words, known, what in (
        ([*args.case, *args.accept], suite.cases, "case"),
        (targets, suite.targets, "target"),
        (args.tag, {tag: None for case in suite.cases.values() for tag in case.tags}, "tag"),
    ):
        for word in words:
            if not any(fnmatchcase(name, word) for name in known):
                names = ", ".join(known) or "none"
                raise terminal.Unusable(f"no {what} {word!r}; there are: {names}", source=suite.file)
    if args.against is not None and not (suite.baselines / args.against).is_dir():
        raise terminal.Unusable(f"no baselines of {args.against!r} in {suite.baselines}", source=suite.file)

    def wanted(name: str, patterns: Sequence[str]) -> bool:
        return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)

    pairs = [
        (case, target)
        for case, target in suite.pairs()
        if wanted(case.name, [*args.case, *args.accept])
        and wanted(target.name, targets)
        and (not args.tag or set(args.tag) & set(case.tags))
    ]
    if not pairs:
        raise terminal.Unusable("nothing is left to run: no case is for these targets", source=suite.file)
    return pairs


def _list(pairs: Sequence[Pair], args: Namespace) -> int:
    rows: list[list[str | Box]] = []
    for case, target in pairs:
        what = Path(case.capture).name if case.capture is not None else "probe"
        if args.json:
            print(json.dumps({"case": case.name, "target": target.name, "what": what, "tags": case.tags,
                              "runs": case.runs, "timed": case.timed, "about": case.about}))  # fmt: skip
        rows.append([case.name, target.name, what, ", ".join(case.tags), case.about])
    if not args.json:
        columns = [Column("case"), Column("target"), Column("what", fit="cut"), Column("tags", fit="wrap")]
        print(Table([*columns, Column("about", fit="wrap", style="dim")]).render(rows), end="")
    return PASS


@contextmanager
def _stopping() -> Iterator[Stop]:
    """Ctrl-C ends what runs, in good order; a second one at once."""
    from dissect.check.targets import Stop

    stop = Stop()

    def interrupt(number: int, frame: object) -> None:
        if stop.asked():
            raise KeyboardInterrupt
        stop.ask()

    before = None
    with suppress(ValueError):  # not in the main thread
        before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


# --- one suite ----------------------------------------------------------------------------------------


def _check(runner: Runner, pairs: Sequence[Pair], args: Namespace, progress: terminal.Progress) -> int:
    from dissect.check import evidence, reporting

    suite = runner.suite
    started_ns, began = time.time_ns(), time.monotonic_ns()
    cells: list[Cell] = []
    progress.update(f"0 of {len(pairs)} cases")
    for cell in runner.run(pairs):
        evidence.keep(cell, args.evidence, pictures=not args.no_pictures)
        cells.append(cell)
        if args.json:
            progress.clear()
            print(json.dumps(reporting.row(cell, suite.name)), flush=True)
        progress.update(f"{len(cells)} of {len(pairs)} cases, {_bad(cells)}: {cell.name}")
    progress.clear()
    order = {(case.name, target.name): place for place, (case, target) in enumerate(pairs)}
    cells.sort(key=lambda cell: order[cell.case.name, cell.target.name])
    if not args.json:
        _print(cells, suite, time.monotonic_ns() - began, args)
    _write(args.junit, lambda: reporting.junit_of(cells, suite.name, started_ns))
    _write(args.markdown, lambda: reporting.markdown_of(cells, suite.name))
    judgements = [cell.judgement for cell in cells]
    return _bisect(judgements) if args.bisect else reporting.exit_code(judgements)


def _bad(cells: Sequence[Cell]) -> str:
    from dissect.check.judging import BAD

    count = sum(cell.status in BAD for cell in cells)
    return f"{count} bad" if count else "all well"


def _write(path: Path | None, text: Callable[[], str]) -> None:
    if path is not None:
        path.write_text(text(), encoding="utf-8", newline="\n")


def _bisect(judgements: Sequence[Judgement]) -> int:
    """Good where all is well, bad where an answer has changed; what did not start says nothing."""
    from dissect.check import reporting
    from dissect.check.judging import Status

    if any(one.status in (Status.FAIL, Status.SLOWER) for one in judgements):
        return DIFFERENT
    return PASS if reporting.exit_code(judgements) == PASS else UNTESTED


def _print(cells: Sequence[Cell], suite: Suite, lasted_ns: int, args: Namespace) -> None:
    """A table of case x target, then what is not well."""
    from dissect.check import reporting
    from dissect.check.judging import GOOD, Status
    from dissect.stream.text import duration

    begun = [cell for cell in cells if cell.status is not Status.NOT_RUN or cell.runs]
    targets = list(dict.fromkeys(cell.target.name for cell in begun))
    by_name = {(cell.case.name, cell.target.name): cell for cell in begun}
    rows: list[list[str | Box]] = []
    for case in dict.fromkeys(cell.case.name for cell in begun):
        of = [by_name.get((case, target)) for target in targets]
        rows.append([case, *("" if cell is None else _box(cell) for cell in of)])
    columns = [Column("case"), *(Column(name) for name in targets)]
    table = Table(columns)
    table.fit(rows)
    if sum(table.widths) + Table.GAP * len(targets) > table.limit:  # a row for each, then
        rows = [[cell.case.name, cell.target.name, _box(cell)] for cell in begun]
        columns = [Column("case"), Column("target"), Column("")]
    if rows:
        print(Table(columns).render(rows), end="")
    for cell in begun:
        if cell.status in GOOD and cell.status is not Status.RECORDED:
            continue
        status = terminal.paint(str(cell.status), STYLES.get(str(cell.status), "warn"))
        print(f"\n{terminal.paint(safe(cell.name), 'head')}: {status}")
        print("\n".join(f"  {line}" for line in terminal.wrap(safe(cell.judgement.reason), _width())))
        for rate in cell.judgement.rates:
            print(f"    {safe(rate)}")
        if cell.evidence:
            first = next(iter(cell.evidence.values()))
            print(f"  evidence: {safe(str(first.parent))}/ ({', '.join(cell.evidence)})")
    for note in dict.fromkeys(note for cell in cells for note in cell.notes):
        print(terminal.paint("note:", "warn"), safe(note))
    for reason, count in _left_out(cells).items():
        print(f"left out: {terminal.plural(count, 'case')}: {safe(reason)}")
    if len(begun) < len(cells):
        print(f"not run: {terminal.plural(len(cells) - len(begun), 'case')}: interrupted")
    versions = [f"{name} {version}" for name, version in _versions(cells).items()]
    judgements = [cell.judgement for cell in cells]
    print(f"\n{safe(suite.name)}: {reporting.counts(judgements)}; {duration(lasted_ns)}"
          + (f"; {safe(', '.join(versions))}" if versions else ""))  # fmt: skip


def _box(cell: Cell) -> Box:
    text = str(cell.status)
    if cell.retried:
        text += f" ({terminal.plural(cell.retried, 'retry', 'retries')})"
    return Box(text, STYLES.get(str(cell.status), "warn"))


def _width() -> int:
    return terminal.terminal_width() - 2


def _left_out(cells: Sequence[Cell]) -> dict[str, int]:
    from collections import Counter

    from dissect.check.judging import Status

    return dict(Counter(cell.judgement.reason for cell in cells if cell.status is Status.LEFT_OUT))


def _versions(cells: Sequence[Cell]) -> dict[str, str]:
    return {cell.target.name: cell.version for cell in cells if cell.version not in (None, "model")}


# --- two builds ---------------------------------------------------------------------------------------


def _compare(runner: Runner, pairs: Sequence[Pair], args: Namespace, progress: terminal.Progress) -> int:
    from dissect.check import comparing, reporting

    suite = runner.suite
    one, other = (suite.targets[name] for name in args.compare)
    names = [case.name for case, _ in pairs]
    cases = [case for case in suite.cases.values() if names.count(case.name) == 2]
    if not cases:
        raise terminal.Unusable(
            f"no case is for both {one.name} and {other.name}",
            source=suite.file,
        )
    found: list[Compared] = []
    progress.update(f"0 of {len(cases)} cases")
    for compared in comparing.interleaved(runner, cases, one, other, args.samples):
        found.append(compared)
        if args.json:
            progress.clear()
            print(json.dumps(reporting.compared_row(compared, suite.name)), flush=True)
        progress.update(f"{len(found)} of {len(cases)} cases: {compared.case.name}")
    progress.clear()
    if not args.json:
        _print_compared(found, args)
    _write(args.markdown, lambda: reporting.markdown_compared(found, suite.name))
    if args.junit is not None:
        sys.stderr.write("firstbyte: --junit has no form for two builds: not written\n")
    return reporting.exit_code([compared.judgement for compared in found]) if found else INCONCLUSIVE


def _print_compared(found: Sequence[Compared], args: Namespace) -> None:
    from dissect.check import comparing, reporting

    rows: list[list[str | Box]] = []
    for compared in found:
        style = STYLES.get(str(compared.status), "warn")
        times = {name: comparing.difference(one) for name, one in compared.times.items()} or {"": ""}
        for place, (name, gap) in enumerate(times.items()):
            first = [compared.case.name, Box(str(compared.status), style)] if not place else ["", ""]
            rows.append([*first, name, gap])
    columns = [Column("case"), Column(""), Column("time")]
    columns.append(Column(f"difference of medians [{reporting.found_confidence(found)}]", fit="wrap"))
    print(f"{safe(found[0].second.name)} against {safe(found[0].first.name)}, in turns:")
    print(Table(columns).render(rows), end="")
    for compared in found:
        if compared.status != "pass":
            print(f"\n{terminal.paint(safe(compared.case.name), 'head')}: {compared.status}")
            reason = safe(compared.judgement.reason)
            print("\n".join(f"  {line}" for line in terminal.wrap(reason, _width())))
            for rate in compared.judgement.rates:
                print(f"    {safe(rate)}")
