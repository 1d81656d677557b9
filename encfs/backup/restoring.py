"""Restoring a run of a backup, or a part of it, into a directory, and holding what is there then against what was read.

Owns: the order (what is asked for, what stands in the way, writing, reading back), what counts as kept, damaged, lost.
Must not know: which engine made the backup, what is asked, the terminal.

What was there stays, unless the caller allows more. What cannot be restored is listed, and the rest is restored. A file
has its name when it is whole; a killed run leaves names of which :func:`encfs.volume.copying_whole.clear_parts` knows.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from encfs.backup.engine import Steps
from encfs.backup.flushing import OF_A_KILL
from encfs.backup.kernel_mounts import filesystem_at
from encfs.crypto.suite import CLOAKFS_1
from encfs.errors import DataError, UsageError
from encfs.store.local import LocalStore
from encfs.volume.copying import Item, Report, starts_of
from encfs.volume.copying_whole import ACLS, WholeCopier, attributes_at, clear_parts
from encfs.volume.replica import Lost
from encfs.volume.source import WholeSource

_PIECE: Final = 1 << 20
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Watcher(Steps, Protocol):
    """Who is told how far it is, and what is not restored."""

    def failed(self, path: bytes, reason: str) -> None:
        """One entry is not restored; the run goes on."""
        ...


@dataclass(slots=True)
class InTheWay:
    """What there is at the destination already.

    Attributes:
        entries: that will be restored.
        size: their bytes.
        there: of them, what is there by that name: files, symlinks and nodes.
        free: bytes for which the destination has room.
    """

    entries: int
    size: int
    there: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What it came to.

    Attributes:
        report: what was restored and what was not.
        kept: paths of what is there as something else, and stayed.
        already: files that were there with this content.
        read_back: bytes that were read back at the destination, and are what was read from the backup.
        lost: what the destination does not keep.
    """

    report: Report
    kept: tuple[bytes, ...] = field(repr=False)
    already: int
    read_back: int
    lost: Lost

    @property
    def whole(self) -> bool:
        """Whether all that was asked for is there."""
        return not self.report.failures


