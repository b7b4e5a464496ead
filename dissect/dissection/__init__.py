# SPDX-License-Identifier: GPL-2.0-or-later
"""What a conversation is: who spoke what, message by message, and who noticed.

`recognise` names a stream by its first bytes; `dissector` drives the sessions that fit, `patient` one that
reads many messages at a time; `order` puts records in order; `verdict` judges; `reading` goes from the events
of a capture to finished conversations. May touch `dissect.capture`, `dissect.rfb`, `dissect.spice` and
`dissect.stream`; reads no clock and opens no file.
"""
