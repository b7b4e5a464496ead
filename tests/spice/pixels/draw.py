# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws pictures worth encoding on the X display of the environment; `firstbyte record --run` uses it.

python -m tests.spice.pixels.draw [--film FRAMES] [--size WxH]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from tests.rfb.pixels.viewer import pictures
from tests.rfb.pixels.x11 import XClient


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--film", type=int, default=0, metavar="FRAMES", help="so many frames, 30 a second")
    parser.add_argument("--size", default="160x120", metavar="WxH")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    shown = pictures(width, height)
    display = os.environ["DISPLAY"].rpartition(":")[2].partition(".")[0]
    with XClient(int(display), Path(os.environ["XAUTHORITY"])) as x:
        if not options.film:
            for number, picture in enumerate(shown):
                x.draw(picture, 37, 21 * number)
                x.screenshot()
                time.sleep(0.1)
            x.copy(37, 21, 100, 33, width, height)
            x.fill((10, 200, 30), 5, 5, 300, 40)
        for number in range(options.film):
            x.draw(np.roll(shown[0], 5 * number, 1), 40, 40)
            time.sleep(1 / 30)
        x.screenshot()


if __name__ == "__main__":
    main()
