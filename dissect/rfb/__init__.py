# SPDX-License-Identifier: GPL-2.0-or-later
"""RFB (RFC 6143, rfbproto.rst), the protocol of VNC.

`constants` numbers and names; `messages`, `security`, `optional` one Scapy class a message; `encodings` the
layout of every rectangle; `clipboard` what an extended cut text holds; `session` who may say what, when;
`pixels` the screen. May touch `dissect.stream` and Scapy; does no I/O and reads no clock.
"""
