"""How ``volume/`` of a target becomes what the newest run is (FORMAT.md section 18, "Target of `copy`").

Owns: the order of renames, what is done with what is in the way, what a filesystem does not keep. Must not know:
where the files of a run came from.

It may be broken off after any step, and is done again from the start: whatever lies there is then known by reading it.
Nothing is ever overwritten or removed that is not somewhere else too, or that nobody has taken.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from encfs.backup.copying.dressing import dress, if_kept
from encfs.backup.copying.folders import Folders
from encfs.backup.copying.target import PART_SUFFIX
from encfs.backup.manifest import Manifest
from encfs.crypto import rng
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import BackupError
from encfs.format.backup import Item, ItemKind, Taken
from encfs.store.atomic import replace_file, sync_directory
from encfs.store.base import Store

_PIECE = 1 << 20
_RUN_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where it happens.

    Attributes:
        objects: sizes of what is in ``objects/``, by digest.
        place: folder and name of an object.
        tree, mark: names of the tree, and of the file that has the id of the run which it is.
    """

    store: Store
    folders: Folders
    objects: Callable[[], dict[bytes, int]]
    place: Callable[[bytes], tuple[bytes, bytes]]
    tree: bytes
    mark: bytes

    def tree_run(self) -> str:
        """The run that the tree is; empty if that is not known. Raises: OSError."""
        try:
            fd = self.store.open(self.folders.top, self.mark, os.O_RDONLY)
        except FileNotFoundError:
            return ""
        try:
            said = self.store.pread(fd, _RUN_DIGITS + 1, 0)
        finally:
            self.store.close(fd)
        text = said.decode("ascii", "replace")
        return text if len(text) == _RUN_DIGITS and not text.strip("0123456789abcdef") else ""


def tree_files(store: Store, folders: Folders, tree: bytes) -> dict[bytes, int]:
    """Sizes of the regular files in a tree, by their paths there. Raises: OSError."""
    return {path: info.st_size for path, info in _walk(store, folders, tree) if stat_module.S_ISREG(info.st_mode)}


