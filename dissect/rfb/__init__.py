# SPDX-License-Identifier: GPL-2.0-or-later
"""RFB (RFC 6143, rfbproto.rst), the protocol of VNC.

`constants` numbers and names; `messages` one Scapy class a message; `encodings` how long a rectangle is;
`session` who may say what, when. May touch `dissect.stream` and Scapy; does no I/O and reads no clock.
"""
