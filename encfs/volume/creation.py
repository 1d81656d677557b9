"""Making things: files, directories, symlinks, nodes, hard links.

Owns: the order of lower operations that makes each creation atomic, and who owns a new object. Must not know: FUSE;
permission checks are the kernel's.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable
from dataclasses import dataclass
from errno import EEXIST, EIO, EMLINK, ENAMETOOLONG, ENOENT, ENOSYS, EOPNOTSUPP, EPERM
from functools import partial

from encfs.core import frames, symlinks
from encfs.crypto import rng
from encfs.format.directory import DirectoryRecord
from encfs.format.frame import FrameKind
from encfs.format.header import FileHeader, HeaderFlag
from encfs.format.limits import (
    DIRECT_NAME_MAX,
    FRAME_SIZE,
    LINK_SUFFIX,
    LOWER_TARGET_MAX,
    NAME_MAX,
    RECORD_NAME,
    SYMLINK_TARGET_MAX,
)
from encfs.units import DirId, FileId, LowerName
from encfs.volume import acl
from encfs.volume.file import OpenFile
from encfs.volume.node import NO_ATTRIBUTES, Attributes, Node
from encfs.volume.places import error, temporary_name
from encfs.volume.removal import Removal
from encfs.volume.tree import is_long


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


class Creation(Removal):
    """The part of :class:`~encfs.volume.changes.Changes` that makes things."""

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
                self._give(partial(store.fchown, fd), *ownership.owner)
                store.fchmod(fd, ownership.mode)
            header = self.new_header(FrameKind.FILE, self._tree.dir_id(parent), name)
            stat = store.fstat(fd)
        except BaseException:
            store.close(fd)
            store.unlink(dirfd, lower)
            raise
        node = self._tree.nodes.meet(stat.st_ino, parent, lower, fresh=True)
        node.file = OpenFile.new(self._ctx, fd, node.inode, header)
        node.file.mtime_ns = stat.st_mtime_ns if self._ctx.kernel_keeps_times else None
        node.attributes = NO_ATTRIBUTES
        if ownership.attributes:
            try:
                self._attributes.replace(node, ownership.attributes)
            except OSError:
                self.unlink(parent, name)
                self._tree.close_file(node)
                raise
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
            try:
                self._attributes.replace(node, ownership.attributes)
            except OSError:
                self.rmdir(parent, name)
                raise
        return node, stat

    def _write_new_record(
        self, dirfd: int, temporary: bytes, parent: Node, name: bytes, dir_id: DirId, ownership: _Ownership
    ) -> None:
        store = self._ctx.store
        record = DirectoryRecord(
            epoch=self._ctx.ring.active.epoch,
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
                store.write_out(fd, FRAME_SIZE)
                if ownership.owner is not None:
                    self._give(partial(store.fchown, fd), *ownership.owner)
            finally:
                store.close(fd)
        finally:
            store.close(inside)
        if ownership.owner is not None:
            self._give(partial(store.chown, dirfd, temporary), *ownership.owner)

    def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> tuple[Node, os.stat_result]:
        """Make a symlink, in a file where a lower symlink cannot hold it (FORMAT.md section 9.4)."""
        if not target:
            raise error(ENOENT)
        if len(target) > SYMLINK_TARGET_MAX:
            raise error(ENAMETOOLONG)
        lower = self._new_name(parent, name)
        stat = None
        if not is_long(lower):
            stat = self._lower_symlink(parent, name, lower, target)
        if stat is None:
            lower = LowerName(lower + LINK_SUFFIX)
            stat = self._symlink_in_file(parent, name, lower, target)
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        if self._is_root:
            try:
                self._give(partial(store.chown, dirfd, lower), caller.uid, self._group(parent, caller))
                stat = store.stat(dirfd, lower)
            except OSError:
                store.unlink(dirfd, lower)
                raise
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
            if exc.errno in (EPERM, EOPNOTSUPP, ENOSYS, ENAMETOOLONG):
                return None
            raise
        return self._stat_of_new(dirfd, lower)

    def _stat_of_new(self, dirfd: int, lower: LowerName) -> os.stat_result:
        """What stat says of an entry that was just made; it goes again if that cannot be told."""
        try:
            return self._ctx.store.stat(dirfd, lower)
        except OSError:
            self._ctx.store.unlink(dirfd, lower)
            raise

    def _symlink_in_file(self, parent: Node, name: bytes, lower: LowerName, target: bytes) -> os.stat_result:
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        temporary = temporary_name()
        fd = store.open(dirfd, temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            file = OpenFile.new(self._ctx, fd, 0, self.new_header(FrameKind.SYMLINK, self._tree.dir_id(parent), name))
            try:
                file.write(0, target)
                file.settle()
                store.write_out(fd, self._ctx.geometry.lower_size(len(target)))
            finally:
                file.close()
            store.rename(dirfd, temporary, dirfd, lower)
        except BaseException:
            store.unlink(dirfd, temporary)
            raise
        return self._stat_of_new(dirfd, lower)

    def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> tuple[Node, os.stat_result]:
        """Make a pipe, socket, device node, or an empty regular file."""
        if stat_module.S_ISREG(mode):
            node, stat = self.create(parent, name, mode, caller)
            self._tree.close_file(node)
            return node, stat
        if len(name) > DIRECT_NAME_MAX:
            raise error(ENAMETOOLONG)
        lower = self._new_name(parent, name)
        ownership = self._ownership(parent, mode, caller)
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        try:
            store.mknod(dirfd, lower, stat_module.S_IFMT(mode) | (0 if ownership.owner else ownership.mode), rdev)
        except OSError as exc:
            if exc.errno == EIO:
                self._clear_odd_node(dirfd, lower)
            raise
        try:
            if ownership.owner is not None:
                self._give(partial(store.chown, dirfd, lower), *ownership.owner)
                store.chmod(dirfd, lower, ownership.mode)
            stat = store.stat(dirfd, lower)
        except OSError:
            store.unlink(dirfd, lower)
            raise
        return self._tree.nodes.meet(stat.st_ino, parent, lower, fresh=True), stat

    def _clear_odd_node(self, dirfd: int, lower: LowerName) -> None:
        """Some filesystems (exfat-fuse) make a file in place of a pipe or device, and the kernel then says EIO.

        Raises:
            OSError: EPERM, as filesystems say that know nothing but files.
        """
        try:
            made = self._ctx.store.stat(dirfd, lower)
        except OSError:
            return
        if stat_module.S_ISREG(made.st_mode) and made.st_size == 0:
            self._ctx.store.unlink(dirfd, lower)
            raise error(EPERM)

    @staticmethod
    def _give(chown: Callable[[int, int], None], uid: int, gid: int) -> None:
        """Give a new object to who asked for it. Root may, but where the lower filesystem has no owners."""
        try:
            chown(uid, gid)
        except PermissionError:
            return

    def link(self, node: Node, parent: Node, name: bytes) -> os.stat_result:
        """Another name for a file, symlink, pipe, socket or device node.

        Raises:
            OSError: EMLINK for a second long name (FORMAT.md section 9.1), EPERM for a directory.
        """
        if node.parent is None:
            raise error(ENOENT)
        lower = self._new_name(parent, name)
        store = self._ctx.store
        stat = self._tree.stat(node)
        if stat_module.S_ISDIR(stat.st_mode):
            raise error(EPERM)
        if stat_module.S_ISREG(stat.st_mode):
            if node.in_file:
                lower = LowerName(lower + LINK_SUFFIX)
            self.mark_multi(node, stat.st_nlink, parent, name)
        elif is_long(lower):
            raise error(EMLINK)
        elif stat_module.S_ISLNK(stat.st_mode):
            self.reseal_symlink(node, node.parent, node.lower_name, multi=True)
        source, target = self._tree.directories.pair(node.parent, parent)
        store.link(source, node.lower_name, target, lower)
        stat = store.stat(target, lower)
        self._tree.nodes.meet(stat.st_ino, parent, lower)
        self._ctx.moved(node)
        return self._tree.stat(node)

    def _new_name(self, parent: Node, name: bytes) -> LowerName:
        """The lower name for a new entry.

        Raises:
            OSError: EEXIST, ENAMETOOLONG; ENOENT if the directory was removed.
        """
        self._ctx.require_writable()
        if len(name) > NAME_MAX:
            raise error(ENAMETOOLONG)
        if parent.ghost is not None:
            raise error(ENOENT)
        if not self._tree.is_known_absent(parent, name) and self._tree.find(parent, name) is not None:
            raise error(EEXIST)
        return self._ctx.ring.metadata.names.seal(self._tree.dir_id(parent), name)

    def new_header(self, kind: FrameKind, parent: DirId, name: bytes) -> FileHeader:
        random = rng.random_bytes(64)
        return FileHeader(
            kind=kind,
            log2_cell=self._ctx.geometry.C.bit_length() - 1,
            epoch=self._ctx.ring.active.epoch,
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
