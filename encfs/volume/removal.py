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
        last = found.stat.st_nlink <= 1
        kept = self._open_to_keep(node, parent, found)
        try:
            doomed = self._header_to_forget(node, found, kept) if last else None
            yield
            if doomed is not None:
                self._note_removed(node, parent, found, doomed)
            if node is not None:
                node.remove_place(parent, found.lower_name)
                if last or stat_module.S_ISDIR(found.stat.st_mode):
                    self._make_ghost(node, found.stat)
                if kept is not None and node.lookups and node.parent is None:
                    self._tree.directories.hold(node, kept)
                    kept = None
                self._tree.nodes.drop_if_unused(node)
        finally:
            if kept is not None:
                self._ctx.store.close(kept)

    def _make_ghost(self, node: Node, stat: os.stat_result) -> None:
        node.parent = None
        node.ghost = stat
        node.owed = None
        if node.file is not None:
            node.file.nameless = True
        self._tree.directories.forget(node)

    def _open_to_keep(self, node: Node | None, parent: Node, found: Found) -> int | None:
        """A descriptor of what goes: the kernel may know it still, and the host's memory wants the header of a file."""
        stat, store = found.stat, self._ctx.store
        is_known = node is not None and node.lookups > 0
        try:
            if self._is_worth_telling(stat) and (node is None or node.file is None):
                try:
                    return store.open(self._tree.dirfd(parent), found.lower_name, os.O_RDONLY)
                except PermissionError:
                    pass  # Its deletion will not be remembered.
            return store.open_path(self._tree.dirfd(parent), found.lower_name) if is_known else None
        except OSError:
            return None  # It can go all the same.

    def _is_worth_telling(self, stat: os.stat_result) -> bool:
        return self._ctx.freshness is not None and stat.st_nlink <= 1 and stat_module.S_ISREG(stat.st_mode)

    def _header_to_forget(self, node: Node | None, found: Found, kept: int | None) -> FileHeader | bytes | None:
        """The header, sealed or open, of a file that is about to lose its last name, for the host's memory."""
        if not self._is_worth_telling(found.stat):
            return None
        if node is not None and node.file is not None:
            return node.file.header
        try:
            return None if kept is None else self._ctx.store.pread(kept, FRAME_SIZE, 0)
        except OSError:
            return None  # Of a file that cannot be read, or a descriptor that only keeps it.

    def _note_removed(self, node: Node | None, parent: Node, found: Found, header: FileHeader | bytes) -> None:
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
