# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrays of pixels as picture files. Needs Pillow, so it is imported only where pictures are wanted."""

from __future__ import annotations

import io
from typing import Any


def png(image: Any) -> bytes:
    """A numpy array of height x width x 3 (or 4, with transparency) bytes as a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()
