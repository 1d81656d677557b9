"""A volume as a whole: made, unlocked, used by path, locked again.

Owns: the order of opening (config, lock, session, recovery) and of closing (files, syncfs, CLEAN, keys).
Must not know: FUSE, prompts, how secrets were obtained.
"""

from __future__ import annotations

import os
import stat as stat_module
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from errno import EEXIST, ELOOP, ENOENT, ENOTDIR
from types import TracebackType

from encfs.core import config as core_config
from encfs.core import frames
from encfs.core.slots import make_slot, new_argon2id
from encfs.crypto import rng
from encfs.crypto.suite import suite_named
from encfs.errors import ConfigError, LowerIOError, NotAVolumeError, NotEmptyError, UsageError
from encfs.format.config import Config, Kdf, KdfAlg, SlotKind
from encfs.format.directory import DirectoryRecord
from encfs.format.geometry import Geometry
from encfs.format.limits import (
    CONFIG_BAK_NAME,
    CONFIG_MAX,
    CONFIG_NAME,
    KDF_MEMORY_KIB_MIN,
    KDF_PASSES_MIN,
    LOCK_NAME,
    RECORD_NAME,
    SESSIONS_NAME,
    SUITE_NAME,
)
from encfs.store.atomic import replace_file, sync_directory
from encfs.store.base import Store
from encfs.store.local import LocalStore
from encfs.units import DirId, SessionId
from encfs.volume.attributes import AttributeStore, Setattr
from encfs.volume.changes import Caller, Changes, temporary_name
from encfs.volume.context import Context
from encfs.volume.file import OpenFile
from encfs.volume.node import Node
from encfs.volume.recovery import Recovery, RecoveryReport
from encfs.volume.sessions import Sessions
from encfs.volume.tree import Tree

Progress = Callable[[str, int], None]
_NO_SESSION = SessionId(bytes(16))


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


def minimal_kdf() -> Kdf:
    """The cheapest Argon2id that the format allows (64 MiB, 3 passes, 1 lane)."""
    return new_argon2id(memory_kib=KDF_MEMORY_KIB_MIN, passes=KDF_PASSES_MIN, lanes=1)


