"""Signatures that show which host wrote something: Ed25519 (RFC 8032), and ECDSA with P-256 and SHA-256 (FIPS 186-5).

Owns: keys and signatures as raw bytes. Must not know: what is signed, where keys are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from encfs.crypto import kdf
from encfs.errors import AuthenticationError, FormatError

PRIVATE_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
_HALF: Final = SIGNATURE_SIZE // 2
_CURVE: Final = ec.SECP256R1()
_ECDSA: Final = ec.ECDSA(SHA256())
_FINGERPRINT_SIZE: Final = 16
_GROUP: Final = 4


class Algorithm(StrEnum):
    """How something is signed. The values stand in documents (FORMAT.md section 17)."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who signed.

    Attributes:
        raw: 32 bytes of Ed25519 (RFC 8032), or the 33 bytes of a compressed point of P-256 (SEC 1).
    """

    algorithm: Algorithm
    raw: bytes

    def check(self, signature: bytes, message: bytes) -> None:
        """Raises: AuthenticationError: not signed with the private half of this key, which may be none at all."""
        try:
            if self.algorithm is Algorithm.ED25519:
                Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
            else:
                point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, self.raw)
                point.verify(_der(signature), message, _ECDSA)
        except (InvalidSignature, ValueError) as exc:
            raise AuthenticationError("a signature is not right") from exc

    def fingerprint(self) -> str:
        """What people compare: 128 bits of SHA-256 over algorithm and key, hexadecimal in eight groups of four."""
        digest = kdf.digest(self.algorithm.encode("ascii") + b"\0" + self.raw)[:_FINGERPRINT_SIZE].hex()
        return "-".join(digest[at : at + _GROUP] for at in range(0, len(digest), _GROUP))


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key.

    Attributes:
        private: 32 bytes: the seed of Ed25519, or the scalar of P-256, big-endian.
    """

    algorithm: Algorithm
    private: bytes = field(repr=False)

    @classmethod
    def generate(cls, algorithm: Algorithm = Algorithm.ED25519) -> Signer:
        """A fresh one."""
        if algorithm is Algorithm.ED25519:
            return cls(algorithm, Ed25519PrivateKey.generate().private_bytes_raw())
        scalar = ec.generate_private_key(_CURVE).private_numbers().private_value
        return cls(algorithm, scalar.to_bytes(PRIVATE_SIZE, "big"))

    @property
    def public(self) -> PublicKey:
        """Its public half.

        Raises:
            FormatError: it is no private key.
        """
        if self.algorithm is Algorithm.ED25519:
            return PublicKey(self.algorithm, self._ed25519().public_key().public_bytes_raw())
        point = self._p256().public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return PublicKey(self.algorithm, point)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes for ``message``; of P-256: r and s, 32 bytes each, big-endian (IEEE P1363).

        Raises:
            FormatError: it is no private key.
        """
        if self.algorithm is Algorithm.ED25519:
            return self._ed25519().sign(message)
        r, s = decode_dss_signature(self._p256().sign(message, _ECDSA))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")

    def _ed25519(self) -> Ed25519PrivateKey:
        try:
            return Ed25519PrivateKey.from_private_bytes(self.private)
        except ValueError as exc:
            raise FormatError("a private key has the wrong length") from exc

    def _p256(self) -> ec.EllipticCurvePrivateKey:
        if len(self.private) != PRIVATE_SIZE:
            raise FormatError("a private key has the wrong length")
        try:
            return ec.derive_private_key(int.from_bytes(self.private, "big"), _CURVE)
        except ValueError as exc:
            raise FormatError("a private key is out of range") from exc


def _der(signature: bytes) -> bytes:
    """An ECDSA signature as the library wants it."""
    if len(signature) != SIGNATURE_SIZE:
        raise ValueError("a signature has the wrong length")
    return encode_dss_signature(int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big"))
