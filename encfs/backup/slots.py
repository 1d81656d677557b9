"""The config of a sealed copy that opens with a backup key alone, whatever opens the volume (FORMAT.md section 18).

Owns: what is in it, where it is kept between runs, whether it still fits the volume. Must not know: how the volume was
opened for it, how it gets into a copy.

A run needs no key: the config is made when somebody opens the volume, and kept. It holds no secret. When the volume has
another root key or another epoch it is made anew, for the same backup key, by whoever can open the volume: nobody has
to fetch the sheet from the safe.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from encfs import runtime
from encfs.core import config as core_config
from encfs.core.keys import unwrap_metadata
from encfs.core.slots import SlotSecret, make_slot, open_authenticator, seal_authenticator, seal_root_key
from encfs.core.sources import KnownSecret
from encfs.crypto import rng
from encfs.crypto.kdf import Label
from encfs.crypto.suite import Suite, suite_named
from encfs.errors import AuthenticationError, BackupError, ConfigError, FormatError
from encfs.format import base64url
from encfs.format.config import Config
from encfs.format.slots import Kdf, KdfAlg, Slot, SlotKind
from encfs.store.atomic import replace_file
from encfs.store.local import LocalStore
from encfs.volume.keys import Keys
from encfs.volume.skeleton import read_config

FOLDER: Final = "backup-slots"
"""In the state directory."""
LABEL: Final = "backup key"
_LINES: Final = 3
_MARK: Final = b"slot "
_HOW: Final = "Do once, with what opens the volume: cloakfs backup key VOLUME --refresh"


@dataclass(frozen=True, slots=True)
class Kept:
    """A config for copies, and what it takes to make the next one for the same backup key.

    Attributes:
        config: the bytes of ``cloakfs.volume``.
        sealed: the authenticator of its slot, sealed under the metadata key of the volume.
    """

    config: bytes
    sealed: bytes = field(repr=False)


def backup_config(config: Config, root_key: bytes, key: bytes) -> Kept:
    """A config like the volume's, whose only slot opens with a backup key. It was opened with it once.

    Args:
        config: of the volume.
        root_key: of the volume, 32 bytes.
        key: the backup key, 32 bytes.
    """
    suite = suite_named(config.suite)
    slot = make_slot(
        suite,
        volume_id=config.volume_id,
        rk_id=config.rk_id,
        root_key=root_key,
        kind=SlotKind.RECOVERY,
        label=LABEL,
        created=int(time.time()),
        kdf=Kdf(KdfAlg.NONE),
        secret=SlotSecret(key=key),
    )
    raw = core_config.seal_config(suite, replace(config, slots=(slot,)), root_key)
    core_config.unlock([raw], KnownSecret.of(SlotKind.RECOVERY, key))
    authenticator = open_authenticator(suite, config.volume_id, slot, root_key)
    return Kept(raw, suite.seal(_sealing_key(suite, config, root_key), _binding(suite, config, slot), authenticator))


def renewed(kept: Kept, config: Config, root_key: bytes) -> Kept:
    """The same for the keys that the volume has now; the backup key is not needed.

    Raises:
        BackupError: what was kept is not of this volume, or was changed.
    """
    suite = suite_named(config.suite)
    slot = _slot_in(kept)
    try:
        sealing, binding = _sealing_key(suite, config, root_key), _binding(suite, config, slot)
        authenticator = suite.unseal(sealing, binding, kept.sealed)
        erk = seal_root_key(
            suite,
            volume_id=config.volume_id,
            slot_id=slot.id,
            rk_id=config.rk_id,
            pub=slot.pub,
            authenticator=authenticator,
            root_key=root_key,
        )
    except (AuthenticationError, FormatError) as exc:
        raise _unusable() from exc
    auth = seal_authenticator(
        suite, volume_id=config.volume_id, slot_id=slot.id, root_key=root_key, authenticator=authenticator
    )
    raw = core_config.seal_config(suite, replace(config, slots=(replace(slot, erk=erk, auth=auth),)), root_key)
    return Kept(raw, kept.sealed)


def _sealing_key(suite: Suite, config: Config, root_key: bytes) -> bytes:
    """From the one key that a volume has for life."""
    metadata = unwrap_metadata(suite, root_key=root_key, volume_id=config.volume_id, wrap=config.metadata)
    return suite.expand(metadata, Label.BACKUP_SLOT)


def _binding(suite: Suite, config: Config, slot: Slot) -> bytes:
    return Label.BACKUP_SLOT + config.volume_id + slot.id + suite.digest(slot.pub)


# -- what is kept ----------------------------------------------------------------------------------------------------


def make(plan_id: str, keys: Keys, key: bytes) -> None:
    """Make the config of a backup, and keep it. One that is kept already is replaced.

    Args:
        plan_id: 32 hexadecimal digits.
        keys: the volume's, open.
        key: the backup key.

    Raises:
        OSError, RuntimeError (a user without a home directory): it cannot be kept; what was kept stays.
    """
    _keep(plan_id, backup_config(keys.config, keys.root_key, key))


def refresh(plan_id: str, keys: Keys) -> bool:
    """Make the config of a backup anew for the keys that the volume has now, for the same backup key.

    Returns:
        Whether the one that was kept did not fit any more.

    Raises:
        BackupError: none is kept, or it is damaged or of another volume.
        OSError, RuntimeError: as :func:`make`.
    """
    kept = _read(plan_id)
    fitted = _fits(_config_in(kept), keys.config)
    _keep(plan_id, renewed(kept, keys.config, keys.root_key))
    return not fitted


def current(plan_id: str, volume: bytes) -> bytes:
    """The config that a copy gets in place of the volume's own.

    Args:
        plan_id: 32 hexadecimal digits.
        volume: its directory; only its config is read.

    Raises:
        BackupError: it does not open what is in the volume now, or none is kept; the hint has the command.
        ConfigError: that of the volume cannot be read.
        OSError, RuntimeError.
    """
    kept = _read(plan_id)
    if not _fits(_config_in(kept), read_config(volume)):
        raise BackupError(
            "the keys of the volume were changed since the key of this backup was made: it would not open a new copy",
            hint=f"Nothing was written. {_HOW}",
        )
    return kept.config


def remove(plan_id: str) -> None:
    """Forget it; nothing happens where there is none. Raises: OSError, RuntimeError."""
    path = _path(plan_id)
    with suppress(FileNotFoundError):
        path.unlink()


def _fits(kept: Config, config: Config) -> bool:
    """Whether a config has all the keys of another: the same root key, and each of its epochs."""

    def own(one: Config) -> tuple[object, ...]:
        return one.volume_id, one.root_dir_id, one.suite, one.cell_size, one.rk_id, one.metadata

    known = {(one.epoch, one.wrap) for one in kept.epochs}
    return own(kept) == own(config) and all((one.epoch, one.wrap) in known for one in config.epochs)


def _path(plan_id: str) -> Path:
    return runtime.private_directory(runtime.state_directory() / FOLDER) / plan_id


def _keep(plan_id: str, kept: Kept) -> None:
    path = _path(plan_id)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        content = kept.config + _MARK + base64url.encode(kept.sealed) + b"\n"
        temporary = f".{plan_id}.{rng.random_bytes(4).hex()}".encode()
        replace_file(LocalStore(folder), folder, path.name.encode(), content, temporary=temporary)
    finally:
        os.close(folder)


def _read(plan_id: str) -> Kept:
    try:
        content = _path(plan_id).read_bytes()
    except FileNotFoundError as exc:
        raise BackupError(
            "the slot of this backup is not on this computer",
            hint="Type the backup key from its sheet: cloakfs backup key VOLUME --import",
        ) from exc
    lines = content.splitlines(keepends=True)
    if len(lines) != _LINES + 1 or not lines[-1].startswith(_MARK) or not lines[-1].endswith(b"\n"):
        raise _unusable()
    try:
        return Kept(b"".join(lines[:_LINES]), base64url.decode(lines[-1][len(_MARK) : -1]))
    except FormatError as exc:
        raise _unusable() from exc


def _config_in(kept: Kept) -> Config:
    try:
        return core_config.read_copy(kept.config)
    except ConfigError as exc:
        raise _unusable() from exc


def _slot_in(kept: Kept) -> Slot:
    slots = _config_in(kept).slots
    if len(slots) != 1:
        raise _unusable()
    return slots[0]


def _unusable() -> BackupError:
    return BackupError(
        "the slot of this backup that is kept here is damaged, or not of this volume",
        hint="Type the backup key from its sheet: cloakfs backup key VOLUME --import",
    )
