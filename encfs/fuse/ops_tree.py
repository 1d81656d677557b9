"""Requests on names and directories."""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Callable, Sequence

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileNameT, FlagT, InodeT, ModeT, ReaddirToken, RequestContext

from encfs.format.limits import NAME_MAX
from encfs.fuse.errnos import handler
from encfs.fuse.state import CACHE_SECONDS, DirectoryHandle, MountState
from encfs.volume.changes import Caller
from encfs.volume.node import Node

_DOTS = 2  # "." and ".." have the positions 1 and 2


class TreeOperations(pyfuse3.Operations):
    """See pyfuse3.Operations for the contract of each method."""

    state: MountState

    def _caller(self, ctx: RequestContext) -> Caller:
        return Caller(ctx.uid, ctx.gid, ctx.umask)

    @handler
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        if len(name) > NAME_MAX:
            raise pyfuse3.FUSEError(errno.ENAMETOOLONG)
        state = self.state
        parent = state.node(parent_inode)
        if name == b".":
            node, stat = parent, state.tree.stat(parent)
        elif name == b"..":
            node = parent.parent or state.tree.root
            stat = state.tree.stat(node)
        else:
            found = state.tree.lookup(parent, name)
            if found is None:
                missing = EntryAttributes()
                missing.st_ino = InodeT(0)
                missing.entry_timeout = CACHE_SECONDS
                return missing
            node, stat = found
            if node.file is not None:
                stat = state.tree.stat(node)
        node.lookups += 1
        state.told_wrong_size.discard(node.inode)
        return state.entry(node, stat)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        nodes = self.state.tree.nodes
        for inode, count in inode_list:
            nodes.forget(inode, count)

    @handler
    async def mkdir(self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext) -> EntryAttributes:
        parent = self.state.node(parent_inode)
        node, stat = self.state.volume.changes.mkdir(parent, name, mode, self._caller(ctx))
        node.lookups += 1
        if self.state.events is not None:
            self.state.events.created(parent, name, node, ctx, "directory")
        return self.state.entry(node, stat)

    @handler
    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        parent = self.state.node(parent_inode)
        node, _ = self.state.volume.changes.mknod(parent, name, mode, rdev, self._caller(ctx))
        node.lookups += 1
        if self.state.events is not None:
            self.state.events.created(parent, name, node, ctx, "" if stat_module.S_ISREG(mode) else "special")
        return self.state.entry(node, self.state.tree.stat(node))

    @handler
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        parent = self.state.node(parent_inode)
        node, stat = self.state.volume.changes.symlink(parent, name, target, self._caller(ctx))
        node.lookups += 1
        if self.state.events is not None:
            self.state.events.created(parent, name, node, ctx, "symlink")
        return self.state.entry(node, stat)

    @handler
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return FileNameT(self.state.tree.read_link(self.state.node(inode)))

    @handler
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        node = self.state.node(inode)
        if node.file is not None:
            await self.state.turn(node.file)
        parent = self.state.node(new_parent_inode)
        stat = self.state.volume.changes.link(node, parent, new_name)
        node.lookups += 1
        if self.state.events is not None:
            self.state.events.created(parent, new_name, node, ctx, "link")
        return self.state.entry(node, stat)

    @handler
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self._remove(self.state.volume.changes.unlink, parent_inode, name, ctx)

    @handler
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self._remove(self.state.volume.changes.rmdir, parent_inode, name, ctx)

    def _remove(
        self, remove: Callable[[Node, bytes], None], parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> None:
        parent, events = self.state.node(parent_inode), self.state.events
        if events is None:
            remove(parent, name)
            return
        was = events.before(parent, name)
        remove(parent, name)
        events.deleted(parent, name, was, ctx)

    @handler
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        changes, events = self.state.volume.changes, self.state.events
        old, new = self.state.node(parent_inode_old), self.state.node(parent_inode_new)
        await self.state.turn_at((old, name_old), (new, name_new))
        was = None
        if events is not None:
            was = (old, name_old, events.before(old, name_old)), (new, name_new, events.before(new, name_new))
        if flags == pyfuse3.RENAME_EXCHANGE:
            changes.exchange(old, name_old, new, name_new)
        elif flags in (0, pyfuse3.RENAME_NOREPLACE):
            changes.rename(old, name_old, new, name_new, no_replace=bool(flags))
        else:
            raise pyfuse3.FUSEError(errno.EINVAL)
        if events is not None and was is not None:
            events.renamed(*was, ctx, exchange=flags == pyfuse3.RENAME_EXCHANGE)

    # -- listing ---------------------------------------------------------------------------------------

    @handler
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        fh = self.state.new_handle()
        self.state.directories[fh] = DirectoryHandle(self.state.node(inode))
        return fh

    @handler
    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        state, handle = self.state, self.state.directories[fh]
        node = handle.node
        if start_id == 0 or handle.entries is None:
            handle.entries = [] if node.ghost is not None else state.tree.entries(node)
        if start_id < _DOTS and not self._reply_dots(node, start_id, token):
            return
        for position in range(max(start_id, _DOTS) - _DOTS, len(handle.entries)):
            if not self._reply_entry(node, handle, position, token):
                return

    def _reply_dots(self, node: Node, start_id: int, token: ReaddirToken) -> bool:
        """Add the two dot entries, for which the kernel counts no reference."""
        dots = ((b".", node), (b"..", node.parent or self.state.tree.root))
        for position, (name, target) in enumerate(dots[start_id:], start_id + 1):
            reply = EntryAttributes()
            reply.st_ino = InodeT(target.inode)
            reply.st_mode = ModeT(stat_module.S_IFDIR | 0o755)
            if not pyfuse3.readdir_reply(token, FileNameT(name), reply, position):
                return False
        return True

    def _reply_entry(self, node: Node, handle: DirectoryHandle, position: int, token: ReaddirToken) -> bool:
        """Add one entry to the reply; false when it is full. What is gone or not readable is passed over."""
        tree = self.state.tree
        assert handle.entries is not None
        lower = handle.entries[position]
        try:
            stat = tree.ctx.store.stat(tree.dirfd(node), lower)
        except FileNotFoundError:
            return True
        name = tree.plain_name(node, lower, stat)
        if name is None:
            return True
        tree.nodes.recognize(node, lower, stat.st_ino)
        child = tree.meet(node, lower, stat)
        if child.file is not None:
            stat = tree.stat(child)
        if not pyfuse3.readdir_reply(token, FileNameT(name), self.state.entry(child, stat), position + _DOTS + 1):
            tree.nodes.drop_if_unused(child)
            return False
        child.lookups += 1
        return True

    @handler
    async def releasedir(self, fh: FileHandleT) -> None:
        del self.state.directories[fh]

    @handler
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's signature
        state, node = self.state, self.state.directories[fh].node
        await state.settle_moves()
        if node.ghost is None:
            fd = state.tree.open_for_sync(node)
            try:
                await state.thread(lambda: state.volume.ctx.store.fsync(fd))
            finally:
                state.volume.ctx.store.close(fd)
