# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages that are built like one before are read as that one was: one unpack, one comparison, one template.

A drawing session is made of thousands of messages that differ in a few numbers. What decides how a message is
laid out, and what has a name where it is shown, are few of its fields: those that a condition, a length or a
count asks for, pointers, enumerations and flags. A `Shape` is a message's layout with these fields fixed. It
is made of one message that the layouts of its classes have read (which fields decide is seen by watching what
their conditions ask for), and how it is shown is taken from what `describe` shows of that one. So a shape is
no second description: where it fits, it says what the layouts would say, and where none fits, they are asked.

At most one run of bytes in a message may have any length (pixels, a around). Where there are more, or lists
are long, there is no shape.

Of a shape without such a run the bytes that hold the fixed fields are a pattern. So the messages of that
shape in a row are found by one match (`Shape.row`), and become lines by one formatting (`Shape.rows`).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

from dissect.spice import seek
from dissect.spice.fields import FLAGS, Followed, PointedField, Pointer, PointerField
from dissect.stream.batch import Around, Kind, Rows, Run
from dissect.stream.fields import (
    ConditionalField,
    FieldListField,
    PacketField,
    PacketListField,
    StrFixedLenField,
    StrLenField,
)
from dissect.stream.layout import (
    BitNamesField,
    Buffer,
    LiteralField,
    Padding,
    ProtocolPacket,
    RestField,
    SecretLenField,
    TextField,
    Values,
    names_of,
    number_of,
    shown_bytes,
)
from dissect.stream.records import KnownParts, Part
from dissect.stream.side import Side

SEEN_BEFORE = 3
"""Messages of one class that are read by their layouts before one of them becomes a shape."""
SHAPES = 12
"""Shapes of one class and size (or of one class, with a run of any length) at most."""
FREE, EVERY = 24, 64
"""Shapes are made of so many messages, and of one in so many that had none: that bounds time and memory."""
LIST = 16
"""Items of a list in a shape at most."""
ROW = 4096
"""Messages of one shape that are found in a row at once, at most."""
UNPACKED = 64
"""Messages of which the numbers are unpacked at once."""
HEADER = {(0, "message_type"), (0, "message_size"), (0, "sub_list")}
"""What of a data header all messages of a shape have in common, where it has no run of any length."""
HOLE = b"@what-has-any-length@"
NUMBER = 770_000_000_000_000_000_000
"""Numbers from here on stand for a field in a template: no field of 64 bits holds one."""

Name = tuple[Any, ...]
"""Where in the fields a value is: names, places in lists, "to" for what a pointer leads to."""


class _Unshaped(Exception):
    """Raised where a message cannot be a shape."""


@dataclass(slots=True)
class _Leaf:
    """One number on the wire, or (order "") the run of bytes that may have any length."""

    name: Name
    order: str
    code: str
    key: bool
    wire: bytes = b""
    """Its bytes, where it is a key."""


class _Spy:
    """Fields that note who asks for them."""

    __slots__ = ("_asked", "_name", "_values")

    def __init__(self, values: Values, name: Name, asked: set[Name]) -> None:
        self._values, self._name, self._asked = values, name, asked

    def __getattr__(self, name: str) -> Any:
        try:
            value = self._values[name]
        except KeyError:
            raise AttributeError(name) from None
        if isinstance(value, Values):
            return _Spy(value, (*self._name, name), self._asked)
        self._asked.add((*self._name, name))
        return value

    __getitem__ = __getattr__


