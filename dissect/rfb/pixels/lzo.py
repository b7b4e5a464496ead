# SPDX-License-Identifier: GPL-2.0-or-later
"""LZO1X, as far as it must be undone for the Ultra encoding.

The format as the Linux kernel documents it (Documentation/staging/lzo.rst): a stream of instructions, each of
which copies bytes from further back in the output and then up to three, or more, from the input.
"""

from __future__ import annotations


class Corrupt(ValueError):
    """The data is not LZO1X, or does not give what it should."""


def decompress(data: bytes, size: int) -> bytes:
    """`size` bytes out of `data`; raises `Corrupt` where there are more or fewer. No more memory is taken."""
    try:
        return _decompress(data, size)
    except IndexError:
        raise Corrupt(f"ends in the middle, after {len(data)} bytes") from None


def _decompress(data: bytes, size: int) -> bytes:
    out = bytearray()
    at = 0
    state = 0  # how many literals the last instruction copied; 4 stands for a run of more

    def length(bits: int, mask: int, at: int) -> tuple[int, int]:
        """A length in the low bits of an instruction, or, where they are 0, in the bytes that follow."""
        value = bits & mask
        if value:
            return value, at
        value = mask
        while data[at] == 0:
            value += 255
            at += 1
        return value + data[at], at + 1

    def literals(count: int, at: int) -> int:
        if at + count > len(data) or len(out) + count > size:
            raise Corrupt(f"{count} literals at byte {at} are too many")
        out.extend(data[at : at + count])
        return at + count

    if data[0] > 17:
        count = data[0] - 17
        at = literals(count, 1)
        state = min(count, 4)
    while True:
        code = data[at]
        at += 1
        if code < 16 and state == 0:
            count, at = length(code, 15, at)
            at = literals(count + 3, at)
            state = 4
            continue
        if code >= 64:
            count = (code >> 5) + 1
            back = (data[at] << 3) + (code >> 2 & 7) + 1
            tail = code & 3
            at += 1
        elif code >= 32:
            count, at = length(code, 31, at)
            count += 2
            word = data[at] | data[at + 1] << 8
            back, tail = (word >> 2) + 1, word & 3
            at += 2
        elif code >= 16:
            count, at = length(code, 7, at)
            count += 2
            word = data[at] | data[at + 1] << 8
            back, tail = ((code & 8) << 11) + (word >> 2) + 0x4000, word & 3
            at += 2
            if back == 0x4000:
                break
        else:
            back = (data[at] << 2) + (code >> 2) + 1
            count = 2
            if state == 4:
                back += 2048
                count = 3
            tail = code & 3
            at += 1
        if back > len(out) or len(out) + count > size:
            raise Corrupt(f"a copy of {count} bytes from {back} back at byte {at} reaches outside")
        for _ in range(count // back):
            out += out[-back:]
        rest = count % back
        start = len(out) - back
        out += out[start : start + rest]
        at = literals(tail, at)
        state = tail
    if len(out) != size:
        raise Corrupt(f"gives {len(out)} bytes instead of {size}")
    return bytes(out)
