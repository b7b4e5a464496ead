# SPDX-License-Identifier: GPL-2.0-or-later
"""The entry point: finds the command, runs it, and turns what happened into an exit code."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

PASS = 0
DIFFERENT = 1
UNUSABLE = 2
INCONCLUSIVE = 3
# Outside the four, so that no script takes one of these for an answer.
UNTESTED = 125  # for `git bisect run`: of this commit nothing can be said
BROKEN = 70  # EX_SOFTWARE: an exception that nobody foresaw
INTERRUPTED = 130  # 128 + SIGINT, as a shell has it
CLOSED_PIPE = 141  # 128 + SIGPIPE

COMMANDS = {
    "verdict": "who spoke what in each conversation, who noticed, after how long and how many bytes",
    "scan": "the verdicts of many captures, as Parquet files",
    "show": "the messages, gaps and violations of each conversation, in order",
    "render": "the screens of VNC sessions, rebuilt from the stream, as PNG files",
    "replay": "play the recorded client again at a live server, and compare the answers",
    "serve": "play the recorded server again to a live client, and say what the client did",
    "probe": "what a server speaks, and how many wrong bytes it needs before it reacts",
    "matrix": "clients x servers: trials, times, and who noticed what",
    "check": "a regression suite against one or more builds: pass, fail, or look here",
    "plot": "a ladder of one conversation, or the detection times of many",
    "report": "one HTML file to be sent: the answer, the odd ones, ladders, maps, tables to search",
    "export": "the same packets for Wireshark, with what was found as comments on them",
    "record": "start a client and a server of the lab and record their conversation",
    "peers": "the programs the lab can start, and which of them are installed here",
    "demo": "a tour: the bundled captures, then live programs on loopback",
    "schema": "the JSON Schema of what a command prints with --json",
    "completion": "a script that completes firstbyte's command lines in bash, zsh or fish",
}
"""Name and help line; the code is in the module of that name in `dissect.app.commands`."""

PAGED = frozenset({"verdict", "show", "peers", "schema"})
"""Commands that print what they found and no more; on a terminal a pager shows what is longer than it."""

STARTS_PROGRAMS = frozenset({"serve"})
"""Commands that start what follows `--`; its words are in `args.program`."""

COLLECT = 50_000, 20, 50
"""When the garbage collector looks for circles: with Python's own numbers that is a third of the time of a
large capture, for what is read makes none, and what is imported is looked through again and again."""

_EXIT_CODES = """\
exit codes:
  0  pass
  1  the answer is "different" or "fail"
  2  usage, or input that cannot be read
  3  inconclusive
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code. Never raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # No command does linear algebra; numpy would start its threads all the same, for a sixth of the start-up.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(*COLLECT)
    for stream in (sys.stdout, sys.stderr):
        # A name from a capture may hold what the terminal's encoding lacks: show its number, go on.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _through_a_pager(arguments) if _pages(arguments) else _alone(arguments)
        sys.stdout.flush()  # here, where a closed pipe or a full disk still has its exit code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()  # whoever read us has left: `| head`
        return CLOSED_PIPE
    except OSError as error:
        from dissect.app import terminal

        source = None if error.filename is None else os.fsdecode(error.filename)
        terminal.complain(error.strerror or str(error), source=source)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk
            _abandon_stdout()
        return UNUSABLE
    except Exception:
        # Python's own exit code would be 1, which is an answer here.
        import traceback

        traceback.print_exc()
        sys.stderr.write("firstbyte: this is a fault in firstbyte, not in its input: please report it\n")
        return BROKEN
    if argv is None:
        gc.freeze()  # the process is about to end: what is left need not be looked through for circles
    return code


def _pages(arguments: list[str]) -> bool:
    """Whether a pager shows what these arguments print: on a terminal, where it may be long and ends."""
    mine = arguments[: arguments.index("--")] if "--" in arguments else arguments
    # As argparse has it, the beginning of an option is the option.
    if any(
        option.startswith(word) for word in mine if len(word) > 4 for option in ("--no-pager", "--follow")
    ):
        return False
    return bool(PAGED.intersection(mine[:1]) or {"-h", "--help"}.intersection(mine)) and sys.stdout.isatty()


