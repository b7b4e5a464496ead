# SPDX-License-Identifier: GPL-2.0-or-later
"""QUIC, the image coder of SPICE (spice-common's quic.c), which goes back to SFALIC of R. Starosolski.

Each pixel is told by how it differs from what its neighbours above and to the left predict. A difference is a
number whose Golomb-Rice code is chosen by the difference before it; which code is best is learned on the way,
at pixels that a fixed sequence of waiting times picks. Where the line above and this line stand still, a run
of equal pixels may follow, its length in a MELCODE. Red, green and blue are learned apart but wait together;
an alpha channel follows each line and is a plane of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dissect.spice.pixels.lz import Damaged

GRAY, RGB16, RGB24, RGB32, RGBA = 1, 2, 3, 4, 5

LONGEST = 26
"""Bits of a code word at most."""
FINAL_WAIT, STEP = 6, 2048
"""Bits of a waiting time at last, and after how many pixels it grows by one."""
TRIGGERS = (110, 550, 900, 800, 550, 400, 350)
"""Bits of a wait -> cost from which on the counters of a bucket are halved."""
RUNS = (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15)
"""State of the MELCODE -> bits of the run that is expected."""
WAITS = bytes.fromhex(
    "021713150712280e0c202f2c2406120b04132a1d103f39331003050e0f1e1409242d03393d000805290e2b1b2b3b1f23"
    "273c2a260d363e011a030b3d34220730043b160c160832040a062c080b2e1f333511012b2e3c24360a1b272c16291702"
    "2c0028352830102b201c210c1402383e373a12140d37261d391331212f3f3b00233d13192e263c0423011a281c0a050e"
    "19123031143b3e222e072134223a091d08373e3c2524253206030a1c30181a3d391e0b360206322f07112335200c1711"
    "05153137332d341b2719273f16182a343826292938200d181a331b383a25182a0f1c111e1f0f101719362122011d1f32"
    "3515310f2f09003a252d1e0d092d3f15"
)
"""The waiting times, of which the lowest bits are used: the lowest 6 of spice-common's table."""

Rows = npt.NDArray[np.uint8]


class _Bits:
    """Little-endian words of 32 bits, read from the highest bit on."""

    def __init__(self, data: bytes) -> None:
        whole = len(data) // 4
        self.words: list[int] = [*np.frombuffer(data, "<u4", whole).tolist(), 0, 0, 0, 0]
        self.at = 0
        self.end = 32 * whole

    def look(self) -> int:
        """The next 32 bits."""
        at = self.at
        word = at >> 5
        if at > self.end:
            raise Damaged("it is cut off")
        return (self.words[word] << 32 | self.words[word + 1]) >> 32 - (at & 31) & 0xFFFFFFFF


class _Family:
    """The code words for numbers of so many bits."""

    def __init__(self, bits: int) -> None:
        self.bits, self.mask = bits, (1 << bits) - 1
        self.codes: list[tuple[int, int, int, int]] = []
        # For each code: bits above this are Golomb-Rice; numbers of these; length of the others; their mask.
        self.lengths: list[list[int]] = []
        for code in range(bits):
            prefix = min(LONGEST - bits, (1 << bits - code) - 1)
            numbers = prefix << code
            suffix = (self.mask - numbers).bit_length()
            self.codes.append(((1 << 32 - prefix) - 1, numbers, prefix + suffix, (1 << suffix) - 1))
        for number in range(1 << bits):
            self.lengths.append(
                [
                    (number >> code) + code + 1 if number < numbers else length
                    for code, (_, numbers, length, _) in enumerate(self.codes)
                ]
            )
        # A difference, from its number: 0, -1, 1, -2, 2 ...
        self.signed = [
            self.mask - (number >> 1) if number & 1 else number >> 1 for number in range(1 << bits)
        ]
        self.bucket: list[int] = []
        size = 1
        while len(self.bucket) < 1 << bits:
            left = (1 << bits) - len(self.bucket)
            self.bucket += [size.bit_length() - 1] * (left if left - size < size else size)
            size *= 2


_FAMILIES = {5: _Family(5), 8: _Family(8)}


