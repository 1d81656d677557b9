"""Backup keys: 32 random bytes for each backup, kept on this computer for the runs that nobody watches.

Owns: where they are kept, who may read them, that none opens the volume (FORMAT.md section 18). Must not know: what
they open, the terminal.

The key of a sealed copy is never kept: with the config of that copy, which this computer has, it opens the volume.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from encfs import runtime
from encfs.core import config as core_config
from encfs.core.slots import SlotSecret, open_slot, passphrase_bytes
from encfs.crypto import rng
from encfs.crypto.kdf import constant_time_equal
from encfs.crypto.suite import suite_named
from encfs.errors import BackupError, ConfigError, SlotDamagedError, UsageError, WrongSecretError
from encfs.format.config import Config
from encfs.format.key_file import KeyText
from encfs.format.limits import KEY_SIZE
from encfs.format.recovery_key import encode_recovery_key
from encfs.format.slots import KdfAlg, Slot, SlotKind
from encfs.store.atomic import replace_file, sync_directory
from encfs.store.local import LocalStore
from encfs.volume.skeleton import open_root, read_copies

FOLDER: Final = "backup-keys"
"""In the state directory."""
CREDENTIAL: Final = "cloakfs-backup-"
"""How a credential of systemd is called; the id of the plan follows."""
_TYPE_IT: Final = "Type it from the recovery sheet of the backup: cloakfs backup key VOLUME --import"
_TEXT: Final = KeyText(b"cloakfs-backup-key", KEY_SIZE, "backup key", _TYPE_IT)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_CHUNK: Final = 4096


def make(plan_id: str) -> bytes:
    """A new key, kept for its owner only and on the medium when this returns.

    Args:
        plan_id: 32 hexadecimal digits.

    Returns:
        32 bytes.

    Raises:
        UsageError: there is one.
        OSError, RuntimeError (a user without a home directory): it cannot be kept.
    """
    key = rng.random_bytes(KEY_SIZE)
    keep(plan_id, key)
    return key


def keep(plan_id: str, key: bytes) -> None:
    """Keep a key that is there already, as one that was typed from its sheet on a new computer.

    Raises:
        UsageError: another one is kept.
        OSError, RuntimeError: as :func:`make`.
    """
    path = _path(plan_id)
    if os.path.lexists(path):
        if constant_time_equal(read(plan_id), key):
            return
        raise UsageError("another key of this backup is kept here already", hint="Nothing was changed.")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = _temporary(plan_id) + rng.random_bytes(4).hex().encode()
        replace_file(LocalStore(folder), folder, path.name.encode(), _TEXT.encode(key), temporary=temporary)
    finally:
        os.close(folder)


def read(plan_id: str) -> bytes:
    """The key: from a credential of systemd where this process has one, else as :func:`make` kept it.

    Raises:
        BackupError: it is not here, is damaged, or others can read it; the hint says what to do.
        OSError, RuntimeError: it cannot be read.
    """
    credential = _credential(plan_id)
    if credential is not None:
        return _decoded(_content(credential))
    path = _path(plan_id)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as exc:
        raise BackupError("the key of this backup is not on this computer", hint=_TYPE_IT) from exc
    try:
        _check_private(os.fstat(fd), path)
        return _decoded(os.read(fd, _CHUNK))
    finally:
        os.close(fd)


def is_kept(plan_id: str) -> bool:
    """Whether there is one, whole or not. Raises: OSError, RuntimeError."""
    return _credential(plan_id) is not None or os.path.lexists(_path(plan_id))


def remove(plan_id: str) -> None:
    """Forget the key, also one that was half made; nothing happens where there is none.

    It is overwritten before, which means something on a disk that writes in place; on a flash medium or a filesystem
    that never does, old bytes stay until they are used for something else. A credential of systemd is not touched.

    Raises:
        OSError, RuntimeError.
    """
    path = _path(plan_id)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = [
            name for name in os.listdir(folder) if name == path.name or name.startswith(_temporary(plan_id).decode())
        ]
        for name in names:
            _wipe(folder, name)
            os.unlink(name, dir_fd=folder)
        if names:
            sync_directory(LocalStore(folder), folder)
    finally:
        os.close(folder)


def _wipe(folder: int, name: str) -> None:
    with suppress(OSError):  # What cannot be written, a link for instance, is still removed.
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
            os.fsync(fd)
        finally:
            os.close(fd)


def _path(plan_id: str) -> Path:
    if len(plan_id) != 32 or set(plan_id) - set("0123456789abcdef"):
        raise AssertionError("internal error: this is no id of a plan")
    return runtime.private_directory(runtime.state_directory() / FOLDER) / plan_id


def _temporary(plan_id: str) -> bytes:
    return f".{plan_id}.".encode()


def _credential(plan_id: str) -> Path | None:
    """Where systemd has put it for this process, and nobody else."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = None if not folder else Path(folder, CREDENTIAL + plan_id)
    return path if path is not None and path.is_file() else None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_CHUNK)


