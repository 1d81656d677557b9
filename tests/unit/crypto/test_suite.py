"""encfs/crypto/suite.py."""

from __future__ import annotations

import pytest

from encfs.crypto.suite import CLOAKFS_1, suite_named
from encfs.errors import ExitCode, NewerFormatError
from encfs.format import limits


def test_the_one_suite():
    """Section 1: version 1 defines cloakfs-1, and format and crypto agree on its name."""
    assert suite_named("cloakfs-1") is CLOAKFS_1
    assert CLOAKFS_1.name == limits.SUITE_NAME


def test_sizes_agree():
    """Section 4: the sizes that the format expects are those that the suite makes."""
    private, public = CLOAKFS_1.kem_generate()
    assert len(public) == limits.PUBLIC_KEY_SIZE
    assert len(CLOAKFS_1.seal(bytes(32), b"", private + bytes(limits.AUTHENTICATOR_SIZE))) == limits.ESK_SIZE
    assert len(CLOAKFS_1.kem_seal(public, b"", bytes(limits.KEY_SIZE))) == limits.ERK_SIZE
    assert len(CLOAKFS_1.seal(bytes(32), b"", bytes(limits.AUTHENTICATOR_SIZE))) == limits.AUTH_SIZE
    assert len(CLOAKFS_1.seal(bytes(32), b"", bytes(limits.KEY_SIZE))) == limits.KEY_WRAP_SIZE
    assert len(CLOAKFS_1.seal(bytes(32), b"", bytes(limits.BODY_SIZE))) == limits.FRAME_SIZE - limits.FRAME_CLEAR_SIZE


@pytest.mark.parametrize("name", ["", "cloakfs-2", "CLOAKFS-1"])
def test_an_unknown_suite_is_a_newer_format(name):
    """Section 1: a volume with another suite is not touched."""
    with pytest.raises(NewerFormatError) as caught:
        suite_named(name)
    assert caught.value.exit_code == ExitCode.NEWER_FORMAT
