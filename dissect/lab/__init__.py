# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: programs that speak RFB and SPICE, started, watched, recorded and cleaned away.

What lives here:

- `peers.toml` and `peers`: the table of real programs; how each is started, when it is ready, its version
- `lab`: `Lab`, which gives peers a port, a display and a directory, and knows when they are ready
- `processes`, `guard`: one program with its output; the small process beside it that leaves nothing behind
- `ports`: free ports, and who listens, without connecting
- `record`: the conversation of a client with a server, to pcapng; seen on the wire (`wire`) or passed
  through a relay (`relay`), both a `recorder`
- `probing`: how many wrong bytes a server needs, and what it does then
- `matrix`: clients x servers, trial by trial, on two clocks, resumable
- `models`: peers made of the sessions of this project, for what no installed program does

Traffic stays on loopback. This room may use `replay`, `timing` and what is below them; the guard imports
nothing but the standard library. Import the modules by name: importing this package alone costs nothing.
"""
