"""encfs/crypto/signing.py: published vectors, both algorithms behind one interface (FORMAT.md section 17)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from encfs.crypto.signing import Algorithm, PublicKey, Signer
from encfs.errors import AuthenticationError, FormatError

# RFC 8032, 7.1, test 2.
ED_PRIVATE = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
ED_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
ED_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
# RFC 6979, A.2.5: P-256, SHA-256, message "sample".
P_PRIVATE = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
P_X = bytes.fromhex("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6")
P_Y_ODD = 0x7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299 & 1
P_SIGNATURE = bytes.fromhex(
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
)


def test_ed25519_as_published() -> None:
    """RFC 8032."""
    signer = Signer(Algorithm.ED25519, ED_PRIVATE)
    assert signer.public == PublicKey(Algorithm.ED25519, ED_PUBLIC)
    assert signer.sign(b"\x72") == ED_SIGNATURE
    signer.public.check(ED_SIGNATURE, b"\x72")


def test_p256_as_published() -> None:
    """RFC 6979: the public key, and a signature that we did not make."""
    public = Signer(Algorithm.ECDSA_P256, P_PRIVATE).public
    assert public.raw == bytes([2 + P_Y_ODD]) + P_X
    public.check(P_SIGNATURE, b"sample")
    with pytest.raises(AuthenticationError):
        public.check(P_SIGNATURE, b"test")


def test_p256_for_others() -> None:
    """What we sign is right to the library, told of it in its own way."""
    signer = Signer.generate(Algorithm.ECDSA_P256)
    made = signer.sign(b"text")
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), signer.public.raw)
    der = encode_dss_signature(int.from_bytes(made[:32], "big"), int.from_bytes(made[32:], "big"))
    point.verify(der, b"text", ec.ECDSA(SHA256()))


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_whatever_is_changed_is_seen(algorithm: Algorithm) -> None:
    """Each bit of a signature, another text, another key, the other algorithm, no key at all."""
    signer = Signer.generate(algorithm)
    made = signer.sign(b"text")
    signer.public.check(made, b"text")
    for bit in range(512):
        wrong = bytearray(made)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuthenticationError):
            signer.public.check(bytes(wrong), b"text")
    other = next(one for one in Algorithm if one is not algorithm)
    for public in (Signer.generate(algorithm).public, PublicKey(other, signer.public.raw), PublicKey(algorithm, b"")):
        with pytest.raises(AuthenticationError):
            public.check(made, b"text")
    for wrong_size in (b"", made[:-1], made + b"\0"):
        with pytest.raises(AuthenticationError):
            signer.public.check(wrong_size, b"text")


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("private", [b"", bytes(31), bytes(33)])
def test_no_private_key(algorithm: Algorithm, private: bytes) -> None:
    """A file of the wrong length is our error, wherever it is used."""
    with pytest.raises(FormatError):
        _ = Signer(algorithm, private).public
    with pytest.raises(FormatError):
        Signer(algorithm, private).sign(b"")


def test_no_private_key_of_p256() -> None:
    """Zero is none."""
    with pytest.raises(FormatError):
        _ = Signer(Algorithm.ECDSA_P256, bytes(32)).public


def test_the_private_key_is_not_shown() -> None:
    """Whoever prints one prints no key."""
    assert ED_PRIVATE.hex() not in repr(Signer(Algorithm.ED25519, ED_PRIVATE))
    assert repr(ED_PRIVATE) not in repr(Signer(Algorithm.ED25519, ED_PRIVATE))


def test_fingerprints() -> None:
    """FORMAT.md section 17, with sha256sum."""
    assert PublicKey(Algorithm.ED25519, ED_PUBLIC).fingerprint() == "ce81-b52c-0d9b-c6ab-e8cd-5c8a-2d80-32c0"
    assert (
        PublicKey(Algorithm.ECDSA_P256, ED_PUBLIC).fingerprint()
        != PublicKey(Algorithm.ED25519, ED_PUBLIC).fingerprint()
    )
