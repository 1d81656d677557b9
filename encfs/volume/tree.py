"""The plain tree of an open volume, for reading: what :mod:`~encfs.volume.lookup` finds, opened.

Owns: which files are open, the check that files and symlinks are where their own record says (FORMAT.md sections 9.1
and 9.4). Must not know: FUSE, who asks, how names are changed (``changes.py``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from errno import EIO, ENOENT, ESTALE

from encfs.core import symlinks
from encfs.errors import DataError, FormatError, PlaceError, RollbackError
from encfs.format.frame import FrameKind
from encfs.format.header import HeaderFlag
from encfs.format.limits import LINK_SUFFIX
from encfs.units import DirId, LowerName
from encfs.volume.context import Context
from encfs.volume.deletions import Deletions
from encfs.volume.file import OpenFile
from encfs.volume.lookup import Found, Lookup, is_long
from encfs.volume.moves import Moves
from encfs.volume.node import Node

__all__ = ["Found", "Tree", "is_long"]


class Tree(Lookup):
    """Finds and opens. One thread at a time.

    Attributes:
        moves: renamed files whose header is still to name their place.
        deletions: removed files of which the host's memory is still to be told.
    """

    def __init__(self, ctx: Context, root_fd: int, root_dir_id: DirId) -> None:
        super().__init__(ctx, root_fd, root_dir_id)
        self.moves = Moves(self)
        self.nodes.finish_move = self.moves.finish
        self.deletions = Deletions(ctx)
        ctx.tell_deletions = self.deletions.tell

    def open_file(self, node: Node, *, writable: bool) -> OpenFile:
        """The open file of a node, opened now if nobody has it open. Does not count a handle.

        Raises:
            DataError: header, size or place are wrong.
            OSError: the lower file cannot be opened that way.
        """
        file = node.file
        if file is None:
            file = self._load(node, writable=writable)
            node.file = file
            if node.owed is not None and file.writable:
                self.take_place(node)
        elif writable and not file.writable:
            fd = self._reopen_writable(node)
            # In place of the old one, which a thread may be reading from.
            os.dup2(fd, file.fd, inheritable=False)
            self.ctx.store.close(fd)
            file.writable = True
            if node.owed is not None:
                self.take_place(node)
        return file

    def take_place(self, node: Node) -> None:
        """Let the header of an open, writable file name the place where the file is; settling writes it.

        Raises:
            OSError: the header of a damaged file, which is never settled, could not be written.
        """
        file, parent = node.file, node.parent
        if file is None or parent is None:
            raise AssertionError("internal error: a file without a place takes its place")
        dir_id = self.dir_id(parent)
        name = self.ctx.ring.metadata.names.open(dir_id, node.lower_name)
        if name is None:
            raise AssertionError("internal error: the header of a long name was not written before the rename")
        file.move(dir_id, name)
        node.owed = None

    def _reopen_writable(self, node: Node) -> int:
        self.ctx.require_writable()
        if node.parent is None and node.file is not None:
            return self.ctx.store.reopen(node.file.fd, os.O_RDWR)
        return self._open_lower(node, writable=True)[0]

    def _load(self, node: Node, *, writable: bool) -> OpenFile:
        self.stat(node)
        fd, can_write = self._open_lower(node, writable=writable)
        try:
            file = OpenFile.load(self.ctx, fd, node.lower_inode, writable=can_write)
            self.check_file_place(node, file)
        except DataError as exc:
            self.ctx.store.close(fd)
            what = "rollback" if isinstance(exc, RollbackError) else "file"
            self.ctx.integrity_event(what, node.lower_inode, str(exc))
            raise
        except BaseException:
            self.ctx.store.close(fd)
            raise
        if not self.ctx.tolerant:
            file.found_in_place()
        return file

    def _open_lower(self, node: Node, *, writable: bool) -> tuple[int, bool]:
        """Open for reading and writing even for a reader where that is allowed: a later writer shares it."""
        if node.parent is None:
            return self._open_held(node, writable=writable)
        dirfd, store = self.dirfd(node.parent), self.ctx.store
        if writable:
            self.ctx.require_writable()
            return store.open_writable(dirfd, node.lower_name), True
        if not self.ctx.read_only:
            try:
                return store.open(dirfd, node.lower_name, os.O_RDWR), True
            except PermissionError:
                pass
        try:
            return store.open(dirfd, node.lower_name, os.O_RDONLY), False
        except PermissionError:
            if self.ctx.read_only:
                raise
            return store.open_writable(dirfd, node.lower_name), True

    def _open_held(self, node: Node, *, writable: bool) -> tuple[int, bool]:
        """Open a file that lost its name between a program's look-up and its open, or is opened through /proc."""
        held = self.directories.held(node)
        if held is None:
            raise OSError(ESTALE, os.strerror(ESTALE))
        if writable:
            self.ctx.require_writable()
        if not self.ctx.read_only:
            try:
                return self.ctx.store.reopen(held, os.O_RDWR), True
            except PermissionError:
                if writable:
                    raise
        return self.ctx.store.reopen(held, os.O_RDONLY), False

    def check_file_place(self, node: Node, file: OpenFile) -> None:
        """Raises: PlaceError, FormatError."""
        header = file.header
        if (header.kind is FrameKind.SYMLINK) is not node.in_file:
            raise FormatError("a file under the name of a symlink, or the reverse")
        if header.flags & HeaderFlag.MULTI or self.ctx.tolerant or node.parent is None:
            return
        if node.owed is not None:
            if (header.parent, header.name) != node.owed:
                raise PlaceError("file was not where its header says when it was renamed")
            return
        parent = self.dir_id(node.parent)
        lower = node.lower_name.removesuffix(LINK_SUFFIX)
        if header.parent != parent or self.ctx.ring.metadata.names.seal(parent, header.name) != lower:
            raise PlaceError("file is not where its header says")

    def release_file(self, node: Node) -> None:
        """One handle less; the last one settles and closes the file."""
        file = node.file
        if file is None:
            return
        file.handles -= 1
        if file.handles <= 0:
            self.close_file(node)

    def open_nodes(self) -> Sequence[Node]:
        """Nodes whose file is open now."""
        return [node for node in self.nodes if node.file is not None]

    def close_file(self, node: Node, *, last: bool = False) -> None:
        """Settle and close the file of a node now, if no handle is left.

        A file that cannot be settled stays open, because its true size is known only here: the next close tries
        again, and at the latest that of the volume (``last``).

        Raises:
            OSError: it could not be settled.
        """
        file = node.file
        if file is None or file.handles > 0:
            return
        done = last
        try:
            if node.ghost is None:
                file.settle()
            done = True
        except OSError:
            done = self._take_back(node, file) or last
            raise
        finally:
            if done:
                node.file = None
                file.close(discard=True)
                self.nodes.drop_if_unused(node)

    def _take_back(self, node: Node, file: OpenFile) -> bool:
        """Remove a lower file if not even its first header found room: it never came to be."""
        if file.header_stored or node.parent is None:
            return False
        stat = self.ctx.store.fstat(file.fd)
        self.ctx.store.unlink(self.dirfd(node.parent), node.lower_name)
        node.remove_place(node.parent, node.lower_name)
        node.ghost = stat
        return True

    def read_link(self, node: Node) -> bytes:
        """The target of a symlink.

        Raises:
            DataError: it does not authenticate, or was moved below.
        """
        if node.in_file:
            return self._read_link_file(node)
        if node.parent is None:
            raise OSError(ENOENT, os.strerror(ENOENT))
        lower = self.ctx.store.readlink(self.dirfd(node.parent), node.lower_name)
        try:
            opened = symlinks.open_target(self.ctx.ring, lower)
            if not opened.multi and not self.ctx.tolerant and opened.place != self.place(node.parent, node.lower_name):
                raise PlaceError("symlink is not where its target says")
        except DataError as exc:
            self.ctx.integrity_event("symlink", node.inode, str(exc))
            raise
        return opened.target

    def place(self, parent: Node, lower_name: LowerName) -> bytes:
        """The place tag of a short-named entry (FORMAT.md section 9.4)."""
        names = self.ctx.ring.metadata.names
        dir_id = self.dir_id(parent)
        name = names.open(dir_id, lower_name)
        if name is None:
            raise OSError(EIO, "internal error: a lower symlink has a long name")
        return names.place(dir_id, name)

    def _read_link_file(self, node: Node) -> bytes:
        file = self.open_file(node, writable=False)
        try:
            if not file.size:
                raise FormatError("symlink without a target")
            return bytes(file.read(0, file.size))
        finally:
            self.close_file(node)
