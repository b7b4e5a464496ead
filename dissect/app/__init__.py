# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: reads arguments, calls the rooms below, prints what they answer.

`main` holds the table of commands and the exit codes, `terminal` everything that is known about
terminals, and `commands` one module a command. Nothing here knows a protocol or a file format.

May import every room below, inside the functions that need it, so that `firstbyte --help` stays as
quick as Python itself.
"""
