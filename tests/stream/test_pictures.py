# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrays as PNG files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dissect.stream.pictures import png


@pytest.mark.parametrize("channels", [3, 4])
def test_a_picture_is_the_array(channels: int) -> None:
    array = np.arange(5 * 7 * channels, dtype=np.uint8).reshape(5, 7, channels)
    with Image.open(io.BytesIO(png(array))) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), array)
