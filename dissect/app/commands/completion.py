# SPDX-License-Identifier: GPL-2.0-or-later
"""`firstbyte completion SHELL`: a script that completes firstbyte's command lines."""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping

from dissect.app import terminal
from dissect.app.main import COMMANDS, build_parser

SHELLS = ("bash", "zsh", "fish")

FILES = ("CAPTURE", "FILE", "INPUT", "OUT", "PATH", "SUITE", "PLAN")
"""How the metavars of arguments that are files begin."""

EPILOG = """\
Needs shtab: pip install 'firstbyte[completion]'. The script is made from the commands as they are here, so
make it anew after an update.

examples:
  firstbyte completion bash                # eval "$(firstbyte completion bash)" in ~/.bashrc
  firstbyte completion zsh                 # into a file _firstbyte in a folder of $fpath
  firstbyte completion fish                # into ~/.config/fish/completions/firstbyte.fish
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.epilog = EPILOG


def run(args: Namespace) -> int:
    """Print the script. Raises `terminal.Unusable` where shtab is not installed."""
    try:
        import shtab
    except ImportError:
        raise terminal.Unusable("completion needs shtab: pip install 'firstbyte[completion]'") from None
    parser = build_parser(COMMANDS)
    for action in _actions(parser):
        _complete(action, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(parser, args.shell))
    return 0


def _actions(parser: ArgumentParser) -> Iterator[Action]:
    """Every argument of a parser and of the commands below it."""
    for action in parser._actions:
        yield action
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from _actions(command)


def _complete(action: Action, file: Mapping[str, object], directory: Mapping[str, object]) -> None:
    """Say what an argument is completed with, where its metavar names a kind of thing."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if metavar == "DIR":
        action.complete = directory  # type: ignore[attr-defined]
    elif metavar.startswith(FILES):
        action.complete = file  # type: ignore[attr-defined]
    elif metavar in ("NAME", "CLIENT", "SERVER") and action.dest in ("peer", "client", "server"):
        action.choices = _peers("client" if metavar == "CLIENT" else "server")


def _peers(role: str) -> list[str]:
    """The lab's programs of one role."""
    from dissect.lab.peers import load_peers

    return sorted(name for name, peer in load_peers().items() if peer.role == role)
