"""A backing store in the memory of this process: what a volume costs when the kernel has no part in it.

Owns: objects, names, descriptors, the errno of each call. Must not know: keys, what the bytes mean, crashes.
:class:`~encfs.store.base.Store` says what each call does. There is one user, and room for everything.
"""

from __future__ import annotations

import os
import stat as stat_module
import time
from errno import EBADF, EEXIST, EISDIR, ENODATA, ENOENT, ENOTDIR, ENOTEMPTY
from pathlib import Path

from encfs.store.base import CachedRead, Where

# A volume opens its root itself and hands the store that descriptor; ours are larger than any of the kernel's.
_FIRST_FD = 1 << 30


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class _Object:
    """A file, a directory, a symlink or a device."""

    __slots__ = ("attributes", "data", "entries", "gid", "links", "mode", "number", "rdev", "times", "uid")

    def __init__(self, number: int, mode: int, data: bytes = b"", rdev: int = 0) -> None:
        self.number = number
        self.mode = mode
        self.uid, self.gid = os.geteuid(), os.getegid()
        self.rdev = rdev
        self.data = bytearray(data)
        self.entries: dict[bytes, _Object] | None = {} if stat_module.S_ISDIR(mode) else None
        self.links = 1 if self.entries is None else 2
        self.times = (time.time_ns(),) * 2
        self.attributes: dict[str, bytes] = {}

    def stat(self) -> os.stat_result:
        atime, mtime = self.times
        size = len(self.data)
        seconds = (atime // 10**9, mtime // 10**9, mtime // 10**9)
        return os.stat_result(
            (self.mode, self.number, 1, self.links, self.uid, self.gid, size, *seconds),
            {
                "st_atime_ns": atime,
                "st_mtime_ns": mtime,
                "st_ctime_ns": mtime,
                "st_rdev": self.rdev,
                "st_blksize": 4096,
                "st_blocks": (size + 511) // 512,
            },
        )


class MemoryStore:
    """A :class:`~encfs.store.base.Store`, with what a directory of the machine holds."""

    cached_read = CachedRead.ALWAYS
    holes_take_room = False
    lasting_inodes = True

    def __init__(self, like: Path) -> None:
        self._next_number = 1
        self._root = _Object(1, stat_module.S_IFDIR | 0o700)
        self._next_fd = _FIRST_FD
        self._fds: dict[int, _Object] = {}
        self._copy(like, self._root)

    def _copy(self, source: Path, target: _Object) -> None:
        for entry in source.iterdir():
            name = os.fsencode(entry.name)
            if entry.is_dir():
                self._copy(entry, self._new(target, name, stat_module.S_IFDIR | 0o700))
            else:
                self._new(target, name, stat_module.S_IFREG | 0o600, entry.read_bytes())

    # -- where things are ------------------------------------------------------------------------------

    def _of(self, fd: int) -> _Object:
        if fd < _FIRST_FD:
            return self._root
        try:
            return self._fds[fd]
        except KeyError:
            raise _error(EBADF) from None

    def _directory(self, dirfd: int) -> _Object:
        found = self._of(dirfd)
        if found.entries is None:
            raise _error(ENOTDIR)
        return found

    def _at(self, dirfd: int, name: bytes) -> _Object:
        directory = self._directory(dirfd)
        if name == b".":
            return directory
        try:
            return directory.entries[name]  # type: ignore[index]
        except KeyError:
            raise _error(ENOENT) from None

    def _new(self, parent: _Object, name: bytes, mode: int, data: bytes = b"", rdev: int = 0) -> _Object:
        assert parent.entries is not None
        if name in parent.entries:
            raise _error(EEXIST)
        self._next_number += 1
        made = _Object(self._next_number, mode, data, rdev)
        parent.entries[name] = made
        if made.entries is not None:
            parent.links += 1
        return made

    def _descriptor(self, found: _Object) -> int:
        self._next_fd += 1
        self._fds[self._next_fd] = found
        return self._next_fd

    def _where(self, where: Where) -> _Object:
        fd, name = where
        return self._of(fd) if name is None else self._at(fd, name)

    # -- opening ---------------------------------------------------------------------------------------

    def open_directory(self, dirfd: int, name: bytes) -> int:
        found = self._at(dirfd, name)
        if found.entries is None:
            raise _error(ENOTDIR)
        return self._descriptor(found)

    def open_path(self, dirfd: int, name: bytes) -> int:
        return self._descriptor(self._at(dirfd, name))

    def open(self, dirfd: int, name: bytes, flags: int, mode: int = 0o600) -> int:
        try:
            found = self._at(dirfd, name)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            return self._descriptor(self._new(self._directory(dirfd), name, stat_module.S_IFREG | mode))
        if flags & os.O_EXCL:
            raise _error(EEXIST)
        return self._descriptor(found)

    def reopen(self, fd: int, flags: int) -> int:
        del flags
        return self._descriptor(self._of(fd))

    def open_writable(self, dirfd: int, name: bytes) -> int:
        return self.open(dirfd, name, os.O_RDWR)

    def close(self, fd: int) -> None:
        if self._fds.pop(fd, None) is None:
            raise _error(EBADF)

    def try_lock(self, fd: int, *, shared: bool = False) -> bool:
        """True: nobody else has this memory."""
        del fd, shared
        return True

    # -- looking ---------------------------------------------------------------------------------------

    def try_lock_directory(self, fd: int) -> bool:
        """True: nobody else has this memory."""
        del fd
        return True

    def stat(self, dirfd: int, name: bytes) -> os.stat_result:
        return self._at(dirfd, name).stat()

    def fstat(self, fd: int) -> os.stat_result:
        return self._of(fd).stat()

    def list(self, dirfd: int) -> list[bytes]:
        return list(self._directory(dirfd).entries or ())

    def readlink(self, dirfd: int, name: bytes) -> bytes:
        return bytes(self._at(dirfd, name).data)

    def statvfs(self, fd: int) -> os.statvfs_result:
        return os.fstatvfs(fd) if fd < _FIRST_FD else os.statvfs("/")

    # -- data ------------------------------------------------------------------------------------------

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self._of(fd).data[offset : offset + size])

    def read_uncached(self, dirfd: int, name: bytes, size: int) -> bytes:
        return bytes(self._at(dirfd, name).data[:size])

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        del wait
        data = self._of(fd).data
        count = max(0, min(len(buffer), len(data) - offset))
        buffer[:count] = memoryview(data)[offset : offset + count]
        return count

    def next_data(self, fd: int, offset: int) -> int:
        del fd
        return offset

    def pwrite(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        found = self._of(fd).data
        if offset > len(found):
            found.extend(bytes(offset - len(found)))
        found[offset : offset + len(data)] = data

    def truncate(self, fd: int, size: int) -> None:
        found = self._of(fd)
        if found.entries is not None:
            raise _error(EISDIR)
        del found.data[size:]
        found.data.extend(bytes(size - len(found.data)))

    def write_out(self, fd: int, size: int) -> None:
        """Nothing is below."""

    def fdatasync(self, fd: int) -> None:
        """Nothing is below."""

    def fsync(self, fd: int) -> None:
        """Nothing is below."""

    def syncfs(self, fd: int) -> None:
        """Nothing is below."""

    # -- names -----------------------------------------------------------------------------------------

    def rename(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        moved, source, target = self._at(dirfd, name), self._directory(dirfd), self._directory(to_dirfd)
        assert source.entries is not None
        assert target.entries is not None
        replaced = target.entries.get(to_name)
        if replaced is moved:
            return
        if replaced is not None:
            self._check_replaced(moved, replaced)
            self._drop(target, to_name)
        target.entries[to_name] = moved
        del source.entries[name]
        if moved.entries is not None:
            source.links -= 1
            target.links += 1

    @staticmethod
    def _check_replaced(moved: _Object, replaced: _Object) -> None:
        if replaced.entries is None and moved.entries is not None:
            raise _error(ENOTDIR)
        if replaced.entries is not None and moved.entries is None:
            raise _error(EISDIR)
        if replaced.entries:
            raise _error(ENOTEMPTY)

    def exchange(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        one, two = self._at(dirfd, name), self._at(to_dirfd, to_name)
        for directory, new_name, found in ((dirfd, name, two), (to_dirfd, to_name, one)):
            entries = self._directory(directory).entries
            assert entries is not None
            entries[new_name] = found

    def link(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        found, entries = self._at(dirfd, name), self._directory(to_dirfd).entries
        assert entries is not None
        if to_name in entries:
            raise _error(EEXIST)
        entries[to_name] = found
        found.links += 1

    def unlink(self, dirfd: int, name: bytes) -> None:
        if self._at(dirfd, name).entries is not None:
            raise _error(EISDIR)
        self._drop(self._directory(dirfd), name)

    def rmdir(self, dirfd: int, name: bytes) -> None:
        found = self._at(dirfd, name)
        if found.entries is None:
            raise _error(ENOTDIR)
        if found.entries:
            raise _error(ENOTEMPTY)
        self._drop(self._directory(dirfd), name)

    @staticmethod
    def _drop(directory: _Object, name: bytes) -> None:
        assert directory.entries is not None
        gone = directory.entries.pop(name)
        gone.links -= 1
        if gone.entries is not None:
            directory.links -= 1

    def mkdir(self, dirfd: int, name: bytes, mode: int) -> None:
        self._new(self._directory(dirfd), name, stat_module.S_IFDIR | mode)

    def symlink(self, target: bytes, dirfd: int, name: bytes) -> None:
        self._new(self._directory(dirfd), name, stat_module.S_IFLNK | 0o777, target)

    def mknod(self, dirfd: int, name: bytes, mode: int, rdev: int) -> None:
        self._new(self._directory(dirfd), name, mode, rdev=rdev)

    # -- attributes ------------------------------------------------------------------------------------

    def chmod(self, dirfd: int, name: bytes, mode: int) -> None:
        self._chmod(self._at(dirfd, name), mode)

    def fchmod(self, fd: int, mode: int) -> None:
        self._chmod(self._of(fd), mode)

    @staticmethod
    def _chmod(found: _Object, mode: int) -> None:
        found.mode = stat_module.S_IFMT(found.mode) | mode

    def chown(self, dirfd: int, name: bytes, uid: int, gid: int) -> None:
        self._chown(self._at(dirfd, name), uid, gid)

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        self._chown(self._of(fd), uid, gid)

    @staticmethod
    def _chown(found: _Object, uid: int, gid: int) -> None:
        found.uid = found.uid if uid == -1 else uid
        found.gid = found.gid if gid == -1 else gid

    def utime(self, dirfd: int, name: bytes, times_ns: tuple[int, int]) -> None:
        self._at(dirfd, name).times = times_ns

    def futime(self, fd: int, times_ns: tuple[int, int]) -> None:
        self._of(fd).times = times_ns

    def getxattr(self, where: Where, name: str) -> bytes:
        try:
            return self._where(where).attributes[name]
        except KeyError:
            raise _error(ENODATA) from None

    def setxattr(self, where: Where, name: str, value: bytes) -> None:
        self._where(where).attributes[name] = value

    def removexattr(self, where: Where, name: str) -> None:
        if self._where(where).attributes.pop(name, None) is None:
            raise _error(ENODATA)
