"""The files every volume has: its two configs, the root record, the folder of sessions.

Owns: making them in a new volume, all or nothing, and reading the configs. Must not know: prompts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from errno import EEXIST

from encfs.core import config as core_config
from encfs.core import frames
from encfs.core.key_changes import add_slot
from encfs.core.slots import SlotSecret, new_argon2id
from encfs.core.sources import NewSlot
from encfs.crypto.suite import suite_named
from encfs.errors import ConfigError, LowerIOError, NotAVolumeError, NotEmptyError
from encfs.format.config import Config
from encfs.format.directory import DirectoryRecord
from encfs.format.limits import (
    CONFIG_BAK_NAME,
    CONFIG_MAX,
    CONFIG_NAME,
    KDF_MEMORY_KIB_MIN,
    KDF_PASSES_MIN,
    LOCK_NAME,
    RECORD_NAME,
    SESSIONS_NAME,
    SUITE_NAME,
)
from encfs.format.slots import Kdf, KdfAlg, SlotKind
from encfs.store.atomic import replace_file, sync_directory
from encfs.store.base import Store
from encfs.store.portable import PortableStore
from encfs.units import DirId, SessionId
from encfs.volume.places import temporary_name

NO_SESSION = SessionId(bytes(16))


def minimal_kdf() -> Kdf:
    """The cheapest Argon2id that the format allows (64 MiB, 3 passes, 1 lane)."""
    return new_argon2id(memory_kib=KDF_MEMORY_KIB_MIN, passes=KDF_PASSES_MIN, lanes=1)


def open_root(path: bytes) -> tuple[Store, int]:
    """The store of a volume directory, and a descriptor of it, which the store closes.

    Where the calls of Linux are missing it is a store for reading.
    """
    if not hasattr(os, "O_PATH"):
        portable = PortableStore(path)
        return portable, portable.root
    from encfs.store.local import LocalStore  # noqa: PLC0415 - it loads on Linux alone

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return LocalStore(fd), fd


def read_copies(store: Store, root_fd: int) -> list[bytes]:
    """The bytes of each config copy that can be read.

    Raises:
        NotAVolumeError: there is none.
        OSError: there is one, but none can be read.
    """
    copies = []
    failure: OSError | None = None
    for name in (CONFIG_NAME, CONFIG_BAK_NAME):
        try:
            fd = store.open(root_fd, name, os.O_RDONLY)
            try:
                copies.append(store.pread(fd, CONFIG_MAX + 1024, 0))
            finally:
                store.close(fd)
        except FileNotFoundError:
            continue
        except OSError as exc:
            # A bad sector, or something that is no file: the other copy is there for that.
            failure = failure or exc
    if not copies and failure is not None:
        raise failure
    if not copies:
        raise NotAVolumeError("this directory holds no cloakfs volume", hint="Make one with: cloakfs create VOLUME")
    return copies


def read_config(path: bytes) -> Config:
    """What the config says without any key. Nothing vouches for it before the volume is unlocked.

    Raises:
        NotAVolumeError, ConfigDamagedError, NewerFormatError, OSError.
    """
    return read_config_and_digest(path)[0]


def read_config_and_digest(path: bytes) -> tuple[Config, bytes]:
    """:func:`read_config`, and the digest by which whoever has opened that config knows it again.

    Raises:
        NotAVolumeError, ConfigDamagedError, NewerFormatError, OSError.
    """
    store, fd = open_root(path)
    try:
        copies = read_copies(store, fd)
    finally:
        store.close(fd)
    failure: ConfigError | None = None
    found: list[tuple[Config, bytes]] = []
    for raw in copies:
        try:
            found.append((core_config.read_copy(raw), core_config.digest_of(raw)))
        except ConfigError as exc:
            failure = failure or exc
    if not found and failure is not None:
        raise failure
    return max(found, key=lambda one: one[0].seq)


def damaged_copies(path: bytes) -> int:
    """How many of the two copies of the config cannot be used.

    Raises:
        NotAVolumeError, OSError.
    """
    store, fd = open_root(path)
    try:
        copies = read_copies(store, fd)
    finally:
        os.close(fd)
    return 2 - sum(_is_usable(raw) for raw in copies)


def _is_usable(raw: bytes) -> bool:
    try:
        core_config.read_copy(raw)
    except ConfigError:
        return False
    return True


def create_volume(
    path: bytes, *, secret: bytes, kdf: Kdf | None, label: str, recovery_key: bytes | None, cell_size: int
) -> Config:
    """See :meth:`encfs.volume.volume.Volume.create`."""
    slots = [
        NewSlot(kind=SlotKind.PASSPHRASE, label=label, kdf=kdf or minimal_kdf(), secret=SlotSecret(passphrase=secret))
    ]
    if recovery_key is not None:
        secret_key = SlotSecret(key=recovery_key)
        slots.append(NewSlot(kind=SlotKind.RECOVERY, label="recovery key", kdf=Kdf(alg=KdfAlg.NONE), secret=secret_key))
    return create_with_slots(path, slots, cell_size=cell_size).config


def create_with_slots(path: bytes, slots: Sequence[NewSlot], *, cell_size: int) -> core_config.UnlockedConfig:
    """A volume that these slots open, in an empty or missing directory; nothing is left behind if that fails.

    Returns:
        Its config and keys, for whoever goes on with it (:meth:`~encfs.volume.volume.Volume.unlock_with_root_key`).

    Raises:
        NotEmptyError: the directory holds something.
        FormatError: the cell size is unknown.
        OSError: the lower error.
    """
    made = _make_directory(path)
    store, root_fd = open_root(path)
    written: list[bytes] = []
    try:
        if store.list(root_fd):
            raise NotEmptyError(
                "the directory is not empty", hint="Choose a new directory; a volume is made only in an empty one."
            )
        unlocked = _new_config(slots, cell_size)
        _write_skeleton(store, root_fd, unlocked, written)
    except BaseException:
        _remove_skeleton(store, root_fd, written)
        if made:
            os.rmdir(path)
        raise
    finally:
        store.close(root_fd)
    return unlocked


def _make_directory(path: bytes) -> bool:
    try:
        os.mkdir(path, 0o700)
    except OSError as exc:
        if exc.errno == EEXIST:
            return False
        raise
    return True


def _new_config(slots: Sequence[NewSlot], cell_size: int) -> core_config.UnlockedConfig:
    suite = suite_named(SUITE_NAME)
    created = int(time.time())
    made = core_config.new_config(suite, created=created, cell_size=cell_size)
    for slot in slots:
        made = add_slot(made, slot, created=created)
    return replace(made, config=replace(made.config, seq=1))


def _write_skeleton(store: Store, root_fd: int, unlocked: core_config.UnlockedConfig, written: list[bytes]) -> None:
    """Root record, session folder with its lock file, and last the two copies of the config."""
    record = DirectoryRecord(
        epoch=unlocked.ring.active.epoch,
        dir_id=unlocked.config.root_dir_id,
        parent=DirId(bytes(16)),
        generation=1,
        session=NO_SESSION,
        name=b"",
    )
    written.append(RECORD_NAME)
    replace_file(store, root_fd, RECORD_NAME, frames.seal_directory(unlocked.ring, record), temporary=temporary_name())
    written.append(SESSIONS_NAME)
    store.mkdir(root_fd, SESSIONS_NAME, 0o700)
    sessions = store.open_directory(root_fd, SESSIONS_NAME)
    try:
        store.close(store.open(sessions, LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600))
        sync_directory(store, sessions)
    finally:
        store.close(sessions)
    write_config(
        store, root_fd, core_config.seal_config(unlocked.ring.suite, unlocked.config, unlocked.root_key), written
    )


def write_config(store: Store, root_fd: int, content: bytes, written: list[bytes] | None = None) -> None:
    """Write both copies of the config, ``.bak`` first (FORMAT.md section 3)."""
    for name in (CONFIG_BAK_NAME, CONFIG_NAME):
        if written is not None:
            written.append(name)
        replace_file(store, root_fd, name, content, temporary=temporary_name())


def write_config_proved(store: Store, root_fd: int, content: bytes) -> None:
    """:func:`write_config`, and read both copies back from the medium.

    Raises:
        LowerIOError: the medium gives something else back.
        OSError: a copy could not be written; the config is as it was, or as it shall be.
    """
    write_config(store, root_fd, content)
    for name in (CONFIG_NAME, CONFIG_BAK_NAME):
        if store.read_uncached(root_fd, name, CONFIG_MAX + 1024) != content:
            raise LowerIOError(
                "the config that was written is not what the medium gives back",
                hint="Do not lock the volume. Copy your files somewhere else: the medium is failing.",
            )


def _remove_skeleton(store: Store, root_fd: int, written: list[bytes]) -> None:
    """Take back what :func:`_write_skeleton` made before it failed."""
    for name in written:
        try:
            if name == SESSIONS_NAME:
                inside = store.open_directory(root_fd, name)
                try:
                    store.unlink(inside, LOCK_NAME)
                finally:
                    store.close(inside)
                store.rmdir(root_fd, name)
            else:
                store.unlink(root_fd, name)
        except FileNotFoundError:
            continue
