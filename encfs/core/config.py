"""The config as a whole: made, sealed, read and unlocked.

Owns: which copy and which slot is used, and what is checked in which order (FORMAT.md sections 3
to 5). Must not know: where the copies are stored, prompts, the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from encfs.core.keys import KeyRing, unwrap_epoch, unwrap_metadata, wrap_epoch, wrap_metadata
from encfs.core.slots import check_authenticator, open_slot
from encfs.core.sources import UnlockSource
from encfs.crypto import kdf, rng
from encfs.crypto.kdf import Label
from encfs.crypto.suite import Suite, suite_named
from encfs.errors import (
    AuthenticationError,
    ConfigDamagedError,
    ConfigForgedError,
    FormatError,
    NotAVolumeError,
    SlotDamagedError,
    WrongSecretError,
)
from encfs.format import limits
from encfs.format.config import Config, assemble, parse_config, signed_bytes, split
from encfs.format.epochs import Epoch
from encfs.format.slots import Slot
from encfs.units import DirId, VolumeId


@dataclass(frozen=True, slots=True)
class UnlockedConfig:
    """A config whose MAC is right, with its keys. The repr shows no key.

    Attributes:
        digest: SHA-256 of the bytes that were read; empty for a config that was just made.
        slot: which slot opened it; None for a config that was just made.
    """

    config: Config
    root_key: bytes = field(repr=False)
    ring: KeyRing
    digest: bytes = b""
    slot: Slot | None = None


@dataclass(frozen=True, slots=True)
class _Copy:
    """One copy whose checksum is right. Its MAC is not checked yet."""

    config: Config
    signed: bytes
    mac: bytes


def new_config(suite: Suite, *, created: int, cell_size: int = limits.DEFAULT_CELL_SIZE) -> UnlockedConfig:
    """The config of a new volume with fresh ids and keys, and no slot yet.

    Raises:
        FormatError: the cell size is unknown.
    """
    volume_id = VolumeId(rng.random_bytes(limits.VOLUME_ID_SIZE))
    root_key = rng.random_bytes(limits.KEY_SIZE)
    epoch_key, metadata_key = rng.random_bytes(limits.KEY_SIZE), rng.random_bytes(limits.KEY_SIZE)
    wrap = wrap_epoch(suite, root_key=root_key, volume_id=volume_id, epoch=0, key=epoch_key)
    config = Config(
        volume_id=volume_id,
        seq=1,
        created=created,
        suite=suite.name,
        cell_size=cell_size,
        root_dir_id=DirId(rng.random_bytes(limits.DIR_ID_SIZE)),
        rk_id=rng.random_bytes(limits.ROOT_KEY_ID_SIZE),
        slots=(),
        epochs=(Epoch(epoch=0, created=created, active=True, wrap=wrap),),
        metadata=wrap_metadata(suite, root_key=root_key, volume_id=volume_id, key=metadata_key),
    )
    ring = KeyRing(suite=suite, volume_id=volume_id, metadata=metadata_key, epochs={0: epoch_key}, active=0)
    return UnlockedConfig(config, root_key, ring)


def seal_config(suite: Suite, config: Config, root_key: bytes) -> bytes:
    """The bytes of ``cloakfs.volume``.

    Raises:
        FormatError: the config is longer than 1 MiB.
    """
    return seal_with(suite, config, config_key(suite, root_key))


def config_key(suite: Suite, root_key: bytes) -> bytes:
    """K_config, with which a config can be made and checked, and nothing be read."""
    return suite.expand(root_key, Label.CONFIG)


def seal_with(suite: Suite, config: Config, key: bytes) -> bytes:
    """:func:`seal_config` for whoever has K_config only."""
    signed = signed_bytes(config)
    return assemble(signed, suite.mac(key, signed), _checksum(signed))


def check(copies: Sequence[bytes], suite: Suite, key: bytes) -> tuple[Config, bytes]:
    """The newest copy, for whoever has K_config only.

    Returns:
        The config, and the digest of its bytes.

    Raises:
        ConfigDamagedError, NewerFormatError: as :func:`read_copy`.
        ConfigForgedError: its MAC is not one of this key: the root key is another one by now.
    """
    newest = _usable(copies)[0]
    if not kdf.constant_time_equal(suite.mac(key, newest.signed), newest.mac):
        raise ConfigForgedError("the config of this volume has another root key")
    return newest.config, suite.digest(newest.signed + newest.mac)


def read_copy(raw: bytes) -> Config:
    """The config in one copy. Its checksum is right, but nothing vouches for it until ``unlock``.

    Raises:
        ConfigDamagedError: the checksum is wrong, or this is not a config.
        NewerFormatError: a newer cloakfs wrote it.
    """
    return _read(raw).config


def digest_of(raw: bytes) -> bytes:
    """:attr:`UnlockedConfig.digest` of one copy: the same for the same config, whoever vouches for it.

    Raises:
        ConfigDamagedError, NewerFormatError: as :func:`read_copy`.
    """
    copy = _read(raw)
    return suite_named(copy.config.suite).digest(copy.signed + copy.mac)


def unlock(copies: Sequence[bytes], source: UnlockSource) -> UnlockedConfig:
    """Open the volume with the first copy, in order of falling ``seq``, that unlocks with a right MAC.

    Args:
        copies: the bytes of each copy that could be read.
        source: what opens it; the slots of its kind are tried.

    Raises:
        NotAVolumeError: there is no copy.
        NewerFormatError: a copy was written by a newer cloakfs.
        ConfigDamagedError: no copy has a right checksum.
        WrongSecretError: no slot belongs to the secret.
        SlotDamagedError: a slot does, but does not open.
        ConfigForgedError: a slot opens, but the MAC is wrong.
        MemoryShortError: the derivation needs more memory than is free.
        UnlockError: whoever keeps the secret does not give it.
    """
    if not copies:
        raise NotAVolumeError("there is no volume here")
    failure: ConfigForgedError | SlotDamagedError | ConfigDamagedError | None = None
    rejected: set[tuple[VolumeId, Slot]] = set()
    usable = _usable(copies)
    for copy in usable:
        try:
            unlocked = _unlock_copy(copy, source, rejected)
        except (ConfigForgedError, SlotDamagedError, ConfigDamagedError) as exc:
            # Of two failures the graver one is told; the secret was right in each.
            if failure is None or isinstance(exc, ConfigForgedError):
                failure = exc
        else:
            if unlocked is not None:
                return unlocked
    if failure is not None:
        raise failure
    raise _wrong_secret(usable, source)


def unlock_with_root_key(copies: Sequence[bytes], root_key: bytes) -> UnlockedConfig:
    """The newest copy, for whoever has the root key from before.

    Raises:
        NewerFormatError, ConfigDamagedError: as :func:`unlock`.
        ConfigForgedError: it has another root key.
    """
    newest = _usable(copies)[0]
    return _verified(suite_named(newest.config.suite), newest, root_key)


def _usable(copies: Sequence[bytes]) -> list[_Copy]:
    """The copies with a right checksum, the newest first."""
    usable: list[_Copy] = []
    damaged: ConfigDamagedError | None = None
    for raw in copies:
        try:
            usable.append(_read(raw))
        except ConfigDamagedError as exc:
            damaged = exc
    if not usable and damaged is not None:
        raise damaged
    return sorted(usable, key=lambda copy: copy.config.seq, reverse=True)


def _read(raw: bytes) -> _Copy:
    try:
        signed, mac, checksum = split(raw)
        if not kdf.constant_time_equal(_checksum(signed), checksum):
            # Also where the first line names another version: then that digit may be the damage.
            raise _damaged()
        return _Copy(parse_config(signed), signed, mac)
    except FormatError as exc:
        raise _damaged() from exc


def _unlock_copy(copy: _Copy, source: UnlockSource, rejected: set[tuple[VolumeId, Slot]]) -> UnlockedConfig | None:
    """Try the slots of one copy; None if the secret is not any slot's."""
    config = copy.config
    suite = suite_named(config.suite)
    damaged: SlotDamagedError | None = None
    for slot in config.slots:
        # The second copy is mostly the same: a slow derivation is not done twice.
        if slot.kind != source.kind or (config.volume_id, slot) in rejected:
            continue
        try:
            secret = source.secret_for(slot)
            if secret is None:
                continue
            opened = open_slot(suite, config.volume_id, config.rk_id, slot, secret)
            verified = _verified(suite, copy, opened.root_key)
            check_authenticator(suite, config.volume_id, slot, opened)
            return replace(verified, slot=slot)
        except WrongSecretError:
            rejected.add((config.volume_id, slot))
        except SlotDamagedError as exc:
            damaged = exc
    if damaged is not None:
        raise damaged
    return None


