"""A volume as a whole: made, unlocked, used by path, locked again.

Owns: the order of opening (config, lock, session, recovery) and of closing (files, syncfs, CLEAN, keys).
Must not know: FUSE, prompts, how secrets were obtained.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import ENOSYS, EROFS
from types import TracebackType
from typing import Self

from encfs.core import config as core_config
from encfs.core.sources import KnownSecret, UnlockSource
from encfs.errors import ConfigDamagedError, LowerIOError, ReadOnlyError
from encfs.format.config import Config
from encfs.format.geometry import Geometry
from encfs.format.session import SessionRecord
from encfs.format.slots import Kdf, SlotKind
from encfs.store.base import Store
from encfs.volume import medium
from encfs.volume.attributes import AttributeStore
from encfs.volume.changes import Changes
from encfs.volume.checkpoint import newest_authentic_id
from encfs.volume.context import Context
from encfs.volume.file import OpenFile
from encfs.volume.freshness import VolumeMemory, look_back
from encfs.volume.paths import PathAccess
from encfs.volume.recovery import Recovery, RecoveryReport
from encfs.volume.sessions import Sessions
from encfs.volume.skeleton import NO_SESSION, create_volume, open_root, read_config, read_copies
from encfs.volume.tree import Tree

__all__ = ["Volume", "read_config"]

Progress = Callable[[str, int], None]


@contextmanager
def _writable() -> Iterator[None]:
    """The first bytes that are written: where there is no writing, this says so. FUSE programs may answer ENOSYS."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (EROFS, ENOSYS):
            raise
        raise ReadOnlyError("the backing store is read-only", hint="Mount it with --read-only.") from exc


