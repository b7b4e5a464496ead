# SPDX-License-Identifier: GPL-2.0-or-later
"""The Extended Clipboard: what a cut text of negative length holds.

rfbproto.rst "Extended Clipboard Pseudo-encoding".
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

ACTIONS = {24: "caps", 25: "request", 26: "peek", 27: "notify", 28: "provide"}
FORMATS = {0: "text", 1: "rtf", 2: "html", 3: "dib", 4: "files"}

DATA_LIMIT = 1 << 20
"""Bytes of clipboard data that are inflated at most."""


def decode(flags: int, data: bytes) -> tuple[dict[str, Any], str | None]:
    """What the message says, as fields, and what is wrong with it (None: nothing).

    The data of a format is text where the format is, else only its size is given.
    """
    actions = [name for bit, name in ACTIONS.items() if flags >> bit & 1]
    formats = [FORMATS.get(bit, f"format {bit}") for bit in range(16) if flags >> bit & 1]
    shown: dict[str, Any] = {"actions": actions, "formats": formats}
    if "caps" in actions:
        if len(data) < 4 * len(formats):
            return shown, f"{len(formats)} formats, but only {len(data)} bytes of their sizes"
        sizes = struct.unpack_from(f">{len(formats)}I", data)
        shown["sizes"] = dict(zip(formats, sizes, strict=True))
    elif "provide" in actions:
        return _provided(shown, formats, data)
    return shown, None


def _provided(shown: dict[str, Any], formats: list[str], data: bytes) -> tuple[dict[str, Any], str | None]:
    try:
        plain = zlib.decompressobj().decompress(data, DATA_LIMIT)
    except zlib.error as error:
        return shown, f"clipboard data: {error}"
    at = 0
    for name in formats:
        size = int.from_bytes(plain[at : at + 4], "big")
        item = plain[at + 4 : at + 4 + size]
        if len(plain) < at + 4 or len(item) < size:
            if len(plain) == DATA_LIMIT:
                return shown, f"clipboard data: more than the {DATA_LIMIT} bytes that are inflated"
            return shown, f"clipboard data ends within {name}"
        shown[name] = (
            item.rstrip(b"\0").decode("utf-8", "backslashreplace") if name == "text" else f"{size} bytes"
        )
        at += 4 + size
    return shown, None
