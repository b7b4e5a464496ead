# SPDX-License-Identifier: GPL-2.0-or-later
"""The surfaces of a display channel, rebuilt from its records.

`Renderer.take` is given every record of the channel in the order in which the session gave it. Nothing is
made up: what could not be drawn is returned as a problem, and `Renderer.whole` says whether all was drawn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dissect.spice import constants
from dissect.spice.channels import display
from dissect.spice.fields import Pointer
from dissect.spice.pixels import compose, glyphs, lines
from dissect.spice.pixels.compose import product
from dissect.spice.pixels.images import Decoder, NotDrawn, Picture, Plane, checked
from dissect.spice.pixels.lz import KEEPING
from dissect.spice.pixels.scaling import Axis, scaled
from dissect.stream.pictures import png
from dissect.stream.records import Gap, Message, Record, Violation
from dissect.stream.side import Side

CACHE_LIMIT = 1 << 28
"""Bytes of images that are kept for FROM_CACHE at most; the oldest is forgotten first."""
SURFACES_LIMIT = 1 << 29
"""Bytes of all surfaces together at most."""
STREAMS_LIMIT = 1 << 10
"""Videos at once; SPICE numbers them from 0 to 63. The oldest is forgotten first."""
CACHE_ME = 1
PAL_CACHE_ME = 1
FROM_CACHE, SURFACE = (103, 106), 104
PRIMARY = 1
DISPLAY = 2
XRGB = 32
"""The format of surfaces without an alpha channel, of 32 bits a pixel."""
A8, ARGB = 8, 96
OPAQUE = 0xFF << 24
SOLID, PATTERN = 1, 2
STYLED = 8
SRC_SURFACE_HAS_ALPHA = 2
COMPONENT_ALPHA, SOURCE_OPAQUE, DEST_OPAQUE = 1 << 18, 1 << 22, 1 << 24

INVERS_SRC, INVERS_BRUSH, INVERS_DEST, PUT, OR, AND, XOR = 1, 2, 4, 8, 16, 32, 64
BLACKNESS, WHITENESS, INVERS, INVERS_RES = 128, 256, 512, 1024

Where = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Surface:
    """Something to draw on: its format (SPICE_SURFACE_FMT_*), its colours, and its alpha where it has one."""

    format: int
    rgb: Plane
    alpha: Plane | None

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self.rgb.size + (0 if self.alpha is None else self.alpha.size) + KEEPING


class Renderer:
    """Takes the records of one display channel; keeps its surfaces as they are after each."""

    def __init__(self) -> None:
        self.surfaces: dict[int, Surface] = {}
        self.primary: int | None = None
        """The number of the surface that the guest's screen is."""
        self.updates = 0
        """Drawing messages taken."""
        self.whole = True
        """Whether all that came was drawn."""
        self.lossy = False
        """Whether anything that was drawn came as JPEG."""
        self.undrawn: dict[str, int] = {}
        """Message -> how many of it are not drawn."""
        self._held = 0
        self._decoder = Decoder()
        self._cache: OrderedDict[int, Picture] = OrderedDict()
        self._cached = 0
        self._streams: dict[int, Mapping[str, Any]] = {}

    @property
    def screen(self) -> Plane | None:
        """Height x width x 3; None while there is no primary surface."""
        surface = None if self.primary is None else self.surfaces.get(self.primary)
        return None if surface is None else surface.rgb

    def png(self) -> bytes:
        """The screen as a PNG file. ValueError where there is none."""
        if self.screen is None:
            raise ValueError("there is no screen")
        return png(np.ascontiguousarray(self.screen))

    def take(self, record: Record) -> list[Violation]:
        """Draw what `record` says; returns what is wrong or could not be drawn, each with its offset."""
        if record.side is not Side.SERVER:
            return []
        match record:
            case Gap() if self.surfaces:
                self.whole = False
                return [_told(record, f"{record.size} bytes were lost: what they drew is missing")]
            case Message() if record.parts and record.note is None:
                return self._message(record)
            case Message() if self.surfaces and record.note is not None:
                self.whole = False
                return [_told(record, f"{record.size} bytes of {record.name} are not drawn: {record.note}")]
        return []

    def _message(self, message: Message) -> list[Violation]:
        reader = _READERS.get(message.parts[-1].cls)
        drawing = message.name in _DRAWINGS
        if reader is None and not drawing:
            return []
        self.updates += drawing
        try:
            if reader is None:
                bodiless = len(message.parts) == 1
                raise NotDrawn("it could not be read" if bodiless else "it is not drawn here")
            reader(self, message.values)
        except NotDrawn as why:
            self._touch(message.values)
            self.whole = False
            self.undrawn[message.name] = self.undrawn.get(message.name, 0) + 1
            return [_told(message, f"{message.name} is not drawn: {why}")]
        return []

    # --- surfaces

    def _create(self, values: Mapping[str, Any]) -> None:
        form = values["format"]
        if form not in (8, 16, 32, 80, 96):
            raise NotDrawn(f"surface format {constants.SURFACE_FORMATS.get(form, form)} is not drawn on")
        width, height = checked(values["width"], values["height"])
        self._drop(values["surface_id"])
        if self._held + 4 * width * height + KEEPING > SURFACES_LIMIT:
            raise NotDrawn(f"all surfaces together are over the limit of {SURFACES_LIMIT} bytes")
        alpha = np.zeros((height, width), np.uint8) if form in (8, 96) else None
        surface = Surface(form, np.zeros((height, width, 3), np.uint8), alpha)
        self.surfaces[values["surface_id"]] = surface
        self._held += surface.size
        if values["flags"] & PRIMARY:
            self.primary = values["surface_id"]

    def _mode(self, values: Mapping[str, Any]) -> None:
        form = 16 if values["bits"] == 16 else 32
        made = {"surface_id": 0, "width": values["x_res"], "height": values["y_res"], "format": form}
        self._create({**made, "flags": PRIMARY})

    def _destroy(self, values: Mapping[str, Any]) -> None:
        # The primary surface stays to be looked at until there is another: a guest that changes its mode.
        if values["surface_id"] != self.primary:
            self._drop(values["surface_id"])

    def _drop(self, number: int) -> None:
        surface = self.surfaces.pop(number, None)
        self._held -= 0 if surface is None else surface.size

    # --- images

    def _touch(self, values: Mapping[str, Any]) -> None:
        """Take the images of a message that draws nothing: they may come from cache or window later."""
        for image in images_in(values):
            try:
                self._image(image)
            except NotDrawn:
                continue

    def _image(self, image: Mapping[str, Any]) -> Picture:
        descriptor = image["descriptor"]
        number, kind = descriptor["id"], descriptor["type"]
        if kind in FROM_CACHE:
            if number not in self._cache:
                raise NotDrawn(f"image {number:#x} is not in the cache")
            return self._cache[number]
        if kind == SURFACE:
            source = self.surfaces.get(image["surface"]["surface_id"])
            if source is None:
                raise NotDrawn(f"there is no surface {image['surface']['surface_id']}")
            return Picture(source.rgb, source.alpha)
        self._keep_palette(image)
        picture = self._decoder.picture(image)
        self.lossy = self.lossy or picture.lossy
        if descriptor["flags"] & CACHE_ME:
            self._forget(number)
            self._cache[number] = picture
            self._cached += _size(picture)
            while self._cached > CACHE_LIMIT and len(self._cache) > 1:
                self._forget(next(iter(self._cache)))
        return picture

    def _forget(self, number: int) -> None:
        picture = self._cache.pop(number, None)
        self._cached -= 0 if picture is None else _size(picture)

    def _keep_palette(self, image: Mapping[str, Any]) -> None:
        coloured = image.get("bitmap") or image.get("lz_plt")
        if coloured and coloured["flags"] & PAL_CACHE_ME:
            to = getattr(coloured.get("palette"), "to", None)
            if to is not None:
                self._decoder.palettes[to["unique"]] = list(to["ents"])
                while len(self._decoder.palettes) > 1024:
                    del self._decoder.palettes[next(iter(self._decoder.palettes))]

    def _invalidate(self, values: Mapping[str, Any]) -> None:
        for resource in values["resources"]:
            self._forget(resource["id"])

    def _invalidate_all(self, values: Mapping[str, Any]) -> None:
        self._cache.clear()
        self._cached = 0

    def _invalidate_palette(self, values: Mapping[str, Any]) -> None:
        self._decoder.palettes.pop(values["id"], None)

    # --- drawing

    def _spot(self, values: Mapping[str, Any], mask: Mapping[str, Any] | None) -> _Spot | None:
        """Where a message draws; None where that is nowhere."""
        base = values["base"]
        surface = self.surfaces.get(base["surface_id"])
        if surface is None:
            raise NotDrawn(f"there is no surface {base['surface_id']}")
        spot = _Spot.of(surface, base["box"])
        if spot is None:
            self._touch(values)
            return None
        if base["clip"]["type"] == 1:
            spot.within(base["clip"]["rects"])
        if mask is not None and mask["bitmap"]:
            bits = self._image(mask["bitmap"].to).bits
            if bits is None:
                raise NotDrawn("its mask has more than one bit a pixel")
            spot.masked(bits, mask["pos"], inverse=bool(mask["flags"] & 1))
        return spot

    def _source(self, values: Mapping[str, Any], spot: _Spot, mode: int | None = None) -> Picture:
        """The part of the source image that belongs to the spot; `mode` as in `_part`."""
        pointer = values["src_bitmap"]
        if not pointer:
            raise NotDrawn("it names no image")
        return self._part(self._image(pointer.to), values["src_area"], values["base"]["box"], spot, mode)

    @staticmethod
    def _part(
        picture: Picture,
        area: Mapping[str, int],
        box: Mapping[str, int],
        spot: _Spot,
        mode: int | None = None,
    ) -> Picture:
        """The part of a picture that belongs to the spot; `mode` says how it may be scaled, None: not."""
        height, width = area["bottom"] - area["top"], area["right"] - area["left"]
        wanted = box["bottom"] - box["top"], box["right"] - box["left"]
        if (height, width) != wanted:
            plain = picture.alpha is None and spot.surface.format == XRGB
            if mode is None or not plain or height <= 0 or width <= 0:
                raise NotDrawn("it scales its image")
            rows = Axis(area["top"], height, wanted[0], spot.top - box["top"], spot.height)
            columns = Axis(area["left"], width, wanted[1], spot.left - box["left"], spot.width)
            return Picture(scaled(picture.rgb, rows, columns, mode))
        top, left = area["top"] + spot.top - box["top"], area["left"] + spot.left - box["left"]
        bottom, right = top + spot.height, left + spot.width
        if top < 0 or left < 0 or bottom > picture.rgb.shape[0] or right > picture.rgb.shape[1]:
            raise NotDrawn("it draws what is outside its image")
        rgb = picture.rgb[top:bottom, left:right]
        return Picture(rgb, None if picture.alpha is None else picture.alpha[top:bottom, left:right])

    def _paint(self, brush: Mapping[str, Any], spot: _Spot) -> Plane | None:
        """The pixels of a brush over the spot; None where it has none."""
        if brush["type"] == SOLID:
            return np.broadcast_to(spot.coloured(brush["color"]), (spot.height, spot.width, spot.channels))
        if brush["type"] == PATTERN:
            tile = spot.as_its_own(self._image(brush["pat"].to))
            rows = (np.arange(spot.height) + spot.top - brush["pos"]["y"]) % tile.shape[0]
            columns = (np.arange(spot.width) + spot.left - brush["pos"]["x"]) % tile.shape[1]
            tiled: Plane = tile[rows[:, None], columns[None, :]]
            return tiled
        return None

    def _fill(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, values["mask"])
        if spot is None:
            return
        paint = self._paint(values["brush"], spot)
        if paint is not None:
            rop = values["rop_descriptor"]
            spot.put(_combined(rop, INVERS_BRUSH, INVERS_DEST, paint, spot.pixels))

    def _copy(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, values["mask"])
        if spot is None:
            return
        picture = self._source(values, spot, values["scale_mode"])
        pixels, rop = spot.as_its_own(picture), values["rop_descriptor"]
        spot.put(_combined(rop, INVERS_SRC, INVERS_DEST, pixels, spot.pixels))

    def _opaque(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, values["mask"])
        if spot is None:
            return
        picture = self._source(values, spot)
        paint = self._paint(values["brush"], spot)
        pixels = spot.as_its_own(picture)
        if paint is not None:
            pixels = _combined(values["rop_descriptor"], INVERS_BRUSH, INVERS_SRC, paint, pixels)
        spot.put(pixels)

    def _blackness(self, values: Mapping[str, Any]) -> None:
        self._level(values, 0)

    def _whiteness(self, values: Mapping[str, Any]) -> None:
        self._level(values, 0xFFFFFF)

    def _level(self, values: Mapping[str, Any], colour: int) -> None:
        spot = self._spot(values, values["mask"])
        if spot is not None:
            level = _as_bytes(colour)[: spot.channels]
            spot.put(np.broadcast_to(level, (spot.height, spot.width, spot.channels)))

    def _inverse(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, values["mask"])
        if spot is not None:
            spot.put(~spot.pixels)

    def _rop3(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, values["mask"])
        if spot is None:
            return
        source, paint = spot.as_its_own(self._source(values, spot)), self._paint(values["brush"], spot)
        inputs = (np.zeros_like(source) if paint is None else paint, source, spot.pixels)
        result = np.zeros_like(source)
        for case in range(8):
            if values["rop3"] >> case & 1:
                term = np.full_like(source, 255)
                for bit, one in zip((4, 2, 1), inputs, strict=True):
                    term &= one if case & bit else ~one
                result |= term
        spot.put(result)

    def _transparent(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, None)
        if spot is None:
            return
        picture = self._source(values, spot)
        through = (picture.rgb == _colour(values["true_color"], 32)).all(axis=2)
        spot.where = ~through if spot.where is None else spot.where & ~through
        spot.put(spot.as_its_own(picture))

    def _alpha_blend(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, None)
        if spot is None:
            return
        picture = self._source(values, spot)
        has_alpha = values["alpha_flags"] & SRC_SURFACE_HAS_ALPHA
        if has_alpha and picture.alpha is None and "surface" in values["src_bitmap"].to:
            raise NotDrawn("it takes the unused byte of a surface's pixels for alpha")
        share = np.full((spot.height, spot.width), values["alpha"], np.uint8)
        behind = spot.pixels if spot.channels == 4 else compose.four(Picture(spot.pixels))
        spot.put(compose.composed(compose.OVER, compose.four(picture), share, behind))

    def _text(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, None)
        if spot is None:
            return
        if spot.surface.format not in (XRGB, ARGB):
            raise NotDrawn("its surface has 8 or 16 bits a pixel")
        brush, back = values["fore_brush"], values["back_area"]
        if brush["type"] == PATTERN:
            raise NotDrawn("its letters have a pattern")
        covered, top, left = glyphs.mask(values["str"].to)
        if back["bottom"] > back["top"] and back["right"] > back["left"]:
            if values["fore_mode"] != PUT:
                raise NotDrawn(f"its letters on a background are drawn by the rule {values['fore_mode']:#x}")
            behind = spot.part(back)
            paint = None if behind is None else self._paint(values["back_brush"], behind)
            if behind is not None and paint is not None:
                behind.put(paint)
        height, width = covered.shape
        letters = spot.part({"top": top, "left": left, "bottom": top + height, "right": left + width})
        if letters is not None and brush["type"] == SOLID:
            first, begin = letters.top - top, letters.left - left
            share = covered[first : first + letters.height, begin : begin + letters.width, None]
            pixels = letters.pixels
            colour = np.broadcast_to(_as_bytes(brush["color"] | OPAQUE)[: letters.channels], pixels.shape)
            letters.put(product(colour, share) + product(pixels, 255 - share))

    def _stroke(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, None)
        if spot is None:
            return
        if spot.surface.format not in (XRGB, ARGB):
            raise NotDrawn("its surface has 8 or 16 bits a pixel")
        if values["attr"]["flags"] & STYLED:
            raise NotDrawn("its line is dashed")
        rop = values["fore_mode"]
        paint = self._paint(values["brush"], spot)
        if paint is None:
            paint = np.zeros((spot.height, spot.width, spot.channels), np.uint8)
        for points in list(lines.polylines(values["path"].to["segments"])):
            for start, end in pairwise(points):
                columns, rows = lines.pixels(start, end, (spot.left, spot.top, spot.width, spot.height))
                if spot.where is not None:
                    seen = spot.where[rows, columns]
                    columns, rows = columns[seen], rows[seen]
                # Line by line: a rule may draw where another line was.
                for plane, first, last in spot.planes():
                    new, old = paint[rows, columns, first:last], plane[rows, columns]
                    plane[rows, columns] = _combined(rop, INVERS_BRUSH, INVERS_DEST, new, old)

    def _composite(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, None)
        if spot is None:
            return
        flags = values["flags"]
        if flags & (constants.COMPOSITE_HAS_SRC_TRANSFORM | constants.COMPOSITE_HAS_MASK_TRANSFORM):
            raise NotDrawn("it turns or scales its images")
        if flags & COMPONENT_ALPHA:
            raise NotDrawn("its mask has a part for each colour")
        if spot.surface.format not in (XRGB, ARGB):
            raise NotDrawn("its surface has 8 or 16 bits a pixel")
        first, begin = spot.top - spot.box[0], spot.left - spot.box[1]
        shape = spot.height, spot.width

        def part(pointer: Pointer, origin: Mapping[str, int], repeat: int, *, opaque: int = 0) -> Plane:
            if not pointer:
                raise NotDrawn("it names no image")
            picture = self._image(pointer.to)
            if opaque and "surface" in pointer.to:
                picture = Picture(picture.rgb)
            top, left = origin["y"] + first, origin["x"] + begin
            return compose.around(compose.four(picture), top, left, shape, repeat)

        opaque = flags & SOURCE_OPAQUE
        source = part(values["src_bitmap"], values["src_origin"], flags >> 14 & 3, opaque=opaque)
        covered = None
        if flags & constants.COMPOSITE_HAS_MASK:
            covered = part(values["mask_bitmap"], values["mask_origin"], flags >> 16 & 3)[..., 3]
        behind = spot.pixels
        if flags & DEST_OPAQUE or spot.channels == 3:
            behind = compose.four(Picture(behind[..., :3]))
        spot.put(compose.composed(flags & 255, source, covered, behind))

    def _copy_bits(self, values: Mapping[str, Any]) -> None:
        spot = self._spot(values, None)
        if spot is None:
            return
        box, position = values["base"]["box"], values["src_pos"]
        area = {
            "top": position["y"],
            "left": position["x"],
            "bottom": position["y"] + box["bottom"] - box["top"],
            "right": position["x"] + box["right"] - box["left"],
        }
        surface = spot.surface
        before = Picture(surface.rgb.copy(), None if surface.alpha is None else surface.alpha.copy())
        spot.put(spot.as_its_own(self._part(before, area, box, spot)))

    # --- video

    def _stream_create(self, values: Mapping[str, Any]) -> None:
        self._streams.pop(values["id"], None)
        self._streams[values["id"]] = values
        if len(self._streams) > STREAMS_LIMIT:
            del self._streams[next(iter(self._streams))]

    def _stream_clip(self, values: Mapping[str, Any]) -> None:
        if values["id"] in self._streams:
            self._streams[values["id"]] = {**self._streams[values["id"]], "clip": values["clip"]}

    def _stream_destroy(self, values: Mapping[str, Any]) -> None:
        self._streams.pop(values["id"], None)

    def _stream_destroy_all(self, values: Mapping[str, Any]) -> None:
        self._streams.clear()

    def _stream_data(self, values: Mapping[str, Any]) -> None:
        stream = self._streams.get(values["base"]["id"])
        if stream is None:
            raise NotDrawn(f"there is no video {values['base']['id']}")
        if stream["codec_type"] != 1:
            codec = constants.VIDEO_CODECS.get(stream["codec_type"], stream["codec_type"])
            raise NotDrawn(f"video in {codec} is not decoded")
        width = values.get("width", stream["stream_width"])
        height = values.get("height", stream["stream_height"])
        box = values.get("dest", stream["dest"])
        base = {"surface_id": stream["surface_id"], "box": box, "clip": stream["clip"]}
        spot = self._spot({"base": base}, None)
        descriptor = {"width": width, "height": height, "type": 105, "id": 0, "flags": 0}
        jpeg = {"jpeg_data": values["frame"]}
        picture = self._decoder.picture({"descriptor": descriptor, "jpeg": jpeg})
        self.lossy = True
        if spot is None:
            return
        if not stream["flags"] & 1:
            picture = Picture(picture.rgb[::-1])
        area = {"top": 0, "left": 0, "bottom": height, "right": width}
        spot.put(spot.as_its_own(self._part(picture, area, box, spot)))


