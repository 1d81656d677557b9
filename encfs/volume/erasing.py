"""Destroying a volume by destroying its keys: every copy of the config is overwritten, then removed.

Owns: the order of the lower calls, so that no name of a copy is gone before its bytes are, and the proof afterwards.
Must not know: who wants it and why, where it is recorded, what is said of it.

All keys of a volume are in its config (FORMAT.md section 5): content keys are in headers that only an epoch key opens,
epoch keys are in the config under the root key, and the root key is in its slots. What stays are cells that nothing
opens. Killed at any point, it is finished by the next run: copies that lie elsewhere go first, the two of the volume
last, so whatever is left can be found by what the last one says, or lies under one of the two names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EROFS
from types import TracebackType
from typing import Final, Self

from encfs.core import config as core_config
from encfs.crypto import rng
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import ConfigError, LowerIOError, NotAVolumeError, ReadOnlyError, UsageError, VolumeInUseError
from encfs.format.config import Config
from encfs.format.limits import FRAME_SIZE, LOCK_NAME, RECORD_NAME, SESSIONS_NAME
from encfs.store.atomic import sync_directory
from encfs.store.base import Store
from encfs.units import VolumeId
from encfs.volume.key_copies import (
    CONFIG_FILE_MAX,
    KeyCopy,
    Marks,
    OpenDirectory,
    Progress,
    Survey,
    holds_keys,
    survey,
    volume_id_in,
)
from encfs.volume.skeleton import open_root, read_copies

_PATTERN_SIZE: Final = 1 << 20
_FAILING: Final = "The keys may still be readable there: destroy the medium itself."


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done, and proved by reading the medium again.

    Attributes:
        copies: how many files with keys were overwritten and removed in this run.
        overwritten: bytes of them.
        left: what lies in the directory now.
    """

    copies: int
    overwritten: int
    left: Survey


