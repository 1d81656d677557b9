"""A walk through directories that counts files likely to belong to patients, outside of volumes and inside.

Owns: where the walk goes, what is counted. Must not know: which files those are (``likely.py``), the terminal, where
counts are kept.

Of each file the first 4 KiB are read, without changing when it was last read where the system lets us. No link is
followed, nothing is written, and no name is kept but those of the folders with the most. What is remembered does not
grow with what is walked through, but for the paths of folders that are still to be gone into.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import count
from typing import Final

from encfs.evidence.likely import CLINICAL, HEAD, Kind, kind_of
from encfs.stick import layout

DAY: Final = 86_400
_CLOAKFS: Final = "fuse.cloakfs"
_NO_FILES: Final = frozenset(
    {"proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "bpf", "mqueue"}
    | {"pstore", "efivarfs", "hugetlbfs", "configfs", "fusectl", "binfmt_misc", "autofs", "rpc_pipefs", "nsfs"}
)
"""Filesystems of the kernel, in which nobody keeps anything."""
_OF_THE_SYSTEM: Final = frozenset(
    {"/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/snap", "/sys", "/usr"}
)
"""Left out where the walk comes from above; whoever names one of them means it."""
_OF_PROGRAMS: Final = frozenset({".cache", ".git", ".venv", "__pycache__", "node_modules", "site-packages"})
_NOATIME: Final = getattr(os, "O_NOATIME", 0)
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_TELL_EVERY: Final = 500


class Age(StrEnum):
    """How long ago a file was changed."""

    MONTH = "month"
    YEAR = "year"
    SIX_YEARS = "six_years"
    OLDER = "older"


_AGES: Final = ((30 * DAY, Age.MONTH), (365 * DAY, Age.YEAR), (6 * 365 * DAY + 2 * DAY, Age.SIX_YEARS))


class LeftOut(StrEnum):
    """Why something was not gone into."""

    VOLUME = "volume"
    MOUNT = "mount"
    FILESYSTEM = "filesystem"
    SYSTEM = "system"
    PROGRAM = "program"
    EXCLUDED = "excluded"


@dataclass(slots=True)
class Tally:
    """Likely files, counted: by kind, and how old. ``bytes``: their size together."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    ages: Counter[Age] = field(default_factory=Counter)
    bytes: int = 0

    @property
    def files(self) -> int:
        """How many."""
        return self.kinds.total()

    @property
    def clinical(self) -> int:
        """How many of them say themselves that they are about patients."""
        return sum(number for kind, number in self.kinds.items() if kind in CLINICAL)

    def add(self, kind: Kind, age: Age, size: int) -> None:
        """One more file."""
        self.kinds[kind] += 1
        self.ages[age] += 1
        self.bytes += size