@dataclass(slots=True)
class _Spot:
    """The part of a surface on which a message draws, and which of its pixels (None: all)."""

    surface: Surface
    top: int
    left: int
    height: int
    width: int
    box: tuple[int, int]
    where: Where | None = None

    @classmethod
    def of(cls, surface: Surface, box: Mapping[str, int]) -> _Spot | None:
        height, width = surface.rgb.shape[:2]
        top, left = max(0, box["top"]), max(0, box["left"])
        bottom, right = min(height, box["bottom"]), min(width, box["right"])
        if top >= bottom or left >= right:
            return None
        return cls(surface, top, left, bottom - top, right - left, (box["top"], box["left"]))

    @property
    def channels(self) -> int:
        """Channels of its pixels: red, green, blue, and alpha where the surface has it."""
        return 3 if self.surface.alpha is None else 4

    @property
    def pixels(self) -> Plane:
        """Its pixels as they are now, in `channels` channels."""
        planes = [plane for plane, _, _ in self.planes()]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def planes(self) -> Iterator[tuple[Plane, int, int]]:
        """What holds its pixels, and which channels each holds; what is written there is drawn."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        yield self.surface.rgb[rows, columns], 0, 3
        if self.surface.alpha is not None:
            yield self.surface.alpha[rows, columns, None], 3, 4

    def coloured(self, number: int) -> Plane:
        """A colour of a message as a pixel of the surface."""
        if self.surface.format == A8:
            return np.array([0, 0, 0, number & 255], np.uint8)
        return _as_bytes(number) if self.channels == 4 else _colour(number, self.surface.format)

    def as_its_own(self, picture: Picture) -> Plane:
        """A picture in as many channels; without an alpha channel it has 0 there, as images are sent."""
        if self.channels == 3:
            return picture.rgb
        alpha = np.zeros(picture.rgb.shape[:2], np.uint8) if picture.alpha is None else picture.alpha
        return np.concatenate([picture.rgb, alpha[..., None]], axis=2)

    def part(self, box: Mapping[str, int]) -> _Spot | None:
        """What of it is inside a box of the surface."""
        top, left = max(self.top, box["top"]), max(self.left, box["left"])
        bottom = min(self.top + self.height, box["bottom"])
        right = min(self.left + self.width, box["right"])
        if top >= bottom or left >= right:
            return None
        where = self.where
        if where is not None:
            where = where[top - self.top : bottom - self.top, left - self.left : right - self.left]
        return _Spot(self.surface, top, left, bottom - top, right - left, self.box, where)

    def within(self, rects: list[Mapping[str, int]]) -> None:
        """Draw inside these rectangles only."""
        edges: list[tuple[int, int, int, int]] = []
        for rect in rects:
            top, left = max(0, rect["top"] - self.top), max(0, rect["left"] - self.left)
            bottom = min(self.height, rect["bottom"] - self.top)
            right = min(self.width, rect["right"] - self.left)
            if bottom > top and right > left:
                edges.append((top, left, bottom, right))
        area = sum((bottom - top) * (right - left) for top, left, bottom, right in edges)
        if area <= self.height * self.width:
            self.where = np.zeros((self.height, self.width), np.bool_)
            for top, left, bottom, right in edges:
                self.where[top:bottom, left:right] = True
            return
        # No server sends rectangles that overlap; each pixel is touched once all the same.
        count = np.zeros((self.height + 1, self.width + 1), np.int32)
        for top, left, bottom, right in edges:
            count[top, left] += 1
            count[bottom, right] += 1
            count[top, right] -= 1
            count[bottom, left] -= 1
        inside: Where = count.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0
        self.where = inside

    def masked(self, bits: Where, position: Mapping[str, int], *, inverse: bool) -> None:
        """Draw where the bits are set only (`inverse`: where they are not)."""
        top = position["y"] + self.top - self.box[0]
        left = position["x"] + self.left - self.box[1]
        if top < 0 or left < 0 or top + self.height > bits.shape[0] or left + self.width > bits.shape[1]:
            raise NotDrawn("its mask is smaller than what it draws")
        part = bits[top : top + self.height, left : left + self.width] != inverse
        self.where = part if self.where is None else self.where & part

    def put(self, pixels: Plane) -> None:
        """Draw these pixels, which may have an alpha channel that the surface has not."""
        if self.surface.format in (16, 80):
            pixels = _fewer(pixels[..., :3], self.surface.format)
        for plane, first, last in self.planes():
            if self.where is None:
                plane[...] = pixels[..., first:last]
            else:
                np.copyto(plane, pixels[..., first:last], where=self.where[..., None])


def _size(picture: Picture) -> int:
    """Bytes that a picture takes."""
    planes = (picture.rgb, picture.alpha, picture.bits)
    return sum(plane.size for plane in planes if plane is not None) + KEEPING


def images_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """The images to which the fields of a message point."""
    if isinstance(value, Pointer):
        value = value.to
    if isinstance(value, Mapping):
        if "descriptor" in value:
            yield value
        else:
            for inside in value.values():
                yield from images_in(inside)


def _combined(rop: int, invert_first: int, invert_second: int, first: Plane, second: Plane) -> Plane:
    """Two inputs combined as `rop` says (SPICE_ROPD_*), bit by bit."""
    a = ~first if rop & invert_first else first
    b = ~second if rop & invert_second else second
    if rop & PUT:
        result = a
    elif rop & OR:
        result = a | b
    elif rop & AND:
        result = a & b
    elif rop & XOR:
        result = a ^ b
    elif rop & BLACKNESS:
        result = np.zeros_like(second)
    elif rop & WHITENESS:
        result = np.full_like(second, 255)
    elif rop & INVERS:
        result = ~second
    else:
        raise NotDrawn(f"its rule {rop:#x} is not defined")
    return ~result if rop & INVERS_RES else result


def _colour(number: int, form: int) -> Plane:
    """A colour as it is in a message for a surface of this format: red, green, blue."""
    if form == 16:
        five = [(number >> 10 & 31) << 3, (number >> 5 & 31) << 3, (number & 31) << 3]
        return _fewer(np.array(five, np.uint8), 16)
    if form == 80:
        five_six_five = [(number >> 11 & 31) << 3, (number >> 5 & 63) << 2, (number & 31) << 3]
        return _fewer(np.array(five_six_five, np.uint8), 80)
    return np.array([number >> 16 & 255, number >> 8 & 255, number & 255], np.uint8)


def _as_bytes(number: int) -> Plane:
    """A colour with its highest byte: red, green, blue, alpha."""
    return np.array([number >> shift & 255 for shift in (16, 8, 0, 24)], np.uint8)


def _fewer(rgb: Plane, form: int) -> Plane:
    """As many levels as the format has, spread over 0 to 255 again."""
    five: Plane = (rgb >> 3).astype(np.uint8)
    spread: Plane = (five << 3 | five >> 2).astype(np.uint8)
    if form == 80:
        six = rgb[..., 1] >> 2
        spread[..., 1] = six << 2 | six >> 4
    return spread


def _told(record: Message | Gap, why: str) -> Violation:
    return Violation.about(record, "messages", why)


_READERS: dict[Any, Callable[[Renderer, Mapping[str, Any]], None]] = {
    display.SpiceMsgDisplayMode: Renderer._mode,
    display.SpiceMsgDisplaySurfaceCreate: Renderer._create,
    display.SpiceMsgDisplaySurfaceDestroy: Renderer._destroy,
    display.SpiceMsgDisplayInvalList: Renderer._invalidate,
    display.SpiceMsgDisplayInvalAllPixmaps: Renderer._invalidate_all,
    display.SpiceMsgDisplayInvalPalette: Renderer._invalidate_palette,
    display.SpiceMsgDisplayCopyBits: Renderer._copy_bits,
    display.SpiceMsgDisplayDrawFill: Renderer._fill,
    display.SpiceMsgDisplayDrawOpaque: Renderer._opaque,
    display.SpiceMsgDisplayDrawCopy: Renderer._copy,
    display.SpiceMsgDisplayDrawBlend: Renderer._copy,
    display.SpiceMsgDisplayDrawBlackness: Renderer._blackness,
    display.SpiceMsgDisplayDrawWhiteness: Renderer._whiteness,
    display.SpiceMsgDisplayDrawInvers: Renderer._inverse,
    display.SpiceMsgDisplayDrawRop3: Renderer._rop3,
    display.SpiceMsgDisplayDrawStroke: Renderer._stroke,
    display.SpiceMsgDisplayDrawText: Renderer._text,
    display.SpiceMsgDisplayDrawComposite: Renderer._composite,
    display.SpiceMsgDisplayDrawTransparent: Renderer._transparent,
    display.SpiceMsgDisplayDrawAlphaBlend: Renderer._alpha_blend,
    display.SpiceMsgDisplayStreamCreate: Renderer._stream_create,
    display.SpiceMsgDisplayStreamClip: Renderer._stream_clip,
    display.SpiceMsgDisplayStreamDestroy: Renderer._stream_destroy,
    display.SpiceMsgDisplayStreamData: Renderer._stream_data,
    display.SpiceMsgDisplayStreamDataSized: Renderer._stream_data,
}
_DRAWINGS = frozenset(
    name
    for name in constants.MESSAGES[DISPLAY][Side.SERVER].values()
    if name.startswith(
        (
            "SPICE_MSG_DISPLAY_DRAW_",
            "SPICE_MSG_DISPLAY_COPY",
            "SPICE_MSG_DISPLAY_STREAM_DATA",
            "SPICE_MSG_DISPLAY_GL_",
        )
    )
)
"""Messages that change what is seen; those of them that have no reader are named."""
