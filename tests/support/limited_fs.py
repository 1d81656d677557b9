"""A filesystem that lacks things: a pass-through by FUSE whose limits are switched on one by one.

Run as a program by :func:`limited`: ``python -m tests.support.limited_fs SOURCE MOUNTPOINT LIMIT...``. Limits are
``names143``, ``symlinks``, ``links``, ``xattrs``, ``owners``, ``nodes``, ``renameflags``, ``times2s``, ``anycase``
(names in any case are the same), ``numbers`` (an object has another inode number each time it is looked up), ``size4g``
(no file is larger than 4 GiB - 1, as on FAT).
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyfuse3
import trio

from tests.support.linux import renameat2
from tests.support.mounting import is_mounted, wait_for

_NAME_MAX = 143
_TWO_SECONDS = 2_000_000_000
_SIZE_MAX = (4 << 30) - 1


def _fails(code: int) -> pyfuse3.FUSEError:
    return pyfuse3.FUSEError(code)


class _Operations(pyfuse3.Operations):
    """Everything by path; nothing is cached."""

    supports_dot_lookup = False

    def __init__(self, source: str, limits: set[str]) -> None:
        super().__init__()
        self._limits = limits
        self._paths: dict[int, bytes] = {pyfuse3.ROOT_INODE: os.fsencode(source)}
        self._numbers: dict[bytes, int] = {}
        self._next = 1000

    # -- names ---------------------------------------------------------------------------------------

    def _at(self, parent: int, name: bytes) -> bytes:
        """The path of a name, as it is spelled on the disk if there is one."""
        if "names143" in self._limits and len(name) > _NAME_MAX:
            raise _fails(errno.ENAMETOOLONG)
        folder = self._paths[parent]
        if "anycase" in self._limits:
            for there in os.listdir(folder):
                if there.lower() == name.lower():
                    name = there
        return os.path.join(folder, name)

    def _number(self, path: bytes) -> int:
        number = self._numbers.get(path)
        if number is None or "numbers" in self._limits:
            self._next += 1
            number = self._numbers[path] = self._next
            self._paths[number] = path
        return number

    def _moved(self, old: bytes, new: bytes) -> None:
        for number, path in self._paths.items():
            if path == old or path.startswith(old + b"/"):
                self._paths[number] = new + path[len(old) :]
                self._numbers[self._paths[number]] = number
        self._numbers.pop(old, None)

    def _entry(self, path: bytes, number: int | None = None) -> pyfuse3.EntryAttributes:
        info = os.lstat(path)
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(self._number(path) if number is None else number)
        entry.st_mode, entry.st_nlink, entry.st_size = pyfuse3.ModeT(info.st_mode), info.st_nlink, info.st_size
        entry.st_uid, entry.st_gid, entry.st_rdev, entry.st_blocks = (
            info.st_uid,
            info.st_gid,
            info.st_rdev,
            info.st_blocks,
        )
        step = _TWO_SECONDS if "times2s" in self._limits else 1
        entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns = (
            time // step * step for time in (info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns)
        )
        entry.entry_timeout = entry.attr_timeout = 0.0
        return entry

    def _path(self, inode: int) -> bytes:
        return self._paths[inode]

    async def lookup(self, parent_inode: int, name: bytes, ctx: object) -> pyfuse3.EntryAttributes:
        return _call(lambda: self._entry(self._at(parent_inode, name)))

    async def getattr(self, inode: int, ctx: object) -> pyfuse3.EntryAttributes:
        return _call(lambda: self._entry(self._path(inode), inode))

    async def setattr(self, inode, attr, fields, fh, ctx) -> pyfuse3.EntryAttributes:
        path = self._path(inode)

        def change() -> None:
            if fields.update_size:
                self._check_size(attr.st_size)
                os.truncate(path, attr.st_size)
            if fields.update_mode:
                os.chmod(path, stat_module.S_IMODE(attr.st_mode))
            if fields.update_uid or fields.update_gid:
                if "owners" in self._limits:
                    raise OSError(errno.EPERM, "")
                uid, gid = attr.st_uid if fields.update_uid else -1, attr.st_gid if fields.update_gid else -1
                os.chown(path, uid, gid, follow_symlinks=False)
            if fields.update_atime or fields.update_mtime:
                info = os.lstat(path)
                atime = attr.st_atime_ns if fields.update_atime else info.st_atime_ns
                mtime = attr.st_mtime_ns if fields.update_mtime else info.st_mtime_ns
                os.utime(path, ns=(atime, mtime), follow_symlinks=False)

        _call(change)
        return self._entry(path, inode)

    def _check_size(self, end: int) -> None:
        if "size4g" in self._limits and end > _SIZE_MAX:
            raise OSError(errno.EFBIG, "")

    def _refuse(self, limit: str, code: int) -> None:
        if limit in self._limits:
            raise _fails(code)

    # -- making and removing -------------------------------------------------------------------------------

    async def mkdir(self, parent_inode, name, mode, ctx) -> pyfuse3.EntryAttributes:
        path = self._at(parent_inode, name)
        _call(lambda: os.mkdir(path, stat_module.S_IMODE(mode)))
        return self._entry(path)

    async def mknod(self, parent_inode, name, mode, rdev, ctx) -> pyfuse3.EntryAttributes:
        self._refuse("nodes", errno.EPERM)
        path = self._at(parent_inode, name)
        _call(lambda: os.mknod(path, mode, rdev))
        return self._entry(path)

    async def symlink(self, parent_inode, name, target, ctx) -> pyfuse3.EntryAttributes:
        self._refuse("symlinks", errno.EPERM)
        path = self._at(parent_inode, name)
        _call(lambda: os.symlink(target, path))
        return self._entry(path)

    async def readlink(self, inode, ctx) -> bytes:
        return _call(lambda: os.readlink(self._path(inode)))

    async def link(self, inode, new_parent_inode, new_name, ctx) -> pyfuse3.EntryAttributes:
        self._refuse("links", errno.EPERM)
        path = self._at(new_parent_inode, new_name)
        _call(lambda: os.link(self._path(inode), path, follow_symlinks=False))
        return self._entry(path)

    async def unlink(self, parent_inode, name, ctx) -> None:
        _call(lambda: os.unlink(self._at(parent_inode, name)))

    async def rmdir(self, parent_inode, name, ctx) -> None:
        _call(lambda: os.rmdir(self._at(parent_inode, name)))

    async def rename(self, parent_inode_old, name_old, parent_inode_new, name_new, flags, ctx) -> None:
        if flags:
            self._refuse("renameflags", errno.EINVAL)
        old, new = self._at(parent_inode_old, name_old), self._at(parent_inode_new, name_new)
        _call(lambda: renameat2(old, new, flags))
        self._moved(old, new)

    # -- content ---------------------------------------------------------------------------------------------

    async def create(self, parent_inode, name, mode, flags, ctx) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        path = self._at(parent_inode, name)
        fd = _call(lambda: os.open(path, flags | os.O_CREAT, stat_module.S_IMODE(mode)))
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(fd)), self._entry(path)

    async def open(self, inode, flags, ctx) -> pyfuse3.FileInfo:
        fd = _call(lambda: os.open(self._path(inode), flags & ~os.O_CREAT & ~os.O_DIRECT))
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(fd))

    async def read(self, fh, off, size) -> bytes:
        return _call(lambda: os.pread(fh, size, off))

    async def write(self, fh, off, buf) -> int:
        _call(lambda: self._check_size(off + len(buf)))
        return _call(lambda: os.pwrite(fh, buf, off))

    async def fsync(self, fh, datasync) -> None:
        _call(lambda: os.fsync(fh))

    async def release(self, fh) -> None:
        os.close(fh)

    async def opendir(self, inode, ctx) -> int:
        return inode

    async def readdir(self, fh, start_id, token) -> None:
        for position, name in enumerate(sorted(os.listdir(self._path(fh)))):
            if position < start_id:
                continue
            entry = self._entry(os.path.join(self._path(fh), name))
            if not pyfuse3.readdir_reply(token, name, entry, position + 1):
                return

    async def fsyncdir(self, fh, datasync) -> None:
        return

    async def statfs(self, ctx) -> pyfuse3.StatvfsData:
        below, reply = os.statvfs(self._path(pyfuse3.ROOT_INODE)), pyfuse3.StatvfsData()
        for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"):
            setattr(reply, name, getattr(below, name))
        reply.f_namemax = _NAME_MAX if "names143" in self._limits else below.f_namemax
        return reply

    # -- attributes --------------------------------------------------------------------------------------------

    async def getxattr(self, inode, name, ctx) -> bytes:
        self._refuse("xattrs", errno.EOPNOTSUPP)
        return _call(lambda: os.getxattr(self._path(inode), name, follow_symlinks=False))

    async def setxattr(self, inode, name, value, ctx) -> None:
        self._refuse("xattrs", errno.EOPNOTSUPP)
        _call(lambda: os.setxattr(self._path(inode), name, value, follow_symlinks=False))

    async def removexattr(self, inode, name, ctx) -> None:
        self._refuse("xattrs", errno.EOPNOTSUPP)
        _call(lambda: os.removexattr(self._path(inode), name, follow_symlinks=False))

    async def listxattr(self, inode, ctx) -> list[bytes]:
        self._refuse("xattrs", errno.EOPNOTSUPP)
        return [os.fsencode(name) for name in _call(lambda: os.listxattr(self._path(inode), follow_symlinks=False))]


def _call(function):
    """A system call whose error becomes the answer."""
    try:
        return function()
    except KeyError:
        raise _fails(errno.ESTALE) from None
    except OSError as exc:
        raise _fails(exc.errno or errno.EIO) from None


@contextmanager
def limited(source: Path, mountpoint: Path, *limits: str) -> Iterator[Path]:
    """A directory seen through a filesystem with these limits; neither mount nor process stays."""
    mountpoint.mkdir()
    command = [sys.executable, "-m", "tests.support.limited_fs", str(source), str(mountpoint), *limits]
    process = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2])
    try:
        wait_for(lambda: is_mounted(mountpoint) or process.poll() is not None, "the limited filesystem is there")
        assert process.poll() is None, "its program has ended"
        yield mountpoint
    finally:
        unmount = ["umount", str(mountpoint)] if os.geteuid() == 0 else ["fusermount3", "-u", str(mountpoint)]
        if subprocess.run(unmount, capture_output=True, check=False).returncode:
            process.kill()
            subprocess.run([*unmount[:1], "-l" if os.geteuid() == 0 else "-uz", str(mountpoint)], check=False)
        process.wait(timeout=60)


def _serve(source: str, mountpoint: str, *limits: str) -> None:
    os.umask(0)
    pyfuse3.init(_Operations(source, set(limits)), mountpoint, {"fsname=limited", "default_permissions"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
