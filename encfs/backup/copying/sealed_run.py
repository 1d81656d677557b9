"""A run of a sealed backup as the backing store of a volume, for reading.

Owns: the tree that the manifest says, with the files that lie on the target, wherever they do. Must not know: keys.

All but the contents comes from the manifest, so no target has to keep modes, links or attributes. Nothing is ever
written, and what this host remembers of the volume is not asked: a backup is older on purpose.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from encfs.backup.copying.target import Reader
from encfs.backup.manifest import Manifest
from encfs.core.sources import UnlockSource
from encfs.format.backup import Item, ItemKind, Taken
from encfs.format.slots import SlotKind
from encfs.store.base import Where
from encfs.store.reading import ReadingStore, refuse
from encfs.volume import Volume

_FIRST_FD: Final = 1 << 30  # Larger than any of the kernel's: whoever opens a volume gives a descriptor of the top.
_TOP: Final = b""


@dataclass(frozen=True, slots=True)
class SealedRun:
    """A run that can be unlocked.

    Attributes:
        run: its id.
        path: a directory that has its config, and nothing else: for whoever asks which slots there are.
    """

    run: str
    path: bytes
    _store: RunStore = field(repr=False)

    def unlock(self, secret: bytes | UnlockSource, kind: SlotKind = SlotKind.PASSPHRASE) -> Volume:
        """The volume as it was then, for reading. Raises: as :meth:`encfs.volume.Volume.unlock`."""
        return Volume.unlock(self.path, secret, kind, read_only=True, store=self._store)


Unlock = Callable[[SealedRun], Volume]
"""Opens a run with what the caller knows or asks for."""


@dataclass(slots=True)
class _Handle:
    item: Item
    reader: Reader | None = None


class RunStore(ReadingStore):
    """A :class:`~encfs.store.base.Store` that reads.

    Args:
        manifest: of the run.
        opener: opens a file of it. Raises: OSError.
    """

    def __init__(self, manifest: Manifest, opener: Callable[[Item], Reader]) -> None:
        self._opener = opener
        self._inside: dict[bytes, dict[bytes, Item]] = {}
        self._inodes: dict[bytes | int, int] = {}
        self._links: Counter[int] = Counter()
        self._handles: dict[int, _Handle] = {}
        self._numbers = count(_FIRST_FD)
        self._top: Item | None = None
        for item in manifest.items:
            if item.taken is Taken.MISSING and item.kind is not ItemKind.DIRECTORY:
                continue
            folder, _, name = item.path.rpartition(b"/")
            if item.path:
                self._inside.setdefault(folder, {})[name] = item
            else:
                self._top = item
            self._links[item.links] += 1
            self._inodes.setdefault(item.links or item.path, len(self._inodes) + 1)

    # -- descriptors ---------------------------------------------------------------------------------------------------

    def _item(self, fd: int) -> Item:
        if fd < _FIRST_FD:
            if self._top is None:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return self._top
        return self._handle(fd).item

    def _handle(self, fd: int) -> _Handle:
        try:
            return self._handles[fd]
        except KeyError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def _at(self, dirfd: int, name: bytes) -> Item:
        folder = self._item(dirfd)
        if folder.kind is not ItemKind.DIRECTORY:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if name == b".":
            return folder
        try:
            return self._inside[folder.path][name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None

    def _keep(self, item: Item, reader: Reader | None = None) -> int:
        number = next(self._numbers)
        self._handles[number] = _Handle(item, reader)
        return number

    def open_directory(self, dirfd: int, name: bytes) -> int:
        item = self._at(dirfd, name)
        if item.kind is not ItemKind.DIRECTORY:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return self._keep(item)

    def open_path(self, dirfd: int, name: bytes) -> int:
        return self._keep(self._at(dirfd, name))

    def open(self, dirfd: int, name: bytes, flags: int, mode: int = 0o600) -> int:
        del mode
        return self._open(self._at(dirfd, name), flags)

    def reopen(self, fd: int, flags: int) -> int:
        return self._open(self._item(fd), flags)

    def _open(self, item: Item, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            refuse()
        if flags & os.O_DIRECTORY:
            return self._keep(item)
        if item.kind is not ItemKind.FILE:
            raise OSError(errno.EIO, "not a regular file")
        return self._keep(item, self._opener(item))

    def close(self, fd: int) -> None:
        handle = self._handle(fd)
        del self._handles[fd]
        if handle.reader is not None:
            handle.reader.close()

    # -- what is there -------------------------------------------------------------------------------------------------

    def stat(self, dirfd: int, name: bytes) -> os.stat_result:
        return self._stat(self._at(dirfd, name))

    def fstat(self, fd: int) -> os.stat_result:
        return self._stat(self._item(fd))

    def _stat(self, item: Item) -> os.stat_result:
        size = item.size if item.kind is ItemKind.FILE else len(item.target)
        links = self._links[item.links] if item.links else 1
        if item.kind is ItemKind.DIRECTORY:
            links = 2
        seconds = item.mtime_ns // 10**9
        exact = {"st_atime_ns": item.mtime_ns, "st_mtime_ns": item.mtime_ns, "st_ctime_ns": item.mtime_ns}
        return os.stat_result(
            (
                *(item.mode, self._inodes[item.links or item.path], 1, links, item.uid, item.gid, size),
                *(seconds, seconds, seconds),
            ),
            {**exact, "st_rdev": item.device, "st_blksize": 4096, "st_blocks": -(-size // 512)},
        )

    def list(self, dirfd: int) -> list[bytes]:
        return list(self._inside.get(self._item(dirfd).path, ()))

    def readlink(self, dirfd: int, name: bytes) -> bytes:
        item = self._at(dirfd, name)
        if item.kind is not ItemKind.SYMLINK:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return item.target

    def getxattr(self, where: Where, name: str) -> bytes:
        fd, entry = where
        attributes: Mapping[str, bytes] = (self._item(fd) if entry is None else self._at(fd, entry)).attributes
        try:
            return attributes[name]
        except KeyError:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA)) from None

    # -- reading -------------------------------------------------------------------------------------------------------

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        reader = self._handle(fd).reader
        if reader is None:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return reader.pread(size, offset)

    def next_data(self, fd: int, offset: int) -> int:
        return min(offset, self._item(fd).size)