class _Walk:
    """Goes through one message that was read, and notes what is on the wire in its order."""

    def __init__(self) -> None:
        self.leaves: list[_Leaf] = []
        self.asked: set[Name] = set()
        self.pending: list[tuple[int, type[ProtocolPacket], Values, Name]] = []
        self.lengths: list[tuple[Callable[[Any], int], set[Name]]] = []

    def packet(self, cls: type[ProtocolPacket], values: Values, name: Name) -> None:
        for field in cls.fields_desc:
            spy = _Spy(values, name, self.asked)
            inner = field
            if isinstance(field, ConditionalField):
                inner, condition = field.fld, field.cond
                watched: Any = spy
                if not condition(watched):
                    continue
            self._field(inner, values, name, spy)

    def _field(self, field: Any, values: Values, name: Name, spy: Any) -> None:
        here = (*name, field.name)
        value: Any = values[field.name]
        untyped = field
        if isinstance(field, PointedField):
            return
        if isinstance(field, PacketField):
            self.packet(untyped.cls, value, here)
        elif isinstance(field, PacketListField):
            untyped.count_from(spy)
            self._few(value)
            for index, item in enumerate(value):
                self.packet(untyped.cls, item, (*here, index))
        elif isinstance(field, BitNamesField | SecretLenField):
            raise _Unshaped
        elif isinstance(field, FieldListField):
            untyped.count_from(spy)
            self._few(value)
            order, code, _ = number_of(field.field)
            named = names_of(field.field) is not None
            self.leaves += [_Leaf((*here, index), order, code, named) for index in range(len(value))]
        elif isinstance(field, StrFixedLenField):
            if not isinstance(field, Padding | LiteralField):
                raise _Unshaped
            self.leaves.append(_Leaf(here, "=", f"{len(value)}s", True))
        elif isinstance(field, StrLenField | RestField):
            self._bytes(field, value, here, values, spy)
        elif isinstance(field, PointerField):
            if field.single and value:
                raise _Unshaped
            self.leaves.append(_Leaf(here, "<", "I", True))
            if value:
                self.pending.append((int(value), field.target, value.to, (*here, "to")))
        else:
            order, code, _ = number_of(field)
            key = names_of(field) is not None or isinstance(field, FLAGS)
            self.leaves.append(_Leaf(here, order, code, key))

    def _bytes(self, field: Any, value: bytes, here: Name, values: Values, spy: Any) -> None:
        length: Any = getattr(field, "length_from", None)
        if not value:
            if length is not None:
                length(spy)
            return
        if any(leaf.code == "" for leaf in self.leaves) or (
            isinstance(field, TextField) and field.encoding != "utf-8"
        ):
            raise _Unshaped
        if length is not None:
            asked: set[Name] = set()
            length(_Spy(values, here[:-1], asked))
            if any(len(name) != len(here) for name in asked):
                raise _Unshaped
            self.lengths.append((length, asked))
        self.leaves.append(_Leaf(here, "", "", False))

    @staticmethod
    def _few(items: list[Any]) -> None:
        if len(items) > LIST:
            raise _Unshaped


