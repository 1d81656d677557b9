"""The backing store on a local (or kernel-mounted) filesystem.

Owns: dirfd-relative system calls that never follow a symlink, and how to tell whether a read would
wait for the medium. Must not know: keys, names in plain, what the bytes mean.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat as stat_module
import struct

from encfs.store.base import CachedRead, Where

_NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_EXCHANGE = 2
_WRITE_OUT = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER
_FLOCK = struct.Struct("hhqqi4x")
_FUSE_FILESYSTEM = 0x65735546
_FAT = 0x4D44
_FAT_FILE_MAX = (4 << 30) - 1
_WITHOUT_HOLES = frozenset({_FAT, 0x2011BAB0, _FUSE_FILESYSTEM})  # FAT, exFAT, and a program's, which may be either
_NETWORK = frozenset({0xFF534D42, 0xFE534D42, 0x01021997})  # SMB, 9p: the server's numbers, or the client's own
_NO_LOCKS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
_DIRECT_ALIGNMENT = 4096  # at least the sector of any medium
# Whose journal commits nothing before the data that was written out earlier: ext4, xfs.
_ORDERED_FILESYSTEMS = frozenset({0xEF53, 0x58465342})
_MEMORY_FILESYSTEMS = frozenset({0x01021994, 0x858458F6})  # tmpfs, ramfs: statfs(2)

_libc = ctypes.CDLL(None, use_errno=True)


def _libc_call(name: str, *arguments: object) -> None:
    """Call a libc function that Python's ``os`` lacks; raise ``OSError`` when it fails."""
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _filesystem_type(fd: int) -> int:
    """The ``f_type`` of statfs(2)."""
    buffer = ctypes.create_string_buffer(256)
    _libc_call("fstatfs", fd, buffer)
    return int.from_bytes(buffer.raw[:8], "little") & 0xFFFFFFFF


def largest_file(fd: int) -> int | None:
    """Bytes of the largest file that the filesystem of an open directory takes; None: more than anybody has."""
    return _FAT_FILE_MAX if _filesystem_type(fd) == _FAT else None


def _xattr_path(where: Where) -> int | bytes:
    """The kernel has no ``*at`` calls for attributes before 6.13; /proc gives the same safety."""
    fd, name = where
    return fd if name is None else b"/proc/self/fd/%d/%b" % (fd, name)


def _follow(where: Where) -> bool:
    """Nothing is followed below; of a descriptor Python demands that it be."""
    return where[1] is None


