"""A directory through pyfuse3 as it is, without encryption: how fast this stack can be at all.

    python -m benchmarks.passthrough LOWER MOUNTPOINT

Serves in the foreground until it is unmounted or gets a signal. The kernel is told the same as by cloakfs: writeback
cache, entries and attributes kept for an hour, pages kept between opens, a larger read-ahead where root may set it; and
requests are waited for in the same way. What cloakfs takes longer than this is its own.

Owns: what a request costs when nothing is sealed: one system call below, relative to the descriptor of a directory,
made inline. Nothing waits and nothing is locked. Must not know: volumes. LOWER lies on one filesystem, serves one user,
and is changed through the mount alone.
"""

from __future__ import annotations

import argparse
import errno
import functools
import os
import resource
import signal
import stat as stat_module
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, FileNameT, FlagT, FUSEError, InodeT, ModeT, RequestContext

from benchmarks.harness.nodes import Node, Nodes
from encfs.fuse.mount import MountOptions, libfuse_options, mount_as_root, raise_read_ahead, unmount
from encfs.fuse.polling import Poller
from encfs.fuse.state import CACHE_SECONDS

_P = ParamSpec("_P")
_R = TypeVar("_R")

_LARGEST_READ = 1 << 20  # The kernel asks for no more at once (FUSE_MAX_MAX_PAGES).


