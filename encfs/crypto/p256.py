"""P-256: the half of a key agreement that is done here, while the private key of the other half stays on a token.

Owns: points and the agreement. Must not know: tokens, what the agreed secret is for.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from encfs.errors import FormatError

POINT_SIZE: Final = 65
"""04 || x || y."""


def check_point(point: bytes) -> None:
    """That it is a point of the curve: another one would make a token tell about its private key.

    Raises:
        FormatError: it is none, or compressed.
    """
    _public(point)


def agree(point: bytes) -> tuple[bytes, bytes]:
    """A fresh key pair, and what it has in common with the holder of ``point``.

    Returns:
        The public half of the pair (65 bytes), and x of the common point (32 bytes). The private half is gone.

    Raises:
        FormatError: ``point`` is no point of the curve.
    """
    public = _public(point)
    private = ec.generate_private_key(ec.SECP256R1())
    ours = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return ours, private.exchange(ec.ECDH(), public)


def _public(point: bytes) -> ec.EllipticCurvePublicKey:
    if len(point) != POINT_SIZE:
        raise FormatError("a point of P-256 has the wrong length")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as exc:
        raise FormatError("this is no point of P-256") from exc
