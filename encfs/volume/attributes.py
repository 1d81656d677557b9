"""Extended attributes, ACLs, mode, owner and times of objects in an open volume (FORMAT.md section 10).

Owns: the cache of sealed attributes, and what chmod and ACLs do to each other. Must not know: FUSE.
"""

from __future__ import annotations

import os
import stat as stat_module
from dataclasses import dataclass
from errno import E2BIG, ENODATA, ENOENT, ENOSPC, EOPNOTSUPP, ERANGE

from encfs.core import attributes as sealed_attributes
from encfs.errors import DataError
from encfs.format.limits import RECORD_NAME, XATTR_NAME, XATTR_SEALED_MAX
from encfs.store.base import Where
from encfs.volume import acl
from encfs.volume.context import Context
from encfs.volume.node import NO_ATTRIBUTES, Attributes, Node
from encfs.volume.tree import Tree

NO_STORE = (EOPNOTSUPP, ENODATA)
_ACLS = (acl.ACCESS, acl.DEFAULT)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@dataclass(frozen=True, slots=True)
class Setattr:
    """A change of metadata; None leaves a field alone. Times are nanoseconds since 1970."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


class AttributeStore:
    """Reads and writes what belongs to an object besides its content."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._ctx: Context = tree.ctx

    # -- extended attributes ---------------------------------------------------------------------------

    def get_all(self, node: Node) -> Attributes:
        """All attributes by name; cached, so do not change the result.

        Raises:
            DataError: the sealed list does not authenticate.
        """
        if node.attributes is None:
            node.attributes = self.read(node)
        return node.attributes

    def read(self, node: Node) -> Attributes:
        """All attributes as they are below, past the cache.

        Raises:
            DataError: the sealed list does not authenticate.
        """
        where = self._where(node)
        if where is None:
            return NO_ATTRIBUTES
        try:
            sealed = self._ctx.store.getxattr(where, XATTR_NAME)
        except OSError as exc:
            if exc.errno in NO_STORE:
                return NO_ATTRIBUTES
            raise
        try:
            return sealed_attributes.open_attributes(self._ctx.ring, self._object_id(node), sealed) or NO_ATTRIBUTES
        except DataError as exc:
            self._ctx.integrity_event("attributes", node.inode, str(exc))
            raise

    def _where(self, node: Node) -> Where | None:
        """What the attribute calls of the store take; None for kinds that have no attributes."""
        if node.file is not None:
            return (node.file.fd, None)
        if node is self._tree.root:
            return (self._tree.dirfd(node), b".")
        stat = self._tree.stat(node)
        if not (stat_module.S_ISREG(stat.st_mode) or stat_module.S_ISDIR(stat.st_mode)):
            return None
        return self._at(node)

    def _object_id(self, node: Node) -> bytes:
        """The id that binds attributes to their object: the dir id or the header's attribute id."""
        if node.file is not None:
            return node.file.header.attribute_id
        if node is self._tree.root or stat_module.S_ISDIR(self._tree.stat(node).st_mode):
            return self._tree.dir_id(node)
        file = self._tree.open_file(node, writable=False)
        try:
            return file.header.attribute_id
        finally:
            self._tree.close_file(node)

    def replace(self, node: Node, attributes: Attributes) -> None:
        """Store a whole new set of attributes.

        Raises:
            OSError: EOPNOTSUPP for kinds without attributes or a lower filesystem without them, ENOSPC.
        """
        self._ctx.require_writable()
        where = self._where(node)
        if where is None and node.ghost is not None:
            node.attributes = attributes or NO_ATTRIBUTES  # Nothing of it is left below to keep them.
            return
        if where is None:
            raise _error(EOPNOTSUPP)
        if not attributes:
            try:
                self._ctx.store.removexattr(where, XATTR_NAME)
            except OSError as exc:
                if exc.errno not in NO_STORE:
                    raise
        else:
            sealed = sealed_attributes.seal_attributes(self._ctx.ring, self._object_id(node), attributes)
            if len(sealed) > XATTR_SEALED_MAX:
                raise _error(ENOSPC)
            where = self._where(node) or where
            try:
                self._ctx.store.setxattr(where, XATTR_NAME, sealed)
            except OSError as exc:
                raise _error(ENOSPC if exc.errno in (E2BIG, ERANGE) else exc.errno or EOPNOTSUPP) from exc
        node.attributes = attributes or NO_ATTRIBUTES

    def set(self, node: Node, name: bytes, value: bytes) -> None:
        """setxattr. Setting an access ACL also sets the mode bits it stands for (acl(5)).

        Raises:
            OSError: as setxattr(2).
        """
        stored: bytes | None = value
        bits: int | None = None
        if name in _ACLS:
            parsed = acl.parse(value)
            stored = value if parsed else None
            if name == acl.ACCESS and parsed:
                stored, bits = acl.access_attribute(parsed), acl.mode_of(parsed)
        attributes = dict(self.get_all(node))
        if stored is None:
            attributes.pop(name, None)
        else:
            attributes[name] = stored
        if attributes != self.get_all(node):
            self.replace(node, attributes)
        if bits is not None:
            self._chmod(node, stat_module.S_IMODE(self._tree.stat(node).st_mode) & ~0o777 | bits)

    def remove(self, node: Node, name: bytes) -> None:
        """removexattr. An ACL that is not there counts as removed.

        Raises:
            OSError: ENODATA and the lower errors.
        """
        attributes = dict(self.get_all(node))
        if attributes.pop(name, None) is not None:
            self.replace(node, attributes)
        elif name not in _ACLS:
            raise _error(ENODATA)

    # -- mode, owner, times, size ------------------------------------------------------------------------

    def drop_set_id(self, node: Node) -> None:
        """Take setuid away, and setgid where it means anything: somebody without the right to keep them wrote.

        Raises:
            OSError: the lower errors.
        """
        mode = stat_module.S_IMODE(self._tree.stat(node).st_mode)
        kept = mode & ~stat_module.S_ISUID
        if mode & stat_module.S_IXGRP:
            kept &= ~stat_module.S_ISGID
        if kept != mode:
            self._chmod(node, kept)

    def setattr(self, node: Node, change: Setattr) -> None:
        """Apply a change of owner, mode and times in that order; size is :meth:`truncate`'s.

        Raises:
            OSError: the lower errors.
        """
        self._ctx.require_writable()
        if change.uid is not None or change.gid is not None:
            self._chown(node, -1 if change.uid is None else change.uid, -1 if change.gid is None else change.gid)
        if change.mode is not None:
            self._set_mode(node, stat_module.S_IMODE(change.mode))
        if change.atime_ns is not None or change.mtime_ns is not None:
            self._utime(node, change.atime_ns, change.mtime_ns)

    def _set_mode(self, node: Node, mode: int) -> None:
        access = self.get_all(node).get(acl.ACCESS)
        if access is not None:
            changed = acl.build(acl.with_mode(acl.parse(access), mode))
            self.replace(node, {**self.get_all(node), acl.ACCESS: changed})
        self._chmod(node, mode)

    def _at(self, node: Node) -> tuple[int, bytes] | None:
        """Where ``*at`` calls find an object that is not an open file; None if nothing of it is left below."""
        if node is self._tree.root:
            return self._tree.dirfd(node), b"."
        if node.parent is not None:
            return self._tree.dirfd(node.parent), node.lower_name
        held = self._tree.directories.held(node)
        if held is not None and node.dir_id is not None:
            return held, b"."
        if node.ghost is None:
            raise _error(ENOENT)
        return None

    def _chmod(self, node: Node, mode: int) -> None:
        if node.file is not None:
            self._ctx.store.fchmod(node.file.fd, mode)
        elif (at := self._at(node)) is not None:
            self._ctx.store.chmod(*at, mode)

    def _chown(self, node: Node, uid: int, gid: int) -> None:
        store = self._ctx.store
        if node.file is not None:
            store.fchown(node.file.fd, uid, gid)
        elif (at := self._at(node)) is not None:
            store.chown(*at, uid, gid)
            if node.parent is not None and stat_module.S_ISDIR(self._tree.stat(node).st_mode):
                # The record goes with its directory, so that the owner can use the volume without root.
                store.chown(self._tree.dirfd(node), RECORD_NAME, uid, gid)

    def _utime(self, node: Node, atime_ns: int | None, mtime_ns: int | None) -> None:
        store = self._ctx.store
        stat = self._tree.stat(node)
        times = (stat.st_atime_ns if atime_ns is None else atime_ns, stat.st_mtime_ns if mtime_ns is None else mtime_ns)
        if node.file is not None:
            store.futime(node.file.fd, times)
            if mtime_ns is not None and node.file.mtime_ns is not None:
                node.file.mtime_ns = mtime_ns
        elif (at := self._at(node)) is not None:
            store.utime(*at, times)
