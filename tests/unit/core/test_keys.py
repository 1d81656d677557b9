"""encfs/core/keys.py: the key tree of FORMAT.md section 5, against HKDF written out."""

from __future__ import annotations

import gc
import hmac

import pytest

from encfs.core.keys import EpochKeys, KeyRing, MetadataKeys, unwrap_epoch, wrap_epoch
from encfs.core.names import NameCodec
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import AuthenticationError, FormatError

KEY = bytes(range(32))
VOLUME = b"v" * 16
META = bytes(range(32, 64))


def x(key: bytes, info: bytes) -> bytes:
    """X(k, info) of section 5 for 32 bytes."""
    return hmac.digest(key, info + b"\1", "sha256")


def test_every_key_of_an_epoch():
    """Section 5: each key is X of the epoch key and the label in the table."""
    keys = EpochKeys(CLOAKFS_1, 3, KEY)
    assert keys.epoch == 3
    assert keys.directory_key == x(KEY, b"cloakfs/1 directory")
    assert keys.session_key == x(KEY, b"cloakfs/1 session")
    assert keys.header_key(b"f" * 16) == x(KEY, b"cloakfs/1 header" + b"f" * 16)
    assert keys.checkpoint_key(b"c" * 16) == x(KEY, b"cloakfs/1 checkpoint" + b"c" * 16)
    assert len({keys.directory_key, keys.session_key, keys.header_key(b"i" * 16), keys.checkpoint_key(b"i" * 16)}) == 4


def test_every_key_of_the_metadata():
    """Section 5: what names, links and attributes are sealed with follows from the metadata key."""
    keys = MetadataKeys(CLOAKFS_1, META)
    assert keys.symlink_key == x(META, b"cloakfs/1 symlink")
    assert keys.freshness_key == x(META, b"cloakfs/1 freshness")
    assert keys.xattr_key(b"i" * 16) == x(META, b"cloakfs/1 xattr" + b"i" * 16)
    place = hmac.digest(x(META, b"cloakfs/1 place"), b"d" * 16 + b"name", "sha256")
    assert keys.names.place(b"d" * 16, b"name") == place[:16]
    assert len({keys.symlink_key, keys.freshness_key, keys.xattr_key(b"i" * 16)}) == 3
    with pytest.raises(FormatError):
        MetadataKeys(CLOAKFS_1, META[:31])
    assert repr(keys) == "MetadataKeys()"


def test_epochs_that_come_and_go():
    """Section 14: a new epoch is active at once; a retired one is known until it is dropped, the active one stays."""
    ring = KeyRing(suite=CLOAKFS_1, volume_id=VOLUME, metadata=META, epochs={0: KEY}, active=0)
    ring.add(1, bytes(32))
    assert (ring.active.epoch, ring.of(0).epoch) == (1, 0)
    ring.retire([0, 1])
    assert ring.active is ring.of(1)
    with pytest.raises(FormatError):
        ring.of(0)


def test_ring():
    """Section 6: a ring has the keys of each epoch of the volume, and no others."""
    ring = KeyRing(suite=CLOAKFS_1, volume_id=VOLUME, metadata=META, epochs={0: KEY, 5: bytes(32)}, active=5)
    assert ring.active.epoch == 5
    assert ring.of(5) is ring.active
    assert ring.of(0).directory_key == EpochKeys(CLOAKFS_1, 0, KEY).directory_key
    assert (ring.volume_id, ring.suite) == (VOLUME, CLOAKFS_1)
    for missing in (1, 0xFFFF_FFFE):
        with pytest.raises(FormatError):
            ring.of(missing)
    with pytest.raises(FormatError):
        KeyRing(suite=CLOAKFS_1, volume_id=VOLUME, metadata=META, epochs={0: KEY}, active=1)
    with pytest.raises(FormatError):
        KeyRing(suite=CLOAKFS_1, volume_id=VOLUME, metadata=META, epochs={0: KEY[:31]}, active=0)


def test_forgotten_keys_are_gone_at_once():
    """THREAT_MODEL.md: keys are dropped when a volume is locked, not when the garbage collector comes by."""

    def left() -> int:
        return sum(isinstance(one, (EpochKeys, MetadataKeys, NameCodec)) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = left()
        ring = KeyRing(suite=CLOAKFS_1, volume_id=VOLUME, metadata=META, epochs={0: KEY}, active=0)
        ring.active.header_aead(b"f" * 16)
        ring.metadata.names.seal(b"d" * 16, b"name")
        ring.metadata.names.seal(b"d" * 16, b"n" * 250)
        assert left() == before + 3
        ring.forget()
        assert left() == before
    finally:
        gc.enable()


def test_repr_tells_no_keys():
    """Section 5: the repr of keys holds none."""
    ring = KeyRing(suite=CLOAKFS_1, volume_id=VOLUME, metadata=META, epochs={0: KEY}, active=0)
    assert repr(ring) == "KeyRing(epochs=[0], active=0)"
    assert repr(ring.active) == "EpochKeys(epoch=0)"
    assert repr(ring.metadata.names) == "NameCodec()"


def test_wrap():
    """Section 5: an epoch key is sealed under K_wrap with volume id and epoch as AAD, in 60 bytes."""
    wrap = wrap_epoch(CLOAKFS_1, root_key=KEY, volume_id=VOLUME, epoch=258, key=b"e" * 32)
    assert len(wrap) == 60
    aad = b"cloakfs/1 epoch" + VOLUME + b"\0\0\1\2"
    assert CLOAKFS_1.unseal(x(KEY, b"cloakfs/1 wrap"), aad, wrap) == b"e" * 32
    good = {"root_key": KEY, "volume_id": VOLUME, "epoch": 258, "wrap": wrap}
    assert unwrap_epoch(CLOAKFS_1, **good) == b"e" * 32
    for change in (
        {"root_key": bytes(32)},
        {"volume_id": b"w" * 16},
        {"epoch": 259},
        {"wrap": wrap[:-1]},
        {"wrap": b""},
    ):
        with pytest.raises(AuthenticationError):
            unwrap_epoch(CLOAKFS_1, **good | change)


def test_wrapped_keys_have_32_bytes():
    """Section 5: something else under the right key is no epoch key."""
    wrap = wrap_epoch(CLOAKFS_1, root_key=KEY, volume_id=VOLUME, epoch=0, key=b"short")
    with pytest.raises(AuthenticationError):
        unwrap_epoch(CLOAKFS_1, root_key=KEY, volume_id=VOLUME, epoch=0, wrap=wrap)