class Shape(Kind):
    """The parts of every message of one shape, and how to read it. Made by `Shapes`."""

    quiet: bool
    """Whether such a message means nothing to those after it, and is not wrong in any way."""
    _pieces: list[tuple[Callable[..., tuple[Any, ...]], int, int]]
    _key_of: Callable[[Any], Any]
    _key: Any
    _lengths: list[tuple[Callable[[Any], int], list[tuple[str, int]]]]
    _hole: int
    """The size of the message without its run of any length."""
    _hole_at: int | None
    _build: Callable[[Any, bytes], tuple[Values, ...]]
    _template: str
    _shown: Callable[[Any], Any]
    _hole_text: int
    """How the run of any length is shown: 0 not at all, 1 as hexadecimal digits, 2 as text."""
    _leads: tuple[tuple[str, Name], ...]
    _leaves: list[_Leaf]
    """The numbers, in the order of the wire."""
    _texts: list[str]
    """The template's texts, between which numbers are; each % twice."""
    _order: list[int]
    """Which of the numbers these are."""
    _table: _Table | None
    """How messages in a row become lines; None until it is wanted."""
    _pattern: re.Pattern[bytes] | None
    """What messages in a row match; None until it is wanted."""

    def take(self, data: Buffer, at: int, end: int) -> tuple[Any, ...] | None:
        """The numbers of the message from `at` to `end`; None where it has not this shape."""
        numbers = self._numbers(data, at, end)
        if self._key_of(numbers) != self._key:
            return None
        if self._hole_at is not None:
            size = end - at - self._hole
            if not size:
                return None  # where there is nothing, nothing is shown
            if size > seek.ANYTHING_LIMIT and not self._lengths:
                return None  # that a size is right which nothing in the body agrees with must be seen
            for length, names in self._lengths:
                if length(Values([(name, numbers[index]) for name, index in names])) != size:
                    return None
        return numbers

    def values(self, numbers: tuple[Any, ...], data: Buffer, at: int, end: int) -> Values:
        """The fields of the body, as its layout decodes them (but for the bytes that pointers lead to)."""
        hole = b"" if self._hole_at is None else bytes(self._in_hole(data, at, end))
        body = self._build(numbers, hole)[1]
        if self._leads:
            followed = Followed(body)
            followed.leads = [(name, _at(body, where)) for name, where in self._leads]
            return followed
        return body

    @property
    def fixed(self) -> bool:
        """Whether all messages of this shape have one size."""
        return self._hole_at is None

    def row(self, data: Buffer, at: int) -> int:
        """Where the messages of this shape end that stand in a row from `at` on; only of a fixed size."""
        if self._pattern is None:
            self._pattern = _pattern(self)
        found = self._pattern.match(data, at)
        return at if found is None else found.end()

    def rows(self, around: Around, data: Buffer, run: Run, offset: int, times: Sequence[int]) -> Rows:
        """See `Kind`."""
        if self._hole_at is not None or len(self._pieces) > 1:
            (now,), end = times, run.at + run.size
            line = around.line(now, offset + run.at, run.size, self._text(data, run.at, end))
            return Rows(b"%b\n", 1, [line.encode()])
        if self._table is None:
            self._table = _Table(self)
        return self._table.rows(around, data, run, offset, times)

    def of_size(self, size: int) -> KnownParts:
        """The parts of a message of `size` bytes."""
        if self._hole_at is None:
            return self
        head, body = self
        parts = _Sized((head, Part(body.cls, body.start, size)))
        parts.shape = self
        return parts

    def text(self, raw: bytes) -> str:
        """The fields as a JSON text; `raw` is a whole message of this shape."""
        return self._text(raw, 0, len(raw))

    def _text(self, data: Buffer, at: int, end: int) -> str:
        """The same of the message from `at` to `end`."""
        numbers = self._numbers(data, at, end)
        if not self._hole_text:
            return str(self._template % self._shown(numbers))
        hole = self._in_hole(data, at, end)
        text = shown_bytes(hole) if self._hole_text == 1 else str(hole, "utf-8", "backslashreplace")
        return str(self._template % self._shown((*numbers, json.dumps(text)[1:-1])))

    def _numbers(self, data: Buffer, at: int, end: int) -> tuple[Any, ...]:
        """All numbers of the message from `at` to `end`."""
        pieces = self._pieces
        numbers = pieces[0][0](data, at)
        for unpack, start, back in pieces[1:]:
            numbers += unpack(data, end - back if back else at + start)
        return numbers

    def _in_hole(self, data: Buffer, at: int, end: int) -> memoryview:
        """The run of any length of the message from `at` to `end`; only of a shape that has one."""
        assert self._hole_at is not None
        start = at + self._hole_at
        return memoryview(data)[start : start + end - at - self._hole]