def _through_a_pager(arguments: list[str]) -> int:
    from dissect.app.pager import pager

    with pager():
        code = _alone(arguments)
        sys.stdout.flush()
    return code


def _alone(arguments: list[str]) -> int:
    """`_run`; what tasks together fell over, a closed pipe or a full disk, raised as the one it is."""
    try:
        return _run(arguments)
    except BaseExceptionGroup as group:
        failures = _leaves(group)
        if all(isinstance(failure, OSError) for failure in failures):
            raise failures[0] from None
        raise


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for one in group.exceptions:
        found += _leaves(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def _abandon_stdout() -> None:
    """Send what is still buffered into nothing: Python flushes at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    program: list[str] = []
    if chosen in STARTS_PROGRAMS and "--" in arguments:
        # Taken off here: argparse would look for the capture among the program's words.
        cut = arguments.index("--")
        arguments, program = arguments[:cut], arguments[cut + 1 :]
    alone = arguments[:1] if chosen in COMMANDS and arguments[0] == chosen else []
    parser = build_parser({chosen}, alone or COMMANDS)  # help, and what is said of a mistake, name them all
    try:
        args = parser.parse_args(arguments)
    except SystemExit as end:  # how argparse says that it has printed help, or what is wrong
        return _for_git(arguments, end.code if isinstance(end.code, int) else UNUSABLE)
    args.program = program
    if args.command is None:
        parser.print_help(sys.stderr)
        return UNUSABLE

    from dissect.app import terminal

    terminal.choose_colour(args.color)
    try:
        terminal.choose_zone(getattr(args, "tz", None))
        return int(import_module(f"dissect.app.commands.{args.command}").run(args))
    except terminal.Unusable as error:
        terminal.complain(error.reason, source=error.source, offset=error.offset)
        return _for_git(arguments, UNUSABLE)


def _for_git(arguments: list[str], code: int) -> int:
    """`code`; where `git bisect run` asks, a mistake in the command line is no answer about the commit."""
    return UNTESTED if code == UNUSABLE and "--bisect" in arguments else code


def build_parser(
    chosen: Collection[str | None], among: Iterable[str] = tuple(COMMANDS)
) -> argparse.ArgumentParser:
    """Build the parser of the commands `among` all; only the modules of the `chosen` ones are imported, for
    their arguments.
    """
    parser = argparse.ArgumentParser(
        prog="firstbyte",
        description="What happens when a VNC program meets a SPICE program: dissected, replayed, timed.",
        epilog=_EXIT_CODES,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name in among:
        line = COMMANDS[name]
        command = commands.add_parser(
            name,
            help=line,
            description=line[0].upper() + line[1:] + ".",
            formatter_class=_Help,
        )
        if name in chosen:
            import_module(f"dissect.app.commands.{name}").add_arguments(command)
            if name in PAGED:
                command.add_argument(
                    "--no-pager", action="store_true", help="do not use a pager (nor where NO_PAGER is set)"
                )
            command.add_argument(
                "--color",
                choices=("auto", "always", "never"),
                default="auto",
                help="auto: on a terminal, unless NO_COLOR is set (default)",
            )
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Leaves lines as they are; only paragraphs that are wider than the terminal are filled anew."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from itertools import groupby
        from textwrap import fill

        parts: list[str] = []
        for prose, lines in groupby(text.splitlines(), lambda line: line[:1].strip() != ""):
            found = list(lines)
            if prose and max(map(len, found)) > width:
                found = [fill(" ".join(found), width, break_long_words=False, break_on_hyphens=False)]
            parts += found
        return "\n".join(parts) + "\n"


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: importlib.metadata is slow to import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("firstbyte")
        except PackageNotFoundError:
            number = "(not installed: run from its sources)"
        print(f"firstbyte {number}")  # argparse's own way out is stderr
        parser.exit(PASS)


if __name__ == "__main__":
    sys.exit(main())
