# SPDX-License-Identifier: GPL-2.0-or-later
"""Firstbyte: what happens when a VNC program meets a SPICE program.

The rooms, each with its own docstring, import downwards only::

    app -> lab -> replay | timing | report -> dissection -> rfb | spice | capture -> stream

Other distributions install packages of their own under the name `dissect`, as a namespace without
an `__init__`. So this file imports nothing of ours, nothing depends on its having run, and it puts
the others' directories on its path.
"""

from __future__ import annotations

import pkgutil

TYPE_CHECKING = False  # type checkers take it for true; `typing` itself is not worth its import here
if TYPE_CHECKING:
    from scapy.config import ScapyExt

__path__ = pkgutil.extend_path(__path__, __name__)


def scapy_ext(ext: ScapyExt) -> None:
    """Make the layers known to Scapy, as `scapy.layers.rfb` and `scapy.layers.spice`.

    Called by Scapy for `conf.exts.load("firstbyte")`. Nothing is imported until somebody imports
    one of the two.
    """
    from importlib.metadata import version
    from pathlib import Path

    rooms = Path(__file__).parent
    ext.config("firstbyte", version("firstbyte"))
    for protocol in ("rfb", "spice"):
        ext.register(name=protocol, mode=ext.MODE.LAYERS, path=rooms / protocol / "scapy_layers.py")
