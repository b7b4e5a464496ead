# SPDX-License-Identifier: GPL-2.0-or-later
"""One module a command, imported only when its command runs or its own `--help` is asked for.

Each has two functions, and is listed with its help line in `dissect.app.main.COMMANDS`::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...
    def run(args: argparse.Namespace) -> int: ...   # an exit code of dissect.app.main

`run` prints through `dissect.app.terminal`, and raises `terminal.Unusable` for input it can do
nothing with.
"""
