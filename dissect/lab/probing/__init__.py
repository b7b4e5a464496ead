# SPDX-License-Identifier: GPL-2.0-or-later
"""How many bytes of the wrong protocol a server needs before it reacts, how soon, and by what.

    stimuli   what is sent: each protocol's first bytes, and the sweeps of single fields
    judging   a transcript -> the reaction, or the earlier trial that caused it (pure)
    prober    the trials on sockets: the one place here with a socket and a clock

A trial is one connection that sends one prefix. Times are of the user-space monotonic clock.
"""
