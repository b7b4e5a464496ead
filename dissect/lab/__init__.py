# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: programs that speak RFB and SPICE, started, watched, recorded and cleaned away.

What lives here:

- `peers.toml` and `peers`: the table of real programs; how each is started, when it is ready, its version
- `guard`: a small process beside every peer, which leaves nothing behind whatever happens
- `processes`: start one program under a guard, with its output and the times of it
- `lab`: `Lab`, which gives peers a port, a display and a directory, and knows when they are ready
- `record`: the conversation of a client with a server, to pcapng; seen on the wire or through a relay

Traffic stays on loopback. This room may use `replay`, `timing` and what is below them; the guard imports
nothing but the standard library. Import the modules by name: importing this package alone costs nothing.
"""
