"""Authenticated encryption: AES-256-GCM for everything, AES-SIV for names.

Owns: the AEAD rows of FORMAT.md section 1 and ``sealed()``. Must not know: key derivation, what
is sealed. Opening returns the plaintext or raises; there is no third outcome.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as Aead
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from encfs.crypto import rng
from encfs.errors import AuthenticationError

__all__ = [
    "KEY_SIZE",
    "NAME_KEY_SIZE",
    "NONCE_SIZE",
    "TAG_SIZE",
    "Aead",
    "InvalidTag",
    "NameCipher",
    "seal",
    "seal_with",
    "unseal",
    "unseal_with",
]

NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16
KEY_SIZE: Final = 32
NAME_KEY_SIZE: Final = 64


def seal(key: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """nonce || GCM(key, nonce, aad, plaintext) with a fresh nonce."""
    return seal_with(Aead(key), aad, plaintext)


def seal_with(aead: Aead, aad: bytes, plaintext: bytes) -> bytes:
    """:func:`seal` under a key whose schedule is made already."""
    nonce = rng.random_bytes(NONCE_SIZE)
    return nonce + aead.encrypt(nonce, plaintext, aad)


def unseal(key: bytes, aad: bytes, sealed: bytes) -> bytes:
    """The inverse of ``seal``.

    Raises:
        AuthenticationError: it was sealed with another key or AAD, or changed, or cut short.
    """
    return unseal_with(Aead(key), aad, sealed)


def unseal_with(aead: Aead, aad: bytes, sealed: bytes) -> bytes:
    """:func:`unseal` under a key whose schedule is made already; raises the same."""
    if len(sealed) < NONCE_SIZE + TAG_SIZE:
        raise AuthenticationError("sealed data is too short")
    try:
        return aead.decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], aad)
    except InvalidTag as exc:
        raise AuthenticationError("sealed data does not open: its tag is wrong") from exc


class NameCipher:
    """AES-SIV (RFC 5297) with one associated data string. Deterministic: equal names are equal."""

    __slots__ = ("_decrypt", "_encrypt")

    def __init__(self, key64: bytes) -> None:
        siv = AESSIV(key64)
        self._encrypt = siv.encrypt
        self._decrypt = siv.decrypt

    def seal(self, name_padded: bytes, ad: bytes) -> bytes:
        """The synthetic IV (16 bytes) || ciphertext. The name must not be empty."""
        return self._encrypt(name_padded, [ad])

    def open(self, sealed: bytes, ad: bytes) -> bytes:
        """The inverse of ``seal``.

        Raises:
            AuthenticationError: another key, another associated data, or changed.
        """
        try:
            return self._decrypt(sealed, [ad])
        except InvalidTag as exc:
            raise AuthenticationError("a sealed name does not open") from exc
