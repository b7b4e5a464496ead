# SPDX-License-Identifier: GPL-2.0-or-later
"""SPICE, from the client's RedLinkMess on.

`constants` numbers and names; `link` the link stage; `channels` one module a channel, one class a message;
`session` who may say what, when, on one link. May touch `dissect.stream` and Scapy; does no I/O and reads no
clock.
"""
