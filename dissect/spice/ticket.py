# SPDX-License-Identifier: GPL-2.0-or-later
"""The password in a ticket, for who has the server's private key: RSA-OAEP (RFC 8017) with SHA-1.

spice-server makes a new key for each link and keeps it to itself; a server of one's own, or a model, may not.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

HASH_SIZE = 20
RSA = bytes.fromhex("06092a864886f70d010101")
"""rsaEncryption, as DER has it."""


class NotAKey(ValueError):
    """The bytes are not an RSA private key in PEM or DER, or it is encrypted."""


class NotDecrypted(ValueError):
    """The ticket is not for this key."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """An RSA key: modulus and private exponent."""

    modulus: int
    exponent: int

    @classmethod
    def read(cls, data: bytes) -> PrivateKey:
        """A key in PEM or DER, PKCS #1 or PKCS #8, not encrypted. Raises `NotAKey`."""
        armour = re.search(rb"-----BEGIN (?:RSA )?PRIVATE KEY-----(.*?)-----END", data, re.DOTALL)
        try:
            if armour:
                data = base64.b64decode(armour[1])
            values, _ = _items(*_item(data, 0x30))
            if len(values) > 2 and RSA in data[:64] and values[2][0] == 4:  # PKCS #8 holds PKCS #1
                values, _ = _items(*_item(values[2][1], 0x30))
            numbers = [int.from_bytes(content, "big") for tag, content in values if tag == 2]
            version, modulus, _, exponent = numbers[:4]
        except (ValueError, IndexError):
            raise NotAKey("it is not an RSA private key, or it is encrypted") from None
        if version or not modulus:
            raise NotAKey("it is not an RSA private key of two primes")
        return cls(modulus, exponent)

    def password(self, ticket: bytes) -> bytes:
        """The password that a ticket holds, without its NUL. Raises `NotDecrypted`."""
        size = (self.modulus.bit_length() + 7) // 8
        number = int.from_bytes(ticket, "big")
        if len(ticket) != size or number >= self.modulus:
            raise NotDecrypted(f"a ticket for this key has {size} bytes")
        block = pow(number, self.exponent, self.modulus).to_bytes(size, "big")
        seed, hidden = block[1 : 1 + HASH_SIZE], block[1 + HASH_SIZE :]
        seed = _xor(seed, _mask(hidden, HASH_SIZE))
        data = _xor(hidden, _mask(seed, len(hidden)))
        padding, one, text = data[HASH_SIZE:].partition(b"\1")
        if block[0] or data[:HASH_SIZE] != hashlib.sha1(b"").digest() or padding.strip(b"\0") or not one:
            raise NotDecrypted("the ticket is not for this key")
        return text.partition(b"\0")[0]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _mask(seed: bytes, size: int) -> bytes:
    """MGF1."""
    found = b""
    counter = 0
    while len(found) < size:
        found += hashlib.sha1(seed + counter.to_bytes(4, "big")).digest()
        counter += 1
    return found[:size]


def _item(data: bytes, tag: int) -> tuple[bytes, int]:
    """The content of the DER item that `data` begins with, and 0, from where to read it."""
    found, content, _ = _next(data, 0)
    if found != tag:
        raise ValueError("another item")
    return content, 0


def _items(data: bytes, at: int) -> tuple[list[tuple[int, bytes]], int]:
    """All DER items in `data`: tag and content."""
    found = []
    while at < len(data):
        tag, content, at = _next(data, at)
        found.append((tag, content))
    return found, at


def _next(data: bytes, at: int) -> tuple[int, bytes, int]:
    tag, size = data[at], data[at + 1]
    at += 2
    if size & 0x80:
        count = size & 0x7F
        size = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + size > len(data):
        raise ValueError("cut off")
    return tag, data[at : at + size], at + size
