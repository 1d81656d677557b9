"""encfs/core/names.py: plain names to lower names and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs import errors
from encfs.core.keys import KeyRing
from encfs.core.names import is_link_name, link_name
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuthenticationError, FormatError
from encfs.format import limits

META = bytes(range(1, 33))
RING = KeyRing(suite=CLOAKFS_1, volume_id=b"v" * 16, metadata=META, epochs={0: bytes(range(32))}, active=0)
NAMES = RING.metadata.names
DIR = b"d" * 16
PLAIN = st.binary(min_size=1, max_size=255).filter(limits.is_plain_name)
SHORT = st.binary(min_size=1, max_size=160).filter(limits.is_plain_name)


def test_stored_names(vectors, ring, dir_id):
    """Section 7: the stored names, both ways, and their places (section 9.4)."""
    names = ring.metadata.names
    for case in vectors("names")["good"]:
        plain, lower = bytes.fromhex(case["plain"]), case["lower"].encode("ascii")
        assert names.seal(dir_id, plain) == lower
        assert names.open(dir_id, lower) == (None if len(plain) > 160 else plain)
        assert names.place(dir_id, plain).hex() == case["place"]


def test_stored_names_that_are_none(vectors, ring, dir_id):
    """Section 7: each stored junk name is refused with its recorded error."""
    for case in vectors("names")["bad"]:
        with pytest.raises(getattr(errors, case["error"])):
            ring.metadata.names.open(dir_id, bytes.fromhex(case["lower"]))


@given(PLAIN)
def test_round_trip(name):
    """Section 7: up to 160 bytes the lower name holds the plain one; longer ones leave a MAC."""
    lower = NAMES.seal(DIR, name)
    assert NAMES.open(DIR, lower) == (None if NAMES.is_long(name) else name)
    assert NAMES.open(DIR, link_name(lower)) == NAMES.open(DIR, lower)
    assert not is_link_name(lower)
    assert is_link_name(link_name(lower))
    assert NAMES.seal(DIR, name) == lower


@pytest.mark.parametrize("size", range(1, 256))
def test_lengths(size):
    """Section 7: 43 to 235 characters for direct names, 44 with a tilde for long ones; .l always fits in 255."""
    lower = NAMES.seal(DIR, b"n" * size)
    if size > 160:
        assert NAMES.is_long(b"n" * size)
        assert len(lower) == 44
        assert lower.startswith(b"~")
    else:
        padded = -(-size // 16) * 16
        assert len(lower) == -(-(16 + padded) * 4 // 3)
        assert 43 <= len(lower) <= 235
        assert not lower.startswith(b"~")
    assert len(link_name(lower)) <= 255


@given(PLAIN, PLAIN)
def test_places_differ(a, b):
    """Section 7: another name or another directory gives another lower name and another place."""
    if a != b:
        assert NAMES.seal(DIR, a) != NAMES.seal(DIR, b)
        assert NAMES.place(DIR, a) != NAMES.place(DIR, b)
    assert NAMES.seal(DIR, a) != NAMES.seal(b"e" * 16, a)
    assert NAMES.place(DIR, a) != NAMES.place(b"e" * 16, a)


@given(SHORT)
def test_moved_names_do_not_open(name):
    """Section 7: a lower name that was moved to another directory does not open there."""
    with pytest.raises(AuthenticationError):
        NAMES.open(b"e" * 16, NAMES.seal(DIR, name))


@given(SHORT, st.integers(0, 300), st.integers(1, 255))
def test_a_changed_byte_never_opens(name, position, change):
    """Section 7: a lower name with one changed byte is no name."""
    lower = bytearray(NAMES.seal(DIR, name))
    lower[position % len(lower)] ^= change
    with pytest.raises((AuthenticationError, FormatError)):
        assert NAMES.open(DIR, bytes(lower)) is not None


@given(st.binary(max_size=300) | st.text("AZaz09-_~.l", max_size=240).map(str.encode))
def test_garbage(lower):
    """Section 7: whatever a lower name is, the errors are FormatError and AuthenticationError."""
    try:
        name = NAMES.open(DIR, lower)
    except (AuthenticationError, FormatError):
        return
    assert name is None
    assert len(lower.removesuffix(b".l")) == 44


@pytest.mark.parametrize(
    "fixed",
    [
        limits.CONFIG_NAME,
        limits.CONFIG_BAK_NAME,
        limits.RECORD_NAME,
        limits.SESSIONS_NAME,
        limits.TEMP_PREFIX + b"0" * limits.TEMP_DIGITS,
        b"lost+found",
        b".Trash-1000",
    ],
)
def test_fixed_names_are_not_encrypted_names(fixed):
    """Section 2: no name of the format, and nothing foreign, opens as an encrypted name."""
    with pytest.raises(FormatError):
        NAMES.open(DIR, fixed)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0", b"\0", b"n" * 256])
def test_what_is_no_name(name):
    """Section 7: a name has 1 to 255 bytes, no slash, no zero byte, and is not . or .."""
    assert not NAMES.check_name(name)


@pytest.mark.parametrize("name", [b"a", b"...", b".a", b" ", b"\xff", b"n" * 255, b"cloakfs.d", b"~"])
def test_what_is_a_name(name):
    """Section 7: everything else is a name."""
    assert NAMES.check_name(name)


def test_place_is_half_a_mac(ring, dir_id):
    """Section 9.4: place is the first 16 bytes of HMAC-SHA-256(K_place, dir id || name)."""
    keys = ring.metadata
    assert (
        keys.names.place(dir_id, b"name")
        == CLOAKFS_1.mac(CLOAKFS_1.expand(keys._key, b"cloakfs/1 place"), dir_id + b"name")[:16]
    )
