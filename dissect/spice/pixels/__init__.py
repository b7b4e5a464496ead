# SPDX-License-Identifier: GPL-2.0-or-later
"""What a SPICE display channel shows: images become pixels, drawing messages become a screen.

- `lz`: LZ and GLZ data to the bytes of their pixels
- `quic`: QUIC data to pixels
- `images`: an image of any type, as its message holds it, to red, green, blue and alpha
- `scaling`, `compose`: an image in another size, and over what is there
- `lines`, `glyphs`: which pixels a path and a text cover
- `screen`: `Renderer`, which takes the records of a display channel in order and keeps its surfaces

Bytes come in, arrays and PNGs go out; no file, no clock. Only here may SPICE import numpy and Pillow, so it
is imported only where pixels are wanted. Layouts are in `dissect.spice.images` and `channels.display`, once.
"""
