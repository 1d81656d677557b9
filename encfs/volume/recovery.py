"""Putting right what a crash can leave (FORMAT.md section 11), once, when the volume is unlocked again.

Owns: the walk over the volume after a session that never ended, and each repair in the table of section 11.
Must not know: FUSE, terminals. What the table does not name is left as it is: it is evidence, and strict
rules meet it when somebody reads it.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from encfs.core import symlinks
from encfs.crypto import rng
from encfs.errors import DataError, SizeError
from encfs.format.directory import DirectoryRecord
from encfs.format.frame import FrameKind
from encfs.format.header import HeaderFlag
from encfs.format.limits import DIRECT_NAME_MAX, FRAME_SIZE, LINK_SUFFIX, RECORD_NAME, TEMP_PREFIX, XATTR_NAME
from encfs.store.base import Where
from encfs.units import DirId, LowerName
from encfs.volume.attributes import NO_STORE
from encfs.volume.changes import Changes
from encfs.volume.context import Context, logger
from encfs.volume.file import OpenFile
from encfs.volume.node import Node
from encfs.volume.rebuild import ask_children
from encfs.volume.tree import Tree, is_long

# What a medium writes whole or not at all (FORMAT.md section 11): a header never written has no cell beside it.
_ATOMIC_SIZE = 4096


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery did.

    Attributes:
        objects: how many files, directories and symlinks were looked at.
        repaired: counts by kind of repair: ``created``, ``size``, ``place``, ``record``, ``temporary``.
        failed: objects that even the crash rule does not explain; they stay as they are.
    """

    objects: int
    repaired: dict[str, int]
    failed: int

    @property
    def total(self) -> int:
        """How many repairs."""
        return sum(self.repaired.values())


@dataclass(frozen=True, slots=True)
class _Stranded:
    """Something under the MAC of a long name, whose record names another place (``parent``, ``name``)."""

    node: Node
    parent: DirId
    name: bytes = field(repr=False)
    is_directory: bool


