"""Requests on metadata: stat, chmod and friends, extended attributes, statfs."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, InodeT, RequestContext, SetattrFields, StatvfsData, XAttrNameT

from encfs.format.limits import longest_name
from encfs.fuse.errnos import glance, handler
from encfs.fuse.ops_file import truncate
from encfs.fuse.state import MountState
from encfs.volume import acl
from encfs.volume.attributes import Setattr
from encfs.volume.node import Node

_NAMESPACES = (b"user.", b"trusted.", b"security.")
_ACLS = (acl.ACCESS, acl.DEFAULT)


def _check_attribute_name(name: bytes) -> None:
    if not name.startswith(_NAMESPACES) and name not in _ACLS:
        raise pyfuse3.FUSEError(errno.EOPNOTSUPP)
    if name in _NAMESPACES:
        raise pyfuse3.FUSEError(errno.EINVAL)


class MetadataOperations(pyfuse3.Operations):
    """See pyfuse3.Operations for the contract of each method."""

    state: MountState

    @glance
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        node = self.state.node(inode)
        return self.state.entry(node, self.state.tree.stat(node))

    @handler
    async def setattr(
        self, inode: InodeT, attr: EntryAttributes, fields: SetattrFields, fh: FileHandleT | None, ctx: RequestContext
    ) -> EntryAttributes:
        state = self.state
        node = state.node(inode)
        if fields.update_size:
            # Whoever has it open for writing was told of when opening it.
            await self._resize(node, attr.st_size, None if fh is not None else ctx)
        if node.file is not None and state.needs_turn(node.file):
            await state.turn(node.file)
        change = Setattr(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        state.volume.attributes.setattr(node, change)
        return state.entry(node, state.tree.stat(node))

    async def _resize(self, node: Node, size: int, tell_of: RequestContext | None) -> None:
        state = self.state
        file = state.tree.open_file(node, writable=True)
        file.handles += 1
        try:
            await truncate(state, file, size)
            if tell_of is not None and state.events is not None:
                state.events.resized(node, tell_of)
        finally:
            state.tree.release_file(node)

    @glance
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        below = self.state.volume.ctx.store.statvfs(self.state.volume.root_fd)
        reply = StatvfsData()
        for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"):
            setattr(reply, name, getattr(below, name))
        reply.f_namemax = longest_name(below.f_namemax)
        return reply

    @handler
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        _check_attribute_name(name)
        value = self.state.volume.attributes.get_all(self.state.node(inode)).get(name)
        if value is None:
            raise pyfuse3.FUSEError(pyfuse3.ENOATTR)
        return value

    @handler
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        names = self.state.volume.attributes.get_all(self.state.node(inode))
        return [XAttrNameT(name) for name in names if ctx.uid == 0 or not name.startswith(b"trusted.")]

    @handler
    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        _check_attribute_name(name)
        self.state.volume.attributes.set(self.state.node(inode), name, value)

    @handler
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        _check_attribute_name(name)
        self.state.volume.attributes.remove(self.state.node(inode), name)
