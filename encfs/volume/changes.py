"""Changing the tree: create, mkdir, link, symlink, rename, unlink, rmdir.

Owns: the order of lower operations that makes each change atomic for a program and recoverable after a crash
(FORMAT.md section 11), and who owns a new object. Must not know: FUSE; permission checks are the kernel's.
"""

from __future__ import annotations

import os
import stat as stat_module
from dataclasses import dataclass, replace
from errno import EEXIST, EINVAL, EMLINK, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EOPNOTSUPP, EISDIR, EPERM

from encfs.core import frames, symlinks
from encfs.crypto import rng
from encfs.format.directory import DirectoryRecord
from encfs.format.frame import FrameKind
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import (
    DIRECT_NAME_MAX,
    LINK_SUFFIX,
    LOWER_TARGET_MAX,
    NAME_MAX,
    RECORD_NAME,
    SYMLINK_TARGET_MAX,
    TEMP_PREFIX,
)
from encfs.units import DirId, FileId, LowerName
from encfs.volume import acl
from encfs.volume.attributes import AttributeStore
from encfs.volume.context import Context
from encfs.volume.file import OpenFile
from encfs.volume.node import NO_ATTRIBUTES, Attributes, Node
from encfs.volume.tree import Found, Tree, is_long


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a new object: it will belong to ``uid`` and ``gid``."""

    uid: int
    gid: int
    umask: int = 0


@dataclass(frozen=True, slots=True)
class _Ownership:
    """What a new object gets: permission bits, owner (None: whoever the daemon is), attributes."""

    mode: int
    owner: tuple[int, int] | None
    attributes: Attributes


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def temporary_name() -> bytes:
    """A fresh ``cloakfs.t.…`` name (FORMAT.md section 2)."""
    return TEMP_PREFIX + rng.random_bytes(8).hex().encode()


class Changes:
    """All changes of names in an open volume. One thread at a time."""

    def __init__(self, tree: Tree, attributes: AttributeStore) -> None:
        self._tree = tree
        self._ctx: Context = tree.ctx
        self._attributes = attributes
        self._is_root = os.geteuid() == 0

    # -- making things --------------------------------------------------------------------------------

    def create(self, parent: Node, name: bytes, mode: int, caller: Caller) -> tuple[Node, os.stat_result]:
        """Make an empty regular file and leave it open for the caller's handle.

        Raises:
            OSError: EEXIST and the lower errors.
        """
        lower = self._new_name(parent, name)
        ownership = self._ownership(parent, mode, caller)
        store = self._ctx.store
        dirfd = self._tree.dirfd(parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        fd = store.open(dirfd, lower, flags, 0 if ownership.owner else ownership.mode)
        try:
            if ownership.owner is not None:
                store.fchown(fd, *ownership.owner)
                store.fchmod(fd, ownership.mode)
            header = self.new_header(FrameKind.FILE, self._tree.dir_id(parent), name)
            stat = store.fstat(fd)
        except BaseException:
            store.close(fd)
            store.unlink(dirfd, lower)
            raise
        node = self._tree.nodes.meet(stat.st_ino, parent, lower, fresh=True)
        node.file = OpenFile.new(self._ctx, fd, node.inode, header)
        node.attributes = NO_ATTRIBUTES
        if ownership.attributes:
            self._attributes.replace(node, ownership.attributes)
        return node, stat

    def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> tuple[Node, os.stat_result]:
        """Make a directory under a temporary name and rename it into place (FORMAT.md section 8)."""
        lower = self._new_name(parent, name)
        ownership = self._ownership(parent, mode, caller, directory=True)
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        temporary = temporary_name()
        store.mkdir(dirfd, temporary, 0o700)
        dir_id = DirId(rng.random_bytes(16))
        try:
            self._write_new_record(dirfd, temporary, parent, name, dir_id, ownership)
            store.chmod(dirfd, temporary, ownership.mode)
            store.rename(dirfd, temporary, dirfd, lower)
        except BaseException:
            self._discard_directory(dirfd, temporary)
            raise
        stat = store.stat(dirfd, lower)
        node = self._tree.nodes.meet(stat.st_ino, parent, lower, fresh=True)
        node.dir_id = dir_id
        node.attributes = NO_ATTRIBUTES
        if ownership.attributes:
            self._attributes.replace(node, ownership.attributes)
        return node, stat

    def _write_new_record(
        self, dirfd: int, temporary: bytes, parent: Node, name: bytes, dir_id: DirId, ownership: _Ownership
    ) -> None:
        store = self._ctx.store
        record = DirectoryRecord(
            epoch=self._ctx.ring.active.epoch,
            previous_epoch=None,
            dir_id=dir_id,
            parent=self._tree.dir_id(parent),
            generation=1,
            session=self._ctx.session,
            name=name,
        )
        inside = store.open_directory(dirfd, temporary)
        try:
            fd = store.open(inside, RECORD_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                store.pwrite(fd, frames.seal_directory(self._ctx.ring, record), 0)
                if ownership.owner is not None:
                    store.fchown(fd, *ownership.owner)
            finally:
                store.close(fd)
        finally:
            store.close(inside)
        if ownership.owner is not None:
            store.chown(dirfd, temporary, *ownership.owner)

    def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> tuple[Node, os.stat_result]:
        """Make a symlink, in a file where a lower symlink cannot hold it (FORMAT.md section 9.4)."""
        if not target:
            raise _error(ENOENT)
        if len(target) > SYMLINK_TARGET_MAX:
            raise _error(ENAMETOOLONG)
        lower = self._new_name(parent, name)
        stat = None
        if not is_long(lower):
            stat = self._lower_symlink(parent, name, lower, target)
        if stat is None:
            lower = LowerName(lower + LINK_SUFFIX)
            stat = self._symlink_in_file(parent, name, lower, target)
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        if self._is_root:
            gid = self._group(parent, caller)
            store.chown(dirfd, lower, caller.uid, gid)
            stat = store.stat(dirfd, lower)
        return self._tree.nodes.meet(stat.st_ino, parent, lower, fresh=True), stat

    def _lower_symlink(self, parent: Node, name: bytes, lower: LowerName, target: bytes) -> os.stat_result | None:
        sealed = symlinks.seal_target(
            self._ctx.ring, dir_id=self._tree.dir_id(parent), name=name, target=target, multi=False
        )
        if len(sealed) > LOWER_TARGET_MAX:
            return None
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        try:
            store.symlink(sealed, dirfd, lower)
        except OSError as exc:
            if exc.errno in (EPERM, EOPNOTSUPP, ENAMETOOLONG):
                return None
            raise
        return store.stat(dirfd, lower)

    def _symlink_in_file(self, parent: Node, name: bytes, lower: LowerName, target: bytes) -> os.stat_result:
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        temporary = temporary_name()
        fd = store.open(dirfd, temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            file = OpenFile.new(
                self._ctx, fd, 0, self.new_header(FrameKind.SYMLINK, self._tree.dir_id(parent), name)
            )
            try:
                file.write(0, target)
            finally:
                file.close()
            store.rename(dirfd, temporary, dirfd, lower)
        except BaseException:
            store.unlink(dirfd, temporary)
            raise
        return store.stat(dirfd, lower)

    def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> tuple[Node, os.stat_result]:
        """Make a pipe, socket, device node, or an empty regular file."""
        if stat_module.S_ISREG(mode):
            node, stat = self.create(parent, name, mode, caller)
            self._tree.close_file(node)
            return node, stat
        if len(name) > DIRECT_NAME_MAX:
            raise _error(ENAMETOOLONG)
        lower = self._new_name(parent, name)
        ownership = self._ownership(parent, mode, caller)
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        store.mknod(dirfd, lower, stat_module.S_IFMT(mode) | (0 if ownership.owner else ownership.mode), rdev)
        if ownership.owner is not None:
            store.chown(dirfd, lower, *ownership.owner)
            store.chmod(dirfd, lower, ownership.mode)
        stat = store.stat(dirfd, lower)
        return self._tree.nodes.meet(stat.st_ino, parent, lower, fresh=True), stat

    def link(self, node: Node, parent: Node, name: bytes) -> os.stat_result:
        """Another name for a file, symlink, pipe, socket or device node.

        Raises:
            OSError: EMLINK for a second long name (FORMAT.md section 9.1), EPERM for a directory.
        """
        if node.parent is None:
            raise _error(ENOENT)
        lower = self._new_name(parent, name)
        store = self._ctx.store
        stat = self._tree.stat(node)
        if stat_module.S_ISDIR(stat.st_mode):
            raise _error(EPERM)
        if stat_module.S_ISREG(stat.st_mode):
            if node.in_file:
                lower = LowerName(lower + LINK_SUFFIX)
            self._mark_multi(node, parent, name)
        elif is_long(lower):
            raise _error(EMLINK)
        elif stat_module.S_ISLNK(stat.st_mode):
            self.reseal_symlink(node, node.parent, node.lower_name, multi=True)
        source, target = self._tree.dirfds(node.parent, parent)
        store.link(source, node.lower_name, target, lower)
        stat = store.stat(target, lower)
        self._tree.nodes.meet(stat.st_ino, parent, lower)
        return self._tree.stat(node)

    def _mark_multi(self, node: Node, parent: Node, name: bytes) -> None:
        """Set MULTI before the second link is there; the header names the long name if there is one."""
        file = self._tree.open_file(node, writable=True)
        try:
            header = file.header
            if len(name) > DIRECT_NAME_MAX:
                if len(header.name) > DIRECT_NAME_MAX:
                    raise _error(EMLINK)
                file.set_place(self._tree.dir_id(parent), name, flags=header.flags | HeaderFlag.MULTI)
            elif not header.flags & HeaderFlag.MULTI:
                file.set_place(header.parent, header.name, flags=header.flags | HeaderFlag.MULTI)
        finally:
            self._tree.close_file(node)

    def _new_name(self, parent: Node, name: bytes) -> LowerName:
        """The lower name for a new entry.

        Raises:
            OSError: EEXIST, ENAMETOOLONG; ENOENT if the directory was removed.
        """
        self._ctx.require_writable()
        if len(name) > NAME_MAX:
            raise _error(ENAMETOOLONG)
        if parent.ghost is not None:
            raise _error(ENOENT)
        if self._tree.find(parent, name) is not None:
            raise _error(EEXIST)
        return self._ctx.ring.active.names.seal(self._tree.dir_id(parent), name)

    def new_header(self, kind: FrameKind, parent: DirId, name: bytes) -> FileHeader:
        random = rng.random_bytes(64)
        return FileHeader(
            kind=kind,
            log2_cell=self._ctx.geometry.C.bit_length() - 1,
            epoch=self._ctx.ring.active.epoch,
            previous_epoch=None,
            fid=FileId(random[:16]),
            size=0,
            synced_size=0,
            generation=0,
            session=self._ctx.session,
            flags=HeaderFlag(0),
            content_key=random[16:48],
            previous_content_key=None,
            cells_sealed=0,
            parent=parent,
            attribute_id=random[48:],
            name=name,
        )

    def _group(self, parent: Node, caller: Caller) -> int:
        stat = self._tree.stat(parent)
        return stat.st_gid if stat.st_mode & stat_module.S_ISGID else caller.gid

    def _ownership(self, parent: Node, mode: int, caller: Caller, *, directory: bool = False) -> _Ownership:
        """Mode, owner and ACLs of a new object (acl(5), inode(7) on set-group-ID directories)."""
        stat = self._tree.stat(parent)
        inherits = bool(stat.st_mode & stat_module.S_ISGID)
        bits = stat_module.S_IMODE(mode)
        attributes: Attributes = {}
        default = self._attributes.get_all(parent).get(acl.DEFAULT)
        if default is None:
            bits &= ~caller.umask
        else:
            bits, access = acl.inherit(acl.parse(default), bits)
            stored = acl.access_attribute(access)
            if stored is not None:
                attributes[acl.ACCESS] = stored
            if directory:
                attributes[acl.DEFAULT] = default
        if directory and inherits:
            bits |= stat_module.S_ISGID
        owner = (caller.uid, stat.st_gid if inherits else caller.gid) if self._is_root else None
        if owner == (0, 0) and os.getegid() == 0:
            owner = None
        return _Ownership(bits, owner, attributes or NO_ATTRIBUTES)

    # -- removing things ------------------------------------------------------------------------------

    def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a name. A damaged file can always be removed.

        Raises:
            OSError: ENOENT, EISDIR and the lower errors.
        """
        self._ctx.require_writable()
        found = self._tree.find(parent, name)
        if found is None:
            raise _error(ENOENT)
        if stat_module.S_ISDIR(found.stat.st_mode):
            raise _error(EISDIR)
        self._ctx.store.unlink(self._tree.dirfd(parent), found.lower_name)
        self._gone(parent, found)

    def _gone(self, parent: Node, found: Found) -> None:
        """A lower entry was removed or replaced: the node, if anybody holds it, lives on without that name."""
        node = self._tree.nodes.find(found.stat.st_ino)
        if node is None:
            return
        node.remove_place(parent, found.lower_name)
        if found.stat.st_nlink <= 1 or stat_module.S_ISDIR(found.stat.st_mode):
            node.parent = None
            node.ghost = found.stat
            self._tree.close_directory(node)
        self._tree.nodes.drop_if_unused(node)

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory: out of sight by one rename, then taken apart.

        Raises:
            OSError: ENOENT, ENOTDIR, ENOTEMPTY and the lower errors.
        """
        self._ctx.require_writable()
        found = self._tree.find(parent, name)
        if found is None:
            raise _error(ENOENT)
        if not stat_module.S_ISDIR(found.stat.st_mode):
            raise _error(ENOTDIR)
        temporary = self._hide_empty_directory(parent, found)
        dirfd = self._tree.dirfd(parent)
        self._gone(parent, found)
        self._discard_directory(dirfd, temporary)

    def _hide_empty_directory(self, parent: Node, found: Found) -> bytes:
        """Rename a directory that holds nothing of ours or others' to a temporary name; return that."""
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        inside = store.open_directory(dirfd, found.lower_name)
        try:
            names = self._list_directory(dirfd, found, inside)
        finally:
            store.close(inside)
        if any(name != RECORD_NAME and not name.startswith(TEMP_PREFIX) for name in names):
            raise _error(ENOTEMPTY)
        temporary = temporary_name()
        store.rename(dirfd, found.lower_name, dirfd, temporary)
        return temporary

    def _list_directory(self, dirfd: int, found: Found, inside: int) -> list[bytes]:
        """List a directory that its owner may have made unreadable."""
        store = self._ctx.store
        try:
            return store.list(inside)
        except PermissionError:
            store.chmod(dirfd, found.lower_name, stat_module.S_IMODE(found.stat.st_mode) | 0o700)
            return store.list(inside)

    def _discard_directory(self, dirfd: int, temporary: bytes) -> None:
        """Take apart a directory that has no name any more. What cannot be removed waits for recovery."""
        store = self._ctx.store
        try:
            inside = store.open_directory(dirfd, temporary)
        except OSError:
            return
        try:
            store.chmod(dirfd, temporary, 0o700)
            for name in store.list(inside):
                if name.startswith(TEMP_PREFIX):
                    self.discard_temporary(inside, name)
                else:
                    store.unlink(inside, name)
            store.rmdir(dirfd, temporary)
        except OSError as exc:
            self._ctx.integrity_event("leftover", 0, f"a removed directory stays below until recovery: errno {exc.errno}")
        finally:
            store.close(inside)

    def discard_temporary(self, dirfd: int, name: bytes) -> None:
        try:
            self._ctx.store.unlink(dirfd, name)
        except IsADirectoryError:
            self._discard_directory(dirfd, name)

    # -- renaming -------------------------------------------------------------------------------------

    def rename(self, parent: Node, name: bytes, to_parent: Node, to_name: bytes, *, no_replace: bool = False) -> None:
        """Rename, replacing what is there; the object's own record names the new place before it moves.

        Raises:
            OSError: as rename(2).
        """
        self._ctx.require_writable()
        if len(to_name) > NAME_MAX:
            raise _error(ENAMETOOLONG)
        source, target = self._tree.find(parent, name), self._tree.find(to_parent, to_name)
        if source is None or to_parent.ghost is not None:
            raise _error(ENOENT)
        if target is not None and no_replace:
            raise _error(EEXIST)
        if target is not None and target.stat.st_ino == source.stat.st_ino:
            return
        self._check_kinds(source, target)
        node = self._tree.nodes.meet(source.stat.st_ino, parent, source.lower_name)
        try:
            lower = self._ctx.ring.active.names.seal(self._tree.dir_id(to_parent), to_name)
            if stat_module.S_ISLNK(source.stat.st_mode) and is_long(lower):
                self._symlink_into_file(node, parent, name, source, to_parent, to_name)
                return
            if source.lower_name.endswith(LINK_SUFFIX):
                lower = LowerName(lower + LINK_SUFFIX)
            self._rename_lower(node, parent, name, source, to_parent, to_name, lower, target)
        finally:
            self._tree.nodes.drop_if_unused(node)

    @staticmethod
    def _check_kinds(source: Found, target: Found | None) -> None:
        if target is None:
            return
        source_is_dir, target_is_dir = stat_module.S_ISDIR(source.stat.st_mode), stat_module.S_ISDIR(target.stat.st_mode)
        if target_is_dir and not source_is_dir:
            raise _error(EISDIR)
        if source_is_dir and not target_is_dir:
            raise _error(ENOTDIR)

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
        self._set_place(node, source, to_parent, to_name, was=(parent, name))
        try:
            from_fd, to_fd = self._tree.dirfds(parent, to_parent)
            if target is not None and stat_module.S_ISDIR(target.stat.st_mode):
                hidden = self._hide_empty_directory(to_parent, target)
            elif target is not None and target.lower_name != lower:
                hidden = temporary_name()
                store.rename(to_fd, target.lower_name, to_fd, hidden)
            store.rename(from_fd, source.lower_name, to_fd, lower)
        except OSError:
            if hidden is not None and target is not None:
                store.rename(self._tree.dirfd(to_parent), hidden, self._tree.dirfd(to_parent), target.lower_name)
            self._set_place(node, source, parent, name, was=(to_parent, to_name))
            raise
        node.move_place(parent, source.lower_name, to_parent, lower)
        if target is not None:
            self._gone(to_parent, target)
        if hidden is not None:
            self.discard_temporary(self._tree.dirfd(to_parent), hidden)

    def exchange(self, parent: Node, name: bytes, to_parent: Node, to_name: bytes) -> None:
        """RENAME_EXCHANGE: two names swap what they name.

        Raises:
            OSError: ENOENT; EINVAL where one is a symlink in a file and the other is not, or the lower filesystem cannot.
        """
        self._ctx.require_writable()
        first, second = self._tree.find(parent, name), self._tree.find(to_parent, to_name)
        if first is None or second is None:
            raise _error(ENOENT)
        if first.stat.st_ino == second.stat.st_ino:
            return
        if first.lower_name.endswith(LINK_SUFFIX) != second.lower_name.endswith(LINK_SUFFIX):
            raise _error(EINVAL)
        one = self._tree.nodes.meet(first.stat.st_ino, parent, first.lower_name)
        two = self._tree.nodes.meet(second.stat.st_ino, to_parent, second.lower_name)
        for found, lower in ((first, second.lower_name), (second, first.lower_name)):
            if stat_module.S_ISLNK(found.stat.st_mode) and is_long(lower):
                raise _error(EINVAL)
        self._set_place(one, first, to_parent, to_name, was=(parent, name))
        try:
            self._set_place(two, second, parent, name, was=(to_parent, to_name))
            from_fd, to_fd = self._tree.dirfds(parent, to_parent)
            self._ctx.store.exchange(from_fd, first.lower_name, to_fd, second.lower_name)
        except OSError:
            self._set_place(two, second, to_parent, to_name, was=(parent, name))
            self._set_place(one, first, parent, name, was=(to_parent, to_name))
            raise
        one.remove_place(parent, first.lower_name)
        two.remove_place(to_parent, second.lower_name)
        one.add_place(to_parent, second.lower_name)
        two.add_place(parent, first.lower_name)
        self._tree.nodes.drop_if_unused(one)
        self._tree.nodes.drop_if_unused(two)

    def _set_place(self, node: Node, found: Found, parent: Node, name: bytes, *, was: tuple[Node, bytes]) -> None:
        """Write a place into the record that an object carries, if it carries one."""
        mode = found.stat.st_mode
        if stat_module.S_ISDIR(mode):
            self._set_directory_place(node, parent, name)
        elif stat_module.S_ISREG(mode):
            self._set_file_place(node, parent, name, was)
        elif len(name) > DIRECT_NAME_MAX:
            raise _error(ENAMETOOLONG)
        elif stat_module.S_ISLNK(mode):
            self.reseal_symlink(node, parent, self._ctx.ring.active.names.seal(self._tree.dir_id(parent), name))

    def _set_file_place(self, node: Node, parent: Node, name: bytes, was: tuple[Node, bytes]) -> None:
        file = self._tree.open_file(node, writable=True)
        try:
            header = file.header
            dir_id = self._tree.dir_id(parent)
            if header.flags & HeaderFlag.MULTI and len(header.name) > DIRECT_NAME_MAX:
                held_here = header.name == was[1] and header.parent == self._tree.dir_id(was[0])
                if not held_here:
                    if len(name) > DIRECT_NAME_MAX:
                        raise _error(EMLINK)
                    return
            if header.parent != dir_id or header.name != name:
                file.set_place(dir_id, name)
        finally:
            self._tree.close_file(node)

    def _set_directory_place(self, node: Node, parent: Node, name: bytes) -> None:
        self._tree.dir_id(node)
        record = self._tree.read_record(node)
        self.write_record(node, replace(record, parent=self._tree.dir_id(parent), name=name))

    def write_record(self, node: Node, record: DirectoryRecord) -> None:
        """Overwrite the record of an existing directory with the next generation of it."""
        record = replace(record, generation=record.generation + 1, session=self._ctx.session)
        store, sealed = self._ctx.store, frames.seal_directory(self._ctx.ring, record)
        try:
            fd = store.open_writable(self._tree.dirfd(node), RECORD_NAME)
        except PermissionError:
            fd = self._open_record_anyway(node)
        try:
            store.pwrite(fd, sealed, 0)
        finally:
            store.close(fd)

    def _open_record_anyway(self, node: Node) -> int:
        """An owner may have taken his own search permission away; the rename is still his right."""
        if node.parent is None:
            raise _error(ENOENT)
        store, dirfd = self._ctx.store, self._tree.dirfd(node.parent)
        mode = stat_module.S_IMODE(store.stat(dirfd, node.lower_name).st_mode)
        store.chmod(dirfd, node.lower_name, mode | 0o700)
        try:
            return store.open_writable(self._tree.dirfd(node), RECORD_NAME)
        finally:
            store.chmod(dirfd, node.lower_name, mode)

    def reseal_symlink(self, node: Node, parent: Node, lower_name: LowerName, *, multi: bool = False) -> None:
        """Replace a lower symlink, where it is, by one sealed for the place (parent, lower_name)."""
        if node.parent is None:
            raise _error(ENOENT)
        store, ring = self._ctx.store, self._ctx.ring
        here = self._tree.dirfd(node.parent)
        opened = symlinks.open_target(ring, store.readlink(here, node.lower_name))
        if opened.multi:
            return
        dir_id = self._tree.dir_id(parent)
        name = ring.active.names.open(dir_id, lower_name)
        if name is None:
            raise _error(ENAMETOOLONG)
        sealed = symlinks.seal_target(ring, dir_id=dir_id, name=name, target=opened.target, multi=multi)
        here = self._tree.dirfd(node.parent)
        old = store.stat(here, node.lower_name)
        temporary = temporary_name()
        store.symlink(sealed, here, temporary)
        try:
            if self._is_root:
                store.chown(here, temporary, old.st_uid, old.st_gid)
            store.utime(here, temporary, (old.st_atime_ns, old.st_mtime_ns))
            fresh = store.stat(here, temporary)
            store.rename(here, temporary, here, node.lower_name)
        except OSError:
            store.unlink(here, temporary)
            raise
        self._tree.nodes.renumber(node, fresh.st_ino)

    def _symlink_into_file(
        self, node: Node, parent: Node, name: bytes, source: Found, to_parent: Node, to_name: bytes
    ) -> None:
        """A lower symlink gets a name too long for it: it becomes a symlink in a file (FORMAT.md section 9.4)."""
        target = self._tree.read_link(node)
        existing = self._tree.find(to_parent, to_name)
        if existing is not None:
            self.unlink(to_parent, to_name)
        made, _ = self.symlink(to_parent, to_name, target, Caller(source.stat.st_uid, source.stat.st_gid))
        self._ctx.store.unlink(self._tree.dirfd(parent), source.lower_name)
        lower_name = made.lower_name
        node.remove_place(parent, source.lower_name)
        node.add_place(to_parent, lower_name)
        self._tree.nodes.renumber(node, self._tree.stat(made).st_ino)