class Eraser:
    """A volume that is to be destroyed, or whose destruction was broken off; nobody else has it open meanwhile.

    Use it in a ``with`` statement. No key is needed.

    Args:
        path: the volume directory.
        known: its id, where an earlier run has noted it.
        resumed: an earlier run was broken off: both copies of the config may be gone.
        store: another backing store (tests).

    Attributes:
        config: what the newest copy says that can be read, None if none can.
        volume_id: None if nothing tells it.

    Raises:
        NotAVolumeError: there is no config, and no earlier run is known.
        VolumeInUseError: somebody has it open.
        OSError.
    """

    def __init__(
        self, path: bytes, *, known: VolumeId | None = None, resumed: bool = False, store: Store | None = None
    ) -> None:
        self._opener, self._root_fd = open_root(path)
        self._store = store or self._opener
        self._lock_fd = -1
        try:
            raws = self._read_copies(may_be_gone=resumed or known is not None)
            self._lock()
        except BaseException:
            self._opener.close(self._root_fd)
            raise
        self.config = _newest(raws)
        self.volume_id = known
        for raw in raws:
            self.volume_id = volume_id_in(raw) or self.volume_id
        if self.config is not None:
            self.volume_id = self.config.volume_id
        self._marks = Marks(self.volume_id, raws)

    def _read_copies(self, *, may_be_gone: bool) -> list[bytes]:
        try:
            return read_copies(self._store, self._root_fd)
        except NotAVolumeError:
            if not may_be_gone:
                raise
        except OSError:
            # Neither can be read any more; they may be overwritten all the same.
            pass
        return []

    def _lock(self) -> None:
        store = self._store
        if not store.try_lock_directory(self._root_fd):
            raise VolumeInUseError(
                "the keys of this volume are being changed by another process", hint="Try again when that is done."
            )
        try:
            with OpenDirectory(store, self._root_fd, (SESSIONS_NAME,)) as sessions:
                self._lock_fd = store.open(sessions, LOCK_NAME, os.O_RDWR)
        except FileNotFoundError:
            return  # It was never there, or somebody has begun to delete the directory: nobody can hold it.
        except OSError as exc:
            if exc.errno != EROFS:
                raise
            raise ReadOnlyError(
                "the medium is read-only, so the keys on it cannot be overwritten",
                hint="Look for a small switch on it, or mount it writable. Or destroy the medium itself.",
            ) from exc
        if not store.try_lock(self._lock_fd):
            self._close_lock()
            raise VolumeInUseError(
                "the volume is in use by another process, here or on another computer",
                hint="Lock it there first: cloakfs lock MOUNTPOINT",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _close_lock(self) -> None:
        if self._lock_fd >= 0:
            self._store.close(self._lock_fd)
            self._lock_fd = -1

    def close(self) -> None:
        """Let others at the directory."""
        self._close_lock()
        if self._root_fd >= 0:
            self._opener.close(self._root_fd)
            self._root_fd = -1

    def identity(self) -> bytes:
        """32 bytes by which the directory is known again after its config is gone: a digest of its root record.

        Empty if there is no root record.

        Raises:
            OSError.
        """
        return identity_in(self._store, self._root_fd)

    def survey(self, progress: Progress = lambda _: None) -> Survey:
        """What lies there. Raises: OSError."""
        return survey(self._store, self._root_fd, self._marks, progress)

    def require_writable(self, copies: Sequence[KeyCopy]) -> None:
        """Before anything is changed: whether every copy can be written to.

        Raises:
            OSError: one cannot.
        """
        for copy in copies:
            *parts, name = copy.path.split(b"/")
            with OpenDirectory(self._store, self._root_fd, parts) as dirfd:
                self._store.close(self._store.open_writable(dirfd, name))

    def require_copy(self, path: bytes) -> int:
        """The size of a file elsewhere, if it holds keys of this volume and can be written to.

        Raises:
            UsageError: it holds none, as far as can be told.
            OSError.
        """
        with _beside(path) as (store, dirfd, name):
            fd = store.open(dirfd, name, os.O_RDONLY)
            try:
                size = store.fstat(fd).st_size
                if not holds_keys(store, fd, size, self._marks):
                    raise UsageError("there is no key of this volume in it", hint="Nothing was changed.")
            finally:
                store.close(fd)
            store.close(store.open_writable(dirfd, name))
            return size

    @staticmethod
    def erase_elsewhere(path: bytes) -> int:
        """Overwrite and remove a file that :meth:`require_copy` has found; its bytes. Raises as :meth:`erase`."""
        with _beside(path) as (store, dirfd, name):
            size = overwrite(store, dirfd, name)
            store.unlink(dirfd, name)
            sync_directory(store, dirfd)
            return size

    def erase(self, copies: Sequence[KeyCopy], progress: Progress = lambda _: None) -> Erased:
        """Overwrite and remove them in this order, which is that of :meth:`survey`, and look whether any is left.

        Raises:
            LowerIOError: the medium gives back something else than was written, or a copy is left: nothing is proved.
            OSError: a copy could not be overwritten or removed; the next run goes on with it.
        """
        overwritten = 0
        for copy in copies:
            *parts, name = copy.path.split(b"/")
            try:
                with OpenDirectory(self._store, self._root_fd, parts) as dirfd:
                    overwritten += overwrite(self._store, dirfd, name)
                    self._store.unlink(dirfd, name)
                    sync_directory(self._store, dirfd)
            except FileNotFoundError:
                continue  # Somebody else has removed it, or an earlier run: what is left is looked at below.
        self._store.syncfs(self._root_fd)
        left = self.survey(progress)
        if left.copies:
            raise LowerIOError(
                "a copy of the keys is there still, although all that were found were removed",
                hint="Somebody writes to the directory. Stop that, and run the same command again.",
            )
        self._require_gone()
        return Erased(len(copies), overwritten, left)

    def _require_gone(self) -> None:
        try:
            read_copies(self._store, self._root_fd)
        except NotAVolumeError:
            return
        raise LowerIOError("the config of the volume is there still", hint="Run the same command again.")


@contextmanager
def _beside(path: bytes) -> Iterator[tuple[Store, int, bytes]]:
    """The directory of a file, and the file's name in it."""
    store, fd = open_root(os.path.dirname(path) or b".")
    try:
        yield store, fd, os.path.basename(path)
    finally:
        store.close(fd)


def identity_in(store: Store, root_fd: int) -> bytes:
    """:meth:`Eraser.identity` of an open directory."""
    try:
        fd = store.open(root_fd, RECORD_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return CLOAKFS_1.digest(store.pread(fd, FRAME_SIZE, 0))
    finally:
        store.close(fd)


def identity_of(path: bytes) -> bytes:
    """:meth:`Eraser.identity` of a directory. Raises: OSError."""
    store, fd = open_root(path)
    try:
        return identity_in(store, fd)
    finally:
        store.close(fd)


def overwrite(store: Store, dirfd: int, name: bytes) -> int:
    """Put random bytes in the place of all that a file holds, on the medium, and read them back from there.

    Returns:
        How many bytes.

    Raises:
        LowerIOError: the medium gives back something else.
        OSError: it could not be written; some of it may be overwritten.
    """
    pattern = rng.random_bytes(_PATTERN_SIZE)
    fd = store.open_writable(dirfd, name)
    try:
        size = store.fstat(fd).st_size
        for at in range(0, size, _PATTERN_SIZE):
            store.pwrite(fd, memoryview(pattern)[: min(_PATTERN_SIZE, size - at)], at)
        store.fsync(fd)
    finally:
        store.close(fd)
    first = min(size, CONFIG_FILE_MAX, _PATTERN_SIZE)
    if first and store.read_uncached(dirfd, name, first) != pattern[:first]:
        raise LowerIOError("what was written over the keys is not what the medium gives back", hint=_FAILING)
    return size


def _newest(raws: Sequence[bytes]) -> Config | None:
    newest: Config | None = None
    for raw in raws:
        try:
            config = core_config.read_copy(raw)
        except ConfigError:
            continue
        if newest is None or config.seq > newest.seq:
            newest = config
    return newest