def _walk(store: Store, folders: Folders, tree: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Whatever is in a tree, each directory before what is in it."""
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            names = store.list(folders.fd(_below(tree, folder)))
        except FileNotFoundError:
            continue
        for name in names:
            path = _below(folder, name)
            info = store.stat(folders.fd(_below(tree, folder)), name)
            yield path, info
            if stat_module.S_ISDIR(info.st_mode):
                pending.append(path)


def _below(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder and name else folder or name


class Following:
    """One time that the tree follows.

    Args:
        ground: where.
        now: what it becomes.
        before: what it was, or was on its way from; None: not known.
        doubted: paths of files that are read, whatever they should be.
    """

    def __init__(self, ground: Ground, now: Manifest, before: Manifest | None, doubted: Collection[bytes] = ()) -> None:
        self._ground = ground
        self._store = ground.store
        self._folders = ground.folders
        self._now = now
        self._doubted = doubted
        self._old = {} if before is None else before.by_path
        self._exact = before is not None and ground.tree_run() == before.head.run
        self._files = {item.path: item for item in now.items if _is_there(item) and item.kind is ItemKind.FILE}
        self._others = [item for item in now.items if _is_there(item) and item.kind is not ItemKind.FILE]
        self._names = Counter(item.digest for item in self._files.values())
        self._objects = ground.objects()
        self._right = 0

    def run(self, done: Callable[[int], None]) -> None:
        """See :meth:`encfs.backup.copying.target.CopyTarget.follow`. Raises: OSError, BackupError."""
        for name in (self._ground.mark, self._ground.mark + PART_SUFFIX):
            with suppress(FileNotFoundError):
                self._store.unlink(self._folders.top, name)
        self._folders.make(self._ground.tree)
        self._folders.make(b"objects")
        sync_directory(self._store, self._folders.top)
        kept = self._make_way()
        self._make_directories()
        for path, item in self._files.items():
            if path not in kept:
                self._put(item, kept)
                kept.add(path)
            self._right += 1
            done(self._right)
        self._make_others()
        self._dress_directories()
        self._store.syncfs(self._folders.top)
        replace_file(
            self._store,
            self._folders.top,
            self._ground.mark,
            self._now.head.run.encode(),
            temporary=self._ground.mark + PART_SUFFIX,
        )

    # -- what is in the way --------------------------------------------------------------------------------------------

    def _make_way(self) -> set[bytes]:
        """What is not to be at its path goes from there. Returns: paths of files that are right."""
        kept, folders = set(), []
        directories = {item.path for item in self._others if item.kind is ItemKind.DIRECTORY}
        others = {item.path: item for item in self._others if item.kind is not ItemKind.DIRECTORY}
        for path, info in list(_walk(self._store, self._folders, self._ground.tree)):
            if stat_module.S_ISDIR(info.st_mode):
                if path not in directories:
                    folders.append(path)
            elif stat_module.S_ISREG(info.st_mode):
                if self._stays(path, info.st_size):
                    kept.add(path)
            elif path not in others or not self._is_same(others[path], info):
                self._unlink(path)
        self._folders.forget()
        for path in reversed(folders):
            with self._folders.holding(_below(self._ground.tree, path)) as (dirfd, name):
                self._store.rmdir(dirfd, name)
        self._folders.forget()
        return kept

    def _stays(self, path: bytes, size: int) -> bool:
        """Whether a file is right where it is. Else it goes to the objects, or away if there is one like it."""
        item = self._files.get(path)
        digest = self._digest_of(path, size)
        # One that lies among the objects too, and belongs only here, was taken anew since this one is damaged.
        good = digest is not None and (digest not in self._objects or self._names[digest] > 1)
        if good and item is not None and item.digest == digest and item.size == size:
            self._dress(item, _below(self._ground.tree, path))
            return True
        if digest is None or self._objects.get(digest) == size:
            self._unlink(path)
            return False
        folder, name = self._ground.place(digest)
        to = self._folders.make(folder)
        with self._folders.holding(_below(self._ground.tree, path)) as (dirfd, old):
            self._store.rename(dirfd, old, to, name)
        self._objects[digest] = size
        return False

    def _digest_of(self, path: bytes, size: int) -> bytes | None:
        """SHA-256 of a file of the tree: as the manifests say if that is certain, else it is read; or None."""
        old, item = self._old.get(path), self._files.get(path)
        sure = self._exact or (old is not None and item is not None and item.digest == old.digest)
        if sure and old is not None and old.size == size and old.digest and path not in self._doubted:
            return old.digest
        running, offset = CLOAKFS_1.running_digest(), 0
        try:
            with self._folders.holding(_below(self._ground.tree, path)) as (dirfd, name):
                fd = self._store.open(dirfd, name, os.O_RDONLY)
            try:
                while piece := self._store.pread(fd, _PIECE, offset):
                    running.update(piece)
                    offset += len(piece)
            finally:
                self._store.close(fd)
        except OSError:
            return None
        return running.digest()

    def _is_same(self, item: Item, info: os.stat_result) -> bool:
        if item.kind is ItemKind.OTHER:
            same = stat_module.S_IFMT(info.st_mode) == stat_module.S_IFMT(item.mode)
            return same and info.st_rdev == item.device
        if not stat_module.S_ISLNK(info.st_mode):
            return False
        with self._folders.holding(_below(self._ground.tree, item.path)) as (dirfd, name):
            return self._store.readlink(dirfd, name) == item.target

    def _unlink(self, path: bytes) -> None:
        with self._folders.holding(_below(self._ground.tree, path)) as (dirfd, name):
            self._store.unlink(dirfd, name)

    # -- what comes ----------------------------------------------------------------------------------------------------

    def _make_directories(self) -> None:
        for item in self._now.items:
            if item.kind is ItemKind.DIRECTORY:
                self._folders.make(_below(self._ground.tree, item.path))

    def _put(self, item: Item, kept: set[bytes]) -> None:
        """A file comes to its path."""
        folder, name = self._ground.place(item.digest)
        path = _below(self._ground.tree, item.path)
        if self._names[item.digest] > 1:
            temporary = self._twin(item, kept)
            self._dress(item, b"objects/" + temporary)
            with self._folders.holding(path) as (dirfd, to):
                self._store.rename(self._folders.fd(b"objects"), temporary, dirfd, to)
            return
        if item.digest not in self._objects:
            raise _gone()
        self._dress(item, _below(folder, name))
        above, _, to = path.rpartition(b"/")
        source = self._folders.fd(folder)
        self._store.rename(source, name, self._folders.fd(above), to)
        del self._objects[item.digest]

    def _twin(self, item: Item, kept: set[bytes]) -> bytes:
        """Another name, or another copy, of what has several paths; its name among the objects, for now."""
        where = self._where(item, kept)
        folder, _, name = where.rpartition(b"/")
        temporary = rng.random_bytes(16).hex().encode() + PART_SUFFIX
        if item.links:
            with suppress(OSError):  # A filesystem without hard links: then each is a copy.
                source = self._folders.fd(folder)
                self._store.link(source, name, self._folders.fd(b"objects"), temporary)
                return temporary
        source = self._store.open(self._folders.fd(folder), name, os.O_RDONLY)
        try:
            to = self._store.open(self._folders.fd(b"objects"), temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                offset = 0
                while piece := self._store.pread(source, _PIECE, offset):
                    self._store.pwrite(to, piece, offset)
                    offset += len(piece)
                self._store.fsync(to)
            finally:
                self._store.close(to)
        finally:
            self._store.close(source)
        return temporary

    def _where(self, item: Item, kept: set[bytes]) -> bytes:
        if item.digest in self._objects:
            return _below(*self._ground.place(item.digest))
        for path in kept:
            if self._files[path].digest == item.digest:
                return _below(self._ground.tree, path)
        raise _gone()

    def _make_others(self) -> None:
        """Symlinks, pipes, sockets and devices, where the filesystem has such; the manifest has them anyway."""
        for item in self._others:
            if item.kind is ItemKind.DIRECTORY:
                continue
            with self._folders.holding(_below(self._ground.tree, item.path)) as (dirfd, name):
                with if_kept(), suppress(FileExistsError):  # It is there, and right: the way was made for others.
                    if item.kind is ItemKind.SYMLINK:
                        self._store.symlink(item.target, dirfd, name)
                    else:
                        self._store.mknod(dirfd, name, item.mode, item.device)
                with suppress(FileNotFoundError):
                    dress(self._store, dirfd, name, item)

    # -- what it is like -----------------------------------------------------------------------------------------------

    def _dress(self, item: Item, path: bytes) -> None:
        """A file; ``path``: from the top of the target. One that stays and is as it was keeps what it has."""
        if self._exact and path.startswith(self._ground.tree + b"/") and self._old.get(item.path) == item:
            return
        with self._folders.holding(path) as (dirfd, name):
            dress(self._store, dirfd, name, item)

    def _dress_directories(self) -> None:
        """The deepest first, since what is made in one changes its time."""
        for item in reversed(self._now.items):
            if item.kind is ItemKind.DIRECTORY:
                with self._folders.holding(_below(self._ground.tree, item.path)) as (dirfd, name):
                    dress(self._store, dirfd, name, item)


def _is_there(item: Item) -> bool:
    """A directory that could not be listed is there: it has what an earlier run took of it."""
    return item.taken is not Taken.MISSING or item.kind is ItemKind.DIRECTORY


def _gone() -> BackupError:
    return BackupError(
        "a file of the newest run is not on the target any more",
        hint="See what else is damaged with: cloakfs backup verify",
    )
