"""encfs/crypto/kem.py: round trips, stored vectors, and a second HPKE written from the drafts."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from encfs.crypto import kem
from encfs.errors import AuthenticationError, FormatError

PRIVATE, PUBLIC = kem.generate()
SEALED = kem.seal(PUBLIC, b"info", b"k" * 32)


def x_wing_decapsulate(private: bytes, enc: bytes) -> bytes:
    """X-Wing (draft-connolly-cfrg-xwing-kem), from its text: our 96-byte private key, enc = ML-KEM || X25519."""
    lattice = MLKEM768PrivateKey.from_seed_bytes(private[:64])
    curve = X25519PrivateKey.from_private_bytes(private[64:])
    curve_enc = enc[1088:]
    shared = lattice.decapsulate(enc[:1088]) + curve.exchange(X25519PublicKey.from_public_bytes(curve_enc))
    label = b"\\.//^\\"
    return hashlib.sha3_256(shared + curve_enc + curve.public_key().public_bytes_raw() + label).digest()


def key_schedule(shared_secret: bytes, info: bytes, aead_id: int, key_size: int) -> tuple[bytes, bytes]:
    """RFC 9180 section 5.1 in base mode for KEM 0x647a and HKDF-SHA256: key and base nonce."""
    suite_id = b"HPKE" + (0x647A).to_bytes(2, "big") + (1).to_bytes(2, "big") + aead_id.to_bytes(2, "big")

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite_id + label + ikm, "sha256")

    def expand(prk: bytes, label: bytes, context: bytes, length: int) -> bytes:
        info = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + context
        return hmac.digest(prk, info + b"\1", "sha256")[:length]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared_secret, b"secret", b"")
    return expand(secret, b"key", context, key_size), expand(secret, b"base_nonce", context, 12)


def test_the_second_hpke_is_the_drafts(vectors):
    """Section 1: the HPKE of this test file gives the published values of draft-ietf-hpke-pq for KEM 0x647a."""
    case = vectors("standards")["hpke"]
    assert (case["mode"], case["kem_id"], case["kdf_id"], case["aead_id"]) == (0, 0x647A, 1, 3)
    # X-Wing expands its 32-byte seed to d || z || X25519, which are the 96 bytes that section 4 stores.
    private = hashlib.shake_256(bytes.fromhex(case["skRm"])).digest(96)
    assert kem.public_of(private).hex() == case["pkRm"]
    shared_secret = x_wing_decapsulate(private, bytes.fromhex(case["enc"]))
    assert shared_secret.hex() == case["shared_secret"]
    key, nonce = key_schedule(shared_secret, bytes.fromhex(case["info"]), 3, 32)
    assert (key.hex(), nonce.hex()) == (case["key"], case["base_nonce"])


def test_the_second_hpke_opens_ours():
    """Section 4: what the program seals is enc || ciphertext of exactly that HPKE, with AES-256-GCM and no AAD."""
    key, nonce = key_schedule(x_wing_decapsulate(PRIVATE, SEALED[:1120]), b"info", 2, 32)
    assert AESGCM(key).decrypt(nonce, SEALED[1120:], b"") == b"k" * 32


def test_stored_vector(vectors):
    """Section 4: what an earlier version sealed still opens."""
    case = {name: bytes.fromhex(value) for name, value in vectors("kem").items()}
    assert kem.public_of(case["private"]) == case["public"]
    assert kem.unseal(case["private"], case["info"], case["sealed"]) == case["plaintext"]


def test_round_trip_and_sizes():
    """Section 4: private key 96, public key 1184 + 32, enc 1120, ciphertext 32 + 16 bytes; never the same twice."""
    assert (len(PRIVATE), len(PUBLIC), len(SEALED)) == (96, 1216, 1120 + 48)
    assert kem.public_of(PRIVATE) == PUBLIC
    assert kem.unseal(PRIVATE, b"info", SEALED) == b"k" * 32
    assert kem.seal(PUBLIC, b"info", b"k" * 32) != SEALED
    assert kem.generate() != kem.generate()


def test_other_key_and_info():
    """Section 4: sealed to one slot and root key id, opens for no other."""
    with pytest.raises(AuthenticationError):
        kem.unseal(PRIVATE, b"other", SEALED)
    with pytest.raises(AuthenticationError):
        kem.unseal(kem.generate()[0], b"info", SEALED)


@pytest.mark.parametrize("position", [0, 500, 1087, 1088, 1119, 1120, 1151, 1152, 1167])
def test_flipped_bits(position):
    """Section 4: a change in either half of enc, the ciphertext or the tag is seen."""
    changed = bytearray(SEALED)
    changed[position] ^= 1
    with pytest.raises(AuthenticationError):
        kem.unseal(PRIVATE, b"info", bytes(changed))


@pytest.mark.parametrize("size", [0, 1, 31, 1087, 1119, 1120, 1135, 1136, 1167])
def test_truncations(size):
    """Section 4: what is cut does not open."""
    with pytest.raises(AuthenticationError):
        kem.unseal(PRIVATE, b"info", SEALED[:size])


def test_a_point_of_small_order_does_not_open():
    """Section 4: an X25519 share that makes the shared secret zero is refused."""
    with pytest.raises(AuthenticationError):
        kem.unseal(PRIVATE, b"info", SEALED[:1088] + bytes(32) + SEALED[1120:])


@pytest.mark.parametrize(
    "public",
    [b"", PUBLIC[:-1], PUBLIC + b"\0", b"\xff" * 1184 + PUBLIC[1184:], PUBLIC[:1184] + bytes(32)],
    ids=["empty", "cut", "long", "not reduced", "small order"],
)
def test_bad_public_keys(public):
    """Section 4: nothing is sealed to what is not a public key."""
    with pytest.raises(FormatError):
        kem.seal(public, b"info", b"k" * 32)


def test_bad_private_keys():
    """Section 4: a private key has 96 bytes."""
    for private in (b"", PRIVATE[:-1], PRIVATE + b"\0"):
        with pytest.raises(FormatError):
            kem.unseal(private, b"info", SEALED)
        with pytest.raises(FormatError):
            kem.public_of(private)


@settings(max_examples=50)
@given(st.binary(max_size=1300))
def test_garbage_never_opens(garbage):
    """Section 4: whatever the bytes are, the one error is AuthenticationError."""
    with pytest.raises(AuthenticationError):
        kem.unseal(PRIVATE, b"info", garbage)
