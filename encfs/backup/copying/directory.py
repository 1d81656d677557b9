"""A directory, on a disk or a stick, that sealed trees are copied to (FORMAT.md section 18, "Target of `copy`").

Owns: ``runs/`` and ``objects/`` there, when what is written is durable, who may work on it. Must not know: what a run
takes, how ``volume/`` follows (``tree.py``).

Whatever has a name without ``.part`` is whole: it was synced before it was renamed. syncfs stands for an fsync of each
of many files; what could not be written shows there, and again when it is read back past the cache.
"""

from __future__ import annotations

import os
import re
import stat as stat_module
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from encfs.backup.copying.folders import Folders
from encfs.backup.copying.target import PART_SUFFIX, Part, Reader, Stored
from encfs.backup.copying.tree import Following, Ground, tree_files
from encfs.backup.manifest import Manifest
from encfs.crypto import rng
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import BackupError
from encfs.store import caches
from encfs.store.atomic import replace_file, sync_directory
from encfs.store.base import Store
from encfs.store.local import LocalStore, largest_file

RUNS: Final = b"runs"
OBJECTS: Final = b"objects"
TREE: Final = b"volume"
TREE_RUN: Final = b"volume.run"
_RUN_NAME: Final = re.compile(rb"[0-9a-f]{32}")
_FOLDER_NAME: Final = re.compile(rb"[0-9a-f]{2}")
_OBJECT_NAME: Final = re.compile(rb"[0-9a-f]{64}")
_PIECE: Final = 1 << 20
_BATCH: Final = 1 << 30
_GONE: Final = "Put the medium back, or see what became of the directory, and run it again."


class DirectoryTarget:
    """Satisfies :class:`encfs.backup.copying.target.CopyTarget`.

    Args:
        path: the directory. It is there already, with its ``cloakfs.backup``.
        store_on: how it is reached (tests).
        forget: makes the kernel forget an open file (tests).
    """

    tree = True
    batch = _BATCH

    def __init__(
        self,
        path: bytes,
        *,
        store_on: Callable[[int], Store] = LocalStore,
        forget: Callable[[int], None] = caches.forget_file,
    ) -> None:
        self.path = path
        self.most: int | None = None
        self._store_on = store_on
        self._forget = forget
        self._held: tuple[Store, Folders] | None = None

    # -- who works on it -----------------------------------------------------------------------------------------------

    @contextmanager
    def held(self, *, writing: bool) -> Iterator[None]:
        """See the protocol. Inside another one of the same target it is that one."""
        if self._held is not None:
            yield
            return
        try:
            top = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise BackupError("the target of the backup is gone", hint=_GONE) from exc
        try:
            store, self.most = self._store_on(top), largest_file(top)
            if writing and not store.try_lock_directory(top):
                raise BackupError("another run is at work on this target", hint="Wait until it has ended.")
            with Folders(store, top) as folders:
                self._held = store, folders
                yield
        finally:
            self._held = None
            os.close(top)

    def _now(self) -> tuple[Store, Folders]:
        if self._held is None:
            raise AssertionError("internal error: a target is used that nobody holds")
        return self._held

    # -- manifests -----------------------------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        with self.held(writing=False):
            store, folders = self._now()
            if not os.path.isdir(self.path):  # It was open, and is gone since.
                raise BackupError("the target of the backup is gone", hint=_GONE)
            return sorted(name.decode() for name in _names(store, folders, RUNS) if _RUN_NAME.fullmatch(name))

    def read_run(self, run: str) -> bytes:
        with self.held(writing=False):
            store, folders = self._now()
            fd = store.open(folders.fd(RUNS), run.encode(), os.O_RDONLY)
            try:
                self._forget(fd)
                return b"".join(_pieces(store, fd))
            finally:
                store.close(fd)

    def write_run(self, run: str, manifest: bytes) -> None:
        store, folders = self._now()
        name = run.encode()
        dirfd = folders.make(RUNS)
        sync_directory(store, folders.top)
        with suppress(FileNotFoundError):
            store.unlink(dirfd, name + PART_SUFFIX)
        replace_file(store, dirfd, name, manifest, temporary=name + PART_SUFFIX)

    def remove_run(self, run: str) -> None:
        store, folders = self._now()
        dirfd = folders.fd(RUNS)
        with suppress(FileNotFoundError):
            store.unlink(dirfd, run.encode())
        sync_directory(store, dirfd)

    # -- objects -------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        store, folders = self._now()
        for folder in (RUNS, OBJECTS):
            for name in _names(store, folders, folder):
                if name.endswith(PART_SUFFIX):
                    store.unlink(folders.fd(folder), name)

    def objects(self) -> dict[bytes, int]:
        with self.held(writing=False):
            store, folders = self._now()
            found = {}
            for folder in _names(store, folders, OBJECTS):
                path = OBJECTS + b"/" + folder
                for name in _names(store, folders, path) if _FOLDER_NAME.fullmatch(folder) else ():
                    if not _OBJECT_NAME.fullmatch(name) or not name.startswith(folder):
                        continue
                    info = store.stat(folders.fd(path), name)
                    if stat_module.S_ISREG(info.st_mode):
                        found[bytes.fromhex(name.decode())] = info.st_size
            return found

    def part(self, size: int) -> Part:
        del size
        store, folders = self._now()
        return _DirectoryPart(store, folders)

    def publish(self, parts: Mapping[bytes, Part]) -> None:
        store, folders = self._now()
        if not parts:
            return
        store.syncfs(folders.top)
        for digest, part in parts.items():
            assert isinstance(part, _DirectoryPart), "internal error: a part of another target"
            folder, name = _place(digest)
            to = folders.make(folder)
            store.rename(folders.fd(OBJECTS), part.name, to, name)
        store.syncfs(folders.top)

    def read_back(
        self, wanted: Collection[Stored], done: Callable[[int], None]
    ) -> Iterator[tuple[Stored, bytes | None]]:
        with self.held(writing=False):
            count = 0
            for one in wanted:
                running = CLOAKFS_1.running_digest()
                try:
                    reader = self._open(one)
                    try:
                        self._forget(reader.fd)
                        for piece in reader.pieces():
                            running.update(piece)
                            count += len(piece)
                            done(count)
                    finally:
                        reader.close()
                except OSError:
                    self._check_there()
                    yield one, None
                else:
                    yield one, running.digest()

    def open(self, wanted: Stored) -> Reader:
        return self._open(wanted)

    def _open(self, wanted: Stored) -> _DirectoryReader:
        store, folders = self._now()
        if wanted.path is None:
            folder, name = _place(wanted.digest)
        else:
            folder, _, name = (TREE + b"/" + wanted.path).rpartition(b"/")
        return _DirectoryReader(store, store.open(folders.fd(folder), name, os.O_RDONLY))

    def _check_there(self) -> None:
        """After a file could not be read: is it the file, or the medium? Raises: BackupError."""
        store, folders = self._now()
        try:
            here = os.stat(self.path)
            store.list(folders.top)
        except OSError as exc:
            raise BackupError("the target of the backup is gone", hint=_GONE) from exc
        if not os.path.samestat(here, os.fstat(folders.top)):
            raise BackupError("the target of the backup is gone", hint=_GONE)

    def remove(self, digests: Iterable[bytes]) -> int:
        store, folders = self._now()
        freed = 0
        for digest in digests:
            folder, name = _place(digest)
            try:
                dirfd = folders.fd(folder)
                size = store.stat(dirfd, name).st_size
                store.unlink(dirfd, name)
            except FileNotFoundError:
                continue
            freed += size
        store.syncfs(folders.top)
        return freed

    # -- the tree ------------------------------------------------------------------------------------------------------

    def tree_run(self) -> str:
        with self.held(writing=False):
            return self._ground().tree_run()

    def tree_files(self) -> dict[bytes, int]:
        with self.held(writing=False):
            store, folders = self._now()
            return tree_files(store, folders, TREE)

    def follow(
        self, now: Manifest, before: Manifest | None, doubted: Collection[bytes], done: Callable[[int], None]
    ) -> None:
        Following(self._ground(), now, before, doubted).run(done)

    def _ground(self) -> Ground:
        store, folders = self._now()
        return Ground(store=store, folders=folders, objects=self.objects, place=_place, tree=TREE, mark=TREE_RUN)


