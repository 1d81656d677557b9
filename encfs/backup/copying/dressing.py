"""Modes, owners, times and sealed attributes in the tree of a target, as far as its filesystem keeps them.

Owns: setting them. Must not know: which entries there are. What is not kept is in the manifest.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from encfs.format.backup import Item, ItemKind
from encfs.format.limits import XATTR_NAME
from encfs.store.base import Store

_NOT_KEPT: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODATA, errno.EOVERFLOW}
    # Of attributes: there may be room for few of them, or for small ones.
    | {errno.ENOSPC, errno.E2BIG, errno.ERANGE}
)


def dress(store: Store, dirfd: int, name: bytes, item: Item) -> None:
    """Give an entry what ``item`` has. Raises: OSError: not for what the filesystem does not keep."""
    root = os.geteuid() == 0
    if root:
        with if_kept():
            store.chown(dirfd, name, item.uid, item.gid)
    if item.kind is not ItemKind.SYMLINK:
        # Whoever is not root has to be able to read it back, whatever the mode is in the volume.
        needed = 0 if root else 0o700 if item.kind is ItemKind.DIRECTORY else 0o600
        with if_kept():
            store.chmod(dirfd, name, stat_module.S_IMODE(item.mode) | needed)
    if item.kind in (ItemKind.FILE, ItemKind.DIRECTORY):
        with if_kept():
            if XATTR_NAME in item.attributes:
                store.setxattr((dirfd, name), XATTR_NAME, item.attributes[XATTR_NAME])
            else:
                store.removexattr((dirfd, name), XATTR_NAME)
    with if_kept():
        store.utime(dirfd, name, (item.mtime_ns, item.mtime_ns))


@contextmanager
def if_kept() -> Iterator[None]:
    """For what a filesystem may lack. Raises: OSError: it is something else."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in _NOT_KEPT:
            raise