def _verified(suite: Suite, copy: _Copy, root_key: bytes) -> UnlockedConfig:
    if not kdf.constant_time_equal(suite.mac(config_key(suite, root_key), copy.signed), copy.mac):
        raise ConfigForgedError(
            "the config of this volume was changed by somebody without its keys",
            hint="Do not trust this copy. Restore cloakfs.volume from a backup.",
        )
    config = copy.config
    try:
        keys = {
            entry.epoch: unwrap_epoch(
                suite, root_key=root_key, volume_id=config.volume_id, epoch=entry.epoch, wrap=entry.wrap
            )
            for entry in config.epochs
        }
        metadata = unwrap_metadata(suite, root_key=root_key, volume_id=config.volume_id, wrap=config.metadata)
    except AuthenticationError as exc:
        raise ConfigDamagedError("a key in the config does not open") from exc
    ring = KeyRing(suite=suite, volume_id=config.volume_id, metadata=metadata, epochs=keys, active=config.active.epoch)
    return UnlockedConfig(config, root_key, ring, suite.digest(copy.signed + copy.mac))


def _wrong_secret(usable: Sequence[_Copy], source: UnlockSource) -> WrongSecretError:
    if not any(slot.kind == source.kind for copy in usable for slot in copy.config.slots):
        return WrongSecretError(f"this volume has no {source.noun}")
    return WrongSecretError(f"the {source.noun} is wrong")


def _checksum(signed: bytes) -> bytes:
    # Of version 1 itself, not of the suite: it is checked before the suite is known.
    return kdf.digest(signed)[: limits.CHECKSUM_SIZE]


def _damaged() -> ConfigDamagedError:
    return ConfigDamagedError(
        "the config of this volume is damaged",
        hint="Restore cloakfs.volume from a backup. Without it nothing can be read.",
    )
