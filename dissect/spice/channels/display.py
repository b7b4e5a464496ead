# SPDX-License-Identifier: GPL-2.0-or-later
"""The display channel. Layouts: `spice.proto`, DisplayChannel and the structs that it uses.

Rectangles are top, left, bottom, right. Coordinates of paths are fixed-point numbers, with 4 bits after
the point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dissect.spice import constants
from dissect.spice.channels.base import ChannelWait, SpiceMessage, empty
from dissect.spice.fields import (
    ByteFlagsField,
    LEIntFlagsField,
    LEShortFlagsField,
    PointedField,
    PointerField,
    SpicePacket,
)
from dissect.spice.images import SpiceImage
from dissect.stream.fields import (
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldLenField,
    FieldListField,
    LEIntEnumField,
    LEIntField,
    LELongField,
    LEShortField,
    LESignedIntField,
    LESignedLongField,
    LESignedShortField,
    PacketField,
    PacketListField,
    StrLenField,
    XLEIntField,
    XLELongField,
)
from dissect.stream.layout import RestField

MOST = 1 << 24
"""Items of one list at most, for Scapy's own dissection."""


# --- Structures


class Point(SpicePacket):
    """A place."""

    name = "Point"
    fields_desc = [LESignedIntField("x", 0), LESignedIntField("y", 0)]


class Point16(SpicePacket):
    """A place near the origin."""

    name = "Point16"
    fields_desc = [LESignedShortField("x", 0), LESignedShortField("y", 0)]


class PointFix(SpicePacket):
    """A place in sixteenths of a pixel."""

    name = "PointFix"
    fields_desc = [LESignedIntField("x", 0), LESignedIntField("y", 0)]


class Rect(SpicePacket):
    """A rectangle; bottom and right are outside it."""

    name = "Rect"
    fields_desc = [
        LESignedIntField("top", 0),
        LESignedIntField("left", 0),
        LESignedIntField("bottom", 0),
        LESignedIntField("right", 0),
    ]


class Transform(SpicePacket):
    """The first two rows of a 3 x 3 matrix, 16.16 fixed-point."""

    name = "Transform"
    fields_desc = [LEIntField(name, 0) for name in ("t00", "t01", "t02", "t10", "t11", "t12")]


class Clip(SpicePacket):
    """What may be drawn on: everything, or these rectangles."""

    name = "Clip"
    fields_desc = [
        ByteEnumField("type", 0, dict(constants.CLIP_TYPES)),
        ConditionalField(FieldLenField("num_rects", None, count_of="rects", fmt="<I"), lambda p: p.type == 1),
        ConditionalField(
            PacketListField("rects", [], Rect, count_from=lambda p: p.num_rects, max_count=MOST),
            lambda p: p.type == 1,
        ),
    ]


class DisplayBase(SpicePacket):
    """What every drawing message begins with: where."""

    name = "DisplayBase"
    fields_desc = [
        LEIntField("surface_id", 0),
        PacketField("box", None, Rect),
        PacketField("clip", None, Clip),
    ]


class Brush(SpicePacket):
    """What to fill with: nothing, a colour, or an image that repeats."""

    name = "Brush"
    fields_desc = [
        ByteEnumField("type", 1, dict(constants.BRUSH_TYPES)),
        ConditionalField(XLEIntField("color", 0), lambda p: p.type == 1),
        ConditionalField(PointerField("pat", SpiceImage, required=True), lambda p: p.type == 2),
        ConditionalField(PacketField("pos", None, Point), lambda p: p.type == 2),
    ]


class QMask(SpicePacket):
    """Which pixels to touch: those of a bitmap of one bit, or all."""

    name = "QMask"
    fields_desc = [
        ByteFlagsField("flags", 0, constants.MASK_FLAGS),
        PacketField("pos", None, Point),
        PointerField("bitmap", SpiceImage),
    ]


class LineAttr(SpicePacket):
    """How a line is drawn; the lengths of a dashed one's pieces in sixteenths of a pixel."""

    name = "LineAttr"
    fields_desc = [
        ByteFlagsField("flags", 0, constants.LINE_FLAGS),
        ConditionalField(ByteField("style_nseg", 0), lambda p: p.flags & 8),
        ConditionalField(
            PointerField(
                "style",
                FieldListField(
                    "style", [], LESignedIntField("", 0), count_from=lambda p: p.style_nseg, max_count=255
                ),
            ),
            lambda p: p.flags & 8,
        ),
    ]


