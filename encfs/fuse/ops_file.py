"""Requests on open files: open, create, read, write, fsync, release."""

from __future__ import annotations

import os
import time
from errno import EIO, ESTALE

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, FileNameT, FlagT, InodeT, ModeT, RequestContext

from encfs.fuse.errnos import glance, handler, logger
from encfs.fuse.state import MountState
from encfs.volume.changes import Caller
from encfs.volume.file import OpenFile
from encfs.volume.node import Node

_PREFETCH_TRIES = 3


class FileOperations(pyfuse3.Operations):
    """See pyfuse3.Operations for the contract of each method."""

    state: MountState

    def _handle(self, node: Node, file: OpenFile, flags: int) -> FileInfo:
        file.handles += 1
        fh = self.state.new_handle()
        self.state.files[fh] = node
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self.state.writers.add(fh)
        return FileInfo(fh=fh, keep_cache=True)

    @handler
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        state = self.state
        node = state.node(inode)
        writable = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
        file = state.tree.open_file(node, writable=writable)
        if file.damaged_size and not flags & os.O_TRUNC:
            self._tell_size(node, file)
        info = self._handle(node, file, flags)
        # Opened through a descriptor, with nothing looked up: past the page cache the wrong size does not count.
        info.direct_io = file.damaged_size and node.inode in state.told_wrong_size
        if flags & os.O_TRUNC:
            try:
                await truncate(state, file, 0)
                if ctx.uid != 0:
                    # The kernel leaves to us what a truncating open does besides, and then asks for the mode.
                    state.volume.attributes.drop_set_id(node)
            except BaseException:
                del state.files[info.fh]
                state.writers.discard(info.fh)
                state.tree.release_file(node)
                raise
        if state.events is not None:
            state.events.opened(node, flags, ctx)
        return info

    @handler
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        state = self.state
        parent = state.node(parent_inode)
        try:
            node, stat = state.volume.changes.create(parent, name, mode, Caller(ctx.uid, ctx.gid, ctx.umask))
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            return await self._open_existing(parent, name, flags, ctx)
        assert node.file is not None
        node.lookups += 1
        if state.events is not None:
            state.events.created(parent, name, node, ctx)
        return self._handle(node, node.file, flags), state.entry(node, stat)

    async def _open_existing(
        self, parent: Node, name: bytes, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Somebody made it between the kernel's look-up and now."""
        found = self.state.tree.lookup(parent, name)
        if found is None:
            raise pyfuse3.FUSEError(ESTALE)
        node = found[0]
        info = await self.open(InodeT(node.inode), flags, ctx)
        node.lookups += 1
        return info, self.state.entry(node, self.state.tree.stat(node))

    def _tell_size(self, node: Node, file: OpenFile) -> None:
        """Make the kernel take the size from the header: what it knows came from a lower size that lies.

        With that it would end a read early, or fill up with zeros, and no program would notice. It never changes the
        size of an inode it knows; ESTALE makes it look the name up again, and another generation is another inode.
        """
        tree, stat = self.state.tree, self.state.tree.stat(node)
        if not file.handles and tree.noted_size(stat) is None:
            tree.note_size(stat, file.size)
            self.state.told_wrong_size.add(node.inode)
            node.generation += 1
            tree.close_file(node)
            raise pyfuse3.FUSEError(ESTALE)

    def _file(self, fh: FileHandleT) -> OpenFile:
        file = self.state.files[fh].file
        if file is None:
            raise pyfuse3.FUSEError(EIO)
        return file

    @handler
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        file = self._file(fh)
        if self.state.needs_turn(file):
            await self.state.turn(file, reading=True)
        try:
            return file.read(off, size, wait=False)  # type: ignore[return-value]
        except BlockingIOError:
            return await self._read_slowly(file, off, size)

    async def _read_slowly(self, file: OpenFile, off: int, size: int) -> bytes:
        """Let a thread bring the bytes into the page cache; the cells are opened here, where nothing changes."""
        for _ in range(_PREFETCH_TRIES if self.state.volume.ctx.tells_cached else 0):
            await self.state.thread(lambda: file.prefetch(off, size))
            if self.state.needs_turn(file):
                await self.state.turn(file, reading=True)
            try:
                return file.read(off, size, wait=False)  # type: ignore[return-value]
            except BlockingIOError:
                continue
        return await self.state.thread_on(file, lambda: bytes(file.read(off, size)))

    @handler
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        state, file = self.state, self._file(fh)
        try:
            if state.needs_turn(file):
                await state.turn(file)
            if state.writes_are_slow():
                return await state.thread_on(file, lambda: file.write(off, buf))
            started = time.perf_counter()
            try:
                written = file.write(off, buf, wait=False)
            except BlockingIOError:
                return await state.thread_on(file, lambda: file.write(off, buf))
        except Exception:
            state.refused_writes += 1
            raise
        state.note_write_time(time.perf_counter() - started)
        return written

    @handler
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's signature
        await sync(self.state, self._file(fh))

    @glance
    async def flush(self, fh: FileHandleT) -> None:
        # close(2) waits for this and not for release: here a header or a lower size that finds no room is still told to
        # the program. The kernel has written the dirty pages back before.
        state = self.state
        node = state.files[fh]
        file = node.file
        if fh not in state.writers or file is None or node.ghost is not None or not file.dirty:
            return
        if state.needs_turn(file):
            await state.turn(file)
        file.settle()

    @handler
    async def release(self, fh: FileHandleT) -> None:
        state = self.state
        node = state.files.pop(fh)
        state.writers.discard(fh)
        file = node.file
        if file is not None and state.needs_turn(file):
            await state.turn(file)
        try:
            state.tree.release_file(node)
        except OSError as exc:
            # Nobody waits for a release: the kernel has answered close() long ago.
            logger.error("closing inode=%d failed: errno %s", node.inode, exc.errno)
            state.medium.suspect(exc)


async def sync(state: MountState, file: OpenFile) -> None:
    """fsync: cells are written, then size and header, then one fdatasync in a thread (FORMAT.md section 11)."""
    await state.turn(file)
    size = file.prepare_sync()
    fd, ctx = file.fd, state.volume.ctx
    if ctx.never_waits:
        ctx.store.fdatasync(fd)  # A thread and back is half of what an fsync takes in memory.
    else:
        await state.thread_on(file, lambda: ctx.store.fdatasync(fd), readers_go_on=True)
    file.confirm_sync(size)


async def truncate(state: MountState, file: OpenFile, size: int) -> None:
    """Set the size, in a thread where that has to wait for the medium."""
    await state.turn(file)
    if file.truncate_needs_sync(size):
        await state.thread_on(file, lambda: file.truncate(size))
        return
    try:
        file.truncate(size, wait=False)
    except BlockingIOError:
        await state.thread_on(file, lambda: file.truncate(size))
