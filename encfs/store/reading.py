"""What stores that only read have in common.

Owns: that every change is refused with EROFS, and that nobody is locked out. Must not know: where the bytes come from.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from typing import NoReturn

from encfs.store.base import CachedRead


def refuse(*arguments: object, **more: object) -> NoReturn:
    """Raises: OSError: EROFS, always."""
    del arguments, more
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class ReadingStore(ABC):
    """The part of a :class:`~encfs.store.base.Store` that is the same wherever nothing is ever written.

    There are no locks: nobody is kept away, and nobody is found.
    """

    cached_read = CachedRead.NEVER
    lasting_inodes = True
    holes_take_room = False

    @abstractmethod
    def open(self, dirfd: int, name: bytes, flags: int) -> int: ...

    @abstractmethod
    def close(self, fd: int) -> None: ...

    @abstractmethod
    def pread(self, fd: int, size: int, offset: int) -> bytes: ...

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        if not wait:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        found = self.pread(fd, len(buffer), offset)
        buffer[: len(found)] = found
        return len(found)

    def read_uncached(self, dirfd: int, name: bytes, size: int) -> bytes:
        fd = self.open(dirfd, name, os.O_RDONLY)
        try:
            return self.pread(fd, size, 0)
        finally:
            self.close(fd)

    def statvfs(self, fd: int) -> os.statvfs_result:
        del fd
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def try_lock(self, fd: int, *, shared: bool = False) -> bool:
        del fd, shared
        return True

    def try_lock_directory(self, fd: int) -> bool:
        del fd
        return True

    open_writable = staticmethod(refuse)
    pwrite = staticmethod(refuse)
    truncate = staticmethod(refuse)
    write_out = staticmethod(refuse)
    fdatasync = staticmethod(refuse)
    fsync = staticmethod(refuse)
    syncfs = staticmethod(refuse)
    rename = staticmethod(refuse)
    exchange = staticmethod(refuse)
    link = staticmethod(refuse)
    unlink = staticmethod(refuse)
    mkdir = staticmethod(refuse)
    rmdir = staticmethod(refuse)
    symlink = staticmethod(refuse)
    mknod = staticmethod(refuse)
    chmod = staticmethod(refuse)
    fchmod = staticmethod(refuse)
    chown = staticmethod(refuse)
    fchown = staticmethod(refuse)
    utime = staticmethod(refuse)
    futime = staticmethod(refuse)
    setxattr = staticmethod(refuse)
    removexattr = staticmethod(refuse)