class LocalStore:
    """A :class:`~encfs.store.base.Store` over the running kernel."""

    def __init__(self, root_fd: int) -> None:
        self.cached_read = CachedRead.FLAG
        try:
            kind = _filesystem_type(root_fd)
        except OSError:
            kind, self.cached_read = 0, CachedRead.NEVER
        if kind in _MEMORY_FILESYSTEMS:
            self.cached_read = CachedRead.ALWAYS
        self.holes_take_room = kind in _WITHOUT_HOLES
        self.lasting_inodes = kind not in _WITHOUT_HOLES and kind not in _NETWORK
        self._served_by_program = kind == _FUSE_FILESYSTEM

    # Plain pass-throughs: one attribute look-up instead of a Python frame on the hot path.
    close = staticmethod(os.close)
    fstat = staticmethod(os.fstat)
    truncate = staticmethod(os.ftruncate)
    fdatasync = staticmethod(os.fdatasync)
    fsync = staticmethod(os.fsync)
    statvfs = staticmethod(os.fstatvfs)
    fchmod = staticmethod(os.fchmod)
    fchown = staticmethod(os.fchown)

    def open_directory(self, dirfd: int, name: bytes) -> int:
        return os.open(name, os.O_PATH | os.O_DIRECTORY | _NOFOLLOW, dir_fd=dirfd)

    def open_path(self, dirfd: int, name: bytes) -> int:
        return os.open(name, os.O_PATH | _NOFOLLOW, dir_fd=dirfd)

    def reopen(self, fd: int, flags: int) -> int:
        return os.open(b"/proc/self/fd/%d" % fd, flags | os.O_CLOEXEC)

    def open(self, dirfd: int, name: bytes, flags: int, mode: int = 0o600) -> int:
        fd = os.open(name, flags | _NOFOLLOW | os.O_NONBLOCK, mode, dir_fd=dirfd)
        if not flags & (os.O_CREAT | os.O_DIRECTORY):
            self._require_regular(fd)
        return fd

    @staticmethod
    def _require_regular(fd: int) -> None:
        """A pipe or device in place of a file must neither hold us up nor be read."""
        if not stat_module.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EIO, "not a regular file")

    def open_writable(self, dirfd: int, name: bytes) -> int:
        try:
            return self.open(dirfd, name, os.O_RDWR)
        except PermissionError:
            lower = os.stat(name, dir_fd=dirfd, follow_symlinks=False)
            if lower.st_uid != os.geteuid() or not stat_module.S_ISREG(lower.st_mode):
                raise
        mode = stat_module.S_IMODE(lower.st_mode)
        self.chmod(dirfd, name, mode | 0o600)
        try:
            return self.open(dirfd, name, os.O_RDWR)
        finally:
            self.chmod(dirfd, name, mode)

    def stat(self, dirfd: int, name: bytes) -> os.stat_result:
        return os.stat(name, dir_fd=dirfd, follow_symlinks=False)

    def list(self, dirfd: int) -> list[bytes]:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dirfd)
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def read_uncached(self, dirfd: int, name: bytes, size: int) -> bytes:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _NOFOLLOW, dir_fd=dirfd)
        try:
            # O_DIRECT alone would not do: a compressed or otherwise odd file is read through the cache all the same.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            try:
                fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    raise
            with mmap.mmap(-1, -(-size // _DIRECT_ALIGNMENT) * _DIRECT_ALIGNMENT) as buffer:
                count = os.preadv(fd, [buffer], 0)
                found = buffer[: min(count, size)]
            if self._served_by_program:
                # The program has a cache of its own, which only a sync gets past.
                os.fsync(fd)
            return found
        finally:
            os.close(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        data = os.pread(fd, size, offset)
        while 0 < len(data) < size:
            more = os.pread(fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def preadv(self, fd: int, buffer: memoryview, offset: int, *, wait: bool) -> int:
        if not wait and self.cached_read is not CachedRead.ALWAYS:
            return self._preadv_cached(fd, buffer, offset)
        total = 0
        while total < len(buffer):
            count = os.preadv(fd, [buffer[total:]], offset + total)
            if count == 0:
                break
            total += count
        return total

    def _preadv_cached(self, fd: int, buffer: memoryview, offset: int) -> int:
        if self.cached_read is CachedRead.NEVER:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        try:
            count = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError as exc:
            if exc.errno != errno.EOPNOTSUPP:
                raise
            self.cached_read = CachedRead.NEVER
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from exc
        if count < len(buffer) and offset + count < os.fstat(fd).st_size:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return count

    def next_data(self, fd: int, offset: int) -> int:
        try:
            return os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                return os.fstat(fd).st_size
            raise

    def pwrite(self, fd: int, data: memoryview | bytes, offset: int) -> None:
        count = os.pwrite(fd, data, offset)
        if count != len(data):
            view = memoryview(data)
            while count < len(view):
                written = os.pwrite(fd, view[count:], offset + count)
                if written == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                count += written

    def write_out(self, fd: int, size: int) -> None:
        kind = _filesystem_type(fd)
        if kind in _ORDERED_FILESYSTEMS:
            _libc_call("sync_file_range", fd, ctypes.c_int64(0), ctypes.c_int64(size), ctypes.c_uint(_WRITE_OUT))
        elif kind not in _MEMORY_FILESYSTEMS:
            # btrfs among them: an fsync of something else may bring the name back after a crash, but no data.
            os.fdatasync(fd)

    def syncfs(self, fd: int) -> None:
        _libc_call("syncfs", fd)

    def rename(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        os.rename(name, to_name, src_dir_fd=dirfd, dst_dir_fd=to_dirfd)

    def exchange(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        _libc_call("renameat2", dirfd, name, to_dirfd, to_name, _RENAME_EXCHANGE)

    def link(self, dirfd: int, name: bytes, to_dirfd: int, to_name: bytes) -> None:
        os.link(name, to_name, src_dir_fd=dirfd, dst_dir_fd=to_dirfd, follow_symlinks=False)

    def unlink(self, dirfd: int, name: bytes) -> None:
        os.unlink(name, dir_fd=dirfd)

    def mkdir(self, dirfd: int, name: bytes, mode: int) -> None:
        os.mkdir(name, mode, dir_fd=dirfd)

    def rmdir(self, dirfd: int, name: bytes) -> None:
        os.rmdir(name, dir_fd=dirfd)

    def symlink(self, target: bytes, dirfd: int, name: bytes) -> None:
        os.symlink(target, name, dir_fd=dirfd)

    def readlink(self, dirfd: int, name: bytes) -> bytes:
        return os.readlink(name, dir_fd=dirfd)

    def mknod(self, dirfd: int, name: bytes, mode: int, rdev: int) -> None:
        os.mknod(name, mode, rdev, dir_fd=dirfd)

    def chmod(self, dirfd: int, name: bytes, mode: int) -> None:
        # fchmodat(2) follows a symlink that somebody puts there: a daemon of root would open up any file.
        fd = self.open_path(dirfd, name)
        try:
            if stat_module.S_ISLNK(os.fstat(fd).st_mode):
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            os.chmod(b"/proc/self/fd/%d" % fd, mode)
        finally:
            os.close(fd)

    def chown(self, dirfd: int, name: bytes, uid: int, gid: int) -> None:
        os.chown(name, uid, gid, dir_fd=dirfd, follow_symlinks=False)

    def utime(self, dirfd: int, name: bytes, times_ns: tuple[int, int]) -> None:
        os.utime(name, ns=times_ns, dir_fd=dirfd, follow_symlinks=False)

    def futime(self, fd: int, times_ns: tuple[int, int]) -> None:
        os.utime(fd, ns=times_ns)

    def getxattr(self, where: Where, name: str) -> bytes:
        return os.getxattr(_xattr_path(where), name, follow_symlinks=_follow(where))

    def setxattr(self, where: Where, name: str, value: bytes) -> None:
        os.setxattr(_xattr_path(where), name, value, follow_symlinks=_follow(where))

    def removexattr(self, where: Where, name: str) -> None:
        os.removexattr(_xattr_path(where), name, follow_symlinks=_follow(where))

    def try_lock(self, fd: int, *, shared: bool = False) -> bool:
        request = _FLOCK.pack(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, request)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def try_lock_directory(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno not in _NO_LOCKS:
                raise
        return True