def _check_private(info: os.stat_result, path: Path) -> None:
    """Raises: BackupError: it is not a file that only this user can read."""
    if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid():
        raise BackupError(
            f"{path}: the key of this backup is not a file of this user",
            hint="Somebody has put something in its place. Find out who did, then take it away. " + _TYPE_IT,
        )
    if info.st_mode & _OTHERS:
        raise BackupError(
            f"{path}: other users of this computer can read the key of this backup",
            hint="If nobody has: chmod 600 that file. Else end this backup and set up another one, with another key.",
        )


def _decoded(content: bytes) -> bytes:
    try:
        return _TEXT.decode(content)
    except UsageError as exc:
        raise BackupError("the key of this backup that is kept here is damaged", hint=_TYPE_IT) from exc


# -- a key that opens the volume -------------------------------------------------------------------------------------


def refuse_if_it_opens(key: bytes, volume: bytes) -> None:
    """See to it that a backup key opens no slot of a volume, in no form in which somebody could give it.

    As the key of every slot that has one, whatever its kind; as the passphrase of the others: the text of the sheet
    with dashes and without, the bytes, their hexadecimal digits. Each form takes a derivation for each such slot:
    seconds.

    Args:
        key: 32 bytes.
        volume: its directory.

    Raises:
        UsageError: it opens one.
        ConfigError, MemoryShortError, OSError.
    """
    for config in _configs(volume):
        # Those that take no derivation first.
        for slot in sorted(config.slots, key=lambda slot: slot.kdf.alg is not KdfAlg.NONE):
            if _opens(config, slot, key):
                raise UsageError(
                    "this key opens the volume itself, so it cannot be the key of a backup",
                    hint="A backup needs a key of its own: whoever finds one must not have the other.",
                )


def _configs(volume: bytes) -> list[Config]:
    """Both copies, as far as they can be read: an older one may have a slot more."""
    store, fd = open_root(volume)
    try:
        copies = read_copies(store, fd)
    finally:
        store.close(fd)
    found: dict[bytes, Config] = {}
    failure: ConfigError | None = None
    for raw in copies:
        try:
            found[raw] = core_config.read_copy(raw)
        except ConfigError as exc:
            failure = exc
    if not found and failure is not None:
        raise failure
    return list(found.values())


def _opens(config: Config, slot: Slot, key: bytes) -> bool:
    if slot.kdf.alg is KdfAlg.NONE:
        return _fits(config, slot, SlotSecret(key=key))
    with_key = key if slot.kind == SlotKind.PASSPHRASE_AND_KEY_FILE else b""
    return any(_fits(config, slot, SlotSecret(form, with_key)) for form in _forms(key))


def _fits(config: Config, slot: Slot, secret: SlotSecret) -> bool:
    try:
        open_slot(suite_named(config.suite), config.volume_id, config.rk_id, slot, secret)
    except WrongSecretError:
        return False
    except SlotDamagedError:
        return True  # It is the secret, and the slot may be mended.
    return True


def _forms(key: bytes) -> dict[bytes, None]:
    """In which a key could have become a passphrase, the likeliest first."""
    text = encode_recovery_key(key)
    texts = (text, text.replace("-", ""), key.hex())
    return dict.fromkeys([*(passphrase_bytes(one) for one in texts), key])
