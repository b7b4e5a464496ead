# SPDX-License-Identifier: GPL-2.0-or-later
"""What `from scapy.layers.spice import *` brings after `conf.exts.load("firstbyte")`: the SPICE messages."""

from dissect.spice import agent as _agent
from dissect.spice import carried as _carried
from dissect.spice import channels as _channels
from dissect.spice import images as _images
from dissect.spice import link as _link
from dissect.spice import smartcard as _smartcard
from dissect.spice.channels import base as _base
from dissect.stream.layout import packet_classes as _packet_classes

_classes = _packet_classes(vars(_link))
for _module in (_images, _agent, _carried, _smartcard):
    _classes.update(_packet_classes(vars(_module)))
for _name in _channels.__all__:
    _classes.update(_packet_classes(vars(vars(_channels)[_name])))
_classes.update({_cls.__name__: _cls for _cls in _base.BODIES.values()})
__all__ = list(_classes)
globals().update({name: cls.scapy_class() for name, cls in _classes.items()})
