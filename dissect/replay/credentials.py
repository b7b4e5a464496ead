# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording cannot hold: answers that depend on what the live peer has just sent.

A VNC server sends a new challenge, and a SPICE server makes a new key, for every connection; so a recorded
answer is never right again. Both need the package cryptography, which is imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.padding import OAEP

CHALLENGE_BYTES = 16
VNC_PASSWORD_BYTES = 8
"""A longer password is cut: it is a DES key."""
TICKET_BYTES = 128
"""Size of a SPICE ticket: one block of RSA 1024."""
SPICE_PASSWORD_BYTES = 60
"""SPICE_MAX_PASSWORD_LENGTH of protocol.h; the terminating NUL comes on top."""


class CredentialError(Exception):
    """What was asked for cannot be computed; `str()` is one line that says why."""


def password_bytes(password: str | bytes) -> bytes:
    """A password as it is encrypted: bytes as they are, text one byte a character.

    Raises CredentialError for text that has no such form; pass its bytes in the server's encoding instead.
    """
    if isinstance(password, bytes):
        return password
    try:
        return password.encode("latin-1")
    except UnicodeEncodeError as error:
        character = password[error.start]
        raise CredentialError(
            f"character {error.start + 1} of the password ({character!r}) is not one byte"
        ) from None


def vnc_response(challenge: bytes, password: str | bytes) -> bytes:
    """The 16 bytes that answer `challenge` in VNC authentication.

    rfbproto.rst "VNC Authentication": the challenge's two halves, each encrypted with DES; the key is the
    password, cut or padded with NUL to 8 bytes, each with its bits in reverse. Raises CredentialError.
    """
    if len(challenge) != CHALLENGE_BYTES:
        raise CredentialError(f"a VNC challenge has {CHALLENGE_BYTES} bytes, not {len(challenge)}")
    key = password_bytes(password)[:VNC_PASSWORD_BYTES].ljust(VNC_PASSWORD_BYTES, b"\0")
    return vnc_des(key, challenge, "VNC authentication")


def vnc_des(key: bytes, data: bytes, what: str) -> bytes:
    """`data` encrypted with DES as VNC programs do it, `key` being 8 bytes; `what` it is for, in an error.

    Raises CredentialError where the package cryptography is missing.
    """
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
        from cryptography.hazmat.primitives.ciphers import Cipher, modes
    except ImportError:
        raise _missing(what) from None
    # VNC programs load each byte of the key with its lowest bit first.
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    # Triple DES with three equal keys is DES, which the library does not offer by itself.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def spice_ticket(public_key: bytes, password: str | bytes = b"") -> bytes:
    """The 128 bytes of a SpiceLinkEncryptedTicket for a live server's `public_key`.

    public_key: as in SpiceLinkReply, DER SubjectPublicKeyInfo (RSA 1024), 162 bytes. The ticket is the
    password and a NUL, RSA-OAEP with SHA-1. A server without a password decrypts it too, so an empty password
    needs a ticket as well. Raises CredentialError: in particular for the zero key of an error reply.
    """
    plain = password_bytes(password)
    if len(plain) > SPICE_PASSWORD_BYTES:
        raise CredentialError(f"a SPICE password has at most {SPICE_PASSWORD_BYTES} bytes, not {len(plain)}")
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key
    except ImportError:
        raise _missing("a SPICE ticket") from None
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialError(f"the server's public key ({public_key[:8].hex()}…) cannot be read") from None
    if not isinstance(key, RSAPublicKey) or key.key_size != TICKET_BYTES * 8:
        raise CredentialError(f"the server's public key is not RSA of {TICKET_BYTES * 8} bits")
    try:
        return key.encrypt(plain + b"\0", oaep())
    except ValueError:  # a modulus that is none
        raise CredentialError(f"the server's public key ({public_key[:8].hex()}…) cannot be used") from None


def oaep() -> OAEP:
    """The padding of SPICE tickets: OAEP with SHA-1 in both places and no label."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def _missing(what: str) -> CredentialError:
    return CredentialError(f"{what} needs the package cryptography: pip install 'firstbyte[lab]'")
