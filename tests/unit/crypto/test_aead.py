"""encfs/crypto/aead.py against published vectors and broken ciphertexts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs.crypto import aead
from encfs.errors import AuthenticationError

KEY = bytes(range(32))
NAME_KEY = bytes(range(64))


def unhex(case: dict[str, str]) -> dict[str, bytes]:
    """Read the hex of one vector."""
    return {name: bytes.fromhex(value) for name, value in case.items()}


def test_gcm_of_nist(vectors, give_nonce):
    """Section 1: AES-256-GCM with a 96-bit nonce and a 128-bit tag gives the results of NIST's CAVP."""
    for case in map(unhex, vectors("standards")["gcm"]):
        give_nonce(case["nonce"])
        sealed = aead.seal(case["key"], case["aad"], case["plaintext"])
        assert sealed == case["nonce"] + case["sealed"]
        assert aead.unseal(case["key"], case["aad"], sealed) == case["plaintext"]


def test_gcm_of_nist_that_must_fail(vectors):
    """Section 1: what NIST's CAVP marks FAIL does not open."""
    cases = vectors("standards")["gcm_bad"]
    assert len(cases) >= 8
    for case in map(unhex, cases):
        with pytest.raises(AuthenticationError):
            aead.unseal(case["key"], case["aad"], case["nonce"] + case["sealed"])


def test_siv_of_rfc_5297(vectors):
    """Section 1: AES-SIV with a 512-bit key gives synthetic IV || ciphertext as in RFC 5297."""
    cases = vectors("standards")["siv"]
    assert cases
    for case in map(unhex, cases):
        cipher = aead.NameCipher(case["key"])
        assert cipher.seal(case["plaintext"], case["ad"]) == case["sealed"]
        assert cipher.open(case["sealed"], case["ad"]) == case["plaintext"]


def test_every_flipped_bit_is_seen():
    """Section 1: no bit of nonce, ciphertext or tag can change."""
    sealed = aead.seal(KEY, b"aad", b"some plain text")
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(AuthenticationError):
            aead.unseal(KEY, b"aad", bytes(changed))


def test_every_flipped_bit_of_a_name_is_seen():
    """Section 7: no bit of a sealed name can change."""
    cipher = aead.NameCipher(NAME_KEY)
    sealed = cipher.seal(b"sixteen letters.", b"directory")
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(AuthenticationError):
            cipher.open(bytes(changed), b"directory")


def test_every_truncation_is_seen():
    """Section 1: a cut nonce, ciphertext or tag does not open, and neither does an appended byte."""
    sealed = aead.seal(KEY, b"aad", b"some plain text")
    for bad in [sealed[:end] for end in range(len(sealed))] + [sealed + b"\0"]:
        with pytest.raises(AuthenticationError):
            aead.unseal(KEY, b"aad", bad)
    name = aead.NameCipher(NAME_KEY).seal(b"sixteen letters.", b"directory")
    for bad in [name[:end] for end in range(len(name))] + [name + b"\0"]:
        with pytest.raises(AuthenticationError):
            aead.NameCipher(NAME_KEY).open(bad, b"directory")


def test_other_key_or_aad():
    """Section 1: a ciphertext opens under its own key and AAD only."""
    sealed = aead.seal(KEY, b"aad", b"text")
    for key, aad in ((bytes(32), b"aad"), (KEY, b"aad2"), (KEY, b"")):
        with pytest.raises(AuthenticationError):
            aead.unseal(key, aad, sealed)
    name = aead.NameCipher(NAME_KEY).seal(b"sixteen letters.", b"one")
    for key, ad in ((bytes(64), b"one"), (NAME_KEY, b"two"), (NAME_KEY[32:] + NAME_KEY[:32], b"one")):
        with pytest.raises(AuthenticationError):
            aead.NameCipher(key).open(name, ad)


def test_nonces_are_fresh():
    """Section 1: each seal draws a new nonce; a name's seal is always the same."""
    sealed = {aead.seal(KEY, b"", b"text") for _ in range(100)}
    assert len({item[: aead.NONCE_SIZE] for item in sealed}) == 100
    assert len({aead.NameCipher(NAME_KEY).seal(b"name", b"") for _ in range(10)}) == 1


def test_the_error_says_nothing():
    """Section 1: an error carries neither key nor data."""
    sealed = aead.seal(KEY, b"aad", b"secret text")
    with pytest.raises(AuthenticationError) as caught:
        aead.unseal(KEY, b"other", sealed)
    assert "secret" not in str(caught.value)
    assert KEY.hex() not in str(caught.value)


@given(st.binary(max_size=200))
def test_garbage_never_opens(garbage):
    """Section 1: whatever the bytes are, the one error is AuthenticationError."""
    with pytest.raises(AuthenticationError):
        aead.unseal(KEY, b"", garbage)
    with pytest.raises(AuthenticationError):
        aead.NameCipher(NAME_KEY).open(garbage, b"")
