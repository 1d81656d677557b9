"""Changing the tree. Here: renames; making and removing are inherited.

Owns: the order of lower operations that makes a rename atomic for a program and recoverable after a crash
(FORMAT.md section 11). Must not know: FUSE; permission checks are the kernel's.
"""

from __future__ import annotations

import os
import stat as stat_module
from errno import EEXIST, EINVAL, EISDIR, EMLINK, ENAMETOOLONG, ENOENT, ENOTDIR

from encfs.errors import DataError
from encfs.format.limits import DIRECT_NAME_MAX, LINK_SUFFIX, NAME_MAX
from encfs.units import LowerName
from encfs.volume.creation import Caller, Creation
from encfs.volume.node import Node
from encfs.volume.places import error, temporary_name
from encfs.volume.tree import Found, is_long

__all__ = ["Caller", "Changes"]


# One side of an exchange: the node, what was found of it, and the directory and plain name where it is.
_Side = tuple[Node, Found, Node, bytes]


class Changes(Creation):
    """All changes of names in an open volume. One thread at a time."""

    def rename(self, parent: Node, name: bytes, to_parent: Node, to_name: bytes, *, no_replace: bool = False) -> None:
        """Rename, replacing what is there; where names are not enough, the object's own record is written first.

        Raises:
            OSError: as rename(2).
        """
        self._ctx.require_writable()
        if len(to_name) > NAME_MAX:
            raise error(ENAMETOOLONG)
        if parent.ghost is not None or to_parent.ghost is not None:
            raise error(ENOENT)
        target = None if self._tree.is_known_absent(to_parent, to_name) else self._tree.find(to_parent, to_name)
        source = self._tree.find(parent, name)
        if source is None:
            raise error(ENOENT)
        if target is not None and no_replace:
            raise error(EEXIST)
        if target is not None and target.stat.st_ino == source.stat.st_ino:
            return
        self._check_kinds(source, target)
        node = self._tree.nodes.meet(source.stat.st_ino, parent, source.lower_name)
        try:
            lower = self._ctx.ring.metadata.names.seal(self._tree.dir_id(to_parent), to_name)
            if stat_module.S_ISLNK(source.stat.st_mode) and is_long(lower):
                self._symlink_into_file(node, parent, source, to_parent, to_name)
                return
            if source.lower_name.endswith(LINK_SUFFIX):
                lower = LowerName(lower + LINK_SUFFIX)
            if self._header_can_wait(node, source, target, lower):
                self._rename_first(node, parent, name, source, to_parent, lower, target)
                return
            with self.held_open(node, source):
                self._rename_lower(node, parent, name, source, to_parent, to_name, lower, target)
        finally:
            self._tree.nodes.drop_if_unused(node)

    @staticmethod
    def _check_kinds(source: Found, target: Found | None) -> None:
        if target is None:
            return
        source_is_dir, target_is_dir = (
            stat_module.S_ISDIR(source.stat.st_mode),
            stat_module.S_ISDIR(target.stat.st_mode),
        )
        if target_is_dir and not source_is_dir:
            raise error(EISDIR)
        if source_is_dir and not target_is_dir:
            raise error(ENOTDIR)

    def _header_can_wait(self, node: Node, source: Found, target: Found | None, lower: LowerName) -> bool:
        """Whether the header may name the new place after the rename (FORMAT.md section 11).

        Only that of a file with one name, which its directory entry tells before and after; and only where the header
        can be written, so that nobody is told of a rename that cannot be finished.
        """
        stat, file = source.stat, node.file
        return (
            stat_module.S_ISREG(stat.st_mode)
            and stat.st_nlink == 1
            and not node.in_file
            and not is_long(source.lower_name)
            and not is_long(lower)
            and (target is None or target.lower_name == lower)
            and (file is None or file.writable)
            and (self._is_root or stat.st_uid == os.geteuid())
        )

    def _rename_first(
        self,
        node: Node,
        parent: Node,
        name: bytes,
        source: Found,
        to_parent: Node,
        lower: LowerName,
        target: Found | None,
    ) -> None:
        """Rename, and let the header wait: the lower call is all that can fail."""
        was = self._tree.dir_id(parent), name
        with self.losing_name(to_parent, target):
            from_fd, to_fd = self._tree.directories.pair(parent, to_parent)
            self._ctx.store.rename(from_fd, source.lower_name, to_fd, lower)
            node.move_place(parent, source.lower_name, to_parent, lower)
        self._tree.moves.add(node, was)
        self._ctx.moved(node)

    def _rename_lower(
        self,
        node: Node,
        parent: Node,
        name: bytes,
        source: Found,
        to_parent: Node,
        to_name: bytes,
        lower: LowerName,
        target: Found | None,
    ) -> None:
        store = self._ctx.store
        hidden: bytes | None = None
        self.set_place(node, source, to_parent, to_name, was=(parent, name))
        with self.losing_name(to_parent, target):
            try:
                from_fd, to_fd = self._tree.directories.pair(parent, to_parent)
                if target is not None and stat_module.S_ISDIR(target.stat.st_mode):
                    hidden = self._hide_empty_directory(to_parent, target)
                elif target is not None and target.lower_name != lower:
                    hidden = self._hide(to_fd, target)
                store.rename(from_fd, source.lower_name, to_fd, lower)
            except OSError:
                if hidden is not None and target is not None:
                    store.rename(self._tree.dirfd(to_parent), hidden, self._tree.dirfd(to_parent), target.lower_name)
                self.set_place(node, source, parent, name, was=(to_parent, to_name))
                raise
            node.move_place(parent, source.lower_name, to_parent, lower)
        self._ctx.moved(node)
        if hidden is not None:
            self.discard_temporary(self._tree.dirfd(to_parent), hidden)

    def _hide(self, dirfd: int, found: Found) -> bytes:
        """Give an entry that is about to be replaced a temporary name; return that."""
        temporary = temporary_name()
        self._ctx.store.rename(dirfd, found.lower_name, dirfd, temporary)
        return temporary

    def exchange(self, parent: Node, name: bytes, to_parent: Node, to_name: bytes) -> None:
        """RENAME_EXCHANGE: two names swap what they name.

        Raises:
            OSError: ENOENT; EINVAL where one is a symlink in a file and the other is not, or where the lower
                filesystem cannot exchange.
        """
        self._ctx.require_writable()
        if len(name) > DIRECT_NAME_MAX >= len(to_name):
            # A long name is only in the record that is overwritten; after a crash the other record tells it to
            # recovery.
            parent, name, to_parent, to_name = to_parent, to_name, parent, name
        first, second = self._tree.find(parent, name), self._tree.find(to_parent, to_name)
        if first is None or second is None:
            raise error(ENOENT)
        if first.stat.st_ino == second.stat.st_ino:
            return
        if first.lower_name.endswith(LINK_SUFFIX) != second.lower_name.endswith(LINK_SUFFIX):
            raise error(EINVAL)
        one = self._tree.nodes.meet(first.stat.st_ino, parent, first.lower_name)
        two = self._tree.nodes.meet(second.stat.st_ino, to_parent, second.lower_name)
        for found, lower in ((first, second.lower_name), (second, first.lower_name)):
            if stat_module.S_ISLNK(found.stat.st_mode) and is_long(lower):
                raise error(EINVAL)
        try:
            with self.held_open(one, first), self.held_open(two, second):
                self._exchange_lower((one, first, parent, name), (two, second, to_parent, to_name))
        finally:
            self._tree.nodes.drop_if_unused(one)
            self._tree.nodes.drop_if_unused(two)

    def _exchange_lower(self, one: _Side, two: _Side) -> None:
        (node, found, parent, name), (to_node, to_found, to_parent, to_name) = one, two
        try:
            self.set_place(node, found, to_parent, to_name, was=(parent, name))
            self.set_place(to_node, to_found, parent, name, was=(to_parent, to_name))
            from_fd, to_fd = self._tree.directories.pair(parent, to_parent)
            self._ctx.store.exchange(from_fd, found.lower_name, to_fd, to_found.lower_name)
        except (OSError, DataError):
            # The first one first: the second may be what cannot be written.
            self.set_place(node, found, parent, name, was=(to_parent, to_name))
            self.set_place(to_node, to_found, to_parent, to_name, was=(parent, name))
            raise
        node.remove_place(parent, found.lower_name)
        to_node.remove_place(to_parent, to_found.lower_name)
        node.add_place(to_parent, to_found.lower_name)
        to_node.add_place(parent, found.lower_name)
        self._ctx.moved(node)
        self._ctx.moved(to_node)

    def _symlink_into_file(self, node: Node, parent: Node, source: Found, to_parent: Node, to_name: bytes) -> None:
        """A lower symlink gets a name too long for it: it becomes a symlink in a file (FORMAT.md section 9.4)."""
        if source.stat.st_nlink > 1:
            raise error(EMLINK)  # Its other names would go on naming another symlink.
        text, store = self._tree.read_link(node), self._ctx.store
        target = self._tree.find(to_parent, to_name)
        hidden: bytes | None = None
        with self.losing_name(to_parent, target):
            if target is not None:
                hidden = self._hide(self._tree.dirfd(to_parent), target)
            try:
                made = self._copy_symlink(source, parent, to_parent, to_name, text)
            except OSError:
                if target is not None and hidden is not None:
                    to_fd = self._tree.dirfd(to_parent)
                    store.rename(to_fd, hidden, to_fd, target.lower_name)
                raise
            node.move_place(parent, source.lower_name, to_parent, made.lower_name)
            self._tree.nodes.renumber(node, made.stat.st_ino)
        if hidden is not None:
            self.discard_temporary(self._tree.dirfd(to_parent), hidden)

    def _copy_symlink(self, source: Found, parent: Node, to_parent: Node, to_name: bytes, text: bytes) -> Found:
        """The same symlink in a file at the new place, and no longer at the old one."""
        store, old = self._ctx.store, source.stat
        made, _ = self.symlink(to_parent, to_name, text, Caller(old.st_uid, old.st_gid))
        self._tree.nodes.drop_if_unused(made)
        try:
            from_fd, to_fd = self._tree.directories.pair(parent, to_parent)
            if self._is_root:
                store.chown(to_fd, made.lower_name, old.st_uid, old.st_gid)
            store.utime(to_fd, made.lower_name, (old.st_atime_ns, old.st_mtime_ns))
            found = Found(made.lower_name, store.stat(to_fd, made.lower_name))
            store.unlink(from_fd, source.lower_name)
        except OSError:
            store.unlink(self._tree.dirfd(to_parent), made.lower_name)
            raise
        return found