def request(
    function: Callable[Concatenate[Passthrough, _P], _R],
) -> Callable[Concatenate[Passthrough, _P], Coroutine[Any, Any, _R]]:
    """A handler that waits for nothing; what a system call below refuses is refused above."""

    @functools.wraps(function)
    async def answer(self: Passthrough, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(self, *args, **kwargs)
        except OSError as exc:
            raise FUSEError(exc.errno or errno.EIO) from None

    return answer


class Passthrough(pyfuse3.Operations):
    """See pyfuse3.Operations for the contract of each method."""

    supports_dot_lookup = False
    enable_writeback_cache = True

    def __init__(self, lower: str) -> None:
        super().__init__()
        self._nodes = Nodes(lower)
        self._open: dict[int, Node] = {}
        self._listings: dict[int, tuple[Node, list[os.DirEntry[str]]]] = {}
        # Each reply is sent before the next read begins, so one buffer does for all of them.
        self._buffer = memoryview(bytearray(_LARGEST_READ))

    def _at(self, inode: int) -> tuple[Node, int]:
        """A directory and its descriptor."""
        node = self._nodes.by_inode[inode]
        return node, self._nodes.directory(node)

    def _named(self, node: Node) -> tuple[int, bytes]:
        if not node.places:
            raise FUSEError(errno.ESTALE)
        parent, name = node.places[-1]
        return self._nodes.directory(parent), name

    def _where(self, node: Node) -> tuple[int | bytes, int | None, bool]:
        """``path``, ``dir_fd`` and ``follow_symlinks`` of calls in ``os``."""
        if node.handles:
            return node.handles[-1], None, True
        fd, name = self._named(node)
        return name, fd, False

    def _stat(self, node: Node) -> os.stat_result:
        path, dir_fd, follow = (node.fd, None, True) if node.fd >= 0 else self._where(node)
        return os.stat(path, dir_fd=dir_fd, follow_symlinks=follow)

    def _found(self, parent: Node, name: bytes, stat: os.stat_result) -> EntryAttributes:
        """The reply to a request that gives the kernel one more reference."""
        node = self._nodes.met(parent, name, stat.st_ino)
        node.lookups += 1
        return _attributes(node.inode, stat)

    def _made(self, parent: Node, name: bytes) -> EntryAttributes:
        fd = self._nodes.directory(parent)
        return self._found(parent, name, os.stat(name, dir_fd=fd, follow_symlinks=False))

    # -- names ---------------------------------------------------------------------------------------------

    @request
    def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        parent, fd = self._at(parent_inode)
        try:
            stat = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            missing = EntryAttributes()
            missing.st_ino = InodeT(0)
            missing.entry_timeout = CACHE_SECONDS
            return missing
        return self._found(parent, name, stat)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, count in inode_list:
            self._nodes.forget(inode, count)

    @request
    def mkdir(self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext) -> EntryAttributes:
        parent, fd = self._at(parent_inode)
        os.mkdir(name, mode & ~ctx.umask, dir_fd=fd)
        return self._made(parent, name)

    @request
    def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        parent, fd = self._at(parent_inode)
        os.mknod(name, mode & ~ctx.umask, rdev, dir_fd=fd)
        return self._made(parent, name)

    @request
    def symlink(self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext) -> EntryAttributes:
        parent, fd = self._at(parent_inode)
        os.symlink(target, name, dir_fd=fd)
        return self._made(parent, name)

    @request
    def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        fd, name = self._named(self._nodes.by_inode[inode])
        return FileNameT(os.readlink(name, dir_fd=fd))

    @request
    def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        fd, name = self._named(self._nodes.by_inode[inode])
        parent, to_fd = self._at(new_parent_inode)
        os.link(name, new_name, src_dir_fd=fd, dst_dir_fd=to_fd, follow_symlinks=False)
        return self._made(parent, new_name)

    @request
    def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        parent, fd = self._at(parent_inode)
        os.unlink(name, dir_fd=fd)
        self._nodes.lost(parent, name)

    @request
    def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        parent, fd = self._at(parent_inode)
        os.rmdir(name, dir_fd=fd)
        self._nodes.lost(parent, name)

    @request
    def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        # The kernel has made sure of RENAME_NOREPLACE: nobody else makes names below.
        if flags not in {0, pyfuse3.RENAME_NOREPLACE}:
            raise FUSEError(errno.EINVAL)
        old, fd = self._at(parent_inode_old)
        new, to_fd = self._at(parent_inode_new)
        os.rename(name_old, name_new, src_dir_fd=fd, dst_dir_fd=to_fd)
        self._nodes.lost(new, name_new)
        moved = self._nodes.lost(old, name_old)
        if moved is not None:
            self._nodes.met(new, name_new, moved.inode)

    # -- listing -------------------------------------------------------------------------------------------

    @request
    def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        node, directory = self._at(inode)
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        self._listings[fd] = (node, [])
        return FileHandleT(fd)

    @request
    def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        node, entries = self._listings[fh]
        if start_id == 0:
            with os.scandir(fh) as found:
                entries[:] = found
        for position in range(start_id, len(entries)):
            entry = entries[position]
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            name = os.fsencode(entry.name)
            if not pyfuse3.readdir_reply(token, FileNameT(name), _attributes(stat.st_ino, stat), position + 1):
                return
            self._nodes.met(node, name, stat.st_ino).lookups += 1

    @request
    def releasedir(self, fh: FileHandleT) -> None:
        del self._listings[fh]
        os.close(fh)

    @request
    def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's signature
        os.fsync(fh)

    # -- attributes ----------------------------------------------------------------------------------------

    @request
    def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        node = self._nodes.by_inode[inode]
        return _attributes(node.inode, self._stat(node))

    @request
    def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        node = self._nodes.by_inode[inode]
        if fields.update_size:
            self._resize(node, fh, attr.st_size)
        path, dir_fd, follow = self._where(node)
        if fields.update_mode:
            os.chmod(path, stat_module.S_IMODE(attr.st_mode), dir_fd=dir_fd)
        if fields.update_uid or fields.update_gid:
            uid, gid = attr.st_uid if fields.update_uid else -1, attr.st_gid if fields.update_gid else -1
            os.chown(path, uid, gid, dir_fd=dir_fd, follow_symlinks=follow)
        if fields.update_atime or fields.update_mtime:
            stat = self._stat(node)
            atime = attr.st_atime_ns if fields.update_atime else stat.st_atime_ns
            mtime = attr.st_mtime_ns if fields.update_mtime else stat.st_mtime_ns
            os.utime(path, ns=(atime, mtime), dir_fd=dir_fd, follow_symlinks=follow)
        return _attributes(node.inode, self._stat(node))

    def _resize(self, node: Node, fh: int | None, size: int) -> None:
        if fh is not None:
            os.ftruncate(fh, size)
            return
        directory, name = self._named(node)
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    @request
    def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        below, reply = os.fstatvfs(self._nodes.root.fd), pyfuse3.StatvfsData()
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "namemax"):
            setattr(reply, f"f_{name}", getattr(below, f"f_{name}"))
        return reply

    async def _no_attributes(self, *_: object, **__: object) -> NoReturn:
        # Not ENOSYS, after which the kernel would never ask again: a filesystem that has them is asked each time.
        raise FUSEError(errno.ENOTSUP)

    getxattr = listxattr = setxattr = removexattr = _no_attributes

    # -- open files ----------------------------------------------------------------------------------------

    def _opened(self, node: Node, fd: int) -> FileInfo:
        node.handles.append(fd)
        self._open[fd] = node
        return FileInfo(fh=FileHandleT(fd), keep_cache=True)

    @request
    def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        node = self._nodes.by_inode[inode]
        if node.places:
            directory, name = self._named(node)
            return self._opened(node, os.open(name, _below(flags) | os.O_NOFOLLOW, dir_fd=directory))
        return self._opened(node, os.open(b"/proc/self/fd/%d" % node.handles[-1], _below(flags)))

    @request
    def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        parent, directory = self._at(parent_inode)
        how = _below(flags) | flags & os.O_EXCL | os.O_CREAT | os.O_NOFOLLOW
        fd = os.open(name, how, mode & ~ctx.umask, dir_fd=directory)
        reply = self._found(parent, name, os.fstat(fd))
        return self._opened(self._nodes.by_inode[reply.st_ino], fd), reply

    @request
    def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        return self._buffer[: os.preadv(fh, (self._buffer[:size],), off)]  # type: ignore[return-value]

    @request
    def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        return os.pwrite(fh, buf, off)

    @request
    def fsync(self, fh: FileHandleT, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's signature
        (os.fdatasync if datasync else os.fsync)(fh)

    async def flush(self, fh: FileHandleT) -> None:
        # The kernel has written the pages back before it asks, and does not ask again.
        raise FUSEError(errno.ENOSYS)

    @request
    def release(self, fh: FileHandleT) -> None:
        self._open.pop(fh).handles.remove(fh)
        os.close(fh)


def _below(flags: int) -> int:
    """How a file is opened below: the writeback cache reads on handles that may only write, and places appends."""
    access = os.O_RDONLY if flags & os.O_ACCMODE == os.O_RDONLY else os.O_RDWR
    return access | flags & os.O_TRUNC | os.O_CLOEXEC


def _attributes(inode: int, stat: os.stat_result) -> EntryAttributes:
    e = EntryAttributes()
    e.st_ino = InodeT(inode)
    e.entry_timeout = CACHE_SECONDS
    e.attr_timeout = CACHE_SECONDS
    e.st_mode = ModeT(stat.st_mode)
    e.st_nlink = stat.st_nlink
    e.st_uid = stat.st_uid
    e.st_gid = stat.st_gid
    e.st_rdev = stat.st_rdev
    e.st_size = stat.st_size
    e.st_blksize = stat.st_blksize
    e.st_blocks = stat.st_blocks
    e.st_atime_ns = stat.st_atime_ns
    e.st_mtime_ns = stat.st_mtime_ns
    e.st_ctime_ns = stat.st_ctime_ns
    return e


async def _serve(mountpoint: str, poller: Poller) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_unmount_on_signal, mountpoint, poller)
        # In a thread, like every call on our own mount: it needs an answer from this loop.
        nursery.start_soon(trio.to_thread.run_sync, raise_read_ahead, mountpoint)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


async def _unmount_on_signal(mountpoint: str, poller: Poller) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            await trio.to_thread.run_sync(lambda: unmount(mountpoint, detach=True))
            poller.end()
            pyfuse3.terminate()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lower", metavar="LOWER")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    chosen = parser.parse_args()
    os.umask(0)
    # A directory that something was asked of keeps a descriptor.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    poller = Poller()
    poller.install()
    operations = Passthrough(chosen.lower)
    options = MountOptions(volume=chosen.lower, mountpoint=chosen.mountpoint)
    if os.geteuid() == 0:
        pyfuse3.init(operations, f"/dev/fd/{mount_as_root(options)}", {"default_permissions"})
    else:
        pyfuse3.init(operations, options.mountpoint, libfuse_options(options))
    try:
        trio.run(_serve, options.mountpoint, poller)
    finally:
        pyfuse3.close(unmount=os.geteuid() != 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
