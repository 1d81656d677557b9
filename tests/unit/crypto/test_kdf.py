"""encfs/crypto/kdf.py against published vectors, and its handling of memory."""

from __future__ import annotations

import pytest
from argon2.exceptions import HashingError
from argon2.low_level import Type, core, error_to_str, ffi, lib

from encfs.crypto import kdf
from encfs.errors import ExitCode, MemoryShortError


def test_hkdf_of_rfc_5869(vectors):
    """Section 5: X is HKDF-Expand of RFC 5869 with SHA-256; section 4 uses both steps."""
    cases = vectors("standards")["hkdf"]
    assert len(cases) == 3
    for case in cases:
        salt, ikm, info, prk, okm = (bytes.fromhex(case[name]) for name in ("salt", "ikm", "info", "prk", "okm"))
        assert kdf.expand(prk, info, case["length"]) == okm
        assert kdf.extract_expand(salt=salt, ikm=ikm, info=info, length=case["length"]) == okm
        assert kdf.mac(salt, ikm) == prk  # HKDF-Extract is HMAC


def test_expand_is_one_hmac_for_32_bytes():
    """Section 5: 32 bytes are HMAC(k, info || 0x01), which a reader without HKDF can use."""
    assert kdf.expand(b"k" * 32, b"info") == kdf.mac(b"k" * 32, b"info\x01")


def test_hmac_of_rfc_4231(vectors):
    """Section 1: HMAC-SHA-256 of RFC 4231."""
    cases = vectors("standards")["hmac"]
    assert len(cases) == 6
    for case in cases:
        assert kdf.mac(bytes.fromhex(case["key"]), bytes.fromhex(case["data"])) == bytes.fromhex(case["mac"])


def test_digest():
    """Section 3: SHA-256, here of "abc" (FIPS 180-4)."""
    assert kdf.digest(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_argon2id_known_answers(vectors):
    """Section 4: Argon2id version 0x13, 32-byte tag, with the vectors that have neither secret nor data."""
    cases = [case for case in vectors("standards")["argon2id"] if not case["secret"]]
    assert len(cases) == 2
    for case in cases:
        tag = kdf.argon2id(
            bytes.fromhex(case["passphrase"]),
            salt=bytes.fromhex(case["salt"]),
            memory_kib=case["memory_kib"],
            passes=case["passes"],
            lanes=case["lanes"],
        )
        assert tag == bytes.fromhex(case["tag"])


def test_argon2id_at_the_floor():
    """Section 4: the smallest parameters that a volume may have give the recorded value."""
    tag = kdf.argon2id(b"correct horse", salt=b"0123456789abcdef", memory_kib=65536, passes=3, lanes=1)
    assert tag.hex() == "92599c67f23f1d9dce9b6f0cfb5a9b18ce110336de00799947472465edd9e49a"


def test_the_library_is_rfc_9106(vectors):
    """Section 1: the Argon2 library underneath gives the answer of RFC 9106 section 5.3, with secret and data."""
    case = next(case for case in vectors("standards")["argon2id"] if case["secret"])
    values = {name: bytes.fromhex(case[name]) for name in ("passphrase", "salt", "secret", "ad")}
    kept = {name: ffi.new("uint8_t[]", value) for name, value in values.items()}
    out = ffi.new("uint8_t[]", 32)
    context = ffi.new(
        "argon2_context *",
        {
            "version": kdf.ARGON2_VERSION,
            "out": out,
            "outlen": 32,
            "pwd": kept["passphrase"],
            "pwdlen": len(values["passphrase"]),
            "salt": kept["salt"],
            "saltlen": len(values["salt"]),
            "secret": kept["secret"],
            "secretlen": len(values["secret"]),
            "ad": kept["ad"],
            "adlen": len(values["ad"]),
            "t_cost": case["passes"],
            "m_cost": case["memory_kib"],
            "lanes": case["lanes"],
            "threads": case["lanes"],
            "allocate_cbk": ffi.NULL,
            "free_cbk": ffi.NULL,
            "flags": lib.ARGON2_DEFAULT_FLAGS,
        },
    )
    assert core(context, Type.ID.value) == lib.ARGON2_OK
    assert bytes(ffi.buffer(out)).hex() == case["tag"]


def test_memory_is_checked_first(monkeypatch):
    """Section 4: a derivation that needs more than three quarters of the free memory is refused, with figures."""
    monkeypatch.setattr(kdf, "available_kib", lambda: 200_000)
    monkeypatch.setattr(kdf, "hash_secret_raw", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(MemoryShortError, match=r"146 MiB.*195 MiB") as caught:
        kdf.argon2id(b"x", salt=bytes(16), memory_kib=150_001, passes=3, lanes=1)
    assert caught.value.exit_code == ExitCode.NO_MEMORY
    monkeypatch.setattr(kdf, "hash_secret_raw", lambda *_, **__: b"tag")
    assert kdf.argon2id(b"x", salt=bytes(16), memory_kib=150_000, passes=3, lanes=1) == b"tag"


@pytest.mark.parametrize(
    "error", [MemoryError(), HashingError(error_to_str(lib.ARGON2_MEMORY_ALLOCATION_ERROR))], ids=["python", "argon2"]
)
@pytest.mark.parametrize("available", [None, 10**9])
def test_memory_that_is_not_there(monkeypatch, error, available):
    """Section 4: an allocation that fails all the same is the same error."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(kdf, "available_kib", lambda: available)
    monkeypatch.setattr(kdf, "hash_secret_raw", fail)
    with pytest.raises(MemoryShortError, match="64 MiB"):
        kdf.argon2id(b"x", salt=bytes(16), memory_kib=65536, passes=3, lanes=1)


def test_other_refusals_are_our_own_fault():
    """Section 4: the limits are checked before; what Argon2 refuses after that is an internal error."""
    with pytest.raises(AssertionError, match="internal error"):
        kdf.argon2id(b"x", salt=b"short", memory_kib=64, passes=1, lanes=1)


def test_free_memory_is_read():
    """Section 4: the kernel says how much memory is available."""
    available = kdf.available_kib()
    assert available is not None
    assert available > 1024


def test_labels_are_different_and_none_begins_another():
    """Section 5: labels separate; where an id follows a label, no other label may look like both."""
    labels = [label.value for label in kdf.Label]
    assert len(set(labels)) == len(kdf.Label.__members__) == len(labels)
    assert not [(a, b) for a in labels for b in labels if a != b and b.startswith(a)]
    assert all(label.startswith(b"cloakfs/1 ") for label in labels)


def test_compare():
    """Section 4: the comparison of commitments is exact."""
    assert kdf.constant_time_equal(b"a" * 32, b"a" * 32)
    assert not kdf.constant_time_equal(b"a" * 32, b"a" * 31 + b"b")
    assert not kdf.constant_time_equal(b"a", b"aa")
