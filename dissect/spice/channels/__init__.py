# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said once a SPICE link stands: one module a channel (or two of a kind), one class a message body.

`base` holds the data headers, the registry and the messages of every channel. Importing this package imports
them all, so that `base.body` finds them. A message that has a name but no class is framed by its size and
said to be not decoded.
"""

from dissect.spice.channels import audio, base, cursor, devices, display, inputs, main

__all__ = ["audio", "base", "cursor", "devices", "display", "inputs", "main"]
