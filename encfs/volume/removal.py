"""Removing names: unlink and rmdir.

Owns: how a directory disappears in one step although its record is in it. Must not know:
permissions, which are the kernel's.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EISDIR, ENOENT, ENOTDIR, ENOTEMPTY

from encfs.errors import DataError
from encfs.format.header import FileHeader
from encfs.format.limits import FRAME_SIZE, RECORD_NAME, TEMP_PREFIX
from encfs.volume.node import Node
from encfs.volume.places import Places, error, temporary_name
from encfs.volume.tree import Found


class Removal(Places):
    """The part of :class:`~encfs.volume.changes.Changes` that takes names away."""

    def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a name. A damaged file can always be removed.

        Raises:
            OSError: ENOENT, EISDIR and the lower errors.
        """
        self._ctx.require_writable()
        found = self._tree.find(parent, name)
        if found is None:
            raise error(ENOENT)
        if stat_module.S_ISDIR(found.stat.st_mode):
            raise error(EISDIR)
        with self.losing_name(parent, found):
            self._ctx.store.unlink(self._tree.dirfd(parent), found.lower_name)

    @contextmanager
    def losing_name(self, parent: Node, found: Found | None) -> Iterator[None]:
        """Around the lower calls that remove or replace an entry: its node, if anybody knows it, lives on without."""
        if found is None:
            yield
            return
        node = self._tree.nodes.find(found.stat.st_ino)
        doomed = self._header_to_forget(node, parent, found)
        if node is None:
            yield
            self._note_removed(None, parent, found, doomed)
            return
        kept = self._open_to_keep(node, parent, found)
        try:
            yield
        except BaseException:
            if kept is not None:
                self._ctx.store.close(kept)
            raise
        self._note_removed(node, parent, found, doomed)
        node.remove_place(parent, found.lower_name)
        if found.stat.st_nlink <= 1 or stat_module.S_ISDIR(found.stat.st_mode):
            self._make_ghost(node, found.stat)
        if kept is not None:
            if node.parent is None:
                self._tree.directories.hold(node, kept)
            else:
                self._ctx.store.close(kept)
        self._tree.nodes.drop_if_unused(node)

    def _make_ghost(self, node: Node, stat: os.stat_result) -> None:
        node.parent = None
        node.ghost = stat
        node.owed = None
        if node.file is not None:
            node.file.nameless = True
        self._tree.directories.forget(node)

    def _open_to_keep(self, node: Node, parent: Node, found: Found) -> int | None:
        if not node.lookups:
            return None
        try:
            return self._ctx.store.open_path(self._tree.dirfd(parent), found.lower_name)
        except OSError:
            return None  # It can go all the same.

    def _header_to_forget(self, node: Node | None, parent: Node, found: Found) -> FileHeader | bytes | None:
        """The header, sealed or open, of a file that is about to lose its last name, for the host's memory.

        The file is closed again before it goes: below a network or a program, one that is open would stay under
        another name.
        """
        stat, store = found.stat, self._ctx.store
        if self._ctx.freshness is None or stat.st_nlink > 1 or not stat_module.S_ISREG(stat.st_mode):
            return None
        if node is not None and node.file is not None:
            return node.file.header
        try:
            fd = store.open(self._tree.dirfd(parent), found.lower_name, os.O_RDONLY)
            try:
                return store.pread(fd, FRAME_SIZE, 0)
            finally:
                store.close(fd)
        except OSError:
            return None  # Its deletion will not be remembered.

    def _note_removed(self, node: Node | None, parent: Node, found: Found, header: FileHeader | bytes | None) -> None:
        if header is None:
            return
        try:
            here = self._tree.dir_id(parent)
        except (DataError, OSError):
            return
        if isinstance(header, bytes):
            owed = None if node is None else node.owed
            self._tree.deletions.add(header, here, found.lower_name, owed)
        else:
            self._tree.deletions.tell_of(header, here, found.lower_name)

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory: out of sight by one rename, then taken apart.

        Raises:
            OSError: ENOENT, ENOTDIR, ENOTEMPTY and the lower errors.
        """
        self._ctx.require_writable()
        found = self._tree.find(parent, name)
        if found is None:
            raise error(ENOENT)
        if not stat_module.S_ISDIR(found.stat.st_mode):
            raise error(ENOTDIR)
        with self.losing_name(parent, found):
            temporary = self._hide_empty_directory(parent, found)
        self._discard_directory(self._tree.dirfd(parent), temporary)

    def _hide_empty_directory(self, parent: Node, found: Found) -> bytes:
        """Rename a directory that holds nothing of ours or others' to a temporary name; return that."""
        store, dirfd = self._ctx.store, self._tree.dirfd(parent)
        inside = store.open_directory(dirfd, found.lower_name)
        try:
            names = self._list_directory(dirfd, found, inside)
        finally:
            store.close(inside)
        if any(name != RECORD_NAME and not name.startswith(TEMP_PREFIX) for name in names):
            raise error(ENOTEMPTY)
        temporary = temporary_name()
        store.rename(dirfd, found.lower_name, dirfd, temporary)
        return temporary

    def _list_directory(self, dirfd: int, found: Found, inside: int) -> list[bytes]:
        """List a directory that its owner may have made unreadable."""
        store = self._ctx.store
        try:
            return store.list(inside)
        except PermissionError:
            mode = stat_module.S_IMODE(found.stat.st_mode)
            store.chmod(dirfd, found.lower_name, mode | 0o700)
            try:
                return store.list(inside)
            finally:
                store.chmod(dirfd, found.lower_name, mode)

    def _discard_directory(self, dirfd: int, temporary: bytes) -> None:
        """Take apart a directory that has no name any more. What cannot be removed waits for recovery."""
        store = self._ctx.store
        try:
            inside = store.open_directory(dirfd, temporary)
        except OSError:
            return
        try:
            mode = stat_module.S_IMODE(store.stat(dirfd, temporary).st_mode)
            if mode & 0o700 != 0o700:
                store.chmod(dirfd, temporary, mode | 0o700)
            for name in store.list(inside):
                if name.startswith(TEMP_PREFIX):
                    self.discard_temporary(inside, name)
                else:
                    store.unlink(inside, name)
            store.rmdir(dirfd, temporary)
            if mode & 0o700 != 0o700:
                store.chmod(inside, b".", mode)  # Programs that are still in it see the mode they know.
        except OSError as exc:
            self._ctx.integrity_event(
                "leftover", 0, f"a removed directory stays below until recovery: errno {exc.errno}"
            )
        finally:
            store.close(inside)

    def discard_temporary(self, dirfd: int, name: bytes) -> None:
        try:
            self._ctx.store.unlink(dirfd, name)
        except IsADirectoryError:
            self._discard_directory(dirfd, name)
