# SPDX-License-Identifier: GPL-2.0-or-later
"""The password in a ticket, with the server's private key."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from dissect.replay.credentials import spice_ticket
from dissect.spice.ticket import NotAKey, NotDecrypted, PrivateKey

KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)
FORMS = [
    (encoding, kind)
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    for kind in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL)
]


def form(
    encoding: serialization.Encoding = serialization.Encoding.PEM,
    kind: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> bytes:
    return KEY.private_bytes(encoding, kind, serialization.NoEncryption())


@pytest.mark.parametrize(("encoding", "kind"), FORMS)
@pytest.mark.parametrize("password", ["secret", "", "pässwort"])
def test_the_password_is_found(
    encoding: serialization.Encoding, kind: serialization.PrivateFormat, password: str
) -> None:
    ticket = spice_ticket(PUBLIC, password.encode())
    assert PrivateKey.read(form(encoding, kind)).password(ticket) == password.encode()


@pytest.mark.parametrize("ticket", [bytes(128), b"\xff" * 128, b"short", b"\1" * 128])
def test_a_ticket_for_another_key(ticket: bytes) -> None:
    with pytest.raises(NotDecrypted):
        PrivateKey.read(form()).password(ticket)


def test_an_encrypted_key() -> None:
    encrypted = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    with pytest.raises(NotAKey):
        PrivateKey.read(encrypted)


def test_a_public_key_is_no_private_key() -> None:
    with pytest.raises(NotAKey):
        PrivateKey.read(PUBLIC)


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    try:
        PrivateKey.read(data)
    except NotAKey:
        pass