class _Table:
    """Makes lines of messages of one shape in a row: of fixed size, and in one byte order."""

    def __init__(self, shape: Shape) -> None:
        self._texts, order = shape._texts, shape._order
        wire = sorted(order)
        self._ranks = [wire.index(index) for index in order]
        codes = "".join(
            leaf.code if index in order else f"{struct.calcsize('=' + leaf.code)}x"
            for index, leaf in enumerate(shape._leaves)
        )
        wide = (leaf.order for leaf in shape._leaves if leaf.code in "hHiIqQ")
        byte_order = next(wide, "<")
        self._one = struct.Struct(byte_order + codes)
        self._many = struct.Struct(byte_order + codes * UNPACKED)
        self._around: tuple[tuple[Around, int], list[bytes]] | None = None

    def rows(self, around: Around, data: Buffer, run: Run, offset: int, times: Sequence[int]) -> Rows:
        """See `Kind`."""
        texts, ranks, size = self._framed(around, run.size), self._ranks, run.size
        first, each = offset + run.at, len(ranks)
        if run.many == 1:
            alone = self._one.unpack_from(data, run.at)
            return Rows(b"%d".join(texts), each + 2, (times[0], first, *[alone[rank] for rank in ranks]))
        span = memoryview(data)[run.at : run.at + run.many * size]
        whole = len(span) - len(span) % self._many.size
        numbers = list(chain.from_iterable(self._many.iter_unpack(span[:whole])))
        numbers += chain.from_iterable(self._one.iter_unpack(span[whole:]))
        columns: list[Any] = [times, range(first, first + run.many * size, size)]
        columns += [numbers[rank::each] for rank in ranks]
        # What is the same in all of them is written once.
        line, free = [texts[0]], []
        for column, text in zip(columns, texts[1:], strict=True):
            one = column[0]
            if one == column[-1] and column.count(one) == run.many:
                line += (b"%d" % one, text)
            else:
                line += (b"%d", text)
                free.append(column)
        flat: list[Any] = [None] * (len(free) * run.many)
        for place, column in enumerate(free):
            flat[place :: len(free)] = column
        return Rows(b"".join(line), len(free), flat)

    def _framed(self, around: Around, size: int) -> list[bytes]:
        """The texts of a line between which numbers are: the time, the offset, and those of the shape."""
        if self._around is None or self._around[0] != (around, size):
            time, place, wide, fields, end = (text.replace("%", "%%") for text in around)
            first, *others = [text.encode() for text in self._texts]
            texts = [time.encode(), place.encode(), f"{wide}{size}{fields}".encode() + first, *others]
            texts[-1] += end.encode() + b"\n"
            self._around = (around, size), texts
        return self._around[1]


def _pattern(shape: Shape) -> re.Pattern[bytes]:
    """What messages of a shape in a row match, of which all have one size."""
    pieces = [
        re.escape(leaf.wire) if leaf.key else b".{%d}" % struct.calcsize("=" + leaf.code)
        for leaf in shape._leaves
    ]
    # Not a possessive one: before 3.11.5 and 3.12 Python ended that in the midst of the message that differs.
    return re.compile(b"(?:%b){1,%d}" % (b"".join(pieces), ROW), re.DOTALL)


class _Sized(KnownParts):
    """The parts of one message of a shape that has no size of its own."""

    shape: Shape

    def text(self, raw: bytes) -> str:
        return self.shape.text(raw)


def _at(values: Any, name: Name) -> Any:
    for step in name:
        values = values.to if step == "to" else values[step]
    return values