class Volume(PathAccess):
    """An unlocked volume. Use :meth:`unlock`; close it, or use it in a ``with`` statement.

    Attributes:
        config: the authenticated config. slot: which of its slots opened it.
        ctx, tree, changes, attributes: the parts, for FUSE and ``verify``.
        recovery: what was repaired after a crash, None if there was none.
        crashed: the sessions that had ended in a crash when it was opened for writing, oldest first.
        memory: what this host remembers of the volume, None if nobody gave one.
        elsewhere: sessions of other hosts or users since this host used the volume last, oldest first (FORMAT.md
            section 13); empty without a memory.
        rollback: why the volume is older than what is remembered, None if it is not; only where it is open for reading.
    """

    def __init__(
        self, store: Store, root_fd: int, unlocked: core_config.UnlockedConfig, *, read_only: bool, opener: Store
    ) -> None:
        self._store = store
        self._root_fd = root_fd
        self._opener = opener  # What opened ``root_fd``, and closes it.
        self.config = unlocked.config
        self.config_digest = unlocked.digest
        self.config_key = self._config_key(unlocked)
        self.slot = unlocked.slot
        self.ctx = Context(
            store=store,
            ring=unlocked.ring,
            geometry=Geometry(unlocked.config.cell_size),
            session=NO_SESSION,
            read_only=read_only or unlocked.config.read_only,
        )
        self.tree = Tree(self.ctx, root_fd, unlocked.config.root_dir_id)
        self.attributes = AttributeStore(self.tree)
        self.changes = Changes(self.tree, self.attributes)
        self.sessions = Sessions(store, unlocked.ring, root_fd)
        self.recovery: RecoveryReport | None = None
        self.crashed: list[SessionRecord] = []
        self.memory: VolumeMemory | None = None
        self.rollback: str | None = None
        self.elsewhere: list[SessionRecord] = []
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
        return create_volume(path, secret=secret, kdf=kdf, label=label, recovery_key=recovery_key, cell_size=cell_size)

    @classmethod
    def unlock(
        cls,
        path: bytes,
        secret: bytes | UnlockSource,
        kind: SlotKind = SlotKind.PASSPHRASE,
        *,
        read_only: bool = False,
        mountpoint: bytes = b"",
        progress: Progress | None = None,
        store: Store | None = None,
        freshness: VolumeMemory | None = None,
    ) -> Volume:
        """Open a volume with a passphrase or recovery key; after a crash, repair what the crash left.

        Args:
            path: the volume directory.
            secret: what opens it; or passphrase bytes, or the 32 bytes of a key.
            kind: what the bytes are.
            read_only: write nothing at all, not even a session record; the lock taken is a shared one.
            mountpoint: recorded for whoever finds the volume in use.
            progress: called with a phase name and a count while recovery walks the tree.
            store: another backing store (tests).
            freshness: the memory of this host; without it older state is not noticed (FORMAT.md section 13).

        Raises:
            VolumeRollbackError: the volume is older than what is remembered, and nothing was written.
            UnlockError, ConfigError, VolumeInUseError, MemoryShortError, OSError.
        """
        source = KnownSecret.of(kind, secret) if isinstance(secret, bytes) else secret
        return cls._open(
            path,
            lambda copies: core_config.unlock(copies, source),
            read_only=read_only,
            mountpoint=mountpoint,
            progress=progress,
            store=store,
            freshness=freshness,
        )

    @classmethod
    def unlock_with_root_key(
        cls, path: bytes, root_key: bytes, *, progress: Progress | None = None, freshness: VolumeMemory | None = None
    ) -> Volume:
        """:meth:`unlock` for whoever has opened its keys already (:class:`~encfs.volume.keys.Keys`)."""
        return cls._open(
            path,
            lambda copies: core_config.unlock_with_root_key(copies, root_key),
            progress=progress,
            freshness=freshness,
        )

    @classmethod
    def _open(
        cls,
        path: bytes,
        opened: Callable[[Sequence[bytes]], core_config.UnlockedConfig],
        *,
        read_only: bool = False,
        mountpoint: bytes = b"",
        progress: Progress | None = None,
        store: Store | None = None,
        freshness: VolumeMemory | None = None,
    ) -> Volume:
        local, root_fd = open_root(path)
        store = store or local
        try:
            volume = cls(store, root_fd, opened(read_copies(store, root_fd)), read_only=read_only, opener=local)
        except BaseException:
            local.close(root_fd)
            raise
        try:
            volume.memory = freshness
            volume._start(mountpoint, progress)
            volume._release_memory()  # A mount forks now.
        except BaseException:
            volume._abandon()
            raise
        return volume

    def _start(self, mountpoint: bytes, progress: Progress | None) -> None:
        if self.ctx.read_only:
            self.sessions.lock_for_reading()
            if self.memory is not None:
                look_back(self, self.memory)
            self._tolerate(self.sessions.crashed())
            return
        with _writable():
            self.sessions.lock()
        if self.memory is not None:
            look_back(self, self.memory)
            self.sessions.on_durable = self.memory.remember_session
        crashed = self.crashed = self.sessions.crashed()
        self.sessions.checkpoint = newest_authentic_id(self.ctx, self._root_fd)
        with _writable():
            self.ctx.session = self.sessions.begin(mountpoint)
        if crashed:
            self._tolerate(crashed)
            self.recovery = Recovery(self.ctx, self.tree, self.changes).run(progress)
            self._store.syncfs(self._root_fd)
            self.sessions.recovered(crashed)
            if self.memory is not None:
                self.memory.all_durable()
            self._tolerate([])

    @staticmethod
    def _config_key(unlocked: core_config.UnlockedConfig) -> bytes | None:
        """Kept only while a rotation is to be ended: nothing can be read with it, but a config can be made."""
        if not unlocked.config.rotating:
            return None
        return core_config.config_key(unlocked.ring.suite, unlocked.root_key)

    def begin_epoch(self, epoch: int, key: bytes, config_key: bytes) -> None:
        """Seal everything under a new epoch from now on; no other call may be under way (FORMAT.md section 14).

        Raises:
            ConfigError: the config on the disk is not of this epoch; nothing was changed.
            OSError: it could not be read.
        """
        config, digest = core_config.check(read_copies(self._store, self._root_fd), self.ctx.suite, config_key)
        if config.active.epoch != epoch:
            raise ConfigDamagedError("the config on the disk does not have the epoch that was to begin")
        self.ctx.ring.add(epoch, key)
        self.config_key = config_key
        self.take_config(config, digest)

    def take_config(self, config: Config, digest: bytes) -> None:
        """The config was changed on the disk."""
        self.config, self.config_digest = config, digest
        if not config.rotating:
            self.config_key = None

    def _tolerate(self, crashed: list[SessionRecord]) -> None:
        """Take what these sessions can have left as a crash's doing (FORMAT.md section 11)."""
        self.ctx.tolerant = bool(crashed)
        self.ctx.crashed = frozenset(record.session for record in crashed)

    def _release_memory(self) -> None:
        if self.memory is not None:
            self.memory.release()

    def _abandon(self) -> None:
        self._release_memory()
        self.tree.directories.close()
        self.sessions.close()
        self._opener.close(self._root_fd)
        self._closed = True
        if not self.ctx.gone:
            self._forget()  # Else it was done when the medium went away.

    def _forget(self) -> None:
        """Drop keys, plaintext and attributes."""
        self.ctx.forget()
        self.config_key = None
        for node in self.tree.nodes:
            node.attributes = None
            if node.file is not None:
                node.file.forget()

    def disown(self) -> None:
        """Forget the volume without writing: a forked child goes on with it."""
        self._abandon()

    @property
    def root_fd(self) -> int:
        """Descriptor of the volume directory."""
        return self._root_fd

    def renew(self) -> None:
        """Forget all that is remembered of the tree, in which repair has moved things below. No file may be open."""
        self.tree.moves.write_all()
        self.ctx.tell_deletions()
        self.tree.directories.close()
        self.tree = Tree(self.ctx, self._root_fd, self.config.root_dir_id)
        self.attributes = AttributeStore(self.tree)
        self.changes = Changes(self.tree, self.attributes)

    def settle(self) -> None:
        """Bring the lower files of all open and all renamed files in line, as their close would."""
        self.tree.moves.write_all()
        for file in self._open_files():
            file.settle()

    def _open_files(self) -> Iterator[OpenFile]:
        for node in self.tree.open_nodes():
            if node.file is not None:
                yield node.file

    def close(self) -> None:
        """Close every file, make all of it durable, record CLEAN, give the lock back.

        Raises:
            MediumGoneError: there is no medium to write to.
            OSError: something could not be written; then the session stays OPEN, so the next unlock checks.
        """
        if self._closed:
            return
        try:
            if self.ctx.gone:
                raise medium.gone_error()
            self._close_files()
            self.ctx.tell_deletions()
            if not self.ctx.read_only:
                self._store.syncfs(self._root_fd)
                self.sessions.end()
                if self.memory is not None:
                    self.memory.all_durable()
        except (OSError, LowerIOError) as exc:
            if not self.ctx.gone and medium.may_be_gone(exc) and self.medium_is_gone():
                raise medium.gone_error() from exc
            raise
        finally:
            self._discard_files()
            if self.memory is not None:
                self.memory.forget_keys()
            self._abandon()

    def _discard_files(self) -> None:
        """Close what :meth:`_close_files` could not. That it could not be written is known by now."""
        for node in self.tree.open_nodes():
            if node.file is not None:
                with suppress(OSError):
                    node.file.close(discard=True)
                node.file = None

    def medium_is_gone(self) -> bool:
        """Ask the medium, which may take as long as the kernel needs to give up. For any thread."""
        return medium.is_gone(self._store, self._root_fd)

    def lose_medium(self) -> None:
        """The medium went away: drop keys, plaintext and attributes. After that only :meth:`close` works."""
        self.ctx.gone = True
        if self.memory is not None:
            self.memory.forget_keys()
        self._forget()

    def _close_files(self) -> None:
        failure: OSError | None = None
        try:
            self.tree.moves.write_all()
        except OSError as exc:
            failure = exc
        for node in self.tree.open_nodes():
            if node.file is not None:
                node.file.handles = 0
                try:
                    self.tree.close_file(node, last=True)
                except OSError as exc:
                    failure = failure or exc
        if failure is not None:
            raise LowerIOError(f"a file could not be closed: {os.strerror(failure.errno or 0)}") from failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
