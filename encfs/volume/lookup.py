"""Finding things: from plain names to lower inodes, directory ids and what stat says.

Owns: the node table, the descriptors of directories, the check that directories are where their own record says
(FORMAT.md section 8). Must not know: files' contents, FUSE, who asks, how names are changed (``changes.py``).
"""

from __future__ import annotations

import os
import stat as stat_module
from dataclasses import dataclass
from errno import ESTALE, EXDEV

from encfs.core import frames, symlinks
from encfs.crypto import rng
from encfs.errors import DataError, PlaceError, SizeError
from encfs.format.directory import DirectoryRecord
from encfs.format.header import HeaderFlag
from encfs.format.limits import (
    CHECKPOINTS_NAME,
    ENCODED_NAME_MIN,
    FRAME_SIZE,
    LINK_SUFFIX,
    LONG_PREFIX,
    RECORD_NAME,
    SEALED_TARGET_OVERHEAD,
)
from encfs.units import DirId, LowerName
from encfs.volume.context import Context
from encfs.volume.directory_fds import DirectoryFds
from encfs.volume.node import Node, NodeTable

_ROOT_PARENT = DirId(bytes(16))


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up found: the lower name (with its suffix) and what stat says of it."""

    lower_name: LowerName
    stat: os.stat_result


class Lookup:
    """The part of :class:`~encfs.volume.tree.Tree` that finds things."""

    def __init__(self, ctx: Context, root_fd: int, root_dir_id: DirId) -> None:
        self.ctx = ctx
        root_stat = ctx.store.fstat(root_fd)
        self._device = root_stat.st_dev
        self.root = Node(NodeTable.ROOT, None, LowerName(b""))
        self._root_fd = root_fd
        self._root_dir_id = root_dir_id
        self.nodes = NodeTable(
            self.root,
            root_stat.st_ino,
            lasting=ctx.store.lasting_inodes,
            first_generation=int.from_bytes(rng.random_bytes(4), "big"),
        )
        self.directories = DirectoryFds(ctx.store, self.root, root_fd)
        self.dirfd = self.directories.fd
        self.nodes.on_drop = self.directories.forget
        self._hidden_directories = 1
        self.count_hidden_directories()
        self._true_sizes: dict[int, tuple[int, int, int]] = {}
        self._absent: tuple[Node, bytes] | None = None

    def count_hidden_directories(self) -> None:
        """Look how many directories of ours the root holds: the session records always, the checkpoints perhaps."""
        try:
            found = self.ctx.store.stat(self._root_fd, CHECKPOINTS_NAME)
        except OSError:
            self._hidden_directories = 1
        else:
            self._hidden_directories = 1 + stat_module.S_ISDIR(found.st_mode)

    # -- directories ------------------------------------------------------------------------------

    def open_for_sync(self, node: Node) -> int:
        """A descriptor of a directory that fsync takes; the caller closes it."""
        return self.ctx.store.open(self.dirfd(node), b".", os.O_RDONLY | os.O_DIRECTORY)

    def dir_id(self, node: Node) -> DirId:
        """The id of a directory, from its record, after checking that the record names this place.

        Raises:
            PlaceError: the directory was moved or swapped below.
            DataError: the record is missing, damaged or forged.
        """
        if node.dir_id is None:
            try:
                record = self.read_record(node)
                self.check_directory_place(node, record)
            except DataError as exc:
                self.ctx.integrity_event("directory", node.inode, str(exc))
                raise
            node.dir_id = record.dir_id
        return node.dir_id

    def read_record(self, node: Node) -> DirectoryRecord:
        """Read and open ``cloakfs.d`` of a directory.

        Raises:
            DataError: it is missing or not a record of this volume.
        """
        store = self.ctx.store
        try:
            fd = self.open_record(node, writable=False)
        except FileNotFoundError as exc:
            raise SizeError("directory record missing") from exc
        try:
            raw = store.pread(fd, FRAME_SIZE + 1, 0)
        finally:
            store.close(fd)
        if len(raw) != FRAME_SIZE:
            raise SizeError("directory record has the wrong size")
        return frames.open_directory(self.ctx.ring, raw)

    def open_record(self, node: Node, *, writable: bool) -> int:
        """A descriptor of ``cloakfs.d``; the caller closes it.

        An owner may have taken his own search permission away; to rename and remove the directory is still his right.
        """
        try:
            return self._open_record(node, writable=writable)
        except PermissionError:
            if self.ctx.read_only or node.parent is None:
                raise
        store, dirfd = self.ctx.store, self.dirfd(node.parent)
        mode = stat_module.S_IMODE(store.stat(dirfd, node.lower_name).st_mode)
        store.chmod(dirfd, node.lower_name, mode | 0o700)
        try:
            return self._open_record(node, writable=writable)
        finally:
            store.chmod(self.dirfd(node.parent), node.lower_name, mode)

    def _open_record(self, node: Node, *, writable: bool) -> int:
        if writable:
            return self.ctx.store.open_writable(self.dirfd(node), RECORD_NAME)
        return self.ctx.store.open(self.dirfd(node), RECORD_NAME, os.O_RDONLY)

    def check_directory_place(self, node: Node, record: DirectoryRecord) -> None:
        """Raises: PlaceError."""
        if node is self.root:
            if record.dir_id != self._root_dir_id or record.parent != _ROOT_PARENT or record.name:
                raise PlaceError("root directory record does not belong to this volume")
            return
        if node.parent is None or self.ctx.tolerant:
            return
        parent = self.dir_id(node.parent)
        if record.parent != parent or self.ctx.ring.metadata.names.seal(parent, record.name) != node.lower_name:
            raise PlaceError("directory is not where its record says")

    # -- names --------------------------------------------------------------------------------------

    def find(self, parent: Node, name: bytes) -> Found | None:
        """Look a plain name up in a directory, whichever form it has below."""
        lower = self.ctx.ring.metadata.names.seal(self.dir_id(parent), name)
        dirfd = self.dirfd(parent)
        for candidate in (lower, LowerName(lower + LINK_SUFFIX)):
            try:
                found = self.ctx.store.stat(dirfd, candidate)
            except FileNotFoundError:
                continue
            if candidate is not lower and not stat_module.S_ISREG(found.st_mode):
                continue  # Only a file can be a symlink in a file; this entry is foreign.
            if found.st_dev != self._device:
                raise OSError(EXDEV, "another filesystem is mounted inside the volume directory")
            if parent.children is not None:
                self.nodes.recognize(parent, candidate, found.st_ino)
            return Found(candidate, found)
        return None

    def is_known_absent(self, parent: Node, name: bytes) -> bool:
        """Whether :meth:`lookup` has just found nothing under this name, and nothing was made since.

        The kernel looks a name up before it creates it or renames to it. Whoever asks is about to make a name, so
        after that nothing is known.
        """
        known, self._absent = self._absent, None
        return known is not None and known[0] is parent and known[1] == name

    def lookup(self, parent: Node, name: bytes) -> tuple[Node, os.stat_result] | None:
        """The node of a plain name, or None. Does not count a reference."""
        found = self.find(parent, name)
        if found is None:
            self._absent = (parent, name)
            return None
        return self.meet(parent, found.lower_name, found.stat), found.stat

    def meet(self, parent: Node, lower_name: LowerName, stat: os.stat_result) -> Node:
        """The node of an entry. A second name of a known object is that object only if it says so itself (MULTI)."""
        if stat.st_nlink > 1 and not stat_module.S_ISDIR(stat.st_mode) and not self.ctx.tolerant:
            known = self.nodes.find(stat.st_ino)
            elsewhere = known is not None and known.ghost is None and not known.is_at(parent, lower_name)
            if elsewhere and not self._has_many_names(parent, lower_name, stat):
                return self.nodes.meet_apart(stat.st_ino, parent, lower_name)
        return self.nodes.meet(stat.st_ino, parent, lower_name)

    def _has_many_names(self, parent: Node, lower_name: LowerName, stat: os.stat_result) -> bool:
        """Whether a file or symlink is marked as hard-linked; true also where there is nothing that could be marked."""
        store, dirfd = self.ctx.store, self.dirfd(parent)
        known = self.nodes.find(stat.st_ino)
        try:
            if stat_module.S_ISLNK(stat.st_mode):
                return symlinks.open_target(self.ctx.ring, store.readlink(dirfd, lower_name)).multi
            if not stat_module.S_ISREG(stat.st_mode):
                return True
            if known is not None and known.file is not None:
                return bool(known.file.header.flags & HeaderFlag.MULTI)
            fd = store.open(dirfd, lower_name, os.O_RDONLY)
            try:
                header = frames.open_header(self.ctx.ring, store.pread(fd, FRAME_SIZE, 0))
            finally:
                store.close(fd)
        except (DataError, OSError):
            return True  # Whoever opens it is told why that does not go.
        return bool(header.flags & HeaderFlag.MULTI)

    def entries(self, node: Node) -> list[LowerName]:
        """Lower names of a directory that can be encrypted names; see :meth:`plain_name`."""
        self.dir_id(node)
        found = _encrypted_names(self.ctx.store.list(self.dirfd(node)))
        shown = _without_twins(found)
        if len(shown) != len(found):
            self.ctx.integrity_event("name", node.inode, "an entry stands both with and without .l")
        return shown

    def plain_name(self, parent: Node, lower_name: LowerName, stat: os.stat_result | None = None) -> bytes | None:
        """The plain name of a lower entry, or None if it is foreign or unreadable (then an event is logged)."""
        try:
            return self.read_name(parent, lower_name, stat)
        except DataError as exc:
            self.ctx.integrity_event("name", parent.inode, str(exc))
        except FileNotFoundError:
            pass  # Removed since it was listed.
        return None

    def read_name(self, parent: Node, lower_name: LowerName, stat: os.stat_result | None = None) -> bytes:
        """The plain name of a lower entry.

        Raises:
            DataError: the name does not authenticate here.
            OSError: the place of a long name cannot be read.
        """
        base = LowerName(lower_name.removesuffix(LINK_SUFFIX))
        names, dir_id = self.ctx.ring.metadata.names, self.dir_id(parent)
        name = names.open(dir_id, base)
        if name is None:
            name = self._long_name(parent, lower_name, stat)
            if names.seal(dir_id, name) != base:
                raise PlaceError("long name does not fit its entry")
        return name

    def _long_name(self, parent: Node, lower_name: LowerName, stat: os.stat_result | None) -> bytes:
        store = self.ctx.store
        dirfd = self.dirfd(parent)
        stat = stat or store.stat(dirfd, lower_name)
        known = self.nodes.find(stat.st_ino)
        if known is not None and known.file is not None:
            return known.file.header.name
        if stat_module.S_ISDIR(stat.st_mode):
            return self.read_record(Node(0, parent, lower_name)).name
        fd = store.open(dirfd, lower_name, os.O_RDONLY)
        try:
            raw = store.pread(fd, FRAME_SIZE, 0)
        finally:
            store.close(fd)
        if len(raw) != FRAME_SIZE:
            raise SizeError("shorter than a header")
        return frames.open_header(self.ctx.ring, raw).name

    # -- stat -----------------------------------------------------------------------------------------

    def stat(self, node: Node) -> os.stat_result:
        """lstat of the lower object, also of one that has no name any more.

        Raises:
            OSError: ESTALE if nothing of it is left.
        """
        if node.file is not None:
            return self.ctx.store.fstat(node.file.fd)
        if node is self.root:
            return self.ctx.store.fstat(self._root_fd)
        if node.parent is None:
            fd = self.directories.held(node)
            if fd is not None:
                return self.ctx.store.fstat(fd)
        if node.ghost is not None:
            return node.ghost
        while True:
            if node.parent is None:
                raise OSError(ESTALE, os.strerror(ESTALE))
            try:
                return self.ctx.store.stat(self.dirfd(node.parent), node.lower_name)
            except FileNotFoundError:
                if node.places is None:
                    raise
                # A directory that the kernel has forgotten was renamed since: another hard link still leads there.
                node.remove_place(node.parent, node.lower_name)

    def plain_mode(self, node: Node, stat: os.stat_result) -> int:
        """``st_mode`` as programs see it."""
        return stat_module.S_IFLNK | 0o777 if node.in_file else stat.st_mode

    def note_size(self, stat: os.stat_result, size: int) -> None:
        """A lower size lies: ``size``, from the header, counts for as long as nothing changes below."""
        self._true_sizes[stat.st_ino] = (stat.st_size, stat.st_ctime_ns, size)

    def noted_size(self, stat: os.stat_result) -> int | None:
        """What :meth:`note_size` was told of a lower file, if that holds still."""
        noted = self._true_sizes.get(stat.st_ino)
        return noted[2] if noted is not None and noted[:2] == (stat.st_size, stat.st_ctime_ns) else None

    def plain_size(self, node: Node, stat: os.stat_result) -> int:
        """``st_size`` as programs see it. Of a damaged file nobody has opened: what its lower size can hold at most."""
        if node.file is not None:
            return node.file.size
        if (noted := self.noted_size(stat)) is not None:
            return noted
        mode = stat.st_mode
        if stat_module.S_ISREG(mode):
            geometry = self.ctx.geometry
            try:
                return geometry.plain_size(stat.st_size)
            except SizeError:
                cells = stat.st_size // geometry.C
                return geometry.start_of(cells) if cells else 0
        if stat_module.S_ISLNK(mode):
            return max(0, stat.st_size * 3 // 4 - SEALED_TARGET_OVERHEAD)
        return stat.st_size

    def plain_links(self, node: Node, stat: os.stat_result) -> int:
        """``st_nlink`` as programs see it: the root does not count the folders of session records and checkpoints."""
        if node.ghost is not None and node.file is None:
            return 0
        if node is self.root and stat.st_nlink > 2:
            return max(2, stat.st_nlink - self._hidden_directories)
        return stat.st_nlink


def is_long(lower_name: LowerName) -> bool:
    """Whether an encoded name is the MAC of a long one (FORMAT.md section 7)."""
    return lower_name.startswith(LONG_PREFIX)


def _encrypted_names(names: list[bytes]) -> list[LowerName]:
    """Those lower names that can be encrypted names."""
    return [LowerName(name) for name in names if len(name) >= ENCODED_NAME_MIN and not name.startswith(b"cloakfs.")]


def _without_twins(names: list[LowerName]) -> list[LowerName]:
    """Where ``X`` and ``X.l`` are both there, ``X`` counts."""
    if not any(name.endswith(LINK_SUFFIX) for name in names):
        return names
    present = set(names)
    return [name for name in names if not name.endswith(LINK_SUFFIX) or name[: -len(LINK_SUFFIX)] not in present]
