"""Deleting what is left of a volume whose keys are destroyed: sealed files, and the directories that become empty.

Owns: what is certainly a volume's (FORMAT.md section 2). Must not know: why it is deleted. Everything else stays.
"""

from __future__ import annotations

import os
import re
import stat as stat_module
from contextlib import suppress
from errno import EBUSY, ENOTEMPTY
from typing import Final

from encfs.errors import NotAVolumeError, UsageError
from encfs.format.limits import CHECKPOINTS_NAME, LOCK_NAME, RECORD_NAME, SESSIONS_NAME, TEMP_PREFIX
from encfs.store.base import Store
from encfs.volume.key_copies import SEALED, OpenDirectory
from encfs.volume.skeleton import open_root, read_copies

_NAME: Final = re.compile(rb"~?[A-Za-z0-9_-]{43,}(\.l)?")
_FOLDERS: Final = (SESSIONS_NAME, CHECKPOINTS_NAME)


def clear(path: bytes) -> int:
    """Delete it, and the directory itself if nothing else is in it.

    Returns:
        How many entries are left that are not certainly a volume's.

    Raises:
        UsageError: there is a config, so this is a volume that opens.
        OSError.
    """
    store, root_fd = open_root(path)
    try:
        if _has_config(store, root_fd):
            raise UsageError("there is a volume in this directory, and its keys", hint="Nothing was deleted.")
        left = _clear(store, root_fd)
    finally:
        store.close(root_fd)
    if not left:
        with suppress(OSError):  # The top of a medium cannot go; it is empty.
            os.rmdir(path)
    return left


def _has_config(store: Store, root_fd: int) -> bool:
    try:
        return bool(read_copies(store, root_fd))
    except NotAVolumeError:
        return False


def _clear(store: Store, root_fd: int) -> int:
    left = 0
    device = store.fstat(root_fd).st_dev
    pending: list[tuple[bytes, ...]] = [()]
    met: list[tuple[bytes, ...]] = []
    while pending:
        parts = pending.pop()
        met.append(parts)
        with OpenDirectory(store, root_fd, parts) as dirfd:
            for name in store.list(dirfd):
                info = store.stat(dirfd, name)
                if stat_module.S_ISDIR(info.st_mode) and info.st_dev == device and _is_folder(parts, name):
                    pending.append((*parts, name))
                elif not stat_module.S_ISDIR(info.st_mode) and _is_ours(store, dirfd, parts, name, info):
                    store.unlink(dirfd, name)
                else:
                    left += 1
    for *above, name in (parts for parts in reversed(met) if parts):
        with OpenDirectory(store, root_fd, above) as dirfd:
            try:
                store.rmdir(dirfd, name)
            except OSError as exc:
                if exc.errno not in (ENOTEMPTY, EBUSY):
                    raise
    store.syncfs(root_fd)
    return left


def _is_folder(parts: tuple[bytes, ...], name: bytes) -> bool:
    return bool(_NAME.fullmatch(name)) or name.startswith(TEMP_PREFIX) or (not parts and name in _FOLDERS)


def _is_ours(store: Store, dirfd: int, parts: tuple[bytes, ...], name: bytes, info: os.stat_result) -> bool:
    """A sealed file by its first bytes, an empty one and what holds no bytes by its name."""
    named = bool(_NAME.fullmatch(name)) or name.startswith(TEMP_PREFIX) or name == RECORD_NAME
    if not stat_module.S_ISREG(info.st_mode):
        return named
    if not info.st_size:
        return named or (parts == (SESSIONS_NAME,) and name == LOCK_NAME)
    fd = store.open(dirfd, name, os.O_RDONLY)
    try:
        return SEALED.match(store.pread(fd, 5, 0)) is not None
    finally:
        store.close(fd)
