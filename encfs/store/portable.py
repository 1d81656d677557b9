"""The backing store for reading on any system: macOS, Windows, wherever the calls of Linux are missing.

Owns: a lower directory by plain paths, out of which nothing below leads; inode numbers that can be relied on. Must not
know: keys, names in plain, what the bytes mean.

Nothing is ever written: every change is refused with EROFS. There are no locks, so a writer on another machine is
not kept away; whoever opens the volume learns of one from the session records. Extended attributes are not read
(``EOPNOTSUPP``). One thread at a time.
"""

from __future__ import annotations

import errno
import io
import os
import stat as stat_module
from dataclasses import dataclass
from itertools import count

from encfs.hostpaths import long_path
from encfs.store.base import Where
from encfs.store.reading import ReadingStore, refuse

# What parts a path on this system; on Windows also what names a drive or a stream.
_SEPARATORS = frozenset("/\\:\0") if os.name == "nt" else frozenset("/\0")
_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT of Windows: a directory that is another one


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a descriptor of this store stands for. ``file`` is None for a directory."""

    path: str
    identity: tuple[int, int]
    file: io.FileIO | None


class PortableStore(ReadingStore):
    """A :class:`~encfs.store.base.Store` that reads, with numbers of its own as descriptors.

    Inode numbers of FAT, exFAT and network disks change, repeat or are 0, and two files that look like one would be
    read in each other's place. So an object has a number for its path; the system's own number counts only where one
    file has several names, because such filesystems have true ones.

    Args:
        path: the volume directory.

    Raises:
        OSError: it is missing, or no directory.
    """

    def __init__(self, path: bytes) -> None:
        self._handles: dict[int, _Opened] = {}
        self._numbers = count(1)
        self._inodes: dict[str | tuple[int, int], int] = {}
        self._device: int | None = None
        # The links in what the user gave are followed; below it none is.
        root = os.path.realpath(os.fsdecode(path))
        root = long_path(root) if os.name == "nt" else root
        if not stat_module.S_ISDIR(os.lstat(root).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        self.root = self._keep(root, (0, 0), None)

    # -- descriptors -------------------------------------------------------------------------------------

    def _keep(self, path: str, identity: tuple[int, int], file: io.FileIO | None) -> int:
        number = next(self._numbers)
        self._handles[number] = _Opened(path, identity, file)
        return number

    def _at(self, fd: int) -> _Opened:
        try:
            return self._handles[fd]
        except KeyError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def _file(self, fd: int) -> io.FileIO:
        file = self._at(fd).file
        if file is None:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return file

    def _path(self, dirfd: int, name: bytes) -> str:
        """Where an entry is. A name that would lead anywhere else is no entry."""
        directory = self._at(dirfd).path
        if name == b".":
            return directory
        text = os.fsdecode(name)
        if text in ("", "..") or not _SEPARATORS.isdisjoint(text):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return os.path.join(directory, text)

    def close(self, fd: int) -> None:
        file = self._at(fd).file
        del self._handles[fd]
        if file is not None:
            file.close()

    def open_directory(self, dirfd: int, name: bytes) -> int:
        path = self._path(dirfd, name)
        found = os.lstat(path)
        # A junction says that it is a directory, and is as little to be followed as a link.
        if not stat_module.S_ISDIR(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        return self._keep(path, self._identity(path, found), None)

    def open_path(self, dirfd: int, name: bytes) -> int:
        path = self._path(dirfd, name)
        return self._keep(path, self._identity(path, os.lstat(path)), None)

    def open(self, dirfd: int, name: bytes, flags: int, mode: int = 0o600) -> int:
        del mode
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            refuse()
        path = self._path(dirfd, name)
        found = os.lstat(path)
        if stat_module.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not stat_module.S_ISREG(found.st_mode):
            raise OSError(errno.EIO, "not a regular file")
        return self._keep(path, self._identity(path, found), io.FileIO(path, "rb"))

    def reopen(self, fd: int, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            refuse()
        opened = self._at(fd)
        return self._keep(opened.path, opened.identity, io.FileIO(opened.path, "rb"))

    # -- what is there -----------------------------------------------------------------------------------

    def stat(self, dirfd: int, name: bytes) -> os.stat_result:
        path = self._path(dirfd, name)
        found = os.lstat(path)
        return _with_identity(found, self._identity(path, found))

    def fstat(self, fd: int) -> os.stat_result:
        opened = self._at(fd)
        if opened.file is not None:
            return _with_identity(os.fstat(opened.file.fileno()), opened.identity)
        found = os.lstat(opened.path)
        return _with_identity(found, self._identity(opened.path, found))

    def _identity(self, path: str, found: os.stat_result) -> tuple[int, int]:
        several = found.st_nlink > 1 and found.st_ino and stat_module.S_ISREG(found.st_mode)
        key = (found.st_dev, found.st_ino) if several else path
        number = self._inodes.setdefault(key, len(self._inodes) + 1)
        return found.st_dev, number

    def list(self, dirfd: int) -> list[bytes]:
        return [os.fsencode(name) for name in os.listdir(self._at(dirfd).path)]

    def readlink(self, dirfd: int, name: bytes) -> bytes:
        return os.fsencode(os.readlink(self._path(dirfd, name)))

    def getxattr(self, where: Where, name: str) -> bytes:
        del where, name
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    # -- reading -----------------------------------------------------------------------------------------

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.preadv(fd, memoryview(buffer), offset, wait=True)])

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        if not wait:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        file = self._file(fd)
        file.seek(offset)
        total = 0
        while total < len(buffer):
            count_read = file.readinto(buffer[total:])
            if not count_read:
                break
            total += count_read
        return total

    def next_data(self, fd: int, offset: int) -> int:
        return min(offset, self.fstat(fd).st_size)


def _with_identity(found: os.stat_result, identity: tuple[int, int]) -> os.stat_result:
    device, inode = identity
    fields = (found.st_mode, inode, device, found.st_nlink, found.st_uid, found.st_gid, found.st_size)
    times = (found.st_atime, found.st_mtime, found.st_ctime)
    exact = {
        "st_atime_ns": found.st_atime_ns,
        "st_mtime_ns": found.st_mtime_ns,
        "st_ctime_ns": found.st_ctime_ns,
    }
    return os.stat_result((*fields, *times), exact)
