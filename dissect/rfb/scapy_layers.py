# SPDX-License-Identifier: GPL-2.0-or-later
"""What `from scapy.layers.rfb import *` brings after `conf.exts.load("firstbyte")`: the RFB messages."""

from dissect.rfb import messages as _messages
from dissect.rfb import optional as _optional
from dissect.rfb import security as _security
from dissect.stream.layout import packet_classes as _packet_classes

_classes = _packet_classes({**vars(_messages), **vars(_optional), **vars(_security)})
__all__ = list(_classes)
globals().update(_classes)
