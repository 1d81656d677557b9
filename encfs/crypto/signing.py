"""Signatures that show which host wrote something: Ed25519.

Owns: keys and signatures as raw bytes. Must not know: what is signed, where keys are kept.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from encfs.errors import AuthenticationError, FormatError

PRIVATE_SIZE: Final = 32
PUBLIC_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64


def generate() -> tuple[bytes, bytes]:
    """A fresh key pair (RFC 8032): the private key (32 bytes) and the public one (32 bytes)."""
    private = Ed25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def public_of(private: bytes) -> bytes:
    """The public key of a private one.

    Raises:
        FormatError: ``private`` is no private key.
    """
    return _private(private).public_key().public_bytes_raw()


def sign(private: bytes, message: bytes) -> bytes:
    """The 64 bytes for ``message``.

    Raises:
        FormatError: ``private`` is no private key.
    """
    return _private(private).sign(message)


def check(public: bytes, signature: bytes, message: bytes) -> None:
    """Raises: AuthenticationError: not signed with the private half of ``public``, which may be no key at all."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as exc:
        raise AuthenticationError("a signature is not right") from exc


def _private(private: bytes) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(private)
    except ValueError as exc:
        raise FormatError("a private key has the wrong length") from exc