def _shape(parts: tuple[Part, ...], read: list[Values], size: int, quiet: bool) -> Shape:
    """The shape of a message of `size` bytes that its parts' layouts have read as `read`, or `_Unshaped`."""
    walk = _Walk()
    for index, (part, values) in enumerate(zip(parts, read, strict=True)):
        walk.packet(part.cls, values, (index,))
        while walk.pending:
            walk.pending.sort(key=itemgetter(0))
            _, cls, found, name = walk.pending.pop(0)
            if not all(leaf.code for leaf in walk.leaves):
                raise _Unshaped  # the pointer to what is behind a run of any length would change with it
            walk.packet(cls, found, name)
    leaves = walk.leaves
    plain = [leaf for leaf in leaves if leaf.code]
    fixed = len(plain) == len(leaves)
    for leaf in plain:
        leaf.key = leaf.key or leaf.name in walk.asked or (fixed and leaf.name in HEADER)
        if leaf.key:
            leaf.wire = struct.pack(leaf.order + leaf.code, _at(read, leaf.name))
    index_of = {leaf.name: index for index, leaf in enumerate(plain)}
    shape = Shape(parts)
    shape.title = parts[-1].cls.title()
    shape.quiet = quiet
    shape._hole = struct.calcsize("=" + "".join(leaf.code for leaf in plain))
    shape._hole_at = None
    for at, leaf in _places(leaves):
        if not leaf.code:
            shape._hole_at = at
    if shape._hole + sum(len(_at(read, leaf.name)) for leaf in leaves if not leaf.code) != size:
        raise _Unshaped
    shape._pieces = list(_pieces(leaves))
    shape._lengths = []
    for length, asked in walk.lengths:
        shape._lengths.append((length, [(one[-1], index_of[one]) for one in sorted(asked)]))
    keys = [index for index, leaf in enumerate(plain) if leaf.key]
    shape._key_of = itemgetter(*keys) if keys else _nothing
    numbers: list[Any] = [_at(read, leaf.name) for leaf in plain]
    shape._leaves, shape._table, shape._pattern = plain, None, None
    shape._key = shape._key_of(numbers)
    tree = _tree(read, (), index_of)
    names = {"Values": Values, "Pointer": Pointer}
    shape._build = eval(f"lambda v, hole: ({tree},)", names)
    shape._leads = tuple(_leads(read[-1]))
    for index, leaf in enumerate(plain):
        if not leaf.key:
            numbers[index] = NUMBER + index
    _as_shown(shape, numbers, len(plain))
    return shape


def _places(leaves: list[_Leaf]) -> Iterator[tuple[int, _Leaf]]:
    at = 0
    for leaf in leaves:
        yield at, leaf
        at += struct.calcsize("=" + leaf.code)


def _pieces(leaves: list[_Leaf]) -> Iterator[tuple[Callable[..., tuple[Any, ...]], int, int]]:
    """(unpack, where it begins, or how far before the message's end), for neighbours of one byte order."""
    runs: list[tuple[str, str]] = []
    for leaf in leaves:
        free = struct.calcsize("=" + leaf.code) == 1 or leaf.code.endswith("s")
        if runs and runs[-1][1] and leaf.code and (free or runs[-1][0] in (leaf.order, "=")):
            order = leaf.order if runs[-1][0] == "=" and not free else runs[-1][0]
            runs[-1] = (order, runs[-1][1] + leaf.code)
        else:
            runs.append(("=" if free else leaf.order, leaf.code))
    total = sum(struct.calcsize("=" + code) for _, code in runs)
    at, behind = 0, False
    for order, code in runs:
        if not code:
            behind = True
            continue
        one = struct.Struct(("<" if order == "=" else order) + code)
        yield one.unpack_from, at, total - at if behind else 0
        at += one.size


def _tree(value: Any, name: Name, index_of: dict[Name, int]) -> str:
    """An expression for `value` in terms of the numbers `v` and the bytes `hole`."""
    if name in index_of and not (isinstance(value, Pointer) and value):
        number = f"v[{index_of[name]}]"
        return f"Pointer({number})" if isinstance(value, Pointer) else number
    if isinstance(value, Pointer):
        return f"Pointer(v[{index_of[name]}], {_tree(value.to, (*name, 'to'), index_of)})"
    if isinstance(value, Values):
        # What pointers lead to is found behind them.
        inside = ", ".join(
            f"{key!r}: {_tree(item, (*name, key), index_of)}"
            for key, item in value.items()
            if not (key == "pointed_to" and isinstance(item, bytes))
        )
        return f"Values({{{inside}}})"
    if isinstance(value, list):
        return (
            ("" if not name else "[")
            + ", ".join(_tree(item, (*name, index), index_of) for index, item in enumerate(value))
            + ("" if not name else "]")
        )
    if isinstance(value, bytes):
        return "hole" if value else "b''"
    raise _Unshaped


