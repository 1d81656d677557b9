"""Writing an object's place into the record it carries (FORMAT.md sections 8, 9.1 and 9.4).

Owns: the place in file headers, directory records and symlink targets, and the MULTI flag that lifts it. Must not know:
when a rename happens; it is told the new place before the object moves (section 11).
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EMLINK, ENAMETOOLONG, ENOENT

from encfs.core import frames, symlinks
from encfs.crypto import rng
from encfs.format.directory import DirectoryRecord
from encfs.format.header import HeaderFlag
from encfs.format.limits import DIRECT_NAME_MAX, FRAME_SIZE, TEMP_PREFIX
from encfs.units import LowerName
from encfs.volume.attributes import AttributeStore
from encfs.volume.context import Context
from encfs.volume.node import Node
from encfs.volume.tree import Found, Tree, is_long


def error(code: int) -> OSError:
    """An ``OSError`` with the usual text."""
    return OSError(code, os.strerror(code))


def temporary_name() -> bytes:
    """A fresh ``cloakfs.t.…`` name (FORMAT.md section 2)."""
    return TEMP_PREFIX + rng.random_bytes(8).hex().encode()


def runs_as_root() -> bool:
    """Whether this process may give files to other users. Windows, where the library only reads, has no such thing."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


class Places:
    """The part of :class:`~encfs.volume.changes.Changes` that keeps records true to places."""

    def __init__(self, tree: Tree, attributes: AttributeStore) -> None:
        self._tree = tree
        self._ctx: Context = tree.ctx
        self._attributes = attributes
        self._is_root = runs_as_root()

    @contextmanager
    def held_open(self, node: Node, found: Found) -> Iterator[None]:
        """Keep a regular file open while it moves.

        Its header names the new place before it is there. If it cannot be moved the header gets the old place back,
        and meanwhile no check would let anybody open it.
        """
        if not stat_module.S_ISREG(found.stat.st_mode):
            yield
            return
        file = self._tree.open_file(node, writable=True)
        file.handles += 1
        try:
            yield
        finally:
            self._tree.release_file(node)

    def set_place(self, node: Node, found: Found, parent: Node, name: bytes, *, was: tuple[Node, bytes]) -> None:
        """Write a place into the record that an object carries, if it carries one."""
        mode = found.stat.st_mode
        if stat_module.S_ISDIR(mode):
            self._set_directory_place(node, parent, name)
        elif stat_module.S_ISREG(mode):
            self._set_file_place(node, found.stat.st_nlink, parent, name, was)
        elif len(name) > DIRECT_NAME_MAX:
            raise error(ENAMETOOLONG)
        elif stat_module.S_ISLNK(mode):
            self.reseal_symlink(node, parent, self._ctx.ring.metadata.names.seal(self._tree.dir_id(parent), name))

    def _set_file_place(self, node: Node, links: int, parent: Node, name: bytes, was: tuple[Node, bytes]) -> None:
        file = self._tree.open_file(node, writable=True)
        try:
            header, flags = file.header, file.header.flags
            if links == 1:
                flags &= ~HeaderFlag.MULTI  # The other links are gone: the last one has a place again.
            dir_id = self._tree.dir_id(parent)
            if flags & HeaderFlag.MULTI and len(header.name) > DIRECT_NAME_MAX:
                held_here = header.name == was[1] and header.parent == self._tree.dir_id(was[0])
                if not held_here:
                    if len(name) > DIRECT_NAME_MAX:
                        raise error(EMLINK)
                    return
            if header.parent != dir_id or header.name != name or header.flags != flags:
                file.set_place(dir_id, name, flags=flags)
        finally:
            self._tree.close_file(node)

    def _set_directory_place(self, node: Node, parent: Node, name: bytes) -> None:
        self._tree.dir_id(node)
        record = self._tree.read_record(node)
        try:
            self.write_record(node, replace(record, parent=self._tree.dir_id(parent), name=name))
        except OSError:
            self._put_record_back(node, record)
            raise

    def _put_record_back(self, node: Node, record: DirectoryRecord) -> None:
        """After a place could not be written, or not for certain: the directory is where it was."""
        try:
            self.write_record(node, replace(record, generation=record.generation + 1))
        except OSError:
            self._ctx.integrity_event("undo-failed", node.inode, "the directory's record may name another place")

    def write_record(self, node: Node, record: DirectoryRecord) -> None:
        """Overwrite the record of an existing directory with the next generation of it."""
        record = replace(
            record,
            epoch=self._ctx.ring.active.epoch,
            generation=record.generation + 1,
            session=self._ctx.session,
        )
        store, sealed = self._ctx.store, frames.seal_directory(self._ctx.ring, record)
        fd = self._tree.open_record(node, writable=True)
        try:
            store.pwrite(fd, sealed, 0)
            if len(record.name) > DIRECT_NAME_MAX:
                store.write_out(fd, FRAME_SIZE)  # Nothing else has the text of the name.
        finally:
            store.close(fd)

    def mark_multi(self, node: Node, links: int, parent: Node, name: bytes) -> None:
        """Set MULTI before another link is there; the header names the long name if there is one."""
        file = self._tree.open_file(node, writable=True)
        try:
            header = file.header
            if len(name) > DIRECT_NAME_MAX:
                gone = links == 1 and not is_long(node.lower_name)  # The link that the header names may be.
                if len(header.name) > DIRECT_NAME_MAX and not gone:
                    raise error(EMLINK)
                file.set_place(self._tree.dir_id(parent), name, flags=header.flags | HeaderFlag.MULTI)
            elif not header.flags & HeaderFlag.MULTI:
                file.set_place(header.parent, header.name, flags=header.flags | HeaderFlag.MULTI)
        finally:
            self._tree.close_file(node)

    def reseal_symlink(self, node: Node, parent: Node, lower_name: LowerName, *, multi: bool = False) -> None:
        """Replace a lower symlink, where it is, by one sealed for the place (parent, lower_name)."""
        if node.parent is None:
            raise error(ENOENT)
        store, ring = self._ctx.store, self._ctx.ring
        here = self._tree.dirfd(node.parent)
        opened = symlinks.open_target(ring, store.readlink(here, node.lower_name))
        if opened.multi:
            return
        dir_id = self._tree.dir_id(parent)
        name = ring.metadata.names.open(dir_id, lower_name)
        if name is None:
            raise error(ENAMETOOLONG)
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