def _open_root(path: bytes) -> tuple[Store, int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return LocalStore(fd), fd


def _read_copies(store: Store, root_fd: int) -> list[bytes]:
    copies = []
    for name in (CONFIG_NAME, CONFIG_BAK_NAME):
        try:
            fd = store.open(root_fd, name, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            copies.append(store.pread(fd, CONFIG_MAX + 1024, 0))
        finally:
            store.close(fd)
    if not copies:
        raise NotAVolumeError("this directory holds no cloakfs volume", hint="Make one with: cloakfs create VOLUME")
    return copies


def read_config(path: bytes) -> Config:
    """What the config says without any key. Nothing vouches for it before the volume is unlocked.

    Raises:
        NotAVolumeError, ConfigDamagedError, NewerFormatError, OSError.
    """
    store, fd = _open_root(path)
    try:
        copies = _read_copies(store, fd)
    finally:
        os.close(fd)
    failure: ConfigError | None = None
    found: list[Config] = []
    for raw in copies:
        try:
            found.append(core_config.read_copy(raw))
        except ConfigError as exc:
            failure = failure or exc
    if not found and failure is not None:
        raise failure
    return max(found, key=lambda config: config.seq)


class Volume:
    """An unlocked volume. Use :meth:`unlock`; close it, or use it in a ``with`` statement.

    Attributes:
        config: the authenticated config.
        ctx, tree, changes, attributes: the parts, for FUSE and ``verify``.
        recovery: what was repaired after a crash, None if there was none.
    """

    def __init__(self, store: Store, root_fd: int, unlocked: core_config.UnlockedConfig, *, read_only: bool) -> None:
        self._store = store
        self._root_fd = root_fd
        self.config = unlocked.config
        self.ctx = Context(
            store=store,
            ring=unlocked.ring,
            geometry=Geometry(unlocked.config.cell_size),
            session=_NO_SESSION,
            read_only=read_only or unlocked.config.read_only,
        )
        self.tree = Tree(self.ctx, root_fd, unlocked.config.root_dir_id)
        self.attributes = AttributeStore(self.tree)
        self.changes = Changes(self.tree, self.attributes)
        self.sessions = Sessions(store, unlocked.ring, root_fd)
        self.recovery: RecoveryReport | None = None
        self._closed = False

    # -- life ------------------------------------------------------------------------------------------

    @staticmethod
    def create(
        path: bytes,
        *,
        secret: bytes,
        kdf: Kdf | None = None,
        label: str = "passphrase",
        recovery_key: bytes | None = None,
        cell_size: int = 4096,
    ) -> Config:
        """Make a volume in an empty or missing directory; nothing is left behind if that fails.

        Args:
            path: the directory.
            secret: passphrase bytes (FORMAT.md section 4).
            kdf: cost of the passphrase slot; the format's minimum if None.
            label: name of the passphrase slot.
            recovery_key: 32 bytes for a second slot, or None.
            cell_size: 4096, 16384 or 65536.

        Raises:
            NotEmptyError: the directory holds something.
            FormatError: the cell size is unknown.
            OSError: the lower error.
        """
        made = _make_directory(path)
        store, root_fd = _open_root(path)
        written: list[bytes] = []
        try:
            if store.list(root_fd):
                raise NotEmptyError(
                    "the directory is not empty", hint="Choose a new directory; a volume is made only in an empty one."
                )
            unlocked = _new_config(secret, kdf or minimal_kdf(), label, recovery_key, cell_size)
            _write_skeleton(store, root_fd, unlocked, written)
        except BaseException:
            _remove_skeleton(store, root_fd, written)
            if made:
                os.rmdir(path)
            raise
        finally:
            os.close(root_fd)
        return unlocked.config

    @classmethod
    def unlock(
        cls,
        path: bytes,
        secret: bytes,
        kind: SlotKind = SlotKind.PASSPHRASE,
        *,
        read_only: bool = False,
        mountpoint: bytes = b"",
        progress: Progress | None = None,
        store: Store | None = None,
    ) -> Volume:
        """Open a volume with a passphrase or recovery key; after a crash, repair what the crash left.

        Args:
            path: the volume directory.
            secret: passphrase bytes, or the 32 bytes of a recovery key.
            kind: which of the two.
            read_only: write nothing at all, not even a session record, and take no lock.
            mountpoint: recorded for whoever finds the volume in use.
            progress: called with a phase name and a count while recovery walks the tree.
            store: another backing store (tests).

        Raises:
            UnlockError, ConfigError, VolumeInUseError, MemoryShortError, OSError.
        """
        local, root_fd = _open_root(path)
        store = store or local
        try:
            unlocked = core_config.unlock(_read_copies(store, root_fd), secret, kind)
            volume = cls(store, root_fd, unlocked, read_only=read_only)
        except BaseException:
            os.close(root_fd)
            raise
        try:
            volume._start(mountpoint, progress)
        except BaseException:
            volume._abandon()
            raise
        return volume

    def _start(self, mountpoint: bytes, progress: Progress | None) -> None:
        if self.ctx.read_only:
            self.ctx.tolerant = not self.sessions.in_use() and bool(self.sessions.crashed())
            return
        self.sessions.lock()
        crashed = self.sessions.crashed()
        self.ctx.session = self.sessions.begin(mountpoint)
        if crashed:
            self.ctx.tolerant = True
            self.recovery = Recovery(self.ctx, self.tree, self.changes).run(progress)
            self._store.syncfs(self._root_fd)
            self.sessions.recovered(crashed)
            self.ctx.tolerant = False

    def _abandon(self) -> None:
        self.tree.close()
        self.sessions.close()
        os.close(self._root_fd)
        self._closed = True

    def disown(self) -> None:
        """Forget the volume without writing: a forked child goes on with it."""
        self._abandon()

    @property
    def root_fd(self) -> int:
        """Descriptor of the volume directory."""
        return self._root_fd

    def settle(self) -> None:
        """Bring the lower files of all open files in line, as their close would."""
        for file in self._open_files():
            file.settle()

    def _open_files(self) -> Iterator[OpenFile]:
        for node in self.tree.open_nodes():
            if node.file is not None:
                yield node.file

    def close(self) -> None:
        """Close every file, make all of it durable, record CLEAN, give the lock back.

        Raises:
            OSError: something could not be written; then the session stays OPEN, so the next unlock checks.
        """
        if self._closed:
            return
        try:
            if not self.ctx.read_only:
                self._close_files()
                self._store.syncfs(self._root_fd)
                self.sessions.end()
        finally:
            self._abandon()

    def _close_files(self) -> None:
        failure: OSError | None = None
        for node in self.tree.open_nodes():
            if node.file is not None:
                node.file.handles = 0
                try:
                    self.tree.close_file(node)
                except OSError as exc:
                    failure = failure or exc
        if failure is not None:
            raise LowerIOError(f"a file could not be closed: {os.strerror(failure.errno or 0)}") from failure

    def __enter__(self) -> Volume:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- use by path ---------------------------------------------------------------------------------------

    def resolve(self, path: bytes, *, follow: bool = True) -> Node:
        """The node at a plain path from the root. Symlinks on the way are followed inside the volume only.

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP.
            DataError: something on the way does not authenticate.
        """
        return self._walk(self.tree.root, path, follow=follow, depth=0)

    def _walk(self, start: Node, path: bytes, *, follow: bool, depth: int) -> Node:
        if depth > 40:
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
                child = self._walk(node, self.tree.read_link(child), follow=True, depth=depth + 1)
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

    def __init__(self, volume: Volume, node: Node) -> None:
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

    def __enter__(self) -> VolumeFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


# -- creation ------------------------------------------------------------------------------------------------


def _make_directory(path: bytes) -> bool:
    try:
        os.mkdir(path, 0o700)
    except OSError as exc:
        if exc.errno == EEXIST:
            return False
        raise
    return True


def _new_config(
    secret: bytes, kdf: Kdf, label: str, recovery_key: bytes | None, cell_size: int
) -> core_config.UnlockedConfig:
    suite = suite_named(SUITE_NAME)
    created = int(time.time())
    fresh = core_config.new_config(suite, created=created, cell_size=cell_size)
    wanted = [(SlotKind.PASSPHRASE, label, kdf, secret)]
    if recovery_key is not None:
        wanted.append((SlotKind.RECOVERY, "recovery key", Kdf(alg=KdfAlg.NONE), recovery_key))
    slots = tuple(
        make_slot(
            suite,
            volume_id=fresh.config.volume_id,
            rk_id=fresh.config.rk_id,
            root_key=fresh.root_key,
            kind=kind,
            label=name,
            created=created,
            kdf=cost,
            secret=key,
        )
        for kind, name, cost, key in wanted
    )
    return replace(fresh, config=replace(fresh.config, slots=slots))


def _write_skeleton(
    store: Store, root_fd: int, unlocked: core_config.UnlockedConfig, written: list[bytes]
) -> None:
    """Root record, session folder with its lock file, and last the two copies of the config."""
    record = DirectoryRecord(
        epoch=unlocked.ring.active.epoch,
        previous_epoch=None,
        dir_id=unlocked.config.root_dir_id,
        parent=DirId(bytes(16)),
        generation=1,
        session=_NO_SESSION,
        name=b"",
    )
    written.append(RECORD_NAME)
    replace_file(store, root_fd, RECORD_NAME, frames.seal_directory(unlocked.ring, record), temporary=temporary_name())
    written.append(SESSIONS_NAME)
    store.mkdir(root_fd, SESSIONS_NAME, 0o700)
    sessions = store.open_directory(root_fd, SESSIONS_NAME)
    try:
        store.close(store.open(sessions, LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600))
        sync_directory(store, sessions)
    finally:
        store.close(sessions)
    write_config(store, root_fd, core_config.seal_config(unlocked.ring.suite, unlocked.config, unlocked.root_key), written)


def write_config(store: Store, root_fd: int, content: bytes, written: list[bytes] | None = None) -> None:
    """Write both copies of the config, ``.bak`` first (FORMAT.md section 3)."""
    for name in (CONFIG_BAK_NAME, CONFIG_NAME):
        if written is not None:
            written.append(name)
        replace_file(store, root_fd, name, content, temporary=temporary_name())


def _remove_skeleton(store: Store, root_fd: int, written: list[bytes]) -> None:
    """Take back what :func:`_write_skeleton` made before it failed."""
    for name in written:
        try:
            if name == SESSIONS_NAME:
                inside = store.open_directory(root_fd, name)
                try:
                    store.unlink(inside, LOCK_NAME)
                finally:
                    store.close(inside)
                store.rmdir(root_fd, name)
            else:
                store.unlink(root_fd, name)
        except FileNotFoundError:
            continue


def random_recovery_key() -> bytes:
    """32 bytes for a recovery slot."""
    return rng.random_bytes(32)
