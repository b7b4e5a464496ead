# SPDX-License-Identifier: GPL-2.0-or-later
"""Images and palettes, to which drawing messages point: the descriptor, and header and payload of each type.

Layouts: `spice.proto`, struct Image and what it holds; the headers inside QUIC, LZ and GLZ data are those of
spice-common (quic.c, lz.c) and spice-server (glz-encoder.c, lz4-encoder.c). Numbers inside LZ, GLZ and LZ4
data are big-endian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dissect.spice import constants
from dissect.spice.fields import ByteFlagsField, PointerField, SpicePacket
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    FieldListField,
    IntEnumField,
    IntField,
    LEIntEnumField,
    LEIntField,
    LongField,
    PacketField,
    StrLenField,
    XLELongField,
)
from dissect.stream.layout import LiteralField

PAL_FROM_CACHE = 1 << 1

QUIC_TYPES = {0: "INVALID", 1: "GRAY", 2: "RGB16", 3: "RGB24", 4: "RGB32", 5: "RGBA"}
LZ_TYPES = dict(
    enumerate(
        [
            "INVALID",
            "PLT1_LE",
            "PLT1_BE",
            "PLT4_LE",
            "PLT4_BE",
            "PLT8",
            "RGB16",
            "RGB24",
            "RGB32",
            "RGBA",
            "XXXA",
            "A8",
        ]
    )
)
LZ_HEADER, GLZ_HEADER, QUIC_HEADER, LZ4_HEADER = 28, 33, 20, 2


class Palette(SpicePacket):
    """Colours that the pixels are indices of."""

    name = "Palette"
    fields_desc = [
        XLELongField("unique", 0),
        FieldLenField("num_ents", None, count_of="ents", fmt="<H"),
        FieldListField("ents", [], LEIntField("", 0), count_from=lambda p: p.num_ents, max_count=65535),
    ]


def _palette(*, required: bool = False) -> list[Any]:
    return [
        ConditionalField(XLELongField("palette_id", 0), lambda p: p.flags & PAL_FROM_CACHE),
        ConditionalField(
            PointerField("palette", Palette, required=required), lambda p: not p.flags & PAL_FROM_CACHE
        ),
    ]


def _payload(name: str, header: int) -> Any:
    """What follows a header of so many bytes, which `data_size` counts too."""
    return StrLenField(name, b"", length_from=lambda p: p.data_size - header)


class SpiceBitmap(SpicePacket):
    """Pixels as they are: `y` lines of `stride` bytes."""

    name = "SpiceBitmap"
    fields_desc = [
        ByteEnumField("format", 8, dict(constants.BITMAP_FORMATS)),
        ByteFlagsField("flags", 4, constants.BITMAP_FLAGS),
        LEIntField("x", 0),
        LEIntField("y", 0),
        LEIntField("stride", 0),
        *_palette(),
        StrLenField("pixels", b"", length_from=lambda p: p.stride * p.y),
    ]


class SpiceQuicData(SpicePacket):
    """QUIC: an image coder of SPICE's own (no relation of the transport)."""

    name = "SpiceQuicData"
    fields_desc = [
        LEIntField("data_size", QUIC_HEADER),
        LiteralField("magic", b"QUIC"),
        LEIntField("version", 0),
        LEIntEnumField("quic_type", 4, QUIC_TYPES),
        LEIntField("width", 0),
        LEIntField("height", 0),
        _payload("quic_data", QUIC_HEADER),
    ]


def _lz() -> list[Any]:
    return [
        LiteralField("magic", b"  ZL"),
        IntField("version", 0x10001),
        IntEnumField("lz_type", 8, LZ_TYPES),
        IntField("width", 0),
        IntField("height", 0),
        IntField("stride", 0),
        IntField("top_down", 1),
    ]


class SpiceLzRgbData(SpicePacket):
    """LZ: pixels of 16, 24 or 32 bits."""

    name = "SpiceLzRgbData"
    fields_desc = [LEIntField("data_size", LZ_HEADER), *_lz(), _payload("lz_data", LZ_HEADER)]


class SpiceLzPltData(SpicePacket):
    """LZ: indices of a palette."""

    name = "SpiceLzPltData"
    fields_desc = [
        ByteFlagsField("flags", 4, constants.BITMAP_FLAGS),
        LEIntField("data_size", LZ_HEADER),
        *_palette(required=True),
        *_lz(),
        _payload("lz_data", LZ_HEADER),
    ]


