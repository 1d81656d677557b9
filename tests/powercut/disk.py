"""A disk in one file that remembers what it was told, in order.

    python -m tests.powercut.disk IMAGE LOG MOUNTPOINT

Serves two files by FUSE: ``disk``, the content of IMAGE, meant to be put under a loop device, and ``marks``. Every
write to ``disk`` goes to IMAGE and, with its place, to LOG; every flush (fsync) leaves two entries, one when it came
and one when it was done; everything that is written to ``marks`` stands in LOG at that point. ``logbook.py`` reads LOG.

There is no cache in between: neither file is cached by the kernel (direct_io), so one request is one entry.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, FileNameT, FlagT, InodeT, ReaddirToken, RequestContext

from tests.powercut.logbook import Kind, pack

_NAMES = {b"disk": InodeT(2), b"marks": InodeT(3)}
_DISK = _NAMES[b"disk"]


class Disk(pyfuse3.Operations):
    """See pyfuse3.Operations for the contract of each method. Requests are answered one by one, in order."""

    enable_writeback_cache = False

    def __init__(self, image: int, log: int) -> None:
        super().__init__()
        self._image = image
        self._log = log

    def _note(self, kind: Kind, offset: int = 0, data: bytes = b"") -> None:
        os.writev(self._log, [pack(kind, offset, len(data)), data])

    def _attributes(self, inode: InodeT) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o700 if inode == pyfuse3.ROOT_INODE else stat.S_IFREG | 0o600
        entry.st_size = os.fstat(self._image).st_size if inode == _DISK else 0
        return entry

    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        if name not in _NAMES:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(_NAMES[name])

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        return self._attributes(inode)

    async def setattr(self, inode, attr, fields, fh, ctx) -> EntryAttributes:
        return self._attributes(inode)

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        return FileInfo(fh=FileHandleT(inode), direct_io=True)

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        return FileHandleT(inode)

    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        return

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        return os.pread(self._image, size, off) if fh == _DISK else b""

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        if fh == _DISK:
            self._note(Kind.WRITE, off, buf)
            return os.pwrite(self._image, buf, off)
        self._note(Kind.MARK, 0, buf)
        return len(buf)

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        self._note(Kind.FLUSH_BEGIN)
        self._note(Kind.FLUSH_END)


def main(image: str, log: str, mountpoint: str) -> None:
    """Serve until unmounted."""
    disk = Disk(os.open(image, os.O_RDWR), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    pyfuse3.init(disk, mountpoint, {"fsname=cloakfs-powercut"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
