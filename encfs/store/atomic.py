"""Replacing a small lower file so that a crash leaves the old one or the new one, never a mix."""

from __future__ import annotations

import os

from encfs.store.base import Store


def replace_file(store: Store, dirfd: int, name: bytes, content: bytes, *, temporary: bytes) -> None:
    """Write ``content`` under ``temporary``, fsync, rename to ``name``, fsync the directory.

    Raises:
        OSError: a call failed; ``name`` is as it was and ``temporary`` is gone, if it could be removed.
    """
    fd = store.open(dirfd, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            store.pwrite(fd, content, 0)
            store.fsync(fd)
        finally:
            store.close(fd)
        store.rename(dirfd, temporary, dirfd, name)
    except OSError:
        try:
            store.unlink(dirfd, temporary)
        except FileNotFoundError:
            pass
        raise
    sync_directory(store, dirfd)


def sync_file(store: Store, dirfd: int, name: bytes) -> None:
    """Make a file that is only read here durable: somebody else may have written it just now."""
    fd = store.open(dirfd, name, os.O_RDONLY)
    try:
        store.fsync(fd)
    finally:
        store.close(fd)


def sync_directory(store: Store, dirfd: int) -> None:
    """Make the entries of a directory durable. ``dirfd`` may be an ``O_PATH`` descriptor."""
    fd = store.open(dirfd, b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        store.fsync(fd)
    finally:
        store.close(fd)
