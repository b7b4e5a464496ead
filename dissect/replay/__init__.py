# SPDX-License-Identifier: GPL-2.0-or-later
"""The replayer: one side of a recorded conversation again, live, and whether the other answers as it did.

- `plan`: what a recording asks of a replay: steps of the played side, what is expected of the other, the end
- `voices`: what the played side says to this live peer: recorded, adapted or computed
- `credentials`: the answer to a VNC challenge, the SPICE ticket for the key of a live link
- `compare`: live answers against recorded ones, by rules that a user may override
- `player`: pure; bytes, ends and times in, actions out
- `outcome`: what a replay comes to, with its evidence
- `transports`: players on sockets, many at once; the only module here that opens one
- `serve`: the server's side, to clients that connect to a socket that is given
- `packets`: players on TCP segments of our own, on a TUN device

May use `dissection` and what is below it, and the library cryptography inside functions. Not the lab, which
stands above and uses this room.
"""