class Restore:
    """One restore. First :meth:`look`, then :meth:`run`.

    Args:
        source: the plain tree of the run.
        paths: what of it; none: everything.
        to: the directory into which it goes, under the paths that it has in the volume. It is made if it is missing.
        watcher: is told how far it is.
    """

    def __init__(self, source: WholeSource, paths: Sequence[bytes], to: bytes, watcher: Watcher) -> None:
        self._source = source
        self._to = to
        self._watcher = watcher
        self._may = _Placement()
        self._told = _Told(watcher)
        self._copier = WholeCopier(source, self._told, self._may)
        self._plan = self._copier.plan(self._starts(paths))

    def _starts(self, paths: Sequence[bytes]) -> list[Item]:
        """Raises: NotFoundError: a path is not in the backup. UsageError, DataError, OSError."""
        if not paths or b"" in paths:
            return [Item(b"", self._source.stat(b""), self._to)]
        return starts_of(self._source, paths, self._to)

    def files(self) -> list[bytes]:
        """Paths of the files that will be restored."""
        return [item.path for item in self._plan if stat.S_ISREG(item.entry.mode)]

    def look(self) -> InTheWay:
        """What stands in the way. Raises: UsageError: there is no directory for it. OSError."""
        above = self._to if os.path.lexists(self._to) else os.path.dirname(os.path.abspath(self._to))
        if not os.path.isdir(above):
            raise UsageError("there is no directory into which it could be restored", hint="Make it, or give another.")
        room = os.statvfs(above)
        others = [item for item in self._plan if not stat.S_ISDIR(item.entry.mode)]
        return InTheWay(
            entries=len(self._plan),
            size=_size(others),
            there=sum(os.path.lexists(os.path.join(self._to, item.path)) for item in others),
            free=room.f_bavail * room.f_frsize,
        )

    def run(self, *, replace: bool, own: bool = False, flush: Callable[[], None] | None = None) -> Restored:
        """Restore.

        Args:
            replace: whether files that are there with another content are replaced.
            own: whether the destination was made for this: also directories that are there get what theirs have.
            flush: brings what was written to the disk, in one call; None: each file is asked for.

        Raises:
            OSError: it cannot be written: no room, the medium is gone. What is there by then is whole.
            BackupError: the target of the backup is gone.
        """
        self._may.overwrite = replace
        self._copier.owns = own
        self._clear()
        self._watcher.phase("restoring", _size(self._plan))
        self._copier.copy(self._plan)
        self._sync(flush)
        return self._prove()

    def _clear(self) -> None:
        """What killed runs have left in the directories into which this one writes."""
        for path in {item.path for item in self._plan if stat.S_ISDIR(item.entry.mode)} | {b""}:
            directory = os.path.join(self._to, path) if path else self._to
            if os.path.isdir(directory) and not os.path.islink(directory):
                clear_parts(directory)
        if not os.path.isdir(self._to) and self._plan and self._plan[0].above is not None:
            os.mkdir(self._to, 0o700)

    def _sync(self, flush: Callable[[], None] | None) -> None:
        """All of it is on the disk. A mount may take syncfs(2) for nothing, as FUSE does; else the rest is at once."""
        try:
            _syncfs(self._to)
        except OSError as exc:
            old = exc.errno in OF_A_KILL and filesystem_at(self._to).startswith(b"fuse")
            if flush is not None or not old:
                raise
            # Once more, to hear what is of now. Each file has been closed without an error, and is asked below.
            _syncfs(self._to)
        if flush is not None:
            flush()
            return
        written = [item.to for item in self._copier.written if stat.S_ISREG(item.entry.mode)]
        folders = {os.path.dirname(item.to) for item in self._copier.written if item.above is not None}
        for path in [*written, *folders]:
            with suppress(FileNotFoundError, PermissionError):  # Reading back says so.
                _fsync(path)

    # -- reading back --------------------------------------------------------------------------------------------------

    def _prove(self) -> Restored:
        copier, lost = self._copier, Lost()
        self._watcher.phase("reading back", _size(copier.written))
        done = right = 0
        for item in copier.written:
            if stat.S_ISREG(item.entry.mode):
                right += item.entry.size if self._is_right(item) else 0
                done += item.entry.size
                self._watcher.done(done)
            if os.path.lexists(item.to):
                self._compare(item, os.lstat(item.to), lost)
        lost.others = len(copier.report.skipped)
        inodes: dict[int, int] = {}
        for item in [*copier.written, *copier.there]:
            if item.entry.links > 1 and not stat.S_ISDIR(item.entry.mode) and os.path.lexists(item.to):
                inode = os.lstat(item.to).st_ino
                lost.hard_links += inodes.setdefault(item.entry.inode, inode) != inode
        return Restored(
            report=copier.report,
            kept=tuple(copier.kept),
            already=sum(stat.S_ISREG(item.entry.mode) for item in copier.there),
            read_back=right,
            lost=lost,
        )

    def _is_right(self, item: Item) -> bool:
        """Whether the medium has what was read from the backup; what it has instead is taken away.

        Never what a program has written there meanwhile, which shows by its time.
        """
        reason = "the destination did not keep what was written, and it was taken away there again"
        try:
            if _digest_at(item.to) == item.digest:
                return True
            if os.lstat(item.to).st_mtime_ns == item.entry.mtime_ns:
                os.unlink(item.to)
            else:
                reason = "another program has changed it meanwhile, and that stays"
        except FileNotFoundError:
            reason = "another program has taken it away meanwhile"
        except PermissionError:
            reason = "it is there, but its folder does not let this user read it back"
        report = self._copier.report
        report.files -= 1
        report.damaged = True
        report.failures.append((item.path, reason))
        self._watcher.failed(item.path, reason)
        return False

    def _compare(self, item: Item, info: os.stat_result, lost: Lost) -> None:
        entry, is_link = item.entry, stat.S_ISLNK(item.entry.mode)
        lost.modes += not is_link and stat.S_IMODE(entry.mode) != stat.S_IMODE(info.st_mode)
        lost.owners += (entry.uid, entry.gid) != (info.st_uid, info.st_gid)
        lost.times += entry.mtime_ns != info.st_mtime_ns
        if not is_link:
            lost.attributes += not self._has_attributes(item)

    def _has_attributes(self, item: Item) -> bool:
        """Those of the backup, and no ACL besides; what the system gives by itself, as SELinux does, is not counted."""
        try:
            wanted = self._source.attributes(item.path)
        except DataError:
            return False  # It was listed when the entry was written.
        there = _attributes_at(item.to)
        return all(there.get(name) == wanted.get(name) for name in {*wanted, *ACLS})


@dataclass(slots=True)
class _Placement:
    """Satisfies :class:`encfs.volume.copying.Placement`: every entry under its own name."""

    overwrite: bool = False
    links: bool = True

    def place(self, directory: bytes, name: bytes) -> bytes:
        return os.path.join(directory, name)


@dataclass(frozen=True, slots=True)
class _Told:
    """Satisfies :class:`encfs.volume.copying.Watcher`."""

    watcher: Watcher

    def update(self, done: int, total: int, note: str) -> None:
        del total, note
        self.watcher.done(done)

    def failed(self, path: bytes, reason: str) -> None:
        self.watcher.failed(path, reason)


def _size(items: Sequence[Item]) -> int:
    return sum(item.entry.size for item in items if stat.S_ISREG(item.entry.mode))


def _attributes_at(path: bytes) -> dict[str, bytes]:
    """Nothing where the filesystem has none."""
    try:
        return attributes_at(path)
    except OSError:
        return {}


def _syncfs(directory: bytes) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        LocalStore(fd).syncfs(fd)
    finally:
        os.close(fd)


def _fsync(path: bytes) -> None:
    fd = _open(path)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _digest_at(path: bytes) -> bytes:
    """SHA-256 of what is there, past the cache as far as the system lets it be. Raises: OSError."""
    running = CLOAKFS_1.running_digest()
    fd = _open(path)
    with open(fd, "rb", buffering=0) as file:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        while piece := file.read(_PIECE):
            running.update(piece)
    return running.digest()


def _open(path: bytes) -> int:
    """For reading, also where the mode that it got does not let its owner read it."""
    try:
        return os.open(path, _READ)
    except PermissionError:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        os.chmod(path, mode | stat.S_IRUSR)
        try:
            return os.open(path, _READ)
        finally:
            os.chmod(path, mode)