class _DirectoryReader:
    """Satisfies :class:`encfs.backup.copying.target.Reader`."""

    def __init__(self, store: Store, fd: int) -> None:
        self._store = store
        self.fd = fd

    def pread(self, size: int, offset: int) -> bytes:
        return self._store.pread(self.fd, size, offset)

    def pieces(self) -> Iterator[bytes]:
        return _pieces(self._store, self.fd)

    def close(self) -> None:
        self._store.close(self.fd)


class _DirectoryPart:
    """Satisfies :class:`encfs.backup.copying.target.Part`."""

    def __init__(self, store: Store, folders: Folders) -> None:
        self.name = rng.random_bytes(16).hex().encode() + PART_SUFFIX
        self._store = store
        self._folders = folders
        self._fd: int | None = store.open(folders.make(OBJECTS), self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._size = 0

    def write(self, piece: bytes) -> None:
        if self._fd is None:
            raise AssertionError("internal error: a part is written to after its end")
        self._store.pwrite(self._fd, piece, self._size)
        self._size += len(piece)

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._store.close(fd)

    def drop(self) -> None:
        self.close()
        with suppress(FileNotFoundError):
            self._store.unlink(self._folders.fd(OBJECTS), self.name)


def _place(digest: bytes) -> tuple[bytes, bytes]:
    """Folder, from the top, and name of an object."""
    name = digest.hex().encode()
    return OBJECTS + b"/" + name[:2], name


def _names(store: Store, folders: Folders, folder: bytes) -> list[bytes]:
    """What is in a folder; nothing if it is missing."""
    try:
        return store.list(folders.fd(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _pieces(store: Store, fd: int) -> Iterator[bytes]:
    offset = 0
    while piece := store.pread(fd, _PIECE, offset):
        yield piece
        offset += len(piece)
