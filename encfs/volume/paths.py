"""Using a volume by plain paths, as a library does.

Owns: walking a path with its symlinks, and the small calls on what it names. Must not know: how the
volume was unlocked.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ELOOP, ENOENT, ENOTDIR
from types import TracebackType
from typing import Self

from encfs.errors import UsageError
from encfs.volume.attributes import AttributeStore, Setattr
from encfs.volume.changes import Caller, Changes
from encfs.volume.file import OpenFile
from encfs.volume.node import Node
from encfs.volume.tree import Tree

_MAX_SYMLINKS = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """What :meth:`Volume.list_directory` and :meth:`Volume.stat` tell. ``size`` in plain bytes, times in ns."""

    name: bytes
    mode: int
    size: int
    mtime_ns: int
    uid: int
    gid: int
    links: int
    inode: int


class PathAccess:
    """The calls of :class:`~encfs.volume.volume.Volume` that take paths."""

    tree: Tree
    changes: Changes
    attributes: AttributeStore

    def resolve(self, path: bytes, *, follow: bool = True) -> Node:
        """The node at a plain path from the root. Symlinks on the way are followed inside the volume only.

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP.
            DataError: something on the way does not authenticate.
        """
        return self._walk(self.tree.root, path, follow=follow, followed=[])

    def _walk(self, start: Node, path: bytes, *, follow: bool, followed: list[Node]) -> Node:
        # The whole way counts, not its depth: forty links of two names each would be a way without end.
        if len(followed) > _MAX_SYMLINKS:
            raise OSError(ELOOP, os.strerror(ELOOP))
        node = self.tree.root if path.startswith(b"/") else start
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        for position, part in enumerate(parts):
            if part == b"..":
                node = node.parent or self.tree.root
                continue
            found = self.tree.lookup(node, part)
            if found is None:
                raise OSError(ENOENT, os.strerror(ENOENT))
            child, stat = found
            last = position == len(parts) - 1
            mode = self.tree.plain_mode(child, stat)
            if stat_module.S_ISLNK(mode) and (follow or not last):
                followed.append(child)
                child = self._walk(node, self.tree.read_link(child), follow=True, followed=followed)
                mode = self.tree.plain_mode(child, self.tree.stat(child))
            if not last and not stat_module.S_ISDIR(mode):
                raise OSError(ENOTDIR, os.strerror(ENOTDIR))
            node = child
        return node

    def _parent_of(self, path: bytes) -> tuple[Node, bytes]:
        directory, _, name = path.rstrip(b"/").rpartition(b"/")
        if not name or name in (b".", b".."):
            raise UsageError("a path inside the volume is needed")
        return self.resolve(directory), name

    def _entry(self, name: bytes, node: Node, stat: os.stat_result) -> Entry:
        return Entry(
            name=name,
            mode=self.tree.plain_mode(node, stat),
            size=self.tree.plain_size(node, stat),
            mtime_ns=stat.st_mtime_ns,
            uid=stat.st_uid,
            gid=stat.st_gid,
            links=self.tree.plain_links(node, stat),
            inode=node.inode,
        )

    def stat(self, path: bytes, *, follow: bool = True) -> Entry:
        """Raises: OSError, DataError."""
        node = self.resolve(path, follow=follow)
        return self._entry(path.rstrip(b"/").rpartition(b"/")[2], node, self.tree.stat(node))

    def list_directory(self, path: bytes = b"") -> list[Entry]:
        """The entries of a directory, sorted by name. Entries whose name does not authenticate are left out.

        Raises:
            OSError, DataError.
        """
        parent = self.resolve(path)
        entries = []
        for lower in self.tree.entries(parent):
            name = self.tree.plain_name(parent, lower)
            found = None if name is None else self.tree.lookup(parent, name)
            if name is not None and found is not None:
                entries.append(self._entry(name, *found))
                self.tree.nodes.drop_if_unused(found[0])
        return sorted(entries, key=lambda entry: entry.name)

    def read_link(self, path: bytes) -> bytes:
        """The target of a symlink. Raises: OSError, DataError."""
        return self.tree.read_link(self.resolve(path, follow=False))

    def read_file(self, path: bytes) -> Iterator[bytes]:
        """The content of a file in pieces of up to 1 MiB.

        Raises:
            OSError, DataError: the first piece that does not authenticate ends it.
        """
        with self.open(path) as file:
            offset = 0
            while offset < file.size:
                piece = file.read(offset, 1 << 20)
                yield piece
                offset += len(piece)

    def write_file(self, path: bytes, data: bytes, *, mode: int = 0o644) -> None:
        """Make or replace a file with this content.

        Raises:
            OSError, DataError, ReadOnlyError.
        """
        with self.open(path, create=True, writable=True, mode=mode) as file:
            file.truncate(0)
            file.write(0, data)

    def open(self, path: bytes, *, writable: bool = False, create: bool = False, mode: int = 0o644) -> VolumeFile:
        """Open a file for :class:`VolumeFile`'s calls.

        Raises:
            OSError, DataError, ReadOnlyError.
        """
        try:
            node = self.resolve(path)
        except OSError as exc:
            if not create or exc.errno != ENOENT:
                raise
            parent, name = self._parent_of(path)
            node, _ = self.changes.create(parent, name, mode, Caller(os.geteuid(), os.getegid()))
        file = self.tree.open_file(node, writable=writable)
        file.handles += 1
        return VolumeFile(self, node)

    def make_directory(self, path: bytes, mode: int = 0o755) -> None:
        """Raises: OSError, DataError, ReadOnlyError."""
        parent, name = self._parent_of(path)
        self.changes.mkdir(parent, name, mode, Caller(os.geteuid(), os.getegid()))

    def remove(self, path: bytes) -> None:
        """Remove a file or an empty directory. Raises: OSError, DataError, ReadOnlyError."""
        parent, name = self._parent_of(path)
        found = self.tree.find(parent, name)
        if found is not None and stat_module.S_ISDIR(found.stat.st_mode):
            self.changes.rmdir(parent, name)
        else:
            self.changes.unlink(parent, name)

    def rename(self, path: bytes, to_path: bytes) -> None:
        """Raises: OSError, DataError, ReadOnlyError."""
        self.changes.rename(*self._parent_of(path), *self._parent_of(to_path))

    def make_symlink(self, path: bytes, target: bytes) -> None:
        """Raises: OSError, DataError, ReadOnlyError."""
        parent, name = self._parent_of(path)
        self.changes.symlink(parent, name, target, Caller(os.geteuid(), os.getegid()))

    def set_metadata(self, path: bytes, change: Setattr) -> None:
        """chmod, chown, utimens. Raises: OSError, DataError, ReadOnlyError."""
        self.attributes.setattr(self.resolve(path), change)


class VolumeFile:
    """An open file of :meth:`Volume.open`. Close it, or use it in a ``with`` statement."""

    def __init__(self, volume: PathAccess, node: Node) -> None:
        self._volume = volume
        self._node: Node | None = node

    @property
    def _file(self) -> OpenFile:
        if self._node is None or self._node.file is None:
            raise ValueError("the file is closed")
        return self._node.file

    @property
    def size(self) -> int:
        """Plain size in bytes."""
        return self._file.size

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes, fewer at the end and at most 1 MiB. Raises: OSError, DataError."""
        return bytes(self._file.read(offset, size))

    def write(self, offset: int, data: bytes) -> int:
        """Raises: OSError, DataError."""
        return self._file.write(offset, data)

    def truncate(self, size: int) -> None:
        """Raises: OSError, DataError."""
        self._file.truncate(size)

    def sync(self) -> None:
        """fsync. Raises: OSError."""
        self._file.sync()

    def close(self) -> None:
        """Raises: OSError."""
        if self._node is not None:
            node, self._node = self._node, None
            self._volume.tree.release_file(node)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
