"""Public-key sealing: HPKE in base mode with X-Wing, so that it holds against a quantum computer.

Owns: the public-key row of FORMAT.md section 1 and the two key encodings of section 4. Must not
know: what is sealed to whom.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from encfs.errors import AuthenticationError, FormatError

SEED_SIZE: Final = 64
X25519_SIZE: Final = 32
PRIVATE_SIZE: Final = SEED_SIZE + X25519_SIZE
MLKEM_PUBLIC_SIZE: Final = 1184
PUBLIC_SIZE: Final = MLKEM_PUBLIC_SIZE + X25519_SIZE
ENC_SIZE: Final = 1120
_HPKE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def generate() -> tuple[bytes, bytes]:
    """A fresh key pair.

    Returns:
        The private key (ML-KEM-768 seed || X25519, 96 bytes) and the public key (1,216 bytes).
    """
    lattice, curve = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    private = lattice.private_bytes_raw() + curve.private_bytes_raw()
    return private, lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


def public_of(private: bytes) -> bytes:
    """The public key of a private one.

    Raises:
        FormatError: ``private`` is not a private key.
    """
    lattice, curve = _private_halves(private)
    return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


def seal(public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """enc (1,120 bytes) || ciphertext || tag, without AAD.

    Raises:
        FormatError: ``public`` is not a public key.
    """
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_SIZE]),
            X25519PublicKey.from_public_bytes(public[MLKEM_PUBLIC_SIZE:]),
        )
        return _HPKE.encrypt(plaintext, key, info)
    except ValueError as exc:
        raise FormatError("a public key is not valid") from exc


def unseal(private: bytes, info: bytes, sealed: bytes) -> bytes:
    """The inverse of ``seal``.

    Raises:
        AuthenticationError: sealed to another key, with another info, or changed.
        FormatError: ``private`` is not a private key.
    """
    lattice, curve = _private_halves(private)
    try:
        return _HPKE.decrypt(sealed, MLKEM768X25519PrivateKey(lattice, curve), info)
    except InvalidTag as exc:
        raise AuthenticationError("a sealed key does not open") from exc


def _private_halves(private: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    if len(private) != PRIVATE_SIZE:
        raise FormatError("a private key has the wrong length")
    return (
        MLKEM768PrivateKey.from_seed_bytes(private[:SEED_SIZE]),
        X25519PrivateKey.from_private_bytes(private[SEED_SIZE:]),
    )