class Recovery:
    """One recovery pass. The context is tolerant while it runs."""

    def __init__(self, ctx: Context, tree: Tree, changes: Changes) -> None:
        self._ctx = ctx
        self._tree = tree
        self._changes = changes
        self._repaired: Counter[str] = Counter()
        self._objects = 0
        self._failed = 0
        self._known: dict[DirId, Node] = {}
        self._stranded: list[_Stranded] = []
        self._long_names: dict[tuple[DirId, LowerName], bytes] = {}

    def run(self, progress: Callable[[str, int], None] | None = None) -> RecoveryReport:
        """Walk the whole volume. ``progress`` gets ("recovering", objects so far) now and then."""
        pending = [self._tree.root]
        while pending:
            while pending:
                node = pending.pop()
                try:
                    pending.extend(self._directory(node))
                except (DataError, OSError) as exc:
                    self._fail(node, exc)
                if progress is not None:
                    progress("recovering", self._objects)
            pending = self._bring_home()
        report = RecoveryReport(self._objects, dict(self._repaired), self._failed)
        logger.warning(
            "recovered after a crash: %d objects, %d repairs %s", report.objects, report.total, report.repaired
        )
        return report

    def _fail(self, node: Node, exc: Exception) -> None:
        self._failed += 1
        what = f"errno {exc.errno}" if isinstance(exc, OSError) else str(exc)
        self._ctx.integrity_event("recovery", node.inode, what)

    def _directory(self, node: Node) -> list[Node]:
        """Repair a directory and what is in it; its subdirectories are returned."""
        store = self._ctx.store
        if not self._repair_record(node):
            return []
        subdirectories = []
        for name in store.list(self._tree.dirfd(node)):
            if name.startswith(TEMP_PREFIX):
                self._changes.discard_temporary(self._tree.dirfd(node), name)
                self._repaired["temporary"] += 1
        for lower in self._tree.entries(node):
            self._objects += 1
            stat = store.stat(self._tree.dirfd(node), lower)
            child = Node(stat.st_ino, node, lower)
            if child.in_file and not stat_module.S_ISREG(stat.st_mode):
                continue  # Foreign: only a file can be a symlink in a file. No place would ever be right for it.
            try:
                if stat_module.S_ISDIR(stat.st_mode):
                    subdirectories.append(child)
                elif stat_module.S_ISREG(stat.st_mode):
                    self._file(node, child, stat)
                elif stat_module.S_ISLNK(stat.st_mode):
                    self._symlink(node, child)
            except (DataError, OSError) as exc:
                self._fail(child, exc)
        return subdirectories

    # -- directories ----------------------------------------------------------------------------------------

    def _repair_record(self, node: Node) -> bool:
        """Make the record of a directory right; false if its place has to wait for :meth:`_bring_home`."""
        try:
            record = self._tree.read_record(node)
        except DataError:
            if node is self._tree.root:
                raise
            record = self._rebuild(node)
            self._repaired["record"] += 1
        if node is not self._tree.root and node.parent is not None:
            fixed = self._repair_directory_place(node, node.parent, record)
            if fixed is None:
                self._strand(node, record.parent, record.name, is_directory=True)
                return False
            record = fixed
        node.dir_id = record.dir_id
        self._known[record.dir_id] = node
        return True

    def _repair_directory_place(self, node: Node, parent: Node, record: DirectoryRecord) -> DirectoryRecord | None:
        parent_id = self._tree.dir_id(parent)
        names = self._ctx.ring.metadata.names
        if record.parent == parent_id and names.seal(parent_id, record.name) == node.lower_name:
            return record
        name = names.open(parent_id, node.lower_name)
        if name is None:  # A long name is only in the record, and the record names another place.
            return None
        self._remember(record.parent, record.name)
        record = replace(record, parent=parent_id, name=name)
        self._changes.write_record(node, record)
        self._repaired["place"] += 1
        return record

    def _remember(self, parent: DirId, name: bytes) -> None:
        """A record names a place where its object is not.

        In an interrupted exchange it was on the way there, and knows the long name of what is there still.
        """
        if len(name) > DIRECT_NAME_MAX:
            self._long_names[parent, self._ctx.ring.metadata.names.seal(parent, name)] = name

    def _strand(self, node: Node, parent: DirId, name: bytes, *, is_directory: bool) -> None:
        self._remember(parent, name)
        self._stranded.append(_Stranded(node, parent, name, is_directory))

    def _bring_home(self) -> list[Node]:
        """Finish interrupted renames of things with long names; directories among them are walked next.

        Their records name the place they were on the way to. Where that is taken or gone, and no other record knows
        the text of the long name, they get a name that says so, in the directory where they are.
        """
        stranded, self._stranded = self._stranded, []
        directories = []
        for item in stranded:
            try:
                self._bring_one_home(item)
            except (DataError, OSError) as exc:
                self._fail(item.node, exc)
                continue
            self._repaired["place"] += 1
            if item.is_directory:
                directories.append(item.node)
        return directories

    def _bring_one_home(self, item: _Stranded) -> None:
        node, store = item.node, self._ctx.store
        assert node.parent is not None
        base = LowerName(node.lower_name.removesuffix(LINK_SUFFIX))
        known = self._long_names.get((self._tree.dir_id(node.parent), base))
        if known is not None:
            self._write_place(item, node.parent, known)
            return
        target, name = self._known.get(item.parent), item.name
        if target is None or self._tree.find(target, name) is not None:
            target = node.parent
            name = b"recovered-" + rng.random_bytes(8).hex().encode()
            self._write_place(item, target, name)
        lower = self._ctx.ring.metadata.names.seal(self._tree.dir_id(target), name)
        if node.in_file:
            lower = LowerName(lower + LINK_SUFFIX)
        source_fd, target_fd = self._tree.directories.pair(node.parent, target)
        store.rename(source_fd, node.lower_name, target_fd, lower)
        self._tree.directories.forget(node)
        node.parent, node.lower_name = target, lower

    def _write_place(self, item: _Stranded, parent: Node, name: bytes) -> None:
        parent_id = self._tree.dir_id(parent)
        if item.is_directory:
            record = self._tree.read_record(item.node)
            self._changes.write_record(item.node, replace(record, parent=parent_id, name=name))
            return
        fd = self._ctx.store.open_writable(self._tree.dirfd(parent), item.node.lower_name)
        try:
            OpenFile.load(self._ctx, fd, item.node.inode, writable=True).set_place(parent_id, name)
        finally:
            self._ctx.store.close(fd)

    def _rebuild(self, node: Node) -> DirectoryRecord:
        """A new record from what the children say of their parent, or with a fresh id if there are none."""
        parent = node.parent
        assert parent is not None
        parent_id = self._tree.dir_id(parent)
        name = self._ctx.ring.metadata.names.open(parent_id, node.lower_name)
        if name is None:
            raise SizeError("the long name of a directory is lost")
        record = DirectoryRecord(
            epoch=self._ctx.ring.active.epoch,
            dir_id=self._dir_id_from_children(node),
            parent=parent_id,
            generation=0,
            session=self._ctx.session,
            name=name,
        )
        store = self._ctx.store
        fd = store.open(self._tree.dirfd(node), RECORD_NAME, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            store.truncate(fd, FRAME_SIZE)
            owner = store.fstat(self._tree.dirfd(node))
            if os.geteuid() == 0:
                store.fchown(fd, owner.st_uid, owner.st_gid)
        finally:
            store.close(fd)
        self._changes.write_record(node, record)
        return record

    def _dir_id_from_children(self, node: Node) -> DirId:
        told = ask_children(self._tree, node)
        if told.dir_id is not None:
            return told.dir_id
        if told.unreadable:
            raise SizeError("no child of a directory without a record names its id")
        for name in told.never_finished:
            # Creates that did not even write a header: without the id of the directory not even their names are left.
            self._ctx.store.unlink(self._tree.dirfd(node), name)
            self._repaired["created"] += 1
        self._drop_attributes((self._tree.dirfd(node), b"."))
        return DirId(rng.random_bytes(16))

    # -- files and symlinks -----------------------------------------------------------------------------------

    def _file(self, parent: Node, node: Node, stat: os.stat_result) -> None:
        if stat.st_size < FRAME_SIZE:
            self._finish_create(parent, node, stat)
            return
        store = self._ctx.store
        fd = store.open(self._tree.dirfd(parent), node.lower_name, os.O_RDONLY)
        try:
            if not any(store.pread(fd, _ATOMIC_SIZE, 0)):
                self._finish_create(parent, node, stat)
                return
            file = OpenFile.load(self._ctx, fd, node.inode, writable=False)
            wrong_size, wrong_place = file.dirty, self._misplaced(parent, node, file)
            wrong_links = stat.st_nlink > 1 and not file.header.flags & HeaderFlag.MULTI
            if not (wrong_size or wrong_place or wrong_links):
                file.found_in_place()
                return
            file.fd, file.writable = store.open_writable(self._tree.dirfd(parent), node.lower_name), True
            try:
                self._repair_file(parent, node, file, wrong_size=wrong_size, wrong_links=wrong_links)
            finally:
                store.close(file.fd)
        finally:
            store.close(fd)
        logger.info("recovered: inode=%d size=%s place=%s", node.inode, wrong_size, wrong_place or wrong_links)

    def _repair_file(self, parent: Node, node: Node, file: OpenFile, *, wrong_size: bool, wrong_links: bool) -> None:
        if wrong_size:
            file.settle()
            self._repaired["size"] += 1
        if wrong_links:
            file.set_place(file.header.parent, file.header.name, flags=file.header.flags | HeaderFlag.MULTI)
            self._repaired["place"] += 1
        if self._misplaced(parent, node, file):
            self._repair_file_place(parent, node, file)

    def _misplaced(self, parent: Node, node: Node, file: OpenFile) -> bool:
        header = file.header
        parent_id = self._tree.dir_id(parent)
        lower = LowerName(node.lower_name.removesuffix(LINK_SUFFIX))
        if header.flags & HeaderFlag.MULTI and not is_long(lower):
            return False
        return header.parent != parent_id or self._ctx.ring.metadata.names.seal(parent_id, header.name) != lower

    def _repair_file_place(self, parent: Node, node: Node, file: OpenFile) -> None:
        parent_id = self._tree.dir_id(parent)
        base = LowerName(node.lower_name.removesuffix(LINK_SUFFIX))
        name = self._ctx.ring.metadata.names.open(parent_id, base)
        if name is None:
            self._strand(node, file.header.parent, file.header.name, is_directory=False)
            return
        self._remember(file.header.parent, file.header.name)
        file.set_place(parent_id, name)
        self._repaired["place"] += 1

    def _finish_create(self, parent: Node, node: Node, stat: os.stat_result) -> None:
        """A file without a header: its create was cut short, so it becomes the empty file it was to be.

        What had a long name goes, because the text of it is lost, and so does a symlink, which is never empty.
        """
        parent_id = self._tree.dir_id(parent)
        base = LowerName(node.lower_name.removesuffix(LINK_SUFFIX))
        name = None if is_long(base) else self._ctx.ring.metadata.names.open(parent_id, base)
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        if name is None or node.in_file:
            if 0 < stat.st_size < FRAME_SIZE:
                raise SizeError("no header under a long name or the name of a symlink")
            store.unlink(dirfd, node.lower_name)
            self._repaired["created"] += 1
            return
        header = self._changes.new_header(FrameKind.FILE, parent_id, name)
        if stat.st_nlink > 1:
            header = replace(header, flags=HeaderFlag.MULTI)
        fd = store.open_writable(dirfd, node.lower_name)
        file = OpenFile.new(self._ctx, fd, node.inode, header)
        try:
            if stat.st_size:
                store.truncate(fd, 0)
            self._drop_attributes((fd, None))
        finally:
            file.close()
        self._repaired["created"] += 1

    def _drop_attributes(self, where: Where) -> None:
        """Attributes are sealed under an id that is lost, and nothing has confirmed them."""
        try:
            self._ctx.store.removexattr(where, XATTR_NAME)
        except OSError as exc:
            if exc.errno not in NO_STORE:
                raise

    def _symlink(self, parent: Node, node: Node) -> None:
        lower = self._ctx.store.readlink(self._tree.dirfd(parent), node.lower_name)
        opened = symlinks.open_target(self._ctx.ring, lower)
        if opened.multi or opened.place == self._tree.place(parent, node.lower_name):
            return
        self._changes.reseal_symlink(node, parent, node.lower_name)
        self._repaired["place"] += 1
