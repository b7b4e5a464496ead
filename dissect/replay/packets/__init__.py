# SPDX-License-Identifier: GPL-2.0-or-later
"""The replayer below TCP's surface: segments of our own, cut, ordered, doubled and lost as a plan says.

- `plan`: what a plan is, its TOML, and the plan that a capture's own segments make
- `endpoint`: the client's end of one TCP connection, pure: segments and times in, segments out
- `segments`: a segment to an IPv4 packet and back, by Scapy's layers
- `device`: a TUN device of ours, gone with the process that made it
- `carrier`: players on endpoints on the device, beside `transports.Sockets`

No kernel socket takes part on our side, so no kernel adds a segment, an ACK or a reset of its own. The TUN
device carries one made-up address; the server's kernel answers it through the device. For a server that
listens on 127.0.0.1 only, packets of that device, and of no other, may be addressed to loopback
(`route_localnet` of the device itself). No firewall rule and no setting of another device is touched, and the
device with its route vanishes when its file is closed, also by SIGKILL.

What it cannot do: IPv6 (the kernel takes packets for ::1 from loopback alone), servers on other machines
(their answers would not find us), and the server's role.
"""
