"""The key tree below the root key.

Owns: FORMAT.md section 5: which label leads to which key, and how the keys below the root key are wrapped. Must not
know: where the root key comes from (``slots``), what is sealed with the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Final

from encfs.core.names import NameCodec
from encfs.crypto.aead import NAME_KEY_SIZE, Aead
from encfs.crypto.kdf import Label
from encfs.crypto.suite import Suite
from encfs.errors import AuthenticationError, FormatError
from encfs.format import limits
from encfs.units import FileId, VolumeId

_U32: Final = Struct(">I")
_HEADER: Final = Label.HEADER.value
_XATTR: Final = Label.XATTR.value
# A header is sealed or opened two to four times while a file is made, saved and renamed. Each time that is not
# remembered costs an HKDF and a key schedule, 4 us.
_HEADERS_REMEMBERED: Final = 256


class EpochKeys:
    """All keys that follow from one epoch key. Immutable, and safe to share between threads.

    Attributes:
        epoch: the number that frames name.
        header_key: K_header of a file id.
        header_aead: the cipher under it; those used last are remembered.

    Raises:
        FormatError: the epoch key is not 32 bytes long.
    """

    __slots__ = ("_expand", "_key", "directory_key", "epoch", "header_aead", "header_key", "session_key")

    def __init__(self, suite: Suite, epoch: int, key: bytes) -> None:
        if len(key) != limits.KEY_SIZE:
            raise FormatError("an epoch key has the wrong length")
        expand = suite.expand
        self.epoch = epoch
        self._key = key
        self._expand = expand

        # Over locals, not over self: a cycle would keep the keys until the garbage collector comes by.
        def header_key(fid: FileId) -> bytes:
            return expand(key, _HEADER + fid)

        self.header_key = header_key
        self.header_aead: Callable[[FileId], Aead] = lru_cache(_HEADERS_REMEMBERED)(
            lambda fid: suite.aead(header_key(fid))
        )
        self.directory_key = expand(key, Label.DIRECTORY)
        self.session_key = expand(key, Label.SESSION)

    def __repr__(self) -> str:
        return f"EpochKeys(epoch={self.epoch})"

    @property
    def key(self) -> bytes:
        """EK itself, for whoever is to go on under this epoch."""
        return self._key

    def checkpoint_key(self, checkpoint_id: bytes) -> bytes:
        """K_checkpoint(id)."""
        return self._expand(self._key, Label.CHECKPOINT + checkpoint_id)


class MetadataKeys:
    """All keys that follow from the metadata key, for the life of a volume. Immutable, and safe to share.

    Attributes:
        names: seals and opens names.
        symlink_key: K_symlink.
        freshness_key: K_freshness.

    Raises:
        FormatError: the metadata key is not 32 bytes long.
    """

    __slots__ = ("_expand", "_key", "freshness_key", "names", "symlink_key")

    def __init__(self, suite: Suite, key: bytes) -> None:
        if len(key) != limits.KEY_SIZE:
            raise FormatError("a metadata key has the wrong length")
        expand = suite.expand
        self._key = key
        self._expand = expand
        self.symlink_key = expand(key, Label.SYMLINK)
        self.freshness_key = expand(key, Label.FRESHNESS)
        self.names = NameCodec(
            suite, expand(key, Label.NAME, NAME_KEY_SIZE), expand(key, Label.LONGNAME), expand(key, Label.PLACE)
        )

    def __repr__(self) -> str:
        return "MetadataKeys()"

    def xattr_key(self, object_id: bytes) -> bytes:
        """K_xattr(id): the attribute id of a file, the dir id of a directory."""
        return self._expand(self._key, _XATTR + object_id)

    def handover_key(self, handover_id: bytes) -> bytes:
        """K_handover(id): what a receipt says of the contents is under it (FORMAT.md section 17)."""
        return self._expand(self._key, Label.HANDOVER + handover_id)


class KeyRing:
    """The keys of an unlocked volume: those of its metadata, and one ``EpochKeys`` for each epoch.

    Attributes:
        metadata: what names, symlinks and attributes are sealed with.
        active: the epoch under which everything else that is new is sealed.

    Raises:
        FormatError: the active epoch has no key.
    """

    __slots__ = ("_epochs", "active", "metadata", "suite", "volume_id")

    def __init__(
        self, *, suite: Suite, volume_id: VolumeId, metadata: bytes, epochs: Mapping[int, bytes], active: int
    ) -> None:
        self.suite = suite
        self.volume_id = volume_id
        self.metadata = MetadataKeys(suite, metadata)
        self._epochs = {number: EpochKeys(suite, number, key) for number, key in epochs.items()}
        self.active = self.of(active)

    def __repr__(self) -> str:
        return f"KeyRing(epochs={sorted(self._epochs)}, active={self.active.epoch})"

    def forget(self) -> None:
        """Drop every key. Whoever still wants one gets an ``AttributeError``, so nothing is sealed with a wrong one."""
        self._epochs = {}
        del self.active, self.metadata

    def add(self, epoch: int, key: bytes) -> None:
        """A new epoch, under which everything is sealed from now on (FORMAT.md section 14)."""
        if epoch not in self._epochs:
            self._epochs[epoch] = EpochKeys(self.suite, epoch, key)
        self.active = self._epochs[epoch]

    def retire(self, epochs: Iterable[int]) -> None:
        """Drop the keys of epochs that seal nothing any more; the active one stays."""
        for epoch in set(epochs) - {self.active.epoch}:
            self._epochs.pop(epoch, None)

    def of(self, epoch: int) -> EpochKeys:
        """The keys of one epoch.

        Raises:
            FormatError: the volume has no such epoch.
        """
        try:
            return self._epochs[epoch]
        except KeyError:
            raise FormatError("the epoch that is named is not one of the volume's") from None


def wrap_epoch(suite: Suite, *, root_key: bytes, volume_id: VolumeId, epoch: int, key: bytes) -> bytes:
    """``wrap`` of an epoch in the config."""
    return suite.seal(suite.expand(root_key, Label.WRAP), _wrap_aad(volume_id, epoch), key)


def unwrap_epoch(suite: Suite, *, root_key: bytes, volume_id: VolumeId, epoch: int, wrap: bytes) -> bytes:
    """The epoch key in a ``wrap``.

    Raises:
        AuthenticationError: another root key, volume or epoch, or changed.
    """
    key = suite.unseal(suite.expand(root_key, Label.WRAP), _wrap_aad(volume_id, epoch), wrap)
    if len(key) != limits.KEY_SIZE:
        raise AuthenticationError("a wrapped epoch key has the wrong length")
    return key


def wrap_metadata(suite: Suite, *, root_key: bytes, volume_id: VolumeId, key: bytes) -> bytes:
    """``metadata`` of the config."""
    return suite.seal(suite.expand(root_key, Label.WRAP), Label.METADATA + volume_id, key)


def unwrap_metadata(suite: Suite, *, root_key: bytes, volume_id: VolumeId, wrap: bytes) -> bytes:
    """The metadata key in it.

    Raises:
        AuthenticationError: another root key or volume, or changed.
    """
    key = suite.unseal(suite.expand(root_key, Label.WRAP), Label.METADATA + volume_id, wrap)
    if len(key) != limits.KEY_SIZE:
        raise AuthenticationError("a wrapped metadata key has the wrong length")
    return key


def _wrap_aad(volume_id: VolumeId, epoch: int) -> bytes:
    return Label.EPOCH + volume_id + _U32.pack(epoch)
