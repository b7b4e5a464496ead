# SPDX-License-Identifier: GPL-2.0-or-later
"""The replayer; for now only what has to be computed from a live peer.

- `credentials`: the answer to a VNC challenge, the SPICE ticket for the key of a live link

May use `dissection` and what is below it, and the library cryptography inside functions. Not the lab, which
stands above and uses this room.
"""
