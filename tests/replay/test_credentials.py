# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers to live peers, held against known pairs and against the other half of each algorithm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from dissect.replay import credentials
from dissect.replay.credentials import CredentialError, spice_ticket, vnc_response


def test_des_is_the_published_one_with_the_bits_of_the_key_reversed() -> None:
    """FIPS 81's example: "Now is the time for all " under 0123456789abcdef, whose bytes are here reversed."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in bytes.fromhex("0123456789abcdef"))
    assert vnc_response(b"Now is the time ", key).hex() == "3fa40e8a984d48156a271787ab8883f9"


def test_a_password_is_cut_at_eight_bytes_and_padded_with_nul() -> None:
    challenge = bytes(range(16))
    assert vnc_response(challenge, "secret42") == vnc_response(challenge, "secret42 and more")
    assert vnc_response(challenge, "abc") == vnc_response(challenge, b"abc\0\0\0\0\0")
    assert vnc_response(challenge, "abc") != vnc_response(challenge, "abd")
    assert vnc_response(challenge, "é") == vnc_response(challenge, b"\xe9")


@pytest.mark.parametrize("password", ["", "xyz", "é" * 60])
def test_the_server_reads_its_ticket(password: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = rsa.generate_private_key(65537, 1024)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert len(public) == 162, "the size of the field in SpiceLinkReply"
    ticket = spice_ticket(public, password)
    assert len(ticket) == credentials.TICKET_BYTES
    assert key.decrypt(ticket, credentials.oaep()) == password.encode("latin-1") + b"\0"


def test_what_cannot_be_computed_is_one_clear_line() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    large = rsa.generate_private_key(65537, 2048).public_key()
    der = large.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    calls: list[tuple[Callable[[], bytes], str]] = [
        (lambda: vnc_response(b"short", "x"), "16 bytes, not 5"),
        (lambda: vnc_response(bytes(16), "€"), "character 1"),
        (lambda: spice_ticket(bytes(162), "x"), "cannot be read"),
        (lambda: spice_ticket(b"", "x"), "cannot be read"),
        (lambda: spice_ticket(der, "x"), "not RSA of 1024"),
        (lambda: spice_ticket(bytes(162), "x" * 61), "at most 60 bytes, not 61"),
    ]
    for call, words in calls:
        with pytest.raises(CredentialError, match=words) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_a_key_whose_modulus_is_none_is_said_to_be_unusable() -> None:
    """Every modulus is odd; a damaged one is found only when it is used."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = rsa.generate_private_key(65537, 1024).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    modulus = public.public_numbers().n
    even = der.replace(modulus.to_bytes(128, "big"), (modulus - 1).to_bytes(128, "big"))
    assert even != der
    with pytest.raises(CredentialError, match=r"cannot be (used|read)"):
        spice_ticket(even, "x")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("cryptography.hazmat.decrepit.ciphers.algorithms", "cryptography.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    calls: list[Callable[[], bytes]] = [
        lambda: vnc_response(bytes(16), ""),
        lambda: spice_ticket(bytes(162), ""),
    ]
    for call in calls:
        with pytest.raises(CredentialError, match=r"firstbyte\[lab\]"):
            call()


def test_importing_it_loads_no_cryptography() -> None:
    code = "import sys, dissect.replay.credentials; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