@dataclass(slots=True)
class Scan:
    """What a walk has come to.

    Attributes:
        outside: likely files that lie in no volume.
        inside: those in volumes that are open; only where that was wanted.
        looked_at: files of which the beginning was read, outside.
        folders: that were gone into.
        unreadable_folders, unreadable_files: what this user may not read, or what cannot be read.
        left_out: what was not gone into, by reason.
        top: the folders with the most likely files outside, the one with the most first: paths and what is in each.
    """

    outside: Tally = field(default_factory=Tally)
    inside: Tally = field(default_factory=Tally)
    looked_at: int = 0
    folders: int = 0
    unreadable_folders: int = 0
    unreadable_files: int = 0
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    top: list[tuple[str, Tally]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How to walk.

    Attributes:
        now: seconds since 1970.
        mounts: what is mounted now: filesystem types by mount point.
        open_volumes: mount points of volumes whose files are counted as inside; other mounts of volumes are left out.
        across: whether other filesystems are gone into.
        exclude: patterns of names that are left out.
        top, depth: so many folders are told; so deep below a root folders are told apart.
    """

    now: float
    mounts: Callable[[], Mapping[str, str]] = dict
    open_volumes: frozenset[str] = frozenset()
    across: bool = False
    exclude: Sequence[str] = ()
    top: int = 20
    depth: int = 2


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the list of folders."""

    path: str
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class _Folder:
    """One that is still to be gone into.

    Attributes:
        device: of the folder above; None where that may be another one.
        row: where its files are counted for the list of folders; None inside of a volume.
    """

    path: str
    depth: int
    device: int | None
    row: _Row | None


def scan(root: str, wanted: Wanted, progress: Callable[[Scan], None] = lambda _: None) -> Scan:
    """Walk through a directory.

    Args:
        root: absolute, without links in it.
        wanted: how to walk.
        progress: is called from time to time.

    Raises:
        OSError: the root cannot be read, or is no directory.
    """
    os.close(os.open(root, _DIRECTORY))
    walk = _Walk(wanted, progress)
    walk.through(root)
    walk.found.top = walk.best()
    return walk.found


class _Walk:
    def __init__(self, wanted: Wanted, progress: Callable[[Scan], None]) -> None:
        self.found = Scan()
        self._wanted = wanted
        self._progress = progress
        self._mounts = wanted.mounts()
        self._best: list[tuple[int, int, str, Tally]] = []
        self._order = count()
        self._seen: set[tuple[int, int]] = set()
        self._told = 0

    def through(self, root: str) -> None:
        """Each folder before those in it; so a row of the list is complete when the next one begins."""
        row = None if self._is_in_volume(root) else _Row(root)
        pending = [_Folder(root, 0, None, row)]
        while pending:
            folder = pending.pop()
            if folder.row is not row and folder.row is not None:
                self._close(row)
                row = folder.row
            pending += self._go_into(folder)
        self._close(row)

    def best(self) -> list[tuple[str, Tally]]:
        """The folders with the most, and of those with as many the one that came first."""
        return [(path, row) for _, _, path, row in sorted(self._best, reverse=True)]

    def _close(self, row: _Row | None) -> None:
        if row is None or not row.tally.files:
            return
        heapq.heappush(self._best, (row.tally.files, -next(self._order), row.path, row.tally))
        if len(self._best) > self._wanted.top:
            heapq.heappop(self._best)

    # -- folders --------------------------------------------------------------------------------------------------

    def _go_into(self, folder: _Folder) -> list[_Folder]:
        """Count the files of a folder; the folders in it."""
        try:
            fd = os.open(folder.path, _DIRECTORY)
        except OSError:
            self.found.unreadable_folders += 1
            return []
        below: list[_Folder] = []
        try:
            device = os.fstat(fd).st_dev
            if not self._belongs(folder, fd, device):
                return []
            if layout.holds_volume(folder.path):
                self._leave_out(LeftOut.VOLUME)
                return []
            self.found.folders += 1
            with os.scandir(fd) as entries:
                for entry in entries:
                    self._take(entry, fd, folder, device, below)
        except OSError:
            self.found.unreadable_folders += 1  # What came of it before counts all the same.
        finally:
            os.close(fd)
        return below

    def _belongs(self, folder: _Folder, fd: int, device: int) -> bool:
        """Whether what was opened is still what was to be gone into, and was not gone into before."""
        if folder.device is not None and device != folder.device and not self._is_mounted(folder.path):
            # Something was mounted meanwhile, or this is a subvolume, which is a part of the same filesystem.
            self._mounts = self._wanted.mounts()
            if self._is_mounted(folder.path):
                self._leave_out(LeftOut.FILESYSTEM)
                return False
        if folder.device is None or device != folder.device:
            key = device, os.fstat(fd).st_ino
            if key in self._seen:
                return False
            self._seen.add(key)
        return True

    def _take(self, entry: os.DirEntry[str], fd: int, folder: _Folder, device: int, below: list[_Folder]) -> None:
        if any(fnmatchcase(entry.name, pattern) for pattern in self._wanted.exclude):
            self._leave_out(LeftOut.EXCLUDED)
            return
        try:
            # By what the folder says: what is mounted there is not asked, since it may hang.
            if entry.is_dir(follow_symlinks=False):
                below += self._folder_below(entry.name, folder, device)
            elif entry.is_file(follow_symlinks=False):
                self._look_at(entry.name, fd, folder)
        except OSError:
            self.found.unreadable_files += 1

    def _folder_below(self, name: str, folder: _Folder, device: int) -> list[_Folder]:
        path = os.path.join(folder.path, name)
        reason = self._reason_against(path, name)
        if reason is not None:
            self._leave_out(reason)
            return []
        depth, row = folder.depth + 1, folder.row
        if path in self._wanted.open_volumes:
            row = None
        elif row is not None and depth <= self._wanted.depth:
            row = _Row(path)
        return [_Folder(path, depth, None if self._is_mounted(path) else device, row)]

    def _reason_against(self, path: str, name: str) -> LeftOut | None:
        fstype = self._mounts.get(path)
        if fstype == _CLOAKFS:
            return None if path in self._wanted.open_volumes else LeftOut.MOUNT
        if path in _OF_THE_SYSTEM or fstype in _NO_FILES:
            return LeftOut.SYSTEM
        if fstype is not None and not self._wanted.across:
            return LeftOut.FILESYSTEM
        return LeftOut.PROGRAM if name in _OF_PROGRAMS else None

    def _is_mounted(self, path: str) -> bool:
        return path in self._mounts

    def _is_in_volume(self, root: str) -> bool:
        """Whether a root lies in an open volume."""
        over = [one for one in self._mounts if root == one or root.startswith(one.rstrip("/") + "/")]
        return bool(over) and self._mounts[max(over, key=len)] == _CLOAKFS

    def _leave_out(self, reason: LeftOut) -> None:
        self.found.left_out[reason] += 1

    # -- files ----------------------------------------------------------------------------------------------------

    def _look_at(self, name: str, dirfd: int, folder: _Folder) -> None:
        """Raises: OSError."""
        fd = _open(name, dirfd)
        try:
            info = os.fstat(fd)
            if not stat.S_ISREG(info.st_mode) or not info.st_size:
                return
            head = os.pread(fd, HEAD, 0)
        finally:
            os.close(fd)
        kind = kind_of(name, head, info.st_size)
        tallies = [self.found.inside] if folder.row is None else [self.found.outside, folder.row.tally]
        if kind is not None:
            age = self._age(info.st_mtime)
            for tally in tallies:
                tally.add(kind, age, info.st_size)
        if folder.row is not None:
            self.found.looked_at += 1
        self._told += 1
        if self._told % _TELL_EVERY == 0:
            self._progress(self.found)

    def _age(self, changed: float) -> Age:
        past = self._wanted.now - changed
        return next((age for limit, age in _AGES if past < limit), Age.OLDER)


def _open(name: str, dirfd: int) -> int:
    """For reading; only the owner of a file may keep its time of reading as it was."""
    try:
        return os.open(name, _FLAGS | _NOATIME, dir_fd=dirfd)
    except PermissionError:
        return os.open(name, _FLAGS, dir_fd=dirfd)