class _Plane:
    """One or three channels that are decoded together."""

    def __init__(self, bits: _Bits, family: _Family, channels: int, width: int) -> None:
        self.bits, self.family, self.width = bits, family, width
        buckets = family.bucket[-1] + 1
        self.best = [[family.bits - 1] * buckets for _ in range(channels)]
        self.costs = [[[0] * family.bits for _ in range(buckets)] for _ in range(channels)]
        self.numbers = [[0] * (width + 1) for _ in range(channels)]
        # Of each pixel the number of its difference; the first is of the pixel before the line.
        self.wait = 0
        self.turn = -1
        self.wait_bits, self.left = 0, STEP
        self.run_state = 0

    def line(self, above: list[list[int]] | None) -> list[list[int]]:
        """The next line, each channel's values; `above` is the one before it."""
        line = [[0] * self.width for _ in self.numbers]
        for numbers in self.numbers:
            numbers[0] = 0 if above is None else numbers[1]
        at, left = 0, self.width
        while self.wait_bits < FINAL_WAIT and self.left <= left:
            if self.left:
                self._stretch(line, above, at, at + self.left)
                at, left = at + self.left, left - self.left
            self.wait_bits += 1
            self.left = STEP
        if left:
            self._stretch(line, above, at, at + left)
            if self.wait_bits < FINAL_WAIT:
                self.left -= left
        return line

    def _stretch(self, line: list[list[int]], above: list[list[int]] | None, at: int, end: int) -> None:
        ran_at = 0
        if at == 0:
            self._pixels(line, above, 0, 1)
            if self.wait:
                self.wait -= 1
            else:
                self.wait = self._next_wait()
                self._learn(0)
            at = 1
        stop = at + self.wait
        while True:
            until = min(stop + 1, end)
            if above is None:
                self._pixels(line, above, at, until)
                at = until
            else:
                found = self._run_before(above, at, until)
                self._pixels(line, above, at, found)
                at = found
                while at < until:
                    if self._may_run(line, above, at, ran_at):
                        break
                    self._pixels(line, above, at, at + 1)
                    at += 1
                if at < until:
                    self.wait = stop - at
                    ran_at = at
                    over = at + self._run()
                    if over > end:
                        raise Damaged("a run goes beyond its line")
                    for values in line:
                        values[at:over] = [values[at - 1]] * (over - at)
                    at = over
                    if at == end:
                        return
                    stop = at + self.wait
                    continue
            if stop < end:
                self._learn(stop)
                stop = at + self._next_wait()
            else:
                self.wait = stop - end
                return

    @staticmethod
    def _run_before(above: list[list[int]], at: int, until: int) -> int:
        """Up to where no run can begin, because the line above changes at each pixel."""
        while at < until:
            for values in above:
                if values[at - 1] != values[at]:
                    break
            else:
                return at
            at += 1
        return at

    @staticmethod
    def _may_run(line: list[list[int]], above: list[list[int]], at: int, ran_at: int) -> bool:
        if at == ran_at or at <= 2:
            return False
        for values in above:
            if values[at - 1] != values[at]:
                return False
        return all(values[at - 1] == values[at - 2] for values in line)

    def _pixels(self, line: list[list[int]], above: list[list[int]] | None, at: int, until: int) -> None:
        """Decode the pixels from `at` to `until`, channel after channel of each."""
        bits, family = self.bits, self.family
        signed, mask, codes, bucket = family.signed, family.mask, family.codes, family.bucket
        channels = list(zip(line, above or line, self.numbers, self.best, strict=True))
        words, position = bits.words, bits.at
        for place in range(at, until):
            if position > bits.end:
                raise Damaged("it is cut off")
            for values, before, numbers, best in channels:
                code = best[bucket[numbers[place]]]
                word = position >> 5
                look = (words[word] << 32 | words[word + 1]) >> 32 - (position & 31) & 0xFFFFFFFF
                limit, first, length, suffix = codes[code]
                if look > limit:
                    zeros = 32 - look.bit_length()
                    length = zeros + 1 + code
                    number = zeros << code | look >> 32 - length & (1 << code) - 1
                else:
                    number = first + (look >> 32 - length & suffix)
                position += length
                numbers[place + 1] = number & mask
                if above is None:
                    guess = values[place - 1] if place else 0
                elif place:
                    guess = values[place - 1] + before[place] >> 1
                else:
                    guess = before[0]
                values[place] = signed[number & mask] + guess & mask
        bits.at = position

    def _learn(self, place: int) -> None:
        """Count what each code would have cost for this pixel; the cheapest is used from now on."""
        family = self.family
        for numbers, best, costs in zip(self.numbers, self.best, self.costs, strict=True):
            bucket = family.bucket[numbers[place]]
            mine = costs[bucket]
            for code, length in enumerate(family.lengths[numbers[place + 1]]):
                mine[code] += length
            least = min(mine)
            # Of equals the last: the codes are compared from the last to the first.
            best[bucket] = family.bits - 1 - mine[::-1].index(least)
            if least > TRIGGERS[self.wait_bits]:
                mine[:] = [cost >> 1 for cost in mine]

    def _next_wait(self) -> int:
        self.turn = self.turn + 1 & 255
        return WAITS[self.turn] & (1 << self.wait_bits) - 1

    def _run(self) -> int:
        """The length of a run."""
        bits, size = self.bits, 0
        while bits.look() >> 31:
            bits.at += 1
            size += 1 << RUNS[self.run_state]
            if self.run_state < len(RUNS) - 1:
                self.run_state += 1
            if size > self.width:
                raise Damaged("a run goes beyond its line")
        bits.at += 1
        rest = RUNS[self.run_state]
        if rest:
            size += bits.look() >> 32 - rest
            bits.at += rest
        if self.run_state:
            self.run_state -= 1
        return size


def decode(data: bytes, kind: int, width: int, height: int) -> tuple[Rows, Rows | None]:
    """Height x width x 3, and the alpha channel of an RGBA image; `data` follows the header.

    Raises `Damaged`.
    """
    if kind not in (GRAY, RGB16, RGB24, RGB32, RGBA):
        raise Damaged(f"type {kind} is not defined")
    # A line of runs alone has at least one bit; so no small message stands for a picture without end.
    if height > 8 * len(data):
        raise Damaged(f"it has {len(data)} bytes for {height} lines")
    bits = _Bits(data)
    colours = _Plane(bits, _FAMILIES[5 if kind == RGB16 else 8], 1 if kind == GRAY else 3, width)
    alpha = _Plane(bits, _FAMILIES[8], 1, width) if kind == RGBA else None
    rgb = np.zeros((height, width, 3), np.uint8)
    over = None if alpha is None else np.zeros((height, width), np.uint8)
    line: list[list[int]] | None = None
    plane: list[list[int]] | None = None
    for row in range(height):
        line = colours.line(line)
        rgb[row] = np.array(line, np.uint8).T
        if alpha is not None and over is not None:
            plane = alpha.line(plane)
            over[row] = plane[0]
    if kind == RGB16:
        rgb = np.bitwise_or(rgb << 3, rgb >> 2).astype(np.uint8)
    return rgb, over