def _leads(values: Values) -> Iterator[tuple[str, Name]]:
    """Where the pointers are that a body's layout has followed."""
    wanted: dict[int, str] = {id(pointer): name for name, pointer in getattr(values, "leads", ())}

    def search(value: Any, name: Name) -> Iterator[tuple[str, Name]]:
        if id(value) in wanted:
            yield wanted[id(value)], name
        if isinstance(value, Pointer):
            yield from search(value.to, (*name, "to"))
        elif isinstance(value, Values):
            for key, item in value.items():
                yield from search(item, (*name, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from search(item, (*name, index))

    found = list(search(values, ()))
    if len(found) != len(wanted):
        raise _Unshaped
    return iter(found)


def _as_shown(shape: Shape, numbers: list[Any], hole: int) -> None:
    """Make the template, of what the layouts show of this message with a mark in place of each number."""
    shown: dict[str, Any] = {}
    for part, values in zip(shape, shape._build(numbers, HOLE), strict=True):
        shown.update(part.cls.layout().describe(values))
    text = json.dumps(shown).replace("%", "%%")
    places: list[tuple[int, int, str, str]] = []
    marks = [(str(number), index, "%d") for index, number in enumerate(numbers) if _is_mark(number)]
    shape._hole_text = 0
    if shape._hole_at is not None:
        for how, mark in ((1, HOLE.hex()), (2, HOLE.decode())):
            if mark in text:
                shape._hole_text = how
                marks.append((mark, hole, "%s"))
    for mark, index, code in marks:
        at = text.find(mark)
        if at >= 0:
            if text.find(mark, at + 1) >= 0:
                raise _Unshaped
            places.append((at, index, mark, code))
    places.sort()
    pieces, done = [], 0
    for at, _, mark, code in places:
        pieces += [text[done:at], code]
        done = at + len(mark)
    shape._template = "".join([*pieces, text[done:]])
    order = [index for _, index, _, _ in places]
    shape._texts, shape._order = [*pieces[::2], text[done:]], order
    shape._shown = _several(order)


def _is_mark(number: Any) -> bool:
    return isinstance(number, int) and number >= NUMBER


def _nothing(numbers: Any) -> None:
    """What decides where nothing does."""


def _several(order: list[int]) -> Callable[[Any], Any]:
    """What takes the values in this order out of a tuple, always as a tuple."""
    if len(order) > 1:
        return itemgetter(*order)
    return (lambda numbers: (numbers[order[0]],)) if order else (lambda numbers: ())


class Shapes:
    """The shapes that one session has met."""

    def __init__(self) -> None:
        self._found: dict[tuple[Side, int, int], list[Shape]] = {}
        # Side, type and size of a message -> shapes; a size of 0: with a run of any length.
        self._seen: dict[tuple[Side, int], int] = {}
        self._messages = 0
        self._tries = 0

    def find(
        self, side: Side, number: int, data: Buffer, at: int, end: int
    ) -> tuple[Shape, tuple[Any, ...]] | None:
        """The shape of message `number` from `at` to `end`, and its numbers; None where none fits."""
        size = end - at
        for shapes in (self._found.get((side, number, size)), self._found.get((side, number, 0))):
            if shapes is None:
                continue
            for place, shape in enumerate(shapes):
                if shape._hole <= size:
                    numbers = shape.take(data, at, end)
                    if numbers is not None:
                        if place:
                            shapes.insert(0, shapes.pop(place))
                        return shape, numbers
        return None

    def learn(
        self, side: Side, number: int, parts: tuple[Part, ...], read: list[Values], *, quiet: bool
    ) -> None:
        """Take note of a message that its layouts have read; where it pays, it becomes a shape."""
        size = parts[-1].end
        seen = self._seen[side, number] = self._seen.get((side, number), 0) + 1
        self._messages += 1
        full = len(self._found.get((side, number, size), ())) >= SHAPES
        if seen <= SEEN_BEFORE or full or self._tries > FREE + self._messages // EVERY:
            return
        self._tries += 1
        try:
            shape = _shape(parts, read, size, quiet)
        except _Unshaped:
            return
        shapes = self._found.setdefault((side, number, size if shape._hole_at is None else 0), [])
        if len(shapes) < SHAPES:
            shapes.append(shape)
