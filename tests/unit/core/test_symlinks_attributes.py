"""encfs/core/symlinks.py and attributes.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encfs import errors
from encfs.core import attributes, symlinks
from encfs.errors import AuthenticationError, FormatError
from encfs.format import base64url

TARGETS = st.binary(min_size=1, max_size=300).filter(lambda target: b"\0" not in target)


def test_stored_symlinks(vectors, ring, dir_id, give_nonce):
    """Section 9.4: each stored symlink opens, and is sealed again byte for byte."""
    stored = vectors("symlinks")
    name = bytes.fromhex(stored["link_name"])
    for case in stored["good"]:
        lower, target = case["lower"].encode("ascii"), bytes.fromhex(case["target"])
        opened = symlinks.open_target(ring, lower)
        assert (opened.target, opened.multi) == (target, case["multi"])
        assert opened.place == ring.metadata.names.place(dir_id, name)
        give_nonce(base64url.decode(lower)[:12])
        assert symlinks.seal_target(ring, dir_id=dir_id, name=name, target=target, multi=case["multi"]) == lower


def test_stored_symlinks_that_are_bad(vectors, ring):
    """Section 9.4: each stored broken symlink is refused with its recorded error."""
    for case in vectors("symlinks")["bad"]:
        with pytest.raises(getattr(errors, case["error"])):
            symlinks.open_target(ring, case["lower"].encode("ascii"))


@given(target=TARGETS, multi=st.booleans())
def test_symlink_round_trip(ring, dir_id, target, multi):
    """Section 9.4: target, place and MULTI are read back the same; the lower target is text without slash."""
    lower = symlinks.seal_target(ring, dir_id=dir_id, name=b"link", target=target, multi=multi)
    opened = symlinks.open_target(ring, lower)
    assert (opened.target, opened.multi) == (target, multi)
    assert opened.place == ring.metadata.names.place(dir_id, b"link") != ring.metadata.names.place(dir_id, b"other")
    assert b"/" not in lower
    assert b"\0" not in lower
    assert "secret" not in repr(symlinks.OpenedTarget(target=b"secret", place=bytes(16), multi=False))


def test_which_targets_fit(ring, dir_id):
    """Section 9.4: a target is kept in a file exactly where the lower target would exceed 4,095 characters."""
    fits = [size for size in range(1, 4096) if symlinks.fits_lower_symlink(b"t" * size)]
    longest = max(fits)
    assert fits == list(range(1, longest + 1))
    for size in (1, 2, 3, longest, longest + 1, 4095):
        lower = symlinks.seal_target(ring, dir_id=dir_id, name=b"link", target=b"t" * size, multi=False)
        assert (len(lower) <= 4095) is symlinks.fits_lower_symlink(b"t" * size)


@pytest.mark.parametrize("target", [b"", b"a\0b", b"t" * 4096])
def test_what_is_no_target(ring, dir_id, target):
    """Section 9.4: a target has 1 to 4,095 bytes, none of them zero."""
    assert not symlinks.check_target(target)
    with pytest.raises(FormatError):
        symlinks.seal_target(ring, dir_id=dir_id, name=b"link", target=target, multi=False)


@given(garbage=st.binary(max_size=200) | st.binary(max_size=200).map(base64url.encode))
def test_symlink_garbage(ring, garbage):
    """Section 9.4: whatever a lower symlink holds, the errors are FormatError and AuthenticationError."""
    with pytest.raises((FormatError, AuthenticationError)):
        symlinks.open_target(ring, garbage)


def test_every_flipped_bit_of_a_symlink(ring, dir_id):
    """Section 9.4: no bit of a lower target can change."""
    lower = symlinks.seal_target(ring, dir_id=dir_id, name=b"link", target=b"target", multi=False)
    for position in range(len(lower) * 8):
        changed = bytearray(lower)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises((FormatError, AuthenticationError)):
            symlinks.open_target(ring, bytes(changed))


def test_stored_attributes(vectors, ring, give_nonce):
    """Section 10: each stored list opens, and is sealed again byte for byte."""
    stored = vectors("attributes")
    object_id = bytes.fromhex(stored["object_id"])
    for case in stored["good"]:
        listed = {bytes.fromhex(name): bytes.fromhex(value) for name, value in case["attributes"].items()}
        sealed = bytes.fromhex(case["sealed"])
        assert attributes.open_attributes(ring, object_id, sealed) == listed
        give_nonce(bytes.fromhex(case["nonce"]))
        assert attributes.seal_attributes(ring, object_id, listed) == sealed


def test_stored_attributes_that_are_bad(vectors, ring):
    """Section 10: each stored broken list is refused with its recorded error."""
    stored = vectors("attributes")
    for case in stored["bad"]:
        with pytest.raises(getattr(errors, case["error"])):
            attributes.open_attributes(ring, bytes.fromhex(stored["object_id"]), bytes.fromhex(case["sealed"]))


def test_attributes_belong_to_their_object(ring):
    """Section 10: attributes that are copied to another object do not open there."""
    sealed = attributes.seal_attributes(ring, b"a" * 16, {b"user.x": b"1"})
    assert attributes.open_attributes(ring, b"a" * 16, sealed) == {b"user.x": b"1"}
    with pytest.raises(AuthenticationError):
        attributes.open_attributes(ring, b"b" * 16, sealed)
