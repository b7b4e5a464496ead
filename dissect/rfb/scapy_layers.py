# SPDX-License-Identifier: GPL-2.0-or-later
"""What `from scapy.layers.rfb import *` brings after `conf.exts.load("firstbyte")`: the RFB messages."""

from dissect.rfb import contents as _contents
from dissect.rfb import messages as _messages
from dissect.rfb import optional as _optional
from dissect.rfb import security as _security
from dissect.rfb import tightfiles as _tightfiles
from dissect.stream.layout import packet_classes as _packet_classes

_modules = (_messages, _optional, _security, _tightfiles, _contents)
_classes = _packet_classes({name: value for module in _modules for name, value in vars(module).items()})
__all__ = list(_classes)
globals().update({name: cls.scapy_class() for name, cls in _classes.items()})