class SpiceGlzRgbData(SpicePacket):
    """GLZ: LZ whose references reach back into other images of a window, the oldest `win_head_dist` ago."""

    name = "SpiceGlzRgbData"
    fields_desc = [
        LEIntField("data_size", GLZ_HEADER),
        LiteralField("magic", b"  ZL"),
        IntField("version", 0x10001),
        ByteField("glz_type", 0x18),
        IntField("width", 0),
        IntField("height", 0),
        IntField("stride", 0),
        LongField("glz_id", 0),
        IntField("win_head_dist", 0),
        _payload("glz_data", GLZ_HEADER),
    ]


class SpiceZlibGlzRgbData(SpicePacket):
    """GLZ data, deflated; `glz_data_size` is its size before."""

    name = "SpiceZlibGlzRgbData"
    fields_desc = [
        LEIntField("glz_data_size", 0),
        FieldLenField("data_size", None, length_of="zlib_data", fmt="<I"),
        _payload("zlib_data", 0),
    ]


class SpiceJpegData(SpicePacket):
    """JPEG."""

    name = "SpiceJpegData"
    fields_desc = [
        FieldLenField("data_size", None, length_of="jpeg_data", fmt="<I"),
        _payload("jpeg_data", 0),
    ]


class SpiceJpegAlphaData(SpicePacket):
    """JPEG of `jpeg_size` bytes, then the alpha channel in LZ."""

    name = "SpiceJpegAlphaData"
    fields_desc = [
        ByteFlagsField("flags", 1, constants.JPEG_ALPHA_FLAGS),
        FieldLenField("jpeg_size", None, length_of="jpeg_data", fmt="<I"),
        LEIntField("data_size", LZ_HEADER),
        StrLenField("jpeg_data", b"", length_from=lambda p: p.jpeg_size),
        *_lz(),
        StrLenField("alpha_data", b"", length_from=lambda p: p.data_size - p.jpeg_size - LZ_HEADER),
    ]


class SpiceLz4Data(SpicePacket):
    """LZ4: blocks, each behind its size, that may refer to those before."""

    name = "SpiceLz4Data"
    fields_desc = [
        LEIntField("data_size", LZ4_HEADER),
        ByteField("top_down", 1),
        ByteEnumField("format", 8, dict(constants.BITMAP_FORMATS)),
        _payload("lz4_blocks", LZ4_HEADER),
    ]


class SpiceSurfaceReference(SpicePacket):
    """Another surface, as it is when this is drawn."""

    name = "SpiceSurfaceReference"
    fields_desc = [LEIntField("surface_id", 0)]


class SpiceImageDescriptor(SpicePacket):
    """What kind of image, how large, and by what number the client may keep it."""

    name = "SpiceImageDescriptor"
    fields_desc = [
        XLELongField("id", 0),
        ByteEnumField("type", 0, dict(constants.IMAGE_TYPES)),
        ByteFlagsField("flags", 0, constants.IMAGE_FLAGS),
        LEIntField("width", 0),
        LEIntField("height", 0),
    ]


PAYLOADS: dict[int, tuple[str, type[SpicePacket]]] = {
    0: ("bitmap", SpiceBitmap),
    1: ("quic", SpiceQuicData),
    100: ("lz_plt", SpiceLzPltData),
    101: ("lz_rgb", SpiceLzRgbData),
    102: ("glz_rgb", SpiceGlzRgbData),
    104: ("surface", SpiceSurfaceReference),
    105: ("jpeg", SpiceJpegData),
    107: ("zlib_glz", SpiceZlibGlzRgbData),
    108: ("jpeg_alpha", SpiceJpegAlphaData),
    109: ("lz4", SpiceLz4Data),
}
"""Image type -> the field and the class of what follows the descriptor; the types not listed have nothing."""


def _is(type_: int) -> Callable[[Any], bool]:
    return lambda p: p.descriptor.type == type_


class SpiceImage(SpicePacket):
    """An image. FROM_CACHE and FROM_CACHE_LOSSLESS have only the descriptor, whose `id` says which."""

    name = "SpiceImage"
    fields_desc = [
        PacketField("descriptor", None, SpiceImageDescriptor),
        *(
            ConditionalField(PacketField(name, None, cls), _is(type_))
            for type_, (name, cls) in PAYLOADS.items()
        ),
    ]


__all__ = [
    "Palette",
    "SpiceBitmap",
    "SpiceGlzRgbData",
    "SpiceImage",
    "SpiceImageDescriptor",
    "SpiceJpegAlphaData",
    "SpiceJpegData",
    "SpiceLz4Data",
    "SpiceLzPltData",
    "SpiceLzRgbData",
    "SpiceQuicData",
    "SpiceSurfaceReference",
    "SpiceZlibGlzRgbData",
]