class PathSegment(SpicePacket):
    """One piece of a path."""

    name = "PathSegment"
    fields_desc = [
        ByteFlagsField("flags", 3, constants.PATH_FLAGS),
        FieldLenField("count", None, count_of="points", fmt="<I"),
        PacketListField("points", [], PointFix, count_from=lambda p: p.count, max_count=MOST),
    ]


class Path(SpicePacket):
    """Lines and Bezier curves."""

    name = "Path"
    fields_desc = [
        FieldLenField("num_segments", None, count_of="segments", fmt="<I"),
        PacketListField("segments", [], PathSegment, count_from=lambda p: p.num_segments, max_count=MOST),
    ]


def _glyph(bits: int) -> list[Any]:
    """A glyph of so many bits a pixel, its lines padded to bytes."""
    return [
        PacketField("render_pos", None, Point),
        PacketField("glyph_origin", None, Point),
        LEShortField("width", 0),
        LEShortField("height", 0),
        StrLenField("raster", b"", length_from=lambda p: (p.width * bits + 7) // 8 * p.height),
    ]


class RasterGlyphA1(SpicePacket):
    """A glyph, 1 bit a pixel."""

    name = "RasterGlyphA1"
    fields_desc = _glyph(1)


class RasterGlyphA4(SpicePacket):
    """A glyph, 4 bits a pixel."""

    name = "RasterGlyphA4"
    fields_desc = _glyph(4)


class RasterGlyphA8(SpicePacket):
    """A glyph, 8 bits a pixel."""

    name = "RasterGlyphA8"
    fields_desc = _glyph(8)


def _glyphs(name: str, bit: int, cls: type[SpicePacket]) -> Any:
    return ConditionalField(
        PacketListField(name, [], cls, count_from=lambda p: p.length, max_count=65535),
        # Only one of the three flags is set; where a peer sets more, the first counts, as in spice-gtk.
        lambda p: p.flags & 7 & -(p.flags & 7) == bit,
    )


class String(SpicePacket):
    """Glyphs; only one of the three lists is there, as `flags` says."""

    name = "String"
    fields_desc = [
        LEShortField("length", 0),
        ByteFlagsField("flags", 1, constants.STRING_FLAGS),
        _glyphs("glyphs_a1", 1, RasterGlyphA1),
        _glyphs("glyphs_a4", 2, RasterGlyphA4),
        _glyphs("glyphs_a8", 4, RasterGlyphA8),
    ]


class StreamDataHeader(SpicePacket):
    """Which stream, and when to show it."""

    name = "StreamDataHeader"
    fields_desc = [LEIntField("id", 0), LEIntField("multi_media_time", 0)]


class ResourceID(SpicePacket):
    """Something in the client's cache."""

    name = "ResourceID"
    fields_desc = [ByteEnumField("type", 1, dict(constants.RESOURCE_TYPES)), XLELongField("id", 0)]


class Head(SpicePacket):
    """A monitor: which part of which surface it shows."""

    name = "Head"
    fields_desc = [
        LEIntField(name, 0) for name in ("monitor_id", "surface_id", "width", "height", "x", "y", "flags")
    ]


# --- Messages of the server


class SpiceMsgDisplayMode(SpiceMessage):
    """Server: the screen's size and depth (servers that know no surfaces)."""

    name = "SPICE_MSG_DISPLAY_MODE"
    fields_desc = [LEIntField("x_res", 0), LEIntField("y_res", 0), LEIntField("bits", 32)]


def _base() -> Any:
    return PacketField("base", None, DisplayBase)


class SpiceMsgDisplayCopyBits(SpiceMessage):
    """Server: copy within the surface, from `src_pos` to the box."""

    name = "SPICE_MSG_DISPLAY_COPY_BITS"
    fields_desc = [_base(), PacketField("src_pos", None, Point)]


class SpiceMsgDisplayInvalList(SpiceMessage):
    """Server: forget these."""

    name = "SPICE_MSG_DISPLAY_INVAL_LIST"
    fields_desc = [
        FieldLenField("count", None, count_of="resources", fmt="<H"),
        PacketListField("resources", [], ResourceID, count_from=lambda p: p.count, max_count=65535),
    ]


class SpiceMsgDisplayInvalAllPixmaps(SpiceMessage):
    """Server: forget all images, once these messages of other channels are done."""

    name = "SPICE_MSG_DISPLAY_INVAL_ALL_PIXMAPS"
    fields_desc = [
        FieldLenField("wait_count", None, count_of="wait_list", fmt="B"),
        PacketListField("wait_list", [], ChannelWait, count_from=lambda p: p.wait_count, max_count=255),
    ]


class SpiceMsgDisplayInvalPalette(SpiceMessage):
    """Server: forget this palette."""

    name = "SPICE_MSG_DISPLAY_INVAL_PALETTE"
    fields_desc = [XLELongField("id", 0)]


class SpiceMsgDisplayStreamCreate(SpiceMessage):
    """Server: a video begins, in this codec, of this size, drawn there."""

    name = "SPICE_MSG_DISPLAY_STREAM_CREATE"
    fields_desc = [
        LEIntField("surface_id", 0),
        LEIntField("id", 0),
        ByteFlagsField("flags", 0, constants.STREAM_FLAGS),
        ByteEnumField("codec_type", 1, dict(constants.VIDEO_CODECS)),
        LELongField("stamp", 0),
        LEIntField("stream_width", 0),
        LEIntField("stream_height", 0),
        LEIntField("src_width", 0),
        LEIntField("src_height", 0),
        PacketField("dest", None, Rect),
        PacketField("clip", None, Clip),
    ]


def _frame() -> list[Any]:
    return [
        FieldLenField("data_size", None, length_of="frame", fmt="<I"),
        StrLenField("frame", b"", length_from=lambda p: p.data_size),
    ]


class SpiceMsgDisplayStreamData(SpiceMessage):
    """Server: a frame of a video."""

    name = "SPICE_MSG_DISPLAY_STREAM_DATA"
    fields_desc = [PacketField("base", None, StreamDataHeader), *_frame()]


class SpiceMsgDisplayStreamDataSized(SpiceMessage):
    """Server: a frame of a size and at a place of its own (capability SIZED_STREAM)."""

    name = "SPICE_MSG_DISPLAY_STREAM_DATA_SIZED"
    fields_desc = [
        PacketField("base", None, StreamDataHeader),
        LEIntField("width", 0),
        LEIntField("height", 0),
        PacketField("dest", None, Rect),
        *_frame(),
    ]


class SpiceMsgDisplayStreamClip(SpiceMessage):
    """Server: what of a video may be seen."""

    name = "SPICE_MSG_DISPLAY_STREAM_CLIP"
    fields_desc = [LEIntField("id", 0), PacketField("clip", None, Clip)]


class SpiceMsgDisplayStreamDestroy(SpiceMessage):
    """Server: a video is over."""

    name = "SPICE_MSG_DISPLAY_STREAM_DESTROY"
    fields_desc = [LEIntField("id", 0)]


def _brush(name: str = "brush") -> Any:
    return PacketField(name, None, Brush)


def _mask() -> list[Any]:
    """The mask, with which all but a few drawing messages end, and what was pointed to."""
    return [PacketField("mask", None, QMask), PointedField("pointed_to", b"")]


def _source() -> list[Any]:
    return [PointerField("src_bitmap", SpiceImage), PacketField("src_area", None, Rect)]


def _rop() -> Any:
    return LEShortFlagsField("rop_descriptor", 8, constants.ROPD_FLAGS)


def _scale() -> Any:
    return ByteEnumField("scale_mode", 0, dict(constants.IMAGE_SCALE_MODES))


class SpiceMsgDisplayDrawFill(SpiceMessage):
    """Server: fill with a brush."""

    name = "SPICE_MSG_DISPLAY_DRAW_FILL"
    fields_desc = [_base(), _brush(), _rop(), *_mask()]


class SpiceMsgDisplayDrawOpaque(SpiceMessage):
    """Server: draw an image, and with it a brush."""

    name = "SPICE_MSG_DISPLAY_DRAW_OPAQUE"
    fields_desc = [_base(), *_source(), _brush(), _rop(), _scale(), *_mask()]


class SpiceMsgDisplayDrawCopy(SpiceMessage):
    """Server: draw an image."""

    name = "SPICE_MSG_DISPLAY_DRAW_COPY"
    fields_desc = [_base(), *_source(), _rop(), _scale(), *_mask()]


class SpiceMsgDisplayDrawBlend(SpiceMessage):
    """Server: combine an image with what is there."""

    name = "SPICE_MSG_DISPLAY_DRAW_BLEND"
    fields_desc = [_base(), *_source(), _rop(), _scale(), *_mask()]


class SpiceMsgDisplayDrawBlackness(SpiceMessage):
    """Server: all black."""

    name = "SPICE_MSG_DISPLAY_DRAW_BLACKNESS"
    fields_desc = [_base(), *_mask()]


class SpiceMsgDisplayDrawWhiteness(SpiceMessage):
    """Server: all white."""

    name = "SPICE_MSG_DISPLAY_DRAW_WHITENESS"
    fields_desc = [_base(), *_mask()]


class SpiceMsgDisplayDrawInvers(SpiceMessage):
    """Server: every pixel its opposite."""

    name = "SPICE_MSG_DISPLAY_DRAW_INVERS"
    fields_desc = [_base(), *_mask()]


class SpiceMsgDisplayDrawRop3(SpiceMessage):
    """Server: image, brush and what is there, combined by one of 256 rules."""

    name = "SPICE_MSG_DISPLAY_DRAW_ROP3"
    fields_desc = [_base(), *_source(), _brush(), ByteField("rop3", 0), _scale(), *_mask()]


class SpiceMsgDisplayDrawStroke(SpiceMessage):
    """Server: draw a line along a path."""

    name = "SPICE_MSG_DISPLAY_DRAW_STROKE"
    most = 1 << 22  # lists within a list, of 8 bytes an item that take some hundred in memory
    fields_desc = [
        _base(),
        PointerField("path", Path, required=True),
        PacketField("attr", None, LineAttr),
        _brush(),
        LEShortFlagsField("fore_mode", 8, constants.ROPD_FLAGS),
        LEShortFlagsField("back_mode", 8, constants.ROPD_FLAGS),
        PointedField("pointed_to", b""),
    ]


class SpiceMsgDisplayDrawText(SpiceMessage):
    """Server: draw glyphs, on a background or not."""

    name = "SPICE_MSG_DISPLAY_DRAW_TEXT"
    fields_desc = [
        _base(),
        PointerField("str", String, required=True),
        PacketField("back_area", None, Rect),
        _brush("fore_brush"),
        _brush("back_brush"),
        LEShortFlagsField("fore_mode", 8, constants.ROPD_FLAGS),
        LEShortFlagsField("back_mode", 8, constants.ROPD_FLAGS),
        PointedField("pointed_to", b""),
    ]


class SpiceMsgDisplayDrawTransparent(SpiceMessage):
    """Server: draw an image but for one colour."""

    name = "SPICE_MSG_DISPLAY_DRAW_TRANSPARENT"
    fields_desc = [
        _base(),
        *_source(),
        XLEIntField("src_color", 0),
        XLEIntField("true_color", 0),
        PointedField("pointed_to", b""),
    ]


class SpiceMsgDisplayDrawAlphaBlend(SpiceMessage):
    """Server: draw an image that lets what is there shine through."""

    name = "SPICE_MSG_DISPLAY_DRAW_ALPHA_BLEND"
    fields_desc = [
        _base(),
        ByteFlagsField("alpha_flags", 0, constants.ALPHA_FLAGS),
        ByteField("alpha", 255),
        *_source(),
        PointedField("pointed_to", b""),
    ]


class SpiceMsgDisplaySurfaceCreate(SpiceMessage):
    """Server: something to draw on."""

    name = "SPICE_MSG_DISPLAY_SURFACE_CREATE"
    fields_desc = [
        LEIntField("surface_id", 0),
        LEIntField("width", 0),
        LEIntField("height", 0),
        LEIntEnumField("format", 32, dict(constants.SURFACE_FORMATS)),
        LEIntFlagsField("flags", 1, constants.SURFACE_FLAGS),
    ]


class SpiceMsgDisplaySurfaceDestroy(SpiceMessage):
    """Server: it is gone."""

    name = "SPICE_MSG_DISPLAY_SURFACE_DESTROY"
    fields_desc = [LEIntField("surface_id", 0)]


class SpiceMsgDisplayMonitorsConfig(SpiceMessage):
    """Server: the monitors (capability MONITORS_CONFIG)."""

    name = "SPICE_MSG_DISPLAY_MONITORS_CONFIG"
    fields_desc = [
        FieldLenField("count", None, count_of="heads", fmt="<H"),
        LEShortField("max_allowed", 1),
        PacketListField("heads", [], Head, count_from=lambda p: p.count, max_count=65535),
    ]


def _has(flag: int) -> Callable[[Any], Any]:
    return lambda p: p.flags & flag


class SpiceMsgDisplayDrawComposite(SpiceMessage):
    """Server: compose images as the X Render extension does (capability COMPOSITE)."""

    name = "SPICE_MSG_DISPLAY_DRAW_COMPOSITE"
    fields_desc = [
        _base(),
        LEIntFlagsField("flags", 0, constants.COMPOSITE_FLAGS),
        PointerField("src_bitmap", SpiceImage),
        ConditionalField(PointerField("mask_bitmap", SpiceImage), _has(constants.COMPOSITE_HAS_MASK)),
        ConditionalField(
            PacketField("src_transform", None, Transform), _has(constants.COMPOSITE_HAS_SRC_TRANSFORM)
        ),
        ConditionalField(
            PacketField("mask_transform", None, Transform),
            _has(constants.COMPOSITE_HAS_MASK_TRANSFORM),
        ),
        PacketField("src_origin", None, Point16),
        PacketField("mask_origin", None, Point16),
        PointedField("pointed_to", b""),
    ]


class SpiceMsgDisplayStreamActivateReport(SpiceMessage):
    """Server: report on this video, every so many frames or ms (capability STREAM_REPORT)."""

    name = "SPICE_MSG_DISPLAY_STREAM_ACTIVATE_REPORT"
    fields_desc = [
        LEIntField(name, 0) for name in ("stream_id", "unique_id", "max_window_size", "timeout_ms")
    ]


class SpiceMsgDisplayGlScanoutUnix(SpiceMessage):
    """Server, on a Unix socket only: a buffer of the graphics card. Its descriptor travels beside."""

    name = "SPICE_MSG_DISPLAY_GL_SCANOUT_UNIX"
    fields_desc = [
        LEIntField("width", 0),
        LEIntField("height", 0),
        LEIntField("stride", 0),
        XLEIntField("drm_fourcc_format", 0),
        LEIntFlagsField("flags", 0, constants.GL_SCANOUT_FLAGS),
    ]


class SpiceMsgDisplayGlDraw(SpiceMessage):
    """Server: this part of the buffer is to be shown."""

    name = "SPICE_MSG_DISPLAY_GL_DRAW"
    fields_desc = [LEIntField(name, 0) for name in ("x", "y", "w", "h")]


class SpiceMsgDisplayQualityIndicator(SpiceMessage):
    """Server: opaque to spice.proto."""

    name = "SPICE_MSG_DISPLAY_QUALITY_INDICATOR"
    fields_desc = [RestField("indicator", b"")]


empty(
    "SPICE_MSG_DISPLAY_MARK",
    "SPICE_MSG_DISPLAY_RESET",
    "SPICE_MSG_DISPLAY_INVAL_ALL_PALETTES",
    "SPICE_MSG_DISPLAY_STREAM_DESTROY_ALL",
)


# --- Messages of the client


class SpiceMsgcDisplayInit(SpiceMessage):
    """Client: how much it can keep, in pixels. Before this the server says nothing."""

    name = "SPICE_MSGC_DISPLAY_INIT"
    fields_desc = [
        ByteField("pixmap_cache_id", 0),
        LESignedLongField("pixmap_cache_size", 0),
        ByteField("glz_dictionary_id", 0),
        LESignedIntField("glz_dictionary_window_size", 0),
    ]


class SpiceMsgcDisplayStreamReport(SpiceMessage):
    """Client: how a video did. No frames and 0xffffffff drops: it cannot decode it."""

    name = "SPICE_MSGC_DISPLAY_STREAM_REPORT"
    fields_desc = [
        LEIntField("stream_id", 0),
        LEIntField("unique_id", 0),
        LEIntField("start_frame_mm_time", 0),
        LEIntField("end_frame_mm_time", 0),
        LEIntField("num_frames", 0),
        LEIntField("num_drops", 0),
        LESignedIntField("last_frame_delay", 0),
        LEIntField("audio_delay", 0xFFFFFFFF),
    ]


class SpiceMsgcDisplayPreferredCompression(SpiceMessage):
    """Client: how images should be compressed (capability PREF_COMPRESSION)."""

    name = "SPICE_MSGC_DISPLAY_PREFERRED_COMPRESSION"
    fields_desc = [ByteEnumField("image_compression", 1, dict(constants.IMAGE_COMPRESSIONS))]


class SpiceMsgcDisplayPreferredVideoCodecType(SpiceMessage):
    """Client: the codecs it likes, best first (capability PREF_VIDEO_CODEC_TYPE)."""

    name = "SPICE_MSGC_DISPLAY_PREFERRED_VIDEO_CODEC_TYPE"
    fields_desc = [
        FieldLenField("num_of_codecs", None, count_of="codecs", fmt="B"),
        FieldListField(
            "codecs",
            [],
            ByteEnumField("", 1, dict(constants.VIDEO_CODECS)),
            count_from=lambda p: p.num_of_codecs,
            max_count=255,
        ),
    ]


empty("SPICE_MSGC_DISPLAY_GL_DRAW_DONE")
