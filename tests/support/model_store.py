"""A backing store in memory whose power can be cut after any call (``model_disk.py`` says what that leaves).

Owns: descriptors, the errno of each call, which calls change what. Must not know: keys, what the bytes mean. There is
one process, root's, and a filesystem with everything; :class:`~encfs.store.base.Store` has the calls.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable
from errno import EBADF, EEXIST, EIO, EISDIR, ENODATA, ENOENT, ENOTDIR, ENOTEMPTY
from pathlib import Path

from encfs.store.base import CachedRead, Where
from tests.support.model_disk import ROOT, Content, Disk, File, Medium, Meta, Names
from tests.support.stores import error

# A volume opens its root itself and hands the store that descriptor; ours are larger than any of the kernel's.
_FIRST_FD = 1 << 30


def disk_of(path: Path) -> Disk:
    """The disk that holds a directory of the machine: directories and regular files, modes left out."""
    names, files = Names(), {}
    names.add(ROOT, Meta(stat_module.S_IFDIR | 0o700), directory=True)
    numbers = {os.fspath(path): ROOT}
    for folder, directories, inside in os.walk(path):
        for name in [*directories, *inside]:
            number = numbers[os.path.join(folder, name)] = len(numbers) + 1
            if name in directories:
                names.add(number, Meta(stat_module.S_IFDIR | 0o700), directory=True)
            else:
                names.add(number, Meta(stat_module.S_IFREG | 0o600), directory=False)
                file = File()
                file.write(0, Path(folder, name).read_bytes())
                files[number] = file.now
            names.put(numbers[folder], os.fsencode(name), number)
    return Disk(names, files)


class ModelStore:
    """A :class:`~encfs.store.base.Store` over a :class:`~tests.support.model_disk.Medium`.

    Attributes:
        medium: what is below; its ``crashes`` are the disks that a power cut leaves.
        before_sync: called before each call that makes something durable. All that a cut can leave between two of
            these, it can leave just before the second: what is not synced may be lost.
    """

    cached_read = CachedRead.ALWAYS
    holes_take_room = False
    lasting_inodes = True

    def __init__(self, disk: Disk) -> None:
        self.medium = Medium(disk)
        self.before_sync: Callable[[], None] = lambda: None
        self._fds: dict[int, int] = {}
        self._next_fd = _FIRST_FD
        self._next_number = max(disk.names.inodes) + 1
        self._times: dict[int, tuple[int, int]] = {}

    @property
    def open_descriptors(self) -> int:
        """How many nobody has closed."""
        return len(self._fds)

    # -- where things are ---------------------------------------------------------------------------------------

    def _number(self, fd: int) -> int:
        if fd < _FIRST_FD:
            return ROOT
        try:
            return self._fds[fd]
        except KeyError:
            raise error(EBADF) from None

    def _inside(self, dirfd: int) -> tuple[int, dict[bytes, int]]:
        number = self._number(dirfd)
        inside = self.medium.names.entries.get(number)
        if inside is None:
            raise error(ENOTDIR)
        return number, inside

    def _at(self, dirfd: int, name: bytes) -> int:
        number, inside = self._inside(dirfd)
        if name == b".":
            return number
        try:
            return inside[name]
        except KeyError:
            raise error(ENOENT) from None

    def _is_directory(self, number: int) -> bool:
        return number in self.medium.names.entries

    def _file(self, fd: int) -> File:
        number = self._number(fd)
        if number not in self.medium.files:
            raise error(EISDIR)
        return self.medium.files[number]

    def _new_fd(self, number: int) -> int:
        self._next_fd += 1
        self._fds[self._next_fd] = number
        return self._next_fd

    def _make(self, dirfd: int, name: bytes, meta: Meta) -> int:
        """A new inode with its first name, in one step of the journal."""
        parent, inside = self._inside(dirfd)
        if name in inside:
            raise error(EEXIST)
        self._next_number += 1
        number, directory = self._next_number, stat_module.S_ISDIR(meta.mode)
        if stat_module.S_ISREG(meta.mode):
            self.medium.files[number] = File()
        self.medium.do(
            lambda names: names.add(number, meta, directory=directory),
            lambda names: names.put(parent, name, number),
            creates=number,
        )
        return number

    def _change(self, number: int, **fields: object) -> None:
        self.medium.do(lambda names: names.change(number, **fields))

    # -- opening ------------------------------------------------------------------------------------------------

    def open_directory(self, dirfd: int, name: bytes) -> int:
        number = self._at(dirfd, name)
        if not self._is_directory(number):
            raise error(ENOTDIR)
        return self._new_fd(number)

    def open_path(self, dirfd: int, name: bytes) -> int:
        return self._new_fd(self._at(dirfd, name))

    def open(self, dirfd: int, name: bytes, flags: int, mode: int = 0o600) -> int:
        try:
            number = self._at(dirfd, name)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            return self._new_fd(self._make(dirfd, name, Meta(stat_module.S_IFREG | mode)))
        if flags & os.O_EXCL:
            raise error(EEXIST)
        if not flags & os.O_DIRECTORY and number not in self.medium.files:
            raise error(EIO)
        return self._new_fd(number)

    def open_writable(self, dirfd: int, name: bytes) -> int:
        return self.open(dirfd, name, os.O_RDWR)

    def reopen(self, fd: int, flags: int) -> int:
        return self._new_fd(self._number(fd))

    def close(self, fd: int) -> None:
        if self._fds.pop(fd, None) is None:
            raise error(EBADF)

    def try_lock(self, fd: int, *, shared: bool = False) -> bool:
        return True

    # -- looking ------------------------------------------------------------------------------------------------

    def try_lock_directory(self, fd: int) -> bool:
        """True: nobody else has this memory."""
        del fd
        return True

    def stat(self, dirfd: int, name: bytes) -> os.stat_result:
        return self._stat(self._at(dirfd, name))

    def fstat(self, fd: int) -> os.stat_result:
        return self._stat(self._number(fd))

    def _stat(self, number: int) -> os.stat_result:
        names = self.medium.names
        meta, size = names.inodes[number], 0
        links = sum(list(inside.values()).count(number) for inside in names.entries.values())
        if number in names.entries:
            links = 2 + sum(one in names.entries for one in names.entries[number].values())
        elif number in self.medium.files:
            size = self.medium.files[number].now.size
        else:
            size = len(meta.target)
        atime, mtime = self._times.get(number, (0, 0))
        seconds = (atime // 10**9, mtime // 10**9, mtime // 10**9)
        return os.stat_result(
            (meta.mode, number, 1, links, meta.uid, meta.gid, size, *seconds),
            {"st_atime_ns": atime, "st_mtime_ns": mtime, "st_ctime_ns": mtime, "st_rdev": meta.device},
        )

    def list(self, dirfd: int) -> list[bytes]:
        return list(self._inside(dirfd)[1])

    def readlink(self, dirfd: int, name: bytes) -> bytes:
        return self.medium.names.inodes[self._at(dirfd, name)].target

    def statvfs(self, fd: int) -> os.statvfs_result:
        return os.statvfs("/")

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return self._file(fd).now.read(offset, size)

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        data = self._file(fd).now.read(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def next_data(self, fd: int, offset: int) -> int:
        return offset

    # -- data ---------------------------------------------------------------------------------------------------

    def pwrite(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        self._file(fd).write(offset, bytes(data))

    def truncate(self, fd: int, size: int) -> None:
        self._file(fd).resize(size)

    def write_out(self, fd: int, size: int) -> None:
        self.before_sync()
        self.medium.write_out(self._number(fd))

    def read_uncached(self, dirfd: int, name: bytes, size: int) -> bytes:
        return self.medium.files[self._at(dirfd, name)].now.read(0, size)

    def fdatasync(self, fd: int) -> None:
        self.before_sync()
        self.medium.sync_data(self._number(fd))

    def fsync(self, fd: int) -> None:
        self.before_sync()
        number = self._number(fd)
        if number in self.medium.files:
            self.medium.sync_data(number)
        self.medium.sync_names()

    def syncfs(self, fd: int) -> None:
        self.before_sync()
        self.medium.sync()

    # -- names --------------------------------------------------------------------------------------------------

    def rename(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        number, (source, _), (target, inside) = self._at(dirfd, name), self._inside(dirfd), self._inside(to_dirfd)
        there = inside.get(to_name)
        if there == number:
            return
        if there is not None:
            self._check_replace(number, there)
        self.medium.do(lambda names: names.put(target, to_name, number), lambda names: names.drop(source, name))

    def _check_replace(self, number: int, there: int) -> None:
        if not self._is_directory(there):
            if self._is_directory(number):
                raise error(ENOTDIR)
            return
        if not self._is_directory(number):
            raise error(EISDIR)
        if self.medium.names.entries[there]:
            raise error(ENOTEMPTY)

    def exchange(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        one, two = self._at(dirfd, name), self._at(to_dirfd, to_name)
        first, second = self._number(dirfd), self._number(to_dirfd)
        self.medium.do(lambda names: names.put(first, name, two), lambda names: names.put(second, to_name, one))

    def link(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        number, (target, inside) = self._at(dirfd, name), self._inside(to_dirfd)
        if to_name in inside:
            raise error(EEXIST)
        self.medium.do(lambda names: names.put(target, to_name, number))

    def unlink(self, dirfd: int, name: bytes) -> None:
        number, (parent, _) = self._at(dirfd, name), self._inside(dirfd)
        if self._is_directory(number):
            raise error(EISDIR)
        self.medium.do(lambda names: names.drop(parent, name))

    def mkdir(self, dirfd: int, name: bytes, mode: int) -> None:
        self._make(dirfd, name, Meta(stat_module.S_IFDIR | mode))

    def rmdir(self, dirfd: int, name: bytes) -> None:
        number, (parent, _) = self._at(dirfd, name), self._inside(dirfd)
        if not self._is_directory(number):
            raise error(ENOTDIR)
        if self.medium.names.entries[number]:
            raise error(ENOTEMPTY)
        self.medium.do(lambda names: names.drop(parent, name))

    def symlink(self, target: bytes, dirfd: int, name: bytes) -> None:
        self._make(dirfd, name, Meta(stat_module.S_IFLNK | 0o777, target=target))

    def mknod(self, dirfd: int, name: bytes, mode: int, rdev: int) -> None:
        self._make(dirfd, name, Meta(mode, device=rdev))

    # -- attributes ---------------------------------------------------------------------------------------------

    def chmod(self, dirfd: int, name: bytes, mode: int) -> None:
        self._chmod(self._at(dirfd, name), mode)

    def fchmod(self, fd: int, mode: int) -> None:
        self._chmod(self._number(fd), mode)

    def _chmod(self, number: int, mode: int) -> None:
        self._change(number, mode=stat_module.S_IFMT(self.medium.names.inodes[number].mode) | mode)

    def chown(self, dirfd: int, name: bytes, uid: int, gid: int) -> None:
        self._chown(self._at(dirfd, name), uid, gid)

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        self._chown(self._number(fd), uid, gid)

    def _chown(self, number: int, uid: int, gid: int) -> None:
        self._change(number, **{name: value for name, value in (("uid", uid), ("gid", gid)) if value != -1})

    def utime(self, dirfd: int, name: bytes, times_ns: tuple[int, int]) -> None:
        self._times[self._at(dirfd, name)] = times_ns

    def futime(self, fd: int, times_ns: tuple[int, int]) -> None:
        self._times[self._number(fd)] = times_ns

    def _where(self, where: Where) -> tuple[int, dict[str, bytes]]:
        fd, name = where
        number = self._number(fd) if name is None else self._at(fd, name)
        return number, dict(self.medium.names.inodes[number].attributes)

    def getxattr(self, where: Where, name: str) -> bytes:
        found = self._where(where)[1].get(name)
        if found is None:
            raise error(ENODATA)
        return found

    def setxattr(self, where: Where, name: str, value: bytes) -> None:
        number, attributes = self._where(where)
        self._change(number, attributes=tuple(sorted({**attributes, name: value}.items())))

    def removexattr(self, where: Where, name: str) -> None:
        number, attributes = self._where(where)
        if attributes.pop(name, None) is None:
            raise error(ENODATA)
        self._change(number, attributes=tuple(sorted(attributes.items())))


__all__ = ["Content", "ModelStore", "disk_of"]
