# SPDX-License-Identifier: GPL-2.0-or-later
"""What an RFB session shows: rectangles become pixels, updates become a screen.

- `colours`: PIXEL, TPIXEL and CPIXEL to numbers, numbers to red, green and blue
- `rectangles`: one rectangle decoded, from what the walker of its encoding steps over
- `lzo`: the compression of the Ultra encoding; `wavelets`: those of ZYWRLE
- `screen`: `Renderer`, which takes the records of a session in order and keeps the screen

Bytes come in, arrays and PNGs go out; no file, no clock. Only here may RFB import numpy and Pillow, so it is
imported only where pixels are wanted. The layout of an encoding is in `dissect.rfb.encodings`, once.
"""
